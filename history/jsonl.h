/* Histories as JSON lines with Jepsen's keys, one event a line:
 *   {"process":0,"type":"invoke"|"ok"|"fail"|"info","f":"read"|"write"|"cas"|...,"key":"k1","value":1|null|[1,2]|"s",
 *    "time":ns}
 *
 * value   of an invocation: the argument (a read's is null). Of a completion: the result for an ok read, txn or custom
 *         function, else the argument again (or null). Integers of 64 bits, strings, null, and lists of them.
 * key     optional: what the operation is about; a string, or all through the file an integer.
 * time    nanoseconds from any base, never falling. Events of equal time are concurrent. A file in which no event has a
 *         time is taken in the order of its lines.
 * optional, on invocations: node ("n1" is the first), intended (ns: when an open-loop client should have started),
 *         final (true: after all faults were healed). On completions: error (any JSON), result (what came back where
 *         value is the argument).
 *
 * Everything that is not a client's has "process":"nemesis" and "type":"info". With f "start" or "stop" and a number
 * "fault" it is a fault: name, value (detail) and colour at its start, affected and offered at its stop. With f "role",
 * "node-down", "node-up", "log", "late" or "link" and a term it is a sample: node, role, value (text). Other nemesis
 * lines and unknown keys are ignored.
 *
 * Import is strict about meaning and names the line of what it refuses: a completion without an invocation, a process
 * that acts while its operation is open or after an info, time that runs backwards. A last line cut short is accepted
 * with a warning (cut_short). A file that was exported and is imported again gives an equal history; ids of strings and
 * custom functions may differ. */
#ifndef HARROW_HISTORY_JSONL_H
#define HARROW_HISTORY_JSONL_H

#include <stdio.h>

#include "history/history.h"

struct jsonl_result {
    uint64_t lines;
    bool cut_short; /* the last line was incomplete and was left out; its operation stays pending */
    /* Invocations that stand behind another process's completion of the same time. The lines order the two, the times
     * do not: checks will take them as concurrent and may miss a violation. Worth a warning when not zero. */
    uint64_t order_lost;
};
int jsonl_export(const struct history *h, FILE *out, struct error *e);
/* Clears h first. `name` is for messages. On -1 h is in an unspecified but freeable state. */
int jsonl_import(struct bytes text, const char *name, struct history *h, struct jsonl_result *result, struct error *e);
int jsonl_import_file(const char *path, struct history *h, struct jsonl_result *result, struct error *e);

/* Whether an ok completion's value is its result (read, txn, custom), not its argument again. */
bool jsonl_value_is_result(uint16_t f);

#endif
