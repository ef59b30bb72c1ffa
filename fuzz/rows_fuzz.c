/* Any bytes as one of the small things that are stored: the first byte says as which. Rows of the store go in through a store of
 * memory, as whoever reads them does; the log's own files through their readers, with the CRC put right. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "candle/latest_row.h"
#include "candle/series_row.h"
#include "flow/checkpoint.h"
#include "log/embedded/format.h"
#include "scratch.h"
#include "venue/import_row.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    char folder[64];
    struct log *log;
    struct log_partition *partition;
} all;

static void must(enum err err) {
    if (err != ERR_OK) fprintf(stderr, "%s\n", err_name(err));
    assert(err == ERR_OK);
}

static void clean(void) { scratch_clean(all.folder); }

static void open_log(void) {
    struct diag diag = {0};
    scratch_make(all.folder);
    atexit(clean);
    must(log_open(&(struct log_options){.sys = sys_real(), .folder = all.folder, .segment_bytes = 1 << 20}, &diag,
                  &all.log));
    must(log_topic_create(all.log, "prices", &(struct log_topic_options){0}, &diag));
    must(log_partition_find(all.log, "prices", 0, &all.partition));
}

/* --- rows of the store --- */

static void look_at_checkpoint(struct store *store, struct store_snapshot *snapshot) {
    struct checkpoint checkpoint;
    struct diag diag = {0};
    enum err err = checkpoint_get(store, snapshot, "task", all.log, all.partition, &diag, &checkpoint);
    if (err == ERR_OK) assert(checkpoint.offset <= log_end_offset(all.partition));
    if (err != ERR_OK) assert(diag.what[0] != '\0');
}

static void look_at_latest(struct store *store, struct store_snapshot *snapshot) {
    struct latest_table *table = NULL;
    must(latest_table_open(&table));
    (void)!latest_rows_restore(store, snapshot, "task", table);
    latest_table_close(&table);
}

static void look_at_series(struct store *store, struct store_snapshot *snapshot) {
    struct series_table *table = NULL;
    struct diag diag = {0};
    must(series_table_open(&table));
    (void)!series_rows_load(table, store, snapshot, &diag);
    series_table_close(&table);
}

static enum err look_at_import(void *context, const struct import_row *row) {
    struct buf out;
    (void)context;
    buf_init(&out, 1 << 20);
    import_row_encode(&out, row);
    assert(buf_err(&out) == ERR_OK && strlen(row->path) < sizeof row->path);
    buf_deinit(&out);
    return ERR_OK;
}

static void look_at_imports(struct store *store, struct store_snapshot *snapshot) {
    (void)!import_rows_visit(store, snapshot, look_at_import, NULL);
}

static const struct row_kind {
    struct store_key key;
    void (*look)(struct store *store, struct store_snapshot *snapshot);
} kinds[] = {
    {{STORE_CHECKPOINT, {(const uint8_t *)"task", 4}, {(const uint8_t *)"", 0}}, look_at_checkpoint},
    {{STORE_LATEST, {(const uint8_t *)"task", 4}, {(const uint8_t *)"\0\0\0\1", 4}}, look_at_latest},
    {{STORE_SERIES, {(const uint8_t *)"series", 6}, {(const uint8_t *)"\0\0\0\1", 4}}, look_at_series},
    {{STORE_IMPORTS, {(const uint8_t *)"imports", 7}, {(const uint8_t *)"0123456789abcdef", 16}}, look_at_imports},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static void look_at_row(const struct row_kind *kind, struct slice value) {
    struct store *store = NULL;
    struct store_snapshot *snapshot = NULL;
    struct store_batch batch;
    must(store_memory_open(STORE_MEMORY_TRANSACTIONAL, 0, &store));
    store_batch_init(&batch, 1 << 20);
    store_batch_put(&batch, &kind->key, value);
    const struct store_batch *batches[] = {&batch};
    must(store_commit(store, batches, 1, 1, NULL));
    store_batch_deinit(&batch);
    must(store_snapshot_open(store, &snapshot));
    kind->look(store, snapshot);
    store_snapshot_close(store, &snapshot);
    store_close(&store);
}

/* --- files of the log --- */

static void sign(uint8_t *bytes, size_t size, size_t crc_at) {
    if (size < crc_at + 4) return;
    uint32_t crc = crc32c(0, slice_of(bytes, crc_at));
    memcpy(bytes + crc_at, &crc, 4);
}

static void look_at_identity(uint8_t *bytes, size_t size) {
    uint8_t id[FORMAT_ID_BYTES];
    uint32_t version;
    sign(bytes, size, FORMAT_IDENTITY_BYTES - 4);
    if (format_identity_read(slice_of(bytes, size), id, &version) == ERR_OK) assert(version <= FORMAT_VERSION);
}

static void look_at_topic(uint8_t *bytes, size_t size) {
    struct topic_file topic;
    sign(bytes, size, FORMAT_TOPIC_BYTES - 4);
    if (format_topic_read(slice_of(bytes, size), &topic) != ERR_OK) return;
    uint8_t again[FORMAT_TOPIC_BYTES];
    struct topic_file same;
    format_topic_write(&topic, again);
    must(format_topic_read(slice_of(again, sizeof again), &same));
}

static void look_at_slot(uint8_t *bytes, size_t size) {
    struct durable_end end, same;
    static struct producer producers[FORMAT_PRODUCERS_MAX];
    uint32_t count = 0;
    if (size > 112 && bytes[104] <= FORMAT_PRODUCERS_MAX) { /* the CRC is of the used bytes without its own field */
        size_t used = FORMAT_SLOT_HEADER_BYTES + (size_t)bytes[104] * FORMAT_PRODUCER_BYTES;
        used = (used + 511) / 512 * 512;
        if (used <= size) {
            uint32_t crc = crc32c(crc32c(0, slice_of(bytes, 108)), slice_of(bytes + 112, used - 112));
            memcpy(bytes + 108, &crc, 4);
        }
    }
    if (format_slot_read(slice_of(bytes, size), &end, producers, &count) != ERR_OK) return;
    assert(count <= FORMAT_PRODUCERS_MAX);
    static uint8_t again[FORMAT_SLOT_BYTES];
    uint32_t used = format_slot_write(&end, producers, count, again);
    must(format_slot_read(slice_of(again, used), &same, producers, &count));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*const files[])(uint8_t * bytes, size_t size) = {look_at_identity, look_at_topic, look_at_slot};
    if (size == 0 || size > 64 * 1024) return 0;
    if (all.log == NULL) open_log();
    uint8_t *copy = malloc(size); /* as long as the input, so that a read past it is seen */
    if (copy == NULL) return 0;
    memcpy(copy, data + 1, size - 1);
    unsigned kind = data[0] % (KINDS + sizeof files / sizeof *files);
    if (kind < KINDS)
        look_at_row(&kinds[kind], slice_of(copy, size - 1));
    else
        files[kind - KINDS](copy, size - 1);
    struct ledger_row row;
    struct reader in = reader_of(slice_of(copy, size - 1));
    (void)!ledger_decode(&in, &row);
    free(copy);
    return 0;
}
