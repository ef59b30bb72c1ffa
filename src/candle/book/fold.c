/* Events into rows. The usual event costs one look at its lane, one comparison of its id, one hash, and a handful of
 * additions to the row that the lane used last; everything else is a function further down. */
#include <assert.h>

#include "candle/book/lane.h"
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
    if (made && lane->quiet_next_ms != INT64_MAX && ret_row->start_ms + book->base_ms < lane->quiet_next_ms)
        lane->quiet_next_ms = ret_row->start_ms + book->base_ms;
    return ERR_OK;
}

/* The next event is likely of the same row. */
static void heat(struct lane_state *lane, const struct row *row) {
    const struct chunk *chunk = row->chunk;
    if (row->start_ms != lane->newest_ms || (lane->listed & LISTED_HOT) != LISTED_HOT ||
        (chunk->open & chunk->dirty & chunk->changed & row->bit) == 0)
        return;
    lane->current_chunk = row->chunk;
    lane->current_bit = row->bit;
    lane->hot = chunk->rows[chunk->at[__builtin_ctzll(row->bit)]];
    lane->current_ms = row->start_ms;
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
    struct row row;
    enum err err = find_row(book, lane, e->time_ms, &row);
    if (err) return err;
    if (row_closed(&row) || row.start_ms < lane->newest_ms) {
        err = fold_behind(book, lane, &row, e, filled);
    } else {
        err = add_event(row.minute, e, (uint32_t)(e->time_ms - row.start_ms));
        if (err == ERR_OK) err = row_touch(book, lane, &row);
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
    if (err == ERR_OK && !lane->orphan) heat(lane, &row);
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

/* --- a refold --- */

/* Does the row have this record already? */
static enum err is_held(struct book *book, struct lane_state *lane, const struct event *e, int64_t offset,
                        bool *ret_held) {
    struct row row;
    enum err err = row_find(book, lane, book_start_of(book, e->time_ms), &row);
    *ret_held = err == ERR_OK && row.minute != NULL && offset >= 0 && offset <= row.minute->last_offset;
    return err;
}

static bool is_doubtful(const struct lane_state *lane, const struct event *e) {
    return e->first_id >= 0 && lane->doubtful.count > 0 &&
           idset_overlap(&lane->doubtful, e->first_id, e->last_id) != IDSET_NONE;
}

static enum err apply_held(struct book *book, struct lane_state *lane, const struct event *e) {
    const int64_t start_ms = book_start_of(book, e->time_ms);
    lane->used++;
    if (start_ms > lane->newest_ms) lane->newest_ms = start_ms;
    if (e->time_ms > lane->max_ms) lane->max_ms = e->time_ms;
    return lane_close_due(book, lane, lane->max_ms);
}

static enum err apply_again(struct book *book, struct lane_state *lane, const struct event *e, int64_t offset,
                            uint64_t hash, struct verdict *v) {
    bool held;
    enum err err = is_held(book, lane, e, offset, &held);
    if (err != ERR_OK) return err;
    if (v->fate == FATE_USED && held) return apply_held(book, lane, e);
    if (v->fate == FATE_USED && is_doubtful(lane, e)) v->fate = FATE_DUPLICATE;
    return v->fate == FATE_USED ? apply_used(book, lane, e, offset, hash, v) : apply_other(book, lane, e, v);
}

static enum err apply_event(struct book *book, const struct event *e, int64_t offset, uint64_t hash,
                            enum event_fate *ret_fate) {
    if (!sane(e)) {
        *ret_fate = FATE_INVALID;
        return ERR_OK;
    }
    struct lane_state *lane = lane_find(book, e->series, basis_of_kind[e->kind]);
    enum err err = lane != NULL ? ERR_OK : lane_get(book, e->series, basis_of_kind[e->kind], &lane);
    if (err == ERR_OK) err = lane_thaw(book, lane);
    if (err) return err;
    lane_settle(lane);
    if (e->time_ms < lane->sealed_until_ms) {
        book->came_back = true;
        lane->late++;
        *ret_fate = FATE_LATE;
        return ERR_OK;
    }
    struct verdict v;
    err = ids_judge(book, lane, e, hash, &v);
    if (err) return err;
    if ((lane->listed & (LISTED_DIRTY | LISTED_TOUCHED)) != (LISTED_DIRTY | LISTED_TOUCHED)) {
        err = lane_enlist(book, lane, LISTED_DIRTY | LISTED_TOUCHED);
        if (err) return err;
    }
    if (lane->orphan) {
        err = apply_again(book, lane, e, offset, hash, &v);
        *ret_fate = v.fate;
        return err;
    }
    *ret_fate = v.fate;
    return v.fate == FATE_USED ? apply_used(book, lane, e, offset, hash, &v) : apply_other(book, lane, e, &v);
}

/* --- the usual event ---
 *
 * It is of the minute that its lane is at, which is open, saved and published anyway; nothing is due to close; its numbers
 * are small. Then all that happens to it is here. Whatever is not so takes the long way, with the same result. */

static inline bool plain_numbers(const struct event *e) {
    return (unsigned __int128)e->price >> 63 == 0 && (unsigned __int128)e->quantity >> 63 == 0 &&
           e->price_scale + e->quantity_scale <= DECIMAL_DIGITS_MAX;
}

static inline bool usual_row(struct book *book, struct lane_state *lane, const struct event *e) {
    if ((uint64_t)e->time_ms - (uint64_t)lane->current_ms >= (uint64_t)book->base_ms || e->time_ms >= lane->check_ms)
        return false;
    if (__builtin_expect((lane->listed & (LISTED_TOUCHED | LISTED_FREEZING)) == LISTED_TOUCHED, true)) return true;
    /* The clock has looked at the lane since its last event, or a freeze has begun. */
    return (lane->listed & LISTED_FREEZING) == 0 && lane_enlist(book, lane, LISTED_TOUCHED) == ERR_OK;
}

static inline void usual_end(struct book *book, struct lane_state *lane, const struct event *e, int64_t offset,
                             uint64_t hash) {
    struct minute *m = &lane->hot;
    m->hash += hash;
    m->last_offset = offset > m->last_offset ? offset : m->last_offset;
    lane->max_ms = e->time_ms > lane->max_ms ? e->time_ms : lane->max_ms;
    lane->used++;
    if (__builtin_expect(lane->listed & LISTED_CHANGED, LISTED_CHANGED)) return;
    book->changed.lanes[book->changed.count++] = lane; /* there is room for every lane */
    lane->listed |= LISTED_CHANGED | LISTED_HOT_CHANGED;
}

/* A trade whose id follows the largest one, which was of the same minute. */
static inline bool usual_trade(struct book *book, struct lane_state *lane, const struct event *e, int64_t offset,
                               uint64_t hash) {
    if (!usual_row(book, lane, e) || lane->ids_kind != LANE_DENSE || lane->ids.count == 0 || !plain_numbers(e))
        return false;
    struct id_range *end = &lane->ids.ranges[lane->ids.count - 1];
    if (e->first_id != end->last + 1 || e->last_id != e->first_id || end->last_ms < lane->current_ms ||
        e->time_ms < lane->epoch_start_ms || end->last_ms - lane->current_ms >= book->base_ms || e->filtered ||
        lane->hashes == NULL || e->last_id >= INT64_C(1) << 61)
        return false;
    struct minute *m = &lane->hot;
    if (m->last_id != end->last || !minute_add_trade(m, e, (uint32_t)(e->time_ms - lane->current_ms))) return false;
    end->last = e->last_id;
    end->last_ms = e->time_ms;
    lane->hashes[e->last_id & (RECENT_HASHES - 1)] = (uint32_t)hash == 0 ? 1 : (uint32_t)hash;
    m->last_id = e->last_id;
    m->right_ok = 0;
    usual_end(book, lane, e, offset, hash);
    return true;
}

/* A price that is within the grace and not known yet. */
static inline bool usual_price(struct book *book, struct lane_state *lane, const struct event *e, int64_t offset,
                               uint64_t hash) {
    int64_t grace = lane->grace_ms;
    if (!usual_row(book, lane, e) || e->filtered || grace == 0 || !plain_numbers(e)) return false;
    if (e->time_ms - lane->recent_ms >= grace) recents_advance(lane, e->time_ms);
    uint32_t index = lane->recent_index;
    if (e->time_ms < lane->recent_ms) {
        if (e->time_ms < lane->max_ms - grace) return false;
        index ^= 1;
    }
    struct recents *recents = &lane->recents[index];
    if (recents_full(recents) || lane->hot.wide != NULL) return false;
    uint32_t at = (uint32_t)(e->time_ms - lane->current_ms);
    struct minute *m = &lane->hot;
    int64_t price;
    if (!minute_scaled(e->price, e->price_scale, m->price_scale, &price)) return false;
    if (!recents_add_new(recents, hash == 0 ? 1 : hash)) return false;
    minute_mark_price(m, price, at);
    m->trades++;
    usual_end(book, lane, e, offset, hash);
    return true;
}

static inline bool usual_event(struct book *book, struct lane_state *lane, const struct event *e, int64_t offset,
                               uint64_t hash) {
    if (lane == NULL) return false;
    return e->kind == EVENT_PRICE ? usual_price(book, lane, e, offset, hash) : usual_trade(book, lane, e, offset, hash);
}

/* --- batches ---
 *
 * Where the lane lies, the lane, and its recent events or ids are cache misses of a thin series. Asking for them a few
 * events ahead overlaps them, one after the other; for the last of them the hash must be known. */

enum { STREAM = 48, FAR = 36, AHEAD = 24, CLOSER = 12, RING = 32 /* of what is known of the events between */ };

struct ahead {
    struct lane_state *lanes[RING]; /* NULL: the lane is yet to be made */
    uint64_t hashes[RING];
};

static inline void look_far(const struct book *book, const struct event *e) {
    if (e->series < book->series_capacity) __builtin_prefetch(&book->series[e->series]);
}

static inline struct lane_state *look_ahead(const struct book *book, const struct event *e) {
    struct lane_state *lane = lane_find(book, e->series, basis_of_kind[e->kind]);
    if (lane == NULL) return NULL;
    size_t need = e->kind == EVENT_PRICE ? 192 : offsetof(struct lane_state, epoch_start_ms);
    for (size_t at = 0; at < need; at += 64) __builtin_prefetch((const char *)lane + at, 1);
    return lane;
}

static inline void look_closer(const struct lane_state *lane, const struct event *e, uint64_t hash) {
    if (lane == NULL) return;
    const struct recents *recents = &lane->recents[lane->recent_index];
    if (e->kind == EVENT_PRICE)
        __builtin_prefetch(&recents->slots[recents_is_list(recents) ? recents->count : hash & (recents->capacity - 1)],
                           1);
    else if (lane->ids.count > 0)
        __builtin_prefetch(&lane->ids.ranges[lane->ids.count - 1], 1);
}

static enum err apply_batch(struct book *book, const struct event *events, const int64_t *offsets, uint32_t count,
                            enum event_fate *fates, struct book_counts *counts) {
    struct ahead ahead;
    for (uint32_t i = 0; i < AHEAD && i < count; i++) ahead.lanes[i] = look_ahead(book, &events[i]);
    for (uint32_t i = 0; i < CLOSER && i < count; i++) ahead.hashes[i] = event_hash_inline(&events[i]);
    for (uint32_t i = 0; i < count; i++) {
        if (i + STREAM < count) __builtin_prefetch(&events[i + STREAM]);
        if (i + FAR < count) look_far(book, &events[i + FAR]);
        if (i + AHEAD < count) ahead.lanes[(i + AHEAD) % RING] = look_ahead(book, &events[i + AHEAD]);
        if (i + CLOSER < count) {
            uint64_t hash = event_hash_inline(&events[i + CLOSER]);
            ahead.hashes[(i + CLOSER) % RING] = hash;
            look_closer(ahead.lanes[(i + CLOSER) % RING], &events[i + CLOSER], hash);
        }
        uint64_t hash = ahead.hashes[i % RING];
        int64_t offset = offsets == NULL ? -1 : offsets[i];
        enum event_fate fate = FATE_USED;
        if (!usual_event(book, ahead.lanes[i % RING], &events[i], offset, hash)) {
            enum err err = apply_event(book, &events[i], offset, hash, &fate);
            if (err) return err;
        }
        counts->read++;
        if (!PLANTED(PLANT_LEDGER_TERM) || fate != FATE_DUPLICATE) counts->fate[fate]++;
        if (fates != NULL) fates[i] = fate;
    }
    return ERR_OK;
}

bool book_came_back(const struct book *book) { return book->came_back; }

enum err book_apply(struct book *book, const struct event *events, const int64_t *offsets, uint32_t count,
                    enum event_fate *fates, struct book_counts *counts, struct diag *diag) {
    book->diag = diag;
    enum err err = book_make_room(book);
    if (err == ERR_OK) err = apply_batch(book, events, offsets, count, fates, counts);
    book_snapshot_end(book);
    return err;
}
