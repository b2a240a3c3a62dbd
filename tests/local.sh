#!/usr/bin/env bash
# The local world end to end, as root and as an ordinary user: the stock scenarios on real processes, planted bugs found
# there, nothing left behind by any end, also kill -9, and what a killed run leaves can be read. HARROW names the
# program. It runs alone: time is real here, and a busy machine would be blamed on the nodes.
# shellcheck source=tests/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

harrow=${HARROW:-$PWD/build/harrow}
[ -x "$harrow" ] || { not_ok "there is a program to test" "$harrow is not there; run make"; finish; }
scenarios=$PWD/scenarios
cp "$harrow" "$temporary/harrow"
harrow=$temporary/harrow
cd "$temporary"
chmod 755 "$temporary"

# Processes of our copy of the program, and mounts below our folder, in whatever namespace that we can see.
leftovers() {
    local exe
    for exe in /proc/[0-9]*/exe; do
        [ "$(readlink "$exe" 2>/dev/null)" != "$harrow" ] || tr '\0' ' ' <"${exe%exe}cmdline" || true
    done
    grep -F "$temporary" /proc/self/mountinfo || true
    ip -o link 2>/dev/null | grep -E ' h[0-9]+[@:]|veth' || true
}
expect_nothing_left() { # what
    local found=''
    for _ in $(seq 100); do # the kernel takes a moment to take namespaces down
        found=$(leftovers)
        [ -n "$found" ] || break
        sleep 0.05
    done
    expect_none "$1" "$found"
}

as=() # how to become the user under test
run() {
    status=0
    "${as[@]}" "$harrow" "$@" >out.txt 2>err.txt </dev/null || status=$?
}
evidence() { printf 'status %s\n' "$status"; tail -n 30 out.txt err.txt; }
expect_status() {
    if [ "$status" -eq "$2" ]; then ok "$1"; else not_ok "$1" "$(evidence)"; fi
}

check_user() { # name
    local who=$1 out=$temporary/$1
    mkdir -p "$out"
    [ "$who" = root ] || chown 65534:65534 "$out"
    run run "$scenarios/leader-kill.lua" --world local --time 8 --seed 1 --out "$out" --no-report
    if [ "$status" -eq 254 ] && grep -q 'namespace' err.txt; then
        skip "local world as $who: $(tail -n 1 err.txt)"
        return
    fi
    expect_status "$who: leader-kill is valid on real processes" 0
    expect_nothing_left "$who: nothing is left of it"
    run run "$scenarios/leader-isolation.lua" --world local --time 12 --seed 1 --out "$out" --no-report
    expect_status "$who: leader-isolation is valid on real processes" 0
    grep -hq '"rule_add"' "$out"/leader-isolation-*/switch.jsonl && ok "$who: the switch logged the cut" ||
        not_ok "$who: the switch logged the cut" "$(ls "$out"/*)"
    run run "$scenarios/stale-reads.lua" --world local --mutant raft/leader-reads-locally --no-invariants --seed 1 \
        --out "$out" --no-report
    expect_status "$who: stale reads of a planted bug are found in the history" 1

    # kill -9 in the middle: the outermost process, as an impatient user does.
    "${as[@]}" "$harrow" run "$scenarios/leader-kill.lua" --world local --time 30 --seed 2 --out "$out" --no-report \
        >killed.txt 2>&1 </dev/null &
    local pid=$! killed=''
    for _ in $(seq 200); do
        killed=$("${as[@]}" "$harrow" runs --out "$out" 2>/dev/null | grep -c running || true)
        [ "$killed" = 0 ] || break
        sleep 0.05
    done
    sleep 3 # of a run of 30 s
    kill -9 "$pid"
    wait "$pid" 2>/dev/null || true
    expect_nothing_left "$who: nothing is left after kill -9"
    run show last --out "$out"
    expect_status "$who: the killed run can be shown" 0
    grep -q interrupted out.txt && ok "$who: it is called interrupted" ||
        not_ok "$who: it is called interrupted" "$(cat out.txt)"
}

if [ "$(id -u)" -eq 0 ]; then
    check_user root
    if command -v setpriv >/dev/null; then
        as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
        check_user nobody
    else
        skip "local world as an ordinary user: there is no setpriv"
    fi
else
    check_user user
fi
finish
