/* Lists of unique elements under append and read, without a search. The longest read of a key gives the order of its
 * elements; every other read is placed behind the last element that it holds. That sequence is the only candidate for a
 * linearization, and it is one exactly if nothing in it ended before something ahead of it began (Herlihy and Wing
 * 1990; the idea of recovering the order from reads is Elle's: Kingsbury and Alvaro 2020, section 4). One pass
 * tells. */
#include "checkers/evidence_internal.h"

#include <stdlib.h>

enum anomaly_kind { /* the worst first: the first of the worst kind is what the one-line detail tells */
                    APPEND_LOST,
                    APPEND_TWICE,
                    APPEND_FAILED,
                    APPEND_NEVER,
                    READ_NOT_A_LIST,
                    READ_DIVERGES,
                    APPEND_DISORDER,
                    READ_STALE,
                    READ_FUTURE,
                    ANOMALY_KINDS,
};
static const char *const kind_names[ANOMALY_KINDS] = {
    "lost",         "duplicate", "failed but there", "never appended", "not a list", "diverging",
    "out of order", "stale",     "from the future",
};

struct anomaly {
    enum anomaly_kind kind;
    uint32_t op, other; /* operations of the history; `other` may be NONE */
    struct value element;
};
#define ANOMALIES_MAX 12 /* told in full; the others are counted */

struct append_check {
    const struct history *h;
    struct check_result *out;
    struct budget budget;
    struct values values;
    struct anomaly anomalies[ANOMALIES_MAX];
    uint32_t anomalies_count;
    uint64_t counts[ANOMALY_KINDS], appends, reads;
    struct buffer unknown; /* why the verdict cannot be valid; empty if it can */
};

/* One key. */
struct lists {
    const uint32_t *ops;
    uint32_t count;
    uint32_t *invoked, *returned; /* positions of events, by index into ops */
    uint32_t *appender;           /* by value id: index of the append that did not fail */
    uint32_t *failed;             /* by value id: index of an append that failed */
    uint32_t ids;                 /* value ids that the two cover: all that were ever appended */
    uint32_t longest;             /* index of the longest read; NONE */
    uint32_t *reads_of_length;    /* reads that are prefixes of the longest, by length: first[l] .. first[l + 1] */
    uint32_t *first;
};

static void note(struct append_check *a, enum anomaly_kind kind, uint32_t op, uint32_t other, struct value element) {
    a->counts[kind]++;
    struct anomaly new = {kind, op, other, element};
    if (a->anomalies_count < ANOMALIES_MAX) {
        a->anomalies[a->anomalies_count++] = new;
        return;
    }
    /* A worse kind replaces the mildest, so that the detail can always tell the worst. */
    struct anomaly *mildest = &a->anomalies[0];
    for (uint32_t i = 1; i < a->anomalies_count; i++)
        if (a->anomalies[i].kind >= mildest->kind) mildest = &a->anomalies[i];
    if (kind < mildest->kind) *mildest = new;
}

static void set_unknown(struct append_check *a, const struct lists *l, const char *why) {
    if (a->unknown.size) return;
    print_key(a->h, a->h->key[l->ops[0]], &a->unknown);
    buffer_printf(&a->unknown, ": %s", why);
}

static uint32_t list_size(struct value v) {
    return v.kind == VALUE_LIST ? v.size : 0;
}

static uint32_t work_of(uint64_t values) {
    return values < BUDGET_WORK_MAX ? (uint32_t)values : BUDGET_WORK_MAX;
}

static bool is_read(const struct history *h, uint32_t op) {
    return h->f[op] == OP_READ && h->status[op] == OP_OK;
}

/* --- reading in --------------------------------------------------------------------------------------------------- */

/* Is this key a list, and only that? Keys of other kinds are left to other checks. */
static bool is_list(struct append_check *a, const struct lists *l) {
    uint32_t appends = 0, others = 0, lists_read = 0;
    for (uint32_t i = 0; i < l->count; i++) {
        uint32_t op = l->ops[i];
        appends += a->h->f[op] == OP_APPEND;
        others += a->h->f[op] != OP_APPEND && a->h->f[op] != OP_READ;
        lists_read += is_read(a->h, op) && list_size(a->h->result[op]) > 0;
    }
    if (appends && others) set_unknown(a, l, "operations other than append and read; this check cannot judge them");
    return others == 0 && (appends || lists_read);
}

static bool index_appends(struct append_check *a, struct lists *l) {
    const struct history *h = a->h;
    uint32_t *id_of = xmalloc(l->count * sizeof *id_of);
    values_clear(&a->values);
    for (uint32_t i = 0; i < l->count; i++)
        if (h->f[l->ops[i]] == OP_APPEND) id_of[i] = values_intern(&a->values, h, h->argument[l->ops[i]]);
    l->ids = a->values.count;
    l->appender = xmalloc(2 * (size_t)l->ids * sizeof *l->appender);
    l->failed = l->appender + l->ids;
    memset(l->appender, 0xff, 2 * (size_t)l->ids * sizeof *l->appender);
    bool unique = true;
    for (uint32_t i = 0; i < l->count; i++) {
        if (h->f[l->ops[i]] != OP_APPEND) continue;
        a->appends++;
        uint32_t *slot = h->status[l->ops[i]] == OP_FAIL ? l->failed : l->appender;
        if (slot == l->appender && slot[id_of[i]] != NONE) unique = false;
        slot[id_of[i]] = i;
    }
    free(id_of);
    if (!unique) set_unknown(a, l, "the workload appended an element twice; this check needs unique elements");
    return unique;
}

static void find_longest(struct append_check *a, struct lists *l) {
    const struct history *h = a->h;
    l->longest = NONE;
    uint32_t size = 0;
    for (uint32_t i = 0; i < l->count; i++) {
        uint32_t op = l->ops[i];
        if (!is_read(h, op)) continue;
        a->reads++;
        if (h->result[op].kind != VALUE_LIST && h->result[op].kind != VALUE_NIL) {
            note(a, READ_NOT_A_LIST, op, NONE, h->result[op]);
        } else if (l->longest == NONE || list_size(h->result[op]) > size) {
            l->longest = i;
            size = list_size(h->result[op]);
        }
    }
}

/* Buckets the reads that are prefixes of the longest by length; the others diverge. False if the time is up. */
static bool sort_reads(struct append_check *a, struct lists *l) {
    const struct history *h = a->h;
    struct value all = h->result[l->ops[l->longest]];
    uint32_t size = list_size(all), kept = 0;
    uint32_t *prefixes = xmalloc(l->count * sizeof *prefixes);
    l->first = xcalloc((size_t)size + 2, sizeof *l->first);
    bool in_time = true;
    for (uint32_t i = 0; i < l->count && in_time; i++) {
        struct value read = h->result[l->ops[i]];
        if (!is_read(h, l->ops[i]) || (read.kind != VALUE_LIST && read.kind != VALUE_NIL)) continue;
        uint32_t length = list_size(read), same = 0;
        while (same < length && history_value_equal(h, h->pool[read.first + same], h->pool[all.first + same])) same++;
        if (same < length) {
            note(a, READ_DIVERGES, l->ops[i], l->ops[l->longest], h->pool[read.first + same]);
        } else {
            l->first[length + 1]++;
            prefixes[kept++] = i;
        }
        in_time = !budget_spent_by(&a->budget, work_of(same) + 8);
    }
    for (uint32_t i = 0; i <= size; i++) l->first[i + 1] += l->first[i];
    l->reads_of_length = xmalloc(kept * sizeof *l->reads_of_length);
    for (uint32_t k = 0; k < kept; k++)
        l->reads_of_length[l->first[list_size(h->result[l->ops[prefixes[k]]])]++] = prefixes[k];
    for (uint32_t i = size + 1; i > 0; i--) l->first[i] = l->first[i - 1]; /* the filling moved each start to its end */
    l->first[0] = 0;
    free(prefixes);
    return in_time;
}

/* --- the one pass ------------------------------------------------------------------------------------------------- */

/* Of what stands in the sequence so far: the append and the read that began last. */
struct front {
    uint32_t latest_append, latest_read; /* indexes; NONE */
};

static bool began_after_end(const struct lists *l, uint32_t x, uint32_t y) {
    return x != NONE && l->returned[y] != NONE && l->invoked[x] > l->returned[y];
}

static void judge_append(struct append_check *a, const struct lists *l, struct front *front, uint32_t y) {
    struct value element = a->h->argument[l->ops[y]];
    if (began_after_end(l, front->latest_read, y)) {
        note(a, READ_STALE, l->ops[front->latest_read], l->ops[y], element);
    } else if (began_after_end(l, front->latest_append, y)) {
        note(a, APPEND_DISORDER, l->ops[front->latest_append], l->ops[y], element);
    }
    if (front->latest_append == NONE || l->invoked[y] > l->invoked[front->latest_append]) front->latest_append = y;
}

static void judge_read(struct append_check *a, const struct lists *l, struct front *front, uint32_t y) {
    if (began_after_end(l, front->latest_read, y)) {
        note(a, READ_STALE, l->ops[front->latest_read], l->ops[y], VALUE_OF_NIL);
    } else if (began_after_end(l, front->latest_append, y)) {
        note(a, READ_FUTURE, l->ops[y], l->ops[front->latest_append], a->h->argument[l->ops[front->latest_append]]);
    }
    if (front->latest_read == NONE || l->invoked[y] > l->invoked[front->latest_read]) front->latest_read = y;
}

/* Looks up an element of the longest read: the append that put it there, or NONE and an anomaly. */
static uint32_t appender_of(struct append_check *a, const struct lists *l, struct value element, uint8_t *seen) {
    uint32_t read = l->ops[l->longest], id = values_intern(&a->values, a->h, element);
    if (id >= l->ids || (l->appender[id] == NONE && l->failed[id] == NONE)) {
        note(a, APPEND_NEVER, read, NONE, element);
        return NONE;
    }
    if (l->appender[id] == NONE) {
        note(a, APPEND_FAILED, read, l->ops[l->failed[id]], element);
        return NONE;
    }
    uint32_t append = l->appender[id];
    if (seen[append]) {
        note(a, APPEND_TWICE, read, l->ops[append], element);
        return NONE;
    }
    seen[append] = 1;
    return append;
}

static void judge_unseen(struct append_check *a, const struct lists *l, const struct front *front,
                         const uint8_t *seen) {
    bool untold = false;
    for (uint32_t y = 0; y < l->count; y++) {
        uint32_t op = l->ops[y];
        if (a->h->f[op] != OP_APPEND || a->h->status[op] != OP_OK || seen[y]) continue;
        if (began_after_end(l, front->latest_read, y)) {
            note(a, APPEND_LOST, op, l->ops[front->latest_read], a->h->argument[op]);
        } else if (began_after_end(l, front->latest_append, y)) {
            note(a, APPEND_LOST, op, l->ops[front->latest_append], a->h->argument[op]);
        } else {
            untold = true;
        }
    }
    if (untold)
        set_unknown(a, l, "no read began after its last acknowledged appends, so whether they last is not known");
}

static void judge_key(struct append_check *a, struct lists *l) {
    struct front front = {NONE, NONE};
    uint8_t *seen = xcalloc(l->count, 1);
    find_longest(a, l);
    if (l->longest != NONE && !sort_reads(a, l)) set_unknown(a, l, "the time allowed was spent");
    if (l->longest != NONE) {
        struct value all = a->h->result[l->ops[l->longest]];
        for (uint32_t length = 0; length <= list_size(all); length++) {
            uint32_t append = NONE;
            if (length) append = appender_of(a, l, a->h->pool[all.first + length - 1], seen);
            if (append != NONE) judge_append(a, l, &front, append);
            for (uint32_t i = l->first[length]; i < l->first[length + 1]; i++)
                judge_read(a, l, &front, l->reads_of_length[i]);
        }
    }
    judge_unseen(a, l, &front, seen);
    free(seen);
}

/* --- telling ------------------------------------------------------------------------------------------------------ */

static void print_gap(const struct history *h, uint32_t earlier, uint32_t later, struct buffer *out) {
    print_duration(h->invoke_ns[later] - h->complete_ns[earlier], out);
}

static void print_anomaly(const struct append_check *a, const struct anomaly *n, struct buffer *out) {
    const struct history *h = a->h;
    unsigned process = (unsigned)h->process[n->op], other = n->other == NONE ? 0 : (unsigned)h->process[n->other];
    struct buffer element = {0};
    print_value(h, n->element, &element);
    const char *text = buffer_text(&element);
    print_key(h, h->key[n->op], out);
    switch (n->kind) {
    case APPEND_LOST:
        buffer_printf(out, ": append %s by process %u was acknowledged, but is missing %s process %u that began ", text,
                      process, h->f[n->other] == OP_READ ? "from a read by" : "before an append by", other);
        print_gap(h, n->op, n->other, out);
        buffer_printf(out, " later");
        break;
    case APPEND_TWICE: buffer_printf(out, ": read by process %u returned %s twice", process, text); break;
    case APPEND_FAILED:
        buffer_printf(out, ": read by process %u returned %s, whose append by process %u failed", process, text, other);
        break;
    case APPEND_NEVER:
        buffer_printf(out, ": read by process %u returned %s, which nobody appended", process, text);
        break;
    case READ_NOT_A_LIST: buffer_printf(out, ": read by process %u returned %s, not a list", process, text); break;
    case READ_DIVERGES:
        buffer_printf(out,
                      ": read by process %u returned %s where the longest read, by process %u, has another element",
                      process, text, other);
        break;
    case APPEND_DISORDER:
        buffer_printf(out, ": append %s by process %u was acknowledged ", text, other);
        print_gap(h, n->other, n->op, out);
        buffer_printf(out, " before an append by process %u began that stands before it", process);
        break;
    case READ_STALE:
        buffer_printf(out, ": read by process %u lacks ", process);
        if (h->f[n->other] == OP_READ) {
            buffer_printf(out, "elements that a read by process %u had returned ", other);
        } else {
            buffer_printf(out, "%s, whose append by process %u was acknowledged ", text, other);
        }
        print_gap(h, n->other, n->op, out);
        buffer_printf(out, " before it began");
        break;
    case READ_FUTURE:
        buffer_printf(out, ": read by process %u returned %s, whose append by process %u began only ", process, text,
                      other);
        print_gap(h, n->op, n->other, out);
        buffer_printf(out, " later");
        break;
    case ANOMALY_KINDS: break;
    }
    buffer_free(&element);
}

static void tell_anomalies(const struct append_check *a, bool verdict_only) {
    const struct anomaly *worst = &a->anomalies[0];
    uint32_t ops[2 * ANOMALIES_MAX], ops_count = 0;
    struct buffer line = {0}, text = {0};
    for (uint32_t i = 0; i < a->anomalies_count; i++) {
        const struct anomaly *n = &a->anomalies[i];
        if (n->kind < worst->kind) worst = n;
        ops[ops_count++] = n->op;
        if (n->other != NONE) ops[ops_count++] = n->other;
        if (verdict_only) continue;
        print_anomaly(a, n, &text);
        buffer_printf(&text, "\n");
    }
    print_anomaly(a, worst, &line);
    const char *before = " (in all: ";
    for (uint32_t kind = 0; kind < ANOMALY_KINDS; kind++) {
        if (a->counts[kind] == 0) continue;
        buffer_printf(&line, "%s%llu %s", before, (unsigned long long)a->counts[kind], kind_names[kind]);
        before = ", ";
    }
    buffer_printf(&line, ")");
    result_set(a->out, VERDICT_INVALID, "%s", buffer_text(&line));
    buffer_free(&line);
    if (verdict_only) return;
    result_ops(a->out, ops, ops_count);
    buffer_printf(&text, "\n");
    check_print_ops(a->h, a->out->ops, a->out->ops_count, &text);
    result_explain(a->out, &text);
}

/* Positions, the order that they are made from, the reads twice, and what was seen. */
#define BYTES_PER_OP (uint64_t)(8 * sizeof(uint32_t) + 1)
#define BYTES_PER_VALUE (uint64_t)(3 * sizeof(uint32_t)) /* beside the table of values: who appended, reads by length */

/* What a key takes at most; false if the budget is spent. */
static bool claim_key(struct append_check *a, const struct lists *l, uint64_t *bytes) {
    const struct history *h = a->h;
    uint64_t appended = 0, longest = 0;
    for (uint32_t i = 0; i < l->count; i++) {
        uint32_t op = l->ops[i];
        uint64_t values = values_in(h, h->f[op] == OP_APPEND ? h->argument[op] : h->result[op]);
        if (h->f[op] == OP_APPEND) appended += values;
        if (h->f[op] == OP_READ && values > longest) longest = values;
        if (budget_spent_by(&a->budget, work_of(values))) return false;
    }
    *bytes = l->count * BYTES_PER_OP + (appended + longest) * BYTES_PER_VALUE;
    *bytes += values_bytes_with(&a->values, appended + longest);
    return budget_claim(&a->budget, *bytes);
}

static void check_key(struct append_check *a, const uint32_t *ops, uint32_t count) {
    struct lists l = {.ops = ops, .count = count};
    uint64_t bytes = 0;
    if (!is_list(a, &l) || !claim_key(a, &l, &bytes)) return;
    l.invoked = xmalloc(2 * (size_t)count * sizeof *l.invoked);
    l.returned = l.invoked + count;
    order_events(a->h, ops, count, l.invoked, l.returned);
    if (index_appends(a, &l)) judge_key(a, &l);
    free(l.invoked);
    free(l.appender);
    free(l.reads_of_length);
    free(l.first);
    budget_release(&a->budget, bytes);
}

static void judge(const void *what, const struct history *h, const struct check_options *o, struct check_result *out) {
    (void)what;
    result_start(out, "append");
    if (!history_trusted(h, out)) return;
    struct append_check a = {.h = h, .out = out, .budget = budget_of(o)};
    struct groups groups;
    (void)groups_make(&groups, h, &a.budget); /* else there is no group, and the budget is spent */
    for (uint32_t g = 0; g < groups.count && !budget_spent_now(&a.budget); g++)
        check_key(&a, groups.ops + groups.first[g], groups.first[g + 1] - groups.first[g]);
    uint64_t anomalies = 0;
    for (uint32_t kind = 0; kind < ANOMALY_KINDS; kind++) anomalies += a.counts[kind];
    if (anomalies) {
        tell_anomalies(&a, o && o->verdict_only);
    } else if (a.unknown.size) {
        result_set(out, VERDICT_UNKNOWN, "%s", buffer_text(&a.unknown));
    } else if (a.budget.state != BUDGET_LEFT) {
        budget_tell(&a.budget, out);
    } else if (a.appends == 0) {
        result_set(out, VERDICT_UNKNOWN, "nothing was appended, so there is nothing to check");
    } else {
        result_set(out, VERDICT_VALID, "%llu appends, %llu reads, %u key%s", (unsigned long long)a.appends,
                   (unsigned long long)a.reads, groups.count, groups.count == 1 ? "" : "s");
    }
    buffer_free(&a.unknown);
    values_free(&a.values);
    groups_free(&groups);
}

void check_append(const struct history *h, const struct check_options *o, struct check_result *out) {
    const struct evidence e = {.check = judge, .object = "list", .words = KEEP_WORDS};
    check_with_evidence(h, &e, o, out);
}
