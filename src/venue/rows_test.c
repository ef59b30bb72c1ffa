/* Rows of published CSV that the fast readers take are what the general ones make of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/splitmix.h"
#include "base/testing.h"
#include "codec/csv.h"
#include "venue/binance/binance.h"

static uint64_t random_state;
static uint32_t random_below(uint32_t limit) { return (uint32_t)((splitmix_next(&random_state) >> 33) % limit); }

static void put_decimal(struct buf *out) {
    buf_printf(out, "%u", random_below(2) ? random_below(10) : random_below(2000000000));
    if (random_below(4) == 0) return;
    buf_put_u8(out, '.');
    for (uint32_t i = random_below(14); i > 0; i--)
        buf_put_u8(out, (uint8_t)('0' + (random_below(2) ? 0 : random_below(10))));
}

/* Newer files are in microseconds. */
static void put_time(struct buf *out, uint64_t time_ms, bool micros) {
    buf_printf(out, "%llu", (unsigned long long)time_ms);
    if (micros) buf_printf(out, "%03u", random_below(1000));
}

static void put_row(struct buf *out, bool kline, bool aggregated) {
    int columns = kline ? 12 : aggregated ? 8 : 7;
    const bool micros = random_below(4) == 0, plausible = random_below(4) > 0;
    const uint64_t minute = 1600000020000ull + random_below(1000) * 60000ull;
    for (int i = 0; i < columns; i++) {
        if (i > 0) buf_put_u8(out, ',');
        int time = kline ? 6 : aggregated ? 5 : 4;
        if (kline && i == 0)
            put_time(out, minute, micros);
        else if (i == time)
            put_time(out, minute + (plausible ? 59999 : random_below(1000000)), micros);
        else if (kline && i == 2 && plausible)
            buf_printf(out, "%u.%u", 2000000000 + random_below(1000), random_below(1000)); /* high */
        else if (kline && i == 3 && plausible)
            buf_printf(out, "0.%u", random_below(1000)); /* low */
        else if (kline && (i == 5 || i == 7) && plausible)
            buf_printf(out, "%u.%u", 2000000000 + random_below(1000), random_below(1000)); /* volumes */
        else if (kline && i == 8 && random_below(16) == 0)
            buf_put_u8(out, '0');
        else if (!kline && i > time)
            buf_put_text(out, random_below(2) ? "True" : "false");
        else if ((kline && i == 8) || (!kline && (i == 0 || (aggregated && i > 2))))
            buf_printf(out, "%u", aggregated && i == 4 ? 4000000000u : random_below(4000000));
        else
            put_decimal(out);
    }
}

/* A byte changed, put in or taken out. */
static void damage(struct buf *text) {
    const uint32_t at = random_below((uint32_t)text->size), how = random_below(3);
    const uint8_t byte = (uint8_t) ",.-0129eE+\"a \r\0"[random_below(15)];
    if (how == 0) {
        text->data[at] = byte;
    } else if (how == 1) {
        buf_put_u8(text, 0);
        memmove(text->data + at + 1, text->data + at, text->size - at - 1);
        text->data[at] = byte;
    } else {
        memmove(text->data + at, text->data + at + 1, text->size - at - 1);
        text->size--;
    }
}

static void test_fast_and_general_rows_agree(void **state) {
    (void)state;
    struct buf text;
    buf_init(&text, 4096);
    uint32_t taken[2] = {0};
    for (uint64_t seed = 1; seed <= testing_seeds(60000); seed++) {
        random_state = seed * 7919;
        bool kline = seed % 3 == 0, aggregated = seed % 3 == 1, narrow = seed % 2 == 0;
        buf_clear(&text);
        put_row(&text, kline, aggregated);
        if (random_below(5) == 0) buf_put_u8(&text, '\r');
        if (random_below(2) == 0) damage(&text);
        size_t size = text.size;
        buf_put_text(&text, "\n");
        for (int i = 0; i < INPUT_PADDING_BYTES; i++) buf_put_u8(&text, '1');
        const uint8_t *at = text.data, *end = text.data + size + 1;
        struct candle fast_row, row;
        struct event fast_event, event;
        uint32_t start, count = 0;
        memset(&fast_row, 0, sizeof fast_row); /* the bytes between fields are compared, too */
        uint32_t got = !kline   ? binance_csv_trades(&at, end, aggregated, 5, &fast_event, &start, 1)
                       : narrow ? binance_csv_klines_narrow(&at, end, &fast_row, &start, 1)
                                : binance_csv_klines(&at, end, &fast_row, &start, 1);
        if (got == 0) continue;
        assert_ptr_equal(at, end);
        taken[kline]++;
        uint8_t copy[4096];
        struct slice fields[16];
        memcpy(copy, text.data, size);
        assert_int_equal(csv_split(copy, size, ',', fields, 16, &count), ERR_OK);
        if (kline) {
            assert_int_equal(binance_csv_kline(fields, count, NULL, &row), ERR_OK);
            assert_true(decimal_equal(row.quote_volume, fast_row.quote_volume) &&
                        row.high.scale == fast_row.high.scale);
            assert_memory_equal(&row, &fast_row, sizeof row);
        } else {
            assert_int_equal(binance_csv_trade(fields, count, aggregated, 5, NULL, &event), ERR_OK);
            assert_memory_equal(&event, &fast_event, sizeof event);
        }
    }
    assert_true(taken[0] > testing_seeds(7000) && taken[1] > testing_seeds(2500));
    buf_deinit(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fast_and_general_rows_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
