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

# How many frames of a capture a filter matches, as another program reads it.
frames() { # capture filter
    if command -v tcpdump >/dev/null; then
        tcpdump -nr "$1" "$2" 2>/dev/null | wc -l
    else
        tshark -nr "$1" -Y "$2" 2>/dev/null | wc -l
    fi
}

check_artifacts() { # name folder store
    local who=$1 folder=$2 filter='src host 10.77.0.1' found node
    expect_none "$who: the report says what passed the links, and whether harrow was late" "$(
        grep -q 'id=links' "$folder/report.html" || echo "no links"
        grep -q 'Was harrow itself late' "$folder/report.html" || echo "no lateness"
    )"
    if command -v tcpdump >/dev/null || command -v tshark >/dev/null; then
        command -v tcpdump >/dev/null || filter='ip.src == 10.77.0.1'
        expect_none "$who: each endpoint has a capture, with frames of the first node in it" "$(
            for node in n1 n2 n3 n4 n5 clients; do
                found=$(frames "$folder/$node.pcap" "$filter")
                [ "$found" -gt 3 ] || echo "$node.pcap: $found frames"
            done
        )"
    else
        skip "$who: each endpoint has a capture: neither tcpdump nor tshark is installed"
    fi
    expect_none "$who: each node's recording replays to the same node" "$(
        for node in n1 n2 n3 n4 n5; do
            "$harrow" replay --node "$folder/$node/recording-1" 2>&1 | grep -q 'same as recorded' || echo "$node"
        done
    )"
    run replay last --out "$3"
    expect_status "$who: a run in real time is not replayed" 254
    expect_none "$who: and it is said what can be done instead" "$(
        grep -q 'harrow run .*--world local.* --record' err.txt || echo "not again, recorded"
        grep -q 'harrow run .*--target raft --seed 1' err.txt || echo "not in the simulator"
        grep -q 'harrow replay --node .*/n5/recording-1' err.txt || echo "not from the recordings"
    )"
}

# The process of node $1 of a run of ours, once it is there.
node_pid() {
    local exe pid=''
    for _ in $(seq 200); do
        for exe in /proc/[0-9]*/exe; do
            [ "$(readlink "$exe" 2>/dev/null)" = "$harrow" ] || continue
            if tr '\0' ' ' <"${exe%exe}cmdline" 2>/dev/null | grep -q -- "node --id $1 "; then pid=${exe#/proc/}; fi
        done
        [ -z "$pid" ] || break
        sleep 0.05
    done
    echo "${pid%/exe}"
}

check_ends() { # out
    local out=$1
    cat >"$temporary/stops.lua" <<'LUA'
return {
  nodes = 3, time = 14, min_ops = 100, workload = register { rate = 50 },
  nemesis = function(cluster)
    sleep(1)
    cluster:during(process.terminate("leader"), 2)
    sleep(1)
    cluster:during(process.start_failure(2, { times = 2 }), 5)
  end,
}
LUA
    run run "$temporary/stops.lua" --world local --seed 1 --out "$out" --no-report
    expect_status "a node that is told to end, and one that fails to start" 0
    run show last --out "$out"
    expect_found "the one ended, and was seen to" ' terminate +1/1 ' "$(cat out.txt)"
    expect_found "the other was killed and failed twice" ' start failure +3/3 ' "$(cat out.txt)"
    local log
    for log in "$out"/stops-*/n?/log; do ! grep -q '"event_type":"stop"' "$log" || break; done
    expect_found "the log of the first says that it was told" '"event_type":"stop"' "$(cat "$log")"

    "${as[@]}" "$harrow" run "$scenarios/calm.lua" --world local --time 20 --seed 1 --out "$out" --no-report \
        >out.txt 2>err.txt </dev/null &
    local pid=$! node
    node=$(node_pid 2)
    sleep 3
    kill -SEGV "$node"
    status=0
    wait "$pid" || status=$?
    expect_status "a node that crashes unordered makes the run invalid" 1
    expect_found "the verdict says so, with the end of its log" \
        'assertion of a node: n2 died of signal 11 .*which nobody had ordered; the end of n2/log: .*event_type' \
        "$(cat out.txt)"

    cat >"$temporary/dies.lua" <<'LUA'
return { doc = "ends at once", ready = function() return true end, open = function() return {} end,
  node = function() return { argv = { "sh", "-c", "echo there is no such flag; exit 7" } } end,
  operations = { read = function() return ok(1) end } }
LUA
    run run "$scenarios/calm.lua" --world local --target "$temporary/dies.lua" --time 5 --seed 1 --out "$out" \
        --no-report
    if [ "$status" -eq 0 ]; then not_ok "a cluster that does not start is no run" "$(evidence)"; else
        expect_found "a cluster that does not start says why" \
            'n[1-5] ended by itself with status 7.*the end of n[1-5]/log: there is no such flag' \
            "$(cat out.txt err.txt)"
    fi

    printf '%s\n' 'return { time = 5, workload = register {},' \
        ' nemesis = function(c) c:start(partition.halves { filter = "tcp prot 1" }) end }' >"$temporary/filter.lua"
    run run "$temporary/filter.lua" --world local --seed 1 --out "$out" --no-report
    expect_status "a filter that is none is a mistake in the scenario" 254
    expect_found "and it is named, with its line" 'filter.lua:2: .*"tcp prot 1" is not a tcpdump expression' \
        "$(cat out.txt err.txt)"
    expect_nothing_left "nothing is left of these"
}

check_compare() { # out
    run compare "$scenarios/calm.lua" --world local --targets 'raft,epaxos' --seeds 1..1 --time 3 --set min_ops=20 \
        --out "$1" --csv
    expect_status "targets are compared on real processes" 0
    expect_found "what they sent is counted" ',epaxos,1,valid,messages_per_op,,,1/op,[1-9]' "$(cat out.txt)"
    expect_found "what they used is counted" ',raft,1,valid,cpu_per_op,,,us/op,[1-9]' "$(cat out.txt)"
    expect_found "the nodes tell of their fast path" ',epaxos,1,valid,fast_path,,,%,[1-9]' "$(cat out.txt)"
    expect_nothing_left "nothing is left of a comparison"
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
    run run "$scenarios/leader-isolation.lua" --world local --time 12 --seed 1 --out "$out" --pcap --record
    expect_status "$who: leader-isolation is valid on real processes" 0
    grep -hq '"rule_add"' "$out"/leader-isolation-*/switch.jsonl && ok "$who: the switch logged the cut" ||
        not_ok "$who: the switch logged the cut" "$(ls "$out"/*)"
    check_artifacts "$who" "$(ls -d "$out"/leader-isolation-*)" "$out"
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

mkdir -p "$temporary/ends"
if [ "$(id -u)" -eq 0 ]; then
    check_user root
    check_ends "$temporary/ends"
    check_compare "$temporary/ends"
    if command -v setpriv >/dev/null; then
        as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
        check_user nobody
    else
        skip "local world as an ordinary user: there is no setpriv"
    fi
else
    check_user user
    check_ends "$temporary/ends"
    check_compare "$temporary/ends"
fi
finish
