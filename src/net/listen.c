#include "net/listen.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <string.h>

#include "base/slice.h"

static bool is_loopback(const struct sockaddr *address) {
    if (address->sa_family == AF_INET)
        return (ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24) == 127;
    const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(six);
}

static enum err no_address(const char *text, struct diag *diag) {
    return diag_set(diag, ERR_USAGE,
                    "\"%.100s\" is no address to listen on, such as 127.0.0.1:8787, [::1]:8787 or localhost:8787",
                    text);
}

enum err listen_read(const char *text, struct diag *diag, struct listen_address *ret_address) {
    char digits[128] = "";
    const char *colon = strrchr(text, ':');
    const size_t size = colon != NULL ? (size_t)(colon - text) : 0;
    if (size == 0 || size >= sizeof digits || colon[1] == '\0') return no_address(text, diag);
    const bool bracketed = size > 2 && text[0] == '[' && text[size - 1] == ']';
    memcpy(digits, text + bracketed, size - 2 * bracketed);
    const char *host = strcmp(digits, "localhost") == 0 ? "127.0.0.1" : digits;
    uint64_t port = 0;
    if (!slice_to_u64(slice_text(colon + 1), &port) || port > UINT16_MAX) /* which getaddrinfo takes, cut to 16 bits */
        return diag_set(diag, ERR_USAGE, "\"%.100s\" is no port to listen on: they are 0 to 65535", colon + 1);
    const struct addrinfo hints = {
        .ai_family = bracketed ? AF_INET6 : AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
    };
    struct addrinfo *found = NULL;
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0) return no_address(text, diag);
    *ret_address = (struct listen_address){.size = found->ai_addrlen, .loopback = is_loopback(found->ai_addr)};
    memcpy(&ret_address->bytes, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return ERR_OK;
}
