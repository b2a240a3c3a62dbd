/* Any bytes as JSON lines: an import refuses or takes them, and what it took comes back equal through an export. */
#include <stdio.h>
#include <stdlib.h>

#include "history/jsonl.h"
#include "tests/histories.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct history *h, *again;
    struct error e = {0};
    if (!h) {
        h = history_new();
        again = history_new();
    }
    if (jsonl_import(bytes_of(data, size), "input", h, NULL, &e)) {
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
