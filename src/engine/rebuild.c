/* The store made anew from the log (`wick fsck --rebuild`): index rows of sealed blocks, the import register, tier rows, and then every
 * record that the topics still hold, folded again. */
#include "candle/series_row.h"
#include "engine/engine.h"
#include "flow/imports.h"

enum { BATCH_BYTES_MAX = 1024 * 1024 * 1024, ARENA_BYTES_MAX = 256 * 1024 * 1024 };

static enum err restore_import(void *context, const struct record *record) {
    struct import_row row;
    enum err err = import_row_decode(record->key, record->value, &row);
    if (err != ERR_OK) return err;
    const struct store_key key = import_row_key(&row);
    store_batch_put(context, &key, record->value);
    return ERR_OK;
}

static enum err restore_imports(const struct engine_parts *parts, struct store_batch *batch, struct diag *diag) {
    struct log_partition *partition;
    enum err err = log_partition_find(parts->log, "imports", 0, &partition);
    if (err == ERR_NOT_FOUND) return ERR_OK;
    struct log_cursor *cursor = NULL;
    if (err == ERR_OK) err = log_cursor_open(partition, log_start_offset(partition), diag, &cursor);
    struct arena arena;
    arena_init(&arena, ARENA_BYTES_MAX);
    while (err == ERR_OK) {
        struct record_batch records;
        if ((err = log_cursor_next(cursor, diag, &records)) != ERR_OK) break;
        arena_clear(&arena);
        err = record_batch_visit(&records, &arena, restore_import, batch);
    }
    arena_deinit(&arena);
    log_cursor_close(&cursor);
    return err == ERR_END ? ERR_OK : err;
}

static enum err restore_tiers(const struct engine_parts *parts, struct diag *diag) {
    struct store_snapshot *snapshot = NULL;
    struct store_batch batch;
    store_batch_init(&batch, BATCH_BYTES_MAX);
    enum err err = store_snapshot_open(parts->store, &snapshot);
    if (err == ERR_OK) err = shelf_rebuild_tiers(parts->shelf, snapshot, &batch, diag);
    if (snapshot != NULL) store_snapshot_close(parts->store, &snapshot);
    const struct store_batch *batches[] = {&batch};
    if (err == ERR_OK) err = store_commit(parts->store, batches, 1, task_group_stamp(parts->tasks), diag);
    store_batch_deinit(&batch);
    return err;
}

enum err engine_rebuild(struct engine *engine, struct diag *diag) {
    const struct engine_parts *parts = engine_parts(engine);
    struct store_batch batch;
    store_batch_init(&batch, BATCH_BYTES_MAX);
    enum err err = shelf_rebuild(parts->shelf, &batch, diag);
    if (err == ERR_OK) err = restore_imports(parts, &batch, diag);
    for (uint32_t i = 0; i < series_count(parts->series); i++) series_row_put(&batch, series_get(parts->series, i));
    if (err == ERR_OK) err = store_batch_err(&batch);
    const struct store_batch *batches[] = {&batch};
    if (err == ERR_OK) err = store_commit(parts->store, batches, 1, task_group_stamp(parts->tasks), diag);
    store_batch_deinit(&batch);
    if (err == ERR_OK) err = restore_tiers(parts, diag);
    if (err == ERR_OK) err = engine_catch_up(engine, diag);
    if (err == ERR_OK) err = task_group_checkpoint(parts->tasks, diag);
    return err;
}
