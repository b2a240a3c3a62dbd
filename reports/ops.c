/* What went wrong, check by check: the reason, the explanation, the offending operations as a lane chart and as a
 * table. Also how one operation is written down wherever the page names it. */
#include "reports/internal.h"

#include <inttypes.h>

const char *status_name(uint8_t status) {
    static const char *const names[] = {"pending", "ok", "fail", "info"};
    return names[status & 3];
}

void node_name(struct buffer *out, uint8_t node) {
    if (node == NODE_UNKNOWN)
        buffer_printf(out, "\u2014");
    else
        buffer_printf(out, "n%u", node + 1u);
}

struct value op_micros(const struct history *h, uint32_t op) {
    bool read = h->status[op] == OP_OK && h->result[op].kind == VALUE_LIST;
    struct value list = read ? h->result[op] : h->argument[op];
    return h->f[op] == OP_TXN && list.kind == VALUE_LIST ? list : VALUE_OF_NIL;
}

void micro_print(const struct history *h, struct value micro, struct buffer *out) {
    for (uint32_t i = 0; micro.kind == VALUE_LIST && i < micro.size; i++) {
        struct value v = h->pool[micro.first + i];
        if (i) buffer_printf(out, " ");
        if (v.kind == VALUE_STRING && i < 2) {
            struct bytes text = history_text_bytes(h, v.string);
            buffer_append(out, text.data, text.size);
        } else {
            history_value_print(h, v, out);
        }
    }
}

void op_print(const struct history *h, uint32_t op, struct buffer *out) {
    struct value micros = op_micros(h, op);
    for (uint32_t i = 0; micros.kind == VALUE_LIST && i < micros.size; i++) {
        if (i) buffer_printf(out, "; ");
        micro_print(h, h->pool[micros.first + i], out);
    }
    if (micros.kind == VALUE_LIST && micros.size) return;
    buffer_printf(out, "%s", history_function_name(h, h->f[op]));
    if (h->key[op] != NO_STRING) {
        struct bytes key = history_text_bytes(h, h->key[op]);
        buffer_printf(out, " ");
        buffer_append(out, key.data, key.size);
    }
    if (h->argument[op].kind != VALUE_NIL) {
        buffer_printf(out, " ");
        history_value_print(h, h->argument[op], out);
    }
    bool answered = h->status[op] == OP_OK && (h->result[op].kind != VALUE_NIL || h->argument[op].kind == VALUE_NIL);
    if (h->result[op].kind != VALUE_NIL || (answered && h->f[op] != OP_DELETE)) {
        buffer_printf(out, " \u2192 ");
        history_value_print(h, h->result[op], out);
    }
}

static void op_row(struct buffer *out, const struct view *v, uint32_t op, struct buffer *text) {
    const struct history *h = v->h;
    bool ended = h->complete_ns[op] != UINT64_MAX;
    buffer_printf(out, "<tr data-op=%" PRIu32 "><td class=r>%" PRIu32 "</td><td class=r>%.6f</td><td class=r>", op, op,
                  seconds(h->invoke_ns[op]));
    if (ended) buffer_printf(out, "%.6f", seconds(h->complete_ns[op]));
    buffer_printf(out, "</td><td class=r>");
    if (ended) html_duration(out, h->complete_ns[op] - h->invoke_ns[op]);
    buffer_printf(out, "</td><td class=t>%" PRIu32 "</td><td class=t>", h->process[op]);
    node_name(out, h->node[op]);
    const char *status = status_name(h->status[op]);
    buffer_printf(out, "</td><td class=t><span class=\"chip %s\">%s</span></td><td><code>", status, status);
    text->size = 0;
    op_print(h, op, text);
    html_clipped(out, bytes_of(text->data, text->size), VALUE_BYTES_MAX);
    buffer_printf(out, "</code>");
    if (h->error[op] != NO_STRING) {
        buffer_printf(out, " <span class=quiet>");
        html_clipped(out, history_text_bytes(h, h->error[op]), VALUE_BYTES_MAX);
        buffer_printf(out, "</span>");
    }
    if (h->final_phase[op]) buffer_printf(out, " <span class=quiet>(final phase)</span>");
    buffer_printf(out, "</td></tr>\n");
}

static void op_table(struct buffer *out, const struct view *v, const uint32_t *ops, uint32_t count) {
    buffer_printf(out, "<div class=wide><table class=fit><thead><tr><th class=r>#</th><th class=r>invoked, s</th>"
                       "<th class=r>completed, s</th><th class=r>took</th><th class=t>process</th><th "
                       "class=t>node</th><th class=t>outcome</th>"
                       "<th>operation</th></tr></thead><tbody>\n");
    struct buffer text = {0};
    uint32_t shown = 0;
    for (uint32_t i = 0; i < count && shown < OP_ROWS_MAX; i++) {
        if (ops[i] >= v->h->count) continue;
        op_row(out, v, ops[i], &text);
        shown++;
    }
    buffer_free(&text);
    buffer_printf(out, "</tbody></table></div>\n");
    if (count <= shown) return;
    buffer_printf(out, "<p class=more>and ");
    put_count(out, count - shown);
    buffer_printf(out, " more operations</p>\n");
}

/* With a picture, the words are what a terminal shows: the same again. */
static void words_print(struct buffer *out, const struct check_result *c) {
    if (!text_or(c->explanation, NULL)) return;
    if (c->picture) buffer_printf(out, "<details><summary>The same in words</summary>");
    buffer_printf(out, "<pre class=why>");
    html_clipped(out, bytes_str(c->explanation), TEXT_BYTES_MAX);
    buffer_printf(out, "</pre>\n%s", c->picture ? "</details>\n" : "");
}

void failure_print(struct buffer *out, const struct view *v, const struct check_result *c) {
    bool invalid = c->verdict == VERDICT_INVALID;
    buffer_printf(out, "<section class=%s><h2>%s: ", invalid ? "bad-edge" : "unsure-edge",
                  invalid ? "What went wrong" : "What could not be decided");
    html_clipped(out, bytes_str(text_or(c->name, "unnamed check")), VALUE_BYTES_MAX);
    buffer_printf(out, "</h2>\n");
    bool said = strstr(text_or(v->run->detail, ""), text_or(c->detail, "")) != NULL; /* the banner has it already */
    if (!said) {
        buffer_printf(out, "<p class=lead>");
        html_clipped(out, bytes_str(c->detail), TEXT_BYTES_MAX);
        buffer_printf(out, "</p>\n");
    }
    if (!c->picture) words_print(out, c);
    buffer_printf(out, "<div class=picture>\n");
    if (c->ops_count) {
        buffer_printf(out, "<h3>Offending operations<small>one lane per process, from invocation to completion</small>"
                           "</h3>\n");
        lane_chart(out, v, c->ops, c->ops_count, c->picture);
    }
    if (c->picture) picture_section(out, v, c->picture);
    if (c->ops_count && c->picture) buffer_printf(out, "<h3>When</h3>\n");
    if (c->ops_count) op_table(out, v, c->ops, c->ops_count);
    buffer_printf(out, "</div>\n");
    if (c->picture) words_print(out, c);
    buffer_printf(out, "</section>\n");
}

void section_failures(struct buffer *out, const struct view *v) {
    size_t shown = 0, left_out = 0;
    for (int verdict = VERDICT_INVALID; verdict > VERDICT_VALID; verdict--) {
        for (size_t i = 0; i < v->in->checks_count; i++) {
            const struct check_result *c = &v->in->checks[i];
            bool something = c->ops_count > 0 || text_or(c->explanation, NULL);
            if ((int)c->verdict != verdict || !something) continue;
            if (shown++ < FAILURES_SHOWN_MAX)
                failure_print(out, v, c);
            else
                left_out++;
        }
    }
    if (left_out) buffer_printf(out, "<p class=more>%zu more checks did not pass; see the table.</p>\n", left_out);
}
