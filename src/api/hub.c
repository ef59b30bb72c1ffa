#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/stream.h"

enum { ROW_NONE = UINT32_MAX, CHANGES_MAX = 65536 };

/* --- cursors --- */

void hub_cursor(const struct hub *hub, uint64_t sequence, char text[static STREAM_CURSOR_MAX]) {
    snprintf(text, STREAM_CURSOR_MAX, "%016llx-%llu", (unsigned long long)hub->run, (unsigned long long)sequence);
}

bool hub_cursor_read(struct hub *hub, struct slice text, uint64_t *ret_sequence) {
    char run[STREAM_CURSOR_MAX];
    snprintf(run, sizeof run, "%016llx-", (unsigned long long)hub->run);
    const size_t size = strlen(run);
    uint64_t sequence = 0;
    if (text.size <= size || memcmp(text.data, run, size) != 0) return false;
    if (!slice_to_u64(slice_of(text.data + size, text.size - size), &sequence)) return false;
    pthread_mutex_lock(&hub->lock);
    const bool known = sequence >= hub->forgotten && sequence <= hub->sequence;
    pthread_mutex_unlock(&hub->lock);
    if (known) *ret_sequence = sequence;
    return known;
}

/* --- rows by (series, time), in order of their last change --- */

static uint32_t *row_bucket(const struct hub *hub, uint32_t series, int64_t open_ms) {
    uint64_t mixed = ((uint64_t)open_ms / 1000 + (uint64_t)series * 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu;
    return &hub->buckets[(mixed >> 40) & (HUB_ROWS_MAX - 1)];
}

static void row_detach(struct hub *hub, uint32_t at) {
    struct hub_row *row = &hub->rows[at];
    if (row->older != ROW_NONE)
        hub->rows[row->older].newer = row->newer;
    else
        hub->oldest = row->newer;
    if (row->newer != ROW_NONE)
        hub->rows[row->newer].older = row->older;
    else
        hub->newest = row->older;
}

static void row_append(struct hub *hub, uint32_t at) {
    struct hub_row *row = &hub->rows[at];
    row->older = hub->newest;
    row->newer = ROW_NONE;
    if (hub->newest != ROW_NONE)
        hub->rows[hub->newest].newer = at;
    else
        hub->oldest = at;
    hub->newest = at;
}

static uint32_t row_find(const struct hub *hub, uint32_t series, int64_t open_ms) {
    uint32_t at = *row_bucket(hub, series, open_ms);
    while (at != ROW_NONE && (hub->rows[at].series != series || hub->rows[at].open_ms != open_ms))
        at = hub->rows[at].next;
    return at;
}

/* The place of the row that changed longest ago; whoever has not seen that change can no longer resume. */
static uint32_t row_evict(struct hub *hub) {
    const uint32_t at = hub->oldest;
    struct hub_row *row = &hub->rows[at];
    uint32_t *link = row_bucket(hub, row->series, row->open_ms);
    while (*link != at) link = &hub->rows[*link].next;
    *link = row->next;
    hub->forgotten = row->sequence;
    row_detach(hub, at);
    return at;
}

static void row_note(struct hub *hub, const struct hub_change *change) {
    uint32_t at = row_find(hub, change->series, change->open_ms);
    if (at != ROW_NONE) {
        row_detach(hub, at);
    } else {
        at = hub->row_count < HUB_ROWS_MAX ? hub->row_count++ : row_evict(hub);
        uint32_t *bucket = row_bucket(hub, change->series, change->open_ms);
        hub->rows[at] = (struct hub_row){.series = change->series, .open_ms = change->open_ms, .next = *bucket};
        *bucket = at;
    }
    hub->rows[at].sequence = ++hub->sequence;
    row_append(hub, at);
}

bool hub_visit_since(struct hub *hub, uint64_t sequence, bool (*visit)(void *context, const struct hub_row *row),
                     void *context) {
    if (sequence < hub->forgotten) return false;
    for (uint32_t at = hub->newest; at != ROW_NONE; at = hub->rows[at].older)
        if (hub->rows[at].sequence <= sequence || !visit(context, &hub->rows[at])) break;
    return true;
}

static void rows_forget(struct hub *hub) {
    hub->row_count = 0;
    hub->oldest = hub->newest = ROW_NONE;
    hub->forgotten = ++hub->sequence;
    if (hub->buckets != NULL) memset(hub->buckets, 0xff, HUB_ROWS_MAX * sizeof *hub->buckets);
}

bool hub_activate(struct hub *hub) {
    pthread_mutex_lock(&hub->lock);
    if (hub->rows == NULL) hub->rows = malloc(HUB_ROWS_MAX * sizeof *hub->rows);
    if (hub->buckets == NULL) hub->buckets = malloc(HUB_ROWS_MAX * sizeof *hub->buckets);
    const bool ready = hub->rows != NULL && hub->buckets != NULL;
    if (ready && !atomic_load(&hub->active)) {
        rows_forget(hub);
        atomic_store(&hub->active, true);
    }
    pthread_mutex_unlock(&hub->lock);
    hub->idle_since_ms = 0;
    return ready;
}

/* --- subscriptions by series --- */

int64_t subscription_bucket(const struct subscription *subscription, int64_t time_ms) {
    const struct candle_query *query = &subscription->request.query;
    int64_t start, end;
    interval_bucket(query->interval, &query->origin, time_ms, &start, &end);
    return start;
}

static void mark_dirty(struct subscription *subscription) {
    if (subscription->dirty) return;
    subscription->dirty = true;
    subscription->dirty_next = subscription->session->dirty_first;
    subscription->session->dirty_first = subscription;
}

void hub_mark_snapshot(struct subscription *subscription, uint32_t candles, bool reset) {
    subscription->bucket_count = 0;
    subscription->reset |= reset;
    if (subscription->snapshot < candles) subscription->snapshot = candles;
    mark_dirty(subscription);
}

static bool grow_buckets(struct subscription *subscription) {
    const uint32_t capacity = subscription->bucket_capacity == 0 ? 4 : subscription->bucket_capacity * 2;
    int64_t *buckets = capacity > DIRTY_MAX ? NULL : realloc(subscription->buckets, capacity * sizeof *buckets);
    if (buckets == NULL) return false;
    subscription->buckets = buckets;
    subscription->bucket_capacity = capacity;
    return true;
}

void hub_mark(struct subscription *subscription, int64_t bucket) {
    mark_dirty(subscription);
    if (subscription->snapshot > 0) return;
    for (uint32_t i = subscription->bucket_count; i > 0; i--)
        if (subscription->buckets[i - 1] == bucket) return;
    if (subscription->bucket_count == subscription->bucket_capacity && !grow_buckets(subscription)) {
        hub_mark_snapshot(subscription, SNAPSHOT_MAX, true);
        return;
    }
    subscription->buckets[subscription->bucket_count++] = bucket;
}

enum err hub_link(struct hub *hub, struct subscription *subscription) {
    const uint32_t series = subscription->request.query.series;
    pthread_mutex_lock(&hub->lock);
    if (series >= hub->by_series_capacity) {
        uint32_t capacity = hub->by_series_capacity == 0 ? 1024 : hub->by_series_capacity;
        while (capacity <= series) capacity *= 2;
        struct subscription **by_series = realloc(hub->by_series, capacity * sizeof *by_series);
        if (by_series == NULL) {
            pthread_mutex_unlock(&hub->lock);
            return ERR_NO_MEMORY;
        }
        memset(by_series + hub->by_series_capacity, 0, (capacity - hub->by_series_capacity) * sizeof *by_series);
        hub->by_series = by_series;
        hub->by_series_capacity = capacity;
    }
    subscription->series_next = hub->by_series[series];
    if (subscription->series_next != NULL) subscription->series_next->series_previous = subscription;
    hub->by_series[series] = subscription;
    subscription->linked = true;
    pthread_mutex_unlock(&hub->lock);
    return ERR_OK;
}

static void undirty(struct subscription *subscription) {
    struct subscription **link = &subscription->session->dirty_first;
    while (*link != subscription) link = &(*link)->dirty_next;
    *link = subscription->dirty_next;
    subscription->dirty = false;
}

void hub_unlink(struct hub *hub, struct subscription *subscription) {
    pthread_mutex_lock(&hub->lock);
    if (subscription->linked) {
        if (subscription->series_next != NULL)
            subscription->series_next->series_previous = subscription->series_previous;
        if (subscription->series_previous != NULL)
            subscription->series_previous->series_next = subscription->series_next;
        else
            hub->by_series[subscription->request.query.series] = subscription->series_next;
        subscription->linked = false;
    }
    if (subscription->dirty) undirty(subscription);
    pthread_mutex_unlock(&hub->lock);
}

/* --- what the tasks tell --- */

static void see_decimals(struct hub *hub, const struct book_changed *changed) {
    const uint32_t series = changed->lane.series;
    if (series >= SERIES_COUNT_MAX) return;
    const uint8_t before = atomic_load_explicit(&hub->decimals[series], memory_order_relaxed);
    const uint8_t most = book_changed_decimals(changed, before);
    if (most > before) atomic_store_explicit(&hub->decimals[series], most, memory_order_relaxed);
}

static void on_changed(struct candle_watcher *watcher, const struct book_changed *changed) {
    struct hub_watcher *self = (struct hub_watcher *)watcher;
    struct hub *hub = self->hub;
    see_decimals(hub, changed);
    if (changed->change == CHANGE_CLOSED) atomic_fetch_add_explicit(&hub->closed, 1, memory_order_relaxed);
    if (!atomic_load_explicit(&hub->active, memory_order_relaxed)) return;
    if (self->count == self->capacity) {
        const uint32_t capacity = self->capacity == 0 ? 256 : self->capacity * 2;
        struct hub_change *changes = capacity > CHANGES_MAX ? NULL : realloc(self->changes, capacity * sizeof *changes);
        self->lost |= changes == NULL;
        if (changes == NULL) return;
        self->changes = changes;
        self->capacity = capacity;
    }
    self->changes[self->count++] =
        (struct hub_change){changed->open_time_ms, changed->lane.series, changed->change != CHANGE_OPEN};
}

static void tell_subscription(struct subscription *subscription, const struct hub_change *change) {
    const int64_t bucket = subscription_bucket(subscription, change->open_ms);
    const int64_t open = atomic_load_explicit(&subscription->open_bucket, memory_order_relaxed);
    hub_mark(subscription, bucket);
    /* A bucket that ended without a last event of its own is closed by what comes after it. */
    if (open != BUCKET_NONE && open < bucket) hub_mark(subscription, open);
    subscription->session->urgent |= change->urgent;
}

static void wake(struct session *session) {
    if (session->woken || (session->resting && !session->urgent)) return;
    session->woken = true;
    websocket_wake(session->socket);
}

/* Whoever watches anything gets it anew, and nobody can resume over this. */
static void everything_changed(struct hub *hub) {
    rows_forget(hub);
    for (uint32_t i = 0; i < hub->by_series_capacity; i++)
        for (struct subscription *at = hub->by_series[i]; at != NULL; at = at->series_next) {
            hub_mark_snapshot(at, SNAPSHOT_MAX, true);
            at->session->urgent = true;
            wake(at->session);
        }
}

void hub_everything_changed(struct hub *hub) {
    pthread_mutex_lock(&hub->lock);
    everything_changed(hub);
    pthread_mutex_unlock(&hub->lock);
}

static void tell_all(struct hub_watcher *self) {
    struct hub *hub = self->hub;
    for (uint32_t i = 0; i < self->count && hub->rows != NULL; i++) row_note(hub, &self->changes[i]);
    for (uint32_t i = 0; i < self->count; i++) {
        const struct hub_change *change = &self->changes[i];
        if (change->series >= hub->by_series_capacity) continue;
        for (struct subscription *at = hub->by_series[change->series]; at != NULL; at = at->series_next)
            tell_subscription(at, change);
        for (struct subscription *at = hub->by_series[change->series]; at != NULL; at = at->series_next)
            wake(at->session);
    }
}

static void on_turn_ended(struct candle_watcher *watcher) {
    struct hub_watcher *self = (struct hub_watcher *)watcher;
    if (self->count == 0 && !self->lost) return;
    pthread_mutex_lock(&self->hub->lock);
    if (self->lost)
        everything_changed(self->hub);
    else
        tell_all(self);
    pthread_mutex_unlock(&self->hub->lock);
    self->count = 0;
    self->lost = false;
}

void hub_tick(struct hub *hub, int64_t now_ms) {
    hub_sample(hub, now_ms);
    if (hub->session_count > 0 || !atomic_load(&hub->active)) return;
    if (hub->idle_since_ms == 0) hub->idle_since_ms = now_ms;
    if (now_ms - hub->idle_since_ms > ACTIVE_MS) atomic_store(&hub->active, false);
}

uint8_t hub_decimals(const struct hub *hub, uint32_t series) {
    return series < SERIES_COUNT_MAX ? atomic_load_explicit(&hub->decimals[series], memory_order_relaxed) : 0;
}

/* --- life cycle --- */

enum err hub_watch_tasks(struct hub *hub) {
    const struct candle_desk *desk = hub->api->options.desk;
    const uint32_t count = desk != NULL ? candle_desk_count(desk) : 0;
    if (count > HUB_TASKS_MAX) return ERR_LIMIT;
    for (uint32_t i = hub->watcher_count; i < count; i++) {
        struct processor *processor;
        (void)candle_desk_task_at(desk, i, &processor);
        struct hub_watcher *watcher = &hub->watchers[i];
        *watcher = (struct hub_watcher){.watcher = {on_changed, on_turn_ended}, .hub = hub};
        enum err err = candle_processor_watch(processor, &watcher->watcher);
        if (err != ERR_OK) return err;
        hub->watcher_count++;
    }
    return ERR_OK;
}

enum err hub_open(struct api *api, struct diag *diag, struct hub **ret_hub) {
    struct hub *hub = calloc(1, sizeof *hub);
    if (hub == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for the stream");
    hub->api = api;
    hub->oldest = hub->newest = ROW_NONE;
    hub->sequence = 1;
    pthread_mutex_init(&hub->lock, NULL);
    const struct sys *sys = api->options.sys;
    sys->random(sys->context, &hub->run, sizeof hub->run);
    hub->decimals = calloc(SERIES_COUNT_MAX, sizeof *hub->decimals); /* pages that are never touched cost nothing */
    enum err err = hub->decimals == NULL ? ERR_NO_MEMORY : json_parser_open(NULL, &hub->json);
    hub->watchers = calloc(HUB_TASKS_MAX, sizeof *hub->watchers); /* tasks keep their addresses */
    if (hub->watchers == NULL) err = ERR_NO_MEMORY;
    if (err == ERR_OK) err = hub_watch_tasks(hub);
    *ret_hub = hub;
    if (err == ERR_OK) return ERR_OK;
    hub_close(ret_hub);
    return diag_set(diag, err, "the stream cannot watch the candles");
}

void hub_close(struct hub **hub) {
    if (*hub == NULL) return;
    assert((*hub)->session_count == 0);
    for (uint32_t i = 0; i < (*hub)->watcher_count; i++) free((*hub)->watchers[i].changes);
    json_parser_close(&(*hub)->json);
    pthread_mutex_destroy(&(*hub)->lock);
    free((*hub)->watchers);
    free((void *)(*hub)->decimals);
    free((*hub)->rows);
    free((*hub)->buckets);
    free((*hub)->by_series);
    free(*hub);
    *hub = NULL;
}
