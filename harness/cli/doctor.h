/* What the two files of harrow doctor share. */
#ifndef HARROW_CLI_DOCTOR_H
#define HARROW_CLI_DOCTOR_H

#include "harness/cli/cli.h"

struct doctor {
    struct cli *c;
    json_t *array;
    bool broken;
};

/* A line: `fix` is NULL when all is well, else what is wrong, if `detail` does not say it, and how to get it. */
void doctor_say(struct doctor *d, const char *what, const char *state, const char *detail, const char *fix);
/* Lines about the local world and foreign targets. Whether every run in it finds what it needs. */
bool doctor_local(struct doctor *d);

#endif
