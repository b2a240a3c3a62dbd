/* Scenarios as named on a command line. A scenario may pin how it is run, in lines of its own among the comments:
 *     -- harrow: --seed 7 --time 3 --set clients=4
 * which is what `hunt --write` leaves behind. The command line stands over what is pinned. */
#include "harness/cli/cli.h"

#include <stdlib.h>

#define PRAGMA "-- harrow:"
#define WORDS_MAX 64

static const struct command pragma = {
    .name = "a \"" PRAGMA "\" line",
    .arguments = "options",
    .options = OPTION_BIT(OPTION_TARGET) | OPTION_BIT(OPTION_SEED) | OPTION_BIT(OPTION_TIME) | OPTION_BIT(OPTION_SET) |
               OPTION_BIT(OPTION_WITHOUT) | OPTION_BIT(OPTION_MUTANT),
};

/* All pragma lines as one string of words. */
static char *pragma_words(struct bytes text) {
    struct buffer words = {0};
    const char *at = (const char *)text.data, *end = at + text.size;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t size = (size_t)((newline ? newline : end) - at);
        if (size > strlen(PRAGMA) && memcmp(at, PRAGMA, strlen(PRAGMA)) == 0) {
            buffer_append(&words, at + strlen(PRAGMA), size - strlen(PRAGMA));
            buffer_append(&words, " ", 1);
        }
        at += size + 1;
    }
    buffer_append(&words, "", 1);
    return (char *)words.data;
}

static int parse_pragma(struct source *s, struct error *e) {
    char *argv[WORDS_MAX], *rest = NULL;
    int argc = 0;
    s->pinned = (struct cli){.command = &pragma, .words = pragma_words(s->text)};
    for (char *w = strtok_r(s->pinned.words, " \t\r", &rest); w; w = strtok_r(NULL, " \t\r", &rest)) {
        if (argc == WORDS_MAX) return error_set(e, "%s: more than %d words in \"" PRAGMA "\"", s->name, WORDS_MAX);
        argv[argc++] = w;
    }
    bool help_asked;
    struct error inner = {{0}};
    if (options_parse(&s->pinned, argc, argv, &help_asked, &inner) || help_asked)
        return error_set(e, "%s: in a \"" PRAGMA "\" line: %s", s->name, inner.text);
    return 0;
}

int cli_source_load(struct source *s, const char *argument, struct error *e) {
    *s = (struct source){0};
    if (script_find(argument, &s->name, &s->text, e)) return -1;
    if (parse_pragma(s, e) == 0) return 0;
    cli_source_free(s);
    return -1;
}

int cli_source_of_text(struct source *s, const char *name, struct bytes text, struct error *e) {
    uint8_t *copy = xmalloc(text.size + 1);
    if (text.size) memcpy(copy, text.data, text.size);
    *s = (struct source){.name = xstrdup(name), .text = bytes_of(copy, text.size)};
    if (parse_pragma(s, e) == 0) return 0;
    cli_source_free(s);
    return -1;
}

void cli_source_free(struct source *s) {
    free(s->name);
    free((void *)(uintptr_t)s->text.data);
    free(s->pinned.words);
    *s = (struct source){0};
}

static const char *first_of(const char *a, const char *b, const char *otherwise) {
    return a ? a : b ? b : otherwise;
}

/* "raft/no-vote-fsync" runs on raft unless said otherwise. */
static const char *target_of_mutant(const char *mutant) {
    for (const struct target_info *t = targets_all(); mutant && t->name; t++) {
        size_t size = strlen(t->name);
        if (strncmp(mutant, t->name, size) == 0 && mutant[size] == '/') return t->name;
    }
    return "raft";
}

static size_t merge_sets(const struct cli *pinned, const struct cli *c, struct script_set *sets) {
    size_t count = 0;
    for (size_t i = 0; i < pinned->sets_count; i++) {
        bool over = false;
        for (size_t n = 0; n < c->sets_count; n++) over = over || strcmp(pinned->sets[i].key, c->sets[n].key) == 0;
        if (!over) sets[count++] = pinned->sets[i];
    }
    for (size_t n = 0; n < c->sets_count; n++) sets[count++] = c->sets[n];
    return count;
}

void cli_source_options(const struct source *s, const struct cli *c, struct script_set *sets, struct run_options *o,
                        bool *seed_known) {
    const struct cli *p = &s->pinned;
    const uint64_t seed = OPTION_BIT(OPTION_SEED);
    *o = (struct run_options){
        .scenario_name = s->name,
        .scenario_text = s->text,
        .world = first_of(c->world, NULL, "sim"),
        .mutant = first_of(c->mutant, p->mutant, ""),
        .seed = c->given & seed ? c->seed : p->seed,
        .time_ns = c->time_ns ? c->time_ns : p->time_ns,
        .sets = sets,
        .sets_count = merge_sets(p, c, sets),
        .invariants = !c->no_invariants,
        .without = c->without | p->without,
        .pcap = c->pcap,
        .pcap_snap_bytes = c->pcap_snap_bytes,
        .record = c->record,
        .interrupted = &cli_interrupted,
    };
    o->target = first_of(c->target, p->target, target_of_mutant(o->mutant));
    *seed_known = (c->given | p->given) & seed;
}

int cli_source_check(const struct run_options *o, char **parameters, uint32_t *clients, struct error *e) {
    struct script_options so = {.seed = o->seed, .sets = o->sets, .sets_count = o->sets_count};
    struct script *s = script_load(o->scenario_name, o->scenario_text, &so, e);
    if (!s) {
        cli_hint_settings(o, e);
        return -1;
    }
    const char *json = script_scenario(s)->options_json;
    if (parameters) *parameters = xstrdup(json ? json : "{}");
    if (clients) *clients = script_scenario(s)->world.clients;
    script_free(s);
    return 0;
}
