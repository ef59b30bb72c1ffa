/* Threads that read candles and render them, so that no task and no transport is held up by a long answer. A queue in order
 * of arrival; lengthy jobs never take the last free thread, so that a short one waits for short ones only. */
#include <assert.h>
#include <stdlib.h>

#include "api/api_internal.h"

enum { READERS = 3, LENGTHY_AT_ONCE = READERS - 1 };

struct queue {
    struct read_job *first, *last;
};

struct readers {
    const struct sys *sys;
    struct sys_thread *threads[READERS];
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t work;
    struct queue brief, lengthy;
    uint32_t lengthy_running;
    bool stop;
};

static void push(struct queue *queue, struct read_job *job) {
    job->next = NULL;
    *(queue->last == NULL ? &queue->first : &queue->last->next) = job;
    queue->last = job;
}

static struct read_job *pop(struct queue *queue) {
    struct read_job *job = queue->first;
    if (job == NULL) return NULL;
    queue->first = job->next;
    if (queue->first == NULL) queue->last = NULL;
    return job;
}

/* Under the lock. */
static struct read_job *next_job(struct readers *readers) {
    struct read_job *job = pop(&readers->brief);
    if (job == NULL && readers->lengthy_running < LENGTHY_AT_ONCE) job = pop(&readers->lengthy);
    if (job != NULL && job->lengthy) readers->lengthy_running++;
    return job;
}

static void *reader_main(void *argument) {
    struct readers *readers = argument;
    sys_thread_take_turns();
    pthread_mutex_lock(&readers->lock);
    for (;;) {
        struct read_job *job = next_job(readers);
        if (job == NULL && readers->stop && readers->lengthy.first == NULL) break;
        if (job == NULL) {
            pthread_cond_wait(&readers->work, &readers->lock);
            continue;
        }
        const bool lengthy = job->lengthy;
        pthread_mutex_unlock(&readers->lock);
        job->run(job); /* which may end its life */
        pthread_mutex_lock(&readers->lock);
        if (!lengthy) continue;
        readers->lengthy_running--;
        pthread_cond_broadcast(&readers->work); /* it held one back, or the last ones wait for the end */
    }
    pthread_mutex_unlock(&readers->lock);
    return NULL;
}

void readers_run(struct readers *readers, struct read_job *job) {
    if (readers == NULL) {
        job->run(job);
        return;
    }
    pthread_mutex_lock(&readers->lock);
    assert(!readers->stop);
    push(job->lengthy ? &readers->lengthy : &readers->brief, job);
    pthread_mutex_unlock(&readers->lock);
    pthread_cond_signal(&readers->work);
}

enum err readers_open(const struct sys *sys, struct diag *diag, struct readers **ret_readers) {
    struct readers *readers = calloc(1, sizeof *readers);
    if (readers == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for the readers");
    readers->sys = sys;
    pthread_mutex_init(&readers->lock, NULL);
    pthread_cond_init(&readers->work, NULL);
    enum err err = ERR_OK;
    for (int i = 0; i < READERS && err == ERR_OK; i++)
        err = sys->thread_start(sys->context, "reader", reader_main, readers, &readers->threads[i]);
    if (err != ERR_OK) {
        readers_close(&readers);
        return diag_set(diag, err, "the readers' threads cannot be started");
    }
    *ret_readers = readers;
    return ERR_OK;
}

void readers_close(struct readers **readers) {
    struct readers *r = *readers;
    if (r == NULL) return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_mutex_unlock(&r->lock);
    pthread_cond_broadcast(&r->work);
    for (int i = 0; i < READERS; i++)
        if (r->threads[i] != NULL) r->sys->thread_join(r->sys->context, &r->threads[i]);
    assert(r->brief.first == NULL && r->lengthy.first == NULL);
    pthread_cond_destroy(&r->work);
    pthread_mutex_destroy(&r->lock);
    free(r);
    *readers = NULL;
}
