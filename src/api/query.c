/* Many reads in one request. Members are grouped by the task that owns their series: one call a task, whatever the number
 * of members; each group renders into a buffer of its own, and the last one puts the pieces together in order. */
#include <assert.h>
#include <stdlib.h>

#include "api/api_internal.h"

enum { GROUPS_MAX = 256, PIECE_NONE = UINT32_MAX };

struct member {
    uint32_t group; /* PIECE_NONE: rendered at the end, from the latest table or `error` */
    bool latest;
    uint32_t series;
    enum err err;
    struct candle_request request;
    size_t begin, end;  /* in the group's buffer */
    struct slice error; /* rendered */
};

struct batch;

struct group {
    struct task_call call; /* first */
    struct batch *batch;
    struct task *task;
    uint32_t index;
    struct buf out;
};

struct batch {
    struct api *api;
    struct http_exchange *exchange;
    struct member *members;
    uint32_t member_count;
    struct group *groups;
    uint32_t group_count;
    _Atomic uint32_t left;
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

static void finish(struct batch *batch) {
    struct buf *out = &batch->exchange->answer;
    buf_put(out, SLICE("{\"results\":["));
    for (uint32_t i = 0; i < batch->member_count; i++) {
        const struct member *member = &batch->members[i];
        if (i > 0) buf_put_u8(out, ',');
        if (member->err != ERR_OK) {
            buf_put(out, member->error);
        } else if (member->latest) {
            put_latest_member(batch->api, member, out);
        } else {
            const struct buf *from = &batch->groups[member->group].out;
            if (buf_err(from) != ERR_OK)
                out->err = ERR_TOO_LARGE;
            else
                buf_put(out, slice_of(from->data + member->begin, member->end - member->begin));
        }
    }
    buf_put(out, SLICE("]}"));
    for (uint32_t i = 0; i < batch->group_count; i++) buf_deinit(&batch->groups[i].out);
    http_reply(batch->exchange, 200, "application/json");
}

static void render_candles(struct group *group, struct member *member, struct processor *processor, enum err err) {
    const struct candle_source source = candle_processor_source(processor);
    struct diag diag = {0};
    char message[800];
    member->begin = group->out.size;
    buf_put(&group->out, SLICE("{\"candles\":["));
    struct candle_list list = {&group->out, {member->request.series->name, member->request.interval}, 0, ','};
    if (err == ERR_OK) err = candle_read(&source, &member->request.query, candle_list_add, &list, &diag);
    buf_put(&group->out, SLICE("]}"));
    if (err != ERR_OK && buf_err(&group->out) == ERR_OK) {
        group->out.size = member->begin;
        diag.err = err;
        diag_print(&diag, message, sizeof message);
        http_put_error(&group->out, err, message, "");
    }
    candle_request_end(&member->request);
    member->end = group->out.size;
}

static void run_group(struct task_call *call, struct processor *processor, enum err err) {
    struct group *group = (struct group *)call;
    struct batch *batch = group->batch;
    for (uint32_t i = 0; i < batch->member_count; i++) {
        struct member *member = &batch->members[i];
        if (member->group == group->index && !member->latest) render_candles(group, member, processor, err);
    }
    if (atomic_fetch_sub_explicit(&batch->left, 1, memory_order_acq_rel) == 1) finish(batch);
}

/* --- reading --- */

static enum err read_latest(struct batch *batch, const struct json_value *value, struct member *member,
                            struct diag *diag) {
    if (json_type_of(value) != JSON_STRING) return diag_set(diag, ERR_TYPE, "a series name is required");
    enum err err = argument_series(batch->api, json_text(value), SLICE_NONE, diag, &member->series);
    member->latest = true;
    if (err == ERR_NOT_FOUND) {
        member->series = SERIES_NONE;
        err = ERR_OK;
    }
    return err;
}

static enum err read_candles(struct batch *batch, const struct json_value *value, struct member *member,
                             struct diag *diag) {
    if (json_type_of(value) != JSON_OBJECT) return diag_set(diag, ERR_TYPE, "an object with a series is required");
    struct candle_arguments arguments;
    const struct {
        const char *name;
        struct slice *to;
    } texts[] = {{"series", &arguments.series},
                 {"kind", &arguments.kind},
                 {"interval", &arguments.interval},
                 {"from", &arguments.from},
                 {"to", &arguments.to},
                 {"limit", &arguments.limit},
                 {"tz", &arguments.tz},
                 {"week_start", &arguments.week_start}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        enum err err = member_text(value, texts[i].name, diag, texts[i].to);
        if (err != ERR_OK) return err;
    }
    enum err err = candle_request_read(batch->api, &arguments, diag, &member->request);
    if (err == ERR_OK) member->series = member->request.query.series;
    return err;
}

static enum err group_of(struct batch *batch, uint32_t number, struct diag *diag, uint32_t *ret_group) {
    struct task *task = candle_desk_task(batch->api->options.desk, series_get(batch->api->options.series, number));
    if (task == NULL) return diag_set(diag, ERR_NOT_FOUND, "nothing collects this series here");
    for (uint32_t i = 0; i < batch->group_count; i++)
        if (batch->groups[i].task == task) {
            *ret_group = i;
            return ERR_OK;
        }
    if (batch->group_count == GROUPS_MAX) return ERR_LIMIT;
    struct group *group = &batch->groups[batch->group_count];
    *group = (struct group){.call.run = run_group, .batch = batch, .task = task, .index = batch->group_count};
    buf_init(&group->out, HTTP_ANSWER_MAX);
    *ret_group = batch->group_count++;
    return ERR_OK;
}

static enum err read_member(struct batch *batch, const struct json_value *value, bool candles_only,
                            struct member *member, struct diag *diag) {
    *member = (struct member){.group = PIECE_NONE, .series = SERIES_NONE};
    const struct json_value *candles = candles_only ? value : NULL, *latest = NULL;
    if (!candles_only) {
        if (json_type_of(value) != JSON_OBJECT || json_count(value) != 1)
            return diag_set(diag, ERR_TYPE, "{\"latest\":..} or {\"candles\":{..}} is required");
        candles = json_member(value, "candles");
        latest = json_member(value, "latest");
    }
    if (candles == NULL && latest == NULL)
        return diag_set(diag, ERR_UNKNOWN, "{\"latest\":..} or {\"candles\":{..}} is required");
    enum err err =
        latest != NULL ? read_latest(batch, latest, member, diag) : read_candles(batch, candles, member, diag);
    if (err != ERR_OK || member->series == SERIES_NONE) return err;
    /* A latest price needs the task only where it is behind: then its group is called, and renders nothing. */
    uint32_t group;
    if (member->latest) {
        struct task *task =
            candle_desk_task(batch->api->options.desk, series_get(batch->api->options.series, member->series));
        if (task == NULL || task_caught_up(task)) return ERR_OK;
        return group_of(batch, member->series, diag, &group);
    }
    err = group_of(batch, member->series, diag, &member->group);
    if (err != ERR_OK) candle_request_end(&member->request);
    return err;
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
    const uint32_t tasks = candle_desk_count(batch->api->options.desk);
    batch->members = arena_alloc(&batch->exchange->arena, (count + 1) * sizeof *batch->members);
    batch->groups =
        arena_alloc(&batch->exchange->arena, ((tasks < GROUPS_MAX ? tasks : GROUPS_MAX) + 1) * sizeof *batch->groups);
    if (batch->members == NULL || batch->groups == NULL) return ERR_NO_MEMORY;
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
    *batch = (struct batch){.api = api, .exchange = exchange};
    enum err err = read_body(api, batch, candles_only, &diag);
    if (err != ERR_OK) {
        http_reply_error(exchange, err, &diag);
        return;
    }
    const uint32_t count = batch->group_count;
    if (count == 0) {
        finish(batch);
        return;
    }
    atomic_store(&batch->left, count);
    struct group *groups = batch->groups;
    for (uint32_t i = 0; i < count; i++) task_call(groups[i].task, &groups[i].call);
}

void handle_candles_post(struct api *api, struct http_exchange *exchange) { run_batch(api, exchange, true); }
void handle_query(struct api *api, struct http_exchange *exchange) { run_batch(api, exchange, false); }
