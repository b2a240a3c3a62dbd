/* Support for the tests of formats: texts to histories and back, where failing ends the test. */
#ifndef HARROW_TESTS_FORMATS_H
#define HARROW_TESTS_FORMATS_H

#include "history/import.h"

struct bytes format_exported(const struct history *h, enum history_format format); /* for free_format_text */
void free_format_text(struct bytes text);
struct history *format_imported(const char *text, enum history_format format, struct import_result *result);
/* What a text says, as JSON lines without times. */
void assert_format_says(const char *text, enum history_format format, const char *lines);

#endif
