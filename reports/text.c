/* Text on its way out: escaping for HTML and XML, numbers for people, and the atomic write of a file.
 *
 * Escaping decodes UTF-8 strictly. In HTML what a reader could not see or would be fooled by (control characters,
 * bidirectional overrides, broken bytes) is replaced by a visible sign; in XML what the standard forbids is dropped. */
#include "reports/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define REPLACEMENT 0xFFFDu

const char *text_or(const char *text, const char *fallback) {
    return text && *text ? text : fallback;
}

/* Takes one code point off the front; REPLACEMENT (and one byte) where the bytes are not UTF-8 (RFC 3629). */
static uint32_t utf8_take(struct bytes *b) {
    const uint8_t *p = b->data;
    size_t extra = p[0] < 0x80 ? 0 : p[0] >= 0xC2 && p[0] < 0xE0 ? 1 : (p[0] & 0xF0) == 0xE0 ? 2 : 3;
    uint32_t code = p[0];
    bool good = extra < b->size && p[0] < 0xF5 && (p[0] < 0x80 || p[0] >= 0xC2);
    if (good && extra) code = p[0] & (0x3Fu >> extra);
    for (size_t i = 1; good && i <= extra; i++) {
        good = (p[i] & 0xC0) == 0x80;
        code = code << 6 | (p[i] & 0x3Fu);
    }
    if (good && extra == 2) good = code >= 0x800 && (code < 0xD800 || code > 0xDFFF);
    if (good && extra == 3) good = code >= 0x10000 && code <= 0x10FFFF;
    size_t taken = good ? extra + 1 : 1;
    b->data += taken;
    b->size -= taken;
    return good ? code : REPLACEMENT;
}

static void utf8_put(struct buffer *out, uint32_t c) {
    uint8_t b[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = n; i-- > 1; c >>= 6) b[i] = (uint8_t)(0x80 | (c & 0x3F));
    b[0] = (uint8_t)(lead[n] | c);
    buffer_append(out, b, n);
}

static const char *entity(uint32_t c) {
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    default: return NULL;
    }
}

static bool bidirectional(uint32_t c) {
    return c == 0x061C || c == 0x200E || c == 0x200F || (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

void html_bytes(struct buffer *out, struct bytes text) {
    while (text.size) {
        uint32_t c = utf8_take(&text);
        const char *named = entity(c);
        if (named)
            buffer_append(out, named, strlen(named));
        else if (c < 0x20 && c != '\n' && c != '\t')
            utf8_put(out, 0x2400 + c); /* the control pictures */
        else if ((c >= 0x7F && c < 0xA0) || bidirectional(c))
            utf8_put(out, REPLACEMENT);
        else
            utf8_put(out, c);
    }
}

void html_text(struct buffer *out, const char *text) {
    html_bytes(out, bytes_str(text_or(text, "")));
}

/* The nearest place at or before `at` where a character begins. */
static size_t character_start(struct bytes text, size_t at) {
    while (at > 0 && (text.data[at] & 0xC0) == 0x80) at--;
    return at;
}

void html_clipped(struct buffer *out, struct bytes text, size_t max) {
    if (text.size <= max) {
        html_bytes(out, text);
        return;
    }
    size_t head = character_start(text, max * 2 / 3), tail = character_start(text, text.size - max / 3);
    html_bytes(out, bytes_of(text.data, head));
    buffer_printf(out, " <i class=cut>\u2026 %zu bytes more \u2026</i> ", tail - head);
    html_bytes(out, bytes_of(text.data + tail, text.size - tail));
}

void xml_bytes(struct buffer *out, struct bytes text) {
    while (text.size) {
        uint32_t c = utf8_take(&text);
        const char *named = entity(c);
        if (named)
            buffer_append(out, named, strlen(named));
        else if (c == '\n' || c == '\t')
            buffer_printf(out, "&#%" PRIu32 ";", c); /* survive in attributes, too */
        else if (c >= 0x20 && c != 0x7F && c != 0xFFFE && c != 0xFFFF)
            utf8_put(out, c);
    }
}

void put_duration(struct buffer *out, uint64_t ns) {
    static const struct {
        uint64_t ns;
        const char *name;
    } units[] = {{NS_PER_S, "s"}, {NS_PER_MS, "ms"}, {NS_PER_US, "\u00b5s"}, {1, "ns"}};
    size_t u = 0;
    while (u < 3 && ns < units[u].ns) u++;
    double figure = (double)ns / (double)units[u].ns;
    int decimals = units[u].ns == 1 || figure >= 99.95 ? 0 : figure >= 9.995 ? 1 : 2;
    buffer_printf(out, "%.*f %s", decimals, figure, units[u].name);
}

void html_duration(struct buffer *out, uint64_t ns) {
    buffer_printf(out, "<span class=n>");
    put_duration(out, ns);
    buffer_printf(out, "</span>");
}

void put_count(struct buffer *out, uint64_t count) {
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%" PRIu64, count);
    for (int i = 0; i < n; i++) buffer_printf(out, "%s%c", i > 0 && (n - i) % 3 == 0 ? "," : "", digits[i]);
}

const char *fault_colour(const struct history *h, const struct fault_record *f) {
    struct bytes text = history_text_bytes(h, f->colour);
    bool good = text.size == 7 && text.data[0] == '#';
    for (size_t i = 1; good && i < 7; i++) good = strchr("0123456789abcdefABCDEF", text.data[i]) && text.data[i];
    return good ? (const char *)text.data : "#8a94a3";
}

static int write_all(int fd, const struct buffer *content) {
    for (size_t done = 0; done < content->size;) {
        ssize_t n = write(fd, content->data + done, content->size - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        done += (size_t)n;
    }
    return 0;
}

int file_replace(const char *path, const struct buffer *content, struct error *e) {
    struct stat there;
    bool as_it_is = stat(path, &there) == 0 && !S_ISREG(there.st_mode); /* a device, a pipe */
    char *beside = as_it_is ? xstrdup(path) : xformat("%s.%ld.tmp", path, (long)getpid());
    int result = 0;
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        result = error_set(e, "cannot write %s: %s", path, strerror(errno));
        goto out;
    }
    bool failed = write_all(fd, content) < 0;
    int write_errno = errno;
    if (close(fd) < 0 && !failed) failed = true, write_errno = errno;
    if (!failed && !as_it_is && rename(beside, path) < 0) failed = true, write_errno = errno;
    if (failed) {
        if (!as_it_is) unlink(beside);
        result = error_set(e, "cannot write %s: %s", path, strerror(write_errno));
    }
out:
    free(beside);
    return result;
}
