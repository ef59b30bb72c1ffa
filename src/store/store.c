/* Batches, flat keys and the checked wrappers.
 *
 * A batch is a sequence of: u8 table, uvarint partition size, partition, uvarint row size, row, uvarint value size + 1
 * (0: delete), value. It never leaves the process. */
#include "store/store.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/hash.h"
#include "store/redo.h"
#include "store/store_key.h"

static const char *const table_names[STORE_TABLE_COUNT] = {
#define X(table, name) name,
    STORE_TABLES(X)
#undef X
};

const char *store_table_name(enum store_table table) {
    assert(table < STORE_TABLE_COUNT);
    return table_names[table];
}

void store_batch_init(struct store_batch *batch, size_t max_bytes) {
    *batch = (struct store_batch){0};
    buf_init(&batch->bytes, max_bytes);
}

void store_batch_deinit(struct store_batch *batch) {
    buf_deinit(&batch->bytes);
    batch->count = 0;
}

void store_batch_clear(struct store_batch *batch) {
    buf_clear(&batch->bytes);
    batch->count = 0;
}

static void batch_put_slice(struct buf *bytes, struct slice slice) {
    buf_put_uvarint(bytes, slice.size);
    buf_put(bytes, slice);
}

static bool batch_put_key(struct store_batch *batch, const struct store_key *key, size_t value_bytes) {
    assert(key->table < STORE_TABLE_COUNT);
    bool fits = key->partition.size + key->row.size <= STORE_KEY_MAX && value_bytes <= STORE_VALUE_MAX;
    if (!fits && batch->bytes.err == ERR_OK) batch->bytes.err = ERR_TOO_LARGE;
    buf_put_u8(&batch->bytes, (uint8_t)key->table);
    batch_put_slice(&batch->bytes, key->partition);
    batch_put_slice(&batch->bytes, key->row);
    return fits;
}

void store_batch_put(struct store_batch *batch, const struct store_key *key, struct slice value) {
    if (!batch_put_key(batch, key, value.size)) return;
    buf_put_uvarint(&batch->bytes, (uint64_t)value.size + 1);
    buf_put(&batch->bytes, value);
    batch->count++;
}

void store_batch_put_buf(struct store_batch *batch, const struct store_key *key, const struct buf *value) {
    if (buf_err(value) != ERR_OK && batch->bytes.err == ERR_OK) batch->bytes.err = buf_err(value);
    store_batch_put(batch, key, buf_slice(value));
}

void store_batch_delete(struct store_batch *batch, const struct store_key *key) {
    if (!batch_put_key(batch, key, 0)) return;
    buf_put_uvarint(&batch->bytes, 0);
    batch->count++;
}

enum err store_batch_err(const struct store_batch *batch) { return buf_err(&batch->bytes); }

enum err store_batch_visit(const struct store_batch *batch,
                           enum err (*visit)(void *context, const struct store_key *key, struct slice value),
                           void *context) {
    static const uint8_t empty[1] = {0};
    if (buf_err(&batch->bytes) != ERR_OK) return buf_err(&batch->bytes);
    struct reader r = reader_of(buf_slice(&batch->bytes));
    for (uint32_t i = 0; i < batch->count; i++) {
        struct store_key key = {.table = reader_u8(&r)};
        key.partition = reader_take(&r, reader_uvarint(&r));
        key.row = reader_take(&r, reader_uvarint(&r));
        uint64_t size = reader_uvarint(&r);
        struct slice value = size == 0 ? SLICE_NONE : reader_take(&r, size - 1);
        assert(reader_err(&r) == ERR_OK && key.table < STORE_TABLE_COUNT);
        if (size == 1) value = slice_of(empty, 0);
        enum err err = visit(context, &key, value);
        if (err != ERR_OK) return err;
    }
    assert(reader_left(&r) == 0);
    return ERR_OK;
}

/* --- flat keys --- */

enum err store_flat_key(struct slice partition, struct slice row, struct store_flat_key *ret_key) {
    if (partition.size + row.size > STORE_KEY_MAX) return ERR_TOO_LARGE;
    ret_key->bytes[0] = (uint8_t)(partition.size >> 8);
    ret_key->bytes[1] = (uint8_t)partition.size;
    if (partition.size > 0) memcpy(ret_key->bytes + 2, partition.data, partition.size);
    if (row.size > 0) memcpy(ret_key->bytes + 2 + partition.size, row.data, row.size);
    ret_key->size = 2 + partition.size + row.size;
    return ERR_OK;
}

enum err store_flat_key_partition(struct slice flat, struct slice *ret_partition) {
    if (flat.size < 2) return ERR_CORRUPT;
    size_t size = (size_t)flat.data[0] << 8 | flat.data[1];
    if (size > flat.size - 2) return ERR_CORRUPT;
    *ret_partition = slice_of(flat.data + 2, size);
    return ERR_OK;
}

bool store_flat_key_behind(struct slice partition, struct store_flat_key *ret_key) {
    struct store_flat_key key;
    if (store_flat_key(partition, SLICE_NONE, &key) != ERR_OK) return false;
    while (key.size > 0 && key.bytes[key.size - 1] == 0xff) key.size--;
    if (key.size == 0) return false;
    key.bytes[key.size - 1]++;
    *ret_key = key;
    return true;
}

uint64_t store_checksum(enum store_table table, struct slice flat_key, struct slice value) {
    return hash_bytes(value, hash_bytes(flat_key, (uint64_t)table + 1));
}

/* --- wrappers --- */

void store_close(struct store **store) {
    if (*store == NULL) return;
    (*store)->ops->close(*store);
    *store = NULL;
}

static enum err settle(struct store *store, struct diag *diag) {
    if (store->settled || store->ops->atomic_commit) return ERR_OK;
    enum err err = store_redo_finish(store, diag);
    store->settled = err == ERR_OK;
    return err;
}

enum err store_commit(struct store *store, const struct store_batch *const *batches, uint32_t batch_count,
                      uint64_t stamp, struct diag *diag) {
    assert(store != NULL && (batches != NULL || batch_count == 0));
    for (uint32_t i = 0; i < batch_count; i++) {
        enum err err = store_batch_err(batches[i]);
        if (err != ERR_OK) return diag_set(diag, err, "a group of store writes is too large");
    }
    if (store->ops->atomic_commit) return store->ops->commit(store, batches, batch_count, stamp, diag);
    enum err err = settle(store, diag);
    if (err != ERR_OK) return err;
    err = store_redo_commit(store, batches, batch_count, stamp, diag);
    store->settled = err == ERR_OK;
    return err;
}

enum err store_snapshot_open(struct store *store, struct store_snapshot **ret_snapshot) {
    assert(store != NULL);
    uint32_t turn;
    for (;;) { /* Counted in the turn it is opened in, or in none. */
        turn = atomic_load(&store->turn);
        atomic_fetch_add(&store->open[turn & 1], 1);
        if (atomic_load(&store->turn) == turn) break;
        atomic_fetch_sub(&store->open[turn & 1], 1);
    }
    enum err err = store->ops->snapshot_open(store, ret_snapshot);
    if (err == ERR_OK)
        (*ret_snapshot)->turn = turn;
    else
        atomic_fetch_sub(&store->open[turn & 1], 1);
    return err;
}

bool store_turn_over(const struct store *store) {
    return atomic_load(&store->open[(atomic_load(&store->turn) + 1) & 1]) == 0;
}

bool store_turn_begin(struct store *store) {
    if (!store_turn_over(store)) return false;
    atomic_fetch_add(&store->turn, 1);
    return true;
}

void store_snapshot_close(struct store *store, struct store_snapshot **snapshot) {
    if (*snapshot == NULL) return;
    assert((*snapshot)->store == store);
    uint32_t turn = (*snapshot)->turn;
    store->ops->snapshot_close(snapshot);
    atomic_fetch_sub(&store->open[turn & 1], 1);
    *snapshot = NULL;
}

enum err store_get(struct store *store, struct store_snapshot *snapshot, const struct store_key *key,
                   struct slice *ret_value) {
    assert(snapshot->store == store && key->table < STORE_TABLE_COUNT);
    return store->ops->get(snapshot, key, ret_value);
}

enum err store_scan(struct store *store, struct store_snapshot *snapshot, const struct store_key *key, struct slice end,
                    bool descending, store_visit visit, void *context) {
    assert(snapshot->store == store && key->table < STORE_TABLE_COUNT && visit != NULL);
    enum err err = store->ops->scan(snapshot, key, end, descending, visit, context);
    return err == ERR_END ? ERR_OK : err;
}

enum err store_partitions(struct store *store, struct store_snapshot *snapshot, enum store_table table,
                          store_visit visit, void *context) {
    assert(snapshot->store == store && table < STORE_TABLE_COUNT && visit != NULL);
    enum err err = store->ops->partitions(snapshot, table, visit, context);
    return err == ERR_END ? ERR_OK : err;
}

enum err store_check(struct store *store, enum err (*report)(void *context, const char *finding), void *context) {
    assert(store != NULL && report != NULL);
    return store->ops->check(store, report, context);
}

/* --- identity --- */

static void hex16(const uint8_t *bytes, char text[static 33]) {
    for (int i = 0; i < 16; i++) snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

enum err store_other_version(struct diag *diag, const char *what) {
    diag_set(diag, ERR_FOREIGN, "%s was written by another version of wick", what);
    diag_hint(diag, "go on with that version, or make the store anew from the log: wick fsck --rebuild");
    return ERR_FOREIGN;
}

static enum err identity_compare(struct slice value, const uint8_t *log_identity, struct diag *diag) {
    struct reader r = reader_of(value);
    uint32_t version = reader_le32(&r);
    struct slice identity = reader_take(&r, 16);
    if (reader_end(&r) != ERR_OK) return diag_set(diag, ERR_CORRUPT, "the store's identity row is malformed");
    if (version != STORE_FORMAT_VERSION) return store_other_version(diag, "the store");
    if (memcmp(identity.data, log_identity, 16) == 0) return ERR_OK;
    char theirs[33], ours[33];
    hex16(identity.data, theirs);
    hex16(log_identity, ours);
    enum err err = diag_set(diag, ERR_FOREIGN, "the store belongs to log %s, not to %s", theirs, ours);
    diag_hint(diag, "the folders of two installations were mixed; wick fsck --rebuild makes the store anew");
    return err;
}

static enum err identity_write(struct store *store, const struct store_key *key, const uint8_t *log_identity,
                               uint64_t stamp, struct diag *diag) {
    struct store_batch batch;
    store_batch_init(&batch, 4096);
    uint8_t value[20] = {STORE_FORMAT_VERSION};
    memcpy(value + 4, log_identity, 16);
    store_batch_put(&batch, key, slice_of(value, sizeof value));
    enum err err = store_commit(store, (const struct store_batch *const[]){&batch}, 1, stamp, diag);
    store_batch_deinit(&batch);
    return err;
}

enum err store_identify(struct store *store, const uint8_t log_identity[static 16], uint64_t stamp, struct diag *diag) {
    const struct store_key key = {STORE_META, SLICE("store"), SLICE("identity")};
    struct store_snapshot *snapshot = NULL;
    enum err err = settle(store, diag);
    if (err != ERR_OK) return err;
    err = store_snapshot_open(store, &snapshot);
    if (err != ERR_OK) return diag_set(diag, err, "cannot read the store");
    struct slice value;
    err = store_get(store, snapshot, &key, &value);
    if (err == ERR_OK)
        err = identity_compare(value, log_identity, diag);
    else if (err != ERR_NOT_FOUND)
        diag_set(diag, err, "cannot read the store's identity");
    store_snapshot_close(store, &snapshot);
    return err == ERR_NOT_FOUND ? identity_write(store, &key, log_identity, stamp, diag) : err;
}
