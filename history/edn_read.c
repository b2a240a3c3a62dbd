/* Histories in EDN, as Jepsen and Elle keep them: maps that follow one another, or stand in one vector or list. A map
 * is taken apart into its fields as raw text here; what they mean is edn_events.c's. */
#include "history/edn_internal.h"
#include "history/import_internal.h"

#include <stdlib.h>

#define RESERVE_OPS 1000u /* of which the rest can be reckoned */

/* Said by harrow's own export in a comment at the top: see edn_export. */
static const char mark[] = ";; harrow:", mark_times[] = "exact times", mark_keys[] = "keyed values";

/* --- a map -------------------------------------------------------------------------------------------------------- */

/* The maps of a file have their fields in one order as a rule. */
static enum edn_field edn_field_of(struct edn_importer *in, enum edn_field before, struct bytes name) {
    struct edn_expected *expected = &in->expected[before];
    if (bytes_equal(name, expected->name)) return expected->field;
    enum edn_field i = 0;
    while (i < EDN_FIELDS && !bytes_equal(name, bytes_str(edn_field_names[i]))) i++;
    if (i < EDN_FIELDS) *expected = (struct edn_expected){bytes_str(edn_field_names[i]), i};
    return i;
}

/* #jepsen.history.Op{...} is the map. */
static bool take_tags(struct json *j) {
    while (j->at < j->end && *j->at == '#') {
        do j->at++;
        while (j->at < j->end && !edn_is_delimiter(*j->at));
        if (!edn_space(j)) return false;
    }
    return true;
}

static bool take_map(struct edn_importer *in) {
    struct json *j = &in->events.json;
    enum edn_field field = EDN_FIELDS;
    memset(in->raw, 0, sizeof in->raw);
    if (!take_tags(j)) return false;
    if (j->at == j->end) return json_expected(j, "a map");
    if (*j->at++ != '{')
        return json_fail(j, "an event must be a map: {:process 0, :type :invoke, :f :write, :value 1}");
    for (;;) {
        struct bytes name, raw;
        if (!edn_space(j)) return false;
        if (j->at < j->end && *j->at == '}') break;
        bool keyword = j->at < j->end && *j->at == ':';
        if (j->at < j->end && !keyword)
            return json_fail(j, "'%c' where a key like :process should stand%s", *j->at,
                             *j->at == '"' ? "; is this JSON?" : "");
        if (!edn_name(j, &name)) return false;
        field = edn_field_of(in, field, name);
        if (!edn_skip(j, &raw)) return false;
        if (field == EDN_FIELDS) continue;
        if (in->raw[field].data) return json_fail(j, ":%s stands twice", edn_field_names[field]);
        in->raw[field] = raw;
    }
    j->at++;
    return true;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static uint64_t newlines(const uint8_t *from, const uint8_t *to) {
    uint64_t count = 0;
    while (from < to && (from = memchr(from, '\n', (size_t)(to - from)))) count++, from++;
    return count;
}

static bool begins_with_mark(struct bytes text) {
    return text.size >= sizeof mark - 1 && memcmp(text.data, mark, sizeof mark - 1) == 0;
}

static bool says(struct bytes text, const char *what) {
    return memmem(text.data, text.size, what, strlen(what)) != NULL;
}

static void take_mark(struct edn_importer *in, struct bytes comment) {
    if (!begins_with_mark(comment)) return;
    in->marked = true;
    if (says(comment, mark_times)) in->events.clock = EVENTS_TIMES;
    if (says(comment, mark_keys)) in->keyed = true;
}

/* Consumes space and comments. 1: something else stands there; 0: nothing does any more. */
static int find_next(struct edn_importer *in, struct text *t, struct error *e) {
    for (;;) {
        const uint8_t *start = t->at;
        while (t->at < t->end && (*t->at <= ' ' || *t->at == ',')) t->at++;
        in->events.line += newlines(start, t->at);
        size_t left = (size_t)(t->end - t->at);
        if (left && *t->at != ';') return 1;
        const uint8_t *newline = left ? memchr(t->at, '\n', left) : NULL;
        if (!newline && !t->whole) {
            if (text_more(t, e) < 0) return -1;
            continue;
        }
        if (left == 0) return 0;
        const uint8_t *end = newline ? newline : t->end;
        take_mark(in, bytes_of(t->at, (size_t)(end - t->at)));
        t->at = end;
    }
}

/* An event, or a discarded form. */
static bool take_event(struct edn_importer *in, bool whole) {
    struct json *j = &in->events.json;
    if (*j->at == '#' && j->end - j->at >= 2 && j->at[1] == '_') {
        if (!edn_space(j)) return false;
        return j->at < j->end || whole ? true : json_expected(j, "an event");
    }
    if (!take_map(in)) return false;
    const uint8_t *past = j->at, *end = j->end;
    bool understood = edn_understand(in);
    j->ran_out = false; /* the map was complete */
    if (!understood) return false;
    j->at = past;
    j->end = end;
    return true;
}

/* With as much of the file as it needs. 1: taken; 0: the file ends inside it. */
static int next_event(struct edn_importer *in, struct text *t, struct error *e) {
    struct json *j = &in->events.json;
    for (;;) {
        json_start(j, bytes_of(t->at, (size_t)(t->end - t->at)));
        if (take_event(in, t->whole)) break;
        if (!j->ran_out) {
            bool inside = j->at >= t->at && j->at <= t->end;
            uint64_t line = in->events.line + (inside ? newlines(t->at, j->at) : 0);
            return error_set(e, "%s:%llu: %s", t->name, (unsigned long long)line, j->why.text);
        }
        int more = text_more(t, e);
        if (more <= 0) return more;
    }
    in->events.line += newlines(t->at, j->at);
    t->at = j->at;
    return 1;
}

static int refuse_at(const struct edn_importer *in, const struct text *t, const char *what, struct error *e) {
    return error_set(e, "%s:%llu: '%c' %s", t->name, (unsigned long long)in->events.line, *t->at, what);
}

static int read_events(struct edn_importer *in, struct text *t, struct import_result *result, struct error *e) {
    uint8_t close = 0;
    bool closed = false;
    int rc;
    in->events.line = 1;
    while ((rc = find_next(in, t, e)) > 0) {
        if (closed) return refuse_at(in, t, "behind the end of the history", e);
        if (!close && in->events.times == TIMES_UNDECIDED && (*t->at == '[' || *t->at == '(')) {
            close = *t->at++ == '[' ? ']' : ')';
            continue;
        }
        if (close && *t->at == close) {
            t->at++;
            closed = true;
            continue;
        }
        rc = next_event(in, t, e);
        if (rc < 0) return -1;
        if (rc == 0) break;
        if (in->events.h->count == RESERVE_OPS) text_reserve(t, in->events.h);
    }
    if (rc < 0) return -1;
    result->cut_short = t->at < t->end || (close && !closed);
    result->lines = in->events.line;
    return 0;
}

static int edn_read_as(bool store, struct text *t, struct history *h, struct import_result *result, struct error *e) {
    struct edn_importer *in = xmalloc(sizeof *in);
    edn_importer_start(in, h);
    in->store = store;
    int rc = read_events(in, t, result, e);
    if (in->events.clock == EVENTS_TIMES) result->order_lost = in->events.order_lost;
    if (rc == 0) rc = edn_split_keys(in, t->name, e);
    edn_importer_free(in);
    free(in);
    return rc;
}

int edn_read(struct text *t, struct history *h, struct import_result *result, struct error *e) {
    return edn_read_as(false, t, h, result, e);
}

int porcupine_kv_read(struct text *t, struct history *h, struct import_result *result, struct error *e) {
    int rc = edn_read_as(true, t, h, result, e);
    return rc ? rc : take_strings_apart(h, t->name, e);
}
