#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/plant.h"
#include "log/embedded/embedded.h"

enum { SUSPICIONS = 20, LOOK_BEHIND_BYTES = 64 * 1024 };

/* What one pass over a partition's files finds out; installed at the end. */
struct recovery {
    struct log_partition *partition;
    struct segment *segments;
    uint32_t count, capacity;
    struct durable_end recorded;
    struct chain chain;
    uint64_t position; /* in the last segment: where the next batch goes */
    struct sys_file *file;
    struct scan scan;
    bool read_any;   /* batches behind the recorded end */
    bool unreadable; /* the disk failed at `position` */
    bool no_record;  /* durable-end says nothing */
    bool damaged;
};

static enum err note_rot(struct recovery *r, const struct segment *segment, uint64_t position, int64_t first,
                         int64_t last, const char *text) {
    struct log_finding finding = {.kind = LOG_FINDING_ROT,
                                  .partition = r->partition->index,
                                  .position_bytes = position,
                                  .first_offset = first,
                                  .last_offset = last};
    snprintf(finding.topic, sizeof finding.topic, "%s", r->partition->topic->name);
    const char *folder = strrchr(r->partition->folder, '/');
    folder = folder == NULL ? r->partition->folder : folder + 1;
    if (segment != NULL)
        snprintf(finding.file, sizeof finding.file, "%s/%020lld.log", folder, (long long)segment->base_offset);
    else
        snprintf(finding.file, sizeof finding.file, "%s/durable-end", folder);
    snprintf(finding.text, sizeof finding.text, "%s", text);
    finding_repair(r->partition, first >= 0 ? first : r->chain.expected, &finding);
    partition_set_damage(r->partition, &finding);
    r->damaged = true;
    return ERR_OK;
}

static enum err visit_file(void *context, const struct sys_entry *entry) {
    struct recovery *r = context;
    int64_t base;
    if (entry->folder || !segment_name(entry->name, ".log", &base)) return ERR_OK;
    if (r->count == LOG_SEGMENTS_MAX) return ERR_LIMIT;
    if (r->count == r->capacity) {
        uint32_t capacity = r->capacity ? r->capacity * 2 : 16;
        struct segment *grown = reallocarray(r->segments, capacity, sizeof *grown);
        if (grown == NULL) return ERR_NO_MEMORY;
        r->segments = grown;
        r->capacity = capacity;
    }
    r->segments[r->count++] = (struct segment){base, entry->size_bytes, 0};
    return ERR_OK;
}

static enum err list_segments(struct recovery *r) {
    const struct sys *sys = r->partition->log->sys;
    r->count = 0;
    return sys->disk_ops->list(sys->disk, r->partition->folder, visit_file, r);
}

static enum err remove_segment(struct recovery *r, uint32_t at) {
    enum err err = segment_unlink(r->partition, r->segments[at].base_offset);
    r->count--;
    memmove(r->segments + at, r->segments + at + 1, (r->count - at) * sizeof *r->segments);
    return err;
}

/* The last part of a compaction that a crash interrupted. */
static enum err finish_swap(struct recovery *r) {
    int64_t from = r->recorded.swap_from, to = r->recorded.swap_to;
    if (from >= to) return ERR_OK;
    const struct sys *sys = r->partition->log->sys;
    char clean[LOG_PATH_MAX], path[LOG_PATH_MAX];
    segment_path(r->partition, from, LOG_FILE_CLEAN, clean);
    segment_path(r->partition, from, LOG_FILE_LOG, path);
    enum err err = sys->disk_ops->rename(sys->disk, clean, path);
    if (err && err != ERR_NOT_FOUND) return err;
    err = list_segments(r);
    for (uint32_t i = 0; !err && i < r->count;) {
        int64_t base = r->segments[i].base_offset;
        if (base > from && base < to)
            err = remove_segment(r, i);
        else
            i++;
    }
    if (!err) err = partition_sync_folder(r->partition);
    if (err) return err;
    struct durable_end end = r->recorded;
    end.swap_from = end.swap_to = 0;
    r->partition->recorded = r->recorded;
    err = durable_end_write(r->partition, end);
    r->recorded = r->partition->recorded;
    return err;
}

static enum err remove_litter(void *context, const struct sys_entry *entry) {
    struct recovery *r = context;
    const struct sys *sys = r->partition->log->sys;
    int64_t base;
    if (!segment_name(entry->name, ".log.clean", &base)) return ERR_OK;
    char path[LOG_PATH_MAX];
    segment_path(r->partition, base, LOG_FILE_CLEAN, path);
    return sys->disk_ops->unlink(sys->disk, path);
}

/* The last part of a cut: later segments are put aside. The segment itself is truncated with the torn tails. */
static enum err finish_cut(struct recovery *r) {
    if ((r->recorded.flags & DURABLE_CUT) == 0) return ERR_OK;
    const struct sys *sys = r->partition->log->sys;
    enum err err = ERR_OK;
    while (!err && r->count > 0 && r->segments[r->count - 1].base_offset > r->recorded.segment) {
        int64_t base = r->segments[--r->count].base_offset;
        char path[LOG_PATH_MAX], aside[LOG_PATH_MAX];
        segment_path(r->partition, base, LOG_FILE_LOG, path);
        int n = snprintf(aside, sizeof aside, "%s/%020lld.cut", r->partition->folder, (long long)base);
        assert(n > 0 && n < (int)sizeof aside);
        err = sys->disk_ops->rename(sys->disk, path, aside);
        if (!err) err = segment_unlink(r->partition, base); /* its indexes */
    }
    return err ? err : partition_sync_folder(r->partition);
}

/* What retention had decided to drop. */
static enum err finish_retention(struct recovery *r) {
    bool any = false;
    enum err err = ERR_OK;
    while (!err && r->count > 1 && r->segments[1].base_offset <= r->recorded.start_offset) {
        err = remove_segment(r, 0);
        any = true;
    }
    return !err && any ? partition_sync_folder(r->partition) : err;
}

static enum err finish_what_was_begun(struct recovery *r) {
    if (r->partition->log->options.read_only || r->damaged) return ERR_OK;
    const struct sys *sys = r->partition->log->sys;
    enum err err = finish_swap(r);
    if (!err && r->partition->topic->options.compacted)
        err = sys->disk_ops->list(sys->disk, r->partition->folder, remove_litter, r);
    if (!err) err = finish_cut(r);
    return err ? err : finish_retention(r);
}

static enum err open_segment(struct recovery *r, const struct segment *segment) {
    const struct sys *sys = r->partition->log->sys;
    char path[LOG_PATH_MAX];
    segment_path(r->partition, segment->base_offset, LOG_FILE_LOG, path);
    sys->disk_ops->close(sys->disk, &r->file);
    unsigned flags = r->partition->log->options.read_only || r->damaged ? SYS_READ : SYS_WRITE;
    return sys->disk_ops->open(sys->disk, path, flags, NULL, &r->file);
}

/* Takes batches for as long as they count. */
static enum err follow(struct recovery *r) {
    for (;;) {
        struct record_batch batch;
        enum err err = scan_batch(&r->scan, r->position, &batch);
        if (err == ERR_NO_MEMORY) return err;
        r->unreadable = err == ERR_IO;
        if (err || !chain_follow(&r->chain, &batch)) return ERR_OK;
        err = producers_note(&r->partition->producers, &batch);
        if (err) return err;
        r->position += batch.size_bytes;
        r->read_any = true;
    }
}

/* The batch behind the damage at r->position that proves it rot. ERR_END: there is none, so the damage is torn. */
static enum err find_witness(struct recovery *r, uint64_t *ret_position, struct record_batch *ret_batch) {
    if (PLANTED(PLANT_CUT_AT_ROT)) return ERR_END;
    uint64_t at = r->position + 1;
    for (;;) {
        struct record_batch batch;
        enum err err = scan_find(&r->scan, at, r->chain.expected, &r->chain, &at, &batch);
        if (err) return err;
        if (batch_group(&batch, r->chain.tag) > r->chain.expected || batch.base_offset < r->recorded.kafka_end ||
            r->unreadable) {
            *ret_position = at;
            *ret_batch = batch;
            return ERR_OK;
        }
        at += batch.size_bytes;
    }
}

/* A writer in another process may be in the middle of the group: what looked damaged is looked at again. */
static bool was_being_written(struct recovery *r, unsigned *suspicions) {
    if (!r->partition->log->options.read_only || ++*suspicions > SUSPICIONS) return false;
    r->scan.held = 0;
    return true;
}

static enum err recover_last(struct recovery *r, const struct segment *segment) {
    unsigned suspicions = 0;
    for (;;) {
        enum err err = follow(r);
        if (err) return err;
        uint64_t at;
        struct record_batch witness;
        err = find_witness(r, &at, &witness);
        if (err == ERR_END && r->unreadable)
            return note_rot(r, segment, r->position, -1, -1, "the disk cannot read the end of the log");
        if (err == ERR_END && r->chain.expected < r->recorded.kafka_end && scan_dirty(&r->scan, r->position))
            return note_rot(r, segment, r->position, -1, -1, "a batch that Kafka wrote is damaged");
        if (err == ERR_END) return ERR_OK;
        if (err) return err;
        if (was_being_written(r, &suspicions)) continue;
        note_rot(r, segment, r->position, r->chain.expected, witness.base_offset - 1,
                 "a batch is damaged, and later ones, written after it was synced, are not");
        r->position = at;
        r->chain.expected = witness.base_offset;
        r->chain.group = GROUP_ANY;
    }
}

/* A segment with a successor was synced whole, and ends where that begins. */
static enum err recover_closed(struct recovery *r, const struct segment *segment, int64_t next_base) {
    for (;;) {
        enum err err = follow(r);
        if (err) return err;
        if (r->chain.expected == next_base) return ERR_OK;
        uint64_t at;
        struct record_batch found;
        err = scan_find(&r->scan, r->position + 1, r->chain.expected, &r->chain, &at, &found);
        if (err && err != ERR_END) return err;
        int64_t lost_to = err == ERR_END || found.base_offset > next_base ? next_base : found.base_offset;
        note_rot(r, segment, r->position, r->chain.expected, lost_to - 1,
                 "a batch is damaged, and its segment was closed");
        if (lost_to == next_base) break;
        r->position = at;
        r->chain.expected = found.base_offset;
        r->chain.group = GROUP_ANY;
    }
    r->chain.expected = next_base;
    r->chain.group = GROUP_NEW;
    return ERR_OK;
}

/* The preallocated tail of a segment whose roll a crash interrupted. */
static enum err cut_closed(struct recovery *r, struct segment *segment, uint64_t size) {
    if (r->partition->log->options.read_only || r->damaged || size <= r->position) return ERR_OK;
    const struct sys *sys = r->partition->log->sys;
    enum err err = sys->disk_ops->truncate(r->file, r->position);
    if (!err) err = sys->disk_ops->sync(r->file);
    segment->bytes = r->position;
    return err;
}

/* Segments behind this one that nothing was ever written to, although this one went on: a roll that failed for want of
 * space, and whose file a crash brought back. */
static enum err drop_stillborn(struct recovery *r, uint32_t at) {
    while (r->count > at + 1) {
        enum err err = open_segment(r, &r->segments[r->count - 1]);
        if (err) return err;
        scan_start(&r->scan, r->file, r->segments[r->count - 1].bytes);
        if (scan_dirty(&r->scan, 0)) return ERR_OK;
        if (r->partition->log->options.read_only)
            r->count--;
        else
            err = remove_segment(r, r->count - 1);
        if (err) return err;
    }
    return ERR_OK;
}

static bool is_overrun(const struct recovery *r, uint32_t at) {
    return at + 1 < r->count && r->chain.expected > r->segments[at + 1].base_offset &&
           r->segments[at].base_offset == r->recorded.segment && !r->damaged;
}

/* Whether the slot bounds what must be read again. If something is written behind its limit, then it is not the newest one
 * that there was: the disk has lost that write. */
static bool limit_holds(struct recovery *r, const struct segment *segment, uint64_t size) {
    uint64_t limit = r->recorded.limit;
    if (segment->base_offset != r->recorded.segment || limit >= size) return false;
    if (r->recorded.flags & DURABLE_CUT) return true;
    scan_start(&r->scan, r->file, size - limit < LOOK_BEHIND_BYTES ? size : limit + LOOK_BEHIND_BYTES);
    bool dirty = scan_dirty(&r->scan, limit);
    scan_start(&r->scan, r->file, size);
    return !dirty;
}

static enum err recover_segment(struct recovery *r, uint32_t at) {
    const struct segment *segment = &r->segments[at];
    bool last = at + 1 == r->count;
    if (!last && r->segments[at + 1].base_offset == r->chain.expected && r->position == segment->bytes) return ERR_OK;
    enum err err = open_segment(r, segment);
    if (err) return err;
    uint64_t size;
    err = r->partition->log->sys->disk_ops->size(r->file, &size);
    if (err) return err;
    if (r->position > size) {
        note_rot(r, segment, size, -1, -1, "the file is shorter than what is known to have been synced");
        r->position = size;
    }
    scan_start(&r->scan, r->file, size);
    if (last && limit_holds(r, segment, size)) scan_start(&r->scan, r->file, size = r->recorded.limit);
    err = follow(r);
    if (!err && is_overrun(r, at)) {
        err = drop_stillborn(r, at);
        if (!err) err = open_segment(r, segment);
        scan_start(&r->scan, r->file, size);
        last = at + 1 == r->count;
    }
    if (err) return err;
    if (last) return recover_last(r, segment);
    err = recover_closed(r, segment, r->segments[at + 1].base_offset);
    return err ? err : cut_closed(r, &r->segments[at], size);
}

/* From the recorded place to the end. Compaction has not been here: it works on closed segments, and closing one records a
 * place behind it. */
static enum err recover_tail(struct recovery *r) {
    uint32_t at = 0;
    while (at < r->count && r->segments[at].base_offset < r->recorded.segment) at++;
    bool found = at < r->count && r->segments[at].base_offset == r->recorded.segment;
    bool nothing_yet = r->count == 0 && r->recorded.position == 0 && r->recorded.end_offset == r->recorded.segment;
    r->chain = (struct chain){.expected = r->recorded.end_offset,
                              .group = GROUP_NEW,
                              .kafka_end = r->recorded.kafka_end,
                              .tag = r->partition->tag};
    r->position = r->recorded.position;
    if (nothing_yet) return ERR_OK;
    if (!found) {
        struct segment missing = {.base_offset = r->recorded.segment};
        note_rot(r, &missing, 0, r->recorded.segment, r->recorded.end_offset - 1, "the segment is missing");
        r->position = 0;
        if (at == r->count) return ERR_OK;
        r->chain.expected = r->segments[at].base_offset;
    }
    for (; at < r->count; at++) {
        enum err err = recover_segment(r, at);
        if (err) return err;
        if (at + 1 == r->count) break;
        r->position = 0;
        r->chain.group = GROUP_NEW;
    }
    return ERR_OK;
}

/* A killed process may have left what is only in memory: it is made to last before anything rests on it. */
static enum err sync_record(struct log_partition *partition) {
    const struct sys *sys = partition->log->sys;
    if (partition->log->options.read_only) return ERR_OK;
    enum err err = sys->disk_ops->sync(partition->ends);
    return err ? err : partition_sync_folder(partition);
}

static enum err read_record(struct recovery *r, struct diag *diag) {
    struct log_partition *partition = r->partition;
    enum err err = durable_end_read(partition, &r->recorded, &partition->producers, diag);
    if (!err) err = sync_record(partition);
    if (err == ERR_OK) return list_segments(r);
    if (err != ERR_CORRUPT && err != ERR_NOT_FOUND) return err;
    err = list_segments(r);
    if (err) return err;
    int64_t first = r->count > 0 ? r->segments[0].base_offset : 0;
    r->recorded =
        (struct durable_end){.end_offset = first, .segment = first, .start_offset = first, .limit = UINT64_MAX};
    r->damaged = r->no_record = true;
    return ERR_OK;
}

/* Cuts what is torn and makes durable what a killed process may have left in memory. */
static enum err settle(struct recovery *r) {
    const struct sys *sys = r->partition->log->sys;
    bool read_only = r->partition->log->options.read_only;
    if (r->damaged || r->file == NULL) return ERR_OK;
    if (!read_only) {
        uint64_t size;
        enum err err = sys->disk_ops->size(r->file, &size);
        if (!err && size > r->position) {
            err = sys->disk_ops->truncate(r->file, r->position);
            r->read_any = true;
        }
        if (err) return err;
    }
    if (!r->read_any) return ERR_OK;
    enum err err = sys->disk_ops->sync(r->file);
    return err || read_only ? err : partition_sync_folder(r->partition);
}

/* Looking again at what another process writes: a segment of another length, but for the last one that grows, is another
 * file. */
static void carry_generations(const struct log_partition *old, struct segment *segments, uint32_t count) {
    for (uint32_t i = 0, j = 0; i < count; i++) {
        while (j < old->segment_count && old->segments[j].base_offset < segments[i].base_offset) j++;
        if (j == old->segment_count) return;
        const struct segment *was = &old->segments[j];
        if (was->base_offset != segments[i].base_offset) continue;
        bool grows = i + 1 == count && j + 1 == old->segment_count && segments[i].bytes >= was->bytes;
        segments[i].generation = was->generation + (segments[i].bytes != was->bytes && !grows);
    }
}

static void install_segments(struct recovery *r) {
    struct log_partition *partition = r->partition;
    pthread_mutex_lock(&partition->lock);
    if (r->count > 0) r->segments[r->count - 1].bytes = r->position;
    carry_generations(partition, r->segments, r->count);
    struct segment *old = partition->segments;
    partition->segments = r->segments;
    partition->segment_count = r->count;
    partition->segment_capacity = r->capacity;
    pthread_mutex_unlock(&partition->lock);
    r->segments = old;
}

/* After a cut, the slot that decided it must not count again. */
static enum err forget_cut(struct log_partition *partition) {
    if ((partition->recorded.flags & DURABLE_CUT) == 0 || partition->log->options.read_only ||
        atomic_load(&partition->damaged))
        return ERR_OK;
    enum err err = durable_end_record(partition, 0, 0);
    return err ? err : durable_end_record(partition, 0, 0);
}

/* When the last segment began, which decides when it is full; 0 where there is nothing in it. */
static int64_t first_time_ms(struct recovery *r) {
    struct record_batch batch;
    scan_start(&r->scan, r->file, r->position);
    return scan_batch(&r->scan, 0, &batch) == ERR_OK ? batch.base_timestamp_ms : 0;
}

/* Damaged partitions keep no file to write to. */
static void install(struct recovery *r) {
    struct log_partition *partition = r->partition;
    install_segments(r);
    partition->recorded = r->recorded;
    partition->next_offset = partition->synced_offset = r->chain.expected;
    partition->position = partition->synced_position = partition->allocated = r->position;
    partition->segment_base = partition->segment_count > 0
                                  ? partition->segments[partition->segment_count - 1].base_offset
                                  : r->recorded.segment;
    atomic_store(&partition->damaged, r->damaged);
    if (!partition->log->options.read_only && !r->damaged && r->file != NULL) {
        partition->segment_time_ms = first_time_ms(r);
        partition->file = r->file;
        r->file = NULL;
        index_writer_open(&partition->indexes, partition, partition->segment_base, partition->position, false);
        partition->log->unrecorded |= r->read_any;
    }
    atomic_store(&partition->kafka_end, r->recorded.kafka_end);
    atomic_store(&partition->start_offset, r->recorded.start_offset);
    atomic_store_explicit(&partition->end_offset, r->chain.expected, memory_order_release);
}

static enum err recover(struct recovery *r, struct diag *diag) {
    enum err err = read_record(r, diag);
    if (!err) err = finish_what_was_begun(r);
    if (!err && r->count > 0 && r->segments[0].base_offset > r->recorded.start_offset)
        note_rot(r, &r->segments[0], 0, r->recorded.start_offset, r->segments[0].base_offset - 1,
                 "the segments before this one are missing");
    if (!err) err = recover_tail(r);
    if (!err && r->no_record)
        note_rot(r, NULL, 0, -1, -1, "what is known of the partition's end is damaged; all of it was read again");
    if (!err) err = settle(r);
    if (!err) install(r);
    if (!err) err = forget_cut(r->partition);
    if (err && (diag == NULL || diag->err == ERR_OK)) {
        diag_set(diag, err, "cannot recover the partition: %s", err_message(err));
        diag_where(diag, "%s", r->partition->folder);
    }
    return err;
}

static void recovery_deinit(struct recovery *r) {
    const struct sys *sys = r->partition->log->sys;
    sys->disk_ops->close(sys->disk, &r->file);
    scan_deinit(&r->scan);
    free(r->segments);
}

enum err partition_recover(struct log_partition *partition, struct diag *diag) {
    struct recovery r = {.partition = partition};
    scan_init(&r.scan, partition->log->sys);
    enum err err = recover(&r, diag);
    recovery_deinit(&r);
    return err;
}

enum err partition_refresh(struct log_partition *partition, struct diag *diag) {
    int64_t before = atomic_load(&partition->end_offset);
    enum err err = partition_recover(partition, diag);
    if (err) return err;
    if (atomic_load(&partition->end_offset) > before) {
        struct sys_bell *bells[LOG_BELLS_MAX];
        pthread_mutex_lock(&partition->lock);
        uint32_t count = partition->bell_count;
        memcpy(bells, partition->bells, sizeof bells);
        pthread_mutex_unlock(&partition->lock);
        for (uint32_t i = 0; i < count; i++) sys_bell_ring(bells[i]);
    }
    return ERR_OK;
}

enum err partition_tail(struct log_partition *partition, bool *ret_torn) {
    struct recovery r = {.partition = partition, .damaged = true}; /* opens for reading */
    scan_init(&r.scan, partition->log->sys);
    enum err err = ERR_OK;
    *ret_torn = false;
    if (partition->segment_count > 0) {
        uint64_t size = 0;
        err = open_segment(&r, &partition->segments[partition->segment_count - 1]);
        if (!err) err = partition->log->sys->disk_ops->size(r.file, &size);
        scan_start(&r.scan, r.file, size);
        if (!err) *ret_torn = scan_dirty(&r.scan, partition->position);
    }
    recovery_deinit(&r);
    return err;
}
