/* libharrow-check's public face (harrow-check.h): the counterexample of a result, as data. */
#include "checkers/harrow-check.h"
#include "checkers/internal.h"

static const struct picture_order *order_at(const harrow_result *r, size_t i) {
    const struct picture *p = library_result_inside(r)->picture;
    return p && i < p->orders_count ? &p->orders[i] : NULL;
}

int harrow_result_maybe_fewer(const harrow_result *r) {
    return library_result_inside(r)->maybe_fewer;
}

size_t harrow_result_orders(const harrow_result *r) {
    const struct picture *p = library_result_inside(r)->picture;
    return p ? p->orders_count : 0;
}

size_t harrow_result_order_length(const harrow_result *r, size_t i) {
    const struct picture_order *o = order_at(r, i);
    return o ? o->steps_count : 0;
}

uint32_t harrow_result_order_operation(const harrow_result *r, size_t i, size_t k) {
    const struct picture_order *o = order_at(r, i);
    return o && k < o->steps_count ? o->steps[k].op : UINT32_MAX;
}

const char *harrow_result_order_state(const harrow_result *r, size_t i, size_t k) {
    const struct picture_order *o = order_at(r, i);
    if (!o || k > o->steps_count) return NULL;
    return k ? o->steps[k - 1].text : library_result_inside(r)->picture->initial;
}

const char *harrow_result_left_over(const harrow_result *r, size_t i, size_t k, uint32_t *operation) {
    const struct picture_order *o = order_at(r, i);
    if (!o || k >= o->left_count) return NULL;
    if (operation) *operation = o->left[k].op;
    return o->left[k].text;
}

const char *harrow_result_edge(const harrow_result *r, size_t i, uint32_t *from, uint32_t *to, const char **kind) {
    const struct picture *p = library_result_inside(r)->picture;
    if (!p || i >= p->edges_count) return NULL;
    const struct picture_edge *e = &p->edges[i];
    if (from) *from = e->from;
    if (to) *to = e->to;
    if (kind) *kind = e->kind;
    return e->text;
}
