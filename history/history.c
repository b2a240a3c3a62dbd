/* The in-memory history: columns that grow by doubling and never shrink, an intern table whose texts live in an arena,
 * and a pool for list elements. Recording an operation is a handful of stores; clearing keeps every block of memory.
 *
 * Broken contracts (an operation completed twice, time that runs backwards) are asserted here; histories that come from
 * outside are checked by their readers (jsonl.c, store_read.c) before they get this far. */
#include "history/history.h"

#include <stdlib.h>
#include <sys/mman.h>

#define OPS_CAPACITY_FIRST 1024u
#define ROWS_CAPACITY_FIRST 64u
#define HUGE_PAGE_BYTES ((size_t)2 << 20)
#define LARGE_COLUMN_BYTES (2 * HUGE_PAGE_BYTES)

static const char *const built_in[OP_CUSTOM] = {"read", "write", "cas", "append", "add", "delete", "txn"};

static void *column(void *old, uint32_t capacity, size_t element) {
    return xrealloc(old, (size_t)capacity * element);
}

/* A large block for `capacity` elements, with the first `count` of the old one. Huge pages spare the kernel tens of
 * thousands of faults; where there are none, nothing is lost. */
static void *large_column(void *old, uint32_t count, uint32_t capacity, size_t element) {
    size_t size = (size_t)capacity * element;
    if (size < LARGE_COLUMN_BYTES) return xrealloc(old, size);
    void *column_memory = NULL;
    if (posix_memalign(&column_memory, HUGE_PAGE_BYTES, size)) return xrealloc(old, size);
    (void)madvise(column_memory, size, MADV_HUGEPAGE);
    if (count) memcpy(column_memory, old, count * element);
    free(old);
    return column_memory;
}

static uint32_t grown(uint32_t capacity, uint32_t first) {
    assert(capacity < UINT32_MAX);
    if (capacity == 0) return first;
    return capacity > UINT32_MAX / 2 ? UINT32_MAX : capacity * 2;
}

static void ops_grow(struct history *h) {
    uint32_t n = h->capacity = grown(h->capacity, OPS_CAPACITY_FIRST);
    h->process = column(h->process, n, sizeof *h->process);
    h->node = column(h->node, n, sizeof *h->node);
    h->f = column(h->f, n, sizeof *h->f);
    h->status = column(h->status, n, sizeof *h->status);
    h->key = column(h->key, n, sizeof *h->key);
    h->argument = column(h->argument, n, sizeof *h->argument);
    h->result = column(h->result, n, sizeof *h->result);
    h->intended_ns = column(h->intended_ns, n, sizeof *h->intended_ns);
    h->invoke_ns = column(h->invoke_ns, n, sizeof *h->invoke_ns);
    h->complete_ns = column(h->complete_ns, n, sizeof *h->complete_ns);
    h->error = column(h->error, n, sizeof *h->error);
    h->final_phase = column(h->final_phase, n, sizeof *h->final_phase);
}

void history_reserve(struct history *h, uint32_t ops) {
    if (ops <= h->capacity) return;
    uint32_t n = h->capacity = ops, used = h->count;
    h->process = large_column(h->process, used, n, sizeof *h->process);
    h->node = large_column(h->node, used, n, sizeof *h->node);
    h->f = large_column(h->f, used, n, sizeof *h->f);
    h->status = large_column(h->status, used, n, sizeof *h->status);
    h->key = large_column(h->key, used, n, sizeof *h->key);
    h->argument = large_column(h->argument, used, n, sizeof *h->argument);
    h->result = large_column(h->result, used, n, sizeof *h->result);
    h->intended_ns = large_column(h->intended_ns, used, n, sizeof *h->intended_ns);
    h->invoke_ns = large_column(h->invoke_ns, used, n, sizeof *h->invoke_ns);
    h->complete_ns = large_column(h->complete_ns, used, n, sizeof *h->complete_ns);
    h->error = large_column(h->error, used, n, sizeof *h->error);
    h->final_phase = large_column(h->final_phase, used, n, sizeof *h->final_phase);
}

struct history *history_new(void) {
    return xcalloc(1, sizeof(struct history));
}

void history_free(struct history *h) {
    if (!h) return;
    void *const owned[] = {h->process,  h->node,        h->f,           h->status,        h->key,
                           h->argument, h->result,      h->intended_ns, h->invoke_ns,     h->complete_ns,
                           h->error,    h->final_phase, h->pool,        h->strings.texts, h->strings.sizes,
                           h->faults,   h->samples};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
    map64_free(&h->strings.by_hash);
    arena_free(&h->strings.arena);
    free(h);
}

void history_clear(struct history *h) {
    h->count = h->pool_count = h->custom_count = h->faults_count = h->samples_count = 0;
    if (h->strings.count == 0) return;
    h->strings.count = 0;
    map64_clear(&h->strings.by_hash);
    arena_reset(&h->strings.arena);
}

static uint32_t strings_add(struct strings *s, struct bytes text) {
    if (s->count == s->capacity) {
        s->capacity = grown(s->capacity, ROWS_CAPACITY_FIRST);
        s->texts = column(s->texts, s->capacity, sizeof *s->texts);
        s->sizes = column(s->sizes, s->capacity, sizeof *s->sizes);
    }
    char *copy = arena_alloc(&s->arena, text.size + 1);
    if (text.size) memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    s->texts[s->count] = copy;
    s->sizes[s->count] = (uint32_t)text.size;
    return s->count++;
}

uint32_t history_intern_bytes(struct history *h, struct bytes text) {
    struct strings *s = &h->strings;
    assert(text.size < UINT32_MAX);
    /* Two texts of one hash: the second lives under the hash of the hash, and so on. */
    for (uint64_t hash = hash_bytes(text, 0);; hash = hash_u64(hash)) {
        bool inserted = false;
        uint64_t *id = map64_put(&s->by_hash, hash, &inserted);
        if (inserted) {
            *id = strings_add(s, text);
            return (uint32_t)*id;
        }
        if (bytes_equal(text, bytes_of(s->texts[*id], s->sizes[*id]))) return (uint32_t)*id;
    }
}

uint32_t history_intern(struct history *h, const char *text) {
    return history_intern_bytes(h, bytes_str(text));
}

const char *history_text(const struct history *h, uint32_t id) {
    return history_text_bytes(h, id).size ? h->strings.texts[id] : "";
}

struct bytes history_text_bytes(const struct history *h, uint32_t id) {
    if (id == NO_STRING) return bytes_of("", 0);
    assert(id < h->strings.count);
    return bytes_of(h->strings.texts[id], h->strings.sizes[id]);
}

static uint32_t depth_of(const struct history *h, const struct value *elements, uint32_t count) {
    uint32_t deepest = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (elements[i].kind != VALUE_LIST || elements[i].size == 0) continue;
        assert(elements[i].first + elements[i].size <= h->pool_count);
        uint32_t depth = depth_of(h, h->pool + elements[i].first, elements[i].size);
        if (depth > deepest) deepest = depth;
    }
    return deepest + 1;
}

struct value history_list(struct history *h, const struct value *elements, uint32_t count) {
    if (count == 0) return (struct value){.kind = VALUE_LIST, .size = 0, .first = 0};
    assert(depth_of(h, elements, count) <= VALUE_DEPTH_MAX);
    assert(count < UINT32_MAX - h->pool_count);
    bool inside = h->pool && elements >= h->pool && elements < h->pool + h->pool_count;
    size_t offset = inside ? (size_t)(elements - h->pool) : 0;
    while (h->pool_capacity - h->pool_count < count) {
        h->pool_capacity = grown(h->pool_capacity, OPS_CAPACITY_FIRST);
        h->pool = column(h->pool, h->pool_capacity, sizeof *h->pool);
    }
    if (inside) elements = h->pool + offset;
    struct value list = {.kind = VALUE_LIST, .size = count, .first = h->pool_count};
    memcpy(h->pool + h->pool_count, elements, count * sizeof *elements);
    h->pool_count += count;
    return list;
}

struct value history_pair(struct history *h, struct value a, struct value b) {
    return history_list(h, (const struct value[]){a, b}, 2);
}

bool history_value_equal(const struct history *h, struct value a, struct value b) {
    if (a.kind != b.kind) return false;
    switch ((enum value_kind)a.kind) {
    case VALUE_NIL: return true;
    case VALUE_INT: return a.integer == b.integer;
    case VALUE_STRING: return a.string == b.string;
    case VALUE_LIST: break;
    }
    if (a.size != b.size) return false;
    if (a.size == 0 || a.first == b.first) return true;
    for (uint32_t i = 0; i < a.size; i++)
        if (!history_value_equal(h, h->pool[a.first + i], h->pool[b.first + i])) return false;
    return true;
}

const char *history_function_name(const struct history *h, uint16_t f) {
    if (f < OP_CUSTOM) return built_in[f];
    assert((uint32_t)(f - OP_CUSTOM) < h->custom_count);
    return history_text(h, h->custom[f - OP_CUSTOM]);
}

uint16_t history_function(struct history *h, const char *name) {
    for (uint16_t f = 0; f < OP_CUSTOM; f++)
        if (strcmp(built_in[f], name) == 0) return f;
    uint32_t id = history_intern(h, name);
    for (uint32_t i = 0; i < h->custom_count; i++)
        if (h->custom[i] == id) return (uint16_t)(OP_CUSTOM + i);
    if (h->custom_count == sizeof h->custom / sizeof *h->custom) return FUNCTION_NONE;
    h->custom[h->custom_count] = id;
    return (uint16_t)(OP_CUSTOM + h->custom_count++);
}

uint32_t history_invoke(struct history *h, uint64_t now_ns, uint64_t intended_ns, uint32_t process, uint8_t node,
                        uint16_t f, uint32_t key, struct value argument) {
    assert(intended_ns <= now_ns);
    assert(h->count == 0 || h->invoke_ns[h->count - 1] <= now_ns);
    assert(f < OP_CUSTOM + h->custom_count);
    assert(key == NO_STRING || key < h->strings.count);
    if (h->count == h->capacity) ops_grow(h);
    uint32_t op = h->count++;
    h->process[op] = process;
    h->node[op] = node;
    h->f[op] = f;
    h->status[op] = OP_PENDING;
    h->key[op] = key;
    h->argument[op] = argument;
    h->result[op] = VALUE_OF_NIL;
    h->intended_ns[op] = intended_ns;
    h->invoke_ns[op] = now_ns;
    h->complete_ns[op] = UINT64_MAX;
    h->error[op] = NO_STRING;
    h->final_phase[op] = 0;
    return op;
}

void history_complete(struct history *h, uint32_t op, uint64_t now_ns, enum op_status status, struct value result,
                      uint32_t error) {
    assert(op < h->count && h->status[op] == OP_PENDING && status != OP_PENDING);
    assert(now_ns >= h->invoke_ns[op] && now_ns != UINT64_MAX);
    assert(error == NO_STRING || error < h->strings.count);
    h->status[op] = (uint8_t)status;
    h->result[op] = result;
    h->complete_ns[op] = now_ns;
    h->error[op] = error;
}

uint32_t history_fault_add(struct history *h, struct fault_record fault) {
    if (h->faults_count == h->faults_capacity) {
        h->faults_capacity = grown(h->faults_capacity, ROWS_CAPACITY_FIRST);
        h->faults = column(h->faults, h->faults_capacity, sizeof *h->faults);
    }
    h->faults[h->faults_count] = fault;
    return h->faults_count++;
}

uint32_t history_fault_start(struct history *h, uint64_t now_ns, const char *name, const char *detail,
                             const char *colour) {
    return history_fault_add(h, (struct fault_record){
                                    .name = history_intern(h, name),
                                    .detail = detail ? history_intern(h, detail) : NO_STRING,
                                    .colour = colour ? history_intern(h, colour) : NO_STRING,
                                    .start_ns = now_ns,
                                    .end_ns = UINT64_MAX,
                                });
}

void history_fault_end(struct history *h, uint32_t fault, uint64_t now_ns, uint64_t affected, uint64_t offered) {
    assert(fault < h->faults_count);
    struct fault_record *record = &h->faults[fault];
    assert(record->end_ns == UINT64_MAX && now_ns >= record->start_ns);
    record->end_ns = now_ns;
    record->affected = affected;
    record->offered = offered;
}

void history_sample(struct history *h, struct sample s) {
    assert(s.kind < SAMPLE_KINDS && s.role < ROLES);
    assert(s.text == NO_STRING || s.text < h->strings.count);
    if (h->samples_count == h->samples_capacity) {
        h->samples_capacity = grown(h->samples_capacity, ROWS_CAPACITY_FIRST);
        h->samples = column(h->samples, h->samples_capacity, sizeof *h->samples);
    }
    h->samples[h->samples_count++] = s;
}
