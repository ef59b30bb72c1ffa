#include "candle/slice.h"

#include <stdlib.h>

enum err candle_rows_reserve(struct candle_rows *rows) {
    if (rows->count < rows->capacity) return ERR_OK;
    uint32_t capacity = rows->capacity == 0 ? 64 : rows->capacity * 2;
    struct candle *grown = realloc(rows->rows, capacity * sizeof *grown);
    if (grown == NULL) return ERR_NO_MEMORY;
    rows->rows = grown;
    rows->capacity = capacity;
    return ERR_OK;
}

enum err candle_rows_add(struct candle_rows *rows, const struct candle *row) {
    enum err err = candle_rows_reserve(rows);
    if (err == ERR_OK) rows->rows[rows->count++] = *row;
    return err;
}

/* The first row at or after `time_ms`. */
static uint32_t lower_bound(const struct candle_rows *rows, int64_t time_ms) {
    uint32_t low = 0, high = rows->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (rows->rows[middle].open_time_ms < time_ms)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct candle *candle_slice_rows(const struct candle_slice *slice, uint8_t basis, int64_t from_ms, int64_t to_ms,
                                       uint32_t *ret_count) {
    const struct candle_rows *rows = &slice->lanes[basis].rows;
    uint32_t low = lower_bound(rows, from_ms), high = lower_bound(rows, to_ms);
    *ret_count = high > low ? high - low : 0;
    return rows->rows + low;
}

size_t candle_slice_bytes(const struct candle_slice *slice) {
    size_t bytes = 0;
    for (int i = 0; i < BASIS_COUNT; i++) bytes += slice->lanes[i].rows.capacity * sizeof(struct candle);
    return bytes;
}

void candle_slice_deinit(struct candle_slice *slice) {
    for (int i = 0; i < BASIS_COUNT; i++) free(slice->lanes[i].rows.rows);
    *slice = (struct candle_slice){0};
}
