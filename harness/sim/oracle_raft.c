/* The invariants of Raft. Names follow Figure 3 of Ongaro and Ousterhout 2014 where it has one.
 *
 * Logs are compared by chains: chain(i) hashes the entry at i with chain(i - 1), so that two equal chains mean two
 * equal prefixes (Log Matching, Figure 3, in one comparison). */
#include <stdlib.h>

#include "harness/sim/oracle_internal.h"
#include "targets/protocols/raft/raft.h"

struct link_of_chain {
    uint64_t term, chain;
};
struct chain { /* links[i] belongs to log index i; links[0] is the empty log */
    struct link_of_chain *links;
    uint64_t last;
    size_t capacity;
};
struct durable_op { /* a write under way to the disk */
    uint64_t written;
    uint8_t kind; /* EFFECT_APPEND, EFFECT_TRUNCATE, EFFECT_META, EFFECT_SNAPSHOT_RECEIVE */
    uint8_t vote;
    uint64_t index, term, chain;
};
struct raft_node {
    struct chain log, disk; /* as the replica has it, and as its disk surely does */
    struct durable_op *ops; /* a queue */
    uint32_t ops_first, ops_count, ops_capacity;
    uint64_t disk_term;
    uint8_t disk_vote;
    uint64_t disk_last_least; /* after a crash: truncations under way may be on the disk, or not */
    uint64_t installing;      /* index of a snapshot whose write is under way; 0: none */
};
struct raft_oracle {
    struct raft_node node[PROTOCOL_NODES_MAX];
    struct chain committed;
    uint64_t committed_in;  /* the latest term in which a leader committed something */
    struct map64 chain_of;  /* (index, term) -> chain: Log Matching */
    struct map64 leader_of; /* term -> node + 1: Election Safety */
    struct map64 vote_of;   /* (node, term) -> candidate + 1 */
    struct map64 voters_of; /* (term, candidate) -> mask of grants that left a node */
};

static struct raft_oracle *of(const struct oracle *o) {
    return o->state;
}

static void chain_set(struct chain *c, uint64_t index, uint64_t term, uint64_t chain) {
    if (index >= c->capacity) {
        size_t capacity = index + index / 2 + 1024;
        c->links = xrealloc(c->links, capacity * sizeof *c->links);
        memset(c->links + c->capacity, 0, (capacity - c->capacity) * sizeof *c->links);
        c->capacity = capacity;
    }
    c->links[index] = (struct link_of_chain){term, chain};
    c->last = index;
}

static void chain_reset(struct chain *c) {
    chain_set(c, 0, 0, 0);
}

static void *create(void) {
    return xcalloc(1, sizeof(struct raft_oracle));
}

static void destroy(void *state) {
    struct raft_oracle *r = state;
    for (uint32_t i = 0; i < PROTOCOL_NODES_MAX; i++) {
        free(r->node[i].log.links);
        free(r->node[i].disk.links);
        free(r->node[i].ops);
    }
    free(r->committed.links);
    map64_free(&r->chain_of);
    map64_free(&r->leader_of);
    map64_free(&r->vote_of);
    map64_free(&r->voters_of);
    free(r);
}

static void reset(struct oracle *o) {
    struct raft_oracle *r = of(o);
    for (uint32_t i = 0; i < o->nodes; i++) {
        struct raft_node *n = &r->node[i];
        chain_reset(&n->log);
        chain_reset(&n->disk);
        n->ops_first = n->ops_count = 0;
        n->disk_term = n->installing = 0;
        n->disk_vote = NODE_NONE;
        n->disk_last_least = UINT64_MAX;
    }
    chain_reset(&r->committed);
    r->committed_in = 0;
    map64_clear(&r->chain_of);
    map64_clear(&r->leader_of);
    map64_clear(&r->vote_of);
    map64_clear(&r->voters_of);
}

static uint64_t key_of(uint64_t a, uint64_t b) {
    return hash_mix(hash_u64(a), b);
}

static uint64_t entry_chain(uint64_t before, uint64_t term, uint8_t kind, struct bytes payload) {
    return hash_mix(hash_mix(before, term << 8 | kind), hash_bytes(payload, 0)) | 1;
}

static void queue_write(struct raft_node *n, struct durable_op op) {
    if (2 * n->ops_first >= n->ops_count) { /* under steady load the queue is never empty */
        n->ops_count -= n->ops_first;
        if (n->ops_count) memmove(n->ops, n->ops + n->ops_first, n->ops_count * sizeof *n->ops);
        n->ops_first = 0;
    }
    if (n->ops_count == n->ops_capacity) {
        n->ops_capacity = n->ops_capacity ? 2 * n->ops_capacity : 64;
        n->ops = xrealloc(n->ops, n->ops_capacity * sizeof *n->ops);
    }
    n->ops[n->ops_count++] = op;
}

static void disk_apply(struct oracle *o, struct raft_node *n, const struct durable_op *op) {
    switch (op->kind) {
    case EFFECT_APPEND: chain_set(&n->disk, op->index, op->term, op->chain); break;
    case EFFECT_TRUNCATE: n->disk.last = op->index - 1; break;
    case EFFECT_META:
        if (op->term == n->disk_term && n->disk_vote != NODE_NONE && op->vote != n->disk_vote)
            oracle_fail(o, "one vote a term", "n%u took its vote of term %llu back", (unsigned)(n - of(o)->node) + 1u,
                        U(op->term));
        n->disk_term = op->term;
        n->disk_vote = op->vote;
        break;
    default: /* a received snapshot replaces the log up to its index */
        if (op->index <= of(o)->committed.last && op->chain)
            chain_set(&n->disk, op->index, op->term, of(o)->committed.links[op->index].chain);
        break;
    }
}

static void durable(struct oracle *o, uint8_t node, uint64_t written) {
    struct raft_node *n = &of(o)->node[node];
    while (n->ops_first < n->ops_count && n->ops[n->ops_first].written <= written) {
        const struct durable_op *op = &n->ops[n->ops_first++];
        disk_apply(o, n, op);
        /* A node's own vote counts from when it is durable. */
        if (op->kind == EFFECT_META && op->vote == node) {
            bool fresh;
            *map64_put(&of(o)->voters_of, key_of(op->term, node), &fresh) |= UINT64_C(1) << node;
        }
    }
}

static void crash(struct oracle *o, uint8_t node) {
    struct raft_node *n = &of(o)->node[node];
    for (; n->ops_first < n->ops_count; n->ops_first++) {
        const struct durable_op *op = &n->ops[n->ops_first];
        uint64_t last = op->kind == EFFECT_TRUNCATE                        ? op->index - 1
                        : op->kind == EFFECT_SNAPSHOT_RECEIVE && op->chain ? op->index
                                                                           : UINT64_MAX;
        if (last < n->disk_last_least) n->disk_last_least = last;
    }
    n->installing = 0;
}

/* What a boot finds must include everything that was durable, entry for entry. */
static void boot(struct oracle *o, uint8_t node, const struct durable *d) {
    struct raft_node *n = &of(o)->node[node];
    struct reader meta = {.data = d->meta.data, .size = d->meta.size};
    uint64_t term = d->meta.size ? read_u64(&meta) : 0;
    uint8_t vote = d->meta.size ? read_u8(&meta) : NODE_NONE;
    if (term < n->disk_term)
        oracle_fail(o, "recovery", "n%u booted in term %llu after term %llu was durable", node + 1u, U(term),
                    U(n->disk_term));
    if (term == n->disk_term && n->disk_vote != NODE_NONE && vote != n->disk_vote)
        oracle_fail(o, "recovery", "n%u forgot its durable vote of term %llu", node + 1u, U(term));
    uint64_t last = d->entries_count ? d->entries[d->entries_count - 1].index : d->snapshot_index;
    uint64_t least = n->disk.last < n->disk_last_least ? n->disk.last : n->disk_last_least;
    if (last < least && d->snapshot_index < least)
        oracle_fail(o, "recovery", "n%u booted with a log up to %llu after %llu was durable", node + 1u, U(last),
                    U(least));
    n->disk_last_least = UINT64_MAX;
    n->disk_term = o->seen[node].term = term;
    n->disk_vote = vote;
    uint64_t base =
        d->entries_count && d->entries[0].index <= d->snapshot_index ? d->entries[0].index - 1 : d->snapshot_index;
    if (base > 0 && base <= of(o)->committed.last)
        chain_set(&n->log, base, of(o)->committed.links[base].term, of(o)->committed.links[base].chain);
    else if (base == 0)
        chain_reset(&n->log);
    for (size_t i = 0; i < d->entries_count; i++) {
        const struct entry *e = &d->entries[i];
        uint64_t chain = entry_chain(n->log.links[e->index - 1].chain, e->term, e->kind, e->payload);
        if (e->index <= n->disk.last && e->index <= of(o)->committed.last && n->disk.links[e->index].chain &&
            n->disk.links[e->index].chain == of(o)->committed.links[e->index].chain &&
            n->disk.links[e->index].chain != chain)
            oracle_fail(o, "recovery", "n%u came back with another entry at committed index %llu", node + 1u,
                        U(e->index));
        chain_set(&n->log, e->index, e->term, chain);
    }
    if (n->log.last >= n->disk.capacity) chain_set(&n->disk, n->log.last, 0, 0);
    for (uint64_t i = base; i <= n->log.last; i++) n->disk.links[i] = n->log.links[i];
    n->disk.last = n->log.last;
}

static void on_append(struct oracle *o, uint8_t node, const struct effect *e) {
    struct raft_node *n = &of(o)->node[node];
    uint64_t chain = entry_chain(n->log.links[e->index - 1].chain, e->term, e->entry_kind, e->bytes);
    bool fresh;
    uint64_t *known = map64_put(&of(o)->chain_of, key_of(e->index, e->term), &fresh);
    if (fresh)
        *known = chain;
    else if (*known != chain)
        oracle_fail(o, "log matching", "n%u appended another entry, or after another log, at index %llu of term %llu",
                    node + 1u, U(e->index), U(e->term));
    chain_set(&n->log, e->index, e->term, chain);
    queue_write(n,
                (struct durable_op){
                    .written = e->written, .kind = EFFECT_APPEND, .index = e->index, .term = e->term, .chain = chain});
}

static void on_truncate(struct oracle *o, uint8_t node, const struct effect *e) {
    struct raft_node *n = &of(o)->node[node];
    if (o->seen[node].role == PROTOCOL_LEADER)
        oracle_fail(o, "leader append-only", "n%u removed entries from index %llu on while leading term %llu",
                    node + 1u, U(e->index), U(o->seen[node].term));
    if (e->index <= of(o)->committed.last && n->log.links[e->index].chain == of(o)->committed.links[e->index].chain)
        oracle_fail(o, "committed entries stay", "n%u removed the committed entry at index %llu from its log",
                    node + 1u, U(e->index));
    n->log.last = e->index - 1;
    queue_write(n, (struct durable_op){.written = e->written, .kind = EFFECT_TRUNCATE, .index = e->index});
}

/* What leaves a node must be covered by its disk: "persist before you answer". */
static void on_send(struct oracle *o, uint8_t node, const struct effect *e) {
    struct raft_node *n = &of(o)->node[node];
    struct raft_message m;
    bool answers = e->message_kind == RAFT_VOTE_REPLY || e->message_kind == RAFT_APPEND_REPLY ||
                   e->message_kind == RAFT_SNAPSHOT_REPLY;
    if (!answers || !raft_message_decode(e->bytes, &m) || !m.success || m.pre_vote) return;
    if (m.kind != RAFT_VOTE_REPLY) {
        /* An acknowledgement that waited for the disk may leave after its entries were cut by a later term's leader. It
         * can do no harm: whoever elected that leader never had them, and is a majority. */
        if (m.term < o->seen[node].term) return;
        if (m.index > n->disk.last || m.term > n->disk_term)
            oracle_fail(o, "durable before acknowledged",
                        "n%u acknowledged entries up to %llu, its disk holds them up to %llu", node + 1u, U(m.index),
                        U(n->disk.last));
        return;
    }
    if (n->disk_term < m.term || (n->disk_term == m.term && n->disk_vote != e->to))
        oracle_fail(o, "durable before voting", "n%u granted n%u its vote of term %llu before the vote was durable",
                    node + 1u, e->to + 1u, U(m.term));
    bool fresh;
    uint64_t *vote = map64_put(&of(o)->vote_of, key_of(m.term, node), &fresh);
    if (!fresh && *vote != e->to + 1u)
        oracle_fail(o, "one vote a term", "n%u voted for n%llu and for n%u in term %llu", node + 1u, U(*vote),
                    e->to + 1u, U(m.term));
    *vote = e->to + 1u;
    *map64_put(&of(o)->voters_of, key_of(m.term, e->to), &fresh) |= UINT64_C(1) << node;
}

static void on_leader(struct oracle *o, uint8_t node, uint64_t term) {
    struct raft_node *n = &of(o)->node[node];
    bool fresh;
    uint64_t *leader = map64_put(&of(o)->leader_of, term, &fresh);
    if (!fresh && *leader != node + 1u)
        oracle_fail(o, "election safety", "term %llu has two leaders: n%llu and n%u", U(term), U(*leader), node + 1u);
    *leader = node + 1u;
    const uint64_t *voters = map64_get(&of(o)->voters_of, key_of(term, node));
    uint32_t count = voters ? (uint32_t)__builtin_popcountll(*voters) : 0;
    if (count < o->nodes / 2 + 1)
        oracle_fail(o, "election quorum", "n%u leads term %llu with %u of %u votes", node + 1u, U(term), count,
                    o->nodes);
    /* "... in the logs of the leaders of all later terms": votes may arrive so late that a later term is already
     * there. */
    if (term < of(o)->committed_in) return;
    uint64_t last = of(o)->committed.last;
    if (n->log.last < last || n->log.links[last].chain != of(o)->committed.links[last].chain)
        oracle_fail(o, "leader completeness", "n%u leads term %llu without the committed entry at index %llu",
                    node + 1u, U(term), U(last));
}

static void effect(struct oracle *o, uint8_t node, const struct effect *e) {
    struct raft_node *n = &of(o)->node[node];
    switch ((enum effect_kind)e->kind) {
    case EFFECT_APPEND: on_append(o, node, e); break;
    case EFFECT_TRUNCATE: on_truncate(o, node, e); break;
    case EFFECT_META:
        queue_write(n, (struct durable_op){.written = e->written, .kind = EFFECT_META, .term = e->term, .vote = e->to});
        break;
    case EFFECT_SEND: on_send(o, node, e); break;
    case EFFECT_SNAPSHOT_RECEIVE:
        if (!e->last) break;
        n->installing = e->index;
        if (e->index > of(o)->committed.last || of(o)->committed.links[e->index].term != e->term)
            oracle_fail(o, "snapshots are committed",
                        "n%u received a snapshot of index %llu, term %llu, which is not committed", node + 1u,
                        U(e->index), U(e->term));
        queue_write(n, (struct durable_op){.written = e->written,
                                           .kind = EFFECT_SNAPSHOT_RECEIVE,
                                           .index = e->index,
                                           .term = e->term,
                                           .chain = e->reset});
        break;
    case EFFECT_ROLE:
        if (e->role == PROTOCOL_LEADER) on_leader(o, node, e->term);
        break;
    default: break;
    }
}

/* The log starts again after an installed snapshot. */
static void install(struct oracle *o, uint8_t node, const struct probe *p) {
    struct raft_node *n = &of(o)->node[node];
    uint64_t index = n->installing;
    n->installing = 0;
    if (index > of(o)->committed.last) return;
    const struct link_of_chain *link = &of(o)->committed.links[index];
    if (index > n->log.last || n->log.links[index].chain != link->chain || p->last_index == index)
        chain_set(&n->log, index, link->term, link->chain);
    if (o->seen[node].commit < index)
        o->seen[node].commit = index; /* committed by its own kind, without being in this log */
}

static void on_commit(struct oracle *o, uint8_t node, const struct probe *p) {
    struct raft_node *n = &of(o)->node[node];
    for (uint64_t i = o->seen[node].commit + 1; i <= p->commit_index; i++) {
        if (i > n->log.last) {
            oracle_fail(o, "commit within the log", "n%u committed index %llu, its log ends at %llu", node + 1u, U(i),
                        U(n->log.last));
            return;
        }
        const struct link_of_chain *link = &n->log.links[i];
        if (i <= of(o)->committed.last) {
            if (of(o)->committed.links[i].chain != link->chain)
                oracle_fail(o, "state machine safety",
                            "n%u committed another entry at index %llu (term %llu) than was committed "
                            "before (term %llu)",
                            node + 1u, U(i), U(link->term), U(of(o)->committed.links[i].term));
            continue;
        }
        if (p->role != PROTOCOL_LEADER)
            oracle_fail(o, "only leaders commit first", "n%u, a follower, committed index %llu before any leader did",
                        node + 1u, U(i));
        chain_set(&of(o)->committed, i, link->term, link->chain);
        of(o)->committed_in = p->term;
    }
    if (p->role != PROTOCOL_LEADER || p->commit_index != of(o)->committed.last) return;
    uint32_t holders = 0;
    for (uint32_t i = 0; i < o->nodes; i++) {
        const struct chain *disk = &of(o)->node[i].disk;
        holders +=
            disk->last >= p->commit_index && disk->links[p->commit_index].chain == n->log.links[p->commit_index].chain;
    }
    if (holders < o->nodes / 2 + 1)
        oracle_fail(o, "committed means recoverable", "index %llu was committed by n%u with %u of %u disks holding it",
                    U(p->commit_index), node + 1u, holders, o->nodes);
    if (n->log.links[p->commit_index].term != p->term)
        oracle_fail(o, "commit of the current term",
                    "n%u, leader of term %llu, committed up to an entry of term %llu by counting", node + 1u,
                    U(p->term), U(n->log.links[p->commit_index].term));
}

static void step(struct oracle *o, uint8_t node, const struct probe *p) {
    struct raft_node *n = &of(o)->node[node];
    if (n->installing && p->applied_index >= n->installing) install(o, node, p);
    if (p->last_index != n->log.last)
        oracle_fail(o, "effects tell all", "n%u has a log up to %llu, its effects say %llu", node + 1u,
                    U(p->last_index), U(n->log.last));
    if (p->commit_index > o->seen[node].commit) on_commit(o, node, p);
}

static uint64_t committed(const struct oracle *o) {
    return of(o)->committed.last;
}

const struct oracle_of oracle_of_raft = {.protocol = &raft_protocol,
                                         .create = create,
                                         .destroy = destroy,
                                         .reset = reset,
                                         .boot = boot,
                                         .crash = crash,
                                         .effect = effect,
                                         .durable = durable,
                                         .step = step,
                                         .committed = committed};
