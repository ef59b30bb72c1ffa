/* GET /metrics: Prometheus' text format 0.0.4. */
#include "api/api_internal.h"

#ifndef WICK_VERSION
#define WICK_VERSION "0"
#endif

static void put_head(struct buf *out, const char *name, const char *type, const char *help) {
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_counter(struct buf *out, const char *name, const char *help, uint64_t value) {
    put_head(out, name, "counter", help);
    buf_printf(out, "%s %llu\n", name, (unsigned long long)value);
}

static void put_gauge(struct buf *out, const char *name, const char *help, double value) {
    put_head(out, name, "gauge", help);
    buf_printf(out, "%s %.15g\n", name, value);
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

struct damage {
    struct log *log;
    uint32_t partitions;
};

static enum err count_damage(void *context, const struct log_topic_info *info) {
    struct damage *damage = context;
    for (uint32_t i = 0; i < info->options.partition_count; i++) {
        struct log_partition *partition;
        struct log_finding finding;
        if (log_partition_find(damage->log, info->name, i, &partition) != ERR_OK) continue;
        log_partition_damage(partition, &finding);
        damage->partitions += finding.kind != LOG_FINDING_OK;
    }
    return ERR_OK;
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
    struct damage damage = {.log = api->options.log};
    (void)!log_topic_visit(damage.log, count_damage, &damage);
    put_gauge(out, "wick_log_damaged_partitions", "Partitions in which damage was met; `wick fsck` says where.",
              damage.partitions);
}

struct task_seen {
    struct task_info info;
    double checkpoint_age;
};

static double task_offset(const struct task_seen *seen) { return (double)seen->info.offset; }
static double task_end(const struct task_seen *seen) { return (double)seen->info.end_offset; }
static double task_checkpoint(const struct task_seen *seen) { return (double)seen->info.checkpoint_offset; }
static double task_checkpoint_age(const struct task_seen *seen) { return seen->checkpoint_age; }
static double task_failed(const struct task_seen *seen) { return seen->info.err != ERR_OK; }
static double task_balanced(const struct task_seen *seen) { return ledger_balances(&seen->info.ledger); }

static void put_task_metrics(struct api *api, struct buf *out) {
    static const struct {
        const char *name, *help;
        double (*value)(const struct task_seen *seen);
    } gauges[] = {
        {"wick_task_offset", "Next offset the task reads.", task_offset},
        {"wick_task_end_offset", "Durable end of the task's input.", task_end},
        {"wick_task_checkpoint_offset", "Input offset of the task's last checkpoint.", task_checkpoint},
        {"wick_task_checkpoint_age_seconds", "For how long the checkpoint has stood behind what is folded.",
         task_checkpoint_age},
        {"wick_task_failed", "1 where the task has stopped with an error.", task_failed},
        {"wick_ledger_balanced", "1 where every event read has exactly one fate.", task_balanced},
    };
    for (size_t g = 0; g < sizeof gauges / sizeof *gauges; g++) {
        if (task_group_count(api->options.tasks) == 0) continue;
        put_head(out, gauges[g].name, "gauge", gauges[g].help);
        for (uint32_t i = 0; i < task_group_count(api->options.tasks); i++) {
            struct task_seen seen = {.checkpoint_age = hub_checkpoint_age(api->hub, i)};
            task_group_info(api->options.tasks, i, &seen.info);
            buf_printf(out, "%s{", gauges[g].name);
            put_label(out, "task", slice_text(seen.info.name));
            buf_printf(out, "} %.15g\n", gauges[g].value(&seen));
        }
    }
}

static void put_term(struct buf *out, const struct task_info *info, uint32_t term) {
    const bool read = term == 0;
    buf_put_text(out, read ? "wick_events_read_total{" : "wick_events_total{");
    put_label(out, "topic", slice_text(info->topic));
    buf_printf(out, ",partition=\"%u\",", info->partition);
    put_label(out, "task", slice_text(info->name));
    if (!read) buf_printf(out, ",fate=\"%s\"", ledger_terms[term].name);
    buf_printf(out, "} %llu\n", (unsigned long long)ledger_term_of(&info->ledger, term));
}

static void put_terms(struct api *api, struct buf *out, uint32_t first, uint32_t last) {
    for (uint32_t i = 0; i < task_group_count(api->options.tasks); i++) {
        struct task_info info;
        task_group_info(api->options.tasks, i, &info);
        for (uint32_t term = first; term <= last; term++) put_term(out, &info, term);
    }
}

/* The first is the sum of the others, of each topic, partition and task. */
static void put_event_metrics(struct api *api, struct buf *out) {
    if (task_group_count(api->options.tasks) == 0) return;
    put_head(out, "wick_events_read_total", "counter", "Events read.");
    put_terms(api, out, 0, 0);
    put_head(out, "wick_events_total", "counter", "Events read, by what became of them.");
    put_terms(api, out, 1, LEDGER_TERMS - 1);
}

static void put_disk_metrics(struct api *api, struct buf *out) {
    const struct sys *sys = api->options.sys;
    uint64_t bytes;
    if (api->options.folder == NULL || sys->disk_ops->free_bytes == NULL) return;
    if (sys->disk_ops->free_bytes(sys->disk, api->options.folder, &bytes) != ERR_OK) return;
    put_gauge(out, "wick_disk_free_bytes", "Free space where the data folder lies.", (double)bytes);
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
    put_gauge(out, "wick_uptime_seconds", "Since the start.", (double)api_uptime_ms(api) / 1000);
    put_head(out, "wick_build_info", "gauge", "The program's version.");
    buf_put_text(out, "wick_build_info{version=\"" WICK_VERSION "\"} 1\n");
}

void handle_metrics(struct api *api, struct http_exchange *exchange) {
    struct buf *out = &exchange->answer;
    put_server_metrics(api, out);
    put_log_metrics(api, out);
    put_disk_metrics(api, out);
    put_task_metrics(api, out);
    put_event_metrics(api, out);
    put_own_metrics(api, out);
    http_reply(exchange, 200, "text/plain; version=0.0.4; charset=utf-8");
}
