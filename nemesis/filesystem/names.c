/* The undo log of names. What is removed or replaced is moved to a hidden folder, so that it can come back; once the
 * change is durable it is really removed.
 *
 * Durable is what a sync of the folder covers, and the creation of a file by a sync of that file (ext4, xfs and btrfs
 * do so). Either brings along the older changes that it stands on: those of the same names, the making of the folder
 * itself, all that happened in a folder that is gone. At a power loss each folder keeps its oldest changes, as a
 * journal would, and nothing that stands on what is undone. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "nemesis/filesystem/internal.h"

struct trash_path {
    char text[24];
};
static struct trash_path trash_path(uint64_t number) {
    struct trash_path p;
    snprintf(p.text, sizeof p.text, "%llu", (unsigned long long)number);
    return p;
}

static void trashed_add(struct filesystem *f, struct node *n, int by) {
    pthread_mutex_lock(&f->table);
    n->trashed += (uint32_t)by;
    pthread_mutex_unlock(&f->table);
}

static void record(struct filesystem *f, struct name_change c) {
    if (f->name_changes_count == f->name_changes_capacity) {
        f->name_changes_capacity = f->name_changes_capacity ? 2 * f->name_changes_capacity : 16;
        f->name_changes = xrealloc(f->name_changes, f->name_changes_capacity * sizeof *f->name_changes);
    }
    c.sequence = f->name_sequence++;
    c.name = xstrdup(c.name);
    if (c.to) c.to = xstrdup(c.to);
    node_hold(f, c.folder);
    node_hold(f, c.to_folder);
    node_hold(f, c.child);
    node_hold(f, c.replaced);
    if (c.kind == NAME_CREATE) c.child->creations++;
    f->name_changes[f->name_changes_count++] = c;
}

/* The bytes of what lies in the trash are not in use, unless it has other names. */
static void account_removed(struct filesystem *f, struct node *n, bool removed) {
    struct stat st;
    if (n->folder || fstat(n->fd, &st) || !S_ISREG(st.st_mode) || st.st_nlink > 1) return;
    if (removed) filesystem_unclaim(f, (uint64_t)st.st_size);
}

/* Ends the record: what it kept in the trash is removed for good. */
static void settle(struct filesystem *f, struct name_change *c) {
    struct node *gone = c->kind == NAME_RENAME ? c->replaced : c->child;
    if (c->trash) {
        struct trash_path path = trash_path(c->trash);
        unlinkat(f->trash, path.text, gone->folder ? AT_REMOVEDIR : 0);
        trashed_add(f, gone, -1);
    }
    if (c->kind == NAME_CREATE) c->child->creations--;
    node_drop(f, c->folder);
    node_drop(f, c->to_folder);
    node_drop(f, c->child);
    node_drop(f, c->replaced);
    free(c->name);
    free(c->to);
}

/* --- changes ------------------------------------------------------------------------------------------------------ */

static int make(struct node *folder, const char *name, const struct make *m) {
    int fd, at = folder->fd;
    struct proc_path of;
    switch (m->kind) {
    case MAKE_FILE:
        fd = openat(at, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, m->mode);
        return fd < 0 || close(fd) ? errno : 0;
    case MAKE_FOLDER: return mkdirat(at, name, m->mode) ? errno : 0;
    case MAKE_SYMLINK: return symlinkat(m->target, at, name) ? errno : 0;
    case MAKE_SPECIAL: return mknodat(at, name, m->mode, m->device) ? errno : 0;
    case MAKE_LINK: break;
    }
    of = node_path(m->of);
    return linkat(AT_FDCWD, of.text, at, name, AT_SYMLINK_FOLLOW) ? errno : 0;
}

int names_make(struct filesystem *f, struct node *folder, const char *name, const struct make *m, struct node **out) {
    pthread_mutex_lock(&f->names);
    int error = make(folder, name, m);
    if (!error) {
        /* Our own umask and identity are not the caller's. */
        if (m->kind == MAKE_FILE || m->kind == MAKE_FOLDER || m->kind == MAKE_SPECIAL)
            fchmodat(folder->fd, name, m->mode & 07777, 0);
        if (m->kind != MAKE_LINK && (m->uid != geteuid() || m->gid != getegid()) &&
            fchownat(folder->fd, name, m->uid, m->gid, AT_SYMLINK_NOFOLLOW))
            errno = 0; /* not ours to give away: it stays ours */
        error = node_lookup(f, folder, name, out);
    }
    if (!error)
        record(f, (struct name_change){
                      .kind = NAME_CREATE, .folder = folder, .child = *out, .name = (char *)(uintptr_t)name});
    pthread_mutex_unlock(&f->names);
    return error;
}

static bool folder_is_empty(struct node *folder, const char *name) {
    int fd = openat(folder->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        if (fd >= 0) close(fd);
        return true;
    }
    int entries = 0;
    for (struct dirent *e = readdir(d); e; e = readdir(d))
        entries += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return entries == 0;
}

/* Moves an entry to the trash and tells where it is. */
static int discard(struct filesystem *f, struct node *folder, const char *name, struct node *n, uint64_t *trash) {
    struct trash_path path = trash_path(*trash = ++f->trash_next);
    if (n->folder && !folder_is_empty(folder, name)) return ENOTEMPTY;
    if (renameat(folder->fd, name, f->trash, path.text)) return errno;
    trashed_add(f, n, 1);
    account_removed(f, n, true);
    return 0;
}

int names_remove(struct filesystem *f, struct node *folder, const char *name, bool is_folder) {
    struct name_change c = {.kind = NAME_REMOVE, .folder = folder, .name = (char *)(uintptr_t)name};
    pthread_mutex_lock(&f->names);
    int error = node_lookup(f, folder, name, &c.child);
    if (!error) {
        error =
            is_folder != c.child->folder ? (is_folder ? ENOTDIR : EISDIR) : discard(f, folder, name, c.child, &c.trash);
        if (!error) record(f, c);
        node_forget(f, c.child, 1);
    }
    pthread_mutex_unlock(&f->names);
    return error;
}

static int rename_locked(struct filesystem *f, struct name_change *c, unsigned flags) {
    bool exchange = flags == RENAME_EXCHANGE;
    if (c->replaced == c->child && c->replaced) return 0; /* two names of one file: POSIX does nothing */
    if (c->replaced && flags == RENAME_NOREPLACE) return EEXIST;
    if (exchange && !c->replaced) return ENOENT;
    if (c->replaced && !exchange) {
        if (c->replaced->folder != c->child->folder) return c->child->folder ? ENOTDIR : EISDIR;
        int error = discard(f, c->to_folder, c->to, c->replaced, &c->trash);
        if (error) return error;
    }
    if (renameat2(c->folder->fd, c->name, c->to_folder->fd, c->to, exchange ? RENAME_EXCHANGE : 0)) {
        int error = errno;
        if (c->trash) {
            struct trash_path path = trash_path(c->trash);
            renameat(f->trash, path.text, c->to_folder->fd, c->to);
            trashed_add(f, c->replaced, -1);
        }
        return error;
    }
    c->kind = exchange ? NAME_EXCHANGE : NAME_RENAME;
    record(f, *c);
    return 0;
}

int names_rename(struct filesystem *f, struct node *folder, const char *name, struct node *to_folder, const char *to,
                 unsigned flags) {
    struct name_change c = {
        .folder = folder, .to_folder = to_folder, .name = (char *)(uintptr_t)name, .to = (char *)(uintptr_t)to};
    if (flags != 0 && flags != RENAME_NOREPLACE && flags != RENAME_EXCHANGE) return EINVAL;
    pthread_mutex_lock(&f->names);
    int error = node_lookup(f, folder, name, &c.child);
    if (!error) {
        error = node_lookup(f, to_folder, to, &c.replaced);
        if (error == ENOENT) error = 0;
        if (!error) error = rename_locked(f, &c, flags);
        if (c.replaced) node_forget(f, c.replaced, 1);
        node_forget(f, c.child, 1);
    }
    pthread_mutex_unlock(&f->names);
    return error;
}

/* --- syncs -------------------------------------------------------------------------------------------------------- */

uint64_t names_end(struct filesystem *f) {
    pthread_mutex_lock(&f->names);
    uint64_t end = f->name_sequence;
    pthread_mutex_unlock(&f->names);
    return end;
}

static uint64_t slot_of(const struct node *folder, const char *name) {
    return hash_mix(folder->id, hash_bytes(bytes_str(name), 0));
}

struct closure { /* what durable changes stand on */
    struct map64 slots, nodes, removed;
};

static bool has(const struct map64 *m, uint64_t key) {
    return map64_get(m, key) != NULL;
}

static bool stood_on(const struct closure *k, const struct name_change *c) {
    if (has(&k->slots, slot_of(c->folder, c->name)) || has(&k->removed, c->folder->id)) return true;
    if (c->to_folder && (has(&k->slots, slot_of(c->to_folder, c->to)) || has(&k->removed, c->to_folder->id)))
        return true;
    return has(&k->nodes, c->child->id) || (c->replaced && has(&k->nodes, c->replaced->id));
}

static void stand_on(struct closure *k, const struct name_change *c) {
    bool inserted;
    const struct node *nodes[] = {c->folder, c->to_folder, c->child, c->replaced};
    for (size_t i = 0; i < 4; i++)
        if (nodes[i]) map64_put(&k->nodes, nodes[i]->id, &inserted);
    map64_put(&k->slots, slot_of(c->folder, c->name), &inserted);
    if (c->to_folder) map64_put(&k->slots, slot_of(c->to_folder, c->to), &inserted);
    const struct node *gone = c->kind == NAME_REMOVE ? c->child : c->kind == NAME_RENAME ? c->replaced : NULL;
    if (gone && gone->folder) map64_put(&k->removed, gone->id, &inserted);
}

void names_settle(struct filesystem *f, struct node *n, uint64_t end) {
    struct closure k = {0};
    pthread_mutex_lock(&f->names);
    size_t settled = 0, kept = 0;
    bool any = n->folder ? f->name_changes_count > 0 : n->creations > 0;
    for (size_t i = any ? f->name_changes_count : 0; i-- > 0;) {
        struct name_change *c = &f->name_changes[i];
        bool covered = c->folder == n || c->to_folder == n || (c->kind == NAME_CREATE && c->child == n);
        c->undo = c->sequence >= end || !(covered || stood_on(&k, c));
        if (c->undo) continue;
        stand_on(&k, c);
        settled++;
    }
    for (size_t i = 0; i < f->name_changes_count && settled; i++) {
        struct name_change *c = &f->name_changes[i];
        if (c->undo) {
            f->name_changes[kept++] = *c;
        } else {
            settle(f, c);
        }
    }
    if (settled) f->name_changes_count = kept;
    pthread_mutex_unlock(&f->names);
    map64_free(&k.slots);
    map64_free(&k.nodes);
    map64_free(&k.removed);
}

void names_forget(struct filesystem *f) {
    for (size_t i = 0; i < f->name_changes_count; i++) settle(f, &f->name_changes[i]);
    f->name_changes_count = 0;
}

/* --- power loss --------------------------------------------------------------------------------------------------- */

/* A folder of which a change is undone keeps none after it; one whose making is undone keeps nothing at all. */
static void draw_fates(struct filesystem *f, struct disk_crash chances) {
    struct map64 cut_short = {0};
    for (size_t i = 0; i < f->name_changes_count; i++) {
        struct name_change *c = &f->name_changes[i];
        const struct node *nodes[] = {c->folder, c->to_folder, c->child, c->replaced};
        c->undo = prng_below(&f->prng, PPM) >= chances.keep_ppm;
        for (size_t j = 0; j < 4; j++) c->undo = c->undo || (nodes[j] && has(&cut_short, nodes[j]->id));
        bool inserted;
        for (size_t j = 0; j < 4 && c->undo; j++)
            if (nodes[j]) map64_put(&cut_short, nodes[j]->id, &inserted);
    }
    map64_free(&cut_short);
}

static int undo(struct filesystem *f, struct name_change *c) {
    struct trash_path trash = trash_path(c->trash);
    switch (c->kind) {
    case NAME_CREATE: return unlinkat(c->folder->fd, c->name, c->child->folder ? AT_REMOVEDIR : 0) ? errno : 0;
    case NAME_REMOVE: return renameat(f->trash, trash.text, c->folder->fd, c->name) ? errno : 0;
    case NAME_EXCHANGE: return renameat2(c->folder->fd, c->name, c->to_folder->fd, c->to, RENAME_EXCHANGE) ? errno : 0;
    case NAME_RENAME:
        if (renameat(c->to_folder->fd, c->to, c->folder->fd, c->name)) return errno;
        return c->trash && renameat(f->trash, trash.text, c->to_folder->fd, c->to) ? errno : 0;
    }
    return 0;
}

int names_power_loss(struct filesystem *f, struct disk_crash fate) {
    int error = 0;
    draw_fates(f, fate);
    for (size_t i = f->name_changes_count; i-- > 0 && !error;) {
        struct name_change *c = &f->name_changes[i];
        if (!c->undo) continue;
        error = undo(f, c);
        if (error || !c->trash) continue;
        trashed_add(f, c->kind == NAME_RENAME ? c->replaced : c->child, -1);
        c->trash = 0; /* it is back */
    }
    names_forget(f);
    return error;
}
