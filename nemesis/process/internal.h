/* What the files of this room share: syncs.c hands the syncs of a child to a thread here, clock.c puts the clock stub
 * into a child, process.c starts, ends and watches children, slow.c gives them less CPU time. */
#ifndef HARROW_PROCESS_INTERNAL_H
#define HARROW_PROCESS_INTERNAL_H

#include "nemesis/process/process.h"

/* syncs.c: in the child, after fork and before exec: asks for no new privileges if need be and installs the filter.
 * Returns the listener's descriptor, or -1 with errno set. Async-signal-safe: no allocation, no locks. */
int syncs_install(void);
struct syncs; /* a thread that answers the notifications of one child and of what it forks */
/* Takes the listener over (closes it in the end). `name` is the program, for messages. NULL with e set. */
struct syncs *syncs_start(int listener, const char *name, struct error *e);
void syncs_condition(struct syncs *s, const struct disk_condition *c, uint64_t seed);
struct sync_counters syncs_counters(const struct syncs *s);
void syncs_stop(struct syncs *s); /* the processes are dead by then; ends the thread, closes, frees */

#define CLOCK_LINES 5 /* clocks that run apart: wall, TAI, monotonic, raw, since boot */

/* One child. What slow.c's thread uses is behind its lock: pid (constant), paused, slow_percent, slow_stops. */
struct process {
    char *name; /* argv[0], for messages; owned */
    pid_t pid;
    int pidfd;
    int status;            /* once ended */
    bool ended;            /* and reaped */
    uint64_t ended_cpu_ns; /* once it has */
    bool paused;
    uint32_t slow_percent; /* 0: at full speed */
    uint64_t slow_stops;   /* periods that were cut short */
    struct syncs *syncs;   /* NULL: not watched */
    int memory;            /* its /proc/PID/mem; -1: its clock is not patched */
    uint64_t clock_block;  /* address of the parameter block in its memory */
    uint8_t clock_generation;
    struct clock_condition clock; /* in force */
};

/* slow.c. slow_set takes 0 or 100 for full speed; slow_pause stops or continues the whole process group. */
void slow_set(struct process *p, uint32_t percent);
void slow_pause(struct process *p, bool paused);
bool slow_is_on(const struct process *p);

/* clock.c: waits for the stop at exec of a child that asked to be traced, puts the stub in, and lets it go. */
int clock_patch(struct process *p, struct error *e);

#endif
