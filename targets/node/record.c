/* The recorder: each input is written down, handed on, and what it did is hashed. */
#include <errno.h>
#include <stdlib.h>

#include "targets/node/record_internal.h"

/* The protocol's state is read in full, log and all: rarely enough to cost nothing. */
enum { PROTOCOL_HASH_INPUTS = 16 * RECORD_CHECKPOINT_INPUTS };

struct recorder {
    struct disk disk; /* first: what the replica takes for its disk */
    struct replica *replica;
    struct recording out;
    struct replica_env env; /* the owner's */
    bool recording;
    uint64_t bytes_max, inputs, effects, disk_calls;
};

/* --- what the replica does ---------------------------------------------------------------------------------------- */

static void env_send(void *ctx, uint8_t to, uint8_t message_kind, struct bytes bytes) {
    struct recorder *r = ctx;
    r->effects = effects_send(r->effects, to, message_kind, bytes);
    r->env.send(r->env.ctx, to, message_kind, bytes);
}
static void env_timer(void *ctx, uint8_t id, uint64_t delay_ns) {
    struct recorder *r = ctx;
    r->effects = effects_timer(r->effects, id, delay_ns);
    r->env.timer(r->env.ctx, id, delay_ns);
}
static void env_respond(void *ctx, uint64_t token, enum status status, uint8_t leader, struct bytes result,
                        uint64_t index) {
    struct recorder *r = ctx;
    r->effects = effects_respond(r->effects, token, status, leader, result, index);
    r->env.respond(r->env.ctx, token, status, leader, result, index);
}
static void env_fatal(void *ctx, bool assertion, const char *reason) {
    struct recorder *r = ctx;
    r->effects = effects_fatal(r->effects, reason);
    r->env.fatal(r->env.ctx, assertion, reason);
}
static void env_observe(void *ctx, const struct effect *e) {
    struct recorder *r = ctx;
    r->env.observe(r->env.ctx, e);
}
static void env_durable(void *ctx, uint64_t written) {
    struct recorder *r = ctx;
    r->env.durable(r->env.ctx, written);
}

/* --- what its disk answers ---------------------------------------------------------------------------------------- */

static struct recorder *of(struct disk *d) {
    return (struct recorder *)(void *)d;
}

/* Calls that bring something back are always recorded, the others when they fail. */
static int answered(struct disk *d, int status, bool always, struct bytes read) {
    struct recorder *r = of(d);
    uint64_t number = r->disk_calls++;
    if (status != 0 || always)
        recording_put(&r->out,
                      &(struct record){.type = RECORD_DISK, .number = number, .status = status, .bytes = read});
    return status;
}
static int done(struct disk *d, int status) {
    return answered(d, status, false, bytes_of(NULL, 0));
}

static int disk_open(struct disk *d, const char *name, bool create, uint32_t *file) {
    struct disk *real = of(d)->env.disk;
    *file = 0;
    int status = real->ops->open(real, name, create, file);
    return answered(d, status, true, bytes_of(file, sizeof *file));
}
static int disk_close(struct disk *d, uint32_t file) {
    struct disk *real = of(d)->env.disk;
    return done(d, real->ops->close(real, file));
}
static int disk_size(struct disk *d, uint32_t file, uint64_t *size) {
    struct disk *real = of(d)->env.disk;
    *size = 0;
    int status = real->ops->size(real, file, size);
    return answered(d, status, true, bytes_of(size, sizeof *size));
}
static int disk_read(struct disk *d, uint32_t file, uint64_t offset, void *data, size_t size) {
    struct disk *real = of(d)->env.disk;
    int status = real->ops->read(real, file, offset, data, size);
    return answered(d, status, true, bytes_of(data, status == 0 ? size : 0));
}
static int disk_write(struct disk *d, uint32_t file, uint64_t offset, const void *data, size_t size) {
    struct recorder *r = of(d);
    r->effects = effects_write(r->effects, file, offset, bytes_of(data, size));
    return done(d, r->env.disk->ops->write(r->env.disk, file, offset, data, size));
}
static int disk_truncate(struct disk *d, uint32_t file, uint64_t size) {
    struct disk *real = of(d)->env.disk;
    return done(d, real->ops->truncate(real, file, size));
}
static int disk_sync(struct disk *d, uint32_t file, uint64_t cookie) {
    struct disk *real = of(d)->env.disk;
    return done(d, real->ops->sync(real, file, cookie));
}
static int disk_sync_now(struct disk *d, uint32_t file) {
    struct disk *real = of(d)->env.disk;
    return done(d, real->ops->sync_now(real, file));
}
static int disk_rename(struct disk *d, const char *from, const char *to) {
    struct disk *real = of(d)->env.disk;
    return done(d, real->ops->rename(real, from, to));
}
static int disk_remove(struct disk *d, const char *name) {
    struct disk *real = of(d)->env.disk;
    return done(d, real->ops->remove(real, name));
}
static int disk_sync_dir(struct disk *d) {
    struct disk *real = of(d)->env.disk;
    return done(d, real->ops->sync_dir(real));
}
static int disk_list(struct disk *d, char names[][DISK_NAME_MAX + 1], size_t names_max) {
    struct disk *real = of(d)->env.disk;
    int count = real->ops->list(real, names, names_max);
    size_t there = count < 0 ? 0 : (size_t)count < names_max ? (size_t)count : names_max;
    return answered(d, count, true, bytes_of(names, there * sizeof *names));
}

static const struct disk_ops recorded_disk = {.open = disk_open,
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

/* --- life --------------------------------------------------------------------------------------------------------- */

struct recorder *recorder_new(const struct protocol *p, const struct mutant *m, const struct config *c,
                              const char *path, uint64_t bytes_max, struct error *e) {
    struct recorder *r = xcalloc(1, sizeof *r);
    r->bytes_max = bytes_max;
    r->disk.ops = &recorded_disk;
    r->out.fd = -1;
    r->recording = path != NULL;
    if (path && recording_create(&r->out, path, e) != 0) {
        free(r);
        return NULL;
    }
    recording_put(
        &r->out,
        &(struct record){.type = RECORD_HEADER, .protocol = bytes_str(p->name), .bytes = bytes_str(m ? m->id : "")});
    r->replica = replica_new(p, m, c);
    return r;
}

static void checkpoint(struct recorder *r, enum record_type type, bool with_protocol) {
    if (r->out.fd < 0) return;
    recording_put(&r->out, &(struct record){.type = (uint8_t)type,
                                            .number = r->inputs,
                                            .effects = r->effects,
                                            .running = replica_running(r->replica),
                                            .state_hash = replica_state_hash(r->replica),
                                            .protocol_hash = with_protocol ? effects_state(r->replica) : 0});
}

void recorder_free(struct recorder *r) {
    if (!r) return;
    checkpoint(r, RECORD_END, replica_running(r->replica));
    recording_close(&r->out);
    replica_free(r->replica);
    free(r);
}

struct replica *recorder_replica(struct recorder *r) {
    return r->replica;
}

const char *recorder_error(const struct recorder *r) {
    return *r->out.error.text ? r->out.error.text : NULL;
}

/* --- inputs ------------------------------------------------------------------------------------------------------- */

/* In order: a replay ends as if the node had ended here. */
static void end_full(struct recorder *r) {
    error_set(&r->out.error, "the recording ends here, at %llu bytes: it has reached its size (--record-max-mib)",
              (unsigned long long)r->out.offset);
    checkpoint(r, RECORD_END, replica_running(r->replica));
    recording_close(&r->out);
}

static void before(struct recorder *r, struct record *input) {
    if (r->out.fd >= 0 && r->out.offset >= r->bytes_max) end_full(r);
    if (r->out.fd < 0) return;
    input->effects = r->effects;
    recording_put(&r->out, input);
    r->inputs++;
}

static void after(struct recorder *r) {
    if (r->out.fd >= 0 && r->inputs % RECORD_CHECKPOINT_INPUTS == 0)
        checkpoint(r, RECORD_CHECKPOINT, replica_running(r->replica) && r->inputs % PROTOCOL_HASH_INPUTS == 0);
}

int recorder_start(struct recorder *r, const struct config *c, const struct replica_env *env, uint64_t now_ns,
                   struct error *e) {
    if (!r->recording) return replica_start(r->replica, c, env, now_ns, e);
    before(r, &(struct record){.type = RECORD_START, .now_ns = now_ns, .config = *c});
    r->env = *env;
    struct replica_env through = {.ctx = r,
                                  .disk = &r->disk,
                                  .send = env_send,
                                  .timer = env_timer,
                                  .respond = env_respond,
                                  .fatal = env_fatal,
                                  .observe = env->observe ? env_observe : NULL,
                                  .durable = env->durable ? env_durable : NULL};
    int rc = replica_start(r->replica, c, &through, now_ns, e);
    checkpoint(r, RECORD_CHECKPOINT, rc == 0);
    return rc;
}

void recorder_stop(struct recorder *r) {
    before(r, &(struct record){.type = RECORD_STOP});
    replica_stop(r->replica);
    after(r);
}

void recorder_message(struct recorder *r, uint64_t now_ns, uint8_t from, struct bytes bytes) {
    before(r, &(struct record){.type = RECORD_MESSAGE, .now_ns = now_ns, .node = from, .bytes = bytes});
    replica_message(r->replica, now_ns, from, bytes);
    after(r);
}

void recorder_timer(struct recorder *r, uint64_t now_ns, uint8_t id) {
    before(r, &(struct record){.type = RECORD_TIMER, .now_ns = now_ns, .node = id});
    replica_timer(r->replica, now_ns, id);
    after(r);
}

void recorder_request(struct recorder *r, uint64_t now_ns, uint64_t token, struct bytes command) {
    before(r, &(struct record){.type = RECORD_REQUEST, .now_ns = now_ns, .number = token, .bytes = command});
    replica_request(r->replica, now_ns, token, command);
    after(r);
}

void recorder_synced(struct recorder *r, uint64_t now_ns, uint64_t cookie, int status) {
    before(r, &(struct record){.type = RECORD_SYNCED, .now_ns = now_ns, .number = cookie, .status = status});
    replica_synced(r->replica, now_ns, cookie, status);
    after(r);
}

void recorder_transfer(struct recorder *r, uint64_t now_ns, uint8_t to) {
    before(r, &(struct record){.type = RECORD_TRANSFER, .now_ns = now_ns, .node = to});
    replica_transfer(r->replica, now_ns, to);
    after(r);
}
