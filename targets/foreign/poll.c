/* Polling: one thread per node asks ready() and status(), so that a node that hangs delays nobody's answer but its own;
 * one more asks leader(), where the target has it. */
#include "targets/foreign/pool_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"

#define ASK_NS NS_PER_S /* longer than a healthy node takes to answer */
#define NOBODY UINT8_MAX

struct poller {
    struct foreign_pool *pool;
    pthread_t thread;
    bool started;
    uint32_t node; /* the cluster's size: this one asks for the leader */
    uint64_t period_ns;
    uint8_t hand_to; /* under the pool's lock: whom this node shall hand leadership over to; NOBODY: not asked */
    struct state state;
    struct foreign_node_state answer; /* under the pool's lock; of the leader's poller only `leader` counts */
};

int poll_init(struct foreign_pool *p) {
    p->poll_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    p->pollers_count = p->cluster.size + 1;
    p->pollers = xcalloc(p->pollers_count, sizeof *p->pollers);
    for (uint32_t i = 0; i < p->pollers_count; i++) {
        p->pollers[i] = (struct poller){.pool = p, .node = i, .hand_to = NOBODY, .answer.leader = NOBODY};
    }
    return p->poll_fd < 0 ? -1 : 0;
}

/* A node's number as the target gives it, from 1; anything else is nobody. */
static uint8_t node_at(lua_State *L, int at, uint32_t size) {
    int is_number = 0;
    lua_Integer number = lua_tointegerx(L, at, &is_number);
    return is_number && number >= 1 && number <= (lua_Integer)size ? (uint8_t)(number - 1) : NOBODY;
}

static uint64_t number_field(lua_State *L, const char *name) {
    lua_getfield(L, -1, name);
    lua_Integer number = lua_tointeger(L, -1);
    lua_pop(L, 1);
    return number > 0 ? (uint64_t)number : 0;
}

static uint8_t role_field(lua_State *L) {
    static const char *const roles[] = {"follower", "candidate", "leader"}; /* as enum role */
    lua_getfield(L, -1, "role");
    const char *text = lua_tostring(L, -1);
    uint8_t role = 0;
    for (uint8_t i = 0; text && i < 3; i++) {
        if (strcmp(roles[i], text) == 0) role = i;
    }
    lua_pop(L, 1);
    return role;
}

struct asking {
    const struct poller *poller;
    uint8_t hand_to;
    struct foreign_node_state answer;
};

static int ask_node(lua_State *L) {
    struct asking *a = lua_touserdata(L, 1);
    const struct foreign_pool *p = a->poller->pool;
    state_push_file(L);
    lua_getfield(L, 2, "ready");
    state_push_cluster(L);
    state_push_node(L, a->poller->node);
    lua_call(L, 2, 1);
    a->answer.ready = lua_toboolean(L, -1);
    if (!foreign_has(p->target, "status")) return 0;
    lua_getfield(L, 2, "status");
    state_push_cluster(L);
    state_push_node(L, a->poller->node);
    lua_call(L, 2, 1);
    if (!lua_istable(L, -1)) return 0;
    a->answer.known = true;
    a->answer.role = role_field(L);
    a->answer.term = number_field(L, "term");
    a->answer.applied_index = number_field(L, "applied");
    a->answer.last_index = number_field(L, "last");
    lua_getfield(L, -1, "leader");
    a->answer.leader = node_at(L, -1, p->cluster.size);
    return 0;
}

static int ask_leader(lua_State *L) {
    struct asking *a = lua_touserdata(L, 1);
    state_push_file(L);
    lua_getfield(L, -1, "leader");
    state_push_cluster(L);
    lua_call(L, 1, 1);
    a->answer.leader = node_at(L, -1, a->poller->pool->cluster.size);
    return 0;
}

static int hand_over(lua_State *L) {
    struct asking *a = lua_touserdata(L, 1);
    state_push_file(L);
    lua_getfield(L, -1, "transfer");
    state_push_cluster(L);
    state_push_node(L, a->poller->node);
    state_push_node(L, a->hand_to);
    lua_call(L, 3, 0);
    return 0;
}

static void *poll_on(void *ctx) {
    struct poller *po = ctx;
    struct foreign_pool *p = po->pool;
    struct error e;
    bool of_leader = po->node == p->cluster.size;
    if (state_open(&po->state, p->target, &p->cluster, p->poll_fd, &e)) return NULL;
    do {
        uint64_t began_ns = monotonic_ns();
        struct asking a = {.poller = po, .answer.leader = NOBODY};
        state_begin(&po->state, began_ns + ASK_NS);
        if (state_protect(&po->state, of_leader ? ask_leader : ask_node, &a, &e) && !of_leader) a.answer.known = false;
        pthread_mutex_lock(&p->lock);
        po->answer = a.answer;
        a.hand_to = po->hand_to;
        po->hand_to = NOBODY;
        pthread_mutex_unlock(&p->lock);
        if (a.hand_to != NOBODY) {
            state_begin(&po->state, monotonic_ns() + ASK_NS);
            state_protect(&po->state, hand_over, &a, &e); /* an attempt: who leads then is found by asking */
        }
        if (state_wait(&po->state, -1, 0, began_ns + po->period_ns) == WAIT_CANCELLED) break;
    } while (true);
    state_close(&po->state);
    return NULL;
}

void foreign_poll(struct foreign_pool *p, uint64_t period_ns) {
    for (uint32_t i = 0; i < p->pollers_count; i++) {
        struct poller *po = &p->pollers[i];
        if (po->started || (i == p->cluster.size && !foreign_has(p->target, "leader"))) continue;
        po->period_ns = period_ns;
        po->started = foreign_thread(&po->thread, poll_on, po) == 0;
    }
}

void poll_end(struct foreign_pool *p) {
    if (!p->pollers) return;
    for (uint32_t i = 0; i < p->pollers_count; i++) atomic_store(&p->pollers[i].state.cancelled, true);
    if (p->poll_fd >= 0) foreign_signal_fd(p->poll_fd);
    for (uint32_t i = 0; i < p->pollers_count; i++) {
        if (p->pollers[i].started) pthread_join(p->pollers[i].thread, NULL);
    }
    if (p->poll_fd >= 0) close(p->poll_fd);
    free(p->pollers);
}

void foreign_node_state(struct foreign_pool *p, uint32_t node, struct foreign_node_state *out) {
    assert(node < p->cluster.size);
    pthread_mutex_lock(&p->lock);
    *out = p->pollers[node].answer;
    pthread_mutex_unlock(&p->lock);
}

bool foreign_transfer(struct foreign_pool *p, uint32_t from, uint32_t to) {
    assert(from < p->cluster.size && to < p->cluster.size);
    if (!foreign_has(p->target, "transfer")) return false;
    pthread_mutex_lock(&p->lock);
    p->pollers[from].hand_to = (uint8_t)to;
    pthread_mutex_unlock(&p->lock);
    return true;
}

/* Without a leader() of the target: who says of itself that it leads, in the highest term. */
static uint8_t leader_by_status(const struct foreign_pool *p) {
    uint8_t leader = NOBODY;
    for (uint8_t i = 0; i < p->cluster.size; i++) {
        const struct foreign_node_state *s = &p->pollers[i].answer;
        bool leads = s->known && s->role == 2;
        if (leads && (leader == NOBODY || s->term > p->pollers[leader].answer.term)) leader = i;
    }
    return leader;
}

uint8_t foreign_leader(struct foreign_pool *p) {
    pthread_mutex_lock(&p->lock);
    uint8_t leader = foreign_has(p->target, "leader") ? p->pollers[p->cluster.size].answer.leader : leader_by_status(p);
    pthread_mutex_unlock(&p->lock);
    return leader;
}
