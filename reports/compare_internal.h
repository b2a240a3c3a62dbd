/* Private to reports/: what the parts of a comparison share. compare.c the texts, compare_plots.c the plots,
 * compare_page.c the page around both. */
#ifndef HARROW_REPORTS_COMPARE_INTERNAL_H
#define HARROW_REPORTS_COMPARE_INTERNAL_H

#include "reports/compare.h"
#include "reports/internal.h"

void compare_put_figure(struct buffer *out, double value); /* three digits that count, more of what is large */
char *compare_row_label(const struct compare_row *row);    /* the caller frees, as of the next */
char *compare_verdicts(const struct compared_target *t);   /* "19 valid, 1 invalid" */
bool compare_all_valid(const struct comparison *c);

#define COMPARE_CURVES_MAX 6u /* targets in the plots: as many as the palette has colours for */
struct compare_plots {        /* each empty where it could not be drawn */
    struct buffer latency, recovery, throughput[COMPARE_CURVES_MAX];
    struct error why; /* of the first that is missing */
};
void compare_plots_make(const struct comparison *c, const char *folder, struct compare_plots *p);
void compare_plots_free(struct compare_plots *p);

#endif
