/* Taking the wrapping off a stream of bytes: gzip, zstd, zip. Private to input.c.
 *
 * A zip is read without its central directory, from the front, so that a pipe will do. Little-endian; per file:
 *    0  u32 0x04034b50     4  u16 version    6  u16 flags (0: encrypted, 3: sizes follow the data)   8  u16 method (0, 8)
 *   10  u32 time and date 14  u32 CRC-32    18  u32 packed size   22  u32 plain size   26  u16 name bytes
 *   28  u16 extra bytes   30  name, extra (id 1: 64-bit plain and packed size where the u32 is 0xffffffff), data,
 *   then, with flag 3: [u32 0x08074b50] u32 CRC-32, packed and plain size of 4 or 8 bytes.
 * Valid if exactly one entry is no folder, its data unpacks to the end and CRC and size agree, and a central directory
 * (0x02014b50) follows. Nothing is recovered from a damaged one but what came before the damage. Source: PKWARE
 * APPNOTE 6.3.10, sections 4.3 and 4.4. */
#ifndef CODEC_INPUT_UNWRAP_H
#define CODEC_INPUT_UNWRAP_H

#include "codec/input.h"

enum { INPUT_PIECE_BYTES = 256 * 1024, INPUT_ZSTD_WINDOW_LOG = 27 };

/* Bytes as they are stored, a piece at a time. */
struct input_source {
    enum err (*read)(void *context, void *data, size_t size, size_t *ret_read); /* 0 bytes: the end */
    void *context;
    uint8_t *data; /* INPUT_PIECE_BYTES */
    size_t at, end;
    uint64_t read_bytes;
    bool ended;
};

/* Reads on unless there are `size` bytes at hand or the source has ended. */
enum err input_source_need(struct input_source *source, size_t size) MUST_USE;

struct unwrap;
enum err unwrap_open(enum input_wrapping wrapping, struct input_source *source, struct unwrap **ret_unwrap) MUST_USE;
void unwrap_close(struct unwrap **unwrap);
/* Up to `size` plain bytes, at least one; ERR_END, ERR_CORRUPT, ERR_IO, ERR_NO_MEMORY. */
enum err unwrap_read(struct unwrap *unwrap, uint8_t *to, size_t size, struct diag *diag, size_t *ret_read) MUST_USE;

#endif
