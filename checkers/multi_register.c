/* Several registers that transactions read and write together, as one linearizable object (knossos' multi-register):
 * unlike rw-register it takes values that are written again, and pays with a search. A transaction is a list of
 * [f, key, value] where f is "read" or "r", "write" or "w"; what one writes its later reads see.
 *
 * A state is a text: of each register that was written the ids of its key and of its value, in order of keys. Keys and
 * values have the ids of what they look like when printed. */
#include "checkers/internal.h"

struct registers {
    struct history *texts;  /* their strings are keys, values and states */
    struct value initially; /* NIL: nothing */
};

struct slot {
    uint32_t key, value;
};

static uint32_t text_id(struct registers *r, const struct history *h, struct value v) {
    struct buffer text = {0};
    history_value_print(h, v, &text);
    uint32_t id = history_intern_bytes(r->texts, bytes_of(text.data, text.size));
    buffer_free(&text);
    return id;
}

/* --- states ------------------------------------------------------------------------------------------------------- */

static struct slot *slots_of(const struct buffer *state, size_t *count) {
    *count = state->size / sizeof(struct slot);
    return (struct slot *)(void *)state->data;
}

static struct slot *slot_find(const struct buffer *state, uint32_t key) {
    size_t count;
    struct slot *slots = slots_of(state, &count);
    for (size_t i = 0; i < count; i++)
        if (slots[i].key == key) return &slots[i];
    return NULL;
}

static void slot_set(struct buffer *state, struct slot s) {
    struct slot *known = slot_find(state, s.key);
    if (known) {
        known->value = s.value;
        return;
    }
    buffer_append(state, &s, sizeof s);
    size_t count;
    struct slot *slots = slots_of(state, &count);
    size_t at = count - 1;
    for (; at > 0 && slots[at - 1].key > s.key; at--) slots[at] = slots[at - 1];
    slots[at] = s;
}

static void load(const struct registers *r, uint32_t state, struct buffer *out) {
    struct bytes text = history_text_bytes(r->texts, state);
    buffer_append(out, text.data, text.size);
}

/* --- transactions ------------------------------------------------------------------------------------------------- */

static bool is_named(const struct history *h, struct value f, const char *name, const char *initial) {
    return f.kind == VALUE_STRING &&
           (strcmp(history_text(h, f.string), name) == 0 || strcmp(history_text(h, f.string), initial) == 0);
}

/* Does a register with this content read so? An outcome that nobody knows constrains nothing; nor does a nil where
 * registers are never empty. */
static bool reads(struct registers *r, const struct history *h, uint32_t op, const struct slot *slot, struct value v) {
    if (h->status[op] != OP_OK) return true;
    if (v.kind == VALUE_NIL && r->initially.kind != VALUE_NIL) return true;
    uint32_t content = slot ? slot->value : text_id(r, h, r->initially);
    return content == text_id(r, h, v);
}

enum micro_end { MICRO_DONE, MICRO_REFUSED, MICRO_UNKNOWN };

static enum micro_end micro(struct registers *r, const struct history *h, uint32_t op, struct value m,
                            struct buffer *state) {
    if (m.kind != VALUE_LIST || m.size != 3) return MICRO_UNKNOWN;
    const struct value *part = &h->pool[m.first];
    uint32_t key = text_id(r, h, part[1]);
    if (is_named(h, part[0], "read", "r"))
        return reads(r, h, op, slot_find(state, key), part[2]) ? MICRO_DONE : MICRO_REFUSED;
    if (!is_named(h, part[0], "write", "w")) return MICRO_UNKNOWN;
    slot_set(state, (struct slot){key, text_id(r, h, part[2])});
    return MICRO_DONE;
}

/* Goes through the micro-operations until one does not end well; *at says which. */
static enum micro_end transaction(struct registers *r, const struct history *h, uint32_t op, struct buffer *state,
                                  uint32_t *at) {
    struct value list = h->status[op] == OP_OK && h->result[op].kind == VALUE_LIST ? h->result[op] : h->argument[op];
    enum micro_end end = h->f[op] == OP_TXN && list.kind == VALUE_LIST ? MICRO_DONE : MICRO_UNKNOWN;
    for (*at = 0; end == MICRO_DONE && *at < list.size; ++*at) end = micro(r, h, op, h->pool[list.first + *at], state);
    return end;
}

/* --- the model ---------------------------------------------------------------------------------------------------- */

static int initial(void *context, uint64_t deadline_ns, uint64_t memory_bytes_max, uint32_t *state, struct error *e) {
    struct registers *r = context;
    (void)deadline_ns, (void)memory_bytes_max, (void)e;
    *state = history_intern(r->texts, "");
    return 0;
}

static enum step_answer step(void *context, uint32_t state, const struct history *h, uint32_t op, uint32_t *next,
                             struct error *e) {
    struct registers *r = context;
    struct buffer slots = {0};
    uint32_t at;
    load(r, state, &slots);
    enum micro_end end = transaction(r, h, op, &slots, &at);
    if (end == MICRO_DONE) *next = history_intern_bytes(r->texts, bytes_of(slots.data, slots.size));
    buffer_free(&slots);
    if (end == MICRO_UNKNOWN) error_set(e, "a transaction of a multi-register is a list of [read|write, key, value]");
    return end == MICRO_DONE ? STEP_TAKEN : end == MICRO_REFUSED ? STEP_REFUSED : STEP_FAILED;
}

static void print_state(void *context, uint32_t state, struct buffer *out) {
    struct registers *r = context;
    struct buffer slots = {0};
    size_t count;
    load(r, state, &slots);
    const struct slot *s = slots_of(&slots, &count);
    buffer_printf(out, "{");
    for (size_t i = 0; i < count; i++)
        buffer_printf(out, "%s%s: %s", i ? ", " : "", history_text(r->texts, s[i].key),
                      history_text(r->texts, s[i].value));
    buffer_printf(out, "}");
    buffer_free(&slots);
}

/* Of the read that does not see what is there. */
static void print_refusal(void *context, uint32_t state, const struct history *h, uint32_t op, struct buffer *out) {
    struct registers *r = context;
    struct buffer slots = {0};
    uint32_t at;
    load(r, state, &slots);
    if (transaction(r, h, op, &slots, &at) == MICRO_REFUSED) {
        struct value list = h->result[op].kind == VALUE_LIST ? h->result[op] : h->argument[op];
        const struct value *part = &h->pool[h->pool[list.first + at - 1].first];
        uint32_t key = text_id(r, h, part[1]);
        const struct slot *slot = slot_find(&slots, key);
        uint32_t content = slot ? slot->value : text_id(r, h, r->initially);
        buffer_printf(out, "would read %s from %s, not ", history_text(r->texts, content), history_text(r->texts, key));
        history_value_print(h, part[2], out);
    }
    buffer_free(&slots);
}

static uint64_t memory_bytes(void *context) {
    const struct registers *r = context;
    const struct strings *s = &r->texts->strings;
    uint64_t capacity = s->count < s->capacity ? s->capacity : 2 * (uint64_t)s->capacity;
    return s->arena.held_bytes + capacity * (sizeof *s->texts + sizeof *s->sizes) + map64_bytes(&s->by_hash, 1);
}

void check_multi_register(const struct history *h, const struct check_options *o, struct check_result *out) {
    struct registers r = {.texts = history_new(), .initially = o ? o->initial : VALUE_OF_NIL};
    const struct step_model steps = {.name = "multi-register",
                                     .context = &r,
                                     .initial = initial,
                                     .step = step,
                                     .print_state = print_state,
                                     .print_refusal = print_refusal,
                                     .memory_bytes = memory_bytes};
    check_steps(h, &steps, o, out);
    history_free(r.texts);
}
