/* One base interval of one lane in memory: a candle in compact form, and the arithmetic that folds events into it.
 * Private to the book.
 *
 * Nearly every market fits 64-bit mantissas, so a minute is narrow: prices and sums at running scales of its own, widened
 * by multiplication when an event has more decimals. Whatever does not fit moves to `wide`, where everything is a general
 * decimal. Which of the two it was never shows: a candle's numbers are normalised on the way out.
 *
 * Sums that would need more than 38 digits stay at the largest number there is, and the candle is partial for ever. */
#ifndef CANDLE_BOOK_MINUTE_H
#define CANDLE_BOOK_MINUTE_H

#include "base/plant.h"
#include "candle/candle.h"
#include "candle/event.h"

enum { NARROW_SCALE_MAX = DECIMAL_POWER64_MAX };

struct minute_wide {
    struct decimal open, high, low, close;
    struct decimal volume, quote, buy_volume, buy_quote;
};

struct minute {
    /* what prices need comes first, within 80 bytes */
    int64_t open, high, low, close; /* at price_scale */
    int64_t trades;
    uint64_t hash;
    int64_t last_offset;
    struct minute_wide *wide;
    uint32_t open_at, close_at; /* ms since the start, of the open and the close */
    uint32_t revision;
    uint8_t price_scale, quantity_scale, quote_scale;
    uint8_t reason : 2;
    uint8_t conflict : 1;
    uint8_t partial : 1;   /* known to be incomplete, for good */
    uint8_t by_status : 1; /* a quiet minute proven by the feed's word, not by ids */
    uint8_t left_ok : 1;   /* loaded: the id before first_id, after last_id, is known to have been seen */
    uint8_t right_ok : 1;
    uint8_t unproven : 1; /* a quiet minute whose proof was lost */

    int64_t open_order, close_order; /* 0 of prices */
    __int128 volume, buy_volume;     /* at quantity_scale */
    __int128 quote, buy_quote;       /* at quote_scale, which of folded trades is price_scale + quantity_scale */
    int64_t first_id, last_id;       /* of its trades; -1 */
};

_Static_assert(sizeof(struct minute) == 176, "120,000 of them are 20 MiB");

void minute_init(struct minute *m);
void minute_deinit(struct minute *m);
/* A flat row at `from`'s close; m has no trades. ERR_NO_MEMORY. */
enum err minute_flatten(struct minute *m, const struct minute *from) MUST_USE;
bool minute_same_close(const struct minute *a, const struct minute *b);
/* Numbers, marks, ids and hash; the caller adds times, coverage and finality. */
void minute_to_candle(const struct minute *m, struct candle *candle);
/* The most decimals of its four prices, or `known` if that is more. */
uint8_t minute_decimals(const struct minute *m, uint8_t known);
/* The whole candle but for its basis, from what is claimed of it. */
struct row_claims {
    uint8_t coverage, final;
};
void claimed_candle(const struct minute *m, int64_t start_ms, int64_t base_ms, struct row_claims claims,
                    struct candle *candle);
/* ERR_NO_MEMORY. */
enum err minute_from_candle(struct minute *m, const struct candle *candle) MUST_USE;
/* Can price x quantity be written with 38 digits? Decided by the event alone, so that its fate is. */
bool minute_accepts(const struct event *e);
/* Whatever the inlined path declined: other scales, wide numbers, the first event. ERR_NO_MEMORY. */
enum err minute_add_general(struct minute *m, const struct event *e, uint32_t at) MUST_USE;

/* Open is the smallest (time, order, price), close the largest: order is the trade id, 0 without ids. */
static inline void minute_mark(struct minute *m, int64_t price, uint32_t at, int64_t first, int64_t last) {
    if (price > m->high) m->high = price;
    if (price < m->low) m->low = price;
    if (at < m->open_at ||
        (at == m->open_at && (first < m->open_order || (first == m->open_order && price < m->open)))) {
        m->open = price;
        m->open_at = at;
        m->open_order = first;
    }
    if (at > m->close_at ||
        (at == m->close_at && (last > m->close_order || (last == m->close_order && price > m->close))) ||
        PLANTED(PLANT_CLOSE_BY_ARRIVAL)) {
        m->close = price;
        m->close_at = at;
        m->close_order = last;
    }
}

/* The same where every order is 0. Which of late and early events comes next is not to be foreseen, so nothing branches on
 * it. */
static inline void minute_mark_price(struct minute *m, int64_t price, uint32_t at) {
    m->high = price > m->high ? price : m->high;
    m->low = price < m->low ? price : m->low;
    const bool first = (at < m->open_at) | ((at == m->open_at) & (price < m->open));
    m->open = first ? price : m->open;
    m->open_at = first ? at : m->open_at;
    const bool last =
        (at > m->close_at) | ((at == m->close_at) & (price > m->close)) | (PLANTED(PLANT_CLOSE_BY_ARRIVAL) != 0);
    m->close = last ? price : m->close;
    m->close_at = last ? at : m->close_at;
}

/* The event's number at the minute's scale; false if it is not a matter of one small multiplication. */
static inline bool minute_scaled(__int128 mantissa, uint8_t scale, uint8_t to, int64_t *ret_value) {
    unsigned up = (unsigned)to - scale;
    int64_t value = (int64_t)mantissa;
    return value == mantissa && up <= NARROW_SCALE_MAX &&
           !__builtin_mul_overflow(value, decimal_power64[up], ret_value);
}

/* 10^38 and more is for the general path, and so is what is close to it. */
static inline bool minute_sum_fits(__int128 sum) {
    return (uint64_t)((unsigned __int128)sum >> 64) < UINT64_C(0x4b3b4ca85a86c47a);
}

static inline bool minute_add_trade(struct minute *m, const struct event *e, uint32_t at) {
    int64_t price, quantity;
    if (m->trades == 0 || m->wide != NULL || !minute_scaled(e->price, e->price_scale, m->price_scale, &price) ||
        !minute_scaled(e->quantity, e->quantity_scale, m->quantity_scale, &quantity))
        return false;
    __int128 product = (__int128)price * quantity, quote = m->quote + product;
    if (!minute_sum_fits(quote)) return false;
    m->volume += quantity;
    m->quote = quote;
    if (e->side == EVENT_TAKER_BUY) {
        m->buy_volume += quantity;
        m->buy_quote += product;
    }
    bool ids = e->first_id >= 0;
    minute_mark(m, price, at, ids ? e->first_id : 0, ids ? e->last_id : 0);
    m->trades += ids ? e->last_id - e->first_id + 1 : 1;
    return true;
}

static inline bool minute_add_price(struct minute *m, const struct event *e, uint32_t at) {
    int64_t price;
    if (m->trades == 0 || m->wide != NULL || !minute_scaled(e->price, e->price_scale, m->price_scale, &price))
        return false;
    minute_mark_price(m, price, at);
    m->trades++;
    return true;
}

#endif
