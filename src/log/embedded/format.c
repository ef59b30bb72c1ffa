#include "log/embedded/format.h"

#include <assert.h>

static_assert(FORMAT_PRODUCERS_MAX == 120, "a slot is full with 120 producers");
static_assert(FORMAT_PRODUCER_BYTES == 16 + FORMAT_HISTORY * 16, "a producer's bytes");

enum { SLOT_CRC_AT = 108, FLAG_COMPACTED = 1 };

/* A buffer over memory of the caller; it never grows, as the formats have fixed sizes. */
static struct buf over(uint8_t *bytes, size_t size) {
    memset(bytes, 0, size);
    return (struct buf){.data = bytes, .capacity = size, .max_size = size};
}

void format_identity_write(const uint8_t id[static FORMAT_ID_BYTES], uint8_t ret_bytes[static FORMAT_IDENTITY_BYTES]) {
    struct buf buf = over(ret_bytes, FORMAT_IDENTITY_BYTES);
    buf_put(&buf, SLICE("wicklog1"));
    buf_put_le32(&buf, FORMAT_VERSION);
    buf_put(&buf, slice_of(id, FORMAT_ID_BYTES));
    buf.size = FORMAT_IDENTITY_BYTES - 4;
    buf_put_le32(&buf, crc32c(0, buf_slice(&buf)));
    assert(buf_err(&buf) == ERR_OK && buf.data == ret_bytes);
}

enum err format_identity_read(struct slice bytes, uint8_t ret_id[static FORMAT_ID_BYTES], uint32_t *ret_version) {
    if (bytes.size != FORMAT_IDENTITY_BYTES) return ERR_CORRUPT;
    struct reader crc = reader_of(slice_of(bytes.data + FORMAT_IDENTITY_BYTES - 4, 4));
    if (reader_le32(&crc) != crc32c(0, slice_of(bytes.data, FORMAT_IDENTITY_BYTES - 4))) return ERR_CORRUPT;
    struct reader r = reader_of(bytes);
    if (!slice_equal(reader_take(&r, 8), SLICE("wicklog1"))) return ERR_FOREIGN;
    uint32_t version = reader_le32(&r);
    if (version < 1 || version > FORMAT_VERSION) return ERR_FOREIGN;
    memcpy(ret_id, reader_take(&r, FORMAT_ID_BYTES).data, FORMAT_ID_BYTES);
    *ret_version = version;
    return ERR_OK;
}

void format_topic_write(const struct topic_file *topic, uint8_t ret_bytes[static FORMAT_TOPIC_BYTES]) {
    struct buf buf = over(ret_bytes, FORMAT_TOPIC_BYTES);
    buf_put(&buf, SLICE("wicktop1"));
    buf_put(&buf, slice_of(topic->log_id, FORMAT_ID_BYTES));
    buf_put_le32(&buf, topic->state);
    buf_put_le32(&buf, topic->options.partition_count);
    buf_put_le32(&buf, topic->options.compacted ? FLAG_COMPACTED : 0);
    buf_put_le32(&buf, topic->options.codec);
    buf_put_le64(&buf, (uint64_t)topic->options.retention_ms);
    buf_put_le64(&buf, topic->options.retention_bytes);
    buf_put_le32(&buf, crc32c(0, buf_slice(&buf)));
    assert(buf_err(&buf) == ERR_OK && buf.size == FORMAT_TOPIC_BYTES && buf.data == ret_bytes);
}

enum err format_topic_read(struct slice bytes, struct topic_file *ret_topic) {
    if (bytes.size != FORMAT_TOPIC_BYTES) return ERR_CORRUPT;
    struct reader r = reader_of(bytes);
    struct topic_file topic = {0};
    bool ours = slice_equal(reader_take(&r, 8), SLICE("wicktop1"));
    memcpy(topic.log_id, reader_take(&r, FORMAT_ID_BYTES).data, FORMAT_ID_BYTES);
    topic.state = (enum topic_state)reader_le32(&r);
    topic.options.partition_count = reader_le32(&r);
    topic.options.compacted = (reader_le32(&r) & FLAG_COMPACTED) != 0;
    topic.options.codec = (enum record_codec)reader_le32(&r);
    topic.options.retention_ms = (int64_t)reader_le64(&r);
    topic.options.retention_bytes = reader_le64(&r);
    if (reader_le32(&r) != crc32c(0, slice_of(bytes.data, FORMAT_TOPIC_BYTES - 4))) return ERR_CORRUPT;
    if (!ours) return ERR_FOREIGN;
    if (topic.state < TOPIC_MAKING || topic.state > TOPIC_DELETING || topic.options.partition_count == 0 ||
        topic.options.partition_count > LOG_PARTITIONS_MAX)
        return ERR_CORRUPT;
    *ret_topic = topic;
    return ERR_OK;
}

static void put_producer(struct buf *buf, const struct producer *producer) {
    buf_put_le64(buf, (uint64_t)producer->id);
    buf_put_le32(buf, (uint32_t)producer->last_sequence);
    buf_put_le16(buf, (uint16_t)producer->epoch);
    buf_put_le16(buf, producer->history_count);
    for (unsigned i = 0; i < FORMAT_HISTORY; i++) {
        buf_put_le64(buf, (uint64_t)producer->history[i].base_offset);
        buf_put_le32(buf, (uint32_t)producer->history[i].base_sequence);
        buf_put_le32(buf, producer->history[i].record_count);
    }
}

static struct producer take_producer(struct reader *r) {
    struct producer producer = {.id = (int64_t)reader_le64(r)};
    producer.last_sequence = (int32_t)reader_le32(r);
    producer.epoch = (int16_t)reader_le16(r);
    producer.history_count = reader_le16(r);
    for (unsigned i = 0; i < FORMAT_HISTORY; i++) {
        producer.history[i].base_offset = (int64_t)reader_le64(r);
        producer.history[i].base_sequence = (int32_t)reader_le32(r);
        producer.history[i].record_count = reader_le32(r);
    }
    return producer;
}

/* The field itself does not count. */
static uint32_t slot_crc(const uint8_t *slot, uint32_t used) {
    uint32_t crc = crc32c(0, slice_of(slot, SLOT_CRC_AT));
    return crc32c(crc, slice_of(slot + SLOT_CRC_AT + 4, used - SLOT_CRC_AT - 4));
}

static uint32_t slot_used(uint32_t producer_count) {
    return FORMAT_SLOT_HEADER_BYTES + (producer_count * FORMAT_PRODUCER_BYTES + 511) / 512 * 512;
}

uint32_t format_slot_write(const struct durable_end *end, const struct producer *producers, uint32_t producer_count,
                           uint8_t ret_bytes[static FORMAT_SLOT_BYTES]) {
    assert(producer_count <= FORMAT_PRODUCERS_MAX);
    uint32_t used = slot_used(producer_count);
    struct buf buf = over(ret_bytes, used);
    buf_put(&buf, SLICE("wickend1"));
    buf_put(&buf, slice_of(end->log_id, FORMAT_ID_BYTES));
    buf_put_le32(&buf, end->name_crc);
    buf_put_le32(&buf, end->flags);
    buf_put_le64(&buf, end->sequence);
    buf_put_le64(&buf, (uint64_t)end->end_offset);
    buf_put_le64(&buf, (uint64_t)end->segment);
    buf_put_le64(&buf, end->position);
    buf_put_le64(&buf, end->limit);
    buf_put_le64(&buf, (uint64_t)end->start_offset);
    buf_put_le64(&buf, (uint64_t)end->kafka_end);
    buf_put_le64(&buf, (uint64_t)end->swap_from);
    buf_put_le64(&buf, (uint64_t)end->swap_to);
    buf_put_le32(&buf, producer_count);
    assert(buf.size == SLOT_CRC_AT);
    buf.size = FORMAT_SLOT_HEADER_BYTES;
    for (uint32_t i = 0; i < producer_count; i++) put_producer(&buf, &producers[i]);
    buf.size = SLOT_CRC_AT;
    buf_put_le32(&buf, slot_crc(ret_bytes, used));
    assert(buf_err(&buf) == ERR_OK && buf.data == ret_bytes);
    return used;
}

enum err format_slot_read(struct slice bytes, struct durable_end *ret_end, struct producer *ret_producers,
                          uint32_t *ret_producer_count) {
    if (bytes.size < FORMAT_SLOT_HEADER_BYTES) return ERR_CORRUPT;
    struct reader r = reader_of(bytes);
    struct durable_end end = {0};
    bool ours = slice_equal(reader_take(&r, 8), SLICE("wickend1"));
    memcpy(end.log_id, reader_take(&r, FORMAT_ID_BYTES).data, FORMAT_ID_BYTES);
    end.name_crc = reader_le32(&r);
    end.flags = reader_le32(&r);
    end.sequence = reader_le64(&r);
    end.end_offset = (int64_t)reader_le64(&r);
    end.segment = (int64_t)reader_le64(&r);
    end.position = reader_le64(&r);
    end.limit = reader_le64(&r);
    end.start_offset = (int64_t)reader_le64(&r);
    end.kafka_end = (int64_t)reader_le64(&r);
    end.swap_from = (int64_t)reader_le64(&r);
    end.swap_to = (int64_t)reader_le64(&r);
    uint32_t count = reader_le32(&r);
    uint32_t crc = reader_le32(&r);
    if (!ours || count > FORMAT_PRODUCERS_MAX || bytes.size < slot_used(count)) return ERR_CORRUPT;
    if (slot_crc(bytes.data, slot_used(count)) != crc) return ERR_CORRUPT;
    r = reader_of(slice_of(bytes.data + FORMAT_SLOT_HEADER_BYTES, count * FORMAT_PRODUCER_BYTES));
    for (uint32_t i = 0; i < count; i++) ret_producers[i] = take_producer(&r);
    *ret_end = end;
    *ret_producer_count = count;
    return reader_err(&r);
}
