#include "base/decimal.h"

#include <assert.h>

typedef unsigned __int128 u128;

#define P19 ((u128)10000000000000000000u)
static const u128 power10[DECIMAL_DIGITS_MAX + 1] = {
    1u,
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
    1000000000000000000u,
    P19,
    P19 * 10u,
    P19 * 100u,
    P19 * 1000u,
    P19 * 10000u,
    P19 * 100000u,
    P19 * 1000000u,
    P19 * 10000000u,
    P19 * 100000000u,
    P19 * 1000000000u,
    P19 * 10000000000u,
    P19 * 100000000000u,
    P19 * 1000000000000u,
    P19 * 10000000000000u,
    P19 * 100000000000000u,
    P19 * 1000000000000000u,
    P19 * 10000000000000000u,
    P19 * 100000000000000000u,
    P19 * 1000000000000000000u,
    P19 *P19,
};

const int64_t decimal_power64[DECIMAL_POWER64_MAX + 1] = {
    1,
    10,
    100,
    1000,
    10000,
    100000,
    1000000,
    10000000,
    100000000,
    1000000000,
    10000000000,
    100000000000,
    1000000000000,
    10000000000000,
    100000000000000,
    1000000000000000,
    10000000000000000,
    100000000000000000,
    1000000000000000000,
};

__int128 decimal_power10(uint8_t n) {
    assert(n <= DECIMAL_DIGITS_MAX);
    return (__int128)power10[n];
}

static u128 magnitude(__int128 value) { return value < 0 ? (u128)0 - (u128)value : (u128)value; }

static __int128 with_sign(u128 value, bool negative) { return negative ? -(__int128)value : (__int128)value; }

/* --- parsing --- */

/* The short path reads eight characters as a word whose last byte is the last character, turns them into digits by one
 * xor, closes the gap that the point leaves, and adds the digits up by three multiplications (Lemire, "Quickly parsing
 * eight digits", 2018). It accepts only what is surely right; all else is judged by the general path. */

#define EVERY_BYTE(b) (UINT64_C(0x0101010101010101) * (b))
enum { POINT = '.' ^ '0' };

static inline uint64_t load64(const uint8_t *at) {
    uint64_t v;
    memcpy(&v, at, 8);
    return v;
}

static inline uint64_t load32(const uint8_t *at) {
    uint32_t v;
    memcpy(&v, at, 4);
    return v;
}

/* 1..8 characters as digits at the upper end of a word, zeros below them. */
static inline uint64_t load_right(const uint8_t *at, size_t size) {
    if (size == 8) return load64(at) ^ EVERY_BYTE('0');
    uint64_t v;
    if (size >= 4)
        v = load32(at) | load32(at + size - 4) << 8 * (size - 4);
    else
        v = (uint64_t)at[0] | (uint64_t)at[size / 2] << 8 * (size / 2) | (uint64_t)at[size - 1] << 8 * (size - 1);
    return (v ^ EVERY_BYTE('0')) << (64 - 8 * size);
}

/* 0x80 in bytes that are no digit (0..9): exact up to the first such byte, and behind it if that is a point. */
static inline uint64_t not_digits(uint64_t v) { return ((v + EVERY_BYTE(0x76)) | v) & EVERY_BYTE(0x80); }

static inline uint64_t eight_digits(uint64_t v) {
    v = v * 2561 >> 8;
    v = (v & UINT64_C(0x00ff00ff00ff00ff)) * 6553601 >> 16;
    return (v & UINT64_C(0x0000ffff0000ffff)) * 42949672960001 >> 32;
}

/* Zeros at the upper end, that is, at the end of the text; at most `max`, which is below 8 or v is not 0. */
static inline unsigned trailing_zeros(uint64_t v, unsigned max) {
    unsigned zeros = v == 0 ? max : (unsigned)__builtin_clzll(v) / 8;
    return zeros < max ? zeros : max;
}

/* 1..8 characters. */
static inline bool parse_short(const uint8_t *at, size_t size, uint64_t *ret_mantissa, unsigned *ret_scale) {
    uint64_t v = load_right(at, size), strange = not_digits(v);
    unsigned scale = 0;
    if (strange != 0) {
        unsigned bit = (unsigned)__builtin_ctzll(strange) - 7;
        if ((strange & (strange - 1)) != 0 || (v >> bit & 0xff) != POINT || bit == 56) return false;
        uint64_t above = ~UINT64_C(0) << bit;
        v = (v & ~above) << 8 | (v & above << 8);
        scale = 7 - bit / 8;
        if (v >> 56 == 0) {
            unsigned zeros = trailing_zeros(v, scale);
            v <<= 8 * zeros;
            scale -= zeros;
        }
    }
    *ret_mantissa = eight_digits(v);
    *ret_scale = scale;
    return true;
}

/* 9..17 characters with a point: 1..7 digits before it and at most 8 behind, as most prices and quantities have. */
static inline bool parse_middle(const uint8_t *at, size_t size, uint64_t *ret_mantissa, unsigned *ret_scale) {
    static const uint32_t power[9] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};
    uint64_t head = load64(at) ^ EVERY_BYTE('0'), tail = load64(at + size - 8) ^ EVERY_BYTE('0');
    uint64_t strange = not_digits(head);
    if (strange == 0) return false;
    unsigned bit = (unsigned)__builtin_ctzll(strange) - 7, whole = bit / 8;
    unsigned scale = (unsigned)size - 1 - whole;
    if (whole == 0 || (head >> bit & 0xff) != POINT || scale > 8) return false;
    tail = tail >> (64 - 8 * scale) << (64 - 8 * scale); /* size > 8 and whole < 8, so scale > 0 */
    if (not_digits(tail) != 0) return false;
    unsigned zeros = trailing_zeros(tail, scale);
    tail = zeros == 8 ? 0 : tail << 8 * zeros;
    scale -= zeros;
    *ret_mantissa = eight_digits(head << (64 - bit)) * power[scale] + eight_digits(tail);
    *ret_scale = scale;
    return true;
}

static bool is_digit(uint8_t c) { return (uint8_t)(c - '0') < 10; }

/* `at` is behind the sign. */
static inline bool parse_fast(const uint8_t *at, size_t size, uint64_t *ret_mantissa, unsigned *ret_scale) {
    if (size == 0 || size > 17 || at[0] == '.') return false;
    if (at[0] == '0' && size > 1 && at[1] != '.') return false;
    return size <= 8 ? parse_short(at, size, ret_mantissa, ret_scale) : parse_middle(at, size, ret_mantissa, ret_scale);
}

/* The general path: value = mantissa * 10^(pending + exponent - decimals). */
struct scan {
    u128 mantissa; /* significant digits up to the last that is not zero */
    unsigned digits;
    int64_t pending; /* zeros seen since */
    int64_t decimals;
    int64_t exponent;
    bool too_long;
};

static void scan_digit(struct scan *s, unsigned digit) {
    if (digit == 0) {
        s->pending += s->digits > 0;
        return;
    }
    int64_t more = s->digits > 0 ? s->pending + 1 : 1;
    if (s->too_long || s->digits + more > DECIMAL_DIGITS_MAX) {
        s->too_long = true;
        return;
    }
    s->mantissa = s->mantissa * power10[more] + digit;
    s->digits += (unsigned)more;
    s->pending = 0;
}

static const uint8_t *scan_digits(struct scan *s, const uint8_t *at, const uint8_t *end) {
    for (; at < end && is_digit(*at); at++) scan_digit(s, *at - '0');
    return at;
}

/* Stops at a bound that no text in memory can outweigh with zeros. */
static const uint8_t *scan_exponent(struct scan *s, const uint8_t *at, const uint8_t *end) {
    const int64_t bound = INT64_C(1000000000000000);
    bool negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+')) at++;
    const uint8_t *first = at;
    for (; at < end && is_digit(*at); at++)
        if (s->exponent < bound) s->exponent = s->exponent * 10 + (*at - '0');
    if (negative) s->exponent = -s->exponent;
    return at == first ? NULL : at;
}

/* `at` is behind the sign. */
static enum err scan_number(struct scan *s, const uint8_t *at, const uint8_t *end) {
    const uint8_t *first = at;
    at = scan_digits(s, at, end);
    if (at == first || (at > first + 1 && *first == '0')) return ERR_SYNTAX;
    if (at < end && *at == '.') {
        first = ++at;
        at = scan_digits(s, at, end);
        if (at == first) return ERR_SYNTAX;
        s->decimals = at - first;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at = scan_exponent(s, at + 1, end);
        if (at == NULL) return ERR_SYNTAX;
    }
    return at == end ? ERR_OK : ERR_SYNTAX;
}

static __attribute__((noinline)) enum err parse_general(const uint8_t *at, const uint8_t *end, bool negative,
                                                        struct decimal *ret_value) {
    struct scan s = {0};
    enum err err = scan_number(&s, at, end);
    if (err != ERR_OK) return err;
    if (s.too_long) return ERR_PRECISION;
    int64_t exponent = s.pending + s.exponent - s.decimals;
    if (s.mantissa == 0) exponent = 0;
    if (exponent > 0 && (int64_t)s.digits + exponent > DECIMAL_DIGITS_MAX) return ERR_PRECISION;
    if (exponent < -DECIMAL_DIGITS_MAX) return ERR_PRECISION;
    u128 mantissa = exponent > 0 ? s.mantissa * power10[exponent] : s.mantissa;
    *ret_value = (struct decimal){with_sign(mantissa, negative), exponent < 0 ? (uint8_t)-exponent : 0};
    return ERR_OK;
}

enum err decimal_parse(struct slice text, struct decimal *ret_value) {
    const uint8_t *at = text.data;
    size_t size = text.size;
    bool negative = size > 0 && *at == '-';
    if (negative) at++, size--;
    uint64_t mantissa;
    unsigned scale;
    if (parse_fast(at, size, &mantissa, &scale)) {
        *ret_value = (struct decimal){negative ? -(int64_t)mantissa : (int64_t)mantissa, (uint8_t)scale};
        return ERR_OK;
    }
    return parse_general(at, at + size, negative, ret_value);
}

/* --- formatting --- */

static const char digit_pairs[201] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051525354"
    "555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

/* Writes the digits of `value` so that they end before `end`; returns where they begin. Nothing for zero. */
static char *digits_64(uint64_t value, char *end) {
    while (value >= 100) {
        end -= 2;
        memcpy(end, digit_pairs + value % 100 * 2, 2);
        value /= 100;
    }
    if (value >= 10) {
        end -= 2;
        memcpy(end, digit_pairs + value * 2, 2);
    } else if (value > 0) {
        *--end = (char)('0' + value);
    }
    return end;
}

static char *digits_128(u128 value, char *end) {
    while (value > UINT64_MAX) {
        u128 rest = value / P19;
        char *low = digits_64((uint64_t)(value - rest * P19), end);
        end -= 19;
        while (low > end) *--low = '0';
        value = rest;
    }
    return digits_64((uint64_t)value, end);
}

/* 1 for zero. */
static unsigned digit_count(uint64_t value) {
    unsigned guess = (unsigned)(64 - __builtin_clzll(value | 1)) * 1233 >> 12;
    return guess + (value >= (uint64_t)power10[guess] || guess == 0);
}

/* Eight digits at once, the first in the lowest byte: halves, quarters and eighths of the number side by side in one word,
 * divided by multiplication. */
static uint64_t ascii_digits(uint32_t value) {
    assert(value < 100000000);
    uint64_t four = value / 10000 | (uint64_t)(value % 10000) << 32;
    uint64_t hundreds = four * 5243 >> 19 & UINT64_C(0x0000007f0000007f);
    uint64_t two = hundreds | (four - hundreds * 100) << 16;
    uint64_t tens = two * 103 >> 10 & UINT64_C(0x000f000f000f000f);
    return (tens | (two - tens * 10) << 8) + UINT64_C(0x3030303030303030);
}

enum { NARROW_DIGITS = 16 };

/* Nearly every number: at most 16 digits, at most 15 of them decimals. Whole and decimals are cut from one word by shifts
 * and written in pieces of fixed size, whose rest is overwritten by what follows. */
static char *format_narrow(uint64_t value, uint8_t scale, char *to) {
    static_assert(1 + 1 + 2 * NARROW_DIGITS <= DECIMAL_TEXT_MAX, "sign, point and two pieces have room");
    static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first digit is the lowest byte");
    unsigned count = digit_count(value), whole = count > scale ? count - scale : 1;
    u128 digits = ascii_digits((uint32_t)(value / 100000000)) | (u128)ascii_digits((uint32_t)(value % 100000000)) << 64;
    u128 piece = digits >> 8 * (NARROW_DIGITS - scale - whole);
    memcpy(to, &piece, sizeof piece);
    if (scale == 0) return to + whole;
    piece = digits >> 8 * (NARROW_DIGITS - scale);
    to[whole] = '.';
    memcpy(to + whole + 1, &piece, sizeof piece);
    return to + whole + 1 + scale;
}

static char *format_128(u128 value, uint8_t scale, char *to) {
    char scratch[40];
    char *end = scratch + sizeof scratch;
    char *first = digits_128(value, end);
    assert(end - first <= DECIMAL_DIGITS_MAX);
    size_t count = (size_t)(end - first), whole = count > scale ? count - scale : 0;
    if (whole == 0)
        *to++ = '0';
    else
        to = (char *)memcpy(to, first, whole) + whole;
    if (scale > 0) {
        *to++ = '.';
        for (size_t zeros = scale - (count - whole); zeros > 0; zeros--) *to++ = '0';
        to = (char *)memcpy(to, first + whole, count - whole) + (count - whole);
    }
    return to;
}

size_t decimal_format(struct decimal value, char text[static DECIMAL_TEXT_MAX]) {
    assert(value.scale <= DECIMAL_DIGITS_MAX);
    if (value.scale > 0) value = decimal_normalize(value);
    char *to = text;
    if (value.mantissa < 0) *to++ = '-';
    u128 left = magnitude(value.mantissa);
    bool narrow = left < power10[NARROW_DIGITS] && value.scale < NARROW_DIGITS;
    to = narrow ? format_narrow((uint64_t)left, value.scale, to) : format_128(left, value.scale, to);
    *to = '\0';
    return (size_t)(to - text);
}

size_t decimal_format_fixed(struct decimal value, uint8_t digits, char text[static DECIMAL_TEXT_MAX + 40]) {
    assert(value.scale <= DECIMAL_DIGITS_MAX && digits <= DECIMAL_DIGITS_MAX);
    if (value.scale > digits) {
        value.mantissa /= (__int128)power10[value.scale - digits];
        value.scale = digits;
    }
    size_t size = decimal_format(value, text);
    if (digits == 0) return size;
    size_t have = 0;
    const char *point = memchr(text, '.', size);
    if (point == NULL)
        text[size++] = '.';
    else
        have = (size_t)(text + size - point) - 1;
    for (; have < digits; have++) text[size++] = '0';
    text[size] = '\0';
    return size;
}

/* --- arithmetic --- */

struct decimal decimal_normalize_wide(struct decimal value) {
    assert(value.scale <= DECIMAL_DIGITS_MAX);
    for (; value.scale > 0 && value.mantissa % 10 == 0; value.scale--) value.mantissa /= 10;
    return value;
}

/* A magnitude of 256 bits, where 128 do not do. */
struct wide {
    uint64_t limb[4]; /* least significant first */
};

static struct wide wide_multiply(u128 a, u128 b) {
    const uint64_t x[2] = {(uint64_t)a, (uint64_t)(a >> 64)}, y[2] = {(uint64_t)b, (uint64_t)(b >> 64)};
    struct wide product = {{0}};
    for (unsigned i = 0; i < 2; i++) {
        uint64_t carry = 0;
        for (unsigned j = 0; j < 2; j++) {
            u128 part = (u128)x[i] * y[j] + product.limb[i + j] + carry;
            product.limb[i + j] = (uint64_t)part;
            carry = (uint64_t)(part >> 64);
        }
        product.limb[i + 2] = carry;
    }
    return product;
}

static int wide_compare(const struct wide *a, const struct wide *b) {
    for (unsigned i = 4; i-- > 0;)
        if (a->limb[i] != b->limb[i]) return a->limb[i] < b->limb[i] ? -1 : 1;
    return 0;
}

/* a + b, or a - b where a >= b. */
static struct wide wide_add(const struct wide *a, const struct wide *b) {
    struct wide sum;
    u128 carry = 0;
    for (unsigned i = 0; i < 4; i++) {
        carry += (u128)a->limb[i] + b->limb[i];
        sum.limb[i] = (uint64_t)carry;
        carry >>= 64;
    }
    assert(carry == 0);
    return sum;
}

static struct wide wide_subtract(const struct wide *a, const struct wide *b) {
    struct wide difference;
    uint64_t borrow = 0;
    for (unsigned i = 0; i < 4; i++) {
        u128 part = (u128)a->limb[i] - b->limb[i] - borrow;
        difference.limb[i] = (uint64_t)part;
        borrow = (uint64_t)(part >> 64) & 1;
    }
    assert(borrow == 0);
    return difference;
}

/* Divides by ten, returns the remainder. */
static unsigned wide_divide10(struct wide *value) {
    u128 rest = 0;
    for (unsigned i = 4; i-- > 0;) {
        rest = rest << 64 | value->limb[i];
        value->limb[i] = (uint64_t)(rest / 10);
        rest %= 10;
    }
    return (unsigned)rest;
}

/* Takes zeros off until 38 digits and a scale of 38 hold the value. */
static enum err wide_fit(struct wide value, unsigned scale, bool negative, struct decimal *ret_value) {
    for (;; scale--) {
        u128 low = (u128)value.limb[1] << 64 | value.limb[0];
        bool fits = value.limb[2] == 0 && value.limb[3] == 0 && low < P19 * P19;
        if (fits && (scale <= DECIMAL_DIGITS_MAX || low == 0)) {
            *ret_value = (struct decimal){with_sign(low, negative), low == 0 ? 0 : (uint8_t)scale};
            return ERR_OK;
        }
        if (scale == 0 || wide_divide10(&value) != 0) return ERR_PRECISION;
    }
}

static __attribute__((noinline)) enum err add_wide(struct decimal a, struct decimal b, struct decimal *ret_sum) {
    uint8_t scale = a.scale > b.scale ? a.scale : b.scale;
    struct wide x = wide_multiply(magnitude(a.mantissa), power10[scale - a.scale]);
    struct wide y = wide_multiply(magnitude(b.mantissa), power10[scale - b.scale]);
    bool a_negative = a.mantissa < 0, b_negative = b.mantissa < 0;
    if (a_negative == b_negative) return wide_fit(wide_add(&x, &y), scale, a_negative, ret_sum);
    if (wide_compare(&x, &y) >= 0) return wide_fit(wide_subtract(&x, &y), scale, a_negative, ret_sum);
    return wide_fit(wide_subtract(&y, &x), scale, b_negative, ret_sum);
}

static bool in_range(__int128 mantissa) {
    return mantissa < (__int128)(P19 * P19) && mantissa > -(__int128)(P19 * P19);
}

enum err decimal_add_scaled(struct decimal a, struct decimal b, struct decimal *ret_sum) {
    assert(a.scale <= DECIMAL_DIGITS_MAX && b.scale <= DECIMAL_DIGITS_MAX);
    assert(in_range(a.mantissa) && in_range(b.mantissa));
    uint8_t scale = a.scale > b.scale ? a.scale : b.scale;
    __int128 x, y, sum;
    if (__builtin_mul_overflow(a.mantissa, (__int128)power10[scale - a.scale], &x) ||
        __builtin_mul_overflow(b.mantissa, (__int128)power10[scale - b.scale], &y) ||
        __builtin_add_overflow(x, y, &sum) || !in_range(sum))
        return add_wide(a, b, ret_sum);
    *ret_sum = (struct decimal){sum, scale};
    return ERR_OK;
}

enum err decimal_subtract(struct decimal a, struct decimal b, struct decimal *ret_difference) {
    b.mantissa = -b.mantissa;
    return decimal_add(a, b, ret_difference);
}

enum err decimal_multiply(struct decimal a, struct decimal b, struct decimal *ret_product) {
    assert(a.scale <= DECIMAL_DIGITS_MAX && b.scale <= DECIMAL_DIGITS_MAX);
    assert(in_range(a.mantissa) && in_range(b.mantissa));
    unsigned scale = (unsigned)a.scale + b.scale;
    __int128 product;
    if (scale <= DECIMAL_DIGITS_MAX && !__builtin_mul_overflow(a.mantissa, b.mantissa, &product) && in_range(product)) {
        *ret_product = (struct decimal){product, (uint8_t)scale};
        return ERR_OK;
    }
    bool negative = (a.mantissa < 0) != (b.mantissa < 0);
    return wide_fit(wide_multiply(magnitude(a.mantissa), magnitude(b.mantissa)), scale, negative, ret_product);
}

enum err decimal_rescale(struct decimal value, uint8_t scale, struct decimal *ret_value) {
    assert(value.scale <= DECIMAL_DIGITS_MAX && scale >= value.scale && scale <= DECIMAL_DIGITS_MAX);
    __int128 mantissa;
    if (__builtin_mul_overflow(value.mantissa, (__int128)power10[scale - value.scale], &mantissa) ||
        !in_range(mantissa))
        return ERR_PRECISION;
    *ret_value = (struct decimal){mantissa, scale};
    return ERR_OK;
}

int decimal_compare_scaled(struct decimal a, struct decimal b) {
    assert(a.scale <= DECIMAL_DIGITS_MAX && b.scale <= DECIMAL_DIGITS_MAX);
    /* One that overflows at the other's scale is the larger in magnitude: the other is below 10^38. */
    __int128 x = a.mantissa, y = b.mantissa;
    if (a.scale < b.scale && __builtin_mul_overflow(x, (__int128)power10[b.scale - a.scale], &x))
        return a.mantissa < 0 ? -1 : 1;
    if (b.scale < a.scale && __builtin_mul_overflow(y, (__int128)power10[a.scale - b.scale], &y))
        return b.mantissa < 0 ? 1 : -1;
    return (x > y) - (x < y);
}

double decimal_to_double(struct decimal value) {
    return (double)((long double)value.mantissa / (long double)power10[value.scale]);
}
