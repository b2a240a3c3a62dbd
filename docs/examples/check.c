/* Checks a history from a file, as `harrow check` does, with nothing but libharrow-check:
 *     cc check.c $(pkg-config --cflags --libs harrow-check) -o check && ./check history.jsonl register */
#include <harrow-check.h>
#include <stdio.h>

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s FILE [CHECK]; the checks are\n", argv[0]);
        for (size_t i = 0; harrow_check_name(i); i++)
            fprintf(stderr, "  %-14s %s\n", harrow_check_name(i), harrow_check_doc(i));
        return 254;
    }
    harrow_history *h = harrow_history_new();
    harrow_result *r = NULL;
    const harrow_options limits = {.size = sizeof limits, .deadline_ms = 10000};
    if (harrow_history_import_file(h, argv[1], NULL) == 0) r = harrow_check(h, argc > 2 ? argv[2] : NULL, &limits);
    int status = 254;
    if (r) {
        static const int statuses[] = {[HARROW_VALID] = 0, [HARROW_INVALID] = 1, [HARROW_UNKNOWN] = 2};
        status = statuses[harrow_result_verdict(r)];
        printf("%s%s: %s\n", harrow_result_explanation(r), harrow_verdict_name(harrow_result_verdict(r)),
               harrow_result_detail(r));
    } else {
        fprintf(stderr, "%s\n", harrow_history_error(h));
    }
    harrow_result_free(r);
    harrow_history_free(h);
    return status;
}
