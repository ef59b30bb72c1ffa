#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "api/api_fixture.h"
#include "api/stream.h"
#include "api/stream_client.h"
#include "net/net_test.h"
// cmocka.h needs its standard headers before it
#include <cmocka.h>

#define MINUTE 60000
#define TIME 1700000040000 /* on a minute */

static struct fixture fixture;

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

static void test_watch(void **state) {
    (void)state;
    put("BTC", "100", TIME);
    const int fd = stream_open(fixture.port);
    stream_send(fd, "{\"subscribe\":[{\"series\":\"binance:btc/usdt\",\"interval\":\"1m\"}],\"snapshot\":2}");
    expect(
        fd,
        "{\"type\":\"snapshot\",\"series\":\"binance:BTC/USDT\",\"kind\":\"price\",\"interval\":\"1m\",\"candles\":[{");
    and_expect("\"close\":\"100\"");
    put("BTC", "101", TIME + 1);
    expect(fd, "{\"type\":\"open\",\"kind\":\"price\",\"candle\":{\"series\":\"binance:BTC/USDT\"");
    and_expect("\"close\":\"101\"");
    /* The watermark passes the minute's end and the grace of 10 s: it is closed. */
    put("BTC", "102", TIME + MINUTE + 15000);
    bool closed = false, open = false;
    while (!(closed && open) && stream_next(fd, 10000)) {
        closed |= strstr(message, "\"type\":\"closed\"") != NULL && strstr(message, "\"close\":\"101\"") != NULL;
        open |= strstr(message, "\"type\":\"open\"") != NULL && strstr(message, "\"close\":\"102\"") != NULL;
    }
    assert_true(closed && open);
    /* Others are not sent; after unsubscribing nothing is. */
    put("ETH", "7", TIME + MINUTE + 15000);
    assert_false(stream_next(fd, 300));
    stream_send(fd, "{\"unsubscribe\":[{\"series\":\"binance:BTC/USDT\",\"interval\":\"1m\"}]}");
    stream_send(fd, "{}");
    expect(fd, "\"code\":\"missing\""); /* so what was sent before it is done */
    put("BTC", "103", TIME + MINUTE + 15001);
    assert_false(stream_next(fd, 300));
    close(fd);
}

static void test_longer_intervals(void **state) {
    (void)state;
    put("BTC", "100", TIME);
    const int fd = stream_open(fixture.port);
    stream_send(fd,
                "{\"subscribe\":[{\"series\":\"binance:BTC/USDT\",\"interval\":\"5m\"},"
                "{\"series\":\"binance:BTC/USDT\",\"interval\":\"1d\",\"tz\":\"+05:30\"}]}");
    int snapshots = 0;
    while (snapshots < 2 && stream_next(fd, 10000)) snapshots += strstr(message, "\"type\":\"snapshot\"") != NULL;
    assert_int_equal(snapshots, 2);
    put("BTC", "99", TIME + MINUTE);
    bool five = false, day = false;
    while (!(five && day) && stream_next(fd, 10000)) {
        five |= strstr(message, "\"interval\":\"5m\"") != NULL && strstr(message, "\"low\":\"99\"") != NULL;
        day |= strstr(message, "\"interval\":\"1d\"") != NULL && strstr(message, "\"low\":\"99\"") != NULL;
    }
    assert_true(five && day);
    close(fd);
}

static void test_latest(void **state) {
    (void)state;
    put("BTC", "100", TIME);
    put("ETH", "7", TIME);
    fixture_get(&fixture, "/v1/latest"); /* both are folded: the stream's first message does not wait for that */
    const int fd = stream_open(fixture.port);
    stream_send(fd, "{\"subscribe\":[{\"series\":\"*\",\"interval\":\"latest\"}]}");
    expect(fd, "{\"type\":\"latest\",\"latest\":[{\"series\":\"binance:");
    and_expect("binance:BTC/USDT");
    and_expect("binance:ETH/USDT");
    put("BTC", "101", TIME + 1);
    expect(fd,
           "{\"type\":\"latest\",\"latest\":[{\"series\":\"binance:BTC/USDT\",\"kind\":\"price\",\"price\":\"101\"");
    assert_null(strstr(message, "ETH"));
    put("SOL", "5", TIME + 1);
    expect(fd, "binance:SOL/USDT");
    close(fd);
}

static void test_bad_messages(void **state) {
    (void)state;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"nonsense", "\"code\":\"syntax\""},
        {"[]", "\"code\":\"type\""},
        {"{}", "\"code\":\"missing\""},
        {"{\"subscribe\":{}}", "\"at\":\"subscribe\""},
        {"{\"subscribe\":[7]}", "\"at\":\"subscribe[0]\""},
        {"{\"subscribe\":[{}]}", "\"at\":\"subscribe[0].series\""},
        {"{\"subscribe\":[{\"series\":\"binance:NO/PE\"}]}", "\"code\":\"not-found\""},
        {"{\"subscribe\":[{\"series\":\"binance:BTC/USDT\",\"interval\":\"0m\"}]}", "\"at\":\"subscribe[0].interval\""},
        {"{\"subscribe\":[],\"snapshot\":0}", "\"at\":\"snapshot\""},
        {"{\"subscribe\":[],\"cursor\":[]}", "\"at\":\"cursor\""},
        {"{\"subscribe\":[],\"snapshots\":2}", "\"at\":\"snapshots\""},
        {"{\"subscrbe\":[]}", "did you mean \\\"subscribe\\\"?"},
        {"{\"subscribe\":[{\"series\":\"binance:BTC/USDT\",\"intervall\":\"5m\"}]}", "did you mean \\\"interval\\\"?"},
        {"{\"subscribe\":[{\"series\":\"binance:BTC/USDT\",\"limit\":5}]}", "\"at\":\"subscribe[0].limit\""},
        {"{\"unsubscribe\":[{\"series\":\"binance:BTC/USDT\",\"x\":5}]}", "\"at\":\"unsubscribe[0].x\""},
        {"{\"subscribe\":[{\"series\":\"binance:BTC/USDT\",\"interval\":\"latest\"}]}",
         "\"at\":\"subscribe[0].series\""},
        {"{\"subscribe\":[{\"series\":\"*\",\"interval\":\"latest\",\"kind\":\"price\"}]}",
         "\"at\":\"subscribe[0].kind\""},
    };
    put("BTC", "100", TIME);
    const int fd = stream_open(fixture.port);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        stream_send(fd, cases[i].text);
        expect(fd, "{\"type\":\"error\",\"error\":{\"code\":\"");
        and_expect(cases[i].part);
    }
    stream_send(fd, "{\"subscribe\":[{\"series\":\"binance:BTC/USDT\"}]}");
    expect(fd, "\"type\":\"snapshot\"");
    close(fd);
}

static void expect_candle(int fd, const char *interval, const char *close) {
    char part[64];
    snprintf(part, sizeof part, "\"interval\":\"%s\"", interval);
    expect(fd, part);
    snprintf(part, sizeof part, "\"close\":\"%s\"", close);
    and_expect(part);
}

/* What can never be answered is refused once, with its place, and takes no place of the session's. */
static void test_finer_than_the_base(void **state) {
    (void)state;
    put("BTC", "100", TIME);
    const int fd = stream_open(fixture.port);
    stream_send(fd,
                "{\"subscribe\":[{\"series\":\"binance:BTC/USDT\",\"interval\":\"5m\"},"
                "{\"series\":\"binance:BTC/USDT\",\"interval\":\"1s\"}]}");
    expect(fd, "candles of 1s cannot be made from candles of 1m");
    and_expect("\"at\":\"subscribe[1].interval\"");
    expect_candle(fd, "5m", "100");
    stream_send(fd, "{\"unsubscribe\":[{\"series\":\"binance:BTC/USDT\",\"interval\":\"1s\"}]}"); /* it never was */
    for (int i = 1; i <= 3; i++) {
        char close[8];
        snprintf(close, sizeof close, "%d", 100 + i);
        put("BTC", close, TIME + i);
        expect_candle(fd, "5m", close);
    }
    close(fd);
}

/* What turns out only while it is read that it cannot be answered is told once, with what it is of, and dropped. */
static void test_told_once_and_dropped(void **state) {
    tear_down(state);
    fixture = (struct fixture){.api_base_ms = 1000};
    fixture_open(&fixture, 1, true);
    put("BTC", "100", TIME);
    const int fd = stream_open(fixture.port);
    for (int again = 0; again < 2; again++) {
        stream_send(fd, "{\"subscribe\":[{\"series\":\"binance:BTC/USDT\",\"interval\":\"1s\"}]}");
        expect(
            fd,
            "{\"type\":\"error\",\"series\":\"binance:BTC/USDT\",\"kind\":\"price\",\"interval\":\"1s\",\"error\":{");
        and_expect("\"code\":\"range\"");
        and_expect("\"at\":\"interval\"");
    }
    stream_send(fd, "{\"subscribe\":[{\"series\":\"binance:BTC/USDT\",\"interval\":\"5m\"}]}");
    expect_candle(fd, "5m", "100");
    for (int i = 1; i <= 3; i++) {
        char close[8];
        snprintf(close, sizeof close, "%d", 100 + i);
        put("BTC", close, TIME + i);
        expect_candle(fd, "5m", close);
    }
    close(fd);
}

/* The stream takes no argument but a token. */
static void test_arguments(void **state) {
    (void)state;
    static const struct {
        const char *arguments, *answer, *part;
    } cases[] = {
        {"", "HTTP/1.1 101", ""},
        {"?access_token=x", "HTTP/1.1 101", ""},
        {"?foo=1", "HTTP/1.1 400", "\"message\":\"/v1/stream has no argument \\\"foo\\\"\",\"at\":\"foo\""},
        {"?acces_token=x", "HTTP/1.1 400", "did you mean \\\"access_token\\\"?"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char request[512], answer[4096];
        snprintf(request, sizeof request,
                 "GET /v1/stream%s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                 cases[i].arguments);
        const int fd = connect_tcp(fixture.port);
        send_text(fd, request);
        size_t size = 0;
        while (size < sizeof answer - 1) {
            struct pollfd waiting = {.fd = fd, .events = POLLIN};
            ssize_t got = poll(&waiting, 1, 3000) > 0 ? recv(fd, answer + size, sizeof answer - 1 - size, 0) : 0;
            answer[size += got > 0 ? (size_t)got : 0] = '\0';
            if (got <= 0 || (strstr(answer, cases[i].answer) != NULL && strstr(answer, cases[i].part) != NULL)) break;
        }
        assert_non_null(strstr(answer, cases[i].answer));
        assert_non_null(strstr(answer, cases[i].part));
        close(fd);
    }
}

static void test_resume(void **state) {
    (void)state;
    char cursor[64], text[256];
    put("BTC", "100", TIME);
    put("ETH", "7", TIME);
    int fd = stream_open(fixture.port);
    stream_send(fd, "{\"subscribe\":[{\"series\":\"binance:BTC/USDT\"}]}");
    expect(fd, "\"type\":\"snapshot\"");
    put("BTC", "101", TIME + 1);
    expect(fd, "\"close\":\"101\"");
    read_cursor(cursor);
    close(fd);
    nanosleep(&(struct timespec){0, 50000000}, NULL);
    put("BTC", "102", TIME + 2);
    put("ETH", "8", TIME + 2);
    put("BTC", "103", TIME + MINUTE);
    fd = stream_open(fixture.port);
    snprintf(text, sizeof text, "{\"subscribe\":[{\"series\":\"binance:BTC/USDT\"}],\"cursor\":\"%s\"}", cursor);
    stream_send(fd, text);
    expect(fd, "\"close\":\"102\"");
    assert_null(strstr(message, "snapshot"));
    expect(fd, "\"close\":\"103\"");
    read_cursor(cursor);
    assert_false(stream_next(fd, 200));
    close(fd);
    /* Nothing changed: nothing comes. A cursor of another run, or none at all: a snapshot. */
    fd = stream_open(fixture.port);
    snprintf(text, sizeof text, "{\"subscribe\":[{\"series\":\"binance:BTC/USDT\"}],\"cursor\":\"%s\"}", cursor);
    stream_send(fd, text);
    assert_false(stream_next(fd, 300));
    stream_send(fd, "{\"subscribe\":[{\"series\":\"binance:BTC/USDT\"}],\"cursor\":\"0123456789abcdef-7\"}");
    expect(fd, "\"type\":\"snapshot\"");
    and_expect("],\"reset\":true,\"cursor\":\"");
    stream_send(fd, "{\"subscribe\":[{\"series\":\"binance:BTC/USDT\"}],\"cursor\":\"junk\"}");
    expect(fd, "\"type\":\"snapshot\"");
    and_expect("],\"reset\":true,\"cursor\":\"");
    stream_send(fd, "{\"subscribe\":[{\"series\":\"binance:BTC/USDT\"}]}");
    expect(fd, "\"type\":\"snapshot\"");
    assert_null(strstr(message, "reset"));
    /* Whatever is stored changed: it comes unasked, and nobody resumes over it. */
    read_cursor(cursor);
    api_everything_changed(fixture.api);
    expect(fd, "\"type\":\"snapshot\"");
    and_expect("],\"reset\":true,\"cursor\":\"");
    close(fd);
    fd = stream_open(fixture.port);
    snprintf(text, sizeof text, "{\"subscribe\":[{\"series\":\"binance:BTC/USDT\"}],\"cursor\":\"%s\"}", cursor);
    stream_send(fd, text);
    expect(fd, "\"type\":\"snapshot\"");
    and_expect("],\"reset\":true,\"cursor\":\"");
    close(fd);
}

#define BOTH "{\"subscribe\":[{\"series\":\"binance:BTC/USDT\"},{\"series\":\"*\",\"interval\":\"latest\"}]"

static void subscribe_both(int fd) {
    bool snapshot = false, latest = false;
    stream_send(fd, BOTH "}");
    while (!(snapshot && latest) && stream_next(fd, 10000)) {
        snapshot |= strstr(message, "\"type\":\"snapshot\"") != NULL;
        latest |= strstr(message, "\"type\":\"latest\"") != NULL;
    }
    assert_true(snapshot && latest);
}

/* Two series change, XYZ first. True if BTC's candle, and a cursor with it, came before the latest price of XYZ. */
static bool candle_came_first(int fd, int price, char cursor[static 64]) {
    char text[16], candle[32], latest[64];
    snprintf(text, sizeof text, "%d", price);
    snprintf(candle, sizeof candle, "\"close\":\"%d\"", price);
    snprintf(latest, sizeof latest, "XYZ/USDT\",\"kind\":\"price\",\"price\":\"%d\"", price);
    put("XYZ", text, TIME + price);
    put("BTC", text, TIME + price);
    while (stream_next(fd, 10000)) {
        if (strstr(message, latest) != NULL) return false;
        if (strstr(message, candle) == NULL) continue;
        read_cursor(cursor);
        return true;
    }
    fail();
    return false;
}

/* The connection breaks between a candle and the latest prices of the same moment: the candle's cursor does not stand for
 * what has not been sent. */
static void test_resume_latest(void **state) {
    (void)state;
    char cursor[64], text[256], latest[64];
    bool seen = false;
    put("XYZ", "1", TIME);
    put("BTC", "1", TIME);
    fixture_get(&fixture, "/v1/latest");
    for (int price = 2; price < 40 && !seen; price++) {
        int fd = stream_open(fixture.port);
        subscribe_both(fd);
        seen = candle_came_first(fd, price, cursor);
        close(fd);
        if (!seen) continue;
        fd = stream_open(fixture.port);
        snprintf(text, sizeof text, BOTH ",\"cursor\":\"%s\"}", cursor);
        snprintf(latest, sizeof latest, "XYZ/USDT\",\"kind\":\"price\",\"price\":\"%d\"", price);
        stream_send(fd, text);
        bool told = false;
        while (!told && stream_next(fd, 1000)) {
            assert_null(strstr(message, "snapshot")); /* the cursor is a good one */
            told = strstr(message, latest) != NULL;
        }
        assert_true(told);
        close(fd);
    }
    assert_true(seen);
}

/* A cursor that was good when it was read may be too old when the rows are walked. */
static bool count_row(void *context, const struct hub_row *row) {
    (void)row;
    ++*(int *)context;
    return true;
}

static bool changed_since(struct hub *hub, uint64_t sequence, int *ret_count) {
    *ret_count = 0;
    pthread_mutex_lock(&hub->lock);
    const bool known = hub_visit_since(hub, sequence, count_row, ret_count);
    pthread_mutex_unlock(&hub->lock);
    return known;
}

static void test_forgotten_meanwhile(void **state) {
    (void)state;
    struct hub *hub = fixture.api->hub;
    char cursor[STREAM_CURSOR_MAX];
    uint64_t sequence = 0;
    int count;
    assert_true(hub_activate(hub));
    pthread_mutex_lock(&hub->lock);
    hub_cursor(hub, hub->sequence, cursor);
    pthread_mutex_unlock(&hub->lock);
    put("BTC", "1", TIME);
    put("ETH", "1", TIME);
    for (int i = 0; i < 100 && (!changed_since(hub, 0, &count) || count < 2); i++) {
        nanosleep(&(struct timespec){0, 10000000}, NULL);
        if (hub_cursor_read(hub, slice_text(cursor), &sequence) && changed_since(hub, sequence, &count) && count == 2)
            break;
    }
    assert_true(hub_cursor_read(hub, slice_text(cursor), &sequence));
    assert_true(changed_since(hub, sequence, &count));
    assert_int_equal(count, 2);
    api_everything_changed(fixture.api);
    assert_false(changed_since(hub, sequence, &count));
    assert_false(hub_cursor_read(hub, slice_text(cursor), &sequence));
}

/* More series than one message holds. */
enum { MANY = 10700 };

static void put_many(int from, int to, int price) {
    struct buf body;
    char base[16], text[16];
    buf_init(&body, 16 * 1024 * 1024);
    snprintf(text, sizeof text, "%d", price);
    for (int i = from; i < to; i++) {
        snprintf(base, sizeof base, "M%d", i);
        buf_put_text(&body, price_json(base, text, TIME + price));
        buf_put_u8(&body, '\n');
    }
    buf_put_u8(&body, 0);
    assert_int_equal(fixture_post(&fixture, "/v1/prices", (const char *)body.data), 200);
    buf_deinit(&body);
}

struct many {
    uint8_t told[MANY]; /* in which message, counted from 1; 255: in a later one */
    char cursors[256][64];
    int count;
};

/* Reads messages until every series that is not in `told` yet has been told with this price. */
static void read_many(int fd, int price, struct many *many) {
    char text[32];
    int left = 0;
    for (int i = 0; i < MANY; i++) left += many->told[i] == 0;
    const int size = snprintf(text, sizeof text, "\"price\":\"%d\"", price);
    for (many->count = 0; left > 0 && many->count < 256 && stream_next(fd, 10000);) {
        assert_non_null(strstr(message, "\"type\":\"latest\""));
        read_cursor(many->cursors[many->count++]);
        for (const char *at = message; (at = strstr(at, "binance:M")) != NULL; at++) {
            const long number = strtol(at + 9, NULL, 10);
            assert_true(number >= 0 && number < MANY);
            if (many->told[number] != 0) continue;
            if (strncmp(strstr(at, "\"price\":\""), text, (size_t)size) != 0) continue;
            many->told[number] = (uint8_t)(many->count < 255 ? many->count : 255);
            left--;
        }
    }
    assert_int_equal(left, 0);
}

static int resume_latest(const char *cursor) {
    char text[256];
    const int fd = stream_open(fixture.port);
    snprintf(text, sizeof text, "{\"subscribe\":[{\"series\":\"*\",\"interval\":\"latest\"}],\"cursor\":\"%s\"}",
             cursor);
    stream_send(fd, text);
    return fd;
}

/* A cursor stands for its own message and those before it, also in the middle of what one message cannot hold. */
static void test_latest_of_many(void **state) {
    (void)state;
    static struct many all, changed, rest;
    put_many(0, MANY, 1);
    assert_int_equal(fixture_get(&fixture, "/v1/ledger"), 200);
    int fd = resume_latest("none");
    read_many(fd, 1, &all);
    assert_true(all.count > 1);
    close(fd);
    put_many(100, MANY, 2);
    fd = resume_latest(all.cursors[all.count - 1]);
    memset(changed.told, 1, 100);
    read_many(fd, 2, &changed);
    assert_true(changed.count > 1);
    close(fd);
    for (int i = 0; i < MANY; i++) rest.told[i] = changed.told[i] == 1;
    fd = resume_latest(changed.cursors[0]);
    read_many(fd, 2, &rest);
    close(fd);
}

/* Clients come and go while prices pour in; each sees the last value of its series in the end. */
struct watcher {
    pthread_t thread;
    int index, rounds;
    bool saw_last;
};

static _Atomic bool poured;

static void *watch_main(void *context) {
    struct watcher *self = context;
    char text[256], last[64], *found;
    static __thread char own[256 * 1024];
    snprintf(last, sizeof last, "\"close\":\"%d\"", 99999);
    for (int after = 0; !self->saw_last && after < 40; self->rounds++) {
        after += atomic_load(&poured);
        const int fd = connect_tcp(fixture.port);
        if (fd < 0) return NULL;
        send_text(fd,
                  "GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
        nanosleep(&(struct timespec){0, 20000000}, NULL);
        snprintf(text, sizeof text,
                 "{\"subscribe\":[{\"series\":\"binance:W%d/USDT\"},{\"series\":\"*\",\"interval\":\"latest\"}]}",
                 self->index);
        uint8_t head[6] = {0x81, (uint8_t)(128 | strlen(text))};
        send_bytes(fd, head, 6);
        send_text(fd, text);
        bool ended;
        const int patience_ms = self->rounds % 2 ? 150 + after * 50 : 40;
        const size_t size = receive(fd, own, sizeof own, patience_ms, &ended);
        found = memmem(own, size, last, strlen(last));
        self->saw_last = found != NULL && atomic_load(&poured);
        close(fd);
    }
    return NULL;
}

static void test_many_watchers(void **state) {
    (void)state;
    struct watcher watchers[6] = {0};
    char base[16], price[16];
    for (int i = 0; i < 6; i++) {
        snprintf(base, sizeof base, "W%d", i);
        put(base, "1", TIME);
    }
    for (int i = 0; i < 6; i++) {
        watchers[i].index = i;
        assert_int_equal(pthread_create(&watchers[i].thread, NULL, watch_main, &watchers[i]), 0);
    }
    for (int n = 0; n < 600; n++) {
        snprintf(base, sizeof base, "W%d", n % 6);
        snprintf(price, sizeof price, "%d", n + 2);
        put(base, price, TIME + n * 500);
    }
    for (int i = 0; i < 6; i++) {
        snprintf(base, sizeof base, "W%d", i);
        put(base, "99999", TIME + 301000);
    }
    atomic_store(&poured, true);
    for (int i = 0; i < 6; i++) {
        pthread_join(watchers[i].thread, NULL);
        assert_true(watchers[i].saw_last);
    }
}

/* A client that does not read: memory stays bounded, others are served, and once it reads it gets what is newest. */
static void test_slow_client(void **state) {
    (void)state;
    put("BTC", "1", TIME);
    const int slow = stream_open(fixture.port), quick = stream_open(fixture.port);
    int small = 65536;
    setsockopt(slow, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    for (int i = 0; i < 60; i++) {
        char text[128];
        snprintf(text, sizeof text,
                 "{\"subscribe\":[{\"series\":\"binance:BTC/USDT\",\"interval\":\"1m\"}],\"snapshot\":1000}");
        stream_send(slow, text);
    }
    char price[16];
    struct buf body;
    buf_init(&body, 4 * 1024 * 1024);
    for (int i = 0; i < 1500; i++) {
        snprintf(price, sizeof price, "%d", i + 10);
        buf_put_text(&body, price_json("BTC", price, TIME + (int64_t)i * MINUTE));
        buf_put_u8(&body, '\n');
    }
    buf_put_u8(&body, 0);
    assert_int_equal(fixture_post(&fixture, "/v1/prices", (const char *)body.data), 200);
    buf_deinit(&body);
    for (int i = 0; i < 30; i++) {
        stream_send(slow, "{\"subscribe\":[{\"series\":\"binance:BTC/USDT\"}],\"snapshot\":1000}");
        nanosleep(&(struct timespec){0, 11000000}, NULL);
    }
    stream_send(quick, "{\"subscribe\":[{\"series\":\"binance:BTC/USDT\"}]}");
    expect(quick, "\"close\":\"1509\"");
    put("BTC", "777777", TIME + 1500 * MINUTE);
    expect(quick, "\"candle\":{");
    while (strstr(message, "777777") == NULL) expect(quick, "\"candle\":{");
    bool newest = false;
    size_t read = 0;
    while (!newest && stream_next(slow, 10000)) {
        read += strlen(message);
        newest = strstr(message, "777777") != NULL;
    }
    assert_true(newest);
    assert_true(read < 20 * 1024 * 1024);
    close(slow);
    close(quick);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_watch),
        TEST(test_longer_intervals),
        TEST(test_latest),
        TEST(test_bad_messages),
        TEST(test_finer_than_the_base),
        TEST(test_told_once_and_dropped),
        TEST(test_arguments),
        TEST(test_resume),
        TEST(test_resume_latest),
        TEST(test_forgotten_meanwhile),
        TEST(test_latest_of_many),
        TEST(test_many_watchers),
        TEST(test_slow_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
