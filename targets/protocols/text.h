/* text: one line about a message, for traces; protocols have no printf. */
#ifndef HARROW_TARGETS_TEXT_H
#define HARROW_TARGETS_TEXT_H

#include "targets/protocols/protocol.h"

struct text { /* what does not fit is left out */
    char *out;
    size_t size, capacity;
};

void text_add(struct text *t, const char *words);
void text_number(struct text *t, const char *name, uint64_t value);
void text_ballot(struct text *t, uint64_t ballot); /* " round=3 of n1" */
size_t text_end(struct text *t);                   /* ends it with a zero byte, returns its length */

#endif
