#include "greet.h"

#include <stdio.h>
#include <string.h>

#ifndef VERSION
#define VERSION "unknown"
#endif

int main(int argc, char *argv[])
{
    char line[256];
    int width;

    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("hello " VERSION);
        return 0;
    }
    greet(line, sizeof line, argv + 1, (size_t)argc - 1);
    puts(line);
    return 0;
}
