/* How late the switch was. Every release is compared with the time at which it was due: for a delayed frame, what was
 * decided; for any other, the moment at which the kernel handed it over. Nothing here is assumed about the machine, so
 * a run on one that is too busy says so by its late windows. */
#include "nemesis/switch/internal.h"

#include "base/clock.h"

#include <stdlib.h>
#include <time.h>

#define LATE_WINDOWS_MAX 36000u /* an hour of them that nobody asked for; the rest is not kept */
#define SPREAD_WINDOWS_MAX 600u /* one late release makes at most so many windows late */

static uint32_t histogram_slot(uint64_t ns) {
    if (ns < 16) return (uint32_t)ns;
    uint32_t power = 63u - (uint32_t)__builtin_clzll(ns);
    return (power - 3) * 16 + (uint32_t)(ns >> (power - 4) & 15);
}

static uint64_t slot_start_ns(uint32_t slot) {
    return slot < 16 ? slot : (UINT64_C(16) + slot % 16) << (slot / 16 - 1);
}

uint64_t histogram_quantile(const struct histogram *h, uint32_t permille) {
    uint64_t rank = (h->count * permille + 999) / 1000, seen = 0;
    for (uint32_t slot = 0; slot < HISTOGRAM_SLOTS && h->count; slot++) {
        seen += h->slots[slot];
        if (seen >= rank && seen) return slot_start_ns(slot);
    }
    return 0;
}

/* The kept window that starts then, made if need be; NULL when there are too many. */
static struct late_window *window_at(struct net_switch *s, uint64_t start_ns) {
    uint32_t at = s->late_count;
    while (at > 0 && s->late[at - 1].start_ns > start_ns) at--;
    if (at > 0 && s->late[at - 1].start_ns == start_ns) return &s->late[at - 1];
    if (s->late_count == LATE_WINDOWS_MAX) return NULL;
    if (s->late_count == s->late_capacity) {
        s->late_capacity = s->late_capacity ? 2 * s->late_capacity : 64;
        s->late = xrealloc(s->late, s->late_capacity * sizeof *s->late);
    }
    memmove(&s->late[at + 1], &s->late[at], (s->late_count++ - at) * sizeof *s->late);
    s->late[at] = (struct late_window){.start_ns = start_ns};
    return &s->late[at];
}

static uint64_t window_start(const struct net_switch *s, uint64_t time_ns) {
    uint64_t since_ns = time_ns > s->options.start_ns ? time_ns - s->options.start_ns : 0;
    return since_ns - since_ns % SWITCH_WINDOW_NS;
}

void late_record(struct net_switch *s, struct histogram *h, uint64_t due_ns) {
    uint64_t late_ns = s->now_ns > due_ns ? s->now_ns - due_ns : 0;
    h->count++;
    h->slots[histogram_slot(late_ns)]++;
    if (late_ns > h->max_ns) h->max_ns = late_ns;
    if (late_ns <= s->options.late_ns) return;
    uint64_t last_ns = window_start(s, s->now_ns), start_ns = window_start(s, due_ns);
    uint64_t spread_ns = SPREAD_WINDOWS_MAX * SWITCH_WINDOW_NS;
    if (last_ns - start_ns > spread_ns) start_ns = last_ns - spread_ns;
    for (; start_ns <= last_ns; start_ns += SWITCH_WINDOW_NS) {
        struct late_window *w = window_at(s, start_ns);
        if (w && w->latest_ns < late_ns) w->latest_ns = late_ns;
    }
}

void late_close_window(struct net_switch *s) {
    uint64_t dropped = s->overflowed - s->overflowed_seen;
    s->overflowed_seen = s->overflowed;
    for (uint32_t i = 0; i < s->options.endpoints; i++) {
        struct port *port = &s->ports[i];
        struct pcap_stat stat;
        if (!port->handle || pcap_stats(port->handle, &stat)) continue;
        dropped += stat.ps_drop - port->dropped_seen;
        s->kernel_dropped += stat.ps_drop - port->dropped_seen;
        port->dropped_seen = stat.ps_drop;
    }
    uint64_t end_ns = s->window_ends_ns;
    struct late_window *w = dropped ? window_at(s, window_start(s, end_ns - SWITCH_WINDOW_NS)) : NULL;
    if (w) w->kernel_dropped += dropped;
    s->window_open = false;
}

uint32_t switch_late(struct net_switch *s, struct late_window *out, uint32_t max) {
    switch_enter(s);
    if (s->window_open) late_close_window(s);
    uint32_t count = s->late_count < max ? s->late_count : max;
    if (count) memcpy(out, s->late, count * sizeof *out);
    s->late_count -= count;
    memmove(s->late, s->late + count, s->late_count * sizeof *s->late);
    switch_leave(s);
    return count;
}

void switch_lateness(struct net_switch *s, struct switch_lateness *out) {
    switch_enter(s);
    if (s->window_open) late_close_window(s);
    *out = (struct switch_lateness){.frames = s->frames,
                                    .released = s->delayed.count,
                                    .p50_ns = histogram_quantile(&s->delayed, 500),
                                    .p99_ns = histogram_quantile(&s->delayed, 990),
                                    .max_ns = s->delayed.max_ns,
                                    .direct_p50_ns = histogram_quantile(&s->direct, 500),
                                    .direct_p99_ns = histogram_quantile(&s->direct, 990),
                                    .direct_max_ns = s->direct.max_ns,
                                    .kernel_dropped = s->kernel_dropped + s->overflowed,
                                    .inject_failed = s->inject_failed,
                                    .realtime = atomic_load(&s->realtime)};
    clockid_t clock;
    if (pthread_getcpuclockid(s->thread, &clock) == 0) out->cpu_ns = clock_ns(clock);
    switch_leave(s);
}
