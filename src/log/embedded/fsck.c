#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/embedded/embedded.h"

enum { ARENA_MAX_BYTES = 128 * 1024 * 1024, COPY_BYTES = 1024 * 1024, LOOKS = 3 };

struct checking {
    struct log *log;
    enum err (*report)(void *context, const struct log_finding *finding);
    void *context;
    struct log_partition *partition;
    struct arena arena;
    uint32_t found;
    bool written;   /* another process writes to the log meanwhile */
    bool rehearsal; /* findings are counted, not told */
};

static enum err tell(struct checking *c, const struct log_finding *finding) {
    if (finding->kind != LOG_FINDING_OK) c->found++;
    return c->rehearsal ? ERR_OK : c->report(c->context, finding);
}

static struct log_finding finding_of(const struct log_partition *partition, int kind, int64_t base_offset,
                                     const char *suffix) {
    struct log_finding finding = {.partition = partition->index, .first_offset = -1, .last_offset = -1};
    finding.kind = (unsigned)kind;
    snprintf(finding.topic, sizeof finding.topic, "%s", partition->topic->name);
    const char *folder = strrchr(partition->folder, '/');
    snprintf(finding.file, sizeof finding.file, "%s/%020lld%s", folder == NULL ? partition->folder : folder + 1,
             (long long)base_offset, suffix);
    return finding;
}

static enum err ignore(void *context, const struct record *record) {
    (void)context;
    (void)record;
    return ERR_OK;
}

static bool same_place(const struct log_finding *a, const struct log_finding *b) {
    return a->position_bytes == b->position_bytes && strcmp(a->file, b->file) == 0;
}

/* Every batch and every record in it. */
static enum err check_records(struct checking *c, const struct log_finding *known, uint64_t *ret_batches) {
    struct log_partition *partition = c->partition;
    struct log_cursor *cursor;
    enum err err = log_cursor_open(partition, log_start_offset(partition), NULL, &cursor);
    if (err) return err;
    *ret_batches = 0;
    for (;;) {
        struct record_batch batch;
        err = log_cursor_next(cursor, NULL, &batch);
        if (err == ERR_CORRUPT) {
            const struct log_finding *finding = cursor_finding(cursor);
            err = same_place(finding, known) ? ERR_OK : tell(c, finding);
            if (err) break;
            continue;
        }
        if (err == ERR_RANGE) continue; /* dropped beside us */
        if (err) break;
        ++*ret_batches;
        arena_clear(&c->arena);
        err = record_batch_visit(&batch, &c->arena, ignore, NULL);
        if (err == ERR_OK || err == ERR_UNKNOWN) continue;
        struct log_finding finding = finding_of(partition, LOG_FINDING_ROT, batch.base_offset, " (offset)");
        finding.first_offset = batch.base_offset;
        finding.last_offset = batch_end(&batch) - 1;
        snprintf(finding.text, sizeof finding.text, "the batch's checksum holds but its records cannot be read: %s",
                 err_message(err));
        if ((err = tell(c, &finding)) != ERR_OK) break;
    }
    log_cursor_close(&cursor);
    return err == ERR_END ? ERR_OK : err;
}

/* Every entry of an offset index must point to the batch that it names. */
static enum err check_index(struct checking *c, const struct segment *segment) {
    const struct sys *sys = c->log->sys;
    char path[LOG_PATH_MAX];
    segment_path(c->partition, segment->base_offset, LOG_FILE_INDEX, path);
    uint8_t *bytes;
    size_t size;
    if (sys_read_file(sys, path, 1 << 26, NULL, &bytes, &size) != ERR_OK) return ERR_OK; /* A hint may be missing. */
    segment_path(c->partition, segment->base_offset, LOG_FILE_LOG, path);
    struct sys_file *file;
    enum err err = sys->disk_ops->open(sys->disk, path, SYS_READ, NULL, &file);
    struct scan scan;
    scan_init(&scan, sys);
    if (!err) scan_start(&scan, file, segment->bytes);
    uint64_t wrong = 0, first_wrong = 0;
    for (size_t at = 0; !err && at + FORMAT_INDEX_ENTRY_BYTES <= size; at += FORMAT_INDEX_ENTRY_BYTES) {
        struct reader r = reader_of(slice_of(bytes + at, FORMAT_INDEX_ENTRY_BYTES));
        uint32_t delta = reader_be32(&r), position = reader_be32(&r);
        struct record_batch batch;
        if (scan_batch(&scan, position, &batch) == ERR_OK && batch_end(&batch) - 1 - segment->base_offset == delta)
            continue;
        if (wrong++ == 0) first_wrong = at;
    }
    scan_deinit(&scan);
    if (!err) sys->disk_ops->close(sys->disk, &file);
    free(bytes);
    if (err || wrong == 0) return err;
    struct log_finding finding = finding_of(c->partition, LOG_FINDING_INDEX, segment->base_offset, ".index");
    finding.position_bytes = first_wrong;
    snprintf(finding.text, sizeof finding.text,
             "%llu entries do not agree with the segment; nothing is lost, as entries are checked before use",
             (unsigned long long)wrong);
    return tell(c, &finding);
}

static enum err check_tail(struct checking *c) {
    bool torn;
    enum err err = partition_tail(c->partition, &torn);
    if (err || !torn) return err;
    const struct log_partition *p = c->partition;
    struct log_finding finding = finding_of(p, LOG_FINDING_TORN, p->segments[p->segment_count - 1].base_offset, ".log");
    finding.position_bytes = p->position;
    finding.first_offset = p->next_offset;
    snprintf(finding.text, sizeof finding.text,
             "an append that was never acknowledged was cut short by a crash; the next start removes it");
    return tell(c, &finding);
}

/* The end of a log that is being written is torn by nature, and its last index ahead of what we know to be durable. */
static enum err look(struct checking *c, uint64_t *ret_batches) {
    struct log_partition *partition = c->partition;
    struct log_finding known;
    log_partition_damage(partition, &known);
    enum err err = known.kind != LOG_FINDING_OK ? tell(c, &known) : ERR_OK;
    if (!err) err = check_records(c, &known, ret_batches);
    for (uint32_t i = 0; i + c->written < partition->segment_count && !err; i++)
        err = check_index(c, &partition->segments[i]);
    if (!err && known.kind == LOG_FINDING_OK && !c->written) err = check_tail(c);
    return err;
}

/* Retention and compaction change files under us: what they did is not seen a second time, damage is. True: all is well. */
static bool look_again(struct checking *c, uint64_t *ret_batches) {
    const uint32_t before = c->found;
    bool fine = false;
    c->rehearsal = true;
    for (int i = 0; i < LOOKS && !fine; i++) {
        fine = look(c, ret_batches) == ERR_OK && c->found == before;
        c->found = before;
        if (!fine && log_refresh(c->log, NULL) != ERR_OK) break;
    }
    c->rehearsal = false;
    return fine;
}

static enum err check_partition(struct checking *c) {
    const uint32_t before = c->found;
    uint64_t batches = 0;
    if (!c->written || !look_again(c, &batches)) {
        enum err err = look(c, &batches);
        if (err || c->found != before) return err;
    }
    struct log_finding fine = finding_of(c->partition, LOG_FINDING_OK, 0, "");
    fine.file[0] = '\0';
    fine.first_offset = log_start_offset(c->partition);
    fine.last_offset = log_end_offset(c->partition) - 1;
    snprintf(fine.text, sizeof fine.text, "%llu batches", (unsigned long long)batches);
    return tell(c, &fine);
}

/* Nobody may begin to write while we look; ERR_LOCKED: somebody does already. */
static enum err hold_lock(const struct log_options *options, struct diag *diag, struct sys_file **ret_file) {
    const struct sys *sys = options->sys;
    char path[LOG_PATH_MAX];
    snprintf(path, sizeof path, "%s/lock", options->folder);
    struct sys_file *file;
    enum err err = sys->disk_ops->open(sys->disk, path, SYS_WRITE, NULL, &file);
    if (err == ERR_NOT_FOUND || err == ERR_DENIED) return ERR_OK; /* a copy, or another's log */
    if (err) return diag_set(diag, err, "cannot open the lock file");
    err = sys->disk_ops->lock(file, SYS_LOCK_EXCLUSIVE);
    if (err) {
        sys->disk_ops->close(sys->disk, &file);
        return err;
    }
    *ret_file = file;
    return ERR_OK;
}

static enum err check_all(struct checking *c) {
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < c->log->topic_count && !err; i++) {
        struct topic *topic = c->log->topics[i];
        for (uint32_t j = 0; j < topic->options.partition_count && !err; j++) {
            c->partition = topic->partitions[j];
            err = check_partition(c);
        }
    }
    return err;
}

enum err log_fsck(const struct log_options *options,
                  enum err (*report)(void *context, const struct log_finding *finding), void *context,
                  struct diag *diag) {
    struct sys_file *lock = NULL;
    enum err err = hold_lock(options, diag, &lock);
    if (err && err != ERR_LOCKED) return err;
    struct log_options reading = *options;
    reading.read_only = true;
    struct checking c = {.report = report, .context = context, .written = err == ERR_LOCKED};
    struct diag own = {0};
    err = log_open(&reading, &own, &c.log);
    if (err == ERR_OK) {
        arena_init(&c.arena, ARENA_MAX_BYTES);
        err = check_all(&c);
        arena_deinit(&c.arena);
        log_close(&c.log);
    } else if (err_class(err) == ERR_CLASS_CORRUPT) {
        struct log_finding finding = {.kind = LOG_FINDING_FOREIGN, .first_offset = -1, .last_offset = -1};
        snprintf(finding.file, sizeof finding.file, "%s", own.where);
        snprintf(finding.text, sizeof finding.text, "%.300s", own.what);
        err = report(context, &finding);
    } else if (diag != NULL) {
        *diag = own;
    }
    options->sys->disk_ops->close(options->sys->disk, &lock);
    return err;
}

/* --- cut --- */

struct cut {
    struct log_partition *partition;
    int64_t offset;
    struct segment segment;
    struct sys_file *file;
    uint64_t position;
    uint64_t size;
};

/* The place in the segment where the batch of `offset` starts, or where it would if it were not damaged. */
static enum err find_cut(struct cut *cut, struct diag *diag) {
    struct scan scan;
    scan_init(&scan, cut->partition->log->sys);
    scan_start(&scan, cut->file, cut->size);
    int64_t expected = cut->segment.base_offset;
    const struct chain chain = chain_of(cut->partition, expected);
    enum err err = ERR_OK;
    while (expected < cut->offset) {
        struct record_batch batch;
        uint64_t at = cut->position;
        err = scan_batch(&scan, at, &batch);
        if (err == ERR_NO_MEMORY) break;
        if (err || batch.base_offset < expected) err = scan_find(&scan, at + 1, expected - 1, &chain, &at, &batch);
        if (err || batch.base_offset >= cut->offset) {
            err = ERR_OK; /* What is between is damaged, or was left out. */
            break;
        }
        if (batch_end(&batch) > cut->offset) {
            err = diag_set(diag, ERR_RANGE, "offset %lld is inside a batch; cut at %lld or at %lld",
                           (long long)cut->offset, (long long)batch.base_offset, (long long)batch_end(&batch));
            break;
        }
        cut->position = at + batch.size_bytes;
        expected = batch_end(&batch);
    }
    scan_deinit(&scan);
    return err;
}

/* A file of its own for what is cut, beside the segment. */
static enum err open_aside(const struct cut *cut, struct sys_file **ret_file) {
    const struct sys *sys = cut->partition->log->sys;
    for (unsigned i = 0; i < 1000; i++) {
        char path[LOG_PATH_MAX];
        int n = snprintf(path, sizeof path, "%s/%020lld-%u.cut", cut->partition->folder, (long long)cut->offset, i);
        assert(n > 0 && n < (int)sizeof path);
        enum err err = sys->disk_ops->open(sys->disk, path, SYS_WRITE | SYS_CREATE | SYS_EXCLUSIVE, NULL, ret_file);
        if (err != ERR_EXISTS) return err;
    }
    return ERR_LIMIT;
}

static enum err keep_aside(const struct cut *cut) {
    const struct sys *sys = cut->partition->log->sys;
    if (cut->position >= cut->size) return ERR_OK;
    struct sys_file *aside;
    enum err err = open_aside(cut, &aside);
    uint8_t *piece = malloc(COPY_BYTES);
    if (!err && piece == NULL) err = ERR_NO_MEMORY;
    for (uint64_t at = cut->position; !err && at < cut->size;) {
        size_t want = cut->size - at < COPY_BYTES ? (size_t)(cut->size - at) : COPY_BYTES, got = 0;
        err = sys->disk_ops->read(cut->file, at, piece, want, &got);
        if (!err && got == 0) break;
        struct slice part = slice_of(piece, got);
        if (!err) err = sys->disk_ops->write(aside, at - cut->position, &part, 1);
        at += got;
    }
    if (!err) err = sys->disk_ops->sync(aside);
    free(piece);
    if (!err) sys->disk_ops->close(sys->disk, &aside);
    return err ? err : partition_sync_folder(cut->partition);
}

/* After this slot the cut is decided; recovery does what is left. */
static enum err decide_cut(const struct cut *cut, struct diag *diag) {
    struct log_partition *partition = cut->partition;
    producers_cut(&partition->producers, cut->offset);
    struct durable_end end = partition->recorded;
    end.flags = DURABLE_CUT;
    end.end_offset = cut->offset;
    end.segment = cut->segment.base_offset;
    end.position = end.limit = cut->position;
    if (end.start_offset > cut->offset) end.start_offset = cut->offset;
    if (partition->segment_count > 0 && end.start_offset < partition->segments[0].base_offset)
        end.start_offset = partition->segments[0].base_offset; /* What is missing before is given up too. */
    if (end.kafka_end > cut->offset) end.kafka_end = cut->offset;
    end.swap_from = end.swap_to = 0;
    if (partition->ends != NULL && partition->recorded.sequence > 0) return durable_end_write(partition, end);
    partition->recorded = end;
    return durable_end_make(partition, diag);
}

static enum err cut_partition(struct log_partition *partition, int64_t offset, struct diag *diag) {
    const struct sys *sys = partition->log->sys;
    struct cut cut = {.partition = partition, .offset = offset};
    int64_t next_base;
    if (offset < log_start_offset(partition) || offset > log_end_offset(partition) ||
        !segments_find(partition, offset, &cut.segment, &next_base) || offset < cut.segment.base_offset)
        return diag_set(diag, ERR_RANGE, "there is no offset %lld to cut at", (long long)offset);
    char path[LOG_PATH_MAX];
    segment_path(partition, cut.segment.base_offset, LOG_FILE_LOG, path);
    enum err err = sys->disk_ops->open(sys->disk, path, SYS_READ, diag, &cut.file);
    if (err) return err;
    err = sys->disk_ops->size(cut.file, &cut.size);
    if (!err) err = find_cut(&cut, diag);
    if (!err) err = keep_aside(&cut);
    sys->disk_ops->close(sys->disk, &cut.file);
    if (!err) err = decide_cut(&cut, diag);
    if (err && err != ERR_RANGE) diag_set(diag, err, "cannot cut: %s", err_message(err));
    return err;
}

enum err log_cut(const struct log_options *options, const char *topic, uint32_t index, int64_t offset,
                 struct diag *diag) {
    struct log_options writing = *options;
    writing.read_only = false;
    struct log *log;
    enum err err = log_open(&writing, diag, &log);
    if (err) return err;
    struct log_partition *partition;
    err = log_partition_find(log, topic, index, &partition);
    if (err)
        diag_set(diag, err, "there is no partition %s/%u", topic, index);
    else
        err = cut_partition(partition, offset, diag);
    log_free(log);
    if (err) return err;
    err = log_open(&writing, diag, &log);
    if (!err) log_close(&log);
    return err;
}
