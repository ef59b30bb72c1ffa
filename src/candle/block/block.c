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
 *       the columns present, in the order of `enum column`, each as in column.c; a wide column is u8 scale and
 *       zigzag base-128 mantissa of each row, preceded by its u32 size
 *    -8  u64  XXH3-64 of everything before it
 *
 * A column that is absent holds zeroes. What is stored is the difference to a prediction from columns before it, so that
 * what is regular costs nothing: predict.c is the definition. Differences and predictions wrap modulo 2^64.
 * A group of decimals (prices; volume and taker's volume; the two quote volumes) shares a scale and is 64 bits wide
 * where all of it fits, otherwise all of it is wide and predicts nothing. Decimals come back canonical.
 *
 * Valid is a block whose checksum, magic and columns agree; there is nothing to recover from a damaged one but an older
 * version of the record. */
#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "candle/block/parts.h"

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
    bool sane = magic == BLOCK_MAGIC && s->tier_ms > 0 && s->rows > 0 && s->rows <= BLOCK_ROWS_MAX && flags < 8 &&
                s->period_start_ms <= PERIOD_MAX_MS && s->period_start_ms >= -PERIOD_MAX_MS &&
                s->present >> COLUMN_COUNT == 0 && (s->plain & ~s->present) == 0 &&
                (s->plain & ((1u << COLUMN_VOLUME) - 1)) == 0 && !has(s->plain, COLUMN_PLACE) &&
                first_place <= last_place && last_place < (uint64_t)PLACE_MAX &&
                last_place <= (uint64_t)PERIOD_MAX_MS / ((uint64_t)s->tier_ms + 1);
    if (reader_err(r) != ERR_OK || !sane) return ERR_CORRUPT;
    s->first_place = (int64_t)first_place;
    s->last_place = (int64_t)last_place;
    block_quote_factors(s);
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
    uint32_t used;          /* rows of a chunk: fewer than CHUNK_ROWS only where the block has fewer */
    struct candle template; /* what is the same in all rows */
    struct reader wide[DECIMALS];
    struct column_reader columns[COLUMN_COUNT];
    struct chunk chunk;
    struct decimal decimals[DECIMALS][CHUNK_ROWS];
};

static enum err decoder_open(struct decoder *d, struct slice bytes) {
    struct reader r = reader_of(body_of(bytes));
    enum err err = read_header(&r, &d->shape);
    if (err != ERR_OK) return err;
    d->used = d->shape.rows < CHUNK_ROWS ? d->shape.rows : CHUNK_ROWS;
    for (int i = 0; i < COLUMN_COUNT; i++) {
        bool wide = i < DECIMALS && d->shape.wide[block_group_of[i]];
        if (wide && (!has(d->shape.present, (enum column)i) || has(d->shape.plain, (enum column)i))) return ERR_CORRUPT;
        if (!has(d->shape.present, (enum column)i)) continue;
        if (wide) {
            d->wide[i] = reader_of(reader_take(&r, reader_le32(&r)));
            continue;
        }
        err = column_open(&d->columns[i], &r, has(d->shape.plain, (enum column)i) ? 1 : d->shape.rows);
        if (err != ERR_OK) return err;
    }
    d->carry = block_carry_first(&d->shape);
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

static inline struct decimal column_decimal(const struct decoder *d, int column, uint32_t row) {
    return decimal_normalize((struct decimal){d->chunk.v[column][row], d->shape.scale[block_group_of[column]]});
}

static bool is_wide(const struct decoder *d, int i) { return i < DECIMALS && d->shape.wide[block_group_of[i]]; }

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
        for (uint32_t row = 0; row < d->used; row++) d->chunk.v[i][row] = value;
        d->shape.constant |= 1u << i;
    }
    return ERR_OK;
}

static enum err decode_chunk(struct decoder *d, uint32_t at) {
    struct chunk *c = &d->chunk;
    enum err err = ERR_OK;
    c->count = d->shape.rows - at < CHUNK_ROWS ? d->shape.rows - at : CHUNK_ROWS;
    for (int i = 0; i < COLUMN_COUNT && err == ERR_OK; i++) {
        if (has(d->shape.constant, (enum column)i)) continue;
        if (is_wide(d, i)) err = read_wide(&d->wide[i], d->decimals[i], c->count);
        if (!is_wide(d, i) && has(d->shape.present, (enum column)i))
            err = column_read(&d->columns[i], c->v[i], c->count);
        else
            for (uint32_t row = 0; row < d->used; row++) c->v[i][row] = 0;
    }
    if (err != ERR_OK) return err;
    return block_restore(&d->shape, c, &d->carry) ? ERR_OK : ERR_CORRUPT;
}

/* Copied for every row, so that what is constant need not be filled in. */
static void make_template(struct decoder *d) {
    struct candle *t = &d->template;
    const struct shape *s = &d->shape;
    memset(t, 0, sizeof *t);
#define X(column, field) \
    if (has(s->constant, column)) t->field = (__typeof__(t->field))d->chunk.v[column][0];
    INTEGER_FIELDS(X)
#undef X
#define X(column, field) \
    if (has(s->constant, column)) t->field = column_decimal(d, column, 0);
    DECIMAL_FIELDS(X)
#undef X
}

static void fill_decimals(struct decoder *d, uint32_t from, uint32_t to, struct candle *out) {
    uint32_t columns = ~d->shape.constant;
#define X(column, field)                                                                   \
    if (d->shape.wide[block_group_of[column]])                                             \
        for (uint32_t i = from; i < to; i++) out[i - from].field = d->decimals[column][i]; \
    else if (has(columns, column))                                                         \
        for (uint32_t i = from; i < to; i++) out[i - from].field = column_decimal(d, column, i);
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
    for (uint32_t at = 0; at < d->shape.rows && count < max; at += CHUNK_ROWS) {
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
