#!/usr/bin/env bash
# Builds and runs harrow's checks: a line per program with its time, the tail of the log of what fails, and a closing
# line "N passed, N failed, N skipped" that counts test cases (each in every variant it runs in). Status 0: none failed.
#
#     tests/run.sh all | unit | local | valgrind | fuzz | lint
#
# A program reports cases in TAP, "ok ..." and "not ok ..." (cmocka does so when asked), or says "skip ..."; one that
# reports none is one case, judged by its status. Settings: HARROW_MAKE, HARROW_JOBS, FUZZ_SECONDS, HARROW_TEST_TIMEOUT
# (seconds for one program).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

part=${1:-all}
jobs=${HARROW_JOBS:-$(nproc)}
fuzz_seconds=${FUZZ_SECONDS:-5}
timeout_s=${HARROW_TEST_TIMEOUT:-800}
read -ra make <<<"${HARROW_MAKE:-make}"
logs=$PWD/build/check/$part
results=$logs/results

export LC_ALL=C.UTF-8
export CMOCKA_MESSAGE_OUTPUT=TAP
export HARROW=$PWD/build/harrow
export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1

rm -rf "$logs"
mkdir -p "$logs"
: >"$results"

# --- one program ---

# Prints the part of a log that tells most about a failure.
evidence() { # name, log
    if [ "$1" = build ]; then
        grep -E -m 20 'error:|undefined reference|multiple definition|missing|No rule' "$2" || tail -n 20 "$2"
    elif grep -Eq '^not ok ' "$2"; then
        grep -E -B 6 -A 8 '^not ok ' "$2" | grep -Ev '^ok ' | head -n 40
    else
        grep -Ev '^ok ' "$2" | tail -n 30
    fi
}

# Prints what became of one program and adds its cases to the results; locked, so that reports do not mix.
report() { # variant, name, status, microseconds, log
    local variant=$1 name=$2 status=$3 us=$4 log=$5 passed failed skipped word=ok note
    skipped=$(grep -cE '^(skip |(not )?ok .*# SKIP)' "$log" || true)
    passed=$(grep -E '^ok ' "$log" | grep -cv '# SKIP' || true)
    failed=$(grep -E '^not ok ' "$log" | grep -cv '# SKIP' || true)
    if [ "$status" -eq 0 ] && [ $((passed + failed + skipped)) -eq 0 ]; then passed=1; fi
    if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
    if [ "$failed" -gt 0 ]; then word=FAIL; elif [ "$passed" -eq 0 ]; then word=skip; fi
    note="$passed passed"
    [ "$failed" -eq 0 ] || note+=", $failed failed (status $status)"
    [ "$status" -ne 124 ] || note+=", stopped after $timeout_s s"
    [ "$skipped" -eq 0 ] || note+=", $skipped skipped"
    {
        flock 9
        echo "$passed $failed $skipped" >&9
        printf '%-4s %4d.%02d s  %-10s %-24s %s\n' \
            "$word" $((us / 1000000)) $((us % 1000000 / 10000)) "$variant" "$name" "$note"
        sed -nE 's/^skip /                skipped: /p; s/^(not )?ok [0-9]* ?# SKIP/                skipped:/p' "$log"
        if [ "$failed" -gt 0 ]; then
            evidence "$name" "$log" | sed 's/^/    | /'
            echo "    the whole log is in ${log#"$PWD"/}"
        fi
    } 9>>"$results"
}

# Runs a program with its own folder for temporary files, and reports it.
run_program() { # variant, name, command...
    local variant=$1 name=$2 status=0 start log child
    shift 2
    log=$logs/$variant-$name.log
    start=${EPOCHREALTIME/./}
    mkdir -p "$log.tmp"
    TMPDIR=$log.tmp timeout --kill-after=10 "$timeout_s" "$@" >"$log" 2>&1 </dev/null &
    child=$!
    trap 'kill "$child" 2>/dev/null; exit 143' TERM
    wait "$child" 2>/dev/null || status=$? # the shell would announce a crash here; the report does
    trap - TERM
    rm -rf "$log.tmp"
    report "$variant" "$name" "$status" $((${EPOCHREALTIME/./} - start)) "$log"
    return "$status"
}

# Starts a program as soon as a processor is free.
start_program() {
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || true; done
    { run_program "$@" || true; } &
}

stop_programs() {
    trap - INT TERM EXIT
    # shellcheck disable=SC2046
    kill $(jobs -rp) 2>/dev/null || true
    wait
}
trap stop_programs EXIT
trap 'stop_programs; exit 130' INT TERM

# --- what there is to run ---

declare -A built # by variant: the folder, once it is built

build() { # variant, folder, arguments of make...
    local variant=$1 folder=$2
    shift 2
    if run_program "$variant" build "${make[@]}" --no-print-directory -j"$jobs" "$@"; then built[$variant]=$folder; fi
}

unit_tests() { # name of the pass, variant, a command to run them under...
    local name=$1 variant=$2 source test
    shift 2
    [ -n "${built[$variant]:-}" ] || return 0
    for source in tests/test_*.c; do
        [ -e "$source" ] || continue
        test=$(basename "$source" .c)
        case " ${not_here:-} " in
        *" $test "*) start_program "$name" "$test" echo "skip $test does not run in $name" ;;
        *) start_program "$name" "$test" "$@" "${built[$variant]}/${source%.c}" ;;
        esac
    done
}

valgrind_tests() {
    if ! command -v valgrind >/dev/null; then
        start_program valgrind unit-tests echo "skip valgrind is not installed"
        return 0
    fi
    # What lives from ptrace, namespaces and foreign programs does not run inside valgrind; the sanitizers see it.
    local not_here='test_abuse test_filesystem test_ground_truth test_liar test_namespaces test_process test_switch'
    not_here+=' test_syncs'
    unit_tests valgrind gcc-O2 env HARROW_TEST_QUICK=1 \
        valgrind -q --error-exitcode=99 --leak-check=full \
        --errors-for-leak-kinds=definite --child-silent-after-fork=yes
}

fuzzers() {
    local source name corpora
    [ -n "${built[sanitize]:-}" ] || return 0
    for source in tests/fuzz_*.c; do
        [ -e "$source" ] || continue
        name=$(basename "$source" .c)
        corpora=("build/fuzz/corpus/$name") # the first takes what is found; the others are read
        mkdir -p "${corpora[0]}" build/fuzz/found
        [ ! -d "tests/corpus/$name" ] || corpora+=("tests/corpus/$name")
        start_program fuzz "$name" "${built[sanitize]}/tests/$name" -max_total_time="$fuzz_seconds" -timeout=20 \
            -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="build/fuzz/found/$name-" "${corpora[@]}"
    done
}

shell_tests() {
    local script
    for script in tests/*.sh; do
        case $script in
        tests/run.sh | tests/lib.sh | tests/determinism.sh | tests/local.sh | tests/foreign.sh) ;;
        *) start_program shell "$(basename "$script" .sh)" "$script" ;;
        esac
    done
}

static_analysis() {
    if command -v cppcheck >/dev/null; then
        start_program lint cppcheck cppcheck -q -j "$jobs" --std=c11 --error-exitcode=1 --inline-suppr \
            --enable=warning,performance,portability --suppress=missingIncludeSystem --suppress=unknownMacro -I . \
            -D_GNU_SOURCE base history checkers nemesis targets reports harness
    else
        start_program lint cppcheck echo "skip cppcheck is not installed"
    fi
    if command -v shellcheck >/dev/null; then
        start_program lint shellcheck shellcheck tests/*.sh harness/*.sh .ci/run .ci/deps
    else
        start_program lint shellcheck echo "skip shellcheck is not installed"
    fi
}

wait_for_all() {
    while [ -n "$(jobs -rp)" ]; do wait -n || true; done
    wait
}

# Time is real there: nothing else may run beside it.
local_world() {
    wait_for_all
    start_program all local tests/local.sh
    wait_for_all
    start_program all foreign tests/foreign.sh
}

# The longest first, so that the processors finish together.
case $part in
all)
    build gcc-O2 build all unit-tests
    build clang-O2 build/clang-O2 GOALS="all unit-tests" variant-clang-O2
    build sanitize build/sanitize GOALS="all unit-tests fuzzers" variant-sanitize
    build O0 build variant-gcc-O0 variant-clang-O0
    start_program all determinism tests/determinism.sh
    shell_tests
    valgrind_tests
    unit_tests gcc-O2 gcc-O2
    unit_tests sanitize sanitize env HARROW_TEST_QUICK=1
    unit_tests clang-O2 clang-O2 env HARROW_TEST_QUICK=1
    fuzzers
    local_world
    ;;
local)
    build gcc-O2 build all
    local_world
    ;;
unit)
    build gcc-O2 build unit-tests
    unit_tests gcc-O2 gcc-O2
    ;;
valgrind)
    build gcc-O2 build unit-tests
    valgrind_tests
    ;;
fuzz)
    timeout_s=$((fuzz_seconds + 120))
    build sanitize build/sanitize GOALS=fuzzers variant-sanitize
    fuzzers
    ;;
lint)
    for script in format layers style; do start_program shell $script "tests/$script.sh"; done
    static_analysis
    ;;
*)
    echo "run.sh: no part '$part'; there are all, unit, local, valgrind, fuzz, lint" >&2
    exit 254
    ;;
esac
wait_for_all

echo "$SECONDS s; logs in ${logs#"$PWD"/}"
awk '{passed += $1; failed += $2; skipped += $3}
    END {
        printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
        exit failed > 0 || passed == 0
    }' "$results"
