/* Blocks of candles from arbitrary bytes: opened and read as they are, and again with their checksum made right, so that
 * the columns behind it are reached. */
#include <stdlib.h>

#include "base/hash.h"
#include "candle/block.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(struct slice bytes) {
    static struct candle rows[BLOCK_ROWS_MAX];
    struct block_view view;
    uint32_t count = 0;
    if (block_open(bytes, &view) != ERR_OK) return;
    if (block_read(&view, INT64_MIN, INT64_MAX, rows, BLOCK_ROWS_MAX, &count) != ERR_OK) return;
    if (count > view.row_count) abort();
    for (uint32_t i = 1; i < count; i++)
        if (rows[i].open_time_ms <= rows[i - 1].open_time_ms) abort();
    int64_t middle = view.first_open_ms + (view.last_open_ms - view.first_open_ms) / 2;
    uint32_t before = 0, after = 0;
    if (block_read(&view, INT64_MIN, middle, rows, BLOCK_ROWS_MAX, &before) != ERR_OK) abort();
    if (block_read(&view, middle, INT64_MAX, rows, BLOCK_ROWS_MAX, &after) != ERR_OK) abort();
    if (before + after != count) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    read_all(slice_of(data, size));
    if (size < 8) return 0;
    uint8_t *fixed = malloc(size);
    if (fixed == NULL) return 0;
    memcpy(fixed, data, size);
    uint64_t sum = hash_bytes(slice_of(fixed, size - 8), 0);
    memcpy(fixed + size - 8, &sum, 8);
    read_all(slice_of(fixed, size));
    free(fixed);
    return 0;
}
