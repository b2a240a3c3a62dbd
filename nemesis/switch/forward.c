/* The way of a frame: taken from its port, decided by the condition of its link, sent at once or queued until it is
 * due, and then sent, unless its link is cut by then. */
#include "nemesis/switch/internal.h"

#include <stdlib.h>
#include <sys/timerfd.h>

#define RELEASES_MAX 256u /* in one go: the ports want to be read, too */
#define SETTLE_FRAMES_MAX 8192
#define ARRIVAL_AGE_NS_MAX (10 * NS_PER_S) /* an older time stamp means that the wall clock jumped */

struct intake { /* of one port */
    struct net_switch *s;
    uint8_t from;
};

static uint64_t mac_at(const uint8_t *at) {
    uint64_t mac = 0;
    for (int i = 0; i < 6; i++) mac = mac << 8 | at[i];
    return mac;
}

/* The endpoint that a frame from this port goes to; ENDPOINTS_MAX: nobody. */
static uint8_t destination(const struct net_switch *s, uint8_t from, const uint8_t *frame, size_t size) {
    if (size < 34 || frame[12] != 0x08 || frame[13] != 0x00 || mac_at(frame + 6) != s->ports[from].mac)
        return ENDPOINTS_MAX;
    uint64_t mac = mac_at(frame);
    for (uint8_t to = 0; to < s->options.endpoints; to++)
        if (s->ports[to].mac == mac) return to == from ? ENDPOINTS_MAX : to;
    return ENDPOINTS_MAX;
}

static void enqueue(struct net_switch *s, uint8_t from, uint8_t to, struct bytes frame, uint64_t due_ns) {
    if (s->flight_bytes + frame.size > FLIGHT_BYTES_MAX) {
        s->overflowed++;
        return;
    }
    struct flight *f = xmalloc(sizeof *f + frame.size);
    *f = (struct flight){.from = from, .to = to, .size = (uint32_t)frame.size};
    memcpy(f->data, frame.data, frame.size);
    s->flight_bytes += frame.size;
    heap_push(&s->queue, (struct heap_item){due_ns, s->sequence++, (uint64_t)(uintptr_t)f});
}

/* One copy of a frame; at once if it is due and nothing that it must not overtake is waiting. */
static void depart(struct net_switch *s, uint8_t from, uint8_t to, struct bytes frame, uint64_t arrival_ns,
                   uint64_t delay_ns, struct lane *lane) {
    if (delay_ns) s->links[from][to].counters.delayed++;
    if (delay_ns == 0 && (!lane || lane->last_due_ns <= s->released_ns)) {
        inject(s, to, frame, (struct departure){.from = from, .due_ns = arrival_ns});
        return;
    }
    uint64_t due_ns = arrival_ns + delay_ns;
    if (lane) {
        if (due_ns < lane->last_due_ns) due_ns = lane->last_due_ns;
        lane->last_due_ns = due_ns;
    }
    enqueue(s, from, to, frame, due_ns);
}

/* How long the rate limit holds a frame of this size; false: its queue is full. */
static bool rate_admits(struct lane *lane, uint64_t rate, uint64_t arrival_ns, size_t size, uint64_t *queueing_ns) {
    uint64_t start_ns = lane->free_at_ns > arrival_ns ? lane->free_at_ns : arrival_ns;
    uint64_t queue_ns = RATE_QUEUE_BYTES_MIN * NS_PER_S / rate;
    if (queue_ns < RATE_QUEUE_NS) queue_ns = RATE_QUEUE_NS;
    if (start_ns - arrival_ns > queue_ns) return false;
    lane->free_at_ns = start_ns + size * NS_PER_S / rate;
    *queueing_ns = lane->free_at_ns - arrival_ns;
    return true;
}

/* Changes the frame in the scratch space, and takes back what could not be done. */
static struct bytes altered(struct net_switch *s, struct bytes frame, struct frame_fate *fate) {
    if (!fate->corrupted && !fate->damaged) return frame;
    memcpy(s->scratch, frame.data, frame.size);
    if (fate->corrupted) fate->corrupted = alter_corrupt(s->scratch, frame.size, &s->prng);
    if (fate->damaged) fate->damaged = alter_damage(s->scratch, frame.size, &s->prng);
    return bytes_of(s->scratch, frame.size);
}

static void forward(struct net_switch *s, uint8_t from, uint8_t to, struct bytes frame, uint64_t arrival_ns) {
    struct link *l = &s->links[from][to];
    struct link_counters *n = &l->counters;
    struct link_condition c = l->condition;
    struct lane *lane = &l->lane;
    n->offered++;
    uint64_t rules = l->plain | l->filtered;
    if (l->filtered) rules = rules_match(s, from, to, frame, &c, &lane);
    struct frame_fate fate = frame_decide(&c, l->base_ns, &s->prng);
    uint64_t queueing_ns = 0;
    if (fate.copies == 0) {
        n->cut += c.cut;
        n->lost += !c.cut;
    } else if (c.rate_bytes_per_s && !rate_admits(lane, c.rate_bytes_per_s, arrival_ns, frame.size, &queueing_ns)) {
        fate.copies = 0;
        queueing_ns = 1; /* the limit did it */
        n->rate_dropped++;
    }
    struct bytes first = fate.copies ? altered(s, frame, &fate) : frame;
    if (rules) rules_count(s, rules, &fate, queueing_ns > 0);
    if (fate.copies == 0) return;
    n->duplicated += fate.copies == 2;
    n->reordered += fate.reordered;
    n->corrupted += fate.corrupted;
    n->damaged += fate.damaged;
    if (fate.reordered && l->base_ns == 0) fate.delay_ns[0] += prng_below(&s->prng, REORDER_NS_MAX + 1);
    depart(s, from, to, first, arrival_ns, fate.delay_ns[0] + queueing_ns, fate.reordered ? NULL : lane);
    if (fate.copies == 2) depart(s, from, to, frame, arrival_ns, fate.delay_ns[1] + queueing_ns, NULL);
}

static void on_frame(u_char *user, const struct pcap_pkthdr *header, const u_char *data) {
    const struct intake *in = (const struct intake *)(void *)user;
    struct net_switch *s = in->s;
    uint8_t to = destination(s, in->from, data, header->caplen);
    if (to == ENDPOINTS_MAX) return;
    if (header->caplen < header->len) { /* larger than any interface takes: the endpoint merges or offloads segments */
        s->inject_failed++;
        return;
    }
    uint64_t wall_ns = (uint64_t)header->ts.tv_sec * NS_PER_S + (uint64_t)header->ts.tv_usec;
    uint64_t arrival_ns = wall_ns - s->wall_ahead_ns;
    if (arrival_ns > s->now_ns && arrival_ns > switch_clock(s)) arrival_ns = s->now_ns;
    if (s->now_ns - arrival_ns > ARRIVAL_AGE_NS_MAX) arrival_ns = s->now_ns;
    struct bytes frame = bytes_of(data, header->caplen);
    capture_frame(s, in->from, frame, wall_ns);
    forward(s, in->from, to, frame, arrival_ns);
    s->busy_ns = s->now_ns;
}

void forward_poll(struct net_switch *s, uint8_t from, int frames_max) {
    struct intake in = {s, from};
    pcap_t *handle = s->ports[from].handle;
    if (!handle || pcap_dispatch(handle, frames_max, on_frame, (u_char *)(void *)&in) >= 0) return;
    log_event(s, "port_lost", "{s:i, s:s}", "endpoint", (int)from, "why", pcap_geterr(handle));
    port_close(s, from);
}

void forward_release(struct net_switch *s) {
    const struct heap_item *top;
    for (uint32_t i = 0; i < RELEASES_MAX && (top = heap_top(&s->queue)) && top->time_ns <= s->now_ns; i++) {
        struct heap_item item = heap_pop(&s->queue);
        struct flight *f = (struct flight *)(uintptr_t)item.payload;
        struct link *l = &s->links[f->from][f->to];
        struct bytes frame = bytes_of(f->data, f->size);
        struct link_condition c = l->condition;
        struct lane *lane = NULL;
        uint64_t rules = l->filtered ? rules_match(s, f->from, f->to, frame, &c, &lane) : l->plain;
        if (c.cut) {
            l->counters.cut++;
            for (uint32_t slot = 0; slot < RULES_MAX; slot++)
                if (!s->rules[slot].condition.cut) rules &= ~(UINT64_C(1) << slot);
            rules_count(s, rules, &(struct frame_fate){.copies = 0}, false);
        } else {
            inject(s, f->to, frame, (struct departure){.from = f->from, .delayed = true, .due_ns = item.time_ns});
        }
        s->flight_bytes -= f->size;
        free(f);
    }
    top = heap_top(&s->queue);
    s->released_ns = top && top->time_ns <= s->now_ns ? top->time_ns - 1 : s->now_ns;
}

void forward_arm(struct net_switch *s) {
    const struct heap_item *top = heap_top(&s->queue);
    uint64_t at_ns = top ? top->time_ns : 0;
    if (s->window_open && (!top || at_ns > s->window_ends_ns)) at_ns = s->window_ends_ns;
    if (at_ns == s->armed_ns) return;
    s->armed_ns = at_ns;
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(at_ns / NS_PER_S), .tv_nsec = (long)(at_ns % NS_PER_S)}};
    timerfd_settime(s->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

void forward_settle(struct net_switch *s) {
    switch_clock(s);
    forward_release(s);
    for (uint8_t i = 0; i < s->options.endpoints; i++) forward_poll(s, i, SETTLE_FRAMES_MAX);
    switch_clock(s);
    forward_release(s);
    inject_flush(s);
    forward_arm(s);
}

void forward_free(struct net_switch *s) {
    while (s->queue.count) free((void *)(uintptr_t)heap_pop(&s->queue).payload);
    heap_free(&s->queue);
}
