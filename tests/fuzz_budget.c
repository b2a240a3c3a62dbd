/* No history takes a check past its deadline or its memory cap. Some bytes choose the check, what it may spend, and a
 * history of up to 100,000 operations that is made to be hard; what was really spent is then measured. FUZZ_CHECK=NAME
 * in the environment keeps to one check.
 *
 * Time is that of the processor, from the moment at which the deadline passed: then other jobs on the machine do not
 * count. Memory is what malloc handed out, but for a block that is freed right after another was allocated: realloc
 * does so here, and not in earnest. */
#include <sanitizer/allocator_interface.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "checkers/collections/collections.h"
#include "harness/script/script.h"
#include "tests/hostile.h"

/* What may be spent beside what was allowed: a tenth, or for time this much. Sanitizers make all of it slower. */
#define SLOWDOWN 3
#define LATE_NS_MIN (50 * NS_PER_MS * SLOWDOWN)

/* --- what is spent ------------------------------------------------------------------------------------------------ */

static size_t allocated_bytes, allocated_bytes_max;
static volatile uint64_t cpu_ns_at_deadline;

static void note_malloc(const volatile void *memory, size_t size) {
    (void)memory;
    if (allocated_bytes > allocated_bytes_max) allocated_bytes_max = allocated_bytes;
    allocated_bytes += size;
}

static void note_free(const volatile void *memory) {
    if (memory) allocated_bytes -= __sanitizer_get_allocated_size(memory);
}

static void note_deadline(int signal_number) {
    (void)signal_number;
    cpu_ns_at_deadline = clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static timer_t start_measuring(void) {
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN};
    struct sigaction action = {.sa_handler = note_deadline, .sa_flags = SA_RESTART};
    timer_t timer;
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    sigaction(SIGRTMIN, &action, NULL);
    if (timer_create(CLOCK_MONOTONIC, &event, &timer)) abort();
    if (!__sanitizer_install_malloc_and_free_hooks(note_malloc, note_free)) abort();
    return timer;
}

static void set_timer(timer_t timer, uint64_t ns) {
    struct itimerspec when = {.it_value = {(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)}};
    timer_settime(timer, 0, &when, NULL);
}

/* --- the checks --------------------------------------------------------------------------------------------------- */

/* Models of the user's own: some that grow, some that are wrong. */
static const struct {
    const char *name, *functions, *text;
} own_models[] = {
    {"own-register", "read write cas",
     "return { init = function() return nil end, step = function(value, op)\n"
     "  if op.f == 'write' then return true, op.argument end\n"
     "  if op.f == 'cas' then if value == op.argument[1] then return true, op.argument[2] end return false end\n"
     "  return op.status == 'info' or op.result == value, value end }"},
    {"own-queue", "enqueue dequeue",
     "return { init = function() return {} end, step = function(queue, op)\n"
     "  if op.f == 'enqueue' then queue[#queue + 1] = op.argument or 0 return true, queue end\n"
     "  local first = table.remove(queue, 1)\n"
     "  return op.status == 'info' or op.result == first, queue end,\n"
     "  partition = function(op) return op.key end, describe = function(op) return op.f end, processes = true }"},
    {"own-hoarder", "write",
     "return { init = function() return {} end, step = function(all, op)\n"
     "  all[#all + 1] = op.argument or 0 return true, all end }"},
    {"own-endless", "read write",
     "return { init = function() return 0 end, step = function(n, op)\n"
     "  if op.f == 'read' then while true do n = n + 1 end end return true, n + 1 end }"},
    {"own-greedy", "read write",
     "return { init = function() return 0 end, step = function(n, op)\n"
     "  local t = {} for i = 1, 1e9 do t[i] = { i } end return true, n end }"},
    {"own-long", "read write",
     "return { init = function() return '' end, step = function(s, op) return true, s .. ('x'):rep(10000) end }"},
    {"own-partition", "read write",
     "return { init = function() return 0 end, step = function(n, op) return true, n end,\n"
     "  partition = function(op) return { op.argument or 0, op.result or 0, ('x'):rep(1000) } end }"},
    {"own-error", "read write",
     "return { init = function() return 0 end, step = function(n, op) if op.f == 'read' then error('no') end\n"
     "  local t = {} t.t = t return true, op.argument == 3 and t or n end }"},
};
#define OWN_MODELS (sizeof own_models / sizeof *own_models)

/* Of transactions; those that are decided in different ways. */
static const char *const consistencies[] = {
    NULL,
    "read-committed",
    "repeatable-read",
    "snapshot-isolation",
    "strong-snapshot-isolation",
    "serializable",
    "sequential",
    "strict-serializable",
    "causal",
    "causal-convergence",
};

struct choice {
    const char *name, *functions;
    const struct checker *checker; /* or */
    const char *own;               /* or a semaphore */
};

static size_t choices_count(void) {
    size_t count;
    checkers_all(&count);
    return count + OWN_MODELS + 1;
}

static struct choice choice_at(size_t i) {
    size_t count;
    const struct checker *all = checkers_all(&count);
    if (i < count) return (struct choice){.name = all[i].name, .functions = all[i].functions, .checker = &all[i]};
    i -= count;
    if (i == OWN_MODELS) return (struct choice){.name = "semaphore", .functions = "acquire release"};
    return (struct choice){.name = own_models[i].name, .functions = own_models[i].functions, .own = own_models[i].text};
}

static void judge(const struct choice *c, struct script *own, const struct history *h, const struct check_options *o,
                  struct check_result *r) {
    if (c->checker)
        c->checker->check(c->checker, h, o, r);
    else if (own)
        script_check_model(own, 0, h, o, r);
    else
        check_semaphore(h, 3, o, r);
}

static void look_at(const struct choice *c, const struct history *h, struct check_result *r) {
    assert(r->name && r->detail && !strchr(r->detail, '\n') && r->verdict <= VERDICT_INVALID);
    for (uint32_t i = 0; i < r->ops_count; i++) assert(r->ops[i] < h->count && (i == 0 || r->ops[i - 1] < r->ops[i]));
    assert(r->verdict != VERDICT_INVALID || r->ops_count > 0 || !c->checker);
}

/* --- one input ---------------------------------------------------------------------------------------------------- */

/* A byte stands for the same check however many there are, so that what was found once is still worth running. */
static size_t choose(uint8_t byte) {
    const char *only = getenv("FUZZ_CHECK");
    size_t chosen = choices_count();
    uint64_t most = 0;
    for (size_t i = 0; i < choices_count(); i++) {
        const char *name = choice_at(i).name;
        uint64_t weight = only ? strcmp(name, only) == 0 : hash_bytes(bytes_str(name), byte);
        if (weight <= most) continue;
        most = weight;
        chosen = i;
    }
    if (chosen == choices_count()) abort();
    return chosen;
}

static struct hostile decode(struct reader *in, const struct choice *c) {
    static const uint32_t often[] = {0, 10000, 100000, 500000, 950000, 1000000};
    static const uint32_t numbers[] = {1, 2, 3, 5, 10, 50, 64, 65, 1000, UINT32_MAX};
    struct hostile o = {.functions = c->functions};
    o.ops = read_u8(in) % 14;
    o.ops = o.ops == 13 ? 100000 : (10 + read_u8(in) % 10u) << o.ops;
    o.clients = numbers[read_u8(in) % 10];
    if (o.clients > o.ops) o.clients = o.ops;
    o.keys = numbers[read_u8(in) % 10];
    if (o.keys > o.ops) o.keys = o.ops;
    if (read_u8(in) % 4) o.keys %= 4;
    o.values = read_u8(in) % (VALUES_KINDS + 3);
    if (o.values >= VALUES_KINDS) o.values = VALUES_UNIQUE;
    o.times = read_u8(in) % (4 * TIMES_KINDS);
    if (o.times >= TIMES_KINDS) o.times = TIMES_RISE;
    o.reads_ppm = often[read_u8(in) % 6];
    o.info_ppm = often[read_u8(in) % 12 < 6 ? read_u8(in) % 6 : 0];
    o.fail_ppm = read_u8(in) % 8 ? 0 : 100000;
    uint8_t lies = read_u8(in) % 8;
    o.lies_ppm = lies < 3 ? 0 : lies < 6 ? 1000000 / o.ops : often[lies % 2 + 1];
    o.transaction_max = read_u8(in) % 8 ? 4 : 64;
    uint8_t flags = read_u8(in);
    o.processes_once = flags % 4 == 0;
    bool lists = strstr(c->name, "list") || strstr(c->name, "append") || strstr(c->name, "set");
    o.lists = flags & 0x20 ? flags & 0x40 : lists;
    o.sums = strcmp(c->name, "counter") == 0;
    o.write_once = strcmp(c->name, "long-fork") == 0;
    if (o.write_once) o.keys = o.ops;
    if (strcmp(c->name, "sessions") == 0) o.functions = o.lists ? "read append txn" : "read write txn";
    o.seed = read_u8(in);
    return o;
}

static void tell(const struct choice *c, const struct hostile *s, const struct check_options *o,
                 const struct check_result *r, uint64_t late_ns, size_t bytes) {
    fprintf(stderr,
            "%-18s %6u ops %6u clients %6u keys, values %2u times %u reads %7u info %7u lies %7u lists %u txn %2u "
            "once %u: %s, %4llu ms late after %3llu, %6.2f of %2llu MiB: %.150s\n",
            c->name, s->ops, s->clients, s->keys, s->values, s->times, s->reads_ppm, s->info_ppm, s->lies_ppm, s->lists,
            s->transaction_max, s->processes_once, verdict_name(r->verdict), (unsigned long long)(late_ns / NS_PER_MS),
            (unsigned long long)o->deadline_ms, (double)bytes / (1 << 20),
            (unsigned long long)(o->memory_bytes_max >> 20), r->detail);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static timer_t timer;
    static bool started;
    if (!started) timer = start_measuring();
    started = true;
    struct reader in = {.data = data, .size = size};
    const struct choice c = choice_at(choose(read_u8(&in)));
    struct check_options o = {.deadline_ms = 50u << read_u8(&in) % 4};
    o.memory_bytes_max = UINT64_C(8) << 20 << read_u8(&in) % 4;
    o.consistency = consistencies[read_u8(&in) % (sizeof consistencies / sizeof *consistencies)];
    const struct hostile s = decode(&in, &c);
    struct history *h = hostile_history(&s);
    struct error e;
    struct script *own = c.own ? script_load_model("model.lua", bytes_str(c.own), &e) : NULL;
    struct check_result r;

    size_t before = allocated_bytes_max = allocated_bytes;
    cpu_ns_at_deadline = UINT64_MAX;
    set_timer(timer, o.deadline_ms * NS_PER_MS);
    judge(&c, own, h, &o, &r);
    uint64_t end_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    set_timer(timer, 0);
    note_malloc(NULL, 0);

    uint64_t late_ns = end_ns > cpu_ns_at_deadline ? end_ns - cpu_ns_at_deadline : 0;
    uint64_t late_ns_max = o.deadline_ms * NS_PER_MS / 10 * SLOWDOWN;
    if (late_ns_max < LATE_NS_MIN) late_ns_max = LATE_NS_MIN;
    size_t bytes = allocated_bytes_max - before;
    bool kept = late_ns <= late_ns_max && bytes <= o.memory_bytes_max / 10 * 11;
    if (!kept || getenv("FUZZ_TELL")) tell(&c, &s, &o, &r, late_ns, bytes);
    if (!getenv("FUZZ_TELL")) assert(kept);
    look_at(&c, h, &r);
    check_result_free(&r);
    script_free(own);
    history_free(h);
    return 0;
}
