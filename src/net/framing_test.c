/* Whatever a client sends as a request gets one whole answer: one head, and as many bytes behind it as it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net_test.h"
// cmocka.h needs its standard headers before it
#include <cmocka.h>

#define HOST "Host: localhost\r\n"
#define END "Connection: close\r\n\r\n"

static struct test_server server;
static char answer[64 * 1024], request[128 * 1024];

static int set_up(void **state) {
    (void)state;
    test_server_open(&server, &(struct server_options){0});
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    test_server_close(&server);
    return 0;
}

/* The status of the one answer on a connection that ends with it; 0 if it is none, or not whole. */
static int status_of_whole(const char *text, size_t size) {
    const char *body = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "\r\nContent-Length: ");
    if (strncmp(text, "HTTP/1.1 ", 9) != 0 || body == NULL || length == NULL || length > body) return 0;
    body += 4;
    if (size - (size_t)(body - text) != strtoul(length + 18, NULL, 10) || strstr(body, "HTTP/1.1 ") != NULL) return 0;
    return (int)strtol(text + 9, NULL, 10);
}

static int finish(int fd) {
    bool ended = false;
    const size_t size = receive(fd, answer, sizeof answer, 5000, &ended);
    close(fd);
    return ended ? status_of_whole(answer, size) : 0;
}

static int ask_bytes(const char *text, size_t size) {
    const int fd = connect_tcp(server.port);
    assert_true(fd >= 0);
    (void)!send_bytes(fd, text, size);
    return finish(fd);
}

static int ask(const char *text) { return ask_bytes(text, strlen(text)); }

/* In pieces, which libmicrohttpd reads one after the other. */
static int ask_slowly(const char *text) {
    const int fd = connect_tcp(server.port);
    assert_true(fd >= 0);
    for (size_t at = 0, size = strlen(text); at < size; at += 20) {
        if (send_bytes(fd, text + at, size - at < 20 ? size - at : 20) < 0) break;
        usleep(300);
    }
    return finish(fd);
}

static bool is_json(void) { return strstr(answer, "\r\n\r\n{\"error\":{\"code\":\"") != NULL; }

static const struct {
    const char *request;
    int status;
    bool own; /* not libmicrohttpd's line of HTML */
} refused[] = {
    {"GET /hello HTTP/1.1\r\n\r\n", 400, true},
    {"GET /hello HTTP/1.1\r\nHost : x\r\n\r\n", 400, true},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n", 400, true},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: +3\r\n\r\nabc", 400, true},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3, 3\r\n\r\nabc", 400, true},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 0x3\r\n\r\nabc", 400, true},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3x\r\nX: y\r\n\r\nabc", 400, true},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n", 400, true},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: abc\r\nContent-Length: 3\r\n\r\nabc", 400, true},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: abc\r\n\r\nabc", 400, true},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: -1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, true},
    {"POST /echo HTTP/1.0\r\nContent-Length: -1\r\n\r\n", 400, true},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n", 413, true},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999x\r\n\r\n", 413, true},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551615\r\n\r\n", 413, true},
    {"GET /hello?name=a b HTTP/1.1\r\n" HOST "\r\n", 400, true},
    {"GET /a b HTTP/1.1\r\n" HOST "\r\n", 400, true},
    {"GET /hello HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n", 400, true},
    {"POST /echo HTTP/1.1\r\n" HOST "Transfer: chunked\r\n -Encoding\r\n\r\n0\r\n\r\n", 400, true},
    {"GET /hello HTTP/1.1\r\n" HOST "X: a\r\n \r\nY: b\r\n\r\n", 400, true},
    {"GET /hello HTTP/1.1\r\n" HOST "no colon\r\n\r\n", 400, false},
    {"GET /hello HTTP/1.1\r\nno colon\r\n\r\n", 400, false},
    {"GET /hello HTTP/2.0\r\n" HOST "\r\n", 505, false},
    {"GET /hello\r\n\r\n", 400, false},
    {"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, false},
};

static void expect_refusal(size_t at, int status) {
    if (status != refused[at].status || is_json() != refused[at].own)
        print_error("%s\n-> %d %s\n", refused[at].request, status, answer);
    assert_int_equal(status, refused[at].status);
    assert_int_equal(is_json(), refused[at].own);
}

static void test_one_answer(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        expect_refusal(i, ask(refused[i].request));
        expect_refusal(i, ask_slowly(refused[i].request));
    }
    struct server_stats stats;
    server_stats(server.server, &stats);
    assert_int_equal(stats.requests, 0);
}

/* What is good before it is answered first, and nothing behind it. */
static void test_refused_among_others(void **state) {
    (void)state;
    static const char good[] = "GET /hello?name=1 HTTP/1.1\r\n" HOST "\r\n";
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        snprintf(request, sizeof request, "%s%s%s%s", good, good, refused[i].request, good);
        const int fd = connect_tcp(server.port);
        bool ended = false;
        assert_int_equal(send_text(fd, request), 0);
        size_t size = receive(fd, answer, sizeof answer, 5000, &ended);
        assert_true(ended);
        for (int k = 0; k < 2; k++) {
            const char *next = strstr(answer, "hello 1");
            assert_true(next != NULL && strncmp(answer, "HTTP/1.1 200 ", 13) == 0);
            next += strlen("hello 1");
            size -= (size_t)(next - answer);
            memmove(answer, next, size + 1);
        }
        expect_refusal(i, status_of_whole(answer, size));
        close(fd);
    }
}

/* A connection whose own head is good, or not yet there, is not harmed by a malformed one beside it. */
static void test_refused_beside_others(void **state) {
    (void)state;
    static const char begin[] = "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\nX: y\r\n";
    const int fd = connect_tcp(server.port);
    assert_int_equal(exchange_text(fd, "GET /hello HTTP/1.1\r\n" HOST "\r\n", answer, sizeof answer), 200);
    assert_int_equal(send_text(fd, begin), 0);
    usleep(20000);
    assert_int_equal(ask("POST /echo HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n"), 400);
    assert_int_equal(send_text(fd, END "abc"), 0);
    assert_int_equal(finish(fd), 200);
    assert_non_null(strstr(answer, "\r\n\r\nabc"));
}

/* --- targets and heads of every size --- */

static size_t put_target(size_t size, const char *begin, const char *repeated) {
    size_t at = (size_t)snprintf(request, sizeof request, "GET %s", begin);
    const size_t unit = strlen(repeated), end = 4 + size;
    for (; at + unit <= end; at += unit) memcpy(request + at, repeated, unit);
    for (; at < end; at++) request[at] = 'a';
    request[at] = '\0';
    return at;
}

static int ask_target(size_t size, const char *begin, const char *repeated) {
    const size_t at = put_target(size, begin, repeated);
    snprintf(request + at, sizeof request - at, " HTTP/1.1\r\n" HOST END);
    return ask(request);
}

static void test_targets(void **state) {
    (void)state;
    static const char *const kinds[][2] = {
        {"/hello?name=", "x"}, {"/hello?", "series=binance:HH/USDT&"},
        {"/hello?", "a=1&"},   {"/hello?", "a&"},
        {"/hello?", "&"},      {"/hello?", "="},
        {"/hello?", "?"},      {"/hello?", "%41=%26%3d&"},
        {"/hello?", "+=+&"},
    };
    static const size_t sizes[] = {200, 1500, 2000, 4000, 4242, 6000, 8000, 8191, 8192, 8193, 8300, 12000, 14000};
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            const int status = ask_target(sizes[i], kinds[kind][0], kinds[kind][1]);
            if (status != (sizes[i] <= 8192 ? 200 : 414))
                print_error("%zu of \"%s\": %.300s\n", sizes[i], kinds[kind][1], answer);
            assert_int_equal(status, sizes[i] <= 8192 ? 200 : 414);
        }
    assert_int_equal(ask_target(8192, "/", "x"), 404);
    assert_int_equal(ask_target(8192, "/hello?a=", "%"), 400);
    /* Past all memory for it, libmicrohttpd answers itself. */
    for (size_t size = 15000; size < 17000; size += 3) {
        const int status = ask_target(size, "/hello?", "a=1&");
        assert_true(status == 414 || status == 431);
    }
    assert_int_equal(ask_target(40000, "/hello?", "a=1&"), 414);
}

/* A head of `size` bytes with `fields` fields and a target of `target` bytes. */
static void put_head(size_t size, size_t target, uint32_t fields) {
    size_t at = put_target(target, "/hello?name=", "a=1&");
    at += (size_t)snprintf(request + at, sizeof request - at, " HTTP/1.1\r\n" HOST "Connection: close\r\n");
    assert_true(at < size && fields >= 3);
    const size_t each = (size - 2 - at) / (fields - 2);
    assert_true(each > 8);
    for (uint32_t i = 2; i < fields; i++) {
        const size_t end = i + 1 < fields ? at + each : size - 2;
        at += (size_t)snprintf(request + at, sizeof request - at, "%s%u: ", i % 2 == 0 ? "C" : "X-", i);
        memset(request + at, 'y', end - 2 - at);
        at = end;
        memcpy(request + at - 2, "\r\n", 2);
    }
    memcpy(request + size - 2, "\r\n", 3);
}

/* libmicrohttpd's strings end at a NUL, its line does not. */
static void test_targets_with_nul(void **state) {
    (void)state;
    static const char *const begins[] = {"/hello@?", "/hello?@", "/hello@HTTP/1.1?", "/@@?"};
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
        size_t at = put_target(6000, begins[i], "a=1&");
        for (char *nul = request; (nul = strchr(nul, '@')) != NULL;) *nul = '\0';
        at += (size_t)snprintf(request + at, sizeof request - at, " HTTP/1.1\r\n" HOST END);
        assert_int_equal(ask_bytes(request, at), 400);
        assert_true(is_json());
    }
}

static void test_heads(void **state) {
    (void)state;
    static const uint32_t fields[] = {3, 20, 50, 100};
    static const size_t targets[] = {20, 4242, 8192};
    for (size_t f = 0; f < sizeof fields / sizeof *fields; f++)
        for (size_t t = 0; t < sizeof targets / sizeof *targets; t++)
            for (size_t size = targets[t] + 100 + 16 * fields[f]; size < 17500;
                 size += size + 64 * fields[f] < 13000 ? 997 : 61) {
                put_head(size, targets[t], fields[f]);
                const int status = ask(request), wanted = size + 64 * fields[f] <= 14 * 1024 ? 200 : 431;
                if (status != wanted) print_error("%zu, %zu, %u: %.300s\n", size, targets[t], fields[f], answer);
                assert_int_equal(status, wanted);
            }
    put_head(4000, 20, 101);
    assert_int_equal(ask(request), 431);
    memmove(request + 1, request, strlen(request) + 1);
    memcpy(request, "HEAD", 4);
    assert_int_equal(ask(request), 0); /* as long as it says to GET, and without a body */
    assert_int_equal(strncmp(answer, "HTTP/1.1 431 ", 13), 0);
    assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
}

/* Bytes behind a head take of the same memory. */
static void test_heads_with_more_behind(void **state) {
    (void)state;
    static char behind[20000];
    memset(behind, 'G', sizeof behind);
    for (size_t size = 8000; size < 17500; size += 97) {
        put_head(size, 20, 30);
        memcpy(request + size, behind, sizeof behind);
        const int fd = connect_tcp(server.port);
        (void)!send_bytes(fd, request, size + sizeof behind);
        assert_int_equal(finish(fd), size + 64 * 30 <= 14 * 1024 ? 200 : 431);
    }
}

static void test_cookies(void **state) {
    (void)state;
    for (size_t size = 100; size < 15000; size += size < 10000 ? 1000 : 100) {
        size_t at = (size_t)snprintf(request, sizeof request, "GET /hello HTTP/1.1\r\n" HOST "Cookie: ");
        for (size_t end = at + size; at < end; at += 4) memcpy(request + at, "a=b;", 4);
        snprintf(request + at, sizeof request - at, "\r\n" END);
        assert_int_equal(ask(request), strlen(request) + 64 * 3 <= 14 * 1024 ? 200 : 431);
    }
}

/* A field that goes on in other lines is copied by libmicrohttpd. */
static void test_folded_fields(void **state) {
    (void)state;
    for (size_t size = 1000; size < 15000; size += 100) {
        size_t at = (size_t)snprintf(request, sizeof request, "GET /hello HTTP/1.1\r\n" HOST "X: y");
        for (size_t end = at + size; at < end; at += 100) {
            memcpy(request + at, "\r\n ", 3);
            memset(request + at + 3, 'z', 97);
        }
        snprintf(request + at, sizeof request - at, "\r\n" END);
        const int status = ask(request);
        if (status != 400 && status != 431) print_error("%zu: %d %.300s\n", size, status, answer);
        assert_true(status == 400 || status == 431);
    }
}

/* --- codings of a body --- */

static void test_codings(void **state) {
    (void)state;
    static const struct {
        const char *field;
        int status;
    } cases[] = {
        {"Content-Encoding: identity\r\n", 200},
        {"content-encoding: Identity \r\n", 200},
        {"Content-Encoding: identity, identity\r\n", 200},
        {"Content-Encoding:\r\n", 200},
        {"Content-Encoding: gzip\r\n", 415},
        {"Content-Encoding: zstd\r\n", 415},
        {"Content-Encoding: br\r\n", 415},
        {"Content-Encoding: deflate\r\n", 415},
        {"Content-Encoding: identity\r\nContent-Encoding: identity\r\n", 415}, /* two are one too many */
        {"Content-Encoding: identity, gzip\r\n", 415},
        {"Content-Encoding: gzip\r\nContent-Encoding: identity\r\n", 415},
        {"Content-Encoding: identity\r\nContent-Encoding: gzip\r\n", 415},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(request, sizeof request, "POST /echo HTTP/1.1\r\n" HOST "%sContent-Length: 3\r\n" END "abc",
                 cases[i].field);
        assert_int_equal(ask(request), cases[i].status);
        assert_int_equal(strstr(answer, "Accept-Encoding: identity") != NULL, cases[i].status == 415);
        assert_int_equal(strstr(answer, "\"code\":\"type\"") != NULL, cases[i].status == 415);
    }
    assert_int_equal(ask("POST /echo HTTP/1.1\r\n" HOST
                         "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"),
                     415);
    assert_int_equal(ask("GET /hello HTTP/1.1\r\n" HOST "Content-Encoding: gzip\r\n" END), 200); /* of nothing */
}

/* What the deadline's thread says. */
static void test_late(void **state) {
    (void)state;
    struct test_server slow;
    test_server_open(&slow, &(struct server_options){.head_timeout_ms = 300, .idle_timeout_ms = 300});
    const int fd = connect_tcp(slow.port);
    assert_int_equal(send_text(fd, "GET /hello HTTP/1.1\r\nHo"), 0);
    assert_int_equal(finish(fd), 408);
    assert_true(is_json());
    test_server_close(&slow);
}

static void test_refused_bodies(void **state) {
    (void)state;
    struct test_server small;
    test_server_open(&small, &(struct server_options){.body_max_bytes = 100});
    const int announced = connect_tcp(small.port), chunked = connect_tcp(small.port);
    assert_int_equal(send_text(announced, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 101\r\n\r\n"), 0);
    assert_int_equal(finish(announced), 413);
    assert_int_equal(send_text(chunked, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n65\r\n"), 0);
    memset(request, 'x', 101);
    assert_int_equal(send_bytes(chunked, request, 101), 0);
    assert_int_equal(finish(chunked), 413);
    assert_true(is_json());
    test_server_close(&small);
}

/* A handshake that is none, and HTTP/1.0, which has none. */
static void test_handshakes(void **state) {
    (void)state;
#define UPGRADE HOST "Connection: Upgrade\r\nUpgrade: websocket\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    static const struct {
        const char *request;
        int status;
        const char *said;
    } cases[] = {
        {"GET /ws HTTP/1.1\r\n" UPGRADE KEY "Sec-WebSocket-Version: 8\r\n\r\n", 426, "version 13"},
        {"GET /ws HTTP/1.1\r\n" UPGRADE KEY "\r\n", 426, "version 13"},
        {"GET /ws HTTP/1.1\r\n" UPGRADE "Sec-WebSocket-Version: 13\r\n\r\n", 400, "Sec-WebSocket-Key is"},
        {"GET /ws HTTP/1.1\r\n" UPGRADE "Sec-WebSocket-Key: abc\r\nSec-WebSocket-Version: 13\r\n\r\n", 400,
         "Sec-WebSocket-Key is"},
        {"GET /ws HTTP/1.1\r\n" UPGRADE
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j-_==\r\nSec-WebSocket-Version: 13\r\n\r\n",
         400, "Sec-WebSocket-Key is"},
        {"GET /ws HTTP/1.1\r\n" UPGRADE
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQaa\r\nSec-WebSocket-Version: 13\r\n\r\n",
         400, "Sec-WebSocket-Key is"},
        {"GET /no HTTP/1.1\r\n" UPGRADE KEY "Sec-WebSocket-Version: 13\r\n\r\n", 404, "no websocket here"},
        {"GET /hello HTTP/1.0\r\n" UPGRADE KEY "Sec-WebSocket-Version: 13\r\n\r\n", 200, "hello"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int fd = connect_tcp(server.port);
        const int status = exchange_text(fd, cases[i].request, answer, sizeof answer);
        if (status != cases[i].status) print_error("%s\n-> %s\n", cases[i].request, answer);
        assert_int_equal(status, cases[i].status);
        assert_non_null(strstr(answer, cases[i].said));
        close(fd);
    }
}

/* The handler knows which methods a path has. */
static void test_methods(void **state) {
    (void)state;
    static const char *const methods[] = {"PATCH", "TRACE", "BREW", "get", "PUT", "DELETE"};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        snprintf(request, sizeof request, "%s /methods HTTP/1.1\r\n" HOST END, methods[i]);
        assert_int_equal(ask(request), 405);
        assert_non_null(strstr(answer, "\r\nAllow: GET\r\n"));
    }
    assert_int_equal(ask("GET /methods HTTP/1.1\r\n" HOST END), 200);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_one_answer),
        TEST(test_refused_among_others),
        TEST(test_refused_beside_others),
        TEST(test_targets),
        TEST(test_targets_with_nul),
        TEST(test_heads),
        TEST(test_heads_with_more_behind),
        TEST(test_cookies),
        TEST(test_folded_fields),
        TEST(test_codings),
        TEST(test_late),
        TEST(test_refused_bodies),
        TEST(test_handshakes),
        TEST(test_methods),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
