/* Keys that hold a list, which appends make longer and writes replace.
 *
 * A list that was seen tells what was there before its last element came. So the call that appended this, if
 * there is but one that can have, is a compare-and-set from the one list to the other. (That reads recover the order of
 * appends is Elle's idea: Kingsbury and Alvaro, VLDB 2020, section 4.) An append of which nothing was seen took effect
 * where nothing of the same list was seen after it, so it is a write of a value that nobody reads. What is left is a
 * register, and if each list is made in one way, register.c decides it in linear time. */
#include "checkers/internal.h"
#include "checkers/search_internal.h"

#include <stdlib.h>

/* Both are a list without elements. */
static bool is_bare(uint32_t value) {
    return value == VALUE_ID_NIL || value == VALUE_ID_EMPTY;
}

static bool holds_list(const struct partition *p, uint32_t value) {
    return is_bare(value) || p->values->entries[value].kind == VALUE_LIST;
}

/* Times are positions plus 1. */
struct versions {
    const struct partition *p;
    uint32_t *next_appender; /* by call: another that appends the same element; NONE */
    uint32_t *version;       /* by call: the list that an append made, if that is known; NONE */
    uint32_t *appender;      /* by element: the first call that appends it; NONE */
    uint32_t *by;            /* by value: the list was there when so much had returned; 0: nobody saw it */
    uint32_t *since;         /* by value: what was appended to it came after this; 0 */
    uint32_t *writes;        /* by value: calls that set just this list */
    uint32_t *seldom;        /* by value: not zero if it was there once at most, in one piece of time */
};
#define WORDS_PER_CALL 2u
#define WORDS_PER_VALUE 5u

static void later(uint32_t *time, uint32_t other) {
    if (other > *time) *time = other;
}

/* False if the calls are not of the kind above. Of the two bare lists only the initial one may occur, so that what a
 * first element was appended to is known; and a compare-and-set of unknown outcome may not ask for a list, since that
 * it names the list does not mean that the list was there. */
static bool collect(struct versions *v) {
    const struct partition *p = v->p;
    bool appends = false;
    for (uint32_t c = p->count; c-- > 0;) {
        const struct call *call = &p->calls[c];
        if (is_bare(call->guard) && call->guard != p->initial) return false;
        if (call->optional && call->guard != GUARD_ANY && call->guard != p->initial) return false;
        if (!call->optional && call->guard != GUARD_ANY) {
            uint32_t *by = &v->by[call->guard];
            if (*by == 0 || call->returned + 1 < *by) *by = call->returned + 1;
            later(&v->since[call->guard], call->invoked + 1);
        }
        switch ((enum effect)call->effect) {
        case EFFECT_NONE: break;
        case EFFECT_ADD: return false;
        case EFFECT_SET:
            if (!holds_list(p, call->value) || (is_bare(call->value) && call->value != p->initial)) return false;
            v->writes[call->value]++;
            later(&v->since[call->value], call->invoked + 1);
            break;
        case EFFECT_APPEND:
            v->next_appender[c] = v->appender[call->value];
            v->appender[call->value] = c;
            appends = true;
            break;
        }
    }
    return appends;
}

static bool was_seen(const struct versions *v, uint32_t list) {
    return v->by[list] != 0 && v->p->values->entries[list].kind == VALUE_LIST && !is_bare(list);
}

static uint32_t prefix_of(const struct versions *v, uint32_t list) {
    uint32_t prefix = v->p->values->entries[list].prefix;
    return is_bare(prefix) ? v->p->initial : prefix;
}

/* A list that was seen and not written had its prefix before it. (Which has a smaller id.) */
static void see_prefixes(struct versions *v) {
    for (uint32_t list = v->p->values->count; list-- > 0;) {
        if (!was_seen(v, list) || v->writes[list]) continue;
        uint32_t *by = &v->by[prefix_of(v, list)];
        if (*by == 0 || v->by[list] < *by) *by = v->by[list];
    }
}

/* How many calls may have appended the list's last element to its prefix: none that ended before all that saw or made
 * the prefix had begun, and none that began after somebody had seen the list. *one is one of them. */
static uint32_t count_makers(const struct versions *v, uint32_t list, uint32_t *one) {
    uint32_t count = 0, since = v->since[prefix_of(v, list)], by = v->by[list];
    for (uint32_t c = v->appender[v->p->values->entries[list].last]; c != NONE; c = v->next_appender[c]) {
        const struct call *call = &v->p->calls[c];
        if (call->invoked + 1 >= by || (!call->optional && call->returned + 1 <= since)) continue;
        *one = c;
        count++;
    }
    return count;
}

/* Names the call that made a list, whose prefix has been dealt with. False if it may have been made in two ways. Time
 * tells calls that append the same element apart, if the prefix was there but once. A list for which no call is left
 * stays without a maker, as it should. */
static bool name_version(struct versions *v, uint32_t list) {
    uint32_t prefix = prefix_of(v, list), maker = v->appender[v->p->values->entries[list].last];
    bool several = maker != NONE && v->next_appender[maker] != NONE;
    if (v->writes[list]) {
        if (maker != NONE && (!v->seldom[prefix] || count_makers(v, list, &maker))) return false;
        v->seldom[list] = v->writes[list] == 1;
        return true;
    }
    v->seldom[list] = v->seldom[prefix];
    if (several) {
        uint32_t makers = v->seldom[prefix] ? count_makers(v, list, &maker) : 2;
        if (makers > 1) return false;
        if (makers == 0) return true;
    }
    later(&v->since[list], v->since[prefix]);
    if (maker == NONE || v->version[maker] != NONE) return true;
    later(&v->since[list], v->p->calls[maker].invoked + 1);
    v->version[maker] = list;
    return true;
}

static bool name_all(struct versions *v, struct budget *b) {
    see_prefixes(v);
    v->seldom[v->p->initial] = v->writes[v->p->initial] == 0;
    for (uint32_t list = 0; list < v->p->values->count; list++)
        if (was_seen(v, list) && (budget_spent(b) || !name_version(v, list))) return false;
    return true;
}

/* Of an append that nobody saw, the value is one that equals no other. */
static void replace_appends(const struct versions *v, struct partition *named) {
    struct values *values = named->values;
    for (uint32_t c = 0; c < named->count; c++) {
        struct call *call = &named->calls[c];
        if (call->effect != EFFECT_APPEND) continue;
        uint32_t version = v->version[c];
        if (version == NONE) {
            call->value = values_list_apart(values, VALUE_ID_EMPTY, call->value);
        } else {
            uint32_t prefix = values->entries[version].prefix;
            call->guard = is_bare(prefix) ? named->initial : prefix;
            call->value = version;
        }
        call->effect = EFFECT_SET;
    }
    named->sets_only = true;
    named->grows = named->appends = false;
}

#define COPY_BYTES_PER_CALL (sizeof(struct call) + sizeof(uint32_t) + sizeof(struct value_entry))

/* The values that it adds are gone when it is done. */
static enum decision decide_versions(struct search *s, const struct versions *v, struct budget *b) {
    struct partition named = {0};
    uint32_t values_count = v->p->values->count;
    partition_copy(v->p, &named);
    replace_appends(v, &named);
    enum decision decision = partition_decide(s, &named, b);
    if (decision == DECIDED_INVALID && s->registers.violation.kind != VIOLATION_NONE)
        s->first_max = s->registers.violation.returns;
    s->registers.violation.kind = VIOLATION_NONE; /* no evidence with values that nobody knows */
    values_truncate(named.values, values_count);
    partition_free(&named);
    return decision;
}

enum decision lists_decide(struct search *s, struct partition *p, struct budget *b) {
    if (p->sets_only || p->returns_count == 0) return UNDECIDED;
    size_t calls = p->count, values = p->values->count;
    size_t words = WORDS_PER_CALL * calls + WORDS_PER_VALUE * values;
    uint64_t bytes = words * sizeof(uint32_t) + calls * COPY_BYTES_PER_CALL;
    if (!budget_claim(b, bytes)) return UNDECIDED;
    uint32_t *memory = xmalloc_large(words * sizeof *memory);
    struct versions v = {.p = p, .next_appender = memory};
    v.version = v.next_appender + calls;
    v.appender = v.version + calls;
    v.by = v.appender + values;
    v.since = v.by + values;
    v.writes = v.since + values;
    v.seldom = v.writes + values;
    memset(memory, 0xff, (size_t)(v.by - memory) * sizeof *memory);
    memset(v.by, 0, (size_t)(memory + words - v.by) * sizeof *memory);
    enum decision decision = collect(&v) && name_all(&v, b) ? decide_versions(s, &v, b) : UNDECIDED;
    free(memory);
    budget_release(b, bytes);
    return decision;
}
