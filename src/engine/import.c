#include "engine/import.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "candle/latest_row.h"
#include "engine/import_turns.h"
#include "flow/output.h"

/* What a task's fold states were, by series number: 0 where there is none. */
struct states {
    uint64_t *hashes;
    uint32_t count;
};

enum {
    EVENTS_MAX = 2048,
    KLINES_MAX = 1440,
    PROGRESS_EVENTS = 64 * 1024,
    BATCH_BYTES_MAX = 1024 * 1024 * 1024,
    ARRAY_LINES_MAX = 128 * 1024 * 1024,
    FUTURE_MS = 5 * 60 * 1000,
};

static const int64_t TIME_FUTURE = -1; /* stands for the time of an event from the future */

struct import {
    const struct engine_parts *parts;
    struct engine *engine;
    const struct import_request *request;
    struct input *input;
    struct buf array; /* the lines made of a JSON array, and what reads them */
    struct input *array_input;
    struct import_reader *reader;
    struct book *book;
    struct shelf *shelf; /* of its own: the tasks' one seals meanwhile */
    struct latest_table *latest;
    struct output *invalid, *late;
    int64_t future_ms; /* events after it are refused, as everywhere */
    struct event *events;
    enum event_fate *fates;
    struct candle *klines;
    struct event *newest; /* of each series, to be its latest price; time_ms 0: none */
    uint32_t newest_count;
    struct book_counts counts;
    struct import_result result;
    uint64_t since_progress;
    struct states before; /* of the owner's series, when the store was first read */
    bool held;            /* nothing is folded beside us */
    bool conflict;        /* a task changed what we did */
    struct import_turn turn;
    uint32_t series; /* that the whole file is of; or SERIES_NONE */
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
        {SLICE("file"), slice_text(import->result.row.path)},
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

/* The line of an event that was read, into the topic of its fate. */
static enum err put_event(struct import *import, uint32_t index) {
    struct import_item item = {0};
    const char *reason = "late", *why = "";
    struct output *output = import->late;
    if (import->fates[index] == FATE_INVALID) {
        bool future = import->events[index].time_ms == TIME_FUTURE;
        reason = err_name(future ? ERR_FUTURE : ERR_RANGE);
        why =
            future ? "event time is more than 5 minutes ahead" : "no candle can hold the numbers, the ids or the time";
        output = import->invalid;
    }
    snprintf(item.reason, sizeof item.reason, "%s", why);
    enum err err = import_source(import->reader, index, &item.line, &item.source);
    return err != ERR_OK ? err : put_refused(import, output, &item, reason);
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
        err = latest_offer(import->latest, newest, -1); /* order within a time is the table's business */
    *newest = *event;
    return err;
}

static enum err offer_newest(struct import *import) {
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < import->newest_count && err == ERR_OK; i++)
        if (import->newest[i].time_ms != 0) err = latest_offer(import->latest, &import->newest[i], -1);
    return err;
}

static uint64_t refused(const struct import *import) {
    return import->counts.fate[FATE_LATE] + import->counts.fate[FATE_INVALID];
}

/* No candle takes an event of before 1970: the fold refuses it, and no watermark runs ahead. */
static void mark_future(struct import *import, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (import->events[i].time_ms > import->future_ms) import->events[i].time_ms = TIME_FUTURE;
}

static enum err fold_events(struct import *import, uint32_t count) {
    if (count == 0) return ERR_OK;
    mark_future(import, count);
    uint64_t refused_before = refused(import);
    enum err err = book_apply(import->book, import->events, NULL, count, import->fates, &import->counts, import->diag);
    for (uint32_t i = 0; err == ERR_OK && i < count; i++) {
        if (import->fates[i] == FATE_USED) {
            touch_range(import, import->events[i].time_ms);
            err = keep_newest(import, &import->events[i]);
        }
    }
    if (refused(import) == refused_before) return err;
    for (uint32_t i = 0; err == ERR_OK && i < count; i++)
        if (import->fates[i] == FATE_LATE || import->fates[i] == FATE_INVALID) err = put_event(import, i);
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

static enum err report_progress(struct import *import, uint32_t count) {
    import->since_progress += count + 1;
    if (import->request->progress == NULL || import->since_progress < PROGRESS_EVENTS) return ERR_OK;
    import->since_progress = 0;
    struct input_progress progress;
    input_progress(import->input, &progress);
    enum err err = import->request->progress(import->request->context, &progress);
    return err == ERR_OK ? err : diag_set(import->diag, err, "cancelled");
}

/* Damage in what is imported is bad input; damaged data is what lies in our folder. */
static enum err of_input(struct import *import, enum err err) {
    if (err != ERR_CORRUPT) return err;
    import->diag->err = ERR_SYNTAX;
    return ERR_SYNTAX;
}

static enum err read_all(struct import *import) {
    for (;;) {
        struct import_item item;
        bool has_item = false;
        uint32_t count = 0;
        enum err err = import_read(import->reader, import->events, EVENTS_MAX, import->diag, &count, &item, &has_item);
        bool end = err == ERR_END;
        if (err != ERR_OK && !end) return of_input(import, err);
        if ((err = fold_events(import, count)) != ERR_OK) return err;
        if (has_item && (err = take_item(import, &item)) != ERR_OK) return err;
        if ((err = report_progress(import, count)) != ERR_OK) return err;
        if (end) return ERR_OK;
    }
}

/* A row that the fold does not see, with its reason; NULL if it may. What is coarser is made from base rows. */
static const char *kline_fault(const struct import *import, const struct candle *row, char *why, size_t size) {
    if (row->open_time_ms > import->future_ms) {
        snprintf(why, size, "the row of %lld is more than 5 minutes ahead", (long long)row->open_time_ms);
        return err_name(ERR_FUTURE);
    }
    if (row->native_ms == import->parts->base_ms) return NULL;
    snprintf(why, size,
             "the row of %lld is %u ms long, but the base interval is %u ms; coarser candles are made from base ones",
             (long long)row->open_time_ms, row->native_ms, import->parts->base_ms);
    return "interval";
}

/* Klines come in the order of their days: what a sealed day misses is late, and one record tells of it. */
static enum err put_late_klines(struct import *import, uint64_t count, int64_t from_ms, int64_t to_ms) {
    struct import_item item = {0};
    if (count == 0) return ERR_OK;
    snprintf(item.reason, sizeof item.reason, "%llu of the rows from %lld to %lld came after their day had passed",
             (unsigned long long)count, (long long)from_ms, (long long)to_ms);
    return put_refused(import, import->late, &item, "late");
}

static enum err fold_kept(struct import *import, uint32_t series, struct candle *rows, uint32_t kept) {
    int64_t from_ms = rows[0].open_time_ms, to_ms = rows[kept - 1].open_time_ms;
    uint64_t late = import->counts.fate[FATE_LATE];
    touch_range(import, from_ms);
    touch_range(import, rows[kept - 1].close_time_ms);
    enum err err = rows == import->klines
                       ? book_apply_klines(import->book, series, rows, kept, &import->counts, import->diag)
                       : book_klines_read(import->book, series, kept, &import->counts, import->diag);
    return err ? err : put_late_klines(import, import->counts.fate[FATE_LATE] - late, from_ms, to_ms);
}

static enum err fold_klines(struct import *import, uint32_t series, struct candle *rows, uint32_t count) {
    enum err err = ERR_OK;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count && err == ERR_OK; i++) {
        struct import_item item = {0};
        const char *fault = kline_fault(import, &rows[i], item.reason, sizeof item.reason);
        if (fault != NULL)
            err = refuse_item(import, &item, fault);
        else if (kept++ != i)
            rows[kept - 1] = rows[i];
    }
    return err != ERR_OK || kept == 0 ? err : fold_kept(import, series, rows, kept);
}

/* Where the next rows go: into the book itself, once their series is known. */
static enum err room_for_klines(struct import *import, uint32_t series, struct candle **ret_rows, uint32_t *ret_room) {
    *ret_room = 0;
    enum err err = series == SERIES_NONE ? ERR_OK : book_klines_room(import->book, series, ret_rows, ret_room);
    if (*ret_room > 0) return err;
    *ret_rows = import->klines;
    *ret_room = KLINES_MAX;
    return err;
}

static enum err read_klines(struct import *import) {
    uint32_t series = SERIES_NONE;
    for (;;) {
        struct import_item item;
        struct candle *rows = NULL;
        bool has_item = false;
        uint32_t count = 0, room = 0;
        enum err err = room_for_klines(import, series, &rows, &room);
        if (err != ERR_OK) return err;
        err = import_read_klines(import->reader, rows, room, import->diag, &series, &count, &item, &has_item);
        bool end = err == ERR_END;
        if (err != ERR_OK && !end) return err;
        if (count > 0 && (err = fold_klines(import, series, rows, count)) != ERR_OK) return err;
        if (has_item && (err = take_item(import, &item)) != ERR_OK) return err;
        if ((err = report_progress(import, count)) != ERR_OK) return err;
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

/* Of the series whose latest price the file has. */
static enum err visit_latest(struct import *import,
                             enum err (*visit)(struct import *import, void *context, uint32_t series,
                                               const struct latest *latest),
                             void *context) {
    enum err err = ERR_OK;
    for (uint32_t series = 0; series < import->newest_count && err == ERR_OK; series++) {
        struct latest ours, theirs;
        if (import->newest[series].time_ms == 0 || latest_get(import->latest, series, &ours) != ERR_OK) continue;
        bool known = latest_get(import->parts->latest, series, &theirs) == ERR_OK;
        if (!known || latest_compare(&ours, &theirs) > 0) err = visit(import, context, series, &ours);
    }
    return err;
}

static enum err put_latest(struct import *import, void *batch, uint32_t series, const struct latest *latest) {
    char task[LOG_TOPIC_NAME_MAX + 32];
    owner_of(import, task);
    latest_row_put(batch, task, series, latest);
    return ERR_OK;
}

static enum err show_latest(struct import *import, void *context, uint32_t series, const struct latest *latest) {
    (void)context;
    return latest_restore(import->parts->latest, series, latest);
}

/* --- beside live tasks --- */

static bool is_cancelled(void *context) {
    const struct import *import = context;
    return import->request->cancelled != NULL && atomic_load(import->request->cancelled);
}

static enum err hold(struct import *import, enum task_hold level) {
    return task_group_hold(import->parts->tasks, level, is_cancelled, import, import->diag);
}

static enum err visit_state(void *context, struct slice row, struct slice value) {
    struct states *states = context;
    struct reader key = reader_of(row);
    uint32_t series = reader_be32(&key);
    if (reader_err(&key) == ERR_OK && series < states->count)
        states->hashes[series] ^= hash_bytes(value, hash_bytes(row, 1)); /* one for each basis, in any order */
    return ERR_OK;
}

/* The fold states of the tasks that own the file's series: a task that has changed a series has changed its state. */
static enum err read_states(struct import *import, struct states *states) {
    char task[LOG_TOPIC_NAME_MAX + 32];
    struct store_snapshot *snapshot = NULL;
    bool prices = import_format_of(import->reader) == IMPORT_PRICE_EVENTS;
    states->count = SERIES_COUNT_MAX;
    states->hashes = calloc(states->count, sizeof *states->hashes); /* pages that are never touched cost nothing */
    if (states->hashes == NULL) return ERR_NO_MEMORY;
    enum err err = store_snapshot_open(import->parts->store, &snapshot);
    if (err != ERR_OK) return err;
    owner_of(import, task);
    for (uint32_t i = 0; i < (prices ? engine_prices_count(import->engine) : 1) && err == ERR_OK; i++) {
        if (prices) snprintf(task, sizeof task, "candles/prices/%u", i);
        const struct store_key key = {STORE_STATE, slice_text(task), SLICE("")};
        err = store_scan(import->parts->store, snapshot, &key, SLICE_NONE, false, visit_state, states);
    }
    store_snapshot_close(import->parts->store, &snapshot);
    return err;
}

static enum err find_conflict(struct import *import) {
    struct states now = {0};
    enum err err = read_states(import, &now);
    for (uint32_t i = 0; i < import->newest_count && err == ERR_OK; i++)
        if (import->newest[i].time_ms != 0 && now.hashes[i] != import->before.hashes[i]) import->conflict = true;
    free(now.hashes);
    return err;
}

/* Klines are of nobody else. */
static bool shares_series(const struct import *import) {
    return import_format_of(import->reader) != IMPORT_BINANCE_KLINES && import->before.hashes != NULL;
}

/* The commit, with the tasks stopped: the register's row and the candles show together, in the books as well. */
static enum err commit_stopped(struct import *import, struct store_batch *batch) {
    enum err err = ERR_OK;
    if (shares_series(import) && !import->held) err = find_conflict(import);
    if (err != ERR_OK || import->conflict) return err;
    if (err == ERR_OK) err = visit_latest(import, put_latest, batch);
    if (err == ERR_OK) err = put_row(import, batch);
    if (err == ERR_OK) err = store_batch_err(batch);
    const struct store_batch *batches[] = {batch};
    if (err == ERR_OK)
        err = store_commit(import->parts->store, batches, 1, task_group_stamp(import->parts->tasks), import->diag);
    if (err == ERR_OK) err = visit_latest(import, show_latest, NULL);
    if (err == ERR_OK && shares_series(import)) err = engine_reload(import->engine, import->diag);
    return err;
}

/* The number that comes next, or the row of an import of the same content. */
static enum err look_up(struct import *import) {
    struct import_row *row = &import->result.row;
    struct numbering numbering = {.next = 1, .identity = row->identity};
    struct store_snapshot *snapshot = NULL;
    enum err err = store_snapshot_open(import->parts->store, &snapshot);
    if (err != ERR_OK) return err;
    err = import_rows_visit(import->parts->store, snapshot, visit_number, &numbering);
    store_snapshot_close(import->parts->store, &snapshot);
    if (err != ERR_OK) return err;
    row->number = numbering.next;
    import->result.repeated = numbering.known;
    if (numbering.known) *row = numbering.row;
    return ERR_OK;
}

/* Others that read beside us have committed meanwhile. */
static enum err take_number(struct import *import) {
    import_turn_commit(import->request->turns, &import->turn);
    return import->request->turns != NULL ? look_up(import) : ERR_OK;
}

/* The snapshot is closed before the commit: the store may have to grow, which waits for readers. */
static enum err seal_and_commit(struct import *import) {
    struct store_batch batch;
    struct store_snapshot *snapshot = NULL;
    store_batch_init(&batch, BATCH_BYTES_MAX);
    enum err err = store_snapshot_open(import->parts->store, &snapshot);
    if (err == ERR_OK) err = book_seal_all(import->book, snapshot, &batch, import->diag);
    if (snapshot != NULL) store_snapshot_close(import->parts->store, &snapshot);
    if (err == ERR_OK) err = shelf_flush(import->shelf, &batch, import->diag);
    if (err == ERR_OK) err = output_submit(import->invalid);
    if (err == ERR_OK) err = output_submit(import->late);
    if (err == ERR_OK) err = output_flush(import->invalid, false);
    if (err == ERR_OK) err = output_flush(import->late, false);
    if (err == ERR_OK) err = take_number(import);
    if (err == ERR_OK && !import->result.repeated) err = hold(import, TASK_STOP);
    if (err == ERR_OK && !import->result.repeated) {
        err = commit_stopped(import, &batch);
        task_group_release(import->parts->tasks);
    }
    store_batch_deinit(&batch);
    return err;
}

static enum err finish(struct import *import) {
    struct import_row *row = &import->result.row;
    input_identity(import->input, row->identity);
    enum err err = look_up(import);
    if (err != ERR_OK || import->result.repeated) return err;
    if ((err = book_finish(import->book, import->diag)) != ERR_OK || (err = offer_newest(import)) != ERR_OK) return err;
    struct input_progress progress;
    input_progress(import->input, &progress);
    row->plain_bytes = progress.plain_bytes;
    row->committed_ms = sys_wall_ms(import->parts->sys);
    row->ledger = ledger_of(&import->counts);
    return seal_and_commit(import);
}

/* The same file appends the same records again after a kill, which the log drops. Another one of its name must not. */
static void output_name(const struct import *import, const char *purpose, char name[static IMPORT_PATH_MAX + 96]) {
    struct input_progress progress;
    input_progress(import->input, &progress);
    snprintf(name, IMPORT_PATH_MAX + 96, "%s/%s/%llu/%llu", purpose, import->result.row.path,
             (unsigned long long)progress.total_bytes, (unsigned long long)import->request->version);
}

/* --- copying: every message into the venue's topic --- */

struct copy {
    struct import *import;
    struct output *output;
    struct log_partition *partition;
    int64_t now_ms; /* append time of what was read together */
    uint32_t pending_bytes;
    uint64_t unflushed_bytes;
};

static enum err copy_record(struct copy *copy, struct slice key, struct slice value) {
    enum { COPY_BATCH_BYTES = 256 * 1024 };
    const struct record record = {.timestamp_ms = copy->now_ms, .key = key, .value = value};
    enum err err = output_add(copy->output, &record);
    copy->pending_bytes += (uint32_t)(value.size + key.size);
    if (err == ERR_OK && copy->pending_bytes >= COPY_BATCH_BYTES) {
        err = output_submit(copy->output);
        copy->unflushed_bytes += copy->pending_bytes;
        copy->pending_bytes = 0;
    }
    return err;
}

/* A series' name, without looking for its end. */
static struct slice name_of(const struct series *series) {
    return slice_of(series->name, (size_t)((const char *)series->quote.data + series->quote.size - series->name));
}

static enum err copy_events(struct copy *copy, uint32_t count) {
    struct import *import = copy->import;
    bool prices = import_format_of(import->reader) == IMPORT_PRICE_EVENTS;
    enum err err = ERR_OK;
    copy->now_ms = sys_wall_ms(import->parts->sys);
    for (uint32_t i = 0; i < count && err == ERR_OK; i++) {
        uint64_t line;
        struct slice source;
        const struct series *series = series_get(import->parts->series, import->events[i].series);
        touch_range(import, import->events[i].time_ms);
        if ((err = import_source(import->reader, i, &line, &source)) != ERR_OK) return err;
        err = copy_record(copy, prices ? name_of(series) : slice_text(series->symbol), source);
    }
    import->counts.read += count;
    import->counts.fate[FATE_USED] += count;
    return err;
}

static enum err log_failed(const struct import *import, enum err err) {
    return err == ERR_OK ? err : diag_set(import->diag, err, "the log: %s", err_message(err));
}

/* Beside live tasks, little is on its way at a time: it stands in line with what others append. */
static enum err copied_some(struct copy *copy) {
    enum { LIVE_BYTES = 1024 * 1024 };
    struct import *import = copy->import;
    if (!engine_is_live(import->engine)) return log_failed(import, output_err(copy->output));
    if (copy->unflushed_bytes < LIVE_BYTES) return ERR_OK;
    copy->unflushed_bytes = 0;
    return log_failed(import, output_flush(copy->output, false));
}

static enum err copy_all(struct copy *copy) {
    struct import *import = copy->import;
    for (;;) {
        struct import_item item;
        bool has_item = false;
        uint32_t count = 0;
        enum err err = import_read(import->reader, import->events, EVENTS_MAX, import->diag, &count, &item, &has_item);
        bool end = err == ERR_END;
        if (err != ERR_OK && !end) return of_input(import, err);
        if ((err = copy_events(copy, count)) != ERR_OK) return err;
        if (has_item && item.kind == IMPORT_KLINE) {
            snprintf(item.reason, sizeof item.reason, "candles are no messages: import them without --copy");
            item.kind = IMPORT_REJECT;
            item.err = ERR_USAGE;
        }
        if (has_item && (err = take_item(import, &item)) != ERR_OK) return err;
        if ((err = report_progress(import, count)) != ERR_OK) return err;
        if (end) break;
        if ((err = copied_some(copy)) != ERR_OK) return err;
    }
    return ERR_OK;
}

static enum err copy_and_sync(struct copy *copy) {
    struct import *import = copy->import;
    enum err err = copy_all(copy);
    if (err == ERR_OK) err = output_submit(copy->output);
    enum err flushed = log_failed(import, output_flush(copy->output, false));
    if (err == ERR_OK) err = flushed;
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

static enum err run_copy(struct import *import) {
    struct copy copy = {.import = import};
    bool prices = import_format_of(import->reader) == IMPORT_PRICE_EVENTS;
    enum err err = ERR_OK;
    if (prices)
        copy.partition = engine_prices(import->engine, 0);
    else
        err = engine_add_venue(import->engine, import_venue(import->reader), import->diag, &copy.partition);
    if (err != ERR_OK) return err;
    char name[IMPORT_PATH_MAX + 96];
    output_name(import, "copy", name);
    if ((err = output_open(import->parts->log, copy.partition, name, &copy.output)) != ERR_OK) return err;
    err = copy_and_fold(&copy);
    output_close(&copy.output);
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
    char name[IMPORT_PATH_MAX + 96];
    output_name(import, "invalid", name);
    enum err err = output_open(import->parts->log, partitions[1], name, &import->invalid);
    output_name(import, "late", name);
    if (err == ERR_OK) err = output_open(import->parts->log, partitions[2], name, &import->late);
    return err;
}

/* Trades share the ids seen with the live task of their venue; prices and klines need no state of others. */
static enum err open_book(struct import *import, const uint32_t *series) {
    enum import_format format = import_format_of(import->reader);
    char task[LOG_TOPIC_NAME_MAX + 32] = "imports";
    if (format != IMPORT_PRICE_EVENTS && format != IMPORT_BINANCE_KLINES) owner_of(import, task);
    const struct book_options options = {
        .series = import->parts->series,
        .shelf = import->shelf,
        .store = import->parts->store,
        .task = task,
        .base_ms = import->parts->base_ms,
        .price_grace_ms = (uint32_t)import->parts->config->candles_grace_ms,
        .bounded = true,
        .only = *series == SERIES_NONE ? NULL : series,
    };
    return book_open(&options, import->diag, &import->book);
}

/* The venue's tasks answer for its candles from now on. */
static enum err add_venue(struct import *import) {
    struct log_partition *partition;
    if (import_format_of(import->reader) == IMPORT_PRICE_EVENTS) return ERR_OK;
    return engine_add_venue(import->engine, import_venue(import->reader), import->diag, &partition);
}

/* The file as lines; one that is a JSON array is made into some. */
static enum err open_reader(struct import *import) {
    const struct import_request *request = import->request;
    struct import_options options = request->options;
    struct input *lines = NULL;
    enum err err = input_open(import->parts->sys, request->path, import->diag, &import->input);
    if (err == ERR_OK && import_takes_array(options.format) && import_is_array(input_peek(import->input))) {
        err = import_array_lines(import->input, &options.format, import->diag, &import->array);
        if (err == ERR_OK) err = input_open_memory(buf_slice(&import->array), import->diag, &import->array_input);
        lines = import->array_input;
    }
    if (err != ERR_OK) return err;
    return import_open(lines != NULL ? lines : import->input, import->result.row.path, &options, import->parts->series,
                       import->diag, &import->reader);
}

static enum err run(struct import *import) {
    const struct import_request *request = import->request;
    enum err err = open_reader(import);
    if (err != ERR_OK) return of_input(import, err);
    import->result.format = import_format_name[import_format_of(import->reader)];
    import->result.row.format = (uint8_t)import_format_of(import->reader);
    snprintf(import->result.row.venue, sizeof import->result.row.venue, "%s", import_venue(import->reader));
    if ((err = open_refusals(import)) != ERR_OK || (err = add_venue(import)) != ERR_OK) return err;
    if (request->copy) return run_copy(import);
    bool klines = import_format_of(import->reader) == IMPORT_BINANCE_KLINES;
    if (engine_is_live(import->engine) && !klines) err = read_states(import, &import->before);
    if (err == ERR_OK) err = engine_open_shelf(import->engine, import->diag, &import->shelf);
    if (err == ERR_OK) shelf_set_origin(import->shelf, import->result.row.origin);
    if (err == ERR_OK) err = latest_table_open(&import->latest);
    import->series = import_series(import->reader);
    import_turn_alone(request->turns, &import->turn, import->series);
    if (err == ERR_OK) err = open_book(import, &import->series);
    if (err == ERR_OK && klines) import_turn_read(request->turns, &import->turn);
    if (err == ERR_OK) err = klines ? read_klines(import) : read_all(import);
    return err == ERR_OK ? finish(import) : err;
}

static void close_import(struct import *import) {
    if (import->invalid != NULL) (void)!output_flush(import->invalid, false);
    if (import->late != NULL) (void)!output_flush(import->late, false);
    output_close(&import->invalid);
    output_close(&import->late);
    if (import->book != NULL) book_close(&import->book);
    if (import->shelf != NULL) shelf_close(&import->shelf);
    if (import->latest != NULL) latest_table_close(&import->latest);
    if (import->reader != NULL) import_close(&import->reader);
    if (import->array_input != NULL) input_close(&import->array_input);
    buf_deinit(&import->array);
    if (import->input != NULL) input_close(&import->input);
    free(import->events);
    free(import->fates);
    free(import->klines);
    free(import->newest);
    free(import->before.hashes);
}

static enum err attempt(struct engine *engine, const struct import_request *request, bool held, struct diag *diag,
                        struct import_result *ret_result, bool *ret_conflict) {
    struct import import = {
        .parts = engine_parts(engine),
        .engine = engine,
        .request = request,
        .diag = diag,
        .future_ms = sys_wall_ms(engine_parts(engine)->sys) + FUTURE_MS,
        .events = aligned_alloc(64, EVENTS_MAX * sizeof(struct event)),
        .fates = calloc(EVENTS_MAX, sizeof(enum event_fate)),
        .klines = calloc(KLINES_MAX, sizeof(struct candle)),
        .result.row = {.from_ms = -1, .to_ms = -1},
        .held = held,
        .turn.number = request->turn,
    };
    enum err err = ERR_OK;
    if (import.events == NULL || import.fates == NULL || import.klines == NULL)
        err = diag_set(diag, ERR_NO_MEMORY, "no memory for the import");
    snprintf(import.result.row.path, sizeof import.result.row.path, "%s",
             request->name != NULL ? request->name : request->path);
    import_turn_begin(request->turns, &import.turn);
    const struct sys *sys = import.parts->sys;
    do sys->random(sys->context, &import.result.row.origin, sizeof import.result.row.origin);
    while (import.result.row.origin == 0);
    buf_init(&import.array, ARRAY_LINES_MAX);
    if (err == ERR_OK) err = run(&import);
    import_turn_end(request->turns, &import.turn);
    *ret_conflict = import.conflict;
    close_import(&import);
    if (err == ERR_OK && !*ret_conflict) *ret_result = import.result;
    return err;
}

enum err import_run(struct engine *engine, const struct import_request *request, struct diag *diag,
                    struct import_result *ret_result) {
    struct task_group *tasks = engine_parts(engine)->tasks;
    bool conflict = false;
    if (strlen(request->path) >= IMPORT_PATH_MAX || (request->name != NULL && strlen(request->name) >= IMPORT_PATH_MAX))
        return diag_set(diag, ERR_TOO_LARGE, "the path is too long");
    assert(request->turns == NULL || !engine_is_live(engine));
    enum err err = attempt(engine, request, false, diag, ret_result, &conflict);
    if (err != ERR_OK || !conflict) return err;
    struct import waiting = {.request = request};
    if ((err = task_group_hold(tasks, TASK_HOLD, is_cancelled, &waiting, diag)) != ERR_OK) return err;
    err = attempt(engine, request, true, diag, ret_result, &conflict);
    task_group_release(tasks);
    return err;
}
