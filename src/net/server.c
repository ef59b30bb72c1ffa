#include "net/server.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "net/listen.h"
#include "net/server_internal.h"

enum {
    LISTEN_BACKLOG = 1024,
    CLOSE_WAIT_MS = 5000,
};

/* TLS 1.3 and 1.2 with forward secrecy and AEAD only (Mozilla's "intermediate", 5.7). */
static const char tls_priorities[] =
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:-CIPHER-ALL:+AES-256-GCM:"
    "+AES-128-GCM:+CHACHA20-POLY1305:-MAC-ALL:+AEAD";

/* --- listening --- */

static void describe_address(struct server *server, int fd) {
    struct sockaddr_storage bytes = {0};
    socklen_t size = sizeof bytes;
    char host[INET6_ADDRSTRLEN] = "";
    if (getsockname(fd, (struct sockaddr *)&bytes, &size) < 0) return;
    if (bytes.ss_family == AF_INET) {
        const struct sockaddr_in *four = (const void *)&bytes;
        inet_ntop(AF_INET, &four->sin_addr, host, sizeof host);
        snprintf(server->address, sizeof server->address, "%s:%u", host, ntohs(four->sin_port));
    } else {
        const struct sockaddr_in6 *six = (const void *)&bytes;
        inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host);
        snprintf(server->address, sizeof server->address, "[%s]:%u", host, ntohs(six->sin6_port));
    }
}

static enum err listen_tcp(struct server *server, struct diag *diag, int *ret_fd) {
    struct listen_address address = {0};
    enum err err = listen_read(server->options.listen, diag, &address);
    if (err != ERR_OK) return err;
    const struct sockaddr *generic = (const struct sockaddr *)&address.bytes;
    server->loopback = address.loopback;
    if (!server->loopback && server_secrets(server)->token_count == 0 && !server->options.allow_public) {
        (void)diag_set(diag, ERR_USAGE, "listening on %s lets anyone on the network read and write",
                       server->options.listen);
        diag_hint(diag, "set a token, or http.public: true if that is meant");
        return ERR_USAGE;
    }
    const int on = 1;
    const int fd = socket(generic->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 || bind(fd, generic, address.size) < 0 ||
        listen(fd, LISTEN_BACKLOG) < 0) {
        err = diag_set(diag,
                       errno == EACCES       ? ERR_DENIED
                       : errno == EADDRINUSE ? ERR_LOCKED
                                             : ERR_IO,
                       "cannot listen on %s: %s", server->options.listen, strerror(errno));
        if (err == ERR_LOCKED) diag_hint(diag, "stop what listens there, or choose another port");
        if (fd >= 0) close(fd);
        return err;
    }
    describe_address(server, fd);
    *ret_fd = fd;
    return ERR_OK;
}

static enum err listen_unix(struct server *server, struct diag *diag, int *ret_fd) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = server->options.unix_path;
    if (strlen(path) >= sizeof address.sun_path)
        return diag_set(diag, ERR_USAGE, "the path of a Unix socket has at most %zu bytes: %s",
                        sizeof address.sun_path - 1, path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    (void)unlink(path); /* a stale one: whoever held the folder's lock before us is gone */
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The mode is set before anybody can connect. */
    if (fd < 0 || fchmod(fd, 0600) < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) < 0 ||
        chmod(path, 0600) < 0 || listen(fd, LISTEN_BACKLOG) < 0) {
        enum err err = diag_set(diag, ERR_IO, "cannot listen on %s: %s", path, strerror(errno));
        if (fd >= 0) close(fd);
        return err;
    }
    *ret_fd = fd;
    return ERR_OK;
}

/* --- libmicrohttpd --- */

/* Targets are decoded by net/http.c, strictly; libmicrohttpd's own copy is not used. */
static size_t keep_escaped(void *context, struct MHD_Connection *mhd, char *text) {
    (void)context, (void)mhd, (void)text;
    return 0;
}

/* What clients may take of the descriptors: a log that cannot open its next segment would refuse writes for their sake. What
 * is open now is mostly one file a partition, each of which may open a few more. At a loop's limit libmicrohttpd stops
 * listening until a connection ends. */
static uint32_t descriptors_for_clients(void) {
    enum { RESERVED = 16, RESERVED_FOR_EACH = 2, CLIENTS_MIN = 8 };
    struct rlimit limit;
    const int used = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0); /* the lowest free one: about as many are taken */
    if (used >= 0) close(used);
    if (used < 0 || getrlimit(RLIMIT_NOFILE, &limit) != 0) return UINT32_MAX;
    const uint64_t kept = RESERVED + (1 + RESERVED_FOR_EACH) * (uint64_t)used;
    if (limit.rlim_cur < kept + CLIENTS_MIN) return CLIENTS_MIN;
    return limit.rlim_cur - kept < UINT32_MAX ? (uint32_t)(limit.rlim_cur - kept) : UINT32_MAX;
}

static uint32_t connections_of_loop(const struct server_loop *loop, bool local) {
    const struct server *server = loop->server;
    const uint32_t wanted =
        (server->options.connections_max - 1) / server->options.threads + 1 + SERVER_SPARE_CONNECTIONS + LINGER_MAX;
    const uint32_t all = server->descriptors_for_clients, of_local = all / 4;
    const uint32_t most = local ? of_local : (all - of_local) / server->options.threads;
    return wanted < most ? wanted : most > 0 ? most : 1;
}

static struct MHD_Daemon *start_daemon(struct server_loop *loop, int fd, bool tls) {
    const struct MHD_OptionItem tls_options[] = {
        {MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)(uintptr_t)secrets_certificate},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)tls_priorities},
        {MHD_OPTION_END, 0, NULL},
    };
    const struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
    const unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE | MHD_USE_TURBO |
                           MHD_USE_ERROR_LOG | (tls ? MHD_USE_TLS : 0u);
    return MHD_start_daemon(flags, 0, NULL, NULL, request_handle, loop,                           //
                            MHD_OPTION_EXTERNAL_LOGGER, request_complaint, loop,                  //
                            MHD_OPTION_LISTEN_SOCKET, fd,                                         //
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)SERVER_CONNECTION_BYTES,  //
                            MHD_OPTION_CONNECTION_LIMIT, loop->connections_max,                   //
                            MHD_OPTION_URI_LOG_CALLBACK, request_begin, loop,                     //
                            MHD_OPTION_UNESCAPE_CALLBACK, keep_escaped, NULL,                     //
                            MHD_OPTION_NOTIFY_COMPLETED, request_completed, loop,                 //
                            MHD_OPTION_NOTIFY_CONNECTION, request_connection, loop,               //
                            MHD_OPTION_ARRAY, tls ? tls_options : none, MHD_OPTION_END);
}

/* Takes the descriptor. */
static enum err open_loop(struct server *server, int fd, bool tls, bool local, struct diag *diag) {
    struct server_loop *loop = &server->loops[server->loop_count++];
    loop->server = server;
    loop->event_fd = -1;
    const uint32_t connections = connections_of_loop(loop, local), lingering = connections / 8;
    loop->lingering_max = lingering < LINGER_MAX ? lingering : LINGER_MAX;
    loop->connections_max = connections - loop->lingering_max;
    loop->daemon = start_daemon(loop, fd, tls);
    if (loop->daemon != NULL) return loop_start(loop, diag);
    close(fd);
    return diag_set(diag, tls ? ERR_USAGE : ERR_IO, "the HTTP server does not start");
}

/* The threads share the listening socket; each takes connections as it has time. */
static enum err open_tcp(struct server *server, struct diag *diag) {
    int fd = -1;
    enum err err = listen_tcp(server, diag, &fd);
    if (err != ERR_OK) return err;
    for (uint32_t i = 0; i < server->options.threads && err == ERR_OK; i++) {
        const int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        err = own < 0 ? diag_set(diag, ERR_LIMIT, "no descriptors for the HTTP server: %s", strerror(errno))
                      : open_loop(server, own, server_secrets(server)->chain != NULL, false, diag);
    }
    close(fd);
    return err;
}

static enum err open_unix(struct server *server, struct diag *diag) {
    int fd = -1;
    enum err err = listen_unix(server, diag, &fd);
    if (err != ERR_OK) return err;
    server->unix_made = true;
    return open_loop(server, fd, false, true, diag);
}

/* --- opening --- */

static void set_default(uint32_t *value, uint32_t to) {
    if (*value == 0) *value = to;
}

static void set_defaults(struct server_options *options) {
    set_default(&options->threads, 1);
    set_default(&options->connections_max, 4096);
    set_default(&options->address_connections_max, 2048);
    set_default(&options->address_requests_max, 1000000);
    set_default(&options->head_timeout_ms, 10000);
    set_default(&options->idle_timeout_ms, 60000);
    set_default(&options->linger_ms, 30000);
    set_default(&options->body_min_rate, 1024);
    set_default(&options->answer_timeout_ms, 30000);
    set_default(&options->websocket_ping_ms, 20000);
    if (options->body_max_bytes == 0) options->body_max_bytes = 16 * 1024 * 1024;
    if (options->memory_max_bytes == 0) options->memory_max_bytes = 256 * 1024 * 1024;
}

static void server_free(struct server *server) {
    exchange_pool_clear(server);
    free(server->loops);
    secrets_close(server);
    addresses_close(&server->addresses);
    pthread_mutex_destroy(&server->lock);
    pthread_mutex_destroy(&server->pool_lock);
    free(server);
}

void server_drop(struct server *server) {
    if (atomic_fetch_sub(&server->owners, 1) == 1) server_free(server);
}

static enum err start(struct server *server, struct diag *diag) {
    const struct sys *sys = server->options.sys;
    server->descriptors_for_clients = descriptors_for_clients();
    server->loops = calloc(server->options.threads + 1, sizeof *server->loops);
    if (server->loops == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for the HTTP server");
    if (addresses_open(&server->addresses) != ERR_OK)
        return diag_set(diag, ERR_NO_MEMORY, "no memory for the HTTP server");
    enum err err = secrets_open(server, diag);
    if (err == ERR_OK) err = websocket_loop_open(server, diag, &server->websockets);
    if (err == ERR_OK && server->options.listen != NULL) err = open_tcp(server, diag);
    if (err == ERR_OK && server->options.unix_path != NULL) err = open_unix(server, diag);
    if (err == ERR_OK)
        err = sys->thread_start(sys->context, "http-deadline", deadline_main, server, &server->deadline_thread);
    return err;
}

enum err server_open(const struct server_options *options, struct diag *diag, struct server **ret_server) {
    assert(options->sys != NULL && options->handler != NULL);
    struct server *server = calloc(1, sizeof *server);
    if (server == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for the HTTP server");
    server->options = *options;
    set_defaults(&server->options);
    atomic_store(&server->owners, 1);
    pthread_mutex_init(&server->lock, NULL);
    pthread_mutex_init(&server->pool_lock, NULL);
    enum err err = start(server, diag);
    if (err != ERR_OK) {
        server_close(&server);
        return err;
    }
    *ret_server = server;
    return ERR_OK;
}

/* --- closing --- */

static bool answering(struct server *server) {
    bool busy = atomic_load(&server->unanswered) > 0;
    pthread_mutex_lock(&server->lock);
    for (struct connection *c = server->connections; c != NULL && !busy; c = c->next) {
        const uint32_t doing = atomic_load(&c->doing);
        busy = doing == DOING_HANDLING || doing == DOING_SENDING || doing == DOING_BODY;
    }
    pthread_mutex_unlock(&server->lock);
    return busy;
}

static void finish_running(struct server *server) {
    const struct timespec pause = {0, 5 * 1000000};
    for (int waited_ms = 0; waited_ms < CLOSE_WAIT_MS && answering(server); waited_ms += 5) nanosleep(&pause, NULL);
    while (atomic_load(&server->unanswered) > 0) {
        deadline_expire_all(server);
        nanosleep(&pause, NULL);
    }
}

void server_close(struct server **server_pointer) {
    struct server *server = *server_pointer;
    if (server == NULL) return;
    *server_pointer = NULL;
    atomic_store(&server->closing, true);
    for (uint32_t i = 0; i < server->loop_count; i++) loop_quiesce(&server->loops[i]);
    if (server->unix_made) (void)unlink(server->options.unix_path);
    finish_running(server);
    atomic_store(&server->stop, true);
    const struct sys *sys = server->options.sys;
    if (server->deadline_thread != NULL) sys->thread_join(sys->context, &server->deadline_thread);
    if (server->websockets != NULL) websocket_loop_stop(server->websockets);
    for (uint32_t i = 0; i < server->loop_count; i++) loop_stop(&server->loops[i]);
    if (server->websockets != NULL) websocket_loop_free(&server->websockets);
    server_drop(server);
}

const char *server_address(const struct server *server) { return server->address; }

void server_stats(const struct server *server, struct server_stats *ret_stats) {
    *ret_stats = (struct server_stats){
        .requests = atomic_load_explicit(&server->requests, memory_order_relaxed),
        .bytes_in = atomic_load_explicit(&server->bytes_in, memory_order_relaxed),
        .bytes_out = atomic_load_explicit(&server->bytes_out, memory_order_relaxed),
        .refused = atomic_load_explicit(&server->refused, memory_order_relaxed),
        .connections = atomic_load_explicit(&server->connection_count, memory_order_relaxed),
        .websockets = websocket_loop_count(server->websockets),
    };
}
