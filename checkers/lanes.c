/* A drawing of a few operations in time:
 *
 *     process 2  [write 5]
 *     process 7            [read -> 4]
 *     process 9     [write 6~~~~~~~~~~~~>
 *
 * Columns stand for the order of events, not for durations; an operation without an end may take effect at any time. */
#include "checkers/internal.h"

#include <stdlib.h>

#define LANES_OPS_MAX 24u
#define LANES_WIDTH_MAX 130u

struct bar {
    uint32_t begin, end, lane; /* columns; end is NONE for an operation without an end */
    struct buffer label;
};
struct lane {
    uint32_t process, end; /* the first column that is free */
};

static uint32_t at_least(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

/* Gives each event a column, in order; a bar is as long as its label at least. Returns the width of the drawing. */
static uint32_t lay_out(struct bar *bars, uint32_t count, const uint32_t *invoked, const uint32_t *returned) {
    uint32_t column = 0, width = 0;
    for (uint32_t position = 0; position < 2 * count; position++) {
        for (uint32_t i = 0; i < count; i++) {
            uint32_t label = (uint32_t)bars[i].label.size;
            if (invoked[i] == position) {
                bars[i].begin = column++;
                bars[i].end = NONE;
                width = at_least(width, bars[i].begin + label + 4);
            } else if (returned[i] == position) {
                bars[i].end = at_least(column, bars[i].begin + label + 1);
                column = bars[i].end + 1;
                width = at_least(width, column);
            }
        }
    }
    return width;
}

/* One lane per process, and one more where bars of a process would overlap. Returns the number of lanes. */
static uint32_t assign_lanes(const struct history *h, const uint32_t *ops, struct bar *bars, uint32_t count,
                             uint32_t width, struct lane *lanes) {
    uint32_t lanes_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t process = h->process[ops[i]], lane = 0;
        while (lane < lanes_count && (lanes[lane].process != process || lanes[lane].end > bars[i].begin)) lane++;
        if (lane == lanes_count) lanes[lanes_count++].process = process;
        lanes[lane].end = bars[i].end == NONE ? width : bars[i].end + 1;
        bars[i].lane = lane;
    }
    return lanes_count;
}

static void draw_bar(const struct bar *bar, uint32_t width, char *row) {
    uint32_t end = bar->end == NONE ? width - 1 : bar->end;
    memset(row + bar->begin, bar->end == NONE ? '~' : '-', end - bar->begin);
    row[bar->begin] = '[';
    row[end] = bar->end == NONE ? '>' : ']';
    memcpy(row + bar->begin + 1, bar->label.data, bar->label.size);
}

void print_lanes(const struct history *h, const uint32_t *ops, uint32_t count, struct buffer *out) {
    if (count == 0 || count > LANES_OPS_MAX) return;
    struct bar bars[LANES_OPS_MAX] = {0};
    struct lane lanes[LANES_OPS_MAX];
    uint32_t invoked[LANES_OPS_MAX], returned[LANES_OPS_MAX];
    order_events(h, ops, count, invoked, returned);
    for (uint32_t i = 0; i < count; i++) print_op(h, ops[i], &bars[i].label);
    uint32_t width = lay_out(bars, count, invoked, returned);
    if (width <= LANES_WIDTH_MAX) {
        uint32_t lanes_count = assign_lanes(h, ops, bars, count, width, lanes);
        for (uint32_t lane = 0; lane < lanes_count; lane++) {
            char row[LANES_WIDTH_MAX];
            memset(row, ' ', width);
            for (uint32_t i = 0; i < count; i++)
                if (bars[i].lane == lane) draw_bar(&bars[i], width, row);
            uint32_t used = width;
            while (row[used - 1] == ' ') used--;
            buffer_printf(out, "process %-6u %.*s\n", (unsigned)lanes[lane].process, (int)used, row);
        }
    }
    for (uint32_t i = 0; i < count; i++) buffer_free(&bars[i].label);
}
