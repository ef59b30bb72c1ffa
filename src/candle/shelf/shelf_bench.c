/* Measures the shelf on the generated set: N series x 90 days of 1m candles. Prices in cents: close = open + uniform
 * -50..50, next open = close, high and low = extremes +- uniform 0..30, volume = round(10^4 x lognormal(2, 1)) / 10^4.
 *
 *   bench-shelf FOLDER [SERIES [DAYS]]     one JSON line a figure; FOLDER must not exist or be empty
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/splitmix.h"
#include "candle/block.h"
#include "candle/shelf.h"

enum { QUERIES = 200, MINI_BLOCKS = 2000, DAYS_MAX = 400 };
static const int64_t START_MS = INT64_C(1699920000000), DAY_MS = 86400000; /* 2023-11-14 */

struct bench {
    struct log *log;
    struct store *store;
    struct series_table *series;
    struct shelf *shelf;
    struct candle *rows; /* a series' */
    uint32_t series_count, days, row_count;
    uint64_t random, stamp;
    int64_t prepare_ns; /* spent on generating, not on the shelf */
};

static void must(enum err err, const struct diag *diag, const char *what) {
    if (err == ERR_OK) return;
    fprintf(stderr, "%s: %s: %s\n", what, err_message(err), diag->what);
    exit(1);
}

static int64_t now_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}
static int64_t wall_ns(void) { return now_ns(CLOCK_MONOTONIC); }
static int64_t cpu_ns(void) { return now_ns(CLOCK_THREAD_CPUTIME_ID); }

static int64_t between(uint64_t *random, int64_t low, int64_t high) {
    return low + (int64_t)(splitmix_next(random) % (uint64_t)(high - low + 1));
}
static double normal(uint64_t *random) {
    double u = ((double)(splitmix_next(random) >> 11) + 1) * 0x1p-53,
           v = (double)(splitmix_next(random) >> 11) * 0x1p-53;
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}
static struct decimal decimal(int64_t mantissa, uint8_t scale) {
    return decimal_normalize((struct decimal){mantissa, scale});
}

static void generate(struct bench *b, uint32_t series) {
    uint64_t random = series + 1;
    int64_t open = between(&random, 100000, 500000), at = wall_ns();
    for (uint32_t i = 0; i < b->row_count; i++) {
        int64_t close = open + between(&random, -50, 50);
        if (close < 1000) close = open + 50;
        struct candle *c = &b->rows[i];
        *c = (struct candle){.open_time_ms = START_MS + i * INT64_C(60000),
                             .first_id = -1,
                             .last_id = -1,
                             .last_offset = -1,
                             .covered_minutes = 1,
                             .native_ms = 60000,
                             .coverage = COVERAGE_TRADED,
                             .basis = BASIS_KLINES,
                             .final = CANDLE_FINAL_PROVEN};
        c->close_time_ms = c->open_time_ms + 59999;
        c->open = decimal(open, 2);
        c->close = decimal(close, 2);
        c->high = decimal((open > close ? open : close) + between(&random, 0, 30), 2);
        c->low = decimal((open < close ? open : close) - between(&random, 0, 30), 2);
        c->volume = decimal(llround(1e4 * exp(2 + normal(&random))), 4);
        c->open_mark = (struct candle_mark){c->open_time_ms, -1};
        c->close_mark = (struct candle_mark){c->close_time_ms, -1};
        open = close;
    }
    b->prepare_ns += wall_ns() - at;
}

static void commit(struct bench *b, struct store_batch *batch) {
    struct diag diag = {0};
    const struct store_batch *list[] = {batch};
    must(store_commit(b->store, list, 1, ++b->stamp, &diag), &diag, "commit");
    store_batch_clear(batch);
}

static struct lane lane_of(uint32_t series) { return (struct lane){series, BASIS_KLINES}; }

/* --- block codec alone --- */

static void bench_block(struct bench *b) {
    struct buf buf;
    struct block_view view;
    uint32_t got;
    buf_init(&buf, BLOCK_BYTES_MAX);
    generate(b, 0);
    uint64_t bytes = 0, rows = 0;
    int64_t encode_ns = 0, decode_ns = 0;
    struct candle *back = malloc(1440 * sizeof *back);
    for (int round = 0; round < 5; round++)
        for (uint32_t day = 0; day < b->days; day++) {
            buf_clear(&buf);
            int64_t at = cpu_ns();
            struct diag none = {0};
            must(block_encode(&buf, 60000, START_MS + day * DAY_MS, b->rows + day * 1440, 1440), &none, "encode");
            encode_ns += cpu_ns() - at;
            at = cpu_ns();
            must(block_open(buf_slice(&buf), &view), &none, "open");
            must(block_read(&view, INT64_MIN, INT64_MAX, back, 1440, &got), &none, "read");
            decode_ns += cpu_ns() - at;
            bytes += buf.size;
            rows += 1440;
        }
    printf("{\"figure\":\"block\",\"bytes_per_row\":%.3f,\"encode_ns_per_row\":%.1f,\"decode_ns_per_row\":%.1f}\n",
           (double)bytes / (double)rows, (double)encode_ns / (double)rows, (double)decode_ns / (double)rows);
    free(back);
    buf_deinit(&buf);
}

/* --- load --- */

static void load(struct bench *b) {
    struct store_batch batch;
    struct store_snapshot *snapshot = NULL;
    struct diag diag = {0};
    store_batch_init(&batch, 1 << 30);
    int64_t start = wall_ns(), cpu = 0, commits = 0;
    b->prepare_ns = 0;
    for (uint32_t series = 0; series < b->series_count; series++) {
        generate(b, series);
        int64_t at = cpu_ns();
        must(store_snapshot_open(b->store, &snapshot), &diag, "snapshot");
        must(shelf_seal(b->shelf, snapshot, lane_of(series), b->rows, b->row_count, &diag), &diag, "seal");
        store_snapshot_close(b->store, &snapshot);
        cpu += cpu_ns() - at;
        if (series % 50 != 49 && series + 1 != b->series_count) continue;
        int64_t flush = cpu_ns(), wall = wall_ns();
        must(shelf_flush(b->shelf, &batch, &diag), &diag, "flush");
        commit(b, &batch);
        cpu += cpu_ns() - flush;
        commits += wall_ns() - wall;
    }
    double rows = (double)b->row_count * b->series_count, wall = (double)(wall_ns() - start - b->prepare_ns);
    printf(
        "{\"figure\":\"load\",\"rows\":%.0f,\"wall_ns_per_row\":%.1f,\"cpu_ns_per_row\":%.1f,\"flush_and_commit_s\":"
        "%.2f}\n",
        rows, wall / rows, (double)cpu / rows, (double)commits / 1e9);
    store_batch_deinit(&batch);
}

static void bench_size(struct bench *b) {
    static const char *const topics[] = {"candles.sealed.1m", "candles.sealed.15m", "candles.sealed.1d"};
    double rows = (double)b->row_count * b->series_count;
    for (int i = 0; i < 3; i++) {
        struct log_partition *partition = NULL;
        struct log_cursor *cursor = NULL;
        struct record_batch batch;
        struct diag diag = {0};
        uint64_t bytes = 0;
        must(log_partition_find(b->log, topics[i], 0, &partition), &diag, "topic");
        must(log_cursor_open(partition, 0, &diag, &cursor), &diag, "cursor");
        while (log_cursor_next(cursor, &diag, &batch) == ERR_OK) bytes += batch.size_bytes;
        log_cursor_close(&cursor);
        printf("{\"figure\":\"size\",\"topic\":\"%s\",\"bytes\":%" PRIu64 ",\"bytes_per_1m_candle\":%.3f}\n", topics[i],
               bytes, (double)bytes / rows);
    }
}

/* --- reads --- */

static int compare_i64(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

struct take {
    uint32_t count, limit;
    double sum;
};

static enum err take(void *context, const struct candle *candle) {
    struct take *t = context;
    t->sum += (double)(int64_t)candle->close.mantissa;
    return ++t->count == t->limit ? ERR_END : ERR_OK;
}

static void bench_reads(struct bench *b, const char *name, struct shelf_range range, uint32_t limit) {
    int64_t times[QUERIES], end = START_MS + b->days * DAY_MS;
    uint32_t rows = 0;
    for (int i = 0; i < QUERIES; i++) {
        struct store_snapshot *snapshot = NULL;
        struct diag diag = {0};
        struct take t = {.limit = limit};
        range.lane = lane_of((uint32_t)(splitmix_next(&b->random) % b->series_count));
        if (range.to_ms == 0 || range.to_ms > end) range.to_ms = end;
        int64_t at = wall_ns();
        must(store_snapshot_open(b->store, &snapshot), &diag, "snapshot");
        must(shelf_scan(b->shelf, snapshot, &range, take, &t, &diag), &diag, "scan");
        store_snapshot_close(b->store, &snapshot);
        times[i] = wall_ns() - at;
        rows = t.count;
    }
    qsort(times, QUERIES, sizeof *times, compare_i64);
    printf("{\"figure\":\"%s\",\"rows\":%u,\"p50_ms\":%.4f,\"p99_ms\":%.4f}\n", name, rows,
           (double)times[QUERIES / 2] / 1e6, (double)times[QUERIES * 99 / 100] / 1e6);
}

/* --- a checkpoint of open rows --- */

static void bench_checkpoint(struct bench *b) {
    struct store_batch batch;
    struct store_snapshot *snapshot = NULL;
    struct diag diag = {0};
    int64_t put[30], commits[30];
    store_batch_init(&batch, 1 << 30);
    generate(b, 0);
    int64_t day = START_MS + (b->days + 1) * DAY_MS;
    for (int minute = 0; minute < 60; minute += 2) {
        int64_t at = wall_ns();
        must(store_snapshot_open(b->store, &snapshot), &diag, "snapshot");
        for (uint32_t lane = 0; lane < MINI_BLOCKS; lane++) {
            struct candle *row = &b->rows[minute];
            row->open_time_ms = row->open_mark.time_ms = day + minute * INT64_C(60000);
            row->close_time_ms = row->close_mark.time_ms = row->open_time_ms + 59999;
            row[1] = row[0];
            row[1].open_time_ms += 60000;
            row[1].close_time_ms += 60000;
            must(shelf_put(b->shelf, snapshot, &batch, (struct lane){lane, BASIS_PRICES}, row, 2), &diag, "put");
        }
        store_snapshot_close(b->store, &snapshot);
        put[minute / 2] = wall_ns() - at;
        at = wall_ns();
        commit(b, &batch);
        commits[minute / 2] = wall_ns() - at;
    }
    qsort(put, 30, sizeof *put, compare_i64);
    qsort(commits, 30, sizeof *commits, compare_i64);
    printf(
        "{\"figure\":\"checkpoint\",\"mini_blocks\":%d,\"put_p50_ms\":%.2f,\"commit_p50_ms\":%.2f,\"commit_max_ms\":"
        "%.2f}\n",
        MINI_BLOCKS, (double)put[15] / 1e6, (double)commits[15] / 1e6, (double)commits[29] / 1e6);
    store_batch_deinit(&batch);
}

static void open_all(struct bench *b, const char *folder) {
    static char log_folder[512], store_folder[512];
    struct diag diag = {0};
    snprintf(log_folder, sizeof log_folder, "%s/log", folder);
    snprintf(store_folder, sizeof store_folder, "%s/store", folder);
    must(sys_make_folders(sys_real(), log_folder, &diag), &diag, log_folder);
    const struct log_options options = {.sys = sys_real(), .folder = log_folder};
    must(log_open(&options, &diag, &b->log), &diag, "log");
    must(log_start(b->log, &diag), &diag, "log");
    must(store_lmdb_open(sys_real(), store_folder, 0, false, &diag, &b->store), &diag, "store");
    must(series_table_open(&b->series), &diag, "series");
    for (uint32_t i = 0; i < b->series_count || i < MINI_BLOCKS; i++) {
        char base[16];
        uint32_t number;
        snprintf(base, sizeof base, "B%04u", i);
        const struct series_key key = {SLICE("binance"), slice_text(base), SLICE("USDT"), SERIES_TRADE};
        must(series_intern(b->series, &key, &number), &diag, "series");
    }
    const struct shelf_options shelf = {.store = b->store, .log = b->log, .series = b->series, .base_ms = 60000};
    must(shelf_open(&shelf, &diag, &b->shelf), &diag, "shelf");
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: bench-shelf FOLDER [SERIES [DAYS]]\n");
        return 2;
    }
    struct bench b = {.series_count = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1000,
                      .days = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 90,
                      .random = 1};
    if (b.series_count == 0 || b.days < 31 || b.days > DAYS_MAX) {
        fprintf(stderr, "at least one series, and 31..%d days\n", DAYS_MAX);
        return 2;
    }
    b.row_count = b.days * 1440;
    b.rows = calloc(b.row_count, sizeof *b.rows);
    if (b.rows == NULL) return 1;
    open_all(&b, argv[1]);
    bench_block(&b);
    load(&b);
    bench_size(&b);
    int64_t end = START_MS + b.days * DAY_MS, december = INT64_C(1701388800000);
    bench_reads(&b, "last 1,000 1m", (struct shelf_range){.tier_ms = 60000, .from_ms = 0, .descending = true}, 1000);
    bench_reads(&b, "one month as 15m",
                (struct shelf_range){.tier_ms = 900000, .from_ms = december, .to_ms = december + 31 * DAY_MS}, 0);
    bench_reads(&b, "90 days as 1d", (struct shelf_range){.tier_ms = 86400000, .from_ms = START_MS, .to_ms = end}, 0);
    bench_checkpoint(&b);
    shelf_close(&b.shelf);
    series_table_close(&b.series);
    store_close(&b.store);
    log_close(&b.log);
    free(b.rows);
    return 0;
}
