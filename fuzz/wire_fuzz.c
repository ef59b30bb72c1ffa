/* Bytes on a real connection to the whole engine on loopback: request heads, framing and bodies as they come, and, where the
 * input begins with "W", messages of WS /v1/stream, one a line. Whatever came before, the server goes on. */
#include <arpa/inet.h>
#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/engine.h"
#include "scratch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ANSWER_MAX = 1 << 20, WAIT_MS = 20, ASK_EVERY = 64 };

static struct {
    char folder[64];
    struct engine *engine;
    uint16_t port;
    uint64_t runs;
    uint8_t answer[ANSWER_MAX + 1];
} all;

static void clean(void) {
    engine_close(&all.engine);
    scratch_clean(all.folder);
}

static void must(enum err err, const struct diag *diag) {
    if (err != ERR_OK) fprintf(stderr, "%s: %s\n", diag->where, diag->what);
    assert(err == ERR_OK);
}

static void open_engine(void) {
    static struct config config;
    struct diag diag = {0};
    scratch_make(all.folder);
    config_defaults(&config);
    must(config_set(&config, "data", all.folder, &diag), &diag);
    must(config_set(&config, "http.listen", "127.0.0.1:0", &diag), &diag);
    must(config_set(&config, "log.segment", "1MiB", &diag), &diag);
    must(engine_open(sys_real(), &config, ENGINE_SERVE, &diag, &all.engine), &diag);
    must(engine_start(all.engine, &diag), &diag);
    uint64_t port = 0;
    bool told = slice_to_u64(slice_text(strrchr(engine_address(all.engine), ':') + 1), &port);
    assert(told);
    all.port = (uint16_t)port;
    atexit(clean);
}

static int reach(void) {
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(all.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert(fd >= 0);
    int err = connect(fd, (const struct sockaddr *)&address, sizeof address);
    assert(err == 0);
    return fd;
}

static void put(int fd, const void *data, size_t size) {
    for (size_t at = 0; at < size;) { /* Whoever has been refused may have closed. */
        ssize_t sent = send(fd, (const uint8_t *)data + at, size - at, MSG_NOSIGNAL);
        if (sent <= 0) return;
        at += (size_t)sent;
    }
}

/* Until the other side is done, or silent. */
static size_t take(int fd) {
    size_t size = 0;
    while (size < ANSWER_MAX) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        if (poll(&waiting, 1, WAIT_MS) <= 0) break;
        ssize_t got = recv(fd, all.answer + size, ANSWER_MAX - size, 0);
        if (got <= 0) break;
        size += (size_t)got;
    }
    all.answer[size] = 0;
    return size;
}

static void check_alive(void) {
    int fd = reach();
    static const char ask[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    put(fd, ask, sizeof ask - 1);
    size_t size = 0;
    for (int tries = 0; tries < 500 && size == 0; tries++) size = take(fd); /* up to ten seconds */
    close(fd);
    assert(size > 12 && memcmp(all.answer, "HTTP/1.1 200", 12) == 0);
}

static void put_frame(int fd, unsigned first, struct slice text) {
    uint8_t head[8] = {(uint8_t)first, (uint8_t)(128 | (text.size < 126 ? text.size : 126))};
    size_t size = 2;
    if (text.size >= 126) {
        head[size++] = (uint8_t)(text.size >> 8);
        head[size++] = (uint8_t)text.size;
    }
    put(fd, head, size);
    put(fd, "\0\0\0\0", 4); /* a mask that changes nothing */
    put(fd, text.data, text.size);
}

static void talk(int fd, struct slice lines) {
    static const char ask[] =
        "GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    put(fd, ask, sizeof ask - 1);
    for (unsigned count = 0; lines.size > 0 && count < 50; count++) {
        const uint8_t *end = memchr(lines.data, '\n', lines.size);
        size_t size = end == NULL ? lines.size : (size_t)(end - lines.data);
        if (size > 60000) break;
        put_frame(fd, 0x81, slice_of(lines.data, size));
        size += end != NULL;
        lines = slice_of(lines.data + size, lines.size - size);
    }
    put_frame(fd, 0x88, SLICE("\x03\xe8"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    if (all.engine == NULL) open_engine();
    int fd = reach();
    if (data[0] == 'W')
        talk(fd, slice_of(data + 1, size - 1));
    else
        put(fd, data, size);
    shutdown(fd, SHUT_WR);
    size_t got = take(fd);
    close(fd);
    if (got >= 9) assert(memcmp(all.answer, "HTTP/1.", 7) == 0);
    if (++all.runs % ASK_EVERY == 0) check_alive();
    return 0;
}
