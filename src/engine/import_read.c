/* A file of events, folded as it is read. */
#include <stdlib.h>

#include "engine/import_work.h"

enum { PROGRESS_EVENTS = 64 * 1024, NEWEST_AHEAD = 8 };

void import_touch_range(struct import *import, int64_t time_ms) {
    struct import_row *row = &import->result.row;
    if (row->from_ms < 0 || time_ms < row->from_ms) row->from_ms = time_ms;
    if (time_ms > row->to_ms) row->to_ms = time_ms;
}

static enum err grow_newest(struct import *import, uint32_t series) {
    uint32_t count = import->newest_count == 0 ? 1024 : import->newest_count;
    while (count <= series) count *= 2;
    struct event *newest = aligned_alloc(64, count * sizeof *newest);
    if (newest == NULL) return ERR_NO_MEMORY;
    if (import->newest != NULL) memcpy(newest, import->newest, import->newest_count * sizeof *newest);
    memset(newest + import->newest_count, 0, (count - import->newest_count) * sizeof *newest);
    free(import->newest);
    import->newest = newest;
    import->newest_count = count;
    return ERR_OK;
}

/* The table of latest prices is for readers on other threads; a file's thousands a series need not all go through it. */
static enum err keep_newest(struct import *import, const struct event *event) {
    enum err err = ERR_OK;
    if (event->series >= import->newest_count && (err = grow_newest(import, event->series)) != ERR_OK) return err;
    struct event *newest = &import->newest[event->series];
    if (event->time_ms < newest->time_ms) return ERR_OK;
    if (event->time_ms == newest->time_ms && newest->time_ms != 0)
        err = latest_offer(import->latest, newest, -1); /* order within a time is the table's business */
    *newest = *event;
    return err;
}

/* Of two thousand series, the next one is seldom in the nearest cache. */
static void heat_newest(const struct import *import, const struct event *event) {
    if (event->series < import->newest_count) __builtin_prefetch(&import->newest[event->series], 1);
}

static uint64_t refused(const struct import *import) {
    return import->counts.fate[FATE_LATE] + import->counts.fate[FATE_INVALID];
}

/* No candle takes an event of before 1970: the fold refuses it, and no watermark runs ahead. */
static void mark_future(struct import *import, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (import->events[i].time_ms > import->future_ms) import->events[i].time_ms = IMPORT_TIME_FUTURE;
}

static enum err fold_step(struct import *import, void *context, uint32_t count) {
    (void)context;
    if (count == 0) return ERR_OK;
    mark_future(import, count);
    uint64_t refused_before = refused(import);
    enum err err = book_apply(import->book, import->events, NULL, count, import->fates, &import->counts, import->diag);
    if (!import->hold && book_came_back(import->book)) import->came_back = import_can_read_again(import);
    if (import->came_back) return err;
    for (uint32_t i = 0; err == ERR_OK && i < count; i++) {
        if (i + NEWEST_AHEAD < count) heat_newest(import, &import->events[i + NEWEST_AHEAD]);
        if (import->fates[i] == FATE_USED) {
            import_touch_range(import, import->events[i].time_ms);
            err = keep_newest(import, &import->events[i]);
        }
    }
    if (refused(import) == refused_before) return err;
    for (uint32_t i = 0; err == ERR_OK && i < count; i++)
        if (import->fates[i] == FATE_LATE || import->fates[i] == FATE_INVALID) err = import_refuse_event(import, i);
    return err;
}

static enum err cancelled(const struct import *import) { return diag_set(import->diag, ERR_CLOSED, "cancelled"); }

enum err import_report_progress(struct import *import, uint32_t count) {
    if (import_is_cancelled(import)) return cancelled(import);
    import->since_progress += count + 1;
    return import->since_progress < PROGRESS_EVENTS ? ERR_OK : import_tell_progress(import);
}

enum err import_tell_progress(struct import *import) {
    import->since_progress = 0;
    if (import->request->progress == NULL) return ERR_OK;
    struct input_progress progress;
    input_progress(import->input, &progress);
    enum err err = import->request->progress(import->request->context, &progress);
    return err == ERR_OK ? err : cancelled(import);
}

enum err import_input_err(struct import *import, enum err err) {
    if (import_is_cancelled(import)) return cancelled(import);
    if (err != ERR_CORRUPT) return err;
    import->diag->err = ERR_SYNTAX;
    return ERR_SYNTAX;
}

enum err import_read_all(struct import *import, import_step step, void *context) {
    for (;;) {
        struct import_item item;
        bool has_item = false;
        uint32_t count = 0;
        enum err err =
            import_read(import->reader, import->events, IMPORT_EVENTS_MAX, import->diag, &count, &item, &has_item);
        bool end = err == ERR_END;
        if (err != ERR_OK && !end) return import_input_err(import, err);
        if ((err = step(import, context, count)) != ERR_OK || import->came_back) return err;
        if (has_item && (err = import_take_item(import, &item)) != ERR_OK) return err;
        if ((err = import_report_progress(import, count)) != ERR_OK) return err;
        if (end) return ERR_OK;
    }
}

bool import_can_read_again(const struct import *import) {
    struct input_progress progress;
    input_progress(import->input, &progress);
    return progress.total_bytes > 0 && strcmp(import->request->path, "-") != 0;
}

enum err import_fold_all(struct import *import) { return import_read_all(import, fold_step, NULL); }
