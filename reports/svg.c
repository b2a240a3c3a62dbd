/* The shared geometry of the charts over the time of the run: one width, one left edge, one right edge, so that faults,
 * leaders, throughput and latency line up below each other and one cursor crosses them all. */
#include "reports/internal.h"

#define LABEL_CHARACTERS_MAX 19u
#define TICKS_MAX 10u

double chart_x(const struct view *v, uint64_t ns) {
    double share = (double)ns / (double)v->end_ns;
    return CHART_LEFT + (share < 1 ? share : 1) * (CHART_RIGHT - CHART_LEFT);
}

void chart_open(struct buffer *out, const struct view *v, const char *label, double height, double plot_bottom) {
    buffer_printf(out,
                  "<svg class=time viewBox=\"0 0 %d %.0f\" role=img aria-label=\"%s\" data-end=\"%.9f\" "
                  "data-bottom=\"%.0f\">",
                  CHART_WIDTH, height, label, seconds(v->end_ns), plot_bottom);
}

void chart_close(struct buffer *out) {
    buffer_printf(out, "</svg>\n");
}

void chart_row_label(struct buffer *out, double y, struct bytes label) {
    size_t characters = 0, cut = label.size;
    for (size_t i = 0; i < label.size; i++) {
        if ((label.data[i] & 0xC0) == 0x80) continue;
        if (++characters == LABEL_CHARACTERS_MAX) cut = i;
    }
    bool clip = characters > LABEL_CHARACTERS_MAX;
    buffer_printf(out, "<text class=row x=\"%d\" y=\"%.1f\">", CHART_LEFT - 10, y);
    html_bytes(out, clip ? bytes_of(label.data, cut) : label);
    if (clip) {
        buffer_printf(out, "\u2026<title>");
        html_clipped(out, label, VALUE_BYTES_MAX);
        buffer_printf(out, "</title>");
    }
    buffer_printf(out, "</text>");
}

void time_label(struct buffer *out, uint64_t ns, uint64_t step_ns) {
    uint64_t unit = step_ns >= NS_PER_S / 10 ? NS_PER_S : step_ns >= NS_PER_MS / 10 ? NS_PER_MS : NS_PER_US;
    const char *name = unit == NS_PER_S ? "s" : unit == NS_PER_MS ? "ms" : "\u00b5s";
    buffer_printf(out, "%.*f %s", step_ns < unit ? (step_ns * 10 < unit ? 2 : 1) : 0, (double)ns / (double)unit, name);
}

void chart_time_axis(struct buffer *out, const struct view *v, double top, double bottom) {
    uint64_t step = nice_step(v->end_ns, TICKS_MAX);
    for (uint64_t t = 0; t <= v->end_ns; t += step) {
        double x = chart_x(v, t);
        buffer_printf(out, "<path class=grid d=\"M%.1f %.1fV%.1f\"/><text class=tick x=\"%.1f\" y=\"%.1f\">", x, top,
                      bottom, x, bottom + 16);
        time_label(out, t, step);
        buffer_printf(out, "</text>");
        if (t > UINT64_MAX - step) break;
    }
    for (uint32_t i = 0; i < v->bands_count; i++) {
        double from = chart_x(v, v->bands[i].start_ns), to = chart_x(v, v->bands[i].end_ns);
        buffer_printf(out, "<rect class=late x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>", from, top,
                      to - from < 1 ? 1 : to - from, bottom - top);
    }
    for (uint32_t i = 0; i < v->marks_count; i++) {
        double from = chart_x(v, v->marks[i].start_ns), to = chart_x(v, v->marks[i].end_ns);
        buffer_printf(out, "<rect class=window x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>", from - 1, top,
                      to - from + 2, bottom - top);
    }
}
