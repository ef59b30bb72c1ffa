#include <assert.h>

#include "api/api_internal.h"

enum { WAIT_TASKS_MAX = 256 };

struct waiting {
    struct api *api;
    struct http_exchange *exchange;
    api_then then;
    void *context;
    _Atomic uint32_t left;
    struct task_call calls[];
};

static void arrived(struct task_call *call, struct processor *processor, enum err err) {
    (void)processor, (void)err; /* a task that has stopped answers from what it has; /readyz says that it stopped */
    struct waiting *waiting = call->context;
    if (atomic_fetch_sub_explicit(&waiting->left, 1, memory_order_acq_rel) == 1)
        waiting->then(waiting->api, waiting->exchange, waiting->context);
}

struct tasks {
    struct task *list[WAIT_TASKS_MAX];
    uint32_t count;
};

static void add_behind(struct tasks *tasks, struct task *task) {
    if (task == NULL || task_caught_up(task)) return;
    for (uint32_t i = 0; i < tasks->count; i++)
        if (tasks->list[i] == task) return;
    assert(tasks->count < WAIT_TASKS_MAX);
    tasks->list[tasks->count++] = task;
}

static void add_owners(const struct api *api, const uint32_t *numbers, uint32_t count, struct tasks *tasks) {
    const struct candle_desk *desk = api->options.desk;
    const uint32_t task_count = desk != NULL ? candle_desk_count(desk) : 0;
    struct processor *processor;
    /* Of more series than there are tasks it is cheaper to ask every task. */
    if (numbers == NULL || count > task_count) {
        for (uint32_t i = 0; i < task_count; i++) add_behind(tasks, candle_desk_task_at(desk, i, &processor));
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct series *series = series_get(api->options.series, numbers[i]);
        if (series != NULL) add_behind(tasks, candle_desk_task(desk, series));
    }
}

void api_when_folded(struct api *api, struct http_exchange *exchange, const uint32_t *numbers, uint32_t count,
                     api_then then, void *context) {
    struct tasks tasks;
    tasks.count = 0;
    add_owners(api, numbers, count, &tasks);
    if (tasks.count == 0) {
        then(api, exchange, context);
        return;
    }
    struct waiting *waiting = arena_alloc(&exchange->arena, sizeof *waiting + tasks.count * sizeof *waiting->calls);
    if (waiting == NULL) {
        http_reply_error(exchange, ERR_NO_MEMORY, NULL);
        return;
    }
    *waiting = (struct waiting){.api = api, .exchange = exchange, .then = then, .context = context};
    atomic_store(&waiting->left, tasks.count);
    /* The last call may answer, and free `waiting`, before this returns: nothing is read from it behind the last. */
    for (uint32_t i = 0; i < tasks.count; i++)
        waiting->calls[i] = (struct task_call){.run = arrived, .context = waiting};
    for (uint32_t i = 0; i < tasks.count; i++) task_call(tasks.list[i], &waiting->calls[i]);
}
