/* Venues: what each exchange sends, as events. A decoder turns raw messages into events and names what it cannot use.
 *
 * Decoders are pure functions of the bytes: live data, recovery and imports give the same events. They intern series in the
 * shared table. Each belongs to one thread. */
#ifndef VENUE_VENUE_H
#define VENUE_VENUE_H

#include "base/arena.h"
#include "candle/candle.h"
#include "candle/event.h"
#include "candle/series.h"
#include "codec/input.h"
#include "codec/json.h"

/* --- price events: PriceEvent {baseCurrency, quoteCurrency, exchange, price, baseVolumeLast24h, quoteVolumeLast24h,
 * timestampInMs}; names in any case, numbers as JSON numbers or strings; the volumes may be absent; unknown fields are
 * refused. venue/price_event.c --- */

struct price_decoder;
enum err price_decoder_open(struct series_table *series, struct price_decoder **ret_decoder) MUST_USE;
void price_decoder_close(struct price_decoder **decoder);
enum { PRICE_EVENT_BYTES_MAX = 1024 * 1024 };
/* One JSON object of at most so many bytes. INPUT errors name the field in `diag`. Objects of one shape are read by the remembered shape. `text` must
 * have INPUT_PADDING_BYTES readable bytes behind it. */
enum err price_decode(struct price_decoder *decoder, struct slice text, struct diag *diag,
                      struct event *ret_event) MUST_USE;

struct price_item {
    struct slice source; /* the element's own bytes, into the body */
    uint32_t index;      /* in the request, or line number from 0 */
    enum err err;        /* INPUT class where it is no event */
    char reason[256];    /* with err */
    struct event event;
};
/* A request body: one object, an array of them, or JSON lines. Calls `visit` for each element, good or bad. ERR_SYNTAX only
 * where the body as a whole cannot be told apart into elements (then nothing was visited). Padding as above. */
enum err price_decode_body(struct price_decoder *decoder, struct slice body, struct diag *diag,
                           enum err (*visit)(void *context, const struct price_item *item), void *context) MUST_USE;
/* The key of a price's record: the canonical series name, e.g. "binance:BTC/USDT". */

/* --- files: everything `wick import` reads --- */

enum import_format {
    IMPORT_GUESS,
    IMPORT_BINANCE_CAPTURE,   /* `<unix seconds.frac>: <raw JSON>`, first line the URL */
    IMPORT_BINANCE_STREAM,    /* `<local ns> <raw JSON>` */
    IMPORT_BINANCE_AGGTRADES, /* published CSV */
    IMPORT_BINANCE_TRADES,
    IMPORT_BINANCE_KLINES,
    IMPORT_HUOBI_FRAMES,
    IMPORT_PRICE_EVENTS, /* JSON lines */
    IMPORT_CSV,          /* with columns */
    IMPORT_FORMAT_COUNT
};
extern const char *const import_format_name[IMPORT_FORMAT_COUNT]; /* "guess", "binance-capture", .. */

struct import_options {
    enum import_format format;
    const char *venue;    /* NULL: from the capture's URL, else "binance" */
    const char *series;   /* "venue:BASE/QUOTE" for CSV files; NULL: from the file's name (BTCUSDT-1m-2021-11-27.csv) */
    const char *columns;  /* "time,price,quantity,id,side,-,.." for IMPORT_CSV */
    char time_unit;       /* 's', 'm' (ms), 'u', 'n'; 0: told from the magnitude of the first time */
    const char *interval; /* of klines, NULL: from the file name or the row's own span */
};

/* What the reader hands out, in file order. */
enum import_item_kind { IMPORT_EVENT, IMPORT_KLINE, IMPORT_PUSH, IMPORT_REJECT, IMPORT_SKIP /* no market event */ };

/* A venue's kline push: its candle as it was then, for `wick verify`. */
struct import_push {
    struct candle candle; /* venue's own numbers; coverage and hash unset */
    uint32_t interval_ms; /* 0: calendar month */
    char interval[8];
    char symbol[48];
    int64_t event_ms; /* E */
    bool closed;
};

struct import_item {
    enum import_item_kind kind;
    uint64_t line;       /* from 1 */
    struct slice source; /* the raw message (--copy logs it; rejects keep it) */
    uint32_t series;
    struct event event;  /* IMPORT_EVENT */
    struct candle kline; /* IMPORT_KLINE: a row of a klines file, BASIS_KLINES */
    uint32_t kline_ms;
    struct import_push *push; /* IMPORT_PUSH */
    enum err err;             /* IMPORT_REJECT */
    char reason[160];
};

/* A file that is one JSON array, of price events or as Binance's REST routes answer: does it look like one, may a file of this
 * format be one (IMPORT_GUESS may), and its elements as lines of the format, which is told where it was to be guessed. */
bool import_is_array(struct slice head);
bool import_takes_array(enum import_format format);
enum err import_array_lines(struct input *input, enum import_format *format, struct diag *diag,
                            struct buf *lines) MUST_USE;

struct import_reader;
/* Guesses the format from the first lines where asked. ERR_SYNTAX where it cannot, listing the formats. */
enum err import_open(struct input *input, const char *path, const struct import_options *options,
                     struct series_table *series, struct diag *diag, struct import_reader **ret_reader) MUST_USE;
void import_close(struct import_reader **reader);
enum import_format import_format_of(const struct import_reader *reader);
const char *import_venue(const struct import_reader *reader);
/* The one series of the file, where that is known before it is read; else SERIES_NONE. */
uint32_t import_series(const struct import_reader *reader);
/* What the same content would not be the same events without: the format and, as far as the content does not say them, venue,
 * series, columns, interval and, once it was read, the units of its times. A hash. */
uint64_t import_reading(const struct import_reader *reader);

/* Fast path: up to `max` events decoded straight into `events` until something that is not an event is met, which is then
 * in *ret_item with *ret_has_item true (it comes after the events). ERR_END when the file is done. */
enum err import_read(struct import_reader *reader, struct event *events, uint32_t max, struct diag *diag,
                     uint32_t *ret_count, struct import_item *ret_item, bool *ret_has_item) MUST_USE;
/* The same for IMPORT_BINANCE_KLINES, rows at a time, all of one series: up to `max` rows, until an item that is none. A row
 * is BASIS_KLINES, traded or quiet (no trades in it), without ids and hash; rows of any length are handed out, native_ms says
 * which. ERR_STATE for other formats. */
enum err import_read_klines(struct import_reader *reader, struct candle *rows, uint32_t max, struct diag *diag,
                            uint32_t *ret_series, uint32_t *ret_count, struct import_item *ret_item,
                            bool *ret_has_item) MUST_USE;
/* The raw message and line of each event or row of the last read. */
enum err import_source(const struct import_reader *reader, uint32_t event_index, uint64_t *ret_line,
                       struct slice *ret_source) MUST_USE;

/* --- one live or logged message of a venue's topic, as recovery reads it: 0..n events --- */
#define VENUES_KNOWN "binance, binance-usdm, binance-coinm, binance-us, binance-tr, huobi, huobi-linear, huobi-swap"
/* There is a decoder for its messages; its name is as it should be. */
bool venue_is_known(const char *venue);

struct venue_decoder;
enum err venue_decoder_open(const char *venue, struct series_table *series,
                            struct venue_decoder **ret_decoder) MUST_USE;
void venue_decoder_close(struct venue_decoder **decoder);
/* ERR_END: the message is none of a trade (a subscription answer, a ticker). INPUT errors: for `.invalid`; ERR_TOO_LARGE for
 * more than `max` trades in one. The message needs no padding. */
enum err venue_decode(struct venue_decoder *decoder, struct slice message, struct diag *diag, struct event *events,
                      uint32_t max, uint32_t *ret_count) MUST_USE;

#endif
