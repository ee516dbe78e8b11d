#include "greet.h"

#include <stdio.h>
#include <string.h>

static int failures;

static void check(const char *what, int good)
{
    printf("%s %s\n", good ? "ok" : "FAILED", what);
    failures += !good;
}

int main(void)
{
    char out[64], tight[8];
    char *const names[] = {"Ada", "Grace", "Barbara"};

    greet(out, sizeof out, names, 0);
    check("nobody in particular", strcmp(out, "Hello, world!") == 0);
    greet(out, sizeof out, names, 1);
    check("one name", strcmp(out, "Hello, Ada!") == 0);
    greet(out, sizeof out, names, 2);
    check("two names", strcmp(out, "Hello, Ada and Grace!") == 0);
    greet(out, sizeof out, names, 3);
    check("three names", strcmp(out, "Hello, Ada, Grace and Barbara!") == 0);
    check("the whole length is told", greet(tight, sizeof tight, names, 1) == 11);
    check("what does not fit is cut", strcmp(tight, "Hello, ") == 0);
    return failures != 0;
}
