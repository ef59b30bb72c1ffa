/* Loading: days on their way to blocks, packed by a thread beside the owner's, or by the owner.
 *
 * A ring of jobs. The owner fills the newest one and takes packed ones off the oldest end, in order, so that what reaches the
 * log does not depend on who packed what. When the ring is full it packs a job itself instead of waiting: two cores are
 * busy however the work is divided between reading and packing. A job is passed on by its state alone. */
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "candle/shelf/parts.h"
#include "sys/sys.h"

enum job_state { JOB_FREE, JOB_READY, JOB_TAKEN, JOB_PACKED };

struct job {
    _Atomic int state;
    struct lane lane;
    struct span day;
    struct candle *rows; /* room for SHELF_LOAD_ROWS */
    uint32_t count;
    struct shelf_pack pack;
    enum err err;
    struct diag diag;
};

struct shelf_load {
    struct shelf *shelf;
    struct job jobs[SHELF_LOADS_MAX];
    uint32_t first, next; /* oldest under way, next to be filled; modulo SHELF_LOADS_MAX. The owner's */
    struct seal seal;     /* of the lane of the last job taken off */
    bool sealing;         /* tier rows are gathered in it */
    struct sys_thread *thread;
    struct sys_bell work, done;
    _Atomic bool stop;
};

/* --- packing --- */

/* Packs a job that is ready, the oldest if `from` is; false where none is. */
static bool pack_one(struct shelf_load *load, uint32_t from) {
    for (uint32_t i = 0; i < SHELF_LOADS_MAX; i++) {
        struct job *job = &load->jobs[(from + i) % SHELF_LOADS_MAX];
        int ready = JOB_READY;
        if (atomic_load_explicit(&job->state, memory_order_relaxed) != JOB_READY) continue;
        if (!atomic_compare_exchange_strong(&job->state, &ready, JOB_TAKEN)) continue;
        job->diag = (struct diag){0};
        job->err = shelf_pack(load->shelf, job->day, job->rows, job->count, &job->pack, &job->diag);
        atomic_store_explicit(&job->state, JOB_PACKED, memory_order_release);
        return true;
    }
    return false;
}

static void *packer(void *argument) {
    struct shelf_load *load = argument;
    for (uint32_t at = 0; !atomic_load(&load->stop);) {
        if (!pack_one(load, at)) {
            sys_bell_wait(&load->work, -1);
            continue;
        }
        at++;
        sys_bell_ring(&load->done);
    }
    return NULL;
}

/* --- taking off --- */

static enum err finish_lane(struct shelf_load *load) {
    if (!load->sealing) return ERR_OK;
    load->sealing = false;
    return seal_tiers(&load->seal);
}

static enum err take_off(struct shelf_load *load) {
    struct job *job = &load->jobs[load->first++ % SHELF_LOADS_MAX];
    struct seal *seal = &load->seal;
    enum err err = job->err;
    if (err != ERR_OK && seal->diag != NULL) *seal->diag = job->diag;
    if (err == ERR_OK && (seal->lane.series != job->lane.series || seal->lane.basis != job->lane.basis))
        err = finish_lane(load);
    if (err == ERR_OK && !load->sealing) seal_begin(seal, load->shelf, job->lane);
    load->sealing = true;
    if (err == ERR_OK) err = seal_add_day(seal, job->day, job->rows, job->count, &job->pack);
    atomic_store_explicit(&job->state, JOB_FREE, memory_order_relaxed);
    return err;
}

static bool is_packed(struct shelf_load *load) {
    struct job *oldest = &load->jobs[load->first % SHELF_LOADS_MAX];
    return load->first != load->next && atomic_load_explicit(&oldest->state, memory_order_acquire) == JOB_PACKED;
}

/* Takes off what is packed; helps until at most `left` jobs are under way. */
static enum err drain(struct shelf_load *load, uint32_t left) {
    enum err err = ERR_OK;
    while (err == ERR_OK && load->first != load->next) {
        if (is_packed(load))
            err = take_off(load);
        else if (load->next - load->first <= left)
            break;
        else if (!pack_one(load, load->first))
            sys_bell_wait(&load->done, -1);
    }
    return err;
}

/* --- life cycle --- */

static enum err load_open(struct shelf *shelf) {
    const struct sys *sys = shelf->options.sys;
    struct shelf_load *load = calloc(1, sizeof *load);
    if (load == NULL) return ERR_NO_MEMORY;
    load->shelf = shelf;
    bool full = false;
    for (uint32_t i = 0; i < SHELF_LOADS_MAX; i++) {
        shelf_pack_init(&load->jobs[i].pack);
        load->jobs[i].rows = malloc(SHELF_LOAD_ROWS * sizeof(struct candle));
        full |= load->jobs[i].rows == NULL;
    }
    shelf->load = load;
    if (full) shelf_load_close(shelf);
    if (full) return ERR_NO_MEMORY;
    if (shelf->packs_here || sys == NULL || sys->thread_start == NULL) return ERR_OK; /* the owner packs */
    return sys->thread_start(sys->context, "pack", packer, load, &load->thread);
}

void shelf_load_close(struct shelf *shelf) {
    struct shelf_load *load = shelf->load;
    if (load == NULL) return;
    atomic_store(&load->stop, true);
    sys_bell_ring(&load->work);
    if (load->thread != NULL) shelf->options.sys->thread_join(shelf->options.sys->context, &load->thread);
    for (uint32_t i = 0; i < SHELF_LOADS_MAX; i++) {
        shelf_pack_deinit(&load->jobs[i].pack);
        free(load->jobs[i].rows);
    }
    seal_deinit(&load->seal);
    free(load);
    shelf->load = NULL;
}

bool shelf_load_is_idle(const struct shelf *shelf) {
    const struct shelf_load *load = shelf->load;
    return load == NULL || (load->first == load->next && !load->sealing);
}

/* --- the contract --- */

static struct job *enqueue(struct shelf_load *load, struct lane lane, struct span day, struct candle **rows,
                           uint32_t count) {
    struct job *job = &load->jobs[load->next++ % SHELF_LOADS_MAX];
    assert(atomic_load(&job->state) == JOB_FREE);
    struct candle *mine = job->rows;
    job->rows = *rows;
    *rows = mine;
    job->lane = lane;
    job->day = day;
    job->count = count;
    atomic_store_explicit(&job->state, JOB_READY, memory_order_release);
    if (load->thread != NULL) sys_bell_ring(&load->work);
    return job;
}

/* Without another thread, a day is packed while it is in the cache, and its rows are where the next one comes. */
static enum err pack_now(struct shelf_load *load, struct job *job, struct candle **rows) {
    enum err err = drain(load, 0);
    struct candle *others = *rows;
    *rows = job->rows;
    job->rows = others;
    return err;
}

/* Nothing is stored of the day, and all of it is one block. */
static enum err is_plain(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane, struct span day,
                         bool *ret_plain) {
    struct seal seal = {.shelf = shelf, .snapshot = snapshot, .lane = lane};
    *ret_plain = false;
    return shelf->options.base_ms == 60000 ? seal_is_new(&seal, day, ret_plain) : ERR_OK;
}

enum err shelf_load(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane, struct candle **rows,
                    uint32_t count, struct diag *diag) {
    assert(count > 0 && count <= SHELF_LOAD_ROWS);
    struct span day = shelf_unit(shelf, TIER_DAY, (*rows)[0].open_time_ms);
    bool plain = false;
    enum err err = is_plain(shelf, snapshot, lane, day, &plain);
    if (err != ERR_OK) return diag_set(diag, err, "cannot seal candles");
    if (!plain || (*rows)[count - 1].open_time_ms >= day.end_ms)
        return shelf_seal(shelf, snapshot, lane, *rows, count, diag);
    if (day.start_ms < shelf_touched(shelf, lane, TIER_BASE))
        return diag_set(diag, ERR_STATE, "a day was sealed already and not yet flushed");
    if (shelf->load == NULL && (err = load_open(shelf)) != ERR_OK)
        return diag_set(diag, err, "no memory or no thread to pack candles");
    struct shelf_load *load = shelf->load;
    load->seal.snapshot = snapshot;
    load->seal.diag = diag;
    err = drain(load, SHELF_LOADS_MAX - 1);
    if (err == ERR_OK) err = shelf_touch(shelf, lane, TIER_BASE, day.end_ms);
    struct job *job = err == ERR_OK ? enqueue(load, lane, day, rows, count) : NULL;
    if (job != NULL && load->thread == NULL) err = pack_now(load, job, rows);
    if (err != ERR_OK && diag != NULL && diag->err != err) diag_set(diag, err, "cannot seal candles");
    return err;
}

enum err shelf_load_end(struct shelf *shelf, struct store_snapshot *snapshot, struct diag *diag) {
    struct shelf_load *load = shelf->load;
    if (shelf_load_is_idle(shelf)) return ERR_OK;
    load->seal.snapshot = snapshot;
    load->seal.diag = diag;
    enum err err = drain(load, 0);
    if (err == ERR_OK) err = finish_lane(load);
    if (err != ERR_OK && diag != NULL && diag->err != err) diag_set(diag, err, "cannot seal candles");
    return err;
}
