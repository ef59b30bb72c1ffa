/* The HTTP API: routes over log, tasks and candles. The routes and their JSON are in docs/http.md.
 *
 * One `struct api` serves all transports: it is an http_handler, and a set of websocket sessions. It owns nothing of what
 * it is given; close the server first, then the tasks, then the api, then the rest. */
#ifndef API_API_H
#define API_API_H

#include "api/control.h"
#include "candle/desk.h"
#include "net/server.h"

struct api;

struct api_options {
    const struct sys *sys;
    struct log *log;
    struct store *store;
    struct series_table *series;
    struct latest_table *latest;
    struct task_group *tasks;
    struct candle_desk *desk;
    const char *folder; /* of the data, which outlives the api: what is free there is told; NULL: it is not */
    struct log_partition *const *prices; /* partitions of topic `prices` */
    uint32_t prices_count;
    enum record_codec codec;              /* of their batches */
    struct log_partition *prices_invalid; /* `prices.invalid` */
    uint32_t base_ms;                     /* of the finest candles: 60000 or 1000 */
    bool read_only;                       /* a command on a folder without a server: POST is refused */
    bool live;                            /* tasks and committer have threads; false: `http_local` pumps */
    /* base -> (quote, exchange) of /v1/latest?group=base; may be empty */
    const struct api_base { const char *base, *quote, *venue; } * bases;
    uint32_t base_count;
    /* Zones by name for ?tz=; NULL: only fixed offsets. The returned zone lives as long as the api. */
    enum err (*zone)(void *context, struct slice name, struct diag *diag, const struct zone **ret_zone);
    void *zone_context;
    int64_t (*now_ms)(void *context); /* for relative times */
    void *now_context;
    /* What only a command on this machine may ask (api/control.h); NULL: nothing. */
    const struct control_ops *control;
    void *control_context;
};

enum err api_open(const struct api_options *options, struct diag *diag, struct api **ret_api) MUST_USE;
void api_close(struct api **api);
struct http_handler *api_handler(struct api *api);
const struct websocket_ops *api_websocket(void);
/* Tasks were added to the desk, which are held meanwhile: the stream watches them too. */
enum err api_watch_tasks(struct api *api) MUST_USE;
/* The store was changed beside the tasks (an import): whoever watches the stream gets what it watches anew. Any thread. */
void api_everything_changed(struct api *api);
/* After server_open: metrics include the server's. May be NULL. */
void api_set_server(struct api *api, const struct server *server);

#endif
