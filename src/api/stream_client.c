#include "api/stream_client.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "net/net_test.h"
// cmocka.h needs its standard headers before it
#include <cmocka.h>

char message[1024 * 1024];

int stream_open(int port) {
    char request[512];
    const int fd = connect_tcp(port);
    assert_true(fd >= 0);
    snprintf(request, sizeof request,
             "GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
    send_text(fd, request);
    size_t size = 0;
    while (size < 2000 && (size < 4 || memcmp(message + size - 4, "\r\n\r\n", 4) != 0)) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        if (poll(&waiting, 1, 3000) <= 0 || recv(fd, message + size, 1, 0) <= 0) break;
        size++;
    }
    assert_memory_equal(message, "HTTP/1.1 101", 12);
    return fd;
}

void stream_send(int fd, const char *text) {
    static uint8_t bytes[70000];
    const size_t size = strlen(text);
    size_t at = 0;
    bytes[at++] = 0x81;
    if (size < 126) {
        bytes[at++] = (uint8_t)(128 | size);
    } else {
        bytes[at++] = 128 | 126;
        bytes[at++] = (uint8_t)(size >> 8);
        bytes[at++] = (uint8_t)size;
    }
    memset(bytes + at, 0, 4);
    at += 4;
    memcpy(bytes + at, text, size);
    assert_int_equal(send_bytes(fd, bytes, at + size), 0);
}

static bool take(int fd, void *data, size_t size, int timeout_ms) {
    for (size_t got = 0; got < size;) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        if (poll(&waiting, 1, timeout_ms) <= 0) return false;
        const ssize_t now = recv(fd, (char *)data + got, size - got, 0);
        if (now <= 0) return false;
        got += (size_t)now;
    }
    return true;
}

bool stream_next(int fd, int timeout_ms) {
    uint8_t head[10];
    for (;;) {
        if (!take(fd, head, 2, timeout_ms)) return false;
        size_t size = head[1] & 127;
        if (size == 126) {
            if (!take(fd, head + 2, 2, 1000)) return false;
            size = (size_t)head[2] << 8 | head[3];
        } else if (size == 127) {
            if (!take(fd, head + 2, 8, 1000)) return false;
            size = 0;
            for (int i = 0; i < 8; i++) size = size << 8 | head[2 + i];
        }
        assert_true(size < sizeof message);
        if (!take(fd, message, size, 2000)) return false;
        message[size] = '\0';
        if (head[0] == 0x81 && strstr(message, "\"type\":\"heartbeat\"") == NULL) return true;
    }
}

void expect(int fd, const char *part) {
    if (!stream_next(fd, 10000)) message[0] = '\0';
    and_expect(part);
}

void and_expect(const char *part) {
    if (strstr(message, part) == NULL) print_error("got    %s\nwanted %s\n", message, part);
    assert_non_null(strstr(message, part));
}

void read_cursor(char cursor[static 64]) {
    const char *at = strstr(message, "\"cursor\":\"");
    assert_non_null(at);
    snprintf(cursor, 64, "%.*s", (int)strcspn(at + 10, "\""), at + 10);
}
