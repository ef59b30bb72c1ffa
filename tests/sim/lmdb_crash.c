/* Crashes of the LMDB backend. LMDB brings its own system calls, so they are recorded for real (this program's pwrite,
 * writev, fdatasync, .. stand before libc's) while a workload commits, and then crash states are made from the record:
 * a prefix of the calls, of which everything synced is there, and of the rest any mix of 512-byte sectors old or new
 * (data pages also garbled; the meta page is one sector, written through O_DSYNC). Each state is opened and must hold
 * exactly the rows of the last commit that was answered, or of the one under way. */
#undef _FILE_OFFSET_BITS /* both names of a call are wanted; they are the same on 64-bit machines */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/splitmix.h"
#include "store/lmdb/make.h"
#include "store/store.h"

enum {
    COMMITS = 160,
    PARTITIONS = 6,
    ROWS = 12,
    VALUE_MAX = 9000,
    IMAGE_MAX = 4 << 20,
    CALLS_MAX = 20000,
    SECTOR = 512,
    STATES_MIN = 10000,
    STATES_A_CALL = 7,
    MAP_BYTES = 8 << 20
};

/* --- the record --- */

enum call_kind { CALL_WRITE, CALL_DSYNC_WRITE, CALL_SYNC, CALL_ANSWERED };

struct call {
    enum call_kind kind;
    uint64_t offset;
    uint8_t *bytes;
    size_t size;
};

static struct {
    bool on;
    char path[256];
    ino_t inode;
    struct call calls[CALLS_MAX];
    uint32_t count;
} record;

static bool recorded(int fd) {
    struct stat info, file;
    if (!record.on || fstat(fd, &info) != 0 || stat(record.path, &file) != 0) return false;
    return info.st_ino == file.st_ino && info.st_dev == file.st_dev;
}

static void note(enum call_kind kind, uint64_t offset, const void *bytes, size_t size) {
    if (record.count == CALLS_MAX) abort();
    struct call *call = &record.calls[record.count++];
    *call = (struct call){kind, offset, NULL, size};
    if (size == 0) return;
    call->bytes = malloc(size);
    if (call->bytes == NULL) abort();
    memcpy(call->bytes, bytes, size);
}

static void note_write(int fd, uint64_t offset, const void *bytes, ssize_t written) {
    if (written <= 0 || !recorded(fd)) return;
    note((fcntl(fd, F_GETFL) & O_DSYNC) != 0 ? CALL_DSYNC_WRITE : CALL_WRITE, offset, bytes, (size_t)written);
}

static void note_parts(int fd, uint64_t offset, const struct iovec *parts, int count, ssize_t written) {
    for (int i = 0; i < count && written > 0; i++) {
        ssize_t size = (ssize_t)parts[i].iov_len < written ? (ssize_t)parts[i].iov_len : written;
        note_write(fd, offset, parts[i].iov_base, size);
        offset += (uint64_t)size;
        written -= size;
    }
}

#define REAL(name)                 \
    static __typeof__(name) *real; \
    if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, #name)

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset) {
    REAL(pwrite);
    ssize_t written = real(fd, bytes, size, offset);
    note_write(fd, (uint64_t)offset, bytes, written);
    return written;
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset) {
    REAL(pwrite64);
    ssize_t written = real(fd, bytes, size, offset);
    note_write(fd, (uint64_t)offset, bytes, written);
    return written;
}

ssize_t write(int fd, const void *bytes, size_t size) {
    REAL(write);
    off_t offset = recorded(fd) ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t written = real(fd, bytes, size);
    note_write(fd, (uint64_t)offset, bytes, written);
    return written;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    off_t offset = recorded(fd) ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t written = real(fd, parts, count);
    note_parts(fd, (uint64_t)offset, parts, count, written);
    return written;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    REAL(pwritev);
    ssize_t written = real(fd, parts, count, offset);
    note_parts(fd, (uint64_t)offset, parts, count, written);
    return written;
}

int fdatasync(int fd) {
    REAL(fdatasync);
    int result = real(fd);
    if (result == 0 && recorded(fd)) note(CALL_SYNC, 0, NULL, 0);
    return result;
}

int fsync(int fd) {
    REAL(fsync);
    int result = real(fd);
    if (result == 0 && recorded(fd)) note(CALL_SYNC, 0, NULL, 0);
    return result;
}

/* Not used by LMDB without MDB_WRITEMAP; if that changes, the record would be wrong without a word. */
int ftruncate(int fd, off_t size) {
    REAL(ftruncate);
    if (recorded(fd)) abort();
    return real(fd, size);
}

int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    if (recorded(fd)) abort();
    return real(fd, size);
}

int msync(void *address, size_t size, int flags) {
    (void)address, (void)size, (void)flags;
    abort();
}

/* --- the workload: rows whose bytes follow from (commit, row) --- */

struct content {
    uint32_t commit[PARTITIONS][ROWS]; /* that wrote the row; 0: not there */
};
static struct content contents[COMMITS + 1];

static struct store_key key_of(int partition, int row, char text[static 4]) {
    snprintf(text, 4, "%c%02d", 'a' + partition, row);
    enum store_table table = partition % 2 == 0 ? STORE_CANDLES : STORE_STATE;
    return (struct store_key){table, slice_of(text, 1), slice_of(text + 1, 2)};
}

static struct slice value_of(uint32_t commit, int partition, int row, uint8_t *bytes) {
    uint64_t random = (uint64_t)commit << 16 | (unsigned)partition << 8 | (unsigned)row;
    size_t size = 1 + splitmix_next(&random) % (splitmix_next(&random) % 6 == 0 ? VALUE_MAX : 300);
    for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(splitmix_next(&random) >> 13);
    return slice_of(bytes, size);
}

static void fill_batch(struct store_batch *batch, uint32_t commit, uint64_t *random) {
    static uint8_t bytes[VALUE_MAX];
    char text[4];
    contents[commit] = contents[commit - 1];
    for (uint64_t writes = 1 + splitmix_next(random) % 10; writes > 0; writes--) {
        int partition = (int)(splitmix_next(random) % PARTITIONS), row = (int)(splitmix_next(random) % ROWS);
        const struct store_key key = key_of(partition, row, text);
        bool delete = splitmix_next(random) % 4 == 0;
        contents[commit].commit[partition][row] = delete ? 0 : commit;
        if (delete)
            store_batch_delete(batch, &key);
        else
            store_batch_put(batch, &key, value_of(commit, partition, row, bytes));
    }
    const struct store_key last = {STORE_META, SLICE("test"), SLICE("commit")};
    store_batch_put(batch, &last, slice_of(&commit, sizeof commit));
}

/* The file has its name once it is whole and synced. */
static void begin_record(const char *folder) {
    static uint8_t bytes[64 * 1024];
    snprintf(record.path, sizeof record.path, "%s/data.mdb", folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(lmdb_make(sys_real(), folder, MAP_BYTES), 0);
    FILE *file = fopen(record.path, "rb");
    assert_non_null(file);
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    assert_in_range(size, 1, sizeof bytes - 1);
    note(CALL_DSYNC_WRITE, 0, bytes, size);
    note(CALL_SYNC, 0, NULL, 0);
    record.on = true;
}

static void run_workload(const char *folder) {
    struct store *store = NULL;
    struct store_batch batch;
    struct diag diag = {0};
    uint64_t random = 42;
    store_batch_init(&batch, 1 << 20);
    begin_record(folder);
    assert_int_equal(store_lmdb_open(sys_real(), folder, MAP_BYTES, false, &diag, &store), ERR_OK);
    note(CALL_ANSWERED, 0, NULL, 0);
    for (uint32_t commit = 1; commit <= COMMITS; commit++) {
        store_batch_clear(&batch);
        fill_batch(&batch, commit, &random);
        assert_int_equal(store_commit(store, (const struct store_batch *const[]){&batch}, 1, 0, &diag), ERR_OK);
        note(CALL_ANSWERED, commit, NULL, 0);
    }
    store_close(&store);
    record.on = false;
    store_batch_deinit(&batch);
}

/* --- crash states --- */

struct image {
    uint8_t *bytes;
    size_t size;
};

static struct image synced, made;

static void image_write(struct image *image, uint64_t offset, const uint8_t *bytes, size_t size) {
    assert_true(offset + size <= IMAGE_MAX);
    if (offset > image->size) memset(image->bytes + image->size, 0, offset - image->size);
    memcpy(image->bytes + offset, bytes, size);
    if (offset + size > image->size) image->size = offset + size;
}

enum mix { MIX_NONE, MIX_ALL, MIX_CALLS, MIX_SECTORS, MIX_GARBLED, MIX_PREFIX, MIX_COUNT };

static void write_sectors(struct image *image, const struct call *call, enum mix mix, uint64_t *random) {
    for (size_t at = 0; at < call->size;) {
        size_t end = at + SECTOR - (call->offset + at) % SECTOR;
        if (end > call->size) end = call->size;
        uint8_t garbage[SECTOR];
        bool keep = splitmix_next(random) % 2 == 0;
        bool garble = mix == MIX_GARBLED && call->kind == CALL_WRITE && splitmix_next(random) % 3 == 0;
        for (size_t i = 0; garble && i < end - at; i++) garbage[i] = (uint8_t)splitmix_next(random);
        if (garble)
            image_write(image, call->offset + at, garbage, end - at);
        else if (keep)
            image_write(image, call->offset + at, call->bytes + at, end - at);
        at = end;
    }
}

/* What the disk may hold when the power fails before calls[end] has returned; calls before `from` are in `synced`. */
static void make_state(uint32_t from, uint32_t end, enum mix mix, uint64_t *random) {
    memcpy(made.bytes, synced.bytes, synced.size);
    made.size = synced.size;
    uint32_t prefix = end > from ? from + (uint32_t)(splitmix_next(random) % (end - from + 1)) : from;
    for (uint32_t i = from; i <= end && i < record.count; i++) {
        const struct call *call = &record.calls[i];
        if (call->kind != CALL_WRITE && call->kind != CALL_DSYNC_WRITE) continue;
        /* A write through O_DSYNC that has returned is there. */
        bool sure = call->kind == CALL_DSYNC_WRITE && i < end;
        if (sure || mix == MIX_ALL || (mix == MIX_CALLS && splitmix_next(random) % 2 == 0) ||
            (mix == MIX_PREFIX && i < prefix))
            image_write(&made, call->offset, call->bytes, call->size);
        else if (mix == MIX_SECTORS || mix == MIX_GARBLED)
            write_sectors(&made, call, mix, random);
    }
}

/* --- judging a state --- */

struct verdict {
    struct store *store;
    struct store_snapshot *snapshot;
    const struct content *content;
    int partition;
    uint32_t rows;
    const char *fault;
};

static enum err visit_row(void *context, struct slice row, struct slice value) {
    static uint8_t bytes[VALUE_MAX];
    struct verdict *v = context;
    int number = row.size == 2 ? (row.data[0] - '0') * 10 + row.data[1] - '0' : -1;
    if (number < 0 || number >= ROWS || v->content->commit[v->partition][number] == 0)
        v->fault = "a row that should not be there";
    else if (!slice_equal(value, value_of(v->content->commit[v->partition][number], v->partition, number, bytes)))
        v->fault = "a row of another commit";
    v->rows++;
    return ERR_OK;
}

static void judge_rows(struct verdict *v) {
    char text[4];
    for (v->partition = 0; v->partition < PARTITIONS && v->fault == NULL; v->partition++) {
        struct store_key key = key_of(v->partition, 0, text);
        uint32_t expected = 0;
        for (int row = 0; row < ROWS; row++) expected += v->content->commit[v->partition][row] != 0;
        v->rows = 0;
        key.row = SLICE("");
        if (store_scan(v->store, v->snapshot, &key, SLICE_NONE, false, visit_row, v) != ERR_OK)
            v->fault = "a row cannot be read";
        else if (v->fault == NULL && v->rows != expected)
            v->fault = "a row is missing";
    }
}

static enum err count_finding(void *context, const char *finding) {
    (void)finding;
    ++*(int *)context;
    return ERR_OK;
}

/* NULL if the store opens and holds commit `answered` or the next one, whole. */
static const char *judge(const char *folder, uint32_t answered, bool opened_once, bool read_only) {
    struct verdict v = {0};
    uint32_t commit = 0;
    enum err err = store_lmdb_open(sys_real(), folder, MAP_BYTES, read_only, NULL, &v.store);
    if (err != ERR_OK) return opened_once ? "the store does not open" : NULL;
    int findings = 0;
    if (store_check(v.store, count_finding, &findings) != ERR_OK || findings > 0) v.fault = "check finds damage";
    const struct store_key key = {STORE_META, SLICE("test"), SLICE("commit")};
    struct slice value;
    assert_int_equal(store_snapshot_open(v.store, &v.snapshot), ERR_OK);
    err = store_get(v.store, v.snapshot, &key, &value);
    if (err == ERR_OK && value.size == sizeof commit) memcpy(&commit, value.data, sizeof commit);
    if (err != ERR_OK && err != ERR_NOT_FOUND) v.fault = "the commit number cannot be read";
    if (v.fault == NULL && commit != answered && commit != answered + 1) v.fault = "an answered commit is lost";
    v.content = &contents[commit <= COMMITS ? commit : 0];
    if (v.fault == NULL) judge_rows(&v);
    store_snapshot_close(v.store, &v.snapshot);
    store_close(&v.store);
    return v.fault;
}

static void put_image(const char *folder, const struct image *image) {
    char path[256];
    snprintf(path, sizeof path, "%s/data.mdb", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, image->bytes, image->size), image->size);
    close(fd);
}

struct totals {
    uint32_t states, violations;
};

/* Replays every prefix of the record. `syncs_count` false plays a store that never syncs its data pages: the test must
 * then find something, or it can find nothing. */
static struct totals replay(const char *folder, bool syncs_count, uint32_t states_a_call) {
    struct totals totals = {0};
    uint32_t from = 0, answered = 0;
    uint64_t random = 7;
    bool opened = false;
    synced.size = 0;
    for (uint32_t end = 0; end < record.count; end++) {
        const struct call *call = &record.calls[end];
        for (uint32_t i = 0; i < states_a_call && call->kind != CALL_ANSWERED; i++) {
            make_state(from, end, (enum mix)(i % MIX_COUNT), &random);
            put_image(folder, &made);
            const char *fault = judge(folder, answered, opened, splitmix_next(&random) % 8 != 0);
            totals.states++;
            if (fault == NULL) continue;
            if (totals.violations++ < 5 && syncs_count)
                print_message("call %u, mix %u: %s\n", end, i % MIX_COUNT, fault);
        }
        if (call->kind == CALL_ANSWERED) {
            answered = (uint32_t)call->offset;
            opened = true;
        }
        if (call->kind == CALL_SYNC && syncs_count) {
            for (; from <= end; from++)
                if (record.calls[from].kind == CALL_WRITE || record.calls[from].kind == CALL_DSYNC_WRITE)
                    image_write(&synced, record.calls[from].offset, record.calls[from].bytes, record.calls[from].size);
        }
    }
    return totals;
}

static void answered_commits_survive_crashes(void **state) {
    struct totals totals = replay(*state, true, STATES_A_CALL);
    print_message("%u crash states of %u calls, %u violations\n", totals.states, record.count, totals.violations);
    assert_true(totals.states >= STATES_MIN);
    assert_int_equal(totals.violations, 0);
}

static void a_store_without_syncs_is_seen_through(void **state) {
    struct totals totals = replay(*state, false, 2);
    print_message("without syncs: %u crash states, %u violations\n", totals.states, totals.violations);
    assert_true(totals.violations > 0);
}

int main(void) {
    struct stat shared;
    char root[64], folder[96], crashed[96], command[128];
    snprintf(root, sizeof root, "%s/wick-lmdb-XXXXXX", stat("/dev/shm", &shared) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(root) == NULL) return 1;
    snprintf(folder, sizeof folder, "%s/recorded", root);
    snprintf(crashed, sizeof crashed, "%s/crashed", root);
    synced.bytes = calloc(1, IMAGE_MAX);
    made.bytes = calloc(1, IMAGE_MAX);
    if (synced.bytes == NULL || made.bytes == NULL || mkdir(crashed, 0700) != 0) return 1;
    run_workload(folder);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(answered_commits_survive_crashes, crashed),
        cmocka_unit_test_prestate(a_store_without_syncs_is_seen_through, crashed),
    };
    int failed = cmocka_run_group_tests_name("store/lmdb crashes", tests, NULL, NULL);
    for (uint32_t i = 0; i < record.count; i++) free(record.calls[i].bytes);
    free(synced.bytes);
    free(made.bytes);
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    if (system(command) != 0) return 1;
    return failed;
}
