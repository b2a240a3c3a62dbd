/* Live nodes under abuse: strangers that send rubbish, clients that send bent requests, resets, silence, crumbs, and
 * thousands of connections, while an honest client must be served. FUZZ_SECONDS=600 makes it long. */
#include "harness/cli/kv_internal.h"
#include "targets/node/node.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { HELD_MAX = 64, CONNECTIONS = 10000, RSS_KB_MAX = 512 << 10 };

struct live {
    char folder[64], data[80];
    pid_t pid;
    struct node_options o;
    struct kv_cluster *client;
    struct prng prng;
    int held[HELD_MAX];
    uint64_t puts;
};

static struct sockaddr_in free_address(void) { /* of a port that was free a moment ago */
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    close(fd);
    return a;
}

static void start(struct live *l, uint8_t nodes) {
    memset(l, 0, sizeof *l);
    snprintf(l->folder, sizeof l->folder, "/tmp/harrow-abuse-XXXXXX");
    assert_non_null(mkdtemp(l->folder));
    snprintf(l->data, sizeof l->data, "%s/data", l->folder);
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
                                 .log_level = LOG_ERROR};
    for (uint8_t i = 0; i < nodes; i++) {
        l->o.peers[i] = free_address();
        l->o.clients[i] = free_address();
    }
    fflush(NULL);
    l->pid = fork();
    assert_true(l->pid >= 0);
    if (l->pid == 0) {
        struct error e;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
        _exit(node_run(&l->o, &e));
    }
    prng_seed(&l->prng, 1, nodes);
    for (int i = 0; i < HELD_MAX; i++) l->held[i] = -1;
    l->client = xcalloc(1, sizeof *l->client);
    char address[32];
    struct error e;
    snprintf(address, sizeof address, "127.0.0.1:%u", ntohs(l->o.clients[0].sin_port));
    assert_int_equal(kv_cluster_parse(l->client, address, &e), 0);
}

/* Ends the node and returns how it ended. */
static int stop(struct live *l) {
    char command[128];
    int status = 0;
    for (int i = 0; i < HELD_MAX; i++)
        if (l->held[i] >= 0) close(l->held[i]);
    kill(l->pid, SIGTERM);
    assert_int_equal(waitpid(l->pid, &status, 0), l->pid);
    kv_cluster_close(l->client);
    free(l->client);
    snprintf(command, sizeof command, "rm -rf '%s'", l->folder);
    assert_int_equal(system(command), 0);
    return status;
}

/* A value goes in and comes out again. */
static void serves(struct live *l) {
    uint8_t text[24];
    struct buffer memory = {0};
    struct kv_result r;
    struct kv_command put = {.ops_count = 1}, get = {.ops_count = 1};
    int size = snprintf((char *)text, sizeof text, "%llu", (unsigned long long)++l->puts);
    put.ops[0] = (struct kv_op){.kind = KV_PUT, .key = bytes_str("honest")};
    put.ops[0].value = (struct kv_value){.kind = KV_BYTES, .bytes = bytes_of(text, (size_t)size)};
    get.ops[0] = (struct kv_op){.kind = KV_GET, .key = bytes_str("honest")};
    l->client->deadline_ns = cli_wall_ns() + 30 * NS_PER_S;
    if (kv_call(l->client, &put, &memory, &r)) fail_msg("put %llu: %s", (unsigned long long)l->puts, l->client->why);
    assert_int_equal(r.status, KV_OK);
    if (kv_call(l->client, &get, &memory, &r)) fail_msg("get %llu: %s", (unsigned long long)l->puts, l->client->why);
    assert_true(r.values_count == 1 && bytes_equal(r.values[0].bytes, put.ops[0].value.bytes));
    buffer_free(&memory);
}

static size_t descriptors(const struct live *l) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)l->pid);
    DIR *d = opendir(path);
    assert_non_null(d);
    size_t count = 0;
    while (readdir(d)) count++;
    closedir(d);
    return count;
}

static void fewer_descriptors(const struct live *l, size_t most) {
    for (int i = 0; i < 300 && descriptors(l) > most; i++) usleep(50000);
    assert_in_range(descriptors(l), 1, most);
}

static long resident_kb(const struct live *l) {
    char path[64], line[256];
    long kb = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)l->pid);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    while (fgets(line, sizeof line, in))
        if (strncmp(line, "VmRSS:", 6) == 0) kb = atol(line + 6);
    fclose(in);
    return kb;
}

/* --- strangers ---------------------------------------------------------------------------------------------------- */

static int reach(const struct sockaddr_in *to) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)to, sizeof *to) == 0) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

static void transmit(int fd, struct bytes b) {
    send(fd, b.data, b.size, MSG_NOSIGNAL | MSG_DONTWAIT); /* what does not fit was abuse, too */
}

static void append_hello(struct buffer *out, uint64_t cluster, uint8_t from, uint8_t to) {
    uint8_t hello[10];
    memcpy(hello, &cluster, 8);
    hello[8] = from;
    hello[9] = to;
    wire_append(out, WIRE_HELLO, &(struct bytes){hello, sizeof hello}, 1);
}

static void append_noise(struct buffer *out, struct prng *p, size_t size) {
    buffer_reserve(out, size);
    for (size_t i = 0; i < size; i++) out->data[out->size++] = (uint8_t)prng_next(p);
}

/* A frame with a right checksum around bytes that are nearly a command. */
static void append_request(struct buffer *out, struct prng *p) {
    uint8_t bytes[256];
    struct kv_command c = {.ops_count = (uint8_t)prng_below(p, 4)};
    for (uint8_t i = 0; i < c.ops_count; i++)
        c.ops[i] = (struct kv_op){.kind = (uint8_t)prng_below(p, 6), .key = bytes_str("stranger")};
    c.session = prng_chance(p, 300000) ? prng_next(p) : 0;
    for (uint8_t i = 0; i < c.ops_count; i++) c.ops[i].value = (struct kv_value){.kind = KV_COUNTER, .counter = 1};
    memset(bytes, 0xff, 8);
    size_t size = 8 + kv_command_encode(&c, bytes + 8, sizeof bytes - 8);
    for (uint64_t i = prng_below(p, 4); i > 0; i--) bytes[prng_below(p, size)] ^= (uint8_t)prng_next(p);
    if (prng_chance(p, 100000)) size = prng_below(p, size);
    enum wire_type type = prng_chance(p, 800000) ? WIRE_REQUEST : (enum wire_type)prng_between(p, 1, WIRE_TYPES - 1);
    wire_append(out, type, &(struct bytes){bytes, size}, 1);
}

/* One act of abuse on one connection. */
static void abuse(struct live *l) {
    struct prng *p = &l->prng;
    bool at_peers = prng_chance(p, 300000);
    int fd = reach(at_peers ? &l->o.peers[0] : &l->o.clients[0]);
    if (fd < 0) return;
    struct buffer out = {0};
    uint64_t how = prng_below(p, 7);
    if (how != 0) append_hello(&out, prng_chance(p, 900000) ? 0 : prng_next(p), WIRE_CLIENT, NODE_NONE);
    if (how <= 1) append_noise(&out, p, prng_below(p, 2000));
    for (uint64_t i = prng_below(p, 40); i > 0 && how >= 2; i--) append_request(&out, p);
    if (how == 3 && out.size) out.data[prng_below(p, out.size)] ^= (uint8_t)(1u << prng_below(p, 8));
    if (how == 4) out.size = prng_below(p, out.size);
    for (size_t i = 0; how == 5 && i < out.size && i < 200; i++) transmit(fd, bytes_of(out.data + i, 1));
    if (how != 5) transmit(fd, bytes_of(out.data, out.size));
    buffer_free(&out);
    if (how == 6) { /* neither read nor closed, for a while */
        int *slot = &l->held[prng_below(p, HELD_MAX)];
        if (*slot >= 0) close(*slot);
        *slot = fd;
        return;
    }
    if (prng_chance(p, 300000)) /* a reset */
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    close(fd);
}

static uint64_t seconds(void) {
    const char *text = getenv("FUZZ_SECONDS");
    return text && atoi(text) > 0 ? (uint64_t)atoi(text) : 2;
}

static void an_honest_client_is_served_among_strangers(void **state) {
    (void)state;
    struct live l;
    start(&l, 1);
    serves(&l);
    size_t before = descriptors(&l);
    uint64_t end = cli_wall_ns() + seconds() * NS_PER_S, acts = 0;
    while (cli_wall_ns() < end) {
        abuse(&l);
        if (++acts % 50 == 0) serves(&l);
    }
    for (int i = 0; i < HELD_MAX; i++) {
        if (l.held[i] >= 0) close(l.held[i]);
        l.held[i] = -1;
    }
    serves(&l);
    fewer_descriptors(&l, before + 4);
    assert_in_range(resident_kb(&l), 1, RSS_KB_MAX);
    assert_true(acts > 100);
    assert_int_equal(stop(&l), 0);
}

static void ten_thousand_connections_do_not_stop_it(void **state) {
    (void)state;
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlim_t before_limit = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    size_t most = limit.rlim_max < CONNECTIONS + 200 ? (size_t)limit.rlim_max - 200 : CONNECTIONS;
    struct live l;
    start(&l, 1);
    serves(&l);
    size_t before = descriptors(&l), count = 0;
    int *fds = xcalloc(most, sizeof *fds);
    for (size_t i = 0; i < most; i++) {
        fds[i] = reach(&l.o.clients[0]);
        count += fds[i] >= 0;
        if (i % 1000 == 0) serves(&l);
    }
    if (most < CONNECTIONS) print_message("only %zu connections: the limit of open files is low\n", most);
    assert_true(count > most / 2);
    serves(&l);
    for (size_t i = 0; i < most; i++)
        if (fds[i] >= 0) close(fds[i]);
    free(fds);
    fewer_descriptors(&l, before + 4);
    serves(&l);
    assert_int_equal(stop(&l), 0);
    limit.rlim_cur = before_limit;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_honest_client_is_served_among_strangers),
        cmocka_unit_test(ten_thousand_connections_do_not_stop_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
