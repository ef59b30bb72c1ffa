/* Subscriptions of the stream: which are the same, and what they are told when changes are lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/api_fixture.h"
#include "api/stream.h"
#include "api/stream_client.h"
#include "net/net_test.h"
// cmocka.h needs its standard headers before it
#include <cmocka.h>

#define TIME 1700000040000 /* on a minute */

static struct fixture fixture;
static atomic_bool no_memory;

void *__real_realloc(void *memory, size_t size);  // NOLINT: the linker's name
void *__wrap_realloc(void *memory, size_t size);  // NOLINT

/* There is none for the first list of changes of a task. */
void *__wrap_realloc(void *memory, size_t size) {  // NOLINT
    return size == 256 * sizeof(struct hub_change) && atomic_exchange(&no_memory, false) ? NULL
                                                                                         : __real_realloc(memory, size);
}

static int set_up(void **state) {
    (void)state;
    fixture = (struct fixture){0};
    fixture_open(&fixture, 2, true);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    fixture_close(&fixture);
    fixture_remove(&fixture);
    return 0;
}

static void put(const char *base, const char *price, int64_t time_ms) {
    assert_int_equal(fixture_post(&fixture, "/v1/prices", price_json(base, price, time_ms)), 200);
}

/* --- tests --- */

static void test_lost_changes(void **state) {
    (void)state;
    char cursor[64], text[256];
    put("BTC", "100", TIME);
    assert_int_equal(fixture_get(&fixture, "/v1/latest?series=binance:BTC/USDT"),
                     200); /* it is folded, and was watched by nobody */
    int fd = stream_open(fixture.port);
    stream_send(fd, "{\"subscribe\":[{\"series\":\"binance:BTC/USDT\"},{\"series\":\"*\",\"interval\":\"latest\"}]}");
    expect(fd, "\"type\":\"latest\"");
    expect(fd, "\"type\":\"snapshot\"");
    and_expect("\"close\":\"100\"");
    read_cursor(cursor);
    atomic_store(&no_memory, true);
    put("BTC", "101", TIME + 1);
    bool candle = false, latest = false;
    while (!(candle && latest) && stream_next(fd, 10000)) {
        candle |= strstr(message, "\"type\":\"snapshot\"") != NULL && strstr(message, "\"close\":\"101\"") != NULL &&
                  strstr(message, "],\"reset\":true,\"cursor\":\"") != NULL;
        latest |= strstr(message, "\"type\":\"latest\"") != NULL && strstr(message, "\"price\":\"101\"") != NULL;
    }
    assert_true(candle && latest);
    assert_false(atomic_load(&no_memory));
    /* With memory again, it goes on as before. */
    put("BTC", "102", TIME + 2);
    while (strstr(message, "{\"type\":\"open\"") == NULL) assert_true(stream_next(fd, 10000));
    and_expect("\"close\":\"102\"");
    close(fd);
    /* Nobody resumes over what was lost. */
    fd = stream_open(fixture.port);
    snprintf(text, sizeof text, "{\"subscribe\":[{\"series\":\"binance:BTC/USDT\"}],\"cursor\":\"%s\"}", cursor);
    stream_send(fd, text);
    expect(fd, "\"type\":\"snapshot\"");
    and_expect("],\"reset\":true,\"cursor\":\"");
    close(fd);
}

/* Candles of one series and interval, by two calendars: two subscriptions, told apart by what they were asked with. */
static void test_zones_and_weeks(void **state) {
    (void)state;
    static const char *const asked[] = {"", ",\"tz\":\"+08:00\"", ",\"week_start\":7",
                                        ",\"tz\":\"+08:00\",\"week_start\":7"};
    enum { COUNT = sizeof asked / sizeof *asked };
    char text[512], wanted[256];
    put("BTC", "100", TIME);
    const int fd = stream_open(fixture.port);
    for (int i = 0; i < 2 * COUNT; i++) { /* the second time it replaces itself */
        snprintf(text, sizeof text, "{\"subscribe\":[{\"series\":\"binance:BTC/USDT\",\"interval\":\"1w\"%s}]}",
                 asked[i % COUNT]);
        stream_send(fd, text);
        snprintf(wanted, sizeof wanted, "\"interval\":\"1w\"%s,\"candles\":[{", asked[i % COUNT]);
        expect(fd, wanted);
    }
    bool seen[COUNT] = {false};
    put("BTC", "101", TIME + 1);
    for (int k = 0; k < COUNT; k++) {
        expect(fd, "{\"type\":\"open\"");
        and_expect("\"close\":\"101\"");
        for (int i = 0; i < COUNT; i++) {
            snprintf(wanted, sizeof wanted, "\"kind\":\"price\"%s,\"candle\":{", asked[i]);
            seen[i] |= strstr(message, wanted) != NULL;
        }
    }
    for (int i = 0; i < COUNT; i++) assert_true(seen[i]);
    /* One of them ends, the others go on. */
    stream_send(fd, "{\"unsubscribe\":[{\"series\":\"binance:BTC/USDT\",\"interval\":\"1w\",\"tz\":\"+08:00\"}]}");
    stream_send(fd, "{}");
    expect(fd, "\"code\":\"missing\"");
    put("BTC", "102", TIME + 2);
    for (int k = 0; k < COUNT - 1; k++) {
        expect(fd, "\"close\":\"102\"");
        assert_null(strstr(message, "\"tz\":\"+08:00\",\"candle\""));
    }
    assert_false(stream_next(fd, 300));
    close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_zones_and_weeks), TEST(test_lost_changes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
