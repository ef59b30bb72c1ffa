/* Rows of Binance's published CSV files, in the order of their columns:
 *   aggTrades  id, price, quantity, first id, last id, time, buyer is maker [, best match]
 *   trades     id, price, quantity, quote quantity, time, buyer is maker [, best match]
 *   klines     open time, open, high, low, close, volume, close time, quote volume, count, taker buy volume,
 *              taker buy quote volume, ignored
 * Some files have a header, some not; booleans are True or true; times are told by their size. A row of other columns or
 * values is refused; the next line starts afresh. */
#include "codec/scan_wide.h"
#include "venue/binance/binance.h"

enum { MINUTE_MS = 60000, KLINE_SPAN_MAX_MS = 32 * 86400000u, KLINE_COLUMNS = 12 };

int64_t binance_interval_ms(struct slice name) {
    uint64_t count = 0;
    if (slice_equal(name, SLICE("1mo")) || slice_equal(name, SLICE("1M"))) return 0;
    if (name.size < 2 || name.size > 4 || !slice_to_u64(slice_of(name.data, name.size - 1), &count) || count == 0)
        return -1;
    switch (name.data[name.size - 1]) {
        case 's': return (int64_t)count * 1000;
        case 'm': return (int64_t)count * MINUTE_MS;
        case 'h': return (int64_t)count * 60 * MINUTE_MS;
        case 'd': return count <= 31 ? (int64_t)count * 1440 * MINUTE_MS : -1;
        case 'w': return count <= 4 ? (int64_t)count * 7 * 1440 * MINUTE_MS : -1;
        default: return -1;
    }
}

/* --- klines --- */

static bool in_order_of_any_size(const struct candle *c) {
    return decimal_compare(c->low, c->open) <= 0 && decimal_compare(c->low, c->close) <= 0 &&
           decimal_compare(c->high, c->open) >= 0 && decimal_compare(c->high, c->close) >= 0;
}

SCAN_INLINE bool at_scale(const struct decimal *value, unsigned scale, int64_t *ret_mantissa) {
    int64_t mantissa = (int64_t)value->mantissa;
    unsigned more = scale - value->scale;
    return mantissa == value->mantissa && more <= SCAN_DIGITS_MAX &&
           !__builtin_mul_overflow(mantissa, (int64_t)scan_power10[more], ret_mantissa);
}

/* Low, open, close and high in order, compared at their largest scale: in one row of three, a price ends in a zero. */
SCAN_INLINE bool in_order(const struct candle *c) {
    int64_t open, high, low, close;
    unsigned scale = c->open.scale > c->high.scale ? c->open.scale : c->high.scale;
    unsigned other = c->low.scale > c->close.scale ? c->low.scale : c->close.scale;
    scale = scale > other ? scale : other;
    if (!at_scale(&c->open, scale, &open) || !at_scale(&c->high, scale, &high) || !at_scale(&c->low, scale, &low) ||
        !at_scale(&c->close, scale, &close))
        return in_order_of_any_size(c);
    return (low <= open) & (low <= close) & (high >= open) & (high >= close);
}

static bool is_part_of_any_size(const struct decimal *part, const struct decimal *whole) {
    return decimal_compare(*part, *whole) <= 0;
}

SCAN_INLINE bool is_part(const struct decimal *part, const struct decimal *whole) {
    int64_t a, b;
    unsigned scale = part->scale > whole->scale ? part->scale : whole->scale;
    if (!at_scale(part, scale, &a) || !at_scale(whole, scale, &b)) return is_part_of_any_size(part, whole);
    return a <= b;
}

/* Without trades there is one price and no volume; takers bought no more than all did. */
SCAN_INLINE bool agrees_with_itself(const struct candle *c) {
    if (c->trades == 0 && (c->volume.mantissa != 0 || c->quote_volume.mantissa != 0 || !is_part(&c->high, &c->low)))
        return false;
    return is_part(&c->taker_buy_volume, &c->volume) && is_part(&c->taker_buy_quote_volume, &c->quote_volume);
}

/* What both ways of reading leave to be said of a row: every field that is no column is set here. */
SCAN_INLINE bool finish_kline(struct candle *c) {
    int64_t span = c->close_time_ms - c->open_time_ms + 1;
    if (span <= 0 || span > KLINE_SPAN_MAX_MS || c->trades < 0) return false;
    if (c->low.mantissa <= 0 || !in_order(c) || !agrees_with_itself(c)) return false;
    c->native_ms = (uint32_t)span;
    c->covered_minutes = (uint32_t)span / MINUTE_MS;
    c->open_mark = (struct candle_mark){c->open_time_ms, 0};
    c->close_mark = (struct candle_mark){c->close_time_ms, 0};
    c->first_id = c->last_id = c->last_offset = -1;
    c->hash = 0;
    c->revision = 0;
    c->basis = BASIS_KLINES;
    c->coverage = c->trades == 0 ? COVERAGE_QUIET : COVERAGE_TRADED;
    c->final = CANDLE_FINAL_CLOCK;
    c->reason = REASON_NONE;
    c->conflict = false;
    return true;
}

SCAN_INLINE bool take_decimal(const uint8_t **at, struct decimal *ret_value) {
    int64_t mantissa;
    uint8_t scale;
    if (!scan_decimal(at, &mantissa, &scale) || **at != ',') return false;
    ++*at;
    ret_value->mantissa = mantissa;
    ret_value->scale = scale;
    return true;
}

SCAN_INLINE bool take_i64(const uint8_t **at, int64_t *ret_value) {
    if (!scan_u63(at, ret_value) || **at != ',') return false;
    ++*at;
    return true;
}

SCAN_INLINE bool take_time(const uint8_t **at, int64_t *ret_time_ms) {
    int64_t time;
    return take_i64(at, &time) && market_time_ms(time, ret_time_ms);
}

SCAN_INLINE bool take_line_end(const uint8_t **at) {
    if (**at == '\r') ++*at;
    if (**at != '\n') return false;
    ++*at;
    return true;
}

static bool scan_kline(const uint8_t **at, struct candle *row) {
    const uint8_t *p = *at;
    int64_t ignored;
    uint8_t scale;
    if (!take_time(&p, &row->open_time_ms)) return false;
    if (!take_decimal(&p, &row->open) || !take_decimal(&p, &row->high) || !take_decimal(&p, &row->low)) return false;
    if (!take_decimal(&p, &row->close) || !take_decimal(&p, &row->volume)) return false;
    if (!take_time(&p, &row->close_time_ms) || !take_decimal(&p, &row->quote_volume)) return false;
    if (!take_i64(&p, &row->trades)) return false;
    if (!take_decimal(&p, &row->taker_buy_volume) || !take_decimal(&p, &row->taker_buy_quote_volume)) return false;
    if (!scan_decimal(&p, &ignored, &scale) || !take_line_end(&p) || !finish_kline(row)) return false;
    *at = p;
    return true;
}

uint32_t binance_csv_klines_narrow(const uint8_t **at, const uint8_t *end, struct candle *rows, uint32_t *starts,
                                   uint32_t max) {
    const uint8_t *base = *at, *p = base;
    uint32_t count = 0;
    while (count < max && p < end) {
        starts[count] = (uint32_t)(p - base);
        if (!scan_kline(&p, &rows[count])) break;
        count++;
    }
    *at = p;
    return count;
}

#ifdef __x86_64__

/* Where the columns of the row at `at` end: all but the last at a comma. False also where that cannot be said without looking
 * behind the 64 bytes from `end` on. */
SCAN_WIDE bool find_columns(const uint8_t *at, const uint8_t *end, const uint8_t *ret_ends[static KLINE_COLUMNS]) {
    uint64_t found = scan_wide_columns(at);
    unsigned others = 0;
    for (unsigned i = 0; i < KLINE_COLUMNS; i++) {
        while (__builtin_expect(found == 0, 0)) {
            at += 64;
            if (at >= end) return false;
            found = scan_wide_columns(at);
        }
        ret_ends[i] = at + _tzcnt_u64(found);
        found = _blsr_u64(found);
        others |= *ret_ends[i] ^ (i + 1 < KLINE_COLUMNS ? ',' : '\n');
    }
    return others == 0;
}

/* What is longer than the wide ones take. */
static __attribute__((noinline)) bool scan_decimal_column(const uint8_t *at, const uint8_t *end, struct decimal *ret) {
    int64_t mantissa;
    uint8_t scale;
    if (!scan_decimal(&at, &mantissa, &scale) || at != end) return false;
    ret->mantissa = mantissa;
    ret->scale = scale;
    return true;
}

static __attribute__((noinline)) bool scan_u63_column(const uint8_t *at, const uint8_t *end, int64_t *ret_value) {
    return scan_u63(&at, ret_value) && at == end;
}

/* Whole columns are often one digit: sources without a quote volume, minutes without trades. */
SCAN_WIDE bool wide_decimal(const uint8_t *at, const uint8_t *end, struct decimal *ret_value) {
    const uint8_t *p = at;
    int64_t mantissa;
    uint8_t scale;
    if (end == at + 1) {
        ret_value->mantissa = *at - '0';
        ret_value->scale = 0;
        return (uint8_t)(*at - '0') <= 9;
    }
    if (__builtin_expect(!scan_wide_decimal(&p, &mantissa, &scale), 0)) return scan_decimal_column(at, end, ret_value);
    ret_value->mantissa = mantissa;
    ret_value->scale = scale;
    return p == end;
}

SCAN_WIDE bool wide_i64(const uint8_t *at, const uint8_t *end, int64_t *ret_value) {
    const uint8_t *p = at;
    if (__builtin_expect(!scan_wide_u63(&p, ret_value), 0)) return scan_u63_column(at, end, ret_value);
    return p == end;
}

SCAN_WIDE bool wide_time(const uint8_t *at, const uint8_t *end, int64_t *ret_time_ms) {
    int64_t time;
    return wide_i64(at, end, &time) && market_time_ms(time, ret_time_ms);
}

/* As scan_kline. */
SCAN_WIDE_TARGET static bool wide_kline(const uint8_t **at, const uint8_t *end, struct candle *row) {
    const uint8_t *ends[KLINE_COLUMNS];
    struct decimal ignored;
    if (!find_columns(*at, end, ends)) return false;
    const uint8_t *line_end = ends[11] - (ends[11][-1] == '\r');
    bool fine = wide_time(*at, ends[0], &row->open_time_ms) && wide_decimal(ends[0] + 1, ends[1], &row->open) &&
                wide_decimal(ends[1] + 1, ends[2], &row->high) && wide_decimal(ends[2] + 1, ends[3], &row->low) &&
                wide_decimal(ends[3] + 1, ends[4], &row->close) && wide_decimal(ends[4] + 1, ends[5], &row->volume) &&
                wide_time(ends[5] + 1, ends[6], &row->close_time_ms) &&
                wide_decimal(ends[6] + 1, ends[7], &row->quote_volume) &&
                wide_i64(ends[7] + 1, ends[8], &row->trades) &&
                wide_decimal(ends[8] + 1, ends[9], &row->taker_buy_volume) &&
                wide_decimal(ends[9] + 1, ends[10], &row->taker_buy_quote_volume) &&
                wide_decimal(ends[10] + 1, line_end, &ignored) && finish_kline(row);
    if (fine) *at = ends[11] + 1;
    return fine;
}

SCAN_WIDE_TARGET static uint32_t wide_klines(const uint8_t **at, const uint8_t *end, struct candle *rows,
                                             uint32_t *starts, uint32_t max) {
    const uint8_t *base = *at, *p = base;
    uint32_t count = 0;
    while (count < max && p < end) {
        starts[count] = (uint32_t)(p - base);
        if (!wide_kline(&p, end, &rows[count])) break;
        count++;
    }
    *at = p;
    return count;
}

#endif

uint32_t binance_csv_klines(const uint8_t **at, const uint8_t *end, struct candle *rows, uint32_t *starts,
                            uint32_t max) {
#ifdef __x86_64__
    if (scan_wide_supported()) return wide_klines(at, end, rows, starts, max);
#endif
    return binance_csv_klines_narrow(at, end, rows, starts, max);
}

/* --- trades --- */

SCAN_INLINE bool take_boolean(const uint8_t **at, bool *ret_value) {
    uint32_t word;
    memcpy(&word, *at, 4);
    word |= 0x20202020u;       /* lower case */
    if (word == 0x65757274u) { /* "true" */
        *ret_value = true;
        *at += 4;
        return true;
    }
    if (word != 0x736C6166u || ((*at)[4] | 32) != 'e') return false; /* "fals" */
    *ret_value = false;
    *at += 5;
    return true;
}

static bool scan_trade(const uint8_t **at, bool aggregated, struct event *e) {
    const uint8_t *p = *at;
    int64_t price, quantity, id;
    struct decimal quote_quantity;
    bool maker, best;
    memset(e, 0, sizeof *e);
    if (!take_i64(&p, &id)) return false;
    if (!scan_decimal(&p, &price, &e->price_scale) || *p++ != ',') return false;
    if (!scan_decimal(&p, &quantity, &e->quantity_scale) || *p++ != ',') return false;
    e->price = price;
    e->quantity = quantity;
    if (aggregated) {
        if (!take_i64(&p, &e->first_id) || !take_i64(&p, &e->last_id)) return false;
        e->kind = EVENT_AGGREGATED_TRADE;
    } else {
        if (!take_decimal(&p, &quote_quantity)) return false;
        e->first_id = e->last_id = id;
    }
    if (!take_time(&p, &e->time_ms) || !take_boolean(&p, &maker)) return false;
    if (*p == ',' && (++p, !take_boolean(&p, &best))) return false;
    e->side = maker ? EVENT_TAKER_SELL : EVENT_TAKER_BUY;
    if (!take_line_end(&p) || !market_trade_holds(e)) return false;
    *at = p;
    return true;
}

uint32_t binance_csv_trades(const uint8_t **at, const uint8_t *end, bool aggregated, uint32_t series,
                            struct event *events, uint32_t *starts, uint32_t max) {
    const uint8_t *base = *at, *p = base;
    uint32_t count = 0;
    while (count < max && p < end) {
        starts[count] = (uint32_t)(p - base);
        if (!scan_trade(&p, aggregated, &events[count])) break;
        events[count++].series = series;
    }
    *at = p;
    return count;
}

/* --- one row, judged --- */

static enum err field_decimal(struct slice field, const char *name, struct diag *diag, struct decimal *ret_value) {
    enum err err = decimal_parse(field, ret_value);
    if (err == ERR_PRECISION) return diag_set(diag, err, "the %s needs more than 38 digits", name);
    if (err != ERR_OK) return diag_set(diag, ERR_TYPE, "the %s is not a number", name);
    if (ret_value->mantissa < 0) return diag_set(diag, ERR_RANGE, "the %s is negative", name);
    return ERR_OK;
}

static enum err field_i64(struct slice field, const char *name, struct diag *diag, int64_t *ret_value) {
    bool negative = field.size > 0 && field.data[0] == '-';
    uint64_t value = 0;
    if (negative) field = slice_of(field.data + 1, field.size - 1);
    if (!slice_to_u64(field, &value) || value > INT64_MAX)
        return diag_set(diag, ERR_TYPE, "the %s is not an integer of 64 bits", name);
    *ret_value = negative ? -(int64_t)value : (int64_t)value;
    return ERR_OK;
}

static enum err field_time(struct slice field, const char *name, struct diag *diag, int64_t *ret_time_ms) {
    int64_t time = 0;
    enum err err = field_i64(field, name, diag, &time);
    if (err != ERR_OK) return err;
    return market_time_ms(time, ret_time_ms) ? ERR_OK : diag_set(diag, ERR_RANGE, "the %s is before 1970", name);
}

static enum err field_boolean(struct slice field, const char *name, struct diag *diag, bool *ret_value) {
    *ret_value = slice_equal_nocase(field, SLICE("true"));
    if (*ret_value || slice_equal_nocase(field, SLICE("false"))) return ERR_OK;
    return diag_set(diag, ERR_TYPE, "the %s is neither true nor false", name);
}

enum err binance_csv_trade(const struct slice *fields, uint32_t count, bool aggregated, uint32_t series,
                           struct diag *diag, struct event *ret_event) {
    struct event e = {.series = series, .kind = aggregated ? EVENT_AGGREGATED_TRADE : EVENT_TRADE};
    struct decimal price = {0, 0}, quantity = {0, 0}, quote_quantity;
    uint32_t time = aggregated ? 5 : 4;
    int64_t id = 0;
    bool maker = false, best;
    if (count != time + 2 && count != time + 3)
        return diag_set(diag, ERR_SYNTAX, "the row has %u columns; %u or %u are expected", count, time + 2, time + 3);
    enum err err = field_i64(fields[0], "id", diag, &id);
    if (err == ERR_OK) err = field_decimal(fields[1], "price", diag, &price);
    if (err == ERR_OK) err = field_decimal(fields[2], "quantity", diag, &quantity);
    if (err == ERR_OK && aggregated) err = field_i64(fields[3], "first id", diag, &e.first_id);
    if (err == ERR_OK && aggregated) err = field_i64(fields[4], "last id", diag, &e.last_id);
    if (err == ERR_OK && !aggregated) err = field_decimal(fields[3], "quote quantity", diag, &quote_quantity);
    if (err == ERR_OK) err = field_time(fields[time], "time", diag, &e.time_ms);
    if (err == ERR_OK) err = field_boolean(fields[time + 1], "maker column", diag, &maker);
    if (err == ERR_OK && count == time + 3) err = field_boolean(fields[time + 2], "best match column", diag, &best);
    if (err != ERR_OK) return err;
    if (!aggregated) e.first_id = e.last_id = id;
    e.price = price.mantissa;
    e.price_scale = price.scale;
    e.quantity = quantity.mantissa;
    e.quantity_scale = quantity.scale;
    e.side = maker ? EVENT_TAKER_SELL : EVENT_TAKER_BUY;
    if (!market_trade_holds(&e) || e.first_id < 0) return market_trade_error(&e, diag);
    *ret_event = e;
    return ERR_OK;
}

static enum err kline_error(const struct candle *c, struct diag *diag) {
    if (agrees_with_itself(c))
        diag_set(diag, ERR_RANGE, "the row is no candle: low, open, close, high or its times are out of order");
    else if (c->trades == 0)
        diag_set(diag, ERR_RANGE, "the row contradicts itself: no trades, and a volume or more than one price");
    else
        diag_set(diag, ERR_RANGE, "the row contradicts itself: takers bought more than was traded");
    return ERR_RANGE;
}

enum err binance_csv_kline(const struct slice *fields, uint32_t count, struct diag *diag, struct candle *ret_row) {
    struct candle c;
    memset(&c, 0, sizeof c);
    if (count != 12) return diag_set(diag, ERR_SYNTAX, "the row has %u columns; 12 are expected", count);
    enum err err = field_time(fields[0], "open time", diag, &c.open_time_ms);
    if (err == ERR_OK) err = field_decimal(fields[1], "open", diag, &c.open);
    if (err == ERR_OK) err = field_decimal(fields[2], "high", diag, &c.high);
    if (err == ERR_OK) err = field_decimal(fields[3], "low", diag, &c.low);
    if (err == ERR_OK) err = field_decimal(fields[4], "close", diag, &c.close);
    if (err == ERR_OK) err = field_decimal(fields[5], "volume", diag, &c.volume);
    if (err == ERR_OK) err = field_time(fields[6], "close time", diag, &c.close_time_ms);
    if (err == ERR_OK) err = field_decimal(fields[7], "quote volume", diag, &c.quote_volume);
    if (err == ERR_OK) err = field_i64(fields[8], "count", diag, &c.trades);
    if (err == ERR_OK) err = field_decimal(fields[9], "taker buy volume", diag, &c.taker_buy_volume);
    if (err == ERR_OK) err = field_decimal(fields[10], "taker buy quote volume", diag, &c.taker_buy_quote_volume);
    if (err != ERR_OK) return err;
    if (!finish_kline(&c)) return kline_error(&c, diag);
    *ret_row = c;
    return ERR_OK;
}
