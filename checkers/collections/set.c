/* Jepsen's two accounts of sets (jepsen.checker/set and set-full), with its definitions, but for this: what failed
 * did not happen, so it must not be read; and a read that has an element twice is wrong.
 *
 * Of each element, set-full compares the last read that has it with the last that does not; reads are ordered by
 * their invocations. The last that does not is found from the last read backwards: the elements that all reads so
 * far have had get fewer, and each is asked for in at most one read that does not have it, so this is linear in what
 * was read. */
#include "checkers/collections/set_internal.h"

#include <inttypes.h>
#include <stdlib.h>

static void set_unknown(struct set_verdict *v, const struct set_history *s, const char *why) {
    if (v->unknown.size) return;
    print_key(s->h, s->key, &v->unknown);
    buffer_printf(&v->unknown, ": %s", why);
}

/* What nobody can have added when the read ended. */
static bool unexpected(const struct set_history *s, uint32_t element, const struct set_read *r) {
    const struct member *m = &s->members[element];
    return m->add == NONE || m->invoked > r->returned;
}

static void find_bad_elements(struct set_history *s, const struct set_read *r, uint32_t stamp, struct finding *f) {
    uint64_t count = 0;
    for (uint32_t i = 0; i < r->size; i++) {
        uint32_t e = element_find(&s->table, r->elements[i]);
        if (unexpected(s, e, r)) set_name(s, e, ++count, "read, but never added", f);
    }
    uint32_t twice = set_read_duplicate(s, r, stamp);
    if (twice != NONE) set_name(s, twice, 1, "twice in one read", f);
    if (f->line.size) finding_op(f, r->op);
}

/* --- set ---------------------------------------------------------------------------------------------------------- */

static void judge_set(struct set_history *s, struct budget *b, struct set_verdict *v) {
    if (s->reads_count == 0) {
        set_unknown(v, s, "the set was never read");
        return;
    }
    const struct set_read *last = &s->reads[s->reads_count - 1];
    uint64_t lost = 0, later = 0;
    find_bad_elements(s, last, 1, &v->finding);
    for (uint32_t e = 0; e < s->table.count && !budget_spent(b); e++) {
        const struct member *m = &s->members[e];
        bool read = s->stamps[e] == 1;
        v->recovered += read && m->returned == NONE && m->add != NONE;
        if (read || m->returned == NONE) continue;
        if (m->returned < last->invoked)
            set_name(s, e, ++lost, "lost", &v->finding);
        else
            later++;
    }
    if (lost) {
        buffer_printf(&v->finding.line, " (%" PRIu64 " lost)", lost);
        finding_op(&v->finding, last->op);
    } else if (later) {
        set_unknown(v, s, "no read began after the last acknowledged adds, so whether they last is not known");
    }
}

void check_set(const struct history *h, const struct check_options *o, struct check_result *out) {
    check_sets(h, "set", o, out, judge_set);
}

/* --- set-full ----------------------------------------------------------------------------------------------------- */

struct sight { /* of an element: indexes of reads, or NONE */
    uint32_t present, absent;
    uint32_t known; /* position from which on it must be there */
    uint64_t known_ns;
};

static void see_present(struct set_history *s, struct sight *sights) {
    for (uint32_t r = 0; r < s->reads_count; r++) {
        const struct set_read *read = &s->reads[r];
        for (uint32_t i = 0; i < read->size; i++) {
            struct sight *sight = &sights[element_find(&s->table, read->elements[i])];
            sight->present = r;
            if (read->returned >= sight->known) continue;
            sight->known = read->returned;
            sight->known_ns = s->h->complete_ns[read->op];
        }
    }
}

static bool see_absent(struct set_history *s, struct sight *sights, struct budget *b) {
    uint32_t *always = xmalloc(((size_t)s->table.count + 1) * sizeof *always), count = s->table.count;
    for (uint32_t e = 0; e < count; e++) always[e] = e;
    for (uint32_t r = s->reads_count; r-- > 0 && count > 0 && !budget_spent_now(b);) {
        uint32_t kept = 0, stamp = s->reads_count + 1 + r;
        set_read_duplicate(s, &s->reads[r], stamp);
        for (uint32_t i = 0; i < count; i++) {
            if (s->stamps[always[i]] == stamp)
                always[kept++] = always[i];
            else
                sights[always[i]].absent = r;
        }
        count = kept;
    }
    free(always);
    return b->state == BUDGET_LEFT;
}

static void tell_lost(const struct set_history *s, uint32_t element, const struct sight *sight, struct finding *f) {
    const struct set_read *absent = &s->reads[sight->absent];
    uint64_t begin_ns = s->h->invoke_ns[absent->op];
    buffer_printf(&f->line, "lost: ");
    print_value(s->h, s->table.values[element], &f->line);
    if (sight->present == NONE) {
        buffer_printf(&f->line, ", acknowledged ");
        print_duration(begin_ns - sight->known_ns, &f->line);
        buffer_printf(&f->line, " before a read began that does not have it, and never read");
    } else {
        const struct set_read *present = &s->reads[sight->present];
        buffer_printf(&f->line, ", last there in a read that began ");
        print_duration(begin_ns - s->h->invoke_ns[present->op], &f->line);
        buffer_printf(&f->line, " before one that does not have it");
        finding_op(f, present->op);
    }
    const struct member *m = &s->members[element];
    finding_op(f, m->sure != NONE ? m->sure : m->add);
    finding_op(f, absent->op);
}

static void judge_element(const struct set_history *s, uint32_t e, const struct sight *sight, struct set_verdict *v,
                          uint64_t *lost) {
    uint32_t present = sight->present == NONE ? 0 : sight->present + 1;
    uint32_t absent = sight->absent == NONE ? 0 : sight->absent + 1;
    bool known = sight->known != NONE;
    bool absent_late = known && absent && sight->known < s->reads[sight->absent].invoked;
    if (present > absent) {
        v->stable = true;
        v->recovered += s->members[e].returned == NONE;
        if (!absent_late) return;
        uint64_t stale_ns = s->h->invoke_ns[s->reads[sight->absent].op] - sight->known_ns;
        v->stale++;
        if (stale_ns >= v->stale_ns_max) v->stale_ns_max = stale_ns;
    } else if (absent_late) {
        if (++*lost == 1) tell_lost(s, e, sight, &v->finding);
    } else {
        v->never_read += s->members[e].returned != NONE;
    }
}

static void judge_set_full(struct set_history *s, struct budget *b, struct set_verdict *v) {
    if (s->reads_count == 0) {
        set_unknown(v, s, "the set was never read");
        return;
    }
    for (uint32_t r = 0; r < s->reads_count && !v->finding.line.size && !budget_spent_now(b); r++)
        find_bad_elements(s, &s->reads[r], r + 1, &v->finding);
    if (v->finding.line.size || !budget_claim(b, s->table.count * (uint64_t)(sizeof(struct sight) + 4))) return;
    struct sight *sights = xmalloc(((size_t)s->table.count + 1) * sizeof *sights);
    uint64_t lost = 0;
    for (uint32_t e = 0; e < s->table.count; e++) {
        const struct member *m = &s->members[e];
        sights[e] = (struct sight){NONE, NONE, m->returned, m->sure == NONE ? 0 : s->h->complete_ns[m->sure]};
    }
    see_present(s, sights);
    if (see_absent(s, sights, b)) {
        v->stable = false;
        for (uint32_t e = 0; e < s->table.count; e++) judge_element(s, e, &sights[e], v, &lost);
        v->finding.more = lost > 1 ? lost - 1 : 0;
        if (!lost && !v->stable) set_unknown(v, s, "no element was read to stay");
    }
    free(sights);
}

void check_set_full(const struct history *h, const struct check_options *o, struct check_result *out) {
    check_sets(h, "set-full", o, out, judge_set_full);
}
