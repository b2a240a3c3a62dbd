/* The text of text.h. */
#include "targets/protocols/text.h"
#include "targets/protocols/quorum.h"

void text_add(struct text *t, const char *words) {
    for (; *words && t->size + 1 < t->capacity; words++) t->out[t->size++] = *words;
}

void text_number(struct text *t, const char *name, uint64_t value) {
    char digits[21];
    size_t n = sizeof digits;
    digits[--n] = 0;
    do digits[--n] = (char)('0' + value % 10);
    while (value /= 10);
    text_add(t, name);
    text_add(t, digits + n);
}

void text_ballot(struct text *t, uint64_t ballot) {
    text_number(t, " round=", ballot_round(ballot));
    text_number(t, " of n", ballot_node(ballot) + 1u);
}

size_t text_end(struct text *t) {
    if (t->capacity) t->out[t->size] = 0;
    return t->size;
}
