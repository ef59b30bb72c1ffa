/* The candle task's processor: records of one partition -> events -> book, latest prices, watchers, and the topics of what
 * was late or invalid.
 *
 * Its own checkpoint rows: STORE_STATE ("<task>/outputs", "") = varint sequence of the late output, varint of the invalid
 * one, varint append time of the newest record folded (rows of earlier versions end before it). Latest prices are in
 * candle/latest_row.h; the book adds its own. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "candle/desk.h"
#include "candle/latest_row.h"
#include "flow/output.h"

enum {
    FOLD_EVENTS = 768, /* at a time, and what a record has more */
    EVENTS_MAX = FOLD_EVENTS + EVENTS_A_RECORD_MAX,
    WATCHERS_MAX = 4,
    FUTURE_MS = 5 * 60 * 1000,
    FREEZE_LANES = 64, /* between two turns: less than a millisecond */
    ARENA_BYTES_MAX = 256 * 1024 * 1024,
    PROCESSOR_MAGIC = 0x63616e64,
};

/* What must outlive the decoding of an event until its fate is known. */
struct origin_record {
    struct slice key, value;
    int64_t offset;
    int64_t timestamp_ms;
};

struct candle_processor {
    struct processor base;
    uint32_t magic;
    struct candle_task_options options;
    char name[128];
    struct book *book;
    struct output *late, *invalid;
    struct candle_watcher *watchers[WATCHERS_MAX];
    uint32_t watcher_count;
    struct arena arena;

    struct event *events;
    int64_t *offsets;
    enum event_fate *fates;
    struct origin_record *origins;
    uint32_t event_count;
    struct ledger_row *ledger; /* during a fold */
    struct diag *diag;

    int64_t append_ms;     /* of the newest record folded */
    uint8_t *latest_dirty; /* one a series number */
    uint32_t latest_capacity;
};

static struct candle_processor *self_of(struct processor *processor) {
    struct candle_processor *self = (struct candle_processor *)processor;
    assert(self->magic == PROCESSOR_MAGIC);
    return self;
}

/* --- what was refused, for people to read --- */

/* One copy, of however many events of the record are refused. */
static enum err put_refused(struct output *output, const struct origin_record *from, uint32_t events,
                            const char *reason, const char *detail) {
    char offset[24], count[16], size[24];
    snprintf(offset, sizeof offset, "%lld", (long long)from->offset);
    snprintf(count, sizeof count, "%u", events);
    struct record_header headers[5] = {{SLICE("reason"), slice_text(reason)}};
    struct record record = {.timestamp_ms = from->timestamp_ms,
                            .key = from->key,
                            .value = from->value,
                            .headers = headers,
                            .header_count = 1};
    if (detail[0] != '\0') {
        headers[record.header_count++] = (struct record_header){SLICE("detail"), slice_text(detail)};
        headers[record.header_count++] = (struct record_header){SLICE("offset"), slice_text(offset)};
    }
    if (events > 1) headers[record.header_count++] = (struct record_header){SLICE("events"), slice_text(count)};
    record_cut(&record, headers, size);
    return output_add(output, &record);
}

/* --- folding --- */

static enum err mark_latest(struct candle_processor *self, uint32_t series) {
    if (series >= self->latest_capacity) {
        uint32_t capacity = self->latest_capacity == 0 ? 1024 : self->latest_capacity;
        while (capacity <= series) capacity *= 2;
        uint8_t *dirty = realloc(self->latest_dirty, capacity);
        if (dirty == NULL) return ERR_NO_MEMORY;
        memset(dirty + self->latest_capacity, 0, capacity - self->latest_capacity);
        self->latest_dirty = dirty;
        self->latest_capacity = capacity;
    }
    self->latest_dirty[series] = 1;
    return ERR_OK;
}

static void count_fates(struct ledger_row *ledger, const struct book_counts *counts) {
    ledger->read += counts->read;
    ledger->used += counts->fate[FATE_USED];
    ledger->late += counts->fate[FATE_LATE];
    ledger->duplicate += counts->fate[FATE_DUPLICATE];
    ledger->invalid += counts->fate[FATE_INVALID];
    ledger->filtered += counts->fate[FATE_FILTERED];
}

/* The events of a record that met this fate, told at the first of them; 0 at the others. */
static uint32_t record_fates(const struct candle_processor *self, uint32_t i) {
    const int64_t offset = self->offsets[i];
    for (uint32_t j = i; j-- > 0 && self->offsets[j] == offset;)
        if (self->fates[j] == self->fates[i]) return 0;
    uint32_t count = 0;
    for (uint32_t j = i; j < self->event_count && self->offsets[j] == offset; j++)
        count += self->fates[j] == self->fates[i];
    return count;
}

static enum err copy_refused(struct candle_processor *self, uint32_t i, struct output *output, const char *reason) {
    const uint32_t events = record_fates(self, i);
    return events == 0 ? ERR_OK : put_refused(output, &self->origins[i], events, reason, "");
}

static enum err after_fate(struct candle_processor *self, uint32_t i) {
    switch (self->fates[i]) {
        case FATE_USED: {
            enum err err = latest_offer(self->options.latest, &self->events[i], self->offsets[i]);
            return err != ERR_OK ? err : mark_latest(self, self->events[i].series);
        }
        case FATE_LATE: return copy_refused(self, i, self->late, "late");
        case FATE_INVALID: return copy_refused(self, i, self->invalid, "refused");
        default: return ERR_OK;
    }
}

static enum err fold_events(struct candle_processor *self) {
    if (self->event_count == 0) return ERR_OK;
    struct book_counts counts = {0};
    enum err err =
        book_apply(self->book, self->events, self->offsets, self->event_count, self->fates, &counts, self->diag);
    if (err != ERR_OK) return err;
    count_fates(self->ledger, &counts);
    enum { AHEAD = 8 };
    for (uint32_t i = 0; i < self->event_count && err == ERR_OK; i++) {
        if (i + AHEAD < self->event_count) latest_expect(self->options.latest, self->events[i + AHEAD].series);
        err = after_fate(self, i);
    }
    self->event_count = 0;
    return err;
}

static enum err refuse(struct candle_processor *self, const struct record *record, uint32_t events, enum err reason,
                       const char *detail) {
    const struct origin_record origin = {record->key, record->value, record->offset, record->timestamp_ms};
    self->ledger->read += events;
    self->ledger->invalid += events;
    return put_refused(self->invalid, &origin, events, err_name(reason), detail);
}

static bool is_status(const struct record *record) {
    for (uint32_t i = 0; i < record->header_count; i++)
        if (slice_equal(record->headers[i].key, SLICE(STATUS_HEADER))) return true;
    return false;
}

/* Keeps the events of one record that are not from the future, beside where they came from. */
static enum err keep_events(struct candle_processor *self, const struct record *record, uint32_t count) {
    const uint32_t first = self->event_count;
    for (uint32_t i = first; i < first + count; i++) {
        if (self->events[i].time_ms > record->timestamp_ms + FUTURE_MS) continue;
        const uint32_t at = self->event_count++;
        if (at != i) self->events[at] = self->events[i];
        self->offsets[at] = record->offset;
        self->origins[at] = (struct origin_record){record->key, record->value, record->offset, record->timestamp_ms};
    }
    const uint32_t future = first + count - self->event_count;
    if (future == 0) return ERR_OK;
    return refuse(self, record, future, ERR_FUTURE, "event time is more than 5 minutes ahead of append time");
}

static enum err visit_record(void *context, const struct record *record) {
    struct candle_processor *self = context;
    if (is_status(record) || record->value.data == NULL) return ERR_OK;
    enum err err = ERR_OK;
    if (self->event_count > FOLD_EVENTS && (err = fold_events(self)) != ERR_OK) return err;
    struct diag diag = {0};
    uint32_t count = 0;
    err = self->options.decoder->ops->decode(self->options.decoder, record, &diag, self->events + self->event_count,
                                             EVENTS_A_RECORD_MAX, &count);
    if (err == ERR_END) return ERR_OK;
    if (err_class(err) == ERR_CLASS_INPUT) return refuse(self, record, 1, err, diag.what);
    if (err != ERR_OK) return err;
    return keep_events(self, record, count);
}

static enum err fold(struct processor *processor, const struct record_batch *batch, struct ledger_row *ledger,
                     struct diag *diag) {
    struct candle_processor *self = self_of(processor);
    self->ledger = ledger;
    self->diag = diag;
    arena_clear(&self->arena);
    enum err err = record_batch_visit(batch, &self->arena, visit_record, self);
    if (err == ERR_OK) err = fold_events(self);
    if (err == ERR_OK) err = book_clock(self->book, batch->max_timestamp_ms, diag);
    if (err == ERR_OK) err = output_submit(self->late);
    if (err == ERR_OK) err = output_submit(self->invalid);
    self->event_count = 0;
    if (batch->max_timestamp_ms > self->append_ms) self->append_ms = batch->max_timestamp_ms;
    return err;
}

/* --- telling the watchers --- */

static enum err tell(void *context, const struct book_changed *changed) {
    struct candle_processor *self = context;
    for (uint32_t i = 0; i < self->watcher_count; i++) self->watchers[i]->changed(self->watchers[i], changed);
    return ERR_OK;
}

static void turn_ended(struct processor *processor) {
    struct candle_processor *self = self_of(processor);
    if (self->watcher_count == 0) return;
    (void)!book_changes(self->book, tell, self);
    for (uint32_t i = 0; i < self->watcher_count; i++)
        if (self->watchers[i]->turn_ended != NULL) self->watchers[i]->turn_ended(self->watchers[i]);
}

enum err candle_processor_watch(struct processor *processor, struct candle_watcher *watcher) {
    struct candle_processor *self = self_of(processor);
    if (self->watcher_count == WATCHERS_MAX) return ERR_LIMIT;
    self->watchers[self->watcher_count++] = watcher;
    return ERR_OK;
}

/* --- checkpoints --- */

static struct store_key outputs_key(const struct candle_processor *self, char partition[static 160]) {
    snprintf(partition, 160, "%s/outputs", self->name);
    return (struct store_key){STORE_STATE, slice_text(partition), SLICE("")};
}

static void put_outputs(struct candle_processor *self, struct store_batch *batch) {
    char partition[160];
    const struct store_key key = outputs_key(self, partition);
    struct buf value;
    buf_init(&value, 64);
    buf_put_varint(&value, output_sequence(self->late));
    buf_put_varint(&value, output_sequence(self->invalid));
    buf_put_varint(&value, self->append_ms);
    store_batch_put_buf(batch, &key, &value);
    buf_deinit(&value);
}

/* The clock that closes candles goes on where it was: what was over stays over, even if nothing more comes. */
static enum err restore_outputs(struct candle_processor *self, struct store_snapshot *snapshot, struct diag *diag) {
    char partition[160];
    const struct store_key key = outputs_key(self, partition);
    struct slice value;
    enum err err = store_get(self->options.store, snapshot, &key, &value);
    if (err == ERR_NOT_FOUND) return ERR_OK;
    if (err != ERR_OK) return err;
    struct reader in = reader_of(value);
    int64_t late = reader_varint(&in), invalid = reader_varint(&in);
    if (reader_left(&in) > 0) self->append_ms = reader_varint(&in);
    if (reader_end(&in) != ERR_OK) return ERR_CORRUPT;
    output_restore(self->late, (int32_t)late);
    output_restore(self->invalid, (int32_t)invalid);
    return self->append_ms > 0 ? book_clock(self->book, self->append_ms, diag) : ERR_OK;
}

static enum err load(struct processor *processor, struct store_snapshot *snapshot, struct diag *diag) {
    struct candle_processor *self = self_of(processor);
    enum err err = latest_rows_restore(self->options.store, snapshot, self->name, self->options.latest);
    if (err == ERR_OK) err = restore_outputs(self, snapshot, diag);
    if (err != ERR_OK) return diag_set(diag, err, "the checkpointed state of task %s cannot be read", self->name);
    return ERR_OK;
}

static enum err freeze(struct processor *processor, struct store_snapshot *snapshot, struct store_batch *batch,
                       struct diag *diag) {
    struct candle_processor *self = self_of(processor);
    enum err err = book_freeze_begin(self->book, snapshot, batch, diag);
    if (err != ERR_OK) return err;
    for (uint32_t series = 0; series < self->latest_capacity; series++) {
        if (!self->latest_dirty[series]) continue;
        struct latest latest;
        if (latest_get(self->options.latest, series, &latest) == ERR_OK)
            latest_row_put(batch, self->name, series, &latest);
        self->latest_dirty[series] = 0;
    }
    put_outputs(self, batch);
    err = shelf_expire(self->options.shelf, snapshot, self->append_ms, batch, diag);
    return err == ERR_OK ? store_batch_err(batch) : err;
}

static enum err freeze_more(struct processor *processor, struct diag *diag, bool *ret_more) {
    uint32_t left;
    enum err err = book_freeze_some(self_of(processor)->book, FREEZE_LANES, diag, &left);
    if (err == ERR_OK) *ret_more = left > 0;
    return err;
}

static enum err flush(struct processor *processor, struct store_batch *batch, struct diag *diag) {
    struct candle_processor *self = self_of(processor);
    enum err err = shelf_flush(self->options.shelf, batch, diag);
    if (err == ERR_OK) err = output_flush(self->late, self->options.stepped);
    if (err == ERR_OK) err = output_flush(self->invalid, self->options.stepped);
    return err;
}

static bool is_stuck(struct processor *processor) {
    struct candle_processor *self = self_of(processor);
    return output_is_stuck(self->late) || output_is_stuck(self->invalid);
}

static void committed(struct processor *processor) { book_committed(self_of(processor)->book); }

/* --- life cycle --- */

static void close_processor(struct processor **processor) {
    if (*processor == NULL) return;
    struct candle_processor *self = self_of(*processor);
    if (self->late != NULL) (void)!output_flush(self->late, self->options.stepped);
    if (self->invalid != NULL) (void)!output_flush(self->invalid, self->options.stepped);
    output_close(&self->late);
    output_close(&self->invalid);
    book_close(&self->book);
    if (self->options.decoder != NULL) self->options.decoder->ops->close(&self->options.decoder);
    arena_deinit(&self->arena);
    free(self->events);
    free(self->offsets);
    free(self->fates);
    free(self->origins);
    free(self->latest_dirty);
    free(self);
    *processor = NULL;
}

static const struct processor_ops candle_processor_ops = {
    .name = "candles",
    .load = load,
    .fold = fold,
    .is_stuck = is_stuck,
    .turn_ended = turn_ended,
    .freeze = freeze,
    .freeze_more = freeze_more,
    .flush = flush,
    .committed = committed,
    .close = close_processor,
};

static enum err open_outputs(struct candle_processor *self) {
    char name[160];
    const struct candle_task_options *o = &self->options;
    snprintf(name, sizeof name, "%s/late", self->name);
    enum err err = output_open(o->log, o->read_only ? NULL : o->late, name, &self->late);
    snprintf(name, sizeof name, "%s/invalid", self->name);
    if (err == ERR_OK) err = output_open(o->log, o->read_only ? NULL : o->invalid, name, &self->invalid);
    return err;
}

static enum err open_book(const struct candle_processor *self, struct diag *diag, struct book **ret_book) {
    const struct book_options options = {
        .series = self->options.series,
        .shelf = self->options.shelf,
        .store = self->options.store,
        .task = self->name,
        .base_ms = self->options.base_ms,
        .price_grace_ms = self->options.price_grace_ms,
        .refold = self->options.refold,
        .seal_rest = self->options.seal_rest,
    };
    return book_open(&options, diag, ret_book);
}

enum err candle_processor_reload(struct processor *processor, struct diag *diag) {
    struct candle_processor *self = self_of(processor);
    struct book *book = NULL;
    enum err err = open_book(self, diag, &book);
    if (err == ERR_OK && self->append_ms > 0) err = book_clock(book, self->append_ms, diag);
    if (err != ERR_OK) {
        book_close(&book);
        return err;
    }
    book_close(&self->book);
    self->book = book;
    return ERR_OK;
}

enum err candle_processor_open(const struct candle_task_options *options, struct diag *diag,
                               struct processor **ret_processor) {
    struct candle_processor *self = calloc(1, sizeof *self);
    if (self == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for task %s", options->name);
    self->base.ops = &candle_processor_ops;
    self->magic = PROCESSOR_MAGIC;
    self->options = *options;
    snprintf(self->name, sizeof self->name, "%s", options->name);
    self->options.name = self->name;
    arena_init(&self->arena, ARENA_BYTES_MAX);
    self->events = aligned_alloc(64, EVENTS_MAX * sizeof *self->events);
    self->offsets = calloc(EVENTS_MAX, sizeof *self->offsets);
    self->fates = calloc(EVENTS_MAX, sizeof *self->fates);
    self->origins = calloc(EVENTS_MAX, sizeof *self->origins);
    enum err err = open_outputs(self);
    if (self->events == NULL || self->offsets == NULL || self->fates == NULL || self->origins == NULL)
        err = diag_set(diag, ERR_NO_MEMORY, "no memory for task %s", options->name);
    if (err == ERR_OK) err = open_book(self, diag, &self->book);
    struct processor *processor = &self->base;
    if (err != ERR_OK) {
        self->options.decoder = NULL; /* stays the caller's on failure */
        close_processor(&processor);
        return err;
    }
    *ret_processor = processor;
    return ERR_OK;
}

struct candle_source candle_processor_source(struct processor *processor) {
    struct candle_processor *self = self_of(processor);
    return (struct candle_source){
        .book = self->book,
        .shelf = self->options.shelf,
        .store = self->options.store,
        .series = self->options.series,
        .base_ms = self->options.base_ms,
    };
}
