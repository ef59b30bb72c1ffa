/* wick bench read: what a chart asks of the candles of a folder, in the program, from the snapshot to the last row. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "engine/generate.h"

enum { QUERIES = 200, ROWS_MAX = 100000 };
static const int64_t DAY_MS = 86400000, END_OF_TIME_MS = 253402300800000;

struct reading {
    struct cli *cli;
    const struct engine_parts *parts;
    struct prng prng;
    struct candle *rows; /* a query's: a reader keeps what it is given */
    uint32_t row_count;
};

static enum err keep_row(void *context, const struct candle *candle) {
    struct reading *r = context;
    if (r->row_count == ROWS_MAX) return ERR_LIMIT;
    r->rows[r->row_count++] = *candle;
    return ERR_OK;
}

static struct candle_source source_of(const struct reading *r, const struct series *series) {
    const struct candle_desk *desk = r->parts->desk;
    const struct task *wanted = candle_desk_task(desk, series);
    struct processor *processor = NULL;
    for (uint32_t i = 0; i < candle_desk_count(desk); i++)
        if (candle_desk_task_at(desk, i, &processor) == wanted && wanted != NULL)
            return candle_processor_source(processor);
    return (struct candle_source){
        .shelf = r->parts->shelf, .store = r->parts->store, .series = r->parts->series, .base_ms = r->parts->base_ms};
}

static enum err read_rows(struct reading *r, const struct series *series, struct candle_query query,
                          struct diag *diag) {
    const struct candle_source source = source_of(r, series);
    r->row_count = 0;
    query.series = series->number;
    return candle_read(&source, &query, keep_row, r, diag);
}

/* First and last day with candles; *ret_end_ms lies behind the last. */
static enum err find_days(struct reading *r, const struct series *series, struct diag *diag, int64_t *ret_first_ms,
                          int64_t *ret_end_ms) {
    struct candle_query query = {.interval = {INTERVAL_DAY, 1}, .to_ms = END_OF_TIME_MS, .limit = 1};
    enum err err = read_rows(r, series, query, diag);
    *ret_first_ms = err == ERR_OK && r->row_count > 0 ? r->rows[0].open_time_ms : 0;
    query.newest = true;
    if (err == ERR_OK) err = read_rows(r, series, query, diag);
    *ret_end_ms = err == ERR_OK && r->row_count > 0 ? r->rows[0].open_time_ms + DAY_MS : 0;
    return err;
}

static int by_size(const void *left, const void *right) {
    const int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

struct question {
    const char *name;
    struct interval interval;
    uint32_t limit; /* the newest so many; 0: a range */
    int64_t days;
};

/* Asking how far a series reaches warms what is read then, so all queries are made before the first is timed. */
static enum err make_query(struct reading *r, const struct question *question, struct diag *diag,
                           struct candle_query *ret_query) {
    const struct series_table *table = r->parts->series;
    const struct series *series = series_get(table, (uint32_t)prng_below(&r->prng, series_count(table)));
    int64_t first_ms, end_ms;
    enum err err = find_days(r, series, diag, &first_ms, &end_ms);
    if (err != ERR_OK) return err;
    struct candle_query query = {
        .series = series->number, .interval = question->interval, .to_ms = end_ms, .limit = question->limit};
    query.newest = question->limit > 0;
    if (!query.newest) {
        const int64_t spare = (end_ms - first_ms) / DAY_MS - question->days;
        query.from_ms = first_ms + (spare > 0 ? (int64_t)prng_below(&r->prng, (uint64_t)spare + 1) * DAY_MS : 0);
        query.to_ms = query.from_ms + question->days * DAY_MS;
    }
    *ret_query = query;
    return ERR_OK;
}

static enum err ask(struct reading *r, const struct candle_query *query, struct diag *diag, int64_t *ret_ns) {
    const int64_t start_ns = sys_monotonic_ns(r->cli->sys);
    enum err err = read_rows(r, series_get(r->parts->series, query->series), *query, diag);
    *ret_ns = sys_monotonic_ns(r->cli->sys) - start_ns;
    return err;
}

static enum err measure(struct reading *r, const struct question *question, struct diag *diag) {
    int64_t times_ns[QUERIES];
    struct candle_query queries[QUERIES];
    uint64_t rows = 0;
    for (int i = 0; i < QUERIES; i++) {
        enum err err = make_query(r, question, diag, &queries[i]);
        if (err != ERR_OK) return err;
    }
    for (int i = 0; i < QUERIES; i++) {
        enum err err = ask(r, &queries[i], diag, &times_ns[i]);
        if (err != ERR_OK) return err;
        rows += r->row_count;
    }
    qsort(times_ns, QUERIES, sizeof *times_ns, by_size);
    cli_print(
        "{\"figure\":\"%s\",\"value\":%.4f,\"unit\":\"ms\",\"p99\":%.4f,\"rows\":%.1f,\"of\":\"%u series\","
        "\"version\":\"%s\"}\n",
        question->name, (double)times_ns[QUERIES / 2] / 1e6, (double)times_ns[QUERIES * 99 / 100] / 1e6,
        (double)rows / QUERIES, series_count(r->parts->series), WICK_VERSION);
    return ERR_OK;
}

enum err bench_read(struct cli *cli, struct diag *diag) {
    static const struct question questions[] = {
        {"read-month-15m", {INTERVAL_MINUTE, 15}, 0, 30},
        {"read-last-1000-1m", {INTERVAL_MINUTE, 1}, 1000, 0},
        {"read-90-days-1d", {INTERVAL_DAY, 1}, 0, 90},
    };
    struct engine *engine = NULL;
    enum err err = engine_open(cli->sys, &cli->config, ENGINE_LOOK, diag, &engine);
    if (err == ERR_OK) err = engine_catch_up(engine, diag);
    struct reading r = {.cli = cli, .rows = malloc(ROWS_MAX * sizeof *r.rows)};
    if (err == ERR_OK && r.rows == NULL) err = diag_set(diag, ERR_NO_MEMORY, "no memory for rows");
    if (err == ERR_OK) {
        r.parts = engine_parts(engine);
        prng_seed(&r.prng, 5);
        if (series_count(r.parts->series) == 0)
            err = diag_set(diag, ERR_NOT_FOUND, "no series in %s", cli->config.data);
    }
    for (unsigned i = 0; i < sizeof questions / sizeof *questions && err == ERR_OK; i++)
        err = measure(&r, &questions[i], diag);
    free(r.rows);
    engine_close(&engine);
    return err;
}
