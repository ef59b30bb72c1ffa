/* What one address may take, and what is said when there is no room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
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
        cmocka_unit_test(test_connections_of_an_address),
        cmocka_unit_test(test_all_connections),
        cmocka_unit_test(test_requests_of_an_address),
        cmocka_unit_test(test_no_room_for_a_body),
        cmocka_unit_test(test_entity_tags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
