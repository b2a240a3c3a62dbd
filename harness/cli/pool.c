/* The same work for many indices (seeds), over forked processes. Indices are handed out in order from a counter in
 * shared memory; results come back through one pipe, each in one atomic write. A worker that dies is a result too: the
 * index it worked on is known, and another worker takes its place.
 *
 * With stop_at_failure the lowest failing index among those handed out is what counts: work on higher ones is cut
 * short, work on lower ones is awaited. */
#include "harness/cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define TICK_MS 100
#define INDEX_NONE UINT64_MAX
/* An index that takes longer is a hang: the worker is killed and the index reported. */
#define INDEX_WALL_MAX_NS (600 * NS_PER_S)

struct slot {
    _Atomic uint64_t index; /* what it works on */
    _Atomic uint64_t since_ns;
    volatile sig_atomic_t interrupt;
};
struct shared {
    _Atomic uint64_t next, limit; /* limit: the first index not to hand out */
    struct slot slots[JOBS_MAX];
};
struct running {
    const struct pool *pool;
    struct shared *shared;
    pid_t pids[JOBS_MAX];
    bool hung[JOBS_MAX];
    uint32_t alive;
    int read_end, write_end;
};
static_assert(sizeof(struct pool_report) <= PIPE_BUF, "a report must be one atomic write");

bool pool_failed(const struct pool_report *r) {
    return !r->interrupted && (r->verdict == VERDICT_INVALID || r->refused || r->crashed);
}

static void lower_limit(struct shared *s, uint64_t to) {
    uint64_t now = atomic_load(&s->limit);
    while (to < now && !atomic_compare_exchange_weak(&s->limit, &now, to)) {
    }
}

/* --- the worker --- */

static void work(struct running *r, uint32_t me) {
    struct shared *s = r->shared;
    struct slot *slot = &s->slots[me];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_IGN); /* the parent tells when to stop */
    signal(SIGTERM, SIG_DFL);
    for (;;) {
        const struct pool *p = r->pool;
        if (p->deadline_wall_ns && monotonic_ns() >= p->deadline_wall_ns) break;
        uint64_t index = atomic_fetch_add(&s->next, 1);
        if (index >= atomic_load(&s->limit)) break;
        atomic_store(&slot->since_ns, monotonic_ns());
        atomic_store(&slot->index, index);
        struct pool_report report = {.index = index};
        p->work(p->ctx, index, &slot->interrupt, &report);
        if (p->stop_at_failure && pool_failed(&report)) lower_limit(s, index + 1);
        if (write(r->write_end, &report, sizeof report) != (ssize_t)sizeof report) _exit(1);
        atomic_store(&slot->index, INDEX_NONE);
    }
    /* A goodbye, so that the parent need not wait for its next tick to notice. */
    struct pool_report goodbye = {.index = INDEX_NONE, .ops_ok = me};
    _exit(write(r->write_end, &goodbye, sizeof goodbye) == (ssize_t)sizeof goodbye ? 0 : 1);
}

/* --- the parent --- */

static int start_worker(struct running *r, uint32_t me, struct error *e) {
    struct slot *slot = &r->shared->slots[me];
    atomic_store(&slot->index, INDEX_NONE);
    slot->interrupt = 0;
    r->hung[me] = false;
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) return error_set(e, "cannot start a worker: %s", strerror(errno));
    if (pid == 0) work(r, me);
    r->pids[me] = pid;
    r->alive++;
    return 0;
}

/* A worker that said goodbye is on its way out. */
static void bury(struct running *r, uint32_t me) {
    waitpid(r->pids[me], NULL, 0);
    r->pids[me] = 0;
    r->alive--;
}

/* Takes every report that is in the pipe. */
static void drain(struct running *r) {
    struct pool_report report;
    struct pollfd ready = {.fd = r->read_end, .events = POLLIN};
    while (poll(&ready, 1, 0) > 0 && (ready.revents & POLLIN)) {
        if (read(r->read_end, &report, sizeof report) != (ssize_t)sizeof report) return;
        if (report.index == INDEX_NONE)
            bury(r, (uint32_t)report.ops_ok);
        else if (r->pool->on_report)
            r->pool->on_report(r->pool->ctx, &report);
    }
}

static void report_crash(struct running *r, uint32_t me, uint64_t index, int status) {
    struct pool_report report = {.index = index, .verdict = VERDICT_UNKNOWN, .crashed = true};
    snprintf(report.check, sizeof report.check, "internal-error");
    if (r->hung[me])
        snprintf(report.why, sizeof report.why, "harrow itself hung for %llu s on it and was killed",
                 (unsigned long long)(INDEX_WALL_MAX_NS / NS_PER_S));
    else if (WIFSIGNALED(status))
        snprintf(report.why, sizeof report.why, "harrow itself died on it: %s", strsignal(WTERMSIG(status)));
    else
        snprintf(report.why, sizeof report.why, "harrow itself died on it with status %d", WEXITSTATUS(status));
    if (r->pool->stop_at_failure) lower_limit(r->shared, index + 1);
    if (r->pool->on_report) r->pool->on_report(r->pool->ctx, &report);
}

/* Workers that ended without a goodbye died. */
static int reap(struct running *r, struct error *e) {
    for (uint32_t i = 0; i < r->pool->jobs; i++) {
        int status = 0;
        siginfo_t gone = {0};
        if (!r->pids[i] || waitid(P_PID, (id_t)r->pids[i], &gone, WEXITED | WNOHANG | WNOWAIT) || !gone.si_pid)
            continue;
        drain(r); /* its last words come before its end */
        if (!r->pids[i]) continue;
        waitpid(r->pids[i], &status, 0);
        r->pids[i] = 0;
        r->alive--;
        uint64_t index = atomic_load(&r->shared->slots[i].index);
        if (index == INDEX_NONE) return error_set(e, "a worker died between two seeds, with status %d", status);
        report_crash(r, i, index, status);
        if (atomic_load(&r->shared->next) < atomic_load(&r->shared->limit) && start_worker(r, i, e)) return -1;
    }
    return 0;
}

/* Cuts short what no longer counts, and what hangs. */
static void police(struct running *r) {
    uint64_t limit = atomic_load(&r->shared->limit), now = monotonic_ns();
    if (cli_interrupted) lower_limit(r->shared, 0);
    for (uint32_t i = 0; i < r->pool->jobs; i++) {
        struct slot *slot = &r->shared->slots[i];
        uint64_t index = atomic_load(&slot->index);
        if (!r->pids[i] || index == INDEX_NONE) continue;
        if (index >= limit || cli_interrupted) slot->interrupt = 1;
        if (now - atomic_load(&slot->since_ns) < INDEX_WALL_MAX_NS || now < atomic_load(&slot->since_ns)) continue;
        r->hung[i] = true;
        kill(r->pids[i], SIGKILL);
    }
}

static int supervise(struct running *r, struct error *e) {
    while (r->alive > 0) {
        struct pollfd ready = {.fd = r->read_end, .events = POLLIN};
        (void)poll(&ready, 1, TICK_MS);
        drain(r);
        if (reap(r, e)) return -1;
        police(r);
        if (r->pool->on_tick) r->pool->on_tick(r->pool->ctx);
    }
    drain(r);
    return 0;
}

static void kill_all(struct running *r) {
    for (uint32_t i = 0; i < r->pool->jobs; i++) {
        if (!r->pids[i]) continue;
        kill(r->pids[i], SIGKILL);
        waitpid(r->pids[i], NULL, 0);
    }
}

int pool_run(const struct pool *p, struct error *e) {
    struct running r = {.pool = p, .read_end = -1, .write_end = -1};
    int ends[2], failed = -1;
    r.shared = mmap(NULL, sizeof *r.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (r.shared == MAP_FAILED) return error_set(e, "no shared memory for the workers: %s", strerror(errno));
    if (pipe(ends)) {
        error_set(e, "no pipe for the workers: %s", strerror(errno));
        goto out;
    }
    r.read_end = ends[0];
    r.write_end = ends[1];
    atomic_store(&r.shared->limit, p->count);
    failed = 0;
    for (uint32_t i = 0; i < p->jobs && i < p->count && !failed; i++) failed = start_worker(&r, i, e);
    if (!failed) failed = supervise(&r, e);
    if (failed) kill_all(&r);
    close(r.read_end);
    close(r.write_end);
out:
    munmap(r.shared, sizeof *r.shared);
    return failed;
}

bool pool_run_keeping(struct runner *r, struct run_options *o, struct pool_report *out, struct run_result *result) {
    struct error e = {{0}};
    int status = runner_run(r, o, result, &e);
    if (status) {
        out->refused = status == EXIT_USAGE;
        out->crashed = !out->refused;
        out->verdict = VERDICT_UNKNOWN;
        snprintf(out->check, sizeof out->check, "%s", out->refused ? "scenario" : "internal-error");
        snprintf(out->why, sizeof out->why, "%s", e.text);
        return false;
    }
    const struct check_result *decides = run_deciding_check(result);
    out->verdict = result->verdict;
    out->interrupted = o->interrupted && *o->interrupted;
    out->fault_kinds = result->fault_kinds;
    out->ops_ok = result->ops_ok;
    out->events = result->events;
    out->trace_hash = result->trace_hash;
    out->end_ns = (uint64_t)(result->virtual_seconds * (double)NS_PER_S);
    out->wall_seconds = result->wall_seconds;
    snprintf(out->check, sizeof out->check, "%s", decides ? decides->name : "");
    snprintf(out->why, sizeof out->why, "%s", result->why);
    snprintf(out->run, sizeof out->run, "%s", result->run_id);
    return true;
}

void pool_run_scenario(struct runner *r, struct run_options *o, struct pool_report *out) {
    struct run_result result;
    if (pool_run_keeping(r, o, out, &result)) run_result_free(&result);
}
