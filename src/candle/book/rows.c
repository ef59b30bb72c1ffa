#include <assert.h>
#include <stdlib.h>

#include "candle/book/lane.h"

/* --- lists --- */

static enum err list_reserve(struct lane_list *list, uint32_t count) {
    if (count <= list->capacity) return ERR_OK;
    uint32_t capacity = list->capacity == 0 ? 64 : list->capacity * 2;
    if (capacity < count) capacity = count;
    struct lane_state **lanes = realloc(list->lanes, capacity * sizeof *lanes);
    if (lanes == NULL) return ERR_NO_MEMORY;
    list->lanes = lanes;
    list->capacity = capacity;
    return ERR_OK;
}

enum err lane_list_add(struct lane_list *list, struct lane_state *lane) {
    enum err err = list_reserve(list, list->count + 1);
    if (err == ERR_OK) list->lanes[list->count++] = lane;
    return err;
}

enum err lane_enlist(struct book *book, struct lane_state *lane, uint8_t lists) {
    uint8_t missing = lists & (uint8_t)~lane->listed;
    enum err err = ERR_OK;
    if (missing & LISTED_CHANGED) err = lane_list_add(&book->changed, lane);
    if (err == ERR_OK && missing & LISTED_DIRTY) err = lane_list_add(&book->dirty, lane);
    if (err == ERR_OK && missing & LISTED_TOUCHED) err = lane_list_add(&book->touched, lane);
    if (err == ERR_OK && missing & LISTED_FROZEN) err = lane_list_add(&book->frozen, lane);
    if (err == ERR_OK) lane->listed |= missing;
    return err;
}

/* --- snapshots: one for what a call has to load --- */

enum err book_snapshot(struct book *book, struct store_snapshot **ret_snapshot) {
    if (book->snapshot == NULL) {
        enum err err = store_snapshot_open(book->options.store, &book->snapshot);
        if (err) return err;
    }
    *ret_snapshot = book->snapshot;
    return ERR_OK;
}

void book_snapshot_end(struct book *book) {
    if (book->snapshot != NULL) store_snapshot_close(book->options.store, &book->snapshot);
}

/* --- lanes --- */

static uint8_t ids_kind_of(const struct series *series, uint8_t basis) {
    if (basis == BASIS_KLINES) return LANE_KLINES;
    if (basis == BASIS_PRICES || series->ids == SERIES_IDS_NONE) return LANE_BARE;
    return series->ids == SERIES_IDS_DENSE ? LANE_DENSE : LANE_SPARSE;
}

static enum err visit_bound(void *context, const struct candle *candle) {
    *(int64_t *)context = candle->open_time_ms;
    return ERR_END;
}

/* A lane without a state may still have rows: those of an import, or of another task. */
static enum err find_stored(struct book *book, struct lane_state *lane) {
    struct store_snapshot *snapshot;
    enum err err = book_snapshot(book, &snapshot);
    if (err) return err;
    lane->unsure = false;
    struct shelf_range range = {lane->lane, (uint32_t)book->base_ms, 0, TIME_MAX_MS, false};
    int64_t first = INT64_MAX, last = INT64_MIN;
    err = shelf_scan(book->options.shelf, snapshot, &range, visit_bound, &first, book->diag);
    if (err || first == INT64_MAX) return err;
    range.descending = true;
    err = shelf_scan(book->options.shelf, snapshot, &range, visit_bound, &last, book->diag);
    if (err) return err;
    if (first < lane->stored_from_ms) lane->stored_from_ms = first;
    if (last > lane->stored_until_ms) lane->stored_until_ms = last;
    lane->kept_from_ms = last + book->base_ms;
    return ERR_OK;
}

static enum err visit_learn(void *context, const struct candle *candle) { return ids_learn(context, candle); }

/* Rows are all that is left of what was folded: they say which ids were seen. */
static enum err adopt(struct book *book, struct lane_state *lane) {
    if (lane->stored_from_ms > lane->stored_until_ms) return ERR_OK;
    lane->orphan = true;
    if (lane->ids_kind != LANE_DENSE) return ERR_OK;
    struct store_snapshot *snapshot;
    enum err err = book_snapshot(book, &snapshot);
    const struct shelf_range all = {lane->lane, (uint32_t)book->base_ms, lane->stored_from_ms,
                                    lane->stored_until_ms + book->base_ms, false};
    return err == ERR_OK ? shelf_scan(book->options.shelf, snapshot, &all, visit_learn, lane, book->diag) : err;
}

static enum err grow_series(struct book *book, uint32_t series) {
    uint32_t capacity = book->series_capacity == 0 ? 256 : book->series_capacity;
    while (capacity <= series) capacity *= 2;
    struct series_lanes *lanes = realloc(book->series, capacity * sizeof *lanes);
    if (lanes == NULL) return ERR_NO_MEMORY;
    memset(lanes + book->series_capacity, 0, (capacity - book->series_capacity) * sizeof *lanes);
    book->series = lanes;
    book->series_capacity = capacity;
    return ERR_OK;
}

static struct lane_state *lane_new(struct book *book, const struct series *series, uint8_t basis) {
    struct lane_slab *slab = book->slabs;
    if (slab == NULL || slab->used == LANES_A_SLAB) {
        slab = aligned_alloc(64, (sizeof *slab + 63) / 64 * 64);
        if (slab == NULL) return NULL;
        slab->next = book->slabs;
        slab->used = 0;
        book->slabs = slab;
    }
    struct lane_state *lane = &slab->lanes[slab->used++];
    *lane = (struct lane_state){0};
    lane->lane = (struct lane){series->number, basis};
    lane->ids_kind = ids_kind_of(series, basis);
    lane->grace_ms = basis == BASIS_PRICES ? (uint32_t)book->price_grace_ms : series->grace_ms;
    lane->current_ms = lane->max_ms = lane->newest_ms = lane->epoch_start_ms = INT64_MIN;
    lane->check_ms = lane->quiet_next_ms = INT64_MAX;
    lane->recent_ms = lane->sparse_bucket = lane->sealed_until_ms = lane->unloaded_open_ms = INT64_MIN;
    lane->stored_from_ms = INT64_MAX;
    lane->stored_until_ms = lane->kept_from_ms = INT64_MIN;
    lane->fresh = true;
    return lane;
}

void lane_deinit(struct lane_state *lane) {
    lane_settle(lane);
    for (uint32_t i = 0; i < lane->chunk_count; i++) {
        for (uint8_t j = 0; j < lane->chunks[i]->count; j++) minute_deinit(&lane->chunks[i]->rows[j]);
        free(lane->chunks[i]->rows);
        free(lane->chunks[i]);
    }
    for (uint32_t i = 0; i < lane->epoch_count; i++) idset_deinit(&lane->epochs[i].ids);
    for (int i = 0; i < 2; i++) free(lane->recents[i].slots);
    idset_deinit(&lane->ids);
    idset_deinit(&lane->doubtful);
    idset_deinit(&lane->feed);
    free(lane->chunks);
    free(lane->epochs);
    free(lane->hashes);
    free(lane->days);
    parked_free(lane->parked);
    if (lane->tail != NULL) free(lane->tail->rows);
    free(lane->tail);
}

void parked_free(struct lane_parked *parked) {
    if (parked == NULL) return;
    for (int i = 0; i < 2; i++) free(parked->recents[i].slots);
    idset_deinit(&parked->ids);
    idset_deinit(&parked->older);
    free(parked);
}

static enum err lane_make(struct book *book, uint32_t series, uint8_t basis, struct lane_state **ret_lane) {
    const struct series *known = series_get(book->options.series, series);
    if (known == NULL) return diag_set(book->diag, ERR_UNKNOWN, "series number %u is not known", series);
    enum err err = series < book->series_capacity ? ERR_OK : grow_series(book, series);
    if (err) return err;
    struct lane_state *lane = NULL;
    if (book->bytes + sizeof *lane <= book->max_bytes) lane = lane_new(book, known, basis);
    if (lane == NULL) return diag_set(book->diag, ERR_NO_MEMORY, "no memory for another series");
    err = list_reserve(&book->changed, book->all.count + 1);
    if (err == ERR_OK) err = lane_list_add(&book->all, lane);
    if (err) return err;
    book->bytes += sizeof *lane;
    book->series[series].of[basis] = lane;
    *ret_lane = lane;
    return ERR_OK;
}

enum err lane_get(struct book *book, uint32_t series, uint8_t basis, struct lane_state **ret_lane) {
    struct lane_state *lane = lane_find(book, series, basis);
    enum err err = ERR_OK;
    if (lane == NULL) {
        err = lane_make(book, series, basis, &lane);
        if (err == ERR_OK && book->options.shelf != NULL) err = find_stored(book, lane);
        if (err == ERR_OK && book->options.refold) err = adopt(book, lane);
    }
    if (err == ERR_OK) *ret_lane = lane;
    return err;
}

enum err lane_restored(struct book *book, uint32_t series, uint8_t basis, struct lane_state **ret_lane) {
    if (lane_find(book, series, basis) != NULL || series_get(book->options.series, series) == NULL) return ERR_CORRUPT;
    return lane_make(book, series, basis, ret_lane);
}

/* --- chunks --- */

int64_t book_start_of(const struct book *book, int64_t time_ms) { return time_ms - time_ms % book->base_ms; }

/* The first chunk that ends after `time_ms`. */
static uint32_t chunk_at(const struct book *book, const struct lane_state *lane, int64_t time_ms) {
    assert(lane->current_ms == INT64_MIN);
    uint32_t low = 0, high = lane->chunk_count;
    if (high > 0 && lane->chunks[high - 1]->start_ms <= time_ms)
        return lane->chunks[high - 1]->start_ms + book->chunk_ms > time_ms ? high - 1 : high;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (lane->chunks[middle]->start_ms + book->chunk_ms <= time_ms)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool chunk_holds(const struct chunk *chunk, int64_t time_ms) { return chunk->start_ms <= time_ms; }

static enum err chunk_grow(struct book *book, struct chunk *chunk) {
    if (chunk->count < chunk->capacity) return ERR_OK;
    uint32_t capacity = chunk->capacity == 0 ? 4 : chunk->capacity * 2;
    if (capacity > ROWS_A_CHUNK) capacity = ROWS_A_CHUNK;
    size_t more = (capacity - chunk->capacity) * sizeof *chunk->rows;
    if (book->bytes + more > book->max_bytes)
        return diag_set(book->diag, ERR_NO_MEMORY, "candles in memory need more than %zu bytes", book->max_bytes);
    struct minute *rows = realloc(chunk->rows, capacity * sizeof *rows);
    if (rows == NULL) return ERR_NO_MEMORY;
    chunk->rows = rows;
    chunk->capacity = (uint8_t)capacity;
    book->bytes += more;
    return ERR_OK;
}

static enum err chunk_add_row(struct book *book, struct chunk *chunk, uint32_t index) {
    enum err err = chunk_grow(book, chunk);
    if (err) return err;
    chunk->at[index] = chunk->count;
    minute_init(&chunk->rows[chunk->count++]);
    chunk->present |= UINT64_C(1) << index;
    return ERR_OK;
}

struct load {
    struct book *book;
    struct lane_state *lane;
    struct chunk *chunk;
};

/* Ids of a stored row that is known to be whole are seen ids, whoever stored it. */
static enum err learn_ids(struct lane_state *lane, const struct candle *candle) {
    const bool wanted = lane->fresh && !lane->orphan && lane->ids_kind == LANE_DENSE; /* of an orphan all are learnt */
    if (!wanted || candle->coverage != COVERAGE_TRADED || candle->first_id < 0) return ERR_OK;
    struct id_range range = {candle->first_id, candle->last_id, candle->open_mark.time_ms, candle->close_mark.time_ms};
    return idset_merge(&lane->ids, &range);
}

static enum err visit_load(void *context, const struct candle *candle) {
    struct load *load = context;
    struct chunk *chunk = load->chunk;
    uint32_t index = (uint32_t)(candle->open_time_ms - chunk->start_ms) / (uint32_t)load->book->base_ms;
    uint64_t bit = UINT64_C(1) << index;
    enum err err = chunk_add_row(load->book, chunk, index);
    if (err) return err;
    struct minute *m = &chunk->rows[chunk->at[index]];
    err = minute_from_candle(m, candle);
    if (err) return err;
    if (candle->final == CANDLE_OPEN) {
        chunk->open |= bit;
        load->lane->open_rows++;
        int64_t due = candle->open_time_ms + load->book->base_ms + load->lane->grace_ms;
        if (due < load->lane->check_ms) load->lane->check_ms = due;
    } else {
        chunk->published |= bit;
    }
    bool whole = candle->coverage == COVERAGE_TRADED || candle->coverage == COVERAGE_QUIET;
    m->left_ok = whole;
    m->right_ok = whole && candle->final == CANDLE_FINAL_PROVEN;
    m->unproven = candle->trades == 0 && candle->coverage == COVERAGE_UNKNOWN;
    m->by_status = candle->trades == 0 && candle->first_id < 0 && candle->final == CANDLE_FINAL_CLOCK;
    if (load->lane->ids_kind != LANE_DENSE && candle->coverage == COVERAGE_PARTIAL) m->partial = 1;
    return learn_ids(load->lane, candle);
}

static enum err chunk_load(struct book *book, struct lane_state *lane, struct chunk *chunk) {
    int64_t end = chunk->start_ms + book->chunk_ms;
    enum err err = lane->unsure && book->options.shelf != NULL ? find_stored(book, lane) : ERR_OK;
    if (err) return err;
    if (book->options.shelf == NULL || chunk->start_ms > lane->stored_until_ms || end <= lane->stored_from_ms)
        return ERR_OK;
    struct store_snapshot *snapshot;
    err = book_snapshot(book, &snapshot);
    if (err) return err;
    struct load load = {book, lane, chunk};
    struct shelf_range range = {lane->lane, (uint32_t)book->base_ms, chunk->start_ms, end, false};
    return shelf_scan(book->options.shelf, snapshot, &range, visit_load, &load, book->diag);
}

static enum err chunk_make(struct book *book, struct lane_state *lane, uint32_t at, int64_t time_ms) {
    if (lane->chunk_count == lane->chunk_capacity) {
        uint32_t capacity = lane->chunk_capacity == 0 ? 2 : lane->chunk_capacity * 2;
        struct chunk **chunks = realloc(lane->chunks, capacity * sizeof(struct chunk *));
        if (chunks == NULL) return ERR_NO_MEMORY;
        lane->chunks = chunks;
        lane->chunk_capacity = capacity;
    }
    struct chunk *chunk = calloc(1, sizeof *chunk);
    if (chunk == NULL) return ERR_NO_MEMORY;
    chunk->start_ms = time_ms - time_ms % book->chunk_ms;
    memmove(&lane->chunks[at + 1], &lane->chunks[at], (lane->chunk_count - at) * sizeof lane->chunks[0]);
    lane->chunks[at] = chunk;
    lane->chunk_count++;
    book->bytes += sizeof *chunk;
    return chunk_load(book, lane, chunk);
}

static void row_set(const struct book *book, struct chunk *chunk, int64_t start_ms, struct row *ret_row) {
    uint32_t index = (uint32_t)(start_ms - chunk->start_ms) / (uint32_t)book->base_ms;
    uint64_t bit = UINT64_C(1) << index;
    bool present = (chunk->present & bit) != 0;
    *ret_row = (struct row){chunk, present ? &chunk->rows[chunk->at[index]] : NULL, bit, start_ms};
}

enum err row_find(struct book *book, struct lane_state *lane, int64_t start_ms, struct row *ret_row) {
    uint32_t at = chunk_at(book, lane, start_ms);
    if (at == lane->chunk_count || !chunk_holds(lane->chunks[at], start_ms)) {
        bool stored = start_ms >= lane->stored_from_ms && start_ms <= lane->stored_until_ms;
        if (!stored || book->options.shelf == NULL) {
            *ret_row = (struct row){.start_ms = start_ms};
            return ERR_OK;
        }
        enum err err = chunk_make(book, lane, at, start_ms);
        if (err) return err;
    }
    row_set(book, lane->chunks[at], start_ms, ret_row);
    return ERR_OK;
}

enum err row_make(struct book *book, struct lane_state *lane, int64_t start_ms, struct row *ret_row, bool *ret_made) {
    uint32_t at = chunk_at(book, lane, start_ms);
    enum err err = ERR_OK;
    if (at == lane->chunk_count || !chunk_holds(lane->chunks[at], start_ms)) err = chunk_make(book, lane, at, start_ms);
    if (err) return err;
    struct chunk *chunk = lane->chunks[at];
    row_set(book, chunk, start_ms, ret_row);
    *ret_made = ret_row->minute == NULL;
    if (!*ret_made) return ERR_OK;
    err = chunk_add_row(book, chunk, (uint32_t)__builtin_ctzll(ret_row->bit));
    if (err) return err;
    row_again(ret_row);
    chunk->open |= ret_row->bit;
    lane->open_rows++;
    int64_t due = start_ms + book->base_ms + lane->grace_ms;
    if (due < lane->check_ms) lane->check_ms = due;
    if (due < book->next_clock_ms) book->next_clock_ms = due;
    return ERR_OK;
}

enum err lane_load_open(struct book *book, struct lane_state *lane) {
    int64_t chunk_ms = lane->unloaded_open_ms;
    lane->unloaded_open_ms = INT64_MIN;
    struct row row;
    for (; chunk_ms != INT64_MIN && chunk_ms <= lane->stored_until_ms; chunk_ms += book->chunk_ms) {
        int64_t at = chunk_ms > lane->stored_from_ms ? chunk_ms : lane->stored_from_ms;
        enum err err = row_find(book, lane, at, &row);
        if (err) return err;
    }
    return ERR_OK;
}

/* --- neighbours --- */

static void row_of_bit(const struct book *book, struct chunk *chunk, uint32_t index, struct row *ret_row) {
    *ret_row = (struct row){chunk, &chunk->rows[chunk->at[index]], UINT64_C(1) << index,
                            chunk->start_ms + index * book->base_ms};
}

bool row_next(const struct book *book, const struct lane_state *lane, int64_t start_ms, struct row *ret_row) {
    for (uint32_t at = chunk_at(book, lane, start_ms); at < lane->chunk_count; at++) {
        struct chunk *chunk = lane->chunks[at];
        uint64_t present = chunk->present;
        if (start_ms > chunk->start_ms) {
            int64_t skip = (start_ms - chunk->start_ms + book->base_ms - 1) / book->base_ms;
            present = skip >= ROWS_A_CHUNK ? 0 : present >> skip << skip;
        }
        if (present == 0) continue;
        row_of_bit(book, chunk, (uint32_t)__builtin_ctzll(present), ret_row);
        return true;
    }
    return false;
}

bool row_previous(const struct book *book, const struct lane_state *lane, int64_t before_ms, struct row *ret_row) {
    uint32_t at = chunk_at(book, lane, before_ms);
    for (at = at == lane->chunk_count ? at : at + 1; at-- > 0;) {
        struct chunk *chunk = lane->chunks[at];
        if (chunk->start_ms >= before_ms) continue;
        int64_t until = (before_ms - chunk->start_ms + book->base_ms - 1) / book->base_ms;
        uint64_t present = until >= 64 ? chunk->present : chunk->present & ((UINT64_C(1) << until) - 1);
        if (present == 0) continue;
        row_of_bit(book, chunk, 63 - (uint32_t)__builtin_clzll(present), ret_row);
        return true;
    }
    return false;
}

/* The stored row may be nearer than the one in memory: its chunk is then loaded. */
enum err row_before(struct book *book, struct lane_state *lane, int64_t start_ms, struct row *ret_row) {
    struct row row = {0};
    bool found = row_previous(book, lane, start_ms, &row);
    if (book->options.shelf != NULL && lane->stored_from_ms < start_ms &&
        (!found || row.start_ms < start_ms - book->base_ms)) {
        struct store_snapshot *snapshot;
        enum err err = book_snapshot(book, &snapshot);
        if (err) return err;
        int64_t from = found ? row.start_ms + book->base_ms : 0, stored = INT64_MIN;
        struct shelf_range range = {lane->lane, (uint32_t)book->base_ms, from, start_ms, true};
        err = shelf_scan(book->options.shelf, snapshot, &range, visit_bound, &stored, book->diag);
        if (err) return err;
        if (stored != INT64_MIN) return row_find(book, lane, stored, ret_row);
    }
    *ret_row = found ? row : (struct row){0};
    return ERR_OK;
}

/* --- what changed --- */

enum err row_touch(struct book *book, struct lane_state *lane, const struct row *row) {
    if (row->chunk->dirty == 0) {
        enum err err = lane_day_add(book, lane, row->start_ms);
        if (err) return err;
    }
    row->chunk->dirty |= row->bit;
    row->chunk->changed |= row->bit;
    return lane_enlist(book, lane, LISTED_CHANGED | LISTED_DIRTY);
}

enum err row_revise(struct book *book, struct lane_state *lane, const struct row *row, enum candle_reason reason) {
    if (row_closed(row)) {
        if (row->minute->revision < UINT32_MAX) row->minute->revision++;
        row->minute->reason = reason & 3;
    }
    return row_touch(book, lane, row);
}

/* --- letting go --- */

static void chunk_drop(struct book *book, struct lane_state *lane, uint32_t at) {
    struct chunk *chunk = lane->chunks[at];
    lane->open_rows -= (uint32_t)__builtin_popcountll(chunk->open);
    book->bytes -= sizeof *chunk + chunk->capacity * sizeof *chunk->rows;
    if (chunk->start_ms + book->chunk_ms > lane->kept_from_ms) lane->kept_from_ms = chunk->start_ms + book->chunk_ms;
    for (uint8_t i = 0; i < chunk->count; i++) minute_deinit(&chunk->rows[i]);
    free(chunk->rows);
    free(chunk);
    memmove(&lane->chunks[at], &lane->chunks[at + 1], (lane->chunk_count - at - 1) * sizeof lane->chunks[0]);
    lane->chunk_count--;
}

void rows_let_go(struct book *book, struct lane_state *lane, int64_t keep_ms) {
    if (book->options.shelf == NULL) return;
    lane_settle(lane);
    for (uint32_t at = lane->chunk_count; at-- > 0;) {
        const struct chunk *chunk = lane->chunks[at];
        if ((chunk->dirty | chunk->frozen | chunk->open) != 0) continue;
        if (keep_ms > 0 && chunk->start_ms + book->chunk_ms + keep_ms > lane->max_ms) continue;
        chunk_drop(book, lane, at);
    }
}

void rows_drop(struct book *book, struct lane_state *lane) {
    lane_settle(lane);
    while (lane->chunk_count > 0) chunk_drop(book, lane, lane->chunk_count - 1);
    lane->open_rows = 0;
    lane->check_ms = INT64_MAX;
}
