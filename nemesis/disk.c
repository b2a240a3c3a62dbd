/* The simulated disk. What may happen to unsynced data, and why that models a disk:
 *
 * - A write reaches the page cache at once and the platter in any order later: so at a power loss each unsynced write
 *   is kept, dropped or torn on its own, a later one kept and an earlier one dropped included.
 * - A sector is written whole or not at all: a torn write leaves an arbitrary subset of its sectors. The file's
 *   length is kept elsewhere: it may have grown while the data did not arrive, and then the gap reads as zeros.
 * - A directory is data too: a file is created, renamed or removed on the platter only after a sync of the directory
 *   (or of the new file itself); a rename may be caught with both names there.
 * - A sync that fails has lost the pages it could not write and marked them clean (Rebello et al., ATC'20): the cache
 *   still shows them, no later sync writes them again. Their fate is drawn at once; a power loss reveals it.
 *
 * A file's cached bytes are `visible`, its bytes on the platter `durable`; in between stands the list of its writes. */
#include "nemesis/disk.h"

#include <errno.h>
#include <stdlib.h>

#define SIM_FILE_BYTES_MAX (UINT64_C(1) << 30) /* a stray offset must not eat the machine's memory */
#define HANDLE_INDEX_BITS 10                   /* files open at once; the rest of a handle is the generation */
#define LOST_BY_FAILED_SYNC_PPM 500000

enum change_kind { CHANGE_WRITE, CHANGE_TRUNCATE };
struct change { /* an unsynced change of a file */
    enum change_kind kind;
    uint64_t offset, size; /* truncate: offset is the new length */
    size_t data_at;        /* in the inode's pending bytes */
};

struct inode {
    uint32_t references; /* directory entries, directory changes, handles, syncs; 0: free */
    struct buffer visible, durable;
    struct buffer pending; /* the bytes of the unsynced writes */
    struct change *changes;
    size_t changes_count, changes_capacity;
    uint64_t changes_settled; /* how many went before changes[0] since the file began */
};

struct entry {
    char name[DISK_NAME_MAX + 1];
    uint32_t inode;
};
struct directory { /* sorted by name */
    struct entry *entries;
    size_t count, capacity;
};

enum name_change_kind { NAME_CREATE, NAME_RENAME, NAME_REMOVE };
struct name_change { /* an unsynced change of the directory */
    enum name_change_kind kind;
    uint32_t inode;
    uint64_t sequence;
    char name[DISK_NAME_MAX + 1], to[DISK_NAME_MAX + 1];
};

struct sync_request {
    uint32_t file, inode;
    uint64_t cookie;
    uint64_t changes_end;   /* the file's changes before this one are covered */
    uint64_t name_sequence; /* and the creation of its name, if before this */
};

struct sim_disk_state {
    struct inode *inodes;
    size_t inodes_count, inodes_capacity;
    struct directory visible, durable;
    struct name_change *name_changes;
    size_t name_changes_count, name_changes_capacity;
    uint64_t name_sequence;
    struct sync_request *syncs;
    size_t syncs_count, syncs_capacity;
    uint32_t *handles; /* inode + 1 by index; 0: closed */
    size_t handles_count, handles_capacity;
    uint32_t generation; /* rises at each crash, so that a handle of before is known as such */
    uint64_t used_bytes; /* of all visible data */
};

/* Makes room for one more item of a growing array. */
static void *grown(void *items, size_t count, size_t *capacity, size_t item_size) {
    if (count < *capacity) return items;
    *capacity = *capacity ? *capacity * 2 : 4;
    return xrealloc(items, *capacity * item_size);
}

/* --- inodes ------------------------------------------------------------------------------------------------------- */

static uint32_t inode_new(struct sim_disk_state *s) {
    size_t at = 0;
    while (at < s->inodes_count && s->inodes[at].references) at++;
    if (at == s->inodes_count) {
        s->inodes = grown(s->inodes, s->inodes_count, &s->inodes_capacity, sizeof *s->inodes);
        s->inodes[s->inodes_count++] = (struct inode){0};
    }
    return (uint32_t)at;
}

static void inode_empty(struct inode *inode) {
    inode->visible.size = inode->durable.size = inode->pending.size = 0;
    inode->changes_count = 0;
    inode->changes_settled = 0;
    inode->references = 0;
}

static void inode_hold(struct sim_disk_state *s, uint32_t at) {
    s->inodes[at].references++;
}

static void inode_drop(struct sim_disk_state *s, uint32_t at) {
    struct inode *inode = &s->inodes[at];
    assert(inode->references > 0);
    if (--inode->references > 0) return;
    s->used_bytes -= inode->visible.size;
    inode_empty(inode);
}

static void contents_resize(struct buffer *b, uint64_t size) {
    if (size > b->size) {
        buffer_reserve(b, (size_t)size - b->size);
        memset(b->data + b->size, 0, (size_t)size - b->size);
    }
    b->size = (size_t)size;
}

static void contents_write(struct buffer *b, uint64_t offset, const void *data, size_t size) {
    if (size == 0) return;
    if (offset == b->size) {
        buffer_append(b, data, size);
        return;
    }
    if (offset + size > b->size) contents_resize(b, offset + size);
    memcpy(b->data + offset, data, size);
}

static void contents_copy(struct buffer *to, const struct buffer *from) {
    to->size = 0;
    buffer_append(to, from->data, from->size);
}

static struct change *change_add(struct inode *inode, struct change change) {
    inode->changes = grown(inode->changes, inode->changes_count, &inode->changes_capacity, sizeof *inode->changes);
    inode->changes[inode->changes_count] = change;
    return &inode->changes[inode->changes_count++];
}

static void change_apply(struct inode *inode, const struct change *c) {
    if (c->kind == CHANGE_TRUNCATE) {
        contents_resize(&inode->durable, c->offset);
    } else if (c->size) {
        contents_write(&inode->durable, c->offset, inode->pending.data + c->data_at, (size_t)c->size);
    }
}

/* Forgets the first changes: their fate is settled. */
static void changes_settle(struct inode *inode, size_t count) {
    inode->changes_settled += count;
    inode->changes_count -= count;
    if (inode->changes_count == 0) {
        inode->pending.size = 0;
        return;
    }
    memmove(inode->changes, inode->changes + count, inode->changes_count * sizeof *inode->changes);
    size_t shift = inode->changes[0].data_at;
    inode->pending.size -= shift;
    memmove(inode->pending.data, inode->pending.data + shift, inode->pending.size);
    for (size_t i = 0; i < inode->changes_count; i++) inode->changes[i].data_at -= shift;
}

/* --- the directory ------------------------------------------------------------------------------------------------ */

static size_t directory_find(const struct directory *d, const char *name, bool *found) {
    size_t low = 0, high = d->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(d->entries[middle].name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *found = low < d->count && strcmp(d->entries[low].name, name) == 0;
    return low;
}

static void directory_remove(struct sim_disk_state *s, struct directory *d, const char *name, uint32_t inode) {
    bool found;
    size_t at = directory_find(d, name, &found);
    if (!found || d->entries[at].inode != inode) return;
    d->count--;
    memmove(&d->entries[at], &d->entries[at + 1], (d->count - at) * sizeof *d->entries);
    inode_drop(s, inode);
}

static void directory_set(struct sim_disk_state *s, struct directory *d, const char *name, uint32_t inode) {
    bool found;
    size_t at = directory_find(d, name, &found);
    inode_hold(s, inode);
    if (found) {
        inode_drop(s, d->entries[at].inode);
    } else {
        d->entries = grown(d->entries, d->count, &d->capacity, sizeof *d->entries);
        memmove(&d->entries[at + 1], &d->entries[at], (d->count - at) * sizeof *d->entries);
        d->count++;
        strcpy(d->entries[at].name, name);
    }
    d->entries[at].inode = inode;
}

static void name_change_add(struct sim_disk_state *s, enum name_change_kind kind, uint32_t inode, const char *name,
                            const char *to) {
    s->name_changes = grown(s->name_changes, s->name_changes_count, &s->name_changes_capacity, sizeof *s->name_changes);
    struct name_change *c = &s->name_changes[s->name_changes_count++];
    c->kind = kind;
    c->inode = inode;
    c->sequence = s->name_sequence++;
    strcpy(c->name, name);
    strcpy(c->to, to);
    inode_hold(s, inode);
}

static void name_change_apply(struct sim_disk_state *s, const struct name_change *c) {
    switch (c->kind) {
    case NAME_CREATE: directory_set(s, &s->durable, c->name, c->inode); break;
    case NAME_RENAME:
        directory_set(s, &s->durable, c->to, c->inode);
        directory_remove(s, &s->durable, c->name, c->inode);
        break;
    case NAME_REMOVE: directory_remove(s, &s->durable, c->name, c->inode); break;
    }
}

static void name_change_forget(struct sim_disk_state *s, size_t at) {
    uint32_t inode = s->name_changes[at].inode;
    s->name_changes_count--;
    memmove(&s->name_changes[at], &s->name_changes[at + 1], (s->name_changes_count - at) * sizeof *s->name_changes);
    inode_drop(s, inode);
}

/* Makes the creation of a file's name durable, and with it every earlier change of that same name. */
static void name_settle(struct sim_disk_state *s, uint32_t inode, uint64_t before_sequence) {
    for (size_t i = s->name_changes_count; i-- > 0;) {
        struct name_change created = s->name_changes[i];
        if (created.kind != NAME_CREATE || created.inode != inode || created.sequence >= before_sequence) continue;
        for (size_t j = 0; j < s->name_changes_count && s->name_changes[j].sequence <= created.sequence;) {
            struct name_change *c = &s->name_changes[j];
            if (strcmp(c->name, created.name) != 0 && strcmp(c->to, created.name) != 0) {
                j++;
                continue;
            }
            name_change_apply(s, c);
            name_change_forget(s, j);
        }
        return; /* a file is created once */
    }
}

/* --- handles ------------------------------------------------------------------------------------------------------ */

static struct sim_disk_state *state_of(struct disk *d) {
    return ((struct sim_disk *)d)->state;
}

static int handle_new(struct sim_disk_state *s, uint32_t inode, uint32_t *file) {
    size_t at = 0;
    while (at < s->handles_count && s->handles[at]) at++;
    if (at >> HANDLE_INDEX_BITS) return -EMFILE;
    if (at == s->handles_count) {
        s->handles = grown(s->handles, s->handles_count, &s->handles_capacity, sizeof *s->handles);
        s->handles_count++;
    }
    s->handles[at] = inode + 1;
    inode_hold(s, inode);
    *file = s->generation << HANDLE_INDEX_BITS | (uint32_t)at;
    return 0;
}

/* Finds the inode behind a handle; NULL for one that is closed or of before a crash. */
static struct inode *handle_inode(struct sim_disk_state *s, uint32_t file, uint32_t *inode) {
    size_t at = file & ((1U << HANDLE_INDEX_BITS) - 1);
    uint32_t generation = s->generation << HANDLE_INDEX_BITS >> HANDLE_INDEX_BITS;
    if (file >> HANDLE_INDEX_BITS != generation || at >= s->handles_count || !s->handles[at]) return NULL;
    *inode = s->handles[at] - 1;
    return &s->inodes[*inode];
}

static bool name_valid(const char *name) {
    size_t length = strnlen(name, DISK_NAME_MAX + 1);
    return length > 0 && length <= DISK_NAME_MAX && !strchr(name, '/');
}

static int disk_open(struct disk *d, const char *name, bool create, uint32_t *file) {
    struct sim_disk_state *s = state_of(d);
    if (!name_valid(name)) return -EINVAL;
    bool found;
    size_t at = directory_find(&s->visible, name, &found);
    if (found) return handle_new(s, s->visible.entries[at].inode, file);
    if (!create) return -ENOENT;
    uint32_t inode = inode_new(s);
    int error = handle_new(s, inode, file);
    if (error) return error;
    directory_set(s, &s->visible, name, inode);
    name_change_add(s, NAME_CREATE, inode, name, "");
    return 0;
}

static int disk_close(struct disk *d, uint32_t file) {
    struct sim_disk_state *s = state_of(d);
    uint32_t at;
    if (!handle_inode(s, file, &at)) return -EBADF;
    s->handles[file & ((1U << HANDLE_INDEX_BITS) - 1)] = 0;
    inode_drop(s, at);
    return 0;
}

/* --- data --------------------------------------------------------------------------------------------------------- */

static int disk_size(struct disk *d, uint32_t file, uint64_t *size) {
    uint32_t at;
    struct inode *inode = handle_inode(state_of(d), file, &at);
    if (!inode) return -EBADF;
    *size = inode->visible.size;
    return 0;
}

/* As prng_chance, but a fault that is not in force draws nothing: the schedules of healthy disks stay as they are. */
static bool strikes(struct sim_disk *d, uint32_t ppm) {
    return ppm && prng_chance(d->prng, ppm);
}

static int disk_read(struct disk *disk, uint32_t file, uint64_t offset, void *data, size_t size) {
    struct sim_disk *d = (struct sim_disk *)disk;
    uint32_t at;
    struct inode *inode = handle_inode(d->state, file, &at);
    if (!inode) return -EBADF;
    if (offset > inode->visible.size || size > inode->visible.size - offset) return -EIO;
    d->counters.reads++;
    if (strikes(d, d->condition.read_error_ppm)) {
        d->counters.read_errors++;
        return -EIO;
    }
    if (size) memcpy(data, inode->visible.data + offset, size);
    if (size && strikes(d, d->condition.read_rot_ppm)) {
        uint64_t bit = prng_below(d->prng, (uint64_t)size * 8);
        ((uint8_t *)data)[bit / 8] ^= (uint8_t)(1U << bit % 8);
        d->counters.bits_rotted++;
    }
    return 0;
}

/* Whether the file may become this long. */
static int room_for(struct sim_disk *d, const struct inode *inode, uint64_t size) {
    if (size > SIM_FILE_BYTES_MAX) return -EFBIG;
    if (size <= inode->visible.size) return 0;
    uint64_t used = d->state->used_bytes + (size - inode->visible.size);
    return d->condition.capacity_bytes && used > d->condition.capacity_bytes ? -ENOSPC : 0;
}

static int disk_write(struct disk *disk, uint32_t file, uint64_t offset, const void *data, size_t size) {
    struct sim_disk *d = (struct sim_disk *)disk;
    uint32_t at;
    struct inode *inode = handle_inode(d->state, file, &at);
    if (!inode) return -EBADF;
    if (prng_chance(d->prng, d->condition.write_error_ppm)) {
        d->counters.write_errors++;
        return -EIO;
    }
    if (offset > SIM_FILE_BYTES_MAX || size > SIM_FILE_BYTES_MAX) return -EFBIG;
    int error = size ? room_for(d, inode, offset + size) : 0;
    if (error) {
        d->counters.write_errors++;
        return error;
    }
    d->counters.writes++;
    d->counters.bytes_written += size;
    change_add(inode, (struct change){CHANGE_WRITE, offset, size, inode->pending.size});
    buffer_append(&inode->pending, data, size);
    size_t before = inode->visible.size;
    contents_write(&inode->visible, offset, data, size);
    d->state->used_bytes += inode->visible.size - before;
    return 0;
}

static int disk_truncate(struct disk *disk, uint32_t file, uint64_t size) {
    struct sim_disk *d = (struct sim_disk *)disk;
    uint32_t at;
    struct inode *inode = handle_inode(d->state, file, &at);
    if (!inode) return -EBADF;
    int error = room_for(d, inode, size);
    if (error) return error;
    change_add(inode, (struct change){CHANGE_TRUNCATE, size, 0, inode->pending.size});
    d->state->used_bytes = d->state->used_bytes - inode->visible.size + size;
    contents_resize(&inode->visible, size);
    return 0;
}

/* --- sync --------------------------------------------------------------------------------------------------------- */

static int sync_finish(struct sim_disk *d, const struct sync_request *r) {
    struct inode *inode = &d->state->inodes[r->inode];
    size_t covered = r->changes_end > inode->changes_settled ? (size_t)(r->changes_end - inode->changes_settled) : 0;
    d->counters.syncs++;
    bool failed = prng_chance(d->prng, d->condition.sync_error_ppm);
    if (!failed && strikes(d, d->condition.sync_lie_ppm)) {
        d->counters.syncs_lied++;
        return 0;
    }
    for (size_t i = 0; i < covered; i++) {
        bool lost = failed && prng_chance(d->prng, LOST_BY_FAILED_SYNC_PPM);
        if (!lost) change_apply(inode, &inode->changes[i]);
        if (failed && inode->changes[i].kind == CHANGE_WRITE) {
            *(lost ? &d->counters.writes_dropped : &d->counters.writes_kept) += 1;
        }
    }
    if (covered) changes_settle(inode, covered);
    if (failed) {
        d->counters.sync_errors++;
        return -EIO;
    }
    name_settle(d->state, r->inode, r->name_sequence);
    return 0;
}

static int disk_sync(struct disk *disk, uint32_t file, uint64_t cookie) {
    struct sim_disk *d = (struct sim_disk *)disk;
    struct sim_disk_state *s = d->state;
    uint32_t at;
    struct inode *inode = handle_inode(s, file, &at);
    if (!inode) return -EBADF;
    uint64_t end = inode->changes_settled + inode->changes_count;
    s->syncs = grown(s->syncs, s->syncs_count, &s->syncs_capacity, sizeof *s->syncs);
    s->syncs[s->syncs_count++] = (struct sync_request){file, at, cookie, end, s->name_sequence};
    inode_hold(s, at);
    d->on_sync(d->ctx, file, cookie);
    return 0;
}

int sim_disk_sync_done(struct sim_disk *d, uint32_t file, uint64_t cookie) {
    struct sim_disk_state *s = d->state;
    size_t at = 0;
    while (at < s->syncs_count && (s->syncs[at].file != file || s->syncs[at].cookie != cookie)) at++;
    if (at == s->syncs_count) return -ECANCELED;
    struct sync_request request = s->syncs[at];
    s->syncs_count--;
    memmove(&s->syncs[at], &s->syncs[at + 1], (s->syncs_count - at) * sizeof *s->syncs);
    int status = sync_finish(d, &request);
    inode_drop(s, request.inode);
    return status;
}

static int disk_sync_now(struct disk *disk, uint32_t file) {
    struct sim_disk *d = (struct sim_disk *)disk;
    uint32_t at;
    struct inode *inode = handle_inode(d->state, file, &at);
    if (!inode) return -EBADF;
    uint64_t end = inode->changes_settled + inode->changes_count;
    return sync_finish(d, &(struct sync_request){file, at, 0, end, d->state->name_sequence});
}

/* --- names -------------------------------------------------------------------------------------------------------- */

static int disk_rename(struct disk *d, const char *from, const char *to) {
    struct sim_disk_state *s = state_of(d);
    if (!name_valid(from) || !name_valid(to)) return -EINVAL;
    bool found;
    size_t at = directory_find(&s->visible, from, &found);
    if (!found) return -ENOENT;
    if (strcmp(from, to) == 0) return 0;
    uint32_t inode = s->visible.entries[at].inode;
    name_change_add(s, NAME_RENAME, inode, from, to);
    directory_set(s, &s->visible, to, inode);
    directory_remove(s, &s->visible, from, inode);
    return 0;
}

static int disk_remove(struct disk *d, const char *name) {
    struct sim_disk_state *s = state_of(d);
    if (!name_valid(name)) return -EINVAL;
    bool found;
    size_t at = directory_find(&s->visible, name, &found);
    if (!found) return -ENOENT;
    uint32_t inode = s->visible.entries[at].inode;
    name_change_add(s, NAME_REMOVE, inode, name, "");
    directory_remove(s, &s->visible, name, inode);
    return 0;
}

static int disk_sync_dir(struct disk *disk) {
    struct sim_disk *d = (struct sim_disk *)disk;
    struct sim_disk_state *s = d->state;
    d->counters.syncs++;
    if (prng_chance(d->prng, d->condition.sync_error_ppm)) {
        d->counters.sync_errors++;
        return -EIO; /* the changes stay unsynced */
    }
    if (strikes(d, d->condition.sync_lie_ppm)) {
        d->counters.syncs_lied++;
        return 0;
    }
    for (size_t i = 0; i < s->name_changes_count; i++) name_change_apply(s, &s->name_changes[i]);
    while (s->name_changes_count) name_change_forget(s, s->name_changes_count - 1);
    return 0;
}

static int disk_list(struct disk *d, char names[][DISK_NAME_MAX + 1], size_t names_max) {
    const struct directory *visible = &state_of(d)->visible;
    for (size_t i = 0; i < visible->count && i < names_max; i++) strcpy(names[i], visible->entries[i].name);
    return (int)visible->count;
}

/* --- crashes ------------------------------------------------------------------------------------------------------ */

static void forget_process(struct sim_disk_state *s) {
    for (size_t i = 0; i < s->handles_count; i++) {
        if (s->handles[i]) inode_drop(s, s->handles[i] - 1);
    }
    s->handles_count = 0;
    while (s->syncs_count) inode_drop(s, s->syncs[--s->syncs_count].inode);
    s->generation++;
}

void sim_disk_process_crash(struct sim_disk *d) {
    forget_process(d->state);
}

enum fate { FATE_KEPT, FATE_TORN, FATE_DROPPED };

static enum fate draw_fate(struct prng *prng, struct disk_crash chances) {
    uint64_t draw = prng_below(prng, PPM);
    return draw < chances.keep_ppm                                ? FATE_KEPT
           : draw < (uint64_t)chances.keep_ppm + chances.tear_ppm ? FATE_TORN
                                                                  : FATE_DROPPED;
}

/* Writes a random subset of a write's sectors, and may stretch the file to its end without the data. */
static void tear_write(struct sim_disk *d, struct inode *inode, const struct change *c) {
    uint64_t end = c->offset + c->size, first_lost = UINT64_MAX;
    for (uint64_t at = c->offset; at < end;) {
        uint64_t sector_end = (at / DISK_SECTOR_BYTES + 1) * DISK_SECTOR_BYTES,
                 next = sector_end < end ? sector_end : end;
        bool last = next == end, arrived = prng_next(d->prng) >> 63;
        if (last && first_lost == UINT64_MAX) arrived = false; /* or it would not be torn */
        if (arrived) {
            contents_write(&inode->durable, at, inode->pending.data + c->data_at + (at - c->offset),
                           (size_t)(next - at));
        } else if (first_lost == UINT64_MAX) {
            first_lost = at;
        }
        at = next;
    }
    if (prng_next(d->prng) >> 63 && end > inode->durable.size) contents_resize(&inode->durable, end);
}

static void meet_fate(struct sim_disk *d, struct inode *inode, const struct change *c, struct disk_crash chances) {
    enum fate fate = draw_fate(d->prng, chances);
    if (c->kind == CHANGE_TRUNCATE) { /* one field of the inode: nothing to tear */
        if (fate == FATE_KEPT) change_apply(inode, c);
        return;
    }
    switch (fate) {
    case FATE_KEPT:
        d->counters.writes_kept++;
        change_apply(inode, c);
        break;
    case FATE_TORN:
        d->counters.writes_torn++;
        tear_write(d, inode, c);
        break;
    case FATE_DROPPED: d->counters.writes_dropped++; break;
    }
}

static void names_meet_fate(struct sim_disk *d, struct disk_crash chances) {
    struct sim_disk_state *s = d->state;
    for (size_t i = 0; i < s->name_changes_count; i++) {
        const struct name_change *c = &s->name_changes[i];
        enum fate fate = draw_fate(d->prng, chances);
        if (fate == FATE_KEPT) {
            name_change_apply(s, c);
        } else if (fate == FATE_TORN && c->kind == NAME_RENAME) {
            directory_set(s, &s->durable, c->to, c->inode);
        }
    }
    while (s->name_changes_count) name_change_forget(s, s->name_changes_count - 1);
}

void sim_disk_power_loss(struct sim_disk *d, struct disk_crash fate) {
    struct sim_disk_state *s = d->state;
    forget_process(s);
    names_meet_fate(d, fate);
    for (size_t i = 0; i < s->inodes_count; i++) {
        struct inode *inode = &s->inodes[i];
        for (size_t j = 0; j < inode->changes_count; j++) meet_fate(d, inode, &inode->changes[j], fate);
        if (inode->changes_count) changes_settle(inode, inode->changes_count);
    }
    while (s->visible.count) {
        const struct entry last = s->visible.entries[s->visible.count - 1];
        directory_remove(s, &s->visible, last.name, last.inode);
    }
    s->used_bytes = 0;
    for (size_t i = 0; i < s->durable.count; i++) {
        struct entry *e = &s->durable.entries[i];
        directory_set(s, &s->visible, e->name, e->inode);
    }
    for (size_t i = 0; i < s->inodes_count; i++) {
        contents_copy(&s->inodes[i].visible, &s->inodes[i].durable);
        s->used_bytes += s->inodes[i].visible.size;
    }
}

bool sim_disk_rot(struct sim_disk *d) {
    struct sim_disk_state *s = d->state;
    size_t candidates = 0;
    for (size_t i = 0; i < s->durable.count; i++) candidates += s->inodes[s->durable.entries[i].inode].durable.size > 0;
    if (candidates == 0) return false;
    size_t chosen = (size_t)prng_below(d->prng, candidates), at = 0;
    for (;; at++) {
        if (s->inodes[s->durable.entries[at].inode].durable.size > 0 && chosen-- == 0) break;
    }
    struct inode *inode = &s->inodes[s->durable.entries[at].inode];
    uint64_t bit = prng_below(d->prng, inode->durable.size * 8);
    uint8_t *rotten = &inode->durable.data[bit / 8], before = *rotten;
    *rotten = (uint8_t)(before ^ 1U << bit % 8);
    /* A reader sees it too, unless newer bytes in the cache hide it. */
    if (bit / 8 < inode->visible.size && inode->visible.data[bit / 8] == before) inode->visible.data[bit / 8] = *rotten;
    d->counters.bits_rotted++;
    return true;
}

uint64_t sim_disk_unsynced(const struct sim_disk *d) {
    uint64_t count = d->state->name_changes_count;
    for (size_t i = 0; i < d->state->inodes_count; i++) count += d->state->inodes[i].changes_count;
    return count;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static const struct disk_ops sim_disk_ops = {
    .open = disk_open,
    .close = disk_close,
    .size = disk_size,
    .read = disk_read,
    .write = disk_write,
    .truncate = disk_truncate,
    .sync = disk_sync,
    .sync_now = disk_sync_now,
    .rename = disk_rename,
    .remove = disk_remove,
    .sync_dir = disk_sync_dir,
    .list = disk_list,
};

void sim_disk_init(struct sim_disk *d, struct prng *prng, void (*on_sync)(void *, uint32_t, uint64_t), void *ctx) {
    *d = (struct sim_disk){.base.ops = &sim_disk_ops, .prng = prng, .on_sync = on_sync, .ctx = ctx};
    d->state = xcalloc(1, sizeof *d->state);
}

void sim_disk_clear(struct sim_disk *d) {
    struct sim_disk_state *s = d->state;
    for (size_t i = 0; i < s->inodes_count; i++) inode_empty(&s->inodes[i]);
    s->visible.count = s->durable.count = 0;
    s->name_changes_count = s->syncs_count = s->handles_count = 0;
    s->name_sequence = 0;
    s->used_bytes = 0;
    s->generation = 0; /* the next run must see the same handles as the first */
    d->condition = (struct disk_condition){0};
    d->counters = (struct disk_counters){0};
}

void sim_disk_free(struct sim_disk *d) {
    struct sim_disk_state *s = d->state;
    for (size_t i = 0; i < s->inodes_count; i++) {
        buffer_free(&s->inodes[i].visible);
        buffer_free(&s->inodes[i].durable);
        buffer_free(&s->inodes[i].pending);
        free(s->inodes[i].changes);
    }
    free(s->inodes);
    free(s->visible.entries);
    free(s->durable.entries);
    free(s->name_changes);
    free(s->syncs);
    free(s->handles);
    free(s);
    d->state = NULL;
}
