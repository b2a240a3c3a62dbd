/* What the files of the switch share. All state is guarded by one lock: the switch's thread holds it from waking up to
 * going to sleep, the owner's thread while it changes or reads something.
 *   switch.c    ports, the thread and its life, the public calls that only read
 *   wait.c      when the thread sleeps, and when it looks again instead; its priority
 *   forward.c   the way of a frame: decided, queued, released
 *   inject.c    frames that leave together
 *   rules.c     conditions and filters in force, their evidence, the ground-truth log
 *   alter.c     flipped bits and repaired checksums
 *   lateness.c  how late frames were released, and the windows of time in which they were too late
 *   capture.c   pcap files */
#ifndef HARROW_NEMESIS_SWITCH_INTERNAL_H
#define HARROW_NEMESIS_SWITCH_INTERNAL_H

#include "nemesis/switch/switch.h"

#include <pcap/pcap.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/epoll.h>

#define FRAME_BYTES_MAX 2048u           /* of a frame, and of a slot in a port's ring: more slots for the same memory */
#define RULES_MAX 64u                   /* one bit of a word each */
#define FLIGHT_BYTES_MAX (256ull << 20) /* frames in flight; what comes beyond is dropped, and its window is late */
#define RATE_QUEUE_NS NS_PER_S          /* a rate-limited link queues this much, */
#define RATE_QUEUE_BYTES_MIN (32u << 10) /* but at least so many bytes */
#define REORDER_NS_MAX NS_PER_MS         /* how long a reordered frame is held where the link has no latency */
#define HISTOGRAM_SLOTS 1024u
#define BATCH_FRAMES_MAX 32u /* that leave in one system call */

/* Frames of one lane keep their order. A link is a lane; so is each filter on it, lest a delay of some frames should
 * hold up the others. */
struct lane {
    uint64_t last_due_ns; /* of the frames that were queued in order, the last one's release */
    uint64_t free_at_ns;  /* when the rate limit has sent all before */
};

struct link {
    struct link_condition condition; /* its nature and all rules without a filter */
    uint64_t base_ns, jitter_ns;     /* its nature */
    uint64_t plain, filtered;        /* slots of the rules that apply, one bit each */
    struct lane lane;
    struct link_counters counters;
};

struct rule {
    uint32_t id; /* 0: a free slot */
    uint32_t links[ENDPOINTS_MAX];
    struct link_condition condition;
    char filter[FAULT_FILTER_MAX];
    struct bpf_program program;          /* only with a filter */
    struct lane (*lanes)[ENDPOINTS_MAX]; /* only with a filter: [from][to] */
    struct fault_evidence evidence;
};

struct flight { /* a frame that waits for its time */
    uint8_t from, to;
    uint32_t size;
    uint8_t data[];
};

struct departure { /* of a frame that leaves now */
    uint8_t from;
    bool delayed; /* by a rule or the link; due_ns is then the time decided, else that of arrival */
    uint32_t size;
    uint64_t due_ns;
};
struct batch { /* frames for one port, in order */
    uint8_t to;
    uint32_t count;
    struct departure departures[BATCH_FRAMES_MAX];
    uint8_t data[BATCH_FRAMES_MAX][FRAME_BYTES_MAX];
};

struct port {
    char interface[16];
    uint64_t mac;   /* as a number */
    pcap_t *handle; /* NULL: gone */
    uint64_t dropped_seen;
    pcap_dumper_t *capture;
    char *capture_buffer; /* owned: the C library takes no size without it */
};

struct histogram { /* log-linear: 16 slots for each power of two */
    uint64_t count, max_ns, slots[HISTOGRAM_SLOTS];
};

struct net_switch {
    struct switch_options options;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t turn; /* the owner waited and is done */
    atomic_uint waiting;
    atomic_bool stopping;
    int epoll, timer, wake;
    int load;             /* the kernel's count of what is runnable; -1 where there is none */
    atomic_bool realtime; /* is granted when it is asked for */

    /* the thread's own, needs no lock */
    uint32_t processors;
    bool exact;          /* frames are, or just were, delayed */
    uint64_t delayed_ns; /* the last time that they were */
    bool spare;          /* when the stretch began, there was a processor that nobody else wanted */
    uint64_t stretch_ns; /* since when the thread may look without sleeping */

    struct prng prng;
    struct port ports[ENDPOINTS_MAX];
    struct link links[ENDPOINTS_MAX][ENDPOINTS_MAX];

    struct rule rules[RULES_MAX];
    uint32_t rules_made;
    FILE *log;

    struct heap queue; /* of struct flight * */
    uint64_t sequence, flight_bytes;
    uint64_t released_ns;   /* everything due until then has left */
    uint64_t armed_ns;      /* what the timer is set to: a release or the end of a window; 0: nothing */
    uint64_t now_ns;        /* the last reading of the clock */
    uint64_t wall_ahead_ns; /* CLOCK_REALTIME minus CLOCK_MONOTONIC, modulo 2^64 */
    uint64_t busy_ns;       /* the last frame */
    uint8_t scratch[FRAME_BYTES_MAX];
    struct batch batch; /* empty while nobody holds the lock */

    struct histogram delayed, direct;
    uint64_t frames, kernel_dropped, overflowed, inject_failed;
    bool window_open; /* something happened since the last look at the kernel's counts */
    uint64_t window_ends_ns, overflowed_seen;
    struct late_window *late;
    uint32_t late_count, late_capacity;

    uint64_t capture_flushed_ns;
    bool capture_failed;
};

/* switch.c */
uint64_t switch_clock(struct net_switch *s); /* reads CLOCK_MONOTONIC into now_ns */
void switch_enter(struct net_switch *s);     /* the owner's way to the lock, before the switch's thread */
void switch_leave(struct net_switch *s);
void port_close(struct net_switch *s, uint8_t endpoint);

/* wait.c, for the switch's thread alone */
void wait_prepare(struct net_switch *s); /* asks for its priority */
void wait_adapt(struct net_switch *s);   /* and adapts it to what happens; with the lock */
/* Without the lock. busy_ns: the last frame. */
size_t wait_events(struct net_switch *s, uint64_t busy_ns, struct epoll_event *events, size_t max);

/* inject.c */
void inject(struct net_switch *s, uint8_t to, struct bytes frame, struct departure departure); /* soon; copies */
void inject_flush(struct net_switch *s);                                                       /* now */

/* forward.c */
void forward_poll(struct net_switch *s, uint8_t from, int frames_max); /* takes frames from a port */
void forward_release(struct net_switch *s);                            /* sends what is due */
void forward_arm(struct net_switch *s);    /* sets the timer to what comes next: a release or the end of the window */
void forward_settle(struct net_switch *s); /* all of that for all ports: what was sent before now meets today's rules */
void forward_free(struct net_switch *s);

/* rules.c */
void rules_refresh(struct net_switch *s, uint8_t from, uint8_t to);
/* The slots of the rules that apply to this frame; adds those with a filter to c, and sets the lane by the first. */
uint64_t rules_match(struct net_switch *s, uint8_t from, uint8_t to, struct bytes frame, struct link_condition *c,
                     struct lane **lane);
/* Counts a frame's fate as evidence of the rules in these slots. */
void rules_count(struct net_switch *s, uint64_t slots, const struct frame_fate *fate, bool late);
void rules_free(struct net_switch *s);
int log_open(struct net_switch *s, struct error *e);
void log_event(struct net_switch *s, const char *event, const char *format, ...); /* format as of json_pack, "{...}" */

/* alter.c: flips one bit of an Ethernet frame; false when there is none to flip: then the frame is as it was. */
bool alter_corrupt(uint8_t *frame, size_t size, struct prng *p); /* of the payload, and repairs the checksum */
bool alter_damage(uint8_t *frame, size_t size, struct prng *p);  /* so that a checksum is wrong */

/* lateness.c */
void late_record(struct net_switch *s, struct histogram *h, uint64_t due_ns); /* released now */
void late_close_window(struct net_switch *s);                                 /* asks the kernel what it dropped */
uint64_t histogram_quantile(const struct histogram *h, uint32_t permille);

/* capture.c */
int capture_open(struct net_switch *s, struct error *e);
void capture_frame(struct net_switch *s, uint8_t endpoint, struct bytes frame, uint64_t wall_ns);
void capture_flush(struct net_switch *s);
void capture_close(struct net_switch *s);

#endif
