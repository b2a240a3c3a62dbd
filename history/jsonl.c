/* JSON lines to a history (jsonl.h): one pass over the text. A line is first read into a struct line, then its meaning
 * is checked against what its process did before. Keys that are seldom there, or mean something on some lines only,
 * are kept as raw JSON until they are needed. */
#include "history/jsonl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "history/json_internal.h"

enum field {
    FIELD_PROCESS,
    FIELD_TYPE,
    FIELD_F,
    FIELD_KEY,
    FIELD_VALUE,
    FIELD_TIME,
    FIELD_RAW, /* from here on: kept as raw JSON */
    FIELD_NODE = FIELD_RAW,
    FIELD_ERROR,
    FIELD_INTENDED,
    FIELD_FINAL,
    FIELD_RESULT,
    FIELD_NAME,
    FIELD_FAULT,
    FIELD_COLOUR,
    FIELD_AFFECTED,
    FIELD_OFFERED,
    FIELD_ROLE,
    FIELD_TERM,
    FIELD_COUNT,
};

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

enum line_type { LINE_INVOKE, LINE_OK, LINE_FAIL, LINE_INFO };

struct line {
    uint32_t seen; /* a bit for each enum field */
    bool nemesis, key_is_number;
    enum line_type type;
    uint32_t process;
    struct bytes f, key;
    struct value value;
    uint64_t time_ns;
    struct bytes raw[FIELD_COUNT];
    char key_digits[24];
};

/* What a process is doing, packed into its word of the map: a state and the operation it is about. */
enum process_state { PROCESS_IDLE, PROCESS_OPEN, PROCESS_RETIRED };

struct importer {
    struct json json; /* scans the line; its strings and lists go to the history */
    struct history *h;
    const char *name;
    uint64_t line_number;
    struct map64 processes; /* process -> operation << 2 | enum process_state */
    uint64_t *lines;        /* of each operation: where it was invoked, then where it ended */
    uint32_t lines_capacity;
    struct map64 faults; /* number in the file -> index in the history */
    enum { TIMES_UNDECIDED, TIMES_GIVEN, TIMES_ABSENT } times;
    enum { KEYS_UNDECIDED, KEYS_STRINGS, KEYS_NUMBERS } keys;
    uint64_t time_ns, time_line;      /* the last event's */
    uint64_t completion_ns;           /* the last completion's time, */
    uint32_t completion_process;      /* its process, */
    bool completed, completed_by_two; /* whether there was one, and others' of the same time */
    uint64_t order_lost;
};

bool jsonl_value_is_result(uint16_t f) {
    return f == OP_READ || f == OP_TXN || f >= OP_CUSTOM;
}

static bool has(const struct line *l, enum field field) {
    return l->seen >> field & 1;
}

/* --- one line ----------------------------------------------------------------------------------------------------- */

static enum field field_of(struct bytes name) {
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
    l->process = (uint32_t)number;
    return true;
}

static bool read_type(struct json *j, struct line *l) {
    static const char *const names[] = {"invoke", "ok", "fail", "info"};
    struct bytes text;
    if (!json_string_token(j, &text)) return false;
    for (uint32_t i = 0; i < 4; i++) {
        if (!bytes_equal(text, bytes_str(names[i]))) continue;
        l->type = (enum line_type)i;
        return true;
    }
    return json_fail(j, "type must be \"invoke\", \"ok\", \"fail\" or \"info\"");
}

static bool read_key(struct json *j, struct line *l) {
    json_space(j);
    if (j->at < j->end && *j->at == '"') return json_string_token(j, &l->key);
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
    l->key = bytes_of(l->key_digits, raw.size);
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
    case FIELD_F: return json_string_token(j, &l->f);
    case FIELD_KEY: return read_key(j, l);
    case FIELD_VALUE: return json_value(j, &l->value);
    case FIELD_TIME: return json_u64(j, &l->time_ns);
    default: return json_skip(j, &l->raw[field]);
    }
}

static bool read_line(struct json *j, struct line *l) {
    l->seen = 0;
    l->nemesis = l->key_is_number = false;
    l->value = VALUE_OF_NIL;
    if (!json_take(j, '{'))
        return json_fail(j, "a line must be a JSON object: {\"process\":0,\"type\":\"invoke\",...}");
    if (json_take(j, '}')) return json_done(j);
    do {
        struct bytes name;
        if (!json_string_token(j, &name)) return false;
        if (!json_take(j, ':')) return json_expected(j, "':'");
        enum field field = field_of(name);
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
static bool reread(struct importer *in, const struct line *l, enum field field) {
    if (!has(l, field)) return false;
    in->json.at = l->raw[field].data;
    in->json.end = l->raw[field].data + l->raw[field].size;
    return true;
}

static bool raw_u64(struct importer *in, const struct line *l, enum field field, uint64_t *out) {
    if (!reread(in, l, field)) return true;
    if (json_u64(&in->json, out)) return true;
    struct error why = in->json.why;
    return json_fail(&in->json, "\"%s\": %s", (const char *)field_names[field].data, why.text);
}

/* The interned text of a string; NO_STRING for null or nothing; for other JSON its text when `any` is set. */
static bool raw_text(struct importer *in, const struct line *l, enum field field, bool any, uint32_t *out) {
    *out = NO_STRING;
    if (!reread(in, l, field) || *in->json.at == 'n') return true;
    struct bytes text = l->raw[field];
    if (*in->json.at == '"') {
        if (!json_string_token(&in->json, &text)) return false;
    } else if (!any) {
        return json_fail(&in->json, "\"%s\" must be a string", (const char *)field_names[field].data);
    }
    *out = history_intern_bytes(in->h, text);
    return true;
}

/* "n1" is node 0. Other names are some other system's: no number stands for them. */
static uint8_t raw_node(struct importer *in, const struct line *l) {
    struct bytes text;
    uint32_t number = 0;
    if (!reread(in, l, FIELD_NODE) || *in->json.at != '"' || !json_string_token(&in->json, &text)) return NODE_UNKNOWN;
    if (text.size < 2 || text.size > 4 || text.data[0] != 'n' || text.data[1] == '0') return NODE_UNKNOWN;
    for (size_t i = 1; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return NODE_UNKNOWN;
        number = number * 10 + (uint32_t)(text.data[i] - '0');
    }
    return number <= NODE_UNKNOWN ? (uint8_t)(number - 1) : NODE_UNKNOWN;
}

/* --- operations --------------------------------------------------------------------------------------------------- */

static bool function_of(struct importer *in, struct bytes name, uint16_t *out) {
    for (uint16_t f = 0; f < OP_CUSTOM; f++) {
        *out = f;
        if (bytes_equal(name, bytes_str(history_function_name(in->h, f)))) return true;
    }
    if (name.size == 0 || memchr(name.data, 0, name.size)) return json_fail(&in->json, "f must be a name");
    *out = history_function(in->h, history_text(in->h, history_intern_bytes(in->h, name)));
    return *out != FUNCTION_NONE ? true : json_fail(&in->json, "more than 256 kinds of functions");
}

static bool function_is(const struct history *h, uint16_t f, struct bytes name) {
    return bytes_equal(name, bytes_str(history_function_name(h, f)));
}

static bool check_key_kind(struct importer *in, const struct line *l) {
    if (!has(l, FIELD_KEY)) return true;
    if (in->keys == KEYS_UNDECIDED) in->keys = l->key_is_number ? KEYS_NUMBERS : KEYS_STRINGS;
    if ((in->keys == KEYS_NUMBERS) == l->key_is_number) return true;
    return json_fail(&in->json, "this key is %s, earlier ones are %s; are \"1\" and 1 the same key? Write one kind",
                     l->key_is_number ? "an integer" : "a string", l->key_is_number ? "strings" : "integers");
}

static bool invoke(struct importer *in, const struct line *l, uint64_t *state) {
    struct history *h = in->h;
    uint16_t f;
    uint64_t intended_ns = l->time_ns;
    if ((*state & 3) == PROCESS_OPEN)
        return json_fail(&in->json, "process %u invokes again, but its operation of line %llu has not ended",
                         l->process, (unsigned long long)in->lines[*state >> 2]);
    if ((*state & 3) == PROCESS_RETIRED)
        return json_fail(&in->json,
                         "process %u acts again after the info of line %llu; a client goes on under a new "
                         "process number",
                         l->process, (unsigned long long)in->lines[*state >> 2]);
    if (!function_of(in, l->f, &f) || !raw_u64(in, l, FIELD_INTENDED, &intended_ns)) return false;
    if (intended_ns > l->time_ns) return json_fail(&in->json, "\"intended\" is later than \"time\"");
    if (h->count == UINT32_MAX - 1) return json_fail(&in->json, "more than 4294967294 operations");
    uint32_t key = has(l, FIELD_KEY) ? history_intern_bytes(h, l->key) : NO_STRING;
    uint32_t op = history_invoke(h, l->time_ns, intended_ns, l->process, raw_node(in, l), f, key, l->value);
    h->final_phase[op] = has(l, FIELD_FINAL) && l->raw[FIELD_FINAL].data[0] == 't';
    if (h->capacity != in->lines_capacity) {
        in->lines_capacity = h->capacity;
        in->lines = xrealloc(in->lines, h->capacity * sizeof *in->lines);
    }
    in->lines[op] = in->line_number;
    *state = (uint64_t)op << 2 | PROCESS_OPEN;
    bool other = in->completed && in->completion_ns == l->time_ns;
    if (other && (in->completed_by_two || in->completion_process != l->process)) in->order_lost++;
    return true;
}

/* The operation of a completion, if the line fits its invocation. */
static bool match(struct importer *in, const struct line *l, uint64_t state, uint32_t *op) {
    const struct history *h = in->h;
    static const char *const names[] = {"invoke", "ok", "fail", "info"};
    if ((state & 3) == PROCESS_RETIRED)
        return json_fail(&in->json,
                         "process %u acts again after the info of line %llu; a client goes on under a new "
                         "process number",
                         l->process, (unsigned long long)in->lines[state >> 2]);
    if ((state & 3) != PROCESS_OPEN)
        return json_fail(&in->json,
                         "process %u has no open operation that this %s could end; its invoke line is "
                         "missing",
                         l->process, names[l->type]);
    *op = (uint32_t)(state >> 2);
    unsigned long long line = in->lines[*op];
    if (!function_is(h, h->f[*op], l->f))
        return json_fail(&in->json, "process %u ends \"%.*s\", but invoked \"%.100s\" in line %llu", l->process,
                         (int)(l->f.size < 100 ? l->f.size : 100), (const char *)l->f.data,
                         history_function_name(h, h->f[*op]), line);
    if (!has(l, FIELD_KEY)) return true;
    if (h->key[*op] == NO_STRING || !bytes_equal(l->key, history_text_bytes(h, h->key[*op])))
        return json_fail(&in->json, "process %u ends an operation on another key than it invoked in line %llu",
                         l->process, line);
    return true;
}

static bool complete(struct importer *in, const struct line *l, uint64_t *state, uint32_t pool_count) {
    static const enum op_status statuses[] = {[LINE_OK] = OP_OK, [LINE_FAIL] = OP_FAIL, [LINE_INFO] = OP_INFO};
    struct history *h = in->h;
    struct value result = VALUE_OF_NIL;
    uint32_t op = 0, error;
    if (!match(in, l, *state, &op)) return false;
    bool value_is_result = jsonl_value_is_result(h->f[op]);
    if (value_is_result && l->type == LINE_OK) {
        result = l->value;
    } else {
        bool same = l->value.kind == VALUE_NIL || history_value_equal(h, l->value, h->argument[op]);
        if (!same && !value_is_result)
            return json_fail(&in->json,
                             "the value is not the argument that process %u gave in line %llu; what came "
                             "back belongs into \"result\"",
                             l->process, (unsigned long long)in->lines[op]);
        h->pool_count = pool_count; /* the argument's list came again: once is enough */
        if (reread(in, l, FIELD_RESULT) && !json_value(&in->json, &result)) return false;
    }
    if (!raw_text(in, l, FIELD_ERROR, true, &error)) return false;
    history_complete(h, op, l->time_ns, statuses[l->type], result, error);
    in->lines[op] = in->line_number;
    *state = (uint64_t)op << 2 | (l->type == LINE_INFO ? PROCESS_RETIRED : PROCESS_IDLE);
    bool tie = in->completed && in->completion_ns == l->time_ns;
    in->completed_by_two = tie && (in->completed_by_two || in->completion_process != l->process);
    in->completed = true;
    in->completion_ns = l->time_ns;
    in->completion_process = l->process;
    return true;
}

/* --- faults and samples ------------------------------------------------------------------------------------------- */

static bool fault(struct importer *in, const struct line *l, bool start) {
    struct history *h = in->h;
    struct fault_record record = {.start_ns = l->time_ns, .end_ns = UINT64_MAX};
    uint64_t number = 0;
    bool fresh = false;
    if (!raw_u64(in, l, FIELD_FAULT, &number)) return false;
    uint64_t *index = start ? map64_put(&in->faults, number, &fresh) : map64_get(&in->faults, number);
    if (start) {
        if (!fresh) return json_fail(&in->json, "fault %llu starts twice", (unsigned long long)number);
        *index = h->faults_count;
        if (!raw_text(in, l, FIELD_NAME, false, &record.name) || !raw_text(in, l, FIELD_COLOUR, false, &record.colour))
            return false;
        if (record.name == NO_STRING) return json_fail(&in->json, "fault %llu has no name", (unsigned long long)number);
        if (l->value.kind != VALUE_NIL && l->value.kind != VALUE_STRING)
            return json_fail(&in->json, "the value of a fault must be a string");
        record.detail = l->value.kind == VALUE_STRING ? l->value.string : NO_STRING;
        history_fault_add(h, record);
        return true;
    }
    if (!index) return json_fail(&in->json, "fault %llu stops, but never started", (unsigned long long)number);
    if (h->faults[*index].end_ns != UINT64_MAX)
        return json_fail(&in->json, "fault %llu stops twice", (unsigned long long)number);
    uint64_t affected = 0, offered = 0;
    if (!raw_u64(in, l, FIELD_AFFECTED, &affected) || !raw_u64(in, l, FIELD_OFFERED, &offered)) return false;
    history_fault_end(h, (uint32_t)*index, l->time_ns, affected, offered);
    return true;
}

static bool sample(struct importer *in, const struct line *l, uint8_t kind) {
    static const char *const roles[] = {"follower", "candidate", "leader"};
    struct sample s = {.time_ns = l->time_ns, .kind = kind, .node = raw_node(in, l), .text = NO_STRING};
    struct bytes role;
    if (!raw_u64(in, l, FIELD_TERM, &s.term)) return false;
    if (reread(in, l, FIELD_ROLE)) {
        if (!json_string_token(&in->json, &role)) return json_fail(&in->json, "\"role\" must be a string");
        while (s.role < 3 && !bytes_equal(role, bytes_str(roles[s.role]))) s.role++;
        if (s.role == 3) return json_fail(&in->json, "role must be \"follower\", \"candidate\" or \"leader\"");
    }
    if (l->value.kind != VALUE_NIL && l->value.kind != VALUE_STRING)
        return json_fail(&in->json, "the value of a sample must be a string");
    if (l->value.kind == VALUE_STRING) s.text = l->value.string;
    history_sample(in->h, s);
    return true;
}

static bool nemesis(struct importer *in, const struct line *l) {
    static const char *const samples[] = {"role", "node-down", "node-up", "log"};
    bool start = bytes_equal(l->f, bytes_str("start"));
    if (has(l, FIELD_FAULT) && (start || bytes_equal(l->f, bytes_str("stop")))) return fault(in, l, start);
    for (uint8_t kind = 0; kind < 4; kind++)
        if (has(l, FIELD_TERM) && bytes_equal(l->f, bytes_str(samples[kind]))) return sample(in, l, kind);
    return true;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static bool check_time(struct importer *in, struct line *l) {
    bool given = has(l, FIELD_TIME);
    if (in->times == TIMES_UNDECIDED) in->times = given ? TIMES_GIVEN : TIMES_ABSENT;
    if (given != (in->times == TIMES_GIVEN))
        return json_fail(&in->json, given
                                        ? "this event has a time, earlier ones have none; give all of them one, or none"
                                        : "\"time\" is missing; earlier events have one");
    if (!given) l->time_ns = in->line_number;
    if (l->time_ns == UINT64_MAX) return json_fail(&in->json, "\"time\" is too large");
    if (l->time_ns < in->time_ns)
        return json_fail(&in->json, "time runs backwards: %llu after %llu in line %llu", (unsigned long long)l->time_ns,
                         (unsigned long long)in->time_ns, (unsigned long long)in->time_line);
    in->time_ns = l->time_ns;
    in->time_line = in->line_number;
    return true;
}

static bool import_line(struct importer *in, struct bytes text) {
    struct line l;
    uint32_t pool_count = in->h->pool_count;
    json_start(&in->json, text);
    if (!read_line(&in->json, &l)) return false;
    for (enum field i = FIELD_PROCESS; i <= FIELD_F; i++)
        if (!has(&l, i)) return json_fail(&in->json, "\"%s\" is missing", (const char *)field_names[i].data);
    if (in->h->strings.count > UINT32_MAX - 8) return json_fail(&in->json, "too many strings");
    if (!check_time(in, &l)) return false;
    if (l.nemesis) return nemesis(in, &l);
    if (!check_key_kind(in, &l)) return false;
    uint64_t *state = map64_put(&in->processes, l.process, NULL);
    return l.type == LINE_INVOKE ? invoke(in, &l, state) : complete(in, &l, state, pool_count);
}

static bool blank(struct bytes line) {
    for (size_t i = 0; i < line.size; i++)
        if (!memchr(" \t\r", line.data[i], 3)) return false;
    return true;
}

static int import_lines(struct importer *in, struct bytes text, struct jsonl_result *result, struct error *e) {
    const uint8_t *at = text.data, *end = at + text.size;
    if (text.size >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0) at += 3; /* a byte order mark */
    while (at < end) {
        const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
        struct bytes line = bytes_of(at, (size_t)((newline ? newline : end) - at));
        in->line_number++;
        at = newline ? newline + 1 : end;
        if (blank(line) || import_line(in, line)) continue;
        if (newline || !in->json.ran_out)
            return error_set(e, "%s:%llu: %s", in->name, (unsigned long long)in->line_number, in->json.why.text);
        result->cut_short = true;
    }
    result->lines = in->line_number;
    result->order_lost = in->order_lost;
    return 0;
}

int jsonl_import(struct bytes text, const char *name, struct history *h, struct jsonl_result *result, struct error *e) {
    struct importer in = {.json = {.h = h}, .h = h, .name = name};
    struct jsonl_result unused;
    if (!result) result = &unused;
    *result = (struct jsonl_result){0};
    history_clear(h);
    int rc = text.size ? import_lines(&in, text, result, e) : 0;
    json_free(&in.json);
    map64_free(&in.processes);
    map64_free(&in.faults);
    free(in.lines);
    return rc;
}

static int read_all(int fd, const char *path, struct buffer *text, struct error *e) {
    struct stat about;
    if (fstat(fd, &about)) return error_set(e, "cannot read %s: %s", path, strerror(errno));
    if (S_ISREG(about.st_mode) && about.st_size > 0) buffer_reserve(text, (size_t)about.st_size + 1);
    for (;;) {
        buffer_reserve(text, 1 << 16);
        ssize_t n = read(fd, text->data + text->size, text->capacity - text->size);
        if (n == 0) return 0;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set(e, "cannot read %s: %s", path, strerror(errno));
        text->size += (size_t)n;
    }
}

int jsonl_import_file(const char *path, struct history *h, struct jsonl_result *result, struct error *e) {
    struct buffer text = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return error_set(e, "cannot open %s: %s", path, strerror(errno));
    int rc = read_all(fd, path, &text, e);
    close(fd);
    if (rc == 0) rc = jsonl_import(bytes_of(text.data, text.size), path, h, result, e);
    buffer_free(&text);
    return rc;
}
