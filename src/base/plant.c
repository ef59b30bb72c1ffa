#include "base/plant.h"

#ifdef WICK_PLANTS
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[PLANT_COUNT] = {[PLANT_NONE] = "",
#define X(code, name, what) [code] = name,
                                               PLANT_TABLE(X)
#undef X
};

static enum plant read_plant(void) {
    const char *name = getenv("WICK_PLANT");
    if (name == NULL) return PLANT_NONE;
    for (unsigned i = 0; i < PLANT_COUNT; i++)
        if (strcmp(names[i], name) == 0) return (enum plant)i;
    fprintf(stderr, "WICK_PLANT: no planted bug is called \"%s\"\n", name);
    abort();
}

bool planted(enum plant plant) {
    static int active = -1;
    int now = __atomic_load_n(&active, __ATOMIC_RELAXED);
    if (now < 0) {
        now = (int)read_plant();
        __atomic_store_n(&active, now, __ATOMIC_RELAXED);
    }
    return now == (int)plant;
}
#else
typedef int plant_not_built;
#endif
