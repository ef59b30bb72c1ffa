/* The codecs of record batches: one piece in, one piece out. LZ4 is the frame format (magic 0x184D2204), as Kafka has it
 * since magic 1. */
#ifndef CODEC_RECORD_COMPRESS_H
#define CODEC_RECORD_COMPRESS_H

#include "codec/record_batch.h"

enum { RECORD_BATCH_PLAIN_MAX_BYTES = 4 * RECORD_BATCH_MAX_BYTES };

/* An upper bound of what `size` bytes become. */
size_t record_compress_bound(enum record_codec codec, size_t size);
/* `*context` is made on first use and given back by record_compress_free. */
enum err record_compress(enum record_codec codec, struct slice plain, void **context, uint8_t *to, size_t to_size,
                         size_t *ret_size) MUST_USE;
void record_compress_free(void **context);
/* Into the arena; ERR_CORRUPT, ERR_TOO_LARGE past RECORD_BATCH_PLAIN_MAX_BYTES or what the arena may hold, ERR_UNKNOWN for
 * codecs that we do not have (snappy). */
enum err record_decompress(unsigned codec, struct slice packed, struct arena *arena, struct slice *ret_plain) MUST_USE;

#endif
