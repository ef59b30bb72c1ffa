#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "engine/generate.h"
#include "venue/venue.h"

enum { FOLD_EVENTS = 5000000, FOLD_ROUNDS = 10, DECODE_LINES = 1000000, DECODE_ROUNDS = 5 };

static double seconds_since(const struct cli *cli, int64_t start_ns) {
    return (double)(sys_monotonic_ns(cli->sys) - start_ns) / 1e9;
}

static void put_figure(const char *name, double value, const char *unit, const char *of) {
    cli_print("{\"figure\":\"%s\",\"value\":%.0f,\"unit\":\"%s\",\"of\":\"%s\",\"version\":\"%s\"}\n", name, value,
              unit, of, WICK_VERSION);
}

/* --- decoded trades in memory -> candles with ids and hash --- */

static void make_trades(struct event *events, uint32_t series, int64_t first_id, int64_t first_ms) {
    struct prng prng;
    prng_seed(&prng, 1);
    int64_t price = 5000000;
    for (uint32_t i = 0; i < FOLD_EVENTS; i++) {
        price += (int64_t)prng_below(&prng, 21) - 10;
        struct decimal p = decimal_normalize((struct decimal){price, 2});
        struct decimal q = decimal_normalize((struct decimal){1 + (int64_t)prng_below(&prng, 1000000), 5});
        events[i] = (struct event){
            .price = p.mantissa,
            .price_scale = p.scale,
            .quantity = q.mantissa,
            .quantity_scale = q.scale,
            .first_id = first_id + i,
            .last_id = first_id + i,
            .time_ms = first_ms + i / 4,
            .series = series,
            .kind = EVENT_TRADE,
            .side = 1 + prng_below(&prng, 2),
        };
    }
}

static void shift_trades(struct event *events) {
    for (uint32_t i = 0; i < FOLD_EVENTS; i++) {
        events[i].first_id += FOLD_EVENTS;
        events[i].last_id += FOLD_EVENTS;
        events[i].time_ms += FOLD_EVENTS / 4;
    }
}

static enum err bench_fold(struct cli *cli, struct diag *diag) {
    struct series_table *series = NULL;
    struct book *book = NULL;
    struct event *events = aligned_alloc(64, (size_t)FOLD_EVENTS * sizeof *events);
    const struct series_key key = {SLICE("binance"), SLICE("BTC"), SLICE("USDT"), SERIES_TRADE};
    uint32_t number = 0;
    enum err err = events != NULL ? series_table_open(&series) : ERR_NO_MEMORY;
    if (err == ERR_OK) err = series_intern(series, &key, &number);
    const struct book_options options = {.series = series, .task = "bench", .base_ms = 60000, .bounded = true};
    if (err == ERR_OK) err = book_open(&options, diag, &book);
    if (err == ERR_OK) make_trades(events, number, 1, 1700000000000);
    struct book_counts counts = {0};
    double busy = 0;
    for (int round = 0; round < FOLD_ROUNDS && err == ERR_OK; round++) {
        int64_t start_ns = sys_monotonic_ns(cli->sys);
        for (uint32_t at = 0; at < FOLD_EVENTS && err == ERR_OK; at += 2000)
            err = book_apply(book, events + at, NULL, 2000, NULL, &counts, diag);
        busy += seconds_since(cli, start_ns);
        shift_trades(events);
    }
    if (err == ERR_OK && counts.fate[FATE_USED] != (uint64_t)FOLD_EVENTS * FOLD_ROUNDS)
        err = diag_set(diag, ERR_STATE, "not every trade was used");
    if (err == ERR_OK)
        put_figure("fold", (double)counts.read / busy, "trades/s", "decoded trades in memory to 1m candles");
    book_close(&book);
    if (series != NULL) series_table_close(&series);
    free(events);
    return err;
}

/* --- price lines in memory -> events --- */

static enum err make_lines(struct buf *lines) {
    const struct generate_options options = {
        .kind = GENERATE_PRICE_EVENTS, .seed = 1, .count = DECODE_LINES, .disorder_ms = -1};
    struct generator *generator = NULL;
    enum err err = generator_open(&options, &generator);
    while (err == ERR_OK) err = generator_next(generator, lines);
    generator_close(&generator);
    return err == ERR_END ? ERR_OK : err;
}

static enum err decode_once(struct slice lines, struct series_table *series, struct diag *diag, uint64_t *ret_events) {
    struct input *input = NULL;
    struct import_reader *reader = NULL;
    static _Alignas(64) struct event events[2048];
    const struct import_options options = {.format = IMPORT_PRICE_EVENTS};
    enum err err = input_open_memory(lines, diag, &input);
    if (err == ERR_OK) err = import_open(input, "lines", &options, series, diag, &reader);
    while (err == ERR_OK) {
        struct import_item item;
        bool has_item;
        uint32_t count = 0;
        err = import_read(reader, events, 2048, diag, &count, &item, &has_item);
        *ret_events += count;
    }
    if (reader != NULL) import_close(&reader);
    if (input != NULL) input_close(&input);
    return err == ERR_END ? ERR_OK : err;
}

static enum err bench_decode(struct cli *cli, struct diag *diag) {
    struct buf lines;
    buf_init(&lines, 1024 * 1024 * 1024);
    struct series_table *series = NULL;
    enum err err = make_lines(&lines);
    if (err == ERR_OK) err = series_table_open(&series);
    uint64_t events = 0;
    int64_t start_ns = sys_monotonic_ns(cli->sys);
    for (int round = 0; round < DECODE_ROUNDS && err == ERR_OK; round++)
        err = decode_once(buf_slice(&lines), series, diag, &events);
    double busy = seconds_since(cli, start_ns);
    if (err == ERR_OK) put_figure("decode", (double)events / busy, "events/s", "price events, JSON lines in memory");
    if (series != NULL) series_table_close(&series);
    buf_deinit(&lines);
    return err;
}

static int run(struct cli *cli) {
    static const struct {
        const char *name;
        enum err (*run)(struct cli *cli, struct diag *diag);
    } benches[] = {{"fold", bench_fold}, {"decode", bench_decode}, {"read", bench_read}};
    struct diag diag = {0};
    bool found = false;
    for (unsigned i = 0; i < sizeof benches / sizeof *benches; i++) {
        if (cli->word_count > 0 && strcmp(cli->words[0], benches[i].name) != 0) continue;
        /* Without a name: what needs no data folder. */
        if (cli->word_count == 0 && benches[i].run == bench_read) continue;
        found = true;
        enum err err = benches[i].run(cli, &diag);
        if (err != ERR_OK) return cli_fail(err, &diag);
    }
    return found ? EXIT_DONE : cli_usage(cli, "bench: \"%s\" is none of fold, decode, read", cli->words[0]);
}

static const struct cli_option options[] = {{NULL, NULL, NULL}};

const struct cli_command command_bench = {
    .name = "bench",
    .words = "[fold|decode|read]",
    .words_max = 1,
    .summary = "the program's own benchmarks; one JSON line a figure",
    .detail =
        "fold: decoded trades in memory to candles. decode: price events, JSON lines in memory, to events. "
        "read: what a chart asks of the candles in --data, 200 random queries each; only when it is named.",
    .options = options,
    .run = run,
};
