/* What a person sees of one run: its header, a progress line on a terminal, its checks, its last lines. */
#include "harness/cli/cli.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

void print_header(FILE *out, const struct run_options *o) {
    fprintf(out, "%s on %s%s%s in the %s world", o->scenario_name, o->target, *o->mutant ? " with mutant " : "",
            o->mutant, o->world);
    for (size_t i = 0; i < o->sets_count; i++)
        fprintf(out, "%s%s=%s", i ? " " : ", with ", o->sets[i].key, o->sets[i].value);
    fputc('\n', out);
}

static void print_indented(FILE *out, const char *text, const char *indent) {
    while (*text) {
        size_t size = strcspn(text, "\n");
        fprintf(out, "%s%.*s\n", indent, (int)size, text);
        text += size + (text[size] == '\n');
    }
}

void print_checks(FILE *out, const struct check_result *checks, size_t count) {
    int width = 0;
    for (size_t i = 0; i < count; i++) {
        int size = (int)strlen(checks[i].name);
        if (size > width) width = size;
    }
    for (size_t i = 0; i < count; i++) {
        const struct check_result *c = &checks[i];
        int pad = 7 - (int)strlen(verdict_name(c->verdict));
        fprintf(out, "  %-*s  %s%*s  %s\n", width, c->name, cli_verdict_text(c->verdict, out), pad > 0 ? pad : 0, "",
                c->detail);
    }
}

static void print_explanations(FILE *out, const struct run_result *r) {
    for (size_t i = 0; i < r->checks_count; i++) {
        const struct check_result *c = &r->checks[i];
        if (c->verdict != VERDICT_INVALID || !c->explanation || !*c->explanation) continue;
        fprintf(out, "\n%s:\n", c->name);
        print_indented(out, c->explanation, "    ");
    }
}

void print_result(FILE *out, const struct run_result *r, const struct run_options *o, bool brief) {
    bool simulated = strcmp(o->world, "sim") == 0;
    if (!brief) {
        fprintf(out, "%llu operations ok, %llu failed, %llu unknown; %llu faults; %.1f %sseconds in %.2f s\n",
                (unsigned long long)r->ops_ok, (unsigned long long)r->ops_fail, (unsigned long long)r->ops_info,
                (unsigned long long)r->faults, r->virtual_seconds, simulated ? "virtual " : "", r->wall_seconds);
        print_checks(out, r->checks, r->checks_count);
        print_explanations(out, r);
        fputc('\n', out);
    }
    if (*r->warning) fprintf(out, "note     %s\n", r->warning);
    fprintf(out, "verdict  %s\n", cli_verdict_text(r->verdict, out));
    fprintf(out, "why      %s\n", r->why);
    if (*r->report_path) fprintf(out, "report   %s\n", r->report_path);
    struct buffer replay = {0};
    run_replay_command(o, &replay);
    fprintf(out, "%-8s %s\n", simulated ? "replay" : "again", (const char *)replay.data);
    buffer_free(&replay);
}

/* --- the progress line --- */

void progress_line_start(struct progress_line *p, const struct cli *c) {
    p->on = !c->quiet && isatty(STDERR_FILENO);
    p->start_wall_ns = monotonic_ns();
}

void progress_line_text(struct progress_line *p, const char *format, ...) {
    if (!p->on) return;
    char line[160];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    fprintf(stderr, "\r\033[K%.79s", line);
    fflush(stderr);
}

void progress_line_run(void *ctx, double fraction, const struct history *h) {
    struct progress_line *p = ctx;
    double gone = (double)(monotonic_ns() - p->start_wall_ns) / (double)NS_PER_S;
    double left = fraction > 0.01 ? gone / fraction - gone : 0;
    progress_line_text(p, "%3.0f%%  %u operations, %u faults, %.0f s left", fraction * 100, h->count, h->faults_count,
                       left);
}

void progress_line_clear(struct progress_line *p) {
    if (!p->on) return;
    fprintf(stderr, "\r\033[K");
    fflush(stderr);
}
