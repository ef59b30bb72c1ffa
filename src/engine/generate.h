/* Seeded generators: the same seed and options give the same bytes, on any machine.
 *
 * `price-events`: PriceEvent JSON lines of many series, evenly spread over a span, with a stated disorder.
 * `trades`: Binance trade messages, `<local ns> <raw JSON>`, with dense ids in each series, spread in the same way.
 * `prices`: CSV `ts,symbol,price` with a header, as the stock-price examples read it. */
#ifndef ENGINE_GENERATE_H
#define ENGINE_GENERATE_H

#include "base/buf.h"

enum generate_kind { GENERATE_PRICE_EVENTS, GENERATE_TRADES, GENERATE_PRICES };

struct generate_options {
    enum generate_kind kind;
    uint64_t seed;
    uint64_t count;      /* events; 0: without end */
    uint32_t series;     /* 0: 2,000 price events, 24 trades, 10 prices */
    int64_t from_ms;     /* first event time; 0: 2023-11-14T22:13:20Z */
    int64_t span_ms;     /* of `count` events; 0: an hour */
    int64_t disorder_ms; /* event times are up to this much behind the largest; -1: 2 s */
    uint32_t late_ppm;   /* events in a million that are a minute behind */
    uint32_t duplicate_ppm;
};

struct generator;
enum err generator_open(const struct generate_options *options, struct generator **ret_generator) MUST_USE;
void generator_close(struct generator **generator);
/* Appends one event to `out`, newline included (the CSV header before the first). ERR_END after `count`. */
enum err generator_next(struct generator *generator, struct buf *out) MUST_USE;
/* Record key of the event just made (series name or symbol); lives until the next call. */
struct slice generator_key(const struct generator *generator);
/* Its event time. */
int64_t generator_time(const struct generator *generator);

/* xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64. */
struct prng {
    uint64_t s[4];
};
void prng_seed(struct prng *prng, uint64_t seed);
uint64_t prng_next(struct prng *prng);
/* Uniform in [0, n). */
uint64_t prng_below(struct prng *prng, uint64_t n);

/* The pairs that generated markets use: a price in cents to start from, and decimals. */
struct market_pair {
    const char *base, *quote;
    int64_t price; /* mantissa */
    uint8_t decimals;
};
extern const struct market_pair market_pairs[];
extern const uint32_t market_pair_count;

#endif
