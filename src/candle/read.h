/* Candles of any interval: stored rows and the book's newer ones, best lane a minute, merged on read.
 *
 * Runs on the owning task's thread (it reads the book). Quiet and unknown stretches: a minute inside continuous dense ids
 * is a flat row (COVERAGE_QUIET); minutes nothing is known of are left out. */
#ifndef CANDLE_READ_H
#define CANDLE_READ_H

#include "candle/book.h"
#include "candle/interval.h"

struct candle_source {
    struct book *book;   /* may be NULL */
    struct shelf *shelf; /* may be NULL */
    struct store *store;
};

struct candle_query {
    uint32_t series;
    struct interval interval;
    struct origin origin;
    int64_t from_ms; /* buckets whose start is in [from, to) */
    int64_t to_ms;
    uint32_t
        limit; /* 0: none. With `newest` the last `limit` buckets of the range, else the first; visited ascending */
    bool newest;
};

/* ERR_RANGE with the finest interval that can be had, where a boundary is finer than what is still kept. */
enum err candle_read(const struct candle_source *source, const struct candle_query *query, candle_visit visit,
                     void *context, struct diag *diag) MUST_USE;

#endif
