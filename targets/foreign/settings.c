/* Settings of a target: which ones its file declares, and what stands for them behind its name. */
#include "targets/foreign/internal.h"

#include <ctype.h>
#include <stdlib.h>

/* --- what the file declares --- */

static void add_value(lua_State *L, struct foreign_setting *s, const char *name) {
    if (!lua_isstring(L, -1)) {
        luaL_error(L, "%s: setting '%s' is a text, its default, or a list of texts, the default first, not a %s",
                   state_of(L)->target->file_name, name, luaL_typename(L, -1));
    }
    s->values = xrealloc(s->values, (s->values_count + 1) * sizeof *s->values);
    lua_pushvalue(L, -1); /* a number becomes a text, but not under the hands of lua_next */
    s->values[s->values_count++] = xstrdup(lua_tostring(L, -1));
    lua_pop(L, 1);
}

static int compare_names(const void *a, const void *b) {
    return strcmp(((const struct foreign_setting *)a)->name, ((const struct foreign_setting *)b)->name);
}

static bool is_name(const char *text, size_t size) {
    size_t letters = 0;
    while (letters < size && (isalnum((unsigned char)text[letters]) || text[letters] == '_')) letters++;
    return size > 0 && letters == size && !isdigit((unsigned char)*text);
}

void settings_read(lua_State *L, struct foreign_target *t) {
    if (lua_getfield(L, -1, "settings") == LUA_TTABLE) {
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
            if (!is_name(name, strlen(name)))
                luaL_error(L, "%s: a setting's name is made of letters, digits and _", t->file_name);
            t->settings = xrealloc(t->settings, (t->settings_count + 1) * sizeof *t->settings);
            struct foreign_setting *s = &t->settings[t->settings_count++];
            *s = (struct foreign_setting){.name = xstrdup(name)};
            if (!lua_istable(L, -1)) {
                add_value(L, s, name);
                continue;
            }
            size_t count = lua_rawlen(L, -1);
            if (count == 0) luaL_error(L, "%s: setting '%s' has no values", t->file_name, name);
            for (size_t i = 1; i <= count; i++, lua_pop(L, 1)) {
                lua_rawgeti(L, -1, (lua_Integer)i);
                add_value(L, s, name);
            }
        }
        if (t->settings_count) qsort(t->settings, t->settings_count, sizeof *t->settings, compare_names);
    }
    lua_pop(L, 1);
}

void settings_free(struct foreign_target *t) {
    for (size_t i = 0; i < t->settings_count; i++) {
        struct foreign_setting *s = &t->settings[i];
        for (size_t n = 0; n < s->values_count; n++) free(s->values[n]);
        free(s->values);
        free(s->name);
    }
    free(t->settings);
}

const struct foreign_setting *foreign_settings_all(const struct foreign_target *t, size_t *count) {
    *count = t->settings_count;
    return t->settings;
}

/* --- what stands behind the name --- */

/* Whether a setting follows the colon: NAME=. Another colon belongs to the path. */
static bool begins_setting(const char *colon) {
    const char *equals = strchr(colon, '=');
    return equals && is_name(colon + 1, (size_t)(equals - colon - 1));
}

size_t foreign_name_size(const char *spec) {
    const char *colon = strchr(spec, ':');
    while (colon && !begins_setting(colon)) colon = strchr(colon + 1, ':');
    return colon ? (size_t)(colon - spec) : strlen(spec);
}

static const struct foreign_setting *find(const struct foreign_target *t, const char *name, size_t size) {
    for (size_t i = 0; i < t->settings_count; i++) {
        const struct foreign_setting *s = &t->settings[i];
        if (strlen(s->name) == size && memcmp(s->name, name, size) == 0) return s;
    }
    return NULL;
}

static int refuse_name(const struct foreign_target *t, const char *name, size_t size, struct error *e) {
    if (t->settings_count == 0) return error_set(e, "%s has no settings, and so no %.*s", t->name, (int)size, name);
    struct buffer names = {0};
    for (size_t i = 0; i < t->settings_count; i++) buffer_printf(&names, "%s%s", i ? ", " : "", t->settings[i].name);
    buffer_append(&names, "", 1);
    error_set(e, "%s has no setting %.*s; it has %s", t->name, (int)size, name, (const char *)names.data);
    buffer_free(&names);
    return -1;
}

static int check_value(const struct foreign_target *t, const struct foreign_setting *s, const char *value,
                       struct error *e) {
    for (size_t i = 0; i < s->values_count; i++) {
        if (strcmp(s->values[i], value) == 0) return 0;
    }
    if (s->values_count == 1) return 0;
    struct buffer values = {0};
    for (size_t i = 0; i < s->values_count; i++) buffer_printf(&values, "%s%s", i ? ", " : "", s->values[i]);
    buffer_append(&values, "", 1);
    error_set(e, "%s of %s cannot be \"%s\"; it is one of %s", s->name, t->name, value, (const char *)values.data);
    buffer_free(&values);
    return -1;
}

/* One NAME=VALUE that ends at the next colon. */
static int take_setting(const struct foreign_target *t, const char *text, size_t size, char **settings,
                        struct error *e) {
    const char *equals = memchr(text, '=', size);
    size_t name_size = equals ? (size_t)(equals - text) : size;
    const struct foreign_setting *s = find(t, text, name_size);
    if (!equals) return error_set(e, "\"%.*s\" is no setting; write NAME=VALUE", (int)size, text);
    if (!s) return refuse_name(t, text, name_size, e);
    size_t at = 2 * (size_t)(s - t->settings) + 1;
    free(settings[at]);
    settings[at] = xformat("%.*s", (int)(size - name_size - 1), equals + 1);
    return check_value(t, s, settings[at], e);
}

char **foreign_settings(const struct foreign_target *t, const char *spec, struct error *e) {
    char **settings = xcalloc(2 * t->settings_count + 1, sizeof *settings);
    for (size_t i = 0; i < t->settings_count; i++) {
        settings[2 * i] = xstrdup(t->settings[i].name);
        settings[2 * i + 1] = xstrdup(t->settings[i].values[0]);
    }
    for (const char *at = spec + foreign_name_size(spec); *at;) {
        size_t size = strcspn(at + 1, ":");
        if (take_setting(t, at + 1, size, settings, e)) {
            foreign_settings_free(settings);
            return NULL;
        }
        at += 1 + size;
    }
    return settings;
}

void foreign_settings_free(char **settings) {
    for (char **at = settings; at && *at; at++) free(*at);
    free(settings);
}
