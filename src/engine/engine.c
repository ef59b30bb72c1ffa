#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "candle/series_row.h"
#include "engine/engine_work.h"
#include "sys/phase.h"

enum {
    STATUS_MS = 1000,           /* a live source says so this often */
    EXPIRE_MS = 60 * 60 * 1000, /* where nothing comes, time moves on this often: candles expire by it */
};

const struct engine_parts *engine_parts(const struct engine *engine) { return &engine->parts; }

struct log_partition *engine_prices(const struct engine *engine, uint32_t index) {
    return index < engine->prices_count ? engine->prices[index] : NULL;
}

uint32_t engine_prices_count(const struct engine *engine) { return engine->prices_count; }

void engine_socket_path(const char *data, char path[static 108]) {
    if (snprintf(path, 108, "%s/socket", data) >= 108) path[0] = '\0';
}

static int64_t wall_clock(void *context) { return sys_wall_ms(context); }

/* --- opening --- */

static enum err open_log(struct engine *engine, struct diag *diag) {
    char folder[CONFIG_TEXT_MAX + 8];
    snprintf(folder, sizeof folder, "%s/log", engine->config.data);
    bool look = engine->mode == ENGINE_LOOK;
    enum err err = look ? ERR_OK : sys_make_folders(engine->parts.sys, folder, diag);
    if (err != ERR_OK) return err;
    const struct log_options options = {
        .sys = engine->parts.sys,
        .folder = folder,
        .segment_bytes = (uint64_t)engine->config.log_segment_bytes,
        .group_bytes = (uint32_t)engine->config.log_group_bytes,
        .reserve_bytes = (uint64_t)engine->config.log_reserve_bytes,
        .read_only = look,
    };
    return log_open(&options, diag, &engine->parts.log);
}

static enum err open_store(struct engine *engine, struct diag *diag) {
    char folder[STORE_PATH_MAX];
    store_path(engine, engine->rebuild ? STORE_NEW : "store", folder);
    bool look = engine->mode == ENGINE_LOOK;
    enum err err = store_prepare(engine, diag);
    if (err == ERR_OK && !look) err = sys_make_folders(engine->parts.sys, folder, diag);
    if (err != ERR_OK) return err;
    err = store_lmdb_open(engine->parts.sys, folder, (uint64_t)engine->config.store_map_bytes, look, diag,
                          &engine->parts.store);
    /* A log that nobody has folded yet: it is folded in memory. */
    if (err == ERR_NOT_FOUND && look) err = store_memory_open(STORE_MEMORY_TRANSACTIONAL, 1, &engine->parts.store);
    if (err != ERR_OK) return err;
    uint8_t identity[16];
    log_identity(engine->parts.log, identity);
    return store_identify(engine->parts.store, identity, 1, diag);
}

bool engine_is_live(const struct engine *engine) { return atomic_load(&engine->live); }

enum err engine_reload(struct engine *engine, struct diag *diag) {
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < candle_desk_count(engine->parts.desk) && err == ERR_OK; i++) {
        struct processor *processor;
        (void)candle_desk_task_at(engine->parts.desk, i, &processor);
        err = candle_processor_reload(processor, diag);
    }
    return err;
}

enum err engine_open_shelf(const struct engine *engine, struct diag *diag, struct shelf **ret_shelf) {
    const struct engine_parts *parts = &engine->parts;
    const struct config *c = &engine->config;
    const struct shelf_options shelf = {
        .sys = parts->sys,
        .store = parts->store,
        .log = parts->log,
        .series = parts->series,
        .base_ms = parts->base_ms,
        .retention_ms = {c->retention_1m_ms == INT64_MAX ? 0 : c->retention_1m_ms,
                         c->retention_15m_ms == INT64_MAX ? 0 : c->retention_15m_ms,
                         c->retention_1d_ms == INT64_MAX ? 0 : c->retention_1d_ms},
    };
    return shelf_open(&shelf, diag, ret_shelf);
}

/* Rows of another base would not be seen, or be merged wrongly. */
static enum err check_base(const struct engine *engine, struct diag *diag) {
    const bool seconds = engine->parts.base_ms == 1000;
    const char *ours = seconds ? "candles.sealed.1s" : "candles.sealed.1m";
    const char *others = seconds ? "candles.sealed.1m" : "candles.sealed.1s";
    struct log_partition *partition;
    if (log_partition_find(engine->parts.log, ours, 0, &partition) == ERR_OK) return ERR_OK;
    if (log_partition_find(engine->parts.log, others, 0, &partition) != ERR_OK) return ERR_OK;
    diag_set(diag, ERR_CONFLICT, "the folder's candles are of %s, not of %s", seconds ? "1m" : "1s",
             seconds ? "1s" : "1m");
    diag_where(diag, "%s", engine->config.data);
    diag_hint(diag, "candles.base of the configuration stays as it was when the folder was made; use another folder");
    return ERR_CONFLICT;
}

static enum err open_candles(struct engine *engine, struct diag *diag) {
    struct engine_parts *parts = &engine->parts;
    parts->base_ms = strcmp(engine->config.candles_base, "1s") == 0 ? 1000 : 60000;
    enum err err = series_table_open(&parts->series);
    if (err == ERR_OK) err = latest_table_open(&parts->latest);
    if (err == ERR_OK) err = candle_desk_open(&parts->desk);
    if (err == ERR_OK) err = zones_open(parts->sys, &engine->zones);
    if (err != ERR_OK) return diag_set(diag, err, "no memory");
    /* Before any decoder can give a stored series another number. */
    struct store_snapshot *snapshot = NULL;
    if ((err = store_snapshot_open(parts->store, &snapshot)) != ERR_OK)
        return diag_set(diag, err, "the store gives no snapshot");
    err = series_rows_load(parts->series, parts->store, snapshot, diag);
    store_snapshot_close(parts->store, &snapshot);
    if (err == ERR_OK) err = check_base(engine, diag);
    if (err != ERR_OK) return err;
    return engine_open_shelf(engine, diag, &parts->shelf);
}

static enum err open_api(struct engine *engine, struct diag *diag) {
    struct api_base *bases = calloc(engine->config.base_count + 1, sizeof *bases);
    if (bases == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory");
    for (uint32_t i = 0; i < engine->config.base_count; i++) {
        const struct config_base *base = &engine->config.bases[i];
        bases[i] = (struct api_base){base->base, base->quote, base->venue};
    }
    const struct api_options options = {
        .sys = engine->parts.sys,
        .log = engine->parts.log,
        .store = engine->parts.store,
        .series = engine->parts.series,
        .latest = engine->parts.latest,
        .tasks = engine->parts.tasks,
        .desk = engine->parts.desk,
        .folder = engine->config.data,
        .prices = engine->prices,
        .prices_count = engine->prices_count,
        .prices_invalid = engine->prices_invalid,
        .codec = config_codec(&engine->config),
        .base_ms = engine->parts.base_ms,
        .read_only = engine->mode == ENGINE_LOOK,
        .live = engine->mode == ENGINE_SERVE,
        .bases = bases,
        .base_count = engine->config.base_count,
        .zone = zones_find,
        .zone_context = engine->zones,
        .now_ms = wall_clock,
        .now_context = (void *)(uintptr_t)engine->parts.sys,
        .control = engine->importer != NULL ? &importer_control : NULL,
        .control_context = engine->importer,
    };
    enum err err = api_open(&options, diag, &engine->parts.api);
    free(bases);
    return err;
}

enum err engine_open(const struct sys *sys, const struct config *config, enum engine_mode mode, struct diag *diag,
                     struct engine **ret_engine) {
    return engine_open_as(sys, config, mode, false, diag, ret_engine);
}

enum err engine_open_as(const struct sys *sys, const struct config *config, enum engine_mode mode, bool rebuild,
                        struct diag *diag, struct engine **ret_engine) {
    struct engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory");
    engine->config = *config;
    engine->parts.config = &engine->config;
    engine->parts.sys = sys;
    engine->mode = mode;
    engine->rebuild = rebuild;
    phase_begin(PHASE_RECOVERY);
    enum err err = open_log(engine, diag);
    if (err == ERR_OK && mode == ENGINE_WORK) err = log_start(engine->parts.log, diag);
    if (err == ERR_OK) err = open_store(engine, diag);
    if (err == ERR_OK) err = open_candles(engine, diag);
    if (err == ERR_OK) err = engine_open_tasks(engine, diag);
    if (err == ERR_OK && mode == ENGINE_SERVE) err = importer_open(engine, diag, &engine->importer);
    if (err == ERR_OK && mode != ENGINE_WORK) err = open_api(engine, diag);
    phase_end(PHASE_RECOVERY);
    if (err != ERR_OK) {
        engine_close(&engine);
        return err;
    }
    *ret_engine = engine;
    return ERR_OK;
}

/* --- running --- */

struct status_append {
    struct log_append append;
    struct record_batch_builder builder;
    atomic_bool busy;
};

static void status_done(struct log_append *append) {
    struct status_append *status = append->context;
    atomic_store(&status->busy, false);
}

/* POST /v1/prices is a source like any other: while it is there, its status records move the clock that closes candles. */
static void put_status(struct engine *engine, struct status_append *status, struct log_partition *partition) {
    if (atomic_load(&status->busy)) return;
    int64_t now_ms = sys_wall_ms(engine->parts.sys);
    char value[64];
    int size = snprintf(value, sizeof value, "{\"source\":\"http\",\"time\":%lld}", (long long)now_ms);
    const struct record_header header = {SLICE(STATUS_HEADER), SLICE("http")};
    const struct record record = {
        .timestamp_ms = now_ms,
        .value = slice_of(value, (size_t)size),
        .headers = &header,
        .header_count = 1,
    };
    record_batch_begin(&status->builder, RECORD_CODEC_NONE);
    if (record_batch_add(&status->builder, &record) != ERR_OK || record_batch_end(&status->builder) != ERR_OK) return;
    status->append = (struct log_append){
        .partition = partition,
        .batch = status->builder.bytes.data,
        .batch_bytes = (uint32_t)status->builder.bytes.size,
        .record_count = 1,
        .done = status_done,
        .context = status,
    };
    atomic_store(&status->busy, true);
    log_submit(engine->parts.log, &status->append);
}

static void wait_status(struct status_append *status) {
    struct sys_bell bell = {0};
    while (atomic_load(&status->busy)) sys_bell_wait(&bell, 1);
    record_batch_builder_deinit(&status->builder);
}

static void *keeper_main(void *argument) {
    struct engine *engine = argument;
    static const int64_t QUIET_MS = 10 * 60 * 1000;
    bool told = false;
    struct status_append status[PRICE_PARTITIONS_MAX] = {0};
    int64_t seen_end[PRICE_PARTITIONS_MAX] = {0}, active_ms[PRICE_PARTITIONS_MAX] = {0};
    int64_t started_ms = sys_monotonic_ns(engine->parts.sys) / 1000000, told_ms = started_ms;
    for (uint32_t i = 0; i < engine->prices_count; i++) {
        record_batch_builder_init(&status[i].builder);
        seen_end[i] = log_end_offset(engine->prices[i]);
        active_ms[i] = started_ms;
    }
    while (!atomic_load(&engine->stop)) {
        sys_bell_wait(&engine->keeper_bell, STATUS_MS);
        int64_t now_ms = sys_monotonic_ns(engine->parts.sys) / 1000000;
        bool hour = now_ms - told_ms >= EXPIRE_MS;
        if (hour) told_ms = now_ms;
        for (uint32_t i = 0; i < engine->prices_count; i++) {
            /* Ten minutes after the last event every series is no longer live, and the clock has nothing left to close. */
            int64_t end = log_end_offset(engine->prices[i]);
            if (end > seen_end[i] + 1) active_ms[i] = now_ms;
            seen_end[i] = end;
            if (hour || now_ms - active_ms[i] < QUIET_MS) put_status(engine, &status[i], engine->prices[i]);
        }
        if (!told && engine->failed != NULL && engine_failure(engine, NULL) != ERR_OK) {
            told = true;
            engine->failed(engine->failed_context);
        }
    }
    for (uint32_t i = 0; i < engine->prices_count; i++) wait_status(&status[i]);
    return NULL;
}

static struct server_secrets_options server_secrets_of(const struct config *config,
                                                       const char *tokens[static CONFIG_TOKENS_MAX]) {
    for (uint32_t i = 0; i < config->http_token_count; i++) tokens[i] = config->http_tokens[i];
    return (struct server_secrets_options){
        .certificate = config->http_certificate[0] != '\0' ? config->http_certificate : NULL,
        .key = config->http_key[0] != '\0' ? config->http_key : NULL,
        .token_sha256 = tokens,
        .token_count = config->http_token_count,
    };
}

enum err engine_renew_secrets(struct engine *engine, const struct config *config, struct diag *diag) {
    const char *tokens[CONFIG_TOKENS_MAX];
    const struct server_secrets_options secrets = server_secrets_of(config, tokens);
    enum err err = server_reload(engine->server, &secrets, diag);
    if (err == ERR_CONFLICT) config_where(config, "http.certificate", diag);
    if (err == ERR_DENIED) config_where(config, "http.tokens", diag);
    if (err != ERR_OK) diag_where(diag, "%s", config->origin.name);
    return err;
}

static enum err start_server(struct engine *engine, struct diag *diag) {
    const struct config *c = &engine->config;
    const char *tokens[CONFIG_TOKENS_MAX];
    char socket_path[108];
    engine_socket_path(c->data, socket_path);
    const struct server_options options = {
        .sys = engine->parts.sys,
        .listen = c->http_listen,
        .unix_path = socket_path[0] != '\0' ? socket_path : NULL,
        .secrets = server_secrets_of(c, tokens),
        .allow_public = c->http_public,
        .threads = (uint32_t)c->http_threads,
        .connections_max = (uint32_t)c->http_connections,
        .address_connections_max = (uint32_t)c->http_address_connections,
        .address_requests_max = (uint32_t)c->http_address_requests,
        .body_max_bytes = (size_t)c->http_body_bytes,
        .memory_max_bytes = (size_t)c->http_memory_bytes,
        .handler = api_handler(engine->parts.api),
        .websocket = api_websocket(),
        .websocket_context = engine->parts.api,
    };
    enum err err = server_open(&options, diag, &engine->server);
    if (err == ERR_CONFLICT) config_where(c, "http.certificate", diag);
    if (err == ERR_OK) api_set_server(engine->parts.api, engine->server);
    return err;
}

enum err engine_start(struct engine *engine, struct diag *diag) {
    assert(engine->mode == ENGINE_SERVE);
    const struct sys *sys = engine->parts.sys;
    enum err err = log_start(engine->parts.log, diag);
    if (err == ERR_OK) err = task_group_start(engine->parts.tasks, diag);
    if (err == ERR_OK) atomic_store(&engine->live, true);
    if (err == ERR_OK) err = start_server(engine, diag);
    if (err == ERR_OK) err = sys->thread_start(sys->context, "keeper", keeper_main, engine, &engine->keeper);
    if (err == ERR_OK) err = care_open(&engine->parts, engine->importer, diag, &engine->care);
    for (uint32_t i = 0; err == ERR_OK && i < engine->config.source_count; i++) {
        err = market_open(engine, &engine->config.sources[i], diag, &engine->markets[engine->market_count]);
        if (err == ERR_OK) engine->market_count++;
    }
    return err;
}

void engine_on_failure(struct engine *engine, void (*failed)(void *context), void *context) {
    engine->failed = failed;
    engine->failed_context = context;
}

/* A task that has stopped for one of these goes on after the next start. What is damaged is another matter: the rest of it is
 * still served. */
enum err engine_failure(const struct engine *engine, struct diag *diag) {
    enum err err = log_failure(engine->parts.log);
    if (err != ERR_OK) return diag_set(diag, err, "the log: %s", err_message(err));
    for (uint32_t i = 0; i < task_group_count(engine->parts.tasks); i++) {
        struct task_info info;
        task_group_info(engine->parts.tasks, i, &info);
        if (err_class(info.err) == ERR_CLASS_IO || info.err == ERR_NO_MEMORY)
            return diag_set(diag, info.err, "task %s: %s", info.name, info.error);
    }
    return ERR_OK;
}

const char *engine_address(const struct engine *engine) { return server_address(engine->server); }

enum err engine_catch_up(struct engine *engine, struct diag *diag) {
    return task_group_catch_up(engine->parts.tasks, diag);
}

void engine_pump(void *context) {
    struct engine *engine = context;
    struct diag diag;
    bool worked;
    (void)!task_group_step(engine->parts.tasks, &diag, &worked);
}

void engine_close(struct engine **engine) {
    struct engine *e = *engine;
    if (e == NULL) return;
    for (uint32_t i = 0; i < e->market_count; i++) market_close(&e->markets[i]);
    atomic_store(&e->stop, true);
    if (e->server != NULL) {
        api_set_server(e->parts.api, NULL);
        server_close(&e->server);
    }
    if (e->keeper != NULL) {
        sys_bell_ring(&e->keeper_bell);
        e->parts.sys->thread_join(e->parts.sys->context, &e->keeper);
    }
    care_close(&e->care);
    importer_close(&e->importer);
    task_group_close(&e->parts.tasks);
    if (e->parts.api != NULL) api_close(&e->parts.api);
    if (e->parts.desk != NULL) candle_desk_close(&e->parts.desk);
    if (e->parts.shelf != NULL) shelf_close(&e->parts.shelf);
    if (e->parts.latest != NULL) latest_table_close(&e->parts.latest);
    if (e->parts.series != NULL) series_table_close(&e->parts.series);
    zones_close(&e->zones);
    if (e->parts.store != NULL) {
        store_close(&e->parts.store);
        if (e->rebuild) store_forget_new(e);
    }
    if (e->parts.log != NULL) log_close(&e->parts.log);
    free(e);
    *engine = NULL;
}
