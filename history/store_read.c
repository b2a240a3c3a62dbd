/* Reading runs back: finding one, listing all, loading a history. What a database holds is not trusted: a person or a
 * bad disk may have changed it, so each row is checked against the rules of history.h before it goes in. */
#include <stdio.h>
#include <stdlib.h>

#include "history/json_internal.h"
#include "history/store_internal.h"

#define CANDIDATES_SHOWN 5

static char *text_of(sqlite3_stmt *row, int column) {
    const unsigned char *text = sqlite3_column_text(row, column);
    return xstrdup(text ? (const char *)text : "");
}

static struct bytes bytes_in(sqlite3_stmt *row, int column) {
    const void *text = sqlite3_column_text(row, column);
    return bytes_of(text ? text : "", (size_t)sqlite3_column_bytes(row, column));
}

static bool is_null(sqlite3_stmt *row, int column) {
    return sqlite3_column_type(row, column) == SQLITE_NULL;
}

static uint64_t u64_of(sqlite3_stmt *row, int column) {
    return (uint64_t)sqlite3_column_int64(row, column);
}

/* --- which run ---------------------------------------------------------------------------------------------------- */

static sqlite3_stmt *prepare(struct store *s, const char *sql, const char *doing, struct error *e) {
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(s->db, sql, -1, &statement, NULL) != SQLITE_OK) store_fail(s, e, doing);
    return statement;
}

static int ambiguous(sqlite3_stmt *row, const char *run, const char *first, struct error *e) {
    struct buffer names = {0};
    uint64_t count = 1;
    buffer_printf(&names, "%s", first);
    do {
        if (++count <= CANDIDATES_SHOWN) buffer_printf(&names, ", %s", (const char *)sqlite3_column_text(row, 1));
    } while (sqlite3_step(row) == SQLITE_ROW);
    if (count > CANDIDATES_SHOWN) buffer_printf(&names, ", ...");
    error_set(e, "%llu runs begin with \"%.100s\": %s; write more of the name", (unsigned long long)count, run,
              (char *)names.data);
    buffer_free(&names);
    return -1;
}

/* An exact name comes first, then the newest. */
int store_resolve(struct store *s, const char *run, int64_t *id, struct error *e) {
    static const char doing[] = "looking for a run";
    bool last = strcmp(run, "last") == 0;
    sqlite3_stmt *row = prepare(s,
                                last ? "SELECT id, run, 1 FROM runs ORDER BY id DESC LIMIT 1"
                                     : "SELECT id, run, run = ?1 FROM runs WHERE substr(run, 1, length(?1)) = ?1"
                                       " ORDER BY run = ?1 DESC, id DESC",
                                doing, e);
    if (!row) return -1;
    if (!last) sqlite3_bind_text(row, 1, run, -1, SQLITE_STATIC);
    int step = sqlite3_step(row), rc = 0;
    if (step == SQLITE_ROW && (last || run[0])) {
        *id = sqlite3_column_int64(row, 0);
        bool exact = sqlite3_column_int(row, 2) != 0;
        char *name = text_of(row, 1);
        if (!exact && sqlite3_step(row) == SQLITE_ROW) rc = ambiguous(row, run, name, e);
        free(name);
    } else if (step == SQLITE_DONE || step == SQLITE_ROW) {
        rc = last
                 ? error_set(e, "no run is stored in %s yet", s->dir)
                 : error_set(e, "no run in %s is named \"%.200s\" or begins so; `harrow runs` lists them", s->dir, run);
    } else {
        rc = store_fail(s, e, doing);
    }
    sqlite3_finalize(row);
    return rc;
}

/* --- rows of runs ------------------------------------------------------------------------------------------------- */

static const char run_columns[] =
    "id, run, scenario, scenario_path, scenario_text, target, world, mutant, seed, options_json, state, verdict, "
    "detail,"
    " started_at, wall_seconds, virtual_seconds, events, trace_hash, ops_ok, ops_fail, ops_info, faults, writer_pid,"
    " writer_start, writer_space";

static void read_run(struct store *s, sqlite3_stmt *row, struct run_info *out) {
    struct writer_identity writer = {.pid = sqlite3_column_int64(row, 22), .start = sqlite3_column_int64(row, 23)};
    struct bytes space = bytes_in(row, 24);
    snprintf(writer.space, sizeof writer.space, "%.*s", (int)space.size, (const char *)space.data);
    *out = (struct run_info){
        .run = text_of(row, 1),
        .scenario = text_of(row, 2),
        .scenario_path = text_of(row, 3),
        .scenario_text = text_of(row, 4),
        .target = text_of(row, 5),
        .world = text_of(row, 6),
        .mutant = text_of(row, 7),
        .seed = u64_of(row, 8),
        .options_json = text_of(row, 9),
        .state = text_of(row, 10),
        .verdict = text_of(row, 11),
        .detail = text_of(row, 12),
        .started_at = text_of(row, 13),
        .wall_seconds = sqlite3_column_double(row, 14),
        .virtual_seconds = sqlite3_column_double(row, 15),
        .events = u64_of(row, 16),
        .trace_hash = u64_of(row, 17),
        .ops_ok = u64_of(row, 18),
        .ops_fail = u64_of(row, 19),
        .ops_info = u64_of(row, 20),
        .faults = u64_of(row, 21),
    };
    if (strcmp(out->state, "running") != 0 || writer_lives(s, sqlite3_column_int64(row, 0), &writer)) return;
    free(out->state);
    out->state = xstrdup("interrupted");
}

static int select_runs(struct store *s, int64_t id, struct run_info **out, size_t *count, struct error *e) {
    static const char doing[] = "reading the runs";
    char sql[sizeof run_columns + 80];
    size_t capacity = 0;
    int step = SQLITE_ERROR;
    *out = NULL;
    *count = 0;
    snprintf(sql, sizeof sql, "SELECT %s FROM runs %s ORDER BY id DESC", run_columns, id ? "WHERE id = ?" : "");
    sqlite3_stmt *row = prepare(s, sql, doing, e);
    if (!row) return -1;
    if (id) sqlite3_bind_int64(row, 1, id);
    while ((step = sqlite3_step(row)) == SQLITE_ROW) {
        if (*count == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            *out = xrealloc(*out, capacity * sizeof **out);
        }
        read_run(s, row, &(*out)[(*count)++]);
    }
    int rc = step == SQLITE_DONE ? 0 : store_fail(s, e, doing);
    sqlite3_finalize(row);
    if (rc) {
        run_infos_free(*out, *count);
        *out = NULL;
        *count = 0;
    }
    return rc;
}

int store_list(struct store *s, struct run_info **out, size_t *count, struct error *e) {
    return select_runs(s, 0, out, count, e);
}

int store_find(struct store *s, const char *run, struct run_info *out, struct error *e) {
    int64_t id;
    struct run_info *found;
    size_t count;
    if (store_resolve(s, run, &id, e) || select_runs(s, id, &found, &count, e)) return -1;
    if (count == 0) return error_set(e, "run %s has just been deleted", run);
    *out = found[0];
    free(found);
    return 0;
}

void run_info_free(struct run_info *r) {
    char *const owned[] = {r->run,    r->scenario,     r->scenario_path, r->scenario_text, r->target, r->world,
                           r->mutant, r->options_json, r->state,         r->verdict,       r->detail, r->started_at};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
    *r = (struct run_info){0};
}

void run_infos_free(struct run_info *runs, size_t count) {
    for (size_t i = 0; i < count; i++) run_info_free(&runs[i]);
    free(runs);
}

/* --- checks ------------------------------------------------------------------------------------------------------- */

int store_checks(struct store *s, const char *run, struct check_row **out, size_t *count, struct error *e) {
    static const char doing[] = "reading the checks";
    int64_t id;
    int step = SQLITE_ERROR;
    *out = NULL;
    *count = 0;
    if (store_resolve(s, run, &id, e)) return -1;
    sqlite3_stmt *row =
        prepare(s, "SELECT name, verdict, detail, ops_json FROM checks WHERE run_id = ? ORDER BY number", doing, e);
    if (!row) return -1;
    sqlite3_bind_int64(row, 1, id);
    while ((step = sqlite3_step(row)) == SQLITE_ROW) {
        *out = xrealloc(*out, (*count + 1) * sizeof **out);
        (*out)[(*count)++] = (struct check_row){.name = text_of(row, 0),
                                                .verdict = text_of(row, 1),
                                                .detail = text_of(row, 2),
                                                .ops_json = text_of(row, 3)};
    }
    int rc = step == SQLITE_DONE ? 0 : store_fail(s, e, doing);
    sqlite3_finalize(row);
    if (rc == 0) return 0;
    check_rows_free(*out, *count);
    *out = NULL;
    *count = 0;
    return -1;
}

void check_rows_free(struct check_row *rows, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(rows[i].name);
        free(rows[i].verdict);
        free(rows[i].detail);
        free(rows[i].ops_json);
    }
    free(rows);
}

/* --- a history ---------------------------------------------------------------------------------------------------- */

struct loader {
    struct store *s;
    const char *run;
    struct history *h;
    struct json json;
    struct error *e;
};

static int bad(struct loader *l, const char *what, int64_t number, const char *why) {
    return error_set(l->e, "%s %lld of run %s in %s makes no sense (%s); the file is damaged or was edited", what,
                     (long long)number, l->run, l->s->path, why);
}

static bool load_value(struct loader *l, sqlite3_stmt *row, int column, struct value *out) {
    *out = VALUE_OF_NIL;
    if (is_null(row, column)) return true;
    json_start(&l->json, bytes_in(row, column));
    return json_value(&l->json, out) && json_done(&l->json);
}

static uint32_t load_string(struct loader *l, sqlite3_stmt *row, int column) {
    return is_null(row, column) ? NO_STRING : history_intern_bytes(l->h, bytes_in(row, column));
}

static bool load_name(sqlite3_stmt *row, int column, const char *const *names, uint8_t count, uint8_t *out) {
    struct bytes name = bytes_in(row, column);
    for (*out = 0; *out < count; ++*out)
        if (bytes_equal(name, bytes_str(names[*out]))) return true;
    return false;
}

static bool load_node(sqlite3_stmt *row, int column, uint8_t *out) {
    int64_t node = is_null(row, column) ? NODE_UNKNOWN : sqlite3_column_int64(row, column);
    *out = (uint8_t)node;
    return node >= 0 && node <= NODE_UNKNOWN;
}

static int load_op(struct loader *l, sqlite3_stmt *row) {
    struct history *h = l->h;
    int64_t op = sqlite3_column_int64(row, 0), process = sqlite3_column_int64(row, 1);
    uint64_t intended_ns = u64_of(row, 8), invoke_ns = u64_of(row, 9), complete_ns = u64_of(row, 10);
    uint8_t node, status;
    struct value argument, result;
    struct bytes name = bytes_in(row, 3);
    if (op != h->count) return bad(l, "operation", op, "operations before it are missing");
    if (h->count == UINT32_MAX - 1) return bad(l, "operation", op, "too many operations");
    if (process < 0 || process > UINT32_MAX) return bad(l, "operation", op, "process");
    if (!load_node(row, 2, &node)) return bad(l, "operation", op, "node");
    if (name.size == 0 || memchr(name.data, 0, name.size)) return bad(l, "operation", op, "f");
    uint16_t f = history_function(h, (const char *)name.data);
    if (f == FUNCTION_NONE) return bad(l, "operation", op, "more than 256 kinds of functions");
    if (!load_name(row, 4, store_status_names, 4, &status)) return bad(l, "operation", op, "status");
    if (!load_value(l, row, 6, &argument)) return bad(l, "operation", op, "argument");
    if (!load_value(l, row, 7, &result)) return bad(l, "operation", op, "result");
    if (intended_ns > invoke_ns || (op && invoke_ns < h->invoke_ns[op - 1]))
        return bad(l, "operation", op, "invoke_ns");
    if ((status == OP_PENDING) != is_null(row, 10)) return bad(l, "operation", op, "complete_ns");
    history_invoke(h, invoke_ns, intended_ns, (uint32_t)process, node, f, load_string(l, row, 5), argument);
    h->final_phase[op] = sqlite3_column_int(row, 12) != 0;
    if (status == OP_PENDING) return 0;
    if (complete_ns < invoke_ns || complete_ns == UINT64_MAX) return bad(l, "operation", op, "complete_ns");
    history_complete(h, (uint32_t)op, complete_ns, (enum op_status)status, result, load_string(l, row, 11));
    return 0;
}

static int load_fault(struct loader *l, sqlite3_stmt *row) {
    struct fault_record fault = {
        .name = history_intern_bytes(l->h, bytes_in(row, 1)),
        .detail = load_string(l, row, 2),
        .colour = load_string(l, row, 3),
        .start_ns = u64_of(row, 4),
        .end_ns = is_null(row, 5) ? UINT64_MAX : u64_of(row, 5),
        .affected = u64_of(row, 6),
        .offered = u64_of(row, 7),
    };
    int64_t number = sqlite3_column_int64(row, 0);
    if (number != l->h->faults_count) return bad(l, "fault", number, "faults before it are missing");
    if (fault.end_ns < fault.start_ns) return bad(l, "fault", number, "end_ns");
    history_fault_add(l->h, fault);
    return 0;
}

static int load_sample(struct loader *l, sqlite3_stmt *row) {
    struct sample sample = {.time_ns = u64_of(row, 1), .term = u64_of(row, 5), .text = load_string(l, row, 6)};
    int64_t number = sqlite3_column_int64(row, 0);
    if (!load_name(row, 2, store_sample_names, SAMPLE_KINDS, &sample.kind)) return bad(l, "sample", number, "kind");
    if (!load_node(row, 3, &sample.node)) return bad(l, "sample", number, "node");
    if (!load_name(row, 4, store_role_names, ROLES, &sample.role)) return bad(l, "sample", number, "role");
    history_sample(l->h, sample);
    return 0;
}

static int load_rows(struct loader *l, int64_t id, const char *sql, int (*load)(struct loader *, sqlite3_stmt *)) {
    static const char doing[] = "reading a history";
    sqlite3_stmt *row = prepare(l->s, sql, doing, l->e);
    if (!row) return -1;
    sqlite3_bind_int64(row, 1, id);
    int step, rc = 0;
    while (rc == 0 && (step = sqlite3_step(row)) != SQLITE_DONE)
        rc = step == SQLITE_ROW ? load(l, row) : store_fail(l->s, l->e, doing);
    sqlite3_finalize(row);
    return rc;
}

int store_load(struct store *s, const char *run, struct history *out, struct error *e) {
    struct loader l = {.s = s, .run = run, .h = out, .json = {.h = out}, .e = e};
    int64_t id;
    history_clear(out);
    /* One snapshot, also while another process goes on writing the run. */
    if (store_resolve(s, run, &id, e) || store_sql(s, "BEGIN", "reading a history", e)) return -1;
    int rc =
        load_rows(&l, id,
                  "SELECT op, process, node, f, status, key, argument, result, intended_ns, invoke_ns, complete_ns,"
                  " error, final_phase FROM ops WHERE run_id = ? ORDER BY op",
                  load_op);
    if (rc == 0)
        rc = load_rows(&l, id,
                       "SELECT fault, name, detail, colour, start_ns, end_ns, affected, offered FROM faults"
                       " WHERE run_id = ? ORDER BY fault",
                       load_fault);
    if (rc == 0)
        rc = load_rows(
            &l, id,
            "SELECT sample, time_ns, kind, node, role, term, text FROM samples WHERE run_id = ? ORDER BY sample",
            load_sample);
    sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL);
    json_free(&l.json);
    return rc;
}
