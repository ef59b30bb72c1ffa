/* Compaction: of each key the newest record stays, at its offset. Closed segments are written anew, several small ones into
 * one, and put in place by a swap that recovery can finish (format.h). */
#include <assert.h>
#include <stdlib.h>
#include <xxhash.h>

#include "log/embedded/embedded.h"

enum { KEYS_MAX = 1 << 20, WRITE_BYTES = 256 * 1024, ARENA_MAX_BYTES = 128 * 1024 * 1024 };
static const int64_t tombstone_ms = 24 * 3600 * 1000; /* Kafka's delete.retention.ms */

/* The newest offset of each key: open addressing by a 128-bit hash, which takes the key's place. */
struct key_slot {
    uint64_t low, high;
    int64_t offset; /* -1: empty */
};

struct key_map {
    struct key_slot *slots;
    uint32_t capacity; /* power of two */
    uint32_t count;
};

struct compaction {
    struct log_partition *partition;
    const struct log_guard *guard; /* or NULL */
    struct key_map keys;
    int64_t covered_to; /* the map knows all records below */
    int64_t now_ms;
    struct arena arena;
    struct record_batch_builder builder;
    struct buf out;
    struct sys_file *file;
    uint64_t written;
    int64_t end;         /* of what is written, in offsets */
    int64_t time_ms;     /* the largest so far */
    uint32_t kept, seen; /* of the present batch */
    bool dropped;        /* something of the present group of segments */
    bool full;
};

static bool is_stopped(const struct compaction *c) {
    return c->guard != NULL && c->guard->stop != NULL && atomic_load(c->guard->stop);
}

static enum err map_grow(struct key_map *map) {
    uint32_t capacity = map->capacity ? map->capacity * 2 : 1024;
    struct key_slot *slots = malloc(capacity * sizeof *slots);
    if (slots == NULL) return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < capacity; i++) slots[i].offset = -1;
    for (uint32_t i = 0; i < map->capacity; i++) {
        if (map->slots[i].offset < 0) continue;
        uint32_t at = (uint32_t)map->slots[i].low & (capacity - 1);
        while (slots[at].offset >= 0) at = (at + 1) & (capacity - 1);
        slots[at] = map->slots[i];
    }
    free(map->slots);
    map->slots = slots;
    map->capacity = capacity;
    return ERR_OK;
}

/* The key's slot, or the empty one where it would go. */
static struct key_slot *map_slot(const struct key_map *map, struct slice key, XXH128_hash_t *ret_hash) {
    XXH128_hash_t hash = XXH3_128bits(key.data, key.size);
    uint32_t at = (uint32_t)hash.low64 & (map->capacity - 1);
    while (map->slots[at].offset >= 0 && (map->slots[at].low != hash.low64 || map->slots[at].high != hash.high64))
        at = (at + 1) & (map->capacity - 1);
    *ret_hash = hash;
    return &map->slots[at];
}

static enum err map_record(void *context, const struct record *record) {
    struct compaction *c = context;
    if (record->key.data == NULL) return ERR_OK;
    if (c->guard != NULL && (record->value.data != NULL || record->offset >= c->guard->below)) return ERR_OK;
    if (c->keys.count * 2 >= c->keys.capacity) {
        enum err err = map_grow(&c->keys);
        if (err) return err;
    }
    XXH128_hash_t hash;
    struct key_slot *slot = map_slot(&c->keys, record->key, &hash);
    if (slot->offset < 0) c->keys.count++;
    *slot = (struct key_slot){hash.low64, hash.high64, record->offset};
    return ERR_OK;
}

/* Whether the batch's records can be looked at one by one; of others (Kafka's snappy, control batches) all are kept. */
static enum err visit_keys(struct compaction *c, const struct record_batch *batch,
                           enum err (*visit)(void *, const struct record *)) {
    arena_clear(&c->arena);
    return record_batch_visit(batch, &c->arena, visit, c);
}

/* Maps keys from `from` on until the map is full or the log ends. */
static enum err map_keys(struct compaction *c, int64_t from) {
    struct log_cursor *cursor;
    enum err err = log_cursor_open(c->partition, from, NULL, &cursor);
    if (err) return err;
    c->full = false;
    while (!err && !c->full && !is_stopped(c)) {
        struct record_batch batch;
        err = log_cursor_next(cursor, NULL, &batch);
        if (err) break;
        err = visit_keys(c, &batch, map_record);
        if (err == ERR_UNKNOWN) err = ERR_OK;
        c->covered_to = batch_end(&batch);
        c->full = c->keys.count >= KEYS_MAX;
    }
    log_cursor_close(&cursor);
    return err == ERR_END ? ERR_OK : err;
}

static bool keep(const struct compaction *c, const struct record *record) {
    if (record->key.data == NULL) return true;
    if (c->guard != NULL) {
        if (record->offset >= c->guard->below) return true;
        enum log_fate fate = c->guard->fate(c->guard->context, record);
        if (fate != LOG_FATE_BURIED) return fate == LOG_FATE_KEEP;
    }
    if (c->keys.count == 0) return true;
    XXH128_hash_t hash;
    const struct key_slot *slot = map_slot(&c->keys, record->key, &hash);
    if (slot->offset < 0) return true;
    if (slot->offset > record->offset) return false;
    return record->value.data != NULL || record->timestamp_ms > c->now_ms - tombstone_ms;
}

static enum err count_kept(void *context, const struct record *record) {
    struct compaction *c = context;
    c->seen++;
    if (keep(c, record)) c->kept++;
    return ERR_OK;
}

static enum err copy_kept(void *context, const struct record *record) {
    struct compaction *c = context;
    return keep(c, record) ? record_batch_add(&c->builder, record) : ERR_OK;
}

static enum err flush_out(struct compaction *c) {
    const struct sys *sys = c->partition->log->sys;
    struct slice part = buf_slice(&c->out);
    if (part.size == 0) return buf_err(&c->out);
    enum err err = sys->disk_ops->write(c->file, c->written, &part, 1);
    c->written += part.size;
    buf_clear(&c->out);
    return err;
}

static enum err copy_batch(struct compaction *c, const struct record_batch *batch) {
    c->kept = c->seen = 0;
    enum err err = visit_keys(c, batch, count_kept);
    bool whole = err == ERR_UNKNOWN || (!err && c->kept == c->seen);
    if (err && !whole) return err;
    struct record_batch marked = *batch;
    marked.leader_epoch = compacted_epoch(batch->base_offset, c->partition->tag);
    if (batch->max_timestamp_ms > c->time_ms) c->time_ms = batch->max_timestamp_ms;
    if (batch->record_count == 0) return ERR_OK; /* put_end makes another where one is needed */
    if (whole) {
        size_t at = c->out.size;
        buf_put(&c->out, slice_of(batch->payload.data - RECORD_BATCH_HEADER_BYTES, batch->size_bytes));
        if (buf_err(&c->out) == ERR_OK) record_batch_place(c->out.data + at, marked.base_offset, marked.leader_epoch);
    } else {
        c->dropped = true;
        if (c->kept == 0) return ERR_OK;
        record_batch_begin_part(&c->builder, &marked);
        err = visit_keys(c, batch, copy_kept);
        if (!err) err = record_batch_end(&c->builder);
        if (err) return err;
        buf_put(&c->out, buf_slice(&c->builder.bytes));
    }
    c->end = batch_end(batch);
    return c->out.size >= WRITE_BYTES ? flush_out(c) : buf_err(&c->out);
}

/* A segment ends where the next one begins: an empty batch stands for the last offsets that were left out, or nobody would
 * miss the end of a file that was cut short. */
static enum err put_end(struct compaction *c, int64_t to) {
    if (c->end >= to) return ERR_OK;
    assert(to - c->end <= INT32_MAX);
    const struct record_batch gap = {.base_offset = c->end,
                                     .last_offset_delta = (int32_t)(to - 1 - c->end),
                                     .leader_epoch = compacted_epoch(c->end, c->partition->tag),
                                     .max_timestamp_ms = c->time_ms,
                                     .producer_id = -1,
                                     .producer_epoch = -1,
                                     .base_sequence = -1};
    record_batch_begin_part(&c->builder, &gap);
    enum err err = record_batch_end(&c->builder);
    if (err) return err;
    buf_put(&c->out, buf_slice(&c->builder.bytes));
    return buf_err(&c->out);
}

/* Writes what is left of the segments in [from, to) to the .clean file, synced. */
static enum err write_clean(struct compaction *c, int64_t from, int64_t to) {
    const struct sys *sys = c->partition->log->sys;
    struct log_cursor *cursor;
    int64_t start = log_start_offset(c->partition);
    enum err err = log_cursor_open(c->partition, from > start ? from : start, NULL, &cursor);
    if (err) return err;
    while (!err) {
        struct record_batch batch;
        err = is_stopped(c) ? ERR_CLOSED : log_cursor_next(cursor, NULL, &batch);
        if (err == ERR_OK && batch.base_offset >= to) break;
        if (err == ERR_OK) err = copy_batch(c, &batch);
    }
    log_cursor_close(&cursor);
    if (err == ERR_END) err = ERR_OK;
    if (!err) err = put_end(c, to);
    if (!err) err = flush_out(c);
    if (!err) err = sys->disk_ops->sync(c->file);
    return err ? err : partition_sync_folder(c->partition);
}

/* The list as it is after the swap. Under `lock` and `commit`; nobody else changes closed segments, as `care` is held. */
static void swap_list(struct log_partition *partition, int64_t from, int64_t to, uint64_t bytes) {
    uint32_t left = 0;
    for (uint32_t i = 0; i < partition->segment_count; i++) {
        struct segment segment = partition->segments[i];
        if (segment.base_offset > from && segment.base_offset < to) continue;
        if (segment.base_offset == from) segment = (struct segment){from, bytes, segment.generation + 1};
        partition->segments[left++] = segment;
    }
    partition->segment_count = left;
}

/* File and list change in one piece: a reader that stumbles over the new file with the old list's eyes finds another
 * generation in the list. */
static enum err swap_files(struct log_partition *partition, const struct segment *segments, uint32_t count,
                           uint64_t bytes) {
    const struct sys *sys = partition->log->sys;
    char clean[LOG_PATH_MAX], path[LOG_PATH_MAX];
    segment_path(partition, segments[0].base_offset, LOG_FILE_CLEAN, clean);
    segment_path(partition, segments[0].base_offset, LOG_FILE_LOG, path);
    pthread_mutex_lock(&partition->lock);
    enum err err = sys->disk_ops->rename(sys->disk, clean, path);
    if (!err) swap_list(partition, segments[0].base_offset, segments[count].base_offset, bytes);
    pthread_mutex_unlock(&partition->lock);
    for (uint32_t i = 1; i < count && !err; i++) err = segment_unlink(partition, segments[i].base_offset);
    return err ? err : partition_sync_folder(partition);
}

/* segments[0..count) become one; segments[count] is the one behind. */
static enum err swap(struct compaction *c, const struct segment *segments, uint32_t count) {
    struct log_partition *partition = c->partition;
    struct log *log = partition->log;
    int64_t from = segments[0].base_offset, to = segments[count].base_offset;
    pthread_mutex_lock(&log->commit);
    enum err err = (enum err)atomic_load(&log->failed);
    if (!err) {
        partition->recorded.swap_from = from;
        partition->recorded.swap_to = to;
        err = durable_end_record(partition, 0, 0);
        if (!err) err = swap_files(partition, segments, count, c->written);
        partition->recorded.swap_from = partition->recorded.swap_to = 0;
        if (!err) err = durable_end_record(partition, 0, 0);
        if (err) atomic_store(&log->failed, (int)ERR_IO); /* Half a swap: the next open finishes it. */
    }
    pthread_mutex_unlock(&log->commit);
    return err ? err : index_rebuild(partition, from, c->written);
}

static enum err compact_group(struct compaction *c, const struct segment *segments, uint32_t count) {
    struct log_partition *partition = c->partition;
    const struct sys *sys = partition->log->sys;
    char path[LOG_PATH_MAX];
    segment_path(partition, segments[0].base_offset, LOG_FILE_CLEAN, path);
    enum err err = sys->disk_ops->open(sys->disk, path, SYS_WRITE | SYS_CREATE, NULL, &c->file);
    if (err) return err;
    c->written = 0;
    c->end = segments[0].base_offset;
    c->time_ms = -1;
    c->dropped = count > 1;
    err = sys->disk_ops->truncate(c->file, 0);
    if (!err) err = write_clean(c, segments[0].base_offset, segments[count].base_offset);
    sys->disk_ops->close(sys->disk, &c->file);
    if (!err && c->dropped) return swap(c, segments, count);
    enum err removed = sys->disk_ops->unlink(sys->disk, path);
    return err ? err : removed;
}

/* Closed segments, as many at a time as surely fit into one. */
static enum err compact_closed(struct compaction *c) {
    struct segment *segments;
    uint32_t count;
    enum err err = segments_copy(c->partition, &segments, &count);
    if (err) return err;
    uint64_t most = c->partition->log->options.segment_bytes;
    for (uint32_t i = 0; i + 1 < count && !err && !is_stopped(c);) {
        uint32_t end = i + 1;
        uint64_t bytes = segments[i].bytes;
        while (end + 1 < count && bytes + segments[end].bytes <= most &&
               segments[end + 1].base_offset - segments[i].base_offset < INT32_MAX)
            bytes += segments[end++].bytes;
        err = compact_group(c, segments + i, end - i);
        i = end;
    }
    free(segments);
    return err;
}

/* With a guard the last segment is closed at once: nothing else may come that would close it. On a full disk it stays. */
static enum err close_last(struct log_partition *partition, uint32_t *count) {
    struct log *log = partition->log;
    pthread_mutex_lock(&log->commit);
    enum err err = (enum err)atomic_load(&log->failed);
    if (!err && partition->file != NULL && partition->position > 0) {
        err = segment_roll(partition);
        if (!err) ++*count;
        if (err == ERR_NO_SPACE || err == ERR_LIMIT) err = ERR_OK;
        if (err && err != ERR_NO_MEMORY) atomic_store(&log->failed, (int)ERR_IO);
    }
    pthread_mutex_unlock(&log->commit);
    return err;
}

static enum err map_and_compact(struct compaction *c) {
    int64_t from = log_start_offset(c->partition);
    enum err err;
    do { /* More keys than the map holds: a round for each mapful. */
        c->keys.count = 0;
        for (uint32_t i = 0; i < c->keys.capacity; i++) c->keys.slots[i].offset = -1;
        err = map_keys(c, from);
        if (!err && (c->keys.count > 0 || c->guard != NULL)) err = compact_closed(c);
        from = c->covered_to;
    } while (!err && c->full && !is_stopped(c));
    return err == ERR_CLOSED ? ERR_OK : err;
}

static enum err compact_partition(struct log_partition *partition, const struct log_guard *guard) {
    if (atomic_load(&partition->damaged)) return ERR_OK;
    struct segment *segments;
    uint32_t count;
    enum err err = segments_copy(partition, &segments, &count);
    if (err) return err;
    uint64_t last = count > 0 ? segments[count - 1].bytes : 0;
    free(segments);
    bool closes = last > 4 * partition->log->options.allocate_bytes;
    if (closes && guard == NULL) atomic_store(&partition->roll_wanted, true);
    if (closes && guard != NULL) err = close_last(partition, &count);
    if (err || count < 2) return err;
    struct compaction c = {.partition = partition, .guard = guard, .now_ms = sys_wall_ms(partition->log->sys)};
    arena_init(&c.arena, ARENA_MAX_BYTES);
    record_batch_builder_init(&c.builder);
    buf_init(&c.out, WRITE_BYTES + 2 * RECORD_BATCH_MAX_BYTES);
    err = map_and_compact(&c);
    free(c.keys.slots);
    buf_deinit(&c.out);
    record_batch_builder_deinit(&c.builder);
    arena_deinit(&c.arena);
    return err;
}

uint64_t log_partition_bytes(const struct log_partition *partition) {
    struct log_partition *p =
        (struct log_partition *)(uintptr_t)partition; /* The lock is no part of what is promised. */
    uint64_t bytes = 0;
    pthread_mutex_lock(&p->lock);
    for (uint32_t i = 0; i < p->segment_count; i++) bytes += p->segments[i].bytes;
    pthread_mutex_unlock(&p->lock);
    return bytes;
}

enum err log_compact(struct log *log, const char *name, const struct log_guard *guard, struct diag *diag) {
    pthread_mutex_lock(&log->care);
    pthread_mutex_lock(&log->lock);
    struct topic *topic = topic_find(log, name);
    pthread_mutex_unlock(&log->lock);
    enum err err = topic == NULL ? ERR_NOT_FOUND : topic->options.compacted ? ERR_OK : ERR_STATE;
    assert(err != ERR_OK || guard == NULL || topic->options.partition_count == 1);
    for (uint32_t i = 0; !err && i < topic->options.partition_count; i++)
        err = compact_partition(topic->partitions[i], guard);
    pthread_mutex_unlock(&log->care);
    if (err) diag_set(diag, err, "cannot compact topic %s: %s", name, err_message(err));
    return err;
}
