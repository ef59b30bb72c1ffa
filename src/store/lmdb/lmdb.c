/* The LMDB backend: one environment, one named database a table.
 *
 *   key    flat key (store/store_key.h)
 *   value  u64 little-endian XXH3-64 over table, key and bytes; bytes
 *
 * Validity: a value whose checksum does not match is ERR_CORRUPT; the tree itself is LMDB's, made durable by writing new
 * pages, syncing, then writing the meta page with O_DSYNC or a second sync. Recovery: none is needed, the newer valid
 * meta page is the store. No MDB_WRITEMAP (a stray write cannot reach the file) and no MDB_NOSYNC. What cannot be read
 * is made anew from the log.
 *
 * The map is an address range, not memory. When it is full it is doubled, which LMDB allows only without open
 * transactions: snapshots are short, so growing waits for them, at most GROW_WAIT_MS. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "store/lmdb/make.h"
#include "store/store_key.h"

enum {
    READERS_MAX = 1024,
    GROW_WAIT_MS = 2000,
    CHECKSUM_BYTES = 8,
    SPACE_SHORT_BYTES = 16 * 1024 * 1024,
    MAGIC = 0x6c6d6462
};
static const uint64_t MAP_BYTES_DEFAULT = 64ull << 30;
static const uint64_t MAP_BYTES_MAX = 4ull << 40;

struct lmdb_store {
    struct store base;
    uint32_t magic;
    bool read_only;
    bool table_open[STORE_TABLE_COUNT]; /* a reader may come before the first writer */
    MDB_dbi tables[STORE_TABLE_COUNT];
    MDB_env *env;
    uint64_t map_bytes;
    pthread_mutex_t gate;
    pthread_cond_t gate_free;
    uint32_t snapshot_count; /* under gate */
    bool growing;            /* under gate: no snapshot opens */
};

struct lmdb_snapshot {
    struct store_snapshot base;
    MDB_txn *txn;
};

static const struct store_ops lmdb_ops;

static struct lmdb_store *lmdb_of(struct store *store) {
    struct lmdb_store *lmdb = (struct lmdb_store *)store;
    assert(store->ops == &lmdb_ops && lmdb->magic == MAGIC);
    return lmdb;
}

static enum err err_of(int rc) {
    switch (rc) {
        case MDB_SUCCESS: return ERR_OK;
        case MDB_NOTFOUND: return ERR_NOT_FOUND;
        case MDB_MAP_FULL:
        case ENOSPC:
        case EDQUOT:
        case EFBIG: return ERR_NO_SPACE;
        case ENOMEM: return ERR_NO_MEMORY;
        case MDB_READERS_FULL: return ERR_LIMIT;
        case MDB_CORRUPTED:
        case MDB_PAGE_NOTFOUND:
        case MDB_INVALID: return ERR_CORRUPT;
        case MDB_VERSION_MISMATCH: return ERR_FOREIGN;
        case ENOENT: return ERR_NOT_FOUND;
        case EACCES:
        case EPERM: return ERR_DENIED;
        default: return ERR_IO;
    }
}

static enum err fail(struct diag *diag, int rc, const char *what) {
    return diag_set(diag, err_of(rc), "%s: %s", what, mdb_strerror(rc));
}

static MDB_val val_of(struct slice slice) { return (MDB_val){slice.size, (void *)(uintptr_t)slice.data}; }
static struct slice slice_of_val(MDB_val val) { return slice_of(val.mv_data, val.mv_size); }

/* --- commit --- */

struct commit {
    struct lmdb_store *lmdb;
    MDB_txn *txn;
    int rc;
};

static int put_value(struct commit *commit, enum store_table table, struct slice flat, struct slice value) {
    uint64_t sum = store_checksum(table, flat, value);
    MDB_val key = val_of(flat);
    MDB_val data = {CHECKSUM_BYTES + value.size, NULL};
    int rc = mdb_put(commit->txn, commit->lmdb->tables[table], &key, &data, MDB_RESERVE);
    if (rc != 0) return rc;
    memcpy(data.mv_data, &sum, CHECKSUM_BYTES);
    if (value.size > 0) memcpy((uint8_t *)data.mv_data + CHECKSUM_BYTES, value.data, value.size);
    return 0;
}

static enum err commit_write(void *context, const struct store_key *key, struct slice value) {
    struct commit *commit = context;
    struct store_flat_key flat;
    enum err err = store_flat_key(key->partition, key->row, &flat);
    if (err != ERR_OK) return err;
    struct slice bytes = slice_of(flat.bytes, flat.size);
    if (value.data == NULL) {
        MDB_val at = val_of(bytes);
        commit->rc = mdb_del(commit->txn, commit->lmdb->tables[key->table], &at, NULL);
        if (commit->rc == MDB_NOTFOUND) commit->rc = 0;
    } else {
        commit->rc = put_value(commit, key->table, bytes, value);
    }
    return commit->rc == 0 ? ERR_OK : err_of(commit->rc);
}

static int commit_once(struct lmdb_store *lmdb, const struct store_batch *const *batches, uint32_t batch_count) {
    struct commit commit = {.lmdb = lmdb};
    int rc = mdb_txn_begin(lmdb->env, NULL, 0, &commit.txn);
    if (rc != 0) return rc;
    for (uint32_t i = 0; i < batch_count; i++) {
        enum err err = store_batch_visit(batches[i], commit_write, &commit);
        assert(err == ERR_OK || commit.rc != 0);
        if (err == ERR_OK) continue;
        mdb_txn_abort(commit.txn);
        return commit.rc;
    }
    return mdb_txn_commit(commit.txn);
}

/* Waits until no snapshot is open and keeps new ones out; false if they stay too long. */
static bool gate_close(struct lmdb_store *lmdb) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += GROW_WAIT_MS / 1000;
    pthread_mutex_lock(&lmdb->gate);
    lmdb->growing = true;
    int rc = 0;
    while (lmdb->snapshot_count > 0 && rc == 0) rc = pthread_cond_timedwait(&lmdb->gate_free, &lmdb->gate, &until);
    bool closed = lmdb->snapshot_count == 0;
    if (!closed) {
        lmdb->growing = false;
        pthread_cond_broadcast(&lmdb->gate_free);
    }
    pthread_mutex_unlock(&lmdb->gate);
    return closed;
}

static void gate_open(struct lmdb_store *lmdb) {
    pthread_mutex_lock(&lmdb->gate);
    lmdb->growing = false;
    pthread_cond_broadcast(&lmdb->gate_free);
    pthread_mutex_unlock(&lmdb->gate);
}

static bool map_grow(struct lmdb_store *lmdb) {
    uint64_t bytes = lmdb->map_bytes * 2;
    if (bytes > MAP_BYTES_MAX || !gate_close(lmdb)) return false;
    bool grown = mdb_env_set_mapsize(lmdb->env, bytes) == 0;
    if (grown) lmdb->map_bytes = bytes;
    gate_open(lmdb);
    return grown;
}

/* LMDB says EIO for a short write (the disk is full) and for a failed sync alike. Taking the one for the other on a full
 * disk does no harm: the next commit writes anew every page that the failed one wrote, and touches no other. */
static bool space_is_short(struct lmdb_store *lmdb) {
    int fd;
    struct stat info;
    struct statvfs disk;
    struct rlimit limit;
    if (mdb_env_get_fd(lmdb->env, &fd) != 0) return false;
    if (fstatvfs(fd, &disk) == 0 && (uint64_t)disk.f_bavail * disk.f_frsize < SPACE_SHORT_BYTES) return true;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || fstat(fd, &info) != 0) return false;
    return limit.rlim_cur != RLIM_INFINITY && (uint64_t)info.st_size + SPACE_SHORT_BYTES > limit.rlim_cur;
}

static enum err lmdb_commit(struct store *store, const struct store_batch *const *batches, uint32_t batch_count,
                            uint64_t stamp, struct diag *diag) {
    (void)stamp;
    struct lmdb_store *lmdb = lmdb_of(store);
    if (lmdb->read_only) return diag_set(diag, ERR_STATE, "the store was opened for reading only");
    int rc = commit_once(lmdb, batches, batch_count);
    while (rc == MDB_MAP_FULL && map_grow(lmdb)) rc = commit_once(lmdb, batches, batch_count);
    if (rc == 0) return ERR_OK;
    if (rc == EIO && space_is_short(lmdb)) rc = ENOSPC;
    if (rc == EIO || rc == MDB_PANIC) return diag_set(diag, ERR_SYNC, "cannot write the store: %s", mdb_strerror(rc));
    return fail(diag, rc, "cannot write the store");
}

/* --- reading --- */

static void gate_enter(struct lmdb_store *lmdb) {
    pthread_mutex_lock(&lmdb->gate);
    while (lmdb->growing) pthread_cond_wait(&lmdb->gate_free, &lmdb->gate);
    lmdb->snapshot_count++;
    pthread_mutex_unlock(&lmdb->gate);
}

static void gate_leave(struct lmdb_store *lmdb) {
    pthread_mutex_lock(&lmdb->gate);
    assert(lmdb->snapshot_count > 0);
    if (--lmdb->snapshot_count == 0) pthread_cond_broadcast(&lmdb->gate_free);
    pthread_mutex_unlock(&lmdb->gate);
}

/* Another process grew the map. */
static int map_follow(struct lmdb_store *lmdb) {
    if (!gate_close(lmdb)) return MDB_MAP_RESIZED;
    int rc = mdb_env_set_mapsize(lmdb->env, 0);
    gate_open(lmdb);
    return rc;
}

static int snapshot_begin(struct lmdb_store *lmdb, MDB_txn **ret_txn) {
    gate_enter(lmdb);
    int rc = mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, ret_txn);
    if (rc != 0) gate_leave(lmdb);
    return rc;
}

static enum err lmdb_snapshot_open(struct store *store, struct store_snapshot **ret_snapshot) {
    struct lmdb_store *lmdb = lmdb_of(store);
    struct lmdb_snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (snapshot == NULL) return ERR_NO_MEMORY;
    snapshot->base.store = store;
    int rc = snapshot_begin(lmdb, &snapshot->txn);
    if (rc == MDB_MAP_RESIZED) {
        rc = map_follow(lmdb);
        if (rc == 0) rc = snapshot_begin(lmdb, &snapshot->txn);
    }
    if (rc != 0) {
        free(snapshot);
        return err_of(rc);
    }
    *ret_snapshot = &snapshot->base;
    return ERR_OK;
}

static void lmdb_snapshot_close(struct store_snapshot **snapshot) {
    struct lmdb_snapshot *own = (struct lmdb_snapshot *)*snapshot;
    mdb_txn_abort(own->txn);
    gate_leave(lmdb_of(own->base.store));
    free(own);
    *snapshot = NULL;
}

static enum err value_checked(enum store_table table, MDB_val key, MDB_val data, struct slice *ret_value) {
    if (data.mv_size < CHECKSUM_BYTES) return ERR_CORRUPT;
    uint64_t sum;
    memcpy(&sum, data.mv_data, CHECKSUM_BYTES);
    struct slice value = slice_of((uint8_t *)data.mv_data + CHECKSUM_BYTES, data.mv_size - CHECKSUM_BYTES);
    if (sum != store_checksum(table, slice_of_val(key), value)) return ERR_CORRUPT;
    *ret_value = value;
    return ERR_OK;
}

static enum err lmdb_get(struct store_snapshot *snapshot, const struct store_key *key, struct slice *ret_value) {
    struct lmdb_store *lmdb = lmdb_of(snapshot->store);
    struct store_flat_key flat;
    enum err err = store_flat_key(key->partition, key->row, &flat);
    if (err != ERR_OK) return err;
    if (!lmdb->table_open[key->table]) return ERR_NOT_FOUND;
    MDB_val at = {flat.size, flat.bytes}, data;
    int rc = mdb_get(((struct lmdb_snapshot *)snapshot)->txn, lmdb->tables[key->table], &at, &data);
    return rc != 0 ? err_of(rc) : value_checked(key->table, at, data, ret_value);
}

static enum err cursor_open(struct store_snapshot *snapshot, enum store_table table, MDB_cursor **ret_cursor) {
    struct lmdb_store *lmdb = lmdb_of(snapshot->store);
    if (!lmdb->table_open[table]) return ERR_NOT_FOUND;
    return err_of(mdb_cursor_open(((struct lmdb_snapshot *)snapshot)->txn, lmdb->tables[table], ret_cursor));
}

/* Moves to the largest key below `bound`, or to the last one if there is none. */
static int cursor_before(MDB_cursor *cursor, bool bounded, struct slice bound, MDB_val *key, MDB_val *data) {
    if (!bounded) return mdb_cursor_get(cursor, key, data, MDB_LAST);
    *key = val_of(bound);
    int rc = mdb_cursor_get(cursor, key, data, MDB_SET_RANGE);
    return mdb_cursor_get(cursor, key, data, rc == MDB_NOTFOUND ? MDB_LAST : MDB_PREV);
}

struct scan {
    enum store_table table;
    size_t row_at; /* where the row starts in a flat key */
    struct slice low, high;
    bool bounded; /* is there a key behind the range at all */
    store_visit visit;
    void *context;
};

static enum err scan_visit(const struct scan *scan, MDB_val key, MDB_val data) {
    struct slice value;
    enum err err = value_checked(scan->table, key, data, &value);
    if (err != ERR_OK) return err;
    struct slice row = slice_of((uint8_t *)key.mv_data + scan->row_at, key.mv_size - scan->row_at);
    return scan->visit(scan->context, row, value);
}

static enum err scan_up(MDB_cursor *cursor, const struct scan *scan) {
    MDB_val key = val_of(scan->low), data;
    int rc = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE);
    while (rc == 0 && !(scan->bounded && slice_compare(slice_of_val(key), scan->high) >= 0)) {
        enum err err = scan_visit(scan, key, data);
        if (err != ERR_OK) return err;
        rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT);
    }
    return rc == MDB_NOTFOUND ? ERR_OK : err_of(rc);
}

static enum err scan_down(MDB_cursor *cursor, const struct scan *scan) {
    MDB_val key, data;
    int rc = cursor_before(cursor, scan->bounded, scan->high, &key, &data);
    while (rc == 0 && slice_compare(slice_of_val(key), scan->low) >= 0) {
        enum err err = scan_visit(scan, key, data);
        if (err != ERR_OK) return err;
        rc = mdb_cursor_get(cursor, &key, &data, MDB_PREV);
    }
    return rc == MDB_NOTFOUND ? ERR_OK : err_of(rc);
}

static enum err lmdb_scan(struct store_snapshot *snapshot, const struct store_key *key, struct slice end,
                          bool descending, store_visit visit, void *context) {
    struct store_flat_key low, high;
    enum err err = store_flat_key(key->partition, key->row, &low);
    if (err != ERR_OK) return err;
    struct scan scan = {key->table, 2 + key->partition.size, slice_of(low.bytes, low.size), .visit = visit,
                        .context = context};
    if (end.data != NULL) {
        err = store_flat_key(key->partition, end, &high);
        if (err != ERR_OK) return err;
        scan.bounded = true;
    } else {
        scan.bounded = store_flat_key_behind(key->partition, &high);
    }
    if (scan.bounded) scan.high = slice_of(high.bytes, high.size);
    MDB_cursor *cursor;
    err = cursor_open(snapshot, key->table, &cursor);
    if (err != ERR_OK) return err == ERR_NOT_FOUND ? ERR_OK : err;
    err = descending ? scan_down(cursor, &scan) : scan_up(cursor, &scan);
    mdb_cursor_close(cursor);
    return err;
}

static enum err lmdb_partitions(struct store_snapshot *snapshot, enum store_table table, store_visit visit,
                                void *context) {
    MDB_cursor *cursor;
    enum err err = cursor_open(snapshot, table, &cursor);
    if (err != ERR_OK) return err == ERR_NOT_FOUND ? ERR_OK : err;
    MDB_val key, data;
    int rc = mdb_cursor_get(cursor, &key, &data, MDB_FIRST);
    while (rc == 0 && err == ERR_OK) {
        struct slice partition;
        struct store_flat_key behind;
        err = store_flat_key_partition(slice_of_val(key), &partition);
        if (err == ERR_OK) err = visit(context, partition, SLICE_NONE);
        if (err != ERR_OK || !store_flat_key_behind(partition, &behind)) break;
        key = (MDB_val){behind.size, behind.bytes};
        rc = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE);
    }
    mdb_cursor_close(cursor);
    if (err != ERR_OK) return err;
    return rc == MDB_NOTFOUND ? ERR_OK : err_of(rc);
}

/* --- check --- */

static enum err check_table(MDB_cursor *cursor, enum store_table table,
                            enum err (*report)(void *context, const char *finding), void *context) {
    MDB_val key, data;
    int rc = mdb_cursor_get(cursor, &key, &data, MDB_FIRST);
    for (uint64_t row = 0; rc == 0; row++) {
        struct slice value, partition;
        enum err err = store_flat_key_partition(slice_of_val(key), &partition);
        if (err == ERR_OK) err = value_checked(table, key, data, &value);
        if (err != ERR_OK) {
            char finding[160];
            snprintf(finding, sizeof finding, "table %s, row %llu: %s", store_table_name(table),
                     (unsigned long long)row, err_message(err));
            err = report(context, finding);
            if (err != ERR_OK) return err;
        }
        rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT);
    }
    if (rc == MDB_NOTFOUND) return ERR_OK;
    char finding[160];
    snprintf(finding, sizeof finding, "table %s: %s", store_table_name(table), mdb_strerror(rc));
    return report(context, finding);
}

static enum err lmdb_check(struct store *store, enum err (*report)(void *context, const char *finding), void *context) {
    struct store_snapshot *snapshot = NULL;
    enum err err = lmdb_snapshot_open(store, &snapshot);
    for (int table = 0; table < STORE_TABLE_COUNT && err == ERR_OK; table++) {
        MDB_cursor *cursor;
        err = cursor_open(snapshot, (enum store_table)table, &cursor);
        if (err == ERR_NOT_FOUND) {
            err = ERR_OK;
            continue;
        }
        if (err != ERR_OK) break;
        err = check_table(cursor, (enum store_table)table, report, context);
        mdb_cursor_close(cursor);
    }
    if (snapshot != NULL) lmdb_snapshot_close(&snapshot);
    return err;
}

/* --- life cycle --- */

static void lmdb_close(struct store *store) {
    struct lmdb_store *lmdb = lmdb_of(store);
    assert(lmdb->snapshot_count == 0);
    lmdb->magic = 0;
    if (lmdb->env != NULL) mdb_env_close(lmdb->env);
    pthread_mutex_destroy(&lmdb->gate);
    pthread_cond_destroy(&lmdb->gate_free);
    free(lmdb);
}

static const struct store_ops lmdb_ops = {
    .name = "lmdb",
    .atomic_commit = true,
    .close = lmdb_close,
    .commit = lmdb_commit,
    .snapshot_open = lmdb_snapshot_open,
    .snapshot_close = lmdb_snapshot_close,
    .get = lmdb_get,
    .scan = lmdb_scan,
    .partitions = lmdb_partitions,
    .check = lmdb_check,
};

static int tables_open(struct lmdb_store *lmdb) {
    MDB_txn *txn;
    int rc = mdb_txn_begin(lmdb->env, NULL, lmdb->read_only ? MDB_RDONLY : 0, &txn);
    if (rc != 0) return rc;
    for (int i = 0; i < STORE_TABLE_COUNT && rc == 0; i++) {
        rc = mdb_dbi_open(txn, store_table_name((enum store_table)i), lmdb->read_only ? 0 : MDB_CREATE,
                          &lmdb->tables[i]);
        lmdb->table_open[i] = rc == 0;
        if (rc == MDB_NOTFOUND && lmdb->read_only) rc = 0;
    }
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    return mdb_txn_commit(txn);
}

/* The map of a file that was cut would end the process where a page is missing (SIGBUS): as zeros it is damage that is
 * seen. LMDB itself leaves pages behind the last used one unwritten, so a short file alone is none. Nothing that another
 * process writes meanwhile is touched. */
static int file_complete(struct lmdb_store *lmdb, const char *folder, const MDB_envinfo *info) {
    MDB_stat sizes;
    struct stat file;
    int fd, rc = mdb_env_stat(lmdb->env, &sizes);
    if (rc == 0) rc = mdb_env_get_fd(lmdb->env, &fd);
    if (rc == 0 && fstat(fd, &file) != 0) rc = errno;
    off_t need = rc == 0 ? (off_t)(info->me_last_pgno + 1) * sizes.ms_psize : 0;
    if (rc != 0 || file.st_size >= need) return rc;
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/data.mdb", folder) >= (int)sizeof path) return MDB_CORRUPTED;
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fallocate(fd, 0, file.st_size, need - file.st_size) != 0) rc = MDB_CORRUPTED;
    if (fd >= 0) close(fd);
    return rc;
}

static int env_open(struct lmdb_store *lmdb, const char *folder) {
    int rc = mdb_env_create(&lmdb->env);
    if (rc == 0) rc = mdb_env_set_maxdbs(lmdb->env, STORE_TABLE_COUNT);
    if (rc == 0) rc = mdb_env_set_maxreaders(lmdb->env, READERS_MAX);
    if (rc == 0) rc = mdb_env_set_mapsize(lmdb->env, lmdb->map_bytes);
    /* Threads hold several snapshots (NOTLS); reads are points and short ranges (NORDAHEAD). */
    unsigned flags = MDB_NOTLS | MDB_NORDAHEAD | (lmdb->read_only ? MDB_RDONLY : 0);
    if (rc == 0) rc = mdb_env_open(lmdb->env, folder, flags, 0600);
    if (rc != 0) return rc;
    int dead = 0;
    if (!lmdb->read_only) rc = mdb_reader_check(lmdb->env, &dead);
    MDB_envinfo info;
    if (rc == 0) rc = mdb_env_info(lmdb->env, &info);
    if (rc == 0) lmdb->map_bytes = info.me_mapsize;
    if (rc == 0) rc = file_complete(lmdb, folder, &info);
    return rc != 0 ? rc : tables_open(lmdb);
}

static enum err folder_make(const struct sys *sys, const char *folder, struct diag *diag) {
    enum err err = sys_make_folders(sys, folder, diag);
    if (err != ERR_OK) return err;
    if (chmod(folder, 0700) != 0) return diag_set(diag, ERR_DENIED, "cannot make %s private", folder);
    return ERR_OK;
}

enum err store_lmdb_open(const struct sys *sys, const char *folder, uint64_t map_bytes, bool read_only,
                         struct diag *diag, struct store **ret_store) {
    assert(sys != NULL && folder != NULL);
    enum err err = read_only ? ERR_OK : folder_make(sys, folder, diag);
    if (err != ERR_OK) return err;
    struct lmdb_store *lmdb = calloc(1, sizeof *lmdb);
    if (lmdb == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for the store");
    lmdb->base.ops = &lmdb_ops;
    lmdb->magic = MAGIC;
    lmdb->read_only = read_only;
    lmdb->map_bytes = map_bytes != 0 ? map_bytes : MAP_BYTES_DEFAULT;
    pthread_mutex_init(&lmdb->gate, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&lmdb->gate_free, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int rc = read_only ? 0 : lmdb_make(sys, folder, lmdb->map_bytes);
    if (rc == 0) rc = env_open(lmdb, folder);
    if (rc != 0) err = fail(diag, rc, "cannot open the store");
    /* LMDB does not sync the folder that holds its new file. */
    if (err == ERR_OK && !read_only) err = sys->disk_ops->sync_folder(sys->disk, folder);
    if (err != ERR_OK) {
        diag_where(diag, "%s", folder);
        lmdb_close(&lmdb->base);
        return err;
    }
    *ret_store = &lmdb->base;
    return ERR_OK;
}
