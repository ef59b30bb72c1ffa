/* What the server's files share; nobody outside net/ includes this.
 *
 * An exchange passes through these phases. The connection's thread moves it from HEAD to HANDLED; a reply may come from any
 * thread, and the deadline thread may give up waiting for one:
 *
 *   HEAD -> BODY -> HANDLED -> REPLIED                     answered before the handler returned
 *                   HANDLED -> SUSPENDED -> REPLIED        the replier resumes the connection
 *                              SUSPENDED -> EXPIRED        the deadline thread resumes it; a late reply is dropped
 *
 * Two own an exchange: the connection, until libmicrohttpd has completed the request, and whoever will reply. The last one
 * gives it back to the pool. Lock order: server.lock, then a websocket's; none is held during callbacks. */
#ifndef NET_SERVER_INTERNAL_H
#define NET_SERVER_INTERNAL_H

#include <gnutls/abstract.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include "net/server.h"

enum {
    SERVER_PADDING_BYTES = 64, /* readable behind a body; codec/input.h's INPUT_PADDING_BYTES */
    /* libmicrohttpd has one piece of memory for a connection, cleared for each request, so it is small: for the head as it came
     * and a note of each field, some 1 KiB that may have come behind it, and the head of the answer. */
    SERVER_CONNECTION_BYTES = 16 * 1024,
    SERVER_HEAD_MAX = 14 * 1024,
    SERVER_FIELD_BYTES = 64,
    SERVER_FIELDS_MAX = 100,
    SERVER_TICK_MS = 100,
    SERVER_ANSWER_HEADERS_MAX = 8,
    SERVER_POOL_MAX = 1024,        /* exchanges kept for reuse */
    SERVER_KEEP_BYTES = 16 * 1024, /* buffers up to this stay with a pooled exchange */
    SERVER_WEBSOCKETS_MAX = 1024,
    EXCHANGE_MAGIC = 0x65786368,
    TOKEN_BYTES = 32,
    SERVER_SPARE_CONNECTIONS = 64, /* of each loop: past connections_max, to say so */
    ANSWERS_KEPT = 256,            /* for each loop */
    ANSWER_KEPT_BYTES = 512,
    ANSWER_WHOLE_BYTES = 4096,
    LOOP_OWN_FDS = 2,
    LINGER_MAX = 128, /* for each loop: connections of refused requests that are still sent */
};

enum exchange_phase { PHASE_HEAD, PHASE_BODY, PHASE_HANDLED, PHASE_SUSPENDED, PHASE_REPLIED, PHASE_EXPIRED };

/* What a connection is doing, for deadlines. WAITING: for a whole request head. */
enum connection_doing { DOING_WAITING, DOING_BODY, DOING_HANDLING, DOING_SENDING, DOING_EXPIRED, DOING_UPGRADED };

struct server;
struct exchange;
struct address;
struct addresses;

struct kept_answer {
    struct MHD_Response *response; /* NULL: none */
    uint32_t size;
    uint8_t body[ANSWER_KEPT_BYTES];
};

/* A closed connection whose client may still be sending. */
struct lingering {
    uint32_t since_tick, heard_tick;
    uint64_t bytes;
};

/* A daemon of libmicrohttpd and the thread that runs it. */
struct server_loop {
    struct server *server;
    struct MHD_Daemon *daemon;
    struct sys_thread *thread;
    int event_fd;
    struct pollfd waiting[LOOP_OWN_FDS + LINGER_MAX]; /* libmicrohttpd's epoll, event_fd; the thread's */
    struct lingering lingering[LINGER_MAX];           /* of waiting[LOOP_OWN_FDS] and on; the thread's */
    uint32_t lingering_count, lingering_max;
    uint32_t connections_max; /* libmicrohttpd listens again below it */
    atomic_bool stop;
    atomic_bool quiesce;                /* asked for, and not done yet: take no more connections */
    _Atomic(struct exchange *) resumed; /* answered, to be resumed by the thread */
    struct kept_answer kept[ANSWERS_KEPT];
};

struct connection {
    struct connection *previous, *next; /* of server.connections; server.lock */
    struct server *server;
    struct server_loop *loop;
    struct exchange *receiving; /* of the request whose head has begun to come; the loop's */
    int fd;
    bool local;              /* came through the Unix socket */
    struct address *address; /* NULL: not counted */
    unsigned refusal;        /* 429 or 503 for whatever it asks; 0: none */
    _Atomic uint32_t doing;
    _Atomic uint32_t since_tick;        /* when it began doing that */
    _Atomic uint64_t progress;          /* body bytes received, or answer bytes to send, since then */
    _Atomic(struct exchange *) current; /* while suspended: server.lock guards against its going */
    atomic_bool served;                 /* has completed a request: now keep-alive */
    bool unheard;                       /* its last request was answered before all of it had come */
    char peer[48];
};

struct request_head {
    struct slice authorization, host, origin;
    struct slice accept, content_type, idempotency_key, if_none_match;
    struct slice upgrade, websocket_key, websocket_version, transfer_encoding, content_length, content_encoding;
    uint32_t host_count, transfer_encoding_count, content_length_count, content_encoding_count, field_count;
    bool malformed, too_large, folded;
};

struct answer_header {
    const char *name, *value;
};

struct exchange {
    struct http_exchange http; /* first */
    uint32_t magic;
    struct server *server;
    struct server_loop *loop;
    struct connection *connection;
    struct MHD_Connection *mhd;
    _Atomic uint32_t phase;
    _Atomic uint32_t owners;
    struct buf body;
    size_t held_bytes;   /* counted in server.memory_bytes */
    enum err answer_err; /* why the answer is not sent as it was made */
    enum err target_err;
    const char *target_end; /* in the connection's memory, until a handler has it */
    char peer[48];
    unsigned status;
    const char *content_type;
    struct answer_header headers[SERVER_ANSWER_HEADERS_MAX];
    uint32_t header_count;
    bool upgrades; /* asks for a websocket */
    bool websocket_version_known;
    struct slice websocket_key;
    struct websocket *websocket; /* once the websocket thread has accepted */
    struct exchange *next;       /* in the pool, or among those to begin or to resume */
};

struct secrets {
    uint8_t (*tokens)[TOKEN_BYTES];
    uint32_t token_count;
    gnutls_pcert_st *chain; /* NULL: no TLS */
    unsigned chain_count;
    gnutls_privkey_t key;
    struct secrets *older;
    uint32_t replaced_tick;
};

struct websocket_loop;

struct server {
    struct server_options options;
    struct server_loop *loops; /* TCP's, then the Unix socket's */
    uint32_t loop_count;
    uint32_t descriptors_for_clients;
    bool unix_made;
    char address[128];
    struct secrets *_Atomic secrets; /* the newest set; never NULL once open */
    bool loopback;
    _Atomic uint32_t tick; /* SERVER_TICK_MS each */
    atomic_bool closing, stop;
    _Atomic uint32_t owners; /* the opener, and each exchange that is out of the pool */
    _Atomic uint32_t unanswered;
    _Atomic uint64_t memory_bytes;
    _Atomic uint64_t requests, bytes_in, bytes_out, refused;
    _Atomic uint32_t connection_count;
    struct sys_thread *deadline_thread;
    struct websocket_loop *websockets;
    pthread_mutex_t lock; /* guards connections */
    struct connection *connections;
    struct addresses *addresses;
    pthread_mutex_t pool_lock;
    struct exchange *pool;
    uint32_t pool_count;
};

/* --- exchange.c: life of an exchange --- */
struct exchange *exchange_take(struct server *server); /* NULL without memory */
void exchange_drop(struct exchange *exchange);         /* one owner less */
/* Counts what its buffers hold; false, and nothing more is counted, past the server's limit. */
bool exchange_account(struct exchange *exchange);
/* Frees body and answer, and counts them no more. */
void exchange_let_go(struct exchange *exchange);
void exchange_pool_clear(struct server *server);
void server_drop(struct server *server); /* one owner less */

/* --- address.c --- */
enum err addresses_open(struct addresses **ret_addresses) MUST_USE;
void addresses_close(struct addresses **addresses);
/* A connection more, or less, of an address; with server.lock. NULL: it is not counted. */
struct address *address_enter(struct server *server, const struct sockaddr *from, bool *ret_full);
void address_leave(struct server *server, struct address *address);
/* Counts a request. */
bool address_admits(const struct server *server, struct address *address);

/* --- loop.c --- */
enum err loop_start(struct server_loop *loop, struct diag *diag) MUST_USE;
/* Any thread: the suspended exchange is answered. */
void loop_resume(struct exchange *exchange);
/* Waits until no more connections are taken. Not the loop's thread. */
void loop_quiesce(struct server_loop *loop);
/* Joins the thread, then stops the daemon. */
void loop_stop(struct server_loop *loop);

/* --- linger.c: the loop's thread --- */
/* libmicrohttpd closes this descriptor now: keeps the connection until its client has seen the answer. */
void linger_begin(struct server_loop *loop, int fd);
/* Once the loop has waited. */
void linger_turn(struct server_loop *loop);
void linger_stop(struct server_loop *loop); /* also once the thread has gone */

/* --- request.c: libmicrohttpd's callbacks; the context is the loop --- */
void *request_begin(void *loop, const char *target, struct MHD_Connection *mhd);
enum MHD_Result request_handle(void *loop, struct MHD_Connection *mhd, const char *url, const char *method,
                               const char *version, const char *data, size_t *data_size, void **context);
void request_completed(void *loop, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode code);
void request_connection(void *loop, struct MHD_Connection *mhd, void **context,
                        enum MHD_ConnectionNotificationCode code);
void request_complaint(void *loop, const char *format, va_list arguments);

/* --- answer.c: the loop's thread --- */
enum MHD_Result answer_send(struct exchange *exchange);
enum MHD_Result answer_expired(struct exchange *exchange);
/* Before a handler has seen it. The connection is closed where more of the request may follow. */
enum MHD_Result answer_refuse(struct exchange *exchange, unsigned status, const char *reason);
/* In the middle of a body, where libmicrohttpd takes no answer: always MHD_NO, which ends the connection. */
enum MHD_Result answer_early(struct exchange *exchange, unsigned status, const char *reason);
/* The whole of a refusal, for where libmicrohttpd takes no answer; one to HEAD has no body. */
void answer_put_whole(struct buf *text, unsigned status, const char *reason, bool with_body);
/* Once libmicrohttpd has stopped. */
void answers_forget(struct server_loop *loop);

/* --- head.c: judging a request's head --- */
/* Before any field has come. */
void request_head_begin(struct MHD_Connection *mhd);
void request_head_read(struct MHD_Connection *mhd, struct request_head *ret_head);
/* 0, or the status to refuse with and why. */
unsigned request_head_check(const struct exchange *exchange, const struct request_head *head, const char *method,
                            const char *version, const char **ret_reason);
/* Of a head that libmicrohttpd refuses with 400, 413 or 431. */
const char *request_head_reason(unsigned status);

/* --- secrets.c --- */
enum err secrets_open(struct server *server, struct diag *diag) MUST_USE;
void secrets_close(struct server *server);
static inline const struct secrets *server_secrets(const struct server *server) {
    return atomic_load_explicit(&server->secrets, memory_order_acquire);
}
bool token_matches(const struct server *server, struct slice token);
/* gnutls_certificate_retrieve_function2. */
int secrets_certificate(gnutls_session_t session, const gnutls_datum_t *issuers, int issuer_count,
                        const gnutls_pk_algorithm_t *algorithms, int algorithm_count, gnutls_pcert_st **ret_chain,
                        unsigned *ret_chain_count, gnutls_privkey_t *ret_key);

/* --- deadline.c --- */
void *deadline_main(void *server);
/* Gives up waiting for every suspended answer: they get 503. */
void deadline_expire_all(struct server *server);
static inline void connection_does(struct connection *connection, enum connection_doing doing, uint64_t progress) {
    atomic_store_explicit(&connection->progress, progress, memory_order_relaxed);
    atomic_store_explicit(&connection->since_tick,
                          atomic_load_explicit(&connection->server->tick, memory_order_relaxed), memory_order_relaxed);
    atomic_store_explicit(&connection->doing, doing, memory_order_relaxed);
}

/* --- websocket.c --- */
enum err websocket_loop_open(struct server *server, struct diag *diag, struct websocket_loop **ret_loop);
/* Ends every session (1001) and joins the thread; free follows once libmicrohttpd has stopped. */
void websocket_loop_stop(struct websocket_loop *loop);
void websocket_loop_free(struct websocket_loop **loop);
void websocket_loop_tick(struct websocket_loop *loop);
uint32_t websocket_loop_count(const struct websocket_loop *loop);
/* Hands an upgrade request to the websocket thread, which opens a session and replies to the exchange: 101 or a refusal. */
void websocket_begin(struct websocket_loop *loop, struct exchange *exchange);
/* 101 was replied: the response that upgrades. NULL without memory. */
struct MHD_Response *websocket_response(struct exchange *exchange);
/* The connection went before the upgrade. */
void websocket_abandon(struct websocket *socket);

#endif
