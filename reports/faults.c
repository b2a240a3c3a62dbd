/* Faults: the timeline (one row per name) and the table of evidence, which says for each name how often it was started,
 * how long it lasted and what it really touched. A fault that touched nothing is called idle: it proves nothing. */
#include "reports/internal.h"

#include <inttypes.h>
#include <stdlib.h>

#define ROW_HEIGHT 26.0
#define BAR_HEIGHT 14.0
#define TABLE_DETAILS_MAX 3u

struct kind { /* all faults of one name */
    uint32_t name, count, details[TABLE_DETAILS_MAX], details_count;
    uint64_t total_ns, affected, offered;
    const char *colour;
    struct fault_record merged; /* the bar being drawn: faults less than a pixel apart are one bar */
    uint32_t merged_count;
};

struct kinds {
    struct kind rows[FAULT_ROWS_MAX];
    uint32_t count;
    uint32_t left_out; /* faults of further names */
};

static struct kind *kind_of(struct kinds *k, uint32_t name) {
    for (uint32_t i = 0; i < k->count; i++)
        if (k->rows[i].name == name) return &k->rows[i];
    if (k->count == FAULT_ROWS_MAX) return NULL;
    k->rows[k->count] = (struct kind){.name = name};
    return &k->rows[k->count++];
}

static void kinds_collect(struct kinds *k, const struct view *v) {
    *k = (struct kinds){0};
    for (uint32_t i = 0; i < v->h->faults_count; i++) {
        const struct fault_record *f = &v->h->faults[i];
        struct kind *row = kind_of(k, f->name);
        if (!row) {
            k->left_out++;
            continue;
        }
        row->count++;
        row->colour = row->colour ? row->colour : fault_colour(v->h, f);
        row->total_ns += fault_end_ns(f, v->end_ns) - f->start_ns;
        row->affected += f->affected;
        row->offered += f->offered;
        bool known = f->detail == NO_STRING;
        for (uint32_t d = 0; d < row->details_count; d++) known |= row->details[d] == f->detail;
        if (!known && row->details_count < TABLE_DETAILS_MAX) row->details[row->details_count++] = f->detail;
    }
}

static void evidence(struct buffer *out, uint64_t affected, uint64_t offered) {
    put_count(out, affected);
    if (offered) {
        buffer_printf(out, " of ");
        put_count(out, offered);
    }
}

static void bar_flush(struct buffer *out, const struct view *v, struct kind *row, double y) {
    if (row->merged_count == 0) return;
    const struct fault_record *f = &row->merged;
    double from = chart_x(v, f->start_ns), to = chart_x(v, fault_end_ns(f, v->end_ns));
    buffer_printf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.0f\" rx=\"2\" fill=\"%s\"><title>", from,
                  y, to - from < 2 ? 2 : to - from, BAR_HEIGHT, fault_colour(v->h, f));
    html_clipped(out, history_text_bytes(v->h, f->name), VALUE_BYTES_MAX);
    if (row->merged_count > 1) {
        buffer_printf(out, ", %" PRIu32 " times", row->merged_count);
    } else if (f->detail != NO_STRING) {
        buffer_printf(out, ": ");
        html_clipped(out, history_text_bytes(v->h, f->detail), VALUE_BYTES_MAX);
    }
    buffer_printf(out, "\n%.3f s to ", seconds(f->start_ns));
    if (f->end_ns == UINT64_MAX)
        buffer_printf(out, "the end (never healed)");
    else
        buffer_printf(out, "%.3f s", seconds(f->end_ns));
    buffer_printf(out, "\naffected ");
    evidence(out, f->affected, f->offered);
    buffer_printf(out, "</title></rect>\n");
    row->merged_count = 0;
}

static void bars_draw(struct buffer *out, const struct view *v, struct kinds *k) {
    double pixel_ns = (double)v->end_ns / (CHART_RIGHT - CHART_LEFT);
    for (uint32_t i = 0; i < v->h->faults_count; i++) {
        const struct fault_record *f = &v->h->faults[i];
        struct kind *row = NULL;
        for (uint32_t n = 0; n < k->count; n++)
            if (k->rows[n].name == f->name) row = &k->rows[n];
        if (!row) continue;
        struct fault_record *m = &row->merged;
        bool near = row->merged_count && m->end_ns != UINT64_MAX &&
                    (double)f->start_ns < (double)m->end_ns + pixel_ns && f->start_ns >= m->start_ns;
        if (near && (double)(fault_end_ns(f, v->end_ns) - m->start_ns) < 3 * pixel_ns) {
            if (f->end_ns > m->end_ns) m->end_ns = f->end_ns;
            m->affected += f->affected;
            m->offered += f->offered;
            row->merged_count++;
            continue;
        }
        bar_flush(out, v, row, 8 + (double)(row - k->rows) * ROW_HEIGHT);
        row->merged = *f;
        row->merged_count = 1;
    }
    for (uint32_t n = 0; n < k->count; n++) bar_flush(out, v, &k->rows[n], 8 + n * ROW_HEIGHT);
}

void fault_timeline(struct buffer *out, const struct view *v) {
    buffer_printf(out, "<div class=chart><h3>Faults</h3>");
    if (v->h->faults_count == 0) {
        buffer_printf(out, "<p class=missing>No fault was injected in this run.</p></div>\n");
        return;
    }
    struct kinds *k = xmalloc(sizeof *k);
    kinds_collect(k, v);
    double bottom = 4 + k->count * ROW_HEIGHT;
    chart_open(out, v, "faults over time", bottom + 22, bottom);
    for (uint32_t n = 0; n < k->count; n++) {
        double y = 8 + n * ROW_HEIGHT;
        buffer_printf(out, "<rect class=track x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%.0f\" rx=\"2\"/>", CHART_LEFT,
                      y, CHART_RIGHT - CHART_LEFT, BAR_HEIGHT);
        chart_row_label(out, y + 11.5, history_text_bytes(v->h, k->rows[n].name));
    }
    chart_time_axis(out, v, 0, bottom);
    bars_draw(out, v, k);
    chart_close(out);
    if (k->left_out) buffer_printf(out, "<p class=more>and %" PRIu32 " faults of further kinds</p>", k->left_out);
    buffer_printf(out, "</div>\n");
    free(k);
}

void fault_table(struct buffer *out, const struct view *v) {
    if (v->h->faults_count == 0) return;
    struct kinds *k = xmalloc(sizeof *k);
    kinds_collect(k, v);
    buffer_printf(out,
                  "<h3>What the faults did</h3><div class=wide><table><thead><tr><th>fault</th><th class=r>times</th>"
                  "<th class=r>in all</th><th class=r>affected</th><th>for example</th></tr></thead><tbody>\n");
    for (uint32_t n = 0; n < k->count; n++) {
        const struct kind *row = &k->rows[n];
        buffer_printf(out, "<tr><td class=k><i class=dot style=\"background:%s\"></i>", row->colour);
        html_clipped(out, history_text_bytes(v->h, row->name), VALUE_BYTES_MAX);
        buffer_printf(out, "</td><td class=r>%" PRIu32 "</td><td class=r>", row->count);
        html_duration(out, row->total_ns);
        buffer_printf(out, "</td><td class=r>");
        evidence(out, row->affected, row->offered);
        if (row->affected == 0) buffer_printf(out, " <span class=\"chip unknown\">idle</span>");
        buffer_printf(out, "</td><td>");
        for (uint32_t d = 0; d < row->details_count; d++) {
            buffer_printf(out, "%s<span class=quiet>", d ? ", " : "");
            html_clipped(out, history_text_bytes(v->h, row->details[d]), VALUE_BYTES_MAX);
            buffer_printf(out, "</span>");
        }
        buffer_printf(out, "</td></tr>\n");
    }
    buffer_printf(out, "</tbody></table></div>\n");
    free(k);
}
