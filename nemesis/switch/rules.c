/* The rules in force: which of them apply to a frame, what each of them did, and the log that tells the truth about it.
 * Rules without a filter are summed up once per link, so that a frame costs the same under one as under ten; a rule
 * with a filter is asked for each frame of its links. */
#include "nemesis/switch/internal.h"

#include <jansson.h>

#include <errno.h>
#include <stdlib.h>

void rules_refresh(struct net_switch *s, uint8_t from, uint8_t to) {
    struct link *l = &s->links[from][to];
    l->condition = (struct link_condition){.jitter_ns = l->jitter_ns};
    l->plain = l->filtered = 0;
    for (uint32_t slot = 0; slot < RULES_MAX; slot++) {
        const struct rule *r = &s->rules[slot];
        if (!r->id || !(r->links[from] >> to & 1)) continue;
        if (r->filter[0]) {
            l->filtered |= UINT64_C(1) << slot;
        } else {
            l->plain |= UINT64_C(1) << slot;
            l->condition = link_condition_add(l->condition, r->condition);
        }
    }
}

static void refresh_all(struct net_switch *s) {
    for (uint8_t from = 0; from < s->options.endpoints; from++)
        for (uint8_t to = 0; to < s->options.endpoints; to++) rules_refresh(s, from, to);
}

uint64_t rules_match(struct net_switch *s, uint8_t from, uint8_t to, struct bytes frame, struct link_condition *c,
                     struct lane **lane) {
    const struct link *l = &s->links[from][to];
    const struct pcap_pkthdr header = {.caplen = (uint32_t)frame.size, .len = (uint32_t)frame.size};
    uint64_t matched = l->plain;
    for (uint64_t left = l->filtered; left; left &= left - 1) {
        uint32_t slot = (uint32_t)__builtin_ctzll(left);
        struct rule *r = &s->rules[slot];
        if (!pcap_offline_filter(&r->program, &header, frame.data)) continue;
        if (!(matched & l->filtered)) *lane = &r->lanes[from][to];
        matched |= UINT64_C(1) << slot;
        *c = link_condition_add(*c, r->condition);
    }
    return matched;
}

void rules_count(struct net_switch *s, uint64_t slots, const struct frame_fate *fate, bool late) {
    for (; slots; slots &= slots - 1) {
        struct rule *r = &s->rules[__builtin_ctzll(slots)];
        r->evidence.offered++;
        r->evidence.affected += frame_marked(&r->condition, fate, late);
    }
}

/* --- the log --- */

int log_open(struct net_switch *s, struct error *e) {
    const char *path = s->options.log_path;
    if (!path) return 0;
    s->log = fopen(path, "we");
    return s->log ? 0
                  : error_set(e, "%s: %s; the switch's log needs a folder that can be written", path, strerror(errno));
}

/* Takes the object. */
static void log_line(struct net_switch *s, const char *event, json_t *more) {
    json_t *line = json_pack("{s:I, s:s}", "t_ns", (json_int_t)(switch_clock(s) - s->options.start_ns), "event", event);
    json_object_update(line, more);
    char *text = json_dumps(line, JSON_COMPACT);
    if (text) fprintf(s->log, "%s\n", text);
    fflush(s->log);
    free(text);
    json_decref(line);
    json_decref(more);
}

void log_event(struct net_switch *s, const char *event, const char *format, ...) {
    if (!s->log) return;
    va_list args;
    va_start(args, format);
    json_t *more = json_vpack_ex(NULL, 0, format, args);
    va_end(args);
    log_line(s, event, more);
}

static json_t *rule_json(const struct rule *r) {
    const struct link_condition *c = &r->condition;
    json_t *links = json_array();
    for (int from = 0; from < ENDPOINTS_MAX; from++)
        for (int to = 0; to < ENDPOINTS_MAX; to++)
            if (r->links[from] >> to & 1) json_array_append_new(links, json_pack("[i,i]", from, to));
    json_t *condition = json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "cut", (int)c->cut, "loss_ppm",
                                  (json_int_t)c->loss_ppm, "duplicate_ppm", (json_int_t)c->duplicate_ppm, "reorder_ppm",
                                  (json_int_t)c->reorder_ppm, "corrupt_ppm", (json_int_t)c->corrupt_ppm, "damage_ppm",
                                  (json_int_t)c->damage_ppm, "delay_ns", (json_int_t)c->delay_ns, "jitter_ns",
                                  (json_int_t)c->jitter_ns, "rate_bytes_per_s", (json_int_t)c->rate_bytes_per_s);
    return json_pack("{s:i, s:o, s:o, s:s}", "rule", (int)r->id, "links", links, "condition", condition, "filter",
                     r->filter);
}

/* --- changes --- */

static int filter_compile(struct rule *r, const char *filter, struct error *e) {
    if (strlen(filter) >= sizeof r->filter)
        return error_set(e, "the link filter \"%.40s...\" is longer than %zu characters", filter, sizeof r->filter - 1);
    memcpy(r->filter, filter, strlen(filter) + 1);
    pcap_t *shape = pcap_open_dead(DLT_EN10MB, FRAME_BYTES_MAX);
    if (!shape) return error_set(e, "libpcap has no memory");
    int status = 0;
    if (pcap_compile(shape, &r->program, filter, 1, PCAP_NETMASK_UNKNOWN))
        status = error_set(e, "the link filter \"%s\" is not a tcpdump expression: %s", filter, pcap_geterr(shape));
    pcap_close(shape);
    if (!status) r->lanes = xcalloc(ENDPOINTS_MAX, sizeof *r->lanes);
    return status;
}

static void rule_clear(struct rule *r) {
    if (r->lanes) pcap_freecode(&r->program);
    free(r->lanes);
    *r = (struct rule){0};
}

uint32_t switch_rule_add(struct net_switch *s, const uint32_t links[ENDPOINTS_MAX],
                         const struct link_condition *condition, const char *filter, struct error *e) {
    struct rule made = {.condition = *condition};
    memcpy(made.links, links, sizeof made.links);
    for (uint32_t from = 0; from < ENDPOINTS_MAX; from++) {
        made.links[from] &= ~(UINT32_C(1) << from);
        uint32_t there = from < s->options.endpoints ? (UINT32_C(1) << s->options.endpoints) - 1 : 0;
        if (made.links[from] & ~there) {
            error_set(e, "the rule names a link beyond the %u endpoints", s->options.endpoints);
            return 0;
        }
    }
    if (filter && filter[0] && filter_compile(&made, filter, e)) return 0;
    switch_enter(s);
    uint32_t slot = 0;
    while (slot < RULES_MAX && s->rules[slot].id) slot++;
    if (slot == RULES_MAX) {
        switch_leave(s);
        rule_clear(&made);
        error_set(e, "more than %u rules on links at once: end some faults first", RULES_MAX);
        return 0;
    }
    forward_settle(s);
    uint32_t id = made.id = ++s->rules_made;
    s->rules[slot] = made;
    refresh_all(s);
    if (s->log) log_line(s, "rule_add", rule_json(&made));
    switch_leave(s);
    return id;
}

struct fault_evidence switch_rule_remove(struct net_switch *s, uint32_t rule) {
    struct fault_evidence evidence = {0};
    switch_enter(s);
    for (uint32_t slot = 0; slot < RULES_MAX && rule; slot++) {
        struct rule *r = &s->rules[slot];
        if (r->id != rule) continue;
        forward_settle(s);
        evidence = r->evidence;
        if (s->log) {
            json_t *line = rule_json(r);
            json_object_set_new(line, "offered", json_integer((json_int_t)evidence.offered));
            json_object_set_new(line, "affected", json_integer((json_int_t)evidence.affected));
            log_line(s, "rule_remove", line);
        }
        rule_clear(r);
        refresh_all(s);
    }
    switch_leave(s);
    return evidence;
}

void rules_free(struct net_switch *s) {
    for (uint32_t slot = 0; slot < RULES_MAX; slot++) rule_clear(&s->rules[slot]);
    if (s->log) fclose(s->log);
}
