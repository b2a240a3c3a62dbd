/* The undo log of one file's bytes. Each change notes what it replaced, so that a power loss can go back to what is
 * durable and forward again with the changes that survive: the result is the same as of the simulated disk, which
 * keeps both images.
 *
 * A change that a sync covered is forgotten, unless an older one was lost by a failed sync: then both stay, since going
 * back over the lost one goes through it. Modes, owners and times are not noted: they are durable at once. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "nemesis/filesystem/internal.h"

#define LOST_BY_FAILED_SYNC_PPM 500000

static int read_all(int fd, void *data, size_t size, uint64_t offset, size_t *got) {
    for (*got = 0; *got < size;) {
        ssize_t n = pread(fd, (uint8_t *)data + *got, size - *got, (off_t)(offset + *got));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        if (n == 0) return 0;
        *got += (size_t)n;
    }
    return 0;
}

static int write_all(int fd, const void *data, size_t size, uint64_t offset) {
    for (size_t done = 0; done < size;) {
        ssize_t n = pwrite(fd, (const uint8_t *)data + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        done += (size_t)n;
    }
    return 0;
}

static int set_size(int fd, uint64_t size) {
    return ftruncate(fd, (off_t)size) ? errno : 0;
}

static int size_of(int fd, uint64_t *size) {
    struct stat st;
    if (fstat(fd, &st)) return errno;
    *size = (uint64_t)st.st_size;
    return 0;
}

/* Fills in what the change is about to replace. */
static int change_prepare(struct node *n, struct change *c, uint64_t end) {
    if (c->offset >= end) return 0;
    c->before = xmalloc((size_t)(end - c->offset));
    return read_all(n->data, c->before, (size_t)(end - c->offset), c->offset, &c->before_size);
}

static void change_add(struct node *n, struct change *c) {
    if (n->changes_count == n->changes_capacity) {
        n->changes_capacity = n->changes_capacity ? 2 * n->changes_capacity : 8;
        n->changes = xrealloc(n->changes, n->changes_capacity * sizeof *n->changes);
    }
    c->sequence = n->next_sequence++;
    n->changes[n->changes_count++] = *c;
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static int write_locked(struct filesystem *f, struct node *n, const void *data, size_t size, uint64_t offset,
                        bool append) {
    uint64_t old_size = 0;
    int error = node_need_data(n);
    if (!error) error = size_of(n->data, &old_size);
    if (error) return error;
    if (append) offset = old_size;
    uint64_t end = offset + size, more = end > old_size ? end - old_size : 0;
    error = filesystem_claim(f, more);
    if (error) return error;
    struct change c = {.offset = offset, .size = size, .old_size = old_size, .new_size = old_size + more};
    error = change_prepare(n, &c, smaller(end, old_size));
    if (!error) error = write_all(n->data, data, size, offset);
    if (!error) {
        change_add(n, &c);
        return 0;
    }
    /* Nothing of a failed write may stay. */
    write_all(n->data, c.before, c.before_size, offset);
    if (more) set_size(n->data, old_size);
    free(c.before);
    filesystem_unclaim(f, more);
    return error;
}

int data_write(struct filesystem *f, struct node *n, const void *data, size_t size, uint64_t offset, bool append) {
    if (size == 0) return 0;
    pthread_mutex_lock(&n->lock);
    int error = write_locked(f, n, data, size, offset, append);
    pthread_mutex_unlock(&n->lock);
    return error;
}

static int resize_locked(struct filesystem *f, struct node *n, uint64_t size) {
    uint64_t old_size = 0;
    int error = node_need_data(n);
    if (!error) error = size_of(n->data, &old_size);
    if (error || size == old_size) return error;
    uint64_t more = size > old_size ? size - old_size : 0;
    error = filesystem_claim(f, more);
    if (error) return error;
    struct change c = {.resize = true, .offset = size, .old_size = old_size, .new_size = size};
    error = change_prepare(n, &c, old_size);
    if (!error) error = set_size(n->data, size);
    if (error) {
        free(c.before);
        filesystem_unclaim(f, more);
        return error;
    }
    change_add(n, &c);
    if (size < old_size) filesystem_unclaim(f, old_size - size);
    return 0;
}

int data_resize(struct filesystem *f, struct node *n, uint64_t size) {
    pthread_mutex_lock(&n->lock);
    int error = resize_locked(f, n, size);
    pthread_mutex_unlock(&n->lock);
    return error;
}

/* Zeroes a range; the file keeps its length. */
static int zero_locked(struct node *n, int mode, uint64_t offset, uint64_t size) {
    uint64_t old_size = 0;
    int error = node_need_data(n);
    if (!error) error = size_of(n->data, &old_size);
    if (error || offset >= old_size) return error;
    uint64_t end = size < old_size - offset ? offset + size : old_size;
    struct change c = {.offset = offset, .size = end - offset, .old_size = old_size, .new_size = old_size};
    error = change_prepare(n, &c, end);
    if (!error && fallocate(n->data, mode, (off_t)offset, (off_t)(end - offset))) error = errno;
    if (error) {
        free(c.before);
        return error;
    }
    change_add(n, &c);
    return 0;
}

int data_allocate(struct filesystem *f, struct node *n, int mode, uint64_t offset, uint64_t size) {
    int error = 0;
    uint64_t now = 0;
    pthread_mutex_lock(&n->lock);
    if (mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)) {
        error = zero_locked(n, mode, offset, size);
    } else if (mode == 0) {
        error = node_need_data(n);
        if (!error) error = size_of(n->data, &now);
        if (!error && offset + size > now) error = resize_locked(f, n, offset + size);
        if (!error && fallocate(n->data, 0, (off_t)offset, (off_t)size) && errno == ENOSPC) error = ENOSPC;
    } else if (mode != FALLOC_FL_KEEP_SIZE) { /* room without a length is nothing that a power loss could show */
        error = EOPNOTSUPP;
    }
    pthread_mutex_unlock(&n->lock);
    return error;
}

/* --- syncs -------------------------------------------------------------------------------------------------------- */

uint64_t data_end(struct node *n) {
    pthread_mutex_lock(&n->lock);
    uint64_t end = n->next_sequence;
    pthread_mutex_unlock(&n->lock);
    return end;
}

static void forget_first(struct node *n, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(n->changes[i].before);
        free(n->changes[i].after);
    }
    n->changes_count -= count;
    if (n->changes_count == 0 || count == 0) return;
    memmove(n->changes, n->changes + count, n->changes_count * sizeof *n->changes);
}

void data_settle(struct filesystem *f, struct node *n, uint64_t end, bool failed) {
    pthread_mutex_lock(&n->lock);
    size_t durable = 0;
    for (size_t i = 0; i < n->changes_count && n->changes[i].sequence < end; i++) {
        struct change *c = &n->changes[i];
        if (c->settled != SETTLED_NOT) continue;
        bool lost = failed && filesystem_strikes(f, LOST_BY_FAILED_SYNC_PPM, NULL);
        c->settled = lost ? SETTLED_LOST : SETTLED_KEPT;
        if (failed && !c->resize) filesystem_count(f, lost ? &f->counters.writes_dropped : &f->counters.writes_kept, 1);
    }
    while (durable < n->changes_count && n->changes[durable].settled == SETTLED_KEPT) durable++;
    forget_first(n, durable);
    pthread_mutex_unlock(&n->lock);
}

void data_forget(struct node *n) {
    forget_first(n, n->changes_count);
}

/* --- power loss --------------------------------------------------------------------------------------------------- */

static void draw_fate(struct filesystem *f, struct change *c, struct disk_crash chances) {
    c->survives = c->settled == SETTLED_KEPT;
    if (c->settled != SETTLED_NOT) return;
    uint64_t draw = prng_below(&f->prng, PPM);
    c->survives = draw < chances.keep_ppm;
    c->torn = !c->survives && !c->resize && draw < (uint64_t)chances.keep_ppm + chances.tear_ppm;
    if (c->resize) return;
    struct disk_counters *k = &f->counters;
    *(c->survives ? &k->writes_kept : c->torn ? &k->writes_torn : &k->writes_dropped) += 1;
}

static int undo(struct node *n, struct change *c) {
    int error = 0;
    if (!c->resize && (c->survives || c->torn)) {
        c->after = xmalloc((size_t)c->size);
        error = read_all(n->data, c->after, (size_t)c->size, c->offset, &c->after_size);
    }
    if (!error && c->new_size != c->old_size) error = set_size(n->data, c->old_size);
    if (!error) error = write_all(n->data, c->before, c->before_size, c->offset);
    return error;
}

/* Writes an arbitrary subset of the sectors, never all; the length may have grown without the data. */
static int tear(struct filesystem *f, struct node *n, const struct change *c) {
    uint64_t end = c->offset + c->after_size;
    bool lost = false;
    int error = 0;
    for (uint64_t at = c->offset; at < end && !error;) {
        uint64_t next = smaller((at / DISK_SECTOR_BYTES + 1) * DISK_SECTOR_BYTES, end);
        bool arrived = prng_next(&f->prng) >> 63 && (next < end || lost);
        if (arrived) {
            error = write_all(n->data, c->after + (at - c->offset), (size_t)(next - at), at);
        } else {
            lost = true;
        }
        at = next;
    }
    uint64_t size = 0;
    if (!error) error = size_of(n->data, &size);
    if (!error && prng_next(&f->prng) >> 63 && end > size) error = set_size(n->data, end);
    return error;
}

int data_power_loss(struct filesystem *f, struct node *n, struct disk_crash fate) {
    if (n->changes_count == 0) return 0;
    int error = node_need_data(n);
    for (size_t i = 0; i < n->changes_count; i++) draw_fate(f, &n->changes[i], fate);
    for (size_t i = n->changes_count; i-- > 0 && !error;) error = undo(n, &n->changes[i]);
    for (size_t i = 0; i < n->changes_count && !error; i++) {
        const struct change *c = &n->changes[i];
        if (c->torn) error = tear(f, n, c);
        if (!c->survives) continue;
        error = c->resize ? set_size(n->data, c->new_size) : write_all(n->data, c->after, c->after_size, c->offset);
    }
    data_forget(n);
    return error;
}
