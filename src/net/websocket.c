/* Websocket sessions (RFC 6455) on one thread: libmicrohttpd hands the upgraded socket over, wslay reads frames and writes
 * control frames, and texts are framed here, because any thread may send them. Extensions are not offered. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <wslay/wslay.h>

#include "net/server_internal.h"

enum {
    WEBSOCKET_MAGIC = 0x77736f63,
    MESSAGE_MAX = 64 * 1024,
    FRAME_MAX = 16 * 1024 * 1024, /* one text larger than the queue is taken when nothing else waits */
    READ_MAX = 256 * 1024,        /* of one session before others get their turn */
    MESSAGES_PER_SECOND_MAX = 100,
    CLOSE_WAIT_MS = 5000,
    EVENTS_MAX = 64,
};

enum todo { TODO_FLUSH = 1, TODO_WAKE = 2, TODO_CLOSE = 4, TODO_UPGRADED = 8, TODO_ABANDONED = 16 };

struct websocket {
    uint32_t magic;
    struct websocket_loop *loop;
    void *session;
    struct websocket *previous, *next; /* of loop.sockets; the thread's */
    /* the thread's */
    struct MHD_UpgradeResponseHandle *handle;
    wslay_event_context_ptr frames;
    int fd; /* -1 until upgraded */
    /* from libmicrohttpd's thread, handed over with TODO_UPGRADED */
    int given_fd;
    struct MHD_UpgradeResponseHandle *given_handle;
    struct buf early; /* what came with the handshake */
    /* the thread's again */
    size_t early_used, read_now;
    bool gone, ended, wants_write;
    int64_t heard_ms, pinged_ms, closing_since_ms; /* closing_since_ms 0: not closing */
    int64_t second_ms;
    uint32_t second_messages;
    /* guarded by lock */
    pthread_mutex_t lock;
    struct buf out;
    size_t out_sent;
    bool starved, closed;
    uint16_t close_code;
    char close_reason[124];
    /* guarded by the loop's lock */
    unsigned todo;
    struct websocket *todo_next;
};

struct websocket_loop {
    struct server *server;
    const struct websocket_ops *ops;
    void *context;
    struct sys_thread *thread;
    int epoll_fd, event_fd;
    int64_t ping_ms;
    struct websocket *sockets;
    _Atomic uint32_t count;
    atomic_bool stop;
    int64_t swept_ms;
    pthread_mutex_t lock; /* guards what follows */
    bool stopped;
    struct exchange *begins;
    struct websocket *todo_first, *todo_last;
    bool tick_due;
};

static int64_t now_ms(const struct websocket_loop *loop) {
    return sys_monotonic_ns(loop->server->options.sys) / 1000000;
}

static void ring(struct websocket_loop *loop) {
    const uint64_t one = 1;
    (void)!write(loop->event_fd, &one, sizeof one);
}

/* --- handing work to the thread --- */

/* False once the thread has gone. */
static bool put_todo(struct websocket *socket, unsigned what) {
    struct websocket_loop *loop = socket->loop;
    pthread_mutex_lock(&loop->lock);
    if (loop->stopped) {
        pthread_mutex_unlock(&loop->lock);
        return false;
    }
    const bool first = socket->todo == 0, idle = loop->todo_first == NULL;
    socket->todo |= what;
    if (first) {
        socket->todo_next = NULL;
        if (idle)
            loop->todo_first = socket;
        else
            loop->todo_last->todo_next = socket;
        loop->todo_last = socket;
    }
    pthread_mutex_unlock(&loop->lock);
    if (idle) ring(loop);
    return true;
}

static struct websocket *take_todo(struct websocket_loop *loop, unsigned *ret_todo) {
    pthread_mutex_lock(&loop->lock);
    struct websocket *socket = loop->todo_first;
    if (socket != NULL) {
        loop->todo_first = socket->todo_next;
        *ret_todo = socket->todo;
        socket->todo = 0;
    }
    pthread_mutex_unlock(&loop->lock);
    return socket;
}

void websocket_wake(struct websocket *socket) {
    assert(socket->magic == WEBSOCKET_MAGIC);
    (void)put_todo(socket, TODO_WAKE);
}

void websocket_abandon(struct websocket *socket) { (void)put_todo(socket, TODO_ABANDONED); }

void websocket_close(struct websocket *socket, uint16_t code, const char *reason) {
    assert(socket->magic == WEBSOCKET_MAGIC);
    pthread_mutex_lock(&socket->lock);
    const bool first = socket->close_code == 0;
    if (first) {
        socket->close_code = code;
        snprintf(socket->close_reason, sizeof socket->close_reason, "%s", reason);
    }
    pthread_mutex_unlock(&socket->lock);
    if (first) (void)put_todo(socket, TODO_CLOSE);
}

/* --- sending --- */

static size_t queued_bytes(const struct websocket *socket) { return socket->out.size - socket->out_sent; }

static void put_text_frame(struct buf *out, struct slice text) {
    buf_put_u8(out, 0x81);
    if (text.size < 126) {
        buf_put_u8(out, (uint8_t)text.size);
    } else if (text.size <= UINT16_MAX) {
        buf_put_u8(out, 126);
        buf_put_be16(out, (uint16_t)text.size);
    } else {
        buf_put_u8(out, 127);
        buf_put_be64(out, text.size);
    }
    buf_put(out, text);
}

enum err websocket_send(struct websocket *socket, struct slice text) {
    assert(socket->magic == WEBSOCKET_MAGIC);
    if (text.size > FRAME_MAX) return ERR_TOO_LARGE;
    pthread_mutex_lock(&socket->lock);
    const size_t queued = queued_bytes(socket);
    enum err err = ERR_OK;
    if (socket->closed || socket->close_code != 0) {
        err = ERR_CLOSED;
    } else if (queued > 0 && queued + text.size > WEBSOCKET_QUEUE_MAX) {
        socket->starved = true;
        err = ERR_BUSY;
    } else if (buf_reserve(&socket->out, text.size + 10) == NULL) {
        buf_clear(&socket->out); /* without memory the session is of no use: the stream would have a hole */
        socket->out_sent = 0;
        err = ERR_CLOSED;
    } else {
        put_text_frame(&socket->out, text);
    }
    pthread_mutex_unlock(&socket->lock);
    if (err == ERR_OK && queued == 0) (void)put_todo(socket, TODO_FLUSH);
    if (err == ERR_CLOSED) websocket_close(socket, WSLAY_CODE_INTERNAL_SERVER_ERROR, "out of memory");
    return err;
}

size_t websocket_queued(struct websocket *socket) {
    assert(socket->magic == WEBSOCKET_MAGIC);
    pthread_mutex_lock(&socket->lock);
    const size_t queued = queued_bytes(socket);
    pthread_mutex_unlock(&socket->lock);
    return queued;
}

/* --- wslay's callbacks --- */

static ssize_t on_read(wslay_event_context_ptr frames, uint8_t *data, size_t size, int flags, void *context) {
    (void)flags;
    struct websocket *socket = context;
    if (socket->early_used < socket->early.size) {
        const size_t left = socket->early.size - socket->early_used;
        if (size > left) size = left;
        memcpy(data, socket->early.data + socket->early_used, size);
        socket->early_used += size;
        return (ssize_t)size;
    }
    ssize_t got = -1;
    if (socket->read_now < READ_MAX) do
            got = recv(socket->fd, data, size, 0);
        while (got < 0 && errno == EINTR);
    if (got > 0) {
        socket->read_now += (size_t)got;
        return got;
    }
    const bool later = got < 0 && (socket->read_now >= READ_MAX || errno == EAGAIN || errno == EWOULDBLOCK);
    if (!later) socket->gone = true;
    wslay_event_set_error(frames, later ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

/* Called by wslay_event_send with the socket's lock held, so that a control frame never lands inside another frame. */
static ssize_t on_write(wslay_event_context_ptr frames, const uint8_t *data, size_t size, int flags, void *context) {
    (void)flags;
    struct websocket *socket = context;
    buf_put(&socket->out, slice_of(data, size));
    if (buf_err(&socket->out) == ERR_OK) return (ssize_t)size;
    socket->gone = true;
    wslay_event_set_error(frames, WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

static bool too_many_messages(struct websocket *socket, int64_t now) {
    if (now - socket->second_ms >= 1000) {
        socket->second_ms = now;
        socket->second_messages = 0;
    }
    return ++socket->second_messages > MESSAGES_PER_SECOND_MAX;
}

static void on_message(wslay_event_context_ptr frames, const struct wslay_event_on_msg_recv_arg *message,
                       void *context) {
    (void)frames;
    struct websocket *socket = context;
    struct websocket_loop *loop = socket->loop;
    socket->heard_ms = now_ms(loop);
    if (message->opcode != WSLAY_CONNECTION_CLOSE && too_many_messages(socket, socket->heard_ms))
        websocket_close(socket, WSLAY_CODE_POLICY_VIOLATION, "more than 100 messages a second");
    else if (message->opcode == WSLAY_BINARY_FRAME)
        websocket_close(socket, WSLAY_CODE_UNSUPPORTED_DATA, "messages are text");
    else if (message->opcode == WSLAY_TEXT_FRAME && socket->closing_since_ms == 0)
        loop->ops->message(socket->session, socket, slice_of(message->msg, message->msg_length));
}

static const struct wslay_event_callbacks frame_callbacks = {
    .recv_callback = on_read,
    .send_callback = on_write,
    .on_msg_recv_callback = on_message,
};

/* --- life of a session, on the thread --- */

static struct websocket *socket_make(struct websocket_loop *loop) {
    struct websocket *socket = calloc(1, sizeof *socket);
    if (socket == NULL) return NULL;
    socket->magic = WEBSOCKET_MAGIC;
    socket->loop = loop;
    socket->fd = -1;
    if (wslay_event_context_server_init(&socket->frames, &frame_callbacks, socket) != 0) {
        free(socket);
        return NULL;
    }
    wslay_event_config_set_max_recv_msg_length(socket->frames, MESSAGE_MAX);
    pthread_mutex_init(&socket->lock, NULL);
    buf_init(&socket->out, FRAME_MAX + WEBSOCKET_QUEUE_MAX);
    buf_init(&socket->early, MESSAGE_MAX);
    socket->next = loop->sockets;
    if (socket->next != NULL) socket->next->previous = socket;
    loop->sockets = socket;
    atomic_fetch_add_explicit(&loop->count, 1, memory_order_relaxed);
    return socket;
}

static void socket_free(struct websocket *socket) {
    struct websocket_loop *loop = socket->loop;
    if (socket->next != NULL) socket->next->previous = socket->previous;
    if (socket->previous != NULL)
        socket->previous->next = socket->next;
    else
        loop->sockets = socket->next;
    atomic_fetch_sub_explicit(&loop->count, 1, memory_order_relaxed);
    wslay_event_context_free(socket->frames);
    pthread_mutex_destroy(&socket->lock);
    buf_deinit(&socket->out);
    buf_deinit(&socket->early);
    socket->magic = 0;
    free(socket);
}

/* The session is over; the struct goes at the end of the turn, when no event or todo names it any more. */
static void socket_end(struct websocket *socket) {
    if (socket->ended) return;
    socket->ended = true;
    pthread_mutex_lock(&socket->lock);
    socket->closed = true;
    pthread_mutex_unlock(&socket->lock);
    if (socket->session != NULL) socket->loop->ops->close(socket->session);
    socket->session = NULL;
    if (socket->fd >= 0) epoll_ctl(socket->loop->epoll_fd, EPOLL_CTL_DEL, socket->fd, NULL);
    if (socket->handle != NULL) MHD_upgrade_action(socket->handle, MHD_UPGRADE_ACTION_CLOSE);
    socket->handle = NULL;
    socket->fd = -1;
}

static void watch_writes(struct websocket *socket, bool wanted) {
    if (socket->wants_write == wanted || socket->fd < 0) return;
    struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0u), .data.ptr = socket};
    if (epoll_ctl(socket->loop->epoll_fd, EPOLL_CTL_MOD, socket->fd, &event) == 0) socket->wants_write = wanted;
}

static void send_queued(struct websocket *socket) {
    while (queued_bytes(socket) > 0) {
        const ssize_t sent = send(socket->fd, socket->out.data + socket->out_sent, queued_bytes(socket), MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK) socket->gone = true;
        if (sent <= 0) return;
        socket->out_sent += (size_t)sent;
        atomic_fetch_add_explicit(&socket->loop->server->bytes_out, (uint64_t)sent, memory_order_relaxed);
    }
    if (socket->out.capacity > WEBSOCKET_QUEUE_MARK)
        buf_deinit(&socket->out);
    else
        buf_clear(&socket->out);
    socket->out_sent = 0;
}

/* Moves what was sent out of the way once it is most of the buffer, so that a slow reader does not make it grow. */
static void compact(struct websocket *socket) {
    if (socket->out_sent < WEBSOCKET_QUEUE_MARK || socket->out_sent < socket->out.size / 2) return;
    memmove(socket->out.data, socket->out.data + socket->out_sent, queued_bytes(socket));
    socket->out.size -= socket->out_sent;
    socket->out_sent = 0;
}

static void flush(struct websocket *socket) {
    if (socket->ended || socket->fd < 0) return;
    pthread_mutex_lock(&socket->lock);
    if (wslay_event_want_write(socket->frames)) (void)!wslay_event_send(socket->frames);
    send_queued(socket);
    compact(socket);
    const size_t left = queued_bytes(socket);
    const bool fed = socket->starved && left < WEBSOCKET_QUEUE_MARK;
    if (fed) socket->starved = false;
    pthread_mutex_unlock(&socket->lock);
    watch_writes(socket, left > 0);
    const bool over = !wslay_event_want_read(socket->frames);
    if (over && socket->closing_since_ms == 0) socket->closing_since_ms = now_ms(socket->loop);
    if (socket->gone || (over && left == 0))
        socket_end(socket);
    else if (fed && socket->closing_since_ms == 0)
        socket->loop->ops->writable(socket->session, socket);
}

static void read_frames(struct websocket *socket) {
    if (socket->ended || socket->fd < 0) return;
    socket->read_now = 0;
    if (wslay_event_want_read(socket->frames) && wslay_event_recv(socket->frames) != 0) socket->gone = true;
    /* A close frame has been answered, or frames broke the protocol: what is queued goes out, then the end. */
    atomic_fetch_add_explicit(&socket->loop->server->bytes_in, socket->read_now, memory_order_relaxed);
    flush(socket);
}

static void begin_close(struct websocket *socket) {
    if (socket->ended || socket->closing_since_ms != 0) return;
    socket->closing_since_ms = now_ms(socket->loop);
    (void)!wslay_event_queue_close(socket->frames, socket->close_code, (const uint8_t *)socket->close_reason,
                                   strlen(socket->close_reason));
    flush(socket);
}

static void begin_frames(struct websocket *socket) {
    if (socket->ended) {
        MHD_upgrade_action(socket->given_handle, MHD_UPGRADE_ACTION_CLOSE);
        return;
    }
    socket->fd = socket->given_fd;
    socket->handle = socket->given_handle;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = socket};
    const int flags = fcntl(socket->fd, F_GETFL);
    if (flags < 0 || fcntl(socket->fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        epoll_ctl(socket->loop->epoll_fd, EPOLL_CTL_ADD, socket->fd, &event) < 0) {
        socket_end(socket);
        return;
    }
    socket->heard_ms = socket->pinged_ms = now_ms(socket->loop);
    if (socket->early.size > 0)
        read_frames(socket);
    else
        flush(socket);
}

static void run_todo(struct websocket *socket, unsigned todo) {
    if (todo & TODO_UPGRADED) begin_frames(socket);
    if (todo & TODO_ABANDONED) socket_end(socket);
    if ((todo & TODO_WAKE) && !socket->ended && socket->closing_since_ms == 0)
        socket->loop->ops->writable(socket->session, socket);
    if (todo & TODO_CLOSE) begin_close(socket);
    if (todo & (TODO_FLUSH | TODO_WAKE)) flush(socket);
}

/* --- handshakes --- */

/* RFC 6455 section 4.2.1: 16 bytes in base64. */
static bool key_is_good(struct slice key) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (key.size != 24 || memcmp(key.data + 22, "==", 2) != 0) return false;
    for (size_t i = 0; i < 22; i++)
        if (memchr(digits, key.data[i], sizeof digits - 1) == NULL) return false;
    return true;
}

static void answer_begin(struct websocket_loop *loop, struct exchange *exchange) {
    struct http_exchange *http = &exchange->http;
    struct diag diag = {0};
    if (!exchange->websocket_version_known) {
        http_header(http, "Sec-WebSocket-Version", "13");
        http_header(http, "Upgrade", "websocket");
        http_header(http, "Connection", "Upgrade");
        http_put_error(&http->answer, ERR_UNKNOWN, "websockets of version 13 are understood", "");
        http_reply(http, 426, "application/json");
        return;
    }
    if (!key_is_good(exchange->websocket_key)) {
        http_put_error(&http->answer, ERR_SYNTAX, "Sec-WebSocket-Key is 16 bytes in base64: 22 digits and \"==\"",
                       "Sec-WebSocket-Key");
        http_reply(http, 400, "application/json");
        return;
    }
    if (loop->stop || atomic_load_explicit(&loop->count, memory_order_relaxed) >= SERVER_WEBSOCKETS_MAX) {
        http_reply_error(http, ERR_BUSY, NULL);
        return;
    }
    struct websocket *socket = socket_make(loop);
    if (socket == NULL) {
        http_reply_error(http, ERR_NO_MEMORY, NULL);
        return;
    }
    socket->session = loop->ops->open(loop->context, socket, http->path, http->arguments, http->argument_count, &diag);
    if (socket->session == NULL) {
        socket_end(socket);
        if (diag.err == ERR_OK) (void)diag_set(&diag, ERR_NOT_FOUND, "no websocket here");
        http_reply_error(http, diag.err, &diag);
        return;
    }
    exchange->websocket = socket;
    http_reply(http, MHD_HTTP_SWITCHING_PROTOCOLS, "");
}

void websocket_begin(struct websocket_loop *loop, struct exchange *exchange) {
    struct diag diag = {0};
    if (loop->ops == NULL || exchange->http.method != HTTP_GET) {
        http_reply_error(&exchange->http, diag_set(&diag, ERR_NOT_FOUND, "no websocket here"), &diag);
        return;
    }
    pthread_mutex_lock(&loop->lock);
    const bool stopped = atomic_load(&loop->stop);
    if (!stopped) {
        exchange->next = loop->begins;
        loop->begins = exchange;
    }
    pthread_mutex_unlock(&loop->lock);
    if (stopped)
        http_reply_error(&exchange->http, ERR_BUSY, NULL);
    else
        ring(loop);
}

static void on_upgrade(void *context, struct MHD_Connection *mhd, void *request, const char *early, size_t early_size,
                       MHD_socket fd, struct MHD_UpgradeResponseHandle *handle) {
    (void)mhd, (void)request;
    struct exchange *exchange = context;
    struct websocket *socket = exchange->websocket;
    exchange->websocket = NULL;
    if (socket != NULL) {
        socket->given_fd = fd;
        socket->given_handle = handle;
        buf_put(&socket->early, slice_of(early, early_size));
    }
    if (socket == NULL || !put_todo(socket, TODO_UPGRADED)) MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE);
}

static bool accept_key(struct slice key, char text[static 32]) {
    static const char salt[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 section 1.3 */
    char joined[24 + sizeof salt];
    uint8_t digest[20];
    if (key.size != 24) return false;
    memcpy(joined, key.data, key.size);
    memcpy(joined + key.size, salt, sizeof salt - 1);
    if (gnutls_hash_fast(GNUTLS_DIG_SHA1, joined, key.size + sizeof salt - 1, digest) != 0) return false;
    gnutls_datum_t encoded = {NULL, 0};
    const gnutls_datum_t plain = {digest, sizeof digest};
    if (gnutls_base64_encode2(&plain, &encoded) != 0) return false;
    const bool fits = encoded.size < 32;
    if (fits) memcpy(text, encoded.data, encoded.size);
    if (fits) text[encoded.size] = '\0';
    gnutls_free(encoded.data);
    return fits;
}

struct MHD_Response *websocket_response(struct exchange *exchange) {
    char accept[32];
    if (!accept_key(exchange->websocket_key, accept)) return NULL;
    struct MHD_Response *response = MHD_create_response_for_upgrade(on_upgrade, exchange);
    if (response == NULL) return NULL;
    MHD_add_response_header(response, "Upgrade", "websocket");
    MHD_add_response_header(response, "Sec-WebSocket-Accept", accept);
    return response;
}

/* --- the thread --- */

static void run_begins(struct websocket_loop *loop) {
    for (;;) {
        pthread_mutex_lock(&loop->lock);
        struct exchange *exchange = loop->begins;
        if (exchange != NULL) loop->begins = exchange->next;
        pthread_mutex_unlock(&loop->lock);
        if (exchange == NULL) return;
        answer_begin(loop, exchange);
    }
}

static void run_todos(struct websocket_loop *loop) {
    unsigned todo;
    for (struct websocket *socket; (socket = take_todo(loop, &todo)) != NULL;) run_todo(socket, todo);
}

static void run_tick(struct websocket_loop *loop) {
    pthread_mutex_lock(&loop->lock);
    const bool due = loop->tick_due;
    loop->tick_due = false;
    pthread_mutex_unlock(&loop->lock);
    if (due && loop->ops->tick != NULL) loop->ops->tick(loop->context);
}

static void sweep_socket(struct websocket *socket, int64_t now) {
    const int64_t ping_ms = socket->loop->ping_ms;
    if (socket->ended || socket->fd < 0) return;
    if (socket->closing_since_ms != 0) {
        if (now - socket->closing_since_ms >= CLOSE_WAIT_MS) socket_end(socket);
        return;
    }
    if (now - socket->heard_ms >= 2 * ping_ms) {
        socket_end(socket);
        return;
    }
    if (now - socket->pinged_ms < ping_ms) return;
    socket->pinged_ms = now;
    const struct wslay_event_msg ping = {.opcode = WSLAY_PING, .msg = NULL, .msg_length = 0};
    (void)!wslay_event_queue_msg(socket->frames, &ping);
    flush(socket);
}

static void sweep(struct websocket_loop *loop) {
    const int64_t now = now_ms(loop);
    const int64_t every_ms = loop->ping_ms < 4000 ? loop->ping_ms / 4 : 1000;
    if (now - loop->swept_ms < every_ms) return;
    loop->swept_ms = now;
    for (struct websocket *socket = loop->sockets; socket != NULL; socket = socket->next) sweep_socket(socket, now);
}

static void bury(struct websocket_loop *loop) {
    for (struct websocket *socket = loop->sockets, *next; socket != NULL; socket = next) {
        next = socket->next;
        if (!socket->ended) continue;
        pthread_mutex_lock(&loop->lock);
        const bool named = socket->todo != 0;
        pthread_mutex_unlock(&loop->lock);
        if (!named) socket_free(socket);
    }
}

static void stop_sessions(struct websocket_loop *loop) {
    for (struct websocket *socket = loop->sockets; socket != NULL; socket = socket->next) {
        if (socket->ended) continue;
        websocket_close(socket, WSLAY_CODE_GOING_AWAY, "the server is shutting down");
        if (socket->fd >= 0) begin_close(socket);
        socket_end(socket);
    }
}

static void run_events(struct websocket_loop *loop) {
    struct epoll_event events[EVENTS_MAX];
    const int count = epoll_wait(loop->epoll_fd, events, EVENTS_MAX, 1000);
    for (int i = 0; i < count; i++) {
        struct websocket *socket = events[i].data.ptr;
        if (socket == NULL) {
            uint64_t rung;
            (void)!read(loop->event_fd, &rung, sizeof rung);
            continue;
        }
        assert(socket->magic == WEBSOCKET_MAGIC);
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_frames(socket);
        if (events[i].events & EPOLLOUT) flush(socket);
    }
}

static void *loop_main(void *argument) {
    struct websocket_loop *loop = argument;
    sys_thread_take_turns();
    while (!atomic_load(&loop->stop)) {
        run_events(loop);
        run_begins(loop);
        run_todos(loop);
        run_tick(loop);
        sweep(loop);
        bury(loop);
    }
    run_begins(loop);
    run_todos(loop);
    stop_sessions(loop);
    return NULL;
}

void websocket_loop_tick(struct websocket_loop *loop) {
    if (loop->ops == NULL) return;
    pthread_mutex_lock(&loop->lock);
    loop->tick_due = true;
    pthread_mutex_unlock(&loop->lock);
    ring(loop);
}

uint32_t websocket_loop_count(const struct websocket_loop *loop) {
    return atomic_load_explicit(&loop->count, memory_order_relaxed);
}

enum err websocket_loop_open(struct server *server, struct diag *diag, struct websocket_loop **ret_loop) {
    struct websocket_loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for websockets");
    loop->server = server;
    loop->ops = server->options.websocket;
    loop->context = server->options.websocket_context;
    loop->ping_ms = server->options.websocket_ping_ms;
    pthread_mutex_init(&loop->lock, NULL);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    enum err err = ERR_OK;
    if (loop->epoll_fd < 0 || loop->event_fd < 0 ||
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->event_fd, &event) < 0)
        err = diag_set(diag, ERR_LIMIT, "no descriptors for websockets: %s", strerror(errno));
    const struct sys *sys = server->options.sys;
    if (err == ERR_OK && loop->ops != NULL)
        err = sys->thread_start(sys->context, "websocket", loop_main, loop, &loop->thread);
    *ret_loop = loop;
    if (err != ERR_OK) {
        websocket_loop_free(ret_loop);
        return err;
    }
    return ERR_OK;
}

void websocket_loop_stop(struct websocket_loop *loop) {
    pthread_mutex_lock(&loop->lock);
    atomic_store(&loop->stop, true);
    pthread_mutex_unlock(&loop->lock);
    ring(loop);
    const struct sys *sys = loop->server->options.sys;
    if (loop->thread != NULL) sys->thread_join(sys->context, &loop->thread);
    pthread_mutex_lock(&loop->lock);
    loop->stopped = true;
    pthread_mutex_unlock(&loop->lock);
    run_todos(loop); /* every session has ended: this closes what was upgraded at the last moment */
}

void websocket_loop_free(struct websocket_loop **loop) {
    if (*loop == NULL) return;
    while ((*loop)->sockets != NULL) socket_free((*loop)->sockets);
    if ((*loop)->epoll_fd >= 0) close((*loop)->epoll_fd);
    if ((*loop)->event_fd >= 0) close((*loop)->event_fd);
    pthread_mutex_destroy(&(*loop)->lock);
    free(*loop);
    *loop = NULL;
}
