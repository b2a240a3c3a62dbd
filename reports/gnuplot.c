/* The three plots that gnuplot draws: latency over time, throughput over time, and latency by quantile. For each a
 * script NAME.gp and its data NAME.dat are kept in the run's folder, so that anyone can draw it again or differently;
 * the SVG that comes out is put into the page with its colours mapped to the page's, so that it follows light and
 * dark.
 *
 * Nothing from a run reaches a script except numbers, checked colours and names cut down to harmless characters: a
 * gnuplot script can start programs. */
#include "reports/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TIMEOUT_MS_USUAL 10000u
#define SVG_BYTES_MAX (1u << 20) /* far above what SCATTER_POINTS_MAX can need */
#define CURVES_MAX 6u
#define BINS_MIN 30u
#define OPS_PER_BIN 10u /* on average, while there are more than BINS_MIN bins */
#define TICKS_MAX 10u
#define STEPS_PER_DECADE 16u           /* of a quantile curve */
#define STEP_FACTOR 0.8659643233600653 /* 10^(-1/16) */

static const struct plot throughput_plot = {"throughput", 210, true}, latency_plot = {"latency", 300, true},
                         quantiles_plot = {"quantiles", 260, false};

static double milliseconds(uint64_t ns) {
    return (double)ns / (double)NS_PER_MS;
}

/* --- scripts ------------------------------------------------------------------------------------------------------ */

void plot_script_open(struct buffer *out, const struct plot *plot) {
    const char *name = plot->name;
    buffer_printf(out,
                  "# Draws %s.svg from %s.dat: run `gnuplot %s.gp` in this folder.\n"
                  "set term svg size %d,%d fixed background \"white\" font \"sans-serif,12\" noenhanced name \"%s\"\n"
                  "set encoding utf8\nset output \"%s.svg\"\n"
                  "set lmargin at screen %.6f\nset rmargin at screen %.6f\n"
                  "set tmargin at screen %.6f\nset bmargin at screen %.6f\n",
                  name, name, name, CHART_WIDTH, plot->height, name, name, (double)CHART_LEFT / CHART_WIDTH,
                  (double)CHART_RIGHT / CHART_WIDTH, 1 - 26.0 / plot->height, 26.0 / plot->height);
    const char *line = palette_light("line"), *muted = palette_light("muted");
    buffer_printf(out,
                  "set border 1 lc rgb \"%s\"\nset tics scale 0 textcolor rgb \"%s\"\n"
                  "set grid xtics ytics lt 1 lw 0.8 lc rgb \"%s\"\n"
                  "set key at screen %.6f, screen 0.985 right top horizontal Left reverse samplen 1.2 width 1 "
                  "textcolor rgb \"%s\"\n",
                  line, muted, line, (double)CHART_RIGHT / CHART_WIDTH, muted);
}

static void script_time_axis(struct buffer *out, const struct view *v) {
    uint64_t step = nice_step(v->end_ns, TICKS_MAX);
    buffer_printf(out, "set xrange [0:%.9f]\nset xtics (", seconds(v->end_ns));
    for (uint64_t t = 0; t <= v->end_ns; t += step) {
        buffer_printf(out, "%s\"", t ? ", " : "");
        time_label(out, t, step);
        buffer_printf(out, "\" %.9f", seconds(t));
        if (t > UINT64_MAX - step) break;
    }
    buffer_printf(out, ")\n");
    struct shade shades[SHADES_MAX];
    size_t count = shades_make(v->h, v->end_ns, shades);
    double hair = seconds(v->end_ns) / (CHART_RIGHT - CHART_LEFT); /* one pixel: also the shortest fault is seen */
    for (size_t i = 0; i < count; i++) {
        double from = seconds(shades[i].start_ns), to = seconds(shades[i].end_ns);
        buffer_printf(out,
                      "set object rect from first %.9f, graph 0 to first %.9f, graph 1 fc rgb \"%s\" "
                      "fs transparent solid 0.16 noborder behind\n",
                      from, to - from < hair ? from + hair : to, shades[i].colour);
    }
    for (uint32_t i = 0; i < v->bands_count; i++) {
        double from = seconds(v->bands[i].start_ns), to = seconds(v->bands[i].end_ns);
        buffer_printf(out,
                      "set object rect from first %.9f, graph 0 to first %.9f, graph 1 fc rgb \"%s\" "
                      "fs transparent solid 0.30 noborder behind\n",
                      from, to - from < hair ? from + hair : to, palette_light("late"));
    }
    const char *red = palette_light("bad");
    for (uint32_t i = 0; i < v->marks_count; i++)
        buffer_printf(out,
                      "set object rect from first %.9f, graph 0 to first %.9f, graph 1 fc rgb \"%s\" "
                      "fs transparent solid 0.10 border lc rgb \"%s\" front\n",
                      seconds(v->marks[i].start_ns) - hair, seconds(v->marks[i].end_ns) + hair, red, red);
}

/* A logarithmic axis of latencies in milliseconds, from 1-2-5 to 1-2-5, with a label at each decade (or at each 1-2-5
 * where the range is short). */
void plot_latency_axis(struct buffer *out, char axis, uint64_t least_ns, uint64_t most_ns) {
    uint64_t low = 1, high = nice_step(most_ns ? most_ns : 1, 1);
    while (low * 10 <= least_ns) low *= 10;
    if (low * 5 <= least_ns)
        low *= 5;
    else if (low * 2 <= least_ns)
        low *= 2;
    if (high <= low) high = low > UINT64_MAX / 10 ? UINT64_MAX : low * 10;
    buffer_printf(out, "set logscale %c\nset %crange [%.9g:%.9g]\nset %ctics (", axis, axis, milliseconds(low) / 1.4,
                  milliseconds(high) * 1.4, axis);
    bool fine = high / low < 200;
    const char *comma = "";
    for (uint64_t power = 1; power <= high; power *= 10) {
        for (uint64_t m = 1; m <= (fine ? 5 : 1); m = m == 2 ? 5 : m * 2) {
            uint64_t at = m * power;
            if (at < low || at > high || m == 4) continue;
            buffer_printf(out, "%s\"", comma);
            uint64_t unit = at >= NS_PER_S ? NS_PER_S : at >= NS_PER_MS ? NS_PER_MS : at >= NS_PER_US ? NS_PER_US : 1;
            const char *name = unit == NS_PER_S ? "s" : unit == NS_PER_MS ? "ms" : unit == NS_PER_US ? "\u00b5s" : "ns";
            buffer_printf(out, "%" PRIu64 " %s\" %.9g", at / unit, name, milliseconds(at));
            comma = ", ";
        }
        if (power > UINT64_MAX / 50) break;
    }
    buffer_printf(out, ")\n");
}

/* --- latency over time -------------------------------------------------------------------------------------------- */

static const struct dots {
    uint32_t status;
    const char *colour, *title; /* shapes differ as well as colours */
    int shape;
    double size, size_in_key;
} dots[] = {
    {OP_OK, "ok", "ok", 7, 0.25, 0.6},
    {OP_FAIL, "fail", "fail", 2, 0.5, 0.7},
    {OP_INFO, "info", "info (unknown)", 9, 0.5, 0.8},
};

static void latency_curves(struct buffer *data, const struct series *s) {
    buffer_printf(data, "# per bin of time: middle_s p50_ms p99_ms\n");
    for (uint32_t i = 0; i < s->bins_count; i++) {
        double middle = seconds(i * s->width_ns) + seconds(s->width_ns) / 2;
        if (middle > seconds(s->end_ns)) middle = seconds(s->end_ns);
        const struct bin *bin = &s->bins[i];
        buffer_printf(data, "%.6f ", middle);
        /* A bin without any is a gap in the curve. Not an empty line: two of those would begin a new block. */
        if (bin->latencies == 0)
            buffer_printf(data, "NaN NaN\n");
        else
            buffer_printf(data, "%.6g %.6g\n", milliseconds(bin->p50_ns), milliseconds(bin->p99_ns));
    }
}

static void latency_prepare(struct buffer *script, struct buffer *data, const struct view *v, const struct series *s) {
    uint64_t least = UINT64_MAX, most = 1;
    for (size_t i = 0; i < s->points_count; i++) {
        uint64_t ns = s->points[i].latency_ns ? s->points[i].latency_ns : 1;
        if (ns < least) least = ns;
        if (ns > most) most = ns;
    }
    plot_script_open(script, &latency_plot);
    script_time_axis(script, v);
    plot_latency_axis(script, 'y', least, most);
    buffer_printf(script, "plot ");
    buffer_printf(data, "# invoked_s latency_ms, one block per status; thinned to %u points\n", SCATTER_POINTS_MAX);
    size_t index = 0, first = 0;
    double scale = s->points_count > 1500 ? 1 : s->points_count > 200 ? 1.4 : 2; /* few points may be large */
    for (size_t d = 0; d < sizeof dots / sizeof *dots; d++) {
        size_t n = 0;
        while (first + n < s->points_count && s->points[first + n].status == dots[d].status) n++;
        if (n == 0) continue;
        size_t kept = points_thin(s->points + first, n, d == 0 ? SCATTER_POINTS_MAX / 2 : SCATTER_POINTS_MAX / 4);
        buffer_printf(data, "# %s: %zu of %zu operations\n", dots[d].title, kept, n);
        for (size_t i = first; i < first + kept; i++)
            buffer_printf(data, "%.6f %.6g\n", seconds(s->points[i].at_ns),
                          milliseconds(s->points[i].latency_ns ? s->points[i].latency_ns : 1));
        buffer_printf(data, "\n\n");
        const char *colour = palette_light(dots[d].colour);
        buffer_printf(script,
                      "%s\"latency.dat\" index %zu with points pt %d ps %.2f lc rgb \"%s\" notitle, "
                      "NaN with points pt %d ps %.2f lc rgb \"%s\" title \"%s\"",
                      index ? ", \\\n     " : "", index, dots[d].shape, dots[d].size * scale, colour, dots[d].shape,
                      dots[d].size_in_key, colour, dots[d].title);
        if (d == 0) {
            latency_curves(data, s);
            buffer_printf(data, "\n\n");
            buffer_printf(script,
                          ", \\\n     \"\" index %zu using 1:2 with lines lw 1.6 lc rgb \"%s\" title \"p50\""
                          ", \\\n     \"\" index %zu using 1:3 with lines lw 1.6 lc rgb \"%s\" title \"p99\"",
                          index + 1, palette_light("p50"), index + 1, palette_light("p99"));
            index++;
        }
        index++;
        first += n;
    }
    buffer_printf(script, "\n");
}

/* --- throughput over time ----------------------------------------------------------------------------------------- */

static void throughput_prepare(struct buffer *script, struct buffer *data, const struct view *v,
                               const struct series *s) {
    buffer_printf(data, "# bin_start_s ok_per_s fail_per_s info_per_s\n");
    bool fails = false, infos = false;
    for (uint32_t i = 0; i <= s->bins_count; i++) {
        const struct bin *bin = &s->bins[i < s->bins_count ? i : s->bins_count - 1];
        uint64_t start = i < s->bins_count ? i * s->width_ns : s->end_ns;
        uint64_t covered = s->end_ns - (i < s->bins_count ? start : (s->bins_count - 1) * s->width_ns);
        if (covered > s->width_ns) covered = s->width_ns;
        if (covered < s->width_ns / 4) covered = s->width_ns / 4; /* a sliver at the end is not blown up */
        double width = seconds(covered);
        buffer_printf(data, "%.6f %.6g %.6g %.6g\n", seconds(start), (double)bin->ok / width, (double)bin->fail / width,
                      (double)bin->info / width);
        fails |= bin->fail > 0;
        infos |= bin->info > 0;
    }
    plot_script_open(script, &throughput_plot);
    script_time_axis(script, v);
    buffer_printf(script, "set yrange [0:*]\nset ytics\nset format y \"%%g/s\"\nset ytics autofreq\nplot ");
    /* Stacked: the sum first, what lies below it over it. */
    if (infos)
        buffer_printf(script,
                      "\"throughput.dat\" using 1:($2+$3+$4) with fillsteps fs solid 1 noborder lc rgb \"%s\" "
                      "title \"info (unknown)\", \\\n     ",
                      palette_light("rateinfo"));
    if (fails)
        buffer_printf(script,
                      "\"throughput.dat\" using 1:($2+$3) with fillsteps fs solid 1 noborder lc rgb \"%s\" "
                      "title \"fail\", \\\n     ",
                      palette_light("ratefail"));
    buffer_printf(script,
                  "\"throughput.dat\" using 1:2 with fillsteps fs solid 1 noborder lc rgb \"%s\" title \"ok\"\n",
                  palette_light("rateok"));
}

/* --- latency by quantile ------------------------------------------------------------------------------------------ */

struct timed {
    uint64_t latency_ns;
    uint16_t f;
};

static int by_function_latency(const void *left, const void *right) {
    const struct timed *a = left, *b = right;
    if (a->f != b->f) return a->f < b->f ? -1 : 1;
    return a->latency_ns < b->latency_ns ? -1 : a->latency_ns > b->latency_ns;
}

/* Quantile q stands at x = -log10(1 - q), so that each nine more is as wide as the one before; the curve ends at the
 * slowest. */
static void curve_print(struct buffer *data, const struct timed *t, size_t n) {
    double above = 1;
    uint32_t k = 0;
    for (; above * (double)n >= 1; k++, above *= STEP_FACTOR) {
        uint64_t ns = t[(size_t)((1 - above) * (double)n)].latency_ns;
        buffer_printf(data, "%.4f %.6g\n", (double)k / STEPS_PER_DECADE, milliseconds(ns ? ns : 1));
    }
    uint64_t most = t[n - 1].latency_ns;
    buffer_printf(data, "%.4f %.6g\n", (double)k / STEPS_PER_DECADE, milliseconds(most ? most : 1));
    buffer_printf(data, "\n\n");
}

void plot_put_name(struct buffer *script, const char *name) {
    for (size_t i = 0; name[i] && i < 24; i++) {
        char c = name[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("_-. ", c);
        buffer_printf(script, "%c", plain ? c : '?');
    }
}

static void quantiles_prepare(struct buffer *script, struct buffer *data, const struct view *v) {
    const struct history *h = v->h;
    struct timed *all = xmalloc((h->count + (size_t)1) * sizeof *all);
    size_t count = 0;
    for (uint32_t i = 0; i < h->count; i++)
        if (h->status[i] == OP_OK) all[count++] = (struct timed){h->complete_ns[i] - h->intended_ns[i], h->f[i]};
    qsort(all, count, sizeof *all, by_function_latency);
    uint64_t least = UINT64_MAX, most = 1;
    for (size_t i = 0; i < count; i++) {
        if (all[i].latency_ns < least) least = all[i].latency_ns;
        if (all[i].latency_ns > most) most = all[i].latency_ns;
    }
    plot_script_open(script, &quantiles_plot);
    plot_latency_axis(script, 'y', least ? least : 1, most);
    buffer_printf(script, "set xtics (\"p0\" 0, \"p50\" 0.30103, \"p90\" 1, \"p99\" 2, \"p99.9\" 3, \"p99.99\" 4, "
                          "\"p99.999\" 5, \"p99.9999\" 6)\nset xrange [0:*]\nplot ");
    buffer_printf(data, "# -log10(1 - quantile) latency_ms, one block per function\n");
    size_t curves = 0;
    for (size_t first = 0, next; first < count && curves < CURVES_MAX; first = next, curves++) {
        for (next = first; next < count && all[next].f == all[first].f;) next++;
        curve_print(data, all + first, next - first);
        char colour[8];
        snprintf(colour, sizeof colour, "curve%zu", curves);
        buffer_printf(script, "%s\"quantiles.dat\" index %zu with lines lw 1.8 lc rgb \"%s\" title \"",
                      curves ? ", \\\n     " : "", curves, palette_light(colour));
        plot_put_name(script, history_function_name(h, all[first].f));
        buffer_printf(script, "\"");
    }
    buffer_printf(script, "\n");
    free(all);
}

/* --- from gnuplot's SVG to the page's ----------------------------------------------------------------------------- */

static int file_read(const char *path, struct buffer *out) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t n;
    do {
        buffer_reserve(out, 1u << 16);
        n = read(fd, out->data + out->size, 1u << 16);
        if (n > 0) out->size += (size_t)n;
    } while (n > 0 && out->size <= SVG_BYTES_MAX);
    close(fd);
    return n < 0 || out->size > SVG_BYTES_MAX ? -1 : 0;
}

/* "rgb(47, 111, 183)" becomes "var(--ok)" when the palette has it. Returns how many bytes of line it was, or 0. */
static size_t colour_take(const char *line, struct buffer *out) {
    unsigned r, g, b;
    int size = 0;
    if (sscanf(line, "rgb(%3u ,%3u ,%3u )%n", &r, &g, &b, &size) < 3 || size == 0) return 0;
    for (size_t i = 0; i < palette_count; i++) {
        unsigned colour = (unsigned)strtoul(palette[i].light + 1, NULL, 16);
        if (colour != (r << 16 | g << 8 | b)) continue;
        buffer_printf(out, "var(--%s)", palette[i].name);
        return (size_t)size;
    }
    buffer_printf(out, "#%02x%02x%02x", r & 0xFF, g & 0xFF, b & 0xFF);
    return (size_t)size;
}

/* One line of gnuplot's SVG: colours mapped, the ids of its point shapes made unique to this plot, its titles (which
 * would show as tooltips) dropped. */
static void line_adopt(struct buffer *out, const char *line, const char *name) {
    static const char shape[] = "gpPt", group[] = "<g id=";
    if (strncmp(line, group, strlen(group)) == 0) {
        buffer_printf(out, "<g>\n");
        return;
    }
    while (*line) {
        size_t taken = strncmp(line, "rgb(", 4) == 0 ? colour_take(line, out) : 0;
        if (taken == 0 && strncmp(line, shape, strlen(shape)) == 0) {
            buffer_printf(out, "%s-", name);
            taken = strlen(shape);
        }
        if (taken == 0) buffer_append(out, line, taken = 1);
        line += taken;
    }
    buffer_printf(out, "\n");
}

static int svg_adopt(struct buffer *out, struct buffer *svg, uint64_t end_ns, const struct plot *plot) {
    buffer_append(svg, "", 1);
    char *rest = strstr((char *)svg->data, "<g id=\"gnuplot_canvas\">");
    if (!rest || !strstr(rest, "</svg>")) return -1;
    buffer_printf(out, "<svg class=\"plot%s\" viewBox=\"0 0 %d %d\" role=img aria-label=\"%s\"",
                  plot->over_time ? " time" : "", CHART_WIDTH, plot->height, plot->name);
    if (plot->over_time)
        buffer_printf(out, " data-end=\"%.9f\" data-bottom=\"%d\"", seconds(end_ns), plot->height - 26);
    buffer_printf(out, ">\n");
    for (char *line; (line = strsep(&rest, "\n"));) {
        line += strspn(line, " \t");
        bool background = strncmp(line, "<rect x=\"0\" y=\"0\"", 17) == 0;
        if (*line && !background) line_adopt(out, line, plot->name);
    }
    return 0;
}

/* --- drawing ------------------------------------------------------------------------------------------------------ */

static int plot_write(const char *folder, const char *name, const char *suffix, const struct buffer *text,
                      struct error *e) {
    char *path = xformat("%s/%s.%s", folder, name, suffix);
    int result = file_replace(path, text, e);
    free(path);
    return result;
}

int plot_draw(const char *folder, uint64_t timeout_ms, uint64_t end_ns, const struct plot *plot,
              const struct buffer *script, const struct buffer *data, struct buffer *out, struct error *e) {
    const char *name = plot->name;
    char *svg_path = xformat("%s/%s.svg", folder, name), *script_file = xformat("%s.gp", name);
    struct buffer svg = {0};
    unlink(svg_path); /* a plot of an earlier report must not pass for this one */
    int result = plot_write(folder, name, "gp", script, e);
    if (result == 0) result = plot_write(folder, name, "dat", data, e);
    if (timeout_ms == 0) timeout_ms = TIMEOUT_MS_USUAL;
    if (result == 0) result = gnuplot_run(folder, script_file, timeout_ms, e);
    if (result == 0 && (file_read(svg_path, &svg) < 0 || svg_adopt(out, &svg, end_ns, plot) < 0))
        result = error_set(e, "gnuplot left no usable %s", svg_path);
    buffer_free(&svg);
    free(svg_path);
    free(script_file);
    return result;
}

static int draw(const struct view *v, const struct plot *plot, const struct buffer *script, const struct buffer *data,
                struct buffer *out, struct error *e) {
    return plot_draw(v->in->folder, v->in->plot_timeout_ms, v->end_ns, plot, script, data, out, e);
}

void plots_make(const struct view *v, struct plots *p) {
    *p = (struct plots){0};
    struct series s;
    uint32_t bins = v->h->count / OPS_PER_BIN < BINS_MIN ? BINS_MIN : v->h->count / OPS_PER_BIN;
    series_make(&s, v->h, v->end_ns, nice_step(v->end_ns, bins < BINS_MAX ? bins : BINS_MAX));
    struct buffer script = {0}, data = {0};
    if (s.points_count == 0) {
        error_set(&p->why, "no operation was completed: there is nothing to plot");
        goto out;
    }
    throughput_prepare(&script, &data, v, &s);
    if (draw(v, &throughput_plot, &script, &data, &p->throughput, &p->why) < 0) goto out;
    script.size = data.size = 0;
    bool any_ok = s.points[0].status == OP_OK;
    latency_prepare(&script, &data, v, &s);
    if (draw(v, &latency_plot, &script, &data, &p->latency, &p->why) < 0 || !any_ok) goto out;
    script.size = data.size = 0;
    quantiles_prepare(&script, &data, v);
    draw(v, &quantiles_plot, &script, &data, &p->quantiles, &p->why);
out:
    buffer_free(&script);
    buffer_free(&data);
    series_free(&s);
}

void plots_free(struct plots *p) {
    buffer_free(&p->latency);
    buffer_free(&p->throughput);
    buffer_free(&p->quantiles);
}
