#!/usr/bin/env bash
# What `make demo` shows: a cluster that keeps its promises under faults, one with a planted bug that does not, and,
# where the machine can, a cluster of real processes.
# Takes the program and a folder for the reports. Leaves with 0 when the first is found valid and the second invalid.
set -euo pipefail

harrow=$1
out=$2
rm -rf "$out"
mkdir -p "$out"

show() { # the wanted status, arguments of harrow...
    local wanted=$1 status=0
    shift
    printf '\n$ %s %s\n' "$harrow" "$*"
    "$harrow" "$@" || status=$?
    if [ "$status" -ne "$wanted" ]; then
        echo "demo: that ended with status $status where $wanted was expected" >&2
        exit 1
    fi
}

echo "Five nodes of Raft, simulated, while power fails for one, some or all of them. It should keep its promises:"
show 0 run power-loss --seed 1 --out "$out"

echo
echo "The same with a bug planted: followers acknowledge entries before these are on the disk. harrow should find out,"
echo "from what the clients saw alone:"
show 1 hunt power-loss --mutant raft/no-append-fsync --no-invariants --seeds 1..1000 --out "$out"

echo
echo "And on real processes: five nodes in network namespaces behind a switch, the leader cut off again and again:"
status=0
printf '\n$ %s %s\n' "$harrow" "run leader-isolation --world local --time 15 --seed 1 --out $out"
"$harrow" run leader-isolation --world local --time 15 --seed 1 --out "$out" || status=$?
case $status in
0) ;;
254) echo "The local world is not available here (the reason is above); 'harrow doctor' tells how to get it." ;;
*)
    echo "demo: that ended with status $status where 0 was expected" >&2
    exit 1
    ;;
esac

echo
echo "Reports and histories are in $out; 'harrow runs --out $out' lists them."
