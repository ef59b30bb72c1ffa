/* The whole engine on a simulated machine from one seed: prices and trades are appended, folded, checkpointed, sealed; the
 * machine crashes at random operations of the disk and at random rows of the store's commits, with random outcomes for
 * whatever was not synced, and its disk is full now and then; clients send again what was not acknowledged. After each restart and in the end, nothing
 * acknowledged is missing, the ledger accounts for every record, what was late is in `<topic>.late` exactly once, and the
 * candles are those of a fold that never crashed. Odd seeds have the transactional store, even ones that of row by row.
 *
 *   sim-engine [RUNS [FIRST SEED]]       runs that many seeds; prints how many states were visited and the trace's hash
 *
 * The same seed gives the same trace, which every tenth run is repeated to see. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/testing.h"
#include "engine_world.h"

enum { EVENTS = 100, STEPS_MAX = 4000, STEPS_END = 40000, IN_FLIGHT_MAX = 8, MINUTE_MS = 60000 };
static const int64_t T0_MS = 1700006100000; /* 2023-11-14T23:55Z */

struct flight {
    struct log_append append;
    struct record_batch_builder builder;
    struct sent *sent;
    bool busy;
    struct world *world;
};

struct totals {
    uint64_t states, crashes, row_crashes, restarts, checkpoints, seals, full;
};

struct world {
    uint64_t seed;
    struct prng prng;
    struct script script;
    struct machine machine;
    struct flight flights[IN_FLIGHT_MAX];
    struct totals totals;
    uint64_t trace;
    uint64_t crash_in; /* watched operations until the next crash; 0: none is planned */
    bool crashed;
    bool full; /* the disk; for `full_for` steps, or so many without it */
    uint32_t full_for;
    _Atomic bool gaps[STREAMS]; /* in what clients send */
    uint8_t choices[SIM_CHOICES_MAX];
    struct sim *after;
};

static void fail(const struct world *w, const char *what, const char *detail) {
    printf("seed %llu: %s: %s\n", (unsigned long long)w->seed, what, detail);
    printf("states %llu violations 1\n", (unsigned long long)w->totals.states);
    exit(1);
}

static void must(const struct world *w, enum err err, const char *what, const struct diag *diag) {
    if (err != ERR_OK) fail(w, what, diag != NULL && diag->what[0] ? diag->what : err_message(err));
}

static void note(struct world *w, uint64_t what) { w->trace = hash_bytes(slice_of(&what, sizeof what), w->trace); }

static uint64_t below(struct world *w, uint64_t n) { return prng_below(&w->prng, n); }

/* --- what is sent --- */

/* Now and then hours pass, so that days end and are sealed. */
static int64_t next_time(struct world *w, int64_t now_ms) {
    return now_ms + (int64_t)below(w, 20000) + (below(w, 60) == 0 ? (int64_t)below(w, 8 * 60) * MINUTE_MS : 0);
}

static void make_prices(struct world *w) {
    int64_t now_ms = T0_MS;
    for (uint32_t i = 0; i < EVENTS; i++) {
        char text[64];
        now_ms = next_time(w, now_ms);
        int64_t time_ms = now_ms - (int64_t)below(w, 6000);
        if (below(w, 12) == 0) time_ms -= 15000 + (int64_t)below(w, 100000); /* behind the grace */
        snprintf(text, sizeof text, "{\"baseCurrency\":\"BTC\",\"price\":\"x%u\"}", i);
        if (i > 0 && below(w, 15) == 0)
            script_add_again(&w->script, STREAM_PRICES, i - 1, now_ms);
        else if (below(w, 25) == 0)
            script_add_text(&w->script, STREAM_PRICES, text, now_ms);
        else
            script_add_price(&w->script, (uint32_t)below(w, SCRIPT_SERIES), time_ms, i, now_ms);
    }
}

/* Ids are dense, some come late, and some again. */
static void make_trades(struct world *w) {
    int64_t now_ms = T0_MS, ids[SCRIPT_SERIES] = {0}, held_ms[SCRIPT_SERIES] = {0}, held[SCRIPT_SERIES] = {0};
    for (uint32_t i = 0; i < EVENTS; i++) {
        const uint32_t series = (uint32_t)below(w, SCRIPT_SERIES);
        now_ms = next_time(w, now_ms);
        if (held[series] != 0 && below(w, 6) == 0) {
            script_add_trade(&w->script, series, held[series], held_ms[series], now_ms);
            held[series] = 0;
        } else if (i > 0 && below(w, 12) == 0) {
            script_add_again(&w->script, STREAM_TRADES, (uint32_t)below(w, i), now_ms);
        } else {
            if (held[series] == 0 && below(w, 8) == 0) {
                held[series] = ++ids[series];
                held_ms[series] = now_ms;
            }
            script_add_trade(&w->script, series, ++ids[series], now_ms, now_ms);
        }
    }
}

/* --- crashes --- */

/* What the machine would be after a crash right here is put aside; what goes on happens in a process that is dead, and reaches
 * neither that disk nor the rows. */
static bool crash_here(struct world *w) {
    w->totals.states++;
    if (w->crashed || w->crash_in == 0 || --w->crash_in > 0) return false;
    uint8_t outcomes[SIM_CHOICES_MAX];
    uint32_t count = sim_choices(w->machine.sim, outcomes);
    for (uint32_t i = 0; i < count; i++) w->choices[i] = (uint8_t)below(w, outcomes[i]);
    sim_crash(w->machine.sim, w->choices, below(w, UINT64_MAX), w->after);
    w->crashed = true;
    w->totals.crashes++;
    store_memory_crash(w->machine.rows, 0);
    return true;
}

static void before_operation(void *context, enum sim_operation operation) {
    note(context, 100 + (uint64_t)operation);
    (void)crash_here(context);
}

static void before_row(void *context) {
    struct world *w = context;
    note(w, 99);
    if (crash_here(w)) w->totals.row_crashes++;
}

static void restart(struct world *w) {
    struct diag diag = {0};
    do {
        machine_drop(&w->machine);
        for (uint32_t i = 0; i < IN_FLIGHT_MAX; i++) w->flights[i].busy = false;
        for (int s = 0; s < STREAMS; s++)
            for (uint32_t i = 0; i < w->script.count[s]; i++) w->script.events[s][i].in_flight = false;
        struct sim *dead = w->machine.sim;
        w->machine.sim = w->after;
        w->after = dead;
        w->full = false;
        w->full_for = 0;
        sim_set_free_bytes(w->machine.sim, UINT64_MAX);
        for (int s = 0; s < STREAMS; s++) w->gaps[s] = false;
        store_memory_crash(w->machine.rows, UINT32_MAX);
        sim_watch(w->after, NULL, NULL);
        sim_watch(w->machine.sim, before_operation, w);
        w->crash_in = below(w, 4) == 0 ? 1 + below(w, 60) : 0; /* now and then in the middle of recovery */
        w->crashed = false;
        w->totals.restarts++;
        note(w, 7);
        enum err err = machine_open(&w->machine, &diag);
        if (!w->crashed) must(w, err, "recovery", &diag);
    } while (w->crashed);
    if (w->crash_in == 0) w->crash_in = 1 + below(w, 300);
}

/* --- clients --- */

static void appended(struct log_append *append) {
    struct flight *flight = append->context;
    flight->busy = false;
    flight->sent->in_flight = false;
    if (append->err == ERR_OK && !flight->world->crashed) flight->sent->acknowledged = true;
}

/* Clients send in order, and again from the first that was not acknowledged: what the log has already, it drops by
 * producer id and sequence. One event a batch: a retry makes the same batches whatever was acknowledged. */
static void send_some(struct world *w) {
    const enum world_stream stream = (enum world_stream)below(w, STREAMS);
    struct flight *flight = NULL;
    for (uint32_t i = 0; i < IN_FLIGHT_MAX && flight == NULL; i++)
        if (!w->flights[i].busy) flight = &w->flights[i];
    struct sent *events = w->script.events[stream];
    uint32_t first = 0;
    while (first < EVENTS && (events[first].acknowledged || events[first].in_flight)) first++;
    if (flight == NULL || first == EVENTS) return;
    bool on_its_way = false;
    for (uint32_t i = first; i < EVENTS; i++) on_its_way |= events[i].in_flight;
    if (w->gaps[stream] && on_its_way) return;
    w->gaps[stream] = false;
    struct sent *sent = flight->sent = &events[first];
    flight->world = w;
    const struct record record = {
        .timestamp_ms = sent->append_ms, .key = slice_text(sent->key), .value = slice_text(sent->text)};
    record_batch_begin(&flight->builder, RECORD_CODEC_NONE);
    must(w, record_batch_add(&flight->builder, &record), "batch", NULL);
    record_batch_set_producer(&flight->builder, 77, 0, (int32_t)first);
    must(w, record_batch_end(&flight->builder), "batch", NULL);
    sent->in_flight = flight->busy = true;
    flight->append = (struct log_append){
        .partition = w->machine.input[stream],
        .batch = flight->builder.bytes.data,
        .batch_bytes = (uint32_t)flight->builder.bytes.size,
        .record_count = 1,
        .done = appended,
        .context = flight,
        .gap = &w->gaps[stream],
    };
    log_submit(w->machine.log, &flight->append);
}

static bool all_acknowledged(const struct world *w) {
    for (int s = 0; s < STREAMS; s++)
        for (uint32_t i = 0; i < EVENTS; i++)
            if (!w->script.events[s][i].acknowledged) return false;
    return true;
}

/* --- a run --- */

static void compare(struct world *w) {
    struct verdict verdict = {0};
    machine_compare(&w->machine, &w->script, &verdict);
    if (verdict.wrong) fail(w, "after a restart", verdict.what);
    note(w, machine_candles_hash(&w->machine));
}

static void judge(struct world *w) {
    struct verdict verdict = {0};
    machine_judge(&w->machine, &w->script, &verdict);
    if (verdict.wrong) fail(w, "in the end", verdict.what);
    for (int s = 0; s < STREAMS; s++)
        if (log_end_offset(w->machine.input[s]) != EVENTS) fail(w, "in the end", "records are missing");
    note(w, machine_candles_hash(&w->machine));
}

/* Below the log's reserve, or to the last byte. */
static void fill_disk(struct world *w) {
    if (w->full_for > 0 && --w->full_for > 0) return;
    w->full = !w->full && w->crash_in > 0;
    w->full_for = 1 + (uint32_t)below(w, w->full ? 60 : 200);
    sim_set_free_bytes(w->machine.sim, !w->full ? UINT64_MAX : below(w, 2) == 0 ? 0 : below(w, 8192));
}

static enum err checkpoint(struct world *w, struct diag *diag) {
    const int64_t sealed = shelf_sealed_end(w->machine.shelf);
    enum err err = task_group_checkpoint(w->machine.tasks, diag);
    if (w->full && err == ERR_NO_SPACE) {
        w->totals.full++;
        return ERR_OK;
    }
    if (w->crashed || err != ERR_OK) return err;
    w->totals.checkpoints++;
    w->totals.seals += (uint64_t)(shelf_sealed_end(w->machine.shelf) - sealed);
    return err;
}

static void act(struct world *w) {
    struct diag diag = {0};
    bool worked;
    uint32_t appends;
    enum err err = ERR_OK;
    fill_disk(w);
    switch (below(w, 16)) {
        case 0:
        case 1:
        case 2:
        case 3:
        case 4:
        case 5:
        case 6: send_some(w); break;
        case 7:
        case 8:
        case 9: err = log_step(w->machine.log, &appends); break;
        case 10:
        case 11:
        case 12: err = task_group_step(w->machine.tasks, &diag, &worked); break;
        case 13:
        case 14: err = checkpoint(w, &diag); break;
        case 15:
            if (below(w, 8) == 0 && !w->full) err = machine_compact(&w->machine, &diag);
            break;
    }
    sim_advance(w->machine.sim, (int64_t)below(w, 50));
    if (!w->crashed) must(w, err, "a step", &diag);
}

static void add_totals(struct totals *totals, const struct totals *more) {
    totals->states += more->states;
    totals->crashes += more->crashes;
    totals->row_crashes += more->row_crashes;
    totals->restarts += more->restarts;
    totals->checkpoints += more->checkpoints;
    totals->seals += more->seals;
    totals->full += more->full;
}

static void begin(struct world *w) {
    struct diag diag = {0};
    w->machine.sim = sim_make(w->seed);
    w->after = sim_make(w->seed + 1);
    const enum store_memory_mode mode = w->seed % 2 == 0 ? STORE_MEMORY_ROW_BY_ROW : STORE_MEMORY_TRANSACTIONAL;
    must(w, store_memory_open(mode, w->seed, &w->machine.rows), "store", NULL);
    for (uint32_t i = 0; i < IN_FLIGHT_MAX; i++) record_batch_builder_init(&w->flights[i].builder);
    make_prices(w);
    make_trades(w);
    store_memory_watch(w->machine.rows, before_row, w);
    sim_watch(w->machine.sim, before_operation, w);
    must(w, machine_open(&w->machine, &diag), "the first start", &diag);
    w->crash_in = 1 + below(w, 300);
}

static uint64_t run(uint64_t seed, struct totals *totals) {
    struct world *w = calloc(1, sizeof *w);
    if (w == NULL) exit(2);
    w->seed = seed;
    prng_seed(&w->prng, seed);
    begin(w);
    for (uint32_t step = 0; !all_acknowledged(w); step++) {
        if (step == STEPS_MAX) w->crash_in = 0; /* a machine that crashes for ever gets nothing done */
        if (step == STEPS_END) fail(w, "clients", "what they send is never acknowledged");
        act(w);
        if (!w->crashed) continue;
        restart(w);
        compare(w);
    }
    w->crash_in = 0;
    sim_set_free_bytes(w->machine.sim, UINT64_MAX);
    judge(w);
    machine_drop(&w->machine);
    for (uint32_t i = 0; i < IN_FLIGHT_MAX; i++) record_batch_builder_deinit(&w->flights[i].builder);
    store_close(&w->machine.rows);
    script_deinit(&w->script);
    sim_drop(&w->machine.sim);
    sim_drop(&w->after);
    uint64_t trace = w->trace;
    add_totals(totals, &w->totals);
    free(w);
    return trace;
}

int main(int argc, char **argv) {
    uint64_t runs = argc > 1 ? strtoull(argv[1], NULL, 10) : testing_seeds(100);
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : testing_first_seed();
    uint64_t trace = 0;
    world_tune_memory();
    struct totals totals = {0}, again = {0};
    for (uint64_t i = 0; i < runs; i++) {
        uint64_t one = run(first + i, &totals);
        trace = hash_bytes(slice_of(&one, sizeof one), trace);
        if (i % 10 == 0 && run(first + i, &again) != one) {
            printf("seed %llu: two runs left different traces\nviolations 1\n", (unsigned long long)(first + i));
            return 1;
        }
    }
    printf(
        "runs %llu: %llu crashes, %llu of them between rows of a commit, %llu restarts, %llu checkpoints, %llu on a "
        "full "
        "disk, %llu blocks sealed\n",
        (unsigned long long)runs, (unsigned long long)totals.crashes, (unsigned long long)totals.row_crashes,
        (unsigned long long)totals.restarts, (unsigned long long)totals.checkpoints, (unsigned long long)totals.full,
        (unsigned long long)totals.seals);
    printf("states %llu violations 0 trace %016llx\n", (unsigned long long)totals.states, (unsigned long long)trace);
    /* A run of any length must have seen all of it. */
    bool seen = totals.crashes >= runs && totals.row_crashes >= runs / 2 && totals.checkpoints >= runs &&
                totals.seals >= runs / 2 && totals.full >= runs;
    if (runs >= 10 && !seen) printf("too little happened\n");
    return runs >= 10 && !seen;
}
