#include "api/api_internal.h"

#ifndef WICK_VERSION
#define WICK_VERSION "0"
#endif

/* --- GET /v1/status --- */

static void put_tasks(struct api *api, struct buf *out, bool behind_only) {
    bool first = true;
    for (uint32_t i = 0; i < task_group_count(api->options.tasks); i++) {
        struct task_info info;
        task_group_info(api->options.tasks, i, &info);
        if (behind_only && info.err == ERR_OK && info.offset >= info.end_offset) continue;
        buf_put_text(out, first ? "{\"name\":" : ",{\"name\":");
        first = false;
        put_name(out, slice_text(info.name));
        put_number(out, "offset", info.offset);
        put_number(out, "end", info.end_offset);
        put_number(out, "checkpoint", info.checkpoint_offset);
        if (info.err != ERR_OK) {
            put_member(out, "error");
            put_name(out, slice_text(info.error));
        }
        buf_put_u8(out, '}');
    }
}

static bool any_failed(struct api *api) {
    for (uint32_t i = 0; i < task_group_count(api->options.tasks); i++) {
        struct task_info info;
        task_group_info(api->options.tasks, i, &info);
        if (info.err != ERR_OK) return true;
    }
    return false;
}

static int64_t uptime_ms(const struct api *api) {
    return (sys_monotonic_ns(api->options.sys) - api->opened_ns) / 1000000;
}

void handle_status(struct api *api, struct http_exchange *exchange) {
    struct buf *out = &exchange->answer;
    struct log_stats log;
    struct hub_rates rates;
    log_stats(api->options.log, &log);
    hub_rates(api->hub, &rates);
    const bool live = api->options.live && task_group_ready(api->options.tasks) && !any_failed(api);
    buf_put_text(out, "{\"version\":\"" WICK_VERSION "\"");
    put_number(out, "uptime_ms", uptime_ms(api));
    buf_put_text(out, live ? ",\"live\":true" : ",\"live\":false");
    put_number(out, "series", series_count(api->options.series));
    buf_printf(out, ",\"events_per_second\":%.1f,\"candles_per_second\":%.2f", rates.events_per_second,
               rates.candles_per_second);
    put_number(out, "log_bytes", (int64_t)log.bytes);
    put_member(out, "tasks");
    buf_put_u8(out, '[');
    put_tasks(api, out, false);
    buf_put(out, SLICE("]}"));
    http_reply(exchange, 200, "application/json");
}

/* --- GET /healthz, /readyz --- */

void handle_health(struct api *api, struct http_exchange *exchange) {
    (void)api;
    buf_put(&exchange->answer, SLICE("ok\n"));
    http_reply(exchange, 200, "text/plain; charset=utf-8");
}

void handle_ready(struct api *api, struct http_exchange *exchange) {
    struct buf *out = &exchange->answer;
    const bool ready = task_group_ready(api->options.tasks) && !any_failed(api);
    buf_put_text(out, ready ? "{\"ready\":true" : "{\"ready\":false");
    if (!ready) {
        put_member(out, "behind");
        buf_put_u8(out, '[');
        put_tasks(api, out, true);
        buf_put_u8(out, ']');
        http_header(exchange, "Retry-After", "1");
    }
    buf_put_u8(out, '}');
    http_reply(exchange, ready ? 200 : 503, "application/json");
}

/* --- GET /metrics: Prometheus' text format 0.0.4 --- */

static void put_head(struct buf *out, const char *name, const char *type, const char *help) {
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_counter(struct buf *out, const char *name, const char *help, uint64_t value) {
    put_head(out, name, "counter", help);
    buf_printf(out, "%s %llu\n", name, (unsigned long long)value);
}

static void put_gauge(struct buf *out, const char *name, const char *help, double value) {
    put_head(out, name, "gauge", help);
    buf_printf(out, "%s %.9g\n", name, value);
}

/* A label's value escapes backslash, quote and newline. */
static void put_label(struct buf *out, const char *name, struct slice value) {
    buf_printf(out, "%s=\"", name);
    for (size_t i = 0; i < value.size; i++) {
        const uint8_t c = value.data[i];
        if (c == '"' || c == '\\') buf_put_u8(out, '\\');
        if (c == '\n')
            buf_put_text(out, "\\n");
        else
            buf_put_u8(out, c);
    }
    buf_put_u8(out, '"');
}

static void put_server_metrics(struct api *api, struct buf *out) {
    const struct server *server = atomic_load(&api->server);
    struct server_stats stats = {0};
    if (server == NULL) return;
    server_stats(server, &stats);
    put_counter(out, "wick_http_requests_total", "Requests that reached a handler.", stats.requests);
    put_counter(out, "wick_http_refused_total", "Requests refused or connections cut by the server itself.",
                stats.refused);
    put_counter(out, "wick_http_received_bytes_total", "Bytes of request bodies and websocket frames.", stats.bytes_in);
    put_counter(out, "wick_http_sent_bytes_total", "Bytes of answers and websocket frames.", stats.bytes_out);
    put_gauge(out, "wick_http_connections", "Open connections.", stats.connections);
    put_gauge(out, "wick_websockets", "Open websocket sessions.", stats.websockets);
}

static void put_log_metrics(struct api *api, struct buf *out) {
    struct log_stats stats;
    log_stats(api->options.log, &stats);
    put_counter(out, "wick_log_appends_total", "Batches appended.", stats.appends);
    put_counter(out, "wick_log_records_total", "Records appended.", stats.records);
    put_counter(out, "wick_log_bytes_total", "Bytes appended.", stats.bytes);
    put_counter(out, "wick_log_groups_total", "Commit groups.", stats.groups);
    put_counter(out, "wick_log_syncs_total", "Calls of fdatasync.", stats.syncs);
    put_head(out, "wick_log_sync_seconds_total", "counter", "Time spent in fdatasync.");
    buf_printf(out, "wick_log_sync_seconds_total %.6f\n", (double)stats.sync_ns_total / 1e9);
    put_gauge(out, "wick_log_sync_seconds_max", "Longest fdatasync since the start.", (double)stats.sync_ns_max / 1e9);
}

static int64_t task_offset(const struct task_info *info) { return info->offset; }
static int64_t task_end(const struct task_info *info) { return info->end_offset; }
static int64_t task_checkpoint(const struct task_info *info) { return info->checkpoint_offset; }
static int64_t task_failed(const struct task_info *info) { return info->err != ERR_OK; }

static void put_task_metrics(struct api *api, struct buf *out) {
    static const struct {
        const char *name, *help;
        int64_t (*value)(const struct task_info *info);
    } gauges[] = {
        {"wick_task_offset", "Next offset the task reads.", task_offset},
        {"wick_task_end_offset", "Durable end of the task's input.", task_end},
        {"wick_task_checkpoint_offset", "Input offset of the task's last checkpoint.", task_checkpoint},
        {"wick_task_failed", "1 where the task has stopped with an error.", task_failed},
    };
    for (size_t g = 0; g < sizeof gauges / sizeof *gauges; g++) {
        if (task_group_count(api->options.tasks) == 0) continue;
        put_head(out, gauges[g].name, "gauge", gauges[g].help);
        for (uint32_t i = 0; i < task_group_count(api->options.tasks); i++) {
            struct task_info info;
            task_group_info(api->options.tasks, i, &info);
            buf_printf(out, "%s{", gauges[g].name);
            put_label(out, "task", slice_text(info.name));
            buf_printf(out, "} %lld\n", (long long)gauges[g].value(&info));
        }
    }
}

static void put_fate(struct buf *out, const struct task_info *info, const char *fate, uint64_t value) {
    buf_put_text(out, "wick_events_total{");
    put_label(out, "topic", slice_text(info->topic));
    buf_printf(out, ",partition=\"%u\",", info->partition);
    put_label(out, "task", slice_text(info->name));
    buf_printf(out, ",fate=\"%s\"} %llu\n", fate, (unsigned long long)value);
}

static void put_event_metrics(struct api *api, struct buf *out) {
    if (task_group_count(api->options.tasks) == 0) return;
    put_head(out, "wick_events_total", "counter", "Events read, by what became of them.");
    for (uint32_t i = 0; i < task_group_count(api->options.tasks); i++) {
        struct task_info info;
        task_group_info(api->options.tasks, i, &info);
        const struct ledger_row *row = &info.ledger;
        put_fate(out, &info, "used", row->used);
        put_fate(out, &info, "late", row->late);
        put_fate(out, &info, "duplicate", row->duplicate);
        put_fate(out, &info, "invalid", row->invalid);
        put_fate(out, &info, "filtered", row->filtered);
        put_fate(out, &info, "pending", row->pending);
    }
}

static void put_own_metrics(struct api *api, struct buf *out) {
    struct hub_rates rates;
    hub_rates(api->hub, &rates);
    put_counter(out, "wick_prices_accepted_total", "Price events accepted by POST /v1/prices.",
                atomic_load(&api->counters.accepted));
    put_counter(out, "wick_prices_duplicate_total", "Price events dropped as duplicates within a request or its key.",
                atomic_load(&api->counters.duplicate));
    put_counter(out, "wick_prices_invalid_total", "Elements of requests that are no valid price event.",
                atomic_load(&api->counters.invalid));
    put_counter(out, "wick_prices_refused_total", "Requests to POST /v1/prices answered with an error.",
                atomic_load(&api->counters.refused));
    put_counter(out, "wick_candles_closed_total", "Base candles closed.", rates.candles_closed);
    put_gauge(out, "wick_series", "Series known.", series_count(api->options.series));
    put_gauge(out, "wick_ready", "1 once caught up.", task_group_ready(api->options.tasks) ? 1 : 0);
    put_gauge(out, "wick_uptime_seconds", "Since the start.", (double)uptime_ms(api) / 1000);
    put_head(out, "wick_build_info", "gauge", "The program's version.");
    buf_put_text(out, "wick_build_info{version=\"" WICK_VERSION "\"} 1\n");
}

void handle_metrics(struct api *api, struct http_exchange *exchange) {
    struct buf *out = &exchange->answer;
    put_server_metrics(api, out);
    put_log_metrics(api, out);
    put_task_metrics(api, out);
    put_event_metrics(api, out);
    put_own_metrics(api, out);
    http_reply(exchange, 200, "text/plain; version=0.0.4; charset=utf-8");
}
