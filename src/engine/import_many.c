/* Several files, two at a time: two threads read, and the files take turns in all that they share, in their order. */
#include <assert.h>
#include <stdlib.h>

#include "engine/import.h"
#include "engine/import_turns.h"

/* --- turns --- */

void import_turns_init(struct import_turns *turns) {
    *turns = (struct import_turns){.reading = SERIES_NONE};
    pthread_mutex_init(&turns->lock, NULL);
    pthread_cond_init(&turns->moved, NULL);
}

void import_turns_deinit(struct import_turns *turns) {
    pthread_cond_destroy(&turns->moved);
    pthread_mutex_destroy(&turns->lock);
}

static void wait_for(struct import_turns *turns, const uint64_t *counter, uint64_t turn) {
    while (*counter != turn) pthread_cond_wait(&turns->moved, &turns->lock);
}

void import_turn_begin(struct import_turns *turns, struct import_turn *turn) {
    if (turns == NULL) return;
    pthread_mutex_lock(&turns->lock);
    wait_for(turns, &turns->begun, turn->number);
    turn->locked = true;
}

void import_turn_alone(struct import_turns *turns, struct import_turn *turn, uint32_t series) {
    if (turns == NULL) return;
    assert(turn->locked);
    if (turns->reading == series) wait_for(turns, &turns->ended, turn->number);
    turns->reading = series;
}

void import_turn_read(struct import_turns *turns, struct import_turn *turn) {
    if (turns == NULL) return;
    assert(turn->locked && turns->begun == turn->number);
    turns->begun++;
    turn->locked = false;
    pthread_cond_broadcast(&turns->moved);
    pthread_mutex_unlock(&turns->lock);
}

void import_turn_commit(struct import_turns *turns, struct import_turn *turn) {
    if (turns == NULL) return;
    if (!turn->locked) pthread_mutex_lock(&turns->lock);
    turn->locked = true;
    wait_for(turns, &turns->ended, turn->number);
}

void import_turn_end(struct import_turns *turns, struct import_turn *turn) {
    if (turns == NULL) return;
    import_turn_commit(turns, turn); /* its begin came before, or nothing else did */
    if (turns->begun == turn->number) turns->begun++;
    turns->ended++;
    turn->locked = false;
    pthread_cond_broadcast(&turns->moved);
    pthread_mutex_unlock(&turns->lock);
}

/* --- lanes --- */

enum { LANES = 2, SHOW_MS = 100 };

struct lane_of_files {
    struct many *many;
    struct sys_thread *thread;
    struct sys_bell work;
    _Atomic bool busy; /* the lane's thread has it */
    bool filled;       /* a file was given, and not told of yet */
    uint32_t file;
    struct import_request request;
    struct import_result result;
    struct diag diag;
    enum err err;
};

struct many {
    struct engine *engine;
    const struct import_many *files;
    struct import_turns turns;
    struct lane_of_files lanes[LANES];
    struct sys_bell done;
    _Atomic bool stop, cancelled;
    pthread_mutex_t lock; /* guards what is shown */
    struct input_progress shown;
    uint32_t showing; /* file */
};

static enum err note_progress(void *context, const struct input_progress *progress) {
    struct lane_of_files *lane = context;
    struct many *many = lane->many;
    pthread_mutex_lock(&many->lock);
    if (many->showing == lane->file) many->shown = *progress;
    pthread_mutex_unlock(&many->lock);
    return atomic_load(&many->cancelled) ? ERR_CLOSED : ERR_OK;
}

static void *lane_main(void *argument) {
    struct lane_of_files *lane = argument;
    while (!atomic_load(&lane->many->stop)) {
        if (!atomic_load(&lane->busy)) {
            sys_bell_wait(&lane->work, -1);
            continue;
        }
        lane->err = import_run(lane->many->engine, &lane->request, &lane->diag, &lane->result);
        atomic_store(&lane->busy, false);
        sys_bell_ring(&lane->many->done);
    }
    return NULL;
}

/* Waits for the file of the lane, showing how far it is, and tells of it. */
static bool lane_finish(struct lane_of_files *lane) {
    struct many *many = lane->many;
    const struct import_many *files = many->files;
    if (!lane->filled) return true;
    pthread_mutex_lock(&many->lock);
    many->showing = lane->file;
    many->shown = (struct input_progress){0};
    pthread_mutex_unlock(&many->lock);
    while (atomic_load(&lane->busy)) {
        sys_bell_wait(&many->done, SHOW_MS);
        pthread_mutex_lock(&many->lock);
        const struct input_progress shown = many->shown;
        pthread_mutex_unlock(&many->lock);
        if (shown.plain_bytes > 0 && files->progress != NULL && files->progress(files->context, lane->file, &shown))
            atomic_store(&many->cancelled, true);
    }
    lane->filled = false;
    return files->done(files->context, lane->file, lane->err, &lane->diag, &lane->result);
}

static void lane_start(struct lane_of_files *lane, uint64_t turn, uint32_t file, const struct import_request *request) {
    lane->request = *request;
    lane->request.turns = &lane->many->turns;
    lane->request.turn = turn;
    lane->request.progress = note_progress;
    lane->request.context = lane;
    lane->diag = (struct diag){0};
    lane->file = file;
    lane->filled = true;
    atomic_store(&lane->busy, true);
    sys_bell_ring(&lane->work);
}

static void run_files(struct many *many) {
    const struct import_many *files = many->files;
    bool go_on = true;
    uint64_t turns = 0;
    for (uint32_t file = 0; file < files->count && go_on; file++) {
        struct lane_of_files *lane = &many->lanes[file % LANES];
        struct import_request request = {0};
        go_on = lane_finish(lane);
        if (!go_on) break;
        struct diag diag = {0};
        enum err err = files->open(files->context, file, &request, &diag);
        if (err == ERR_OK) {
            lane_start(lane, turns++, file, &request);
            continue;
        }
        if (file > 0) go_on = lane_finish(&many->lanes[(file + 1) % LANES]); /* they are told of in order */
        if (go_on) go_on = files->done(files->context, file, err, &diag, NULL);
    }
    if (!go_on) atomic_store(&many->cancelled, true);
    for (uint32_t i = 0; i < LANES; i++) (void)lane_finish(&many->lanes[(files->count + i) % LANES]);
}

enum err import_run_many(struct engine *engine, const struct import_many *files, struct diag *diag) {
    const struct sys *sys = engine_parts(engine)->sys;
    struct many *many = calloc(1, sizeof *many);
    if (many == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory to import");
    enum err err = ERR_OK;
    many->engine = engine;
    many->files = files;
    import_turns_init(&many->turns);
    pthread_mutex_init(&many->lock, NULL);
    for (int i = 0; i < LANES && err == ERR_OK; i++) {
        many->lanes[i].many = many;
        err = sys->thread_start(sys->context, "import", lane_main, &many->lanes[i], &many->lanes[i].thread);
    }
    if (err == ERR_OK)
        run_files(many);
    else
        diag_set(diag, err, "no thread can be started");
    atomic_store(&many->stop, true);
    for (int i = 0; i < LANES; i++) {
        sys_bell_ring(&many->lanes[i].work);
        if (many->lanes[i].thread != NULL) sys->thread_join(sys->context, &many->lanes[i].thread);
    }
    pthread_mutex_destroy(&many->lock);
    import_turns_deinit(&many->turns);
    free(many);
    return err;
}
