/* The invariants of the Paxos family: P1 and P2 of Lamport 2001 (section 2.2), and what follows from them, per slot.
 * What is chosen is decided here, from the disks alone: a value that a majority of them has accepted at one ballot. */
#include <stdlib.h>

#include "harness/sim/oracle_internal.h"
#include "targets/protocols/multipaxos/multipaxos.h"
#include "targets/protocols/paxos/paxos.h"
#include "targets/protocols/slots.h"

struct disk_write { /* a write under way */
    uint64_t written;
    uint8_t kind;                /* EFFECT_APPEND, EFFECT_META, EFFECT_SNAPSHOT_RECEIVE */
    uint8_t type;                /* enum record_type */
    uint64_t slot, ballot, hash; /* APPEND; META: ballot; SNAPSHOT_RECEIVE: slot */
};
struct slot_seen {                         /* by one node */
    uint64_t promised, accepted;           /* in memory */
    uint64_t recorded;                     /* the last promise of its own: an acceptance may have passed it */
    uint64_t disk_promised, disk_accepted; /* surely on disk */
};
struct paxos_node {
    struct slot_seen *slots; /* by number */
    size_t slots_capacity;
    uint64_t top;                     /* highest slot seen */
    uint64_t promised, disk_promised; /* of all slots */
    uint64_t disk_snapshot;           /* slots up to here are in it */
    struct disk_write *writes;        /* a queue */
    uint32_t writes_first, writes_count, writes_capacity;
};
struct vote { /* for a value, at one ballot of one slot */
    uint64_t hash;
    uint32_t disks; /* mask */
};
struct chosen {
    uint64_t ballot, hash; /* the lowest ballot that a majority was seen to have accepted; 0: none yet */
};
struct paxos_oracle {
    struct paxos_node node[PROTOCOL_NODES_MAX];
    struct map64 vote_of; /* (slot, ballot) -> index of votes, plus one */
    struct vote *votes;
    size_t votes_count, votes_capacity;
    struct chosen *chosen; /* by slot */
    size_t chosen_capacity;
    uint64_t committed;     /* the last slot that any node took for chosen */
    struct map64 leader_of; /* ballot -> node + 1 */
};

static struct paxos_oracle *of(const struct oracle *o) {
    return o->state;
}

static void *create(void) {
    return xcalloc(1, sizeof(struct paxos_oracle));
}

static void destroy(void *state) {
    struct paxos_oracle *x = state;
    for (uint32_t i = 0; i < PROTOCOL_NODES_MAX; i++) {
        free(x->node[i].slots);
        free(x->node[i].writes);
    }
    map64_free(&x->vote_of);
    map64_free(&x->leader_of);
    free(x->votes);
    free(x->chosen);
    free(x);
}

static void reset(struct oracle *o) {
    struct paxos_oracle *x = of(o);
    for (uint32_t i = 0; i < PROTOCOL_NODES_MAX; i++) {
        struct paxos_node *n = &x->node[i];
        if (n->slots) memset(n->slots, 0, n->slots_capacity * sizeof *n->slots);
        n->top = n->promised = n->disk_promised = n->disk_snapshot = 0;
        n->writes_first = n->writes_count = 0;
    }
    map64_clear(&x->vote_of);
    map64_clear(&x->leader_of);
    x->votes_count = 0;
    if (x->chosen) memset(x->chosen, 0, x->chosen_capacity * sizeof *x->chosen);
    x->committed = 0;
}

/* An array by slot number that grows with zeros. */
static void *grow(void *items, size_t *capacity, uint64_t index, size_t size) {
    if (index < *capacity) return items;
    size_t wanted = index + index / 2 + 1024;
    items = xrealloc(items, wanted * size);
    memset((char *)items + *capacity * size, 0, (wanted - *capacity) * size);
    *capacity = wanted;
    return items;
}

static struct slot_seen *slot_of(struct paxos_node *n, uint64_t slot) {
    n->slots = grow(n->slots, &n->slots_capacity, slot, sizeof *n->slots);
    if (slot > n->top) n->top = slot;
    return &n->slots[slot];
}

static struct chosen *chosen_of(struct paxos_oracle *x, uint64_t slot) {
    x->chosen = grow(x->chosen, &x->chosen_capacity, slot, sizeof *x->chosen);
    return &x->chosen[slot];
}

static uint64_t value_hash(uint8_t kind, struct bytes value) {
    return hash_bytes(value, kind) | 1;
}

static struct vote *vote_for(struct paxos_oracle *x, uint64_t slot, uint64_t ballot, uint64_t hash) {
    bool fresh;
    uint64_t *at = map64_put(&x->vote_of, hash_mix(hash_u64(slot), ballot), &fresh);
    if (fresh) {
        if (x->votes_count == x->votes_capacity) {
            x->votes_capacity = x->votes_capacity ? 2 * x->votes_capacity : 1024;
            x->votes = xrealloc(x->votes, x->votes_capacity * sizeof *x->votes);
        }
        x->votes[x->votes_count++] = (struct vote){.hash = hash};
        *at = x->votes_count;
    }
    return &x->votes[*at - 1];
}

static void queue(struct paxos_node *n, struct disk_write w) {
    if (2 * n->writes_first >= n->writes_count) { /* under steady load the queue is never empty */
        n->writes_count -= n->writes_first;
        if (n->writes_count) memmove(n->writes, n->writes + n->writes_first, n->writes_count * sizeof *n->writes);
        n->writes_first = 0;
    }
    if (n->writes_count == n->writes_capacity) {
        n->writes_capacity = n->writes_capacity ? 2 * n->writes_capacity : 64;
        n->writes = xrealloc(n->writes, n->writes_capacity * sizeof *n->writes);
    }
    n->writes[n->writes_count++] = w;
}

/* --- what nodes accept -------------------------------------------------------------------------------------------- */

static void on_chosen(struct oracle *o, uint64_t slot, uint64_t ballot, uint64_t hash) {
    struct chosen *c = chosen_of(of(o), slot);
    if (c->ballot && c->hash != hash)
        oracle_fail(o, "one chosen value a slot",
                    "slot %llu: majorities have accepted two values, at ballots %llu and "
                    "%llu",
                    U(slot), U(c->ballot), U(ballot));
    if (c->ballot == 0 || ballot < c->ballot) *c = (struct chosen){ballot, hash};
}

static void on_accepted(struct oracle *o, uint8_t node, const struct slot_record *r, uint64_t hash) {
    struct paxos_node *n = &of(o)->node[node];
    struct slot_seen *s = slot_of(n, r->slot);
    uint64_t promised = s->promised > n->promised ? s->promised : n->promised;
    if (r->ballot < s->accepted)
        oracle_fail(o, "accepted ballots rise", "n%u accepted slot %llu at ballot %llu after %llu", node + 1u,
                    U(r->slot), U(r->ballot), U(s->accepted));
    if (r->ballot == s->accepted) return; /* the same record at another place of the log */
    if (r->ballot < promised)
        oracle_fail(o, "promises are kept", "n%u accepted slot %llu at ballot %llu after it had promised %llu",
                    node + 1u, U(r->slot), U(r->ballot), U(promised));
    if (o->of->protocol->leaderless) /* to accept is to promise */
        s->promised = r->ballot;
    else if (r->ballot > promised)
        oracle_fail(o, "promised >= accepted", "n%u accepted slot %llu at ballot %llu, its promise stands at %llu",
                    node + 1u, U(r->slot), U(r->ballot), U(promised));
    s->accepted = r->ballot;
    if (vote_for(of(o), r->slot, r->ballot, hash)->hash != hash)
        oracle_fail(o, "one value a ballot",
                    "n%u accepted another value for slot %llu at ballot %llu than a node "
                    "before it",
                    node + 1u, U(r->slot), U(r->ballot));
    const struct chosen *c = chosen_of(of(o), r->slot);
    if (c->ballot && r->ballot > c->ballot && hash != c->hash)
        oracle_fail(o, "later ballots carry what is chosen",
                    "n%u accepted another value for slot %llu at ballot %llu "
                    "than was chosen at %llu",
                    node + 1u, U(r->slot), U(r->ballot), U(c->ballot));
}

/* Told by another that it is chosen. */
static void on_learnt(struct oracle *o, uint8_t node, uint64_t slot, uint64_t hash) {
    const struct chosen *c = chosen_of(of(o), slot);
    if (c->ballot == 0 || c->hash != hash)
        oracle_fail(o, "learnt means chosen", "n%u recorded a value for slot %llu as chosen, which %s", node + 1u,
                    U(slot), c->ballot ? "is another than that on a majority of disks" : "no majority of disks holds");
    slot_of(&of(o)->node[node], slot)->accepted = BALLOT_CHOSEN;
}

static void on_append(struct oracle *o, uint8_t node, const struct effect *e) {
    struct entry entry = {.index = e->index, .term = e->term, .kind = e->entry_kind, .payload = e->bytes};
    struct slot_record r;
    if (!slot_record_decode(&entry, &r) || r.type == RECORD_FOUND) return;
    uint64_t hash = value_hash(r.kind, r.value);
    if (r.type == RECORD_ACCEPTED) on_accepted(o, node, &r, hash);
    if (r.type == RECORD_CHOSEN) on_learnt(o, node, r.slot, hash);
    if (r.type == RECORD_PROMISED) {
        struct slot_seen *s = slot_of(&of(o)->node[node], r.slot);
        if (r.ballot < s->promised && r.ballot != s->recorded) /* else the same record at another place */
            oracle_fail(o, "promises rise", "n%u promised ballot %llu of slot %llu after %llu", node + 1u, U(r.ballot),
                        U(r.slot), U(s->promised));
        if (r.ballot > s->promised) s->promised = r.ballot;
        s->recorded = r.ballot;
    }
    queue(&of(o)->node[node], (struct disk_write){.written = e->written,
                                                  .kind = EFFECT_APPEND,
                                                  .type = r.type,
                                                  .slot = r.slot,
                                                  .ballot = r.ballot,
                                                  .hash = hash});
}

static void on_meta(struct oracle *o, uint8_t node, const struct effect *e) {
    struct paxos_node *n = &of(o)->node[node];
    if (o->of->protocol->leaderless) return; /* how far it knows, no promise */
    if (e->term < n->promised)
        oracle_fail(o, "promises rise", "n%u promised ballot %llu after %llu", node + 1u, U(e->term), U(n->promised));
    n->promised = e->term;
    queue(n, (struct disk_write){.written = e->written, .kind = EFFECT_META, .ballot = e->term});
}

/* --- disks -------------------------------------------------------------------------------------------------------- */

static void disk_accepts(struct oracle *o, uint8_t node, const struct disk_write *w) {
    struct slot_seen *s = slot_of(&of(o)->node[node], w->slot);
    if (w->type == RECORD_PROMISED) {
        s->disk_promised = w->ballot;
        return;
    }
    s->disk_accepted = w->ballot;
    if (w->type == RECORD_CHOSEN) return;
    struct vote *v = vote_for(of(o), w->slot, w->ballot, w->hash);
    uint32_t before = (uint32_t)__builtin_popcount(v->disks);
    v->disks |= 1u << node;
    uint32_t now = (uint32_t)__builtin_popcount(v->disks);
    if (now > before && now == o->nodes / 2 + 1) on_chosen(o, w->slot, w->ballot, v->hash);
}

static void durable(struct oracle *o, uint8_t node, uint64_t written) {
    struct paxos_node *n = &of(o)->node[node];
    while (n->writes_first < n->writes_count && n->writes[n->writes_first].written <= written) {
        struct disk_write w = n->writes[n->writes_first++];
        if (w.kind == EFFECT_APPEND) disk_accepts(o, node, &w);
        if (w.kind == EFFECT_META) n->disk_promised = w.ballot;
        if (w.kind == EFFECT_SNAPSHOT_RECEIVE && w.slot > n->disk_snapshot) n->disk_snapshot = w.slot;
    }
}

static void crash(struct oracle *o, uint8_t node) {
    of(o)->node[node].writes_count = of(o)->node[node].writes_first = 0;
}

/* What a boot finds must include everything that was durable; and what it finds is what the disk holds. */
static void boot(struct oracle *o, uint8_t node, const struct durable *d) {
    struct paxos_node *n = &of(o)->node[node];
    struct reader meta = {.data = d->meta.data, .size = d->meta.size};
    uint64_t promised = o->of->protocol->leaderless || !d->meta.size ? 0 : read_u64(&meta);
    if (promised < n->disk_promised)
        oracle_fail(o, "recovery", "n%u booted with the promise %llu after %llu was durable", node + 1u, U(promised),
                    U(n->disk_promised));
    if (d->snapshot_index < n->disk_snapshot)
        oracle_fail(o, "recovery", "n%u booted with a snapshot of slot %llu after one of %llu was durable", node + 1u,
                    U(d->snapshot_index), U(n->disk_snapshot));
    n->promised = n->disk_promised = o->seen[node].term = promised;
    n->disk_snapshot = d->snapshot_index;
    for (uint64_t i = 1; i <= n->top; i++) n->slots[i].promised = n->slots[i].accepted = n->slots[i].recorded = 0;
    for (size_t i = 0; i < d->entries_count; i++) {
        struct slot_record r;
        if (!slot_record_decode(&d->entries[i], &r) || r.type == RECORD_FOUND) continue;
        struct slot_seen *s = slot_of(n, r.slot);
        *(r.type == RECORD_PROMISED ? &s->promised : &s->accepted) = r.ballot;
        if (r.type == RECORD_PROMISED) s->recorded = r.ballot;
        disk_accepts(o, node,
                     &(struct disk_write){
                         .type = r.type, .slot = r.slot, .ballot = r.ballot, .hash = value_hash(r.kind, r.value)});
    }
    for (uint64_t i = d->snapshot_index + 1; i <= n->top; i++) {
        struct slot_seen *s = &n->slots[i];
        if (s->accepted < s->disk_accepted || s->promised < s->disk_promised)
            oracle_fail(o, "recovery", "n%u forgot what it had accepted or promised of slot %llu", node + 1u, U(i));
    }
}

/* --- what leaves a node ------------------------------------------------------------------------------------------- */

/* Of one slot: what it says is on its disk, or decided. */
static void check_said(struct oracle *o, uint8_t node, uint64_t slot, uint64_t ballot, bool accepted) {
    struct paxos_node *n = &of(o)->node[node];
    if (slot <= o->seen[node].commit || slot <= n->disk_snapshot) return;
    const struct slot_seen *s = slot_of(n, slot);
    if (s->disk_accepted < ballot && (accepted || s->disk_promised < ballot))
        oracle_fail(o, accepted ? "durable before accepted" : "durable before promised",
                    "n%u answered ballot %llu of slot %llu, its disk holds the promise %llu and accepted at %llu",
                    node + 1u, U(ballot), U(slot), U(s->disk_promised), U(s->disk_accepted));
}

static void on_send_of_slot(struct oracle *o, uint8_t node, const struct effect *e) {
    struct paxos_message m;
    if (e->message_kind != PAXOS_PROMISE && e->message_kind != PAXOS_ACCEPTED) return;
    if (paxos_decode(e->bytes, &m) && m.success) check_said(o, node, m.slot, m.ballot, m.kind == PAXOS_ACCEPTED);
}

static void on_send(struct oracle *o, uint8_t node, const struct effect *e) {
    struct paxos_node *n = &of(o)->node[node];
    struct multipaxos_message m;
    if (e->message_kind != MULTIPAXOS_PROMISE && e->message_kind != MULTIPAXOS_ACCEPTED) return;
    if (!multipaxos_decode(e->bytes, &m) || !m.success || m.canvass) return;
    if (n->disk_promised < m.ballot)
        oracle_fail(o, "durable before promised", "n%u answered ballot %llu, its disk holds the promise %llu",
                    node + 1u, U(m.ballot), U(n->disk_promised));
    for (uint32_t i = 0; m.kind == MULTIPAXOS_ACCEPTED && i < m.entries; i++)
        check_said(o, node, m.slot + i, m.ballot, true);
}

static void on_leader(struct oracle *o, uint8_t node, uint64_t ballot) {
    bool fresh;
    uint64_t *leader = map64_put(&of(o)->leader_of, ballot, &fresh);
    if (!fresh && *leader != node + 1u)
        oracle_fail(o, "one leader a ballot", "ballot %llu has two leaders: n%llu and n%u", U(ballot), U(*leader),
                    node + 1u);
    *leader = node + 1u;
}

static void on_apply(struct oracle *o, uint8_t node, const struct effect *e) {
    const struct chosen *c = chosen_of(of(o), e->instance); /* a value of basic Paxos is applied in parts: on_learnt */
    if (c->ballot && c->hash != value_hash(e->entry_kind, e->bytes))
        oracle_fail(o, "what is applied is chosen", "n%u applied another value for slot %llu than was chosen",
                    node + 1u, U(e->instance));
}

static void effect(struct oracle *o, uint8_t node, const struct effect *e) {
    switch ((enum effect_kind)e->kind) {
    case EFFECT_APPEND: on_append(o, node, e); break;
    case EFFECT_META: on_meta(o, node, e); break;
    case EFFECT_SEND: (o->of->protocol->leaderless ? on_send_of_slot : on_send)(o, node, e); break;
    case EFFECT_APPLY:
        if (!o->of->protocol->leaderless) on_apply(o, node, e);
        break;
    case EFFECT_ROLE:
        if (e->role == PROTOCOL_LEADER) on_leader(o, node, e->term);
        break;
    case EFFECT_SNAPSHOT_RECEIVE:
        if (!e->last) break;
        if (e->index > of(o)->committed)
            oracle_fail(o, "snapshots are committed", "n%u received a snapshot of slot %llu, which is not chosen",
                        node + 1u, U(e->index));
        queue(&of(o)->node[node],
              (struct disk_write){.written = e->written, .kind = EFFECT_SNAPSHOT_RECEIVE, .slot = e->index});
        break;
    default: break;
    }
}

static void step(struct oracle *o, uint8_t node, const struct probe *p) {
    struct paxos_oracle *x = of(o);
    for (uint64_t i = o->seen[node].commit + 1; i <= p->commit_index; i++)
        if (i > x->committed && chosen_of(x, i)->ballot == 0)
            oracle_fail(o, "committed means chosen",
                        "n%u took slot %llu for chosen, and no value of it is on a majority of disks", node + 1u, U(i));
    if (p->commit_index > x->committed) x->committed = p->commit_index;
}

static uint64_t committed(const struct oracle *o) {
    return of(o)->committed;
}

#define PAXOS_PART                                                                                                     \
    .create = create, .destroy = destroy, .reset = reset, .boot = boot, .crash = crash, .effect = effect,              \
    .durable = durable, .step = step, .committed = committed
const struct oracle_of oracle_of_multipaxos = {.protocol = &multipaxos_protocol, PAXOS_PART};
const struct oracle_of oracle_of_paxos = {.protocol = &paxos_protocol, PAXOS_PART};
