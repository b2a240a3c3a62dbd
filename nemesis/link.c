/* What a condition does to a link: the arithmetic of faults in force together, and the fate of one frame. */
#include "nemesis/fault.h"

/* 1 - (1 - a)(1 - b) in parts per million. */
static uint32_t either_ppm(uint32_t a, uint32_t b) {
    return (uint32_t)(a + b - (uint64_t)a * b / PPM);
}

struct link_condition link_condition_add(struct link_condition a, struct link_condition b) {
    uint64_t rate = a.rate_bytes_per_s;
    if (b.rate_bytes_per_s && (rate == 0 || b.rate_bytes_per_s < rate)) rate = b.rate_bytes_per_s;
    return (struct link_condition){.cut = a.cut || b.cut,
                                   .loss_ppm = either_ppm(a.loss_ppm, b.loss_ppm),
                                   .duplicate_ppm = either_ppm(a.duplicate_ppm, b.duplicate_ppm),
                                   .reorder_ppm = either_ppm(a.reorder_ppm, b.reorder_ppm),
                                   .corrupt_ppm = either_ppm(a.corrupt_ppm, b.corrupt_ppm),
                                   .damage_ppm = either_ppm(a.damage_ppm, b.damage_ppm),
                                   .delay_ns = a.delay_ns + b.delay_ns,
                                   .jitter_ns = a.jitter_ns + b.jitter_ns,
                                   .rate_bytes_per_s = rate};
}

struct disk_condition disk_condition_add(struct disk_condition a, struct disk_condition b) {
    uint64_t capacity = a.capacity_bytes;
    if (b.capacity_bytes && (capacity == 0 || b.capacity_bytes < capacity)) capacity = b.capacity_bytes;
    return (struct disk_condition){.sync_error_ppm = either_ppm(a.sync_error_ppm, b.sync_error_ppm),
                                   .write_error_ppm = either_ppm(a.write_error_ppm, b.write_error_ppm),
                                   .sync_stall_ns = a.sync_stall_ns + b.sync_stall_ns,
                                   .capacity_bytes = capacity,
                                   .sync_lie_ppm = either_ppm(a.sync_lie_ppm, b.sync_lie_ppm),
                                   .read_error_ppm = either_ppm(a.read_error_ppm, b.read_error_ppm),
                                   .read_rot_ppm = either_ppm(a.read_rot_ppm, b.read_rot_ppm),
                                   .io_delay_ns = a.io_delay_ns + b.io_delay_ns};
}

static uint64_t draw_delay(const struct link_condition *c, uint64_t base_ns, struct prng *p) {
    uint64_t middle = base_ns + c->delay_ns;
    if (c->jitter_ns == 0) return middle;
    uint64_t drawn = middle + prng_below(p, 2 * c->jitter_ns + 1);
    return drawn > c->jitter_ns ? drawn - c->jitter_ns : 0;
}

struct frame_fate frame_decide(const struct link_condition *c, uint64_t base_ns, struct prng *p) {
    struct frame_fate f = {.copies = 1};
    if (c->cut || (c->loss_ppm && prng_chance(p, c->loss_ppm))) {
        f.copies = 0;
        return f;
    }
    f.delay_ns[0] = draw_delay(c, base_ns, p);
    if (c->duplicate_ppm && prng_chance(p, c->duplicate_ppm)) {
        f.copies = 2;
        f.delay_ns[1] = draw_delay(c, base_ns, p) + prng_below(p, 4 * base_ns + 1);
    }
    if (c->reorder_ppm && prng_chance(p, c->reorder_ppm)) {
        f.reordered = true; /* late enough for others to overtake */
        f.delay_ns[0] += prng_below(p, 10 * base_ns + 1);
    }
    f.corrupted = c->corrupt_ppm && prng_chance(p, c->corrupt_ppm);
    f.damaged = c->damage_ppm && prng_chance(p, c->damage_ppm);
    return f;
}

bool frame_marked(const struct link_condition *c, const struct frame_fate *fate, bool late) {
    if (fate->copies == 0) return c->cut || c->loss_ppm || (c->rate_bytes_per_s && late);
    return (c->delay_ns || c->jitter_ns) || (c->rate_bytes_per_s && late) || (c->duplicate_ppm && fate->copies == 2) ||
           (c->reorder_ppm && fate->reordered) || (c->corrupt_ppm && fate->corrupted) ||
           (c->damage_ppm && fate->damaged);
}
