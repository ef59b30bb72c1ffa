#include "candle/book.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "candle/book/lane.h"

enum { PRICE_GRACE_MS = 10000, TASK_NAME_MAX = 200 };
static const size_t max_bytes_default = (size_t)1 << 30;

/* --- life cycle --- */

enum err book_open(const struct book_options *options, struct diag *diag, struct book **ret_book) {
    assert(options->base_ms == 60000 || options->base_ms == 1000);
    assert((options->shelf == NULL) == (options->store == NULL));
    struct book *book = calloc(1, sizeof *book);
    char *task = strdup(options->task != NULL ? options->task : "book");
    if (book == NULL || task == NULL || strlen(task) > TASK_NAME_MAX) {
        free(book);
        free(task);
        return diag_set(diag, ERR_NO_MEMORY, "no memory for a book");
    }
    book->options = *options;
    book->options.task = task;
    book->base_ms = options->base_ms;
    book->chunk_ms = book->base_ms * ROWS_A_CHUNK;
    book->price_grace_ms = options->price_grace_ms > 0 ? options->price_grace_ms : PRICE_GRACE_MS;
    book->max_bytes = options->max_bytes > 0 ? options->max_bytes : max_bytes_default;
    book->clock_ms = INT64_MIN;
    book->next_clock_ms = INT64_MAX;
    buf_init(&book->scratch, STATE_BYTES_MAX);
    enum err err = options->store == NULL ? ERR_OK : book_restore(book, diag);
    if (err) {
        book_close(&book);
        return err;
    }
    *ret_book = book;
    return ERR_OK;
}

void book_close(struct book **book) {
    struct book *b = *book;
    if (b == NULL) return;
    book_snapshot_end(b);
    for (uint32_t i = 0; i < b->all.count; i++) lane_deinit(b->all.lanes[i]);
    for (struct lane_slab *slab = b->slabs, *next; slab != NULL; slab = next) {
        next = slab->next;
        free(slab);
    }
    free(b->all.lanes);
    free(b->changed.lanes);
    free(b->dirty.lanes);
    free(b->touched.lanes);
    free(b->frozen.lanes);
    free(b->freezing.lanes);
    free(b->series);
    free(b->rows.candles);
    buf_deinit(&b->scratch);
    free((char *)b->options.task);
    free(b);
    *book = NULL;
}

/* --- time and the feed --- */

enum err book_apply_status(struct book *book, const struct book_status *status, int64_t append_ms, struct diag *diag) {
    static const uint8_t trades[] = {BASIS_TRADES, BASIS_AGGREGATED}, prices[] = {BASIS_PRICES};
    book->diag = diag;
    if (append_ms > book->clock_ms) book->clock_ms = append_ms;
    const struct series *series = series_get(book->options.series, status->series);
    if (series == NULL) return diag_set(diag, ERR_UNKNOWN, "series number %u is not known", status->series);
    bool price = series->kind == SERIES_PRICE;
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < (price ? 1 : 2) && err == ERR_OK; i++) {
        struct lane_state *lane = lane_find(book, status->series, price ? prices[i] : trades[i]);
        if (lane == NULL && i == 0) err = lane_get(book, status->series, price ? prices[i] : trades[i], &lane);
        if (lane == NULL || err) continue;
        lane_settle(lane);
        err = lane_thaw(book, lane);
        if (err == ERR_OK) err = lane_feed(book, lane, status);
        if (err == ERR_OK) err = lane_fill_feed(book, lane);
        if (err == ERR_OK) err = lane_enlist(book, lane, LISTED_DIRTY);
    }
    book_snapshot_end(book);
    return err;
}

static enum err tick_lane(struct book *book, struct lane_state *lane) {
    if (!lane->live) return ERR_OK;
    lane_settle(lane);
    int64_t watermark = lane_watermark(book, lane);
    enum err err = watermark >= lane->check_ms || lane->feed.count > 0 ? lane_thaw(book, lane) : ERR_OK;
    if (err == ERR_OK) err = lane_close_due(book, lane, watermark);
    if (err == ERR_OK) err = lane_fill_feed(book, lane);
    if (lane->check_ms < book->next_clock_ms) book->next_clock_ms = lane->check_ms;
    return err;
}

/* A series is live by what came since the last tick: its newest event was younger than LIVE_MS when it was appended. */
enum err book_clock(struct book *book, int64_t append_ms, struct diag *diag) {
    book->diag = diag;
    enum err err = ERR_OK;
    if (append_ms > book->clock_ms) book->clock_ms = append_ms;
    for (uint32_t i = 0; i < book->touched.count && err == ERR_OK; i++) {
        struct lane_state *lane = book->touched.lanes[i];
        bool live = !book->options.bounded && lane->max_ms != INT64_MIN && lane->max_ms >= book->clock_ms - LIVE_MS;
        if (live != lane->live && (err = lane_thaw(book, lane)) != ERR_OK) break;
        lane->live = live;
        lane->listed &= (uint8_t)~LISTED_TOUCHED;
        if (lane->live && lane->check_ms < book->next_clock_ms) book->next_clock_ms = lane->check_ms;
    }
    if (err != ERR_OK) return err;
    book->touched.count = 0;
    if (book->clock_ms < book->next_clock_ms) return ERR_OK;
    book->next_clock_ms = INT64_MAX;
    for (uint32_t i = 0; i < book->all.count && err == ERR_OK; i++) err = tick_lane(book, book->all.lanes[i]);
    book_snapshot_end(book);
    return err;
}

/* Whatever ended before the newest event of its series; the row of that one is open still. */
enum err book_finish(struct book *book, struct diag *diag) {
    book->diag = diag;
    enum err err = book_freeze_rest(book);
    for (uint32_t i = 0; i < book->all.count && err == ERR_OK; i++) {
        struct lane_state *lane = book->all.lanes[i];
        lane_settle(lane);
        if (lane->max_ms != INT64_MIN) err = lane_close_due(book, lane, lane->max_ms + 1 + lane->grace_ms);
        if (err == ERR_OK) err = lane_fill_feed(book, lane);
    }
    book_snapshot_end(book);
    return err;
}

/* --- reading --- */

enum err book_scan(struct book *book, const struct shelf_range *range, candle_visit visit, void *context) {
    assert(range->tier_ms == book->base_ms);
    struct lane_state *lane = lane_find(book, range->lane.series, range->lane.basis);
    if (lane == NULL) return ERR_OK;
    lane_settle(lane);
    int64_t at = range->descending ? (range->to_ms < TIME_MAX_MS ? range->to_ms : TIME_MAX_MS) : range->from_ms;
    if (at < 0) at = 0;
    struct row row;
    for (;;) {
        bool found = range->descending ? row_previous(book, lane, at, &row) : row_next(book, lane, at, &row);
        if (!found || row.start_ms < range->from_ms || row.start_ms >= range->to_ms) return ERR_OK;
        struct candle candle;
        row_to_candle(book, lane, &row, &candle);
        enum err err = visit(context, &candle);
        if (err == ERR_END) return ERR_OK;
        if (err) return err;
        at = range->descending ? row.start_ms : row.start_ms + book->base_ms;
    }
}

enum err book_lane(struct book *book, struct lane lane, struct book_lane_info *ret_info) {
    const struct lane_state *state = lane_find(book, lane.series, lane.basis);
    if (state == NULL) return ERR_NOT_FOUND;
    bool ids = state->ids.count > 0;
    *ret_info = (struct book_lane_info){
        .watermark_ms = lane_watermark(book, state),
        .last_event_ms = state->max_ms,
        .grace_ms = state->grace_ms,
        .first_id = ids ? state->ids.ranges[0].first : -1,
        .last_id = ids ? idset_max(&state->ids) : -1,
        .range_count = state->ids.count,
        .used = state->used,
        .late = state->late,
        .duplicate = state->duplicate,
        .filtered = state->filtered,
        .conflicts = state->conflicts,
        .live = state->live,
    };
    return ERR_OK;
}

/* Filtered ids have no time: the trades beyond them then bound the hole, and without any it is of every time. */
static enum err visit_gaps(const struct idset *ids, int64_t from_ms, int64_t to_ms,
                           enum err (*visit)(void *context, const struct book_gap *gap), void *context) {
    int64_t after_ms = IDSET_NO_TIME;
    uint32_t timed = 0; /* the next range at or behind `i` that has a time */
    for (uint32_t i = 1; i < ids->count; i++) {
        const struct id_range *before = &ids->ranges[i - 1], *after = &ids->ranges[i];
        if (before->last_ms >= 0) after_ms = before->last_ms;
        if (timed < i) timed = i;
        while (timed < ids->count && ids->ranges[timed].first_ms < 0) timed++;
        int64_t before_ms = timed < ids->count ? ids->ranges[timed].first_ms : IDSET_NO_TIME;
        struct book_gap gap = {before->last + 1, after->first - 1, after_ms, before_ms};
        if (gap.after_ms >= to_ms || (gap.before_ms >= 0 && gap.before_ms < from_ms)) continue;
        enum err err = visit(context, &gap);
        if (err) return err;
    }
    return ERR_OK;
}

/* Only dense ids have holes. */
enum err book_gaps(struct book *book, struct lane lane, int64_t from_ms, int64_t to_ms,
                   enum err (*visit)(void *context, const struct book_gap *gap), void *context) {
    const struct lane_state *state = lane_find(book, lane.series, lane.basis);
    if (state == NULL) return ERR_NOT_FOUND;
    if (state->ids_kind != LANE_DENSE) return ERR_OK;
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < state->epoch_count && err == ERR_OK; i++)
        err = visit_gaps(&state->epochs[i].ids, from_ms, to_ms, visit, context);
    if (err == ERR_OK) err = visit_gaps(&state->ids, from_ms, to_ms, visit, context);
    return err == ERR_END ? ERR_OK : err;
}
