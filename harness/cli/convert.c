/* harrow convert: a history from a file of any format into JSON lines or EDN. */
#include "harness/cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* A file that could not be written whole is no history: it goes. */
static int write_file(const struct history *h, enum history_format format, const char *path, struct error *e) {
    FILE *out = fopen(path, "we");
    if (!out) return error_set(e, "cannot write %s: %s", path, strerror(errno));
    int rc = history_export(h, format, out, e);
    if (fclose(out) && rc == 0) rc = error_set(e, "cannot write %s: %s", path, strerror(errno));
    if (rc) unlink(path);
    return rc;
}

static void summarize(const struct cli *c, const struct history *h, const struct import_result *r) {
    if (c->quiet) return;
    fprintf(stderr, "%s: %s, %u operations%s\n", c->arguments[0], history_format_name(r->format), h->count,
            r->cut_short ? "; its last line is cut short and was left out" : "");
}

int command_convert(struct cli *c) {
    struct history *h = history_new();
    struct import_result r = {0};
    struct error e = {{0}};
    enum history_format to = c->to == FORMAT_GUESS ? FORMAT_JSONL : c->to;
    int status = EXIT_VALID;
    if (history_import_file(c->arguments[0], c->format, h, &r, &e)) {
        status = cli_fail(EXIT_USAGE, c, &e);
    } else {
        summarize(c, h, &r);
        int rc = c->output ? write_file(h, to, c->output, &e) : history_export(h, to, stdout, &e);
        if (rc) status = cli_fail(EXIT_INTERNAL, c, &e);
    }
    history_free(h);
    return status;
}
