#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "net/server_internal.h"

/* --- connections --- */

static void describe_peer(const struct sockaddr *address, struct connection *connection) {
    char text[INET6_ADDRSTRLEN] = "";
    const void *bytes = NULL;
    if (address != NULL && address->sa_family == AF_INET)
        bytes = &((const struct sockaddr_in *)(const void *)address)->sin_addr;
    if (address != NULL && address->sa_family == AF_INET6)
        bytes = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    connection->local = bytes == NULL;
    if (bytes != NULL && inet_ntop(address->sa_family, bytes, text, sizeof text) != NULL)
        memcpy(connection->peer, text, strlen(text) + 1);
}

static void connection_started(struct server_loop *loop, struct MHD_Connection *mhd, void **context) {
    struct server *server = loop->server;
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) return; /* request_begin finds none and gives up */
    connection->server = server;
    connection->loop = loop;
    connection->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    const union MHD_ConnectionInfo *address = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *from = address != NULL ? address->client_addr : NULL;
    describe_peer(from, connection);
    connection_does(connection, DOING_WAITING, 0);
    const int on = 1;
    if (!connection->local) (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    bool full = false;
    pthread_mutex_lock(&server->lock);
    connection->address = address_enter(server, from, &full);
    connection->next = server->connections;
    if (connection->next != NULL) connection->next->previous = connection;
    server->connections = connection;
    pthread_mutex_unlock(&server->lock);
    const uint32_t before = atomic_fetch_add_explicit(&server->connection_count, 1, memory_order_relaxed);
    if (full) connection->refusal = 429;
    if (before >= server->options.connections_max && !connection->local) connection->refusal = 503;
    *context = connection;
}

/* The client has not closed, and may not have sent or not have seen everything yet. */
static bool is_still_sent(const struct connection *connection) {
    const uint32_t doing = atomic_load_explicit(&connection->doing, memory_order_relaxed);
    char byte;
    if (doing == DOING_EXPIRED || doing == DOING_UPGRADED) return false;
    const ssize_t seen = recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return seen > 0 || (seen < 0 && errno == EAGAIN && connection->unheard);
}

static void connection_closed(struct server_loop *loop, void **context) {
    struct server *server = loop->server;
    struct connection *connection = *context;
    if (connection == NULL) return;
    if (is_still_sent(connection)) linger_begin(loop, connection->fd);
    pthread_mutex_lock(&server->lock);
    address_leave(server, connection->address);
    if (connection->next != NULL) connection->next->previous = connection->previous;
    if (connection->previous != NULL)
        connection->previous->next = connection->next;
    else
        server->connections = connection->next;
    pthread_mutex_unlock(&server->lock);
    atomic_fetch_sub_explicit(&server->connection_count, 1, memory_order_relaxed);
    free(connection);
    *context = NULL;
}

void request_connection(void *context, struct MHD_Connection *mhd, void **connection,
                        enum MHD_ConnectionNotificationCode code) {
    struct server_loop *loop = context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        connection_started(loop, mhd, connection);
    else
        connection_closed(loop, connection);
}

/* --- handing over to the handler --- */

static const char too_much[] = "too much is being received at once";

static bool body_pad(struct exchange *exchange) {
    uint8_t *padding = buf_reserve(&exchange->body, SERVER_PADDING_BYTES);
    if (padding == NULL) return false;
    memset(padding, 0, SERVER_PADDING_BYTES);
    exchange->http.body = buf_slice(&exchange->body);
    return true;
}

/* The handler has returned without an answer, or one is coming this moment from another thread. */
static enum MHD_Result suspend(struct exchange *exchange) {
    struct server *server = exchange->server;
    pthread_mutex_lock(&server->lock);
    atomic_store_explicit(&exchange->connection->current, exchange, memory_order_relaxed);
    pthread_mutex_unlock(&server->lock);
    atomic_fetch_add_explicit(&server->unanswered, 1, memory_order_relaxed);
    MHD_suspend_connection(exchange->mhd);
    uint32_t phase = PHASE_HANDLED;
    if (atomic_compare_exchange_strong(&exchange->phase, &phase, PHASE_SUSPENDED)) return MHD_YES;
    assert(phase == PHASE_REPLIED);
    atomic_fetch_sub_explicit(&server->unanswered, 1, memory_order_relaxed);
    MHD_resume_connection(exchange->mhd);
    return MHD_YES;
}

static enum MHD_Result dispatch(struct exchange *exchange) {
    struct server *server = exchange->server;
    if (!body_pad(exchange)) return answer_refuse(exchange, 503, too_much);
    if (atomic_load_explicit(&server->closing, memory_order_relaxed))
        return answer_refuse(exchange, 503, "the server is shutting down");
    connection_does(exchange->connection, DOING_HANDLING, 0);
    atomic_fetch_add_explicit(&server->requests, 1, memory_order_relaxed);
    atomic_store_explicit(&exchange->owners, 2, memory_order_relaxed);
    atomic_store_explicit(&exchange->phase, PHASE_HANDLED, memory_order_relaxed);
    if (exchange->upgrades)
        websocket_begin(server->websockets, exchange);
    else
        server->options.handler->handle(server->options.handler, &exchange->http);
    if (atomic_load_explicit(&exchange->phase, memory_order_acquire) == PHASE_REPLIED) return answer_send(exchange);
    return suspend(exchange);
}

/* --- libmicrohttpd's calls --- */

/* libmicrohttpd would note each argument of a target in memory that the rest of the request needs, and where that ends it loses
 * the request. It looks for them behind the first '?', once this has returned: there it finds none. That may be behind a NUL;
 * the version ends the line. */
static void hide_arguments(const char *target) {
    for (const char *at = target;; at += strlen(at) + 1) {
        char *mark = strchr(at, '?');
        if (mark != NULL) mark[1] = '\0';
        if (mark != NULL || (strlen(at) == strlen("HTTP/1.1") && strncmp(at, "HTTP/", 5) == 0)) return;
    }
}

void *request_begin(void *context, const char *target, struct MHD_Connection *mhd) {
    struct connection *connection = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    if (connection == NULL) return NULL;
    struct server_loop *loop = context;
    struct exchange *exchange = exchange_take(loop->server);
    if (exchange == NULL) return NULL;
    exchange->loop = loop;
    exchange->connection = connection;
    exchange->mhd = mhd;
    memcpy(exchange->peer, connection->peer, sizeof exchange->peer);
    exchange->http.peer = slice_text(exchange->peer);
    exchange->http.local = connection->local;
    exchange->target_end = target + strlen(target);
    exchange->target_err = http_target_parse(&exchange->http.arena, slice_text(target), NULL, &exchange->http.path,
                                             &exchange->http.arguments, &exchange->http.argument_count);
    hide_arguments(target);
    request_head_begin(mhd);
    connection->receiving = exchange;
    return exchange;
}

static enum http_method read_method(const char *text) {
    static const char *const names[] = {[HTTP_GET] = "GET", [HTTP_HEAD] = "HEAD",     [HTTP_POST] = "POST",
                                        [HTTP_PUT] = "PUT", [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS"};
    for (uint32_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], text) == 0) return (enum http_method)i;
    return HTTP_OTHER;
}

/* Fields point into the connection's memory, which lives as long as the request is with libmicrohttpd; a request that
 * expired lives longer, so what a handler sees is copied. */
static bool keep_fields(struct exchange *exchange, const struct request_head *head, const char *version) {
    struct http_exchange *http = &exchange->http;
    const struct {
        struct slice from, *to;
    } kept[] = {{head->idempotency_key, &http->idempotency_key},
                {head->content_type, &http->content_type},
                {head->accept, &http->accept},
                {head->if_none_match, &http->if_none_match},
                {head->websocket_key, &exchange->websocket_key}};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        if (kept[i].from.data == NULL) continue;
        *kept[i].to =
            kept[i].from.size > 0 ? arena_copy(&http->arena, kept[i].from) : SLICE(""); /* empty is not absent */
        if (kept[i].to->data == NULL) return false;
    }
    /* HTTP/1.0 knows no upgrade (RFC 9110, section 7.8). */
    exchange->upgrades = slice_equal_nocase(head->upgrade, SLICE("websocket")) && strcmp(version, "HTTP/1.0") != 0;
    exchange->websocket_version_known = slice_equal(head->websocket_version, SLICE("13"));
    return true;
}

static unsigned check_share(struct connection *connection, const char **ret_reason) {
    *ret_reason = connection->refusal == 503 ? "the server has all the connections it takes"
                                             : "this address has all the connections it may have";
    if (connection->refusal != 0) return connection->refusal;
    *ret_reason = "this address asks too often";
    return address_admits(connection->server, connection->address) ? 0 : 429;
}

/* Whether the body that is announced would fit what may be held at once. */
static bool has_room(const struct server *server, struct slice content_length) {
    uint64_t length = 0;
    if (!slice_to_u64(content_length, &length) || length <= 2 * SERVER_KEEP_BYTES) return true;
    return atomic_load_explicit(&server->memory_bytes, memory_order_relaxed) + length <=
           server->options.memory_max_bytes;
}

static enum MHD_Result take_head(struct exchange *exchange, const char *method, const char *version) {
    uint32_t doing = DOING_WAITING;
    if (!atomic_compare_exchange_strong(&exchange->connection->doing, &doing, DOING_HANDLING)) return MHD_NO;
    struct request_head head;
    request_head_read(exchange->mhd, &head);
    exchange->http.method = read_method(method);
    const char *reason = NULL;
    unsigned status = check_share(exchange->connection, &reason);
    if (status == 0) status = request_head_check(exchange, &head, method, version, &reason);
    /* Beside a large head libmicrohttpd may have no memory left for that of an answer. */
    if (status != 0 && (head.too_large || head.folded)) return answer_early(exchange, status, reason);
    if (status != 0) return answer_refuse(exchange, status, reason);
    if (head.content_length_count > 0 && !has_room(exchange->server, head.content_length))
        return answer_refuse(exchange, 503, too_much);
    if (!keep_fields(exchange, &head, version)) return MHD_NO;
    atomic_store_explicit(&exchange->phase, PHASE_BODY, memory_order_relaxed);
    if (head.content_length_count + head.transfer_encoding_count > 0)
        connection_does(exchange->connection, DOING_BODY, 0);
    return MHD_YES;
}

static enum MHD_Result take_body(struct exchange *exchange, const char *data, size_t size) {
    struct server *server = exchange->server;
    atomic_fetch_add_explicit(&exchange->connection->progress, size, memory_order_relaxed);
    atomic_fetch_add_explicit(&server->bytes_in, size, memory_order_relaxed);
    buf_put(&exchange->body, slice_of(data, size));
    enum err err = buf_err(&exchange->body);
    if (exchange->body.size > server->options.body_max_bytes) err = ERR_TOO_LARGE;
    if (err == ERR_OK && exchange_account(exchange)) return MHD_YES;
    exchange_let_go(exchange);
    return err == ERR_TOO_LARGE ? answer_early(exchange, 413, "the body is larger than this server takes")
                                : answer_early(exchange, 503, too_much);
}

enum MHD_Result request_handle(void *context, struct MHD_Connection *mhd, const char *url, const char *method,
                               const char *version, const char *data, size_t *data_size, void **ret_context) {
    (void)context, (void)mhd, (void)url;
    struct exchange *exchange = *ret_context;
    if (exchange == NULL) return MHD_NO;
    assert(exchange->magic == EXCHANGE_MAGIC);
    switch (atomic_load_explicit(&exchange->phase, memory_order_acquire)) {
        case PHASE_HEAD: return take_head(exchange, method, version);
        case PHASE_BODY: break;
        case PHASE_REPLIED: return answer_send(exchange);
        case PHASE_EXPIRED: return answer_expired(exchange);
        default: return MHD_NO;
    }
    if (*data_size == 0) return dispatch(exchange);
    const size_t size = *data_size;
    *data_size = 0;
    return take_body(exchange, data, size);
}

void request_completed(void *context, struct MHD_Connection *mhd, void **ret_context,
                       enum MHD_RequestTerminationCode code) {
    (void)mhd, (void)code;
    struct server *server = ((struct server_loop *)context)->server;
    struct exchange *exchange = *ret_context;
    *ret_context = NULL;
    if (exchange == NULL) return;
    struct connection *connection = exchange->connection;
    connection->receiving = NULL;
    if (atomic_load_explicit(&connection->current, memory_order_relaxed) != NULL) {
        pthread_mutex_lock(&server->lock);
        atomic_store_explicit(&connection->current, NULL, memory_order_relaxed);
        pthread_mutex_unlock(&server->lock);
    }
    if (atomic_load_explicit(&exchange->phase, memory_order_acquire) == PHASE_REPLIED && exchange->websocket != NULL)
        websocket_abandon(exchange->websocket);
    connection->served = true;
    connection->unheard = atomic_load_explicit(&exchange->phase, memory_order_relaxed) < PHASE_HANDLED;
    connection_does(connection, DOING_WAITING, 0);
    exchange_drop(exchange);
}

/* --- what libmicrohttpd answers twice --- */

static bool head_is_judged(const struct connection *connection) {
    const struct exchange *exchange = connection->receiving;
    return exchange != NULL && atomic_load_explicit(&exchange->phase, memory_order_relaxed) == PHASE_HEAD &&
           MHD_get_connection_info(exchange->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE) != NULL;
}

static void refuse_first(struct connection *connection, unsigned status) {
    uint32_t doing = DOING_WAITING;
    if (!atomic_compare_exchange_strong(&connection->doing, &doing, DOING_SENDING)) return;
    (void)answer_early(connection->receiving, status, request_head_reason(status));
    (void)shutdown(connection->fd, SHUT_WR);
}

/* Where libmicrohttpd 0.9.75 refuses a head that is whole (a Content-Length that it does not understand, no memory left), it first
 * complains, and then sends the head of its answer twice. It does not say to whom, but a head that is whole and was not handed
 * to us yet is that one. It gets our answer, and nothing behind it. */
void request_complaint(void *context, const char *format, va_list arguments) {
    static const char begin[] = "Error processing request (HTTP response code is %u";
    struct server_loop *loop = context;
    if (strncmp(format, begin, sizeof begin - 1) != 0) return;
    const unsigned status = va_arg(arguments, unsigned);
    pthread_mutex_lock(&loop->server->lock);
    for (struct connection *at = loop->server->connections; at != NULL; at = at->next)
        if (at->loop == loop && head_is_judged(at)) refuse_first(at, status);
    pthread_mutex_unlock(&loop->server->lock);
}
