#!/usr/bin/env bash
# `harrow node` as real processes on loopback: it elects, serves, survives kill -9 of one and of all, waits for room on
# a full disk, refuses a second process on its folder, and garbage on its ports. HARROW names the program.
# shellcheck disable=SC2317
# shellcheck source=tests/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

harrow=${HARROW:-$PWD/build/harrow}
[ -x "$harrow" ] || { not_ok "there is a program to test" "$harrow is not there; run make"; finish; }
cd "${temporary:?}"

declare -A pids=()
end_all() {
    for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$temporary"
}
trap end_all EXIT

# await WHAT SECONDS COMMAND...: until the command succeeds.
await() {
    local what=$1 deadline=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        if [ $SECONDS -ge $deadline ]; then
            not_ok "$what" "$(tail -n 5 log* 2>/dev/null)"
            return 0
        fi
        sleep 0.05
    done
    ok "$what"
}
port_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
# Nine ports in a row that nobody listens on, outside of what the system hands out by itself.
base=0
for try in $(seq 50); do
    base=$((12000 + (RANDOM + try) % 15000))
    for offset in $(seq 0 8); do port_free $((base + offset)) || continue 2; done
    break
done
peers=127.0.0.1:$base,127.0.0.1:$((base + 3)),127.0.0.1:$((base + 6))
HARROW_NODES=127.0.0.1:$((base + 1)),127.0.0.1:$((base + 4)),127.0.0.1:$((base + 7))
export HARROW_NODES

start() { # number
    "$harrow" node --id "$1" --peers $peers --data "data$1" --metrics $((base + 3 * $1 - 1)) --snapshot-entries 500 \
        2>>"log$1" &
    pids[$1]=$!
}
end() { # number, signal
    kill "-$2" "${pids[$1]}"
    status=0
    wait "${pids[$1]}" 2>/dev/null || status=$?
    unset "pids[$1]"
}
kv() { "$harrow" kv "$@" 2>&1; }
http() { # port, first line of the request
    exec 4<>"/dev/tcp/127.0.0.1/$1"
    printf '%s\r\n\r\n' "$2" >&4
    cat <&4
    exec 4>&-
}
metric() { http $((base + 3 * $1 - 1)) 'GET /metrics HTTP/1.1' | sed -n "s/^harrow_$2 //p"; } # node, name
leader() {
    local i
    for i in 1 2 3; do
        if [ -n "${pids[$i]:-}" ] && [ "$(metric "$i" role)" = 2 ]; then echo "$i" && return; fi
    done
    return 1
}
is() { # value, command...: prints exactly that
    local value=$1
    shift
    [ "$("$@")" = "$value" ]
}
refused() { # what, status, pattern, arguments of node...
    local what=$1 expected=$2 pattern=$3 got=0
    shift 3
    timeout 10 "$harrow" node "$@" >refused.txt 2>&1 </dev/null || got=$?
    if [ $got -eq "$expected" ] && grep -Eq -- "$pattern" refused.txt; then
        ok "$what"
    else
        not_ok "$what" "status $got: $(cat refused.txt)"
    fi
}

# --- bad usage ---

refused "node without options is bad usage" 254 '--id N' --data x
refused "an unknown option is named" 254 '--elction-timeout' --elction-timeout 5
refused "a bad address is named" 254 'nowhere' --id 1 --peers nowhere --data x
refused "an id beyond the peers is refused" 254 '--id 4' --id 4 --peers $peers --data x
refused "a heartbeat slower than elections is refused" 254 '--heartbeat' --id 1 --peers $peers --data x --heartbeat 900
refused "a mutant that is not there is refused" 254 'raft/none' --id 1 --peers $peers --data x --mutant raft/none

# --- three nodes ---

for i in 1 2 3; do start $i; done
await "three nodes elect a leader" 10 leader
await "a put is acknowledged" 10 kv put greeting hello
await "and read back" 5 is hello kv get greeting
expect_found "load is served" 'operations' "$(kv bench --clients 16 --seconds 1)"

old=$(leader)
end "$old" 9
await "after kill -9 of the leader another one leads" 10 leader
await "and has what was acknowledged" 10 is hello kv get greeting
await "a put is acknowledged by two of three" 10 kv put second two
start "$old"
applied_everywhere() { [ "$(metric 1 applied_index)" = "$(metric 2 applied_index)" ] &&
    [ "$(metric 2 applied_index)" = "$(metric 3 applied_index)" ]; }
await "who was killed comes back and catches up" 10 applied_everywhere

for i in 1 2 3; do end $i 9; done
for i in 1 2 3; do start $i; done
await "after kill -9 of all what was acknowledged is there" 10 is two kv get second

refused "a second process on the same folder is refused" 2 'in use by another process' \
    --id 1 --peers 127.0.0.1:$((base + 9)) --data data1
refused "an address that is taken is named" 2 'cannot listen' --id 1 --peers $peers --data other

# --- garbage ---

garbage() { # port
    (exec 5<>"/dev/tcp/127.0.0.1/$1" && head -c 100000 /dev/urandom >&5) 2>/dev/null || true
    (exec 5<>"/dev/tcp/127.0.0.1/$1" && printf 'hrw1\001\000\000\000\012\000\000\000garbagegarbagegarbage' >&5) \
        2>/dev/null || true
}
for i in 1 2 3; do
    garbage $((base + 3 * i - 3))
    garbage $((base + 3 * i - 2))
done
await "after garbage on every port the cluster serves" 10 kv put third three
for i in 1 2 3; do
    expect_found "and node $i says why it closed them" '"connection_refused".*not a frame' "$(cat log$i)"
done

# --- metrics and logs ---

http_port=$((base + 2))
metrics=$(http $http_port 'GET /metrics HTTP/1.1' | sed '1,/^\r$/d')
comment='^# (HELP|TYPE) harrow_[a-z_]+ .+$'
sample='^harrow_[a-z_]+(\{[a-z]+="[^"]*"\})? [0-9.e+-]+$'
bad=$(grep -Ev "$comment|$sample" <<<"$metrics" || true)
expect_none "metrics are in Prometheus' text format" "$bad"
for name in term leader_id commit_index fsync_duration_seconds_count responses_total election_duration_seconds_bucket \
    peer_queue_bytes disk_full withheld_messages; do
    grep -q "^harrow_$name" <<<"$metrics" || not_ok "metrics have $name"
done
expect_found "anything else is 404" '^HTTP/1.1 404' "$(http $http_port 'GET /nothing HTTP/1.1')"
expect_found "a bad request is 400" '^HTTP/1.1 400' "$(http $http_port 'nonsense')"
expect_found "a node that serves is healthy" '^HTTP/1.1 200' "$(http $http_port 'GET /health HTTP/1.1')"
if command -v python3 >/dev/null; then
    if python3 -c 'import json, sys
for line in sys.stdin:
    o = json.loads(line)
    assert o["ts"].endswith("Z") and o["node_id"] in (1, 2, 3) and o["event_type"] and o["term"] >= 0' \
        < <(cat log1 log2 log3); then
        ok "every line of the logs is JSON"
    else
        not_ok "every line of the logs is JSON"
    fi
else
    skip "every line of the logs is JSON: no python3 here"
fi
expect_found "snapshots were taken" '"event_type":"snapshot_taken"' "$(cat log1 log2 log3)"

# --- a graceful stop ---

old=$(leader)
term=$(metric "$old" term)
end "$old" TERM
expect_none "SIGTERM ends a node with status 0" "${status#0}"
await "the leadership was handed over" 5 leader
expect_found "at once: one term later" "^$((term + 1))\$" "$(metric "$(leader)" term)"
for i in "${!pids[@]}"; do end "$i" TERM; done

# --- a damaged log ---

file=$(find data1 -type f -size +1k | sort | head -n 1)
printf 'XXXXXXXXXXXXXXXX' | dd of="$file" bs=1 seek=200 conv=notrunc 2>/dev/null
refused "a log that is corrupt is refused and named" 2 "$(basename "$file")" --id 1 --peers $peers --data data1

# --- a full disk ---

if [ "$(id -u)" -ne 0 ] || ! unshare -m true 2>/dev/null; then
    skip "a full disk: mounting a small file system needs root"
    finish
fi
small_node() { # options of tmpfs, options of node...; its folder is small/, its log log_full
    local options=$1
    shift
    rm -f log_full
    # shellcheck disable=SC2016
    unshare -m sh -c 'options=$1; shift; mount -t tmpfs -o "$options" none small && exec "$@"' sh "$options" \
        "$harrow" node --id 1 --peers 127.0.0.1:$base --data small/data --metrics $((base + 2)) "$@" 2>log_full &
    pids[1]=$!
}
restart_there() { # in the file system of the node that runs; options of node...
    local old=${pids[1]}
    exec 6<"/proc/$old/ns/mnt"
    end 1 "$1"
    shift
    # shellcheck disable=SC2016
    nsenter --mount=/proc/self/fd/6 sh -c 'cd "$1" && shift && exec "$@"' sh "$PWD" \
        "$harrow" node --id 1 --peers 127.0.0.1:$base --data small/data --metrics $((base + 2)) "$@" 2>>log_full &
    pids[1]=$!
    exec 6<&-
}
fill() { head -c 64M /dev/zero >"$filler" 2>/dev/null || true; }
mkdir small
export HARROW_NODES=127.0.0.1:$((base + 1))
small_node size=32m
await "a node alone serves" 10 kv put before full
filler=/proc/${pids[1]}/root$PWD/small/filler
fill
kv bench --clients 4 --seconds 1 >/dev/null || true
await "on a full disk it says so" 10 is 1 metric 1 disk_full
expect_found "and is not healthy" '^HTTP/1.1 503' "$(http $((base + 2)) 'GET /health HTTP/1.1')"
expect_found "its log says why" '"disk_full".*No space left' "$(cat log_full)"
if kv put during full --timeout 1 >/dev/null; then
    not_ok "and acknowledges nothing"
else
    ok "and acknowledges nothing"
fi
rm -f "$filler"
await "with room again it goes on, the same process" 10 kv put after full
await "and nothing is lost" 5 is full kv get before
expect_found "it said when" '"event_type":"disk_room"' "$(cat log_full)"

fill
kv bench --clients 4 --seconds 1 >/dev/null || true
await "a second time it says so, too" 10 is 1 metric 1 disk_full
: >log_full
restart_there 9
kv bench --clients 4 --seconds 1 >/dev/null || true # recovery may have freed the page that a torn write began
await "a node that starts on a full disk waits for room" 10 is 1 metric 1 disk_full
expect_found "and says why" '"disk_full".*No space left' "$(cat log_full)"
rm -f "/proc/${pids[1]}/root$PWD/small/filler"
await "and serves once there is some" 10 is full kv get after
end 1 TERM

# A snapshot is many times what a command takes: it is what finds no room.
small_node size=32m --snapshot-entries 20
await "a node with large values serves" 10 kv put key0 zero
filler=/proc/${pids[1]}/root$PWD/small/filler
large=$(head -c 60000 /dev/zero | tr '\0' v)
for i in $(seq 30); do kv put "key$i" "$large" >/dev/null; done
head -c $(($(stat -f -c '%a * %S' "${filler%/*}") - 1000000)) /dev/zero >"$filler"
for i in $(seq 25); do kv put key0 "value$i" --timeout 1 >/dev/null && last=value$i; done
await "without room for a snapshot the disk is full" 10 is 1 metric 1 disk_full
expect_found "the snapshot is named" '"disk_full".*snap-.*No space left' "$(cat log_full)"
rm -f "$filler"
await "with room again what was acknowledged is there" 10 is "${last:-}" kv get key0
end 1 TERM

# No room for a name, though there is some for bytes.
small_node size=32m,nr_inodes=8 --snapshot-entries 20
await "a node in a folder of few files serves" 10 kv put few files
held=/proc/${pids[1]}/root$PWD/small
for i in $(seq 8); do touch "$held/name$i" 2>/dev/null || true; done
for i in $(seq 40); do kv put "key$i" value --timeout 1 >/dev/null || break; done
await "where no file can be made the disk is full" 10 is 1 metric 1 disk_full
rm -f "$held"/name*
await "and with names again it serves" 10 is files kv get few
end 1 TERM
finish
