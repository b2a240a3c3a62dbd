/* Counters under add and read: bounds on every read, from sums over what must and what may have been added, in one
 * sweep over the events. What was acknowledged before a read began is in it; what began before its end may be. Between
 * a read and one that began after its end, the same holds for the difference (the sums over adds that fell entirely in
 * between come from a Fenwick tree: Fenwick 1994). The bounds are necessary, not sufficient: nothing valid is
 * rejected. */
#include "checkers/evidence_internal.h"

#include <inttypes.h>
#include <stdlib.h>

struct sums { /* of deltas: all, the positive ones, the negative ones */
    int64_t all, positive, negative;
};

struct finding {
    uint32_t op, other; /* the read; the earlier read that it contradicts, or NONE */
    int64_t low, high;  /* where it should have been */
};

struct counter_check {
    const struct history *h;
    struct check_result *out;
    struct budget budget;
    uint64_t adds, reads, wrong;
    bool found;
    struct finding first;
    struct buffer unknown; /* why the verdict cannot be valid; empty if it can */
};

/* One key. Positions are those of order_events. */
struct counter {
    const uint32_t *ops;
    uint32_t count;
    uint32_t *invoked, *returned;
    uint32_t *event; /* by position: the index, plus `count` for a return */
    uint32_t events;
    struct sums *begun;   /* adds that may happen and began before the position */
    struct sums *done;    /* adds that were acknowledged before the position */
    struct sums *fenwick; /* adds acknowledged so far in the sweep, by the position of their invocation */
    bool grows;           /* no delta is negative */
};

/* What a read knew when it began. */
struct since {
    uint32_t read;       /* an earlier read that had ended; NONE */
    struct sums between; /* adds that began after its end and were acknowledged */
};

static void sums_add(struct sums *s, int64_t delta) {
    s->all += delta;
    if (delta > 0) s->positive += delta;
    if (delta < 0) s->negative += delta;
}

static struct sums sums_minus(struct sums a, struct sums b) {
    return (struct sums){a.all - b.all, a.positive - b.positive, a.negative - b.negative};
}

static bool is_add(const struct history *h, uint32_t op) {
    return h->f[op] == OP_ADD && h->status[op] != OP_FAIL;
}

static bool is_read(const struct history *h, uint32_t op) {
    return h->f[op] == OP_READ && h->status[op] == OP_OK;
}

static int64_t read_value(const struct history *h, uint32_t op) {
    return h->result[op].kind == VALUE_INT ? h->result[op].integer : 0; /* a missing counter is 0 */
}

static void set_unknown(struct counter_check *k, const struct counter *c, const char *why) {
    if (k->unknown.size) return;
    print_key(k->h, k->h->key[c->ops[0]], &k->unknown);
    buffer_printf(&k->unknown, ": %s", why);
}

/* --- the sweep ---------------------------------------------------------------------------------------------------- */

static void fenwick_add(struct counter *c, uint32_t position, int64_t delta) {
    for (uint32_t i = position + 1; i <= c->events; i += i & (~i + 1)) sums_add(&c->fenwick[i], delta);
}

/* The sums below a position. */
static struct sums fenwick_sum(const struct counter *c, uint32_t position) {
    struct sums s = {0};
    for (uint32_t i = position; i > 0; i -= i & (~i + 1)) {
        s.all += c->fenwick[i].all;
        s.positive += c->fenwick[i].positive;
        s.negative += c->fenwick[i].negative;
    }
    return s;
}

static void lay_out_events(const struct history *h, struct counter *c) {
    c->events = order_events(h, c->ops, c->count, c->invoked, c->returned) + c->count;
    c->event = xmalloc(c->events * sizeof *c->event);
    c->begun = xcalloc(3 * ((size_t)c->events + 1), sizeof *c->begun);
    c->done = c->begun + c->events + 1;
    c->fenwick = c->done + c->events + 1;
    for (uint32_t i = 0; i < c->count; i++) {
        c->event[c->invoked[i]] = i;
        if (c->returned[i] != NONE) c->event[c->returned[i]] = i + c->count;
    }
    for (uint32_t at = 0; at < c->events; at++) {
        bool ends = c->event[at] >= c->count;
        uint32_t op = c->ops[c->event[at] - (ends ? c->count : 0)];
        c->begun[at + 1] = c->begun[at];
        c->done[at + 1] = c->done[at];
        if (is_add(h, op)) sums_add(ends ? &c->done[at + 1] : &c->begun[at + 1], h->argument[op].integer);
    }
}

static void judge(struct counter_check *k, const struct counter *c, uint32_t read, uint32_t earlier, int64_t low,
                  int64_t high) {
    int64_t value = read_value(k->h, c->ops[read]);
    if (value >= low && value <= high) return;
    k->wrong++;
    if (k->found) return;
    k->found = true;
    k->first = (struct finding){c->ops[read], earlier == NONE ? NONE : c->ops[earlier], low, high};
}

/* Adds that may or may not be in a difference: begun before the read's end, neither surely in the base nor surely in
 * between. */
static void judge_since(struct counter_check *k, const struct counter *c, uint32_t read, const struct since *since) {
    struct sums sure = since->between, base = {0};
    int64_t start = 0;
    if (since->read == NONE) {
        sure = c->done[c->invoked[read]];
    } else {
        base = c->done[c->invoked[since->read]];
        start = read_value(k->h, c->ops[since->read]);
    }
    struct sums open = sums_minus(sums_minus(c->begun[c->returned[read]], base), sure);
    int64_t low, high;
    if (__builtin_add_overflow(start, sure.all + open.negative, &low)) low = start < 0 ? INT64_MIN : INT64_MAX;
    if (__builtin_add_overflow(start, sure.all + open.positive, &high)) high = start < 0 ? INT64_MIN : INT64_MAX;
    judge(k, c, read, since->read, low, high);
}

static struct since since_read(const struct counter *c, uint32_t earlier) {
    struct since s = {.read = earlier};
    if (earlier != NONE) s.between = sums_minus(fenwick_sum(c, c->events), fenwick_sum(c, c->returned[earlier]));
    return s;
}

static void sweep(struct counter_check *k, struct counter *c) {
    const struct history *h = k->h;
    struct since *latest = xmalloc(2 * (size_t)c->count * sizeof *latest), *greatest = latest + c->count;
    uint32_t last = NONE, most = NONE; /* of the reads that have ended: the last to end, the one that returned most */
    for (uint32_t at = 0; at < c->events && !budget_spent(&k->budget); at++) {
        bool ends = c->event[at] >= c->count;
        uint32_t i = c->event[at] - (ends ? c->count : 0), op = c->ops[i];
        if (is_add(h, op) && ends) fenwick_add(c, c->invoked[i], h->argument[op].integer);
        if (!is_read(h, op)) continue;
        if (!ends) {
            latest[i] = since_read(c, last);
            greatest[i] = since_read(c, c->grows && most != last ? most : NONE);
            continue;
        }
        k->reads++;
        judge_since(k, c, i, &(struct since){.read = NONE});
        if (latest[i].read != NONE) judge_since(k, c, i, &latest[i]);
        if (greatest[i].read != NONE) judge_since(k, c, i, &greatest[i]);
        last = i;
        if (most == NONE || read_value(h, op) > read_value(h, c->ops[most])) most = i;
    }
    free(latest);
}

/* --- one key ------------------------------------------------------------------------------------------------------ */

#define SUM_MAX (INT64_MAX / 4) /* so that no difference of sums overflows */

/* What nobody touched is no counter, unless a read found something there. */
static bool anything_was_read(const struct history *h, const struct counter *c) {
    for (uint32_t i = 0; i < c->count; i++)
        if (is_read(h, c->ops[i]) && read_value(h, c->ops[i]) != 0) return true;
    return false;
}

/* Is this key a counter, and only that, of numbers that can be summed? Keys of other kinds are left to other checks. */
static bool is_counter(struct counter_check *k, struct counter *c) {
    const struct history *h = k->h;
    uint64_t adds = 0, others = 0, total = 0;
    c->grows = true;
    const char *wrong = NULL;
    for (uint32_t i = 0; i < c->count; i++) {
        uint32_t op = c->ops[i];
        if (h->f[op] == OP_ADD) {
            adds++;
            int64_t delta = h->argument[op].integer;
            if (h->argument[op].kind != VALUE_INT) wrong = "an add of something that is no number";
            if (wrong || !is_add(h, op)) continue;
            c->grows &= delta >= 0;
            total += delta < 0 ? 0 - (uint64_t)delta : (uint64_t)delta;
            if (total > SUM_MAX || delta == INT64_MIN) wrong = "sums that do not fit 62 bits";
        } else if (h->f[op] != OP_READ) {
            others++;
        } else if (is_read(h, op) && h->result[op].kind != VALUE_INT && h->result[op].kind != VALUE_NIL) {
            wrong = "a read that returned no number";
        }
    }
    if (adds && others) wrong = "operations other than add and read";
    if (adds && wrong) {
        set_unknown(k, c, wrong);
        buffer_printf(&k->unknown, "; this check cannot judge them");
    }
    k->adds += adds;
    return (adds && !wrong) || (adds + others == 0 && anything_was_read(h, c));
}

/* Without a read that began after it, an acknowledged add may have been lost unnoticed. */
static void demand_final_read(struct counter_check *k, const struct counter *c) {
    uint32_t last_read = 0;
    for (uint32_t i = 0; i < c->count; i++)
        if (is_read(k->h, c->ops[i])) last_read = c->invoked[i];
    for (uint32_t i = 0; i < c->count; i++) {
        uint32_t op = c->ops[i];
        if (!is_add(k->h, op) || c->returned[i] == NONE || c->returned[i] < last_read) continue;
        if (k->h->argument[op].integer != 0)
            set_unknown(k, c, "no read began after its last acknowledged adds, so whether they last is not known");
    }
}

/* Positions, the order that they are made from, two events with three sums each, and what reads compare with. */
#define BYTES_PER_OP (uint64_t)(7 * sizeof(uint32_t) + 6 * sizeof(struct sums) + 2 * sizeof(struct since))

static void check_key(struct counter_check *k, const uint32_t *ops, uint32_t count) {
    struct counter c = {.ops = ops, .count = count};
    if (!is_counter(k, &c)) return;
    uint64_t bytes = count * BYTES_PER_OP;
    if (!budget_claim(&k->budget, bytes)) return;
    c.invoked = xmalloc(2 * (size_t)count * sizeof *c.invoked);
    c.returned = c.invoked + count;
    lay_out_events(k->h, &c);
    sweep(k, &c);
    demand_final_read(k, &c);
    free(c.invoked);
    free(c.event);
    free(c.begun);
    budget_release(&k->budget, bytes);
}

static void tell_finding(const struct counter_check *k) {
    const struct history *h = k->h;
    const struct finding *f = &k->first;
    struct buffer line = {0}, text = {0};
    int64_t value = read_value(h, f->op);
    print_key(h, h->key[f->op], &line);
    buffer_printf(&line, ": read by process %u returned %" PRId64 ", but ", (unsigned)h->process[f->op], value);
    bool too_low = value < f->low;
    if (f->other == NONE) {
        buffer_printf(&line, "the adds that %s before it %s come to at %s %" PRId64,
                      too_low ? "were acknowledged" : "began", too_low ? "began" : "ended", too_low ? "least" : "most",
                      too_low ? f->low : f->high);
    } else {
        buffer_printf(&line, "process %u had read %" PRId64 " ", (unsigned)h->process[f->other],
                      read_value(h, f->other));
        print_duration(h->invoke_ns[f->op] - h->complete_ns[f->other], &line);
        buffer_printf(&line, " before it began, and with the adds since then it had to be at %s %" PRId64,
                      too_low ? "least" : "most", too_low ? f->low : f->high);
    }
    if (k->wrong > 1) buffer_printf(&line, " (%" PRIu64 " contradictions in all)", k->wrong);
    result_set(k->out, VERDICT_INVALID, "%s", buffer_text(&line));
    uint32_t ops[2] = {f->op, f->other};
    result_ops(k->out, ops, f->other == NONE ? 1 : 2);
    buffer_printf(&text, "%s\n\n", buffer_text(&line));
    check_print_ops(h, k->out->ops, k->out->ops_count, &text);
    result_explain(k->out, &text);
    buffer_free(&line);
}

static void judge_all(const void *what, const struct history *h, const struct check_options *o,
                      struct check_result *out) {
    (void)what;
    result_start(out, "counter");
    if (!history_trusted(h, out)) return;
    struct counter_check k = {.h = h, .out = out, .budget = budget_of(o)};
    struct groups groups;
    (void)groups_make(&groups, h, &k.budget); /* else there is no group, and the budget is spent */
    for (uint32_t g = 0; g < groups.count && !budget_spent_now(&k.budget); g++)
        check_key(&k, groups.ops + groups.first[g], groups.first[g + 1] - groups.first[g]);
    if (k.found) {
        tell_finding(&k);
    } else if (k.unknown.size) {
        result_set(out, VERDICT_UNKNOWN, "%s", buffer_text(&k.unknown));
    } else if (k.budget.state != BUDGET_LEFT) {
        budget_tell(&k.budget, out);
    } else if (k.adds == 0) {
        result_set(out, VERDICT_UNKNOWN, "nothing was added, so there is nothing to check");
    } else {
        result_set(out, VERDICT_VALID, "%" PRIu64 " adds, %" PRIu64 " reads, %u key%s", k.adds, k.reads, groups.count,
                   groups.count == 1 ? "" : "s");
    }
    buffer_free(&k.unknown);
    groups_free(&groups);
}

void check_counter(const struct history *h, const struct check_options *o, struct check_result *out) {
    const struct evidence e = {.check = judge_all, .object = "counter", .words = KEEP_WORDS};
    check_with_evidence(h, &e, o, out);
}
