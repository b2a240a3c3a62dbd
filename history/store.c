/* The store as a file: opening, creating and closing DIR/harrow.db, transactions, and what went wrong in words.
 *
 * WAL with synchronous=NORMAL: a commit is a write to the log that the kernel holds, so nothing committed is lost by
 * the death of harrow; the log is synced only when it is carried over into the database, so a crash of the machine may
 * lose the last transactions, but what is there is whole. An fsync for each second's transaction would disturb the
 * disks of the nodes under test, for data that such a crash makes doubtful anyway. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "history/store_internal.h"
#include "history/store_schema_internal.h"

#define BUSY_TIMEOUT_MS 20000
#define BUSY_RETRY_US 20000

static const char opening[] = "opening the store";

const char *const store_status_names[4] = {"pending", "ok", "fail", "info"};
const char *const store_sample_names[SAMPLE_KINDS] = {"role", "node-down", "node-up", "log", "late", "link"};
const char *const store_role_names[ROLES] = {"follower", "candidate", "leader", "peer"};

int store_fail(const struct store *s, struct error *e, const char *doing) {
    const char *said = sqlite3_errmsg(s->db), *path = s->path;
    int code = sqlite3_errcode(s->db), number = sqlite3_system_errno(s->db);
    switch (code & 0xff) {
    case SQLITE_FULL:
        return error_set(e, "%s: no space left for %s; free some, or choose another folder (--out)", doing, path);
    case SQLITE_NOTADB:
        return error_set(e,
                         "%s: %s is not a store of harrow (no SQLite database); move it away, or choose another "
                         "folder (--out)",
                         doing, path);
    case SQLITE_CORRUPT:
        return error_set(e, "%s: %s is damaged (%s); move it away, `sqlite3 %s .recover` prints what can be saved",
                         doing, path, said, path);
    case SQLITE_READONLY:
        return error_set(e, "%s: %s may not be written; change its permissions, or choose another folder (--out)",
                         doing, path);
    case SQLITE_BUSY:
        return error_set(e, "%s: another process has kept %s locked for %d s; wait for it, or end it", doing, path,
                         BUSY_TIMEOUT_MS / 1000);
    case SQLITE_CANTOPEN:
        return error_set(e, "%s: cannot open %s: %s; check its permissions, or choose another folder (--out)", doing,
                         path, number ? strerror(number) : said);
    case SQLITE_IOERR:
        return error_set(e, "%s: cannot read or write %s: %s", doing, path, number ? strerror(number) : said);
    default: return error_set(e, "%s: %s: %s", doing, path, said);
    }
}

int store_sql(struct store *s, const char *sql, const char *doing, struct error *e) {
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : store_fail(s, e, doing);
}

int store_transaction(struct store *s, const char *doing, struct error *e) {
    if (s->read_only) return error_set(e, "%s: the store in %s was opened for reading only", doing, s->dir);
    return store_sql(s, "BEGIN IMMEDIATE", doing, e);
}

int store_end(struct store *s, int rc, const char *doing, struct error *e) {
    if (rc == 0) rc = store_sql(s, "COMMIT", doing, e);
    if (rc && !sqlite3_get_autocommit(s->db)) sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

/* 0, or SQLite's code with the message set. */
static int number_of(struct store *s, const char *sql, int64_t *out, struct error *e) {
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &statement, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) *out = sqlite3_column_int64(statement, 0);
    if (rc != SQLITE_ROW) store_fail(s, e, opening);
    sqlite3_finalize(statement);
    return rc == SQLITE_ROW ? 0 : rc;
}

/* Whose file is it? *empty: nobody's yet. The three are read in one transaction: another process may be creating it.
 * 0, SQLite's code, or -1 for a file that is not ours. */
static int recognise(struct store *s, bool *empty, struct error *e) {
    int64_t tables = 0, application = 0, version = 0;
    bool own = sqlite3_get_autocommit(s->db) != 0;
    if (own && store_sql(s, "BEGIN", opening, e)) return -1;
    int rc = number_of(s, "SELECT count(*) FROM sqlite_master", &tables, e);
    if (rc == 0) rc = number_of(s, "PRAGMA application_id", &application, e);
    if (rc == 0) rc = number_of(s, "PRAGMA user_version", &version, e);
    if (own) sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL);
    if (rc) return rc;
    *empty = tables == 0 && version == 0;
    if (*empty) return 0;
    if (application != STORE_APPLICATION_ID)
        return error_set(e, "%s is a database of something else, not a store of harrow; choose another folder (--out)",
                         s->path);
    if (version > STORE_VERSION)
        return error_set(e,
                         "%s was written by a newer harrow (format %lld, this one knows %d); use that harrow, or "
                         "choose another folder (--out)",
                         s->path, (long long)version, STORE_VERSION);
    return 0;
}

static uint64_t now_ms(void) {
    return monotonic_ns() / NS_PER_MS;
}

/* Several processes may come here at once: switching to WAL needs the file for itself for a moment, and SQLite does not
 * always wait for that by itself. */
static int use_wal(struct store *s, struct error *e) {
    uint64_t deadline_ms = now_ms() + BUSY_TIMEOUT_MS;
    for (;;) {
        int rc = sqlite3_exec(s->db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL);
        if (rc == SQLITE_OK) return 0;
        if (rc != SQLITE_BUSY || now_ms() >= deadline_ms) return store_fail(s, e, opening);
        usleep(BUSY_RETRY_US);
    }
}

static int create(struct store *s, struct error *e) {
    static const char doing[] = "creating the store";
    bool empty;
    char pragmas[96];
    if (store_transaction(s, doing, e)) return -1;
    int rc = recognise(s, &empty, e); /* again, now that nobody else can create it */
    if (rc == 0 && empty) {
        snprintf(pragmas, sizeof pragmas, "PRAGMA application_id=%d; PRAGMA user_version=%d", STORE_APPLICATION_ID,
                 STORE_VERSION);
        rc = store_sql(s, store_schema, doing, e);
        if (rc == 0) rc = store_sql(s, pragmas, doing, e);
    }
    return store_end(s, rc, doing, e);
}

/* An older format lacks only what its writers did not know of: nothing in it changes. */
static int raise_version(struct store *s, struct error *e) {
    int64_t version = 0;
    char pragma[48];
    if (number_of(s, "PRAGMA user_version", &version, e)) return -1;
    if (version == STORE_VERSION) return 0;
    snprintf(pragma, sizeof pragma, "PRAGMA user_version=%d", STORE_VERSION);
    return store_sql(s, pragma, opening, e);
}

static int make_folders(const char *dir, struct error *e) {
    char *path = xstrdup(dir);
    int rc = 0;
    for (char *at = path + 1; rc == 0; at++) {
        if (*at != '/' && *at) continue;
        char kept = *at;
        *at = 0;
        if (mkdir(path, 0777) && errno != EEXIST && errno != EROFS)
            rc = error_set(e, "cannot create the folder %s: %s; choose another one (--out)", path, strerror(errno));
        *at = kept;
        if (!kept) break;
    }
    free(path);
    return rc;
}

static int open_for_writing(struct store *s, struct error *e) {
    bool empty;
    if (make_folders(s->dir, e)) return -1;
    if (sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL))
        return store_fail(s, e, opening);
    sqlite3_busy_timeout(s->db, BUSY_TIMEOUT_MS);
    if (recognise(s, &empty, e)) return -1;
    if (sqlite3_db_readonly(s->db, "main"))
        return error_set(e, "%s may not be written; change its permissions, or choose another folder (--out)", s->path);
    if (use_wal(s, e)) return -1;
    if (store_sql(s, "PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON", opening, e)) return -1;
    return empty ? create(s, e) : raise_version(s, e);
}

/* In a folder that may not be written SQLite cannot make its shared memory; a store that nobody is writing can then be
 * read as it stands. */
static int open_as_it_stands(struct store *s, struct error *e) {
    struct stat log;
    char *log_path = xformat("%s-wal", s->path);
    bool pending = stat(log_path, &log) == 0 && log.st_size > 0;
    free(log_path);
    if (pending || access(s->dir, W_OK) == 0) return -1;
    struct buffer uri = {0};
    buffer_printf(&uri, "file:");
    for (const char *at = s->path; *at; at++) {
        bool special = strchr("?#%", *at) != NULL;
        buffer_printf(&uri, special ? "%%%02X" : "%c", (unsigned char)*at);
    }
    buffer_printf(&uri, "?immutable=1");
    sqlite3_close(s->db);
    s->db = NULL;
    int rc = sqlite3_open_v2((char *)uri.data, &s->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL);
    buffer_free(&uri);
    return rc == SQLITE_OK ? 0 : store_fail(s, e, opening);
}

static int open_for_reading(struct store *s, struct error *e) {
    bool empty = false;
    struct stat about;
    if (stat(s->path, &about) && errno == ENOENT)
        return error_set(e, "no runs are stored in %s: there is no %s", s->dir, s->path);
    if (sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READONLY, NULL)) return store_fail(s, e, opening);
    sqlite3_busy_timeout(s->db, BUSY_TIMEOUT_MS);
    int code = recognise(s, &empty, e);
    if (code) {
        bool no_memory = code == SQLITE_CANTOPEN || code == SQLITE_READONLY || code == SQLITE_IOERR;
        if (!no_memory || open_as_it_stands(s, e) || recognise(s, &empty, e)) return -1;
    }
    return empty ? error_set(e, "no runs are stored in %s: %s is empty", s->dir, s->path) : 0;
}

struct store *store_open(const char *dir, bool read_only, struct error *e) {
    struct store *s = xcalloc(1, sizeof *s);
    assert(dir[0]);
    s->dir = xstrdup(dir);
    s->path = xformat("%s/harrow.db", dir);
    s->read_only = read_only;
    s->lock_fd = -1;
    if (read_only ? open_for_reading(s, e) : open_for_writing(s, e)) {
        store_close(s);
        return NULL;
    }
    return s;
}

void store_close(struct store *s) {
    if (!s) return;
    for (struct run_writer *w = s->writers, *next; w; w = next) {
        next = w->next;
        free(w->run);
        free(w->done.open_ops);
        free(w->done.open_faults);
        free(w);
    }
    for (size_t i = 0; i < STATEMENTS; i++) sqlite3_finalize(s->statements[i]);
    sqlite3_close(s->db);
    if (s->lock_fd >= 0) close(s->lock_fd);
    free(s->dir);
    free(s->path);
    free(s);
}

const char *store_dir(const struct store *s) {
    return s->dir;
}

int store_run_folder(const struct store *s, const char *run, char *path, size_t path_size, struct error *e) {
    int length = snprintf(path, path_size, "%s/%s", s->dir, run);
    if (length < 0 || (size_t)length >= path_size) return error_set(e, "the path %s/%s is too long", s->dir, run);
    return make_folders(path, e);
}
