/* Copying: every message of a file into its topic, where the tasks fold it. */
#include <stdlib.h>

#include "engine/import_work.h"

enum { LIVE_BYTES = 1024 * 1024, LOOK_MS = 20 };

struct target {
    struct output *output;
    uint32_t pending_bytes;
};

struct copy {
    struct import *import;
    struct target *targets; /* one a partition */
    uint32_t target_count;
    int64_t now_ms; /* append time of what was read together */
    uint64_t unflushed_bytes;
};

static enum err copy_record(struct copy *copy, struct slice key, struct slice value) {
    enum { COPY_BATCH_BYTES = 256 * 1024 };
    const struct record record = {.timestamp_ms = copy->now_ms, .key = key, .value = value};
    struct target *target = copy->targets;
    copy->import->result.messages++;
    if (copy->target_count > 1) target += log_partition_for_key(key, copy->target_count);
    enum err err = output_add(target->output, &record);
    target->pending_bytes += (uint32_t)(value.size + key.size);
    if (err == ERR_OK && target->pending_bytes >= COPY_BATCH_BYTES) {
        err = output_submit(target->output);
        copy->unflushed_bytes += target->pending_bytes;
        target->pending_bytes = 0;
    }
    return err;
}

/* The first error of what `each` says of the partitions' outputs; all of them are asked. */
static enum err for_targets(const struct copy *copy, enum err (*each)(struct output *output)) {
    enum err first = ERR_OK;
    for (uint32_t i = 0; i < copy->target_count; i++) {
        enum err err = each(copy->targets[i].output);
        if (first == ERR_OK) first = err;
    }
    return first;
}

static enum err flush(struct output *output) { return output_flush(output, false); }
static enum err error_of(struct output *output) { return output_err(output); }

/* A series' name, without looking for its end. */
static struct slice name_of(const struct series *series) {
    return slice_of(series->name, (size_t)((const char *)series->quote.data + series->quote.size - series->name));
}

/* A record a message. */
static enum err copy_events(struct copy *copy, uint32_t count) {
    struct import *import = copy->import;
    bool prices = import_format_of(import->reader) == IMPORT_PRICE_EVENTS;
    bool frames = import_format_of(import->reader) == IMPORT_HUOBI_FRAMES; /* each is read by itself */
    enum err err = ERR_OK;
    copy->now_ms = sys_wall_ms(import->parts->sys);
    for (uint32_t i = 0; i < count && err == ERR_OK; i++) {
        uint64_t line;
        struct slice source;
        const struct series *series = series_get(import->parts->series, import->events[i].series);
        import_touch_range(import, import->events[i].time_ms);
        if (frames && i > 0) continue;
        if ((err = import_source(import->reader, i, &line, &source)) != ERR_OK) return err;
        err = copy_record(copy, prices ? name_of(series) : slice_text(series->symbol), source);
    }
    import->counts.read += count;
    return err;
}

static enum err log_failed(const struct import *import, enum err err) {
    return err == ERR_OK ? err : diag_set(import->diag, err, "the log: %s", err_message(err));
}

/* Until all of it is on disk. Tasks that are behind are waited for, however long their checkpoint takes: a file can wait,
 * other than a client. */
static enum err settle(const struct copy *copy) {
    struct import *import = copy->import;
    struct sys_bell nobody = {0};
    for (;;) {
        enum err err = for_targets(copy, flush);
        if (err != ERR_BUSY) return log_failed(import, err);
        if ((err = task_group_refusal(import->parts->tasks)) != ERR_OK)
            return diag_set(import->diag, err, "a checkpoint: %s", err_message(err));
        if ((err = import_tell_progress(import)) != ERR_OK) return err;
        sys_bell_wait(&nobody, LOOK_MS);
    }
}

/* Beside live tasks, little is on its way at a time: it stands in line with what others append. */
static enum err copied_some(struct copy *copy) {
    struct import *import = copy->import;
    bool live = engine_is_live(import->engine);
    if (live && copy->unflushed_bytes < LIVE_BYTES) return ERR_OK;
    copy->unflushed_bytes = 0;
    enum err err = live ? ERR_BUSY : for_targets(copy, error_of);
    return err == ERR_BUSY ? settle(copy) : log_failed(import, err);
}

static enum err copy_step(struct import *import, void *context, uint32_t count) {
    (void)import;
    enum err err = copy_events(context, count);
    return err == ERR_OK ? copied_some(context) : err;
}

static enum err copy_and_sync(struct copy *copy) {
    struct import *import = copy->import;
    enum err err = import_read_all(import, copy_step, copy);
    if (err == ERR_OK) err = for_targets(copy, output_submit);
    enum err settled = settle(copy);
    if (err == ERR_OK) err = settled;
    if (err == ERR_OK) err = output_submit(import->invalid);
    return err == ERR_OK ? log_failed(import, output_flush(import->invalid, false)) : err;
}

/* Without a server, the tasks get their threads for as long as this takes: reading and appending here, syncing, and folding
 * what is synced go on side by side. */
static enum err copy_and_fold(struct copy *copy) {
    struct import *import = copy->import;
    struct task_group *tasks = import->parts->tasks;
    if (engine_is_live(import->engine)) return copy_and_sync(copy);
    enum err err = task_group_start(tasks, import->diag);
    if (err != ERR_OK) return err;
    err = copy_and_sync(copy);
    if (err == ERR_OK) err = task_group_wait(tasks, import->diag);
    enum err stopped = task_group_stop(tasks, err == ERR_OK ? import->diag : NULL);
    return err == ERR_OK ? stopped : err;
}

static enum err open_targets(struct copy *copy) {
    struct import *import = copy->import;
    struct log_partition *partition = NULL;
    bool prices = import_format_of(import->reader) == IMPORT_PRICE_EVENTS;
    char topic[LOG_TOPIC_NAME_MAX + 1];
    enum err err = ERR_OK;
    engine_venue_topic(import_venue(import->reader), topic);
    if (!prices && (err = log_partition_find(import->parts->log, topic, 0, &partition)) != ERR_OK)
        return diag_set(import->diag, err, "topic %s cannot be opened", topic);
    uint32_t count = prices ? engine_prices_count(import->engine) : 1;
    char name[IMPORT_OUTPUT_MAX];
    import_output_name(import, "copy", name);
    copy->targets = calloc(count, sizeof *copy->targets);
    if (copy->targets == NULL) return diag_set(import->diag, ERR_NO_MEMORY, "no memory for the import");
    for (; err == ERR_OK && copy->target_count < count; copy->target_count++) {
        if (prices) partition = engine_prices(import->engine, copy->target_count);
        err = output_open(import->parts->log, partition, name, &copy->targets[copy->target_count].output);
    }
    return err;
}

enum err import_copy(struct import *import) {
    struct copy copy = {.import = import};
    import->result.copied = true;
    enum err err = open_targets(&copy);
    if (err == ERR_OK) err = copy_and_fold(&copy);
    for (uint32_t i = 0; i < copy.target_count; i++) {
        import->result.written += output_written(copy.targets[i].output);
        output_close(&copy.targets[i].output);
    }
    free(copy.targets);
    import->result.row.ledger = import_ledger_row(&import->counts);
    return err;
}
