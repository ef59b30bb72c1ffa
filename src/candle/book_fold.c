/* Events into rows. The usual event costs one look at its lane, one comparison of its id, one hash, and a handful of
 * additions to the row that the lane used last; everything else is a function further down. */
#include <assert.h>

#include "candle/book_lane.h"
#include "candle/event_hash.h"

static const uint8_t basis_of_kind[4] = {BASIS_TRADES, BASIS_AGGREGATED, BASIS_PRICES, BASIS_COUNT};

/* What no decoder lets through, but the fold must not depend on that. */
static bool sane(const struct event *e) {
    if (e->kind > EVENT_PRICE || e->price < 0 || e->quantity < 0 || e->time_ms < 0 || e->time_ms >= TIME_MAX_MS)
        return false;
    if (e->kind != EVENT_PRICE && e->first_id >= 0) {
        if (e->first_id > e->last_id || e->last_id >= INT64_C(1) << 61) return false;
        if (e->kind == EVENT_TRADE && e->first_id != e->last_id) return false;
    }
    return minute_accepts(e);
}

static enum err find_row(struct book *book, struct lane_state *lane, int64_t time_ms, struct row *ret_row) {
    bool made;
    enum err err = row_make(book, lane, book_start_of(book, time_ms), ret_row, &made);
    if (err) return err;
    lane->current_ms = ret_row->start_ms;
    lane->current = ret_row->minute;
    lane->current_chunk = ret_row->chunk;
    lane->current_bit = ret_row->bit;
    if (made && lane->quiet_next_ms != INT64_MAX && ret_row->start_ms + book->base_ms < lane->quiet_next_ms)
        lane->quiet_next_ms = ret_row->start_ms + book->base_ms;
    return ERR_OK;
}

static void add_ids(struct minute *m, const struct event *e) {
    if (m->first_id < 0 || e->first_id < m->first_id) {
        m->left_ok = 0;
        m->first_id = e->first_id;
    }
    if (e->last_id > m->last_id) {
        m->right_ok = 0;
        m->last_id = e->last_id;
    }
}

static inline enum err add_event(struct minute *m, const struct event *e, uint32_t at) {
    if (e->kind == EVENT_PRICE) return minute_add_price(m, e, at) ? ERR_OK : minute_add_general(m, e, at);
    return minute_add_trade(m, e, at) ? ERR_OK : minute_add_general(m, e, at);
}

/* The row is closed, or rows after it may be flat at its close. */
static enum err fold_behind(struct book *book, struct lane_state *lane, const struct row *row, const struct event *e,
                            bool filled) {
    struct minute *m = row->minute, was = *m;
    struct minute_wide wide;
    if (was.wide != NULL) { /* adding may free it */
        wide = *was.wide;
        was.wide = &wide;
    }
    enum candle_reason reason = filled ? REASON_REPAIR : REASON_LATE;
    bool quiet = m->trades == 0;
    m->by_status = m->unproven = 0;
    enum err err = add_event(m, e, (uint32_t)(e->time_ms - row->start_ms));
    if (err == ERR_OK) err = row_revise(book, lane, row, reason);
    if (err == ERR_OK && (quiet || !minute_same_close(&was, m))) err = lane_follow_close(book, lane, row, reason);
    return err;
}

static enum err fold_event(struct book *book, struct lane_state *lane, const struct event *e, bool filled,
                           struct row *ret_row) {
    struct row row = {lane->current_chunk, lane->current, lane->current_bit, lane->current_ms};
    if (lane->current_ms == INT64_MIN || e->time_ms < row.start_ms || e->time_ms - row.start_ms >= book->base_ms) {
        enum err err = find_row(book, lane, e->time_ms, &row);
        if (err) return err;
    }
    enum err err;
    if (row_closed(&row) || row.start_ms < lane->newest_ms) {
        err = fold_behind(book, lane, &row, e, filled);
    } else {
        lane->newest_ms = row.start_ms;
        err = add_event(row.minute, e, (uint32_t)(e->time_ms - row.start_ms));
        if ((row.chunk->dirty & row.chunk->changed & row.bit) == 0 || (lane->listed & 3) != 3) {
            if (err == ERR_OK) err = row_touch(book, lane, &row);
        }
    }
    if (row.start_ms > lane->newest_ms) lane->newest_ms = row.start_ms;
    *ret_row = row;
    return err;
}

/* An id came again with other content: the row it would have gone to carries the mark. */
static enum err mark_conflict(struct book *book, struct lane_state *lane, const struct event *e) {
    struct row row;
    lane->conflicts++;
    enum err err = row_find(book, lane, book_start_of(book, e->time_ms), &row);
    if (err || row.minute == NULL || row.minute->conflict) return err;
    row.minute->conflict = 1;
    return row_revise(book, lane, &row, REASON_CORRECTION);
}

static enum err apply_used(struct book *book, struct lane_state *lane, const struct event *e, int64_t offset,
                           uint64_t hash, const struct verdict *v) {
    struct row row;
    enum err err = fold_event(book, lane, e, v->filled, &row);
    if (err) return err;
    struct minute *m = row.minute;
    m->hash += hash;
    if (offset > m->last_offset) m->last_offset = offset;
    lane->used++;
    if (e->kind != EVENT_PRICE && e->first_id >= 0) {
        add_ids(m, e);
        if (v->inserted ||
            (v->appended && (v->before.last_ms < row.start_ms || v->before.last_ms - row.start_ms >= book->base_ms)))
            err = lane_ids_changed(book, lane, e, v);
    }
    if (e->time_ms > lane->max_ms) lane->max_ms = e->time_ms;
    if (lane->max_ms >= lane->check_ms && err == ERR_OK) {
        err = lane_close_due(book, lane, lane->max_ms);
        if (err == ERR_OK) err = lane_fill_feed(book, lane);
    }
    return err;
}

static enum err apply_other(struct book *book, struct lane_state *lane, const struct event *e,
                            const struct verdict *v) {
    if (v->fate == FATE_LATE) lane->late++;
    if (v->fate == FATE_DUPLICATE) {
        lane->duplicate++;
        return v->conflict ? mark_conflict(book, lane, e) : ERR_OK;
    }
    if (v->fate != FATE_FILTERED) return ERR_OK;
    lane->filtered++;
    if (e->time_ms > lane->max_ms) lane->max_ms = e->time_ms;
    enum err err = v->inserted || v->appended ? lane_ids_changed(book, lane, e, v) : ERR_OK;
    return err ? err : lane_close_due(book, lane, lane->max_ms);
}

static enum err apply_event(struct book *book, const struct event *e, int64_t offset, enum event_fate *ret_fate) {
    if (!sane(e)) {
        *ret_fate = FATE_INVALID;
        return ERR_OK;
    }
    struct lane_state *lane = lane_find(book, e->series, basis_of_kind[e->kind]);
    enum err err = lane != NULL ? ERR_OK : lane_get(book, e->series, basis_of_kind[e->kind], &lane);
    if (err) return err;
    if (e->time_ms < lane->sealed_until_ms) {
        lane->late++;
        *ret_fate = FATE_LATE;
        return ERR_OK;
    }
    struct verdict v;
    uint64_t hash = event_hash_inline(e);
    err = ids_judge(book, lane, e, hash, &v);
    if (err) return err;
    if ((lane->listed & (LISTED_DIRTY | LISTED_TOUCHED)) != (LISTED_DIRTY | LISTED_TOUCHED)) {
        err = lane_enlist(book, lane, LISTED_DIRTY | LISTED_TOUCHED);
        if (err) return err;
    }
    *ret_fate = v.fate;
    return v.fate == FATE_USED ? apply_used(book, lane, e, offset, hash, &v) : apply_other(book, lane, e, &v);
}

/* The lane, its row and its set of recent events are three cache misses a thin series; asking for them a few events ahead
 * overlaps them. */
static void look_ahead(const struct book *book, const struct event *e) {
    const struct lane_state *lane = lane_find(book, e->series, basis_of_kind[e->kind]);
    if (lane == NULL) return;
    __builtin_prefetch(lane);
    __builtin_prefetch((const char *)lane + 64);
}

static void look_closer(const struct book *book, const struct event *e) {
    const struct lane_state *lane = lane_find(book, e->series, basis_of_kind[e->kind]);
    if (lane == NULL || lane->current == NULL) return;
    for (size_t at = 0; at < sizeof *lane->current; at += 64) __builtin_prefetch((const char *)lane->current + at, 1);
}

enum { AHEAD = 16, CLOSER = 8 };

enum err book_apply(struct book *book, const struct event *events, const int64_t *offsets, uint32_t count,
                    enum event_fate *fates, struct book_counts *counts, struct diag *diag) {
    book->diag = diag;
    enum err err = book_make_room(book);
    for (uint32_t i = 0; i < count && err == ERR_OK; i++) {
        if (i + AHEAD < count) look_ahead(book, &events[i + AHEAD]);
        if (i + CLOSER < count) look_closer(book, &events[i + CLOSER]);
        enum event_fate fate = FATE_INVALID;
        err = apply_event(book, &events[i], offsets == NULL ? -1 : offsets[i], &fate);
        if (err) break;
        counts->read++;
        if (!PLANTED(PLANT_LEDGER_TERM) || fate != FATE_DUPLICATE) counts->fate[fate]++;
        if (fates != NULL) fates[i] = fate;
    }
    book_snapshot_end(book);
    return err;
}
