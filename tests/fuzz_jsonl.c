/* Any bytes as JSON lines: an import refuses or takes them, the quick reader as the strict one, and what it took comes
 * back equal through an export. */
#include <stdio.h>
#include <stdlib.h>

#include "history/jsonl.h"
#include "tests/histories.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A blank before a line keeps the quick reader off. */
static void strict_says_the_same(const uint8_t *data, size_t size, const struct history *quick,
                                 const struct error *refused) {
    static struct history *strict;
    struct buffer blanked = {0};
    struct error e = {0};
    if (!strict) strict = history_new();
    for (size_t i = 0; i < size; i++) {
        bool begins = i == 0 || data[i - 1] == '\n';
        if (begins && data[i] == '{') buffer_append(&blanked, " ", 1);
        buffer_append(&blanked, data + i, 1);
    }
    int rc = jsonl_import(bytes_of(blanked.data, blanked.size), "input", strict, NULL, &e);
    assert((rc == 0) == (refused->text[0] == 0) && strcmp(e.text, refused->text) == 0);
    if (rc == 0 && !histories_equal(quick, strict, &e)) {
        fprintf(stderr, "%s\n", e.text);
        abort();
    }
    buffer_free(&blanked);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct history *h, *again;
    struct error e = {0};
    if (!h) {
        h = history_new();
        again = history_new();
    }
    int refused = jsonl_import(bytes_of(data, size), "input", h, NULL, &e);
    strict_says_the_same(data, size, h, &e);
    if (refused) {
        assert(e.text[0]);
        return 0;
    }
    char *text = NULL;
    size_t text_size = 0;
    FILE *out = open_memstream(&text, &text_size);
    int rc = jsonl_export(h, out, &e);
    fclose(out);
    assert(rc == 0);
    rc = jsonl_import(bytes_of(text, text_size), "exported", again, NULL, &e);
    assert(rc == 0);
    assert(histories_equal(h, again, &e));
    free(text);
    return 0;
}
