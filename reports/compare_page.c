/* The page of a comparison: what was compared and whether it may be, the plots, the table of medians, and how to run
 * again what is not valid. */
#include "reports/compare_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define FAULTY_RUNS_MAX 50u

bool compare_all_valid(const struct comparison *c) {
    for (uint32_t t = 0; t < c->targets_count; t++)
        if (c->targets[t].valid < c->targets[t].runs_count) return false;
    return true;
}

static enum verdict worst(const struct comparison *c) {
    if (compare_all_valid(c)) return VERDICT_VALID;
    for (uint32_t t = 0; t < c->targets_count; t++)
        if (c->targets[t].invalid) return VERDICT_INVALID;
    return VERDICT_UNKNOWN;
}

static void put_names(struct buffer *out, const struct comparison *c) {
    for (uint32_t t = 0; t < c->targets_count; t++) buffer_printf(out, "%s%s", t ? ", " : "", c->targets[t].name);
    buffer_append(out, "", 1);
}

static void banner(struct buffer *out, const struct comparison *c) {
    struct buffer names = {0};
    put_names(&names, c);
    const struct compared_target *first = &c->targets[0];
    buffer_printf(out, "<header class=\"banner %s\"><div class=inside><p class=over>", verdict_name(worst(c)));
    html_text(out, c->scenario);
    buffer_printf(out, " \u00b7 %s world \u00b7 seeds %" PRIu64 " to %" PRIu64 "</p><h1>", c->world,
                  first->runs[0].seed, first->runs[first->runs_count - 1].seed);
    html_text(out, (const char *)names.data);
    buffer_printf(out, "</h1><p class=why>");
    if (compare_all_valid(c))
        html_text(out, c->doc);
    else
        buffer_printf(out, "Not every run is valid: figures of runs that are not do not compare with those that are.");
    buffer_printf(out, "</p><div class=replay><b>run again</b><code>");
    html_text(out, c->command);
    buffer_printf(out, "</code></div></div></header>\n<main>\n");
    buffer_free(&names);
}

static void faulty_runs(struct buffer *out, const struct comparison *c) {
    uint32_t shown = 0;
    if (compare_all_valid(c)) return;
    buffer_printf(out, "<section id=faulty class=bad-edge><h2>Runs that are not valid</h2><div class=wide><table>"
                       "<thead><tr><th>target</th><th class=r>seed</th><th>verdict</th><th>why, and how to run it "
                       "again</th></tr></thead><tbody>\n");
    for (uint32_t t = 0; t < c->targets_count; t++) {
        for (uint32_t i = 0; i < c->targets[t].runs_count && shown < FAULTY_RUNS_MAX; i++) {
            const struct compared_run *run = &c->targets[t].runs[i];
            if (run->done && run->verdict == VERDICT_VALID) continue;
            shown++;
            buffer_printf(out, "<tr><td class=k>");
            html_text(out, c->targets[t].name);
            const char *verdict = run->done ? verdict_name(run->verdict) : "no run";
            buffer_printf(out, "</td><td class=r>%" PRIu64 "</td><td><span class=\"chip %s\">%s</span></td><td>",
                          run->seed, run->done ? verdict : "unknown", verdict);
            html_clipped(out, bytes_str(text_or(run->why, "")), TEXT_BYTES_MAX);
            buffer_printf(out, "<br><code>");
            html_text(out, run->replay);
            buffer_printf(out, "</code></td></tr>\n");
        }
    }
    buffer_printf(out, "</tbody></table></div></section>\n");
}

static void table(struct buffer *out, const struct comparison *c) {
    uint32_t count = 0;
    struct compare_row *rows = compare_rows(c, &count);
    buffer_printf(out, "<section id=figures><h2>Figures<small>median over the runs; least to greatest beside it</small>"
                       "</h2><div class=wide><table><thead><tr><th></th>");
    for (uint32_t t = 0; t < c->targets_count; t++) {
        buffer_printf(out, "<th class=r colspan=2>");
        html_text(out, c->targets[t].name);
        buffer_printf(out, "</th>");
    }
    buffer_printf(out, "</tr></thead><tbody>\n<tr><td class=k>runs</td>");
    for (uint32_t t = 0; t < c->targets_count; t++) {
        char *verdicts = compare_verdicts(&c->targets[t]);
        buffer_printf(out, "<td class=r colspan=2>%s</td>", verdicts);
        free(verdicts);
    }
    buffer_printf(out, "</tr>\n");
    for (uint32_t i = 0; i < count; i++) {
        char *label = compare_row_label(&rows[i]);
        buffer_printf(out, "<tr><td class=k>");
        html_text(out, label);
        buffer_printf(out, "</td>");
        free(label);
        for (uint32_t t = 0; t < c->targets_count; t++) {
            struct spread s = compare_spread(&rows[i], &c->targets[t]);
            buffer_printf(out, "<td class=r>");
            if (s.count)
                compare_put_figure(out, s.median);
            else
                buffer_printf(out, "\u2013");
            buffer_printf(out, "</td><td class=\"r quiet\">");
            if (s.count > 1 && s.min < s.max) {
                compare_put_figure(out, s.min);
                buffer_printf(out, "\u2026");
                compare_put_figure(out, s.max);
            }
            buffer_printf(out, "</td>");
        }
        buffer_printf(out, "</tr>\n");
    }
    buffer_printf(out,
                  "</tbody></table></div>\n<p class=note>Per operation means per committed operation: one that "
                  "ended ok in the main phase. %s</p></section>\n",
                  c->virtual_time
                      ? "Messages and bytes are the protocol's; CPU time is the simulator's own, with clients, network "
                        "and oracles, and the one figure that differs when the same is run again."
                      : "Messages and bytes are frames between nodes with their headers; CPU time is that of the node "
                        "processes.");
    free(rows);
}

static void plots(struct buffer *out, const struct comparison *c, const struct compare_plots *p) {
    static const struct error nothing = {"there was no fault to recover from"};
    buffer_printf(out, "<section id=plots><h2>Side by side</h2>\n");
    if (c->targets_count > COMPARE_CURVES_MAX)
        buffer_printf(out, "<p class=note>The plots show the first %u of %" PRIu32 " targets.</p>\n",
                      COMPARE_CURVES_MAX, c->targets_count);
    plot_print(out, &p->latency, "Latency: how many operations took at most so long", &p->why);
    buffer_printf(out, "<h3>Throughput<small>median and range over the runs; shaded by the share of runs under a fault"
                       "</small></h3>\n");
    for (uint32_t t = 0; t < c->targets_count && t < COMPARE_CURVES_MAX; t++)
        plot_print(out, &p->throughput[t], "", &p->why);
    plot_print(out, &p->recovery, "After each fault: from its start to the first answer, from its end to half the rate",
               p->why.text[0] ? &p->why : &nothing);
    if (p->recovery.size) buffer_printf(out, "<p class=note>Less than 1 ms is drawn at 1 ms.</p>\n");
    buffer_printf(out, "</section>\n");
}

int compare_write_page(const struct comparison *c, const char *folder, struct error *warning, struct error *e) {
    struct compare_plots p;
    struct buffer page = {0};
    char *path = xformat("%s/compare.html", folder);
    warning->text[0] = 0;
    compare_plots_make(c, folder, &p);
    if (p.why.text[0]) error_set(warning, "plots are missing from %s: %.300s", path, p.why.text);
    page_open(&page, "compare", c->scenario);
    banner(&page, c);
    faulty_runs(&page, c);
    plots(&page, c, &p);
    table(&page, c);
    page_close(&page);
    int failed = file_replace(path, &page, e);
    compare_plots_free(&p);
    buffer_free(&page);
    free(path);
    return failed;
}
