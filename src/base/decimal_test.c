/* Decimals: golden vectors, and properties against a slow reference that works on digit strings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/decimal.h"
#include "base/splitmix.h"
#include "base/testing.h"

static uint64_t random_state;
static uint64_t random_next(void) { return splitmix_next(&random_state); }
static unsigned random_below(unsigned n) { return (unsigned)(random_next() % n); }

static struct decimal parsed(const char *text) {
    struct decimal value;
    if (decimal_parse(slice_text(text), &value) != ERR_OK) fail_msg("%s does not parse", text);
    return value;
}

static void assert_text(struct decimal value, const char *expected) {
    char text[DECIMAL_TEXT_MAX];
    assert_int_equal(decimal_format(value, text), strlen(expected));
    assert_string_equal(text, expected);
}

static void test_parse_golden(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"0", "0"},
        {"-0", "0"},
        {"-0.000", "0"},
        {"0.0e5", "0"},
        {"0e-999999999999999999999", "0"},
        {"1", "1"},
        {"-1", "-1"},
        {"53487.67", "53487.67"},
        {"53487.670", "53487.67"},
        {"53487.67000000", "53487.67"},
        {"100", "100"},
        {"100.00", "100"},
        {"0.1", "0.1"},
        {"0.00000001", "0.00000001"},
        {"9.2E-7", "0.00000092"},
        {"1e5", "100000"},
        {"1.5e+3", "1500"},
        {"12345678", "12345678"},
        {"123456789", "123456789"},
        {"1234567.8", "1234567.8"},
        {"12345678.9", "12345678.9"},
        {"0.123456", "0.123456"},
        {"1234567890123456", "1234567890123456"},
        {"123456789012.3456", "123456789012.3456"},
        {"1.234567890123456", "1.234567890123456"},
        {"12345678.12345678", "12345678.12345678"},
        {"0.00000000000000", "0"},
        {"99999999999999999999999999999999999999", "99999999999999999999999999999999999999"},
        {"0.99999999999999999999999999999999999999", "0.99999999999999999999999999999999999999"},
        {"0.00000000000000000000000000000000000001", "0.00000000000000000000000000000000000001"},
        {"1e37", "10000000000000000000000000000000000000"},
        {"1e-38", "0.00000000000000000000000000000000000001"},
        {"100000000000000000000000000000000000000000e-10", "10000000000000000000000000000000"},
        {"1.00000000000000000000000000000000000000000000000000", "1"},
        {"0.00000000000000000000000000000000000000000000000001e20", "0.000000000000000000000000000001"},
    };
    for (unsigned i = 0; i < sizeof pairs / sizeof *pairs; i++) assert_text(parsed(pairs[i][0]), pairs[i][1]);
}

static void test_parse_refuses(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "",      "-",      "+1",       "1.",    ".5",   "-.5",  "01",          "00",
        "-01",   "1e",     "1e+",      "1e-",   "e5",   " 1",   "1 ",          "NaN",
        "inf",   "0x10",   "1,5",      "1.2.3", "1..2", "--1",  "1-",          "1e5.0",
        "1_000", "00.5",   "1.e5",     "1/2",   "1:2",  "12a4", "1234567890.", "12345678901234567890x",
        "1.2e",  "123.4-", "\xc2\xb2", "1\t"};
    struct decimal untouched = {7, 3};
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct decimal value = untouched;
        if (decimal_parse(slice_text(wrong[i]), &value) != ERR_SYNTAX) fail_msg("\"%s\" is not refused", wrong[i]);
        assert_true(value.mantissa == 7 && value.scale == 3);
    }
    static const char *const imprecise[] = {"123456789012345678901234567890123456789",
                                            "1e38",
                                            "1e-39",
                                            "1e999999999999999999999",
                                            "0.000000000000000000000000000000000000001",
                                            "10000000000000000000.0000000000000000001"};
    for (unsigned i = 0; i < sizeof imprecise / sizeof *imprecise; i++) {
        struct decimal value = untouched;
        if (decimal_parse(slice_text(imprecise[i]), &value) != ERR_PRECISION)
            fail_msg("%s is not refused", imprecise[i]);
    }
    /* Syntax is judged before precision. */
    struct decimal value;
    assert_int_equal(decimal_parse(slice_text("123456789012345678901234567890123456789x"), &value), ERR_SYNTAX);
}

/* Text of `whole` and `fraction` digits, "007.500" shape cleaned to canonical by plain string work. */
static void canonical_of(const char *text, char *ret_canonical) {
    bool negative = *text == '-';
    if (negative) text++;
    const char *point = strchr(text, '.');
    size_t whole = point ? (size_t)(point - text) : strlen(text);
    const char *fraction = point ? point + 1 : "";
    size_t decimals = strlen(fraction);
    while (decimals > 0 && fraction[decimals - 1] == '0') decimals--;
    if (decimals == 0 && whole == 1 && text[0] == '0') {
        memcpy(ret_canonical, "0", 2);
        return;
    }
    snprintf(ret_canonical, 80, "%s%.*s%s%.*s", negative ? "-" : "", (int)whole, text, decimals ? "." : "",
             (int)decimals, fraction);
}

static void random_number(char *text) {
    unsigned whole = 1 + random_below(12), decimals = random_below(13);
    char *to = text;
    if (random_below(4) == 0) *to++ = '-';
    if (random_below(3) == 0)
        *to++ = '0';
    else
        for (unsigned i = 0; i < whole; i++) *to++ = (char)('0' + (i == 0 ? 1 + random_below(9) : random_below(10)));
    if (decimals > 0) {
        *to++ = '.';
        bool zeros = random_below(3) == 0;
        for (unsigned i = 0; i < decimals; i++)
            *to++ = (char)('0' + (zeros && random_below(3) > 0 ? 0 : random_below(10)));
    }
    *to = '\0';
}

static void test_parse_and_format_agree(void **state) {
    (void)state;
    random_state = 1;
    for (uint64_t round = 0; round < testing_seeds(300000); round++) {
        char text[80], expected[80];
        random_number(text);
        canonical_of(text, expected);
        struct decimal value = parsed(text);
        assert_text(value, expected);
        struct decimal normal = decimal_normalize(value);
        assert_true(normal.mantissa == value.mantissa && normal.scale == value.scale);
        /* The same with an exponent takes the general path. */
        memcpy(text + strlen(text), "e0", 3);
        struct decimal general = parsed(text);
        assert_true(general.mantissa == value.mantissa && general.scale == value.scale);
    }
}

/* A byte changed, put in or taken out: a number again, and then the two paths agree on it, or refused by both. */
static void test_parse_paths_agree_on_noise(void **state) {
    (void)state;
    random_state = 2;
    static const char alphabet[] = "0123456789.-+eE /:,\0\x80"; /* its own NUL is one of them too */
    for (uint64_t round = 0; round < testing_seeds(300000); round++) {
        char text[80], longer[80];
        random_number(text);
        size_t size = strlen(text), at = random_below((unsigned)size);
        const char byte = alphabet[random_below(sizeof alphabet)];
        const unsigned how = random_below(4);
        if (how == 0) memmove(text + at + 1, text + at, size - at);
        if (how == 1) memmove(text + at, text + at + 1, size - at - 1);
        size += how == 0;
        size -= how == 1;
        if (how != 1) text[how == 2 ? size - 1 : at] = byte;
        struct decimal a = {0}, b = {0};
        const enum err err = decimal_parse(slice_of(text, size), &a);
        memcpy(longer, text, size);
        const bool exponent = memchr(text, 'e', size) != NULL || memchr(text, 'E', size) != NULL;
        if (!exponent) memcpy(longer + size, "e0", 2);
        assert_int_equal(decimal_parse(slice_of(longer, size + (exponent ? 0 : 2)), &b), err);
        assert_true(a.mantissa == b.mantissa && a.scale == b.scale);
    }
}

/* The parser reads nothing outside the slice (a sanitizer build tells) and nothing outside decides. */
static void test_parse_reads_within(void **state) {
    (void)state;
    for (size_t size = 1; size <= 20; size++) {
        char *exact = malloc(size);
        assert_non_null(exact);
        memset(exact, '7', size);
        if (size > 2) exact[size - 2] = '.';
        struct decimal value;
        assert_int_equal(decimal_parse(slice_of(exact, size), &value), ERR_OK);
        assert_int_equal(value.scale, size > 2);
        free(exact);
    }
}

/* --- the slow reference: signed numbers as 100 digits, 40 of them decimals --- */

enum { SLOW_DIGITS = 200, SLOW_DECIMALS = 80 };
struct slow {
    int sign;
    uint8_t digit[SLOW_DIGITS]; /* least significant first */
};

static struct slow slow_of(struct decimal value) {
    struct slow slow = {.sign = value.mantissa < 0 ? -1 : 1};
    unsigned __int128 m = value.mantissa < 0 ? -(unsigned __int128)value.mantissa : (unsigned __int128)value.mantissa;
    for (unsigned i = SLOW_DECIMALS - value.scale; m > 0; i++, m /= 10) slow.digit[i] = (uint8_t)(m % 10);
    return slow;
}
static int slow_compare_magnitude(const struct slow *a, const struct slow *b) {
    for (unsigned i = SLOW_DIGITS; i-- > 0;)
        if (a->digit[i] != b->digit[i]) return a->digit[i] < b->digit[i] ? -1 : 1;
    return 0;
}
static bool slow_zero(const struct slow *a) {
    for (unsigned i = 0; i < SLOW_DIGITS; i++)
        if (a->digit[i] != 0) return false;
    return true;
}
static struct slow slow_add(const struct slow *a, const struct slow *b) {
    struct slow sum = {.sign = a->sign};
    int carry = 0, other = a->sign == b->sign ? 1 : -1;
    if (other < 0 && slow_compare_magnitude(a, b) < 0) return slow_add(b, a);
    for (unsigned i = 0; i < SLOW_DIGITS; i++) {
        int d = a->digit[i] + other * b->digit[i] + carry;
        carry = d < 0 ? -1 : d / 10;
        sum.digit[i] = (uint8_t)(d < 0 ? d + 10 : d % 10);
    }
    assert_int_equal(carry, 0);
    return sum;
}
static struct slow slow_multiply(const struct slow *a, const struct slow *b) {
    struct slow product = {.sign = a->sign * b->sign};
    unsigned sums[2 * SLOW_DIGITS + 8] = {0};
    for (unsigned i = 0; i < SLOW_DIGITS; i++)
        for (unsigned j = 0; a->digit[i] != 0 && j < SLOW_DIGITS; j++)
            sums[i + j] += (unsigned)a->digit[i] * b->digit[j];
    unsigned carry = 0;
    for (unsigned i = 0; i < 2 * SLOW_DIGITS; i++) {
        carry += sums[i];
        if (i >= SLOW_DECIMALS && i - SLOW_DECIMALS < SLOW_DIGITS)
            product.digit[i - SLOW_DECIMALS] = (uint8_t)(carry % 10);
        carry /= 10;
    }
    return product;
}
/* Does 38 digits and scale 38 hold it? */
static bool slow_fits(const struct slow *a) {
    int low = -1, high = -1;
    for (int i = 0; i < SLOW_DIGITS; i++) {
        if (a->digit[i] == 0) continue;
        if (low < 0) low = i;
        high = i;
    }
    if (low < 0) return true;
    if (low < SLOW_DECIMALS - 38) return false;
    int bottom = low < SLOW_DECIMALS ? low : SLOW_DECIMALS;
    return high - bottom < 38;
}
static void assert_slow(enum err err, struct decimal got, const struct slow *expected) {
    if (!slow_fits(expected)) {
        assert_int_equal(err, ERR_PRECISION);
        return;
    }
    assert_int_equal(err, ERR_OK);
    struct slow back = slow_of(got);
    assert_int_equal(slow_compare_magnitude(&back, expected), 0);
    if (!slow_zero(expected)) assert_int_equal(back.sign, expected->sign);
    assert_true(got.scale <= 38);
}

static struct decimal random_decimal(void) {
    static const unsigned limits[] = {3, 8, 19, 20, 38};
    unsigned digits = 1 + random_below(limits[random_below(5)]);
    __int128 m = 0;
    bool nines = random_below(8) == 0, zeros = random_below(6) == 0;
    for (unsigned i = 0; i < digits; i++)
        m = m * 10 + (nines ? 9 : zeros && i > 0 ? (i < digits / 2 ? 5 : 0) : random_below(10));
    return (struct decimal){random_below(2) ? m : -m, (uint8_t)random_below(random_below(2) ? 39 : 9)};
}

static void test_arithmetic_against_reference(void **state) {
    (void)state;
    random_state = 3;
    for (uint64_t round = 0; round < testing_seeds(20000); round++) {
        struct decimal a = random_decimal(), b = random_below(10) ? random_decimal() : a, got = {0};
        struct slow x = slow_of(a), y = slow_of(b);
        struct slow sum = slow_add(&x, &y);
        enum err err = decimal_add(a, b, &got);
        assert_slow(err, got, &sum);
        struct slow minus = y;
        minus.sign = -y.sign;
        struct slow difference = slow_add(&x, &minus);
        err = decimal_subtract(a, b, &got);
        assert_slow(err, got, &difference);
        int expected = slow_zero(&difference) ? 0 : difference.sign;
        assert_int_equal(decimal_compare(a, b), expected);
        assert_int_equal(decimal_compare(b, a), -expected);
        if (round % 4 == 0) {
            struct slow product = slow_multiply(&x, &y);
            err = decimal_multiply(a, b, &got);
            assert_slow(err, got, &product);
        }
    }
}

static void test_fixed_cuts(void **state) {
    (void)state;
    static const struct {
        const char *value;
        uint8_t digits;
        const char *expected;
    } cases[] = {{"1", 8, "1.00000000"},
                 {"-0.001", 2, "0.00"},
                 {"-1.999", 2, "-1.99"},
                 {"1.999", 0, "1"},
                 {"0.123456789", 8, "0.12345678"},
                 {"12.5", 8, "12.50000000"},
                 {"0", 3, "0.000"},
                 {"1e37", 38, "10000000000000000000000000000000000000.00000000000000000000000000000000000000"}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[DECIMAL_TEXT_MAX + 40];
        size_t size = decimal_format_fixed(parsed(cases[i].value), cases[i].digits, text);
        assert_string_equal(text, cases[i].expected);
        assert_int_equal(size, strlen(text));
    }
}

static void test_rescale_and_double(void **state) {
    (void)state;
    struct decimal value;
    assert_int_equal(decimal_rescale(parsed("1.5"), 8, &value), ERR_OK);
    assert_true(value.mantissa == 150000000 && value.scale == 8);
    assert_int_equal(decimal_rescale(parsed("1e30"), 8, &value), ERR_PRECISION);
    assert_true(decimal_to_double(parsed("53487.67")) == 53487.67);
    assert_true(decimal_to_double(parsed("-0.1")) == -0.1);
    /* Unnormalised values print canonically and compare by value. */
    assert_text((struct decimal){150, 2}, "1.5");
    assert_text((struct decimal){0, 5}, "0");
    assert_true(decimal_equal((struct decimal){150, 2}, parsed("1.5")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_golden),
        cmocka_unit_test(test_parse_refuses),
        cmocka_unit_test(test_parse_and_format_agree),
        cmocka_unit_test(test_parse_paths_agree_on_noise),
        cmocka_unit_test(test_parse_reads_within),
        cmocka_unit_test(test_arithmetic_against_reference),
        cmocka_unit_test(test_fixed_cuts),
        cmocka_unit_test(test_rescale_and_double),
    };
    return cmocka_run_group_tests_name("decimal", tests, NULL, NULL);
}
