/* What the slots' threads (pool.c) and the polling threads (poll.c) share. */
#ifndef HARROW_TARGETS_FOREIGN_POOL_INTERNAL_H
#define HARROW_TARGETS_FOREIGN_POOL_INTERNAL_H

#include "targets/foreign/internal.h"

#include <pthread.h>

struct slot;
struct poller;
struct work;

struct foreign_pool {
    const struct foreign_target *target; /* borrowed, only read */
    struct foreign_cluster cluster;      /* settings in memory */
    struct arena memory;
    struct slot *slots;
    uint32_t slots_count;
    int event_fd;
    pthread_mutex_t lock; /* of everything below, of each slot's works, and of the pollers' answers */
    bool stop;
    struct work *done, **done_end; /* completions in order */
    struct poller *pollers;
    uint32_t pollers_count;
    int poll_fd; /* readable once the pool ends */
};

void foreign_signal_fd(int fd);
int foreign_thread(pthread_t *thread, void *(*body)(void *), void *ctx); /* 0 or an errno */
int poll_init(struct foreign_pool *p);                                   /* -1: errno tells */
void poll_end(struct foreign_pool *p);

#endif
