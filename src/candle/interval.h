/* Intervals of candles: fixed lengths and calendar ones, with an origin (time zone, week start).
 *
 * Lengths of up to a day are counted on the local clock from midnight (so that 4h starts at 00:00 local, and the last of a
 * day ends with it); longer ones from 1970-01-01 local; weeks from the week start; months from the first. Where the clock
 * changes, a bucket that holds the change is shorter or longer by it, except that a clock put back by a whole number of
 * buckets repeats them. docs/candles.md has examples. */
#ifndef CANDLE_INTERVAL_H
#define CANDLE_INTERVAL_H

#include "base/civil.h"

enum interval_unit { INTERVAL_SECOND, INTERVAL_MINUTE, INTERVAL_HOUR, INTERVAL_DAY, INTERVAL_WEEK, INTERVAL_MONTH };

struct interval {
    enum interval_unit unit;
    uint32_t count;
};

struct origin {
    const struct zone *zone; /* NULL: UTC */
    uint8_t week_start;      /* 1 Monday (default) .. 7 Sunday */
};

/* "1m", "4h", "1M", MetaTrader's "M1", "H4", "D1", "W1", "MN1". Case matters. ERR_SYNTAX, ERR_RANGE (count 0 or > 1000). */
enum err interval_parse(struct slice text, struct diag *diag, struct interval *ret_interval) MUST_USE;
void interval_format(struct interval interval, char text[static 16]);
/* The largest stored tier (1000, 60000, 900000, 86400000 ms) whose rows can be merged into it exactly in this origin;
 * `base_ms` is the finest stored. ERR_RANGE if the interval is finer than the base. */
enum err interval_tier(struct interval interval, const struct origin *origin, uint32_t base_ms,
                       uint32_t *ret_tier_ms) MUST_USE;
/* The same for the buckets of a range of time, whose changes of the clock alone then count. */
enum err interval_tier_between(struct interval interval, const struct origin *origin, uint32_t base_ms, int64_t from_ms,
                               int64_t to_ms, uint32_t *ret_tier_ms) MUST_USE;
/* The bucket that holds `time_ms`: [*ret_start_ms, *ret_end_ms). */
void interval_bucket(struct interval interval, const struct origin *origin, int64_t time_ms, int64_t *ret_start_ms,
                     int64_t *ret_end_ms);

#endif
