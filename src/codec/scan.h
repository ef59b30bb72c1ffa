/* Numbers and strings read straight out of text, eight bytes at a time: the inner loops of every decoder.
 *
 * The fast ones (`scan_decimal`, `scan_u63`, `scan_name`) take only the common plain forms and say false for everything
 * else, which then goes to a general parser that decides; so they never accept more than it does. They read up to
 * SCAN_SLACK bytes behind the place they are given, whatever stands there. Little-endian machines. */
#ifndef CODEC_SCAN_H
#define CODEC_SCAN_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined __SSE2__ && !defined SCAN_PLAIN /* tests ask for the way of machines without it */
#define SCAN_SSE2
#include <emmintrin.h>
#endif

#include "base/slice.h"

/* Inlined even where it is called often: a decoder's loop is several times faster when each number has its own branches. */
#define SCAN_INLINE static inline __attribute__((always_inline))

/* Sixteen bytes at any address; compared and masked whole. */
typedef uint64_t scan_pair __attribute__((vector_size(16)));
typedef uint64_t scan_pair_unaligned __attribute__((vector_size(16), aligned(1), may_alias));

enum { SCAN_SLACK = 32, SCAN_DIGITS_MAX = 18 /* a mantissa of an int64 */ };

static inline uint64_t scan_load8(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, 8);
    return word;
}

#define SCAN_ONES 0x0101010101010101u
#define SCAN_HIGHS 0x8080808080808080u

/* `word` is text xor "00000000": digits are 0..9. How many of its first bytes are digits. */
static inline unsigned scan_digit_count(uint64_t word) {
    uint64_t others = (((word & ~SCAN_HIGHS) + 0x7676767676767676u) | word) & SCAN_HIGHS;
    return others == 0 ? 8 : (unsigned)__builtin_ctzll(others) >> 3;
}

/* The number written by the eight digits of `word`, each 0..9, the first in the lowest byte. */
static inline uint64_t scan_value8(uint64_t word) {
    word = word * 10 + (word >> 8);
    return (((word & 0x000000FF000000FFu) * 0x000F424000000064u) +
            ((word >> 16 & 0x000000FF000000FFu) * 0x0000271000000001u)) >>
           32;
}

/* The first `count` (1..8) digits moved to the end, zeroes before them. */
static inline uint64_t scan_shift(uint64_t word, unsigned count) { return word << (64 - 8 * count); }

static const uint64_t scan_power10[19] = {1u,
                                          10u,
                                          100u,
                                          1000u,
                                          10000u,
                                          100000u,
                                          1000000u,
                                          10000000u,
                                          100000000u,
                                          1000000000u,
                                          10000000000u,
                                          100000000000u,
                                          1000000000000u,
                                          10000000000000u,
                                          100000000000000u,
                                          1000000000000000u,
                                          10000000000000000u,
                                          100000000000000000u,
                                          1000000000000000000u};

#define SCAN_ZEROES 0x3030303030303030u

/* Which of sixteen bytes are no digits: bit i for byte i. */
SCAN_INLINE unsigned scan_others16(const uint8_t *at) {
#ifdef SCAN_SSE2
    __m128i digits = _mm_xor_si128(_mm_loadu_si128((const __m128i *)at), _mm_set1_epi8('0'));
    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_max_epu8(digits, _mm_set1_epi8(10)), digits));
#else
    unsigned mask = 0;
    for (int i = 0; i < 2; i++) {
        uint64_t word = scan_load8(at + 8 * i) ^ SCAN_ZEROES;
        uint64_t others = (((word & ~SCAN_HIGHS) + 0x7676767676767676u) | word) & SCAN_HIGHS;
        mask |= (unsigned)((others >> 7) * 0x0102040810204080u >> 56) << (8 * i);
    }
    return mask;
#endif
}

/* Of 16 digits. */
static inline bool scan_u63_long(const uint8_t **at, int64_t *ret_value) {
    const uint8_t *p = *at;
    uint64_t word = scan_load8(p) ^ SCAN_ZEROES;
    unsigned count = scan_digit_count(word);
    if (__builtin_expect(count == 0 || (p[0] == '0' && count > 1), 0)) return false;
    uint64_t value = scan_value8(scan_shift(word, count));
    if (count == 8) {
        word = scan_load8(p + 8) ^ SCAN_ZEROES;
        unsigned more = scan_digit_count(word);
        if (more == 8 && (uint8_t)(p[16] - '0') <= 9) return false;
        if (more > 0) value = value * scan_power10[more] + scan_value8(scan_shift(word, more));
        count += more;
    }
    *at = p + count;
    *ret_value = (int64_t)value;
    return true;
}

/* Digits without a superfluous leading zero, at most 16; *at moves behind them. Where they end is found in one step, so that
 * what follows them need not wait for their value. */
SCAN_INLINE bool scan_u63(const uint8_t **at, int64_t *ret_value) {
    const uint8_t *p = *at;
    unsigned others = scan_others16(p);
    if (__builtin_expect(others == 0, 0)) return scan_u63_long(at, ret_value);
    unsigned count = (unsigned)__builtin_ctz(others);
    if (__builtin_expect(count == 0 || (p[0] == '0' && count > 1), 0)) return false;
    *at = p + count;
    uint64_t word = scan_load8(p) ^ SCAN_ZEROES;
    if (count <= 8) {
        *ret_value = (int64_t)scan_value8(scan_shift(word, count));
        return true;
    }
    uint64_t low = scan_value8(scan_shift(scan_load8(p + 8) ^ SCAN_ZEROES, count - 8));
    *ret_value = (int64_t)(scan_value8(word) * scan_power10[count - 8] + low);
    return true;
}

/* The digits behind the point: their value without trailing zeroes and how many digits that has; *at moves behind all of
 * them. False for none, or more than 16. */
static inline bool scan_fraction(const uint8_t **at, uint64_t *ret_value, unsigned *ret_digits) {
    const uint8_t *p = *at;
    uint64_t word = scan_load8(p) ^ SCAN_ZEROES;
    unsigned count = scan_digit_count(word);
    if (__builtin_expect(count == 0, 0)) return false;
    if (count == 8) {
        uint64_t word2 = scan_load8(p + 8) ^ SCAN_ZEROES;
        unsigned more = scan_digit_count(word2);
        if (more > 0) {
            if (more == 8 && (uint8_t)(p[16] - '0') <= 9) return false;
            *at = p + 8 + more;
            uint64_t low = scan_shift(word2, more);
            unsigned kept = low == 0 ? 0 : more - ((unsigned)__builtin_clzll(low) >> 3);
            if (kept > 0) {
                *ret_value = scan_value8(word) * scan_power10[kept] + scan_value8(scan_shift(word2, kept));
                *ret_digits = 8 + kept;
                return true;
            }
            count = 8;
        } else {
            *at = p + 8;
        }
    } else {
        *at = p + count;
    }
    uint64_t shifted = scan_shift(word, count);
    if (shifted == 0) {
        *ret_value = 0;
        *ret_digits = 0;
        return true;
    }
    unsigned zeroes = (unsigned)__builtin_clzll(shifted) >> 3;
    /* Dividing by a power of ten is moving the digits back. */
    *ret_value = scan_value8(shifted << (8 * zeroes));
    *ret_digits = count - zeroes;
    return true;
}

/* More than eight digits before or behind the point. */
static inline bool scan_decimal_long(const uint8_t **at, int64_t *ret_mantissa, uint8_t *ret_scale) {
    const uint8_t *p = *at;
    uint64_t word = scan_load8(p) ^ SCAN_ZEROES;
    unsigned count = scan_digit_count(word);
    if (__builtin_expect(count == 0 || (p[0] == '0' && count > 1), 0)) return false;
    uint64_t value = scan_value8(scan_shift(word, count));
    if (__builtin_expect(count == 8, 0)) {
        word = scan_load8(p + 8) ^ SCAN_ZEROES;
        unsigned more = scan_digit_count(word);
        if (more == 8) return false;
        if (more > 0) value = value * scan_power10[more] + scan_value8(scan_shift(word, more));
        count += more;
    }
    p += count;
    if (*p != '.') {
        *at = p;
        *ret_mantissa = (int64_t)value;
        *ret_scale = 0;
        return true;
    }
    p++;
    uint64_t fraction = 0;
    unsigned digits = 0;
    if (!scan_fraction(&p, &fraction, &digits) || count + digits > SCAN_DIGITS_MAX) return false;
    *at = p;
    *ret_mantissa = (int64_t)(value * scan_power10[digits] + fraction);
    *ret_scale = (uint8_t)digits;
    return true;
}

/* A plain decimal, not negative, without exponent and of at most SCAN_DIGITS_MAX digits, in canonical form
 * (base/decimal.h). *at moves behind it; the caller checks what stands there, which also finds out exponents. */
SCAN_INLINE bool scan_decimal(const uint8_t **at, int64_t *ret_mantissa, uint8_t *ret_scale) {
    const uint8_t *p = *at;
    unsigned others = scan_others16(p), count = (unsigned)__builtin_ctz(others | 1u << 16);
    if (__builtin_expect(count - 1 > 7, 0)) return count > 0 && scan_decimal_long(at, ret_mantissa, ret_scale);
    if (__builtin_expect(p[0] == '0' && count > 1, 0)) return false;
    uint64_t value = scan_value8(scan_shift(scan_load8(p) ^ SCAN_ZEROES, count));
    if (p[count] != '.') {
        *at = p + count;
        *ret_mantissa = (int64_t)value;
        *ret_scale = 0;
        return true;
    }
    others &= others - 1;
    unsigned end = (unsigned)__builtin_ctz(others | 1u << 31), digits = end - count - 1;
    if (__builtin_expect(others == 0, 0)) { /* it goes on behind the sixteen bytes */
        digits = scan_digit_count(scan_load8(p + count + 1) ^ SCAN_ZEROES);
        if (digits == 8 && (uint8_t)(p[count + 9] - '0') <= 9) return scan_decimal_long(at, ret_mantissa, ret_scale);
        end = count + 1 + digits;
    }
    if (__builtin_expect(digits - 1 > 7, 0)) return digits > 0 && scan_decimal_long(at, ret_mantissa, ret_scale);
    *at = p + end;
    uint64_t fraction = scan_shift(scan_load8(p + count + 1) ^ SCAN_ZEROES, digits);
    unsigned zeroes = fraction == 0 ? digits : (unsigned)__builtin_clzll(fraction) >> 3;
    /* Dividing by a power of ten is moving the digits back; in two steps, for eight zeroes. */
    fraction = fraction << (4 * zeroes) << (4 * zeroes);
    digits -= zeroes;
    *ret_mantissa = (int64_t)(value * scan_power10[digits] + scan_value8(fraction));
    *ret_scale = (uint8_t)digits;
    return true;
}

/* The length of a string up to its quote, at most 15, and its bytes and the quote with zeroes behind them: the quote tells a
 * string from one with NUL bytes behind it. Escapes and control bytes are not looked for: the caller knows the whole words.
 * False if no quote is that near. */
SCAN_INLINE bool scan_name(const uint8_t *at, unsigned *ret_size, scan_pair *ret_bytes) {
    uint64_t word = scan_load8(at), quotes = word ^ 0x2222222222222222u;
    quotes = (quotes - SCAN_ONES) & ~quotes & SCAN_HIGHS;
    if (__builtin_expect(quotes != 0, 1)) {
        *ret_size = (unsigned)__builtin_ctzll(quotes) >> 3;
        *ret_bytes = (scan_pair){word & (quotes ^ (quotes - 1)), 0};
        return true;
    }
    uint64_t word2 = scan_load8(at + 8);
    quotes = word2 ^ 0x2222222222222222u;
    quotes = (quotes - SCAN_ONES) & ~quotes & SCAN_HIGHS;
    if (quotes == 0) return false;
    *ret_size = 8 + ((unsigned)__builtin_ctzll(quotes) >> 3);
    *ret_bytes = (scan_pair){word, word2 & (quotes ^ (quotes - 1))};
    return true;
}

/* --- bounded ones, which read nothing at or behind `end` --- */

/* The first quote or backslash, or `end`. */
static inline const uint8_t *scan_string(const uint8_t *at, const uint8_t *end) {
    while (end - at >= 8) {
        uint64_t word = scan_load8(at), quote = word ^ 0x2222222222222222u, slash = word ^ 0x5C5C5C5C5C5C5C5Cu;
        uint64_t found = (((quote - SCAN_ONES) & ~quote) | ((slash - SCAN_ONES) & ~slash)) & SCAN_HIGHS;
        if (found != 0) return at + ((unsigned)__builtin_ctzll(found) >> 3);
        at += 8;
    }
    while (at < end && *at != '"' && *at != '\\') at++;
    return at;
}

/* The end of the longest JSON number that starts at `at`, or `at` if none does. */
static inline const uint8_t *scan_json_number(const uint8_t *at, const uint8_t *end) {
    const uint8_t *p = at;
    if (p < end && *p == '-') p++;
    if (p == end || (uint8_t)(*p - '0') > 9) return at;
    if (*p++ != '0')
        while (p < end && (uint8_t)(*p - '0') <= 9) p++;
    if (p < end && *p == '.') {
        if (p + 1 == end || (uint8_t)(p[1] - '0') > 9) return p;
        p += 2;
        while (p < end && (uint8_t)(*p - '0') <= 9) p++;
    }
    if (p < end && (*p | 32) == 'e') {
        const uint8_t *e = p + 1;
        if (e < end && (*e == '+' || *e == '-')) e++;
        if (e == end || (uint8_t)(*e - '0') > 9) return p;
        while (e < end && (uint8_t)(*e - '0') <= 9) e++;
        p = e;
    }
    return p;
}

#endif
