#include "base/hash.h"

#include <assert.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { CAPACITY_MIN = 16 };

void hash_index_init(struct hash_index *index, uint32_t max_count) {
    assert(max_count > 0 && max_count <= UINT32_MAX / 4);
    *index = (struct hash_index){.max_count = max_count};
}

void hash_index_deinit(struct hash_index *index) {
    free(index->slots);
    *index = (struct hash_index){.max_count = index->max_count};
}

void hash_index_clear(struct hash_index *index) {
    if (index->slots != NULL) memset(index->slots, 0, index->capacity * sizeof *index->slots);
    index->count = 0;
}

/* A slot keeps the hash's upper half to compare; its place comes from the same half, so that growing needs no rehash. */
static uint64_t slot_of(uint64_t hash, uint32_t i) { return (hash & 0xffffffff00000000u) | (i + 1u); }

uint32_t hash_index_find(const struct hash_index *index, uint64_t hash,
                         bool (*equal)(const void *context, uint32_t i, const void *key), const void *context,
                         const void *key) {
    if (index->count == 0) return UINT32_MAX;
    uint32_t mask = index->capacity - 1;
    for (uint32_t at = (uint32_t)(hash >> 32) & mask; index->slots[at] != 0; at = (at + 1) & mask) {
        uint64_t slot = index->slots[at];
        uint32_t i = (uint32_t)slot - 1;
        if (slot >> 32 == hash >> 32 && equal(context, i, key)) return i;
    }
    return UINT32_MAX;
}

static void place(uint64_t *slots, uint32_t capacity, uint64_t slot) {
    uint32_t at = (uint32_t)(slot >> 32) & (capacity - 1);
    while (slots[at] != 0) at = (at + 1) & (capacity - 1);
    slots[at] = slot;
}

enum err hash_index_add(struct hash_index *index, uint64_t hash, uint32_t i) {
    if (index->count >= index->max_count) return ERR_LIMIT;
    if (index->slots == NULL || (uint64_t)index->count * 4 >= (uint64_t)index->capacity * 3) {
        uint32_t capacity = index->capacity == 0 ? CAPACITY_MIN : index->capacity * 2;
        uint64_t *slots = calloc(capacity, sizeof *slots);
        if (slots == NULL) return ERR_NO_MEMORY;
        for (uint32_t at = 0; at < index->capacity; at++)
            if (index->slots[at] != 0) place(slots, capacity, index->slots[at]);
        free(index->slots);
        index->slots = slots;
        index->capacity = capacity;
    }
    place(index->slots, index->capacity, slot_of(hash, i));
    index->count++;
    return ERR_OK;
}

uint64_t hash_bytes(struct slice bytes, uint64_t seed) { return XXH3_64bits_withSeed(bytes.data, bytes.size, seed); }
