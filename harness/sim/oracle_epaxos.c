/* The invariants of EPaxos. Each replica's redo log tells what it did with each instance: the oracle reads the records
 * as they are written, knows which of them are on a disk, and holds one verdict on an instance for all replicas.
 *
 * Order is compared by predecessors: what wrote a key last when a command on it ran. Replicas that run what interferes
 * in one order name the same one; after a snapshot a replica names none until it has run a write of that key. */
#include <stdlib.h>

#include "harness/sim/oracle_internal.h"
#include "targets/kv/kv.h"
#include "targets/protocols/epaxos/epaxos.h"

struct record_write { /* a record under way to the disk */
    uint64_t written;
    struct epaxos_id id;
    uint64_t value;
    uint8_t status;
    bool original;
    uint32_t promised;
    struct epaxos_record *fast; /* a commit of its leader's that counts when it is durable; owned, with its command */
};
struct writes { /* a queue */
    struct record_write *items;
    uint32_t first, count, capacity;
};
struct verdict { /* on a committed instance */
    struct epaxos_id id;
    uint64_t value;
    uint8_t entry_kind;
    uint16_t executed; /* mask of replicas, since their last boot or snapshot */
    uint32_t deps[PROTOCOL_NODES_MAX];
    uint32_t keys_first, keys_count; /* in `keys` */
};
struct key_of_verdict {
    uint32_t number; /* of the key */
    bool reads_only;
    uint64_t written_by; /* the instance that wrote it last before, plus one; 1: none; 0: nobody can tell yet */
};
struct key_seen {
    uint32_t last_user, last_writer;         /* numbers of users, plus one; 0: none */
    uint64_t written_by[PROTOCOL_NODES_MAX]; /* by what each replica executed: an instance, plus one; 1: none */
};
struct user {                 /* of a key: a committed command, and the user before it */
    uint32_t verdict, before; /* before: plus one; 0: none */
};
struct epaxos_oracle {
    struct writes writes[PROTOCOL_NODES_MAX];
    struct map64 preaccepted[PROTOCOL_NODES_MAX]; /* instance -> the leader's value, as the disk holds it */
    struct map64 promised[PROTOCOL_NODES_MAX];    /* instance -> highest ballot on the disk */
    struct map64 verdict_of;                      /* instance -> number of its verdict, plus one */
    struct map64 key_of;                          /* hash -> number of the key, plus one */
    struct key_seen *seen;
    size_t seen_count, seen_capacity;
    struct verdict *verdicts;
    size_t verdicts_count, verdicts_capacity;
    struct key_of_verdict *keys;
    size_t keys_count, keys_capacity;
    struct user *user;
    size_t user_count, user_capacity;
};

static struct epaxos_oracle *of(const struct oracle *o) {
    return o->state;
}

static void drop_writes(struct writes *w) {
    for (; w->first < w->count; w->first++) {
        struct epaxos_record *fast = w->items[w->first].fast;
        if (fast) free((void *)(uintptr_t)fast->command.data);
        free(fast);
    }
    w->first = w->count = 0;
}

static void *create(void) {
    return xcalloc(1, sizeof(struct epaxos_oracle));
}

static void destroy(void *state) {
    struct epaxos_oracle *p = state;
    for (uint32_t i = 0; i < PROTOCOL_NODES_MAX; i++) {
        drop_writes(&p->writes[i]);
        free(p->writes[i].items);
        map64_free(&p->preaccepted[i]);
        map64_free(&p->promised[i]);
    }
    map64_free(&p->verdict_of);
    map64_free(&p->key_of);
    free(p->seen);
    free(p->verdicts);
    free(p->keys);
    free(p->user);
    free(p);
}

static void reset(struct oracle *o) {
    struct epaxos_oracle *p = of(o);
    for (uint32_t i = 0; i < o->nodes; i++) {
        drop_writes(&p->writes[i]);
        map64_clear(&p->preaccepted[i]);
        map64_clear(&p->promised[i]);
    }
    map64_clear(&p->verdict_of);
    map64_clear(&p->key_of);
    p->seen_count = p->verdicts_count = p->keys_count = p->user_count = 0;
}

static void *grow(void *items, size_t *capacity, size_t count, size_t size) {
    if (count < *capacity) return items;
    *capacity = *capacity ? 2 * *capacity : 1024;
    return xrealloc(items, *capacity * size);
}

/* --- what is committed -------------------------------------------------------------------------------------------- */

static uint64_t value_of(const struct epaxos_record *r, uint8_t nodes) {
    uint64_t hash = hash_mix(r->entry_kind, r->at.seq);
    for (uint8_t q = 0; q < nodes; q++) hash = hash_mix(hash, r->at.deps[q]);
    return (r->entry_kind == ENTRY_COMMAND ? hash_mix(hash, hash_bytes(r->command, 0)) : hash) | 1;
}

enum { USERS_LOOKED_AT = 32 }; /* of a key, the latest ones */

static void check_visibility(struct oracle *o, const struct verdict *v, uint32_t last) {
    struct epaxos_oracle *p = of(o);
    for (uint32_t looked = 0; last && looked < USERS_LOOKED_AT; looked++) {
        const struct user *u = &p->user[last - 1];
        const struct verdict *other = &p->verdicts[u->verdict];
        last = u->before;
        if (other->id.replica == v->id.replica && other->id.number == v->id.number) continue;
        if (v->deps[other->id.replica] >= other->id.number || other->deps[v->id.replica] >= v->id.number) continue;
        oracle_fail(o, "interfering commands wait",
                    "instances %u.%u and %u.%u interfere, and neither is among the other's dependencies",
                    v->id.replica + 1u, v->id.number, other->id.replica + 1u, other->id.number);
        return;
    }
}

static uint32_t add_user(struct epaxos_oracle *p, uint32_t verdict, uint32_t before) {
    p->user = grow(p->user, &p->user_capacity, p->user_count, sizeof *p->user);
    p->user[p->user_count++] = (struct user){verdict, before};
    return (uint32_t)p->user_count;
}

static uint32_t number_of_key(struct oracle *o, uint64_t hash) {
    struct epaxos_oracle *p = of(o);
    bool fresh;
    uint64_t *number = map64_put(&p->key_of, hash, &fresh);
    if (fresh) {
        p->seen = grow(p->seen, &p->seen_capacity, p->seen_count, sizeof *p->seen);
        struct key_seen *seen = &p->seen[p->seen_count++];
        *seen = (struct key_seen){0};
        for (uint32_t q = 0; q < o->nodes; q++) seen->written_by[q] = 1;
        *number = p->seen_count;
    }
    return (uint32_t)*number - 1;
}

/* Each key has two lists: its writers, and all of its users; a reader looks at the first only. */
static void use_keys(struct oracle *o, struct verdict *v, uint32_t number, struct bytes command) {
    struct epaxos_oracle *p = of(o);
    struct kv_touched touched[KV_TOUCHED_MAX];
    v->keys_count = kv_footprint(command, touched);
    v->keys_first = (uint32_t)p->keys_count;
    for (uint32_t k = 0; k < v->keys_count; k++) {
        bool reads_only = touched[k].reads_only;
        uint32_t key = number_of_key(o, touched[k].hash);
        p->keys = grow(p->keys, &p->keys_capacity, p->keys_count, sizeof *p->keys);
        p->keys[p->keys_count++] = (struct key_of_verdict){.number = key, .reads_only = reads_only};
        struct key_seen *seen = &p->seen[key];
        check_visibility(o, v, reads_only ? seen->last_writer : seen->last_user);
        seen->last_user = add_user(p, number, seen->last_user);
        if (!reads_only) seen->last_writer = add_user(p, number, seen->last_writer);
    }
}

static void on_commit(struct oracle *o, uint8_t node, const struct epaxos_record *r) {
    struct epaxos_oracle *p = of(o);
    uint64_t value = value_of(r, (uint8_t)o->nodes);
    bool fresh;
    uint64_t *known = map64_put(&p->verdict_of, epaxos_name(r->id), &fresh);
    if (!fresh) {
        if (p->verdicts[*known - 1].value != value)
            oracle_fail(
                o, "one value an instance",
                "n%u committed instance %u.%u with another command or other attributes than a replica before it",
                node + 1u, r->id.replica + 1u, r->id.number);
        return;
    }
    p->verdicts = grow(p->verdicts, &p->verdicts_capacity, p->verdicts_count, sizeof *p->verdicts);
    struct verdict *v = &p->verdicts[p->verdicts_count++];
    *known = p->verdicts_count;
    *v = (struct verdict){.id = r->id, .value = value, .entry_kind = r->entry_kind};
    memcpy(v->deps, r->at.deps, sizeof v->deps);
    if (r->entry_kind == ENTRY_COMMAND) use_keys(o, v, (uint32_t)p->verdicts_count - 1, r->command);
}

/* A fast commit survives any F crashes if that many disks hold the leader's attributes: all but e, of a majority, with
 * n >= 2e + F - 1 (OPODIS'25; with 2F + 1 replicas that of SOSP'13 section 4.4). */
static void check_fast_quorum(struct oracle *o, uint8_t node, struct epaxos_id id, uint64_t value) {
    struct epaxos_oracle *p = of(o);
    uint32_t crashes = (o->nodes - 1u) / 2, needed = o->nodes - crashes, holders = 0;
    while (2 * (o->nodes - needed) + crashes > o->nodes + 1u) needed++;
    for (uint32_t q = 0; q < o->nodes; q++) {
        const uint64_t *held = map64_get(&p->preaccepted[q], epaxos_name(id));
        holders += held && *held == value;
    }
    if (holders < needed)
        oracle_fail(o, "fast commits are recoverable",
                    "n%u committed instance %u.%u at once with %u disks holding its attributes, %u are needed",
                    node + 1u, id.replica + 1u, id.number, holders, needed);
}

/* --- disks -------------------------------------------------------------------------------------------------------- */

static void queue_write(struct writes *w, struct record_write item) {
    if (2 * w->first >= w->count) { /* under steady load the queue is never empty */
        w->count -= w->first;
        if (w->count) memmove(w->items, w->items + w->first, w->count * sizeof *w->items);
        w->first = 0;
    }
    if (w->count == w->capacity) {
        w->capacity = w->capacity ? 2 * w->capacity : 64;
        w->items = xrealloc(w->items, w->capacity * sizeof *w->items);
    }
    w->items[w->count++] = item;
}

static void hold(struct epaxos_oracle *p, uint8_t node, const struct record_write *w) {
    bool fresh;
    uint64_t name = epaxos_name(w->id);
    if (w->status == EPAXOS_PREACCEPTED && w->original) *map64_put(&p->preaccepted[node], name, &fresh) = w->value;
    if (w->promised == 0) return;
    uint64_t *promised = map64_put(&p->promised[node], name, &fresh);
    if (*promised < w->promised) *promised = w->promised;
}

static void durable(struct oracle *o, uint8_t node, uint64_t written) {
    struct writes *w = &of(o)->writes[node];
    for (; w->first < w->count && w->items[w->first].written <= written; w->first++) {
        struct record_write *item = &w->items[w->first];
        hold(of(o), node, item);
        if (!item->fast) continue;
        check_fast_quorum(o, node, item->id, item->value);
        on_commit(o, node, item->fast);
        free((void *)(uintptr_t)item->fast->command.data);
        free(item->fast);
        item->fast = NULL;
    }
}

static void crash(struct oracle *o, uint8_t node) {
    drop_writes(&of(o)->writes[node]);
}

/* It executes again from its snapshot on; what wrote a key before that it cannot tell. */
static void forget_execution(struct oracle *o, uint8_t node, bool whole) {
    struct epaxos_oracle *p = of(o);
    for (size_t i = 0; i < p->verdicts_count; i++) p->verdicts[i].executed &= (uint16_t) ~(1u << node);
    for (size_t i = 0; i < p->seen_count; i++) p->seen[i].written_by[node] = whole;
}

/* What a boot finds must include every promise that was durable, of all that its log still tells of. */
static void boot(struct oracle *o, uint8_t node, const struct durable *d) {
    struct epaxos_oracle *p = of(o);
    struct map64 found = {0};
    struct epaxos_record r;
    bool fresh;
    forget_execution(o, node, d->snapshot_index == 0);
    for (size_t i = 0; i < d->entries_count; i++) {
        if (!epaxos_record_decode(d->entries[i].payload, (uint8_t)o->nodes, &r)) {
            oracle_fail(o, "recovery", "n%u found a record that does not decode", node + 1u);
            break;
        }
        uint64_t *promised = map64_put(&found, epaxos_name(r.id), &fresh);
        if (*promised < r.promised) *promised = r.promised;
    }
    for (size_t i = 0; i < d->entries_count && epaxos_record_decode(d->entries[i].payload, (uint8_t)o->nodes, &r);
         i++) {
        const uint64_t *before = map64_get(&p->promised[node], epaxos_name(r.id));
        if (before && *before > *map64_get(&found, epaxos_name(r.id)))
            oracle_fail(o, "recovery", "n%u forgot a durable promise for instance %u.%u", node + 1u, r.id.replica + 1u,
                        r.id.number);
        struct record_write w = {.id = r.id,
                                 .value = value_of(&r, (uint8_t)o->nodes),
                                 .status = r.status,
                                 .original = r.original,
                                 .promised = r.promised};
        hold(p, node, &w);
        if (r.status >= EPAXOS_COMMITTED) on_commit(o, node, &r);
    }
    map64_free(&found);
}

/* --- execution ---------------------------------------------------------------------------------------------------- */

static const struct verdict *verdict_on(const struct epaxos_oracle *p, uint64_t instance) {
    const uint64_t *number = map64_get(&p->verdict_of, instance);
    return number ? &p->verdicts[*number - 1] : NULL;
}

/* The nearest instance of each replica that it waits for: those before it were looked at with earlier commands. */
static void check_closure(struct oracle *o, uint8_t node, const struct verdict *v) {
    struct epaxos_oracle *p = of(o);
    for (uint8_t q = 0; q < o->nodes; q++) {
        if (v->deps[q] == 0 || verdict_on(p, epaxos_name((struct epaxos_id){q, v->deps[q]}))) continue;
        oracle_fail(o, "dependencies are committed",
                    "n%u executed instance %u.%u, which waits for %u.%u, before anybody committed that", node + 1u,
                    v->id.replica + 1u, v->id.number, q + 1u, v->deps[q]);
        return;
    }
}

static void on_apply(struct oracle *o, uint8_t node, const struct effect *e) {
    struct epaxos_oracle *p = of(o);
    const uint64_t *number = map64_get(&p->verdict_of, e->instance);
    struct epaxos_id id = {(uint8_t)(e->instance & 15), (uint32_t)(e->instance >> 4)};
    if (!number) {
        oracle_fail(o, "executed means committed", "n%u executed instance %u.%u, which nobody committed", node + 1u,
                    id.replica + 1u, id.number);
        return;
    }
    struct verdict *v = &p->verdicts[*number - 1];
    if (v->executed >> node & 1)
        oracle_fail(o, "executed once", "n%u executed instance %u.%u twice", node + 1u, id.replica + 1u, id.number);
    v->executed |= (uint16_t)(1u << node);
    check_closure(o, node, v);
    for (uint32_t k = 0; k < v->keys_count; k++) {
        struct key_of_verdict *key = &p->keys[v->keys_first + k];
        uint64_t *last = &p->seen[key->number].written_by[node];
        if (*last && key->written_by && *last != key->written_by)
            oracle_fail(o, "one order of what interferes",
                        "n%u executed instance %u.%u after another write of its key than a replica before it",
                        node + 1u, id.replica + 1u, id.number);
        if (*last) key->written_by = *last;
        if (!key->reads_only) *last = e->instance + 1;
    }
}

/* --- effects ------------------------------------------------------------------------------------------------------ */

static struct epaxos_record *copy_of(const struct epaxos_record *r) {
    struct epaxos_record *copy = xmalloc(sizeof *copy);
    uint8_t *command = xmalloc(r->command.size + 1);
    if (r->command.size) memcpy(command, r->command.data, r->command.size);
    *copy = *r;
    copy->command = bytes_of(command, r->command.size);
    return copy;
}

static void on_append(struct oracle *o, uint8_t node, const struct effect *e) {
    struct epaxos_record r;
    if (!epaxos_record_decode(e->bytes, (uint8_t)o->nodes, &r)) {
        oracle_fail(o, "records decode", "n%u wrote a record that does not decode", node + 1u);
        return;
    }
    if (r.accepted > r.promised)
        oracle_fail(o, "accepted as promised", "n%u accepted instance %u.%u in a ballot that it had not promised",
                    node + 1u, r.id.replica + 1u, r.id.number);
    /* A commit without an accept round is one when it is on its leader's disk; any other at once. */
    bool committed = r.status >= EPAXOS_COMMITTED, fast = committed && r.fast && r.id.replica == node;
    queue_write(&of(o)->writes[node], (struct record_write){.written = e->written,
                                                            .id = r.id,
                                                            .value = value_of(&r, (uint8_t)o->nodes),
                                                            .status = r.status,
                                                            .original = r.original,
                                                            .promised = r.promised,
                                                            .fast = fast ? copy_of(&r) : NULL});
    if (committed && !fast) on_commit(o, node, &r);
}

/* "Persist before you answer": a promise is on the disk before it is told. */
static void on_send(struct oracle *o, uint8_t node, const struct effect *e) {
    struct epaxos_message m;
    bool promises = e->message_kind == EPAXOS_PREPARE_REPLY || e->message_kind == EPAXOS_ACCEPT_REPLY;
    if (!promises || !epaxos_message_decode(e->bytes, (uint8_t)o->nodes, &m) || m.refused) return;
    const uint64_t *promised = map64_get(&of(o)->promised[node], epaxos_name(m.id));
    if ((promised ? *promised : 0) < m.ballot)
        oracle_fail(o, "durable before promised", "n%u answered for instance %u.%u before its promise was durable",
                    node + 1u, m.id.replica + 1u, m.id.number);
}

static void effect(struct oracle *o, uint8_t node, const struct effect *e) {
    switch ((enum effect_kind)e->kind) {
    case EFFECT_APPEND: on_append(o, node, e); break;
    case EFFECT_APPLY: on_apply(o, node, e); break;
    case EFFECT_SEND: on_send(o, node, e); break;
    case EFFECT_SNAPSHOT_RECEIVE:
        if (e->last) forget_execution(o, node, false);
        break;
    default: break;
    }
}

const struct oracle_of oracle_of_epaxos = {
    .protocol = &epaxos_protocol,
    .create = create,
    .destroy = destroy,
    .reset = reset,
    .boot = boot,
    .crash = crash,
    .effect = effect,
    .durable = durable,
};
