#include "venue/import_reader.h"

/* --- price events --- */

static uint32_t price_batch(struct import_reader *reader, const uint8_t **at, const uint8_t *end, struct event *events,
                            uint32_t *starts, uint32_t max) {
    return price_decode_lines(reader->prices, at, end, events, starts, max);
}

static enum err price_line(struct import_reader *reader, struct slice *source, struct diag *diag,
                           struct event *ret_event, struct import_item *ret_item, enum line_kind *ret_kind) {
    (void)ret_item;
    *ret_kind = LINE_EVENT;
    return price_decode(reader->prices, *source, diag, ret_event);
}

/* --- recorded websockets --- */

static enum err message_line(struct import_reader *reader, struct slice message, struct diag *diag,
                             struct event *ret_event, struct import_item *ret_item, enum line_kind *ret_kind) {
    enum binance_kind kind = BINANCE_OTHER;
    enum err err = binance_decode(reader->binance, message, diag, ret_event, &reader->push, &ret_item->series, &kind);
    if (err != ERR_OK) return err;
    *ret_kind = kind == BINANCE_TRADE ? LINE_EVENT : LINE_ITEM;
    ret_item->kind = kind == BINANCE_KLINE ? IMPORT_PUSH : IMPORT_SKIP;
    ret_item->push = kind == BINANCE_KLINE ? &reader->push : NULL;
    return ERR_OK;
}

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

/* The message behind "1618677372.17: ". */
static bool behind_seconds(struct slice line, struct slice *ret_message) {
    size_t i = 0;
    while (i < line.size && (is_digit(line.data[i]) || line.data[i] == '.')) i++;
    if (i == 0 || i + 2 > line.size || line.data[i] != ':' || line.data[i + 1] != ' ') return false;
    *ret_message = slice_of(line.data + i + 2, line.size - i - 2);
    return true;
}

bool import_is_url(struct slice line) {
    const uint8_t *scheme = line.size == 0 ? NULL : memmem(line.data, line.size, "://", 3);
    return scheme != NULL && scheme - line.data <= 5;
}

/* Where a request's answer follows the URL, that is no market event. */
enum err import_take_url(struct import_reader *reader, struct slice line, struct diag *diag) {
    const char *venue = market_venue_of_url(line);
    reader->foreign = venue == NULL && !reader->venue_given;
    if (reader->venue_given) return ERR_OK;
    if (venue != NULL) return market_set_venue(&reader->market, venue);
    diag_set(diag, ERR_USAGE, "\"%.*s\" is of no venue that is known", (int)(line.size < 80 ? line.size : 80),
             line.data);
    diag_hint(diag, "if its messages are as one of these sends them, say so: --venue, one of " VENUES_KNOWN);
    return ERR_USAGE;
}

static enum err capture_line(struct import_reader *reader, struct slice *source, struct diag *diag,
                             struct event *ret_event, struct import_item *ret_item, enum line_kind *ret_kind) {
    struct slice message;
    if (behind_seconds(*source, &message)) {
        *source = message;
        if (reader->foreign) return diag_set(diag, ERR_UNKNOWN, "the URL above is of no venue that is known");
        return message_line(reader, message, diag, ret_event, ret_item, ret_kind);
    }
    if (!import_is_url(*source)) return diag_set(diag, ERR_SYNTAX, "a line must be \"<seconds>: <message>\", or a URL");
    *ret_kind = LINE_ITEM;
    ret_item->kind = IMPORT_SKIP;
    return import_take_url(reader, *source, diag);
}

static enum err stream_line(struct import_reader *reader, struct slice *source, struct diag *diag,
                            struct event *ret_event, struct import_item *ret_item, enum line_kind *ret_kind) {
    size_t i = 0;
    while (i < source->size && is_digit(source->data[i])) i++;
    if (i == 0 || i == source->size || source->data[i] != ' ')
        return diag_set(diag, ERR_SYNTAX, "a line must be \"<nanoseconds> <message>\"");
    *source = slice_of(source->data + i + 1, source->size - i - 1);
    return message_line(reader, *source, diag, ret_event, ret_item, ret_kind);
}

const struct import_ops import_price_ops = {.batch = price_batch, .line = price_line};
const struct import_ops import_capture_ops = {.line = capture_line};
const struct import_ops import_stream_ops = {.line = stream_line};
