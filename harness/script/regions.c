/* The regions of a scenario: network = { regions = { names, placement, clients, rtt } }. */
#include "harness/script/internal.h"

#include <ctype.h>

static void read_names(struct fields *f, struct regions *r) {
    lua_State *L = f->L;
    if (!fields_table(f, "names")) fields_fail(f, "names", "names is missing: a list of region names");
    size_t count = lua_rawlen(L, -1);
    if (count < 1 || count > REGIONS_MAX) fields_fail(f, "names", "names: from 1 to %d regions", REGIONS_MAX);
    for (r->count = 0; r->count < count; r->count++) {
        lua_rawgeti(L, -1, r->count + 1);
        const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
        size_t size = strlen(name);
        bool plain = size > 0 && size < REGION_NAME_MAX && strcmp(name, "any") != 0;
        for (size_t i = 0; i < size; i++) plain = plain && (isalnum((unsigned char)name[i]) || strchr("-_", name[i]));
        for (uint32_t i = 0; i < r->count; i++) plain = plain && strcmp(r->name[i], name) != 0;
        if (!plain) {
            fields_fail(f, "names", "names: %s cannot name a region; letters, digits, - and _, each name once",
                        text_of(L, -1));
        }
        memcpy(r->name[r->count], name, size + 1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* The region that the value at the top names, by name or by number from 1; popped. */
static uint8_t take_region(const struct fields *f, const char *field, const struct regions *r) {
    lua_State *L = f->L;
    int is_integer = 0;
    lua_Integer number = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &is_integer) : 0;
    for (uint32_t i = 0; i < r->count && lua_type(L, -1) == LUA_TSTRING; i++)
        if (strcmp(r->name[i], lua_tostring(L, -1)) == 0) number = (lua_Integer)i + 1;
    if (number < 1 || number > r->count) fields_fail(f, field, "%s: there is no region %s", field, text_of(L, -1));
    lua_pop(L, 1);
    return (uint8_t)(number - 1);
}

static void read_placement(struct fields *f, struct regions *r, uint32_t nodes) {
    lua_State *L = f->L;
    if (!fields_table(f, "placement")) fields_fail(f, "placement", "placement is missing: the region of each node");
    if (lua_rawlen(L, -1) != nodes) {
        fields_fail(f, "placement", "placement: %u nodes need as many regions, not %llu", nodes,
                    (unsigned long long)lua_rawlen(L, -1));
    }
    for (uint32_t i = 0; i < nodes; i++) {
        lua_rawgeti(L, -1, i + 1);
        r->of_node[i] = take_region(f, "placement", r);
    }
    lua_pop(L, 1);
}

/* A table of counts by region's name, at the top. */
static void read_counts(struct fields *outer, struct regions *r, uint32_t clients) {
    struct fields f = fields_within(outer, NULL, "network.regions.clients");
    f.outer = "network";
    int64_t sum = 0;
    for (uint32_t i = 0; i < r->count; i++) {
        int64_t count = 0;
        fields_integer(&f, r->name[i], 0, clients, &count);
        r->clients[i] = (uint32_t)count;
        sum += count;
    }
    fields_end(&f, false);
    if (sum != clients)
        fields_fail(outer, "clients", "clients: there are %u, and %lld in regions", clients, (long long)sum);
}

static void read_clients(struct fields *f, struct regions *r, uint32_t clients) {
    for (uint32_t i = 0; i < r->count; i++) r->clients[i] = clients / r->count + (i < clients % r->count);
    if (!fields_any(f, "clients")) return;
    if (lua_istable(f->L, -1)) {
        read_counts(f, r, clients);
        lua_pop(f->L, 1);
        return;
    }
    uint8_t all = take_region(f, "clients", r);
    for (uint32_t i = 0; i < r->count; i++) r->clients[i] = i == all ? clients : 0;
}

static void read_rtt(struct fields *f, struct regions *r) {
    lua_State *L = f->L;
    if (!fields_table(f, "rtt")) {
        fields_fail(f, "rtt", "rtt is missing: a row per region of round-trip seconds to each region");
    }
    int at = lua_gettop(L);
    if (lua_rawlen(L, at) != r->count) fields_fail(f, "rtt", "rtt: a row for each of %u regions", r->count);
    for (uint32_t from = 0; from < r->count; from++) {
        lua_rawgeti(L, at, from + 1);
        if (!lua_istable(L, -1) || lua_rawlen(L, -1) != r->count) {
            fields_fail(f, "rtt", "rtt: row %u needs %u numbers", from + 1, r->count);
        }
        for (uint32_t to = 0; to < r->count; to++)
            r->one_way_ns[from][to] = fields_list_seconds(f, "rtt", lua_gettop(L), to + 1) / 2;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

void regions_read(struct fields *network, struct world_config *w) {
    struct fields f = fields_within(network, NULL, "network.regions");
    f.outer = "network"; /* two tables deep: the line of the network is near enough */
    read_names(&f, &w->regions);
    read_placement(&f, &w->regions, w->nodes);
    read_clients(&f, &w->regions, w->clients);
    read_rtt(&f, &w->regions);
    fields_end(&f, false);
}

/* regions = { { name =, nodes = { ... } }, ... } for the cluster object; pushed. */
void regions_push(lua_State *L, const struct world_config *w) {
    lua_createtable(L, (int)w->regions.count, 0);
    for (uint32_t i = 0; i < w->regions.count; i++) {
        lua_createtable(L, 0, 2);
        lua_pushstring(L, w->regions.name[i]);
        lua_setfield(L, -2, "name");
        lua_newtable(L);
        lua_Integer count = 0;
        for (uint32_t n = 0; n < w->nodes; n++) {
            if (w->regions.of_node[n] != i) continue;
            lua_pushinteger(L, (lua_Integer)n + 1);
            lua_rawseti(L, -2, ++count);
        }
        lua_setfield(L, -2, "nodes");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}
