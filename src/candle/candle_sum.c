/* The sum of a run of candles: what merging them one by one gives, by columns. Numbers that do not fit 64 bits at a common
 * scale, which are rare, are left to `candle_merge`. */
#include <assert.h>

#include "candle/candle.h"

static const struct decimal *decimal_at(const struct candle *c, size_t offset) {
    return (const struct decimal *)((const uint8_t *)c + offset);
}

/* The mantissa at a larger scale. */
static inline bool widen(const struct decimal *value, unsigned scale, int64_t *ret_mantissa) {
    int64_t mantissa = (int64_t)value->mantissa;
    unsigned more = scale - value->scale;
    return mantissa == value->mantissa && more <= DECIMAL_POWER64_MAX &&
           !__builtin_mul_overflow(mantissa, decimal_power64[more], ret_mantissa);
}

static bool add_column(const struct candle *rows, uint32_t count, size_t offset, struct decimal *ret_sum) {
    uint8_t scale = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t own = decimal_at(&rows[i], offset)->scale;
        scale = own > scale ? own : scale;
    }
    int64_t sum = 0, value;
    for (uint32_t i = 0; i < count; i++)
        if (!widen(decimal_at(&rows[i], offset), scale, &value) || __builtin_add_overflow(sum, value, &sum))
            return false;
    *ret_sum = (struct decimal){sum, scale};
    return true;
}

static bool add_volumes(const struct candle *rows, uint32_t count, struct candle *sum) {
    int64_t trades = 0;
    for (uint32_t i = 0; i < count; i++)
        if (__builtin_add_overflow(trades, rows[i].trades, &trades)) return false;
    sum->trades = trades;
    return add_column(rows, count, offsetof(struct candle, volume), &sum->volume) &&
           add_column(rows, count, offsetof(struct candle, quote_volume), &sum->quote_volume) &&
           add_column(rows, count, offsetof(struct candle, taker_buy_volume), &sum->taker_buy_volume) &&
           add_column(rows, count, offsetof(struct candle, taker_buy_quote_volume), &sum->taker_buy_quote_volume);
}

/* A row without trades says that nothing happened: it counts only where all are such. */
static bool add_prices(const struct candle *rows, uint32_t count, struct candle *sum) {
    const struct candle *first = NULL, *last = NULL, *high = NULL, *low = NULL;
    uint8_t scale = 0;
    int64_t highest = INT64_MIN, lowest = INT64_MAX, value;
    bool all = true;
    for (uint32_t i = 0; i < count; i++) {
        all &= candle_is_flat(&rows[i]);
        scale = rows[i].high.scale > scale ? rows[i].high.scale : scale;
        scale = rows[i].low.scale > scale ? rows[i].low.scale : scale;
    }
    for (const struct candle *row = rows; row < rows + count; row++) {
        if (!all && candle_is_flat(row)) continue;
        first = first == NULL ? row : first;
        last = row;
        if (!widen(&row->high, scale, &value)) return false;
        if (value > highest || high == NULL) high = row, highest = value;
        if (!widen(&row->low, scale, &value)) return false;
        if (value < lowest || low == NULL) low = row, lowest = value;
    }
    sum->open = first->open;
    sum->open_mark = first->open_mark;
    sum->high = high->high;
    sum->low = low->low;
    sum->close = last->close;
    sum->close_mark = last->close_mark;
    return true;
}

enum err candle_sum(const struct candle *rows, uint32_t count, struct candle *ret_sum) {
    assert(count > 0);
    struct candle sum = rows[0];
    if (count > 1 && add_volumes(rows, count, &sum) && add_prices(rows, count, &sum)) {
        for (uint32_t i = 1; i < count; i++) candle_merge_knowledge(&sum, &rows[i]);
    } else {
        sum = rows[0];
        for (uint32_t i = 1; i < count; i++) {
            enum err err = candle_merge(&sum, &rows[i]);
            if (err != ERR_OK) return err;
        }
    }
    *ret_sum = sum;
    return ERR_OK;
}
