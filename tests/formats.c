/* Support for the tests of formats (formats.h). */
#include "tests/formats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

struct bytes format_exported(const struct history *h, enum history_format format) {
    char *data = NULL;
    size_t size = 0;
    struct error e = {{0}};
    FILE *out = open_memstream(&data, &size);
    assert_non_null(out);
    assert_int_equal(history_export(h, format, out, &e), 0);
    fclose(out);
    return bytes_of(data, size);
}

void free_format_text(struct bytes text) {
    free((void *)(uintptr_t)text.data);
}

struct history *format_imported(const char *text, enum history_format format, struct import_result *result) {
    struct history *h = history_new();
    struct error e = {{0}};
    if (history_import(bytes_str(text), "h", format, h, result, &e)) fail_msg("%s", e.text);
    return h;
}

/* What a text says, as JSON lines without times. */
void assert_format_says(const char *text, enum history_format format, const char *lines) {
    struct history *h = format_imported(text, format, NULL);
    struct bytes said = format_exported(h, FORMAT_JSONL);
    char *plain = xmalloc(said.size + 1), *at = plain;
    for (size_t i = 0; i < said.size; i++) {
        static const char time[] = ",\"time\":";
        if (said.size - i > sizeof time && memcmp(said.data + i, time, sizeof time - 1) == 0)
            while (said.data[i] != '}') i++;
        *at++ = (char)said.data[i];
    }
    *at = 0;
    assert_string_equal(plain, lines);
    free(plain);
    free_format_text(said);
    history_free(h);
}
