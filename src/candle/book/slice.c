#include "candle/slice.h"

#include <stdlib.h>

#include "candle/book/slice_row.h"

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

/* --- rows as they were taken --- */

void slice_rows_clear(struct slice_rows *rows) {
    for (uint32_t i = 0; i < rows->count; i++) minute_deinit(&rows->rows[i].minute);
    rows->count = 0;
}

enum err candle_slice_expand(struct candle_slice *slice) {
    enum err err = ERR_OK;
    for (uint8_t basis = 0; basis < BASIS_COUNT; basis++) {
        struct slice_lane *own = &slice->lanes[basis];
        for (uint32_t i = 0; i < own->raw.count && err == ERR_OK; i++) {
            const struct slice_row *raw = &own->raw.rows[i];
            err = candle_rows_reserve(&own->rows);
            if (err != ERR_OK) return err;
            struct candle *candle = &own->rows.rows[own->rows.count++];
            claimed_candle(&raw->minute, raw->start_ms, slice->base_ms, raw->claims, candle);
            candle->basis = basis;
        }
        slice_rows_clear(&own->raw);
    }
    return err;
}

/* Expanded or about to be. */
static size_t lane_bytes(const struct slice_lane *lane) {
    uint32_t candles = lane->rows.capacity > lane->raw.count ? lane->rows.capacity : lane->raw.count;
    return candles * sizeof(struct candle) + lane->raw.capacity * sizeof(struct slice_row);
}

size_t candle_slice_bytes(const struct candle_slice *slice) {
    size_t bytes = 0;
    for (int i = 0; i < BASIS_COUNT; i++) bytes += lane_bytes(&slice->lanes[i]);
    return bytes;
}

void candle_slice_deinit(struct candle_slice *slice) {
    for (int i = 0; i < BASIS_COUNT; i++) {
        slice_rows_clear(&slice->lanes[i].raw);
        free(slice->lanes[i].raw.rows);
        free(slice->lanes[i].rows.rows);
    }
    *slice = (struct candle_slice){0};
}
