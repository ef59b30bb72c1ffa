/* Checkpoints: what every task has changed and the offsets it belongs to, frozen between turns, committed as one.
 *
 * What is frozen is in no later freeze, so one that cannot be committed ends everything: what the tasks hold can no longer be
 * made durable, and a restart begins from the last good checkpoint. A lack of room is the exception: the same changes are
 * tried again until they fit. */
#include <assert.h>

#include "base/plant.h"
#include "flow/task_parts.h"
#include "sys/phase.h"

enum { RETRY_MS = 1000 };

static void spoil(struct task_group *group, enum err err, const struct diag *diag) {
    group->spoiled = true;
    group->dirty = false;
    group->commit_err = err;
    if (diag != &group->commit_diag) group->commit_diag = *diag;
    checkpoint_abandon(group);
    for (uint32_t i = 0; i < group->count; i++)
        if (group->tasks[i]->err == ERR_OK) task_halt(group->tasks[i], err, diag);
}

void checkpoint_abandon(struct task_group *group) {
    if (group->freezing != NULL) store_snapshot_close(group->options.store, &group->freezing);
}

/* --- freezing --- */

/* The cut: every task's offset and what belongs to it. A task that has stopped may have done so in the middle of a batch, and
 * is not in it. */
static enum err freeze_begin(struct task_group *group, struct diag *diag) {
    assert(group->freezing == NULL && !group->spoiled);
    enum err err = store_snapshot_open(group->options.store, &group->freezing);
    group->last_freeze_ns = sys_monotonic_ns(group->options.sys);
    if (err != ERR_OK) {
        (void)!diag_set(diag, err, "the store gives no snapshot");
        if (err_class(err) != ERR_CLASS_RESOURCE) spoil(group, err, diag);
        return err;
    }
    store_batch_clear(&group->batch);
    for (uint32_t i = 0; i < group->count && err == ERR_OK; i++) {
        struct task *task = group->tasks[i];
        task->in_freeze = task->err == ERR_OK;
        if (!task->in_freeze) continue;
        task->frozen = (struct checkpoint){
            .offset = atomic_load_explicit(&task->folded, memory_order_relaxed),
            .ledger = task->ledger,
        };
        task->frozen_bytes = task->folded_bytes;
        err = task->processor->ops->freeze(task->processor, group->freezing, &group->batch, diag);
        checkpoint_put(&group->batch, task->name, group->options.log, task->input, &task->frozen);
    }
    group->input_bytes = 0;
    group->dirty = false;
    if (err != ERR_OK) spoil(group, err, diag);
    return err;
}

/* One part; none is under way once there is no more. A task that has stopped since is as it was at the cut wherever that is
 * not frozen yet. */
static enum err freeze_some(struct task_group *group, struct diag *diag) {
    enum err err = ERR_OK;
    bool more = false;
    for (uint32_t i = 0; i < group->count && err == ERR_OK && !more; i++) {
        struct task *task = group->tasks[i];
        if (task->in_freeze && task->processor->ops->freeze_more != NULL)
            err = task->processor->ops->freeze_more(task->processor, diag, &more);
    }
    if (err != ERR_OK)
        spoil(group, err, diag);
    else if (!more)
        checkpoint_abandon(group);
    return err;
}

/* --- committing --- */

static enum err commit_frozen(struct task_group *group, struct diag *diag) {
    enum err err = ERR_OK;
    if (!PLANTED(PLANT_CHECKPOINT_BEFORE_DATA))
        for (uint32_t i = 0; i < group->count && err == ERR_OK; i++) {
            struct task *task = group->tasks[i];
            if (task->in_freeze && task->processor->ops->flush != NULL)
                err = task->processor->ops->flush(task->processor, &group->batch, diag);
        }
    if (err == ERR_OK) err = store_batch_err(&group->batch);
    if (err != ERR_OK) return err;
    const struct store_batch *batches[] = {&group->batch};
    return store_commit(group->options.store, batches, 1, ++group->stamp, diag);
}

static void commit(struct task_group *group) {
    phase_begin(PHASE_CHECKPOINT);
    group->commit_diag = (struct diag){0};
    group->commit_err = commit_frozen(group, &group->commit_diag);
    phase_end(PHASE_CHECKPOINT);
}

static void after_commit(struct task_group *group) {
    for (uint32_t i = 0; i < group->count; i++) {
        struct task *task = group->tasks[i];
        if (!task->in_freeze) continue;
        task->processor->ops->committed(task->processor);
        pthread_mutex_lock(&task->info_lock);
        task->info.checkpoint_offset = task->frozen.offset;
        pthread_mutex_unlock(&task->info_lock);
        task_limit(task);
    }
}

static void take_back(struct task_group *group) {
    if (group->commit_err == ERR_OK)
        after_commit(group);
    else
        spoil(group, group->commit_err, &group->commit_diag);
    atomic_store(&group->handover, HANDOVER_FREE);
}

static int64_t due_in_ns(const struct task_group *group) {
    int64_t age_ns = sys_monotonic_ns(group->options.sys) - group->last_freeze_ns;
    return group->options.checkpoint_ms * 1000000 - age_ns;
}

static bool checkpoint_due(const struct task_group *group) {
    if (!group->dirty || group->options.read_only || group->spoiled) return false;
    if (atomic_load_explicit(&group->wanted, memory_order_relaxed) != TASK_RUN) return true;
    return group->input_bytes >= group->options.checkpoint_log_bytes || due_in_ns(group) <= 0;
}

int64_t checkpoint_wait_ms(const struct task_group *group) {
    /* The checkpoint thread rings once it is done. */
    if (!group->dirty || atomic_load(&group->handover) != HANDOVER_FREE) return -1;
    int64_t left_ns = due_in_ns(group);
    return left_ns > 0 ? left_ns / 1000000 + 1 : 0;
}

void checkpoint_turn(struct task_group *group) {
    if (atomic_load(&group->handover) == HANDOVER_COMMITTED) take_back(group);
    const bool begun = group->freezing != NULL;
    if (atomic_load(&group->handover) != HANDOVER_FREE || (!begun && !checkpoint_due(group))) return;
    struct diag diag = {0};
    enum err err = begun ? freeze_some(group, &diag) : freeze_begin(group, &diag);
    if (err != ERR_OK || group->freezing != NULL) return;
    atomic_store(&group->handover, HANDOVER_FROZEN);
    sys_bell_ring(&group->checkpoint_bell);
}

void *checkpoint_main(void *argument) {
    struct task_group *group = argument;
    sys_thread_give_way();
    while (!atomic_load(&group->stop)) {
        if (atomic_load(&group->handover) != HANDOVER_FROZEN) {
            sys_bell_wait(&group->checkpoint_bell, -1);
            continue;
        }
        commit(group);
        const bool refused = err_class(group->commit_err) == ERR_CLASS_RESOURCE;
        atomic_store(&group->refusal, refused ? (int)group->commit_err : ERR_OK);
        if (refused) {
            sys_bell_wait(&group->checkpoint_bell, RETRY_MS);
            continue;
        }
        atomic_store(&group->handover, HANDOVER_COMMITTED);
        sys_bell_ring(&group->bell);
    }
    return NULL;
}

/* --- without threads --- */

/* What was frozen already comes first; it stays frozen where there is no room for it. */
static enum err commit_what_is_frozen(struct task_group *group, struct diag *diag) {
    while (group->freezing != NULL && !group->spoiled)
        if (freeze_some(group, diag) == ERR_OK && group->freezing == NULL)
            atomic_store(&group->handover, HANDOVER_FROZEN);
    if (!group->spoiled && atomic_load(&group->handover) == HANDOVER_FROZEN) commit(group);
    if (atomic_load(&group->handover) != HANDOVER_FREE && err_class(group->commit_err) != ERR_CLASS_RESOURCE)
        take_back(group);
    if (group->commit_err != ERR_OK && diag != NULL) *diag = group->commit_diag;
    return group->commit_err;
}

enum err task_group_checkpoint(struct task_group *group, struct diag *diag) {
    assert(group->thread == NULL);
    if (group->options.read_only) return ERR_OK;
    struct diag unwanted = {0};
    if (diag == NULL) diag = &unwanted;
    enum err err = commit_what_is_frozen(group, diag);
    if (err == ERR_OK) err = freeze_begin(group, diag);
    return err == ERR_OK ? commit_what_is_frozen(group, diag) : err;
}

enum err checkpoint_last(struct task_group *group, struct diag *diag) {
    if (group->options.read_only) return ERR_OK;
    struct diag unwanted = {0};
    if (diag == NULL) diag = &unwanted;
    enum err err = commit_what_is_frozen(group, diag);
    if (err == ERR_OK && group->dirty) err = task_group_checkpoint(group, diag);
    for (uint32_t i = 0; i < group->count && err == ERR_OK; i++)
        if (group->tasks[i]->err != ERR_OK)
            err = diag_set(diag, group->tasks[i]->err, "%s", group->tasks[i]->info.error);
    return err;
}
