/* The client of the bundled KV: turns operations of a history into commands and results back into values, and follows
 * redirects, retries and sessions until the operation has an end. A pure state machine without clock or transport, so
 * that every world drives the same client.
 *
 * Ends: OK with a result; FAIL when it certainly had no effect (every try was refused, or the store refused it); INFO
 * when it may or may not have had one. Retries of a write keep the session's sequence number, so that the store applies
 * the command once however often it arrives (Ongaro's thesis, section 6.3). */
#ifndef HARROW_CLIENT_H
#define HARROW_CLIENT_H

#include "harness/world.h"
#include "targets/node/replica.h"

enum client_state { CLIENT_IDLE, CLIENT_OPENING, CLIENT_BUSY };

struct client {
    uint8_t state;              /* enum client_state */
    uint8_t node;               /* whom it asks now */
    uint8_t nearest[NODES_MAX]; /* all nodes, in the order in which it tries them; the first is its own */
    bool hinted;                /* a node named the present one as its leader */
    uint64_t away_ns;           /* when it began the operation in which it went elsewhere without a hint */
    bool ambiguous;             /* some try may have reached the log without an answer */
    bool reads_only;
    bool pinned; /* for this operation */
    uint32_t tries;
    uint32_t op; /* the host's number */
    uint64_t session, sequence;
    uint64_t started_ns;
    struct buffer command; /* encoded; the session's opening while CLIENT_OPENING */
    struct world_op pending;
};

enum client_verb {
    CLIENT_SEND, /* send `command` to `node` after delay_ns, and expect an answer */
    CLIENT_DONE, /* the operation ended: completion is set */
};
struct client_action {
    enum client_verb verb;
    uint64_t delay_ns;
    struct completion completion;
};

struct client_rules { /* how clients behave in this run */
    uint32_t nodes;
    bool pinned;
    uint64_t backoff_ns; /* mean pause before a refused try is repeated */
    uint64_t home_ns;    /* so long after it left its own node, it tries that one again; 0: it stays away */
};

/* What a world's clients keep to; those of regions go home, as nearness matters there. */
struct client_rules client_rules_of(const struct world_config *c);
void client_reset(struct client *c, const uint8_t *nearest, uint32_t nodes);
void client_free(struct client *c);
/* Begins an operation; the action is CLIENT_SEND, or CLIENT_DONE with FAIL when the store cannot express it. */
struct client_action client_begin(struct client *c, const struct client_rules *rules, struct history *h,
                                  const struct world_op *op, uint64_t now_ns);
struct client_action client_on_reply(struct client *c, const struct client_rules *rules, struct history *h,
                                     struct prng *p, enum status status, uint8_t leader, struct bytes result);
/* No answer within the time of one try. */
struct client_action client_on_try_timeout(struct client *c, const struct client_rules *rules);
/* The connection broke under a try: it may have been executed. The next try comes after a pause. */
struct client_action client_on_connection_lost(struct client *c, const struct client_rules *rules, struct prng *p);
/* The operation's own time is over. */
struct client_action client_on_op_timeout(struct client *c, struct history *h);

/* Operation <-> command. encode returns false for an operation that the store cannot express (error text in *why). */
bool kv_from_op(const struct history *h, const struct world_op *op, struct kv_command *out, const char **why);
struct value kv_to_value(struct history *h, const struct world_op *op, const struct kv_result *r);

#endif
