/* A candle: what is known of one series in one interval. */
#ifndef CANDLE_CANDLE_H
#define CANDLE_CANDLE_H

#include "base/buf.h"
#include "base/decimal.h"

/* Better first: a complete better one replaces, never adds to, a worse one. A series keeps one lane of candles a basis;
 * a read takes the best complete one, else the one with the most trades. */
enum candle_basis { BASIS_TRADES = 0, BASIS_AGGREGATED = 1, BASIS_KLINES = 2, BASIS_PRICES = 3, BASIS_COUNT };
/* TRADED: no known hole. QUIET: proven without trades; a flat row at the previous close. PARTIAL: some is known to be
 * missing. UNKNOWN: nothing proves anything. */
enum candle_coverage { COVERAGE_UNKNOWN = 0, COVERAGE_PARTIAL = 1, COVERAGE_QUIET = 2, COVERAGE_TRADED = 3 };
enum candle_final { CANDLE_OPEN = 0, CANDLE_FINAL_PROVEN = 1, CANDLE_FINAL_CLOCK = 2 };
enum candle_reason { REASON_NONE = 0, REASON_LATE = 1, REASON_REPAIR = 2, REASON_CORRECTION = 3 };

/* Where in time and order the open or close was taken: the smallest or largest (time, order). Order is the trade id; for
 * events without ids it is 0 and the price decides. */
struct candle_mark {
    int64_t time_ms;
    int64_t order;
};

struct candle {
    int64_t open_time_ms;  /* start of the interval */
    int64_t close_time_ms; /* its last millisecond */
    struct decimal open, high, low, close;
    /* Sums, exact; zero for prices. "Volume" of coin-margined futures is in contracts. */
    struct decimal volume, quote_volume, taker_buy_volume, taker_buy_quote_volume;
    struct candle_mark open_mark, close_mark; /* roll-ups carry their first and last part's */
    int64_t trades;   /* venue trades (an aggregated one counts all it holds); of prices, observations */
    int64_t first_id; /* -1 where there are none */
    int64_t last_id;
    int64_t last_offset; /* in its partition, of the last event folded in; -1 for imports by reference */
    uint64_t hash;       /* 0 for klines */
    uint32_t revision;
    uint32_t covered_minutes; /* minutes of it that are traded or quiet */
    uint32_t native_ms;       /* length of the stored rows it was made from */
    uint8_t coverage;         /* enum candle_coverage; of a roll-up: all traded or quiet -> traded (quiet if all quiet),
                                 nothing known -> unknown, else partial */
    uint8_t basis;            /* the worst of the parts */
    uint8_t final;            /* enum candle_final; of a roll-up the weakest of the parts */
    uint8_t reason;           /* of the last revision */
    bool conflict;            /* an id came twice with different content */
};

extern const char *const candle_basis_name[BASIS_COUNT]; /* "trades", "aggregated", "klines", "prices" */
extern const char *const candle_coverage_name[4];        /* "unknown", "partial", "quiet", "traded" */
extern const char *const candle_reason_name[4];          /* "", "late", "repair", "correction" */

/* Adds `next`, which is later in time, to `*sum`, which covers everything before it in the same interval. Open times and
 * interval bounds of `sum` stay. Associative. ERR_PRECISION where a sum no longer fits. */
enum err candle_merge(struct candle *sum, const struct candle *next) MUST_USE;
/* `rows` in order, merged: faster than one by one, and the same but for the scales of sums, which are not normalised either way. */
enum err candle_sum(const struct candle *rows, uint32_t count, struct candle *ret_sum) MUST_USE;
/* The part of a merge that is not prices and volumes: ids, coverage, revision and the like. */
void candle_merge_knowledge(struct candle *sum, const struct candle *next);
/* A row without trades is flat at the close before it: it says that nothing happened, and must not become the open, high
 * or low of a longer interval in which something did. */
static inline bool candle_is_flat(const struct candle *c) { return c->trades == 0 && c->volume.mantissa == 0; }

/* --- rendering: the forms of interface.md --- */

struct candle_style {
    const char *series;   /* canonical name */
    const char *interval; /* canonical interval */
};
/* One JSON object, no newline. */
void candle_to_json(struct buf *out, const struct candle_style *style, const struct candle *candle);
/* The same in two steps, for many rows of one style: what they all begin with, and the rest. */
struct candle_head {
    size_t size;
    char text[512];
};
void candle_json_head(const struct candle_style *style, struct candle_head *ret_head);
void candle_to_json_after(struct buf *out, const struct candle_head *head, const struct candle *candle);
/* The header line and one row of CSV, each with its newline. */
void candle_csv_header(struct buf *out);
void candle_to_csv(struct buf *out, const struct candle *candle);

#endif
