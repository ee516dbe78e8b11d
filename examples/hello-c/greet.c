#include "greet.h"

#include <stdio.h>
#include <string.h>

static void append(char *out, size_t size, size_t *length, const char *text)
{
    if (*length < size)
        snprintf(out + *length, size - *length, "%s", text);
    *length += strlen(text);
}

size_t greet(char *out, size_t size, char *const names[], size_t count)
{
    size_t length = 0;
    append(out, size, &length, "Hello, ");
    if (count == 0)
        append(out, size, &length, "world");
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            append(out, size, &length, i + 1 < count ? ", " : " and ");
        append(out, size, &length, names[i]);
    }
    append(out, size, &length, "!");
    return length;
}
