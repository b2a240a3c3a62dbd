/* What there is to run: the protocols and the mutants, by name. */
#include "targets/node/replica.h"
#include "targets/protocols/epaxos/epaxos.h"
#include "targets/protocols/multipaxos/multipaxos.h"
#include "targets/protocols/paxos/paxos.h"
#include "targets/protocols/raft/raft.h"

static const struct protocol *const protocols[] = {&raft_protocol, &multipaxos_protocol, &paxos_protocol,
                                                   &epaxos_protocol};

enum { BUNDLED = sizeof protocols / sizeof *protocols };
static const struct protocol *added;

void protocol_add(const struct protocol *p) {
    added = p;
}

const struct protocol *protocol_find(const char *name) {
    for (size_t i = 0; protocol_at(i); i++)
        if (strcmp(protocol_at(i)->name, name) == 0) return protocol_at(i);
    return NULL;
}

const struct protocol *protocol_at(size_t i) {
    return i < BUNDLED ? protocols[i] : i == BUNDLED ? added : NULL;
}

#define MUTANT(id_, zoo_, protocol_, visible_, scenario_, doc_, source_, rules_, unbarriered_, kv_rules_)              \
    {.id = id_,                                                                                                        \
     .zoo = zoo_,                                                                                                      \
     .protocol = protocol_,                                                                                            \
     .client_visible = visible_,                                                                                       \
     .scenario = scenario_,                                                                                            \
     .doc = doc_,                                                                                                      \
     .source = source_,                                                                                                \
     .rules = rules_,                                                                                                  \
     .unbarriered_mask = unbarriered_,                                                                                 \
     .kv_rules = kv_rules_},
const struct mutant mutants[] = {
#include "targets/node/mutants.def"
    {.id = NULL},
};
#undef MUTANT

const struct mutant *mutant_find(const char *id) {
    for (const struct mutant *m = mutants; m->id; m++)
        if (strcmp(m->id, id) == 0) return m;
    return NULL;
}
