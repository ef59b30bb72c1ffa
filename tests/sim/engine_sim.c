/* The whole engine on a simulated machine from one seed: prices are appended, folded, checkpointed, sealed; the machine
 * crashes at random operations with random outcomes for whatever was not synced; clients send again what was not
 * acknowledged. In the end nothing acknowledged is missing, the ledger accounts for every record, what was late is in
 * `prices.late` exactly once, and the candles are those of a fold that never crashed.
 *
 *   sim-engine [RUNS [FIRST SEED]]       runs that many seeds; prints how many states were visited and the trace's hash
 *
 * The same seed gives the same trace, which every tenth run is repeated to see. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/testing.h"
#include "candle/desk.h"
#include "engine/engine.h"
#include "engine/generate.h"
#include "sys/sim.h"

enum { EVENTS = 160, SERIES = 3, EVENT_BYTES = 256, STEPS_MAX = 4000, ROWS_MAX = 4096, IN_FLIGHT_MAX = 8 };
static const int64_t T0_MS = 1700000000000;

static const char *const bases[SERIES] = {"BTC", "ETH", "XRP"};

struct sent {
    char text[EVENT_BYTES];
    char key[32];
    bool acknowledged;
    bool in_flight;
};

struct flight {
    struct log_append append;
    struct record_batch_builder builder;
    uint32_t first, count; /* of `order` */
    bool busy;
    struct world *world;
};

struct world {
    uint64_t seed;
    struct prng prng;
    struct sim *sim;
    struct store *rows; /* outlives the machine: what was committed there is durable */
    struct sent events[EVENTS];
    uint32_t next;
    struct flight flights[IN_FLIGHT_MAX];
    /* of one life of the machine */
    struct log *log;
    struct store *store;
    struct series_table *series;
    struct latest_table *latest;
    struct shelf *shelf;
    struct task_group *tasks;
    struct task *task;
    struct processor *processor;
    struct log_partition *prices, *late, *invalid;
    /* what happened */
    uint64_t trace;
    uint64_t states;
    uint64_t crash_in; /* watched operations until the next crash; 0: none is planned */
    bool crashed;
    uint8_t choices[SIM_CHOICES_MAX];
    struct sim *after;
};

static void fail(const struct world *w, const char *what, const char *detail) {
    printf("seed %llu: %s: %s\n", (unsigned long long)w->seed, what, detail);
    printf("states %llu violations 1\n", (unsigned long long)w->states);
    exit(1);
}

static void must(const struct world *w, enum err err, const char *what, const struct diag *diag) {
    if (err != ERR_OK) fail(w, what, diag != NULL && diag->what[0] ? diag->what : err_message(err));
}

static void note(struct world *w, uint64_t what) { w->trace = hash_bytes(slice_of(&what, sizeof what), w->trace); }

static uint64_t below(struct world *w, uint64_t n) { return prng_below(&w->prng, n); }

/* --- what is sent --- */

static void make_events(struct world *w) {
    int64_t now_ms = T0_MS;
    for (uint32_t i = 0; i < EVENTS; i++) {
        struct sent *s = &w->events[i];
        const char *base = bases[below(w, SERIES)];
        now_ms += (int64_t)below(w, 9000);
        int64_t time_ms = now_ms - (int64_t)below(w, 6000);
        if (below(w, 12) == 0) time_ms -= 15000 + (int64_t)below(w, 100000); /* behind the grace */
        snprintf(s->key, sizeof s->key, "kraken:%s/USD", base);
        if (below(w, 25) == 0)
            snprintf(s->text, sizeof s->text, "{\"baseCurrency\":\"%s\",\"price\":\"x%u\"}", base, i);
        else
            snprintf(
                s->text, sizeof s->text,
                "{\"baseCurrency\":\"%s\",\"quoteCurrency\":\"USD\",\"exchange\":\"kraken\",\"price\":\"%llu.%llu\","
                "\"baseVolumeLast24h\":\"%u\",\"quoteVolumeLast24h\":\"1\",\"timestampInMs\":%lld}",
                base, (unsigned long long)(1000 + below(w, 50)), (unsigned long long)below(w, 100), i,
                (long long)time_ms);
        if (i > 0 && below(w, 15) == 0) *s = w->events[i - 1]; /* a duplicate */
    }
}

/* --- one life of the machine --- */

static struct log_partition *topic(struct world *w, const char *name) {
    struct diag diag = {0};
    struct log_partition *partition = NULL;
    const struct log_topic_options options = {.partition_count = 1};
    enum err err = log_topic_create(w->log, name, &options, &diag);
    if (err == ERR_OK || err == ERR_EXISTS) err = log_partition_find(w->log, name, 0, &partition);
    if (err != ERR_OK && !w->crashed) must(w, err, name, &diag);
    return partition;
}

static enum err open_tasks(struct world *w, struct diag *diag) {
    const struct sys *sys = sim_sys(w->sim);
    const struct task_group_options group = {.sys = sys, .log = w->log, .store = w->store};
    enum err err = task_group_open(&group, diag, &w->tasks);
    struct event_decoder *decoder = NULL;
    if (err == ERR_OK) err = price_event_decoder_open(w->series, &decoder);
    const struct candle_task_options options = {
        .name = "candles/prices/0",
        .log = w->log,
        .input = w->prices,
        .store = w->store,
        .shelf = w->shelf,
        .series = w->series,
        .latest = w->latest,
        .decoder = decoder,
        .base_ms = 60000,
        .late = w->late,
        .invalid = w->invalid,
        .stepped = true,
    };
    if (err == ERR_OK) err = candle_processor_open(&options, diag, &w->processor);
    if (err != ERR_OK && decoder != NULL) decoder->ops->close(&decoder);
    if (err == ERR_OK) {
        err = task_group_add(w->tasks, options.name, w->prices, w->processor, diag, &w->task);
        if (err != ERR_OK) w->processor->ops->close(&w->processor);
    }
    return err;
}

/* Recovery itself may be crashed: then this answers false, and is called again on what is left. */
static bool start_machine(struct world *w) {
    struct diag diag = {0};
    w->crashed = false;
    const struct log_options log = {
        .sys = sim_sys(w->sim), .folder = "log", .segment_bytes = 16 * 1024, .reserve_bytes = 4096};
    enum err err = sys_make_folders(log.sys, log.folder, &diag);
    if (err == ERR_OK) err = log_open(&log, &diag, &w->log);
    if (err == ERR_OK && !w->crashed) {
        w->prices = topic(w, "prices");
        w->late = topic(w, "prices.late");
        w->invalid = topic(w, "prices.invalid");
    }
    if (w->crashed) return false;
    must(w, err, "recovery", &diag);
    w->store = store_memory_share(w->rows);
    must(w, series_table_open(&w->series), "series", NULL);
    must(w, latest_table_open(&w->latest), "latest", NULL);
    const struct shelf_options shelf = {.store = w->store, .log = w->log, .series = w->series, .base_ms = 60000};
    err = shelf_open(&shelf, &diag, &w->shelf);
    if (err == ERR_OK && !w->crashed) err = open_tasks(w, &diag);
    if (w->crashed) return false;
    must(w, err, "start", &diag);
    return true;
}

/* The process is gone: its memory is given back, and nothing it does now reaches the disk that goes on. */
static void drop_machine(struct world *w) {
    task_group_abandon(&w->tasks);
    if (w->shelf != NULL) shelf_close(&w->shelf);
    if (w->latest != NULL) latest_table_close(&w->latest);
    if (w->series != NULL) series_table_close(&w->series);
    if (w->store != NULL) store_close(&w->store);
    if (w->log != NULL) log_close(&w->log);
    for (uint32_t i = 0; i < IN_FLIGHT_MAX; i++) w->flights[i].busy = false;
    for (uint32_t i = 0; i < EVENTS; i++) w->events[i].in_flight = false;
}

static void before_operation(void *context, enum sim_operation operation) {
    struct world *w = context;
    note(w, 100 + (uint64_t)operation);
    w->states++;
    if (w->crashed || w->crash_in == 0 || --w->crash_in > 0) return;
    /* What the machine would be after a crash right here is put aside; what goes on happens in a process that is dead. */
    uint8_t outcomes[SIM_CHOICES_MAX];
    uint32_t count = sim_choices(w->sim, outcomes);
    for (uint32_t i = 0; i < count; i++) w->choices[i] = (uint8_t)below(w, outcomes[i]);
    sim_crash(w->sim, w->choices, below(w, UINT64_MAX), w->after);
    w->crashed = true;
    /* A commit of the store that has not begun will not happen. */
    store_memory_crash(w->rows, 0);
}

static void restart(struct world *w) {
    do {
        drop_machine(w);
        struct sim *dead = w->sim;
        w->sim = w->after;
        w->after = dead;
        store_memory_crash(w->rows, UINT32_MAX);
        sim_watch(w->after, NULL, NULL);
        sim_watch(w->sim, before_operation, w);
        w->crash_in = below(w, 4) == 0 ? 1 + below(w, 30) : 0; /* now and then in the middle of recovery */
        note(w, 7);
    } while (!start_machine(w));
    if (w->crash_in == 0) w->crash_in = 1 + below(w, 200);
}

/* --- clients --- */

static void appended(struct log_append *append) {
    struct flight *flight = append->context;
    struct world *w = flight->world;
    flight->busy = false;
    for (uint32_t i = 0; i < flight->count; i++) {
        struct sent *s = &w->events[flight->first + i];
        s->in_flight = false;
        if (append->err == ERR_OK && !w->crashed) s->acknowledged = true;
    }
}

/* Clients send in order, and again from the first that was not acknowledged: what the log has already, it drops by
 * producer id and sequence. */
static void send_some(struct world *w) {
    struct flight *flight = NULL;
    for (uint32_t i = 0; i < IN_FLIGHT_MAX && flight == NULL; i++)
        if (!w->flights[i].busy) flight = &w->flights[i];
    uint32_t first = 0;
    while (first < EVENTS && (w->events[first].acknowledged || w->events[first].in_flight)) first++;
    if (flight == NULL || first == EVENTS) return;
    flight->first = first;
    flight->count = 1; /* one event a batch: a retry makes the same batches whatever was acknowledged */
    flight->world = w;
    record_batch_begin(&flight->builder, RECORD_CODEC_NONE);
    struct sent *s = &w->events[first];
    const struct record record = {
        .timestamp_ms = T0_MS + 10000000, .key = slice_text(s->key), .value = slice_text(s->text)};
    must(w, record_batch_add(&flight->builder, &record), "batch", NULL);
    record_batch_set_producer(&flight->builder, 77, 0, (int32_t)first);
    must(w, record_batch_end(&flight->builder), "batch", NULL);
    s->in_flight = true;
    flight->busy = true;
    flight->append = (struct log_append){
        .partition = w->prices,
        .batch = flight->builder.bytes.data,
        .batch_bytes = (uint32_t)flight->builder.bytes.size,
        .record_count = 1,
        .done = appended,
        .context = flight,
    };
    log_submit(w->log, &flight->append);
}

/* --- the end: what must hold --- */

struct listing {
    struct world *w;
    uint32_t count;
};

static enum err expect_record(void *context, const struct record *record) {
    struct listing *l = context;
    if (l->count >= EVENTS || !slice_equal(record->value, slice_text(l->w->events[l->count].text)))
        fail(l->w, "the log", "a record is not what was sent at its place");
    l->count++;
    return ERR_OK;
}

static enum err count_record(void *context, const struct record *record) {
    (void)record;
    ((struct listing *)context)->count++;
    return ERR_OK;
}

static uint32_t visit_topic(struct world *w, struct log_partition *partition,
                            enum err (*visit)(void *context, const struct record *record)) {
    struct diag diag = {0};
    struct log_cursor *cursor = NULL;
    struct listing listing = {.w = w};
    struct arena arena;
    arena_init(&arena, 1 << 20);
    must(w, log_cursor_open(partition, 0, &diag, &cursor), "reading back", &diag);
    struct record_batch batch;
    enum err err;
    while ((err = log_cursor_next(cursor, &diag, &batch)) == ERR_OK) {
        arena_clear(&arena);
        must(w, record_batch_visit(&batch, &arena, visit, &listing), "reading back", NULL);
    }
    if (err != ERR_END) must(w, err, "reading back", &diag);
    log_cursor_close(&cursor);
    arena_deinit(&arena);
    return listing.count;
}

struct rows {
    struct buf text;
    uint32_t count;
};

static enum err put_row(void *context, const struct candle *candle) {
    struct rows *rows = context;
    /* Revision, final and last offset are functions of arrival and crashes; all else is of the set of events. */
    struct candle c = *candle;
    c.revision = 0;
    c.reason = REASON_NONE;
    c.final = CANDLE_OPEN;
    candle_to_json(&rows->text, &(struct candle_style){"x", "1m"}, &c);
    rows->count++;
    return ERR_OK;
}

static void read_all(struct world *w, const struct candle_source *source, const struct series_table *table,
                     struct rows *rows) {
    struct diag diag = {0};
    for (uint32_t i = 0; i < SERIES; i++) {
        const struct series_key key = {SLICE("kraken"), slice_text(bases[i]), SLICE("USD"), SERIES_PRICE};
        struct candle_query query = {
            .series = series_find(table, &key),
            .interval = {INTERVAL_MINUTE, 1},
            .from_ms = T0_MS - 86400000,
            .to_ms = T0_MS + 86400000,
        };
        if (query.series == SERIES_NONE) continue;
        must(w, candle_read(source, &query, put_row, rows, &diag), "reading candles", &diag);
    }
}

/* The fold that never crashed, nor stored anything. */
static void fold_reference(struct world *w, uint32_t count_events, struct rows *rows, struct ledger_row *ret_ledger) {
    struct diag diag = {0};
    struct series_table *table = NULL;
    struct book *book = NULL;
    struct event_decoder *decoder = NULL;
    must(w, series_table_open(&table), "series", NULL);
    const struct book_options options = {.series = table, .task = "reference", .base_ms = 60000};
    must(w, book_open(&options, &diag, &book), "book", &diag);
    must(w, price_event_decoder_open(table, &decoder), "decoder", NULL);
    struct book_counts counts = {0};
    for (uint32_t i = 0; i < count_events; i++) {
        struct event event;
        uint32_t count = 0;
        const struct record record = {.timestamp_ms = T0_MS + 10000000, .value = slice_text(w->events[i].text)};
        enum err err = decoder->ops->decode(decoder, &record, &diag, &event, 1, &count);
        if (err != ERR_OK) {
            counts.read++;
            counts.fate[FATE_INVALID]++;
            continue;
        }
        int64_t offset = i;
        must(w, book_apply(book, &event, &offset, 1, NULL, &counts, &diag), "fold", &diag);
    }
    *ret_ledger = (struct ledger_row){
        .read = counts.read,
        .used = counts.fate[FATE_USED],
        .late = counts.fate[FATE_LATE],
        .duplicate = counts.fate[FATE_DUPLICATE],
        .invalid = counts.fate[FATE_INVALID],
    };
    const struct candle_source source = {.book = book, .series = table, .base_ms = 60000};
    read_all(w, &source, table, rows);
    decoder->ops->close(&decoder);
    book_close(&book);
    series_table_close(&table);
}

static void compare_ledgers(struct world *w, const struct ledger_row *ours, const struct ledger_row *wanted) {
    char text[256];
    if (memcmp(ours, wanted, sizeof *ours) == 0) return;
    snprintf(text, sizeof text, "read %llu/%llu used %llu/%llu late %llu/%llu duplicate %llu/%llu invalid %llu/%llu",
             (unsigned long long)ours->read, (unsigned long long)wanted->read, (unsigned long long)ours->used,
             (unsigned long long)wanted->used, (unsigned long long)ours->late, (unsigned long long)wanted->late,
             (unsigned long long)ours->duplicate, (unsigned long long)wanted->duplicate,
             (unsigned long long)ours->invalid, (unsigned long long)wanted->invalid);
    fail(w, "the ledger (ours/wanted)", text);
}

static void show_difference(const struct world *w, const struct rows *ours, const struct rows *wanted) {
    size_t at = 0;
    while (at < ours->text.size && at < wanted->text.size && ours->text.data[at] == wanted->text.data[at]) at++;
    size_t from = at > 400 ? at - 400 : 0;
    printf("ours:   %.*s\n", (int)(ours->text.size - from < 800 ? ours->text.size - from : 800),
           ours->text.data + from);
    printf("wanted: %.*s\n", (int)(wanted->text.size - from < 800 ? wanted->text.size - from : 800),
           wanted->text.data + from);
    fail(w, "candles", "not those of the reference");
}

/* What is folded is what a fold of the records below the task's offset gives. */
static struct ledger_row compare_with_reference(struct world *w) {
    struct rows ours = {0}, wanted = {0};
    struct ledger_row ledger;
    struct task_info info;
    buf_init(&ours.text, 1 << 24);
    buf_init(&wanted.text, 1 << 24);
    task_group_info(w->tasks, 0, &info);
    fold_reference(w, (uint32_t)info.offset, &wanted, &ledger);
    compare_ledgers(w, &info.ledger, &ledger);
    const struct candle_source source = candle_processor_source(w->processor);
    read_all(w, &source, w->series, &ours);
    if (!slice_equal(buf_slice(&ours.text), buf_slice(&wanted.text))) show_difference(w, &ours, &wanted);
    note(w, hash_bytes(buf_slice(&ours.text), 0));
    buf_deinit(&ours.text);
    buf_deinit(&wanted.text);
    return ledger;
}

static void judge(struct world *w) {
    struct diag diag = {0};
    must(w, task_group_catch_up(w->tasks, &diag), "catching up", &diag);
    if (visit_topic(w, w->prices, expect_record) != EVENTS) fail(w, "the log", "an acknowledged event is missing");
    const struct ledger_row ledger = compare_with_reference(w);
    must(w, task_group_checkpoint(w->tasks, &diag), "last checkpoint", &diag);
    if (visit_topic(w, w->late, count_record) != ledger.late)
        fail(w, "prices.late", "not every late event exactly once");
    if (visit_topic(w, w->invalid, count_record) != ledger.invalid)
        fail(w, "prices.invalid", "not every invalid event exactly once");
}

/* --- a run --- */

static bool all_acknowledged(const struct world *w) {
    for (uint32_t i = 0; i < EVENTS; i++)
        if (!w->events[i].acknowledged) return false;
    return true;
}

static void act(struct world *w) {
    struct diag diag = {0};
    bool worked;
    uint32_t appends;
    enum err err = ERR_OK;
    switch (below(w, 8)) {
        case 0:
        case 1:
        case 2: send_some(w); break;
        case 3:
        case 4: err = log_step(w->log, &appends); break;
        case 5:
        case 6: err = task_group_step(w->tasks, &diag, &worked); break;
        case 7: err = task_group_checkpoint(w->tasks, &diag); break;
    }
    sim_advance(w->sim, (int64_t)below(w, 50));
    if (!w->crashed) must(w, err, "a step", &diag);
}

static uint64_t run(uint64_t seed, uint64_t *states) {
    struct world *w = calloc(1, sizeof *w);
    if (w == NULL) exit(2);
    w->seed = seed;
    prng_seed(&w->prng, seed);
    w->sim = sim_make(seed);
    w->after = sim_make(seed + 1);
    must(w, store_memory_open(STORE_MEMORY_TRANSACTIONAL, seed, &w->rows), "store", NULL);
    for (uint32_t i = 0; i < IN_FLIGHT_MAX; i++) record_batch_builder_init(&w->flights[i].builder);
    make_events(w);
    sim_watch(w->sim, before_operation, w);
    if (!start_machine(w)) fail(w, "start", "the first one failed");
    w->crash_in = 1 + below(w, 200);
    for (uint32_t step = 0; !all_acknowledged(w); step++) {
        if (step == STEPS_MAX) w->crash_in = 0; /* a machine that crashes for ever gets nothing done */
        act(w);
        if (!w->crashed) continue;
        restart(w);
        compare_with_reference(w);
    }
    w->crash_in = 0;
    judge(w);
    drop_machine(w);
    for (uint32_t i = 0; i < IN_FLIGHT_MAX; i++) record_batch_builder_deinit(&w->flights[i].builder);
    store_close(&w->rows);
    sim_drop(&w->sim);
    sim_drop(&w->after);
    uint64_t trace = w->trace;
    *states += w->states;
    free(w);
    return trace;
}

int main(int argc, char **argv) {
    uint64_t runs = testing_seeds(argc > 1 ? strtoull(argv[1], NULL, 10) : 300);
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : testing_first_seed();
    uint64_t states = 0, trace = 0;
    for (uint64_t i = 0; i < runs; i++) {
        uint64_t one = run(first + i, &states);
        trace = hash_bytes(slice_of(&one, sizeof one), trace);
        uint64_t again = 0;
        if (i % 10 == 0 && run(first + i, &again) != one) {
            printf("seed %llu: two runs left different traces\nviolations 1\n", (unsigned long long)(first + i));
            return 1;
        }
    }
    printf("runs %llu states %llu violations 0 trace %016llx\n", (unsigned long long)runs, (unsigned long long)states,
           (unsigned long long)trace);
    return 0;
}
