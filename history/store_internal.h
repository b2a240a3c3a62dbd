/* What the files of the store share: the open database, its statements, errors that a person can act on, and who is
 * writing. Private to history/. */
#ifndef HARROW_HISTORY_STORE_INTERNAL_H
#define HARROW_HISTORY_STORE_INTERNAL_H

#include <sqlite3.h>

#include "history/store.h"

enum statement {
    INSERT_RUN,
    UPDATE_COUNTS,
    UPDATE_RUN,
    UPDATE_VERDICT,
    INSERT_OP,
    UPDATE_OP,
    INSERT_FAULT,
    UPDATE_FAULT,
    INSERT_SAMPLE,
    DELETE_CHECKS,
    INSERT_CHECK,
    STATEMENTS,
};

/* How much of a running run's history is in the database. */
struct progress {
    uint32_t ops, faults, samples;
    uint64_t ok, fail, info;
    uint32_t *open_ops, *open_faults; /* stored, but not ended when they were; owned */
    uint32_t open_ops_count, open_faults_count;
};
struct run_writer {
    struct run_writer *next;
    char *run;
    int64_t id;
    struct progress done;
};

struct store {
    char *dir, *path; /* path: of harrow.db */
    sqlite3 *db;
    bool read_only;
    int lock_fd; /* -1 until needed */
    sqlite3_stmt *statements[STATEMENTS];
    struct run_writer *writers;
};

/* Fails with what SQLite says and what to do about it. */
int store_fail(const struct store *s, struct error *e, const char *doing);
int store_sql(struct store *s, const char *sql, const char *doing, struct error *e);
/* store_end commits when rc is 0, else rolls back; returns rc, or -1 when the commit fails. */
int store_transaction(struct store *s, const char *doing, struct error *e);
int store_end(struct store *s, int rc, const char *doing, struct error *e);

/* The row id of a run given by its id, a unique prefix of it, or "last". */
int store_resolve(struct store *s, const char *run, int64_t *id, struct error *e);

/* The process that writes. */
struct writer_identity {
    int64_t pid, start;
    char space[128]; /* boot id and pid namespace */
};
void writer_self(struct writer_identity *out);
bool writer_lives(struct store *s, int64_t run_id, const struct writer_identity *writer);
int writer_lock(struct store *s, int64_t run_id, struct error *e);
void writer_unlock(struct store *s, int64_t run_id);

/* Values of the columns that hold names. */
extern const char *const store_status_names[4], *const store_sample_names[SAMPLE_KINDS], *const store_role_names[ROLES];

#endif
