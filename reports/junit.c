/* report_junit: the results of a suite as JUnit XML, as CI servers read it. Invalid is a failure, unknown an error:
 * neither passes. */
#include "reports/internal.h"

#include <inttypes.h>

static void attribute(struct buffer *out, const char *name, const char *text) {
    buffer_printf(out, " %s=\"", name);
    xml_bytes(out, bytes_str(text_or(text, "")));
    buffer_printf(out, "\"");
}

/* An attribute is for lists and tooltips: the first line does. */
static struct bytes first_line(const char *text) {
    return bytes_of(text, strcspn(text, "\n"));
}

static void problem(struct buffer *out, const struct junit_case *c) {
    const char *element = c->verdict == VERDICT_INVALID ? "failure" : "error";
    const char *detail = text_or(c->detail, verdict_name(c->verdict));
    buffer_printf(out, "      <%s type=\"%s\" message=\"", element, verdict_name(c->verdict));
    xml_bytes(out, first_line(detail));
    buffer_printf(out, "\">");
    xml_bytes(out, bytes_str(detail));
    if (text_or(c->output, NULL)) {
        buffer_printf(out, "\n");
        xml_bytes(out, bytes_str(c->output));
    }
    buffer_printf(out, "</%s>\n", element);
}

static void test_case(struct buffer *out, const struct junit_case *c) {
    buffer_printf(out, "    <testcase");
    attribute(out, "classname", c->suite);
    attribute(out, "name", c->name);
    buffer_printf(out, " time=\"%.3f\">\n", c->seconds);
    if (c->verdict != VERDICT_VALID) problem(out, c);
    if (text_or(c->output, NULL)) {
        buffer_printf(out, "      <system-out>");
        xml_bytes(out, bytes_str(c->output));
        buffer_printf(out, "</system-out>\n");
    }
    buffer_printf(out, "    </testcase>\n");
}

int report_junit(const char *path, const char *suite, const struct junit_case *cases, size_t count, struct error *e) {
    size_t failures = 0, errors = 0;
    double time = 0;
    for (size_t i = 0; i < count; i++) {
        failures += cases[i].verdict == VERDICT_INVALID;
        errors += cases[i].verdict == VERDICT_UNKNOWN;
        time += cases[i].seconds;
    }
    struct buffer out = {0}, totals = {0};
    attribute(&totals, "name", suite);
    buffer_printf(&totals, " tests=\"%zu\" failures=\"%zu\" errors=\"%zu\" time=\"%.3f\"", count, failures, errors,
                  time);
    buffer_append(&totals, "", 1);
    buffer_printf(&out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites%s>\n  <testsuite%s skipped=\"0\">\n",
                  (char *)totals.data, (char *)totals.data);
    for (size_t i = 0; i < count; i++) test_case(&out, &cases[i]);
    buffer_printf(&out, "  </testsuite>\n</testsuites>\n");
    int result = file_replace(path, &out, e);
    buffer_free(&totals);
    buffer_free(&out);
    return result;
}
