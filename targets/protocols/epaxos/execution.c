/* Execution (SOSP'13 4.3.2): a committed command runs when all that it depends on is committed; the strongly connected
 * components of the dependency graph run in topological order, those in a component by seq, then replica, then number.
 * Tarjan's algorithm (1972) finds components in just that order. It keeps its own stack: a chain of dependencies may be
 * as long as all rows together.
 *
 * An edge leads to an instance that is among the dependencies and interferes; all replicas draw the same edges, because
 * whoever draws them has both commands committed. */
#include "targets/protocols/epaxos/epaxos_internal.h"

bool epaxos_is_committed(const struct epaxos *e, const struct instance *i) {
    return i->status >= EPAXOS_COMMITTED && i->commit_written <= e->durable_written;
}

void execution_advance(struct epaxos *e, uint8_t replica) {
    struct row *row = &e->rows[replica];
    while (row->committed < row->high &&
           epaxos_is_committed(e, epaxos_get(e, (struct epaxos_id){replica, row->committed + 1})))
        row->committed++;
    while (row->frontier < row->high &&
           epaxos_get(e, (struct epaxos_id){replica, row->frontier + 1})->status == EPAXOS_EXECUTED)
        row->frontier++;
}

static bool dependencies_committed(const struct epaxos *e, const struct instance *i) {
    for (uint8_t r = 0; r < e->c.nodes; r++)
        if (!e->rules->may_execute(i->at.deps[r], e->rows[r].committed)) return false;
    return true;
}

static void execute(struct epaxos *e, struct instance *i, struct effects *fx) {
    struct row *row = &e->rows[i->id.replica];
    struct effect *effect = effect_add(fx, EFFECT_APPLY);
    effect->index = ++e->applied;
    effect->term = 1;
    effect->instance = epaxos_name(i->id);
    effect->entry_kind = i->entry_kind;
    if (i->entry_kind == ENTRY_COMMAND)
        effect->bytes = epaxos_command(e, i);
    else
        epaxos_forget(e, i);
    e->executed_bytes += effect->bytes.size;
    effect->token = i->token;
    i->token = 0;
    i->status = EPAXOS_EXECUTED;
    epaxos_delist(e, &e->waiting, i);
    if (row->ceiling < i->id.number) row->ceiling = i->id.number;
    execution_advance(e, i->id.replica);
}

/* --- depth-first search ------------------------------------------------------------------------------------------- */

enum { BLOCKED = UINT32_MAX >> 1 }; /* visit_number: waits for something that is not committed, in this run */

struct search {
    uint32_t frames, components, visited; /* how many frames and slots are on the two stacks; visits so far */
    struct effects *fx;
};

static void visit(struct epaxos *e, struct search *s, uint32_t slot) {
    struct instance *i = &e->instances[slot];
    i->visit_number = i->visit_low = ++s->visited;
    e->component[s->components++] = slot;
    e->frames[s->frames++] = (struct frame){.slot = slot, .next = e->rows[0].frontier + 1};
}

/* The next edge of the instance on top; NO_SLOT when there is none left. */
static uint32_t next_edge(struct epaxos *e, struct frame *f) {
    const struct instance *i = &e->instances[f->slot];
    while (f->replica < e->c.nodes) {
        struct epaxos_id id = {f->replica, f->next};
        if (id.number > i->at.deps[id.replica]) {
            f->replica++;
            f->next = f->replica < e->c.nodes ? e->rows[f->replica].frontier + 1 : 0;
            continue;
        }
        f->next++;
        const struct instance *to = epaxos_get(e, id);
        if (to && to != i && epaxos_is_committed(e, to) && to->status == EPAXOS_COMMITTED &&
            to->entry_kind == ENTRY_COMMAND && epaxos_interfere(e, i, to))
            return epaxos_slot(e, id);
    }
    return NO_SLOT;
}

/* Runs what lies on the stack from `first` on, in order. */
static void execute_component(struct epaxos *e, struct search *s, uint32_t first) {
    uint32_t *slots = e->component + first, count = s->components - first;
    for (uint32_t k = 1; k < count; k++) {
        uint32_t slot = slots[k], at = k;
        const struct instance *i = &e->instances[slot];
        for (; at > 0; at--) {
            const struct instance *before = &e->instances[slots[at - 1]];
            if (!e->rules->executes_before(i->at.seq, i->id, before->at.seq, before->id)) break;
            slots[at] = slots[at - 1];
        }
        slots[at] = slot;
    }
    for (uint32_t k = 0; k < count; k++) execute(e, &e->instances[slots[k]], s->fx);
    s->components = first;
}

static void leave(struct epaxos *e, struct search *s) {
    const struct instance *i = &e->instances[e->frames[--s->frames].slot];
    if (s->frames > 0) {
        struct instance *parent = &e->instances[e->frames[s->frames - 1].slot];
        if (parent->visit_low > i->visit_low) parent->visit_low = i->visit_low;
    }
    if (i->visit_low != i->visit_number) return;
    uint32_t first = s->components;
    while (e->component[first - 1] != epaxos_slot(e, i->id)) first--;
    execute_component(e, s, first - 1);
}

/* Executes the instance and what must come before it; what is found to wait for something uncommitted stays. */
static void search_from(struct epaxos *e, uint32_t root, struct effects *fx) {
    struct search s = {.fx = fx};
    visit(e, &s, root);
    while (s.frames > 0) {
        struct frame *top = &e->frames[s.frames - 1];
        struct instance *i = &e->instances[top->slot];
        uint32_t slot = next_edge(e, top);
        if (slot == NO_SLOT) {
            leave(e, &s);
            continue;
        }
        struct instance *to = &e->instances[slot];
        if (to->visit_number == 0) {
            if (!dependencies_committed(e, to)) {
                to->visit_number = BLOCKED;
                break;
            }
            visit(e, &s, slot);
        } else if (to->visit_number == BLOCKED) {
            break;
        } else if (i->visit_low > to->visit_number) {
            i->visit_low = to->visit_number;
        }
    }
    /* Left over is what leads to where the search ended. */
    for (uint32_t k = 0; k < s.components; k++) e->instances[e->component[k]].visit_number = BLOCKED;
}

void execution_run(struct epaxos *e, struct effects *fx) {
    if (e->receiving || e->installing) return; /* the state machine is about to be replaced */
    for (uint32_t slot = e->waiting.first; slot != NO_SLOT;) {
        const struct instance *i = &e->instances[slot];
        uint32_t next = i->list_next;
        if (i->visit_number != BLOCKED && epaxos_is_committed(e, i) && dependencies_committed(e, i)) {
            search_from(e, slot, fx);
            if (next != NO_SLOT && e->instances[next].status == EPAXOS_EXECUTED) next = e->waiting.first;
        }
        slot = next;
    }
    for (uint32_t slot = e->waiting.first; slot != NO_SLOT; slot = e->instances[slot].list_next)
        e->instances[slot].visit_number = 0;
    epaxos_maybe_snapshot(e, fx);
}
