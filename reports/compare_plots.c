/* The plots of a comparison: the distribution of latencies, throughput over time under the shades of faults, and times
 * to recover. Each target keeps its colour in all of them. */
#include "reports/compare_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define RECOVERY_POINTS_MAX 600u /* of one target and one kind of time */
#define LEAST_RECOVERY_NS NS_PER_MS
#define THROUGHPUT_HEIGHT 150

static const char *colour_of(uint32_t target) {
    char name[8];
    snprintf(name, sizeof name, "curve%" PRIu32, target % COMPARE_CURVES_MAX);
    return palette_light(name);
}

static uint32_t shown(const struct comparison *c) {
    return c->targets_count < COMPARE_CURVES_MAX ? c->targets_count : COMPARE_CURVES_MAX;
}

static uint64_t longest_run_ns(const struct comparison *c) {
    uint64_t longest = 1;
    for (uint32_t t = 0; t < c->targets_count; t++)
        for (uint32_t i = 0; i < c->targets[t].runs_count; i++) {
            const struct compared_run *run = &c->targets[t].runs[i];
            if (run->done && run->measured->main_ns > longest) longest = run->measured->main_ns;
        }
    return longest;
}

/* --- the distribution of latencies -------------------------------------------------------------------------------- */

static uint64_t sum_buckets(const struct compared_target *t, uint64_t sums[LATENCY_BUCKETS]) {
    uint64_t all = 0;
    memset(sums, 0, LATENCY_BUCKETS * sizeof *sums);
    for (uint32_t i = 0; i < t->runs_count; i++)
        for (uint32_t b = 0; t->runs[i].done && b < LATENCY_BUCKETS; b++) {
            sums[b] += t->runs[i].measured->buckets[b];
            all += t->runs[i].measured->buckets[b];
        }
    return all;
}

static void latency_plot(const struct comparison *c, const char *folder, struct compare_plots *p) {
    static const struct plot plot = {"compare_latency", 300, false};
    struct buffer script = {0}, data = {0}, curves = {0};
    uint64_t sums[LATENCY_BUCKETS], least_us = UINT64_MAX, most_us = 1;
    buffer_printf(&data, "# latency_ms percent_at_most, one block per target, over all its runs\n");
    for (uint32_t t = 0, index = 0; t < shown(c); t++) {
        uint64_t all = sum_buckets(&c->targets[t], sums), so_far = 0;
        if (all == 0) continue;
        for (uint32_t b = 0; b < LATENCY_BUCKETS; b++) {
            uint64_t us = latency_bucket_us(b) ? latency_bucket_us(b) : 1;
            if (sums[b] == 0) continue;
            if (so_far == 0) buffer_printf(&data, "%.6g 0\n", (double)us / 1e3);
            so_far += sums[b];
            buffer_printf(&data, "%.6g %.6g\n", (double)us / 1e3, 100 * (double)so_far / (double)all);
            if (us < least_us) least_us = us;
            if (us > most_us) most_us = us;
        }
        buffer_printf(&data, "\n\n");
        buffer_printf(&curves, "%s\"%s.dat\" index %" PRIu32 " with steps lw 1.8 lc rgb \"%s\" title \"",
                      index ? ", \\\n     " : "plot ", plot.name, index, colour_of(t));
        plot_put_name(&curves, c->targets[t].name);
        buffer_printf(&curves, "\"");
        index++;
    }
    plot_script_open(&script, &plot);
    if (curves.size) {
        plot_latency_axis(&script, 'x', least_us * NS_PER_US, most_us * NS_PER_US);
        buffer_printf(&script, "set yrange [0:100]\nset ytics 25\nset format y \"%%g %%%%\"\n%.*s\n", (int)curves.size,
                      (const char *)curves.data);
        (void)plot_draw(folder, 0, 0, &plot, &script, &data, &p->latency, &p->why);
    } else {
        error_set(&p->why, "no operation was committed: there is nothing to plot");
    }
    buffer_free(&script);
    buffer_free(&data);
    buffer_free(&curves);
}

/* --- throughput over time ----------------------------------------------------------------------------------------- */

static struct spread rate_of(const struct compared_target *t, uint32_t bin, double *values) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < t->runs_count; i++) {
        const struct measured *m = t->runs[i].measured;
        if (!t->runs[i].done || bin >= m->bins_count) continue;
        uint64_t start_ns = bin * m->bin_ns, width_ns = m->bin_ns;
        if (start_ns + width_ns > m->main_ns) width_ns = m->main_ns - start_ns;
        values[count++] = m->bins[bin] / seconds(width_ns);
    }
    return spread_of(values, count);
}

/* The share of a target's runs that were under some fault in a stretch of time. */
static double faulty_share(const struct compared_target *t, uint64_t start_ns, uint64_t end_ns) {
    uint32_t faulty = 0, runs = 0;
    for (uint32_t i = 0; i < t->runs_count; i++) {
        if (!t->runs[i].done) continue;
        const struct measured *m = t->runs[i].measured;
        bool any = false;
        for (uint32_t f = 0; f < m->faults_count && !any; f++)
            any = m->faults[f].start_ns < end_ns && m->faults[f].end_ns > start_ns;
        runs++;
        faulty += any;
    }
    return runs ? (double)faulty / runs : 0;
}

static void put_shades(struct buffer *script, const struct compared_target *t, uint64_t end_ns, uint64_t width_ns) {
    for (uint64_t start_ns = 0; start_ns < end_ns; start_ns += width_ns) {
        double share = faulty_share(t, start_ns, start_ns + width_ns);
        if (share == 0) continue;
        buffer_printf(script,
                      "set object rect from first %.9f, graph 0 to first %.9f, graph 1 fc rgb \"%s\" "
                      "fs transparent solid %.3f noborder behind\n",
                      seconds(start_ns), seconds(start_ns + width_ns < end_ns ? start_ns + width_ns : end_ns),
                      palette_light("fail"), 0.28 * share);
    }
}

static double highest_rate(const struct comparison *c) {
    double highest = 0;
    for (uint32_t t = 0; t < c->targets_count; t++) {
        double *values = xmalloc((c->targets[t].runs_count + (size_t)1) * sizeof *values);
        for (uint32_t bin = 0; bin < MEASURE_BINS_MAX; bin++) {
            struct spread s = rate_of(&c->targets[t], bin, values);
            if (s.count && s.max > highest) highest = s.max;
        }
        free(values);
    }
    return highest;
}

static void throughput_plot(const struct comparison *c, uint32_t target, double highest, const char *folder,
                            struct compare_plots *p) {
    const struct compared_target *t = &c->targets[target];
    uint64_t end_ns = longest_run_ns(c), width_ns = nice_step(end_ns, MEASURE_BINS_MAX);
    char name[40];
    snprintf(name, sizeof name, "compare_throughput_%" PRIu32, target + 1);
    struct plot plot = {name, THROUGHPUT_HEIGHT, true};
    struct buffer script = {0}, data = {0};
    double *values = xmalloc((t->runs_count + (size_t)1) * sizeof *values);
    buffer_printf(&data, "# bin_middle_s median_ok_per_s least most, over the runs of a target\n");
    for (uint32_t bin = 0; bin < MEASURE_BINS_MAX && bin * width_ns < end_ns; bin++) {
        struct spread s = rate_of(t, bin, values);
        double middle = seconds(bin * width_ns) + seconds(width_ns) / 2;
        if (s.count) buffer_printf(&data, "%.6f %.6g %.6g %.6g\n", middle, s.median, s.min, s.max);
    }
    plot_script_open(&script, &plot);
    put_shades(&script, t, end_ns, width_ns);
    buffer_printf(&script,
                  "set xrange [0:%.9f]\nset xtics format \"%%g s\"\nset yrange [0:%.6g]\nset ytics 0,%" PRIu64
                  "\nset format y \"%%g/s\"\n"
                  "plot \"%s.dat\" using 1:3:4 with filledcurves fs transparent solid 0.22 noborder lc rgb \"%s\" "
                  "notitle, \"\" using 1:2 with lines lw 1.8 lc rgb \"%s\" title \"",
                  seconds(end_ns), highest * 1.05, nice_step((uint64_t)highest + 1, 3), name, colour_of(target),
                  colour_of(target));
    plot_put_name(&script, t->name);
    buffer_printf(&script, "\"\n");
    (void)plot_draw(folder, 0, end_ns, &plot, &script, &data, &p->throughput[target], &p->why);
    buffer_free(&script);
    buffer_free(&data);
    free(values);
}

/* --- times to recover --------------------------------------------------------------------------------------------- */

struct times {
    struct buffer data;
    uint32_t count;
    uint64_t most_ns;
};

static uint32_t faults_of(const struct compared_target *t) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < t->runs_count; i++) count += t->runs[i].done ? t->runs[i].measured->faults_count : 0;
    return count;
}

/* One point per fault, beside each other so that equal times do not hide each other. */
static void put_times(struct times *out, const struct compared_target *t, double centre, bool failover) {
    uint32_t all = faults_of(t), every = all / RECOVERY_POINTS_MAX + 1, n = 0;
    for (uint32_t i = 0; i < t->runs_count; i++) {
        const struct measured *m = t->runs[i].measured;
        for (uint32_t f = 0; t->runs[i].done && f < m->faults_count; f++) {
            uint64_t ns = failover ? m->faults[f].failover_ns : m->faults[f].recovery_ns;
            if (n++ % every || ns == MEASURE_NEVER) continue;
            if (ns < LEAST_RECOVERY_NS) ns = LEAST_RECOVERY_NS;
            if (ns > out->most_ns) out->most_ns = ns;
            buffer_printf(&out->data, "%.4f %.6g\n", centre + 0.15 * ((n * 7) % 11 / 5.0 - 1),
                          (double)ns / (double)NS_PER_MS);
            out->count++;
        }
    }
    buffer_printf(&out->data, "NaN NaN\n\n\n"); /* a block is never empty: they are told apart by number */
}

static void recovery_plot(const struct comparison *c, const char *folder, struct compare_plots *p) {
    static const struct plot plot = {"compare_recovery", 300, false};
    struct times times = {.most_ns = 10 * NS_PER_MS};
    struct buffer script = {0};
    buffer_printf(&times.data, "# place ms; per target a block of failovers, then one of recoveries\n");
    for (uint32_t t = 0; t < shown(c); t++) {
        put_times(&times, &c->targets[t], t + 0.8, true);
        put_times(&times, &c->targets[t], t + 1.2, false);
    }
    if (times.count) {
        plot_script_open(&script, &plot);
        plot_latency_axis(&script, 'y', LEAST_RECOVERY_NS, times.most_ns);
        buffer_printf(&script, "set xrange [0.5:%" PRIu32 ".5]\nset xtics (", shown(c));
        for (uint32_t t = 0; t < shown(c); t++) {
            buffer_printf(&script, "%s\"", t ? ", " : "");
            plot_put_name(&script, c->targets[t].name);
            buffer_printf(&script, "\" %" PRIu32, t + 1);
        }
        buffer_printf(&script, ")\nplot ");
        for (uint32_t t = 0; t < shown(c); t++)
            buffer_printf(&script,
                          "\"%s.dat\" index %" PRIu32 " with points pt 7 ps 0.5 lc rgb \"%s\" notitle, \\\n"
                          "     \"\" index %" PRIu32 " with points pt 9 ps 0.6 lc rgb \"%s\" notitle, \\\n     ",
                          plot.name, 2 * t, colour_of(t), 2 * t + 1, colour_of(t));
        buffer_printf(&script,
                      "NaN with points pt 7 ps 0.7 lc rgb \"%s\" title \"failover\", "
                      "NaN with points pt 9 ps 0.8 lc rgb \"%s\" title \"recovery\"\n",
                      palette_light("muted"), palette_light("muted"));
        (void)plot_draw(folder, 0, 0, &plot, &script, &times.data, &p->recovery, &p->why);
    }
    buffer_free(&script);
    buffer_free(&times.data);
}

/* --- all of them -------------------------------------------------------------------------------------------------- */

void compare_plots_make(const struct comparison *c, const char *folder, struct compare_plots *p) {
    *p = (struct compare_plots){0};
    latency_plot(c, folder, p);
    if (p->why.text[0]) return; /* what kept gnuplot from one keeps it from the others */
    double highest = highest_rate(c);
    for (uint32_t t = 0; t < shown(c) && !p->why.text[0]; t++) throughput_plot(c, t, highest, folder, p);
    if (!p->why.text[0]) recovery_plot(c, folder, p);
}

void compare_plots_free(struct compare_plots *p) {
    buffer_free(&p->latency);
    buffer_free(&p->recovery);
    for (uint32_t t = 0; t < COMPARE_CURVES_MAX; t++) buffer_free(&p->throughput[t]);
}
