/* The space of blocks that nobody can reach any more, given back by compaction of the sealed topics.
 *
 * What counts of a key is the record that its index row names, not the newest one: an import that died left newer ones. So the
 * index is noted, and a record may leave only if it was appended before that and
 *   - its key's row names a later record, or
 *   - its key has no row (it has expired) and a tombstone comes behind it, or
 *   - no row names it and it is of an import that is not in the register.
 * A rebuild of the index passes over the same records, so it comes to the same rows before and after. Whoever notes must know
 * that nothing appended by then waits for its commit (no import is under way; what tasks seal is newer than its key's row),
 * and whoever runs it that nobody reads by an older index (store_turn). */
#include <assert.h>
#include <stdlib.h>
#include <xxhash.h>

#include "candle/shelf/parts.h"

enum {
    LIVE_MAX = 1 << 22,          /* blocks of a topic; with more of them, what is not among those noted stays */
    RECORD_OVERHEAD_BYTES = 192, /* key, headers and a share of the batch's, at most about */
    WASTE_MIN_BYTES = 1024 * 1024,
    WASTE_SHARE = 4 /* of what is live: rewriting it all for less is not worth while */
};

struct live {
    uint64_t low, high; /* of the key's hash */
    int64_t offset;
};

struct noted {
    struct live *list; /* by hash */
    size_t count, capacity;
    int64_t below; /* the topic's end before the index was read */
    uint64_t bytes;
    bool full;
};

struct shelf_compaction {
    struct shelf *shelf;
    shelf_origin_known known;
    const void *context;
    struct noted tiers[TIER_COUNT];
    /* of the scan at hand */
    struct lane lane;
    int tier;
};

/* --- noting --- */

static enum err note(struct shelf_compaction *c, const struct location *location) {
    struct noted *noted = &c->tiers[c->tier];
    noted->bytes += location->size_bytes + RECORD_OVERHEAD_BYTES;
    if (noted->count == LIVE_MAX) {
        noted->full = true;
        return ERR_OK;
    }
    if (noted->count == noted->capacity) {
        size_t capacity = noted->capacity == 0 ? 1024 : noted->capacity * 2;
        struct live *list = realloc(noted->list, capacity * sizeof *list);
        if (list == NULL) return ERR_NO_MEMORY;
        noted->list = list;
        noted->capacity = capacity;
    }
    char key[SHELF_RECORD_KEY_MAX];
    size_t size = shelf_record_key(c->shelf, c->lane, location->period_start_ms, key);
    XXH128_hash_t hash = XXH3_128bits(key, size);
    noted->list[noted->count++] = (struct live){hash.low64, hash.high64, location->offset};
    return ERR_OK;
}

static enum err visit_row(void *context, struct slice row, struct slice value) {
    struct location location;
    enum err err = shelf_location_parse(row, value, &location);
    return err == ERR_OK ? note(context, &location) : err;
}

/* Each lane with a snapshot of its own, so that none is held long. */
static enum err note_lane(struct shelf_compaction *c, struct lane lane) {
    struct store *store = c->shelf->options.store;
    struct store_snapshot *snapshot = NULL;
    enum err err = store_snapshot_open(store, &snapshot);
    c->lane = lane;
    for (c->tier = 0; c->tier < TIER_COUNT && err == ERR_OK; c->tier++) {
        struct shelf_key key;
        shelf_key_lane(c->shelf, lane, c->tier, &key);
        const struct store_key from = {STORE_BLOCKS, slice_of(key.partition, sizeof key.partition), SLICE("")};
        err = store_scan(store, snapshot, &from, SLICE_NONE, false, visit_row, c);
    }
    if (snapshot != NULL) store_snapshot_close(store, &snapshot);
    return err;
}

struct lanes {
    struct lane *list;
    size_t count, capacity;
};

static enum err add_lane(void *context, struct lane lane) {
    struct lanes *lanes = context;
    if (lanes->count == lanes->capacity) {
        size_t capacity = lanes->capacity == 0 ? 256 : lanes->capacity * 2;
        struct lane *list = realloc(lanes->list, capacity * sizeof *list);
        if (list == NULL) return ERR_NO_MEMORY;
        lanes->list = list;
        lanes->capacity = capacity;
    }
    lanes->list[lanes->count++] = lane;
    return ERR_OK;
}

static enum err note_all(struct shelf_compaction *c) {
    struct store *store = c->shelf->options.store;
    struct store_snapshot *snapshot = NULL;
    struct lanes lanes = {0};
    enum err err = store_snapshot_open(store, &snapshot);
    if (err == ERR_OK) err = shelf_lanes(c->shelf, snapshot, add_lane, &lanes);
    if (snapshot != NULL) store_snapshot_close(store, &snapshot);
    for (size_t i = 0; i < lanes.count && err == ERR_OK; i++) err = note_lane(c, lanes.list[i]);
    free(lanes.list);
    return err;
}

static int compare_live(const void *a, const void *b) {
    const struct live *x = a, *y = b;
    if (x->low != y->low) return x->low < y->low ? -1 : 1;
    return (x->high > y->high) - (x->high < y->high);
}

enum err shelf_compaction_open(struct shelf *shelf, shelf_origin_known known, const void *context, struct diag *diag,
                               struct shelf_compaction **ret_compaction) {
    struct shelf_compaction *c = calloc(1, sizeof *c);
    if (c == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory");
    *c = (struct shelf_compaction){.shelf = shelf, .known = known, .context = context};
    for (int i = 0; i < TIER_COUNT; i++)
        if (shelf->tiers[i].partition != NULL) c->tiers[i].below = log_end_offset(shelf->tiers[i].partition);
    enum err err = note_all(c);
    if (err != ERR_OK) {
        shelf_compaction_close(&c);
        return diag_set(diag, err, "the index of sealed candles cannot be read: %s", err_message(err));
    }
    for (int i = 0; i < TIER_COUNT; i++)
        if (c->tiers[i].count > 0) qsort(c->tiers[i].list, c->tiers[i].count, sizeof(struct live), compare_live);
    *ret_compaction = c;
    return ERR_OK;
}

void shelf_compaction_close(struct shelf_compaction **compaction) {
    struct shelf_compaction *c = *compaction;
    if (c == NULL) return;
    for (int i = 0; i < TIER_COUNT; i++) free(c->tiers[i].list);
    free(c);
    *compaction = NULL;
}

/* --- what may leave --- */

static const struct live *find_live(const struct noted *noted, struct slice key) {
    XXH128_hash_t hash = XXH3_128bits(key.data, key.size);
    const struct live wanted = {hash.low64, hash.high64, 0};
    return noted->count == 0 ? NULL : bsearch(&wanted, noted->list, noted->count, sizeof(struct live), compare_live);
}

static enum log_fate fate_of(void *context, const struct record *record) {
    const struct shelf_compaction *c = context;
    const struct noted *noted = &c->tiers[c->tier];
    const struct live *live = find_live(noted, record->key);
    uint64_t origin;
    if (live != NULL && live->offset == record->offset) return LOG_FATE_KEEP;
    if (live != NULL && live->offset > record->offset) return LOG_FATE_DROP;
    if (live == NULL && noted->full) return LOG_FATE_KEEP;
    if (c->known != NULL && shelf_record_origin(record, &origin) && !c->known(c->context, origin)) return LOG_FATE_DROP;
    return live == NULL ? LOG_FATE_BURIED : LOG_FATE_KEEP;
}

static bool is_worth_it(const struct shelf_compaction *c, int tier, uint64_t *ret_bytes) {
    const struct noted *noted = &c->tiers[tier];
    *ret_bytes = c->shelf->tiers[tier].partition != NULL ? log_partition_bytes(c->shelf->tiers[tier].partition) : 0;
    uint64_t waste = *ret_bytes > noted->bytes ? *ret_bytes - noted->bytes : 0;
    const uint64_t least = c->shelf->options.waste_bytes > 0 ? c->shelf->options.waste_bytes : WASTE_MIN_BYTES;
    if (waste < least || waste < noted->bytes / WASTE_SHARE) return false;
    /* What the last time could not drop is not tried again before as much has come to it. */
    return *ret_bytes >= c->shelf->compacted_bytes[tier] + least / 4;
}

bool shelf_compaction_wanted(const struct shelf_compaction *compaction) {
    uint64_t bytes;
    for (int i = 0; i < TIER_COUNT; i++)
        if (is_worth_it(compaction, i, &bytes)) return true;
    return false;
}

enum err shelf_compaction_run(struct shelf_compaction *c, const _Atomic bool *stop, struct diag *diag) {
    enum err err = ERR_OK;
    for (c->tier = 0; c->tier < TIER_COUNT && err == ERR_OK; c->tier++) {
        uint64_t bytes;
        if (!is_worth_it(c, c->tier, &bytes)) continue;
        const struct log_guard guard = {fate_of, c, c->tiers[c->tier].below, stop};
        err = log_compact(c->shelf->options.log, c->shelf->tiers[c->tier].topic, &guard, diag);
        c->shelf->compacted_bytes[c->tier] = log_partition_bytes(c->shelf->tiers[c->tier].partition);
    }
    return err;
}

int64_t shelf_sealed_end(const struct shelf *shelf) {
    int64_t end = 0;
    for (int i = 0; i < TIER_COUNT; i++)
        if (shelf->tiers[i].partition != NULL) end += log_end_offset(shelf->tiers[i].partition);
    return end;
}
