/* The top of the page: the banner with verdict, reason and replay command; what was run; and the table of checks. */
#include "reports/internal.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

#define OPTIONS_MAX 40u
#define DURING_MAX 6u

static const char *verdict_class(const struct view *v) {
    const char *verdict = text_or(v->run->verdict, "");
    return strcmp(verdict, "valid") == 0 ? "valid" : strcmp(verdict, "invalid") == 0 ? "invalid" : "unknown";
}

/* --- the banner --------------------------------------------------------------------------------------------------- */

static void banner_sign(struct buffer *out, const char *verdict) {
    static const char open[] = "<svg viewBox=\"0 0 30 30\" fill=none stroke=#fff stroke-width=3 stroke-linecap=round "
                               "aria-hidden=true><circle cx=15 cy=15 r=13 /><path d=\"";
    const char *sign = strcmp(verdict, "valid") == 0     ? "M9 15.5l4.2 4.3L21.5 11"
                       : strcmp(verdict, "invalid") == 0 ? "M10 10l10 10M20 10L10 20"
                                                         : "M11 11.5a4 4 0 1 1 5.5 3.7c-1 .5-1.5 1.2-1.5 2.3M15 22v.1";
    buffer_printf(out, "%s%s\"/></svg>", open, sign);
}

/* Which faults were active while the offending operations ran: half of the answer, so it belongs to the top. */
static void banner_during(struct buffer *out, const struct view *v) {
    if (!v->has_window) return;
    const struct history *h = v->h;
    uint32_t names[DURING_MAX], count = 0;
    bool more = false;
    for (uint32_t i = 0; i < h->faults_count; i++) {
        const struct fault_record *f = &h->faults[i];
        if (f->start_ns > v->window.end_ns || f->end_ns < v->window.start_ns) continue;
        bool known = false;
        for (uint32_t n = 0; n < count; n++) known |= names[n] == f->name;
        if (known) continue;
        if (count == DURING_MAX)
            more = true;
        else
            names[count++] = f->name;
    }
    buffer_printf(out, "<p class=during>Between %.3f s and %.3f s, ", seconds(v->window.start_ns),
                  seconds(v->window.end_ns));
    buffer_printf(out, count ? "under: <b>" : "under no fault.");
    for (uint32_t n = 0; n < count; n++) {
        buffer_printf(out, "%s", n ? ", " : "");
        html_clipped(out, history_text_bytes(h, names[n]), VALUE_BYTES_MAX);
    }
    buffer_printf(out, "%s%s</p>\n", count ? "</b>" : "", more ? " and more" : "");
}

void section_banner(struct buffer *out, const struct view *v) {
    const struct run_info *run = v->run;
    const char *verdict = verdict_class(v);
    buffer_printf(out, "<header class=\"banner %s\"><div class=inside>\n<p class=over>harrow \u00b7 ", verdict);
    html_text(out, text_or(run->scenario, "unnamed scenario"));
    buffer_printf(out, " \u00b7 ");
    html_text(out, text_or(run->run, "unnamed run"));
    buffer_printf(out, "</p>\n<h1>");
    banner_sign(out, verdict);
    buffer_printf(out, "%s</h1>\n<p class=why>", *verdict == 'v' ? "Valid" : *verdict == 'i' ? "Invalid" : "Unknown");
    if (text_or(run->detail, NULL)) {
        html_clipped(out, bytes_str(run->detail), 2000);
    } else if (v->culprit) {
        html_text(out, v->culprit->name);
        buffer_printf(out, ": ");
        html_clipped(out, bytes_str(text_or(v->culprit->detail, verdict_name(v->culprit->verdict))), 2000);
    } else {
        buffer_printf(out, *verdict == 'v' ? "Every check passed." : "No reason was recorded.");
    }
    buffer_printf(out, "</p>\n");
    banner_during(out, v);
    if (text_or(v->in->replay_command, NULL)) {
        buffer_printf(out, "<div class=replay><b>%s</b><code>", v->real_time ? "Run again" : "Replay");
        html_text(out, v->in->replay_command);
        buffer_printf(out, "</code><button type=button>Copy</button></div>\n");
    }
    buffer_printf(out, "</div></header>\n");
}

/* --- what was run ------------------------------------------------------------------------------------------------- */

/* The text of `doc = "..."` in the scenario's source: string literals of Lua's three kinds, joined by `..`. */
static const char *doc_literal(const char *at, struct buffer *doc) {
    if (at[0] == '[' && at[1] == '[') {
        const char *end = strstr(at + 2, "]]");
        if (!end) return NULL;
        buffer_append(doc, at + 2, (size_t)(end - at - 2));
        return end + 2;
    }
    char quote = *at;
    if (quote != '"' && quote != '\'') return NULL;
    for (at++; *at && *at != quote; at++) {
        char c = *at;
        if (c == '\\') {
            c = *++at;
            if (c == 0) return NULL;
            if (c == 'z') {
                at += strspn(at + 1, " \t\r\n");
                continue;
            }
            if (c == 'n' || c == '\n') c = ' ';
        }
        buffer_append(doc, &c, 1);
    }
    return *at ? at + 1 : NULL;
}

static void scenario_doc(const char *source, struct buffer *doc) {
    static const char space[] = " \t\r\n";
    for (const char *at = source; (at = strstr(at, "doc"));) {
        bool inside_word = at > source && (strchr("_.", at[-1]) || (at[-1] >= 'a' && at[-1] <= 'z'));
        at += 3;
        const char *value = at + strspn(at, space);
        if (inside_word || *value != '=' || value[1] == '=') continue;
        for (value++; value; value += 2) {
            value += strspn(value, space);
            value = doc_literal(value, doc);
            if (!value) return;
            value += strspn(value, space);
            if (strncmp(value, "..", 2) != 0) return;
        }
    }
}

static void fact_open(struct buffer *out, const char *name) {
    buffer_printf(out, "<div><dt>%s</dt><dd>", name);
}

static void fact_close(struct buffer *out) {
    buffer_printf(out, "</dd></div>\n");
}

static void fact_text(struct buffer *out, const char *name, const char *text) {
    fact_open(out, name);
    html_clipped(out, bytes_str(text_or(text, "\u2014")), VALUE_BYTES_MAX);
    fact_close(out);
}

static void fact_count(struct buffer *out, const char *name, uint64_t count) {
    fact_open(out, name);
    put_count(out, count);
    fact_close(out);
}

static void option_fact(struct buffer *out, const char *key, const json_t *value, size_t *shown) {
    if (++*shown > OPTIONS_MAX) return;
    buffer_printf(out, "<div><dt>");
    html_clipped(out, bytes_str(key), VALUE_BYTES_MAX);
    buffer_printf(out, "</dt><dd>");
    char *text =
        json_is_string(value) ? xstrdup(json_string_value(value)) : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    html_clipped(out, bytes_str(text_or(text, "")), VALUE_BYTES_MAX);
    free(text);
    fact_close(out);
}

/* Options that say nothing: absent, zero, off, or told elsewhere in the list. */
static bool option_is_silent(const char *key, const json_t *value) {
    if (strcmp(key, "nodes") == 0 || strcmp(key, "time") == 0 || strcmp(key, "sets") == 0) return true;
    if (strcmp(key, "invariants") == 0) return json_is_true(value); /* on is the rule; off must be told */
    return json_is_null(value) || json_is_false(value) || (json_is_integer(value) && json_integer_value(value) == 0);
}

/* One entry a fact; an object's entries stand for it. */
static void option_entries(struct buffer *out, json_t *options, size_t *shown) {
    const char *key;
    json_t *value;
    json_object_foreach(options, key, value) {
        if (json_is_object(value) && !option_is_silent(key, value)) {
            const char *inner_key;
            json_t *inner;
            json_object_foreach(value, inner_key, inner) {
                if (!option_is_silent(inner_key, inner)) option_fact(out, inner_key, inner, shown);
            }
        } else if (!option_is_silent(key, value)) {
            option_fact(out, key, value, shown);
        }
    }
}

static void option_facts(struct buffer *out, const char *options_json) {
    json_t *options = json_loads(text_or(options_json, "{}"), 0, NULL);
    if (!json_is_object(options)) {
        fact_text(out, "options", options_json);
        json_decref(options);
        return;
    }
    size_t shown = 0;
    option_entries(out, options, &shown);
    json_decref(options);
}

static void ops_share(struct buffer *out, const struct view *v) {
    uint64_t counts[4] = {0};
    for (uint32_t i = 0; i < v->h->count; i++) counts[v->h->status[i] & 3]++;
    static const struct {
        uint32_t status;
        const char *name, *meaning;
    } parts[] = {{OP_OK, "ok", "certainly happened"},
                 {OP_FAIL, "fail", "certainly did not"},
                 {OP_INFO, "info", "unknown"},
                 {OP_PENDING, "pending", "never came back"}};
    buffer_printf(out, "<div class=share role=img aria-label=\"operations by outcome\">");
    for (size_t i = 0; i < 4; i++)
        if (counts[parts[i].status])
            buffer_printf(out, "<i style=\"flex:%" PRIu64 ";background:var(--%s)\"></i>", counts[parts[i].status],
                          i == 3 ? "muted" : parts[i].name);
    buffer_printf(out, "</div><p class=legend><span><b>");
    put_count(out, v->h->count);
    buffer_printf(out, "</b> operations</span>");
    for (size_t i = 0; i < 4; i++) {
        if (i == 3 && counts[OP_PENDING] == 0) continue;
        buffer_printf(out, "<span><i class=dot style=\"background:var(--%s)\"></i><b>",
                      i == 3 ? "muted" : parts[i].name);
        put_count(out, counts[parts[i].status]);
        buffer_printf(out, "</b> %s, %s</span>", parts[i].name, parts[i].meaning);
    }
    buffer_printf(out, "</p>\n");
}

void section_facts(struct buffer *out, const struct view *v) {
    const struct run_info *run = v->run;
    buffer_printf(out, "<section id=run><h2>What was run</h2>\n");
    struct buffer doc = {0};
    scenario_doc(text_or(run->scenario_text, ""), &doc);
    if (doc.size) {
        buffer_printf(out, "<p class=doc>");
        html_clipped(out, bytes_of(doc.data, doc.size), 4000);
        buffer_printf(out, "</p>\n");
    }
    buffer_free(&doc);
    buffer_printf(out, "<dl class=facts>\n");
    fact_text(out, "scenario", run->scenario);
    fact_text(out, "target", run->target);
    fact_text(out, "world", run->world);
    fact_open(out, "seed");
    buffer_printf(out, "%" PRIu64, run->seed);
    fact_close(out);
    fact_text(out, "mutant", text_or(run->mutant, "none"));
    fact_count(out, "nodes", v->in->nodes);
    fact_text(out, "started", run->started_at);
    fact_open(out, "ran for");
    buffer_printf(out, "%.6g s <small>in %.3g s of wall time</small>",
                  run->virtual_seconds > 0 ? run->virtual_seconds : seconds(v->end_ns), run->wall_seconds);
    fact_close(out);
    fact_count(out, "events", run->events);
    fact_count(out, "faults", v->h->faults_count);
    if (!v->real_time) {
        fact_open(out, "trace hash");
        buffer_printf(out, "<code>%016" PRIx64 "</code>", run->trace_hash);
        fact_close(out);
    }
    option_facts(out, run->options_json);
    buffer_printf(out, "</dl>\n");
    ops_share(out, v);
    buffer_printf(out, "</section>\n");
}

/* --- the checks --------------------------------------------------------------------------------------------------- */

void section_checks(struct buffer *out, const struct view *v) {
    buffer_printf(out, "<section id=checks><h2>Checks</h2>\n");
    if (v->in->checks_count == 0) {
        buffer_printf(out, "<p class=missing>No check was made, so nothing is proved.</p></section>\n");
        return;
    }
    buffer_printf(out, "<table class=fit><thead><tr><th class=t>verdict</th><th "
                       "class=t>check</th><th>detail</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < v->in->checks_count && i < CHECK_ROWS_MAX; i++) {
        const struct check_result *c = &v->in->checks[i];
        const char *verdict = verdict_name(c->verdict);
        buffer_printf(out, "<tr><td class=t><span class=\"chip %s\">%s</span></td><td class=\"k t\">", verdict,
                      verdict);
        html_clipped(out, bytes_str(text_or(c->name, "unnamed")), VALUE_BYTES_MAX);
        buffer_printf(out, "</td><td>");
        html_clipped(out, bytes_str(text_or(c->detail, "")), 2000);
        buffer_printf(out, "</td></tr>\n");
    }
    buffer_printf(out, "</tbody></table>\n");
    if (v->in->checks_count > CHECK_ROWS_MAX)
        buffer_printf(out, "<p class=more>and %zu more checks</p>\n", v->in->checks_count - CHECK_ROWS_MAX);
    buffer_printf(out, "</section>\n");
}
