/* The Lua state of a foreign target: the file's sandbox, its memory and time under limits, and values and outcomes on
 * their way in and out. A call's time ends by a hook that counts instructions; once it has ended, every further
 * instruction raises again, so that a pcall in the file cannot go on. */
#include "targets/foreign/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <lualib.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define MEMORY_BYTES_MAX ((size_t)64 << 20)
#define HOOK_STEP 10000
#define GRACE_NS (100 * NS_PER_MS) /* to say in Lua what a call that used up the time means */
#define LIST_MAX 1000000
#define DEPTH_MAX 16

static const char file_key, cluster_key, outcome_key; /* in the registry, by address */

struct state *state_of(lua_State *L) {
    return *(struct state **)lua_getextraspace(L);
}

static void *allocate(void *ctx, void *old, size_t old_size, size_t size) {
    struct state *s = ctx;
    if (!old) old_size = 0; /* Lua passes a type there */
    if (size == 0) {
        s->memory_bytes -= old_size;
        free(old);
        return NULL;
    }
    if (size > old_size && size - old_size > MEMORY_BYTES_MAX - s->memory_bytes) return NULL;
    void *block = realloc(old, size);
    if (block) s->memory_bytes = s->memory_bytes - old_size + size;
    return block;
}

static void on_count(lua_State *L, lua_Debug *frame) {
    (void)frame;
    struct state *s = state_of(L);
    bool cancelled = atomic_load(&s->cancelled);
    if (!cancelled && !s->expired && monotonic_ns() <= s->deadline_ns + GRACE_NS) return;
    s->expired = true;
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    luaL_where(L, 0); /* the function that was interrupted */
    lua_pushstring(L, cancelled ? "given up" : "out of time: an endless loop?");
    lua_concat(L, 2);
    lua_error(L);
}

void state_begin(struct state *s, uint64_t deadline_ns) {
    s->deadline_ns = deadline_ns;
    s->expired = s->refused = false;
    lua_sethook(s->L, on_count, LUA_MASKCOUNT, HOOK_STEP);
}

int state_protect(struct state *s, lua_CFunction body, void *arg, struct error *e) {
    lua_State *L = s->L;
    int base = lua_gettop(L);
    lua_pushcfunction(L, body);
    lua_pushlightuserdata(L, arg);
    int status = lua_pcall(L, 1, 0, 0), result = 0;
    if (status == LUA_ERRMEM) {
        result = error_set(e, "%s: more than %zu bytes of memory", s->target->file_name, MEMORY_BYTES_MAX);
    } else if (status != LUA_OK) {
        const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
        if (text) {
            result = error_set(e, "%s", text);
        } else {
            result = error_set(e, "%s: an error was raised with a %s instead of a text", s->target->file_name,
                               luaL_typename(L, -1));
        }
    }
    lua_settop(L, base);
    return result;
}

/* --- waiting ------------------------------------------------------------------------------------------------------ */

struct state *state_calling(lua_State *L) {
    struct state *s = state_of(L);
    if (s->loading) luaL_error(L, "only functions of the target may call out, not the file while it loads");
    return s;
}

uint64_t state_deadline(lua_State *L, int at) {
    struct state *s = state_calling(L);
    if (lua_isnoneornil(L, at)) return s->deadline_ns;
    lua_Number seconds = luaL_checknumber(L, at);
    luaL_argcheck(L, seconds >= 0, at, "a timeout is a number of seconds, not negative");
    uint64_t now_ns = monotonic_ns();
    if (seconds > 1e6) return s->deadline_ns;
    uint64_t deadline_ns = now_ns + (uint64_t)(seconds * (lua_Number)NS_PER_S);
    return deadline_ns < s->deadline_ns ? deadline_ns : s->deadline_ns;
}

enum wait state_wait(struct state *s, int fd, short events, uint64_t deadline_ns) {
    struct pollfd fds[2] = {{.fd = fd, .events = events}, {.fd = s->cancel_fd, .events = POLLIN}};
    for (;;) {
        uint64_t now_ns = monotonic_ns(), left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
        struct timespec left = {(time_t)(left_ns / NS_PER_S), (long)(left_ns % NS_PER_S)};
        int count = ppoll(fds, 2, &left, NULL);
        if (count < 0 && errno != EINTR) return WAIT_CANCELLED;
        if (count > 0 && fds[1].revents) return WAIT_CANCELLED;
        if (count > 0) return WAIT_READY;
        if (left_ns == 0) return WAIT_TIMEOUT;
    }
}

const char *state_wait_word(enum wait w) {
    return w == WAIT_TIMEOUT ? "timeout" : "cancelled";
}

int state_failure(lua_State *L, const char *word, bool sent) {
    if (strcmp(word, "connect") == 0) state_of(L)->refused = true;
    lua_pushnil(L);
    lua_pushstring(L, word);
    lua_pushboolean(L, sent);
    return 3;
}

int state_connect(struct state *s, const char *address, int port, uint64_t deadline_ns, const char **word) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    *word = "connect";
    if (port < 1 || port > 65535 || inet_pton(AF_INET, address, &to.sin_addr) != 1) return -1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, error = 0;
    if (fd < 0) return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) == 0) return fd;
    if (errno == EINPROGRESS) {
        enum wait w = state_wait(s, fd, POLLOUT, deadline_ns);
        socklen_t size = sizeof error;
        if (w != WAIT_READY) {
            *word = state_wait_word(w);
        } else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0) {
            return fd;
        }
    }
    close(fd);
    return -1;
}

/* --- values and outcomes ------------------------------------------------------------------------------------------ */

void value_push(lua_State *L, const struct foreign_value *v) {
    luaL_checkstack(L, 4, NULL);
    switch (v->kind) {
    case FOREIGN_INT: lua_pushinteger(L, v->integer); return;
    case FOREIGN_STRING: lua_pushlstring(L, (const char *)v->string.data, v->string.size); return;
    case FOREIGN_LIST:
        lua_createtable(L, (int)v->list_size, 0);
        for (uint32_t i = 0; i < v->list_size; i++) {
            value_push(L, &v->list[i]);
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
        return;
    case FOREIGN_NIL: break;
    }
    lua_pushnil(L);
}

static struct foreign_value take(lua_State *L, int at, struct arena *a, unsigned depth) {
    struct foreign_value v = {.kind = FOREIGN_NIL};
    int exact = 1;
    size_t size = 0;
    switch (lua_type(L, at)) {
    case LUA_TNIL: return v;
    case LUA_TLIGHTUSERDATA: /* json.null */
        if (!lua_touserdata(L, at)) return v;
        break;
    case LUA_TNUMBER:
        v.kind = FOREIGN_INT;
        v.integer = lua_tointegerx(L, at, &exact);
        if (!exact) luaL_error(L, "%f cannot be a value: it is not a whole number", lua_tonumber(L, at));
        return v;
    case LUA_TSTRING: {
        const char *text = lua_tolstring(L, at, &size);
        v.kind = FOREIGN_STRING;
        v.string = bytes_of(arena_copy(a, text, size), size);
        return v;
    }
    case LUA_TTABLE: {
        size = lua_rawlen(L, at);
        if (size > LIST_MAX || depth == DEPTH_MAX) luaL_error(L, "a list is too long or too deep to be a value");
        luaL_checkstack(L, 4, NULL);
        struct foreign_value *list = arena_alloc(a, size * sizeof *list);
        for (size_t i = 0; i < size; i++) {
            lua_rawgeti(L, at, (lua_Integer)i + 1);
            list[i] = take(L, lua_gettop(L), a, depth + 1);
            lua_pop(L, 1);
        }
        v.kind = FOREIGN_LIST;
        v.list = list;
        v.list_size = (uint32_t)size;
        return v;
    }
    default: break;
    }
    luaL_error(L, "a %s cannot be a value; use nil, a whole number, a text or a list of these", luaL_typename(L, at));
    return v;
}

struct foreign_value value_take(lua_State *L, int at, struct arena *a) {
    return take(L, lua_absindex(L, at), a, 0);
}

/* An outcome is a table { status, value } with a metatable that nobody else can make. */
static int make_outcome(lua_State *L) {
    lua_settop(L, 1);
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_rawseti(L, -2, 1);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 2);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &outcome_key);
    lua_setmetatable(L, -2);
    return 1;
}

enum foreign_status outcome_take(lua_State *L, int at, const char *f) {
    at = lua_absindex(L, at);
    bool is_outcome = false;
    if (lua_istable(L, at) && lua_getmetatable(L, at)) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &outcome_key);
        is_outcome = lua_rawequal(L, -1, -2);
        lua_pop(L, 2);
    }
    if (!is_outcome) {
        luaL_error(L, "operation '%s' returned a %s; it must return ok(value), fail(reason) or info(reason)", f,
                   luaL_typename(L, at));
    }
    lua_rawgeti(L, at, 1);
    enum foreign_status status = (enum foreign_status)lua_tointeger(L, -1);
    lua_pop(L, 1);
    lua_rawgeti(L, at, 2);
    return status;
}

/* --- the sandbox -------------------------------------------------------------------------------------------------- */

static int undeclared(lua_State *L) {
    return luaL_error(L, "undeclared global '%s' (a target has no io, os.execute, require and debug)",
                      luaL_tolstring(L, 2, NULL));
}

/* Finalizers run without the hook, so an endless one could not be ended. */
static int guarded_setmetatable(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argexpected(L, lua_istable(L, 2) || lua_isnil(L, 2), 2, "nil or table");
    if (lua_istable(L, 2)) {
        lua_pushliteral(L, "__gc");
        if (lua_rawget(L, 2) != LUA_TNIL) luaL_error(L, "a target's metatables may not have __gc; use 'close'");
    }
    if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL) luaL_error(L, "cannot change a protected metatable");
    lua_settop(L, 2);
    lua_setmetatable(L, 1);
    return 1;
}

static int print_to_stderr(lua_State *L) {
    int count = lua_gettop(L);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    luaL_addstring(&b, state_of(L)->target->name);
    luaL_addchar(&b, ':');
    for (int i = 1; i <= count; i++) {
        luaL_addchar(&b, ' ');
        luaL_tolstring(L, i, NULL);
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    return 0;
}

static int os_time(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)time(NULL));
    return 1;
}

static int os_clock(lua_State *L) {
    lua_pushnumber(L, (lua_Number)monotonic_ns() / (lua_Number)NS_PER_S);
    return 1;
}

static void open_libraries(lua_State *L) {
    static const luaL_Reg libraries[] = {
        {"_G", luaopen_base},   {"string", luaopen_string},       {"table", luaopen_table}, {"math", luaopen_math},
        {"utf8", luaopen_utf8}, {"coroutine", luaopen_coroutine}, {"http", http_module},    {"redis", redis_module},
        {"tcp", tcp_module},    {"process", process_module},      {"json", json_open},      {"base64", base64_open}};
    /* xpcall's handler runs inside of the hook that raised, where nothing counts instructions. */
    static const char *const refused[] = {"dofile", "loadfile", "load", "collectgarbage", "xpcall", "warn"};
    static const luaL_Reg own[] = {{"setmetatable", guarded_setmetatable}, {"print", print_to_stderr}, {NULL, NULL}};
    static const luaL_Reg os[] = {{"time", os_time}, {"clock", os_clock}, {NULL, NULL}};
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
        lua_pushcfunction(L, libraries[i].func);
        lua_call(L, 0, 1);
        lua_setglobal(L, libraries[i].name);
    }
    lua_pushglobaltable(L);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        lua_pushnil(L);
        lua_setfield(L, -2, refused[i]);
    }
    luaL_setfuncs(L, own, 0);
    luaL_newlib(L, os);
    lua_setfield(L, -2, "os");
    static const char *const outcomes[] = {"ok", "fail", "info"}; /* as enum foreign_status */
    for (int i = 0; i < 3; i++) {
        lua_pushinteger(L, i);
        lua_pushcclosure(L, make_outcome, 1);
        lua_setfield(L, -2, outcomes[i]);
    }
    lua_newtable(L);
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &outcome_key);
    lua_newtable(L);
    lua_pushcfunction(L, undeclared);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
}

static void make_cluster(lua_State *L, const struct foreign_cluster *c) {
    lua_newtable(L);
    lua_pushstring(L, state_of(L)->target->folder);
    lua_setfield(L, -2, "here");
    lua_pushinteger(L, c->size);
    lua_setfield(L, -2, "size");
    lua_newtable(L);
    for (uint32_t i = 0; i < c->size; i++) {
        lua_newtable(L);
        lua_pushinteger(L, (lua_Integer)i + 1);
        lua_setfield(L, -2, "id");
        lua_pushfstring(L, "n%d", (int)i + 1);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, c->nodes[i].address);
        lua_setfield(L, -2, "address");
        lua_pushstring(L, c->nodes[i].folder);
        lua_setfield(L, -2, "folder");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "nodes");
    lua_newtable(L);
    for (const char *const *at = c->settings; at && at[0] && at[1]; at += 2) {
        lua_pushstring(L, at[1]);
        lua_setfield(L, -2, at[0]);
    }
    lua_setfield(L, -2, "settings");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &cluster_key);
}

void state_push_file(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &file_key);
}

void state_push_cluster(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &cluster_key);
}

void state_push_node(lua_State *L, uint32_t node) {
    state_push_cluster(L);
    lua_getfield(L, -1, "nodes");
    lua_rawgeti(L, -1, (lua_Integer)node + 1);
    lua_replace(L, -3);
    lua_pop(L, 1);
}

static int run_file(lua_State *L) {
    struct state *s = state_of(L);
    const struct foreign_cluster *c = lua_touserdata(L, 1);
    const struct foreign_target *t = s->target;
    open_libraries(L);
    if (c) make_cluster(L, c);
    lua_pushfstring(L, "@%s", t->file_name);
    const char *text = t->text.size ? (const char *)t->text.data : "";
    if (luaL_loadbufferx(L, text, t->text.size, lua_tostring(L, -1), "t") != LUA_OK) lua_error(L);
    lua_call(L, 0, 1);
    if (!lua_istable(L, -1)) {
        luaL_error(L, "%s: the file must return a table, not a %s", t->file_name, luaL_typename(L, -1));
    }
    lua_rawsetp(L, LUA_REGISTRYINDEX, &file_key);
    return 0;
}

int state_open(struct state *s, const struct foreign_target *t, const struct foreign_cluster *c, int cancel_fd,
               struct error *e) {
    /* `cancelled` is left alone: others may have set it already. */
    s->target = t;
    s->cancel_fd = cancel_fd;
    s->memory_bytes = 0;
    s->L = lua_newstate(allocate, s);
    if (!s->L) return error_set(e, "%s: no memory for a Lua state", t->file_name);
    *(struct state **)lua_getextraspace(s->L) = s;
    s->loading = true;
    state_begin(s, monotonic_ns() + FOREIGN_LOAD_NS);
    struct error mine = {""};
    int result = state_protect(s, run_file, (void *)(uintptr_t)c, &mine);
    s->loading = false;
    if (!result) return 0;
    state_close(s);
    return error_set(e, "%s", mine.text);
}

void state_close(struct state *s) {
    if (s->L) lua_close(s->L);
    s->L = NULL;
}
