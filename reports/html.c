/* report_html: computes what the sections share, draws the plots, and puts the page together in the order in which a
 * person asks: did it hold, what broke, when, under which faults, and only then everything else. */
#include "reports/internal.h"

#include <stdio.h>
#include <stdlib.h>

/* A window wider than this share of the run would mark everything, and so nothing. */
#define WINDOW_PERCENT_MAX 40u

static void marks_collect(struct view *v) {
    v->window.start_ns = UINT64_MAX;
    for (uint32_t i = 0; i < v->culprit->ops_count; i++) {
        uint32_t op = v->culprit->ops[i];
        if (op >= v->h->count) continue;
        uint64_t start = v->h->invoke_ns[op], end = v->h->complete_ns[op] == UINT64_MAX ? start : v->h->complete_ns[op];
        if (v->marks_count < LANE_OPS_MAX) v->marks[v->marks_count++] = (struct span){start, end};
        if (start < v->window.start_ns) v->window.start_ns = start;
        if (end > v->window.end_ns) v->window.end_ns = end;
    }
    v->has_window = v->marks_count > 0;
    if (!v->has_window || (v->window.end_ns - v->window.start_ns) / WINDOW_PERCENT_MAX > v->end_ns / 100) return;
    v->marks[0] = v->window;
    v->marks_count = 1;
}

static void view_init(struct view *v, const struct report_input *in) {
    *v = (struct view){.in = in, .run = in->run, .h = in->history, .end_ns = history_end_ns(in->history)};
    for (size_t i = 0; i < in->checks_count; i++) {
        const struct check_result *c = &in->checks[i];
        if (c->verdict != VERDICT_VALID && (!v->culprit || c->verdict > v->culprit->verdict)) v->culprit = c;
    }
    if (v->culprit) marks_collect(v);
    late_collect(v);
}

void page_open(struct buffer *out, const char *verdict, const char *name) {
    /* The policy is the second lock: even if a text slipped through as markup, the page could load nothing. */
    buffer_printf(out, "<!DOCTYPE html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
                       "<meta name=viewport content=\"width=device-width, initial-scale=1\">\n"
                       "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; "
                       "style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n<title>");
    html_text(out, verdict);
    buffer_printf(out, " \u00b7 ");
    html_text(out, name);
    buffer_printf(out, " \u00b7 harrow</title>\n");
    style_print(out);
    buffer_printf(out, "</head>\n<body>\n");
}

void plot_print(struct buffer *out, const struct buffer *svg, const char *title, const struct error *why) {
    buffer_printf(out, "<div class=chart>");
    if (*title) buffer_printf(out, "<h3>%s</h3>", title);
    if (svg->size) {
        buffer_append(out, svg->data, svg->size);
    } else {
        buffer_printf(out, "<p class=missing>This plot is missing: ");
        html_text(out, text_or(why->text, "there is nothing to plot"));
        buffer_printf(out, ".</p>");
    }
    buffer_printf(out, "</div>\n");
}

static void section_time(struct buffer *out, const struct view *v, const struct plots *p) {
    buffer_printf(out,
                  "<section id=time><h2>Over time<small>faults are shaded%s%s; point anywhere to read the time"
                  "</small></h2>\n",
                  v->has_window ? "; red marks the offending operations" : "",
                  v->bands_count ? "; grey bands mark where harrow itself was late" : "");
    fault_timeline(out, v);
    leader_timeline(out, v);
    plot_print(out, &p->throughput, "Throughput", &p->why);
    plot_print(out, &p->latency, "Latency", &p->why);
    fault_table(out, v);
    buffer_printf(out, "</section>\n");
}

void page_close(struct buffer *out) {
    buffer_printf(out, "<footer>Written by harrow. This file stands alone: it loads nothing.</footer>\n</main>\n%s%s",
                  page_script, picture_script);
    buffer_printf(out, "</body>\n</html>\n");
}

static void page_print(struct buffer *out, const struct view *v, const struct plots *p) {
    page_open(out, text_or(v->run->verdict, "unknown"), v->run->scenario);
    section_banner(out, v);
    buffer_printf(out, "<main>\n");
    section_failures(out, v);
    section_checks(out, v);
    section_facts(out, v);
    section_time(out, v, p);
    section_late(out, v);
    section_latency(out, v, p);
    section_links(out, v);
    section_logs(out, v);
    section_source(out, v);
    section_files(out, v);
    page_close(out);
}

int report_html(const struct report_input *in, char *path, size_t path_size, struct error *warning, struct error *e) {
    assert(in->run && in->history && in->folder && path_size > 0);
    path[0] = 0;
    if (warning) warning->text[0] = 0;
    char *file = xformat("%s/report.html", in->folder);
    struct buffer page = {0};
    int result = 0;
    if (strlen(file) >= path_size) {
        result = error_set(e, "the path %s is too long", file);
        goto out;
    }
    struct view v;
    struct plots plots;
    view_init(&v, in);
    plots_make(&v, &plots);
    if (plots.why.text[0]) error_set(warning, "plots are missing from %s: %.300s", file, plots.why.text);
    page_print(&page, &v, &plots);
    plots_free(&plots);
    late_free(&v);
    result = file_replace(file, &page, e);
    if (result == 0) memcpy(path, file, strlen(file) + 1);
out:
    buffer_free(&page);
    free(file);
    return result;
}

int report_counterexample(const char *path, const char *name, const struct history *h, const struct check_result *r,
                          struct error *e) {
    struct buffer page = {0};
    const struct run_info run = {.detail = r->detail};
    const struct view v = {.run = &run, .h = h, .end_ns = history_end_ns(h)};
    page_open(&page, verdict_name(r->verdict), name);
    buffer_printf(&page, "<header class=\"banner %s\"><div class=inside><p class=over>", verdict_name(r->verdict));
    html_clipped(&page, bytes_str(name), VALUE_BYTES_MAX);
    buffer_printf(&page, " \u00b7 ");
    html_text(&page, text_or(r->name, "check"));
    buffer_printf(&page, " \u00b7 ");
    put_count(&page, h->count);
    buffer_printf(&page, " operations</p><h1>%s</h1><p class=why>", verdict_name(r->verdict));
    html_clipped(&page, bytes_str(text_or(r->detail, "")), TEXT_BYTES_MAX);
    buffer_printf(&page, "</p></div></header>\n<main>\n");
    if (r->ops_count || text_or(r->explanation, NULL)) failure_print(&page, &v, r);
    page_close(&page);
    int failed = file_replace(path, &page, e);
    buffer_free(&page);
    return failed;
}
