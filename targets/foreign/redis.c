/* The module `redis`: commands and replies of the RESP protocol by hiredis, over a non-blocking connection, so that a
 * command can be given up. After any failure but a reply that is an error the connection is closed: a late reply would
 * be taken for that of the next command. */
#include "targets/foreign/internal.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/clock.h"

#define REDIS_TYPE "redis connection"
#define ARGUMENTS_MAX 64
#define REPLY_DEPTH_MAX 16

struct redis {
    redisContext *context; /* NULL: closed */
    redisReply *reply;     /* held here while Lua may raise */
};

static void drop(struct redis *r) {
    if (r->reply) freeReplyObject(r->reply);
    if (r->context) redisFree(r->context);
    *r = (struct redis){0};
}

static int redis_close(lua_State *L) {
    drop(luaL_checkudata(L, 1, REDIS_TYPE));
    return 0;
}

/* connect(address, port or nil, timeout or nil) -> connection, or nil, word, false */
static int redis_connect(lua_State *L) {
    const char *address = luaL_checkstring(L, 1);
    lua_Integer port = luaL_optinteger(L, 2, 6379);
    luaL_argcheck(L, port >= 1 && port <= 65535, 2, "a port is 1 to 65535");
    uint64_t deadline_ns = state_deadline(L, 3);
    struct redis *r = lua_newuserdatauv(L, sizeof *r, 0);
    *r = (struct redis){0};
    luaL_setmetatable(L, REDIS_TYPE);
    r->context = redisConnectNonBlock(address, (int)port);
    int error = 0;
    socklen_t size = sizeof error;
    enum wait w = WAIT_READY;
    if (r->context && !r->context->err) w = state_wait(state_of(L), r->context->fd, POLLOUT, deadline_ns);
    if (w != WAIT_READY) return drop(r), state_failure(L, state_wait_word(w), false);
    if (!r->context || r->context->err || getsockopt(r->context->fd, SOL_SOCKET, SO_ERROR, &error, &size) || error) {
        return drop(r), state_failure(L, "connect", false);
    }
    return 1;
}

static const char *flush(struct state *s, struct redis *r, uint64_t deadline_ns) {
    for (int done = 0;;) {
        if (redisBufferWrite(r->context, &done) != REDIS_OK) return "lost";
        if (done) return NULL;
        enum wait w = state_wait(s, r->context->fd, POLLOUT, deadline_ns);
        if (w != WAIT_READY) return state_wait_word(w);
    }
}

static const char *await_reply(struct state *s, struct redis *r, uint64_t deadline_ns) {
    for (;;) {
        void *reply = NULL;
        if (redisReaderGetReply(r->context->reader, &reply) != REDIS_OK) return "lost";
        if (r->reply) freeReplyObject(r->reply); /* left by an error of Lua's */
        r->reply = reply;
        if (reply) return NULL;
        if (r->context->reader->len > FOREIGN_ANSWER_BYTES_MAX) return "too large";
        enum wait w = state_wait(s, r->context->fd, POLLIN, deadline_ns);
        if (w != WAIT_READY) return state_wait_word(w);
        if (redisBufferRead(r->context) != REDIS_OK) return "lost";
    }
}

static void push_reply(lua_State *L, const redisReply *reply, unsigned depth) {
    luaL_checkstack(L, 4, NULL);
    if (depth > REPLY_DEPTH_MAX) luaL_error(L, "a redis reply is nested too deep");
    switch (reply->type) {
    case REDIS_REPLY_NIL: lua_pushnil(L); return;
    case REDIS_REPLY_INTEGER: lua_pushinteger(L, reply->integer); return;
    case REDIS_REPLY_ARRAY:
        lua_newtable(L);
        for (size_t i = 0; i < reply->elements; i++) {
            push_reply(L, reply->element[i], depth + 1);
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
        return;
    default: lua_pushlstring(L, reply->str ? reply->str : "", reply->len); return;
    }
}

/* command(name, arguments...) -> reply, or nil, word, sent; for an error reply nil, "reply", true, its text */
static int redis_command(lua_State *L) {
    struct redis *r = luaL_checkudata(L, 1, REDIS_TYPE);
    struct state *s = state_calling(L);
    const char *arguments[ARGUMENTS_MAX];
    size_t sizes[ARGUMENTS_MAX];
    int count = lua_gettop(L) - 1;
    luaL_argcheck(L, count >= 1 && count <= ARGUMENTS_MAX, 2, "a command has 1 to 64 words");
    for (int i = 0; i < count; i++) arguments[i] = luaL_checklstring(L, i + 2, &sizes[i]);
    if (!r->context) return state_failure(L, "lost", false);
    if (monotonic_ns() >= s->deadline_ns) return state_failure(L, "timeout", false);
    if (redisAppendCommandArgv(r->context, count, arguments, sizes) != REDIS_OK) return luaL_error(L, "out of memory");
    const char *word = flush(s, r, s->deadline_ns);
    if (!word) word = await_reply(s, r, s->deadline_ns);
    if (word) return drop(r), state_failure(L, word, true);
    int results = 1;
    if (r->reply->type == REDIS_REPLY_ERROR) {
        results = state_failure(L, "reply", true) + 1;
        lua_pushlstring(L, r->reply->str, r->reply->len);
    } else {
        push_reply(L, r->reply, 0);
    }
    freeReplyObject(r->reply);
    r->reply = NULL;
    return results;
}

int redis_module(lua_State *L) {
    static const luaL_Reg methods[] = {{"command", redis_command},
                                       {"close", redis_close},
                                       {"__gc", redis_close},
                                       {"__close", redis_close},
                                       {NULL, NULL}};
    static const luaL_Reg functions[] = {{"connect", redis_connect}, {NULL, NULL}};
    luaL_newmetatable(L, REDIS_TYPE);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
