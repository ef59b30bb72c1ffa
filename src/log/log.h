/* The log: topics of partitions of record batches. An acknowledged append is on disk (rule 1 of the design).
 *
 * Owner and threads: one process writes a log at a time (a lock file says which). Inside it any thread submits appends;
 * one committer (`log_step`, on its own thread after `log_start`, or stepped by a simulation) takes whatever arrived
 * while the last group was syncing, at most `group_bytes`, writes it to the partitions' segments, syncs each dirty file
 * once, and only then moves the durable end, wakes the readers and calls the completions. Readers see nothing above the
 * durable end. Readers in other processes open the log read-only.
 *
 * The embedded backend's files, validity rule and recovery rule stand in log/embedded/format.h. */
#ifndef LOG_LOG_H
#define LOG_LOG_H

#include "codec/record_batch.h"
#include "sys/sys.h"

enum { LOG_TOPIC_NAME_MAX = 249, LOG_PARTITIONS_MAX = 1024, LOG_TOPICS_MAX = 4096 };

struct log;
struct log_partition;

struct log_options {
    const struct sys *sys;
    const char *folder;     /* e.g. data/wick/log */
    uint64_t segment_bytes; /* preallocated size of a segment; 0: 256 MiB */
    uint32_t group_bytes;   /* at most this much in one commit group; 0: 512 KiB */
    uint64_t reserve_bytes; /* free space kept for checkpoints; appends answer ERR_NO_SPACE below it; 0: 64 MiB */
    bool read_only;         /* shares the folder with a writer in another process */
    /* What follows is for tests; 0 means what is said. */
    uint64_t allocate_bytes; /* first piece preallocated to a segment, doubled up to 64 times that: 256 KiB */
    uint64_t record_bytes;   /* how much may be written before a durable end is recorded again: 8 MiB */
};

/* Recovers every partition. One that is damaged by rot opens for reading only: its appends answer ERR_CORRUPT, and
 * log_partition_damage says what, where, and how to go on; that is no error of log_open. ERR_LOCKED, ERR_FOREIGN (files of
 * another log among ours), ERR_CORRUPT (identity or a topic file), ERR_NOT_FOUND (read_only and no log there), ERR_IO. */
enum err log_open(const struct log_options *options, struct diag *diag, struct log **ret_log) MUST_USE;
/* Clean close: commits what is queued, cuts preallocated tails, records the durable ends. */
void log_close(struct log **log);
/* Random, made with the folder; checkpoints carry it so that mixed folders are refused. */
void log_identity(const struct log *log, uint8_t ret_id[static 16]);

/* --- topics --- */

struct log_topic_options {
    uint32_t partition_count; /* 0: 1; never changes */
    bool compacted;           /* keeps the newest record of each key */
    int64_t retention_ms;     /* by append time; 0: for ever */
    uint64_t retention_bytes; /* 0: no limit */
    enum record_codec codec;  /* what producers of this topic are asked to use */
};

struct log_topic_info {
    const char *name;
    struct log_topic_options options;
};

/* Names are Kafka's: [a-zA-Z0-9._-]{1,249}, not "." or "..". ERR_EXISTS leaves the topic as it is. Durable on return. */
enum err log_topic_create(struct log *log, const char *name, const struct log_topic_options *options,
                          struct diag *diag) MUST_USE;
/* Another time than the topic was made with, from here on and as long as the log is open: it is the caller's configuration. */
enum err log_topic_set_retention(struct log *log, const char *name, int64_t retention_ms) MUST_USE;
enum err log_topic_delete(struct log *log, const char *name, struct diag *diag) MUST_USE;
enum err log_topic_visit(struct log *log, enum err (*visit)(void *context, const struct log_topic_info *info),
                         void *context) MUST_USE;
/* The handle lives until log_close. ERR_NOT_FOUND. */
enum err log_partition_find(struct log *log, const char *topic, uint32_t partition,
                            struct log_partition **ret_partition) MUST_USE;
const char *log_partition_topic(const struct log_partition *partition);
uint32_t log_partition_index(const struct log_partition *partition);
/* Where Kafka's default partitioner puts a key; a null key goes to partition 0. */
uint32_t log_partition_for_key(struct slice key, uint32_t partition_count);

/* --- appending --- */

/* One batch on its way; the caller embeds it and keeps it and the batch's bytes alive until `done`. */
struct log_append {
    struct log_partition *partition;
    uint8_t *batch; /* finished by record_batch_end; the log writes base offset and leader epoch into it */
    uint32_t batch_bytes;
    uint32_t record_count;
    /* Called once, by the committer, after the sync (or failure); must not block. */
    void (*done)(struct log_append *append);
    void *context;
    /* NULL, or shared by appends that follow one another: the first that fails sets it, and those behind find it set and
     * fail too, ERR_CONFLICT, so that nothing is written behind a gap. Cleared by their owner, with none on its way. */
    _Atomic bool *gap;
    /* results */
    int64_t base_offset; /* of the original where `duplicate`; -1 if it is too long ago to be known */
    bool duplicate;      /* this producer id and sequence are in the log already: nothing was written. Of a batch
                            whose first records are there already, only the others are written: `batch` then is changed */
    /* ERR_NO_SPACE, ERR_NO_MEMORY, ERR_BUSY (try again later); ERR_CORRUPT (the partition is read-only); ERR_SYNC, ERR_IO (final for
     * the process); ERR_CONFLICT (a gap, or one in the producer's sequence); ERR_SYNTAX (not one whole batch of `record_count`
     * records); ERR_LIMIT (as many segments as a partition may have); ERR_CLOSED (the log, or the topic is deleted). */
    enum err err;
    struct log_append *next; /* the log's */
};

/* Any thread; never blocks, never calls `done` itself. */
void log_submit(struct log *log, struct log_append *append);
/* For the command line and tests: submits and waits (steps the committer itself if it has no thread). */
enum err log_append_wait(struct log *log, struct log_append *append) MUST_USE;

/* Written to the partition since the log was opened. */
uint64_t log_written_bytes(const struct log_partition *partition);
/* Once so much is written, what is submitted to the partition waits; whatever waits when nothing has moved for 5 s is answered
 * ERR_BUSY, until the limit moves. 0, as at first: no limit. So what folds a partition bounds how far it is behind. */
void log_set_limit(struct log_partition *partition, uint64_t bytes);

enum err log_start(struct log *log, struct diag *diag) MUST_USE; /* the committer's thread */
/* One commit group; *ret_appends counts what was completed. ERR_SYNC and ERR_IO are final: every later append fails. */
enum err log_step(struct log *log, uint32_t *ret_appends) MUST_USE;

/* --- reading --- */

int64_t log_start_offset(const struct log_partition *partition);
/* One past the last durable record; a relaxed-cost acquire load, moved only after the sync. */
int64_t log_end_offset(const struct log_partition *partition);
/* Rung whenever the durable end of the partition moves, until log_unwatch. At most 8 bells a partition. */
enum err log_watch(struct log_partition *partition, struct sys_bell *bell) MUST_USE;
void log_unwatch(struct log_partition *partition, struct sys_bell *bell);
/* Read-only logs: looks again for what the writer has synced since. */
enum err log_refresh(struct log *log, struct diag *diag) MUST_USE;

struct log_cursor;
/* Starts at the batch that holds `offset` (or the first behind it). ERR_RANGE below the start or above the end. */
enum err log_cursor_open(struct log_partition *partition, int64_t offset, struct diag *diag,
                         struct log_cursor **ret_cursor) MUST_USE;
void log_cursor_close(struct log_cursor **cursor);
/* The next batch, checked; its bytes live until the next call. ERR_END at the durable end (may be called again later).
 * ERR_CORRUPT: damage, with file and lost offsets in `diag`. ERR_RANGE: retention has dropped what comes next. Behind both the
 * next call goes on. */
enum err log_cursor_next(struct log_cursor *cursor, struct diag *diag, struct record_batch *ret_batch) MUST_USE;
/* The first offset whose append time is at or after `time_ms`; the end if there is none. */
enum err log_offset_for_time(struct log_partition *partition, int64_t time_ms, int64_t *ret_offset) MUST_USE;

/* --- care --- */

/* Called before retention drops a segment: the lowest offset still wanted (tasks, archive, sinks); INT64_MAX: none. */
void log_set_retention_guard(struct log *log, int64_t (*lowest_wanted)(void *context, const struct log_partition *p),
                             void *context);
/* Drops whole closed segments that retention allows. Run by the engine now and then. */
enum err log_retain(struct log *log, int64_t now_ms, struct diag *diag) MUST_USE;
/* For topics whose newest record of a key need not be the one that counts: a writer died before it committed elsewhere what it
 * appended. `fate` says it of one record, by a batch at a time; what a tombstone buries leaves only if a newer one of its key
 * lies below `below`, and tombstones leave a day after their append. */
enum log_fate { LOG_FATE_KEEP, LOG_FATE_DROP, LOG_FATE_BURIED };
struct log_guard {
    enum log_fate (*fate)(void *context, const struct record *record);
    void *context;
    int64_t below;            /* everything from here on stays */
    const _Atomic bool *stop; /* NULL, or ends the work early when set: ERR_OK, and what was done is done */
};
/* Rewrites closed segments of compacted topics, keeping the newest record of each key, or what `guard` (NULL: none; topics of
 * one partition) says, and every offset as it is. One segment at a time: the next open finishes or forgets what a crash cut. */
enum err log_compact(struct log *log, const char *topic, const struct log_guard *guard, struct diag *diag) MUST_USE;
/* Of all its segments, as far as written. */
uint64_t log_partition_bytes(const struct log_partition *partition);

struct log_finding {
    enum { LOG_FINDING_OK, LOG_FINDING_TORN, LOG_FINDING_ROT, LOG_FINDING_INDEX, LOG_FINDING_FOREIGN } kind;
    char topic[LOG_TOPIC_NAME_MAX + 1];
    uint32_t partition;
    char file[320];
    uint64_t position_bytes;
    int64_t first_offset; /* first and last offset lost, -1 where not known */
    int64_t last_offset;
    char text[320];
    char repair[160]; /* the command that goes on from here, or empty */
};

/* The first unrepaired damage of a partition, or LOG_FINDING_OK. */
void log_partition_damage(const struct log_partition *partition, struct log_finding *ret_finding);
/* Its appends answer ERR_CORRUPT, because of that damage. */
bool log_partition_refuses(const struct log_partition *partition);
/* A finding in words: ERR_CORRUPT with file, place and the command that goes on. */
enum err log_finding_diag(const struct log_finding *finding, struct diag *diag) MUST_USE;
/* Reads every byte of every segment and index. Beside a writer in another process all but the end that is being written:
 * what looks damaged is looked at three times, as compaction and retention change files meanwhile. */
enum err log_fsck(const struct log_options *options,
                  enum err (*report)(void *context, const struct log_finding *finding), void *context,
                  struct diag *diag) MUST_USE;
/* Gives up everything from `offset` on (wick fsck --cut); the cut bytes are kept beside the segment as *.cut. */
enum err log_cut(const struct log_options *options, const char *topic, uint32_t partition, int64_t offset,
                 struct diag *diag) MUST_USE;

struct log_stats {
    uint64_t appends, records, bytes, groups, syncs, sync_ns_total, sync_ns_max;
};
void log_stats(const struct log *log, struct log_stats *ret_stats);

/* ERR_OK, or why nothing is written any more until the log is opened again: a failed sync is final. Any thread. */
enum err log_failure(const struct log *log);

#endif
