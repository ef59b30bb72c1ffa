/* A market event as the fold sees it: one trade, aggregated trade or price, 64 bytes, decoded from a record.
 *
 * Decimals are canonical (base/decimal.h) with the scale beside the mantissa. Times are milliseconds: sources that give
 * microseconds are floored, so that one trade seen through two sources is one event. */
#ifndef CANDLE_EVENT_H
#define CANDLE_EVENT_H

#include "base/decimal.h"

enum event_kind { EVENT_TRADE = 0, EVENT_AGGREGATED_TRADE = 1, EVENT_PRICE = 2 };
enum event_side { EVENT_SIDE_NONE = 0, EVENT_TAKER_BUY = 1, EVENT_TAKER_SELL = 2 };

enum { EVENTS_A_RECORD_MAX = 2048 }; /* a message of a venue may hold many trades */

struct event {
    __int128 price;
    __int128 quantity; /* of a price: its base volume over 24 h */
    union {
        struct {
            int64_t first_id; /* the ids occupied, of a plain trade both the same; -1 where the venue has none */
            int64_t last_id;
        };
        __int128 quote_volume; /* of a price: over 24 h */
    };
    int64_t time_ms; /* event time */
    uint32_t series; /* number in the series table */
    uint8_t price_scale;
    uint8_t quantity_scale;
    uint8_t quote_volume_scale;
    uint8_t kind : 2;
    uint8_t side : 2;
    uint8_t filtered : 1;        /* keeps its id but is no market trade (futures insurance fund, ADL) */
    uint8_t no_quantity : 1;     /* of a price: the volume was not told, and is 0 here */
    uint8_t no_quote_volume : 1; /* likewise */
    uint8_t reserved : 1;
};

_Static_assert(sizeof(struct event) == 64, "one cache line; event_hash hashes it as it lies");

/* What became of an event: exactly one of these (rule 2 of the design). PENDING is only ever a difference. */
enum event_fate { FATE_USED, FATE_LATE, FATE_DUPLICATE, FATE_INVALID, FATE_FILTERED, FATE_PENDING, FATE_COUNT };

static inline struct decimal event_price(const struct event *e) { return (struct decimal){e->price, e->price_scale}; }
static inline struct decimal event_quantity(const struct event *e) {
    return (struct decimal){e->quantity, e->quantity_scale};
}

/* XXH3-64 of the 64 bytes with `series` and `reserved` taken as zero (little-endian machine; checked at build). A
 * candle's hash is the sum of these modulo 2^64, so it does not depend on order. */
uint64_t event_hash(const struct event *event);

#endif
