/* Bounded byte buffers: `struct buf` grows up to a stated maximum, `struct reader` takes from a slice.
 *
 * All arithmetic on wire and disk formats lives here, so that a codec reads as a list of fields. Both carry a sticky
 * error: after the first failure every further call does nothing (a reader returns zeroes), and the caller asks once, at
 * the end, with `buf_err` or `reader_err`. Varints are Kafka's: little-endian base 128, zigzag for signed. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/err.h"
#include "base/slice.h"

struct buf {
    uint8_t *data;
    size_t size;
    size_t capacity;
    size_t max_size; /* growing past it sets ERR_TOO_LARGE */
    enum err err;
};

void buf_init(struct buf *buf, size_t max_size);
void buf_deinit(struct buf *buf);
/* Forgets content and error, keeps the memory. */
void buf_clear(struct buf *buf);
enum err buf_err(const struct buf *buf) MUST_USE;
struct slice buf_slice(const struct buf *buf);
/* Makes room for `size` more bytes and returns where they go, or NULL; the caller then calls buf_commit. */
uint8_t *buf_reserve(struct buf *buf, size_t size);
void buf_commit(struct buf *buf, size_t size);

void buf_put(struct buf *buf, struct slice bytes);
void buf_put_text(struct buf *buf, const char *text);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_put_u8(struct buf *buf, uint8_t value);
void buf_put_le16(struct buf *buf, uint16_t value);
void buf_put_le32(struct buf *buf, uint32_t value);
void buf_put_le64(struct buf *buf, uint64_t value);
void buf_put_be16(struct buf *buf, uint16_t value);
void buf_put_be32(struct buf *buf, uint32_t value);
void buf_put_be64(struct buf *buf, uint64_t value);
void buf_put_uvarint(struct buf *buf, uint64_t value);
void buf_put_varint(struct buf *buf, int64_t value);
void buf_put_i128(struct buf *buf, __int128 value); /* zigzag, base 128, at most 19 bytes */

struct reader {
    const uint8_t *at;
    const uint8_t *end;
    enum err err; /* ERR_CORRUPT once something was missing or malformed */
};

static inline struct reader reader_of(struct slice bytes) {
    return (struct reader){bytes.data, bytes.size ? bytes.data + bytes.size : bytes.data, ERR_OK};
}
static inline size_t reader_left(const struct reader *r) { return (size_t)(r->end - r->at); }
static inline enum err reader_err(const struct reader *r) { return r->err; }
/* Fails unless everything was taken. */
enum err reader_end(struct reader *r) MUST_USE;
struct slice reader_take(struct reader *r, size_t size);
uint8_t reader_u8(struct reader *r);
uint16_t reader_le16(struct reader *r);
uint32_t reader_le32(struct reader *r);
uint64_t reader_le64(struct reader *r);
uint32_t reader_be32(struct reader *r);
uint64_t reader_be64(struct reader *r);
uint64_t reader_uvarint(struct reader *r);
int64_t reader_varint(struct reader *r);
__int128 reader_i128(struct reader *r);

#endif
