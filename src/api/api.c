#include "api/api.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/api_internal.h"

enum { API_MAGIC = 0x61706921 };

#define SERIES_ARGUMENT \
    { "series", "venue:BASE/QUOTE in any case, or venue:SYMBOL", true }
#define KIND_ARGUMENT \
    { "kind", "trade or price: which of the pair's two series (trades by default, if there are any)", false }
#define FROM_ARGUMENT \
    { "from", "milliseconds since 1970 UTC, RFC 3339, or relative (-2h); included", false }
#define TO_ARGUMENT \
    { "to", "likewise; excluded", false }

/* Every route but the page's files. The first match answers, the busiest stand first; /openapi.json is made from this, and a
 * test compares it with docs/http.md. */
const struct route api_routes[] = {
    {HTTP_GET,
     "/v1/latest",
     handle_latest,
     "Latest prices",
     NULL,
     "application/json",
     {{"series", "venue:BASE/QUOTE or venue:SYMBOL; may repeat", false, true},
      KIND_ARGUMENT,
      {"base", "every series of this base currency", false},
      {"group", "base: one list a base currency", false}},
     "latest_answer",
     NULL},
    {HTTP_POST,
     "/v1/prices",
     handle_prices,
     "Price events in; answered when on disk",
     "A PriceEvent, an array of them, or JSON lines",
     "application/json",
     {{0}},
     "prices_answer",
     "prices_body"},
    {HTTP_POST,
     "/v1/query",
     handle_query,
     "Latest prices and candles, mixed, in one request",
     "An array of {\"latest\":SERIES} and {\"candles\":{\"series\",\"interval\",\"from\",\"to\",\"limit\",..}}",
     "application/json",
     {{0}},
     "results",
     "query_member[]"},
    {HTTP_GET,
     "/v1/candles",
     handle_candles,
     "Candles of one series",
     NULL,
     "application/json",
     {SERIES_ARGUMENT,
      KIND_ARGUMENT,
      {"interval", "1m by default; 1s 5m 15m 1h 4h 1d 1w 1M, any Ns Nm Nh Nd Nw NM, or M1 H1 D1 W1", false},
      FROM_ARGUMENT,
      TO_ARGUMENT,
      {"limit", "500 by default, at most 50000; the newest, or with `from` the first", false},
      {"tz", "zone name or offset (+08:00) of the buckets; UTC by default", false},
      {"week_start", "1 Monday (default) to 7 Sunday", false},
      {"format", "json, csv or ndjson", false}},
     "candle[]",
     NULL},
    {HTTP_POST,
     "/v1/latest",
     handle_latest_post,
     "Latest prices of many series",
     "An array of series names or of {\"baseCurrency\",\"quoteCurrency\",\"exchange\"}",
     "application/json",
     {KIND_ARGUMENT},
     "latest_list",
     "series_or_pair[]"},
    {HTTP_POST,
     "/v1/candles",
     handle_candles_post,
     "Candles of many series",
     "An array of {\"series\",\"interval\",\"from\",\"to\",\"limit\",..}",
     "application/json",
     {{0}},
     "results",
     "candles_query[]"},
    {HTTP_GET,
     "/v1/series",
     handle_series,
     "Venues, pairs, last seen",
     NULL,
     "application/json",
     {{"venue", "only of this venue", false}, {"base", "only of this base currency", false}},
     "series[]",
     NULL},
    {HTTP_GET,
     "/v1/why",
     handle_why,
     "How one candle came to be",
     NULL,
     "application/json",
     {SERIES_ARGUMENT, KIND_ARGUMENT, {"time", "a time within the minute", true}},
     "why",
     NULL},
    {HTTP_GET,
     "/v1/gaps",
     handle_gaps,
     "Holes in the ids of trades",
     NULL,
     "application/json",
     {{"series", "only of this series", false}, KIND_ARGUMENT, FROM_ARGUMENT, TO_ARGUMENT},
     "gap[]",
     NULL},
    {HTTP_GET, "/v1/ledger", handle_ledger, "Where every event went", NULL, "application/json", {{0}}, "ledger", NULL},
    {HTTP_GET, "/v1/status", handle_status, "Rates and progress", NULL, "application/json", {{0}}, "status", NULL},
    {HTTP_GET,
     "/metrics",
     handle_metrics,
     "Prometheus metrics",
     NULL,
     "text/plain; version=0.0.4",
     {{0}},
     "text",
     NULL},
    {HTTP_GET, "/healthz", handle_health, "200 while the process lives", NULL, "text/plain", {{0}}, "text", NULL},
    {HTTP_GET,
     "/readyz",
     handle_ready,
     "200 once caught up, else 503 and why",
     NULL,
     "application/json",
     {{0}},
     "ready",
     NULL},
    {HTTP_GET, "/openapi.json", handle_openapi, "This description", NULL, "application/json", {{0}}, "object", NULL},
};
const uint32_t api_route_count = sizeof api_routes / sizeof *api_routes;

/* --- dispatch --- */

static void refuse_method(struct http_exchange *exchange, bool get, bool post) {
    const char *allow = get && post ? "GET, HEAD, POST, OPTIONS" : get ? "GET, HEAD, OPTIONS" : "POST, OPTIONS";
    http_header(exchange, "Allow", allow);
    if (exchange->method == HTTP_OPTIONS) {
        http_reply(exchange, 204, "");
        return;
    }
    char message[64];
    snprintf(message, sizeof message, "this route takes %s", allow);
    http_put_error(&exchange->answer, ERR_USAGE, message, "");
    http_reply(exchange, 405, "application/json");
}

/* Watching begins with an upgrade; what came without one may have lost it to a proxy. */
static void refuse_plain_stream(struct http_exchange *exchange) {
    http_header(exchange, "Upgrade", "websocket");
    http_header(exchange, "Connection", "Upgrade");
    http_put_error(
        &exchange->answer, ERR_USAGE,
        "/v1/stream is a websocket: connect with ws:// or wss://, through proxies that pass \"Upgrade: websocket\" on "
        "(GET /v1/candles and GET /v1/latest answer plain requests)",
        "");
    http_reply(exchange, 426, "application/json");
}

static const struct route_argument *find_argument(const struct route *route, struct slice name) {
    for (uint32_t i = 0; i < API_ARGUMENTS_MAX && route->arguments[i].name != NULL; i++)
        if (slice_equal(name, slice_text(route->arguments[i].name))) return &route->arguments[i];
    return NULL;
}

static bool came_before(const struct http_exchange *exchange, uint32_t index) {
    for (uint32_t i = 0; i < index; i++)
        if (slice_equal(exchange->arguments[i].name, exchange->arguments[index].name)) return true;
    return false;
}

static void refuse_argument(struct http_exchange *exchange, const struct route *route, struct slice name, bool known) {
    struct diag diag = {0};
    struct nearest nearest = nearest_begin(name);
    enum err err = ERR_DUPLICATE;
    for (uint32_t i = 0; i < API_ARGUMENTS_MAX && route->arguments[i].name != NULL; i++)
        nearest_look(&nearest, route->arguments[i].name);
    if (known) {
        (void)diag_set(&diag, err, "%s takes one \"%.*s\"", route->path, SLICE_PRINT(name));
        diag_where(&diag, "%.*s", SLICE_PRINT(name));
    } else {
        err = refuse_name(&nearest, route->path, "argument", &diag);
    }
    http_reply_error(exchange, err, &diag);
}

/* An argument that is passed over would make the answer one to another question. */
static bool has_good_arguments(struct http_exchange *exchange, const struct route *route) {
    if (strncmp(route->path, "/v1/", 4) != 0) return true;
    for (uint32_t i = 0; i < exchange->argument_count; i++) {
        const struct http_pair *pair = &exchange->arguments[i];
        if (pair->name.size == 0 && pair->value.size == 0) continue; /* "a=1&&b=2" */
        const struct route_argument *known = find_argument(route, pair->name);
        if (known != NULL && (known->repeats || !came_before(exchange, i))) continue;
        refuse_argument(exchange, route, pair->name, known != NULL);
        return false;
    }
    return true;
}

static void route(struct api *api, struct http_exchange *exchange) {
    if (exchange->local && api->options.control != NULL && control_has(exchange->path)) {
        handle_control(api, exchange);
        return;
    }
    const enum http_method method = exchange->method == HTTP_HEAD ? HTTP_GET : exchange->method;
    bool get = false, post = false;
    for (uint32_t i = 0; i < api_route_count; i++) {
        const struct route *route = &api_routes[i];
        if (!slice_equal(exchange->path, slice_text(route->path))) continue;
        if (route->method == method) {
            if (has_good_arguments(exchange, route)) route->handle(api, exchange);
            return;
        }
        get |= route->method == HTTP_GET;
        post |= route->method == HTTP_POST;
    }
    const bool page = !get && !post && page_has(exchange->path);
    const bool stream = slice_equal(exchange->path, SLICE("/v1/stream"));
    struct diag diag = {0};
    if (page && method == HTTP_GET)
        handle_page(exchange);
    else if (stream && method == HTTP_GET)
        refuse_plain_stream(exchange);
    else if (get || post || page || stream)
        refuse_method(exchange, get || page || stream, post);
    else
        http_reply_error(exchange, diag_set(&diag, ERR_NOT_FOUND, "there is no such route; see /openapi.json"), &diag);
}

static void handle(struct http_handler *handler, struct http_exchange *exchange) {
    struct api *api = (struct api *)handler;
    assert(api->magic == API_MAGIC);
    route(api, exchange);
}

/* The page asks for the token itself, so its files come without one; they hold no data. */
static bool open_path(struct http_handler *handler, struct slice path) {
    (void)handler;
    return slice_equal(path, SLICE("/healthz")) || page_has(path);
}

/* --- kits --- */

static void kit_free(struct kit *kit) {
    price_decoder_close(&kit->prices);
    json_parser_close(&kit->json);
    free(kit->seen);
    free(kit);
}

static enum err kit_make(struct api *api, struct kit **ret_kit) {
    struct kit *kit = calloc(1, sizeof *kit);
    if (kit == NULL) return ERR_NO_MEMORY;
    enum err err = price_decoder_open(api->options.series, &kit->prices);
    if (err == ERR_OK) err = json_parser_open(NULL, &kit->json);
    if (err != ERR_OK) {
        kit_free(kit);
        return err;
    }
    *ret_kit = kit;
    return ERR_OK;
}

enum err kit_take(struct api *api, struct kit **ret_kit) {
    pthread_mutex_lock(&api->lock);
    struct kit *kit = api->kits;
    if (kit != NULL) api->kits = kit->next;
    pthread_mutex_unlock(&api->lock);
    if (kit == NULL) return kit_make(api, ret_kit);
    *ret_kit = kit;
    return ERR_OK;
}

/* As many kits exist as threads have ever handled requests at once. */
void kit_give(struct api *api, struct kit *kit) {
    pthread_mutex_lock(&api->lock);
    kit->next = api->kits;
    api->kits = kit;
    pthread_mutex_unlock(&api->lock);
}

/* --- life cycle --- */

int64_t api_now_ms(const struct api *api) {
    if (api->options.now_ms != NULL) return api->options.now_ms(api->options.now_context);
    return sys_wall_ms(api->options.sys);
}

void api_drop(struct api *api) {
    if (atomic_fetch_sub(&api->owners, 1) != 1) return;
    submissions_free(api);
    histories_free(api);
    for (struct kit *kit = api->kits, *next; kit != NULL; kit = next) {
        next = kit->next;
        kit_free(kit);
    }
    keys_close(&api->keys);
    hub_close(&api->hub);
    buf_deinit(&api->openapi);
    pthread_mutex_destroy(&api->lock);
    free(api->bases);
    free(api);
}

static enum err api_fill(struct api *api, struct diag *diag) {
    const uint32_t count = api->options.base_count;
    api->bases = calloc(count + 1, sizeof *api->bases);
    if (api->bases == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for the API");
    for (uint32_t i = 0; i < count; i++) api->bases[i] = api->options.bases[i];
    api->options.bases = api->bases;
    openapi_write(&api->openapi);
    enum err err = buf_err(&api->openapi);
    if (err == ERR_OK) err = keys_open(api, diag, &api->keys);
    if (err == ERR_OK) err = hub_open(api, diag, &api->hub);
    if (err == ERR_OK && api->options.live) err = readers_open(api->options.sys, diag, &api->readers);
    return err;
}

enum err api_open(const struct api_options *options, struct diag *diag, struct api **ret_api) {
    struct api *api = calloc(1, sizeof *api);
    if (api == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for the API");
    api->handler = (struct http_handler){handle, open_path};
    api->magic = API_MAGIC;
    api->options = *options;
    api->opened_ns = sys_monotonic_ns(options->sys);
    atomic_store(&api->owners, 1);
    pthread_mutex_init(&api->lock, NULL);
    buf_init(&api->openapi, 1024 * 1024);
    enum err err = api_fill(api, diag);
    if (err != ERR_OK) {
        api_drop(api);
        return err;
    }
    *ret_api = api;
    return ERR_OK;
}

void api_close(struct api **api) {
    if (*api == NULL) return;
    assert((*api)->magic == API_MAGIC);
    readers_close(&(*api)->readers);
    api_drop(*api);
    *api = NULL;
}

enum err api_watch_tasks(struct api *api) { return hub_watch_tasks(api->hub); }

void api_everything_changed(struct api *api) { hub_everything_changed(api->hub); }

struct http_handler *api_handler(struct api *api) {
    return &api->handler;
}

void api_set_server(struct api *api, const struct server *server) { atomic_store(&api->server, server); }
