#include <assert.h>

#include "codec/record_compress.h"
#include "codec/record_wire.h"

/* While a batch is compressed its plain form and the packed one stand in the buffer one behind the other. */
enum { BUILDER_MAX_BYTES = 2 * RECORD_BATCH_MAX_BYTES + 1024 * 1024 };

void record_batch_builder_init(struct record_batch_builder *builder) {
    *builder = (struct record_batch_builder){0};
    buf_init(&builder->bytes, BUILDER_MAX_BYTES);
}

void record_batch_builder_deinit(struct record_batch_builder *builder) {
    buf_deinit(&builder->bytes);
    record_compress_free(&builder->compressor);
}

void record_batch_begin(struct record_batch_builder *builder, enum record_codec codec) {
    buf_clear(&builder->bytes);
    uint8_t *header = buf_reserve(&builder->bytes, RECORD_BATCH_HEADER_BYTES);
    if (header != NULL) buf_commit(&builder->bytes, RECORD_BATCH_HEADER_BYTES);
    builder->base_timestamp_ms = 0;
    builder->max_timestamp_ms = 0;
    builder->producer_id = -1;
    builder->producer_epoch = -1;
    builder->base_sequence = -1;
    builder->record_count = 0;
    builder->codec = codec;
    builder->part = false;
}

void record_batch_begin_part(struct record_batch_builder *builder, const struct record_batch *whole) {
    record_batch_begin(builder, whole->codec);
    builder->producer_id = whole->producer_id;
    builder->producer_epoch = whole->producer_epoch;
    builder->base_sequence = whole->base_sequence;
    builder->base_timestamp_ms = builder->max_timestamp_ms = whole->max_timestamp_ms;
    builder->part = true;
    builder->base_offset = whole->base_offset;
    builder->last_offset_delta = whole->last_offset_delta;
    builder->leader_epoch = whole->leader_epoch;
}

void record_batch_set_producer(struct record_batch_builder *builder, int64_t id, int16_t epoch, int32_t base_sequence) {
    assert(id >= 0 && base_sequence >= 0);
    builder->producer_id = id;
    builder->producer_epoch = epoch;
    builder->base_sequence = base_sequence;
}

static uint64_t nullable_size(struct slice bytes) {
    return bytes.data == NULL ? 1 : wire_varint_size((int64_t)bytes.size) + bytes.size;
}

static uint8_t *put_nullable(uint8_t *at, struct slice bytes) {
    if (bytes.data == NULL) return wire_put_varint(at, -1);
    at = wire_put_varint(at, (int64_t)bytes.size);
    if (bytes.size > 0) memcpy(at, bytes.data, bytes.size);
    return at + bytes.size;
}

static uint64_t body_size(const struct record *record, int64_t time_delta, int64_t offset_delta) {
    uint64_t size = 1u + wire_varint_size(time_delta) + wire_varint_size(offset_delta) + nullable_size(record->key) +
                    nullable_size(record->value) + wire_varint_size(record->header_count);
    for (uint32_t i = 0; i < record->header_count; i++)
        size += wire_varint_size((int64_t)record->headers[i].key.size) + record->headers[i].key.size +
                nullable_size(record->headers[i].value);
    return size;
}

static void put_record(uint8_t *at, const struct record *record, uint64_t body, int64_t time_delta,
                       int64_t offset_delta) {
    at = wire_put_varint(at, (int64_t)body);
    const uint8_t *end = at + body;
    *at++ = 0;
    at = wire_put_varint(at, time_delta);
    at = wire_put_varint(at, offset_delta);
    at = put_nullable(at, record->key);
    at = put_nullable(at, record->value);
    at = wire_put_varint(at, record->header_count);
    for (uint32_t i = 0; i < record->header_count; i++) {
        struct slice key = record->headers[i].key;
        at = put_nullable(at, key.data == NULL ? SLICE("") : key);
        at = put_nullable(at, record->headers[i].value);
    }
    assert(at == end);
    (void)end;
}

enum err record_batch_add(struct record_batch_builder *builder, const struct record *record) {
    assert(record->header_count <= RECORD_HEADERS_MAX);
    if (builder->record_count == 0) builder->base_timestamp_ms = builder->max_timestamp_ms = record->timestamp_ms;
    int64_t time_delta;
    if (__builtin_sub_overflow(record->timestamp_ms, builder->base_timestamp_ms, &time_delta)) return ERR_RANGE;
    int64_t offset_delta = builder->part ? record->offset - builder->base_offset : builder->record_count;
    uint64_t body = body_size(record, time_delta, offset_delta);
    uint64_t size = body + wire_varint_size((int64_t)body);
    if (builder->bytes.size + size > RECORD_BATCH_MAX_BYTES) return ERR_TOO_LARGE;
    uint8_t *at = buf_reserve(&builder->bytes, size);
    if (at == NULL) return buf_err(&builder->bytes);
    put_record(at, record, body, time_delta, offset_delta);
    buf_commit(&builder->bytes, size);
    if (record->timestamp_ms > builder->max_timestamp_ms) builder->max_timestamp_ms = record->timestamp_ms;
    builder->record_count++;
    return ERR_OK;
}

/* Replaces the plain records by their packed form if that is smaller. */
static enum err compress_records(struct record_batch_builder *builder, bool *ret_packed) {
    struct buf *bytes = &builder->bytes;
    size_t plain_size = bytes->size - RECORD_BATCH_HEADER_BYTES;
    size_t bound = record_compress_bound(builder->codec, plain_size);
    uint8_t *to = buf_reserve(bytes, bound);
    if (to == NULL) return buf_err(bytes);
    struct slice plain = slice_of(bytes->data + RECORD_BATCH_HEADER_BYTES, plain_size);
    size_t size;
    enum err err = record_compress(builder->codec, plain, &builder->compressor, to, bound, &size);
    if (err) return err;
    *ret_packed = size < plain_size;
    if (!*ret_packed) return ERR_OK;
    memmove(bytes->data + RECORD_BATCH_HEADER_BYTES, to, size);
    bytes->size = RECORD_BATCH_HEADER_BYTES + size;
    return ERR_OK;
}

enum err record_batch_end(struct record_batch_builder *builder) {
    if (builder->record_count == 0 && !builder->part) return ERR_STATE;
    bool packed = false;
    if (builder->codec != RECORD_CODEC_NONE && builder->record_count > 0) {
        enum err err = compress_records(builder, &packed);
        if (err) return err;
    }
    uint8_t *header = builder->bytes.data;
    uint32_t size = (uint32_t)builder->bytes.size;
    wire_put32(header + AT_BATCH_LENGTH, size - AT_LEADER_EPOCH);
    header[AT_MAGIC] = 2;
    wire_put16(header + AT_ATTRIBUTES, packed ? (uint16_t)builder->codec : 0);
    uint32_t last = builder->part ? (uint32_t)builder->last_offset_delta : builder->record_count - 1;
    wire_put32(header + AT_LAST_OFFSET_DELTA, last);
    wire_put64(header + AT_BASE_TIMESTAMP, (uint64_t)builder->base_timestamp_ms);
    wire_put64(header + AT_MAX_TIMESTAMP, (uint64_t)builder->max_timestamp_ms);
    wire_put64(header + AT_PRODUCER_ID, (uint64_t)builder->producer_id);
    wire_put16(header + AT_PRODUCER_EPOCH, (uint16_t)builder->producer_epoch);
    wire_put32(header + AT_BASE_SEQUENCE, (uint32_t)builder->base_sequence);
    wire_put32(header + AT_RECORD_COUNT, builder->record_count);
    wire_put32(header + AT_CRC, crc32c(0, slice_of(header + AT_ATTRIBUTES, size - AT_ATTRIBUTES)));
    record_batch_place(header, builder->part ? builder->base_offset : 0, builder->part ? builder->leader_epoch : 0);
    return ERR_OK;
}

void record_batch_place(uint8_t *batch, int64_t base_offset, int32_t leader_epoch) {
    wire_put64(batch + AT_BASE_OFFSET, (uint64_t)base_offset);
    wire_put32(batch + AT_LEADER_EPOCH, (uint32_t)leader_epoch);
}
