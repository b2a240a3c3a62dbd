/* The module `process`: runs a program with a text as its standard input and gives back how it ended and what it said.
 * It never outlives its call: when time is up, or the call is given up, its process group is killed. */
#include "targets/foreign/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define RUN_TYPE "process run"
#define ARGUMENTS_MAX 256
#define READ_BYTES 65536

extern char **environ;

struct run {
    pid_t pid;   /* 0: none, or waited for */
    int ends[3]; /* ours of stdin, stdout, stderr; -1: closed. Socket pairs, so that no write raises SIGPIPE. */
    struct buffer out[2];
    size_t given; /* of the input */
};

static void close_end(struct run *r, int i) {
    if (r->ends[i] >= 0) close(r->ends[i]);
    r->ends[i] = -1;
}

static void end(struct run *r) {
    for (int i = 0; i < 3; i++) close_end(r, i);
    if (r->pid) {
        kill(-r->pid, SIGKILL);
        while (waitpid(r->pid, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    r->pid = 0;
    buffer_free(&r->out[0]);
    buffer_free(&r->out[1]);
}

static int run_free(lua_State *L) {
    end(lua_touserdata(L, 1));
    return 0;
}

/* Returns 0 or an errno. Worker threads block all signals; the program must not inherit that. */
static int start(struct run *r, char *const *argv) {
    int theirs[3] = {-1, -1, -1}, error = 0;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    for (int i = 0; i < 3 && !error; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
            error = errno;
            break;
        }
        r->ends[i] = pair[0];
        theirs[i] = pair[1];
        fcntl(pair[0], F_SETFL, O_NONBLOCK);
        error = posix_spawn_file_actions_adddup2(&actions, pair[1], i);
    }
    if (!error) error = posix_spawnp(&r->pid, argv[0], &actions, &attributes, argv, environ);
    if (error) r->pid = 0;
    for (int i = 0; i < 3; i++) {
        if (theirs[i] >= 0) close(theirs[i]);
    }
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return error;
}

static void give_input(struct run *r, const char *input, size_t size) {
    while (r->ends[0] >= 0) {
        ssize_t count = r->given < size ? send(r->ends[0], input + r->given, size - r->given, MSG_NOSIGNAL) : 0;
        if (count < 0 && errno == EAGAIN) return;
        if (count <= 0) close_end(r, 0);
        if (count > 0) r->given += (size_t)count;
    }
}

/* False when it said too much. */
static bool take_output(struct run *r, int i) {
    while (r->ends[i] >= 0) {
        struct buffer *b = &r->out[i - 1];
        if (b->size > FOREIGN_ANSWER_BYTES_MAX) return false;
        buffer_reserve(b, READ_BYTES);
        ssize_t count = recv(r->ends[i], b->data + b->size, READ_BYTES, 0);
        if (count < 0 && (errno == EAGAIN || errno == EINTR)) return true;
        if (count <= 0) close_end(r, i);
        if (count > 0) b->size += (size_t)count;
    }
    return true;
}

/* Until it has closed its output and ended: NULL, or the word of what went wrong. */
static const char *converse(struct state *s, struct run *r, const char *input, size_t size, uint64_t deadline_ns,
                            int *status) {
    for (;;) {
        give_input(r, input, size);
        if (!take_output(r, 1) || !take_output(r, 2)) return "too large";
        if (r->ends[1] < 0 && r->ends[2] < 0) break;
        uint64_t now_ns = monotonic_ns();
        if (now_ns >= deadline_ns) return "timeout";
        struct pollfd fds[4] = {{.fd = r->ends[0], .events = POLLOUT},
                                {.fd = r->ends[1], .events = POLLIN},
                                {.fd = r->ends[2], .events = POLLIN},
                                {.fd = s->cancel_fd, .events = POLLIN}};
        uint64_t left_ns = deadline_ns - now_ns;
        struct timespec left = {(time_t)(left_ns / NS_PER_S), (long)(left_ns % NS_PER_S)};
        if (ppoll(fds, 4, &left, NULL) < 0 && errno != EINTR) return "lost";
        if (fds[3].revents) return "cancelled";
    }
    int fd = (int)syscall(SYS_pidfd_open, r->pid, 0);
    if (fd < 0) return "lost";
    enum wait w = state_wait(s, fd, POLLIN, deadline_ns);
    close(fd);
    if (w != WAIT_READY) return state_wait_word(w);
    if (waitpid(r->pid, status, 0) != r->pid) return "lost";
    r->pid = 0;
    return NULL;
}

/* run({ program, arguments... }, { stdin = text, timeout = seconds } or nil)
 *     -> status (0..255, or 128 + the signal), stdout, stderr; or nil, word, whether it was started */
static int process_run(lua_State *L) {
    struct state *s = state_calling(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    size_t count = lua_rawlen(L, 1), input_size = 0;
    luaL_argcheck(L, count >= 1 && count < ARGUMENTS_MAX, 1, "a list of the program and up to 254 arguments");
    const char *input = "";
    if (lua_isnil(L, 2)) lua_newtable(L), lua_replace(L, 2);
    lua_getfield(L, 2, "timeout");
    lua_getfield(L, 2, "stdin");
    uint64_t deadline_ns = state_deadline(L, 3);
    if (!lua_isnil(L, 4)) input = luaL_checklstring(L, 4, &input_size);
    struct run *r = lua_newuserdatauv(L, sizeof *r, 0);
    *r = (struct run){.ends = {-1, -1, -1}};
    luaL_setmetatable(L, RUN_TYPE);
    char *argv[ARGUMENTS_MAX];
    luaL_checkstack(L, (int)count + 8, NULL);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, 1, (lua_Integer)i + 1); /* stays on the stack, so that its text does */
        argv[i] = (char *)(uintptr_t)luaL_checkstring(L, -1);
    }
    argv[count] = NULL;
    int error = start(r, argv), status = 0;
    if (error) {
        lua_pushnil(L);
        lua_pushfstring(L, "%s: %s", argv[0], strerror(error));
        lua_pushboolean(L, false);
        return 3;
    }
    const char *word = converse(s, r, input, input_size, deadline_ns, &status);
    if (word) {
        end(r);
        return state_failure(L, word, true);
    }
    lua_pushinteger(L, WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
    for (int i = 0; i < 2; i++) {
        lua_pushlstring(L, r->out[i].size ? (const char *)r->out[i].data : "", r->out[i].size);
    }
    end(r);
    return 3;
}

int process_module(lua_State *L) {
    static const luaL_Reg held[] = {{"__gc", run_free}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"run", process_run}, {NULL, NULL}};
    luaL_newmetatable(L, RUN_TYPE);
    luaL_setfuncs(L, held, 0);
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
