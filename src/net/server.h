/* The HTTP and websocket server: libmicrohttpd with deadlines, limits, tokens and TLS.
 *
 * Threads: `threads` for TCP and one for the Unix socket (they run the handler), one that keeps deadlines, one for all websockets. A handler that has not
 * answered when it returns leaves the connection suspended until http_reply, from any thread.
 *
 * What is refused before a handler sees it: heads past 14 KiB (a field counts as 64 bytes more) or 100 fields, or a target past
 * 8 KiB; framing that two readers could understand differently (RFC 9112 sections 3.2, 5.2 and 6: Transfer-Encoding with
 * Content-Length, other codings than chunked, repeated or malformed Content-Length, no Host or several, folded fields), which
 * also closes the connection; bodies with a Content-Encoding (415) or past the limit (413, as soon as that is known); without a token where one is asked (401); a cross-origin POST, PUT, DELETE or
 * websocket (403: Origin is present and names another host); past an address's share of connections or requests (429);
 * past all connections, or where a body would not fit what may be held at once (503); on a loopback address without tokens a
 * Host that is a name other than localhost (403: DNS rebinding).
 * Such an answer does not wait for the rest of the request, and is not lost either: what still comes is dropped, for a
 * while, before the connection is closed. */
#ifndef NET_SERVER_H
#define NET_SERVER_H

#include "net/http.h"
#include "sys/sys.h"

struct server;
struct websocket;

/* Websocket sessions: callbacks on the server's websocket thread, one at a time. Messages are whole UTF-8 texts of at most
 * 64 KiB; a session that sends more (1009), binary data (1003), or over 100 messages a second (1008) is closed. */
struct websocket_ops {
    /* NULL refuses, with what `diag` was set to, or 404. The returned context goes to the others. What is sent here follows
     * the handshake. */
    void *(*open)(void *context, struct websocket *socket, struct slice path, const struct http_pair *arguments,
                  uint32_t argument_count, struct diag *diag);
    void (*message)(void *session, struct websocket *socket, struct slice text);
    /* The outgoing queue has drained below its mark after websocket_send said ERR_BUSY. */
    void (*writable)(void *session, struct websocket *socket);
    void (*close)(void *session);
    /* About every 100 ms, with the server's websocket_context, while the server runs. May be NULL. */
    void (*tick)(void *context);
};

/* What may change while a server runs. */
struct server_secrets_options {
    const char *certificate; /* PEM files; NULL: no TLS */
    const char *key;
    const char *const *token_sha256; /* hex digests; a request must carry `Authorization: Bearer`; NULL: none */
    uint32_t token_count;
};

struct server_options {
    const struct sys *sys;
    const char *listen;    /* "127.0.0.1:8787", "[::1]:8787", "localhost:0"; port 0 picks one; NULL: no TCP */
    const char *unix_path; /* NULL: none; mode 0600, no token asked; a stale one is replaced */
    struct server_secrets_options secrets;
    bool allow_public;                /* listening beyond loopback without a token is refused unless this says so */
    uint32_t threads;                 /* 0: 1 */
    uint32_t connections_max;         /* 0: 4096 */
    uint32_t address_connections_max; /* of one address (IPv6: of its first 64 bits); 0: 2048 */
    uint32_t address_requests_max;    /* of one address in a second; 0: 1,000,000 */
    size_t body_max_bytes;            /* 0: 16 MiB */
    uint32_t head_timeout_ms;         /* 0: 10 s for the whole head, once it has begun */
    uint32_t body_min_rate;           /* bytes a second after 5 s; 0: 1024 */
    uint32_t answer_timeout_ms;       /* a handler that has not answered: 503; 0: 30 s */
    uint32_t idle_timeout_ms;         /* keep-alive without a request; 0: 60 s */
    uint32_t linger_ms;               /* what is still sent of a refused request is dropped for so long; 0: 30 s */
    size_t memory_max_bytes;          /* of bodies and answers held at once; 503 past it; 0: 256 MiB */
    uint32_t websocket_ping_ms;       /* a session silent for twice as long is gone; 0: 20 s */
    struct http_handler *handler;
    const struct websocket_ops *websocket;
    void *websocket_context;
};

enum err server_open(const struct server_options *options, struct diag *diag, struct server **ret_server) MUST_USE;
/* Stops accepting, lets what runs finish (up to 5 s), closes. */
void server_close(struct server **server);
/* Other tokens and another certificate, for what asks from now on. On failure everything stays as it was: files that do not
 * fit, the last token gone beyond loopback, TLS where there was none or the other way round. One thread at a time. */
enum err server_reload(struct server *server, const struct server_secrets_options *options, struct diag *diag) MUST_USE;
/* "127.0.0.1:8787" as bound. */
const char *server_address(const struct server *server);

/* Any thread. Queues a text frame; ERR_BUSY past 1 MiB queued (nothing is queued then; wait for `writable`), ERR_CLOSED. */
enum err websocket_send(struct websocket *socket, struct slice text) MUST_USE;
/* Wakes the websocket thread to call `writable` for this session soon: how tasks hand over changes. Any thread. */
void websocket_wake(struct websocket *socket);
void websocket_close(struct websocket *socket, uint16_t code, const char *reason);
/* Bytes waiting in its queue. */
size_t websocket_queued(struct websocket *socket);
enum { WEBSOCKET_QUEUE_MAX = 1024 * 1024, WEBSOCKET_QUEUE_MARK = 256 * 1024 };

struct server_stats {
    uint64_t requests, bytes_in, bytes_out,
        refused; /* refused: answered by the server itself, or cut off at a deadline */
    uint32_t connections, websockets;
};
void server_stats(const struct server *server, struct server_stats *ret_stats);

#endif
