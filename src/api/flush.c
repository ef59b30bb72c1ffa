#include <assert.h>
#include <stdlib.h>

#include "api/stream.h"

enum { MESSAGE_MAX = 8 * 1024 * 1024 };

/* --- sending --- */

enum err session_send(struct session *session, const struct buf *text) {
    if (buf_err(text) != ERR_OK) return buf_err(text);
    pthread_mutex_lock(&session->lock);
    enum err err = session->socket == NULL ? ERR_CLOSED : websocket_send(session->socket, buf_slice(text));
    pthread_mutex_unlock(&session->lock);
    return err;
}

uint64_t session_covers(const struct session *session, uint64_t candles, uint64_t latest) {
    if (!session->latest_wanted) return candles;
    return session->subscription_count == 0 || latest < candles ? latest : candles;
}

/* --- rendering, on the task's thread --- */

struct rendering {
    struct buf text;
    struct processor *processor;
    struct flush *flush;
    const char *cursor;
};

static void end_message(struct rendering *rendering) {
    put_member(&rendering->text, "cursor");
    put_name(&rendering->text, slice_text(rendering->cursor));
    buf_put_u8(&rendering->text, '}');
}

static const char *kind_of(const struct subscription *subscription) {
    return subscription->request.series->kind == SERIES_PRICE ? "\"price\"" : "\"trade\"";
}

/* By these, too, subscriptions of one series differ. */
static void put_origin(struct buf *out, const struct candle_request *request) {
    if (request->tz[0] != '\0') {
        put_member(out, "tz");
        put_name(out, slice_text(request->tz));
    }
    if (request->query.origin.week_start == 1) return;
    put_member(out, "week_start");
    put_i64(out, request->query.origin.week_start);
}

static void put_watched(struct buf *out, const struct subscription *subscription) {
    put_member(out, "series");
    put_name(out, slice_text(subscription->request.series->name));
    put_member(out, "kind");
    buf_put_text(out, kind_of(subscription));
    put_member(out, "interval");
    put_name(out, slice_text(subscription->request.interval));
    put_origin(out, &subscription->request);
}

struct newest {
    struct candle_list list;
    struct subscription *subscription;
};

static void remember(struct subscription *subscription, const struct candle *candle) {
    if (candle->final != CANDLE_OPEN) {
        if (candle->open_time_ms > subscription->closed_through) subscription->closed_through = candle->open_time_ms;
        if (atomic_load_explicit(&subscription->open_bucket, memory_order_relaxed) <= candle->open_time_ms)
            atomic_store_explicit(&subscription->open_bucket, BUCKET_NONE, memory_order_relaxed);
        return;
    }
    atomic_store_explicit(&subscription->open_bucket, candle->open_time_ms, memory_order_relaxed);
    subscription->sent_trades = candle->trades;
    subscription->sent_offset = candle->last_offset;
}

static enum err add_newest(void *context, const struct candle *candle) {
    struct newest *newest = context;
    remember(newest->subscription, candle);
    return candle_list_add(&newest->list, candle);
}

static enum err render_snapshot(struct rendering *rendering, const struct flush_item *item, struct diag *diag) {
    struct subscription *subscription = item->subscription;
    const struct candle_request *request = &subscription->request;
    struct candle_query query = request->query;
    query.newest = query.kept_only = true;
    query.limit = item->snapshot;
    struct buf *out = &rendering->text;
    const struct candle_source source = candle_processor_source(rendering->processor);
    struct newest newest = {{out, {request->series->name, request->interval}, 0, ','}, subscription};
    buf_put(out, SLICE("{\"type\":\"snapshot\""));
    put_watched(out, subscription);
    put_member(out, "candles");
    buf_put_u8(out, '[');
    enum err err = candle_read(&source, &query, add_newest, &newest, diag);
    buf_put_u8(out, ']');
    if (item->reset) buf_put_text(out, ",\"reset\":true");
    end_message(rendering);
    return err;
}

static enum err keep_candle(void *context, const struct candle *candle) {
    *(struct candle *)context = *candle;
    return ERR_END;
}

/* Closed before, and changed since. */
static bool is_revised(const struct subscription *subscription, const struct candle *candle) {
    return candle->final != CANDLE_OPEN && candle->revision > 0 && candle->open_time_ms <= subscription->closed_through;
}

static bool is_news(const struct subscription *subscription, const struct candle *candle) {
    if (candle->final != CANDLE_OPEN) return true;
    return atomic_load_explicit(&subscription->open_bucket, memory_order_relaxed) != candle->open_time_ms ||
           subscription->sent_trades != candle->trades || subscription->sent_offset != candle->last_offset;
}

/* ERR_END: there is nothing to send. */
static enum err render_bucket(struct rendering *rendering, const struct flush_item *item, struct diag *diag) {
    struct subscription *subscription = item->subscription;
    const struct candle_request *request = &subscription->request;
    struct candle_query query = request->query;
    struct candle candle = {.open_time_ms = BUCKET_NONE};
    query.newest = false;
    query.limit = 1;
    query.from_ms = item->bucket;
    query.to_ms = item->bucket + 1;
    const struct candle_source source = candle_processor_source(rendering->processor);
    enum err err = candle_read(&source, &query, keep_candle, &candle, diag);
    if (err != ERR_OK) return err;
    if (candle.open_time_ms == BUCKET_NONE || !is_news(subscription, &candle)) return ERR_END;
    struct buf *out = &rendering->text;
    const bool revised = is_revised(subscription, &candle);
    const struct candle_style style = {request->series->name, request->interval};
    buf_put_text(out, "{\"type\":\"");
    buf_put_text(out, candle.final == CANDLE_OPEN ? "open" : revised ? "revised" : "closed");
    buf_put_text(out, "\",\"kind\":");
    buf_put_text(out, kind_of(subscription));
    put_origin(out, request);
    put_member(out, "candle");
    candle_to_json(out, &style, &candle);
    if (revised) {
        put_member(out, "reason");
        put_name(out, slice_text(candle_reason_name[candle.reason]));
    }
    end_message(rendering);
    remember(subscription, &candle);
    return ERR_OK;
}

static void render_error(struct rendering *rendering, const struct subscription *subscription, enum err err,
                         struct diag *diag) {
    struct buf *out = &rendering->text;
    buf_clear(out);
    buf_put_text(out, "{\"type\":\"error\"");
    put_watched(out, subscription);
    stream_put_error(out, err, diag, "");
}

static void send_item(struct rendering *rendering, struct flush_item *item) {
    struct flush *flush = rendering->flush;
    struct subscription *subscription = item->subscription;
    /* What is rendered and cannot be sent is forgotten again: the value will be read anew. */
    const int64_t closed = subscription->closed_through;
    const int64_t open = atomic_load_explicit(&subscription->open_bucket, memory_order_relaxed);
    struct diag diag = {0};
    if (subscription->refused) return;
    buf_clear(&rendering->text);
    enum err err = item->snapshot > 0 ? render_snapshot(rendering, item, &diag) : render_bucket(rendering, item, &diag);
    if (err == ERR_END) return;
    const bool refused = err != ERR_OK && err_class(err) == ERR_CLASS_INPUT; /* the same answer would come each time */
    if (err != ERR_OK) render_error(rendering, subscription, err, &diag);
    err = session_send(flush->session, &rendering->text);
    subscription->refused = refused && err == ERR_OK;
    if (err != ERR_BUSY) return; /* gone: nothing is owed any more */
    subscription->closed_through = closed;
    atomic_store_explicit(&subscription->open_bucket, open, memory_order_relaxed);
    subscription->sent_trades = -1;
    item->unsent = true;
    atomic_store(&flush->busy, true);
}

static void wake_session(struct session *session) {
    pthread_mutex_lock(&session->lock);
    if (session->socket != NULL) websocket_wake(session->socket);
    pthread_mutex_unlock(&session->lock);
}

static uint32_t last_of_group(const struct flush *flush, uint32_t group) {
    uint32_t last = 0;
    for (uint32_t i = 0; i < flush->item_count; i++)
        if (flush->items[i].group == group) last = i;
    return last;
}

static void finish(struct flush *flush) {
    struct session *session = flush->session;
    atomic_store(&session->done, flush);
    wake_session(session);
    session_drop(session);
}

static void run_group(struct task_call *call, struct processor *processor, enum err err) {
    (void)err;
    struct flush_group *group = (struct flush_group *)call;
    struct flush *flush = group->flush;
    struct rendering rendering = {.processor = processor, .flush = flush};
    buf_init(&rendering.text, MESSAGE_MAX);
    const uint32_t last = last_of_group(flush, group->index);
    for (uint32_t i = 0; i <= last; i++) {
        struct flush_item *item = &flush->items[i];
        if (item->group != group->index) continue;
        const bool final = i == last && flush->sequence > 0 && atomic_load(&flush->left) == 1;
        if (atomic_load(&flush->busy)) {
            item->unsent = true;
            continue;
        }
        rendering.cursor = final ? flush->new_cursor : flush->old_cursor;
        send_item(&rendering, item);
    }
    buf_deinit(&rendering.text);
    if (atomic_fetch_sub_explicit(&flush->left, 1, memory_order_acq_rel) == 1) finish(flush);
}

/* --- collecting, on the websocket thread --- */

static bool group_item(struct flush *flush, struct flush_item *item, const struct candle_desk *desk) {
    struct task *task = candle_desk_task(desk, item->subscription->request.series);
    if (task == NULL) return false;
    uint32_t at = 0;
    while (at < flush->group_count && flush->groups[at].task != task) at++;
    if (at == flush->group_count)
        flush->groups[flush->group_count++] =
            (struct flush_group){.call.run = run_group, .flush = flush, .task = task, .index = at};
    item->group = at;
    return true;
}

static void add_bucket(struct flush *flush, struct subscription *subscription, int64_t bucket) {
    flush->items[flush->item_count++] = (struct flush_item){.subscription = subscription, .bucket = bucket};
}

static void add_snapshot(struct flush *flush, struct subscription *subscription) {
    flush->items[flush->item_count++] = (struct flush_item){
        .subscription = subscription,
        .snapshot = subscription->snapshot,
        .reset = subscription->reset,
    };
    subscription->snapshot = 0;
    subscription->reset = false;
}

/* Oldest first, so that a chart never gets a bucket before the one in front of it. */
static int by_bucket(const void *a, const void *b) {
    const struct flush_item *one = a, *two = b;
    if ((one->snapshot > 0) != (two->snapshot > 0)) return one->snapshot > 0 ? -1 : 1;
    return (one->bucket > two->bucket) - (one->bucket < two->bucket);
}

/* With the hub's lock held. Takes whole subscriptions while there is room; false if some are left. */
static bool collect(struct session *session, struct flush *flush) {
    struct subscription **link = &session->dirty_first;
    while (*link != NULL) {
        struct subscription *subscription = *link;
        const uint32_t count = subscription->snapshot > 0 ? 1 : subscription->bucket_count;
        uint32_t taken = 0;
        if (subscription->snapshot > 0 && flush->item_count < FLUSH_ITEMS_MAX) {
            add_snapshot(flush, subscription);
            taken = 1;
        }
        while (subscription->bucket_count > 0 && taken < count && flush->item_count < FLUSH_ITEMS_MAX) {
            add_bucket(flush, subscription, subscription->buckets[--subscription->bucket_count]);
            taken++;
        }
        if (taken < count) return false;
        *link = subscription->dirty_next;
        subscription->dirty = false;
    }
    return true;
}

void flush_start(struct session *session, int64_t now_ms) {
    struct hub *hub = session->hub;
    const struct candle_desk *desk = hub->api->options.desk;
    if (session->flush != NULL || session->blocked || desk == NULL) return;
    struct flush *flush = malloc(sizeof *flush + candle_desk_count(desk) * sizeof *flush->groups);
    if (flush == NULL) return; /* the tick comes again */
    flush->session = session;
    flush->item_count = flush->group_count = 0;
    atomic_store(&flush->busy, false);
    pthread_mutex_lock(&hub->lock);
    const bool whole = collect(session, flush);
    flush->sequence = whole ? hub->sequence : 0;
    session->urgent = session->woken = false;
    session->resting = true;
    pthread_mutex_unlock(&hub->lock);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < flush->item_count; i++)
        if (group_item(flush, &flush->items[i], desk)) flush->items[kept++] = flush->items[i];
    flush->item_count = kept;
    if (kept == 0) {
        if (whole) session->sequence = flush->sequence;
        free(flush);
        return;
    }
    qsort(flush->items, kept, sizeof *flush->items, by_bucket);
    const uint64_t delivered = flush->sequence > 0 ? flush->sequence : session->sequence;
    hub_cursor(hub, session_covers(session, session->sequence, session->latest_sequence), flush->old_cursor);
    hub_cursor(hub, session_covers(session, delivered, session->latest_sequence), flush->new_cursor);
    session->flush = flush;
    session->flushed_ms = now_ms;
    atomic_fetch_add(&session->owners, 1);
    const uint32_t count = flush->group_count;
    atomic_store(&flush->left, count);
    for (uint32_t i = 0; i < count; i++) task_call(flush->groups[i].task, &flush->groups[i].call);
}

static void take_back(struct hub *hub, struct flush *flush) {
    pthread_mutex_lock(&hub->lock);
    for (uint32_t i = 0; i < flush->item_count; i++) {
        const struct flush_item *item = &flush->items[i];
        if (!item->unsent || item->subscription->removed) continue;
        if (item->snapshot > 0)
            hub_mark_snapshot(item->subscription, item->snapshot, item->reset);
        else
            hub_mark(item->subscription, item->bucket);
    }
    pthread_mutex_unlock(&hub->lock);
}

static void free_removed(struct session *session) {
    for (struct subscription *at = session->subscriptions, *next; at != NULL; at = next) {
        next = at->next;
        if (at->refused && !at->removed) {
            session_unsubscribe(session, at);
            continue;
        }
        if (!at->removed) continue;
        if (at->next != NULL) at->next->previous = at->previous;
        if (at->previous != NULL)
            at->previous->next = at->next;
        else
            session->subscriptions = at->next;
        subscription_free(at);
    }
}

void flush_reap(struct session *session) {
    struct flush *flush = atomic_exchange(&session->done, NULL);
    if (flush == NULL) return;
    assert(flush == session->flush);
    session->flush = NULL;
    if (atomic_load(&flush->busy)) {
        session->blocked = true;
        take_back(session->hub, flush);
    } else if (flush->sequence > 0 && !session->restarted) {
        session->sequence = flush->sequence;
    }
    session->restarted = false;
    free(flush);
    free_removed(session);
}

void subscription_free(struct subscription *subscription) {
    candle_request_end(&subscription->request);
    free(subscription->buckets);
    free(subscription);
}

void session_drop(struct session *session) {
    if (atomic_fetch_sub(&session->owners, 1) != 1) return;
    for (struct subscription *at = session->subscriptions, *next; at != NULL; at = next) {
        next = at->next;
        subscription_free(at);
    }
    free(atomic_load(&session->done));
    pthread_mutex_destroy(&session->lock);
    free(session);
}
