#include <stdlib.h>

#include "log/embedded/embedded.h"

static void put_be32(uint8_t *at, uint32_t value) {
    value = __builtin_bswap32(value);
    memcpy(at, &value, sizeof value);
}

static void put_be64(uint8_t *at, uint64_t value) {
    value = __builtin_bswap64(value);
    memcpy(at, &value, sizeof value);
}

static uint32_t get_be32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return __builtin_bswap32(value);
}

static uint64_t get_be64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return __builtin_bswap64(value);
}

static struct index_entry index_entry_of(const uint8_t *at) {
    return (struct index_entry){get_be32(at), get_be32(at + 4)};
}

static struct time_entry time_entry_of(const uint8_t *at) {
    return (struct time_entry){(int64_t)get_be64(at), get_be32(at + 8)};
}

/* How many entries of `entry_bytes` at the front of the file satisfy `below`; they are sorted, or else the answer is any. */
static uint64_t count_below(const struct sys *sys, struct sys_file *file, size_t entry_bytes,
                            bool (*below)(const uint8_t *entry, uint64_t bound), uint64_t bound, uint8_t *ret_last) {
    uint64_t bytes;
    if (sys->disk_ops->size(file, &bytes) != ERR_OK) return 0;
    uint64_t low = 0, high = bytes / entry_bytes;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        uint8_t entry[16];
        size_t got = 0;
        if (sys->disk_ops->read(file, middle * entry_bytes, entry, entry_bytes, &got) != ERR_OK || got != entry_bytes)
            return 0;
        if (below(entry, bound)) {
            memcpy(ret_last, entry, entry_bytes);
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool ends_at_or_below(const uint8_t *entry, uint64_t offset_delta) {
    return index_entry_of(entry).offset_delta <= offset_delta;
}
static bool starts_below(const uint8_t *entry, uint64_t position) { return index_entry_of(entry).position < position; }
static bool time_ends_at_or_below(const uint8_t *entry, uint64_t offset_delta) {
    return time_entry_of(entry).offset_delta <= offset_delta;
}
static bool time_below(const uint8_t *entry, uint64_t time_ms) {
    return time_entry_of(entry).time_ms < (int64_t)time_ms;
}
static bool any(const uint8_t *entry, uint64_t bound) {
    (void)entry;
    (void)bound;
    return true;
}

static struct sys_file *open_hint(const struct log_partition *partition, int64_t base_offset, int kind,
                                  unsigned flags) {
    const struct sys *sys = partition->log->sys;
    char path[LOG_PATH_MAX];
    segment_path(partition, base_offset, kind, path);
    struct sys_file *file = NULL;
    if (sys->disk_ops->open(sys->disk, path, flags, NULL, &file) != ERR_OK) return NULL;
    return file;
}

/* Goes back from the last entry below `position` to one that tells the truth: a crash may garble what was not synced. */
static struct index_entry last_true_entry(struct log_partition *partition, const struct index_writer *writer,
                                          uint64_t position, uint64_t *ret_count) {
    const struct sys *sys = partition->log->sys;
    struct scan scan;
    scan_init(&scan, sys);
    scan_start(&scan, partition->file, position);
    uint8_t bytes[FORMAT_INDEX_ENTRY_BYTES];
    uint64_t count = count_below(sys, writer->index, FORMAT_INDEX_ENTRY_BYTES, starts_below, position, bytes);
    struct index_entry found = {0, 0};
    for (unsigned tries = 0; count > 0 && tries < 1024; tries++, count--) {
        size_t got = 0;
        uint64_t at = (count - 1) * FORMAT_INDEX_ENTRY_BYTES;
        if (sys->disk_ops->read(writer->index, at, bytes, sizeof bytes, &got) != ERR_OK || got != sizeof bytes) break;
        struct index_entry entry = index_entry_of(bytes);
        struct record_batch batch;
        if (entry.position >= position || scan_batch(&scan, entry.position, &batch) != ERR_OK) continue;
        if (batch_end(&batch) - 1 - writer->base_offset != entry.offset_delta) continue;
        found = entry;
        break;
    }
    scan_deinit(&scan);
    if (found.position == 0) count = 0;
    *ret_count = count;
    return found;
}

/* Takes over the true part of the files, and reads on in the segment from there, so that no time is missed. */
static void resume(struct index_writer *writer, struct log_partition *partition, uint64_t position) {
    uint64_t count;
    struct index_entry entry = last_true_entry(partition, writer, position, &count);
    writer->index_bytes = count * FORMAT_INDEX_ENTRY_BYTES;
    uint8_t bytes[FORMAT_TIME_INDEX_ENTRY_BYTES];
    uint64_t times = 0;
    if (count > 0)
        times = count_below(partition->log->sys, writer->time_index, sizeof bytes, time_ends_at_or_below,
                            entry.offset_delta, bytes);
    writer->time_index_bytes = times * sizeof bytes;
    if (times > 0) {
        struct time_entry last = time_entry_of(bytes);
        writer->max_time_ms = writer->last_time_ms = last.time_ms;
        writer->max_time_offset = writer->base_offset + last.offset_delta;
    }
    struct scan scan;
    scan_init(&scan, partition->log->sys);
    scan_start(&scan, partition->file, position);
    struct record_batch batch;
    uint64_t at = entry.position;
    while (scan_batch(&scan, at, &batch) == ERR_OK) {
        if (at != entry.position || count == 0) index_writer_add(writer, &batch, at);
        if (writer->pending_count == LOG_INDEX_PENDING) index_writer_flush(writer, partition->log->sys);
        at += batch.size_bytes;
    }
    scan_deinit(&scan);
}

void index_writer_open(struct index_writer *writer, struct log_partition *partition, int64_t base_offset,
                       uint64_t position, bool fresh) {
    const struct sys *sys = partition->log->sys;
    *writer = (struct index_writer){.base_offset = base_offset, .max_time_ms = INT64_MIN, .last_time_ms = INT64_MIN};
    writer->index = open_hint(partition, base_offset, LOG_FILE_INDEX, SYS_WRITE | SYS_CREATE);
    writer->time_index = open_hint(partition, base_offset, LOG_FILE_TIME_INDEX, SYS_WRITE | SYS_CREATE);
    if (writer->index == NULL || writer->time_index == NULL) {
        sys->disk_ops->close(sys->disk, &writer->index);
        sys->disk_ops->close(sys->disk, &writer->time_index);
        return;
    }
    if (!fresh) resume(writer, partition, position);
    enum err err = sys->disk_ops->truncate(writer->index, writer->index_bytes);
    if (!err) err = sys->disk_ops->truncate(writer->time_index, writer->time_index_bytes);
    if (err) { /* A hint that cannot be kept is not kept. */
        sys->disk_ops->close(sys->disk, &writer->index);
        sys->disk_ops->close(sys->disk, &writer->time_index);
    }
}

static void add_time_entry(struct index_writer *writer) {
    if (writer->max_time_ms <= writer->last_time_ms || writer->time_pending_count == LOG_INDEX_PENDING) return;
    writer->last_time_ms = writer->max_time_ms;
    writer->time_pending[writer->time_pending_count++] =
        (struct time_entry){writer->max_time_ms, (uint32_t)(writer->max_time_offset - writer->base_offset)};
}

void index_writer_add(struct index_writer *writer, const struct record_batch *batch, uint64_t position) {
    int64_t last = batch_end(batch) - 1;
    if (batch->max_timestamp_ms > writer->max_time_ms) {
        writer->max_time_ms = batch->max_timestamp_ms;
        writer->max_time_offset = last;
    }
    bool due = writer->since_entry > LOG_INDEX_INTERVAL && writer->index != NULL;
    if (due && writer->pending_count < LOG_INDEX_PENDING) {
        writer->pending[writer->pending_count++] =
            (struct index_entry){(uint32_t)(last - writer->base_offset), (uint32_t)position};
        add_time_entry(writer);
        writer->since_entry = 0;
    }
    writer->since_entry += batch->size_bytes;
}

struct index_mark index_writer_mark(const struct index_writer *writer) {
    return (struct index_mark){.since_entry = writer->since_entry,
                               .max_time_ms = writer->max_time_ms,
                               .max_time_offset = writer->max_time_offset,
                               .last_time_ms = writer->last_time_ms,
                               .pending_count = writer->pending_count,
                               .time_pending_count = writer->time_pending_count};
}

void index_writer_back(struct index_writer *writer, struct index_mark mark) {
    writer->since_entry = mark.since_entry;
    writer->max_time_ms = mark.max_time_ms;
    writer->max_time_offset = mark.max_time_offset;
    writer->last_time_ms = mark.last_time_ms;
    writer->pending_count = mark.pending_count;
    writer->time_pending_count = mark.time_pending_count;
}

static void write_index(struct index_writer *writer, const struct sys *sys) {
    uint8_t bytes[LOG_INDEX_PENDING * FORMAT_INDEX_ENTRY_BYTES];
    size_t size = writer->pending_count * FORMAT_INDEX_ENTRY_BYTES;
    for (uint32_t i = 0; i < writer->pending_count; i++) {
        put_be32(bytes + i * FORMAT_INDEX_ENTRY_BYTES, writer->pending[i].offset_delta);
        put_be32(bytes + i * FORMAT_INDEX_ENTRY_BYTES + 4, writer->pending[i].position);
    }
    struct slice part = slice_of(bytes, size);
    if (size > 0 && sys->disk_ops->write(writer->index, writer->index_bytes, &part, 1) == ERR_OK)
        writer->index_bytes += size;
    writer->pending_count = 0;
}

static void write_time_index(struct index_writer *writer, const struct sys *sys) {
    uint8_t bytes[LOG_INDEX_PENDING * FORMAT_TIME_INDEX_ENTRY_BYTES];
    size_t size = writer->time_pending_count * FORMAT_TIME_INDEX_ENTRY_BYTES;
    for (uint32_t i = 0; i < writer->time_pending_count; i++) {
        put_be64(bytes + i * FORMAT_TIME_INDEX_ENTRY_BYTES, (uint64_t)writer->time_pending[i].time_ms);
        put_be32(bytes + i * FORMAT_TIME_INDEX_ENTRY_BYTES + 8, writer->time_pending[i].offset_delta);
    }
    struct slice part = slice_of(bytes, size);
    if (size > 0 && sys->disk_ops->write(writer->time_index, writer->time_index_bytes, &part, 1) == ERR_OK)
        writer->time_index_bytes += size;
    writer->time_pending_count = 0;
}

void index_writer_flush(struct index_writer *writer, const struct sys *sys) {
    if (writer->index == NULL) return;
    write_index(writer, sys);
    write_time_index(writer, sys);
}

void index_writer_close(struct index_writer *writer, const struct sys *sys) {
    index_writer_flush(writer, sys);
    if (writer->index == NULL) return;
    add_time_entry(writer);
    index_writer_flush(writer, sys);
    sys->disk_ops->close(sys->disk, &writer->index);
    sys->disk_ops->close(sys->disk, &writer->time_index);
}

struct index_entry index_lookup(const struct log_partition *partition, int64_t base_offset, int64_t offset) {
    const struct sys *sys = partition->log->sys;
    struct index_entry entry = {0, 0};
    if (offset < base_offset || offset - base_offset > UINT32_MAX) return entry;
    struct sys_file *file = open_hint(partition, base_offset, LOG_FILE_INDEX, SYS_READ);
    if (file == NULL) return entry;
    uint8_t last[FORMAT_INDEX_ENTRY_BYTES];
    uint64_t delta = (uint64_t)(offset - base_offset);
    if (count_below(sys, file, sizeof last, ends_at_or_below, delta, last) > 0) entry = index_entry_of(last);
    sys->disk_ops->close(sys->disk, &file);
    return entry;
}

static bool time_lookup(const struct log_partition *partition, int64_t base_offset,
                        bool (*below)(const uint8_t *, uint64_t), int64_t bound, struct time_entry *ret_entry) {
    const struct sys *sys = partition->log->sys;
    struct sys_file *file = open_hint(partition, base_offset, LOG_FILE_TIME_INDEX, SYS_READ);
    if (file == NULL) return false;
    uint8_t last[FORMAT_TIME_INDEX_ENTRY_BYTES];
    bool found = count_below(sys, file, sizeof last, below, (uint64_t)bound, last) > 0;
    if (found) *ret_entry = time_entry_of(last);
    sys->disk_ops->close(sys->disk, &file);
    return found;
}

bool time_index_lookup(const struct log_partition *partition, int64_t base_offset, int64_t time_ms,
                       struct time_entry *ret_entry) {
    return time_lookup(partition, base_offset, time_below, time_ms, ret_entry);
}

bool time_index_last(const struct log_partition *partition, int64_t base_offset, struct time_entry *ret_entry) {
    return time_lookup(partition, base_offset, any, 0, ret_entry);
}

enum err index_rebuild(struct log_partition *partition, int64_t base_offset, uint64_t bytes) {
    const struct sys *sys = partition->log->sys;
    char path[LOG_PATH_MAX];
    segment_path(partition, base_offset, LOG_FILE_LOG, path);
    struct sys_file *file;
    enum err err = sys->disk_ops->open(sys->disk, path, SYS_READ, NULL, &file);
    if (err) return err;
    struct index_writer *writer = malloc(sizeof *writer);
    if (writer == NULL) {
        sys->disk_ops->close(sys->disk, &file);
        return ERR_NO_MEMORY;
    }
    index_writer_open(writer, partition, base_offset, 0, true);
    struct scan scan;
    scan_init(&scan, sys);
    scan_start(&scan, file, bytes);
    struct record_batch batch;
    for (uint64_t at = 0; scan_batch(&scan, at, &batch) == ERR_OK; at += batch.size_bytes) {
        index_writer_add(writer, &batch, at);
        if (writer->pending_count == LOG_INDEX_PENDING) index_writer_flush(writer, sys);
    }
    scan_deinit(&scan);
    index_writer_close(writer, sys);
    free(writer);
    sys->disk_ops->close(sys->disk, &file);
    return ERR_OK;
}
