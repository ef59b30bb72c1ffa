#include "codec/record_compress.h"

#include <assert.h>
#include <lz4frame.h>
#include <zlib.h>
#include <zstd.h>

enum { ZSTD_LEVEL = 1, FIRST_GUESS_MIN = 4096 };

static LZ4F_preferences_t lz4_preferences(size_t size) {
    LZ4F_preferences_t preferences = {0};
    preferences.frameInfo.blockMode = LZ4F_blockIndependent; /* Kafka's reader knows no linked blocks. */
    preferences.frameInfo.blockSizeID = size <= 64 * 1024 ? LZ4F_max64KB : LZ4F_max1MB;
    return preferences;
}

size_t record_compress_bound(enum record_codec codec, size_t size) {
    LZ4F_preferences_t preferences = lz4_preferences(size);
    switch (codec) {
        case RECORD_CODEC_LZ4: return LZ4F_compressFrameBound(size, &preferences);
        case RECORD_CODEC_ZSTD: return ZSTD_compressBound(size);
        case RECORD_CODEC_GZIP: return compressBound((uLong)size) + 32;
        case RECORD_CODEC_NONE: break;
    }
    return size;
}

static enum err gzip_pack(struct slice plain, uint8_t *to, size_t to_size, size_t *ret_size) {
    z_stream z = {0};
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return ERR_NO_MEMORY;
    z.next_in = (Bytef *)(uintptr_t)plain.data;
    z.avail_in = (uInt)plain.size;
    z.next_out = to;
    z.avail_out = (uInt)to_size;
    int code = deflate(&z, Z_FINISH);
    size_t size = z.total_out;
    deflateEnd(&z);
    if (code != Z_STREAM_END) return ERR_TOO_LARGE;
    *ret_size = size;
    return ERR_OK;
}

enum err record_compress(enum record_codec codec, struct slice plain, void **context, uint8_t *to, size_t to_size,
                         size_t *ret_size) {
    if (codec == RECORD_CODEC_GZIP) return gzip_pack(plain, to, to_size, ret_size);
    size_t size;
    if (codec == RECORD_CODEC_LZ4) {
        LZ4F_preferences_t preferences = lz4_preferences(plain.size);
        size = LZ4F_compressFrame(to, to_size, plain.data, plain.size, &preferences);
        if (LZ4F_isError(size)) return ERR_TOO_LARGE;
    } else {
        assert(codec == RECORD_CODEC_ZSTD);
        if (*context == NULL) *context = ZSTD_createCCtx();
        if (*context == NULL) return ERR_NO_MEMORY;
        size = ZSTD_compressCCtx(*context, to, to_size, plain.data, plain.size, ZSTD_LEVEL);
        if (ZSTD_isError(size)) return ERR_TOO_LARGE;
    }
    *ret_size = size;
    return ERR_OK;
}

void record_compress_free(void **context) {
    ZSTD_freeCCtx(*context);
    *context = NULL;
}

/* One decoder of a stream: consumes from *in, produces to *out, says when the stream has ended. */
struct unpacker {
    unsigned codec;
    bool ended;
    LZ4F_dctx *lz4;
    ZSTD_DCtx *zstd;
    z_stream z;
};

static enum err unpacker_init(struct unpacker *u, unsigned codec) {
    *u = (struct unpacker){.codec = codec};
    switch (codec) {
        case RECORD_CODEC_GZIP: return inflateInit2(&u->z, 15 + 16) == Z_OK ? ERR_OK : ERR_NO_MEMORY;
        case RECORD_CODEC_LZ4:
            return LZ4F_isError(LZ4F_createDecompressionContext(&u->lz4, LZ4F_VERSION)) ? ERR_NO_MEMORY : ERR_OK;
        case RECORD_CODEC_ZSTD: u->zstd = ZSTD_createDCtx(); return u->zstd != NULL ? ERR_OK : ERR_NO_MEMORY;
        default: return ERR_UNKNOWN;
    }
}

static void unpacker_deinit(struct unpacker *u) {
    if (u->codec == RECORD_CODEC_GZIP) inflateEnd(&u->z);
    LZ4F_freeDecompressionContext(u->lz4);
    ZSTD_freeDCtx(u->zstd);
}

static enum err step_gzip(struct unpacker *u, struct slice *in, uint8_t *out, size_t *size) {
    u->z.next_in = (Bytef *)(uintptr_t)in->data;
    u->z.avail_in = (uInt)in->size;
    u->z.next_out = out;
    u->z.avail_out = (uInt)*size;
    int code = inflate(&u->z, Z_NO_FLUSH);
    if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) return ERR_CORRUPT;
    u->ended = code == Z_STREAM_END;
    *in = slice_of(u->z.next_in, u->z.avail_in);
    *size -= u->z.avail_out;
    return ERR_OK;
}

static enum err step_lz4(struct unpacker *u, struct slice *in, uint8_t *out, size_t *size) {
    size_t taken = in->size;
    size_t hint = LZ4F_decompress(u->lz4, out, size, in->data, &taken, NULL);
    if (LZ4F_isError(hint)) return ERR_CORRUPT;
    u->ended = hint == 0;
    *in = slice_of(in->data + taken, in->size - taken);
    return ERR_OK;
}

static enum err step_zstd(struct unpacker *u, struct slice *in, uint8_t *out, size_t *size) {
    ZSTD_inBuffer from = {in->data, in->size, 0};
    ZSTD_outBuffer to = {out, *size, 0};
    size_t hint = ZSTD_decompressStream(u->zstd, &to, &from);
    if (ZSTD_isError(hint)) return ERR_CORRUPT;
    u->ended = hint == 0;
    *in = slice_of(in->data + from.pos, in->size - from.pos);
    *size = to.pos;
    return ERR_OK;
}

static enum err unpacker_step(struct unpacker *u, struct slice *in, uint8_t *out, size_t *size) {
    switch (u->codec) {
        case RECORD_CODEC_GZIP: return step_gzip(u, in, out, size);
        case RECORD_CODEC_LZ4: return step_lz4(u, in, out, size);
        default: return step_zstd(u, in, out, size);
    }
}

/* Grows by doubling; what it leaves behind in the arena is at most as much as the result. */
static enum err unpack_all(struct unpacker *u, struct slice packed, struct arena *arena, struct slice *ret_plain) {
    size_t capacity = packed.size * 4 > FIRST_GUESS_MIN ? packed.size * 4 : FIRST_GUESS_MIN;
    if (capacity > RECORD_BATCH_PLAIN_MAX_BYTES) capacity = RECORD_BATCH_PLAIN_MAX_BYTES;
    uint8_t *out = arena_alloc(arena, capacity);
    size_t size = 0;
    while (out != NULL) {
        size_t step = capacity - size, before = packed.size;
        enum err err = unpacker_step(u, &packed, out + size, &step);
        if (err) return err;
        size += step;
        if (u->ended) {
            if (packed.size != 0) return ERR_CORRUPT;
            *ret_plain = slice_of(out, size);
            return ERR_OK;
        }
        if (size < capacity) {
            if (packed.size == before && step == 0) return ERR_CORRUPT; /* It ends in the middle. */
            continue;
        }
        if (capacity >= RECORD_BATCH_PLAIN_MAX_BYTES) return ERR_TOO_LARGE;
        uint8_t *grown = arena_alloc(arena, capacity * 2);
        if (grown != NULL) memcpy(grown, out, size);
        capacity *= 2;
        out = grown;
    }
    return ERR_TOO_LARGE;
}

enum err record_decompress(unsigned codec, struct slice packed, struct arena *arena, struct slice *ret_plain) {
    struct unpacker unpacker;
    enum err err = unpacker_init(&unpacker, codec);
    if (err) return err;
    err = unpack_all(&unpacker, packed, arena, ret_plain);
    unpacker_deinit(&unpacker);
    return err;
}
