/* Roll-ups are associative and agree with a direct fold of the parts; rows are rendered as documented. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/splitmix.h"
#include "base/testing.h"
#include "candle/candle.h"

static uint64_t random_state;
static uint64_t random_next(void) { return splitmix_next(&random_state); }
static unsigned below(unsigned n) { return (unsigned)(random_next() % n); }

static struct decimal price(void) { return (struct decimal){(__int128)(below(50) + 100), (uint8_t)below(3)}; }
static struct decimal amount(void) {
    __int128 wide = (__int128)random_next() * (below(3) == 0 ? 1000000007 : 1);
    return (struct decimal){wide < 0 ? -wide : wide, (uint8_t)below(9)};
}

static struct candle random_candle(int64_t minute) {
    struct candle c = {.open_time_ms = minute * 60000, .close_time_ms = minute * 60000 + 59999, .native_ms = 60000};
    bool flat = below(3) == 0;
    c.open = price(), c.close = flat ? c.open : price();
    c.high = decimal_compare(c.open, c.close) > 0 ? c.open : c.close;
    c.low = decimal_compare(c.open, c.close) > 0 ? c.close : c.open;
    if (!flat) {
        c.volume = amount(), c.quote_volume = amount();
        c.taker_buy_volume = amount(), c.taker_buy_quote_volume = amount();
        c.trades = 1 + below(1000);
    }
    c.open_mark = (struct candle_mark){c.open_time_ms + below(60000), below(100)};
    c.close_mark = (struct candle_mark){c.open_time_ms + below(60000), below(100)};
    c.first_id = flat || below(5) == 0 ? -1 : minute * 100;
    c.last_id = c.first_id < 0 ? -1 : c.first_id + below(99);
    c.last_offset = (int64_t)below(1000) - 1;
    c.hash = flat ? 0 : random_next();
    c.revision = below(20) == 0 ? UINT32_MAX - below(3) : below(3);
    c.coverage = flat ? COVERAGE_QUIET : below(4) == 0 ? below(4) : COVERAGE_TRADED;
    c.covered_minutes = c.coverage >= COVERAGE_QUIET;
    c.basis = (uint8_t)below(BASIS_COUNT);
    c.final = (uint8_t)below(3);
    c.reason = (uint8_t)below(4);
    c.conflict = below(10) == 0;
    return c;
}

static void assert_same(const struct candle *a, const struct candle *b) {
    const struct decimal *x = &a->open, *y = &b->open;
    for (unsigned i = 0; i < 8; i++) assert_true(decimal_equal(x[i], y[i]));
    assert_memory_equal(&a->open_mark, &b->open_mark, sizeof a->open_mark);
    assert_memory_equal(&a->close_mark, &b->close_mark, sizeof a->close_mark);
    assert_int_equal(a->open_time_ms, b->open_time_ms);
    assert_int_equal(a->trades, b->trades);
    assert_int_equal(a->first_id, b->first_id);
    assert_int_equal(a->last_id, b->last_id);
    assert_int_equal(a->last_offset, b->last_offset);
    assert_true(a->hash == b->hash);
    assert_int_equal(a->revision, b->revision);
    assert_int_equal(a->covered_minutes, b->covered_minutes);
    assert_int_equal(a->coverage, b->coverage);
    assert_int_equal(a->basis, b->basis);
    assert_int_equal(a->final, b->final);
    assert_int_equal(a->reason, b->reason);
    assert_int_equal(a->conflict, b->conflict);
}

_Static_assert(offsetof(struct candle, taker_buy_quote_volume) - offsetof(struct candle, open) ==
                   7 * sizeof(struct decimal),
               "assert_same walks them as an array");

static struct candle merged(const struct candle *parts, unsigned count) {
    if (count == 1) return parts[0];
    unsigned left = 1 + below(count - 1);
    struct candle sum = merged(parts, left), rest = merged(parts + left, count - left);
    assert_int_equal(candle_merge(&sum, &rest), ERR_OK);
    return sum;
}

static void test_merge_is_associative(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < testing_seeds(20000); seed++) {
        random_state = seed;
        struct candle parts[12];
        unsigned count = 2 + below(11);
        for (unsigned i = 0; i < count; i++) parts[i] = random_candle(i);
        struct candle in_order = parts[0];
        for (unsigned i = 1; i < count; i++) assert_int_equal(candle_merge(&in_order, &parts[i]), ERR_OK);
        struct candle tree = merged(parts, count);
        assert_same(&in_order, &tree);
    }
}

/* What a roll-up must be, said once more in plain loops. */
static void test_merge_agrees_with_definition(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < testing_seeds(5000); seed++) {
        random_state = seed;
        struct candle parts[8];
        for (unsigned i = 0; i < 8; i++) parts[i] = random_candle(i);
        struct candle sum = parts[0];
        for (unsigned i = 1; i < 8; i++) assert_int_equal(candle_merge(&sum, &parts[i]), ERR_OK);
        int first = -1, last = -1;
        int64_t trades = 0;
        uint64_t hash = 0;
        unsigned covered = 0, quiet = 0, unknown = 0, partial = 0;
        for (int i = 0; i < 8; i++) {
            if (parts[i].trades > 0) first = first < 0 ? i : first, last = i;
            trades += parts[i].trades;
            hash += parts[i].hash;
            covered += parts[i].covered_minutes;
            quiet += parts[i].coverage == COVERAGE_QUIET;
            unknown += parts[i].coverage == COVERAGE_UNKNOWN;
            partial += parts[i].coverage == COVERAGE_PARTIAL;
        }
        assert_int_equal(sum.trades, trades);
        assert_true(sum.hash == hash);
        assert_int_equal(sum.covered_minutes, covered);
        assert_int_equal(sum.open_time_ms, 0);
        assert_int_equal(sum.close_time_ms, 59999);
        int coverage = quiet == 8                     ? COVERAGE_QUIET
                       : unknown == 8                 ? COVERAGE_UNKNOWN
                       : unknown == 0 && partial == 0 ? COVERAGE_TRADED
                                                      : COVERAGE_PARTIAL;
        assert_int_equal(sum.coverage, coverage);
        if (first < 0) continue;
        assert_true(decimal_equal(sum.open, parts[first].open));
        assert_true(decimal_equal(sum.close, parts[last].close));
        for (int i = 0; i < 8; i++) {
            if (parts[i].trades == 0) continue;
            assert_true(decimal_compare(sum.high, parts[i].high) >= 0);
            assert_true(decimal_compare(sum.low, parts[i].low) <= 0);
        }
    }
}

/* As large as 64 bits hold, or nearly: each fits, their sum may not. */
static void make_large(struct candle *row, uint8_t scale) {
    for (struct decimal *d = &row->volume; d <= &row->taker_buy_quote_volume; d++)
        *d = (struct decimal){(int64_t)(random_next() >> (1 + below(6))), scale};
}

static void test_sum_is_all_merged(void **state) {
    (void)state;
    enum { ROWS = 15 };
    for (int round = 0; round < 20000; round++) {
        struct candle rows[ROWS], merged, sum;
        uint32_t count = 1 + below(ROWS);
        const uint8_t scale = (uint8_t)below(9);
        for (uint32_t i = 0; i < count; i++) {
            rows[i] = random_candle(i);
            if (round % 5 == 4 && rows[i].trades > 0) make_large(&rows[i], scale);
            if (round % 3 == 0 || round % 5 == 4) continue; /* as they mostly are: small */
            rows[i].volume.mantissa %= 1000000000, rows[i].quote_volume.mantissa %= 1000000000;
            rows[i].taker_buy_volume.mantissa %= 1000000, rows[i].taker_buy_quote_volume.mantissa %= 1000000;
        }
        merged = rows[0];
        for (uint32_t i = 1; i < count; i++) assert_int_equal(candle_merge(&merged, &rows[i]), ERR_OK);
        assert_int_equal(candle_sum(rows, count, &sum), ERR_OK);
        assert_same(&merged, &sum);
        assert_int_equal(merged.open_time_ms, sum.open_time_ms);
    }
    struct candle large[2] = {random_candle(0), random_candle(1)}, kept = {.trades = 77};
    large[0].volume = large[1].volume = (struct decimal){decimal_power10(38) - 1, 0};
    assert_int_equal(candle_sum(large, 2, &kept), ERR_PRECISION);
    assert_int_equal(kept.trades, 77);
}

static void test_merge_refuses_overflow_untouched(void **state) {
    (void)state;
    random_state = 7;
    struct candle a = random_candle(0), b = random_candle(1);
    a.volume = (struct decimal){9 * decimal_power10(37), 0};
    b.taker_buy_quote_volume = a.volume;
    b.volume = a.volume;
    struct candle before = a;
    assert_int_equal(candle_merge(&a, &b), ERR_PRECISION);
    assert_memory_equal(&a, &before, sizeof a);
}

static struct candle example(void) {
    struct candle c = {.open_time_ms = 1618678080000, .close_time_ms = 1618678139999, .trades = 12};
    c.open = (struct decimal){5348767, 2}, c.high = (struct decimal){5350000, 2};
    c.low = (struct decimal){53480, 0}, c.close = (struct decimal){534812, 1};
    c.volume = (struct decimal){12345678, 8}, c.quote_volume = (struct decimal){660000, 2};
    c.taker_buy_volume = (struct decimal){1, 8};
    c.first_id = 1, c.last_id = 12, c.hash = UINT64_C(0x0123456789abcdef);
    c.coverage = COVERAGE_TRADED, c.covered_minutes = 1, c.final = CANDLE_FINAL_PROVEN, c.native_ms = 60000;
    return c;
}

static void assert_rendered(struct buf *out, const char *expected) {
    assert_int_equal(buf_err(out), ERR_OK);
    buf_put_u8(out, 0);
    assert_string_equal((const char *)out->data, expected);
    buf_clear(out);
}

static void test_json(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 65536);
    struct candle c = example();
    struct candle_style style = {"binance:BTC/USDT", "1m"};
    candle_to_json(&out, &style, &c);
    assert_rendered(&out,
                    "{\"series\":\"binance:BTC/USDT\",\"interval\":\"1m\",\"open_time\":1618678080000,"
                    "\"close_time\":1618678139999,\"open\":\"53487.67\",\"high\":\"53500\",\"low\":\"53480\","
                    "\"close\":\"53481.2\",\"volume\":\"0.12345678\",\"quote_volume\":\"6600\",\"trades\":12,"
                    "\"taker_buy_volume\":\"0.00000001\",\"taker_buy_quote_volume\":\"0\",\"first_id\":1,"
                    "\"last_id\":12,\"coverage\":\"traded\",\"covered_minutes\":1,\"basis\":\"trades\",\"final\":true,"
                    "\"revision\":0,\"native_interval\":\"1m\",\"hash\":\"0123456789abcdef\"}");
    c.basis = BASIS_KLINES, c.final = CANDLE_OPEN, c.native_ms = 900000, c.reason = REASON_LATE, c.revision = 3;
    c.conflict = true, c.first_id = c.last_id = -1;
    style.series = "x:\"/\\";
    candle_to_json(&out, &style, &c);
    buf_put_u8(&out, 0);
    assert_non_null(strstr((const char *)out.data, "{\"series\":\"x:\\\"/\\\\\",\"interval\""));
    assert_non_null(strstr((const char *)out.data,
                           "\"first_id\":-1,\"last_id\":-1,\"coverage\":\"traded\",\"covered_minutes\":1,\"basis\":"
                           "\"klines\",\"final\":false,\"revision\":3,\"reason\":\"late\",\"conflict\":true,"
                           "\"native_interval\":\"15m\",\"hash\":null}"));
    buf_clear(&out);
    c.close_time_ms = c.open_time_ms + 999; /* as base rows of a second keep it */
    candle_to_json(&out, &style, &c);
    buf_put_u8(&out, 0);
    assert_non_null(strstr((const char *)out.data, "\"coverage\":\"traded\",\"covered_minutes\":0,"));
    buf_deinit(&out);
}

static void test_csv(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 65536);
    struct candle c = example();
    candle_csv_header(&out);
    candle_to_csv(&out, &c);
    c.basis = BASIS_KLINES, c.final = CANDLE_OPEN;
    candle_to_csv(&out, &c);
    assert_rendered(&out,
                    "open_time,open,high,low,close,volume,close_time,quote_volume,trades,taker_buy_volume,"
                    "taker_buy_quote_volume,first_id,last_id,coverage,basis,final,revision,hash\n"
                    "1618678080000,53487.67,53500,53480,53481.2,0.12345678,1618678139999,6600,12,0.00000001,0,1,12,"
                    "traded,trades,true,0,0123456789abcdef\n"
                    "1618678080000,53487.67,53500,53480,53481.2,0.12345678,1618678139999,6600,12,0.00000001,0,1,12,"
                    "traded,klines,false,0,\n");
    buf_deinit(&out);
}

/* The longest row there can be fits the room that is reserved for it. */
static void test_longest_row(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 65536);
    struct candle c = example();
    for (struct decimal *d = &c.open; d <= &c.taker_buy_quote_volume; d++)
        *d = (struct decimal){-(decimal_power10(37) * 9 + 1), 38};
    c.open_time_ms = c.close_time_ms = c.trades = c.first_id = c.last_id = INT64_MIN;
    c.revision = c.covered_minutes = UINT32_MAX, c.native_ms = 4294967291u;
    c.conflict = true, c.reason = REASON_CORRECTION, c.basis = BASIS_AGGREGATED;
    struct candle_style style = {"v:B/Q", "1000M"};
    candle_to_json(&out, &style, &c);
    candle_to_csv(&out, &c);
    assert_int_equal(buf_err(&out), ERR_OK);
    assert_true(out.size > 1000);
    buf_deinit(&out);
    buf_init(&out, 64); /* too small: an error of the buffer, and nothing written */
    candle_to_json(&out, &style, &c);
    assert_int_equal(buf_err(&out), ERR_TOO_LARGE);
    assert_int_equal(out.size, 0);
    buf_deinit(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge_is_associative),
        cmocka_unit_test(test_merge_agrees_with_definition),
        cmocka_unit_test(test_sum_is_all_merged),
        cmocka_unit_test(test_merge_refuses_overflow_untouched),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_longest_row),
    };
    return cmocka_run_group_tests_name("candle", tests, NULL, NULL);
}
