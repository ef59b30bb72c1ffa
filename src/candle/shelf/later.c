/* Rows put off: a freeze copies them, and the checkpoint thread packs them into mini-blocks when it flushes. What is stored
 * by then is what it was at the freeze: checkpoints are committed one after the other, and the next freeze waits. */
#include <assert.h>
#include <stdlib.h>

#include "candle/shelf/parts.h"

enum { ROWS_KEPT = 8192 }; /* of memory, between two flushes */

static bool reserve(struct shelf_later *later, uint32_t rows) {
    if (later->row_capacity - later->row_count < rows) {
        uint32_t capacity = later->row_capacity == 0 ? 1024 : later->row_capacity * 2;
        while (capacity - later->row_count < rows) capacity *= 2;
        struct candle *grown = realloc(later->rows, capacity * sizeof *grown);
        if (grown == NULL) return false;
        later->rows = grown;
        later->row_capacity = capacity;
    }
    if (later->run_count == later->run_capacity) {
        uint32_t capacity = later->run_capacity == 0 ? 256 : later->run_capacity * 2;
        struct later_run *grown = realloc(later->runs, capacity * sizeof *grown);
        if (grown == NULL) return false;
        later->runs = grown;
        later->run_capacity = capacity;
    }
    return true;
}

enum err shelf_put_later(struct shelf *shelf, struct store_snapshot *snapshot, struct store_batch *batch,
                         struct lane lane, const struct candle *candles, uint32_t count) {
    struct shelf_later *later = &shelf->later;
    if (later->row_count + count > SHELF_LATER_ROWS_MAX) return shelf_put(shelf, snapshot, batch, lane, candles, count);
    if (!reserve(later, count)) return ERR_NO_MEMORY;
    memcpy(later->rows + later->row_count, candles, count * sizeof *candles);
    later->row_count += count;
    later->runs[later->run_count++] = (struct later_run){lane, count};
    return ERR_OK;
}

static void forget(struct shelf_later *later) {
    later->row_count = later->run_count = 0;
    if (later->row_capacity <= ROWS_KEPT) return;
    free(later->rows);
    later->rows = NULL;
    later->row_capacity = 0;
}

/* A flush that fails is tried again with the same batch: later writes of a row win. */
enum err shelf_later_flush(struct shelf *shelf, struct store_batch *batch) {
    struct shelf_later *later = &shelf->later;
    struct store_snapshot *snapshot = NULL;
    if (later->run_count == 0) return ERR_OK;
    enum err err = store_snapshot_open(shelf->options.store, &snapshot);
    if (err != ERR_OK) return err;
    for (uint32_t i = 0, at = 0; i < later->run_count && err == ERR_OK; at += later->runs[i++].count)
        err = shelf_put(shelf, snapshot, batch, later->runs[i].lane, later->rows + at, later->runs[i].count);
    store_snapshot_close(shelf->options.store, &snapshot);
    if (err == ERR_OK) forget(later);
    return err;
}

void shelf_later_close(struct shelf *shelf) {
    free(shelf->later.rows);
    free(shelf->later.runs);
}
