#include <assert.h>

#include "base/plant.h"
#include "log/embedded/embedded.h"
#include "sys/phase.h"

enum { HOLD_LOOK_MS = 20, TRIMMED_MAX_BYTES = 64 * 1024 * 1024, WEEK_MS = 7 * 24 * 3600 * 1000 };

void log_submit(struct log *log, struct log_append *append) {
    append->base_offset = -1;
    append->duplicate = false;
    append->err = ERR_OK;
    struct log_append *head = atomic_load_explicit(&log->inbox, memory_order_relaxed);
    do append->next = head;
    while (
        !atomic_compare_exchange_weak_explicit(&log->inbox, &head, append, memory_order_release, memory_order_relaxed));
    if (head == NULL)
        sys_bell_ring(&log->bell); /* Otherwise whoever came first has rung, and all are taken together. */
}

/* Moves what has arrived behind what is pending, oldest first. */
static void take_inbox(struct log *log) {
    struct log_append *newest = atomic_exchange_explicit(&log->inbox, NULL, memory_order_acquire);
    struct log_append *oldest = NULL, *last = newest;
    while (newest != NULL) {
        struct log_append *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    if (oldest == NULL) return;
    *log->pending_tail = oldest;
    log->pending_tail = &last->next;
}

/* The lists of one group. */
struct group {
    struct log_partition *dirty_head, **dirty_tail;
    struct log_append *done_head, **done_tail;
    uint64_t bytes;
};

static void note_gap(struct log_append *append, enum err err) {
    if (err && append->gap != NULL) atomic_store(append->gap, true);
}

static void group_done(struct group *group, struct log_append *append, enum err err) {
    append->err = err;
    append->next = NULL;
    note_gap(append, err);
    *group->done_tail = append;
    group->done_tail = &append->next;
}

static void group_done_all(struct group *group, struct log_append *append, enum err err) {
    while (append != NULL) {
        struct log_append *next = append->next;
        group_done(group, append, err);
        append = next;
    }
}

static void add_to_run(struct group *group, struct log_append *append) {
    struct log_partition *partition = append->partition;
    append->next = NULL;
    if (partition->run_head == NULL) {
        partition->run_tail = &partition->run_head;
        partition->next_dirty = NULL;
        *group->dirty_tail = partition;
        group->dirty_tail = &partition->next_dirty;
    }
    *partition->run_tail = append;
    partition->run_tail = &append->next;
}

/* What a partition at its limit does with appends. */
static enum limit_verdict judge_limit(struct log *log, struct log_partition *partition) {
    const uint64_t limit = atomic_load_explicit(&partition->limit_bytes, memory_order_relaxed);
    if (limit == 0 || atomic_load_explicit(&partition->written_bytes, memory_order_relaxed) < limit ||
        atomic_load(&log->stopping) || atomic_load(&log->failed)) {
        partition->held_limit = 0;
        return LIMIT_FREE;
    }
    const int64_t now_ns = sys_monotonic_ns(log->sys);
    if (partition->held_limit != limit) {
        partition->held_limit = limit;
        partition->held_since_ns = now_ns;
    }
    return now_ns - partition->held_since_ns >= LOG_HOLD_MS * INT64_C(1000000) ? LIMIT_BUSY : LIMIT_WAIT;
}

/* Once a group: the limit may move meanwhile, and appends keep their order. */
static enum limit_verdict limit_of_group(struct log *log, struct log_partition *partition) {
    if (partition->limit_group != log->group_number) partition->limit_verdict = judge_limit(log, partition);
    partition->limit_group = log->group_number;
    return partition->limit_verdict;
}

/* Takes appends while they fit, at least one, and sorts them by partition. */
static void form_group(struct log *log, struct group *group) {
    log->holding = false;
    log->group_number++;
    for (struct log_append **link = &log->pending_head; *link != NULL;) {
        struct log_append *append = *link;
        assert(append->partition->log == log && append->batch_bytes >= RECORD_BATCH_HEADER_BYTES);
        if (group->bytes > 0 && group->bytes + append->batch_bytes > log->options.group_bytes) break;
        const enum limit_verdict verdict = limit_of_group(log, append->partition);
        if (verdict == LIMIT_WAIT) {
            log->holding = true;
            link = &append->next;
            continue;
        }
        group->bytes += append->batch_bytes;
        *link = append->next;
        if (*link == NULL) log->pending_tail = link;
        if (verdict == LIMIT_BUSY)
            group_done(group, append, ERR_BUSY);
        else if (atomic_load(&append->partition->damaged))
            group_done(group, append, append->partition->topic->deleted ? ERR_CLOSED : ERR_CORRUPT);
        else
            add_to_run(group, append);
    }
}

/* --- one partition's part of a group --- */

struct trimming {
    struct record_batch_builder *builder;
    uint32_t skip;
};

static enum err copy_record(void *context, const struct record *record) {
    struct trimming *trimming = context;
    if (trimming->skip > 0) {
        trimming->skip--;
        return ERR_OK;
    }
    return record_batch_add(trimming->builder, record);
}

/* A producer that came back cut its batches elsewhere: of this one the first `known` records are in the log. The rest
 * becomes a batch of its own, in the log's arena. */
static enum err trim(struct log *log, struct log_append *append, struct record_batch *batch, uint32_t known) {
    struct record_batch_builder builder;
    record_batch_builder_init(&builder);
    record_batch_begin(&builder, batch->codec);
    int32_t sequence = (int32_t)(((uint32_t)batch->base_sequence + known) & INT32_MAX);
    record_batch_set_producer(&builder, batch->producer_id, batch->producer_epoch, sequence);
    struct trimming trimming = {&builder, known};
    enum err err = record_batch_parse(slice_of(append->batch, append->batch_bytes), batch);
    if (!err) err = record_batch_visit(batch, &log->arena, copy_record, &trimming);
    if (!err) err = record_batch_end(&builder);
    if (!err) {
        struct slice copy = arena_copy(&log->arena, buf_slice(&builder.bytes));
        err = copy.data == NULL ? ERR_NO_MEMORY : record_batch_parse_header(copy, batch);
        append->batch = (uint8_t *)(uintptr_t)copy.data;
        append->batch_bytes = (uint32_t)copy.size;
        append->record_count -= known;
    }
    record_batch_builder_deinit(&builder);
    return err;
}

/* What is to be done with an append: *ret_write, or it is finished already (as a duplicate, or refused). */
static enum err judge(struct log_partition *partition, struct log_append *append, struct record_batch *ret_batch,
                      bool *ret_write) {
    *ret_write = false;
    if (append->gap != NULL && atomic_load(append->gap)) return ERR_CONFLICT;
    enum err err = record_batch_parse_header(slice_of(append->batch, append->batch_bytes), ret_batch);
    if (err || ret_batch->size_bytes != append->batch_bytes || append->record_count != ret_batch->record_count ||
        append->record_count != (uint32_t)ret_batch->last_offset_delta + 1)
        return ERR_SYNTAX;
    if (ret_batch->producer_id >= 0) err = producers_reserve(&partition->producers);
    if (err) return err;
    uint32_t known;
    int64_t offset = -1;
    switch (producers_check(&partition->producers, ret_batch, &offset, &known)) {
        case PRODUCER_GAP: return ERR_CONFLICT;
        case PRODUCER_DUPLICATE:
            append->duplicate = true;
            append->base_offset = offset;
            return ERR_OK;
        case PRODUCER_OVERLAP:
            err = trim(partition->log, append, ret_batch, known);
            if (err) return err;
            break;
        case PRODUCER_NEW: break;
    }
    *ret_write = true;
    return ERR_OK;
}

/* A part of a run: what goes into one segment, maybe with several writes, and is taken back as a whole. */
struct piece {
    struct log_partition *partition;
    struct group *group;
    int64_t first_offset;
    uint64_t first_position;
    int64_t segment_time_ms; /* and the indexes and producers, as they were before it */
    struct index_mark indexes;
    uint32_t producer_count;
    uint64_t part_bytes; /* in log->parts, not written yet */
    uint32_t part_count;
};

static enum err write_parts(struct piece *piece) {
    struct log_partition *partition = piece->partition;
    struct log *log = partition->log;
    if (piece->part_count == 0) return ERR_OK;
    partition->unsynced = true;
    phase_begin(PHASE_APPEND);
    enum err err = log->sys->disk_ops->write(partition->file, partition->position - piece->part_bytes, log->parts,
                                             piece->part_count);
    phase_end(PHASE_APPEND);
    piece->part_count = 0;
    piece->part_bytes = 0;
    return err;
}

/* The number of a group is where the last sync ended: several pieces of one segment may share it. */
static void place(struct piece *piece, struct log_append *append, struct record_batch *batch) {
    struct log_partition *partition = piece->partition;
    append->base_offset = batch->base_offset = partition->next_offset;
    record_batch_place(append->batch, append->base_offset,
                       (int32_t)(partition->synced_offset & INT32_MAX) ^ partition->tag);
    index_writer_add(&partition->indexes, batch, partition->position);
    if (partition->segment_time_ms == 0) partition->segment_time_ms = batch->base_timestamp_ms;
    partition->log->parts[piece->part_count++] = slice_of(append->batch, append->batch_bytes);
    piece->part_bytes += append->batch_bytes;
    partition->position += append->batch_bytes;
    partition->next_offset += batch->last_offset_delta + 1;
}

/* Whether the run goes on in a new segment: the batch does not fit, Kafka's index could not count that far, the topic's
 * time asks for it, or somebody (compaction). */
static bool must_roll(const struct log_partition *partition, const struct log_append *append) {
    if (partition->file == NULL || partition->position == 0) return false;
    if (atomic_load_explicit(&partition->roll_wanted, memory_order_relaxed)) return true;
    if (partition->position + append->batch_bytes > partition->log->options.segment_bytes) return true;
    if (partition->next_offset - partition->segment_base > INT32_MAX - 16 * 1024 * 1024) return true;
    struct record_batch batch;
    if (record_batch_parse_header(slice_of(append->batch, append->batch_bytes), &batch) != ERR_OK) return false;
    int64_t retention = partition->topic->options.retention_ms;
    int64_t most = retention > 0 && retention / 4 < WEEK_MS ? retention / 4 : WEEK_MS;
    return partition->segment_time_ms > 0 && batch.base_timestamp_ms - partition->segment_time_ms > most;
}

/* Bytes of the run's appends that go into the present segment. */
static uint64_t piece_bytes(const struct log_partition *partition, const struct log_append *append) {
    uint64_t size = 0;
    for (; append != NULL; append = append->next) {
        if (size > 0 && partition->position + size + append->batch_bytes > partition->log->options.segment_bytes) break;
        size += append->batch_bytes;
    }
    return size;
}

static struct piece begin_piece(struct log_partition *partition, struct group *group) {
    const struct producers *producers = &partition->producers;
    if (producers->count > 0)
        memcpy(partition->log->producers_before, producers->entries, producers->count * sizeof *producers->entries);
    return (struct piece){.partition = partition,
                          .group = group,
                          .first_offset = partition->next_offset,
                          .first_position = partition->position,
                          .segment_time_ms = partition->segment_time_ms,
                          .indexes = index_writer_mark(&partition->indexes),
                          .producer_count = producers->count};
}

/* Whether the append's answer rests on what the piece wrote. A duplicate of nobody knows where may repeat a part of it. */
static bool is_of_piece(const struct piece *piece, const struct log_append *append) {
    if (append->err) return false;
    return append->base_offset >= piece->first_offset || append->base_offset < 0;
}

/* Puts the partition back to where the piece began, after a disk that was full in spite of the preallocation. What it wrote
 * is cut off, and the group's sync makes that last before anybody is answered: nothing of it may come back. */
static enum err undo_piece(struct piece *piece, struct log_append *first, const struct log_append *end, enum err err) {
    struct log_partition *partition = piece->partition;
    for (struct log_append *append = first; append != end; append = append->next) {
        if (!is_of_piece(piece, append)) continue;
        append->base_offset = -1;
        append->duplicate = false;
        append->err = err;
    }
    partition->next_offset = piece->first_offset;
    partition->position = partition->allocated = piece->first_position;
    partition->segment_time_ms = piece->segment_time_ms;
    index_writer_back(&partition->indexes, piece->indexes);
    partition->producers.count = piece->producer_count;
    if (piece->producer_count > 0)
        memcpy(partition->producers.entries, partition->log->producers_before,
               piece->producer_count * sizeof(struct producer));
    err = partition->log->sys->disk_ops->truncate(partition->file, piece->first_position);
    return err ? ERR_IO : ERR_OK; /* What stays behind the end could be taken for a group: that is final. */
}

/* Writes from the front of the run what fits the segment; *ret_rest is what does not. */
static enum err write_piece(struct log_partition *partition, struct group *group, struct log_append **ret_rest) {
    struct piece piece = begin_piece(partition, group);
    uint64_t size = piece_bytes(partition, partition->run_head), taken = 0;
    struct log_append *append = partition->run_head, *first = append;
    enum err err = ERR_OK;
    for (; append != NULL && taken < size && !err; append = append->next) {
        taken += append->batch_bytes;
        struct record_batch batch;
        bool write = false;
        append->err = judge(partition, append, &batch, &write);
        note_gap(append, append->err);
        if (!write) continue;
        place(&piece, append, &batch);
        err = producers_note(&partition->producers, &batch);
        assert(err == ERR_OK); /* It has its memory since `judge`. */
        if (piece.part_count == LOG_PARTS_MAX) err = write_parts(&piece);
    }
    if (!err) err = write_parts(&piece);
    if (!err)
        atomic_fetch_add_explicit(&partition->written_bytes, partition->position - piece.first_position,
                                  memory_order_relaxed);
    if (err_class(err) == ERR_CLASS_RESOURCE) err = undo_piece(&piece, first, append, err);
    *ret_rest = append;
    return err;
}

/* Moves the finished front of the run to the group's done list, each with its own result. */
static void finish_front(struct log_partition *partition, struct group *group, const struct log_append *rest) {
    struct log_append *append = partition->run_head;
    while (append != rest) {
        struct log_append *next = append->next;
        group_done(group, append, append->err);
        append = next;
    }
    partition->run_head = append;
}

/* What lacks resources (a full disk, no descriptor for a new segment) ends here: it is the answer of the appends that it
 * hit, and the next may do better. Anything else is final. */
static enum err write_run(struct log_partition *partition, struct group *group) {
    enum err err = ERR_OK;
    while (partition->run_head != NULL && !err) {
        if (must_roll(partition, partition->run_head)) err = segment_roll(partition);
        if (!err) err = segment_make_room(partition, piece_bytes(partition, partition->run_head));
        struct log_append *rest = NULL;
        if (!err) err = write_piece(partition, group, &rest);
        if (!err) finish_front(partition, group, rest);
    }
    group_done_all(group, partition->run_head, err);
    partition->run_head = NULL;
    if (partition->indexes.pending_count >= LOG_INDEX_PENDING / 2)
        index_writer_flush(&partition->indexes, partition->log->sys);
    return err_class(err) == ERR_CLASS_RESOURCE ? ERR_OK : err;
}

/* --- groups --- */

static enum err sync_group(struct group *group) {
    for (struct log_partition *p = group->dirty_head; p != NULL; p = p->next_dirty) {
        enum err err = partition_sync(p);
        if (err) return err;
    }
    return ERR_OK;
}

static void count_group(struct log *log, const struct group *group) {
    uint64_t appends = 0, records = 0, bytes = 0;
    for (const struct log_append *append = group->done_head; append != NULL; append = append->next) {
        appends++;
        if (append->err || append->duplicate) continue;
        records += append->record_count;
        bytes += append->batch_bytes;
    }
    atomic_fetch_add_explicit(&log->appends, appends, memory_order_relaxed);
    atomic_fetch_add_explicit(&log->records, records, memory_order_relaxed);
    atomic_fetch_add_explicit(&log->bytes, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&log->groups, 1, memory_order_relaxed);
}

static uint32_t call_done(struct group *group) {
    uint32_t count = 0;
    struct log_append *append = group->done_head;
    group->done_head = NULL;
    for (; append != NULL; count++) {
        struct log_append *next = append->next; /* `done` may free the append. */
        append->done(append);
        append = next;
    }
    return count;
}

static void publish_group(struct group *group) {
    for (struct log_partition *p = group->dirty_head; p != NULL; p = p->next_dirty) partition_publish(p);
}

/* Nothing of the group was acknowledged; what is on the disk of it, nobody knows. */
static void fail_group(struct log *log, struct group *group, enum err err) {
    atomic_store(&log->failed, (int)err);
    for (struct log_partition *p = group->dirty_head; p != NULL; p = p->next_dirty) {
        group_done_all(group, p->run_head, err);
        p->run_head = NULL;
    }
    for (struct log_append *append = group->done_head; append != NULL; append = append->next)
        if (append->err == ERR_OK) append->err = err;
}

/* The planted bugs of the order: both use what is written but not synced. */
static void plant_early(struct group *group, uint32_t *answered) {
    if (PLANTED(PLANT_ANSWER_BEFORE_SYNC)) *answered += call_done(group);
    if (!PLANTED(PLANT_FOLD_BEFORE_SYNC)) return;
    for (struct log_partition *p = group->dirty_head; p != NULL; p = p->next_dirty) {
        segments_set_last(p, p->position);
        atomic_store(&p->end_offset, p->next_offset);
        for (uint32_t i = 0; i < p->bell_count; i++) sys_bell_ring(p->bells[i]);
    }
}

static enum err commit_group(struct log *log, struct group *group, uint32_t *answered) {
    enum err err = ERR_OK;
    for (struct log_partition *p = group->dirty_head; p != NULL && !err; p = p->next_dirty) err = write_run(p, group);
    if (!err) plant_early(group, answered);
    if (!err) err = sync_group(group);
    if (err) {
        fail_group(log, group, err);
        return err;
    }
    publish_group(group);
    return ERR_OK;
}

/* Nothing to commit: the durable end of one partition is recorded, so that a crash later finds it there. */
static enum err record_one(struct log *log) {
    if (!log->unrecorded) return ERR_OK;
    for (uint32_t i = 0; i < log->topic_count; i++) {
        struct topic *topic = log->topics[i];
        for (uint32_t j = 0; !topic->deleted && j < topic->options.partition_count; j++) {
            struct log_partition *p = topic->partitions[j];
            if (atomic_load(&p->damaged) || p->recorded.end_offset == p->synced_offset) continue;
            index_writer_flush(&p->indexes, log->sys);
            enum err err = durable_end_record(p, 0, 0);
            log->crowded = err_class(err) == ERR_CLASS_RESOURCE;
            return log->crowded ? ERR_OK : err; /* The next idle moment may find room. */
        }
    }
    log->unrecorded = false;
    return ERR_OK;
}

static enum err final_err(enum err err) { return err_class(err) == ERR_CLASS_IO ? err : ERR_IO; }

/* One group, or nothing; `idle` allows to record durable ends if there is nothing. */
static enum err step(struct log *log, bool idle, uint32_t *ret_appends) {
    struct group group = {.dirty_tail = &group.dirty_head, .done_tail = &group.done_head};
    uint32_t answered = 0;
    pthread_mutex_lock(&log->commit);
    take_inbox(log);
    form_group(log, &group);
    enum err err = (enum err)atomic_load(&log->failed);
    if (err) {
        fail_group(log, &group, err);
    } else if (group.bytes > 0) {
        err = commit_group(log, &group, &answered);
        count_group(log, &group);
        arena_clear(&log->arena);
    } else if (idle) {
        err = record_one(log);
        if (err) atomic_store(&log->failed, (int)(err = final_err(err)));
    }
    pthread_mutex_unlock(&log->commit);
    answered += call_done(&group);
    *ret_appends = answered;
    return err ? final_err(err) : ERR_OK;
}

enum err log_step(struct log *log, uint32_t *ret_appends) { return step(log, true, ret_appends); }

enum err commit_all(struct log *log) {
    for (;;) {
        uint32_t appends;
        enum err err = step(log, false, &appends);
        if (err && appends == 0) return err;
        if (appends == 0) return ERR_OK;
    }
}

static void *committer(void *argument) {
    struct log *log = argument;
    bool idle = false;
    sys_thread_take_turns();
    while (!atomic_load(&log->stopping)) {
        uint32_t appends;
        enum err err = step(log, idle, &appends);
        if (appends > 0) {
            idle = false;
            continue;
        }
        if (idle && !err && log->unrecorded && !log->crowded) continue;
        int64_t before = sys_monotonic_ns(log->sys);
        const int64_t wait_ms = log->unrecorded && !err ? LOG_IDLE_MS : -1;
        sys_bell_wait(&log->bell, log->holding ? HOLD_LOOK_MS : wait_ms);
        idle = sys_monotonic_ns(log->sys) - before >= (LOG_IDLE_MS - 1) * 1000000LL;
    }
    return NULL;
}

enum err log_start(struct log *log, struct diag *diag) {
    assert(log->thread == NULL && !log->options.read_only && log->sys->thread_start != NULL);
    enum err err = log->sys->thread_start(log->sys->context, "log-commit", committer, log, &log->thread);
    return err ? diag_set(diag, err, "cannot start the log's thread") : ERR_OK;
}

struct waiting {
    struct sys_bell bell;
    _Atomic bool done;
};

static void waiting_done(struct log_append *append) {
    struct waiting *waiting = append->context;
    atomic_store(&waiting->done, true);
    sys_bell_ring(&waiting->bell);
}

enum err log_append_wait(struct log *log, struct log_append *append) {
    struct waiting waiting = {0};
    append->done = waiting_done;
    append->context = &waiting;
    log_submit(log, append);
    do { /* With a thread, the first look at `done` is after its ring: before, it may still be about to touch the bell. */
        uint32_t appends;
        if (log->thread != NULL)
            sys_bell_wait(&waiting.bell, -1);
        else if (step(log, false, &appends) != ERR_OK && appends == 0)
            break;
    } while (!atomic_load(&waiting.done));
    return append->err;
}

uint64_t log_written_bytes(const struct log_partition *partition) {
    return atomic_load_explicit(&partition->written_bytes, memory_order_relaxed);
}

void log_set_limit(struct log_partition *partition, uint64_t bytes) {
    atomic_store_explicit(&partition->limit_bytes, bytes, memory_order_relaxed);
    sys_bell_ring(&partition->log->bell);
}

enum err log_failure(const struct log *log) {
    enum err err = (enum err)atomic_load(&log->failed);
    return err ? final_err(err) : ERR_OK;
}

void log_stats(const struct log *log, struct log_stats *ret_stats) {
    ret_stats->appends = atomic_load_explicit(&log->appends, memory_order_relaxed);
    ret_stats->records = atomic_load_explicit(&log->records, memory_order_relaxed);
    ret_stats->bytes = atomic_load_explicit(&log->bytes, memory_order_relaxed);
    ret_stats->groups = atomic_load_explicit(&log->groups, memory_order_relaxed);
    ret_stats->syncs = atomic_load_explicit(&log->syncs, memory_order_relaxed);
    ret_stats->sync_ns_total = atomic_load_explicit(&log->sync_ns_total, memory_order_relaxed);
    ret_stats->sync_ns_max = atomic_load_explicit(&log->sync_ns_max, memory_order_relaxed);
}
