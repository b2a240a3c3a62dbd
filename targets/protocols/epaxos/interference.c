/* Who touches what. Which instances touched a key is kept by buckets of keys: those that share a bucket count as
 * interfering when a command gets its dependencies, which is one dependency too many at worst. Whether two given
 * commands interfere is exact: execution and TryPreAccept rest on it. */
#include "targets/protocols/epaxos/epaxos_internal.h"

/* The keys of a command: those kept with it, or made anew into `made` when they are many. */
static const struct footprint *keys_of(const struct epaxos *e, const struct instance *i, struct footprint *made) {
    if (i->keys_count <= KEYS_INLINE) return i->keys;
    e->c.footprint(epaxos_command(e, i), made);
    return made;
}

static struct touched *bucket_of(const struct epaxos *e, uint64_t key) {
    return &e->touched[hash_u64(key) & (BUCKETS - 1)];
}

void epaxos_touch(struct epaxos *e, struct instance *i) {
    struct footprint made[FOOTPRINT_MAX];
    if (!i->has_command) return;
    const struct footprint *keys = keys_of(e, i, made);
    uint8_t r = i->id.replica;
    for (uint32_t k = 0; k < i->keys_count; k++) {
        struct touched *t = bucket_of(e, keys[k].key);
        if (t->access[r] < i->id.number) t->access[r] = i->id.number;
        if (t->access_seq < i->at.seq) t->access_seq = i->at.seq;
        if (keys[k].reads_only) continue;
        if (t->write[r] < i->id.number) t->write[r] = i->id.number;
        if (t->write_seq < i->at.seq) t->write_seq = i->at.seq;
    }
}

static void raise(uint32_t *number, uint32_t to) {
    if (*number < to) *number = to;
}

/* A leader's later instances already wait for its earlier ones, so of its own row a command depends on earlier ones
 * only. */
void epaxos_merge_known(const struct epaxos *e, const struct instance *i, bool leads, struct epaxos_attributes *at) {
    struct footprint made[FOOTPRINT_MAX];
    const struct footprint *keys = keys_of(e, i, made);
    uint64_t seq = 0;
    for (uint32_t k = 0; k < i->keys_count; k++) {
        const struct touched *t = bucket_of(e, keys[k].key);
        for (uint8_t r = 0; r < e->c.nodes; r++) raise(&at->deps[r], keys[k].reads_only ? t->write[r] : t->access[r]);
        uint64_t last = keys[k].reads_only ? t->write_seq : t->access_seq;
        if (last > seq) seq = last;
    }
    for (uint8_t r = 0; r < e->c.nodes; r++) {
        raise(&at->deps[r], e->rows[r].floor);
        if (leads) raise(&at->deps[r], e->peer_floor[r]);
    }
    if (at->deps[i->id.replica] >= i->id.number) at->deps[i->id.replica] = i->id.number - 1;
    if (at->seq <= seq) at->seq = seq + 1;
}

bool epaxos_interfere(const struct epaxos *e, const struct instance *a, const struct instance *b) {
    struct footprint made_a[FOOTPRINT_MAX], made_b[FOOTPRINT_MAX];
    if (!a->has_command || !b->has_command) return false;
    const struct footprint *x = keys_of(e, a, made_a), *y = keys_of(e, b, made_b);
    for (uint32_t i = 0; i < a->keys_count; i++)
        for (uint32_t k = 0; k < b->keys_count; k++)
            if (x[i].key == y[k].key && !(x[i].reads_only && y[k].reads_only)) return true;
    return false;
}

/* The highest instance of a row that may interfere, executed and forgotten ones included. */
static uint32_t highest_touching(const struct epaxos *e, const struct instance *i, uint8_t replica) {
    struct footprint made[FOOTPRINT_MAX];
    const struct footprint *keys = keys_of(e, i, made);
    uint32_t highest = e->rows[replica].floor;
    for (uint32_t k = 0; k < i->keys_count; k++) {
        const struct touched *t = bucket_of(e, keys[k].key);
        raise(&highest, keys[k].reads_only ? t->write[replica] : t->access[replica]);
    }
    return highest;
}

/* OPODIS'25, Figure 3, lines 84 to 90: what interferes with `i`, is not among its dependencies and does not depend on
 * it. What is committed counts with the dependencies that it has, what is not with those that its leader gave it. */
static void conflict_with(const struct epaxos *e, const struct instance *i, const struct instance *other,
                          struct epaxos_message *reply) {
    bool committed = other->status >= EPAXOS_COMMITTED;
    if (!other->has_command || !(committed ? other->entry_kind == ENTRY_COMMAND : other->knows_leader)) return;
    const uint32_t *deps = committed ? other->at.deps : other->leader_deps;
    if (deps[i->id.replica] >= i->id.number || !epaxos_interfere(e, i, other)) return;
    uint32_t allowed = epaxos_rule_fast_quorum(e->c.nodes) + epaxos_majority(e) - e->c.nodes; /* n - f - e */
    reply->conflict = true;
    reply->committed |= committed;
    reply->outvoted |= other->waiting > allowed;
    reply->leaders |= (uint16_t)(1u << other->id.replica);
}

void epaxos_conflicts(const struct epaxos *e, const struct instance *i, const uint32_t *deps,
                      struct epaxos_message *reply) {
    for (uint8_t r = 0; r < e->c.nodes; r++) {
        const struct row *row = &e->rows[r];
        if (r == i->id.replica || highest_touching(e, i, r) <= deps[r]) continue;
        uint32_t from = deps[r] + 1;
        if (row->base > from || row->floor >= from) reply->conflict = true; /* perhaps: some of it is forgotten */
        for (uint32_t k = from > row->base ? from : row->base; k <= row->high; k++)
            conflict_with(e, i, epaxos_get(e, (struct epaxos_id){r, k}), reply);
    }
}
