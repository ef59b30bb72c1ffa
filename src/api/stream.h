/* WS /v1/stream, inside: the hub knows what changed and who wants it; sessions speak the protocol; flushes render.
 *
 *   task thread: watcher.changed -> watcher.turn_ended -> hub rows get numbers, subscriptions get dirty buckets, sessions are
 *                woken
 *   websocket thread: a session collects its dirty buckets into one flush, a call to each task concerned
 *   task thread: reads the present value of each bucket, sends it; the last one wakes the session
 *   websocket thread: reaps the flush: what could not be sent is dirty again, else the session's cursor moves
 *
 * So a slow client gets fewer, newer values and never a queue without end. A cursor is "<run>-<number of the last change
 * delivered>": everything up to it has been sent, so a message that is not the last of its flush carries the old one.
 *
 * Lock order: hub.lock, session.lock, then the server's own. */
#ifndef API_STREAM_H
#define API_STREAM_H

#include "api/api_internal.h"

enum {
    SUBSCRIPTIONS_MAX = 1000, /* of a session */
    SUBSCRIPTIONS_ALL_MAX = 65536,
    SNAPSHOT_MAX = 1000,
    DIRTY_MAX = 512,       /* buckets of a subscription; past it a snapshot says everything */
    FLUSH_ITEMS_MAX = 256, /* a task's turn with one session stays short */
    HUB_ROWS_MAX = 65536,
    HUB_TASKS_MAX = 256,
    STREAM_CURSOR_MAX = 48,
    OPEN_EVERY_MS = 100,
    LATEST_EVERY_MS = 250,
    HEARTBEAT_MS = 5000,
    ACTIVE_MS = 60000, /* changes are noted for so long after the last session, for it to resume */
};

#define BUCKET_NONE INT64_MIN

struct session;

struct subscription {
    struct session *session;
    struct subscription *previous, *next; /* of the session; the websocket thread's */
    struct candle_request request;        /* series, interval, origin */
    bool removed;                         /* unsubscribed during a flush: freed when that is reaped */
    bool refused; /* the flush's: it cannot be answered, which its client was told; removed when that is reaped */
    /* guarded by hub.lock */
    struct subscription *series_previous, *series_next; /* of the series */
    struct subscription *dirty_next;
    bool dirty, linked;
    int64_t *buckets;
    uint32_t bucket_count, bucket_capacity;
    uint32_t snapshot; /* candles of a snapshot that is due; 0: none */
    bool reset;        /* and older candles may have changed as well */
    /* the flush's; the hub looks at `open_bucket` */
    _Atomic int64_t open_bucket;      /* last sent as open */
    int64_t closed_through;           /* largest bucket sent as closed */
    int64_t sent_trades, sent_offset; /* of the open candle, to send nothing twice */
};

struct flush_item {
    struct subscription *subscription;
    int64_t bucket;
    uint32_t snapshot;
    uint32_t group;
    bool reset, unsent;
};

struct flush_group {
    struct task_call call; /* first */
    struct flush *flush;
    struct task *task;
    uint32_t index;
};

struct flush {
    struct session *session;
    uint64_t sequence; /* everything up to here is in it; 0: it is not complete */
    char old_cursor[STREAM_CURSOR_MAX], new_cursor[STREAM_CURSOR_MAX];
    _Atomic uint32_t left;
    atomic_bool busy; /* the client's queue is full */
    uint32_t item_count, group_count;
    struct flush_item items[FLUSH_ITEMS_MAX];
    struct flush_group groups[];
};

struct session {
    uint32_t magic;
    struct hub *hub;
    _Atomic uint32_t owners;         /* the websocket thread, and a flush */
    struct session *previous, *next; /* of the hub; the websocket thread's */
    struct subscription *subscriptions;
    uint32_t subscription_count;
    struct flush *flush; /* in flight */
    _Atomic(struct flush *) done;
    bool blocked;   /* the queue is full: wait for `writable` */
    bool restarted; /* a subscription began below what the flush in flight delivers */
    bool latest_wanted;
    uint64_t sequence;                       /* candles: delivered up to */
    uint64_t latest_sequence, latest_target; /* latest prices: delivered up to; and once the round under way is over */
    uint32_t latest_next;                    /* series with which the round goes on; 0: none is under way */
    int64_t flushed_ms, latest_ms, heartbeat_ms;
    pthread_mutex_t lock;
    struct websocket *socket; /* NULL once closed */
    /* guarded by hub.lock */
    struct subscription *dirty_first;
    bool urgent, woken;
    bool resting; /* flushed less than OPEN_EVERY_MS ago: only what closes or revises wakes it */
};

/* A changed base candle, with the number of its last change. */
struct hub_row {
    uint64_t sequence;
    int64_t open_ms;
    uint32_t series;
    uint32_t older, newer; /* by sequence */
    uint32_t next;         /* with the same bucket */
};

struct hub_change {
    int64_t open_ms;
    uint32_t series;
    bool urgent;
};

struct hub_watcher {
    struct candle_watcher watcher; /* first */
    struct hub *hub;
    struct hub_change *changes;
    uint32_t count, capacity;
    bool lost; /* this turn: there was no room to note a change */
};

struct hub_checkpoint {
    int64_t offset;
    int64_t since_ns; /* it has stood there, behind what is folded; 0: it is not behind */
};

struct hub {
    struct api *api;
    uint64_t run;
    struct hub_watcher *watchers;
    uint32_t watcher_count;
    struct json_parser *json; /* the websocket thread's */
    struct session *sessions; /* the websocket thread's */
    uint32_t session_count, subscription_count;
    int64_t idle_since_ms; /* no session since; 0: there are some */
    _Atomic uint8_t *decimals;
    _Atomic uint64_t closed;
    atomic_bool active;
    struct {
        int64_t ns;
        uint64_t events, candles;
    } samples[6]; /* a second apart, newest first */
    int64_t sampled_ms;
    pthread_mutex_t lock; /* guards what follows */
    struct hub_rates rates;
    struct hub_checkpoint checkpoints[HUB_TASKS_MAX];
    uint64_t sequence, forgotten; /* cursors below `forgotten` cannot resume */
    struct hub_row *rows;
    uint32_t *buckets;
    uint32_t row_count, oldest, newest;
    struct subscription **by_series;
    uint32_t by_series_capacity;
};

/* --- hub.c --- */
void hub_cursor(const struct hub *hub, uint64_t sequence, char text[static STREAM_CURSOR_MAX]);
/* False: of another run, too old, or no cursor at all. */
bool hub_cursor_read(struct hub *hub, struct slice text, uint64_t *ret_sequence);
/* The first session has come: changes are noted from here on. False without memory. */
bool hub_activate(struct hub *hub);
void hub_tick(struct hub *hub, int64_t now_ms);
void hub_sample(struct hub *hub, int64_t now_ms); /* rates.c */
enum err hub_link(struct hub *hub, struct subscription *subscription) MUST_USE;
void hub_unlink(struct hub *hub, struct subscription *subscription);
/* With the lock held. */
void hub_mark(struct subscription *subscription, int64_t bucket);
/* `reset`: what the client has read before may have changed too. */
void hub_mark_snapshot(struct subscription *subscription, uint32_t candles, bool reset);
/* Visits the rows that changed after `sequence`, newest first, with the lock held. False: some of them are forgotten. */
bool hub_visit_since(struct hub *hub, uint64_t sequence, bool (*visit)(void *context, const struct hub_row *row),
                     void *context);
int64_t subscription_bucket(const struct subscription *subscription, int64_t time_ms);

/* --- stream_latest.c, on the websocket thread --- */
/* Wanted, or no more; `sequence`: what a cursor stands for, 0: nothing. */
void latest_start(struct session *session, bool wanted, uint64_t sequence);
void latest_send(struct session *session, int64_t now_ms);

/* --- stream.c, on the websocket thread --- */
/* `,"error":{..}}` with the place behind `at`: the end of a message. */
void stream_put_error(struct buf *out, enum err err, struct diag *diag, const char *at);
void session_unsubscribe(struct session *session, struct subscription *subscription);

/* --- flush.c, on the websocket thread but for the rendering --- */
void flush_start(struct session *session, int64_t now_ms);
/* Ends the flush that is done, if there is one. */
void flush_reap(struct session *session);
/* What a cursor may say to a client that has been sent candles and latest prices up to these. */
uint64_t session_covers(const struct session *session, uint64_t candles, uint64_t latest);
enum err session_send(struct session *session, const struct buf *text) MUST_USE;
void session_drop(struct session *session); /* one owner less */
void subscription_free(struct subscription *subscription);

#endif
