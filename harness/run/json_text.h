/* Text as JSON, for everything in the harness that writes JSON with jansson. */
#ifndef HARROW_RUN_JSON_TEXT_H
#define HARROW_RUN_JSON_TEXT_H

#include <jansson.h>

/* jansson takes UTF-8 only. What is not (an operation's value, say) has those bytes replaced by '?', rather than lose
 * the whole object. NULL is "". */
json_t *json_text(const char *text);

#endif
