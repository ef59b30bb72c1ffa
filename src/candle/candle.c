#include "candle/candle.h"

#include <assert.h>

const char *const candle_basis_name[BASIS_COUNT] = {"trades", "aggregated", "klines", "prices"};
const char *const candle_coverage_name[4] = {"unknown", "partial", "quiet", "traded"};
const char *const candle_reason_name[4] = {"", "late", "repair", "correction"};

/* --- roll-ups --- */

static void merge_prices(struct candle *sum, const struct candle *next) {
    bool sum_flat = candle_is_flat(sum), next_flat = candle_is_flat(next);
    if (next_flat && !sum_flat) return;
    if (sum_flat && !next_flat) {
        sum->open = next->open;
        sum->high = next->high;
        sum->low = next->low;
        sum->open_mark = next->open_mark;
    } else {
        if (decimal_compare(next->high, sum->high) > 0) sum->high = next->high;
        if (decimal_compare(next->low, sum->low) < 0) sum->low = next->low;
    }
    sum->close = next->close;
    sum->close_mark = next->close_mark;
}

static uint8_t merge_coverage(uint8_t a, uint8_t b) {
    if (a == b) return a;
    return a >= COVERAGE_QUIET && b >= COVERAGE_QUIET ? COVERAGE_TRADED : COVERAGE_PARTIAL;
}

/* Open is weaker than the clock's word, and that is weaker than proof. */
static uint8_t merge_final(uint8_t a, uint8_t b) {
    if (a == CANDLE_OPEN || b == CANDLE_OPEN) return CANDLE_OPEN;
    return a > b ? a : b;
}

static uint32_t add_saturated(uint32_t a, uint32_t b) { return a > UINT32_MAX - b ? UINT32_MAX : a + b; }

void candle_merge_knowledge(struct candle *sum, const struct candle *next) {
    if (sum->first_id < 0) sum->first_id = next->first_id;
    if (next->last_id >= 0) sum->last_id = next->last_id;
    if (next->last_offset > sum->last_offset) sum->last_offset = next->last_offset;
    if (next->native_ms > sum->native_ms) sum->native_ms = next->native_ms;
    if (next->basis > sum->basis) sum->basis = next->basis;
    if (next->reason != REASON_NONE) sum->reason = next->reason;
    sum->hash += next->hash;
    sum->revision = add_saturated(sum->revision, next->revision);
    sum->covered_minutes = add_saturated(sum->covered_minutes, next->covered_minutes);
    sum->coverage = merge_coverage(sum->coverage, next->coverage);
    sum->final = merge_final(sum->final, next->final);
    sum->conflict |= next->conflict;
}

struct volumes {
    struct decimal volume, quote, taker_volume, taker_quote;
    int64_t trades;
};

static enum err add_volumes(const struct candle *a, const struct candle *b, struct volumes *ret_sum) {
    enum err err = decimal_add(a->volume, b->volume, &ret_sum->volume);
    if (err == ERR_OK) err = decimal_add(a->quote_volume, b->quote_volume, &ret_sum->quote);
    if (err == ERR_OK) err = decimal_add(a->taker_buy_volume, b->taker_buy_volume, &ret_sum->taker_volume);
    if (err == ERR_OK) err = decimal_add(a->taker_buy_quote_volume, b->taker_buy_quote_volume, &ret_sum->taker_quote);
    if (err == ERR_OK && __builtin_add_overflow(a->trades, b->trades, &ret_sum->trades)) err = ERR_PRECISION;
    return err;
}

enum err candle_merge(struct candle *sum, const struct candle *next) {
    assert(next->open_time_ms >= sum->open_time_ms);
    struct volumes volumes;
    enum err err = add_volumes(sum, next, &volumes);
    if (err != ERR_OK) return err;
    merge_prices(sum, next);
    candle_merge_knowledge(sum, next);
    sum->volume = volumes.volume;
    sum->quote_volume = volumes.quote;
    sum->taker_buy_volume = volumes.taker_volume;
    sum->taker_buy_quote_volume = volumes.taker_quote;
    sum->trades = volumes.trades;
    return ERR_OK;
}

/* --- rendering --- */

/* Room is reserved once a row, so that fields are written without a check each. */
enum { ROW_TEXT_MAX = 1024 };

#define PUT(to, literal) ((char *)memcpy((to), (literal), sizeof(literal) - 1) + sizeof(literal) - 1)

static char *put_text(char *to, const char *text) {
    size_t size = strlen(text);
    return (char *)memcpy(to, text, size) + size;
}

static char *put_decimal(char *to, struct decimal value) {
    if (value.mantissa == 0) {
        *to = '0';
        return to + 1;
    }
    return to + decimal_format(value, to);
}

static char *put_int(char *to, int64_t value) {
    if (value < 0 || value > 9) return to + decimal_format(decimal_of(value), to);
    *to = (char)('0' + value);
    return to + 1;
}

static char *put_hash(char *to, uint64_t hash) {
    for (int i = 16; i-- > 0; hash >>= 4) to[i] = "0123456789abcdef"[hash & 15];
    return to + 16;
}

static char *put_length(char *to, uint32_t ms) {
    static const struct {
        uint32_t ms;
        char unit;
    } units[] = {{86400000, 'd'}, {3600000, 'h'}, {60000, 'm'}, {1000, 's'}};
    for (unsigned i = 0; i < 4; i++) {
        if (ms % units[i].ms != 0) continue;
        to = put_int(to, ms / units[i].ms);
        *to++ = units[i].unit;
        return to;
    }
    return PUT(put_int(to, ms), "ms");
}

/* Names hold no control bytes, but nothing forbids a quote. */
static char *put_json_text(char *to, const char *text) {
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') *to++ = '\\';
        *to++ = *text;
    }
    return to;
}

static bool has_volumes(const struct candle *c) {
    return (c->volume.mantissa | c->quote_volume.mantissa | c->taker_buy_volume.mantissa |
            c->taker_buy_quote_volume.mantissa) != 0;
}

static char *put_json_prices(char *to, const struct candle *c) {
    to = put_decimal(PUT(to, ",\"open\":\""), c->open);
    to = put_decimal(PUT(to, "\",\"high\":\""), c->high);
    to = put_decimal(PUT(to, "\",\"low\":\""), c->low);
    to = put_decimal(PUT(to, "\",\"close\":\""), c->close);
    if (!has_volumes(c)) {
        to = put_int(PUT(to, "\",\"volume\":\"0\",\"quote_volume\":\"0\",\"trades\":"), c->trades);
        return PUT(to, ",\"taker_buy_volume\":\"0\",\"taker_buy_quote_volume\":\"0\"");
    }
    to = put_decimal(PUT(to, "\",\"volume\":\""), c->volume);
    to = put_decimal(PUT(to, "\",\"quote_volume\":\""), c->quote_volume);
    to = put_int(PUT(to, "\",\"trades\":"), c->trades);
    to = put_decimal(PUT(to, ",\"taker_buy_volume\":\""), c->taker_buy_volume);
    to = put_decimal(PUT(to, "\",\"taker_buy_quote_volume\":\""), c->taker_buy_quote_volume);
    return PUT(to, "\"");
}

/* Short names are copied whole and counted. */
struct name {
    char text[16];
    uint8_t size;
};
#define NAME(text) \
    { text, sizeof(text) - 1 }
static const struct name coverage_names[4] = {NAME("unknown"), NAME("partial"), NAME("quiet"), NAME("traded")};
static const struct name basis_names[BASIS_COUNT] = {NAME("trades"), NAME("aggregated"), NAME("klines"),
                                                     NAME("prices")};

static char *put_known(char *to, const struct name *name) {
    return (char *)memcpy(to, name->text, sizeof name->text) + name->size;
}

static char *put_json_knowledge(char *to, const struct candle *c) {
    to = put_int(PUT(to, ",\"first_id\":"), c->first_id);
    to = put_int(PUT(to, ",\"last_id\":"), c->last_id);
    to = put_known(PUT(to, ",\"coverage\":\""), &coverage_names[c->coverage]);
    const bool minutes = c->close_time_ms - c->open_time_ms >= 59999; /* less holds no whole one */
    to = put_int(PUT(to, "\",\"covered_minutes\":"), minutes ? c->covered_minutes : 0);
    to = put_known(PUT(to, ",\"basis\":\""), &basis_names[c->basis]);
    to = c->final == CANDLE_OPEN ? PUT(to, "\",\"final\":false") : PUT(to, "\",\"final\":true");
    to = put_int(PUT(to, ",\"revision\":"), c->revision);
    if (c->reason != REASON_NONE) to = PUT(put_text(PUT(to, ",\"reason\":\""), candle_reason_name[c->reason]), "\"");
    if (c->conflict) to = PUT(to, ",\"conflict\":true");
    to = put_length(PUT(to, ",\"native_interval\":\""), c->native_ms);
    if (c->basis == BASIS_KLINES) return PUT(to, "\",\"hash\":null");
    return PUT(put_hash(PUT(to, "\",\"hash\":\""), c->hash), "\"");
}

static void check_names(const struct candle *c) {
    assert(c->basis < BASIS_COUNT && c->coverage <= COVERAGE_TRADED && c->reason <= REASON_CORRECTION);
}

void candle_json_head(const struct candle_style *style, struct candle_head *ret_head) {
    assert(2 * (strlen(style->series) + strlen(style->interval)) + 64 <= sizeof ret_head->text);
    char *to = put_json_text(PUT(ret_head->text, "{\"series\":\""), style->series);
    to = put_json_text(PUT(to, "\",\"interval\":\""), style->interval);
    to = PUT(to, "\",\"open_time\":");
    ret_head->size = (size_t)(to - ret_head->text);
}

void candle_to_json_after(struct buf *out, const struct candle_head *head, const struct candle *candle) {
    check_names(candle);
    char *first = (char *)buf_reserve(out, ROW_TEXT_MAX + head->size);
    if (first == NULL) return;
    char *to = (char *)memcpy(first, head->text, head->size) + head->size;
    to = put_int(to, candle->open_time_ms);
    to = put_int(PUT(to, ",\"close_time\":"), candle->close_time_ms);
    to = put_json_prices(to, candle);
    to = put_json_knowledge(to, candle);
    *to++ = '}';
    assert((size_t)(to - first) <= ROW_TEXT_MAX + head->size);
    buf_commit(out, (size_t)(to - first));
}

void candle_to_json(struct buf *out, const struct candle_style *style, const struct candle *candle) {
    struct candle_head head;
    candle_json_head(style, &head);
    candle_to_json_after(out, &head, candle);
}

void candle_csv_header(struct buf *out) {
    buf_put(out, SLICE("open_time,open,high,low,close,volume,close_time,quote_volume,trades,taker_buy_volume,"
                       "taker_buy_quote_volume,first_id,last_id,coverage,basis,final,revision,hash\n"));
}

static char *put_column(char *to, struct decimal value) {
    to = put_decimal(to, value);
    *to++ = ',';
    return to;
}

static char *put_int_column(char *to, int64_t value) {
    to = put_int(to, value);
    *to++ = ',';
    return to;
}

void candle_to_csv(struct buf *out, const struct candle *c) {
    check_names(c);
    char *first = (char *)buf_reserve(out, ROW_TEXT_MAX);
    if (first == NULL) return;
    char *to = put_int_column(first, c->open_time_ms);
    to = put_column(put_column(put_column(put_column(to, c->open), c->high), c->low), c->close);
    to = put_int_column(put_column(to, c->volume), c->close_time_ms);
    to = put_int_column(put_column(to, c->quote_volume), c->trades);
    to = put_column(put_column(to, c->taker_buy_volume), c->taker_buy_quote_volume);
    to = put_int_column(put_int_column(to, c->first_id), c->last_id);
    to = PUT(put_text(to, candle_coverage_name[c->coverage]), ",");
    to = PUT(put_text(to, candle_basis_name[c->basis]), ",");
    to = c->final == CANDLE_OPEN ? PUT(to, "false,") : PUT(to, "true,");
    to = put_int_column(to, c->revision);
    if (c->basis != BASIS_KLINES) to = put_hash(to, c->hash);
    *to++ = '\n';
    assert((size_t)(to - first) <= ROW_TEXT_MAX);
    buf_commit(out, (size_t)(to - first));
}
