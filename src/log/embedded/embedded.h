/* The inside of the embedded log, for the files of this folder.
 *
 * Who may touch what. `log.commit` is the right to write: the committer holds it for a group, and whoever changes files
 * otherwise (topics, retention, the last step of compaction) takes it too. What only writers use has no other lock.
 * `partition.lock` guards what readers share with the writer: the list of segments, bells, damage; it is held for a few
 * instructions. `log.lock` guards the table of topics. `log.care` keeps retention and compaction apart. Order: care, commit,
 * log.lock, partition.lock. */
#ifndef LOG_EMBEDDED_EMBEDDED_H
#define LOG_EMBEDDED_EMBEDDED_H

#include <pthread.h>
#include <stdatomic.h>

#include "log/embedded/format.h"

enum {
    LOG_PATH_MAX = 4096,
    LOG_BELLS_MAX = 8,
    LOG_PARTS_MAX = 512,       /* batches in one write */
    LOG_INDEX_INTERVAL = 4096, /* Kafka's index.interval.bytes */
    LOG_INDEX_PENDING = 64,    /* index entries kept back until a write is worth it */
    LOG_HOLD_MS = 5000,        /* appends wait so long at a limit that does not move */
    LOG_IDLE_MS = 250,         /* idle for this long: durable ends are recorded */
    LOG_SEGMENTS_MAX = 1 << 20,
};

/* --- scan.c: batches of one file, front to back --- */

struct scan {
    const struct sys *sys;
    struct sys_file *file;
    uint64_t limit; /* no byte behind is looked at */
    uint8_t *buffer;
    size_t capacity;
    uint64_t held_at; /* the buffer holds [held_at, held_at + held) of the file */
    size_t held;
};

void scan_init(struct scan *scan, const struct sys *sys);
/* Keeps the memory; `file` stays the caller's. */
void scan_start(struct scan *scan, struct sys_file *file, uint64_t limit);
void scan_deinit(struct scan *scan);
/* The batch at `position`: ERR_END where not even its stated length fits below the limit, ERR_CORRUPT, ERR_IO. */
enum err scan_batch(struct scan *scan, uint64_t position, struct record_batch *ret_batch) MUST_USE;
/* The first batch from `position` on, at any byte, whose CRC holds, that the chain's partition owns, and whose base offset is
 * in (after, after + 2^31). ERR_END: none. Bytes that cannot be read count as zeroes. */
struct chain;
enum err scan_find(struct scan *scan, uint64_t position, int64_t after, const struct chain *chain,
                   uint64_t *ret_position, struct record_batch *ret_batch) MUST_USE;
/* Whether [position, limit) holds a byte that is not zero. */
bool scan_dirty(struct scan *scan, uint64_t position);

static inline int64_t batch_end(const struct record_batch *batch) {
    return batch->base_offset + batch->last_offset_delta + 1;
}
/* First offset of the batch's commit group, from the 31 bits that are kept of it. */
static inline int64_t batch_group(const struct record_batch *batch, int32_t tag) {
    uint32_t kept = (uint32_t)(batch->leader_epoch ^ tag);
    return batch->base_offset - (int64_t)(((uint64_t)batch->base_offset - kept) & 0x7fffffff);
}

enum {
    GROUP_ANY = -1, /* in the middle of what is not known */
    GROUP_NEW = -2, /* here a group must begin */
    GROUP_RECORDS_MAX = 1 << 24,
};

/* What the fields outside the CRC must agree with. */
struct chain {
    int64_t expected;  /* next offset */
    int64_t group;     /* of the batch before, or one of these */
    int64_t kafka_end; /* leader epochs below say nothing */
    int32_t tag;       /* of the partition */
    bool gaps;         /* compaction may have been here */
    bool loose;        /* and left the end of a closed segment out */
};
/* At `expected`, in the middle of what is not known. */
struct chain chain_of(const struct log_partition *partition, int64_t expected);
/* The leader epoch of a batch that compaction wrote: a checksum of its base offset, as no neighbour vouches for that. */
int32_t compacted_epoch(int64_t base_offset, int32_t tag);
/* Whether the batch was written for this partition, as far as it says itself. */
bool chain_owns(const struct chain *chain, const struct record_batch *batch);
/* Whether the batch follows; moves the chain on if so. */
bool chain_follow(struct chain *chain, const struct record_batch *batch);

/* --- producers.c: who appended what last --- */

struct producers {
    struct producer *entries; /* most recently used first; NULL before the first */
    uint32_t count;
};

enum producer_verdict { PRODUCER_NEW, PRODUCER_DUPLICATE, PRODUCER_OVERLAP, PRODUCER_GAP };

void producers_deinit(struct producers *producers);
/* What a batch with these fields is to us. DUPLICATE: *ret_offset is where its first record is (-1: no longer known).
 * OVERLAP: its first *ret_known records are here, the others are not. */
enum producer_verdict producers_check(const struct producers *producers, const struct record_batch *batch,
                                      int64_t *ret_offset, uint32_t *ret_known);
enum err producers_reserve(struct producers *producers) MUST_USE; /* after it, producers_note cannot fail */
/* Notes a batch that was placed; forgets the least recently used producer when full. */
enum err producers_note(struct producers *producers, const struct record_batch *batch) MUST_USE;
/* Forgets what was appended at or behind `offset`. */
void producers_cut(struct producers *producers, int64_t offset);
enum err producers_set(struct producers *producers, const struct producer *entries, uint32_t count) MUST_USE;

/* --- index.c: the two hint files of the segment being written, and look-ups in any --- */

struct index_entry {
    uint32_t offset_delta; /* of a batch's last record */
    uint32_t position;
};
struct time_entry {
    int64_t time_ms;
    uint32_t offset_delta;
};

struct index_writer {
    struct sys_file *index;
    struct sys_file *time_index;
    uint64_t index_bytes; /* written so far */
    uint64_t time_index_bytes;
    uint64_t since_entry; /* log bytes since the last entry */
    int64_t base_offset;
    int64_t max_time_ms; /* largest of the segment, and the last offset of the batch that has it */
    int64_t max_time_offset;
    int64_t last_time_ms; /* of the last time entry */
    uint32_t pending_count, time_pending_count;
    struct index_entry pending[LOG_INDEX_PENDING];
    struct time_entry time_pending[LOG_INDEX_PENDING];
};

struct log_partition;

/* Opens or makes the files. `fresh` empties them; otherwise entries from `position` on are dropped. Hints never fail an
 * append: without its files a writer does nothing. */
void index_writer_open(struct index_writer *writer, struct log_partition *partition, int64_t base_offset,
                       uint64_t position, bool fresh);
void index_writer_add(struct index_writer *writer, const struct record_batch *batch, uint64_t position);
/* Where the writer is, and back to it: nothing may have been flushed in between. */
struct index_mark {
    uint64_t since_entry;
    int64_t max_time_ms, max_time_offset, last_time_ms;
    uint32_t pending_count, time_pending_count;
};
struct index_mark index_writer_mark(const struct index_writer *writer);
void index_writer_back(struct index_writer *writer, struct index_mark mark);
/* Writes what is pending. */
void index_writer_flush(struct index_writer *writer, const struct sys *sys);
/* With the segment's last time entry, as Kafka closes its files. */
void index_writer_close(struct index_writer *writer, const struct sys *sys);
/* The largest entry whose batch ends at or below `offset`: a place to scan from. {0, 0} if there is none. Not checked. */
struct index_entry index_lookup(const struct log_partition *partition, int64_t base_offset, int64_t offset);
/* The largest entry with a time below `time_ms`; and the last entry of the file. False if there is none. Not checked. */
bool time_index_lookup(const struct log_partition *partition, int64_t base_offset, int64_t time_ms,
                       struct time_entry *ret_entry);
bool time_index_last(const struct log_partition *partition, int64_t base_offset, struct time_entry *ret_entry);
/* Makes both files anew from a closed segment. */
enum err index_rebuild(struct log_partition *partition, int64_t base_offset, uint64_t bytes) MUST_USE;

/* --- the log --- */

struct segment {
    int64_t base_offset;
    uint64_t bytes;      /* durable; of a closed segment the file's length */
    uint32_t generation; /* raised when compaction puts another file in its place */
};

struct topic {
    char *name;
    struct log_topic_options options;
    struct log_partition **partitions;
    bool deleted;
};

/* Appends go on, wait, or have waited long enough. */
enum limit_verdict { LIMIT_FREE, LIMIT_WAIT, LIMIT_BUSY };

struct log_partition {
    struct log *log;
    struct topic *topic;
    uint32_t index;
    int32_t tag; /* what its batches' leader epochs are marked with */
    char *folder;

    pthread_mutex_t lock;
    struct segment *segments; /* by offset; the last one is written to */
    uint32_t segment_count, segment_capacity;
    struct sys_bell *bells[LOG_BELLS_MAX];
    uint32_t bell_count;
    struct log_finding damage; /* kind OK: none */
    _Atomic bool damaged;      /* no appends */
    _Atomic int64_t start_offset;
    _Atomic int64_t end_offset;
    _Atomic int64_t kafka_end;

    /* the writer's */
    struct sys_file *file; /* of the last segment; NULL until the first append */
    struct sys_file *ends; /* durable-end */
    struct index_writer indexes;
    struct producers producers;
    struct durable_end recorded; /* as it was last written */
    int64_t segment_base;
    int64_t segment_time_ms; /* of the first batch; 0: empty */
    int64_t next_offset;
    uint64_t position;
    uint64_t allocated;
    int64_t synced_offset; /* all below is on disk */
    uint64_t synced_position;
    bool unsynced;
    _Atomic uint64_t written_bytes, limit_bytes; /* since the open; 0: no limit */
    uint64_t held_limit;                         /* at which appends wait, since when; 0: none does */
    int64_t held_since_ns;
    uint64_t limit_group; /* for which the verdict was given */
    enum limit_verdict limit_verdict;
    _Atomic bool roll_wanted;
    struct log_append *run_head, **run_tail; /* of the present group */
    struct log_partition *next_dirty;
};

struct log {
    struct log_options options;
    const struct sys *sys;
    char *folder;
    uint8_t id[FORMAT_ID_BYTES];
    uint32_t version;
    struct sys_file *lock_file;

    pthread_mutex_t care;
    pthread_mutex_t commit;
    pthread_mutex_t lock;
    struct topic **topics; /* by name; deleted ones stay for the sake of handles */
    uint32_t topic_count, topic_capacity;
    int64_t (*lowest_wanted)(void *context, const struct log_partition *p);
    void *guard_context;

    /* appends on their way */
    _Atomic(struct log_append *) inbox; /* newest first */
    struct sys_bell bell;
    struct log_append *pending_head, **pending_tail; /* the committer's, oldest first */
    _Atomic bool holding;                            /* some of them for a partition at its limit */
    uint64_t group_number;                           /* of the last one formed */
    struct sys_thread *thread;
    _Atomic bool stopping;
    _Atomic int failed;      /* enum err; final */
    _Atomic bool unrecorded; /* some partition's durable end moved since it was recorded */
    _Atomic bool crowded;    /* there was no room to record the last one */
    struct slice parts[LOG_PARTS_MAX];
    struct producer producers_before[FORMAT_PRODUCERS_MAX]; /* of the partition, ahead of the piece that is written */
    struct arena arena;                                     /* batches cut to what is new, until the group is done */
    struct scan scan;                                       /* of whoever holds `commit` */

    _Atomic uint64_t appends, records, bytes, groups, syncs, sync_ns_total, sync_ns_max;
};

/* --- files.c: names, small files --- */

enum { LOG_FILE_LOG, LOG_FILE_INDEX, LOG_FILE_TIME_INDEX, LOG_FILE_CLEAN };
void segment_path(const struct log_partition *partition, int64_t base_offset, int kind,
                  char ret_path[static LOG_PATH_MAX]);
/* True and the base for "<20 digits><suffix>". */
bool segment_name(const char *name, const char *suffix, int64_t *ret_base);
enum err partition_sync_folder(struct log_partition *partition) MUST_USE;
uint32_t partition_name_crc(const struct log_partition *partition);
enum err durable_end_make(struct log_partition *partition, struct diag *diag) MUST_USE;
/* The newer valid slot. ERR_NOT_FOUND, ERR_CORRUPT, ERR_FOREIGN (another log's or partition's). */
enum err durable_end_read(struct log_partition *partition, struct durable_end *ret_end, struct producers *producers,
                          struct diag *diag) MUST_USE;
/* Takes the sequence from `recorded`, writes the other slot, syncs, and makes `end` the recorded one. */
enum err durable_end_write(struct log_partition *partition, struct durable_end end) MUST_USE;
/* What is synced now, with a limit that allows `bytes` more (at least the usual distance) to be written. */
enum err durable_end_record(struct log_partition *partition, uint64_t bytes, uint32_t flags) MUST_USE;
enum err topic_file_write(struct log *log, const char *name, const struct topic_file *file, struct diag *diag) MUST_USE;
void partition_set_damage(struct log_partition *partition, const struct log_finding *finding);
/* Names the files and offsets of a finding in `diag`. */
void finding_repair(const struct log_partition *partition, int64_t offset, struct log_finding *finding);

/* --- segments.c: the list that readers share, and growing the last one --- */

enum err segments_add(struct log_partition *partition, int64_t base_offset, uint64_t bytes) MUST_USE;
void segments_set_last(struct log_partition *partition, uint64_t bytes);
/* The segment that holds `offset`, or the first behind; false: none. *ret_next_base: of its successor, or -1. */
bool segments_find(struct log_partition *partition, int64_t offset, struct segment *ret_segment,
                   int64_t *ret_next_base);
/* Room for `size` more bytes at the end of the last segment, made if there is none. */
enum err segment_make_room(struct log_partition *partition, uint64_t size) MUST_USE;
/* Closes the last segment and makes the next at next_offset. */
enum err segment_roll(struct log_partition *partition) MUST_USE;
enum err partition_sync(struct log_partition *partition) MUST_USE;
/* Makes synced data visible to readers. */
void partition_publish(struct log_partition *partition);
/* Cuts the preallocated tail; with `flags` DURABLE_CLEAN in durable-end. */
enum err partition_close_files(struct log_partition *partition) MUST_USE;

/* Removes [from, from + count) of the list. */
void segments_remove(struct log_partition *partition, uint32_t from, uint32_t count);
/* A copy of the list, the caller's to free. */
enum err segments_copy(struct log_partition *partition, struct segment **ret_segments, uint32_t *ret_count) MUST_USE;
/* Unlinks a segment's files; those that are gone are fine. */
enum err segment_unlink(const struct log_partition *partition, int64_t base_offset) MUST_USE;

/* --- cursor.c --- */

/* What the last ERR_CORRUPT of the cursor was about. */
const struct log_finding *cursor_finding(const struct log_cursor *cursor);

/* --- recover.c --- */

/* Finds end, start and damage; repairs what is torn unless the log is read-only. */
enum err partition_recover(struct log_partition *partition, struct diag *diag) MUST_USE;
/* Where the file of the last segment ends and whether there is anything but zeroes behind the last batch. */
enum err partition_tail(struct log_partition *partition, bool *ret_torn) MUST_USE;
/* Read-only: takes what was written since. */
enum err partition_refresh(struct log_partition *partition, struct diag *diag) MUST_USE;

/* --- topics.c --- */

enum err topics_load(struct log *log, struct diag *diag) MUST_USE;
void topics_free(struct log *log);
struct topic *topic_find(struct log *log, const char *name); /* under log.lock; NULL */
bool topic_name_valid(const char *name);
enum err partition_new(struct log *log, struct topic *topic, uint32_t index,
                       struct log_partition **ret_partition) MUST_USE;
void partition_free(struct log_partition *partition);

/* --- commit.c --- */

/* Everything that is queued, without rest. */
enum err commit_all(struct log *log) MUST_USE;

/* --- open.c --- */

void log_free(struct log *log); /* without a clean close */

#endif
