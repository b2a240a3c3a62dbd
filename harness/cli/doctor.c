/* harrow doctor: what this machine can and cannot do for harrow, and how to fix it. The simulator needs nothing but a
 * store that can be written; what the local world needs is in doctor_local.c. */
#include "harness/cli/doctor.h"

#include <errno.h>
#include <lua.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SPACE_LOW_BYTES (UINT64_C(100) << 20)

void doctor_say(struct doctor *d, const char *what, const char *state, const char *detail, const char *fix) {
    json_array_append_new(d->array, json_pack("{s:s, s:s, s:o, s:o}", "what", what, "state", state, "detail",
                                              json_text(detail), "fix", fix ? json_text(fix) : json_null()));
    if (d->c->json) return;
    printf("%-9s %-8s %s\n", what, state, detail);
    if (fix) printf("%-9s %-8s -> %s\n", "", "", fix);
}

static void look_at_gnuplot(struct doctor *d) {
    char line[128] = "";
    FILE *in = popen("gnuplot --version 2>/dev/null", "r");
    if (in) {
        if (!fgets(line, sizeof line, in)) line[0] = 0;
        pclose(in);
    }
    line[strcspn(line, "\n")] = 0;
    if (*line)
        doctor_say(d, "gnuplot", "ok", line, NULL);
    else
        doctor_say(d, "gnuplot", "missing", "reports will have no plots", "apt-get install gnuplot-nox");
}

/* The nearest folder that is there: the store itself is made by the first run. */
static char *existing_parent(const char *path) {
    char *at = xstrdup(path);
    struct stat st;
    while (stat(at, &st) && errno == ENOENT) {
        char *slash = strrchr(at, '/');
        if (!slash || slash == at) {
            free(at);
            return xstrdup(slash ? "/" : ".");
        }
        *slash = 0;
    }
    return at;
}

static void look_at_store(struct doctor *d) {
    const char *path = d->c->out ? d->c->out : "store";
    char *folder = existing_parent(path), detail[512];
    struct statvfs fs;
    if (access(folder, W_OK | X_OK)) {
        snprintf(detail, sizeof detail, "%s cannot be written: %s", path, strerror(errno));
        doctor_say(d, "store", "broken", detail, "choose another folder with --out DIR");
        d->broken = true;
    } else {
        snprintf(detail, sizeof detail, "%s can be written", path);
        doctor_say(d, "store", "ok", detail, NULL);
    }
    if (statvfs(folder, &fs) == 0) {
        uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
        bool low = free_bytes < SPACE_LOW_BYTES;
        snprintf(detail, sizeof detail, "%llu MiB free", (unsigned long long)(free_bytes >> 20));
        doctor_say(d, "disk", low ? "low" : "ok", detail,
                   low ? "make room, or choose another folder with --out DIR" : NULL);
    }
    free(folder);
}

int command_doctor(struct cli *c) {
    struct doctor d = {.c = c, .array = json_array()};
    char machine[256];
    cli_machine(machine, sizeof machine);
    doctor_say(&d, "harrow", "ok", HARROW_VERSION, NULL);
    doctor_say(&d, "machine", "ok", machine, NULL);
    doctor_say(&d, "lua", "ok", LUA_RELEASE, NULL);
    doctor_say(&d, "sqlite", "ok", sqlite3_libversion(), NULL);
    look_at_gnuplot(&d);
    look_at_store(&d);
    doctor_say(&d, "terminal", "ok", isatty(STDOUT_FILENO) ? "yes: colours and a progress line" : "no: plain text",
               NULL);
    doctor_say(&d, "sim", "ok", "every fault: link, kill, pause, slow, clock, power, disk", NULL);
    bool local = doctor_local(&d);
    if (c->json)
        cli_print_json(d.array);
    else
        json_decref(d.array);
    if (d.broken) return EXIT_INVALID;
    return local ? EXIT_VALID : EXIT_UNKNOWN;
}
