/* Deadlines: libmicrohttpd's own time-out sees only inactivity, which a client that drips a byte now and then never shows,
 * and none at all while a connection is suspended. */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>

#include "net/server_internal.h"

enum { IDLE_GRACE_MS = 500, BODY_GRACE_MS = 5000, SEND_GRACE_MS = 30000, SEND_MIN_RATE = 16 * 1024 };

static uint64_t received_bytes(const struct connection *connection) {
    struct tcp_info info;
    socklen_t size = sizeof info;
    if (connection->local || getsockopt(connection->fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0) return 0;
    return info.tcpi_bytes_received;
}

/* libmicrohttpd writes nothing while it waits for a request, so the answer cannot land inside another. */
static void send_late(struct connection *connection) {
    struct buf text;
    if (!connection->local && server_secrets(connection->server)->chain != NULL) return; /* the session is its loop's */
    buf_init(&text, ANSWER_WHOLE_BYTES);
    answer_put_whole(&text, 408, "the request came too slowly", true);
    (void)!send(connection->fd, text.data, text.size, MSG_DONTWAIT | MSG_NOSIGNAL);
    buf_deinit(&text);
}

static void cut(struct connection *connection, uint32_t doing) {
    if (!atomic_compare_exchange_strong(&connection->doing, &doing, DOING_EXPIRED)) return;
    const bool waiting = doing == DOING_WAITING && !connection->served && received_bytes(connection) > 0;
    if (waiting || doing == DOING_BODY) send_late(connection);
    atomic_fetch_add_explicit(&connection->server->refused, 1, memory_order_relaxed);
    (void)shutdown(connection->fd, SHUT_RDWR);
}

static void expire(struct connection *connection) {
    struct exchange *exchange = atomic_load_explicit(&connection->current, memory_order_relaxed);
    struct server *server = connection->server;
    uint32_t phase = PHASE_SUSPENDED;
    if (exchange == NULL || !atomic_compare_exchange_strong(&exchange->phase, &phase, PHASE_EXPIRED)) return;
    loop_resume(exchange);
    atomic_fetch_sub_explicit(&server->unanswered, 1, memory_order_release);
}

/* A client may open connections ahead of its requests: until the first byte they are idle. */
static uint64_t waiting_ms(const struct connection *connection, uint64_t age_ms) {
    const struct server_options *options = &connection->server->options;
    const bool in_head = !connection->served && age_ms > options->head_timeout_ms && received_bytes(connection) > 0;
    return in_head ? options->head_timeout_ms : options->idle_timeout_ms;
}

/* libmicrohttpd takes a read that is shorter than its buffer for the last of what there is, and its epoll tells of an end once:
 * one that was told of together with the bytes before it is never read. Closing the receiving side, which is at its end anyway,
 * makes the epoll tell of it again, and harms no answer that is being sent. */
static void notice_end(const struct connection *connection) {
    char byte;
    if (recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) (void)shutdown(connection->fd, SHUT_RD);
}

static void check(struct connection *connection, uint32_t now_tick) {
    const struct server_options *options = &connection->server->options;
    const uint32_t doing = atomic_load_explicit(&connection->doing, memory_order_relaxed);
    const uint32_t since = atomic_load_explicit(&connection->since_tick, memory_order_relaxed);
    const uint64_t progress = atomic_load_explicit(&connection->progress, memory_order_relaxed);
    const uint64_t age_ms = (uint64_t)(now_tick - since) * SERVER_TICK_MS;
    if ((int32_t)(now_tick - since) < 0) return;
    if (doing == DOING_BODY || (doing == DOING_WAITING && age_ms >= IDLE_GRACE_MS)) notice_end(connection);
    switch (doing) {
        case DOING_WAITING:
            if (age_ms > waiting_ms(connection, age_ms)) cut(connection, doing);
            break;
        case DOING_BODY:
            if (age_ms > BODY_GRACE_MS && progress * 1000 < (age_ms - BODY_GRACE_MS) * options->body_min_rate)
                cut(connection, doing);
            break;
        case DOING_HANDLING:
            if (age_ms > options->answer_timeout_ms) expire(connection);
            break;
        case DOING_SENDING:
            if (age_ms > SEND_GRACE_MS + progress * 1000 / SEND_MIN_RATE) cut(connection, doing);
            break;
        default: break;
    }
}

static void check_all(struct server *server) {
    const uint32_t now_tick = atomic_load_explicit(&server->tick, memory_order_relaxed);
    pthread_mutex_lock(&server->lock);
    for (struct connection *connection = server->connections; connection != NULL; connection = connection->next)
        check(connection, now_tick);
    pthread_mutex_unlock(&server->lock);
}

void deadline_expire_all(struct server *server) {
    pthread_mutex_lock(&server->lock);
    for (struct connection *connection = server->connections; connection != NULL; connection = connection->next)
        expire(connection);
    pthread_mutex_unlock(&server->lock);
}

static void sleep_ms(int64_t ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&time, &time) < 0) continue;
}

void *deadline_main(void *context) {
    struct server *server = context;
    while (!atomic_load(&server->stop)) {
        sleep_ms(SERVER_TICK_MS);
        const uint32_t tick = atomic_fetch_add_explicit(&server->tick, 1, memory_order_relaxed);
        websocket_loop_tick(server->websockets);
        if (tick % 5 == 0) check_all(server);
    }
    return NULL;
}
