/* The candle set of the store benchmark: 1m candles as the exchange publishes them (binance-klines CSV), a file a series.
 *
 *   bench-gen FOLDER FIRST COUNT DAYS    files of series FIRST..FIRST+COUNT-1, 90 days by default
 *
 * Prices in cents: close = open + uniform -50..50, next open = close, high and low = extremes +- uniform 0..30, volume =
 * round(10^4 x lognormal(2, 1)) / 10^4. Times start at 2023-11-14T00:00:00Z. The set is of
 * OHLCV: the other columns are constant. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t state[2];

static uint64_t next_random(void) { /* xoroshiro128+ */
    uint64_t a = state[0], b = state[1], sum = a + b;
    b ^= a;
    state[0] = ((a << 24) | (a >> 40)) ^ b ^ (b << 16);
    state[1] = (b << 37) | (b >> 27);
    return sum;
}

static double uniform(void) { return (double)(next_random() >> 11) * 0x1p-53; }

static int64_t between(int64_t low, int64_t high) {
    return low + (int64_t)(next_random() % (uint64_t)(high - low + 1));
}

static double normal(void) {
    double u = 1.0 - uniform(), v = uniform();
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

static void write_row(FILE *out, int64_t time, int64_t *price) {
    int64_t open = *price, close = open + between(-50, 50);
    if (close < 1000) close = open + 50;
    int64_t high = (open > close ? open : close) + between(0, 30), low = (open < close ? open : close) - between(0, 30);
    int64_t volume = llround(1e4 * exp(2 + normal()));
    fprintf(out,
            "%" PRId64 ",%" PRId64 ".%02" PRId64 ",%" PRId64 ".%02" PRId64 ",%" PRId64 ".%02" PRId64 ",%" PRId64
            ".%02" PRId64 ",%" PRId64 ".%04" PRId64 ",%" PRId64 ",0,1,0,0,0\n",
            time, open / 100, open % 100, high / 100, high % 100, low / 100, low % 100, close / 100, close % 100,
            volume / 10000, volume % 10000, time + 59999);
    *price = close;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: bench-gen FOLDER FIRST COUNT [DAYS]\n");
        return 2;
    }
    unsigned first = (unsigned)strtoul(argv[2], NULL, 10), count = (unsigned)strtoul(argv[3], NULL, 10);
    unsigned days = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 90;
    for (unsigned series = first; series < first + count; series++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/B%03uUSDT-1m-2023.csv", argv[1], series);
        FILE *out = fopen(path, "w");
        if (out == NULL) {
            perror(path);
            return 1;
        }
        state[0] = 0x9E3779B97F4A7C15u * (series + 1);
        state[1] = 0xBF58476D1CE4E5B9u ^ series;
        int64_t price = between(5000, 500000);
        for (int64_t i = 0; i < days * 1440LL; i++) write_row(out, 1699920000000 + i * 60000, &price);
        if (fclose(out) != 0) {
            perror(path);
            return 1;
        }
    }
    return 0;
}
