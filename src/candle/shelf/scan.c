/* Reading the shelf: two streams of rows in time order, mini-blocks of the store and sealed blocks, merged; where both
 * have a minute, the store's row wins. A stream holds the rows of one unit or period at a time. What was unpacked of the last
 * blocks stays so for the next scan: one query asks for the edges of a lane and then for its rows. */
#include <assert.h>
#include <stdlib.h>

#include "candle/shelf/parts.h"

/* Beyond these no calendar is asked. */
static const int64_t TIME_MAX_MS = INT64_C(1) << 50, TIME_MIN_MS = -(INT64_C(1) << 50);

enum { STREAM_ROWS_MAX = BLOCK_ROWS_MAX, STREAM_ENOUGH_ROWS = 64, SLOTS = 3 };

struct stream {
    const struct candle *rows; /* low .. high - 1 are ascending and not yet visited */
    uint32_t low, high;
    struct span left; /* starts of units or periods not yet read: start <= x < end */
    bool done;
    enum store_table table;
};

/* Rows of an unpacked block. */
struct slot {
    uint64_t id;      /* offset << 2 | tier, + 1; 0: none */
    struct span held; /* all rows that open in it are there */
    uint64_t used;
    uint32_t count, capacity;
    struct candle *rows;
};

struct shelf_scan_state {
    struct stream open, sealed;
    uint64_t clock;
    struct slot slots[SLOTS];
    struct candle rows[STREAM_ROWS_MAX]; /* of mini-blocks */
};

struct scan {
    struct shelf *shelf;
    struct store_snapshot *snapshot;
    const struct shelf_range *range;
    int tier;
    struct diag *diag;
    struct shelf_scan_state *state;
    struct stream *stream; /* being filled */
    uint32_t found;
    struct location location;
};

static struct shelf_scan_state *state_take(struct shelf *shelf) {
    struct shelf_scan_state *state = NULL;
    pthread_mutex_lock(&shelf->scans_lock);
    for (int i = 0; i < SHELF_SCANS_KEPT && state == NULL; i++) {
        state = shelf->scans[i];
        shelf->scans[i] = NULL;
    }
    pthread_mutex_unlock(&shelf->scans_lock);
    return state != NULL ? state : calloc(1, sizeof *state);
}

static void state_free(struct shelf_scan_state *state) {
    for (int i = 0; state != NULL && i < SLOTS; i++) free(state->slots[i].rows);
    free(state);
}

static void state_give(struct shelf *shelf, struct shelf_scan_state *state) {
    pthread_mutex_lock(&shelf->scans_lock);
    for (int i = 0; i < SHELF_SCANS_KEPT && state != NULL; i++) {
        if (shelf->scans[i] != NULL) continue;
        shelf->scans[i] = state;
        state = NULL;
    }
    pthread_mutex_unlock(&shelf->scans_lock);
    state_free(state);
}

void shelf_scans_close(struct shelf *shelf) {
    for (int i = 0; i < SHELF_SCANS_KEPT; i++) state_free(shelf->scans[i]);
}

static void stream_left(struct scan *scan, struct stream *stream, int64_t read_ms) {
    if (scan->range->descending)
        stream->left.end_ms = read_ms;
    else
        stream->left.start_ms = read_ms + 1;
}

/* Rows of the range go behind those there are, or, descending, before them. */
static enum err stream_decode(struct scan *scan, const struct block_view *view) {
    struct stream *stream = scan->stream;
    const struct shelf_range *range = scan->range;
    uint32_t got = 0;
    if (view->tier_ms != range->tier_ms) return ERR_CORRUPT;
    if (!range->descending) {
        enum err err = block_read(view, range->from_ms, range->to_ms, scan->state->rows + stream->high,
                                  STREAM_ROWS_MAX - stream->high, &got);
        stream->high += got;
        return err;
    }
    assert(view->row_count <= stream->low);
    struct candle *at = scan->state->rows + stream->low - view->row_count;
    enum err err = block_read(view, range->from_ms, range->to_ms, at, view->row_count, &got);
    if (err != ERR_OK) return err;
    if (got < view->row_count) memmove(at + view->row_count - got, at, got * sizeof *at);
    stream->low -= got;
    return ERR_OK;
}

static uint32_t room(const struct scan *scan) {
    return scan->range->descending ? scan->stream->low : STREAM_ROWS_MAX - scan->stream->high;
}

static enum err visit_unit(void *context, struct slice row, struct slice value) {
    struct scan *scan = context;
    struct block_view view;
    int64_t start;
    enum err err = shelf_key_parse_time(row, &start);
    if (err == ERR_OK) err = block_open(value, &view);
    if (err != ERR_OK) return err;
    if (view.row_count > room(scan)) return ERR_END; /* the next time */
    stream_left(scan, scan->stream, start);
    scan->found++;
    err = stream_decode(scan, &view);
    if (err != ERR_OK) return err;
    return scan->stream->high - scan->stream->low >= STREAM_ENOUGH_ROWS ? ERR_END : ERR_OK;
}

static enum err visit_location(void *context, struct slice row, struct slice value) {
    struct scan *scan = context;
    scan->found++;
    enum err err = shelf_location_parse(row, value, &scan->location);
    return err == ERR_OK ? ERR_END : err;
}

/* What the range wants of the block at scan->location. */
static struct span slot_wanted(const struct scan *scan) {
    const struct location *block = &scan->location;
    const struct shelf_range *range = scan->range;
    return (struct span){range->from_ms > block->first_ms ? range->from_ms : block->first_ms,
                         range->to_ms <= block->last_ms ? range->to_ms : block->last_ms + 1};
}

static enum err slot_fill(struct scan *scan, struct slot *slot, struct span wanted) {
    struct shelf_pin *pin = NULL;
    enum err err = shelf_block_get(scan->shelf, scan->tier, &scan->location, scan->diag, &pin);
    if (err != ERR_OK) return err;
    const struct block_view *view = shelf_pin_view(pin);
    slot->id = 0;
    if (view->row_count > slot->capacity) {
        free(slot->rows);
        slot->rows = malloc(view->row_count * sizeof *slot->rows);
        slot->capacity = slot->rows == NULL ? 0 : view->row_count;
        if (slot->rows == NULL) err = ERR_NO_MEMORY;
    }
    if (err == ERR_OK && view->tier_ms != scan->range->tier_ms) err = ERR_CORRUPT;
    if (err == ERR_OK) err = block_read(view, wanted.start_ms, wanted.end_ms, slot->rows, slot->capacity, &slot->count);
    shelf_pin_release(scan->shelf, &pin);
    return err;
}

/* The slot that holds what is wanted of the block at scan->location, or the one longest unused, filled with it. */
static enum err slot_find(struct scan *scan, struct slot **ret_slot) {
    struct shelf_scan_state *state = scan->state;
    const struct span wanted = slot_wanted(scan);
    uint64_t id = ((uint64_t)scan->location.offset << 2 | (unsigned)scan->tier) + 1;
    struct slot *slot = &state->slots[0];
    for (int i = 0; i < SLOTS && slot->id != id; i++)
        if (state->slots[i].id == id || state->slots[i].used < slot->used) slot = &state->slots[i];
    if (slot->id != id || slot->held.start_ms > wanted.start_ms || slot->held.end_ms < wanted.end_ms) {
        enum err err = slot_fill(scan, slot, wanted);
        if (err != ERR_OK) return err;
        slot->id = id;
        slot->held = wanted;
    }
    slot->used = ++state->clock;
    *ret_slot = slot;
    return ERR_OK;
}

/* The first row at or after `time_ms`. */
static uint32_t lower_bound(const struct slot *slot, int64_t time_ms) {
    uint32_t low = 0, high = slot->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (slot->rows[middle].open_time_ms < time_ms)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static enum err stream_sealed(struct scan *scan) {
    struct slot *slot = NULL;
    const struct shelf_range *range = scan->range;
    stream_left(scan, scan->stream, scan->location.period_start_ms);
    if (scan->location.last_ms < range->from_ms || scan->location.first_ms >= range->to_ms) return ERR_OK;
    enum err err = slot_find(scan, &slot);
    if (err != ERR_OK) return err;
    scan->stream->rows = slot->rows;
    scan->stream->low = lower_bound(slot, range->from_ms);
    scan->stream->high = lower_bound(slot, range->to_ms);
    return ERR_OK;
}

/* Reads on until there is a row or nothing more. */
static enum err stream_fill(struct scan *scan, struct stream *stream) {
    scan->stream = stream;
    while (stream->low == stream->high && !stream->done) {
        struct shelf_key key;
        uint8_t end[8];
        stream->low = stream->high = scan->range->descending ? STREAM_ROWS_MAX : 0;
        scan->found = 0;
        shelf_key_lane(scan->shelf, scan->range->lane, scan->tier, &key);
        shelf_key_time(stream->left.start_ms, key.row);
        shelf_key_time(stream->left.end_ms, end);
        const struct store_key from = shelf_store_key(stream->table, &key);
        bool sealed = stream->table == STORE_BLOCKS;
        enum err err = store_scan(scan->shelf->options.store, scan->snapshot, &from, slice_of(end, 8),
                                  scan->range->descending, sealed ? visit_location : visit_unit, scan);
        if (err == ERR_OK && sealed && scan->found > 0) err = stream_sealed(scan);
        if (err != ERR_OK) return err;
        stream->done = scan->found == 0;
    }
    return ERR_OK;
}

static void stream_start(struct scan *scan, struct stream *stream, enum store_table table) {
    const struct shelf_range *range = scan->range;
    struct span first = {range->from_ms, range->from_ms};
    if (range->from_ms > TIME_MIN_MS && range->from_ms < TIME_MAX_MS)
        first = table == STORE_BLOCKS ? shelf_period(scan->shelf, scan->tier, range->from_ms)
                                      : shelf_unit(scan->shelf, scan->tier, range->from_ms);
    *stream = (struct stream){.rows = scan->state->rows, .left = {first.start_ms, range->to_ms}, .table = table};
}

static const struct candle *stream_peek(const struct stream *stream, bool descending) {
    if (stream->low == stream->high) return NULL;
    return descending ? &stream->rows[stream->high - 1] : &stream->rows[stream->low];
}

static void stream_skip(struct stream *stream, bool descending) {
    if (descending)
        stream->high--;
    else
        stream->low++;
}

/* The next row of both streams; NULL at the end. */
static enum err scan_next(struct scan *scan, const struct candle **ret_row) {
    bool descending = scan->range->descending;
    struct stream *open = &scan->state->open, *sealed = &scan->state->sealed;
    enum err err = open->low == open->high ? stream_fill(scan, open) : ERR_OK;
    if (err == ERR_OK && sealed->low == sealed->high) err = stream_fill(scan, sealed);
    if (err != ERR_OK) return err;
    const struct candle *a = stream_peek(open, descending), *b = stream_peek(sealed, descending);
    bool take_open =
        a != NULL &&
        (b == NULL || (descending ? a->open_time_ms >= b->open_time_ms : a->open_time_ms <= b->open_time_ms));
    if (take_open && b != NULL && a->open_time_ms == b->open_time_ms) stream_skip(sealed, descending);
    if (a != NULL || b != NULL) stream_skip(take_open ? open : sealed, descending);
    *ret_row = take_open ? a : b;
    return ERR_OK;
}

enum err shelf_scan(struct shelf *shelf, struct store_snapshot *snapshot, const struct shelf_range *range,
                    candle_visit visit, void *context, struct diag *diag) {
    int tier = shelf_tier(shelf, range->tier_ms);
    if (tier < 0) return diag_set(diag, ERR_RANGE, "candles of %u ms are not stored", range->tier_ms);
    if (range->from_ms >= range->to_ms) return ERR_OK;
    struct scan scan = {.shelf = shelf, .snapshot = snapshot, .range = range, .tier = tier, .diag = diag};
    scan.state = state_take(shelf);
    if (scan.state == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory to read candles");
    stream_start(&scan, &scan.state->open, STORE_CANDLES);
    stream_start(&scan, &scan.state->sealed, STORE_BLOCKS);
    const struct candle *row = NULL;
    enum err err;
    do {
        err = scan_next(&scan, &row);
        if (err == ERR_OK && row != NULL) err = visit(context, row);
    } while (err == ERR_OK && row != NULL);
    state_give(shelf, scan.state);
    if (err == ERR_CORRUPT && diag != NULL && diag->err != ERR_CORRUPT)
        diag_set(diag, ERR_CORRUPT, "a row of stored candles is damaged");
    return err == ERR_END ? ERR_OK : err;
}
