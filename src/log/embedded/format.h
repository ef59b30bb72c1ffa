/* The files of the embedded log. Integers are little-endian unless said; every checksum is CRC-32C.
 *
 *   <log>/lock                     flock: exclusive while a process may write
 *   <log>/identity                 who this log is
 *   <log>/<topic>-0/topic          a topic's options; the topic exists if this says "live"
 *   <log>/<topic>-<p>/durable-end  two slots: how far the partition is known to be on disk, and its producers
 *   <log>/<topic>-<p>/<base>.log        a segment: Kafka's record batches, 20 digits of its first offset
 *   <log>/<topic>-<p>/<base>.index      hint: offset to position (Kafka's format)
 *   <log>/<topic>-<p>/<base>.timeindex  hint: time to offset (Kafka's format)
 *   <log>/<topic>-<p>/<base>.log.clean  a segment being rewritten by compaction; without an intent it is litter
 *   <log>/<topic>-<p>/<..>.cut          what `log_cut` gave up; never read again
 *
 * identity (64 bytes): 0 "wicklog1" | 8 u32 version = 2 | 12 u8[16] id | 28 zeroes | 60 u32 CRC of 0..59. Written once,
 * before anything else. Topic files and durable-end carry the id: a folder that was mixed from two logs is refused.
 * Version 1 had no tags, and compacted segments that may end early; such logs are read and go on as they are.
 *
 * topic (replaced whole): 0 "wicktop1" | 8 u8[16] log id | 24 u32 state (1 making, 2 live, 3 deleting) | 28 u32 partitions |
 * 32 u32 flags (1 compacted) | 36 u32 codec | 40 i64 retention ms | 48 u64 retention bytes | 56 u32 CRC of 0..55.
 * A topic that is being made or deleted when the process dies is swept away by the next writer.
 *
 * durable-end: two slots of 8192 bytes, written in turn, each synced before the other is touched, so that a crash harms
 * at most one. The valid slot with the higher sequence counts; if the other is not valid, its `limit` does not. Both invalid
 * is damage, not a crash.
 *
 *   0  "wickend1"            8  u8[16] log id       24  u32 CRC of "<topic>-<p>"   28  u32 flags (1 clean, 2 cut)
 *  32  u64 sequence         40  i64 durable end    48  i64 segment               56  u64 position
 *  64  u64 limit            72  i64 log start      80  i64 kafka end             88  i64 swap from     96  i64 swap to
 * 104  u32 producer count  108  u32 CRC of the slot's used bytes without this field
 * 512  producers, 64 bytes each: i64 id | i32 last sequence | i16 epoch | u16 history count |
 *      3 * { i64 base offset | i32 base sequence | i32 record count }
 *
 * What it says: every record below `durable end` is on disk; the batch at `durable end` would start in segment `segment` at
 * byte `position`; and nothing was ever written to that segment at or behind byte `limit`, nor to any later segment, since
 * this slot was written. The writer renews and syncs it before it breaks that promise: on every roll, every 8 MiB, when it
 * has been idle for a moment, and on clean close.
 *
 * --- Validity ---
 *
 * A batch counts if its CRC holds and what the CRC does not cover agrees with its neighbours: its base offset follows the
 * batch before, and its leader epoch, the low 31 bits of the first offset of its commit group, is that of the batch before
 * or of its own base offset. Compaction leaves offsets out: a batch that it wrote has as leader epoch the low 31 bits of the
 * CRC-32C of its base offset (8 bytes). Both are exclusive-ored with the partition's tag, the low 31 bits of the CRC-32C of
 * "<topic>-<p>" and the log's id: what a disk put into the wrong file is told by it. A closed segment ends at the offset
 * where the next begins even where compaction was: an empty batch stands for last offsets that were left out, so that a file
 * cut short is missed. (Below `kafka end` the segments were written by Kafka, and its leader epochs say nothing to us.) Index
 * files are hints: an entry counts only if the batch it points to says the same; otherwise the segment is read from its start.
 *
 * --- Recovery ---
 *
 * Only the bytes from `position` to `limit` are read again: at most 8 MiB and one group for each partition (nothing after a
 * clean close). If there is anything in the 64 KiB behind `limit`, a newer slot was lost by the disk, and all the rest of the
 * segment is read. Older bytes were synced; they are checked whenever they are read, and by fsck. Batches are taken from
 * `position` on for as long as they count. At the first that does not, at offset x, the rest up to `limit` is searched for
 * batches whose CRC holds:
 *
 *   - One of them belongs to a group that began after x: that group was begun after x was synced, so the damage is ROT.
 *     Nothing is changed. The partition refuses appends and names file, position and offsets; reads go on around the damage;
 *     `log_cut` (wick fsck --cut) gives up what is behind it.
 *   - Otherwise it is TORN: the last group, of which nothing was acknowledged. The file is cut there, and synced.
 *
 * Rot is also: a file shorter than `position`, a segment missing, and anything that does not count in a segment that has a
 * successor (a roll syncs a segment before it makes the next). Rot that later reads find below `position` is reported by
 * those reads; the partition goes on taking appends, as its end is sound.
 *
 * The window that this leaves: rot that reaches from somewhere behind `position` to the very end, groups acknowledged since
 * the slot was last written, before anything else is written behind it, looks torn. Checkpoints are the second witness: one beyond the log's end is damage. A record
 * whose value holds a whole batch with a well-chosen offset can make a torn group look like rot; then nothing is lost, but a
 * person has to run the cut.
 *
 * The disk is trusted to harm only bytes that were written since the last sync (SQLite's powersafe overwrite), and to sync
 * when it says so.
 *
 * --- Order of writes ---
 *
 * Append: preallocate, renew the slot if `limit` is near, write, fdatasync, and only then move the end and answer.
 * Roll: sync the old segment; make, preallocate and sync the new file; sync the folder; cut the old file's preallocated tail
 * and sync it; write the slot. A file may so have a tail of zeroes and a successor: that is allowed. A roll that fails for want
 * of space leaves the old segment in use; should a crash bring the new file back, it is empty, and its base is not the old
 * one's end: recovery removes it.
 * Retention: slot with the new `log start`, then unlink. Segments wholly below `log start` are litter.
 * Compaction: write and sync <from>.log.clean; slot with `swap from`, `swap to`; rename it over <from>.log, unlink every
 * other segment with swap from < base < swap to; sync the folder; slot without. Recovery does the last part again.
 * Cut: slot with flag 2, then truncate, and rename later segments to *.cut. Recovery does the last part again, and then
 * writes both slots, so that the decision cannot come back. */
#ifndef LOG_EMBEDDED_FORMAT_H
#define LOG_EMBEDDED_FORMAT_H

#include "log/log.h"

enum {
    FORMAT_VERSION = 2,
    FORMAT_ID_BYTES = 16,
    FORMAT_IDENTITY_BYTES = 64,
    FORMAT_TOPIC_BYTES = 60,
    FORMAT_SLOT_BYTES = 8192,
    FORMAT_SLOT_HEADER_BYTES = 512,
    FORMAT_PRODUCER_BYTES = 64,
    FORMAT_PRODUCERS_MAX = (FORMAT_SLOT_BYTES - FORMAT_SLOT_HEADER_BYTES) / FORMAT_PRODUCER_BYTES,
    FORMAT_HISTORY = 3,
    FORMAT_INDEX_ENTRY_BYTES = 8,      /* big-endian: u32 last offset of a batch - base | u32 position of the batch */
    FORMAT_TIME_INDEX_ENTRY_BYTES = 12 /* big-endian: i64 largest time so far | u32 last offset of its batch - base */
};

enum topic_state { TOPIC_MAKING = 1, TOPIC_LIVE = 2, TOPIC_DELETING = 3 };

struct topic_file {
    uint8_t log_id[FORMAT_ID_BYTES];
    enum topic_state state;
    struct log_topic_options options;
};

/* One batch that a producer appended. */
struct producer_batch {
    int64_t base_offset;
    int32_t base_sequence;
    uint32_t record_count;
};

struct producer {
    int64_t id;
    int32_t last_sequence;
    int16_t epoch;
    uint16_t history_count;
    struct producer_batch history[FORMAT_HISTORY]; /* newest first */
};

enum { DURABLE_CLEAN = 1, DURABLE_CUT = 2 };

/* A slot of durable-end without its producers. */
struct durable_end {
    uint8_t log_id[FORMAT_ID_BYTES];
    uint32_t name_crc;
    uint32_t flags;
    uint64_t sequence;
    int64_t end_offset;
    int64_t segment;
    uint64_t position;
    uint64_t limit;
    int64_t start_offset;
    int64_t kafka_end;
    int64_t swap_from; /* swap_from == swap_to: no swap */
    int64_t swap_to;
};

void format_identity_write(const uint8_t id[static FORMAT_ID_BYTES], uint8_t ret_bytes[static FORMAT_IDENTITY_BYTES]);
enum err format_identity_read(struct slice bytes, uint8_t ret_id[static FORMAT_ID_BYTES],
                              uint32_t *ret_version) MUST_USE;
void format_topic_write(const struct topic_file *topic, uint8_t ret_bytes[static FORMAT_TOPIC_BYTES]);
enum err format_topic_read(struct slice bytes, struct topic_file *ret_topic) MUST_USE;
/* Returns how many bytes of the slot are used, a multiple of 512. */
uint32_t format_slot_write(const struct durable_end *end, const struct producer *producers, uint32_t producer_count,
                           uint8_t ret_bytes[static FORMAT_SLOT_BYTES]);
enum err format_slot_read(struct slice bytes, struct durable_end *ret_end, struct producer *ret_producers,
                          uint32_t *ret_producer_count) MUST_USE;

#endif
