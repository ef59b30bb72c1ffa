/* Kafka's record batch, magic 2: the unit of the log, on disk and on the wire.
 * Source: kafka.apache.org/documentation, "Record Batch" (Kafka 4.x); all integers big-endian.
 *
 *   0  i64  baseOffset              \ outside the CRC: set by the log when the batch gets its place
 *   8  i32  batchLength (from 12 on)|
 *  12  i32  partitionLeaderEpoch    | ours: low 31 bits of the first offset of the commit group (log/embedded/format.h)
 *  16  i8   magic = 2              /
 *  17  u32  crc: CRC-32C of everything from 21 on
 *  21  i16  attributes: bits 0-2 codec (0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd), 3 timestamp type, 4 transactional,
 *           5 control, 6 delete horizon
 *  23  i32  lastOffsetDelta
 *  27  i64  baseTimestamp (ms)     35  i64  maxTimestamp (ms)
 *  43  i64  producerId (-1 none)   51  i16  producerEpoch    53  i32  baseSequence (-1 none)
 *  57  i32  record count           61  records, compressed as one piece when a codec is set
 *
 * A record: varint length; i8 attributes = 0; varint timestampDelta, varint offsetDelta; varint key length (-1 null) and
 * key; varint value length (-1 null) and value; varint header count, then per header key and value alike. */
#ifndef CODEC_RECORD_BATCH_H
#define CODEC_RECORD_BATCH_H

#include "base/arena.h"
#include "base/buf.h"

enum { RECORD_BATCH_HEADER_BYTES = 61, RECORD_BATCH_MAX_BYTES = 16 * 1024 * 1024, RECORD_HEADERS_MAX = 64 };
enum record_codec { RECORD_CODEC_NONE = 0, RECORD_CODEC_GZIP = 1, RECORD_CODEC_LZ4 = 3, RECORD_CODEC_ZSTD = 4 };

struct record_header {
    struct slice key;
    struct slice value; /* data NULL: null */
};

struct record {
    int64_t offset;
    int64_t timestamp_ms; /* append time in our topics */
    struct slice key;     /* data NULL: null */
    struct slice value;   /* data NULL: null, a tombstone in compacted topics */
    const struct record_header *headers;
    uint32_t header_count;
    uint32_t slack_bytes; /* of a record visited: bytes behind the value that may be read */
};

/* --- writing: begin, add.., end; the batch then is buf_slice(&builder->bytes) --- */

struct record_batch_builder {
    struct buf bytes;
    int64_t base_timestamp_ms;
    int64_t max_timestamp_ms;
    int64_t producer_id;
    int32_t base_sequence;
    int16_t producer_epoch;
    uint32_t record_count;
    enum record_codec codec;
    void *compressor; /* zstd's, kept from batch to batch */
    /* Only of a batch begun with record_batch_begin_part. */
    bool part;
    int64_t base_offset;
    int32_t last_offset_delta;
    int32_t leader_epoch;
};

void record_batch_builder_init(struct record_batch_builder *builder);
void record_batch_builder_deinit(struct record_batch_builder *builder);
/* Starts an empty batch; the first record's timestamp becomes the base. Producer defaults to none (-1, -1, -1). */
void record_batch_begin(struct record_batch_builder *builder, enum record_codec codec);
void record_batch_set_producer(struct record_batch_builder *builder, int64_t id, int16_t epoch, int32_t base_sequence);
/* Begins what compaction leaves of `whole`: the same offsets, producer and place; record_batch_add then takes some of its
 * records, in order, and heeds their offsets; none is allowed. */
struct record_batch;
void record_batch_begin_part(struct record_batch_builder *builder, const struct record_batch *whole);
/* `offset` of the record is ignored. ERR_TOO_LARGE when the batch would pass RECORD_BATCH_MAX_BYTES. */
enum err record_batch_add(struct record_batch_builder *builder, const struct record *record) MUST_USE;
/* Compresses (keeping it plain where that is not smaller), fills in header and CRC. An empty batch that is no part is ERR_STATE. */
enum err record_batch_end(struct record_batch_builder *builder) MUST_USE;
/* Gives a finished batch its place; neither field is under the CRC. */
void record_batch_place(uint8_t *batch, int64_t base_offset, int32_t leader_epoch);

/* --- reading --- */

struct record_batch {
    int64_t base_offset;
    int64_t base_timestamp_ms;
    int64_t max_timestamp_ms;
    int64_t producer_id;
    uint32_t size_bytes; /* header included */
    int32_t leader_epoch;
    int32_t last_offset_delta;
    int32_t base_sequence;
    uint32_t record_count;
    int16_t producer_epoch;
    uint16_t attributes;
    enum record_codec codec;
    struct slice payload; /* as stored, maybe compressed */
};

/* Parses the header at the start of `bytes` and checks lengths, magic and CRC. ERR_END: fewer bytes than the header or
 * the length asks for; ERR_CORRUPT: anything else wrong. No byte beyond `bytes` is read. */
enum err record_batch_parse(struct slice bytes, struct record_batch *ret_batch) MUST_USE;

/* The header alone, without the CRC: for looking at batches that were checked before. `payload` stays empty. */
enum err record_batch_parse_header(struct slice bytes, struct record_batch *ret_batch) MUST_USE;

/* Visits the records in order. A control batch (a transaction marker of Kafka's) has none for us. Slices point into
 * `bytes` or, for compressed batches, into `arena`; they live as long as those. Checks that the records fill the payload
 * exactly and that the deltas agree with the header. ERR_CORRUPT; ERR_UNKNOWN for snappy, which we do not have; ERR_LIMIT
 * past RECORD_HEADERS_MAX; ERR_TOO_LARGE where the records unpacked pass 64 MiB or what the arena may hold; what `visit`
 * returns. */
enum err record_batch_visit(const struct record_batch *batch, struct arena *arena,
                            enum err (*visit)(void *context, const struct record *record), void *context) MUST_USE;

/* Castagnoli's CRC; `seed` is 0 or the CRC of what stands before. */
uint32_t crc32c(uint32_t seed, struct slice bytes);
uint32_t crc32c_portable(uint32_t seed, struct slice bytes); /* without the machine's instruction, for tests */
/* Kafka's default partitioner: murmur2 of the key, sign bit cleared. */
uint32_t murmur2(struct slice key);

#endif
