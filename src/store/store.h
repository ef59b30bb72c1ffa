/* The store: small ordered rows that are written in atomic groups. It holds what is recent, and can always be made anew
 * from the log.
 *
 * A row is (table, partition key, row key) -> value. Rows of one (table, partition key) lie together and are ordered by
 * row key bytes; order between partition keys is not promised (CQL has none). Values carry a checksum the backend adds
 * and checks: a damaged value is ERR_CORRUPT, never wrong bytes. Backends: lmdb/ (the default), memory/ (two modes), later
 * cql/; all pass tests/conform/store_conform.c.
 *
 * `store_commit` is all or nothing over any crash, whatever the backend: where one is atomic by row only, the commit is written
 * ahead as rows of STORE_META (store/redo.h), and whoever opens the store next ends it or throws it away. So every opener that
 * may write calls `store_identify` before it reads. What differs is what others see meanwhile: of such a backend, a commit's
 * rows one by one, some newer than the checkpoint row beside them. A row never goes back, though, and whoever needs the rows
 * of one moment asks the task that owns them, which covers what is on its way with its own (candle/slice.h).
 *
 * Threads: one writer at a time (`store_commit`); any number of readers, each with its own snapshot. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/buf.h"
#include "sys/sys.h"

enum { STORE_KEY_MAX = 400, STORE_VALUE_MAX = 64 * 1024 * 1024 };

/* X(table, name): what a table holds is written down beside who owns it (candle/shelf.h, flow/checkpoint.h, ..). */
#define STORE_TABLES(X)                                                                                       \
    X(STORE_META, "meta")             /* format version, log identity, generation */                          \
    X(STORE_CHECKPOINT, "checkpoint") /* task -> input offset, ledger totals */                               \
    X(STORE_STATE, "state")           /* (task, series) -> fold state: id ranges, watermark, recent prices */ \
    X(STORE_SERIES, "series")         /* series number -> names, kind, last seen */                           \
    X(STORE_LATEST, "latest")         /* series -> latest price */                                            \
    X(STORE_CANDLES, "candles")       /* (series, basis, tier) x time -> mini-block of open rows */           \
    X(STORE_BLOCKS, "blocks")         /* (series, basis, tier) x period -> where the sealed block lies */     \
    X(STORE_IMPORTS, "imports")       /* content identity -> import record */

enum store_table {
#define X(table, name) table,
    STORE_TABLES(X)
#undef X
        STORE_TABLE_COUNT
};

struct store;
struct store_snapshot {
    struct store *store; /* first member of every backend's snapshot */
    uint32_t turn;       /* store.c's */
};

struct store_key {
    enum store_table table;
    struct slice partition;
    struct slice row;
};

/* --- a group of writes: filled by one thread, handed to store_commit --- */

struct store_batch {
    struct buf bytes; /* encoded puts and deletes, in order; later ones win */
    uint32_t count;
};

void store_batch_init(struct store_batch *batch, size_t max_bytes);
void store_batch_deinit(struct store_batch *batch);
void store_batch_clear(struct store_batch *batch);
void store_batch_put(struct store_batch *batch, const struct store_key *key, struct slice value);
/* The same of a buffer: one that could not grow is no value, and the batch fails for it. */
void store_batch_put_buf(struct store_batch *batch, const struct store_key *key, const struct buf *value);
void store_batch_delete(struct store_batch *batch, const struct store_key *key);
enum err store_batch_err(const struct store_batch *batch) MUST_USE; /* ERR_TOO_LARGE */

/* For backends: visits the writes in order; `value.data` NULL means delete. */
enum err store_batch_visit(const struct store_batch *batch,
                           enum err (*visit)(void *context, const struct store_key *key, struct slice value),
                           void *context) MUST_USE;

/* --- the contract a backend implements --- */

typedef enum err (*store_visit)(void *context, struct slice row, struct slice value);

struct store_ops {
    const char *name;
    /* Is `commit` atomic as a whole (LMDB) or by row only (CQL)? Then rows are applied in order within a partition key, the
     * last batch last, and otherwise in any order. */
    bool atomic_commit;
    void (*close)(struct store *store);
    /* Durable on return, all of it or (atomic_commit) nothing. `stamp` is (generation << 40 | sequence), larger than that of
     * any commit before: a write with an older stamp than the row's loses silently, as CQL's write timestamps do; LMDB ignores
     * it (it has a lock). ERR_NO_SPACE, ERR_IO, ERR_SYNC. */
    enum err (*commit)(struct store *store, const struct store_batch *const *batches, uint32_t batch_count,
                       uint64_t stamp, struct diag *diag);
    enum err (*snapshot_open)(struct store *store, struct store_snapshot **ret_snapshot);
    void (*snapshot_close)(struct store_snapshot **snapshot); /* within 100 ms: old pages cannot be reused before */
    /* `*ret_value` lives until the snapshot closes. ERR_NOT_FOUND, ERR_CORRUPT. */
    enum err (*get)(struct store_snapshot *snapshot, const struct store_key *key, struct slice *ret_value);
    /* Rows of key->partition with key->row <= row < end (`end.data` NULL: no bound), ascending, or descending from the
     * largest below `end`; stops when `visit` returns other than ERR_OK (ERR_END counts as success). */
    enum err (*scan)(struct store_snapshot *snapshot, const struct store_key *key, struct slice end, bool descending,
                     store_visit visit, void *context);
    /* All partition keys of a table, each once, in no promised order; for rebuild, fsck and start-up. */
    enum err (*partitions)(struct store_snapshot *snapshot, enum store_table table, store_visit visit, void *context);
    /* Checks every value's checksum and the backend's own structure. */
    enum err (*check)(struct store *store, enum err (*report)(void *context, const char *finding), void *context);
};

struct store {
    const struct store_ops *ops; /* first member of every backend's struct */
    bool settled;                /* store.c's, of the writer: no commit is left half done */
    _Atomic uint32_t turn;       /* store.c's: snapshots opened in even and in odd turns */
    _Atomic uint32_t open[2];
};

enum err store_lmdb_open(const struct sys *sys, const char *folder, uint64_t map_bytes /* 0: 64 GiB */, bool read_only,
                         struct diag *diag, struct store **ret_store) MUST_USE;
enum store_memory_mode { STORE_MEMORY_TRANSACTIONAL, STORE_MEMORY_ROW_BY_ROW };
/* ROW_BY_ROW with a seed applies the rows of a commit in a random order within what the contract promises, and a crash
 * (store_memory_crash) may stop in the middle. */
enum err store_memory_open(enum store_memory_mode mode, uint64_t seed, struct store **ret_store) MUST_USE;
/* A second handle on the same rows, which live until the last handle is closed: a simulated process dies by closing its
 * handle and starts again with the other. */
struct store *store_memory_share(struct store *store);
/* The process dies once `rows` rows more are written (those of store/redo.h too): that commit answers ERR_IO, in ROW_BY_ROW
 * mode with the rows before applied, otherwise with all or none. Commits after it work again (the process has come back).
 * UINT32_MAX takes a crash back that has not come. */
void store_memory_crash(struct store *store, uint32_t rows);
/* Calls `before` ahead of each write that is seen by itself: a row in ROW_BY_ROW mode, otherwise a commit. NULL: no calls. */
void store_memory_watch(struct store *store, void (*before)(void *context), void *context);
/* Other rows, which begin as those that are there now: what would be left if the process died here. */
struct store *store_memory_copy(struct store *store);
void store_close(struct store **store);

/* Settles what a crash has left of a commit. Then format version and the identity of the log this store was made from, in
 * STORE_META: written where there is none, otherwise compared (ERR_FOREIGN, with both in `diag`). */
enum { STORE_FORMAT_VERSION = 1 };
/* What to do about a row of a version that is not ours: `what` names it. ERR_FOREIGN. */
enum err store_other_version(struct diag *diag, const char *what) MUST_USE;
enum err store_identify(struct store *store, const uint8_t log_identity[static 16], uint64_t stamp,
                        struct diag *diag) MUST_USE;

/* Checked wrappers. `store_commit`: ERR_STATE if somebody newer writes to this store (by its stamps, where a backend has no
 * lock); then nothing was applied. After another error a commit with a newer stamp may be tried. */
enum err store_commit(struct store *store, const struct store_batch *const *batches, uint32_t batch_count,
                      uint64_t stamp, struct diag *diag) MUST_USE;
enum err store_snapshot_open(struct store *store, struct store_snapshot **ret_snapshot) MUST_USE;
void store_snapshot_close(struct store *store, struct store_snapshot **snapshot);
/* When all snapshots that are open now must have closed before something is done (what they name is thrown away): begin a turn,
 * and ask until it is over. One thread's. False from `begin`: the turn before it is not over. */
bool store_turn_begin(struct store *store);
bool store_turn_over(const struct store *store);
enum err store_get(struct store *store, struct store_snapshot *snapshot, const struct store_key *key,
                   struct slice *ret_value) MUST_USE;
enum err store_scan(struct store *store, struct store_snapshot *snapshot, const struct store_key *key, struct slice end,
                    bool descending, store_visit visit, void *context) MUST_USE;
enum err store_partitions(struct store *store, struct store_snapshot *snapshot, enum store_table table,
                          store_visit visit, void *context) MUST_USE;
enum err store_check(struct store *store, enum err (*report)(void *context, const char *finding),
                     void *context) MUST_USE;

#endif
