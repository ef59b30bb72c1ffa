/* What one address may take, and what is said when there is no room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net/net_test.h"
// cmocka.h needs its standard headers before it
#include <cmocka.h>

#define HOST "Host: localhost\r\n"
#define HELLO "GET /hello HTTP/1.1\r\n" HOST "\r\n"

static struct test_server server;
static char answer[64 * 1024];

static int ask_on(int fd) {
    assert_true(fd >= 0);
    return exchange_text(fd, HELLO, answer, sizeof answer);
}

static void pause_ms(long ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

static int ask_anew(const char *path) {
    const int fd = path != NULL ? connect_unix(path) : connect_tcp(server.port);
    const int status = ask_on(fd);
    close(fd);
    return status;
}

static void expect_refused(int status, const char *code) {
    assert_int_equal(ask_anew(NULL), status);
    assert_non_null(strstr(answer, "Retry-After: 1"));
    assert_non_null(strstr(answer, "Connection: close"));
    assert_non_null(strstr(answer, code));
}

static void test_connections_of_an_address(void **state) {
    (void)state;
    char path[64];
    snprintf(path, sizeof path, "/tmp/wick-limit-%d", (int)getpid());
    test_server_open(&server, &(struct server_options){.address_connections_max = 3, .unix_path = path});
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = connect_tcp(server.port);
        assert_int_equal(ask_on(fds[i]), 200);
    }
    expect_refused(429, "\"code\":\"limit\"");
    assert_int_equal(ask_anew(path), 200); /* the socket has no address */
    assert_int_equal(ask_on(fds[2]), 200);
    close(fds[0]);
    int status = 429;
    for (int i = 0; i < 100 && status != 200; i++) {
        pause_ms(20);
        status = ask_anew(NULL);
    }
    assert_int_equal(status, 200);
    for (int i = 1; i < 3; i++) close(fds[i]);
    test_server_close(&server);
}

static void test_all_connections(void **state) {
    (void)state;
    test_server_open(&server, &(struct server_options){.connections_max = 2});
    const int first = connect_tcp(server.port), second = connect_tcp(server.port);
    assert_int_equal(ask_on(first), 200);
    assert_int_equal(ask_on(second), 200);
    expect_refused(503, "\"code\":\"busy\"");
    assert_int_equal(ask_on(second), 200);
    close(first);
    close(second);
    test_server_close(&server);
}

static void test_requests_of_an_address(void **state) {
    (void)state;
    test_server_open(&server, &(struct server_options){.address_requests_max = 20});
    int good = 0, refused = 0;
    for (int i = 0; i < 200 && refused == 0; i++) {
        const int status = ask_anew(NULL);
        assert_true(status == 200 || status == 429);
        good += status == 200;
        refused += status == 429;
    }
    assert_int_equal(refused, 1);
    assert_true(good >= 20);
    assert_non_null(strstr(answer, "Retry-After: 1"));
    int status = 429;
    for (int i = 0; i < 100 && status != 200; i++) {
        pause_ms(50);
        status = ask_anew(NULL);
    }
    assert_int_equal(status, 200); /* a second later it may ask again */
    test_server_close(&server);
}

/* The head alone has come: the answer does not wait for the body. */
static void test_no_room_for_a_body(void **state) {
    (void)state;
    test_server_open(&server, &(struct server_options){.memory_max_bytes = 100000});
    const int fd = connect_tcp(server.port);
    assert_int_equal(
        exchange_text(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 200000\r\n\r\n", answer, sizeof answer), 503);
    assert_non_null(strstr(answer, "Retry-After: 1"));
    assert_true(is_closed(fd, 5000));
    close(fd);
    assert_int_equal(ask_anew(NULL), 200);
    test_server_close(&server);
}

/* Answers that nobody reads count as well: what does not fit is said in a small one, and there is room again later. */
static void test_no_room_for_an_answer(void **state) {
    (void)state;
    enum { HELD = 3 };
    static const char big[] = "GET /big?mib=16 HTTP/1.1\r\n" HOST "\r\n";
    int fds[HELD];
    const int small = 4096;
    test_server_open(&server, &(struct server_options){.memory_max_bytes = (size_t)56 * 1024 * 1024});
    for (int i = 0; i < HELD; i++) {
        fds[i] = connect_tcp(server.port);
        assert_true(fds[i] >= 0);
        setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        assert_int_equal(send_text(fds[i], big), 0);
        assert_int_equal(recv(fds[i], answer, 12, MSG_WAITALL), 12);
        assert_memory_equal(answer, "HTTP/1.1 200", 12);
    }
    const int fd = connect_tcp(server.port);
    assert_int_equal(exchange_text(fd, big, answer, sizeof answer), 503);
    assert_non_null(strstr(answer, "Retry-After: 1"));
    assert_non_null(strstr(answer, "\"code\":\"busy\""));
    assert_int_equal(ask_on(fd), 200); /* the connection is as good as before, and what is small is answered */
    close(fd);
    for (int i = 0; i < HELD; i++) close(fds[i]);
    int status = 503;
    for (int i = 0; i < 250 && status != 200; i++) {
        const int again = connect_tcp(server.port);
        assert_int_equal(send_text(again, big), 0);
        assert_int_equal(recv(again, answer, 12, MSG_WAITALL), 12);
        status = (int)strtol(answer + 9, NULL, 10);
        close(again);
        if (status != 200) pause_ms(20);
    }
    assert_int_equal(status, 200);
    test_server_close(&server);
}

/* What came of a body that is refused is let go of: it does not keep others out until its client is done. */
static void test_a_refused_body_is_let_go(void **state) {
    (void)state;
    static const char head[] = "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n40000\r\n";
    static char chunk[0x40000 + 2];
    memset(chunk, 'x', sizeof chunk - 2);
    memcpy(chunk + sizeof chunk - 2, "\r\n", 2);
    test_server_open(&server, &(struct server_options){.memory_max_bytes = 200000});
    const int fd = connect_tcp(server.port);
    assert_int_equal(send_text(fd, head), 0);
    assert_int_equal(send_bytes(fd, chunk, sizeof chunk), 0);
    int status = 503; /* until all of it has been read */
    for (int i = 0; i < 100 && status == 503; i++) {
        if (i > 0) pause_ms(20);
        const int other = connect_tcp(server.port);
        (void)!send_text(other, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 40000\r\n\r\n");
        (void)!send_bytes(other, chunk, 40000);
        status = exchange_text(other, "", answer, sizeof answer);
        close(other);
    }
    assert_int_equal(status, 200);
    assert_int_equal(exchange_text(fd, "0\r\n\r\n", answer, sizeof answer), 503);
    close(fd);
    test_server_close(&server);
}

/* A client that sends all of a body before it looks: the answer is there, whatever has come of the body by then. */
static void expect_answer_behind(const char *head, const char *piece, size_t piece_size, size_t count, int status) {
    const int fd = connect_tcp(server.port);
    assert_int_equal(send_text(fd, head), 0);
    for (size_t i = 0; i < count; i++) assert_int_equal(send_bytes(fd, piece, piece_size), 0);
    assert_int_equal(exchange_text(fd, "", answer, sizeof answer), status);
    assert_non_null(strstr(answer, status == 413 ? "\"code\":\"too-large\"" : "\"code\":\"busy\""));
    assert_true((strstr(answer, "Retry-After: 1") != NULL) == (status == 503));
    assert_non_null(strstr(answer, "Connection: close"));
    assert_true(is_closed(fd, 5000));
    close(fd);
}

static void test_a_body_that_is_not_taken(void **state) {
    (void)state;
    enum { PIECES = 40 };
    static const char length[] = "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 41943040\r\n\r\n";
    static const char chunked[] = "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n";
    static char plain[1 << 20], chunk[(1 << 20) + 10];
    memset(plain, 'x', sizeof plain);
    const int head = snprintf(chunk, sizeof chunk, "100000\r\n");
    memset(chunk + head, 'x', 1 << 20);
    memcpy(chunk + head + (1 << 20), "\r\n", 2);
    test_server_open(&server, &(struct server_options){.body_max_bytes = 4 << 20});
    expect_answer_behind(length, plain, sizeof plain, PIECES, 413);
    expect_answer_behind(chunked, chunk, sizeof chunk, PIECES, 413);
    test_server_close(&server);
    test_server_open(&server, &(struct server_options){.body_max_bytes = 64 << 20, .memory_max_bytes = 4 << 20});
    expect_answer_behind(length, plain, sizeof plain, PIECES, 503);
    expect_answer_behind(chunked, chunk, sizeof chunk, PIECES, 503);
    assert_int_equal(ask_anew(NULL), 200);
    test_server_close(&server);
}

/* Who goes on sending after the answer has its time, and no more. */
static void test_what_never_ends(void **state) {
    (void)state;
    enum { DRIPS = 200 }; /* more than are waited for at a time */
    static const char head[] = "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 99999999\r\n\r\n";
    int fds[DRIPS], left = DRIPS;
    test_server_open(&server, &(struct server_options){.linger_ms = 500});
    for (int i = 0; i < DRIPS; i++) {
        fds[i] = connect_tcp(server.port);
        assert_int_equal(exchange_text(fds[i], head, answer, sizeof answer), 413);
    }
    assert_true(connections_are(&server, 0)); /* they keep nobody out */
    for (int turn = 0; turn < 1000 && left > 0; turn++, pause_ms(10))
        for (int i = 0; i < DRIPS; i++) {
            if (fds[i] < 0 || send_bytes(fds[i], "x", 1) == 0) continue;
            close(fds[i]);
            fds[i] = -1;
            left--;
        }
    assert_int_equal(left, 0);
    test_server_close(&server);
}

/* While the loop's thread does something else. */
static int begin_stall(void) {
    const int fd = connect_tcp(server.port);
    atomic_store(&server.stalled, false);
    assert_int_equal(send_text(fd, "GET /stall HTTP/1.1\r\n" HOST "\r\n"), 0);
    for (int i = 0; i < 1000 && !atomic_load(&server.stalled); i++) pause_ms(1);
    assert_true(atomic_load(&server.stalled));
    return fd;
}

/* An end that is seen together with the bytes before it, in a body and behind a whole request: the connection does not stay
 * until its deadline, which is minutes away. */
static void test_ends_that_come_with_bytes(void **state) {
    (void)state;
    static const char head[] = "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 1000000\r\n\r\n";
    static char some[200000];
    struct server_stats stats = {0};
    memset(some, 'x', sizeof some);
    test_server_open(&server, &(struct server_options){0});
    const int body = connect_tcp(server.port);
    assert_int_equal(send_text(body, head), 0);
    assert_int_equal(send_bytes(body, some, sizeof some), 0);
    for (int i = 0; i < 1000 && stats.bytes_in < sizeof some; i++, pause_ms(5)) server_stats(server.server, &stats);
    const int whole = connect_tcp(server.port);
    assert_int_equal(ask_on(whole), 200);
    const int stalling = begin_stall();
    assert_int_equal(send_bytes(body, some, 10), 0);
    close(body);
    assert_int_equal(send_text(whole, HELLO), 0);
    assert_int_equal(shutdown(whole, SHUT_WR), 0);
    assert_int_equal(exchange_text(whole, "", answer, sizeof answer), 200); /* half an end is none for an answer */
    close(whole);
    assert_int_equal(exchange_text(stalling, "", answer, sizeof answer), 200);
    close(stalling);
    assert_true(connections_are(&server, 0));
    test_server_close(&server);
}

static void test_an_answer_past_the_maximum(void **state) {
    (void)state;
    test_server_open(&server, &(struct server_options){0});
    const int fd = connect_tcp(server.port);
    assert_int_equal(exchange_text(fd, "GET /big?mib=65 HTTP/1.1\r\n" HOST "\r\n", answer, sizeof answer), 413);
    assert_non_null(strstr(answer, "\"code\":\"too-large\""));
    assert_non_null(strstr(answer, "ask for fewer"));
    assert_int_equal(ask_on(fd), 200);
    close(fd);
    test_server_close(&server);
}

static void test_entity_tags(void **state) {
    (void)state;
    const struct {
        const char *field;
        bool listed;
    } cases[] = {{"\"a1\"", true},  {"W/\"a1\"", true},       {"\"b\", \"a1\"", true}, {"*", true},
                 {"\"a\"", false},  {"\"a1", false},          {"a1", false},           {"", false},
                 {"\"A1\"", false}, {"\"b\",W/\"a1\"", true}, {"\"x\\\" *\"", false},  {"\"*\"", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(http_etag_listed(slice_text(cases[i].field), SLICE("\"a1\"")), cases[i].listed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connections_of_an_address),  cmocka_unit_test(test_all_connections),
        cmocka_unit_test(test_requests_of_an_address),     cmocka_unit_test(test_no_room_for_a_body),
        cmocka_unit_test(test_no_room_for_an_answer),      cmocka_unit_test(test_a_refused_body_is_let_go),
        cmocka_unit_test(test_an_answer_past_the_maximum), cmocka_unit_test(test_entity_tags),
        cmocka_unit_test(test_a_body_that_is_not_taken),   cmocka_unit_test(test_what_never_ends),
        cmocka_unit_test(test_ends_that_come_with_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
