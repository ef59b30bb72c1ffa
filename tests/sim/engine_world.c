#include "engine_world.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "candle/series_row.h"

enum { BASE_MS = 60000, GRACE_MS = 0, SEAL_REST = 1, TEXT_BYTES_MAX = 1 << 24, DAY_MS = 24 * 60 * 60 * 1000 };

static const char *const topics[STREAMS] = {"prices", "inbound-data-binance"};
static const char *const bases[SCRIPT_SERIES] = {"BTC", "ETH", "XRP"};

struct rows {
    struct buf text;
    uint64_t late, invalid; /* hashes of what was refused, in order */
    uint32_t late_count, invalid_count;
};

struct reference {
    struct rows rows;
    struct ledger_row ledger;
};

static void *must(void *memory) {
    if (memory == NULL) abort();
    return memory;
}

static void needs(enum err err, const struct diag *diag) {
    if (err == ERR_OK) return;
    fprintf(stderr, "the reference fails: %s: %s\n", err_name(err), diag != NULL ? diag->what : "");
    abort();
}

__attribute__((format(printf, 2, 3))) static void wrong(struct verdict *verdict, const char *format, ...) {
    if (verdict->wrong) return;
    va_list arguments;
    va_start(arguments, format);
    verdict->wrong = true;
    vsnprintf(verdict->what, sizeof verdict->what, format, arguments);
    va_end(arguments);
}

void world_tune_memory(void) { (void)mallopt(M_MMAP_THRESHOLD, 96 * 1024); /* said, it does not grow */ }

/* --- what is sent --- */

static struct sent *script_add(struct script *script, enum world_stream stream, int64_t append_ms) {
    if (script->count[stream] == SCRIPT_EVENTS_MAX) abort();
    struct sent *sent = &script->events[stream][script->count[stream]++];
    *sent = (struct sent){.append_ms = append_ms};
    return sent;
}

void script_add_price(struct script *script, uint32_t series, int64_t time_ms, uint32_t number, int64_t append_ms) {
    struct sent *sent = script_add(script, STREAM_PRICES, append_ms);
    snprintf(sent->key, sizeof sent->key, "kraken:%s/USD", bases[series]);
    snprintf(sent->text, sizeof sent->text,
             "{\"baseCurrency\":\"%s\",\"quoteCurrency\":\"USD\",\"exchange\":\"kraken\",\"price\":\"%u.%02u\","
             "\"baseVolumeLast24h\":\"%u\",\"quoteVolumeLast24h\":\"1\",\"timestampInMs\":%lld}",
             bases[series], 1000 + number * 7 % 50, number * 31 % 100, number, (long long)time_ms);
}

void script_add_trade(struct script *script, uint32_t series, int64_t id, int64_t time_ms, int64_t append_ms) {
    struct sent *sent = script_add(script, STREAM_TRADES, append_ms);
    snprintf(sent->key, sizeof sent->key, "%sUSDT", bases[series]);
    snprintf(
        sent->text, sizeof sent->text,
        "{\"e\":\"trade\",\"E\":%lld,\"s\":\"%sUSDT\",\"t\":%lld,\"p\":\"%lld.%02lld\",\"q\":\"0.%03lld\",\"T\":%lld,"
        "\"m\":%s,\"M\":true}",
        (long long)time_ms, bases[series], (long long)id, (long long)(2000 + id * 13 % 60), (long long)(id * 37 % 100),
        (long long)(1 + id % 998), (long long)time_ms, id % 3 == 0 ? "true" : "false");
}

void script_add_text(struct script *script, enum world_stream stream, const char *text, int64_t append_ms) {
    struct sent *sent = script_add(script, stream, append_ms);
    snprintf(sent->key, sizeof sent->key, "none");
    snprintf(sent->text, sizeof sent->text, "%s", text);
}

void script_add_again(struct script *script, enum world_stream stream, uint32_t index, int64_t append_ms) {
    const struct sent again = script->events[stream][index];
    struct sent *sent = script_add(script, stream, append_ms);
    *sent = again;
    sent->append_ms = append_ms;
}

static void rows_init(struct rows *rows) {
    *rows = (struct rows){0};
    buf_init(&rows->text, TEXT_BYTES_MAX);
}

void script_deinit(struct script *script) {
    for (int stream = 0; stream < STREAMS; stream++)
        for (int i = 0; i <= SCRIPT_EVENTS_MAX; i++) {
            struct reference *reference = script->references[stream][i];
            if (reference == NULL) continue;
            buf_deinit(&reference->rows.text);
            free(reference);
        }
}

/* --- a life of the machine --- */

static enum err open_topic(struct machine *m, const char *topic, const char *suffix, struct diag *diag,
                           struct log_partition **ret_partition) {
    char name[64];
    snprintf(name, sizeof name, "%s%s", topic, suffix);
    const struct log_topic_options options = {.partition_count = 1};
    enum err err = log_topic_create(m->log, name, &options, diag);
    return err == ERR_OK || err == ERR_EXISTS ? log_partition_find(m->log, name, 0, ret_partition) : err;
}

static enum err open_decoder(enum world_stream stream, struct series_table *series,
                             struct event_decoder **ret_decoder) {
    return stream == STREAM_PRICES ? price_event_decoder_open(series, ret_decoder)
                                   : venue_event_decoder_open("binance", series, ret_decoder);
}

static enum err open_task(struct machine *m, enum world_stream stream, struct diag *diag) {
    char name[64];
    struct event_decoder *decoder = NULL;
    snprintf(name, sizeof name, "candles/%s/0", topics[stream]);
    enum err err = open_decoder(stream, m->series, &decoder);
    if (err != ERR_OK) return err;
    const struct candle_task_options options = {
        .name = name,
        .log = m->log,
        .input = m->input[stream],
        .store = m->store,
        .shelf = m->shelf,
        .series = m->series,
        .latest = m->latest,
        .decoder = decoder,
        .base_ms = BASE_MS,
        .seal_rest = SEAL_REST,
        .late = m->late[stream],
        .invalid = m->invalid[stream],
        .stepped = true,
    };
    err = candle_processor_open(&options, diag, &m->processor[stream]);
    if (err != ERR_OK) {
        decoder->ops->close(&decoder);
        return err;
    }
    err = task_group_add(m->tasks, name, m->input[stream], m->processor[stream], diag, &m->task[stream]);
    if (err != ERR_OK) m->processor[stream]->ops->close(&m->processor[stream]);
    return err;
}

static enum err open_log(struct machine *m, struct diag *diag) {
    const struct log_options options = {.sys = sim_sys(m->sim),
                                        .folder = "log",
                                        .segment_bytes = 2048,
                                        .reserve_bytes = 1,
                                        .allocate_bytes = 512,
                                        .record_bytes = 4096};
    enum err err = sys_make_folders(options.sys, options.folder, diag);
    if (err == ERR_OK) err = log_open(&options, diag, &m->log);
    for (int s = 0; s < STREAMS && err == ERR_OK; s++) {
        err = open_topic(m, topics[s], "", diag, &m->input[s]);
        if (err == ERR_OK) err = open_topic(m, topics[s], ".late", diag, &m->late[s]);
        if (err == ERR_OK) err = open_topic(m, topics[s], ".invalid", diag, &m->invalid[s]);
    }
    return err;
}

static enum err open_store(struct machine *m, struct diag *diag) {
    uint8_t identity[16];
    struct store_snapshot *snapshot = NULL;
    log_identity(m->log, identity);
    m->store = store_memory_share(m->rows);
    enum err err = store_identify(m->store, identity, 1, diag);
    if (err == ERR_OK) err = series_table_open(&m->series);
    if (err == ERR_OK) err = latest_table_open(&m->latest);
    if (err == ERR_OK) err = store_snapshot_open(m->store, &snapshot);
    if (err == ERR_OK) err = series_rows_load(m->series, m->store, snapshot, diag);
    if (snapshot != NULL) store_snapshot_close(m->store, &snapshot);
    return err;
}

enum err machine_open(struct machine *m, struct diag *diag) {
    const struct sys *sys = sim_sys(m->sim);
    enum err err = open_log(m, diag);
    if (err == ERR_OK) err = open_store(m, diag);
    const struct shelf_options shelf = {
        .store = m->store, .log = m->log, .series = m->series, .base_ms = BASE_MS, .waste_bytes = 1};
    if (err == ERR_OK) err = shelf_open(&shelf, diag, &m->shelf);
    const struct task_group_options group = {.sys = sys, .log = m->log, .store = m->store};
    if (err == ERR_OK) err = task_group_open(&group, diag, &m->tasks);
    for (int s = 0; s < STREAMS && err == ERR_OK; s++) err = open_task(m, (enum world_stream)s, diag);
    return err;
}

void machine_drop(struct machine *m) {
    task_group_abandon(&m->tasks);
    if (m->shelf != NULL) shelf_close(&m->shelf);
    if (m->latest != NULL) latest_table_close(&m->latest);
    if (m->series != NULL) series_table_close(&m->series);
    if (m->store != NULL) store_close(&m->store);
    if (m->log != NULL) log_close(&m->log);
}

enum err machine_compact(struct machine *m, struct diag *diag) {
    struct shelf_compaction *compaction = NULL;
    enum err err = shelf_compaction_open(m->shelf, NULL, NULL, diag, &compaction);
    if (err == ERR_OK) err = shelf_compaction_run(compaction, NULL, diag);
    shelf_compaction_close(&compaction);
    return err;
}

/* --- candles as text --- */

static enum err put_row(void *context, const struct candle *candle) {
    struct rows *rows = context;
    /* Revision, final and last offset are functions of arrival and crashes, and which tier answers is of what is sealed; all
     * else is of the set of events. */
    struct candle c = *candle;
    c.revision = 0;
    c.reason = REASON_NONE;
    c.final = CANDLE_OPEN;
    c.native_ms = 60000;
    /* A bucket that misses minutes says so once it is over, which is of what is final too. */
    const int64_t length_ms = c.close_time_ms + 1 - c.open_time_ms;
    if (length_ms > 60000 && c.coverage >= COVERAGE_QUIET && c.covered_minutes * INT64_C(60000) < length_ms)
        c.coverage = COVERAGE_PARTIAL;
    candle_to_json(&rows->text, &(struct candle_style){"x", "x"}, &c);
    return ERR_OK;
}

/* What the fold knows of a series beside its candles: ids, counts, and how far its time has come. */
static void put_lane(struct rows *rows, struct book *book, uint32_t series, enum world_stream stream) {
    struct book_lane_info info;
    const struct lane lane = {series, stream == STREAM_PRICES ? BASIS_PRICES : BASIS_TRADES};
    if (book_lane(book, lane, &info) != ERR_OK) return;
    buf_printf(&rows->text,
               "{watermark %lld last %lld live %d ids %lld..%lld in %u, used %llu late %llu duplicate %llu}",
               (long long)info.watermark_ms, (long long)info.last_event_ms, info.live, (long long)info.first_id,
               (long long)info.last_id, info.range_count, (unsigned long long)info.used, (unsigned long long)info.late,
               (unsigned long long)info.duplicate);
}

static enum err read_candles(const struct candle_source *source, enum world_stream stream, int64_t from_ms,
                             struct rows *rows, struct diag *diag) {
    static const struct interval intervals[] = {{INTERVAL_MINUTE, 1}, {INTERVAL_MINUTE, 15}, {INTERVAL_DAY, 1}};
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < SCRIPT_SERIES * 3 && err == ERR_OK; i++) {
        const struct slice base = slice_text(bases[i / 3]);
        const struct series_key key = stream == STREAM_PRICES
                                          ? (struct series_key){SLICE("kraken"), base, SLICE("USD"), SERIES_PRICE}
                                          : (struct series_key){SLICE("binance"), base, SLICE("USDT"), SERIES_TRADE};
        const struct candle_query query = {
            .series = series_find(source->series, &key),
            .interval = intervals[i % 3],
            .from_ms = from_ms,
            .to_ms = from_ms + (int64_t)20 * DAY_MS,
        };
        buf_put_u8(&rows->text, '\n');
        if (i % 3 == 0 && query.series != SERIES_NONE) put_lane(rows, source->book, query.series, stream);
        if (query.series != SERIES_NONE) err = candle_read(source, &query, put_row, rows, diag);
    }
    return err;
}

static int64_t first_day(const struct script *script) {
    return (script->events[STREAM_PRICES][0].append_ms / DAY_MS - 3) * DAY_MS;
}

uint64_t machine_candles_hash(struct machine *m) {
    struct rows rows;
    struct diag diag = {0};
    uint64_t hash = 0;
    for (int s = 0; s < STREAMS; s++) {
        rows_init(&rows);
        const struct candle_source source = candle_processor_source(m->processor[s]);
        if (read_candles(&source, (enum world_stream)s, 0, &rows, &diag) == ERR_OK)
            hash = hash_bytes(buf_slice(&rows.text), hash);
        buf_deinit(&rows.text);
    }
    return hash;
}

/* --- the fold that never crashed, nor stored anything --- */

static void refused(struct rows *rows, enum event_fate fate, struct slice value) {
    uint64_t *hash = fate == FATE_LATE ? &rows->late : &rows->invalid;
    *hash = hash_bytes(value, *hash);
    ++*(fate == FATE_LATE ? &rows->late_count : &rows->invalid_count);
}

static void fold_one(struct book *book, struct event_decoder *decoder, const struct sent *sent, int64_t offset,
                     struct reference *r) {
    struct diag diag = {0};
    struct event event;
    uint32_t count = 0;
    struct book_counts counts = {0};
    enum event_fate fate = FATE_INVALID;
    const struct record record = {.timestamp_ms = sent->append_ms, .value = slice_text(sent->text)};
    enum err err = decoder->ops->decode(decoder, &record, &diag, &event, 1, &count);
    if (err == ERR_OK)
        needs(book_apply(book, &event, &offset, 1, &fate, &counts, &diag), &diag);
    else
        counts = (struct book_counts){.read = 1, .fate = {[FATE_INVALID] = 1}};
    if (fate == FATE_LATE || fate == FATE_INVALID) refused(&r->rows, fate, record.value);
    needs(book_clock(book, sent->append_ms, &diag), &diag);
    r->ledger.read += counts.read;
    r->ledger.used += counts.fate[FATE_USED];
    r->ledger.late += counts.fate[FATE_LATE];
    r->ledger.duplicate += counts.fate[FATE_DUPLICATE];
    r->ledger.invalid += counts.fate[FATE_INVALID];
}

static const struct reference *reference_of(struct script *script, enum world_stream stream, uint32_t count) {
    struct reference *r = script->references[stream][count];
    if (r != NULL) return r;
    struct diag diag = {0};
    struct series_table *table = NULL;
    struct book *book = NULL;
    struct event_decoder *decoder = NULL;
    script->references[stream][count] = r = must(calloc(1, sizeof *r));
    rows_init(&r->rows);
    needs(series_table_open(&table), NULL);
    const struct book_options options = {.series = table, .task = "reference", .base_ms = BASE_MS};
    needs(book_open(&options, &diag, &book), &diag);
    needs(open_decoder(stream, table, &decoder), NULL);
    for (uint32_t i = 0; i < count; i++) fold_one(book, decoder, &script->events[stream][i], i, r);
    const struct candle_source source = {.book = book, .series = table, .base_ms = BASE_MS};
    needs(read_candles(&source, stream, first_day(script), &r->rows, &diag), &diag);
    decoder->ops->close(&decoder);
    book_close(&book);
    series_table_close(&table);
    return r;
}

/* --- comparing --- */

static void compare_ledgers(const char *topic, const struct ledger_row *ours, const struct ledger_row *wanted,
                            struct verdict *verdict) {
    if (memcmp(ours, wanted, sizeof *ours) == 0) return;
    wrong(verdict,
          "the ledger of %s (ours/wanted): read %llu/%llu used %llu/%llu late %llu/%llu duplicate %llu/%llu "
          "invalid %llu/%llu",
          topic, (unsigned long long)ours->read, (unsigned long long)wanted->read, (unsigned long long)ours->used,
          (unsigned long long)wanted->used, (unsigned long long)ours->late, (unsigned long long)wanted->late,
          (unsigned long long)ours->duplicate, (unsigned long long)wanted->duplicate, (unsigned long long)ours->invalid,
          (unsigned long long)wanted->invalid);
}

static void compare_text(const char *topic, struct slice ours, struct slice wanted, struct verdict *verdict) {
    if (slice_equal(ours, wanted)) return;
    size_t at = 0;
    while (at < ours.size && at < wanted.size && ours.data[at] == wanted.data[at]) at++;
    const size_t from = at > 200 ? at - 200 : 0;
    wrong(verdict, "candles of %s, ours: %.*s\nwanted: %.*s", topic,
          (int)(ours.size - from < 400 ? ours.size - from : 400), ours.data + from,
          (int)(wanted.size - from < 400 ? wanted.size - from : 400), wanted.data + from);
}

static void compare_stream(struct machine *m, struct script *script, enum world_stream stream,
                           struct verdict *verdict) {
    struct task_info info;
    struct rows ours;
    struct diag diag = {0};
    task_group_info(m->tasks, stream, &info);
    if (info.offset > script->count[stream]) {
        wrong(verdict, "%s has %lld records, more than were sent", topics[stream], (long long)info.offset);
        return;
    }
    const struct reference *reference = reference_of(script, stream, (uint32_t)info.offset);
    compare_ledgers(topics[stream], &info.ledger, &reference->ledger, verdict);
    rows_init(&ours);
    const struct candle_source source = candle_processor_source(m->processor[stream]);
    enum err err = read_candles(&source, stream, first_day(script), &ours, &diag);
    if (err != ERR_OK) wrong(verdict, "candles of %s cannot be read: %s %s", topics[stream], err_name(err), diag.what);
    compare_text(topics[stream], buf_slice(&ours.text), buf_slice(&reference->rows.text), verdict);
    buf_deinit(&ours.text);
}

void machine_compare(struct machine *m, struct script *script, struct verdict *verdict) {
    for (int s = 0; s < STREAMS && !verdict->wrong; s++) compare_stream(m, script, (enum world_stream)s, verdict);
}

/* --- topics read back --- */

struct listing {
    const struct script *script;
    enum world_stream stream;
    uint32_t count;
    uint64_t hash;
    bool differs;
};

static enum err list_record(void *context, const struct record *record) {
    struct listing *l = context;
    if (l->script != NULL)
        l->differs |= l->count >= l->script->count[l->stream] ||
                      !slice_equal(record->value, slice_text(l->script->events[l->stream][l->count].text));
    l->hash = hash_bytes(record->value, l->hash);
    l->count++;
    return ERR_OK;
}

static void list_topic(struct log_partition *partition, struct listing *listing, struct verdict *verdict) {
    struct diag diag = {0};
    struct log_cursor *cursor = NULL;
    struct record_batch batch;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    enum err err = log_cursor_open(partition, 0, &diag, &cursor);
    while (err == ERR_OK && (err = log_cursor_next(cursor, &diag, &batch)) == ERR_OK) {
        arena_clear(&arena);
        err = record_batch_visit(&batch, &arena, list_record, listing);
    }
    if (err != ERR_END)
        wrong(verdict, "topic %s cannot be read back: %s %s", log_partition_topic(partition), err_name(err), diag.what);
    log_cursor_close(&cursor);
    arena_deinit(&arena);
}

static void judge_input(struct machine *m, const struct script *script, enum world_stream stream,
                        struct verdict *verdict) {
    struct listing listing = {.script = script, .stream = stream};
    uint32_t acknowledged = 0;
    list_topic(m->input[stream], &listing, verdict);
    for (uint32_t i = 0; i < script->count[stream]; i++)
        if (script->events[stream][i].acknowledged) acknowledged = i + 1;
    if (listing.differs) wrong(verdict, "a record of %s is not what was sent at its place", topics[stream]);
    if (listing.count < acknowledged)
        wrong(verdict, "%s holds %u records, but %u were acknowledged", topics[stream], listing.count, acknowledged);
}

static void judge_refused(struct log_partition *partition, uint32_t count, uint64_t hash, struct verdict *verdict) {
    struct listing listing = {0};
    list_topic(partition, &listing, verdict);
    if (listing.count != count || listing.hash != hash)
        wrong(verdict, "topic %s holds %u records where %u should be, exactly once", log_partition_topic(partition),
              listing.count, count);
}

void machine_judge(struct machine *m, struct script *script, struct verdict *verdict) {
    struct diag diag = {0};
    enum err err = task_group_catch_up(m->tasks, &diag);
    if (err != ERR_OK) wrong(verdict, "catching up: %s %s", err_name(err), diag.what);
    for (int s = 0; s < STREAMS && !verdict->wrong; s++) judge_input(m, script, (enum world_stream)s, verdict);
    machine_compare(m, script, verdict);
    if (verdict->wrong) return;
    if ((err = task_group_checkpoint(m->tasks, &diag)) != ERR_OK)
        wrong(verdict, "the checkpoint: %s %s", err_name(err), diag.what);
    for (int s = 0; s < STREAMS && !verdict->wrong; s++) {
        struct task_info info;
        task_group_info(m->tasks, (uint32_t)s, &info);
        const struct rows *rows = &reference_of(script, (enum world_stream)s, (uint32_t)info.offset)->rows;
        judge_refused(m->late[s], rows->late_count, rows->late, verdict);
        judge_refused(m->invalid[s], rows->invalid_count, rows->invalid, verdict);
    }
}
