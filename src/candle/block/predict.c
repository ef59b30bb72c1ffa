/* What is regular costs nothing: every column but a few is stored as the difference to a prediction from columns before
 * it. These functions are the definition of the predictions. */
#include "candle/block/parts.h"

const uint8_t block_group_of[DECIMALS] = {GROUP_PRICES,  GROUP_PRICES,  GROUP_PRICES, GROUP_PRICES,
                                          GROUP_VOLUMES, GROUP_VOLUMES, GROUP_QUOTES, GROUP_QUOTES};

/* --- kept side by side, line by line --- */

struct carry block_carry_first(const struct shape *s) {
    return (struct carry){s->first_place - 1, s->first_open, s->id_before, s->first_offset};
}

void block_quote_factors(struct shape *shape) {
    int up = shape->scale[GROUP_QUOTES] - shape->scale[GROUP_PRICES] - shape->scale[GROUP_VOLUMES];
    shape->divide = 0;
    if (shape->wide[GROUP_PRICES] || shape->wide[GROUP_VOLUMES] || shape->wide[GROUP_QUOTES]) return;
    if (up > 18 || up < -36) return;
    shape->multiply = up > 0 ? (int64_t)decimal_power10((uint8_t)up) : 1;
    shape->divide = 4 * (up < 0 ? decimal_power10((uint8_t)-up) : 1);
}

static inline int64_t divide_wide(__int128 product, __int128 divisor) {
    if (product == (int64_t)product && divisor == (int64_t)divisor && divisor > 0)
        return (int64_t)product / (int64_t)divisor;
    return (int64_t)(product / divisor);
}

void block_predict_quotes(const struct shape *s, const struct chunk *c, int64_t *predicted) {
    for (uint32_t i = 0; i < c->count; i++) {
        int64_t prices = wrap_add(wrap_add(c->v[COLUMN_OPEN][i], c->v[COLUMN_HIGH][i]),
                                  wrap_add(c->v[COLUMN_LOW][i], c->v[COLUMN_CLOSE][i]));
        __int128 product = (__int128)c->v[COLUMN_VOLUME][i] * prices;
        if (s->multiply != 1) product = (__int128)((unsigned __int128)product * (uint64_t)s->multiply);
        predicted[i] = divide_wide(product, s->divide);
    }
}

static void predict_taker_quotes(const struct chunk *c, int64_t *predicted) {
    for (uint32_t i = 0; i < c->count; i++) {
        int64_t volume = c->v[COLUMN_VOLUME][i];
        __int128 product = (__int128)c->v[COLUMN_QUOTE][i] * c->v[COLUMN_TAKER][i];
        predicted[i] = volume == 0 ? 0 : divide_wide(product, volume);
    }
}

static void difference_prices(const struct chunk *c, struct carry *carry, int64_t *const *r, uint32_t at) {
    int64_t before = carry->close;
    for (uint32_t i = 0; i < c->count; i++) {
        int64_t open = c->v[COLUMN_OPEN][i], close = c->v[COLUMN_CLOSE][i];
        r[COLUMN_OPEN][at + i] = wrap_sub(open, before);
        r[COLUMN_CLOSE][at + i] = wrap_sub(close, open);
        r[COLUMN_HIGH][at + i] = wrap_sub(c->v[COLUMN_HIGH][i], larger(open, close));
        r[COLUMN_LOW][at + i] = wrap_sub(smaller(open, close), c->v[COLUMN_LOW][i]);
        before = close;
    }
    carry->close = before;
}

static void restore_prices(struct chunk *c, struct carry *carry) {
    int64_t before = carry->close;
    for (uint32_t i = 0; i < c->count; i++) {
        int64_t open = c->v[COLUMN_OPEN][i] = wrap_add(before, c->v[COLUMN_OPEN][i]);
        int64_t close = c->v[COLUMN_CLOSE][i] = wrap_add(open, c->v[COLUMN_CLOSE][i]);
        c->v[COLUMN_HIGH][i] = wrap_add(larger(open, close), c->v[COLUMN_HIGH][i]);
        c->v[COLUMN_LOW][i] = wrap_sub(smaller(open, close), c->v[COLUMN_LOW][i]);
        before = close;
    }
    carry->close = before;
}

/* Ids run on from row to row, and a row's trades fill its ids; without trades or ids both are -1. */
static inline int64_t predict_first_id(int64_t trades, int64_t before) {
    return trades == 0 ? -1 : wrap_add(before, 1);
}
static inline int64_t predict_last_id(int64_t trades, int64_t first) {
    return first == -1 ? -1 : wrap_add(first, wrap_sub(trades, 1));
}

static void difference_ids(const struct chunk *c, struct carry *carry, int64_t *const *r, uint32_t at) {
    for (uint32_t i = 0; i < c->count; i++) {
        int64_t trades = c->v[COLUMN_TRADES][i], first = c->v[COLUMN_FIRST_ID][i], last = c->v[COLUMN_LAST_ID][i];
        r[COLUMN_FIRST_ID][at + i] = wrap_sub(first, predict_first_id(trades, carry->last_id));
        r[COLUMN_LAST_ID][at + i] = wrap_sub(last, predict_last_id(trades, first));
        if (last != -1) carry->last_id = last;
    }
}

static void restore_ids(const struct shape *s, struct chunk *c, struct carry *carry) {
    bool plain_first = has(s->plain, COLUMN_FIRST_ID), plain_last = has(s->plain, COLUMN_LAST_ID);
    for (uint32_t i = 0; i < c->count; i++) {
        int64_t trades = c->v[COLUMN_TRADES][i], first = c->v[COLUMN_FIRST_ID][i], last = c->v[COLUMN_LAST_ID][i];
        if (!plain_first) first = wrap_add(first, predict_first_id(trades, carry->last_id));
        if (!plain_last) last = wrap_add(last, predict_last_id(trades, first));
        c->v[COLUMN_FIRST_ID][i] = first;
        c->v[COLUMN_LAST_ID][i] = last;
        if (last != -1) carry->last_id = last;
    }
}

/* out = a - b, or a + b: one column against another. */
static inline void subtract(int64_t *out, const int64_t *a, const int64_t *b, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) out[i] = wrap_sub(a[i], b[i]);
}
static inline void add(int64_t *to, const int64_t *b, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) to[i] = wrap_add(to[i], b[i]);
}

static void open_times(const struct shape *s, const struct chunk *c, int64_t plus, int64_t *times) {
    for (uint32_t i = 0; i < c->count; i++)
        times[i] = wrap_add(s->period_start_ms + plus, c->v[COLUMN_PLACE][i] * (int64_t)s->tier_ms);
}

static void difference_times(const struct shape *s, const struct chunk *c, struct carry *carry, int64_t *const *r,
                             uint32_t at) {
    int64_t times[CHUNK_ROWS];
    for (uint32_t i = 0; i < c->count; i++) {
        r[COLUMN_PLACE][at + i] = wrap_sub(c->v[COLUMN_PLACE][i], wrap_add(carry->place, 1));
        r[COLUMN_LAST_OFFSET][at + i] = wrap_sub(c->v[COLUMN_LAST_OFFSET][i], carry->offset);
        carry->place = c->v[COLUMN_PLACE][i];
        carry->offset = c->v[COLUMN_LAST_OFFSET][i];
    }
    open_times(s, c, 0, times);
    subtract(r[COLUMN_OPEN_MARK_TIME] + at, c->v[COLUMN_OPEN_MARK_TIME], times, c->count);
    open_times(s, c, (int64_t)s->tier_ms - 1, times);
    subtract(r[COLUMN_CLOSE_TIME] + at, c->v[COLUMN_CLOSE_TIME], times, c->count);
    subtract(r[COLUMN_CLOSE_MARK_TIME] + at, c->v[COLUMN_CLOSE_MARK_TIME], times, c->count);
}

/* False where the places leave the period: the bytes were not made by us. */
static bool restore_times(const struct shape *s, struct chunk *c, struct carry *carry) {
    int64_t times[CHUNK_ROWS];
    for (uint32_t i = 0; i < c->count; i++) {
        int64_t place = c->v[COLUMN_PLACE][i] = wrap_add(c->v[COLUMN_PLACE][i], wrap_add(carry->place, 1));
        if (place <= carry->place || place > s->last_place) return false;
        carry->place = place;
    }
    for (uint32_t i = 0; i < c->count && !has(s->plain, COLUMN_LAST_OFFSET); i++)
        carry->offset = c->v[COLUMN_LAST_OFFSET][i] = wrap_add(c->v[COLUMN_LAST_OFFSET][i], carry->offset);
    open_times(s, c, 0, times);
    if (!has(s->plain, COLUMN_OPEN_MARK_TIME)) add(c->v[COLUMN_OPEN_MARK_TIME], times, c->count);
    open_times(s, c, (int64_t)s->tier_ms - 1, times);
    if (!has(s->plain, COLUMN_CLOSE_TIME)) add(c->v[COLUMN_CLOSE_TIME], times, c->count);
    if (!has(s->plain, COLUMN_CLOSE_MARK_TIME)) add(c->v[COLUMN_CLOSE_MARK_TIME], times, c->count);
    return true;
}

static bool all_zero(const struct shape *s, const struct chunk *c, enum column column) {
    return has(s->constant, column) && c->v[column][0] == 0;
}

/* Where a factor is zero in all rows the prediction is zero, and not worth the divisions. */
bool block_predicts_quotes(const struct shape *s, const struct chunk *c) {
    return s->divide != 0 && !has(s->plain, COLUMN_QUOTE) && !all_zero(s, c, COLUMN_VOLUME);
}

static bool predicts_taker_quotes(const struct shape *s, const struct chunk *c) {
    return s->divide != 0 && !has(s->plain, COLUMN_TAKER_QUOTE) && !all_zero(s, c, COLUMN_TAKER) &&
           !all_zero(s, c, COLUMN_QUOTE);
}

/* r[column][at ..] = the chunk's values against their predictions. */
void block_differences(const struct shape *s, const struct chunk *c, struct carry *carry, int64_t *const *r,
                       uint32_t at) {
    int64_t predicted[CHUNK_ROWS] = {0};
    for (int i = 0; i < COLUMN_COUNT; i++)
        if (has(UNPREDICTED, (enum column)i) && (at == 0 || !has(s->constant, (enum column)i)))
            memcpy(r[i] + at, c->v[i], c->count * sizeof(int64_t));
    difference_times(s, c, carry, r, at);
    difference_prices(c, carry, r, at);
    if (block_predicts_quotes(s, c)) block_predict_quotes(s, c, predicted);
    subtract(r[COLUMN_QUOTE] + at, c->v[COLUMN_QUOTE], predicted, c->count);
    memset(predicted, 0, sizeof predicted);
    if (predicts_taker_quotes(s, c)) predict_taker_quotes(c, predicted);
    subtract(r[COLUMN_TAKER_QUOTE] + at, c->v[COLUMN_TAKER_QUOTE], predicted, c->count);
    difference_ids(c, carry, r, at);
    subtract(r[COLUMN_OPEN_MARK_ORDER] + at, c->v[COLUMN_OPEN_MARK_ORDER], c->v[COLUMN_FIRST_ID], c->count);
    subtract(r[COLUMN_CLOSE_MARK_ORDER] + at, c->v[COLUMN_CLOSE_MARK_ORDER], c->v[COLUMN_LAST_ID], c->count);
}

bool block_restore(const struct shape *s, struct chunk *c, struct carry *carry) {
    int64_t predicted[CHUNK_ROWS];
    if (!restore_times(s, c, carry)) return false;
    restore_prices(c, carry);
    if (block_predicts_quotes(s, c)) {
        block_predict_quotes(s, c, predicted);
        add(c->v[COLUMN_QUOTE], predicted, c->count);
    }
    if (predicts_taker_quotes(s, c)) {
        predict_taker_quotes(c, predicted);
        add(c->v[COLUMN_TAKER_QUOTE], predicted, c->count);
    }
    restore_ids(s, c, carry);
    if (!has(s->plain, COLUMN_OPEN_MARK_ORDER)) add(c->v[COLUMN_OPEN_MARK_ORDER], c->v[COLUMN_FIRST_ID], c->count);
    if (!has(s->plain, COLUMN_CLOSE_MARK_ORDER)) add(c->v[COLUMN_CLOSE_MARK_ORDER], c->v[COLUMN_LAST_ID], c->count);
    return true;
}
