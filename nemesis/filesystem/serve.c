/* The kernel's requests, each served by one of libfuse's threads. A stalled sync or a slow disk holds its own thread
 * and no lock, so nothing else waits for it. A process that is killed while it waits is let go at once, as a killed
 * process on a dead disk would not be: else a fault could not be ended by a kill.  The kernel may keep names and
 * attributes for good, since nobody else changes the backing folder; it keeps data, too, but not while reads are to
 * fail. Locks of files stay in the kernel. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "nemesis/filesystem/internal.h"

#include "base/clock.h"

#define TIMEOUT_S 86400.0
#define READ_BYTES_MAX ((size_t)1 << 20)
#define WAIT_SLICE_NS (10 * NS_PER_MS) /* how soon a killed process is noticed */

static struct filesystem *filesystem_of(fuse_req_t request) {
    return fuse_req_userdata(request);
}

/* --- waiting ------------------------------------------------------------------------------------------------------ */

/* Whether SIGKILL is pending for a thread: signals that only interrupt (Go sends many) must not end a stall. */
static bool is_killed(pid_t thread) {
    char path[40], line[128];
    unsigned long long pending;
    bool killed = false;
    snprintf(path, sizeof path, "/proc/%d/status", (int)thread);
    FILE *status = thread > 0 ? fopen(path, "re") : NULL;
    if (!status) return false;
    while (fgets(line, sizeof line, status))
        if (sscanf(line, "SigPnd: %llx", &pending) == 1) killed = pending >> (SIGKILL - 1) & 1;
    fclose(status);
    return killed;
}

/* Until the time has come; false: the request is void, by a kill or the end of the disk. */
static bool wait_until(struct filesystem *f, fuse_req_t request, uint64_t due_ns) {
    bool void_now = false;
    pthread_mutex_lock(&f->state);
    for (;;) {
        uint64_t now = monotonic_ns(), until = now + WAIT_SLICE_NS < due_ns ? now + WAIT_SLICE_NS : due_ns;
        void_now = f->stopping;
        if (void_now || now >= due_ns) break;
        if (fuse_req_interrupted(request)) {
            pthread_mutex_unlock(&f->state);
            void_now = is_killed(fuse_req_ctx(request)->pid);
            pthread_mutex_lock(&f->state);
            if (void_now) break;
        }
        struct timespec t = {(time_t)(until / NS_PER_S), (long)(until % NS_PER_S)};
        pthread_cond_timedwait(&f->woken, &f->state, &t);
    }
    pthread_mutex_unlock(&f->state);
    return !void_now;
}

static bool pay_delay(struct filesystem *f, fuse_req_t request, const struct disk_condition *c) {
    return c->io_delay_ns == 0 || wait_until(f, request, monotonic_ns() + c->io_delay_ns);
}

static bool reads_are_faulty(const struct disk_condition *c) {
    return c->read_error_ppm || c->read_rot_ppm || c->io_delay_ns;
}

/* --- names -------------------------------------------------------------------------------------------------------- */

static void on_init(void *ctx, struct fuse_conn_info *c) {
    (void)ctx;
    /* Writes must arrive when they are made; a truncating open is a setattr and an open; splicing gains nothing. */
    c->want &= ~(unsigned)(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_SPLICE_READ |
                           FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
}

static int entry_of(struct filesystem *f, struct node *n, struct fuse_entry_param *e) {
    *e = (struct fuse_entry_param){
        .ino = node_number(f, n), .generation = n->id, .attr_timeout = TIMEOUT_S, .entry_timeout = TIMEOUT_S};
    return node_stat(f, n, &e->attr);
}

static void reply_entry(fuse_req_t request, struct node *n, int error) {
    struct filesystem *f = filesystem_of(request);
    struct fuse_entry_param e;
    if (!error) {
        error = entry_of(f, n, &e);
        if (error) node_forget(f, n, 1);
    }
    if (error) {
        fuse_reply_err(request, error);
    } else {
        fuse_reply_entry(request, &e);
    }
}

static void on_lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
    struct filesystem *f = filesystem_of(request);
    struct node *n = NULL;
    int error = node_lookup(f, node_of(f, parent), name, &n);
    reply_entry(request, n, error);
}

static void on_forget(fuse_req_t request, fuse_ino_t number, uint64_t lookups) {
    struct filesystem *f = filesystem_of(request);
    node_forget(f, node_of(f, number), lookups);
    fuse_reply_none(request);
}

static void on_forget_multi(fuse_req_t request, size_t count, struct fuse_forget_data *forgets) {
    struct filesystem *f = filesystem_of(request);
    for (size_t i = 0; i < count; i++) node_forget(f, node_of(f, forgets[i].ino), forgets[i].nlookup);
    fuse_reply_none(request);
}

static int make(fuse_req_t request, fuse_ino_t parent, const char *name, struct make m, struct node **out) {
    struct filesystem *f = filesystem_of(request);
    m.uid = fuse_req_ctx(request)->uid;
    m.gid = fuse_req_ctx(request)->gid;
    return names_make(f, node_of(f, parent), name, &m, out);
}

static void make_and_reply(fuse_req_t request, fuse_ino_t parent, const char *name, struct make m) {
    struct node *n = NULL;
    int error = make(request, parent, name, m, &n);
    reply_entry(request, n, error);
}

static void on_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode) {
    make_and_reply(request, parent, name, (struct make){.kind = MAKE_FOLDER, .mode = mode});
}

static void on_mknod(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, dev_t device) {
    make_and_reply(request, parent, name, (struct make){.kind = MAKE_SPECIAL, .mode = mode, .device = device});
}

static void on_symlink(fuse_req_t request, const char *target, fuse_ino_t parent, const char *name) {
    make_and_reply(request, parent, name, (struct make){.kind = MAKE_SYMLINK, .target = target});
}

static void on_link(fuse_req_t request, fuse_ino_t of, fuse_ino_t parent, const char *name) {
    make_and_reply(request, parent, name, (struct make){.kind = MAKE_LINK, .of = node_of(filesystem_of(request), of)});
}

static void on_unlink(fuse_req_t request, fuse_ino_t parent, const char *name) {
    struct filesystem *f = filesystem_of(request);
    fuse_reply_err(request, names_remove(f, node_of(f, parent), name, false));
}

static void on_rmdir(fuse_req_t request, fuse_ino_t parent, const char *name) {
    struct filesystem *f = filesystem_of(request);
    fuse_reply_err(request, names_remove(f, node_of(f, parent), name, true));
}

static void on_rename(fuse_req_t request, fuse_ino_t parent, const char *name, fuse_ino_t to_parent, const char *to,
                      unsigned flags) {
    struct filesystem *f = filesystem_of(request);
    fuse_reply_err(request, names_rename(f, node_of(f, parent), name, node_of(f, to_parent), to, flags));
}

static void on_readlink(fuse_req_t request, fuse_ino_t number) {
    char target[4097];
    ssize_t size = readlinkat(node_of(filesystem_of(request), number)->fd, "", target, sizeof target - 1);
    if (size < 0) {
        fuse_reply_err(request, errno);
        return;
    }
    target[size] = 0;
    fuse_reply_readlink(request, target);
}

/* --- attributes --------------------------------------------------------------------------------------------------- */

static void reply_attributes(fuse_req_t request, struct node *n) {
    struct stat st;
    int error = node_stat(filesystem_of(request), n, &st);
    if (error) {
        fuse_reply_err(request, error);
    } else {
        fuse_reply_attr(request, &st, TIMEOUT_S);
    }
}

static void on_getattr(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *file) {
    (void)file;
    reply_attributes(request, node_of(filesystem_of(request), number));
}

static struct timespec time_to_set(struct timespec given, int what, int set, int now) {
    if (what & now) return (struct timespec){.tv_nsec = UTIME_NOW};
    return what & set ? given : (struct timespec){.tv_nsec = UTIME_OMIT};
}

static int change_attributes(struct filesystem *f, struct node *n, const struct stat *st, int what) {
    struct proc_path path = node_path(n);
    if (what & FUSE_SET_ATTR_MODE && chmod(path.text, st->st_mode & 07777)) return errno;
    if (what & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) {
        uid_t uid = what & FUSE_SET_ATTR_UID ? st->st_uid : (uid_t)-1;
        gid_t gid = what & FUSE_SET_ATTR_GID ? st->st_gid : (gid_t)-1;
        if (fchownat(n->fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)) return errno;
    }
    if (what & FUSE_SET_ATTR_SIZE) {
        int error = data_resize(f, n, (uint64_t)st->st_size);
        if (error) return error;
    }
    if (what & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME)) {
        struct timespec times[2] = {time_to_set(st->st_atim, what, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW),
                                    time_to_set(st->st_mtim, what, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW)};
        if (utimensat(AT_FDCWD, path.text, times, 0)) return errno;
    }
    return 0;
}

static void on_setattr(fuse_req_t request, fuse_ino_t number, struct stat *st, int what, struct fuse_file_info *file) {
    (void)file;
    struct filesystem *f = filesystem_of(request);
    struct node *n = node_of(f, number);
    int error = change_attributes(f, n, st, what);
    if (error) {
        fuse_reply_err(request, error);
    } else {
        reply_attributes(request, n);
    }
}

static void on_statfs(fuse_req_t request, fuse_ino_t number) {
    (void)number;
    struct filesystem *f = filesystem_of(request);
    struct statvfs st;
    if (fstatvfs(f->trash, &st)) {
        fuse_reply_err(request, errno);
        return;
    }
    pthread_mutex_lock(&f->state);
    uint64_t capacity = f->condition.capacity_bytes, left = capacity > f->used_bytes ? capacity - f->used_bytes : 0;
    pthread_mutex_unlock(&f->state);
    if (capacity && left / st.f_frsize < st.f_bavail) st.f_bavail = st.f_bfree = left / st.f_frsize;
    fuse_reply_statfs(request, &st);
}

/* --- files -------------------------------------------------------------------------------------------------------- */

static int open_node(struct filesystem *f, struct node *n, struct fuse_file_info *file) {
    pthread_mutex_lock(&n->lock);
    int error = node_need_data(n);
    pthread_mutex_unlock(&n->lock);
    if (error) return error;
    pthread_mutex_lock(&f->table);
    n->opens++;
    pthread_mutex_unlock(&f->table);
    struct disk_condition c = filesystem_condition_now(f);
    file->keep_cache = !reads_are_faulty(&c);
    return 0;
}

static void close_node(struct filesystem *f, struct node *n) {
    node_hold(f, n);
    pthread_mutex_lock(&n->lock);
    pthread_mutex_lock(&f->table);
    bool last = --n->opens == 0;
    pthread_mutex_unlock(&f->table);
    if (last && n->data >= 0 && n->changes_count == 0) {
        close(n->data);
        n->data = -1;
    }
    pthread_mutex_unlock(&n->lock);
    node_drop(f, n);
}

static void on_open(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *file) {
    struct filesystem *f = filesystem_of(request);
    struct node *n = node_of(f, number);
    int error = open_node(f, n, file);
    if (error) {
        fuse_reply_err(request, error);
    } else if (fuse_reply_open(request, file) == -ENOENT) { /* the opener was interrupted: there will be no release */
        close_node(f, n);
    }
}

static void on_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *file) {
    struct filesystem *f = filesystem_of(request);
    struct node *n = NULL;
    struct fuse_entry_param e;
    int error = make(request, parent, name, (struct make){.kind = MAKE_FILE, .mode = mode}, &n);
    if (error) {
        fuse_reply_err(request, error);
        return;
    }
    error = entry_of(f, n, &e);
    if (!error) error = open_node(f, n, file);
    if (error) {
        node_forget(f, n, 1);
        fuse_reply_err(request, error);
    } else if (fuse_reply_create(request, &e, file) == -ENOENT) {
        close_node(f, n);
        node_forget(f, n, 1);
    }
}

static void on_release(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *file) {
    (void)file;
    struct filesystem *f = filesystem_of(request);
    close_node(f, node_of(f, number));
    fuse_reply_err(request, 0);
}

static void on_flush(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *file) {
    (void)number;
    (void)file;
    fuse_reply_err(request, 0); /* the data is here already */
}

static void rot(struct filesystem *f, uint8_t *data, size_t size) {
    pthread_mutex_lock(&f->state);
    uint64_t bit = prng_below(&f->prng, (uint64_t)size * 8);
    pthread_mutex_unlock(&f->state);
    data[bit / 8] ^= (uint8_t)(1U << bit % 8);
}

static void on_read(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *file) {
    (void)file;
    struct filesystem *f = filesystem_of(request);
    struct disk_condition c = filesystem_condition_now(f);
    filesystem_count(f, &f->counters.reads, 1);
    if (!pay_delay(f, request, &c) || filesystem_strikes(f, c.read_error_ppm, &f->counters.read_errors)) {
        fuse_reply_err(request, EIO);
        return;
    }
    if (size > READ_BYTES_MAX) size = READ_BYTES_MAX;
    uint8_t *data = xmalloc(size);
    ssize_t got = pread(node_of(f, number)->data, data, size, offset);
    if (got > 0 && filesystem_strikes(f, c.read_rot_ppm, &f->counters.bits_rotted)) rot(f, data, (size_t)got);
    if (got < 0) {
        fuse_reply_err(request, errno);
    } else {
        fuse_reply_buf(request, (char *)data, (size_t)got);
    }
    free(data);
    if (reads_are_faulty(&c)) fuse_lowlevel_notify_inval_inode(f->session, number, offset, (off_t)size);
}

static void on_write(fuse_req_t request, fuse_ino_t number, const char *data, size_t size, off_t offset,
                     struct fuse_file_info *file) {
    struct filesystem *f = filesystem_of(request);
    struct node *n = node_of(f, number);
    struct disk_condition c = filesystem_condition_now(f);
    bool append = file->flags & O_APPEND && !file->writepage;
    int error = EIO;
    if (pay_delay(f, request, &c) && !filesystem_strikes(f, c.write_error_ppm, &f->counters.write_errors)) {
        error = data_write(f, n, data, size, (uint64_t)offset, append);
        if (error) filesystem_count(f, &f->counters.write_errors, 1);
    }
    if (error) {
        fuse_reply_err(request, error);
        return;
    }
    pthread_mutex_lock(&f->state);
    f->counters.writes++;
    f->counters.bytes_written += size;
    pthread_mutex_unlock(&f->state);
    fuse_reply_write(request, size);
}

static void on_fallocate(fuse_req_t request, fuse_ino_t number, int mode, off_t offset, off_t length,
                         struct fuse_file_info *file) {
    (void)file;
    struct filesystem *f = filesystem_of(request);
    fuse_reply_err(request, data_allocate(f, node_of(f, number), mode, (uint64_t)offset, (uint64_t)length));
}

/* --- syncs -------------------------------------------------------------------------------------------------------- */

static int sync_backing(struct filesystem *f, struct node *n) {
    if (f->volatile_backing) return 0;
    struct proc_path path = node_path(n);
    int fd = open(path.text, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno;
    int error = fdatasync(fd) ? errno : 0;
    close(fd);
    return error;
}

static void sync_node(fuse_req_t request, fuse_ino_t number) {
    struct filesystem *f = filesystem_of(request);
    struct node *n = node_of(f, number);
    uint64_t start = monotonic_ns(), data = data_end(n), names = names_end(f);
    pthread_mutex_lock(&f->state);
    struct disk_condition c = f->condition;
    uint64_t due = start + c.sync_stall_ns;
    if (f->sync_max_ns) due += prng_between(&f->prng, f->sync_min_ns, f->sync_max_ns);
    f->counters.syncs++;
    f->counters.syncs_stalled += c.sync_stall_ns > 0;
    pthread_mutex_unlock(&f->state);
    int error = sync_backing(f, n);
    if (!wait_until(f, request, due)) { /* it never ended: nothing is known to be durable */
        fuse_reply_err(request, EIO);
        return;
    }
    bool failed = error || filesystem_strikes(f, c.sync_error_ppm, &f->counters.sync_errors);
    if (!failed && filesystem_strikes(f, c.sync_lie_ppm, &f->counters.syncs_lied)) {
        fuse_reply_err(request, 0);
        return;
    }
    data_settle(f, n, data, failed);
    if (!failed) names_settle(f, n, names);
    fuse_reply_err(request, error ? error : failed ? EIO : 0);
}

static void on_fsync(fuse_req_t request, fuse_ino_t number, int data_only, struct fuse_file_info *file) {
    (void)data_only;
    (void)file;
    sync_node(request, number);
}

/* --- folders ------------------------------------------------------------------------------------------------------ */

static struct folder_handle *handle_of(const struct fuse_file_info *file) {
    return (struct folder_handle *)(uintptr_t)file->fh;
}

static void handle_close(struct filesystem *f, struct folder_handle *h) {
    pthread_mutex_lock(&f->table);
    *(h->previous ? &h->previous->next : &f->handles) = h->next;
    if (h->next) h->next->previous = h->previous;
    pthread_mutex_unlock(&f->table);
    closedir(h->stream);
    free(h);
}

static void on_opendir(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *file) {
    struct filesystem *f = filesystem_of(request);
    int fd = openat(node_of(f, number)->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (!stream) {
        fuse_reply_err(request, errno);
        if (fd >= 0) close(fd);
        return;
    }
    struct folder_handle *h = xcalloc(1, sizeof *h);
    h->stream = stream;
    pthread_mutex_lock(&f->table);
    h->next = f->handles;
    if (f->handles) f->handles->previous = h;
    f->handles = h;
    pthread_mutex_unlock(&f->table);
    file->fh = (uintptr_t)h;
    if (fuse_reply_open(request, file) == -ENOENT) handle_close(f, h);
}

static void on_readdir(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *file) {
    struct filesystem *f = filesystem_of(request);
    struct folder_handle *h = handle_of(file);
    bool at_root = node_of(f, number) == f->root;
    char *answer = xmalloc(size);
    size_t used = 0;
    if (offset != telldir(h->stream) || offset == 0) {
        if (offset == 0)
            rewinddir(h->stream); /* seeks would show a stale view */
        else
            seekdir(h->stream, offset);
    }
    errno = 0;
    for (;;) {
        long before = telldir(h->stream);
        struct dirent *e = readdir(h->stream);
        if (!e) break;
        if (at_root && strcmp(e->d_name, TRASH_NAME) == 0) continue;
        struct stat st = {.st_ino = e->d_ino, .st_mode = (mode_t)DTTOIF(e->d_type)};
        size_t need = fuse_add_direntry(request, answer + used, size - used, e->d_name, &st, e->d_off);
        if (need > size - used) {
            seekdir(h->stream, before);
            break;
        }
        used += need;
    }
    if (errno && used == 0) {
        fuse_reply_err(request, errno);
    } else {
        fuse_reply_buf(request, answer, used);
    }
    free(answer);
}

static void on_releasedir(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *file) {
    (void)number;
    handle_close(filesystem_of(request), handle_of(file));
    fuse_reply_err(request, 0);
}

const struct fuse_lowlevel_ops serve_ops = {
    .init = on_init,
    .lookup = on_lookup,
    .forget = on_forget,
    .forget_multi = on_forget_multi,
    .getattr = on_getattr,
    .setattr = on_setattr,
    .readlink = on_readlink,
    .mknod = on_mknod,
    .mkdir = on_mkdir,
    .unlink = on_unlink,
    .rmdir = on_rmdir,
    .symlink = on_symlink,
    .rename = on_rename,
    .link = on_link,
    .open = on_open,
    .read = on_read,
    .write = on_write,
    .flush = on_flush,
    .release = on_release,
    .fsync = on_fsync,
    .opendir = on_opendir,
    .readdir = on_readdir,
    .releasedir = on_releasedir,
    .fsyncdir = on_fsync,
    .statfs = on_statfs,
    .create = on_create,
    .fallocate = on_fallocate,
};
