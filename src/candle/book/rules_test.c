/* The rules of the fold, one by one. */
#include "candle/book/fixture.h"
#include "candle/book/idset.h"

enum { MINUTE = 60000 };

struct setting {
    struct series_table *table;
    struct book *book;
    uint32_t dense, sparse, price;
};

static int open_setting(void **state) {
    struct setting *s = calloc(1, sizeof *s);
    assert_int_equal(series_table_open(&s->table), ERR_OK);
    s->dense = series_of(s->table, "binance", "BTC", SERIES_TRADE);
    s->sparse = series_of(s->table, "huobi", "BTC", SERIES_TRADE);
    s->price = series_of(s->table, "desk", "BTC", SERIES_PRICE);
    s->book = book_of(s->table);
    *state = s;
    return 0;
}

static int close_setting(void **state) {
    struct setting *s = *state;
    book_close(&s->book);
    series_table_close(&s->table);
    free(s);
    return 0;
}

static enum event_fate trade(struct setting *s, int64_t id, int64_t minute, int64_t second, int64_t price) {
    struct event e = trade_of(s->dense, id, T0 + minute * MINUTE + second * 1000, price, 1);
    return apply_one(s->book, &e, id);
}

static struct candle dense_row(struct setting *s, int64_t minute) {
    return row_at(s->book, s->dense, BASIS_TRADES, T0 + minute * MINUTE);
}

static void test_holes(void **state) {
    struct setting *s = *state;
    trade(s, 10, 0, 1, 100);
    assert_int_equal(dense_row(s, 0).coverage, COVERAGE_PARTIAL); /* what came before the first is not known */
    trade(s, 11, 1, 1, 101);
    trade(s, 12, 1, 2, 102);
    assert_int_equal(dense_row(s, 1).coverage, COVERAGE_TRADED); /* the newest, so far */
    trade(s, 14, 4, 1, 104);
    struct candle row = dense_row(s, 1);
    assert_int_equal(row.coverage, COVERAGE_PARTIAL);
    assert_int_equal(row.final, CANDLE_FINAL_CLOCK);
    assert_int_equal(dense_row(s, 2).open_time_ms, -1); /* a hole is not quiet */
    assert_int_equal(dense_row(s, 4).coverage, COVERAGE_PARTIAL);
    assert_int_equal(trade(s, 13, 1, 3, 103), FATE_USED); /* however late */
    row = dense_row(s, 1);
    assert_int_equal(row.coverage, COVERAGE_TRADED);
    assert_int_equal(row.final, CANDLE_FINAL_PROVEN);
    assert_int_equal(row.reason, REASON_REPAIR);
    assert_int_equal(row.revision, 1);
    assert_int_equal((int64_t)row.close.mantissa, 103);
    row = dense_row(s, 3);
    assert_int_equal(row.coverage, COVERAGE_QUIET);
    assert_int_equal(row.final, CANDLE_FINAL_PROVEN);
    assert_int_equal((int64_t)row.open.mantissa, 103);
    assert_int_equal(row.first_id, -1);
    assert_int_equal(dense_row(s, 4).coverage, COVERAGE_TRADED);
    assert_int_equal(dense_row(s, 4).final, CANDLE_OPEN);
    assert_int_equal(dense_row(s, 0).coverage, COVERAGE_PARTIAL);
}

static void test_quiet_follows_close(void **state) {
    struct setting *s = *state;
    trade(s, 10, 0, 1, 100);
    trade(s, 12, 0, 30, 102);
    trade(s, 13, 3, 1, 103);
    assert_int_equal((int64_t)dense_row(s, 1).close.mantissa, 102);
    trade(s, 11, 0, 40, 111); /* ids and times cross: the later time is the close */
    assert_int_equal((int64_t)dense_row(s, 0).close.mantissa, 111);
    assert_int_equal((int64_t)dense_row(s, 1).close.mantissa, 111);
    assert_int_equal((int64_t)dense_row(s, 2).close.mantissa, 111);
    assert_int_equal(dense_row(s, 2).revision, 1);
}

static void test_proven_before_grace(void **state) {
    struct setting *s = *state;
    trade(s, 0, 0, 1, 100);
    trade(s, 1, 1, 0, 101);
    struct candle row = dense_row(s, 0);
    assert_int_equal(row.coverage, COVERAGE_TRADED); /* no id is before 0 */
    assert_int_equal(row.final, CANDLE_FINAL_PROVEN);
    assert_int_equal(row.revision, 0);
}

static void test_duplicates_and_conflicts(void **state) {
    struct setting *s = *state;
    trade(s, 10, 0, 1, 100);
    assert_int_equal(trade(s, 10, 0, 1, 100), FATE_DUPLICATE);
    assert_false(dense_row(s, 0).conflict);
    assert_int_equal(trade(s, 10, 0, 1, 999), FATE_DUPLICATE);
    struct candle row = dense_row(s, 0);
    assert_true(row.conflict);
    assert_int_equal((int64_t)row.high.mantissa, 100);
    struct event agg = trade_of(s->dense, 20, T0, 5, 1);
    agg.kind = EVENT_AGGREGATED_TRADE;
    agg.last_id = 24;
    assert_int_equal(apply_one(s->book, &agg, 0), FATE_USED);
    assert_int_equal(row_at(s->book, s->dense, BASIS_AGGREGATED, T0).trades, 5);
    assert_int_equal(apply_one(s->book, &agg, 0), FATE_DUPLICATE);
    assert_false(row_at(s->book, s->dense, BASIS_AGGREGATED, T0).conflict);
    agg.first_id = 23;
    agg.last_id = 26;
    assert_int_equal(apply_one(s->book, &agg, 0), FATE_DUPLICATE); /* in part */
    assert_true(row_at(s->book, s->dense, BASIS_AGGREGATED, T0).conflict);
    struct book_lane_info info;
    assert_int_equal(book_lane(s->book, (struct lane){s->dense, BASIS_AGGREGATED}, &info), ERR_OK);
    assert_int_equal(info.conflicts, 1);
    assert_int_equal(info.last_id, 24);
    assert_int_equal(book_lane(s->book, (struct lane){s->sparse, BASIS_TRADES}, &info), ERR_NOT_FOUND);
}

static void test_filtered(void **state) {
    struct setting *s = *state;
    trade(s, 10, 0, 1, 100);
    struct event e = trade_of(s->dense, 11, T0 + 2 * MINUTE, 999, 1);
    e.filtered = true;
    assert_int_equal(apply_one(s->book, &e, 0), FATE_FILTERED);
    assert_int_equal(apply_one(s->book, &e, 0), FATE_DUPLICATE);
    trade(s, 12, 4, 1, 101);
    assert_int_equal(dense_row(s, 2).coverage, COVERAGE_QUIET);
    assert_int_equal((int64_t)dense_row(s, 2).high.mantissa, 100);
    assert_int_equal(dense_row(s, 4).coverage, COVERAGE_TRADED);
}

static enum event_fate filtered(struct setting *s, int64_t id, int64_t minute, int64_t second) {
    struct event e = trade_of(s->dense, id, T0 + minute * MINUTE + second * 1000, 999, 1);
    e.filtered = true;
    return apply_one(s->book, &e, id);
}

/* An id behind the last trade that is no trade itself proves no end of the minute: the next trade may be of it yet. */
static void test_filtered_proves_no_end(void **state) {
    struct setting *s = *state;
    trade(s, 10, 0, 1, 100);
    trade(s, 12, 1, 2, 101);
    filtered(s, 13, 1, 3);
    assert_int_equal(filtered(s, 11, 1, 1), FATE_FILTERED);
    assert_int_equal(dense_row(s, 1).coverage, COVERAGE_TRADED);
    assert_int_equal(dense_row(s, 1).final, CANDLE_OPEN);
    trade(s, 14, 1, 4, 102);
    filtered(s, 15, 1, 5);
    assert_int_equal(dense_row(s, 1).final, CANDLE_OPEN);
    assert_int_equal(dense_row(s, 1).revision, 0);
    trade(s, 16, 2, 0, 103);
    assert_int_equal(dense_row(s, 1).final, CANDLE_FINAL_PROVEN);
    assert_int_equal(dense_row(s, 1).trades, 2);
}

static void test_id_reset(void **state) {
    struct setting *s = *state;
    trade(s, 5000, 0, 1, 100);
    trade(s, 5001, 1, 1, 100);
    assert_int_equal(trade(s, 4999, 0, 0, 100), FATE_USED); /* a repair */
    assert_int_equal(trade(s, 1, 10, 0, 200), FATE_USED);   /* younger than id 5001 by minutes: a new epoch */
    assert_int_equal(trade(s, 2, 11, 0, 201), FATE_USED);
    assert_int_equal(trade(s, 5001, 1, 1, 100), FATE_DUPLICATE);
    assert_int_equal(trade(s, 5001, 12, 1, 100), FATE_USED); /* of the new epoch */
    struct book_lane_info info;
    assert_int_equal(book_lane(s->book, (struct lane){s->dense, BASIS_TRADES}, &info), ERR_OK);
    assert_int_equal(info.first_id, 1);
    assert_int_equal(dense_row(s, 11).coverage, COVERAGE_PARTIAL);
    assert_int_equal(dense_row(s, 1).coverage, COVERAGE_TRADED);
}

/* What came before the reset comes after it: nothing tells that there was one. */
static void test_id_reset_backwards(void **state) {
    struct setting *s = *state;
    assert_int_equal(trade(s, 1, 10, 0, 200), FATE_USED);
    assert_int_equal(trade(s, 2, 11, 0, 201), FATE_USED);
    assert_int_equal(trade(s, 2, 0, 0, 100), FATE_DUPLICATE);
    assert_int_equal(trade(s, 5000, 0, 1, 100), FATE_USED);
}

static enum event_fate price(struct setting *s, int64_t ms, int64_t value) {
    struct event e = price_of(s->price, T0 + ms, value);
    return apply_one(s->book, &e, ms);
}

static struct candle price_row(struct setting *s, int64_t minute) {
    return row_at(s->book, s->price, BASIS_PRICES, T0 + minute * MINUTE);
}

static void test_prices(void **state) {
    struct setting *s = *state;
    assert_int_equal(price(s, 5000, 7), FATE_USED);
    assert_int_equal(price(s, 5000, 9), FATE_USED); /* equal time: the smaller price opens, the larger closes */
    assert_int_equal(price(s, 5000, 8), FATE_USED);
    assert_int_equal(price(s, 5000, 8), FATE_DUPLICATE);
    assert_int_equal(price(s, 58000, 20), FATE_USED);
    assert_int_equal(price(s, 47999, 30), FATE_LATE); /* 10 s of grace */
    assert_int_equal(price(s, 48000, 30), FATE_USED);
    assert_int_equal(price_row(s, 0).final, CANDLE_OPEN);
    assert_int_equal(price(s, 61000, 21), FATE_USED);
    assert_int_equal(price(s, 59999, 22), FATE_USED);
    assert_int_equal(price_row(s, 0).revision, 0);
    assert_int_equal(price(s, 70000, 23), FATE_USED);
    struct candle row = price_row(s, 0);
    assert_int_equal(row.final, CANDLE_FINAL_CLOCK);
    assert_int_equal((int64_t)row.open.mantissa, 7);
    assert_int_equal((int64_t)row.close.mantissa, 22);
    assert_int_equal(row.trades, 6);
    assert_int_equal(row.coverage, COVERAGE_TRADED);
    assert_true(row.volume.mantissa == 0 && row.quote_volume.mantissa == 0);
    assert_int_equal(row.last_offset, 59999);
}

static void test_sparse(void **state) {
    struct setting *s = *state;
    struct event e = trade_of(s->sparse, 1000, T0 + 3 * 3600000, 1, 1);
    assert_int_equal(apply_one(s->book, &e, 0), FATE_USED);
    assert_int_equal(apply_one(s->book, &e, 0), FATE_DUPLICATE);
    e = trade_of(s->sparse, 10, T0 + 2 * 3600000 + 1, 1, 1);
    assert_int_equal(apply_one(s->book, &e, 0), FATE_USED);
    assert_int_equal(apply_one(s->book, &e, 0), FATE_DUPLICATE);
    e = trade_of(s->sparse, 5, T0 + 2 * 3600000 - 1, 1, 1);
    assert_int_equal(apply_one(s->book, &e, 0), FATE_LATE);
    assert_int_equal(row_at(s->book, s->sparse, BASIS_TRADES, T0 + 3 * 3600000).coverage, COVERAGE_TRADED);
}

/* Past the maximum of separate ids the lower half is forgotten: what comes of it again is late, never counted twice. */
static void test_forgotten_ids_are_late(void **state) {
    enum { AT_ONCE = 4096 };
    struct setting *s = *state;
    struct diag diag = {0};
    struct book_counts counts = {0};
    static struct event events[AT_ONCE];
    const uint32_t series[] = {s->sparse, s->dense};
    for (int k = 0; k < 2; k++) {
        struct event e = trade_of(series[k], 0, T0, 1, 1);
        for (int64_t i = 0; i < IDSET_RANGES_MAX; i += AT_ONCE) {
            for (int64_t n = 0; n < AT_ONCE; n++) events[n] = e, events[n].first_id = events[n].last_id = (i + n) * 2;
            assert_int_equal(book_apply(s->book, events, NULL, AT_ONCE, NULL, &counts, &diag), ERR_OK);
        }
        assert_int_equal(counts.fate[FATE_USED], (k + 1) * IDSET_RANGES_MAX);
        e.first_id = e.last_id = IDSET_RANGES_MAX * 2;
        assert_int_equal(apply_one(s->book, &e, 0), FATE_USED);
        e.first_id = e.last_id = 20;
        assert_int_equal(apply_one(s->book, &e, 0), FATE_LATE);
        e.first_id = e.last_id = IDSET_RANGES_MAX * 2;
        assert_int_equal(apply_one(s->book, &e, 0), FATE_DUPLICATE);
    }
    struct event e = trade_of(s->dense, 7, T0 + 2 * MINUTE, 1, 1); /* counted anew */
    assert_int_equal(apply_one(s->book, &e, 0), FATE_USED);
    e = trade_of(s->dense, 20, T0, 1, 1); /* of the old epoch */
    assert_int_equal(apply_one(s->book, &e, 0), FATE_LATE);
    e = trade_of(s->dense, 20, T0 + 2 * MINUTE, 1, 1);
    assert_int_equal(apply_one(s->book, &e, 0), FATE_USED);
}

static enum err visit_gap(void *context, const struct book_gap *gap) {
    ((struct book_gap *)context)[0] = *gap;
    return ERR_OK;
}

static void test_gaps(void **state) {
    struct setting *s = *state;
    struct book_gap gap = {0};
    struct lane lane = {s->dense, BASIS_TRADES};
    trade(s, 10, 0, 1, 100);
    trade(s, 15, 5, 2, 100);
    assert_int_equal(book_gaps(s->book, lane, T0 + 6 * MINUTE, INT64_MAX, visit_gap, &gap), ERR_OK);
    assert_int_equal(gap.first_id, 0);
    assert_int_equal(book_gaps(s->book, lane, T0 + 2 * MINUTE, T0 + 3 * MINUTE, visit_gap, &gap), ERR_OK);
    assert_int_equal(gap.first_id, 11);
    assert_int_equal(gap.last_id, 14);
    assert_int_equal(gap.after_ms, T0 + 1000);
    assert_int_equal(gap.before_ms, T0 + 5 * MINUTE + 2000);
}

static void test_gaps_beside_filtered(void **state) {
    struct setting *s = *state;
    struct book_gap gap = {0};
    struct lane lane = {s->dense, BASIS_TRADES};
    trade(s, 10, 0, 1, 100);
    filtered(s, 12, 1, 0);
    assert_int_equal(book_gaps(s->book, lane, 0, INT64_MAX, visit_gap, &gap), ERR_OK);
    assert_int_equal(gap.first_id, 11);
    assert_int_equal(gap.before_ms, -1); /* nothing after it yet */
    trade(s, 14, 5, 0, 100);
    assert_int_equal(book_gaps(s->book, lane, T0 + 2 * MINUTE, INT64_MAX, visit_gap, &gap), ERR_OK);
    assert_int_equal(gap.first_id, 13);
    assert_int_equal(gap.after_ms, T0 + 1000);
    assert_int_equal(gap.before_ms, T0 + 5 * MINUTE);
}

static void status(struct setting *s, uint32_t series, int64_t since_ms, int64_t last_ms) {
    struct book_status record = {series, true, T0 + since_ms, T0 + last_ms};
    struct diag diag = {0};
    assert_int_equal(book_apply_status(s->book, &record, T0 + last_ms, &diag), ERR_OK);
}

static void clock_at(struct setting *s, int64_t ms) {
    struct diag diag = {0};
    assert_int_equal(book_clock(s->book, T0 + ms, &diag), ERR_OK);
}

static void test_quiet_by_the_feed(void **state) {
    struct setting *s = *state;
    status(s, s->price, 0, 1000);
    price(s, 5000, 7);
    clock_at(s, 6000);
    for (int64_t at = 6000; at <= 200000; at += 1000) {
        status(s, s->price, 0, at);
        clock_at(s, at);
    }
    assert_int_equal(price_row(s, 0).coverage, COVERAGE_TRADED);
    assert_int_equal(price_row(s, 0).final, CANDLE_FINAL_CLOCK);
    assert_int_equal(price_row(s, 1).coverage, COVERAGE_QUIET);
    assert_int_equal((int64_t)price_row(s, 1).close.mantissa, 7);
    assert_int_equal(price_row(s, 2).coverage, COVERAGE_QUIET);
    assert_int_equal(price_row(s, 3).open_time_ms, -1); /* not over yet */
    /* Down from 200 s to 290 s: minute 3 has a price before, minute 4 one after. */
    price(s, 190000, 8);
    status(s, s->price, 290000, 291000);
    price(s, 295000, 9);
    for (int64_t at = 295000; at <= 400000; at += 1000) {
        status(s, s->price, 290000, at);
        clock_at(s, at);
    }
    assert_int_equal(price_row(s, 3).coverage, COVERAGE_PARTIAL);
    assert_int_equal(price_row(s, 4).coverage, COVERAGE_PARTIAL);
    assert_int_equal(price_row(s, 5).coverage, COVERAGE_QUIET);
}

/* The feed's word stands until the ids show that something was lost. */
static void test_ids_overrule_the_feed(void **state) {
    struct setting *s = *state;
    trade(s, 0, 0, 1, 100);
    clock_at(s, 2000);
    status(s, s->dense, 0, 250000);
    clock_at(s, 250000);
    status(s, s->dense, 0, 251000);
    assert_int_equal(dense_row(s, 2).coverage, COVERAGE_QUIET);
    assert_int_equal(dense_row(s, 2).final, CANDLE_FINAL_CLOCK);
    trade(s, 2, 5, 1, 102);
    assert_int_equal(dense_row(s, 2).coverage, COVERAGE_UNKNOWN);
    assert_int_equal(dense_row(s, 2).reason, REASON_CORRECTION);
    trade(s, 1, 0, 3, 101);
    assert_int_equal(dense_row(s, 2).coverage, COVERAGE_QUIET);
    assert_int_equal(dense_row(s, 2).final, CANDLE_FINAL_PROVEN);
    assert_int_equal((int64_t)dense_row(s, 2).close.mantissa, 101);
}

static void test_clock_closes_live_series(void **state) {
    struct setting *s = *state;
    price(s, 5000, 7);
    clock_at(s, 6000); /* one second old when appended */
    clock_at(s, 69999);
    assert_int_equal(price_row(s, 0).final, CANDLE_OPEN);
    clock_at(s, 70000);
    assert_int_equal(price_row(s, 0).final, CANDLE_FINAL_CLOCK);
    assert_int_equal(price(s, 50000, 8), FATE_USED); /* nothing newer was seen: within the grace */
    assert_int_equal(price_row(s, 0).revision, 1);
    assert_int_equal(price_row(s, 0).reason, REASON_LATE);
    trade(s, 10, 0, 1, 100);
    clock_at(s, 3600000); /* an hour old when appended */
    clock_at(s, 7200000);
    assert_int_equal(dense_row(s, 0).final, CANDLE_OPEN);
}

static void test_invalid(void **state) {
    struct setting *s = *state;
    struct event good = trade_of(s->dense, 10, T0, 100, 1), e = good;
    e.price = -1;
    assert_int_equal(apply_one(s->book, &e, 0), FATE_INVALID);
    e = good, e.quantity = -1;
    assert_int_equal(apply_one(s->book, &e, 0), FATE_INVALID);
    e = good, e.time_ms = -1;
    assert_int_equal(apply_one(s->book, &e, 0), FATE_INVALID);
    e = good, e.time_ms = INT64_C(1740000000000000); /* year 57111 */
    assert_int_equal(apply_one(s->book, &e, 0), FATE_INVALID);
    e = good, e.last_id = 11;
    assert_int_equal(apply_one(s->book, &e, 0), FATE_INVALID);
    e = good, e.kind = 3;
    assert_int_equal(apply_one(s->book, &e, 0), FATE_INVALID);
    e = good, e.price = e.quantity = decimal_power10(37); /* the product has 75 digits */
    assert_int_equal(apply_one(s->book, &e, 0), FATE_INVALID);
    assert_int_equal(apply_one(s->book, &good, 0), FATE_USED);
    e = good, e.series = 999;
    struct book_counts counts = {0};
    struct diag diag = {0};
    assert_int_equal(book_apply(s->book, &e, NULL, 1, NULL, &counts, &diag), ERR_UNKNOWN);
}

/* 38 digits are taken, all of them, and one more is not. */
static void test_largest(void **state) {
    struct setting *s = *state;
    const __int128 largest = decimal_power10(38) - 1;
    for (uint8_t scale = 0; scale <= 38; scale += 19) {
        struct event e = price_of(s->price, T0 + scale * INT64_C(60000), 1);
        e.price = largest;
        e.price_scale = scale;
        assert_int_equal(apply_one(s->book, &e, 0), FATE_USED);
        const struct candle row = price_row(s, scale);
        assert_true(row.open.mantissa == largest && row.open.scale == scale && row.close.mantissa == largest);
        e.price = largest + 1;
        e.time_ms++;
        assert_int_equal(apply_one(s->book, &e, 1), FATE_INVALID);
    }
}

/* Sums past 38 digits stay at the largest number, whatever the order, and the candle is partial. */
static void test_sums_too_large(void **state) {
    struct setting *s = *state;
    for (int64_t id = 0; id < 12; id++) {
        struct event e = trade_of(s->dense, id, T0 + id, 1, 1);
        e.quantity = decimal_power10(37);
        assert_int_equal(apply_one(s->book, &e, 0), FATE_USED);
    }
    struct candle row = dense_row(s, 0);
    assert_true(row.volume.mantissa == decimal_power10(38) - 1);
    assert_int_equal(row.coverage, COVERAGE_PARTIAL);
    assert_int_equal(row.trades, 12);
}

struct told {
    char text[256];
};

static enum err visit_change(void *context, const struct book_changed *changed) {
    struct told *told = context;
    size_t size = strlen(told->text);
    snprintf(told->text + size, sizeof told->text - size, "%u/%u@%d:%c ", changed->lane.series, changed->lane.basis,
             (int)((changed->open_time_ms - T0) / MINUTE), "ocr"[changed->change]);
    return ERR_OK;
}

static void expect_changes(struct setting *s, const char *expected) {
    struct told told = {""};
    assert_int_equal(book_changes(s->book, visit_change, &told), ERR_OK);
    assert_string_equal(told.text, expected);
}

static void test_changes(void **state) {
    struct setting *s = *state; /* dense 0, sparse 1, price 2 */
    price(s, 5000, 7);
    trade(s, 10, 0, 1, 100);
    expect_changes(s, "0/0@0:o 2/3@0:o ");
    expect_changes(s, "");
    trade(s, 11, 0, 2, 100);
    trade(s, 12, 3, 2, 100);
    expect_changes(s, "0/0@0:c 0/0@1:c 0/0@2:c 0/0@3:o ");
    trade(s, 9, 0, 1, 100);
    expect_changes(s, "0/0@0:r ");
    price(s, 6000, 7);
    expect_changes(s, "2/3@0:o ");
    price(s, 6000, 7); /* the same one again */
    expect_changes(s, "");
    price(s, 6001, 8);
    price(s, 6002, 9);
    expect_changes(s, "2/3@0:o ");
    price(s, 6003, 8);
    price(s, 61000, 8);
    expect_changes(s, "2/3@0:o 2/3@1:o ");
}

static struct candle kline_of(int64_t minute, int64_t close, bool final) {
    return (struct candle){.open_time_ms = T0 + minute * MINUTE,
                           .open = {1, 0},
                           .high = {9, 0},
                           .low = {1, 0},
                           .close = {close, 0},
                           .volume = {25, 1},
                           .quote_volume = {33333333, 8},
                           .trades = 3,
                           .first_id = 1,
                           .last_id = 3,
                           .final = final ? CANDLE_FINAL_PROVEN : CANDLE_OPEN};
}

static void test_klines(void **state) {
    struct setting *s = *state;
    struct candle rows[] = {kline_of(0, 5, true), kline_of(1, 6, false)};
    struct book_counts counts = {0};
    struct diag diag = {0};
    assert_int_equal(book_apply_klines(s->book, s->dense, rows, 2, &counts, &diag), ERR_OK);
    assert_int_equal(book_apply_klines(s->book, s->dense, rows, 2, &counts, &diag), ERR_OK);
    assert_int_equal(counts.fate[FATE_USED], 2);
    assert_int_equal(counts.fate[FATE_DUPLICATE], 2);
    rows[0].close.mantissa = 7;
    rows[1].final = CANDLE_FINAL_PROVEN;
    assert_int_equal(book_apply_klines(s->book, s->dense, rows, 2, &counts, &diag), ERR_OK);
    struct candle row = row_at(s->book, s->dense, BASIS_KLINES, T0);
    assert_int_equal((int64_t)row.close.mantissa, 7);
    assert_int_equal(row.revision, 1);
    assert_int_equal(row.reason, REASON_CORRECTION);
    assert_true(row.quote_volume.mantissa == 33333333 && row.quote_volume.scale == 8);
    row = row_at(s->book, s->dense, BASIS_KLINES, T0 + MINUTE);
    assert_int_equal(row.final, CANDLE_FINAL_PROVEN);
    assert_int_equal(row.revision, 0);
}

int main(void) {
#define RULE(name) cmocka_unit_test_setup_teardown(name, open_setting, close_setting)
    const struct CMUnitTest tests[] = {
        RULE(test_holes),
        RULE(test_quiet_follows_close),
        RULE(test_proven_before_grace),
        RULE(test_duplicates_and_conflicts),
        RULE(test_filtered),
        RULE(test_filtered_proves_no_end),
        RULE(test_gaps_beside_filtered),
        RULE(test_id_reset),
        RULE(test_id_reset_backwards),
        RULE(test_prices),
        RULE(test_sparse),
        RULE(test_forgotten_ids_are_late),
        RULE(test_gaps),
        RULE(test_quiet_by_the_feed),
        RULE(test_ids_overrule_the_feed),
        RULE(test_clock_closes_live_series),
        RULE(test_invalid),
        RULE(test_largest),
        RULE(test_sums_too_large),
        RULE(test_changes),
        RULE(test_klines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
