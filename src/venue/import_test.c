/* Import files: every format, what is guessed, rejected and passed over, and the recordings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "venue/import_reader.h"

enum { EVENTS_MAX = 60000, ITEMS_MAX = 4096 };

/* Everything a file held, in order. */
struct taken {
    struct series_table *series;
    enum import_format format;
    char venue[MARKET_VENUE_MAX];
    uint32_t event_count, kinds[5];
    struct event events[EVENTS_MAX];
    uint64_t event_lines[EVENTS_MAX];
    char first_source[512];
    uint32_t item_count;
    struct {
        enum import_item_kind kind;
        uint64_t line;
        enum err err;
        struct candle kline;
        struct import_push push;
        char reason[160];
    } items[ITEMS_MAX];
};

static int set_up(void **state) {
    struct taken *t = calloc(1, sizeof *t);
    assert_non_null(t);
    assert_int_equal(series_table_open(&t->series), ERR_OK);
    *state = t;
    return 0;
}

static int tear_down(void **state) {
    struct taken *t = *state;
    series_table_close(&t->series);
    free(t);
    return 0;
}

static void keep_item(struct taken *t, const struct import_item *item) {
    t->kinds[item->kind]++;
    if (item->kind == IMPORT_SKIP && t->item_count > ITEMS_MAX / 2) return;
    assert_true(t->item_count < ITEMS_MAX);
    t->items[t->item_count].kind = item->kind;
    t->items[t->item_count].line = item->line;
    t->items[t->item_count].err = item->kind == IMPORT_REJECT ? item->err : ERR_OK;
    if (item->kind == IMPORT_REJECT) assert_true(item->reason[0] != '\0');
    if (item->kind == IMPORT_REJECT) memcpy(t->items[t->item_count].reason, item->reason, sizeof item->reason);
    if (item->kind == IMPORT_KLINE) t->items[t->item_count].kline = item->kline;
    if (item->kind == IMPORT_PUSH) t->items[t->item_count].push = *item->push;
    t->item_count++;
}

static enum err read_all(struct import_reader *reader, uint32_t max, struct taken *t, struct diag *diag) {
    static struct event events[IMPORT_BATCH_MAX];
    for (;;) {
        uint32_t count = 0;
        bool has_item = false;
        struct import_item item;
        enum err err = import_read(reader, events, max, diag, &count, &item, &has_item);
        assert_true(count <= max);
        for (uint32_t i = 0; i < count; i++) {
            struct slice source;
            assert_true(t->event_count < EVENTS_MAX);
            assert_int_equal(import_source(reader, i, &t->event_lines[t->event_count], &source), ERR_OK);
            assert_true(source.size > 0);
            if (t->event_count == 0) snprintf(t->first_source, sizeof t->first_source, "%.*s", SLICE_PRINT(source));
            t->events[t->event_count++] = events[i];
        }
        if (has_item) keep_item(t, &item);
        if (err != ERR_OK) return err;
    }
}

static enum err take(struct taken *t, struct input *input, const char *path, const struct import_options *options,
                     uint32_t max, struct diag *diag) {
    struct import_reader *reader = NULL;
    t->event_count = t->item_count = 0;
    memset(t->kinds, 0, sizeof t->kinds);
    enum err err = import_open(input, path, options, t->series, diag, &reader);
    if (err != ERR_OK) return err;
    t->format = import_format_of(reader);
    err = read_all(reader, max, t, diag);
    snprintf(t->venue, sizeof t->venue, "%s", import_venue(reader));
    import_close(&reader);
    return err;
}

static enum err take_text(struct taken *t, const char *text, const char *path, const struct import_options *options,
                          uint32_t max) {
    struct input *input = NULL;
    struct diag diag = {0};
    assert_int_equal(input_open_memory(slice_text(text), NULL, &input), ERR_OK);
    enum err err = take(t, input, path, options, max, &diag);
    if (err != ERR_OK && err != ERR_END) assert_true(diag.what[0] != '\0');
    input_close(&input);
    return err;
}

static const struct import_options guess = {.format = IMPORT_GUESS};

static const char *name_of(const struct taken *t, uint32_t event) {
    return series_get(t->series, t->events[event].series)->name;
}

/* The shared recordings, or a loud skip. */
static enum err take_shared(struct taken *t, const char *path, const struct import_options *options) {
    const char *shared = getenv("WICK_SHARED");
    char name[1024];
    snprintf(name, sizeof name, "%s/data/%s", shared != NULL ? shared : "../shared", path);
    struct input *input = NULL;
    struct diag diag = {0};
    if (input_open(sys_real(), name, &diag, &input) != ERR_OK) {
        print_message("SKIPPED: there is no %s\n", name);
        skip();
    }
    enum err err = take(t, input, name, options, IMPORT_BATCH_MAX, &diag);
    input_close(&input);
    return err;
}

/* --- captures --- */

static const char capture[] =
    "wss://fstream.binance.com/stream?streams=ctkusdt@aggTrade <-> 1626992740.179554\n"
    "1626992741.06217: "
    "{\"stream\":\"sushiusdt@bookTicker\",\"data\":{\"e\":\"bookTicker\",\"u\":1,\"s\":\"X\",\"b\":\"7\"}}\n"
    "1626992742.289739: "
    "{\"stream\":\"ctkusdt@aggTrade\",\"data\":{\"e\":\"aggTrade\",\"E\":1626992741575,\"a\":16599292,"
    "\"s\":\"CTKUSDT\",\"p\":\"1.01100\",\"q\":\"10\",\"f\":23961322,\"l\":23961324,\"T\":1626992741421,\"m\":false}}\n"
    "1626992742.914284: "
    "{\"stream\":\"ctkusdt@aggTrade\",\"data\":{\"e\":\"aggTrade\",\"E\":1626992742869,\"a\":16599293,"
    "\"s\":\"CTKUSDT\",\"p\":\"1.01200\",\"q\":\"2.50\",\"f\":23961325,\"l\":23961325,\"T\":1626992742715,\"m\":true}}"
    "\r\n"
    "\n"
    "1626992743: "
    "{\"stream\":\"ctkusdt@trade\",\"data\":{\"e\":\"trade\",\"E\":1,\"T\":1626992742715999,\"s\":\"CTKUSDT\","
    "\"t\":23961326,\"p\":\"0\",\"q\":\"1\",\"X\":\"INSURANCE_FUND\",\"m\":true}}\n"
    "1626992743: "
    "{\"stream\":\"ctkusdt@trade\",\"data\":{\"e\":\"trade\",\"s\":\"CTKUSDT\",\"t\":1,\"p\":\"-1\",\"q\":\"1\","
    "\"T\":1626992742715,\"m\":true}}\n"
    "1626992743: {\"result\":null,\"id\":1}\n"
    "1626992743: "
    "{\"stream\":\"ctkusdt@kline_1m\",\"data\":{\"e\":\"kline\",\"E\":1626992741424,\"s\":\"CTKUSDT\",\"k\":{"
    "\"t\":1626992700000,\"T\":1626992759999,\"s\":\"CTKUSDT\",\"i\":\"1m\",\"f\":23961275,\"L\":23961322,\"o\":\"1."
    "01000\","
    "\"c\":\"1.01100\",\"h\":\"1.02\",\"l\":\"1.00\",\"v\":\"3917\",\"n\":48,\"x\":true,\"q\":\"3957.899\",\"V\":"
    "\"1729\","
    "\"Q\":\"1748.019\",\"B\":\"0\"}}}\n"
    "1626992743: {\"stream\":\"ctkusdt@aggTrade\",\"data\":{\"e\":\"aggTrade\",\"E\":16269927415";

static void check_capture(const struct taken *t) {
    assert_int_equal(t->format, IMPORT_BINANCE_CAPTURE);
    assert_string_equal(t->venue, "binance-usdm");
    assert_int_equal(t->event_count, 3);
    const struct event *e = t->events;
    assert_string_equal(name_of(t, 0), "binance-usdm:CTK/USDT");
    assert_int_equal(e[0].kind, EVENT_AGGREGATED_TRADE);
    assert_int_equal((int64_t)e[0].price, 1011);
    assert_int_equal(e[0].price_scale, 3);
    assert_int_equal((int64_t)e[0].quantity, 10);
    assert_int_equal(e[0].first_id, 23961322);
    assert_int_equal(e[0].last_id, 23961324);
    assert_int_equal(e[0].time_ms, 1626992741421);
    assert_int_equal(e[0].side, EVENT_TAKER_BUY);
    assert_int_equal(e[0].filtered, 0);
    assert_int_equal(t->event_lines[0], 3);
    assert_memory_equal(t->first_source, "{\"stream\"", 9);
    assert_int_equal(e[1].side, EVENT_TAKER_SELL);
    assert_int_equal(e[1].quantity_scale, 1);
    assert_int_equal(t->event_lines[1], 4);
    assert_int_equal(e[2].kind, EVENT_TRADE);
    assert_int_equal(e[2].filtered, 1);
    assert_int_equal(e[2].first_id, 23961326);
    assert_int_equal(e[2].time_ms, 1626992742715);
    assert_int_equal(t->event_lines[2], 6);
}

static void test_capture(void **state) {
    struct taken *t = *state;
    static const uint32_t sizes[] = {1, 2, IMPORT_BATCH_MAX};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(take_text(t, capture, "x", &guess, sizes[i]), ERR_END);
        check_capture(t);
        assert_int_equal(t->kinds[IMPORT_SKIP], 3);
        assert_int_equal(t->kinds[IMPORT_REJECT], 2);
        assert_int_equal(t->kinds[IMPORT_PUSH], 1);
        assert_int_equal(t->items[2].line, 7);
        assert_int_equal(t->items[2].err, ERR_RANGE);
        assert_int_equal(t->items[4].line, 9);
        const struct import_push *push = &t->items[4].push;
        assert_string_equal(push->symbol, "CTKUSDT");
        assert_string_equal(push->interval, "1m");
        assert_int_equal(push->interval_ms, 60000);
        assert_int_equal(push->event_ms, 1626992741424);
        assert_true(push->closed);
        assert_int_equal((int64_t)push->candle.high.mantissa, 102);
        assert_int_equal(push->candle.trades, 48);
        assert_int_equal(push->candle.last_id, 23961322);
        assert_int_equal(t->items[5].line, 10);
        assert_int_equal(t->items[5].err, ERR_SYNTAX);
    }
    struct import_options options = {.venue = "Binance-US"};
    assert_int_equal(take_text(t, capture, "x", &options, 100), ERR_END);
    assert_string_equal(name_of(t, 0), "binance-us:CTK/USDT");
}

static void test_stream(void **state) {
    struct taken *t = *state;
    assert_int_equal(
        take_text(
            t,
            "1723161254087896568 {\"stream\":\"btcusdt@trade\",\"data\":{\"e\":\"trade\",\"E\":1723161255343,"
            "\"s\":\"BTCUSDT\",\"t\":3735683259,\"p\":\"61837.63000000\",\"q\":\"0.02000000\",\"T\":1723161255342,"
            "\"m\":true,\"M\":true}}\n1723161254087896568 \noops\n",
            "x", &guess, 10),
        ERR_END);
    assert_int_equal(t->format, IMPORT_BINANCE_STREAM);
    assert_int_equal(t->event_count, 1);
    assert_int_equal(t->kinds[IMPORT_REJECT], 2);
    assert_string_equal(name_of(t, 0), "binance:BTC/USDT");
    assert_int_equal(t->events[0].last_id, 3735683259);
}

/* Each push of the recordings is where and what the list of verdicts says. */
static void check_pushes(struct taken *t, const char *file, const char *venue, uint32_t events, uint32_t pushes) {
    char path[256];
    snprintf(path, sizeof path, "binance-ws/%s", file);
    assert_int_equal(take_shared(t, path, &guess), ERR_END);
    assert_string_equal(t->venue, venue);
    assert_int_equal(t->kinds[IMPORT_REJECT], 0);
    assert_int_equal(t->event_count, events);
    assert_int_equal(t->kinds[IMPORT_PUSH], pushes);
    const char *shared = getenv("WICK_SHARED");
    snprintf(path, sizeof path, "%s/data/binance-ws/kline-truth.jsonl", shared != NULL ? shared : "../shared");
    struct input *input = NULL;
    assert_int_equal(input_open(sys_real(), path, NULL, &input), ERR_OK);
    struct json_parser *parser = NULL;
    assert_int_equal(json_parser_open(NULL, &parser), ERR_OK);
    struct slice lines;
    uint32_t matched = 0;
    while (input_lines(input, NULL, &lines) == ERR_OK)
        while (lines.size > 0) {
            const uint8_t *newline = memchr(lines.data, '\n', lines.size);
            assert_non_null(newline);
            const struct json_value *truth = NULL;
            assert_int_equal(json_parse(parser, slice_of(lines.data, (size_t)(newline - lines.data)), NULL, &truth),
                             ERR_OK);
            lines = slice_of(newline + 1, lines.size - (size_t)(newline + 1 - lines.data));
            if (!slice_equal(json_text(json_member(truth, "capture")), slice_text(file))) continue;
            int64_t line = 0, count = 0;
            struct decimal quote;
            assert_int_equal(json_i64(json_member(truth, "line"), &line), ERR_OK);
            assert_int_equal(json_i64(json_member(truth, "n"), &count), ERR_OK);
            assert_int_equal(decimal_parse(json_text(json_member(truth, "q")), &quote), ERR_OK);
            uint32_t item = 0;
            while (item < t->item_count &&
                   (t->items[item].kind != IMPORT_PUSH || t->items[item].line != (uint64_t)line))
                item++;
            if (item == t->item_count) fail_msg("no push at line %d of %s", (int)line, file);
            assert_int_equal(t->items[item].push.candle.trades, count);
            assert_true(decimal_equal(t->items[item].push.candle.quote_volume, quote));
            matched++;
        }
    assert_int_equal(matched, pushes);
    json_parser_close(&parser);
    input_close(&input);
}

static void test_recorded_captures(void **state) {
    struct taken *t = *state;
    check_pushes(t, "BINANCE.2021-04-17.ws.1.0", "binance", 24, 20);
    check_pushes(t, "BINANCE_FUTURES.ws.1.0", "binance-usdm", 91, 67);
    check_pushes(t, "BINANCE_TR.ws.1.0", "binance-tr", 0, 8);
}

/* --- published CSV --- */

static void test_aggtrades(void **state) {
    struct taken *t = *state;
    static const char rows[] =
        "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"
        "1,0.00141342,23.00000000,15373518,15373520,1570752011620,True,True\n"
        "2,0.00141266,54.5,15373521,15373521,1735689600123456,false\r\n"
        "3,0,0,-1,-1,1570752011620,True,True\n"
        "4,0.0014,abc,15373522,15373522,1570752011620,True,True\n"
        "5,0.0014,1,15373524,15373523,1570752011620,True,True\n"
        "\"6\",1e-3,\"1\",15373525,15373525,1570752011620,\"TRUE\"\n"
        "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"
        "7,1,1,1,2\n"
        "8,0.5,1.0,15373526,15373526,1570752011621,False,True";
    for (uint32_t max = 1; max < 12; max += 5) {
        assert_int_equal(take_text(t, rows, "/d/XRPETH-aggTrades-2019-10.csv", &guess, max), ERR_END);
        assert_int_equal(t->format, IMPORT_BINANCE_AGGTRADES);
        assert_int_equal(t->event_count, 4);
        assert_string_equal(name_of(t, 0), "binance:XRP/ETH");
        assert_int_equal(t->events[0].last_id, 15373520);
        assert_int_equal(t->events[0].side, EVENT_TAKER_SELL);
        assert_int_equal((int64_t)t->events[0].quantity, 23);
        assert_int_equal(t->event_lines[0], 2);
        assert_int_equal(t->events[1].time_ms, 1735689600123);
        assert_int_equal(t->events[1].side, EVENT_TAKER_BUY);
        assert_int_equal(t->event_lines[2], 7);
        assert_int_equal(t->event_lines[3], 10);
        assert_int_equal(t->item_count, 4);
        assert_int_equal(t->items[0].err, ERR_RANGE);
        assert_non_null(strstr(t->items[0].reason, "annulled"));
        assert_int_equal(t->items[1].err, ERR_TYPE);
        assert_int_equal(t->items[2].err, ERR_RANGE);
        assert_int_equal(t->items[3].err, ERR_SYNTAX);
        assert_int_equal(t->items[3].line, 9);
    }
}

static void test_trades(void **state) {
    struct taken *t = *state;
    struct import_options options = {.series = "binance-coinm:BTCUSD_PERP"};
    assert_int_equal(take_text(t,
                               "id,price,qty,quote_qty,time,is_buyer_maker\n"
                               "1,62838.0,5,0.00795697,1616201787407,true\n"
                               "2,62838.5,1,0.00159138,1616201787408,false\n",
                               "-", &options, 10),
                     ERR_END);
    assert_int_equal(t->format, IMPORT_BINANCE_TRADES);
    assert_int_equal(t->event_count, 2);
    assert_int_equal(t->item_count, 0);
    assert_string_equal(name_of(t, 1), "binance-coinm:BTC/USD_PERP");
    assert_int_equal(t->events[1].first_id, 2);
    assert_int_equal((int64_t)t->events[1].price, 628385);
    struct input *input = NULL;
    struct import_reader *reader = NULL;
    struct diag diag = {0};
    assert_int_equal(input_open_memory(SLICE("1,62838.0,5,0.00795697,1616201787407,true\n"), NULL, &input), ERR_OK);
    assert_int_equal(import_open(input, "nothing.csv", &guess, t->series, &diag, &reader), ERR_USAGE);
    assert_non_null(strstr(diag.hint, "--series"));
    input_close(&input);
}

static void test_klines(void **state) {
    struct taken *t = *state;
    static const char rows[] =
        "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,"
        "ignore\n"
        "1637971200000,0.00002853,0.00002854,0.00002851,0.00002854,36304.20000000,1637971259999,1.03547608,79,19523."
        "00000000,0.55694227,0\n"
        "1735689660000000,2,2,2,2,0.00000000,1735689719999999,0.00000000,0,0.00000000,0.00000000,0\n"
        "1637971320000,0.3,0.2,0.1,0.15,1,1637971379999,1,1,1,1,0\n"
        "1637971380000,1,1,1,1,1,1637971439999,1,1,1,1,0";
    for (int round = 0; round < 2; round++) {
        assert_int_equal(take_text(t, rows, "ADABTC-1m-2021-11-27.csv", &guess, 10), ERR_END);
        assert_int_equal(t->format, IMPORT_BINANCE_KLINES);
        assert_int_equal(t->event_count, 0);
        assert_int_equal(t->kinds[IMPORT_KLINE], 3);
        assert_int_equal(t->kinds[IMPORT_REJECT], 1);
        const struct candle *c = &t->items[0].kline;
        assert_int_equal(c->open_time_ms, 1637971200000);
        assert_int_equal(c->close_time_ms, 1637971259999);
        assert_int_equal((int64_t)c->open.mantissa, 2853);
        assert_int_equal(c->open.scale, 8);
        assert_int_equal((int64_t)c->volume.mantissa, 363042);
        assert_int_equal(c->volume.scale, 1);
        assert_int_equal(c->trades, 79);
        assert_int_equal(c->first_id, -1);
        assert_int_equal(c->hash, 0);
        assert_int_equal(c->basis, BASIS_KLINES);
        assert_int_equal(c->coverage, COVERAGE_TRADED);
        assert_int_equal(c->native_ms, 60000);
        c = &t->items[1].kline;
        assert_int_equal(c->open_time_ms, 1735689660000);
        assert_int_equal(c->close_time_ms, 1735689719999);
        assert_int_equal(c->coverage, COVERAGE_QUIET);
        assert_int_equal(t->items[2].line, 4);
    }
    struct import_options options = {.format = IMPORT_BINANCE_KLINES, .interval = "5m"};
    assert_int_equal(take_text(t, rows, "ADABTC-1m-2021-11-27.csv", &options, 10), ERR_END);
    assert_int_equal(t->kinds[IMPORT_REJECT], 4);
    assert_int_equal(t->items[0].err, ERR_CONFLICT);
}

/* Each as a plain row, and with quotes, which only the general reader takes. */
static void test_klines_that_contradict_themselves(void **state) {
    struct taken *t = *state;
    static const struct {
        const char *columns, *reason; /* open, high, low, close, volume; quote volume, count, taker buy volumes */
    } cases[] = {
        {"2,2.0,2.00,2,0|0.000,0,0,0", NULL},
        {"2,2.0,2.00,2,3|7,0,0,0", "no trades"},
        {"2,2.0,2.00,2,0|7,0,0,0", "no trades"},
        {"2,2.1,2.00,2,0|0,0,0,0", "no trades"},
        {"2,2,2,2,0.10|0.2,1,0.1,0.20", NULL},
        {"2,2,2,2,0.10|0.2,1,0.1000001,0.2", "takers"},
        {"2,2,2,2,10|20,1,10,20.1", "takers"},
        {"2,2,2,2,99999999999999999999999|0,1,99999999999999999999999.1,0", "takers"},
        {"2,2,2,2,99999999999999999999999|0,1,99999999999999999999998.1,0", NULL},
    };
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        const char *columns = cases[i / 2].columns, *reason = cases[i / 2].reason, *cut = strchr(columns, '|');
        char text[512];
        snprintf(text, sizeof text, "1637971200000,%.*s,1637971259999,%s,%s\n", (int)(cut - columns), columns, cut + 1,
                 i % 2 == 0 ? "0" : "\"0\"");
        const struct import_options options = {.format = IMPORT_BINANCE_KLINES};
        assert_int_equal(take_text(t, text, "ADABTC-1m-2021-11-27.csv", &options, 10), ERR_END);
        assert_int_equal(t->item_count, 1);
        assert_int_equal(t->items[0].kind, reason == NULL ? IMPORT_KLINE : IMPORT_REJECT);
        assert_true(reason == NULL || strstr(t->items[0].reason, reason) != NULL);
    }
}

static void test_klines_in_batches(void **state) {
    struct taken *t = *state;
    struct buf text;
    buf_init(&text, 1 << 24);
    for (uint32_t i = 0; i < 20000; i++) {
        if (i == 777) buf_put_text(&text, "rubbish\n");
        buf_printf(&text, "%llu,%u.5,%u.75,%u.25,%u.5,%u.00010000,%llu,1.5,%u,1.0,0.5,0\n",
                   1600000020000ull + i * 60000ull, i + 1, i + 1, i + 1, i + 1, i + 1, 1600000079999ull + i * 60000ull,
                   i + 1);
    }
    struct input *input = NULL;
    struct import_reader *reader = NULL;
    assert_int_equal(input_open_memory(buf_slice(&text), NULL, &input), ERR_OK);
    assert_int_equal(import_open(input, "BTCUSDT-1m.csv", &guess, t->series, NULL, &reader), ERR_OK);
    static struct candle rows[1000];
    uint32_t total = 0, rejected = 0, series = 0;
    for (enum err err = ERR_OK; err == ERR_OK;) {
        struct import_item item;
        bool has_item = false;
        uint32_t count = 0;
        err = import_read_klines(reader, rows, 1000, NULL, &series, &count, &item, &has_item);
        for (uint32_t i = 0; i < count; i++, total++) {
            assert_int_equal(rows[i].trades, total + 1);
            assert_int_equal((int64_t)rows[i].high.mantissa, (total + 1) * 100 + 75);
            struct slice source;
            uint64_t line;
            assert_int_equal(import_source(reader, i, &line, &source), ERR_OK);
            assert_int_equal(line, total + 1 + (total >= 777));
            assert_int_equal(strtoull((const char *)source.data, NULL, 10), rows[i].open_time_ms);
            assert_int_equal(source.data[source.size - 1], '0');
        }
        if (has_item) {
            assert_int_equal(item.kind, IMPORT_REJECT);
            assert_int_equal(item.line, 778);
            assert_int_equal(total, 777);
            rejected++;
        }
        if (err != ERR_OK) assert_int_equal(err, ERR_END);
    }
    assert_int_equal(total, 20000);
    assert_int_equal(rejected, 1);
    assert_string_equal(series_get(t->series, series)->name, "binance:BTC/USDT");
    struct input_progress progress;
    input_progress(input, &progress);
    assert_int_equal(progress.lines, 20001);
    import_close(&reader);
    input_close(&input);
    buf_deinit(&text);
}

/* --- other formats --- */

static void test_price_events(void **state) {
    struct taken *t = *state;
    struct buf text;
    buf_init(&text, 1 << 22);
    for (int i = 1; i <= 9000; i++) {
        if (i % 1000 == 7) buf_put_text(&text, "\n");
        if (i % 1000 == 8)
            buf_put_text(&text, "{\"baseCurrency\":\"BTC\"}\n");
        else
            buf_printf(&text,
                       "{\"baseCurrency\":\"B%d\",\"quoteCurrency\":\"USD\",\"exchange\":\"x\",\"price\":%d,"
                       "\"timestampInMs\":%d}%s\n",
                       i % 10, i, 1600000000 + i, i % 500 == 0 ? "\r" : "");
    }
    buf_put_u8(&text, '\0');
    assert_int_equal(take_text(t, (const char *)text.data, "x", &guess, IMPORT_BATCH_MAX), ERR_END);
    assert_int_equal(t->format, IMPORT_PRICE_EVENTS);
    assert_int_equal(t->event_count, 9000 - 9);
    assert_int_equal(t->kinds[IMPORT_REJECT], 9);
    assert_int_equal(t->items[8].line, 8008 + 9);
    assert_int_equal(t->items[8].err, ERR_MISSING);
    assert_int_equal(t->event_lines[t->event_count - 1], 9009);
    assert_int_equal((int64_t)t->events[t->event_count - 1].price, 9000);
    assert_string_equal(t->first_source,
                        "{\"baseCurrency\":\"B1\",\"quoteCurrency\":\"USD\",\"exchange\":\"x\",\"price\":1,"
                        "\"timestampInMs\":1600000001}");
    buf_deinit(&text);
}

static void test_csv_with_columns(void **state) {
    struct taken *t = *state;
    struct import_options options = {.columns = "time,symbol,price,quantity,id,side,-"};
    assert_int_equal(take_text(t,
                               "when,what,price,amount,id,side,more\n"
                               "1618677372.1769,btcusdt,1.5,2,77,buy,x\n"
                               "2021-04-17T16:36:12.176Z,ethusdt,1.5,2,78,S,x\n"
                               "1618677372176999,btcusdt,1.5,2,79,sell,x\n"
                               "1618677372,btcusdt,0,2,80,sell,x\n"
                               "1618677372,???,1,2,80,sell,x\n"
                               "1618677372,btcusdt,1,2,80,neither,x\n"
                               "1618677372,btcusdt,1,2,80\n",
                               "x", &options, 10),
                     ERR_END);
    assert_int_equal(t->event_count, 3);
    for (int i = 0; i < 3; i++) assert_int_equal(t->events[i].time_ms, 1618677372176);
    assert_string_equal(name_of(t, 1), "binance:ETH/USDT");
    assert_int_equal(t->events[1].side, EVENT_TAKER_SELL);
    assert_int_equal(t->events[2].last_id, 79);
    assert_int_equal(t->kinds[IMPORT_REJECT], 4);
    options = (struct import_options){.columns = "time,price,quantity", .series = "kraken:XBT/EUR", .time_unit = 's'};
    assert_int_equal(take_text(t, "1618677372,1.5,2\n1618677372176,1,1\n99999999999999,1,1\n", "x", &options, 10),
                     ERR_END);
    assert_int_equal(t->event_count, 1);
    assert_int_equal(t->kinds[IMPORT_REJECT], 2);
    assert_string_equal(name_of(t, 0), "kraken:XBT/EUR");
    assert_int_equal(t->events[0].first_id, -1);
    static const char *const wrong[] = {"", "time,price", "time,price,quantity,price", "time,price,quantity,first_id",
                                        "time,price,quantity,colour"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        options = (struct import_options){.columns = wrong[i], .series = "a:BTC/USD"};
        assert_int_equal(take_text(t, "1,1,1\n", "x", &options, 10), ERR_USAGE);
    }
}

static void test_recorded_files(void **state) {
    struct taken *t = *state;
    struct import_options options = {.columns = "-,-,-,-,time,symbol,id,price,quantity,maker,-"};
    assert_int_equal(take_shared(t, "trades/test_positive_binance_trade_stream_spot_trxusdt_04-03-2025.csv", &options),
                     ERR_END);
    assert_int_equal(t->event_count, 10000);
    assert_int_equal(t->kinds[IMPORT_REJECT], 0);
    assert_int_equal(t->events[0].time_ms, 1741046401271);
    assert_int_equal(take_shared(t, "klines/ADABTC-1m-2021-11-27.csv", &guess), ERR_END);
    assert_int_equal(t->format, IMPORT_BINANCE_KLINES);
    assert_int_equal(t->kinds[IMPORT_KLINE], 1440);
    assert_int_equal(t->item_count, 1440);
    assert_int_equal(take_shared(t, "trades/spot-btcusdt_20240808.gz", &guess), ERR_END);
    assert_int_equal(t->format, IMPORT_BINANCE_STREAM);
    assert_int_equal(t->kinds[IMPORT_REJECT], 0);
    assert_true(t->event_count > 100);
    for (uint32_t i = 1; i < t->event_count; i++) assert_int_equal(t->events[i].first_id, t->events[i - 1].last_id + 1);
}

static void test_recorded_frames(void **state) {
    struct taken *t = *state;
    assert_int_equal(take_shared(t, "huobi-ws/huobi-spot-20210417.frames", &guess), ERR_END);
    assert_int_equal(t->format, IMPORT_HUOBI_FRAMES);
    assert_string_equal(t->venue, "huobi");
    assert_int_equal(t->kinds[IMPORT_REJECT], 0);
    assert_true(t->event_count > 30);
    int64_t last[64] = {0};
    for (uint32_t i = 0; i < t->event_count; i++) { /* ids run on by one within a series */
        const struct event *e = &t->events[i];
        assert_true(e->series < 64);
        if (last[e->series] != 0) assert_int_equal(e->first_id, last[e->series] + 1);
        last[e->series] = e->first_id;
    }
}

static void test_formats_that_cannot_be_told(void **state) {
    struct taken *t = *state;
    static const char *const texts[] = {"", "hello\nworld\n", "{\"a\":1}\n", "1,2,3\n", "\x89PNG\r\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(take_text(t, texts[i], "x", &guess, 10), ERR_SYNTAX);
    struct import_options options = {.format = IMPORT_CSV};
    assert_int_equal(take_text(t, "1,2,3\n", "x", &options, 10), ERR_USAGE);
    options = (struct import_options){.format = IMPORT_PRICE_EVENTS, .venue = "no venue!"};
    assert_int_equal(take_text(t, "1,2,3\n", "x", &options, 10), ERR_USAGE);
}

/* Lines of another exchange are not taken for Binance's, wherever its URL stands; what the user names goes. */
static void test_urls_of_no_venue(void **state) {
    struct taken *t = *state;
    static const char first[] =
        "wss://stream.bybit.com/v5/public/spot <-> 1.5\n"
        "1626992740.1: "
        "{\"e\":\"trade\",\"s\":\"BTCUSDT\",\"p\":\"1\",\"q\":\"1\",\"t\":1,\"T\":1626992740000,\"m\":true}\n";
    char later[512];
    snprintf(later, sizeof later, "wss://stream.binance.com/ws\n%s%s", strchr(first, '\n') + 1, first);
    const struct import_options named = {.venue = "binance-us"};
    assert_int_equal(take_text(t, first, "x", &guess, 10), ERR_USAGE);
    assert_int_equal(take_text(t, later, "x", &guess, 10), ERR_END);
    assert_int_equal(t->event_count, 1);
    assert_int_equal(t->kinds[IMPORT_REJECT], 2);
    assert_int_equal(t->items[1].err, ERR_USAGE);
    assert_int_equal(t->items[2].err, ERR_UNKNOWN);
    assert_int_equal(take_text(t, later, "x", &named, 10), ERR_END);
    assert_int_equal(t->event_count, 2);
    assert_string_equal(name_of(t, 1), "binance-us:BTC/USDT");
}

/* What editors put before a text is no part of its first line, in whatever format and wrapping. */
static void test_byte_order_marks(void **state) {
    struct taken *t = *state;
    static const struct {
        const char *text, *path;
    } cases[] = {
        {"{\"baseCurrency\":\"A\",\"quoteCurrency\":\"USD\",\"exchange\":\"x\",\"price\":1,\"timestampInMs\":"
         "1600000001000}\n",
         "x"},
        {"wss://fstream.binance.com/ws <-> 1.5\n1626992740.1: "
         "{\"e\":\"trade\",\"s\":\"BTCUSDT\",\"p\":\"1\",\"q\":\"1\",\"t\":1,"
         "\"T\":1626992740000,\"m\":true}\n",
         "x"},
        {"1626992740000000000 "
         "{\"e\":\"trade\",\"s\":\"BTCUSDT\",\"p\":\"1\",\"q\":\"1\",\"t\":1,\"T\":1626992740000,\"m\":true}\n",
         "x"},
        {"1,62838.0,5,0.00795697,1616201787407,true\n", "BTCUSDT-trades.csv"},
        {"\"1\",62838.0,5,0.00795697,1616201787407,true", "BTCUSDT-trades.csv"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char marked[512];
        struct event events[2];
        snprintf(marked, sizeof marked, "\xEF\xBB\xBF%s", cases[i].text);
        for (int round = 0; round < 2; round++) {
            assert_int_equal(take_text(t, round == 0 ? cases[i].text : marked, cases[i].path, &guess, 10), ERR_END);
            assert_int_equal(t->event_count, 1);
            assert_int_equal(t->kinds[IMPORT_REJECT], 0);
            events[round] = t->events[0];
        }
        assert_memory_equal(&events[0], &events[1], sizeof events[0]);
    }
}

/* A name and a header say what a file without rows is. */
static void test_headers_alone(void **state) {
    struct taken *t = *state;
    static const struct {
        const char *header;
        enum import_format format;
    } cases[] = {
        {"id,price,qty,quote_qty,time,is_buyer_maker\n", IMPORT_BINANCE_TRADES},
        {"agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker",
         IMPORT_BINANCE_AGGTRADES},
        {"open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,"
         "ignore\n",
         IMPORT_BINANCE_KLINES},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(take_text(t, cases[i].header, "BTCUSDT-x-2024-06-01.csv", &guess, 10), ERR_END);
        assert_int_equal(t->format, cases[i].format);
        assert_int_equal(t->event_count + t->item_count, 0);
    }
}

/* What is damaged before anything can be told of it is said to be damaged. */
static void test_damage_before_the_format(void **state) {
    struct taken *t = *state;
    static const uint8_t zstd[] = {0x28, 0xB5, 0x2F, 0xFD, 0x04, 0x00, 0x81},
                         gzip[] = {0x1F, 0x8B, 0x08, 0, 0, 0, 0, 0, 0, 3, 0x4B};
    const struct slice files[] = {slice_of(zstd, sizeof zstd), slice_of(gzip, sizeof gzip)};
    for (int i = 0; i < 4; i++) {
        const struct import_options options = {.format = i < 2 ? IMPORT_GUESS : IMPORT_PRICE_EVENTS};
        struct input *input = NULL;
        struct diag diag = {0};
        assert_int_equal(input_open_memory(files[i % 2], NULL, &input), ERR_OK);
        assert_int_equal(take(t, input, "x", &options, 10, &diag), ERR_CORRUPT);
        assert_non_null(strstr(diag.what, "ends early"));
        input_close(&input);
    }
}

static void test_venues_of_urls(void **state) {
    (void)state;
    static const char *const urls[][2] = {
        {"wss://stream.binance.com:9443/stream?streams=fstream.binance.com", "binance"},
        {"wss://fstream.binance.com/stream", "binance-usdm"},
        {"wss://dstream.binance.com/stream", "binance-coinm"},
        {"wss://fstream-auth.binance.com:443/ws/x", "binance-usdm"},
        {"wss://dstream-auth.binance.com/ws/x", "binance-coinm"},
        {"wss://ws-fapi.binance.com/ws-fapi/v1", "binance-usdm"},
        {"wss://ws-dapi.binance.com/ws-dapi/v1", "binance-coinm"},
        {"https://fapi.binance.com/fapi/v1/klines?symbol=BTCUSDT", "binance-usdm"},
        {"https://dapi.binance.com/dapi/v1/klines", "binance-coinm"},
        {"wss://demo-fstream.binance.com/ws", "binance-usdm"},
        {"wss://stream.binancefuture.com/ws", "binance-usdm"},
        {"wss://dstream.binancefuture.com/ws", "binance-coinm"},
        {"wss://stream.binance.com/stream?streams=a@trade <-> 1.5", "binance"},
        {"WSS://STREAM.BINANCE.COM", "binance"},
        {"wss://ws-api.binance.com:443/ws-api/v3", "binance"},
        {"https://api-gcp.binance.com/api/v3/klines", "binance"},
        {"https://api4.binance.com/api/v3/klines", "binance"},
        {"https://data-api.binance.vision/api/v3/klines", "binance"},
        {"wss://data-stream.binance.vision/ws", "binance"},
        {"https://api.binance.us/api/v3/klines", "binance-us"},
        {"https://api.huobi.pro/v1/common/symbols -> 1618678069.68416: {\"a\":\"wss://fstream.binance.com\"}", "huobi"},
        {"wss://api-aws.huobi.pro/ws", "huobi"},
        {"wss://stream.binance.us:9443/ws", "binance-us"},
        {"wss://stream-cloud.trbinance.com/stream?streams=a", "binance-tr"},
        {"wss://api.huobi.pro/ws", "huobi"},
        {"wss://api.hbdm.com/linear-swap-ws", "huobi-linear"},
        {"wss://api.hbdm.com/swap-ws", "huobi-swap"},
    };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
        assert_string_equal(market_venue_of_url(slice_text(urls[i][0])), urls[i][1]);
    static const char *const none[] = {
        "wss://example.org/",
        "wss://stream.bybit.com/v5/public/spot",
        "wss://ws.okx.com:8443/ws/v5/public",
        "wss://nbstream.binance.com/eoptions/stream",
        "https://eapi.binance.com/eapi/v1/klines",
        "wss://notbinance.com/ws",
        "wss://binance.com.example.org/ws",
        "wss://example.org/stream.binance.com",
        "wss://example.org?u=wss://stream.binance.com",
        "wss://stream.binance.com@example.org/",
        "://",
        "",
    };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) assert_null(market_venue_of_url(slice_text(none[i])));
    assert_null(market_venue_of_url(SLICE("binance.com")));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_capture),
        TEST(test_stream),
        TEST(test_recorded_captures),
        TEST(test_aggtrades),
        TEST(test_trades),
        TEST(test_klines),
        TEST(test_klines_that_contradict_themselves),
        TEST(test_klines_in_batches),
        TEST(test_price_events),
        TEST(test_csv_with_columns),
        TEST(test_recorded_files),
        TEST(test_recorded_frames),
        TEST(test_formats_that_cannot_be_told),
        TEST(test_urls_of_no_venue),
        TEST(test_byte_order_marks),
        TEST(test_headers_alone),
        TEST(test_damage_before_the_format),
        TEST(test_venues_of_urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
