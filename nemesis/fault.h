/* nemesis: the vocabulary of faults, the same in every world. A fault is data: what kind, where, how strong. A world
 * starts it, adds it to the others in force (they compose), ends it, and tells by evidence what it really did.
 *
 * Endpoints are numbered from 0: the nodes, then one endpoint for the clients of each region (one for all clients where
 * there are no regions). A mask has bit i set for endpoint i.
 * The Lua library beside this file (partition.lua, process.lua, network.lua, clock.lua, disk.lua, ...) builds these. */
#ifndef HARROW_NEMESIS_FAULT_H
#define HARROW_NEMESIS_FAULT_H

#include "base/base.h"
#include "nemesis/disk.h"

#define NODES_MAX 15
#define REGIONS_MAX 15
#define ENDPOINTS_MAX (NODES_MAX + REGIONS_MAX)
#define FAULT_FILTER_MAX 256

enum fault_kind {
    FAULT_LINK,  /* `link` applies to links[from] -> to */
    FAULT_KILL,  /* kill -9 (or as `kill` says) now, start again at the end: `nodes` */
    FAULT_PAUSE, /* SIGSTOP now, SIGCONT at the end */
    FAULT_SLOW,  /* the process gets slow_percent of its CPU time (duty cycle) */
    FAULT_CLOCK, /* the clock is off by `clock` */
    FAULT_POWER, /* kill -9 and lose unsynced writes by `crash`, start again at the end */
    FAULT_DISK,  /* `disk` applies */
    FAULT_KINDS,
};
/* Beside the bits of the kinds in a mask of what a scenario needs and a world can do: filters of links. */
#define FAULT_LINK_FILTERS (UINT32_C(1) << FAULT_KINDS)
/* Likewise: disk faults that only a file system of our own can give, not a filter on system calls. */
#define FAULT_WHOLE_DISKS (UINT32_C(2) << FAULT_KINDS)

struct link_condition { /* all zero: healthy */
    bool cut;
    uint32_t loss_ppm, duplicate_ppm, reorder_ppm;
    uint32_t corrupt_ppm;         /* changed in flight, checksums repaired: it reaches the application */
    uint32_t damage_ppm;          /* changed in flight, checksums left: the receiving kernel drops it */
    uint64_t delay_ns, jitter_ns; /* added to the link's own latency; jitter is uniform in [-jitter, +jitter] */
    uint64_t rate_bytes_per_s;    /* 0: unlimited */
};

struct clock_condition {
    int64_t wall_offset_ns; /* the wall clock jumps by this at the start and back at the end */
    int32_t drift_ppm;      /* both clocks run this much fast (or slow) while it lasts */
};

struct kill_condition {     /* all zero: kill -9, down until the end; at most one of the two */
    uint64_t grace_ns;      /* SIGTERM: it may end in order; kill -9 after so long */
    uint32_t failed_starts; /* started again at once by its supervisor, and so many starts fail, a second apart */
};

struct fault_spec {
    enum fault_kind kind;
    uint32_t nodes;                /* mask; every kind but LINK */
    uint32_t links[ENDPOINTS_MAX]; /* LINK: mask of receivers per sender */
    struct link_condition link;
    bool corrupt_regardless;       /* LINK: corrupt_ppm also for a target that trusts the kernel's checksums */
    char filter[FAULT_FILTER_MAX]; /* LINK: only frames that match this tcpdump expression; "": all */
    struct kill_condition kill;
    struct clock_condition clock;
    struct disk_condition disk;
    struct disk_crash crash; /* POWER */
    uint32_t slow_percent;   /* SLOW: 1..99 */
};

/* What it did, measured by the world, not assumed. LINK: frames that crossed the links, and those dropped, delayed,
 * doubled or changed by this condition. KILL, POWER: processes seen dead of those asked, and starts that failed (POWER
 * adds nothing for writes). PAUSE, SLOW: inputs that waited. CLOCK: clock readings, and those that were off. DISK:
 * calls, and those hit. */
struct fault_evidence {
    uint64_t affected, offered;
};

/* The condition of one link under two at once: cut by either, independent losses, added delays, the smaller rate. */
struct link_condition link_condition_add(struct link_condition a, struct link_condition b);
struct disk_condition disk_condition_add(struct disk_condition a, struct disk_condition b);

/* Decides the fate of one frame: copies is 0 (lost), 1 or 2; each copy has its extra delay, and may skip the link's
 * order (reordered) or be changed in flight. The same code serves the simulated network and the libpcap switch. */
struct frame_fate {
    uint8_t copies;
    bool reordered, corrupted, damaged;
    uint64_t delay_ns[2]; /* not negative in sum with base_ns: clamped */
};
struct frame_fate frame_decide(const struct link_condition *c, uint64_t base_ns, struct prng *p);
/* Did this condition, rather than the link's own nature or another fault, leave a mark on the frame? late: a rate limit
 * held it up or had no room for it. Where two faults could both have dropped a frame, both count it. */
bool frame_marked(const struct link_condition *c, const struct frame_fate *fate, bool late);

#endif
