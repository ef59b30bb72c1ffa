/* Hash tables of fixed-size entries by 64-bit hash: open addressing, linear probing, grown by doubling to a stated maximum.
 * The caller keeps the entries in an array of its own; the table maps a hash to an index and asks `equal` on a match. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/err.h"
#include "base/slice.h"

struct hash_index {
    uint64_t *slots;   /* upper 32 bits of the hash | index + 1; 0 is empty */
    uint32_t capacity; /* power of two */
    uint32_t count;
    uint32_t max_count;
};

void hash_index_init(struct hash_index *index, uint32_t max_count);
void hash_index_deinit(struct hash_index *index);
/* The index of the entry for which equal(context, i, key) holds, or UINT32_MAX. */
uint32_t hash_index_find(const struct hash_index *index, uint64_t hash,
                         bool (*equal)(const void *context, uint32_t i, const void *key), const void *context,
                         const void *key);
/* The caller has checked that it is not there. ERR_LIMIT, ERR_NO_MEMORY. */
enum err hash_index_add(struct hash_index *index, uint64_t hash, uint32_t i) MUST_USE;
void hash_index_clear(struct hash_index *index);
/* XXH3-64. */
uint64_t hash_bytes(struct slice bytes, uint64_t seed);

#endif
