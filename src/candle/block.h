/* A sealed block: the candles of one lane and tier in one period, as compressed columns. */
#ifndef CANDLE_BLOCK_H
#define CANDLE_BLOCK_H

#include "candle/candle.h"

enum { BLOCK_ROWS_MAX = 4096, BLOCK_BYTES_MAX = 4 * 1024 * 1024 };

/* `candles` ascending by open time, all of length tier_ms and within the period from `period_start_ms`. Deterministic:
 * equal rows give equal bytes. */
enum err block_encode(struct buf *out, uint32_t tier_ms, int64_t period_start_ms, const struct candle *candles,
                      uint32_t count) MUST_USE;

struct block_view {
    struct slice bytes;
    uint32_t tier_ms;
    int64_t period_start_ms;
    uint32_t row_count;
    int64_t first_open_ms;
    int64_t last_open_ms;
};
/* Checks the checksum and the header. */
enum err block_open(struct slice bytes, struct block_view *ret_view) MUST_USE;
/* Decodes the rows with from <= open_time < to, ascending, at most `max` of them. */
enum err block_read(const struct block_view *view, int64_t from_ms, int64_t to_ms, struct candle *candles, uint32_t max,
                    uint32_t *ret_count) MUST_USE;

#endif
