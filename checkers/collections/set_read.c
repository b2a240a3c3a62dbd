/* From the operations of one key to a set's history, and the frame of the checks of sets. */
#include "checkers/collections/set_internal.h"

#include <inttypes.h>
#include <stdlib.h>

enum { SET_ROLE_ADD = 1, SET_ROLE_READ };

/* --- reading ------------------------------------------------------------------------------------------------------ */

static bool is_element(struct value v) {
    return v.kind == VALUE_INT || v.kind == VALUE_STRING;
}

/* Reads of unknown result say nothing; nil is the empty set. */
static bool says_nothing(const struct history *h, const uint8_t *roles, uint32_t op) {
    if (h->status[op] == OP_FAIL) return true;
    return roles[h->f[op]] == SET_ROLE_READ && h->status[op] != OP_OK;
}

static const char *set_unfit(const struct history *h, const uint8_t *roles, uint32_t op) {
    if (says_nothing(h, roles, op)) return NULL;
    if (roles[h->f[op]] == SET_ROLE_ADD)
        return is_element(h->argument[op]) ? NULL : "adds what is no integer or string";
    struct value v = h->result[op];
    if (v.kind == VALUE_NIL) return NULL;
    if (v.kind != VALUE_LIST) return "is a read that returned no list";
    for (uint32_t i = 0; i < v.size; i++)
        if (!is_element(h->pool[v.first + i])) return "is a read of something that is no integer or string";
    return NULL;
}

static bool make_table(struct set_history *s, const uint8_t *roles, const uint32_t *ops, uint32_t count,
                       struct budget *b) {
    const struct history *h = s->h;
    struct element_range range = {0};
    for (uint32_t i = 0; i < count; i++) {
        if (budget_spent(b)) return false;
        if (says_nothing(h, roles, ops[i])) continue;
        if (roles[h->f[ops[i]]] == SET_ROLE_ADD) element_range_add(&range, h->argument[ops[i]]);
        struct value v = h->result[ops[i]];
        if (roles[h->f[ops[i]]] != SET_ROLE_READ || v.kind != VALUE_LIST) continue;
        for (uint32_t k = 0; k < v.size; k++) element_range_add(&range, h->pool[v.first + k]);
        if (budget_spent_by(b, v.size)) return false;
    }
    if (!element_table_make(&s->table, h, &range, b)) return false;
    for (uint32_t i = 0; i < count; i++) {
        if (budget_spent(b)) return false;
        if (says_nothing(h, roles, ops[i])) continue;
        if (roles[h->f[ops[i]]] == SET_ROLE_ADD) element_intern(&s->table, h->argument[ops[i]]);
        struct value v = h->result[ops[i]];
        if (roles[h->f[ops[i]]] != SET_ROLE_READ || v.kind != VALUE_LIST) continue;
        for (uint32_t k = 0; k < v.size; k++) element_intern(&s->table, h->pool[v.first + k]);
        if (budget_spent_by(b, v.size)) return false;
    }
    return true;
}

static void see_add(struct set_history *s, uint32_t op, uint32_t invoked, uint32_t returned) {
    struct member *m = &s->members[element_find(&s->table, s->h->argument[op])];
    if (m->add == NONE) {
        m->add = op;
        m->invoked = invoked;
    }
    if (returned >= m->returned) return;
    m->returned = returned;
    m->sure = op;
}

static void see_op(struct set_history *s, const uint8_t *roles, uint32_t op, uint32_t invoked, uint32_t returned) {
    const struct history *h = s->h;
    if (roles[h->f[op]] == SET_ROLE_ADD) {
        see_add(s, op, invoked, returned);
        return;
    }
    struct value v = h->result[op];
    uint32_t size = v.kind == VALUE_LIST ? v.size : 0;
    s->events[invoked] = s->events[returned] = s->reads_count | SET_READ;
    s->reads[s->reads_count++] = (struct set_read){op, invoked, returned, size, size ? h->pool + v.first : NULL};
}

static bool set_read_all(struct set_history *s, const uint8_t *roles, const uint32_t *ops, uint32_t count,
                         struct budget *b) {
    if (!make_table(s, roles, ops, count, b)) return false;
    uint64_t elements = s->table.count;
    if (!budget_claim(b, count * (uint64_t)(5 * sizeof(uint32_t) + sizeof *s->reads) +
                             elements * (sizeof *s->members + sizeof *s->stamps)))
        return false;
    s->members = xmalloc_large((elements + 1) * sizeof *s->members);
    s->stamps = xcalloc(elements + 1, sizeof *s->stamps);
    s->reads = xmalloc(((size_t)count + 1) * sizeof *s->reads);
    s->events = xmalloc_large(2 * (size_t)count * sizeof *s->events);
    memset(s->events, 0xff, 2 * (size_t)count * sizeof *s->events);
    for (uint32_t e = 0; e < elements; e++) s->members[e] = (struct member){NONE, NONE, NONE, NONE};
    uint32_t *kept = xmalloc_large(3 * (size_t)count * sizeof *kept), n = 0;
    uint32_t *invoked = kept + count, *returned = invoked + count;
    for (uint32_t i = 0; i < count; i++)
        if (!says_nothing(s->h, roles, ops[i])) kept[n++] = ops[i];
    s->positions = n + order_events(s->h, kept, n, invoked, returned);
    for (uint32_t i = 0; i < n && !budget_spent(b); i++) see_op(s, roles, kept[i], invoked[i], returned[i]);
    free(kept);
    if (b->state != BUDGET_LEFT) return false;
    for (uint32_t e = 0; e < elements; e++) {
        const struct member *m = &s->members[e];
        if (m->add != NONE) s->events[m->invoked] = e;
        if (m->returned != NONE) s->events[m->returned] = e;
    }
    return !budget_spent_now(b);
}

static void set_free(struct set_history *s) {
    element_table_free(&s->table);
    free(s->members);
    free(s->reads);
    free(s->stamps);
    free(s->events);
}

/* --- what checks of sets share ------------------------------------------------------------------------------------ */

uint32_t set_read_duplicate(struct set_history *s, const struct set_read *r, uint32_t stamp) {
    uint32_t twice = NONE;
    for (uint32_t i = 0; i < r->size; i++) {
        uint32_t e = element_find(&s->table, r->elements[i]);
        if (s->stamps[e] == stamp) twice = e;
        s->stamps[e] = stamp;
    }
    return twice;
}

void set_name(const struct set_history *s, uint32_t element, uint64_t nth, const char *what, struct finding *f) {
    if (nth > SET_NAMED_MAX) return;
    if (nth == 1)
        buffer_printf(&f->line, "%s%s: ", f->line.size ? "; " : "", what);
    else
        buffer_printf(&f->line, ", ");
    print_value(s->h, s->table.values[element], &f->line);
    const struct member *m = &s->members[element];
    finding_op(f, m->sure != NONE ? m->sure : m->add);
}

static void name_key(struct set_verdict *v, const struct history *h, uint32_t key) {
    struct buffer line = {0};
    print_key(h, key, &line);
    buffer_printf(&line, ": %.*s", (int)v->finding.line.size, (const char *)v->finding.line.data);
    buffer_free(&v->finding.line);
    v->finding.line = line;
}

static void judge_key(const struct history *h, const uint8_t *roles, const uint32_t *ops, uint32_t count,
                      struct budget *b, struct set_verdict *v,
                      void (*judge)(struct set_history *, struct budget *, struct set_verdict *)) {
    struct set_history s = {.h = h, .key = h->key[ops[0]]};
    uint64_t claimed = b->memory_bytes;
    const char *why = NULL;
    for (uint32_t i = 0; i < count && !why; i++) {
        why = set_unfit(h, roles, ops[i]);
        if (why && !v->unknown.size) buffer_printf(&v->unknown, "operation %u %s", ops[i], why);
    }
    if (!why && set_read_all(&s, roles, ops, count, b)) {
        judge(&s, b, v);
        for (uint32_t e = 0; e < s.table.count; e++) v->adds += s.members[e].add != NONE;
        v->reads += s.reads_count;
    }
    if (v->finding.line.size) name_key(v, h, s.key);
    set_free(&s);
    budget_release(b, b->memory_bytes - claimed);
}

static void print_account(const struct set_verdict *v, struct buffer *out) {
    buffer_printf(out, "%" PRIu64 " elements, %" PRIu64 " reads", v->adds, v->reads);
    if (v->recovered) buffer_printf(out, "; %" PRIu64 " recovered", v->recovered);
    if (v->never_read) buffer_printf(out, "; %" PRIu64 " never read", v->never_read);
    if (v->stale == 0) return;
    buffer_printf(out, "; %" PRIu64 " stale, for at most ", v->stale);
    print_duration(v->stale_ns_max, out);
}

struct set_check {
    const char *name;
    void (*judge)(struct set_history *, struct budget *, struct set_verdict *);
};

static void judge_sets(const void *what, const struct history *h, const struct check_options *o,
                       struct check_result *out) {
    const struct set_check *check = what;
    static const char *const names[] = {"add", "read", NULL};
    uint8_t roles[FUNCTIONS_MAX];
    result_start(out, check->name);
    roles_find(h, names, roles);
    if (!history_trusted(h, out) || !roles_cover(h, roles, out)) return;
    struct budget b = budget_of(o);
    struct set_verdict v = {.stable = false};
    struct groups groups;
    (void)groups_make(&groups, h, &b); /* else there is no group, and the budget is spent */
    for (uint32_t g = 0; g < groups.count && !v.finding.line.size && !budget_spent_now(&b); g++)
        judge_key(h, roles, groups.ops + groups.first[g], groups.first[g + 1] - groups.first[g], &b, &v, check->judge);
    struct buffer account = {0};
    print_account(&v, &account);
    if (v.finding.line.size)
        finding_tell(&v.finding, h, out);
    else if (b.state != BUDGET_LEFT)
        budget_tell(&b, out);
    else if (v.unknown.size)
        result_set(out, VERDICT_UNKNOWN, "%s", buffer_text(&v.unknown));
    else
        result_set(out, VERDICT_VALID, "%s", buffer_text(&account));
    buffer_free(&account);
    buffer_free(&v.unknown);
    finding_free(&v.finding);
    groups_free(&groups);
}

void check_sets(const struct history *h, const char *name, const struct check_options *o, struct check_result *out,
                void (*judge)(struct set_history *, struct budget *, struct set_verdict *)) {
    const struct set_check check = {name, judge};
    const struct evidence e = {.check = judge_sets, .what = &check, .object = name, .words = KEEP_WORDS};
    check_with_evidence(h, &e, o, out);
}
