/* A file of klines, read into the book itself where that can be. */
#include <stdio.h>

#include "engine/import_work.h"

/* A row that the fold does not see, with its reason; NULL if it may. What is coarser is made from base rows. */
static const char *kline_fault(const struct import *import, const struct candle *row, char *why, size_t size) {
    if (row->open_time_ms > import->future_ms) {
        snprintf(why, size, "the row of %lld is more than 5 minutes ahead", (long long)row->open_time_ms);
        return err_name(ERR_FUTURE);
    }
    if (row->native_ms == import->parts->base_ms) return NULL;
    snprintf(why, size,
             "the row of %lld is %u ms long, but the base interval is %u ms; coarser candles are made from base ones",
             (long long)row->open_time_ms, row->native_ms, import->parts->base_ms);
    return "interval";
}

/* Klines come in the order of their days: what a sealed day misses is late, and one record tells of it. */
static enum err put_late_klines(struct import *import, uint64_t count, int64_t from_ms, int64_t to_ms) {
    struct import_item item = {0};
    if (count == 0) return ERR_OK;
    snprintf(item.reason, sizeof item.reason, "%llu of the rows from %lld to %lld came after their day had passed",
             (unsigned long long)count, (long long)from_ms, (long long)to_ms);
    return import_refuse(import, import->late, &item, "late");
}

static enum err fold_kept(struct import *import, uint32_t series, struct candle *rows, uint32_t kept) {
    int64_t from_ms = rows[0].open_time_ms, to_ms = rows[kept - 1].open_time_ms;
    uint64_t late = import->counts.fate[FATE_LATE];
    import_touch_range(import, from_ms);
    import_touch_range(import, rows[kept - 1].close_time_ms);
    enum err err = rows == import->klines
                       ? book_apply_klines(import->book, series, rows, kept, &import->counts, import->diag)
                       : book_klines_read(import->book, series, kept, &import->counts, import->diag);
    return err ? err : put_late_klines(import, import->counts.fate[FATE_LATE] - late, from_ms, to_ms);
}

static enum err fold_klines(struct import *import, uint32_t series, struct candle *rows, uint32_t count) {
    enum err err = ERR_OK;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count && err == ERR_OK; i++) {
        struct import_item item = {0};
        const char *fault = kline_fault(import, &rows[i], item.reason, sizeof item.reason);
        if (fault != NULL)
            err = import_refuse_item(import, &item, fault);
        else if (kept++ != i)
            rows[kept - 1] = rows[i];
    }
    return err != ERR_OK || kept == 0 ? err : fold_kept(import, series, rows, kept);
}

/* Where the next rows go: into the book itself, once their series is known. */
static enum err room_for_klines(struct import *import, uint32_t series, struct candle **ret_rows, uint32_t *ret_room) {
    *ret_room = 0;
    enum err err = series == SERIES_NONE ? ERR_OK : book_klines_room(import->book, series, ret_rows, ret_room);
    if (*ret_room > 0) return err;
    *ret_rows = import->klines;
    *ret_room = IMPORT_KLINES_MAX;
    return err;
}

enum err import_fold_klines(struct import *import) {
    uint32_t series = SERIES_NONE;
    for (;;) {
        struct import_item item;
        struct candle *rows = NULL;
        bool has_item = false;
        uint32_t count = 0, room = 0;
        enum err err = room_for_klines(import, series, &rows, &room);
        if (err != ERR_OK) return err;
        err = import_read_klines(import->reader, rows, room, import->diag, &series, &count, &item, &has_item);
        bool end = err == ERR_END;
        if (err != ERR_OK && !end) return err;
        if (count > 0 && (err = fold_klines(import, series, rows, count)) != ERR_OK) return err;
        if (has_item && (err = import_take_item(import, &item)) != ERR_OK) return err;
        if ((err = import_report_progress(import, count)) != ERR_OK) return err;
        if (end) return ERR_OK;
    }
}
