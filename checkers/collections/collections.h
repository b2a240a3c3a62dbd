/* collections: checks of queues, stacks, sets, locks and other objects that hold things.
 *
 * Each has the shape of every check (checkers/checkers.h): it starts `out` afresh, keeps deadline and memory cap,
 * and is unknown where it cannot tell. Objects are told apart by key; without keys there is one. Elements are
 * integers or strings. An operation that the check does not know makes it unknown, unless it failed.
 *
 * enqueue, push, insert     argument: the element. One that ended info may have happened at any time later, or never
 * dequeue, pop, delete-min  result: the element; nil says that there was none. One that ended info may have taken any
 *                           one element, or none
 * drain                     a dequeue of many: the result is a list (total-queue only)
 * add, read                 argument: the element; result: a list of all elements
 * acquire, release          result of an acquire: its fencing token, an integer, or nil
 * generate                  result: an id, an integer or a string */
#ifndef HARROW_COLLECTIONS_H
#define HARROW_COLLECTIONS_H

#include "checkers/checkers.h"

/* --- linearizability ---------------------------------------------------------------------------------------------- */

/* Is there an order of the operations that agrees with real time and with the collection? Exact, in O(n log n), if no
 * element is put in twice. What repeats elements, or has takes of unknown result that matter, is searched: unknown if
 * the search is too large. A bag gives its elements back in any order. */
void check_bag(const struct history *h, const struct check_options *o, struct check_result *out);
void check_fifo(const struct history *h, const struct check_options *o, struct check_result *out);
/* First deliveries come first in, first out; what was delivered once may be delivered again at any time. */
void check_fifo_at_least_once(const struct history *h, const struct check_options *o, struct check_result *out);
void check_stack(const struct history *h, const struct check_options *o, struct check_result *out);
/* Of integers; delete-min takes the least. */
void check_priority_queue(const struct history *h, const struct check_options *o, struct check_result *out);
/* A set to which elements are added, once each, and which is read as a whole. Exact, linear in what was read. */
void check_linearizable_set(const struct history *h, const struct check_options *o, struct check_result *out);

/* --- accounts, as Jepsen keeps them ------------------------------------------------------------------------------- */

/* What goes in comes out, if the history drains the queue at its end. Invalid: lost (acknowledged, never dequeued),
 * unexpected (dequeued, never enqueued). Told: duplicated, recovered (came out though the enqueue was not
 * acknowledged). Unknown where no more is missing than dequeues of unknown result may have taken. */
void check_total_queue(const struct history *h, const struct check_options *o, struct check_result *out);
/* The last ok read has all that was acknowledged and nothing else. Invalid: lost, unexpected, duplicated. */
void check_set(const struct history *h, const struct check_options *o, struct check_result *out);
/* Each element by itself, over all reads. An element is known from the end of its add, or of a read that has it.
 * Invalid: lost (absent from the last reads that began after it was known), unexpected, duplicated in a read. Told:
 * stale (absent after it was known, but back later), with times; never-read. */
void check_set_full(const struct history *h, const struct check_options *o, struct check_result *out);
/* All ids that were generated are different. */
void check_unique_ids(const struct history *h, const struct check_options *o, struct check_result *out);

/* --- locks -------------------------------------------------------------------------------------------------------- */

/* Linearizable as a lock that one at a time holds; anyone may release it. Exact, near-linear. */
void check_mutex(const struct history *h, const struct check_options *o, struct check_result *out);
/* The same for `permits` holders at a time; permits > 0. */
void check_semaphore(const struct history *h, uint32_t permits, const struct check_options *o,
                     struct check_result *out);
/* A lock whose holders may lose it (a lease): each acquire returns a token greater than all before it. Releases do not
 * matter. Exact, O(n log n). */
void check_fenced_lock(const struct history *h, const struct check_options *o, struct check_result *out);

#endif
