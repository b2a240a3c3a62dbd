#!/usr/bin/env bash
# harrow compare end to end: the same figures run by run and for any number of workers, sums that add up between table,
# CSV and JSON, what is not valid told aloud, and what every kind of mistake is answered with. HARROW names the program.
# shellcheck source=tests/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

harrow=${HARROW:-$PWD/build/harrow}
[ -x "$harrow" ] || { not_ok "there is a program to test" "$harrow is not there; run make"; finish; }
cd "${temporary:?}"

run() { # status in $status, standard output in $out, standard error in $err
    status=0
    "$harrow" "$@" >out.txt 2>err.txt </dev/null || status=$?
    out=$(cat out.txt) err=$(cat err.txt)
}
evidence() { printf 'status %s\n%s\n%s\n' "$status" "$out" "$err" | head -n 60; }
expect() { # WHAT CONDITION...: a condition is a command
    local what=$1
    shift
    if "$@"; then ok "$what"; else not_ok "$what" "$(evidence)"; fi
}
says() { grep -Eq -- "$2" <<<"$1"; }
# expect_refused WHAT STATUS PATTERN ARGUMENTS...
expect_refused() {
    local what=$1 wanted=$2 pattern=$3
    shift 3
    run "$@"
    if [ "$status" -eq "$wanted" ] && says "$err" "$pattern"; then ok "$what"; else not_ok "$what" "$(evidence)"; fi
}

cat >cut.lua <<'LUA'
return {
  doc = "A node is cut off for a second.",
  nodes = 3,
  time = 6,
  min_ops = 10,
  workload = register { keys = 2, clients = 4, rate = 50 },
  nemesis = function(cluster)
    sleep(2)
    cluster:isolate(cluster:random_node())
    sleep(1)
    cluster:heal()
    sleep(60)
  end,
  checks = { linearizable() },
}
LUA
two=(cut.lua --targets 'raft,epaxos' --seeds 3..4)

# --- figures ---

run compare "${two[@]}" -j 1 --out one
expect "a comparison of valid runs ends with 0" [ "$status" -eq 0 ]
expect "its table has a column per target" says "$out" '^ +raft +epaxos$'
expect "its table counts the runs" says "$out" '^runs +2 valid +2 valid$'
expect "its table has figures" says "$out" '^committed, ops/s +[0-9.]+'
expect "no line is wider than 100 columns" [ -z "$(grep -E '^.{101}' out.txt)" ]
expect "it says where the page is" says "$out" '^page +one/compare.html$'
first=$(grep -v '^CPU time\|^page' out.txt)
run compare "${two[@]}" -j 2 --out two
expect "another number of workers gives the same table" [ "$first" = "$(grep -v '^CPU time\|^page' out.txt)" ]
steady() { grep -v ',cpu_per_op,' "$1/compare.csv"; }
expect "and the same CSV, but for CPU time" cmp -s <(steady one) <(steady two)
run compare "${two[@]}" --csv
expect "--csv prints what the folder gets" cmp -s <(steady one) <(grep -v ',cpu_per_op,' out.txt)
expect "--csv has nothing else on standard output" [ "$(head -n 1 out.txt | cut -d, -f3-4)" = target,seed ]

if command -v python3 >/dev/null; then
    # shellcheck disable=SC2317
    adds_up() {
        python3 - "$1" <<'PY'
import csv, json, statistics, sys
folder = sys.argv[1]
root = json.load(open(folder + "/compare.json"))
rows = list(csv.DictReader(open(folder + "/compare.csv")))
assert root["all_valid"] and root["seeds"] == [3, 4] and [t["name"] for t in root["targets"]] == ["raft", "epaxos"]
checked = 0
for target in root["targets"]:
    assert target["verdicts"] == {"valid": 2, "invalid": 0, "unknown": 0, "none": 0}
    for run in target["runs"]:
        figures = {(f["metric"], f["operation"], f["region"]): f["value"] for f in run["figures"]}
        assert abs(figures["throughput", None, None] - run["committed"] / run["main_seconds"]) < 1e-6
        assert figures["messages_per_op", None, None] > 1 and figures["syncs_per_op", None, None] > 0
        assert ("fast_path", None, None) in figures or target["name"] == "raft"
        assert [f["start_ms"] for f in run["faults"]] == [2000] and run["faults"][0]["failover_ms"] > 0
        ranks = [figures["latency_p%s" % p, "write", None] for p in ("50", "99", "999")]
        assert ranks == sorted(ranks)
    for f in target["figures"]:
        values = [float(r["value"]) for r in rows
                  if r["target"] == target["name"] and r["metric"] == f["metric"]
                  and r["operation"] == (f["operation"] or "") and r["region"] == (f["region"] or "")]
        assert len(values) == f["runs"]
        if not values:
            continue
        for name, value in ("median", statistics.median(values)), ("min", min(values)), ("max", max(values)):
            assert abs(f[name] - value) <= 1e-6 * max(1, abs(value)), (f, values)
        checked += 1
assert checked >= 30, checked
PY
    }
    expect "JSON and CSV add up" adds_up one
    run compare "${two[@]}" --json
    expect "--json prints what the folder gets" python3 -c '
import json, sys
def steady(root):
    for t in root["targets"]:
        for o in [t] + t["runs"]:
            o["figures"] = [f for f in o["figures"] if f["metric"] != "cpu_per_op"]
    return root
sys.exit(steady(json.load(open("out.txt"))) != steady(json.load(open("one/compare.json"))))'
else
    echo "skip JSON and CSV add up: there is no python3"
fi

if command -v gnuplot >/dev/null; then
    expect "the page has its plots" [ "$(grep -c '<svg class="plot' one/compare.html)" -eq 4 ]
fi
mkdir nothing
status=0
PATH=$temporary/nothing "$harrow" compare "${two[@]}" --out three >out.txt 2>err.txt </dev/null || status=$?
out=$(cat out.txt) err=$(cat err.txt)
expect "without gnuplot a comparison is as valid" [ "$status" -eq 0 ]
expect "there is a page without plots" grep -q 'This plot is missing' three/compare.html
expect "and it is said what is missing" says "$out" '^note .*gnuplot is not installed'

# --- what is not valid ---

run compare cut.lua --targets raft,raft/commit-old-term --seeds 3..3
expect "a mutant is a target" [ "$status" -eq 0 ]
run compare cut.lua --targets raft,epaxos --seeds 3..3 --set min_ops=100000
expect "runs that are not valid end with 1" [ "$status" -eq 1 ]
expect "it is said aloud" says "$out" '^NOT A FAIR COMPARISON: 2 of 2 runs are not valid'
expect "and how to run them again" says "$out" 'harrow run cut.lua --target epaxos --seed 3 --set min_ops=100000'

# --- mistakes ---

expect_refused "without targets it says how" 254 'targets raft,' compare cut.lua
run compare cut.lua --target raft,epaxos --seeds 3..4
expect "--target says the same as --targets" [ "$first" = "$(grep -v '^CPU time\|^page' out.txt)" ]
expect_refused "one target is none to compare" 254 'two or more' compare cut.lua --targets raft
expect_refused "a target twice is refused" 254 'raft twice' compare cut.lua --targets raft,raft
expect_refused "an empty name is refused" 254 'empty name' compare cut.lua --targets raft,
expect_refused "an unknown target is refused, the near one told" 254 'no target.*mean epaxos' \
    compare cut.lua --targets raft,epaxo
expect_refused "an unknown mutant is refused" 254 'no mutant "raft/nothing"' compare cut.lua --targets raft,raft/nothing
expect_refused "others' programs need the local world" 254 'etcd is a program that others wrote' \
    compare cut.lua --targets raft,etcd
expect_refused "a bad scenario is refused" 254 'no-such' compare no-such --targets raft,epaxos
expect_refused "a bad setting is refused" 254 'nothing' compare cut.lua --targets raft,epaxos --set nothing=1
expect_refused "too many runs are refused" 254 'at most' compare cut.lua --targets raft,epaxos --seeds 1..1000000
expect_refused "JSON and CSV at once are refused" 254 'one of them' compare "${two[@]}" --json --csv
touch file
expect_refused "a folder that cannot be is refused before the runs" 254 'cannot make the folder file/x' \
    compare "${two[@]}" --out file/x
expect_refused "a file is no folder" 254 'cannot write into the folder file' compare "${two[@]}" --out file
mkdir full
full_disk() { # a folder of one page, in a namespace of its own
    unshare --user --map-root-user --mount sh -c '
        mount -t tmpfs -o size=8k none full && exec "$@"' sh "$harrow" "$@" >out.txt 2>err.txt </dev/null
}
if unshare --user --map-root-user --mount true 2>/dev/null; then
    status=0
    full_disk compare "${two[@]}" --out full || status=$?
    out=$(cat out.txt) err=$(cat err.txt)
    expect "a full disk is told after the figures" says "$out" '^committed, ops/s'
    expect "with the file and the reason" says "$err" 'cannot write full/compare\.[a-z]+: No space left'
    expect "and ends with 255" [ "$status" -eq 255 ]
else
    echo "skip a full disk: no namespaces here"
fi
finish
