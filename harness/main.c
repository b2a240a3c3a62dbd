/* harrow's entry: finds the command and hands over. */
#include "harness/cli/cli.h"

#include <stdlib.h>

static int unknown_command(const char *typed) {
    const char *names[32], *near;
    size_t count = 0;
    for (const struct command *const *k = commands; *k; k++) {
        assert(count < sizeof names / sizeof *names);
        names[count++] = (*k)->name;
    }
    near = nearest(typed, names, count);
    fprintf(stderr, "harrow: there is no command \"%s\"%s%s%s; `harrow help` lists them\n", typed,
            near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    return EXIT_USAGE;
}

/* A reader that went away, or a full disk, must not look like success. */
static int flushed(int status) {
    bool failed = fflush(stdout) != 0 || ferror(stdout);
    if (!failed) return status;
    fprintf(stderr, "harrow: standard output could not be written\n");
    return EXIT_INTERNAL;
}

int main(int argc, char **argv) {
    const uint16_t one = 1;
    assert(*(const uint8_t *)&one == 1); /* base.h's coding is the memory order of little-endian machines */
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("harrow %s\n", HARROW_VERSION);
        return flushed(EXIT_VALID);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_usage(stdout);
        return flushed(EXIT_VALID);
    }
    struct cli *c = xcalloc(1, sizeof *c);
    c->command = command_find(argv[1]);
    struct error e = {{0}};
    bool help_asked = false;
    int status;
    if (!c->command) {
        status = unknown_command(argv[1]);
    } else if (c->command->own_options) {
        c->argc = argc - 1;
        c->argv = argv + 1;
        status = c->command->run(c);
    } else if (options_parse(c, argc - 2, argv + 2, &help_asked, &e)) {
        status = cli_fail(EXIT_USAGE, c, &e);
    } else if (help_asked) {
        print_command_help(c->command, stdout);
        status = EXIT_VALID;
    } else {
        status = c->command->run(c);
    }
    free(c);
    return flushed(status);
}
