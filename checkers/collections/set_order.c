/* Linearizability of a set that only grows and is read as a whole. Reads must contain one another; that puts
 * everything into levels: the adds of what the smallest read has, the reads that have just that, the adds of what
 * the next has more, and so on; last, the adds that no read has. A linearization is an order by levels, each in any
 * order; so there is one if and only if nothing of a higher level ended before something of a lower one began: one
 * sweep. */
#include "checkers/collections/set_internal.h"

#include <stdlib.h>

struct levels {
    struct set_history *s;
    uint32_t *sorted; /* reads, the smaller first */
    uint32_t *member; /* by element: 2 * the level of the first read that has it; NONE */
    uint32_t *read;   /* by read: 2 * level + 1 */
    uint32_t *sample; /* by level: one of its reads */
    uint32_t count;
};

static void tell_read(const struct set_history *s, const struct set_read *r, struct finding *f) {
    buffer_printf(&f->line, "the read by process %u", (unsigned)s->h->process[r->op]);
    finding_op(f, r->op);
}

static void tell_element(const struct set_history *s, uint32_t e, struct finding *f) {
    print_value(s->h, s->table.values[e], &f->line);
    const struct member *m = &s->members[e];
    finding_op(f, m->sure != NONE ? m->sure : m->add);
}

/* --- levels ------------------------------------------------------------------------------------------------------- */

static uint32_t *by_size(const struct set_history *s) {
    uint32_t *sorted = xmalloc(2 * ((size_t)s->reads_count + 1) * sizeof *sorted), *other = sorted + s->reads_count + 1;
    for (uint32_t r = 0; r < s->reads_count; r++) sorted[r] = r;
    for (uint32_t width = 1; width < s->reads_count; width *= 2) {
        for (uint32_t at = 0; at < s->reads_count; at += 2 * width) {
            uint32_t middle = at + width < s->reads_count ? at + width : s->reads_count;
            uint32_t end = at + 2 * width < s->reads_count ? at + 2 * width : s->reads_count, a = at, b = middle;
            for (uint32_t i = at; i < end; i++)
                other[i] = a < middle && (b == end || s->reads[sorted[a]].size <= s->reads[sorted[b]].size)
                               ? sorted[a++]
                               : sorted[b++];
        }
        memcpy(sorted, other, s->reads_count * sizeof *sorted);
    }
    return sorted;
}

static void tell_divergent(const struct levels *l, const struct set_read *smaller, const struct set_read *larger,
                           struct finding *f) {
    struct set_history *s = l->s;
    uint32_t stamp = UINT32_MAX, only = NONE;
    set_read_duplicate(s, larger, stamp);
    for (uint32_t i = 0; i < smaller->size && only == NONE; i++) {
        uint32_t e = element_find(&s->table, smaller->elements[i]);
        if (s->stamps[e] != stamp) only = e;
    }
    set_read_duplicate(s, smaller, stamp - 1);
    for (uint32_t i = 0; i < larger->size; i++) {
        uint32_t e = element_find(&s->table, larger->elements[i]);
        if (s->stamps[e] == stamp - 1) continue;
        tell_read(s, smaller, f);
        buffer_printf(&f->line, " has ");
        tell_element(s, only, f);
        buffer_printf(&f->line, " but not ");
        tell_element(s, e, f);
        buffer_printf(&f->line, ", and ");
        tell_read(s, larger, f);
        buffer_printf(&f->line, " the other way around");
        return;
    }
}

/* Puts a read on its level; the elements in `had` came before. False: it lacks one of them. */
static bool place_read(struct levels *l, uint32_t r, uint32_t *had) {
    const struct set_read *read = &l->s->reads[r];
    uint32_t old = 0, fresh = 0;
    for (uint32_t i = 0; i < read->size; i++) {
        bool known = l->member[element_find(&l->s->table, read->elements[i])] != NONE;
        old += known;
        fresh += !known;
    }
    if (old < *had) return false;
    if (fresh || l->count == 0) l->sample[l->count++] = r;
    uint32_t level = l->count - 1;
    for (uint32_t i = 0; fresh && i < read->size; i++) {
        uint32_t e = element_find(&l->s->table, read->elements[i]);
        if (l->member[e] == NONE) l->member[e] = 2 * level;
    }
    l->read[r] = 2 * level + 1;
    *had += fresh;
    return true;
}

static bool make_levels(struct levels *l, struct budget *b, struct finding *f) {
    struct set_history *s = l->s;
    uint32_t had = 0;
    for (uint32_t i = 0; i < s->reads_count; i++) {
        const struct set_read *read = &s->reads[l->sorted[i]];
        if (budget_spent_now(b)) return false;
        uint32_t twice = set_read_duplicate(s, read, i + 1);
        if (twice != NONE) {
            tell_read(s, read, f);
            buffer_printf(&f->line, " has twice: ");
            tell_element(s, twice, f);
            return false;
        }
        for (uint32_t k = 0; k < read->size; k++) {
            uint32_t e = element_find(&s->table, read->elements[k]);
            if (s->members[e].add != NONE) continue;
            tell_read(s, read, f);
            buffer_printf(&f->line, " has what was never added: ");
            tell_element(s, e, f);
            return false;
        }
        if (place_read(l, l->sorted[i], &had)) continue;
        tell_divergent(l, &s->reads[l->sorted[i - 1]], read, f);
        return false;
    }
    return true;
}

/* --- the sweep ---------------------------------------------------------------------------------------------------- */

static uint32_t level_of(const struct levels *l, uint32_t event) {
    if (event & SET_READ) return l->read[event & ~SET_READ];
    return l->member[event] == NONE ? 2 * l->count : l->member[event];
}

/* `high` ended before `low` began, but stands above it. */
static void tell_inversion(const struct levels *l, uint32_t high, uint32_t low, struct finding *f) {
    struct set_history *s = l->s;
    const struct set_read *reads = s->reads;
    uint32_t level = level_of(l, low) / 2;
    if (!(high & SET_READ) && (low & SET_READ)) {
        tell_element(s, high, f);
        buffer_printf(&f->line, " was added, but is missing in ");
        tell_read(s, &reads[low & ~SET_READ], f);
        buffer_printf(&f->line, ", which began later");
    } else if (low & SET_READ) {
        tell_read(s, &reads[low & ~SET_READ], f);
        buffer_printf(&f->line, " lacks what an earlier one has: ");
        tell_read(s, &reads[high & ~SET_READ], f);
    } else if (high & SET_READ) {
        tell_read(s, &reads[high & ~SET_READ], f);
        buffer_printf(&f->line, " has what was added only after it: ");
        tell_element(s, low, f);
    } else {
        tell_element(s, high, f);
        buffer_printf(&f->line, " was added before ");
        tell_element(s, low, f);
        buffer_printf(&f->line, ", but is missing in ");
        tell_read(s, &reads[l->sample[level]], f);
        buffer_printf(&f->line, ", which has the latter");
    }
}

static void sweep(const struct levels *l, struct budget *b, struct finding *f) {
    const struct set_history *s = l->s;
    uint32_t highest = NONE;
    for (uint32_t at = 0; at < s->positions && !budget_spent(b); at++) {
        uint32_t event = s->events[at];
        if (event == NONE) continue;
        bool read = event & SET_READ;
        const struct member *m = read ? NULL : &s->members[event];
        bool begins = read ? s->reads[event & ~SET_READ].invoked == at : m->invoked == at;
        if (!read && m->returned == NONE && l->member[event] == NONE) continue;
        if (!begins) {
            if (highest == NONE || level_of(l, event) > level_of(l, highest)) highest = event;
        } else if (highest != NONE && level_of(l, highest) > level_of(l, event)) {
            tell_inversion(l, highest, event, f);
            return;
        }
    }
}

static void judge_order(struct set_history *s, struct budget *b, struct set_verdict *v) {
    if (!budget_claim(b, 5 * sizeof(uint32_t) * (uint64_t)s->reads_count + 4 * (uint64_t)s->table.count)) return;
    struct levels l = {.s = s, .sorted = by_size(s)};
    l.member = xmalloc_large(((size_t)s->table.count + 1) * sizeof *l.member);
    memset(l.member, 0xff, ((size_t)s->table.count + 1) * sizeof *l.member);
    l.read = xmalloc(2 * ((size_t)s->reads_count + 1) * sizeof *l.read);
    l.sample = l.read + s->reads_count + 1;
    if (make_levels(&l, b, &v->finding)) sweep(&l, b, &v->finding);
    free(l.sorted);
    free(l.member);
    free(l.read);
}

void check_linearizable_set(const struct history *h, const struct check_options *o, struct check_result *out) {
    check_sets(h, "linearizable-set", o, out, judge_order);
}
