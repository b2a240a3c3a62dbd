/* foreign: systems that others wrote, as targets. A target is one Lua file, targets/NAME.lua, that returns a table:
 *
 *     doc        what it is
 *     settings   optional: { NAME = default or { default, other value, ... } }
 *     install    { package = "etcd-server", command = "etcd" }: what must be there, and how to get it
 *     checksums  optional: true when its messages carry checksums of their own, beside those of TCP
 *     stays_down optional: true when a node that ends by itself is not to be started again (default: after a second)
 *     ports      optional, for documentation
 *     node       function(cluster, node) -> { argv = { ... }, env = { NAME = value }, files = { [path] = text } }
 *     ready      function(cluster, node) -> true when it serves (called again and again after a start)
 *     leader     optional: function(cluster) -> node number or nil
 *     status     optional: function(cluster, node) -> { role=, leader=, term=, applied=, last= } or nil
 *     transfer   optional: function(cluster, from, to): asks `from`, the leader, to hand leadership over to `to`
 *     open       function(cluster, node) -> a connection: any value, given to the operations
 *     close      optional: function(connection)
 *     operations { read = function(connection, key), write = function(connection, key, value), cas = ..., ... }
 *                each returns ok(value), fail(reason) when it certainly did not happen, or info(reason); an error that
 *                it raises is info for writes and fail for `read`; cas gets (connection, key, expected, value)
 *
 * `cluster` has size, nodes (each with id from 1, name, address, folder), settings (texts by
 * name), here (the folder of the file). The file sees `http`
 * (libcurl), `redis` (hiredis, RESP), `tcp` (raw), `process` (a subprocess), `json`, `base64`, and the pure parts of
 * Lua's library; docs/foreign-targets.md is the reference. After an info or a raised error a slot's connections are
 * closed, and its next call opens its own.
 *
 * Operations run on worker threads, one Lua state per worker; a worker serves one client slot, so that a blocked call
 * blocks its own logical process only. Completions come back through one descriptor. */
#ifndef HARROW_TARGETS_FOREIGN_H
#define HARROW_TARGETS_FOREIGN_H

#include "base/base.h"

#define FOREIGN_NODES_MAX 15

struct foreign_node {
    char address[48]; /* IPv4, as text */
    char folder[512]; /* its own: data, logs, configuration */
};
struct foreign_cluster {
    uint32_t size;
    struct foreign_node nodes[FOREIGN_NODES_MAX];
    const char *const *settings; /* NAME, value, NAME, value, ..., NULL; may be NULL; see foreign_settings */
};

struct foreign_target;
/* Loads and checks the file (text is copied); e names file:line. Only its shape is checked: nothing is run. */
struct foreign_target *foreign_load(const char *file_name, struct bytes text, struct error *e);
void foreign_free(struct foreign_target *t);
const char *foreign_name(const struct foreign_target *t); /* the file's name without folder and .lua */
const char *foreign_doc(const struct foreign_target *t);
/* NULL when what it needs is here; else one line: what is missing and how to get it. Valid until the next call. */
const char *foreign_missing(struct foreign_target *t);
bool foreign_has(const struct foreign_target *t,
                 const char *what); /* "leader", "status", "checksums", or an operation's name */

/* What can be set, by name. A target with settings is written NAME:SETTING=VALUE:SETTING=VALUE, as in
 * "etcd:reads=serializable" or "./store.lua:flush=never"; a value has no colon. */
struct foreign_setting {
    char *name;
    char **values; /* the default first; if it is the only one, any text will do */
    size_t values_count;
};
const struct foreign_setting *foreign_settings_all(const struct foreign_target *t, size_t *count);
size_t foreign_name_size(const char *spec); /* of the part before the settings */
/* For foreign_cluster: each setting as `spec` has it, else its default. NULL with e set: one that the target does not
 * have, or a value that it cannot take. Freed by foreign_settings_free. */
char **foreign_settings(const struct foreign_target *t, const char *spec, struct error *e);
void foreign_settings_free(char **settings);

struct foreign_command { /* how to start a node; freed by foreign_command_free */
    char **argv, **env;  /* NULL-terminated; env: NAME=value */
};
/* Asks the target for node's command (0-based) and writes the files that it names. */
int foreign_command(struct foreign_target *t, const struct foreign_cluster *c, uint32_t node,
                    struct foreign_command *out, struct error *e);
void foreign_command_free(struct foreign_command *c);

/* A value of an operation: nil, an integer, a string, or a list of those. The pointers are the pool's, valid during
 * on_done; in submit the caller's, copied. */
enum foreign_kind { FOREIGN_NIL, FOREIGN_INT, FOREIGN_STRING, FOREIGN_LIST };
struct foreign_value {
    enum foreign_kind kind;
    int64_t integer;
    struct bytes string;
    const struct foreign_value *list;
    uint32_t list_size;
};
enum foreign_status {
    FOREIGN_OK,
    FOREIGN_FAIL,
    FOREIGN_INFO,
    FOREIGN_REFUSED, /* a fail for want of a connection: it may be tried again, or elsewhere */
};
struct foreign_call {
    const char *f; /* "read", "write", "cas", "append", "add", ... */
    const char *key;
    struct foreign_value argument; /* cas: a list of two */
    uint32_t node;                 /* whom to ask, 0-based */
    uint64_t timeout_ns;           /* the target's calls end by then */
};
struct foreign_node_state { /* what polling found, per node */
    bool ready, known;      /* known: `status` answered */
    uint8_t role, leader;   /* enum role of history.h: 0 follower, 1 candidate, 2 leader; 0-based or UINT8_MAX */
    uint64_t term, applied_index, last_index;
};

/* Worker threads over copies of the target. Threads inherit the caller's network namespace. */
struct foreign_pool;
struct foreign_pool *foreign_pool_new(const struct foreign_target *t, const struct foreign_cluster *c, uint32_t slots,
                                      struct error *e);
/* Ends all threads: a call under way is given up after its timeout at the latest. */
void foreign_pool_free(struct foreign_pool *p);
int foreign_pool_fd(const struct foreign_pool *p); /* readable when completions wait */
/* Starts a call on an idle slot. A slot whose call was given up by the owner is busy until it ends: `abandon` makes its
 * worker close its connection, and queues the next submit behind it. */
void foreign_submit(struct foreign_pool *p, uint32_t slot, uint64_t token, const struct foreign_call *call);
void foreign_abandon(struct foreign_pool *p, uint32_t slot);
/* Takes completions, calling on_done for each that was not abandoned. */
void foreign_drain(struct foreign_pool *p, void *ctx,
                   void (*on_done)(void *ctx, uint32_t slot, uint64_t token, enum foreign_status status,
                                   const struct foreign_value *result, const char *reason));
/* A thread of its own asks each node about once in period_ns: ready(), status(), leader(). The newest answers: */
void foreign_poll(struct foreign_pool *p, uint64_t period_ns);
void foreign_node_state(struct foreign_pool *p, uint32_t node, struct foreign_node_state *out);
uint8_t foreign_leader(struct foreign_pool *p); /* UINT8_MAX: unknown */
/* Asks the leader to hand over to another node, within a period of polling; false: the target has no `transfer`. */
bool foreign_transfer(struct foreign_pool *p, uint32_t from, uint32_t to);

#endif
