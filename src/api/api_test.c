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

/* --- reading --- */

static void put(const char *base, const char *price, int64_t time_ms) {
    assert_int_equal(fixture_post(&fixture, "/v1/prices", price_json(base, price, time_ms)), 200);
    fixture_expect(&fixture, 200, "\"accepted\":1");
}

static void test_latest(void **state) {
    (void)state;
    put("BTC", "1.50", TIME);
    put("ETH", "2", TIME);
    fixture_post(
        &fixture, "/v1/prices",
        "{\"baseCurrency\":\"SOL\",\"quoteCurrency\":\"EUR\",\"exchange\":\"kraken\",\"price\":7,\"timestampInMs\":"
        "1700000000000}");
    put("SOL", "9", TIME);
    fixture_get(&fixture, "/v1/latest");
    fixture_expect(&fixture, 200, "{\"latest\":[{\"series\":\"binance:BTC/USDT\"");
    fixture_get(&fixture, "/v1/latest?base=sol");
    fixture_expect(&fixture, 200, "binance:SOL/USDT");
    fixture_expect(&fixture, 200, "kraken:SOL/EUR");
    fixture_get(&fixture, "/v1/latest?group=base");
    fixture_expect(&fixture, 200, "{\"BTC\":[{\"series\":\"binance:BTC/USDT\"");
    fixture_expect(&fixture, 200, "\"SOL\":[{\"series\":\"kraken:SOL/EUR\"");
    assert_null(strstr(fixture_text(&fixture), "binance:SOL/USDT"));
    fixture_get(&fixture, "/v1/latest?group=quote");
    fixture_expect(&fixture, 400, "\"at\":\"group\"");
    fixture_get(&fixture, "/v1/latest?series=nonsense");
    fixture_expect(&fixture, 400, "\"at\":\"series\"");
    fixture_post(&fixture, "/v1/latest",
                 "[\"binance:ETH/"
                 "USDT\",{\"baseCurrency\":\"BTC\",\"quoteCurrency\":\"USDT\",\"exchange\":\"Binance\"},\"x:A/B\"]");
    fixture_expect(&fixture, 200, "{\"latest\":[{\"series\":\"binance:ETH/USDT\"");
    fixture_expect(&fixture, 200, "\"missing\":[\"x:A/B\"]}");
    fixture_post(&fixture, "/v1/latest", "[{\"baseCurrency\":\"BTC\"}]");
    fixture_expect(&fixture, 400, "\"at\":\"[0]\"");
    fixture_post(&fixture, "/v1/latest", "{}");
    assert_int_equal(fixture.status, 400);
}

/* Of a pair that has both, `kind` chooses, also where no series is named. */
static void test_kind(void **state) {
    (void)state;
    uint32_t number;
    const struct series_key key = {SLICE("binance"), SLICE("BTC"), SLICE("USDT"), SERIES_TRADE};
    put("BTC", "100", TIME);
    put("ETH", "7", TIME);
    assert_int_equal(series_intern(fixture.series, &key, &number), ERR_OK);
    const struct event event = {.time_ms = TIME, .price = 3, .series = number};
    assert_int_equal(latest_offer(fixture.latest, &event, 1), ERR_OK);
    static const struct {
        const char *target;
        bool price, trade;
    } cases[] = {
        {"/v1/latest", true, true},
        {"/v1/latest?kind=", true, true},
        {"/v1/latest?kind=price", true, false},
        {"/v1/latest?kind=Trade", false, true},
        {"/v1/latest?base=btc", true, true},
        {"/v1/latest?base=btc&kind=price", true, false},
        {"/v1/latest?base=btc&kind=trade", false, true},
        {"/v1/latest?group=base", true, true},
        {"/v1/latest?group=base&kind=price", true, false},
        {"/v1/latest?group=base&kind=trade", false, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(fixture_get(&fixture, cases[i].target), 200);
        assert_int_equal(strstr(fixture_text(&fixture), "\"kind\":\"price\"") != NULL, cases[i].price);
        assert_int_equal(strstr(fixture_text(&fixture), "\"kind\":\"trade\"") != NULL, cases[i].trade);
    }
    static const char *const bad[] = {"/v1/latest?kind=nft", "/v1/latest?base=BTC&kind=nft",
                                      "/v1/latest?group=base&kind=nft", "/v1/gaps?kind=nft",
                                      "/v1/latest?series=binance:BTC/USDT&kind=nft"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fixture_get(&fixture, bad[i]);
        fixture_expect(&fixture, 400, "\"code\":\"unknown\"");
        fixture_expect(&fixture, 400, "\"at\":\"kind\"");
    }
    fixture_get(&fixture, "/v1/gaps?kind=price");
    assert_string_equal(fixture_text(&fixture), "[]");
}

static void test_candles(void **state) {
    (void)state;
    put("BTC", "100", TIME);
    put("BTC", "300", TIME + 1);
    put("BTC", "200", TIME + 2);
    put("BTC", "250", TIME + 60000);
    fixture_get(&fixture, "/v1/candles?series=binance:BTC/USDT");
    fixture_expect(&fixture, 200, "[{\"series\":\"binance:BTC/USDT\",\"interval\":\"1m\",\"open_time\":1700000040000");
    fixture_expect(&fixture, 200, "\"open\":\"100\",\"high\":\"300\",\"low\":\"100\",\"close\":\"200\"");
    fixture_expect(&fixture, 200, "\"open\":\"250\"");
    fixture_get(&fixture, "/v1/candles?series=binance:BTC/USDT&interval=1h&tz=%2B01:00&limit=1");
    fixture_expect(&fixture, 200, "\"interval\":\"1h\"");
    fixture_expect(&fixture, 200, "\"close\":\"250\"");
    fixture_get(&fixture, "/v1/candles?series=binance:BTC/USDT&from=1700000100000&format=csv");
    fixture_expect(&fixture, 200, "open_time,open,high,low,close,volume,close_time");
    assert_string_equal(fixture.type, "text/csv; charset=utf-8");
    assert_null(strstr(fixture_text(&fixture), "1700000040000"));
    fixture_get(&fixture, "/v1/candles?series=binance:BTC/USDT&format=ndjson&to=1700000100000");
    assert_int_equal(fixture_text(&fixture)[0], '{');
    /* A + that nobody escaped: a space could stand for nothing else there. */
    fixture_get(&fixture, "/v1/candles?series=binance:BTC/USDT&interval=1d&tz=+08:00&limit=1");
    fixture_expect(&fixture, 200, "\"open_time\":1699977600000,");
    fixture_get(&fixture,
                "/v1/candles?series=binance:BTC/USDT&from=2023-11-15T06:14:00+08:00&to=2023-11-15T06:15:00+08:00");
    fixture_expect(&fixture, 200, "[{\"series\":\"binance:BTC/USDT\",\"interval\":\"1m\",\"open_time\":1700000040000,");
    static const struct {
        const char *target, *part;
        unsigned status;
    } bad[] = {
        {"/v1/stream", "/v1/stream is a websocket: connect with ws://", 426},
        {"/v1/candles?series=binance:BTC/USDT&tz=+99:00", "\"at\":\"tz\"", 400},
        {"/v1/candles?series=binance:BTC/USDT&from=+", "\"at\":\"from\"", 400},
        {"/v1/candles", "\"at\":\"series\"", 400},
        {"/v1/candles?series=binance:BTC/USDT&frm=1", "did you mean \\\"from\\\"?", 400},
        {"/v1/candles?series=binance:BTC/USDT&frm=1", "\"at\":\"frm\"", 400},
        {"/v1/candles?series=binance:BTC/USDT&From=1", "\"code\":\"unknown\"", 400},
        {"/v1/candles?series=binance:BTC/USDT&series=binance:ETH/USDT", "\"code\":\"duplicate-key\"", 400},
        {"/v1/candles?series=binance:BTC/USDT&&=1", "\"at\":\"\"", 400},
        {"/v1/latest?serie=binance:BTC/USDT", "did you mean \\\"series\\\"?", 400},
        {"/v1/status?x=1", "/v1/status has no argument \\\"x\\\"", 400},
        {"/v1/candles?series=binance:NO/PE", "\"code\":\"not-found\"", 404},
        {"/v1/candles?series=binance:BTC/USDT&kind=nft", "\"at\":\"kind\"", 400},
        {"/v1/candles?series=binance:BTC/USDT&interval=7x", "\"at\":\"interval\"", 400},
        {"/v1/candles?series=binance:BTC/USDT&from=yesterday", "\"at\":\"from\"", 400},
        {"/v1/candles?series=binance:BTC/USDT&limit=0", "\"at\":\"limit\"", 400},
        {"/v1/candles?series=binance:BTC/USDT&limit=50001", "\"at\":\"limit\"", 400},
        {"/v1/candles?series=binance:BTC/USDT&tz=Mars/Base", "\"at\":\"tz\"", 400},
        {"/v1/candles?series=binance:BTC/USDT&week_start=8", "\"at\":\"week_start\"", 400},
        {"/v1/candles?series=binance:BTC/USDT&format=xml", "\"at\":\"format\"", 400},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fixture_get(&fixture, bad[i].target);
        fixture_expect(&fixture, bad[i].status, bad[i].part);
    }
}

static void test_query(void **state) {
    (void)state;
    put("BTC", "100", TIME);
    put("ETH", "7", TIME);
    fixture_post(&fixture, "/v1/query",
                 "[{\"latest\":\"binance:ETH/USDT\"},{\"candles\":{\"series\":\"binance:BTC/USDT\",\"limit\":5}},"
                 "{\"latest\":\"binance:NO/PE\"},{\"candles\":{\"series\":\"binance:NO/PE\"}},{\"x\":1},"
                 "{\"candles\":{\"series\":\"binance:BTC/USDT\",\"interval\":[]}}]");
    fixture_expect(&fixture, 200,
                   "{\"results\":[{\"latest\":{\"series\":\"binance:ETH/USDT\",\"kind\":\"price\",\"price\":\"7\"");
    fixture_expect(&fixture, 200, "},{\"candles\":[{\"series\":\"binance:BTC/USDT\"");
    fixture_expect(&fixture, 200, "]},{\"latest\":null},{\"error\":{\"code\":\"not-found\"");
    fixture_expect(&fixture, 200, "\"at\":\"series\"}},{\"error\":{\"code\":\"unknown\"");
    fixture_expect(
        &fixture, 200,
        "{\"error\":{\"code\":\"type\",\"message\":\"a string or a number is required\",\"at\":\"interval\"}}]}");
    fixture_post(&fixture, "/v1/candles", "[{\"series\":\"binance:BTC/USDT\",\"from\":1700000040000,\"limit\":1}]");
    fixture_expect(&fixture, 200, "{\"results\":[{\"candles\":[{\"series\":\"binance:BTC/USDT\"");
    fixture_post(&fixture, "/v1/query", "[]");
    fixture_expect(&fixture, 200, "{\"results\":[]}");
    fixture_post(&fixture, "/v1/query", "{}");
    assert_int_equal(fixture.status, 400);
}

/* Past what an answer may be, the rest is not read any more, and what was read is given back. */
static void test_query_too_large(void **state) {
    (void)state;
    enum { CANDLES = 3000, MEMBERS = 80 };
    struct buf text;
    buf_init(&text, 4 * 1024 * 1024);
    for (int i = 0; i < CANDLES; i++) {
        buf_put_text(&text, price_json("BTC", "100.25", TIME + (int64_t)i * 60000));
        buf_put_u8(&text, '\n');
    }
    buf_put_u8(&text, 0);
    assert_int_equal(fixture_post(&fixture, "/v1/prices", (const char *)text.data), 200);
    buf_clear(&text);
    for (int i = 0; i < MEMBERS; i++)
        buf_put_text(&text, i == 0 ? "[" : "{\"series\":\"binance:BTC/USDT\",\"limit\":50000,\"tz\":\"+01:00\"},");
    buf_put_text(&text, "{\"series\":\"binance:BTC/USDT\"}]");
    buf_put_u8(&text, 0);
    fixture_post(&fixture, "/v1/candles", (const char *)text.data);
    fixture_expect(&fixture, 413, "{\"error\":{\"code\":\"too-large\",\"message\":\"");
    fixture_expect(&fixture, 413, "larger than 64 MiB; ask for fewer");
    buf_deinit(&text);
    fixture_post(&fixture, "/v1/candles", "[{\"series\":\"binance:BTC/USDT\",\"limit\":1}]");
    fixture_expect(&fixture, 200, "{\"results\":[{\"candles\":[{");
}

static void test_series_why_gaps(void **state) {
    (void)state;
    put("BTC", "100.25", TIME);
    put("ETH", "7", TIME);
    fixture_get(&fixture, "/v1/series");
    fixture_expect(&fixture, 200,
                   "[{\"series\":\"binance:BTC/"
                   "USDT\",\"venue\":\"binance\",\"base\":\"BTC\",\"quote\":\"USDT\",\"kind\":\"price\","
                   "\"last_seen\":1700000041999,\"price\":\"100.25\",\"decimals\":2},{\"series\":\"binance:ETH/USDT\"");
    fixture_get(&fixture, "/v1/series?base=eth&venue=BINANCE");
    assert_null(strstr(fixture_text(&fixture), "BTC"));
    fixture_get(&fixture, "/v1/series?venue=other");
    assert_string_equal(fixture_text(&fixture), "[]");
    fixture_get(&fixture, "/v1/why?series=binance:BTC/USDT&time=1700000041999");
    fixture_expect(&fixture, 200, "{\"candle\":{\"series\":\"binance:BTC/USDT\"");
    fixture_expect(&fixture, 200, "\"holes\":[],\"lane\":{\"basis\":\"prices\"");
    fixture_expect(&fixture, 200, "\"used\":1,\"late\":0");
    fixture_expect(&fixture, 200, "1 price observed");
    fixture_expect(&fixture, 200, "XXH3-64");
    fixture_get(&fixture, "/v1/why?series=binance:BTC/USDT&time=1600000000000");
    fixture_expect(&fixture, 200, "{\"candle\":null,");
    fixture_expect(&fixture, 200, "nothing is known of this minute");
    fixture_get(&fixture, "/v1/why?series=binance:BTC/USDT");
    fixture_expect(&fixture, 400, "\"at\":\"time\"");
    fixture_get(&fixture, "/v1/gaps");
    assert_string_equal(fixture_text(&fixture), "[]");
}

static void test_operations(void **state) {
    (void)state;
    put("BTC", "100", TIME);
    fixture_get(&fixture, "/v1/ledger");
    assert_string_equal(
        fixture_text(&fixture),
        "{\"rows\":[{\"topic\":\"prices\",\"partition\":0,\"processor\":\"candles\",\"read\":1,\"used\":1,\"late\":"
        "0,\"duplicate\":0,\"invalid\":0,\"filtered\":0,\"pending\":0,\"balanced\":true,\"offset\":1,\"end\":1}],"
        "\"balanced\":true}");
    fixture_get(&fixture, "/v1/status");
    fixture_expect(&fixture, 200, "\"live\":true,\"series\":1,");
    fixture_expect(&fixture, 200, "\"tasks\":[{\"name\":\"candles/prices/0\",\"offset\":1,\"end\":1,\"checkpoint\":");
    fixture_get(&fixture, "/healthz");
    fixture_expect(&fixture, 200, "ok");
    fixture_get(&fixture, "/readyz");
    fixture_expect(&fixture, 200, "{\"ready\":true}");
    fixture_get(&fixture, "/metrics");
    fixture_expect(&fixture, 200,
                   "wick_events_total{topic=\"prices\",partition=\"0\",task=\"candles/prices/0\",fate=\"used\"} 1\n");
    fixture_expect(&fixture, 200, "wick_prices_accepted_total 1\n");
}

static double metric(const char *name) {
    const char *at = strstr(fixture_text(&fixture), name);
    if (at == NULL) print_error("%s is missing\n", name);
    assert_non_null(at);
    return strtod(at + strlen(name), NULL);
}

/* What docs/howto/operate.md says to alarm on: the ledger's balance, the age of the checkpoint, free space. */
static void test_metrics_to_alarm_on(void **state) {
    (void)state;
    static const char *const fates[] = {"used", "late", "duplicate", "invalid", "filtered", "pending"};
    char name[160];
    double sum = 0;
    fixture_close(&fixture);
    fixture_remove(&fixture);
    fixture.checkpoint_ms = 600000;
    fixture_open(&fixture, 1, false);
    put("BTC", "100", TIME);
    put("BTC", "101", TIME + 90000);
    put("BTC", "99", TIME); /* late */
    fixture_get(&fixture, "/v1/ledger");
    fixture_get(&fixture, "/metrics");
    for (size_t i = 0; i < sizeof fates / sizeof *fates; i++) {
        snprintf(name, sizeof name,
                 "\nwick_events_total{topic=\"prices\",partition=\"0\",task=\"candles/prices/0\",fate=\"%s\"} ",
                 fates[i]);
        sum += metric(name);
    }
    assert_true(sum == 3);
    assert_true(metric("\nwick_events_read_total{topic=\"prices\",partition=\"0\",task=\"candles/prices/0\"} ") == 3);
    assert_true(metric("\nwick_ledger_balanced{task=\"candles/prices/0\"} ") == 1);
    assert_true(metric("\nwick_disk_free_bytes ") > 0);
    static const char age[] = "\nwick_task_checkpoint_age_seconds{task=\"candles/prices/0\"} ";
    assert_true(metric(age) == 0);
    hub_sample(fixture.api->hub, 5000);
    nanosleep(&(struct timespec){0, 20000000}, NULL);
    hub_sample(fixture.api->hub, 7000);
    fixture_get(&fixture, "/metrics");
    assert_true(metric(age) >= 0.02);
}

/* Each metric has its HELP and TYPE in front of it, once; names, labels and values are well formed. */
static void test_metrics_format(void **state) {
    (void)state;
    put("BTC", "100", TIME);
    fixture_get(&fixture, "/metrics");
    char *at = (char *)(uintptr_t)fixture_text(&fixture), current[128] = "";
    int lines = 0;
    for (char *end; *at != '\0'; at = end + 1, lines++) {
        end = strchr(at, '\n');
        assert_non_null(end);
        *end = '\0';
        if (strncmp(at, "# HELP ", 7) == 0) {
            assert_non_null(strchr(at + 7, ' '));
            snprintf(current, sizeof current, "%.*s", (int)strcspn(at + 7, " "), at + 7);
        } else if (strncmp(at, "# TYPE ", 7) == 0) {
            assert_memory_equal(at + 7, current, strlen(current));
            const char *type = at + 8 + strlen(current);
            assert_true(strcmp(type, "counter") == 0 || strcmp(type, "gauge") == 0);
            const bool total = strlen(current) > 6 && strcmp(current + strlen(current) - 6, "_total") == 0;
            assert_int_equal(total, strcmp(type, "counter") == 0);
        } else {
            const size_t name = strcspn(at, "{ ");
            assert_int_equal(name, strlen(current));
            assert_memory_equal(at, current, name);
            const char *value = strrchr(at, ' ');
            char *stop;
            (void)strtod(value + 1, &stop);
            assert_int_equal(*stop, '\0');
        }
    }
    assert_true(lines > 40);
}

/* Whatever was acknowledged to anybody is seen by whoever asks next. */
struct reader_of_writes {
    int index;
    int failures;
};

static void *write_and_read(void *context) {
    struct reader_of_writes *self = context;
    char base[8], body[512], target[128], price[16], part[32], type[64];
    snprintf(base, sizeof base, "C%d", self->index);
    snprintf(target, sizeof target, "/v1/latest?series=binance:%s/USDT", base);
    for (int i = 1; i <= 200; i++) {
        unsigned status;
        struct buf answer;
        snprintf(price, sizeof price, "%d", i);
        snprintf(body, sizeof body,
                 "{\"baseCurrency\":\"%s\",\"quoteCurrency\":\"USDT\",\"exchange\":\"binance\",\"price\":%s,"
                 "\"timestampInMs\":%lld}",
                 base, price, (long long)(TIME + i));
        if (http_local(api_handler(fixture.api), HTTP_POST, "/v1/prices", slice_text(body), NULL, NULL, &status,
                       &answer, type) != ERR_OK)
            return NULL;
        self->failures += status != 200;
        buf_deinit(&answer);
        if (http_local(api_handler(fixture.api), HTTP_GET, target, SLICE_NONE, NULL, NULL, &status, &answer, type) !=
            ERR_OK)
            return NULL;
        buf_put_u8(&answer, 0);
        snprintf(part, sizeof part, "\"price\":\"%d\"", i);
        self->failures += strstr((const char *)answer.data, part) == NULL;
        buf_deinit(&answer);
    }
    return NULL;
}

static void test_reads_see_writes(void **state) {
    (void)state;
    pthread_t threads[4];
    struct reader_of_writes readers[4];
    for (int i = 0; i < 4; i++) {
        readers[i] = (struct reader_of_writes){i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, write_and_read, &readers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(readers[i].failures, 0);
    }
    fixture_get(&fixture, "/v1/ledger");
    fixture_expect(&fixture, 200, "\"read\":800,\"used\":800");
}

/* Over several partitions: what one request brings is split, answered once, and read back from all tasks. */
static void test_partitions(void **state) {
    (void)state;
    struct fixture wide = {0};
    fixture_open(&wide, 4, false);
    struct buf body;
    char base[16];
    buf_init(&body, 1024 * 1024);
    for (int i = 0; i < 200; i++) {
        snprintf(base, sizeof base, "T%d", i);
        buf_put_text(&body, price_json(base, "1", TIME + i));
        buf_put_u8(&body, '\n');
    }
    buf_put_u8(&body, 0);
    fixture_post(&wide, "/v1/prices", (const char *)body.data);
    fixture_expect(&wide, 200, "{\"accepted\":200,\"duplicate\":0,\"invalid\":[]}");
    int64_t total = 0;
    for (int i = 0; i < 4; i++) {
        assert_true(log_end_offset(wide.prices[i]) > 10);
        total += log_end_offset(wide.prices[i]);
    }
    assert_int_equal(total, 200);
    buf_clear(&body);
    buf_put_u8(&body, '[');
    for (int i = 0; i < 200; i++) {
        buf_put_text(&body, i == 0 ? "" : ",");
        buf_printf(&body,
                   i % 2 ? "{\"latest\":\"binance:T%d/USDT\"}" : "{\"candles\":{\"series\":\"binance:T%d/USDT\"}}", i);
    }
    buf_put_text(&body, "]");
    buf_put_u8(&body, 0);
    fixture_post(&wide, "/v1/query", (const char *)body.data);
    const char *at = fixture_text(&wide);
    for (int i = 0; i < 200; i++) {
        snprintf(base, sizeof base, ":T%d/USDT", i);
        at = strstr(at, base);
        assert_non_null(at);
    }
    fixture_get(&wide, "/v1/latest");
    fixture_expect(&wide, 200, "binance:T199/USDT");
    buf_deinit(&body);
    fixture_close(&wide);
    fixture_remove(&wide);
}

/* --- the table is the contract --- */

static void test_openapi(void **state) {
    (void)state;
    fixture_get(&fixture, "/openapi.json");
    struct json_parser *parser = NULL;
    const struct json_value *root = NULL;
    struct diag diag = {0};
    assert_int_equal(json_parser_open(NULL, &parser), ERR_OK);
    assert_int_equal(json_parse(parser, buf_slice(&fixture.body), &diag, &root), ERR_OK);
    const struct json_value *paths = json_member(root, "paths");
    assert_non_null(paths);
    for (uint32_t i = 0; i < api_route_count; i++) {
        const struct json_value *path = json_member(paths, api_routes[i].path);
        assert_non_null(path);
        assert_non_null(json_member(path, api_routes[i].method == HTTP_POST ? "post" : "get"));
    }
    json_parser_close(&parser);
}

static void test_documented(void **state) {
    (void)state;
    const char *folder = getenv("WICK_SOURCE");
    char path[512];
    uint8_t *text;
    size_t size;
    struct diag diag = {0};
    if (folder == NULL) skip();
    snprintf(path, sizeof path, "%s/docs/http.md", folder);
    assert_int_equal(sys_read_file(sys_real(), path, 1024 * 1024, &diag, &text, &size), ERR_OK);
    for (uint32_t i = 0; i < api_route_count; i++) {
        if (strstr((const char *)text, api_routes[i].path) == NULL)
            print_error("%s is not documented\n", api_routes[i].path);
        assert_non_null(strstr((const char *)text, api_routes[i].path));
        for (uint32_t k = 0; k < 10 && api_routes[i].arguments[k].name != NULL; k++)
            assert_non_null(strstr((const char *)text, api_routes[i].arguments[k].name));
    }
    free(text);
}

static void test_methods(void **state) {
    (void)state;
    char type[64];
    struct buf body;
    unsigned status;
    assert_int_equal(
        http_local(api_handler(fixture.api), HTTP_OPTIONS, "/v1/latest", SLICE_NONE, NULL, NULL, &status, &body, type),
        ERR_OK);
    assert_int_equal(status, 204);
    buf_deinit(&body);
    assert_int_equal(
        http_local(api_handler(fixture.api), HTTP_HEAD, "/v1/latest", SLICE_NONE, NULL, NULL, &status, &body, type),
        ERR_OK);
    assert_int_equal(status, 200);
    buf_deinit(&body);
    assert_int_equal(
        http_local(api_handler(fixture.api), HTTP_DELETE, "/v1/latest", SLICE_NONE, NULL, NULL, &status, &body, type),
        ERR_OK);
    assert_int_equal(status, 405);
    buf_deinit(&body);
    assert_int_equal(fixture_get(&fixture, "/"), 200);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_latest),          TEST(test_kind),
        TEST(test_candles),         TEST(test_query),
        TEST(test_query_too_large), TEST(test_series_why_gaps),
        TEST(test_operations),      TEST(test_metrics_to_alarm_on),
        TEST(test_metrics_format),  TEST(test_openapi),
        TEST(test_documented),      TEST(test_reads_see_writes),
        TEST(test_methods),         cmocka_unit_test(test_partitions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
