/* The table of nodes: one for each file that the kernel has looked up, found by its inode number in the backing folder.
 * The number cannot be given to another file meanwhile, since the node holds the file by an O_PATH descriptor. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "nemesis/filesystem/internal.h"

struct proc_path node_path(const struct node *n) {
    struct proc_path p;
    snprintf(p.text, sizeof p.text, "/proc/self/fd/%d", n->fd);
    return p;
}

static struct node *node_new(struct filesystem *f, int fd, const struct stat *st) {
    struct node *n = xcalloc(1, sizeof *n);
    *n = (struct node){.id = ++f->next_id, .number = st->st_ino, .fd = fd, .data = -1, .next = f->nodes};
    n->folder = S_ISDIR(st->st_mode);
    pthread_mutex_init(&n->lock, NULL);
    if (f->nodes) f->nodes->previous = n;
    f->nodes = n;
    *map64_put(&f->by_number, st->st_ino, NULL) = (uintptr_t)n;
    return n;
}

static void node_free(struct filesystem *f, struct node *n) {
    data_forget(n);
    *map64_put(&f->by_number, n->number, NULL) = 0;
    *(n->previous ? &n->previous->next : &f->nodes) = n->next;
    if (n->next) n->next->previous = n->previous;
    if (n->data >= 0) close(n->data);
    close(n->fd);
    pthread_mutex_destroy(&n->lock);
    free(n->changes);
    free(n);
}

/* With the table locked. A file that has no name left has nothing that a power loss could bring back. */
static void free_if_unused(struct filesystem *f, struct node *n) {
    struct stat st;
    if (n == f->root || n->lookups || n->references || n->opens) return;
    if (n->changes_count == 0 || (fstat(n->fd, &st) == 0 && st.st_nlink == 0)) node_free(f, n);
}

int node_open_root(struct filesystem *f) {
    struct stat st;
    int fd = open(f->backing, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st)) {
        int error = errno;
        if (fd >= 0) close(fd);
        return error;
    }
    f->device = st.st_dev;
    f->root = node_new(f, fd, &st);
    return 0;
}

int node_lookup(struct filesystem *f, struct node *folder, const char *name, struct node **out) {
    if (folder == f->root && strcmp(name, TRASH_NAME) == 0) return ENOENT;
    struct stat st;
    int fd = openat(folder->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return errno;
    int error = fstat(fd, &st) ? errno : st.st_dev != f->device ? EXDEV : 0;
    if (error) {
        close(fd);
        return error;
    }
    pthread_mutex_lock(&f->table);
    uint64_t *known = map64_get(&f->by_number, st.st_ino);
    if (known && *known) {
        close(fd);
        *out = (struct node *)(uintptr_t)*known;
    } else {
        *out = node_new(f, fd, &st);
    }
    (*out)->lookups++;
    pthread_mutex_unlock(&f->table);
    return 0;
}

struct node *node_of(struct filesystem *f, fuse_ino_t number) {
    return number == FUSE_ROOT_ID ? f->root : (struct node *)(uintptr_t)number;
}

fuse_ino_t node_number(const struct filesystem *f, const struct node *n) {
    return n == f->root ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)n;
}

void node_forget(struct filesystem *f, struct node *n, uint64_t lookups) {
    pthread_mutex_lock(&f->table);
    n->lookups = n->lookups > lookups ? n->lookups - lookups : 0;
    free_if_unused(f, n);
    pthread_mutex_unlock(&f->table);
}

void node_hold(struct filesystem *f, struct node *n) {
    if (!n) return;
    pthread_mutex_lock(&f->table);
    n->references++;
    pthread_mutex_unlock(&f->table);
}

void node_drop(struct filesystem *f, struct node *n) {
    if (!n) return;
    pthread_mutex_lock(&f->table);
    assert(n->references > 0);
    n->references--;
    free_if_unused(f, n);
    pthread_mutex_unlock(&f->table);
}

int node_stat(struct filesystem *f, struct node *n, struct stat *st) {
    if (fstat(n->fd, st)) return errno;
    pthread_mutex_lock(&f->table);
    st->st_nlink -= n->trashed < st->st_nlink ? n->trashed : st->st_nlink;
    pthread_mutex_unlock(&f->table);
    return 0;
}

int node_need_data(struct node *n) {
    if (n->data >= 0) return 0;
    struct proc_path path = node_path(n);
    n->data = open(path.text, O_RDWR | O_CLOEXEC);
    if (n->data < 0 && (errno == EACCES || errno == EPERM || errno == EROFS))
        n->data = open(path.text, O_RDONLY | O_CLOEXEC);
    return n->data < 0 ? errno : 0;
}

void nodes_free(struct filesystem *f) {
    while (f->nodes) node_free(f, f->nodes);
    f->root = NULL;
    map64_free(&f->by_number);
    f->by_number = (struct map64){0};
    while (f->handles) {
        struct folder_handle *h = f->handles;
        f->handles = h->next;
        closedir(h->stream);
        free(h);
    }
}
