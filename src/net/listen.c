#include "net/listen.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "base/slice.h"

static enum err no_address(const char *text, struct diag *diag) {
    return diag_set(diag, ERR_USAGE,
                    "\"%.100s\" is no address to listen on, such as 127.0.0.1:8787, [::1]:8787 or localhost:8787",
                    text);
}

static bool read_four(const char *host, uint16_t port, struct listen_address *ret_address) {
    struct sockaddr_in *four = (void *)&ret_address->bytes;
    *four = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
    ret_address->size = sizeof *four;
    if (inet_pton(AF_INET, host, &four->sin_addr) != 1) return false;
    ret_address->loopback = ntohl(four->sin_addr.s_addr) >> 24 == 127;
    return true;
}

/* A link-local one names its interface: "fe80::1%eth0". */
static bool read_six(char *host, uint16_t port, struct listen_address *ret_address) {
    struct sockaddr_in6 *six = (void *)&ret_address->bytes;
    *six = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
    ret_address->size = sizeof *six;
    char *interface = strchr(host, '%');
    if (interface != NULL) {
        *interface = '\0';
        if ((six->sin6_scope_id = if_nametoindex(interface + 1)) == 0) return false;
    }
    if (inet_pton(AF_INET6, host, &six->sin6_addr) != 1) return false;
    ret_address->loopback = IN6_IS_ADDR_LOOPBACK(&six->sin6_addr);
    return true;
}

enum err listen_read(const char *text, struct diag *diag, struct listen_address *ret_address) {
    struct listen_address address = {0};
    char host[128] = "";
    const char *colon = strrchr(text, ':');
    const size_t size = colon != NULL ? (size_t)(colon - text) : 0;
    if (size == 0 || size >= sizeof host || colon[1] == '\0') return no_address(text, diag);
    const bool bracketed = size > 2 && text[0] == '[' && text[size - 1] == ']';
    memcpy(host, text + bracketed, size - 2 * bracketed);
    uint64_t port = 0;
    if (!slice_to_u64(slice_text(colon + 1), &port) || port > UINT16_MAX)
        return diag_set(diag, ERR_USAGE, "\"%.100s\" is no port to listen on: they are 0 to 65535", colon + 1);
    const char *four = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    if (!(bracketed ? read_six(host, (uint16_t)port, &address) : read_four(four, (uint16_t)port, &address)))
        return no_address(text, diag);
    *ret_address = address;
    return ERR_OK;
}
