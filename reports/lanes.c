/* The lane chart: offending operations as bars, one lane per process, the faults of that time above and behind them.
 *
 * Offending operations may be microseconds or minutes apart, so time is not to scale: the axis keeps the order of all
 * invocations and completions and gives each gap between two of them a width that grows with its logarithm, and more
 * where a label needs it. What precedes what, and what overlaps, is exact; that is what a violation is about. */
#include "reports/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define MOMENTS_MAX (2 * LANE_OPS_MAX)
#define LANES_MAX LANE_OPS_MAX
#define STRIPS_MAX 5u /* fault names above the lanes */
#define LABEL_CHARACTERS_MAX 34u
#define CHARACTER_WIDTH 7.0
#define LEFT 92.0
#define WIDTH_LEAST 1180.0
#define TAIL 64.0 /* right of the last moment: operations that never came back reach into it */
#define LANE_HEIGHT 34.0
#define STRIP_HEIGHT 20.0

struct moment {
    uint64_t time_ns;
    bool late; /* the end of an operation that took no time stands after its start */
};

struct bar {
    uint32_t op, lane, start, end; /* start, end: indices of moments */
    double label_width;
    struct buffer label; /* escaped */
};

struct lanes {
    const struct view *v;
    struct moment moments[MOMENTS_MAX];
    double x[MOMENTS_MAX];
    size_t moments_count;
    struct bar bars[LANE_OPS_MAX];
    size_t bars_count;
    uint32_t processes[LANES_MAX];
    uint32_t lanes_count;
    const struct picture *picture;
    double width, top, bottom;
};

static int by_time(const void *left, const void *right) {
    const struct moment *a = left, *b = right;
    if (a->time_ns != b->time_ns) return a->time_ns < b->time_ns ? -1 : 1;
    return (int)a->late - (int)b->late;
}

static uint32_t moment_index(const struct lanes *l, struct moment m) {
    const struct moment *found = bsearch(&m, l->moments, l->moments_count, sizeof m, by_time);
    assert(found);
    return (uint32_t)(found - l->moments);
}

static struct moment moment_start(const struct history *h, uint32_t op) {
    return (struct moment){h->invoke_ns[op], false};
}

static struct moment moment_end(const struct history *h, uint32_t op) {
    return (struct moment){h->complete_ns[op], h->complete_ns[op] == h->invoke_ns[op]};
}

static void moments_collect(struct lanes *l, const uint32_t *ops, uint32_t count) {
    const struct history *h = l->v->h;
    size_t n = 0;
    for (uint32_t i = 0; i < count && l->bars_count < LANE_OPS_MAX; i++) {
        if (ops[i] >= h->count) continue;
        l->bars[l->bars_count++].op = ops[i];
        l->moments[n++] = moment_start(h, ops[i]);
        if (h->complete_ns[ops[i]] != UINT64_MAX) l->moments[n++] = moment_end(h, ops[i]);
    }
    qsort(l->moments, n, sizeof *l->moments, by_time);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || by_time(&l->moments[i], &l->moments[l->moments_count - 1]) != 0)
            l->moments[l->moments_count++] = l->moments[i];
}

static uint32_t lane_of(struct lanes *l, uint32_t process) {
    for (uint32_t i = 0; i < l->lanes_count; i++)
        if (l->processes[i] == process) return i;
    l->processes[l->lanes_count] = process;
    return l->lanes_count++;
}

/* The label, cut to LABEL_CHARACTERS_MAX characters and escaped. */
static void bar_label(struct bar *b, const struct history *h) {
    struct buffer text = {0};
    op_print(h, b->op, &text);
    size_t characters = 0, cut = text.size;
    for (size_t i = 0; i < text.size; i++) {
        if ((text.data[i] & 0xC0) == 0x80) continue;
        if (characters++ == LABEL_CHARACTERS_MAX) cut = i;
    }
    bool clipped = characters > LABEL_CHARACTERS_MAX;
    html_bytes(&b->label, bytes_of(text.data, cut));
    if (clipped) buffer_printf(&b->label, "\u2026");
    b->label_width = (double)(clipped ? LABEL_CHARACTERS_MAX + 1 : characters) * CHARACTER_WIDTH + 14;
    buffer_free(&text);
}

static void bars_prepare(struct lanes *l) {
    const struct history *h = l->v->h;
    for (size_t i = 0; i < l->bars_count; i++) {
        struct bar *b = &l->bars[i];
        b->lane = lane_of(l, h->process[b->op]);
        b->start = moment_index(l, moment_start(h, b->op));
        bool open = h->complete_ns[b->op] == UINT64_MAX;
        b->end = open ? (uint32_t)l->moments_count : moment_index(l, moment_end(h, b->op));
        bar_label(b, h);
    }
}

static uint32_t bits(uint64_t n) {
    uint32_t count = 0;
    for (; n; n >>= 1) count++;
    return count;
}

/* gap[i] lies between moments i and i + 1; the last is the tail. Returns the sum of all but the tail. */
static double gaps_measure(const struct lanes *l, double gap[MOMENTS_MAX], bool labels) {
    size_t n = l->moments_count;
    uint64_t span = l->moments[n - 1].time_ns - l->moments[0].time_ns;
    for (size_t i = 0; i + 1 < n; i++) {
        uint64_t time_ns = l->moments[i + 1].time_ns - l->moments[i].time_ns;
        double share = span ? (double)time_ns / (double)span : 0;
        gap[i] = 12 + 2.0 * bits(time_ns >> 10) + 60 * share;
    }
    gap[n - 1] = TAIL;
    for (size_t i = 0; labels && i < l->bars_count; i++) {
        const struct bar *b = &l->bars[i];
        double have = 0;
        for (uint32_t g = b->start; g < b->end; g++) have += gap[g];
        for (uint32_t g = b->start; g < b->end && have < b->label_width; g++) gap[g] *= b->label_width / have;
    }
    double sum = 0;
    for (size_t i = 0; i + 1 < n; i++) sum += gap[i];
    return sum;
}

/* With room for every label where that is not too wide; else bars are small and only those with room are labelled. */
static void axis_lay_out(struct lanes *l) {
    double gap[MOMENTS_MAX], room = WIDTH_LEAST - LEFT - TAIL - 8;
    size_t n = l->moments_count;
    double sum = gaps_measure(l, gap, true);
    bool crowded = sum > 1.5 * room;
    if (crowded) sum = gaps_measure(l, gap, false);
    double stretch = sum > 0 && (crowded || sum < room) ? room / sum : 1;
    double x = LEFT + 8;
    for (size_t i = 0; i < n; i++) {
        l->x[i] = x;
        if (i + 1 < n) x += gap[i] * stretch;
    }
    l->width = x + gap[n - 1];
    if (l->width < WIDTH_LEAST) l->width = WIDTH_LEAST;
}

/* Where a time between two moments stands; before the first and after the last it is cut off. */
static double x_between(const struct lanes *l, uint64_t ns) {
    size_t n = l->moments_count;
    if (ns <= l->moments[0].time_ns) return ns < l->moments[0].time_ns ? LEFT : l->x[0];
    if (ns > l->moments[n - 1].time_ns) return l->width;
    size_t i = 0;
    while (i + 1 < n && l->moments[i + 1].time_ns < ns) i++;
    if (i + 1 == n) return l->x[i];
    double from = (double)l->moments[i].time_ns, to = (double)l->moments[i + 1].time_ns;
    return l->x[i] + (l->x[i + 1] - l->x[i]) * (to > from ? ((double)ns - from) / (to - from) : 1);
}

/* --- drawing ------------------------------------------------------------------------------------------------------ */

static void fault_strip(struct buffer *out, const struct lanes *l, const struct fault_record *f, double y, bool first) {
    const struct history *h = l->v->h;
    double from = x_between(l, f->start_ns), to = x_between(l, f->end_ns);
    if (to - from < 2) to = from + 2;
    const char *colour = fault_colour(h, f);
    buffer_printf(out,
                  "<g class=fault><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\" "
                  "fill-opacity=\".09\"/><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"3\" fill=\"%s\"/>",
                  from, y, to - from, l->bottom - y, colour, from, y, to - from, colour);
    if (first) {
        buffer_printf(out, "<text x=\"%.1f\" y=\"%.1f\">", from + 4, y + 15);
        html_clipped(out, history_text_bytes(h, f->name), 80);
        buffer_printf(out, "</text>");
    }
    buffer_printf(out, "<title>");
    html_clipped(out, history_text_bytes(h, f->name), VALUE_BYTES_MAX);
    buffer_printf(out, " ");
    html_clipped(out, history_text_bytes(h, f->detail), VALUE_BYTES_MAX);
    buffer_printf(out, "</title></g>\n");
}

/* The faults between the first and the last moment, a strip of its own for each of the first few names; also says how
 * many names there are. With out NULL it only counts. */
static uint32_t fault_strips(struct buffer *out, const struct lanes *l) {
    const struct history *h = l->v->h;
    uint32_t names[STRIPS_MAX], count = 0, drawn = 0;
    uint64_t from = l->moments[0].time_ns, to = l->moments[l->moments_count - 1].time_ns;
    for (uint32_t i = 0; i < h->faults_count && drawn < SHADES_MAX; i++) {
        const struct fault_record *f = &h->faults[i];
        if (f->start_ns > to || f->end_ns < from) continue;
        uint32_t strip = 0;
        while (strip < count && names[strip] != f->name) strip++;
        if (strip == STRIPS_MAX) continue;
        bool first = strip == count;
        if (first) names[count++] = f->name;
        if (out) fault_strip(out, l, f, 4 + strip * STRIP_HEIGHT, first);
        drawn++;
    }
    return count;
}

static void bar_title(struct buffer *out, const struct history *h, uint32_t op) {
    struct buffer text = {0};
    op_print(h, op, &text);
    buffer_printf(out, "<title>#%" PRIu32 ", process %" PRIu32 " on ", op, h->process[op]);
    node_name(out, h->node[op]);
    buffer_printf(out, ": ");
    html_clipped(out, bytes_of(text.data, text.size), VALUE_BYTES_MAX);
    buffer_printf(out, " (%s)\ninvoked %.6f s", status_name(h->status[op]), seconds(h->invoke_ns[op]));
    if (h->complete_ns[op] != UINT64_MAX) {
        buffer_printf(out, ", completed %.6f s, took ", seconds(h->complete_ns[op]));
        put_duration(out, h->complete_ns[op] - h->invoke_ns[op]);
    }
    buffer_printf(out, "</title>");
    buffer_free(&text);
}

static void bar_draw(struct buffer *out, const struct lanes *l, const struct bar *b) {
    const struct history *h = l->v->h;
    double y = l->top + b->lane * LANE_HEIGHT + 5, from = l->x[b->start];
    double to = b->end < l->moments_count ? l->x[b->end] : l->width - 2;
    const char *status = status_name(h->status[b->op]);
    buffer_printf(out,
                  "<g class=\"op %s%s\" tabindex=0 data-op=%" PRIu32
                  "><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.0f\" "
                  "rx=\"4\"/>",
                  status, picture_is_left(l->picture, b->op) ? " left" : "", b->op, from, y, to - from,
                  LANE_HEIGHT - 10);
    if (h->status[b->op] == OP_INFO) /* it may take effect at any later time */
        buffer_printf(out, "<path d=\"M%.1f %.1fH%.1f\"/>", to, y + LANE_HEIGHT / 2 - 5, l->width - 2);
    if (to - from >= b->label_width - 7) {
        buffer_printf(out, "<text x=\"%.1f\" y=\"%.1f\">", from + 7, y + 16);
        buffer_append(out, b->label.data, b->label.size);
        buffer_printf(out, "</text>");
    }
    bar_title(out, h, b->op);
    buffer_printf(out, "</g>\n");
}

/* Seconds without the zeros that say nothing; at least milliseconds, unless all of it is less. */
static void tick_label(struct buffer *out, uint64_t ns, uint64_t last_ns) {
    if (last_ns < NS_PER_MS) {
        put_duration(out, ns);
        return;
    }
    char text[48];
    size_t size = (size_t)snprintf(text, sizeof text, "%.6f", seconds(ns));
    for (int zeros = 0; zeros < 3 && text[size - 1] == '0'; zeros++) text[--size] = 0;
    buffer_printf(out, "%s s", text);
}

static void ticks_draw(struct buffer *out, const struct lanes *l) {
    double free_from = 0;
    for (size_t i = 0; i < l->moments_count; i++) {
        buffer_printf(out, "<path class=grid d=\"M%.1f %.1fV%.1f\"/>", l->x[i], l->top, l->bottom);
        if (l->x[i] < free_from) continue;
        free_from = l->x[i] + 84;
        buffer_printf(out, "<text class=tick x=\"%.1f\" y=\"%.1f\">", l->x[i], l->bottom + 16);
        tick_label(out, l->moments[i].time_ns, l->moments[l->moments_count - 1].time_ns);
        buffer_printf(out, "</text>");
    }
}

static void lanes_draw(struct buffer *out, const struct lanes *l) {
    double height = l->bottom + 24;
    buffer_printf(out, "<div class=lanes><svg viewBox=\"0 0 %.0f %.0f\" role=img aria-label=\"offending operations\" ",
                  l->width, height);
    if (l->width > WIDTH_LEAST)
        buffer_printf(out, "width=%.0f height=%.0f>\n", l->width, height);
    else
        buffer_printf(out, "style=\"width:100%%;height:auto\">\n");
    fault_strips(out, l);
    for (uint32_t i = 0; i < l->lanes_count; i++) {
        double y = l->top + i * LANE_HEIGHT + LANE_HEIGHT / 2;
        buffer_printf(out,
                      "<path class=lane d=\"M%.1f %.1fH%.1f\"/><text class=row x=\"%.1f\" y=\"%.1f\">process %" PRIu32
                      "</text>",
                      LEFT, y, l->width, LEFT - 12, y + 4, l->processes[i]);
    }
    ticks_draw(out, l);
    for (size_t i = 0; i < l->bars_count; i++) bar_draw(out, l, &l->bars[i]);
    buffer_printf(out, "</svg></div>\n");
}

void lane_chart(struct buffer *out, const struct view *v, const uint32_t *ops, uint32_t count,
                const struct picture *p) {
    struct lanes *l = xcalloc(1, sizeof *l);
    l->v = v;
    l->picture = p;
    moments_collect(l, ops, count);
    if (l->bars_count) {
        bars_prepare(l);
        axis_lay_out(l);
        l->top = 8 + fault_strips(NULL, l) * STRIP_HEIGHT;
        l->bottom = l->top + l->lanes_count * LANE_HEIGHT;
        lanes_draw(out, l);
        buffer_printf(out, "<p class=note>The order of all starts and ends is exact; gaps are not to scale. Point at a "
                           "bar for details.");
        if (count > l->bars_count) {
            buffer_printf(out, " The first %zu of ", l->bars_count);
            put_count(out, count);
            buffer_printf(out, " operations are drawn.");
        }
        buffer_printf(out, "</p>\n");
    }
    for (size_t i = 0; i < l->bars_count; i++) buffer_free(&l->bars[i].label);
    free(l);
}
