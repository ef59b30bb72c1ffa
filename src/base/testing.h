/* For tests only: how many seeds a property test runs, and from which it starts.
 *
 * WICK_SEEDS_DIVISOR runs a fraction (sanitized builds), WICK_LONG ten times as many, WICK_SEED starts elsewhere. */
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
static inline uint64_t testing_seeds(uint64_t full) {
    uint64_t wanted = full * (getenv("WICK_LONG") != NULL ? 10 : 1) / testing_number("WICK_SEEDS_DIVISOR", 1);
    return wanted > 0 ? wanted : 1;
}

static inline uint64_t testing_first_seed(void) { return testing_number("WICK_SEED", 1); }

#endif
