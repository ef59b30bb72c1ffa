/* What still comes of a request that was refused.
 *
 * A connection that is closed with bytes unread is reset, and a reset may take the answer with it before the client has looked:
 * one that sends all of its body first would see a broken connection instead of a 413. So the descriptor outlives what
 * libmicrohttpd does with it: its sending side is closed, what comes is dropped without a look at it, and the end is when the
 * client has closed, was silent for LINGER_SILENT_MS, or has had its time or its bytes. The loop's thread alone. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/server_internal.h"

enum {
    LINGER_SILENT_MS = 5000,
    LINGER_BODIES = 64, /* as many bytes as this many bodies may have */
    LINGER_PIECE_BYTES = 64 * 1024,
};

static uint32_t tick_now(const struct server_loop *loop) {
    return atomic_load_explicit(&loop->server->tick, memory_order_relaxed);
}

static void end(struct server_loop *loop, uint32_t at) {
    assert(at < loop->lingering_count);
    const uint32_t last = --loop->lingering_count;
    close(loop->waiting[LOOP_OWN_FDS + at].fd);
    loop->waiting[LOOP_OWN_FDS + at] = loop->waiting[LOOP_OWN_FDS + last];
    loop->lingering[at] = loop->lingering[last];
}

static uint32_t oldest(const struct server_loop *loop) {
    const uint32_t now_tick = tick_now(loop);
    uint32_t found = 0;
    for (uint32_t i = 1; i < loop->lingering_count; i++)
        if (now_tick - loop->lingering[i].since_tick > now_tick - loop->lingering[found].since_tick) found = i;
    return found;
}

void linger_begin(struct server_loop *loop, int fd) {
    if (loop->lingering_max == 0) return;
    if (loop->lingering_count == loop->lingering_max) end(loop, oldest(loop)); /* it has had the most time */
    const int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0) return;
    (void)shutdown(own, SHUT_WR);
    const uint32_t at = loop->lingering_count++, now_tick = tick_now(loop);
    loop->waiting[LOOP_OWN_FDS + at] = (struct pollfd){.fd = own, .events = POLLIN};
    loop->lingering[at] = (struct lingering){.since_tick = now_tick, .heard_tick = now_tick};
}

/* False: it is at its end. */
static bool drop_some(struct lingering *lingering, int fd, uint32_t now_tick) {
    uint8_t piece[LINGER_PIECE_BYTES]; /* TCP drops the bytes in place, a Unix socket copies them */
    const ssize_t dropped = recv(fd, piece, sizeof piece, MSG_DONTWAIT | MSG_TRUNC);
    if (dropped == 0 || (dropped < 0 && errno != EAGAIN && errno != EINTR)) return false;
    if (dropped > 0) {
        lingering->heard_tick = now_tick;
        lingering->bytes += (uint64_t)dropped;
    }
    return true;
}

void linger_turn(struct server_loop *loop) {
    const struct server_options *options = &loop->server->options;
    const uint64_t bytes_max = (uint64_t)LINGER_BODIES * options->body_max_bytes;
    const uint32_t now_tick = tick_now(loop);
    for (uint32_t i = loop->lingering_count; i-- > 0;) { /* the last one takes the place of one that ends */
        const struct pollfd *waiting = &loop->waiting[LOOP_OWN_FDS + i];
        struct lingering *lingering = &loop->lingering[i];
        if ((waiting->revents != 0 && !drop_some(lingering, waiting->fd, now_tick)) || lingering->bytes > bytes_max ||
            now_tick - lingering->since_tick > options->linger_ms / SERVER_TICK_MS ||
            now_tick - lingering->heard_tick > LINGER_SILENT_MS / SERVER_TICK_MS)
            end(loop, i);
    }
}

void linger_stop(struct server_loop *loop) {
    while (loop->lingering_count > 0) end(loop, loop->lingering_count - 1);
    loop->lingering_max = 0;
}
