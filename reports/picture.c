/* The picture of a counterexample: what the lane chart shows of it, how far any order of the operations gets, and the
 * cycle of transactions. Everything is in the page as text; the script (style.c) marks and steps through it. */
#include "reports/internal.h"

#include <inttypes.h>

/* --- orders ------------------------------------------------------------------------------------------------------- */

static void clipped_text(struct buffer *out, const char *text) {
    html_clipped(out, bytes_str(text), VALUE_BYTES_MAX);
}

static void row_open(struct buffer *out, const struct history *h, uint32_t op, const char *class) {
    struct buffer text = {0};
    op_print(h, op, &text);
    buffer_printf(out, "<tr class=%s data-op=%" PRIu32 "><td class=r></td><td class=t>%" PRIu32 "</td><td><code>",
                  class, op, h->process[op]);
    html_clipped(out, bytes_of(text.data, text.size), VALUE_BYTES_MAX);
    buffer_printf(out, "</code></td><td>");
    buffer_free(&text);
}

static void order_print(struct buffer *out, const struct history *h, const struct picture *p, uint32_t i) {
    const struct picture_order *o = &p->orders[i];
    buffer_printf(out, "<div class=order><div class=wide><table class=fit><thead><tr><th class=r>#</th><th "
                       "class=t>process</th><th>operation</th><th>state after it</th></tr></thead><tbody>"
                       "<tr><td class=r></td><td></td><td class=quiet>at first</td><td><code>");
    clipped_text(out, p->initial);
    buffer_printf(out, "</code></td></tr>\n");
    for (uint32_t k = 0; k < o->steps_count; k++) {
        if (o->steps[k].op >= h->count) continue;
        row_open(out, h, o->steps[k].op, "step");
        buffer_printf(out, "<code>");
        clipped_text(out, o->steps[k].text);
        buffer_printf(out, "</code></td></tr>\n");
    }
    buffer_printf(out, "</tbody><tbody class=rest><tr><th colspan=4>left over, because it</th></tr>\n");
    for (uint32_t k = 0; k < o->left_count; k++) {
        if (o->left[k].op >= h->count) continue;
        row_open(out, h, o->left[k].op, "rest");
        clipped_text(out, o->left[k].text);
        buffer_printf(out, "</td></tr>\n");
    }
    buffer_printf(out, "</tbody></table></div></div>\n");
}

static void orders_print(struct buffer *out, const struct history *h, const struct picture *p) {
    buffer_printf(out, "<h3>How far an order of them gets<small>");
    if (p->orders_count == 1 && !p->orders_cut) {
        buffer_printf(out, "no order gets further than this one");
    } else {
        buffer_printf(out, "%s%" PRIu32 " orders get as far as any", p->orders_cut ? "at least " : "", p->orders_count);
    }
    buffer_printf(out, "</small></h3>\n<div class=steps role=toolbar aria-label=\"steps\">"
                       "<button data-step=-1 aria-label=\"one operation back\">\u2190</button>"
                       "<button data-step=1 aria-label=\"one operation on\">\u2192</button>");
    if (p->orders_count > 1)
        buffer_printf(out, "<button data-order=-1 aria-label=\"the order before\">\u2191</button>"
                           "<button data-order=1 aria-label=\"the next order\">\u2193</button>");
    buffer_printf(out, "<span class=place aria-live=polite></span></div>\n");
    for (uint32_t i = 0; i < p->orders_count; i++) order_print(out, h, p, i);
}

/* --- cycles ------------------------------------------------------------------------------------------------------- */

#define BOXES_MAX 13u
#define BOX_LINES_MAX 6u
#define LINE_CHARACTERS_MAX 26u
#define BOX_WIDTH 206
#define BOX_GAP 96
#define BOX_TOP 12
#define BOX_LINE 17

/* A transaction as lines, "append x 1"; any other operation as one. Returns how many. */
static uint32_t lines_of(const struct history *h, uint32_t op, struct buffer lines[BOX_LINES_MAX]) {
    struct value list = op_micros(h, op);
    if (list.kind != VALUE_LIST) {
        op_print(h, op, &lines[0]);
        return 1;
    }
    uint32_t count = list.size < BOX_LINES_MAX ? list.size : BOX_LINES_MAX;
    for (uint32_t i = 0; i < count; i++) {
        if (i + 1 == BOX_LINES_MAX && list.size > BOX_LINES_MAX) {
            buffer_printf(&lines[i], "and %" PRIu32 " more", list.size - i);
        } else {
            micro_print(h, h->pool[list.first + i], &lines[i]);
        }
    }
    return count;
}

static void line_print(struct buffer *out, struct buffer *line) {
    size_t characters = 0, cut = line->size;
    for (size_t i = 0; i < line->size; i++)
        if ((line->data[i] & 0xC0) != 0x80 && characters++ == LINE_CHARACTERS_MAX) cut = i;
    html_bytes(out, bytes_of(line->data, cut));
    if (cut < line->size) buffer_printf(out, "\u2026");
}

static void box_print(struct buffer *out, const struct history *h, uint32_t op, uint32_t number, uint32_t height) {
    struct buffer lines[BOX_LINES_MAX] = {{0}};
    uint32_t count = lines_of(h, op, lines), x = 8 + number * (BOX_WIDTH + BOX_GAP);
    buffer_printf(out,
                  "<g class=\"txn %s\" data-op=%" PRIu32 " tabindex=0><rect x=\"%u\" y=\"%d\" width=\"%d\" "
                  "height=\"%u\" rx=\"6\"/><text class=name x=\"%u\" y=\"%d\">T%" PRIu32
                  "</text><text class=quiet x=\"%u\" y=\"%d\">process %" PRIu32 ", #%" PRIu32 "</text>",
                  status_name(h->status[op]), op, x, BOX_TOP, BOX_WIDTH, height, x + 12, BOX_TOP + 22, number + 1,
                  x + 44, BOX_TOP + 22, h->process[op], op);
    for (uint32_t i = 0; i < count; i++) {
        buffer_printf(out, "<text class=micro x=\"%u\" y=\"%u\">", x + 12, BOX_TOP + 44 + i * BOX_LINE);
        line_print(out, &lines[i]);
        buffer_printf(out, "</text>");
        buffer_free(&lines[i]);
    }
    buffer_printf(out, "</g>\n");
}

static void arrow_print(struct buffer *out, const struct picture_edge *e, uint32_t from, uint32_t to, uint32_t height) {
    uint32_t left = 8 + from * (BOX_WIDTH + BOX_GAP), right = 8 + to * (BOX_WIDTH + BOX_GAP), label_x, label_y;
    if (to == from + 1) {
        label_x = left + BOX_WIDTH + BOX_GAP / 2;
        label_y = BOX_TOP + 32;
        buffer_printf(out, "<path class=\"edge %s\" marker-end=\"url(#tip)\" d=\"M%u %dH%u\"/>", e->kind,
                      left + BOX_WIDTH + 3, BOX_TOP + 40, right - 9);
    } else {
        label_x = (left + right + BOX_WIDTH) / 2;
        label_y = BOX_TOP + height + 50;
        buffer_printf(out,
                      "<path class=\"edge %s\" marker-end=\"url(#tip)\" d=\"M%u %uq0 30 -30 30H%uq-30 0 -30 -22\"/>",
                      e->kind, left + BOX_WIDTH / 2, BOX_TOP + height + 3, right + BOX_WIDTH / 2 + 30);
    }
    buffer_printf(out, "<text class=\"kind %s\" x=\"%u\" y=\"%u\">%s</text>\n", e->kind, label_x, label_y, e->kind);
}

static void cycle_draw(struct buffer *out, const struct history *h, const struct picture *p, uint32_t count) {
    uint32_t lines_max = 1, width = 8 + count * (BOX_WIDTH + BOX_GAP) - BOX_GAP + 12;
    for (uint32_t i = 0; i < count; i++) {
        struct buffer lines[BOX_LINES_MAX] = {{0}};
        uint32_t lines_count = lines_of(h, p->edges[i].from, lines);
        if (lines_count > lines_max) lines_max = lines_count;
        for (uint32_t k = 0; k < lines_count; k++) buffer_free(&lines[k]);
    }
    uint32_t height = 38 + lines_max * BOX_LINE;
    buffer_printf(out,
                  "<div class=lanes><svg class=cycle viewBox=\"0 0 %u %u\" width=%u height=%u role=img "
                  "aria-label=\"the cycle of transactions\"><defs><marker id=tip viewBox=\"0 0 8 8\" refX=6 refY=4 "
                  "markerWidth=7 markerHeight=7 orient=auto><path d=\"M0 0L8 4L0 8z\"/></marker></defs>\n",
                  width, height + 70, width, height + 70);
    for (uint32_t i = 0; i < count; i++) box_print(out, h, p->edges[i].from, i, height);
    for (uint32_t i = 0; i < count; i++) arrow_print(out, &p->edges[i], i, (i + 1) % count, height);
    buffer_printf(out, "</svg></div>\n");
}

static void cycle_print(struct buffer *out, const struct history *h, const struct picture *p) {
    uint32_t count = p->edges_count;
    for (uint32_t i = 0; i < count; i++) {
        const struct picture_edge *next = &p->edges[(i + 1) % count];
        if (p->edges[i].from >= h->count || p->edges[i].to != next->from) return;
    }
    buffer_printf(out, "<h3>The cycle<small>ww: overwrites; wr: is read; rw: overwrites what was read; process, "
                       "realtime: ended before</small></h3>\n");
    if (count > 1 && count <= BOXES_MAX) cycle_draw(out, h, p, count);
    buffer_printf(out, "<ol class=cycle>\n");
    for (uint32_t i = 0; i < count; i++) {
        buffer_printf(out,
                      "<li data-op=%" PRIu32 "><b>T%" PRIu32 " before T%" PRIu32 "</b> <span class=\"kind %s\">%s"
                      "</span> ",
                      p->edges[i].from, i + 1, (i + 1) % count + 1, p->edges[i].kind, p->edges[i].kind);
        html_clipped(out, bytes_str(p->edges[i].text), TEXT_BYTES_MAX);
        buffer_printf(out, "</li>\n");
    }
    buffer_printf(out, "</ol>\n<p>So T1 would come before itself.</p>\n");
}

bool picture_is_left(const struct picture *p, uint32_t op) {
    for (uint32_t i = 0; p && p->orders_count && i < p->orders[0].left_count; i++)
        if (p->orders[0].left[i].op == op) return true;
    return false;
}

void picture_section(struct buffer *out, const struct view *v, const struct picture *p) {
    if (p->edges_count) cycle_print(out, v->h, p);
    buffer_printf(out, "<p class=say aria-live=polite>Point at an operation, or go to it with the Tab key, for what it "
                       "did.</p>\n");
    if (p->orders_count) orders_print(out, v->h, p);
}
