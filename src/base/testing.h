/* For tests only: how many seeds a property test runs, and from which it starts.
 *
 * WICK_SEEDS is a percentage of the usual number: 10 in sanitized builds, 1000 in `./check --long`. WICK_SEED starts
 * elsewhere. */
#ifndef BASE_TESTING_H
#define BASE_TESTING_H

#include <stdint.h>
#include <stdlib.h>

static inline uint64_t testing_number(const char *name, uint64_t fallback) {
    const char *text = getenv(name);
    uint64_t number = text != NULL ? strtoull(text, NULL, 10) : 0;
    return number > 0 ? number : fallback;
}

/* At least one. */
static inline uint64_t testing_seeds(uint64_t usual) {
    uint64_t wanted = usual * testing_number("WICK_SEEDS", 100) / 100;
    return wanted > 0 ? wanted : 1;
}

static inline uint64_t testing_first_seed(void) { return testing_number("WICK_SEED", 1); }

#endif
