/* The integers of a record batch, inline: record_batch.c writes with these, record_batch_read.c reads. */
#ifndef CODEC_RECORD_WIRE_H
#define CODEC_RECORD_WIRE_H

#include "codec/record_batch.h"

enum {
    AT_BASE_OFFSET = 0,
    AT_BATCH_LENGTH = 8,
    AT_LEADER_EPOCH = 12,
    AT_MAGIC = 16,
    AT_CRC = 17,
    AT_ATTRIBUTES = 21,
    AT_LAST_OFFSET_DELTA = 23,
    AT_BASE_TIMESTAMP = 27,
    AT_MAX_TIMESTAMP = 35,
    AT_PRODUCER_ID = 43,
    AT_PRODUCER_EPOCH = 51,
    AT_BASE_SEQUENCE = 53,
    AT_RECORD_COUNT = 57,
    ATTRIBUTE_CODEC = 7,
    ATTRIBUTE_APPEND_TIME = 8,
    ATTRIBUTE_CONTROL = 32,
};

static inline uint16_t wire_get16(const uint8_t *at) {
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return __builtin_bswap16(value);
}
static inline uint32_t wire_get32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return __builtin_bswap32(value);
}
static inline uint64_t wire_get64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return __builtin_bswap64(value);
}
static inline void wire_put16(uint8_t *at, uint16_t value) {
    value = __builtin_bswap16(value);
    memcpy(at, &value, sizeof value);
}
static inline void wire_put32(uint8_t *at, uint32_t value) {
    value = __builtin_bswap32(value);
    memcpy(at, &value, sizeof value);
}
static inline void wire_put64(uint8_t *at, uint64_t value) {
    value = __builtin_bswap64(value);
    memcpy(at, &value, sizeof value);
}

static inline uint64_t wire_zigzag(int64_t value) { return ((uint64_t)value << 1) ^ (uint64_t)(value >> 63); }
static inline uint32_t wire_varint_size(int64_t value) {
    return (uint32_t)(63 - __builtin_clzll(wire_zigzag(value) | 1)) / 7 + 1;
}
static inline uint8_t *wire_put_varint(uint8_t *at, int64_t value) {
    uint64_t rest = wire_zigzag(value);
    for (; rest >= 0x80; rest >>= 7) *at++ = (uint8_t)(rest | 0x80);
    *at++ = (uint8_t)rest;
    return at;
}

#endif
