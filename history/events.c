/* Events to operations (events_internal.h). A process has one open operation at most and never acts after an info; what
 * breaks that is refused, naming the lines of both events.
 *
 * This is the inner loop of an import: the state of a process is an index away, and texts of up to eight bytes are
 * found again without hashing a string. */
#include "history/events_internal.h"

#include <stdlib.h>

#define PROCESSES_DENSE_MAX (UINT32_C(1) << 20) /* 16 MiB of states */
#define PROCESSES_DENSE_FIRST 256u
#define REST_FIRST 64u

const char *const events_type_names[4] = {"invoke", "ok", "fail", "info"};
const char *const events_role_names[ROLES] = {"follower", "candidate", "leader", "peer"};
const char *const events_sample_names[SAMPLE_KINDS] = {"role", "node-down", "node-up", "log", "late", "link"};

void events_start(struct events *ev, struct history *h, enum events_clock clock) {
    memset(ev, 0, sizeof *ev);
    ev->json.h = ev->h = h;
    ev->clock = clock;
    history_clear(h);
}

void events_free(struct events *ev) {
    json_free(&ev->json);
    free(ev->dense);
    free(ev->rest);
    map64_free(&ev->rest_of);
    map64_free(&ev->faults);
}

/* --- names -------------------------------------------------------------------------------------------------------- */

static int name_index(struct bytes name, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (bytes_equal(name, bytes_str(names[i]))) return (int)i;
    return -1;
}

int events_sample_kind(struct bytes name) {
    return name_index(name, events_sample_names, SAMPLE_KINDS);
}

int events_role(struct bytes name) {
    return name_index(name, events_role_names, ROLES);
}

uint8_t events_node(struct bytes name) {
    uint32_t number = 0;
    if (name.size < 2 || name.size > 4 || name.data[0] != 'n' || name.data[1] == '0') return NODE_UNKNOWN;
    for (size_t i = 1; i < name.size; i++) {
        if (name.data[i] < '0' || name.data[i] > '9') return NODE_UNKNOWN;
        number = number * 10 + (uint32_t)(name.data[i] - '0');
    }
    return number <= NODE_UNKNOWN ? (uint8_t)(number - 1) : NODE_UNKNOWN;
}

/* A text of up to eight bytes as a word; different texts of one size are different words. */
static inline uint64_t word_of(struct bytes text) {
    uint32_t low, high;
    if (text.size >= 4) {
        memcpy(&low, text.data, 4);
        memcpy(&high, text.data + text.size - 4, 4);
        return (uint64_t)high << 32 | low;
    }
    if (text.size == 0) return 0;
    return (uint64_t)text.data[0] << 16 | (uint64_t)text.data[text.size / 2] << 8 | text.data[text.size - 1];
}

/* count: a power of two. */
static inline struct memo_slot *memo_slot(struct memo_slot *slots, size_t count, struct bytes text) {
    return &slots[word_of(text) * UINT64_C(0x9e3779b97f4a7c15) >> 40 & (count - 1)];
}

static inline bool memo_fits(struct bytes text) {
    return text.size > 0 && text.size <= sizeof(uint64_t);
}

static inline bool memo_holds(const struct memo_slot *slot, struct bytes text) {
    return slot->size == text.size && slot->word == word_of(text);
}

static void memo_put(struct memo_slot *slot, struct bytes text, uint32_t id) {
    *slot = (struct memo_slot){.word = word_of(text), .size = (uint32_t)text.size, .id = id};
}

uint32_t events_intern(struct events *ev, struct bytes text) {
    if (!memo_fits(text)) return history_intern_bytes(ev->h, text);
    struct memo_slot *slot = memo_slot(ev->texts, EVENTS_TEXT_SLOTS, text);
    if (!memo_holds(slot, text)) memo_put(slot, text, history_intern_bytes(ev->h, text));
    return slot->id;
}

static bool function_named(struct events *ev, struct bytes name, uint16_t *out) {
    for (uint16_t f = 0; f < OP_CUSTOM; f++) {
        *out = f;
        if (bytes_equal(name, bytes_str(history_function_name(ev->h, f)))) return true;
    }
    if (name.size == 0 || memchr(name.data, 0, name.size)) return json_fail(&ev->json, "f must be a name");
    *out = history_function(ev->h, history_text(ev->h, history_intern_bytes(ev->h, name)));
    return *out != FUNCTION_NONE ? true : json_fail(&ev->json, "more than 256 kinds of functions");
}

static bool function_of(struct events *ev, struct bytes name, uint16_t *out) {
    if (!memo_fits(name)) return function_named(ev, name, out);
    struct memo_slot *slot = memo_slot(ev->functions, EVENTS_FUNCTION_SLOTS, name);
    if (!memo_holds(slot, name)) {
        if (!function_named(ev, name, out)) return false;
        memo_put(slot, name, *out);
    }
    *out = (uint16_t)slot->id;
    return true;
}

static bool function_is(struct events *ev, uint16_t f, struct bytes name) {
    if (memo_fits(name)) {
        const struct memo_slot *slot = memo_slot(ev->functions, EVENTS_FUNCTION_SLOTS, name);
        if (memo_holds(slot, name)) return slot->id == f;
    }
    return bytes_equal(name, bytes_str(history_function_name(ev->h, f)));
}

/* --- processes ---------------------------------------------------------------------------------------------------- */

static struct process_state *grown_to(struct process_state *old, uint32_t from, uint32_t to) {
    struct process_state *states = xrealloc(old, to * sizeof *states);
    memset(states + from, 0, (to - from) * sizeof *states);
    return states;
}

static struct process_state *new_state_of(struct events *ev, uint32_t process) {
    if (process < PROCESSES_DENSE_MAX) {
        uint32_t count = ev->dense_count ? ev->dense_count : PROCESSES_DENSE_FIRST;
        while (count <= process) count *= 2;
        ev->dense = grown_to(ev->dense, ev->dense_count, count);
        ev->dense_count = count;
        return &ev->dense[process];
    }
    bool fresh = false;
    uint64_t *index = map64_put(&ev->rest_of, process, &fresh);
    if (fresh) {
        if (ev->rest_count == ev->rest_capacity) {
            uint32_t capacity = ev->rest_capacity ? ev->rest_capacity * 2 : REST_FIRST;
            ev->rest = grown_to(ev->rest, ev->rest_capacity, capacity);
            ev->rest_capacity = capacity;
        }
        *index = ev->rest_count++;
    }
    return &ev->rest[*index];
}

/* Valid until the next call. */
static inline struct process_state *state_of(struct events *ev, uint32_t process) {
    return process < ev->dense_count ? &ev->dense[process] : new_state_of(ev, process);
}

uint64_t events_line_of(struct events *ev, uint32_t process) {
    return state_of(ev, process)->line;
}

static bool refuse_retired(struct events *ev, uint32_t process, const struct process_state *state) {
    return json_fail(&ev->json,
                     "process %u acts again after the info of line %llu; a client goes on under a new process number",
                     process, (unsigned long long)state->line);
}

/* --- times and keys ----------------------------------------------------------------------------------------------- */

static bool time_in_order(struct events *ev, bool given, uint64_t *time_ns) {
    bool first = ev->times == TIMES_UNDECIDED;
    ev->times = TIMES_GIVEN;
    if (!first && ev->time_ns >= UINT64_MAX - 2) return json_fail(&ev->json, "the time is too large");
    uint64_t least_ns = first ? 0 : ev->time_ns + 1;
    if (!given || *time_ns < least_ns) *time_ns = least_ns;
    if (*time_ns == UINT64_MAX) return json_fail(&ev->json, "the time is too large");
    ev->time_ns = *time_ns;
    return true;
}

bool events_other_time(struct events *ev, bool given, uint64_t *time_ns) {
    if (ev->clock == EVENTS_ORDER) return time_in_order(ev, given, time_ns);
    if (ev->times == TIMES_UNDECIDED) ev->times = given ? TIMES_GIVEN : TIMES_ABSENT;
    if (given != (ev->times == TIMES_GIVEN))
        return json_fail(&ev->json, given
                                        ? "this event has a time, earlier ones have none; give all of them one, or none"
                                        : "\"time\" is missing; earlier events have one");
    if (!given) *time_ns = ev->line;
    if (*time_ns == UINT64_MAX) return json_fail(&ev->json, "\"time\" is too large");
    if (*time_ns < ev->time_ns)
        return json_fail(&ev->json, "time runs backwards: %llu after %llu in line %llu", (unsigned long long)*time_ns,
                         (unsigned long long)ev->time_ns, (unsigned long long)ev->time_line);
    ev->time_ns = *time_ns;
    ev->time_line = ev->line;
    return true;
}

bool events_other_key_kind(struct events *ev, bool is_number) {
    if (ev->keys == KEYS_UNDECIDED) ev->keys = is_number ? KEYS_NUMBERS : KEYS_STRINGS;
    if ((ev->keys == KEYS_NUMBERS) == is_number) return true;
    return json_fail(&ev->json, "this key is %s, earlier ones are %s; are \"1\" and 1 the same key? Write one kind",
                     is_number ? "an integer" : "a string", is_number ? "strings" : "integers");
}

/* --- operations --------------------------------------------------------------------------------------------------- */

bool events_invoke(struct events *ev, const struct event *event, uint32_t *op) {
    struct history *h = ev->h;
    uint16_t f;
    struct process_state *state = state_of(ev, event->process);
    if (state->doing == PROCESS_OPEN)
        return json_fail(&ev->json, "process %u invokes again, but its operation of line %llu has not ended",
                         event->process, (unsigned long long)state->line);
    if (state->doing == PROCESS_RETIRED) return refuse_retired(ev, event->process, state);
    if (!function_of(ev, event->f, &f)) return false;
    if (event->intended_ns > event->time_ns) return json_fail(&ev->json, "\"intended\" is later than \"time\"");
    if (h->count == UINT32_MAX - 1) return json_fail(&ev->json, "more than 4294967294 operations");
    uint32_t key = event->key.data ? events_intern(ev, event->key) : NO_STRING;
    *op = history_invoke(h, event->time_ns, event->intended_ns, event->process, event->node, f, key, event->value);
    h->final_phase[*op] = event->final_phase;
    *state = (struct process_state){.op = *op, .doing = PROCESS_OPEN, .line = ev->line};
    bool other = ev->completed && ev->completion_ns == event->time_ns;
    if (other && (ev->completed_by_two || ev->completion_process != event->process)) ev->order_lost++;
    return true;
}

bool events_match(struct events *ev, const struct event *event, uint32_t *op) {
    const struct history *h = ev->h;
    const struct process_state *state = state_of(ev, event->process);
    if (state->doing == PROCESS_RETIRED) return refuse_retired(ev, event->process, state);
    if (state->doing != PROCESS_OPEN)
        return json_fail(&ev->json,
                         "process %u has no open operation that this %s could end; its invoke line is missing",
                         event->process, events_type_names[event->type]);
    *op = state->op;
    unsigned long long line = state->line;
    if (!function_is(ev, h->f[*op], event->f))
        return json_fail(&ev->json, "process %u ends \"%.*s\", but invoked \"%.100s\" in line %llu", event->process,
                         (int)(event->f.size < 100 ? event->f.size : 100), (const char *)event->f.data,
                         history_function_name(h, h->f[*op]), line);
    if (event->key.data && events_intern(ev, event->key) != h->key[*op])
        return json_fail(&ev->json, "process %u ends an operation on another key than it invoked in line %llu",
                         event->process, line);
    return true;
}

void events_complete(struct events *ev, const struct event *event, uint32_t op, struct value result, uint32_t error) {
    static const enum op_status statuses[] = {[EVENT_OK] = OP_OK, [EVENT_FAIL] = OP_FAIL, [EVENT_INFO] = OP_INFO};
    struct process_state *state = state_of(ev, event->process);
    history_complete(ev->h, op, event->time_ns, statuses[event->type], result, error);
    state->doing = event->type == EVENT_INFO ? PROCESS_RETIRED : PROCESS_IDLE;
    state->line = ev->line;
    bool tie = ev->completed && ev->completion_ns == event->time_ns;
    ev->completed_by_two = tie && (ev->completed_by_two || ev->completion_process != event->process);
    ev->completed = true;
    ev->completion_ns = event->time_ns;
    ev->completion_process = event->process;
}

/* --- faults ------------------------------------------------------------------------------------------------------- */

bool events_fault_start(struct events *ev, uint64_t number, struct fault_record record) {
    bool fresh = false;
    uint64_t *index = map64_put(&ev->faults, number, &fresh);
    if (!fresh) return json_fail(&ev->json, "fault %llu starts twice", (unsigned long long)number);
    *index = ev->h->faults_count;
    if (record.name == NO_STRING) return json_fail(&ev->json, "fault %llu has no name", (unsigned long long)number);
    history_fault_add(ev->h, record);
    return true;
}

bool events_fault_stop(struct events *ev, uint64_t number, uint64_t now_ns, uint64_t affected, uint64_t offered) {
    const uint64_t *index = map64_get(&ev->faults, number);
    if (!index) return json_fail(&ev->json, "fault %llu stops, but never started", (unsigned long long)number);
    if (ev->h->faults[*index].end_ns != UINT64_MAX)
        return json_fail(&ev->json, "fault %llu stops twice", (unsigned long long)number);
    history_fault_end(ev->h, (uint32_t)*index, now_ns, affected, offered);
    return true;
}
