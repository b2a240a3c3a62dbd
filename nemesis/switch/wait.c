/* Waiting for frames. To wake a thread costs more than to forward a frame, above all across processors, where one that
 * sleeps has to be interrupted. Two things keep that cost off the frames:
 *
 *   - The thread is an ordinary one with short slices of time. So the kernel wakes it on the processor of the sender,
 *     and lets it go before what runs there. A real-time thread stays where it is, and each frame from another
 *     processor would interrupt its own. It is one only while frames are delayed, for they want to leave in time.
 *   - After a frame the thread looks again for about as long as a wake takes, for then the next frame needs none. It
 *     gives its processor away between looks, and does not begin while there is more to run than there are processors:
 *     nodes must not pay for it. Every now and then it does sleep, lest it stay on a processor that is far from all. */
#include "nemesis/switch/internal.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

#define SLICE_NS (100 * NS_PER_US)
#define NICE (-10) /* nine times the weight of a node: in time on a busy machine, and yet a node gets its turn */
#define SPIN_NS (50 * NS_PER_US)
#define STRETCH_NS NS_PER_MS
#define FIFO_PRIORITY 10
#define EXACT_NS NS_PER_S /* after the last delayed frame, real-time no more */

struct attributes { /* struct sched_attr, which older headers lack */
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t slice_ns, deadline_ns, period_ns;
};

static bool be_ordinary(int32_t nice) {
    const struct attributes a = {.size = sizeof a, .policy = SCHED_OTHER, .nice = nice, .slice_ns = SLICE_NS};
    return syscall(SYS_sched_setattr, 0, &a, 0) == 0;
}

static bool be_realtime(void) {
    return sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = FIFO_PRIORITY}) == 0;
}

static void be_eager(void) {
    if (!be_ordinary(NICE)) (void)!be_ordinary(0);
}

void wait_prepare(struct net_switch *s) {
    cpu_set_t usable;
    s->processors = sched_getaffinity(0, sizeof usable, &usable) == 0 ? (uint32_t)CPU_COUNT(&usable) : 1;
    atomic_store(&s->realtime, be_realtime());
    be_eager();
}

void wait_adapt(struct net_switch *s) {
    if (s->queue.count) s->delayed_ns = s->now_ns;
    bool exact = s->delayed_ns && s->now_ns - s->delayed_ns < EXACT_NS;
    if (exact == s->exact) return;
    s->exact = exact;
    if (exact)
        (void)!be_realtime();
    else
        be_eager();
}

/* The kernel counts what runs or could run on the whole machine; the thread that asks is among them. */
static bool processor_to_spare(const struct net_switch *s) {
    char text[64];
    ssize_t size = s->load < 0 ? -1 : pread(s->load, text, sizeof text - 1, 0);
    unsigned runnable;
    text[size > 0 ? size : 0] = '\0';
    return sscanf(text, "%*s %*s %*s %u", &runnable) == 1 && runnable <= s->processors;
}

static int sleep_until_events(struct net_switch *s, struct epoll_event *events, int max) {
    int count = epoll_wait(s->epoll, events, max, -1);
    uint64_t now_ns = monotonic_ns();
    if (now_ns - s->stretch_ns >= STRETCH_NS) {
        s->stretch_ns = now_ns;
        s->spare = processor_to_spare(s);
    }
    return count;
}

size_t wait_events(struct net_switch *s, uint64_t busy_ns, struct epoll_event *events, size_t max) {
    int count = 0;
    bool spin = s->spare && !s->exact; /* a real-time thread cannot give way */
    uint64_t now_ns = spin ? monotonic_ns() : 0;
    while (spin && count == 0 && now_ns - busy_ns < SPIN_NS && now_ns - s->stretch_ns < STRETCH_NS) {
        sched_yield();
        count = epoll_wait(s->epoll, events, (int)max, 0);
        now_ns = monotonic_ns();
    }
    if (count == 0) count = sleep_until_events(s, events, (int)max);
    return count > 0 ? (size_t)count : 0;
}
