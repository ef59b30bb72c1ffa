/* CSV lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/testing.h"
#include "codec/csv.h"

static void check(const char *line, char separator, const char *const *expected, uint32_t count) {
    uint8_t copy[256];
    size_t size = strlen(line);
    memcpy(copy, line, size);
    struct slice fields[8];
    uint32_t got = 0;
    assert_int_equal(csv_split(copy, size, separator, fields, 8, &got), ERR_OK);
    assert_int_equal(got, count);
    for (uint32_t i = 0; i < count; i++)
        if (!slice_equal(fields[i], slice_text(expected[i])))
            fail_msg("%s: field %u is %.*s", line, i, SLICE_PRINT(fields[i]));
}
#define CHECK(line, separator, ...)                                           \
    do {                                                                      \
        static const char *const expected[] = {__VA_ARGS__};                  \
        check(line, separator, expected, sizeof expected / sizeof *expected); \
    } while (0)

static void test_fields(void **state) {
    (void)state;
    CHECK("a,b,c", ',', "a", "b", "c");
    CHECK("a,b,c\r", ',', "a", "b", "c");
    CHECK("", ',', "");
    CHECK(",", ',', "", "");
    CHECK("a,,", ',', "a", "", "");
    CHECK("a;b,c", ';', "a", "b,c");
    CHECK("\"a\",\"b,c\",\"d\"\"e\"\"\"", ',', "a", "b,c", "d\"e\"");
    CHECK("\"\",\"\"\"\"", ',', "", "\"");
    CHECK("a\"b,c", ',', "a\"b", "c");
    CHECK(" \"a\"", ',', " \"a\"");
}

static enum err split(const char *line, uint32_t max) {
    uint8_t copy[256];
    memcpy(copy, line, strlen(line));
    struct slice fields[8];
    uint32_t count = 77;
    enum err err = csv_split(copy, strlen(line), ',', fields, max, &count);
    if (err != ERR_OK) assert_int_equal(count, 77);
    return err;
}

static void test_errors(void **state) {
    (void)state;
    assert_int_equal(split("\"a", 8), ERR_SYNTAX);
    assert_int_equal(split("\"", 8), ERR_SYNTAX);
    assert_int_equal(split("\"a\"b", 8), ERR_SYNTAX);
    assert_int_equal(split("\"a\"\"", 8), ERR_SYNTAX);
    assert_int_equal(split("a,b,c", 2), ERR_LIMIT);
    assert_int_equal(split("a,b", 2), ERR_OK);
}

/* Fields written with quotes where needed come back. */
static void test_round_trip(void **state) {
    (void)state;
    uint32_t seed = 1;
    for (uint64_t round = 0; round < testing_seeds(20000); round++) {
        char fields[4][8], line[128];
        size_t at = 0;
        uint32_t count = 1 + round % 4;
        for (uint32_t i = 0; i < count; i++) {
            size_t size = (seed = seed * 1664525u + 1013904223u) >> 29;
            if (i > 0) line[at++] = ',';
            line[at++] = '"';
            for (size_t j = 0; j < size; j++) {
                char c = "ab\",\n\r;x"[(seed = seed * 1664525u + 1013904223u) >> 29];
                fields[i][j] = c;
                if (c == '"') line[at++] = '"';
                line[at++] = c;
            }
            fields[i][size] = '\0';
            line[at++] = '"';
        }
        struct slice got[4];
        uint32_t got_count = 0;
        assert_int_equal(csv_split((uint8_t *)line, at, ',', got, 4, &got_count), ERR_OK);
        assert_int_equal(got_count, count);
        for (uint32_t i = 0; i < count; i++) assert_true(slice_equal(got[i], slice_text(fields[i])));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fields), cmocka_unit_test(test_errors),
                                       cmocka_unit_test(test_round_trip)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
