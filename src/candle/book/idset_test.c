#include "candle/book/idset.h"
#include "base/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct id_range at(int64_t first, int64_t last) { return (struct id_range){first, last, first * 10, last * 10}; }

/* Of the model: when the trade of an id was, and whether it has a time at all. */
static int64_t time_of(int64_t id) { return id % 7 == 3 ? IDSET_NO_TIME : id * 10; }

static struct id_range timed(int64_t first, int64_t last) {
    struct id_range range = {first, last, IDSET_NO_TIME, IDSET_NO_TIME};
    for (int64_t id = last; id >= first; id--)
        if (time_of(id) >= 0) range.first_ms = time_of(id);
    for (int64_t id = first; id <= last; id++)
        if (time_of(id) >= 0) range.last_ms = time_of(id);
    return range;
}

static void insert(struct idset *set, int64_t first, int64_t last) {
    struct id_range before, after, range = at(first, last);
    assert_int_equal(idset_insert(set, &range, &before, &after), ERR_OK);
}

static void test_joins(void **state) {
    (void)state;
    struct idset set;
    struct id_range before, after, range = at(5, 6);
    idset_init(&set);
    assert_int_equal(idset_max(&set), -1);
    assert_false(idset_append(&set, 1, 1, 0));
    insert(&set, 3, 4);
    insert(&set, 7, 9);
    assert_int_equal(idset_overlap(&set, 4, 7), IDSET_SOME);
    assert_int_equal(idset_overlap(&set, 5, 6), IDSET_NONE);
    assert_int_equal(idset_overlap(&set, 7, 9), IDSET_ALL);
    assert_int_equal(idset_insert(&set, &range, &before, &after), ERR_OK);
    assert_int_equal(set.count, 1);
    assert_int_equal(before.last_ms, 40);
    assert_int_equal(after.first_ms, 70);
    assert_int_equal(set.ranges[0].first_ms, 30);
    assert_int_equal(set.ranges[0].last_ms, 90);
    assert_true(idset_append(&set, 10, 12, 120));
    assert_false(idset_append(&set, 14, 14, 140));
    assert_int_equal(idset_max(&set), 12);
    range = at(1, 20);
    assert_int_equal(idset_merge(&set, &range), ERR_OK);
    assert_int_equal(set.count, 1);
    assert_int_equal(set.ranges[0].first, 1);
    assert_int_equal(set.ranges[0].last, 20);
    idset_deinit(&set);
}

static void test_limit(void **state) {
    (void)state;
    struct idset set;
    struct id_range before, after;
    idset_init(&set);
    for (int64_t i = 0; i < IDSET_RANGES_MAX; i++) {
        struct id_range range = at(i * 2, i * 2);
        assert_int_equal(idset_insert(&set, &range, &before, &after), ERR_OK);
    }
    struct id_range range = at(INT32_MAX, INT32_MAX);
    assert_int_equal(idset_insert(&set, &range, &before, &after), ERR_LIMIT);
    range = at(1, 1);
    assert_int_equal(idset_insert(&set, &range, &before, &after), ERR_OK);
    idset_trim(&set, 3);
    assert_int_equal(set.count, 3);
    assert_int_equal(idset_max(&set), IDSET_RANGES_MAX * 2 - 2);
    assert_true(idset_forgot(&set, IDSET_RANGES_MAX * 2 - 8));
    assert_false(idset_forgot(&set, IDSET_RANGES_MAX * 2 - 7));
    struct buf buf;
    struct idset copy;
    buf_init(&buf, 1 << 10);
    idset_init(&copy);
    idset_encode(&buf, &set);
    struct reader in = reader_of(buf_slice(&buf));
    assert_int_equal(idset_decode(&in, &copy), ERR_OK);
    assert_int_equal(copy.floor, set.floor);
    idset_deinit(&copy);
    buf_deinit(&buf);
    idset_deinit(&set);
}

/* One by one, appended where that can be, with and without times: each range knows its ids and when they began and ended. */
static void test_random_times(void **state) {
    (void)state;
    enum { IDS = 120 };
    for (unsigned seed = 1; seed <= testing_seeds(2000); seed++) {
        srand(seed);
        struct idset set;
        bool seen[IDS + 2] = {false};
        int64_t floor = 0;
        idset_init(&set);
        for (int step = 0; step < 90; step++) {
            const int64_t max = idset_max(&set),
                          id = max >= 0 && max + 2 < IDS && rand() % 3 ? max + 1 : 1 + rand() % IDS;
            const bool known = id < floor || seen[id];
            if (id >= floor) assert_int_equal(idset_contains(&set, id), seen[id]);
            assert_int_equal(idset_forgot(&set, id), id < floor);
            if (known) continue;
            struct id_range range = timed(id, id), before, after;
            seen[id] = true;
            if (!idset_append(&set, id, id, time_of(id)))
                assert_int_equal(idset_insert(&set, &range, &before, &after), ERR_OK);
            if (rand() % 60 == 0) {
                const uint32_t keep = 1 + (uint32_t)rand() % 4;
                if (set.count > keep) floor = set.ranges[set.count - keep - 1].last + 1;
                idset_trim(&set, keep);
                for (int64_t i = 0; i < floor; i++) seen[i] = false;
            }
        }
        uint32_t ranges = 0;
        for (int64_t id = 1, last; id <= IDS; id = last + 1) {
            last = id;
            if (!seen[id]) continue;
            while (seen[last + 1]) last++;
            const struct id_range wanted = timed(id, last);
            assert_true(ranges < set.count);
            assert_memory_equal(&set.ranges[ranges], &wanted, sizeof wanted);
            ranges++;
        }
        assert_int_equal(ranges, set.count);
        idset_deinit(&set);
    }
}

/* Against a plain array of booleans. */
static void test_random(void **state) {
    (void)state;
    enum { IDS = 200 };
    for (unsigned seed = 1; seed <= testing_seeds(2000); seed++) {
        srand(seed);
        struct idset set, copy;
        struct buf buf;
        bool seen[IDS] = {false};
        idset_init(&set);
        idset_init(&copy);
        buf_init(&buf, 1 << 20);
        for (int step = 0; step < 60; step++) {
            int first = rand() % IDS, last = first + rand() % 4, have = 0;
            if (last >= IDS) last = IDS - 1;
            for (int i = first; i <= last; i++) have += seen[i];
            enum idset_overlap expected = have == 0 ? IDSET_NONE : have == last - first + 1 ? IDSET_ALL : IDSET_SOME;
            assert_int_equal(idset_overlap(&set, first, last), expected);
            if (expected == IDSET_NONE)
                insert(&set, first, last);
            else if (rand() % 4 == 0) {
                struct id_range range = at(first, last);
                assert_int_equal(idset_merge(&set, &range), ERR_OK);
            } else
                continue;
            for (int i = first; i <= last; i++) seen[i] = true;
        }
        uint32_t ranges = 0;
        for (int i = 0; i < IDS; i++) ranges += seen[i] && (i == 0 || !seen[i - 1]);
        assert_int_equal(set.count, ranges);
        idset_encode(&buf, &set);
        struct reader in = reader_of(buf_slice(&buf));
        assert_int_equal(idset_decode(&in, &copy), ERR_OK);
        assert_int_equal(reader_end(&in), ERR_OK);
        assert_int_equal(copy.count, set.count);
        if (set.count > 0) assert_memory_equal(copy.ranges, set.ranges, set.count * sizeof set.ranges[0]);
        idset_deinit(&set);
        idset_deinit(&copy);
        buf_deinit(&buf);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_joins), cmocka_unit_test(test_limit),
                                       cmocka_unit_test(test_random), cmocka_unit_test(test_random_times)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
