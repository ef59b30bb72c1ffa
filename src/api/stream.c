#include "api/stream.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum { SESSION_MAGIC = 0x73657373, MESSAGE_MAX = 8 * 1024 * 1024 };

/* --- messages of one's own --- */

void stream_put_error(struct buf *out, enum err err, struct diag *diag, const char *at) {
    struct buf error;
    char message[800], where[sizeof diag->where + 64];
    buf_init(&error, MESSAGE_MAX);
    diag->err = err;
    snprintf(where, sizeof where, "%s%s%s", at, diag->where[0] != '\0' && at[0] != '\0' ? "." : "", diag->where);
    diag->where[0] = '\0';
    diag_print(diag, message, sizeof message);
    http_put_error(&error, err, message, where);
    buf_put_u8(out, ',');
    if (error.size > 0) buf_put(out, slice_of(error.data + 1, error.size - 1));
    buf_deinit(&error);
}

static void send_error(struct session *session, enum err err, struct diag *diag, const char *at) {
    struct buf text;
    buf_init(&text, MESSAGE_MAX);
    buf_put_text(&text, "{\"type\":\"error\"");
    stream_put_error(&text, err, diag, at);
    (void)!session_send(session, &text);
    buf_deinit(&text);
}

static void send_heartbeat(struct session *session, int64_t now_ms) {
    struct buf text;
    buf_init(&text, 256);
    buf_put_text(&text, "{\"type\":\"heartbeat\",\"time\":");
    put_i64(&text, api_now_ms(session->hub->api));
    buf_put_u8(&text, '}');
    (void)!session_send(session, &text);
    buf_deinit(&text);
    session->heartbeat_ms = now_ms;
}

/* --- subscriptions --- */

static bool same(const struct subscription *subscription, const struct candle_request *request) {
    const struct candle_query *a = &subscription->request.query, *b = &request->query;
    return a->series == b->series && a->interval.unit == b->interval.unit && a->interval.count == b->interval.count &&
           a->origin.week_start == b->origin.week_start && strcmp(subscription->request.tz, request->tz) == 0;
}

void session_unsubscribe(struct session *session, struct subscription *subscription) {
    hub_unlink(session->hub, subscription);
    session->subscription_count--;
    session->hub->subscription_count--;
    subscription->removed = true;
    if (session->flush != NULL) return; /* it may be in there; freed when that is reaped */
    if (subscription->next != NULL) subscription->next->previous = subscription->previous;
    if (subscription->previous != NULL)
        subscription->previous->next = subscription->next;
    else
        session->subscriptions = subscription->next;
    subscription_free(subscription);
}

static void unsubscribe(struct session *session, const struct candle_request *request) {
    for (struct subscription *at = session->subscriptions, *next; at != NULL; at = next) {
        next = at->next;
        if (!at->removed && same(at, request)) session_unsubscribe(session, at);
    }
}

static bool mark_changed(void *context, const struct hub_row *row) {
    struct subscription *subscription = context;
    if (row->series == subscription->request.query.series)
        hub_mark(subscription, subscription_bucket(subscription, row->open_ms));
    return true;
}

struct how {
    uint32_t snapshot;
    bool resume, reset; /* reset: a cursor came that is no good any more */
    uint64_t sequence;  /* with resume */
};

static enum err subscribe(struct session *session, struct candle_request *request, const struct how *how) {
    struct hub *hub = session->hub;
    unsubscribe(session, request);
    if (session->subscription_count == SUBSCRIPTIONS_MAX || hub->subscription_count == SUBSCRIPTIONS_ALL_MAX)
        return ERR_LIMIT;
    struct subscription *subscription = calloc(1, sizeof *subscription);
    if (subscription == NULL) return ERR_NO_MEMORY;
    subscription->session = session;
    subscription->request = *request;
    subscription->request.query.from_ms = 0;
    subscription->closed_through = BUCKET_NONE;
    atomic_store(&subscription->open_bucket, BUCKET_NONE);
    enum err err = hub_link(hub, subscription);
    if (err != ERR_OK) {
        free(subscription);
        return err;
    }
    subscription->next = session->subscriptions;
    if (subscription->next != NULL) subscription->next->previous = subscription;
    session->subscriptions = subscription;
    session->subscription_count++;
    hub->subscription_count++;
    if (!how->resume) session->sequence = 0; /* no cursor stands for it until its snapshot was sent */
    pthread_mutex_lock(&hub->lock);
    /* What the cursor needs may have been forgotten since it was read. */
    if (!how->resume || !hub_visit_since(hub, how->sequence, mark_changed, subscription))
        hub_mark_snapshot(subscription, how->snapshot, how->reset || how->resume);
    pthread_mutex_unlock(&hub->lock);
    return ERR_OK;
}

/* --- the client's messages --- */

static bool is_latest(const struct json_value *object) {
    const struct json_value *interval = json_member(object, "interval");
    return interval != NULL && json_type_of(interval) == JSON_STRING &&
           slice_equal(json_text(interval), SLICE("latest"));
}

/* {"series":"*","interval":"latest"}: of every series, nothing else. */
static enum err check_latest(const struct json_value *object, struct diag *diag) {
    static const char *const names[] = {"series", "interval", NULL};
    struct slice series;
    enum err err = members_known(object, "a subscription to latest prices", names, diag);
    if (err == ERR_OK) err = member_text(object, "series", diag, &series);
    if (err != ERR_OK || slice_equal(series, SLICE("*"))) return err;
    (void)diag_set(diag, ERR_UNKNOWN, "latest prices are watched of every series: \"*\"");
    diag_where(diag, "series");
    return ERR_UNKNOWN;
}

static enum err read_subscription(const struct api *api, const struct json_value *object, struct diag *diag,
                                  struct candle_request *ret_request) {
    struct candle_arguments arguments;
    enum err err = candle_arguments_of(object, false, diag, &arguments);
    if (err == ERR_OK) err = candle_request_read(api, &arguments, diag, ret_request);
    if (err != ERR_OK) return err;
    if (candle_desk_task(api->options.desk, ret_request->series) != NULL) return ERR_OK;
    candle_request_end(ret_request);
    return diag_set(diag, ERR_NOT_FOUND, "nothing collects this series here");
}

static void take_one(struct session *session, const struct json_value *object, const struct how *how, const char *at) {
    struct candle_request request;
    struct diag diag = {0};
    if (json_type_of(object) == JSON_OBJECT && is_latest(object)) {
        const enum err refused = check_latest(object, &diag);
        if (refused != ERR_OK)
            send_error(session, refused, &diag, at);
        else
            latest_start(session, how != NULL, how != NULL && how->resume ? how->sequence : 0);
        return;
    }
    enum err err = read_subscription(session->hub->api, object, &diag, &request);
    if (err == ERR_OK && how != NULL) {
        err = subscribe(session, &request, how);
        if (err != ERR_OK) {
            candle_request_end(&request);
            (void)diag_set(&diag, err, "at most %d subscriptions a session", SUBSCRIPTIONS_MAX);
        }
    } else if (err == ERR_OK) {
        unsubscribe(session, &request);
        candle_request_end(&request);
    } else if (err == ERR_RANGE && how == NULL) {
        err = ERR_OK; /* it was refused, or given up, and is not held */
    }
    if (err != ERR_OK) send_error(session, err, &diag, at);
}

static void take_list(struct session *session, const struct json_value *list, const struct how *how, const char *name) {
    struct diag diag = {0};
    if (list == NULL) return;
    if (json_type_of(list) != JSON_ARRAY) {
        send_error(session, diag_set(&diag, ERR_TYPE, "an array is required"), &diag, name);
        return;
    }
    uint32_t index = 0;
    char at[64];
    for (const struct json_value *value = json_first(list); value != NULL; value = json_next(value)) {
        snprintf(at, sizeof at, "%s[%u]", name, index++);
        take_one(session, value, how, at);
    }
}

static bool read_how(struct session *session, const struct json_value *root, struct how *ret_how) {
    struct diag diag = {0};
    int64_t snapshot = 1;
    struct slice cursor;
    const struct json_value *wanted = json_member(root, "snapshot");
    *ret_how = (struct how){.snapshot = 1};
    if (wanted != NULL && (json_i64(wanted, &snapshot) != ERR_OK || snapshot < 1 || snapshot > SNAPSHOT_MAX)) {
        send_error(session, diag_set(&diag, ERR_RANGE, "snapshot is a number from 1 to %d", SNAPSHOT_MAX), &diag,
                   "snapshot");
        return false;
    }
    enum err err = member_text(root, "cursor", &diag, &cursor);
    if (err != ERR_OK) {
        send_error(session, err, &diag, "");
        return false;
    }
    ret_how->snapshot = (uint32_t)snapshot;
    ret_how->resume = cursor.size > 0 && hub_cursor_read(session->hub, cursor, &ret_how->sequence);
    ret_how->reset = cursor.size > 0 && !ret_how->resume;
    return true;
}

static void begin_sequence(struct session *session, const struct how *how) {
    struct hub *hub = session->hub;
    if (session->subscription_count > 0 || session->flush != NULL) {
        if (how->resume && how->sequence < session->sequence) session->sequence = how->sequence;
        session->restarted = session->flush != NULL;
        return;
    }
    pthread_mutex_lock(&hub->lock);
    session->sequence = how->resume ? how->sequence : hub->sequence;
    pthread_mutex_unlock(&hub->lock);
}

static int64_t clock_ms(const struct hub *hub) { return sys_monotonic_ns(hub->api->options.sys) / 1000000; }

static enum err read_message(struct json_parser *parser, struct slice text, struct diag *diag,
                             const struct json_value **ret_root) {
    static const char *const names[] = {"subscribe", "unsubscribe", "cursor", "snapshot", NULL};
    static const char wanted[] = "{\"subscribe\":[..]} or {\"unsubscribe\":[..]} is required";
    const struct json_value *root = NULL;
    enum err err = json_parse(parser, text, diag, &root);
    if (err == ERR_OK && json_type_of(root) != JSON_OBJECT) err = diag_set(diag, ERR_TYPE, "%s", wanted);
    if (err == ERR_OK) err = members_known(root, "a message", names, diag);
    if (err == ERR_OK && json_member(root, "subscribe") == NULL && json_member(root, "unsubscribe") == NULL)
        err = diag_set(diag, ERR_MISSING, "%s", wanted);
    if (err == ERR_OK) *ret_root = root;
    return err;
}

static void on_message(void *context, struct websocket *socket, struct slice text) {
    (void)socket;
    struct session *session = context;
    assert(session->magic == SESSION_MAGIC);
    struct hub *hub = session->hub;
    const struct json_value *root = NULL;
    struct diag diag = {0};
    const enum err err = read_message(hub->json, text, &diag, &root);
    if (err != ERR_OK) {
        send_error(session, err, &diag, "");
        return;
    }
    struct how how;
    if (!read_how(session, root, &how)) return;
    take_list(session, json_member(root, "unsubscribe"), NULL, "unsubscribe");
    if (json_member(root, "subscribe") != NULL) begin_sequence(session, &how);
    take_list(session, json_member(root, "subscribe"), &how, "subscribe");
    if (session->latest_wanted && session->latest_ms == 0) latest_send(session, clock_ms(hub));
    flush_start(session, clock_ms(hub));
}

/* --- sessions --- */

/* The one argument is a token, which was looked at before. */
static enum err check_arguments(const struct http_pair *arguments, uint32_t count, struct diag *diag) {
    static const char token[] = "access_token";
    for (uint32_t i = 0; i < count; i++) {
        struct nearest nearest = nearest_begin(arguments[i].name);
        nearest_look(&nearest, token);
        if (!slice_equal(arguments[i].name, slice_text(token)))
            return refuse_name(&nearest, "/v1/stream", "argument", diag);
    }
    return ERR_OK;
}

static void *on_open(void *context, struct websocket *socket, struct slice path, const struct http_pair *arguments,
                     uint32_t argument_count, struct diag *diag) {
    struct api *api = context;
    struct hub *hub = api->hub;
    if (!slice_equal(path, SLICE("/v1/stream"))) return NULL;
    if (check_arguments(arguments, argument_count, diag) != ERR_OK || !hub_activate(hub)) return NULL;
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL) return NULL;
    session->magic = SESSION_MAGIC;
    session->hub = hub;
    session->socket = socket;
    atomic_store(&session->owners, 1);
    pthread_mutex_init(&session->lock, NULL);
    session->next = hub->sessions;
    if (session->next != NULL) session->next->previous = session;
    hub->sessions = session;
    hub->session_count++;
    send_heartbeat(session, clock_ms(hub));
    return session;
}

static void on_close(void *context) {
    struct session *session = context;
    struct hub *hub = session->hub;
    for (struct subscription *at = session->subscriptions; at != NULL; at = at->next) {
        if (!at->removed) hub->subscription_count--;
        hub_unlink(hub, at);
    }
    pthread_mutex_lock(&session->lock);
    session->socket = NULL;
    pthread_mutex_unlock(&session->lock);
    if (session->next != NULL) session->next->previous = session->previous;
    if (session->previous != NULL)
        session->previous->next = session->next;
    else
        hub->sessions = session->next;
    hub->session_count--;
    session_drop(session);
}

static bool is_due(struct session *session, int64_t now_ms) {
    pthread_mutex_lock(&session->hub->lock);
    const bool rested = now_ms - session->flushed_ms >= OPEN_EVERY_MS;
    const bool due = session->urgent || (session->dirty_first != NULL && rested);
    session->woken = false;
    if (rested) session->resting = false;
    pthread_mutex_unlock(&session->hub->lock);
    return due;
}

/* The queue has room again, a task has changes, or a flush is done. */
static void on_writable(void *context, struct websocket *socket) {
    struct session *session = context;
    const int64_t now_ms = clock_ms(session->hub);
    flush_reap(session);
    if (session->blocked) session->blocked = websocket_queued(socket) >= WEBSOCKET_QUEUE_MARK;
    if (is_due(session, now_ms)) flush_start(session, now_ms);
}

static void on_tick(void *context) {
    struct api *api = context;
    const int64_t now_ms = clock_ms(api->hub);
    hub_tick(api->hub, now_ms);
    for (struct session *session = api->hub->sessions; session != NULL; session = session->next) {
        flush_reap(session);
        if (is_due(session, now_ms)) flush_start(session, now_ms);
        const bool latest_due = now_ms - session->latest_ms >= LATEST_EVERY_MS || session->latest_next > 0;
        if (session->latest_wanted && !session->blocked && latest_due) latest_send(session, now_ms);
        if (now_ms - session->heartbeat_ms >= HEARTBEAT_MS) send_heartbeat(session, now_ms);
    }
}

static const struct websocket_ops stream_ops = {
    .open = on_open,
    .message = on_message,
    .writable = on_writable,
    .close = on_close,
    .tick = on_tick,
};

const struct websocket_ops *api_websocket(void) { return &stream_ops; }
