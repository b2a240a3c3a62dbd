/* Where a command's runs take place: the local world needs namespaces around the whole process, and a foreign target is
 * a file of its own. */
#include <errno.h>
#include <stdlib.h>

#include "harness/cli/cli.h"
#include "harness/embedded.h"
#include "harness/local/namespaces.h"
#include "targets/foreign/foreign.h"

#define ADAPTER_BYTES_MAX (1u << 20)

static int read_adapter(struct bytes *out, const char *path, struct error *e) {
    FILE *in = fopen(path, "rb");
    if (!in) return error_set(e, "cannot read the target %s: %s", path, strerror(errno));
    uint8_t *text = xmalloc(ADAPTER_BYTES_MAX + 1);
    size_t size = fread(text, 1, ADAPTER_BYTES_MAX + 1, in);
    bool failed = ferror(in) || size > ADAPTER_BYTES_MAX;
    fclose(in);
    if (failed) {
        free(text);
        return error_set(e, "cannot read the target %s: not a text of at most a megabyte", path);
    }
    *out = bytes_of(text, size);
    return 0;
}

bool cli_is_bundled(const char *name) {
    const struct target_info *t = targets_all();
    while (t->name && strcmp(t->name, name) != 0) t++;
    return t->name != NULL;
}

struct adapter { /* the file of a foreign target, kept as long as the process lives */
    char *name;
    struct bytes text;
    struct adapter *next;
};

static struct adapter *adapters;

static const struct bytes *known_adapter(const char *file_name) {
    const struct adapter *a = adapters;
    while (a && strcmp(a->name, file_name) != 0) a = a->next;
    return a ? &a->text : NULL;
}

static const struct bytes *keep_adapter(const char *file_name, struct bytes text) {
    struct adapter *a = xcalloc(1, sizeof *a);
    *a = (struct adapter){xstrdup(file_name), text, adapters};
    adapters = a;
    return &a->text;
}

/* *out is the file of a foreign target, NULL for another one. */
static int find_adapter(const char *target, const struct bytes **out, struct error *e) {
    char *file_name = xformat("%.*s", (int)foreign_name_size(target), target);
    char *embedded_name = xformat("targets/%s.lua", file_name);
    bool is_path = strchr(file_name, '/') || strstr(file_name, ".lua");
    const struct embedded_file *file = is_path || cli_is_bundled(file_name) ? NULL : embedded_find(embedded_name);
    struct bytes text = file ? bytes_of(file->text, file->size) : (struct bytes){0};
    int failed = 0;
    *out = known_adapter(file_name);
    if (!*out && is_path) failed = read_adapter(&text, file_name, e);
    if (!*out && !failed && (file || is_path)) *out = keep_adapter(file_name, text);
    free(file_name);
    free(embedded_name);
    return failed;
}

static struct foreign_target *load(const struct run_options *o, const struct bytes *adapter, struct error *e) {
    char *file_name = xformat("%.*s", (int)foreign_name_size(o->target), o->target);
    struct foreign_target *t = foreign_load(file_name, *adapter, e);
    free(file_name);
    return t;
}

static int check_settings(const struct run_options *o, struct error *e) {
    struct foreign_target *t = load(o, o->adapter, e);
    char **settings = t ? foreign_settings(t, o->target, e) : NULL;
    foreign_free(t);
    foreign_settings_free(settings);
    return settings ? 0 : -1;
}

int cli_place(struct run_options *o, struct error *e) {
    if (find_adapter(o->target, &o->adapter, e) || (o->adapter && check_settings(o, e))) return -1;
    if (strcmp(o->world, "local") == 0) return namespaces_enter(e);
    if (o->pcap || o->record)
        return error_set(e, "--pcap and --record need real frames and processes: --world local has them");
    return 0;
}

void cli_hint_settings(const struct run_options *o, struct error *e) {
    struct error ignored;
    const struct bytes *adapter;
    if (find_adapter(o->target, &adapter, &ignored) || !adapter) return;
    struct foreign_target *t = load(o, adapter, &ignored);
    if (!t) return;
    size_t count;
    const struct foreign_setting *settings = foreign_settings_all(t, &count);
    struct buffer names = {0};
    bool meant = strstr(e->text, "--set") != NULL;
    for (size_t i = 0; i < count; i++) {
        buffer_printf(&names, "%s%s", i ? ", " : "", settings[i].name);
        for (size_t n = 0; n < o->sets_count; n++) meant = meant || strcmp(settings[i].name, o->sets[n].key) == 0;
    }
    buffer_append(&names, "", 1);
    if (meant && count) {
        struct error said = *e;
        error_set(e, "%s. %s has settings of its own, given as --target %s:NAME=VALUE: %s", said.text, foreign_name(t),
                  foreign_name(t), (const char *)names.data);
    }
    buffer_free(&names);
    foreign_free(t);
}
