/* The replay of a recording: the replica once more, with what the recording holds in place of sockets, clock and disk.
 * What it does is hashed and thrown away. */
#include <errno.h>
#include <stdio.h>

#include "targets/node/record_internal.h"

struct replay {
    struct disk disk; /* first: what the replica takes for its disk */
    struct bytes file;
    uint64_t offset; /* of the next record */
    const struct protocol *protocol;
    const struct mutant *mutant;
    struct replica *replica;
    struct limits limits; /* that the replica was made with */
    uint64_t effects, disk_calls, now_ns;
    bool cut; /* the recording ended inside an input */
    void (*trace)(void *ctx, const char *line);
    void *trace_ctx;
    struct replay_report *out;
};

/* --- telling ------------------------------------------------------------------------------------------------------ */

static void tell(struct replay *r, const char *format, ...) PRINTF_LIKE(2, 3);
static void tell(struct replay *r, const char *format, ...) {
    if (!r->trace) return;
    char line[512];
    int n = snprintf(line, sizeof line, "%12.6f  ", (double)(r->now_ns - r->out->first_ns) / 1e9);
    va_list args;
    va_start(args, format);
    vsnprintf(line + n, sizeof line - (size_t)n, format, args);
    va_end(args);
    r->trace(r->trace_ctx, line);
}

static void differ(struct replay *r, uint64_t input, const char *format, ...) PRINTF_LIKE(3, 4);
static void differ(struct replay *r, uint64_t input, const char *format, ...) {
    struct replay_report *out = r->out;
    if (out->differs) return;
    out->differs = true;
    out->differs_input = input;
    out->differs_ns = r->now_ns;
    va_list args;
    va_start(args, format);
    vsnprintf(out->differs_what, sizeof out->differs_what, format, args);
    va_end(args);
}

static const char *described(const struct replay *r, struct bytes message, char *text, size_t size) {
    *text = 0;
    r->protocol->describe(message, text, size);
    return text;
}

/* --- what the replica does ---------------------------------------------------------------------------------------- */

static const char *const status_names[] = {"ok", "not leader", "busy", "unknown"};
static const char *const role_names[] = {"follower", "candidate", "leader", "peer"};

static void env_send(void *ctx, uint8_t to, uint8_t message_kind, struct bytes bytes) {
    struct replay *r = ctx;
    char text[256];
    r->effects = effects_send(r->effects, to, message_kind, bytes);
    if (r->trace) tell(r, "  sends to n%u: %s", to + 1u, described(r, bytes, text, sizeof text));
}
static void env_timer(void *ctx, uint8_t id, uint64_t delay_ns) {
    struct replay *r = ctx;
    r->effects = effects_timer(r->effects, id, delay_ns);
    if (delay_ns == UINT64_MAX)
        tell(r, "  cancels timer %u", id);
    else
        tell(r, "  sets timer %u to %.3f ms", id, (double)delay_ns / 1e6);
}
static void env_respond(void *ctx, uint64_t token, enum status status, uint8_t leader, struct bytes result,
                        uint64_t index) {
    struct replay *r = ctx;
    r->effects = effects_respond(r->effects, token, status, leader, result, index);
    tell(r, "  answers request %llu: %s, %zu bytes", (unsigned long long)token, status_names[status & 3], result.size);
}
static void env_fatal(void *ctx, bool assertion, const char *reason) {
    struct replay *r = ctx;
    r->effects = effects_fatal(r->effects, reason);
    snprintf(r->out->stopped, sizeof r->out->stopped, "%s%s", assertion ? "assertion failed: " : "", reason);
    tell(r, "  stops itself: %s", reason);
}
static void env_observe(void *ctx, const struct effect *e) {
    struct replay *r = ctx;
    unsigned long long index = e->index, term = e->term;
    switch ((enum effect_kind)e->kind) {
    case EFFECT_APPEND: tell(r, "  appends index %llu of term %llu, %zu bytes", index, term, e->bytes.size); break;
    case EFFECT_TRUNCATE: tell(r, "  removes its log from index %llu on", index); break;
    case EFFECT_META: tell(r, "  writes term %llu, vote n%u", term, e->to == NODE_NONE ? 0u : e->to + 1u); break;
    case EFFECT_APPLY: tell(r, "  applies index %llu of term %llu", index, term); break;
    case EFFECT_ROLE: tell(r, "  is %s of term %llu", role_names[e->role % 4], term); break;
    case EFFECT_SNAPSHOT_TAKE: tell(r, "  takes a snapshot at index %llu", index); break;
    case EFFECT_SNAPSHOT_RECEIVE: tell(r, "  receives bytes of a snapshot at index %llu", index); break;
    case EFFECT_SEND:
    case EFFECT_READ_READY:
    case EFFECT_RESPOND:
    case EFFECT_TIMER:
    case EFFECT_FATAL: break;
    }
}
static void env_durable(void *ctx, uint64_t written) {
    tell(ctx, "  is durable up to write %llu", (unsigned long long)written);
}

/* --- what its disk answers ---------------------------------------------------------------------------------------- */

/* The recorded answer to the next call, or success. A call that brings something back has `wanted` bytes for it; more
 * may have been recorded of a list (SIZE_MAX: any number). */
static int answer(struct disk *d, const char *call, bool always, size_t wanted, struct bytes *read) {
    struct replay *r = (struct replay *)(void *)d;
    uint64_t number = r->disk_calls++, after = r->offset;
    struct record next;
    int found = recording_next(r->file, &after, &next, NULL);
    bool ours = found == 1 && next.type == RECORD_DISK && next.number == number;
    if (!ours && !always) return 0;
    if (!ours) {
        if (found == 0)
            r->cut = true;
        else
            differ(r, r->out->inputs, "it calls %s on the disk, which the node did not", call);
        return -EIO;
    }
    r->offset = after;
    if (next.status < 0) return next.status;
    if (wanted != SIZE_MAX && next.bytes.size != wanted) {
        differ(r, r->out->inputs, "it calls %s on the disk for %zu bytes, the node got %zu", call, wanted,
               next.bytes.size);
        return -EIO;
    }
    *read = next.bytes;
    return next.status;
}
static int simple(struct disk *d, const char *call) {
    struct bytes none;
    return answer(d, call, false, 0, &none);
}

static int disk_open(struct disk *d, const char *name, bool create, uint32_t *file) {
    (void)name, (void)create;
    struct bytes read;
    int status = answer(d, "open", true, sizeof *file, &read);
    if (status == 0) memcpy(file, read.data, sizeof *file);
    return status;
}
static int disk_close(struct disk *d, uint32_t file) {
    (void)file;
    return simple(d, "close");
}
static int disk_size(struct disk *d, uint32_t file, uint64_t *size) {
    (void)file;
    struct bytes read;
    int status = answer(d, "size", true, sizeof *size, &read);
    if (status == 0) memcpy(size, read.data, sizeof *size);
    return status;
}
static int disk_read(struct disk *d, uint32_t file, uint64_t offset, void *data, size_t size) {
    (void)file, (void)offset;
    struct bytes read;
    int status = answer(d, "read", true, size, &read);
    if (status == 0 && size) memcpy(data, read.data, size);
    return status;
}
static int disk_write(struct disk *d, uint32_t file, uint64_t offset, const void *data, size_t size) {
    struct replay *r = (struct replay *)(void *)d;
    r->effects = effects_write(r->effects, file, offset, bytes_of(data, size));
    tell(r, "  writes %zu bytes at %llu of file %u", size, (unsigned long long)offset, file);
    return simple(d, "write");
}
static int disk_truncate(struct disk *d, uint32_t file, uint64_t size) {
    (void)file, (void)size;
    return simple(d, "truncate");
}
static int disk_sync(struct disk *d, uint32_t file, uint64_t cookie) {
    (void)file, (void)cookie;
    return simple(d, "sync");
}
static int disk_sync_now(struct disk *d, uint32_t file) {
    (void)file;
    return simple(d, "sync_now");
}
static int disk_rename(struct disk *d, const char *from, const char *to) {
    (void)from, (void)to;
    return simple(d, "rename");
}
static int disk_remove(struct disk *d, const char *name) {
    (void)name;
    return simple(d, "remove");
}
static int disk_sync_dir(struct disk *d) {
    return simple(d, "sync_dir");
}
static int disk_list(struct disk *d, char names[][DISK_NAME_MAX + 1], size_t names_max) {
    struct bytes read = {0};
    int status = answer(d, "list", true, SIZE_MAX, &read);
    if (status < 0) return status;
    size_t there = read.size / sizeof *names, wanted = (size_t)status < names_max ? (size_t)status : names_max;
    if (there != wanted) {
        differ((struct replay *)(void *)d, ((struct replay *)(void *)d)->out->inputs,
               "it lists %zu names, the node got %zu", wanted, there);
        return -EIO;
    }
    if (there) memcpy(names, read.data, there * sizeof *names);
    for (size_t i = 0; i < there; i++) names[i][DISK_NAME_MAX] = 0;
    return status;
}

static const struct disk_ops replayed_disk = {.open = disk_open,
                                              .close = disk_close,
                                              .size = disk_size,
                                              .read = disk_read,
                                              .write = disk_write,
                                              .truncate = disk_truncate,
                                              .sync = disk_sync,
                                              .sync_now = disk_sync_now,
                                              .rename = disk_rename,
                                              .remove = disk_remove,
                                              .sync_dir = disk_sync_dir,
                                              .list = disk_list};

/* --- inputs ------------------------------------------------------------------------------------------------------- */

static int start(struct replay *r, const struct record *input, struct error *e) {
    struct replay_report *out = r->out;
    if (!r->replica) {
        r->replica = replica_new(r->protocol, r->mutant, &input->config);
        r->limits = input->config.limits;
    }
    if (memcmp(&r->limits, &input->config.limits, sizeof r->limits) != 0)
        return error_set(e, "the recording changes the limits of its node at input %llu, which no node does",
                         (unsigned long long)out->inputs);
    out->starts++;
    out->self = input->config.self;
    out->nodes = input->config.nodes;
    *out->stopped = 0;
    struct replica_env env = {.ctx = r,
                              .disk = &r->disk,
                              .send = env_send,
                              .timer = env_timer,
                              .respond = env_respond,
                              .fatal = env_fatal,
                              .observe = r->trace ? env_observe : NULL,
                              .durable = r->trace ? env_durable : NULL};
    struct error why = {{0}};
    replica_stop(r->replica);
    tell(r, "input %llu: n%u starts", (unsigned long long)out->inputs, out->self + 1u);
    if (replica_start(r->replica, &input->config, &env, input->now_ns, &why) == 0) return 0;
    snprintf(out->stopped, sizeof out->stopped, "does not start: %.200s", why.text);
    tell(r, "  %s", out->stopped);
    return 0;
}

static void hand_on(struct replay *r, const struct record *input) {
    unsigned long long n = r->out->inputs;
    char text[256];
    switch ((enum record_type)input->type) {
    case RECORD_STOP:
        tell(r, "input %llu: stops", n);
        replica_stop(r->replica);
        break;
    case RECORD_MESSAGE:
        if (r->trace)
            tell(r, "input %llu: message from n%u: %s", n, input->node + 1u,
                 described(r, input->bytes, text, sizeof text));
        replica_message(r->replica, input->now_ns, input->node, input->bytes);
        break;
    case RECORD_TIMER:
        tell(r, "input %llu: timer %u", n, input->node);
        replica_timer(r->replica, input->now_ns, input->node);
        break;
    case RECORD_REQUEST:
        tell(r, "input %llu: request %llu, %zu bytes", n, (unsigned long long)input->number, input->bytes.size);
        replica_request(r->replica, input->now_ns, input->number, input->bytes);
        break;
    case RECORD_SYNCED:
        tell(r, "input %llu: synced, status %d", n, input->status);
        replica_synced(r->replica, input->now_ns, input->number, input->status);
        break;
    case RECORD_TRANSFER:
        tell(r, "input %llu: leadership to n%u", n, input->node == NODE_NONE ? 0u : input->node + 1u);
        replica_transfer(r->replica, input->now_ns, input->node);
        break;
    default: break;
    }
}

static int on_input(struct replay *r, const struct record *input, struct error *e) {
    struct replay_report *out = r->out;
    if (input->type != RECORD_START && !r->replica)
        return error_set(e, "the recording has an input before the start of its node");
    if (input->effects != r->effects)
        differ(r, out->inputs, "messages, answers, timers or disk writes of this input are not those recorded");
    if (input->type != RECORD_STOP) r->now_ns = input->now_ns; /* a stop carries no time */
    if (out->inputs == 0) out->first_ns = r->now_ns;
    out->inputs++;
    out->last_ns = r->now_ns;
    if (input->type == RECORD_START) {
        if (start(r, input, e)) return -1;
    } else {
        hand_on(r, input);
    }
    const char *broken = replica_check(r->replica);
    if (broken && !out->broken) {
        out->broken = broken;
        out->broken_input = out->inputs;
        out->broken_ns = r->now_ns;
    }
    return 0;
}

static void on_checkpoint(struct replay *r, const struct record *c) {
    if (!r->replica) return;
    if (c->number != r->out->inputs)
        differ(r, r->out->inputs, "the recording counts %llu inputs here", (unsigned long long)c->number);
    else if (c->effects != r->effects)
        differ(r, r->out->inputs, "messages, answers, timers or disk writes of this input are not those recorded");
    else if (c->running != replica_running(r->replica))
        differ(r, r->out->inputs, "the node was %s, the replay is not", c->running ? "running" : "stopped");
    else if (c->state_hash != replica_state_hash(r->replica))
        differ(r, r->out->inputs, "the state machine's hash was %016llx, is %016llx", (unsigned long long)c->state_hash,
               (unsigned long long)replica_state_hash(r->replica));
    else if (c->protocol_hash && c->protocol_hash != effects_state(r->replica))
        differ(r, r->out->inputs, "the protocol's state is not the recorded one");
}

/* --- the recording ------------------------------------------------------------------------------------------------ */

static void copy_text(char *out, size_t size, struct bytes text) {
    snprintf(out, size, "%.*s", (int)(text.size < size ? text.size : size), (const char *)text.data);
}

static int open_recording(struct replay *r, struct error *e) {
    struct record header;
    struct replay_report *out = r->out;
    if (!recording_begins(r->file, &r->offset)) return error_set(e, "this is not a recording of a node");
    int found = recording_next(r->file, &r->offset, &header, e);
    if (found < 0) return -1;
    if (found == 0) {
        out->cut = true;
        out->cut_offset = r->offset;
        return error_set(e, "the recording is empty");
    }
    if (header.type != RECORD_HEADER) return error_set(e, "the recording does not begin with its header");
    copy_text(out->protocol, sizeof out->protocol, header.protocol);
    copy_text(out->mutant, sizeof out->mutant, header.bytes);
    r->protocol = protocol_find(out->protocol);
    r->mutant = *out->mutant ? mutant_find(out->mutant) : NULL;
    if (!r->protocol) return error_set(e, "the recording is of protocol \"%s\", which is not here", out->protocol);
    if (*out->mutant && !r->mutant)
        return error_set(e, "the recording is of mutant \"%s\", which is not here", out->mutant);
    return 0;
}

static int run(struct replay *r, struct error *e) {
    struct record next;
    bool ended = false;
    int found = 1;
    while (!ended && !r->cut) {
        uint64_t at = r->offset;
        found = recording_next(r->file, &r->offset, &next, e);
        if (found <= 0) break;
        if (record_is_input(&next)) {
            if (on_input(r, &next, e)) return -1;
        } else if (next.type == RECORD_CHECKPOINT || next.type == RECORD_END) {
            on_checkpoint(r, &next);
            ended = next.type == RECORD_END;
        } else if (next.type == RECORD_DISK) {
            differ(r, r->out->inputs, "the node called the disk once more than the replay does");
        } else {
            return error_set(e, "the recording is damaged at offset %llu: a header where none belongs",
                             (unsigned long long)at);
        }
        if (r->out->differs) break;
    }
    if (found < 0) return -1;
    if (!ended && !r->out->differs) {
        r->out->cut = true;
        r->out->cut_offset = r->offset < r->file.size ? r->offset : r->file.size;
    }
    return 0;
}

int recording_replay(struct bytes file, void (*trace)(void *ctx, const char *line), void *ctx,
                     struct replay_report *out, struct error *e) {
    struct replay r = {.disk = {&replayed_disk}, .file = file, .trace = trace, .trace_ctx = ctx, .out = out};
    memset(out, 0, sizeof *out);
    int rc = open_recording(&r, e) ? -1 : run(&r, e);
    if (r.replica) {
        out->running = replica_running(r.replica);
        out->state_hash = replica_state_hash(r.replica);
        if (out->starts) replica_probe(r.replica, &out->probe);
    }
    replica_free(r.replica);
    return rc;
}
