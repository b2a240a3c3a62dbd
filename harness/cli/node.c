/* harrow node: one replica of the bundled store as a process of its own. Its options are its own, too: they describe
 * one machine of a cluster, where those of the other commands describe a run. */
#include "harness/cli/cli.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <unistd.h>

#include "targets/node/node.h"
#include "targets/node/wire.h"

enum {
    NODE_ID,
    NODE_PEERS,
    NODE_CLIENTS,
    NODE_METRICS,
    NODE_DATA,
    NODE_PROTOCOL,
    NODE_MUTANT,
    NODE_ELECTION_TIMEOUT,
    NODE_HEARTBEAT,
    NODE_READS,
    NODE_CLOCK_DRIFT,
    NODE_SNAPSHOT_ENTRIES,
    NODE_MESSAGE_BYTES,
    NODE_SEED,
    NODE_CONTROL,
    NODE_RECORD,
    NODE_RECORD_MAX,
    NODE_LOG_LEVEL,
    NODE_CLUSTER,
    NODE_OPTIONS,
};

static const char *const names[] = {
    [NODE_ID] = "id",
    [NODE_PEERS] = "peers",
    [NODE_CLIENTS] = "clients",
    [NODE_METRICS] = "metrics",
    [NODE_DATA] = "data",
    [NODE_PROTOCOL] = "protocol",
    [NODE_MUTANT] = "mutant",
    [NODE_ELECTION_TIMEOUT] = "election-timeout",
    [NODE_HEARTBEAT] = "heartbeat",
    [NODE_READS] = "reads",
    [NODE_CLOCK_DRIFT] = "clock-drift-ppm",
    [NODE_SNAPSHOT_ENTRIES] = "snapshot-entries",
    [NODE_MESSAGE_BYTES] = "message-bytes",
    [NODE_SEED] = "seed",
    [NODE_CONTROL] = "control",
    [NODE_RECORD] = "record",
    [NODE_RECORD_MAX] = "record-max-mib",
    [NODE_LOG_LEVEL] = "log-level",
    [NODE_CLUSTER] = "cluster",
};

struct arguments {
    struct node_options o;
    const char *peers, *clients, *protocol, *mutant;
    uint64_t id, metrics, election_ms, heartbeat_ms, drift_ppm, snapshot_entries, message_bytes, control,
        record_max_mib;
    bool control_given, help;
};

static int number(const char *name, const char *text, uint64_t low, uint64_t high, uint64_t *out, struct error *e) {
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || v < low || v > high)
        return error_set(e, "--%s takes a number from %llu to %llu, not \"%s\"", name, (unsigned long long)low,
                         (unsigned long long)high, text);
    *out = v;
    return 0;
}

static int one_of(const char *name, const char *text, const char *const *choices, size_t count, uint32_t *out,
                  struct error *e) {
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(choices[i], text)) continue;
        *out = i;
        return 0;
    }
    const char *near = nearest(text, choices, count);
    return error_set(e, "--%s: there is no \"%s\"; `harrow help node` lists what there is%s%s", name, text,
                     near ? ", perhaps " : "", near ? near : "");
}

static int resolve(char *address, struct sockaddr_in *out, struct error *e) {
    char *colon = strrchr(address, ':');
    uint64_t port;
    if (!colon || colon == address) return error_set(e, "\"%s\" is not HOST:PORT", address);
    if (number("peers", colon + 1, 1, UINT16_MAX, &port, NULL))
        return error_set(e, "\"%s\": the port must be a number from 1 to 65535", address);
    *colon = 0;
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    int rc = getaddrinfo(address, NULL, &hints, &found);
    if (rc)
        return error_set(e, "host \"%s\": %s; give an IPv4 address or a name that has one", address, gai_strerror(rc));
    memcpy(out, found->ai_addr, sizeof *out);
    out->sin_port = htons((uint16_t)port);
    freeaddrinfo(found);
    return 0;
}

/* HOST:PORT,HOST:PORT,...; returns how many, or -1. */
static int resolve_all(const char *name, const char *text, struct sockaddr_in *out, struct error *e) {
    char *copy = xstrdup(text), *rest = copy, *address;
    int count = 0;
    while (count >= 0 && (address = strsep(&rest, ","))) {
        if (count == PROTOCOL_NODES_MAX)
            count = error_set(e, "--%s: at most %d nodes", name, PROTOCOL_NODES_MAX);
        else if (resolve(address, &out[count], e))
            count = -1;
        else
            count++;
    }
    free(copy);
    return count;
}

static int take(struct arguments *a, uint32_t option, const char *value, struct error *e) {
    static const char *const reads[] = {"log", "index", "lease", "local"};
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    uint32_t choice = 0;
    int rc = 0;
    switch (option) {
    case NODE_ID: return number("id", value, 1, PROTOCOL_NODES_MAX, &a->id, e);
    case NODE_PEERS: a->peers = value; return 0;
    case NODE_CLIENTS: a->clients = value; return 0;
    case NODE_METRICS: return number("metrics", value, 0, UINT16_MAX, &a->metrics, e);
    case NODE_DATA: a->o.data = value; return 0;
    case NODE_PROTOCOL: a->protocol = value; return 0;
    case NODE_MUTANT: a->mutant = value; return 0;
    case NODE_ELECTION_TIMEOUT: return number("election-timeout", value, 10, 3600000, &a->election_ms, e);
    case NODE_HEARTBEAT: return number("heartbeat", value, 1, 3600000, &a->heartbeat_ms, e);
    case NODE_READS:
        rc = one_of("reads", value, reads, 4, &choice, e);
        a->o.reads = (enum protocol_reads)choice;
        return rc;
    case NODE_CLOCK_DRIFT: return number("clock-drift-ppm", value, 0, PPM, &a->drift_ppm, e);
    case NODE_SNAPSHOT_ENTRIES: return number("snapshot-entries", value, 0, UINT32_MAX, &a->snapshot_entries, e);
    case NODE_MESSAGE_BYTES:
        return number("message-bytes", value, NODE_MESSAGE_BYTES_MIN, NODE_MESSAGE_BYTES_MAX, &a->message_bytes, e);
    case NODE_SEED: return number("seed", value, 0, UINT64_MAX, &a->o.seed, e);
    case NODE_CONTROL: a->control_given = true; return number("control", value, 0, INT32_MAX, &a->control, e);
    case NODE_RECORD: a->o.record = value; return 0;
    case NODE_RECORD_MAX: return number("record-max-mib", value, 1, UINT32_MAX, &a->record_max_mib, e);
    case NODE_LOG_LEVEL:
        rc = one_of("log-level", value, levels, 4, &choice, e);
        a->o.log_level = (enum log_level)choice;
        return rc;
    case NODE_CLUSTER: a->o.cluster = value; return 0;
    default: return -1;
    }
}

/* "--name value" or "--name=value". */
static int read_arguments(struct arguments *a, int argc, char **argv, struct error *e) {
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            a->help = true;
            return 0;
        }
        if (strncmp(word, "--", 2) != 0) return error_set(e, "node takes options only, not \"%s\"", word);
        size_t size = strcspn(word + 2, "=");
        uint32_t option = 0;
        while (option < NODE_OPTIONS && (strlen(names[option]) != size || strncmp(names[option], word + 2, size)))
            option++;
        if (option == NODE_OPTIONS) {
            const char *near = nearest(word + 2, names, NODE_OPTIONS);
            return error_set(e, "there is no option %s%s%s; `harrow help node` lists them", word,
                             near ? ", perhaps --" : "", near ? near : "");
        }
        const char *value = word[2 + size] ? word + 3 + size : i + 1 < argc ? argv[++i] : NULL;
        if (!value) return error_set(e, "%s needs a value; see `harrow help node`", word);
        if (take(a, option, value, e)) return -1;
    }
    return 0;
}

static int complete_clients(struct arguments *a, struct error *e) {
    struct node_options *o = &a->o;
    if (a->clients) {
        int count = resolve_all("clients", a->clients, o->clients, e);
        if (count >= 0 && count != o->nodes)
            return error_set(e, "--clients has %d addresses and --peers %u; each node needs one", count, o->nodes);
        return count < 0 ? -1 : 0;
    }
    for (uint8_t i = 0; i < o->nodes; i++) {
        o->clients[i] = o->peers[i];
        o->clients[i].sin_port = htons((uint16_t)(ntohs(o->peers[i].sin_port) + 1));
    }
    return 0;
}

static int complete(struct arguments *a, struct error *e) {
    struct node_options *o = &a->o;
    if (!a->id || !a->peers || !o->data)
        return error_set(e, "node needs --id N, --peers HOST:PORT,... and --data DIR; see `harrow help node`");
    int count = resolve_all("peers", a->peers, o->peers, e);
    if (count < 0) return -1;
    if (a->id > (uint64_t)count) return error_set(e, "--id %d, but --peers has %d addresses", (int)a->id, count);
    o->self = (uint8_t)(a->id - 1);
    o->nodes = (uint8_t)count;
    if (complete_clients(a, e)) return -1;
    o->protocol = protocol_find(a->protocol);
    if (!o->protocol) return error_set(e, "there is no protocol \"%s\"; `harrow targets` lists them", a->protocol);
    o->mutant = a->mutant ? mutant_find(a->mutant) : NULL;
    if (a->mutant && (!o->mutant || strcmp(o->mutant->protocol, a->protocol)))
        return error_set(e, "there is no mutant \"%s\" of %s; `harrow mutants` lists them", a->mutant, a->protocol);
    if (a->heartbeat_ms >= a->election_ms)
        return error_set(e, "--heartbeat %d must be below --election-timeout %d", (int)a->heartbeat_ms,
                         (int)a->election_ms);
    o->metrics_port = (uint16_t)a->metrics;
    o->election_timeout_ns = a->election_ms * NS_PER_MS;
    o->heartbeat_ns = a->heartbeat_ms * NS_PER_MS;
    o->clock_drift_ppm_max = (uint32_t)a->drift_ppm;
    o->snapshot_entries = (uint32_t)a->snapshot_entries;
    o->message_bytes = (uint32_t)a->message_bytes;
    o->record_bytes_max = a->record_max_mib << 20;
    o->control = a->control_given ? (int)a->control : -1;
    return 0;
}

int command_node(struct cli *c) {
    struct arguments a = {.o = {.cluster = "harrow", .log_level = LOG_INFO, .reads = PROTOCOL_READ_INDEX},
                          .protocol = "raft",
                          .election_ms = 300,
                          .heartbeat_ms = 50,
                          .snapshot_entries = 10000,
                          .message_bytes = 128 << 10,
                          .record_max_mib = 1024};
    a.o.seed = cli_random_seed();
    struct error e = {{0}};
    if (read_arguments(&a, c->argc, c->argv, &e)) return cli_fail(EXIT_USAGE, c, &e);
    if (a.help) {
        print_command_help(c->command, stdout);
        return EXIT_VALID;
    }
    if (complete(&a, &e)) return cli_fail(EXIT_USAGE, c, &e);
    int status = node_run(&a.o, &e);
    return status == NODE_STOPPED ? EXIT_VALID : cli_fail(status, c, &e);
}
