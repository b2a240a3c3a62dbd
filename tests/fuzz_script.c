/* Any bytes as the text of a scenario: loading ends, cleanly, within small limits; and what loads can be asked for its
 * first operation and frees without a trace. */
#include "harness/script/script.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct script_options small = {
        .seed = 1, .instructions_max = 200000, .memory_bytes_max = (size_t)4 << 20};
    struct error e = {""};
    struct script *s = script_load("fuzz.lua", bytes_of(data, size), &small, &e);
    if (!s) {
        if (!e.text[0]) abort();
        return 0;
    }
    uint32_t clients = script_scenario(s)->world.clients;
    uint8_t *busy = xcalloc(clients, 1);
    uint32_t *process = xcalloc(clients, sizeof *process);
    struct history *h = history_new();
    struct gen_context c = {
        .clients = clients, .busy = busy, .process = process, .free_clients = clients, .history = h};
    struct generator *g = script_workload(s);
    struct gen_op op;
    uint64_t due_ns;
    if (g->ops->peek(g, &c, &due_ns, &e) == GEN_READY) (void)g->ops->take(g, &c, &op, &e);
    script_free(s);
    history_free(h);
    free(busy);
    free(process);
    return 0;
}
