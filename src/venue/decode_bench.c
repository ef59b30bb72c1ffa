/* How fast the decoders read from memory, one line of JSON a figure: decode-bench [price]. Run it pinned to one core. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/buf.h"
#include "venue/binance/binance.h"
#include "venue/price_event.h"

enum { LINES = 200000, SERIES = 2000, ROUNDS = 20, BATCH = 4096 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t random_state = 88172645463325252u;
static uint32_t random_below(uint32_t limit) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state >> 32) * limit >> 32);
}

static void check(bool fine, const char *what) {
    if (fine) return;
    fprintf(stderr, "decode-bench: %s\n", what);
    exit(1);
}

static void report(const char *name, uint64_t count, size_t bytes, double seconds) {
    printf("{\"bench\":\"%s\",\"per_second\":%.0f,\"ns\":%.1f,\"mb_per_second\":%.0f}\n", name, (double)count / seconds,
           seconds * 1e9 / (double)count, (double)bytes / seconds / 1e6);
}

static void put_prices(struct buf *out) {
    static const char *const venues[] = {"binance", "huobi", "kraken", "coinbase"};
    static const char *const quotes[] = {"USDT", "USDC", "BTC", "EUR", "ETH"};
    for (int i = 0; i < LINES; i++) {
        uint32_t series = random_below(SERIES);
        buf_printf(out,
                   "{\"baseCurrency\":\"C%03X\",\"quoteCurrency\":\"%s\",\"exchange\":\"%s\",\"price\":\"%u.%02u\","
                   "\"baseVolumeLast24h\":\"%u.%04u\",\"quoteVolumeLast24h\":\"%u.%02u\",\"timestampInMs\":%lld}\n",
                   series / 20, quotes[series % 5], venues[series / 5 % 4], random_below(60000) + 1, random_below(100),
                   random_below(10000), random_below(10000), random_below(6000000), random_below(100),
                   1700000000000ll + i / 3);
    }
    buf_put(out, SLICE("                                                                "));
    check(buf_err(out) == ERR_OK, "out of memory");
}

static void bench_prices(void) {
    struct series_table *series = NULL;
    struct price_decoder *decoder = NULL;
    struct buf text;
    buf_init(&text, 1 << 28);
    put_prices(&text);
    check(series_table_open(&series) == ERR_OK && price_decoder_open(series, &decoder) == ERR_OK, "open");
    static struct event events[BATCH];
    static uint32_t starts[BATCH];
    double best = 1e9, best_general = 1e9;
    const uint8_t *end = text.data + text.size - 64;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t count = 0, general = 0;
        const uint8_t *at = text.data;
        double start = now();
        while (at < end) {
            uint32_t taken = price_decode_lines(decoder, &at, end, events, starts, BATCH);
            count += taken;
            if (taken == BATCH || at >= end) continue;
            const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
            check(price_decode(decoder, slice_of(at, (size_t)(newline - at)), NULL, events) == ERR_OK, "decode");
            at = newline + 1;
            count++, general++;
        }
        double seconds = now() - start;
        check(count == LINES, "lines");
        if (seconds < best) best = seconds;
        check(round == 0 || general < LINES / 1000, "the shape was not remembered");
        if (getenv("V")) fprintf(stderr, "general %llu\n", (unsigned long long)general);
    }
    report("price lines, remembered shape", LINES, text.size, best);
    for (int round = 0; round < 2; round++) {
        double start = now();
        for (const uint8_t *at = text.data; at < end;) {
            const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
            check(price_decode_general(decoder, slice_of(at, (size_t)(newline - at)), NULL, events) == ERR_OK,
                  "decode");
            at = newline + 1;
        }
        double seconds = now() - start;
        if (seconds < best_general) best_general = seconds;
    }
    report("price lines, general parser", LINES, text.size, best_general);
    price_decoder_close(&decoder);
    series_table_close(&series);
    buf_deinit(&text);
}

/* --- files, through import_read --- */

static void put_klines(struct buf *out) {
    for (int i = 0; i < LINES; i++) {
        uint32_t open = 6000000 + random_below(100000);
        buf_printf(out,
                   "%lld,%u.%02u000000,%u.%02u000000,%u.%02u000000,%u.%02u000000,%u.%05u000,%lld,%u.%08u,%u,%u.%05u000,"
                   "%u.%08u,0\n",
                   1600000020000ll + i * 60000ll, open / 100, open % 100, (open + 50) / 100, (open + 50) % 100,
                   (open - 50) / 100, (open - 50) % 100, open / 100, open % 100, random_below(500),
                   random_below(100000), 1600000079999ll + i * 60000ll, random_below(9000000), random_below(100000000),
                   random_below(9000), random_below(500), random_below(100000), random_below(9000000),
                   random_below(100000000));
    }
}

static void put_aggtrades(struct buf *out) {
    for (int i = 0; i < LINES; i++)
        buf_printf(out, "%d,%u.%02u000000,0.%05u000,%lld,%lld,%lld,%s,True\n", 640283266 + i, random_below(60000) + 1,
                   random_below(100), random_below(100000), 716849523ll + 2 * i, 716849524ll + 2 * i,
                   1616176861893ll + i / 2, random_below(2) ? "True" : "False");
}

static void put_messages(struct buf *out) {
    for (int i = 0; i < LINES; i++)
        buf_printf(
            out,
            "1723161254087896568 {\"stream\":\"btcusdt@trade\",\"data\":{\"e\":\"trade\",\"E\":%lld,\"s\":\"BTCUSDT\","
            "\"t\":%lld,\"p\":\"%u.%02u000000\",\"q\":\"0.%05u000\",\"T\":%lld,\"m\":%s,\"M\":true}}\n",
            1723161255343ll + i / 2, 3735683259ll + i, random_below(60000) + 1, random_below(100), random_below(100000),
            1723161255342ll + i / 2, random_below(2) ? "true" : "false");
}

static uint64_t read_events(struct import_reader *reader) {
    static struct event events[BATCH];
    uint64_t total = 0;
    for (;;) {
        struct import_item item;
        bool has_item = false;
        uint32_t count = 0;
        enum err err = import_read(reader, events, BATCH, NULL, &count, &item, &has_item);
        total += count;
        check(!has_item, "an item that is no event");
        if (err == ERR_END) return total;
        check(err == ERR_OK, "import_read");
    }
}

static uint64_t read_klines(struct import_reader *reader) {
    static struct candle rows[BATCH / 16];
    uint64_t total = 0;
    for (;;) {
        struct import_item item;
        bool has_item = false;
        uint32_t count = 0, series = 0;
        enum err err = import_read_klines(reader, rows, BATCH / 16, NULL, &series, &count, &item, &has_item);
        total += count;
        check(!has_item, "an item that is no row");
        if (err == ERR_END) return total;
        check(err == ERR_OK, "import_read_klines");
    }
}

/* From a file in the page cache: reading, identity and decoding together. */
static void bench_file(const char *name, void (*put)(struct buf *out), uint64_t (*read)(struct import_reader *reader)) {
    const char path[] = "/tmp/wick-decode-bench-BTCUSDT.tmp";
    const struct import_options options = {.series = "binance:BTC/USDT"};
    struct buf text;
    buf_init(&text, 1 << 28);
    put(&text);
    FILE *file = fopen(path, "wb");
    check(file != NULL && buf_err(&text) == ERR_OK, "a temporary file");
    size_t size = text.size;
    while (size > 64 && text.data[size - 1] == ' ') size--;
    check(fwrite(text.data, 1, size, file) == size && fclose(file) == 0, "a temporary file");
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        struct series_table *series = NULL;
        struct input *input = NULL;
        struct import_reader *reader = NULL;
        check(series_table_open(&series) == ERR_OK, "open");
        double start = now();
        check(input_open(sys_real(), path, NULL, &input) == ERR_OK, "open");
        check(import_open(input, path, &options, series, NULL, &reader) == ERR_OK, "open");
        check(read(reader) == LINES, "lines");
        double seconds = now() - start;
        if (seconds < best) best = seconds;
        import_close(&reader);
        input_close(&input);
        series_table_close(&series);
    }
    report(name, LINES, size, best);
    remove(path);
    buf_deinit(&text);
}

int main(void) {
    bench_prices();
    bench_file("file of price events", put_prices, read_events);
    bench_file("file of klines", put_klines, read_klines);
    bench_file("file of aggregated trades", put_aggtrades, read_events);
    bench_file("file of trade messages", put_messages, read_events);
    return 0;
}
