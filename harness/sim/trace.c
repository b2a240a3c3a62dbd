/* Events as lines of text, for `harrow replay`: virtual time in seconds, then who does what. */
#include <stdio.h>

#include "harness/sim/sim_internal.h"

void trace_event(struct sim *s, const char *format, ...) {
    char line[512];
    int n = snprintf(line, sizeof line, "%12.6f  ", (double)s->now_ns / 1e9);
    va_list args;
    va_start(args, format);
    vsnprintf(line + n, sizeof line - (size_t)n, format, args);
    va_end(args);
    s->trace(s->trace_ctx, line);
}

static void endpoint_name(const struct sim *s, uint8_t endpoint, uint32_t client, char out[16]) {
    if (is_client(s, endpoint))
        snprintf(out, 16, "c%u", client);
    else
        snprintf(out, 16, "n%u", endpoint + 1u);
}

void trace_frame(struct sim *s, const char *what, const struct frame *f) {
    static const char *const status[] = {"ok", "not leader", "busy", "unknown"};
    char from[16], to[16], text[200];
    endpoint_name(s, f->from, f->client, from);
    endpoint_name(s, f->to, f->client, to);
    bool sending = what[0] == 's' || what[0] == 'L';
    if (f->kind)
        s->protocol->describe(bytes_of(f->data, f->size), text, sizeof text);
    else if (is_client(s, f->to))
        snprintf(text, sizeof text, "answer %s index=%llu", status[f->status & 3], (unsigned long long)f->index);
    else
        snprintf(text, sizeof text, "request, %u bytes", f->size);
    if (sending)
        trace_event(s, "%s %s %s: %s", from, what, to, text);
    else
        trace_event(s, "%s %s from %s: %s", to, what, from, text);
}

void trace_effect(struct sim *s, uint8_t node, const struct effect *e) {
    unsigned n = node + 1u;
    unsigned long long index = e->index, term = e->term;
    static const char *const roles[] = {"follower", "candidate", "leader", "peer"};
    switch ((enum effect_kind)e->kind) {
    case EFFECT_APPEND:
        trace_event(s, "n%u appends index %llu of term %llu, %zu bytes", n, index, term, e->bytes.size);
        break;
    case EFFECT_TRUNCATE: trace_event(s, "n%u removes its log from index %llu on", n, index); break;
    case EFFECT_META:
        trace_event(s, "n%u writes term %llu, vote n%u", n, term, e->to == NODE_NONE ? 0u : e->to + 1u);
        break;
    case EFFECT_APPLY: trace_event(s, "n%u applies index %llu of term %llu", n, index, term); break;
    case EFFECT_ROLE: trace_event(s, "n%u is %s of term %llu", n, roles[e->role], term); break;
    case EFFECT_SNAPSHOT_TAKE: trace_event(s, "n%u takes a snapshot at index %llu", n, index); break;
    case EFFECT_SNAPSHOT_RECEIVE: trace_event(s, "n%u receives bytes of a snapshot at index %llu", n, index); break;
    default: break;
    }
}
