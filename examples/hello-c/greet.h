#ifndef GREET_H
#define GREET_H

#include <stddef.h>

/* Writes a greeting of `count` names to `out`, which has room for `size` bytes.
   Returns the greeting's length, as snprintf does: more than fits is cut. */
size_t greet(char *out, size_t size, char *const names[], size_t count);

#endif
