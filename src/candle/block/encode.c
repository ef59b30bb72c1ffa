/* Encoding of blocks; the format stands at the head of block.c. */
#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "candle/block/parts.h"

struct encoder {
    struct shape shape;
    const struct candle *candles;
    uint32_t varying; /* columns whose field is not the same in all rows */
    uint8_t scale_low[DECIMALS];
    int64_t *r[COLUMN_COUNT];
    struct chunk chunk;
};

/* Which bits of a row differ from the first row's in any row: one pass over plain words, padding included. */

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
    uint8_t *scale = &s->scale[block_group_of[column]];
    *scale = high > *scale ? high : *scale;
    e->scale_low[column] = low;
    if (!narrow) s->wide[block_group_of[column]] = true;
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
    uint8_t scale = e->shape.scale[block_group_of[column]];
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
        bool far = more > DECIMAL_POWER64_MAX;
        over |= (far && mantissa != 0) | __builtin_mul_overflow(mantissa, decimal_power64[far ? 0 : more], &to[i]);
    }
    return !over;
}

static bool gather_decimals(struct encoder *e, const struct candle *from, uint32_t columns) {
    for (int column = 0; column < DECIMALS; column++) {
        if (!has(columns, (enum column)column) || e->shape.wide[block_group_of[column]]) continue;
        if (gather_decimal(e, from, column)) continue;
        e->shape.wide[block_group_of[column]] = true;
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
    if (has(e->varying, COLUMN_QUOTE) || !block_predicts_quotes(&e->shape, &e->chunk)) return;
    for (int i = 0; i < DECIMALS; i++) one.v[i][0] = e->chunk.v[i][0];
    block_predict_quotes(&e->shape, &one, &predicted);
    if (predicted != one.v[COLUMN_QUOTE][0]) e->shape.plain |= 1u << COLUMN_QUOTE;
}

/* ERR_STATE: a group turned out wide; again with its flag set. */
static enum err transform(struct encoder *e) {
    struct carry carry = {.place = -1};
    uint32_t all = (1u << COLUMN_COUNT) - 1;
    for (uint32_t at = 0; at < e->shape.rows; at += CHUNK_ROWS) {
        const struct candle *from = e->candles + at;
        e->chunk.count = e->shape.rows - at < CHUNK_ROWS ? e->shape.rows - at : CHUNK_ROWS;
        enum err err = gather_places(e, from, at == 0 ? -1 : carry.place);
        if (err != ERR_OK) return err;
        if (!gather_decimals(e, from, at == 0 ? all : e->varying)) return ERR_STATE;
        gather_integers(e, from, at == 0 ? all : e->varying);
        if (at == 0) {
            first_values(e);
            choose_plain_quote(e);
            carry = block_carry_first(&e->shape);
        }
        block_differences(&e->shape, &e->chunk, &carry, e->r, at);
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
    if (column < DECIMALS && e->shape.wide[block_group_of[column]]) {
        put_wide(out, e, column);
    } else if (has(e->shape.plain, column)) {
        int64_t same = e->chunk.v[column][0];
        column_encode(out, &same, 1);
    } else {
        column_encode(out, e->r[column], e->shape.rows);
    }
}

static bool any_not_zero(const int64_t *values, uint32_t count) {
    for (uint32_t at = 0; at < count; at += CHUNK_ROWS) {
        uint32_t end = count - at < CHUNK_ROWS ? count : at + CHUNK_ROWS;
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
        bool wide = i < DECIMALS && s->wide[block_group_of[i]];
        if (has(s->plain, (enum column)i)) continue;
        if (!wide && has(UNPREDICTED & s->constant, (enum column)i)) continue; /* zeroes, or it would be plain */
        s->present |= (uint32_t)(wide || any_not_zero(e->r[i], s->rows)) << i;
    }
}

static void put_header(struct buf *out, const struct shape *s) {
    buf_put_le32(out, BLOCK_MAGIC);
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
    survey(e);
    e->shape.constant = ~e->varying;
    while (err == ERR_STATE) { /* at most once a group */
        memset(e->chunk.v, 0, sizeof e->chunk.v);
        e->shape.plain = 0;
        for (int i = 0; i < GROUP_COUNT; i++)
            if (e->shape.wide[i]) e->shape.scale[i] = 0;
        block_quote_factors(&e->shape);
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
