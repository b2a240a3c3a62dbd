/* Where a command's runs take place: the local world needs namespaces around the whole process, and a foreign target is
 * a file of its own. */
#include <errno.h>
#include <stdlib.h>

#include "harness/cli/cli.h"
#include "harness/embedded.h"
#include "harness/local/namespaces.h"

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

static bool is_bundled(const char *name) {
    const struct target_info *t = targets_all();
    while (t->name && strcmp(t->name, name) != 0) t++;
    return t->name != NULL;
}

/* The texts live as long as the process: a command names one target. */
int cli_place(struct run_options *o, struct error *e) {
    static struct bytes adapter;
    static const char *adapter_of;
    bool is_path = strchr(o->target, '/') || strstr(o->target, ".lua");
    char *name = xformat("targets/%s.lua", o->target);
    const struct embedded_file *file = is_path || is_bundled(o->target) ? NULL : embedded_find(name);
    free(name);
    if (file || is_path) {
        bool known = adapter_of && strcmp(adapter_of, o->target) == 0;
        if (!known && is_path && read_adapter(&adapter, o->target, e)) return -1;
        if (!known && file) adapter = bytes_of(file->text, file->size);
        adapter_of = o->target;
        o->adapter = &adapter;
    }
    return strcmp(o->world, "local") == 0 ? namespaces_enter(e) : 0;
}
