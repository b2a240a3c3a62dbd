/* What all commands share: messages, statuses, colours, the store, JSON, the machine. */
#include "harness/cli/cli.h"

#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"

volatile sig_atomic_t cli_interrupted;

static void on_interrupt(int signal_number) {
    (void)signal_number;
    cli_interrupted = 1;
}

/* The first ^C ends the run in order; the second one ends harrow. */
void cli_catch_interrupts(void) {
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

int cli_fail(int status, const struct cli *c, const struct error *e) {
    const char *name = c && c->command ? c->command->name : NULL;
    fprintf(stderr, "harrow%s%s: %s%s\n", name ? " " : "", name ? name : "",
            status == EXIT_INTERNAL ? "internal error: " : "", e->text);
    return status;
}

FILE *cli_say(const struct cli *c) {
    return c->json || c->csv ? stderr : stdout;
}

int cli_verdict_status(enum verdict v) {
    switch (v) {
    case VERDICT_VALID: return EXIT_VALID;
    case VERDICT_INVALID: return EXIT_INVALID;
    case VERDICT_UNKNOWN: break;
    }
    return EXIT_UNKNOWN;
}

const char *cli_verdict_text(enum verdict v, FILE *out) {
    static const char *const coloured[] = {
        [VERDICT_VALID] = "\033[1;32mvalid\033[0m",
        [VERDICT_UNKNOWN] = "\033[1;33munknown\033[0m",
        [VERDICT_INVALID] = "\033[1;31minvalid\033[0m",
    };
    const char *no_color = getenv("NO_COLOR");
    bool plain = !isatty(fileno(out)) || (no_color && *no_color);
    return plain ? verdict_name(v) : coloured[v];
}

struct store *cli_open_store(const struct cli *c, bool read_only, struct error *e) {
    return store_open(c->out ? c->out : "store", read_only, e);
}

void cli_print_json(json_t *root) {
    json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(root);
}

uint64_t cli_random_seed(void) {
    uint32_t seed = 0; /* 32 bits are enough, and short to type */
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed) seed = (uint32_t)hash_u64(monotonic_ns());
    return seed;
}

static long processors(void) {
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : count;
}

uint32_t cli_jobs(const struct cli *c) {
    if (c->jobs) return c->jobs;
    long count = processors();
    return count > (long)JOBS_MAX ? JOBS_MAX : (uint32_t)count;
}

void cli_machine(char *text, size_t size) {
    char line[256], model[200] = "unknown processor";
    FILE *in = fopen("/proc/cpuinfo", "r");
    while (in && fgets(line, sizeof line, in)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(model, sizeof model, "%s", colon + 2);
        break;
    }
    if (in) fclose(in);
    snprintf(text, size, "%s, %ld processors", model, processors());
}
