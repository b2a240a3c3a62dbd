/* Private to reports/: what the files of this room share. Three layers: text (escaping, numbers, files), series (what
 * the plots draw, computed from a history), and the sections of the page, each appended to one buffer.
 *
 * Every text that came out of a run (keys, values, errors, names, logs) passes through html_* or xml_bytes on its way
 * to a file: nothing from a run is ever markup. Every table and chart has a named limit below, and says what it left
 * out. */
#ifndef HARROW_REPORTS_INTERNAL_H
#define HARROW_REPORTS_INTERNAL_H

#include "reports/reports.h"

/* --- limits: they keep a page of a million operations under 5 MB -------------------------------------------------- */

#define CHECK_ROWS_MAX 200u        /* rows of the table of checks */
#define FAILURES_SHOWN_MAX 5u      /* checks whose operations are shown in full */
#define OP_ROWS_MAX 100u           /* rows of one table of operations */
#define LANE_OPS_MAX 60u           /* bars of one lane chart */
#define FAULT_ROWS_MAX 40u         /* fault names in the timeline and in its table */
#define NODE_ROWS_MAX 32u          /* nodes in the chart of leaders */
#define LOG_ROWS_MAX 300u          /* log lines */
#define FUNCTION_ROWS_MAX 24u      /* functions in the table of latencies */
#define FILES_MAX 100u             /* links to artifacts */
#define VALUE_BYTES_MAX 240u       /* one key, value or error in a table */
#define TEXT_BYTES_MAX (32u << 10) /* one explanation or detail */
#define SOURCE_BYTES_MAX (128u << 10)
#define SCATTER_POINTS_MAX 4000u /* as SVG about 100 bytes each */
#define BINS_MAX 240u            /* of throughput and of latency quantiles over time */
#define SHADES_MAX 200u          /* fault windows shaded in one plot */
#define LATE_BANDS_MAX 200u      /* stretches in which harrow was late, in one plot */
#define LATE_ROWS_MAX 10u        /* of the worst of these windows */
#define LINK_ROWS_MAX 300u       /* directed links */

/* --- text.c ------------------------------------------------------------------------------------------------------- */

const char *text_or(const char *text, const char *fallback); /* fallback for NULL and "" */
/* Escaped for HTML text and quoted attributes; control and bidirectional characters and broken UTF-8 become visible. */
void html_bytes(struct buffer *out, struct bytes text);
void html_text(struct buffer *out, const char *text);
/* The same, with the middle left out (and said so) when the text is longer than max bytes. */
void html_clipped(struct buffer *out, struct bytes text, size_t max);
void xml_bytes(struct buffer *out, struct bytes text); /* for XML 1.0; characters it cannot hold are dropped */
void put_duration(struct buffer *out, uint64_t ns);    /* "1.25 s", "3.4 ms" */
void put_count(struct buffer *out, uint64_t count);    /* "1,234,567" */
void html_duration(struct buffer *out, uint64_t ns);   /* with no break between figure and unit */
/* A fault's colour when it is "#rrggbb", else a grey: it goes into styles and plot scripts. */
const char *fault_colour(const struct history *h, const struct fault_record *f);
/* Writes beside and renames, so that a reader sees the old file or the whole new one. */
int file_replace(const char *path, const struct buffer *content, struct error *e);

/* --- series.c ----------------------------------------------------------------------------------------------------- */

uint64_t history_end_ns(const struct history *h); /* the last moment anything was observed; at least 1 ms */
static inline uint64_t fault_end_ns(const struct fault_record *f, uint64_t end_ns) {
    return f->end_ns < end_ns ? f->end_ns : end_ns;
}
static inline double seconds(uint64_t ns) {
    return (double)ns / (double)NS_PER_S;
}
/* The smallest 1, 2 or 5 times a power of ten nanoseconds that cuts span into at most `parts`. */
uint64_t nice_step(uint64_t span, uint32_t parts);

struct point { /* the latency of one completed operation */
    uint64_t at_ns, latency_ns;
    uint32_t bin;
    uint32_t status; /* enum op_status */
};
struct bin {
    uint64_t ok, fail, info; /* completed in it */
    uint64_t p50_ns, p99_ns; /* of the ok operations invoked in it */
    uint64_t latencies;      /* how many these are */
};
struct series {
    uint64_t end_ns, width_ns;
    struct bin *bins;
    uint32_t bins_count;
    struct point *points; /* sorted by status, bin, latency */
    size_t points_count;
};
void series_make(struct series *s, const struct history *h, uint64_t end_ns, uint64_t width_ns);
void series_free(struct series *s);
/* Keeps at most `max` points of points[0..count) (one status, sorted as above): of each bin the fastest, the slowest
 * and evenly spaced ranks between. In place; returns how many are left. */
size_t points_thin(struct point *points, size_t count, size_t max);

struct shade { /* a stretch of time under at least one fault of a colour */
    uint64_t start_ns, end_ns;
    const char *colour;
};
size_t shades_make(const struct history *h, uint64_t end_ns, struct shade shades[SHADES_MAX]);

/* --- the page ----------------------------------------------------------------------------------------------------- */

struct span {
    uint64_t start_ns, end_ns;
};

struct late { /* a window of LATE_WINDOW_NS in which harrow itself was late */
    uint64_t start_ns, late_ns, dropped;
};

struct view { /* what every section needs, computed once */
    const struct report_input *in;
    const struct run_info *run;
    const struct history *h;
    uint64_t end_ns;
    const struct check_result *culprit; /* the first of the worst checks that did not pass, or NULL */
    bool has_window;                    /* the culprit names operations; they lie within: */
    struct span window;
    /* What the charts mark red: the window, or each operation where the window is most of the run. */
    struct span marks[LANE_OPS_MAX];
    uint32_t marks_count;
    bool real_time; /* the run was in a world that can be late: */
    struct late *late;
    uint32_t late_count; /* windows, in order of time */
    struct span bands[LATE_BANDS_MAX];
    uint32_t bands_count; /* these windows, those beside each other as one */
};

/* gnuplot.c: each plot is an <svg> ready for the page, or empty, and then `why` says what is missing. */
struct plots {
    struct buffer latency, throughput, quantiles;
    struct error why;
};
void plots_make(const struct view *v, struct plots *p);
void plots_free(struct plots *p);

/* What all plots share: they look alike, have script and data beside them, and follow the page's light and dark. */
struct plot {
    const char *name; /* of its files, without suffix: letters, digits and _ */
    int height;
    bool over_time; /* gets the page's cursor */
};
void plot_script_open(struct buffer *out, const struct plot *plot);
/* A logarithmic axis ('x' or 'y') in milliseconds. */
void plot_latency_axis(struct buffer *out, char axis, uint64_t least_ns, uint64_t most_ns);
void plot_put_name(struct buffer *script, const char *name); /* of others' making: what could do harm becomes '?' */
/* Writes NAME.gp and NAME.dat into folder, has gnuplot draw NAME.svg, and appends it, ready for the page. timeout_ms 0:
 * the usual. -1: no plot, e says why. */
int plot_draw(const char *folder, uint64_t timeout_ms, uint64_t end_ns, const struct plot *plot,
              const struct buffer *script, const struct buffer *data, struct buffer *out, struct error *e);

/* html.c: how every page begins and ends, and a plot on it, or why there is none. */
void page_open(struct buffer *out, const char *verdict, const char *name);
void page_close(struct buffer *out);
void plot_print(struct buffer *out, const struct buffer *svg, const char *title, const struct error *why);

/* child.c: runs `gnuplot -d script` in folder, killed when it takes longer. */
int gnuplot_run(const char *folder, const char *script, uint64_t timeout_ms, struct error *e);

/* style.c */
struct colour { /* one entry of the palette; plots use the light one, the page maps it back to var(--name) */
    const char *name, *light, *dark;
};
extern const struct colour palette[];
extern const size_t palette_count;
const char *palette_light(const char *name);
void style_print(struct buffer *out);
extern const char page_script[], picture_script[];

/* svg.c: charts over the time of the run share one geometry, so that they line up below each other. */
#define CHART_WIDTH 1120
#define CHART_LEFT 140
#define CHART_RIGHT 1104
double chart_x(const struct view *v, uint64_t ns);
void chart_open(struct buffer *out, const struct view *v, const char *label, double height, double plot_bottom);
void chart_close(struct buffer *out);
void chart_row_label(struct buffer *out, double y, struct bytes label);
void chart_time_axis(struct buffer *out, const struct view *v, double top, double bottom);
void time_label(struct buffer *out, uint64_t ns, uint64_t step_ns);

/* measured.c */
void late_collect(struct view *v); /* late_free afterwards */
void late_free(struct view *v);
void section_late(struct buffer *out, const struct view *v);
void section_links(struct buffer *out, const struct view *v);

/* facts.c, ops.c, lanes.c, faults.c, leaders.c, html.c */
void section_banner(struct buffer *out, const struct view *v);
void section_facts(struct buffer *out, const struct view *v);
void section_checks(struct buffer *out, const struct view *v);
void section_failures(struct buffer *out, const struct view *v);
void section_latency(struct buffer *out, const struct view *v, const struct plots *p);
void section_logs(struct buffer *out, const struct view *v);
void section_source(struct buffer *out, const struct view *v);
void section_files(struct buffer *out, const struct view *v);
void fault_timeline(struct buffer *out, const struct view *v);
void fault_table(struct buffer *out, const struct view *v);
void leader_timeline(struct buffer *out, const struct view *v);
/* p may be NULL: its first order says which operations are left over. */
void lane_chart(struct buffer *out, const struct view *v, const uint32_t *ops, uint32_t count, const struct picture *p);
void failure_print(struct buffer *out, const struct view *v, const struct check_result *c);

/* picture.c */
void picture_section(struct buffer *out, const struct view *v, const struct picture *p);
bool picture_is_left(const struct picture *p, uint32_t op);

/* The micro-operations of a transaction, with what was read if that is known; nil for any other operation. */
struct value op_micros(const struct history *h, uint32_t op);
void micro_print(const struct history *h, struct value micro, struct buffer *out); /* "append x 1" */
void op_print(const struct history *h, uint32_t op, struct buffer *out);           /* plain text: "read k1 -> 3" */
void node_name(struct buffer *out, uint8_t node);
const char *status_name(uint8_t status);

#endif
