#include "candle/read.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "candle/read/parts.h"

enum { WINDOW_ROWS = 32768, WINDOW_ROWS_MERGED = 2048, DAY_MS = 86400000 };

static int64_t floor_to(int64_t time_ms, int64_t step) { return time_ms - ((time_ms % step) + step) % step; }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* --- the plan: rows, tier, lanes --- */

enum err read_snapshot(struct read *read) {
    if (read->snapshot != NULL || read->source->store == NULL) return ERR_OK;
    return store_snapshot_open(read->source->store, &read->snapshot);
}

static void snapshot_end(struct read *read) {
    if (read->snapshot != NULL) store_snapshot_close(read->source->store, &read->snapshot);
    read->snapshot = NULL;
}

/* Rows are read from the first bucket that begins in the range to the end of the last that does. */
void candle_query_span(const struct candle_query *q, int64_t *ret_from_ms, int64_t *ret_to_ms) {
    int64_t from = most(q->from_ms, 0), to = least(q->to_ms, READ_TIME_MAX_MS), start, end;
    *ret_from_ms = *ret_to_ms = 0;
    if (from >= to) return;
    interval_bucket(q->interval, &q->origin, from, &start, &end);
    *ret_from_ms = *ret_to_ms = start >= from ? start : least(end, to);
    if (*ret_from_ms >= to) return;
    interval_bucket(q->interval, &q->origin, to - 1, &start, &end);
    *ret_to_ms = end;
}

static void name_of_ms(int64_t ms, char text[static 16]) {
    struct interval interval = {INTERVAL_DAY, (uint32_t)(ms / DAY_MS)};
    if (ms % DAY_MS != 0) interval = (struct interval){INTERVAL_MINUTE, (uint32_t)(ms / 60000)};
    if (ms % 60000 != 0) interval = (struct interval){INTERVAL_SECOND, (uint32_t)(ms / 1000)};
    interval_format(interval, text);
}

static int64_t typical_ms(struct interval interval) {
    static const int64_t ms[] = {1000, 60000, 3600000, DAY_MS, 7 * INT64_C(86400000), 30 * INT64_C(86400000)};
    return ms[interval.unit] * interval.count;
}

static enum err find_tier(const struct candle_query *q, uint32_t base_ms, int64_t from_ms, int64_t to_ms,
                          struct diag *diag, uint32_t *ret_tier_ms) {
    enum err err = interval_tier_between(q->interval, &q->origin, base_ms, from_ms, to_ms, ret_tier_ms);
    if (err == ERR_OK) return ERR_OK;
    uint32_t any_ms;
    char asked[16], base[16];
    interval_format(q->interval, asked);
    name_of_ms(base_ms, base);
    diag_set(diag, err, "candles of %s cannot be made from candles of %s", asked, base);
    if (q->origin.zone != NULL &&
        interval_tier(q->interval, &(struct origin){.week_start = 1}, base_ms, &any_ms) == ERR_OK) {
        diag_where(diag, "tz");
        diag_hint(diag,
                  "the zone's clock has stood between two of them; ask for a time when it did not, by from and to");
        return err;
    }
    diag_where(diag, "interval");
    diag_hint(diag, "the finest interval is %s; others are multiples of it", base);
    return err;
}

enum err candle_query_check(const struct candle_query *query, uint32_t base_ms, struct diag *diag) {
    int64_t from_ms, to_ms;
    uint32_t tier_ms;
    candle_query_span(query, &from_ms, &to_ms);
    return find_tier(query, base_ms, from_ms, to_ms, diag, &tier_ms);
}

static enum err plan_tier(struct read *read) {
    const struct candle_query *q = read->query;
    uint32_t base_ms = read->source->base_ms == 0 ? 60000 : read->source->base_ms, tier_ms;
    assert(base_ms == 60000 || base_ms == 1000);
    read->tier_ms[0] = base_ms;
    read->tier_ms[1] = 900000;
    read->tier_ms[2] = DAY_MS;
    enum err err = find_tier(q, base_ms, read->from_ms, read->to_ms, read->diag, &tier_ms);
    if (err != ERR_OK) return err;
    read->tier = 0;
    while (read->tier_ms[read->tier] != tier_ms) read->tier++;
    if (q->origin.zone == NULL && q->interval.unit <= INTERVAL_DAY && typical_ms(q->interval) == tier_ms)
        read->rollup.same_ms = tier_ms;
    return ERR_OK;
}

static const struct series *series_of(const struct read *read) {
    return read->source->series == NULL ? NULL : series_get(read->source->series, read->query->series);
}

static bool has_memory(const struct read *read) { return read->source->book != NULL || read->source->slice != NULL; }

static enum err lane_book_edges(struct read *read, struct read_lane *lane) {
    struct candle row;
    struct read_span all = {TIER_BASE_INDEX, 0, READ_TIME_MAX_MS},
                     range = {TIER_BASE_INDEX, read->from_ms, read->to_ms};
    lane->book_from_ms = INT64_MAX;
    if (!has_memory(read)) return ERR_OK;
    enum err err = lane_book_edge(read, lane, &range, false, &row);
    if (err == ERR_OK) lane->book_from_ms = row.open_time_ms;
    if (err == ERR_OK || err == ERR_NOT_FOUND) err = lane_book_edge(read, lane, &all, true, &row);
    if (err == ERR_OK) lane->top_ms = row.close_time_ms + 1;
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* The clock of the series less its grace: what ends before it is over. INT64_MIN where the book does not say. */
static int64_t lane_clock(const struct read *read, struct lane lane) {
    struct book_lane_info info = {0};
    if (read->source->slice != NULL) {
        const struct slice_lane *own = &read->source->slice->lanes[lane.basis];
        info.watermark_ms = own->watermark_ms;
        info.grace_ms = own->grace_ms;
    } else if (read->source->book != NULL && book_lane(read->source->book, lane, &info) != ERR_OK) {
        return INT64_MIN;
    }
    return info.watermark_ms > 0 ? info.watermark_ms - info.grace_ms : INT64_MIN;
}

/* Does the slice tell all that this read wants of the lane? Then it has every row from the range's start on, and, where
 * ids are dense, one with an id before it; and nothing that the shelf knows would close a bucket. */
static bool is_in_memory(const struct read *read, const struct read_lane *lane, int64_t clock_ms) {
    if (read->source->slice == NULL || read->tier != TIER_BASE_INDEX) return false;
    const struct slice_lane *own = &read->source->slice->lanes[lane->lane.basis];
    if (!own->known || own->whole_from_ms > read->from_ms) return false;
    if (read->rollup.same_ms != read->tier_ms[TIER_BASE_INDEX] && clock_ms < read->to_ms) return false;
    if (!lane->dense || own->rows.count == 0) return !lane->dense;
    const struct candle *first = &own->rows.rows[0];
    return first->open_time_ms < read->from_ms && first->open_time_ms >= own->whole_from_ms && first->last_id >= 0;
}

/* Rows of longer tiers exist up to the first day that is not sealed and has rows, or has changed since. */
static void plan_split(struct read *read, const struct read_lane *lane, const struct shelf_bounds *bounds) {
    int64_t split = lane->book_from_ms;
    if (read->tier != TIER_BASE_INDEX) {
        split = least(split, bounds->open_ms);
        split = split == INT64_MAX ? split : floor_to(split, DAY_MS);
        split = least(split, bounds->reopened_ms);
    }
    read->split_ms = least(read->split_ms, split);
}

static enum err lane_bounds(struct read *read, const struct read_lane *lane, struct shelf_bounds *ret_bounds) {
    if (read->source->shelf == NULL || lane->in_memory) return ERR_OK;
    enum err err = read_snapshot(read);
    return err != ERR_OK ? err : shelf_bounds(read->source->shelf, read->snapshot, lane->lane, ret_bounds);
}

/* Adds the lane if it has rows at all; moves split and closed_until. What lies behind closed_until may still change: the
 * clock of the series, and whole days that are sealed. */
static enum err plan_lane(struct read *read, uint8_t basis) {
    const struct series *series = series_of(read);
    struct read_lane lane = {.lane = {read->query->series, basis}, .last_id = -1, .top_ms = INT64_MIN};
    struct shelf_bounds bounds = {INT64_MIN, INT64_MAX, INT64_MAX, INT64_MIN};
    if (series != NULL && (series->kind == SERIES_PRICE) != (basis == BASIS_PRICES)) return ERR_OK;
    lane.dense = series != NULL && series->ids == SERIES_IDS_DENSE && basis <= BASIS_AGGREGATED;
    int64_t clock_ms = lane_clock(read, lane.lane);
    lane.in_memory = is_in_memory(read, &lane, clock_ms);
    enum err err = lane_book_edges(read, &lane);
    if (err == ERR_OK) err = lane_bounds(read, &lane, &bounds);
    if (err) return err;
    read->rollup.closed_until_ms = most(read->rollup.closed_until_ms, most(clock_ms, bounds.sealed_ms));
    lane.top_ms = most(lane.top_ms, most(bounds.end_ms, bounds.sealed_ms));
    if (lane.top_ms <= read->from_ms) return ERR_OK;
    read->lanes[read->lane_count++] = lane;
    read->base_from_ms = most(read->base_from_ms, bounds.sealed_ms);
    plan_split(read, &lane, &bounds);
    return ERR_OK;
}

/* Cuts off the time behind the last row, so that an open range is not long. */
static enum err plan_lanes(struct read *read) {
    read->split_ms = INT64_MAX;
    read->base_from_ms = INT64_MIN;
    read->rollup.closed_until_ms = INT64_MIN;
    enum err err = ERR_OK;
    for (uint8_t basis = 0; basis < BASIS_COUNT && err == ERR_OK; basis++) err = plan_lane(read, basis);
    if (err || read->lane_count == 0) return err;
    int64_t top = INT64_MIN, start, end;
    for (unsigned i = 0; i < read->lane_count; i++) top = most(top, read->lanes[i].top_ms);
    interval_bucket(read->query->interval, &read->query->origin, top - 1, &start, &end);
    read->to_ms = least(read->to_ms, end);
    return ERR_OK;
}

/* --- what is kept --- */

/* Where the first row of a lane would be, if all were kept: behind it a row may be one of a day that came after others had
 * expired. */
static enum err kept_from(struct read *read, const struct read_lane *lane, int64_t first_ms, int64_t *ret_ms) {
    int64_t kept_ms = INT64_MIN;
    enum err err = ERR_OK;
    if (read->tier == TIER_BASE_INDEX && read->source->shelf != NULL && !lane->in_memory &&
        (err = read_snapshot(read)) == ERR_OK)
        err = shelf_kept_from(read->source->shelf, read->snapshot, lane->lane, &kept_ms);
    *ret_ms = most(first_ms, least(kept_ms, read->to_ms));
    return err;
}

static enum err refuse_expired(const struct read *read, unsigned tier, int64_t from_ms) {
    char name[16], from[CIVIL_TEXT_MAX];
    name_of_ms(read->tier_ms[tier], name);
    civil_format(from_ms, from);
    diag_set(read->diag, ERR_RANGE, "before %s the finest candles that are still kept are of %s", from, name);
    diag_hint(read->diag, "ask for %s or a multiple of it, or from %s on", name, from);
    return ERR_RANGE;
}

/* Longer rows from `from_ms` on, before the first row there is: they were made of some that are gone. */
static enum err check_kept(struct read *read, int64_t from_ms, int64_t first_ms) {
    for (unsigned i = 0; i < read->lane_count; i++) {
        int64_t kept_ms;
        enum err err = kept_from(read, &read->lanes[i], first_ms, &kept_ms);
        for (unsigned tier = read->tier + 1; tier < READ_TIERS && err == ERR_OK; tier++) {
            int64_t step = read->tier_ms[tier];
            struct read_span before = {tier, floor_to(from_ms + step - 1, step), floor_to(kept_ms, step)};
            struct candle row;
            err = lane_edge(read, &read->lanes[i], &before, false, &row);
            if (err == ERR_OK) return refuse_expired(read, tier, kept_ms);
            if (err == ERR_NOT_FOUND) err = ERR_OK;
        }
        if (err != ERR_OK) return err;
    }
    return ERR_OK;
}

enum err read_check_kept(struct read *read, int64_t first_ms) {
    read->checked = true;
    return check_kept(read, read->from_ms, first_ms);
}

/* --- windows --- */

/* The first day from `day_ms` on that is read from base rows: it has open ones, of the book or the shelf. Where a day's base
 * rows have expired, longer ones are all that is left of it. */
static enum err lane_open_day(struct read *read, const struct read_lane *lane, int64_t day_ms, int64_t *ret_day_ms) {
    int64_t open_ms = INT64_MAX;
    enum err err = ERR_OK;
    if (read->source->shelf != NULL && (err = read_snapshot(read)) == ERR_OK)
        err = shelf_open_day(read->source->shelf, read->snapshot, lane->lane, day_ms, &open_ms);
    for (bool expired = true; has_memory(read) && expired && err == ERR_OK; day_ms += DAY_MS) {
        struct candle row;
        struct read_span rest = {TIER_BASE_INDEX, day_ms, least(open_ms, READ_TIME_MAX_MS)};
        err = lane_book_edge(read, lane, &rest, false, &row);
        if (err != ERR_OK) break;
        day_ms = floor_to(row.open_time_ms, DAY_MS);
        if (read->source->shelf == NULL)
            expired = false;
        else
            err = shelf_has_expired(read->source->shelf, read->snapshot, lane->lane, day_ms, &expired);
        if (!expired) open_ms = day_ms;
    }
    *ret_day_ms = open_ms;
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* Up to where rows are read from one tier, and which. */
static enum err plan_stretch(struct read *read, struct read_span *span) {
    const int64_t day_ms = floor_to(span->from_ms, DAY_MS);
    int64_t open_ms = INT64_MAX;
    span->tier = TIER_BASE_INDEX;
    if (span->from_ms < read->split_ms) {
        span->tier = read->tier;
        span->to_ms = least(span->to_ms, read->split_ms);
        return ERR_OK;
    }
    if (read->tier == TIER_BASE_INDEX || span->from_ms >= read->base_from_ms) return ERR_OK;
    for (unsigned i = 0; i < read->lane_count && open_ms > day_ms; i++) {
        int64_t lane_ms;
        enum err err = lane_open_day(read, &read->lanes[i], day_ms, &lane_ms);
        if (err != ERR_OK) return err;
        open_ms = least(open_ms, lane_ms);
    }
    span->tier = open_ms > day_ms ? read->tier : TIER_BASE_INDEX;
    span->to_ms = least(span->to_ms, open_ms > day_ms ? least(open_ms, read->base_from_ms) : day_ms + DAY_MS);
    return ERR_OK;
}

static enum err next_window(struct read *read, int64_t at_ms, int64_t to_ms, struct read_span *ret_span) {
    struct read_span span = {read->tier, at_ms, to_ms};
    bool plain = read->lane_count == 1 && (at_ms < read->split_ms || read->source->shelf == NULL);
    enum err err = plan_stretch(read, &span);
    int64_t length = (plain ? WINDOW_ROWS : WINDOW_ROWS_MERGED) * (int64_t)read->tier_ms[span.tier];
    span.to_ms = least(span.to_ms, floor_to(at_ms, length) + length);
    *ret_span = span;
    return err;
}

/* The first row there is, if the range is so long that looking for it is cheaper than passing empty windows. */
static enum err skip_empty(struct read *read, int64_t to_ms, int64_t *at_ms) {
    struct read_span span;
    bool by_day = read->tier != TIER_BASE_INDEX && *at_ms >= read->split_ms && *at_ms < read->base_from_ms;
    if (by_day) return ERR_OK;
    enum err err = next_window(read, *at_ms, to_ms, &span);
    if (err != ERR_OK || to_ms - *at_ms < 4 * (span.to_ms - span.from_ms)) return err;
    if (*at_ms < read->split_ms) span.to_ms = least(to_ms, read->split_ms);
    int64_t first_ms = span.to_ms;
    for (unsigned i = 0; i < read->lane_count; i++) {
        struct candle row;
        err = lane_edge(read, &read->lanes[i], &span, false, &row);
        if (err == ERR_OK) first_ms = least(first_ms, row.open_time_ms);
        if (err && err != ERR_NOT_FOUND) return err;
        struct read_span before = {span.tier, 0, span.from_ms};
        if (read->lanes[i].dense) err = lane_edge(read, &read->lanes[i], &before, true, &row);
        if (err == ERR_OK && read->lanes[i].dense) return ERR_OK; /* what lies between may be quiet */
        if (err && err != ERR_NOT_FOUND) return err;
    }
    *at_ms = most(*at_ms, floor_to(first_ms, read->tier_ms[span.tier]));
    return ERR_OK;
}

/* Does a row lie behind the bucket at hand, so that it is over? */
static enum err look_ahead(struct read *read) {
    struct rollup *r = &read->rollup;
    if (!r->active || r->closed_until_ms >= r->end_ms || r->last_ms >= r->end_ms) return ERR_OK;
    struct read_span after = {TIER_BASE_INDEX, r->end_ms, READ_TIME_MAX_MS};
    for (unsigned i = 0; i < read->lane_count; i++) {
        struct candle row;
        if (read->lanes[i].top_ms <= after.from_ms) continue;
        enum err err = lane_edge(read, &read->lanes[i], &after, false, &row);
        if (err == ERR_OK) r->closed_until_ms = r->end_ms;
        if (err && err != ERR_NOT_FOUND) return err;
    }
    return ERR_OK;
}

static enum err read_end(struct read *read, int64_t from_ms, int64_t to_ms) {
    struct read_span end = {from_ms >= read->split_ms || to_ms > read->split_ms ? TIER_BASE_INDEX : read->tier, from_ms,
                            to_ms};
    enum err err = pick_rows_end(read, &end);
    if (err == ERR_OK && !read->checked) err = read_check_kept(read, to_ms);
    if (err == ERR_OK) err = look_ahead(read);
    return err == ERR_OK ? rollup_finish(&read->rollup) : err;
}

/* The buckets of [from, to), which bound buckets. ERR_END: the visitor or the limit has ended it. */
static enum err read_range(struct read *read, int64_t from_ms, int64_t to_ms) {
    int64_t at_ms = from_ms;
    for (unsigned i = 0; i < read->lane_count; i++) lane_start(&read->lanes[i], from_ms);
    enum err err = skip_empty(read, to_ms, &at_ms);
    while (err == ERR_OK && at_ms < to_ms) {
        struct read_span span;
        err = next_window(read, at_ms, to_ms, &span);
        if (err == ERR_OK) err = pick_rows(read, &span);
        at_ms = span.to_ms;
        if (err || at_ms >= to_ms) break;
        snapshot_end(read); /* within 100 ms: old pages of the store cannot be used again before */
    }
    return err == ERR_OK ? read_end(read, from_ms, to_ms) : err;
}

/* --- the newest buckets --- */

/* Windows are read backwards, each of them forwards, into the end of what is left of an array. */
struct newest {
    struct candle *candles; /* `limit` of them; the last `filled` are there */
    uint32_t limit, filled;
    uint32_t room; /* of the window at hand: candles[0..room) as a ring */
    uint32_t at;   /* where its next one goes */
    uint64_t count;
};

static enum err visit_newest(void *context, const struct candle *candle) {
    struct newest *n = context;
    n->candles[n->at] = *candle;
    n->at = n->at + 1 == n->room ? 0 : n->at + 1;
    n->count++;
    return ERR_OK;
}

static void reverse(struct candle *candles, uint32_t from, uint32_t to) {
    for (; from + 1 < to; from++, to--) {
        struct candle swap = candles[from];
        candles[from] = candles[to - 1];
        candles[to - 1] = swap;
    }
}

/* The ring in order, at the end of the room. */
static void settle(struct newest *n) {
    if (n->count >= n->room) {
        if (n->at != 0) {
            reverse(n->candles, 0, n->at);
            reverse(n->candles, n->at, n->room);
            reverse(n->candles, 0, n->room);
        }
        n->filled += n->room;
    } else if (n->count > 0) {
        memmove(n->candles + n->room - n->count, n->candles, n->count * sizeof *n->candles);
        n->filled += (uint32_t)n->count;
    }
}

static int64_t bucket_start(const struct read *read, int64_t time_ms) {
    int64_t start, end;
    interval_bucket(read->query->interval, &read->query->origin, most(time_ms, 0), &start, &end);
    return start;
}

/* How far back the next window begins: as far as what was found suggests, at most eight times the last. */
static int64_t next_length(const struct newest *n, int64_t length, int64_t shortest) {
    uint32_t missing = n->limit - n->filled;
    int64_t guess = length * 8;
    if (n->count > 0) guess = least(guess, (int64_t)((double)length * missing / (double)n->count * 1.25));
    return most(guess, shortest);
}

static enum err newest_windows(struct read *read, struct newest *n) {
    int64_t step = typical_ms(read->query->interval), to_ms = read->to_ms, length = step * n->limit;
    while (to_ms > read->from_ms && n->filled < n->limit) {
        int64_t from_ms = most(read->from_ms, bucket_start(read, to_ms - length));
        n->room = n->limit - n->filled;
        n->at = 0;
        n->count = 0;
        enum err err = read_range(read, from_ms, to_ms);
        if (err) return err;
        settle(n);
        length = next_length(n, to_ms - from_ms, step);
        to_ms = from_ms;
    }
    return ERR_OK;
}

static enum err give_newest(const struct read *read, const struct newest *n, candle_visit visit, void *context) {
    assert(n->filled <= n->limit && read->lane_count > 0);
    for (uint32_t i = n->limit - n->filled; i < n->limit; i++) {
        enum err err = visit(context, &n->candles[i]);
        if (err) return err;
    }
    return ERR_OK;
}

static enum err read_newest(struct read *read, candle_visit visit, void *context) {
    struct newest n = {.limit = read->query->limit};
    if (n.limit > READ_NEWEST_MAX)
        return diag_set(read->diag, ERR_RANGE, "at most %d of the newest candles at once", READ_NEWEST_MAX);
    n.candles = malloc(n.limit * sizeof *n.candles);
    if (n.candles == NULL) return diag_set(read->diag, ERR_NO_MEMORY, "no memory for %u candles", n.limit);
    read->rollup.visit = visit_newest;
    read->rollup.context = &n;
    read->checked = true; /* below, where it is known how far back it went */
    enum err err = newest_windows(read, &n);
    const int64_t first_ms = n.filled > 0 ? n.candles[n.limit - n.filled].open_time_ms : read->to_ms;
    if (err == ERR_OK && !read->query->kept_only)
        err = check_kept(read, n.filled < n.limit ? read->from_ms : first_ms, first_ms);
    snapshot_end(read);
    if (err == ERR_OK) err = give_newest(read, &n, visit, context);
    free(n.candles);
    return err;
}

/* --- */

static enum err read_all(struct read *read, candle_visit visit, void *context) {
    candle_query_span(read->query, &read->from_ms, &read->to_ms);
    if (read->from_ms >= read->to_ms) return ERR_OK;
    enum err err = plan_tier(read);
    if (err == ERR_OK) err = plan_lanes(read);
    if (err || read->lane_count == 0 || read->from_ms >= read->to_ms) return err;
    read->rollup.from_ms = read->from_ms;
    read->rollup.to_ms = read->to_ms;
    const struct candle_query *q = read->query;
    if (q->newest && q->limit > 0) return read_newest(read, visit, context);
    read->rollup.visit = visit;
    read->rollup.context = context;
    read->rollup.limit = q->limit;
    return read_range(read, read->from_ms, read->to_ms);
}

enum err candle_read(const struct candle_source *source, const struct candle_query *query, candle_visit visit,
                     void *context, struct diag *diag) {
    assert(source->shelf == NULL || source->store != NULL);
    assert(source->book == NULL || source->slice == NULL);
    struct read read = {.source = source, .query = query, .diag = diag};
    read.rollup.interval = query->interval;
    read.rollup.origin = query->origin;
    enum err err = read_all(&read, visit, context);
    snapshot_end(&read);
    free(read.book_rows.rows);
    for (unsigned tier = 0; tier < READ_TIERS; tier++)
        for (unsigned i = 0; i < BASIS_COUNT; i++) free(read.picks[tier][i].rows);
    return err == ERR_END ? ERR_OK : err;
}
