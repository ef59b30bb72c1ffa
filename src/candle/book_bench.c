/* How fast the fold is: decoded events in memory -> candles with ids and hash, one core. One JSON line a figure.
 *
 *   book_bench trades [SERIES]   5 M trades of dense ids, ten times
 *   book_bench prices [SERIES]   5 M prices, 2 s of disorder, one hour, ten times
 *   book_bench freeze [SERIES]   what a checkpoint of that many dirty series costs, on the memory store */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "candle/book.h"

enum { EVENTS = 5000000, PASSES = 10, BATCH = 1024 };
static const int64_t T0 = INT64_C(1618617600000);

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void must(enum err err) {
    if (err == ERR_OK) return;
    fprintf(stderr, "book_bench: %s\n", err_message(err));
    exit(1);
}

static uint64_t random_next(uint64_t *state) {
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    return z ^ (z >> 31);
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
        uint32_t series = (uint32_t)(random_next(&r) % series_count);
        struct decimal price = canonical(5000000 + (int64_t)(random_next(&r) % 10000), 2);
        struct decimal quantity = canonical(1 + (int64_t)(random_next(&r) % 1000000), 5);
        int64_t time_ms = T0 + (int64_t)i * 3600000 / EVENTS;
        if (prices && random_next(&r) % 4 == 0) time_ms -= (int64_t)(random_next(&r) % 2000);
        if (time_ms < T0) time_ms = T0;
        struct event e = {.series = series,
                          .time_ms = time_ms,
                          .price = price.mantissa,
                          .price_scale = price.scale,
                          .quantity = quantity.mantissa,
                          .quantity_scale = quantity.scale};
        e.kind = prices ? EVENT_PRICE : EVENT_TRADE;
        if (prices) {
            e.quote_volume = (int64_t)(random_next(&r) % 100000000);
        } else {
            e.first_id = e.last_id = 1000 + ids[series]++;
            e.side = (uint8_t)(1 + random_next(&r) % 2);
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
    double seconds = 0;
    for (int pass = 0; pass < PASSES; pass++) {
        struct book_options options = {.series = table, .base_ms = 60000, .bounded = true};
        struct book *book;
        struct diag diag = {0};
        double start = now_s();
        must(book_open(&options, &diag, &book));
        fold_all(book, events, &counts);
        seconds += now_s() - start;
        for (uint32_t s = 0; s < series_count; s++) {
            struct shelf_range range = {{s, prices ? BASIS_PRICES : BASIS_TRADES}, 60000, 0, INT64_MAX, false};
            must(book_scan(book, &range, count_row, rows));
        }
        book_close(&book);
    }
    printf(
        "{\"bench\":\"fold-%s\",\"series\":%u,\"events\":%llu,\"used\":%llu,\"candles\":%llu,\"seconds\":%.3f,"
        "\"events_per_second\":%.0f}\n",
        prices ? "prices" : "trades", series_count, (unsigned long long)counts.read,
        (unsigned long long)counts.fate[FATE_USED], (unsigned long long)rows[0] / PASSES, seconds,
        (double)counts.read / seconds);
    free(events);
    series_table_close(&table);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "all";
    uint32_t series = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    bool all = strcmp(what, "all") == 0;
    if (all || strcmp(what, "trades") == 0) bench_fold(false, series > 0 ? series : 20);
    if (all || strcmp(what, "prices") == 0) bench_fold(true, series > 0 ? series : 2000);
    return 0;
}
