/* Processes that faults happen to: started in a network namespace of choice with their clock in our hand, killed,
 * stopped, slowed, and never left behind. It works on any program: C, Go, Java.
 *
 * The clock: at exec the child is traced, its vDSO gets a small stub in place of clock_gettime, gettimeofday and time,
 * and is let go. The stub asks the kernel and adds what a parameter block beside it says; changing that is one pwrite
 * and takes some tens of microseconds, in which a change of drift bends what lies between. An offset moves the wall
 * clocks only (CLOCK_REALTIME and its kin); a drift bends the rate of wall and monotonic clocks alike, from the moment
 * it is set on, without a jump, and what it gained stays. Not bent: raw system calls, kernel timers, file times.
 * Patched is the program that is started, of a script its interpreter; what it forks keeps the clock as it is then. If
 * it executes another program, process_clock fails and says so: start the program that serves itself.
 *
 * fsync without FUSE: with `watch_syncs` a seccomp user-notification filter hands every fsync, fdatasync,
 * sync_file_range and msync of the child to a thread here that delays it, fails it, or says yes without doing it.
 *
 * Every child gets PR_SET_PDEATHSIG, a process group of its own, and closed descriptors but 0, 1, 2 and those asked
 * for. */
#ifndef HARROW_NEMESIS_PROCESS_H
#define HARROW_NEMESIS_PROCESS_H

#include <sys/types.h>

#include "nemesis/fault.h"

struct process;

struct process_options {
    const char *const *argv; /* NULL-terminated; argv[0] is looked up in PATH unless it has a slash */
    const char *const *env;  /* NAME=value in addition to our own; NULL: none; NULL-terminated */
    const char *directory;   /* working directory; NULL: ours */
    int output;              /* stdout and stderr go there; -1: /dev/null. Not taken over. */
    int network;             /* a network namespace (an open /proc/PID/ns/net); -1: ours. Not taken over. */
    int pass;                /* appears as descriptor 3 in the child; -1: none. Not taken over. */
    bool patch_clock, watch_syncs;
    int exec_error; /* 0; else the start fails as if exec had, with this errno: a fault of its own */
};

/* Starts it and returns once exec has succeeded (and the clock is patched). NULL with e set: what failed, of which
 * program: not found, not executable, ptrace or seccomp not allowed (names the sysctl or capability). To be called on a
 * thread that lives as long as the process shall, such as the main one: the kernel kills it when that thread ends. */
struct process *process_start(const struct process_options *o, struct error *e);
/* Kills it if it lives, waits for its end, frees. */
void process_free(struct process *p);

pid_t process_pid(const struct process *p);
/* Readable when it has ended (a pidfd): for the owner's event loop. */
int process_fd(const struct process *p);
/* True once it has ended; `status` as of waitpid (may be NULL). Never blocks. */
bool process_ended(struct process *p, int *status);
void process_signal(struct process *p, int signal);
/* kill -9 for it and its process group, and wait for its end; returns whether it is dead now (false: it was
 * already). */
bool process_kill(struct process *p);
/* Stops and continues its process group; returns when /proc says so of all its threads, or it is dead, or after 5 s.
 * process_pause: whether it stands still. */
bool process_pause(struct process *p);
void process_resume(struct process *p);
/* It runs `percent` of the time: SIGSTOP and SIGCONT in turns of 10 ms by a thread here; 0 or 100: at full speed. A
 * paused process stays paused. */
void process_slow(struct process *p, uint32_t percent);
uint64_t process_slow_stops(const struct process *p); /* how often it was stopped for that */
/* User and system time used so far, or by its end; what it forked counts then, if it waited for it. */
uint64_t process_cpu_ns(const struct process *p);

/* The clock from now on; needs patch_clock. 0, or -1 with e set. */
int process_clock(struct process *p, struct clock_condition c, struct error *e);
/* What the child's own clock would read now, by the parameter block in its memory: wall and monotonic, in ns. */
int process_clock_read(const struct process *p, uint64_t *wall_ns, uint64_t *monotonic_ns);

struct sync_counters {
    uint64_t syncs, stalled, failed, lied;
};
/* What happens to its syncs from now on: sync_error_ppm, sync_stall_ns, sync_lie_ppm of the condition; needs
 * watch_syncs. */
void process_syncs(struct process *p, const struct disk_condition *c, uint64_t seed);
struct sync_counters process_sync_counters(const struct process *p);

/* Whether this machine can do it: NULL, or one line: why not and how to get it. */
const char *process_clock_unavailable(void);
const char *process_syncs_unavailable(void);

#endif
