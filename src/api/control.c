#include <stdlib.h>

#include "api/api_internal.h"
#include "api/topics.h"

static const char prefix[] = "/control/";

bool control_has(struct slice path) {
    return path.size > sizeof prefix - 1 && memcmp(path.data, prefix, sizeof prefix - 1) == 0;
}

static void reply(struct http_exchange *exchange) { http_reply(exchange, 200, "application/json"); }

static void put_error(struct buf *out, enum err err, const struct diag *diag) {
    buf_put_text(out, "\"error\":{\"code\":");
    json_put_string(out, slice_text(err_name(err)));
    buf_put_text(out, ",\"message\":");
    json_put_string(out, slice_text(diag->what[0] != '\0' ? diag->what : err_message(err)));
    buf_put_text(out, ",\"at\":");
    json_put_string(out, slice_text(diag->where));
    buf_put_text(out, ",\"hint\":");
    json_put_string(out, slice_text(diag->hint));
    buf_put_u8(out, '}');
}

/* As every route's error, and with what to do: the command prints it as its own. */
static void refuse(struct http_exchange *exchange, enum err err, const struct diag *diag) {
    buf_clear(&exchange->answer);
    buf_put_u8(&exchange->answer, '{');
    put_error(&exchange->answer, err, diag);
    buf_put_u8(&exchange->answer, '}');
    http_reply(exchange, http_status_of(err), "application/json");
}

static uint64_t number_argument(const struct http_exchange *exchange, const char *name) {
    uint64_t value = 0;
    return slice_to_u64(http_argument(exchange, name), &value) ? value : 0;
}

/* --- imports --- */

/* The text of a member in the exchange's arena; NULL where absent. */
static const char *text_of(struct http_exchange *exchange, const struct json_value *root, const char *name) {
    const struct json_value *value = json_member(root, name);
    if (value == NULL || json_type_of(value) != JSON_STRING) return NULL;
    struct slice text = json_text(value);
    char *copy = arena_alloc(&exchange->arena, text.size + 1);
    if (copy == NULL) return NULL;
    if (text.size > 0) memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    return copy;
}

static enum err read_import(struct api *api, struct http_exchange *exchange, struct control_import *import,
                            struct diag *diag) {
    struct kit *kit;
    const struct json_value *root;
    enum err err = kit_take(api, &kit);
    if (err != ERR_OK) return err;
    if ((err = json_parse(kit->json, exchange->body, diag, &root)) == ERR_OK) {
        const char *as = text_of(exchange, root, "as"), *unit = text_of(exchange, root, "time_unit");
        const char *version = text_of(exchange, root, "version");
        uint64_t number = 0;
        const struct json_value *copy = json_member(root, "copy");
        *import = (struct control_import){
            .path = text_of(exchange, root, "path"),
            .name = text_of(exchange, root, "name"),
            .options = {.venue = text_of(exchange, root, "venue"),
                        .series = text_of(exchange, root, "series"),
                        .columns = text_of(exchange, root, "columns"),
                        .interval = text_of(exchange, root, "interval"),
                        .time_unit = unit != NULL ? unit[0] : 0},
            .version = version != NULL && slice_to_u64(slice_text(version), &number) ? number : 0,
            .copy = copy != NULL && json_type_of(copy) == JSON_TRUE,
        };
        for (int i = 0; as != NULL && i < IMPORT_FORMAT_COUNT; i++)
            if (strcmp(as, import_format_name[i]) == 0) import->options.format = (enum import_format)i;
    }
    kit_give(api, kit);
    if (err == ERR_OK && (import->path == NULL || import->name == NULL))
        err = diag_set(diag, ERR_MISSING, "path and name are required");
    return err;
}

static void start_import(struct api *api, struct http_exchange *exchange) {
    struct control_import import;
    struct diag diag = {0};
    uint64_t id;
    enum err err = read_import(api, exchange, &import, &diag);
    if (err == ERR_OK) err = api->options.control->import_start(api->options.control_context, &import, &diag, &id);
    if (err != ERR_OK) {
        refuse(exchange, err, &diag);
        return;
    }
    buf_printf(&exchange->answer, "{\"id\":%llu}", (unsigned long long)id);
    reply(exchange);
}

void control_put_result(struct buf *out, const struct import_result *result) {
    buf_put_text(out, "{\"file\":");
    json_put_string(out, slice_text(result->row.path));
    buf_put_text(out, ",\"format\":");
    json_put_string(out, slice_text(result->format));
    if (result->copied) {
        put_number(out, "read", (int64_t)result->row.ledger.read);
        put_number(out, "invalid", (int64_t)result->row.ledger.invalid);
        put_number(out, "messages", (int64_t)result->messages);
        put_number(out, "written", (int64_t)result->written);
        put_number(out, "there_already", (int64_t)(result->messages - result->written));
    } else {
        put_number(out, "import", (int64_t)result->row.number);
        buf_put_text(out, result->repeated ? ",\"repeated\":true" : ",\"repeated\":false");
        put_ledger_terms(out, &result->row.ledger);
    }
    put_number(out, "skipped", (int64_t)result->skipped);
    put_number(out, "from", result->row.from_ms);
    put_number(out, "to", result->row.to_ms);
    buf_put_u8(out, '}');
}

static void look_import(struct api *api, struct http_exchange *exchange) {
    static const char *const names[] = {"waiting", "running", "done", "failed"};
    struct control_progress p = {0};
    uint64_t id = number_argument(exchange, "id");
    enum err err = api->options.control->import_look(api->options.control_context, id, &p);
    if (err != ERR_OK) {
        diag_set(&p.diag, err, "there is no import %llu: wick was restarted meanwhile", (unsigned long long)id);
        refuse(exchange, err, &p.diag);
        return;
    }
    struct buf *out = &exchange->answer;
    buf_printf(out, "{\"state\":\"%s\"", names[p.state]);
    put_number(out, "read_bytes", (int64_t)p.progress.read_bytes);
    put_number(out, "total_bytes", (int64_t)p.progress.total_bytes);
    put_number(out, "plain_bytes", (int64_t)p.progress.plain_bytes);
    put_number(out, "lines", (int64_t)p.progress.lines);
    if (p.state == CONTROL_DONE) {
        put_member(out, "result");
        control_put_result(out, &p.result);
    }
    if (p.state == CONTROL_FAILED) {
        buf_put_u8(out, ',');
        put_error(out, p.err, &p.diag);
    }
    buf_put_u8(out, '}');
    reply(exchange);
}

/* --- topics --- */

static enum err topic_argument(struct http_exchange *exchange, struct diag *diag,
                               char name[static LOG_TOPIC_NAME_MAX + 1]) {
    struct slice topic = http_argument(exchange, "topic");
    if (topic.size == 0 || topic.size > LOG_TOPIC_NAME_MAX)
        return diag_set(diag, ERR_USAGE, "a topic's name has 1 to %d characters", LOG_TOPIC_NAME_MAX);
    memcpy(name, topic.data, topic.size);
    name[topic.size] = '\0';
    return ERR_OK;
}

static void create_topic(struct api *api, struct http_exchange *exchange) {
    char topic[LOG_TOPIC_NAME_MAX + 1];
    struct diag diag = {0};
    const struct log_topic_options options = {
        .partition_count = (uint32_t)number_argument(exchange, "partitions"),
        .compacted = number_argument(exchange, "compacted") != 0,
    };
    enum err err = topic_argument(exchange, &diag, topic);
    if (err == ERR_OK) err = topic_check_partitions(topic, options.partition_count, &diag);
    if (err == ERR_OK) err = log_topic_create(api->options.log, topic, &options, &diag);
    if (err != ERR_OK) {
        refuse(exchange, err, &diag);
        return;
    }
    if (topic_is_of_venue(topic)) api->options.control->venues_changed(api->options.control_context);
    buf_put_text(&exchange->answer, "{}");
    reply(exchange);
}

static void delete_topic(struct api *api, struct http_exchange *exchange) {
    char topic[LOG_TOPIC_NAME_MAX + 1];
    struct diag diag = {0};
    enum err err = topic_argument(exchange, &diag, topic);
    if (err == ERR_OK && topic_is_needed(topic))
        err = diag_set(&diag, ERR_USAGE, "candles, or the account of them, are made from %s", topic);
    if (err == ERR_OK) err = log_topic_delete(api->options.log, topic, &diag);
    if (err != ERR_OK) {
        refuse(exchange, err, &diag);
        return;
    }
    buf_put_text(&exchange->answer, "{}");
    reply(exchange);
}

struct appending {
    struct log_append append;
    struct api *api;
    struct http_exchange *exchange;
};

static void appended(struct log_append *append) {
    struct appending *appending = append->context;
    struct http_exchange *exchange = appending->exchange;
    struct api *api = appending->api;
    struct diag diag = {0};
    if (append->err == ERR_OK) {
        buf_printf(&exchange->answer, "{\"offset\":%lld,\"duplicate\":%s}", (long long)append->base_offset,
                   append->duplicate ? "true" : "false");
        reply(exchange);
    } else {
        diag_set(&diag, append->err, "the append failed: %s", err_message(append->err));
        refuse(exchange, append->err, &diag);
    }
    api_drop(api);
}

/* The client may be an older wick, or none: what enters the log is checked as if it came from a disk. */
static enum err visit_nothing(void *context, const struct record *record) {
    (void)context, (void)record;
    return ERR_OK;
}

static enum err check_batch(struct http_exchange *exchange, struct record_batch *batch, struct diag *diag) {
    enum err err = record_batch_parse(exchange->body, batch);
    if (err == ERR_OK && batch->size_bytes != exchange->body.size) err = ERR_TOO_LARGE;
    if (err == ERR_OK) err = record_batch_visit(batch, &exchange->arena, visit_nothing, NULL);
    return err == ERR_OK ? err : diag_set(diag, ERR_SYNTAX, "the body is not one whole record batch");
}

static void append_batch(struct api *api, struct http_exchange *exchange) {
    char topic[LOG_TOPIC_NAME_MAX + 1];
    struct diag diag = {0};
    struct record_batch batch;
    struct log_partition *partition = NULL;
    uint64_t index = number_argument(exchange, "partition");
    struct appending *appending = arena_alloc(&exchange->arena, sizeof *appending);
    uint8_t *bytes = arena_alloc(&exchange->arena, exchange->body.size + 1);
    enum err err =
        appending == NULL || bytes == NULL ? diag_set(&diag, ERR_NO_MEMORY, "no memory for the batch") : ERR_OK;
    if (err == ERR_OK) err = topic_argument(exchange, &diag, topic);
    if (err == ERR_OK && topic_is_kept(topic))
        err = diag_set(&diag, ERR_USAGE, "topic %s is wick's own: nobody else writes it", topic);
    if (err == ERR_OK) err = check_batch(exchange, &batch, &diag);
    if (err == ERR_OK && (err = log_partition_find(api->options.log, topic, (uint32_t)index, &partition)) != ERR_OK)
        diag_set(&diag, err, "there is no topic \"%s\" with a partition %llu", topic, (unsigned long long)index);
    if (err != ERR_OK) {
        refuse(exchange, err, &diag);
        return;
    }
    memcpy(bytes, exchange->body.data, exchange->body.size);
    *appending = (struct appending){.api = api, .exchange = exchange};
    appending->append = (struct log_append){
        .partition = partition,
        .batch = bytes,
        .batch_bytes = batch.size_bytes,
        .record_count = batch.record_count,
        .done = appended,
        .context = appending,
    };
    atomic_fetch_add(&api->owners, 1);
    log_submit(api->options.log, &appending->append);
}

/* --- dispatch --- */

static void cancel_import(struct api *api, struct http_exchange *exchange) {
    api->options.control->import_cancel(api->options.control_context, number_argument(exchange, "id"));
    buf_put_text(&exchange->answer, "{}");
    reply(exchange);
}

void handle_control(struct api *api, struct http_exchange *exchange) {
    static const struct {
        enum http_method method;
        const char *path;
        void (*handle)(struct api *api, struct http_exchange *exchange);
    } routes[] = {
        {HTTP_POST, "/control/import", start_import},  {HTTP_GET, "/control/import", look_import},
        {HTTP_POST, "/control/cancel", cancel_import}, {HTTP_POST, "/control/create", create_topic},
        {HTTP_POST, "/control/delete", delete_topic},  {HTTP_POST, "/control/append", append_batch},
    };
    struct diag diag = {0};
    for (uint32_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (routes[i].method != exchange->method || !slice_equal(exchange->path, slice_text(routes[i].path))) continue;
        routes[i].handle(api, exchange);
        return;
    }
    refuse(exchange, diag_set(&diag, ERR_NOT_FOUND, "there is no such route"), &diag);
}
