/* JSON lines to a history (jsonl.h): one pass over the text. A line is first read into a struct line, quickly if it is
 * a usual one (jsonl_usual.c), else strictly, here; then its meaning goes to events.c. Keys that are seldom there, or
 * mean something on some lines only, are kept as raw JSON until they are needed. */
#include "history/jsonl.h"

#include <stdlib.h>

#include "history/import_internal.h"
#include "history/jsonl_internal.h"

static const struct bytes field_names[FIELD_COUNT] = {
#define NAMED(text)                                                                                                    \
    { (const uint8_t *)(text), sizeof(text) - 1 }
    [FIELD_PROCESS] = NAMED("process"), [FIELD_TYPE] = NAMED("type"),     [FIELD_F] = NAMED("f"),
    [FIELD_KEY] = NAMED("key"),         [FIELD_VALUE] = NAMED("value"),   [FIELD_TIME] = NAMED("time"),
    [FIELD_NODE] = NAMED("node"),       [FIELD_ERROR] = NAMED("error"),   [FIELD_INTENDED] = NAMED("intended"),
    [FIELD_FINAL] = NAMED("final"),     [FIELD_RESULT] = NAMED("result"), [FIELD_NAME] = NAMED("name"),
    [FIELD_FAULT] = NAMED("fault"),     [FIELD_COLOUR] = NAMED("colour"), [FIELD_AFFECTED] = NAMED("affected"),
    [FIELD_OFFERED] = NAMED("offered"), [FIELD_ROLE] = NAMED("role"),     [FIELD_TERM] = NAMED("term"),
#undef NAMED
};

bool jsonl_value_is_result(uint16_t f) {
    return f == OP_READ || f == OP_TXN || f >= OP_CUSTOM;
}

static bool has(const struct line *l, enum field field) {
    return l->seen >> field & 1;
}

static bool has_raw(const struct line *l) {
    return l->seen >> FIELD_RAW;
}

/* --- one line ----------------------------------------------------------------------------------------------------- */

enum field jsonl_field_of(struct bytes name) {
    for (enum field i = 0; i < FIELD_COUNT; i++)
        if (name.size == field_names[i].size && memcmp(name.data, field_names[i].data, name.size) == 0) return i;
    return FIELD_COUNT;
}

static bool read_process(struct json *j, struct line *l) {
    json_space(j);
    if (j->at < j->end && *j->at == '"') {
        struct bytes text;
        if (!json_string_token(j, &text)) return false;
        l->nemesis = bytes_equal(text, bytes_str("nemesis"));
        return l->nemesis ? true : json_fail(j, "process must be an integer or \"nemesis\"");
    }
    uint64_t number;
    if (!json_u64(j, &number)) return false;
    if (number > UINT32_MAX) return json_fail(j, "process does not fit 32 bits");
    l->event.process = (uint32_t)number;
    return true;
}

static bool read_type(struct json *j, struct line *l) {
    struct bytes text;
    if (!json_string_token(j, &text)) return false;
    for (uint32_t i = 0; i < 4; i++) {
        if (!bytes_equal(text, bytes_str(events_type_names[i]))) continue;
        l->event.type = (enum event_type)i;
        return true;
    }
    return json_fail(j, "type must be \"invoke\", \"ok\", \"fail\" or \"info\"");
}

static bool read_key(struct json *j, struct line *l) {
    json_space(j);
    if (j->at < j->end && *j->at == '"') return json_string_token(j, &l->event.key);
    struct bytes raw;
    if (!json_skip(j, &raw)) return false;
    if (raw.size == 4 && memcmp(raw.data, "null", 4) == 0) {
        l->seen &= ~(1u << FIELD_KEY);
        return true;
    }
    bool is_integer = raw.size < sizeof l->key_digits;
    for (size_t i = 0; i < raw.size; i++) {
        bool digit = raw.data[i] >= '0' && raw.data[i] <= '9';
        is_integer &= digit || (i == 0 && raw.data[i] == '-');
    }
    if (!is_integer) return json_fail(j, "key must be a string or an integer");
    memcpy(l->key_digits, raw.data, raw.size);
    l->event.key = bytes_of(l->key_digits, raw.size);
    l->key_is_number = true;
    return true;
}

static bool read_field(struct json *j, struct line *l, enum field field) {
    struct bytes ignored;
    if (field == FIELD_COUNT) return json_skip(j, &ignored);
    if (has(l, field)) return json_fail(j, "\"%s\" stands twice", (const char *)field_names[field].data);
    l->seen |= 1u << field;
    switch (field) {
    case FIELD_PROCESS: return read_process(j, l);
    case FIELD_TYPE: return read_type(j, l);
    case FIELD_F: return json_string_token(j, &l->event.f);
    case FIELD_KEY: return read_key(j, l);
    case FIELD_VALUE: return json_value(j, &l->event.value);
    case FIELD_TIME: return json_u64(j, &l->event.time_ns);
    default: return json_skip(j, &l->raw[field]);
    }
}

static bool read_line(struct json *j, struct line *l) {
    line_start(l);
    if (!json_take(j, '{'))
        return json_fail(j, "a line must be a JSON object: {\"process\":0,\"type\":\"invoke\",...}");
    if (json_take(j, '}')) return json_done(j);
    do {
        struct bytes name;
        if (!json_string_token(j, &name)) return false;
        if (!json_take(j, ':')) return json_expected(j, "':'");
        enum field field = jsonl_field_of(name);
        uint32_t already = l->seen;
        if (read_field(j, l, field)) continue;
        if (!j->ran_out && field < FIELD_COUNT && !(already >> field & 1)) {
            struct error why = j->why;
            json_fail(j, "\"%s\": %s", (const char *)field_names[field].data, why.text);
        }
        return false;
    } while (json_take(j, ','));
    return json_take(j, '}') ? json_done(j) : json_expected(j, "',' or '}'");
}

/* --- raw fields, read when they are needed ------------------------------------------------------------------------ */

/* Points the scanner at a field that has been skipped once, so it is sound JSON. */
static bool reread(struct events *ev, const struct line *l, enum field field) {
    if (!has(l, field)) return false;
    ev->json.at = l->raw[field].data;
    ev->json.end = l->raw[field].data + l->raw[field].size;
    return true;
}

static bool raw_u64(struct events *ev, const struct line *l, enum field field, uint64_t *out) {
    if (!reread(ev, l, field)) return true;
    if (json_u64(&ev->json, out)) return true;
    struct error why = ev->json.why;
    return json_fail(&ev->json, "\"%s\": %s", (const char *)field_names[field].data, why.text);
}

/* The interned text of a string; NO_STRING for null or nothing; for other JSON its text when `any` is set. */
static bool raw_text(struct events *ev, const struct line *l, enum field field, bool any, uint32_t *out) {
    *out = NO_STRING;
    if (!reread(ev, l, field) || *ev->json.at == 'n') return true;
    struct bytes text = l->raw[field];
    if (*ev->json.at == '"') {
        if (!json_string_token(&ev->json, &text)) return false;
    } else if (!any) {
        return json_fail(&ev->json, "\"%s\" must be a string", (const char *)field_names[field].data);
    }
    *out = history_intern_bytes(ev->h, text);
    return true;
}

static uint8_t raw_node(struct events *ev, const struct line *l) {
    struct bytes text;
    if (!reread(ev, l, FIELD_NODE) || *ev->json.at != '"' || !json_string_token(&ev->json, &text)) return NODE_UNKNOWN;
    return events_node(text);
}

/* --- events ------------------------------------------------------------------------------------------------------- */

static inline bool invoke(struct events *ev, struct line *l) {
    struct event *event = &l->event;
    uint32_t op;
    event->intended_ns = event->time_ns;
    event->node = NODE_UNKNOWN;
    event->final_phase = false;
    if (has_raw(l)) {
        if (!raw_u64(ev, l, FIELD_INTENDED, &event->intended_ns)) return false;
        event->node = raw_node(ev, l);
        event->final_phase = has(l, FIELD_FINAL) && l->raw[FIELD_FINAL].data[0] == 't';
    }
    return events_invoke(ev, event, &op);
}

static inline bool complete(struct events *ev, const struct line *l, uint32_t pool_count) {
    const struct event *event = &l->event;
    struct history *h = ev->h;
    struct value result = VALUE_OF_NIL;
    uint32_t op = 0, error = NO_STRING;
    if (!events_match(ev, event, &op)) return false;
    bool value_is_result = jsonl_value_is_result(h->f[op]);
    if (value_is_result && event->type == EVENT_OK) {
        result = event->value;
    } else {
        bool same = event->value.kind == VALUE_NIL || history_value_equal(h, event->value, h->argument[op]);
        if (!same && !value_is_result)
            return json_fail(&ev->json,
                             "the value is not the argument that process %u gave in line %llu; what came "
                             "back belongs into \"result\"",
                             event->process, (unsigned long long)events_line_of(ev, event->process));
        h->pool_count = pool_count; /* the argument's list came again: once is enough */
        if (has_raw(l) && reread(ev, l, FIELD_RESULT) && !json_value(&ev->json, &result)) return false;
    }
    if (has_raw(l) && !raw_text(ev, l, FIELD_ERROR, true, &error)) return false;
    events_complete(ev, event, op, result, error);
    return true;
}

static bool fault(struct events *ev, const struct line *l, bool start) {
    struct fault_record record = {.start_ns = l->event.time_ns, .end_ns = UINT64_MAX};
    uint64_t number = 0, affected = 0, offered = 0;
    if (!raw_u64(ev, l, FIELD_FAULT, &number)) return false;
    if (start) {
        if (!raw_text(ev, l, FIELD_NAME, false, &record.name) || !raw_text(ev, l, FIELD_COLOUR, false, &record.colour))
            return false;
        if (l->event.value.kind != VALUE_NIL && l->event.value.kind != VALUE_STRING)
            return json_fail(&ev->json, "the value of a fault must be a string");
        record.detail = l->event.value.kind == VALUE_STRING ? l->event.value.string : NO_STRING;
        return events_fault_start(ev, number, record);
    }
    if (!raw_u64(ev, l, FIELD_AFFECTED, &affected) || !raw_u64(ev, l, FIELD_OFFERED, &offered)) return false;
    return events_fault_stop(ev, number, l->event.time_ns, affected, offered);
}

static bool sample(struct events *ev, const struct line *l, uint8_t kind) {
    struct sample s = {.time_ns = l->event.time_ns, .kind = kind, .node = raw_node(ev, l), .text = NO_STRING};
    struct bytes role;
    if (!raw_u64(ev, l, FIELD_TERM, &s.term)) return false;
    if (reread(ev, l, FIELD_ROLE)) {
        if (!json_string_token(&ev->json, &role)) return json_fail(&ev->json, "\"role\" must be a string");
        int number = events_role(role);
        if (number < 0) return json_fail(&ev->json, "role must be \"follower\", \"candidate\" or \"leader\"");
        s.role = (uint8_t)number;
    }
    if (l->event.value.kind != VALUE_NIL && l->event.value.kind != VALUE_STRING)
        return json_fail(&ev->json, "the value of a sample must be a string");
    if (l->event.value.kind == VALUE_STRING) s.text = l->event.value.string;
    history_sample(ev->h, s);
    return true;
}

static bool nemesis(struct events *ev, const struct line *l) {
    bool start = bytes_equal(l->event.f, bytes_str("start"));
    if (has(l, FIELD_FAULT) && (start || bytes_equal(l->event.f, bytes_str("stop")))) return fault(ev, l, start);
    int kind = has(l, FIELD_TERM) ? events_sample_kind(l->event.f) : -1;
    return kind >= 0 ? sample(ev, l, (uint8_t)kind) : true;
}

/* What the line means. pool_count: of the history before the line was read. */
static inline bool understand(struct events *ev, struct line *l, uint32_t pool_count) {
    const uint32_t needed = 1u << FIELD_PROCESS | 1u << FIELD_TYPE | 1u << FIELD_F;
    if ((l->seen & needed) != needed) {
        enum field missing = (enum field)__builtin_ctz(needed & ~l->seen);
        return json_fail(&ev->json, "\"%s\" is missing", (const char *)field_names[missing].data);
    }
    if (ev->h->strings.count > UINT32_MAX - 8) return json_fail(&ev->json, "too many strings");
    if (!events_time(ev, has(l, FIELD_TIME), &l->event.time_ns)) return false;
    if (l->nemesis) return nemesis(ev, l);
    if (!has(l, FIELD_KEY))
        l->event.key.data = NULL;
    else if (!events_key_kind(ev, l->key_is_number))
        return false;
    return l->event.type == EVENT_INVOKE ? invoke(ev, l) : complete(ev, l, pool_count);
}

static bool import_line(struct events *ev, struct bytes text) {
    struct line l;
    uint32_t pool_count = ev->h->pool_count;
    json_start(&ev->json, text);
    return read_line(&ev->json, &l) && understand(ev, &l, pool_count);
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

/* Behind the last newline that has enough bytes behind it to look at: until there, jsonl_read_usual may go. */
static const uint8_t *usual_end(const struct text *t) {
    const size_t beyond = JSONL_USUAL_BEYOND;
    size_t size = (size_t)(t->end - t->at), look = size + t->slack;
    if (look <= beyond) return t->at;
    const uint8_t *newline = memrchr(t->at, '\n', look - beyond < size ? look - beyond : size);
    return newline ? newline + 1 : t->at;
}

/* Usual lines, as many as there are in a row. False: a line made no sense. */
static bool import_usual_lines(struct usual *u, struct events *ev, struct text *t) {
    const uint8_t *end = usual_end(t);
    struct line l;
    while (t->at < end) {
        uint32_t pool_count = ev->h->pool_count;
        ev->line++;
        ev->json.ran_out = false;
        const uint8_t *next = jsonl_read_usual(u, ev, t->at, &l);
        if (!next) {
            ev->h->pool_count = pool_count;
            ev->line--;
            return true;
        }
        if (!understand(ev, &l, pool_count)) return false;
        t->at = next;
    }
    return true;
}

static int refuse_line(const struct events *ev, const struct text *t, struct error *e) {
    return error_set(e, "%s:%llu: %s", t->name, (unsigned long long)ev->line, ev->json.why.text);
}

static int import_lines(struct events *ev, struct text *t, struct import_result *result, struct error *e) {
    struct bytes line;
    bool ended = false;
    int rc = 1;
    struct usual usual;
    jsonl_usual_start(&usual);
    while (rc > 0) {
        bool first = ev->line == 0;
        if (!import_usual_lines(&usual, ev, t)) return refuse_line(ev, t, e);
        if (first) text_reserve(t, ev->h);
        rc = text_line(t, &line, &ended, e);
        if (rc <= 0) break;
        ev->line++;
        if (text_is_blank(line) || import_line(ev, line)) continue;
        if (ended || !ev->json.ran_out) return refuse_line(ev, t, e);
        result->cut_short = true;
    }
    result->lines = ev->line;
    result->order_lost = ev->order_lost;
    return rc;
}

int jsonl_read(struct text *t, struct history *h, struct import_result *result, struct error *e) {
    struct events *ev = xmalloc(sizeof *ev);
    events_start(ev, h, EVENTS_TIMES);
    int rc = import_lines(ev, t, result, e);
    events_free(ev);
    free(ev);
    return rc;
}

static int jsonl_result_of(int rc, const struct import_result *from, struct jsonl_result *to) {
    if (to) *to = (struct jsonl_result){from->lines, from->cut_short, from->order_lost};
    return rc;
}

int jsonl_import(struct bytes text, const char *name, struct history *h, struct jsonl_result *result, struct error *e) {
    struct import_result r = {0};
    int rc = history_import(text, name, FORMAT_JSONL, h, &r, e);
    return jsonl_result_of(rc, &r, result);
}

int jsonl_import_file(const char *path, struct history *h, struct jsonl_result *result, struct error *e) {
    struct import_result r = {0};
    int rc = history_import_file(path, FORMAT_JSONL, h, &r, e);
    return jsonl_result_of(rc, &r, result);
}
