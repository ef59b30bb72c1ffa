/* Messages of venues' topics: what becomes of each kind, and that remembered shapes decide as the general parser does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <zlib.h>

#include "base/buf.h"
#include "base/splitmix.h"
#include "base/testing.h"
#include "venue/binance/binance.h"
#include "venue/huobi/huobi.h"

struct fixture {
    struct series_table *series;
    struct venue_decoder *decoder;
    struct event events[16];
    uint32_t count;
};

static void open_venue(struct fixture *f, const char *venue) {
    assert_int_equal(series_table_open(&f->series), ERR_OK);
    assert_int_equal(venue_decoder_open(venue, f->series, &f->decoder), ERR_OK);
}

static void close_venue(struct fixture *f) {
    venue_decoder_close(&f->decoder);
    series_table_close(&f->series);
}

static enum err decode(struct fixture *f, const char *text) {
    struct diag diag = {0};
    f->count = 99;
    enum err err = venue_decode(f->decoder, slice_text(text), &diag, f->events, 16, &f->count);
    if (err != ERR_OK) assert_int_equal(f->count, 99);
    if (err != ERR_OK && err != ERR_END) assert_true(diag.what[0] != '\0');
    return err;
}

static const char *name_of(const struct fixture *f) { return series_get(f->series, f->events[0].series)->name; }

static void test_binance(void **state) {
    (void)state;
    struct fixture f;
    open_venue(&f, "binance");
    const char *trade =
        "{\"e\":\"trade\",\"E\":1723161255343,\"s\":\"BTCUSDT\",\"t\":12,\"p\":\"61837.63000000\",\"q\":\"0.02\","
        "\"T\":1723161255342,\"m\":true,\"M\":true}";
    for (int i = 0; i < 3; i++) {
        assert_int_equal(decode(&f, trade), ERR_OK);
        assert_int_equal(f.count, 1);
        assert_int_equal(f.events[0].first_id, 12);
        assert_int_equal((int64_t)f.events[0].price, 6183763);
        assert_string_equal(name_of(&f), "binance:BTC/USDT");
    }
    static const struct {
        const char *text;
        enum err err;
    } cases[] = {
        {"{\"result\":null,\"id\":1}", ERR_END},
        {"{\"u\":1,\"s\":\"BTCUSDT\",\"b\":\"1\"}", ERR_END},
        {"{\"stream\":\"!ticker@arr\",\"data\":[{\"e\":\"24hrTicker\"}]}", ERR_END},
        {"{\"e\":\"kline\",\"k\":7}", ERR_END}, /* of no matter in a topic */
        {"[]", ERR_END},
        {"{\"e\":\"trade\"}", ERR_MISSING},
        {"{\"e\":\"trade\",\"e\":\"trade\"}", ERR_DUPLICATE},
        {"{\"e\":\"trade\",\"s\":\"BTCUSDT\",\"t\":\"x\",\"p\":\"1\",\"q\":\"1\",\"T\":1,\"m\":true}", ERR_TYPE},
        {"{\"e\":\"trade\",\"s\":\"BTCUSDT\",\"t\":1,\"p\":\"1\",\"q\":\"1\",\"T\":0,\"m\":true}", ERR_RANGE},
        {"{\"e\":\"trade\",\"s\":\"BTCUSDT\",\"t\":-1,\"p\":\"1\",\"q\":\"1\",\"T\":1,\"m\":true}", ERR_RANGE},
        {"{\"e\":\"trade\",\"s\":\"BTCUSDT\",\"t\":1,\"p\":\"0\",\"q\":\"1\",\"T\":1,\"m\":true}", ERR_RANGE},
        {"{\"e\":\"trade\",\"s\":\"BTCUSDT\",\"t\":1,\"p\":\"1\",\"q\":\"-1\",\"T\":1,\"m\":true}", ERR_RANGE},
        {"{\"e\":\"trade\",\"s\":\"BTCUSDT\",\"t\":1,\"p\":\"1\",\"q\":\"1\",\"T\":1,\"m\":\"no\"}", ERR_TYPE},
        {"{\"e\":\"trade\",\"s\":\"WHATEVER\",\"t\":1,\"p\":\"1\",\"q\":\"1\",\"T\":1,\"m\":true}", ERR_UNKNOWN},
        {"{\"e\":\"trade\",\"s\":\"BTC:USDT\",\"t\":1,\"p\":\"1\",\"q\":\"1\",\"T\":1,\"m\":true}", ERR_SYNTAX},
        {"{\"e\":\"trade\",\"s\":\"BTCUSDT\\u0000\",\"t\":1,\"p\":\"1\",\"q\":\"1\",\"T\":1,\"m\":true}", ERR_SYNTAX},
        {"{\"e\":\"aggTrade\",\"s\":\"BTCUSDT\",\"f\":5,\"l\":4,\"p\":\"1\",\"q\":\"1\",\"T\":1,\"m\":true}",
         ERR_RANGE},
        {"{\"e\":\"aggTrade\",\"s\":\"BTCUSDT\",\"f\":5,\"l\":900000000,\"p\":\"1\",\"q\":\"1\",\"T\":1,\"m\":true}",
         ERR_RANGE},
        {"{\"e\":\"trade\",\"s\":\"BTCUSDT\",\"t\":1,\"p\":\"1234567890123456789012345678901234567890\",\"q\":\"1\","
         "\"T\":1,\"m\":true}",
         ERR_PRECISION},
        {"", ERR_SYNTAX},
        {"{\"e\":\"tra", ERR_SYNTAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum err err = decode(&f, cases[i].text);
        if (err != cases[i].err) fail_msg("%s: %s", cases[i].text, err_name(err));
    }
    assert_int_equal(series_count(f.series), 1);
    close_venue(&f);
    assert_int_equal(series_table_open(&f.series), ERR_OK);
    assert_int_equal(venue_decoder_open("nowhere", f.series, &f.decoder), ERR_UNKNOWN);
    series_table_close(&f.series);
}

static void test_huobi(void **state) {
    (void)state;
    struct fixture f;
    open_venue(&f, "huobi");
    const char *trades =
        "{\"ch\":\"market.btcusdt.trade.detail\",\"ts\":1,\"tick\":{\"id\":1,\"ts\":1,\"data\":["
        "{\"id\":123140716701236887569077665,\"ts\":1616243199157,\"tradeId\":12,\"amount\":1.98E-4,\"price\":58911.07,"
        "\"direction\":\"sell\"},"
        "{\"id\":123140716701236887569077664,\"ts\":1616243199156,\"tradeId\":11,\"amount\":2,\"price\":58911.1,"
        "\"direction\":\"buy\"}]}}";
    assert_int_equal(decode(&f, trades), ERR_OK);
    assert_int_equal(f.count, 2);
    assert_string_equal(name_of(&f), "huobi:BTC/USDT");
    assert_int_equal(f.events[0].first_id, 11);
    assert_int_equal(f.events[0].side, EVENT_TAKER_BUY);
    assert_int_equal(f.events[1].last_id, 12);
    assert_int_equal((int64_t)f.events[1].quantity, 198);
    assert_int_equal(f.events[1].quantity_scale, 6);
    uint8_t packed[1024];
    z_stream z = {
        .next_in = (Bytef *)trades, .avail_in = (uInt)strlen(trades), .next_out = packed, .avail_out = sizeof packed};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    assert_int_equal(venue_decode(f.decoder, slice_of(packed, z.total_out), NULL, f.events, 16, &f.count), ERR_OK);
    assert_int_equal(f.count, 2);
    assert_int_equal(venue_decode(f.decoder, slice_of(packed, z.total_out - 1), NULL, f.events, 16, &f.count),
                     ERR_SYNTAX);
    assert_int_equal(venue_decode(f.decoder, slice_text(trades), NULL, f.events, 1, &f.count), ERR_TOO_LARGE);
    assert_int_equal(decode(&f, "{\"ping\":1618678093643}"), ERR_END);
    assert_int_equal(decode(&f, "{\"ch\":\"market.btcusdt.depth.step0\",\"tick\":{}}"), ERR_END);
    assert_int_equal(decode(&f, "{\"ch\":\"market.btcusdt.trade.detail\",\"tick\":{\"data\":[]}}"), ERR_END);
    assert_int_equal(decode(&f, "{\"ch\":\"market.btcusdt.trade.detail\",\"tick\":{}}"), ERR_MISSING);
    assert_int_equal(decode(&f, "{\"ch\":\"market.btcusdt.trade.detail\",\"tick\":{\"data\":[{\"price\":-1}]}}"),
                     ERR_RANGE);
    close_venue(&f);
    open_venue(&f, "huobi-linear");
    assert_int_equal(
        decode(&f,
               "{\"ch\":\"market.BTC-USDT.trade.detail\",\"ts\":1,\"tick\":{\"id\":1,\"ts\":1,\"data\":[{\"amount\":40,"
               "\"quantity\":0.04,\"trade_turnover\":2350.796,\"ts\":1616233478583,\"id\":224199951640000,"
               "\"price\":58769.9,\"direction\":\"sell\"}]}}"),
        ERR_OK);
    assert_string_equal(name_of(&f), "huobi-linear:BTC/USDT");
    assert_int_equal((int64_t)f.events[0].quantity, 4);
    assert_int_equal(f.events[0].first_id, 224199951640000);
    close_venue(&f);
}

/* --- shapes --- */

static uint64_t random_state;
static uint32_t random_below(uint32_t limit) { return (uint32_t)((splitmix_next(&random_state) >> 33) % limit); }

static void put_kline(struct buf *out, const char *symbol) {
    buf_printf(out,
               "{\"e\":\"kline\",\"E\":%u,\"s\":\"%s\",\"k\":{\"t\":1618678080000,\"T\":1618678139999,\"s\":\"%s\",",
               random_below(9) + 1, symbol, symbol);
    buf_printf(out, "\"i\":\"%s\",\"f\":%u,\"L\":%u,\"o\":\"%u.5\",\"c\":\"2\",\"h\":\"900.%u\",\"l\":\"1.%u\",",
               random_below(3) ? "1m" : "5m", random_below(1000), 1000 + random_below(1000), 2 + random_below(800),
               random_below(100), random_below(10));
    buf_printf(out, "\"v\":\"%u\",\"n\":%u,\"x\":%s,\"q\":\"%u.25\",\"V\":\"1\",\"Q\":\"2\",\"B\":\"0\"}}",
               random_below(1000), random_below(100), random_below(2) ? "true" : "false", random_below(1000));
}

static void put_message(struct buf *out) {
    static const char *const symbols[] = {"BTCUSDT", "ETHUSDT", "CTKUSDT", "BTCUSD_PERP"};
    const char *symbol = symbols[random_below(4)];
    bool aggregated = random_below(2), wrapped = random_below(2), kline = random_below(6) == 0;
    if (wrapped) buf_printf(out, "{\"stream\":\"%s@x\",\"data\":", symbol);
    if (kline) {
        put_kline(out, symbol);
        if (wrapped) buf_put_u8(out, '}');
        return;
    }
    buf_printf(out, "{\"e\":\"%s\",\"E\":%u%s,\"s\":\"%s\",", aggregated ? "aggTrade" : "trade", random_below(9),
               random_below(9) ? "" : ".5", symbol);
    uint32_t id = random_below(1000000);
    if (aggregated)
        buf_printf(out, "\"a\":%u,\"f\":%u,\"l\":%u,", random_below(1000), id, id + random_below(5));
    else
        buf_printf(out, "\"t\":%u,%s", id,
                   random_below(4)   ? ""
                   : random_below(2) ? "\"X\":\"MARKET\","
                                     : "\"X\":\"ADL\",");
    buf_printf(out, "\"p\":\"%u.%06u\",\"q\":\"%u%s\",\"T\":17231612553%u,\"m\":%s%s}", random_below(100),
               random_below(1000000), random_below(1000), random_below(9) ? ".5" : "e1", random_below(100),
               random_below(2) ? "true" : "false", random_below(2) ? ",\"M\":true" : "");
    if (wrapped) buf_put_u8(out, '}');
}

static bool same_push(const struct import_push *a, const struct import_push *b) {
    const struct decimal *x = &a->candle.open, *y = &b->candle.open;
    for (; x <= &a->candle.taker_buy_quote_volume; x++, y++)
        if (x->mantissa != y->mantissa || x->scale != y->scale) return false;
    return a->candle.open_time_ms == b->candle.open_time_ms && a->candle.trades == b->candle.trades &&
           a->candle.last_id == b->candle.last_id && strcmp(a->interval, b->interval) == 0 &&
           strcmp(a->symbol, b->symbol) == 0 && a->event_ms == b->event_ms && a->closed == b->closed;
}

/* A byte changed, put in or taken out. */
static void damage(struct buf *text, uint32_t at) {
    const uint8_t byte = random_below(2) ? (uint8_t)random_below(256) : (uint8_t) "\",:{}0-.\\ e1[\0"[random_below(14)];
    switch (random_below(3)) {
        case 0: text->data[at] = byte; break;
        case 1:
            buf_put_u8(text, 0);
            memmove(text->data + at + 1, text->data + at, text->size - at - 1);
            text->data[at] = byte;
            break;
        default: memmove(text->data + at, text->data + at + 1, text->size - at - 1), text->size--;
    }
}

static void test_shape_and_general_parser_agree(void **state) {
    (void)state;
    struct market market;
    struct series_table *series = NULL;
    struct binance_decoder *decoder = NULL;
    assert_int_equal(series_table_open(&series), ERR_OK);
    assert_int_equal(market_init(&market, series, "binance"), ERR_OK);
    assert_int_equal(binance_decoder_open(&market, &decoder), ERR_OK);
    struct buf text;
    buf_init(&text, 4096);
    uint32_t trades = 0, klines = 0, refused = 0;
    for (uint64_t seed = 1; seed <= testing_seeds(50000); seed++) {
        random_state = seed * 104729;
        buf_clear(&text);
        put_message(&text);
        uint32_t at = random_below((uint32_t)text.size);
        if (random_below(3) == 0) damage(&text, at);
        size_t size = random_below(50) ? text.size : at < text.size ? at : 0;
        for (int i = 0; i < INPUT_PADDING_BYTES; i++) buf_put_u8(&text, '}');
        struct event fast = {0}, general = {0};
        struct import_push push, general_push;
        uint32_t number = 0, general_number = 0;
        memset(&push, 0, sizeof push);
        memset(&general_push, 0, sizeof general_push);
        enum binance_kind a_kind = BINANCE_OTHER, b_kind = BINANCE_OTHER;
        struct slice line = slice_of(text.data, size);
        enum err a = binance_decode(decoder, line, NULL, &fast, &push, &number, &a_kind);
        enum err b = binance_decode_general(decoder, line, NULL, &general, &general_push, &general_number, &b_kind);
        const bool same = memcmp(&fast, &general, sizeof fast) == 0 && number == general_number &&
                          (a_kind != BINANCE_KLINE || same_push(&push, &general_push));
        if (a != b || a_kind != b_kind || !same)
            fail_msg("seed %llu: %s or %s for %.*s", (unsigned long long)seed, err_name(a), err_name(b),
                     SLICE_PRINT(line));
        trades += a == ERR_OK && a_kind == BINANCE_TRADE;
        klines += a == ERR_OK && a_kind == BINANCE_KLINE;
        refused += a != ERR_OK;
    }
    assert_true(trades > testing_seeds(20000) && klines > testing_seeds(3000) && refused > testing_seeds(5000));
    buf_deinit(&text);
    binance_decoder_close(&decoder);
    market_deinit(&market);
    series_table_close(&series);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_binance),
        cmocka_unit_test(test_huobi),
        cmocka_unit_test(test_shape_and_general_parser_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
