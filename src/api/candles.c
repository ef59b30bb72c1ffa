#include <assert.h>

#include "api/api_internal.h"

enum format { FORMAT_JSON, FORMAT_NDJSON, FORMAT_CSV };
static const char *const format_type[] = {"application/json", "application/x-ndjson", "text/csv; charset=utf-8"};

/* --- GET /v1/candles --- */

struct candles_call {
    struct histories set; /* first */
    struct http_exchange *exchange;
    struct history history;
    struct history *list[1];
    enum format format;
};

static enum err add_row(void *out, const struct candle *candle) {
    candle_to_csv(out, candle);
    return buf_err(out);
}

static enum err read_candles(const struct candles_call *self, struct diag *diag) {
    struct buf *out = &self->exchange->answer;
    const struct candle_request *request = &self->history.request;
    struct candle_list list = {.out = out, .style = {request->series->name, request->interval}, .separator = ','};
    if (self->format == FORMAT_CSV) {
        candle_csv_header(out);
        return history_read(&self->history, add_row, out, diag);
    }
    list.separator = self->format == FORMAT_JSON ? ',' : '\n';
    if (self->format == FORMAT_JSON) buf_put_u8(out, '[');
    enum err err = history_read(&self->history, candle_list_add, &list, diag);
    if (self->format == FORMAT_JSON) buf_put_u8(out, ']');
    return err;
}

static void run_candles(struct read_job *job) {
    struct candles_call *self = (struct candles_call *)job;
    struct diag diag = {0};
    enum err err = read_candles(self, &diag);
    history_end(self->set.api, &self->history);
    if (err == ERR_OK)
        http_reply(self->exchange, 200, format_type[self->format]);
    else
        http_reply_error(self->exchange, err, &diag);
}

static enum err read_format(struct slice text, struct diag *diag, enum format *ret_format) {
    static const char *const names[] = {"json", "ndjson", "csv"};
    *ret_format = FORMAT_JSON;
    if (text.size == 0) return ERR_OK;
    for (int i = 0; i < 3; i++) {
        if (!slice_equal_nocase(text, slice_text(names[i]))) continue;
        *ret_format = (enum format)i;
        return ERR_OK;
    }
    (void)diag_set(diag, ERR_UNKNOWN, "a format is json, csv or ndjson, not \"%.*s\"", SLICE_PRINT(text));
    diag_where(diag, "format");
    return ERR_UNKNOWN;
}

static struct candle_arguments arguments_of(const struct http_exchange *exchange) {
    return (struct candle_arguments){
        .series = http_argument(exchange, "series"),
        .kind = http_argument(exchange, "kind"),
        .interval = http_argument(exchange, "interval"),
        .from = http_argument(exchange, "from"),
        .to = http_argument(exchange, "to"),
        .limit = http_argument(exchange, "limit"),
        .tz = http_argument(exchange, "tz"),
        .week_start = http_argument(exchange, "week_start"),
    };
}

void handle_candles(struct api *api, struct http_exchange *exchange) {
    struct diag diag = {0};
    struct candles_call *self = arena_alloc(&exchange->arena, sizeof *self);
    if (self == NULL) {
        http_reply_error(exchange, ERR_NO_MEMORY, NULL);
        return;
    }
    *self = (struct candles_call){.set = {.job.run = run_candles, .api = api, .count = 1}, .exchange = exchange};
    self->list[0] = &self->history;
    self->set.list = self->list;
    struct candle_request *request = &self->history.request;
    const struct candle_arguments arguments = arguments_of(exchange);
    enum err err = read_format(http_argument(exchange, "format"), &diag, &self->format);
    if (err == ERR_OK) err = candle_request_read(api, &arguments, &diag, request);
    if (err != ERR_OK) {
        http_reply_error(exchange, err, &diag);
        return;
    }
    self->history.task = candle_desk_task(api->options.desk, request->series);
    if (self->history.task == NULL)
        err = diag_set(&diag, ERR_NOT_FOUND, "nothing collects %s here", request->series->name);
    if (err == ERR_OK) err = histories_take(&self->set, &exchange->arena, NULL, 0);
    if (err == ERR_OK) return;
    candle_request_end(request);
    http_reply_error(exchange, err, &diag);
}
