/* transactions: checks over operations that read and write several keys at once.
 *
 * A transaction is an operation with f "txn", whose argument and result are lists of micro-operations [f, key, value]:
 * ["append", key, element], ["r", key, what was read or nil] and ["w", key, value]. A plain read, write or append
 * counts as a transaction of one, a cas of registers as a read and a write. What an ok transaction read stands in its
 * result. One that failed did not happen (but a cas that met another value, and says which, has read it).
 * One that ended info, or never, happened if an ok transaction read something that it alone wrote; else it constrains
 * nothing. Keys and written values are integers or strings; what is written to a key is different each time.
 *
 * The two workloads of Elle (Kingsbury and Alvaro, VLDB 2020) are judged by the graph of dependencies of Adya (PhD
 * thesis, MIT 1999): T1 before T2 because T2 overwrote what T1 wrote (ww), read it (wr), or overwrote what T1 read
 * (rw); beside these the order of each process and the real-time order. Cycles in it are anomalies with names, and
 * each name rules out consistency models. An anomaly that needs the process or real-time order says so: G1c-process,
 * G-single-realtime.
 *
 * G0                  a cycle of ww alone: writes of two transactions are interleaved
 * G1a, G1b, G1c       reads what was rolled back; what was overwritten by its own writer; a cycle of ww and wr
 * G-single            a cycle with one rw; of it, lost-update: two overwrite the same version that both have read
 * G-nonadjacent       a cycle with more rw, but no two in a row
 * G2-item             a cycle with two rw in a row
 * internal            a transaction does not see what itself has read or written before
 * dirty-update        a committed write on top of one that was rolled back
 * duplicate-elements, incompatible-order, garbage-read, torn-writes
 *                     an element is there twice; two reads have no common order; a value that nobody wrote; an append
 *                     is there without one that its transaction did before */
#ifndef HARROW_TRANSACTIONS_H
#define HARROW_TRANSACTIONS_H

#include "checkers/checkers.h"

enum transactions_workload { TRANSACTIONS_LIST_APPEND, TRANSACTIONS_RW_REGISTER };

/* The consistency models by name, and what each says in a line; NULL past the last. First those that dependencies tell
 * apart, weaker ones first ("read-uncommitted", ..., "serializable", "strict-serializable"); then "sequential", which
 * is strong-session-serializable; then, of registers only, "causal", "causal-memory" and "causal-convergence". */
const char *consistency_name(size_t i);
const char *consistency_doc(size_t i);
bool consistency_known(const char *name);

/* Does the history satisfy the model (NULL: "strict-serializable")? The result is named after the workload.
 *
 * Invalid: `detail` has the anomalies, "not X; at most Y" in models, `explanation` the shortest cycle that was found,
 * in words, `ops` its transactions. Valid is exact, too: an order of versions was found under which the model holds.
 * Of lists, reads give that order, and both answers come in linear time. Of registers it is partly guessed; where no
 * guess can be confirmed, the verdict is unknown. The three causal models are decided exactly, by the patterns of
 * Bouajjani et al. (POPL 2017), in n times the number of processes (causal-memory: that for each process). */
void check_transactions(const struct history *h, enum transactions_workload workload, const char *consistency,
                        const struct check_options *o, struct check_result *out);

/* Transfers between accounts, as registers that hold integers: every transaction that reads all accounts of the history
 * must see the same total, and no read an amount below 0. Unknown if fewer than two read all of them. Linear. */
void check_bank(const struct history *h, const struct check_options *o, struct check_result *out);
/* Jepsen's bank has transfers, and reads of all balances at once. The same operations as transactions for check_bank,
 * or at least what it needs to know of them; owned. */
bool is_bank_of_balances(const struct history *h);
struct history *balances_as_transactions(const struct history *h);

/* Registers that are written once each, and transactions that read the same keys: of two such reads one must have seen
 * all that the other has seen. (A pair where each misses what the other saw is a long fork, which parallel snapshot
 * isolation allows.) n log n. Unknown if no two transactions read the same two keys or more. */
void check_long_fork(const struct history *h, const struct check_options *o, struct check_result *out);

/* The session guarantees (Terry et al., PDIS 1994), each process a session, for each key: is there an order of the
 * key's versions in which no process ever goes back, whether it reads (monotonic reads, read your writes) or writes
 * (monotonic writes, writes follow reads)? Exact for the four together; invalid names those that the shortest
 * contradiction is made of. What they say about several keys at once is in the strong-session models. Linear. */
void check_sessions(const struct history *h, enum transactions_workload workload, const struct check_options *o,
                    struct check_result *out);

#endif
