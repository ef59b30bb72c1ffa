/* What a row may claim, and when it is closed. The rules are in docs/candles.md ("Coverage", "Final"); coverage is never
 * stored with a row in memory but asked of the ids and of the feed, so it cannot go stale. */
#include <assert.h>

#include "candle/book/lane.h"

int64_t lane_watermark(const struct book *book, const struct lane_state *lane) {
    return lane->live && book->clock_ms > lane->max_ms ? book->clock_ms : lane->max_ms;
}

/* --- claims --- */

struct sides {
    bool whole; /* nothing is missing from the row's first to its last id */
    bool left;  /* nor right before it */
    bool right; /* nor right behind it */
    bool newest;
    bool runs_on; /* without a hole to a trade of another row: filtered ids alone prove no end */
};

/* The newest trade of the ids that hold the row's last one: is it of another row? */
static bool runs_on(const struct book *book, const struct idset *set, const struct row *row) {
    uint32_t at = idset_find(set, row->minute->last_id);
    if (at == set->count || set->ranges[at].first > row->minute->last_id || set->ranges[at].last_ms < 0) return false;
    return book_start_of(book, set->ranges[at].last_ms) != row->start_ms;
}

static struct sides sides_of(const struct book *book, const struct lane_state *lane, const struct row *row) {
    const struct minute *m = row->minute;
    const struct idset *set = ids_at(lane, row->start_ms + m->close_at);
    return (struct sides){
        .whole = (m->left_ok && m->right_ok) || idset_overlap(set, m->first_id, m->last_id) == IDSET_ALL,
        .left = m->left_ok || m->first_id == 0 || idset_contains(set, m->first_id - 1),
        .right = m->right_ok || idset_contains(set, m->last_id + 1),
        .newest = m->last_id == idset_max(set),
        .runs_on = m->right_ok || runs_on(book, set, row),
    };
}

static enum candle_coverage dense_coverage(const struct book *book, const struct lane_state *lane,
                                           const struct row *row) {
    const struct minute *m = row->minute;
    if (m->first_id < 0) return COVERAGE_PARTIAL;
    struct sides sides = sides_of(book, lane, row);
    return sides.whole && sides.left && (sides.right || sides.newest) ? COVERAGE_TRADED : COVERAGE_PARTIAL;
}

/* Events are there, so the question is only whether the feed is known to have been down meanwhile. */
static enum candle_coverage feed_coverage(const struct book *book, const struct lane_state *lane,
                                          const struct row *row) {
    if (lane->feed.count == 0) return COVERAGE_TRADED;
    int64_t first = lane->feed.ranges[0].first, last = idset_max(&lane->feed);
    int64_t start = row->start_ms, end = row->start_ms + book->base_ms - 1;
    if (end < first || start > last) return COVERAGE_TRADED;
    if (end > last) end = last;
    return idset_overlap(&lane->feed, start, end) == IDSET_ALL ? COVERAGE_TRADED : COVERAGE_PARTIAL;
}

enum candle_coverage row_coverage(const struct book *book, const struct lane_state *lane, const struct row *row) {
    const struct minute *m = row->minute;
    if (m->trades == 0) return m->unproven ? COVERAGE_UNKNOWN : COVERAGE_QUIET;
    if (m->partial) return COVERAGE_PARTIAL;
    if (lane->ids_kind == LANE_KLINES) return COVERAGE_TRADED;
    return lane->ids_kind == LANE_DENSE ? dense_coverage(book, lane, row) : feed_coverage(book, lane, row);
}

static bool row_proven(const struct book *book, const struct lane_state *lane, const struct row *row) {
    const struct minute *m = row->minute;
    if (lane->ids_kind == LANE_KLINES) return true;
    if (m->trades == 0) return !m->by_status && !m->unproven;
    if (lane->ids_kind != LANE_DENSE || m->first_id < 0 || m->partial) return false;
    struct sides sides = sides_of(book, lane, row);
    return sides.whole && sides.left && sides.right && sides.runs_on;
}

struct row_claims row_claims(const struct book *book, const struct lane_state *lane, const struct row *row) {
    struct row_claims claims = {(uint8_t)row_coverage(book, lane, row), CANDLE_OPEN};
    if (row_closed(row)) claims.final = row_proven(book, lane, row) ? CANDLE_FINAL_PROVEN : CANDLE_FINAL_CLOCK;
    return claims;
}

void row_to_candle(const struct book *book, const struct lane_state *lane, const struct row *row,
                   struct candle *candle) {
    claimed_candle(row->minute, row->start_ms, book->base_ms, row_claims(book, lane, row), candle);
    candle->basis = lane->lane.basis;
}

/* --- closing --- */

static enum err plant_quiet(struct book *book, struct lane_state *lane, const struct row *row) {
    struct row before;
    enum err err = row_before(book, lane, row->start_ms, &before);
    if (err || before.minute == NULL) return err;
    return lane_fill_quiet(book, lane, before.start_ms, row->start_ms);
}

static enum err row_close(struct book *book, struct lane_state *lane, const struct row *row) {
    assert(!row_closed(row));
    row->chunk->open &= ~row->bit;
    lane->open_rows--;
    enum err err = row_touch(book, lane, row);
    if (err == ERR_OK && PLANTED(PLANT_QUIET_WITHOUT_PROOF)) err = plant_quiet(book, lane, row);
    return err;
}

enum err lane_close_due(struct book *book, struct lane_state *lane, int64_t watermark_ms) {
    if (watermark_ms < lane->check_ms) return ERR_OK;
    if (lane->unloaded_open_ms != INT64_MIN) {
        enum err err = lane_load_open(book, lane);
        if (err) return err;
    }
    /* Open rows that are not due lie at the newest end, and one that is due may lie far before it: neither is looked for
     * through all that lies between. */
    const int64_t reach_ms = book->base_ms + lane->grace_ms, first_ms = lane->check_ms - reach_ms;
    uint32_t due = lane->open_rows;
    lane->check_ms = INT64_MAX;
    struct row row;
    for (int64_t at = watermark_ms - reach_ms + 1; due > 0 && row_next(book, lane, at, &row); at = row.start_ms + 1) {
        if (row_closed(&row)) continue;
        due--;
        if (lane->check_ms == INT64_MAX) lane->check_ms = row.start_ms + reach_ms;
    }
    for (int64_t at = first_ms; due > 0 && row_next(book, lane, at, &row); at = row.start_ms + 1) {
        if (row_closed(&row)) continue;
        due--;
        enum err err = row_close(book, lane, &row);
        if (err) return err;
    }
    return ERR_OK;
}

enum err lane_close_proven(struct book *book, struct lane_state *lane, int64_t time_ms) {
    struct row row;
    enum err err = row_find(book, lane, book_start_of(book, time_ms), &row);
    if (err || row.minute == NULL || row_closed(&row) || !row_proven(book, lane, &row)) return err;
    return row_close(book, lane, &row);
}

/* --- quiet rows --- */

/* Makes or proves the quiet row of one minute; rows with trades stay as they are. */
static enum err quiet_row(struct book *book, struct lane_state *lane, int64_t start_ms, bool by_status) {
    struct row row, before;
    bool made;
    enum err err = row_before(book, lane, start_ms, &before);
    if (err || before.minute == NULL) return err;
    err = row_make(book, lane, start_ms, &row, &made);
    if (err || row.minute->trades > 0) return err;
    if (!made) {
        if (by_status || (!row.minute->by_status && !row.minute->unproven)) return ERR_OK;
        bool proven_anew = row.minute->unproven;
        row.minute->by_status = row.minute->unproven = 0;
        return proven_anew ? row_revise(book, lane, &row, REASON_REPAIR) : row_touch(book, lane, &row);
    }
    row_again(&before);
    row.minute->by_status = by_status;
    err = minute_flatten(row.minute, before.minute);
    return err ? err : row_close(book, lane, &row);
}

enum err lane_fill_quiet(struct book *book, struct lane_state *lane, int64_t from_ms, int64_t to_ms) {
    int64_t first = book_start_of(book, from_ms) + book->base_ms, end = book_start_of(book, to_ms);
    if (end <= first || (end - first) / book->base_ms > QUIET_FILL_MAX) return ERR_OK;
    for (int64_t start = first; start < end; start += book->base_ms) {
        enum err err = quiet_row(book, lane, start, false);
        if (err) return err;
    }
    return ERR_OK;
}

/* Of dense ids the feed's word counts only behind the newest trade: before it the ids decide. */
enum err lane_fill_feed(struct book *book, struct lane_state *lane) {
    if (lane->feed.count == 0 || lane->newest_ms == INT64_MIN || lane->ids_kind == LANE_KLINES) return ERR_OK;
    int64_t start = lane->quiet_next_ms, newest_next = lane->newest_ms + book->base_ms;
    if (start == INT64_MAX || (lane->ids_kind == LANE_DENSE && start < newest_next)) start = newest_next;
    int64_t known = idset_max(&lane->feed), watermark = lane_watermark(book, lane);
    while (start + book->base_ms - 1 <= known && start + book->base_ms + lane->grace_ms <= watermark) {
        const struct id_range *up = &lane->feed.ranges[idset_find(&lane->feed, start)];
        if (up->first > start) { /* down: on to the first minute that is wholly up */
            start = book_start_of(book, up->first + book->base_ms - 1);
            continue;
        }
        if (start + book->base_ms - 1 <= up->last) {
            enum err err = quiet_row(book, lane, start, true);
            if (err) return err;
        }
        start += book->base_ms;
    }
    lane->quiet_next_ms = start;
    return ERR_OK;
}

enum err lane_follow_close(struct book *book, struct lane_state *lane, const struct row *row,
                           enum candle_reason reason) {
    struct row from = *row, next;
    for (;;) {
        enum err err = row_find(book, lane, from.start_ms + book->base_ms, &next);
        if (err) return err;
        if (next.minute == NULL && !row_next(book, lane, from.start_ms + book->base_ms, &next)) return ERR_OK;
        row_again(&from);
        if (next.minute->trades > 0 || minute_same_close(from.minute, next.minute)) return ERR_OK;
        err = minute_flatten(next.minute, from.minute);
        if (err == ERR_OK) err = row_revise(book, lane, &next, reason);
        if (err) return err;
        from = next;
    }
}

/* --- ids came in between --- */

static enum err neighbour_before(struct book *book, struct lane_state *lane, int64_t time_ms, struct neighbour *ret) {
    *ret = (struct neighbour){IDSET_NO_TIME, 0};
    if (time_ms < 0) return ERR_OK;
    struct row row;
    enum err err = row_find(book, lane, book_start_of(book, time_ms), &row);
    if (err || row.minute == NULL) return err;
    *ret = (struct neighbour){time_ms, (uint8_t)row_coverage(book, lane, &row)};
    return ERR_OK;
}

/* Filtered ids have no row, so the neighbour is the next range that has a trade. */
enum err neighbours_before(struct book *book, struct lane_state *lane, const struct idset *set,
                           const struct event *event, struct verdict *verdict) {
    uint32_t right = idset_find(set, event->first_id), left = right;
    while (left > 0 && set->ranges[left - 1].last_ms < 0) left--;
    while (right < set->count && set->ranges[right].first_ms < 0) right++;
    int64_t left_ms = left > 0 ? set->ranges[left - 1].last_ms : IDSET_NO_TIME;
    int64_t right_ms = right < set->count ? set->ranges[right].first_ms : IDSET_NO_TIME;
    enum err err = neighbour_before(book, lane, left_ms, &verdict->neighbours[0]);
    return err ? err : neighbour_before(book, lane, right_ms, &verdict->neighbours[1]);
}

static enum err neighbour_after(struct book *book, struct lane_state *lane, const struct event *event,
                                const struct neighbour *was) {
    if (was->time_ms < 0) return ERR_OK;
    struct row row;
    int64_t start = book_start_of(book, was->time_ms);
    enum err err = row_find(book, lane, start, &row);
    if (err || row.minute == NULL) return err;
    if (event->filtered || start != book_start_of(book, event->time_ms)) {
        uint8_t now = (uint8_t)row_coverage(book, lane, &row);
        if (now != was->coverage)
            err = row_revise(book, lane, &row, now > was->coverage ? REASON_REPAIR : REASON_CORRECTION);
    }
    return err ? err : lane_close_proven(book, lane, was->time_ms);
}

/* A hole has opened behind minutes that were called quiet by the feed's word: it was wrong, or something was lost. */
static enum err doubt_quiet(struct book *book, struct lane_state *lane, int64_t from_ms, int64_t to_ms) {
    struct row row;
    int64_t end = book_start_of(book, to_ms);
    for (int64_t at = book_start_of(book, from_ms) + book->base_ms; row_next(book, lane, at, &row);
         at = row.start_ms + 1) {
        if (row.start_ms >= end) return ERR_OK;
        if (row.minute->trades > 0 || !row.minute->by_status || row.minute->unproven) continue;
        row.minute->unproven = 1;
        enum err err = row_revise(book, lane, &row, REASON_CORRECTION);
        if (err) return err;
    }
    return ERR_OK;
}

static enum err fill_junctions(struct book *book, struct lane_state *lane, const struct event *event,
                               const struct verdict *v) {
    int64_t left = v->before.first <= v->before.last ? v->before.last_ms : IDSET_NO_TIME;
    int64_t right = v->after.first <= v->after.last ? v->after.first_ms : IDSET_NO_TIME;
    if (event->filtered) return left < 0 || right < 0 ? ERR_OK : lane_fill_quiet(book, lane, left, right);
    enum err err = left < 0 ? ERR_OK : lane_fill_quiet(book, lane, left, event->time_ms);
    return err || right < 0 ? err : lane_fill_quiet(book, lane, event->time_ms, right);
}

enum err lane_ids_changed(struct book *book, struct lane_state *lane, const struct event *event,
                          const struct verdict *v) {
    enum err err = fill_junctions(book, lane, event, v);
    if (err) return err;
    if (!v->inserted) {
        int64_t left = v->before.last_ms;
        return left < 0 ? ERR_OK : lane_close_proven(book, lane, left);
    }
    for (int i = 0; i < 2 && err == ERR_OK; i++) err = neighbour_after(book, lane, event, &v->neighbours[i]);
    if (err == ERR_OK && v->skipped && v->before.first > v->before.last && v->neighbours[0].time_ms >= 0)
        err = doubt_quiet(book, lane, v->neighbours[0].time_ms, event->time_ms);
    return err || event->filtered ? err : lane_close_proven(book, lane, event->time_ms);
}

/* --- the feed's word --- */

/* Rows that touch the time in which the feed was down claim less now. */
static enum err feed_was_down(struct book *book, struct lane_state *lane, int64_t from_ms, int64_t to_ms) {
    struct row row;
    if (lane->ids_kind == LANE_DENSE) return ERR_OK;
    for (int64_t at = book_start_of(book, from_ms); row_next(book, lane, at, &row); at = row.start_ms + 1) {
        if (row.start_ms >= to_ms) return ERR_OK;
        if (row.minute->trades == 0) continue;
        enum err err = row_revise(book, lane, &row, REASON_CORRECTION);
        if (err) return err;
    }
    return ERR_OK;
}

enum err lane_feed(struct book *book, struct lane_state *lane, const struct book_status *status) {
    struct id_range up = {status->feed_up_since_ms, status->last_frame_ms, 0, 0};
    if (up.first < 0 || up.first > up.last || up.last >= TIME_MAX_MS) return ERR_OK;
    struct id_range *last = lane->feed.count == 0 ? NULL : &lane->feed.ranges[lane->feed.count - 1];
    if (last != NULL && last->first <= up.first && up.first <= last->last + 1) {
        if (up.last > last->last) last->last = up.last;
        return ERR_OK;
    }
    int64_t was_up_to = last == NULL ? up.first - 1 : last->last;
    bool behind = last == NULL || up.first > last->last;
    enum err err = idset_merge(&lane->feed, &up);
    if (err) return err;
    idset_trim(&lane->feed, FEED_RANGES_MAX);
    return behind ? feed_was_down(book, lane, was_up_to, up.first) : ERR_OK;
}
