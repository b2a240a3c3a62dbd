/* Target files as such: is every field there and of the right kind, what must be installed, and how a node is started.
 * The functions of a file are called by pool.c and poll.c. */
#include "targets/foreign/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

#define ARGUMENTS_MAX 256

static const struct field {
    const char *name;
    int type; /* LUA_T... */
    bool needed;
} fields[] = {
    {"doc", LUA_TSTRING, true},          {"install", LUA_TTABLE, false},     {"ports", LUA_TTABLE, false},
    {"node", LUA_TFUNCTION, true},       {"ready", LUA_TFUNCTION, true},     {"leader", LUA_TFUNCTION, false},
    {"status", LUA_TFUNCTION, false},    {"open", LUA_TFUNCTION, true},      {"close", LUA_TFUNCTION, false},
    {"operations", LUA_TTABLE, true},    {"settings", LUA_TTABLE, false},    {"checksums", LUA_TBOOLEAN, false},
    {"stays_down", LUA_TBOOLEAN, false}, {"transfer", LUA_TFUNCTION, false},
};
#define FIELDS_COUNT (sizeof fields / sizeof *fields)

/* The line of `name =` in the text, or 1: values that are no functions do not know where they stand. */
static int line_of(const struct foreign_target *t, const char *name) {
    const char *text = (const char *)t->text.data, *at = text;
    size_t size = strlen(name);
    for (; at && (at = strstr(at, name)); at += size) {
        const char *after = at + size + strspn(at + size, " \t");
        bool starts = at == text || !strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789.", at[-1]);
        if (starts && *after == '=' && after[1] != '=') break;
    }
    int line = 1;
    for (const char *c = text; at && c < at; c++) line += *c == '\n';
    return line;
}

static void add_has(struct foreign_target *t, const char *name) {
    t->has = xrealloc(t->has, (t->has_count + 1) * sizeof *t->has);
    t->has[t->has_count++] = xstrdup(name);
}

_Noreturn static void wrong(lua_State *L, const char *name, const char *format, const char *detail) {
    const struct foreign_target *t = state_of(L)->target;
    lua_pushfstring(L, "%s:%d: ", t->file_name, name ? line_of(t, name) : 1);
    lua_pushfstring(L, format, name, detail);
    lua_concat(L, 2);
    lua_error(L);
    abort();
}

static void check_operations(lua_State *L, struct foreign_target *t) {
    lua_getfield(L, -1, "operations");
    size_t count = 0;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1), count++) {
        if (lua_type(L, -2) != LUA_TSTRING) wrong(L, "operations", "'%s' is a table of functions by name", NULL);
        const char *name = lua_tostring(L, -2);
        if (!lua_isfunction(L, -1)) {
            wrong(L, name, "operation '%s' must be a function, not a %s", luaL_typename(L, -1));
        }
        add_has(t, name);
    }
    if (count == 0) wrong(L, "operations", "'%s' is empty; there must be one at least, such as read", NULL);
    lua_pop(L, 1);
}

static char *optional_text(lua_State *L, const char *table, const char *name) {
    char *text = NULL;
    if (lua_getfield(L, -1, table) == LUA_TTABLE) {
        int type = lua_getfield(L, -1, name);
        if (type != LUA_TNIL && type != LUA_TSTRING) {
            wrong(L, name, "'%s' of install must be a text, not a %s", luaL_typename(L, -1));
        }
        if (type == LUA_TSTRING) text = xstrdup(lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return text;
}

static const struct field *field_find(const char *name) {
    for (size_t i = 0; i < FIELDS_COUNT; i++) {
        if (strcmp(fields[i].name, name) == 0) return &fields[i];
    }
    return NULL;
}

static int check_file(lua_State *L) {
    struct foreign_target *t = lua_touserdata(L, 1);
    state_push_file(L);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
        const struct field *f = name ? field_find(name) : NULL;
        if (!f) wrong(L, name, name ? "there is no field '%s' in a target" : "%sa target has fields by name only", "");
        if (lua_type(L, -1) == f->type) continue;
        lua_pushfstring(L, "%s, not a %s", lua_typename(L, f->type), luaL_typename(L, -1));
        wrong(L, name, "'%s' must be a %s", lua_tostring(L, -1));
    }
    for (size_t i = 0; i < FIELDS_COUNT; i++) {
        int type = lua_getfield(L, -1, fields[i].name);
        bool truth = type == LUA_TBOOLEAN && lua_toboolean(L, -1);
        lua_pop(L, 1);
        if (type == LUA_TNIL && fields[i].needed) {
            luaL_error(L, "%s: the target has no '%s' (a %s)", t->file_name, fields[i].name,
                       lua_typename(L, fields[i].type));
        }
        if (type == LUA_TFUNCTION || truth) add_has(t, fields[i].name);
    }
    lua_getfield(L, -1, "doc");
    t->doc = xstrdup(lua_tostring(L, -1));
    lua_pop(L, 1);
    t->package = optional_text(L, "install", "package");
    t->command = optional_text(L, "install", "command");
    settings_read(L, t);
    check_operations(L, t);
    return 0;
}

/* Absolute, since nodes run elsewhere; of a shipped target, which is no file, any. */
static char *folder_of(const char *file_name) {
    const char *slash = strrchr(file_name, '/');
    char *folder = slash ? xformat("%.*s", (int)(slash - file_name) + 1, file_name) : xstrdup(".");
    char *whole = realpath(folder, NULL), *copy = xstrdup(whole ? whole : folder);
    free(whole);
    free(folder);
    return copy;
}

struct foreign_target *foreign_load(const char *file_name, struct bytes text, struct error *e) {
    struct foreign_target *t = xcalloc(1, sizeof *t);
    t->file_name = xstrdup(file_name);
    t->folder = folder_of(file_name);
    const char *base = strrchr(file_name, '/');
    t->name = xstrdup(base ? base + 1 : file_name);
    size_t size = strlen(t->name);
    if (size > 4 && strcmp(t->name + size - 4, ".lua") == 0) t->name[size - 4] = 0;
    if (text.size) buffer_append(&t->text, text.data, text.size);
    buffer_append(&t->text, "", 1); /* for line_of; not part of the text */
    t->text.size--;
    struct state s = {0};
    int result = state_open(&s, t, NULL, -1, e);
    if (!result) {
        result = state_protect(&s, check_file, t, e);
        state_close(&s);
    }
    if (!result) return t;
    foreign_free(t);
    return NULL;
}

void foreign_free(struct foreign_target *t) {
    if (!t) return;
    for (size_t i = 0; i < t->has_count; i++) free(t->has[i]);
    free(t->has);
    free(t->file_name);
    free(t->folder);
    free(t->name);
    free(t->doc);
    free(t->package);
    free(t->command);
    free(t->missing);
    settings_free(t);
    buffer_free(&t->text);
    free(t);
}

const char *foreign_name(const struct foreign_target *t) {
    return t->name;
}

const char *foreign_doc(const struct foreign_target *t) {
    return t->doc;
}

bool foreign_has(const struct foreign_target *t, const char *what) {
    for (size_t i = 0; i < t->has_count; i++) {
        if (strcmp(t->has[i], what) == 0) return true;
    }
    return false;
}

static bool in_path(const char *command) {
    if (strchr(command, '/')) return access(command, X_OK) == 0;
    const char *path = getenv("PATH");
    for (const char *at = path ? path : "/usr/bin:/bin"; *at;) {
        size_t size = strcspn(at, ":");
        char *file = xformat("%.*s/%s", (int)size, at, command);
        bool found = size && access(file, X_OK) == 0;
        free(file);
        if (found) return true;
        at += size + (at[size] == ':');
    }
    return false;
}

const char *foreign_missing(struct foreign_target *t) {
    free(t->missing);
    t->missing = NULL;
    if (!t->command || in_path(t->command)) return NULL;
    if (t->package) {
        t->missing = xformat("needs the command %s: apt-get install %s", t->command, t->package);
    } else {
        t->missing = xformat("needs the command %s, which is not in PATH", t->command);
    }
    return t->missing;
}

/* --- the command of a node ---------------------------------------------------------------------------------------- */

struct asking {
    const struct foreign_cluster *cluster;
    uint32_t node;
    struct foreign_command *out;
};

/* Makes the folders above a file. */
static int make_folders(char *path) {
    for (char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
        *at = 0;
        int failed = mkdir(path, 0755) && errno != EEXIST;
        *at = '/';
        if (failed) return -1;
    }
    return 0;
}

/* A path is below the node's folder: relative to it, or absolute within it. */
static void write_file(lua_State *L, const char *folder, const char *name, struct bytes text) {
    size_t size = strlen(folder);
    bool within = strncmp(name, folder, size) == 0 && name[size] == '/';
    if (within) name += size + 1;
    if (*name == '/' || !*name || strstr(name, "..")) {
        luaL_error(L, "files: '%s' is not below the node's folder %s", name, folder);
    }
    char path[1024];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        luaL_error(L, "files: a path is too long");
    FILE *file = make_folders(path) ? NULL : fopen(path, "we");
    bool written = file && fwrite(text.data, 1, text.size, file) == text.size;
    if (file && fclose(file)) written = false;
    if (!written) luaL_error(L, "files: %s: %s", path, strerror(errno));
}

static void write_files(lua_State *L, const struct asking *a) {
    if (lua_getfield(L, -1, "files") != LUA_TNIL) {
        if (!lua_istable(L, -1)) luaL_error(L, "node: files is a table of texts by path");
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING) {
                luaL_error(L, "node: files is a table of texts by path");
            }
            size_t size;
            const char *text = lua_tolstring(L, -1, &size);
            write_file(L, a->cluster->nodes[a->node].folder, lua_tostring(L, -2), bytes_of(text, size));
        }
    }
    lua_pop(L, 1);
}

static void take_argv(lua_State *L, struct foreign_command *out) {
    if (lua_getfield(L, -1, "argv") != LUA_TTABLE) luaL_error(L, "node: argv is a list: the program, its arguments");
    size_t count = lua_rawlen(L, -1);
    if (count == 0 || count > ARGUMENTS_MAX) luaL_error(L, "node: argv has 1 to %d elements", ARGUMENTS_MAX);
    out->argv = xcalloc(count + 1, sizeof *out->argv);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        if (!lua_isstring(L, -1)) luaL_error(L, "node: argv[%d] is a %s", (int)i + 1, luaL_typename(L, -1));
        out->argv[i] = xstrdup(lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void take_env(lua_State *L, struct foreign_command *out) {
    size_t count = 0;
    out->env = xcalloc(1, sizeof *out->env);
    int type = lua_getfield(L, -1, "env");
    if (type != LUA_TNIL && type != LUA_TTABLE) luaL_error(L, "node: env is a table of texts by name");
    if (type == LUA_TTABLE) {
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            if (lua_type(L, -2) != LUA_TSTRING || !lua_isstring(L, -1)) {
                luaL_error(L, "node: env is a table of texts by name");
            }
            out->env = xrealloc(out->env, (count + 2) * sizeof *out->env);
            lua_pushvalue(L, -1);
            out->env[count++] = xformat("%s=%s", lua_tostring(L, -3), lua_tostring(L, -1));
            out->env[count] = NULL;
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}

static int ask_command(lua_State *L) {
    const struct asking *a = lua_touserdata(L, 1);
    state_push_file(L);
    lua_getfield(L, -1, "node");
    state_push_cluster(L);
    state_push_node(L, a->node);
    lua_call(L, 2, 1);
    if (!lua_istable(L, -1)) luaL_error(L, "node returned a %s, not a table with argv", luaL_typename(L, -1));
    take_argv(L, a->out);
    take_env(L, a->out);
    write_files(L, a);
    return 0;
}

int foreign_command(struct foreign_target *t, const struct foreign_cluster *c, uint32_t node,
                    struct foreign_command *out, struct error *e) {
    assert(node < c->size && c->size <= FOREIGN_NODES_MAX);
    *out = (struct foreign_command){0};
    struct asking a = {c, node, out};
    struct state s = {0};
    if (state_open(&s, t, c, -1, e)) return -1;
    state_begin(&s, monotonic_ns() + FOREIGN_LOAD_NS);
    int result = state_protect(&s, ask_command, &a, e);
    state_close(&s);
    if (result) foreign_command_free(out);
    return result;
}

void foreign_command_free(struct foreign_command *c) {
    for (char **at = c->argv; at && *at; at++) free(*at);
    for (char **at = c->env; at && *at; at++) free(*at);
    free(c->argv);
    free(c->env);
    *c = (struct foreign_command){0};
}
