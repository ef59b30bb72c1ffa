/* Answers, as libmicrohttpd wants them.
 *
 * Many answers are equal: that an event was accepted, the latest price of a busy pair. Making a response costs a dozen
 * allocations, so each loop keeps those of small bodies without fields of their own, by content, and sends them again. */
#include <stdlib.h>
#include <sys/socket.h>

#include "base/hash.h"
#include "net/server_internal.h"

static enum MHD_Result queue(struct exchange *exchange, unsigned status, struct MHD_Response *response) {
    if (response == NULL) return MHD_NO;
    const enum MHD_Result result = MHD_queue_response(exchange->mhd, status, response);
    MHD_destroy_response(response);
    return result;
}

static struct MHD_Response *make_response(struct slice body, const char *content_type,
                                          enum MHD_ResponseMemoryMode mode) {
    struct MHD_Response *response = MHD_create_response_from_buffer(
        body.size, body.size > 0 ? (void *)(uintptr_t)body.data : (void *)(uintptr_t) "", mode);
    if (response == NULL) return NULL;
    if (content_type != NULL && content_type[0] != '\0')
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    return response;
}

static enum MHD_Result send_fixed(struct exchange *exchange, unsigned status, struct slice body) {
    struct MHD_Response *response = make_response(body, "application/json", MHD_RESPMEM_PERSISTENT);
    if (response != NULL && status == 503) MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
    atomic_fetch_add_explicit(&exchange->server->refused, 1, memory_order_relaxed);
    connection_does(exchange->connection, DOING_SENDING, body.size);
    return queue(exchange, status, response);
}

enum MHD_Result answer_expired(struct exchange *exchange) {
    return send_fixed(exchange, 503,
                      SLICE("{\"error\":{\"code\":\"timeout\",\"message\":\"no answer in time\",\"at\":\"\"}}"));
}

/* The answer was made and let go of again. */
static enum MHD_Result send_instead(struct exchange *exchange) {
    if (exchange->answer_err == ERR_TOO_LARGE)
        return send_fixed(exchange, 413,
                          SLICE("{\"error\":{\"code\":\"too-large\",\"message\":\"the answer is too large; ask for "
                                "fewer\",\"at\":\"\"}}"));
    return send_fixed(exchange, 503,
                      SLICE("{\"error\":{\"code\":\"busy\",\"message\":\"too much is being answered at once; ask "
                            "again\",\"at\":\"\"}}"));
}

/* What each status says beside its reason. */
struct refusal {
    unsigned status;
    enum err err;
    const char *field, *value; /* NULL: none */
};

static const struct refusal *refusal_of(unsigned status) {
    static const struct refusal refusals[] = {
        {401, ERR_DENIED, "WWW-Authenticate", "Bearer"},
        {403, ERR_DENIED, NULL, NULL},
        {408, ERR_TIMEOUT, NULL, NULL},
        {413, ERR_TOO_LARGE, NULL, NULL},
        {414, ERR_TOO_LARGE, NULL, NULL},
        {415, ERR_TYPE, "Accept-Encoding", "identity"},
        {429, ERR_LIMIT, "Retry-After", "1"},
        {431, ERR_TOO_LARGE, NULL, NULL},
        {501, ERR_UNKNOWN, NULL, NULL},
        {503, ERR_BUSY, "Retry-After", "1"},
    };
    static const struct refusal other = {400, ERR_SYNTAX, NULL, NULL};
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        if (refusals[i].status == status) return &refusals[i];
    return &other;
}

/* Before a handler has seen it. The connection is closed where more of the request may follow. */
enum MHD_Result answer_refuse(struct exchange *exchange, unsigned status, const char *reason) {
    const struct refusal *refusal = refusal_of(status);
    struct buf *answer = &exchange->http.answer;
    buf_clear(answer);
    http_put_error(answer, refusal->err, reason, "");
    struct MHD_Response *response = make_response(buf_slice(answer), "application/json", MHD_RESPMEM_PERSISTENT);
    if (response != NULL && refusal->field != NULL) MHD_add_response_header(response, refusal->field, refusal->value);
    if (response != NULL) MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    atomic_fetch_add_explicit(&exchange->server->refused, 1, memory_order_relaxed);
    connection_does(exchange->connection, DOING_SENDING, answer->size);
    return queue(exchange, status, response);
}

void answer_put_whole(struct buf *text, unsigned status, const char *reason, bool with_body) {
    const struct refusal *refusal = refusal_of(status);
    struct buf body;
    buf_init(&body, ANSWER_WHOLE_BYTES);
    http_put_error(&body, refusal->err, reason, "");
    buf_printf(text, "HTTP/1.1 %u %s\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n", status,
               MHD_get_reason_phrase_for(status));
    if (refusal->field != NULL) buf_printf(text, "%s: %s\r\n", refusal->field, refusal->value);
    buf_printf(text, "Connection: close\r\nContent-Length: %zu\r\n\r\n", body.size);
    if (with_body) buf_put(text, buf_slice(&body));
    buf_deinit(&body);
}

/* Nothing else is being sent: what came before this request is answered. */
enum MHD_Result answer_early(struct exchange *exchange, unsigned status, const char *reason) {
    struct buf text;
    buf_init(&text, ANSWER_WHOLE_BYTES);
    answer_put_whole(&text, status, reason, exchange->http.method != HTTP_HEAD);
    const union MHD_ConnectionInfo *tls = MHD_get_connection_info(exchange->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (tls != NULL)
        (void)gnutls_record_send(tls->tls_session, text.data, text.size);
    else
        (void)!send(exchange->connection->fd, text.data, text.size, MSG_DONTWAIT | MSG_NOSIGNAL);
    buf_deinit(&text);
    atomic_fetch_add_explicit(&exchange->server->refused, 1, memory_order_relaxed);
    return MHD_NO;
}

/* --- small answers are kept --- */

/* NULL where the answer is not one to keep, or without memory. The loop's thread. */
static struct MHD_Response *kept_response(struct exchange *exchange, struct slice body) {
    static const char json[] = "application/json";
    if (body.size == 0 || body.size > ANSWER_KEPT_BYTES || exchange->header_count > 0) return NULL;
    if (strcmp(exchange->content_type, json) != 0) return NULL;
    struct kept_answer *kept = &exchange->loop->kept[hash_bytes(body, 0) % ANSWERS_KEPT];
    if (kept->response != NULL) {
        if (slice_equal(slice_of(kept->body, kept->size), body)) return kept->response;
        MHD_destroy_response(kept->response);
    }
    memcpy(kept->body, body.data, body.size);
    kept->size = (uint32_t)body.size;
    /* A connection may still be sending this when the place is given to another: libmicrohttpd has a copy. */
    kept->response = make_response(body, json, MHD_RESPMEM_MUST_COPY);
    if (kept->response != NULL) MHD_add_response_header(kept->response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    return kept->response;
}

void answers_forget(struct server_loop *loop) {
    for (uint32_t i = 0; i < ANSWERS_KEPT; i++)
        if (loop->kept[i].response != NULL) MHD_destroy_response(loop->kept[i].response);
}

static struct MHD_Response *own_response(struct exchange *exchange, struct slice body) {
    struct MHD_Response *response = make_response(body, exchange->content_type, MHD_RESPMEM_PERSISTENT);
    if (response == NULL) return NULL;
    bool caching = false;
    for (uint32_t i = 0; i < exchange->header_count; i++) {
        MHD_add_response_header(response, exchange->headers[i].name, exchange->headers[i].value);
        caching |= strcmp(exchange->headers[i].name, "Cache-Control") == 0;
    }
    if (!caching) MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    return response;
}

enum MHD_Result answer_send(struct exchange *exchange) {
    if (exchange->websocket != NULL && exchange->status == MHD_HTTP_SWITCHING_PROTOCOLS) {
        connection_does(exchange->connection, DOING_UPGRADED, 0);
        return queue(exchange, exchange->status, websocket_response(exchange));
    }
    if (exchange->answer_err != ERR_OK) return send_instead(exchange);
    const struct slice body = buf_slice(&exchange->http.answer);
    atomic_fetch_add_explicit(&exchange->server->bytes_out, body.size, memory_order_relaxed);
    connection_does(exchange->connection, DOING_SENDING, body.size);
    struct MHD_Response *kept = kept_response(exchange, body);
    return kept != NULL ? MHD_queue_response(exchange->mhd, exchange->status, kept)
                        : queue(exchange, exchange->status, own_response(exchange, body));
}
