#include <assert.h>
#include <stdlib.h>

#include "base/plant.h"
#include "log/embedded/embedded.h"
#include "sys/phase.h"

enum err segments_add(struct log_partition *partition, int64_t base_offset, uint64_t bytes) {
    enum err err = ERR_OK;
    pthread_mutex_lock(&partition->lock);
    if (partition->segment_count == partition->segment_capacity) {
        uint32_t capacity = partition->segment_capacity ? partition->segment_capacity * 2 : 8;
        struct segment *grown = NULL;
        if (capacity <= LOG_SEGMENTS_MAX) grown = reallocarray(partition->segments, capacity, sizeof *grown);
        if (grown == NULL) err = capacity <= LOG_SEGMENTS_MAX ? ERR_NO_MEMORY : ERR_LIMIT;
        if (grown != NULL) {
            partition->segments = grown;
            partition->segment_capacity = capacity;
        }
    }
    if (!err) {
        uint32_t count = partition->segment_count;
        assert(count == 0 || partition->segments[count - 1].base_offset < base_offset);
        partition->segments[count] = (struct segment){base_offset, bytes, 0};
        partition->segment_count++;
    }
    pthread_mutex_unlock(&partition->lock);
    return err;
}

void segments_set_last(struct log_partition *partition, uint64_t bytes) {
    pthread_mutex_lock(&partition->lock);
    if (partition->segment_count > 0) partition->segments[partition->segment_count - 1].bytes = bytes;
    pthread_mutex_unlock(&partition->lock);
}

bool segments_find(struct log_partition *partition, int64_t offset, struct segment *ret_segment,
                   int64_t *ret_next_base) {
    pthread_mutex_lock(&partition->lock);
    uint32_t low = 0, high = partition->segment_count;
    while (low < high) { /* the first with a base above `offset` */
        uint32_t middle = low + (high - low) / 2;
        if (partition->segments[middle].base_offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = partition->segment_count > 0;
    if (found) {
        uint32_t at = low > 0 ? low - 1 : 0;
        *ret_segment = partition->segments[at];
        *ret_next_base = at + 1 < partition->segment_count ? partition->segments[at + 1].base_offset : -1;
    }
    pthread_mutex_unlock(&partition->lock);
    return found;
}

void segments_remove(struct log_partition *partition, uint32_t from, uint32_t count) {
    pthread_mutex_lock(&partition->lock);
    assert(from + count < partition->segment_count || count == 0); /* never the last */
    partition->segment_count -= count;
    memmove(partition->segments + from, partition->segments + from + count,
            (partition->segment_count - from) * sizeof *partition->segments);
    pthread_mutex_unlock(&partition->lock);
}

enum err segments_copy(struct log_partition *partition, struct segment **ret_segments, uint32_t *ret_count) {
    pthread_mutex_lock(&partition->lock);
    uint32_t count = partition->segment_count;
    struct segment *copy = malloc((count + 1) * sizeof *copy);
    if (copy != NULL && count > 0) memcpy(copy, partition->segments, count * sizeof *copy);
    pthread_mutex_unlock(&partition->lock);
    if (copy == NULL) return ERR_NO_MEMORY;
    *ret_segments = copy;
    *ret_count = count;
    return ERR_OK;
}

static enum err check_space(const struct log *log, uint64_t bytes) {
    uint64_t free_bytes;
    enum err err = log->sys->disk_ops->free_bytes(log->sys->disk, log->folder, &free_bytes);
    if (err) return err;
    return free_bytes >= bytes + log->options.reserve_bytes ? ERR_OK : ERR_NO_SPACE;
}

static uint64_t round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

/* Preallocates in pieces that grow with the segment, so that a quiet topic stays small; near a full disk only what is
 * needed. */
static enum err allocate_to(const struct log *log, struct sys_file *file, uint64_t end, uint64_t *allocated) {
    uint64_t step = log->options.allocate_bytes, most = step * 64;
    if (*allocated > step) step = *allocated < most ? *allocated : most;
    uint64_t want = round_up(end > *allocated + step ? end : *allocated + step, log->options.allocate_bytes);
    if (want > log->options.segment_bytes) want = log->options.segment_bytes;
    if (want < end) want = end;
    if (check_space(log, want - *allocated) != ERR_OK) want = end;
    enum err err = check_space(log, want - *allocated);
    if (!err) err = log->sys->disk_ops->allocate(file, *allocated, want - *allocated);
    if (!err) *allocated = want;
    return err;
}

/* The file of a segment that starts at next_offset, durable and empty. */
static enum err create_file(struct log_partition *partition, uint64_t size, struct sys_file **ret_file,
                            uint64_t *ret_allocated) {
    struct log *log = partition->log;
    const struct sys *sys = log->sys;
    char path[LOG_PATH_MAX];
    segment_path(partition, partition->next_offset, LOG_FILE_LOG, path);
    struct sys_file *file;
    enum err err = sys->disk_ops->open(sys->disk, path, SYS_WRITE | SYS_CREATE, NULL, &file);
    if (err) return err;
    uint64_t allocated = 0;
    err = sys->disk_ops->truncate(file, 0);
    if (!err) err = allocate_to(log, file, size, &allocated);
    if (!err) err = sys->disk_ops->sync(file);
    if (!err) err = partition_sync_folder(partition);
    if (err) {
        sys->disk_ops->close(sys->disk, &file);
        enum err ignored = sys->disk_ops->unlink(sys->disk, path);
        (void)ignored;
        return err;
    }
    *ret_file = file;
    *ret_allocated = allocated;
    return ERR_OK;
}

/* Makes a created file the one that is written. */
static enum err adopt_file(struct log_partition *partition, struct sys_file *file, uint64_t allocated) {
    enum err err = segments_add(partition, partition->next_offset, 0);
    if (err) return err;
    partition->file = file;
    partition->allocated = allocated;
    partition->segment_base = partition->next_offset;
    partition->segment_time_ms = 0;
    partition->position = partition->synced_position = 0;
    partition->synced_offset = partition->next_offset;
    index_writer_open(&partition->indexes, partition, partition->segment_base, 0, true);
    return ERR_OK;
}

enum err segment_make_room(struct log_partition *partition, uint64_t size) {
    if (partition->file == NULL) {
        struct sys_file *file;
        uint64_t allocated;
        enum err err = create_file(partition, size, &file, &allocated);
        if (!err) err = adopt_file(partition, file, allocated);
        if (err) return err;
    }
    uint64_t end = partition->position + size;
    if (end > partition->allocated) {
        enum err err = allocate_to(partition->log, partition->file, end, &partition->allocated);
        if (err) return err;
    }
    if (partition->recorded.segment == partition->segment_base && end <= partition->recorded.limit &&
        (partition->recorded.flags & (DURABLE_CLEAN | DURABLE_CUT)) == 0)
        return ERR_OK;
    return durable_end_record(partition, size, 0);
}

/* The old file keeps nothing behind its last batch: from now on Kafka's tools may read it. */
static enum err finish_file(struct log_partition *partition) {
    const struct sys *sys = partition->log->sys;
    enum err err = ERR_OK;
    if (partition->allocated > partition->position) {
        err = sys->disk_ops->truncate(partition->file, partition->position);
        if (!err) err = sys->disk_ops->sync(partition->file);
    }
    if (err) return err;
    index_writer_close(&partition->indexes, sys);
    sys->disk_ops->close(sys->disk, &partition->file);
    return ERR_OK;
}

static enum err roll(struct log_partition *partition) {
    assert(partition->file != NULL && partition->position > 0);
    enum err err = partition_sync(partition);
    if (err) return err;
    struct sys_file *fresh;
    uint64_t allocated;
    err = create_file(partition, 1, &fresh, &allocated);
    if (err) return err;
    segments_set_last(partition, partition->position);
    err = finish_file(partition);
    if (!err) err = adopt_file(partition, fresh, allocated);
    if (partition->file != fresh) partition->log->sys->disk_ops->close(partition->log->sys->disk, &fresh);
    if (!err) err = durable_end_record(partition, 1, 0);
    atomic_store(&partition->roll_wanted, false);
    return err;
}

enum err segment_roll(struct log_partition *partition) {
    phase_begin(PHASE_ROLL);
    enum err err = roll(partition);
    phase_end(PHASE_ROLL);
    return err;
}

enum err partition_sync(struct log_partition *partition) {
    if (!partition->unsynced) return ERR_OK;
    struct log *log = partition->log;
    int64_t before = sys_monotonic_ns(log->sys);
    phase_begin(PHASE_SYNC);
    enum err err = PLANTED(PLANT_NO_FDATASYNC) ? ERR_OK : log->sys->disk_ops->sync(partition->file);
    phase_end(PHASE_SYNC);
    if (err) return err;
    uint64_t ns = (uint64_t)(sys_monotonic_ns(log->sys) - before);
    atomic_fetch_add_explicit(&log->syncs, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&log->sync_ns_total, ns, memory_order_relaxed);
    if (ns > atomic_load_explicit(&log->sync_ns_max, memory_order_relaxed))
        atomic_store_explicit(&log->sync_ns_max, ns, memory_order_relaxed);
    partition->unsynced = false;
    partition->synced_offset = partition->next_offset;
    partition->synced_position = partition->position;
    log->unrecorded = true;
    return ERR_OK;
}

void partition_publish(struct log_partition *partition) {
    struct sys_bell *bells[LOG_BELLS_MAX];
    pthread_mutex_lock(&partition->lock);
    if (partition->segment_count > 0)
        partition->segments[partition->segment_count - 1].bytes = partition->synced_position;
    uint32_t count = partition->bell_count;
    memcpy(bells, partition->bells, sizeof bells);
    pthread_mutex_unlock(&partition->lock);
    atomic_store_explicit(&partition->end_offset, partition->synced_offset, memory_order_release);
    for (uint32_t i = 0; i < count; i++) sys_bell_ring(bells[i]);
}

enum err partition_close_files(struct log_partition *partition) {
    const struct sys *sys = partition->log->sys;
    enum err err = ERR_OK;
    if (partition->file != NULL && !atomic_load(&partition->damaged)) {
        err = partition_sync(partition);
        if (!err) err = finish_file(partition);
    }
    bool recorded =
        (partition->recorded.flags & DURABLE_CLEAN) != 0 && partition->recorded.end_offset == partition->synced_offset;
    if (!err && !recorded && partition->ends != NULL && !atomic_load(&partition->damaged))
        err = durable_end_record(partition, 0, DURABLE_CLEAN);
    index_writer_close(&partition->indexes, sys);
    sys->disk_ops->close(sys->disk, &partition->file);
    sys->disk_ops->close(sys->disk, &partition->ends);
    return err;
}
