#include "codec/input_unwrap.h"

#include <assert.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

enum {
    ZIP_LOCAL = 0x04034b50,
    ZIP_CENTRAL = 0x02014b50,
    ZIP_END = 0x06054b50,
    ZIP_END_64 = 0x06064b50,
    ZIP_DESCRIPTOR = 0x08074b50,
    ZIP_LOCAL_BYTES = 30,
    ZIP_ENCRYPTED = 1,
    ZIP_SIZES_BEHIND = 8
};

enum zip_place { ZIP_BEFORE, ZIP_WITHIN, ZIP_BEHIND };

struct unwrap {
    struct input_source *source;
    enum input_wrapping wrapping;
    z_stream inflate;
    bool inflate_open;
    bool within; /* a gzip member or zstd frame was begun and has not ended */
    bool any;    /* one has ended */
    ZSTD_DStream *zstd;
    struct zip {
        enum zip_place place;
        uint64_t packed_bytes, plain_bytes; /* as the header says */
        uint64_t left;                      /* of a stored file */
        uint64_t seen;                      /* plain bytes so far */
        uint32_t crc, crc_seen;
        uint16_t flags, method;
    } zip;
};

enum err input_source_need(struct input_source *source, size_t size) {
    assert(size <= INPUT_PIECE_BYTES);
    while (source->end - source->at < size && !source->ended) {
        if (source->at > 0) {
            memmove(source->data, source->data + source->at, source->end - source->at);
            source->end -= source->at;
            source->at = 0;
        }
        size_t read = 0;
        enum err err =
            source->read(source->context, source->data + source->end, INPUT_PIECE_BYTES - source->end, &read);
        if (err != ERR_OK) return err;
        source->ended = read == 0;
        source->end += read;
        source->read_bytes += read;
    }
    return ERR_OK;
}

static size_t at_hand(const struct input_source *source) { return source->end - source->at; }

enum err unwrap_open(enum input_wrapping wrapping, struct input_source *source, struct unwrap **ret_unwrap) {
    struct unwrap *u = calloc(1, sizeof *u);
    if (u == NULL) return ERR_NO_MEMORY;
    u->wrapping = wrapping;
    u->source = source;
    bool fine = true;
    if (wrapping == INPUT_ZSTD) {
        u->zstd = ZSTD_createDStream();
        fine = u->zstd != NULL &&
               !ZSTD_isError(ZSTD_DCtx_setParameter(u->zstd, ZSTD_d_windowLogMax, INPUT_ZSTD_WINDOW_LOG));
    } else if (wrapping != INPUT_PLAIN) {
        int window = wrapping == INPUT_GZIP ? 16 + MAX_WBITS : -MAX_WBITS;
        fine = u->inflate_open = inflateInit2(&u->inflate, window) == Z_OK;
    }
    if (!fine) {
        unwrap_close(&u);
        return ERR_NO_MEMORY;
    }
    *ret_unwrap = u;
    return ERR_OK;
}

void unwrap_close(struct unwrap **unwrap) {
    if (unwrap == NULL || *unwrap == NULL) return;
    if ((*unwrap)->inflate_open) inflateEnd(&(*unwrap)->inflate);
    ZSTD_freeDStream((*unwrap)->zstd);
    free(*unwrap);
    *unwrap = NULL;
}

static enum err damaged(struct diag *diag, const char *what) { return diag_set(diag, ERR_CORRUPT, "%s", what); }

/* One step of zlib: takes from the source, writes to `to`. *ret_ended when the deflate stream is complete. */
static enum err inflate_step(struct unwrap *u, uint8_t *to, size_t size, size_t *ret_written, bool *ret_ended) {
    struct input_source *source = u->source;
    u->inflate.next_in = source->data + source->at;
    u->inflate.avail_in = (uInt)at_hand(source);
    u->inflate.next_out = to;
    u->inflate.avail_out = (uInt)size;
    int result = inflate(&u->inflate, Z_NO_FLUSH);
    source->at = source->end - u->inflate.avail_in;
    *ret_written = size - u->inflate.avail_out;
    *ret_ended = result == Z_STREAM_END;
    if (result == Z_MEM_ERROR) return ERR_NO_MEMORY;
    return result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR ? ERR_OK : ERR_CORRUPT;
}

/* --- gzip: members one behind the other; zeroes behind the last are padding --- */

static enum err gzip_next_member(struct unwrap *u, struct diag *diag) {
    struct input_source *source = u->source;
    enum err err = input_source_need(source, 2);
    if (err != ERR_OK) return err;
    if (u->any)
        while (at_hand(source) > 0 && source->data[source->at] == 0) {
            source->at++;
            if ((err = input_source_need(source, 2)) != ERR_OK) return err;
        }
    if (at_hand(source) == 0) return ERR_END;
    const uint8_t *head = source->data + source->at;
    if (at_hand(source) < 2 || head[0] != 0x1F || head[1] != 0x8B)
        return damaged(diag, "bytes that are no gzip member stand behind one");
    if (inflateReset(&u->inflate) != Z_OK) return ERR_NO_MEMORY;
    u->within = true;
    return ERR_OK;
}

static enum err gzip_read(struct unwrap *u, uint8_t *to, size_t size, struct diag *diag, size_t *ret_read) {
    for (;;) {
        enum err err = u->within ? input_source_need(u->source, 1) : gzip_next_member(u, diag);
        if (err != ERR_OK) return err;
        if (at_hand(u->source) == 0) return damaged(diag, "the gzip data ends early");
        bool ended = false;
        err = inflate_step(u, to, size, ret_read, &ended);
        if (err == ERR_CORRUPT) return damaged(diag, "the gzip data is damaged");
        if (err != ERR_OK) return err;
        u->within = !ended;
        u->any = u->any || ended;
        if (*ret_read > 0) return ERR_OK;
    }
}

/* --- zstd --- */

static enum err zstd_read(struct unwrap *u, uint8_t *to, size_t size, struct diag *diag, size_t *ret_read) {
    struct input_source *source = u->source;
    ZSTD_outBuffer out = {to, size, 0};
    while (out.pos == 0) {
        enum err err = input_source_need(source, 1);
        if (err != ERR_OK) return err;
        if (at_hand(source) == 0 && !u->within) return ERR_END;
        ZSTD_inBuffer in = {source->data + source->at, at_hand(source), 0};
        size_t left = ZSTD_decompressStream(u->zstd, &out, &in);
        source->at += in.pos;
        if (ZSTD_isError(left))
            return diag_set(diag, ERR_CORRUPT, "the zstd data is damaged: %s", ZSTD_getErrorName(left));
        if (in.pos == 0 && out.pos == 0 && source->ended) return damaged(diag, "the zstd data ends early");
        u->within = left != 0;
    }
    *ret_read = out.pos;
    return ERR_OK;
}

/* --- zip --- */

static uint16_t le16(const uint8_t *at) { return (uint16_t)(at[0] | at[1] << 8); }
static uint32_t le32(const uint8_t *at) { return (uint32_t)le16(at) | (uint32_t)le16(at + 2) << 16; }
static uint64_t le64(const uint8_t *at) { return (uint64_t)le32(at) | (uint64_t)le32(at + 4) << 32; }

/* The 64-bit sizes of an extra field, if it has them. */
static void zip_extra(struct zip *zip, const uint8_t *at, size_t size) {
    while (size >= 4) {
        size_t id = le16(at), bytes = le16(at + 2);
        if (bytes > size - 4) return;
        const uint8_t *value = at + 4;
        size_t left = bytes;
        if (id == 1 && zip->plain_bytes == UINT32_MAX && left >= 8) {
            zip->plain_bytes = le64(value);
            value += 8;
            left -= 8;
        }
        if (id == 1 && zip->packed_bytes == UINT32_MAX && left >= 8) zip->packed_bytes = le64(value);
        at += 4 + bytes;
        size -= 4 + bytes;
    }
}

/* Takes a local header; *ret_folder if it is one (which has no data). */
static enum err zip_header(struct unwrap *u, struct diag *diag, bool *ret_folder) {
    struct input_source *source = u->source;
    struct zip *zip = &u->zip;
    enum err err = input_source_need(source, ZIP_LOCAL_BYTES);
    if (err != ERR_OK) return err;
    if (at_hand(source) < ZIP_LOCAL_BYTES) return damaged(diag, "the zip file ends within a header");
    const uint8_t *head = source->data + source->at;
    size_t name_bytes = le16(head + 26), size = ZIP_LOCAL_BYTES + name_bytes + le16(head + 28);
    if ((err = input_source_need(source, size)) != ERR_OK) return err;
    if (at_hand(source) < size) return damaged(diag, "the zip file ends within a header");
    head = source->data + source->at;
    *zip = (struct zip){.flags = le16(head + 6),
                        .method = le16(head + 8),
                        .crc = le32(head + 14),
                        .packed_bytes = le32(head + 18),
                        .plain_bytes = le32(head + 22)};
    zip_extra(zip, head + ZIP_LOCAL_BYTES + name_bytes, size - ZIP_LOCAL_BYTES - name_bytes);
    *ret_folder = name_bytes > 0 && head[ZIP_LOCAL_BYTES + name_bytes - 1] == '/' && zip->packed_bytes == 0;
    source->at += size;
    zip->left = zip->packed_bytes;
    if (zip->flags & ZIP_ENCRYPTED) return damaged(diag, "the zip file is encrypted");
    if (zip->method != 0 && zip->method != 8)
        return damaged(diag, "the zip file is packed by another method than deflate");
    if (zip->method == 0 && (zip->flags & ZIP_SIZES_BEHIND) && !*ret_folder)
        return damaged(diag, "the zip file is stored without its size");
    return ERR_OK;
}

static enum err zip_begin(struct unwrap *u, struct diag *diag) {
    for (bool folder = true; folder;) {
        enum err err = input_source_need(u->source, 4);
        if (err != ERR_OK) return err;
        if (at_hand(u->source) < 4 || le32(u->source->data + u->source->at) != ZIP_LOCAL)
            return damaged(diag, "the zip file has no file in it");
        if ((err = zip_header(u, diag, &folder)) != ERR_OK) return err;
    }
    u->zip.place = ZIP_WITHIN;
    return ERR_OK;
}

/* The sizes behind the data are of 4 or 8 bytes each, which only what follows them tells. */
static enum err zip_descriptor(struct unwrap *u, struct diag *diag) {
    struct input_source *source = u->source;
    enum err err = input_source_need(source, 28);
    if (err != ERR_OK) return err;
    const uint8_t *at = source->data + source->at;
    size_t size = at_hand(source), skip = size >= 4 && le32(at) == ZIP_DESCRIPTOR ? 4 : 0;
    if (size < skip + 16) return damaged(diag, "the zip file ends within a descriptor");
    u->zip.crc = le32(at + skip);
    uint32_t next = le32(at + skip + 12);
    bool narrow = next == ZIP_CENTRAL || next == ZIP_LOCAL;
    if (!narrow && size < skip + 24) return damaged(diag, "the zip file ends within a descriptor");
    u->zip.plain_bytes = narrow ? le32(at + skip + 8) : le64(at + skip + 12);
    source->at += skip + (narrow ? 12 : 20);
    return ERR_OK;
}

/* Behind the data: CRC and size, and that no second file follows. */
static enum err zip_finish(struct unwrap *u, struct diag *diag) {
    struct zip *zip = &u->zip;
    enum err err = zip->flags & ZIP_SIZES_BEHIND ? zip_descriptor(u, diag) : ERR_OK;
    if (err != ERR_OK) return err;
    if (zip->crc != zip->crc_seen || zip->plain_bytes != zip->seen)
        return damaged(diag, "the zip file is damaged: its checksum does not agree");
    for (;;) {
        if ((err = input_source_need(u->source, 4)) != ERR_OK) return err;
        if (at_hand(u->source) < 4) return damaged(diag, "the zip file ends early");
        uint32_t next = le32(u->source->data + u->source->at);
        if (next != ZIP_LOCAL) break;
        bool folder = false;
        if ((err = zip_header(u, diag, &folder)) != ERR_OK) return err;
        if (folder) continue;
        diag_set(diag, ERR_SYNTAX, "the zip file has more than one file in it");
        diag_hint(diag, "unpack it, and name its files");
        return ERR_SYNTAX;
    }
    zip->place = ZIP_BEHIND;
    return ERR_END;
}

static enum err zip_data(struct unwrap *u, uint8_t *to, size_t size, struct diag *diag, size_t *ret_read,
                         bool *ret_ended) {
    struct input_source *source = u->source;
    if (u->zip.method == 0 && u->zip.left == 0) {
        *ret_ended = true;
        return ERR_OK;
    }
    enum err err = input_source_need(source, 1);
    if (err != ERR_OK) return err;
    if (at_hand(source) == 0) return damaged(diag, "the zip file ends early");
    if (u->zip.method == 8) {
        err = inflate_step(u, to, size, ret_read, ret_ended);
        return err == ERR_CORRUPT ? damaged(diag, "the zip file is damaged") : err;
    }
    size_t take = at_hand(source) < size ? at_hand(source) : size;
    if (take > u->zip.left) take = (size_t)u->zip.left;
    memcpy(to, source->data + source->at, take);
    source->at += take;
    u->zip.left -= take;
    *ret_read = take;
    return ERR_OK;
}

static enum err zip_read(struct unwrap *u, uint8_t *to, size_t size, struct diag *diag, size_t *ret_read) {
    if (u->zip.place == ZIP_BEHIND) return ERR_END;
    enum err err = u->zip.place == ZIP_BEFORE ? zip_begin(u, diag) : ERR_OK;
    bool ended = u->within; /* the stream ended with the last piece that was handed out */
    size_t read = 0;
    while (err == ERR_OK && !ended && read == 0) err = zip_data(u, to, size, diag, &read, &ended);
    if (err != ERR_OK) return err;
    u->within = ended;
    u->zip.crc_seen = (uint32_t)crc32(u->zip.crc_seen, to, (uInt)read);
    u->zip.seen += read;
    if (read == 0) return zip_finish(u, diag);
    *ret_read = read;
    return ERR_OK;
}

enum err unwrap_read(struct unwrap *unwrap, uint8_t *to, size_t size, struct diag *diag, size_t *ret_read) {
    assert(size > 0 && size <= INT32_MAX);
    switch (unwrap->wrapping) {
        case INPUT_GZIP: return gzip_read(unwrap, to, size, diag, ret_read);
        case INPUT_ZSTD: return zstd_read(unwrap, to, size, diag, ret_read);
        case INPUT_ZIP: return zip_read(unwrap, to, size, diag, ret_read);
        case INPUT_PLAIN: break;
    }
    assert(!"plain bytes are read without this");
    return ERR_STATE;
}
