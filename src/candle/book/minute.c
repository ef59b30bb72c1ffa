#include "candle/book/minute.h"

#include <assert.h>
#include <stdlib.h>

void minute_init(struct minute *m) { *m = (struct minute){.first_id = -1, .last_id = -1, .last_offset = -1}; }

void minute_deinit(struct minute *m) {
    free(m->wide);
    m->wide = NULL;
}

static uint8_t larger(uint8_t a, uint8_t b) { return a > b ? a : b; }

/* --- narrow to wide, and larger scales --- */

static struct decimal decimal_at(__int128 mantissa, uint8_t scale) {
    return decimal_normalize((struct decimal){mantissa, scale});
}

static struct minute_wide widened(const struct minute *m) {
    if (m->wide != NULL) return *m->wide;
    return (struct minute_wide){
        .open = decimal_at(m->open, m->price_scale),
        .high = decimal_at(m->high, m->price_scale),
        .low = decimal_at(m->low, m->price_scale),
        .close = decimal_at(m->close, m->price_scale),
        .volume = decimal_at(m->volume, m->quantity_scale),
        .quote = decimal_at(m->quote, m->quote_scale),
        .buy_volume = decimal_at(m->buy_volume, m->quantity_scale),
        .buy_quote = decimal_at(m->buy_quote, m->quote_scale),
    };
}

static enum err widen(struct minute *m) {
    if (m->wide != NULL) return ERR_OK;
    struct minute_wide *wide = malloc(sizeof *wide);
    if (wide == NULL) return ERR_NO_MEMORY;
    *wide = widened(m);
    m->wide = wide;
    return ERR_OK;
}

static bool scale_up(__int128 *value, unsigned by) {
    __int128 scaled;
    if (by > DECIMAL_DIGITS_MAX || __builtin_mul_overflow(*value, decimal_power10((uint8_t)by), &scaled)) return false;
    if (!minute_sum_fits(scaled)) return false;
    *value = scaled;
    return true;
}

/* The same minute at larger scales; false, and nothing changed, where it does not fit. */
static bool rescale(struct minute *m, uint8_t price_scale, uint8_t quantity_scale) {
    if (price_scale > NARROW_SCALE_MAX || quantity_scale > NARROW_SCALE_MAX) return false;
    struct minute copy = *m;
    int64_t by = decimal_power64[price_scale - m->price_scale];
    unsigned quantity_by = quantity_scale - m->quantity_scale;
    unsigned quote_by = (unsigned)price_scale + quantity_scale - m->quote_scale;
    if (__builtin_mul_overflow(m->open, by, &copy.open) || __builtin_mul_overflow(m->high, by, &copy.high) ||
        __builtin_mul_overflow(m->low, by, &copy.low) || __builtin_mul_overflow(m->close, by, &copy.close) ||
        !scale_up(&copy.volume, quantity_by) || !scale_up(&copy.buy_volume, quantity_by) ||
        !scale_up(&copy.quote, quote_by) || !scale_up(&copy.buy_quote, quote_by))
        return false;
    copy.price_scale = price_scale;
    copy.quantity_scale = quantity_scale;
    copy.quote_scale = (uint8_t)(price_scale + quantity_scale);
    *m = copy;
    return true;
}

/* --- folding, the general way --- */

static bool fits64(__int128 value) { return (int64_t)value == value; }

static const struct decimal *saturated(void) {
    static const struct decimal largest = {
        (((__int128)INT64_C(5421010862427522170)) << 64) + UINT64_C(687399551400673279), 0};
    return &largest;
}

static bool fits38(__int128 value) { return value >= 0 && value <= saturated()->mantissa; }

bool minute_accepts(const struct event *e) {
    if (e->price_scale > DECIMAL_DIGITS_MAX || e->quantity_scale > DECIMAL_DIGITS_MAX) return false;
    if (fits64(e->price) && fits64(e->quantity) && e->price_scale + e->quantity_scale <= DECIMAL_DIGITS_MAX)
        return true;
    if (!fits38(e->price) || !fits38(e->quantity)) return false;
    struct decimal product;
    return e->kind == EVENT_PRICE || decimal_multiply(event_price(e), event_quantity(e), &product) == ERR_OK;
}

static bool is_saturated(const struct decimal *value) { return value->mantissa == saturated()->mantissa; }

static void add_checked(struct minute *m, struct decimal *sum, struct decimal value) {
    struct decimal result;
    if (!is_saturated(sum) && decimal_add(*sum, value, &result) == ERR_OK) {
        *sum = decimal_normalize(result);
        return;
    }
    *sum = *saturated();
    m->partial = 1;
}

static void mark_wide(struct minute *m, struct decimal price, uint32_t at, int64_t first, int64_t last) {
    struct minute_wide *w = m->wide;
    bool begin = m->trades == 0;
    if (begin || decimal_compare(price, w->high) > 0) w->high = price;
    if (begin || decimal_compare(price, w->low) < 0) w->low = price;
    if (begin || at < m->open_at ||
        (at == m->open_at &&
         (first < m->open_order || (first == m->open_order && decimal_compare(price, w->open) < 0)))) {
        w->open = price;
        m->open_at = at;
        m->open_order = first;
    }
    if (begin || at > m->close_at || PLANTED(PLANT_CLOSE_BY_ARRIVAL) ||
        (at == m->close_at &&
         (last > m->close_order || (last == m->close_order && decimal_compare(price, w->close) > 0)))) {
        w->close = price;
        m->close_at = at;
        m->close_order = last;
    }
}

static enum err add_wide(struct minute *m, const struct event *e, uint32_t at) {
    enum err err = widen(m);
    if (err) return err;
    bool price_only = e->kind == EVENT_PRICE, ids = !price_only && e->first_id >= 0;
    if (!price_only) {
        struct decimal quantity = event_quantity(e), product;
        if (decimal_multiply(event_price(e), quantity, &product) != ERR_OK) product = *saturated();
        add_checked(m, &m->wide->volume, quantity);
        add_checked(m, &m->wide->quote, product);
        if (e->side == EVENT_TAKER_BUY) {
            add_checked(m, &m->wide->buy_volume, quantity);
            add_checked(m, &m->wide->buy_quote, product);
        }
    }
    mark_wide(m, event_price(e), at, ids ? e->first_id : 0, ids ? e->last_id : 0);
    m->trades += ids ? e->last_id - e->first_id + 1 : 1;
    return ERR_OK;
}

/* The first event sets the scales and all four prices; folding it then is the usual path. Until now the minute was empty,
 * or flat at the close before it. */
static bool begin_narrow(struct minute *m, const struct event *e, uint32_t at) {
    bool price_only = e->kind == EVENT_PRICE;
    uint8_t quantity_scale = price_only ? 0 : e->quantity_scale;
    if (!fits64(e->price) || e->price_scale > NARROW_SCALE_MAX || quantity_scale > NARROW_SCALE_MAX) return false;
    if (!price_only && !fits64(e->quantity)) return false;
    int64_t price = (int64_t)e->price;
    bool ids = !price_only && e->first_id >= 0;
    minute_deinit(m);
    m->open = m->high = m->low = m->close = price;
    m->open_at = m->close_at = at;
    m->open_order = ids ? e->first_id : 0;
    m->close_order = ids ? e->last_id : 0;
    m->trades = ids ? e->last_id - e->first_id + 1 : 1;
    m->price_scale = e->price_scale;
    m->quantity_scale = quantity_scale;
    m->quote_scale = (uint8_t)(e->price_scale + quantity_scale);
    m->volume = price_only ? 0 : e->quantity;
    m->quote = price_only ? 0 : (__int128)price * (int64_t)e->quantity;
    m->buy_volume = e->side == EVENT_TAKER_BUY ? m->volume : 0;
    m->buy_quote = e->side == EVENT_TAKER_BUY ? m->quote : 0;
    return true;
}

enum err minute_add_general(struct minute *m, const struct event *e, uint32_t at) {
    if (m->trades == 0) {
        if (begin_narrow(m, e, at)) return ERR_OK;
        minute_deinit(m);
        m->volume = m->quote = m->buy_volume = m->buy_quote = 0;
        return add_wide(m, e, at);
    }
    bool price_only = e->kind == EVENT_PRICE;
    if (m->wide == NULL) {
        uint8_t price_scale = e->price_scale > m->price_scale ? e->price_scale : m->price_scale;
        uint8_t quantity_scale = m->quantity_scale;
        if (!price_only && e->quantity_scale > quantity_scale) quantity_scale = e->quantity_scale;
        if (rescale(m, price_scale, quantity_scale) &&
            (price_only ? minute_add_price(m, e, at) : minute_add_trade(m, e, at)))
            return ERR_OK;
    }
    return add_wide(m, e, at);
}

/* --- flat rows, and the way in and out --- */

enum err minute_flatten(struct minute *m, const struct minute *from) {
    assert(m->trades == 0);
    struct minute_wide *wide = NULL;
    if (from->wide != NULL) {
        wide = calloc(1, sizeof *wide);
        if (wide == NULL) return ERR_NO_MEMORY;
        wide->open = wide->high = wide->low = wide->close = from->wide->close;
    }
    minute_deinit(m);
    m->wide = wide;
    m->open = m->high = m->low = m->close = from->close;
    m->price_scale = from->price_scale;
    m->quantity_scale = 0;
    m->quote_scale = from->price_scale;
    return ERR_OK;
}

bool minute_same_close(const struct minute *a, const struct minute *b) {
    if (a->wide == NULL && b->wide == NULL && a->price_scale == b->price_scale) return a->close == b->close;
    return decimal_equal(widened(a).close, widened(b).close);
}

static void wide_to_candle(const struct minute_wide *w, struct candle *candle) {
    candle->open = w->open;
    candle->high = w->high;
    candle->low = w->low;
    candle->close = w->close;
    candle->volume = w->volume;
    candle->quote_volume = w->quote;
    candle->taker_buy_volume = w->buy_volume;
    candle->taker_buy_quote_volume = w->buy_quote;
}

static void narrow_to_candle(const struct minute *m, struct candle *candle) {
    candle->open = decimal_at(m->open, m->price_scale);
    candle->high = decimal_at(m->high, m->price_scale);
    candle->low = decimal_at(m->low, m->price_scale);
    candle->close = decimal_at(m->close, m->price_scale);
    candle->volume = decimal_at(m->volume, m->quantity_scale);
    candle->quote_volume = decimal_at(m->quote, m->quote_scale);
    candle->taker_buy_volume = decimal_at(m->buy_volume, m->quantity_scale);
    candle->taker_buy_quote_volume = decimal_at(m->buy_quote, m->quote_scale);
}

void minute_to_candle(const struct minute *m, struct candle *candle) {
    int64_t start = candle->open_time_ms;
    if (m->wide != NULL)
        wide_to_candle(m->wide, candle);
    else
        narrow_to_candle(m, candle);
    candle->open_mark = (struct candle_mark){start + m->open_at, m->open_order};
    candle->close_mark = (struct candle_mark){start + m->close_at, m->close_order};
    candle->trades = m->trades;
    candle->first_id = m->first_id;
    candle->last_id = m->last_id;
    candle->last_offset = m->last_offset;
    candle->hash = m->hash;
    candle->revision = m->revision;
    candle->reason = m->reason;
    candle->conflict = m->conflict;
}

uint8_t minute_decimals(const struct minute *m, uint8_t known) {
    if (m->wide == NULL && m->price_scale <= known) return known;
    struct minute_wide w = widened(m);
    return larger(known, larger(larger(w.open.scale, w.high.scale), larger(w.low.scale, w.close.scale)));
}

void claimed_candle(const struct minute *m, int64_t start_ms, int64_t base_ms, struct row_claims claims,
                    struct candle *candle) {
    *candle = (struct candle){0};
    candle->open_time_ms = start_ms;
    candle->close_time_ms = start_ms + base_ms - 1;
    minute_to_candle(m, candle);
    candle->native_ms = (uint32_t)base_ms;
    candle->coverage = claims.coverage;
    candle->covered_minutes = claims.coverage >= COVERAGE_QUIET;
    candle->final = claims.final;
}

/* A number at a scale of at least its own; false if it then leaves 64 bits (prices) or 38 digits (sums). */
static bool narrow_price(struct decimal value, uint8_t scale, int64_t *ret_value) {
    struct decimal scaled;
    if (decimal_rescale(value, scale, &scaled) != ERR_OK || !fits64(scaled.mantissa)) return false;
    *ret_value = (int64_t)scaled.mantissa;
    return true;
}

static bool narrow_sum(struct decimal value, uint8_t scale, __int128 *ret_value) {
    struct decimal scaled;
    if (decimal_rescale(value, scale, &scaled) != ERR_OK || !minute_sum_fits(scaled.mantissa)) return false;
    *ret_value = scaled.mantissa;
    return true;
}

/* Sums of trades continue at price scale + quantity scale; a quote volume with more decimals than today's prices show
 * raises the price scale. Klines are never continued, so theirs is free. */
static bool narrow(struct minute *m, const struct candle *c) {
    uint8_t price = larger(larger(c->open.scale, c->high.scale), larger(c->low.scale, c->close.scale));
    uint8_t quantity = larger(c->volume.scale, c->taker_buy_volume.scale);
    uint8_t quote = larger(c->quote_volume.scale, c->taker_buy_quote_volume.scale);
    if (c->basis != BASIS_KLINES) {
        if (quote > price + quantity) price = (uint8_t)(quote - quantity);
        quote = (uint8_t)(price + quantity);
    }
    if (price > NARROW_SCALE_MAX || quantity > NARROW_SCALE_MAX || quote > DECIMAL_DIGITS_MAX) return false;
    m->price_scale = price;
    m->quantity_scale = quantity;
    m->quote_scale = quote;
    return narrow_price(c->open, price, &m->open) && narrow_price(c->high, price, &m->high) &&
           narrow_price(c->low, price, &m->low) && narrow_price(c->close, price, &m->close) &&
           narrow_sum(c->volume, quantity, &m->volume) && narrow_sum(c->taker_buy_volume, quantity, &m->buy_volume) &&
           narrow_sum(c->quote_volume, quote, &m->quote) && narrow_sum(c->taker_buy_quote_volume, quote, &m->buy_quote);
}

/* Rows that were not folded here may carry any mark, or none. */
static uint32_t mark_at(const struct candle *c, int64_t time_ms) {
    return time_ms < c->open_time_ms || time_ms > c->close_time_ms ? 0 : (uint32_t)(time_ms - c->open_time_ms);
}

enum err minute_from_candle(struct minute *m, const struct candle *c) {
    minute_init(m);
    if (!narrow(m, c)) {
        m->wide = malloc(sizeof *m->wide);
        if (m->wide == NULL) return ERR_NO_MEMORY;
        *m->wide = (struct minute_wide){c->open,
                                        c->high,
                                        c->low,
                                        c->close,
                                        c->volume,
                                        c->quote_volume,
                                        c->taker_buy_volume,
                                        c->taker_buy_quote_volume};
        m->partial = is_saturated(&c->volume) || is_saturated(&c->quote_volume);
    }
    m->open_at = mark_at(c, c->open_mark.time_ms);
    m->close_at = mark_at(c, c->close_mark.time_ms);
    m->open_order = c->open_mark.order;
    m->close_order = c->close_mark.order;
    m->trades = c->trades;
    m->first_id = c->first_id;
    m->last_id = c->last_id;
    m->last_offset = c->last_offset;
    m->hash = c->hash;
    m->revision = c->revision;
    m->reason = c->reason;
    m->conflict = c->conflict;
    return ERR_OK;
}
