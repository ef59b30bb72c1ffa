/* Sealed blocks on their way from the topics: record keys, fetching, and a cache of the packed bytes (a block decodes
 * faster than it is fetched, and packed a hundred times as many fit). Any thread; one lock, held for look-ups only. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "candle/shelf/parts.h"

/* --- record keys --- */

size_t shelf_record_key(const struct shelf *shelf, struct lane lane, int64_t period_start_ms,
                        char text[static SHELF_RECORD_KEY_MAX]) {
    const struct series *series = series_get(shelf->options.series, lane.series);
    assert(series != NULL && lane.basis < BASIS_COUNT);
    int size =
        snprintf(text, SHELF_RECORD_KEY_MAX, "%s|%s|%s|%" PRId64, series->name,
                 series->kind == SERIES_PRICE ? "price" : "trade", candle_basis_name[lane.basis], period_start_ms);
    assert(size > 0 && size < SHELF_RECORD_KEY_MAX);
    return (size_t)size;
}

/* Cuts `text` before the next `mark` and moves it behind. */
static bool cut(struct slice *text, char mark, struct slice *ret_head) {
    const uint8_t *at = text->size > 0 ? memchr(text->data, mark, text->size) : NULL;
    if (at == NULL) return false;
    *ret_head = slice_of(text->data, (size_t)(at - text->data));
    *text = slice_of(at + 1, text->size - ret_head->size - 1);
    return true;
}

static bool parse_name(struct shelf *shelf, struct slice name, enum series_kind kind, uint32_t *ret_series) {
    struct series_key key = {.kind = kind};
    if (!cut(&name, ':', &key.venue) || !cut(&name, '/', &key.base)) return false;
    key.quote = name;
    return series_intern(shelf->options.series, &key, ret_series) == ERR_OK;
}

static bool parse_time(struct slice text, int64_t *ret_ms) {
    bool negative = text.size > 0 && text.data[0] == '-';
    if (negative) text = slice_of(text.data + 1, text.size - 1);
    uint64_t value;
    if (!slice_to_u64(text, &value) || value > INT64_MAX) return false;
    *ret_ms = negative ? -(int64_t)value : (int64_t)value;
    return true;
}

enum err shelf_record_key_parse(struct shelf *shelf, struct slice key, struct lane *ret_lane,
                                int64_t *ret_period_start_ms) {
    struct slice name, kind, basis;
    struct lane lane = {0};
    int64_t start;
    if (!cut(&key, '|', &name) || !cut(&key, '|', &kind) || !cut(&key, '|', &basis) || !parse_time(key, &start))
        return ERR_CORRUPT;
    bool price = slice_equal(kind, SLICE("price"));
    if (!price && !slice_equal(kind, SLICE("trade"))) return ERR_CORRUPT;
    while (lane.basis < BASIS_COUNT && !slice_equal(basis, slice_text(candle_basis_name[lane.basis]))) lane.basis++;
    if (lane.basis == BASIS_COUNT) return ERR_CORRUPT;
    if (!parse_name(shelf, name, price ? SERIES_PRICE : SERIES_TRADE, &lane.series)) return ERR_CORRUPT;
    *ret_lane = lane;
    *ret_period_start_ms = start;
    return ERR_OK;
}

/* --- the cache: entries by (tier, offset), least recently used last --- */

struct shelf_pin {
    struct shelf_pin *chain;
    struct shelf_pin *newer, *older;
    uint64_t id;   /* offset << 2 | tier */
    uint32_t refs; /* readers, and the cache itself */
    bool cached;
    struct block_view view;
    uint8_t bytes[];
};

struct shelf_cache {
    pthread_mutex_t lock;
    struct shelf_pin *buckets[SHELF_CACHE_ENTRIES];
    struct shelf_pin *newest, *oldest;
    size_t bytes;
    uint32_t count;
};

static uint64_t id_of(int tier, int64_t offset) { return (uint64_t)offset << 2 | (unsigned)tier; }

static struct shelf_pin **bucket(struct shelf_cache *cache, uint64_t id) {
    uint64_t hash = id * UINT64_C(0x9e3779b97f4a7c15);
    return &cache->buckets[hash >> 32 & (SHELF_CACHE_ENTRIES - 1)];
}

static size_t weight(const struct shelf_pin *pin) { return sizeof *pin + pin->view.bytes.size; }

static void drop(struct shelf_pin *pin) {
    if (--pin->refs == 0) free(pin);
}

static void list_remove(struct shelf_cache *cache, struct shelf_pin *pin) {
    *(pin->newer == NULL ? &cache->newest : &pin->newer->older) = pin->older;
    *(pin->older == NULL ? &cache->oldest : &pin->older->newer) = pin->newer;
}

static void list_push(struct shelf_cache *cache, struct shelf_pin *pin) {
    pin->newer = NULL;
    pin->older = cache->newest;
    *(cache->newest == NULL ? &cache->oldest : &cache->newest->newer) = pin;
    cache->newest = pin;
}

static void cache_evict(struct shelf_cache *cache) {
    struct shelf_pin *pin = cache->oldest;
    struct shelf_pin **at = bucket(cache, pin->id);
    while (*at != pin) at = &(*at)->chain;
    *at = pin->chain;
    list_remove(cache, pin);
    cache->bytes -= weight(pin);
    cache->count--;
    pin->cached = false;
    drop(pin);
}

/* With a reference for the caller, or NULL. Under the lock. */
static struct shelf_pin *cache_find(struct shelf_cache *cache, uint64_t id) {
    struct shelf_pin *pin = *bucket(cache, id);
    while (pin != NULL && pin->id != id) pin = pin->chain;
    if (pin == NULL) return NULL;
    list_remove(cache, pin);
    list_push(cache, pin);
    pin->refs++;
    return pin;
}

static void cache_add(struct shelf_cache *cache, struct shelf_pin *pin) {
    struct shelf_pin **at = bucket(cache, pin->id);
    pin->chain = *at;
    *at = pin;
    list_push(cache, pin);
    pin->refs++;
    pin->cached = true;
    cache->bytes += weight(pin);
    cache->count++;
    while (cache->bytes > SHELF_CACHE_BYTES || cache->count > SHELF_CACHE_ENTRIES) cache_evict(cache);
}

enum err shelf_cache_open(struct shelf_cache **ret_cache) {
    struct shelf_cache *cache = calloc(1, sizeof *cache);
    if (cache == NULL) return ERR_NO_MEMORY;
    pthread_mutex_init(&cache->lock, NULL);
    *ret_cache = cache;
    return ERR_OK;
}

void shelf_cache_close(struct shelf_cache **cache) {
    if (*cache == NULL) return;
    while ((*cache)->count > 0) cache_evict(*cache);
    pthread_mutex_destroy(&(*cache)->lock);
    free(*cache);
    *cache = NULL;
}

const struct block_view *shelf_pin_view(const struct shelf_pin *pin) { return &pin->view; }

void shelf_pin_release(struct shelf *shelf, struct shelf_pin **pin) {
    if (*pin == NULL) return;
    pthread_mutex_lock(&shelf->cache->lock);
    drop(*pin);
    pthread_mutex_unlock(&shelf->cache->lock);
    *pin = NULL;
}

/* --- fetching --- */

static enum err pin_make(uint64_t id, struct slice value, struct shelf_pin **ret_pin) {
    struct shelf_pin *pin = malloc(sizeof *pin + value.size);
    if (pin == NULL) return ERR_NO_MEMORY;
    *pin = (struct shelf_pin){.id = id, .refs = 1};
    memcpy(pin->bytes, value.data, value.size);
    enum err err = block_open(slice_of(pin->bytes, value.size), &pin->view);
    if (err != ERR_OK) {
        free(pin);
        return err;
    }
    *ret_pin = pin;
    return ERR_OK;
}

struct fetch {
    struct shelf *shelf;
    int tier;
    int64_t wanted;
    struct shelf_pin *pin;
    enum err err;
};

/* Keeps the wanted record and its neighbours: a batch mostly holds one series' periods in order. */
static enum err visit_record(void *context, const struct record *record) {
    struct fetch *fetch = context;
    struct shelf_cache *cache = fetch->shelf->cache;
    struct shelf_pin *pin = NULL;
    if (record->value.data == NULL) return ERR_OK;
    uint64_t id = id_of(fetch->tier, record->offset);
    enum err err = pin_make(id, record->value, &pin);
    if (record->offset == fetch->wanted) fetch->err = err;
    if (err != ERR_OK) return ERR_OK;
    pthread_mutex_lock(&cache->lock);
    struct shelf_pin *present = cache_find(cache, id);
    if (present == NULL)
        cache_add(cache, pin);
    else
        drop(pin);
    struct shelf_pin *kept = present == NULL ? pin : present;
    if (record->offset == fetch->wanted && fetch->pin == NULL)
        fetch->pin = kept;
    else
        drop(kept);
    pthread_mutex_unlock(&cache->lock);
    return ERR_OK;
}

static enum err fetch_batch(struct fetch *fetch, struct diag *diag) {
    struct log_cursor *cursor = NULL;
    struct record_batch batch;
    struct arena arena;
    enum err err = log_cursor_open(fetch->shelf->tiers[fetch->tier].partition, fetch->wanted, diag, &cursor);
    if (err == ERR_OK) err = log_cursor_next(cursor, diag, &batch);
    if (err == ERR_OK) {
        arena_init(&arena, 4 * RECORD_BATCH_MAX_BYTES);
        err = record_batch_visit(&batch, &arena, visit_record, fetch);
        arena_deinit(&arena);
    }
    log_cursor_close(&cursor);
    return err;
}

/* In `diag` stands what the log found, if it did: file, byte and offsets. */
static enum err block_lost(const struct shelf *shelf, int tier, const struct location *location, enum err err,
                           struct diag *diag) {
    const struct diag found = diag != NULL && diag->err == err ? *diag : (struct diag){0};
    diag_set(diag, ERR_CORRUPT,
             "the sealed candles from %" PRId64 " (offset %" PRId64 " of %s) are not to be had: %.200s",
             location->period_start_ms, location->offset, shelf->tiers[tier].topic,
             found.what[0] != '\0' ? found.what : err_message(err));
    if (found.where[0] != '\0') diag_where(diag, "%s", found.where);
    diag_where(diag, "%s/%u@%" PRId64, shelf->tiers[tier].topic, location->partition, location->offset);
    diag_hint(diag, "import their file again; what the log still has of their events, wick fsck --rebuild folds again");
    return ERR_CORRUPT;
}

enum err shelf_block_get(struct shelf *shelf, int tier, const struct location *location, struct diag *diag,
                         struct shelf_pin **ret_pin) {
    struct shelf_cache *cache = shelf->cache;
    pthread_mutex_lock(&cache->lock);
    struct shelf_pin *pin = cache_find(cache, id_of(tier, location->offset));
    pthread_mutex_unlock(&cache->lock);
    if (pin != NULL) {
        *ret_pin = pin;
        return ERR_OK;
    }
    if (shelf->tiers[tier].partition == NULL)
        return diag_set(diag, ERR_CORRUPT, "%s is missing", shelf->tiers[tier].topic);
    if (diag != NULL) diag->err = ERR_OK;
    struct fetch fetch = {.shelf = shelf, .tier = tier, .wanted = location->offset, .err = ERR_CORRUPT};
    enum err err = fetch_batch(&fetch, diag);
    if (err == ERR_OK && fetch.pin != NULL) {
        *ret_pin = fetch.pin;
        return ERR_OK;
    }
    if (err == ERR_OK) err = fetch.err;
    shelf_pin_release(shelf, &fetch.pin);
    if (err == ERR_NO_MEMORY) return diag_set(diag, err, "no memory to read sealed candles");
    return block_lost(shelf, tier, location, err, diag);
}
