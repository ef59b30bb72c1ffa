/* The name perhaps meant: of those there are, the one nearest to what was given. */
#ifndef BASE_NEAREST_H
#define BASE_NEAREST_H

#include "base/slice.h"

struct nearest {
    struct slice given;
    const char *name; /* NULL: none is near */
    unsigned distance;
};

struct nearest nearest_begin(struct slice given);
void nearest_look(struct nearest *nearest, const char *name);

#endif
