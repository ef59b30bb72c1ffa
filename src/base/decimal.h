/* Exact decimals: value = mantissa / 10^scale. Prices and volumes are decimals everywhere; never doubles.
 *
 * A decimal that came out of `decimal_parse` or `decimal_normalize` is canonical: no trailing zeros, scale 0..38, zero
 * has scale 0, |mantissa| < 10^38. Equal values then have equal bytes. Sums are checked: overflow past 38 digits is
 * ERR_PRECISION, never a wrapped number. */
#ifndef BASE_DECIMAL_H
#define BASE_DECIMAL_H

#include "base/err.h"
#include "base/slice.h"

enum { DECIMAL_DIGITS_MAX = 38, DECIMAL_TEXT_MAX = 42 /* sign, "0.", 38 digits, NUL */ };

struct decimal {
    __int128 mantissa;
    uint8_t scale;
};

/* JSON's number grammar, exponents included ("9.2E-7"), and nothing else: no plus sign, spaces, NaN, "1.", ".5".
 * ERR_SYNTAX, or ERR_PRECISION where the canonical form needs more than 38 digits or a scale above 38. */
enum err decimal_parse(struct slice text, struct decimal *ret_value) MUST_USE;
/* Canonical text without exponent and without trailing zeros, NUL-terminated; returns its length. */
size_t decimal_format(struct decimal value, char text[static DECIMAL_TEXT_MAX]);
/* The same with exactly `digits` decimals, the rest cut off toward zero (not rounded), as Binance's dialect wants. */
size_t decimal_format_fixed(struct decimal value, uint8_t digits, char text[static DECIMAL_TEXT_MAX + 40]);

struct decimal decimal_normalize_wide(struct decimal value); /* decimal_normalize's slow half */
/* Divisibility by ten is a multiplication and a rotation (Hacker's Delight, 10-17). */
static inline struct decimal decimal_normalize(struct decimal value) {
    int64_t narrow = (int64_t)value.mantissa;
    if (narrow != value.mantissa) return decimal_normalize_wide(value);
    uint64_t left = narrow < 0 ? 0 - (uint64_t)narrow : (uint64_t)narrow;
    if (left == 0) return (struct decimal){0, 0};
    while (value.scale > 0) {
        uint64_t tenth = left * UINT64_C(0xcccccccccccccccd);
        tenth = tenth >> 1 | tenth << 63;
        if (tenth > UINT64_MAX / 10) break;
        left = tenth;
        value.scale--;
    }
    value.mantissa = narrow < 0 ? -(__int128)left : (__int128)left;
    return value;
}
int decimal_compare_scaled(struct decimal a, struct decimal b); /* decimal_compare's slow half */
static inline int decimal_compare(struct decimal a, struct decimal b) {
    if (a.scale == b.scale) return (a.mantissa > b.mantissa) - (a.mantissa < b.mantissa);
    return decimal_compare_scaled(a, b);
}
/* The same value at a larger scale; ERR_PRECISION if it does not fit. */
enum err decimal_rescale(struct decimal value, uint8_t scale, struct decimal *ret_value) MUST_USE;
/* Not normalised: the scale is the larger one (add, subtract) or the sum (multiply), normalised only if it must be. */
enum err decimal_add_scaled(struct decimal a, struct decimal b, struct decimal *ret_sum) MUST_USE; /* its slow half */
static inline enum err decimal_add(struct decimal a, struct decimal b, struct decimal *ret_sum) {
    const int64_t small = INT64_MAX / 2;
    if (a.scale == b.scale && a.mantissa <= small && a.mantissa >= -small && b.mantissa <= small &&
        b.mantissa >= -small) {
        ret_sum->mantissa = a.mantissa + b.mantissa;
        ret_sum->scale = a.scale;
        return ERR_OK;
    }
    return decimal_add_scaled(a, b, ret_sum);
}
enum err decimal_subtract(struct decimal a, struct decimal b, struct decimal *ret_difference) MUST_USE;
enum err decimal_multiply(struct decimal a, struct decimal b, struct decimal *ret_product) MUST_USE;
double decimal_to_double(struct decimal value); /* for charts and statistics only */

static inline bool decimal_equal(struct decimal a, struct decimal b) { return decimal_compare(a, b) == 0; }
static inline struct decimal decimal_of(int64_t value) { return (struct decimal){value, 0}; }
/* 10^n for n in 0..38. */
__int128 decimal_power10(uint8_t n);
/* Those of 64 bits, for loops. */
enum { DECIMAL_POWER64_MAX = 18 };
extern const int64_t decimal_power64[DECIMAL_POWER64_MAX + 1];

#endif
