/* What tests of all kinds share: folders, lines, sorting. */
#include "tests/support.h"

#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 20000 };

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *at) {
    (void)about, (void)kind, (void)at;
    return remove(path);
}

int folder_remove(const char *path) {
    return nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

void read_line(int fd, char *line, size_t size) {
    struct pollfd f = {.fd = fd, .events = POLLIN};
    size_t length = 0;
    do {
        assert_true(length + 1 < size);
        assert_int_equal(poll(&f, 1, PATIENCE_MS), 1);
        assert_int_equal(read(fd, line + length, 1), 1);
    } while (line[length++] != '\n');
    line[length - 1] = 0;
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void sort_u64(uint64_t *values, size_t count) {
    qsort(values, count, sizeof *values, by_value);
}
