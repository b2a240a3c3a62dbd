#!/usr/bin/env bash
# One seed decides everything: the same scenario and seed give the same trace hash on gcc and clang, at -O0 and -O2,
# and under the sanitizers; another seed gives another hash. So does a run from another folder with another environment.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

scenarios='swarm power-loss packet-storm'
seeds='1 2 3 4'
time_s=20

read -ra make <<<"${HARROW_MAKE:-make}"
"${make[@]}" --no-print-directory -j"${HARROW_JOBS:-2}" all variants >"$temporary/make.log" 2>&1 || {
    not_ok "determinism: the variants build" "$(tail -n 20 "$temporary/make.log")"
    finish
}
variants="build/gcc-O0 build/clang-O0 build/clang-O2 build/sanitize"

field() { # name, file: the value of a field of flat JSON, without quotes
    tr -d '\n' <"$2" | sed -nE "s/.*\"$1\"[[:space:]]*:[[:space:]]*\"?([^\",}]*)\"?.*/\1/p"
}

# Prints "trace_hash events" of a run, or why there is none.
fingerprint() { # program, scenario, seed, target if it is not the default
    local out=$temporary/run status=0
    rm -rf "$out"
    "$1" run "$PWD/scenarios/$2.lua" --world sim --target "${4:-raft}" --seed "$3" --time $time_s --json --out "$out" \
        >"$temporary/json" 2>"$temporary/stderr" || status=$?
    if [ "$status" -gt 2 ]; then
        echo "status $status: $(tail -n 1 "$temporary/stderr")"
        return
    fi
    echo "$(field trace_hash "$temporary/json") $(field events "$temporary/json")"
}

# Sets `wanted` to the fingerprint of build/harrow and demands it of all variants.
same_in_all_variants() { # scenario, seed, target
    local variant got different=
    wanted=$(fingerprint build/harrow "$1" "$2" "$3")
    if ! grep -Eq '^[0-9a-fx]+ [0-9]+$' <<<"$wanted"; then
        not_ok "determinism: $3: $1, seed $2 runs" "$wanted"
        return
    fi
    for variant in $variants; do
        got=$(fingerprint "$variant/harrow" "$1" "$2" "$3")
        [ "$got" = "$wanted" ] || different+="$variant: $got, build: $wanted"$'\n'
    done
    expect_none "determinism: $3: $1, seed $2: one trace in all variants" "$different"
}

for scenario in $scenarios; do
    hashes=
    for seed in $seeds; do
        same_in_all_variants "$scenario" "$seed" raft
        hashes+=${wanted%% *}$'\n'
    done
    expect_none "determinism: $scenario: each seed has its own trace" "$(printf %s "$hashes" | sort | uniq -d)"
done
for target in multipaxos paxos epaxos; do
    for scenario in swarm power-loss; do same_in_all_variants "$scenario" 1 $target; done
done

wanted=$(fingerprint build/harrow swarm 1)
got=$(
    program=$PWD/build/harrow
    export FILLER
    FILLER=$(printf 'x%.0s' {1..5000})
    mkdir "$temporary/elsewhere"
    ln -s "$PWD/scenarios" "$temporary/elsewhere/scenarios"
    cd "$temporary/elsewhere"
    TZ=Asia/Tokyo LC_ALL=C fingerprint "$program" swarm 1
)
if [ "$got" = "$wanted" ]; then
    ok "determinism: folder, time zone and environment do not matter"
else
    not_ok "determinism: folder, time zone and environment do not matter" "$got, not $wanted"
fi
finish
