#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/import.h"

enum { JOBS_MAX = 16, TEXT_MAX = 1024, IMPORTER_MAGIC = 0x696d706f, WAIT_MS = 1000 };

struct job {
    uint64_t id; /* 0: free */
    enum control_state state;
    char path[IMPORT_PATH_MAX], name[IMPORT_PATH_MAX];
    char venue[TEXT_MAX], series[TEXT_MAX], columns[TEXT_MAX], interval[TEXT_MAX];
    struct import_options options; /* its strings are those above */
    bool copy;
    uint64_t version;
    atomic_bool cancelled;
    int64_t looked_ns; /* when the command asked last */
    struct input_progress progress;
    struct import_result result;
    enum err err;
    struct diag diag;
};

struct importer {
    uint32_t magic;
    struct engine *engine;
    const struct sys *sys;
    pthread_mutex_t lock; /* guards the jobs; the running one's request is its thread's to read */
    struct job jobs[JOBS_MAX];
    uint64_t last_id;
    uint64_t begun;
    struct sys_bell bell;
    struct sys_thread *thread;
    atomic_bool stop;
    atomic_bool venues_changed;
};

/* --- the thread --- */

struct watch {
    struct importer *importer;
    struct job *job;
};

static bool is_abandoned(const struct importer *importer, const struct job *job) {
    return sys_monotonic_ns(importer->sys) - job->looked_ns > INT64_C(1000000) * CONTROL_ABANDONED_MS;
}

static enum err note_progress(void *context, const struct input_progress *progress) {
    struct watch *watch = context;
    struct job *job = watch->job;
    pthread_mutex_lock(&watch->importer->lock);
    job->progress = *progress;
    bool given_up = is_abandoned(watch->importer, job);
    pthread_mutex_unlock(&watch->importer->lock);
    return given_up || atomic_load(&job->cancelled) ? ERR_CLOSED : ERR_OK;
}

/* Finished jobs that nobody came for, and waiting ones whose command has gone, are forgotten. */
static struct job *next_job(struct importer *importer) {
    struct job *next = NULL;
    pthread_mutex_lock(&importer->lock);
    for (int i = 0; i < JOBS_MAX; i++) {
        struct job *job = &importer->jobs[i];
        if (job->id != 0 && is_abandoned(importer, job)) job->id = 0;
        if (job->id == 0 || job->state != CONTROL_WAITING) continue;
        if (next == NULL || job->id < next->id) next = job;
    }
    if (next != NULL) {
        next->state = CONTROL_RUNNING;
        importer->begun++;
    }
    pthread_mutex_unlock(&importer->lock);
    return next;
}

static void run_job(struct importer *importer, struct job *job) {
    struct watch watch = {importer, job};
    const struct import_request request = {
        .path = job->path,
        .name = job->name,
        .version = job->version,
        .options = job->options,
        .copy = job->copy,
        .progress = note_progress,
        .context = &watch,
        .cancelled = &job->cancelled,
    };
    struct import_result result = {0};
    struct diag diag = {0};
    enum err err = atomic_load(&job->cancelled) ? diag_set(&diag, ERR_CLOSED, "cancelled")
                                                : import_run(importer->engine, &request, &diag, &result);
    pthread_mutex_lock(&importer->lock);
    job->result = result;
    job->err = err;
    job->diag = diag;
    job->state = err == ERR_OK ? CONTROL_DONE : CONTROL_FAILED;
    pthread_mutex_unlock(&importer->lock);
}

static bool is_stopping(void *context) {
    const struct importer *importer = context;
    return atomic_load(&importer->stop);
}

/* A topic that a command made is folded from now on, not from the next start. Here, as imports add venues too. Where it cannot
 * be, who reads of the venue is told that it is not there, and the next look tries again. */
static void add_venues(struct importer *importer) {
    struct diag unwanted = {0};
    if (!atomic_exchange(&importer->venues_changed, false)) return;
    if (engine_add_venues(importer->engine, is_stopping, importer, &unwanted) != ERR_OK)
        atomic_store(&importer->venues_changed, true);
}

static void *importer_main(void *argument) {
    struct importer *importer = argument;
    sys_thread_give_way();
    while (!atomic_load(&importer->stop)) {
        add_venues(importer);
        struct job *job = next_job(importer);
        if (job != NULL)
            run_job(importer, job);
        else
            sys_bell_wait(&importer->bell, WAIT_MS);
    }
    return NULL;
}

bool importer_is_busy(struct importer *importer, uint64_t *ret_begun) {
    bool busy = false;
    pthread_mutex_lock(&importer->lock);
    for (int i = 0; i < JOBS_MAX; i++)
        if (importer->jobs[i].id != 0 && importer->jobs[i].state == CONTROL_RUNNING) busy = true;
    *ret_begun = importer->begun;
    pthread_mutex_unlock(&importer->lock);
    return busy;
}

/* --- what commands ask --- */

static bool keep(char text[static TEXT_MAX], const char *from, const char **ret_kept) {
    *ret_kept = from != NULL ? text : NULL;
    return from == NULL || (size_t)snprintf(text, TEXT_MAX, "%s", from) < TEXT_MAX;
}

static bool fill(struct job *job, const struct control_import *import) {
    job->options = import->options;
    job->copy = import->copy;
    job->version = import->version;
    return (size_t)snprintf(job->path, sizeof job->path, "%s", import->path) < sizeof job->path &&
           (size_t)snprintf(job->name, sizeof job->name, "%s", import->name) < sizeof job->name &&
           keep(job->venue, import->options.venue, &job->options.venue) &&
           keep(job->series, import->options.series, &job->options.series) &&
           keep(job->columns, import->options.columns, &job->options.columns) &&
           keep(job->interval, import->options.interval, &job->options.interval);
}

static struct job *find_job(struct importer *importer, uint64_t id) {
    for (int i = 0; i < JOBS_MAX; i++)
        if (importer->jobs[i].id == id) return &importer->jobs[i];
    return NULL;
}

static enum err start_job(struct importer *importer, const struct control_import *import, struct diag *diag,
                          uint64_t *ret_id) {
    if (atomic_load(&importer->stop)) return diag_set(diag, ERR_CLOSED, "wick is stopping");
    struct job *job = find_job(importer, 0);
    if (job == NULL) return diag_set(diag, ERR_BUSY, "%d imports are waiting already; try again later", JOBS_MAX);
    if (!fill(job, import)) return diag_set(diag, ERR_TOO_LARGE, "a name of the import is too long");
    job->state = CONTROL_WAITING;
    atomic_store(&job->cancelled, false);
    job->looked_ns = sys_monotonic_ns(importer->sys);
    job->progress = (struct input_progress){0};
    *ret_id = job->id = ++importer->last_id;
    return ERR_OK;
}

static enum err import_start(void *context, const struct control_import *import, struct diag *diag, uint64_t *ret_id) {
    struct importer *importer = context;
    assert(importer->magic == IMPORTER_MAGIC);
    pthread_mutex_lock(&importer->lock);
    enum err err = start_job(importer, import, diag, ret_id);
    pthread_mutex_unlock(&importer->lock);
    if (err == ERR_OK) sys_bell_ring(&importer->bell);
    return err;
}

static enum err import_look(void *context, uint64_t id, struct control_progress *ret_progress) {
    struct importer *importer = context;
    enum err err = ERR_NOT_FOUND;
    pthread_mutex_lock(&importer->lock);
    struct job *job = id != 0 ? find_job(importer, id) : NULL;
    if (job != NULL) {
        *ret_progress = (struct control_progress){job->state, job->progress, job->result, job->err, job->diag};
        job->looked_ns = sys_monotonic_ns(importer->sys);
        if (job->state == CONTROL_DONE || job->state == CONTROL_FAILED) job->id = 0;
        err = ERR_OK;
    }
    pthread_mutex_unlock(&importer->lock);
    return err;
}

static void import_cancel(void *context, uint64_t id) {
    struct importer *importer = context;
    pthread_mutex_lock(&importer->lock);
    struct job *job = id != 0 ? find_job(importer, id) : NULL;
    if (job != NULL) atomic_store(&job->cancelled, true);
    pthread_mutex_unlock(&importer->lock);
}

static void venues_changed(void *context) {
    struct importer *importer = context;
    atomic_store(&importer->venues_changed, true);
    sys_bell_ring(&importer->bell);
}

const struct control_ops importer_control = {import_start, import_look, import_cancel, venues_changed};

/* --- life cycle --- */

enum err importer_open(struct engine *engine, struct diag *diag, struct importer **ret_importer) {
    const struct sys *sys = engine_parts(engine)->sys;
    struct importer *importer = calloc(1, sizeof *importer);
    if (importer == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for imports");
    importer->magic = IMPORTER_MAGIC;
    importer->engine = engine;
    importer->sys = sys;
    pthread_mutex_init(&importer->lock, NULL);
    enum err err = ERR_OK;
    if (sys->thread_start != NULL)
        err = sys->thread_start(sys->context, "importer", importer_main, importer, &importer->thread);
    if (err != ERR_OK) {
        importer_close(&importer);
        return diag_set(diag, err, "the importer's thread cannot be started");
    }
    *ret_importer = importer;
    return ERR_OK;
}

void importer_close(struct importer **importer) {
    struct importer *i = *importer;
    if (i == NULL) return;
    atomic_store(&i->stop, true);
    for (int j = 0; j < JOBS_MAX; j++) atomic_store(&i->jobs[j].cancelled, true);
    sys_bell_ring(&i->bell);
    if (i->thread != NULL) i->sys->thread_join(i->sys->context, &i->thread);
    pthread_mutex_destroy(&i->lock);
    free(i);
    *importer = NULL;
}
