/* What a request says and its route does not take: nothing is passed over, as the answer would be one to another question. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "api/api_fixture.h"
// cmocka.h needs its standard headers before it
#include <cmocka.h>

#define TIME 1700000041999
#define S "\"series\":\"binance:BTC/USDT\""
#define PAIR "\"baseCurrency\":\"BTC\",\"quoteCurrency\":\"USDT\",\"exchange\":\"binance\""
#define IS_UNKNOWN "\"code\":\"unknown\""

static struct fixture fixture;

static int set_up(void **state) {
    (void)state;
    fixture = (struct fixture){0};
    fixture_open(&fixture, 1, false);
    assert_int_equal(fixture_post(&fixture, "/v1/prices", price_json("BTC", "100", TIME)), 200);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    fixture_close(&fixture);
    fixture_remove(&fixture);
    return 0;
}

struct refusal {
    const char *target, *body, *code, *at;
};

static void refused(const struct refusal *cases, size_t count, unsigned status) {
    for (size_t i = 0; i < count; i++) {
        char at[64];
        snprintf(at, sizeof at, "\"at\":\"%s\"}", cases[i].at);
        if (cases[i].body != NULL)
            fixture_post(&fixture, cases[i].target, cases[i].body);
        else
            fixture_get(&fixture, cases[i].target);
        fixture_expect(&fixture, status, cases[i].code);
        fixture_expect(&fixture, status, at);
    }
}

/* An element's error is that element's answer. */
static void test_members(void **state) {
    (void)state;
    static const struct refusal cases[] = {
        {"/v1/candles", "[{" S ",\"frm\":1700000040000,\"limit\":1}]", "did you mean \\\"from\\\"?", "frm"},
        {"/v1/candles", "[{" S ",\"format\":\"csv\"}]", IS_UNKNOWN, "format"},
        {"/v1/candles", "[{" S ",\"interval\":\"1s\"}]", "\"code\":\"range\"", "interval"},
        {"/v1/query", "[{\"latst\":\"binance:BTC/USDT\"}]", "did you mean \\\"latest\\\"?", "latst"},
        {"/v1/query", "[{\"candles\":{" S ",\"Limit\":1}}]", IS_UNKNOWN, "Limit"},
        {"/v1/query", "[{\"candles\":7}]", "\"code\":\"type\"", "candles"},
        {"/v1/query", "[{\"latest\":7}]", "\"code\":\"type\"", "latest"},
        {"/v1/query", "[{\"latest\":\"nonsense\"}]", "\"code\":\"syntax\"", "latest"},
    };
    refused(cases, sizeof cases / sizeof *cases, 200);
    fixture_post(&fixture, "/v1/candles", "[{" S ",\"from\":1700000040000,\"limit\":1}]");
    fixture_expect(&fixture, 200, "\"close\":\"100\"");
}

static void test_arguments(void **state) {
    (void)state;
    static const struct refusal cases[] = {
        {"/v1/prices?x=1", "[]", IS_UNKNOWN, "x"},
        {"/v1/query?limit=1", "[]", IS_UNKNOWN, "limit"},
        {"/v1/candles?limit=1", "[]", IS_UNKNOWN, "limit"},
        {"/v1/latest?series=binance:BTC/USDT", "[]", IS_UNKNOWN, "series"},
        {"/v1/latest?kind=nft", "[{" PAIR "}]", IS_UNKNOWN, "kind"},
        {"/v1/latest", "[\"binance:BTC/USDT\",{" PAIR ",\"kind\":\"price\"}]", IS_UNKNOWN, "[1].kind"},
        {"/v1/latest", "[{" PAIR ",\"Exchange\":\"huobi\"}]", "did you mean \\\"exchange\\\"?", "[0].Exchange"},
        {"/v1/latest", "[\"nonsense\"]", "\"code\":\"syntax\"", "[0].series"},
        {"/v1/latest?series=binance:BTC/USDT&base=ETH", NULL, "\"code\":\"usage\"", "base"},
        {"/v1/latest?series=binance:BTC/USDT&group=base", NULL, "\"code\":\"usage\"", "group"},
        {"/v1/candles?series=binance:BTC/USDT&interval=1s", NULL, "\"code\":\"range\"", "interval"},
    };
    refused(cases, sizeof cases / sizeof *cases, 400);
}

/* Trades where there are any, however the pair is named; `kind` chooses. */
static void test_kind_of_a_pair(void **state) {
    (void)state;
    uint32_t number;
    const struct series_key key = {SLICE("binance"), SLICE("BTC"), SLICE("USDT"), SERIES_TRADE};
    fixture_post(&fixture, "/v1/latest", "[{" PAIR "}]");
    fixture_expect(&fixture, 200, "\"kind\":\"price\"");
    assert_int_equal(series_intern(fixture.series, &key, &number), ERR_OK);
    const struct event event = {.time_ms = TIME, .price = 3, .series = number};
    assert_int_equal(latest_offer(fixture.latest, &event, 1), ERR_OK);
    static const struct {
        const char *target, *part;
    } cases[] = {{"/v1/latest", "\"kind\":\"trade\",\"price\":\"3\""},
                 {"/v1/latest?kind=trade", "\"kind\":\"trade\",\"price\":\"3\""},
                 {"/v1/latest?kind=price", "\"kind\":\"price\",\"price\":\"100\""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture_post(&fixture, cases[i].target, "[{" PAIR "}]");
        fixture_expect(&fixture, 200, cases[i].part);
        fixture_post(&fixture, cases[i].target, "[\"binance:BTC/USDT\"]");
        fixture_expect(&fixture, 200, cases[i].part);
    }
}

/* Names are quoted as they are. */
static void test_names_beyond_ascii(void **state) {
    (void)state;
    fixture_post(&fixture, "/v1/prices",
                 "{\"baseCurrency\":\"AB\",\"quoteCurrency\":\"USDT\",\"exchange\":\"\xe5\xb8\x81\","
                 "\"price\":1,\"timestampInMs\":1700000041999}");
    fixture_expect(&fixture, 200, "\"accepted\":1");
    fixture_get(&fixture, "/v1/candles?series=%E5%B8%81:AC/USDT");
    fixture_expect(&fixture, 404, "\xe5\xb8\x81:AB/USDT");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_members, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_arguments, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kind_of_a_pair, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names_beyond_ascii, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
