#include <stdlib.h>

#include "log/embedded/embedded.h"

void log_set_retention_guard(struct log *log, int64_t (*lowest_wanted)(void *context, const struct log_partition *p),
                             void *context) {
    pthread_mutex_lock(&log->care);
    log->lowest_wanted = lowest_wanted;
    log->guard_context = context;
    pthread_mutex_unlock(&log->care);
}

/* The newest append time of a closed segment, from its batches: hints must not decide what is thrown away. */
static enum err newest_time(struct log_partition *partition, const struct segment *segment, int64_t *ret_time_ms) {
    const struct sys *sys = partition->log->sys;
    char path[LOG_PATH_MAX];
    segment_path(partition, segment->base_offset, LOG_FILE_LOG, path);
    struct sys_file *file;
    enum err err = sys->disk_ops->open(sys->disk, path, SYS_READ, NULL, &file);
    if (err) return err;
    struct scan scan;
    scan_init(&scan, sys);
    scan_start(&scan, file, segment->bytes);
    struct record_batch batch;
    int64_t newest = INT64_MIN;
    for (uint64_t at = 0; (err = scan_batch(&scan, at, &batch)) == ERR_OK; at += batch.size_bytes)
        if (batch.max_timestamp_ms > newest) newest = batch.max_timestamp_ms;
    scan_deinit(&scan);
    sys->disk_ops->close(sys->disk, &file);
    if (err != ERR_END) return err; /* Damage waits for a person. */
    *ret_time_ms = newest;
    return ERR_OK;
}

static bool is_over_age(struct log_partition *partition, const struct segment *segment, int64_t now_ms) {
    int64_t retention_ms = partition->topic->options.retention_ms, newest;
    if (retention_ms <= 0) return false;
    struct time_entry last;
    if (time_index_last(partition, segment->base_offset, &last) && last.time_ms >= now_ms - retention_ms) return false;
    return newest_time(partition, segment, &newest) == ERR_OK && newest < now_ms - retention_ms;
}

static enum err drop_first(struct log_partition *partition, const struct segment *first, int64_t new_start) {
    struct log *log = partition->log;
    pthread_mutex_lock(&log->commit);
    enum err err = (enum err)atomic_load(&log->failed);
    if (!err && atomic_load(&partition->damaged)) err = ERR_CORRUPT;
    if (!err) {
        atomic_store(&partition->start_offset, new_start);
        err = durable_end_record(partition, 0, 0);
        if (err) atomic_store(&log->failed, (int)ERR_IO);
    }
    if (!err) {
        segments_remove(partition, 0, 1);
        err = segment_unlink(partition, first->base_offset);
        if (!err) err = partition_sync_folder(partition);
    }
    pthread_mutex_unlock(&log->commit);
    return err;
}

static enum err retain_partition(struct log_partition *partition, int64_t now_ms) {
    struct log *log = partition->log;
    if (atomic_load(&partition->damaged)) return ERR_OK;
    struct segment *segments;
    uint32_t count;
    enum err err = segments_copy(partition, &segments, &count);
    if (err) return err;
    uint64_t total = 0, most = partition->topic->options.retention_bytes;
    for (uint32_t i = 0; i < count; i++) total += segments[i].bytes;
    int64_t wanted = log->lowest_wanted != NULL ? log->lowest_wanted(log->guard_context, partition) : INT64_MAX;
    for (uint32_t i = 0; i + 1 < count && !err; i++) {
        int64_t end = segments[i + 1].base_offset;
        bool too_much = most > 0 && total > most;
        if (end > wanted || (!too_much && !is_over_age(partition, &segments[i], now_ms))) break;
        err = drop_first(partition, &segments[i], end);
        total -= segments[i].bytes;
    }
    free(segments);
    return err;
}

enum err log_retain(struct log *log, int64_t now_ms, struct diag *diag) {
    enum err err = ERR_OK;
    pthread_mutex_lock(&log->care);
    for (uint32_t i = 0; !err; i++) {
        pthread_mutex_lock(&log->lock);
        struct topic *topic = i < log->topic_count ? log->topics[i] : NULL;
        bool skip = topic == NULL || topic->deleted || topic->options.compacted ||
                    (topic->options.retention_ms <= 0 && topic->options.retention_bytes == 0);
        pthread_mutex_unlock(&log->lock);
        if (topic == NULL) break;
        for (uint32_t j = 0; !skip && !err && j < topic->options.partition_count; j++) {
            err = retain_partition(topic->partitions[j], now_ms);
            if (err) {
                diag_set(diag, err, "retention failed: %s", err_message(err));
                diag_where(diag, "%s", topic->partitions[j]->folder);
            }
        }
    }
    pthread_mutex_unlock(&log->care);
    return err;
}
