/* One table of options for every command, and the parser over it. Numbers are parsed without floating point, so that
 * "--time 0.1" is the same schedule everywhere. */
#include "harness/cli/cli.h"

#include <stdlib.h>

struct option_row {
    const char *name;
    char letter;       /* 0: none */
    const char *value; /* what stands in the help for its value; NULL: a switch */
    const char *doc;
};

static const struct option_row rows[OPTIONS_COUNT] = {
    [OPTION_TARGET] = {"target", 't', "NAME", "the system under test: raft (the default), etcd:reads=serializable"},
    [OPTION_TARGETS] = {"targets", 0, "A,B,...", "what to compare: targets with their settings, or mutants"},
    [OPTION_WORLD] = {"world", 'w', "NAME", "where it runs: sim (the default) or local"},
    [OPTION_MUTANT] = {"mutant", 'm', "ID", "plant a bug (harrow mutants)"},
    [OPTION_SEED] = {"seed", 's', "N", "decides everything; default: a random one, printed first"},
    [OPTION_SEEDS] = {"seeds", 0, "A..B", "the seeds from A to B; one number is one seed"},
    [OPTION_TIME] = {"time", 0, "S", "seconds of the main phase; default: the scenario's"},
    [OPTION_FOR] = {"for", 0, "S", "go on for S seconds of wall time"},
    [OPTION_SET] = {"set", 0, "K=V", "set a parameter of the scenario; may be repeated"},
    [OPTION_WITHOUT] = {"without", 0, "KINDS", "leave out kinds of faults: link,kill,pause,slow,clock,power,disk"},
    [OPTION_NO_INVARIANTS] = {"no-invariants", 0, NULL, "judge by the history alone, as with a system of others"},
    [OPTION_JOBS] = {"jobs", 'j', "N", "worker processes; default: one per processor"},
    [OPTION_KEEP_GOING] = {"keep-going", 'k', NULL, "do not stop at the first failure"},
    [OPTION_HUNT] = {"hunt", 0, NULL, "hunt each on its scenario, with the invariants and without"},
    [OPTION_MARKDOWN] = {"markdown", 0, NULL, "a table in Markdown"},
    [OPTION_WRITE] = {"write", 0, "FILE.lua", "write a failure out as a scenario that pins it"},
    [OPTION_JUNIT] = {"junit", 0, "FILE", "write the results as JUnit XML"},
    [OPTION_MODEL] = {"model", 0, "NAME", "what the operations mean (harrow models), or a file in Lua that says so"},
    [OPTION_CONSISTENCY] = {"consistency", 0, "NAME", "what must hold: causal, sequential, ... (harrow models)"},
    [OPTION_INITIAL] = {"initial", 0, "VALUE", "what a register holds at first, as JSON; default null: nothing"},
    [OPTION_OPS] = {"ops", 0, "all|N", "how many operations to show; default the last 20"},
    [OPTION_OUT] = {"out", 'o', "DIR", "the store; default ./store"},
    [OPTION_NO_REPORT] = {"no-report", 0, NULL, "store the run, build no report"},
    [OPTION_NODE] = {"node", 0, "FILE", "the recording of one node (harrow node --record FILE)"},
    [OPTION_TRACE] = {"trace", 0, "FILE", "write a line per input and effect of the node"},
    [OPTION_NODES] = {"nodes", 'n', "HOST:PORT,...",
                      "client addresses in order; default $HARROW_NODES, 127.0.0.1:7401"},
    [OPTION_TIMEOUT] = {"timeout", 0, "S", "seconds until it is given up; default 5"},
    [OPTION_CLIENTS] = {"clients", 'c', "N", "connections, each with one operation under way; default 16"},
    [OPTION_SECONDS] = {"seconds", 0, "S", "how long to measure; default 5"},
    [OPTION_MIX] = {"mix", 0, "put|get|mixed", "what to measure; default put"},
    [OPTION_VALUE_BYTES] = {"value-bytes", 0, "N", "size of a value that is put; default 16"},
    [OPTION_KEYS] = {"keys", 0, "N", "how many keys to spread over; default 1000"},
    [OPTION_PCAP] = {"pcap", 0, NULL, "local world: a pcap file of each endpoint's frames, in the run's folder"},
    [OPTION_PCAP_SNAP] = {"pcap-snap", 0, "N", "--pcap with this many bytes of each frame, 16 to 2048; default 128"},
    [OPTION_RECORD] = {"record", 0, NULL, "local world: record each bundled node's inputs (replay --node)"},
    [OPTION_FORMAT] = {"format", 0, "NAME",
                       "jsonl, edn, jepsen-txt, porcupine-etcd or porcupine-kv; default: by content"},
    [OPTION_NO_EXPLAIN] = {"no-explain", 0, NULL, "the verdict alone, without a counterexample: quicker"},
    [OPTION_TO] = {"to", 0, "jsonl|edn", "the format to write; default jsonl"},
    [OPTION_HTML] = {"html", 0, "FILE", "write the verdict as a page, with a picture of the counterexample"},
    [OPTION_OUTPUT] = {"output", 'o', "FILE", "where to write; default: standard output"},
    [OPTION_QUIET] = {"quiet", 'q', NULL, "the verdict and how to replay it, no more"},
    [OPTION_JSON] = {"json", 0, NULL, "one JSON object on standard output"},
    [OPTION_CSV] = {"csv", 0, NULL, "one line per target, seed and figure on standard output"},
};

void options_print(uint64_t mask, FILE *out) {
    for (uint32_t i = 0; i < OPTIONS_COUNT; i++) {
        if (!(mask & OPTION_BIT(i))) continue;
        const struct option_row *row = &rows[i];
        char letter[8] = "", left[40];
        if (row->letter) snprintf(letter, sizeof letter, "-%c, ", row->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, row->name, row->value ? " " : "",
                 row->value ? row->value : "");
        fprintf(out, "  %-24s %s\n", left, row->doc);
    }
}

/* --- near misses --- */

/* Levenshtein's distance, for names shorter than 48 bytes. */
static size_t distance(const char *a, const char *b) {
    size_t row[49], b_size = strlen(b);
    if (strlen(a) > 48 || b_size > 48) return SIZE_MAX;
    for (size_t j = 0; j <= b_size; j++) row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < b_size; j++) {
            size_t best = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j + 1] + 1 < best) best = row[j + 1] + 1;
            row[j + 1] = best;
        }
    }
    return row[b_size];
}

const char *nearest(const char *typed, const char *const *names, size_t count) {
    const char *best = NULL;
    size_t best_distance = strlen(typed) / 3 + 2;
    for (size_t i = 0; i < count; i++) {
        size_t d = distance(typed, names[i]);
        if (strncmp(typed, names[i], strlen(typed)) == 0) d = 1;
        if (d >= best_distance) continue;
        best_distance = d;
        best = names[i];
    }
    return best;
}

/* --- values --- */

static int parse_u64(const char *text, uint64_t max, uint64_t *out, const char **end) {
    uint64_t v = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        if (v > (max - digit) / 10) return -1;
        v = v * 10 + digit;
    }
    *end = at;
    *out = v;
    return at == text ? -1 : 0;
}

int parse_seconds(const char *text, uint64_t *ns) {
    const uint64_t seconds_max = UINT64_C(1000000);
    const char *at = NULL;
    uint64_t seconds = 0;
    if (parse_u64(text, seconds_max, &seconds, &at)) return -1;
    *ns = seconds * NS_PER_S;
    if (*at == '.') {
        uint64_t unit = NS_PER_S / 10;
        for (at++; *at >= '0' && *at <= '9'; at++, unit /= 10) *ns += (uint64_t)(*at - '0') * unit;
    }
    if (*at == 's') at++;
    return *at || *ns == 0 ? -1 : 0;
}

static int parse_seeds(const char *text, struct seed_range *out) {
    const char *at = NULL;
    if (parse_u64(text, SEED_MAX, &out->first, &at)) return -1;
    out->last = out->first;
    if (*at == 0) return 0;
    if (strncmp(at, "..", 2) != 0) return -1;
    if (at[2] == 0) { /* "7..": without an end, for --for */
        out->last = SEED_MAX;
        return 0;
    }
    if (parse_u64(at + 2, SEED_MAX, &out->last, &at)) return -1;
    return *at || out->last < out->first ? -1 : 0;
}

static int parse_without(const char *text, uint32_t *mask) {
    char *copy = xstrdup(text), *rest = NULL;
    int failed = 0;
    for (char *name = strtok_r(copy, ",", &rest); name && !failed; name = strtok_r(NULL, ",", &rest)) {
        int kind = fault_kind_find(name);
        if (kind < 0)
            failed = -1;
        else
            *mask |= 1u << kind;
    }
    free(copy);
    return failed;
}

/* "K=V" is split in place: argv and the words of a pragma may be written. */
static int parse_set(struct cli *c, char *text) {
    char *equals = strchr(text, '=');
    if (!equals || equals == text || c->sets_count == SETS_MAX) return -1;
    *equals = 0;
    for (size_t i = 0; i < c->sets_count; i++) {
        if (strcmp(c->sets[i].key, text) != 0) continue;
        c->sets[i].value = equals + 1; /* the last one wins */
        return 0;
    }
    c->sets[c->sets_count++] = (struct script_set){text, equals + 1};
    return 0;
}

static int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out) {
    const char *end = NULL;
    return parse_u64(text, max, out, &end) || *end || *out < min ? -1 : 0;
}

static int set_text(const char **to, const char *value) {
    *to = value;
    return *value ? 0 : -1;
}

/* Takes one option over into c; -1 when the value makes no sense. */
static int apply(struct cli *c, enum option o, char *value) {
    uint64_t number = 0;
    int failed = 0;
    switch (o) {
    case OPTION_TARGET: return set_text(&c->target, value);
    case OPTION_TARGETS: return set_text(&c->targets, value);
    case OPTION_WORLD: return set_text(&c->world, value);
    case OPTION_MUTANT: return set_text(&c->mutant, value);
    case OPTION_OUT: return set_text(&c->out, value);
    case OPTION_JUNIT: return set_text(&c->junit, value);
    case OPTION_WRITE: return set_text(&c->write, value);
    case OPTION_MODEL: return set_text(&c->model, value);
    case OPTION_CONSISTENCY: return set_text(&c->consistency, value);
    case OPTION_INITIAL: return set_text(&c->initial, value);
    case OPTION_HTML: return set_text(&c->html, value);
    case OPTION_NODE: return set_text(&c->node, value);
    case OPTION_TRACE: return set_text(&c->trace, value);
    case OPTION_NODES: return set_text(&c->nodes, value);
    case OPTION_OUTPUT: return set_text(&c->output, value);
    case OPTION_FORMAT: return history_format_find(value, &c->format) ? 0 : -1;
    case OPTION_TO:
        failed = !history_format_find(value, &c->to) || (c->to != FORMAT_JSONL && c->to != FORMAT_EDN);
        return failed ? -1 : 0;
    case OPTION_MIX: return set_text(&c->mix, value);
    case OPTION_TIMEOUT: return parse_seconds(value, &c->timeout_ns);
    case OPTION_SECONDS: return parse_seconds(value, &c->seconds_ns);
    case OPTION_CLIENTS:
        failed = parse_number(value, 1, UINT32_MAX, &number);
        c->clients = (uint32_t)number;
        return failed;
    case OPTION_KEYS:
        failed = parse_number(value, 1, UINT32_MAX, &number);
        c->keys = (uint32_t)number;
        return failed;
    case OPTION_VALUE_BYTES:
        failed = parse_number(value, 0, UINT32_MAX, &number);
        c->value_bytes = (uint32_t)number;
        return failed;
    case OPTION_SEED: return parse_number(value, 0, SEED_MAX, &c->seed);
    case OPTION_SEEDS: return parse_seeds(value, &c->seeds);
    case OPTION_TIME: return parse_seconds(value, &c->time_ns);
    case OPTION_FOR: return parse_seconds(value, &c->for_ns);
    case OPTION_SET: return parse_set(c, value);
    case OPTION_WITHOUT: return parse_without(value, &c->without);
    case OPTION_JOBS:
        failed = parse_number(value, 1, JOBS_MAX, &number);
        c->jobs = (uint32_t)number;
        return failed;
    case OPTION_OPS:
        if (strcmp(value, "all") != 0) failed = parse_number(value, 0, UINT32_MAX, &number);
        c->ops_shown = strcmp(value, "all") == 0 ? UINT32_MAX : (uint32_t)number;
        return failed;
    case OPTION_PCAP_SNAP:
        failed = parse_number(value, 16, 2048, &number);
        c->pcap_snap_bytes = (uint32_t)number;
        c->pcap = true;
        return failed;
    case OPTION_PCAP: c->pcap = true; return 0;
    case OPTION_RECORD: c->record = true; return 0;
    case OPTION_NO_INVARIANTS: c->no_invariants = true; return 0;
    case OPTION_HUNT: c->hunt = true; return 0;
    case OPTION_MARKDOWN: c->markdown = true; return 0;
    case OPTION_KEEP_GOING: c->keep_going = true; return 0;
    case OPTION_NO_REPORT: c->no_report = true; return 0;
    case OPTION_NO_EXPLAIN: c->no_explain = true; return 0;
    case OPTION_QUIET: c->quiet = true; return 0;
    case OPTION_JSON: c->json = true; return 0;
    case OPTION_CSV: c->csv = true; return 0;
    case OPTIONS_COUNT: break;
    }
    return -1;
}

/* --- the parser --- */

static int find_long(const char *name, size_t size) {
    for (int i = 0; i < OPTIONS_COUNT; i++)
        if (strlen(rows[i].name) == size && memcmp(rows[i].name, name, size) == 0) return i;
    return -1;
}

/* Of the options that the command takes: one letter may mean different things to two commands. */
static int find_letter(const struct cli *c, char letter) {
    for (int i = 0; i < OPTIONS_COUNT; i++)
        if (rows[i].letter == letter && (c->command->options & OPTION_BIT(i))) return i;
    return -1;
}

static int refuse_option(const struct cli *c, const char *typed, struct error *e) {
    const char *names[OPTIONS_COUNT], *near;
    size_t count = 0;
    for (uint32_t i = 0; i < OPTIONS_COUNT; i++)
        if (c->command->options & OPTION_BIT(i)) names[count++] = rows[i].name;
    near = typed[1] == '-' ? nearest(typed + 2, names, count) : NULL;
    return error_set(e, "%s does not take %s%s%s%s; `harrow help %s` lists what it takes", c->command->name, typed,
                     near ? ", did you mean --" : "", near ? near : "", near ? "?" : "", c->command->name);
}

/* One option at argv[*at], with its value in the same or the next word. */
static int parse_option(struct cli *c, int argc, char **argv, int *at, struct error *e) {
    char *word = argv[*at], *value = NULL;
    int o = -1;
    if (word[1] == '-') {
        char *equals = strchr(word, '=');
        o = find_long(word + 2, equals ? (size_t)(equals - word - 2) : strlen(word + 2));
        if (equals) value = equals + 1;
    } else {
        o = find_letter(c, word[1]);
        if (word[2]) value = word + 2;
    }
    if (o < 0 || !(c->command->options & OPTION_BIT(o))) return refuse_option(c, word, e);
    const struct option_row *row = &rows[o];
    if (!row->value && value) return error_set(e, "--%s takes no value", row->name);
    if (row->value && !value) {
        if (*at + 1 >= argc) return error_set(e, "--%s needs a value: --%s %s", row->name, row->name, row->value);
        value = argv[++*at];
    }
    if (apply(c, (enum option)o, value))
        return error_set(e, "--%s cannot be \"%s\"; it is %s: %s", row->name, value ? value : "", row->value, row->doc);
    c->given |= OPTION_BIT(o);
    return 0;
}

int options_parse(struct cli *c, int argc, char **argv, bool *help_asked, struct error *e) {
    bool only_arguments = false;
    *help_asked = false;
    for (int at = 0; at < argc; at++) {
        char *word = argv[at];
        bool number = word[0] == '-' && word[1] >= '0' && word[1] <= '9'; /* below zero: no option is a digit */
        if (only_arguments || word[0] != '-' || !word[1] || number) {
            if (c->arguments_count == ARGUMENTS_MAX) return error_set(e, "more than %u arguments", ARGUMENTS_MAX);
            c->arguments[c->arguments_count++] = word;
        } else if (strcmp(word, "--") == 0) {
            only_arguments = true;
        } else if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0) {
            *help_asked = true;
            return 0;
        } else if (parse_option(c, argc, argv, &at, e)) {
            return -1;
        }
    }
    const struct command *k = c->command;
    if (c->arguments_count < k->arguments_min)
        return error_set(e, "%s needs %s; see `harrow help %s`", k->name, k->arguments, k->name);
    if (c->arguments_count > k->arguments_max)
        return error_set(e, "%s does not know what to do with \"%s\"; see `harrow help %s`", k->name,
                         c->arguments[k->arguments_max], k->name);
    return 0;
}
