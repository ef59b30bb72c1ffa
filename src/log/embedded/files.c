#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/plant.h"
#include "log/embedded/embedded.h"

void segment_path(const struct log_partition *partition, int64_t base_offset, int kind,
                  char ret_path[static LOG_PATH_MAX]) {
    static const char *const suffixes[] = {".log", ".index", ".timeindex", ".log.clean"};
    int n = snprintf(ret_path, LOG_PATH_MAX, "%s/%020lld%s", partition->folder, (long long)base_offset, suffixes[kind]);
    assert(n > 0 && n < LOG_PATH_MAX);
}

bool segment_name(const char *name, const char *suffix, int64_t *ret_base) {
    uint64_t base;
    if (strlen(name) != 20 + strlen(suffix) || strcmp(name + 20, suffix) != 0) return false;
    if (!slice_to_u64(slice_of(name, 20), &base) || base > INT64_MAX) return false;
    *ret_base = (int64_t)base;
    return true;
}

enum err partition_sync_folder(struct log_partition *partition) {
    if (PLANTED(PLANT_NO_FOLDER_SYNC)) return ERR_OK;
    const struct sys *sys = partition->log->sys;
    return sys->disk_ops->sync_folder(sys->disk, partition->folder);
}

uint32_t partition_name_crc(const struct log_partition *partition) {
    char name[LOG_TOPIC_NAME_MAX + 16];
    int n = snprintf(name, sizeof name, "%s-%u", partition->topic->name, partition->index);
    return crc32c(0, slice_of(name, (size_t)n));
}

enum err segment_unlink(const struct log_partition *partition, int64_t base_offset) {
    const struct sys *sys = partition->log->sys;
    static const int kinds[] = {LOG_FILE_LOG, LOG_FILE_INDEX, LOG_FILE_TIME_INDEX};
    for (unsigned i = 0; i < 3; i++) {
        char path[LOG_PATH_MAX];
        segment_path(partition, base_offset, kinds[i], path);
        enum err err = sys->disk_ops->unlink(sys->disk, path);
        if (err && err != ERR_NOT_FOUND) return err;
    }
    return ERR_OK;
}

static void durable_end_path(const struct log_partition *partition, char path[static LOG_PATH_MAX]) {
    int n = snprintf(path, LOG_PATH_MAX, "%s/durable-end", partition->folder);
    assert(n > 0 && n < LOG_PATH_MAX);
}

enum err durable_end_make(struct log_partition *partition, struct diag *diag) {
    const struct sys *sys = partition->log->sys;
    char path[LOG_PATH_MAX];
    durable_end_path(partition, path);
    struct sys_file *file;
    enum err err = sys->disk_ops->open(sys->disk, path, SYS_WRITE | SYS_CREATE, diag, &file);
    if (err) return err;
    err = sys->disk_ops->allocate(file, 0, 2 * FORMAT_SLOT_BYTES);
    sys->disk_ops->close(sys->disk, &partition->ends);
    partition->ends = file;
    partition->recorded.sequence = 0;
    memcpy(partition->recorded.log_id, partition->log->id, FORMAT_ID_BYTES);
    partition->recorded.name_crc = partition_name_crc(partition);
    if (!err) err = durable_end_write(partition, partition->recorded);
    if (!err) err = partition_sync_folder(partition);
    if (err) {
        diag_set(diag, err, "cannot make the file");
        diag_where(diag, "%s", path);
    }
    return err;
}

enum err durable_end_write(struct log_partition *partition, struct durable_end end) {
    const struct sys *sys = partition->log->sys;
    uint8_t slot[FORMAT_SLOT_BYTES];
    assert(!partition->unsynced); /* The producers' table must not know what a crash may still take back. */
    end.sequence = partition->recorded.sequence + 1;
    uint32_t used = format_slot_write(&end, partition->producers.entries, partition->producers.count, slot);
    struct slice part = slice_of(slot, used);
    enum err err = sys->disk_ops->write(partition->ends, end.sequence % 2 * FORMAT_SLOT_BYTES, &part, 1);
    if (!err) err = sys->disk_ops->sync(partition->ends);
    if (!err) partition->recorded = end;
    return err;
}

enum err durable_end_record(struct log_partition *partition, uint64_t bytes, uint32_t flags) {
    struct durable_end end = partition->recorded;
    uint64_t step = partition->log->options.record_bytes;
    end.flags = flags;
    end.start_offset = atomic_load(&partition->start_offset);
    end.end_offset = partition->synced_offset;
    end.segment = partition->segment_base;
    end.position = partition->synced_position;
    end.limit = partition->position + (bytes > step ? bytes : step);
    if (flags & (DURABLE_CLEAN | DURABLE_CUT)) end.limit = end.position;
    return durable_end_write(partition, end);
}

static enum err read_slots(struct log_partition *partition, const uint8_t bytes[static 2 * FORMAT_SLOT_BYTES],
                           size_t size, struct durable_end *ret_end, struct producers *producers) {
    struct producer *entries = calloc(FORMAT_PRODUCERS_MAX, sizeof *entries);
    if (entries == NULL) return ERR_NO_MEMORY;
    struct durable_end best = {0};
    unsigned valid = 0;
    enum err err = ERR_CORRUPT;
    for (size_t i = 0; i < 2 && size > i * FORMAT_SLOT_BYTES && err != ERR_NO_MEMORY; i++) {
        size_t left = size - i * FORMAT_SLOT_BYTES;
        struct slice slot =
            slice_of(bytes + i * FORMAT_SLOT_BYTES, left < FORMAT_SLOT_BYTES ? left : FORMAT_SLOT_BYTES);
        struct durable_end end;
        uint32_t count;
        if (format_slot_read(slot, &end, entries, &count) != ERR_OK) continue;
        valid++;
        if (end.sequence < best.sequence) continue;
        best = end;
        err = producers_set(producers, entries, count);
    }
    free(entries);
    if (err) return err;
    if (memcmp(best.log_id, partition->log->id, FORMAT_ID_BYTES) != 0 || best.name_crc != partition_name_crc(partition))
        return ERR_FOREIGN;
    /* The other slot may be a newer one that rotted: then what this one promises is no longer true. */
    if (valid < 2 && (best.flags & DURABLE_CUT) == 0) best.limit = UINT64_MAX;
    *ret_end = best;
    return ERR_OK;
}

enum err durable_end_read(struct log_partition *partition, struct durable_end *ret_end, struct producers *producers,
                          struct diag *diag) {
    const struct sys *sys = partition->log->sys;
    if (partition->ends == NULL) {
        char path[LOG_PATH_MAX];
        durable_end_path(partition, path);
        unsigned flags = partition->log->options.read_only ? SYS_READ : SYS_WRITE;
        enum err err = sys->disk_ops->open(sys->disk, path, flags, diag, &partition->ends);
        if (err) return err;
    }
    uint8_t bytes[2 * FORMAT_SLOT_BYTES];
    size_t got = 0;
    enum err err = sys->disk_ops->read(partition->ends, 0, bytes, sizeof bytes, &got);
    if (!err) err = read_slots(partition, bytes, got, ret_end, producers);
    if (err) {
        diag_set(diag, err, err == ERR_FOREIGN ? "it belongs to another log or partition" : "no slot of it is valid");
        diag_where(diag, "%s/durable-end", partition->folder);
    }
    return err;
}

enum err topic_file_write(struct log *log, const char *name, const struct topic_file *file, struct diag *diag) {
    char path[LOG_PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s-0/topic", log->folder, name);
    assert(n > 0 && n < (int)sizeof path);
    uint8_t bytes[FORMAT_TOPIC_BYTES];
    format_topic_write(file, bytes);
    return sys_replace_file(log->sys, path, slice_of(bytes, sizeof bytes), diag);
}

void finding_repair(const struct log_partition *partition, int64_t offset, struct log_finding *finding) {
    int n = snprintf(finding->repair, sizeof finding->repair, "wick fsck --cut %s/%u@%lld", partition->topic->name,
                     partition->index, (long long)offset);
    if (n >= (int)sizeof finding->repair)
        finding->repair[0] = '\0'; /* The name is over-long; `text` says what to do. */
}

void partition_set_damage(struct log_partition *partition, const struct log_finding *finding) {
    pthread_mutex_lock(&partition->lock);
    if (partition->damage.kind == LOG_FINDING_OK) partition->damage = *finding;
    pthread_mutex_unlock(&partition->lock);
}

enum err log_finding_diag(const struct log_finding *finding, struct diag *diag) {
    if (finding->first_offset >= 0)
        diag_set(diag, ERR_CORRUPT, "%s; offsets %lld to %lld are lost", finding->text,
                 (long long)finding->first_offset, (long long)finding->last_offset);
    else
        diag_set(diag, ERR_CORRUPT, "%s", finding->text);
    diag_where(diag, "%s at byte %llu", finding->file, (unsigned long long)finding->position_bytes);
    if (finding->repair[0] != '\0') diag_hint(diag, "to give up what is behind it: %s", finding->repair);
    return ERR_CORRUPT;
}
