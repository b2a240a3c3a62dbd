/* The door for histories of any format (import.h): reads a file piece by piece, looks at how it begins, and hands it to
 * the reader of that format. */
#include "history/import.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "history/import_internal.h"
#include "history/jsonl.h"

#define PIECE_BYTES ((size_t)64 << 10) /* small enough to stay in a processor's cache */
#define RESERVE_FILE_BYTES_MIN ((uint64_t)16 << 20)
#define RESERVE_LOOK_BYTES_MIN ((uint64_t)16 << 10)
#define LOOK_BYTES ((size_t)4096) /* how much of the beginning tells a format */

/* --- text in pieces ----------------------------------------------------------------------------------------------- */

static int read_some(struct text *t, struct error *e) {
    struct buffer *b = &t->buffer;
    while (b->size < b->capacity - t->slack) {
        ssize_t n = read(t->fd, b->data + b->size, b->capacity - t->slack - b->size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set(e, "cannot read %s: %s", t->name, strerror(errno));
        t->whole = n == 0;
        b->size += (size_t)n;
        t->read_bytes += (uint64_t)n;
        break;
    }
    memset(b->data + b->size, 0, t->slack);
    return 0;
}

int text_more(struct text *t, struct error *e) {
    if (t->whole) return 0;
    size_t left = (size_t)(t->end - t->at);
    struct buffer *b = &t->buffer;
    if (left) memmove(b->data, t->at, left);
    b->size = left;
    /* Half of it free: what is read twice, because its end was missing, is then read twice in all. */
    if (left + t->slack >= b->capacity / 2) buffer_reserve(b, b->capacity + PIECE_BYTES);
    int rc = read_some(t, e);
    t->at = b->data;
    t->end = b->data + b->size;
    if (rc) return -1;
    return b->size > left;
}

int text_line(struct text *t, struct bytes *line, bool *ended, struct error *e) {
    size_t looked_at = 0;
    for (;;) {
        size_t size = (size_t)(t->end - t->at);
        const uint8_t *newline = size > looked_at ? memchr(t->at + looked_at, '\n', size - looked_at) : NULL;
        looked_at = size;
        int more = newline ? 0 : text_more(t, e);
        if (more < 0) return -1;
        if (more > 0) continue;
        if (!newline && t->at == t->end) return 0;
        const uint8_t *end = newline ? newline : t->end;
        *line = bytes_of(t->at, (size_t)(end - t->at));
        *ended = newline;
        t->at = newline ? newline + 1 : end;
        return 1;
    }
}

bool text_is_blank(struct bytes text) {
    for (size_t i = 0; i < text.size; i++)
        if (!memchr(" \t\r", text.data[i], 3)) return false;
    return true;
}

void text_reserve(const struct text *t, struct history *h) {
    uint64_t done = t->read_bytes - (uint64_t)(t->end - t->at), ops = UINT32_MAX / 2;
    if (t->size_bytes < RESERVE_FILE_BYTES_MIN || done < RESERVE_LOOK_BYTES_MIN) return;
    uint64_t estimate = h->count * (t->size_bytes / 1024) / (done / 1024);
    estimate += estimate / 16;
    history_reserve(h, (uint32_t)(estimate < ops ? estimate : ops));
}

/* --- which format ------------------------------------------------------------------------------------------------- */

static const char *const names[FORMATS] = {
    [FORMAT_GUESS] = "guess",
    [FORMAT_JSONL] = "jsonl",
    [FORMAT_EDN] = "edn",
    [FORMAT_JEPSEN_TXT] = "jepsen-txt",
    [FORMAT_PORCUPINE_ETCD] = "porcupine-etcd",
    [FORMAT_PORCUPINE_KV] = "porcupine-kv",
};

const char *history_format_name(enum history_format format) {
    assert(format < FORMATS);
    return names[format];
}

bool history_format_find(const char *name, enum history_format *format) {
    for (enum history_format i = FORMAT_GUESS + 1; i < FORMATS; i++) {
        if (strcmp(names[i], name) != 0) continue;
        *format = i;
        return true;
    }
    return false;
}

static bool contains(struct bytes text, const char *part) {
    return memmem(text.data, text.size, part, strlen(part)) != NULL;
}

/* JSON begins with an object whose names are strings, EDN with a comment, a tag, or a map whose keys are keywords; a
 * bracket may begin either. */
static enum history_format guess(struct bytes begin) {
    const uint8_t *at = begin.data, *end = begin.data + begin.size;
    if (contains(begin, "jepsen.util")) return FORMAT_PORCUPINE_ETCD;
    bool process = at < end && ((*at >= '0' && *at <= '9') || *at == ':');
    if (process && (contains(begin, "\t:invoke\t") || contains(begin, "\t:info\t"))) return FORMAT_JEPSEN_TXT;
    while (at < end && *at != 0 && strchr(" \t\r\n,{[(", *at)) at++;
    if (at == end || *at == 0 || !strchr(";:#", *at)) return FORMAT_JSONL;
    bool store = contains(begin, ":f :get,") || contains(begin, ":f :put,");
    return store && contains(begin, ":key \"") ? FORMAT_PORCUPINE_KV : FORMAT_EDN;
}

static int read_text(struct text *t, enum history_format format, struct history *h, struct import_result *result,
                     struct error *e) {
    struct import_result unused;
    if (!result) result = &unused;
    *result = (struct import_result){.format = format};
    if (!t->whole && text_more(t, e) < 0) return -1;
    if (t->end - t->at >= 3 && memcmp(t->at, "\xef\xbb\xbf", 3) == 0) t->at += 3; /* a byte order mark */
    size_t size = (size_t)(t->end - t->at);
    if (format == FORMAT_GUESS) result->format = guess(bytes_of(t->at, size < LOOK_BYTES ? size : LOOK_BYTES));
    switch (result->format) {
    case FORMAT_EDN: return edn_read(t, h, result, e);
    case FORMAT_JEPSEN_TXT: return jepsen_txt_read(t, h, result, e);
    case FORMAT_PORCUPINE_ETCD: return porcupine_etcd_read(t, h, result, e);
    case FORMAT_PORCUPINE_KV: return porcupine_kv_read(t, h, result, e);
    default: return jsonl_read(t, h, result, e);
    }
}

int history_import(struct bytes text, const char *name, enum history_format format, struct history *h,
                   struct import_result *result, struct error *e) {
    static const uint8_t nothing[1];
    const uint8_t *data = text.size ? text.data : nothing;
    struct text t = {.at = data, .end = data + text.size, .whole = true, .name = name, .fd = -1};
    return read_text(&t, format, h, result, e);
}

int history_import_file(const char *path, enum history_format format, struct history *h, struct import_result *result,
                        struct error *e) {
    struct text t = {.name = path, .slack = TEXT_SLACK_BYTES, .fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (t.fd < 0) return error_set(e, "cannot open %s: %s", path, strerror(errno));
    struct stat about;
    if (fstat(t.fd, &about) == 0 && S_ISREG(about.st_mode) && about.st_size > 0) t.size_bytes = (uint64_t)about.st_size;
    buffer_reserve(&t.buffer, PIECE_BYTES);
    t.at = t.end = t.buffer.data;
    int rc = read_text(&t, format, h, result, e);
    close(t.fd);
    buffer_free(&t.buffer);
    return rc;
}

int history_export(const struct history *h, enum history_format format, FILE *out, struct error *e) {
    if (format == FORMAT_JSONL) return jsonl_export(h, out, e);
    if (format == FORMAT_EDN) return edn_export(h, out, e);
    return error_set(e, "harrow writes jsonl and edn, not %s", history_format_name(format));
}
