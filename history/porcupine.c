/* Logs with a line an event: Jepsen's history.txt,
 *     3 :invoke :write 4
 * with tabs between; the same among lines that say other things, as in the logs of Jepsen's etcd test that porcupine is
 * tested with,
 *     INFO  jepsen.util - 3 :invoke :write 4
 * and porcupine's logs of a key-value store, which are EDN maps but hold strings that grow. */
#include <stdlib.h>

#include "history/edn_internal.h"
#include "history/import_internal.h"

/* --- lines -------------------------------------------------------------------------------------------------------- */

static void skip_blanks(struct json *j) {
    while (j->at < j->end && (*j->at == ' ' || *j->at == '\t' || *j->at == '\r')) j->at++;
}

/* Points the scanner behind "jepsen.util - "; false for a line that says something else. */
static bool find_event(struct json *j, struct bytes line) {
    static const char logger[] = "jepsen.util";
    const uint8_t *at = memmem(line.data, line.size, logger, sizeof logger - 1);
    if (!at) return false;
    json_start(j, line);
    j->at = at + sizeof logger - 1;
    skip_blanks(j);
    if (j->at == j->end || *j->at++ != '-') return false;
    skip_blanks(j);
    bool process = j->at < j->end && *j->at >= '0' && *j->at <= '9';
    return process || (j->end - j->at >= 8 && memcmp(j->at, ":nemesis", 8) == 0);
}

/* 3 :invoke :write 4; behind the value there may be an error: in a text as it was printed, in a log as a form, and
 * there also in place of the value. */
static bool take_line(struct edn_importer *in, bool is_text) {
    static const enum edn_field order[] = {EDN_PROCESS, EDN_TYPE, EDN_F, EDN_VALUE, EDN_ERROR};
    struct json *j = &in->events.json;
    memset(in->raw, 0, sizeof in->raw);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        skip_blanks(j);
        if (j->at == j->end) return i >= EDN_VALUE ? true : json_expected(j, "the rest of an event");
        if (is_text && order[i] == EDN_ERROR) {
            if (*j->at != '"') in->raw[EDN_ERROR] = bytes_of(j->at, (size_t)(j->end - j->at));
            return true;
        }
        if (!edn_skip(j, &in->raw[order[i]])) return false;
    }
    skip_blanks(j);
    return j->at == j->end ? true : json_expected(j, "the end of the line");
}

static bool understand_line(struct edn_importer *in, bool is_text) {
    struct bytes *value = &in->raw[EDN_VALUE];
    if (!is_text && value->data && *value->data == ':' && *in->raw[EDN_PROCESS].data != ':') {
        in->raw[EDN_ERROR] = *value;
        *value = bytes_of(NULL, 0);
    }
    return edn_understand(in);
}

static bool find_line(struct json *j, struct bytes line, bool is_text) {
    if (!is_text) return find_event(j, line);
    json_start(j, line);
    return !text_is_blank(line);
}

static int read_lines(struct edn_importer *in, bool is_text, struct text *t, struct import_result *result,
                      struct error *e) {
    struct json *j = &in->events.json;
    struct bytes line;
    bool ended = false;
    int rc;
    while ((rc = text_line(t, &line, &ended, e)) > 0) {
        in->events.line++;
        if (!find_line(j, line, is_text)) continue;
        if (!ended) { /* ":write 1" may be the beginning of ":write 12" */
            result->cut_short = true;
            break;
        }
        if (!take_line(in, is_text) || !understand_line(in, is_text))
            return error_set(e, "%s:%llu: %s", t->name, (unsigned long long)in->events.line, j->why.text);
    }
    result->lines = in->events.line;
    return rc < 0 ? -1 : 0;
}

static int read_log(struct text *t, bool is_text, struct history *h, struct import_result *result, struct error *e) {
    struct edn_importer *in = xmalloc(sizeof *in);
    edn_importer_start(in, h);
    int rc = read_lines(in, is_text, t, result, e);
    if (rc == 0 && is_text) rc = edn_split_keys(in, t->name, e);
    edn_importer_free(in);
    free(in);
    return rc;
}

int jepsen_txt_read(struct text *t, struct history *h, struct import_result *result, struct error *e) {
    return read_log(t, true, h, result, e);
}

int porcupine_etcd_read(struct text *t, struct history *h, struct import_result *result, struct error *e) {
    return read_log(t, false, h, result, e);
}

/* --- strings that grow -------------------------------------------------------------------------------------------- */

/* What was put or appended, by key. A string that was read is such pieces in a row. They are told apart if none of a
 * key's pieces is the beginning of another (a prefix code): then it can be taken apart in one way at most. */
struct piece {
    uint32_t key, string;
};

struct pieces {
    const struct history *h;
    struct piece *all; /* by key, then bytewise, each once */
    size_t count;
};

static int compare_bytes(struct bytes a, struct bytes b) {
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order ? order : a.size < b.size ? -1 : a.size > b.size;
}

static int compare_pieces(const void *a, const void *b, void *history) {
    const struct piece *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return compare_bytes(history_text_bytes(history, x->string), history_text_bytes(history, y->string));
}

static bool begins_with(struct bytes text, struct bytes with) {
    return text.size >= with.size && memcmp(text.data, with.data, with.size) == 0;
}

static bool is_text(const struct history *h, struct value v) {
    return v.kind == VALUE_STRING && history_text_bytes(h, v.string).size > 0;
}

static void collect_pieces(struct pieces *p, struct history *h) {
    size_t kept = 0;
    p->h = h;
    p->all = xmalloc(h->count * sizeof *p->all);
    for (uint32_t op = 0; op < h->count; op++)
        if ((h->f[op] == OP_WRITE || h->f[op] == OP_APPEND) && is_text(h, h->argument[op]))
            p->all[p->count++] = (struct piece){h->key[op], h->argument[op].string};
    if (p->count) qsort_r(p->all, p->count, sizeof *p->all, compare_pieces, h);
    for (size_t i = 0; i < p->count; i++)
        if (kept == 0 || p->all[i].key != p->all[kept - 1].key || p->all[i].string != p->all[kept - 1].string)
            p->all[kept++] = p->all[i];
    p->count = kept;
}

static int refuse_prefixes(const struct pieces *p, const char *name, struct error *e) {
    for (size_t i = 1; i < p->count; i++) {
        struct bytes a = history_text_bytes(p->h, p->all[i - 1].string);
        struct bytes b = history_text_bytes(p->h, p->all[i].string);
        if (p->all[i].key != p->all[i - 1].key || !begins_with(b, a)) continue;
        return error_set(
            e,
            "%s: \"%.40s\" and \"%.40s\" are put or appended to key \"%.40s\", and one is the beginning of "
            "the other: what was read of them cannot be told apart",
            name, (const char *)a.data, (const char *)b.data, history_text(p->h, p->all[i].key));
    }
    return 0;
}

/* The piece of this key that the text begins with: the greatest that is not greater than the text, if any. */
static const struct piece *first_piece(const struct pieces *p, uint32_t key, struct bytes text) {
    size_t low = 0, high = p->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct piece *piece = &p->all[middle];
        bool before =
            piece->key != key ? piece->key < key : compare_bytes(history_text_bytes(p->h, piece->string), text) <= 0;
        if (before)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || p->all[low - 1].key != key) return NULL;
    return begins_with(text, history_text_bytes(p->h, p->all[low - 1].string)) ? &p->all[low - 1] : NULL;
}

/* The pieces of a string in a row; what is no piece stays one element, which nobody wrote. "" is nothing, as is a key
 * that is missing. */
static struct value taken_apart(const struct pieces *p, struct history *h, uint32_t key, struct value v,
                                struct buffer *row) {
    if (v.kind != VALUE_STRING) return v;
    struct bytes text = history_text_bytes(h, v.string);
    if (text.size == 0) return VALUE_OF_NIL;
    row->size = 0;
    while (text.size) {
        const struct piece *piece = first_piece(p, key, text);
        uint32_t string = piece ? piece->string : history_intern_bytes(h, text);
        struct value element = {.kind = VALUE_STRING, .string = string};
        size_t size = history_text_bytes(h, string).size;
        buffer_append(row, &element, sizeof element);
        text = bytes_of(text.data + size, text.size - size);
    }
    return history_list(h, (const struct value *)(const void *)row->data, (uint32_t)(row->size / sizeof(struct value)));
}

int take_strings_apart(struct history *h, const char *name, struct error *e) {
    struct pieces p = {0};
    struct buffer row = {0};
    bool grows = false;
    for (uint32_t op = 0; op < h->count; op++) grows |= h->f[op] == OP_APPEND;
    if (grows) collect_pieces(&p, h);
    int rc = refuse_prefixes(&p, name, e);
    for (uint32_t op = 0; rc == 0 && op < h->count; op++) {
        struct value *v = h->f[op] == OP_READ ? &h->result[op] : &h->argument[op];
        bool empty = v->kind == VALUE_STRING && history_text_bytes(h, v->string).size == 0;
        if (grows && h->f[op] == OP_APPEND && empty)
            rc = error_set(e, "%s: an append of \"\" does nothing; leave it out", name);
        else if (grows && (h->f[op] == OP_READ || h->f[op] == OP_WRITE))
            *v = taken_apart(&p, h, h->key[op], *v, &row);
        else if (empty)
            *v = VALUE_OF_NIL;
    }
    buffer_free(&row);
    free(p.all);
    return rc;
}
