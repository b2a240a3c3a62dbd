/* The pool: one thread with one Lua state per client slot, started with the slot's first call. A slot has at most one
 * call under way and one queued behind it (after an abandon). Everything shared is under one lock; a call itself runs
 * without it. Threads block all signals, so that those reach the main thread. */
#include "targets/foreign/pool_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"

#define THREAD_STACK_BYTES ((size_t)1 << 20) /* address space; touched pages are few */
#define CLOSE_NS (100 * NS_PER_MS)           /* for the target's close() */
#define WORK_BLOCK_BYTES 1024

struct work { /* a call, then its completion */
    struct work *next;
    uint32_t slot, node;
    uint64_t token, deadline_ns;
    const char *f, *key, *reason;
    struct foreign_value argument, result;
    enum foreign_status status;
    bool abandoned;
    struct arena memory; /* of all the above */
};

struct slot {
    struct foreign_pool *pool;
    pthread_t thread;
    pthread_cond_t wake;
    bool started;
    struct work *current, *queued;
    struct state state; /* the thread's, but for cancelled */
    int cancel_fd;
};

void foreign_signal_fd(int fd) {
    uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

static void clear_fd(int fd) {
    uint64_t count;
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR) {
    }
}

static void work_free(struct work *w) {
    if (!w) return;
    arena_free(&w->memory);
    free(w);
}

/* --- in the slot's thread ----------------------------------------------------------------------------------------- */

static bool is_read(const char *f) {
    return strcmp(f, "read") == 0;
}

/* Leaves the slot's connection to the node on the stack; raises when there is none to be had. */
static void push_connection(lua_State *L, uint32_t node) {
    luaL_checkstack(L, 10, NULL);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, "harrow.connections");
    if (lua_rawgeti(L, -1, (lua_Integer)node + 1) == LUA_TNIL) {
        lua_pop(L, 1);
        state_push_file(L);
        lua_getfield(L, -1, "open");
        state_push_cluster(L);
        state_push_node(L, node);
        lua_call(L, 2, 2); /* connections, file, connection, why */
        if (lua_isnil(L, -2)) luaL_error(L, "open: %s", lua_isstring(L, -1) ? lua_tostring(L, -1) : "no connection");
        lua_pop(L, 1);
        lua_remove(L, -2);
        lua_pushvalue(L, -1);
        lua_rawseti(L, -3, (lua_Integer)node + 1);
    }
    lua_remove(L, -2);
}

static int open_connection(lua_State *L) {
    struct work *w = lua_touserdata(L, 1);
    push_connection(L, w->node);
    return 0;
}

static int run_operation(lua_State *L) {
    struct work *w = lua_touserdata(L, 1);
    lua_settop(L, 0);
    state_push_file(L);
    lua_getfield(L, -1, "operations");
    if (lua_getfield(L, -1, w->f) != LUA_TFUNCTION) luaL_error(L, "the target has no operation '%s'", w->f);
    push_connection(L, w->node);
    lua_pushstring(L, w->key);
    int arguments = 3;
    if (strcmp(w->f, "cas") == 0 && w->argument.kind == FOREIGN_LIST && w->argument.list_size == 2) {
        value_push(L, &w->argument.list[0]);
        value_push(L, &w->argument.list[1]);
        arguments = 4;
    } else {
        value_push(L, &w->argument);
    }
    lua_call(L, arguments, 1);
    enum foreign_status status = outcome_take(L, -1, w->f);
    if (status == FOREIGN_OK) {
        w->result = value_take(L, -1, &w->memory);
    } else {
        size_t size;
        const char *reason = luaL_tolstring(L, -1, &size);
        w->reason = arena_copy(&w->memory, reason, size + 1);
    }
    w->status = status;
    return 0;
}

static int close_connections(lua_State *L) {
    lua_settop(L, 0);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, "harrow.connections");
    lua_pushnil(L);
    lua_setfield(L, LUA_REGISTRYINDEX, "harrow.connections");
    state_push_file(L);
    if (lua_getfield(L, -1, "close") != LUA_TFUNCTION) return 0;
    for (lua_pushnil(L); lua_next(L, 1);) {
        lua_pushvalue(L, 3);
        lua_insert(L, -2);
        lua_call(L, 1, 0);
    }
    return 0;
}

/* The connections may still carry answers of what was given up: the next call opens its own. */
static void drop_connections(struct state *s) {
    struct error e;
    state_begin(s, monotonic_ns() + CLOSE_NS);
    state_protect(s, close_connections, NULL, &e);
    lua_gc(s->L, LUA_GCCOLLECT);
}

static void set_failure(struct work *w, enum foreign_status status, const char *reason) {
    w->status = status;
    w->reason = arena_copy(&w->memory, reason, strlen(reason) + 1);
}

/* Returns whether the connections are still good. */
static bool carry_out(struct slot *sl, struct work *w) {
    struct foreign_pool *p = sl->pool;
    struct error e = {""};
    if (!sl->state.L && state_open(&sl->state, p->target, &p->cluster, sl->cancel_fd, &e)) {
        set_failure(w, FOREIGN_FAIL, e.text);
        return true;
    }
    state_begin(&sl->state, w->deadline_ns);
    if (!foreign_has(p->target, w->f)) {
        set_failure(w, FOREIGN_FAIL, "the target has no such operation");
        return true;
    }
    if (state_protect(&sl->state, open_connection, w, &e)) {
        set_failure(w, FOREIGN_FAIL, e.text);
        return false;
    }
    if (state_protect(&sl->state, run_operation, w, &e)) {
        set_failure(w, is_read(w->f) ? FOREIGN_FAIL : FOREIGN_INFO, e.text);
        return false;
    }
    return w->status != FOREIGN_INFO;
}

static void *work_on(void *ctx) {
    struct slot *sl = ctx;
    struct foreign_pool *p = sl->pool;
    pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        if (!sl->queued) {
            pthread_cond_wait(&sl->wake, &p->lock);
            continue;
        }
        struct work *w = sl->current = sl->queued;
        sl->queued = NULL;
        pthread_mutex_unlock(&p->lock);
        bool good = carry_out(sl, w);
        if (w->status == FOREIGN_FAIL && sl->state.refused) w->status = FOREIGN_REFUSED;
        pthread_mutex_lock(&p->lock);
        sl->current = NULL;
        bool given_up = w->abandoned;
        if (given_up) {
            work_free(w);
            atomic_store(&sl->state.cancelled, p->stop);
            if (!p->stop) clear_fd(sl->cancel_fd);
        } else {
            w->next = NULL;
            *p->done_end = w;
            p->done_end = &w->next;
            foreign_signal_fd(p->event_fd);
        }
        if ((good && !given_up) || p->stop || !sl->state.L) continue;
        pthread_mutex_unlock(&p->lock);
        drop_connections(&sl->state);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    state_close(&sl->state);
    return NULL;
}

/* --- in the owner's thread ---------------------------------------------------------------------------------------- */

int foreign_thread(pthread_t *thread, void *(*body)(void *), void *ctx) {
    pthread_attr_t attributes;
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(thread, &attributes, body, ctx);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

static void copy_settings(struct foreign_pool *p, const char *const *settings) {
    size_t count = 0;
    while (settings && settings[count] && settings[count + 1]) count += 2;
    const char **copy = arena_alloc(&p->memory, (count + 1) * sizeof *copy);
    for (size_t i = 0; i < count; i++) copy[i] = arena_copy(&p->memory, settings[i], strlen(settings[i]) + 1);
    copy[count] = NULL;
    p->cluster.settings = copy;
}

struct foreign_pool *foreign_pool_new(const struct foreign_target *t, const struct foreign_cluster *c, uint32_t slots,
                                      struct error *e) {
    assert(c->size >= 1 && c->size <= FOREIGN_NODES_MAX);
    struct foreign_pool *p = xcalloc(1, sizeof *p);
    p->target = t;
    p->cluster = *c;
    copy_settings(p, c->settings);
    p->done_end = &p->done;
    pthread_mutex_init(&p->lock, NULL);
    p->slots = xcalloc(slots, sizeof *p->slots);
    bool failed = (p->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0;
    for (; p->slots_count < slots && !failed; p->slots_count++) {
        struct slot *sl = &p->slots[p->slots_count];
        sl->pool = p;
        pthread_cond_init(&sl->wake, NULL);
        sl->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        failed = sl->cancel_fd < 0;
    }
    if (!failed) failed = poll_init(p) != 0;
    if (!failed) return p;
    error_set(e, "%s: %u client slots need a descriptor each: %s; raise `ulimit -n`", t->file_name, slots,
              strerror(errno));
    foreign_pool_free(p);
    return NULL;
}

void foreign_pool_free(struct foreign_pool *p) {
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    for (uint32_t i = 0; i < p->slots_count; i++) {
        struct slot *sl = &p->slots[i];
        atomic_store(&sl->state.cancelled, true);
        if (sl->cancel_fd >= 0) foreign_signal_fd(sl->cancel_fd);
        pthread_cond_signal(&sl->wake);
    }
    pthread_mutex_unlock(&p->lock);
    poll_end(p);
    for (uint32_t i = 0; i < p->slots_count; i++) {
        struct slot *sl = &p->slots[i];
        if (sl->started) pthread_join(sl->thread, NULL);
        work_free(sl->queued);
        pthread_cond_destroy(&sl->wake);
        if (sl->cancel_fd >= 0) close(sl->cancel_fd);
    }
    for (struct work *w = p->done, *next; w; w = next) {
        next = w->next;
        work_free(w);
    }
    if (p->event_fd >= 0) close(p->event_fd);
    pthread_mutex_destroy(&p->lock);
    arena_free(&p->memory);
    free(p->slots);
    free(p);
}

int foreign_pool_fd(const struct foreign_pool *p) {
    return p->event_fd;
}

static struct foreign_value copy_value(struct arena *a, const struct foreign_value *v) {
    struct foreign_value copy = *v;
    if (v->kind == FOREIGN_STRING) {
        copy.string = bytes_of(arena_copy(a, v->string.data, v->string.size), v->string.size);
    } else if (v->kind == FOREIGN_LIST) {
        struct foreign_value *list = arena_alloc(a, v->list_size * sizeof *list);
        for (uint32_t i = 0; i < v->list_size; i++) list[i] = copy_value(a, &v->list[i]);
        copy.list = list;
    }
    return copy;
}

void foreign_submit(struct foreign_pool *p, uint32_t slot, uint64_t token, const struct foreign_call *call) {
    assert(slot < p->slots_count && call->node < p->cluster.size);
    struct work *w = xcalloc(1, sizeof *w);
    w->memory.block_size = WORK_BLOCK_BYTES;
    w->slot = slot;
    w->node = call->node;
    w->token = token;
    w->deadline_ns = monotonic_ns() + call->timeout_ns;
    w->f = arena_copy(&w->memory, call->f, strlen(call->f) + 1);
    w->key = arena_copy(&w->memory, call->key, strlen(call->key) + 1);
    w->argument = copy_value(&w->memory, &call->argument);
    struct slot *sl = &p->slots[slot];
    pthread_mutex_lock(&p->lock);
    assert(!sl->queued && (!sl->current || sl->current->abandoned));
    if (!sl->started) sl->started = foreign_thread(&sl->thread, work_on, sl) == 0;
    if (sl->started) {
        sl->queued = w;
        pthread_cond_signal(&sl->wake);
    } else {
        set_failure(w, FOREIGN_FAIL, "no thread for this client could be started");
        *p->done_end = w;
        p->done_end = &w->next;
        foreign_signal_fd(p->event_fd);
    }
    pthread_mutex_unlock(&p->lock);
}

void foreign_abandon(struct foreign_pool *p, uint32_t slot) {
    struct slot *sl = &p->slots[slot];
    pthread_mutex_lock(&p->lock);
    work_free(sl->queued);
    sl->queued = NULL;
    if (sl->current && !sl->current->abandoned) {
        sl->current->abandoned = true;
        atomic_store(&sl->state.cancelled, true);
        foreign_signal_fd(sl->cancel_fd);
    }
    for (struct work *w = p->done; w; w = w->next) {
        if (w->slot == slot) w->abandoned = true;
    }
    pthread_mutex_unlock(&p->lock);
}

static struct work *take_done(struct foreign_pool *p) {
    pthread_mutex_lock(&p->lock);
    struct work *w = p->done;
    if (w) {
        p->done = w->next;
        if (!p->done) p->done_end = &p->done;
    }
    pthread_mutex_unlock(&p->lock);
    return w;
}

void foreign_drain(struct foreign_pool *p, void *ctx,
                   void (*on_done)(void *ctx, uint32_t slot, uint64_t token, enum foreign_status status,
                                   const struct foreign_value *result, const char *reason)) {
    /* What comes in later signals anew: an owner that submits from on_done gets to its other duties in between. */
    clear_fd(p->event_fd);
    size_t count = 0;
    pthread_mutex_lock(&p->lock);
    for (struct work *w = p->done; w; w = w->next) count++;
    pthread_mutex_unlock(&p->lock);
    for (struct work *w; count > 0 && (w = take_done(p)); count--) {
        if (!w->abandoned) on_done(ctx, w->slot, w->token, w->status, &w->result, w->reason);
        work_free(w);
    }
}
