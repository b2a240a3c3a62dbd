/* Histories from elsewhere: one door for every format.
 *
 * jsonl           harrow's own, one event a line (jsonl.h).
 * edn             Jepsen's and Elle's history.edn: one map {:process 0, :type :invoke, :f :write, :value 1} after
 *                 another, or one vector or list of them; also #jepsen.history.Op{...}.
 * jepsen-txt      Jepsen's history.txt: process, type, f, value and error, with tabs between.
 * porcupine-etcd  the logs of Jepsen's etcd test: INFO  jepsen.util - 3 :invoke :write 4
 * porcupine-kv    the same maps as in edn, with a :key, and get, put and append of strings.
 *
 * What the formats say, as operations: docs/checkers.md, "Histories from elsewhere". Import is strict about meaning and
 * names the line of what it refuses. A file is read in pieces: memory goes with the history, not with the file. */
#ifndef HARROW_HISTORY_IMPORT_H
#define HARROW_HISTORY_IMPORT_H

#include <stdio.h>

#include "history/history.h"

enum history_format {
    FORMAT_GUESS,
    FORMAT_JSONL,
    FORMAT_EDN,
    FORMAT_JEPSEN_TXT,
    FORMAT_PORCUPINE_ETCD,
    FORMAT_PORCUPINE_KV,
    FORMATS
};

struct import_result {
    enum history_format format; /* never FORMAT_GUESS */
    uint64_t lines;
    bool cut_short; /* the file ends inside an event, which was left out; its operation stays pending */
    /* JSON lines: invocations that stand behind another process's completion of the same time. The lines order the two,
     * the times do not: checks will take them as concurrent and may miss a violation. Worth a warning when not zero. */
    uint64_t order_lost;
};

/* Clears h first. FORMAT_GUESS looks at how the content begins. `name` is for messages; result may be NULL. On -1 h is
 * in an unspecified but freeable state. */
int history_import(struct bytes text, const char *name, enum history_format format, struct history *h,
                   struct import_result *result, struct error *e);
int history_import_file(const char *path, enum history_format format, struct history *h, struct import_result *result,
                        struct error *e);

/* As JSON lines (jsonl_export) or as EDN: -1 for other formats, or when it cannot be written. EDN that was exported and
 * is imported again gives an equal history. */
int history_export(const struct history *h, enum history_format format, FILE *out, struct error *e);

const char *history_format_name(enum history_format format);             /* "guess" for FORMAT_GUESS */
bool history_format_find(const char *name, enum history_format *format); /* false: there is none of this name */

#endif
