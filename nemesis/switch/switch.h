/* The switch of the local world: it owns the peer end of every endpoint's veth through libpcap, forwards frames by
 * their destination address, and decides on each of them. So it has the ground truth about every cut, loss and delay,
 * counted per directed link, and it can write all of it as pcap files. It works where the kernel has no netem.
 *
 * One thread of its own polls the ports, decides by the same frame_decide() as the simulator, and releases delayed
 * frames by a timer; rules are changed from the owner's thread at any time and hold when the call returns. Order within
 * a link is kept unless a rule asks for reordering. How late it released each frame is measured; windows in which it
 * was later than its bound, or in which the kernel dropped frames before it saw them, are kept for the report.
 *
 * Endpoints are numbered as in fault.h: the nodes, then the clients. Frames from or to any other address, and
 * broadcasts, go nowhere. */
#ifndef HARROW_NEMESIS_SWITCH_H
#define HARROW_NEMESIS_SWITCH_H

#include "nemesis/fault.h"

struct net_switch;

struct switch_port {
    char interface[16]; /* the switch's end of the veth, in the network namespace of the thread that calls switch_new */
    uint8_t mac[6];     /* of the endpoint behind it */
};
struct switch_options {
    uint32_t endpoints; /* 1..ENDPOINTS_MAX */
    uint32_t nodes;     /* of these; the others are clients. 0: the last one is */
    struct switch_port ports[ENDPOINTS_MAX];
    uint64_t seed;        /* of the fates of frames */
    uint64_t start_ns;    /* CLOCK_MONOTONIC of time 0 in the log and in late windows */
    const char *log_path; /* ground truth: a JSON line per change of a rule, with its time; NULL: none */
    /* Exists; gets n1.pcap, n2.pcap, ..., clients.pcap, and with several endpoints of clients clients-2.pcap, ...: what
     * each sent and what was delivered to it. NULL: none. */
    const char *pcap_folder;
    uint32_t pcap_snap_bytes; /* 0: 128 */
    uint64_t late_ns;         /* a release later than this makes its window late; 0: 20 ms */
};

struct link_counters { /* since switch_new, of one directed link */
    uint64_t offered, delivered, cut, lost, duplicated, reordered, corrupted, damaged, delayed, rate_dropped;
    uint64_t bytes;
};
struct late_window { /* of WINDOW_NS; only those that are beyond the bound are kept */
    uint64_t start_ns;
    uint64_t latest_ns;      /* the worst lateness of a release in it */
    uint64_t kernel_dropped; /* frames that the kernel dropped before the switch saw them */
};
#define SWITCH_WINDOW_NS (100 * NS_PER_MS)

/* Opens all ports and starts the thread. NULL with e set: which interface, why, what to do. */
struct net_switch *switch_new(const struct switch_options *o, struct error *e);
void switch_free(struct net_switch *s); /* ends the thread, closes ports and files */

/* The link's own nature, beneath all faults: one-way latency and uniform jitter. */
void switch_link(struct net_switch *s, uint8_t from, uint8_t to, uint64_t latency_ns, uint64_t jitter_ns);
/* Adds a rule: `condition` applies to links[from] -> to, to frames that match `filter` (a tcpdump expression; NULL or
 * "": all). Rules compose as link_condition_add says. Returns an id > 0, or 0 with e set (a filter that does not
 * compile). Frames already in flight on a link that is cut now are dropped. */
uint32_t switch_rule_add(struct net_switch *s, const uint32_t links[ENDPOINTS_MAX],
                         const struct link_condition *condition, const char *filter, struct error *e);
/* Evidence as in fault.h: frames that were offered to the rule's links (and matched), and those it marked. */
struct fault_evidence switch_rule_remove(struct net_switch *s, uint32_t rule);

void switch_counters(struct net_switch *s, uint8_t from, uint8_t to, struct link_counters *out);
/* Late windows since the last call, in order; returns how many were written. A release that was very late makes all
 * windows late from its due time on, so that one told before may be told again. */
uint32_t switch_late(struct net_switch *s, struct late_window *out, uint32_t max);
struct switch_lateness {
    uint64_t frames;                                      /* forwarded */
    uint64_t released;                                    /* of these, delayed by a rule or the link's latency */
    uint64_t p50_ns, p99_ns, max_ns;                      /* of the delayed: beyond their due time */
    uint64_t direct_p50_ns, direct_p99_ns, direct_max_ns; /* of the others: since the kernel took them in */
    uint64_t kernel_dropped;                              /* before the switch saw them, or for want of memory in it */
    uint64_t inject_failed; /* too large for an interface (offloads are on), or its port is gone */
    uint64_t cpu_ns;        /* that the switch's thread used */
    bool realtime;          /* SCHED_FIFO is granted, for delays that are exact on a busy machine */
};
void switch_lateness(struct net_switch *s, struct switch_lateness *out);

#endif
