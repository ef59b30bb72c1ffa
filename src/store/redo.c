#include "store/redo.h"

#include "base/hash.h"

enum { VERSION = 1, CHUNK_BYTES = 1 << 20, CHUNKS_MAX = 1024, STAMP_BYTES = 8, VALUE_MAX = STAMP_BYTES + CHUNK_BYTES };
static const uint64_t BYTES_MAX = (uint64_t)CHUNKS_MAX * CHUNK_BYTES;

struct mark {
    uint64_t stamp;
    uint32_t chunks, writes;
    uint64_t bytes, checksum;
};

static const struct store_key mark_key = {STORE_META, {(const uint8_t *)"redo", 4}, {(const uint8_t *)"m", 1}};

static struct store_key chunk_key(uint8_t row[static 5], uint32_t number) {
    row[0] = 'c';
    for (int i = 0; i < 4; i++) row[1 + i] = (uint8_t)(number >> (24 - 8 * i));
    return (struct store_key){STORE_META, mark_key.partition, slice_of(row, 5)};
}

static void mark_put(struct buf *out, const struct mark *mark) {
    buf_put_u8(out, VERSION);
    buf_put_le64(out, mark->stamp);
    buf_put_le32(out, mark->chunks);
    buf_put_le32(out, mark->writes);
    buf_put_le64(out, mark->bytes);
    buf_put_le64(out, mark->checksum);
}

static enum err mark_read(struct slice value, struct mark *ret_mark) {
    struct reader in = reader_of(value);
    if (reader_u8(&in) != VERSION) return ERR_FOREIGN;
    struct mark mark = {.stamp = reader_le64(&in)};
    mark.chunks = reader_le32(&in);
    mark.writes = reader_le32(&in);
    mark.bytes = reader_le64(&in);
    mark.checksum = reader_le64(&in);
    enum err err = reader_end(&in);
    if (err == ERR_OK) *ret_mark = mark;
    return err;
}

static enum err apply_one(struct store *store, const struct store_batch *batch, uint64_t stamp, struct diag *diag) {
    enum err err = store_batch_err(batch);
    if (err != ERR_OK) return diag_set(diag, err, "no memory for what a commit writes ahead");
    return store->ops->commit(store, (const struct store_batch *const[]){batch}, 1, stamp, diag);
}

/* --- writing ahead --- */

struct ahead {
    struct store *store;
    struct mark mark;
    struct buf chunk;         /* being filled */
    struct store_batch batch; /* of one chunk at most */
};

static void put_chunk(struct ahead *a) {
    uint8_t row[5];
    const struct store_key key = chunk_key(row, a->mark.chunks++);
    const struct slice bytes = slice_of(a->chunk.data + STAMP_BYTES, a->chunk.size - STAMP_BYTES);
    a->mark.bytes += bytes.size;
    a->mark.checksum = hash_bytes(bytes, a->mark.checksum);
    store_batch_put_buf(&a->batch, &key, &a->chunk);
}

static enum err add_bytes(struct ahead *a, struct slice bytes, struct diag *diag) {
    while (bytes.size > 0) {
        const size_t room = VALUE_MAX - a->chunk.size, size = bytes.size < room ? bytes.size : room;
        buf_put(&a->chunk, slice_of(bytes.data, size));
        bytes = slice_of(bytes.data + size, bytes.size - size);
        if (buf_err(&a->chunk) != ERR_OK) return diag_set(diag, ERR_NO_MEMORY, "no memory to write a commit ahead");
        if (a->chunk.size < VALUE_MAX) continue;
        put_chunk(a);
        enum err err = apply_one(a->store, &a->batch, a->mark.stamp, diag);
        if (err != ERR_OK) return err;
        store_batch_clear(&a->batch);
        buf_clear(&a->chunk);
        buf_put_le64(&a->chunk, a->mark.stamp);
    }
    return ERR_OK;
}

/* The last chunk and the mark behind it: rows of one partition are applied in order. */
static enum err end_ahead(struct ahead *a, struct diag *diag) {
    if (a->chunk.size > STAMP_BYTES) put_chunk(a);
    buf_clear(&a->chunk);
    mark_put(&a->chunk, &a->mark);
    store_batch_put_buf(&a->batch, &mark_key, &a->chunk);
    return apply_one(a->store, &a->batch, a->mark.stamp, diag);
}

static enum err write_ahead(struct store *store, const struct store_batch *const *batches, uint32_t batch_count,
                            struct diag *diag, struct mark *mark) {
    struct ahead a = {.store = store, .mark = *mark};
    buf_init(&a.chunk, VALUE_MAX);
    store_batch_init(&a.batch, VALUE_MAX + 4096);
    buf_put_le64(&a.chunk, mark->stamp);
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < batch_count && err == ERR_OK; i++) {
        a.mark.writes += batches[i]->count;
        err = add_bytes(&a, buf_slice(&batches[i]->bytes), diag);
    }
    if (err == ERR_OK) err = end_ahead(&a, diag);
    *mark = a.mark;
    buf_deinit(&a.chunk);
    store_batch_deinit(&a.batch);
    return err;
}

static enum err check_ours(struct store *store, uint64_t stamp, struct diag *diag) {
    struct store_snapshot *snapshot = NULL;
    struct slice value;
    struct mark mark = {0};
    enum err err = store_snapshot_open(store, &snapshot);
    if (err != ERR_OK) return diag_set(diag, err, "the store gives no snapshot");
    err = store_get(store, snapshot, &mark_key, &value);
    if (err == ERR_OK) err = mark_read(value, &mark);
    store_snapshot_close(store, &snapshot);
    if (err == ERR_NOT_FOUND || (err == ERR_OK && mark.stamp != stamp))
        return diag_set(diag, ERR_STATE, "a newer process writes to this store: nothing of the commit was applied");
    return err == ERR_OK ? ERR_OK : diag_set(diag, err, "what was written ahead of a commit cannot be read");
}

/* --- afterwards --- */

static enum err delete_rows(struct store *store, uint32_t chunks, uint64_t stamp, struct diag *diag) {
    struct store_batch batch;
    store_batch_init(&batch, 1 << 20);
    store_batch_delete(&batch, &mark_key);
    for (uint32_t i = 0; i < chunks; i++) {
        uint8_t row[5];
        const struct store_key key = chunk_key(row, i);
        store_batch_delete(&batch, &key);
    }
    enum err err = apply_one(store, &batch, stamp, diag);
    store_batch_deinit(&batch);
    return err;
}

enum err store_redo_commit(struct store *store, const struct store_batch *const *batches, uint32_t batch_count,
                           uint64_t stamp, struct diag *diag) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < batch_count; i++) bytes += batches[i]->bytes.size;
    if (bytes == 0) return ERR_OK;
    if (bytes > BYTES_MAX) return diag_set(diag, ERR_TOO_LARGE, "a commit is larger than 1 GiB");
    struct mark mark = {.stamp = stamp};
    enum err err = write_ahead(store, batches, batch_count, diag, &mark);
    if (err == ERR_OK) err = check_ours(store, stamp, diag);
    if (err == ERR_OK) err = store->ops->commit(store, batches, batch_count, stamp, diag);
    return err == ERR_OK ? delete_rows(store, mark.chunks, stamp, diag) : err;
}

/* --- after a crash --- */

struct found {
    bool marked;
    struct mark mark;
    struct store_batch batch; /* what the mark's chunks hold */
    uint32_t next, chunks;    /* chunk that comes next; behind the last one that is there */
    uint64_t newest;          /* stamp of all rows */
};

static enum err find_chunk(void *context, struct slice row, struct slice value) {
    struct found *f = context;
    struct reader key = reader_of(row), in = reader_of(value);
    if (reader_u8(&key) != 'c') return ERR_OK;
    const uint32_t number = reader_be32(&key);
    const uint64_t stamp = reader_le64(&in);
    if (reader_end(&key) != ERR_OK || reader_err(&in) != ERR_OK || number >= CHUNKS_MAX) return ERR_CORRUPT;
    if (stamp > f->newest) f->newest = stamp;
    f->chunks = number + 1;
    if (!f->marked || number != f->next || number >= f->mark.chunks || stamp != f->mark.stamp) return ERR_OK;
    f->next++;
    buf_put(&f->batch.bytes, slice_of(in.at, reader_left(&in)));
    return buf_err(&f->batch.bytes);
}

static enum err find(struct store *store, struct found *f) {
    struct store_snapshot *snapshot = NULL;
    struct slice value;
    enum err err = store_snapshot_open(store, &snapshot);
    if (err != ERR_OK) return err;
    err = store_get(store, snapshot, &mark_key, &value);
    f->marked = err == ERR_OK;
    if (f->marked) err = mark_read(value, &f->mark);
    f->newest = f->mark.stamp;
    const struct store_key all = {STORE_META, mark_key.partition, SLICE("")};
    if (err == ERR_OK || err == ERR_NOT_FOUND)
        err = store_scan(store, snapshot, &all, SLICE_NONE, false, find_chunk, f);
    store_snapshot_close(store, &snapshot);
    return err;
}

/* A chunk that is missing, or of another stamp, is one that a newer commit has written over or deleted: this one's mark came
 * late, from a process that is gone. */
static enum err finish(struct store *store, struct found *f, struct diag *diag) {
    if (f->marked && f->next == f->mark.chunks) {
        const struct slice bytes = buf_slice(&f->batch.bytes);
        uint64_t checksum = 0;
        for (size_t at = 0; at < bytes.size; at += CHUNK_BYTES)
            checksum = hash_bytes(
                slice_of(bytes.data + at, bytes.size - at < CHUNK_BYTES ? bytes.size - at : CHUNK_BYTES), checksum);
        if (bytes.size != f->mark.bytes || checksum != f->mark.checksum)
            return diag_set(diag, ERR_CORRUPT, "what was written ahead of a commit is damaged");
        f->batch.count = f->mark.writes;
        enum err err = apply_one(store, &f->batch, f->mark.stamp, diag);
        if (err != ERR_OK) return err;
    }
    return f->marked || f->chunks > 0 ? delete_rows(store, f->chunks, f->newest, diag) : ERR_OK;
}

enum err store_redo_finish(struct store *store, struct diag *diag) {
    struct found found = {0};
    store_batch_init(&found.batch, BYTES_MAX);
    enum err err = find(store, &found);
    err = err == ERR_OK ? finish(store, &found, diag)
                        : diag_set(diag, err, "what was written ahead of a commit cannot be read");
    store_batch_deinit(&found.batch);
    return err;
}
