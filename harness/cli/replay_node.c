/* harrow replay --node: the recording of one node, run again alone, and what came of it. */
#include "harness/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "targets/node/record.h"

static int map_file(const char *path, struct bytes *out, struct error *e) {
    struct stat s;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return error_set(e, "cannot read the recording %s: %s", path, strerror(errno));
    void *at = MAP_FAILED;
    if (fstat(fd, &s) == 0 && S_ISREG(s.st_mode) && s.st_size > 0)
        at = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (at == MAP_FAILED) return error_set(e, "%s is not a recording of a node: it is empty or no file", path);
    *out = bytes_of(at, (size_t)s.st_size);
    return 0;
}

static void trace_line(void *ctx, const char *line) {
    fprintf(ctx, "%s\n", line);
}

static const char *role_name(uint8_t role) {
    static const char *const names[] = {"follower", "candidate", "leader", "peer"};
    return role < 4 ? names[role] : "unknown";
}

static double seconds(const struct replay_report *r, uint64_t at_ns) {
    return (double)(at_ns - r->first_ns) / 1e9;
}

static void print_report(FILE *out, const struct replay_report *r) {
    const struct probe *p = &r->probe;
    fprintf(out, "node     n%u of %u, %s%s%s\n", r->self + 1u, r->nodes, r->protocol, *r->mutant ? " with mutant " : "",
            r->mutant);
    fprintf(out, "inputs   %llu in %.3f s, %llu starts\n", (unsigned long long)r->inputs, seconds(r, r->last_ns),
            (unsigned long long)r->starts);
    fprintf(out, "at last  %s%s, term %llu, commit %llu, applied %llu\n", role_name(p->role),
            r->running ? "" : " (stopped)", (unsigned long long)p->term, (unsigned long long)p->commit_index,
            (unsigned long long)p->applied_index);
    if (*r->stopped) fprintf(out, "stopped  %s\n", r->stopped);
    if (r->cut)
        fprintf(out, "cut      it ends without an end, at offset %llu: the node died, or still runs\n",
                (unsigned long long)r->cut_offset);
    if (r->broken)
        fprintf(out, "broken   invariant \"%s\" after input %llu, %.6f s\n", r->broken,
                (unsigned long long)r->broken_input, seconds(r, r->broken_ns));
    if (r->differs)
        fprintf(out, "differs  at input %llu, %.6f s: %s\n", (unsigned long long)r->differs_input,
                seconds(r, r->differs_ns), r->differs_what);
    fprintf(out, "state    %016llx, %s\n", (unsigned long long)r->state_hash,
            r->differs ? "not the recorded node" : "same as recorded");
}

static void print_json(const struct replay_report *r) {
    const struct probe *p = &r->probe;
    char hash[20];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)r->state_hash);
    json_t *root = json_pack("{s:I, s:I, s:s, s:s, s:I, s:I, s:f, s:s, s:b, s:I, s:I, s:I, s:s, s:b, s:b}", "node",
                             (json_int_t)r->self + 1, "nodes", (json_int_t)r->nodes, "protocol", r->protocol, "mutant",
                             r->mutant, "inputs", (json_int_t)r->inputs, "starts", (json_int_t)r->starts, "seconds",
                             seconds(r, r->last_ns), "role", role_name(p->role), "running", r->running, "term",
                             (json_int_t)p->term, "commit", (json_int_t)p->commit_index, "applied",
                             (json_int_t)p->applied_index, "state_hash", hash, "same", !r->differs, "cut", r->cut);
    if (r->cut) json_object_set_new(root, "cut_offset", json_integer((json_int_t)r->cut_offset));
    if (*r->stopped) json_object_set_new(root, "stopped", json_string(r->stopped));
    if (r->broken) json_object_set_new(root, "broken", json_string(r->broken));
    if (r->differs) {
        json_object_set_new(root, "differs_input", json_integer((json_int_t)r->differs_input));
        json_object_set_new(root, "differs", json_string(r->differs_what));
    }
    cli_print_json(root);
}

int command_replay_node(struct cli *c) {
    struct error e = {{0}};
    struct bytes file;
    struct replay_report report;
    if (c->arguments_count) {
        error_set(&e, "it replays a run or, with --node, a node, not both");
        return cli_fail(EXIT_USAGE, c, &e);
    }
    if (map_file(c->node, &file, &e)) return cli_fail(EXIT_USAGE, c, &e);
    FILE *trace = c->trace ? fopen(c->trace, "w") : NULL;
    int status = EXIT_USAGE;
    if (c->trace && !trace) {
        error_set(&e, "cannot write the trace %s: %s", c->trace, strerror(errno));
        cli_fail(status, c, &e);
    } else if (recording_replay(file, trace ? trace_line : NULL, trace, &report, &e)) {
        cli_fail(status, c, &e);
    } else {
        print_report(cli_say(c), &report);
        if (c->json) print_json(&report);
        status = report.differs || report.broken ? EXIT_INVALID : EXIT_VALID;
    }
    bool failed = trace && ferror(trace);
    if (trace && (fclose(trace) || failed)) fprintf(stderr, "harrow replay: the trace %s is not complete\n", c->trace);
    munmap((void *)(uintptr_t)file.data, file.size);
    return status;
}
