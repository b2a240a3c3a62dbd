/* The door of the room: loading and freeing a script, and finding a scenario by path or name. */
#include "harness/embedded.h"
#include "harness/script/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Raises in L the error that ended the coroutine, with its line. */
_Noreturn static void raise_of_thread(lua_State *L, lua_State *co, int status) {
    struct error e;
    script_error_of_thread(script_of(L), co, status, &e);
    lua_pushstring(L, e.text);
    lua_error(L);
    abort();
}

/* In a coroutine of its own, so that after an error its stack still tells the line. */
bool script_run_file(lua_State *L) {
    lua_State *co = lua_newthread(L);
    modules_compile(L, script_of(L)->text);
    lua_xmove(L, co, 1);
    int count, status = lua_resume(co, L, 0, &count);
    if (status == LUA_YIELD) {
        lua_pushliteral(co, "a file only returns its table; coroutine.yield has nobody to yield to here");
        status = LUA_ERRRUN;
    }
    if (status != LUA_OK) raise_of_thread(L, co, status);
    lua_settop(co, count ? 1 - count + lua_gettop(co) : 0);
    if (count == 0) lua_pushnil(co);
    lua_xmove(co, L, 1);
    lua_remove(L, -2);
    return count > 0;
}

static int load_body(lua_State *L) {
    if (!script_run_file(L)) script_fail_at(L, 0, "a scenario must return a table: return { workload = ... }");
    scenario_read(L);
    return 0;
}

struct script *script_load_with(const char *name, struct bytes text, const struct script_options *o, lua_CFunction body,
                                struct error *e) {
    static const struct script_options defaults = {0};
    struct script *s = xcalloc(1, sizeof *s);
    struct error ignored;
    if (!e) e = &ignored;
    s->options = o ? o : &defaults;
    s->seed = s->options->seed;
    s->name = arena_copy(&s->arena, name, strlen(name) + 1);
    s->scenario.name = s->name;
    s->text = text;
    s->sets_used = xcalloc(s->options->sets_count + 1, sizeof *s->sets_used);
    prng_seed(&s->load_prng, s->seed, STREAM_LOAD);
    int failed = sandbox_open(s, e) || script_protect(s, &s->load_prng, body, NULL, e);
    free(s->sets_used);
    s->sets_used = NULL;
    s->options = NULL;
    s->text = (struct bytes){0};
    s->loaded = true;
    if (!failed) return s;
    script_free(s);
    return NULL;
}

struct script *script_load(const char *name, struct bytes text, const struct script_options *o, struct error *e) {
    struct script *s = script_load_with(name, text, o, load_body, e);
    if (s) generators_start(s);
    return s;
}

void script_free(struct script *s) {
    if (!s) return;
    if (s->workload && !s->workload_is_lua) s->workload->ops->free(s->workload);
    if (s->final_reads && !s->workload_is_lua) s->final_reads->ops->free(s->final_reads);
    sandbox_close(s);
    arena_free(&s->arena);
    free(s->params);
    free(s->faults);
    free(s);
}

const struct scenario *script_scenario(const struct script *s) {
    return &s->scenario;
}

struct generator *script_workload(struct script *s) {
    return s->workload;
}

struct generator *script_final_reads(struct script *s) {
    return s->final_reads;
}

/* --- finding --- */

static int read_whole(FILE *file, struct buffer *out) {
    char block[4096];
    for (size_t size; (size = fread(block, 1, sizeof block, file)) > 0;) {
        buffer_append(out, block, size);
        if (out->size > SCRIPT_SOURCE_BYTES_MAX) return 0; /* the loader refuses it, saying why */
    }
    return ferror(file) ? -1 : 0;
}

static int find_embedded(const char *argument, char **name, struct bytes *text) {
    static const struct {
        const char *before, *after;
    } forms[] = {{"", ""}, {"scenarios/", ""}, {"scenarios/", ".lua"}, {"", ".lua"}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char path[256];
        int size = snprintf(path, sizeof path, "%s%s%s", forms[i].before, argument, forms[i].after);
        if (size < 0 || (size_t)size >= sizeof path) continue;
        const struct embedded_file *file = embedded_find(path);
        if (!file) continue;
        void *copy = xmalloc(file->size + 1);
        memcpy(copy, file->text, file->size + 1);
        *name = xstrdup(file->name);
        *text = bytes_of(copy, file->size);
        return 0;
    }
    return -1;
}

int script_find(const char *argument, char **name, struct bytes *text, struct error *e) {
    FILE *file = fopen(argument, "rb");
    if (!file) {
        int why = errno;
        if (find_embedded(argument, name, text) == 0) return 0;
        return error_set(e, "%s: %s, and there is no scenario of that name; `harrow scenarios` lists them", argument,
                         strerror(why));
    }
    struct buffer content = {0};
    int failed = read_whole(file, &content), why = errno;
    fclose(file);
    if (failed) {
        buffer_free(&content);
        /* A folder opens but cannot be read; a name of a scenario may also be that of a folder. */
        if (find_embedded(argument, name, text) == 0) return 0;
        return error_set(e, "%s: %s", argument, strerror(why));
    }
    buffer_append(&content, "", 1);
    *name = xstrdup(argument);
    *text = bytes_of(content.data, content.size - 1);
    return 0;
}
