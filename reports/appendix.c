/* The lower half of the page: latency by function and quantile, log lines of the nodes, the scenario's source, and
 * links to the other files of the run. */
#include "reports/internal.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

/* --- latency ------------------------------------------------------------------------------------------------------ */

static void latency_row(struct buffer *out, struct bytes name, struct quantiles q) {
    buffer_printf(out, "<tr><td class=k>");
    html_clipped(out, name, VALUE_BYTES_MAX);
    buffer_printf(out, "</td><td class=r>");
    put_count(out, q.count);
    buffer_printf(out, "</td>");
    const uint64_t figures[] = {q.mean_ns, q.p50_ns, q.p90_ns, q.p99_ns, q.p999_ns, q.max_ns};
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        buffer_printf(out, "<td class=r>");
        put_duration(out, figures[i]);
        buffer_printf(out, "</td>");
    }
    buffer_printf(out, "</tr>\n");
}

void section_latency(struct buffer *out, const struct view *v, const struct plots *p) {
    const struct history *h = v->h;
    buffer_printf(out,
                  "<section id=latency><h2>Latency by operation<small>ok operations, from the time each should have "
                  "started</small></h2>\n");
    struct quantiles all = history_latency(h, UINT16_MAX);
    if (all.count == 0) {
        buffer_printf(out, "<p class=missing>No operation ended ok.</p></section>\n");
        return;
    }
    buffer_printf(out, "<div class=wide><table><thead><tr><th>operation</th><th class=r>count</th><th class=r>mean</th>"
                       "<th class=r>p50</th><th class=r>p90</th><th class=r>p99</th><th class=r>p99.9</th>"
                       "<th class=r>max</th></tr></thead><tbody>\n");
    uint32_t shown = 0;
    for (uint32_t f = 0; f < OP_CUSTOM + h->custom_count && shown < FUNCTION_ROWS_MAX; f++) {
        struct quantiles q = history_latency(h, (uint16_t)f);
        if (q.count == 0) continue;
        latency_row(out, bytes_str(history_function_name(h, (uint16_t)f)), q);
        shown++;
    }
    if (shown > 1) latency_row(out, bytes_str("all"), all);
    buffer_printf(out, "</tbody></table></div>\n");
    if (p->quantiles.size) {
        buffer_printf(out, "<h3>By quantile<small>each further nine takes the same width</small></h3>");
        buffer_append(out, p->quantiles.data, p->quantiles.size);
    }
    buffer_printf(out, "</section>\n");
}

/* --- log lines ---------------------------------------------------------------------------------------------------- */

static void log_row(struct buffer *out, const struct view *v, const struct sample *s) {
    buffer_printf(out, "<tr><td class=r>%.6f</td><td class=t>", seconds(s->time_ns));
    node_name(out, s->node);
    buffer_printf(out, "</td><td><code>");
    html_clipped(out, history_text_bytes(v->h, s->text), 2 * VALUE_BYTES_MAX);
    buffer_printf(out, "</code></td></tr>\n");
}

/* Of many lines the last LOG_ROWS_MAX that were written before the offending operations were over, or of the run. */
void section_logs(struct buffer *out, const struct view *v) {
    const struct history *h = v->h;
    uint64_t until_ns = v->has_window ? v->window.end_ns : UINT64_MAX;
    uint32_t total = 0, before = 0;
    for (uint32_t i = 0; i < h->samples_count; i++) {
        if (h->samples[i].kind != SAMPLE_LOG) continue;
        total++;
        before += h->samples[i].time_ns <= until_ns;
    }
    if (total == 0) return;
    uint32_t first = before > LOG_ROWS_MAX ? before - LOG_ROWS_MAX : 0;
    uint32_t shown = total - first < LOG_ROWS_MAX ? total - first : LOG_ROWS_MAX;
    buffer_printf(out, "<section id=logs><h2>Node logs<small>");
    if (shown < total) {
        buffer_printf(out, "%" PRIu32 " of ", shown);
        put_count(out, total);
        buffer_printf(out, " lines, the last %s", v->has_window ? "up to the offending operations" : "of the run");
    } else {
        buffer_printf(out, "%" PRIu32 " lines", total);
    }
    buffer_printf(out, "</small><input type=search placeholder=Filter aria-label=\"filter the log lines\"></h2>\n"
                       "<div class=logs><table class=fit><thead><tr><th class=r>time, s</th><th "
                       "class=t>node</th><th>line</th></tr></thead>"
                       "<tbody>\n");
    uint32_t number = 0;
    for (uint32_t i = 0; i < h->samples_count && number < first + shown; i++) {
        if (h->samples[i].kind != SAMPLE_LOG) continue;
        if (number++ >= first) log_row(out, v, &h->samples[i]);
    }
    buffer_printf(out, "</tbody></table></div></section>\n");
}

/* --- source and files --------------------------------------------------------------------------------------------- */

void section_source(struct buffer *out, const struct view *v) {
    const char *source = text_or(v->run->scenario_text, NULL);
    if (!source) return;
    buffer_printf(out, "<section id=scenario><details><summary>The scenario");
    if (text_or(v->run->scenario_path, NULL)) {
        buffer_printf(out, " <small class=quiet>");
        html_clipped(out, bytes_str(v->run->scenario_path), VALUE_BYTES_MAX);
        buffer_printf(out, "</small>");
    }
    buffer_printf(out, "</summary><pre class=source>");
    size_t total = strlen(source);
    struct bytes rest = bytes_of(source, total < SOURCE_BYTES_MAX ? total : SOURCE_BYTES_MAX);
    while (rest.size) {
        const uint8_t *end = memchr(rest.data, '\n', rest.size);
        size_t line = end ? (size_t)(end - rest.data) : rest.size, step = line + (end != NULL);
        buffer_printf(out, "<span>");
        html_bytes(out, bytes_of(rest.data, line));
        buffer_printf(out, line ? "</span>" : "&#8203;</span>"); /* an empty line keeps its height */
        rest = bytes_of(rest.data + step, rest.size - step);
    }
    buffer_printf(out, "</pre>");
    if (total > SOURCE_BYTES_MAX)
        buffer_printf(out, "<p class=more>and %zu more bytes</p>", total - (size_t)SOURCE_BYTES_MAX);
    buffer_printf(out, "</details></section>\n");
}

static int visible(const struct dirent *entry) {
    const char *name = entry->d_name;
    size_t size = strlen(name);
    return name[0] != '.' && strcmp(name, "report.html") != 0 && !(size > 4 && strcmp(name + size - 4, ".tmp") == 0);
}

static void link_href(struct buffer *out, const char *name) {
    for (; *name; name++) {
        bool plain = (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z') ||
                     (*name >= '0' && *name <= '9') || strchr("-_.~", *name);
        buffer_printf(out, plain ? "%c" : "%%%02X", (unsigned char)*name);
    }
}

static void file_link(struct buffer *out, const char *folder, const char *name) {
    char *path = xformat("%s/%s", folder, name);
    struct stat about;
    if (stat(path, &about) == 0 && (S_ISREG(about.st_mode) || S_ISDIR(about.st_mode))) {
        buffer_printf(out, "<li><a href=\"./");
        link_href(out, name);
        buffer_printf(out, "\">");
        html_text(out, name);
        buffer_printf(out, "</a>");
        double size = (double)about.st_size;
        if (S_ISREG(about.st_mode))
            buffer_printf(out, "<small>%.*f %s</small>", size < 1024 ? 0 : 1,
                          size < 1024      ? size
                          : size < 1048576 ? size / 1024
                                           : size / 1048576,
                          size < 1024      ? "bytes"
                          : size < 1048576 ? "KiB"
                                           : "MiB");
        buffer_printf(out, "</li>\n");
    }
    free(path);
}

void section_files(struct buffer *out, const struct view *v) {
    struct dirent **entries = NULL;
    int count = scandir(v->in->folder, &entries, visible, alphasort);
    if (count > 0) {
        buffer_printf(out, "<section id=files><h2>Files of this run</h2><ul class=files>\n");
        for (int i = 0; i < count && (uint32_t)i < FILES_MAX; i++) file_link(out, v->in->folder, entries[i]->d_name);
        buffer_printf(out, "</ul>");
        if ((uint32_t)count > FILES_MAX)
            buffer_printf(out, "<p class=more>and %u more files</p>", (uint32_t)count - FILES_MAX);
        buffer_printf(out, "</section>\n");
    }
    for (int i = 0; i < count; i++) free(entries[i]);
    free(entries);
}
