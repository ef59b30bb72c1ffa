#include "candle/latest.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <cmocka.h>

#include "candle/latest_row.h"

static struct event price_of(uint32_t series, int64_t time_ms, int64_t price) {
    return (struct event){.series = series,
                          .time_ms = time_ms,
                          .price = price,
                          .quantity = price,
                          .quote_volume = price,
                          .kind = EVENT_PRICE};
}

static void test_keeps_largest(void **state) {
    (void)state;
    struct latest_table *table;
    struct latest value;
    assert_int_equal(latest_table_open(&table), ERR_OK);
    assert_int_equal(latest_get(table, 5, &value), ERR_NOT_FOUND);
    static const int64_t times[] = {10, 30, 20, 30, 30};
    static const int64_t prices[] = {1, 5, 9, 7, 6};
    for (int i = 0; i < 5; i++) {
        struct event event = price_of(5, times[i], prices[i]);
        assert_int_equal(latest_offer(table, &event, i), ERR_OK);
    }
    assert_int_equal(latest_get(table, 5, &value), ERR_OK);
    assert_int_equal(value.time_ms, 30);
    assert_int_equal((int64_t)value.price.mantissa, 7);
    assert_int_equal(value.offset, 3);
    assert_int_equal(latest_get(table, 6, &value), ERR_NOT_FOUND);
    assert_int_equal(latest_get(table, SERIES_NONE, &value), ERR_NOT_FOUND);
    struct event trade = {.series = 900000, .time_ms = 1, .first_id = 3, .last_id = 4, .price = 2};
    assert_int_equal(latest_offer(table, &trade, 0), ERR_OK);
    trade.first_id = trade.last_id = 2;
    trade.price = 3;
    assert_int_equal(latest_offer(table, &trade, 1), ERR_OK);
    assert_int_equal(latest_get(table, 900000, &value), ERR_OK);
    assert_int_equal((int64_t)value.price.mantissa, 2);
    latest_table_close(&table);
}

/* A volume that was not told is no zero, loses against one of the same time and price, and outlives a restart. */
static void test_untold_volumes(void **state) {
    (void)state;
    struct store *store = NULL;
    struct store_snapshot *snapshot = NULL;
    struct store_batch batch;
    const struct store_batch *batches[] = {&batch};
    struct diag diag = {0};
    struct latest value;
    assert_int_equal(store_memory_open(STORE_MEMORY_TRANSACTIONAL, 0, &store), ERR_OK);
    store_batch_init(&batch, 4096);
    for (int restored = 0; restored < 2; restored++) {
        struct latest_table *table;
        struct event event = price_of(5, 10, 1);
        event.quantity = 0;
        event.no_quantity = event.no_quote_volume = 1;
        assert_int_equal(latest_table_open(&table), ERR_OK);
        if (restored)
            assert_int_equal(latest_rows_restore(store, snapshot, "t", table), ERR_OK);
        else
            assert_int_equal(latest_offer(table, &event, 0), ERR_OK);
        assert_int_equal(latest_get(table, 5, &value), ERR_OK);
        assert_false(latest_told(value.base_volume) || latest_told(value.quote_volume));
        if (!restored) latest_row_put(&batch, "t", 5, &value);
        event.no_quantity = 0;
        assert_int_equal(latest_offer(table, &event, 1), ERR_OK);
        event.no_quantity = 1;
        assert_int_equal(latest_offer(table, &event, 2), ERR_OK);
        assert_int_equal(latest_get(table, 5, &value), ERR_OK);
        assert_true(latest_told(value.base_volume) && !latest_told(value.quote_volume));
        assert_int_equal(value.offset, 1);
        latest_table_close(&table);
        if (restored) continue;
        assert_int_equal(store_commit(store, batches, 1, 1, &diag), ERR_OK);
        assert_int_equal(store_snapshot_open(store, &snapshot), ERR_OK);
    }
    store_snapshot_close(store, &snapshot);
    store_batch_deinit(&batch);
    store_close(&store);
}

struct race {
    struct latest_table *table;
    _Atomic(bool) stop;
};

/* All fields of a value are one number: a torn read shows two. */
static void *read_values(void *context) {
    struct race *race = context;
    while (!atomic_load(&race->stop)) {
        struct latest value;
        if (latest_get(race->table, 1, &value) != ERR_OK) continue;
        if (value.price.mantissa != value.time_ms || value.base_volume.mantissa != value.time_ms ||
            value.quote_volume.mantissa != value.time_ms || value.offset != value.time_ms)
            return context;
    }
    return NULL;
}

static void test_no_torn_reads(void **state) {
    (void)state;
    struct race race = {0};
    assert_int_equal(latest_table_open(&race.table), ERR_OK);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_values, &race), 0);
    for (int64_t i = 1; i < 300000; i++) {
        struct event event = price_of(1, i, i);
        assert_int_equal(latest_offer(race.table, &event, i), ERR_OK);
    }
    atomic_store(&race.stop, true);
    void *torn;
    pthread_join(thread, &torn);
    assert_null(torn);
    latest_table_close(&race.table);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_keeps_largest), cmocka_unit_test(test_untold_volumes),
                                       cmocka_unit_test(test_no_torn_reads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
