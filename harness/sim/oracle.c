/* What holds for every protocol, and the way to the part of the one that runs. */
#include <stdio.h>
#include <stdlib.h>

#include "harness/sim/oracle_internal.h"

static const struct oracle_of *const parts[] = {&oracle_of_raft, &oracle_of_multipaxos, &oracle_of_paxos,
                                                &oracle_of_epaxos};

void oracle_fail(struct oracle *o, const char *invariant, const char *format, ...) {
    if (o->name[0]) return;
    va_list args;
    va_start(args, format);
    snprintf(o->name, sizeof o->name, "%s", invariant);
    vsnprintf(o->text, sizeof o->text, format, args);
    va_end(args);
}

struct oracle *oracle_new(void) {
    return xcalloc(1, sizeof(struct oracle));
}

static void choose_part(struct oracle *o, const struct protocol *p) {
    if (o->of && o->of->protocol == p) return;
    if (o->of) o->of->destroy(o->state);
    o->of = NULL;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i]->protocol == p) o->of = parts[i];
    o->state = o->of ? o->of->create() : NULL;
}

void oracle_free(struct oracle *o) {
    if (!o) return;
    choose_part(o, NULL);
    free(o->hash_at);
    free(o);
}

void oracle_reset(struct oracle *o, const struct protocol *p, uint32_t nodes) {
    choose_part(o, p);
    o->orders_all = p->orders_all;
    o->nodes = nodes;
    memset(o->seen, 0, sizeof o->seen);
    if (o->hash_at) memset(o->hash_at, 0, o->hash_used * sizeof *o->hash_at);
    o->hash_used = 0;
    o->answered = 0;
    o->name[0] = o->text[0] = 0;
    if (o->of) o->of->reset(o);
}

void oracle_boot(struct oracle *o, uint8_t node, const struct durable *d) {
    o->seen[node] = (struct oracle_seen){.commit = d->snapshot_index, .applied = d->snapshot_index};
    if (o->of && o->of->boot) o->of->boot(o, node, d);
}

void oracle_crash(struct oracle *o, uint8_t node) {
    o->seen[node].role = PROTOCOL_FOLLOWER;
    if (o->of && o->of->crash) o->of->crash(o, node);
}

void oracle_effect(struct oracle *o, uint8_t node, const struct effect *e) {
    if (e->kind == EFFECT_ROLE) o->seen[node].role = e->role;
    if (o->of && o->of->effect) o->of->effect(o, node, e);
}

void oracle_durable(struct oracle *o, uint8_t node, uint64_t written) {
    if (o->of && o->of->durable) o->of->durable(o, node, written);
}

static void check_state_hash(struct oracle *o, uint8_t node, uint64_t applied, uint64_t hash) {
    if (applied >= o->hash_capacity) {
        size_t capacity = applied + applied / 2 + 1024;
        o->hash_at = xrealloc(o->hash_at, capacity * sizeof *o->hash_at);
        memset(o->hash_at + o->hash_capacity, 0, (capacity - o->hash_capacity) * sizeof *o->hash_at);
        o->hash_capacity = capacity;
    }
    if (applied >= o->hash_used) o->hash_used = applied + 1;
    if (o->hash_at[applied] == 0)
        o->hash_at[applied] = hash | 1;
    else if (o->hash_at[applied] != (hash | 1))
        oracle_fail(o, "equal states", "n%u applied up to %llu and has another state than a replica before it",
                    node + 1u, U(applied));
}

void oracle_step(struct oracle *o, uint8_t node, const struct probe *p, uint64_t state_hash) {
    struct oracle_seen *n = &o->seen[node];
    if (p->term < n->term)
        oracle_fail(o, "terms rise", "n%u went from term %llu back to %llu", node + 1u, U(n->term), U(p->term));
    if (p->commit_index < n->commit)
        oracle_fail(o, "commit index rises", "n%u went from %llu back to %llu", node + 1u, U(n->commit),
                    U(p->commit_index));
    if (o->of && o->of->step) o->of->step(o, node, p);
    if (p->applied_index > p->commit_index)
        oracle_fail(o, "applied within committed", "n%u applied %llu of %llu committed entries", node + 1u,
                    U(p->applied_index), U(p->commit_index));
    if (o->orders_all && p->applied_index != n->applied) check_state_hash(o, node, p->applied_index, state_hash);
    uint64_t committed = o->of && o->of->committed ? o->of->committed(o) : UINT64_MAX;
    if (o->answered > committed)
        oracle_fail(o, "answered means committed", "n%u answered index %llu while %llu entries are committed",
                    node + 1u, U(o->answered), U(committed));
    *n = (struct oracle_seen){.term = p->term, .commit = p->commit_index, .applied = p->applied_index, .role = n->role};
}

void oracle_answered(struct oracle *o, uint64_t index) {
    if (o->orders_all && index > o->answered) o->answered = index;
}

uint64_t oracle_read_floor(const struct oracle *o) {
    return o->answered;
}

void oracle_read(struct oracle *o, uint8_t node, uint64_t floor, uint64_t index) {
    if (o->orders_all && index < floor)
        oracle_fail(o, "reads are current",
                    "n%u answered a read from index %llu although index %llu had been answered before "
                    "the read was asked",
                    node + 1u, U(index), U(floor));
}

void oracle_assertion(struct oracle *o, uint8_t node, const char *text) {
    oracle_fail(o, "assertion", "n%u stopped itself: %s", node + 1u, text);
}

const char *oracle_violation(const struct oracle *o, const char **invariant) {
    if (!o->name[0]) return NULL;
    if (invariant) *invariant = o->name;
    return o->text;
}
