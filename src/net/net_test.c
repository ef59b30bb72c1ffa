#include "net/net_test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
// cmocka.h needs the four above before it
#include <cmocka.h>

static void *answer_later(void *context) {
    struct http_exchange *exchange = context;
    nanosleep(&(struct timespec){0, 30000000}, NULL);
    buf_put_text(&exchange->answer, "later");
    http_reply(exchange, 200, "text/plain");
    return NULL;
}

static void put_big(struct http_exchange *exchange) {
    uint64_t mib;
    if (!slice_to_u64(http_argument(exchange, "mib"), &mib)) mib = 1;
    for (uint64_t i = 0; i < mib * 64 * 1024; i++) buf_put_text(&exchange->answer, "0123456789abcdef");
}

static void handle(struct http_handler *handler, struct http_exchange *exchange) {
    struct test_server *test = (struct test_server *)handler;
    struct diag diag = {0};
    if (slice_equal(exchange->path, SLICE("/echo"))) {
        assert_memory_equal(exchange->body.data + exchange->body.size, (uint8_t[64]){0}, 64);
        buf_put(&exchange->answer, exchange->body);
        http_reply(exchange, 200, "text/plain");
    } else if (slice_equal(exchange->path, SLICE("/later"))) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, answer_later, exchange), 0);
        pthread_detach(thread);
    } else if (slice_equal(exchange->path, SLICE("/never"))) {
        atomic_store(&test->never, exchange);
    } else if (slice_equal(exchange->path, SLICE("/stall"))) {
        atomic_store(&test->stalled, true);
        nanosleep(&(struct timespec){0, 200000000}, NULL);
        http_reply(exchange, 200, "text/plain");
    } else if (slice_equal(exchange->path, SLICE("/big"))) {
        put_big(exchange);
        http_reply(exchange, 200, "text/plain");
    } else if (slice_equal(exchange->path, SLICE("/methods"))) {
        http_header(exchange, "Allow", "GET");
        http_reply(exchange, exchange->method == HTTP_GET ? 200 : 405, "text/plain");
    } else if (slice_equal(exchange->path, SLICE("/hello"))) {
        const struct slice name = http_argument(exchange, "name");
        buf_printf(&exchange->answer, "hello %.*s", SLICE_PRINT(name));
        http_header(exchange, "X-Peer", (const char *)exchange->peer.data);
        http_reply(exchange, 200, "text/plain");
    } else {
        http_reply_error(exchange, diag_set(&diag, ERR_NOT_FOUND, "no \"%.*s\"", SLICE_PRINT(exchange->path)), &diag);
    }
}

static void *socket_open(void *context, struct websocket *socket, struct slice path, const struct http_pair *arguments,
                         uint32_t count, struct diag *diag) {
    (void)socket, (void)arguments, (void)count, (void)diag;
    struct test_server *test = context;
    if (!slice_equal(path, SLICE("/ws"))) return NULL;
    test->sessions++;
    test->opened++;
    return test;
}

static void flood(struct websocket *socket) {
    char text[65536];
    memset(text, 'x', sizeof text);
    enum err err = ERR_OK;
    while (err == ERR_OK) err = websocket_send(socket, slice_of(text, sizeof text));
    assert_int_equal(err, ERR_BUSY);
}

static void socket_message(void *session, struct websocket *socket, struct slice text) {
    (void)session;
    if (slice_equal(text, SLICE("flood"))) {
        flood(socket);
    } else if (slice_equal(text, SLICE("close"))) {
        websocket_close(socket, 4000, "as asked");
    } else if (slice_equal(text, SLICE("wake"))) {
        websocket_wake(socket);
    } else {
        assert_int_equal(websocket_send(socket, text), ERR_OK);
    }
}

static void socket_writable(void *session, struct websocket *socket) {
    ((struct test_server *)session)->writable_calls++;
    (void)!websocket_send(socket, SLICE("writable"));
}

static void socket_close(void *session) { ((struct test_server *)session)->sessions--; }
static void socket_tick(void *context) { ((struct test_server *)context)->ticks++; }

static const struct websocket_ops socket_ops = {socket_open, socket_message, socket_writable, socket_close,
                                                socket_tick};

void test_server_open(struct test_server *test, const struct server_options *options) {
    struct server_options all = *options;
    struct diag diag = {0};
    memset(test, 0, sizeof *test);
    test->handler.handle = handle;
    all.sys = sys_real();
    if (all.listen == NULL) all.listen = "127.0.0.1:0";
    all.handler = &test->handler;
    all.websocket = &socket_ops;
    all.websocket_context = test;
    enum err err = server_open(&all, &diag, &test->server);
    if (err != ERR_OK) print_error("%s\n", diag.what);
    assert_int_equal(err, ERR_OK);
    snprintf(test->address, sizeof test->address, "%s", server_address(test->server));
    test->port = (int)strtol(strrchr(test->address, ':') + 1, NULL, 10);
}

void test_server_close(struct test_server *test) {
    server_close(&test->server);
    assert_null(test->server);
    assert_int_equal(test->sessions, 0);
}

int connect_tcp(int port) {
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

int connect_unix(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

int send_bytes(int fd, const void *bytes, size_t size) {
    for (size_t done = 0; done < size;) {
        const ssize_t sent = send(fd, (const char *)bytes + done, size - done, MSG_NOSIGNAL);
        if (sent <= 0) return -1;
        done += (size_t)sent;
    }
    return 0;
}

int send_text(int fd, const char *text) { return send_bytes(fd, text, strlen(text)); }

size_t receive(int fd, char *data, size_t size, int timeout_ms, bool *ret_ended) {
    size_t got = 0;
    *ret_ended = false;
    while (got < size - 1) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        if (poll(&waiting, 1, timeout_ms) <= 0) break;
        const ssize_t now = recv(fd, data + got, size - 1 - got, 0);
        if (now <= 0) {
            *ret_ended = true;
            break;
        }
        got += (size_t)now;
    }
    data[got] = '\0';
    return got;
}

bool receive_until(int fd, const char *text, char *data, size_t size) {
    size_t got = 0;
    data[0] = '\0';
    while (memmem(data, got, text, strlen(text)) == NULL) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        if (got == size - 1 || poll(&waiting, 1, 5000) <= 0) return false;
        const ssize_t now = recv(fd, data + got, size - 1 - got, 0);
        if (now <= 0) return false;
        got += (size_t)now;
        data[got] = '\0';
    }
    return true;
}

static bool wait_a_little(int turn) {
    nanosleep(&(struct timespec){0, 5000000}, NULL);
    return turn < 2000;
}

bool connections_are(const struct test_server *test, uint32_t most) {
    struct server_stats stats;
    server_stats(test->server, &stats);
    for (int i = 0; stats.connections > most && wait_a_little(i); i++) server_stats(test->server, &stats);
    return stats.connections <= most;
}

bool sessions_are(const struct test_server *test, int wanted) {
    for (int i = 0; atomic_load(&test->sessions) != wanted && wait_a_little(i); i++) continue;
    return atomic_load(&test->sessions) == wanted;
}

static bool answer_is_whole(const char *answer, size_t size) {
    const char *body = strstr(answer, "\r\n\r\n");
    if (body == NULL) return false;
    const char *length = strcasestr(answer, "\r\nContent-Length: ");
    if (length == NULL || length > body) return true;
    return size - (size_t)(body + 4 - answer) >= strtoul(length + 18, NULL, 10);
}

int exchange_text(int fd, const char *request, char *answer, size_t size) {
    if (send_text(fd, request) < 0 && errno != EPIPE && errno != ECONNRESET) return 0;
    size_t got = 0;
    bool ended = false;
    answer[0] = '\0';
    while (!ended && !answer_is_whole(answer, got)) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        if (poll(&waiting, 1, 5000) <= 0) break;
        const ssize_t now = recv(fd, answer + got, size - 1 - got, 0);
        ended = now <= 0;
        if (now > 0) got += (size_t)now;
        answer[got] = '\0';
    }
    return strncmp(answer, "HTTP/1.", 7) == 0 ? (int)strtol(answer + 9, NULL, 10) : 0;
}

bool is_closed(int fd, int timeout_ms) {
    char data[4096];
    for (;;) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        if (poll(&waiting, 1, timeout_ms) <= 0) return false;
        if (recv(fd, data, sizeof data, 0) <= 0) return true;
    }
}
