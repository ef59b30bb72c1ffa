/* Errors, slices, buffers, arenas, hash tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/hash.h"

static void test_errors(void **state) {
    (void)state;
    assert_string_equal(err_name(ERR_PRECISION), "precision");
    assert_int_equal(err_class(ERR_NO_SPACE), ERR_CLASS_RESOURCE);
    struct diag diag;
    assert_int_equal(diag_set(&diag, ERR_TYPE, "%s", "x is a string"), ERR_TYPE);
    diag_where(&diag, "line %d", 7);
    diag_where(&diag, "outer");
    diag_hint(&diag, "use a number");
    char text[128];
    diag_print(&diag, text, sizeof text);
    assert_string_equal(text, "line 7: x is a string (use a number)");
    diag_print(&diag, text, 31);
    assert_string_equal(text, "line 7: x is a string (use...");
    diag_print(&diag, text, 36); /* one less than it needs */
    assert_string_equal(text, "line 7: x is a string (use a...");
    (void)diag_set(&diag, ERR_TYPE, "%s", "ééééééééééééééé");
    diag_print(&diag, text, 20);
    assert_string_equal(text, "éééééééé...");
}

static void test_varints_round_trip(void **state) {
    (void)state;
    static const int64_t values[] = {0, 1, -1, 63, 64, -64, -65, INT64_MAX, INT64_MIN, 300};
    struct buf buf;
    buf_init(&buf, 4096);
    for (unsigned i = 0; i < sizeof values / sizeof *values; i++) {
        buf_put_varint(&buf, values[i]);
        buf_put_i128(&buf, (__int128)values[i] * INT64_MAX);
        buf_put_uvarint(&buf, (uint64_t)values[i]);
    }
    assert_int_equal(buf_err(&buf), ERR_OK);
    struct reader r = reader_of(buf_slice(&buf));
    for (unsigned i = 0; i < sizeof values / sizeof *values; i++) {
        assert_int_equal(reader_varint(&r), values[i]);
        assert_true(reader_i128(&r) == (__int128)values[i] * INT64_MAX);
        assert_true(reader_uvarint(&r) == (uint64_t)values[i]);
    }
    assert_int_equal(reader_end(&r), ERR_OK);
    buf_deinit(&buf);
}

static void test_reader_refuses_overlong_and_short(void **state) {
    (void)state;
    uint8_t overlong[11];
    for (unsigned i = 0; i < 10; i++) overlong[i] = 0xff;
    overlong[10] = 0x01;
    struct reader r = reader_of(slice_of(overlong, sizeof overlong));
    (void)reader_uvarint(&r);
    assert_int_equal(reader_err(&r), ERR_CORRUPT);
    r = reader_of(slice_of(overlong, 3));
    (void)reader_le32(&r);
    assert_int_equal(reader_err(&r), ERR_CORRUPT);
    assert_int_equal(reader_le64(&r), 0);
}

static void test_buf_stops_at_its_maximum(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 10);
    buf_put(&buf, SLICE("0123456789"));
    assert_int_equal(buf_err(&buf), ERR_OK);
    buf_put_u8(&buf, 1);
    assert_int_equal(buf_err(&buf), ERR_TOO_LARGE);
    assert_int_equal(buf.size, 10);
    buf_clear(&buf);
    buf_printf(&buf, "%d-%s", 5, "ab");
    assert_true(slice_equal(buf_slice(&buf), SLICE("5-ab")));
    buf_deinit(&buf);
}

static void test_arena(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, 100000);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 800; i++) {
            uint8_t *p = arena_alloc(&arena, 100);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 16, 0);
            memset(p, i, 100);
        }
        assert_null(arena_alloc(&arena, 60000));
        struct slice copy = arena_copy(&arena, SLICE("hello"));
        assert_string_equal((const char *)copy.data, "hello");
        arena_clear(&arena);
    }
    arena_deinit(&arena);
}

static bool same(const void *context, uint32_t i, const void *key) {
    return ((const uint64_t *)context)[i] == *(const uint64_t *)key;
}

static void test_hash_index(void **state) {
    (void)state;
    static uint64_t keys[5000];
    struct hash_index index;
    hash_index_init(&index, 5000);
    for (uint32_t i = 0; i < 5000; i++) {
        keys[i] = i * 7919u;
        uint64_t hash = hash_bytes(slice_of(&keys[i], 8), 0);
        assert_int_equal(hash_index_find(&index, hash, same, keys, &keys[i]), UINT32_MAX);
        assert_int_equal(hash_index_add(&index, hash, i), ERR_OK);
    }
    for (uint32_t i = 0; i < 5000; i++)
        assert_int_equal(hash_index_find(&index, hash_bytes(slice_of(&keys[i], 8), 0), same, keys, &keys[i]), i);
    assert_int_equal(hash_index_add(&index, 1, 0), ERR_LIMIT);
    hash_index_deinit(&index);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_varints_round_trip),
        cmocka_unit_test(test_reader_refuses_overlong_and_short),
        cmocka_unit_test(test_buf_stops_at_its_maximum),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_hash_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
