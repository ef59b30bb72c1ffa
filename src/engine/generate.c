#include "engine/generate.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/civil.h"
#include "base/decimal.h"
#include "base/splitmix.h"

enum { SERIES_MAX = 20000, NAME_MAX_BYTES = 96 };

const struct market_pair market_pairs[] = {
    {"BTC", "USDT", 6743210, 2},   {"ETH", "USDT", 352341, 2},  {"SOL", "USDT", 17854, 2},
    {"BNB", "USDT", 61230, 2},     {"XRP", "USDT", 52340, 5},   {"ADA", "USDT", 45120, 5},
    {"DOGE", "USDT", 1412300, 7},  {"TRX", "USDT", 1285000, 7}, {"LTC", "USDT", 8345, 2},
    {"LINK", "USDT", 14820, 3},    {"AVAX", "USDT", 35410, 3},  {"DOT", "USDT", 71200, 4},
    {"ETH", "BTC", 5225100, 8},    {"SOL", "BTC", 264800, 8},   {"XRP", "BTC", 776, 8},
    {"BTC", "EUR", 6214355, 2},    {"ETH", "EUR", 324712, 2},   {"PEPE", "USDT", 1123400, 11},
    {"SHIB", "USDT", 2451000, 11}, {"UNI", "USDT", 9812, 3},    {"ATOM", "USDT", 8123, 3},
    {"NEAR", "USDT", 5421, 3},     {"ARB", "USDT", 10423, 4},   {"BTC", "USDC", 6742950, 2},
};
const uint32_t market_pair_count = sizeof market_pairs / sizeof *market_pairs;

/* --- random --- */

void prng_seed(struct prng *prng, uint64_t seed) {
    for (int i = 0; i < 4; i++) prng->s[i] = splitmix_next(&seed);
}

static uint64_t rotate(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

uint64_t prng_next(struct prng *prng) {
    uint64_t *s = prng->s, result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

uint64_t prng_below(struct prng *prng, uint64_t n) {
    assert(n > 0);
    return (uint64_t)(((unsigned __int128)prng_next(prng) * n) >> 64);
}

/* --- series --- */

struct walk {
    char key[NAME_MAX_BYTES];
    char base[16], quote[16], venue[16];
    int64_t price;
    int64_t step; /* largest move of the mantissa */
    int64_t id;   /* next trade id */
    uint8_t decimals;
};

struct generator {
    struct generate_options options;
    struct prng prng;
    struct walk *walks;
    uint64_t made;
    uint64_t planned; /* of the span's spacing */
    const struct walk *current;
    int64_t time_ms;
    struct buf previous; /* for duplicates */
    bool header_done;
};

static const char *const venues[] = {"binance", "huobi", "kraken", "coinbase", "bitstamp"};
static const char *const quotes[] = {"USDT", "USDC", "EUR", "BTC"};

static void name_base(uint32_t i, char base[static 16]) {
    /* AAA, AAB, ..: enough names for any number of series, made as exchanges make theirs. */
    snprintf(base, 16, "%c%c%c", 'A' + (int)(i / 676 % 26), 'A' + (int)(i / 26 % 26), 'A' + (int)(i % 26));
}

static void init_walk(struct generator *g, uint32_t i) {
    struct walk *w = &g->walks[i];
    const struct market_pair *pair = &market_pairs[i % market_pair_count];
    if (g->options.kind == GENERATE_PRICE_EVENTS) {
        snprintf(w->venue, sizeof w->venue, "%s", venues[i % 5]);
        snprintf(w->quote, sizeof w->quote, "%s", quotes[i / 5 % 4]);
        name_base(i / 20, w->base);
        w->price = 100 + (int64_t)prng_below(&g->prng, 10000000);
        w->decimals = 2;
        w->step = 1 + w->price / 2000;
        snprintf(w->key, sizeof w->key, "%s:%s/%s", w->venue, w->base, w->quote);
        return;
    }
    snprintf(w->base, sizeof w->base, "%s", pair->base);
    snprintf(w->quote, sizeof w->quote, "%s", pair->quote);
    if (i >= market_pair_count) name_base(i, w->base);
    w->price = pair->price;
    w->decimals = pair->decimals;
    w->step = 1 + w->price / 5000;
    w->id = 1000000 + (int64_t)prng_below(&g->prng, 1000000);
    snprintf(w->key, sizeof w->key, "%s%s", w->base, w->quote);
}

enum err generator_open(const struct generate_options *options, struct generator **ret_generator) {
    static const uint32_t default_series[] = {2000, 24, 10};
    struct generator *g = calloc(1, sizeof *g);
    if (g == NULL) return ERR_NO_MEMORY;
    g->options = *options;
    if (g->options.series == 0) g->options.series = default_series[options->kind];
    if (g->options.from_ms == 0) g->options.from_ms = 1700000000000;
    if (g->options.span_ms == 0) g->options.span_ms = 3600000;
    if (g->options.disorder_ms < 0) g->options.disorder_ms = 2000;
    g->planned = options->count > 0 ? options->count : 1000000;
    if (g->options.series > SERIES_MAX) {
        free(g);
        return ERR_LIMIT;
    }
    prng_seed(&g->prng, options->seed);
    buf_init(&g->previous, 4096);
    g->walks = calloc(g->options.series, sizeof *g->walks);
    if (g->walks == NULL) {
        free(g);
        return ERR_NO_MEMORY;
    }
    for (uint32_t i = 0; i < g->options.series; i++) init_walk(g, i);
    *ret_generator = g;
    return ERR_OK;
}

void generator_close(struct generator **generator) {
    if (*generator == NULL) return;
    buf_deinit(&(*generator)->previous);
    free((*generator)->walks);
    free(*generator);
    *generator = NULL;
}

struct slice generator_key(const struct generator *g) {
    return slice_text(g->current->key);
}

int64_t generator_time(const struct generator *g) { return g->time_ms; }

/* --- events --- */

static void put_fixed(struct buf *out, int64_t mantissa, uint8_t decimals) {
    char text[DECIMAL_TEXT_MAX];
    size_t size = decimal_format((struct decimal){mantissa, decimals}, text);
    buf_put(out, slice_of(text, size));
}

static void move_price(struct generator *g, struct walk *w) {
    w->price += (int64_t)prng_below(&g->prng, (uint64_t)(2 * w->step + 1)) - w->step;
    if (w->price < w->step) w->price = w->step;
}

static void put_price_event(struct generator *g, struct walk *w, struct buf *out) {
    buf_printf(out, "{\"baseCurrency\":\"%s\",\"quoteCurrency\":\"%s\",\"exchange\":\"%s\",\"price\":\"", w->base,
               w->quote, w->venue);
    put_fixed(out, w->price, w->decimals);
    buf_put_text(out, "\",\"baseVolumeLast24h\":\"");
    put_fixed(out, 10000 + (int64_t)prng_below(&g->prng, 100000000), 4);
    buf_put_text(out, "\",\"quoteVolumeLast24h\":\"");
    put_fixed(out, 100000000 + (int64_t)prng_below(&g->prng, 900000000), 2);
    buf_printf(out, "\",\"timestampInMs\":%lld}\n", (long long)g->time_ms);
}

static void put_trade(struct generator *g, struct walk *w, struct buf *out) {
    buf_printf(out, "%lld {\"e\":\"trade\",\"E\":%lld,\"s\":\"%s%s\",\"t\":%lld,\"p\":\"",
               (long long)(g->time_ms + 7) * 1000000, (long long)g->time_ms + 2, w->base, w->quote, (long long)w->id++);
    put_fixed(out, w->price, w->decimals);
    buf_put_text(out, "\",\"q\":\"");
    put_fixed(out, 1 + (int64_t)prng_below(&g->prng, 1000000), 5);
    bool maker = prng_below(&g->prng, 2) == 0;
    buf_printf(out, "\",\"T\":%lld,\"m\":%s,\"M\":true}\n", (long long)g->time_ms, maker ? "true" : "false");
}

static void put_price_row(struct generator *g, struct walk *w, struct buf *out) {
    char time[CIVIL_TEXT_MAX];
    if (!g->header_done) buf_put_text(out, "ts,symbol,price\n");
    g->header_done = true;
    civil_format(g->time_ms, time);
    buf_printf(out, "%s,%s,", time, w->base);
    put_fixed(out, w->price, w->decimals);
    buf_put_u8(out, '\n');
}

static bool chance(struct generator *g, uint32_t ppm) { return ppm > 0 && prng_below(&g->prng, 1000000) < ppm; }

static void choose_time(struct generator *g) {
    unsigned __int128 position = (unsigned __int128)g->made * (uint64_t)g->options.span_ms / g->planned;
    g->time_ms = g->options.from_ms + (int64_t)position;
    if (g->options.disorder_ms > 0) g->time_ms -= (int64_t)prng_below(&g->prng, (uint64_t)g->options.disorder_ms + 1);
    if (chance(g, g->options.late_ppm)) g->time_ms -= 60000;
    if (g->time_ms < g->options.from_ms) g->time_ms = g->options.from_ms;
}

enum err generator_next(struct generator *g, struct buf *out) {
    if (g->options.count > 0 && g->made == g->options.count) return ERR_END;
    g->made++;
    if (g->previous.size > 0 && chance(g, g->options.duplicate_ppm)) {
        buf_put(out, buf_slice(&g->previous));
        return buf_err(out);
    }
    struct walk *w = &g->walks[prng_below(&g->prng, g->options.series)];
    g->current = w;
    choose_time(g);
    move_price(g, w);
    size_t start = out->size;
    switch (g->options.kind) {
        case GENERATE_PRICE_EVENTS: put_price_event(g, w, out); break;
        case GENERATE_TRADES: put_trade(g, w, out); break;
        case GENERATE_PRICES: put_price_row(g, w, out); break;
    }
    if (buf_err(out) == ERR_OK && g->options.duplicate_ppm > 0) {
        buf_clear(&g->previous);
        buf_put(&g->previous, slice_of(out->data + start, out->size - start));
    }
    return buf_err(out);
}
