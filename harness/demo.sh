#!/usr/bin/env bash
# What `make demo` shows: a cluster that keeps its promises under faults, and one with a planted bug that does not.
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

echo "Raft, simulated, while one fault after the other is thrown at it. It should keep its promises:"
show 0 run swarm --seed 1 --out "$out"

echo
echo "The same with a bug planted: entries are acknowledged before they are on the disk. harrow should find out:"
show 1 hunt power-loss --mutant raft/no-append-fsync --seeds 1..1000 --out "$out"

echo
echo "Reports and histories are in $out; 'harrow runs --out $out' lists them."
