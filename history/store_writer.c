/* Who writes a run, and whether it still lives. In the pid namespace of the writer, its pid and start time tell; from
 * any other (harrow's local world has one of its own) they mean nothing, and a lock on the run's byte of
 * DIR/harrow.lock tells: the kernel drops it with the process. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "history/store_internal.h"

/* Reads a small file as text; empty if that fails. */
static void read_text(const char *path, char *text, size_t text_size) {
    ssize_t n = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, text, text_size - 1);
        close(fd);
    }
    text[n > 0 ? n : 0] = 0;
    text[strcspn(text, "\n")] = 0;
}

/* Pid and start time of /proc/WHO (proc(5): fields 1 and 22); false if there is none, or only a zombie. The name in
 * field 2 may hold anything, so the fields count from its last parenthesis. */
static bool process_of(const char *who, int64_t *pid, int64_t *start) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%s/stat", who);
    read_text(path, text, sizeof text);
    const char *at = strrchr(text, ')');
    if (!at || at[1] != ' ' || strchr("ZXx", at[2])) return false;
    *pid = strtoll(text, NULL, 10);
    for (uint32_t field = 2; field < 22; field++) {
        at = strchr(at + 1, ' ');
        if (!at) return false;
    }
    *start = strtoll(at + 1, NULL, 10);
    return true;
}

void writer_self(struct writer_identity *out) {
    char boot[64], space[48] = "";
    *out = (struct writer_identity){0};
    process_of("self", &out->pid, &out->start);
    read_text("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    if (readlink("/proc/self/ns/pid", space, sizeof space - 1) < 0) space[0] = 0;
    snprintf(out->space, sizeof out->space, "%s %s", boot, space);
}

static int lock_file(struct store *s) {
    if (s->lock_fd >= 0) return s->lock_fd;
    char *path = xformat("%s/harrow.lock", s->dir);
    s->lock_fd = open(path, s->read_only ? O_RDONLY | O_CLOEXEC : O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    free(path);
    return s->lock_fd;
}

static int lock_byte(int fd, int command, int64_t run_id, short *type) {
    struct flock lock = {.l_type = *type, .l_whence = SEEK_SET, .l_start = run_id, .l_len = 1};
    int rc = fcntl(fd, command, &lock);
    *type = lock.l_type;
    return rc;
}

bool writer_lives(struct store *s, int64_t run_id, const struct writer_identity *writer) {
    struct writer_identity self;
    char who[24];
    int64_t pid, start;
    writer_self(&self);
    if (strcmp(self.space, writer->space) == 0) {
        snprintf(who, sizeof who, "%lld", (long long)writer->pid);
        return process_of(who, &pid, &start) && start == writer->start;
    }
    short type = F_WRLCK;
    int fd = lock_file(s);
    return fd >= 0 && lock_byte(fd, F_OFD_GETLK, run_id, &type) == 0 && type != F_UNLCK;
}

int writer_lock(struct store *s, int64_t run_id, struct error *e) {
    short type = F_WRLCK;
    int fd = lock_file(s);
    if (fd < 0 || lock_byte(fd, F_OFD_SETLK, run_id, &type))
        return error_set(e, "cannot lock %s/harrow.lock: %s", s->dir, strerror(errno));
    return 0;
}

void writer_unlock(struct store *s, int64_t run_id) {
    short type = F_UNLCK;
    if (s->lock_fd >= 0) lock_byte(s->lock_fd, F_OFD_SETLK, run_id, &type);
}
