/* The engine from the inside: engine.c opens, runs and closes it, tasks.c gives it its candle tasks. Only they include this. */
#ifndef ENGINE_ENGINE_WORK_H
#define ENGINE_ENGINE_WORK_H

#include <stdatomic.h>

#include "engine/engine.h"

enum { PRICE_PARTITIONS_MAX = 64, MARKETS_MAX = 8 };

struct engine {
    struct engine_parts parts;
    struct config config;
    enum engine_mode mode;
    struct log_partition *prices[PRICE_PARTITIONS_MAX];
    uint32_t prices_count;
    struct zones *zones;
    struct server *server;
    struct market *markets[MARKETS_MAX];
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

/* --- tasks.c --- */

/* Topic `prices` and those of venues, which are made where missing, and a task for each partition. */
enum err engine_open_tasks(struct engine *engine, struct diag *diag) MUST_USE;

#endif
