/* What a reader on another thread gets of a lane. */
#include <assert.h>
#include <stdlib.h>

#include "candle/book/lane.h"
#include "candle/book/slice_row.h"

enum { LOOK_BACK_ROWS_MAX = 3000 };

struct span_ms {
    int64_t from_ms, to_ms;
};

static enum err slice_rows_reserve(struct slice_rows *rows) {
    if (rows->count < rows->capacity) return ERR_OK;
    uint32_t capacity = rows->capacity == 0 ? 64 : rows->capacity * 2;
    struct slice_row *grown = realloc(rows->rows, capacity * sizeof *grown);
    if (grown == NULL) return ERR_NO_MEMORY;
    rows->rows = grown;
    rows->capacity = capacity;
    return ERR_OK;
}

static enum err add(const struct book *book, const struct lane_state *lane, const struct row *row,
                    struct slice_rows *rows) {
    enum err err = slice_rows_reserve(rows);
    if (err != ERR_OK) return err;
    struct slice_row *own = &rows->rows[rows->count];
    own->minute = *row->minute;
    own->start_ms = row->start_ms;
    own->claims = row_claims(book, lane, row);
    if (row->minute->wide != NULL) {
        own->minute.wide = malloc(sizeof *own->minute.wide);
        if (own->minute.wide == NULL) return ERR_NO_MEMORY;
        *own->minute.wide = *row->minute->wide;
    }
    rows->count++;
    return ERR_OK;
}

/* Ids of quiet rows are none, so the last id before the range may lie some rows before it. */
static enum err take_before(const struct book *book, const struct lane_state *lane, int64_t from_ms,
                            struct slice_rows *rows) {
    struct row row;
    for (int i = 0; i < LOOK_BACK_ROWS_MAX && row_previous(book, lane, from_ms, &row); i++) {
        enum err err = add(book, lane, &row, rows);
        if (err != ERR_OK) return err;
        if (lane->ids_kind != LANE_DENSE || rows->rows[rows->count - 1].minute.last_id >= 0) break;
        from_ms = row.start_ms;
    }
    for (uint32_t low = 0, high = rows->count; low + 1 < high; low++) {
        struct slice_row swap = rows->rows[low];
        rows->rows[low] = rows->rows[--high];
        rows->rows[high] = swap;
    }
    return ERR_OK;
}

/* The rows of a chunk from `from_ms` on, up to and with the first at or behind `to_ms`; *ret_more: that was not there. */
static enum err take_chunk(const struct book *book, const struct lane_state *lane, struct chunk *chunk,
                           const struct span_ms *span, struct slice_rows *rows, bool *ret_more) {
    for (uint64_t left = chunk->present; left != 0 && *ret_more; left &= left - 1) {
        uint32_t index = (uint32_t)__builtin_ctzll(left);
        struct row row = {chunk, NULL, UINT64_C(1) << index, chunk->start_ms + index * book->base_ms};
        if (row.start_ms < span->from_ms) continue;
        row_again(&row);
        enum err err = add(book, lane, &row, rows);
        if (err != ERR_OK) return err;
        *ret_more = row.start_ms < span->to_ms;
    }
    return ERR_OK;
}

/* The rows of the range and one more, then the last. */
static enum err take_from(const struct book *book, const struct lane_state *lane, const struct span_ms *span,
                          struct slice_rows *rows) {
    bool more = true;
    for (uint32_t i = 0; i < lane->chunk_count && more; i++) {
        struct chunk *chunk = lane->chunks[i];
        if (chunk->start_ms + book->chunk_ms <= span->from_ms) continue;
        enum err err = take_chunk(book, lane, chunk, span, rows, &more);
        if (err != ERR_OK) return err;
    }
    struct row last;
    int64_t until_ms = rows->count > 0 ? rows->rows[rows->count - 1].start_ms : INT64_MIN;
    if (more || !row_previous(book, lane, TIME_MAX_MS, &last) || last.start_ms <= until_ms) return ERR_OK;
    return add(book, lane, &last, rows);
}

/* The hot row stays hot: nothing changes in its chunk but to what it is. */
static enum err take_lane(const struct book *book, struct lane_state *lane, const struct span_ms *span,
                          struct slice_lane *ret_lane) {
    const int64_t current_ms = lane->current_ms;
    lane_settle(lane);
    ret_lane->known = true;
    ret_lane->watermark_ms = lane_watermark(book, lane);
    ret_lane->grace_ms = lane->grace_ms;
    ret_lane->whole_from_ms = lane->kept_from_ms;
    enum err err = take_before(book, lane, span->from_ms, &ret_lane->raw);
    if (err == ERR_OK) err = take_from(book, lane, span, &ret_lane->raw);
    lane->current_ms = current_ms;
    return err;
}

enum err candle_slice_take(struct book *book, uint32_t series, int64_t from_ms, int64_t to_ms,
                           struct candle_slice *slice) {
    const struct span_ms span = {from_ms, to_ms};
    assert(from_ms >= 0);
    slice->base_ms = (uint32_t)book->base_ms;
    for (uint8_t basis = 0; basis < BASIS_COUNT; basis++) {
        struct slice_lane *own = &slice->lanes[basis];
        struct lane_state *lane = lane_find(book, series, basis);
        slice_rows_clear(&own->raw);
        *own = (struct slice_lane){.raw = own->raw, .rows = own->rows, .whole_from_ms = INT64_MAX};
        own->rows.count = 0;
        enum err err = lane == NULL ? ERR_OK : take_lane(book, lane, &span, own);
        if (err != ERR_OK) return err;
    }
    return ERR_OK;
}
