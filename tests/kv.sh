#!/usr/bin/env bash
# A live cluster of three node processes on loopback, used as a person uses it: harrow kv, recordings of the nodes and
# their replay, one of them killed, and the dissector on what went over the wire. HARROW names the program.
# shellcheck source=tests/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

harrow=${HARROW:-$PWD/build/harrow}
dissector=$PWD/targets/node/wireshark.lua
[ -x "$harrow" ] || { not_ok "there is a program to test" "$harrow is not there; run make"; finish; }
cd "${temporary:?}"

pids=()
stop_all() {
    local pid
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    pids=()
}
capture=
trap 'stop_all; [ -z "$capture" ] || kill "$capture" 2>/dev/null; rm -rf "$temporary"' EXIT

run() { # kv's arguments: status, out and err are those of this run
    status=0
    "$harrow" "$@" >out.txt 2>err.txt </dev/null || status=$?
    out=$(cat out.txt) err=$(cat err.txt)
}
expect() { # WHAT STATUS OUTPUT-PATTERN, of the last run
    if [ "$status" -eq "$2" ] && grep -Eq -- "$3" <<<"$out$err"; then
        ok "$1"
    else
        not_ok "$1" "$(printf 'status %s, wanted %s and "%s"\n%s\n%s' "$status" "$2" "$3" "$out" "$err")"
    fi
}
await() { # SECONDS COMMAND...: until it succeeds
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.05
    done
}

# Three nodes of protocol $1 on ports of their own, with what is on their wire in wire-$1.pcap.
cluster() {
    base=$((20000 + RANDOM % 10000))
    local peers=127.0.0.1:$base,127.0.0.1:$((base + 10)),127.0.0.1:$((base + 20)) id
    export HARROW_NODES=127.0.0.1:$((base + 1)),127.0.0.1:$((base + 11)),127.0.0.1:$((base + 21))
    capture=
    if command -v tcpdump >/dev/null && command -v tshark >/dev/null; then
        tcpdump --immediate-mode -i lo -U -w "wire-$1.pcap" "tcp portrange $base-$((base + 21))" 2>tcpdump.log &
        capture=$!
        await 10 grep -q 'listening on' tcpdump.log || capture=
    fi
    for id in 1 2 3; do
        "$harrow" node --id $id --peers "$peers" --protocol "$1" --data "$1-$id" --record "$1-$id.rec" 2>"log$id" &
        pids+=($!)
    done
}
dissected() { # PROTOCOL PATTERN...: each is found in what the dissector says, and nothing is malformed
    if [ -z "$capture" ]; then
        skip "dissector: $1: tshark or tcpdump is not installed, or may not capture"
        return
    fi
    kill "$capture"
    wait "$capture" 2>/dev/null || true
    capture=
    local protocol=$1 pattern
    tshark -r "wire-$1.pcap" -X lua_script:"$dissector" -Y harrow -T fields -e _ws.col.Info >frames.txt \
        2>tshark.log || true
    shift
    for pattern; do
        expect_found "dissector: $protocol: ${pattern%% *}" "$pattern" "$(grep -Em1 "$pattern" frames.txt || true)"
    done
    expect_none "dissector: $protocol: nothing is malformed" \
        "$(tshark -r "wire-$protocol.pcap" -X lua_script:"$dissector" -Y harrow.malformed 2>/dev/null | head -n 5)"
}

cluster raft
if ! await 20 "$harrow" kv put first 1 --timeout 2; then
    not_ok "kv: a cluster of three serves" "$(cat log1 log2 log3)"
    finish
fi

# --- operations ---

run kv put greeting hello
expect "kv put: says nothing when it is done" 0 '^$'
run kv get greeting
expect "kv get: prints the value" 0 '^hello$'
run kv get nothing
expect "kv get: an absent key is status 1" 1 'no key "nothing"'
run kv cas greeting hello goodbye
expect "kv cas: of the right value" 0 ''
run kv cas greeting hello again
expect "kv cas: of a wrong value is status 1 and shows it" 1 'mismatch'
run kv add n -5
expect "kv add: a number below zero is no option" 0 '^-5$'
for i in 1 2 3; do run kv append list $i; done
run kv get list --json
expect "kv get --json: a list" 0 '1,'
run kv del greeting
expect "kv del: of a key that is there" 0 ''
run kv del greeting
expect "kv del: of a key that is not is status 1" 1 'no key'
run kv add greeting x
expect "kv: a bad number is refused" 254 'not a whole number'
run kv get greeting --nodes nonsense
expect "kv: a bad address is refused" 254 'HOST:PORT'
run kv put x y --nodes 127.0.0.1:1 --timeout 0.3
expect "kv: what was never sent did not happen" 2 'did not happen'
run kv status
expect "kv status: a line per node, one leads" 0 ' leader '
to=$(($("$harrow" kv status | awk '$3 == "leader" {print substr($1, 2)}') % 3 + 1))
run kv transfer $to
expect "kv transfer: the leadership goes where it is wanted" 0 "n$to leads"
run kv bench --clients 8 --seconds 1 --mix mixed --json
expect "kv bench: measures" 0 '"ok": [1-9]'

# --- the wire ---

dissected raft 'HELLO from n[123] to n[123], raft' 'REQUEST cas greeting' 'APPEND_REQUEST term [0-9]+ after'

# --- recordings ---

kill -9 "${pids[2]}"
stop_all
for id in 1 2; do
    run replay --node raft-$id.rec --trace "trace$id"
    expect "replay --node: n$id is the same again" 0 'same as recorded'
    expect_found "replay --node: the trace of n$id tells messages" 'message from n|sends to n' \
        "$(head -n 2000 "trace$id")"
done
run replay --node raft-3.rec
expect "replay --node: a node that was killed is replayed up to its end, which is said" 0 'cut '
printf 'X' | dd of=raft-1.rec bs=1 seek=2000 conv=notrunc 2>/dev/null
run replay --node raft-1.rec
expect "replay --node: a damaged recording is refused with the offset" 254 'damaged at offset'
run replay --node log1
expect "replay --node: a file of another kind is refused" 254 'not a recording'

# --- the other protocols ---

other() { # PROTOCOL TRANSFER-STATUS TRANSFER-OUTPUT PATTERN...
    local protocol=$1 transfer_status=$2 transfer_says=$3 to
    shift 3
    cluster "$protocol"
    if ! await 20 "$harrow" kv put first 1 --timeout 2; then
        not_ok "kv: $protocol: a cluster of three serves" "$(cat log1 log2 log3)"
        return
    fi
    for to in 1 2 3 4 5; do "$harrow" kv put second $to >/dev/null; done
    run kv get second
    expect "kv get: $protocol" 0 '^5$'
    to=$("$harrow" kv status | awk '$3 == "leader" {leads = substr($1, 2)} END {print leads % 3 + 1}')
    run kv transfer "$to" --timeout 15
    expect "kv transfer: $protocol" "$transfer_status" "$transfer_says"
    stop_all
    dissected "$protocol" "$@"
}
other multipaxos 0 'n[123] leads' 'PREPARE ballot [0-9]+\.n[123] slot' 'PROMISE .* success' \
    'ACCEPT ballot .* put second' 'ACCEPTED ballot .* held' 'HANDOVER ballot'
other paxos 1 'a protocol without a leader' 'PREPARE slot [0-9]+ ballot [0-9]+\.n[123]' 'ACCEPT slot .* put second' \
    'CHOSEN slot .* commit'
other epaxos 1 'a protocol without a leader' 'PREACCEPT [123]\.[0-9]+ seq .* put second' \
    'PREACCEPT_REPLY .* ballot 0' 'COMMIT [123]\.[0-9]+ seq' 'STATE executed [0-9]+ [0-9]+ [0-9]+'
finish
