#include <assert.h>
#include <stdlib.h>

#include "base/plant.h"
#include "candle/read/parts.h"

static enum err visit_add(void *context, const struct candle *row) { return candle_rows_add(context, row); }

static struct shelf_range range_of(const struct read *read, const struct read_lane *lane,
                                   const struct read_span *span) {
    return (struct shelf_range){lane->lane, read->tier_ms[span->tier], span->from_ms, span->to_ms, false};
}

static bool has_book(const struct read *read, const struct read_span *span) {
    return (read->source->book != NULL || read->source->slice != NULL) && span->tier == TIER_BASE_INDEX;
}

static bool book_touches(const struct read *read, const struct read_lane *lane, const struct read_span *span) {
    return has_book(read, span) && lane->book_from_ms < span->to_ms;
}

static enum err scan_slice(const struct candle_slice *slice, const struct shelf_range *range, candle_visit visit,
                           void *context) {
    uint32_t count;
    const struct candle *rows = candle_slice_rows(slice, range->lane.basis, range->from_ms, range->to_ms, &count);
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < count && err == ERR_OK; i++)
        err = visit(context, &rows[range->descending ? count - 1 - i : i]);
    return err == ERR_END ? ERR_OK : err;
}

static enum err scan_book(const struct read *read, const struct shelf_range *range, candle_visit visit, void *context) {
    if (read->source->slice != NULL) return scan_slice(read->source->slice, range, visit, context);
    return book_scan(read->source->book, range, visit, context);
}

static enum err scan_shelf(struct read *read, const struct read_lane *lane, const struct shelf_range *range,
                           candle_visit visit, void *context) {
    if (read->source->shelf == NULL || lane->in_memory) return ERR_OK;
    enum err err = read_snapshot(read);
    if (err != ERR_OK) return err;
    return shelf_scan(read->source->shelf, read->snapshot, range, visit, context, read->diag);
}

/* --- one row --- */

static enum err visit_one(void *context, const struct candle *row) {
    *(struct candle *)context = *row;
    return ERR_END;
}

static enum err first_or_last(struct read *read, const struct read_lane *lane, const struct read_span *span, bool last,
                              bool book, struct candle *ret_row) {
    struct candle row = {.open_time_ms = INT64_MIN};
    struct shelf_range range = range_of(read, lane, span);
    range.descending = last;
    enum err err = ERR_OK;
    if (range.from_ms >= range.to_ms) return ERR_NOT_FOUND;
    err = book ? scan_book(read, &range, visit_one, &row) : scan_shelf(read, lane, &range, visit_one, &row);
    if (err) return err;
    if (row.open_time_ms == INT64_MIN) return ERR_NOT_FOUND;
    *ret_row = row;
    return ERR_OK;
}

enum err lane_book_edge(struct read *read, const struct read_lane *lane, const struct read_span *span, bool last,
                        struct candle *ret_row) {
    assert(has_book(read, span));
    return first_or_last(read, lane, span, last, true, ret_row);
}

/* What the book has bounds what is asked of the shelf. */
enum err lane_edge(struct read *read, const struct read_lane *lane, const struct read_span *span, bool last,
                   struct candle *ret_row) {
    struct candle row;
    struct read_span rest = *span;
    bool found = false;
    if (has_book(read, span)) {
        enum err err = first_or_last(read, lane, span, last, true, &row);
        if (err && err != ERR_NOT_FOUND) return err;
        found = err == ERR_OK;
        if (found && last) rest.from_ms = row.close_time_ms + 1;
        if (found && !last) rest.to_ms = row.open_time_ms;
    }
    enum err err = first_or_last(read, lane, &rest, last, false, &row);
    if (err && (err != ERR_NOT_FOUND || !found)) return err;
    *ret_row = row;
    return ERR_OK;
}

/* --- quiet stretches --- */

/* Ids of quiet rows are none, so the last id may lie some rows before the last row. */
struct look_back {
    struct read_lane *lane;
    unsigned rows;
};

static void remember(struct read_lane *lane, const struct candle *row) {
    lane->has_last = true;
    lane->next_ms = row->close_time_ms + 1;
    lane->close = row->close;
    if (row->last_id >= 0) lane->last_id = row->last_id;
}

static enum err visit_back(void *context, const struct candle *row) {
    struct look_back *look = context;
    enum { ROWS_MAX = 3000 };
    if (!look->lane->has_last) remember(look->lane, row);
    look->lane->last_id = row->last_id;
    return row->last_id >= 0 || ++look->rows == ROWS_MAX ? ERR_END : ERR_OK;
}

void lane_start(struct read_lane *lane, int64_t from_ms) {
    lane->fill_from_ms = from_ms;
    lane->has_last = false;
    lane->last_id = -1;
}

/* What lies before a range that does not begin with a row. */
static enum err look_back(struct read *read, struct read_lane *lane, const struct read_span *span) {
    if (lane->has_last) return ERR_OK;
    struct candle row;
    struct read_span before = {span->tier, 0, lane->fill_from_ms};
    enum err err = lane_edge(read, lane, &before, true, &row);
    if (err) return err == ERR_NOT_FOUND ? ERR_OK : err;
    remember(lane, &row);
    if (row.last_id >= 0) return ERR_OK;
    struct look_back look = {lane, 0};
    struct shelf_range range = range_of(read, lane, &before);
    range.descending = true;
    if (has_book(read, &before)) err = scan_book(read, &range, visit_back, &look);
    if (err == ERR_OK && lane->last_id < 0) err = scan_shelf(read, lane, &range, visit_back, &look);
    return err;
}

/* Flat rows from the last row to `to_ms`. */
static enum err fill(const struct read *read, const struct read_lane *lane, const struct read_span *span, int64_t to_ms,
                     candle_visit visit, void *context) {
    int64_t step = read->tier_ms[span->tier];
    int64_t at = lane->next_ms > lane->fill_from_ms ? lane->next_ms : lane->fill_from_ms;
    if (to_ms > span->to_ms) to_ms = span->to_ms;
    struct candle row = {
        .open = lane->close,
        .high = lane->close,
        .low = lane->close,
        .close = lane->close,
        .first_id = -1,
        .last_id = -1,
        .last_offset = -1,
        .covered_minutes = step < 60000 ? 1 : (uint32_t)(step / 60000),
        .native_ms = (uint32_t)step,
        .coverage = COVERAGE_QUIET,
        .basis = lane->lane.basis,
        .final = CANDLE_FINAL_PROVEN,
    };
    for (; at < to_ms; at += step) {
        row.open_time_ms = row.open_mark.time_ms = row.close_mark.time_ms = at;
        row.close_time_ms = at + step - 1;
        enum err err = visit(context, &row);
        if (err) return err;
    }
    return ERR_OK;
}

static bool proves_quiet(const struct read_lane *lane, const struct candle *next) {
    if (!lane->has_last) return false;
    if (PLANTED(PLANT_QUIET_WITHOUT_PROOF)) return true;
    return lane->last_id >= 0 && next->first_id == lane->last_id + 1;
}

/* --- the rows of a lane --- */

struct feed {
    struct read *read;
    struct read_lane *lane;
    const struct read_span *span;
    candle_visit visit;
    void *context;
    const struct candle *book; /* the book's rows of the span */
    uint32_t book_next, book_count;
    bool began, stopped;
};

static enum err pass_dense(struct feed *feed, const struct candle *row) {
    struct read_lane *lane = feed->lane;
    enum err err = ERR_OK;
    if (!feed->began && row->open_time_ms > lane->fill_from_ms) err = look_back(feed->read, lane, feed->span);
    feed->began = true;
    if (err == ERR_OK && lane->has_last && row->open_time_ms > lane->next_ms && proves_quiet(lane, row))
        err = fill(feed->read, lane, feed->span, row->open_time_ms, feed->visit, feed->context);
    if (err == ERR_OK) err = feed->visit(feed->context, row);
    remember(lane, row);
    return err;
}

static enum err pass(struct feed *feed, const struct candle *row) {
    enum err err = feed->lane->dense ? pass_dense(feed, row) : feed->visit(feed->context, row);
    feed->stopped = err == ERR_END;
    return err;
}

static enum err visit_shelf(void *context, const struct candle *row) {
    struct feed *feed = context;
    while (feed->book_next < feed->book_count && feed->book[feed->book_next].open_time_ms < row->open_time_ms) {
        enum err err = pass(feed, &feed->book[feed->book_next++]);
        if (err) return err;
    }
    if (feed->book_next < feed->book_count && feed->book[feed->book_next].open_time_ms == row->open_time_ms)
        return pass(feed, &feed->book[feed->book_next++]);
    return pass(feed, row);
}

static enum err feed_book(struct feed *feed, const struct shelf_range *range) {
    struct read *read = feed->read;
    if (read->source->slice != NULL) {
        feed->book =
            candle_slice_rows(read->source->slice, range->lane.basis, range->from_ms, range->to_ms, &feed->book_count);
        return ERR_OK;
    }
    read->book_rows.count = 0;
    enum err err = book_scan(read->source->book, range, visit_add, &read->book_rows);
    feed->book = read->book_rows.rows;
    feed->book_count = read->book_rows.count;
    return err;
}

enum err lane_rows(struct read *read, struct read_lane *lane, const struct read_span *span, candle_visit visit,
                   void *context) {
    struct shelf_range range = range_of(read, lane, span);
    struct feed feed = {.read = read, .lane = lane, .span = span, .visit = visit, .context = context};
    enum err err = book_touches(read, lane, span) ? feed_book(&feed, &range) : ERR_OK;
    if (err == ERR_OK) err = scan_shelf(read, lane, &range, visit_shelf, &feed);
    while (err == ERR_OK && !feed.stopped && feed.book_next < feed.book_count)
        err = pass(&feed, &feed.book[feed.book_next++]);
    return err == ERR_OK && feed.stopped ? ERR_END : err;
}

enum err lane_rows_end(struct read *read, struct read_lane *lane, const struct read_span *span, candle_visit visit,
                       void *context) {
    if (!lane->dense || (lane->has_last && lane->next_ms >= span->to_ms)) return ERR_OK;
    struct candle next;
    enum err err = look_back(read, lane, span);
    if (err || !lane->has_last) return err;
    int64_t split_ms = read->split_ms > span->to_ms ? read->split_ms : span->to_ms;
    struct read_span tier = {span->tier, span->to_ms, split_ms}, base = {TIER_BASE_INDEX, split_ms, READ_TIME_MAX_MS};
    err = lane_edge(read, lane, &tier, false, &next);
    if (err == ERR_NOT_FOUND) err = lane_edge(read, lane, &base, false, &next);
    if (err) return err == ERR_NOT_FOUND ? ERR_OK : err;
    if (!proves_quiet(lane, &next)) return ERR_OK;
    err = fill(read, lane, span, span->to_ms, visit, context);
    lane->next_ms = span->to_ms;
    return err;
}
