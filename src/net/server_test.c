#include <curl/curl.h>
#include <pthread.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "net/net_test.h"
// cmocka.h needs its standard headers before it
#include <cmocka.h>

#define HOST "Host: localhost\r\n"

static struct test_server server;
static char answer[2 * 1024 * 1024];

static void open_default(void) { test_server_open(&server, &(struct server_options){0}); }

static int ask(const char *request) {
    const int fd = connect_tcp(server.port);
    assert_true(fd >= 0);
    const int status = exchange_text(fd, request, answer, sizeof answer);
    close(fd);
    return status;
}

static void test_answers(void **state) {
    (void)state;
    open_default();
    assert_int_equal(ask("GET /hello?name=a%20b+c HTTP/1.1\r\n" HOST "\r\n"), 200);
    assert_non_null(strstr(answer, "hello a b c"));
    assert_non_null(strstr(answer, "X-Peer: 127.0.0.1"));
    assert_non_null(strstr(answer, "X-Content-Type-Options: nosniff"));
    assert_non_null(strstr(answer, "Cache-Control: no-store"));
    assert_int_equal(ask("HEAD /hello HTTP/1.1\r\n" HOST "\r\n"), 200);
    assert_null(strstr(answer, "hello "));
    assert_int_equal(ask("GET http://localhost/hello HTTP/1.1\r\n" HOST "\r\n"), 200);
    assert_int_equal(ask("GET /nothing HTTP/1.1\r\n" HOST "\r\n"), 404);
    assert_non_null(
        strstr(answer, "{\"error\":{\"code\":\"not-found\",\"message\":\"no \\\"/nothing\\\"\",\"at\":\"\"}}"));
    assert_int_equal(ask("GET /%E5%B8%81%FF%22%C2%85 HTTP/1.1\r\n" HOST "\r\n"), 404);
    assert_non_null(strstr(answer, "\"message\":\"no \\\"/\xe5\xb8\x81?\\\"\\u0085\\\"\""));
    assert_int_equal(ask("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc"), 200);
    assert_non_null(strstr(answer, "\r\n\r\nabc"));
    assert_int_equal(
        ask("POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"), 200);
    assert_non_null(strstr(answer, "\r\n\r\nabc"));
    assert_int_equal(ask("GET /later HTTP/1.1\r\n" HOST "\r\n"), 200);
    assert_non_null(strstr(answer, "\r\n\r\nlater"));
    assert_int_equal(ask("GET /hello HTTP/1.0\r\n\r\n"), 200);
    struct server_stats stats;
    server_stats(server.server, &stats);
    assert_int_equal(stats.requests, 9);
    test_server_close(&server);
}

static void test_keep_alive(void **state) {
    (void)state;
    open_default();
    const int fd = connect_tcp(server.port);
    for (int i = 0; i < 50; i++) {
        const char *request = i % 3 == 0   ? "GET /hello HTTP/1.1\r\n" HOST "\r\n"
                              : i % 3 == 1 ? "GET /later HTTP/1.1\r\n" HOST "\r\n"
                                           : "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc";
        assert_int_equal(exchange_text(fd, request, answer, sizeof answer), 200);
    }
    /* Pipelined: both are answered, in order. */
    assert_int_equal(send_text(fd, "GET /later HTTP/1.1\r\n" HOST "\r\nGET /hello?name=x HTTP/1.1\r\n" HOST "\r\n"), 0);
    assert_true(receive_until(fd, "hello x", answer, sizeof answer));
    const char *first = strstr(answer, "later"), *second = strstr(answer, "hello x");
    assert_true(first != NULL && second != NULL && first < second);
    close(fd);
    test_server_close(&server);
}

/* What two readers could understand differently is refused, and the connection with it. */
static void test_framing(void **state) {
    (void)state;
    static const struct {
        const char *request;
        int status;
    } cases[] = {
        {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
        {"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         501},
        {"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n", 501},
        {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400},
        {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: +3\r\n\r\nabc", 400},
        {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3, 3\r\n\r\nabc", 400},
        {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n", 400},
        {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n", 413},
        {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 99999999999\r\n\r\n", 413},
        {"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\n" HOST "Host: other\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\n" HOST "Bad Name: x\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\n" HOST "X: a\x01z\r\n\r\n", 400},
        {"GET /hello%00 HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /hello%zz HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /hello?a=%0d%0a HTTP/1.1\r\n" HOST "\r\n", 400},
    };
    open_default();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int fd = connect_tcp(server.port);
        const int status = exchange_text(fd, cases[i].request, answer, sizeof answer);
        if (status != cases[i].status) print_error("%s\n-> %s\n", cases[i].request, answer);
        assert_int_equal(status, cases[i].status);
        assert_true(is_closed(fd, 5000));
        close(fd);
    }
    assert_int_equal(ask("GET /hello HTTP/1.1\r\n" HOST "\r\n"), 200);
    test_server_close(&server);
}

/* libmicrohttpd's strings end at a NUL. */
static void test_nul(void **state) {
    (void)state;
    static const char in_target[] = "GET /hello\0 HTTP/1.1\r\n" HOST "\r\n";
    static const char in_version[] = "GET /hello HTTP/1.1\0\r\n" HOST "\r\n";
    const struct slice cases[] = {slice_of(in_target, sizeof in_target - 1),
                                  slice_of(in_version, sizeof in_version - 1)};
    open_default();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int fd = connect_tcp(server.port);
        send_bytes(fd, cases[i].data, cases[i].size);
        assert_int_equal(exchange_text(fd, "", answer, sizeof answer), 400);
        close(fd);
    }
    test_server_close(&server);
}

static void test_large_heads(void **state) {
    (void)state;
    open_default();
    static char request[64 * 1024];
    static const struct {
        int target, field, fields, low, high;
    } cases[] = {{9000, 0, 0, 414, 414}, {40000, 0, 0, 414, 431}, {0, 17000, 1, 431, 431},
                 {0, 50, 150, 431, 431}, {0, 40000, 1, 413, 431}, {1, 10, 3, 200, 200}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t size = (size_t)snprintf(request, sizeof request, "GET /hello?name=");
        for (int k = 0; k < cases[i].target; k++) request[size++] = 'x';
        size += (size_t)snprintf(request + size, sizeof request - size, " HTTP/1.1\r\n" HOST);
        for (int f = 0; f < cases[i].fields; f++) {
            size += (size_t)snprintf(request + size, sizeof request - size, "X-%d: ", f);
            for (int k = 0; k < cases[i].field; k++) request[size++] = 'y';
            size += (size_t)snprintf(request + size, sizeof request - size, "\r\n");
        }
        snprintf(request + size, sizeof request - size, "\r\n");
        const int status = ask(request);
        assert_in_range(status, cases[i].low, cases[i].high);
    }
    test_server_close(&server);
}

static void test_bodies(void **state) {
    (void)state;
    test_server_open(&server, &(struct server_options){.body_max_bytes = 100000});
    assert_int_equal(ask("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 100001\r\nExpect: 100-continue\r\n\r\n"), 413);
    /* Chunked: the size shows only as it comes. */
    const int fd = connect_tcp(server.port);
    static char chunk[20010];
    int size = snprintf(chunk, sizeof chunk, "4e20\r\n");
    memset(chunk + size, 'z', 20000);
    memcpy(chunk + size + 20000, "\r\n", 2);
    send_text(fd, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 6; i++) send_bytes(fd, chunk, (size_t)size + 20002);
    assert_int_equal(exchange_text(fd, "0\r\n\r\n", answer, sizeof answer), 413);
    close(fd);
    /* One that never ends is cut off. */
    const int endless = connect_tcp(server.port);
    send_text(endless, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    int sent = 0;
    while (sent < 1000 && send_bytes(endless, chunk, (size_t)size + 20002) == 0) sent++;
    assert_true(sent < 1000);
    close(endless);
    test_server_close(&server);
}

/* A body and its echo fit, unless somebody else's body is held beside them. */
static void test_memory_limit(void **state) {
    (void)state;
    test_server_open(&server, &(struct server_options){.memory_max_bytes = 1400000});
    static char request[150200], held[900200];
    int size = snprintf(request, sizeof request, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 150000\r\n\r\n");
    memset(request + size, 'm', 150000);
    request[size + 150000] = '\0';
    assert_int_equal(ask(request), 200);
    const int first = connect_tcp(server.port);
    size = snprintf(held, sizeof held, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 1000000\r\n\r\n");
    memset(held + size, 'm', 900000);
    send_bytes(first, held, (size_t)size + 900000);
    int status = 200; /* until what was sent first has been read */
    for (int i = 0; i < 1000 && status == 200; i++) status = ask(request);
    assert_int_equal(status, 503);
    assert_non_null(strstr(answer, "Retry-After: 1"));
    send_bytes(first, held + size, 100000);
    assert_int_equal(exchange_text(first, "", answer, sizeof answer),
                     503); /* its echo does not fit, and it is let go */
    for (int i = 0; i < 1000 && status == 503; i++) status = ask(request);
    assert_int_equal(status, 200);
    close(first);
    test_server_close(&server);
}

/* Clients that drip: each is gone in time, and others do not notice. */
static void test_drip(void **state) {
    (void)state;
    test_server_open(
        &server, &(struct server_options){.head_timeout_ms = 700, .idle_timeout_ms = 700, .body_min_rate = 1000000});
    int fds[60];
    for (int i = 0; i < 60; i++) fds[i] = connect_tcp(server.port);
    for (int i = 40; i < 60; i++) send_text(fds[i], "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n");
    int rounds = 0, held_up = 0;
    const int64_t began = sys_monotonic_ns(sys_real());
    for (; sys_monotonic_ns(sys_real()) - began < 8000000000; rounds++) { /* rates count after five seconds */
        for (int i = 0; i < 60; i++) (void)send_bytes(fds[i], i < 40 ? "G" : "b", i % 4 == 0 ? 0 : 1);
        const int64_t before = sys_monotonic_ns(sys_real());
        assert_int_equal(ask("GET /hello HTTP/1.1\r\n" HOST "\r\n"), 200);
        held_up += sys_monotonic_ns(sys_real()) - before >= 500000000;
        nanosleep(&(struct timespec){0, 80000000}, NULL);
    }
    assert_true(rounds > 1 && held_up < rounds / 2); /* now and then it is the machine */
    for (int i = 0; i < 60; i++) {
        assert_true(is_closed(fds[i], 5000));
        close(fds[i]);
    }
    struct server_stats stats;
    server_stats(server.server, &stats);
    assert_true(stats.refused >= 60);
    test_server_close(&server);
}

static void test_late_head_says_so(void **state) {
    (void)state;
    test_server_open(&server, &(struct server_options){.head_timeout_ms = 300, .idle_timeout_ms = 300});
    const int fd = connect_tcp(server.port);
    assert_int_equal(exchange_text(fd, "GET /hello HTTP/1.1\r\nHo", answer, sizeof answer), 408);
    assert_non_null(strstr(answer, "came too slowly"));
    assert_true(is_closed(fd, 5000));
    close(fd);
    /* An idle keep-alive connection just ends. */
    const int idle = connect_tcp(server.port);
    assert_int_equal(exchange_text(idle, "GET /hello HTTP/1.1\r\n" HOST "\r\n", answer, sizeof answer), 200);
    assert_true(is_closed(idle, 5000));
    close(idle);
    test_server_close(&server);
}

/* A handler that does not answer: 503, and its answer, when it comes after all, goes nowhere. */
static void test_answer_timeout(void **state) {
    (void)state;
    test_server_open(&server, &(struct server_options){.answer_timeout_ms = 300});
    assert_int_equal(ask("GET /never HTTP/1.1\r\n" HOST "\r\n"), 503);
    assert_non_null(strstr(answer, "Retry-After"));
    struct http_exchange *late = atomic_load(&server.never);
    for (int i = 0; i < 20; i++) assert_int_equal(ask("GET /hello HTTP/1.1\r\n" HOST "\r\n"), 200);
    buf_put_text(&late->answer, "at last");
    http_reply(late, 200, "text/plain");
    atomic_store(&server.never, NULL);
    /* And one whose answer comes after the server has gone. */
    const int fd = connect_tcp(server.port);
    send_text(fd, "GET /never HTTP/1.1\r\n" HOST "\r\n");
    for (int i = 0; i < 1000 && atomic_load(&server.never) == NULL; i++)
        nanosleep(&(struct timespec){0, 5000000}, NULL);
    assert_non_null(atomic_load(&server.never));
    test_server_close(&server);
    late = atomic_load(&server.never);
    assert_true(slice_equal(late->path, SLICE("/never")));
    http_reply(late, 200, "text/plain");
    close(fd);
}

static void test_half_open(void **state) {
    (void)state;
    open_default();
    for (int i = 0; i < 50; i++) {
        const int fd = connect_tcp(server.port);
        send_text(fd, i % 2 == 0 ? "GET /later HTTP/1.1\r\n" HOST "\r\n"
                                 : "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\nab");
        if (i % 4 < 2) {
            const struct linger reset = {1, 0};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        }
        close(fd);
    }
    assert_int_equal(ask("GET /hello HTTP/1.1\r\n" HOST "\r\n"), 200);
    assert_true(connections_are(&server, 0));
    test_server_close(&server);
}

static void test_tokens(void **state) {
    (void)state;
    /* SHA-256 of "secret". */
    static const char *const digests[] = {"0000000000000000000000000000000000000000000000000000000000000000",
                                          "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"};
    char path[] = "/tmp/wick-net-test-XXXXXX";
    assert_non_null(mkdtemp(path));
    char socket_path[64];
    snprintf(socket_path, sizeof socket_path, "%s/socket", path);
    test_server_open(&server, &(struct server_options){.secrets = {.token_sha256 = digests, .token_count = 2},
                                                       .unix_path = socket_path});
    assert_int_equal(ask("GET /hello HTTP/1.1\r\n" HOST "\r\n"), 401);
    assert_non_null(strstr(answer, "WWW-Authenticate: Bearer"));
    assert_int_equal(ask("GET /hello HTTP/1.1\r\n" HOST "Authorization: Bearer wrong\r\n\r\n"), 401);
    assert_int_equal(ask("GET /hello HTTP/1.1\r\n" HOST "Authorization: Basic secret\r\n\r\n"), 401);
    assert_int_equal(ask("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 900000\r\n\r\n"), 401);
    assert_int_equal(ask("GET /hello HTTP/1.1\r\n" HOST "Authorization: bearer secret\r\n\r\n"), 200);
    assert_int_equal(ask("GET /hello HTTP/1.1\r\nHost: wick.example\r\nAuthorization: Bearer secret\r\n\r\n"), 200);
    struct stat info;
    assert_int_equal(stat(socket_path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    const int fd = connect_unix(socket_path);
    for (int i = 0; i < 3; i++)
        assert_int_equal(exchange_text(fd, "GET /later HTTP/1.1\r\n" HOST "\r\n", answer, sizeof answer), 200);
    close(fd);
    test_server_close(&server);
    assert_int_not_equal(stat(socket_path, &info), 0);
    rmdir(path);
}

static void test_reload_of_tokens(void **state) {
    (void)state;
    /* SHA-256 of "secret" and of "other". */
    static const char *const before[] = {"2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"};
    static const char *const after[] = {"d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa"};
    static const char *const broken[] = {"d929"};
    static const char as_secret[] = "GET /hello HTTP/1.1\r\n" HOST "Authorization: Bearer secret\r\n\r\n";
    static const char as_other[] = "GET /hello HTTP/1.1\r\n" HOST "Authorization: Bearer other\r\n\r\n";
    struct diag diag = {0};
    test_server_open(&server, &(struct server_options){.secrets = {.token_sha256 = before, .token_count = 1}});
    const int kept = connect_tcp(server.port);
    assert_int_equal(exchange_text(kept, as_secret, answer, sizeof answer), 200);
    assert_int_equal(ask(as_other), 401);
    const struct server_secrets_options bad = {.token_sha256 = broken, .token_count = 1};
    assert_int_equal(server_reload(server.server, &bad, &diag), ERR_USAGE);
    assert_int_equal(ask(as_secret), 200);
    const struct server_secrets_options good = {.token_sha256 = after, .token_count = 1};
    assert_int_equal(server_reload(server.server, &good, &diag), ERR_OK);
    assert_int_equal(ask(as_other), 200);
    assert_int_equal(exchange_text(kept, as_secret, answer, sizeof answer), 401); /* also on an old connection */
    close(kept);
    enum err err = ERR_OK;
    for (int i = 0; i < 100 && err == ERR_OK; i++) err = server_reload(server.server, &good, &diag);
    assert_int_equal(err, ERR_BUSY);
    assert_int_equal(ask(as_other), 200);
    test_server_close(&server);
}

static void test_other_origins(void **state) {
    (void)state;
    open_default();
    char own[512];
    snprintf(own, sizeof own, "POST /echo HTTP/1.1\r\nHost: %s\r\nOrigin: http://%s\r\nContent-Length: 1\r\n\r\na",
             server.address, server.address);
    assert_int_equal(ask(own), 200);
    assert_int_equal(ask("POST /echo HTTP/1.1\r\n" HOST "Origin: http://evil.example\r\nContent-Length: 1\r\n\r\na"),
                     403);
    assert_int_equal(ask("POST /echo HTTP/1.1\r\n" HOST "Origin: null\r\nContent-Length: 1\r\n\r\na"), 403);
    assert_int_equal(ask("GET /hello HTTP/1.1\r\nHost: evil.example\r\n\r\n"), 403);
    assert_int_equal(ask("GET /hello HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n\r\n"), 403);
    assert_int_equal(ask("GET /hello HTTP/1.1\r\nHost: [::1]:8787\r\n\r\n"), 200);
    assert_int_equal(ask("GET /hello HTTP/1.1\r\nHost: a.localhost:8787\r\n\r\n"), 200);
    test_server_close(&server);
}

static void refused(const struct server_options *options, enum err expected) {
    struct http_handler handler = {0};
    struct server_options all = *options;
    struct server *none = NULL;
    struct diag diag = {0};
    all.sys = sys_real();
    all.handler = &handler;
    assert_int_equal(server_open(&all, &diag, &none), expected);
    assert_null(none);
    assert_true(diag.what[0] != '\0');
}

static void test_open_refuses(void **state) {
    (void)state;
    static const char *const bad[] = {"abc"};
    refused(&(struct server_options){.listen = "0.0.0.0:0"}, ERR_USAGE);
    refused(&(struct server_options){.listen = "[::]:0"}, ERR_USAGE);
    refused(&(struct server_options){.listen = "127.0.0.1:65536"}, ERR_USAGE);
    refused(&(struct server_options){.listen = "127.0.0.1"}, ERR_USAGE);
    refused(&(struct server_options){.listen = "nonsense:xx"}, ERR_USAGE);
    refused(&(struct server_options){.listen = "127.0.0.1:0", .secrets = {.token_sha256 = bad, .token_count = 1}},
            ERR_USAGE);
    refused(&(struct server_options){.listen = "127.0.0.1:0",
                                     .secrets = {.certificate = "/nonexistent", .key = "/nonexistent"}},
            ERR_NOT_FOUND);
    open_default();
    refused(&(struct server_options){.listen = server.address}, ERR_LOCKED);
    test_server_close(&server);
    test_server_open(&server, &(struct server_options){.listen = "0.0.0.0:0", .allow_public = true});
    test_server_close(&server);
}

static size_t take(char *data, size_t size, size_t count, void *context) {
    buf_put(context, slice_of(data, size * count));
    return size * count;
}

static void fetch(const char *url, const char *ca, struct buf *body) {
    CURL *curl = curl_easy_init();
    buf_init(body, 4 * 1024 * 1024);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
    if (ca != NULL) curl_easy_setopt(curl, CURLOPT_CAINFO, ca);
    const CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK) print_error("%s\n", curl_easy_strerror(code));
    assert_int_equal(code, CURLE_OK);
    curl_easy_cleanup(curl);
}

static bool run_shell(const char *command) {
    char *const arguments[] = {(char *)"sh", (char *)"-c", (char *)(uintptr_t)command, NULL};
    pid_t child;
    int status = 1;
    return posix_spawn(&child, "/bin/sh", NULL, NULL, arguments, environ) == 0 && waitpid(child, &status, 0) == child &&
           status == 0;
}

static bool make_certificate(const char *key, const char *certificate) {
    char command[512];
    snprintf(command, sizeof command,
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost "
             "-addext subjectAltName=IP:127.0.0.1 -keyout %s -out %s 2>/dev/null",
             key, certificate);
    return run_shell(command);
}

/* What is answered goes into `sink`. */
static CURL *begin_fetch(const char *url, const char *authority, FILE *sink) {
    CURL *curl = curl_easy_init();
    assert_non_null(curl);
    assert_non_null(sink);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CAINFO, authority);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, sink);
    return curl;
}

static CURLcode try_fetch(const char *url, const char *authority) {
    FILE *sink = fopen("/dev/null", "w");
    CURL *curl = begin_fetch(url, authority, sink);
    const CURLcode code = curl_easy_perform(curl);
    curl_easy_cleanup(curl);
    fclose(sink);
    return code;
}

static size_t give(char *data, size_t size, size_t count, void *context) {
    size_t *left = context;
    const size_t given = *left < size * count ? *left : size * count;
    memset(data, 'x', given);
    *left -= given;
    return given;
}

/* In chunks, so that it is refused in its middle. */
static long post(const char *url, const char *authority, size_t size) {
    FILE *sink = fopen("/dev/null", "w");
    CURL *curl = begin_fetch(url, authority, sink);
    curl_easy_setopt(curl, CURLOPT_POST, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, give);
    curl_easy_setopt(curl, CURLOPT_READDATA, &size);
    assert_int_equal(curl_easy_perform(curl), CURLE_OK);
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);
    fclose(sink);
    return status;
}

/* The files are replaced, and the server told: who connects from then on sees the new certificate. */
static void renew_certificate(const char *url, const char *path, const char *key, const char *certificate) {
    char old[80], command[256];
    const struct server_secrets_options files = {.certificate = certificate, .key = key};
    struct diag diag = {0};
    snprintf(old, sizeof old, "%s/old.pem", path);
    snprintf(command, sizeof command, "cp %s %s", certificate, old);
    assert_true(run_shell(command));
    assert_true(make_certificate(key, certificate));
    assert_int_equal(try_fetch(url, old), CURLE_OK); /* not told yet */
    assert_int_equal(server_reload(server.server, &files, &diag), ERR_OK);
    assert_int_equal(try_fetch(url, certificate), CURLE_OK);
    assert_int_not_equal(try_fetch(url, old), CURLE_OK);
    /* A key that does not fit, and no TLS at all: everything stays. */
    const struct server_secrets_options mixed = {.certificate = old, .key = key}, none = {0};
    assert_int_equal(server_reload(server.server, &mixed, &diag), ERR_CONFLICT);
    assert_int_equal(server_reload(server.server, &none, &diag), ERR_CONFLICT);
    assert_int_equal(try_fetch(url, certificate), CURLE_OK);
    unlink(old);
}

static void test_tls(void **state) {
    (void)state;
    char path[] = "/tmp/wick-tls-test-XXXXXX", key[64], certificate[64], url[160];
    assert_non_null(mkdtemp(path));
    snprintf(key, sizeof key, "%s/key.pem", path);
    snprintf(certificate, sizeof certificate, "%s/cert.pem", path);
    if (!make_certificate(key, certificate)) {
        print_message("openssl is missing: TLS is not tested\n");
        skip();
    }
    test_server_open(&server, &(struct server_options){.secrets = {.certificate = certificate, .key = key},
                                                       .body_max_bytes = 1 << 20});
    snprintf(url, sizeof url, "https://%s/echo", server.address);
    assert_int_equal(post(url, certificate, 100000), 200);
    assert_int_equal(post(url, certificate, 3 << 20), 413);
    snprintf(url, sizeof url, "https://%s/big", server.address);
    struct buf body;
    fetch(url, certificate, &body);
    assert_int_equal(body.size, 1024 * 1024);
    buf_deinit(&body);
    snprintf(url, sizeof url, "https://%s/later", server.address);
    fetch(url, certificate, &body);
    assert_true(slice_equal(buf_slice(&body), SLICE("later")));
    buf_deinit(&body);
    renew_certificate(url, path, key, certificate);
    test_server_close(&server);
    unlink(key);
    unlink(certificate);
    rmdir(path);
}

static void *client_main(void *context) {
    char url[160], data[4096];
    struct buf body;
    _Atomic int *failures = context;
    (void)data;
    for (int i = 0; i < 60; i++) {
        snprintf(url, sizeof url, "http://%s/%s", server.address, i % 3 == 0 ? "later" : i % 3 == 1 ? "big" : "hello");
        fetch(url, NULL, &body);
        if (body.size != (i % 3 == 0 ? 5u : i % 3 == 1 ? 1048576u : 6u)) (*failures)++;
        buf_deinit(&body);
    }
    return NULL;
}

static void test_many_clients(void **state) {
    (void)state;
    test_server_open(&server, &(struct server_options){.threads = 2});
    pthread_t threads[8];
    _Atomic int failures = 0;
    for (int i = 0; i < 8; i++) assert_int_equal(pthread_create(&threads[i], NULL, client_main, &failures), 0);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    assert_int_equal(failures, 0);
    test_server_close(&server);
}

/* Without descriptors the server waits for some; it neither spins nor stops. */
static void test_descriptors(void **state) {
    (void)state;
    open_default();
    struct rlimit before, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int fds[200], count = 0;
    const int served = connect_tcp(server.port);
    assert_int_equal(exchange_text(served, "GET /hello HTTP/1.1\r\n" HOST "\r\n", answer, sizeof answer), 200);
    low = before;
    low.rlim_cur = 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    while (count < 200 && (fds[count] = connect_tcp(server.port)) >= 0) count++;
    assert_true(count < 200);
    assert_int_equal(exchange_text(served, "GET /hello HTTP/1.1\r\n" HOST "\r\n", answer, sizeof answer), 200);
    struct timespec cpu_before, cpu_after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu_before);
    nanosleep(&(struct timespec){0, 500000000}, NULL);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu_after);
    const int64_t used_ms =
        (cpu_after.tv_sec - cpu_before.tv_sec) * 1000 + (cpu_after.tv_nsec - cpu_before.tv_nsec) / 1000000;
    assert_true(used_ms < 250);
    for (int i = 0; i < count; i++) close(fds[i]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    close(served);
    nanosleep(&(struct timespec){0, 100000000}, NULL);
    assert_int_equal(ask("GET /hello HTTP/1.1\r\n" HOST "\r\n"), 200);
    test_server_close(&server);
}

int main(void) {
    curl_global_init(CURL_GLOBAL_ALL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),           cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_framing),           cmocka_unit_test(test_nul),
        cmocka_unit_test(test_large_heads),       cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_memory_limit),      cmocka_unit_test(test_drip),
        cmocka_unit_test(test_late_head_says_so), cmocka_unit_test(test_answer_timeout),
        cmocka_unit_test(test_half_open),         cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_other_origins),     cmocka_unit_test(test_reload_of_tokens),
        cmocka_unit_test(test_open_refuses),      cmocka_unit_test(test_tls),
        cmocka_unit_test(test_many_clients),      cmocka_unit_test(test_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
