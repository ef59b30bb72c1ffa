/* The demo's live market: a source that makes trades and prices as exchanges would send them, and hands them in by the same
 * roads: Binance trade messages into `inbound-data-binance`, price events by POST /v1/prices.
 *
 * Activity differs by pair and swings: bursts, quiet minutes. Some messages come late, some twice, now and then an id is lost,
 * and every few hours the connection breaks for some seconds: coverage, `why`, gaps and the ledger have something true to
 * show. Pairs of one base currency move together, on all exchanges. On an empty folder it first makes the day before now,
 * thinner the longer ago; its last minutes, which the clock may close already, come series by series, as a recovery by REST
 * would bring them: no candle is closed in the middle of its own trades. In a folder that has a market the exchange has gone
 * on meanwhile: prices have moved, ids have run on, and what was traded in the pause is missing, as it would be with a real
 * one. */
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/generate.h"

enum {
    TICK_MS = 250,
    HISTORY_MS = 25 * 3600 * 1000,
    HISTORY_STEP_MS = 5000,
    HISTORY_FADE_MS = 40 * 60 * 1000,
    HISTORY_LIVE_MS = 6 * 60 * 1000, /* a minute more than what makes a series live (docs/candles.md) */
    LATE_PPM = 2000,
    DUPLICATE_PPM = 3000,
    LOST_PPM = 20,
    PAUSE_MAX_MS = 7 * 24 * 3600 * 1000,
    RESUME_ROWS = 500,
    BATCH_BYTES = 256 * 1024,
    HELD_BYTES = 1024 * 1024,
    MESSAGE_BYTES = 384,
    PRICE_VENUES = 3,
};

static const char *const price_venues[PRICE_VENUES] = {"kraken", "coinbase", "bitstamp"};

struct maker {
    char base[16], quote[16], symbol[32];
    double price; /* of the generated walk only: what is sent is the text cut to `decimals` */
    double drift;
    struct maker
        *leader; /* the first of the same base, which it follows: at `ratio`, but for `spread`; NULL: it leads */
    double ratio, spread;
    double rate; /* trades a second on average */
    int64_t quiet_until_ms, burst_until_ms;
    int64_t id;
    uint8_t decimals;
    bool trades; /* else a price series of price_venues */
    const char *venue;
    struct buf held; /* what was made while the market holds back, a line each */
};

struct late_message {
    int64_t due_ms;
    struct maker *maker;
    char text[MESSAGE_BYTES];
};

enum { LATE_MAX = 256 };

struct market {
    struct engine *engine;
    struct log_partition *trades;
    struct prng prng;
    uint64_t seed;
    double density; /* of what is told: 1 live, less in the past, where each trade stands for more */
    int64_t broken_until_ms;
    bool holding; /* messages are kept with their makers until hand_over */
    struct maker *makers;
    uint32_t count;
    struct record_batch_builder builder;
    uint32_t builder_records;
    struct buf prices; /* JSON lines of the next POST */
    struct late_message late[LATE_MAX];
    uint32_t late_count;
    struct sys_thread *thread;
    struct sys_bell bell;
    atomic_bool stop;
};

static double uniform(struct market *m) { return (double)(prng_next(&m->prng) >> 11) * 0x1p-53; }

static bool chance(struct market *m, uint32_t ppm) { return prng_below(&m->prng, 1000000) < ppm; }

static double normal(struct market *m) {
    double u = 1.0 - uniform(m), v = uniform(m);
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

/* --- handing over --- */

static void submit_trades(struct market *m) {
    if (m->builder_records == 0) return;
    if (record_batch_end(&m->builder) == ERR_OK) {
        struct log_append append = {
            .partition = m->trades,
            .batch = m->builder.bytes.data,
            .batch_bytes = (uint32_t)m->builder.bytes.size,
            .record_count = m->builder_records,
        };
        (void)!log_append_wait(engine_parts(m->engine)->log, &append);
    }
    record_batch_begin(&m->builder, RECORD_CODEC_NONE);
    m->builder_records = 0;
}

static void add_trade(struct market *m, const struct maker *k, struct slice text) {
    const struct record record = {
        .timestamp_ms = sys_wall_ms(engine_parts(m->engine)->sys),
        .key = slice_text(k->symbol),
        .value = text,
    };
    if (record_batch_add(&m->builder, &record) == ERR_OK) m->builder_records++;
}

/* A line that finds no room is left out whole. */
static void put_line(struct buf *lines, struct slice text) {
    size_t start = lines->size;
    buf_put(lines, text);
    buf_put_u8(lines, '\n');
    if (buf_err(lines) == ERR_OK) return;
    lines->size = start;
    lines->err = ERR_OK;
}

static void submit_prices(struct market *m) {
    if (m->prices.size == 0) return;
    unsigned status;
    char type[64];
    struct buf answer;
    buf_init(&answer, 1024 * 1024);
    size_t size = m->prices.size;
    uint8_t *padding = buf_reserve(&m->prices, 64);
    if (padding != NULL) memset(padding, 0, 64);
    (void)!http_local(api_handler(engine_parts(m->engine)->api), HTTP_POST, "/v1/prices",
                      slice_of(m->prices.data, size), NULL, NULL, &status, &answer, type);
    buf_deinit(&answer);
    buf_clear(&m->prices);
}

static void submit_full(struct market *m) {
    if (m->builder.bytes.size >= BATCH_BYTES) submit_trades(m);
    if (m->prices.size >= BATCH_BYTES) submit_prices(m);
}

/* What a maker held goes into one batch. */
static void hand_over(struct market *m, struct maker *k) {
    const uint8_t *at = k->held.data, *end = at + k->held.size;
    while (at < end) {
        const uint8_t *stop = memchr(at, '\n', (size_t)(end - at));
        struct slice line = slice_of(at, (size_t)(stop - at));
        if (k->trades)
            add_trade(m, k, line);
        else
            put_line(&m->prices, line);
        at = stop + 1;
    }
    buf_clear(&k->held);
    submit_full(m);
}

static void send(struct market *m, struct maker *k, const char *text) {
    if (m->holding) {
        put_line(&k->held, slice_text(text));
        if (k->held.size >= HELD_BYTES) hand_over(m, k);
        return;
    }
    if (k->trades)
        add_trade(m, k, slice_text(text));
    else
        put_line(&m->prices, slice_text(text));
    submit_full(m);
}

/* --- making --- */

static void format_number(double value, uint8_t decimals, char text[static 40]) {
    snprintf(text, 40, "%.*f", decimals, value);
}

static void make_trade(struct market *m, struct maker *k, int64_t time_ms) {
    char price[40], quantity[40], text[MESSAGE_BYTES];
    format_number(k->price, k->decimals, price);
    format_number(exp(normal(m) * 1.2) * 500 / k->price / m->density, k->price < 0.01 ? 0 : 5, quantity);
    if (strtod(quantity, NULL) <= 0) snprintf(quantity, sizeof quantity, "%s", k->price < 0.01 ? "1" : "0.00001");
    int64_t id = k->id++;
    snprintf(
        text, sizeof text,
        "{\"e\":\"trade\",\"E\":%lld,\"s\":\"%s\",\"t\":%lld,\"p\":\"%s\",\"q\":\"%s\",\"T\":%lld,\"m\":%s,\"M\":true}",
        (long long)time_ms + 1, k->symbol, (long long)id, price, quantity, (long long)time_ms,
        prng_below(&m->prng, 2) ? "true" : "false");
    if (time_ms < m->broken_until_ms || chance(m, LOST_PPM)) return;
    if (m->late_count < LATE_MAX && chance(m, LATE_PPM)) {
        struct late_message *late = &m->late[m->late_count++];
        late->due_ms = time_ms + 500 + (int64_t)prng_below(&m->prng, 90000);
        late->maker = k;
        snprintf(late->text, sizeof late->text, "%s", text);
        return;
    }
    send(m, k, text);
    if (chance(m, DUPLICATE_PPM)) send(m, k, text);
}

static void make_price(struct market *m, struct maker *k, int64_t time_ms) {
    char price[40], text[MESSAGE_BYTES];
    format_number(k->price, k->decimals, price);
    if (chance(m, LATE_PPM)) time_ms -= (int64_t)prng_below(&m->prng, 30000);
    snprintf(text, sizeof text,
             "{\"baseCurrency\":\"%s\",\"quoteCurrency\":\"%s\",\"exchange\":\"%s\",\"price\":\"%s\","
             "\"baseVolumeLast24h\":\"%.4f\",\"quoteVolumeLast24h\":\"%.2f\",\"timestampInMs\":%lld}",
             k->base, k->quote, k->venue, price, 50000000 / k->price * (1 + 0.01 * uniform(m)),
             50000000 * (1 + 0.01 * uniform(m)), (long long)time_ms);
    send(m, k, text);
}

static void move(struct market *m, struct maker *k, double seconds) {
    double step = sqrt(seconds) * normal(m);
    if (k->leader != NULL) {
        k->spread = k->spread * exp(-seconds / 300) + 0.00003 * step / (1 + seconds / 300);
        k->price = k->leader->price * k->ratio * exp(k->spread);
        return;
    }
    k->drift = 0.995 * k->drift + 0.005 * normal(m);
    k->price *= exp(0.00012 * step + 0.000002 * k->drift * seconds);
}

/* Whether something that happens `per_hour` times an hour begins within these seconds. */
static bool begins(struct market *m, double per_hour, double seconds) { return uniform(m) < per_hour * seconds / 3600; }

static int64_t lasting(struct market *m, int64_t least_ms, uint64_t spread_ms) {
    return least_ms + (int64_t)prng_below(&m->prng, spread_ms);
}

/* The busier a pair, the rarer its quiet minutes. */
static double activity(struct market *m, struct maker *k, int64_t now_ms, double seconds) {
    if (now_ms < k->quiet_until_ms) return 0;
    if (begins(m, 1.5 / (1 + 4 * k->rate), seconds)) k->quiet_until_ms = now_ms + lasting(m, 60000, 180000);
    if (begins(m, 3, seconds)) k->burst_until_ms = now_ms + lasting(m, 5000, 40000);
    return now_ms < k->burst_until_ms ? 6 : 1;
}

static void advance(struct market *m, int64_t from_ms, int64_t to_ms) {
    double seconds = (double)(to_ms - from_ms) / 1000;
    if (begins(m, 0.3, seconds)) m->broken_until_ms = to_ms + lasting(m, 8000, 30000);
    for (uint32_t i = 0; i < m->count; i++) {
        struct maker *k = &m->makers[i];
        double expected = k->rate * seconds * m->density * activity(m, k, to_ms, seconds);
        uint32_t count = (uint32_t)expected + (uniform(m) < expected - floor(expected));
        for (uint32_t n = 0; n < count; n++) {
            int64_t time_ms = from_ms + (to_ms - from_ms) * (int64_t)(n + 1) / (int64_t)(count + 1);
            move(m, k, seconds / count);
            if (k->trades)
                make_trade(m, k, time_ms);
            else
                make_price(m, k, time_ms);
        }
        if (count == 0) move(m, k, seconds);
    }
}

static void send_late(struct market *m, int64_t now_ms) {
    for (uint32_t i = 0; i < m->late_count;) {
        if (m->late[i].due_ms > now_ms) {
            i++;
            continue;
        }
        send(m, m->late[i].maker, m->late[i].text);
        m->late[i] = m->late[--m->late_count];
    }
}

/* What happened from one time to another, ever denser towards `now_ms`. */
static void make_past(struct market *m, int64_t from_ms, int64_t to_ms, int64_t now_ms) {
    for (int64_t t = from_ms; t < to_ms && !atomic_load(&m->stop); t += HISTORY_STEP_MS) {
        int64_t until_ms = to_ms - t < HISTORY_STEP_MS ? to_ms : t + HISTORY_STEP_MS;
        m->density = t < now_ms ? 0.06 + 0.94 * exp((double)(t - now_ms) / HISTORY_FADE_MS) : 1;
        advance(m, t, until_ms);
        send_late(m, until_ms);
    }
    m->density = 1;
}

/* Up to when it was made: a moment ago. */
static int64_t make_history(struct market *m, int64_t now_ms) {
    make_past(m, now_ms - HISTORY_MS, now_ms - HISTORY_LIVE_MS, now_ms);
    m->holding = true;
    int64_t until_ms = sys_wall_ms(engine_parts(m->engine)->sys);
    if (until_ms < now_ms) until_ms = now_ms;
    make_past(m, now_ms - HISTORY_LIVE_MS, until_ms, now_ms);
    m->holding = false;
    submit_trades(m);
    submit_prices(m);
    for (uint32_t i = 0; i < m->count; i++) hand_over(m, &m->makers[i]);
    submit_trades(m);
    submit_prices(m);
    return until_ms;
}

/* --- going on where an earlier run of the same folder stopped --- */

/* Field `index` of a CSV line, cut to `text`. */
static void csv_field(struct slice line, unsigned index, char text[static 40]) {
    const char *at = (const char *)line.data, *end = at + line.size;
    for (; index > 0 && at < end; index--) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        at = comma == NULL ? end : comma + 1;
    }
    const char *comma = at < end ? memchr(at, ',', (size_t)(end - at)) : NULL;
    snprintf(text, 40, "%.*s", (int)((comma == NULL ? end : comma) - at), at);
}

struct last_seen {
    int64_t time_ms, id;
    double price;
};

/* What the newest candles say, oldest first; lines as `wick candles --format csv`. */
static struct last_seen read_candles(struct slice csv) {
    enum { OPEN_TIME = 0, CLOSE = 4, LAST_ID = 12 };
    struct last_seen seen = {0};
    const uint8_t *at = csv.data, *end = at + csv.size;
    while (at < end) {
        const uint8_t *stop = memchr(at, '\n', (size_t)(end - at));
        if (stop == NULL) stop = end;
        struct slice line = slice_of(at, (size_t)(stop - at));
        char time[40], close[40], id[40];
        csv_field(line, OPEN_TIME, time);
        csv_field(line, CLOSE, close);
        csv_field(line, LAST_ID, id);
        if (strtod(close, NULL) > 0) {
            seen.time_ms = strtoll(time, NULL, 10);
            seen.price = strtod(close, NULL);
            int64_t last_id = strtoll(id, NULL, 10);
            if (last_id > seen.id) seen.id = last_id;
        }
        at = stop < end ? stop + 1 : end;
    }
    return seen;
}

static void resume(struct market *m, struct maker *k, int64_t now_ms) {
    char target[160], type[64];
    unsigned status = 0;
    struct buf answer;
    buf_init(&answer, 1024 * 1024);
    snprintf(target, sizeof target, "/v1/candles?series=%s:%s/%s&kind=%s&interval=1m&limit=%d&format=csv", k->venue,
             k->base, k->quote, k->trades ? "trade" : "price", RESUME_ROWS);
    enum err err = http_local(api_handler(engine_parts(m->engine)->api), HTTP_GET, target, SLICE(""), NULL, NULL,
                              &status, &answer, type);
    struct last_seen seen = {0};
    if (err == ERR_OK && status == 200) seen = read_candles(buf_slice(&answer));
    buf_deinit(&answer);
    if (seen.time_ms == 0) return;
    int64_t pause_ms = now_ms - seen.time_ms;
    if (pause_ms < 0) pause_ms = 0;
    if (pause_ms > PAUSE_MAX_MS) pause_ms = PAUSE_MAX_MS;
    double seconds = (double)pause_ms / 1000;
    k->price = seen.price;
    move(m, k, seconds);
    /* The newest candle's minute counts as pause too, so that no id is ever used twice. */
    if (seen.id > 0) k->id = seen.id + 1 + (int64_t)(k->rate * seconds);
}

static void *market_main(void *argument) {
    struct market *m = argument;
    const struct sys *sys = engine_parts(m->engine)->sys;
    int64_t before_ms = sys_wall_ms(sys);
    if (log_end_offset(m->trades) == 0) {
        before_ms = make_history(m, before_ms);
    } else {
        prng_seed(&m->prng, m->seed ^ (uint64_t)before_ms); /* not the same walk again */
        for (uint32_t i = 0; i < m->count; i++) resume(m, &m->makers[i], before_ms);
    }
    while (!atomic_load(&m->stop)) {
        sys_bell_wait(&m->bell, TICK_MS);
        int64_t now_ms = sys_wall_ms(sys);
        if (now_ms <= before_ms) continue;
        if (now_ms - before_ms > 60000) before_ms = now_ms - TICK_MS; /* the machine slept */
        advance(m, before_ms, now_ms);
        send_late(m, now_ms);
        submit_trades(m);
        submit_prices(m);
        before_ms = now_ms;
    }
    return NULL;
}

/* --- life cycle --- */

static void init_maker(struct market *m, const struct config_source *source, uint32_t i) {
    struct maker *k = &m->makers[i];
    const struct market_pair *pair = &market_pairs[i % market_pair_count];
    uint32_t round = i / market_pair_count;
    k->trades = round == 0;
    k->venue = k->trades ? "binance" : price_venues[(round - 1) % PRICE_VENUES];
    snprintf(k->base, sizeof k->base, "%s", pair->base);
    snprintf(k->quote, sizeof k->quote, "%s", pair->quote);
    snprintf(k->symbol, sizeof k->symbol, "%s%s", pair->base, pair->quote);
    k->decimals = pair->decimals;
    k->price = (double)pair->price / pow(10, pair->decimals);
    k->rate = (double)source->rate / (double)source->series * (0.3 + 2.8 / (1 + i % market_pair_count));
    k->id = 1 + (int64_t)prng_below(&m->prng, 90000000);
    for (struct maker *other = m->makers; other < k && k->leader == NULL; other++) {
        if (strcmp(other->base, k->base) == 0) k->leader = other;
    }
    if (k->leader != NULL) k->ratio = k->price / k->leader->price;
    buf_init(&k->held, 2 * HELD_BYTES);
}

enum err market_open(struct engine *engine, const struct config_source *source, struct diag *diag,
                     struct market **ret_market) {
    struct market *m = calloc(1, sizeof *m);
    if (m == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for the market");
    const struct sys *sys = engine_parts(engine)->sys;
    m->engine = engine;
    m->count = (uint32_t)source->series;
    m->makers = calloc(m->count, sizeof *m->makers);
    m->seed = (uint64_t)source->seed;
    m->density = 1;
    prng_seed(&m->prng, m->seed);
    record_batch_builder_init(&m->builder);
    record_batch_begin(&m->builder, RECORD_CODEC_NONE);
    buf_init(&m->prices, 8 * 1024 * 1024);
    for (uint32_t i = 0; m->makers != NULL && i < m->count; i++) init_maker(m, source, i);
    enum err err = m->makers == NULL ? diag_set(diag, ERR_NO_MEMORY, "no memory for the market") : ERR_OK;
    if (err == ERR_OK && log_partition_find(engine_parts(engine)->log, "inbound-data-binance", 0, &m->trades) != ERR_OK)
        err = diag_set(diag, ERR_STATE, "topic inbound-data-binance is not open");
    if (err == ERR_OK) err = sys->thread_start(sys->context, "market", market_main, m, &m->thread);
    *ret_market = m;
    if (err != ERR_OK) market_close(ret_market);
    return err;
}

void market_close(struct market **market) {
    struct market *m = *market;
    if (m == NULL) return;
    const struct sys *sys = engine_parts(m->engine)->sys;
    atomic_store(&m->stop, true);
    sys_bell_ring(&m->bell);
    if (m->thread != NULL) sys->thread_join(sys->context, &m->thread);
    record_batch_builder_deinit(&m->builder);
    buf_deinit(&m->prices);
    for (uint32_t i = 0; m->makers != NULL && i < m->count; i++) buf_deinit(&m->makers[i].held);
    free(m->makers);
    free(m);
    *market = NULL;
}
