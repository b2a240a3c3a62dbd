#!/usr/bin/env bash
# Systems that others wrote, in the local world: settings, how clients bear a node that refuses them, the store that
# docs/foreign-targets.md is about, just as it stands there, and etcd. HARROW names the program. It runs alone: time is
# real here.
# shellcheck source=tests/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

harrow=${HARROW:-$PWD/build/harrow}
[ -x "$harrow" ] || { not_ok "there is a program to test" "$harrow is not there; run make"; finish; }
scenarios=$PWD/scenarios
document=$PWD/docs/foreign-targets.md
cd "$temporary"

run() { # arguments of harrow run...
    status=0
    "$harrow" run "$@" --world local --seed 1 --out store --no-report >out.txt 2>err.txt </dev/null || status=$?
}
evidence() { printf 'status %s\n' "$status"; tail -n 30 out.txt err.txt; }
expect_status() { # what, status
    if [ "$status" -eq "$2" ]; then ok "$1"; else not_ok "$1" "$(evidence)"; fi
}
expect_said() { # what, pattern: on whichever output
    if cat out.txt err.txt | grep -Eq -- "$2"; then ok "$1"; else not_ok "$1" "$(evidence)"; fi
}

# --- settings ---

check_settings() {
    "$harrow" targets >out.txt 2>err.txt
    expect_said "targets shows the settings, the default first" ':reads=linearizable\|serializable'
    run "$scenarios/calm.lua" --target etcd:reads=sometimes
    expect_status "a value that a setting cannot take is refused" 254
    expect_said "and those that it can take are listed" 'it is one of linearizable, serializable'
    run "$scenarios/calm.lua" --target etcd:raeds=serializable
    expect_said "an unknown setting is refused with the known ones" 'no setting raeds; it has .*reads'
    run "$scenarios/calm.lua" --target etcd --set snapshot_count=5
    expect_status "--set is for the scenario" 254
    expect_said "and points to the target's settings" '--target etcd:NAME=VALUE: .*snapshot_count'
}

# --- the store of the documentation ---

block() { # language: the document's code in it
    awk -v fence="\`\`\`$1" '$0 == fence {inside = 1; next} $0 == "```" {inside = 0} inside' "$document"
}

# Every client asks as fast as it is answered, also while nobody answers; what fails was refused.
closed_loop='return {
  nodes = 1,
  time = 8,
  workload = register { clients = 20, think = 0, mix = { read = 1, write = 1 } },
  nemesis = function(cluster) sleep(2) cluster:during(process.kill(1), 4) end,
  checks = { linearizable() },
}'

corruption() { # checksums
    cat <<END
return {
  nodes = 1,
  time = 6,
  min_ops = 100,
  workload = register { clients = 5, rate = 100 },
  nemesis = function(cluster)
    sleep(1)
    cluster:during(network.corrupt { p = 0.2, clients = true, checksums = $1 }, 4)
  end,
  checks = { linearizable() },
}
END
}
# What the switch itself says of the fault when it ended: a strength that is not zero, and frames that it changed.
expect_changed() { # what, field, scenario
    local log
    log=$(grep -h '"rule_remove"' store/"$3"-*/switch.jsonl || true)
    if grep -Eq "\"$2\":200000.*\"affected\":[1-9]" <<<"$log"; then ok "$1"; else not_ok "$1" "$log$(evidence)"; fi
}

check_store() {
    if ! command -v python3 >/dev/null; then
        skip "the store of the documentation: there is no python3"
        return
    fi
    block python >store.py
    # The document shows a client that runs commands in a second block; the first one is the target.
    block lua | sed '/^}$/q' >store.lua
    run "$scenarios/leader-kill.lua" --target ./store.lua --set nodes=1 --time 15
    if [ "$status" -eq 254 ] && grep -q 'namespace' err.txt; then
        skip "foreign systems: $(tail -n 1 err.txt)"
        finish
    fi
    expect_status "the store of the documentation is valid" 0
    run "$scenarios/leader-kill.lua" --target ./store.lua:flush=never --set nodes=1 --time 15
    expect_status "what it forgets with flush=never is found" 1
    expect_said "and how to run that again names the setting" 'harrow run .*--target \./store\.lua:flush=never'

    echo "$closed_loop" >closed-loop.lua
    run closed-loop.lua --target ./store.lua
    expect_status "a closed loop outlasts a node that is down" 0
    local refused
    refused=$(sed -nE 's/.* operations ok, ([0-9]+) failed.*/\1/p' out.txt)
    if [ "${refused:-9999}" -le 40 ]; then # two for each client, in 4 s; a storm would be tens of thousands
        ok "and does not storm it ($refused refused)"
    else
        not_ok "and does not storm it" "$(evidence)"
    fi
}

check_corruption() {
    [ -e store.lua ] || return 0
    corruption nil >noticed.lua
    run noticed.lua --target ./store.lua
    expect_status "corruption does not reach a system without checksums" 0
    expect_changed "since the kernel drops the frames" damage_ppm noticed
    corruption '"repaired"' >repaired.lua
    run repaired.lua --target ./store.lua
    expect_changed "unless the scenario insists" corrupt_ppm repaired
}

# --- etcd ---

check_etcd() {
    if ! command -v etcd >/dev/null; then
        skip "etcd: the command is not there: apt-get install etcd-server"
        return
    fi
    run "$scenarios/leader-kill.lua" --target etcd --set nodes=3 --time 15
    expect_status "etcd: leader-kill is valid" 0
    run "$scenarios/leader-isolation.lua" --target etcd:reads=serializable --time 20
    expect_status "etcd: stale reads are found" 1
    expect_said "and it is the clients' history that shows them" '^ *linearizable +invalid'
}

check_settings
check_store
check_corruption
check_etcd
finish
