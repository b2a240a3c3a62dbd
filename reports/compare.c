/* Several targets side by side as text: which figures there are, their medians and spread over the runs of a target,
 * the table for a terminal, and CSV. */
#include "reports/compare_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const struct compare_row figures[MEASURES] = {
    [MEASURE_THROUGHPUT] = {.metric = "throughput", .unit = "ops/s", .label = "committed"},
    [MEASURE_AVAILABILITY] = {.metric = "availability", .unit = "%", .label = "availability"},
    [MEASURE_OUTAGE] = {.metric = "longest_outage", .unit = "ms", .label = "longest outage"},
    [MEASURE_FAILOVER_MEDIAN] = {.metric = "failover_median", .unit = "ms", .label = "failover, median"},
    [MEASURE_FAILOVER_MAX] = {.metric = "failover_max", .unit = "ms", .label = "failover, longest"},
    [MEASURE_RECOVERY_MEDIAN] = {.metric = "recovery_median", .unit = "ms", .label = "recovery, median"},
    [MEASURE_RECOVERY_MAX] = {.metric = "recovery_max", .unit = "ms", .label = "recovery, longest"},
    [MEASURE_UNRECOVERED] = {.metric = "unrecovered", .unit = "faults", .label = "never recovered"},
    [MEASURE_MESSAGES] = {.metric = "messages_per_op", .unit = "1/op", .label = "messages"},
    [MEASURE_BYTES] = {.metric = "bytes_per_op", .unit = "B/op", .label = "bytes"},
    [MEASURE_SYNCS] = {.metric = "syncs_per_op", .unit = "1/op", .label = "disk syncs"},
    [MEASURE_CPU] = {.metric = "cpu_per_op", .unit = "us/op", .label = "CPU time"},
    [MEASURE_FAST_PATH] = {.metric = "fast_path", .unit = "%", .label = "on the fast path"},
    [MEASURE_REPLACED_MEDIAN] = {.metric = "new_leader_median", .unit = "ms", .label = "new leader, median"},
    [MEASURE_REPLACED_MAX] = {.metric = "new_leader_max", .unit = "ms", .label = "new leader, latest"},
    [MEASURE_ELECTIONS] = {.metric = "elections", .unit = "a run", .label = "elections"},
    [MEASURE_LEADERS] = {.metric = "leaders", .unit = "a run", .label = "leaders elected"},
};
static const struct {
    uint32_t permille;
    const char *metric, *label;
} quantiles[] = {{500, "latency_p50", "p50"}, {990, "latency_p99", "p99"}, {999, "latency_p999", "p99.9"}};

/* --- rows --------------------------------------------------------------------------------------------------------- */

static const struct latency *find_latency(const struct measured *m, const char *operation, const char *region) {
    for (uint32_t i = 0; i < m->latencies_count; i++)
        if (strcmp(m->latencies[i].operation, operation) == 0 && strcmp(m->latencies[i].region, region) == 0)
            return &m->latencies[i];
    return NULL;
}

double compare_value(const struct compare_row *row, const struct measured *m) {
    if (row->measure != MEASURES) return m->values[row->measure];
    const struct latency *l = find_latency(m, row->operation, row->region);
    if (!l) return NAN;
    uint64_t ns = row->permille == 500 ? l->p50_ns : row->permille == 990 ? l->p99_ns : l->p999_ns;
    return (double)ns / (double)NS_PER_MS;
}

struct rows {
    struct compare_row *items;
    uint32_t count;
};

static void add_row(struct rows *r, struct compare_row row) {
    r->items = xrealloc(r->items, (r->count + (size_t)1) * sizeof *r->items);
    r->items[r->count++] = row;
}

static bool has_row(const struct rows *r, const struct latency *l) {
    for (uint32_t i = 0; i < r->count; i++)
        if (r->items[i].measure == MEASURES && strcmp(r->items[i].operation, l->operation) == 0 &&
            strcmp(r->items[i].region, l->region) == 0)
            return true;
    return false;
}

static void add_latencies(struct rows *r, const struct measured *m) {
    for (uint32_t i = 0; i < m->latencies_count; i++) {
        if (has_row(r, &m->latencies[i])) continue;
        for (size_t q = 0; q < sizeof quantiles / sizeof *quantiles; q++) {
            struct compare_row row = {.measure = MEASURES,
                                      .permille = quantiles[q].permille,
                                      .metric = quantiles[q].metric,
                                      .unit = "ms",
                                      .label = quantiles[q].label};
            memcpy(row.operation, m->latencies[i].operation, sizeof row.operation);
            memcpy(row.region, m->latencies[i].region, sizeof row.region);
            add_row(r, row);
        }
    }
}

static bool any_has(const struct comparison *c, enum measure measure) {
    for (uint32_t t = 0; t < c->targets_count; t++)
        for (uint32_t i = 0; i < c->targets[t].runs_count; i++)
            if (c->targets[t].runs[i].done && !isnan(c->targets[t].runs[i].measured->values[measure])) return true;
    return false;
}

static int by_operation(const void *left, const void *right) {
    const struct compare_row *a = left, *b = right;
    int order = strcmp(a->operation, b->operation);
    if (order == 0) order = strcmp(a->region, b->region);
    return order ? order : (int)a->permille - (int)b->permille;
}

struct compare_row *compare_rows(const struct comparison *c, uint32_t *count) {
    struct rows r = {0}, latencies = {0};
    for (uint32_t t = 0; t < c->targets_count; t++)
        for (uint32_t i = 0; i < c->targets[t].runs_count; i++)
            if (c->targets[t].runs[i].done) add_latencies(&latencies, c->targets[t].runs[i].measured);
    if (latencies.count) qsort(latencies.items, latencies.count, sizeof *latencies.items, by_operation);
    for (enum measure m = 0; m < MEASURES; m++) {
        struct compare_row row = figures[m];
        row.measure = m;
        if (any_has(c, m)) add_row(&r, row);
        for (uint32_t i = 0; m == MEASURE_THROUGHPUT && i < latencies.count; i++) add_row(&r, latencies.items[i]);
    }
    free(latencies.items);
    *count = r.count;
    return r.items;
}

struct spread compare_spread(const struct compare_row *row, const struct compared_target *t) {
    double *values = xmalloc((t->runs_count + (size_t)1) * sizeof *values);
    uint32_t count = 0;
    for (uint32_t i = 0; i < t->runs_count; i++) {
        double value = t->runs[i].done ? compare_value(row, t->runs[i].measured) : NAN;
        if (!isnan(value)) values[count++] = value;
    }
    struct spread s = spread_of(values, count);
    free(values);
    return s;
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

void compare_put_figure(struct buffer *out, double value) {
    double size = fabs(value);
    int decimals = size >= 99.95 || value == 0 ? 0 : size >= 9.995 ? 1 : size >= 0.9995 ? 2 : 3;
    buffer_printf(out, "%.*f", decimals, value);
}

static char *text_of(struct buffer *b) {
    buffer_append(b, "", 1);
    return (char *)b->data;
}

char *compare_row_label(const struct compare_row *row) {
    if (row->measure != MEASURES) return xformat("%s, %s", row->label, row->unit);
    return xformat("%s%s%s %s, %s", text_or(row->operation, "latency"), *row->region ? " in " : "", row->region,
                   row->label, row->unit);
}

static char *cell_text(const struct compare_row *row, const struct compared_target *t) {
    struct spread s = compare_spread(row, t);
    struct buffer out = {0};
    if (s.count == 0) {
        buffer_printf(&out, "-");
    } else {
        compare_put_figure(&out, s.median);
        if (s.count > 1 && s.min < s.max) {
            buffer_printf(&out, "  ");
            compare_put_figure(&out, s.min);
            buffer_printf(&out, "..");
            compare_put_figure(&out, s.max);
        }
    }
    return text_of(&out);
}

char *compare_verdicts(const struct compared_target *t) {
    struct buffer out = {0};
    const struct {
        uint32_t count;
        const char *name;
    } parts[] = {{t->valid, "valid"}, {t->invalid, "invalid"}, {t->unknown, "unknown"}, {t->broken, "broken"}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i].count)
            buffer_printf(&out, "%s%" PRIu32 " %s", out.size ? ", " : "", parts[i].count, parts[i].name);
    if (out.size == 0) buffer_printf(&out, "no run");
    return text_of(&out);
}

struct table {    /* of texts, made once to know how wide they are */
    char **cells; /* row after row; the first column is the labels */
    uint32_t rows, columns;
};

static char **cell(const struct table *t, uint32_t row, uint32_t column) {
    return &t->cells[row * t->columns + column];
}

static uint32_t width_of(const struct table *t, uint32_t column) {
    size_t width = 0;
    for (uint32_t row = 0; row < t->rows; row++)
        if (strlen(*cell(t, row, column)) > width) width = strlen(*cell(t, row, column));
    return (uint32_t)width;
}

static struct table make_table(const struct comparison *c) {
    uint32_t count = 0;
    struct compare_row *rows = compare_rows(c, &count);
    struct table t = {.rows = count + 2, .columns = c->targets_count + 1};
    t.cells = xcalloc((size_t)t.rows * t.columns, sizeof *t.cells);
    *cell(&t, 0, 0) = xstrdup("");
    *cell(&t, 1, 0) = xstrdup("runs");
    for (uint32_t i = 0; i < count; i++) *cell(&t, i + 2, 0) = compare_row_label(&rows[i]);
    for (uint32_t n = 0; n < c->targets_count; n++) {
        *cell(&t, 0, n + 1) = xstrdup(c->targets[n].name);
        *cell(&t, 1, n + 1) = compare_verdicts(&c->targets[n]);
        for (uint32_t i = 0; i < count; i++) *cell(&t, i + 2, n + 1) = cell_text(&rows[i], &c->targets[n]);
    }
    free(rows);
    return t;
}

static void print_line(const struct table *t, uint32_t row, uint32_t first, uint32_t end, struct buffer *out) {
    buffer_printf(out, "%-*s", (int)width_of(t, 0), *cell(t, row, 0));
    for (uint32_t column = first; column < end; column++) {
        bool last = column + 1 == end;
        buffer_printf(out, "  %-*s", last ? 0 : (int)width_of(t, column), *cell(t, row, column));
    }
    buffer_printf(out, "\n");
}

void compare_print_table(const struct comparison *c, uint32_t columns, struct buffer *out) {
    struct table t = make_table(c);
    for (uint32_t first = 1, end; first < t.columns; first = end) {
        uint32_t width = width_of(&t, 0);
        for (end = first; end < t.columns && (end == first || width + 2 + width_of(&t, end) <= columns); end++)
            width += 2 + width_of(&t, end);
        if (first > 1) buffer_printf(out, "\n");
        for (uint32_t row = 0; row < t.rows; row++) print_line(&t, row, first, end, out);
    }
    for (uint32_t i = 0; i < t.rows * t.columns; i++) free(t.cells[i]);
    free(t.cells);
}

/* --- CSV (RFC 4180) ----------------------------------------------------------------------------------------------- */

static void put_field(struct buffer *out, const char *text) {
    if (!strpbrk(text, ",\"\r\n")) {
        buffer_printf(out, "%s,", text);
        return;
    }
    buffer_printf(out, "\"");
    for (; *text; text++) buffer_printf(out, "%s%c", *text == '"' ? "\"" : "", *text);
    buffer_printf(out, "\",");
}

void compare_print_csv(const struct comparison *c, struct buffer *out) {
    uint32_t count = 0;
    struct compare_row *rows = compare_rows(c, &count);
    buffer_printf(out, "scenario,world,target,seed,verdict,metric,operation,region,unit,value\n");
    for (uint32_t t = 0; t < c->targets_count; t++) {
        for (uint32_t i = 0; i < c->targets[t].runs_count; i++) {
            const struct compared_run *run = &c->targets[t].runs[i];
            for (uint32_t r = 0; r < count && run->done; r++) {
                double value = compare_value(&rows[r], run->measured);
                if (isnan(value)) continue;
                put_field(out, c->scenario);
                put_field(out, c->world);
                put_field(out, c->targets[t].name);
                buffer_printf(out, "%" PRIu64 ",%s,%s,", run->seed, verdict_name(run->verdict), rows[r].metric);
                put_field(out, rows[r].operation);
                put_field(out, rows[r].region);
                buffer_printf(out, "%s,%.9g\n", rows[r].unit, value);
            }
        }
    }
    free(rows);
}
