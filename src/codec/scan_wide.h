/* The inner loops of scan.h and shape.h for machines with AVX2 and BMI2, chosen while the program runs. They take what
 * those take, or less: a caller that gets false asks them.
 *
 * A number is one look at sixteen bytes: where it ends and where its point stands are bits of masks, the digits are moved
 * together by one shuffle, and four multiplications make the value; nothing branches on how many digits there are. Each
 * reads up to SCAN_SLACK bytes behind the place it is given. */
#ifndef CODEC_SCAN_WIDE_H
#define CODEC_SCAN_WIDE_H

#include "codec/shape.h"

#ifdef __x86_64__
#include <immintrin.h>

#define SCAN_WIDE_TARGET __attribute__((target("avx2,bmi,bmi2")))
#define SCAN_WIDE static inline __attribute__((always_inline, target("avx2,bmi,bmi2")))

static inline bool scan_wide_supported(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}

/* Read at offset n: sixteen numbers from n - 16 on. */
static const int8_t scan_wide_count[32] = {-16, -15, -14, -13, -12, -11, -10, -9, -8, -7, -6, -5, -4, -3, -2, -1,
                                           0,   1,   2,   3,   4,   5,   6,   7,  8,  9,  10, 11, 12, 13, 14, 15};
/* Read at offset 16 - n: n + 1 bytes of ones, then zeroes. */
static const uint8_t scan_wide_ones[32] = {255, 255, 255, 255, 255, 255, 255, 255, 255,
                                           255, 255, 255, 255, 255, 255, 255, 255};

SCAN_WIDE unsigned scan_wide_mask(__m128i bytes) { return (unsigned)_mm_movemask_epi8(bytes); }

/* The value of sixteen digits, the first the most significant. */
SCAN_WIDE uint64_t scan_wide_value(__m128i digits) {
    const __m128i tens = _mm_set1_epi16(10 | 1 << 8), hundreds = _mm_set1_epi32(100 | 1 << 16);
    const __m128i thousands = _mm_set1_epi32(10000 | 1 << 16);
    __m128i pairs = _mm_maddubs_epi16(digits, tens);
    __m128i fours = _mm_madd_epi16(pairs, hundreds);
    __m128i eights = _mm_madd_epi16(_mm_packus_epi32(fours, fours), thousands);
    uint64_t both = (uint64_t)_mm_cvtsi128_si64(eights);
    return (uint32_t)both * UINT64_C(100000000) + (both >> 32);
}

/* Which of 64 bytes are commas or ends of lines: where the columns of a row end does not depend on what is in them, so that
 * the numbers are read beside each other, not one after the other. */
SCAN_WIDE uint64_t scan_wide_columns(const uint8_t *at) {
    const __m256i comma = _mm256_set1_epi8(','), newline = _mm256_set1_epi8('\n');
    __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)at);
    __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(at + 32));
    low = _mm256_or_si256(_mm256_cmpeq_epi8(low, comma), _mm256_cmpeq_epi8(low, newline));
    high = _mm256_or_si256(_mm256_cmpeq_epi8(high, comma), _mm256_cmpeq_epi8(high, newline));
    return (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;
}

/* As shape_literal, where the literal has at most 32 bytes. */
SCAN_WIDE bool scan_wide_literal(const struct shape_slot *slot, const uint8_t **at) {
    __m256i text = _mm256_loadu_si256((const __m256i *)(const void *)*at);
    __m256i literal = _mm256_loadu_si256((const __m256i *)(const void *)slot->literal);
    __m256i mask = _mm256_loadu_si256((const __m256i *)(const void *)slot->mask);
    *at += slot->size;
    return _mm256_testz_si256(_mm256_xor_si256(text, literal), mask);
}

/* As scan_name; *at moves to the quote. */
SCAN_WIDE bool scan_wide_name(const uint8_t **at, scan_pair *ret_bytes) {
    __m128i text = _mm_loadu_si128((const __m128i *)(const void *)*at);
    unsigned quotes = scan_wide_mask(_mm_cmpeq_epi8(text, _mm_set1_epi8('"')));
    unsigned size = _tzcnt_u32(quotes | 1u << 16);
    __m128i ones = _mm_loadu_si128((const __m128i *)(const void *)(scan_wide_ones + 16 - size));
    *ret_bytes = (scan_pair)_mm_and_si128(text, ones);
    *at += size;
    return quotes != 0;
}

/* As scan_u63, of at most 15 digits. */
SCAN_WIDE bool scan_wide_u63(const uint8_t **at, int64_t *ret_value) {
    const uint8_t *p = *at;
    __m128i digits = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)(const void *)p), _mm_set1_epi8('0'));
    unsigned others = scan_wide_mask(_mm_cmpeq_epi8(_mm_max_epu8(digits, _mm_set1_epi8(10)), digits));
    unsigned count = _tzcnt_u32(others | 1u << 16);
    if (__builtin_expect(count - 1 > 14 || (p[0] == '0' && count > 1), 0)) return false;
    __m128i order = _mm_loadu_si128((const __m128i *)(const void *)(scan_wide_count + count));
    *at = p + count;
    *ret_value = (int64_t)scan_wide_value(_mm_shuffle_epi8(digits, order));
    return true;
}

/* As scan_decimal, of less than 16 bytes. */
SCAN_WIDE bool scan_wide_decimal(const uint8_t **at, int64_t *ret_mantissa, uint8_t *ret_scale) {
    const uint8_t *p = *at;
    __m128i digits = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)(const void *)p), _mm_set1_epi8('0'));
    unsigned others = scan_wide_mask(_mm_cmpeq_epi8(_mm_max_epu8(digits, _mm_set1_epi8(10)), digits));
    unsigned points = scan_wide_mask(_mm_cmpeq_epi8(digits, _mm_set1_epi8((char)('.' - '0'))));
    unsigned zeroes = scan_wide_mask(_mm_cmpeq_epi8(digits, _mm_setzero_si128()));
    unsigned point = _blsi_u32(others) & points; /* what ends the whole digits, if that is a point */
    unsigned whole = _tzcnt_u32(others | 1u << 16), end = _tzcnt_u32((others ^ point) | 1u << 16);
    /* Digits before the point, digits behind it, all of it within the sixteen bytes, no superfluous zero. */
    bool bad = whole == 0 || end == 16 || (point != 0 && end == whole + 1) || ((zeroes & 1) != 0 && whole > 1);
    if (__builtin_expect(bad, 0)) return false;
    /* Trailing zeroes behind the point do not count. */
    unsigned kept = 31 - (unsigned)__builtin_clz(_bzhi_u32(~zeroes & ~point, end) << 1 | 1);
    if (kept < whole) kept = whole;
    unsigned scale = kept - whole - (kept > whole);
    __m128i order = _mm_loadu_si128((const __m128i *)(const void *)(scan_wide_count + whole + scale));
    __m128i behind = _mm_cmpgt_epi8(order, _mm_set1_epi8((char)(whole - 1)));
    *at = p + end;
    *ret_mantissa = (int64_t)scan_wide_value(_mm_shuffle_epi8(digits, _mm_sub_epi8(order, behind)));
    *ret_scale = (uint8_t)scale;
    return true;
}

#endif
#endif
