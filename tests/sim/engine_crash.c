/* Goes through what a crash can leave of the whole engine: ahead of every disk operation and every row of a store's commit of
 * small workloads (append, sync, roll, checkpoint, seal, compaction, restart), combinations of what was not synced. Each
 * state is recovered by the engine's own code and judged (engine_world.h); some crash again while they recover, and some are
 * restarted once more.
 *
 *   sim-engine-crash [STATES A MOMENT]      by default 3 (base/testing.h); where less is asked for, of fewer moments
 *
 * Prints "states N violations N" and fails if there is a violation, or too little to see. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/testing.h"
#include "engine_world.h"

enum { SAMPLES = 3, ALL_UP_TO = 16, SHOWN_MAX = 5, ENOUGH = 20, MINUTE_MS = 60000 };
static const int64_t T0_MS = 1700006220000; /* 2023-11-14T23:57Z */

enum phase { PHASE_APPENDING, PHASE_CHECKPOINTS, PHASE_SEALING, PHASE_COMPACTING, PHASE_STARTING, PHASES };
static const char *const phase_names[PHASES] = {"appends", "checkpoints", "seals", "compactions", "starts"};

struct totals {
    uint64_t states, moments, violations, compound, again;
    uint64_t at_phase[PHASES], at_row;
    uint64_t checkpoints, sealed, compacted_bytes;
};

struct crash_test {
    struct script script;
    struct machine live;
    struct sim *crashed, *crashed_again;
    const char *workload;
    enum store_memory_mode mode;
    enum phase phase;
    uint64_t random, run_states, samples, stride;
    uint32_t next[STREAMS]; /* event to send */
    struct totals totals;
    uint8_t outcomes[SIM_CHOICES_MAX];
};

static uint64_t pick(struct crash_test *t, uint64_t below) {
    t->random = t->random * 6364136223846793005u + 1442695040888963407u;
    return (t->random >> 33) % below;
}

static void report(struct crash_test *t, const char *how, const struct verdict *verdict) {
    if (!verdict->wrong || ++t->totals.violations > SHOWN_MAX) return;
    printf("violation: workload %s, %s store, moment %llu of %s, %s: %s\n", t->workload,
           t->mode == STORE_MEMORY_ROW_BY_ROW ? "row by row" : "transactional", (unsigned long long)t->totals.moments,
           phase_names[t->phase], how, verdict->what);
}

/* --- one state --- */

static void open_and_judge(struct crash_test *t, struct sim *sim, struct store *rows, const char *how) {
    struct verdict verdict = {0};
    struct diag diag = {0};
    struct machine machine = {.sim = sim, .rows = rows};
    t->totals.states++;
    t->totals.at_phase[t->phase]++;
    enum err err = machine_open(&machine, &diag);
    if (err == ERR_OK) {
        machine_judge(&machine, &t->script, &verdict);
    } else {
        verdict.wrong = true;
        snprintf(verdict.what, sizeof verdict.what, "recovery: %s %s %s", err_name(err), diag.where, diag.what);
    }
    machine_drop(&machine);
    report(t, how, &verdict);
}

/* A crash of the recovery, ahead of one of its operations or rows. */
struct second_crash {
    struct crash_test *test;
    struct store *rows, *rows_then;
    uint64_t at;
};

static void crash_again(struct second_crash *second) {
    struct crash_test *t = second->test;
    if (second->rows_then != NULL || second->at-- > 0) return;
    uint8_t outcomes[SIM_CHOICES_MAX], choices[SIM_CHOICES_MAX] = {0};
    uint32_t count = sim_choices(t->crashed, outcomes);
    for (uint32_t i = 0; i < count; i++) choices[i] = (uint8_t)pick(t, outcomes[i]);
    sim_crash(t->crashed, choices, pick(t, UINT32_MAX), t->crashed_again);
    second->rows_then = store_memory_copy(second->rows);
}

static void again_by_operation(void *context, enum sim_operation operation) {
    (void)operation;
    crash_again(context);
}

static void again_by_row(void *context) { crash_again(context); }

static void check_state(struct crash_test *t, const uint8_t *choices) {
    struct store *rows = store_memory_copy(t->live.rows);
    struct second_crash second = {.test = t, .rows = rows, .at = pick(t, 60)};
    sim_crash(t->live.sim, choices, pick(t, UINT32_MAX), t->crashed);
    const bool compound = ++t->run_states % 8 == 0;
    sim_watch(t->crashed, compound ? again_by_operation : NULL, &second);
    store_memory_watch(rows, compound ? again_by_row : NULL, &second);
    open_and_judge(t, t->crashed, rows, "after a crash");
    sim_watch(t->crashed, NULL, NULL);
    store_memory_watch(rows, NULL, NULL);
    if (second.rows_then != NULL) {
        t->totals.compound++;
        open_and_judge(t, t->crashed_again, second.rows_then, "after a crash of the recovery");
        store_close(&second.rows_then);
    }
    if (t->run_states % 8 == 4) { /* its own checkpoint, too, is one to start from */
        t->totals.again++;
        open_and_judge(t, t->crashed, rows, "after another start");
    }
    store_close(&rows);
}

/* --- the states of one moment --- */

static void check_all(struct crash_test *t, uint32_t count) {
    uint8_t choices[SIM_CHOICES_MAX] = {0};
    for (;;) {
        check_state(t, choices);
        uint32_t i = 0;
        while (i < count && ++choices[i] == t->outcomes[i]) choices[i++] = 0;
        if (i == count) return;
    }
}

/* All kept, all dropped, and random ones. */
static void check_some(struct crash_test *t, uint32_t count) {
    uint8_t choices[SIM_CHOICES_MAX];
    for (uint64_t n = 0; n < t->samples; n++) {
        for (uint32_t i = 0; i < count; i++) {
            choices[i] = (uint8_t)(n < 2 ? n : pick(t, t->outcomes[i]));
            if (n > 2 && pick(t, 3) == 0) choices[i] = SIM_KEPT;
        }
        check_state(t, choices);
    }
}

static void check_moment(struct crash_test *t) {
    if (t->totals.violations >= ENOUGH) return;
    if (t->totals.moments++ % t->stride != 0) return;
    const uint32_t count = sim_choices(t->live.sim, t->outcomes);
    uint64_t all = 1;
    for (uint32_t i = 0; i < count && all <= ALL_UP_TO; i++) all *= t->outcomes[i];
    if (all <= t->samples || (all <= ALL_UP_TO && t->samples >= 4))
        check_all(t, count);
    else
        check_some(t, count);
}

static void before_operation(void *context, enum sim_operation operation) {
    (void)operation;
    check_moment(context);
}

static void before_row(void *context) {
    struct crash_test *t = context;
    const uint64_t states = t->totals.states;
    check_moment(t);
    t->totals.at_row += t->totals.states - states;
}

/* --- workloads --- */

/* Prices and trades around midnight: the day is over for sure from the tenth minute after it, some of its trades come behind
 * that, some come twice, and some of the prices are late or no price at all. */
static void make_script(struct script *script) {
    int64_t now_ms = T0_MS;
    for (uint32_t i = 0; i < 40; i++) {
        now_ms += i == 10 ? 14 * MINUTE_MS : 40000;
        if (i % 9 == 5)
            script_add_text(script, STREAM_PRICES, "{\"baseCurrency\":\"BTC\",\"price\":\"x\"}", now_ms);
        else if (i % 7 == 6)
            script_add_price(script, i % 2, now_ms - 5 * MINUTE_MS, i, now_ms); /* late */
        else
            script_add_price(script, i % 2, now_ms - i % 3 * 1000, i, now_ms);
        if (i % 8 == 7)
            script_add_again(script, STREAM_TRADES, i - 3, now_ms);
        else if (i > 10 && i % 2 == 1) /* of the day before: what is sealed is opened again */
            script_add_trade(script, 0, 100 + i, T0_MS + i * 1000, now_ms);
        else
            script_add_trade(script, i % 2, i < 10 ? 90 + i : 200 + i, now_ms, now_ms);
    }
}

/* A letter is a step: p a price, t a trade, s a group commit, f fold, k checkpoint (which seals days that are over), C compaction
 * of the sealed topics, o the process ends and starts again. The first start is gone through for the first one only. */
static const char *const workloads[] = {
    "ptsfk",
    "ptptsfkptsf",
    "ptptptptsfkptptptptsfkoptsfk",
    "pppptttsfkpppptttsfkppptttsfk",
    "ptptptptptptsfkptptptptptsfkptptsfko",
    "ptptptptptptsfkkptptsfkptptsfkptptsfkptptsfkptptsfkptptsfkptptsfkptptsfkptptsfkptptsfkptptsfkCoptsfkptptsfkC",
};

struct flight {
    struct log_append append;
    struct record_batch_builder builder;
    struct sent *sent;
};

static void appended(struct log_append *append) {
    struct flight *flight = append->context;
    assert(append->err == ERR_OK);
    flight->sent->acknowledged = true;
    record_batch_builder_deinit(&flight->builder);
    free(flight);
}

static void send(struct crash_test *t, enum world_stream stream) {
    struct flight *flight = calloc(1, sizeof *flight);
    assert(flight != NULL && t->next[stream] < t->script.count[stream]);
    struct sent *sent = flight->sent = &t->script.events[stream][t->next[stream]];
    const struct record record = {
        .timestamp_ms = sent->append_ms, .key = slice_text(sent->key), .value = slice_text(sent->text)};
    record_batch_builder_init(&flight->builder);
    record_batch_begin(&flight->builder, RECORD_CODEC_NONE);
    enum err err = record_batch_add(&flight->builder, &record);
    record_batch_set_producer(&flight->builder, 77, 0, (int32_t)t->next[stream]++);
    if (err == ERR_OK) err = record_batch_end(&flight->builder);
    assert(err == ERR_OK);
    flight->append = (struct log_append){
        .partition = t->live.input[stream],
        .batch = flight->builder.bytes.data,
        .batch_bytes = (uint32_t)flight->builder.bytes.size,
        .record_count = 1,
        .done = appended,
        .context = flight,
    };
    log_submit(t->live.log, &flight->append);
}

static uint64_t sealed_bytes(struct crash_test *t) {
    struct log_partition *partition = NULL;
    return log_partition_find(t->live.log, "candles.sealed.1m", 0, &partition) == ERR_OK
               ? log_partition_bytes(partition)
               : 0;
}

static void do_checkpoint(struct crash_test *t, struct diag *diag) {
    const int64_t sealed = shelf_sealed_end(t->live.shelf);
    /* Which of its moments belong to a seal is known afterwards only; days are over from the eleventh event on. */
    t->phase = t->next[STREAM_TRADES] > 10 ? PHASE_SEALING : PHASE_CHECKPOINTS;
    enum err err = task_group_checkpoint(t->live.tasks, diag);
    assert(err == ERR_OK);
    t->totals.checkpoints++;
    t->totals.sealed += (uint64_t)(shelf_sealed_end(t->live.shelf) - sealed);
}

static void do_step(struct crash_test *t, char step) {
    struct diag diag = {0};
    uint32_t appends;
    bool worked;
    enum err err = ERR_OK;
    t->phase = step == 'o' ? PHASE_STARTING : PHASE_APPENDING;
    switch (step) {
        case 'p': send(t, STREAM_PRICES); break;
        case 't': send(t, STREAM_TRADES); break;
        case 's': err = log_step(t->live.log, &appends); break;
        case 'f': err = task_group_step(t->live.tasks, &diag, &worked); break;
        case 'k': do_checkpoint(t, &diag); break;
        case 'C': {
            const uint64_t bytes = sealed_bytes(t);
            t->phase = PHASE_COMPACTING;
            err = machine_compact(&t->live, &diag);
            t->totals.compacted_bytes += bytes - sealed_bytes(t);
            break;
        }
        case 'o':
            machine_drop(&t->live);
            err = machine_open(&t->live, &diag);
            break;
        default: assert(!"a step");
    }
    if (err != ERR_OK) printf("step %c: %s %s\n", step, err_name(err), diag.what);
    assert(err == ERR_OK);
    sim_advance(t->live.sim, 20);
}

static void watch(struct crash_test *t) {
    sim_watch(t->live.sim, before_operation, t);
    store_memory_watch(t->live.rows, before_row, t);
}

static void run(struct crash_test *t, const char *workload, enum store_memory_mode mode) {
    struct diag diag = {0};
    t->workload = workload;
    t->mode = mode;
    t->live = (struct machine){.sim = sim_make(1)};
    t->crashed = sim_make(2);
    t->crashed_again = sim_make(3);
    memset(t->next, 0, sizeof t->next);
    make_script(&t->script);
    enum err err = store_memory_open(mode, 7 + strlen(workload), &t->live.rows);
    assert(err == ERR_OK);
    t->phase = PHASE_STARTING;
    const bool first = workload == workloads[0];
    if (first) watch(t);
    err = machine_open(&t->live, &diag);
    assert(err == ERR_OK);
    if (!first) watch(t);
    for (const char *step = workload; *step != '\0' && t->totals.violations < ENOUGH; step++) do_step(t, *step);
    sim_watch(t->live.sim, NULL, NULL);
    store_memory_watch(t->live.rows, NULL, NULL);
    struct verdict verdict = {0};
    machine_judge(&t->live, &t->script, &verdict);
    report(t, "without a crash", &verdict);
    machine_drop(&t->live);
    store_close(&t->live.rows);
    script_deinit(&t->script);
    memset(&t->script, 0, sizeof t->script);
    sim_drop(&t->live.sim);
    sim_drop(&t->crashed);
    sim_drop(&t->crashed_again);
}

int main(int argc, char **argv) {
    struct crash_test *t = calloc(1, sizeof *t);
    assert(t != NULL);
    world_tune_memory();
    t->samples = argc > 1 ? strtoull(argv[1], NULL, 10) : testing_seeds(SAMPLES);
    t->stride = t->samples < SAMPLES && argc == 1 ? SAMPLES / t->samples : 1;
    t->random = testing_first_seed();
    for (size_t i = 0; i < sizeof workloads / sizeof *workloads && t->totals.violations < ENOUGH; i++)
        for (int mode = 0; mode < 2; mode++) run(t, workloads[i], (enum store_memory_mode)mode);
    const struct totals *all = &t->totals;
    printf("%llu moments, %llu states between rows of a commit, %llu crashes of recoveries, %llu further starts;",
           (unsigned long long)all->moments, (unsigned long long)all->at_row, (unsigned long long)all->compound,
           (unsigned long long)all->again);
    for (int i = 0; i < PHASES; i++) printf(" %s %llu", phase_names[i], (unsigned long long)all->at_phase[i]);
    printf("\n%llu checkpoints, %llu blocks sealed, %llu bytes given back\n", (unsigned long long)all->checkpoints,
           (unsigned long long)all->sealed, (unsigned long long)all->compacted_bytes);
    printf("states %llu violations %llu\n", (unsigned long long)all->states, (unsigned long long)all->violations);
    bool seen = all->at_row * t->stride >= 100 && all->compound * t->stride >= 50 && all->again * t->stride >= 50 &&
                all->checkpoints >= 40 && all->sealed >= 20 && all->compacted_bytes > 0;
    for (int i = 0; i < PHASES; i++) seen &= all->at_phase[i] * t->stride >= 20 * t->samples;
    if (!seen && all->violations == 0) printf("too little was seen\n");
    bool failed = all->violations > 0 || !seen;
    free(t);
    return failed;
}
