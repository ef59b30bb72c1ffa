#include "candle/block.h"
#include "base/splitmix.h"
#include "base/testing.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hash.h"
#include "candle/block/column.h"

static const int64_t DAY_MS = 86400000, MINUTE_MS = 60000, START_MS = INT64_C(1700006400000);

static int64_t between(uint64_t *random, int64_t low, int64_t high) {
    return low + (int64_t)(splitmix_next(random) % (uint64_t)(high - low + 1));
}
static bool one_in(uint64_t *random, uint32_t n) { return splitmix_next(random) % n == 0; }

/* Any 64 bits, small ones often. */
static int64_t any_i64(uint64_t *random) { return (int64_t)(splitmix_next(random) >> splitmix_next(random) % 64); }

/* --- columns --- */

static void column_round_trip(const int64_t *values, uint32_t count, uint64_t *random) {
    struct buf buf;
    buf_init(&buf, 1 << 20);
    column_encode(&buf, values, count);
    buf_put_le64(&buf, UINT64_MAX); /* the tail that must be readable */
    assert_int_equal(buf_err(&buf), ERR_OK);
    struct reader r = reader_of(slice_of(buf.data, buf.size - COLUMN_TAIL_BYTES));
    struct column_reader *column = malloc(sizeof *column);
    assert_int_equal(column_open(column, &r, count), ERR_OK);
    assert_int_equal(reader_end(&r), ERR_OK);
    static int64_t back[COLUMN_VALUES_MAX];
    for (uint32_t at = 0; at < count;) {
        uint32_t some = (uint32_t)between(random, 1, 100);
        if (some > count - at) some = count - at;
        assert_int_equal(column_read(column, back + at, some), ERR_OK);
        at += some;
    }
    assert_memory_equal(back, values, count * sizeof *values);
    free(column);
    buf_deinit(&buf);
}

static void columns_of_every_kind_come_back(void **state) {
    (void)state;
    static int64_t values[COLUMN_VALUES_MAX];
    for (uint64_t seed = 0; seed < testing_seeds(3000); seed++) {
        uint64_t random = seed;
        uint32_t count = one_in(&random, 4) ? (uint32_t)between(&random, 1, 20) : (uint32_t)between(&random, 1, 1500);
        if (one_in(&random, 50)) count = COLUMN_VALUES_MAX;
        unsigned kind = (unsigned)(splitmix_next(&random) % 8), shift = (unsigned)(splitmix_next(&random) % 64);
        int64_t base = any_i64(&random);
        for (uint32_t i = 0; i < count; i++) {
            uint64_t bits = splitmix_next(&random);
            switch (kind) {
                case 0: values[i] = base; break;
                case 1: values[i] = (int64_t)((uint64_t)base + (bits >> shift)); break;
                case 2: values[i] = any_i64(&random); break;
                case 3: values[i] = (int64_t)(0 - (uint64_t)any_i64(&random)); break;
                case 4: values[i] = one_in(&random, 100) ? any_i64(&random) : (int64_t)(bits % 5); break;
                case 5: values[i] = (int64_t)__builtin_ctzll(bits | 1u << 20) - 3; break;
                case 6: values[i] = (int64_t)((uint64_t)base + bits % 200 * (bits >> 32) % 200); break;
                default: values[i] = one_in(&random, 2) ? INT64_MIN : INT64_MAX; break;
            }
        }
        column_round_trip(values, count, &random);
    }
}

/* --- candles --- */

static bool same(struct decimal a, struct decimal b) { return a.mantissa == b.mantissa && a.scale == b.scale; }

static bool equal(const struct candle *a, const struct candle *b) {
    return a->open_time_ms == b->open_time_ms && a->close_time_ms == b->close_time_ms && same(a->open, b->open) &&
           same(a->high, b->high) && same(a->low, b->low) && same(a->close, b->close) && same(a->volume, b->volume) &&
           same(a->quote_volume, b->quote_volume) && same(a->taker_buy_volume, b->taker_buy_volume) &&
           same(a->taker_buy_quote_volume, b->taker_buy_quote_volume) && a->open_mark.time_ms == b->open_mark.time_ms &&
           a->open_mark.order == b->open_mark.order && a->close_mark.time_ms == b->close_mark.time_ms &&
           a->close_mark.order == b->close_mark.order && a->trades == b->trades && a->first_id == b->first_id &&
           a->last_id == b->last_id && a->last_offset == b->last_offset && a->hash == b->hash &&
           a->revision == b->revision && a->covered_minutes == b->covered_minutes && a->native_ms == b->native_ms &&
           a->coverage == b->coverage && a->basis == b->basis && a->final == b->final && a->reason == b->reason &&
           a->conflict == b->conflict;
}

static struct decimal cents(int64_t value) { return decimal_normalize((struct decimal){value, 2}); }

static double normal(uint64_t *random) {
    double u = ((double)(splitmix_next(random) >> 11) + 1) / 9007199254740993.0,
           v = (double)(splitmix_next(random) >> 11) / 9007199254740992.0;
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

/* The generated set of the store's benchmark. */
static void generate(struct candle *rows, uint32_t count, int64_t start_ms, uint64_t *random) {
    int64_t open = 5000000;
    for (uint32_t i = 0; i < count; i++) {
        int64_t close = open + between(random, -50, 50);
        int64_t high = (open > close ? open : close) + between(random, 0, 30);
        int64_t low = (open < close ? open : close) - between(random, 0, 30);
        struct candle *c = &rows[i];
        memset(c, 0, sizeof *c);
        c->open_time_ms = start_ms + i * MINUTE_MS;
        c->close_time_ms = c->open_time_ms + MINUTE_MS - 1;
        c->open = cents(open);
        c->high = cents(high);
        c->low = cents(low);
        c->close = cents(close);
        c->volume = decimal_normalize((struct decimal){(int64_t)(1e4 * exp(2 + normal(random)) + 0.5), 4});
        c->open_mark.time_ms = c->open_time_ms;
        c->close_mark.time_ms = c->close_time_ms;
        c->first_id = c->last_id = c->last_offset = -1;
        c->covered_minutes = 1;
        c->native_ms = 60000;
        c->coverage = COVERAGE_TRADED;
        c->basis = BASIS_KLINES;
        c->final = CANDLE_FINAL_PROVEN;
        open = close;
    }
}

static struct decimal any_decimal(uint64_t *random, bool wide) {
    __int128 mantissa = any_i64(random) >> 2;
    uint8_t scale = (uint8_t)(splitmix_next(random) % 39);
    if (wide) mantissa = mantissa * INT64_C(3000000000000000) + any_i64(random) % 1000000;
    if (one_in(random, 3)) scale %= 9;
    if (one_in(random, 4)) mantissa = -mantissa;
    return decimal_normalize((struct decimal){mantissa, scale});
}

/* What trading looks like: ids, quiet minutes, marks, sums; now and then something no venue would send. */
static void trade(struct candle *c, struct candle *before, uint64_t *random, bool odd) {
    c->trades = one_in(random, 5) ? 0 : between(random, 1, 200);
    c->coverage = c->trades > 0 ? COVERAGE_TRADED : COVERAGE_QUIET;
    int64_t price = before == NULL ? 28530 : (int64_t)before->close.mantissa;
    c->open = c->high = c->low = c->close = decimal_normalize((struct decimal){price, 8});
    c->first_id = c->last_id = -1;
    c->covered_minutes = 1;
    c->final = CANDLE_FINAL_PROVEN;
    c->last_offset = before == NULL ? 1000 : before->last_offset;
    if (c->trades > 0) {
        int64_t last = before != NULL && before->last_id >= 0 ? before->last_id : 777;
        c->first_id = last + 1 + (one_in(random, 50) ? between(random, 1, 1000) : 0);
        c->last_id = c->first_id + c->trades - 1;
        c->high.mantissa += between(random, 0, 5);
        c->low.mantissa -= between(random, 0, 5);
        int64_t volume = between(random, 1, 1 << 20);
        c->volume = decimal_normalize((struct decimal){volume, 1});
        c->quote_volume = decimal_normalize((struct decimal){volume * price / 10 + between(random, -100, 100), 8});
        c->taker_buy_volume = decimal_normalize((struct decimal){volume / 3, 1});
        c->taker_buy_quote_volume = decimal_normalize((struct decimal){volume * price / 30, 8});
        c->open_mark = (struct candle_mark){c->open_time_ms + between(random, 0, 9999), c->first_id};
        c->close_mark = (struct candle_mark){c->close_time_ms - between(random, 0, 9999), c->last_id};
        c->hash = splitmix_next(random);
        c->last_offset += between(random, 1, 400);
    }
    c->high = decimal_normalize(c->high);
    c->low = decimal_normalize(c->low);
    if (!odd) return;
    struct decimal *decimals[] = {&c->open,
                                  &c->high,
                                  &c->low,
                                  &c->close,
                                  &c->volume,
                                  &c->quote_volume,
                                  &c->taker_buy_volume,
                                  &c->taker_buy_quote_volume};
    if (one_in(random, 20)) *decimals[splitmix_next(random) % 8] = any_decimal(random, one_in(random, 3));
    int64_t *integers[] = {&c->close_time_ms,      &c->open_mark.time_ms, &c->open_mark.order,
                           &c->close_mark.time_ms, &c->close_mark.order,  &c->trades,
                           &c->first_id,           &c->last_id,           &c->last_offset};
    if (one_in(random, 20))
        *integers[splitmix_next(random) % 9] = one_in(random, 2) ? any_i64(random) : -any_i64(random);
    uint8_t *bytes[] = {&c->coverage, &c->basis, &c->final, &c->reason};
    if (one_in(random, 20)) *bytes[splitmix_next(random) % 4] = (uint8_t)splitmix_next(random);
    if (one_in(random, 20)) c->revision = (uint32_t)splitmix_next(random);
    c->conflict = one_in(random, 40);
}

static uint32_t make_rows_of(struct candle *rows, uint64_t seed, uint32_t tier_ms) {
    uint64_t random = seed;
    uint32_t count = one_in(&random, 3) ? (uint32_t)between(&random, 1, 60) : (uint32_t)between(&random, 1, 1440);
    bool gaps = one_in(&random, 3), odd = one_in(&random, 2), all_any = one_in(&random, 10);
    int64_t minute = gaps ? between(&random, 0, 50) : 0;
    for (uint32_t i = 0; i < count; i++) {
        struct candle *c = &rows[i];
        memset(c, 0, sizeof *c);
        c->open_time_ms = START_MS + minute * tier_ms;
        c->close_time_ms = c->open_time_ms + tier_ms - 1;
        c->native_ms = one_in(&random, 30) ? 60000 : tier_ms;
        trade(c, i > 0 ? c - 1 : NULL, &random, odd);
        if (all_any) {
            c->open = any_decimal(&random, true);
            c->volume = any_decimal(&random, false);
            c->quote_volume = any_decimal(&random, true);
        }
        minute += gaps && one_in(&random, 10) ? between(&random, 2, 30) : 1;
    }
    return count;
}

static uint32_t make_rows(struct candle *rows, uint64_t seed) { return make_rows_of(rows, seed, 60000); }

static struct block_view encode_tier(struct buf *buf, uint32_t tier_ms, const struct candle *rows, uint32_t count) {
    buf_clear(buf);
    assert_int_equal(block_encode(buf, tier_ms, START_MS, rows, count), ERR_OK);
    struct block_view view = {0};
    assert_int_equal(block_open(buf_slice(buf), &view), ERR_OK);
    assert_int_equal(view.row_count, count);
    assert_int_equal(view.tier_ms, tier_ms);
    assert_int_equal(view.period_start_ms, START_MS);
    assert_int_equal(view.first_open_ms, rows[0].open_time_ms);
    assert_int_equal(view.last_open_ms, rows[count - 1].open_time_ms);
    return view;
}

static struct block_view encode(struct buf *buf, const struct candle *rows, uint32_t count) {
    return encode_tier(buf, 60000, rows, count);
}

static void expect_range(const struct block_view *view, const struct candle *rows, uint32_t count, int64_t from,
                         int64_t to, uint32_t max) {
    static struct candle back[BLOCK_ROWS_MAX];
    uint32_t got = 77777, low = 0;
    assert_int_equal(block_read(view, from, to, back, max, &got), ERR_OK);
    while (low < count && rows[low].open_time_ms < from) low++;
    uint32_t high = low;
    while (high < count && rows[high].open_time_ms < to && high - low < max) high++;
    assert_int_equal(got, high - low);
    for (uint32_t i = 0; i < got; i++)
        if (!equal(&back[i], &rows[low + i])) fail_msg("row %u of [%ld, %ld) differs", i, (long)from, (long)to);
}

static void candles_of_every_kind_come_back(void **state) {
    (void)state;
    static struct candle rows[BLOCK_ROWS_MAX];
    struct buf buf, again;
    buf_init(&buf, BLOCK_BYTES_MAX);
    buf_init(&again, BLOCK_BYTES_MAX);
    for (uint64_t seed = 1; seed <= testing_seeds(1500); seed++) {
        static const uint32_t tiers[] = {60000, 1000, 900000, 86400000};
        uint64_t random = seed * 31;
        const uint32_t tier_ms = tiers[seed % 8 < 4 ? 0 : seed % 4];
        uint32_t count = make_rows_of(rows, seed, tier_ms);
        struct block_view view = encode_tier(&buf, tier_ms, rows, count);
        expect_range(&view, rows, count, INT64_MIN, INT64_MAX, BLOCK_ROWS_MAX);
        for (int i = 0; i < 4; i++) {
            int64_t from = START_MS + between(&random, -5, 1500) * tier_ms + between(&random, -1, 1);
            int64_t to = from + between(&random, -1, 300) * tier_ms;
            expect_range(&view, rows, count, from, to, (uint32_t)between(&random, 1, 500));
        }
        assert_int_equal(block_encode(&again, tier_ms, START_MS, rows, count), ERR_OK);
        assert_true(slice_equal(buf_slice(&buf), buf_slice(&again)));
        buf_clear(&again);
    }
    buf_deinit(&buf);
    buf_deinit(&again);
}

static void every_flipped_bit_is_found(void **state) {
    (void)state;
    static struct candle rows[BLOCK_ROWS_MAX];
    struct buf buf;
    buf_init(&buf, BLOCK_BYTES_MAX);
    (void)encode(&buf, rows, make_rows(rows, 5));
    struct block_view view;
    for (size_t i = 0; i < buf.size; i++) {
        buf.data[i] ^= (uint8_t)(1 << i % 8);
        assert_int_equal(block_open(buf_slice(&buf), &view), ERR_CORRUPT);
        buf.data[i] ^= (uint8_t)(1 << i % 8);
        assert_int_equal(block_open(slice_of(buf.data, i), &view), ERR_CORRUPT);
    }
    buf_deinit(&buf);
}

/* The checksum made right again: whatever the columns say, reading must be safe. */
static void damaged_columns_are_read_safely(void **state) {
    (void)state;
    static struct candle rows[BLOCK_ROWS_MAX], back[BLOCK_ROWS_MAX];
    struct buf buf;
    buf_init(&buf, BLOCK_BYTES_MAX);
    for (uint64_t seed = 1; seed <= testing_seeds(300); seed++) {
        uint64_t random = seed;
        (void)encode(&buf, rows, make_rows(rows, seed));
        uint8_t *bytes = malloc(buf.size); /* exactly, so that a sanitizer sees every step beyond */
        for (int i = 0; i < 20; i++) {
            memcpy(bytes, buf.data, buf.size);
            for (int64_t n = between(&random, 1, 4); n > 0; n--)
                bytes[splitmix_next(&random) % (one_in(&random, 2) ? 60 : buf.size - 8)] =
                    (uint8_t)splitmix_next(&random);
            uint64_t sum = hash_bytes(slice_of(bytes, buf.size - 8), 0);
            memcpy(bytes + buf.size - 8, &sum, 8);
            struct block_view view;
            uint32_t got = 0;
            if (block_open(slice_of(bytes, buf.size), &view) != ERR_OK) continue;
            enum err err = block_read(&view, INT64_MIN, INT64_MAX, back, BLOCK_ROWS_MAX, &got);
            assert_true(err == ERR_OK || err == ERR_CORRUPT);
        }
        free(bytes);
    }
    buf_deinit(&buf);
}

static void rows_out_of_order_are_refused(void **state) {
    (void)state;
    static struct candle rows[10];
    uint64_t random = 3;
    struct buf buf;
    buf_init(&buf, BLOCK_BYTES_MAX);
    generate(rows, 10, START_MS, &random);
    assert_int_equal(block_encode(&buf, 60000, START_MS, rows, 0), ERR_RANGE);
    assert_int_equal(block_encode(&buf, 60000, START_MS + 60000, rows, 10), ERR_RANGE);
    assert_int_equal(block_encode(&buf, 60000, START_MS - 1, rows, 10), ERR_RANGE);
    rows[5].open_time_ms = rows[4].open_time_ms;
    assert_int_equal(block_encode(&buf, 60000, START_MS, rows, 10), ERR_RANGE);
    assert_int_equal(buf.size, 0);
    buf_deinit(&buf);
}

static void generated_candles_take_5_bytes(void **state) {
    (void)state;
    static struct candle rows[1440];
    struct buf buf;
    buf_init(&buf, BLOCK_BYTES_MAX);
    uint64_t random = 1, bytes = 0;
    for (int day = 0; day < 20; day++) {
        generate(rows, 1440, START_MS, &random);
        struct block_view view = encode(&buf, rows, 1440);
        expect_range(&view, rows, 1440, START_MS, START_MS + DAY_MS, 1440);
        bytes += buf.size;
    }
    print_message("generated: %.3f bytes a candle\n", (double)bytes / 20 / 1440);
    assert_true((double)bytes / 20 / 1440 < 5.0);
    buf_deinit(&buf);
}

/* --- the recorded day --- */

static bool field_decimal(char **at, struct decimal *ret) {
    char *end = strpbrk(*at, ",\r\n");
    if (end == NULL) return false;
    bool fine = decimal_parse(slice_of(*at, (size_t)(end - *at)), ret) == ERR_OK;
    *at = end + 1;
    return fine;
}

static bool field_i64(char **at, int64_t *ret) {
    struct decimal value;
    if (!field_decimal(at, &value) || value.scale != 0) return false;
    *ret = (int64_t)value.mantissa;
    return true;
}

static bool read_kline(char *line, struct candle *c) {
    memset(c, 0, sizeof *c);
    c->first_id = c->last_id = c->last_offset = -1;
    c->covered_minutes = 1;
    c->native_ms = 60000;
    c->coverage = COVERAGE_TRADED;
    c->basis = BASIS_KLINES;
    c->final = CANDLE_FINAL_PROVEN;
    bool fine = field_i64(&line, &c->open_time_ms) && field_decimal(&line, &c->open) &&
                field_decimal(&line, &c->high) && field_decimal(&line, &c->low) && field_decimal(&line, &c->close) &&
                field_decimal(&line, &c->volume) && field_i64(&line, &c->close_time_ms) &&
                field_decimal(&line, &c->quote_volume) && field_i64(&line, &c->trades) &&
                field_decimal(&line, &c->taker_buy_volume) && field_decimal(&line, &c->taker_buy_quote_volume);
    c->open_mark = (struct candle_mark){c->open_time_ms, -1};
    c->close_mark = (struct candle_mark){c->close_time_ms, -1};
    return fine;
}

static void recorded_klines_take_11_bytes(void **state) {
    (void)state;
    static struct candle rows[1440];
    const char *shared = getenv("WICK_SHARED");
    char path[512], line[512];
    snprintf(path, sizeof path, "%s/data/klines/ADABTC-1m-2021-11-27.csv", shared == NULL ? "../shared" : shared);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        print_message("SKIPPED: %s is not there (WICK_SHARED names the folder of recorded data)\n", path);
        skip();
        return;
    }
    uint32_t count = 0;
    while (count < 1440 && fgets(line, sizeof line, file) != NULL) assert_true(read_kline(line, &rows[count++]));
    fclose(file);
    struct buf buf;
    buf_init(&buf, BLOCK_BYTES_MAX);
    assert_int_equal(block_encode(&buf, 60000, rows[0].open_time_ms, rows, count), ERR_OK);
    struct block_view view;
    assert_int_equal(block_open(buf_slice(&buf), &view), ERR_OK);
    expect_range(&view, rows, count, INT64_MIN, INT64_MAX, count);
    print_message("ADABTC: %.3f bytes a candle\n", (double)buf.size / count);
    assert_true((double)buf.size / count < 11.0);
    buf_deinit(&buf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_of_every_kind_come_back), cmocka_unit_test(candles_of_every_kind_come_back),
        cmocka_unit_test(every_flipped_bit_is_found),      cmocka_unit_test(damaged_columns_are_read_safely),
        cmocka_unit_test(rows_out_of_order_are_refused),   cmocka_unit_test(generated_candles_take_5_bytes),
        cmocka_unit_test(recorded_klines_take_11_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
