/* The simulated network: frames over directed links, each with its own latency and condition. A link keeps its order
 * unless a fault reorders; loss, doubling and corruption come from the same decision code as in the real switch. */
#include <stdlib.h>

#include "harness/sim/sim_internal.h"

enum { NO_FRAME = UINT32_MAX };

static uint64_t base_latency(const struct world_config *c, uint32_t nodes, uint32_t from, uint32_t to) {
    return c->regions.count ? regions_one_way_ns(&c->regions, nodes, from, to) : c->latency_ns;
}

void network_refresh(struct sim *s) {
    for (uint32_t from = 0; from < s->endpoints; from++) {
        for (uint32_t to = 0; to < s->endpoints; to++) {
            struct link *l = &s->links[from][to];
            l->condition = (struct link_condition){.jitter_ns = s->config.jitter_ns};
            l->faults = 0;
        }
    }
    for (uint32_t i = 0; i < FAULTS_MAX; i++) {
        const struct active_fault *f = &s->faults[i];
        if (f->id == 0 || f->spec.kind != FAULT_LINK) continue;
        for (uint32_t from = 0; from < s->endpoints; from++) {
            for (uint32_t to = 0; to < s->endpoints; to++) {
                if (from == to || !(f->spec.links[from] >> to & 1)) continue;
                struct link *l = &s->links[from][to];
                l->condition = link_condition_add(l->condition, f->spec.link);
                l->faults++;
            }
        }
    }
}

void network_reset(struct sim *s) {
    s->free_frame = NO_FRAME;
    for (uint32_t i = s->frames_count; i-- > 0;) frame_release(s, i);
    for (uint32_t from = 0; from < s->endpoints; from++) {
        for (uint32_t to = 0; to < s->endpoints; to++) {
            s->links[from][to] = (struct link){.base_ns = base_latency(&s->config, s->nodes, from, to)};
        }
    }
    network_refresh(s);
}

void network_release(struct sim *s) {
    for (uint32_t i = 0; i < s->frames_count; i++) free(s->frames[i].data);
    free(s->frames);
}

uint32_t frame_new(struct sim *s, struct bytes bytes) {
    uint32_t id = s->free_frame;
    if (id != NO_FRAME) {
        s->free_frame = s->frames[id].next_free;
    } else {
        if (s->frames_count == s->frames_capacity) {
            s->frames_capacity = s->frames_capacity ? 2 * s->frames_capacity : 256;
            s->frames = xrealloc(s->frames, s->frames_capacity * sizeof *s->frames);
        }
        id = s->frames_count++;
        s->frames[id] = (struct frame){.data = xmalloc(FRAME_SMALL), .capacity = FRAME_SMALL};
    }
    struct frame *f = &s->frames[id];
    if (bytes.size > f->capacity) {
        f->capacity = (uint32_t)bytes.size;
        f->data = xrealloc(f->data, f->capacity);
    }
    f->size = (uint32_t)bytes.size;
    f->corrupted = f->second = false;
    if (bytes.size) memcpy(f->data, bytes.data, bytes.size);
    return id;
}

void frame_release(struct sim *s, uint32_t id) {
    s->frames[id].next_free = s->free_frame;
    s->free_frame = id;
}

static void corrupt(struct sim *s, struct frame *f) {
    if (f->size == 0) return;
    f->checksum = hash_bytes(bytes_of(f->data, f->size), 0);
    f->corrupted = true;
    uint64_t bit = prng_below(&s->network_prng, (uint64_t)f->size * 8);
    f->data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
}

static uint32_t frame_copy(struct sim *s, uint32_t id) {
    struct frame *from = &s->frames[id];
    uint32_t copy = frame_new(s, bytes_of(from->data, from->size));
    from = &s->frames[id]; /* the pool may have moved */
    struct frame *to = &s->frames[copy];
    to->from = from->from;
    to->to = from->to;
    to->kind = from->kind;
    to->status = from->status;
    to->leader = from->leader;
    to->client = from->client;
    to->token = from->token;
    to->index = from->index;
    to->second = true;
    return copy;
}

static void arrive(struct sim *s, struct link *l, uint32_t id, uint64_t delay_ns, bool in_order) {
    uint64_t at = s->now_ns + delay_ns;
    if (in_order) {
        if (at < l->last_arrival_ns) at = l->last_arrival_ns;
        l->last_arrival_ns = at;
    }
    sim_schedule(s, at, event_payload(EV_FRAME, s->frames[id].to, id));
}

void network_send(struct sim *s, uint32_t id) {
    struct frame *f = &s->frames[id];
    struct link *l = &s->links[f->from][f->to];
    struct frame_fate fate = frame_decide(&l->condition, l->base_ns, &s->network_prng);
    if (f->from < s->nodes && f->to < s->nodes) {
        s->counters.messages++;
        s->counters.message_bytes += f->size;
    }
    uint64_t queueing = 0;
    if (fate.copies && l->condition.rate_bytes_per_s) {
        uint64_t start = l->free_at_ns > s->now_ns ? l->free_at_ns : s->now_ns;
        l->free_at_ns = start + (uint64_t)(f->size + 64) * NS_PER_S / l->condition.rate_bytes_per_s;
        queueing = l->free_at_ns - s->now_ns;
    }
    if (l->faults) faults_on_frame(s, f->from, f->to, &fate, queueing > 0);
    bool first_arrives = fate.copies && !fate.damaged; /* the receiving kernel drops a damaged frame */
    if (s->trace) trace_frame(s, first_arrives ? "sends" : fate.copies ? "DAMAGED" : "LOST", f);
    if (!first_arrives) {
        if (fate.copies == 2) arrive(s, l, frame_copy(s, id), fate.delay_ns[1] + queueing, false);
        frame_release(s, id);
        return;
    }
    if (fate.copies == 2) arrive(s, l, frame_copy(s, id), fate.delay_ns[1] + queueing, false);
    if (fate.corrupted) corrupt(s, &s->frames[id]);
    arrive(s, l, id, fate.delay_ns[0] + queueing, !fate.reordered);
}

void network_deliver(struct sim *s, uint32_t id) {
    struct frame *f = &s->frames[id];
    const struct link *l = &s->links[f->from][f->to];
    sim_mix(s, hash_bytes(bytes_of(f->data, f->size), (uint64_t)f->from << 8 | f->to));
    if (l->condition.cut) { /* during a cut nothing arrives, also not what was under way */
        struct frame_fate lost = {.copies = 0};
        faults_on_frame(s, f->from, f->to, &lost, false);
        if (s->trace) trace_frame(s, "LOSES (link cut in flight)", f);
        return;
    }
    bool intact = !f->corrupted || hash_bytes(bytes_of(f->data, f->size), 0) == f->checksum;
    bool down = f->to < s->nodes && !s->node[f->to].up;
    if (s->trace) trace_frame(s, down ? "MISSES (down)" : intact ? "gets" : "DISCARDS (bad checksum)", f);
    if (!intact || down) return;
    /* Clients speak over connections, where the receiver drops what comes twice. Else a late copy could take effect
     * after its original was refused, and the client be wrong to call that a failure. */
    if (f->second && (is_client(s, f->from) || is_client(s, f->to))) return;
    if (is_client(s, f->to)) {
        clients_on_answer(s, f);
        return;
    }
    struct sim_node *n = &s->node[f->to];
    struct bytes bytes = bytes_of(f->data, f->size);
    if (is_client(s, f->from))
        replica_request(n->replica, node_clock(n), f->token, bytes);
    else
        replica_message(n->replica, node_clock(n), f->from, bytes);
    node_after_step(n);
}
