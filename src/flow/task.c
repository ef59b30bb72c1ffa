#include "flow/task.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/plant.h"
#include "flow/task_parts.h"

enum {
    TURN_BATCHES_MAX = 64, /* a turn is short, so that calls wait little */
    TURN_BYTES_MAX = 1024 * 1024,
    PUBLISH_MS = 10, /* a task that is behind shows what changed this often */
    CHECKPOINT_MS = 500,
    CHECKPOINT_LOG_BYTES = 8 * 1024 * 1024,
    BATCH_BYTES_MAX = 512 * 1024 * 1024,
    HOLD_WAIT_MS = 20,
    TASK_MAGIC = 0x7461736b,
};

/* Every opening is a new generation, so that what an earlier one still sends to a distant store loses. STORE_META ("flow",
 * "generation") = le64. */
static enum err next_generation(struct task_group *group, struct diag *diag) {
    const struct store_key key = {STORE_META, SLICE("flow"), SLICE("generation")};
    struct store *store = group->options.store;
    struct store_snapshot *snapshot = NULL;
    struct slice value;
    uint64_t generation = 0;
    enum err err = store_snapshot_open(store, &snapshot);
    if (err != ERR_OK) return diag_set(diag, err, "the store gives no snapshot");
    err = store_get(store, snapshot, &key, &value);
    if (err == ERR_OK) {
        struct reader in = reader_of(value);
        generation = reader_le64(&in);
        err = reader_end(&in);
    } else if (err == ERR_NOT_FOUND) {
        err = ERR_OK;
    }
    store_snapshot_close(store, &snapshot);
    if (err != ERR_OK) return diag_set(diag, err, "the store's generation cannot be read");
    group->stamp = (generation + 1) << 40;
    store_batch_clear(&group->batch);
    struct buf next;
    buf_init(&next, 16);
    buf_put_le64(&next, generation + 1);
    store_batch_put_buf(&group->batch, &key, &next);
    buf_deinit(&next);
    const struct store_batch *batches[] = {&group->batch};
    return store_commit(store, batches, 1, ++group->stamp, diag);
}

enum err task_group_open(const struct task_group_options *options, struct diag *diag, struct task_group **ret_group) {
    struct task_group *group = calloc(1, sizeof *group);
    if (group == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for the tasks");
    group->options = *options;
    if (group->options.checkpoint_ms == 0) group->options.checkpoint_ms = CHECKPOINT_MS;
    uint64_t *log_bytes = &group->options.checkpoint_log_bytes;
    if (*log_bytes == 0) *log_bytes = CHECKPOINT_LOG_BYTES;
    if (*log_bytes > BEHIND_BYTES_MAX / 2) *log_bytes = BEHIND_BYTES_MAX / 2; /* what comes meanwhile need not wait */
    store_batch_init(&group->batch, BATCH_BYTES_MAX);
    group->last_freeze_ns = sys_monotonic_ns(options->sys);
    enum err err = options->read_only ? ERR_OK : next_generation(group, diag);
    if (err != ERR_OK) {
        store_batch_deinit(&group->batch);
        free(group);
        return err;
    }
    *ret_group = group;
    return ERR_OK;
}

uint64_t task_group_stamp(struct task_group *group) { return ++group->stamp; }

static void publish_info(struct task *task) {
    pthread_mutex_lock(&task->info_lock);
    task->info.offset = atomic_load_explicit(&task->folded, memory_order_relaxed);
    task->info.ledger = task->ledger;
    task->info.err = task->err;
    pthread_mutex_unlock(&task->info_lock);
}

void task_limit(const struct task *task) {
    const struct task_group *group = task->group;
    const bool folds = task->err == ERR_OK && !group->options.read_only && group->threaded;
    const uint64_t behind = task->frozen.offset >= task->start_end ? BEHIND_BYTES_MAX : BEHIND_BYTES_FIRST;
    log_set_limit(task->input, folds ? task->written_before + task->frozen_bytes + behind : 0);
}

void task_halt(struct task *task, enum err err, const struct diag *diag) {
    task->err = err;
    task_limit(task);
    struct diag told = *diag;
    told.err = err; /* where nobody said more */
    pthread_mutex_lock(&task->info_lock);
    task->info.err = err;
    diag_print(&told, task->info.error, sizeof task->info.error);
    pthread_mutex_unlock(&task->info_lock);
}

static enum err load_task(struct task *task, struct store_snapshot *snapshot, struct diag *diag) {
    struct task_group *group = task->group;
    struct checkpoint checkpoint = {.offset = log_start_offset(task->input)};
    enum err err =
        checkpoint_get(group->options.store, snapshot, task->name, group->options.log, task->input, diag, &checkpoint);
    if (err != ERR_OK && err != ERR_NOT_FOUND) return err;
    if (checkpoint.offset < log_start_offset(task->input))
        return diag_set(diag, ERR_CORRUPT, "task %s wants offset %lld, but topic %s starts at %lld", task->name,
                        (long long)checkpoint.offset, log_partition_topic(task->input),
                        (long long)log_start_offset(task->input));
    if (PLANTED(PLANT_DOUBLE_APPLY) && checkpoint.offset > log_start_offset(task->input)) checkpoint.offset--;
    task->ledger = checkpoint.ledger;
    task->frozen = checkpoint;
    atomic_store(&task->folded, checkpoint.offset);
    if ((err = task->processor->ops->load(task->processor, snapshot, diag)) != ERR_OK) return err;
    return log_cursor_open(task->input, checkpoint.offset, diag, &task->cursor);
}

enum err task_group_add(struct task_group *group, const char *name, struct log_partition *input,
                        struct processor *processor, struct diag *diag, struct task **ret_task) {
    if (group->count == TASKS_MAX) return diag_set(diag, ERR_LIMIT, "more than %d tasks", TASKS_MAX);
    struct task *task = calloc(1, sizeof *task);
    if (task == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for task %s", name);
    task->magic = TASK_MAGIC;
    snprintf(task->name, sizeof task->name, "%s", name);
    task->group = group;
    task->input = input;
    task->processor = processor;
    pthread_mutex_init(&task->info_lock, NULL);

    struct store_snapshot *snapshot = NULL;
    enum err err = store_snapshot_open(group->options.store, &snapshot);
    if (err == ERR_OK) {
        err = load_task(task, snapshot, diag);
        store_snapshot_close(group->options.store, &snapshot);
    }
    if (err == ERR_OK && group->options.sys->thread_start != NULL) err = log_watch(input, &group->bell);
    if (err != ERR_OK) {
        log_cursor_close(&task->cursor);
        pthread_mutex_destroy(&task->info_lock);
        free(task);
        return err;
    }
    task->start_end = log_end_offset(input);
    task->written_before = log_written_bytes(input);
    task->info = (struct task_info){
        .name = task->name,
        .topic = log_partition_topic(input),
        .partition = log_partition_index(input),
        .checkpoint_offset = task->frozen.offset,
    };
    publish_info(task);
    group->tasks[group->count] = task;
    group->count++;
    task_limit(task);
    *ret_task = task;
    return ERR_OK;
}

/* --- calls --- */

void task_call(struct task *task, struct task_call *call) {
    assert(task->magic == TASK_MAGIC);
    call->after_offset = log_end_offset(task->input);
    struct task_call *head = atomic_load(&task->calls);
    do call->next = head;
    while (!atomic_compare_exchange_weak(&task->calls, &head, call));
    if (head == NULL) sys_bell_ring(&task->group->bell);
}

bool task_caught_up(const struct task *task) {
    int64_t end = log_end_offset(task->input);
    return atomic_load_explicit(&task->folded, memory_order_acquire) >= end;
}

struct processor *task_processor(const struct task *task) {
    return task->processor;
}

static void collect_calls(struct task *task) {
    struct task_call *newest = atomic_exchange(&task->calls, NULL);
    struct task_call *oldest = NULL;
    while (newest != NULL) {
        struct task_call *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    if (oldest == NULL) return;
    if (task->waiting_last != NULL)
        task->waiting_last->next = oldest;
    else
        task->waiting_first = oldest;
    while (oldest->next != NULL) oldest = oldest->next;
    task->waiting_last = oldest;
}

/* Runs the calls that are due; a task that has stopped answers from what it has. */
static bool run_calls(struct task *task) {
    collect_calls(task);
    int64_t folded = atomic_load_explicit(&task->folded, memory_order_relaxed);
    bool ran = false;
    while (task->waiting_first != NULL && (task->err != ERR_OK || task->waiting_first->after_offset <= folded)) {
        struct task_call *call = task->waiting_first;
        task->waiting_first = call->next;
        if (task->waiting_first == NULL) task->waiting_last = NULL;
        call->run(call, task->processor, ERR_OK);
        ran = true;
    }
    return ran;
}

/* --- folding --- */

static enum err fold_batch(struct task *task, const struct record_batch *batch, struct diag *diag) {
    enum err err = task->processor->ops->fold(task->processor, batch, &task->ledger, diag);
    if (err != ERR_OK) return err;
    if (!ledger_balances(&task->ledger))
        return diag_set(diag, ERR_STATE, "the ledger of task %s does not balance at offset %lld", task->name,
                        (long long)batch->base_offset);
    task->group->input_bytes += batch->size_bytes;
    if (batch->base_offset >= task->start_end) task->folded_bytes += batch->size_bytes;
    task->group->dirty = true;
    atomic_store_explicit(&task->folded, batch->base_offset + batch->last_offset_delta + 1, memory_order_release);
    return ERR_OK;
}

static void publish(struct task *task) {
    task->unpublished = false;
    task->published_ns = sys_monotonic_ns(task->group->options.sys);
    if (task->processor->ops->turn_ended != NULL) task->processor->ops->turn_ended(task->processor);
}

static bool publish_due(const struct task *task) {
    return sys_monotonic_ns(task->group->options.sys) - task->published_ns >= PUBLISH_MS * 1000000;
}

/* One turn; true if there may be more. */
static bool turn(struct task *task) {
    struct diag diag = {0};
    uint64_t bytes = 0;
    uint32_t batches = 0;
    enum err err = task->err;
    if (err == ERR_OK && task->processor->ops->is_stuck != NULL && task->processor->ops->is_stuck(task->processor))
        err = ERR_END; /* the checkpoint brings its outputs on */
    while (err == ERR_OK && batches < TURN_BATCHES_MAX && bytes < TURN_BYTES_MAX) {
        struct record_batch batch;
        err = log_cursor_next(task->cursor, &diag, &batch);
        if (err != ERR_OK) break;
        bytes += batch.size_bytes;
        batches++;
        err = fold_batch(task, &batch, &diag);
    }
    if (err != ERR_OK && err != ERR_END && task->err == ERR_OK) task_halt(task, err, &diag);
    if (batches > 0) {
        task->unpublished = true;
        publish_info(task);
    }
    if (task->unpublished && (err != ERR_OK || publish_due(task))) publish(task);
    return err == ERR_OK;
}

/* --- running --- */

static bool step(struct task_group *group) {
    bool worked = false;
    for (uint32_t i = 0; i < group->count; i++) {
        worked |= run_calls(group->tasks[i]);
        worked |= turn(group->tasks[i]);
        worked |= run_calls(group->tasks[i]);
    }
    return worked;
}

enum err task_group_step(struct task_group *group, struct diag *diag, bool *ret_worked) {
    *ret_worked = step(group);
    for (uint32_t i = 0; i < group->count; i++) {
        struct task *task = group->tasks[i];
        if (task->err == ERR_OK) continue;
        return diag_set(diag, task->err, "%s", task->info.error);
    }
    return ERR_OK;
}

enum err task_group_catch_up(struct task_group *group, struct diag *diag) {
    for (bool behind = true; behind;) {
        bool worked;
        enum err err = task_group_step(group, diag, &worked);
        if (err != ERR_OK) return err;
        behind = false;
        for (uint32_t i = 0; i < group->count; i++) behind |= !task_caught_up(group->tasks[i]);
        /* As threads would: what is folded must not all be held, and outputs that are stuck must come on. */
        const bool due = group->input_bytes >= group->options.checkpoint_log_bytes || (behind && !worked);
        if (due && (err = task_group_checkpoint(group, diag)) != ERR_OK) return err;
    }
    return ERR_OK;
}

/* Instead of a step: a held group only answers. It has reached the level once nothing that it folded is on its way, to the
 * store or to watchers. */
static bool step_held(struct task_group *group, int wanted) {
    bool worked = false;
    if (atomic_load(&group->reached) == wanted) {
        for (uint32_t i = 0; wanted == TASK_HOLD && i < group->count; i++) worked |= run_calls(group->tasks[i]);
    } else if (!group->dirty && group->freezing == NULL && atomic_load(&group->handover) == HANDOVER_FREE) {
        for (uint32_t i = 0; i < group->count; i++)
            if (group->tasks[i]->unpublished) publish(group->tasks[i]);
        atomic_store(&group->reached, wanted);
        sys_bell_ring(&group->hold_bell);
        worked = true;
    }
    return worked;
}

static void *task_main(void *argument) {
    struct task_group *group = argument;
    while (!atomic_load(&group->stop)) {
        int wanted = atomic_load(&group->wanted);
        if (wanted == TASK_RUN && atomic_load(&group->reached) != TASK_RUN) {
            atomic_store(&group->reached, TASK_RUN);
            sys_bell_ring(&group->hold_bell);
        }
        bool worked = wanted == TASK_RUN && step(group);
        if (atomic_load(&group->reached) != TASK_STOP) checkpoint_turn(group);
        if (wanted != TASK_RUN) worked = step_held(group, wanted);
        if (worked || group->freezing != NULL) continue;
        sys_bell_wait(&group->bell, checkpoint_wait_ms(group));
    }
    return NULL;
}

enum err task_group_start(struct task_group *group, struct diag *diag) {
    const struct sys *sys = group->options.sys;
    assert(sys->thread_start != NULL && group->thread == NULL);
    group->threaded = true;
    for (uint32_t i = 0; i < group->count; i++) task_limit(group->tasks[i]);
    enum err err = sys->thread_start(sys->context, "checkpoint", checkpoint_main, group, &group->checkpoint_thread);
    if (err == ERR_OK) err = sys->thread_start(sys->context, "tasks", task_main, group, &group->thread);
    if (err != ERR_OK) return diag_set(diag, err, "the tasks' threads cannot be started");
    return ERR_OK;
}

static enum err reach(struct task_group *group, enum task_hold level, bool (*cancelled)(void *context), void *context) {
    atomic_store(&group->wanted, level);
    sys_bell_ring(&group->bell);
    while (atomic_load(&group->reached) != (int)level) {
        if (cancelled != NULL && cancelled(context)) return ERR_CLOSED;
        sys_bell_wait(&group->hold_bell, HOLD_WAIT_MS);
    }
    return ERR_OK;
}

enum err task_group_hold(struct task_group *group, enum task_hold level, bool (*cancelled)(void *context),
                         void *context, struct diag *diag) {
    if (group->thread == NULL) return ERR_OK; /* nothing runs by itself */
    enum err err = reach(group, level, cancelled, context);
    if (err != ERR_OK) diag_set(diag, err, "cancelled");
    for (uint32_t i = 0; i < group->count && err == ERR_OK; i++) {
        struct task_info info;
        task_group_info(group, i, &info);
        if (info.err != ERR_OK) err = diag_set(diag, info.err, "task %s has stopped: %s", info.name, info.error);
    }
    if (err != ERR_OK) task_group_release(group);
    return err;
}

void task_group_release(struct task_group *group) {
    if (group->thread != NULL) (void)!reach(group, TASK_RUN, NULL, NULL);
}

static void stop_threads(struct task_group *group) {
    const struct sys *sys = group->options.sys;
    atomic_store(&group->stop, true);
    sys_bell_ring(&group->bell);
    sys_bell_ring(&group->checkpoint_bell);
    if (group->thread != NULL) sys->thread_join(sys->context, &group->thread);
    if (group->checkpoint_thread != NULL) sys->thread_join(sys->context, &group->checkpoint_thread);
    group->threaded = false;
    for (uint32_t i = 0; i < group->count; i++) task_limit(group->tasks[i]);
    group->thread = NULL;
    group->checkpoint_thread = NULL;
}

void task_group_close(struct task_group **group) {
    struct task_group *g = *group;
    if (g == NULL) return;
    stop_threads(g);
    (void)!checkpoint_last(g, NULL);
    checkpoint_abandon(g);
    for (uint32_t i = 0; i < g->count; i++) {
        struct task *task = g->tasks[i];
        task->err = task->err != ERR_OK ? task->err : ERR_CLOSED;
        run_calls(task);
        task->processor->ops->close(&task->processor);
        log_unwatch(task->input, &g->bell);
        log_cursor_close(&task->cursor);
        pthread_mutex_destroy(&task->info_lock);
        free(task);
    }
    store_batch_deinit(&g->batch);
    free(g);
    *group = NULL;
}

void task_group_abandon(struct task_group **group) {
    if (*group != NULL) (*group)->options.read_only = true;
    task_group_close(group);
}

enum err task_group_refusal(const struct task_group *group) { return (enum err)atomic_load(&group->refusal); }

bool task_group_runs(const struct task_group *group) { return group->thread != NULL; }

static enum err wait_task(struct task_group *group, uint32_t index, struct diag *diag) {
    struct sys_bell nobody = {0};
    const int64_t end = log_end_offset(group->tasks[index]->input);
    while (atomic_load_explicit(&group->tasks[index]->folded, memory_order_acquire) < end) {
        struct task_info info;
        task_group_info(group, index, &info);
        if (info.err != ERR_OK) return diag_set(diag, info.err, "%s", info.error);
        sys_bell_wait(&nobody, 1);
    }
    return ERR_OK;
}

enum err task_group_wait(struct task_group *group, struct diag *diag) {
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < group->count && err == ERR_OK; i++) err = wait_task(group, i, diag);
    return err;
}

enum err task_group_stop(struct task_group *group, struct diag *diag) {
    stop_threads(group);
    atomic_store(&group->stop, false);
    return checkpoint_last(group, diag);
}

uint32_t task_group_count(const struct task_group *group) { return group->count; }

void task_group_info(struct task_group *group, uint32_t index, struct task_info *ret_info) {
    assert(index < group->count);
    struct task *task = group->tasks[index];
    pthread_mutex_lock(&task->info_lock);
    *ret_info = task->info;
    pthread_mutex_unlock(&task->info_lock);
    ret_info->end_offset = log_end_offset(task->input);
}

bool task_group_ready(const struct task_group *group) {
    for (uint32_t i = 0; i < group->count; i++)
        if (atomic_load(&group->tasks[i]->folded) < group->tasks[i]->start_end) return false;
    return true;
}
