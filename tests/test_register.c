/* The decider for registers against a brute-force oracle: verdicts, the shortest prefix, and counterexamples that are
 * proofs of which nothing can be left out. HARROW_TEST_LONG=1 tries a million histories. */
#include "checkers/register_internal.h"
#include "checkers/search_internal.h"
#include "harness/bench/histories.h"
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
    const char *key;
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
    *o = (struct planned){.number = number, .process = number, .status = OP_OK, .expected = VALUE_OF_NIL, .key = "x"};
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
    assert(count <= OPS_MAX);
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
        add_op(h, o->process, o->begin, o->end, o->f, o->key, argument, o->status, o->result);
    }
    return h;
}

/* Valid by construction, then changed in up to three places. */
static struct history *draw_history(struct prng *p, bool repeats) {
    struct taste t = draw_taste(p);
    struct planned ops[OPS_MAX];
    if (repeats) t.repeat_ppm = 900000;
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
    assert_true(groups_make(&groups, h, &t->budget));
    assert_int_equal(groups.count, 1);
    assert_true(
        partition_make(&t->p, model_find("kv"), h, groups.key[0], groups.ops, h->count, &t->budget, &bad, &why));
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
    uint32_t bad;
    const char *why, *wrong = NULL;
    enum decision scan = register_scan(model_find("kv"), t->h, &t->budget, &found);
    if (scan != UNDECIDED && scan != decision) wrong = "the scan says something else";
    if (scan == DECIDED_INVALID && !wrong) {
        const struct extent *x = &found.whole;
        if (x->calls != t->p.count || x->returns != t->p.returns_count || x->position != returns)
            wrong = "the scan found it elsewhere";
        struct partition part = {.values = &t->values};
        assert_true(partition_make(&part, model_find("kv"), t->h, t->p.key, found.ops, found.ops_count, &t->budget,
                                   &bad, &why));
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
        struct history *h = draw_history(&p, false);
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

/* Several keys, whose values differ among all or only among those of one, and are near together or far apart. */
static struct history *draw_keys(struct prng *p, bool apart, bool wide) {
    static const char *const names[] = {"x", "y", "z"};
    struct taste t = draw_taste(p);
    struct history *h = history_new();
    struct planned ops[3 * OPS_MAX];
    uint32_t keys = (uint32_t)prng_between(p, 2, 3), count = 0;
    t.cas_ppm = t.delete_ppm = t.repeat_ppm = 0;
    for (uint32_t k = 0; k < keys; k++) {
        t.ops = (uint32_t)prng_between(p, 1, 6);
        for (uint32_t i = 0; i < t.ops; i++) {
            plan(p, &t, &ops[count + i], count + i);
            if (apart) ops[count + i].value.integer = (int64_t)i + 1;
            if (wide) ops[count + i].value.integer *= INT64_C(1) << 10 * (1 + i % 2); /* the oracle takes 32 bits */
        }
        take_effects(p, ops + count, t.ops);
        for (uint32_t i = 0; i < t.ops; i++) ops[count + i].key = names[k];
        count += t.ops;
    }
    for (uint32_t i = 0; i < t.wrong; i++) {
        struct planned *o = &ops[prng_below(p, count)];
        if (o->f == OP_READ) o->result = some_value(p, ops, count);
    }
    qsort(ops, count, sizeof *ops, by_begin);
    for (uint32_t i = 0; i < count; i++) {
        const struct planned *o = &ops[i];
        struct value argument = o->f == OP_WRITE ? o->value : VALUE_OF_NIL;
        add_op(h, o->process, o->begin, o->end, o->f, o->key, argument, o->status, o->result);
    }
    return h;
}

static bool ops_linearizable(const struct history *h, const uint32_t *ops, uint32_t count) {
    struct history *part = history_of(h, ops, count);
    bool linearizable = oracle_linearizable(part, "register", TOUCHING_OF_ONE_PROCESS);
    history_free(part);
    return linearizable;
}

static void scans_each_key_by_itself(void **state) {
    (void)state;
    uint32_t count = rounds(20000), valid = 0, invalid = 0;
    for (uint64_t seed = 0; seed < count; seed++) {
        struct prng p;
        prng_seed(&p, seed, 901);
        struct history *h = draw_keys(&p, seed % 2, seed % 4 > 1);
        struct scan_finding found;
        struct budget budget = budget_of(NULL);
        struct check_result r;
        enum decision decision = register_scan(model_find("register"), h, &budget, &found);
        check_linearizable(h, model_find("register"), NULL, &r); /* so few operations are not scanned */
        if (decision == DECIDED_VALID) assert_int_equal(r.verdict, VERDICT_VALID);
        if (decision == DECIDED_INVALID) {
            assert_int_equal(r.verdict, VERDICT_INVALID);
            assert_false(ops_linearizable(h, found.ops, found.ops_count));
            for (uint32_t i = 0; i < found.ops_count; i++) assert_int_equal(h->key[found.ops[i]], found.key);
        }
        valid += decision == DECIDED_VALID;
        invalid += decision == DECIDED_INVALID;
        check_result_free(&r);
        free(found.ops);
        history_free(h);
    }
    assert_true(valid > count / 5 && invalid > count / 20);
}

static void tells_sets_of_a_value_apart(void **state) {
    (void)state;
    uint32_t count = rounds(50000), invalid = 0;
    for (uint64_t seed = 0; seed < count; seed++) {
        struct prng p;
        prng_seed(&p, seed, 903);
        struct history *h = draw_history(&p, true);
        struct trial t;
        trial_start(&t, h);
        bool linearizable = calls_linearizable(&t.p);
        enum decision decision = register_sources_decide(t.search, &t.p, &t.budget);
        if (decision != UNDECIDED && linearizable != (decision == DECIDED_VALID)) {
            fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
            print_history(h);
            fail();
        }
        invalid += decision == DECIDED_INVALID;
        trial_end(&t);
        history_free(h);
    }
    assert_true(invalid > count / 10);
}

/* --- longer histories --------------------------------------------------------------------------------------------- */

static void change_a_read(struct prng *p, struct history *h) {
    uint32_t op = (uint32_t)prng_below(p, h->count), other = (uint32_t)prng_below(p, h->count);
    if (h->f[op] == OP_READ && h->f[other] == OP_READ) h->result[op] = h->result[other];
}

static void agrees_with_the_search(void **state) {
    (void)state;
    uint32_t count = rounds(4000), decided = 0, invalid = 0;
    for (uint64_t seed = 0; seed < count; seed++) {
        struct prng p;
        prng_seed(&p, seed, 902);
        struct bench_shape shape = {.keys = 1, .read_ppm = 500000, .cas = prng_below(&p, 2)};
        shape.ops = (uint32_t)prng_between(&p, 20, 150);
        shape.clients = (uint32_t)prng_between(&p, 2, 8);
        shape.info_ppm = prng_below(&p, 2) ? 30000 : 0;
        struct history *h = bench_history(&shape, seed);
        for (uint32_t changes = (uint32_t)prng_below(&p, 3); changes > 0; changes--) change_a_read(&p, h);
        struct trial t;
        trial_start(&t, h);
        enum decision decision = register_decide(t.search, &t.p, &t.budget);
        partition_drop_unobserved(&t.p);
        struct budget budget = budget_of(&(struct check_options){.deadline_ms = 200});
        enum decision searched = search_decide(t.search, &t.p, &budget);
        if (searched != UNDECIDED) assert_int_equal(decision, searched);
        decided += searched != UNDECIDED;
        invalid += decision == DECIDED_INVALID;
        trial_end(&t);
        history_free(h);
    }
    assert_true(decided > count / 2 && invalid > count / 20);
}

static void spread_values(struct history *h) {
    for (uint32_t op = 0; op < h->count; op++) {
        struct value *v = h->f[op] == OP_READ ? &h->result[op] : &h->argument[op];
        if (v->kind == VALUE_INT) v->integer *= INT64_C(0x100000001);
    }
}

/* The scan looks at zones in no order of time; the chains go through the returns. They name the same return. */
static void the_scan_finds_what_the_chains_find(void **state) {
    (void)state;
    uint32_t count = rounds(4000), valid = 0, invalid = 0;
    for (uint64_t seed = 0; seed < count; seed++) {
        struct prng p;
        prng_seed(&p, seed, 904);
        struct bench_shape shape = {.keys = 1, .read_ppm = 500000};
        shape.ops = (uint32_t)prng_between(&p, 20, 500);
        shape.clients = (uint32_t)prng_between(&p, 2, 30);
        shape.info_ppm = prng_below(&p, 2) ? 100000 : 0;
        struct history *h = bench_history(&shape, seed);
        for (uint32_t changes = (uint32_t)prng_below(&p, 6); changes > 0; changes--) change_a_read(&p, h);
        if (prng_below(&p, 2)) spread_values(h);
        struct trial t;
        trial_start(&t, h);
        struct scan_finding found;
        enum decision decision = register_decide(t.search, &t.p, &t.budget);
        assert_int_equal(register_scan(model_find("register"), h, &t.budget, &found), decision);
        if (decision == DECIDED_INVALID) {
            assert_int_equal(found.whole.position, t.search->registers.violation.returns);
            if (found.ops_count <= OPS_MAX) assert_false(ops_linearizable(h, found.ops, found.ops_count));
        }
        valid += decision == DECIDED_VALID;
        invalid += decision == DECIDED_INVALID;
        free(found.ops);
        trial_end(&t);
        history_free(h);
    }
    assert_true(valid > count / 5 && invalid > count / 5);
}

static struct check_result check_made(const struct bench_shape *shape, enum verdict expected) {
    struct history *h = bench_history(shape, 7);
    struct check_result r;
    check_linearizable(h, model_find(shape->cas ? "cas-register" : "register"), NULL, &r);
    assert_int_equal(r.verdict, expected);
    if (expected == VERDICT_INVALID) {
        assert_in_range(r.ops_count, 2, 6);
        assert_false(ops_linearizable(h, r.ops, r.ops_count));
    }
    history_free(h);
    return r;
}

/* Far more operations than a search could take, and among them a single stale read. */
static void finds_a_stale_read_among_many(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 16; i++) {
        struct bench_shape shape = {.ops = 20000, .clients = i & 1 ? 100 : 10, .read_ppm = 500000};
        shape.keys = i & 2 ? 7 : 1;
        shape.cas = i & 4;
        shape.info_ppm = i & 8 ? 50000 : 0;
        struct check_result r = check_made(&shape, VERDICT_VALID);
        check_result_free(&r);
        shape.stale = true;
        r = check_made(&shape, VERDICT_INVALID);
        check_result_free(&r);
    }
}

/* Where values repeat there is no evidence from chains, and a search would have to try everything. */
static void finds_a_replaced_value_among_few(void **state) {
    (void)state;
    const struct bench_shape shape = {
        .ops = 20000, .clients = 50, .keys = 1, .values = 5, .read_ppm = 500000, .stale = true};
    struct history *h = bench_history(&shape, 7);
    struct check_result r;
    check_linearizable(h, model_find("register"), NULL, &r);
    assert_int_equal(r.verdict, VERDICT_INVALID);
    assert_in_range(r.ops_count, 2, 20);
    assert_false(ops_linearizable(h, r.ops, r.ops_count));
    check_result_free(&r);
    history_free(h);
}

/* --- by hand ------------------------------------------------------------------------------------------------------ */

enum { R = OP_READ, W = OP_WRITE, C = OP_CAS };

struct line {
    uint16_t f;
    int64_t from, to;    /* C: both; W: to; R: from; 0 is nothing */
    uint64_t begin, end; /* end 0: unknown */
};

static struct value value_of(int64_t x) {
    return x ? VALUE_OF_INT(x) : VALUE_OF_NIL;
}

static enum violation_kind kind_of(const struct line *lines, uint32_t count, enum decision *decision) {
    struct history *h = history_new();
    for (uint32_t i = 0; i < count; i++) {
        const struct line *l = &lines[i];
        struct value argument = l->f == W ? value_of(l->to) : VALUE_OF_NIL;
        if (l->f == C) argument = history_pair(h, value_of(l->from), value_of(l->to));
        add_op(h, i, l->begin, l->end ? l->end : l->begin + 1, l->f, "x", argument, l->end ? OP_OK : OP_INFO,
               l->f == R ? value_of(l->from) : VALUE_OF_NIL);
    }
    struct trial t;
    trial_start(&t, h);
    *decision = register_decide(t.search, &t.p, &t.budget);
    enum violation_kind kind = t.search->registers.violation.kind;
    assert_int_equal(*decision == DECIDED_INVALID, kind != VIOLATION_NONE);
    if (*decision != UNDECIDED) assert_int_equal(*decision == DECIDED_VALID, calls_linearizable(&t.p));
    trial_end(&t);
    history_free(h);
    return kind;
}

#define DECIDES(expected, kind, ...)                                                                                   \
    do {                                                                                                               \
        const struct line lines[] = {__VA_ARGS__};                                                                     \
        enum decision decision;                                                                                        \
        assert_int_equal(kind_of(lines, sizeof lines / sizeof *lines, &decision), kind);                               \
        assert_int_equal(decision, expected);                                                                          \
    } while (0)
#define VALID(...) DECIDES(DECIDED_VALID, VIOLATION_NONE, __VA_ARGS__)
#define INVALID(kind, ...) DECIDES(DECIDED_INVALID, kind, __VA_ARGS__)

static void knows_the_ways_to_be_wrong(void **state) {
    (void)state;
    INVALID(VIOLATION_UNWRITTEN, {R, 5, 0, 0, 10});
    INVALID(VIOLATION_UNWRITTEN, {R, 5, 0, 0, 10}, {W, 0, 5, 20, 30});
    INVALID(VIOLATION_UNWRITTEN, {C, 4, 5, 0, 0}, {R, 5, 0, 10, 20});
    INVALID(VIOLATION_FORK, {W, 0, 1, 0, 10}, {C, 1, 2, 20, 30}, {C, 1, 3, 20, 31});
    INVALID(VIOLATION_FORK, {C, 0, 1, 0, 0}, {C, 0, 2, 0, 0}, {R, 1, 0, 5, 10}, {R, 2, 0, 5, 11});
    INVALID(VIOLATION_CYCLE, {C, 1, 2, 0, 10}, {C, 2, 1, 0, 11});
    INVALID(VIOLATION_LATE, {W, 0, 1, 0, 10}, {C, 1, 2, 20, 30}, {R, 1, 0, 40, 50});
    INVALID(VIOLATION_CROSSING, {W, 0, 1, 0, 10}, {W, 0, 2, 20, 30}, {R, 1, 0, 40, 50});
    INVALID(VIOLATION_CROSSING, {W, 0, 1, 0, 10}, {R, 0, 0, 20, 30});
    INVALID(VIOLATION_CROSSING, {W, 0, 1, 0, 50}, {W, 0, 2, 1, 51}, {R, 1, 0, 2, 10}, {R, 2, 0, 20, 30},
            {R, 1, 0, 40, 45});
}

static void takes_unknown_ends_as_they_come(void **state) {
    (void)state;
    VALID({W, 0, 1, 0, 10}, {W, 0, 2, 20, 0}, {R, 1, 0, 40, 50}, {R, 2, 0, 60, 70});
    VALID({W, 0, 1, 0, 10}, {W, 0, 2, 20, 0}, {R, 1, 0, 40, 50});
    INVALID(VIOLATION_CROSSING, {W, 0, 1, 0, 10}, {W, 0, 2, 20, 0}, {R, 2, 0, 40, 50}, {R, 1, 0, 60, 70});
    VALID({C, 0, 1, 0, 0}, {C, 1, 2, 0, 0}, {C, 1, 3, 0, 0}, {R, 3, 0, 5, 10});
    VALID({C, 7, 1, 0, 0}, {R, 0, 0, 5, 10});
    VALID({C, 1, 2, 0, 0}, {C, 2, 1, 0, 0}, {R, 0, 0, 5, 10});
}

static void leaves_what_values_do_not_tell(void **state) {
    (void)state;
    DECIDES(UNDECIDED, VIOLATION_NONE, {W, 0, 1, 0, 10}, {W, 0, 1, 20, 30}, {R, 1, 0, 40, 50});
    DECIDES(UNDECIDED, VIOLATION_NONE, {W, 0, 0, 0, 10}, {R, 0, 0, 40, 50});
    VALID({W, 0, 1, 0, 10}, {W, 0, 1, 20, 30}, {W, 0, 2, 40, 50}, {R, 2, 0, 60, 70});
    INVALID(VIOLATION_CROSSING, {W, 0, 2, 0, 10}, {W, 0, 1, 20, 30}, {W, 0, 1, 22, 32}, {R, 2, 0, 60, 70});
    VALID({W, 0, 1, 0, 10}, {C, 1, 9, 20, 30}, {W, 0, 9, 40, 50});
    INVALID(VIOLATION_LATE, {W, 0, 1, 0, 10}, {C, 1, 9, 20, 30}, {R, 1, 0, 35, 60}, {W, 0, 9, 40, 50});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_oracle),
        cmocka_unit_test(tells_sets_of_a_value_apart),
        cmocka_unit_test(scans_each_key_by_itself),
        cmocka_unit_test(agrees_with_the_search),
        cmocka_unit_test(the_scan_finds_what_the_chains_find),
        cmocka_unit_test(finds_a_stale_read_among_many),
        cmocka_unit_test(finds_a_replaced_value_among_few),
        cmocka_unit_test(knows_the_ways_to_be_wrong),
        cmocka_unit_test(takes_unknown_ends_as_they_come),
        cmocka_unit_test(leaves_what_values_do_not_tell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
