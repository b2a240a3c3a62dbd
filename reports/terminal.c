/* report_terminal_plot: throughput and p99 latency over time as text, at most 14 lines of 78 columns, with a row that
 * says which fault was active when. Drawn with block characters; needs no gnuplot. */
#include "reports/internal.h"

#include <stdio.h>

#define COLUMNS 64u /* of the plot; 12 more hold the labels */
#define LABEL_COLUMNS 10
#define RATE_ROWS 3u
#define LATENCY_ROWS 4u
#define LETTERS_MAX 26u
#define LEGEND_COLUMNS 76u

static void row_open(struct buffer *out, const char *label) {
    int columns = 0; /* printf would count bytes */
    for (const char *at = label; *at; at++) columns += (*at & 0xC0) != 0x80;
    buffer_printf(out, "%*s%s \u2502", columns < LABEL_COLUMNS ? LABEL_COLUMNS - columns : 0, "", label);
}

/* One cell of a column that is `eighths` high altogether, in the row-th row from below. */
static void cell(struct buffer *out, uint32_t eighths, uint32_t row) {
    static const char *const blocks[] = {" ",      "\u2581", "\u2582", "\u2583", "\u2584",
                                         "\u2585", "\u2586", "\u2587", "\u2588"};
    uint32_t below = row * 8, here = eighths > below ? eighths - below : 0;
    buffer_printf(out, "%s", blocks[here > 8 ? 8 : here]);
}

static void rows_print(struct buffer *out, const uint32_t eighths[COLUMNS], uint32_t columns, uint32_t rows,
                       const char *top, const char *bottom) {
    for (uint32_t row = rows; row-- > 0;) {
        row_open(out, row == rows - 1 ? top : row == 0 ? bottom : "");
        for (uint32_t i = 0; i < columns; i++) cell(out, eighths[i], row);
        buffer_printf(out, "\n");
    }
}

static void rate_rows(struct buffer *out, const struct series *s) {
    uint64_t most = 1;
    for (uint32_t i = 0; i < s->bins_count; i++)
        if (s->bins[i].ok > most) most = s->bins[i].ok;
    uint32_t eighths[COLUMNS];
    for (uint32_t i = 0; i < s->bins_count; i++)
        eighths[i] = (uint32_t)((s->bins[i].ok * RATE_ROWS * 8 + most - 1) / most); /* one ok is seen */
    char top[32];
    double rate = (double)most / seconds(s->width_ns);
    if (rate < 1e4)
        snprintf(top, sizeof top, "%.0f ok/s", rate);
    else
        snprintf(top, sizeof top, "%.*fk ok/s", rate < 1e5 ? 1 : 0, rate / 1e3);
    rows_print(out, eighths, s->bins_count, RATE_ROWS, top, "0");
}

/* Logarithmic, from a power of ten at or below the least p99 to the greatest. */
static void latency_rows(struct buffer *out, const struct series *s) {
    uint64_t least = UINT64_MAX, most = 1, low = 1;
    for (uint32_t i = 0; i < s->bins_count; i++) {
        if (s->bins[i].latencies == 0) continue;
        uint64_t p99 = s->bins[i].p99_ns ? s->bins[i].p99_ns : 1;
        if (p99 < least) least = p99;
        if (p99 > most) most = p99;
    }
    while (low <= least / 10) low *= 10;
    if (low == most && low > 1) low /= 10;
    int64_t from = fixed_log2(low), span = fixed_log2(most) - from;
    uint32_t eighths[COLUMNS];
    for (uint32_t i = 0; i < s->bins_count; i++) {
        uint64_t p99 = s->bins[i].p99_ns ? s->bins[i].p99_ns : 1;
        int64_t height = span > 0 ? (fixed_log2(p99) - from) * (int64_t)(LATENCY_ROWS * 8) / span : 1;
        eighths[i] = s->bins[i].latencies == 0 ? 0 : height < 1 ? 1 : (uint32_t)height;
    }
    struct buffer top = {0}, bottom = {0};
    put_duration(&top, most);
    put_duration(&bottom, low);
    buffer_append(&top, "", 1);
    buffer_append(&bottom, "", 1);
    rows_print(out, eighths, s->bins_count, LATENCY_ROWS, (char *)top.data, (char *)bottom.data);
    buffer_free(&top);
    buffer_free(&bottom);
}

/* One letter a fault name; where several are active at once, a star. */
static uint32_t fault_letters(const struct history *h, const struct series *s, char row[COLUMNS],
                              uint32_t names[LETTERS_MAX]) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < h->faults_count; i++) {
        const struct fault_record *f = &h->faults[i];
        uint32_t letter = 0;
        while (letter < count && names[letter] != f->name) letter++;
        if (letter == LETTERS_MAX) continue;
        if (letter == count) names[count++] = f->name;
        uint64_t last = fault_end_ns(f, s->end_ns) / s->width_ns;
        for (uint64_t c = f->start_ns / s->width_ns; c <= last && c < s->bins_count; c++)
            row[c] = row[c] == ' ' || row[c] == (char)('A' + letter) ? (char)('A' + letter) : '*';
    }
    return count;
}

/* Names come from a script: only what is printable anywhere reaches the terminal. */
static void legend(struct buffer *out, const struct history *h, const uint32_t *names, uint32_t count) {
    size_t line = out->size;
    buffer_printf(out, "  ");
    for (uint32_t i = 0; i < count; i++) {
        struct bytes name = history_text_bytes(h, names[i]);
        size_t size = name.size < 30 ? name.size : 30;
        if (out->size - line + size + 8 > LEGEND_COLUMNS) {
            buffer_printf(out, " ...");
            break;
        }
        buffer_printf(out, "%s%c ", i ? "  " : "", (char)('A' + i));
        for (size_t c = 0; c < size; c++) {
            uint8_t byte = name.data[c];
            buffer_printf(out, "%c", byte >= 0x20 && byte < 0x7F ? byte : '?');
        }
    }
    buffer_printf(out, "\n");
}

static void fault_rows(struct buffer *out, const struct history *h, const struct series *s) {
    char row[COLUMNS];
    uint32_t names[LETTERS_MAX];
    memset(row, ' ', sizeof row);
    uint32_t count = fault_letters(h, s, row, names);
    if (count == 0) return;
    row_open(out, "faults");
    buffer_append(out, row, s->bins_count);
    buffer_printf(out, "\n");
    legend(out, h, names, count);
}

static void axis_row(struct buffer *out, const struct series *s) {
    buffer_printf(out, "%*s \u2514", LABEL_COLUMNS, "");
    for (uint32_t i = 0; i < s->bins_count; i++) buffer_printf(out, "\u2500");
    struct buffer middle = {0}, end = {0};
    uint64_t step = nice_step(s->end_ns, 100);
    time_label(&middle, s->end_ns / 2, step);
    time_label(&end, s->end_ns, step);
    buffer_printf(out, "\n%*s 0%*.*s%*.*s\n", LABEL_COLUMNS + 1, "", (int)(s->bins_count / 2 + middle.size / 2) - 1,
                  (int)middle.size, (char *)middle.data, (int)(s->bins_count - s->bins_count / 2 - middle.size / 2),
                  (int)end.size, (char *)end.data);
    buffer_free(&middle);
    buffer_free(&end);
}

void report_terminal_plot(const struct history *h, struct buffer *out) {
    uint64_t end_ns = history_end_ns(h);
    struct series s;
    series_make(&s, h, end_ns, (end_ns + COLUMNS - 1) / COLUMNS);
    if (s.points_count == 0) {
        buffer_printf(out, "no operation was completed: there is nothing to plot\n");
    } else {
        buffer_printf(out, "throughput and p99 latency over time\n");
        rate_rows(out, &s);
        latency_rows(out, &s);
        fault_rows(out, h, &s);
        axis_row(out, &s);
    }
    series_free(&s);
}
