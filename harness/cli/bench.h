/* Benchmarks, one function each: prints its figures, for people or as JSON; returns the exit status. */
#ifndef HARROW_CLI_BENCH_H
#define HARROW_CLI_BENCH_H

#include "harness/cli/cli.h"

int bench_check(struct cli *c);
int bench_local(struct cli *c);
int bench_switch(struct cli *c);
void bench_print_figures(const char *name, json_t *figures); /* takes them over */

#endif
