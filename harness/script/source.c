/* A scanner over the text of a scenario. It knows comments, strings, names and brackets, no more: enough to refuse what
 * cannot be deterministic before anything runs, to find the line of a field for a message, and to see which kinds of
 * faults a scenario names. What is not valid Lua is left for the compiler to explain. */
#include "harness/script/internal.h"

#include <ctype.h>

enum token_kind { TOKEN_END, TOKEN_NAME, TOKEN_STRING, TOKEN_NUMBER, TOKEN_SIGN };

struct token {
    enum token_kind kind;
    struct bytes text; /* of a STRING: between its quotes */
    uint32_t line;
};

struct scanner {
    struct bytes text;
    size_t at;
    uint32_t line;
};

static int peek_char(const struct scanner *s, size_t ahead) {
    return s->at + ahead < s->text.size ? s->text.data[s->at + ahead] : -1;
}

static void advance(struct scanner *s) {
    if (s->text.data[s->at++] == '\n') s->line++;
}

/* The level of a long bracket that opens here: [[ is 1, [=[ is 2; 0: none does. */
static size_t long_bracket(const struct scanner *s) {
    if (peek_char(s, 0) != '[') return 0;
    size_t level = 1;
    while (peek_char(s, level) == '=') level++;
    return peek_char(s, level) == '[' ? level : 0;
}

/* Skips a long string or comment and returns what is in it. */
static struct bytes scan_long(struct scanner *s, size_t level) {
    s->at += level + 1;
    size_t start = s->at;
    for (; s->at < s->text.size; advance(s)) {
        if (peek_char(s, 0) != ']') continue;
        size_t same = 1;
        while (peek_char(s, same) == '=') same++;
        if (same != level || peek_char(s, same) != ']') continue;
        struct bytes inside = bytes_of(s->text.data + start, s->at - start);
        s->at += level + 1;
        return inside;
    }
    return bytes_of(s->text.data + start, s->at - start);
}

static struct bytes scan_quoted(struct scanner *s) {
    uint8_t quote = s->text.data[s->at++];
    size_t start = s->at;
    while (s->at < s->text.size && s->text.data[s->at] != quote && s->text.data[s->at] != '\n') {
        if (s->text.data[s->at] == '\\' && s->at + 1 < s->text.size) advance(s);
        advance(s);
    }
    struct bytes inside = bytes_of(s->text.data + start, s->at - start);
    if (s->at < s->text.size) advance(s);
    return inside;
}

static void skip_blanks(struct scanner *s) {
    while (s->at < s->text.size) {
        if (isspace(peek_char(s, 0))) {
            advance(s);
        } else if (peek_char(s, 0) == '-' && peek_char(s, 1) == '-') {
            s->at += 2;
            size_t level = long_bracket(s);
            if (level) {
                scan_long(s, level);
            } else {
                while (s->at < s->text.size && peek_char(s, 0) != '\n') s->at++;
            }
        } else {
            return;
        }
    }
}

static bool word_char(int c) {
    return c >= 0 && (isalnum(c) || c == '_');
}

static struct token next_token(struct scanner *s) {
    skip_blanks(s);
    struct token t = {.kind = TOKEN_END, .line = s->line};
    if (s->at >= s->text.size) return t;
    size_t start = s->at, level = long_bracket(s);
    int c = peek_char(s, 0);
    if (level || c == '"' || c == '\'') {
        t.kind = TOKEN_STRING;
        t.text = level ? scan_long(s, level) : scan_quoted(s);
        return t;
    }
    if (word_char(c)) {
        t.kind = isdigit(c) ? TOKEN_NUMBER : TOKEN_NAME;
        while (word_char(peek_char(s, 0))) s->at++;
    } else {
        t.kind = TOKEN_SIGN;
        advance(s);
    }
    t.text = bytes_of(s->text.data + start, s->at - start);
    return t;
}

static bool token_is(struct token t, enum token_kind kind, const char *text) {
    return t.kind == kind && bytes_equal(t.text, bytes_str(text));
}

int source_check(const char *name, struct bytes text, struct error *e) {
    if (text.size > SCRIPT_SOURCE_BYTES_MAX) {
        return error_set(e, "%s: %zu bytes are too many for a scenario; at most %zu", name, text.size,
                         SCRIPT_SOURCE_BYTES_MAX);
    }
    struct scanner s = {.text = text, .line = 1};
    for (struct token t = next_token(&s); t.kind != TOKEN_END; t = next_token(&s)) {
        if (token_is(t, TOKEN_SIGN, "^")) {
            return error_set(e,
                             "%s:%u: '^' is not there in a scenario: its result differs between processors; multiply",
                             name, t.line);
        }
        bool word = t.kind == TOKEN_NAME || t.kind == TOKEN_STRING;
        bool mode = bytes_equal(t.text, bytes_str("__mode")), gc = bytes_equal(t.text, bytes_str("__gc"));
        if (word && (mode || gc)) {
            return error_set(e, "%s:%u: %s is not there in a scenario: it would show when memory is freed", name,
                             t.line, mode ? "__mode" : "__gc");
        }
    }
    return 0;
}

/* How a token changes the depth of blocks: those that `end` or `until` closes. */
static int block_step(struct token t) {
    static const char *const openers[] = {"function", "do", "if", "repeat"};
    if (t.kind != TOKEN_NAME) return 0;
    for (size_t i = 0; i < sizeof openers / sizeof *openers; i++) {
        if (bytes_equal(t.text, bytes_str(openers[i]))) return 1;
    }
    return token_is(t, TOKEN_NAME, "end") || token_is(t, TOKEN_NAME, "until") ? -1 : 0;
}

uint32_t source_field_line(struct bytes text, const char *outer, const char *field) {
    struct scanner s = {.text = text, .line = 1};
    struct token before = {0}, name = {0};
    int blocks = 0, braces = 0, parens = 0;
    bool returned = false, inside_outer = outer == NULL;
    for (struct token t = next_token(&s); t.kind != TOKEN_END; t = next_token(&s)) {
        int depth = outer ? 2 : 1;
        bool starts =
            token_is(before, TOKEN_SIGN, "{") || token_is(before, TOKEN_SIGN, ",") || token_is(before, TOKEN_SIGN, ";");
        if (token_is(t, TOKEN_NAME, "return") && blocks == 0 && braces == 0) returned = true;
        if (t.kind == TOKEN_NAME && starts) name = t;
        if (token_is(t, TOKEN_SIGN, "=") && returned && blocks == 0 && parens == 0 && before.kind == TOKEN_NAME &&
            before.text.data == name.text.data) {
            if (inside_outer && braces == depth && bytes_equal(name.text, bytes_str(field))) return name.line;
            if (outer && braces == 1) inside_outer = bytes_equal(name.text, bytes_str(outer));
        }
        blocks += block_step(t);
        braces += token_is(t, TOKEN_SIGN, "{") - token_is(t, TOKEN_SIGN, "}");
        parens += token_is(t, TOKEN_SIGN, "(") - token_is(t, TOKEN_SIGN, ")");
        before = t;
    }
    return 0;
}

#define WHOLE_DISKS (FAULT_KINDS + 1)
static_assert(FAULT_WHOLE_DISKS == UINT32_C(1) << WHOLE_DISKS, "the bit and its number");

/* Two names joined by a dot or colon, and the kind of fault that they mean; NULL is any name. */
static const struct need {
    const char *left, *right;
    uint32_t kind; /* enum fault_kind, or the number of another capability's bit */
} needs[] = {
    {"partition", NULL, FAULT_LINK},      {"network", NULL, FAULT_LINK},
    {"process", "kill", FAULT_KILL},      {"process", "restart", FAULT_KILL},
    {"process", "terminate", FAULT_KILL}, {"process", "start_failure", FAULT_KILL},
    {"process", "pause", FAULT_PAUSE},    {"process", "slow", FAULT_SLOW},
    {"clock", NULL, FAULT_CLOCK},         {"disk", "power_loss", FAULT_POWER},
    {"disk", "stall", FAULT_DISK},        {"disk", "error", FAULT_DISK},
    {"disk", "lie", FAULT_DISK},          {"disk", "full", WHOLE_DISKS},
    {"disk", "rot", WHOLE_DISKS},         {"disk", "read_error", WHOLE_DISKS},
    {"disk", "slow", WHOLE_DISKS},        {NULL, "isolate", FAULT_LINK},
    {NULL, "partition", FAULT_LINK},      {NULL, "cut", FAULT_LINK},
    {NULL, "kill", FAULT_KILL},           {NULL, "terminate", FAULT_KILL},
    {NULL, "pause", FAULT_PAUSE},         {NULL, "power_loss", FAULT_POWER},
};

uint32_t source_needs(struct bytes text) {
    struct scanner s = {.text = text, .line = 1};
    struct token left = {0}, sign = {0};
    uint32_t mask = 0;
    bool filters = false;
    for (struct token t = next_token(&s); t.kind != TOKEN_END; t = next_token(&s)) {
        bool field = token_is(left, TOKEN_SIGN, "{") || token_is(left, TOKEN_SIGN, ",");
        filters |= field && token_is(sign, TOKEN_NAME, "filter") && token_is(t, TOKEN_SIGN, "=");
        bool dot = token_is(sign, TOKEN_SIGN, "."), colon = token_is(sign, TOKEN_SIGN, ":");
        for (size_t i = 0; i < sizeof needs / sizeof *needs && t.kind == TOKEN_NAME && (dot || colon); i++) {
            bool left_fits = needs[i].left ? dot && token_is(left, TOKEN_NAME, needs[i].left) : colon;
            bool right_fits = !needs[i].right || token_is(t, TOKEN_NAME, needs[i].right);
            if (left_fits && right_fits) mask |= UINT32_C(1) << needs[i].kind;
        }
        left = sign;
        sign = t;
    }
    if (mask & FAULT_WHOLE_DISKS) mask |= UINT32_C(1) << FAULT_DISK;
    bool links = mask & UINT32_C(1) << FAULT_LINK;
    return filters && links ? mask | FAULT_LINK_FILTERS : mask;
}
