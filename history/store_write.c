/* Writing a run: begin, progress, finish. Each is one transaction, and what this process remembers of the stored part
 * changes only when the transaction is committed; after a failure (a full disk) the next call writes it all again. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "history/json_internal.h"
#include "history/store_internal.h"

#define RUN_NAME_MAX 200u
/* While a run is written the log is carried over into the database (with its fsyncs) only every 64 MiB. */
#define LOG_PAGES_RUNNING 16384
#define LOG_PAGES_IDLE 1000

static const char *const statement_sql[STATEMENTS] = {
    [INSERT_RUN] =
        "INSERT INTO runs (run, scenario, scenario_path, scenario_text, target, world, mutant, seed,"
        " options_json, state, verdict, detail, started_at, wall_seconds, virtual_seconds, events, trace_hash,"
        " ops_ok, ops_fail, ops_info, faults, writer_pid, writer_start, writer_space)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'running', '', '', ?, 0, 0, 0, 0, 0, 0, 0, 0, ?, ?, ?)",
    [UPDATE_COUNTS] = "UPDATE runs SET ops_ok = ?, ops_fail = ?, ops_info = ?, faults = ? WHERE id = ?",
    [UPDATE_RUN] = "UPDATE runs SET state = ?, verdict = ?, detail = ?, wall_seconds = ?, virtual_seconds = ?,"
                   " events = ?, trace_hash = ?, ops_ok = ?, ops_fail = ?, ops_info = ?, faults = ? WHERE id = ?",
    [UPDATE_VERDICT] = "UPDATE runs SET verdict = ?, detail = ? WHERE id = ?",
    [INSERT_OP] =
        "INSERT INTO ops (run_id, op, process, node, f, status, key, argument, result, intended_ns, invoke_ns,"
        " complete_ns, error, final_phase) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [UPDATE_OP] = "UPDATE ops SET status = ?, result = ?, complete_ns = ?, error = ?, final_phase = ?"
                  " WHERE run_id = ? AND op = ?",
    [INSERT_FAULT] = "INSERT INTO faults (run_id, fault, name, detail, colour, start_ns, end_ns, affected, offered)"
                     " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [UPDATE_FAULT] = "UPDATE faults SET end_ns = ?, affected = ?, offered = ? WHERE run_id = ? AND fault = ?",
    [INSERT_SAMPLE] = "INSERT INTO samples (run_id, sample, time_ns, kind, node, role, term, text)"
                      " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    [DELETE_CHECKS] = "DELETE FROM checks WHERE run_id = ?",
    [INSERT_CHECK] = "INSERT INTO checks (run_id, number, name, verdict, detail, ops_json) VALUES (?, ?, ?, ?, ?, ?)",
};

/* --- one row: a statement whose parameters are bound from left to right ------------------------------------------- */

struct row {
    struct store *s;
    sqlite3_stmt *statement; /* NULL when it could not be prepared */
    int at;
};

static struct row row_of(struct store *s, enum statement which) {
    sqlite3_stmt **statement = &s->statements[which];
    if (!*statement) sqlite3_prepare_v3(s->db, statement_sql[which], -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
    return (struct row){.s = s, .statement = *statement};
}

static void put_i64(struct row *r, int64_t number) {
    sqlite3_bind_int64(r->statement, ++r->at, number);
}

static void put_u64(struct row *r, uint64_t number) { /* all 64 bits, in two's complement */
    put_i64(r, (int64_t)number);
}

static void put_null(struct row *r) {
    sqlite3_bind_null(r->statement, ++r->at);
}

static void put_real(struct row *r, double number) {
    sqlite3_bind_double(r->statement, ++r->at, number);
}

static void put_bytes(struct row *r, struct bytes text) {
    sqlite3_bind_text64(r->statement, ++r->at, (const char *)text.data, text.size, SQLITE_STATIC, SQLITE_UTF8);
}

static void put_text(struct row *r, const char *text) {
    put_bytes(r, bytes_str(text ? text : ""));
}

static void put_string(struct row *r, const struct history *h, uint32_t id) {
    if (id == NO_STRING)
        put_null(r);
    else
        put_bytes(r, history_text_bytes(h, id));
}

static void put_end_ns(struct row *r, uint64_t end_ns) {
    if (end_ns == UINT64_MAX)
        put_null(r);
    else
        put_u64(r, end_ns);
}

static void put_node(struct row *r, uint8_t node) {
    if (node == NODE_UNKNOWN)
        put_null(r);
    else
        put_i64(r, node);
}

/* `text` holds the JSON until the row is done. */
static void put_value(struct row *r, const struct history *h, struct value v, struct buffer *text) {
    text->size = 0;
    if (v.kind == VALUE_NIL) {
        put_null(r);
        return;
    }
    history_value_print(h, v, text);
    put_bytes(r, bytes_of(text->data, text->size));
}

static bool row_done(struct row *r) {
    if (!r->statement) return false;
    int rc = sqlite3_step(r->statement);
    sqlite3_reset(r->statement);
    return rc == SQLITE_DONE;
}

/* --- progress ----------------------------------------------------------------------------------------------------- */

struct pass {
    struct store *s;
    int64_t run_id;
    const struct history *h;
    const struct progress *done;
    struct progress next; /* becomes `done` with the commit */
    struct buffer argument, result;
};

static void count(struct progress *p, uint8_t status) {
    p->ok += status == OP_OK;
    p->fail += status == OP_FAIL;
    p->info += status == OP_INFO;
}

static bool insert_op(struct pass *p, uint32_t op) {
    const struct history *h = p->h;
    struct row r = row_of(p->s, INSERT_OP);
    put_i64(&r, p->run_id);
    put_i64(&r, op);
    put_i64(&r, h->process[op]);
    put_node(&r, h->node[op]);
    put_text(&r, history_function_name(h, h->f[op]));
    put_text(&r, store_status_names[h->status[op]]);
    put_string(&r, h, h->key[op]);
    put_value(&r, h, h->argument[op], &p->argument);
    put_value(&r, h, h->result[op], &p->result);
    put_u64(&r, h->intended_ns[op]);
    put_u64(&r, h->invoke_ns[op]);
    put_end_ns(&r, h->complete_ns[op]);
    put_string(&r, h, h->error[op]);
    put_i64(&r, h->final_phase[op]);
    return row_done(&r);
}

static bool update_op(struct pass *p, uint32_t op) {
    const struct history *h = p->h;
    struct row r = row_of(p->s, UPDATE_OP);
    put_text(&r, store_status_names[h->status[op]]);
    put_value(&r, h, h->result[op], &p->result);
    put_end_ns(&r, h->complete_ns[op]);
    put_string(&r, h, h->error[op]);
    put_i64(&r, h->final_phase[op]);
    put_i64(&r, p->run_id);
    put_i64(&r, op);
    return row_done(&r);
}

static bool insert_fault(struct pass *p, uint32_t i) {
    const struct fault_record *fault = &p->h->faults[i];
    struct row r = row_of(p->s, INSERT_FAULT);
    put_i64(&r, p->run_id);
    put_i64(&r, i);
    put_bytes(&r, history_text_bytes(p->h, fault->name));
    put_string(&r, p->h, fault->detail);
    put_string(&r, p->h, fault->colour);
    put_u64(&r, fault->start_ns);
    put_end_ns(&r, fault->end_ns);
    put_u64(&r, fault->affected);
    put_u64(&r, fault->offered);
    return row_done(&r);
}

static bool update_fault(struct pass *p, uint32_t i) {
    const struct fault_record *fault = &p->h->faults[i];
    struct row r = row_of(p->s, UPDATE_FAULT);
    put_end_ns(&r, fault->end_ns);
    put_u64(&r, fault->affected);
    put_u64(&r, fault->offered);
    put_i64(&r, p->run_id);
    put_i64(&r, i);
    return row_done(&r);
}

static bool insert_sample(struct pass *p, uint32_t i) {
    const struct sample *sample = &p->h->samples[i];
    struct row r = row_of(p->s, INSERT_SAMPLE);
    put_i64(&r, p->run_id);
    put_i64(&r, i);
    put_u64(&r, sample->time_ns);
    put_text(&r, store_sample_names[sample->kind]);
    put_node(&r, sample->node);
    put_text(&r, store_role_names[sample->role]);
    put_u64(&r, sample->term);
    put_string(&r, p->h, sample->text);
    return row_done(&r);
}

static void remember(uint32_t **list, uint32_t *count_of, uint32_t number) {
    if ((*count_of & (*count_of - 1)) == 0) { /* full at every power of two */
        size_t capacity = *count_of ? 2 * (size_t)*count_of : 1;
        *list = xrealloc(*list, capacity * sizeof **list);
    }
    (*list)[(*count_of)++] = number;
}

static bool write_ops(struct pass *p) {
    const struct history *h = p->h;
    struct progress *next = &p->next;
    for (uint32_t i = 0; i < p->done->open_ops_count; i++) {
        uint32_t op = p->done->open_ops[i];
        count(next, h->status[op]);
        if (h->status[op] == OP_PENDING)
            remember(&next->open_ops, &next->open_ops_count, op);
        else if (!update_op(p, op))
            return false;
    }
    for (; next->ops < h->count; next->ops++) {
        count(next, h->status[next->ops]);
        if (h->status[next->ops] == OP_PENDING) remember(&next->open_ops, &next->open_ops_count, next->ops);
        if (!insert_op(p, next->ops)) return false;
    }
    return true;
}

static bool write_faults_and_samples(struct pass *p) {
    const struct history *h = p->h;
    struct progress *next = &p->next;
    for (uint32_t i = 0; i < p->done->open_faults_count; i++) {
        uint32_t fault = p->done->open_faults[i];
        if (h->faults[fault].end_ns == UINT64_MAX)
            remember(&next->open_faults, &next->open_faults_count, fault);
        else if (!update_fault(p, fault))
            return false;
    }
    for (; next->faults < h->faults_count; next->faults++) {
        if (h->faults[next->faults].end_ns == UINT64_MAX)
            remember(&next->open_faults, &next->open_faults_count, next->faults);
        if (!insert_fault(p, next->faults)) return false;
    }
    for (; next->samples < h->samples_count; next->samples++)
        if (!insert_sample(p, next->samples)) return false;
    return true;
}

static bool changed(const struct progress *done, const struct history *h) {
    if (h->count > done->ops || h->faults_count > done->faults || h->samples_count > done->samples) return true;
    for (uint32_t i = 0; i < done->open_ops_count; i++)
        if (h->status[done->open_ops[i]] != OP_PENDING) return true;
    for (uint32_t i = 0; i < done->open_faults_count; i++)
        if (h->faults[done->open_faults[i]].end_ns != UINT64_MAX) return true;
    return false;
}

static bool pass_write(struct pass *p) {
    struct progress *next = &p->next;
    assert(p->h->count >= next->ops && p->h->faults_count >= next->faults && p->h->samples_count >= next->samples);
    next->open_ops = next->open_faults = NULL;
    next->open_ops_count = next->open_faults_count = 0;
    return write_ops(p) && write_faults_and_samples(p);
}

static void pass_end(struct pass *p, struct progress *done, bool committed) {
    struct progress *old = committed ? done : &p->next;
    free(old->open_ops);
    free(old->open_faults);
    if (committed) *done = p->next;
    buffer_free(&p->argument);
    buffer_free(&p->result);
}

static struct run_writer **writer_of(struct store *s, const char *run) {
    struct run_writer **at = &s->writers;
    while (*at && strcmp((*at)->run, run) != 0) at = &(*at)->next;
    return at;
}

static int not_begun(const struct store *s, const char *run, struct error *e) {
    return error_set(e, "run %s was not begun in %s by this process, or has been finished", run, s->dir);
}

int store_progress(struct store *s, const char *run, const struct history *h, struct error *e) {
    char doing[RUN_NAME_MAX + 32];
    struct run_writer *w = *writer_of(s, run);
    if (!w) return not_begun(s, run, e);
    if (!changed(&w->done, h)) return 0;
    snprintf(doing, sizeof doing, "storing run %s", run);
    if (store_transaction(s, doing, e)) return -1;
    struct pass p = {.s = s, .run_id = w->id, .h = h, .done = &w->done, .next = w->done};
    bool written = pass_write(&p);
    if (written) {
        struct row r = row_of(s, UPDATE_COUNTS);
        put_u64(&r, p.next.ok);
        put_u64(&r, p.next.fail);
        put_u64(&r, p.next.info);
        put_u64(&r, p.next.faults);
        put_i64(&r, w->id);
        written = row_done(&r);
    }
    int rc = store_end(s, written ? 0 : store_fail(s, e, doing), doing, e);
    pass_end(&p, &w->done, rc == 0);
    return rc;
}

/* --- the beginning and the end of a run --------------------------------------------------------------------------- */

static bool name_is_sound(const char *run) {
    size_t size = strspn(run, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return size > 0 && size <= RUN_NAME_MAX && run[size] == 0 && run[0] != '.' && strcmp(run, "last") != 0;
}

static int insert_run(struct store *s, const struct run_info *run, const char *doing, int64_t *id, struct error *e) {
    struct writer_identity self;
    char now[32];
    time_t seconds = time(NULL);
    struct tm utc;
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &utc));
    writer_self(&self);
    struct row r = row_of(s, INSERT_RUN);
    const char *const texts[] = {run->run,    run->scenario, run->scenario_path, run->scenario_text,
                                 run->target, run->world,    run->mutant};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) put_text(&r, texts[i]);
    put_u64(&r, run->seed);
    put_text(&r, run->options_json);
    put_text(&r, run->started_at && run->started_at[0] ? run->started_at : now);
    put_i64(&r, self.pid);
    put_i64(&r, self.start);
    put_text(&r, self.space);
    if (!row_done(&r)) {
        if (sqlite3_extended_errcode(s->db) == SQLITE_CONSTRAINT_UNIQUE)
            return error_set(e, "%s: there is a run of that name in %s already", doing, s->dir);
        return store_fail(s, e, doing);
    }
    *id = sqlite3_last_insert_rowid(s->db);
    return writer_lock(s, *id, e);
}

int store_begin(struct store *s, const struct run_info *run, struct error *e) {
    char doing[RUN_NAME_MAX + 32];
    int64_t id = 0;
    if (!run->run || !name_is_sound(run->run))
        return error_set(e, "\"%.100s\" cannot name a run: letters, digits, '.', '_' and '-', %u at most, not \"last\"",
                         run->run ? run->run : "", RUN_NAME_MAX);
    snprintf(doing, sizeof doing, "beginning run %s", run->run);
    if (store_transaction(s, doing, e)) return -1;
    int rc = store_end(s, insert_run(s, run, doing, &id, e), doing, e);
    if (rc) {
        if (id) writer_unlock(s, id);
        return rc;
    }
    struct run_writer *w = xcalloc(1, sizeof *w);
    *w = (struct run_writer){.next = s->writers, .run = xstrdup(run->run), .id = id};
    s->writers = w;
    sqlite3_wal_autocheckpoint(s->db, LOG_PAGES_RUNNING);
    return 0;
}

static bool replace_checks(struct store *s, int64_t run_id, const struct check_row *checks, size_t checks_count) {
    struct row r = row_of(s, DELETE_CHECKS);
    put_i64(&r, run_id);
    if (!row_done(&r)) return false;
    for (size_t i = 0; i < checks_count; i++) {
        r = row_of(s, INSERT_CHECK);
        put_i64(&r, run_id);
        put_u64(&r, i);
        put_text(&r, checks[i].name);
        put_text(&r, checks[i].verdict);
        put_text(&r, checks[i].detail);
        put_text(&r, checks[i].ops_json && checks[i].ops_json[0] ? checks[i].ops_json : "[]");
        if (!row_done(&r)) return false;
    }
    return true;
}

static bool update_run(struct store *s, int64_t run_id, const struct run_info *run) {
    struct row r = row_of(s, UPDATE_RUN);
    put_text(&r, run->state);
    put_text(&r, run->verdict);
    put_text(&r, run->detail);
    put_real(&r, run->wall_seconds);
    put_real(&r, run->virtual_seconds);
    const uint64_t numbers[] = {run->events, run->trace_hash, run->ops_ok, run->ops_fail, run->ops_info, run->faults};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) put_u64(&r, numbers[i]);
    put_i64(&r, run_id);
    return row_done(&r);
}

static void writer_forget(struct store *s, struct run_writer **at) {
    struct run_writer *w = *at;
    *at = w->next;
    writer_unlock(s, w->id);
    free(w->done.open_ops);
    free(w->done.open_faults);
    free(w->run);
    free(w);
}

int store_finish(struct store *s, const struct run_info *run, const struct history *h, const struct check_row *checks,
                 size_t checks_count, struct error *e) {
    char doing[RUN_NAME_MAX + 32];
    struct run_writer **at = writer_of(s, run->run), *w = *at;
    if (!w) return not_begun(s, run->run, e);
    snprintf(doing, sizeof doing, "finishing run %s", run->run);
    if (!w->next && w == s->writers) sqlite3_wal_autocheckpoint(s->db, LOG_PAGES_IDLE);
    if (store_transaction(s, doing, e)) return -1;
    struct pass p = {.s = s, .run_id = w->id, .h = h, .done = &w->done, .next = w->done};
    bool written =
        (!h || pass_write(&p)) && update_run(s, w->id, run) && replace_checks(s, w->id, checks, checks_count);
    int rc = store_end(s, written ? 0 : store_fail(s, e, doing), doing, e);
    if (h) pass_end(&p, &w->done, rc == 0);
    if (rc == 0) writer_forget(s, at);
    return rc;
}

int store_set_checks(struct store *s, const char *run, const char *verdict, const char *detail,
                     const struct check_row *checks, size_t count_of, struct error *e) {
    static const char doing[] = "storing the verdict";
    int64_t id;
    if (store_resolve(s, run, &id, e) || store_transaction(s, doing, e)) return -1;
    struct row r = row_of(s, UPDATE_VERDICT);
    put_text(&r, verdict);
    put_text(&r, detail);
    put_i64(&r, id);
    bool written = row_done(&r) && replace_checks(s, id, checks, count_of);
    return store_end(s, written ? 0 : store_fail(s, e, doing), doing, e);
}
