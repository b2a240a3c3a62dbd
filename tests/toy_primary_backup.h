/* toy_primary_backup: primary and backups without consensus, in about a hundred lines: what docs/add-a-protocol.md
 * builds step by step, and what the harness must catch losing data. */
#ifndef HARROW_TESTS_TOY_PRIMARY_BACKUP_H
#define HARROW_TESTS_TOY_PRIMARY_BACKUP_H

#include "targets/protocols/protocol.h"

extern const struct protocol toy_primary_backup;

#endif
