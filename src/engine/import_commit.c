/* One commit shows an import: its candles, its latest prices and its row of the register. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "candle/latest_row.h"
#include "engine/import_work.h"

enum { BATCH_BYTES_MAX = 1024 * 1024 * 1024 };

struct ledger_row import_ledger_row(const struct book_counts *counts) {
    return (struct ledger_row){
        .read = counts->read,
        .used = counts->fate[FATE_USED],
        .late = counts->fate[FATE_LATE],
        .duplicate = counts->fate[FATE_DUPLICATE],
        .invalid = counts->fate[FATE_INVALID],
        .filtered = counts->fate[FATE_FILTERED],
    };
}

static enum err offer_newest(struct import *import) {
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < import->newest_count && err == ERR_OK; i++)
        if (import->newest[i].time_ms != 0) err = latest_offer(import->latest, &import->newest[i], -1);
    return err;
}

struct numbering {
    uint64_t next;
    const struct import_row *ours;
    const uint8_t *content;
    bool known;
    struct import_row row;
};

static bool is_same(const struct numbering *n, const struct import_row *row) {
    if (!row->of_content) return memcmp(row->identity, n->ours->identity, sizeof row->identity) == 0;
    return memcmp(row->identity, n->content, sizeof row->identity) == 0 && row->format == n->ours->format &&
           (row->format == IMPORT_PRICE_EVENTS || strcmp(row->venue, n->ours->venue) == 0);
}

static enum err visit_number(void *context, const struct import_row *row) {
    struct numbering *n = context;
    if (row->number >= n->next) n->next = row->number + 1;
    if (is_same(n, row)) {
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
    if (err == ERR_OK) store_batch_put_buf(batch, &key, &value);
    buf_deinit(&value);
    return err;
}

void import_owner(const struct import *import, char task[static IMPORT_TASK_MAX]) {
    char topic[LOG_TOPIC_NAME_MAX + 1] = "prices";
    if (import_format_of(import->reader) != IMPORT_PRICE_EVENTS)
        engine_venue_topic(import_venue(import->reader), topic);
    snprintf(task, IMPORT_TASK_MAX, "candles/%s/0", topic);
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
    char task[IMPORT_TASK_MAX];
    import_owner(import, task);
    latest_row_put(batch, task, series, latest);
    return ERR_OK;
}

static enum err show_latest(struct import *import, void *context, uint32_t series, const struct latest *latest) {
    (void)context;
    return latest_restore(import->parts->latest, series, latest);
}

bool import_is_cancelled(void *context) {
    const struct import *import = context;
    return import->request->cancelled != NULL && atomic_load(import->request->cancelled);
}

static enum err hold(struct import *import, enum task_hold level) {
    return task_group_hold(import->parts->tasks, level, import_is_cancelled, import, import->diag);
}

static enum err visit_state(void *context, struct slice row, struct slice value) {
    struct states *states = context;
    struct reader key = reader_of(row);
    uint32_t series = reader_be32(&key);
    if (reader_err(&key) == ERR_OK && series < states->count)
        states->hashes[series] ^= hash_bytes(value, hash_bytes(row, 1)); /* one for each basis, in any order */
    return ERR_OK;
}

enum err import_read_states(struct import *import, struct states *states) {
    char task[IMPORT_TASK_MAX];
    struct store_snapshot *snapshot = NULL;
    bool prices = import_format_of(import->reader) == IMPORT_PRICE_EVENTS;
    states->count = SERIES_COUNT_MAX;
    states->hashes = calloc(states->count, sizeof *states->hashes); /* pages that are never touched cost nothing */
    if (states->hashes == NULL) return ERR_NO_MEMORY;
    enum err err = store_snapshot_open(import->parts->store, &snapshot);
    if (err != ERR_OK) return err;
    import_owner(import, task);
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
    enum err err = import_read_states(import, &now);
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
    if (err == ERR_OK && import->parts->api != NULL) api_everything_changed(import->parts->api);
    return err;
}

/* The same content read another way, of another series say, is another import. */
static void identify(struct import *import, uint8_t content[static 16]) {
    uint64_t half;
    input_identity(import->input, content);
    memcpy(&half, content, sizeof half);
    half ^= import_reading(import->reader);
    memcpy(import->result.row.identity, content, 16);
    memcpy(import->result.row.identity, &half, sizeof half);
}

/* The number that comes next, or the row of the same import. */
static enum err look_up(struct import *import) {
    struct import_row *row = &import->result.row;
    uint8_t content[16];
    identify(import, content);
    struct numbering numbering = {.next = 1, .ours = row, .content = content};
    struct store_snapshot *snapshot = NULL;
    enum err err = store_snapshot_open(import->parts->store, &snapshot);
    if (err != ERR_OK) return err;
    err = import_rows_visit(import->parts->store, snapshot, visit_number, &numbering);
    store_snapshot_close(import->parts->store, &snapshot);
    if (err == ERR_FOREIGN) return store_other_version(import->diag, "the import register");
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

enum err import_finish(struct import *import) {
    struct import_row *row = &import->result.row;
    enum err err = look_up(import);
    if (err != ERR_OK || import->result.repeated) return err;
    if ((err = book_finish(import->book, import->diag)) != ERR_OK || (err = offer_newest(import)) != ERR_OK) return err;
    struct input_progress progress;
    input_progress(import->input, &progress);
    row->plain_bytes = progress.plain_bytes;
    row->committed_ms = sys_wall_ms(import->parts->sys);
    row->ledger = import_ledger_row(&import->counts);
    return seal_and_commit(import);
}
