/* One column of 64-bit integers, packed: what a block is made of. Its formats stand at the head of column.c. */
#ifndef CANDLE_BLOCK_COLUMN_H
#define CANDLE_BLOCK_COLUMN_H

#include "base/buf.h"

enum { COLUMN_VALUES_MAX = 4096, COLUMN_CODE_BITS = 10, COLUMN_TAIL_BYTES = 8 };

/* Appends the column; at most 9 bytes a value and 300 more. Deterministic. Errors are the buffer's. */
void column_encode(struct buf *out, const int64_t *values, uint32_t count);

struct column_reader {
    const uint8_t *bits;
    uint64_t at, end; /* in bits */
    int64_t base;
    uint32_t count, taken;
    uint8_t mode, width;
    struct reader patches;
    uint32_t patches_left, patch_at;       /* patch_at: row of the next patch, if any is left */
    uint16_t codes[1 << COLUMN_CODE_BITS]; /* symbol << 4 | bits; 0: no such code */
};

/* Takes a column from `bytes`. COLUMN_TAIL_BYTES behind the end of `bytes` must be readable. ERR_CORRUPT. */
enum err column_open(struct column_reader *column, struct reader *bytes, uint32_t count) MUST_USE;
/* All its values are the same. */
bool column_is_constant(const struct column_reader *column);
/* The next `count` values. ERR_CORRUPT. */
enum err column_read(struct column_reader *column, int64_t *values, uint32_t count) MUST_USE;

#endif
