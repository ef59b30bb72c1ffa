/* A slice of a book: the rows in memory that a read of one series and range needs, copied so that another thread can read
 * on. The owning task's thread hands over only this; store and shelf are read elsewhere, with a snapshot opened after the
 * slice was taken, and the slice's rows win over theirs. What left the book before the slice was taken was committed before
 * the snapshot was opened, so nothing falls between the two; what is committed after it can only be newer than asked for.
 *
 * Of each lane: the rows of the range; before it the newest row and, where ids are dense, those behind the nearest row with
 * ids (they prove what is quiet); the first row after it; the last row. */
#ifndef CANDLE_SLICE_H
#define CANDLE_SLICE_H

#include "candle/book.h"

struct candle_rows {
    struct candle *rows;
    uint32_t count, capacity;
};
/* Room for one more. */
enum err candle_rows_reserve(struct candle_rows *rows) MUST_USE;
enum err candle_rows_add(struct candle_rows *rows, const struct candle *row) MUST_USE;

/* A row as the book has it. */
struct slice_row;
struct slice_rows {
    struct slice_row *rows;
    uint32_t count, capacity;
};

struct candle_slice {
    uint32_t base_ms;
    struct slice_lane {
        bool known;              /* to the book */
        struct slice_rows raw;   /* as taken; none once they are expanded */
        struct candle_rows rows; /* ascending */
        int64_t watermark_ms;    /* 0: none */
        uint32_t grace_ms;       /* as in struct book_lane_info */
        int64_t whole_from_ms;   /* from here on the book holds every row; INT64_MAX: from nowhere */
    } lanes[BASIS_COUNT];
};

/* An empty slice is {0}. Taking again reuses its memory. On the owner's thread of the book. */
enum err candle_slice_take(struct book *book, uint32_t series, int64_t from_ms, int64_t to_ms,
                           struct candle_slice *slice) MUST_USE;
/* Makes candles of what was taken, on the reader's thread; before anything is read. */
enum err candle_slice_expand(struct candle_slice *slice) MUST_USE;
/* The rows of a lane with from <= open time < to: a view into the slice. */
const struct candle *candle_slice_rows(const struct candle_slice *slice, uint8_t basis, int64_t from_ms, int64_t to_ms,
                                       uint32_t *ret_count);
/* Bytes held. */
size_t candle_slice_bytes(const struct candle_slice *slice);
void candle_slice_deinit(struct candle_slice *slice);

#endif
