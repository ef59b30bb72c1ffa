/* The book over a store: what leaves memory comes back, days are sealed, imports share the ids of the live task. */
#include "candle/book/fixture.h"

enum { MINUTE = 60000 };

struct setting {
    struct series_table *table;
    struct store *store;
    struct shelf shelf;
    struct book *book;
    uint32_t dense, price;
};

static int open_setting(void **state) {
    struct setting *s = calloc(1, sizeof *s);
    assert_int_equal(series_table_open(&s->table), ERR_OK);
    assert_int_equal(store_memory_open(STORE_MEMORY_TRANSACTIONAL, 1, &s->store), ERR_OK);
    s->dense = series_of(s->table, "binance", "BTC", SERIES_TRADE);
    s->price = series_of(s->table, "desk", "BTC", SERIES_PRICE);
    *state = s;
    return 0;
}

static int close_setting(void **state) {
    struct setting *s = *state;
    book_close(&s->book);
    store_close(&s->store);
    fake_close(&s->shelf);
    series_table_close(&s->table);
    free(s);
    return 0;
}

static void open_book(struct setting *s, bool bounded, size_t max_bytes) {
    struct diag diag = {0};
    struct book_options options = {.series = s->table,
                                   .shelf = &s->shelf,
                                   .store = s->store,
                                   .task = "candles/test/0",
                                   .base_ms = 60000,
                                   .bounded = bounded,
                                   .max_bytes = max_bytes};
    book_close(&s->book);
    if (book_open(&options, &diag, &s->book) != ERR_OK) fail_msg("book_open: %s", diag.what);
}

static void save(struct setting *s, bool seal) {
    struct store_snapshot *snapshot;
    struct store_batch batch;
    struct diag diag = {0};
    store_batch_init(&batch, 1 << 26);
    assert_int_equal(store_snapshot_open(s->store, &snapshot), ERR_OK);
    if (seal)
        assert_int_equal(book_seal_all(s->book, snapshot, &batch, &diag), ERR_OK);
    else
        assert_int_equal(book_freeze(s->book, snapshot, &batch, &diag), ERR_OK);
    store_snapshot_close(s->store, &snapshot);
    const struct store_batch *batches[] = {&batch};
    assert_int_equal(store_commit(s->store, batches, 1, 1, &diag), ERR_OK);
    store_batch_deinit(&batch);
    fake_commit(&s->shelf);
    if (!seal) book_committed(s->book);
}

static enum event_fate trade(struct setting *s, int64_t id, int64_t minute) {
    struct event e = trade_of(s->dense, id, T0 + minute * MINUTE, 100 + id, 1);
    return apply_one(s->book, &e, id);
}

static const struct candle *stored_row(struct setting *s, uint32_t series, uint8_t basis, int64_t minute) {
    const struct fake_row wanted = {{series, basis}, {.open_time_ms = T0 + minute * MINUTE}};
    const struct fake_rows *stored = &s->shelf.stored;
    uint32_t low = 0, high = stored->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (fake_before(&stored->rows[middle], &wanted))
            low = middle + 1;
        else
            high = middle;
    }
    return low < stored->count && !fake_before(&wanted, &stored->rows[low]) ? &stored->rows[low].candle : NULL;
}

/* Rows leave memory two hours behind; a late trade is folded into exactly what was saved. */
static void test_leaves_and_returns(void **state) {
    struct setting *s = *state;
    open_book(s, false, 0);
    trade(s, 10, 0);
    trade(s, 12, 1);
    for (int64_t id = 13; id < 20; id++) trade(s, id, (id - 12) * 60);
    save(s, false);
    struct scanned rows = scan_book(s->book, s->dense, BASIS_TRADES);
    assert_true(rows.count > 0);
    assert_true(rows.rows[0].open_time_ms > T0 + 60 * MINUTE);
    free(rows.rows);
    assert_int_equal(stored_row(s, s->dense, BASIS_TRADES, 1)->coverage, COVERAGE_PARTIAL);
    assert_int_equal(trade(s, 11, 1), FATE_USED);
    assert_int_equal(trade(s, 12, 1), FATE_DUPLICATE);
    save(s, false);
    const struct candle *row = stored_row(s, s->dense, BASIS_TRADES, 1);
    assert_int_equal(row->trades, 2);
    assert_int_equal((int64_t)row->close.mantissa, 112);
    assert_int_equal((int64_t)row->open.mantissa, 111);
    assert_int_equal(row->coverage, COVERAGE_TRADED);
    assert_int_equal(row->revision, 1);
    assert_int_equal(row->reason, REASON_REPAIR);
}

/* A lane that cannot be frozen, within a fold that would change it, stays one to freeze: the checkpoint has all of the cut, or
 * fails. */
static void test_failed_lane_stays_in_the_freeze(void **state) {
    struct setting *s = *state;
    struct store_snapshot *snapshot;
    struct store_batch batch;
    struct diag diag = {0};
    struct event late = trade_of(s->dense, 12, T0 + 2 * MINUTE, 700, 1);
    enum event_fate fate;
    struct book_counts counts = {0};
    int64_t offset = 12;
    uint32_t left;
    open_book(s, false, 0);
    trade(s, 10, 0);
    trade(s, 11, 1);
    store_batch_init(&batch, 1 << 26);
    assert_int_equal(store_snapshot_open(s->store, &snapshot), ERR_OK);
    assert_int_equal(book_freeze_begin(s->book, snapshot, &batch, &diag), ERR_OK);
    s->shelf.fails_in = 1;
    assert_int_equal(book_apply(s->book, &late, &offset, 1, &fate, &counts, &diag), ERR_NO_MEMORY);
    s->shelf.fails_in = 1;
    assert_int_equal(book_freeze_some(s->book, 64, &diag, &left), ERR_NO_MEMORY);
    assert_int_equal(s->shelf.pending.count, 0);
    assert_int_equal(book_freeze_some(s->book, 64, &diag, &left), ERR_OK);
    assert_int_equal(left, 0);
    store_snapshot_close(s->store, &snapshot);
    const struct store_batch *batches[] = {&batch};
    assert_int_equal(store_commit(s->store, batches, 1, 1, &diag), ERR_OK);
    store_batch_deinit(&batch);
    fake_commit(&s->shelf);
    assert_non_null(stored_row(s, s->dense, BASIS_TRADES, 0));
    assert_int_equal(stored_row(s, s->dense, BASIS_TRADES, 1)->trades, 1);
    assert_null(stored_row(s, s->dense, BASIS_TRADES, 2));
    open_book(s, false, 0); /* the state is that of the cut: its ids are known, the later one is not */
    assert_int_equal(trade(s, 11, 1), FATE_DUPLICATE);
    assert_int_equal(trade(s, 12, 2), FATE_USED);
}

/* A day that is over and has rested is sealed, once; a late trade seals it again. */
static void test_days_are_sealed(void **state) {
    struct setting *s = *state;
    open_book(s, false, 0);
    trade(s, 10, 0);
    trade(s, 11, 1440 + 30);
    for (int i = 0; i < 130; i++) save(s, false);
    assert_int_equal(s->shelf.seals, 1);
    for (int i = 0; i < 130; i++) save(s, false);
    assert_int_equal(s->shelf.seals, 1);
    trade(s, 9, 0);
    for (int i = 0; i < 130; i++) save(s, false);
    assert_int_equal(s->shelf.seals, 2);
    open_book(s, false, 0); /* what is sealed is remembered */
    for (int i = 0; i < 130; i++) save(s, false);
    assert_int_equal(s->shelf.seals, 2);
}

static void test_import_shares_ids(void **state) {
    struct setting *s = *state;
    open_book(s, false, 0);
    for (int64_t id = 100; id <= 200; id++) trade(s, id, id);
    save(s, false);
    open_book(s, true, 0);
    for (int64_t id = 50; id < 100; id++) assert_int_equal(trade(s, id, id), FATE_USED);
    assert_int_equal(trade(s, 99, 99), FATE_DUPLICATE);
    for (int64_t id = 100; id <= 110; id++) assert_int_equal(trade(s, id, id), FATE_DUPLICATE);
    struct diag diag = {0};
    assert_int_equal(book_finish(s->book, &diag), ERR_OK);
    save(s, true);
    const struct candle *row = stored_row(s, s->dense, BASIS_TRADES, 60);
    assert_int_equal(row->revision, 0);
    assert_int_equal(row->final, CANDLE_FINAL_PROVEN);
    assert_int_equal(stored_row(s, s->dense, BASIS_TRADES, 100)->coverage, COVERAGE_TRADED);
    open_book(s, false, 0);
    struct book_lane_info info;
    assert_int_equal(book_lane(s->book, (struct lane){s->dense, BASIS_TRADES}, &info), ERR_OK);
    assert_int_equal(info.first_id, 50);
    assert_int_equal(info.last_id, 200);
    assert_int_equal(info.range_count, 1);
    assert_int_equal(info.last_event_ms, T0 + 200 * MINUTE);
}

/* An import with little memory seals what lies days behind, and loses nothing. */
static void test_import_of_many_days(void **state) {
    struct setting *s = *state;
    enum { DAYS = 40 };
    open_book(s, true, 2 << 20);
    for (int64_t minute = 0; minute < DAYS * 1440; minute += 3)
        assert_int_equal(trade(s, minute / 3, minute), FATE_USED);
    struct diag diag = {0};
    assert_int_equal(book_finish(s->book, &diag), ERR_OK);
    assert_true(s->shelf.seals > 1);
    assert_int_equal(trade(s, 1, 3), FATE_LATE);
    save(s, true);
    assert_int_equal(s->shelf.stored.count, DAYS * 1440 - 2);
    for (uint32_t i = 0; i < s->shelf.stored.count; i++) {
        const struct candle *row = &s->shelf.stored.rows[i].candle;
        assert_int_equal(row->coverage, i % 3 == 0 ? COVERAGE_TRADED : COVERAGE_QUIET);
        assert_int_equal(row->trades, i % 3 == 0);
        assert_int_equal((int64_t)row->close.mantissa, 100 + i / 3);
    }
}

static void test_klines_by_day(void **state) {
    struct setting *s = *state;
    enum { ROWS = 1440 * 3 - 7 };
    struct candle *rows = calloc(ROWS, sizeof *rows);
    for (int64_t i = 0; i < ROWS; i++)
        rows[i] = (struct candle){.open_time_ms = T0 + i * MINUTE,
                                  .open = {1, 0},
                                  .high = {2, 0},
                                  .low = {1, 0},
                                  .close = {1 + i % 2, 0},
                                  .trades = i % 5,
                                  .final = CANDLE_FINAL_PROVEN,
                                  .first_id = -1,
                                  .last_id = -1};
    struct book_counts counts = {0};
    struct diag diag = {0};
    open_book(s, true, 0);
    for (uint32_t i = 0; i < ROWS; i += 1000) {
        uint32_t n = ROWS - i < 1000 ? ROWS - i : 1000;
        assert_int_equal(book_apply_klines(s->book, s->dense, rows + i, n, &counts, &diag), ERR_OK);
    }
    assert_int_equal(s->shelf.seals, 2);
    assert_int_equal(book_apply_klines(s->book, s->dense, rows + 1440 * 2 + 5, 1, &counts, &diag), ERR_OK);
    assert_int_equal(counts.fate[FATE_DUPLICATE], 1);
    save(s, true);
    assert_int_equal(counts.fate[FATE_USED], ROWS);
    assert_int_equal(s->shelf.stored.count, ROWS);
    for (uint32_t i = 0; i < ROWS; i++) {
        const struct candle *row = &s->shelf.stored.rows[i].candle;
        assert_int_equal(row->basis, BASIS_KLINES);
        assert_int_equal(row->trades, i % 5);
        assert_int_equal(row->coverage, i % 5 == 0 ? COVERAGE_QUIET : COVERAGE_TRADED);
    }
    open_book(s, true, 0); /* the same again, a day changed */
    rows[10].close.mantissa = 2;
    rows[11].close.mantissa = 1;
    counts = (struct book_counts){0};
    assert_int_equal(book_apply_klines(s->book, s->dense, rows, ROWS, &counts, &diag), ERR_OK);
    assert_int_equal(counts.fate[FATE_USED], 2);
    save(s, true);
    assert_int_equal((int64_t)stored_row(s, s->dense, BASIS_KLINES, 10)->close.mantissa, 2);
    assert_int_equal(stored_row(s, s->dense, BASIS_KLINES, 10)->revision, 1);
    free(rows);
}

/* A day whose rows came out of order waits in the book; those behind it must not overtake it on the way to the shelf. */
static void test_klines_out_of_order(void **state) {
    struct setting *s = *state;
    enum { DAYS = 4, ROWS = DAYS * 10 };
    struct candle rows[ROWS];
    for (int64_t i = 0; i < ROWS; i++)
        rows[i] = (struct candle){.open_time_ms = T0 + i / 10 * 86400000 + i % 10 * MINUTE,
                                  .open = {1, 0},
                                  .high = {9, 0},
                                  .low = {1, 0},
                                  .close = {1 + i % 9, 0},
                                  .trades = 1,
                                  .final = CANDLE_FINAL_PROVEN,
                                  .first_id = -1,
                                  .last_id = -1};
    struct candle swapped = rows[3];
    rows[3] = rows[4];
    rows[4] = swapped;
    struct book_counts counts = {0};
    struct diag diag = {0};
    open_book(s, true, 0);
    assert_int_equal(book_apply_klines(s->book, s->dense, rows, ROWS, &counts, &diag), ERR_OK);
    save(s, true);
    assert_int_equal(counts.fate[FATE_USED], ROWS);
    assert_int_equal(s->shelf.stored.count, ROWS);
    for (uint32_t i = 0; i < ROWS; i++) assert_int_equal(s->shelf.stored.rows[i].candle.close.mantissa, 1 + i % 9);
}

/* Rows read in place and rows handed over are the same to the book: gaps, days that begin in the middle, a day again. */
static void test_klines_in_place(void **state) {
    struct setting *s = *state;
    enum { ROWS = 9000 };
    struct candle *rows = calloc(ROWS, sizeof *rows);
    const uint32_t other = series_of(s->table, "binance", "OTHER", SERIES_TRADE);
    struct book_counts handed = {0}, placed = {0};
    struct diag diag = {0};
    int64_t minute = 700;
    for (int64_t i = 0; i < ROWS; i++, minute++) {
        if (i == 2000) minute += 4000;
        if (i == 5000) minute -= 30;
        if (i % 777 == 0) minute += 3;
        rows[i] = (struct candle){.open_time_ms = T0 + minute * MINUTE,
                                  .open = {5, 0},
                                  .high = {6, 0},
                                  .low = {1, 0},
                                  .close = {1 + i % 4, 0},
                                  .trades = i % 5,
                                  .native_ms = 60000,
                                  .final = CANDLE_FINAL_CLOCK,
                                  .first_id = -1,
                                  .last_id = -1};
    }
    open_book(s, true, 0);
    for (uint32_t i = 0; i < ROWS; i += 1000)
        assert_int_equal(book_apply_klines(s->book, s->dense, rows + i, 1000, &handed, &diag), ERR_OK);
    save(s, true);
    open_book(s, true, 0);
    for (uint32_t at = 0, step = 1; at < ROWS; step = step % 97 + 613) {
        struct candle *room = NULL;
        uint32_t count = 0;
        assert_int_equal(book_klines_room(s->book, other, &room, &count), ERR_OK);
        assert_true(count > 0);
        count = count < step ? count : step;
        count = count < ROWS - at ? count : ROWS - at;
        memcpy(room, rows + at, count * sizeof *room);
        assert_int_equal(book_klines_read(s->book, other, count, &placed, &diag), ERR_OK);
        at += count;
    }
    save(s, true);
    assert_memory_equal(&handed, &placed, sizeof handed);
    assert_true(handed.fate[FATE_USED] > 8000);
    for (minute = 0; minute < 20000; minute++) {
        const struct candle *a = stored_row(s, s->dense, BASIS_KLINES, minute);
        const struct candle *b = stored_row(s, other, BASIS_KLINES, minute);
        assert_int_equal(a == NULL, b == NULL);
        if (a == NULL) continue;
        assert_true(decimal_equal(a->close, b->close));
        assert_int_equal(a->revision, b->revision);
        assert_int_equal(a->final, b->final);
        assert_int_equal(a->coverage, b->coverage);
    }
    free(rows);
}

/* The series began within the hour: its rows that were open at the end are closed after a restart all the same. */
static void test_open_rows_of_the_first_hour(void **state) {
    struct setting *s = *state;
    struct event e = price_of(s->price, T0 + 37 * MINUTE, 7);
    open_book(s, false, 0);
    apply_one(s->book, &e, 0);
    e.time_ms = T0 + 58 * MINUTE;
    apply_one(s->book, &e, 1);
    save(s, false);
    assert_int_equal(stored_row(s, s->price, BASIS_PRICES, 58)->final, CANDLE_OPEN);
    open_book(s, false, 0);
    e.time_ms = T0 + 61 * MINUTE;
    apply_one(s->book, &e, 2);
    save(s, false);
    assert_int_equal(stored_row(s, s->price, BASIS_PRICES, 58)->final, CANDLE_FINAL_CLOCK);
}

/* As many events without ids as one stretch may hold, in both of them: more are invalid, and the state can be saved. */
static void test_as_many_events_as_fit(void **state) {
    enum { AT_ONCE = 4096 };
    struct setting *s = *state;
    struct diag diag = {0};
    struct book_counts counts = {0};
    static struct event events[AT_ONCE];
    struct event e = price_of(s->price, T0, 0);
    open_book(s, false, 0);
    for (int stretch = 0; stretch < 2; stretch++) {
        e.time_ms = T0 + stretch * 10000;
        for (int64_t i = 0; i < 1048576; i += AT_ONCE) {
            for (int64_t k = 0; k < AT_ONCE; k++) events[k] = e, events[k].price = i + k + 1;
            assert_int_equal(book_apply(s->book, events, NULL, AT_ONCE, NULL, &counts, &diag), ERR_OK);
        }
        assert_int_equal(counts.fate[FATE_USED], (stretch + 1) * 1048576);
        e.price = 1048577;
        assert_int_equal(apply_one(s->book, &e, 0), FATE_INVALID);
    }
    save(s, false);
    open_book(s, false, 0);
    e.price = 1048576;
    assert_int_equal(apply_one(s->book, &e, 0), FATE_DUPLICATE);
    e.time_ms = T0;
    assert_int_equal(apply_one(s->book, &e, 0), FATE_DUPLICATE);
}

static void test_out_of_memory(void **state) {
    struct setting *s = *state;
    struct diag diag = {0};
    struct book_counts counts = {0};
    open_book(s, false, 64 * 1024);
    enum err err = ERR_OK;
    for (int64_t i = 0; i < 100000 && err == ERR_OK; i++) {
        struct event e = price_of(s->price, T0 + i * MINUTE, 1);
        err = book_apply(s->book, &e, NULL, 1, NULL, &counts, &diag);
    }
    assert_int_equal(err, ERR_NO_MEMORY);
    assert_true(diag.what[0] != 0);
}

int main(void) {
#define RULE(name) cmocka_unit_test_setup_teardown(name, open_setting, close_setting)
    const struct CMUnitTest tests[] = {RULE(test_leaves_and_returns),
                                       RULE(test_failed_lane_stays_in_the_freeze),
                                       RULE(test_days_are_sealed),
                                       RULE(test_import_shares_ids),
                                       RULE(test_import_of_many_days),
                                       RULE(test_klines_by_day),
                                       RULE(test_klines_in_place),
                                       RULE(test_klines_out_of_order),
                                       RULE(test_open_rows_of_the_first_hour),
                                       RULE(test_as_many_events_as_fit),
                                       RULE(test_out_of_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
