/* How fast the fold is: decoded events in memory -> candles with ids and hash, one core. One JSON line a figure.
 *
 *   book_bench trades [SERIES]   10 M trades of dense ids, five times
 *   book_bench prices [SERIES]   10 M prices, 2 s of disorder, one hour, five times
 *   book_bench freeze [SERIES] FOLDER   60 checkpoints of that many dirty price series, on LMDB in a new folder
 *   book_bench klines [SERIES] FOLDER   90 days of 1m klines of that many series, in calls of 4,096 rows, to the shelf */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/splitmix.h"
#include "candle/book.h"
#include "log/log.h"

enum { EVENTS = 10000000, PASSES = 5, BATCH = 1024 };
static const int64_t T0 = INT64_C(1618617600000);

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* What other programs on the machine leave to us does not show in it. */
static double cpu_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void must(enum err err) {
    if (err == ERR_OK) return;
    fprintf(stderr, "book_bench: %s\n", err_message(err));
    exit(1);
}

static struct decimal canonical(int64_t mantissa, uint8_t scale) {
    return decimal_normalize((struct decimal){mantissa, scale});
}

static struct series_table *table_of(const char *venue, enum series_kind kind, uint32_t series_count) {
    struct series_table *table;
    must(series_table_open(&table));
    for (uint32_t i = 0; i < series_count; i++) {
        char base[16];
        uint32_t number;
        snprintf(base, sizeof base, "C%u", i);
        struct series_key key = {slice_text(venue), slice_text(base), SLICE("USDT"), kind};
        must(series_intern(table, &key, &number));
    }
    return table;
}

static struct event *make_events(bool prices, uint32_t series_count) {
    struct event *events = aligned_alloc(64, (size_t)EVENTS * sizeof *events);
    int64_t *ids = calloc(series_count, sizeof *ids);
    uint64_t r = 1;
    if (events == NULL || ids == NULL) exit(1);
    for (uint32_t i = 0; i < EVENTS; i++) {
        uint32_t series = (uint32_t)(splitmix_next(&r) % series_count);
        struct decimal price = canonical(5000000 + (int64_t)(splitmix_next(&r) % 10000), 2);
        struct decimal quantity = canonical(1 + (int64_t)(splitmix_next(&r) % 1000000), 5);
        int64_t time_ms = T0 + (int64_t)i * 3600000 / EVENTS;
        if (prices && splitmix_next(&r) % 4 == 0) time_ms -= (int64_t)(splitmix_next(&r) % 2000);
        if (time_ms < T0) time_ms = T0;
        struct event e = {.series = series,
                          .time_ms = time_ms,
                          .price = price.mantissa,
                          .price_scale = price.scale,
                          .quantity = quantity.mantissa,
                          .quantity_scale = quantity.scale};
        e.kind = prices ? EVENT_PRICE : EVENT_TRADE;
        if (prices) {
            e.quote_volume = (int64_t)(splitmix_next(&r) % 100000000);
        } else {
            e.first_id = e.last_id = 1000 + ids[series]++;
            e.side = (uint8_t)(1 + splitmix_next(&r) % 2);
        }
        events[i] = e;
    }
    free(ids);
    return events;
}

static enum err count_row(void *context, const struct candle *candle) {
    ((uint64_t *)context)[0]++;
    ((uint64_t *)context)[1] += candle->hash;
    return ERR_OK;
}

static void fold_all(struct book *book, const struct event *events, struct book_counts *counts) {
    enum event_fate fates[BATCH];
    struct diag diag = {0};
    for (uint32_t at = 0; at < EVENTS; at += BATCH) {
        uint32_t n = EVENTS - at < BATCH ? EVENTS - at : BATCH;
        must(book_apply(book, events + at, NULL, n, fates, counts, &diag));
    }
    must(book_finish(book, &diag));
}

static void bench_fold(bool prices, uint32_t series_count) {
    struct series_table *table =
        table_of(prices ? "desk" : "binance", prices ? SERIES_PRICE : SERIES_TRADE, series_count);
    struct event *events = make_events(prices, series_count);
    struct book_counts counts = {0};
    uint64_t rows[2] = {0};
    double seconds = 0, cpu = 0;
    for (int pass = 0; pass < PASSES; pass++) {
        struct book_options options = {.series = table, .base_ms = 60000, .bounded = true};
        struct book *book;
        struct diag diag = {0};
        double start = now_s(), cpu_start = cpu_s();
        must(book_open(&options, &diag, &book));
        fold_all(book, events, &counts);
        seconds += now_s() - start;
        cpu += cpu_s() - cpu_start;
        for (uint32_t s = 0; s < series_count; s++) {
            struct shelf_range range = {{s, prices ? BASIS_PRICES : BASIS_TRADES}, 60000, 0, INT64_MAX, false};
            must(book_scan(book, &range, count_row, rows));
        }
        book_close(&book);
    }
    printf(
        "{\"bench\":\"fold-%s\",\"series\":%u,\"events\":%llu,\"used\":%llu,\"candles\":%llu,\"seconds\":%.3f,"
        "\"events_per_second\":%.0f,\"events_per_cpu_second\":%.0f}\n",
        prices ? "prices" : "trades", series_count, (unsigned long long)counts.read,
        (unsigned long long)counts.fate[FATE_USED], (unsigned long long)rows[0] / PASSES, seconds,
        (double)counts.read / seconds, (double)counts.read / cpu);
    free(events);
    series_table_close(&table);
}

/* --- over a store --- */

struct place {
    struct series_table *table;
    struct log *log;
    struct store *store;
    struct shelf *shelf;
    struct book *book;
};

static void open_place(struct place *p, const char *folder, bool prices, uint32_t series_count) {
    char log_folder[512], store_folder[512];
    struct diag diag = {0};
    snprintf(log_folder, sizeof log_folder, "%s/log", folder);
    snprintf(store_folder, sizeof store_folder, "%s/store", folder);
    must(sys_make_folders(sys_real(), log_folder, &diag));
    const struct log_options log = {.sys = sys_real(), .folder = log_folder};
    must(log_open(&log, &diag, &p->log));
    must(log_start(p->log, &diag));
    must(store_lmdb_open(sys_real(), store_folder, 0, false, &diag, &p->store));
    p->table = table_of(prices ? "desk" : "binance", prices ? SERIES_PRICE : SERIES_TRADE, series_count);
    const struct shelf_options shelf = {.store = p->store, .log = p->log, .series = p->table, .base_ms = 60000};
    must(shelf_open(&shelf, &diag, &p->shelf));
    const struct book_options book = {.series = p->table,
                                      .shelf = p->shelf,
                                      .store = p->store,
                                      .task = "bench",
                                      .base_ms = 60000,
                                      .bounded = !prices};
    must(book_open(&book, &diag, &p->book));
}

static void close_place(struct place *p) {
    book_close(&p->book);
    shelf_close(&p->shelf);
    series_table_close(&p->table);
    store_close(&p->store);
    log_close(&p->log);
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static enum err ignore_change(void *context, const struct book_changed *changed) {
    (void)changed;
    ++*(uint64_t *)context;
    return ERR_OK;
}

/* Half a second of EACH prices a series, then a checkpoint in parts; the minute turns once. */
static void bench_freeze(uint32_t series_count, const char *folder) {
    enum { CHECKPOINTS = 60, EACH = 20 };
    struct place p = {0};
    double part = 0, begin[CHECKPOINTS], freeze[CHECKPOINTS], commit[CHECKPOINTS], changes[CHECKPOINTS];
    struct book_counts counts = {0};
    uint64_t told = 0;
    struct store_batch batch;
    store_batch_init(&batch, (size_t)1 << 28);
    open_place(&p, folder, true, series_count);
    for (int i = 0; i < CHECKPOINTS; i++) {
        struct diag diag = {0};
        for (uint32_t k = 0; k < series_count * EACH; k++) {
            struct event e = {.series = k % series_count,
                              .time_ms = T0 + 45000 + i * 500 + k / series_count,
                              .price = 100000 + k + i,
                              .price_scale = 2,
                              .quantity = 1,
                              .kind = EVENT_PRICE};
            must(book_apply(p.book, &e, NULL, 1, NULL, &counts, &diag));
        }
        must(book_clock(p.book, T0 + 45000 + i * 500, &diag));
        double start = now_s();
        must(book_changes(p.book, ignore_change, &told));
        changes[i] = now_s() - start;
        struct store_snapshot *snapshot;
        store_batch_clear(&batch);
        must(store_snapshot_open(p.store, &snapshot));
        start = now_s();
        must(book_freeze_begin(p.book, snapshot, &batch, &diag));
        begin[i] = now_s() - start;
        freeze[i] = begin[i];
        for (uint32_t left = 1; left > 0;) {
            double part_s = -cpu_s();
            start = now_s();
            must(book_freeze_some(p.book, 64, &diag, &left));
            freeze[i] += now_s() - start;
            part_s += cpu_s();
            if (i > 0 && part_s > part) part = part_s;
        }
        store_snapshot_close(p.store, &snapshot);
        const struct store_batch *batches[] = {&batch};
        start = now_s();
        must(shelf_flush(p.shelf, &batch, &diag));
        must(store_commit(p.store, batches, 1, (uint64_t)i + 1, &diag));
        commit[i] = now_s() - start;
        book_committed(p.book);
    }
    store_batch_deinit(&batch);
    qsort(begin, CHECKPOINTS, sizeof *begin, compare_doubles);
    qsort(freeze, CHECKPOINTS, sizeof *freeze, compare_doubles);
    qsort(commit, CHECKPOINTS, sizeof *commit, compare_doubles);
    qsort(changes, CHECKPOINTS, sizeof *changes, compare_doubles);
    printf(
        "{\"bench\":\"freeze\",\"series\":%u,\"freeze_p50_ms\":%.2f,\"freeze_max_ms\":%.2f,\"begin_p50_ms\":%.2f,"
        "\"part_max_cpu_ms\":%.2f,\"commit_p50_ms\":%.2f,"
        "\"changes_p50_ms\":%.2f}\n",
        series_count, freeze[CHECKPOINTS / 2] * 1e3, freeze[CHECKPOINTS - 1] * 1e3, begin[CHECKPOINTS / 2] * 1e3,
        part * 1e3, commit[CHECKPOINTS / 2] * 1e3, changes[CHECKPOINTS / 2] * 1e3);
    close_place(&p);
}

static void bench_klines(uint32_t series_count, const char *folder) {
    enum { DAYS = 90, ROWS = DAYS * 1440, CALL = 4096 };
    struct place p = {0};
    struct candle *rows = calloc(ROWS, sizeof *rows);
    struct book_counts counts = {0};
    struct diag diag = {0};
    uint64_t r = 1;
    if (rows == NULL) exit(1);
    open_place(&p, folder, false, series_count);
    for (int64_t i = 0; i < ROWS; i++) {
        int64_t close = 100000 + (int64_t)(splitmix_next(&r) % 1000);
        rows[i] = (struct candle){.open_time_ms = T0 + i * 60000,
                                  .open = {close - 5, 2},
                                  .high = {close + 9, 2},
                                  .low = {close - 9, 2},
                                  .close = {close, 2},
                                  .trades = 10,
                                  .first_id = i * 10,
                                  .last_id = i * 10 + 9,
                                  .final = CANDLE_FINAL_PROVEN};
        rows[i].volume = canonical(1 + (int64_t)(splitmix_next(&r) % 1000000), 4);
    }
    double start = now_s();
    for (uint32_t s = 0; s < series_count; s++)
        for (uint32_t at = 0; at < ROWS; at += CALL)
            must(book_apply_klines(p.book, s, rows + at, ROWS - at < CALL ? ROWS - at : CALL, &counts, &diag));
    struct store_batch batch;
    struct store_snapshot *snapshot;
    store_batch_init(&batch, (size_t)1 << 28);
    must(store_snapshot_open(p.store, &snapshot));
    must(book_seal_all(p.book, snapshot, &batch, &diag));
    must(shelf_flush(p.shelf, &batch, &diag));
    store_snapshot_close(p.store, &snapshot);
    const struct store_batch *batches[] = {&batch};
    must(store_commit(p.store, batches, 1, 1, &diag));
    double seconds = now_s() - start;
    printf("{\"bench\":\"klines\",\"series\":%u,\"rows\":%llu,\"seconds\":%.3f,\"rows_per_second\":%.0f}\n",
           series_count, (unsigned long long)counts.fate[FATE_USED], seconds, (double)counts.read / seconds);
    store_batch_deinit(&batch);
    free(rows);
    close_place(&p);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "all";
    uint32_t series = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    bool all = strcmp(what, "all") == 0;
    if (all || strcmp(what, "trades") == 0) bench_fold(false, series > 0 ? series : 20);
    if (all || strcmp(what, "prices") == 0) bench_fold(true, series > 0 ? series : 2000);
    if (argc > 3 && strcmp(what, "freeze") == 0) bench_freeze(series, argv[3]);
    if (argc > 3 && strcmp(what, "klines") == 0) bench_klines(series, argv[3]);
    return 0;
}
