/* Idempotency-Key: which elements, events and what is none, a key has brought in the last 24 hours.
 *
 * Topic `prices.keys`, a record a request: key = the Idempotency-Key, value = u64 little-endian hashes of the elements that were
 * on disk when it was written, timestamp = append time. It is read at the start; damage in it makes some keys unknown and
 * nothing worse, because equal events are folded once. A request that was cut off between its events and this record is
 * caught by the log: its batches carry a producer id made of key and content.
 *
 * In memory the newest 262,144 requests and 2,097,152 elements are kept; past that the oldest are forgotten early. */
#include "api/api_internal.h"

#include <assert.h>
#include <stdlib.h>

enum {
    ENTRIES_MAX = 1 << 18,
    HASHES_MAX = 1 << 21,
    NONE = UINT32_MAX,
    KEEP_MS = 24 * 3600 * 1000,
    ARENA_BYTES = 64 * 1024 * 1024,
};

struct entry {
    uint64_t key[2];
    int64_t time_ms;
    uint64_t first_hash; /* counted since the start; its place is that modulo HASHES_MAX */
    uint32_t hash_count;
    uint32_t next; /* with the same bucket, older */
};

struct keys {
    struct log_partition *partition; /* NULL: not kept over a restart */
    pthread_mutex_t lock;
    struct entry *entries; /* a ring */
    uint32_t *buckets;
    uint64_t *hashes; /* a ring */
    uint64_t entry_begin, entry_end, hash_begin, hash_end;
};

static void key_hash(struct slice key, uint64_t ret_hash[static 2]) {
    ret_hash[0] = hash_bytes(key, 1);
    ret_hash[1] = hash_bytes(key, 2);
}

static uint32_t *bucket_of(struct keys *keys, const uint64_t hash[static 2]) {
    return &keys->buckets[hash[0] & (ENTRIES_MAX - 1)];
}

/* Made with the first key: most installations never send one. */
static bool make_tables(struct keys *keys) {
    if (keys->entries != NULL) return true;
    struct entry *entries = malloc(ENTRIES_MAX * sizeof *entries);
    uint32_t *buckets = malloc(ENTRIES_MAX * sizeof *buckets);
    uint64_t *hashes = malloc(HASHES_MAX * sizeof *hashes);
    if (entries == NULL || buckets == NULL || hashes == NULL) {
        free(entries);
        free(buckets);
        free(hashes);
        return false;
    }
    memset(buckets, 0xff, ENTRIES_MAX * sizeof *buckets);
    keys->entries = entries;
    keys->buckets = buckets;
    keys->hashes = hashes;
    return true;
}

/* The oldest entry is the last of its bucket's chain. */
static void forget_oldest(struct keys *keys) {
    assert(keys->entry_begin < keys->entry_end);
    const uint32_t index = (uint32_t)(keys->entry_begin & (ENTRIES_MAX - 1));
    uint32_t *link = bucket_of(keys, keys->entries[index].key);
    while (*link != index) {
        assert(*link != NONE);
        link = &keys->entries[*link].next;
    }
    *link = NONE;
    keys->hash_begin += keys->entries[index].hash_count;
    keys->entry_begin++;
}

static void make_room(struct keys *keys, uint32_t hash_count, int64_t now_ms) {
    while (keys->entry_begin < keys->entry_end) {
        const struct entry *oldest = &keys->entries[keys->entry_begin & (ENTRIES_MAX - 1)];
        const bool full = keys->entry_end - keys->entry_begin == ENTRIES_MAX ||
                          keys->hash_end - keys->hash_begin + hash_count > HASHES_MAX;
        if (!full && now_ms - oldest->time_ms <= KEEP_MS) return;
        forget_oldest(keys);
    }
}

static void add(struct keys *keys, const uint64_t key[static 2], int64_t time_ms, struct slice hashes) {
    const uint32_t count = (uint32_t)(hashes.size / sizeof(uint64_t));
    if (count == 0 || count > HASHES_MAX || !make_tables(keys)) return;
    make_room(keys, count, time_ms);
    const uint32_t index = (uint32_t)(keys->entry_end++ & (ENTRIES_MAX - 1));
    uint32_t *bucket = bucket_of(keys, key);
    keys->entries[index] = (struct entry){{key[0], key[1]}, time_ms, keys->hash_end, count, *bucket};
    *bucket = index;
    for (uint32_t i = 0; i < count; i++)
        memcpy(&keys->hashes[keys->hash_end++ & (HASHES_MAX - 1)], hashes.data + i * sizeof(uint64_t),
               sizeof(uint64_t));
}

void keys_add(struct keys *keys, struct slice key, int64_t now_ms, const uint64_t *hashes, uint32_t count) {
    uint64_t hash[2];
    key_hash(key, hash);
    pthread_mutex_lock(&keys->lock);
    add(keys, hash, now_ms, slice_of(hashes, count * sizeof *hashes));
    pthread_mutex_unlock(&keys->lock);
}

void keys_visit(struct keys *keys, struct slice key, int64_t now_ms, void (*visit)(void *context, uint64_t hash),
                void *context) {
    uint64_t hash[2];
    key_hash(key, hash);
    pthread_mutex_lock(&keys->lock);
    uint32_t index = keys->entries != NULL ? *bucket_of(keys, hash) : NONE;
    for (; index != NONE; index = keys->entries[index].next) {
        const struct entry *entry = &keys->entries[index];
        if (entry->key[0] != hash[0] || entry->key[1] != hash[1] || now_ms - entry->time_ms > KEEP_MS) continue;
        for (uint32_t i = 0; i < entry->hash_count; i++)
            visit(context, keys->hashes[(entry->first_hash + i) & (HASHES_MAX - 1)]);
    }
    pthread_mutex_unlock(&keys->lock);
}

struct log_partition *keys_partition(const struct keys *keys) {
    return keys->partition;
}

/* --- reading the topic --- */

static enum err load_record(void *context, const struct record *record) {
    uint64_t hash[2];
    if (record->key.data == NULL || record->value.size % sizeof(uint64_t) != 0) return ERR_OK;
    key_hash(record->key, hash);
    add(context, hash, record->timestamp_ms, record->value);
    return ERR_OK;
}

static enum err load(struct keys *keys, int64_t from_ms, struct diag *diag) {
    int64_t offset = 0;
    struct log_cursor *cursor = NULL;
    enum err err = log_offset_for_time(keys->partition, from_ms, &offset);
    if (err == ERR_OK) err = log_cursor_open(keys->partition, offset, diag, &cursor);
    if (err != ERR_OK) return err;
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    while (err == ERR_OK || err_class(err) == ERR_CLASS_CORRUPT) {
        struct record_batch batch;
        err = log_cursor_next(cursor, diag, &batch);
        if (err == ERR_OK) err = record_batch_visit(&batch, &arena, load_record, keys);
        arena_clear(&arena);
    }
    arena_deinit(&arena);
    log_cursor_close(&cursor);
    return err == ERR_END ? ERR_OK : err;
}

static enum err open_topic(struct api *api, struct keys *keys, struct diag *diag) {
    static const char topic[] = "prices.keys";
    const struct log_topic_options options = {
        .partition_count = 1, .retention_ms = KEEP_MS + 3600 * 1000, .retention_bytes = 512 * 1024 * 1024};
    if (api->options.read_only || api->options.log == NULL || api->options.prices_count == 0) return ERR_OK;
    enum err err = log_topic_create(api->options.log, topic, &options, diag);
    if (err == ERR_OK || err == ERR_EXISTS) err = log_partition_find(api->options.log, topic, 0, &keys->partition);
    if (err != ERR_OK) return err;
    return load(keys, api_now_ms(api) - KEEP_MS, diag);
}

enum err keys_open(struct api *api, struct diag *diag, struct keys **ret_keys) {
    struct keys *keys = calloc(1, sizeof *keys);
    if (keys == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for idempotency keys");
    pthread_mutex_init(&keys->lock, NULL);
    enum err err = open_topic(api, keys, diag);
    *ret_keys = keys;
    if (err != ERR_OK) keys_close(ret_keys);
    return err;
}

void keys_close(struct keys **keys) {
    if (*keys == NULL) return;
    pthread_mutex_destroy(&(*keys)->lock);
    free((*keys)->entries);
    free((*keys)->buckets);
    free((*keys)->hashes);
    free(*keys);
    *keys = NULL;
}
