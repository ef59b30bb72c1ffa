/* The series that messages named last: the names' own bytes to a series number, without case folding, validation or the
 * shared table. A bounded cache with a fixed place per name and a few neighbours; what falls out is looked up anew. Only
 * names that were validated once are put in, so a hit needs no further check. One thread. */
#ifndef VENUE_NAME_CACHE_H
#define VENUE_NAME_CACHE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/slice.h"
#include "candle/series.h"
#include "codec/scan.h"

enum { NAME_CACHE_BITS = 14, NAME_CACHE_NEIGHBOURS = 8, NAME_CACHE_NAME_MAX = 15 };

/* Up to three names of up to 15 bytes each, with a quote and then zeroes behind, as scan_name leaves them. */
struct name_key {
    scan_pair names[3];
};

struct name_cache_entry {
    struct name_key key;
    uint32_t series;
    uint32_t used; /* 0: empty */
    uint64_t reserved;
};

_Static_assert(sizeof(struct name_cache_entry) == 64, "one cache line");

enum { NAME_CACHE_PLACES = (1 << NAME_CACHE_BITS) + NAME_CACHE_NEIGHBOURS };

struct name_cache {
    struct name_cache_entry *entries; /* at a cache line's start within `memory` */
    void *memory;
    uint32_t added; /* chooses the neighbour to be replaced */
};

static inline bool name_cache_init(struct name_cache *cache) {
    cache->added = 0;
    cache->memory = calloc(NAME_CACHE_PLACES + 1, sizeof *cache->entries); /* pages come as they are first touched */
    uintptr_t start = (uintptr_t)cache->memory;
    cache->entries = (struct name_cache_entry *)((start + 63) & ~(uintptr_t)63);
    return cache->memory != NULL;
}

static inline void name_cache_deinit(struct name_cache *cache) {
    free(cache->memory);
    cache->memory = NULL;
    cache->entries = NULL;
}

static inline void name_cache_clear(struct name_cache *cache) {
    if (cache->added > 0) memset(cache->entries, 0, NAME_CACHE_PLACES * sizeof *cache->entries);
    cache->added = 0;
}

static inline struct name_cache_entry *name_cache_place(const struct name_cache *cache, const struct name_key *key) {
    uint64_t h = 0;
    for (int i = 0; i < 3; i++) {
        h = (h ^ h >> 32) + key->names[i][0] + key->names[i][1] * 0x9E3779B97F4A7C15u;
        h *= 0xD6E8FEB86659FD93u;
    }
    return &cache->entries[h >> (64 - NAME_CACHE_BITS)];
}

static inline bool name_key_equal(const struct name_key *a, const struct name_key *b) {
    scan_pair differ = (a->names[0] ^ b->names[0]) | (a->names[1] ^ b->names[1]) | (a->names[2] ^ b->names[2]);
    return (differ[0] | differ[1]) == 0;
}

/* SERIES_NONE if it is not there. `place` is name_cache_place of the key, which may be asked for early and prefetched. */
static inline uint32_t name_cache_find_at(const struct name_cache_entry *place, const struct name_key *key) {
    for (int i = 0; i < NAME_CACHE_NEIGHBOURS; i++, place++)
        if (name_key_equal(&place->key, key) && place->used) return place->series;
    return SERIES_NONE;
}

static inline uint32_t name_cache_find(const struct name_cache *cache, const struct name_key *key) {
    return name_cache_find_at(name_cache_place(cache, key), key);
}

static inline void name_cache_add(struct name_cache *cache, const struct name_key *key, uint32_t series) {
    struct name_cache_entry *entry = name_cache_place(cache, key), *free_entry = NULL;
    for (int i = 0; i < NAME_CACHE_NEIGHBOURS; i++) {
        if (name_key_equal(&entry[i].key, key) && entry[i].used) return;
        if (!entry[i].used && free_entry == NULL) free_entry = &entry[i];
    }
    if (free_entry == NULL) free_entry = &entry[cache->added % NAME_CACHE_NEIGHBOURS];
    cache->added++;
    *free_entry = (struct name_cache_entry){.key = *key, .series = series, .used = 1};
}

/* False for a name that does not fit. `slot` is 0..2. */
static inline bool name_key_set(struct name_key *key, unsigned slot, struct slice name) {
    if (name.size == 0 || name.size > NAME_CACHE_NAME_MAX) return false;
    uint8_t bytes[sizeof key->names[slot]] = {0};
    memcpy(bytes, name.data, name.size);
    bytes[name.size] = '"';
    memcpy(&key->names[slot], bytes, sizeof bytes);
    return true;
}

#endif
