/* What the parts of this folder share: the Lua state of a target with its limits (state.c), and the modules that the
 * file sees (http.c, redis.c, tcp.c, process.c, text.c). A state belongs to one thread; only `cancelled` and what is
 * written to its descriptor come from others. */
#ifndef HARROW_TARGETS_FOREIGN_INTERNAL_H
#define HARROW_TARGETS_FOREIGN_INTERNAL_H

#include "targets/foreign/foreign.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdatomic.h>

#define FOREIGN_ANSWER_BYTES_MAX ((size_t)16 << 20) /* of one answer; more is an error, not a heap that grows */
#define FOREIGN_LOAD_NS (2 * NS_PER_S)              /* for running the file and for node() */

struct foreign_target {
    char *file_name, *folder, *name, *doc, *package, *command;
    char *missing; /* foreign_missing's last answer */
    struct buffer text;
    struct foreign_setting *settings; /* by name */
    size_t settings_count;
    char **has; /* operations, and "leader", "status", "close", "checksums" */
    size_t has_count;
};

struct state {
    lua_State *L;
    const struct foreign_target *target;
    size_t memory_bytes;
    uint64_t deadline_ns; /* of the present call */
    bool loading;         /* the file's top level runs, which may not call out */
    bool expired;         /* every further instruction raises */
    bool refused;         /* the present call wanted a connection and got none */
    int cancel_fd;        /* readable: give the present call up */
    _Atomic bool cancelled;
};

/* --- state.c --- */

/* Runs the file; its table is kept. The state was zeroed and may not move. cancel_fd may be -1 and stays the
 * caller's. */
int state_open(struct state *s, const struct foreign_target *t, const struct foreign_cluster *c, int cancel_fd,
               struct error *e);
void state_close(struct state *s);
struct state *state_of(lua_State *L);
/* Begins a call with this much time. */
void state_begin(struct state *s, uint64_t deadline_ns);
/* Runs a C function with `arg` as its light userdata under the limits; 0, or -1 with the message. */
int state_protect(struct state *s, lua_CFunction body, void *arg, struct error *e);
/* Push the file's table, the cluster, a node's table (0-based). */
void state_push_file(lua_State *L);
void state_push_cluster(lua_State *L);
void state_push_node(lua_State *L, uint32_t node);
/* Why the file may not talk to anybody now, as an error; for the modules, at the start of each function. */
struct state *state_calling(lua_State *L);
/* The end of a call that may take `seconds` at stack index `at` (none or nil: as long as the operation has). */
uint64_t state_deadline(lua_State *L, int at);
enum wait { WAIT_READY, WAIT_TIMEOUT, WAIT_CANCELLED };
enum wait state_wait(struct state *s, int fd, short events, uint64_t deadline_ns);
/* Pushes nil, what went wrong in one word, and whether the request may have reached the other side. */
int state_failure(lua_State *L, const char *word, bool sent);
const char *state_wait_word(enum wait w);
/* A connected non-blocking socket, or -1 with the word of what went wrong. */
int state_connect(struct state *s, const char *address, int port, uint64_t deadline_ns, const char **word);

void value_push(lua_State *L, const struct foreign_value *v);
/* Into the arena; raises on what is no value. */
struct foreign_value value_take(lua_State *L, int at, struct arena *a);
/* ok, fail, info: the status and, at the top of the stack, value or reason; raises if it is none of them. */
enum foreign_status outcome_take(lua_State *L, int at, const char *f);

/* --- settings.c: from and with the file's table at the top of the stack; raises on what is no setting --- */

void settings_read(lua_State *L, struct foreign_target *t);
void settings_free(struct foreign_target *t);

/* --- the modules: each leaves one table on the stack --- */

int http_module(lua_State *L);
int redis_module(lua_State *L);
int tcp_module(lua_State *L);
int process_module(lua_State *L);
int json_open(lua_State *L);
int base64_open(lua_State *L);

#endif
