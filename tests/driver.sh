#!/usr/bin/env bash
# The test driver itself: it counts what passed, failed and was skipped, and no kind of failure goes unnoticed.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mkdir -p "$temporary/tests" "$temporary/build/tests"
cp tests/run.sh "$temporary/tests/"
cd "$temporary"

program() { # name, shell text: what stands in for a unit test
    : >"tests/test_$1.c"
    printf '#!/bin/sh\n%s\n' "$2" >"build/tests/test_$1"
    chmod +x "build/tests/test_$1"
}
# Runs the driver over the programs, with a build that does nothing (or fails), and demands its last line and status.
driver() { # what it shows, closing line, status, stand-in for make
    local status=0 output
    output=$(HARROW_MAKE=$4 HARROW_JOBS=2 HARROW_TEST_TIMEOUT=1 tests/run.sh unit 2>&1) || status=$?
    if [ "$(tail -n 1 <<<"$output")" = "$2" ] && [ "$status" -eq "$3" ]; then
        ok "driver: $1"
    else
        not_ok "driver: $1" "wanted '$2' and status $3, got status $status after: $output"
    fi
    rm -f tests/test_* build/tests/test_*
}

# The build counts as one case.
program good 'echo 1..2; echo ok 1 - a; echo ok 2 - b'
program plain 'exit 0'
program skips 'echo ok 1 - a; echo "not ok 2 # SKIP later"; echo "skip that, for want of this"'
driver "counts cases" "5 passed, 0 failed, 2 skipped" 0 true

program bad 'echo ok 1 - a; echo not ok 2 - b; exit 1'
driver "sees a failed case" "2 passed, 1 failed, 0 skipped" 1 true

program liar 'echo not ok 1 - a; exit 0'
driver "sees a failed case behind a good status" "1 passed, 1 failed, 0 skipped" 1 true

program crash 'echo ok 1 - a; kill -SEGV $$'
driver "sees a crash after passed cases" "2 passed, 1 failed, 0 skipped" 1 true

program slow 'sleep 30'
driver "stops a program that does not end" "1 passed, 1 failed, 0 skipped" 1 true

: >tests/test_absent.c
driver "sees a program that was not built" "1 passed, 1 failed, 0 skipped" 1 true

program good 'echo ok 1 - a'
driver "runs nothing after a failed build" "0 passed, 1 failed, 0 skipped" 1 false
finish
