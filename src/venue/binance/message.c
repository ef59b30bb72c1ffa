#include <assert.h>
#include <stdlib.h>

#include "codec/shape.h"
#include "venue/binance/binance.h"

enum { SHAPES_MAX = 4 };

enum tag {
    TAG_PASS, /* of no matter here, yet valid */
    TAG_SYMBOL,
    TAG_PRICE,
    TAG_QUANTITY,
    TAG_ID,
    TAG_FIRST,
    TAG_LAST,
    TAG_TIME,
    TAG_MAKER
};

struct remembered {
    struct shape shape;
    bool aggregated;
    bool filtered;
};

struct binance_decoder {
    struct market *market;
    struct json_parser *parser;
    struct remembered shapes[SHAPES_MAX];
    uint32_t shape_count, shape_recent, shape_oldest;
};

enum err binance_decoder_open(struct market *market, struct binance_decoder **ret_decoder) {
    struct binance_decoder *decoder = calloc(1, sizeof *decoder);
    if (decoder == NULL) return ERR_NO_MEMORY;
    decoder->market = market;
    enum err err = json_parser_open(NULL, &decoder->parser);
    if (err != ERR_OK) {
        free(decoder);
        return err;
    }
    *ret_decoder = decoder;
    return ERR_OK;
}

void binance_decoder_close(struct binance_decoder **decoder) {
    if (decoder == NULL || *decoder == NULL) return;
    json_parser_close(&(*decoder)->parser);
    free(*decoder);
    *decoder = NULL;
}

/* --- the general way --- */

/* The inner object, or NULL if this is no event: a subscription's answer, an array of tickers, a book snapshot. */
static const struct json_value *payload_of(const struct json_value *root) {
    const struct json_value *data = json_member(root, "data");
    if (json_member(root, "stream") == NULL || data == NULL) data = root;
    return json_type_of(data) == JSON_OBJECT ? data : NULL;
}

static bool is_kind(const struct json_value *kind, const char *name) {
    return kind != NULL && json_type_of(kind) == JSON_STRING && slice_equal(json_text(kind), slice_text(name));
}

static enum err read_ids(const struct json_value *o, bool aggregated, struct diag *diag, struct event *event) {
    enum err err = market_i64(o, aggregated ? "f" : "t", diag, &event->first_id);
    if (err == ERR_OK) err = market_i64(o, aggregated ? "l" : "t", diag, &event->last_id);
    return err;
}

/* Futures' trades say what they are in "X"; insurance fund and auto-deleveraging are no market trades, and aggregated trades
 * leave them out, so their ids are holes there. */
static bool is_filtered(const struct json_value *object) {
    const struct json_value *kind = json_member(object, "X");
    return kind != NULL && !is_kind(kind, "MARKET");
}

static enum err read_trade(struct binance_decoder *decoder, const struct json_value *o, bool aggregated,
                           struct diag *diag, struct event *ret_event) {
    struct event event = {.kind = aggregated ? EVENT_AGGREGATED_TRADE : EVENT_TRADE};
    struct decimal price = {0, 0}, quantity = {0, 0};
    struct slice symbol;
    bool maker = false;
    enum err err = market_text(o, "s", diag, &symbol);
    if (err == ERR_OK) err = market_decimal(o, "p", diag, &price);
    if (err == ERR_OK) err = market_decimal(o, "q", diag, &quantity);
    if (err == ERR_OK) err = read_ids(o, aggregated, diag, &event);
    if (err == ERR_OK) err = market_time(o, "T", diag, &event.time_ms);
    if (err == ERR_OK) err = market_boolean(o, "m", diag, &maker);
    if (err != ERR_OK) return err;
    event.price = price.mantissa;
    event.price_scale = price.scale;
    event.quantity = quantity.mantissa;
    event.quantity_scale = quantity.scale;
    event.side = maker ? EVENT_TAKER_SELL : EVENT_TAKER_BUY;
    event.filtered = is_filtered(o);
    if (!market_trade_holds(&event) || event.first_id < 0) return market_trade_error(&event, diag);
    err = market_series(decoder->market, symbol, diag, &event.series);
    if (err == ERR_OK) *ret_event = event;
    return err;
}

static enum err read_kline_numbers(const struct json_value *k, struct diag *diag, struct candle *c) {
    enum err err = market_time(k, "t", diag, &c->open_time_ms);
    if (err == ERR_OK) err = market_time(k, "T", diag, &c->close_time_ms);
    if (err == ERR_OK) err = market_decimal(k, "o", diag, &c->open);
    if (err == ERR_OK) err = market_decimal(k, "h", diag, &c->high);
    if (err == ERR_OK) err = market_decimal(k, "l", diag, &c->low);
    if (err == ERR_OK) err = market_decimal(k, "c", diag, &c->close);
    if (err == ERR_OK) err = market_decimal(k, "v", diag, &c->volume);
    if (err == ERR_OK) err = market_decimal(k, "q", diag, &c->quote_volume);
    if (err == ERR_OK) err = market_decimal(k, "V", diag, &c->taker_buy_volume);
    if (err == ERR_OK) err = market_decimal(k, "Q", diag, &c->taker_buy_quote_volume);
    if (err == ERR_OK) err = market_i64(k, "n", diag, &c->trades);
    if (err == ERR_OK) err = market_i64(k, "f", diag, &c->first_id);
    if (err == ERR_OK) err = market_i64(k, "L", diag, &c->last_id);
    return err;
}

static enum err read_kline(struct binance_decoder *decoder, const struct json_value *o, struct diag *diag,
                           struct import_push *push, uint32_t *ret_series) {
    struct slice symbol, interval;
    const struct json_value *k = json_member(o, "k");
    *push = (struct import_push){.candle = {.basis = BASIS_KLINES, .last_offset = -1}};
    if (k == NULL) return diag_set(diag, ERR_MISSING, "the field \"k\" is missing");
    enum err err = market_time(o, "E", diag, &push->event_ms);
    if (err == ERR_OK) err = market_text(k, "s", diag, &symbol);
    if (err == ERR_OK) err = market_text(k, "i", diag, &interval);
    if (err == ERR_OK) err = read_kline_numbers(k, diag, &push->candle);
    if (err == ERR_OK) err = market_boolean(k, "x", diag, &push->closed);
    if (err != ERR_OK) return err;
    int64_t interval_ms = binance_interval_ms(interval);
    if (interval_ms < 0 || interval.size >= sizeof push->interval)
        return diag_set(diag, ERR_SYNTAX, "\"%.*s\" is no interval", SLICE_PRINT(interval));
    if (symbol.size >= sizeof push->symbol) return diag_set(diag, ERR_SYNTAX, "a symbol is too long");
    memcpy(push->symbol, symbol.data, symbol.size);
    memcpy(push->interval, interval.data, interval.size);
    push->interval_ms = (uint32_t)interval_ms;
    push->candle.native_ms = (uint32_t)interval_ms;
    push->candle.final = push->closed ? CANDLE_FINAL_CLOCK : CANDLE_OPEN;
    return market_series(decoder->market, symbol, diag, ret_series);
}

static enum err decode_root(struct binance_decoder *decoder, const struct json_value *root, struct diag *diag,
                            struct event *ret_event, struct import_push *push, uint32_t *ret_series,
                            enum binance_kind *ret_kind) {
    const struct json_value *data = payload_of(root);
    const struct json_value *kind = data == NULL ? NULL : json_member(data, "e");
    bool aggregated = is_kind(kind, "aggTrade");
    enum err err = ERR_OK;
    enum binance_kind found = BINANCE_OTHER;
    if (aggregated || is_kind(kind, "trade")) {
        err = read_trade(decoder, data, aggregated, diag, ret_event);
        found = BINANCE_TRADE;
    } else if (push != NULL && is_kind(kind, "kline")) {
        err = read_kline(decoder, data, diag, push, ret_series);
        found = BINANCE_KLINE;
    }
    if (err == ERR_OK) *ret_kind = found;
    return err;
}

enum err binance_decode_general(struct binance_decoder *decoder, struct slice text, struct diag *diag,
                                struct event *ret_event, struct import_push *push, uint32_t *ret_series,
                                enum binance_kind *ret_kind) {
    const struct json_value *root = NULL;
    enum err err = json_parse(decoder->parser, text, diag, &root);
    return err == ERR_OK ? decode_root(decoder, root, diag, ret_event, push, ret_series, ret_kind) : err;
}

/* --- remembering --- */

struct learning {
    const struct json_value *data; /* the inner object */
    bool wrapped;
    bool aggregated;
};

static int tag_of_member(const struct learning *l, const struct json_value *value) {
    struct slice key = json_key(value);
    enum json_type type = json_type_of(value);
    if (key.size != 1 || type == JSON_ARRAY || type == JSON_OBJECT || type == JSON_NULL) return SHAPE_NONE;
    switch (key.data[0]) {
        case 'e':
        case 'X': return SHAPE_FIXED;
        case 's': return TAG_SYMBOL;
        case 'p': return TAG_PRICE;
        case 'q': return TAG_QUANTITY;
        case 't': return l->aggregated ? TAG_PASS : TAG_ID;
        case 'f': return l->aggregated ? TAG_FIRST : TAG_PASS;
        case 'l': return l->aggregated ? TAG_LAST : TAG_PASS;
        case 'T': return TAG_TIME;
        case 'm': return TAG_MAKER;
        default: return TAG_PASS;
    }
}

static int tag_of(void *context, uint32_t depth, const struct json_value *value) {
    const struct learning *l = context;
    if (l->wrapped && depth == 1) {
        if (value == l->data) return TAG_PASS; /* its members are asked for next */
        return slice_equal(json_key(value), SLICE("stream")) ? TAG_PASS : SHAPE_NONE;
    }
    return tag_of_member(l, value);
}

static void remember(struct binance_decoder *decoder, const struct json_value *root, const struct event *event) {
    struct remembered new = {.aggregated = event->kind == EVENT_AGGREGATED_TRADE, .filtered = event->filtered};
    struct learning learning = {.data = payload_of(root), .aggregated = new.aggregated};
    learning.wrapped = learning.data != root;
    if (!shape_learn(&new.shape, root, tag_of, &learning)) return;
    for (uint32_t i = 0; i < decoder->shape_count; i++)
        if (shape_same(&decoder->shapes[i].shape, &new.shape)) return;
    uint32_t place = decoder->shape_count < SHAPES_MAX ? decoder->shape_count++ : decoder->shape_oldest++ % SHAPES_MAX;
    decoder->shapes[place] = new;
    decoder->shape_recent = place;
}

/* --- the remembered way --- */

static bool match_slot(const struct market *market, const struct shape_slot *slot, const uint8_t **at,
                       const uint8_t *end, struct event *e) {
    unsigned size;
    scan_pair symbol;
    bool maker;
    int64_t time;
    switch ((enum tag)slot->tag) {
        case TAG_PASS: return shape_pass_value(slot, at, end);
        case TAG_SYMBOL:
            if (!scan_name(*at, &size, &symbol)) return false;
            *at += size;
            e->series = market_series_known(market, symbol);
            return e->series != SERIES_NONE;
        case TAG_PRICE: return shape_decimal(at, end, &e->price, &e->price_scale);
        case TAG_QUANTITY: return shape_decimal(at, end, &e->quantity, &e->quantity_scale);
        case TAG_ID:
            if (!scan_u63(at, &e->first_id)) return false;
            e->last_id = e->first_id;
            return true;
        case TAG_FIRST: return scan_u63(at, &e->first_id);
        case TAG_LAST: return scan_u63(at, &e->last_id);
        case TAG_TIME: return scan_u63(at, &time) && market_time_ms(time, &e->time_ms);
        case TAG_MAKER:
            if (slot->kind != SHAPE_BOOLEAN || !shape_boolean(at, &maker)) return false;
            e->side = maker ? EVENT_TAKER_SELL : EVENT_TAKER_BUY;
            return true;
    }
    return false;
}

static bool match_shape(const struct binance_decoder *decoder, const struct remembered *known, struct slice text,
                        struct event *ret_event) {
    const uint8_t *p = text.data, *end = text.data + text.size;
    const struct shape_slot *slots = known->shape.slots;
    *ret_event =
        (struct event){.kind = known->aggregated ? EVENT_AGGREGATED_TRADE : EVENT_TRADE, .filtered = known->filtered};
    for (uint32_t i = 0; i < known->shape.count; i++) {
        if (!shape_literal(&slots[i], &p) || p >= end) return false;
        if (!match_slot(decoder->market, &slots[i], &p, end, ret_event) || p >= end) return false;
    }
    return shape_literal(&known->shape.tail, &p) && p == end && market_trade_holds(ret_event);
}

static bool match_any(struct binance_decoder *decoder, struct slice text, struct event *ret_event) {
    if (decoder->shape_count == 0 || text.size == 0) return false;
    if (match_shape(decoder, &decoder->shapes[decoder->shape_recent], text, ret_event)) return true;
    for (uint32_t i = 0; i < decoder->shape_count; i++) {
        if (i == decoder->shape_recent || !match_shape(decoder, &decoder->shapes[i], text, ret_event)) continue;
        decoder->shape_recent = i;
        return true;
    }
    return false;
}

enum err binance_decode(struct binance_decoder *decoder, struct slice text, struct diag *diag, struct event *ret_event,
                        struct import_push *push, uint32_t *ret_series, enum binance_kind *ret_kind) {
    assert(decoder != NULL && ret_event != NULL && ret_kind != NULL);
    struct event event;
    if (match_any(decoder, text, &event)) {
        *ret_event = event;
        *ret_kind = BINANCE_TRADE;
        return ERR_OK;
    }
    const struct json_value *root = NULL;
    enum err err = json_parse(decoder->parser, text, diag, &root);
    if (err == ERR_OK) err = decode_root(decoder, root, diag, ret_event, push, ret_series, ret_kind);
    if (err == ERR_OK && *ret_kind == BINANCE_TRADE) remember(decoder, root, ret_event);
    return err;
}
