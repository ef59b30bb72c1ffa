#include "base/plant.h"
#include "codec/record_compress.h"
#include "codec/record_wire.h"

enum err record_batch_parse_header(struct slice bytes, struct record_batch *ret_batch) {
    if (bytes.size < RECORD_BATCH_HEADER_BYTES) return ERR_END;
    const uint8_t *at = bytes.data;
    uint32_t length = wire_get32(at + AT_BATCH_LENGTH);
    if (at[AT_MAGIC] != 2 || length < RECORD_BATCH_HEADER_BYTES - AT_LEADER_EPOCH ||
        length > RECORD_BATCH_MAX_BYTES - AT_LEADER_EPOCH)
        return ERR_CORRUPT;
    uint16_t attributes = wire_get16(at + AT_ATTRIBUTES);
    struct record_batch batch = {
        .base_offset = (int64_t)wire_get64(at + AT_BASE_OFFSET),
        .base_timestamp_ms = (int64_t)wire_get64(at + AT_BASE_TIMESTAMP),
        .max_timestamp_ms = (int64_t)wire_get64(at + AT_MAX_TIMESTAMP),
        .producer_id = (int64_t)wire_get64(at + AT_PRODUCER_ID),
        .size_bytes = length + AT_LEADER_EPOCH,
        .leader_epoch = (int32_t)wire_get32(at + AT_LEADER_EPOCH),
        .last_offset_delta = (int32_t)wire_get32(at + AT_LAST_OFFSET_DELTA),
        .base_sequence = (int32_t)wire_get32(at + AT_BASE_SEQUENCE),
        .record_count = wire_get32(at + AT_RECORD_COUNT),
        .producer_epoch = (int16_t)wire_get16(at + AT_PRODUCER_EPOCH),
        .attributes = attributes,
        .codec = (enum record_codec)(attributes & ATTRIBUTE_CODEC),
    };
    if (batch.base_offset < 0 || batch.last_offset_delta < 0 ||
        batch.base_offset > INT64_MAX - batch.last_offset_delta - 1 ||
        batch.record_count > (uint32_t)batch.last_offset_delta + 1)
        return ERR_CORRUPT;
    *ret_batch = batch;
    return ERR_OK;
}

enum err record_batch_parse(struct slice bytes, struct record_batch *ret_batch) {
    struct record_batch batch;
    enum err err = record_batch_parse_header(bytes, &batch);
    if (err) return err;
    if (bytes.size < batch.size_bytes) return ERR_END;
    struct slice covered = slice_of(bytes.data + AT_ATTRIBUTES, batch.size_bytes - AT_ATTRIBUTES);
    if (!PLANTED(PLANT_NO_CHECKSUM) && crc32c(0, covered) != wire_get32(bytes.data + AT_CRC)) return ERR_CORRUPT;
    batch.payload = slice_of(bytes.data + RECORD_BATCH_HEADER_BYTES, batch.size_bytes - RECORD_BATCH_HEADER_BYTES);
    *ret_batch = batch;
    return ERR_OK;
}

/* What is left of the payload. A failed take sets `bad` and leaves nothing, so a record is read as a list of fields. */
struct take {
    const uint8_t *at;
    const uint8_t *end;
    bool bad;
};

static inline int64_t take_varint(struct take *take) {
    if (__builtin_expect(take->at < take->end && *take->at < 0x80, 1)) {
        uint8_t byte = *take->at++;
        return (int64_t)(byte >> 1) ^ -(int64_t)(byte & 1);
    }
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && take->at < take->end; shift += 7) {
        uint8_t byte = *take->at++;
        if (shift == 63 && byte > 1) break;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
    }
    take->bad = true;
    take->at = take->end;
    return 0;
}

static inline struct slice take_bytes(struct take *take, bool nullable) {
    int64_t size = take_varint(take);
    if (size == -1 && nullable) return SLICE_NONE;
    if (size < 0 || size > take->end - take->at) {
        take->bad = true;
        take->at = take->end;
        return SLICE_NONE;
    }
    struct slice bytes = slice_of(take->at, (size_t)size);
    take->at += size;
    return bytes;
}

struct visiting {
    const struct record_batch *batch;
    int64_t last_delta; /* -1 before the first record */
    struct record_header headers[RECORD_HEADERS_MAX];
};

static enum err take_headers(struct visiting *v, struct take *body, struct record *record) {
    int64_t count = take_varint(body);
    if (body->bad || count < 0) return ERR_CORRUPT;
    if (count > RECORD_HEADERS_MAX) return ERR_LIMIT;
    for (int64_t i = 0; i < count; i++) {
        v->headers[i].key = take_bytes(body, false);
        v->headers[i].value = take_bytes(body, true);
    }
    record->headers = v->headers;
    record->header_count = (uint32_t)count;
    return ERR_OK;
}

static enum err take_record(struct visiting *v, struct take *take, struct record *ret_record) {
    const struct record_batch *batch = v->batch;
    struct slice bytes = take_bytes(take, false);
    if (take->bad || bytes.size == 0) return ERR_CORRUPT;
    struct take body = {bytes.data + 1, bytes.data + bytes.size, false}; /* past the attributes, which say nothing */
    int64_t time_delta = take_varint(&body);
    int64_t offset_delta = take_varint(&body);
    struct record record = {0};
    record.key = take_bytes(&body, true);
    record.value = take_bytes(&body, true);
    enum err err = take_headers(v, &body, &record);
    if (err) return err;
    if (body.bad || body.at != body.end) return ERR_CORRUPT;
    if (offset_delta <= v->last_delta || offset_delta > batch->last_offset_delta) return ERR_CORRUPT;
    v->last_delta = offset_delta;
    if (record.value.data != NULL) record.slack_bytes = (uint32_t)(take->end - record.value.data - record.value.size);
    record.offset = batch->base_offset + offset_delta;
    if (__builtin_add_overflow(batch->base_timestamp_ms, time_delta, &record.timestamp_ms)) return ERR_CORRUPT;
    if (batch->attributes & ATTRIBUTE_APPEND_TIME) record.timestamp_ms = batch->max_timestamp_ms;
    *ret_record = record;
    return ERR_OK;
}

enum err record_batch_visit(const struct record_batch *batch, struct arena *arena,
                            enum err (*visit)(void *context, const struct record *record), void *context) {
    struct slice plain = batch->payload;
    if (batch->attributes & ATTRIBUTE_CONTROL) return ERR_OK;
    if (batch->codec != RECORD_CODEC_NONE) {
        enum err err = record_decompress(batch->codec, batch->payload, arena, &plain);
        if (err) return err;
    }
    struct take take = {plain.data, plain.data + plain.size, false};
    struct visiting visiting;
    visiting.batch = batch;
    visiting.last_delta = -1;
    for (uint32_t i = 0; i < batch->record_count; i++) {
        struct record record;
        enum err err = take_record(&visiting, &take, &record);
        if (!err) err = visit(context, &record);
        if (err) return err;
    }
    return take.at == take.end ? ERR_OK : ERR_CORRUPT;
}
