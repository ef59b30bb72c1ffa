/* Binance, its futures and its sister exchanges: stream messages and published CSV files.
 * Source: developers.binance.com, "WebSocket Streams" of spot, USD-M and COIN-M; github.com/binance/binance-public-data
 * (2026-07). Spot CSV files are in microseconds from 2025-01-01 on. */
#ifndef VENUE_BINANCE_BINANCE_H
#define VENUE_BINANCE_BINANCE_H

#include "venue/market.h"

/* --- stream messages: `{"stream":..,"data":{..}}` or the inner object alone --- */

struct binance_decoder;
enum err binance_decoder_open(struct market *market, struct binance_decoder **ret_decoder) MUST_USE;
void binance_decoder_close(struct binance_decoder **decoder);

enum binance_kind { BINANCE_OTHER, BINANCE_TRADE, BINANCE_KLINE };
/* A trade or aggTrade fills *ret_event, a kline *push and its series; all else is BINANCE_OTHER. `push` may be NULL: klines
 * then are OTHER. INPUT errors. INPUT_PADDING_BYTES behind `text` must be readable. */
enum err binance_decode(struct binance_decoder *decoder, struct slice text, struct diag *diag, struct event *ret_event,
                        struct import_push *push, uint32_t *ret_series, enum binance_kind *ret_kind) MUST_USE;
/* Without remembered shapes; for tests. */
enum err binance_decode_general(struct binance_decoder *decoder, struct slice text, struct diag *diag,
                                struct event *ret_event, struct import_push *push, uint32_t *ret_series,
                                enum binance_kind *ret_kind) MUST_USE;

/* --- rows of published CSV files --- */

/* Milliseconds of an interval's name ("1m", "3d", "1mo"); 0 for months, -1 if it is none. */
int64_t binance_interval_ms(struct slice name);

/* The fast ones take rows at *at while they are of the plain form and stop before `end`, which must be behind a newline;
 * starts[i] is counted from the first *at. INPUT_PADDING_BYTES behind `end` are readable. The general ones judge one row. */
uint32_t binance_csv_trades(const uint8_t **at, const uint8_t *end, bool aggregated, uint32_t series,
                            struct event *events, uint32_t *starts, uint32_t max);
uint32_t binance_csv_klines(const uint8_t **at, const uint8_t *end, struct candle *rows, uint32_t *starts,
                            uint32_t max);
/* The same on machines without AVX2. */
uint32_t binance_csv_klines_narrow(const uint8_t **at, const uint8_t *end, struct candle *rows, uint32_t *starts,
                                   uint32_t max);
enum err binance_csv_trade(const struct slice *fields, uint32_t count, bool aggregated, uint32_t series,
                           struct diag *diag, struct event *ret_event) MUST_USE;
enum err binance_csv_kline(const struct slice *fields, uint32_t count, struct diag *diag,
                           struct candle *ret_row) MUST_USE;

#endif
