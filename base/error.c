/* Error messages: formatting into a struct error. The text is built aside first, so that an error may quote the one it
 * replaces. */
#include "base/base.h"

#include <stdio.h>

int error_set(struct error *e, const char *format, ...) {
    if (!e) return -1;
    char text[sizeof e->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(e->text, text, sizeof text);
    return -1;
}
