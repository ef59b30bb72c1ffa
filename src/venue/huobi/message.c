#include <assert.h>
#include <stdlib.h>
#include <zlib.h>

#include "venue/huobi/huobi.h"

struct huobi_decoder {
    struct market *market;
    struct json_parser *parser;
    struct buf plain; /* an unpacked frame */
    struct slice text;
    z_stream inflate;
    bool inflate_open;
};

enum err huobi_decoder_open(struct market *market, struct huobi_decoder **ret_decoder) {
    struct huobi_decoder *decoder = calloc(1, sizeof *decoder);
    if (decoder == NULL) return ERR_NO_MEMORY;
    decoder->market = market;
    buf_init(&decoder->plain, HUOBI_FRAME_MAX);
    /* The inner ids of 26 digits and quantities of 37 are within JSON_NUMBER_MAX; nothing reads the former. */
    enum err err = json_parser_open(NULL, &decoder->parser);
    decoder->inflate_open = err == ERR_OK && inflateInit2(&decoder->inflate, 16 + MAX_WBITS) == Z_OK;
    if (!decoder->inflate_open) {
        huobi_decoder_close(&decoder);
        return ERR_NO_MEMORY;
    }
    *ret_decoder = decoder;
    return ERR_OK;
}

void huobi_decoder_close(struct huobi_decoder **decoder) {
    if (decoder == NULL || *decoder == NULL) return;
    if ((*decoder)->inflate_open) inflateEnd(&(*decoder)->inflate);
    json_parser_close(&(*decoder)->parser);
    buf_deinit(&(*decoder)->plain);
    free(*decoder);
    *decoder = NULL;
}

struct slice huobi_text(const struct huobi_decoder *decoder) {
    return decoder->text;
}

static enum err unpack(struct huobi_decoder *decoder, struct slice frame, struct diag *diag) {
    enum { PIECE = 16 * 1024 };
    z_stream *z = &decoder->inflate;
    if (inflateReset(z) != Z_OK) return ERR_NO_MEMORY;
    if (frame.size > HUOBI_FRAME_MAX) return diag_set(diag, ERR_TOO_LARGE, "a frame of %zu bytes", frame.size);
    buf_clear(&decoder->plain);
    z->next_in = (Bytef *)frame.data;
    z->avail_in = (uInt)frame.size;
    int result = Z_OK;
    while (result == Z_OK) {
        z->next_out = buf_reserve(&decoder->plain, PIECE);
        if (z->next_out == NULL) return diag_set(diag, ERR_TOO_LARGE, "a frame that unpacks to more than 4 MiB");
        z->avail_out = PIECE;
        result = inflate(z, Z_NO_FLUSH);
        buf_commit(&decoder->plain, PIECE - z->avail_out);
    }
    if (result == Z_MEM_ERROR) return ERR_NO_MEMORY;
    if (result != Z_STREAM_END || z->avail_in != 0) return diag_set(diag, ERR_SYNTAX, "the gzip frame is damaged");
    decoder->text = buf_slice(&decoder->plain);
    return ERR_OK;
}

/* "market.btcusdt.trade.detail" -> "btcusdt"; false for every other channel. */
static bool symbol_of(struct slice channel, struct slice *ret_symbol) {
    static const char head[] = "market.", tail[] = ".trade.detail";
    size_t head_size = sizeof head - 1, tail_size = sizeof tail - 1;
    if (channel.size <= head_size + tail_size || memcmp(channel.data, head, head_size) != 0) return false;
    if (memcmp(channel.data + channel.size - tail_size, tail, tail_size) != 0) return false;
    *ret_symbol = slice_of(channel.data + head_size, channel.size - head_size - tail_size);
    return memchr(ret_symbol->data, '.', ret_symbol->size) == NULL;
}

static enum err read_side(const struct json_value *trade, struct diag *diag, struct event *event) {
    struct slice side;
    enum err err = market_text(trade, "direction", diag, &side);
    if (err != ERR_OK) return err;
    if (slice_equal(side, SLICE("buy")))
        event->side = EVENT_TAKER_BUY;
    else if (slice_equal(side, SLICE("sell")))
        event->side = EVENT_TAKER_SELL;
    else
        return diag_set(diag, ERR_RANGE, "the direction is neither buy nor sell");
    return ERR_OK;
}

/* Spot numbers its trades in "tradeId", swaps in "id". The amount is of the base asset on spot; of swaps it is contracts,
 * and linear ones give the base asset in "quantity". */
static enum err read_trade(struct huobi_decoder *decoder, const struct json_value *trade, struct diag *diag,
                           struct event *ret_event) {
    struct event event = {.kind = EVENT_TRADE};
    struct decimal price = {0, 0}, quantity = {0, 0};
    bool linear = strcmp(decoder->market->venue, "huobi-linear") == 0 && json_member(trade, "quantity") != NULL;
    const char *id = json_member(trade, "tradeId") != NULL ? "tradeId" : "id";
    if (json_type_of(trade) != JSON_OBJECT) return diag_set(diag, ERR_TYPE, "a trade must be an object");
    enum err err = market_decimal(trade, "price", diag, &price);
    if (err == ERR_OK) err = market_decimal(trade, linear ? "quantity" : "amount", diag, &quantity);
    if (err == ERR_OK) err = market_i64(trade, id, diag, &event.first_id);
    if (err == ERR_OK) err = market_time(trade, "ts", diag, &event.time_ms);
    if (err == ERR_OK) err = read_side(trade, diag, &event);
    if (err != ERR_OK) return err;
    event.last_id = event.first_id;
    event.price = price.mantissa;
    event.price_scale = price.scale;
    event.quantity = quantity.mantissa;
    event.quantity_scale = quantity.scale;
    if (!market_trade_holds(&event) || event.first_id < 0) return market_trade_error(&event, diag);
    *ret_event = event;
    return ERR_OK;
}

static int by_id(const void *a, const void *b) {
    int64_t x = ((const struct event *)a)->first_id, y = ((const struct event *)b)->first_id;
    return (x > y) - (x < y);
}

/* One bad trade condemns its message: a message is what is logged, and it has one fate. */
static enum err read_trades(struct huobi_decoder *decoder, const struct json_value *root, struct slice symbol,
                            struct diag *diag, struct event *events, uint32_t max, uint32_t *ret_count) {
    const struct json_value *data = json_member(json_member(root, "tick"), "data");
    if (data == NULL || json_type_of(data) != JSON_ARRAY)
        return diag_set(diag, ERR_MISSING, "the list \"tick.data\" is missing");
    if (json_count(data) > max) return diag_set(diag, ERR_TOO_LARGE, "more than %u trades in a message", max);
    uint32_t count = 0, series = SERIES_NONE;
    for (const struct json_value *v = json_first(data); v != NULL; v = json_next(v)) {
        enum err err = read_trade(decoder, v, diag, &events[count]);
        if (err != ERR_OK) return err;
        count++;
    }
    enum err err = count == 0 ? ERR_OK : market_series(decoder->market, symbol, diag, &series);
    if (err != ERR_OK) return err;
    for (uint32_t i = 0; i < count; i++) events[i].series = series;
    qsort(events, count, sizeof *events, by_id);
    *ret_count = count;
    return ERR_OK;
}

enum err huobi_decode(struct huobi_decoder *decoder, struct slice message, struct diag *diag, struct event *events,
                      uint32_t max, uint32_t *ret_count) {
    assert(decoder != NULL && events != NULL && ret_count != NULL);
    bool packed = message.size >= 2 && message.data[0] == 0x1F && message.data[1] == 0x8B;
    decoder->text = packed ? SLICE_NONE : message;
    enum err err = packed ? unpack(decoder, message, diag) : ERR_OK;
    if (err != ERR_OK) return err;
    const struct json_value *root = NULL;
    err = json_parse(decoder->parser, decoder->text, diag, &root);
    if (err != ERR_OK) return err;
    const struct json_value *channel = json_member(root, "ch");
    struct slice symbol;
    bool trades = channel != NULL && json_type_of(channel) == JSON_STRING && symbol_of(json_text(channel), &symbol);
    if (!trades) {
        *ret_count = 0;
        return ERR_OK;
    }
    return read_trades(decoder, root, symbol, diag, events, max, ret_count);
}
