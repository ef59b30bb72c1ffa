/* The engine: a data folder opened, its parts wired together by the configuration, and its life cycle. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "api/api.h"
#include "engine/config.h"

struct engine;

enum engine_mode {
    ENGINE_SERVE, /* writes; `engine_start` gives it threads */
    ENGINE_WORK,  /* writes, only the log has its thread: imports */
    ENGINE_LOOK,  /* reads a folder and folds what is new in memory; nothing is written */
};

/* ERR_LOCKED: somebody else writes the folder. ENGINE_LOOK of a folder that is not there: ERR_NOT_FOUND. */
enum err engine_open(const struct sys *sys, const struct config *config, enum engine_mode mode, struct diag *diag,
                     struct engine **ret_engine) MUST_USE;
/* Last checkpoint, clean log. */
void engine_close(struct engine **engine);
/* Committer, tasks, status records, server. */
enum err engine_start(struct engine *engine, struct diag *diag) MUST_USE;
/* A failed sync is final: nothing more is acknowledged, and `failed` is called once, on a thread of the engine's, so that the
 * process can end and the next start can look at what is on the disk. Before engine_start. */
void engine_on_failure(struct engine *engine, void (*failed)(void *context), void *context);
/* ERR_OK, or with what the disk failed the log or the store. */
enum err engine_failure(const struct engine *engine, struct diag *diag);
const char *engine_address(const struct engine *engine);
/* Tokens and TLS files of a configuration that was read again; nothing else of it. After engine_start. */
enum err engine_renew_secrets(struct engine *engine, const struct config *config, struct diag *diag) MUST_USE;
/* Folds everything durable (modes without threads). */
enum err engine_catch_up(struct engine *engine, struct diag *diag) MUST_USE;
/* One turn of what would otherwise be threads: for http_local's pump. */
void engine_pump(void *engine);

/* The store made anew: index rows of sealed blocks, the import register and everything that the log holds, in a folder beside
 * the old one, which becomes `store.old` only when the new one is whole. The engine is as of ENGINE_WORK. ERR_EXISTS where there is
 * a `store.old`; ERR_OK with `diag` set tells what could not be read. */
enum err engine_rebuild(const struct sys *sys, const struct config *config, struct diag *diag,
                        struct engine **ret_engine) MUST_USE;

/* The parts, for what the engine's other files do with them. */
struct engine_parts {
    const struct sys *sys;
    const struct config *config;
    struct log *log;
    struct store *store;
    struct series_table *series;
    struct latest_table *latest;
    struct shelf *shelf;
    struct task_group *tasks;
    struct candle_desk *desk;
    struct api *api;
    uint32_t base_ms;
};
const struct engine_parts *engine_parts(const struct engine *engine);
/* Its tasks have threads of their own. */
bool engine_is_live(const struct engine *engine);
/* Another shelf over the same log and store, for a writer beside the tasks. */
enum err engine_open_shelf(const struct engine *engine, struct diag *diag, struct shelf **ret_shelf) MUST_USE;
/* The store changed under the tasks, which are stopped: they read their books anew. */
enum err engine_reload(struct engine *engine, struct diag *diag) MUST_USE;
/* The topic of a venue, `inbound-data-<venue>`; of all those that no decoder reads together: `inbound-data-other`. */
void engine_venue_topic(const char *venue, char topic[static LOG_TOPIC_NAME_MAX + 1]);
/* Named like a venue's topic, but no decoder reads it: it is left alone. */
bool engine_is_foreign_topic(const char *topic);
/* The candle task of a venue's topic, both made where missing. One caller at a time. ERR_CLOSED: `cancelled` (may be NULL)
 * said so while the tasks' last checkpoint was waited for. */
enum err engine_add_venue(struct engine *engine, const char *venue, bool (*cancelled)(void *context), void *context,
                          struct diag *diag) MUST_USE;
/* The same for each venue whose topic is there. */
enum err engine_add_venues(struct engine *engine, bool (*cancelled)(void *context), void *context,
                           struct diag *diag) MUST_USE;

/* Of topic `prices`; NULL past the last. */
struct log_partition *engine_prices(const struct engine *engine, uint32_t index);
uint32_t engine_prices_count(const struct engine *engine);

/* The Unix socket of a data folder. */
void engine_socket_path(const char *data, char path[static 108]);

/* --- importer.c: imports that commands ask a running wick for, one after the other on a thread --- */
struct importer;
enum err importer_open(struct engine *engine, struct diag *diag, struct importer **ret_importer) MUST_USE;
/* What is not committed is given up. */
void importer_close(struct importer **importer);
extern const struct control_ops importer_control; /* its context: the importer */
/* Whether an import is under way, and how many have begun. */
bool importer_is_busy(struct importer *importer, uint64_t *ret_begun);

/* --- rebuild.c: the imports that were committed, as their topic says --- */
struct import_register {
    struct store_batch *batch; /* NULL, or gets their rows */
    uint64_t *origins;
    size_t count, capacity;
};
enum err import_register_read(const struct engine_parts *parts, struct import_register *rows,
                              struct diag *diag) MUST_USE;
void import_register_deinit(struct import_register *rows);
bool import_register_knows(const void *rows, uint64_t origin);

/* --- scrub.c: damage is looked for --- */
struct scrub;
/* A round begins every so often (INT64_MAX: never), times being those of a clock that does not jump. NULL: no memory. */
struct scrub *scrub_open(const struct engine_parts *parts, int64_t every_ms, int64_t now_ms);
/* Reads on, a little, where a round is under way or due. NULL: nothing. */
void scrub_step(struct scrub *scrub, int64_t now_ms);
void scrub_close(struct scrub **scrub);

/* --- care.c: retention, compaction, looking for damage --- */
struct care;
enum err care_open(const struct engine_parts *parts, struct importer *importer, struct diag *diag,
                   struct care **ret_care) MUST_USE;
/* Stops its thread, in the middle of a segment if need be. */
void care_close(struct care **care);

/* --- decoders.c --- */
enum err price_event_decoder_open(struct series_table *series, struct event_decoder **ret_decoder) MUST_USE;
enum err venue_event_decoder_open(const char *venue, struct series_table *series,
                                  struct event_decoder **ret_decoder) MUST_USE;
/* Every message is invalid: of venues whose messages nobody can read. */
enum err refusing_decoder_open(struct event_decoder **ret_decoder) MUST_USE;

/* --- zones.c --- */
struct zones;
enum err zones_open(const struct sys *sys, struct zones **ret_zones) MUST_USE;
void zones_close(struct zones **zones);
/* By name (from the system's zoneinfo) or offset; lives as long as `zones`. Any thread. */
enum err zones_find(void *zones, struct slice name, struct diag *diag, const struct zone **ret_zone) MUST_USE;

/* --- market.c: the demo's live market, a source --- */
struct market;
enum err market_open(struct engine *engine, const struct config_source *source, struct diag *diag,
                     struct market **ret_market) MUST_USE;
/* Stops its thread. */
void market_close(struct market **market);

#endif
