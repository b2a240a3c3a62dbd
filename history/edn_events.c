/* What an event of Jepsen's or Elle's means, once it is in fields of raw text (edn_internal.h): operations, faults and
 * notes. The order of the events is Jepsen's truth, so it counts, and times give way where they do not rise. */
#include <stdio.h>
#include <stdlib.h>

#include "history/edn_internal.h"
#include "history/jsonl.h"

const char *const edn_field_names[EDN_FIELDS] = {"process", "type",     "f",        "value", "time",   "index", "key",
                                                 "error",   "node",     "intended", "final", "result", "fault", "name",
                                                 "colour",  "affected", "offered",  "role",  "term"};

static bool given(const struct edn_importer *in, enum edn_field field) {
    return in->raw[field].data != NULL;
}

/* Points the scanner at a field; false without it, or where it is nil. */
static bool point_at(struct edn_importer *in, enum edn_field field) {
    struct bytes raw = in->raw[field];
    if (!raw.data || bytes_equal(raw, bytes_str("nil"))) return false;
    in->events.json.at = raw.data;
    in->events.json.end = raw.data + raw.size;
    return true;
}

static bool fail_field(struct edn_importer *in, enum edn_field field) {
    struct error why = in->events.json.why;
    return json_fail(&in->events.json, ":%s: %s", edn_field_names[field], why.text);
}

static bool number_of(struct edn_importer *in, enum edn_field field, uint64_t *out) {
    if (!point_at(in, field) || edn_u64(&in->events.json, out)) return true;
    return fail_field(in, field);
}

static bool name_of(struct edn_importer *in, enum edn_field field, struct bytes *out) {
    *out = bytes_of(NULL, 0);
    if (!point_at(in, field) || edn_name(&in->events.json, out)) return true;
    return fail_field(in, field);
}

/* A string's text, or any other form as it stands. */
static bool text_of(struct edn_importer *in, enum edn_field field, uint32_t *out) {
    struct bytes text = in->raw[field];
    *out = NO_STRING;
    if (!point_at(in, field)) return true;
    if ((*text.data == '"' || *text.data == ':') && !edn_name(&in->events.json, &text)) return fail_field(in, field);
    *out = history_intern_bytes(in->events.h, text);
    return true;
}

static bool value_of(struct edn_importer *in, enum edn_field field, struct value *out) {
    *out = VALUE_OF_NIL;
    if (!point_at(in, field) || edn_value(&in->events.json, &in->kinds, out)) return true;
    return fail_field(in, field);
}

static uint8_t node_of(struct edn_importer *in) {
    struct bytes name;
    return name_of(in, EDN_NODE, &name) && name.data ? events_node(name) : NODE_UNKNOWN;
}

/* --- operations --------------------------------------------------------------------------------------------------- */

static bool event_type_of(struct edn_importer *in, enum event_type *out) {
    struct bytes name;
    if (!name_of(in, EDN_TYPE, &name)) return false;
    for (uint32_t i = 0; i < 4 && name.data; i++) {
        if (!bytes_equal(name, bytes_str(events_type_names[i]))) continue;
        *out = (enum event_type)i;
        return true;
    }
    return json_fail(&in->events.json, ":type must be :invoke, :ok, :fail or :info");
}

/* A client's number; of an event without a process, a number of its own. */
static bool process_of(struct edn_importer *in, enum event_type type, uint32_t *out) {
    uint64_t number;
    if (point_at(in, EDN_PROCESS)) {
        if (!number_of(in, EDN_PROCESS, &number)) return false;
        if (number > UINT32_MAX) return json_fail(&in->events.json, ":process does not fit 32 bits");
        *out = (uint32_t)number;
        return true;
    }
    if (type == EVENT_INVOKE || in->nameless == UINT32_MAX) {
        if (in->nameless != UINT32_MAX)
            return json_fail(&in->events.json, ":process is missing, and an earlier event without one is still open");
        in->nameless = in->process_next++;
    }
    *out = in->nameless;
    if (type != EVENT_INVOKE) in->nameless = UINT32_MAX;
    return true;
}

static struct bytes function_renamed(const struct edn_importer *in, struct bytes f) {
    if (in->store && bytes_equal(f, bytes_str("get"))) return bytes_str("read");
    if (in->store && bytes_equal(f, bytes_str("put"))) return bytes_str("write");
    return f;
}

/* [[:append 1 2] [:r 1 nil]] */
static bool is_transaction(const struct history *h, struct value v) {
    for (uint32_t i = 0; v.kind == VALUE_LIST && i < v.size; i++) {
        struct value step = h->pool[v.first + i];
        if (step.kind != VALUE_LIST || step.size < 2 || h->pool[step.first].kind != VALUE_STRING) return false;
    }
    return v.kind == VALUE_LIST && v.size > 0;
}

/* [[:r 1 nil] [:w 2 3]]: also the value of a :read or a :write in Jepsen's long-fork. */
static bool is_micros(const struct history *h, struct value v) {
    if (!is_transaction(h, v)) return false;
    for (uint32_t i = 0; i < v.size; i++) {
        struct value step = h->pool[v.first + i];
        struct bytes f = history_text_bytes(h, h->pool[step.first].string);
        if (step.size != 3 || (!bytes_equal(f, bytes_str("r")) && !bytes_equal(f, bytes_str("w")))) return false;
    }
    return true;
}

static bool function_given(struct edn_importer *in, struct event *event) {
    if (!name_of(in, EDN_F, &event->f)) return false;
    event->f = event->f.data ? function_renamed(in, event->f) : bytes_str("txn");
    bool plain = bytes_equal(event->f, bytes_str("read")) || bytes_equal(event->f, bytes_str("write"));
    if (plain && is_micros(in->events.h, event->value)) event->f = bytes_str("txn");
    if (given(in, EDN_F) || is_transaction(in->events.h, event->value)) return true;
    return json_fail(&in->events.json, ":f is missing");
}

static bool key_given(struct edn_importer *in, struct event *event, char *digits, size_t digits_size) {
    struct value key;
    if (!value_of(in, EDN_KEY, &key) || key.kind == VALUE_NIL) return key.kind == VALUE_NIL;
    if (key.kind == VALUE_LIST) return json_fail(&in->events.json, ":key must be a name, a string or an integer");
    if (!events_key_kind(&in->events, key.kind == VALUE_INT)) return false;
    event->key = key.kind == VALUE_STRING
                     ? history_text_bytes(in->events.h, key.string)
                     : bytes_of(digits, (size_t)snprintf(digits, digits_size, "%lld", (long long)key.integer));
    return true;
}

static bool edn_invoke(struct edn_importer *in, struct event *event) {
    uint32_t op;
    event->intended_ns = event->time_ns;
    if (!number_of(in, EDN_INTENDED, &event->intended_ns)) return false;
    event->node = node_of(in);
    event->final_phase = bytes_equal(in->raw[EDN_FINAL], bytes_str("true"));
    if (in->unseen)
        return json_fail(&in->events.json, "an invocation, but earlier operations ended without one: is the beginning "
                                           "of the file missing?");
    in->invoked = true;
    return events_invoke(&in->events, event, &op);
}

/* Elle also takes histories of nothing but completions. When they began is not known: at the start, as far as anybody
 * can say, each by a process of its own. */
static bool invoke_unseen(struct edn_importer *in, struct event *event) {
    uint32_t op;
    struct event begin = *event;
    if (in->invoked || event->type == EVENT_INVOKE) return true;
    event->process = begin.process = in->process_next++;
    in->unseen = true;
    begin.type = EVENT_INVOKE;
    begin.node = NODE_UNKNOWN;
    begin.time_ns = begin.intended_ns = 0;
    return events_invoke(&in->events, &begin, &op);
}

static bool edn_complete(struct edn_importer *in, struct event *event, uint32_t pool_count) {
    struct history *h = in->events.h;
    struct value result = VALUE_OF_NIL;
    uint32_t op, error;
    if (!events_match(&in->events, event, &op)) return false;
    if (event->type == EVENT_OK && jsonl_value_is_result(h->f[op])) {
        result = event->value;
    } else if (h->f[op] == OP_CAS && event->type == EVENT_OK && bytes_equal(in->raw[EDN_VALUE], bytes_str("false"))) {
        event->type = EVENT_FAIL; /* it says that nothing was changed */
    } else if (event->type == EVENT_OK && !history_value_equal(h, event->value, h->argument[op])) {
        result = event->value;
    } else if (in->invoked) {
        h->pool_count = pool_count; /* the argument's list came again: once is enough */
    }
    if (given(in, EDN_RESULT) && !value_of(in, EDN_RESULT, &result)) return false;
    if (!text_of(in, EDN_ERROR, &error)) return false;
    events_complete(&in->events, event, op, result, error);
    return true;
}

/* --- what is not a client's --------------------------------------------------------------------------------------- */

static bool own_fault(struct edn_importer *in, uint64_t time_ns, bool start) {
    struct fault_record record = {.start_ns = time_ns, .end_ns = UINT64_MAX};
    uint64_t number = 0, affected = 0, offered = 0;
    if (!number_of(in, EDN_FAULT, &number)) return false;
    if (start)
        return text_of(in, EDN_NAME, &record.name) && text_of(in, EDN_VALUE, &record.detail) &&
               text_of(in, EDN_COLOUR, &record.colour) && events_fault_start(&in->events, number, record);
    return number_of(in, EDN_AFFECTED, &affected) && number_of(in, EDN_OFFERED, &offered) &&
           events_fault_stop(&in->events, number, time_ns, affected, offered);
}

static bool own_sample(struct edn_importer *in, uint64_t time_ns, int kind) {
    struct sample s = {.time_ns = time_ns, .kind = (uint8_t)kind, .node = node_of(in)};
    struct bytes role;
    if (!number_of(in, EDN_TERM, &s.term) || !text_of(in, EDN_VALUE, &s.text) || !name_of(in, EDN_ROLE, &role))
        return false;
    int number = role.data ? events_role(role) : 0;
    if (number < 0) return json_fail(&in->events.json, ":role must be :follower, :candidate or :leader");
    s.role = (uint8_t)number;
    history_sample(in->events.h, s);
    return true;
}

static bool begins(struct bytes text, const char *with, struct bytes *rest) {
    size_t size = strlen(with);
    if (text.size < size || memcmp(text.data, with, size) != 0) return false;
    *rest = bytes_of(text.data + size, text.size - size);
    return true;
}

/* Which fault an event of Jepsen's nemesis starts or stops: start and stop, start-partition and stop-partition, kill
 * and start, pause and resume. Empty if none. */
static struct bytes fault_named(const struct history *h, struct bytes f, bool *starts) {
    struct bytes rest;
    *starts = true;
    if (begins(f, "start-", &rest)) return rest;
    if (bytes_equal(f, bytes_str("kill")) || bytes_equal(f, bytes_str("pause"))) return f;
    bool start = bytes_equal(f, bytes_str("start"));
    *starts = false;
    if (begins(f, "stop-", &rest)) return rest;
    if (bytes_equal(f, bytes_str("resume"))) return bytes_str("pause");
    for (uint32_t i = h->faults_count; start && i-- > 0;)
        if (strcmp(history_text(h, h->faults[i].name), "kill") == 0 && h->faults[i].end_ns == UINT64_MAX)
            return bytes_str("kill");
    *starts = start;
    if (start || bytes_equal(f, bytes_str("stop"))) return bytes_str("nemesis");
    return bytes_of(NULL, 0);
}

/* Jepsen writes each action of a nemesis down twice, when it is asked for and when it is done. A fault lasts from the
 * first word of its start to the last of its stop, and has the detail that was said last. */
static bool foreign_fault(struct edn_importer *in, uint64_t time_ns, struct bytes name, bool starts) {
    struct history *h = in->events.h;
    uint32_t last = h->faults_count, detail;
    if (!text_of(in, EDN_VALUE, &detail)) return false;
    while (last > 0 && !bytes_equal(history_text_bytes(h, h->faults[last - 1].name), name)) last--;
    struct fault_record *fault = last > 0 ? &h->faults[last - 1] : NULL;
    bool open = fault && fault->end_ns == UINT64_MAX;
    if (!starts) {
        if (open || (fault && in->stopping == last)) fault->end_ns = time_ns;
        in->stopping = open ? last : UINT32_MAX;
        return true;
    }
    if (open) {
        if (detail != NO_STRING) fault->detail = detail;
        return true;
    }
    history_fault_add(h, (struct fault_record){.name = history_intern_bytes(h, name),
                                               .detail = detail,
                                               .colour = NO_STRING,
                                               .start_ns = time_ns,
                                               .end_ns = UINT64_MAX});
    return true;
}

static bool note(struct edn_importer *in, uint64_t time_ns, struct bytes f) {
    struct buffer text = {0};
    buffer_append(&text, f.data, f.size);
    if (point_at(in, EDN_VALUE)) {
        buffer_append(&text, " ", 1);
        buffer_append(&text, in->raw[EDN_VALUE].data, in->raw[EDN_VALUE].size);
    }
    uint32_t id = history_intern_bytes(in->events.h, bytes_of(text.data, text.size));
    buffer_free(&text);
    history_sample(in->events.h,
                   (struct sample){.time_ns = time_ns, .kind = SAMPLE_LOG, .node = NODE_UNKNOWN, .text = id});
    return true;
}

static bool nobodys(struct edn_importer *in, uint64_t time_ns) {
    struct bytes f;
    bool starts = false;
    if (!name_of(in, EDN_F, &f)) return false;
    if (!f.data) return true;
    bool start = bytes_equal(f, bytes_str("start"));
    if (given(in, EDN_FAULT) && (start || bytes_equal(f, bytes_str("stop")))) return own_fault(in, time_ns, start);
    int kind = given(in, EDN_TERM) ? events_sample_kind(f) : -1;
    if (kind >= 0) return own_sample(in, time_ns, kind);
    struct bytes name = fault_named(in->events.h, f, &starts);
    return name.size ? foreign_fault(in, time_ns, name, starts) : note(in, time_ns, f);
}

/* --- an event ----------------------------------------------------------------------------------------------------- */

/* A process that is no number is a nemesis, or some other part of the test. */
static bool is_client(const struct edn_importer *in) {
    struct bytes raw = in->raw[EDN_PROCESS];
    if (!raw.data) return true;
    return (*raw.data >= '0' && *raw.data <= '9') || *raw.data == '-' || bytes_equal(raw, bytes_str("nil"));
}

static bool time_and_index(struct edn_importer *in, uint64_t *time_ns) {
    uint64_t index = in->index_next;
    if (!number_of(in, EDN_INDEX, &index)) return false;
    if (index < in->index_next)
        return json_fail(&in->events.json, ":index runs backwards: the events are not in their order");
    in->index_next = index + (given(in, EDN_INDEX) ? 1 : 0);
    bool has_time = point_at(in, EDN_TIME);
    *time_ns = 0;
    if (has_time && *in->raw[EDN_TIME].data == '-') has_time = false; /* Jepsen's -1: not known */
    if (has_time && !number_of(in, EDN_TIME, time_ns)) return false;
    return events_time(&in->events, has_time, time_ns);
}

bool edn_understand(struct edn_importer *in) {
    struct event event = {0};
    struct history *h = in->events.h;
    uint32_t pool_count = h->pool_count;
    char digits[24];
    if (h->strings.count > UINT32_MAX - 64) return json_fail(&in->events.json, "too many strings");
    if (!event_type_of(in, &event.type) || !time_and_index(in, &event.time_ns)) return false;
    if (!is_client(in)) return nobodys(in, event.time_ns);
    if (!value_of(in, EDN_VALUE, &event.value) || !function_given(in, &event)) return false;
    if (!key_given(in, &event, digits, sizeof digits) || !process_of(in, event.type, &event.process)) return false;
    if (!invoke_unseen(in, &event)) return false;
    return event.type == EVENT_INVOKE ? edn_invoke(in, &event) : edn_complete(in, &event, pool_count);
}

/* --- values of [key value] ---------------------------------------------------------------------------------------- */

static bool is_pair(const struct history *h, struct value v) {
    return v.kind == VALUE_LIST && v.size == 2 &&
           (h->pool[v.first].kind == VALUE_INT || h->pool[v.first].kind == VALUE_STRING);
}

/* Jepsen lifts a test to many keys by making every value [key value] (jepsen.independent). A file does not say so, but
 * a read that asks for [key nil] does, or a cas with [key [old new]]: if there is one, and all values are pairs. */
static bool values_are_keyed(const struct history *h) {
    bool certain = false;
    for (uint32_t op = 0; op < h->count; op++) {
        if (h->key[op] != NO_STRING || !is_pair(h, h->argument[op])) return false;
        struct value second = h->pool[h->argument[op].first + 1];
        if (h->f[op] == OP_READ && second.kind == VALUE_NIL) certain = true;
        if (h->f[op] == OP_CAS && second.kind == VALUE_LIST && second.size == 2) certain = true;
        if (h->f[op] == OP_TXN && is_transaction(h, second)) certain = true;
    }
    return certain;
}

static int split_values(struct edn_importer *in, const char *name, struct error *e) {
    struct history *h = in->events.h;
    char digits[24];
    for (uint32_t op = 0; op < h->count; op++) {
        if (!is_pair(h, h->argument[op])) continue;
        struct value key = h->pool[h->argument[op].first], result = h->result[op];
        if (!events_key_kind(&in->events, key.kind == VALUE_INT))
            return error_set(e, "%s: keys are integers here and names there; are \"1\" and 1 the same key?", name);
        bool paired = is_pair(h, result) && history_value_equal(h, h->pool[result.first], key);
        h->argument[op] = h->pool[h->argument[op].first + 1];
        if (paired) h->result[op] = h->pool[result.first + 1];
        if (key.kind == VALUE_STRING) {
            h->key[op] = key.string;
        } else {
            int size = snprintf(digits, sizeof digits, "%lld", (long long)key.integer);
            h->key[op] = events_intern(&in->events, bytes_of(digits, (size_t)size));
        }
    }
    return 0;
}

int edn_split_keys(struct edn_importer *in, const char *name, struct error *e) {
    bool keyed = in->marked ? in->keyed : !in->store && values_are_keyed(in->events.h);
    return keyed ? split_values(in, name, e) : 0;
}

void edn_importer_start(struct edn_importer *in, struct history *h) {
    memset(in, 0, sizeof *in);
    in->nameless = in->stopping = UINT32_MAX;
    events_start(&in->events, h, EVENTS_ORDER);
}

void edn_importer_free(struct edn_importer *in) {
    events_free(&in->events);
    free(in->kinds.of);
}
