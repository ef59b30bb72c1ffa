#include <stdio.h>

#include "api/api_internal.h"
#include "venue/import_row.h"

struct ledger_list {
    struct buf *out;
    uint32_t count;
    bool balanced;
};

struct ledger_line {
    const char *topic;
    uint32_t partition;
    struct slice processor;
    const struct ledger_row *row;
    int64_t offset, end;
};

static void put_line(struct ledger_list *list, const struct ledger_line *line) {
    struct buf *out = list->out;
    const struct ledger_row *row = line->row;
    const bool balances = ledger_balances(row);
    list->balanced &= balances;
    buf_put_text(out, list->count++ > 0 ? ",{\"topic\":" : "{\"topic\":");
    put_name(out, slice_text(line->topic));
    put_number(out, "partition", line->partition);
    put_member(out, "processor");
    put_name(out, line->processor);
    put_ledger_terms(out, row);
    buf_put_text(out, balances ? ",\"balanced\":true" : ",\"balanced\":false");
    put_number(out, "offset", line->offset);
    put_number(out, "end", line->end);
    buf_put_u8(out, '}');
}

/* "candles/prices/0" -> "candles". */
static struct slice processor_of(const char *task) {
    const char *slash = strchr(task, '/');
    return slash == NULL ? slice_text(task) : slice_of(task, (size_t)(slash - task));
}

static enum err put_import(void *context, const struct import_row *import) {
    char topic[40];
    snprintf(topic, sizeof topic, "imports/%llu", (unsigned long long)import->number);
    const struct ledger_line line = {
        .topic = topic,
        .processor = SLICE("candles"),
        .row = &import->ledger,
        .offset = (int64_t)import->ledger.read,
        .end = (int64_t)import->ledger.read,
    };
    put_line(context, &line);
    return buf_err(((struct ledger_list *)context)->out);
}

static enum err put_imports(struct api *api, struct ledger_list *list) {
    struct store_snapshot *snapshot = NULL;
    if (api->options.store == NULL) return ERR_OK;
    enum err err = store_snapshot_open(api->options.store, &snapshot);
    if (err != ERR_OK) return err;
    err = import_rows_visit(api->options.store, snapshot, put_import, list);
    store_snapshot_close(api->options.store, &snapshot);
    return err;
}

static void answer(struct api *api, struct http_exchange *exchange, void *context) {
    (void)context;
    struct ledger_list list = {&exchange->answer, 0, true};
    buf_put(list.out, SLICE("{\"rows\":["));
    for (uint32_t i = 0; i < task_group_count(api->options.tasks); i++) {
        struct task_info info;
        task_group_info(api->options.tasks, i, &info);
        const struct ledger_line line = {info.topic,   info.partition, processor_of(info.name),
                                         &info.ledger, info.offset,    info.end_offset};
        put_line(&list, &line);
    }
    enum err err = put_imports(api, &list);
    if (err != ERR_OK) {
        http_reply_error(exchange, err, NULL);
        return;
    }
    buf_put_text(list.out, list.balanced ? "],\"balanced\":true}" : "],\"balanced\":false}");
    http_reply(exchange, 200, "application/json");
}

void handle_ledger(struct api *api, struct http_exchange *exchange) {
    api_when_folded(api, exchange, NULL, 0, answer, NULL);
}
