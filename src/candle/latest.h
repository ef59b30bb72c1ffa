/* The latest price of every series: a table that one task writes and any thread reads without a lock.
 *
 * Each entry is guarded by a sequence number (odd while written), so a reader sees one whole value or tries again. The
 * latest is the event with the largest (time, id or price order), whatever came last. */
#ifndef CANDLE_LATEST_H
#define CANDLE_LATEST_H

#include "candle/event.h"
#include "candle/series.h"

struct latest {
    struct decimal price;
    struct decimal base_volume, quote_volume; /* over 24 h, of prices; zero, or untold */
    int64_t time_ms;
    int64_t order;
    int64_t offset;
};

/* A volume that the event did not tell; its scale is one that no decimal has, and the store's too. */
enum { LATEST_UNTOLD = 255 };
static inline bool latest_told(struct decimal volume) { return volume.scale != LATEST_UNTOLD; }

struct latest_table;
enum err latest_table_open(struct latest_table **ret_table) MUST_USE;
void latest_table_close(struct latest_table **table);
/* The owner will offer one of this series soon: fetches its entry into the cache. */
void latest_expect(const struct latest_table *table, uint32_t series);
/* The owner's thread; keeps the larger (time, order, price, ..). ERR_NO_MEMORY. */
enum err latest_offer(struct latest_table *table, const struct event *event, int64_t offset) MUST_USE;
enum err latest_restore(struct latest_table *table, uint32_t series, const struct latest *value) MUST_USE;
/* By (time, order, price, ..), as offers are judged. */
int latest_compare(const struct latest *a, const struct latest *b);
/* Any thread; ERR_NOT_FOUND. */
enum err latest_get(const struct latest_table *table, uint32_t series, struct latest *ret_value) MUST_USE;

#endif
