#include <assert.h>

#include "venue/binance/binance.h"
#include "venue/huobi/huobi.h"

/* Messages that may have a remembered shape are short; they are copied to where there are readable bytes behind them. */
enum { SHORT_MESSAGE_MAX = 1024 };

struct venue_decoder {
    uint8_t padded[SHORT_MESSAGE_MAX + INPUT_PADDING_BYTES];
    struct market market;
    struct binance_decoder *binance; /* one of them */
    struct huobi_decoder *huobi;
};

static bool is_binance(const char *venue) { return strncmp(venue, "binance", 7) == 0; }
static bool is_huobi(const char *venue) { return strncmp(venue, "huobi", 5) == 0; }

bool venue_is_known(const char *venue) {
    size_t size = strlen(venue);
    return size < MARKET_VENUE_MAX && strspn(venue, "abcdefghijklmnopqrstuvwxyz0123456789-_") == size &&
           (is_binance(venue) || is_huobi(venue));
}

enum err venue_decoder_open(const char *venue, struct series_table *series, struct venue_decoder **ret_decoder) {
    assert(venue != NULL && series != NULL && ret_decoder != NULL);
    struct venue_decoder *decoder = calloc(1, sizeof *decoder);
    if (decoder == NULL) return ERR_NO_MEMORY;
    enum err err = market_init(&decoder->market, series, venue);
    if (err == ERR_OK) {
        if (is_binance(decoder->market.venue))
            err = binance_decoder_open(&decoder->market, &decoder->binance);
        else if (is_huobi(decoder->market.venue))
            err = huobi_decoder_open(&decoder->market, &decoder->huobi);
        else
            err = ERR_UNKNOWN;
    }
    if (err != ERR_OK) {
        venue_decoder_close(&decoder);
        return err;
    }
    *ret_decoder = decoder;
    return ERR_OK;
}

void venue_decoder_close(struct venue_decoder **decoder) {
    if (decoder == NULL || *decoder == NULL) return;
    binance_decoder_close(&(*decoder)->binance);
    huobi_decoder_close(&(*decoder)->huobi);
    market_deinit(&(*decoder)->market);
    free(*decoder);
    *decoder = NULL;
}

enum err venue_decode(struct venue_decoder *decoder, struct slice message, struct diag *diag, struct event *events,
                      uint32_t max, uint32_t *ret_count) {
    assert(decoder != NULL && events != NULL && max > 0 && ret_count != NULL);
    if (decoder->huobi != NULL) {
        uint32_t count = 0;
        enum err err = huobi_decode(decoder->huobi, message, diag, events, max, &count);
        if (err != ERR_OK) return err;
        if (count == 0) return ERR_END;
        *ret_count = count;
        return ERR_OK;
    }
    enum binance_kind kind = BINANCE_OTHER;
    enum err err;
    if (message.size <= SHORT_MESSAGE_MAX) {
        if (message.size > 0) memcpy(decoder->padded, message.data, message.size);
        message = slice_of(decoder->padded, message.size);
        err = binance_decode(decoder->binance, message, diag, events, NULL, NULL, &kind);
    } else {
        err = binance_decode_general(decoder->binance, message, diag, events, NULL, NULL, &kind);
    }
    if (err != ERR_OK) return err;
    if (kind != BINANCE_TRADE) return ERR_END;
    *ret_count = 1;
    return ERR_OK;
}
