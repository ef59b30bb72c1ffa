/* A file of klines, read into the book itself where that can be.
 *
 * Days are sealed as they pass. Where rows of a sealed day come back, what was sealed is given up (it was not committed), and
 * the file is read again, whole, into memory: its rows then go to the book in the order of their time, those of one time in the
 * order of the file. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/import_work.h"

/* A row that the fold does not see, with its reason; NULL if it may. What is coarser is made from base rows. */
static const char *kline_fault(const struct import *import, const struct candle *row, char *why, size_t size) {
    if (row->close_time_ms >= import->now_ms) {
        snprintf(why, size, "the row of %lld is not closed yet: it ends with %lld", (long long)row->open_time_ms,
                 (long long)row->close_time_ms);
        return err_name(ERR_FUTURE);
    }
    if (row->native_ms == import->parts->base_ms) {
        if (row->open_time_ms >= 0 && row->open_time_ms % import->parts->base_ms == 0) return NULL;
        snprintf(why, size, "no candle begins at %lld", (long long)row->open_time_ms);
        return err_name(ERR_RANGE);
    }
    snprintf(why, size, "the row of %lld is %u ms long; import rows of %s, of which every longer candle is made",
             (long long)row->open_time_ms, row->native_ms, import->parts->base_ms == 1000 ? "1s" : "1m");
    return "interval";
}

static enum err refuse_row(struct import *import, uint32_t index, struct import_item *item, const char *fault) {
    enum err err = import_source(import->reader, index, &item->line, &item->source);
    return err != ERR_OK ? err : import_refuse_item(import, item, fault);
}

static enum err sort_grow(struct import *import, uint32_t more) {
    struct kline_sort *sort = &import->sort;
    if (more > IMPORT_SORT_MAX - sort->count)
        return diag_set(import->diag, ERR_TOO_LARGE,
                        "%s has more than %d rows, which are not in the order of their time", import->result.row.path,
                        IMPORT_SORT_MAX);
    uint32_t capacity = sort->capacity == 0 ? 64 * 1024 : sort->capacity;
    while (capacity < sort->count + more) capacity *= 2;
    struct candle *rows = realloc(sort->rows, capacity * sizeof *rows);
    if (rows == NULL) return diag_set(import->diag, ERR_NO_MEMORY, "no memory to sort %u klines", capacity);
    sort->rows = rows;
    sort->capacity = capacity;
    return ERR_OK;
}

static enum err sort_add(struct import *import, const struct candle *rows, uint32_t count) {
    struct kline_sort *sort = &import->sort;
    enum err err = sort->capacity - sort->count < count ? sort_grow(import, count) : ERR_OK;
    if (err != ERR_OK) return err;
    memcpy(sort->rows + sort->count, rows, count * sizeof *rows);
    sort->count += count;
    return ERR_OK;
}

struct place {
    int64_t open_ms;
    uint32_t index;
};

static int compare_places(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    if (x->open_ms != y->open_ms) return x->open_ms < y->open_ms ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static enum err apply_sorted(struct import *import, uint32_t series, const struct place *places) {
    enum err err = ERR_OK;
    for (uint32_t i = 0, count; i < import->sort.count && err == ERR_OK; i += count) {
        for (count = 0; count < IMPORT_KLINES_MAX && i + count < import->sort.count; count++)
            import->klines[count] = import->sort.rows[places[i + count].index];
        err = book_apply_klines(import->book, series, import->klines, count, &import->counts, import->diag);
        if (err == ERR_OK) err = import_report_progress(import, count);
    }
    return err;
}

static enum err fold_sorted(struct import *import, uint32_t series) {
    const struct kline_sort *sort = &import->sort;
    if (sort->count == 0) return ERR_OK;
    struct place *places = malloc(sort->count * sizeof *places);
    if (places == NULL) return diag_set(import->diag, ERR_NO_MEMORY, "no memory to sort %u klines", sort->count);
    for (uint32_t i = 0; i < sort->count; i++) places[i] = (struct place){sort->rows[i].open_time_ms, i};
    qsort(places, sort->count, sizeof *places, compare_places);
    enum err err = apply_sorted(import, series, places);
    free(places);
    return err;
}

static enum err fold_kept(struct import *import, uint32_t series, struct candle *rows, uint32_t kept) {
    for (uint32_t i = 0; i < kept; i++) {
        import_touch_range(import, rows[i].open_time_ms);
        import_touch_range(import, rows[i].close_time_ms);
    }
    if (import->sort.active) return sort_add(import, rows, kept);
    enum err err = rows == import->klines
                       ? book_apply_klines(import->book, series, rows, kept, &import->counts, import->diag)
                       : book_klines_read(import->book, series, kept, &import->counts, import->diag);
    if (import->counts.fate[FATE_LATE] > 0) import->sort.wanted = true;
    return err;
}

/* Whether the row is as good as the one before it, which was: the common case, told without a division. */
static bool goes_on(const struct import *import, const struct candle *before, const struct candle *row) {
    return row->open_time_ms - before->open_time_ms == import->parts->base_ms &&
           row->native_ms == import->parts->base_ms && row->close_time_ms < import->now_ms;
}

static enum err fold_klines(struct import *import, uint32_t series, struct candle *rows, uint32_t count) {
    enum err err = ERR_OK;
    uint32_t kept = 0;
    struct import_item item = {0};
    for (uint32_t i = 0; i < count && err == ERR_OK; i++) {
        bool fine = i > 0 && kept == i && goes_on(import, &rows[i - 1], &rows[i]);
        const char *fault = fine ? NULL : kline_fault(import, &rows[i], item.reason, sizeof item.reason);
        if (fault != NULL)
            err = refuse_row(import, i, &item, fault);
        else if (kept++ != i)
            rows[kept - 1] = rows[i];
    }
    return err != ERR_OK || kept == 0 ? err : fold_kept(import, series, rows, kept);
}

/* Where the next rows go: into the book itself, once their series is known. */
static enum err room_for_klines(struct import *import, uint32_t series, struct candle **ret_rows, uint32_t *ret_room) {
    *ret_room = 0;
    enum err err = series == SERIES_NONE || import->sort.active
                       ? ERR_OK
                       : book_klines_room(import->book, series, ret_rows, ret_room);
    if (*ret_room > IMPORT_KLINES_STEP) *ret_room = IMPORT_KLINES_STEP;
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
        if (import->sort.wanted && !import->sort.active) return ERR_OK;
        if (has_item && (err = import_take_item(import, &item)) != ERR_OK) return err;
        if ((err = import_report_progress(import, count)) != ERR_OK) return err;
        if (end) return import->sort.active ? fold_sorted(import, series) : ERR_OK;
    }
}
