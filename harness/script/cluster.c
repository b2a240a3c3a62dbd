/* What the nemesis library may do to a cluster, as plain functions: begin a fault, end it, ask for leader and status.
 * The library (nemesis/, in Lua) makes the objects that scenarios use of them. Nodes are numbered from 1 in Lua, from 0
 * in C; the clients, region by region, stand behind the last node. */
#include "harness/script/internal.h"

#include <stdlib.h>

#define DELAY_MAX_S 3600.0

static struct world *world_of(lua_State *L) {
    struct script *s = script_of(L);
    if (!s->world) script_fail(L, "there is no cluster yet: this works in a nemesis, not while the scenario loads");
    return s->world;
}

/* The endpoint number at stack index -1 (popped) as a bit. */
static uint32_t endpoint_bit(const struct fields *f, const char *field, uint32_t endpoints) {
    int is_integer;
    lua_Integer number = lua_tointegerx(f->L, -1, &is_integer);
    if (!is_integer || number < 1 || number > endpoints) {
        fields_fail(f, field, "there is no node %s", text_of(f->L, -1));
    }
    lua_pop(f->L, 1);
    return UINT32_C(1) << (number - 1);
}

/* The mask of the list at the top (popped). */
static uint32_t endpoint_mask(const struct fields *f, const char *field, uint32_t endpoints) {
    uint32_t mask = 0;
    lua_Integer count = (lua_Integer)lua_rawlen(f->L, -1);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(f->L, -1, i);
        mask |= endpoint_bit(f, field, endpoints);
    }
    lua_pop(f->L, 1);
    return mask;
}

static uint32_t to_ppm(double fraction) {
    return (uint32_t)(fraction * 1e6 + 0.5);
}

static void read_ppm(struct fields *f, const char *field, uint32_t *out) {
    double fraction;
    if (fields_number(f, field, 0, 1, &fraction)) *out = to_ppm(fraction);
}

static void read_links(struct fields *f, struct fault_spec *spec, uint32_t endpoints) {
    lua_State *L = f->L;
    if (fields_table(f, "links")) {
        for (uint32_t from = 0; from < endpoints; from++) {
            if (lua_rawgeti(L, -1, from + 1) == LUA_TTABLE) {
                spec->links[from] = endpoint_mask(f, "links", endpoints) & ~(UINT32_C(1) << from);
            } else {
                lua_pop(L, 1);
            }
        }
        lua_pop(L, 1);
    }
    fields_boolean(f, "cut", &spec->link.cut);
    read_ppm(f, "loss", &spec->link.loss_ppm);
    read_ppm(f, "duplicate", &spec->link.duplicate_ppm);
    read_ppm(f, "reorder", &spec->link.reorder_ppm);
    read_ppm(f, "corrupt", &spec->link.corrupt_ppm);
    read_ppm(f, "damage", &spec->link.damage_ppm);
    fields_boolean(f, "corrupt_regardless", &spec->corrupt_regardless);
    fields_seconds(f, "delay", 0, DELAY_MAX_S, &spec->link.delay_ns);
    fields_seconds(f, "jitter", 0, DELAY_MAX_S, &spec->link.jitter_ns);
    int64_t rate = 0;
    fields_integer(f, "rate", 1, INT64_C(1) << 40, &rate);
    spec->link.rate_bytes_per_s = (uint64_t)rate;
    const char *filter = "";
    fields_string(f, "filter", &filter);
    if (strlen(filter) >= sizeof spec->filter)
        fields_fail(f, "filter", "filter must have less than %zu characters", sizeof spec->filter);
    memcpy(spec->filter, filter, strlen(filter) + 1);
}

static void read_node_fault(struct fields *f, struct fault_spec *spec) {
    int64_t drift = 0, capacity = 0, percent = 50, failed_starts = 0;
    double offset = 0;
    fields_seconds(f, "grace", 0, DELAY_MAX_S, &spec->kill.grace_ns);
    fields_integer(f, "failed_starts", 1, 1000, &failed_starts);
    spec->kill.failed_starts = (uint32_t)failed_starts;
    fields_number(f, "offset", -86400, 86400, &offset);
    seconds_to_ns(offset, -86400, &spec->clock.wall_offset_ns);
    fields_integer(f, "drift_ppm", -900000, 900000, &drift);
    spec->clock.drift_ppm = (int32_t)drift;
    read_ppm(f, "sync_error", &spec->disk.sync_error_ppm);
    read_ppm(f, "write_error", &spec->disk.write_error_ppm);
    read_ppm(f, "sync_lie", &spec->disk.sync_lie_ppm);
    read_ppm(f, "read_error", &spec->disk.read_error_ppm);
    read_ppm(f, "read_rot", &spec->disk.read_rot_ppm);
    fields_seconds(f, "stall", 0, DELAY_MAX_S, &spec->disk.sync_stall_ns);
    fields_seconds(f, "io_delay", 0, DELAY_MAX_S, &spec->disk.io_delay_ns);
    fields_integer(f, "capacity", 1, INT64_C(1) << 50, &capacity);
    spec->disk.capacity_bytes = (uint64_t)capacity;
    read_ppm(f, "keep", &spec->crash.keep_ppm);
    read_ppm(f, "tear", &spec->crash.tear_ppm);
    fields_integer(f, "percent", 1, 99, &percent);
    spec->slow_percent = (uint32_t)percent;
}

/* begin{ kind =, name =, detail =, colour =, nodes = {...} | links = { [from] = {to...} }, strengths... } -> number */
static int core_begin(lua_State *L) {
    static const char *const kinds[FAULT_KINDS] = {"link", "kill", "pause", "slow", "clock", "power", "disk"};
    struct script *s = script_of(L);
    struct world *w = world_of(L);
    uint32_t nodes = s->scenario.world.nodes;
    struct fault_spec spec = {0};
    const char *name = "fault", *detail = "", *colour = "#888888";
    struct fields f = fields_of(L, 1, "fault");
    size_t kind = FAULT_KINDS;
    fields_string(&f, "name", &name);
    f.what = name;
    fields_string(&f, "detail", &detail);
    fields_string(&f, "colour", &colour);
    if (!fields_choice(&f, "kind", kinds, FAULT_KINDS, &kind)) script_fail(L, "%s: the kind of fault is missing", name);
    spec.kind = (enum fault_kind)kind;
    if (fields_table(&f, "nodes")) spec.nodes = endpoint_mask(&f, "nodes", nodes);
    read_links(&f, &spec, regions_endpoints(&s->scenario.world.regions, nodes));
    read_node_fault(&f, &spec);
    fields_end(&f, false);
    if (s->faults_count == s->faults_capacity) {
        s->faults_capacity = s->faults_capacity ? 2 * s->faults_capacity : 16;
        s->faults = xrealloc(s->faults, s->faults_capacity * sizeof *s->faults);
    }
    struct error e = {""};
    uint32_t id = w->ops->fault_begin(w, &spec, &e);
    if (!id) script_fail(L, "%s: %s", name, e.text);
    uint32_t record = history_fault_start(s->history, w->ops->now_ns(w), name, detail, colour);
    s->faults[s->faults_count++] = (struct script_fault){.world_id = id, .record = record};
    lua_pushinteger(L, id);
    return 1;
}

uint64_t cluster_end_fault(struct script *s, size_t at) {
    struct script_fault fault = s->faults[at];
    memmove(&s->faults[at], &s->faults[at + 1], (--s->faults_count - at) * sizeof *s->faults);
    struct fault_evidence evidence = s->world->ops->fault_end(s->world, fault.world_id);
    history_fault_end(s->history, fault.record, s->world->ops->now_ns(s->world), evidence.affected, evidence.offered);
    return evidence.affected;
}

static int core_finish(lua_State *L) {
    struct script *s = script_of(L);
    lua_Integer id = luaL_checkinteger(L, 1);
    for (size_t i = 0; i < s->faults_count; i++) {
        if (s->faults[i].world_id != id) continue;
        lua_pushinteger(L, (lua_Integer)cluster_end_fault(s, i));
        return 1;
    }
    return 0;
}

static int core_leader(lua_State *L) {
    struct world *w = world_of(L);
    uint8_t leader = w->ops->leader(w);
    if (leader == NODE_UNKNOWN) return 0;
    lua_pushinteger(L, leader + 1);
    return 1;
}

static uint8_t node_argument(lua_State *L, int at) {
    int is_integer;
    lua_Integer node = lua_tointegerx(L, at, &is_integer);
    uint32_t nodes = script_of(L)->scenario.world.nodes;
    if (!is_integer || lua_type(L, at) != LUA_TNUMBER || node < 1 || node > nodes) {
        script_fail(L, "there is no node %s; nodes are numbered from 1 to %u", text_of(L, at), nodes);
    }
    return (uint8_t)(node - 1);
}

static int core_transfer(lua_State *L) {
    struct world *w = world_of(L);
    uint8_t to = node_argument(L, 1);
    lua_pushboolean(L, w->ops->transfer && w->ops->transfer(w, to));
    return 1;
}

static void set_integer(lua_State *L, const char *field, uint64_t value) {
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, field);
}

static int core_status(lua_State *L) {
    static const char *const roles[] = {
        [ROLE_FOLLOWER] = "follower", [ROLE_CANDIDATE] = "candidate", [ROLE_LEADER] = "leader", [ROLE_PEER] = "peer"};
    struct world *w = world_of(L);
    struct node_status status = w->ops->node_status(w, node_argument(L, 1));
    lua_createtable(L, 0, 8);
    lua_pushboolean(L, status.up);
    lua_setfield(L, -2, "up");
    lua_pushboolean(L, status.paused);
    lua_setfield(L, -2, "paused");
    if (status.up && status.role < ROLES) {
        lua_pushstring(L, roles[status.role]);
        lua_setfield(L, -2, "role");
    }
    if (status.leader != NODE_UNKNOWN) set_integer(L, "leader", (uint64_t)status.leader + 1);
    set_integer(L, "term", status.term);
    set_integer(L, "commit_index", status.commit_index);
    set_integer(L, "applied_index", status.applied_index);
    set_integer(L, "last_index", status.last_index);
    return 1;
}

/* fail(message): an error at the scenario's line, wherever in the library it is noticed. */
static int core_fail(lua_State *L) {
    script_fail(L, "%s", text_of(L, 1));
}

/* import(file): what another library file returned. */
static int core_import(lua_State *L) {
    script_module(L, luaL_checkstring(L, 1));
    return 1;
}

void cluster_core(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"begin", core_begin},   {"finish", core_finish}, {"leader", core_leader}, {"transfer", core_transfer},
        {"status", core_status}, {"fail", core_fail},     {"import", core_import}, {NULL, NULL}};
    script_functions(L, functions);
}
