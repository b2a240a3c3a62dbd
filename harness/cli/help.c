/* The table of commands, and harrow help. */
#include "harness/cli/cli.h"

#define OPT(name) OPTION_BIT(OPTION_##name)
#define WHAT_RUNS                                                                                                      \
    (OPT(TARGET) | OPT(WORLD) | OPT(MUTANT) | OPT(TIME) | OPT(SET) | OPT(WITHOUT) | OPT(NO_INVARIANTS) | OPT(PCAP) |   \
     OPT(PCAP_SNAP) | OPT(RECORD))
#define COMMON (OPT(QUIET) | OPT(JSON))

static const char exit_statuses[] =
    "Exit status: 0 valid, 1 invalid, 2 unknown, 254 bad usage or scenario, 255 internal error.\n";

static const struct command run_command = {
    .name = "run",
    .arguments = "SCENARIO",
    .doc = "one run, checked, stored and reported",
    .help =
        "SCENARIO is a Lua file, or the name of a stock one (harrow scenarios).\n"
        "The seed is printed first; the last lines say the verdict, why, where the report is, and the exact\n"
        "command that runs it again. ^C ends the run in order: what is recorded is stored, its verdict unknown.\n\n"
        "  harrow run leader-kill\n"
        "  harrow run leader-kill --seed 7 --time 20 --set clients=4\n"
        "  harrow run power-loss --mutant raft/no-vote-fsync --json | jq .verdict\n\n"
        "With --world local the same scenario runs on real processes, one per node, in namespaces behind harrow's\n"
        "own switch, and in real time; harrow doctor says whether this machine can. The nodes' logs and disks, and\n"
        "what --pcap and --record write, are in the run's folder.\n\n"
        "  harrow run leader-isolation --world local --pcap --record\n"
        "  harrow run leader-kill --world local --target etcd\n"
        "  harrow run leader-isolation --world local --target etcd:reads=serializable\n",
    .options = WHAT_RUNS | COMMON | OPT(SEED) | OPT(OUT) | OPT(NO_REPORT),
    .arguments_min = 1,
    .arguments_max = 1,
    .run = command_run,
};
static const struct command test_command = {
    .name = "test",
    .arguments = "[PATH...]",
    .doc = "scenarios as a regression suite",
    .help =
        "PATH is a scenario or a folder of them; without one, all stock scenarios run. Each runs with seeds 1..3, or\n"
        "--seeds A..B. A scenario with a line \"-- harrow: --seed N\" runs with that seed only. With --world local "
        "one\n"
        "runs at a time, unless -j says otherwise, and each is stored.\n\n"
        "  harrow test\n"
        "  harrow test scenarios --seeds 1..300 -j 2\n"
        "  harrow test regressions/ --junit results.xml\n",
    .options = WHAT_RUNS | COMMON | OPT(SEED) | OPT(SEEDS) | OPT(JOBS) | OPT(JUNIT),
    .arguments_max = ARGUMENTS_MAX,
    .run = command_test,
};
static const struct command hunt_command = {
    .name = "hunt",
    .arguments = "SCENARIO",
    .doc = "many seeds, until one fails",
    .help =
        "Runs seed after seed over all processors and stops at the first failure: the lowest failing seed of those\n"
        "that ran. That one runs again with the store on, is made smaller (shorter, fewer kinds of faults, a lighter\n"
        "load), and can be written out as a scenario that pins it. A seed that passes costs no disk.\n"
        "With --for and no --seeds, the seeds start at 1; --seeds 5000.. starts elsewhere.\n"
        "With --world local it is a test that is repeated: one run at a time, each with its own faults and each "
        "stored,\n"
        "until one fails. Real time cannot be had again, so nothing is made smaller or pinned there.\n\n"
        "  harrow hunt swarm --seeds 1..10000\n"
        "  harrow hunt swarm --for 600 -j 2\n"
        "  harrow hunt leader-isolation --world local --for 3600 --time 20\n"
        "  harrow hunt packet-storm --for 60 --mutant raft/count-duplicate-votes --write votes.lua\n",
    .options = WHAT_RUNS | COMMON | OPT(SEEDS) | OPT(FOR) | OPT(JOBS) | OPT(KEEP_GOING) | OPT(WRITE) | OPT(OUT) |
               OPT(NO_REPORT),
    .arguments_min = 1,
    .arguments_max = 1,
    .run = command_hunt,
};
static const struct command compare_command = {
    .name = "compare",
    .arguments = "SCENARIO",
    .doc = "targets side by side, under the same faults",
    .help =
        "Runs the scenario with the same seeds on each target, over all processors, and shows what each came to:\n"
        "throughput, latencies by operation and region, availability, times to recover, messages, bytes, syncs and "
        "CPU\n"
        "time per operation, elections. Medians over the seeds, with the least and the greatest. Seeds: 1..5, unless\n"
        "--seeds says otherwise. A target is what run takes, settings and all, or a mutant's id; --target\n"
        "takes the list, too. With --quiet there is the table alone.\n"
        "With --out DIR, which is made if need be: compare.html with plots, compare.csv, compare.json. With --world "
        "local\n"
        "one run goes on at a time, unless -j says otherwise, and each is stored there (or in ./store).\n"
        "Where a run is not valid, that is said aloud, and the exit status is 1.\n\n"
        "  harrow compare leader-kill --targets raft,multipaxos,epaxos\n"
        "  harrow compare packet-storm --targets raft,epaxos --seeds 1..100 --time 30 --out storm\n"
        "  harrow compare leader-kill --targets raft,raft/commit-old-term --csv > runs.csv\n"
        "  harrow compare leader-kill --world local --targets etcd,etcd:reads=serializable --seeds 1..3\n",
    .options = OPT(TARGETS) | OPT(TARGET) | OPT(WORLD) | OPT(TIME) | OPT(SET) | OPT(WITHOUT) | OPT(NO_INVARIANTS) |
               COMMON | OPT(SEEDS) | OPT(JOBS) | OPT(OUT) | OPT(CSV),
    .arguments_min = 1,
    .arguments_max = 1,
    .run = command_compare,
};
static const struct command replay_command = {
    .name = "replay",
    .arguments = "RUN|--node FILE",
    .doc = "a stored run again, with full tracing",
    .help =
        "RUN is an id, the start of one, or \"last\". Everything that the run needs is in the store. Each event goes\n"
        "into trace.txt in the run's folder. A replay whose trace hash differs from the stored one ends with 255.\n"
        "A run of the local world cannot be replayed; it is said what can be done instead.\n"
        "With --node, the recording of one node process runs again, alone: 0 if it is the recorded node, 1 if it\n"
        "differs or breaks an invariant of its protocol, 254 if the file is damaged.\n\n"
        "  harrow replay last\n"
        "  harrow replay --node n1.rec --trace n1.txt\n",
    .options = COMMON | OPT(OUT) | OPT(NODE) | OPT(TRACE),
    .arguments_max = 1,
    .run = command_replay,
};
static const struct command check_command = {
    .name = "check",
    .arguments = "FILE|RUN",
    .doc = "check a history from a file or the store",
    .help =
        "FILE is harrow's JSONL, with Jepsen's keys, one event a line; or a history in Jepsen's EDN, or a log of\n"
        "porcupine's tests. How it begins tells the format, unless --format does.\n"
        "  {\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"key\":\"x\",\"value\":1,\"time\":10}\n"
        "  {\"process\":0,\"type\":\"ok\",\"f\":\"write\",\"key\":\"x\",\"value\":1,\"time\":20}\n"
        "The model is one of `harrow models`, or a file in Lua with a model of your own (docs/checkers.md). Without\n"
        "--model, the first one that understands every operation is taken, and it is said which. A run that was\n"
        "interrupted can be checked too. With --consistency it need not be linearizable, but sequential, causal, "
        "...\n\n"
        "  harrow check history.jsonl --model register\n"
        "  harrow check store/latest/history.edn\n"
        "  harrow check store/latest/history.edn --model cas-register --initial 0\n"
        "  harrow check history.jsonl --model my-queue.lua\n"
        "  harrow check history.jsonl --consistency causal\n"
        "  harrow check history.jsonl --html counterexample.html\n"
        "  harrow check last\n",
    .options =
        COMMON | OPT(MODEL) | OPT(CONSISTENCY) | OPT(INITIAL) | OPT(OUT) | OPT(FORMAT) | OPT(HTML) | OPT(NO_EXPLAIN),
    .arguments_min = 1,
    .arguments_max = 1,
    .run = command_check,
};
static const struct command convert_command = {
    .name = "convert",
    .arguments = "FILE",
    .doc = "a history from one format into another",
    .help = "FILE is of any format that check reads. What it says as operations is written as JSON lines or as EDN.\n\n"
            "  harrow convert history.edn --to jsonl -o history.jsonl\n"
            "  harrow convert history.jsonl --to edn | head\n",
    .options = OPT(QUIET) | OPT(FORMAT) | OPT(TO) | OPT(OUTPUT),
    .arguments_min = 1,
    .arguments_max = 1,
    .run = command_convert,
};
static const struct command report_command = {
    .name = "report",
    .arguments = "RUN",
    .doc = "(re)build a run's report, plots and history.jsonl",
    .help = "RUN is an id, the start of one, or \"last\".\n\n  harrow report last\n",
    .options = COMMON | OPT(OUT),
    .arguments_min = 1,
    .arguments_max = 1,
    .run = command_report,
};
static const struct command runs_command = {
    .name = "runs",
    .arguments = "",
    .doc = "the runs in the store, newest first",
    .help = "  harrow runs --out other-store\n",
    .options = OPT(JSON) | OPT(OUT),
    .run = command_runs,
};
static const struct command show_command = {
    .name = "show",
    .arguments = "RUN",
    .doc = "what is stored of one run",
    .help = "RUN is an id, the start of one, or \"last\". Shows its checks, latencies, faults, a plot, and the last\n"
            "operations.\n\n"
            "  harrow show last --ops all\n",
    .options = OPT(JSON) | OPT(OUT) | OPT(OPS),
    .arguments_min = 1,
    .arguments_max = 1,
    .run = command_show,
};
static const struct command scenarios_command = {
    .name = "scenarios", .arguments = "", .doc = "the stock scenarios", .options = OPT(JSON), .run = command_scenarios};
static const struct command targets_command = {
    .name = "targets", .arguments = "", .doc = "what can be tested", .options = OPT(JSON), .run = command_targets};
static const struct command mutants_command = {
    .name = "mutants",
    .arguments = "[ID|PROTOCOL...]",
    .doc = "the bugs that can be planted, and what finds them",
    .help =
        "Each is a bug that a real system had, planted into correct code. \"see it\": clients can.\n"
        "--hunt plays the scenario of each with seeds from 1 on until one fails, at most --for seconds (60), first\n"
        "with the online invariants, then by the history and the nodes' states alone, and tells the seed, the\n"
        "seconds and what caught it. The seeds are the same everywhere, the seconds are not.\n\n"
        "  harrow hunt power-loss --mutant raft/no-vote-fsync --for 60\n"
        "  harrow mutants --hunt --markdown\n"
        "  harrow mutants raft epaxos/one-ballot --hunt --for 600 --json\n\n"
        "Exit status with --hunt: 0 each was caught, 1 one was not, 2 interrupted, 255 a run broke harrow.\n",
    .options = OPT(JSON) | OPT(HUNT) | OPT(MARKDOWN) | OPT(FOR) | OPT(JOBS),
    .arguments_max = ARGUMENTS_MAX,
    .run = command_mutants};
static const struct command models_command = {
    .name = "models", .arguments = "", .doc = "the models for check", .options = OPT(JSON), .run = command_models};
static const struct command doctor_command = {
    .name = "doctor",
    .arguments = "",
    .doc = "what this machine can do, and how to fix it",
    .help =
        "A line for each thing that harrow can use: whether it works here, tried for real where that is possible, and\n"
        "if not, how to get it: a package, a permission, a sysctl. The simulator needs nothing but a store.\n"
        "local, network and libpcap are what every run of the local world needs; clocks, syncs and fuse are kinds\n"
        "of faults in it; the last lines are the targets that others wrote.\n\n"
        "Exit status: 0 both worlds work, though perhaps not with every fault, 1 the store cannot be written, 2 the\n"
        "local world does not work here.\n",
    .options = OPT(JSON) | OPT(OUT),
    .run = command_doctor,
};
static const struct command bench_command = {
    .name = "bench",
    .arguments = "[sim|check [ROW]|switch|local]",
    .doc = "how fast this build is here",
    .help =
        "sim: schedules a minute and events a second on one core, through the same runner that hunt uses; --target\n"
        "chooses the protocol.\n"
        "check: processor time and memory of each checker on large histories made from a seed, reading apart; one "
        "line\n"
        "per row, or only those whose name begins with ROW.\n"
        "switch: what the local world's switch adds to a kernel bridge, in namespaces of its own.\n"
        "local: puts and gets a second of the bundled store and, where it is installed, etcd, behind that switch.\n\n"
        "  harrow bench sim --for 10 --json\n"
        "  harrow bench check register-100\n",
    .options = OPT(FOR) | OPT(JSON) | OPT(TARGET),
    .arguments_max = 2,
    .run = command_bench,
};
static const struct command kv_command = {
    .name = "kv",
    .arguments = "VERB [ARGUMENT...]",
    .doc = "a client of a running cluster of the bundled store",
    .help =
        "get KEY | put KEY VALUE | cas KEY OLD NEW | del KEY | append KEY N | add KEY N: one operation. Redirects are\n"
        "followed, and a write is tried again through a session, so that it happens at most once.\n"
        "status: a line per node. transfer NODE: hands the leadership over, where the protocol has a leader. bench: a\n"
        "closed loop of clients.\n\n"
        "  harrow kv put greeting hello --nodes 10.0.0.1:7401,10.0.0.2:7401,10.0.0.3:7401\n"
        "  HARROW_NODES=127.0.0.1:7401 harrow kv get greeting\n"
        "  harrow kv bench --clients 64 --seconds 10 --mix mixed\n\n"
        "Exit status: 0 done, 1 no such key, a mismatch, (status) not all nodes serve, or (transfer) nobody ever\n"
        "leads, 2 no answer in time: a write may have happened if the message says so, 254 bad usage.\n",
    .options =
        OPT(NODES) | OPT(TIMEOUT) | OPT(CLIENTS) | OPT(SECONDS) | OPT(MIX) | OPT(VALUE_BYTES) | OPT(KEYS) | OPT(JSON),
    .arguments_min = 1,
    .arguments_max = 4,
    .run = command_kv,
};
static const struct command node_command = {
    .name = "node",
    .arguments = "OPTIONS",
    .doc = "one replica of the bundled store as a process of its own",
    .help = "  --id N                   which node this is, from 1\n"
            "  --peers HOST:PORT,...    where all nodes listen for one another, in the same order everywhere\n"
            "  --clients HOST:PORT,...  where all nodes listen for clients; default: the peers' ports + 1\n"
            "  --metrics PORT           HTTP: /metrics for Prometheus, /health; default: none\n"
            "  --data DIR               log and snapshots; made if it is not there; one process at a time\n"
            "  --protocol NAME          default raft\n"
            "  --mutant ID              plant a bug (harrow mutants)\n"
            "  --election-timeout MS    the least; drawn between one and two times this; default 300\n"
            "  --heartbeat MS           default 50\n"
            "  --reads KIND             log, index (default), lease, or local (stale)\n"
            "  --clock-drift-ppm N      how wrong clocks may be for lease reads; default 0\n"
            "  --snapshot-entries N     a snapshot after so many; 0: only when the log is full; default 10000\n"
            "  --message-bytes N        the largest message between nodes, and so the largest command; default 131072\n"
            "  --seed N                 of the election timeouts; default: random\n"
            "  --control FD             a connected stream socket; gets the node's status, and its end ends the node\n"
            "  --record FILE            write every input down, for harrow replay --node\n"
            "  --record-max-mib N       then the recording ends, the node goes on; default 1024\n"
            "  --log-level LEVEL        error, warning, info (default), debug; JSON lines on standard error\n"
            "  --cluster NAME           nodes of another name are refused; default harrow\n"
            "\nSIGTERM and SIGINT end it in order. Exit status: 0 told to stop, 1 the disk failed, 2 refused to start\n"
            "(address, folder in use, a log that is corrupt), 3 an assertion of the protocol failed, 254 bad usage. A\n"
            "full disk does not end it: it answers \"busy\" until there is room.\n\n"
            "  harrow node --id 1 --peers 127.0.0.1:7400,127.0.0.1:7410,127.0.0.1:7420 --data n1 --metrics 7402\n",
    .own_options = true,
    .run = command_node,
};
static const struct command help_command = {
    .name = "help",
    .arguments = "[COMMAND]",
    .doc = "more about a command",
    .arguments_max = 1,
    .run = command_help,
};

const struct command *const commands[] = {
    &run_command,       &test_command,    &hunt_command,    &compare_command, &replay_command,
    &check_command,     &convert_command, &runs_command,    &show_command,    &report_command,
    &scenarios_command, &targets_command, &mutants_command, &models_command,  &doctor_command,
    &bench_command,     &kv_command,      &node_command,    &help_command,    NULL,
};

const struct command *command_find(const char *name) {
    for (const struct command *const *k = commands; *k; k++)
        if (strcmp((*k)->name, name) == 0) return *k;
    return NULL;
}

void print_usage(FILE *out) {
    fprintf(out, "harrow breaks replicated systems on purpose and proves whether they kept their promises.\n\n");
    for (const struct command *const *k = commands; *k; k++) {
        char left[40];
        snprintf(left, sizeof left, "%s %s", (*k)->name, (*k)->arguments);
        fprintf(out, "  harrow %-20s %s\n", left, (*k)->doc);
    }
    fprintf(out, "\nStart with `harrow run leader-kill`. `harrow help COMMAND` says more.\n%s", exit_statuses);
}

void print_command_help(const struct command *k, FILE *out) {
    fprintf(out, "harrow %s%s%s%s: %s\n", k->name, *k->arguments ? " " : "", k->arguments,
            k->options ? " [OPTIONS]" : "", k->doc);
    if (k->help) fprintf(out, "\n%s", k->help);
    if (k->options) {
        fprintf(out, "\nOptions:\n");
        options_print(k->options, out);
    }
    if (k->run == command_run || k->run == command_test || k->run == command_hunt || k->run == command_check ||
        k->run == command_replay || k->run == command_compare)
        fprintf(out, "\n%s", exit_statuses);
}

int command_help(struct cli *c) {
    if (c->arguments_count == 0) {
        print_usage(stdout);
        return EXIT_VALID;
    }
    const struct command *k = command_find(c->arguments[0]);
    if (k) {
        print_command_help(k, stdout);
        return EXIT_VALID;
    }
    struct error e = {{0}};
    error_set(&e, "there is no command \"%s\"; `harrow help` lists them", c->arguments[0]);
    return cli_fail(EXIT_USAGE, c, &e);
}
