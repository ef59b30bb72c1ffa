/* What nobody waits for, on a thread of its own: segments past their retention are dropped, the sealed topics give back the
 * space of blocks that were replaced or have expired, and the log is looked through for damage. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "candle/shelf.h"
#include "engine/engine.h"

enum {
    ROUND_MS = 1000,
    RETAIN_MS = 60 * 1000,
    QUIET_MS = 3000,        /* a look at the index waits for a pause in what is sealed, */
    LOOK_MS = 5 * 60 * 1000 /* but no longer than this */
};

struct care {
    const struct engine_parts *parts;
    struct importer *importer;
    struct sys_thread *thread;
    struct sys_bell bell;
    atomic_bool stop;
    int64_t retained_ms;
    int64_t seen_end, moved_ms; /* of the sealed topics */
    int64_t looked_end, looked_ms;
    struct shelf_compaction *compaction; /* waits for snapshots to close */
    struct import_register imports;
    struct scrub *scrub;
};

/* What is due does not depend on the wall clock, which may jump. */
static int64_t timer_ms(const struct engine_parts *parts) { return sys_monotonic_ns(parts->sys) / 1000000; }

static void forget(struct care *care) {
    shelf_compaction_close(&care->compaction);
    import_register_deinit(&care->imports);
}

static bool is_due(struct care *care, int64_t now_ms) {
    int64_t end = shelf_sealed_end(care->parts->shelf);
    if (end != care->seen_end) {
        care->seen_end = end;
        care->moved_ms = now_ms;
    }
    if (end == care->looked_end) return false;
    return now_ms - care->moved_ms >= QUIET_MS || now_ms - care->looked_ms >= LOOK_MS;
}

/* Between the two counts no import ran: what the topics hold is committed, or never will be. */
static void look(struct care *care, int64_t now_ms) {
    uint64_t before, after;
    struct diag diag;
    if (importer_is_busy(care->importer, &before)) return;
    care->looked_ms = now_ms;
    care->looked_end = care->seen_end;
    enum err err = import_register_read(care->parts, &care->imports, &diag);
    if (err == ERR_OK)
        err =
            shelf_compaction_open(care->parts->shelf, import_register_knows, &care->imports, &diag, &care->compaction);
    bool ran = importer_is_busy(care->importer, &after) || after != before;
    if (ran) care->looked_end = -1;
    bool goes_on = err == ERR_OK && !ran && shelf_compaction_wanted(care->compaction);
    if (goes_on && !store_turn_begin(care->parts->store)) {
        care->looked_end = -1;
        goes_on = false;
    }
    if (!goes_on) forget(care);
}

/* A failure is no news here: who reads what is damaged says so, and a log that has failed ends the process. */
static void compact(struct care *care) {
    struct diag diag;
    (void)!shelf_compaction_run(care->compaction, &care->stop, &diag);
    forget(care);
}

/* Below what the tasks have checkpointed nothing is read again. */
static int64_t lowest_wanted(void *context, const struct log_partition *partition) {
    struct task_group *tasks = context;
    int64_t lowest = INT64_MAX;
    for (uint32_t i = 0; i < task_group_count(tasks); i++) {
        struct task_info info;
        task_group_info(tasks, i, &info);
        if (info.partition != log_partition_index(partition) || strcmp(info.topic, log_partition_topic(partition)) != 0)
            continue;
        if (info.checkpoint_offset < lowest) lowest = info.checkpoint_offset;
    }
    return lowest;
}

static void *care_main(void *argument) {
    struct care *care = argument;
    while (!atomic_load(&care->stop)) {
        sys_bell_wait(&care->bell, ROUND_MS);
        int64_t now_ms = timer_ms(care->parts);
        if (now_ms - care->retained_ms >= RETAIN_MS) {
            struct diag diag;
            care->retained_ms = now_ms;
            (void)!log_retain(care->parts->log, sys_wall_ms(care->parts->sys), &diag);
        }
        if (care->compaction == NULL && is_due(care, now_ms)) look(care, now_ms);
        if (care->compaction != NULL && store_turn_over(care->parts->store)) compact(care);
        scrub_step(care->scrub, now_ms);
    }
    return NULL;
}

enum err care_open(const struct engine_parts *parts, struct importer *importer, struct diag *diag,
                   struct care **ret_care) {
    struct care *care = calloc(1, sizeof *care);
    if (care == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory");
    int64_t now_ms = timer_ms(parts);
    *care = (struct care){.parts = parts,
                          .importer = importer,
                          .retained_ms = now_ms - RETAIN_MS + QUIET_MS,
                          .moved_ms = now_ms,
                          .looked_ms = now_ms,
                          .looked_end = -1,
                          .scrub = scrub_open(parts, parts->config->log_scrub_ms, now_ms)};
    log_set_retention_guard(parts->log, lowest_wanted, parts->tasks);
    enum err err = parts->sys->thread_start(parts->sys->context, "care", care_main, care, &care->thread);
    if (err != ERR_OK) {
        scrub_close(&care->scrub);
        free(care);
        return diag_set(diag, err, "the care thread cannot be started");
    }
    *ret_care = care;
    return ERR_OK;
}

void care_close(struct care **care) {
    struct care *c = *care;
    if (c == NULL) return;
    atomic_store(&c->stop, true);
    sys_bell_ring(&c->bell);
    c->parts->sys->thread_join(c->parts->sys->context, &c->thread);
    log_set_retention_guard(c->parts->log, NULL, NULL);
    scrub_close(&c->scrub);
    forget(c);
    free(c);
    *care = NULL;
}
