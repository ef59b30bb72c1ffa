#include "engine/import.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "candle/latest_row.h"
#include "flow/output.h"

enum {
    EVENTS_MAX = 2048,
    KLINES_MAX = 1440,
    PROGRESS_EVENTS = 64 * 1024,
    BATCH_BYTES_MAX = 1024 * 1024 * 1024,
};

struct import {
    const struct engine_parts *parts;
    struct engine *engine;
    const struct import_request *request;
    struct input *input;
    struct import_reader *reader;
    struct book *book;
    struct output *invalid, *late;
    struct event *events;
    enum event_fate *fates;
    struct candle *klines;
    struct event *newest; /* of each series, to be its latest price; time_ms 0: none */
    uint32_t newest_count;
    struct book_counts counts;
    struct import_result result;
    uint64_t since_progress;
    struct diag *diag;
};

/* --- refused and late, into imports.invalid and imports.late --- */

static enum err put_refused(struct import *import, struct output *output, const struct import_item *item,
                            const char *reason) {
    char line[24];
    snprintf(line, sizeof line, "%llu", (unsigned long long)item->line);
    const struct record_header headers[] = {
        {SLICE("reason"), slice_text(reason)},
        {SLICE("detail"), slice_text(item->reason)},
        {SLICE("file"), slice_text(import->request->path)},
        {SLICE("line"), slice_text(line)},
    };
    const struct record record = {
        .timestamp_ms = sys_wall_ms(import->parts->sys),
        .value = item->source,
        .headers = headers,
        .header_count = 4,
    };
    enum err err = output_add(output, &record);
    if (err == ERR_TOO_LARGE && (err = output_submit(output)) == ERR_OK) err = output_add(output, &record);
    return err;
}

static enum err put_late(struct import *import, uint32_t index) {
    struct import_item item = {0};
    enum err err = import_source(import->reader, index, &item.line, &item.source);
    return err != ERR_OK ? err : put_refused(import, import->late, &item, "late");
}

/* --- folding --- */

static void touch_range(struct import *import, int64_t time_ms) {
    struct import_row *row = &import->result.row;
    if (row->from_ms < 0 || time_ms < row->from_ms) row->from_ms = time_ms;
    if (time_ms > row->to_ms) row->to_ms = time_ms;
}

static enum err grow_newest(struct import *import, uint32_t series) {
    uint32_t count = import->newest_count == 0 ? 1024 : import->newest_count;
    while (count <= series) count *= 2;
    struct event *newest = aligned_alloc(64, count * sizeof *newest);
    if (newest == NULL) return ERR_NO_MEMORY;
    if (import->newest != NULL) memcpy(newest, import->newest, import->newest_count * sizeof *newest);
    memset(newest + import->newest_count, 0, (count - import->newest_count) * sizeof *newest);
    free(import->newest);
    import->newest = newest;
    import->newest_count = count;
    return ERR_OK;
}

/* The table of latest prices is for readers on other threads; a file's thousands a series need not all go through it. */
static enum err keep_newest(struct import *import, const struct event *event) {
    enum err err = ERR_OK;
    if (event->series >= import->newest_count && (err = grow_newest(import, event->series)) != ERR_OK) return err;
    struct event *newest = &import->newest[event->series];
    if (event->time_ms < newest->time_ms) return ERR_OK;
    if (event->time_ms == newest->time_ms && newest->time_ms != 0)
        err = latest_offer(import->parts->latest, newest, -1); /* order within a time is the table's business */
    *newest = *event;
    return err;
}

static enum err offer_newest(struct import *import) {
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < import->newest_count && err == ERR_OK; i++)
        if (import->newest[i].time_ms != 0) err = latest_offer(import->parts->latest, &import->newest[i], -1);
    return err;
}

static enum err fold_events(struct import *import, uint32_t count) {
    if (count == 0) return ERR_OK;
    uint64_t late_before = import->counts.fate[FATE_LATE];
    enum err err = book_apply(import->book, import->events, NULL, count, import->fates, &import->counts, import->diag);
    for (uint32_t i = 0; err == ERR_OK && i < count; i++) {
        if (import->fates[i] == FATE_USED) {
            touch_range(import, import->events[i].time_ms);
            err = keep_newest(import, &import->events[i]);
        }
    }
    if (import->counts.fate[FATE_LATE] == late_before) return err;
    for (uint32_t i = 0; err == ERR_OK && i < count; i++)
        if (import->fates[i] == FATE_LATE) err = put_late(import, i);
    return err;
}

static enum err refuse_item(struct import *import, struct import_item *item, const char *reason) {
    import->counts.read++;
    import->counts.fate[FATE_INVALID]++;
    return put_refused(import, import->invalid, item, reason);
}

static enum err take_item(struct import *import, struct import_item *item) {
    switch (item->kind) {
        case IMPORT_REJECT: return refuse_item(import, item, err_name(item->err));
        default: import->result.skipped++; return ERR_OK;
    }
}

static void report_progress(struct import *import, uint32_t count) {
    import->since_progress += count + 1;
    if (import->request->progress == NULL || import->since_progress < PROGRESS_EVENTS) return;
    import->since_progress = 0;
    struct input_progress progress;
    input_progress(import->input, &progress);
    import->request->progress(import->request->context, &progress);
}

static enum err read_all(struct import *import) {
    for (;;) {
        struct import_item item;
        bool has_item = false;
        uint32_t count = 0;
        enum err err = import_read(import->reader, import->events, EVENTS_MAX, import->diag, &count, &item, &has_item);
        bool end = err == ERR_END;
        if (err != ERR_OK && !end) return err;
        if ((err = fold_events(import, count)) != ERR_OK) return err;
        if (has_item && (err = take_item(import, &item)) != ERR_OK) return err;
        report_progress(import, count);
        if (end) return ERR_OK;
    }
}

/* Rows of another length than the base are refused one by one: what is coarser is made from base rows. */
static enum err refuse_length(struct import *import, const struct candle *row) {
    struct import_item item = {0};
    snprintf(item.reason, sizeof item.reason,
             "the row of %lld is %u ms long, but the base interval is %u ms; coarser candles are made from base ones",
             (long long)row->open_time_ms, row->native_ms, import->parts->base_ms);
    return refuse_item(import, &item, "interval");
}

static enum err fold_klines(struct import *import, uint32_t series, uint32_t count) {
    enum err err = ERR_OK;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count && err == ERR_OK; i++) {
        if (import->klines[i].native_ms != import->parts->base_ms) {
            err = refuse_length(import, &import->klines[i]);
            continue;
        }
        if (kept != i) import->klines[kept] = import->klines[i];
        kept++;
    }
    if (err != ERR_OK || kept == 0) return err;
    touch_range(import, import->klines[0].open_time_ms);
    touch_range(import, import->klines[kept - 1].close_time_ms);
    return book_apply_klines(import->book, series, import->klines, kept, &import->counts, import->diag);
}

static enum err read_klines(struct import *import) {
    for (;;) {
        struct import_item item;
        bool has_item = false;
        uint32_t count = 0, series = SERIES_NONE;
        enum err err = import_read_klines(import->reader, import->klines, KLINES_MAX, import->diag, &series, &count,
                                          &item, &has_item);
        bool end = err == ERR_END;
        if (err != ERR_OK && !end) return err;
        if (count > 0 && (err = fold_klines(import, series, count)) != ERR_OK) return err;
        if (has_item && (err = take_item(import, &item)) != ERR_OK) return err;
        report_progress(import, count);
        if (end) return ERR_OK;
    }
}

/* --- showing it: one commit --- */

static struct ledger_row ledger_of(const struct book_counts *counts) {
    return (struct ledger_row){
        .read = counts->read,
        .used = counts->fate[FATE_USED],
        .late = counts->fate[FATE_LATE],
        .duplicate = counts->fate[FATE_DUPLICATE],
        .invalid = counts->fate[FATE_INVALID],
        .filtered = counts->fate[FATE_FILTERED],
    };
}

struct numbering {
    uint64_t next;
    const uint8_t *identity;
    bool known;
    struct import_row row;
};

static enum err visit_number(void *context, const struct import_row *row) {
    struct numbering *n = context;
    if (row->number >= n->next) n->next = row->number + 1;
    if (memcmp(row->identity, n->identity, sizeof row->identity) == 0) {
        n->known = true;
        n->row = *row;
    }
    return ERR_OK;
}

static enum err append_row(struct import *import, struct slice row_key, struct slice value) {
    struct log_partition *partition;
    enum err err = log_partition_find(import->parts->log, "imports", 0, &partition);
    if (err != ERR_OK) return err;
    struct record_batch_builder builder;
    record_batch_builder_init(&builder);
    record_batch_begin(&builder, RECORD_CODEC_NONE);
    const struct record record = {.timestamp_ms = import->result.row.committed_ms, .key = row_key, .value = value};
    err = record_batch_add(&builder, &record);
    if (err == ERR_OK) err = record_batch_end(&builder);
    if (err == ERR_OK) {
        struct log_append append = {
            .partition = partition,
            .batch = builder.bytes.data,
            .batch_bytes = (uint32_t)builder.bytes.size,
            .record_count = 1,
        };
        err = log_append_wait(import->parts->log, &append);
    }
    record_batch_builder_deinit(&builder);
    return err;
}

static enum err put_row(struct import *import, struct store_batch *batch) {
    struct buf value;
    buf_init(&value, 64 * 1024);
    import_row_encode(&value, &import->result.row);
    const struct store_key key = import_row_key(&import->result.row);
    enum err err = append_row(import, key.row, buf_slice(&value));
    if (err == ERR_OK) store_batch_put(batch, &key, buf_slice(&value));
    buf_deinit(&value);
    return err;
}

/* The store's task of the file's series: the live one of its topic, which goes on from what an import leaves. */
static void owner_of(const struct import *import, char task[static LOG_TOPIC_NAME_MAX + 32]) {
    bool prices = import_format_of(import->reader) == IMPORT_PRICE_EVENTS;
    if (prices)
        snprintf(task, LOG_TOPIC_NAME_MAX + 32, "candles/prices/0");
    else
        snprintf(task, LOG_TOPIC_NAME_MAX + 32, "candles/inbound-data-%s/0", import_venue(import->reader));
}

static void put_latest(struct import *import, struct store_batch *batch) {
    char task[LOG_TOPIC_NAME_MAX + 32];
    owner_of(import, task);
    for (uint32_t series = 0; series < series_count(import->parts->series); series++) {
        struct latest latest;
        if (latest_get(import->parts->latest, series, &latest) == ERR_OK && latest.offset < 0)
            latest_row_put(batch, task, series, &latest);
    }
}

/* The snapshot is closed before the commit: the store may have to grow, which waits for readers. */
static enum err seal_and_commit(struct import *import) {
    struct store_batch batch;
    struct store_snapshot *snapshot = NULL;
    store_batch_init(&batch, BATCH_BYTES_MAX);
    enum err err = store_snapshot_open(import->parts->store, &snapshot);
    if (err == ERR_OK) err = book_seal_all(import->book, snapshot, &batch, import->diag);
    if (snapshot != NULL) store_snapshot_close(import->parts->store, &snapshot);
    if (err == ERR_OK) err = shelf_flush(import->parts->shelf, &batch, import->diag);
    if (err == ERR_OK) err = output_submit(import->invalid);
    if (err == ERR_OK) err = output_submit(import->late);
    if (err == ERR_OK) err = output_flush(import->invalid, false);
    if (err == ERR_OK) err = output_flush(import->late, false);
    if (err == ERR_OK) put_latest(import, &batch);
    if (err == ERR_OK) err = put_row(import, &batch);
    if (err == ERR_OK) err = store_batch_err(&batch);
    const struct store_batch *batches[] = {&batch};
    if (err == ERR_OK)
        err = store_commit(import->parts->store, batches, 1, task_group_stamp(import->parts->tasks), import->diag);
    store_batch_deinit(&batch);
    return err;
}

static enum err look_up(struct import *import, struct numbering *numbering) {
    struct store_snapshot *snapshot = NULL;
    enum err err = store_snapshot_open(import->parts->store, &snapshot);
    if (err != ERR_OK) return err;
    err = import_rows_visit(import->parts->store, snapshot, visit_number, numbering);
    store_snapshot_close(import->parts->store, &snapshot);
    return err;
}

static enum err finish(struct import *import) {
    struct import_row *row = &import->result.row;
    input_identity(import->input, row->identity);
    struct numbering numbering = {.next = 1, .identity = row->identity};
    enum err err = look_up(import, &numbering);
    if (err != ERR_OK) return err;
    if (numbering.known) {
        *row = numbering.row;
        import->result.repeated = true;
        return ERR_OK;
    }
    if ((err = book_finish(import->book, import->diag)) != ERR_OK || (err = offer_newest(import)) != ERR_OK) return err;
    struct input_progress progress;
    input_progress(import->input, &progress);
    row->number = numbering.next;
    row->plain_bytes = progress.plain_bytes;
    row->committed_ms = sys_wall_ms(import->parts->sys);
    row->ledger = ledger_of(&import->counts);
    return seal_and_commit(import);
}

/* --- copying: every message into the venue's topic --- */

struct copy {
    struct import *import;
    struct output *output;
    struct log_partition *partition;
    uint32_t pending_bytes;
};

static enum err copy_record(struct copy *copy, struct slice key, struct slice value) {
    enum { COPY_BATCH_BYTES = 256 * 1024 };
    const struct record record = {.timestamp_ms = sys_wall_ms(copy->import->parts->sys), .key = key, .value = value};
    enum err err = output_add(copy->output, &record);
    copy->pending_bytes += (uint32_t)(value.size + key.size);
    if (err == ERR_OK && copy->pending_bytes >= COPY_BATCH_BYTES) {
        err = output_submit(copy->output);
        copy->pending_bytes = 0;
    }
    return err;
}

static enum err copy_events(struct copy *copy, uint32_t count) {
    struct import *import = copy->import;
    bool prices = import_format_of(import->reader) == IMPORT_PRICE_EVENTS;
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < count && err == ERR_OK; i++) {
        uint64_t line;
        struct slice source;
        const struct series *series = series_get(import->parts->series, import->events[i].series);
        touch_range(import, import->events[i].time_ms);
        if ((err = import_source(import->reader, i, &line, &source)) != ERR_OK) return err;
        err = copy_record(copy, slice_text(prices ? series->name : series->symbol), source);
    }
    import->counts.read += count;
    import->counts.fate[FATE_USED] += count;
    return err;
}

static enum err copy_all(struct copy *copy) {
    struct import *import = copy->import;
    for (;;) {
        struct import_item item;
        bool has_item = false, worked = false;
        uint32_t count = 0;
        enum err err = import_read(import->reader, import->events, EVENTS_MAX, import->diag, &count, &item, &has_item);
        bool end = err == ERR_END;
        if (err != ERR_OK && !end) return err;
        if ((err = copy_events(copy, count)) != ERR_OK) return err;
        if (has_item && item.kind == IMPORT_KLINE) {
            snprintf(item.reason, sizeof item.reason, "candles are no messages: import them without --copy");
            item.kind = IMPORT_REJECT;
            item.err = ERR_USAGE;
        }
        if (has_item && (err = take_item(import, &item)) != ERR_OK) return err;
        report_progress(import, count);
        if (end) break;
        if ((err = task_group_step(import->parts->tasks, import->diag, &worked)) != ERR_OK) return err;
    }
    return ERR_OK;
}

static enum err run_copy(struct import *import) {
    struct copy copy = {.import = import};
    bool prices = import_format_of(import->reader) == IMPORT_PRICE_EVENTS;
    enum err err = ERR_OK;
    if (prices)
        copy.partition = engine_prices(import->engine, 0);
    else
        err = engine_add_venue(import->engine, import_venue(import->reader), import->diag, &copy.partition);
    if (err != ERR_OK) return err;
    char name[IMPORT_PATH_MAX + 64];
    struct input_progress progress;
    input_progress(import->input, &progress);
    snprintf(name, sizeof name, "copy/%s/%llu", import->request->path, (unsigned long long)progress.total_bytes);
    if ((err = output_open(import->parts->log, copy.partition, name, &copy.output)) != ERR_OK) return err;
    err = copy_all(&copy);
    if (err == ERR_OK) err = output_submit(copy.output);
    enum err flushed = output_flush(copy.output, false);
    if (err == ERR_OK) err = flushed;
    output_close(&copy.output);
    if (err == ERR_OK) err = task_group_catch_up(import->parts->tasks, import->diag);
    if (err == ERR_OK) err = task_group_checkpoint(import->parts->tasks, import->diag);
    import->result.row.ledger = ledger_of(&import->counts);
    return err;
}

/* --- life cycle --- */

static enum err open_refusals(struct import *import) {
    static const char *const topics[] = {"imports", "imports.invalid", "imports.late"};
    struct log_partition *partitions[3];
    for (int i = 0; i < 3; i++) {
        const struct log_topic_options options = {.partition_count = 1};
        enum err err = log_topic_create(import->parts->log, topics[i], &options, import->diag);
        if (err != ERR_OK && err != ERR_EXISTS) return err;
        if ((err = log_partition_find(import->parts->log, topics[i], 0, &partitions[i])) != ERR_OK) return err;
    }
    char name[IMPORT_PATH_MAX + 64];
    struct input_progress progress;
    input_progress(import->input, &progress);
    snprintf(name, sizeof name, "import/%s/%llu/invalid", import->request->path,
             (unsigned long long)progress.total_bytes);
    enum err err = output_open(import->parts->log, partitions[1], name, &import->invalid);
    snprintf(name, sizeof name, "import/%s/%llu/late", import->request->path, (unsigned long long)progress.total_bytes);
    if (err == ERR_OK) err = output_open(import->parts->log, partitions[2], name, &import->late);
    return err;
}

/* Trades share the ids seen with the live task of their venue; prices and klines need no state of others. */
static enum err open_book(struct import *import) {
    enum import_format format = import_format_of(import->reader);
    char task[LOG_TOPIC_NAME_MAX + 32] = "imports";
    if (format != IMPORT_PRICE_EVENTS && format != IMPORT_BINANCE_KLINES) owner_of(import, task);
    const struct book_options options = {
        .series = import->parts->series,
        .shelf = import->parts->shelf,
        .store = import->parts->store,
        .task = task,
        .base_ms = import->parts->base_ms,
        .price_grace_ms = (uint32_t)import->parts->config->candles_grace_ms,
        .bounded = true,
    };
    return book_open(&options, import->diag, &import->book);
}

/* The venue's tasks answer for its candles from now on. */
static enum err add_venue(struct import *import) {
    struct log_partition *partition;
    if (import_format_of(import->reader) == IMPORT_PRICE_EVENTS) return ERR_OK;
    return engine_add_venue(import->engine, import_venue(import->reader), import->diag, &partition);
}

static enum err run(struct import *import) {
    const struct import_request *request = import->request;
    enum err err = input_open(import->parts->sys, request->path, import->diag, &import->input);
    if (err == ERR_OK)
        err = import_open(import->input, request->path, &request->options, import->parts->series, import->diag,
                          &import->reader);
    if (err != ERR_OK) return err;
    import->result.format = import_format_name[import_format_of(import->reader)];
    import->result.row.format = (uint8_t)import_format_of(import->reader);
    snprintf(import->result.row.venue, sizeof import->result.row.venue, "%s", import_venue(import->reader));
    if ((err = open_refusals(import)) != ERR_OK || (err = add_venue(import)) != ERR_OK) return err;
    if (request->copy) return run_copy(import);
    bool klines = import_format_of(import->reader) == IMPORT_BINANCE_KLINES;
    if ((err = open_book(import)) == ERR_OK) err = klines ? read_klines(import) : read_all(import);
    return err == ERR_OK ? finish(import) : err;
}

static void close_import(struct import *import) {
    if (import->invalid != NULL) (void)!output_flush(import->invalid, false);
    if (import->late != NULL) (void)!output_flush(import->late, false);
    output_close(&import->invalid);
    output_close(&import->late);
    if (import->book != NULL) book_close(&import->book);
    if (import->reader != NULL) import_close(&import->reader);
    if (import->input != NULL) input_close(&import->input);
    free(import->events);
    free(import->fates);
    free(import->klines);
    free(import->newest);
}

enum err import_run(struct engine *engine, const struct import_request *request, struct diag *diag,
                    struct import_result *ret_result) {
    struct import import = {
        .parts = engine_parts(engine),
        .engine = engine,
        .request = request,
        .diag = diag,
        .events = aligned_alloc(64, EVENTS_MAX * sizeof(struct event)),
        .fates = calloc(EVENTS_MAX, sizeof(enum event_fate)),
        .klines = calloc(KLINES_MAX, sizeof(struct candle)),
        .result.row = {.from_ms = -1, .to_ms = -1},
    };
    enum err err = ERR_OK;
    if (import.events == NULL || import.fates == NULL || import.klines == NULL)
        err = diag_set(diag, ERR_NO_MEMORY, "no memory for the import");
    if (strlen(request->path) >= IMPORT_PATH_MAX) err = diag_set(diag, ERR_TOO_LARGE, "the path is too long");
    if (err == ERR_OK) {
        snprintf(import.result.row.path, sizeof import.result.row.path, "%s", request->path);
        err = run(&import);
    }
    close_import(&import);
    if (err == ERR_OK) *ret_result = import.result;
    return err;
}
