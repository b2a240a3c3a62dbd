/* Starting, asking and measuring a node process for the tests of abuse. */
#include "tests/live_node.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

enum { PATIENCE_S = 60, LEAKS = 77 };

int __lsan_do_recoverable_leak_check(void) __attribute__((weak)); /* there when sanitizers are */

/* Of a port that was free a moment ago. */
static struct sockaddr_in free_address(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    close(fd);
    return a;
}

void live_prepare(struct live_node *l, uint8_t nodes) {
    memset(l, 0, sizeof *l);
    snprintf(l->folder, sizeof l->folder, "/tmp/harrow-abuse-XXXXXX");
    assert_non_null(mkdtemp(l->folder));
    snprintf(l->data, sizeof l->data, "%s/data", l->folder);
    snprintf(l->log, sizeof l->log, "%s/log", l->folder);
    l->o = (struct node_options){.nodes = nodes,
                                 .data = l->data,
                                 .cluster = "abuse",
                                 .protocol = protocol_at(0),
                                 .election_timeout_ns = 150 * NS_PER_MS,
                                 .heartbeat_ns = 30 * NS_PER_MS,
                                 .reads = PROTOCOL_READ_INDEX,
                                 .snapshot_entries = 1000,
                                 .message_bytes = 64 << 10,
                                 .seed = 1,
                                 .control = -1,
                                 .record_bytes_max = UINT64_MAX,
                                 .log_level = LOG_WARNING};
    for (uint8_t i = 0; i < nodes; i++) {
        l->o.peers[i] = free_address();
        l->o.clients[i] = free_address();
    }
}

static void be_the_node(const struct live_node *l) {
    struct error e;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(open(l->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600), STDERR_FILENO);
    if (l->files_max) setrlimit(RLIMIT_NOFILE, &(struct rlimit){l->files_max, l->files_max});
    int status = node_run(&l->o, &e);
    if (status == 0 && __lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check()) status = LEAKS;
    _exit(status);
}

void live_start(struct live_node *l) {
    fflush(NULL);
    l->pid = fork();
    assert_true(l->pid >= 0);
    if (l->pid == 0) be_the_node(l);
    char address[32];
    struct error e;
    l->client = xcalloc(1, sizeof *l->client);
    snprintf(address, sizeof address, "127.0.0.1:%u", ntohs(l->o.clients[0].sin_port));
    assert_int_equal(kv_cluster_parse(l->client, address, &e), 0);
}

static void fail_with_log(const struct live_node *l, const char *what) {
    char text[4096] = {0};
    int fd = open(l->log, O_RDONLY | O_CLOEXEC);
    off_t size = lseek(fd, 0, SEEK_END);
    ssize_t n = pread(fd, text, sizeof text - 1, size > (off_t)sizeof text ? size - (off_t)sizeof text : 0);
    close(fd);
    fail_msg("%s; the end of its log: %s", what, n > 0 ? text : "(empty)");
}

int live_stop(struct live_node *l) {
    int status = 0;
    pid_t ended = 0;
    kv_cluster_close(l->client);
    free(l->client);
    l->client = NULL;
    kill(l->pid, SIGTERM);
    for (int i = 0; i < PATIENCE_S * 100 && ended == 0; i++) {
        ended = waitpid(l->pid, &status, WNOHANG);
        if (ended == 0) usleep(10000);
    }
    if (ended == 0) {
        kill(l->pid, SIGKILL);
        waitpid(l->pid, &status, 0);
        fail_with_log(l, "the node does not end");
    }
    if (status) fail_with_log(l, WIFSIGNALED(status) ? "the node died of a signal" : "the node ended with an error");
    return status;
}

static void remove_folder(const char *path) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
}

void live_forget(const struct live_node *l) {
    remove_folder(l->data);
}

void live_clean(const struct live_node *l) {
    remove_folder(l->folder);
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

uint64_t live_serves(struct live_node *l) {
    uint8_t text[24];
    struct buffer memory = {0};
    struct kv_result r;
    struct kv_command put = {.ops_count = 1}, get = {.ops_count = 1};
    int size = snprintf((char *)text, sizeof text, "%llu", (unsigned long long)++l->puts);
    put.ops[0] = (struct kv_op){.kind = KV_PUT, .key = bytes_str("honest")};
    put.ops[0].value = (struct kv_value){.kind = KV_BYTES, .bytes = bytes_of(text, (size_t)size)};
    get.ops[0] = (struct kv_op){.kind = KV_GET, .key = bytes_str("honest")};
    uint64_t began = monotonic_ns();
    l->client->deadline_ns = began + PATIENCE_S * NS_PER_S;
    if (kv_call(l->client, &put, &memory, &r)) fail_with_log(l, l->client->why);
    assert_int_equal(r.status, KV_OK);
    if (kv_call(l->client, &get, &memory, &r)) fail_with_log(l, l->client->why);
    assert_true(r.values_count == 1 && bytes_equal(r.values[0].bytes, put.ops[0].value.bytes));
    buffer_free(&memory);
    return monotonic_ns() - began;
}

void live_status(struct live_node *l, struct wire_status *out) {
    struct buffer frame = {0}, answer = {0};
    bool sent, told = false;
    wire_append(&frame, WIRE_ASK, NULL, 0);
    l->client->deadline_ns = monotonic_ns() + PATIENCE_S * NS_PER_S;
    while (!told && monotonic_ns() < l->client->deadline_ns)
        told = kv_ask(l->client, 0, WIRE_ASK, bytes_of(frame.data, frame.size), WIRE_STATUS, 0, PATIENCE_S * NS_PER_S,
                      &answer, &sent) == 0;
    if (!told) fail_with_log(l, l->client->why);
    assert_true(wire_status_decode(bytes_of(answer.data, answer.size), out));
    buffer_free(&frame);
    buffer_free(&answer);
}

uint32_t live_log_count(const struct live_node *l, const char *text) {
    uint32_t count = 0;
    char *line = NULL;
    size_t capacity = 0;
    FILE *in = fopen(l->log, "r");
    if (!in) return 0;
    while (getline(&line, &capacity, in) > 0) count += strstr(line, text) != NULL;
    free(line);
    fclose(in);
    return count;
}

void live_await_log(const struct live_node *l, const char *text) {
    for (int i = 0; i < PATIENCE_S * 50 && live_log_count(l, text) == 0; i++) usleep(20000);
    if (live_log_count(l, text) == 0) fail_with_log(l, text);
}

/* --- measuring ---------------------------------------------------------------------------------------------------- */

size_t live_descriptors(const struct live_node *l) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)l->pid);
    DIR *d = opendir(path);
    assert_non_null(d);
    size_t count = 0;
    while (readdir(d)) count++;
    closedir(d);
    return count;
}

void live_await_descriptors(const struct live_node *l, size_t most) {
    for (int i = 0; i < PATIENCE_S * 20 && live_descriptors(l) > most; i++) usleep(50000);
    assert_in_range(live_descriptors(l), 1, most);
}

uint64_t live_resident_kb(const struct live_node *l) {
    char path[64], line[256];
    uint64_t kb = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)l->pid);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    while (fgets(line, sizeof line, in))
        if (strncmp(line, "VmRSS:", 6) == 0) kb = strtoull(line + 6, NULL, 10);
    fclose(in);
    return kb;
}

/* --- reaching ----------------------------------------------------------------------------------------------------- */

uint16_t live_free_port(void) {
    return ntohs(free_address().sin_port);
}

int live_reach(const struct sockaddr_in *to) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = PATIENCE_S};
    if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)to, sizeof *to) == 0) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

void live_append_hello(struct buffer *out, uint64_t cluster, uint8_t from, uint8_t to, const char *protocol) {
    uint8_t hello[10];
    memcpy(hello, &cluster, 8);
    hello[8] = from;
    hello[9] = to;
    struct bytes parts[] = {bytes_of(hello, sizeof hello), bytes_str(protocol ? protocol : "")};
    wire_append(out, WIRE_HELLO, parts, 2);
}

bool live_closes(int fd) {
    struct timeval patience = {.tv_sec = PATIENCE_S};
    uint8_t dump[4096];
    ssize_t n;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    while ((n = recv(fd, dump, sizeof dump, 0)) > 0) continue;
    return n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

uint64_t live_fuzz_seconds(uint64_t usual) {
    const char *text = getenv("FUZZ_SECONDS");
    uint64_t wanted = text ? strtoull(text, NULL, 10) : 0;
    return wanted > 60 ? wanted : usual;
}
