/* The candle tasks of a folder: one for each partition of topic `prices`, for each topic of a venue, and for the series of all
 * venues that no decoder reads, which come by imports alone. */
#include <stdio.h>

#include "engine/engine_work.h"
#include "sys/phase.h"
#include "venue/venue.h"

static enum err make_topic(struct engine *engine, const char *name, uint32_t partitions, struct diag *diag) {
    if (engine->mode == ENGINE_LOOK) return ERR_OK;
    int64_t raw_ms = engine->config.retention_raw_ms;
    const struct log_topic_options options = {
        .partition_count = partitions,
        .retention_ms = raw_ms == INT64_MAX ? 0 : raw_ms,
    };
    enum err err = log_topic_create(engine->parts.log, name, &options, diag);
    return err == ERR_EXISTS ? log_topic_set_retention(engine->parts.log, name, options.retention_ms) : err;
}

/* NULL where a folder that is only looked at does not have it. */
static enum err find_partition(struct engine *engine, const char *topic, uint32_t index, struct diag *diag,
                               struct log_partition **ret_partition) {
    struct log_partition *partition = NULL;
    enum err err = log_partition_find(engine->parts.log, topic, index, &partition);
    if (err == ERR_NOT_FOUND && engine->mode == ENGINE_LOOK) err = ERR_OK;
    if (err != ERR_OK) return diag_set(diag, err, "topic %s, partition %u cannot be opened", topic, index);
    *ret_partition = partition;
    return ERR_OK;
}

static enum err open_decoder(struct engine *engine, enum series_kind kind, const char *venue,
                             struct event_decoder **ret_decoder) {
    if (kind == SERIES_PRICE) return price_event_decoder_open(engine->parts.series, ret_decoder);
    if (venue[0] == '\0') return refusing_decoder_open(ret_decoder);
    return venue_event_decoder_open(venue, engine->parts.series, ret_decoder);
}

static enum err add_task(struct engine *engine, const char *topic, uint32_t index, enum series_kind kind,
                         const char *venue, struct diag *diag) {
    struct log_partition *input = NULL, *late = NULL, *invalid = NULL;
    char name[LOG_TOPIC_NAME_MAX + 32];
    enum err err = find_partition(engine, topic, index, diag, &input);
    if (err != ERR_OK || input == NULL) return err;
    snprintf(name, sizeof name, "%s.late", topic);
    if ((err = make_topic(engine, name, 1, diag)) == ERR_OK) err = find_partition(engine, name, 0, diag, &late);
    snprintf(name, sizeof name, "%s.invalid", topic);
    if (err == ERR_OK && (err = make_topic(engine, name, 1, diag)) == ERR_OK)
        err = find_partition(engine, name, 0, diag, &invalid);
    if (err != ERR_OK) return err;

    struct event_decoder *decoder = NULL;
    err = open_decoder(engine, kind, venue, &decoder);
    if (err != ERR_OK) return diag_set(diag, err, "the decoder of topic %s cannot be opened", topic);
    snprintf(name, sizeof name, "candles/%s/%u", topic, index);
    const struct candle_task_options options = {
        .name = name,
        .log = engine->parts.log,
        .input = input,
        .store = engine->parts.store,
        .shelf = engine->parts.shelf,
        .series = engine->parts.series,
        .latest = engine->parts.latest,
        .decoder = decoder,
        .base_ms = engine->parts.base_ms,
        .price_grace_ms = (uint32_t)engine->config.candles_grace_ms,
        .refold = engine->rebuild,
        .seal_rest = phase_seal_rest(),
        .late = late,
        .invalid = invalid,
        .read_only = engine->mode == ENGINE_LOOK,
    };
    struct processor *processor = NULL;
    if ((err = candle_processor_open(&options, diag, &processor)) != ERR_OK) {
        decoder->ops->close(&decoder);
        return err;
    }
    struct task *task = NULL;
    if ((err = task_group_add(engine->parts.tasks, name, input, processor, diag, &task)) != ERR_OK) {
        processor->ops->close(&processor);
        return err;
    }
    if ((err = candle_desk_add(engine->parts.desk, kind, venue, task, processor)) != ERR_OK)
        return diag_set(diag, err, "too many candle tasks");
    if (kind != SERIES_PRICE) return ERR_OK;
    engine->prices[engine->prices_count++] = input;
    engine->prices_invalid = invalid;
    return ERR_OK;
}

static const char venue_prefix[] = "inbound-data-", other_venues[] = "other";

void engine_venue_topic(const char *venue, char topic[static LOG_TOPIC_NAME_MAX + 1]) {
    snprintf(topic, LOG_TOPIC_NAME_MAX + 1, "%s%s", venue_prefix, venue_is_known(venue) ? venue : other_venues);
}

/* NULL: no topic of venues. Their .late and .invalid are others'. */
static const char *venue_of_topic(const char *topic) {
    if (strncmp(topic, venue_prefix, sizeof venue_prefix - 1) != 0) return NULL;
    const char *venue = topic + sizeof venue_prefix - 1;
    return strchr(venue, '.') == NULL ? venue : NULL;
}

bool engine_is_foreign_topic(const char *topic) {
    const char *venue = venue_of_topic(topic);
    return venue != NULL && !venue_is_known(venue) && strcmp(venue, other_venues) != 0;
}

static bool has_task(const struct engine *engine, const char *topic) {
    for (uint32_t i = 0; i < task_group_count(engine->parts.tasks); i++) {
        struct task_info info;
        task_group_info(engine->parts.tasks, i, &info);
        if (strcmp(info.topic, topic) == 0) return true;
    }
    return false;
}

static uint32_t partition_count(struct log *log, const char *topic) {
    struct log_partition *partition;
    uint32_t count = 0;
    while (log_partition_find(log, topic, count, &partition) == ERR_OK) count++;
    return count;
}

/* What is in another partition would never be folded. */
static enum err check_partitions(struct engine *engine, const char *topic, struct diag *diag) {
    uint32_t count = partition_count(engine->parts.log, topic);
    if (count <= 1) return ERR_OK;
    diag_set(diag, ERR_CONFLICT, "topic %s has %u partitions, and one is all that its task reads", topic, count);
    diag_hint(diag, "wick topic copy %s %s --to-data DIR makes a folder in which it has one", topic, topic);
    return ERR_CONFLICT;
}

enum err engine_add_venue(struct engine *engine, const char *venue, bool (*cancelled)(void *context), void *context,
                          struct diag *diag) {
    char topic[LOG_TOPIC_NAME_MAX + 1];
    const char *whose = venue_is_known(venue) ? venue : ""; /* "": all that have no topic of their own */
    engine_venue_topic(venue, topic);
    enum err err = make_topic(engine, topic, 1, diag);
    if (err == ERR_OK) err = check_partitions(engine, topic, diag);
    if (err != ERR_OK || has_task(engine, topic)) return err;
    if ((err = task_group_hold(engine->parts.tasks, TASK_STOP, cancelled, context, diag)) != ERR_OK) return err;
    err = add_task(engine, topic, 0, SERIES_TRADE, whose, diag);
    if (err == ERR_OK && engine_is_live(engine) && (err = api_watch_tasks(engine->parts.api)) != ERR_OK)
        diag_set(diag, err, "the stream cannot watch %s", venue);
    task_group_release(engine->parts.tasks);
    return err;
}

struct adding {
    struct engine *engine;
    bool (*cancelled)(void *context);
    void *context;
    struct diag *diag;
};

static enum err visit_topic(void *context, const struct log_topic_info *info) {
    const struct adding *adding = context;
    const char *venue = venue_of_topic(info->name);
    if (venue == NULL || engine_is_foreign_topic(info->name)) return ERR_OK;
    return engine_add_venue(adding->engine, venue, adding->cancelled, adding->context, adding->diag);
}

enum err engine_add_venues(struct engine *engine, bool (*cancelled)(void *context), void *context, struct diag *diag) {
    struct adding adding = {engine, cancelled, context, diag};
    return log_topic_visit(engine->parts.log, visit_topic, &adding);
}

/* As many as the folder was made with: a record in one without a task would never be folded. */
static enum err open_prices(struct engine *engine, struct diag *diag) {
    uint32_t wanted = (uint32_t)engine->config.prices_partitions;
    enum err err = make_topic(engine, "prices", wanted > 0 ? wanted : 1, diag);
    uint32_t count = partition_count(engine->parts.log, "prices");
    if (err == ERR_OK && count > PRICE_PARTITIONS_MAX)
        return diag_set(diag, ERR_LIMIT, "topic prices has %u partitions; %d is the most", count, PRICE_PARTITIONS_MAX);
    if (err == ERR_OK && count > 0 && wanted > 0 && wanted != count) {
        diag_set(diag, ERR_CONFLICT, "topic prices of this folder has %u partitions, not %u", count, wanted);
        diag_hint(diag, "the number never changes: say topics.prices_partitions: %u, or leave it out", count);
        config_where(&engine->config, "topics.prices_partitions", diag);
        return ERR_CONFLICT;
    }
    for (uint32_t i = 0; err == ERR_OK && i < count; i++) err = add_task(engine, "prices", i, SERIES_PRICE, "", diag);
    return err;
}

/* Nobody waits for what an import folds: its checkpoints are as far apart as they may be. */
static uint64_t checkpoint_bytes(const struct engine *engine) {
    return engine->mode == ENGINE_WORK ? UINT64_MAX : (uint64_t)engine->config.checkpoint_bytes;
}

enum err engine_open_tasks(struct engine *engine, struct diag *diag) {
    struct engine_parts *parts = &engine->parts;
    const struct task_group_options options = {
        .sys = parts->sys,
        .log = parts->log,
        .store = parts->store,
        .checkpoint_ms = engine->config.checkpoint_ms,
        .checkpoint_log_bytes = checkpoint_bytes(engine),
        .read_only = engine->mode == ENGINE_LOOK,
    };
    enum err err = task_group_open(&options, diag, &parts->tasks);
    if (err == ERR_OK) err = open_prices(engine, diag);
    if (err == ERR_OK && engine->config.source_count > 0 && engine->mode == ENGINE_SERVE)
        err = engine_add_venue(engine, "binance", NULL, NULL, diag);
    return err == ERR_OK ? engine_add_venues(engine, NULL, NULL, diag) : err;
}
