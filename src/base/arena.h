/* An arena: memory for one batch or one request, given back all at once. Not for sharing between threads. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/slice.h"

struct arena_block;
struct arena {
    struct arena_block *blocks;
    size_t used_bytes; /* over all blocks */
    size_t max_bytes;
};

void arena_init(struct arena *arena, size_t max_bytes);
void arena_deinit(struct arena *arena);
/* Forgets everything allocated; keeps the largest block, so that a steady load allocates nothing. */
void arena_clear(struct arena *arena);
/* 16-byte aligned, not zeroed; NULL past max_bytes or without memory. */
void *arena_alloc(struct arena *arena, size_t size);
/* A copy with a NUL behind it (not counted in the size); data is NULL on failure. */
struct slice arena_copy(struct arena *arena, struct slice bytes);

#endif
