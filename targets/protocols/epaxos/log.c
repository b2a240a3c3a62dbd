/* Instances in memory: one ring per leader, and an area of commands. A command is stored once, with its owner's slot in
 * front, in the order of arrival; when the area is full, those still owned move together. Records are what a restart
 * rebuilds all this from. */
#include "targets/protocols/epaxos/epaxos_internal.h"

enum { COMMAND_HEADER = 8 }; /* slot and size */

static uint32_t stored_size(size_t size) {
    return COMMAND_HEADER + (uint32_t)((size + 7) & ~(size_t)7);
}

uint32_t epaxos_row_size(const struct config *c) {
    uint32_t size = c->limits.log_entries_max;
    while (size * c->nodes > c->limits.log_entries_max) size /= 2;
    return size;
}

static size_t slots(const struct config *c) {
    return (size_t)epaxos_row_size(c) * c->nodes;
}

size_t epaxos_log_memory(const struct config *c) {
    size_t each = sizeof(struct instance) + sizeof(struct frame) + sizeof(uint32_t);
    return slots(c) * each + BUCKETS * sizeof(struct touched) + c->limits.log_bytes_max + 64;
}

static uint8_t *take(uint8_t **memory, size_t size) {
    uint8_t *at = *memory;
    *memory += (size + 15) & ~(size_t)15;
    return at;
}

void epaxos_log_init(struct epaxos *e, uint8_t *memory) {
    size_t count = slots(&e->c);
    e->row_size = epaxos_row_size(&e->c);
    e->instances = (struct instance *)(void *)take(&memory, count * sizeof *e->instances);
    e->touched = (struct touched *)(void *)take(&memory, BUCKETS * sizeof *e->touched);
    e->frames = (struct frame *)(void *)take(&memory, count * sizeof *e->frames);
    e->component = (uint32_t *)(void *)take(&memory, count * sizeof *e->component);
    e->commands = memory;
    e->commands_capacity = e->c.limits.log_bytes_max & ~7u;
    memset(e->touched, 0, BUCKETS * sizeof *e->touched);
    for (uint8_t r = 0; r < e->c.nodes; r++) e->rows[r].base = 1;
    e->open = e->waiting = (struct list){.first = NO_SLOT, .last = NO_SLOT};
}

/* --- the lists of what is not executed --------------------------------------------------------------------------- */

void epaxos_enlist(struct epaxos *e, struct list *l, struct instance *i) {
    uint32_t slot = epaxos_slot(e, i->id);
    i->list_next = NO_SLOT;
    i->list_previous = l->last;
    *(l->last == NO_SLOT ? &l->first : &e->instances[l->last].list_next) = slot;
    l->last = slot;
    l->count++;
}

void epaxos_delist(struct epaxos *e, struct list *l, struct instance *i) {
    uint32_t next = i->list_next, previous = i->list_previous;
    *(previous == NO_SLOT ? &l->first : &e->instances[previous].list_next) = next;
    *(next == NO_SLOT ? &l->last : &e->instances[next].list_previous) = previous;
    l->count--;
}

/* --- places ------------------------------------------------------------------------------------------------------- */

struct instance *epaxos_get(const struct epaxos *e, struct epaxos_id id) {
    const struct row *row = &e->rows[id.replica];
    return id.number < row->base || id.number > row->high ? NULL : &e->instances[epaxos_slot(e, id)];
}

/* In a snapshot: whoever lacks it can be sent that, and a restart begins there. */
static bool may_drop(const struct epaxos *e, uint8_t replica) {
    return e->rows[replica].base <= e->snapshot_frontier[replica];
}

static bool is_executed_everywhere(const struct epaxos *e, uint8_t replica) {
    for (uint8_t q = 0; q < e->c.nodes; q++)
        if (q != e->c.self && e->peer_frontier[q][replica] < e->rows[replica].base) return false;
    return true;
}

void epaxos_forget(struct epaxos *e, struct instance *i) {
    if (i->has_command) e->commands_live -= stored_size(i->command_size);
    i->has_command = false;
}

static void drop_first(struct epaxos *e, uint8_t replica) {
    struct row *row = &e->rows[replica];
    if (row->base <= row->high) epaxos_forget(e, epaxos_get(e, (struct epaxos_id){replica, row->base}));
    row->base++;
}

struct instance *epaxos_open(struct epaxos *e, struct epaxos_id id) {
    struct row *row = &e->rows[id.replica];
    if (id.number < row->base) return NULL;
    while (id.number - row->base >= e->row_size) {
        if (!may_drop(e, id.replica)) return NULL;
        drop_first(e, id.replica);
    }
    while (row->high < id.number) {
        struct epaxos_id next = {id.replica, ++row->high};
        struct instance *i = &e->instances[epaxos_slot(e, next)];
        memset(i, 0, sizeof *i);
        i->id = next;
        i->entry_kind = ENTRY_COMMAND;
        epaxos_enlist(e, &e->open, i);
        epaxos_set_due(e, i);
    }
    return &e->instances[epaxos_slot(e, id)];
}

void epaxos_open_deps(struct epaxos *e, const struct epaxos_attributes *at) {
    for (uint8_t r = 0; r < e->c.nodes; r++)
        if (at->deps[r] > e->rows[r].high) epaxos_open(e, (struct epaxos_id){r, at->deps[r]});
}

/* --- commands ----------------------------------------------------------------------------------------------------- */

struct bytes epaxos_command(const struct epaxos *e, const struct instance *i) {
    return i->has_command ? bytes_of(e->commands + i->command_offset, i->command_size) : bytes_of(NULL, 0);
}

bool epaxos_has_room(const struct epaxos *e, size_t size) {
    return stored_size(size) <= e->commands_capacity - e->commands_used;
}

/* Stores what the instance's leader proposed: there is one command for an instance, whoever tells of it. */
bool epaxos_keep_command(struct epaxos *e, struct instance *i, struct bytes command) {
    if (i->has_command) return true;
    if (command.size == 0 || !epaxos_has_room(e, command.size)) return false;
    uint32_t slot = epaxos_slot(e, i->id), size = (uint32_t)command.size;
    uint8_t *at = e->commands + e->commands_used;
    memcpy(at, &slot, sizeof slot);
    memcpy(at + sizeof slot, &size, sizeof size);
    memcpy(at + COMMAND_HEADER, command.data, command.size);
    i->command_offset = e->commands_used + COMMAND_HEADER;
    i->command_size = size;
    i->has_command = true;
    e->commands_used += stored_size(size);
    e->commands_live += stored_size(size);
    struct footprint keys[FOOTPRINT_MAX];
    i->keys_count = e->c.footprint(command, keys);
    assert(i->keys_count <= FOOTPRINT_MAX);
    memcpy(i->keys, keys, (i->keys_count < KEYS_INLINE ? i->keys_count : KEYS_INLINE) * sizeof keys[0]);
    return true;
}

static void compact_commands(struct epaxos *e) {
    uint32_t to = 0;
    for (uint32_t from = 0; from < e->commands_used;) {
        uint32_t slot, size;
        memcpy(&slot, e->commands + from, sizeof slot);
        memcpy(&size, e->commands + from + sizeof slot, sizeof size);
        uint32_t stored = stored_size(size);
        struct instance *i = &e->instances[slot];
        if (i->has_command && i->command_offset == from + COMMAND_HEADER) {
            memmove(e->commands + to, e->commands + from, stored);
            i->command_offset = to + COMMAND_HEADER;
            to += stored;
        }
        from += stored;
    }
    e->commands_used = to;
}

void epaxos_tidy(struct epaxos *e) {
    uint32_t much = e->commands_capacity / 4, too_much = much + much / 2;
    for (uint8_t r = 0; r < e->c.nodes && e->commands_live > much; r++)
        while (e->commands_live > much && may_drop(e, r) &&
               (e->commands_live > too_much || is_executed_everywhere(e, r)))
            drop_first(e, r);
    if (!epaxos_has_room(e, 2 * (size_t)e->c.limits.message_bytes_max)) compact_commands(e);
}

/* --- records ------------------------------------------------------------------------------------------------------ */

void epaxos_record(struct epaxos *e, struct instance *i, struct effects *fx) {
    struct epaxos_record r = {.id = i->id,
                              .status = i->status,
                              .entry_kind = i->entry_kind,
                              .original = i->original,
                              .fast = i->fast,
                              .has_command = i->has_command,
                              .knows_leader = i->knows_leader,
                              .promised = i->promised,
                              .accepted = i->accepted,
                              .at = i->at,
                              .command = epaxos_command(e, i)};
    memcpy(r.leader_deps, i->leader_deps, sizeof r.leader_deps);
    uint8_t *out = fx->scratch + fx->scratch_size;
    size_t size = epaxos_record_encode(&r, e->c.nodes, out, fx->scratch_capacity - fx->scratch_size);
    assert(size > 0);
    fx->scratch_size += (uint32_t)size;
    struct effect *effect = effect_add(fx, EFFECT_APPEND);
    effect->index = i->record_index = ++e->log_last;
    effect->term = 1;
    effect->entry_kind = ENTRY_RECORD;
    effect->bytes = bytes_of(out, size);
    effect->written = i->written = ++fx->written;
}

void epaxos_restore_record(struct epaxos *e, const struct epaxos_record *r, bool in_snapshot, uint64_t index) {
    struct instance *i = epaxos_get(e, r->id);
    if (!i) return;
    /* What is executed is kept for others as long as there is much room. */
    bool keep = !in_snapshot || e->commands_live < e->commands_capacity / 4;
    if (r->has_command && keep && !epaxos_keep_command(e, i, r->command)) assert(in_snapshot);
    bool executed = i->status == EPAXOS_EXECUTED;
    i->status = executed ? EPAXOS_EXECUTED : r->status == EPAXOS_EXECUTED ? EPAXOS_COMMITTED : r->status;
    i->entry_kind = r->entry_kind;
    i->original = r->original;
    i->fast = r->fast;
    i->knows_leader = r->knows_leader;
    i->promised = r->promised;
    i->accepted = r->accepted;
    i->at = r->at;
    memcpy(i->leader_deps, r->leader_deps, sizeof i->leader_deps);
    i->record_index = index;
}
