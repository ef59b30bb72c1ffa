#include "candle/series.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "candle/event.h"

static struct series_key key_of(const char *venue, const char *base, const char *quote, enum series_kind kind) {
    return (struct series_key){slice_text(venue), slice_text(base), slice_text(quote), kind};
}

static uint32_t intern(struct series_table *table, const char *venue, const char *base, const char *quote) {
    struct series_key key = key_of(venue, base, quote, SERIES_TRADE);
    uint32_t number;
    assert_int_equal(series_intern(table, &key, &number), ERR_OK);
    return number;
}

static void test_names(void **state) {
    (void)state;
    struct series_table *table;
    assert_int_equal(series_table_open(&table), ERR_OK);
    uint32_t number = intern(table, "Binance", "btc", "Usdt");
    const struct series *series = series_get(table, number);
    assert_string_equal(series->name, "binance:BTC/USDT");
    assert_string_equal(series->symbol, "BTCUSDT");
    assert_int_equal(series->ids, SERIES_IDS_DENSE);
    assert_true(slice_equal(series->quote, SLICE("USDT")));
    assert_int_equal(intern(table, "BINANCE", "BTC", "USDT"), number);
    struct series_key key = key_of("binance", "BTC", "USDT", SERIES_PRICE);
    assert_int_equal(series_find(table, &key), SERIES_NONE);
    uint32_t price;
    assert_int_equal(series_intern(table, &key, &price), ERR_OK);
    assert_int_not_equal(price, number);
    assert_int_equal(series_get(table, price)->ids, SERIES_IDS_NONE);
    assert_string_equal(series_get(table, price)->symbol, "");
    assert_int_equal(series_get(table, intern(table, "huobi", "a", "b"))->ids, SERIES_IDS_SPARSE);
    static const char *const bad[] = {"", "a b", "a:b", "a/b", "a\n", "a\x7f"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        key.base = slice_text(bad[i]);
        assert_int_equal(series_intern(table, &key, &price), ERR_SYNTAX);
    }
    char longest[200];
    memset(longest, 'x', sizeof longest);
    key.base = slice_of(longest, sizeof longest);
    assert_int_equal(series_intern(table, &key, &price), ERR_SYNTAX);
    series_table_close(&table);
}

static void test_split(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"BTCUSDT", "BTC", "USDT"},
        {"btc-usdt", "btc", "usdt"},
        {"XRP/ETH", "XRP", "ETH"},
        {"BTC_USDT", "BTC", "USDT"},
        {"TUSDUSDT", "TUSD", "USDT"},
        {"BTCTUSD", "BTC", "TUSD"},
        {"ethbtc", "eth", "btc"},
        {"BTCUSD_PERP", "BTC", "USD_PERP"},
        {"BTCUSDT_240927", "BTC", "USDT_240927"},
        {"BTC-USDT-210625", "BTC", "USDT-210625"},
        {"BTC_CW", "BTC", "CW"},
        {"1000SHIBUSDT", "1000SHIB", "USDT"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct slice base, quote;
        assert_int_equal(series_split_symbol(SLICE("binance"), slice_text(cases[i][0]), &base, &quote), ERR_OK);
        assert_true(slice_equal(base, slice_text(cases[i][1])));
        assert_true(slice_equal(quote, slice_text(cases[i][2])));
    }
    static const char *const bad[] = {"", "USDT", "FOO", "/", "A/", "/B", "A/B/C", "A B/C"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct slice base, quote;
        assert_int_equal(series_split_symbol(SLICE("binance"), slice_text(bad[i]), &base, &quote), ERR_SYNTAX);
    }
}

/* What is a quote asset of one venue ends the base of another one's symbol. */
static void test_split_by_venue(void **state) {
    (void)state;
    static const char *const cases[][4] = {
        {"binance-coinm", "ETHUSD_PERP", "ETH", "USD_PERP"},
        {"binance-coinm", "BCHUSD_240628", "BCH", "USD_240628"},
        {"binance-coinm", "BNBUSD_PERP", "BNB", "USD_PERP"},
        {"binance-coinm", "FDUSDUSD_PERP", "FDUSD", "USD_PERP"},
        {"binance-us", "ETHUSD", "ETH", "USD"},
        {"binance-us", "BCHUSD", "BCH", "USD"},
        {"binance-us", "BATUSD", "BAT", "USD"},
        {"BINANCE-US", "bnbusd", "bnb", "usd"},
        {"binance-us", "SHIBUSD", "SHIB", "USD"},
        {"binance-us", "BNBBUSD", "BNB", "BUSD"},
        {"binance-us", "BTCBUSD", "BTC", "BUSD"},
        {"binance-us", "USDTUSD", "USDT", "USD"},
        {"binance", "BTCTUSD", "BTC", "TUSD"},
        {"binance", "ADAFDUSD", "ADA", "FDUSD"},
        {"binance", "ADAEUR", "ADA", "EUR"},
        {"binance", "BTCAEUR", "BTC", "AEUR"},
        {"binance", "BNBIDR", "BNB", "IDR"},
        {"binance", "BNBBIDR", "BNB", "BIDR"},
        {"binance", "ETHUSD", "ETH", "USD"},
        {"binance-usdm", "ETHUSDT_240628", "ETH", "USDT_240628"},
        {"binance-usdm", "ETHBTC", "ETH", "BTC"},
        {"binance-tr", "BTCTRY", "BTC", "TRY"},
        {"huobi", "ethhusd", "eth", "husd"},
        {"huobi", "batusdt", "bat", "usdt"},
        {"huobi-swap", "ETH-USD", "ETH", "USD"},
        {"kraken", "ETHHUSD", "ETH", "HUSD"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct slice base, quote;
        assert_int_equal(series_split_symbol(slice_text(cases[i][0]), slice_text(cases[i][1]), &base, &quote), ERR_OK);
        assert_true(slice_equal(base, slice_text(cases[i][2])));
        assert_true(slice_equal(quote, slice_text(cases[i][3])));
    }
}

static void test_parse(void **state) {
    (void)state;
    struct series_table *table;
    struct diag diag;
    uint32_t found;
    assert_int_equal(series_table_open(&table), ERR_OK);
    uint32_t btc = intern(table, "binance", "BTC", "USDT");
    uint32_t odd = intern(table, "binance", "FOO", "BAR");
    struct series_key key = key_of("binance", "BTC", "USDT", SERIES_PRICE);
    uint32_t price;
    assert_int_equal(series_intern(table, &key, &price), ERR_OK);
    assert_int_equal(series_parse(table, SLICE("binance:btc/usdt"), -1, &diag, &found), ERR_OK);
    assert_int_equal(found, btc);
    assert_int_equal(series_parse(table, SLICE("BINANCE:BTCUSDT"), -1, &diag, &found), ERR_OK);
    assert_int_equal(found, btc);
    assert_int_equal(series_parse(table, SLICE("binance:BTCUSDT"), SERIES_PRICE, &diag, &found), ERR_OK);
    assert_int_equal(found, price);
    assert_int_equal(series_parse(table, SLICE("binance:foobar"), -1, &diag, &found), ERR_OK);
    assert_int_equal(found, odd);
    assert_int_equal(series_parse(table, SLICE("binance:BTC/USDC"), -1, &diag, &found), ERR_NOT_FOUND);
    assert_non_null(strstr(diag.hint, "binance:BTC/USDT"));
    assert_int_equal(series_parse(table, SLICE("BTCUSDT"), -1, &diag, &found), ERR_SYNTAX);
    assert_int_equal(series_parse(table, SLICE("binance:"), -1, &diag, &found), ERR_SYNTAX);
    series_table_close(&table);
}

static void test_restore(void **state) {
    (void)state;
    struct series_table *table;
    assert_int_equal(series_table_open(&table), ERR_OK);
    struct series copy = *series_get(table, intern(table, "binance", "BTC", "USDT"));
    assert_int_equal(series_restore(table, &copy), ERR_EXISTS);
    copy.number = 7000;
    snprintf(copy.name, sizeof copy.name, "binance:ETH/USDT");
    assert_int_equal(series_restore(table, &copy), ERR_OK);
    assert_int_equal(series_count(table), 7001);
    assert_null(series_get(table, 6999));
    assert_int_equal(intern(table, "binance", "eth", "usdt"), 7000);
    assert_int_equal(intern(table, "binance", "new", "usdt"), 7001);
    copy.number = 7002;
    snprintf(copy.name, sizeof copy.name, "binance:eth");
    assert_int_equal(series_restore(table, &copy), ERR_CORRUPT);
    snprintf(copy.name, sizeof copy.name, "binance:lower/usdt");
    assert_int_equal(series_restore(table, &copy), ERR_CORRUPT);
    series_table_close(&table);
}

/* Readers look up names while others are added: a number once found stays right. */
static void *intern_many(void *context) {
    struct series_table *table = context;
    for (uint32_t i = 0; i < 20000; i++) {
        char base[16];
        snprintf(base, sizeof base, "C%u", i);
        struct series_key key = key_of("venue", base, "X", SERIES_PRICE);
        uint32_t number;
        if (series_intern(table, &key, &number) != ERR_OK || series_find(table, &key) != number) return context;
        if (strncmp((const char *)series_get(table, number)->base.data, base, strlen(base)) != 0) return context;
    }
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    struct series_table *table;
    assert_int_equal(series_table_open(&table), ERR_OK);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&threads[i], NULL, intern_many, table), 0);
    for (int i = 0; i < 3; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(series_count(table), 20000);
    series_table_close(&table);
}

/* Anyone can recompute the hash of a trade: XXH3-64 of its 64 bytes. This value must never change. */
static void test_event_hash(void **state) {
    (void)state;
    struct event event = {.price = 12345,
                          .price_scale = 2,
                          .quantity = 5,
                          .first_id = 7,
                          .last_id = 7,
                          .time_ms = 1618678080000,
                          .kind = EVENT_TRADE,
                          .side = EVENT_TAKER_BUY};
    uint64_t hash = event_hash(&event);
    event.series = 99;
    event.reserved = 1;
    assert_int_equal(event_hash(&event), hash);
    assert_true(hash == UINT64_C(0x77c3987e1f7db9d));
    event.side = EVENT_TAKER_SELL;
    assert_int_not_equal(event_hash(&event), hash);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names),          cmocka_unit_test(test_split),
                                       cmocka_unit_test(test_split_by_venue), cmocka_unit_test(test_parse),
                                       cmocka_unit_test(test_restore),        cmocka_unit_test(test_threads),
                                       cmocka_unit_test(test_event_hash)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
