/* Klines: rows that a venue made.
 *
 * To a bounded book they come whole and in order, so the day being read waits as it came and goes to the shelf when the next
 * one begins, without being folded. Whatever comes otherwise is folded like any row. A reader may read into the waiting day. */
#include <assert.h>
#include <stdlib.h>

#include "candle/book/lane.h"

/* --- folded like any row --- */

static bool same_row(const struct candle *a, const struct candle *b) {
    return decimal_equal(a->open, b->open) && decimal_equal(a->high, b->high) && decimal_equal(a->low, b->low) &&
           decimal_equal(a->close, b->close) && decimal_equal(a->volume, b->volume) &&
           decimal_equal(a->quote_volume, b->quote_volume) && decimal_equal(a->taker_buy_volume, b->taker_buy_volume) &&
           decimal_equal(a->taker_buy_quote_volume, b->taker_buy_quote_volume) && a->trades == b->trades &&
           a->first_id == b->first_id && a->last_id == b->last_id;
}

static bool kline_sane(const struct book *book, const struct candle *c) {
    return c->open_time_ms >= 0 && c->open_time_ms < TIME_MAX_MS && c->open_time_ms % book->base_ms == 0;
}

static void fix_row(const struct book *book, struct candle *row) {
    row->hash = 0;
    row->basis = BASIS_KLINES;
    row->native_ms = (uint32_t)book->base_ms;
    row->close_time_ms = row->open_time_ms + book->base_ms - 1;
    row->coverage = row->trades > 0 ? COVERAGE_TRADED : COVERAGE_QUIET;
    row->covered_minutes = 1;
    row->final = row->final == CANDLE_OPEN ? CANDLE_OPEN : CANDLE_FINAL_PROVEN;
    row->last_offset = -1;
}

/* A later one replaces an earlier one; the same again changes nothing. */
static enum err apply_kline(struct book *book, struct lane_state *lane, const struct candle *candle,
                            enum event_fate *ret_fate) {
    struct row row;
    struct minute fresh;
    struct candle was;
    bool made;
    if (candle->open_time_ms < lane->sealed_until_ms) {
        *ret_fate = FATE_LATE;
        return ERR_OK;
    }
    enum err err = row_make(book, lane, candle->open_time_ms, &row, &made);
    if (err) return err;
    row_to_candle(book, lane, &row, &was);
    bool closes = candle->final != CANDLE_OPEN;
    if (!made && same_row(&was, candle) && (!closes || row_closed(&row))) {
        *ret_fate = FATE_DUPLICATE;
        return ERR_OK;
    }
    *ret_fate = FATE_USED;
    struct candle value = *candle;
    fix_row(book, &value);
    value.revision = row.minute->revision;
    value.reason = row.minute->reason;
    err = minute_from_candle(&fresh, &value);
    if (err) return err;
    minute_deinit(row.minute);
    *row.minute = fresh;
    if (made || !row_closed(&row)) {
        if (closes) {
            row.chunk->open &= ~row.bit;
            lane->open_rows--;
        }
        return row_touch(book, lane, &row);
    }
    return row_revise(book, lane, &row, REASON_CORRECTION);
}

/* --- the day being read --- */

static enum err tail_seal(struct book *book, struct lane_state *lane) {
    struct kline_tail *tail = lane->tail;
    struct shelf *shelf = book->options.shelf;
    struct store_snapshot *snapshot;
    enum err err = book_snapshot(book, &snapshot);
    if (err) return err;
    lane_stored(lane, tail->rows[0].open_time_ms, tail->rows[tail->count - 1].open_time_ms);
    lane->sealed_until_ms = tail->day_ms + DAY_MS;
    uint32_t count = tail->count;
    tail->count = 0;
    return tail->capacity == SHELF_LOAD_ROWS ? shelf_load(shelf, snapshot, lane->lane, &tail->rows, count, book->diag)
                                             : shelf_seal(shelf, snapshot, lane->lane, tail->rows, count, book->diag);
}

enum err book_tail_flush(struct book *book, struct lane_state *lane) {
    struct kline_tail *tail = lane->tail;
    if (tail == NULL) return ERR_OK;
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < tail->count && err == ERR_OK; i++) {
        enum event_fate fate;
        err = apply_kline(book, lane, &tail->rows[i], &fate);
    }
    book->bytes -= tail->capacity * sizeof tail->rows[0];
    free(tail->rows);
    free(tail);
    lane->tail = NULL;
    return err;
}

/* Nothing else is known of the day, here or on the shelf. */
static bool day_is_new(const struct book *book, const struct lane_state *lane, int64_t day_ms) {
    struct row row;
    if (day_ms < lane->sealed_until_ms || (row_next(book, lane, day_ms, &row) && row.start_ms < day_ms + DAY_MS))
        return false;
    return lane->stored_from_ms >= day_ms + DAY_MS || lane->stored_until_ms < day_ms;
}

static enum err tail_grow(struct book *book, struct lane_state *lane) {
    struct kline_tail *tail = lane->tail;
    uint32_t capacity = tail->capacity == 0 ? SHELF_LOAD_ROWS : tail->capacity * 2;
    struct candle *rows = realloc(tail->rows, capacity * sizeof *rows);
    if (rows == NULL) return diag_set(book->diag, ERR_NO_MEMORY, "no memory for %u klines", capacity);
    book->bytes += (capacity - tail->capacity) * sizeof *rows;
    tail->rows = rows;
    tail->capacity = capacity;
    return ERR_OK;
}

/* Days go to the shelf in order: behind one that waits in the book to be sealed, the tail has to wait there too. */
static bool is_first_day(const struct lane_state *lane, int64_t day_ms) {
    for (uint32_t i = 0; i < lane->chunk_count && lane->chunks[i]->start_ms < day_ms; i++)
        if (lane->chunks[i]->dirty != 0) return false;
    return true;
}

static enum err tail_add(struct book *book, struct lane_state *lane, const struct candle *row, bool *ret_taken) {
    int64_t day_ms = row->open_time_ms / DAY_MS * DAY_MS;
    struct kline_tail *tail = lane->tail;
    bool begins = tail == NULL || tail->count == 0 || day_ms > tail->day_ms;
    enum err err = ERR_OK;
    *ret_taken = false;
    if (tail != NULL && tail->count > 0) {
        if (begins && !is_first_day(lane, tail->day_ms)) return book_tail_flush(book, lane);
        if (begins) err = tail_seal(book, lane);
        if (!begins && (day_ms < tail->day_ms || row->open_time_ms <= tail->rows[tail->count - 1].open_time_ms))
            return book_tail_flush(book, lane);
    }
    if (err || (begins && (!day_is_new(book, lane, day_ms) || book->bytes > book->max_bytes / 2))) return err;
    if (tail == NULL) {
        tail = lane->tail = calloc(1, sizeof *tail);
        if (tail == NULL) return ERR_NO_MEMORY;
    }
    tail->day_ms = day_ms;
    if (tail->count == tail->capacity) err = tail_grow(book, lane);
    if (err) return err;
    tail->rows[tail->count] = *row;
    fix_row(book, &tail->rows[tail->count++]);
    *ret_taken = true;
    return ERR_OK;
}

/* --- rows read in place --- */

enum err book_apply_klines(struct book *book, uint32_t series, const struct candle *rows, uint32_t count,
                           struct book_counts *counts, struct diag *diag) {
    struct lane_state *lane;
    book->diag = diag;
    enum err err = lane_get(book, series, BASIS_KLINES, &lane);
    if (err == ERR_OK) err = lane_thaw(book, lane);
    bool whole_days = book->options.bounded && book->options.shelf != NULL;
    for (uint32_t i = 0; i < count && err == ERR_OK; i++) {
        enum event_fate fate = FATE_INVALID;
        if (kline_sane(book, &rows[i])) {
            bool taken = false;
            int64_t end = rows[i].open_time_ms + book->base_ms - 1;
            fate = FATE_USED;
            if (whole_days) err = tail_add(book, lane, &rows[i], &taken);
            if (err == ERR_OK && !taken) err = apply_kline(book, lane, &rows[i], &fate);
            if (end > lane->max_ms) lane->max_ms = end;
            if (rows[i].open_time_ms > lane->newest_ms) lane->newest_ms = rows[i].open_time_ms;
        }
        if (err) break;
        counts->read++;
        counts->fate[fate]++;
    }
    book_snapshot_end(book);
    return err;
}

enum err book_klines_room(struct book *book, uint32_t series, struct candle **ret_rows, uint32_t *ret_room) {
    struct lane_state *lane;
    *ret_room = 0;
    if (!book->options.bounded || book->options.shelf == NULL || book->base_ms != 60000) return ERR_OK;
    enum err err = lane_get(book, series, BASIS_KLINES, &lane);
    if (err == ERR_OK && lane->tail == NULL) {
        lane->tail = calloc(1, sizeof *lane->tail);
        if (lane->tail == NULL) return ERR_NO_MEMORY;
    }
    if (err == ERR_OK && lane->tail->capacity == 0) err = tail_grow(book, lane);
    if (err || lane->tail->capacity != SHELF_LOAD_ROWS) return err;
    *ret_rows = lane->tail->rows + lane->tail->count;
    *ret_room = lane->tail->capacity - lane->tail->count;
    return ERR_OK;
}

/* How many of the rows behind the tail's are the next ones of its day. */
static uint32_t tail_accept(const struct book *book, struct kline_tail *tail, uint32_t count) {
    struct candle *rows = tail->rows + tail->count;
    int64_t next_ms = tail->count == 0 ? tail->day_ms : rows[-1].open_time_ms + book->base_ms;
    uint32_t i = 0;
    for (; i < count; i++) {
        int64_t open_ms = rows[i].open_time_ms;
        if (open_ms < next_ms || open_ms >= tail->day_ms + DAY_MS || open_ms % book->base_ms != 0) break;
        fix_row(book, &rows[i]);
        next_ms = open_ms + book->base_ms;
    }
    return i;
}

/* Does the row read behind an empty tail begin a new day? */
static bool tail_begin(const struct book *book, struct lane_state *lane) {
    int64_t first_ms = lane->tail->rows[0].open_time_ms, day_ms = first_ms / DAY_MS * DAY_MS;
    if (first_ms < 0 || first_ms >= TIME_MAX_MS || !day_is_new(book, lane, day_ms)) return false;
    lane->tail->day_ms = day_ms;
    return true;
}

enum err book_klines_read(struct book *book, uint32_t series, uint32_t count, struct book_counts *counts,
                          struct diag *diag) {
    struct lane_state *lane = lane_find(book, series, BASIS_KLINES);
    assert(lane != NULL && lane->tail != NULL && count <= lane->tail->capacity - lane->tail->count);
    struct kline_tail *tail = lane->tail;
    book->diag = diag;
    uint32_t taken = count > 0 && (tail->count > 0 || tail_begin(book, lane)) ? tail_accept(book, tail, count) : 0;
    if (taken > 0) {
        tail->count += taken;
        counts->read += taken;
        counts->fate[FATE_USED] += taken;
        const struct candle *last = &tail->rows[tail->count - 1];
        if (last->close_time_ms > lane->max_ms) lane->max_ms = last->close_time_ms;
        if (last->open_time_ms > lane->newest_ms) lane->newest_ms = last->open_time_ms;
    }
    if (taken == count) return ERR_OK;
    uint32_t rest = count - taken;
    struct candle *others = malloc(rest * sizeof *others); /* the tail moves on */
    if (others == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for %u klines", rest);
    memcpy(others, tail->rows + tail->count, rest * sizeof *others);
    enum err err = book_apply_klines(book, series, others, rest, counts, diag);
    free(others);
    return err;
}
