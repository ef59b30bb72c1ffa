/* An address to listen on, as people write it: "127.0.0.1:8787", "[::1]:8787", "localhost:0". Numbers only, but for localhost:
 * what is read is known to be right, whatever names a network happens to resolve. */
#ifndef NET_LISTEN_H
#define NET_LISTEN_H

#include <sys/socket.h>

#include "base/err.h"

struct listen_address {
    struct sockaddr_storage bytes;
    socklen_t size;
    bool loopback;
};

enum err listen_read(const char *text, struct diag *diag, struct listen_address *ret_address) MUST_USE;

#endif
