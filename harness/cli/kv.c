/* harrow kv: a person's and a script's client of the bundled store. */
#include "harness/cli/kv_internal.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "harness/bench/kv_load.h"

enum { TIMEOUT_DEFAULT_S = 5, SECONDS_DEFAULT = 5, CLIENTS_DEFAULT = 16, STATUS_TRY_NS = 1000000000 };

static int usage(const struct cli *c, const char *format, ...) PRINTF_LIKE(2, 3);
static int usage(const struct cli *c, const char *format, ...) {
    struct error e;
    va_list args;
    va_start(args, format);
    vsnprintf(e.text, sizeof e.text, format, args);
    va_end(args);
    return cli_fail(EXIT_USAGE, c, &e);
}

/* --- values ------------------------------------------------------------------------------------------------------- */

static int64_t element(struct bytes list, size_t i) {
    int64_t x;
    memcpy(&x, list.data + i * sizeof x, sizeof x);
    return x;
}

static void print_value(const struct kv_value *v) {
    if (v->kind == KV_COUNTER) printf("%lld", (long long)v->counter);
    if (v->kind == KV_BYTES) fwrite(v->bytes.data, 1, v->bytes.size, stdout);
    for (size_t i = 0; v->kind == KV_LIST && i < v->bytes.size / 8; i++)
        printf("%s%lld", i ? " " : "", (long long)element(v->bytes, i));
    putchar('\n');
}

/* Bytes that are no text become hexadecimal digits under a name of their own. */
static void set_value(json_t *root, const struct kv_value *v) {
    if (v->kind == KV_ABSENT) json_object_set_new(root, "value", json_null());
    if (v->kind == KV_COUNTER) json_object_set_new(root, "value", json_integer(v->counter));
    if (v->kind == KV_LIST) {
        json_t *list = json_array();
        for (size_t i = 0; i < v->bytes.size / 8; i++) json_array_append_new(list, json_integer(element(v->bytes, i)));
        json_object_set_new(root, "value", list);
    }
    if (v->kind != KV_BYTES) return;
    json_t *text = json_stringn((const char *)v->bytes.data, v->bytes.size);
    if (text) {
        json_object_set_new(root, "value", text);
        return;
    }
    struct buffer hex = {0};
    for (size_t i = 0; i < v->bytes.size; i++) buffer_printf(&hex, "%02x", v->bytes.data[i]);
    json_object_set_new(root, "value_hex", json_stringn((const char *)hex.data, hex.size));
    buffer_free(&hex);
}

/* --- one operation ------------------------------------------------------------------------------------------------ */

struct verb {
    const char *name;
    size_t arguments; /* after the verb */
    enum kv_op_kind kind;
    const char *usage;
};
static const struct verb verbs[] = {
    {"get", 1, KV_GET, "get KEY"},    {"put", 2, KV_PUT, "put KEY VALUE"},      {"cas", 3, KV_CAS, "cas KEY OLD NEW"},
    {"del", 1, KV_DELETE, "del KEY"}, {"append", 2, KV_APPEND, "append KEY N"}, {"add", 2, KV_ADD, "add KEY N"},
};

static int parse_integer(const char *text, int64_t *out) {
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno || end == text || *end ? -1 : 0;
}

static struct kv_value text_value(const char *text) {
    return (struct kv_value){.kind = KV_BYTES, .bytes = bytes_str(text)};
}

static int build(const struct cli *c, const struct verb *v, struct kv_op *op) {
    const char *const *a = c->arguments + 1;
    *op = (struct kv_op){.kind = (uint8_t)v->kind, .key = bytes_str(a[0])};
    if (op->key.size == 0 || op->key.size > KV_KEY_BYTES_MAX)
        return usage(c, "a key has 1 to %d bytes, this one %zu", KV_KEY_BYTES_MAX, op->key.size);
    for (size_t i = 1; i < v->arguments; i++)
        if (strlen(a[i]) > KV_VALUE_BYTES_MAX)
            return usage(c, "a value has at most %d bytes, this one %zu", KV_VALUE_BYTES_MAX, strlen(a[i]));
    if (v->kind == KV_PUT) op->value = text_value(a[1]);
    if (v->kind == KV_CAS) {
        op->expected = text_value(a[1]);
        op->value = text_value(a[2]);
    }
    if (v->kind != KV_APPEND && v->kind != KV_ADD) return 0;
    op->value.kind = KV_COUNTER;
    if (parse_integer(a[1], &op->value.counter))
        return usage(c, "\"%s\" is not a whole number of 64 bits: harrow kv %s", a[1], v->usage);
    return 0;
}

/* No result: whether the operation can have happened decides what a script may do next. */
static int unanswered(const struct cli *c, const struct kv_cluster *k, bool writes) {
    bool maybe = writes && k->ambiguous;
    const char *what = maybe ? "it may or may not have happened" : "it did not happen";
    if (!writes) what = "nothing was read";
    if (c->json) cli_print_json(json_pack("{s:s, s:b, s:s}", "status", "unknown", "ambiguous", maybe, "why", k->why));
    fprintf(stderr, "harrow kv: no answer in time: %s (%s)\n", what, k->why);
    return EXIT_UNKNOWN;
}

static const char *const refusals[] = {
    [KV_OK] = "ok",
    [KV_CAS_MISMATCH] = "mismatch",
    [KV_WRONG_TYPE] = "the key holds a value of another type",
    [KV_TOO_LARGE] = "too large for this cluster",
    [KV_NO_SESSION] = "the session has expired; it may or may not have happened",
    [KV_STALE] = "the session has moved on; it may or may not have happened",
    [KV_BAD_COMMAND] = "the cluster does not understand this command",
};

static int answer(const struct cli *c, const struct verb *v, const struct kv_result *r) {
    const struct kv_value *value = &r->values[0];
    bool absent = r->values_count == 0 || value->kind == KV_ABSENT;
    bool found = !absent && (v->kind != KV_DELETE || value->counter != 0);
    bool reads = v->kind == KV_GET || v->kind == KV_DELETE;
    int status = r->status == KV_OK                                    ? (reads && !found ? EXIT_INVALID : EXIT_VALID)
                 : r->status == KV_NO_SESSION || r->status == KV_STALE ? EXIT_UNKNOWN
                                                                       : EXIT_INVALID;
    if (c->json) {
        json_t *root = json_pack("{s:s, s:I}", "status", refusals[r->status], "revision", (json_int_t)r->revision);
        if (r->values_count) set_value(root, value);
        cli_print_json(root);
    } else if (r->status == KV_CAS_MISMATCH) {
        fprintf(stderr, "harrow kv: %s\n", absent ? "mismatch: there is no such key" : "mismatch: the value is");
        if (!absent) print_value(value);
    } else if (r->status != KV_OK) {
        fprintf(stderr, "harrow kv: %s\n", refusals[r->status]);
    } else if (reads && !found) {
        fprintf(stderr, "harrow kv: there is no key \"%s\"\n", c->arguments[1]);
    } else if (v->kind != KV_DELETE && !absent) {
        print_value(value);
    }
    return status;
}

/* A write goes through a session of its own, so that a second try of it is not a second write. */
static int operate(const struct cli *c, struct kv_cluster *k, const struct verb *v) {
    struct kv_command command;
    struct kv_result result;
    struct buffer memory = {0};
    memset(&command, 0, sizeof command);
    if (build(c, v, &command.ops[0])) return EXIT_USAGE;
    int status = EXIT_UNKNOWN;
    bool writes = v->kind != KV_GET;
    if (writes && kv_call(k, &command, &memory, &result)) {
        k->ambiguous = false; /* a session at most */
        status = unanswered(c, k, true);
    } else {
        command.session = writes ? result.session : 0;
        command.sequence = writes;
        command.ops_count = 1;
        status = kv_call(k, &command, &memory, &result) ? unanswered(c, k, writes) : answer(c, v, &result);
    }
    buffer_free(&memory);
    return status;
}

/* --- status ------------------------------------------------------------------------------------------------------- */

struct seen {
    bool there;
    struct wire_status status;
    char why[256];
};

static void look(struct kv_cluster *k, uint32_t node, struct seen *out) {
    struct buffer memory = {0};
    bool sent;
    out->there = kv_ask(k, node, WIRE_ASK, bytes_of(NULL, 0), WIRE_STATUS, 0, STATUS_TRY_NS, &memory, &sent) == 0 &&
                 wire_status_decode(bytes_of(memory.data, memory.size), &out->status);
    snprintf(out->why, sizeof out->why, "%s", *k->why ? k->why : "an answer that makes no sense");
    buffer_free(&memory);
}

static const char *role_name(uint8_t role) {
    static const char *const names[] = {"follower", "candidate", "leader", "peer"};
    return role < 4 ? names[role] : "unknown";
}

static json_t *status_json(const struct kv_node *n, uint32_t number, const struct seen *s, uint64_t lag) {
    const struct wire_status *w = &s->status;
    if (!s->there)
        return json_pack("{s:I, s:s, s:b, s:s}", "node", (json_int_t)number, "address", n->name, "up", 0, "why",
                         s->why);
    char hash[20];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)w->state_hash);
    json_t *leader = w->leader == NODE_NONE ? json_null() : json_integer(w->leader + 1);
    return json_pack("{s:I, s:s, s:b, s:s, s:I, s:o, s:I, s:I, s:I, s:I, s:s, s:b, s:s}", "node", (json_int_t)number,
                     "address", n->name, "up", 1, "role", role_name(w->role), "term", (json_int_t)w->term, "leader",
                     leader, "commit", (json_int_t)w->commit_index, "applied", (json_int_t)w->applied_index, "last",
                     (json_int_t)w->last_index, "lag", (json_int_t)lag, "state_hash", hash, "serving", w->serving != 0,
                     "reason", w->reason);
}

static void status_line(const struct kv_node *n, uint32_t number, const struct seen *s, uint64_t lag) {
    const struct wire_status *w = &s->status;
    char leader[8] = "-";
    if (!s->there) {
        printf("n%-4u %-22s down       %s\n", number, n->name, s->why);
        return;
    }
    if (w->leader != NODE_NONE) snprintf(leader, sizeof leader, "n%u", w->leader + 1u);
    printf("n%-4u %-22s %-10s %6llu  %-6s %10llu %10llu %6llu  %s\n", number, n->name, role_name(w->role),
           (unsigned long long)w->term, leader, (unsigned long long)w->commit_index,
           (unsigned long long)w->applied_index, (unsigned long long)lag, w->serving ? "serving" : w->reason);
}

static int show_status(const struct cli *c, struct kv_cluster *k) {
    struct seen seen[PROTOCOL_NODES_MAX];
    uint64_t commit = 0;
    bool all = true;
    for (uint32_t i = 0; i < k->count; i++) {
        look(k, i, &seen[i]);
        all &= seen[i].there && seen[i].status.serving;
        if (seen[i].there && seen[i].status.commit_index > commit) commit = seen[i].status.commit_index;
    }
    json_t *list = json_array();
    if (!c->json) printf("node  %-22s role         term  leader     commit    applied    lag\n", "address");
    for (uint32_t i = 0; i < k->count; i++) {
        uint64_t lag = seen[i].there ? commit - seen[i].status.applied_index : 0;
        if (c->json)
            json_array_append_new(list, status_json(&k->nodes[i], i + 1, &seen[i], lag));
        else
            status_line(&k->nodes[i], i + 1, &seen[i], lag);
    }
    if (c->json)
        cli_print_json(list);
    else
        json_decref(list);
    return all ? EXIT_VALID : EXIT_INVALID;
}

/* --- transfer ----------------------------------------------------------------------------------------------------- */

/* The node that says that it leads, with the highest term; -1: none. `*leaderless`: one says that none ever does. */
static int find_leader(struct kv_cluster *k, struct seen *out, bool *leaderless) {
    int leader = -1;
    for (uint32_t i = 0; i < k->count; i++) {
        struct seen s;
        look(k, i, &s);
        if (s.there && s.status.role == PROTOCOL_PEER) *leaderless = true;
        if (!s.there || s.status.role != PROTOCOL_LEADER || (leader >= 0 && s.status.term < out->status.term)) continue;
        leader = (int)i;
        *out = s;
    }
    return leader;
}

static int no_leader(const struct cli *c) {
    if (c->json) cli_print_json(json_pack("{s:b, s:I}", "transferred", 0, "leader", (json_int_t)0));
    fprintf(stderr, "harrow kv: these nodes run a protocol without a leader: there is no leadership to hand over\n");
    return EXIT_INVALID;
}

static int transfer(const struct cli *c, struct kv_cluster *k) {
    const char *text = c->arguments[1];
    int64_t number;
    if (parse_integer(*text == 'n' ? text + 1 : text, &number) || number < 1 || number > k->count)
        return usage(c, "\"%s\" is not one of the %u nodes of --nodes", text, k->count);
    uint8_t to = (uint8_t)(number - 1);
    struct seen s = {0};
    struct buffer none = {0};
    int leader = -1;
    while (monotonic_ns() < k->deadline_ns) {
        bool sent, leaderless = false;
        leader = find_leader(k, &s, &leaderless);
        if (leaderless) return no_leader(c);
        if (leader == to) break;
        if (leader >= 0)
            kv_ask(k, (uint32_t)leader, WIRE_TRANSFER, bytes_of(&to, 1), WIRE_TYPES, 0, STATUS_TRY_NS, &none, &sent);
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    bool done = leader == to;
    if (c->json)
        cli_print_json(json_pack("{s:b, s:I}", "transferred", done, "leader", (json_int_t)leader + 1));
    else if (done)
        printf("n%u leads, term %llu\n", to + 1u, (unsigned long long)s.status.term);
    if (!done) fprintf(stderr, "harrow kv: n%u does not lead in time; is it up and has it the whole log?\n", to + 1u);
    return done ? EXIT_VALID : EXIT_UNKNOWN;
}

/* --- bench -------------------------------------------------------------------------------------------------------- */

static void print_load(const struct cli *c, const struct kv_load_options *o, const struct kv_load_result *r) {
    double seconds = (double)r->elapsed_ns / 1e9, rate = (double)r->ok / seconds;
    double own_us = r->ok ? (double)r->processor_ns / 1e3 / (double)r->ok : 0;
    if (c->json) {
        cli_print_json(json_pack("{s:I, s:f, s:I, s:f, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "clients",
                                 (json_int_t)o->clients, "seconds", seconds, "ok", (json_int_t)r->ok, "ops_per_second",
                                 rate, "refused", (json_int_t)r->refused, "lost", (json_int_t)r->lost, "p50_ms",
                                 (double)r->p50_ns / 1e6, "p90_ms", (double)r->p90_ns / 1e6, "p99_ms",
                                 (double)r->p99_ns / 1e6, "p999_ms", (double)r->p999_ns / 1e6, "max_ms",
                                 (double)r->max_ns / 1e6, "client_us_per_op", own_us));
        return;
    }
    printf("%u clients, %.1f s: %llu operations, %.0f a second", o->clients, seconds, (unsigned long long)r->ok, rate);
    printf("; %llu refused, %llu lost\n", (unsigned long long)r->refused, (unsigned long long)r->lost);
    printf("latency p50 %.3f ms, p90 %.3f ms, p99 %.3f ms, p99.9 %.3f ms, max %.3f ms\n", (double)r->p50_ns / 1e6,
           (double)r->p90_ns / 1e6, (double)r->p99_ns / 1e6, (double)r->p999_ns / 1e6, (double)r->max_ns / 1e6);
    printf("the clients themselves took %.2f us of processor time an operation\n", own_us);
}

/* 10,000 connections are more than a shell usually grants at first. */
static void raise_files_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static int bench(const struct cli *c, const struct kv_cluster *k) {
    struct sockaddr_in nodes[PROTOCOL_NODES_MAX];
    for (uint32_t i = 0; i < k->count; i++) nodes[i] = k->nodes[i].address;
    uint64_t seconds = c->seconds_ns ? c->seconds_ns / NS_PER_S : SECONDS_DEFAULT;
    struct kv_load_options o = {.nodes = nodes,
                                .nodes_count = k->count,
                                .clients = c->clients ? c->clients : CLIENTS_DEFAULT,
                                .keys = c->keys ? c->keys : 1000,
                                .value_bytes = c->given & OPTION_BIT(OPTION_VALUE_BYTES) ? c->value_bytes : 16,
                                .seconds = seconds ? seconds : 1,
                                .interrupted = &cli_interrupted};
    const char *mix = c->mix ? c->mix : "put";
    if (strcmp(mix, "put") != 0 && strcmp(mix, "get") != 0 && strcmp(mix, "mixed") != 0)
        return usage(c, "--mix cannot be \"%s\"; it is put, get or mixed", mix);
    o.mix = strcmp(mix, "put") == 0 ? KV_LOAD_PUT : strcmp(mix, "get") == 0 ? KV_LOAD_GET : KV_LOAD_MIXED;
    raise_files_limit();
    cli_catch_interrupts();
    struct kv_load_result r;
    struct error e = {{0}};
    if (kv_load_run(&o, &r, &e)) return cli_fail(EXIT_UNKNOWN, c, &e);
    print_load(c, &o, &r);
    return r.ok ? EXIT_VALID : EXIT_UNKNOWN;
}

/* --- the command -------------------------------------------------------------------------------------------------- */

static int run(const struct cli *c, struct kv_cluster *k) {
    const char *verb = c->arguments[0];
    size_t given = c->arguments_count - 1;
    if (strcmp(verb, "status") == 0 && given == 0) return show_status(c, k);
    if (strcmp(verb, "transfer") == 0 && given == 1) return transfer(c, k);
    if (strcmp(verb, "bench") == 0 && given == 0) return bench(c, k);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(verb, verbs[i].name) != 0) continue;
        if (given != verbs[i].arguments) return usage(c, "it is: harrow kv %s", verbs[i].usage);
        return operate(c, k, &verbs[i]);
    }
    return usage(c, "there is no \"%s\" with %zu arguments; `harrow help kv` lists what there is", verb, given);
}

int command_kv(struct cli *c) {
    const char *nodes = c->nodes ? c->nodes : getenv("HARROW_NODES");
    struct kv_cluster *k = xcalloc(1, sizeof *k);
    struct error e = {{0}};
    int status = EXIT_USAGE;
    if (kv_cluster_parse(k, nodes && *nodes ? nodes : "127.0.0.1:7401", &e)) {
        cli_fail(status, c, &e);
    } else {
        k->deadline_ns = monotonic_ns() + (c->timeout_ns ? c->timeout_ns : TIMEOUT_DEFAULT_S * NS_PER_S);
        status = run(c, k);
    }
    kv_cluster_close(k);
    free(k);
    return status;
}
