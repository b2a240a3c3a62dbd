/* edn: the notation in which Jepsen and Elle keep histories (github.com/edn-format/edn), with what Clojure's printer
 * adds to it. The scanner is that of JSON (struct json) with another grammar. Private to history/.
 *
 * A history holds less than EDN can say, so:
 *   keywords, symbols, booleans, characters  become strings: :x is "x"
 *   numbers that are not 64-bit integers     become strings of their text
 *   vectors and lists                        become lists
 *   sets                                     become lists in ascending order
 *   maps                                     become lists of pairs [key value] in ascending order
 *   tagged literals                          become what is tagged
 * Two values that EDN tells apart must not become one: a file in which, say, both :x and "x" stand as values is
 * refused. */
#ifndef HARROW_HISTORY_EDN_INTERNAL_H
#define HARROW_HISTORY_EDN_INTERNAL_H

#include "history/events_internal.h"

/* What became the string of an id, so that no second kind does. */
struct edn_kinds {
    uint8_t *of; /* by string id */
    uint32_t capacity;
};

/* Skips space, commas, comments and discarded forms. False: a discarded form is broken, or the text may end within a
 * comment; then ran_out is set. */
bool edn_space(struct json *j);
bool edn_skip(struct json *j, struct bytes *raw); /* any form, as it stands */
bool edn_value(struct json *j, struct edn_kinds *kinds, struct value *out);
/* A keyword, symbol or string, without its colon or quotes. */
bool edn_name(struct json *j, struct bytes *out);
bool edn_u64(struct json *j, uint64_t *out);
bool edn_is_delimiter(uint8_t c); /* ends a keyword, symbol or number */

/* --- events (edn_events.c) ---------------------------------------------------------------------------------------- */

enum edn_field {
    EDN_PROCESS,
    EDN_TYPE,
    EDN_F,
    EDN_VALUE,
    EDN_TIME,
    EDN_INDEX,
    EDN_KEY,
    EDN_ERROR,
    EDN_NODE,
    EDN_INTENDED,
    EDN_FINAL,
    EDN_RESULT,
    EDN_FAULT,
    EDN_NAME,
    EDN_COLOUR,
    EDN_AFFECTED,
    EDN_OFFERED,
    EDN_ROLE,
    EDN_TERM,
    EDN_FIELDS,
};
extern const char *const edn_field_names[EDN_FIELDS];

struct edn_expected { /* the field that stood there last */
    struct bytes name;
    enum edn_field field;
};

/* What a reader of EDN knows: it fills `raw` from a map or a line, then has it understood. */
struct edn_importer {
    struct events events;
    struct edn_kinds kinds;
    struct bytes raw[EDN_FIELDS];                 /* of the event at hand; data is NULL without the field */
    struct edn_expected expected[EDN_FIELDS + 1]; /* by the field before it; the last: at the beginning */
    bool store;                                   /* porcupine's: get and put */
    bool marked, keyed;                           /* the file says whether values are [key value]; that they are */
    bool invoked, unseen;                         /* some operation was invoked; some ended without having been */
    uint64_t index_next;                          /* least :index of the next event */
    uint32_t process_next;                        /* for events that name no process */
    uint32_t nameless;                            /* the open process among them, or UINT32_MAX */
    uint32_t stopping; /* the fault of which the first word of its stop was the last, or UINT32_MAX */
};
void edn_importer_start(struct edn_importer *in, struct history *h);
void edn_importer_free(struct edn_importer *in);
/* What the fields at hand mean becomes part of the history. */
bool edn_understand(struct edn_importer *in);
/* Behind the last event: finds out whether values are [key value], and if so takes them apart. */
int edn_split_keys(struct edn_importer *in, const char *name, struct error *e);

#endif
