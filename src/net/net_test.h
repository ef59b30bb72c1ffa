/* Raw clients for the server's tests: bytes out, bytes in, with a deadline. */
#ifndef NET_NET_TEST_H
#define NET_NET_TEST_H

#include "net/server.h"

/* Answers: /hello (at once), /echo (the body), /later (from another thread after 30 ms), /never (only when the server
 * is closed), /stall (200 ms later, and nothing else is done on its thread meanwhile), /big (1 MiB, or ?mib=), /methods (405 unless GET), /error. Websocket /ws echoes; "flood" sends until it is refused, "close" closes with 4000. */
struct test_server {
    struct http_handler handler; /* first */
    struct server *server;
    char address[128];
    int port;
    _Atomic int sessions, opened, writable_calls, ticks;
    _Atomic bool stalled;
    struct http_exchange *_Atomic never;
};

void test_server_open(struct test_server *test, const struct server_options *options);
void test_server_close(struct test_server *test);

int connect_tcp(int port);
int connect_unix(const char *path);
/* -1 where nothing more can be written. */
int send_bytes(int fd, const void *bytes, size_t size);
int send_text(int fd, const char *text);
/* Reads until `size` - 1 bytes, the end, or `timeout_ms`; NUL behind. Returns bytes; *ret_ended: the peer has closed. */
size_t receive(int fd, char *data, size_t size, int timeout_ms, bool *ret_ended);
/* Reads until `text` has come (true), the end, or five seconds without a byte; NUL behind. */
bool receive_until(int fd, const char *text, char *data, size_t size);
/* Looks every few milliseconds, ten seconds at most: true as soon as no more than these are left. */
bool connections_are(const struct test_server *test, uint32_t most);
bool sessions_are(const struct test_server *test, int wanted);
/* Sends, and reads one whole answer (head and Content-Length body), or until the end. Returns the status, 0 if none. */
int exchange_text(int fd, const char *request, char *answer, size_t size);
bool is_closed(int fd, int timeout_ms);

#endif
