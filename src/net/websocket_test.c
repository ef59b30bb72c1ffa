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

#include "net/net_test.h"
// cmocka.h needs its standard headers before it
#include <cmocka.h>

static struct test_server server;
static char answer[4 * 1024 * 1024];

struct frame {
    int opcode; /* -1: the connection has ended; -2: nothing came */
    bool final, masked;
    size_t size;
    uint8_t data[128 * 1024];
};

static void pause_ms(int ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

static int handshake(const char *path, const char *extra) {
    char request[1024];
    snprintf(request, sizeof request,
             "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
             path, server.address, extra);
    const int fd = connect_tcp(server.port);
    assert_true(fd >= 0);
    send_text(fd, request);
    /* Byte by byte, so that no frame behind the head is taken. */
    size_t size = 0;
    while (size < 2000 && (size < 4 || memcmp(answer + size - 4, "\r\n\r\n", 4) != 0)) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        if (poll(&waiting, 1, 3000) <= 0 || recv(fd, answer + size, 1, 0) <= 0) break;
        size++;
    }
    answer[size] = '\0';
    return fd;
}

static int open_session(void) {
    const int fd = handshake("/ws", "");
    assert_memory_equal(answer, "HTTP/1.1 101 ", 13);
    assert_non_null(strstr(answer, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    return fd;
}

static void send_frame(int fd, int first, const void *data, size_t size, bool masked) {
    static uint8_t bytes[200 * 1024];
    static const uint8_t mask[4] = {1, 2, 3, 4};
    size_t at = 0;
    bytes[at++] = (uint8_t)first;
    if (size < 126) {
        bytes[at++] = (uint8_t)((masked ? 128 : 0) | size);
    } else if (size < 65536) {
        bytes[at++] = (uint8_t)((masked ? 128 : 0) | 126);
        bytes[at++] = (uint8_t)(size >> 8);
        bytes[at++] = (uint8_t)size;
    } else {
        bytes[at++] = (uint8_t)((masked ? 128 : 0) | 127);
        for (int i = 7; i >= 0; i--) bytes[at++] = (uint8_t)(size >> (8 * i));
    }
    if (masked) {
        memcpy(bytes + at, mask, 4);
        at += 4;
    }
    for (size_t i = 0; i < size; i++) bytes[at++] = ((const uint8_t *)data)[i] ^ (masked ? mask[i % 4] : 0);
    (void)send_bytes(fd, bytes, at);
}

static void send_masked(int fd, const char *text) { send_frame(fd, 0x81, text, strlen(text), true); }

static bool take(int fd, uint8_t *data, size_t size, int timeout_ms) {
    for (size_t got = 0; got < size;) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        if (poll(&waiting, 1, timeout_ms) <= 0) return false;
        const ssize_t now = recv(fd, data + got, size - got, 0);
        if (now <= 0) return false;
        got += (size_t)now;
    }
    return true;
}

static struct frame frame;
static int receive_frame(int fd, int timeout_ms) {
    uint8_t head[10];
    frame.opcode = -1;
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    if (poll(&waiting, 1, timeout_ms) <= 0) return frame.opcode = -2;
    if (!take(fd, head, 2, 1000)) return -1;
    frame.final = head[0] & 128;
    frame.masked = head[1] & 128;
    frame.size = head[1] & 127;
    if (frame.size == 126) {
        if (!take(fd, head + 2, 2, 1000)) return -1;
        frame.size = (size_t)head[2] << 8 | head[3];
    } else if (frame.size == 127) {
        if (!take(fd, head + 2, 8, 1000)) return -1;
        frame.size = 0;
        for (int i = 0; i < 8; i++) frame.size = frame.size << 8 | head[2 + i];
    }
    assert_true(frame.size < sizeof frame.data);
    if (!take(fd, frame.data, frame.size, 1000)) return -1;
    frame.data[frame.size] = 0;
    return frame.opcode = head[0] & 15;
}

static int close_code(int fd) {
    while (receive_frame(fd, 3000) >= 0)
        if (frame.opcode == 8) return frame.size >= 2 ? frame.data[0] << 8 | frame.data[1] : 0;
    return frame.opcode;
}

static void open_server(void) { test_server_open(&server, &(struct server_options){0}); }

static void test_echo(void **state) {
    (void)state;
    open_server();
    const int fd = open_session();
    static const size_t sizes[] = {0, 1, 125, 126, 127, 1000, 65535, 65536};
    static char text[65536];
    memset(text, 'e', sizeof text);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        send_frame(fd, 0x81, text, sizes[i], true);
        assert_int_equal(receive_frame(fd, 3000), 1);
        assert_true(frame.final && !frame.masked);
        assert_int_equal(frame.size, sizes[i]);
    }
    /* In pieces, with a ping between them. */
    send_frame(fd, 0x01, "one ", 4, true);
    send_frame(fd, 0x89, "p", 1, true);
    send_frame(fd, 0x80, "two", 3, true);
    for (int i = 0; i < 2; i++) {
        const int opcode = receive_frame(fd, 3000);
        assert_true(opcode == 1 || opcode == 10);
        assert_string_equal((char *)frame.data, opcode == 10 ? "p" : "one two");
    }
    send_masked(fd, "wake");
    assert_int_equal(receive_frame(fd, 3000), 1);
    assert_string_equal((char *)frame.data, "writable");
    /* A clean close is answered. */
    send_frame(fd, 0x88, "\x03\xe8", 2, true);
    assert_int_equal(close_code(fd), 1000);
    assert_true(is_closed(fd, 3000));
    close(fd);
    assert_true(sessions_are(&server, 0));
    for (int i = 0; i < 200 && server.ticks == 0; i++) pause_ms(20);
    assert_true(server.ticks > 0);
    test_server_close(&server);
}

static void test_frames_refused(void **state) {
    (void)state;
    static char large[70000];
    memset(large, 'l', sizeof large);
    static const struct {
        int first;
        const char *data;
        size_t size;
        bool masked;
        int code; /* 0: closed without one */
    } cases[] = {
        {0x81, "hello", 5, false, 1002},   /* not masked */
        {0x81, large, 65537, true, 1009},  /* longer than 64 KiB */
        {0x82, "bytes", 5, true, 1003},    /* binary */
        {0x81, "\xff\xfe", 2, true, 1007}, /* no UTF-8 */
        {0xc1, "x", 1, true, 1002},        /* compression was not agreed */
        {0x80, "x", 1, true, 1002},        /* continues nothing */
        {0x83, "x", 1, true, 1002},        /* opcode not known */
        {0x89, large, 126, true, 0},       /* control frame over 125 */
        {0x09, "x", 1, true, 0},           /* control frame in pieces */
        {0x88, "\x03", 1, true, 0},        /* half a close code */
        {0x88, "\x03\xec", 2, true, 1002}, /* 1004 may not be sent */
        {0x81, "close", 5, true, 4000},
    };
    open_server();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int fd = open_session();
        send_frame(fd, cases[i].first, cases[i].data, cases[i].size, cases[i].masked);
        const int code = close_code(fd);
        if (code != cases[i].code) print_error("case %zu: %d\n", i, code);
        assert_int_equal(code, cases[i].code);
        close(fd);
    }
    const int fd = open_session();
    send_masked(fd, "still here");
    assert_int_equal(receive_frame(fd, 3000), 1);
    close(fd);
    test_server_close(&server);
}

static void test_message_rate(void **state) {
    (void)state;
    open_server();
    const int fd = open_session();
    for (int i = 0; i < 150; i++) send_masked(fd, "x");
    assert_int_equal(close_code(fd), 1008);
    close(fd);
    test_server_close(&server);
}

static void test_handshakes(void **state) {
    (void)state;
    open_server();
    int fd = handshake("/nothing", "");
    assert_memory_equal(answer, "HTTP/1.1 404 ", 13);
    close(fd);
    fd = handshake("/ws", "Origin: http://evil.example\r\n");
    assert_memory_equal(answer, "HTTP/1.1 403 ", 13);
    close(fd);
    char own[256];
    snprintf(own, sizeof own, "Origin: http://%s\r\n", server.address);
    fd = handshake("/ws", own);
    assert_memory_equal(answer, "HTTP/1.1 101 ", 13);
    close(fd);
    fd = connect_tcp(server.port);
    assert_int_equal(
        exchange_text(fd,
                      "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 12\r\n\r\n",
                      answer, sizeof answer),
        426);
    assert_non_null(strstr(answer, "Sec-WebSocket-Version: 13"));
    assert_non_null(strstr(answer, "Upgrade: websocket"));
    close(fd);
    /* Gone before the answer, many times. */
    for (int i = 0; i < 50; i++) {
        fd = connect_tcp(server.port);
        send_text(fd,
                  "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
        const struct linger reset = {1, 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(fd);
    }
    assert_true(connections_are(&server, 0) && sessions_are(&server, 0));
    struct server_stats stats;
    server_stats(server.server, &stats);
    assert_int_equal(stats.websockets, 0);
    test_server_close(&server);
}

/* A browser cannot send a header with a websocket, so here the token may be an argument. */
static void test_token_argument(void **state) {
    (void)state;
    static const char *const digests[] = {"2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"};
    test_server_open(&server, &(struct server_options){.secrets = {.token_sha256 = digests, .token_count = 1}});
    int fd = handshake("/ws?access_token=secret", "");
    assert_memory_equal(answer, "HTTP/1.1 101 ", 13);
    close(fd);
    fd = handshake("/ws?access_token=wrong", "");
    assert_memory_equal(answer, "HTTP/1.1 401 ", 13);
    close(fd);
    fd = handshake("/ws", "Authorization: Bearer secret\r\n");
    assert_memory_equal(answer, "HTTP/1.1 101 ", 13);
    close(fd);
    fd = connect_tcp(server.port);
    assert_int_equal(
        exchange_text(fd, "GET /hello?access_token=secret HTTP/1.1\r\nHost: localhost\r\n\r\n", answer, sizeof answer),
        401);
    close(fd);
    test_server_close(&server);
}

/* Frames that come in one piece with the handshake. */
static void test_early_frames(void **state) {
    (void)state;
    open_server();
    static const char request[] =
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: "
        "13\r\n\r\n\x81\x82\0\0\0\0hi\x81\x82\0\0\0\0ho";
    const int fd = connect_tcp(server.port);
    send_bytes(fd, request, sizeof request - 1);
    assert_true(receive_until(fd, "\r\n\r\n\x81\x02hi\x81\x02ho", answer, sizeof answer));
    close(fd);
    test_server_close(&server);
}

/* A reader that does not read: the queue stays under its limit, the sender is told, and told again when there is room. */
static void test_slow_reader(void **state) {
    (void)state;
    open_server();
    const int fd = open_session();
    send_masked(fd, "flood");
    pause_ms(200);
    const int other = open_session();
    send_masked(other, "not held up");
    assert_int_equal(receive_frame(other, 5000), 1);
    close(other);
    int frames = 0;
    while (receive_frame(fd, 5000) == 1 && frame.size == 65536) frames++;
    assert_true(frames >= 15 && frames < 200);
    assert_int_equal(frame.opcode, 1);
    assert_string_equal((char *)frame.data, "writable");
    assert_true(server.writable_calls >= 1);
    close(fd);
    test_server_close(&server);
}

/* Half-open: no pong, so it is ended; one that answers stays. */
static void test_pings(void **state) {
    (void)state;
    test_server_open(&server, &(struct server_options){.websocket_ping_ms = 200});
    const int dead = open_session(), alive = open_session();
    for (int i = 0; i < 5; i++) {
        assert_int_equal(receive_frame(alive, 1000), 9);
        send_frame(alive, 0x8a, frame.data, frame.size, true);
    }
    assert_true(is_closed(dead, 5000));
    send_masked(alive, "here");
    int opcode = 9;
    while (opcode == 9) opcode = receive_frame(alive, 1000);
    assert_int_equal(opcode, 1);
    close(dead);
    close(alive);
    test_server_close(&server);
}

static void test_shutdown(void **state) {
    (void)state;
    open_server();
    int fds[20];
    for (int i = 0; i < 20; i++) fds[i] = open_session();
    test_server_close(&server);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(close_code(fds[i]), 1001);
        close(fds[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),       cmocka_unit_test(test_frames_refused), cmocka_unit_test(test_message_rate),
        cmocka_unit_test(test_handshakes), cmocka_unit_test(test_early_frames),   cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_pings),      cmocka_unit_test(test_shutdown),       cmocka_unit_test(test_token_argument),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
