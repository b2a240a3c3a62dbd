/* Syncs of a child without a file system of our own: a seccomp filter hands fsync, fdatasync, sync_file_range and msync
 * to a thread here, which lets the kernel go on (perhaps later), fails the call, or says that it was done. The filter
 * stays through exec and fork (seccomp_unotify(2)). Calls of the native and, on x86-64, of the 32-bit interface are
 * caught; what goes around them (io_uring, O_SYNC writes) is not.
 *
 * A stalled call waits in a heap until it is due, so it holds up no other. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "nemesis/process/internal.h"

#include "base/clock.h"

#if defined __x86_64__
#define ARCH_NATIVE AUDIT_ARCH_X86_64
#define X32_CALL_BIT 0x40000000U
#elif defined __aarch64__
#define ARCH_NATIVE AUDIT_ARCH_AARCH64
#define X32_CALL_BIT 0U
#else
#error "syncs.c: add the audit architecture of this processor"
#endif

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)
#define IF_EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)

/* The numbers of the 32-bit interface (arch/x86/entry/syscalls/syscall_32.tbl). */
enum { I386_FSYNC = 118, I386_MSYNC = 144, I386_FDATASYNC = 148, I386_SYNC_FILE_RANGE = 314 };

static const struct sock_filter filter[] = {
    LOAD(arch),
    IF_EQUAL(ARCH_NATIVE, 0, 7),
    LOAD(nr),
    BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ~X32_CALL_BIT),
    IF_EQUAL(__NR_fsync, 10, 0),
    IF_EQUAL(__NR_fdatasync, 9, 0),
    IF_EQUAL(__NR_sync_file_range, 8, 0),
    IF_EQUAL(__NR_msync, 7, 0),
    RETURN(SECCOMP_RET_ALLOW),
    IF_EQUAL(AUDIT_ARCH_I386, 0, 6), /* never so on other processors */
    LOAD(nr),
    IF_EQUAL(I386_FSYNC, 3, 0),
    IF_EQUAL(I386_MSYNC, 2, 0),
    IF_EQUAL(I386_FDATASYNC, 1, 0),
    IF_EQUAL(I386_SYNC_FILE_RANGE, 0, 1),
    RETURN(SECCOMP_RET_USER_NOTIF),
    RETURN(SECCOMP_RET_ALLOW),
};

static int install(unsigned flags) {
    struct sock_fprog program = {sizeof filter / sizeof *filter, (struct sock_filter *)(uintptr_t)filter};
    return (int)syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags | SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

/* A signal that does not kill must not start a stall over again: the kernel can promise that since 5.19. */
static int install_best(void) {
#ifdef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
    int listener = install(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
    if (listener >= 0 || errno != EINVAL) return listener;
#endif
    return install(0);
}

int syncs_install(void) {
    int listener = install_best();
    if (listener >= 0 || errno != EACCES) return listener;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return -1; /* what an ordinary user must give up first */
    return install_best();
}

enum answer { ANSWER_CONTINUE, ANSWER_FAIL, ANSWER_LIE };

struct waiting { /* a call whose answer is due later */
    uint64_t id;
    enum answer answer;
};

struct syncs {
    int listener, wake;
    pthread_t thread;
    struct seccomp_notif_sizes sizes;
    struct seccomp_notif *request;
    struct seccomp_notif_resp *response;
    struct heap due; /* payload: index in waiting */
    struct waiting *waiting;
    size_t waiting_count, waiting_capacity;
    uint64_t sequence;
    pthread_mutex_t lock; /* of what follows */
    struct disk_condition condition;
    struct prng prng;
    struct sync_counters counters;
    bool stopping;
};

/* A target that died meanwhile is no error here. */
static void answer(struct syncs *s, uint64_t id, enum answer a) {
    memset(s->response, 0, s->sizes.seccomp_notif_resp);
    s->response->id = id;
    if (a == ANSWER_FAIL) s->response->error = -EIO;
    if (a == ANSWER_CONTINUE) s->response->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    ioctl(s->listener, SECCOMP_IOCTL_NOTIF_SEND, s->response);
}

static enum answer decide(struct syncs *s, uint64_t *stall_ns) {
    pthread_mutex_lock(&s->lock);
    const struct disk_condition *c = &s->condition;
    enum answer a = ANSWER_CONTINUE;
    s->counters.syncs++;
    *stall_ns = c->sync_stall_ns;
    s->counters.stalled += *stall_ns > 0;
    if (c->sync_error_ppm && prng_chance(&s->prng, c->sync_error_ppm)) {
        a = ANSWER_FAIL;
        s->counters.failed++;
    } else if (c->sync_lie_ppm && prng_chance(&s->prng, c->sync_lie_ppm)) {
        a = ANSWER_LIE;
        s->counters.lied++;
    }
    pthread_mutex_unlock(&s->lock);
    return a;
}

static void receive(struct syncs *s) {
    memset(s->request, 0, s->sizes.seccomp_notif);                        /* the kernel insists */
    if (ioctl(s->listener, SECCOMP_IOCTL_NOTIF_RECV, s->request)) return; /* it died between poll and here */
    uint64_t stall_ns;
    enum answer a = decide(s, &stall_ns);
    if (stall_ns == 0) {
        answer(s, s->request->id, a);
        return;
    }
    if (s->waiting_count == s->waiting_capacity) {
        s->waiting_capacity = s->waiting_capacity ? 2 * s->waiting_capacity : 16;
        s->waiting = xrealloc(s->waiting, s->waiting_capacity * sizeof *s->waiting);
    }
    s->waiting[s->waiting_count] = (struct waiting){s->request->id, a};
    heap_push(&s->due, (struct heap_item){monotonic_ns() + stall_ns, s->sequence++, s->waiting_count++});
}

static void answer_due(struct syncs *s) {
    uint64_t now = monotonic_ns();
    while (heap_top(&s->due) && heap_top(&s->due)->time_ns <= now) {
        struct waiting w = s->waiting[heap_pop(&s->due).payload];
        answer(s, w.id, w.answer);
    }
    if (s->due.count == 0) s->waiting_count = 0;
}

static bool is_stopping(struct syncs *s) {
    pthread_mutex_lock(&s->lock);
    bool stopping = s->stopping;
    pthread_mutex_unlock(&s->lock);
    return stopping;
}

static void *serve(void *ctx) {
    struct syncs *s = ctx;
    struct pollfd fds[2] = {{.fd = s->listener, .events = POLLIN}, {.fd = s->wake, .events = POLLIN}};
    while (!is_stopping(s)) {
        const struct heap_item *next = heap_top(&s->due);
        struct timespec wait = {0};
        if (next) {
            uint64_t now = monotonic_ns(), left = next->time_ns > now ? next->time_ns - now : 0;
            wait = (struct timespec){(time_t)(left / NS_PER_S), (long)(left % NS_PER_S)};
        }
        if (ppoll(fds, 2, next ? &wait : NULL, NULL) < 0) continue; /* EINTR */
        answer_due(s);
        if (fds[0].revents & POLLIN) {
            receive(s);
        } else if (fds[0].revents) {
            fds[0].fd = -1; /* all its processes are gone */
        }
    }
    return NULL;
}

static void release(struct syncs *s) {
    if (s->wake >= 0) close(s->wake);
    close(s->listener);
    heap_free(&s->due);
    free(s->waiting);
    free(s->request);
    free(s->response);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

struct syncs *syncs_start(int listener, const char *name, struct error *e) {
    struct syncs *s = xcalloc(1, sizeof *s);
    s->listener = listener;
    s->wake = eventfd(0, EFD_CLOEXEC);
    pthread_mutex_init(&s->lock, NULL);
    prng_seed(&s->prng, 0, 0);
    int error = 0;
    if (s->wake < 0 || syscall(__NR_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &s->sizes)) {
        error = errno;
    } else {
        if (s->sizes.seccomp_notif < sizeof *s->request) s->sizes.seccomp_notif = sizeof *s->request;
        if (s->sizes.seccomp_notif_resp < sizeof *s->response) s->sizes.seccomp_notif_resp = sizeof *s->response;
        s->request = xcalloc(1, s->sizes.seccomp_notif);
        s->response = xcalloc(1, s->sizes.seccomp_notif_resp);
        error = pthread_create(&s->thread, NULL, serve, s);
    }
    if (error == 0) return s;
    error_set(e, "the syncs of %s cannot be watched: %s; seccomp user notification needs Linux 5.5 or later", name,
              strerror(error));
    release(s);
    return NULL;
}

void syncs_condition(struct syncs *s, const struct disk_condition *c, uint64_t seed) {
    pthread_mutex_lock(&s->lock);
    s->condition = *c;
    prng_seed(&s->prng, seed, 0);
    pthread_mutex_unlock(&s->lock);
}

struct sync_counters syncs_counters(const struct syncs *s) {
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&s->lock;
    pthread_mutex_lock(lock);
    struct sync_counters c = s->counters;
    pthread_mutex_unlock(lock);
    return c;
}

void syncs_stop(struct syncs *s) {
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_mutex_unlock(&s->lock);
    uint64_t one = 1;
    if (write(s->wake, &one, sizeof one) != sizeof one) abort(); /* an eventfd takes a one */
    pthread_join(s->thread, NULL);
    release(s);
}
