/* The fold state of a lane: STORE_STATE under (task, be32 series and u8 basis).
 *
 *   u8       version = 2
 *   u8       flags: 1 live
 *   varint   largest event time; start of the newest row; next quiet minute; earliest open row (0 none, else time + 1)
 *   uvarint  used, late, duplicate, filtered, conflicts
 *   varint   stored from, stored until
 *   varint   time + 1 of the epoch's start
 *   ids      idset (idset.h) of the current epoch or hour
 *   varint   sparse hour + 1
 *   uvarint  older epochs, each varint end, idset
 *   varint   start + 1 of the current stretch of recent events; then two sets, the current one first, each uvarint count and
 *            le64 hashes
 *   u8       are contents remembered; if so RECENT_HASHES x le32
 *   ids      idset of ms in which the feed was up
 *   uvarint  unsealed days, each varint day
 *
 * Validity: everything is consumed, and every count is within its maximum; what is not is ERR_CORRUPT (the store has
 * checked the bytes already, so this means another version or a bug). Recovery: the state is made anew by folding the log
 * again. */
#include <stdlib.h>

#include "candle/book/lane.h"
#include "candle/series_row.h"

enum { STATE_VERSION = 2, FLAG_LIVE = 1 };

void lane_state_key(struct lane lane, uint8_t key[static STATE_KEY_SIZE]) {
    for (int i = 0; i < 4; i++) key[i] = (uint8_t)(lane.series >> (24 - 8 * i));
    key[4] = lane.basis;
}

/* Times and the like are not negative, so one value is free for "none" (INT64_MIN or INT64_MAX inside). */
static void put_time(struct buf *out, int64_t value) {
    buf_put_varint(out, value == INT64_MIN || value == INT64_MAX ? 0 : value + 1);
}

static int64_t get_time(struct reader *in, int64_t none) {
    int64_t value = reader_varint(in);
    if (value < 0 || value > TIME_MAX_MS * 2) in->err = ERR_CORRUPT;
    return value == 0 ? none : value - 1;
}

/* --- recent events --- */

static void put_recents(struct buf *out, const struct recents *recents) {
    buf_put_uvarint(out, recents->count);
    size_t bytes = recents->count * sizeof recents->slots[0];
    uint8_t *to = bytes == 0 ? NULL : buf_reserve(out, bytes + sizeof recents->slots[0]);
    if (to == NULL) return;
    uint32_t used = recents_is_list(recents) ? recents->count : recents->capacity;
    for (uint32_t i = 0; i < used; i++) { /* empty slots are written over: no branch could guess them */
        memcpy(to, &recents->slots[i], sizeof recents->slots[0]); /* little-endian, as every machine we run on */
        to += recents->slots[i] == 0 ? 0 : sizeof recents->slots[0];
    }
    buf_commit(out, bytes);
}

static enum err get_recents(struct reader *in, struct recents *recents) {
    uint64_t count = reader_uvarint(in);
    if (reader_err(in) || count > reader_left(in) / 8) return ERR_CORRUPT;
    for (uint64_t i = 0; i < count; i++) {
        bool known;
        enum err err = recents_add(recents, reader_le64(in), &known);
        if (err) return err;
    }
    return ERR_OK;
}

/* --- encoding --- */

static int64_t earliest_open(const struct lane_state *lane) {
    for (uint32_t i = 0; i < lane->chunk_count; i++)
        if (lane->chunks[i]->open != 0) return lane->chunks[i]->start_ms;
    return INT64_MIN;
}

static int64_t later(int64_t a, int64_t b) { return a > b ? a : b; }

/* What a parked lane writes back: its own progress where that is further, the live task's otherwise. */
static struct lane_parked moving_parts(const struct lane_state *lane) {
    struct lane_parked own = {
        .max_ms = lane->max_ms,
        .newest_ms = lane->newest_ms,
        .recent_ms = lane->recent_ms,
        .quiet_next_ms = lane->quiet_next_ms,
        .sparse_bucket = lane->sparse_bucket,
        .unloaded_open_ms = lane->unloaded_open_ms != INT64_MIN ? lane->unloaded_open_ms : earliest_open(lane),
        .recent_index = lane->recent_index,
        .live = lane->live,
        .recents = {lane->recents[0], lane->recents[1]},
        .ids = lane->ids,
        .older = lane->epoch_count > 0 ? lane->epochs[0].ids : (struct idset){0},
    };
    if (lane->parked == NULL) return own;
    struct lane_parked parked = *lane->parked;
    parked.max_ms = later(parked.max_ms, own.max_ms);
    parked.newest_ms = later(parked.newest_ms, own.newest_ms);
    return parked;
}

static void put_ids(struct buf *out, const struct lane_state *lane, const struct lane_parked *moving) {
    bool sparse = lane->ids_kind == LANE_SPARSE;
    put_time(out, lane->epoch_start_ms);
    idset_encode(out, sparse ? &moving->ids : &lane->ids);
    put_time(out, moving->sparse_bucket);
    buf_put_uvarint(out, sparse ? 1 : lane->epoch_count);
    if (sparse) {
        buf_put_varint(out, 0);
        idset_encode(out, &moving->older);
        return;
    }
    for (uint32_t i = 0; i < lane->epoch_count; i++) {
        buf_put_varint(out, lane->epochs[i].end_ms);
        idset_encode(out, &lane->epochs[i].ids);
    }
}

void lane_state_encode(struct buf *out, const struct lane_state *lane) {
    const struct lane_parked moving = moving_parts(lane);
    buf_put_u8(out, STATE_VERSION);
    buf_put_u8(out, moving.live ? FLAG_LIVE : 0);
    put_time(out, moving.max_ms);
    put_time(out, moving.newest_ms);
    put_time(out, moving.quiet_next_ms);
    put_time(out, moving.unloaded_open_ms);
    buf_put_uvarint(out, lane->used);
    buf_put_uvarint(out, lane->late);
    buf_put_uvarint(out, lane->duplicate);
    buf_put_uvarint(out, lane->filtered);
    buf_put_uvarint(out, lane->conflicts);
    put_time(out, lane->stored_from_ms);
    put_time(out, lane->stored_until_ms);
    put_ids(out, lane, &moving);
    put_time(out, moving.recent_ms);
    put_recents(out, &moving.recents[moving.recent_index]);
    put_recents(out, &moving.recents[moving.recent_index ^ 1]);
    buf_put_u8(out, lane->hashes != NULL);
    for (int i = 0; i < RECENT_HASHES && lane->hashes != NULL; i++) buf_put_le32(out, lane->hashes[i]);
    idset_encode(out, &lane->feed);
    buf_put_uvarint(out, lane->day_count);
    for (uint32_t i = 0; i < lane->day_count; i++) buf_put_varint(out, lane->days[i].day);
}

/* --- decoding --- */

static enum err get_epochs(struct reader *in, struct lane_state *lane) {
    uint64_t count = reader_uvarint(in);
    if (reader_err(in) || count > EPOCHS_MAX || (lane->ids_kind == LANE_SPARSE && count > 1)) return ERR_CORRUPT;
    if (count == 0) return ERR_OK;
    lane->epochs = calloc(EPOCHS_MAX, sizeof *lane->epochs);
    if (lane->epochs == NULL) return ERR_NO_MEMORY;
    for (uint64_t i = 0; i < count; i++) {
        struct id_epoch *epoch = &lane->epochs[lane->epoch_count++];
        epoch->end_ms = reader_varint(in);
        enum err err = idset_decode(in, &epoch->ids);
        if (err) return err;
    }
    return ERR_OK;
}

static enum err get_hashes(struct reader *in, struct lane_state *lane) {
    if (reader_u8(in) == 0) return ERR_OK;
    lane->hashes = calloc(RECENT_HASHES, sizeof *lane->hashes);
    if (lane->hashes == NULL) return ERR_NO_MEMORY;
    for (int i = 0; i < RECENT_HASHES; i++) lane->hashes[i] = reader_le32(in);
    return reader_err(in);
}

static enum err get_days(struct reader *in, struct lane_state *lane) {
    uint64_t count = reader_uvarint(in);
    if (reader_err(in) || count > DAYS_MAX || count > reader_left(in)) return ERR_CORRUPT;
    if (count == 0) return ERR_OK;
    lane->days = malloc(count * sizeof *lane->days);
    if (lane->days == NULL) return ERR_NO_MEMORY;
    lane->day_capacity = (uint32_t)count;
    for (uint64_t i = 0; i < count; i++) {
        int64_t day = reader_varint(in);
        if (day < 0 || day > TIME_MAX_MS / DAY_MS || (i > 0 && day <= lane->days[i - 1].day)) return ERR_CORRUPT;
        lane->days[lane->day_count++] = (struct unsealed_day){(int32_t)day, 0};
    }
    return ERR_OK;
}

static enum err get_head(struct reader *in, struct lane_state *lane) {
    if (reader_u8(in) != STATE_VERSION) return reader_err(in) != ERR_OK ? ERR_CORRUPT : ERR_FOREIGN;
    lane->live = (reader_u8(in) & FLAG_LIVE) != 0;
    lane->max_ms = get_time(in, INT64_MIN);
    lane->newest_ms = get_time(in, INT64_MIN);
    lane->quiet_next_ms = get_time(in, INT64_MAX);
    lane->unloaded_open_ms = get_time(in, INT64_MIN);
    lane->used = reader_uvarint(in);
    lane->late = reader_uvarint(in);
    lane->duplicate = reader_uvarint(in);
    lane->filtered = reader_uvarint(in);
    lane->conflicts = reader_uvarint(in);
    lane->stored_from_ms = get_time(in, INT64_MAX);
    lane->stored_until_ms = get_time(in, INT64_MIN);
    lane->epoch_start_ms = get_time(in, INT64_MIN);
    return reader_err(in);
}

enum err lane_state_decode(struct reader *in, struct lane_state *lane) {
    enum err err = get_head(in, lane);
    if (err == ERR_OK) err = idset_decode(in, &lane->ids);
    if (err == ERR_OK) lane->sparse_bucket = get_time(in, INT64_MIN);
    if (err == ERR_OK) err = get_epochs(in, lane);
    if (err == ERR_OK) lane->recent_ms = get_time(in, INT64_MIN);
    if (err == ERR_OK) err = get_recents(in, &lane->recents[0]);
    if (err == ERR_OK) err = get_recents(in, &lane->recents[1]);
    if (err == ERR_OK) err = get_hashes(in, lane);
    if (err == ERR_OK) err = idset_decode(in, &lane->feed);
    if (err == ERR_OK) err = get_days(in, lane);
    if (err == ERR_OK) err = reader_end(in);
    lane->fresh = false;
    return err;
}

/* --- all lanes of a task --- */

static enum err park(struct lane_state *lane) {
    struct lane_parked *parked = calloc(1, sizeof *parked);
    if (parked == NULL) return ERR_NO_MEMORY;
    *parked = moving_parts(lane);
    lane->parked = parked;
    lane->max_ms = lane->newest_ms = lane->recent_ms = lane->unloaded_open_ms = INT64_MIN;
    lane->quiet_next_ms = INT64_MAX;
    lane->live = false;
    memset(lane->recents, 0, sizeof lane->recents);
    if (lane->ids_kind == LANE_SPARSE) {
        idset_init(&lane->ids);
        if (lane->epoch_count > 0) idset_init(&lane->epochs[0].ids);
        lane->sparse_bucket = INT64_MIN;
    } else {
        idset_init(&parked->ids);
        idset_init(&parked->older);
    }
    return ERR_OK;
}

struct restore {
    struct book *book;
    struct diag *diag;
};

static enum err restore_lane(void *context, struct slice row, struct slice value) {
    struct restore *restore = context;
    struct book *book = restore->book;
    struct reader key = reader_of(row), in = reader_of(value);
    uint32_t series = reader_be32(&key);
    uint8_t basis = reader_u8(&key);
    if (reader_end(&key) != ERR_OK || basis >= BASIS_COUNT)
        return diag_set(restore->diag, ERR_CORRUPT, "a fold state of task %s has a malformed key", book->options.task);
    struct lane_state *lane;
    enum err err = lane_restored(book, series, basis, &lane);
    if (err == ERR_OK) err = lane_state_decode(&in, lane);
    if (err == ERR_FOREIGN) return store_other_version(restore->diag, "a fold state");
    if (err) return diag_set(restore->diag, err, "the fold state of series number %u cannot be read", series);
    lane->saved_series = true;
    if (lane->stored_until_ms != INT64_MIN) lane->kept_from_ms = lane->stored_until_ms + book->base_ms;
    /* Imports and live tasks of prices have states of their own, but the rows are the same ones. */
    if (basis == BASIS_PRICES) {
        lane->unsure = true;
        lane->kept_from_ms = INT64_MAX;
    }
    if (book->options.bounded) return park(lane);
    if (lane->unloaded_open_ms != INT64_MIN) lane->check_ms = lane->unloaded_open_ms + book->base_ms + lane->grace_ms;
    if (lane->live && lane->check_ms < book->next_clock_ms) book->next_clock_ms = lane->check_ms;
    return ERR_OK;
}

enum err book_restore(struct book *book, struct diag *diag) {
    struct store_snapshot *snapshot;
    struct restore restore = {book, diag};
    book->diag = diag;
    enum err err = book_snapshot(book, &snapshot);
    if (err) return err;
    const uint32_t *only = book->options.only;
    uint8_t from[STATE_KEY_SIZE], to[STATE_KEY_SIZE];
    struct store_key key = {STORE_STATE, slice_text(book->options.task), SLICE("")};
    if (only == NULL) {
        err = series_rows_load(book->options.series, book->options.store, snapshot, diag);
        if (err == ERR_OK)
            err = store_scan(book->options.store, snapshot, &key, SLICE_NONE, false, restore_lane, &restore);
    } else {
        lane_state_key((struct lane){*only, 0}, from);
        lane_state_key((struct lane){*only, BASIS_COUNT}, to);
        key.row = slice_of(from, sizeof from);
        err = store_scan(book->options.store, snapshot, &key, slice_of(to, sizeof to), false, restore_lane, &restore);
    }
    book_snapshot_end(book);
    return err;
}
