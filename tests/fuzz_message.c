/* Fuzzes what a network can hand to a replica of any protocol: the decoder, the description, and a replica that is
 * stepped with the bytes as messages of its peers. A replica may refuse, or stop itself with EFFECT_FATAL; it must not
 * crash, its invariants must hold, and what it sends must be messages of the protocol.
 *
 * Input: a byte that chooses the protocol and how long its cluster ran before, then messages, each led by a sender and
 * a 16-bit length; or, where the sender's byte says so, a message of that past, changed in one place. */
#include "targets/node/replica.h"
#include "tests/step_cluster.h"

#include <stdio.h>
#include <stdlib.h>

enum { NODES = 3, VICTIM = 0, TEXT_BYTES = 64, PAST_MAX = 64 };

struct past { /* messages to the victim, before it was left alone with the fuzzer */
    uint8_t bytes[PAST_MAX][2048];
    size_t size[PAST_MAX];
    uint32_t count;
};

static void describe(const struct protocol *p, struct bytes message, bool must_decode) {
    char text[TEXT_BYTES];
    size_t size = p->describe(message, text, sizeof text);
    if (size >= sizeof text || text[size] != 0) abort();
    if (must_decode && strcmp(text, "undecodable") == 0) abort();
}

/* What the victim said since is well formed; nobody hears it. */
static void look_at_answers(struct step_cluster *c) {
    for (size_t i = 0; i < c->messages_count; i++) {
        if (c->messages[i].from == VICTIM) describe(c->protocol, c->messages[i].bytes, true);
        free((void *)(uintptr_t)c->messages[i].bytes.data);
    }
    c->messages_count = 0;
}

static void remember(struct step_cluster *c, struct past *past) {
    for (size_t i = 0; i < c->messages_count && past->count < PAST_MAX; i++) {
        const struct step_message *m = &c->messages[i];
        if (m->to != VICTIM || m->bytes.size > sizeof past->bytes[0]) continue;
        memcpy(past->bytes[past->count], m->bytes.data, m->bytes.size);
        past->size[past->count++] = m->bytes.size;
    }
}

/* Three replicas get to work, for a while; some of what they say is kept. */
static void live(struct step_cluster *c, uint32_t ms, struct past *past) {
    for (uint32_t t = 0; t < ms; t += 20) {
        step_propose(c, (uint8_t)(t / 20 % NODES), t + 1, "a command");
        remember(c, past);
        step_run(c, 20 * NS_PER_MS);
    }
    for (uint8_t i = 1; i < NODES; i++) c->node[i].up = false;
}

static struct bytes next_message(struct reader *r, struct past *past, uint8_t from) {
    uint16_t word = read_u16(r);
    if (from & 0x20 && past->count) {
        uint32_t which = word % past->count;
        uint8_t at = read_u8(r), flip = read_u8(r);
        if (past->size[which]) past->bytes[which][at % past->size[which]] ^= flip;
        return bytes_of(past->bytes[which], past->size[which]);
    }
    size_t left = r->size - r->offset, size = word < left ? word : left;
    r->offset += size;
    return bytes_of(r->data + r->offset - size, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct past past;
    if (size < 1) return 0;
    size_t protocols = 0;
    while (protocol_at(protocols)) protocols++;
    struct config config = step_config();
    config.limits.reads_max = 16;
    struct step_cluster *c = step_new(protocol_at((data[0] & 0x3f) % protocols), NODES, &config, 7);
    past.count = 0;
    live(c, (data[0] >> 6) * 400, &past);
    look_at_answers(c);
    struct reader r = {.data = data, .size = size, .offset = 1};
    while (c->node[VICTIM].up && size - r.offset >= 5) {
        uint8_t from = read_u8(&r);
        struct event ev = {.kind = EVENT_MESSAGE};
        ev.message.from = from % 4;
        ev.message.bytes = next_message(&r, &past, from);
        describe(c->protocol, ev.message.bytes, false);
        c->now_ns += NS_PER_MS;
        step_event(c, VICTIM, ev);
        if (from & 0x40) step_run(c, (from & 0x80 ? 500 : 20) * NS_PER_MS);
        c->node[VICTIM].answers_count = 0;
        look_at_answers(c);
    }
    step_free(c);
    return 0;
}
