#include "candle/read/parts.h"

static int64_t length_of(const struct candle *row) { return row->close_time_ms + 1 - row->open_time_ms; }

/* Rows shorter than a minute count themselves. */
static int64_t covered_of(const struct candle *row) {
    int64_t length = length_of(row);
    if (length < 60000) return row->coverage >= COVERAGE_QUIET ? length : 0;
    int64_t covered = row->covered_minutes * INT64_C(60000);
    return covered < length ? covered : length;
}

static enum err give(struct rollup *r, const struct candle *candle) {
    r->count++;
    enum err err = r->visit(r->context, candle);
    if (err) return err;
    return r->limit > 0 && r->count == r->limit ? ERR_END : ERR_OK;
}

/* A bucket that is over and misses minutes is partial, and not proven; one that is not over is open. */
static enum err finish(struct rollup *r) {
    struct candle *sum = &r->sum;
    r->active = false;
    bool over = r->end_ms <= r->closed_until_ms || r->end_ms <= r->last_ms;
    int64_t known_ms = (over ? r->end_ms : r->last_ms) - r->start_ms;
    if (r->covered_ms < known_ms) {
        if (sum->coverage >= COVERAGE_QUIET) sum->coverage = COVERAGE_PARTIAL;
        if (sum->final == CANDLE_FINAL_PROVEN) sum->final = CANDLE_FINAL_CLOCK;
    }
    if (!over) sum->final = CANDLE_OPEN;
    sum->open_time_ms = r->start_ms;
    sum->close_time_ms = r->end_ms - 1;
    sum->covered_minutes = (uint32_t)(r->covered_ms / 60000);
    return give(r, sum);
}

static bool is_whole(const struct candle *row) {
    int64_t length = length_of(row);
    return row->coverage < COVERAGE_QUIET || length < 60000 || row->covered_minutes * INT64_C(60000) >= length;
}

static enum err begin(struct rollup *r, const struct candle *row) {
    if (length_of(row) == r->same_ms && is_whole(row))
        return row->open_time_ms < r->from_ms || row->open_time_ms >= r->to_ms ? ERR_OK : give(r, row);
    interval_bucket(r->interval, &r->origin, row->open_time_ms, &r->start_ms, &r->end_ms);
    if (r->start_ms < r->from_ms || r->start_ms >= r->to_ms) return ERR_OK;
    /* Most rows of most queries: stored as they are asked for. */
    if (row->open_time_ms == r->start_ms && row->close_time_ms + 1 == r->end_ms && is_whole(row)) return give(r, row);
    if (row->close_time_ms >= r->end_ms) return ERR_CORRUPT;
    r->sum = *row;
    r->active = true;
    r->covered_ms = covered_of(row);
    r->last_ms = row->close_time_ms + 1;
    return ERR_OK;
}

enum err rollup_add(struct rollup *r, const struct candle *row) {
    if (r->active && row->open_time_ms >= r->end_ms) {
        if (r->closed_until_ms < row->open_time_ms) r->closed_until_ms = row->open_time_ms;
        enum err err = finish(r);
        if (err) return err;
    }
    if (!r->active) return begin(r, row);
    if (row->open_time_ms < r->last_ms || row->close_time_ms >= r->end_ms) return ERR_CORRUPT;
    r->covered_ms += covered_of(row);
    r->last_ms = row->close_time_ms + 1;
    return candle_merge(&r->sum, row);
}

enum err rollup_finish(struct rollup *r) { return r->active ? finish(r) : ERR_OK; }
