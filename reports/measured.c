/* What a world in real time measured about itself: the windows in which harrow was late, so that nobody blames the
 * system for them, and what its switch counted on each link. Both come as samples with a JSON object as text. */
#include "reports/internal.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

static json_t *sample_object(const struct history *h, const struct sample *s) {
    struct bytes text = history_text_bytes(h, s->text);
    return json_loadb((const char *)text.data, text.size, 0, NULL); /* NULL is an object without members, too */
}

static uint64_t count_of(const json_t *object, const char *name) {
    json_int_t count = json_integer_value(json_object_get(object, name));
    return count > 0 ? (uint64_t)count : 0;
}

/* --- was harrow late? --- */

static int by_start(const void *left, const void *right) {
    const struct late *a = left, *b = right;
    return a->start_ns < b->start_ns ? -1 : a->start_ns > b->start_ns;
}

/* A window that turned out worse is told again: one of each is left. */
static void late_merge(struct view *v) {
    uint32_t kept = 0;
    if (v->late_count) qsort(v->late, v->late_count, sizeof *v->late, by_start);
    for (uint32_t i = 0; i < v->late_count; i++) {
        struct late *l = &v->late[i], *last = kept ? &v->late[kept - 1] : NULL;
        if (last && last->start_ns == l->start_ns) {
            if (l->late_ns > last->late_ns) last->late_ns = l->late_ns;
            if (l->dropped > last->dropped) last->dropped = l->dropped;
        } else {
            v->late[kept++] = *l;
        }
    }
    v->late_count = kept;
}

/* Joins windows up to gap_ns apart; false when there are still too many bands. */
static bool bands_join(struct view *v, uint64_t gap_ns) {
    v->bands_count = 0;
    for (uint32_t i = 0; i < v->late_count; i++) {
        struct span fresh = {v->late[i].start_ns, v->late[i].start_ns + LATE_WINDOW_NS};
        struct span *last = v->bands_count ? &v->bands[v->bands_count - 1] : NULL;
        if (last && fresh.start_ns <= last->end_ns + gap_ns) {
            last->end_ns = fresh.end_ns;
        } else {
            if (v->bands_count == LATE_BANDS_MAX) return false;
            v->bands[v->bands_count++] = fresh;
        }
    }
    return true;
}

void late_collect(struct view *v) {
    v->real_time = strcmp(text_or(v->run->world, "sim"), "sim") != 0;
    uint32_t capacity = 0;
    for (uint32_t i = 0; i < v->h->samples_count; i++) {
        const struct sample *s = &v->h->samples[i];
        if (s->kind != SAMPLE_LATE) continue;
        if (v->late_count == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            v->late = xrealloc(v->late, capacity * sizeof *v->late);
        }
        json_t *o = sample_object(v->h, s);
        v->late[v->late_count++] = (struct late){s->time_ns, count_of(o, "late_ns"), count_of(o, "dropped")};
        json_decref(o);
    }
    late_merge(v);
    for (uint64_t gap_ns = 0; !bands_join(v, gap_ns);) gap_ns = gap_ns ? 2 * gap_ns : LATE_WINDOW_NS;
}

void late_free(struct view *v) {
    free(v->late);
    v->late = NULL;
    v->late_count = 0;
}

static int by_lateness(const void *left, const void *right) {
    const struct late *a = left, *b = right;
    return a->late_ns > b->late_ns ? -1 : a->late_ns < b->late_ns ? 1 : by_start(left, right);
}

static void late_table(struct buffer *out, const struct view *v) {
    struct late *worst = xmalloc(v->late_count * sizeof *worst);
    memcpy(worst, v->late, v->late_count * sizeof *worst);
    qsort(worst, v->late_count, sizeof *worst, by_lateness);
    uint32_t shown = v->late_count < LATE_ROWS_MAX ? v->late_count : LATE_ROWS_MAX;
    buffer_printf(out, "<div class=wide><table class=fit><thead><tr><th class=r>at</th><th class=r>late by</th>"
                       "<th class=r>frames dropped by the kernel</th><th></th></tr></thead><tbody>\n");
    for (uint32_t i = 0; i < shown; i++) {
        buffer_printf(out, "<tr><td class=r>%.1f s</td><td class=r>", seconds(worst[i].start_ns));
        html_duration(out, worst[i].late_ns);
        buffer_printf(out, "</td><td class=r>");
        put_count(out, worst[i].dropped);
        buffer_printf(out, "</td><td></td></tr>\n");
    }
    buffer_printf(out, "</tbody></table></div>\n");
    if (shown < v->late_count)
        buffer_printf(out, "<p class=more>the worst %" PRIu32 " of %" PRIu32 " windows</p>\n", shown, v->late_count);
    free(worst);
}

void section_late(struct buffer *out, const struct view *v) {
    if (!v->real_time && v->late_count == 0) return;
    buffer_printf(out, "<section id=late><h2>Was harrow itself late?</h2>\n");
    if (v->late_count == 0) {
        buffer_printf(out, "<p class=lead>No. The run loop woke up in time, the switch passed every frame on in time, "
                           "and the kernel dropped none: what was slow in this run was the system.</p></section>\n");
        return;
    }
    uint64_t worst_ns = 0, dropped = 0, windows = (v->end_ns + LATE_WINDOW_NS - 1) / LATE_WINDOW_NS;
    for (uint32_t i = 0; i < v->late_count; i++) {
        if (v->late[i].late_ns > worst_ns) worst_ns = v->late[i].late_ns;
        dropped += v->late[i].dropped;
    }
    buffer_printf(out, "<p class=lead>Yes, in <b>%" PRIu32 "</b> of %" PRIu64 " windows of 0.1 s, by up to ",
                  v->late_count, windows);
    html_duration(out, worst_ns);
    if (dropped) {
        buffer_printf(out, "; the kernel dropped ");
        put_count(out, dropped);
        buffer_printf(out, " frames");
    }
    buffer_printf(out, ". Grey bands mark them over time. What was slow there may have been harrow, or this machine: "
                       "a check about time that would be invalid is unknown. Other checks hold as they are.</p>\n");
    late_table(out, v);
    buffer_printf(out, "</section>\n");
}

/* --- links --- */

static const struct link_column {
    const char *name, *title;
    bool always; /* else only where some link has it */
} link_columns[] = {
    {"offered", "offered", true},
    {"delivered", "delivered", true},
    {"cut", "cut", false},
    {"lost", "lost", false},
    {"over_rate", "over rate", false},
    {"delayed", "delayed", false},
    {"duplicated", "duplicated", false},
    {"reordered", "reordered", false},
    {"corrupted", "corrupted", false},
    {"damaged", "bad checksum", false},
    {"bytes", "bytes", true},
};
#define LINK_COLUMNS (sizeof link_columns / sizeof *link_columns)

static void link_row(struct buffer *out, const json_t *link, const bool shown[LINK_COLUMNS]) {
    buffer_printf(out, "<tr><td class=k>");
    html_clipped(out, bytes_str(text_or(json_string_value(json_object_get(link, "from")), "?")), VALUE_BYTES_MAX);
    buffer_printf(out, " \u2192 ");
    html_clipped(out, bytes_str(text_or(json_string_value(json_object_get(link, "to")), "?")), VALUE_BYTES_MAX);
    buffer_printf(out, "</td>");
    for (size_t i = 0; i < LINK_COLUMNS; i++) {
        if (!shown[i]) continue;
        buffer_printf(out, "<td class=r>");
        put_count(out, count_of(link, link_columns[i].name));
        buffer_printf(out, "</td>");
    }
    buffer_printf(out, "</tr>\n");
}

static void link_table(struct buffer *out, const json_t *links) {
    bool shown[LINK_COLUMNS];
    for (size_t i = 0; i < LINK_COLUMNS; i++) {
        shown[i] = link_columns[i].always;
        for (size_t n = 0; n < json_array_size(links); n++)
            shown[i] |= count_of(json_array_get(links, n), link_columns[i].name) > 0;
    }
    buffer_printf(out, "<div class=wide><table><thead><tr><th>link</th>");
    for (size_t i = 0; i < LINK_COLUMNS; i++)
        if (shown[i]) buffer_printf(out, "<th class=r>%s</th>", link_columns[i].title);
    buffer_printf(out, "</tr></thead><tbody>\n");
    for (size_t n = 0; n < json_array_size(links) && n < LINK_ROWS_MAX; n++)
        link_row(out, json_array_get(links, n), shown);
    buffer_printf(out, "</tbody></table></div>\n");
    if (json_array_size(links) > LINK_ROWS_MAX)
        buffer_printf(out, "<p class=more>and %zu more links</p>\n", json_array_size(links) - (size_t)LINK_ROWS_MAX);
}

void section_links(struct buffer *out, const struct view *v) {
    json_t *links = json_array();
    for (uint32_t i = 0; i < v->h->samples_count; i++) {
        const struct sample *s = &v->h->samples[i];
        json_t *link = s->kind == SAMPLE_LINK ? sample_object(v->h, s) : NULL;
        if (link) json_array_append_new(links, link);
    }
    if (json_array_size(links)) {
        buffer_printf(out, "<section id=links><h2>What passed the links<small>frames, each direction by itself, as "
                           "the switch counted them</small></h2>\n");
        link_table(out, links);
        buffer_printf(out, "<p class=note>Beside this page: <code>switch.jsonl</code>, every change of a link with its "
                           "time; <code>n1/log</code>, what a node wrote, and <code>n1/disk</code>, what was on its "
                           "disk; with --pcap <code>n1.pcap</code> and so on, for tcpdump and Wireshark; with --record "
                           "<code>n1/recording-1</code>, for harrow replay --node.</p></section>\n");
    }
    json_decref(links);
}
