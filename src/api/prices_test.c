/* POST /v1/prices: what is accepted, refused, and repeated. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "api/api_fixture.h"
#include "api/stream.h"
#include "net/net_test.h"
// cmocka.h needs its standard headers before it
#include <cmocka.h>

#define TIME 1700000041999

static struct fixture fixture;

static int set_up(void **state) {
    (void)state;
    fixture = (struct fixture){0};
    fixture_open(&fixture, 1, false);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    fixture_close(&fixture);
    fixture_remove(&fixture);
    return 0;
}

static void test_post_one(void **state) {
    (void)state;
    assert_int_equal(fixture_post(&fixture, "/v1/prices", price_json("BTC", "50000.1", TIME)), 200);
    assert_string_equal(fixture_text(&fixture), "{\"accepted\":1,\"duplicate\":0,\"invalid\":[]}");
    assert_int_equal(log_end_offset(fixture.prices[0]), 1);
    fixture_get(&fixture, "/v1/latest?series=binance:btc/usdt&series=binance:NO/PE");
    assert_string_equal(
        fixture_text(&fixture),
        "{\"latest\":[{\"series\":\"binance:BTC/USDT\",\"kind\":\"price\",\"price\":\"50000.1\",\"time\":"
        "1700000041999,\"base_volume_24h\":\"12.5\",\"quote_volume_24h\":\"625001.25\"}],\"missing\":["
        "\"binance:NO/PE\"]}");
}

static void test_post_many(void **state) {
    (void)state;
    char body[4096];
    int size = snprintf(body, sizeof body, "[%s,", price_json("BTC", "1", TIME));
    size += snprintf(body + size, sizeof body - (size_t)size, "%s,", price_json("BTC", "1", TIME));
    size += snprintf(body + size, sizeof body - (size_t)size, "%s,", price_json("ETH", "2", TIME));
    size += snprintf(body + size, sizeof body - (size_t)size, "{\"price\":null},");
    snprintf(body + size, sizeof body - (size_t)size, "%s]", price_json("ETH", "2", 99999999999999));
    assert_int_equal(fixture_post(&fixture, "/v1/prices", body), 200);
    fixture_expect(&fixture, 200, "{\"accepted\":2,\"duplicate\":1,\"invalid\":[{\"index\":3,\"reason\":\"");
    fixture_expect(&fixture, 200, "{\"index\":4,\"reason\":\"timestampInMs is more than 5 minutes ahead");
    assert_int_equal(log_end_offset(fixture.prices[0]), 2);
    assert_int_equal(log_end_offset(fixture.invalid), 2);
    /* Lines, with an empty one and a broken one. */
    size = snprintf(body, sizeof body, "%s\n\nnot json\n", price_json("BTC", "3", TIME + 1));
    snprintf(body + size, sizeof body - (size_t)size, "%s\n", price_json("ETH", "4", TIME + 1));
    fixture_post(&fixture, "/v1/prices", body);
    fixture_expect(&fixture, 200, "{\"accepted\":2,\"duplicate\":0,\"invalid\":[{\"index\":2,");
    assert_int_equal(log_end_offset(fixture.invalid), 3);
}

static void test_post_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"", "[", "[1,2", "\xff\xfe", "[{\"a\":1}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fixture_post(&fixture, "/v1/prices", bad[i]);
        assert_true(fixture.status == 400 || fixture.status == 200);
        if (fixture.status == 400) fixture_expect(&fixture, 400, "{\"error\":{\"code\":\"");
        if (fixture.status == 200) fixture_expect(&fixture, 200, "{\"accepted\":0,");
    }
    assert_int_equal(log_end_offset(fixture.prices[0]), 0);
    assert_int_equal(fixture_get(&fixture, "/v1/prices"), 405);
    assert_int_equal(fixture_post(&fixture, "/v1/series", ""), 405);
    assert_int_equal(fixture_get(&fixture, "/v1/nothing"), 404);
    fixture_expect(&fixture, 404, "\"code\":\"not-found\"");
}

static void test_too_many_events(void **state) {
    (void)state;
    struct buf body;
    buf_init(&body, 8 * 1024 * 1024);
    for (int i = 0; i < API_EVENTS_MAX + 1; i++) buf_put_text(&body, "{}\n");
    buf_put_u8(&body, 0);
    fixture_post(&fixture, "/v1/prices", (const char *)body.data);
    fixture_expect(&fixture, 413, "\"code\":\"too-large\"");
    assert_int_equal(log_end_offset(fixture.invalid), 0);
    buf_deinit(&body);
}

/* An event that no task would read is refused here, by its index, and what is kept of it says how long it was. */
static void test_a_large_event_is_refused(void **state) {
    (void)state;
    static const char *const marks[2][3] = {{"[", ",", "]"}, {"", "\n", "\n"}};
    struct buf large, body;
    buf_init(&large, 4 * 1024 * 1024);
    buf_init(&body, 4 * 1024 * 1024);
    buf_put_u8(&large, '{');
    for (int i = 0; i < 1024 * 1024; i++) buf_put_u8(&large, ' ');
    buf_put_text(&large, price_json("BTC", "7", TIME) + 1);
    buf_put_u8(&large, 0);
    for (int64_t i = 0; i < 2; i++) {
        buf_clear(&body);
        buf_put_text(&body, marks[i][0]);
        buf_put_text(&body, price_json("BTC", "1", TIME + i));
        buf_put_text(&body, marks[i][1]);
        buf_put_text(&body, (const char *)large.data);
        buf_put_text(&body, marks[i][1]);
        buf_put_text(&body, price_json("ETH", "2", TIME + i));
        buf_put_text(&body, marks[i][2]);
        buf_put_u8(&body, 0);
        fixture_post(&fixture, "/v1/prices", (const char *)body.data);
        fixture_expect(&fixture, 200,
                       "{\"accepted\":2,\"duplicate\":0,\"invalid\":[{\"index\":1,\"reason\":\"an event of 10");
        assert_int_equal(log_end_offset(fixture.invalid), i + 1);
    }
    fixture_post(&fixture, "/v1/prices", (const char *)large.data);
    fixture_expect(&fixture, 200, "{\"accepted\":0,\"duplicate\":0,\"invalid\":[{\"index\":0,");
    assert_int_equal(log_end_offset(fixture.prices[0]), 4);
    buf_deinit(&large);
    buf_deinit(&body);
}

/* A full disk: writes are told to come again, reads go on. */
static void test_no_space(void **state) {
    (void)state;
    struct fixture full = {0};
    fixture_open(&full, 1, false);
    assert_int_equal(fixture_post(&full, "/v1/prices", price_json("BTC", "1", TIME)), 200);
    fixture_close(&full);
    full.reserve_bytes = UINT64_MAX / 2;
    fixture_open(&full, 1, false);
    /* What is preallocated still takes some. */
    int tries = 0;
    struct buf body;
    buf_init(&body, 4 * 1024 * 1024);
    for (int i = 0; i < 4000; i++) {
        buf_put_text(&body, price_json("BTC", "2", TIME + i));
        buf_put_u8(&body, '\n');
    }
    buf_put_u8(&body, 0);
    do fixture_post(&full, "/v1/prices", (const char *)body.data);
    while (full.status == 200 && ++tries < 100);
    fixture_expect(&full, 503, "\"code\":\"no-space\"");
    fixture_get(&full, "/v1/latest?series=binance:BTC/USDT");
    fixture_expect(&full, 200, "\"latest\":[{");
    buf_deinit(&body);
    fixture_close(&full);
    fixture_remove(&full);
}

static void test_untold_volumes(void **state) {
    (void)state;
    const char *names = "{\"baseCurrency\":\"BTC\",\"quoteCurrency\":\"USDT\",\"exchange\":\"binance\",\"price\":1,";
    char body[1024];
    snprintf(body, sizeof body, "%s\"timestampInMs\":%lld}", names, (long long)TIME);
    assert_int_equal(fixture_post(&fixture, "/v1/prices", body), 200);
    fixture_get(&fixture, "/v1/latest?series=binance:BTC/USDT");
    fixture_expect(&fixture, 200, "\"price\":\"1\",\"time\":1700000041999}],");
    snprintf(body, sizeof body, "%s\"baseVolumeLast24h\":7,\"timestampInMs\":%lld}", names, (long long)TIME + 1);
    assert_int_equal(fixture_post(&fixture, "/v1/prices", body), 200);
    fixture_get(&fixture, "/v1/latest?series=binance:BTC/USDT");
    fixture_expect(&fixture, 200, "\"time\":1700000042000,\"base_volume_24h\":\"7\"}],");
    /* It is no zero that was told. */
    int size = snprintf(body, sizeof body, "%s\"timestampInMs\":%lld}\n", names, (long long)TIME + 2);
    size += snprintf(body + size, sizeof body - (size_t)size, "%s\"baseVolumeLast24h\":0,\"timestampInMs\":%lld}\n",
                     names, (long long)TIME + 2);
    snprintf(body + size, sizeof body - (size_t)size, "%s\"timestampInMs\":%lld}\n", names, (long long)TIME + 2);
    fixture_post(&fixture, "/v1/prices", body);
    fixture_expect(&fixture, 200, "{\"accepted\":2,\"duplicate\":1,");
    fixture_get(&fixture, "/v1/latest?series=binance:BTC/USDT");
    fixture_expect(&fixture, 200, "\"time\":1700000042001,\"base_volume_24h\":\"0\"}],");
}

/* --- Idempotency-Key, over the real server because it is a header --- */

static int post_keyed(int port, const char *key, const char *body, char *answer, size_t size) {
    char request[8192];
    const int fd = connect_tcp(port);
    assert_true(fd >= 0);
    snprintf(request, sizeof request,
             "POST /v1/prices HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: %s\r\nContent-Type: application/json\r\n"
             "Content-Length: %zu\r\n\r\n%s",
             key, strlen(body), body);
    const int status = exchange_text(fd, request, answer, size);
    close(fd);
    return status;
}

static void test_idempotency(void **state) {
    (void)state;
    struct fixture served = {0};
    char answer[8192], body[4096];
    fixture_open(&served, 2, true);
    int size = snprintf(body, sizeof body, "[%s,", price_json("BTC", "1", TIME));
    snprintf(body + size, sizeof body - (size_t)size, "%s]", price_json("ETH", "2", TIME));
    assert_int_equal(post_keyed(served.port, "key-1", body, answer, sizeof answer), 200);
    assert_non_null(strstr(answer, "{\"accepted\":2,\"duplicate\":0,"));
    const int64_t end = log_end_offset(served.prices[0]) + log_end_offset(served.prices[1]);
    assert_int_equal(end, 2);
    assert_int_equal(post_keyed(served.port, "key-1", body, answer, sizeof answer), 200);
    assert_non_null(strstr(answer, "{\"accepted\":0,\"duplicate\":2,"));
    /* The same key with one event more: that one is missing. */
    size = snprintf(body, sizeof body, "[%s,", price_json("BTC", "1", TIME));
    snprintf(body + size, sizeof body - (size_t)size, "%s]", price_json("SOL", "3", TIME));
    assert_int_equal(post_keyed(served.port, "key-1", body, answer, sizeof answer), 200);
    assert_non_null(strstr(answer, "{\"accepted\":1,\"duplicate\":1,"));
    /* Another key is another matter. */
    assert_int_equal(post_keyed(served.port, "key-2", body, answer, sizeof answer), 200);
    assert_non_null(strstr(answer, "{\"accepted\":2,\"duplicate\":0,"));
    assert_int_equal(post_keyed(served.port, "no spaces", body, answer, sizeof answer), 400);
    /* A restart remembers. */
    fixture_close(&served);
    fixture_open(&served, 2, true);
    assert_int_equal(post_keyed(served.port, "key-1", body, answer, sizeof answer), 200);
    assert_non_null(strstr(answer, "{\"accepted\":0,\"duplicate\":2,"));
    assert_int_equal(log_end_offset(served.prices[0]) + log_end_offset(served.prices[1]), 5);
    /* After a day it is forgotten. */
    served.now_ms = sys_wall_ms(sys_real()) + 25 * 3600 * 1000;
    assert_int_equal(post_keyed(served.port, "key-1", body, answer, sizeof answer), 200);
    assert_null(strstr(answer, "\"duplicate\":2,"));
    fixture_close(&served);
    fixture_remove(&served);
}

/* What is no event is kept once too, however often it is sent under its key: over a restart, and where the key's own record
 * was lost; and what the request brought twice, twice. */
static void test_invalid_under_a_key(void **state) {
    (void)state;
    struct fixture served = {0};
    char answer[8192], body[4096];
    fixture_open(&served, 1, true);
    snprintf(body, sizeof body, "%s\n{\"price\":7}\nnonsense\n{\"price\":7}\n", price_json("BTC", "1", TIME));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(post_keyed(served.port, "key-1", body, answer, sizeof answer), 200);
        assert_non_null(
            strstr(answer, i == 0 ? "{\"accepted\":1,\"duplicate\":0," : "{\"accepted\":0,\"duplicate\":1,"));
        assert_non_null(strstr(answer, "\"invalid\":[{\"index\":1,"));
        assert_non_null(strstr(answer, "{\"index\":3,"));
        assert_int_equal(log_end_offset(served.invalid), 3);
    }
    fixture_close(&served);
    fixture_open(&served, 1, true);
    assert_int_equal(post_keyed(served.port, "key-1", body, answer, sizeof answer), 200);
    assert_int_equal(log_end_offset(served.invalid), 3);
    assert_int_equal(post_keyed(served.port, "key-2", body, answer, sizeof answer), 200);
    assert_int_equal(log_end_offset(served.invalid), 6);
    assert_int_equal(post_keyed(served.port, "key-3", "[7]", answer, sizeof answer), 200);
    assert_int_equal(post_keyed(served.port, "key-3", "[7,8]", answer, sizeof answer), 200);
    assert_int_equal(log_end_offset(served.invalid), 8);
    fixture_close(&served);
    fixture_remove(&served);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_post_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_post_many, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_post_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_too_many_events, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_large_event_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_space, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_untold_volumes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_idempotency, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_invalid_under_a_key, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
