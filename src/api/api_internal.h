/* What the files of api/ share; nobody outside includes this.
 *
 * A route's handler runs on a transport's thread and never blocks: what needs a task's state goes to the task's thread by
 * task_call and answers from there, what waits for the disk answers from the log's committer. After http_reply the
 * exchange, and all that was allocated from its arena, is gone. */
#ifndef API_API_INTERNAL_H
#define API_API_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "api/api.h"
#include "api/page.h"
#include "base/hash.h"
#include "base/nearest.h"
#include "codec/json.h"
#include "venue/venue.h"

enum {
    API_CANDLES_DEFAULT = 500,
    API_CANDLES_MAX = 50000,
    API_SERIES_MAX = 10000,  /* in one answer or request */
    API_MEMBERS_MAX = 1000,  /* of POST /v1/candles and /v1/query */
    API_EVENTS_MAX = 100000, /* elements of one POST /v1/prices */
    API_FUTURE_MS = 5 * 60 * 1000,
};

enum { API_ARGUMENTS_MAX = 10 };
struct route_argument {
    const char *name, *description;
    bool required, repeats;
};

struct route {
    enum http_method method;
    const char *path;
    void (*handle)(struct api *api, struct http_exchange *exchange);
    const char *summary;
    const char *body;                                   /* what a POST takes, in words; NULL: nothing */
    const char *answers;                                /* content type */
    struct route_argument arguments[API_ARGUMENTS_MAX]; /* all there are: others are refused */
    const char *schema, *body_schema;                   /* of answer and body: types of schemas.c */
};
extern const struct route api_routes[];
extern const uint32_t api_route_count;

/* What a request needs for itself while it is handled; kept for the next one. */
struct kit {
    struct kit *next;
    struct price_decoder *prices;
    struct json_parser *json;
    uint64_t *seen; /* hashes of the events of one request: open addressing, 0 is empty */
    uint32_t seen_capacity, seen_count;
};

struct api_counters {
    _Atomic uint64_t accepted, duplicate, invalid, refused;
};

struct submission;
struct history_slice;
struct readers;
struct keys;
struct hub;

struct api {
    struct http_handler handler; /* first */
    uint32_t magic;
    struct api_options options;
    struct api_base *bases;
    const struct server *_Atomic server;
    int64_t opened_ns;
    struct keys *keys;
    struct hub *hub;
    struct buf openapi;
    struct api_counters counters;
    _Atomic uint32_t owners; /* the opener, and each submission in the log */
    pthread_mutex_t lock;    /* guards the pools */
    struct kit *kits;
    struct submission *submissions;
    uint32_t submission_count;
    struct history_slice *slices;
    uint32_t slice_count;
    _Atomic size_t slice_bytes; /* of histories under way */
    struct readers *readers;    /* NULL: everything is stepped by the caller */
};

/* --- api.c --- */
enum err kit_take(struct api *api, struct kit **ret_kit) MUST_USE;
void kit_give(struct api *api, struct kit *kit);
void api_drop(struct api *api); /* one owner less */
int64_t api_now_ms(const struct api *api);

/* --- wait.c: answers that must see everything acknowledged --- */
typedef void (*api_then)(struct api *api, struct http_exchange *exchange, void *context);
/* Calls `then` once the tasks of these series (all candle tasks where `numbers` is NULL) have folded what is durable now: at
 * once on this thread where they have. The array is not kept. */
void api_when_folded(struct api *api, struct http_exchange *exchange, const uint32_t *numbers, uint32_t count,
                     api_then then, void *context);

/* --- arguments.c --- */
/* An enum series_kind, or -1 where it is absent. ERR_UNKNOWN. */
enum err argument_kind(struct slice text, struct diag *diag, int *ret_kind) MUST_USE;
/* `kind`: "", "trade" or "price". ERR_NOT_FOUND, ERR_SYNTAX. */
enum err argument_series(const struct api *api, struct slice name, struct slice kind, struct diag *diag,
                         uint32_t *ret_series) MUST_USE;
struct candle_arguments {
    struct slice series, kind, interval, from, to, limit, tz, week_start;
};
struct candle_request {
    struct candle_query query;
    const struct series *series;
    struct zone *zone; /* made for this request; candle_request_end closes it */
    char interval[16];
    char tz[64]; /* as it was asked for; "": UTC */
};
/* On failure nothing is held. */
enum err candle_request_read(const struct api *api, const struct candle_arguments *arguments, struct diag *diag,
                             struct candle_request *ret_request) MUST_USE;
void candle_request_end(struct candle_request *request);
/* A time argument; `otherwise` where it is absent. */
enum err argument_time(const struct api *api, const struct http_exchange *exchange, const char *name, int64_t otherwise,
                       int64_t *ret_ms, struct diag *diag) MUST_USE;
/* "WHO has no WHAT "given"", with the name perhaps meant, at that name. ERR_UNKNOWN. */
enum err refuse_name(const struct nearest *nearest, const char *who, const char *what, struct diag *diag) MUST_USE;
/* An object with a member that is none of `names` (NULL ends them) is refused: what is passed over would make the answer one
 * to another question. */
enum err members_known(const struct json_value *object, const char *who, const char *const *names,
                       struct diag *diag) MUST_USE;
/* The members of a JSON object; without `range` it has no `from`, `to` and `limit`. */
enum err candle_arguments_of(const struct json_value *object, bool range, struct diag *diag,
                             struct candle_arguments *ret_arguments) MUST_USE;
/* The text of a JSON string or number member; empty where absent. ERR_TYPE. */
enum err member_text(const struct json_value *object, const char *name, struct diag *diag,
                     struct slice *ret_text) MUST_USE;

/* --- readers.c: threads for what takes long --- */
struct read_job {
    void (*run)(struct read_job *job);
    bool lengthy;
    struct read_job *next; /* the readers' */
};
enum err readers_open(const struct sys *sys, struct diag *diag, struct readers **ret_readers) MUST_USE;
/* What is queued is run first. */
void readers_close(struct readers **readers);
/* Any thread; without readers it runs at once. */
void readers_run(struct readers *readers, struct read_job *job);

/* --- history.c: reads of candles, away from the tasks --- */
enum { HISTORY_TASKS_MAX = 256 };
struct history {
    struct candle_request request;
    struct task *task;           /* that owns the series */
    struct candle_source source; /* from here on, history.c's */
    struct history_slice *slice;
    enum err err;
};
struct histories {
    struct read_job job; /* first; `run` is called on a reader's thread once every slice is taken */
    struct api *api;
    struct history **list;
    uint32_t count;
    struct history_call *calls; /* history.c's */
    _Atomic uint32_t left;
};
/* Asks the tasks of the histories, and `tasks` beside them, for what they know: a reader sees whatever was acknowledged to
 * anybody before. There must be one task at least. ERR_NO_MEMORY and ERR_LIMIT: nothing was asked. */
enum err histories_take(struct histories *set, struct arena *arena, struct task *const *tasks,
                        uint32_t task_count) MUST_USE;
enum err history_read(const struct history *history, candle_visit visit, void *context, struct diag *diag) MUST_USE;
/* Gives back the slice and ends the request. */
void history_end(struct api *api, struct history *history);
void histories_free(struct api *api);

/* --- render.c --- */
void put_i64(struct buf *out, int64_t value);
void put_decimal(struct buf *out, struct decimal value); /* with its quotes */
void put_name(struct buf *out, struct slice name);       /* a JSON string; fast for what needs no escape */
/* `,"name":` in front of a value. */
void put_member(struct buf *out, const char *name);
/* A member with a whole number. */
void put_number(struct buf *out, const char *name, int64_t value);
/* The terms of a ledger's row, as everything here names them: the first is the sum of the others. */
enum { LEDGER_TERMS = 7 };
extern const struct ledger_term {
    const char *name;
    size_t offset;
} ledger_terms[LEDGER_TERMS];
uint64_t ledger_term_of(const struct ledger_row *row, uint32_t index);
void put_ledger_terms(struct buf *out, const struct ledger_row *row);
void put_latest(struct buf *out, const struct series *series, const struct latest *latest);
/* JSON objects separated by commas. */
struct candle_list {
    struct buf *out;
    struct candle_style style;
    uint32_t count;
    char separator; /* ',' or '\n' */
    struct candle_head head;
};
enum err candle_list_add(void *list, const struct candle *candle);

/* --- handlers, one file a group --- */
void handle_prices(struct api *api, struct http_exchange *exchange);
void handle_latest(struct api *api, struct http_exchange *exchange);
void handle_latest_post(struct api *api, struct http_exchange *exchange);
void handle_candles(struct api *api, struct http_exchange *exchange);
void handle_candles_post(struct api *api, struct http_exchange *exchange);
void handle_query(struct api *api, struct http_exchange *exchange);
void handle_series(struct api *api, struct http_exchange *exchange);
void handle_why(struct api *api, struct http_exchange *exchange);
void handle_gaps(struct api *api, struct http_exchange *exchange);
void handle_ledger(struct api *api, struct http_exchange *exchange);
void handle_status(struct api *api, struct http_exchange *exchange);
int64_t api_uptime_ms(const struct api *api);
void handle_metrics(struct api *api, struct http_exchange *exchange);
void handle_health(struct api *api, struct http_exchange *exchange);
void handle_ready(struct api *api, struct http_exchange *exchange);
void handle_openapi(struct api *api, struct http_exchange *exchange);
bool page_has(struct slice path);
/* --- control.c --- */
bool control_has(struct slice path);
void handle_control(struct api *api, struct http_exchange *exchange);

void handle_page(struct http_exchange *exchange);

/* --- openapi.c --- */
void openapi_write(struct buf *out);

/* --- schemas.c --- */
void schema_put(struct buf *out, const char *type); /* a schema, or a reference to one */
void schemas_write(struct buf *out);                /* those referred to, as members of an object */

/* --- prices.c --- */
void submissions_free(struct api *api);

/* --- keys.c: Idempotency-Key --- */
enum err keys_open(struct api *api, struct diag *diag, struct keys **ret_keys) MUST_USE;
void keys_close(struct keys **keys);
/* Calls `visit` with the hash of each event that this key has brought in the last 24 hours. Any thread. */
void keys_visit(struct keys *keys, struct slice key, int64_t now_ms, void (*visit)(void *context, uint64_t hash),
                void *context);
/* They are on disk, and so is the record that says so. Any thread; forgets the oldest when full. */
void keys_add(struct keys *keys, struct slice key, int64_t now_ms, const uint64_t *hashes, uint32_t count);
struct log_partition *keys_partition(const struct keys *keys);

/* --- stream.c, hub.c --- */
enum err hub_open(struct api *api, struct diag *diag, struct hub **ret_hub) MUST_USE;
void hub_close(struct hub **hub);
/* Watches the tasks that it does not watch yet, while they are held. */
enum err hub_watch_tasks(struct hub *hub) MUST_USE;
/* What is stored changed beside the tasks. */
void hub_everything_changed(struct hub *hub);
struct hub_rates {
    double events_per_second, candles_per_second;
    uint64_t candles_closed;
};
void hub_rates(struct hub *hub, struct hub_rates *ret_rates);
/* Seconds for which a task's checkpoint has stood behind what the task has folded, as far as samples tell. */
double hub_checkpoint_age(struct hub *hub, uint32_t task);
/* Most decimals seen in the prices of a series since the start. */
uint8_t hub_decimals(const struct hub *hub, uint32_t series);

#endif
