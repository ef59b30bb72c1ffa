#include "base/arena.h"

#include <assert.h>
#include <stdlib.h>

enum { BLOCK_MIN_BYTES = 16 * 1024, ALIGNMENT = 16 };

struct arena_block {
    struct arena_block *next;
    size_t capacity;
    size_t used;
    size_t padding; /* keeps `data` aligned */
    uint8_t data[];
};

void arena_init(struct arena *arena, size_t max_bytes) { *arena = (struct arena){.max_bytes = max_bytes}; }

static void free_blocks(struct arena_block *block) {
    while (block != NULL) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
}

void arena_deinit(struct arena *arena) {
    free_blocks(arena->blocks);
    *arena = (struct arena){.max_bytes = arena->max_bytes};
}

void arena_clear(struct arena *arena) {
    arena->used_bytes = 0;
    if (arena->blocks == NULL) return;
    /* The first block is the newest, and blocks grow, so it is the largest. */
    free_blocks(arena->blocks->next);
    arena->blocks->next = NULL;
    arena->blocks->used = 0;
}

void *arena_alloc(struct arena *arena, size_t size) {
    if (size > arena->max_bytes) return NULL;
    size = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (size > arena->max_bytes - arena->used_bytes) return NULL;
    struct arena_block *block = arena->blocks;
    if (block == NULL || block->capacity - block->used < size) {
        size_t capacity = block == NULL ? BLOCK_MIN_BYTES : block->capacity * 2;
        while (capacity < size) capacity *= 2;
        struct arena_block *fresh = malloc(sizeof *fresh + capacity);
        if (fresh == NULL) return NULL;
        fresh->next = block;
        fresh->capacity = capacity;
        fresh->used = 0;
        arena->blocks = block = fresh;
    }
    void *at = block->data + block->used;
    block->used += size;
    arena->used_bytes += size;
    return at;
}

struct slice arena_copy(struct arena *arena, struct slice bytes) {
    uint8_t *to = arena_alloc(arena, bytes.size + 1);
    if (to == NULL) return SLICE_NONE;
    if (bytes.size > 0) memcpy(to, bytes.data, bytes.size);
    to[bytes.size] = 0;
    return slice_of(to, bytes.size);
}
