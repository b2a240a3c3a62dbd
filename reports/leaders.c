/* Who led when: one row per node with the terms it led, its candidacies and the times it was down; above them the times
 * when nobody led. A node counts as leader while it says so itself: two may do so at once, in different terms. */
#include "reports/internal.h"

#include <inttypes.h>
#include <stdlib.h>

#define ROW_HEIGHT 24.0
#define BAR_HEIGHT 16.0
#define NODES_MAX 256u

enum state { STATE_QUIET, STATE_CANDIDATE, STATE_LEADER, STATE_DOWN };

struct lane {
    bool seen;
    uint8_t state; /* enum state */
    uint64_t since_ns, term;
    double drawn_to; /* the right edge of the last bar: what lies wholly left of it is not drawn again */
};

struct tally {
    struct lane lanes[NODES_MAX];
    uint32_t leaders; /* at this moment */
    uint64_t leaderless_since_ns, leaderless_longest_ns, leaderless_total_ns;
    uint32_t elections, elected;
    uint64_t candidacy_term;  /* the highest term in which anyone stood */
    struct buffer gaps, bars; /* SVG */
    uint32_t rows[NODES_MAX]; /* node -> row, among the nodes that are drawn */
};

static bool drawable(struct tally *t, uint32_t node) {
    return t->rows[node] < NODE_ROWS_MAX;
}

static void bar_draw(struct tally *t, const struct view *v, uint32_t node, uint64_t end_ns) {
    static const char *const classes[] = {"", "candidate", "lead", "down"};
    struct lane *l = &t->lanes[node];
    double from = chart_x(v, l->since_ns), to = chart_x(v, end_ns);
    if (l->state == STATE_QUIET || !drawable(t, node) || to < l->drawn_to + 0.5) return;
    if (from < l->drawn_to) from = l->drawn_to;
    if (to - from < 1) to = from + 1;
    l->drawn_to = to;
    bool thin = l->state == STATE_CANDIDATE;
    double y = 28 + t->rows[node] * ROW_HEIGHT;
    const char *class = l->state == STATE_LEADER && l->term % 2 ? "lead2" : classes[l->state];
    buffer_printf(&t->bars,
                  "<rect class=%s x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.0f\" rx=\"1.5\"><title>n%" PRIu32,
                  class, from, thin ? y + 5 : y, to - from, thin ? BAR_HEIGHT - 10 : BAR_HEIGHT, node + 1);
    if (l->state == STATE_DOWN)
        buffer_printf(&t->bars, " down");
    else
        buffer_printf(&t->bars, " %s, term %" PRIu64, l->state == STATE_LEADER ? "leader" : "candidate", l->term);
    buffer_printf(&t->bars, "\n%.3f s to %.3f s</title></rect>", seconds(l->since_ns), seconds(end_ns));
    int digits = 1;
    for (uint64_t n = l->term; n >= 10; n /= 10) digits++;
    if (l->state == STATE_LEADER && to - from > 10 + 7 * digits)
        buffer_printf(&t->bars, "<text class=in x=\"%.1f\" y=\"%.1f\">%" PRIu64 "</text>", (from + to) / 2, y + 12,
                      l->term);
    buffer_printf(&t->bars, "\n");
}

static void leaderless_end(struct tally *t, const struct view *v, uint64_t now_ns) {
    uint64_t gap = now_ns - t->leaderless_since_ns;
    t->leaderless_total_ns += gap;
    if (gap > t->leaderless_longest_ns) t->leaderless_longest_ns = gap;
    double from = chart_x(v, t->leaderless_since_ns), to = chart_x(v, now_ns);
    if (to - from < 0.5 || t->gaps.size > (256u << 10)) return;
    buffer_printf(&t->gaps,
                  "<rect class=none x=\"%.1f\" y=\"8\" width=\"%.1f\" height=\"8\" rx=\"1.5\"><title>no leader "
                  "for ",
                  from, to - from);
    put_duration(&t->gaps, gap);
    buffer_printf(&t->gaps, "\n%.3f s to %.3f s</title></rect>\n", seconds(t->leaderless_since_ns), seconds(now_ns));
}

static void lane_turn(struct tally *t, const struct view *v, uint32_t node, uint8_t state, uint64_t term,
                      uint64_t now_ns) {
    struct lane *l = &t->lanes[node];
    if (l->state == state && l->term == term) return;
    bar_draw(t, v, node, now_ns);
    bool led = l->state == STATE_LEADER, leads = state == STATE_LEADER;
    if (state == STATE_CANDIDATE && term > t->candidacy_term) {
        t->candidacy_term = term;
        t->elections++;
    }
    if (leads) t->elected++;
    if (leads && !led && t->leaders++ == 0) leaderless_end(t, v, now_ns);
    if (led && !leads && --t->leaders == 0) t->leaderless_since_ns = now_ns;
    l->state = state;
    l->term = term;
    l->since_ns = now_ns;
}

static void tally_run(struct tally *t, const struct view *v) {
    const struct history *h = v->h;
    uint64_t now_ns = 0;
    for (uint32_t i = 0; i < h->samples_count; i++) {
        const struct sample *s = &h->samples[i];
        if (s->time_ns > now_ns) now_ns = s->time_ns;
        struct lane *l = &t->lanes[s->node];
        if (s->kind == SAMPLE_NODE_DOWN)
            lane_turn(t, v, s->node, STATE_DOWN, l->term, now_ns);
        else if (s->kind == SAMPLE_NODE_UP)
            lane_turn(t, v, s->node, STATE_QUIET, l->term, now_ns);
        else if (s->kind == SAMPLE_ROLE)
            lane_turn(t, v, s->node,
                      s->role == ROLE_LEADER      ? STATE_LEADER
                      : s->role == ROLE_CANDIDATE ? STATE_CANDIDATE
                                                  : STATE_QUIET,
                      s->term, now_ns);
    }
    for (uint32_t node = 0; node < NODES_MAX; node++) bar_draw(t, v, node, v->end_ns);
    if (t->leaders == 0) leaderless_end(t, v, v->end_ns);
}

static bool about_node(const struct sample *s) {
    return s->kind == SAMPLE_ROLE || s->kind == SAMPLE_NODE_DOWN || s->kind == SAMPLE_NODE_UP;
}

static uint32_t rows_assign(struct tally *t, const struct view *v, bool *roles) {
    for (uint32_t node = 0; node < v->in->nodes && node < NODES_MAX; node++) t->lanes[node].seen = true;
    for (uint32_t i = 0; i < v->h->samples_count; i++) {
        const struct sample *s = &v->h->samples[i];
        if (about_node(s)) t->lanes[s->node].seen = true;
        *roles |= s->kind == SAMPLE_ROLE;
    }
    uint32_t rows = 0;
    for (uint32_t node = 0; node < NODES_MAX; node++) t->rows[node] = t->lanes[node].seen ? rows++ : NODE_ROWS_MAX;
    return rows;
}

static void summary(struct buffer *out, const struct tally *t) {
    buffer_printf(out, "<small>%" PRIu32 " elections started, %" PRIu32 " won; without a leader for ", t->elections,
                  t->elected);
    html_duration(out, t->leaderless_total_ns);
    buffer_printf(out, " in all, ");
    html_duration(out, t->leaderless_longest_ns);
    buffer_printf(out, " at most</small>");
}

static void rows_draw(struct buffer *out, const struct tally *t, bool roles) {
    if (roles) chart_row_label(out, 16, bytes_str("no leader"));
    for (uint32_t node = 0; node < NODES_MAX; node++) {
        if (!t->lanes[node].seen || t->rows[node] >= NODE_ROWS_MAX) continue;
        double y = 28 + t->rows[node] * ROW_HEIGHT;
        struct buffer name = {0};
        node_name(&name, (uint8_t)node);
        buffer_printf(out, "<rect class=track x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%.0f\" rx=\"2\"/>", CHART_LEFT,
                      y, CHART_RIGHT - CHART_LEFT, BAR_HEIGHT);
        chart_row_label(out, y + 12, bytes_of(name.data, name.size));
        buffer_free(&name);
    }
}

void leader_timeline(struct buffer *out, const struct view *v) {
    struct tally *t = xcalloc(1, sizeof *t);
    bool roles = false, any = false;
    for (uint32_t i = 0; i < v->h->samples_count; i++) any |= about_node(&v->h->samples[i]);
    uint32_t rows = any ? rows_assign(t, v, &roles) : 0;
    if (rows) {
        uint32_t drawn = rows < NODE_ROWS_MAX ? rows : NODE_ROWS_MAX;
        double bottom = 26 + drawn * ROW_HEIGHT;
        tally_run(t, v);
        buffer_printf(out, "<div class=chart><h3>%s", roles ? "Leaders" : "Nodes");
        if (roles) summary(out, t);
        buffer_printf(out, "</h3>");
        chart_open(out, v, "leaders over time", bottom + 22, bottom);
        buffer_printf(out, "<defs><pattern id=down width=6 height=6 patternUnits=userSpaceOnUse "
                           "patternTransform=\"rotate(45)\"><path class=hatch d=\"M0 0V6\"/></pattern></defs>");
        rows_draw(out, t, roles);
        chart_time_axis(out, v, 0, bottom);
        if (roles) buffer_append(out, t->gaps.data, t->gaps.size);
        buffer_append(out, t->bars.data, t->bars.size);
        chart_close(out);
        buffer_printf(out,
                      "<p class=legend><span><i class=dot style=\"background:var(--lead)\"></i>leader, with its term"
                      "</span><span><i class=dot style=\"background:var(--info)\"></i>candidate</span><span>"
                      "<svg width=10 height=10 style=\"margin-right:7px\"><rect class=down width=10 height=10 /></svg>"
                      "down</span></p>");
        if (rows > drawn) buffer_printf(out, "<p class=more>and %" PRIu32 " more nodes</p>", rows - drawn);
        buffer_printf(out, "</div>\n");
    }
    buffer_free(&t->gaps);
    buffer_free(&t->bars);
    free(t);
}
