/* What changed: for watchers, for the checkpoint, and for the shelf's sealed days.
 *
 * A freeze costs what changed: the rows of the lanes on the dirty list and their states. A day of a lane is sealed once it
 * is over and has rested for some freezes (seal_rest); a few lanes a freeze, so that midnight is spread. */
#include <assert.h>
#include <stdlib.h>

#include "candle/book/lane.h"
#include "candle/series_row.h"
#include "sys/phase.h"

enum { SEAL_REST = 120, SEALS_A_FREEZE = 64, LOOKS_A_FREEZE = 512 };
static const int64_t seal_after_ms = 10 * 60 * 1000; /* after the day's end, of the watermark or the clock */
static const int64_t keep_ms = 2 * 60 * 60 * 1000;   /* saved rows stay this long, for readers and late events */
static const size_t relief_bytes = (size_t)64 << 20; /* of a bounded book: above it, days that have passed are sealed */

/* --- changes --- */

static int compare_lanes(const void *a, const void *b) {
    const struct lane *x = &(*(struct lane_state *const *)a)->lane, *y = &(*(struct lane_state *const *)b)->lane;
    if (x->series != y->series) return x->series < y->series ? -1 : 1;
    return (x->basis > y->basis) - (x->basis < y->basis);
}

typedef enum err (*change_visit)(void *context, const struct book_changed *changed);

static enum err visit_chunk(const struct book *book, const struct lane_state *lane, struct chunk *chunk,
                            change_visit visit, void *context) {
    for (uint64_t changed = chunk->changed; changed != 0; changed &= changed - 1) {
        uint32_t index = (uint32_t)__builtin_ctzll(changed);
        struct row row = {chunk, NULL, UINT64_C(1) << index, chunk->start_ms + index * book->base_ms};
        row_again(&row);
        enum book_change change = CHANGE_OPEN;
        if (row_closed(&row)) change = chunk->published & row.bit ? CHANGE_REVISED : CHANGE_CLOSED;
        if (change != CHANGE_OPEN) chunk->published |= row.bit;
        enum err err = visit(context, &(struct book_changed){lane->lane, change, row.start_ms, row.minute});
        if (err) return err;
    }
    chunk->changed = 0;
    return ERR_OK;
}

/* The hot row stays hot: what lies in its chunk becomes what it is. */
static enum err visit_lane(const struct book *book, struct lane_state *lane, change_visit visit, void *context) {
    if (lane->listed & LISTED_HOT_CHANGED)
        return visit(context, &(struct book_changed){lane->lane, CHANGE_OPEN, lane->current_ms, &lane->hot});
    const int64_t current_ms = lane->current_ms;
    lane_settle(lane);
    for (uint32_t c = 0; c < lane->chunk_count; c++) {
        if (lane->chunks[c]->changed == 0) continue;
        enum err err = visit_chunk(book, lane, lane->chunks[c], visit, context);
        if (err) return err;
    }
    lane->current_ms = current_ms;
    return ERR_OK;
}

enum err book_changes(struct book *book, enum err (*visit)(void *context, const struct book_changed *changed),
                      void *context) {
    struct lane_list *list = &book->changed;
    if (list->count > 1) qsort(list->lanes, list->count, sizeof(struct lane_state *), compare_lanes);
    for (uint32_t i = 0; i < list->count; i++) {
        struct lane_state *lane = list->lanes[i];
        enum err err = visit_lane(book, lane, visit, context);
        if (err) return err;
        lane->listed &= (uint8_t) ~(LISTED_CHANGED | LISTED_HOT_CHANGED);
    }
    list->count = 0;
    return ERR_OK;
}

uint8_t book_changed_decimals(const struct book_changed *changed, uint8_t known) {
    return minute_decimals(changed->minute, known);
}

/* --- unsealed days --- */

enum err lane_day_add(struct book *book, struct lane_state *lane, int64_t time_ms) {
    if (book->options.shelf == NULL) return ERR_OK;
    int32_t day = (int32_t)(time_ms / DAY_MS);
    uint32_t at = lane->day_count;
    while (at > 0 && lane->days[at - 1].day >= day) at--;
    if (at < lane->day_count && lane->days[at].day == day) {
        lane->days[at].touched = book->freezes;
        return ERR_OK;
    }
    if (lane->day_count == DAYS_MAX) return ERR_OK; /* its rows stay unsealed, which is slower and right */
    if (lane->day_count == lane->day_capacity) {
        uint32_t capacity = lane->day_capacity == 0 ? 2 : lane->day_capacity * 2;
        struct unsealed_day *days = realloc(lane->days, capacity * sizeof *days);
        if (days == NULL) return ERR_NO_MEMORY;
        lane->days = days;
        lane->day_capacity = capacity;
    }
    memmove(&lane->days[at + 1], &lane->days[at], (lane->day_count - at) * sizeof lane->days[0]);
    lane->days[at] = (struct unsealed_day){day, book->freezes};
    lane->day_count++;
    return ERR_OK;
}

static void day_remove(struct lane_state *lane, uint32_t at) {
    memmove(&lane->days[at], &lane->days[at + 1], (lane->day_count - at - 1) * sizeof lane->days[0]);
    lane->day_count--;
}

/* --- rows for the shelf --- */

static enum err buffer_make_room(struct book *book) {
    struct row_buffer *rows = &book->rows;
    if (rows->count == rows->capacity) {
        uint32_t capacity = rows->capacity == 0 ? 64 : rows->capacity * 2;
        struct candle *candles = realloc(rows->candles, capacity * sizeof *candles);
        if (candles == NULL) return diag_set(book->diag, ERR_NO_MEMORY, "no memory for %u candles", capacity);
        rows->candles = candles;
        rows->capacity = capacity;
    }
    return ERR_OK;
}

static enum err buffer_row(struct book *book, const struct lane_state *lane, const struct row *row) {
    enum err err = buffer_make_room(book);
    if (err == ERR_OK) row_to_candle(book, lane, row, &book->rows.candles[book->rows.count++]);
    return err;
}

static void rows_stored(struct book *book, struct lane_state *lane) {
    const struct row_buffer *rows = &book->rows;
    if (rows->count == 0) return;
    lane_stored(lane, rows->candles[0].open_time_ms, rows->candles[rows->count - 1].open_time_ms);
}

/* The rows of one chunk named by `bits`, ascending. */
static enum err buffer_bits(struct book *book, const struct lane_state *lane, struct chunk *chunk, uint64_t bits) {
    for (; bits != 0; bits &= bits - 1) {
        uint32_t index = (uint32_t)__builtin_ctzll(bits);
        struct row row = {chunk, NULL, UINT64_C(1) << index, chunk->start_ms + index * book->base_ms};
        row_again(&row);
        enum err err = buffer_row(book, lane, &row);
        if (err) return err;
    }
    return ERR_OK;
}

/* --- sealing --- */

static enum err visit_first(void *context, const struct candle *candle) {
    struct book *book = context;
    enum err err = buffer_make_room(book);
    if (err) return err;
    book->rows.candles[book->rows.count++] = *candle;
    return ERR_END;
}

/* The shelf merges what it has stored of the day; it must be given one row at least to know the day. */
static enum err seal_day(struct book *book, struct lane_state *lane, int32_t day, struct store_snapshot *snapshot) {
    int64_t from = day * DAY_MS, to = from + DAY_MS;
    lane_settle(lane);
    book->rows.count = 0;
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < lane->chunk_count && err == ERR_OK; i++) {
        struct chunk *chunk = lane->chunks[i];
        if (chunk->start_ms >= from && chunk->start_ms < to) err = buffer_bits(book, lane, chunk, chunk->present);
    }
    struct shelf_range range = {lane->lane, (uint32_t)book->base_ms, from, to, false};
    if (err == ERR_OK && book->rows.count == 0)
        err = shelf_scan(book->options.shelf, snapshot, &range, visit_first, book, book->diag);
    if (err || book->rows.count == 0) return err;
    rows_stored(book, lane);
    phase_begin(PHASE_SEAL);
    err = shelf_seal(book->options.shelf, snapshot, lane->lane, book->rows.candles, book->rows.count, book->diag);
    phase_end(PHASE_SEAL);
    return err;
}

static enum err seal_due(struct book *book, struct lane_state *lane, struct store_snapshot *snapshot, uint32_t *seals) {
    int64_t now = lane->max_ms > book->clock_ms ? lane->max_ms : book->clock_ms;
    const uint32_t rest = book->options.seal_rest > 0 ? book->options.seal_rest : SEAL_REST;
    for (uint32_t i = 0; i < lane->day_count && *seals < SEALS_A_FREEZE;) {
        const struct unsealed_day *day = &lane->days[i];
        if ((day->day + 1) * DAY_MS + seal_after_ms > now) return ERR_OK;
        if (book->freezes - day->touched < rest) {
            i++;
            continue;
        }
        enum err err = seal_day(book, lane, day->day, snapshot);
        if (err) return err;
        day_remove(lane, i);
        (*seals)++;
        err = lane_enlist(book, lane, LISTED_DIRTY);
        if (err) return err;
    }
    return ERR_OK;
}

static enum err seal_some(struct book *book, struct store_snapshot *snapshot) {
    uint32_t seals = 0, looks = book->all.count < LOOKS_A_FREEZE ? book->all.count : LOOKS_A_FREEZE;
    for (uint32_t i = 0; i < looks; i++) {
        struct lane_state *lane = book->all.lanes[book->seal_cursor++ % book->all.count];
        enum err err = seal_due(book, lane, snapshot, &seals);
        if (err) return err;
    }
    return ERR_OK;
}

/* --- freezing --- */

static enum err put_state(struct book *book, struct lane_state *lane, struct store_batch *batch) {
    uint8_t key_bytes[STATE_KEY_SIZE];
    if (!lane->saved_series) {
        series_row_put(batch, series_get(book->options.series, lane->lane.series));
        lane->saved_series = true;
    }
    buf_clear(&book->scratch);
    lane_state_encode(&book->scratch, lane);
    enum err err = buf_err(&book->scratch);
    if (err) return diag_set(book->diag, err, "the fold state of series number %u is too large", lane->lane.series);
    lane_state_key(lane->lane, key_bytes);
    struct store_key key = {STORE_STATE, slice_text(book->options.task), slice_of(key_bytes, sizeof key_bytes)};
    store_batch_put_buf(batch, &key, &book->scratch);
    return ERR_OK;
}

/* What fails here leaves the rows dirty: it is done again, or the freeze is never committed. */
static enum err put_rows(struct book *book, struct lane_state *lane, struct store_snapshot *snapshot,
                         struct store_batch *batch) {
    lane_settle(lane);
    book->rows.count = 0;
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < lane->chunk_count && err == ERR_OK; i++)
        err = buffer_bits(book, lane, lane->chunks[i], lane->chunks[i]->dirty);
    if (err != ERR_OK || book->rows.count == 0) return err;
    rows_stored(book, lane);
    err = shelf_put_later(book->options.shelf, snapshot, batch, lane->lane, book->rows.candles, book->rows.count);
    for (uint32_t i = 0; i < lane->chunk_count && err == ERR_OK; i++) {
        lane->chunks[i]->frozen |= lane->chunks[i]->dirty;
        lane->chunks[i]->dirty = 0;
    }
    return err;
}

/* The lane is freezing until all of it is in the batch. */
enum err lane_freeze(struct book *book, struct lane_state *lane) {
    const struct freeze *freeze = &book->freeze;
    assert(freeze->batch != NULL);
    enum err err = put_rows(book, lane, freeze->snapshot, freeze->batch);
    if (err == ERR_OK) err = put_state(book, lane, freeze->batch);
    if (err == ERR_OK) err = lane_enlist(book, lane, LISTED_FROZEN);
    if (err == ERR_OK) lane->listed &= (uint8_t)~LISTED_FREEZING;
    return err;
}

/* The dirty lanes become the freezing ones. */
enum err book_freeze_begin(struct book *book, struct store_snapshot *snapshot, struct store_batch *batch,
                           struct diag *diag) {
    assert(book->freeze.batch == NULL);
    book->diag = diag;
    book->freezes++;
    if (book->options.shelf == NULL) return ERR_OK;
    enum err err = seal_some(book, snapshot);
    if (err != ERR_OK) return err;
    struct lane_list spare = book->freezing;
    book->freezing = book->dirty;
    book->dirty = spare;
    book->dirty.count = 0;
    for (uint32_t i = 0; i < book->freezing.count; i++) {
        struct lane_state *lane = book->freezing.lanes[i];
        lane->listed = (uint8_t)((lane->listed & ~LISTED_DIRTY) | LISTED_FREEZING);
    }
    book->freeze = (struct freeze){snapshot, batch, 0};
    return ERR_OK;
}

enum err book_freeze_some(struct book *book, uint32_t lanes, struct diag *diag, uint32_t *ret_left) {
    struct freeze *freeze = &book->freeze;
    enum err err = ERR_OK;
    book->diag = diag;
    for (uint32_t done = 0; freeze->next < book->freezing.count && done < lanes; freeze->next++) {
        struct lane_state *lane = book->freezing.lanes[freeze->next];
        if ((lane->listed & LISTED_FREEZING) == 0) continue;
        if ((err = lane_freeze(book, lane)) != ERR_OK) break;
        done++;
    }
    if (err == ERR_OK && freeze->batch != NULL) err = store_batch_err(freeze->batch);
    if (err != ERR_OK) return err;
    *ret_left = book->freezing.count - freeze->next;
    if (*ret_left > 0) return ERR_OK;
    book->freezing.count = 0;
    book->freeze = (struct freeze){0};
    return ERR_OK;
}

enum err book_freeze_rest(struct book *book) {
    uint32_t left;
    return book->freeze.batch == NULL ? ERR_OK : book_freeze_some(book, UINT32_MAX, book->diag, &left);
}

enum err book_freeze(struct book *book, struct store_snapshot *snapshot, struct store_batch *batch, struct diag *diag) {
    enum err err = book_freeze_begin(book, snapshot, batch, diag);
    return err != ERR_OK ? err : book_freeze_rest(book);
}

void book_committed(struct book *book) {
    assert(book->freeze.batch == NULL);
    for (uint32_t i = 0; i < book->frozen.count; i++) {
        struct lane_state *lane = book->frozen.lanes[i];
        for (uint32_t c = lane->chunk_count; c-- > 0;) lane->chunks[c]->frozen = 0;
        lane->listed &= (uint8_t)~LISTED_FROZEN;
        rows_let_go(book, lane, keep_ms);
    }
    book->frozen.count = 0;
}

/* --- bounded books --- */

static void saved(struct chunk *chunk) { chunk->dirty = chunk->frozen = 0; }

/* Rows are handed over in runs of whole days. */
static enum err seal_until(struct book *book, struct lane_state *lane, int64_t until_ms,
                           struct store_snapshot *snapshot) {
    enum { RUN_ROWS = 32768 };
    enum err err = ERR_OK;
    lane_settle(lane);
    book->rows.count = 0;
    for (uint32_t i = 0; i < lane->chunk_count && err == ERR_OK; i++) {
        struct chunk *chunk = lane->chunks[i];
        if (chunk->start_ms >= until_ms) break;
        err = buffer_bits(book, lane, chunk, chunk->dirty);
        saved(chunk);
        bool last = i + 1 == lane->chunk_count || lane->chunks[i + 1]->start_ms >= until_ms;
        bool day_ends = last || lane->chunks[i + 1]->start_ms / DAY_MS != chunk->start_ms / DAY_MS;
        if (err || !day_ends || book->rows.count == 0 || (!last && book->rows.count < RUN_ROWS)) continue;
        rows_stored(book, lane);
        phase_begin(PHASE_SEAL);
        err = shelf_seal(book->options.shelf, snapshot, lane->lane, book->rows.candles, book->rows.count, book->diag);
        phase_end(PHASE_SEAL);
        book->rows.count = 0;
    }
    return err;
}

static enum err seal_passed(struct book *book, struct lane_state *lane) {
    int64_t until = lane->max_ms == INT64_MIN ? 0 : (lane->max_ms / DAY_MS - 1) * DAY_MS;
    if (lane->chunk_count == 0 || lane->chunks[0]->start_ms >= until) return ERR_OK;
    struct store_snapshot *snapshot;
    enum err err = book_snapshot(book, &snapshot);
    if (err == ERR_OK) err = seal_until(book, lane, until, snapshot);
    if (err) return err;
    lane->sealed_until_ms = until;
    while (lane->day_count > 0 && lane->days[0].day * DAY_MS < until) day_remove(lane, 0);
    for (uint32_t i = 0; i < lane->chunk_count && lane->chunks[i]->start_ms < until; i++) {
        lane->open_rows -= (uint32_t)__builtin_popcountll(lane->chunks[i]->open);
        lane->chunks[i]->open = 0;
    }
    rows_let_go(book, lane, 1);
    return ERR_OK;
}

enum err book_make_room(struct book *book) {
    bool bounded = book->options.bounded && book->options.shelf != NULL;
    size_t limit = book->max_bytes / 4 * 3;
    if (bounded && !book->options.hold && limit > relief_bytes) limit = relief_bytes;
    if (book->bytes < limit || book->bytes < book->relieved_bytes + book->relieved_bytes / 4) return ERR_OK;
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < book->all.count && err == ERR_OK; i++) {
        if (bounded)
            err = seal_passed(book, book->all.lanes[i]);
        else
            rows_let_go(book, book->all.lanes[i], 0);
    }
    book->relieved_bytes = book->bytes;
    return err;
}

/* --- the end --- */

enum err book_seal_all(struct book *book, struct store_snapshot *snapshot, struct store_batch *batch,
                       struct diag *diag) {
    book->diag = diag;
    assert(book->freeze.batch == NULL);
    enum err err = book->options.shelf != NULL ? shelf_load_end(book->options.shelf, snapshot, diag) : ERR_OK;
    for (uint32_t i = 0; i < book->all.count && err == ERR_OK && book->options.shelf != NULL; i++) {
        struct lane_state *lane = book->all.lanes[i];
        err = book_tail_flush(book, lane);
        if (err == ERR_OK) err = seal_until(book, lane, INT64_MAX, snapshot);
        lane->day_count = 0;
        if (err == ERR_OK) err = put_state(book, lane, batch);
        rows_drop(book, lane);
        lane->listed = 0;
    }
    book->dirty.count = book->changed.count = book->touched.count = book->frozen.count = 0;
    book_snapshot_end(book);
    return err ? err : store_batch_err(batch);
}
