#include "base/civil.h"
#include "codec/csv.h"
#include "venue/import_reader.h"

/* --- what tells the series --- */

static struct slice base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slice_text(slash == NULL ? path : slash + 1);
}

enum err import_csv_series(struct import_reader *reader, const char *path, const char *series, struct diag *diag) {
    bool by_column = false;
    for (uint32_t i = 0; i < reader->column_count; i++)
        by_column = by_column || reader->column_kinds[i] == COLUMN_SYMBOL;
    reader->series = SERIES_NONE;
    if (series != NULL) {
        struct diag within = {0};
        enum err err = market_series_named(&reader->market, slice_text(series), &within, &reader->series);
        return err_class(err) == ERR_CLASS_INPUT ? diag_set(diag, ERR_USAGE, "--series: %s", within.what) : err;
    }
    if (by_column) return ERR_OK;
    struct slice name = base_name(path);
    const uint8_t *mark = name.size == 0 ? NULL : memchr(name.data, '-', name.size);
    if (mark == NULL) mark = name.size == 0 ? NULL : memchr(name.data, '.', name.size);
    struct slice symbol = mark == NULL ? name : slice_of(name.data, (size_t)(mark - name.data));
    if (market_series(&reader->market, symbol, NULL, &reader->series) == ERR_OK) return ERR_OK;
    diag_set(diag, ERR_USAGE, "the file's name does not tell which series it holds");
    diag_hint(diag, "say so: --series venue:BASE/QUOTE");
    return ERR_USAGE;
}

enum err import_csv_columns(struct import_reader *reader, const char *columns, struct diag *diag) {
    static const char *const names[COLUMN_COUNT] = {"-",        "time",    "price", "quantity", "id",
                                                    "first_id", "last_id", "side",  "maker",    "symbol"};
    bool seen[COLUMN_COUNT] = {false};
    for (const char *at = columns;; at++) {
        size_t size = strcspn(at, ",");
        if (reader->column_count == IMPORT_FIELDS_MAX)
            return diag_set(diag, ERR_USAGE, "more than %d columns", IMPORT_FIELDS_MAX);
        int kind = 0;
        while (kind < COLUMN_COUNT && !slice_equal(slice_of(at, size), slice_text(names[kind]))) kind++;
        if (kind == COLUMN_COUNT || (kind != COLUMN_NONE && seen[kind])) {
            diag_set(diag, ERR_USAGE, "the column \"%.*s\" is %s", (int)size, at,
                     kind == COLUMN_COUNT ? "not known" : "named twice");
            diag_hint(diag, "columns are time price quantity id first_id last_id side maker symbol, and - for others");
            return ERR_USAGE;
        }
        seen[kind] = true;
        reader->column_kinds[reader->column_count++] = (uint8_t)kind;
        at += size;
        if (*at == '\0') break;
    }
    if (seen[COLUMN_TIME] && seen[COLUMN_PRICE] && seen[COLUMN_QUANTITY] &&
        seen[COLUMN_FIRST_ID] == seen[COLUMN_LAST_ID] && !(seen[COLUMN_ID] && seen[COLUMN_FIRST_ID]))
        return ERR_OK;
    return diag_set(diag, ERR_USAGE,
                    "the columns time, price and quantity are needed; first_id and last_id together, and not with id");
}

/* --- rows --- */

static enum err split(struct import_reader *reader, struct slice line, struct diag *diag, struct slice *fields,
                      uint32_t *ret_count) {
    if (line.size > sizeof reader->row) return diag_set(diag, ERR_TOO_LARGE, "a row of %zu bytes", line.size);
    if (line.size > 0) memcpy(reader->row, line.data, line.size);
    enum err err = csv_split(reader->row, line.size, ',', fields, IMPORT_FIELDS_MAX, ret_count);
    if (err == ERR_LIMIT) return diag_set(diag, ERR_SYNTAX, "a row of more than %d columns", IMPORT_FIELDS_MAX);
    return err == ERR_OK ? err : diag_set(diag, err, "the quotes of the row do not match");
}

static bool is_letter(uint8_t c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }

/* A header stands before the first row; where files were put one behind the other it comes again, word for word, which the
 * names of the published ones' first columns tell. */
static bool is_header(const struct import_reader *reader, const struct slice *fields, uint32_t column) {
    struct slice field = fields[column];
    if (reader->first_row) return field.size > 0 && is_letter(field.data[0]);
    return slice_equal(field, SLICE("id")) || slice_equal(field, SLICE("agg_trade_id")) ||
           slice_equal(field, SLICE("open_time"));
}

static enum err trade_line(struct import_reader *reader, struct slice line, bool aggregated, struct diag *diag,
                           struct event *ret_event, enum line_kind *ret_kind) {
    struct slice fields[IMPORT_FIELDS_MAX];
    uint32_t count = 0;
    enum err err = split(reader, line, diag, fields, &count);
    if (err != ERR_OK) return err;
    *ret_kind = is_header(reader, fields, 0) ? LINE_NOTHING : LINE_EVENT;
    if (*ret_kind == LINE_NOTHING) return ERR_OK;
    return binance_csv_trade(fields, count, aggregated, reader->series, diag, ret_event);
}

static enum err aggtrades_line(struct import_reader *reader, struct slice *source, struct diag *diag,
                               struct event *ret_event, struct import_item *ret_item, enum line_kind *ret_kind) {
    (void)ret_item;
    return trade_line(reader, *source, true, diag, ret_event, ret_kind);
}

static enum err trades_line(struct import_reader *reader, struct slice *source, struct diag *diag,
                            struct event *ret_event, struct import_item *ret_item, enum line_kind *ret_kind) {
    (void)ret_item;
    return trade_line(reader, *source, false, diag, ret_event, ret_kind);
}

static uint32_t aggtrades_batch(struct import_reader *reader, const uint8_t **at, const uint8_t *end,
                                struct event *events, uint32_t *starts, uint32_t max) {
    return end[-1] == '\n' ? binance_csv_trades(at, end, true, reader->series, events, starts, max) : 0;
}

static uint32_t trades_batch(struct import_reader *reader, const uint8_t **at, const uint8_t *end, struct event *events,
                             uint32_t *starts, uint32_t max) {
    return end[-1] == '\n' ? binance_csv_trades(at, end, false, reader->series, events, starts, max) : 0;
}

static enum err klines_line(struct import_reader *reader, struct slice *source, struct diag *diag,
                            struct event *ret_event, struct import_item *ret_item, enum line_kind *ret_kind) {
    (void)ret_event;
    struct slice fields[IMPORT_FIELDS_MAX];
    uint32_t count = 0;
    enum err err = split(reader, *source, diag, fields, &count);
    if (err != ERR_OK) return err;
    *ret_kind = LINE_NOTHING;
    if (is_header(reader, fields, 0)) return ERR_OK;
    err = binance_csv_kline(fields, count, diag, &ret_item->kline);
    if (err != ERR_OK) return err;
    if (reader->interval_ms > 0 && reader->interval_ms != ret_item->kline.native_ms)
        return diag_set(diag, ERR_CONFLICT, "the row spans %u ms, the interval %lld ms", ret_item->kline.native_ms,
                        (long long)reader->interval_ms);
    *ret_kind = LINE_ITEM;
    ret_item->kind = IMPORT_KLINE;
    ret_item->series = reader->series;
    ret_item->kline_ms = ret_item->kline.native_ms;
    return ERR_OK;
}

/* --- rows with columns of the user's --- */

/* Seconds with a fraction are common, so a time is a decimal here; or RFC 3339. */
static enum err column_time(struct import_reader *reader, struct slice field, struct diag *diag, int64_t *ret_time_ms) {
    struct decimal d;
    if (decimal_parse(field, &d) != ERR_OK) return civil_parse(field, 0, diag, ret_time_ms);
    if (d.mantissa <= 0 || d.mantissa > (__int128)INT64_MAX * INT64_MAX)
        return diag_set(diag, ERR_RANGE, "the time is before 1970 or far beyond");
    __int128 whole = d.mantissa / decimal_power10(d.scale);
    char unit = reader->time_unit;
    if (unit == 0)
        unit = whole < 100000000000 ? 's' : whole < 100000000000000 ? 'm' : whole < 100000000000000000 ? 'u' : 'n';
    reader->time_units |= unit == 's' ? 1 : unit == 'm' ? 2 : unit == 'u' ? 4 : 8;
    __int128 ms = d.mantissa;
    if (unit == 's' && __builtin_mul_overflow(ms, 1000, &ms)) return diag_set(diag, ERR_RANGE, "the time is too large");
    ms /= unit == 'u' ? 1000 : unit == 'n' ? 1000000 : 1;
    ms /= decimal_power10(d.scale);
    if (ms < 1 || ms > 253402300799999) {
        diag_set(diag, ERR_RANGE, "the time is before 1970 or after the year 9999");
        diag_hint(diag, "is --time-unit right?");
        return ERR_RANGE;
    }
    *ret_time_ms = (int64_t)ms;
    return ERR_OK;
}

static enum err column_decimal(struct slice field, const char *name, struct diag *diag, struct decimal *ret_value) {
    enum err err = decimal_parse(field, ret_value);
    if (err == ERR_PRECISION) return diag_set(diag, err, "the %s needs more than 38 digits", name);
    return err == ERR_OK ? err : diag_set(diag, ERR_TYPE, "the %s is not a number", name);
}

static enum err column_id(struct slice field, struct diag *diag, int64_t *ret_id) {
    uint64_t id = 0;
    if (!slice_to_u64(field, &id) || id > INT64_MAX)
        return diag_set(diag, ERR_TYPE, "an id is not an integer of 64 bits");
    *ret_id = (int64_t)id;
    return ERR_OK;
}

static bool is_word(struct slice field, const char *a, const char *b) {
    return slice_equal_nocase(field, slice_text(a)) || slice_equal_nocase(field, slice_text(b));
}

static enum err column_side(struct slice field, bool maker, struct diag *diag, struct event *event) {
    bool buy = maker ? is_word(field, "false", "0") : is_word(field, "buy", "b");
    bool sell = maker ? is_word(field, "true", "1") : is_word(field, "sell", "s");
    if (!buy && !sell)
        return diag_set(diag, ERR_TYPE, maker ? "maker is neither true nor false" : "the side is neither buy nor sell");
    event->side = buy ? EVENT_TAKER_BUY : EVENT_TAKER_SELL;
    return ERR_OK;
}

static enum err take_column(struct import_reader *reader, enum csv_column kind, struct slice field, struct diag *diag,
                            struct event *event) {
    struct decimal d;
    enum err err = ERR_OK;
    switch (kind) {
        case COLUMN_TIME: return column_time(reader, field, diag, &event->time_ms);
        case COLUMN_PRICE:
            err = column_decimal(field, "price", diag, &d);
            if (err == ERR_OK) event->price = d.mantissa, event->price_scale = d.scale;
            return err;
        case COLUMN_QUANTITY:
            err = column_decimal(field, "quantity", diag, &d);
            if (err == ERR_OK) event->quantity = d.mantissa, event->quantity_scale = d.scale;
            return err;
        case COLUMN_ID:
            err = column_id(field, diag, &event->first_id);
            event->last_id = event->first_id;
            return err;
        case COLUMN_FIRST_ID: event->kind = EVENT_AGGREGATED_TRADE; return column_id(field, diag, &event->first_id);
        case COLUMN_LAST_ID: return column_id(field, diag, &event->last_id);
        case COLUMN_SIDE: return column_side(field, false, diag, event);
        case COLUMN_MAKER: return column_side(field, true, diag, event);
        case COLUMN_SYMBOL: return market_series(&reader->market, field, diag, &event->series);
        case COLUMN_NONE:
        case COLUMN_COUNT: break;
    }
    return ERR_OK;
}

static enum err csv_line(struct import_reader *reader, struct slice *source, struct diag *diag, struct event *ret_event,
                         struct import_item *ret_item, enum line_kind *ret_kind) {
    (void)ret_item;
    struct slice fields[IMPORT_FIELDS_MAX];
    struct event event = {.kind = EVENT_TRADE, .first_id = -1, .last_id = -1, .series = reader->series};
    uint32_t count = 0, time = 0;
    enum err err = split(reader, *source, diag, fields, &count);
    if (err != ERR_OK) return err;
    while (reader->column_kinds[time] != COLUMN_TIME) time++;
    *ret_kind = LINE_NOTHING;
    if (reader->first_row && time < count && is_header(reader, fields, time)) return ERR_OK;
    if (count != reader->column_count)
        return diag_set(diag, ERR_SYNTAX, "the row has %u columns; %u are expected", count, reader->column_count);
    uint32_t series = event.series;
    for (uint32_t i = 0; i < count; i++) { /* the symbol last, so that a bad row leaves no series behind */
        if (reader->column_kinds[i] == COLUMN_SYMBOL) continue;
        if ((err = take_column(reader, (enum csv_column)reader->column_kinds[i], fields[i], diag, &event)) != ERR_OK)
            return err;
    }
    if (!market_trade_holds(&event)) return market_trade_error(&event, diag);
    for (uint32_t i = 0; series == SERIES_NONE && i < count; i++)
        if (reader->column_kinds[i] == COLUMN_SYMBOL &&
            (err = take_column(reader, COLUMN_SYMBOL, fields[i], diag, &event)) != ERR_OK)
            return err;
    *ret_event = event;
    *ret_kind = LINE_EVENT;
    return ERR_OK;
}

const struct import_ops import_aggtrades_ops = {.batch = aggtrades_batch, .line = aggtrades_line};
const struct import_ops import_trades_ops = {.batch = trades_batch, .line = trades_line};
const struct import_ops import_klines_ops = {.line = klines_line};
const struct import_ops import_csv_ops = {.line = csv_line};
