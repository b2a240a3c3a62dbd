/* Less CPU time by a duty cycle: one thread stops and continues all processes that are slowed. It starts with the first
 * and ends with the last of them. One lock covers the list and every SIGSTOP and SIGCONT sent from here, so a process
 * that has left the list, or that is paused, is not continued behind its owner's back. */
#include "nemesis/process/internal.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "base/clock.h"

#define PERIOD_NS (10 * NS_PER_MS)
#define SLOWED_MAX 64 /* several runs' nodes */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct process *slowed[SLOWED_MAX];
static uint32_t slowed_count;
static pthread_t thread;

static void sleep_until(uint64_t time_ns) {
    struct timespec t = {(time_t)(time_ns / NS_PER_S), (long)(time_ns % NS_PER_S)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL)) continue;
}

/* Signals those that are not paused and whose share ends at `percent` of the period. */
static void signal_all(int number, uint32_t percent) {
    for (uint32_t i = 0; i < slowed_count; i++)
        if (!slowed[i]->paused && (percent == 0 || slowed[i]->slow_percent == percent))
            slowed[i]->slow_stops += kill(-slowed[i]->pid, number) == 0 && number == SIGSTOP;
}

/* The smallest share above `percent`; 100 when there is none. */
static uint32_t next_share(uint32_t percent) {
    uint32_t next = 100;
    for (uint32_t i = 0; i < slowed_count; i++)
        if (slowed[i]->slow_percent > percent && slowed[i]->slow_percent < next) next = slowed[i]->slow_percent;
    return next;
}

static void *run(void *unused) {
    uint64_t period_start_ns = monotonic_ns();
    pthread_mutex_lock(&lock);
    while (slowed_count) {
        signal_all(SIGCONT, 0);
        for (uint32_t at = next_share(0);; at = next_share(at)) {
            pthread_mutex_unlock(&lock);
            sleep_until(period_start_ns + at * PERIOD_NS / 100);
            pthread_mutex_lock(&lock);
            if (at == 100) break;
            signal_all(SIGSTOP, at);
        }
        period_start_ns += PERIOD_NS;
        if (monotonic_ns() > period_start_ns + PERIOD_NS)
            period_start_ns = monotonic_ns(); /* what was missed is not made up for */
    }
    pthread_mutex_unlock(&lock);
    return unused;
}

static bool forget(struct process *p) {
    for (uint32_t i = 0; i < slowed_count; i++)
        if (slowed[i] == p) {
            slowed[i] = slowed[--slowed_count];
            return true;
        }
    return false;
}

void slow_set(struct process *p, uint32_t percent) {
    bool on = percent > 0 && percent < 100;
    pthread_mutex_lock(&lock);
    uint32_t before = slowed_count;
    bool was_on = forget(p);
    p->slow_percent = on ? percent : 0;
    if (on) {
        assert(slowed_count < SLOWED_MAX);
        slowed[slowed_count++] = p;
    }
    if (was_on && !on && !p->paused) kill(-p->pid, SIGCONT);
    bool last = before > 0 && slowed_count == 0;
    if (before == 0 && slowed_count == 1) {
        sigset_t all, old; /* the owner's thread takes the signals of the program */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        int failed = pthread_create(&thread, NULL, run, NULL);
        assert(!failed);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    pthread_mutex_unlock(&lock);
    if (last) pthread_join(thread, NULL);
}

void slow_pause(struct process *p, bool paused) {
    pthread_mutex_lock(&lock);
    p->paused = paused;
    kill(-p->pid, paused ? SIGSTOP : SIGCONT);
    pthread_mutex_unlock(&lock);
}

uint64_t process_slow_stops(const struct process *p) {
    pthread_mutex_lock(&lock);
    uint64_t stops = p->slow_stops;
    pthread_mutex_unlock(&lock);
    return stops;
}

bool slow_is_on(const struct process *p) {
    return p->slow_percent > 0; /* only its owner changes it */
}
