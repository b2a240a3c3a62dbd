/* What the files of this room share: filesystem.c mounts, loses power and ends; serve.c answers the kernel's requests;
 * nodes.c knows files and folders; data.c is the undo log of one file's bytes, names.c that of all folders.
 *
 * Locks, outermost first: names, a node's, table, state. Nobody sleeps with one of them held. A power loss ends all
 * threads first and needs none. */
#ifndef HARROW_FILESYSTEM_INTERNAL_H
#define HARROW_FILESYSTEM_INTERNAL_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>

#include "nemesis/filesystem/filesystem.h"

#define TRASH_NAME ".harrow-unsynced" /* in the backing folder: what was removed and can come back */

enum settled { SETTLED_NOT, SETTLED_KEPT, SETTLED_LOST }; /* what syncs have decided about a change */

struct change {    /* of a file's bytes */
    bool resize;   /* else bytes [offset, offset + size) were written */
    bool survives; /* drawn at a power loss, as is torn */
    bool torn;
    enum settled settled;
    uint64_t sequence, offset, size, old_size, new_size;
    uint8_t *before, *after; /* what it replaced, from `offset` on; what it wrote, saved when a power loss undoes it */
    size_t before_size, after_size;
};

struct node { /* a file, folder or link that the kernel knows, or that has unsynced changes */
    uint64_t id;
    ino_t number;
    int fd;   /* O_PATH */
    int data; /* for reading and writing; -1 when not needed */
    bool folder;
    uint64_t lookups; /* the kernel's, guarded by table as are the next four */
    uint32_t references;
    uint32_t opens;
    uint32_t trashed;     /* links of it that lie in the trash */
    uint32_t creations;   /* unsynced name changes that made it */
    pthread_mutex_t lock; /* of what follows */
    struct change *changes;
    size_t changes_count, changes_capacity;
    uint64_t next_sequence;
    struct node *previous, *next;
};

enum name_kind { NAME_CREATE, NAME_REMOVE, NAME_RENAME, NAME_EXCHANGE };
struct name_change { /* of folders; undone newest first */
    enum name_kind kind;
    bool undo;
    uint64_t sequence;
    uint64_t trash; /* where the removed or replaced file lies; 0: nowhere */
    struct node *folder, *to_folder, *child, *replaced;
    char *name, *to;
};

struct folder_handle { /* an open folder */
    DIR *stream;

    struct folder_handle *previous, *next;
};

struct filesystem {
    char *mountpoint, *backing;
    int trash;             /* the folder */
    bool volatile_backing; /* tmpfs: there is nothing to sync */
    uint64_t device;
    struct fuse_session *session;
    pthread_t thread;

    pthread_mutex_t names; /* of the name changes, and held while names change */
    struct name_change *name_changes;
    size_t name_changes_count, name_changes_capacity;
    uint64_t name_sequence, trash_next;

    pthread_mutex_t table;  /* of nodes and handles */
    struct map64 by_number; /* inode number to struct node *; 0: none */
    struct node *nodes, *root;
    struct folder_handle *handles;
    uint64_t next_id;

    pthread_mutex_t state; /* of what follows */
    pthread_cond_t woken;  /* stopping was set */
    bool stopping;
    struct disk_condition condition;
    struct disk_counters counters;
    struct prng prng;
    uint64_t used_bytes, sync_min_ns, sync_max_ns;
};

/* Whether a fault of this probability strikes now; if so, counts it in *counter (may be NULL). */
bool filesystem_strikes(struct filesystem *f, uint32_t ppm, uint64_t *counter);
struct disk_condition filesystem_condition_now(struct filesystem *f);
void filesystem_count(struct filesystem *f, uint64_t *counter, uint64_t by);
/* Claims room for `more` bytes. 0 or ENOSPC. */
int filesystem_claim(struct filesystem *f, uint64_t more);
void filesystem_unclaim(struct filesystem *f, uint64_t less);

/* --- nodes.c --- */

/* Finds or makes the node of an entry and counts a lookup by the kernel. 0 or errno. */
int node_lookup(struct filesystem *f, struct node *folder, const char *name, struct node **out);
int node_open_root(struct filesystem *f);
struct node *node_of(struct filesystem *f, fuse_ino_t number);
fuse_ino_t node_number(const struct filesystem *f, const struct node *n);
void node_forget(struct filesystem *f, struct node *n, uint64_t lookups);
void node_hold(struct filesystem *f, struct node *n);
void node_drop(struct filesystem *f, struct node *n);
int node_stat(struct filesystem *f, struct node *n, struct stat *st);
int node_need_data(struct node *n); /* opens n->data if need be; with n->lock held. 0 or errno */
void nodes_free(struct filesystem *f);
struct proc_path {
    char text[32];
};
struct proc_path node_path(const struct node *n); /* /proc/self/fd/N: how to open or change what an O_PATH names */

/* --- data.c: all return 0 or errno --- */

int data_write(struct filesystem *f, struct node *n, const void *data, size_t size, uint64_t offset, bool append);
int data_resize(struct filesystem *f, struct node *n, uint64_t size);
int data_allocate(struct filesystem *f, struct node *n, int mode, uint64_t offset, uint64_t size);
/* The end of the changes so far, for data_settle. */
uint64_t data_end(struct node *n);
/* A sync that covers the changes before `end` is over. */
void data_settle(struct filesystem *f, struct node *n, uint64_t end, bool failed);
/* Plays the log back; the bytes in the backing folder are then what a disk would hold. */
int data_power_loss(struct filesystem *f, struct node *n, struct disk_crash fate);
void data_forget(struct node *n); /* drops the log, leaves the bytes */

/* --- names.c: all return 0 or errno; `names` is taken inside --- */

enum make_kind { MAKE_FILE, MAKE_FOLDER, MAKE_LINK, MAKE_SYMLINK, MAKE_SPECIAL };
struct make {
    enum make_kind kind;
    mode_t mode;
    dev_t device;
    uid_t uid;
    gid_t gid;
    const char *target; /* SYMLINK */
    struct node *of;    /* LINK */
};
int names_make(struct filesystem *f, struct node *folder, const char *name, const struct make *m, struct node **out);
int names_remove(struct filesystem *f, struct node *folder, const char *name, bool is_folder);
int names_rename(struct filesystem *f, struct node *folder, const char *name, struct node *to_folder, const char *to,
                 unsigned flags);
uint64_t names_end(struct filesystem *f);
/* The changes before `end` in a folder, or the one that made a file, are durable, and all that they stand on. */
void names_settle(struct filesystem *f, struct node *n, uint64_t end);
int names_power_loss(struct filesystem *f, struct disk_crash fate);
void names_forget(struct filesystem *f); /* all changes are durable */

/* --- serve.c --- */

extern const struct fuse_lowlevel_ops serve_ops;

#endif
