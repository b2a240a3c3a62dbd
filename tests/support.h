/* What tests of all kinds share: folders, lines, sorting. */
#ifndef HARROW_TESTS_SUPPORT_H
#define HARROW_TESTS_SUPPORT_H

#include <stddef.h>
#include <stdint.h>

/* Removes a folder with all that is in it, mounts and links not followed. 0, or -1 with errno set. */
int folder_remove(const char *path);
/* Reads one line, without its newline, into line[size]; fails the test if it does not come in time. */
void read_line(int fd, char *line, size_t size);
void sort_u64(uint64_t *values, size_t count);

#endif
