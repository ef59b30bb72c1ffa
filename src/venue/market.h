/* What the decoders of all exchanges share: whose messages these are, which series a symbol is, what time a number means. */
#ifndef VENUE_MARKET_H
#define VENUE_MARKET_H

#include "venue/name_cache.h"
#include "venue/venue.h"

enum { MARKET_VENUE_MAX = 32, MARKET_SYMBOL_MAX = 40 };

/* The symbols of one venue, as series of trades. */
struct market {
    struct series_table *series;
    struct name_cache names;
    char venue[MARKET_VENUE_MAX];
};

/* `venue` is lower-cased. ERR_SYNTAX, ERR_NO_MEMORY. */
enum err market_init(struct market *market, struct series_table *series, const char *venue) MUST_USE;
void market_deinit(struct market *market);
/* Another venue from here on (a capture's URL names it). */
enum err market_set_venue(struct market *market, const char *venue) MUST_USE;
/* The series of a symbol in any case. ERR_UNKNOWN where no known quote asset ends it, ERR_SYNTAX, ERR_LIMIT. */
enum err market_series(struct market *market, struct slice symbol, struct diag *diag, uint32_t *ret_series) MUST_USE;
/* "venue:BASE/QUOTE" or "venue:SYMBOL"; a venue named there becomes the market's. */
enum err market_series_named(struct market *market, struct slice name, struct diag *diag,
                             uint32_t *ret_series) MUST_USE;
/* The same by a symbol that was seen before, as scan_name leaves it. SERIES_NONE if it was not. */
static inline uint32_t market_series_known(const struct market *market, scan_pair symbol) {
    struct name_key key = {.names = {symbol}};
    return name_cache_find(&market->names, &key);
}

/* The venue that a URL belongs to; NULL if it is none we know. */
const char *market_venue_of_url(struct slice url);

/* Unix times in seconds, milli-, micro- or nanoseconds, told by their size: what is left is milliseconds, floored. Years
 * 1973 to 5138 in each unit. */
static inline bool market_time_ms(int64_t time, int64_t *ret_time_ms) {
    if (time < 1) return false;
    if (__builtin_expect(time < 100000000000, 0)) return *ret_time_ms = time * 1000, true;
    if (time < 100000000000000) return *ret_time_ms = time, true;
    return *ret_time_ms = time < 100000000000000000 ? time / 1000 : time / 1000000, true;
}

/* Whether a decoded trade can be one; the last word of every decoder, general or not. A price of zero is only allowed to
 * what is no market trade. An aggregated trade holds at most MARKET_AGGREGATE_MAX. */
enum { MARKET_AGGREGATE_MAX = 10000000 };
static inline bool market_trade_holds(const struct event *e) {
    if (e->price <= 0 && !(e->price == 0 && e->filtered)) return false;
    if (e->quantity < 0 || e->time_ms < 1) return false;
    if (e->first_id < 0) return e->first_id == -1 && e->last_id == -1;
    return e->first_id <= e->last_id && e->last_id - e->first_id < MARKET_AGGREGATE_MAX;
}
/* Says why it does not hold. */
enum err market_trade_error(const struct event *e, struct diag *diag);

/* --- members of a message, with the errors that name them --- */

enum err market_text(const struct json_value *object, const char *name, struct diag *diag,
                     struct slice *ret_text) MUST_USE;
enum err market_i64(const struct json_value *object, const char *name, struct diag *diag, int64_t *ret_value) MUST_USE;
/* As JSON numbers or strings; negative ones are ERR_RANGE. */
enum err market_decimal(const struct json_value *object, const char *name, struct diag *diag,
                        struct decimal *ret_value) MUST_USE;
enum err market_boolean(const struct json_value *object, const char *name, struct diag *diag, bool *ret_value) MUST_USE;
enum err market_time(const struct json_value *object, const char *name, struct diag *diag,
                     int64_t *ret_time_ms) MUST_USE;

#endif
