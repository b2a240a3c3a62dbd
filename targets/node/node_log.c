/* Logs: one JSON object a line on standard error, each with where the replica stood. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "targets/node/node_internal.h"

static void put_time(json_t *line) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    struct tm tm;
    gmtime_r(&t.tv_sec, &tm);
    char date[32], text[64];
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text, sizeof text, "%s.%06ldZ", date, t.tv_nsec / 1000);
    json_object_set_new(line, "ts", json_string(text));
}

void node_log(struct node *n, enum log_level level, const char *event_type, json_t *fields) {
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    if (level > n->o->log_level) {
        json_decref(fields);
        return;
    }
    struct probe p = {0};
    if (n->recorder && replica_running(recorder_replica(n->recorder))) replica_probe(recorder_replica(n->recorder), &p);
    json_t *line = json_object();
    put_time(line);
    json_object_set_new(line, "level", json_string(levels[level]));
    json_object_set_new(line, "node_id", json_integer(n->o->self + 1));
    json_object_set_new(line, "term", json_integer((json_int_t)p.term));
    json_object_set_new(line, "index", json_integer((json_int_t)p.last_index));
    json_object_set_new(line, "event_type", json_string(event_type));
    if (fields) json_object_update(line, fields);
    json_decref(fields);
    char *text = json_dumps(line, JSON_COMPACT);
    json_decref(line);
    if (!text) return;
    struct buffer out = {0}; /* one write, so that lines of several processes do not mix */
    buffer_printf(&out, "%s\n", text);
    ssize_t written = write(STDERR_FILENO, out.data, out.size);
    (void)written; /* there is nobody to tell */
    buffer_free(&out);
    free(text);
}

void node_log_tick(struct node *n) {
    uint64_t now = uv_hrtime();
    if (now - n->stranger_lines_since_ns < NS_PER_S) return;
    if (n->stranger_lines_left_out)
        node_log(n, LOG_WARNING, "lines_left_out", json_pack("{s:i}", "lines", (int)n->stranger_lines_left_out));
    n->stranger_lines = n->stranger_lines_left_out = 0;
    n->stranger_lines_since_ns = now;
}

void node_log_stranger(struct node *n, enum log_level level, const char *event_type, json_t *fields) {
    if (level <= n->o->log_level && n->stranger_lines++ >= STRANGER_LINES_PER_S) {
        n->stranger_lines_left_out++;
        json_decref(fields);
        return;
    }
    node_log(n, level, event_type, fields);
}
