/* What import.c and the readers of the formats share. Private to history/. */
#ifndef HARROW_HISTORY_IMPORT_INTERNAL_H
#define HARROW_HISTORY_IMPORT_INTERNAL_H

#include "history/import.h"

#define TEXT_SLACK_BYTES ((size_t)16) /* of a file; of a text in memory none */

/* The text of a file, a piece at a time. What lies between at and end has been read and not yet been consumed; it
 * moves in memory with every text_more. */
struct text {
    const uint8_t *at, *end;
    size_t slack; /* bytes behind end that may be looked at */
    bool whole;   /* nothing comes after end */
    const char *name;
    int fd;
    uint64_t size_bytes, read_bytes; /* of the file, 0 if it is not known; so far */
    struct buffer buffer;
};

/* 1: there is more between at and end than before; 0: there is nothing more; -1 with e. */
int text_more(struct text *t, struct error *e);
/* The next line, without its end and with `ended`, whether there was one; 0 behind the last. */
int text_line(struct text *t, struct bytes *line, bool *ended, struct error *e);
bool text_is_blank(struct bytes text);
/* Room for operations: a large file goes on as it began, as a rule, so its first piece tells about how many come. */
void text_reserve(const struct text *t, struct history *h);

/* The readers. They clear h, and fill result but for its format. */
int jsonl_read(struct text *t, struct history *h, struct import_result *result, struct error *e);
int edn_read(struct text *t, struct history *h, struct import_result *result, struct error *e);
int jepsen_txt_read(struct text *t, struct history *h, struct import_result *result, struct error *e);
int porcupine_etcd_read(struct text *t, struct history *h, struct import_result *result, struct error *e);
int porcupine_kv_read(struct text *t, struct history *h, struct import_result *result, struct error *e);

/* Strings that grow by appends become lists of what was put and appended (porcupine.c). */
int take_strings_apart(struct history *h, const char *name, struct error *e);

int edn_export(const struct history *h, FILE *out, struct error *e);

#endif
