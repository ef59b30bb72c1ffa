/* What one address may take: connections at a time, and requests a second.
 *
 * A table of fixed size. An address stays in its place while it has connections, and after that until another needs the
 * place; where all places that an address may have are taken by others that are connected, it goes uncounted: whoever has
 * that many addresses is not held by a limit for each. Of an IPv6 address the first 64 bits count, since a host has all of
 * the rest. */
#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "base/hash.h"
#include "net/server_internal.h"

enum { ADDRESS_SETS = 1024, ADDRESS_WAYS = 8, TICKS_A_SECOND = 1000 / SERVER_TICK_MS };

struct address {
    uint8_t bytes[16];
    uint32_t connections; /* this and all above: server.lock */
    uint32_t left_tick;
    _Atomic uint64_t second; /* upper half: which one; lower: requests in it */
};

struct addresses {
    struct address sets[ADDRESS_SETS][ADDRESS_WAYS];
};

enum err addresses_open(struct addresses **ret_addresses) {
    struct addresses *addresses = calloc(1, sizeof *addresses); /* pages that are never touched cost nothing */
    if (addresses == NULL) return ERR_NO_MEMORY;
    *ret_addresses = addresses;
    return ERR_OK;
}

void addresses_close(struct addresses **addresses) {
    free(*addresses);
    *addresses = NULL;
}

static bool read_bytes(const struct sockaddr *from, uint8_t bytes[static 16]) {
    memset(bytes, 0, 16);
    if (from == NULL) return false;
    if (from->sa_family == AF_INET) memcpy(bytes + 8, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
    if (from->sa_family == AF_INET6) memcpy(bytes, &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr, 8);
    return from->sa_family == AF_INET || from->sa_family == AF_INET6;
}

/* The place of the address, or of the one that left longest ago. */
static struct address *find_place(struct address set[static ADDRESS_WAYS], const uint8_t bytes[static 16]) {
    struct address *place = NULL;
    for (struct address *at = set; at < set + ADDRESS_WAYS; at++) {
        if (memcmp(at->bytes, bytes, sizeof at->bytes) == 0) return at;
        if (at->connections > 0) continue;
        if (place == NULL || (int32_t)(at->left_tick - place->left_tick) < 0) place = at;
    }
    if (place == NULL) return NULL;
    memcpy(place->bytes, bytes, sizeof place->bytes);
    atomic_store_explicit(&place->second, 0, memory_order_relaxed);
    return place;
}

struct address *address_enter(struct server *server, const struct sockaddr *from, bool *ret_full) {
    uint8_t bytes[16];
    *ret_full = false;
    if (!read_bytes(from, bytes)) return NULL;
    const uint64_t hash = hash_bytes(slice_of(bytes, sizeof bytes), 0);
    struct address *address = find_place(server->addresses->sets[hash % ADDRESS_SETS], bytes);
    if (address == NULL) return NULL;
    *ret_full = address->connections++ >= server->options.address_connections_max;
    return address;
}

void address_leave(struct server *server, struct address *address) {
    if (address == NULL) return;
    assert(address->connections > 0);
    address->connections--;
    address->left_tick = atomic_load_explicit(&server->tick, memory_order_relaxed);
}

/* Two threads that begin a new second at once may count one request less: that does no harm. */
bool address_admits(const struct server *server, struct address *address) {
    if (address == NULL) return true;
    const uint64_t now = (atomic_load_explicit(&server->tick, memory_order_relaxed) / TICKS_A_SECOND + 1) & UINT32_MAX;
    if (atomic_load_explicit(&address->second, memory_order_relaxed) >> 32 != now)
        atomic_store_explicit(&address->second, now << 32, memory_order_relaxed);
    const uint64_t second = atomic_fetch_add_explicit(&address->second, 1, memory_order_relaxed);
    return (uint32_t)second < server->options.address_requests_max;
}
