/* What a reader on another thread gets of a lane. */
#include <assert.h>

#include "candle/book_lane.h"
#include "candle/slice.h"

enum { LOOK_BACK_ROWS_MAX = 3000 };

static enum err add(const struct book *book, const struct lane_state *lane, const struct row *row,
                    struct candle_rows *rows) {
    struct candle candle;
    row_to_candle(book, lane, row, &candle);
    return candle_rows_add(rows, &candle);
}

/* Ids of quiet rows are none, so the last id before the range may lie some rows before it. */
static enum err take_before(const struct book *book, const struct lane_state *lane, int64_t from_ms,
                            struct candle_rows *rows) {
    struct row row;
    for (int i = 0; i < LOOK_BACK_ROWS_MAX && row_previous(book, lane, from_ms, &row); i++) {
        enum err err = add(book, lane, &row, rows);
        if (err != ERR_OK) return err;
        if (lane->ids_kind != LANE_DENSE || rows->rows[rows->count - 1].last_id >= 0) break;
        from_ms = row.start_ms;
    }
    for (uint32_t low = 0, high = rows->count; low + 1 < high; low++) {
        struct candle swap = rows->rows[low];
        rows->rows[low] = rows->rows[--high];
        rows->rows[high] = swap;
    }
    return ERR_OK;
}

/* The rows of the range and one more, then the last. */
static enum err take_from(const struct book *book, const struct lane_state *lane, int64_t from_ms, int64_t to_ms,
                          struct candle_rows *rows) {
    struct row row, last;
    bool more = true;
    for (; more && row_next(book, lane, from_ms, &row); from_ms = row.start_ms + book->base_ms) {
        enum err err = add(book, lane, &row, rows);
        if (err != ERR_OK) return err;
        more = row.start_ms < to_ms;
    }
    int64_t until_ms = rows->count > 0 ? rows->rows[rows->count - 1].open_time_ms : INT64_MIN;
    if (more || !row_previous(book, lane, TIME_MAX_MS, &last) || last.start_ms <= until_ms) return ERR_OK;
    return add(book, lane, &last, rows);
}

static enum err take_lane(const struct book *book, struct lane_state *lane, int64_t from_ms, int64_t to_ms,
                          struct slice_lane *ret_lane) {
    lane_settle(lane);
    ret_lane->known = true;
    ret_lane->watermark_ms = lane_watermark(book, lane);
    ret_lane->whole_from_ms = lane->kept_from_ms;
    enum err err = take_before(book, lane, from_ms, &ret_lane->rows);
    return err != ERR_OK ? err : take_from(book, lane, from_ms, to_ms, &ret_lane->rows);
}

enum err candle_slice_take(struct book *book, uint32_t series, int64_t from_ms, int64_t to_ms,
                           struct candle_slice *slice) {
    assert(from_ms >= 0);
    for (uint8_t basis = 0; basis < BASIS_COUNT; basis++) {
        struct slice_lane *own = &slice->lanes[basis];
        struct lane_state *lane = lane_find(book, series, basis);
        *own = (struct slice_lane){.rows = own->rows, .whole_from_ms = INT64_MAX};
        own->rows.count = 0;
        enum err err = lane == NULL ? ERR_OK : take_lane(book, lane, from_ms, to_ms, own);
        if (err != ERR_OK) return err;
    }
    return ERR_OK;
}
