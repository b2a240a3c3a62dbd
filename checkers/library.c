/* libharrow-check's public face (harrow-check.h): handles around a history and a result, and errors that stay with the
 * history. Nothing is decided here. */
#include "checkers/harrow-check.h"

#include <stdlib.h>

#include "checkers/internal.h"
#include "checkers/transactions/transactions.h"
#include "history/import.h"

struct harrow_history {
    struct history *columns;
    struct import_result import;
    bool imported;
    struct map64 process_state; /* of operations recorded by hand: process -> PROCESS_... or 1 + its open operation */
    uint64_t time_ns;
    struct error error;
    struct buffer described; /* the last operation asked about */
};
struct harrow_result {
    struct check_result result;
};

#define PROCESS_IDLE UINT64_MAX /* a slot that map64_put has just made is 0 */
#define PROCESS_RETIRED (UINT64_MAX - 1)

const char *harrow_check_version(void) {
    return HARROW_CHECK_VERSION;
}

/* --- histories ---------------------------------------------------------------------------------------------------- */

harrow_history *harrow_history_new(void) {
    harrow_history *h = xcalloc(1, sizeof *h);
    h->columns = history_new();
    return h;
}

void harrow_history_free(harrow_history *h) {
    if (!h) return;
    history_free(h->columns);
    map64_free(&h->process_state);
    buffer_free(&h->described);
    free(h);
}

struct history *library_history(harrow_history *h) {
    return h->columns;
}

const char *harrow_history_error(const harrow_history *h) {
    return h->error.text;
}

static void clear(harrow_history *h) {
    history_clear(h->columns);
    map64_clear(&h->process_state);
    h->import = (struct import_result){0};
    h->imported = false;
    h->time_ns = 0;
}

static int format_of(harrow_history *h, const char *name, enum history_format *format) {
    *format = FORMAT_GUESS;
    if (!name || history_format_find(name, format)) return 0;
    return error_set(&h->error, "there is no format \"%s\"", name);
}

/* After an import: its processes go on where they are. */
static int imported(harrow_history *h, int failed) {
    if (failed) {
        history_free(h->columns); /* in no specified state */
        h->columns = history_new();
        clear(h);
        return -1;
    }
    const struct history *c = h->columns;
    for (uint32_t op = 0; op < c->count; op++) {
        uint64_t *state = map64_put(&h->process_state, c->process[op], NULL), end_ns = c->invoke_ns[op];
        *state = c->status[op] == OP_PENDING ? (uint64_t)op + 1
                 : c->status[op] == OP_INFO  ? PROCESS_RETIRED
                                             : PROCESS_IDLE;
        if (c->status[op] != OP_PENDING && c->complete_ns[op] > end_ns) end_ns = c->complete_ns[op];
        if (end_ns > h->time_ns) h->time_ns = end_ns;
    }
    h->imported = true;
    return 0;
}

int harrow_history_import_file(harrow_history *h, const char *path, const char *format_name) {
    enum history_format format;
    clear(h);
    if (format_of(h, format_name, &format)) return -1;
    return imported(h, history_import_file(path, format, h->columns, &h->import, &h->error));
}

int harrow_history_import(harrow_history *h, const void *data, size_t size_bytes, const char *format_name) {
    enum history_format format;
    clear(h);
    if (format_of(h, format_name, &format)) return -1;
    struct bytes text = bytes_of(data, size_bytes);
    return imported(h, history_import(text, "history", format, h->columns, &h->import, &h->error));
}

const char *harrow_history_format(const harrow_history *h) {
    return h->imported ? history_format_name(h->import.format) : "";
}

int harrow_history_cut_short(const harrow_history *h) {
    return h->import.cut_short;
}

uint64_t harrow_history_order_lost(const harrow_history *h) {
    return h->import.order_lost;
}

uint32_t harrow_history_count(const harrow_history *h) {
    return h->columns->count;
}

/* --- operations by hand ------------------------------------------------------------------------------------------- */

static int take_time(harrow_history *h, uint64_t time_ns) {
    if (time_ns == UINT64_MAX) return error_set(&h->error, "the time is too large");
    if (time_ns < h->time_ns)
        return error_set(&h->error, "time runs backwards: %llu after %llu", (unsigned long long)time_ns,
                         (unsigned long long)h->time_ns);
    return 0;
}

static int take_value(harrow_history *h, const char *json, struct value *out) {
    *out = VALUE_OF_NIL;
    return json ? history_value_parse(h->columns, bytes_str(json), out, &h->error) : 0;
}

int64_t harrow_history_invoke(harrow_history *h, uint64_t time_ns, uint32_t process, const char *function,
                              const char *key, const char *argument) {
    struct value value;
    const uint64_t *state = map64_get(&h->process_state, process);
    if (state && *state == PROCESS_RETIRED) return error_set(&h->error, "process %u acts again after an info", process);
    if (state && *state != PROCESS_IDLE)
        return error_set(&h->error, "process %u acts while its operation %llu is open", process,
                         (unsigned long long)(*state - 1));
    if (take_time(h, time_ns) || take_value(h, argument, &value)) return -1;
    uint16_t f = function && *function ? history_function(h->columns, function) : FUNCTION_NONE;
    if (f == FUNCTION_NONE) return error_set(&h->error, "no function, or more than 256 kinds of them");
    uint32_t id = key ? history_intern(h->columns, key) : NO_STRING;
    uint32_t op = history_invoke(h->columns, time_ns, time_ns, process, NODE_UNKNOWN, f, id, value);
    *map64_put(&h->process_state, process, NULL) = (uint64_t)op + 1;
    h->time_ns = time_ns;
    return op;
}

static int status_of(harrow_history *h, const char *name, enum op_status *status) {
    static const char *const names[] = {[OP_OK] = "ok", [OP_FAIL] = "fail", [OP_INFO] = "info"};
    for (*status = OP_OK; *status <= OP_INFO; (*status)++)
        if (name && strcmp(name, names[*status]) == 0) return 0;
    return error_set(&h->error, "a status is \"ok\", \"fail\" or \"info\", not \"%s\"", name ? name : "NULL");
}

int harrow_history_complete(harrow_history *h, uint64_t time_ns, int64_t operation, const char *status_name,
                            const char *result) {
    enum op_status status;
    struct value value;
    struct history *c = h->columns;
    if (operation < 0 || operation >= c->count || c->status[operation] != OP_PENDING)
        return error_set(&h->error, "there is no open operation %lld", (long long)operation);
    if (status_of(h, status_name, &status) || take_time(h, time_ns) || take_value(h, result, &value)) return -1;
    uint32_t op = (uint32_t)operation;
    history_complete(c, op, time_ns, status, value, NO_STRING);
    *map64_put(&h->process_state, c->process[op], NULL) = status == OP_INFO ? PROCESS_RETIRED : PROCESS_IDLE;
    h->time_ns = time_ns;
    return 0;
}

/* --- checks ------------------------------------------------------------------------------------------------------- */

/* Names the operations, so that a reader sees what there is to choose a check for. */
static void explain_no_guess(harrow_history *h) {
    struct buffer names = {0};
    bool seen[OP_CUSTOM + 256] = {false};
    for (uint32_t op = 0; op < h->columns->count; op++) {
        uint16_t f = h->columns->f[op];
        if (seen[f]) continue;
        seen[f] = true;
        buffer_printf(&names, "%s%s", names.size ? ", " : "", history_function_name(h->columns, f));
    }
    error_set(&h->error, "no check understands every operation in it: %.300s", buffer_text(&names));
    buffer_free(&names);
}

static const struct checker *checker_at(size_t i) {
    size_t count;
    const struct checker *all = checkers_all(&count);
    return i < count ? &all[i] : NULL;
}

const char *harrow_check_name(size_t i) {
    return checker_at(i) ? checker_at(i)->name : NULL;
}

const char *harrow_check_doc(size_t i) {
    return checker_at(i) ? checker_at(i)->doc : NULL;
}

const char *harrow_check_also(size_t i) {
    return checker_at(i) && checker_at(i)->also ? checker_at(i)->also : checker_at(i) ? "" : NULL;
}

const char *harrow_check_functions(size_t i) {
    return checker_at(i) ? checker_at(i)->functions : NULL;
}

/* Of an older program the options are shorter; what is missing is zero. */
static harrow_options whole_options(const harrow_options *given) {
    harrow_options o = {0};
    if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
    return o;
}

const char *harrow_check_guess(const harrow_history *h, const harrow_options *given) {
    const struct checker *c = checker_guess(h->columns, whole_options(given).consistency != NULL);
    return c ? c->name : NULL;
}

static int options_of(harrow_history *h, const harrow_options *given, struct check_options *out) {
    const harrow_options o = whole_options(given);
    *out = (struct check_options){.deadline_ms = o.deadline_ms,
                                  .memory_bytes_max = o.memory_bytes_max,
                                  .consistency = o.consistency,
                                  .verdict_only = o.verdict_only};
    if (o.consistency && !consistency_known(o.consistency))
        return error_set(&h->error, "there is no consistency model \"%s\"", o.consistency);
    return take_value(h, o.initial, &out->initial);
}

harrow_result *library_result(const struct check_result *r) {
    harrow_result *result = xcalloc(1, sizeof *result);
    result->result = *r;
    return result;
}

const char *harrow_history_describe(harrow_history *h, uint32_t operation) {
    const struct history *c = h->columns;
    if (operation >= c->count) return NULL;
    h->described.size = 0;
    print_op(c, operation, &h->described);
    return buffer_text(&h->described);
}

const struct check_result *library_result_inside(const harrow_result *r) {
    return &r->result;
}

static const struct checker *checker_for(harrow_history *h, const char *name, const struct check_options *o) {
    const struct checker *c = name ? checker_find(name) : checker_guess(h->columns, o->consistency != NULL);
    if (!c && name) {
        error_set(&h->error, "there is no check \"%s\"", name);
    } else if (!c) {
        explain_no_guess(h);
    } else if (o->initial.kind != VALUE_NIL && !c->takes_initial) {
        error_set(&h->error, "an initial value is for registers; it means nothing to %s", c->name);
        return NULL;
    } else if (o->consistency && !c->takes_consistency) {
        error_set(&h->error, "a consistency model is for list-append and rw-register; it means nothing to %s", c->name);
        return NULL;
    }
    return c;
}

int harrow_check_understands(const harrow_history *h, size_t i) {
    return checker_at(i) && checker_understands(checker_at(i), h->columns);
}

harrow_result *harrow_check(harrow_history *h, const char *check, const harrow_options *given) {
    struct check_options o;
    if (options_of(h, given, &o)) return NULL;
    const struct checker *c = checker_for(h, check, &o);
    if (!c) return NULL;
    struct check_result r;
    c->check(c, h->columns, &o, &r);
    return library_result(&r);
}

_Static_assert((int)HARROW_VALID == (int)VERDICT_VALID && (int)HARROW_UNKNOWN == (int)VERDICT_UNKNOWN &&
                   (int)HARROW_INVALID == (int)VERDICT_INVALID,
               "the public verdicts are the checkers' own");

harrow_verdict harrow_result_verdict(const harrow_result *r) {
    return (harrow_verdict)r->result.verdict;
}

const char *harrow_verdict_name(harrow_verdict verdict) {
    return verdict_name((enum verdict)verdict);
}

static const char *text_or_empty(const char *text) {
    return text ? text : "";
}

const char *harrow_result_check(const harrow_result *r) {
    return text_or_empty(r->result.name);
}

const char *harrow_result_detail(const harrow_result *r) {
    return text_or_empty(r->result.detail);
}

const char *harrow_result_explanation(const harrow_result *r) {
    return text_or_empty(r->result.explanation);
}

size_t harrow_result_operations(const harrow_result *r, const uint32_t **operations) {
    if (operations) *operations = r->result.ops;
    return r->result.ops_count;
}

void harrow_result_free(harrow_result *r) {
    if (!r) return;
    check_result_free(&r->result);
    free(r);
}
