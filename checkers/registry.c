/* Every check that judges the operations of a history, by name: what `harrow models` lists, what `harrow check --model`
 * takes, what the library offers. To add one: a row, where the order is that of guessing (the smallest first). */
#include "checkers/collections/collections.h"
#include "checkers/internal.h"
#include "checkers/transactions/transactions.h"

/* --- how a row is checked ----------------------------------------------------------------------------------------- */

static void by_model(const struct checker *c, const struct history *h, const struct check_options *o,
                     struct check_result *out) {
    struct model m = *model_find(c->name);
    struct buffer name = {0};
    if (c->takes_initial && o && o->initial.kind != VALUE_NIL) {
        buffer_printf(&name, "%s that holds ", m.name);
        history_value_print(h, o->initial, &name);
        buffer_printf(&name, " at first");
        m.name = buffer_text(&name);
        m.nil = o->initial;
        m.never_nil = true;
    }
    check_linearizable(h, &m, o, out);
    buffer_free(&name);
}

static void by_multi_register(const struct checker *c, const struct history *h, const struct check_options *o,
                              struct check_result *out) {
    (void)c;
    check_multi_register(h, o, out);
}

static void by_counter(const struct checker *c, const struct history *h, const struct check_options *o,
                       struct check_result *out) {
    (void)c;
    check_counter(h, o, out);
}

static void by_append(const struct checker *c, const struct history *h, const struct check_options *o,
                      struct check_result *out) {
    (void)c;
    check_append(h, o, out);
}

static void by_list_append(const struct checker *c, const struct history *h, const struct check_options *o,
                           struct check_result *out) {
    (void)c;
    check_transactions(h, TRANSACTIONS_LIST_APPEND, o ? o->consistency : NULL, o, out);
}

static void by_rw_register(const struct checker *c, const struct history *h, const struct check_options *o,
                           struct check_result *out) {
    (void)c;
    check_transactions(h, TRANSACTIONS_RW_REGISTER, o ? o->consistency : NULL, o, out);
}

static void by_bank(const struct checker *c, const struct history *h, const struct check_options *o,
                    struct check_result *out) {
    (void)c;
    struct history *same = is_bank_of_balances(h) ? balances_as_transactions(h) : NULL;
    check_bank(same ? same : h, o, out);
    history_free(same);
}

static void by_long_fork(const struct checker *c, const struct history *h, const struct check_options *o,
                         struct check_result *out) {
    (void)c;
    check_long_fork(h, o, out);
}

static void by_collection(const struct checker *c, const struct history *h, const struct check_options *o,
                          struct check_result *out) {
    static const struct {
        const char *name;
        void (*check)(const struct history *, const struct check_options *, struct check_result *);
    } collections[] = {
        {"queue", check_bag},
        {"fifo", check_fifo},
        {"fifo-at-least-once", check_fifo_at_least_once},
        {"total-queue", check_total_queue},
        {"stack", check_stack},
        {"priority-queue", check_priority_queue},
        {"set", check_set},
        {"set-full", check_set_full},
        {"linearizable-set", check_linearizable_set},
        {"mutex", check_mutex},
        {"fenced-lock", check_fenced_lock},
        {"unique-ids", check_unique_ids},
    };
    size_t i = 0;
    while (strcmp(collections[i].name, c->name) != 0) i++;
    collections[i].check(h, o, out);
}

/* --- whether a row fits, where the names of the operations do not tell -------------------------------------------- */

static bool reads_no_lists(const struct history *h) {
    for (uint32_t op = 0; op < h->count; op++)
        if (h->f[op] == OP_READ && h->result[op].kind == VALUE_LIST) return false;
    return true;
}

/* Is there a micro-operation of this name? */
static bool has_micro(const struct history *h, const char *name) {
    for (uint32_t op = 0; op < h->count; op++) {
        struct value list = h->argument[op];
        if (h->f[op] != OP_TXN || list.kind != VALUE_LIST) continue;
        for (uint32_t i = 0; i < list.size; i++) {
            struct value micro = h->pool[list.first + i];
            if (micro.kind != VALUE_LIST || micro.size == 0) continue;
            struct value f = h->pool[micro.first];
            if (f.kind == VALUE_STRING && strcmp(history_text(h, f.string), name) == 0) return true;
        }
    }
    return false;
}

static bool has_function(const struct history *h, enum op_function f) {
    for (uint32_t op = 0; op < h->count; op++)
        if (h->f[op] == f) return true;
    return false;
}

static bool has_appends(const struct history *h) {
    return has_function(h, OP_APPEND) || has_micro(h, "append");
}

static void by_sessions(const struct checker *c, const struct history *h, const struct check_options *o,
                        struct check_result *out) {
    (void)c;
    check_sessions(h, has_appends(h) ? TRANSACTIONS_LIST_APPEND : TRANSACTIONS_RW_REGISTER, o, out);
}

static bool has_writes(const struct history *h) {
    return has_function(h, OP_WRITE) || has_function(h, OP_CAS) || has_micro(h, "w");
}

static bool has_spelled_writes(const struct history *h) {
    return has_micro(h, "write");
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

static const struct checker checkers[] = {
    {.name = "register",
     .doc = "one value, linearizable",
     .functions = "read write",
     .takes_initial = true,
     .check = by_model},
    {.name = "cas-register",
     .doc = "one value with compare-and-set, linearizable",
     .also = "linearizable-register",
     .functions = "read write cas",
     .takes_initial = true,
     .check = by_model},
    {.name = "counter",
     .doc = "a sum, near-linear; a missing counter is 0",
     .functions = "read add",
     .fits = reads_no_lists,
     .check = by_counter},
    {.name = "append",
     .doc = "lists of different numbers, linearizable, near-linear",
     .functions = "read append",
     .check = by_append},
    {.name = "list",
     .doc = "a list of any values, linearizable; a missing list is empty",
     .functions = "read append",
     .by_name_only = true,
     .check = by_model},
    {.name = "kv",
     .doc = "a key of a store, linearizable; add and append create a missing key",
     .functions = "read write cas delete add append",
     .check = by_model},
    {.name = "list-append",
     .doc = "transactions over lists, in Elle's manner (--consistency)",
     .functions = "txn read append",
     .takes_consistency = true,
     .fits = has_appends,
     .check = by_list_append},
    {.name = "rw-register",
     .doc = "transactions over registers, in Elle's manner (--consistency)",
     .also = "wr",
     .functions = "txn read write cas",
     .takes_consistency = true,
     .fits = has_writes,
     .check = by_rw_register},
    {.name = "multi-register",
     .doc = "transactions over registers, linearizable, values may repeat",
     .functions = "txn",
     .fits = has_spelled_writes,
     .takes_initial = true,
     .check = by_multi_register},
    {.name = "bank",
     .doc = "transfers between accounts: the total is kept, nothing falls below 0",
     .functions = "txn read transfer",
     .fits = is_bank_of_balances,
     .check = by_bank},
    {.name = "long-fork",
     .doc = "keys written once: what transactions saw of the same keys forms one order",
     .functions = "txn",
     .by_name_only = true,
     .check = by_long_fork},
    {.name = "sessions",
     .doc = "no process goes back on a key: the four session guarantees",
     .functions = "read write cas append txn",
     .by_name_only = true,
     .check = by_sessions},
    {.name = "set-full",
     .doc = "a set: each element over all reads, lost or stale (Jepsen's)",
     .functions = "add read",
     .check = by_collection},
    {.name = "set",
     .doc = "a set: the last read has everything (Jepsen's)",
     .functions = "add read",
     .by_name_only = true,
     .check = by_collection},
    {.name = "linearizable-set",
     .doc = "a set that grows, linearizable, linear time",
     .functions = "add read",
     .by_name_only = true,
     .check = by_collection},
    {.name = "queue",
     .doc = "a queue without order, linearizable, near-linear",
     .also = "unordered-queue",
     .functions = "enqueue dequeue",
     .check = by_collection},
    {.name = "fifo",
     .doc = "a queue, first in, first out, linearizable, near-linear",
     .also = "fifo-queue",
     .functions = "enqueue dequeue",
     .by_name_only = true,
     .check = by_collection},
    {.name = "fifo-at-least-once",
     .doc = "the same, but what was delivered may come again",
     .functions = "enqueue dequeue",
     .by_name_only = true,
     .check = by_collection},
    {.name = "total-queue",
     .doc = "a queue: what goes in comes out (Jepsen's)",
     .functions = "enqueue dequeue drain",
     .check = by_collection},
    {.name = "stack",
     .doc = "last in, first out, linearizable, near-linear",
     .functions = "push pop",
     .check = by_collection},
    {.name = "priority-queue",
     .doc = "numbers, the least first, linearizable, near-linear",
     .functions = "insert delete-min",
     .check = by_collection},
    {.name = "mutex",
     .doc = "a lock with one holder at a time, linearizable, near-linear",
     .functions = "acquire release",
     .check = by_collection},
    {.name = "fenced-lock",
     .doc = "a lock that can be lost: fencing tokens grow",
     .functions = "acquire release",
     .by_name_only = true,
     .check = by_collection},
    {.name = "unique-ids", .doc = "all generated ids are different", .functions = "generate", .check = by_collection},
};
#define CHECKERS_COUNT (sizeof checkers / sizeof *checkers)

const struct checker *checkers_all(size_t *count) {
    *count = CHECKERS_COUNT;
    return checkers;
}

/* Is it one of the words? */
static bool is_word_of(const char *words, const char *word) {
    size_t size = strlen(word);
    for (const char *at = words; size && (at = strstr(at, word)) != NULL; at += size) {
        bool begins = at == words || at[-1] == ' ', ends = at[size] == 0 || at[size] == ' ';
        if (begins && ends) return true;
    }
    return false;
}

const struct checker *checker_find(const char *name) {
    for (size_t i = 0; i < CHECKERS_COUNT; i++)
        if (strcmp(checkers[i].name, name) == 0 || (checkers[i].also && is_word_of(checkers[i].also, name)))
            return &checkers[i];
    return NULL;
}

/* --- guessing ----------------------------------------------------------------------------------------------------- */

struct functions_seen {
    bool of[OP_CUSTOM + sizeof((struct history *)0)->custom / sizeof(uint32_t)];
};

static bool understands(const struct checker *c, const struct history *h, const struct functions_seen *seen) {
    for (uint32_t f = 0; f < OP_CUSTOM + h->custom_count; f++)
        if (seen->of[f] && !is_word_of(c->functions, history_function_name(h, (uint16_t)f))) return false;
    return true;
}

static struct functions_seen look(const struct history *h) {
    struct functions_seen seen = {{false}};
    for (uint32_t op = 0; op < h->count; op++) seen.of[h->f[op]] = true;
    return seen;
}

bool checker_understands(const struct checker *c, const struct history *h) {
    struct functions_seen seen = look(h);
    return understands(c, h, &seen) && (!c->fits || c->fits(h));
}

const struct checker *checker_guess(const struct history *h, bool consistency) {
    for (size_t i = 0; i < CHECKERS_COUNT; i++) {
        const struct checker *c = &checkers[i];
        if (!c->by_name_only && (c->takes_consistency || !consistency) && checker_understands(c, h)) return c;
    }
    return NULL;
}
