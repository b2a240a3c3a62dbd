/* The module `tcp`: a plain connection that sends bytes and receives lines or counts of bytes, each with a deadline. */
#include "targets/foreign/internal.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define TCP_TYPE "tcp connection"
#define RECEIVE_BYTES 4096

struct tcp {
    int fd;           /* -1: closed */
    struct buffer in; /* received, not yet taken */
};

/* connect(address, port, timeout or nil) -> connection, or nil, word, false */
static int tcp_connect(lua_State *L) {
    const char *address = luaL_checkstring(L, 1), *word = NULL;
    lua_Integer port = luaL_checkinteger(L, 2);
    luaL_argcheck(L, port >= 1 && port <= 65535, 2, "a port is 1 to 65535");
    uint64_t deadline_ns = state_deadline(L, 3);
    struct tcp *t = lua_newuserdatauv(L, sizeof *t, 0);
    *t = (struct tcp){.fd = -1};
    luaL_setmetatable(L, TCP_TYPE);
    t->fd = state_connect(state_of(L), address, (int)port, deadline_ns, &word);
    return t->fd < 0 ? state_failure(L, word, false) : 1;
}

static int tcp_close(lua_State *L) {
    struct tcp *t = luaL_checkudata(L, 1, TCP_TYPE);
    if (t->fd >= 0) close(t->fd);
    t->fd = -1;
    buffer_free(&t->in);
    return 0;
}

/* send(text, timeout or nil) -> true, or nil, word, whether some of it was sent */
static int tcp_send(lua_State *L) {
    struct tcp *t = luaL_checkudata(L, 1, TCP_TYPE);
    size_t size, sent = 0;
    const char *text = luaL_checklstring(L, 2, &size);
    uint64_t deadline_ns = state_deadline(L, 3);
    if (t->fd < 0) return state_failure(L, "lost", false);
    while (sent < size) {
        ssize_t count = send(t->fd, text + sent, size - sent, MSG_NOSIGNAL);
        if (count >= 0) {
            sent += (size_t)count;
            continue;
        }
        if (errno != EAGAIN && errno != EINTR) return state_failure(L, "lost", sent > 0);
        enum wait w = state_wait(state_of(L), t->fd, POLLOUT, deadline_ns);
        if (w != WAIT_READY) return state_failure(L, state_wait_word(w), sent > 0);
    }
    lua_pushboolean(L, true);
    return 1;
}

/* Receives once more; NULL, or the word of what went wrong. */
static const char *receive_more(struct state *s, struct tcp *t, uint64_t deadline_ns) {
    if (t->in.size > FOREIGN_ANSWER_BYTES_MAX) return "too large";
    enum wait w = state_wait(s, t->fd, POLLIN, deadline_ns);
    if (w != WAIT_READY) return state_wait_word(w);
    buffer_reserve(&t->in, RECEIVE_BYTES);
    ssize_t count = recv(t->fd, t->in.data + t->in.size, RECEIVE_BYTES, 0);
    if (count > 0) {
        t->in.size += (size_t)count;
        return NULL;
    }
    return count < 0 && (errno == EAGAIN || errno == EINTR) ? NULL : "lost";
}

/* receive("line" or a count of bytes, timeout or nil) -> text (a line without its end), or nil, word, true */
static int tcp_receive(lua_State *L) {
    struct tcp *t = luaL_checkudata(L, 1, TCP_TYPE);
    bool line = lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), "line") == 0;
    lua_Integer wanted = line ? 0 : luaL_checkinteger(L, 2);
    luaL_argcheck(L, wanted >= 0 && (size_t)wanted <= FOREIGN_ANSWER_BYTES_MAX, 2, "\"line\" or a count of bytes");
    uint64_t deadline_ns = state_deadline(L, 3);
    if (t->fd < 0) return state_failure(L, "lost", true);
    size_t taken = (size_t)wanted, text_size = (size_t)wanted, searched = 0;
    for (;;) {
        if (line) {
            const uint8_t *end = NULL;
            if (t->in.size > searched) end = memchr(t->in.data + searched, '\n', t->in.size - searched);
            searched = t->in.size;
            if (end) {
                taken = (size_t)(end - t->in.data) + 1;
                text_size = taken - 1;
                if (text_size && t->in.data[text_size - 1] == '\r') text_size--;
                break;
            }
        } else if (t->in.size >= taken) {
            break;
        }
        const char *word = receive_more(state_of(L), t, deadline_ns);
        if (word) return state_failure(L, word, true);
    }
    lua_pushlstring(L, t->in.size ? (const char *)t->in.data : "", text_size);
    if (taken) memmove(t->in.data, t->in.data + taken, t->in.size - taken);
    t->in.size -= taken;
    return 1;
}

int tcp_module(lua_State *L) {
    static const luaL_Reg methods[] = {{"send", tcp_send},  {"receive", tcp_receive}, {"close", tcp_close},
                                       {"__gc", tcp_close}, {"__close", tcp_close},   {NULL, NULL}};
    static const luaL_Reg functions[] = {{"connect", tcp_connect}, {NULL, NULL}};
    luaL_newmetatable(L, TCP_TYPE);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
