#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_init(struct buf *buf, size_t max_size) {
    assert(max_size > 0);
    *buf = (struct buf){.max_size = max_size};
}

void buf_deinit(struct buf *buf) {
    free(buf->data);
    *buf = (struct buf){.max_size = buf->max_size};
}

void buf_clear(struct buf *buf) {
    buf->size = 0;
    buf->err = ERR_OK;
}

enum err buf_err(const struct buf *buf) { return buf->err; }

struct slice buf_slice(const struct buf *buf) {
    return slice_of(buf->data, buf->size);
}

uint8_t *buf_reserve(struct buf *buf, size_t size) {
    if (buf->err != ERR_OK) return NULL;
    if (size > buf->max_size - buf->size) {
        buf->err = ERR_TOO_LARGE;
        return NULL;
    }
    size_t need = buf->size + size;
    if (need > buf->capacity || buf->data == NULL) {
        size_t capacity = buf->capacity < 64 ? 64 : buf->capacity;
        while (capacity < need) capacity *= 2;
        if (capacity > buf->max_size) capacity = buf->max_size;
        uint8_t *data = realloc(buf->data, capacity);
        if (data == NULL) {
            buf->err = ERR_NO_MEMORY;
            return NULL;
        }
        buf->data = data;
        buf->capacity = capacity;
    }
    return buf->data + buf->size;
}

void buf_commit(struct buf *buf, size_t size) {
    assert(size <= buf->capacity - buf->size);
    buf->size += size;
}

void buf_put(struct buf *buf, struct slice bytes) {
    uint8_t *to = buf_reserve(buf, bytes.size);
    if (to == NULL || bytes.size == 0) return;
    memcpy(to, bytes.data, bytes.size);
    buf->size += bytes.size;
}

void buf_put_text(struct buf *buf, const char *text) { buf_put(buf, slice_text(text)); }

void buf_printf(struct buf *buf, const char *format, ...) {
    va_list list, again;
    va_start(list, format);
    va_copy(again, list);
    int size = vsnprintf(NULL, 0, format, list);
    va_end(list);
    assert(size >= 0);
    uint8_t *to = buf_reserve(buf, (size_t)size + 1);
    if (to != NULL) {
        vsnprintf((char *)to, (size_t)size + 1, format, again);
        buf->size += (size_t)size;
    }
    va_end(again);
}

static void put_bytes(struct buf *buf, uint64_t value, unsigned count, bool big_endian) {
    uint8_t *to = buf_reserve(buf, count);
    if (to == NULL) return;
    for (unsigned i = 0; i < count; i++) to[big_endian ? count - 1 - i : i] = (uint8_t)(value >> (8 * i));
    buf->size += count;
}

void buf_put_u8(struct buf *buf, uint8_t value) { put_bytes(buf, value, 1, false); }
void buf_put_le16(struct buf *buf, uint16_t value) { put_bytes(buf, value, 2, false); }
void buf_put_le32(struct buf *buf, uint32_t value) { put_bytes(buf, value, 4, false); }
void buf_put_le64(struct buf *buf, uint64_t value) { put_bytes(buf, value, 8, false); }
void buf_put_be16(struct buf *buf, uint16_t value) { put_bytes(buf, value, 2, true); }
void buf_put_be32(struct buf *buf, uint32_t value) { put_bytes(buf, value, 4, true); }
void buf_put_be64(struct buf *buf, uint64_t value) { put_bytes(buf, value, 8, true); }

static void put_base128(struct buf *buf, unsigned __int128 value) {
    uint8_t bytes[19];
    unsigned count = 0;
    do {
        bytes[count] = (uint8_t)(value & 0x7f);
        value >>= 7;
        if (value != 0) bytes[count] |= 0x80;
        count++;
    } while (value != 0);
    buf_put(buf, slice_of(bytes, count));
}

void buf_put_uvarint(struct buf *buf, uint64_t value) { put_base128(buf, value); }

void buf_put_varint(struct buf *buf, int64_t value) {
    put_base128(buf, ((uint64_t)value << 1) ^ (uint64_t)(value >> 63));
}

void buf_put_i128(struct buf *buf, __int128 value) {
    put_base128(buf, ((unsigned __int128)value << 1) ^ (unsigned __int128)(value >> 127));
}

enum err reader_end(struct reader *r) {
    if (r->err == ERR_OK && r->at != r->end) r->err = ERR_CORRUPT;
    return r->err;
}

struct slice reader_take(struct reader *r, size_t size) {
    if (r->err != ERR_OK || size > reader_left(r)) {
        r->err = ERR_CORRUPT;
        return SLICE_NONE;
    }
    struct slice taken = slice_of(r->at, size);
    r->at += size;
    return taken;
}

static uint64_t take_bytes(struct reader *r, unsigned count, bool big_endian) {
    struct slice s = reader_take(r, count);
    uint64_t value = 0;
    if (s.data == NULL) return 0;
    for (unsigned i = 0; i < count; i++) value |= (uint64_t)s.data[big_endian ? count - 1 - i : i] << (8 * i);
    return value;
}

uint8_t reader_u8(struct reader *r) { return (uint8_t)take_bytes(r, 1, false); }
uint16_t reader_le16(struct reader *r) { return (uint16_t)take_bytes(r, 2, false); }
uint32_t reader_le32(struct reader *r) { return (uint32_t)take_bytes(r, 4, false); }
uint64_t reader_le64(struct reader *r) { return take_bytes(r, 8, false); }
uint32_t reader_be32(struct reader *r) { return (uint32_t)take_bytes(r, 4, true); }
uint64_t reader_be64(struct reader *r) { return take_bytes(r, 8, true); }

static unsigned __int128 take_base128(struct reader *r, unsigned bits) {
    unsigned __int128 value = 0;
    for (unsigned shift = 0; shift < bits; shift += 7) {
        if (r->err != ERR_OK || r->at == r->end) break;
        uint8_t byte = *r->at++;
        if (bits - shift < 7 && (byte & 0x7f) >> (bits - shift) != 0) break;
        value |= (unsigned __int128)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) return value;
    }
    r->err = ERR_CORRUPT;
    return 0;
}

uint64_t reader_uvarint(struct reader *r) { return (uint64_t)take_base128(r, 64); }

int64_t reader_varint(struct reader *r) {
    uint64_t value = (uint64_t)take_base128(r, 64);
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

__int128 reader_i128(struct reader *r) {
    unsigned __int128 value = take_base128(r, 128);
    return (__int128)(value >> 1) ^ -(__int128)(value & 1);
}
