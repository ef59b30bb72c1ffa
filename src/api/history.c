/* Histories: reads of candles that cost their task a copy of the few rows that it alone knows (candle/slice.h). The rest,
 * from store and shelf to the rendered row, is done by a reader's thread. */
#include <assert.h>
#include <stdlib.h>

#include "api/api_internal.h"

enum {
    LENGTHY_ROWS = 4000,
    SLICES_KEPT = 256, /* for the next requests, if not larger than SLICE_KEPT_BYTES */
    SLICE_KEPT_BYTES = 256 * 1024,
    SLICES_BYTES_MAX = 256 * 1024 * 1024, /* held by all requests at once: past it 503 */
};

/* --- slices --- */

struct history_slice {
    struct history_slice *next;
    struct candle_slice slice;
    size_t counted_bytes;
};

static struct history_slice *slice_take(struct api *api) {
    pthread_mutex_lock(&api->lock);
    struct history_slice *slice = api->slices;
    if (slice != NULL) {
        api->slices = slice->next;
        api->slice_count--;
    }
    pthread_mutex_unlock(&api->lock);
    return slice != NULL ? slice : calloc(1, sizeof *slice);
}

static void slice_free(struct history_slice *slice) {
    candle_slice_deinit(&slice->slice);
    free(slice);
}

static void slice_give(struct api *api, struct history_slice *slice) {
    atomic_fetch_sub_explicit(&api->slice_bytes, slice->counted_bytes, memory_order_relaxed);
    slice->counted_bytes = 0;
    pthread_mutex_lock(&api->lock);
    const bool keep = api->slice_count < SLICES_KEPT && candle_slice_bytes(&slice->slice) <= SLICE_KEPT_BYTES;
    if (keep) {
        slice->next = api->slices;
        api->slices = slice;
        api->slice_count++;
    }
    pthread_mutex_unlock(&api->lock);
    if (!keep) slice_free(slice);
}

void histories_free(struct api *api) {
    for (struct history_slice *slice = api->slices, *next; slice != NULL; slice = next) {
        next = slice->next;
        slice_free(slice);
    }
}

/* --- on the task's thread --- */

static enum err take(struct api *api, struct history *history, struct processor *processor) {
    int64_t from_ms, to_ms;
    history->source = candle_processor_source(processor);
    struct book *book = history->source.book;
    history->source.book = NULL;
    if (atomic_load_explicit(&api->slice_bytes, memory_order_relaxed) > SLICES_BYTES_MAX) return ERR_BUSY;
    if ((history->slice = slice_take(api)) == NULL) return ERR_NO_MEMORY;
    candle_query_span(&history->request.query, &from_ms, &to_ms);
    enum err err = candle_slice_take(book, history->request.query.series, from_ms, to_ms, &history->slice->slice);
    history->slice->counted_bytes = candle_slice_bytes(&history->slice->slice);
    atomic_fetch_add_explicit(&api->slice_bytes, history->slice->counted_bytes, memory_order_relaxed);
    history->source.slice = &history->slice->slice;
    return err;
}

struct history_call {
    struct task_call call; /* first */
    struct histories *set;
    struct task *task;
};

static void run_call(struct task_call *call, struct processor *processor, enum err err) {
    struct histories *set = ((struct history_call *)call)->set;
    const struct task *task = ((struct history_call *)call)->task;
    for (uint32_t i = 0; i < set->count; i++)
        if (set->list[i]->task == task)
            set->list[i]->err = err != ERR_OK ? err : take(set->api, set->list[i], processor);
    if (atomic_fetch_sub_explicit(&set->left, 1, memory_order_acq_rel) == 1) readers_run(set->api->readers, &set->job);
}

/* --- asking --- */

static bool add_task(struct histories *set, uint32_t *count, struct task *task) {
    for (uint32_t i = 0; i < *count; i++)
        if (set->calls[i].task == task) return true;
    if (*count == HISTORY_TASKS_MAX) return false;
    set->calls[(*count)++] = (struct history_call){.call.run = run_call, .set = set, .task = task};
    return true;
}

static bool is_lengthy(const struct candle_query *query) {
    const int64_t most = (query->to_ms - query->from_ms) / 60000;
    return query->limit > LENGTHY_ROWS && most > LENGTHY_ROWS;
}

enum err histories_take(struct histories *set, struct arena *arena, struct task *const *tasks, uint32_t task_count) {
    uint32_t count = 0;
    set->calls = arena_alloc(arena, HISTORY_TASKS_MAX * sizeof *set->calls);
    if (set->calls == NULL) return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < set->count; i++) {
        struct history *history = set->list[i];
        if (!add_task(set, &count, history->task)) return ERR_LIMIT;
        set->job.lengthy |= is_lengthy(&history->request.query);
    }
    for (uint32_t i = 0; i < task_count; i++)
        if (!add_task(set, &count, tasks[i])) return ERR_LIMIT;
    assert(count > 0);
    atomic_store(&set->left, count);
    /* The last call may end the request, and with it `set`: nothing is read from it behind that. */
    struct history_call *calls = set->calls;
    for (uint32_t i = 0; i < count; i++) task_call(calls[i].task, &calls[i].call);
    return ERR_OK;
}

enum err history_read(const struct history *history, candle_visit visit, void *context, struct diag *diag) {
    if (history->err == ERR_BUSY) return diag_set(diag, ERR_BUSY, "too many reads of candles are under way");
    if (history->err != ERR_OK) return history->err;
    enum err err = history->slice == NULL ? ERR_OK : candle_slice_expand(&history->slice->slice);
    if (err != ERR_OK) return err;
    return candle_read(&history->source, &history->request.query, visit, context, diag);
}

void history_end(struct api *api, struct history *history) {
    if (history->slice != NULL) slice_give(api, history->slice);
    history->slice = NULL;
    candle_request_end(&history->request);
}
