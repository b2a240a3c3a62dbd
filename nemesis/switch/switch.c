/* The switch's ports and its thread. libpcap runs in immediate mode with short slots, so that a ring holds many frames;
 * the lock is taken once for each time the thread wakes up, not for each frame. */
#include "nemesis/switch/internal.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define RING_BYTES (8 << 20)
#define BATCH_FRAMES 64
#define LATE_NS_DEFAULT (20 * NS_PER_MS)
#define SNAP_BYTES_DEFAULT 128u
#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif
#ifndef PACKET_QDISC_BYPASS
#define PACKET_QDISC_BYPASS 20
#endif
#ifndef SOL_PACKET
#define SOL_PACKET 263
#endif

enum { EVENT_TIMER = ENDPOINTS_MAX, EVENT_WAKE, EVENTS_MAX };

uint64_t switch_clock(struct net_switch *s) {
    return s->now_ns = clock_ns(CLOCK_MONOTONIC);
}

static void wall_clock(struct net_switch *s) {
    uint64_t wall_ns = clock_ns(CLOCK_REALTIME);
    s->wall_ahead_ns = wall_ns - switch_clock(s);
}

/* Under load the thread has the lock nearly always, and a mutex is not fair: so it steps back while somebody waits. */
void switch_enter(struct net_switch *s) {
    atomic_fetch_add(&s->waiting, 1);
    pthread_mutex_lock(&s->lock);
    wall_clock(s);
}

void switch_leave(struct net_switch *s) {
    uint64_t one = 1;
    if (s->window_open || s->queue.count) (void)!write(s->wake, &one, sizeof one);
    atomic_fetch_sub(&s->waiting, 1);
    pthread_cond_signal(&s->turn);
    pthread_mutex_unlock(&s->lock);
}

/* --- ports --- */

static int watch(struct net_switch *s, int fd, uint32_t what, struct error *e) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = what};
    if (fd < 0 || epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event))
        return error_set(e, "the switch cannot wait for its descriptors: %s", strerror(errno));
    return 0;
}

void port_close(struct net_switch *s, uint8_t endpoint) {
    struct port *port = &s->ports[endpoint];
    if (!port->handle) return;
    epoll_ctl(s->epoll, EPOLL_CTL_DEL, pcap_get_selectable_fd(port->handle), NULL);
    pcap_close(port->handle);
    port->handle = NULL;
}

static pcap_t *handle_open(const char *interface, struct error *e) {
    char why[PCAP_ERRBUF_SIZE] = "";
    pcap_t *handle = pcap_create(interface, why);
    if (!handle) {
        error_set(e, "%s: %s", interface, why);
        return NULL;
    }
    pcap_set_snaplen(handle, FRAME_BYTES_MAX);
    pcap_set_promisc(handle, 1);
    pcap_set_immediate_mode(handle, 1);
    pcap_set_buffer_size(handle, RING_BYTES);
    pcap_set_tstamp_precision(handle, PCAP_TSTAMP_PRECISION_NANO);
    int status = pcap_activate(handle);
    if (status < 0) {
        const char *hint = status == PCAP_ERROR_PERM_DENIED      ? "; the switch needs CAP_NET_RAW in this namespace"
                           : status == PCAP_ERROR_NO_SUCH_DEVICE ? "; is it in this network namespace?"
                                                                 : "";
        error_set(e, "%s: %s (%s)%s", interface, pcap_statustostr(status), pcap_geterr(handle), hint);
    } else if (pcap_datalink(handle) != DLT_EN10MB) {
        status = error_set(e, "%s is not an Ethernet interface; the switch joins veths", interface);
    } else if (pcap_get_tstamp_precision(handle) != PCAP_TSTAMP_PRECISION_NANO) {
        status = error_set(e, "%s: this libpcap has no nanosecond time stamps", interface);
    } else if (pcap_setdirection(handle, PCAP_D_IN) || pcap_setnonblock(handle, 1, why)) {
        status = error_set(e, "%s: %s", interface, pcap_geterr(handle));
    }
    if (status >= 0) return handle;
    pcap_close(handle);
    return NULL;
}

static int port_open(struct net_switch *s, uint8_t endpoint, struct error *e) {
    struct port *port = &s->ports[endpoint];
    pcap_t *handle = handle_open(port->interface, e);
    if (!handle) return -1;
    int fd = pcap_get_selectable_fd(handle), yes = 1;
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC); /* the nodes, started later, must not see each other's frames */
    /* The direction is filtered in user space; the kernel need not copy what the switch itself sends. */
    (void)setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes);
    (void)setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof yes); /* a veth has no queue to be fair about */
    if (watch(s, fd, endpoint, e)) {
        pcap_close(handle);
        return -1;
    }
    port->handle = handle;
    port->dropped_seen = 0;
    return 0;
}

/* --- the thread --- */

static void housekeeping(struct net_switch *s) {
    if (!s->window_open) {
        s->window_open = true;
        uint64_t since_ns = s->now_ns - s->options.start_ns;
        s->window_ends_ns = s->now_ns + SWITCH_WINDOW_NS - since_ns % SWITCH_WINDOW_NS;
    } else if (s->now_ns >= s->window_ends_ns) {
        late_close_window(s);
    }
    if (s->now_ns - s->capture_flushed_ns >= NS_PER_S) capture_flush(s);
}

static void handle_events(struct net_switch *s, const struct epoll_event *events, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t what = events[i].data.u32;
        uint64_t ignored;
        if (what < ENDPOINTS_MAX)
            forward_poll(s, (uint8_t)what, BATCH_FRAMES);
        else if (what == EVENT_TIMER)
            s->armed_ns = read(s->timer, &ignored, sizeof ignored) > 0 ? 0 : s->armed_ns;
        else
            (void)!read(s->wake, &ignored, sizeof ignored);
    }
}

static void *run(void *argument) {
    struct net_switch *s = argument;
    struct epoll_event events[EVENTS_MAX];
    uint64_t busy_ns = 0;
    wait_prepare(s);
    while (!atomic_load(&s->stopping)) {
        size_t count = wait_events(s, busy_ns, events, EVENTS_MAX);
        pthread_mutex_lock(&s->lock);
        while (atomic_load(&s->waiting)) pthread_cond_wait(&s->turn, &s->lock);
        wall_clock(s);
        forward_release(s);
        handle_events(s, events, count);
        switch_clock(s);
        forward_release(s);
        inject_flush(s);
        housekeeping(s);
        wait_adapt(s);
        forward_arm(s);
        busy_ns = s->busy_ns;
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

/* --- life --- */

static void free_parts(struct net_switch *s) {
    for (uint8_t i = 0; i < s->options.endpoints; i++) port_close(s, i);
    capture_close(s);
    rules_free(s);
    forward_free(s);
    free(s->late);
    if (s->timer >= 0) close(s->timer);
    if (s->wake >= 0) close(s->wake);
    if (s->epoll >= 0) close(s->epoll);
    if (s->load >= 0) close(s->load);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->turn);
    free(s);
}

static int open_all(struct net_switch *s, struct error *e) {
    if (s->epoll < 0) return error_set(e, "the switch cannot wait for frames: %s", strerror(errno));
    if (watch(s, s->timer, EVENT_TIMER, e) || watch(s, s->wake, EVENT_WAKE, e)) return -1;
    for (uint8_t i = 0; i < s->options.endpoints; i++) {
        const struct switch_port *given = &s->options.ports[i];
        memcpy(s->ports[i].interface, given->interface, sizeof given->interface);
        for (int byte = 0; byte < 6; byte++) s->ports[i].mac = s->ports[i].mac << 8 | given->mac[byte];
        if (port_open(s, i, e)) return -1;
    }
    return log_open(s, e) || capture_open(s, e) ? -1 : 0;
}

static int thread_start(struct net_switch *s, struct error *e) {
    sigset_t all, before; /* signals are the owner's */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int status = pthread_create(&s->thread, NULL, run, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status) return error_set(e, "the switch's thread does not start: %s", strerror(status));
    pthread_setname_np(s->thread, "harrow-switch");
    return 0;
}

struct net_switch *switch_new(const struct switch_options *o, struct error *e) {
    assert(o->endpoints >= 1 && o->endpoints <= ENDPOINTS_MAX);
    struct net_switch *s = xcalloc(1, sizeof *s);
    s->options = *o;
    if (!s->options.pcap_snap_bytes) s->options.pcap_snap_bytes = SNAP_BYTES_DEFAULT;
    if (!s->options.late_ns) s->options.late_ns = LATE_NS_DEFAULT;
    if (!s->options.start_ns) s->options.start_ns = clock_ns(CLOCK_MONOTONIC);
    prng_seed(&s->prng, o->seed, 0);
    pthread_mutexattr_t inherit; /* an owner of normal priority must not hold up a real-time thread for long */
    pthread_mutexattr_init(&inherit);
    pthread_mutexattr_setprotocol(&inherit, PTHREAD_PRIO_INHERIT);
    pthread_mutex_init(&s->lock, &inherit);
    pthread_mutexattr_destroy(&inherit);
    pthread_cond_init(&s->turn, NULL);
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    s->load = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    s->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    wall_clock(s);
    s->capture_flushed_ns = s->now_ns;
    if (open_all(s, e) == 0 && thread_start(s, e) == 0) return s;
    free_parts(s);
    return NULL;
}

void switch_free(struct net_switch *s) {
    if (!s) return;
    uint64_t one = 1;
    atomic_store(&s->stopping, true);
    (void)!write(s->wake, &one, sizeof one);
    pthread_join(s->thread, NULL);
    free_parts(s);
}

void switch_link(struct net_switch *s, uint8_t from, uint8_t to, uint64_t latency_ns, uint64_t jitter_ns) {
    assert(from < s->options.endpoints && to < s->options.endpoints);
    switch_enter(s);
    s->links[from][to].base_ns = latency_ns;
    s->links[from][to].jitter_ns = jitter_ns;
    rules_refresh(s, from, to);
    switch_leave(s);
}

void switch_counters(struct net_switch *s, uint8_t from, uint8_t to, struct link_counters *out) {
    assert(from < s->options.endpoints && to < s->options.endpoints);
    switch_enter(s);
    forward_settle(s);
    *out = s->links[from][to].counters;
    switch_leave(s);
}
