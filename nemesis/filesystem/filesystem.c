/* The life of the file system: mounting it without helpers, its threads, power loss, and its end.
 *
 * A power loss ends the session, plays the logs back and mounts anew: so neither the kernel's caches nor a process that
 * outlived the machine can show what is no more. */
#include "nemesis/filesystem/filesystem.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "nemesis/filesystem/internal.h"

#define THREADS_MAX 256 /* requests that may wait at once, stalled syncs above all */
#define THREADS_IDLE 8

/* --- state -------------------------------------------------------------------------------------------------------- */

bool filesystem_strikes(struct filesystem *f, uint32_t ppm, uint64_t *counter) {
    if (ppm == 0) return false;
    pthread_mutex_lock(&f->state);
    bool strikes = prng_chance(&f->prng, ppm);
    if (strikes && counter) ++*counter;
    pthread_mutex_unlock(&f->state);
    return strikes;
}

struct disk_condition filesystem_condition_now(struct filesystem *f) {
    pthread_mutex_lock(&f->state);
    struct disk_condition c = f->condition;
    pthread_mutex_unlock(&f->state);
    return c;
}

void filesystem_count(struct filesystem *f, uint64_t *counter, uint64_t by) {
    pthread_mutex_lock(&f->state);
    *counter += by;
    pthread_mutex_unlock(&f->state);
}

int filesystem_claim(struct filesystem *f, uint64_t more) {
    if (more == 0) return 0;
    pthread_mutex_lock(&f->state);
    uint64_t capacity = f->condition.capacity_bytes;
    int error = capacity && f->used_bytes + more > capacity ? ENOSPC : 0;
    if (!error) f->used_bytes += more;
    pthread_mutex_unlock(&f->state);
    return error;
}

void filesystem_unclaim(struct filesystem *f, uint64_t less) {
    pthread_mutex_lock(&f->state);
    f->used_bytes -= less < f->used_bytes ? less : f->used_bytes;
    pthread_mutex_unlock(&f->state);
}

static bool spoils_reads(const struct disk_condition *c) {
    return c->read_error_ppm || c->read_rot_ppm || c->io_delay_ns;
}

/* The kernel forgets all data that it has read. No lock is held meanwhile: it may have to write first. */
static void drop_caches(struct filesystem *f) {
    fuse_ino_t *numbers = NULL;
    size_t count = 0;
    pthread_mutex_lock(&f->table);
    for (struct node *n = f->nodes; n; n = n->next) count += !n->folder;
    numbers = xcalloc(count + 1, sizeof *numbers);
    count = 0;
    for (struct node *n = f->nodes; n; n = n->next)
        if (!n->folder) numbers[count++] = node_number(f, n);
    pthread_mutex_unlock(&f->table);
    for (size_t i = 0; i < count; i++) fuse_lowlevel_notify_inval_inode(f->session, numbers[i], 0, 0);
    free(numbers);
}

void filesystem_condition(struct filesystem *f, const struct disk_condition *c) {
    pthread_mutex_lock(&f->state);
    bool drop = spoils_reads(c) || spoils_reads(&f->condition);
    f->condition = *c;
    pthread_mutex_unlock(&f->state);
    if (drop) drop_caches(f);
}

void filesystem_sync_time(struct filesystem *f, uint64_t min_ns, uint64_t max_ns) {
    pthread_mutex_lock(&f->state);
    f->sync_min_ns = min_ns;
    f->sync_max_ns = max_ns > min_ns ? max_ns : min_ns;
    pthread_mutex_unlock(&f->state);
}

void filesystem_counters(struct filesystem *f, struct disk_counters *out) {
    pthread_mutex_lock(&f->state);
    *out = f->counters;
    pthread_mutex_unlock(&f->state);
}

uint64_t filesystem_unsynced(struct filesystem *f) {
    pthread_mutex_lock(&f->names);
    uint64_t count = f->name_changes_count;
    pthread_mutex_unlock(&f->names);
    pthread_mutex_lock(&f->table);
    size_t nodes = 0;
    for (struct node *n = f->nodes; n; n = n->next) nodes++;
    struct node **held = xcalloc(nodes + 1, sizeof(struct node *));
    nodes = 0;
    for (struct node *n = f->nodes; n; n = n->next) {
        n->references++;
        held[nodes++] = n;
    }
    pthread_mutex_unlock(&f->table);
    for (size_t i = 0; i < nodes; i++) {
        pthread_mutex_lock(&held[i]->lock);
        for (size_t j = 0; j < held[i]->changes_count; j++) count += held[i]->changes[j].settled == SETTLED_NOT;
        pthread_mutex_unlock(&held[i]->lock);
        node_drop(f, held[i]);
    }
    free((void *)held);
    return count;
}

/* --- session ------------------------------------------------------------------------------------------------------ */

static void *serve(void *ctx) {
    struct filesystem *f = ctx;
    struct fuse_loop_config *c = fuse_loop_cfg_create();
    fuse_loop_cfg_set_clone_fd(c, 0);
    fuse_loop_cfg_set_max_threads(c, THREADS_MAX);
    fuse_loop_cfg_set_idle_threads(c, THREADS_IDLE);
    fuse_session_loop_mt(f->session, c);
    fuse_loop_cfg_destroy(c);
    return NULL;
}

static int start_thread(struct filesystem *f) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the owner's */
    int error = pthread_create(&f->thread, NULL, serve, f);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

static int mount_at(const char *mountpoint, int fd) {
    char options[160];
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=%u,group_id=%u,default_permissions,allow_other", fd,
             (unsigned)geteuid(), (unsigned)getegid());
    return mount("harrow", mountpoint, "fuse.harrow", MS_NOSUID | MS_NODEV | MS_NOATIME, options) ? errno : 0;
}

static int session_open(struct filesystem *f, struct error *e) {
    char *name[] = {(char[]){"harrow"}, NULL}, channel[32];
    struct fuse_args args = FUSE_ARGS_INIT(1, name);
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0) return error_set(e, "/dev/fuse: %s; %s", strerror(errno), filesystem_unavailable());
    f->stopping = false;
    f->session = fuse_session_new(&args, &serve_ops, sizeof serve_ops, f);
    fuse_opt_free_args(&args);
    int error = f->session ? mount_at(f->mountpoint, fd) : EINVAL;
    snprintf(channel, sizeof channel, "/dev/fd/%d", fd);
    if (!error && fuse_session_mount(f->session, channel)) error = EINVAL;
    if (!error) {
        error = start_thread(f);
        if (!error) return 0;
        umount2(f->mountpoint, MNT_DETACH);
    } else {
        close(fd);
    }
    if (f->session) fuse_session_destroy(f->session);
    f->session = NULL;
    return error_set(e, "%s: the file system cannot be mounted: %s; it needs root, or a user and mount namespace",
                     f->mountpoint, strerror(error));
}

void filesystem_power_off(struct filesystem *f) {
    pthread_mutex_lock(&f->state);
    f->stopping = true;
    pthread_cond_broadcast(&f->woken);
    pthread_mutex_unlock(&f->state);
}

/* Aborts the connection, so that no process that still has files open can hold it up. */
static void session_close(struct filesystem *f) {
    if (!f->session) return;
    filesystem_power_off(f);
    fuse_session_exit(f->session);
    umount2(f->mountpoint, MNT_FORCE | MNT_DETACH);
    pthread_join(f->thread, NULL);
    fuse_session_destroy(f->session);
    f->session = NULL;
}

/* --- backing folder ----------------------------------------------------------------------------------------------- */

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)st;
    (void)kind;
    return at->level == 0 ? 0 : remove(path);
}

/* What a killed predecessor left there was removed as far as anybody could see. */
static int open_trash(struct filesystem *f) {
    char *path = xformat("%s/%s", f->backing, TRASH_NAME);
    int error = mkdir(path, 0700) && errno != EEXIST ? errno : 0;
    if (!error) nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    if (!error) f->trash = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!error && f->trash < 0) error = errno;
    free(path);
    return error;
}

static void remove_trash(struct filesystem *f) {
    if (f->trash < 0) return;
    char *path = xformat("%s/%s", f->backing, TRASH_NAME);
    close(f->trash);
    rmdir(path);
    free(path);
}

static uint64_t measure_folder(int folder, unsigned depth) {
    uint64_t sum = 0;
    DIR *d = fdopendir(folder);
    if (!d) {
        close(folder);
        return 0;
    }
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || strcmp(e->d_name, TRASH_NAME) == 0) continue;
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW)) continue;
        if (S_ISREG(st.st_mode)) sum += (uint64_t)st.st_size / (st.st_nlink ? st.st_nlink : 1);
        int below = S_ISDIR(st.st_mode) && depth ? openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        if (below >= 0) sum += measure_folder(below, depth - 1);
    }
    closedir(d);
    return sum;
}

static uint64_t measure(const struct filesystem *f) {
    int fd = open(f->backing, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? 0 : measure_folder(fd, 64);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

/* Each file that the kernel knows takes a descriptor here. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == limit.rlim_max) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void release(struct filesystem *f) {
    names_forget(f);
    nodes_free(f);
    remove_trash(f);
    free(f->name_changes);
    free(f->mountpoint);
    free(f->backing);
    pthread_cond_destroy(&f->woken);
    pthread_mutex_destroy(&f->state);
    pthread_mutex_destroy(&f->table);
    pthread_mutex_destroy(&f->names);
    free(f);
}

struct filesystem *filesystem_mount(const char *mountpoint, const char *backing, uint64_t seed, struct error *e) {
    struct filesystem *f = xcalloc(1, sizeof *f);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&f->woken, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&f->state, NULL);
    pthread_mutex_init(&f->table, NULL);
    pthread_mutex_init(&f->names, NULL);
    prng_seed(&f->prng, seed, 0);
    f->trash = -1;
    f->mountpoint = realpath(mountpoint, NULL);
    f->backing = realpath(backing, NULL);
    struct statfs st;
    int error = f->mountpoint && f->backing ? 0 : errno;
    raise_descriptor_limit();
    if (!error && statfs(f->backing, &st)) error = errno;
    if (!error) error = open_trash(f);
    if (!error) error = node_open_root(f);
    if (error) {
        error_set(e, "%s over %s: %s; both must be folders, the second one writable", mountpoint, backing,
                  strerror(error));
        release(f);
        return NULL;
    }
    f->volatile_backing = st.f_type == TMPFS_MAGIC;
    f->used_bytes = measure(f);
    if (session_open(f, e) == 0) return f;
    release(f);
    return NULL;
}

void filesystem_free(struct filesystem *f) {
    if (!f) return;
    session_close(f);
    release(f);
}

int filesystem_power_loss(struct filesystem *f, struct disk_crash fate, struct error *e) {
    session_close(f);
    int error = 0;
    for (struct node *n = f->nodes; n; n = n->next) {
        int failed = data_power_loss(f, n, fate);
        if (!error) error = failed;
    }
    int failed = names_power_loss(f, fate);
    if (!error) error = failed;
    nodes_free(f);
    if (!error) error = node_open_root(f);
    if (error) return error_set(e, "%s: the power loss could not be played back: %s", f->backing, strerror(error));
    f->used_bytes = measure(f);
    return session_open(f, e);
}

/* --- whether it can be had ---------------------------------------------------------------------------------------- */

static bool write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    bool whole = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    return close(fd) == 0 && whole;
}

enum trial { TRIAL_WORKS, TRIAL_NAMESPACE, TRIAL_DEVICE, TRIAL_MOUNT };

static enum trial try_it(void) {
    char uid_map[48], gid_map[48], options[96];
    unsigned uid = (unsigned)geteuid();
    snprintf(uid_map, sizeof uid_map, "0 %u 1", uid);
    snprintf(gid_map, sizeof gid_map, "0 %u 1", (unsigned)getegid());
    if (unshare(CLONE_NEWNS | (uid ? CLONE_NEWUSER : 0))) return TRIAL_NAMESPACE;
    if (uid && !(write_file("/proc/self/setgroups", "deny") && write_file("/proc/self/uid_map", uid_map) &&
                 write_file("/proc/self/gid_map", gid_map)))
        return TRIAL_NAMESPACE;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) return TRIAL_NAMESPACE;
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0) return TRIAL_DEVICE;
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other", fd);
    return mount("harrow", "/", "fuse.harrow", MS_NOSUID | MS_NODEV, options) ? TRIAL_MOUNT : TRIAL_WORKS;
}

const char *filesystem_unavailable(void) {
    static const char *const why[] = {
        [TRIAL_WORKS] = NULL,
        [TRIAL_NAMESPACE] =
            "no mount namespace can be made; be root, or allow user namespaces "
            "(sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0)",
        [TRIAL_DEVICE] = "/dev/fuse cannot be opened; load the fuse module (modprobe fuse) and let this user read and "
                         "write it (chmod 666 /dev/fuse)",
        [TRIAL_MOUNT] = "FUSE cannot be mounted in a namespace; be root, or use Linux 4.18 or later",
    };
    pid_t child = fork();
    if (child == 0) _exit((int)try_it());
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return why[TRIAL_NAMESPACE];
    int trial = WEXITSTATUS(status);
    return trial <= TRIAL_MOUNT ? why[trial] : why[TRIAL_MOUNT];
}
