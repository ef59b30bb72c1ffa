/* Many reads in one request. Histories are read in runs of HISTORIES_A_RUN: their tasks are asked for what they know, then a
 * reader's thread renders the members in order up to the end of the run, and asks for the next. */
#include <assert.h>
#include <stdlib.h>

#include "api/api_internal.h"

enum { HISTORIES_A_RUN = 16, BEHIND_MAX = HISTORY_TASKS_MAX - HISTORIES_A_RUN };

struct member {
    bool latest;
    uint32_t series;
    enum err err;
    struct slice error;      /* rendered */
    struct history *history; /* of candles */
};

struct batch {
    struct histories set; /* first */
    struct http_exchange *exchange;
    struct member *members;
    uint32_t member_count;
    uint32_t at, end; /* of the run */
    struct history *run[HISTORIES_A_RUN];
    struct task *behind[BEHIND_MAX]; /* tasks that latest prices wait for */
    uint32_t behind_count;
};

/* --- answering --- */

static void put_latest_member(struct api *api, const struct member *member, struct buf *out) {
    struct latest latest;
    buf_put(out, SLICE("{\"latest\":"));
    if (member->series != SERIES_NONE && latest_get(api->options.latest, member->series, &latest) == ERR_OK)
        put_latest(out, series_get(api->options.series, member->series), &latest);
    else
        buf_put(out, SLICE("null"));
    buf_put_u8(out, '}');
}

static void put_candles_member(const struct member *member, struct buf *out) {
    const struct candle_request *request = &member->history->request;
    struct candle_list list = {.out = out, .style = {request->series->name, request->interval}, .separator = ','};
    struct diag diag = {0};
    char message[800];
    const size_t begin = out->size;
    buf_put(out, SLICE("{\"candles\":["));
    enum err err = history_read(member->history, candle_list_add, &list, &diag);
    buf_put(out, SLICE("]}"));
    if (err == ERR_OK || buf_err(out) != ERR_OK) return;
    out->size = begin;
    diag.err = err;
    diag_print(&diag, message, sizeof message);
    http_put_error(out, err, message, "");
}

static void put_member_of(struct batch *batch, const struct member *member) {
    struct buf *out = &batch->exchange->answer;
    if (member->err != ERR_OK) {
        buf_put(out, member->error);
    } else if (member->latest) {
        put_latest_member(batch->set.api, member, out);
    } else {
        put_candles_member(member, out);
        history_end(batch->set.api, member->history);
    }
}

static void put_run(struct batch *batch) {
    struct buf *out = &batch->exchange->answer;
    if (batch->at == 0) buf_put(out, SLICE("{\"results\":["));
    while (batch->at < batch->end && buf_err(out) == ERR_OK) {
        if (batch->at > 0) buf_put_u8(out, ',');
        put_member_of(batch, &batch->members[batch->at++]);
    }
}

static void finish(struct batch *batch) {
    buf_put(&batch->exchange->answer, SLICE("]}"));
    http_reply(batch->exchange, 200, "application/json");
}

static void give_up(struct batch *batch, enum err err) {
    struct diag diag = {0};
    for (uint32_t i = batch->at; i < batch->member_count; i++)
        if (batch->members[i].history != NULL) history_end(batch->set.api, batch->members[i].history);
    if (err == ERR_TOO_LARGE)
        (void)diag_set(&diag, err, "the answer is larger than %d MiB; ask for fewer", HTTP_ANSWER_MAX / 1024 / 1024);
    if (err == ERR_BUSY) (void)diag_set(&diag, err, "too much is being answered at once; ask again");
    http_reply_error(batch->exchange, err, &diag);
}

/* --- runs --- */

/* From the next member to the one that the run has no room for. */
static void plan_run(struct batch *batch) {
    batch->set.count = 0;
    for (batch->end = batch->at; batch->end < batch->member_count; batch->end++) {
        struct history *history = batch->members[batch->end].history;
        if (history == NULL) continue;
        if (batch->set.count == HISTORIES_A_RUN) return;
        batch->run[batch->set.count++] = history;
    }
}

/* Where nothing is to be asked of a task, the members are rendered at once. */
static void start_run(struct batch *batch) {
    const uint32_t behind = batch->at == 0 ? batch->behind_count : 0;
    plan_run(batch);
    if (batch->set.count + behind == 0) {
        put_run(batch);
        finish(batch);
        return;
    }
    enum err err = histories_take(&batch->set, &batch->exchange->arena, batch->behind, behind);
    if (err != ERR_OK) give_up(batch, err);
}

static void run_job(struct read_job *job) {
    struct batch *batch = (struct batch *)job;
    put_run(batch);
    enum err err = buf_err(&batch->exchange->answer);
    if (err == ERR_OK && batch->at < batch->member_count && !http_fits(batch->exchange)) err = ERR_BUSY;
    if (err != ERR_OK)
        give_up(batch, err);
    else if (batch->at < batch->member_count)
        start_run(batch);
    else
        finish(batch);
}

/* --- reading --- */

static enum err read_latest(struct batch *batch, const struct json_value *value, struct member *member,
                            struct diag *diag) {
    if (json_type_of(value) != JSON_STRING) return diag_set(diag, ERR_TYPE, "a series name is required");
    enum err err = argument_series(batch->set.api, json_text(value), SLICE_NONE, diag, &member->series);
    diag->where[0] = '\0'; /* it is the member's only value */
    member->latest = true;
    if (err == ERR_NOT_FOUND) {
        member->series = SERIES_NONE;
        err = ERR_OK;
    }
    return err;
}

static enum err read_candles(struct batch *batch, const struct json_value *value, struct member *member,
                             struct diag *diag) {
    struct candle_arguments arguments;
    enum err err = candle_arguments_of(value, true, diag, &arguments);
    if (err != ERR_OK) return err;
    struct history *history = arena_alloc(&batch->exchange->arena, sizeof *history);
    if (history == NULL) return ERR_NO_MEMORY;
    *history = (struct history){0};
    err = candle_request_read(batch->set.api, &arguments, diag, &history->request);
    if (err != ERR_OK) return err;
    history->task = candle_desk_task(batch->set.api->options.desk, history->request.series);
    if (history->task == NULL) {
        candle_request_end(&history->request);
        return diag_set(diag, ERR_NOT_FOUND, "nothing collects this series here");
    }
    member->history = history;
    member->series = history->request.query.series;
    return ERR_OK;
}

/* A latest price needs its task only where that is behind. */
static enum err wait_for(struct batch *batch, uint32_t number, struct diag *diag) {
    const struct api_options *options = &batch->set.api->options;
    struct task *task = candle_desk_task(options->desk, series_get(options->series, number));
    if (task == NULL || task_caught_up(task)) return ERR_OK;
    for (uint32_t i = 0; i < batch->behind_count; i++)
        if (batch->behind[i] == task) return ERR_OK;
    if (batch->behind_count == BEHIND_MAX) return diag_set(diag, ERR_LIMIT, "too many tasks in one request");
    batch->behind[batch->behind_count++] = task;
    return ERR_OK;
}

static enum err read_member(struct batch *batch, const struct json_value *value, bool candles_only,
                            struct member *member, struct diag *diag) {
    static const char *const names[] = {"latest", "candles", NULL};
    *member = (struct member){.series = SERIES_NONE};
    const struct json_value *candles = candles_only ? value : NULL, *latest = NULL;
    if (!candles_only) {
        if (json_type_of(value) != JSON_OBJECT || json_count(value) != 1)
            return diag_set(diag, ERR_TYPE, "{\"latest\":..} or {\"candles\":{..}} is required");
        enum err err = members_known(value, "a query", names, diag);
        if (err != ERR_OK) return err;
        candles = json_member(value, "candles");
        latest = json_member(value, "latest");
    }
    enum err err =
        latest == NULL ? read_candles(batch, candles, member, diag) : read_latest(batch, latest, member, diag);
    if (err != ERR_OK && !candles_only) diag_where(diag, "%s", latest == NULL ? "candles" : "latest");
    if (latest == NULL) return err;
    return err == ERR_OK && member->series != SERIES_NONE ? wait_for(batch, member->series, diag) : err;
}

/* What is wrong with one member is its own answer. */
static void keep_error(struct batch *batch, struct member *member, enum err err, struct diag *diag) {
    char message[800], at[sizeof diag->where];
    struct buf text;
    buf_init(&text, 8192);
    member->err = err;
    if (diag->err == ERR_OK) diag->err = err;
    memcpy(at, diag->where, sizeof at);
    diag->where[0] = '\0';
    diag_print(diag, message, sizeof message);
    http_put_error(&text, err, message, at);
    member->error = arena_copy(&batch->exchange->arena, buf_slice(&text));
    if (member->error.data == NULL) member->error = SLICE("{\"error\":{\"code\":\"no-memory\"}}");
    buf_deinit(&text);
}

static enum err read_batch(struct batch *batch, const struct json_value *root, bool candles_only, struct diag *diag) {
    if (json_type_of(root) != JSON_ARRAY) return diag_set(diag, ERR_TYPE, "an array is required");
    const uint32_t count = json_count(root);
    if (count > API_MEMBERS_MAX) return diag_set(diag, ERR_TOO_LARGE, "at most %d members a request", API_MEMBERS_MAX);
    batch->members = arena_alloc(&batch->exchange->arena, (count + 1) * sizeof *batch->members);
    if (batch->members == NULL) return ERR_NO_MEMORY;
    for (const struct json_value *at = json_first(root); at != NULL; at = json_next(at)) {
        struct member *member = &batch->members[batch->member_count++];
        struct diag own = {0};
        enum err err = read_member(batch, at, candles_only, member, &own);
        if (err != ERR_OK) keep_error(batch, member, err, &own);
    }
    return ERR_OK;
}

static enum err read_body(struct api *api, struct batch *batch, bool candles_only, struct diag *diag) {
    struct kit *kit;
    const struct json_value *root;
    enum err err = kit_take(api, &kit);
    if (err != ERR_OK) return err;
    err = json_parse(kit->json, batch->exchange->body, diag, &root);
    if (err == ERR_OK) err = read_batch(batch, root, candles_only, diag);
    kit_give(api, kit);
    return err;
}

static void run_batch(struct api *api, struct http_exchange *exchange, bool candles_only) {
    struct diag diag = {0};
    struct batch *batch = arena_alloc(&exchange->arena, sizeof *batch);
    if (batch == NULL) {
        http_reply_error(exchange, ERR_NO_MEMORY, NULL);
        return;
    }
    *batch = (struct batch){.set = {.job.run = run_job, .api = api}, .exchange = exchange};
    batch->set.list = batch->run;
    enum err err = read_body(api, batch, candles_only, &diag);
    if (err != ERR_OK)
        http_reply_error(exchange, err, &diag);
    else
        start_run(batch);
}

void handle_candles_post(struct api *api, struct http_exchange *exchange) { run_batch(api, exchange, true); }
void handle_query(struct api *api, struct http_exchange *exchange) { run_batch(api, exchange, false); }
