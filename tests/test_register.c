/* The decider for registers against a brute-force oracle: verdicts, the shortest prefix, and counterexamples that are
 * proofs of which nothing can be left out. HARROW_TEST_LONG=1 tries a million histories. */
#include "checkers/register_internal.h"
#include "checkers/search_internal.h"
#include "tests/check_histories.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static uint32_t rounds(uint32_t count) {
    if (getenv("HARROW_TEST_LONG")) return 20 * count;
    return getenv("HARROW_TEST_QUICK") ? count / 20 + 1 : count;
}

/* --- histories ---------------------------------------------------------------------------------------------------- */

#define OPS_MAX 12u

struct planned {
    uint64_t begin, end, effect; /* effect UINT64_MAX: never */
    uint16_t f;
    enum op_status status;
    struct value expected, value, result;
    uint32_t number, process;
};

struct taste { /* of one random history */
    uint32_t ops, cas_ppm, read_ppm, info_ppm, fail_ppm, delete_ppm, repeat_ppm, wrong;
    uint64_t instants, long_most;
};

static struct taste draw_taste(struct prng *p) {
    static const uint32_t often[] = {0, 50000, 150000, 400000};
    return (struct taste){
        .ops = (uint32_t)prng_between(p, 2, OPS_MAX),
        .cas_ppm = prng_below(p, 3) ? (uint32_t)prng_below(p, 1000000) : 0,
        .read_ppm = (uint32_t)prng_between(p, 200000, 700000),
        .info_ppm = often[prng_below(p, 4)],
        .fail_ppm = often[prng_below(p, 3)],
        .delete_ppm = prng_below(p, 4) ? 0 : 300000,
        .repeat_ppm = prng_below(p, 4) ? 0 : 200000,
        .wrong = (uint32_t)prng_below(p, 4),
        .instants = prng_below(p, 3) ? 1000000 : 12,
        .long_most = prng_between(p, 1, 6),
    };
}

static int by_begin(const void *a, const void *b) {
    const struct planned *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->number < y->number ? -1 : 1;
}

static int by_effect(const void *a, const void *b) {
    const struct planned *x = *(struct planned *const *)a, *y = *(struct planned *const *)b;
    if (x->effect != y->effect) return x->effect < y->effect ? -1 : 1;
    return x->number < y->number ? -1 : 1;
}

static void plan(struct prng *p, const struct taste *t, struct planned *o, uint32_t number) {
    bool read = prng_chance(p, t->read_ppm), cas = prng_chance(p, t->cas_ppm);
    uint64_t length = t->instants * prng_between(p, 1, t->long_most) / 6;
    *o = (struct planned){.number = number, .process = number, .status = OP_OK, .expected = VALUE_OF_NIL};
    o->f = read ? OP_READ : cas ? OP_CAS : prng_chance(p, t->delete_ppm) ? OP_DELETE : OP_WRITE;
    o->value = VALUE_OF_INT(prng_chance(p, t->repeat_ppm) ? (int64_t)prng_between(p, 1, 3) : (int64_t)number + 1);
    o->begin = prng_below(p, 2 * t->instants);
    o->end = o->begin + prng_below(p, length + 1);
    o->effect = prng_between(p, o->begin, o->end);
    if (prng_chance(p, t->fail_ppm)) {
        o->status = OP_FAIL;
        o->effect = UINT64_MAX;
    } else if (prng_chance(p, t->info_ppm)) {
        o->status = prng_below(p, 3) ? OP_INFO : OP_PENDING;
        o->effect = prng_below(p, 3) ? o->begin + prng_below(p, 2 * t->instants) : UINT64_MAX;
    }
}

static struct value some_value(struct prng *p, const struct planned *ops, uint32_t count) {
    const struct planned *o = &ops[prng_below(p, count)];
    if (prng_below(p, 30) == 0) return VALUE_OF_INT(99);
    return o->f == OP_READ || o->f == OP_DELETE ? VALUE_OF_NIL : o->value;
}

/* In order of effect, on a real register. A cas mostly expects what is there. */
static void take_effects(struct prng *p, struct planned *ops, uint32_t count) {
    struct planned *effects[OPS_MAX];
    struct value state = VALUE_OF_NIL;
    for (uint32_t i = 0; i < count; i++) effects[i] = &ops[i];
    qsort(effects, count, sizeof *effects, by_effect);
    for (uint32_t i = 0; i < count; i++) {
        struct planned *o = effects[i];
        bool happens = o->effect != UINT64_MAX;
        o->expected = prng_below(p, 5) ? state : some_value(p, ops, count);
        o->result = o->f == OP_READ ? state : VALUE_OF_NIL;
        bool met = o->expected.kind == state.kind && o->expected.integer == state.integer;
        if (o->f == OP_CAS && happens && !met) {
            o->result = o->status == OP_OK ? state : VALUE_OF_NIL;
            o->status = o->status == OP_OK ? OP_FAIL : o->status;
        } else if (happens && o->f != OP_READ) {
            state = o->f == OP_DELETE ? VALUE_OF_NIL : o->value;
        }
    }
}

static struct history *record(const struct planned *ops, uint32_t count) {
    struct history *h = history_new();
    for (uint32_t i = 0; i < count; i++) {
        const struct planned *o = &ops[i];
        struct value argument = o->f == OP_WRITE ? o->value : VALUE_OF_NIL;
        if (o->f == OP_CAS) argument = history_pair(h, o->expected, o->value);
        add_op(h, o->process, o->begin, o->end, o->f, "x", argument, o->status, o->result);
    }
    return h;
}

/* Valid by construction, then changed in up to three places. */
static struct history *draw_history(struct prng *p) {
    struct taste t = draw_taste(p);
    struct planned ops[OPS_MAX];
    for (uint32_t i = 0; i < t.ops; i++) plan(p, &t, &ops[i], i);
    take_effects(p, ops, t.ops);
    for (uint32_t i = 0; i < t.wrong; i++) {
        struct planned *o = &ops[prng_below(p, t.ops)];
        if (o->f == OP_READ || (o->f == OP_CAS && o->status == OP_FAIL)) o->result = some_value(p, ops, t.ops);
        if (o->f == OP_CAS && o->status != OP_FAIL) o->expected = some_value(p, ops, t.ops);
        if (o->f == OP_WRITE) o->end = o->begin + (o->end - o->begin) / 2;
    }
    qsort(ops, t.ops, sizeof *ops, by_begin);
    return record(ops, t.ops);
}

static void print_history(const struct history *h) {
    struct buffer text = {0};
    uint32_t ops[OPS_MAX];
    for (uint32_t op = 0; op < h->count; op++) ops[op] = op;
    check_print_ops(h, ops, h->count, &text);
    fprintf(stderr, "%.*s", (int)text.size, (const char *)text.data);
    buffer_free(&text);
}

/* --- an oracle of calls ------------------------------------------------------------------------------------------- */

/* Tries every order of the calls of a partition; placed calls are bits. */
static bool can_go_on(const struct partition *p, uint32_t placed, uint32_t state) {
    uint32_t first_return = NONE;
    for (uint32_t c = 0; c < p->count; c++)
        if (!(placed >> c & 1) && p->calls[c].returned < first_return) first_return = p->calls[c].returned;
    if (first_return == NONE) return true;
    for (uint32_t c = 0; c < p->count; c++) {
        const struct call *call = &p->calls[c];
        if (placed >> c & 1 || call->invoked > first_return) continue;
        if (call->guard != GUARD_ANY && call->guard != state) continue;
        uint32_t after = call->effect == EFFECT_SET ? call->value : state;
        if (can_go_on(p, placed | UINT32_C(1) << c, after)) return true;
    }
    return false;
}

static bool calls_linearizable(const struct partition *p) {
    return can_go_on(p, 0, p->initial);
}

static bool is_set(const struct partition *p, const uint8_t *keep, uint32_t value) {
    for (uint32_t c = 0; c < p->count; c++)
        if (keep[c] && p->calls[c].effect == EFFECT_SET && p->calls[c].value == value) return true;
    return value == p->initial;
}

/* Without a call, and without what would then be wrong merely because the call is missing: reads of its value go too,
 * and cas from it become writes. */
static void without(const struct partition *p, uint32_t gone, struct partition *into) {
    uint8_t keep[OPS_MAX];
    uint64_t items[OPS_MAX];
    uint32_t count = 0;
    memset(keep, 1, sizeof keep);
    keep[gone] = 0;
    for (uint32_t c = 0; c < p->count; c++) {
        const struct call *call = &p->calls[c];
        bool missing = call->guard != GUARD_ANY &&
                       is_set(p, (uint8_t[OPS_MAX]){[0 ... OPS_MAX - 1] = 1}, call->guard) &&
                       !is_set(p, keep, call->guard);
        if (!keep[c] || (missing && call->effect == EFFECT_NONE)) continue;
        items[count++] = (uint64_t)c << 1 | !missing;
    }
    partition_pick(p, items, count, NONE - 1, into);
}

/* --- agreement ---------------------------------------------------------------------------------------------------- */

struct tally {
    uint32_t valid, invalid, undecided, scanned, by_kind[VIOLATION_CROSSING + 1];
};

struct trial {
    const struct history *h;
    struct values values;
    struct partition p, scratch;
    struct search *search;
    struct budget budget;
};

static void trial_start(struct trial *t, const struct history *h) {
    struct groups groups;
    const char *why;
    uint32_t bad;
    *t = (struct trial){.h = h, .search = search_new(), .budget = budget_of(NULL)};
    t->p.values = &t->values;
    groups_make(&groups, h);
    assert_int_equal(groups.count, 1);
    assert_true(partition_make(&t->p, model_find("kv"), h, groups.key[0], groups.ops, h->count, &bad, &why));
    groups_free(&groups);
}

static void trial_end(struct trial *t) {
    partition_free(&t->p);
    partition_free(&t->scratch);
    values_free(&t->values);
    search_free(t->search);
}

static bool prefix_linearizable(struct trial *t, uint32_t returns) {
    if (returns == 0) return true;
    partition_prefix(&t->p, returns, &t->scratch);
    return calls_linearizable(&t->scratch);
}

/* The first wrong thing about an invalid verdict; NULL if there is none. */
static const char *counterexample_wrong(struct trial *t) {
    uint32_t returns = t->search->registers.violation.returns;
    if (!prefix_linearizable(t, returns)) return "the prefix before is invalid already";
    if (prefix_linearizable(t, returns + 1)) return "the prefix is valid";
    struct partition evidence = {0};
    const char *wrong = NULL;
    if (!register_evidence(t->search, &t->p, &evidence) || calls_linearizable(&evidence))
        wrong = "the evidence proves nothing";
    partition_free(&evidence);
    struct counterexample ce;
    counterexample_find(&ce, t->search, &t->p, &t->budget);
    if (calls_linearizable(&ce.least)) wrong = "the counterexample is valid";
    if (ce.least.calls[ce.last].op != t->p.calls[t->p.returns[returns]].op) wrong = "it ends elsewhere";
    for (uint32_t c = 0; c < ce.least.count && !wrong; c++) {
        without(&ce.least, c, &t->scratch);
        if (!calls_linearizable(&t->scratch)) wrong = "it is not minimal";
        uint32_t guard = ce.least.calls[c].guard;
        bool sourceless = guard != GUARD_ANY && !is_set(&ce.least, (uint8_t[OPS_MAX]){[0 ... OPS_MAX - 1] = 1}, guard);
        bool set = false;
        for (uint32_t k = 0; k < t->p.count; k++)
            set |= t->p.calls[k].effect == EFFECT_SET && t->p.calls[k].value == guard &&
                   t->p.calls[k].invoked < ce.least.calls[ce.last].returned;
        if (sourceless && set) wrong = "it lacks the setter of a value";
    }
    counterexample_free(&ce);
    return wrong;
}

/* The scan of the history says the same, if it says anything. */
static const char *scan_wrong(struct trial *t, enum decision decision, uint32_t returns, uint32_t *scanned) {
    struct scan_finding found;
    uint32_t ops[OPS_MAX], bad;
    const char *why, *wrong = NULL;
    for (uint32_t op = 0; op < t->h->count; op++) ops[op] = op;
    enum decision scan = register_scan(model_find("kv"), t->h, ops, t->h->count, &t->budget, &found);
    if (scan != UNDECIDED && scan != decision) wrong = "the scan says something else";
    if (scan == DECIDED_INVALID && !wrong) {
        const struct extent *x = &found.whole;
        if (x->calls != t->p.count || x->returns != t->p.returns_count || x->position != returns)
            wrong = "the scan found it elsewhere";
        struct partition part = {.values = &t->values};
        assert_true(partition_make(&part, model_find("kv"), t->h, t->p.key, found.ops, found.ops_count, &bad, &why));
        if (calls_linearizable(&part)) wrong = "the scan's operations prove nothing";
        partition_free(&part);
    }
    *scanned += scan != UNDECIDED;
    free(found.ops);
    return wrong;
}

static void try_history(const struct history *h, uint64_t seed, struct tally *tally) {
    struct trial t;
    trial_start(&t, h);
    enum decision decision = register_decide(t.search, &t.p, &t.budget);
    enum violation_kind kind = t.search->registers.violation.kind;
    uint32_t returns = t.search->registers.violation.returns;
    bool linearizable = calls_linearizable(&t.p);
    const char *wrong = NULL;
    if (decision == DECIDED_VALID) {
        tally->valid++;
        if (!linearizable) wrong = "it says valid";
    } else if (decision == DECIDED_INVALID) {
        tally->invalid++;
        tally->by_kind[kind]++;
        wrong = linearizable ? "it says invalid" : counterexample_wrong(&t);
    } else {
        tally->undecided++;
    }
    const char *scan = scan_wrong(&t, decision, returns, &tally->scanned); /* last: it uses the values for itself */
    wrong = wrong ? wrong : scan;
    /* The calls say the same as the history, as far as touching operations leave no doubt. */
    bool weak = oracle_linearizable(h, "kv", TOUCHING_IS_CONCURRENT);
    bool strong = oracle_linearizable(h, "kv", TOUCHING_OF_ONE_PROCESS);
    if (weak == strong && linearizable != strong) wrong = "the calls are not the history";
    if (wrong) {
        fprintf(stderr, "seed %llu, kind %u: %s\n", (unsigned long long)seed, (unsigned)kind, wrong);
        print_history(h);
        fail();
    }
    trial_end(&t);
}

static void agrees_with_the_oracle(void **state) {
    (void)state;
    struct tally tally = {0};
    uint32_t count = rounds(50000);
    for (uint64_t seed = 0; seed < count; seed++) {
        struct prng p;
        prng_seed(&p, seed, 900);
        struct history *h = draw_history(&p);
        try_history(h, seed, &tally);
        history_free(h);
    }
    print_message(
        "%u valid, %u invalid (unwritten %u, fork %u, cycle %u, late %u, crossing %u), %u undecided, %u scanned\n",
        tally.valid, tally.invalid, tally.by_kind[VIOLATION_UNWRITTEN], tally.by_kind[VIOLATION_FORK],
        tally.by_kind[VIOLATION_CYCLE], tally.by_kind[VIOLATION_LATE], tally.by_kind[VIOLATION_CROSSING],
        tally.undecided, tally.scanned);
    assert_true(tally.scanned > count / 20);
    assert_true(tally.valid > count / 10 && tally.invalid > count / 10 && tally.undecided < count / 4);
    for (uint32_t kind = VIOLATION_UNWRITTEN; kind <= VIOLATION_CROSSING; kind++) assert_true(tally.by_kind[kind] > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_oracle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
