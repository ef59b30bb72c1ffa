/* For tests of the book: a shelf of a few arrays, a reference fold that sorts a set, and shorthands.
 *
 * The fake shelf keeps what was put or sealed pending until fake_commit, as the store does. Its functions take the place of
 * the real ones when the test is linked. */
#ifndef CANDLE_BOOK_FIXTURE_H
#define CANDLE_BOOK_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "candle/book.h"

/* --- the fake shelf --- */

struct fake_row {
    struct lane lane;
    struct candle candle;
};
struct fake_rows {
    struct fake_row *rows;
    uint32_t count, capacity;
};
struct shelf {
    struct fake_rows stored, pending;
    uint32_t seals;
    struct lane sealed_lane;
    int64_t sealed_until_ms; /* of that lane, since the last commit */
    uint32_t fails_in;       /* the how manieth shelf_put_later from now finds no memory; 0: none */
};

static inline bool fake_before(const struct fake_row *a, const struct fake_row *b) {
    if (a->lane.series != b->lane.series) return a->lane.series < b->lane.series;
    if (a->lane.basis != b->lane.basis) return a->lane.basis < b->lane.basis;
    return a->candle.open_time_ms < b->candle.open_time_ms;
}

static inline void fake_insert(struct fake_rows *rows, const struct fake_row *row) {
    uint32_t low = 0, high = rows->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (fake_before(&rows->rows[middle], row))
            low = middle + 1;
        else
            high = middle;
    }
    if (low < rows->count && !fake_before(row, &rows->rows[low])) {
        rows->rows[low] = *row;
        return;
    }
    if (rows->count == rows->capacity) {
        rows->capacity = rows->capacity == 0 ? 64 : rows->capacity * 2;
        rows->rows = realloc(rows->rows, rows->capacity * sizeof *rows->rows);
    }
    memmove(&rows->rows[low + 1], &rows->rows[low], (rows->count - low) * sizeof *rows->rows);
    rows->rows[low] = *row;
    rows->count++;
}

static inline void fake_commit(struct shelf *shelf) {
    for (uint32_t i = 0; i < shelf->pending.count; i++) fake_insert(&shelf->stored, &shelf->pending.rows[i]);
    shelf->pending.count = 0;
    shelf->sealed_until_ms = 0;
}

static inline void fake_close(struct shelf *shelf) {
    free(shelf->stored.rows);
    free(shelf->pending.rows);
    *shelf = (struct shelf){0};
}

enum err shelf_put(struct shelf *shelf, struct store_snapshot *snapshot, struct store_batch *batch, struct lane lane,
                   const struct candle *candles, uint32_t count) {
    (void)snapshot;
    (void)batch;
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) assert_true(candles[i - 1].open_time_ms < candles[i].open_time_ms);
        struct fake_row row = {lane, candles[i]};
        fake_insert(&shelf->pending, &row);
    }
    return ERR_OK;
}

enum err shelf_put_later(struct shelf *shelf, struct store_snapshot *snapshot, struct store_batch *batch,
                         struct lane lane, const struct candle *candles, uint32_t count) {
    if (shelf->fails_in > 0 && --shelf->fails_in == 0) return ERR_NO_MEMORY;
    return shelf_put(shelf, snapshot, batch, lane, candles, count);
}

enum err shelf_seal(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane,
                    const struct candle *candles, uint32_t count, struct diag *diag) {
    (void)diag;
    assert_true(count > 0);
    shelf->seals++;
    bool same = shelf->sealed_lane.series == lane.series && shelf->sealed_lane.basis == lane.basis;
    if (same && candles[0].open_time_ms / 86400000 * 86400000 < shelf->sealed_until_ms) fail_msg("days out of order");
    shelf->sealed_lane = lane;
    shelf->sealed_until_ms = (candles[count - 1].open_time_ms / 86400000 + 1) * 86400000;
    return shelf_put(shelf, snapshot, NULL, lane, candles, count);
}

enum err shelf_load(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane, struct candle **rows,
                    uint32_t count, struct diag *diag) {
    return shelf_seal(shelf, snapshot, lane, *rows, count, diag);
}

enum err shelf_load_end(struct shelf *shelf, struct store_snapshot *snapshot, struct diag *diag) {
    (void)shelf;
    (void)snapshot;
    (void)diag;
    return ERR_OK;
}

enum err shelf_scan(struct shelf *shelf, struct store_snapshot *snapshot, const struct shelf_range *range,
                    candle_visit visit, void *context, struct diag *diag) {
    (void)snapshot;
    (void)diag;
    for (uint32_t i = 0; i < shelf->stored.count; i++) {
        const struct fake_row *row = &shelf->stored.rows[range->descending ? shelf->stored.count - 1 - i : i];
        int64_t at = row->candle.open_time_ms;
        if (row->lane.series != range->lane.series || row->lane.basis != range->lane.basis) continue;
        if (at < range->from_ms || at >= range->to_ms) continue;
        enum err err = visit(context, &row->candle);
        if (err) return err == ERR_END ? ERR_OK : err;
    }
    return ERR_OK;
}

/* --- shorthands --- */

static const int64_t T0 = INT64_C(1618617600000); /* 2021-04-17, a UTC midnight */

static inline uint32_t series_of(struct series_table *table, const char *venue, const char *base,
                                 enum series_kind kind) {
    struct series_key key = {slice_text(venue), slice_text(base), SLICE("USDT"), kind};
    uint32_t number;
    assert_int_equal(series_intern(table, &key, &number), ERR_OK);
    return number;
}

static inline struct event trade_of(uint32_t series, int64_t id, int64_t time_ms, int64_t price, int64_t quantity) {
    return (struct event){.series = series,
                          .first_id = id,
                          .last_id = id,
                          .time_ms = time_ms,
                          .price = price,
                          .quantity = quantity,
                          .kind = EVENT_TRADE,
                          .side = EVENT_TAKER_BUY};
}

static inline struct event price_of(uint32_t series, int64_t time_ms, int64_t price) {
    return (struct event){
        .series = series, .time_ms = time_ms, .price = price, .quantity = 1, .quote_volume = 1, .kind = EVENT_PRICE};
}

struct scanned {
    struct candle *rows;
    uint32_t count, capacity;
};

static inline void scanned_add(struct scanned *s, const struct candle *candle) {
    if (s->count == s->capacity) {
        s->capacity = s->capacity == 0 ? 64 : s->capacity * 2;
        s->rows = realloc(s->rows, s->capacity * sizeof *s->rows);
    }
    s->rows[s->count++] = *candle;
}

static inline enum err visit_scanned(void *context, const struct candle *candle) {
    scanned_add(context, candle);
    return ERR_OK;
}

static inline struct scanned scan_book(struct book *book, uint32_t series, uint8_t basis) {
    struct scanned s = {0};
    struct shelf_range range = {{series, basis}, 60000, 0, INT64_MAX, false};
    assert_int_equal(book_scan(book, &range, visit_scanned, &s), ERR_OK);
    return s;
}

static inline struct candle row_at(struct book *book, uint32_t series, uint8_t basis, int64_t open_time_ms) {
    struct scanned s = scan_book(book, series, basis);
    struct candle found = {.open_time_ms = -1};
    for (uint32_t i = 0; i < s.count; i++)
        if (s.rows[i].open_time_ms == open_time_ms) found = s.rows[i];
    free(s.rows);
    return found;
}

static inline struct book *book_of(struct series_table *table) {
    struct book_options options = {.series = table, .base_ms = 60000};
    struct book *book;
    struct diag diag;
    assert_int_equal(book_open(&options, &diag, &book), ERR_OK);
    return book;
}

static inline enum event_fate apply_one(struct book *book, const struct event *event, int64_t offset) {
    struct book_counts counts = {0};
    enum event_fate fate;
    struct diag diag = {0};
    assert_int_equal(book_apply(book, event, &offset, 1, &fate, &counts, &diag), ERR_OK);
    assert_int_equal(counts.read, 1);
    assert_int_equal(counts.fate[fate], 1);
    return fate;
}

/* --- the fields that are functions of the set of events --- */

static inline bool same_decimal(struct decimal a, struct decimal b) {
    return a.mantissa == b.mantissa && a.scale == b.scale;
}

static inline const char *row_difference(const struct candle *a, const struct candle *b) {
    if (a->open_time_ms != b->open_time_ms || a->close_time_ms != b->close_time_ms) return "time";
    if (!same_decimal(a->open, b->open)) return "open";
    if (!same_decimal(a->high, b->high)) return "high";
    if (!same_decimal(a->low, b->low)) return "low";
    if (!same_decimal(a->close, b->close)) return "close";
    if (!same_decimal(a->volume, b->volume)) return "volume";
    if (!same_decimal(a->quote_volume, b->quote_volume)) return "quote_volume";
    if (!same_decimal(a->taker_buy_volume, b->taker_buy_volume)) return "taker_buy_volume";
    if (!same_decimal(a->taker_buy_quote_volume, b->taker_buy_quote_volume)) return "taker_buy_quote_volume";
    if (a->open_mark.time_ms != b->open_mark.time_ms || a->open_mark.order != b->open_mark.order) return "open_mark";
    if (a->close_mark.time_ms != b->close_mark.time_ms || a->close_mark.order != b->close_mark.order)
        return "close_mark";
    if (a->trades != b->trades) return "trades";
    if (a->first_id != b->first_id || a->last_id != b->last_id) return "ids";
    if (a->hash != b->hash) return "hash";
    if (a->coverage != b->coverage) return "coverage";
    if (a->covered_minutes != b->covered_minutes) return "covered_minutes";
    if (a->basis != b->basis || a->native_ms != b->native_ms || a->conflict != b->conflict) return "basis";
    return NULL;
}

#endif
