/* The inside of tasks and their group, shared by task.c and task_checkpoint.c and nobody else. */
#ifndef FLOW_TASK_PARTS_H
#define FLOW_TASK_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "flow/checkpoint.h"
#include "flow/task.h"

struct task {
    uint32_t magic;
    char name[128];
    struct task_group *group;
    struct log_partition *input;
    struct processor *processor;
    struct log_cursor *cursor;
    _Atomic int64_t folded; /* next offset to read */
    int64_t start_end;      /* durable end when the group started: ready once folded */
    struct ledger_row ledger;
    struct checkpoint frozen;
    struct task_call *waiting_first, *waiting_last; /* not due yet, in order of arrival */
    _Atomic(struct task_call *) calls;              /* just made, newest first */
    enum err err;
    /* How far it is behind bounds what is written to its input (log_set_limit). What the log has written since it was opened
     * begins at start_end; everything here is counted from there. */
    uint64_t written_before, folded_bytes, frozen_bytes;
    bool in_freeze;   /* of the last freeze: a task that had stopped is in none */
    bool unpublished; /* folded since the processor's last turn_ended */
    int64_t published_ns;

    pthread_mutex_t info_lock; /* guards info */
    struct task_info info;
};

enum { TASKS_MAX = 256 };
/* Of input that is durable and in no checkpoint; a restart reads it again. And before the tasks have read what they found. */
enum { BEHIND_BYTES_MAX = 44 * 1024 * 1024, BEHIND_BYTES_FIRST = 8 * 1024 * 1024 };

/* The hand-over of frozen changes: FREE -> (task thread freezes) FROZEN -> (checkpoint thread commits) COMMITTED -> (task
 * thread tells the processors) FREE. */
enum handover { HANDOVER_FREE, HANDOVER_FROZEN, HANDOVER_COMMITTED };

struct task_group {
    struct task_group_options options;
    struct task *tasks[TASKS_MAX];
    _Atomic uint32_t count;          /* grows last, so that whoever counts sees whole tasks */
    struct sys_bell bell;            /* of the task thread */
    struct sys_bell checkpoint_bell; /* of the checkpoint thread */
    struct sys_thread *thread, *checkpoint_thread;
    atomic_bool stop;
    _Atomic int wanted, reached; /* enum task_hold; the tasks' thread follows */
    struct sys_bell hold_bell;   /* of the holder */
    _Atomic int handover;
    struct store_batch batch;
    struct diag commit_diag;
    enum err commit_err;
    _Atomic int refusal; /* enum err: of a commit that found no room, until one does */
    uint64_t stamp;      /* of the last commit: generation << 40 | sequence */
    int64_t last_freeze_ns;
    struct store_snapshot *freezing; /* of the freeze under way; NULL: none is */
    uint64_t input_bytes;            /* folded since the last freeze */
    bool dirty;                      /* anything folded since the last freeze */
    bool threaded;                   /* its threads run, or are about to */
    bool spoiled;                    /* a freeze or its commit failed for good: what is in memory is never committed */
};

/* The task answers from what it has, and folds no more. */
void task_halt(struct task *task, enum err err, const struct diag *diag);

/* So much may be written to its input; not while nothing folds. */
void task_limit(const struct task *task);

/* --- task_checkpoint.c --- */

/* On the tasks' thread, between turns: begins a freeze that is due, goes on with one, hands it over, and takes back what the
 * checkpoint thread has committed. */
void checkpoint_turn(struct task_group *group);
/* Until the next turn of it, where no bell comes first; -1: none is needed. */
int64_t checkpoint_wait_ms(const struct task_group *group);
/* The checkpoint thread. */
void *checkpoint_main(void *argument);
/* With the threads stopped: what is frozen is committed, and what has been folded since. */
enum err checkpoint_last(struct task_group *group, struct diag *diag) MUST_USE;
/* Closes what a freeze that was not ended holds. */
void checkpoint_abandon(struct task_group *group);

#endif
