/* HTTP requests and answers, apart from any transport: a route's handler sees an exchange, and answers it now or later.
 *
 * Transports: net/server.h (libmicrohttpd over TCP, TLS and a Unix socket) and http_local (in process, for the command line
 * without a running server, and tests). A handler runs on a transport's thread and must not block; the answer may come
 * from any thread, exactly once. */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include "base/arena.h"
#include "base/buf.h"

/* OTHER: any that no route has; whether a path is there, and what it takes, is for the handler to say. */
enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_DELETE, HTTP_OPTIONS, HTTP_OTHER };

struct http_pair {
    struct slice name;
    struct slice value; /* decoded */
};

struct http_exchange {
    /* the request; slices live until the answer */
    enum http_method method;
    struct slice path;                 /* decoded, without query */
    const struct http_pair *arguments; /* of the query string, in order; names may repeat */
    uint32_t argument_count;
    struct slice body; /* whole; INPUT_PADDING_BYTES (64) readable bytes behind it */
    struct slice idempotency_key, content_type, accept, if_none_match; /* empty where absent */
    struct slice peer;                                                 /* address, for logs; empty for local */
    bool local; /* through the folder's socket, or in process: whoever asks may open the folder's files anyway */
    /* for the handler: freed with the exchange */
    struct arena arena;
    /* the answer: the handler fills `answer`, then calls http_reply */
    struct buf answer;
    const struct http_transport_ops *transport;
};

struct http_transport_ops {
    void (*reply)(struct http_exchange *exchange, unsigned status, const char *content_type);
    void (*header)(struct http_exchange *exchange, const char *name, const char *value); /* before reply */
    bool (*fits)(struct http_exchange *exchange);                                        /* NULL: always */
};

void http_reply(struct http_exchange *exchange, unsigned status, const char *content_type);
void http_header(struct http_exchange *exchange, const char *name, const char *value);
/* For an answer that is made in several steps, and waits between them: false where what it holds by now, with all others, is
 * more than the transport holds at once. Then it is given up (ERR_BUSY). */
bool http_fits(struct http_exchange *exchange);
/* An answer past HTTP_ANSWER_MAX is sent as 413, one that does not fit what a transport holds at once as 503.
 *
 * {"error":{"code","message","at"}} with the status that fits err (http_status_of) and Retry-After where that is 429 or 503.
 * Clears what was in `answer`. `diag` may be NULL. */
void http_reply_error(struct http_exchange *exchange, enum err err, const struct diag *diag);
/* INPUT 400 (ERR_TOO_LARGE 413, ERR_CONFLICT 409), ERR_NOT_FOUND 404, ERR_DENIED 403, RESOURCE, ERR_TIMEOUT and ERR_CLOSED
 * 503 (ERR_LIMIT 429), else 500. */
unsigned http_status_of(enum err err);
/* The error body alone, as http_reply_error writes it. */
void http_put_error(struct buf *out, enum err err, const char *message, const char *at);
/* The first argument of that name; data NULL if absent. */
struct slice http_argument(const struct http_exchange *exchange, const char *name);

/* Whether an If-None-Match names this entity tag (with its quotes), compared weakly (RFC 9110 section 13.1.2). */
bool http_etag_listed(struct slice if_none_match, struct slice etag);

enum { HTTP_TARGET_MAX = 8192, HTTP_ANSWER_MAX = 64 * 1024 * 1024 };
/* Splits and decodes a request target (origin form, or absolute form whose authority is dropped) into `arena`. '+' in the
 * query is a space. ERR_SYNTAX for broken percent escapes, control bytes, bare spaces, or no leading '/' ("*" alone is taken as
 * it is); ERR_TOO_LARGE past the limit above; ERR_NO_MEMORY. */
enum err http_target_parse(struct arena *arena, struct slice target, struct diag *diag, struct slice *ret_path,
                           const struct http_pair **ret_arguments, uint32_t *ret_count) MUST_USE;

struct http_handler {
    void (*handle)(struct http_handler *handler, struct http_exchange *exchange);
    /* Whether a path is served without a token where tokens are asked (the page's own files, /healthz). NULL: none. */
    bool (*open)(struct http_handler *handler, struct slice path);
};

/* Runs a request in process and waits for its answer: *ret_body is the caller's to deinit. `target` is path and query,
 * percent-encoded. `pump`, where not NULL, is called until the answer is there (it steps log and tasks). */
enum err http_local(struct http_handler *handler, enum http_method method, const char *target, struct slice body,
                    void (*pump)(void *context), void *context, unsigned *ret_status, struct buf *ret_body,
                    char ret_content_type[static 64]) MUST_USE;

#endif
