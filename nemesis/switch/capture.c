/* One pcap file per endpoint, of the beginnings of frames. Buffered generously and flushed every second: a run that is
 * killed leaves files that are whole until then. A disk that cannot take them costs the files, not the run. */
#include "nemesis/switch/internal.h"

#include <errno.h>
#include <stdlib.h>

#define CAPTURE_BUFFER_BYTES (1u << 20)

static char *path_of(const struct switch_options *o, uint32_t endpoint) {
    uint32_t nodes = o->nodes ? o->nodes : o->endpoints - 1;
    if (endpoint < nodes) return xformat("%s/n%u.pcap", o->pcap_folder, endpoint + 1);
    if (endpoint == nodes) return xformat("%s/clients.pcap", o->pcap_folder);
    return xformat("%s/clients-%u.pcap", o->pcap_folder, endpoint - nodes + 1);
}

int capture_open(struct net_switch *s, struct error *e) {
    const struct switch_options *o = &s->options;
    if (!o->pcap_folder) return 0;
    pcap_t *shape =
        pcap_open_dead_with_tstamp_precision(DLT_EN10MB, (int)o->pcap_snap_bytes, PCAP_TSTAMP_PRECISION_NANO);
    int status = shape ? 0 : error_set(e, "%s: libpcap has no memory", o->pcap_folder);
    for (uint32_t i = 0; i < o->endpoints && !status; i++) {
        char *path = path_of(o, i);
        FILE *file = fopen(path, "we");
        if (file)
            setvbuf(file, s->ports[i].capture_buffer = xmalloc(CAPTURE_BUFFER_BYTES), _IOFBF, CAPTURE_BUFFER_BYTES);
        s->ports[i].capture = file ? pcap_dump_fopen(shape, file) : NULL;
        if (!file)
            status = error_set(e, "%s: %s; captures need a folder that can be written", path, strerror(errno));
        else if (!s->ports[i].capture) {
            status = error_set(e, "%s: %s", path, pcap_geterr(shape));
            fclose(file);
        }
        free(path);
    }
    if (shape) pcap_close(shape);
    return status;
}

static void give_up(struct net_switch *s, uint8_t endpoint) {
    const char *why = strerror(errno);
    if (!s->capture_failed) {
        fprintf(stderr, "harrow: %s: %s; the captures end here, the run goes on\n", s->options.pcap_folder, why);
        log_event(s, "capture_lost", "{s:i, s:s}", "endpoint", (int)endpoint, "why", why);
    }
    s->capture_failed = true;
    capture_close(s);
}

void capture_frame(struct net_switch *s, uint8_t endpoint, struct bytes frame, uint64_t wall_ns) {
    pcap_dumper_t *capture = s->ports[endpoint].capture;
    if (!capture) return;
    uint32_t snap = s->options.pcap_snap_bytes, size = (uint32_t)frame.size;
    struct pcap_pkthdr header = {
        .ts = {.tv_sec = (time_t)(wall_ns / NS_PER_S), .tv_usec = (suseconds_t)(wall_ns % NS_PER_S)},
        .caplen = size < snap ? size : snap,
        .len = size};
    pcap_dump((u_char *)capture, &header, frame.data);
    if (ferror(pcap_dump_file(capture))) give_up(s, endpoint);
}

void capture_flush(struct net_switch *s) {
    s->capture_flushed_ns = s->now_ns;
    for (uint8_t i = 0; i < s->options.endpoints; i++)
        if (s->ports[i].capture && pcap_dump_flush(s->ports[i].capture)) give_up(s, i);
}

void capture_close(struct net_switch *s) {
    for (uint32_t i = 0; i < s->options.endpoints; i++) {
        if (s->ports[i].capture) pcap_dump_close(s->ports[i].capture);
        s->ports[i].capture = NULL;
        free(s->ports[i].capture_buffer);
        s->ports[i].capture_buffer = NULL;
    }
}
