/* Support for the tests of transactions: histories by hand in a short notation, small random ones, and an oracle that
 * tries all orders and shares nothing with the checkers. */
#ifndef HARROW_TESTS_TRANSACTION_HISTORIES_H
#define HARROW_TESTS_TRANSACTION_HISTORIES_H

#include "checkers/transactions/transactions.h"

/* Transactions, separated by ";": "ax1 ry rz1.2" appends 1 to x, reads nothing of y and [1, 2] of z; "wx5 rx5" writes
 * and reads a register. In front may stand the process and the times, "3@10-20", and "!" (failed) or "?" (info).
 * Without them each has a process of its own, and all are concurrent. */
struct history *transactions_by_hand(const char *text, enum transactions_workload w);

/* At most 6 transactions on 3 keys: by a store that keeps a consistency model or none, now and then with one read that
 * is wrong. */
struct history *transactions_random(struct prng *p, enum transactions_workload w);

/* Is there an execution that satisfies the model? Whatever is info may have happened. */
bool oracle_transactions(const struct history *h, enum transactions_workload w, const char *consistency);

/* Is there for each key an order of its versions in which no process goes back? For histories that have few orders. */
bool oracle_can_order(const struct history *h, enum transactions_workload w);
bool oracle_sessions(const struct history *h, enum transactions_workload w);

/* Registers on replicas, one for each process, that hear of one another's transactions: in the order of causes or in
 * any, and agree on the last write or do not; now and then with one read that is wrong. */
struct history *transactions_random_causal(struct prng *p);

/* "causal", "causal-memory", "causal-convergence": by the definitions of Bouajjani et al. (POPL 2017), with every order
 * of causes where there are few transactions, else with the least one. */
bool oracle_causal(const struct history *h, const char *consistency);

#endif
