/* The machine's clocks. Apart from base.h, so that an include shows who lives in real time: nothing that runs in the
 * simulator may include it (tests/layers.sh). */
#ifndef HARROW_BASE_CLOCK_H
#define HARROW_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

uint64_t clock_ns(clockid_t clock); /* of a clock that is there; CPU clocks of threads and processes, too */
uint64_t monotonic_ns(void);        /* CLOCK_MONOTONIC */

#endif
