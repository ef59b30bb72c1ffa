#include <stdio.h>

#include "api/api_internal.h"

#ifndef WICK_VERSION
#define WICK_VERSION "0"
#endif

/* --- GET /v1/status --- */

/* Why a task has stopped, or why nothing can be written for it to read. False: neither. */
static bool task_fault(struct api *api, const struct task_info *info, char text[static 512]) {
    struct log_partition *input;
    if (info->err != ERR_OK) {
        snprintf(text, 512, "%s", info->error);
        return true;
    }
    if (log_partition_find(api->options.log, info->topic, info->partition, &input) != ERR_OK ||
        !log_partition_refuses(input))
        return false;
    struct log_finding finding;
    struct diag diag = {0};
    log_partition_damage(input, &finding);
    (void)!log_finding_diag(&finding, &diag);
    diag_print(&diag, text, 512);
    return true;
}

static void put_tasks(struct api *api, struct buf *out, bool wrong_only) {
    bool first = true;
    for (uint32_t i = 0; i < task_group_count(api->options.tasks); i++) {
        struct task_info info;
        char fault[512];
        task_group_info(api->options.tasks, i, &info);
        const bool faulty = task_fault(api, &info, fault);
        if (wrong_only && !faulty && info.offset >= info.end_offset) continue;
        buf_put_text(out, first ? "{\"name\":" : ",{\"name\":");
        first = false;
        put_name(out, slice_text(info.name));
        put_number(out, "offset", info.offset);
        put_number(out, "end", info.end_offset);
        put_number(out, "checkpoint", info.checkpoint_offset);
        if (faulty) {
            put_member(out, "error");
            put_name(out, slice_text(fault));
        }
        buf_put_u8(out, '}');
    }
}

static bool is_ready(struct api *api) {
    if (!task_group_ready(api->options.tasks)) return false;
    for (uint32_t i = 0; i < task_group_count(api->options.tasks); i++) {
        struct task_info info;
        char fault[512];
        task_group_info(api->options.tasks, i, &info);
        if (task_fault(api, &info, fault)) return false;
    }
    return true;
}

int64_t api_uptime_ms(const struct api *api) { return (sys_monotonic_ns(api->options.sys) - api->opened_ns) / 1000000; }

void handle_status(struct api *api, struct http_exchange *exchange) {
    struct buf *out = &exchange->answer;
    struct log_stats log;
    struct hub_rates rates;
    log_stats(api->options.log, &log);
    hub_rates(api->hub, &rates);
    const bool live = api->options.live && is_ready(api);
    buf_put_text(out, "{\"version\":\"" WICK_VERSION "\"");
    put_number(out, "uptime_ms", api_uptime_ms(api));
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
    const bool ready = is_ready(api);
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
