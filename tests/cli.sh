#!/usr/bin/env bash
# The program end to end, as a person or a CI job uses it: exit statuses, the lines that scripts depend on, the store
# after kill -9, hunting, replaying, and what every kind of mistake is answered with. HARROW names the program.
# shellcheck source=tests/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

harrow=${HARROW:-$PWD/build/harrow}
[ -x "$harrow" ] || { not_ok "there is a program to test" "$harrow is not there; run make"; finish; }
cd "${temporary:?}"
mkdir empty

# Runs harrow; its status is in $status, its standard output in $out, its standard error in $err.
run() {
    status=0
    "$harrow" "$@" >out.txt 2>err.txt </dev/null || status=$?
    out=$(cat out.txt) err=$(cat err.txt)
}
evidence() { printf 'status %s\n%s\n%s\n' "$status" "$out" "$err"; }
# expect_status WHAT STATUS: of the last run.
expect_status() {
    if [ "$status" -eq "$2" ]; then ok "$1"; else not_ok "$1" "$(evidence)"; fi
}
# expect WHAT CONDITION...: a condition is a command, such as: [ "$a" = "$b" ]
expect() {
    local what=$1
    shift
    if "$@"; then ok "$what"; else not_ok "$what" "$(evidence)"; fi
}
# expect_says WHAT TEXT PATTERN
expect_says() {
    if grep -Eq -- "$3" <<<"$2"; then ok "$1"; else not_ok "$1" "no '$3' in: $2"; fi
}
# expect_refused WHAT PATTERN ARGUMENTS...: status 254 and the pattern on standard error.
expect_refused() {
    local what=$1 pattern=$2
    shift 2
    run "$@"
    if [ "$status" -eq 254 ] && grep -Eq -- "$pattern" <<<"$err"; then ok "$what"; else not_ok "$what" "$(evidence)"; fi
}
# shellcheck disable=SC2317
is_json() { # of standard input
    if command -v python3 >/dev/null; then
        python3 -m json.tool >/dev/null
    elif command -v jq >/dev/null; then
        jq . >/dev/null
    else
        grep -q '^[[{]'
    fi
}
field() { # NAME < JSON: a plain value of the outermost object
    sed -nE "s/^  \"$1\": \"?([^\",]*)\"?,?$/\1/p" | head -n 1
}

cat >calm.lua <<'LUA'
return {
  doc = "Nothing happens.",
  nodes = 3,
  time = 5,
  min_ops = 10,
  workload = register { keys = 2, clients = 4, rate = 50 },
  checks = { linearizable() },
}
LUA
cat >starved.lua <<'LUA'
return { nodes = 3, time = 5, min_ops = 1000000, workload = register { keys = 2, clients = 4, rate = 50 } }
LUA
cat >long.lua <<'LUA'
return { nodes = 3, time = 80000, min_ops = 10, workload = register { keys = 50, clients = 4, rate = 100 } }
LUA
cat >wrong.lua <<'LUA'
return {
  nodes = 3,
  workload = register { keys = 2, clients = 4, rate = "fast" },
}
LUA
printf 'return {\n  nodes = = 3,\n}\n' >syntax.lua
cat >fails.lua <<'LUA'
return {
  nodes = 3,
  time = 5,
  workload = register { keys = 2, clients = 4, rate = 50 },
  nemesis = function(cluster)
    sleep(1)
    cluster:no_such_thing()
  end,
}
LUA

# --- run ---

run run calm.lua --seed 7
expect_status "a run without faults is valid: status 0" 0
expect_says "the seed is printed first" "$(head -n 1 <<<"$out")" '^seed 7$'
expect_says "the last lines say the verdict" "$(tail -n 4 <<<"$out")" '^verdict +valid$'
expect_says "the last lines say why" "$(tail -n 4 <<<"$out")" '^why '
expect_says "the last lines say where the report is" "$(tail -n 4 <<<"$out")" '^report +store/.*report.html$'
expect_says "the last line is the command that replays the run" \
    "$(tail -n 1 <<<"$out")" '^replay +harrow run calm.lua .*--seed 7'
expect "the report is there" [ -s "$(sed -n 's/^report *//p' <<<"$out")" ]
expect "no colours outside a terminal" [ "${out/$'\033'/}" = "$out" ]
expect "a run outside a terminal is silent on standard error" [ -z "$err" ]

run run calm.lua
expect_says "a run without a seed draws one and prints it first" "$(head -n 1 <<<"$out")" '^seed [0-9]+$'

run run starved.lua --seed 1 --no-report
expect_status "a starved run is unknown: status 2" 2
expect_says "and it says what was missing" "$out" '^why +load: '

run run calm.lua --seed 7 --json
expect_status "run --json keeps the status" 0
expect "run --json prints one JSON object" is_json <out.txt
for name in run scenario target world seed mutant verdict checks ops faults virtual_seconds wall_seconds events \
    trace_hash; do
    grep -q "^  \"$name\":" out.txt || not_ok "run --json has $name" "$out"
done
expect_says "the trace hash is 16 hexadecimal digits" "$(field trace_hash <out.txt)" '^[0-9a-f]{16}$'
expect_says "with --json the lines for people are on standard error" "$err" '^verdict +valid$'
first_hash=$(field trace_hash <out.txt)
first_run=$(field run <out.txt)
run run calm.lua --seed 7 --json --no-report
expect "the same seed gives the same trace" [ "$(field trace_hash <out.txt)" = "$first_hash" ]
run run calm.lua --seed 8 --json --no-report
expect "another seed gives another trace" [ "$(field trace_hash <out.txt)" != "$first_hash" ]

# --- what is stored ---

run runs
expect_says "runs lists what ran" "$out" "^$first_run +valid +raft +7 "
run runs --json
expect "runs --json is JSON" is_json <out.txt
run show "${first_run:0:$((${#first_run} - 2))}"
expect_status "a run is found by the start of its id" 0
expect_says "show tells the checks" "$out" '^ +linearizable +valid'
expect_says "show tells latencies" "$out" '^write +[0-9]+'
run show last --ops all
expect_says "show --ops all lists every operation" "$out" '^all [0-9]+ of [0-9]+ operations'
expect_refused "a start that fits several runs is refused" 'calm-' show calm-
expect_refused "an unknown run is refused" 'nosuch' show nosuch
run check "$first_run"
expect_status "check judges a stored run" 0
run report "$first_run"
expect_status "report builds a run's report again" 0
history=store/$first_run/history.jsonl
expect "the run's folder holds history.jsonl" [ -s "$history" ]
run check "$history" --model cas-register
expect_status "check judges an exported history" 0
run check "$history" --json
expect "check --json is JSON" is_json <out.txt

run replay "$first_run"
expect_status "a replay has the verdict of the run" 0
expect_says "a replay is the same run" "$out" "^trace +$first_hash, as stored"
expect "a replay leaves trace.txt" [ -s "store/$first_run/trace.txt" ]
if command -v sqlite3 >/dev/null; then
    sqlite3 store/harrow.db "UPDATE runs SET trace_hash = 12345 WHERE run = '$first_run'"
    run replay "$first_run"
    expect_status "a replay that differs from the stored run ends with 255" 255
else
    skip "a replay that differs from the stored run ends with 255 (no sqlite3)"
fi

# --- check ---

cat >stale.jsonl <<'JSON'
{"process":0,"type":"invoke","f":"write","key":"x","value":1,"time":10}
{"process":0,"type":"ok","f":"write","key":"x","value":1,"time":20}
{"process":1,"type":"invoke","f":"write","key":"x","value":2,"time":30}
{"process":1,"type":"ok","f":"write","key":"x","value":2,"time":40}
{"process":0,"type":"invoke","f":"read","key":"x","value":null,"time":50}
{"process":0,"type":"ok","f":"read","key":"x","value":1,"time":60}
JSON
run check stale.jsonl --model register
expect_status "a stale read is invalid: status 1" 1
expect_says "and the verdict says so" "$out" '^verdict +invalid$'
expect_says "and how far an order gets, and why no further" "$out" 'read -> 1 by process 0 +would return 2, not 1$'
run check stale.jsonl --model register --html stale.html
expect_status "a page of it changes no status" 1
expect "the page is there, whole" grep -q '</html>' stale.html
expect "the page says what was left over" grep -q 'would return 2, not 1' stale.html
expect "the page loads nothing" [ "$(grep -Ec 'https?://|<link|src=' stale.html)" -eq 0 ]
expect "the page is small" [ "$(wc -c <stale.html)" -lt 30000 ]
run check stale.jsonl --model register --html nowhere/stale.html
expect_status "a page that cannot be written: status 255" 255
expect_says "and an error that names it" "$err" 'cannot write nowhere/stale.html: No such file'
if [ -w /dev/full ]; then
    run check stale.jsonl --model register --html /dev/full
    expect_says "a full disk is an error" "$err" 'cannot write /dev/full: No space left'
fi
expect_refused "an unknown model is refused" 'harrow models' check stale.jsonl --model nosuch
run check stale.jsonl --consistency sequential
expect_says "a consistency model has the check guessed that takes one" "$out" 'why +rw-register: sequential'
expect_status "a read that is stale by time alone is sequentially consistent: status 0" 0
cat >uncaused.jsonl <<'JSON'
{"process":0,"type":"invoke","f":"write","key":"x","value":1,"time":10}
{"process":0,"type":"ok","f":"write","key":"x","value":1,"time":20}
{"process":0,"type":"invoke","f":"write","key":"y","value":1,"time":30}
{"process":0,"type":"ok","f":"write","key":"y","value":1,"time":40}
{"process":1,"type":"invoke","f":"read","key":"y","value":null,"time":50}
{"process":1,"type":"ok","f":"read","key":"y","value":1,"time":60}
{"process":1,"type":"invoke","f":"read","key":"x","value":null,"time":70}
{"process":1,"type":"ok","f":"read","key":"x","value":null,"time":80}
JSON
run check uncaused.jsonl --consistency causal
expect_status "an effect without its cause is not causal: status 1" 1
expect_says "and the pattern is named" "$out" 'why +rw-register: WriteCOInitRead: not causal'
expect_refused "an unknown consistency model is refused" 'no consistency model "nosuch"' \
    check stale.jsonl --consistency nosuch
expect_refused "a consistency model means nothing to a register" 'means nothing to register' \
    check stale.jsonl --model register --consistency causal
printf '{"process":0,"type":"ok","f":"read","time":5}\n' >bad.jsonl
expect_refused "a history that makes no sense is refused with its line" 'bad.jsonl:1' check bad.jsonl --model register
head -c -30 stale.jsonl >cut.jsonl
run check cut.jsonl --model register
expect_status "a history whose last line is cut short can be checked" 0
expect_refused "check of neither a file nor a run" 'neither a file nor a run' check nosuch --out empty/none

# --- a model of one's own ---

cat >model.lua <<'LUA'
-- A register.
local object = {
  init = function() return nil end,
  step = function(value, op)
    if op.f == "write" then return true, op.argument end
    return op.status == "info" or op.result == value, value
  end,
}
return object
LUA
run check stale.jsonl --model model.lua
expect_status "a stale read is invalid by a model in Lua, too" 1
expect_says "and it says at which operation" "$out" 'model.lua allows has read -> 1 by process 0 before it ended$'
sed 's/value, value/value, vallue/' model.lua >broken.lua
run check stale.jsonl --model broken.lua
expect_status "a model that raises an error is unknown" 2
expect_says "and the error has its line" "$out" "broken.lua:6: undeclared global 'vallue'"
expect_refused "a model that is not there is refused" 'there is no file none.lua' check stale.jsonl --model none.lua
{
    grep -v '^return' model.lua
    echo 'return { time = 5, workload = register { mix = { read = 1, write = 1 } }, checks = { linearizable(object) } }'
} >own.lua
run run own.lua --seed 1 --no-report
expect_status "a scenario judges by a model of its own" 0
expect_says "and says so" "$out" 'linearizable .* by own.lua'

# --- formats ---

run convert stale.jsonl --to edn -o stale.edn
expect_status "convert writes EDN" 0
expect_says "as Jepsen writes it" "$(cat stale.edn)" \
    '^\{:process 0, :type :invoke, :f :write, :value \["x" 1\], :time 10\}$'
run check stale.edn --json
expect_status "check judges EDN" 1
expect_says "and knows it by its content" "$out" '"format": "edn"'
run convert stale.edn
expect "there and back is the same" cmp -s stale.jsonl out.txt
printf 'INFO  jepsen.util - %s\n' '0 :invoke :write 1' '0 :ok :write 1' '1 :invoke :read nil' '1 :ok :read nil' \
    >etcd.log
run check etcd.log
expect_status "check judges a log of Jepsen's etcd test" 1
expect_refused "a format that the file does not have" 'etcd.log:1' check etcd.log --format jsonl
expect_refused "a format that there is none of" 'porcupine-kv' check etcd.log --format xml
expect_refused "convert to a format that is only read" 'jsonl' convert etcd.log --to porcupine-etcd
printf '[{:process 0 :type :invoke :f :read}\n {:process 1 :type :ok :f :read}]' >bad.edn
expect_refused "EDN that makes no sense is refused with its line" 'bad.edn:2: process 1' check bad.edn
printf '[{:process 0 :type :invoke :f :read}\n {:process 0 :type :ok :f :re' >cut.edn
run check cut.edn
expect_says "what an EDN file was cut off in is left out, aloud" "$out" '1 operations; its last .* cut short'

# --- a store of Jepsen's ---

mkdir -p jepsen/latest/n1
jepsen_event() { # process, type, f, value
    printf '{:process %s, :type :%s, :f :%s, :value %s}\n' "$@"
}
{
    jepsen_event 0 invoke enqueue 1
    jepsen_event 0 ok enqueue 1
    jepsen_event :nemesis info start nil
    jepsen_event 0 invoke enqueue 2
    jepsen_event 0 ok enqueue 2
    jepsen_event 1 invoke dequeue nil
    jepsen_event 1 ok dequeue 2
} >jepsen/latest/history.edn
run check jepsen/latest/
expect_status "the folder of a test of Jepsen's is judged" 0
expect_says "and what was guessed is said" "$out" '^guessed +format edn, model queue; --model may also be fifo, '
run check jepsen/latest --model fifo-queue
expect_status "a model answers to the name that knossos gave it" 1
expect "and nothing was guessed then" [ "${out/guessed/}" = "$out" ]
expect_refused "a folder without a history is refused" 'no history.edn' check jepsen
sed 's/:enqueue/:leap/' jepsen/latest/history.edn >leap.edn
expect_refused "what no check understands is named" 'every operation in it: leap, dequeue' check leap.edn
{
    jepsen_event 0 invoke read nil
    jepsen_event 0 ok read 0
} >zero.edn
run check zero.edn --model cas-register
expect_status "a register holds nothing at first" 1
run check zero.edn --model cas-register --initial 0
expect_status "or what --initial says" 0
expect_refused "an initial value must be one" 'the value "\[0"' check zero.edn --model register --initial '[0'
expect_refused "an initial value is for registers" 'means nothing to mutex' check zero.edn --model mutex --initial 0
printf '0\t:invoke\t:write\t1\n0\t:ok\t:write\t1\n1\t:invoke\t:read\tnil\n1\t:ok\t:read\t2\n' >history.txt
run check history.txt --json
expect_status "a history.txt is judged" 1
expect_says "and known by its content" "$out" '"format": "jepsen-txt"'
expect_says "and the model that was taken is in the JSON" "$out" '"model": "register"'

# --- mistakes ---

expect_refused "no command at all" 'harrow run'
expect_refused "an unknown command" 'did you mean "run"' rnu calm.lua
expect_refused "a command that is not there" 'no command "serve"' serve calm.lua
expect_refused "an unknown option" 'did you mean --seed' run calm.lua --sead 3
expect_refused "an option without its value" 'needs a value' run calm.lua --seed
expect_refused "a seed that is no number" '--seed cannot be' run calm.lua --seed x
expect_refused "no scenario" 'SCENARIO' run
expect_refused "a scenario that is not there" 'nosuch.lua' run nosuch.lua
expect_refused "a syntax error names file and line" 'syntax.lua:2' run syntax.lua
expect_refused "a wrong field names file and line" 'wrong.lua:3' run wrong.lua
expect_refused "a nemesis that fails names file and line" 'fails.lua:7' run fails.lua --seed 1
expect_refused "an unknown parameter" 'nosuch' run calm.lua --set nosuch=1
expect_refused "an unknown target" 'nosuch' run calm.lua --target nosuch
expect_refused "an unknown mutant" 'nosuch' run calm.lua --mutant raft/nosuch
expect_refused "an unknown world" 'there are sim and local' run calm.lua --world mars
expect_refused "a hunt without a bound" '--seeds A..B or --for' hunt calm.lua
expect_refused "help for an unknown command" 'harrow help' help nosuch
expect_refused "an unknown benchmark" 'sim, check' bench nosuch
expect "reading commands make no store" [ ! -e empty/none ]
touch file
run run calm.lua --seed 1 --out file/store
expect_says "a store that cannot be made is named" "$err" 'file/store'
expect "a store that cannot be made ends with 255" [ "$status" -eq 255 ]

# --- what there is ---

for list in scenarios targets mutants models; do
    run $list --json
    expect "$list --json is JSON" is_json <out.txt
done
run mutants epaxos/no-union --hunt --json
expect_status "each of the mutants asked for is caught: status 0" 0
expect "mutants --hunt --json is JSON" is_json <out.txt
expect_says "and tells what caught it" "$out" '"by": "interfering commands wait"'
expect_says "also without the invariants" "$out" '"by": "linearizable"'
run mutants raft/no-append-fsync --hunt --markdown
expect_says "mutants --hunt --markdown is a table with a row for each" "$out" \
    '^\| R10 \| .raft/no-append-fsync. \| .power-loss. \| seed 1, .*: durable before acknowledged \| seed [0-9]+, '
run mutants epaxos --markdown
expect_says "mutants of one protocol can be listed" "$out" '^\| E1 \| .epaxos/one-ballot. \|'
expect "and no others" [ "$(grep -c raft <<<"$out")" -eq 0 ]
expect_refused "a mutant that is not there" 'raft/nosuch' mutants raft/nosuch
run doctor
expect_says "doctor knows of the store" "$out" '^store +ok'
for mechanism in local network libpcap clocks syncs fuse realtime etcd redis; do
    expect_says "doctor knows of $mechanism" "$out" "^$mechanism +(ok|missing) "
done
run doctor --json
expect "doctor --json is JSON" is_json <out.txt
expect_refused "captures need real frames" 'world local' run calm --pcap
expect_refused "recordings of nodes need nodes" 'world local' test calm --record
expect_refused "a capture has a size" 'pcap-snap' run calm --world local --pcap-snap 5
expect_refused "a hunt in real time pins nothing" 'real time' hunt calm --world local --seeds 1 --write pinned.lua
expect "and leaves no file" [ ! -e pinned.lua ]
for command in "" run test hunt replay check convert runs show report scenarios targets mutants models doctor bench; do
    # shellcheck disable=SC2086
    run help $command
    [ "$status" -eq 0 ] || not_ok "help $command" "$(evidence)"
done
run --version
expect_says "--version" "$out" '^harrow [0-9]'
if [ -w /dev/full ]; then
    status=0
    "$harrow" help >/dev/full 2>/dev/null || status=$?
    expect_status "output that cannot be written is not success" 255
fi

# --- hunt and test ---

run hunt list-append --seeds 1..3 --out lists
expect_status "dependencies between appends and reads: correct code passes" 0
run run list-append --seed 2 --mutant raft/vote-without-log-check --no-invariants --out lists
expect_status "and a planted bug does not: status 1" 1
expect_says "which list-append has seen" "$out" 'list-append +invalid'

run hunt calm.lua --seeds 1..20 -j 2
expect_status "a hunt in which nothing fails: status 0" 0
expect_says "and it says its rate" "$out" '^20 seeds from 1 in .* a minute'
if [ -e store/harrow.db ]; then before=$("$harrow" runs | wc -l); else before=0; fi
run hunt calm.lua --seeds 1..20 -j 2 --json
expect "hunt --json is JSON" is_json <out.txt
expect "hunt --json counts its seeds" [ "$(field seeds_run <out.txt)" = 20 ]
expect_says "hunt --json has no first failure" "$out" '"first_failure_seed": null'
expect "passing schedules cost no disk" [ "$("$harrow" runs | wc -l)" = "$before" ]
run hunt starved.lua --seeds 1..3
expect_status "a hunt of unknown runs is not valid: status 2" 2
expect_refused "a hunt in which the script fails" 'fails.lua:7|1' hunt fails.lua --seeds 1..2

mutant=raft/count-duplicate-votes scenario=packet-storm
run hunt "$scenario" --mutant "$mutant" --seeds 1..100000 --for 60 -j 2 --json --write found.lua
expect_status "a hunt catches $mutant on $scenario: status 1" 1
seed=$(field first_failure_seed <out.txt)
replay=$(sed -n 's/^replay *harrow //p' <<<"$err")
if [ -n "$replay" ]; then
    status=0
    eval "\"\$harrow\" $replay --no-report" >again.txt 2>&1 || status=$?
    expect_status "the printed replay command fails the same way" 1
    expect "with the same seed" [ "$(head -n 1 again.txt)" = "seed $seed" ]
else
    not_ok "a hunt prints how to replay the failure" "$err"
fi
expect_says "and leaves a trace of it" "$err" '^traced +store/.*trace.txt'
shrunk=$(sed -n 's/^shrunk *harrow //p' <<<"$err")
if [ -n "$shrunk" ]; then
    status=0
    eval "\"\$harrow\" $shrunk --no-report" >again.txt 2>&1 || status=$?
    expect_status "the shrunk command fails too" 1
fi
run test found.lua --mutant "$mutant"
expect_status "the written scenario fails with the mutant" 1
expect_says "test names the seed and how to replay it" "$out" '^ +harrow run found.lua .*--seed'
run test found.lua
expect_says "and runs one seed with correct code" "$out" '^found.lua +1 seeds'
expect "which does not fail" [ "$status" -ne 1 ]

run test calm.lua starved.lua --seeds 1..3 -j 2 --junit junit.xml
expect_status "a suite with an unknown scenario is unknown" 2
expect_says "a line for each scenario" "$out" '^calm.lua +3 seeds .* valid'
expect_says "junit names the scenarios" "$(cat junit.xml)" 'calm.lua'
expect_refused "a suite with a broken scenario" 'syntax.lua:2' test calm.lua syntax.lua
expect_refused "a folder without a scenario" 'no scenario' test empty

# --- a harrow that dies, a store that fails ---

"$harrow" run long.lua --seed 5 --out killed >/dev/null 2>&1 &
pid=$!
for _ in $(seq 100); do
    sleep 0.1
    operations=$("$harrow" show last --out killed --json 2>/dev/null | field operations || true)
    [ "${operations:-0}" -lt 100 ] || break
done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
run runs --out killed
expect_says "after kill -9, runs lists the run as interrupted" "$out" '^long-[^ ]+ +interrupted'
run show last --out killed
expect_status "after kill -9, show reads it" 0
run check last --out killed
expect_says "after kill -9, check judges what was recorded" "$out" '^verdict +valid$'
printf '' >nothing.jsonl
run check nothing.jsonl
expect_says "a history without operations proves nothing" "$out" '^verdict +unknown$'
expect_status "and says so by its status" 2

"$harrow" run long.lua --seed 5 --out stopped >stopped.txt 2>&1 &
pid=$!
sleep 1.5
kill -INT $pid
status=0
wait $pid || status=$?
out=$(cat stopped.txt) err=
expect_status "an interrupted run is unknown: status 2" 2
expect_says "and says that it was interrupted" "$out" '^why +complete: interrupted'
run runs --out stopped
expect_says "what it recorded is stored" "$out" '^long-[^ ]+ +unknown'

status=0
(trap '' XFSZ; ulimit -f 200; exec "$harrow" run long.lua --time 3000 --seed 5 --out full --no-report) \
    >out.txt 2>err.txt || status=$?
out=$(cat out.txt) err=$(cat err.txt)
expect_status "a store that fails in mid-run makes the run unknown" 2
expect_says "and is said" "$out" 'not everything is stored|stored: '

finish
