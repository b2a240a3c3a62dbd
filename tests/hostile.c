/* Clients on an object that is simulated: an operation takes effect at a moment between its beginning and its end. All
 * kinds of objects are one here, a row of elements: a register is the last of them, a queue gives the first, a lock
 * counts them. */
#include "tests/hostile.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define POOL_MAX 3000000u /* elements of lists in a history; what would need more ends unknown */
#define DEEP_LIST_MAX 50u
#define NESTED_KINDS 8u
#define TAKE_LEAST_OF 64u

enum deed { READ, SET, CAS, DELETE, ADD, APPEND, TRANSACT, TAKE_FIRST, TAKE_LAST, TAKE_LEAST, DRAIN, ACQUIRE, RELEASE };

static const struct {
    const char *name;
    enum deed deed;
} deeds[] = {
    {"read", READ},
    {"write", SET},
    {"cas", CAS},
    {"delete", DELETE},
    {"add", ADD},
    {"append", APPEND},
    {"txn", TRANSACT},
    {"enqueue", APPEND},
    {"push", APPEND},
    {"insert", APPEND},
    {"dequeue", TAKE_FIRST},
    {"pop", TAKE_LAST},
    {"delete-min", TAKE_LEAST},
    {"drain", DRAIN},
    {"acquire", ACQUIRE},
    {"release", RELEASE},
    {"generate", ACQUIRE},
};

struct object {
    uint32_t *elements; /* numbers of values: first .. count */
    uint32_t first, count, capacity;
    int64_t sum;
};

struct open_op {
    uint32_t op, object, element;
    enum deed deed;
    enum op_status end;
    bool applied;
    struct value result;
};

struct world {
    const struct hostile *o;
    struct history *h;
    struct prng p;
    uint64_t now_ns;
    struct object *objects;
    uint32_t *keys; /* intern ids */
    struct {
        uint16_t f;
        enum deed deed;
    } functions[16];
    uint32_t functions_count, reads[16], reads_count, changes[16], changes_count;
    struct open_op *open;
    uint32_t open_count, elements, written, tokens, processes;
    uint32_t *process; /* by client */
    struct value nested[NESTED_KINDS];
};

/* --- values ------------------------------------------------------------------------------------------------------- */

static struct value string_value(struct world *w, const char *text) {
    return (struct value){.kind = VALUE_STRING, .string = history_intern(w->h, text)};
}

static struct value long_string(struct world *w, uint32_t number) {
    size_t size = 20000 + number % 4;
    char *text = xmalloc(size + 1);
    memset(text, 'a' + (int)(number % 3), size);
    text[size] = 0;
    struct value v = string_value(w, text);
    free(text);
    return v;
}

/* What holds it may be a list in a part of a transaction. */
static struct value nested_value(struct world *w, uint32_t number) {
    struct value *v = &w->nested[number % NESTED_KINDS];
    if (v->kind != VALUE_NIL) return *v;
    *v = VALUE_OF_INT(number % NESTED_KINDS);
    for (uint32_t depth = 8; depth < VALUE_DEPTH_MAX; depth++) *v = history_pair(w->h, VALUE_OF_INT(depth), *v);
    return *v;
}

static struct value value_of(struct world *w, uint32_t number) {
    static const int64_t extremes[] = {INT64_MIN, INT64_MAX, -1, 0};
    char text[32];
    enum hostile_values kind = w->o->values;
    if (kind == VALUES_MIXED) kind = hash_u64(number) % VALUES_MIXED;
    switch (kind) {
    case VALUES_SAME: return VALUE_OF_INT(7);
    case VALUES_FEW: return VALUE_OF_INT(number % 5);
    case VALUES_HUGE: return VALUE_OF_INT((int64_t)hash_u64(number));
    case VALUES_EXTREME: return VALUE_OF_INT(extremes[number % 4]);
    case VALUES_STRINGS: snprintf(text, sizeof text, "v%" PRIu32, number); return string_value(w, text);
    case VALUES_LONG_STRINGS: return long_string(w, number);
    case VALUES_NIL: return VALUE_OF_NIL;
    case VALUES_NESTED: return nested_value(w, number);
    default: return VALUE_OF_INT(number);
    }
}

static struct value list_of(struct world *w, const struct object *x) {
    uint32_t count = x->count - x->first;
    struct value *items = xmalloc((count + 1) * sizeof *items);
    for (uint32_t i = 0; i < count; i++) items[i] = value_of(w, x->elements[x->first + i]);
    struct value list = history_list(w->h, items, count);
    free(items);
    return list;
}

/* Lists of deep values are large although the pool holds each of those once. */
static bool pool_is_full(const struct world *w, const struct object *x) {
    uint32_t size = x->count - x->first, size_max = w->o->values < VALUES_NESTED ? POOL_MAX : DEEP_LIST_MAX;
    return size > size_max || w->h->pool_count + size > POOL_MAX;
}

static struct value seen_in(struct world *w, const struct object *x) {
    if (w->o->lists) return list_of(w, x);
    if (w->o->sums) return VALUE_OF_INT(x->sum);
    return x->count > x->first ? value_of(w, x->elements[x->count - 1]) : VALUE_OF_NIL;
}

/* Another result than the object gave. */
static struct value lie_about(struct world *w, struct value v) {
    uint64_t how = prng_below(&w->p, 4);
    if (v.kind != VALUE_LIST || how == 0) return value_of(w, (uint32_t)prng_below(&w->p, w->elements + 1));
    if (v.size == 0 || how == 1) return history_list(w->h, &v, 1);
    if (how == 2) return (struct value){.kind = VALUE_LIST, .size = v.size - 1, .first = v.first};
    struct value *items = xmalloc(v.size * sizeof *items);
    memcpy(items, w->h->pool + v.first, v.size * sizeof *items);
    items[prng_below(&w->p, v.size)] = items[0];
    struct value changed = history_list(w->h, items, v.size);
    free(items);
    return changed;
}

/* --- effects ------------------------------------------------------------------------------------------------------ */

static void put(struct object *x, uint32_t element, const struct world *w) {
    if (x->count == x->capacity) {
        x->capacity = x->capacity ? 2 * x->capacity : 4;
        x->elements = xrealloc(x->elements, x->capacity * sizeof *x->elements);
    }
    x->elements[x->count++] = element;
    x->sum = (int64_t)((uint64_t)x->sum + element % 5 + (w->o->values == VALUES_EXTREME));
}

static struct value take(struct world *w, struct object *x, enum deed deed) {
    if (x->first == x->count) return VALUE_OF_NIL;
    if (deed == TAKE_LAST) return value_of(w, x->elements[--x->count]);
    uint32_t least = x->first, end = x->count - x->first < TAKE_LEAST_OF ? x->count : x->first + TAKE_LEAST_OF;
    for (uint32_t i = least; deed == TAKE_LEAST && i < end; i++)
        if (x->elements[i] < x->elements[least]) least = i;
    uint32_t element = x->elements[least];
    x->elements[least] = x->elements[x->first++];
    return value_of(w, element);
}

static struct value apply_transaction(struct world *w, const struct open_op *o) {
    struct value argument = w->h->argument[o->op];
    struct value *parts = xmalloc((argument.size + 1) * sizeof *parts);
    for (uint32_t i = 0; i < argument.size; i++) {
        struct value part = w->h->pool[argument.first + i];
        struct value e[3] = {w->h->pool[part.first], w->h->pool[part.first + 1], w->h->pool[part.first + 2]};
        struct object *x = &w->objects[(uint64_t)e[1].integer % (w->o->keys ? w->o->keys : 1)];
        if (e[2].kind == VALUE_NIL) {
            if (!pool_is_full(w, x)) e[2] = seen_in(w, x);
            if (prng_chance(&w->p, w->o->lies_ppm)) e[2] = lie_about(w, e[2]);
        } else {
            put(x, o->element + i, w);
        }
        parts[i] = history_list(w->h, e, 3);
    }
    struct value result = history_list(w->h, parts, argument.size);
    free(parts);
    return result;
}

static void apply(struct world *w, struct open_op *o) {
    struct object *x = &w->objects[o->object];
    o->applied = true;
    if (o->end == OP_FAIL || (o->end == OP_INFO && prng_below(&w->p, 2))) return;
    switch (o->deed) {
    case READ:
        if (w->o->lists && pool_is_full(w, x)) o->end = OP_INFO;
        if (o->end == OP_OK) o->result = seen_in(w, x);
        break;
    case CAS: /* its element is the new value, the one before is what it expects */
        if (x->count == x->first || x->elements[x->count - 1] != o->element - 1) {
            o->end = OP_FAIL;
            if (prng_below(&w->p, 2)) o->result = seen_in(w, x);
            break;
        }
        put(x, o->element, w);
        break;
    case DELETE: x->count = x->first; break;
    case TRANSACT: o->result = apply_transaction(w, o); break;
    case SET:
    case ADD:
    case APPEND: put(x, o->element, w); break;
    case DRAIN:
        if (!pool_is_full(w, x)) o->result = list_of(w, x);
        x->first = x->count;
        break;
    case TAKE_FIRST:
    case TAKE_LAST:
    case TAKE_LEAST: o->result = take(w, x, o->deed); break;
    case ACQUIRE: o->result = value_of(w, ++w->tokens); break;
    case RELEASE: break;
    }
}

/* --- events ------------------------------------------------------------------------------------------------------- */

static void pass_time(struct world *w) {
    switch (w->o->times) {
    case TIMES_EQUAL: break;
    case TIMES_OFTEN_EQUAL: w->now_ns += prng_below(&w->p, 16) == 0; break;
    case TIMES_LEAP: w->now_ns += UINT64_C(1) << prng_below(&w->p, 44); break;
    default: w->now_ns++;
    }
}

/* Reads and writes of any keys; or all reads, of keys that stand together. */
static struct value transaction(struct world *w) {
    uint32_t count = 1 + (uint32_t)prng_below(&w->p, w->o->transaction_max), keys = w->o->keys ? w->o->keys : 1;
    uint32_t first = (uint32_t)prng_below(&w->p, keys);
    bool reads = prng_below(&w->p, 4) == 0, once = w->o->write_once;
    if (once) {
        reads |= w->written == keys;
        count = reads ? 4 : 1;
        first = reads ? w->written / 4 * 4 : w->written++;
    } else if (reads && keys <= 16) {
        count = keys;
    }
    struct value *parts = xmalloc(count * sizeof *parts);
    for (uint32_t i = 0; i < count; i++) {
        bool read = reads || (!once && prng_chance(&w->p, w->o->reads_ppm));
        uint32_t key = reads || once ? (first + i) % keys : (uint32_t)prng_below(&w->p, keys);
        const char *name = read ? "r" : w->o->lists ? "append" : "w";
        parts[i] = history_list(w->h,
                                (const struct value[]){string_value(w, name), VALUE_OF_INT(key),
                                                       read ? VALUE_OF_NIL : value_of(w, w->elements + i)},
                                3);
    }
    w->elements += count;
    struct value list = history_list(w->h, parts, count);
    free(parts);
    return list;
}

static struct value argument_of(struct world *w, struct open_op *o) {
    const struct object *x = &w->objects[o->object];
    switch (o->deed) {
    case TRANSACT: return transaction(w);
    case CAS:
        o->element = x->count > x->first ? x->elements[x->count - 1] + 1 : w->elements++;
        return history_pair(w->h, value_of(w, o->element - 1), value_of(w, o->element));
    case ADD:
        w->elements++;
        if (w->o->sums && w->o->values != VALUES_EXTREME) return VALUE_OF_INT(o->element % 5);
        return value_of(w, o->element);
    case SET:
    case APPEND: w->elements++; return value_of(w, o->element);
    default: return VALUE_OF_NIL;
    }
}

static void begin(struct world *w) {
    const struct hostile *s = w->o;
    bool read = w->changes_count == 0 || (w->reads_count && prng_chance(&w->p, s->reads_ppm));
    uint32_t chosen =
        read ? w->reads[prng_below(&w->p, w->reads_count)] : w->changes[prng_below(&w->p, w->changes_count)];
    uint32_t slot = w->open_count++, objects = s->keys ? s->keys : 1;
    struct open_op *o = &w->open[slot];
    *o = (struct open_op){.deed = w->functions[chosen].deed, .element = w->elements, .end = OP_OK};
    o->object = (uint32_t)prng_below(&w->p, objects);
    if (prng_chance(&w->p, s->info_ppm)) o->end = OP_INFO;
    if (prng_chance(&w->p, s->fail_ppm)) o->end = OP_FAIL;
    struct value argument = argument_of(w, o);
    pass_time(w);
    o->op = history_invoke(w->h, w->now_ns, w->now_ns, w->process[slot], NODE_UNKNOWN, w->functions[chosen].f,
                           s->keys && o->deed != TRANSACT ? w->keys[o->object] : NO_STRING, argument);
}

/* A process lives in a place among those that are open; who ends swaps places with the last. */
static void end(struct world *w, uint32_t slot) {
    struct open_op o = w->open[slot];
    uint32_t process = w->process[slot];
    if (o.end == OP_OK && o.deed != TRANSACT && prng_chance(&w->p, w->o->lies_ppm)) o.result = lie_about(w, o.result);
    pass_time(w);
    history_complete(w->h, o.op, w->now_ns, o.end, o.result, NO_STRING);
    if (w->o->processes_once || o.end == OP_INFO) process = w->processes++;
    if (w->o->processes_once) process *= 2654435761u;
    w->open[slot] = w->open[--w->open_count];
    w->process[slot] = w->process[w->open_count];
    w->process[w->open_count] = process;
}

static void find_functions(struct world *w) {
    char name[32];
    for (const char *at = w->o->functions; *at;) {
        size_t size = strcspn(at, " ");
        snprintf(name, sizeof name, "%.*s", (int)size, at);
        at += size + (at[size] == ' ');
        enum deed deed = READ;
        for (size_t i = 0; i < sizeof deeds / sizeof *deeds; i++)
            if (strcmp(deeds[i].name, name) == 0) deed = deeds[i].deed;
        bool read = deed == READ || deed == TAKE_FIRST || deed == TAKE_LAST || deed == TAKE_LEAST || deed == DRAIN ||
                    deed == RELEASE;
        uint32_t n = w->functions_count++;
        assert(n < 16);
        w->functions[n].f = history_function(w->h, name);
        w->functions[n].deed = deed;
        if (read) w->reads[w->reads_count++] = n;
        if (!read) w->changes[w->changes_count++] = n;
    }
}

struct history *hostile_history(const struct hostile *o) {
    uint32_t objects = o->keys ? o->keys : 1, left = o->ops;
    struct world w = {.o = o, .h = history_new(), .processes = o->clients};
    char name[32];
    prng_seed(&w.p, o->seed, 1);
    w.objects = xcalloc(objects, sizeof *w.objects);
    w.keys = xmalloc(objects * sizeof *w.keys);
    w.open = xmalloc(o->clients * sizeof *w.open);
    w.process = xmalloc(o->clients * sizeof *w.process);
    for (uint32_t i = 0; i < objects; i++) {
        snprintf(name, sizeof name, "k%" PRIu32, i);
        w.keys[i] = history_intern(w.h, name);
    }
    for (uint32_t i = 0; i < o->clients; i++) w.process[i] = i * (o->processes_once ? 2654435761u : 1);
    find_functions(&w);
    while (left || w.open_count) {
        if (left && w.open_count < o->clients) {
            begin(&w);
            left--;
            continue;
        }
        uint32_t slot = (uint32_t)prng_below(&w.p, w.open_count);
        if (!w.open[slot].applied)
            apply(&w, &w.open[slot]);
        else
            end(&w, slot);
    }
    if (o->times == TIMES_LIE) w.h->complete_ns[prng_below(&w.p, w.h->count)] = prng_next(&w.p) >> 40;
    for (uint32_t i = 0; i < objects; i++) free(w.objects[i].elements);
    free(w.objects);
    free(w.keys);
    free(w.open);
    free(w.process);
    return w.h;
}
