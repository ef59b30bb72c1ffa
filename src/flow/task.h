/* A task: a processor's share for one partition. It reads the partition from its offset, folds, answers calls, and lets its
 * changes be frozen into checkpoints. The processor is a set of step functions without threads, recovery or metrics of its
 * own; this is where all processors get theirs.
 *
 * Exactly once: a checkpoint holds, in one store commit, the processor's rows and the input offset they belong to. After a
 * crash the task goes on from that offset and folds the same records again; what it appended to topics in between carries
 * its producer id and sequence, which the log drops the second time.
 *
 * Threads: one thread runs all tasks of a process (`task_group`); checkpoints are committed by another. `task_call` may be
 * called from any thread. In a simulation `task_step` and `task_group_checkpoint` are called directly. */
#ifndef FLOW_TASK_H
#define FLOW_TASK_H

#include "flow/ledger.h"
#include "log/log.h"
#include "store/store.h"

struct processor;

struct processor_ops {
    const char *name;
    /* Restores from the checkpoint's rows. Called once, before anything else. */
    enum err (*load)(struct processor *processor, struct store_snapshot *snapshot, struct diag *diag);
    /* Folds one batch of records; deterministic. INPUT errors of records are counted in the ledger row, not returned. */
    enum err (*fold)(struct processor *processor, const struct record_batch *batch, struct ledger_row *ledger,
                     struct diag *diag);
    /* True: its outputs hold all they should and the log has no room for them, so nothing is folded until a checkpoint has
     * brought them there. May be NULL. */
    bool (*is_stuck)(struct processor *processor);
    /* A turn has ended (some batches were folded): publish what changed. May be NULL. */
    void (*turn_ended)(struct processor *processor);
    /* Puts everything changed since the last freeze into `batch`; then `committed` or, never in one process, a crash. What
     * takes long may be left to freeze_more; snapshot and batch stay as long. */
    enum err (*freeze)(struct processor *processor, struct store_snapshot *snapshot, struct store_batch *batch,
                       struct diag *diag);
    /* A part of what `freeze` left, which is as it was then, whatever has been folded since; turns come between. May be NULL:
     * nothing is left. */
    enum err (*freeze_more)(struct processor *processor, struct diag *diag, bool *ret_more);
    /* On the checkpoint thread, between freeze and the store commit: waits for outputs to be on disk, adds rows that need
     * their offsets. Where there is no room (RESOURCE) nothing is lost by it, and it is called again. */
    enum err (*flush)(struct processor *processor, struct store_batch *batch, struct diag *diag);
    void (*committed)(struct processor *processor);
    void (*close)(struct processor **processor);
};

struct processor {
    const struct processor_ops *ops; /* first member of every processor */
};

struct task;
struct task_group;

struct task_group_options {
    const struct sys *sys;
    struct log *log;
    struct store *store;
    int64_t checkpoint_ms;         /* at most this apart; 0: 500 */
    uint64_t checkpoint_log_bytes; /* or after this much input, 22 MiB at most; 0: 8 MiB */
    bool read_only;                /* folds in memory, never checkpoints: a command beside a stopped server */
};

enum err task_group_open(const struct task_group_options *options, struct diag *diag,
                         struct task_group **ret_group) MUST_USE;
/* For commits that others make between checkpoints (imports): the next write stamp of this generation. Not while the
 * group's threads run, unless they are held. */
uint64_t task_group_stamp(struct task_group *group);
/* Stops the threads, takes a last checkpoint, closes the processors. */
void task_group_close(struct task_group **group);
/* The same without a last checkpoint, as after a crash: for tests. */
void task_group_abandon(struct task_group **group);
/* The group owns the processor from here on. Loads it from its checkpoint. `name` is stable, e.g. "candles/prices/0". */
enum err task_group_add(struct task_group *group, const char *name, struct log_partition *input,
                        struct processor *processor, struct diag *diag, struct task **ret_task) MUST_USE;
enum err task_group_start(struct task_group *group, struct diag *diag) MUST_USE;
/* One turn of every task: reads what is there (bounded), runs due calls. *ret_worked: there may be more. */
enum err task_group_step(struct task_group *group, struct diag *diag, bool *ret_worked) MUST_USE;
enum err task_group_checkpoint(struct task_group *group, struct diag *diag) MUST_USE;
/* For who must have the store alone for a while (an import beside live tasks); one at a time, any thread but the group's own.
 * On return the group has reached the level, with everything that was folded in the store and told; what arrives meanwhile waits in
 * the log. Under TASK_STOP the holder may add tasks, take stamps, and touch what belongs to the tasks' thread. ERR_CLOSED:
 * `cancelled` (may be NULL) said so while waiting, and the group runs again; else why a task has stopped. */
enum task_hold {
    TASK_RUN,
    TASK_HOLD, /* nothing is folded; calls are answered from what is */
    TASK_STOP, /* nothing is folded, no call is answered */
};
enum err task_group_hold(struct task_group *group, enum task_hold level, bool (*cancelled)(void *context),
                         void *context, struct diag *diag) MUST_USE;
void task_group_release(struct task_group *group);
/* Reads on until every input's durable end as it is now is folded, with a checkpoint after every `checkpoint_log_bytes` (a
 * command without a running server). */
enum err task_group_catch_up(struct task_group *group, struct diag *diag) MUST_USE;

/* Why the checkpoint under way has to begin again (RESOURCE: no room), or ERR_OK. Any thread. */
enum err task_group_refusal(const struct task_group *group);

/* Its threads run: then nobody else may step it, checkpoint it or commit to its store. */
bool task_group_runs(const struct task_group *group);
/* Waits until its threads have folded every input's durable end as it is now. The error of a task that stopped. */
enum err task_group_wait(struct task_group *group, struct diag *diag) MUST_USE;
/* Ends the threads and takes a checkpoint; the group may be started again, or stepped. */
enum err task_group_stop(struct task_group *group, struct diag *diag) MUST_USE;

/* --- calls: reads of a task's state, run on its thread --- */

struct task_call {
    /* Runs once the task has folded every record below the durable end as it was when the call was made: a reader sees
     * whatever was acknowledged to anybody before it asked. `err` is ERR_OK, or why the task cannot answer. */
    void (*run)(struct task_call *call, struct processor *processor, enum err err);
    void *context;
    int64_t after_offset;   /* the task's */
    struct task_call *next; /* the task's */
};
void task_call(struct task *task, struct task_call *call);
/* Everything durable in the input now is folded: what other threads read without a call (latest prices) is up to date. Two
 * atomic loads. */
bool task_caught_up(const struct task *task);
/* Of the group's owner: the processor's output sequence numbers and the like may be read only on its thread. */
struct processor *task_processor(const struct task *task);

struct task_info {
    const char *name;
    const char *topic;
    uint32_t partition;
    int64_t offset; /* next to read */
    int64_t checkpoint_offset;
    int64_t end_offset; /* durable end of the input */
    struct ledger_row ledger;
    enum err err; /* why it stopped, if it did */
    char error[256];
};
uint32_t task_group_count(const struct task_group *group);
/* A consistent copy, any thread. */
void task_group_info(struct task_group *group, uint32_t index, struct task_info *ret_info);
/* All tasks have folded what was durable when they started. */
bool task_group_ready(const struct task_group *group);

#endif
