#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/embedded/embedded.h"

enum { CURSOR_MAGIC = 0x63757273, OPEN_TRIES = 8 };

struct log_cursor {
    uint32_t magic;
    struct log_partition *partition;
    struct sys_file *file; /* of `segment`; NULL: to be opened at `chain.expected` */
    struct segment segment;
    int64_t next_base; /* of the segment behind, -1 for the last */
    uint64_t position;
    int64_t wanted; /* batches that end at or below are passed over */
    struct chain chain;
    struct scan scan;
    struct log_finding finding; /* the last one */
};

const struct log_finding *cursor_finding(const struct log_cursor *cursor) { return &cursor->finding; }

enum err log_cursor_open(struct log_partition *partition, int64_t offset, struct diag *diag,
                         struct log_cursor **ret_cursor) {
    int64_t start = log_start_offset(partition), end = log_end_offset(partition);
    if (offset < start || offset > end)
        return diag_set(diag, ERR_RANGE, "offset %lld is not in %s/%u, which holds %lld to %lld", (long long)offset,
                        partition->topic->name, partition->index, (long long)start, (long long)end);
    struct log_cursor *cursor = calloc(1, sizeof *cursor);
    if (cursor == NULL) return diag_set(diag, ERR_NO_MEMORY, "out of memory");
    cursor->magic = CURSOR_MAGIC;
    cursor->partition = partition;
    cursor->wanted = offset;
    cursor->chain = chain_of(partition, offset);
    scan_init(&cursor->scan, partition->log->sys);
    *ret_cursor = cursor;
    return ERR_OK;
}

static void leave(struct log_cursor *cursor) {
    const struct sys *sys = cursor->partition->log->sys;
    sys->disk_ops->close(sys->disk, &cursor->file);
}

void log_cursor_close(struct log_cursor **cursor) {
    struct log_cursor *c = *cursor;
    if (c == NULL) return;
    assert(c->magic == CURSOR_MAGIC);
    leave(c);
    scan_deinit(&c->scan);
    c->magic = 0;
    free(c);
    *cursor = NULL;
}

/* A place in the segment from which the batch of `offset` is near: the index's, if the batch there says the same. */
static void start_near(struct log_cursor *cursor, int64_t offset) {
    int64_t base = cursor->segment.base_offset;
    cursor->position = 0;
    cursor->chain.group = GROUP_NEW;
    if (offset == base) return;
    struct index_entry entry = index_lookup(cursor->partition, base, offset);
    struct record_batch batch;
    if (entry.position == 0 || scan_batch(&cursor->scan, entry.position, &batch) != ERR_OK) return;
    if (batch_end(&batch) - 1 - base != entry.offset_delta || batch.base_offset < base) return;
    cursor->position = entry.position;
    cursor->chain.expected = batch.base_offset;
    cursor->chain.group = GROUP_ANY;
}

static enum err open_file(struct log_cursor *cursor) {
    struct log_partition *partition = cursor->partition;
    const struct sys *sys = partition->log->sys;
    for (unsigned tries = 0; tries < OPEN_TRIES; tries++) { /* Retention or compaction may come between. */
        if (!segments_find(partition, cursor->chain.expected, &cursor->segment, &cursor->next_base))
            return ERR_NOT_FOUND;
        char path[LOG_PATH_MAX];
        segment_path(partition, cursor->segment.base_offset, LOG_FILE_LOG, path);
        enum err err = sys->disk_ops->open(sys->disk, path, SYS_READ, NULL, &cursor->file);
        if (err != ERR_NOT_FOUND) return err;
        if (partition->log->options.read_only && partition_refresh(partition, NULL) != ERR_OK) return err;
    }
    return ERR_NOT_FOUND;
}

/* The damage at the cursor's place reaches up to `lost_to`; the cursor goes on behind it. */
static enum err report(struct log_cursor *cursor, int64_t lost_to, const char *text, struct diag *diag) {
    struct log_partition *partition = cursor->partition;
    struct log_finding finding = {.kind = LOG_FINDING_ROT,
                                  .partition = partition->index,
                                  .position_bytes = cursor->position,
                                  .first_offset = cursor->chain.expected,
                                  .last_offset = lost_to - 1};
    snprintf(finding.topic, sizeof finding.topic, "%s", partition->topic->name);
    const char *folder = strrchr(partition->folder, '/');
    snprintf(finding.file, sizeof finding.file, "%s/%020lld.log", folder == NULL ? partition->folder : folder + 1,
             (long long)cursor->segment.base_offset);
    snprintf(finding.text, sizeof finding.text, "%s", text);
    /* Of a compacted topic a cut would give up the newest record of keys that are all right. */
    if (!partition->topic->options.compacted) finding_repair(partition, cursor->chain.expected, &finding);
    partition_set_damage(partition, &finding);
    cursor->finding = finding;
    cursor->chain.expected = lost_to;
    cursor->chain.group = GROUP_ANY;
    return log_finding_diag(&finding, diag);
}

/* Retention has dropped what comes next: that is no damage. */
static enum err pass_dropped(struct log_cursor *cursor, struct diag *diag) {
    const int64_t offset = cursor->chain.expected;
    leave(cursor);
    cursor->chain.expected = cursor->segment.base_offset;
    cursor->chain.group = GROUP_NEW;
    return diag_set(diag, ERR_RANGE, "offsets %lld to %lld of %s/%u have been dropped by retention", (long long)offset,
                    (long long)cursor->segment.base_offset - 1, cursor->partition->topic->name,
                    cursor->partition->index);
}

/* Opens the segment that holds the next offset. */
static enum err enter(struct log_cursor *cursor, struct diag *diag) {
    int64_t offset = cursor->chain.expected;
    enum err err = open_file(cursor);
    if (err) {
        diag_set(diag, err, "cannot open the segment of offset %lld: %s", (long long)offset, err_message(err));
        diag_where(diag, "%s", cursor->partition->folder);
        return err;
    }
    scan_start(&cursor->scan, cursor->file, cursor->segment.bytes);
    if (offset < cursor->segment.base_offset) {
        if (offset < log_start_offset(cursor->partition)) return pass_dropped(cursor, diag);
        cursor->position = 0;
        bool left_out = cursor->chain.loose || (cursor->chain.gaps && offset < cursor->chain.kafka_end);
        if (!left_out) return report(cursor, cursor->segment.base_offset, "a segment is missing", diag);
        cursor->chain.expected = cursor->segment.base_offset;
        cursor->chain.group = GROUP_NEW;
        return ERR_OK;
    }
    if (offset > cursor->wanted) cursor->wanted = offset; /* entering anew gives no batch twice */
    if (offset > cursor->segment.base_offset) cursor->chain.expected = cursor->segment.base_offset;
    start_near(cursor, offset);
    return ERR_OK;
}

/* What became readable since the segment was entered; *ret_more is false if nothing did. */
static void look_again(struct log_cursor *cursor, bool *ret_more) {
    struct segment segment;
    int64_t next_base;
    *ret_more = true;
    if (!segments_find(cursor->partition, cursor->chain.expected, &segment, &next_base)) {
        *ret_more = false;
        return;
    }
    if (segment.base_offset != cursor->segment.base_offset || segment.generation != cursor->segment.generation) {
        leave(cursor);
        return;
    }
    *ret_more = segment.bytes > cursor->segment.bytes || next_base != cursor->next_base;
    cursor->segment = segment;
    cursor->next_base = next_base;
    scan_start(&cursor->scan, cursor->file, segment.bytes);
}

/* Whether compaction or retention has changed the list under the cursor, which then enters anew. The writer may be another
 * process, whose list is its own. */
static bool is_moved(struct log_cursor *cursor) {
    struct log_partition *partition = cursor->partition;
    struct segment segment;
    int64_t next_base;
    for (int i = 0; i < 2; i++) {
        if (i == 1 && (!partition->log->options.read_only || partition_refresh(partition, NULL) != ERR_OK)) break;
        if (!segments_find(partition, cursor->chain.expected, &segment, &next_base)) continue;
        if (segment.base_offset == cursor->segment.base_offset && segment.generation == cursor->segment.generation)
            continue;
        leave(cursor);
        return true;
    }
    return false;
}

/* No batch counts at the cursor's place although there are bytes, or offsets are missing at the segment's end. */
static enum err pass_damage(struct log_cursor *cursor, int64_t end, struct diag *diag) {
    uint64_t at;
    struct record_batch found;
    int64_t lost_to = cursor->next_base >= 0 ? cursor->next_base : end;
    enum err err = scan_find(&cursor->scan, cursor->position + 1, cursor->chain.expected, &cursor->chain, &at, &found);
    if (err && err != ERR_END) return diag_set(diag, err, "cannot read the log: %s", err_message(err));
    bool behind = err == ERR_OK && found.base_offset < lost_to;
    if (behind) lost_to = found.base_offset;
    bool wanted = lost_to > cursor->wanted;
    bool may_end = cursor->chain.loose || cursor->chain.expected < cursor->chain.kafka_end;
    if (!behind && cursor->next_base >= 0 && may_end && !scan_dirty(&cursor->scan, cursor->position)) {
        cursor->chain.expected = lost_to; /* Compaction left the last offsets of the segment out. */
        return ERR_OK;
    }
    err = report(cursor, lost_to, "a batch is damaged", diag);
    cursor->position = behind ? at : cursor->segment.bytes;
    return wanted ? err : ERR_OK;
}

enum err log_cursor_next(struct log_cursor *cursor, struct diag *diag, struct record_batch *ret_batch) {
    assert(cursor->magic == CURSOR_MAGIC);
    for (;;) {
        int64_t end = log_end_offset(cursor->partition);
        if (cursor->chain.expected >= end) return ERR_END;
        if (cursor->file != NULL && cursor->next_base >= 0 && cursor->chain.expected >= cursor->next_base)
            leave(cursor);
        if (cursor->file == NULL) {
            enum err err = enter(cursor, diag);
            if (err) return err;
        }
        struct record_batch batch;
        enum err err = ERR_END;
        if (cursor->position < cursor->segment.bytes) err = scan_batch(&cursor->scan, cursor->position, &batch);
        if (err == ERR_NO_MEMORY) return diag_set(diag, err, "out of memory");
        if (err == ERR_OK && chain_follow(&cursor->chain, &batch)) {
            cursor->position += batch.size_bytes;
            if (batch_end(&batch) <= cursor->wanted) continue;
            *ret_batch = batch;
            return ERR_OK;
        }
        bool more = false;
        if (cursor->position >= cursor->segment.bytes) look_again(cursor, &more);
        if (more || cursor->file == NULL || is_moved(cursor)) continue;
        err = pass_damage(cursor, end, diag);
        if (err) return err;
    }
}

/* --- times --- */

/* Whether the log says what the time index says. */
static bool time_entry_true(struct log_partition *partition, int64_t base_offset, const struct time_entry *entry) {
    int64_t offset = base_offset + entry->offset_delta;
    struct log_cursor *cursor;
    struct record_batch batch;
    if (log_cursor_open(partition, offset, NULL, &cursor) != ERR_OK) return false;
    bool same = log_cursor_next(cursor, NULL, &batch) == ERR_OK && batch_end(&batch) - 1 == offset &&
                batch.max_timestamp_ms == entry->time_ms;
    log_cursor_close(&cursor);
    return same;
}

/* An offset at or below the answer, as near as the time indexes say. All entries below it are older than `time_ms`. */
static int64_t place_for_time(struct log_partition *partition, int64_t time_ms) {
    int64_t place = log_start_offset(partition), at = place, next_base = 0;
    while (next_base >= 0) {
        struct segment segment;
        struct time_entry entry, last;
        if (!segments_find(partition, at, &segment, &next_base)) break;
        if (time_index_lookup(partition, segment.base_offset, time_ms, &entry)) {
            if (!time_entry_true(partition, segment.base_offset, &entry)) break;
            if (segment.base_offset + entry.offset_delta > place) place = segment.base_offset + entry.offset_delta;
        }
        if (time_index_last(partition, segment.base_offset, &last) && last.time_ms >= time_ms) break;
        at = next_base;
    }
    return place;
}

struct time_search {
    int64_t time_ms;
    int64_t found; /* -1: not yet */
};

static enum err look_at_time(void *context, const struct record *record) {
    struct time_search *search = context;
    if (record->timestamp_ms < search->time_ms) return ERR_OK;
    search->found = record->offset;
    return ERR_END;
}

enum err log_offset_for_time(struct log_partition *partition, int64_t time_ms, int64_t *ret_offset) {
    struct log_cursor *cursor;
    enum err err = log_cursor_open(partition, place_for_time(partition, time_ms), NULL, &cursor);
    if (err) return err;
    struct arena arena;
    arena_init(&arena, 128 * 1024 * 1024);
    struct time_search search = {time_ms, -1};
    while (search.found < 0) {
        struct record_batch batch;
        err = log_cursor_next(cursor, NULL, &batch);
        if (err == ERR_CORRUPT || err == ERR_RANGE) continue; /* The answer is then the first readable one. */
        if (err) break;
        if (batch.max_timestamp_ms < time_ms) continue;
        err = record_batch_visit(&batch, &arena, look_at_time, &search);
        arena_clear(&arena);
        if (err && err != ERR_END) break;
    }
    arena_deinit(&arena);
    log_cursor_close(&cursor);
    if (search.found >= 0 || err == ERR_END) {
        *ret_offset = search.found >= 0 ? search.found : log_end_offset(partition);
        return ERR_OK;
    }
    return err;
}
