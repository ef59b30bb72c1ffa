#include <assert.h>
#include <stdlib.h>

#include "net/server_internal.h"

enum { ARENA_MAX_BYTES = 64 * 1024 * 1024 };

static void server_reply(struct http_exchange *http, unsigned status, const char *content_type);
static void server_header(struct http_exchange *http, const char *name, const char *value);
static bool server_fits(struct http_exchange *http);
static const struct http_transport_ops server_transport = {server_reply, server_header, server_fits};

/* --- the pool: exchanges with their small buffers, so that a steady load allocates nothing --- */

static struct exchange *pool_pop(struct server *server) {
    pthread_mutex_lock(&server->pool_lock);
    struct exchange *exchange = server->pool;
    if (exchange != NULL) {
        server->pool = exchange->next;
        server->pool_count--;
    }
    pthread_mutex_unlock(&server->pool_lock);
    return exchange;
}

static bool pool_push(struct server *server, struct exchange *exchange) {
    pthread_mutex_lock(&server->pool_lock);
    const bool room = server->pool_count < SERVER_POOL_MAX;
    if (room) {
        exchange->next = server->pool;
        server->pool = exchange;
        server->pool_count++;
    }
    pthread_mutex_unlock(&server->pool_lock);
    return room;
}

static void exchange_free(struct exchange *exchange) {
    arena_deinit(&exchange->http.arena);
    buf_deinit(&exchange->http.answer);
    buf_deinit(&exchange->body);
    free(exchange);
}

static struct exchange *exchange_make(struct server *server) {
    struct exchange *exchange = calloc(1, sizeof *exchange);
    if (exchange == NULL) return NULL;
    exchange->magic = EXCHANGE_MAGIC;
    exchange->server = server;
    exchange->http.transport = &server_transport;
    arena_init(&exchange->http.arena, ARENA_MAX_BYTES);
    buf_init(&exchange->http.answer, HTTP_ANSWER_MAX);
    buf_init(&exchange->body, server->options.body_max_bytes + SERVER_PADDING_BYTES);
    return exchange;
}

struct exchange *exchange_take(struct server *server) {
    struct exchange *exchange = pool_pop(server);
    if (exchange == NULL) exchange = exchange_make(server);
    if (exchange == NULL) return NULL;
    atomic_fetch_add_explicit(&server->owners, 1, memory_order_relaxed); /* given back with the exchange */
    atomic_store_explicit(&exchange->phase, PHASE_HEAD, memory_order_relaxed);
    atomic_store_explicit(&exchange->owners, 1, memory_order_relaxed);
    return exchange;
}

void exchange_pool_clear(struct server *server) {
    for (struct exchange *exchange; (exchange = pool_pop(server)) != NULL;) exchange_free(exchange);
}

static void keep_small(struct buf *buf) {
    if (buf->capacity > SERVER_KEEP_BYTES) buf_deinit(buf);
    buf_clear(buf);
}

static void exchange_reset(struct exchange *exchange) {
    struct http_exchange *http = &exchange->http;
    if (http->arena.used_bytes > SERVER_KEEP_BYTES)
        arena_deinit(&http->arena);
    else
        arena_clear(&http->arena);
    keep_small(&http->answer);
    keep_small(&exchange->body);
    *http = (struct http_exchange){.arena = http->arena, .answer = http->answer, .transport = &server_transport};
    exchange->connection = NULL;
    exchange->mhd = NULL;
    exchange->target_err = ERR_OK;
    exchange->answer_err = ERR_OK;
    exchange->header_count = 0;
    exchange->websocket_key = SLICE_NONE;
    exchange->upgrades = exchange->websocket_version_known = false;
    exchange->websocket = NULL;
}

static void uncount(struct exchange *exchange) {
    if (exchange->held_bytes > 0)
        atomic_fetch_sub_explicit(&exchange->server->memory_bytes, exchange->held_bytes, memory_order_relaxed);
    exchange->held_bytes = 0;
}

void exchange_drop(struct exchange *exchange) {
    assert(exchange->magic == EXCHANGE_MAGIC);
    if (atomic_fetch_sub_explicit(&exchange->owners, 1, memory_order_acq_rel) != 1) return;
    struct server *server = exchange->server;
    uncount(exchange);
    exchange_reset(exchange);
    if (!pool_push(server, exchange)) exchange_free(exchange);
    server_drop(server);
}

bool exchange_account(struct exchange *exchange) {
    struct server *server = exchange->server;
    const size_t used = exchange->body.capacity + exchange->http.answer.capacity + exchange->http.arena.used_bytes;
    if (used <= exchange->held_bytes || used <= 2 * SERVER_KEEP_BYTES) return true;
    const size_t more = used - exchange->held_bytes;
    const uint64_t before = atomic_fetch_add_explicit(&server->memory_bytes, more, memory_order_relaxed);
    if (before + more > server->options.memory_max_bytes) {
        atomic_fetch_sub_explicit(&server->memory_bytes, more, memory_order_relaxed);
        return false;
    }
    exchange->held_bytes = used;
    return true;
}

void exchange_let_go(struct exchange *exchange) {
    buf_deinit(&exchange->body);
    buf_deinit(&exchange->http.answer);
    uncount(exchange);
}

/* --- answering, from any thread --- */

static struct exchange *exchange_of(struct http_exchange *http) {
    struct exchange *exchange = (struct exchange *)http;
    assert(exchange->magic == EXCHANGE_MAGIC);
    return exchange;
}

static void server_header(struct http_exchange *http, const char *name, const char *value) {
    struct exchange *exchange = exchange_of(http);
    assert(exchange->header_count < SERVER_ANSWER_HEADERS_MAX);
    struct slice copy = arena_copy(&http->arena, slice_text(value));
    if (copy.data == NULL) return;
    exchange->headers[exchange->header_count++] = (struct answer_header){name, (const char *)copy.data};
}

static bool server_fits(struct http_exchange *http) { return exchange_account(exchange_of(http)); }

/* The handler is done with all that it allocated: what cannot be sent does not wait for the loop to find that out. */
static void judge_answer(struct exchange *exchange) {
    exchange->answer_err = buf_err(&exchange->http.answer);
    if (exchange->answer_err == ERR_OK && !exchange_account(exchange)) exchange->answer_err = ERR_BUSY;
    if (exchange->answer_err == ERR_OK) return;
    exchange->header_count = 0;
    arena_deinit(&exchange->http.arena);
    exchange_let_go(exchange);
}

static void server_reply(struct http_exchange *http, unsigned status, const char *content_type) {
    struct exchange *exchange = exchange_of(http);
    judge_answer(exchange);
    exchange->status = status;
    exchange->content_type = content_type;
    uint32_t phase = PHASE_HANDLED;
    if (!atomic_compare_exchange_strong(&exchange->phase, &phase, PHASE_REPLIED) && phase == PHASE_SUSPENDED &&
        atomic_compare_exchange_strong(&exchange->phase, &phase, PHASE_REPLIED)) {
        loop_resume(exchange);
        /* The loop is used no more from here on: the server may close. */
        atomic_fetch_sub_explicit(&exchange->server->unanswered, 1, memory_order_release);
    }
    if (phase == PHASE_EXPIRED && exchange->websocket != NULL) websocket_abandon(exchange->websocket);
    exchange_drop(exchange);
}
