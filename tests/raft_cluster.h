/* Raft replicas without a driver: each is a state block and what it was told, every step is one call of the protocol,
 * and what a step answered stands there as one line of text. Disks, clocks and the mail between replicas move only when
 * the test says so. Tests and the message fuzzer use it.
 *
 * The text of an effect (timers are left out; @n: write number, ^n: withheld until write n is durable):
 *     append 3/2@5    cut 4@6    meta term 2 vote n1@1    n2: append term=2 index=3 yes^5    apply 3    read 7 at 3
 *     refuse 7 not-leader n2     leader of 2    take 8 keep 5@9    receive 8/2+0 4 bytes last reset@9    fatal why */
#ifndef HARROW_TESTS_RAFT_CLUSTER_H
#define HARROW_TESTS_RAFT_CLUSTER_H

#include "targets/protocols/raft/raft.h"

enum { N1, N2, N3, N4, N5, N6, N7 }; /* a replica's number is one less than its name */
enum { TIMER_OF_ELECTION, TIMER_OF_HEARTBEAT, TIMERS_COUNT };

struct disk_write { /* on its way to the disk */
    uint64_t written;
    uint8_t kind; /* enum effect_kind */
    bool reset;
    struct entry entry; /* index and term of the others, too */
    struct bytes bytes; /* meta, snapshot */
    uint64_t keep_from;
};
struct mail {
    uint8_t from, to, kind;
    uint64_t barrier;
    struct bytes bytes;
};
struct raft_node {
    struct config config;
    void *state;
    size_t state_size;
    struct effects fx;
    uint64_t now_ns, due_ns[TIMERS_COUNT]; /* UINT64_MAX: no timer */
    struct buffer said;                    /* the last step, as text */
    /* The disk, and what is under way to it. */
    struct bytes meta, snapshot;
    uint64_t snapshot_index, snapshot_term;
    struct entry *entries;
    size_t entries_count, entries_capacity;
    struct disk_write *writes;
    size_t writes_first, writes_count, writes_capacity;
    uint64_t durable, log_last; /* the log's end as of the durable writes */
    struct mail *withheld;
    size_t withheld_count, withheld_capacity;
    /* The state machine: a hash over what was applied. */
    uint64_t applied, applied_hash;
    struct buffer receiving;
    uint32_t reads_ready, refused, unknown;
};
struct raft_cluster {
    uint8_t nodes;
    struct raft_node node[PROTOCOL_NODES_MAX];
    bool cut[PROTOCOL_NODES_MAX][PROTOCOL_NODES_MAX]; /* mail from, to is lost when it would be carried */
    struct mail *mail;
    size_t mail_count, mail_capacity;
    size_t snapshot_bytes;          /* how large snapshots are */
    bool synced;                    /* every write is durable at once */
    uint64_t carried[8];            /* messages carried, by kind */
    uint64_t applied_hash[1 << 14]; /* by index: what anyone's state machine held then; 0: nobody was there */
    struct arena arena;
};

/* Heartbeats every 50 ms, elections after 300 to 600 ms; no snapshots; ReadIndex; a small log. */
struct config cluster_config(void);
struct raft_cluster *cluster_new(uint8_t nodes, const struct config *c);
void cluster_free(struct raft_cluster *c);

/* One step of one replica each; they return what it said. */
const char *hears(struct raft_cluster *c, uint8_t node, uint8_t from, struct raft_message m);
const char *hears_bytes(struct raft_cluster *c, uint8_t node, uint8_t from, struct bytes b);
const char *proposes(struct raft_cluster *c, uint8_t node, uint64_t token, const char *command);
const char *reads(struct raft_cluster *c, uint8_t node, uint64_t token);
const char *heartbeats(struct raft_cluster *c, uint8_t node); /* its clock goes to its heartbeat timer */
const char *times_out(struct raft_cluster *c, uint8_t node);  /* ... to its election deadline */
const char *transfers(struct raft_cluster *c, uint8_t node, uint8_t to);
const char *syncs(struct raft_cluster *c, uint8_t node, uint64_t upto); /* writes up to `upto` become durable */
const char *restarts(struct raft_cluster *c, uint8_t node);             /* what was not durable is gone */
void passes(struct raft_cluster *c, uint8_t node, uint64_t ns);         /* its clock moves; no timer fires */

/* Many steps. */
void syncs_all(struct raft_cluster *c);
void carries(struct raft_cluster *c, uint8_t from, uint8_t to); /* the mail there is now, in order */
void loses(struct raft_cluster *c, uint8_t from, uint8_t to);
void settles(struct raft_cluster *c); /* carries all mail and syncs all disks until nothing moves */
void beats(struct raft_cluster *c, uint8_t leader, uint32_t times); /* heartbeat, settle, all clocks together */
void elects(struct raft_cluster *c, uint8_t node);                  /* it stands for election and must win */
void lives(struct raft_cluster *c, uint32_t ms);   /* all timers fire in their time, all mail arrives at once */
void stands(struct raft_cluster *c, uint8_t node); /* the same, and its first appends are not carried yet */
void isolates(struct raft_cluster *c, uint8_t node, bool on);
size_t mail_between(const struct raft_cluster *c, uint8_t from, uint8_t to);
struct probe probe_of(const struct raft_cluster *c, uint8_t node);
/* The newest mail of a kind on its way; false if there is none. */
bool mail_last(const struct raft_cluster *c, uint8_t from, uint8_t to, uint8_t kind, struct raft_message *m);

#endif
