/* Any bytes as a history of Jepsen's, Elle's or porcupine's: an import refuses or takes them, and what it took comes
 * back equal through EDN and through JSON lines. The first byte chooses the format, or FUZZ_FORMAT in the environment
 * does, with a name as in `harrow check --format`. */
#include <stdio.h>
#include <stdlib.h>

#include "history/import.h"
#include "tests/histories.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void comes_back_equal(const struct history *h, enum history_format format) {
    static struct history *again;
    struct error e = {{0}};
    char *text = NULL;
    size_t size = 0;
    if (!again) again = history_new();
    FILE *out = open_memstream(&text, &size);
    int rc = history_export(h, format, out, &e);
    fclose(out);
    assert(rc == 0);
    rc = history_import(bytes_of(text, size), "exported", format, again, NULL, &e);
    if (rc || !histories_equal(h, again, &e)) fprintf(stderr, "%s\n%.*s", e.text, (int)size, text);
    assert(rc == 0 && histories_equal(h, again, &e));
    free(text);
}

static enum history_format choose(uint8_t byte) {
    static const enum history_format formats[] = {FORMAT_GUESS, FORMAT_EDN, FORMAT_PORCUPINE_ETCD, FORMAT_PORCUPINE_KV};
    const char *only = getenv("FUZZ_FORMAT");
    enum history_format format = formats[byte % (sizeof formats / sizeof *formats)];
    if (only && !history_format_find(only, &format)) abort();
    return format;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct history *h;
    struct error e = {{0}};
    if (!h) h = history_new();
    if (size == 0) return 0;
    if (history_import(bytes_of(data + 1, size - 1), "input", choose(data[0]), h, NULL, &e)) {
        assert(e.text[0]);
        return 0;
    }
    comes_back_equal(h, FORMAT_EDN);
    comes_back_equal(h, FORMAT_JSONL);
    return 0;
}
