/* The store made anew from the log (`wick fsck --rebuild`): index rows of sealed blocks, the import register, tier rows, and then every
 * record that the topics still hold, folded again. */
#include <stdio.h>
#include <stdlib.h>

#include "candle/series_row.h"
#include "engine/engine_work.h"
#include "venue/import_row.h"

enum { BATCH_BYTES_MAX = 1024 * 1024 * 1024, ARENA_BYTES_MAX = 256 * 1024 * 1024 };

static enum err restore_import(void *context, const struct record *record) {
    struct import_register *rows = context;
    struct import_row row;
    enum err err = import_row_decode(record->key, record->value, &row);
    if (err != ERR_OK) return err;
    if (rows->count == rows->capacity) {
        size_t capacity = rows->capacity == 0 ? 256 : rows->capacity * 2;
        uint64_t *origins = realloc(rows->origins, capacity * sizeof *origins);
        if (origins == NULL) return ERR_NO_MEMORY;
        rows->origins = origins;
        rows->capacity = capacity;
    }
    rows->origins[rows->count++] = row.origin;
    const struct store_key key = import_row_key(&row);
    if (rows->batch != NULL) store_batch_put(rows->batch, &key, record->value);
    return ERR_OK;
}

static int compare_origins(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

bool import_register_knows(const void *context, uint64_t origin) {
    const struct import_register *rows = context;
    return rows->count > 0 && bsearch(&origin, rows->origins, rows->count, sizeof origin, compare_origins) != NULL;
}

enum err import_register_read(const struct engine_parts *parts, struct import_register *rows, struct diag *diag) {
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
        err = record_batch_visit(&records, &arena, restore_import, rows);
    }
    arena_deinit(&arena);
    log_cursor_close(&cursor);
    if (rows->count > 0) qsort(rows->origins, rows->count, sizeof *rows->origins, compare_origins);
    return err == ERR_END ? ERR_OK : err;
}

void import_register_deinit(struct import_register *rows) {
    free(rows->origins);
    rows->origins = NULL;
    rows->count = rows->capacity = 0;
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

static enum err fill(struct engine *engine, struct diag *diag) {
    const struct engine_parts *parts = engine_parts(engine);
    struct store_batch batch;
    store_batch_init(&batch, BATCH_BYTES_MAX);
    struct import_register rows = {.batch = &batch};
    enum err err = import_register_read(parts, &rows, diag);
    if (err == ERR_OK) err = shelf_rebuild(parts->shelf, &batch, import_register_knows, &rows, diag);
    import_register_deinit(&rows);
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

/* --- the folders --- */

void store_path(const struct engine *engine, const char *name, char path[static STORE_PATH_MAX]) {
    snprintf(path, STORE_PATH_MAX, "%s/%s", engine->config.data, name);
}

static enum err see_file(void *context, const struct sys_entry *entry) {
    (void)entry;
    *(bool *)context = true;
    return ERR_END;
}

/* An empty folder is none. */
static bool is_there(const struct engine *engine, const char *name) {
    char path[STORE_PATH_MAX];
    bool found = false;
    store_path(engine, name, path);
    (void)!engine->parts.sys->disk_ops->list(engine->parts.sys->disk, path, see_file, &found);
    return found;
}

static enum err remove_file(void *context, const struct sys_entry *entry) {
    const struct engine *engine = context;
    char path[STORE_PATH_MAX + 260];
    snprintf(path, sizeof path, "%s/" STORE_NEW "/%s", engine->config.data, entry->name);
    return engine->parts.sys->disk_ops->unlink(engine->parts.sys->disk, path);
}

static enum err remove_new(struct engine *engine, struct diag *diag) {
    const struct sys *sys = engine->parts.sys;
    char path[STORE_PATH_MAX];
    store_path(engine, STORE_NEW, path);
    enum err err = sys->disk_ops->list(sys->disk, path, remove_file, engine);
    if (err == ERR_OK) err = sys->disk_ops->unlink(sys->disk, path);
    if (err == ERR_OK || err == ERR_NOT_FOUND) return ERR_OK;
    return diag_set(diag, err, "%s, which a rebuild left behind, cannot be removed", path);
}

void store_forget_new(struct engine *engine) { (void)!remove_new(engine, NULL); }

enum err store_prepare(struct engine *engine, struct diag *diag) {
    bool old = is_there(engine, STORE_OLD), present = is_there(engine, "store");
    if (engine->rebuild && old && present) {
        diag_set(diag, ERR_EXISTS, "there is a store.old of an earlier rebuild");
        diag_where(diag, "%s", engine->config.data);
        diag_hint(diag, "move it away, or remove it if the folder is as it should be");
        return ERR_EXISTS;
    }
    if (engine->rebuild) return remove_new(engine, diag);
    if (present || !old) return ERR_OK;
    diag_set(diag, ERR_NOT_FOUND, "the store is missing, and there is a store.old: a rebuild was cut short");
    diag_where(diag, "%s", engine->config.data);
    diag_hint(diag, "make it again: wick fsck --rebuild");
    return ERR_NOT_FOUND;
}

/* A crash between the two renames leaves no store, which the next start tells from a new folder by store.old. */
static enum err take_place(const struct engine *engine, struct diag *diag) {
    const struct sys *sys = engine->parts.sys;
    char store[STORE_PATH_MAX], new[STORE_PATH_MAX], old[STORE_PATH_MAX];
    store_path(engine, "store", store);
    store_path(engine, STORE_NEW, new);
    store_path(engine, STORE_OLD, old);
    bool present = is_there(engine, "store");
    enum err err = present ? sys->disk_ops->rename(sys->disk, store, old) : ERR_OK;
    if (err != ERR_OK) return diag_set(diag, err, "the store cannot be moved to %s", old);
    err = sys->disk_ops->rename(sys->disk, new, store);
    if (err == ERR_OK) err = sys->disk_ops->sync_folder(sys->disk, engine->config.data);
    if (err == ERR_OK) return err;
    if (present) (void)!sys->disk_ops->rename(sys->disk, old, store);
    return diag_set(diag, err, "the new store cannot be moved to its place");
}

enum err engine_rebuild(const struct sys *sys, const struct config *config, struct diag *diag,
                        struct engine **ret_engine) {
    struct engine *engine = NULL;
    enum err err = engine_open_as(sys, config, ENGINE_WORK, true, diag, &engine);
    if (err != ERR_OK) return err;
    struct diag taking = {0};
    *diag = (struct diag){0}; /* opening leaves words behind that are no finding */
    err = fill(engine, diag);
    if (err == ERR_OK && (err = take_place(engine, &taking)) != ERR_OK) *diag = taking;
    if (err == ERR_OK)
        *ret_engine = engine;
    else
        engine_close(&engine);
    return err;
}
