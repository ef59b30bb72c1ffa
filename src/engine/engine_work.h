/* The engine from the inside: engine.c opens, runs and closes it, tasks.c gives it its candle tasks, rebuild.c its store anew.
 * Only they include this. */
#ifndef ENGINE_ENGINE_WORK_H
#define ENGINE_ENGINE_WORK_H

#include <stdatomic.h>

#include "engine/engine.h"

enum { PRICE_PARTITIONS_MAX = 64 };

struct engine {
    struct engine_parts parts;
    struct config config;
    enum engine_mode mode;
    bool rebuild; /* the store is made beside the old one */
    struct log_partition *prices[PRICE_PARTITIONS_MAX];
    uint32_t prices_count;
    struct zones *zones;
    struct server *server;
    struct market *markets[CONFIG_SOURCES_MAX];
    uint32_t market_count;
    struct sys_thread *keeper; /* status records */
    struct care *care;
    struct sys_bell keeper_bell;
    struct importer *importer;
    atomic_bool live; /* the tasks have threads */
    atomic_bool stop;
    void (*failed)(void *context);
    void *failed_context;
    struct log_partition *prices_invalid;
};

/* --- engine.c --- */

enum err engine_open_as(const struct sys *sys, const struct config *config, enum engine_mode mode, bool rebuild,
                        struct diag *diag, struct engine **ret_engine) MUST_USE;

/* --- rebuild.c: the folders of stores --- */

enum { STORE_PATH_MAX = CONFIG_TEXT_MAX + 16 };
#define STORE_NEW "store.new"
#define STORE_OLD "store.old"
void store_path(const struct engine *engine, const char *name, char path[static STORE_PATH_MAX]);
/* Before the store is opened, under the log's lock: what an earlier rebuild left is dealt with, or told. */
enum err store_prepare(struct engine *engine, struct diag *diag) MUST_USE;
/* Under the log's lock still: a new store that has not taken its place is removed. */
void store_forget_new(struct engine *engine);

/* --- tasks.c --- */

/* Topic `prices` and those of venues, which are made where missing, and a task for each partition. */
enum err engine_open_tasks(struct engine *engine, struct diag *diag) MUST_USE;

#endif
