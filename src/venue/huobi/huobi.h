/* Huobi (HTX), spot and swaps: websocket messages, each a gzip member as received.
 * Source: huobiapi.github.io/docs, "Market data" of spot, linear and coin-margined swaps (2021-06), and recorded frames. */
#ifndef VENUE_HUOBI_HUOBI_H
#define VENUE_HUOBI_HUOBI_H

#include "base/buf.h"
#include "venue/market.h"

enum { HUOBI_FRAME_MAX = 4 * 1024 * 1024, HUOBI_TRADES_MAX = EVENTS_A_RECORD_MAX };

struct huobi_decoder;
enum err huobi_decoder_open(struct market *market, struct huobi_decoder **ret_decoder) MUST_USE;
void huobi_decoder_close(struct huobi_decoder **decoder);
/* The trades of a `market.$symbol.trade.detail` message, sorted by id (they come newest first); none of any other message.
 * ERR_TOO_LARGE past `max`. A message that is a gzip member is unpacked first. */
enum err huobi_decode(struct huobi_decoder *decoder, struct slice message, struct diag *diag, struct event *events,
                      uint32_t max, uint32_t *ret_count) MUST_USE;
/* The text of the message last decoded; lives until the next. */
struct slice huobi_text(const struct huobi_decoder *decoder);

#endif
