/* A folder as the log's disk. Handles are slots; a slot whose file is closed while a sync is under way is freed when
 * that sync ends. */
#include "targets/node/disk_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_NAME "lock"
#define ROOM_NAME "room"

struct disk_file_slot {
    int fd; /* -1: the slot is free */
    bool fresh, syncing, closing;
};
struct sync_job {
    uv_work_t work;
    struct disk_file *disk;
    uint32_t file;
    int fd, folder; /* folder -1: the name is durable already */
    int status;
    uint64_t cookie, started_ns;
};

static struct disk_file *of(struct disk *d) {
    return (struct disk_file *)(void *)d;
}

static int refused(struct disk_file *d) {
    return d->last_error = -errno;
}

static int file_open(struct disk *disk, const char *name, bool create, uint32_t *file) {
    struct disk_file *d = of(disk);
    bool there = faccessat(d->folder, name, F_OK, 0) == 0;
    int fd = openat(d->folder, name, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0644);
    if (fd < 0) return errno == ENOENT && !create ? -ENOENT : refused(d);
    uint32_t slot = 0;
    while (slot < d->slots_count && d->slots[slot].fd >= 0) slot++;
    if (slot == d->slots_count) {
        d->slots_count++;
        d->slots = xrealloc(d->slots, d->slots_count * sizeof *d->slots);
    }
    d->slots[slot] = (struct disk_file_slot){.fd = fd, .fresh = !there};
    *file = slot;
    return 0;
}

static void free_slot(struct disk_file_slot *s) {
    close(s->fd);
    s->fd = -1;
}

static int file_close(struct disk *disk, uint32_t file) {
    struct disk_file_slot *s = &of(disk)->slots[file];
    if (s->syncing)
        s->closing = true;
    else
        free_slot(s);
    return 0;
}

static int file_size(struct disk *disk, uint32_t file, uint64_t *size) {
    struct stat st;
    if (fstat(of(disk)->slots[file].fd, &st)) return -errno;
    *size = (uint64_t)st.st_size;
    return 0;
}

static int file_read(struct disk *disk, uint32_t file, uint64_t offset, void *data, size_t size) {
    uint8_t *at = data;
    while (size) {
        ssize_t n = pread(of(disk)->slots[file].fd, at, size, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return n < 0 ? -errno : -EIO;
        at += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return 0;
}

static int file_write(struct disk *disk, uint32_t file, uint64_t offset, const void *data, size_t size) {
    struct disk_file *d = of(disk);
    const uint8_t *at = data;
    d->bytes_written += size;
    while (size) {
        ssize_t n = pwrite(d->slots[file].fd, at, size, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n == 0) errno = ENOSPC;
        if (n <= 0) return refused(d);
        at += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return 0;
}

static int file_truncate(struct disk *disk, uint32_t file, uint64_t size) {
    return ftruncate(of(disk)->slots[file].fd, (off_t)size) ? refused(of(disk)) : 0;
}

/* --- syncs -------------------------------------------------------------------------------------------------------- */

static int sync_both(int fd, int folder) {
    if (fdatasync(fd)) return -errno;
    return folder >= 0 && fsync(folder) ? -errno : 0;
}

static void sync_work(uv_work_t *work) {
    struct sync_job *job = work->data;
    job->status = sync_both(job->fd, job->folder);
}

static void measure(struct disk_file *d, uint64_t took_ns) {
    uint32_t bucket = 0;
    while (bucket + 1 < DISK_LATENCY_BUCKETS && took_ns > (50 * NS_PER_US) << bucket) bucket++;
    d->sync_buckets[bucket]++;
    d->sync_ns_sum += took_ns;
    d->syncs++;
}

static void sync_done(uv_work_t *work, int status) {
    struct sync_job *job = work->data;
    struct disk_file *d = job->disk;
    struct disk_file_slot *s = &d->slots[job->file];
    if (status == 0) status = job->status;
    measure(d, uv_hrtime() - job->started_ns);
    d->under_way--;
    d->sync_failed |= status != 0;
    s->syncing = false;
    if (status == 0) s->fresh = false;
    if (s->closing) free_slot(s);
    d->on_synced(d->ctx, job->cookie, status);
    free(job);
}

static int file_sync(struct disk *disk, uint32_t file, uint64_t cookie) {
    struct disk_file *d = of(disk);
    struct disk_file_slot *s = &d->slots[file];
    assert(!s->syncing);
    struct sync_job *job = xmalloc(sizeof *job);
    *job = (struct sync_job){.disk = d,
                             .file = file,
                             .fd = s->fd,
                             .folder = s->fresh ? d->folder : -1,
                             .cookie = cookie,
                             .started_ns = uv_hrtime()};
    job->work.data = job;
    int rc = uv_queue_work(d->loop, &job->work, sync_work, sync_done);
    if (rc != 0) {
        free(job);
        return rc;
    }
    s->syncing = true;
    d->under_way++;
    return 0;
}

static int file_sync_now(struct disk *disk, uint32_t file) {
    struct disk_file_slot *s = &of(disk)->slots[file];
    int status = sync_both(s->fd, s->fresh ? of(disk)->folder : -1);
    if (status == 0) s->fresh = false;
    return status;
}

/* --- names -------------------------------------------------------------------------------------------------------- */

static int file_rename(struct disk *disk, const char *from, const char *to) {
    int folder = of(disk)->folder;
    return renameat(folder, from, folder, to) ? refused(of(disk)) : 0;
}

static int file_remove(struct disk *disk, const char *name) {
    return unlinkat(of(disk)->folder, name, 0) ? -errno : 0;
}

static int file_sync_dir(struct disk *disk) {
    return fsync(of(disk)->folder) ? -errno : 0;
}

static int by_name(const void *a, const void *b) {
    return strcmp(a, b);
}

static int file_list(struct disk *disk, char names[][DISK_NAME_MAX + 1], size_t names_max) {
    int fd = openat(of(disk)->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        int error = -errno;
        if (fd >= 0) close(fd);
        return error;
    }
    size_t count = 0;
    int error = 0;
    const struct dirent *entry;
    while ((errno = 0, entry = readdir(dir))) {
        const char *name = entry->d_name;
        if (*name == '.' || !strcmp(name, LOCK_NAME) || !strcmp(name, ROOM_NAME) || strlen(name) > DISK_NAME_MAX)
            continue;
        if (count == names_max) {
            error = -EOVERFLOW;
            break;
        }
        strcpy(names[count++], name);
    }
    if (errno && !error) error = -errno;
    closedir(dir);
    if (error) return error;
    qsort(names, count, sizeof *names, by_name);
    return (int)count;
}

static const struct disk_ops operations = {
    .open = file_open,
    .close = file_close,
    .size = file_size,
    .read = file_read,
    .write = file_write,
    .truncate = file_truncate,
    .sync = file_sync,
    .sync_now = file_sync_now,
    .rename = file_rename,
    .remove = file_remove,
    .sync_dir = file_sync_dir,
    .list = file_list,
};

/* --- the folder --------------------------------------------------------------------------------------------------- */

int disk_file_open(struct disk_file *d, const char *path, uv_loop_t *loop,
                   void (*on_synced)(void *ctx, uint64_t cookie, int status), void *ctx, struct error *e) {
    *d = (struct disk_file){.base = {&operations}, .loop = loop, .lock = -1, .on_synced = on_synced, .ctx = ctx};
    if (mkdir(path, 0755) && errno != EEXIST) {
        d->folder = -1;
        return error_set(e, "data folder %s: %s", path, strerror(errno));
    }
    d->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->folder < 0) return error_set(e, "data folder %s: %s", path, strerror(errno));
    d->lock = openat(d->folder, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (d->lock < 0) {
        error_set(e, "data folder %s: file %s: %s", path, LOCK_NAME, strerror(errno));
    } else if (flock(d->lock, LOCK_EX | LOCK_NB)) {
        error_set(e, "data folder %s is in use by another process; end that one, or give this node a folder of its own",
                  path);
    } else {
        d->path = xstrdup(path);
        return 0;
    }
    disk_file_close(d);
    return -1;
}

void disk_file_close(struct disk_file *d) {
    assert(d->under_way == 0);
    for (uint32_t i = 0; i < d->slots_count; i++)
        if (d->slots[i].fd >= 0) close(d->slots[i].fd);
    if (d->lock >= 0) close(d->lock);
    if (d->folder >= 0) close(d->folder);
    free(d->slots);
    free(d->path);
    d->lock = d->folder = -1;
    d->slots = NULL;
    d->slots_count = 0;
    d->path = NULL;
}

bool disk_file_has_room(const struct disk_file *d, uint64_t bytes) {
    int fd = openat(d->folder, ROOM_NAME, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return false;
    bool room = posix_fallocate(fd, 0, (off_t)bytes) == 0;
    close(fd);
    unlinkat(d->folder, ROOM_NAME, 0);
    return room;
}
