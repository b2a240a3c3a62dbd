/* How node processes end: ordered by a fault or by themselves, what the end of their log says about it, and whether it
 * is a failure of the target. A node that ended by itself is started again after a second, as a supervisor would. */
#include "harness/local/local_internal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define SUPERVISOR_NS NS_PER_S
#define TAIL_BYTES 4096
#define TAIL_LINES 3
#define LINE_BYTES_MAX 140

void node_note(const struct local_node *n, const char *text) {
    struct history *h = n->local->world.host.history;
    history_sample(
        h, (struct sample){
               .time_ns = local_now(n->local), .kind = SAMPLE_LOG, .node = n->id, .text = history_intern(h, text)});
}

void node_note_up(const struct local_node *n, bool up) {
    history_sample(n->local->world.host.history, (struct sample){.time_ns = local_now(n->local),
                                                                 .kind = up ? SAMPLE_NODE_UP : SAMPLE_NODE_DOWN,
                                                                 .node = n->id,
                                                                 .text = NO_STRING});
}

/* --- the end of a log --- */

uint64_t node_log_size(const struct local_node *n) {
    off_t size = lseek(n->output, 0, SEEK_END);
    return size > 0 ? (uint64_t)size : 0;
}

/* The last bytes that the node's latest process wrote; how many. */
static size_t read_tail(const struct local_node *n, char *out, size_t size) {
    char *path = xformat("%s/log", n->folder);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    free(path);
    if (fd < 0) return 0;
    uint64_t end = node_log_size(n), from = n->log_start;
    if (end - from > size) from = end - size;
    ssize_t got = end > from ? pread(fd, out, (size_t)(end - from), (off_t)from) : 0;
    close(fd);
    return got > 0 ? (size_t)got : 0;
}

/* The last lines of it in one, each shortened, oldest first; "" when there are none. */
static void log_tail(const struct local_node *n, char *out, size_t size) {
    char text[TAIL_BYTES];
    const size_t got = read_tail(n, text, sizeof text);
    size_t end = got, used = 0;
    size_t starts[TAIL_LINES], sizes[TAIL_LINES], count = 0;
    while (end > 0 && count < TAIL_LINES) {
        size_t start = end;
        while (start > 0 && text[start - 1] != '\n') start--;
        if (end > start) {
            starts[count] = start;
            sizes[count++] = end - start < LINE_BYTES_MAX ? end - start : LINE_BYTES_MAX;
        }
        end = start ? start - 1 : 0;
    }
    for (size_t i = 0; i < got; i++)
        if (text[i] < ' ' || text[i] > '~') text[i] = '?'; /* what others write need not be text */
    *out = 0;
    for (size_t i = count; i-- > 0 && used < size;)
        used += (size_t)snprintf(out + used, size - used, "%s%.*s", used ? " | " : "", (int)sizes[i], text + starts[i]);
}

/* --- ends --- */

static void describe(struct local_node *n, int status, bool ordered) {
    char how[96], tail[TAIL_LINES * (LINE_BYTES_MAX + 4)];
    if (ordered)
        *tail = 0;
    else
        log_tail(n, tail, sizeof tail);
    if (WIFEXITED(status))
        snprintf(how, sizeof how, "ended %s with status %d", ordered ? "as told" : "by itself", WEXITSTATUS(status));
    else
        snprintf(how, sizeof how, "died of signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    snprintf(n->ended, sizeof n->ended, "n%u %s%s; %s n%u/log%s%s", n->id + 1u, how,
             ordered ? "" : ", which nobody had ordered", *tail ? "the end of" : "see", n->id + 1u, *tail ? ": " : "",
             tail);
}

/* A bundled node may stop in order, for its disk, or because it cannot start on what is there (statuses 0 to 2), and
 * the machine may kill it. Whatever else ends it is a defect. */
static bool is_defect(const struct local_node *n, int status) {
    if (n->local->target) return false;
    if (WIFEXITED(status)) return WEXITSTATUS(status) > 2;
    int signal = WTERMSIG(status);
    return signal != SIGKILL && signal != SIGTERM && signal != SIGINT && signal != SIGHUP;
}

void node_on_end(struct local_node *n, int status) {
    struct local *l = n->local;
    bool defect = is_defect(n, status), ordered = n->leaving && !defect;
    describe(n, status, ordered);
    node_note(n, n->ended);
    node_note_up(n, false);
    if (defect && !l->violation[0]) snprintf(l->violation, sizeof l->violation, "%s", n->ended);
    node_process_free(n);
    if (l->target && !ordered && foreign_has(l->target, "stays_down"))
        n->stays_down = true;
    else
        node_restart_later(n, SUPERVISOR_NS);
}

void node_bury(struct local_node *n) {
    if (!n->process) return;
    process_kill(n->process);
    node_process_free(n);
    node_note_up(n, false);
}

/* --- as told --- */

void node_stop_in_order(struct local_node *n, uint64_t grace_ns) {
    if (!n->process || n->leaving) return;
    n->leaving = true;
    n->leave_ns = local_now(n->local) + grace_ns;
    process_signal(n->process, SIGTERM);
    local_schedule(n->local, n->leave_ns, TIMER_LEAVE, n->id);
}

void node_stop_now(struct local_node *n) {
    int status;
    if (!n->leaving || !n->process) return;
    if (process_ended(n->process, &status)) {
        node_on_end(n, status);
        return;
    }
    char text[96];
    snprintf(text, sizeof text, "n%u had not ended in time after SIGTERM, and was killed", n->id + 1u);
    node_note(n, text);
    node_bury(n);
}

void node_on_leave(struct local_node *n) {
    if (local_now(n->local) >= n->leave_ns) node_stop_now(n);
}

/* --- back again --- */

void node_restart_later(struct local_node *n, uint64_t after_ns) {
    if (!n->local->start_ns) return;
    n->restart_ns = local_now(n->local) + after_ns;
    local_schedule(n->local, n->restart_ns, TIMER_RESTART, n->id);
}

void node_on_restart(struct local_node *n) {
    if (n->process || n->down_count || n->stays_down || n->restart_ns == 0 || local_now(n->local) < n->restart_ns)
        return;
    n->restart_ns = 0;
    struct error e;
    if (node_start(n, &e) == 0) return;
    snprintf(n->ended, sizeof n->ended, "n%u did not start: %.*s", n->id + 1u, (int)sizeof n->ended - 40, e.text);
    node_note(n, n->ended);
    node_restart_later(n, SUPERVISOR_NS);
}
