/* A block, little-endian:
 *
 *    0  u32  magic "CWB1"
 *    4  u32  tier_ms
 *    8  i64  period_start_ms
 *   16  u16  rows, 1..4096
 *   18  u8   flags: bit 0 prices wide, 1 volumes wide, 2 quote volumes wide
 *   19  u8   scale of prices     20  u8  of volumes     21  u8  of quote volumes
 *   22  u32  columns present     26  u32  columns whose values are stored as they are, not against their prediction
 *   30  uvarint first row's place in the period, uvarint last row's (both in tiers), varint first open, varint first
 *       last_offset, varint the id before the first one
 *       the columns present, in the order of `enum column`, each as in block_column.c; a wide column is u8 scale and
 *       zigzag base-128 mantissa of each row, preceded by its u32 size
 *    -8  u64  XXH3-64 of everything before it
 *
 * A column that is absent holds zeroes. What is stored is the difference to a prediction from columns before it, so that
 * what is regular costs nothing: `predict_*` below are the definition. Differences and predictions wrap modulo 2^64.
 * A group of decimals (prices; volume and taker's volume; the two quote volumes) shares a scale and is 64 bits wide
 * where all of it fits, otherwise all of it is wide and predicts nothing. Decimals come back canonical.
 *
 * Valid is a block whose checksum, magic and columns agree; there is nothing to recover from a damaged one but an older
 * version of the record. */
#include "candle/block.h"

#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "candle/block_column.h"

/* Decimals first; their order is that of `decimal_at`. */
enum column {
    COLUMN_OPEN,
    COLUMN_CLOSE,
    COLUMN_HIGH,
    COLUMN_LOW,
    COLUMN_VOLUME,
    COLUMN_TAKER,
    COLUMN_QUOTE,
    COLUMN_TAKER_QUOTE,
    COLUMN_PLACE, /* in the period, in tiers */
    COLUMN_CLOSE_TIME,
    COLUMN_TRADES,
    COLUMN_FIRST_ID,
    COLUMN_LAST_ID,
    COLUMN_OPEN_MARK_TIME,
    COLUMN_OPEN_MARK_ORDER,
    COLUMN_CLOSE_MARK_TIME,
    COLUMN_CLOSE_MARK_ORDER,
    COLUMN_LAST_OFFSET,
    COLUMN_HASH,
    COLUMN_REVISION,
    COLUMN_COVERED,
    COLUMN_NATIVE,
    COLUMN_COVERAGE,
    COLUMN_BASIS,
    COLUMN_FINAL,
    COLUMN_REASON,
    COLUMN_CONFLICT,
    COLUMN_COUNT
};

#define DECIMALS ((int)COLUMN_PLACE)

enum group { GROUP_PRICES, GROUP_VOLUMES, GROUP_QUOTES, GROUP_COUNT };
enum { MAGIC = 0x31425743, HEADER_BYTES = 30, CHECKSUM_BYTES = 8, CHUNK = 64 };
static const int64_t PERIOD_MAX_MS = INT64_C(1) << 60;
static const int64_t PLACE_MAX = INT64_C(1) << 31;

static const uint8_t group_of[DECIMALS] = {GROUP_PRICES,  GROUP_PRICES,  GROUP_PRICES, GROUP_PRICES,
                                           GROUP_VOLUMES, GROUP_VOLUMES, GROUP_QUOTES, GROUP_QUOTES};

#define DECIMAL_FIELDS(X)             \
    X(COLUMN_OPEN, open)              \
    X(COLUMN_CLOSE, close)            \
    X(COLUMN_HIGH, high)              \
    X(COLUMN_LOW, low)                \
    X(COLUMN_VOLUME, volume)          \
    X(COLUMN_TAKER, taker_buy_volume) \
    X(COLUMN_QUOTE, quote_volume)     \
    X(COLUMN_TAKER_QUOTE, taker_buy_quote_volume)

/* All other fields but the open time. */
#define INTEGER_FIELDS(X)                         \
    X(COLUMN_CLOSE_TIME, close_time_ms)           \
    X(COLUMN_TRADES, trades)                      \
    X(COLUMN_FIRST_ID, first_id)                  \
    X(COLUMN_LAST_ID, last_id)                    \
    X(COLUMN_OPEN_MARK_TIME, open_mark.time_ms)   \
    X(COLUMN_OPEN_MARK_ORDER, open_mark.order)    \
    X(COLUMN_CLOSE_MARK_TIME, close_mark.time_ms) \
    X(COLUMN_CLOSE_MARK_ORDER, close_mark.order)  \
    X(COLUMN_LAST_OFFSET, last_offset)            \
    X(COLUMN_HASH, hash)                          \
    X(COLUMN_REVISION, revision)                  \
    X(COLUMN_COVERED, covered_minutes)            \
    X(COLUMN_NATIVE, native_ms)                   \
    X(COLUMN_COVERAGE, coverage)                  \
    X(COLUMN_BASIS, basis)                        \
    X(COLUMN_FINAL, final)                        \
    X(COLUMN_REASON, reason)                      \
    X(COLUMN_CONFLICT, conflict)

struct shape {
    uint32_t tier_ms;
    int64_t period_start_ms;
    uint32_t rows;
    bool wide[GROUP_COUNT];
    uint8_t scale[GROUP_COUNT];
    uint32_t present, plain; /* bit sets of columns */
    uint32_t constant;       /* known to be the same in all rows; not stored */
    int64_t first_place, last_place;
    int64_t first_open, first_offset, id_before;
    /* quote volume ~ volume * (open + high + low + close) * multiply / divide; divide 0: not predicted */
    int64_t multiply;
    __int128 divide;
};

/* Values of a few rows by column, and what goes on from them into the next few. */
struct chunk {
    uint32_t count;
    int64_t v[COLUMN_COUNT][CHUNK];
};
struct carry {
    int64_t place, close, last_id, offset; /* of the row before */
};

static inline bool has(uint32_t set, enum column column) { return set >> column & 1; }
static inline int64_t wrap_add(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); }
static inline int64_t wrap_sub(int64_t a, int64_t b) { return (int64_t)((uint64_t)a - (uint64_t)b); }
static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* --- differences to predictions, and back: kept side by side, line by line --- */

static struct carry carry_first(const struct shape *s) {
    return (struct carry){s->first_place - 1, s->first_open, s->id_before, s->first_offset};
}

static void shape_quote_factors(struct shape *shape) {
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

static void predict_quotes(const struct shape *s, const struct chunk *c, int64_t *predicted) {
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
    int64_t times[CHUNK];
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
    int64_t times[CHUNK];
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

/* Columns that are stored as they are. */
static const uint32_t UNPREDICTED = 1u << COLUMN_VOLUME | 1u << COLUMN_TAKER | 1u << COLUMN_TRADES | 1u << COLUMN_HASH |
                                    1u << COLUMN_REVISION | 1u << COLUMN_COVERED | 1u << COLUMN_NATIVE |
                                    1u << COLUMN_COVERAGE | 1u << COLUMN_BASIS | 1u << COLUMN_FINAL |
                                    1u << COLUMN_REASON | 1u << COLUMN_CONFLICT;

static bool all_zero(const struct shape *s, const struct chunk *c, enum column column) {
    return has(s->constant, column) && c->v[column][0] == 0;
}

/* Where a factor is zero in all rows the prediction is zero, and not worth the divisions. */
static bool predicts_quotes(const struct shape *s, const struct chunk *c) {
    return s->divide != 0 && !has(s->plain, COLUMN_QUOTE) && !all_zero(s, c, COLUMN_VOLUME);
}

static bool predicts_taker_quotes(const struct shape *s, const struct chunk *c) {
    return s->divide != 0 && !has(s->plain, COLUMN_TAKER_QUOTE) && !all_zero(s, c, COLUMN_TAKER) &&
           !all_zero(s, c, COLUMN_QUOTE);
}

/* r[column][at ..] = the chunk's values against their predictions. */
static void differences(const struct shape *s, const struct chunk *c, struct carry *carry, int64_t *const *r,
                        uint32_t at) {
    int64_t predicted[CHUNK] = {0};
    for (int i = 0; i < COLUMN_COUNT; i++)
        if (has(UNPREDICTED, (enum column)i) && (at == 0 || !has(s->constant, (enum column)i)))
            memcpy(r[i] + at, c->v[i], c->count * sizeof(int64_t));
    difference_times(s, c, carry, r, at);
    difference_prices(c, carry, r, at);
    if (predicts_quotes(s, c)) predict_quotes(s, c, predicted);
    subtract(r[COLUMN_QUOTE] + at, c->v[COLUMN_QUOTE], predicted, c->count);
    memset(predicted, 0, sizeof predicted);
    if (predicts_taker_quotes(s, c)) predict_taker_quotes(c, predicted);
    subtract(r[COLUMN_TAKER_QUOTE] + at, c->v[COLUMN_TAKER_QUOTE], predicted, c->count);
    difference_ids(c, carry, r, at);
    subtract(r[COLUMN_OPEN_MARK_ORDER] + at, c->v[COLUMN_OPEN_MARK_ORDER], c->v[COLUMN_FIRST_ID], c->count);
    subtract(r[COLUMN_CLOSE_MARK_ORDER] + at, c->v[COLUMN_CLOSE_MARK_ORDER], c->v[COLUMN_LAST_ID], c->count);
}

static bool restore(const struct shape *s, struct chunk *c, struct carry *carry) {
    int64_t predicted[CHUNK];
    if (!restore_times(s, c, carry)) return false;
    restore_prices(c, carry);
    if (predicts_quotes(s, c)) {
        predict_quotes(s, c, predicted);
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

/* --- encoding --- */

struct encoder {
    struct shape shape;
    const struct candle *candles;
    uint32_t varying; /* columns whose field is not the same in all rows */
    uint8_t scale_low[DECIMALS];
    int64_t power[19]; /* of ten */
    int64_t *r[COLUMN_COUNT];
    struct chunk chunk;
};

/* Which bits of a row differ from the first row's in any row: one pass over plain words, padding included. */
enum { ROW_WORDS = sizeof(struct candle) / 8 };
_Static_assert(sizeof(struct candle) % 16 == 0, "rows are surveyed in words");

union row_bits {
    uint64_t words[ROW_WORDS];
    struct candle row;
};

static void survey_bits(const struct candle *rows, uint32_t count, union row_bits *ret_differ) {
    const uint64_t *first = (const uint64_t *)rows;
    uint64_t *differ = ret_differ->words;
    memset(differ, 0, sizeof ret_differ->words);
    for (uint32_t i = 1; i < count; i++) {
        const uint64_t *words = (const uint64_t *)&rows[i];
        for (int w = 0; w < ROW_WORDS; w++) differ[w] |= words[w] ^ first[w];
    }
}

static inline const struct decimal *decimal_at(const struct candle *c, int column) {
    static const uint16_t offsets[] = {
#define X(name, field) offsetof(struct candle, field),
        DECIMAL_FIELDS(X)
#undef X
    };
    return (const struct decimal *)((const uint8_t *)c + offsets[column]);
}

/* A decimal column whose upper halves or scales are not all the same is looked at row by row. */
static void survey_decimal(struct encoder *e, int column, const struct decimal *differ) {
    struct shape *s = &e->shape;
    const struct decimal *first = decimal_at(e->candles, column);
    uint8_t low = first->scale, high = first->scale;
    bool narrow = first->mantissa == (int64_t)first->mantissa;
    uint64_t upper = (uint64_t)((unsigned __int128)differ->mantissa >> 63);
    if (upper != 0 || differ->scale != 0) {
        for (uint32_t i = 1; i < s->rows; i++) {
            const struct decimal *value = decimal_at(&e->candles[i], column);
            low = value->scale < low ? value->scale : low;
            high = value->scale > high ? value->scale : high;
            narrow &= value->mantissa == (int64_t)value->mantissa;
        }
    }
    uint8_t *scale = &s->scale[group_of[column]];
    *scale = high > *scale ? high : *scale;
    e->scale_low[column] = low;
    if (!narrow) s->wide[group_of[column]] = true;
    if (differ->mantissa != 0 || low != high) e->varying |= 1u << column;
}

static void survey(struct encoder *e) {
    union row_bits differ;
    survey_bits(e->candles, e->shape.rows, &differ);
    for (int i = 0; i < DECIMALS; i++) survey_decimal(e, i, decimal_at(&differ.row, i));
#define X(column, field) \
    if (differ.row.field != 0) e->varying |= 1u << column;
    INTEGER_FIELDS(X)
#undef X
    e->varying |= 1u << COLUMN_PLACE;
}

/* Mantissas at their group's scale; false if one does not fit. */
static bool gather_decimal(struct encoder *e, const struct candle *from, int column) {
    uint8_t scale = e->shape.scale[group_of[column]];
    int64_t *to = e->chunk.v[column];
    bool over = false;
    if (e->scale_low[column] == scale) {
        for (uint32_t i = 0; i < e->chunk.count; i++) to[i] = (int64_t)decimal_at(&from[i], column)->mantissa;
        return true;
    }
    for (uint32_t i = 0; i < e->chunk.count; i++) {
        const struct decimal *value = decimal_at(&from[i], column);
        unsigned more = (unsigned)(scale - value->scale);
        int64_t mantissa = (int64_t)value->mantissa;
        over |= (more > 18 && mantissa != 0) | __builtin_mul_overflow(mantissa, e->power[more > 18 ? 0 : more], &to[i]);
    }
    return !over;
}

static bool gather_decimals(struct encoder *e, const struct candle *from, uint32_t columns) {
    for (int column = 0; column < DECIMALS; column++) {
        if (!has(columns, (enum column)column) || e->shape.wide[group_of[column]]) continue;
        if (gather_decimal(e, from, column)) continue;
        e->shape.wide[group_of[column]] = true;
        return false;
    }
    return true;
}

static void gather_integers(struct encoder *e, const struct candle *from, uint32_t columns) {
    struct chunk *c = &e->chunk;
#define X(column, field)      \
    if (has(columns, column)) \
        for (uint32_t i = 0; i < c->count; i++) c->v[column][i] = (int64_t)from[i].field;
    INTEGER_FIELDS(X)
#undef X
}

static enum err gather_places(struct encoder *e, const struct candle *from, int64_t before) {
    struct chunk *c = &e->chunk;
    int64_t tier = e->shape.tier_ms;
    for (uint32_t i = 0; i < c->count; i++) {
        int64_t since = from[i].open_time_ms - e->shape.period_start_ms;
        bool next = i > 0 && from[i].open_time_ms == from[i - 1].open_time_ms + tier;
        int64_t place = next ? before + 1 : since / tier;
        if (place * tier != since || place <= before || place >= PLACE_MAX || since > PERIOD_MAX_MS) return ERR_RANGE;
        before = c->v[COLUMN_PLACE][i] = place;
    }
    return ERR_OK;
}

/* What the header keeps so that the first row's differences are small. */
static void first_values(struct encoder *e) {
    struct shape *s = &e->shape;
    const struct candle *first = e->candles, *last = first + s->rows - 1;
    s->first_place = (first->open_time_ms - s->period_start_ms) / s->tier_ms;
    s->last_place = (last->open_time_ms - s->period_start_ms) / s->tier_ms;
    s->first_open = s->wide[GROUP_PRICES] ? 0 : e->chunk.v[COLUMN_OPEN][0];
    s->first_offset = first->last_offset;
    s->id_before = -2;
    for (const struct candle *c = first; c <= last && s->id_before == -2; c++)
        if (c->first_id != -1) s->id_before = wrap_sub(c->first_id, 1);
}

/* Columns that are the same in all rows but not as predicted are stored as they are. */
static void choose_plain(struct encoder *e) {
    for (int i = COLUMN_VOLUME; i < COLUMN_COUNT; i++)
        if (!has(e->varying, (enum column)i) && e->r[i][0] != 0) e->shape.plain |= 1u << i;
}

/* Sources without quote volumes give zeroes: no need to predict them first. */
static void choose_plain_quote(struct encoder *e) {
    struct chunk one = {.count = 1};
    int64_t predicted = 0;
    if (has(e->varying, COLUMN_QUOTE) || !predicts_quotes(&e->shape, &e->chunk)) return;
    for (int i = 0; i < DECIMALS; i++) one.v[i][0] = e->chunk.v[i][0];
    predict_quotes(&e->shape, &one, &predicted);
    if (predicted != one.v[COLUMN_QUOTE][0]) e->shape.plain |= 1u << COLUMN_QUOTE;
}

/* ERR_STATE: a group turned out wide; again with its flag set. */
static enum err transform(struct encoder *e) {
    struct carry carry = {.place = -1};
    uint32_t all = (1u << COLUMN_COUNT) - 1;
    for (uint32_t at = 0; at < e->shape.rows; at += CHUNK) {
        const struct candle *from = e->candles + at;
        e->chunk.count = e->shape.rows - at < CHUNK ? e->shape.rows - at : CHUNK;
        enum err err = gather_places(e, from, at == 0 ? -1 : carry.place);
        if (err != ERR_OK) return err;
        if (!gather_decimals(e, from, at == 0 ? all : e->varying)) return ERR_STATE;
        gather_integers(e, from, at == 0 ? all : e->varying);
        if (at == 0) {
            first_values(e);
            choose_plain_quote(e);
            carry = carry_first(&e->shape);
        }
        differences(&e->shape, &e->chunk, &carry, e->r, at);
        if (at == 0) choose_plain(e);
    }
    return ERR_OK;
}

static void put_wide(struct buf *out, const struct encoder *e, enum column column) {
    size_t size_at = out->size;
    buf_put_le32(out, 0);
    for (uint32_t i = 0; i < e->shape.rows; i++) {
        const struct candle *c = &e->candles[i];
        const struct decimal *all[DECIMALS] = {&c->open,         &c->close,
                                               &c->high,         &c->low,
                                               &c->volume,       &c->taker_buy_volume,
                                               &c->quote_volume, &c->taker_buy_quote_volume};
        struct decimal value = decimal_normalize(*all[column]);
        buf_put_u8(out, value.scale);
        buf_put_i128(out, value.mantissa);
    }
    if (buf_err(out) != ERR_OK) return;
    uint32_t size = (uint32_t)(out->size - size_at - 4);
    memcpy(out->data + size_at, &size, 4);
}

static void put_column(struct buf *out, struct encoder *e, enum column column) {
    if (column < DECIMALS && e->shape.wide[group_of[column]]) {
        put_wide(out, e, column);
    } else if (has(e->shape.plain, column)) {
        int64_t same = e->chunk.v[column][0];
        column_encode(out, &same, 1);
    } else {
        column_encode(out, e->r[column], e->shape.rows);
    }
}

static bool any_not_zero(const int64_t *values, uint32_t count) {
    for (uint32_t at = 0; at < count; at += CHUNK) {
        uint32_t end = count - at < CHUNK ? count : at + CHUNK;
        uint64_t any = 0;
        for (uint32_t i = at; i < end; i++) any |= (uint64_t)values[i];
        if (any != 0) return true;
    }
    return false;
}

static void choose_present(struct encoder *e) {
    struct shape *s = &e->shape;
    s->present = s->plain;
    for (int i = 0; i < COLUMN_COUNT; i++) {
        bool wide = i < DECIMALS && s->wide[group_of[i]];
        if (has(s->plain, (enum column)i)) continue;
        if (!wide && has(UNPREDICTED & s->constant, (enum column)i)) continue; /* zeroes, or it would be plain */
        s->present |= (uint32_t)(wide || any_not_zero(e->r[i], s->rows)) << i;
    }
}

static void put_header(struct buf *out, const struct shape *s) {
    buf_put_le32(out, MAGIC);
    buf_put_le32(out, s->tier_ms);
    buf_put_le64(out, (uint64_t)s->period_start_ms);
    buf_put_le16(out, (uint16_t)s->rows);
    buf_put_u8(out, (uint8_t)(s->wide[0] | s->wide[1] << 1 | s->wide[2] << 2));
    for (int i = 0; i < GROUP_COUNT; i++) buf_put_u8(out, s->scale[i]);
    buf_put_le32(out, s->present);
    buf_put_le32(out, s->plain);
    buf_put_uvarint(out, (uint64_t)s->first_place);
    buf_put_uvarint(out, (uint64_t)s->last_place);
    buf_put_varint(out, s->first_open);
    buf_put_varint(out, s->first_offset);
    buf_put_varint(out, s->id_before);
}

static enum err encoder_run(struct encoder *e, struct buf *out) {
    enum err err = ERR_STATE;
    for (uint8_t i = 0; i < 19; i++) e->power[i] = (int64_t)decimal_power10(i);
    survey(e);
    e->shape.constant = ~e->varying;
    while (err == ERR_STATE) { /* at most once a group */
        memset(e->chunk.v, 0, sizeof e->chunk.v);
        e->shape.plain = 0;
        for (int i = 0; i < GROUP_COUNT; i++)
            if (e->shape.wide[i]) e->shape.scale[i] = 0;
        shape_quote_factors(&e->shape);
        err = transform(e);
    }
    if (err != ERR_OK) return err;
    choose_present(e);
    size_t start = out->size;
    put_header(out, &e->shape);
    for (int column = 0; column < COLUMN_COUNT; column++)
        if (has(e->shape.present, (enum column)column)) put_column(out, e, (enum column)column);
    if (buf_err(out) != ERR_OK) return buf_err(out);
    buf_put_le64(out, hash_bytes(slice_of(out->data + start, out->size - start), 0));
    return buf_err(out);
}

enum err block_encode(struct buf *out, uint32_t tier_ms, int64_t period_start_ms, const struct candle *candles,
                      uint32_t count) {
    assert(tier_ms > 0 && candles != NULL);
    if (count == 0 || count > BLOCK_ROWS_MAX) return ERR_RANGE;
    if (period_start_ms > PERIOD_MAX_MS || period_start_ms < -PERIOD_MAX_MS) return ERR_RANGE;
    if (candles[0].open_time_ms < period_start_ms) return ERR_RANGE;
    struct encoder *e = calloc(1, sizeof *e);
    int64_t *scratch = malloc((size_t)count * COLUMN_COUNT * sizeof *scratch);
    enum err err = e == NULL || scratch == NULL ? ERR_NO_MEMORY : ERR_OK;
    if (err == ERR_OK) {
        e->shape = (struct shape){.tier_ms = tier_ms, .period_start_ms = period_start_ms, .rows = count};
        e->candles = candles;
        for (int i = 0; i < COLUMN_COUNT; i++) e->r[i] = scratch + (size_t)i * count;
        err = encoder_run(e, out);
    }
    free(scratch);
    free(e);
    return err;
}

/* --- decoding --- */

static enum err read_header(struct reader *r, struct shape *s) {
    *s = (struct shape){0};
    uint32_t magic = reader_le32(r);
    s->tier_ms = reader_le32(r);
    s->period_start_ms = (int64_t)reader_le64(r);
    s->rows = reader_le16(r);
    uint8_t flags = reader_u8(r);
    for (int i = 0; i < GROUP_COUNT; i++) {
        s->wide[i] = flags >> i & 1;
        s->scale[i] = reader_u8(r);
        if (s->scale[i] > DECIMAL_DIGITS_MAX) return ERR_CORRUPT;
    }
    s->present = reader_le32(r);
    s->plain = reader_le32(r);
    uint64_t first_place = reader_uvarint(r), last_place = reader_uvarint(r);
    s->first_open = reader_varint(r);
    s->first_offset = reader_varint(r);
    s->id_before = reader_varint(r);
    bool sane = magic == MAGIC && s->tier_ms > 0 && s->rows > 0 && s->rows <= BLOCK_ROWS_MAX && flags < 8 &&
                s->period_start_ms <= PERIOD_MAX_MS && s->period_start_ms >= -PERIOD_MAX_MS &&
                s->present >> COLUMN_COUNT == 0 && (s->plain & ~s->present) == 0 &&
                (s->plain & ((1u << COLUMN_VOLUME) - 1)) == 0 && !has(s->plain, COLUMN_PLACE) &&
                first_place <= last_place && last_place < (uint64_t)PLACE_MAX &&
                last_place <= (uint64_t)PERIOD_MAX_MS / ((uint64_t)s->tier_ms + 1);
    if (reader_err(r) != ERR_OK || !sane) return ERR_CORRUPT;
    s->first_place = (int64_t)first_place;
    s->last_place = (int64_t)last_place;
    shape_quote_factors(s);
    return ERR_OK;
}

static struct slice body_of(struct slice bytes) { return slice_of(bytes.data, bytes.size - CHECKSUM_BYTES); }

enum err block_open(struct slice bytes, struct block_view *ret_view) {
    if (bytes.size < HEADER_BYTES + CHECKSUM_BYTES || bytes.size > BLOCK_BYTES_MAX) return ERR_CORRUPT;
    uint64_t sum;
    memcpy(&sum, bytes.data + bytes.size - CHECKSUM_BYTES, sizeof sum);
    if (sum != hash_bytes(body_of(bytes), 0)) return ERR_CORRUPT;
    struct shape s;
    struct reader r = reader_of(body_of(bytes));
    enum err err = read_header(&r, &s);
    if (err != ERR_OK) return err;
    int64_t start = s.period_start_ms, tier = s.tier_ms;
    *ret_view =
        (struct block_view){bytes, s.tier_ms, start, s.rows, start + s.first_place * tier, start + s.last_place * tier};
    return ERR_OK;
}

struct decoder {
    struct shape shape;
    struct carry carry;
    struct candle template; /* what is the same in all rows */
    struct reader wide[DECIMALS];
    struct column_reader columns[COLUMN_COUNT];
    struct chunk chunk;
    struct decimal decimals[DECIMALS][CHUNK];
};

static enum err decoder_open(struct decoder *d, struct slice bytes) {
    struct reader r = reader_of(body_of(bytes));
    enum err err = read_header(&r, &d->shape);
    if (err != ERR_OK) return err;
    memset(d->chunk.v, 0, sizeof d->chunk.v);
    for (int i = 0; i < COLUMN_COUNT; i++) {
        bool wide = i < DECIMALS && d->shape.wide[group_of[i]];
        if (wide && (!has(d->shape.present, (enum column)i) || has(d->shape.plain, (enum column)i))) return ERR_CORRUPT;
        if (!has(d->shape.present, (enum column)i)) continue;
        if (wide) {
            d->wide[i] = reader_of(reader_take(&r, reader_le32(&r)));
            continue;
        }
        err = column_open(&d->columns[i], &r, has(d->shape.plain, (enum column)i) ? 1 : d->shape.rows);
        if (err != ERR_OK) return err;
    }
    d->carry = carry_first(&d->shape);
    return reader_end(&r);
}

static enum err read_wide(struct reader *r, struct decimal *values, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        uint8_t scale = reader_u8(r);
        values[i] = (struct decimal){reader_i128(r), scale};
        if (scale > DECIMAL_DIGITS_MAX) return ERR_CORRUPT;
    }
    return reader_err(r);
}

/* Trailing zeros go: divisibility by ten is a multiplication and a rotation (Hacker's Delight, 10-17). */
static inline struct decimal canonical(int64_t mantissa, uint8_t scale) {
    uint64_t left = mantissa < 0 ? 0 - (uint64_t)mantissa : (uint64_t)mantissa;
    if (left == 0) return (struct decimal){0, 0};
    while (scale > 0) {
        uint64_t tenth = left * UINT64_C(0xcccccccccccccccd);
        tenth = tenth >> 1 | tenth << 63;
        if (tenth > UINT64_MAX / 10) break;
        left = tenth;
        scale--;
    }
    return (struct decimal){mantissa < 0 ? -(__int128)left : (__int128)left, scale};
}

static bool is_wide(const struct decoder *d, int i) { return i < DECIMALS && d->shape.wide[group_of[i]]; }

/* Columns of one value are read once, into all rows of the chunk. */
static enum err decode_constants(struct decoder *d) {
    const struct shape *s = &d->shape;
    for (int i = 0; i < COLUMN_COUNT; i++) {
        int64_t value = 0;
        bool plain = has(s->plain, (enum column)i), present = has(s->present, (enum column)i);
        bool constant = plain || (has(UNPREDICTED, (enum column)i) && !is_wide(d, i) &&
                                  (!present || column_is_constant(&d->columns[i])));
        if (!constant) continue;
        enum err err = present ? column_read(&d->columns[i], &value, 1) : ERR_OK;
        if (err != ERR_OK) return err;
        for (int row = 0; row < CHUNK; row++) d->chunk.v[i][row] = value;
        d->shape.constant |= 1u << i;
    }
    return ERR_OK;
}

static enum err decode_chunk(struct decoder *d, uint32_t at) {
    struct chunk *c = &d->chunk;
    enum err err = ERR_OK;
    c->count = d->shape.rows - at < CHUNK ? d->shape.rows - at : CHUNK;
    for (int i = 0; i < COLUMN_COUNT && err == ERR_OK; i++) {
        if (has(d->shape.constant, (enum column)i)) continue;
        if (is_wide(d, i)) err = read_wide(&d->wide[i], d->decimals[i], c->count);
        if (!is_wide(d, i) && has(d->shape.present, (enum column)i))
            err = column_read(&d->columns[i], c->v[i], c->count);
        else
            for (int row = 0; row < CHUNK; row++) c->v[i][row] = 0;
    }
    if (err != ERR_OK) return err;
    return restore(&d->shape, c, &d->carry) ? ERR_OK : ERR_CORRUPT;
}

/* Copied for every row, so that what is constant need not be filled in. */
static void make_template(struct decoder *d) {
    struct candle *t = &d->template;
    const struct shape *s = &d->shape;
    memset(t, 0, sizeof *t);
#define X(column, field) t->field = (__typeof__(t->field))d->chunk.v[column][0];
    INTEGER_FIELDS(X)
#undef X
#define X(column, field) \
    if (!s->wide[group_of[column]]) t->field = canonical(d->chunk.v[column][0], s->scale[group_of[column]]);
    DECIMAL_FIELDS(X)
#undef X
}

static void fill_decimals(struct decoder *d, uint32_t from, uint32_t to, struct candle *out) {
    uint32_t columns = ~d->shape.constant;
#define X(column, field)                                                                   \
    if (d->shape.wide[group_of[column]])                                                   \
        for (uint32_t i = from; i < to; i++) out[i - from].field = d->decimals[column][i]; \
    else if (has(columns, column))                                                         \
        for (uint32_t i = from; i < to; i++)                                               \
            out[i - from].field = canonical(d->chunk.v[column][i], d->shape.scale[group_of[column]]);
    DECIMAL_FIELDS(X)
#undef X
}

static void fill_rows(struct decoder *d, uint32_t from, uint32_t to, struct candle *out) {
    const struct shape *s = &d->shape;
    uint32_t columns = ~s->constant;
    for (uint32_t i = from; i < to; i++) {
        uint64_t *words = (uint64_t *)&out[i - from];
        for (int w = 0; w < ROW_WORDS; w++) words[w] = ((const uint64_t *)&d->template)[w];
        out[i - from].open_time_ms = s->period_start_ms + d->chunk.v[COLUMN_PLACE][i] * (int64_t)s->tier_ms;
    }
#define X(column, field)      \
    if (has(columns, column)) \
        for (uint32_t i = from; i < to; i++) out[i - from].field = (__typeof__(out->field))d->chunk.v[column][i];
    INTEGER_FIELDS(X)
#undef X
    fill_decimals(d, from, to, out);
}

static enum err decode_range(struct decoder *d, int64_t from_place, int64_t to_place, struct candle *candles,
                             uint32_t max, uint32_t *ret_count) {
    uint32_t count = 0;
    enum err err = decode_constants(d);
    if (err != ERR_OK) return err;
    make_template(d);
    for (uint32_t at = 0; at < d->shape.rows && count < max; at += CHUNK) {
        err = decode_chunk(d, at);
        if (err != ERR_OK) return err;
        const int64_t *places = d->chunk.v[COLUMN_PLACE];
        uint32_t low = 0, high = d->chunk.count;
        while (low < high && places[low] < from_place) low++;
        while (high > low && places[high - 1] >= to_place) high--;
        if (high - low > max - count) high = low + (max - count);
        fill_rows(d, low, high, candles + count);
        count += high - low;
        if (places[d->chunk.count - 1] >= to_place) break;
    }
    *ret_count = count;
    return ERR_OK;
}

/* The first place at or after `time_ms`. */
static int64_t place_at(const struct block_view *view, int64_t time_ms) {
    if (time_ms <= view->first_open_ms) return 0;
    if (time_ms > view->last_open_ms) return PLACE_MAX;
    return (time_ms - view->period_start_ms + view->tier_ms - 1) / view->tier_ms;
}

enum err block_read(const struct block_view *view, int64_t from_ms, int64_t to_ms, struct candle *candles, uint32_t max,
                    uint32_t *ret_count) {
    assert(view->bytes.size > HEADER_BYTES + CHECKSUM_BYTES && ret_count != NULL);
    if (from_ms >= to_ms || from_ms > view->last_open_ms || to_ms <= view->first_open_ms || max == 0) {
        *ret_count = 0;
        return ERR_OK;
    }
    struct decoder *d = malloc(sizeof *d);
    if (d == NULL) return ERR_NO_MEMORY;
    enum err err = decoder_open(d, view->bytes);
    if (err == ERR_OK) err = decode_range(d, place_at(view, from_ms), place_at(view, to_ms), candles, max, ret_count);
    free(d);
    return err;
}
