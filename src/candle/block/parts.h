/* The inside of blocks, shared by the files of this folder and nobody else.
 *
 *   block.c       the format, and decoding
 *   encode.c      encoding
 *   predict.c     differences to predictions, and back
 *   column.c      one column of integers, packed */
#ifndef CANDLE_BLOCK_PARTS_H
#define CANDLE_BLOCK_PARTS_H

#include "candle/block.h"
#include "candle/block/column.h"

/* Decimals first; their order is that of `decimal_at`. */
enum column {
    COLUMN_OPEN,
    COLUMN_CLOSE,
    COLUMN_HIGH,
    COLUMN_LOW,
    COLUMN_VOLUME,
    COLUMN_TAKER,
    COLUMN_QUOTE,
    COLUMN_TAKER_QUOTE,
    COLUMN_PLACE, /* in the period, in tiers */
    COLUMN_CLOSE_TIME,
    COLUMN_TRADES,
    COLUMN_FIRST_ID,
    COLUMN_LAST_ID,
    COLUMN_OPEN_MARK_TIME,
    COLUMN_OPEN_MARK_ORDER,
    COLUMN_CLOSE_MARK_TIME,
    COLUMN_CLOSE_MARK_ORDER,
    COLUMN_LAST_OFFSET,
    COLUMN_HASH,
    COLUMN_REVISION,
    COLUMN_COVERED,
    COLUMN_NATIVE,
    COLUMN_COVERAGE,
    COLUMN_BASIS,
    COLUMN_FINAL,
    COLUMN_REASON,
    COLUMN_CONFLICT,
    COLUMN_COUNT
};

#define DECIMALS ((int)COLUMN_PLACE)

enum group { GROUP_PRICES, GROUP_VOLUMES, GROUP_QUOTES, GROUP_COUNT };
enum { BLOCK_MAGIC = 0x31425743, HEADER_BYTES = 30, CHECKSUM_BYTES = 8, CHUNK_ROWS = 64 };
static const int64_t PERIOD_MAX_MS = INT64_C(1) << 60;
static const int64_t PLACE_MAX = INT64_C(1) << 31;

#define DECIMAL_FIELDS(X)             \
    X(COLUMN_OPEN, open)              \
    X(COLUMN_CLOSE, close)            \
    X(COLUMN_HIGH, high)              \
    X(COLUMN_LOW, low)                \
    X(COLUMN_VOLUME, volume)          \
    X(COLUMN_TAKER, taker_buy_volume) \
    X(COLUMN_QUOTE, quote_volume)     \
    X(COLUMN_TAKER_QUOTE, taker_buy_quote_volume)

/* All other fields but the open time. */
#define INTEGER_FIELDS(X)                         \
    X(COLUMN_CLOSE_TIME, close_time_ms)           \
    X(COLUMN_TRADES, trades)                      \
    X(COLUMN_FIRST_ID, first_id)                  \
    X(COLUMN_LAST_ID, last_id)                    \
    X(COLUMN_OPEN_MARK_TIME, open_mark.time_ms)   \
    X(COLUMN_OPEN_MARK_ORDER, open_mark.order)    \
    X(COLUMN_CLOSE_MARK_TIME, close_mark.time_ms) \
    X(COLUMN_CLOSE_MARK_ORDER, close_mark.order)  \
    X(COLUMN_LAST_OFFSET, last_offset)            \
    X(COLUMN_HASH, hash)                          \
    X(COLUMN_REVISION, revision)                  \
    X(COLUMN_COVERED, covered_minutes)            \
    X(COLUMN_NATIVE, native_ms)                   \
    X(COLUMN_COVERAGE, coverage)                  \
    X(COLUMN_BASIS, basis)                        \
    X(COLUMN_FINAL, final)                        \
    X(COLUMN_REASON, reason)                      \
    X(COLUMN_CONFLICT, conflict)

struct shape {
    uint32_t tier_ms;
    int64_t period_start_ms;
    uint32_t rows;
    bool wide[GROUP_COUNT];
    uint8_t scale[GROUP_COUNT];
    uint32_t present, plain; /* bit sets of columns */
    uint32_t constant;       /* known to be the same in all rows; not stored */
    int64_t first_place, last_place;
    int64_t first_open, first_offset, id_before;
    /* quote volume ~ volume * (open + high + low + close) * multiply / divide; divide 0: not predicted */
    int64_t multiply;
    __int128 divide;
};

/* A row as plain words, for passes over all of it. */
enum { ROW_WORDS = sizeof(struct candle) / 8 };
_Static_assert(sizeof(struct candle) % 16 == 0, "a row is whole words");

/* Values of a few rows by column, and what goes on from them into the next few. */
struct chunk {
    uint32_t count;
    int64_t v[COLUMN_COUNT][CHUNK_ROWS];
};
struct carry {
    int64_t place, close, last_id, offset; /* of the row before */
};

static inline bool has(uint32_t set, enum column column) { return set >> column & 1; }
static inline int64_t wrap_add(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); }
static inline int64_t wrap_sub(int64_t a, int64_t b) { return (int64_t)((uint64_t)a - (uint64_t)b); }
static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* Columns that are stored as they are. */
static const uint32_t UNPREDICTED = 1u << COLUMN_VOLUME | 1u << COLUMN_TAKER | 1u << COLUMN_TRADES | 1u << COLUMN_HASH |
                                    1u << COLUMN_REVISION | 1u << COLUMN_COVERED | 1u << COLUMN_NATIVE |
                                    1u << COLUMN_COVERAGE | 1u << COLUMN_BASIS | 1u << COLUMN_FINAL |
                                    1u << COLUMN_REASON | 1u << COLUMN_CONFLICT;
extern const uint8_t block_group_of[DECIMALS];

struct carry block_carry_first(const struct shape *shape);
/* The factors that predict quote volumes; after the scales are known. */
void block_quote_factors(struct shape *shape);
/* Predicts the quote volumes of a chunk. */
bool block_predicts_quotes(const struct shape *shape, const struct chunk *chunk);
void block_predict_quotes(const struct shape *shape, const struct chunk *chunk, int64_t *predicted);
/* r[column][at ..] = the chunk's values against their predictions. */
void block_differences(const struct shape *shape, const struct chunk *chunk, struct carry *carry, int64_t *const *r,
                       uint32_t at);
/* The values again, in place. False where the places leave the period: the bytes were not made by us. */
bool block_restore(const struct shape *shape, struct chunk *chunk, struct carry *carry) MUST_USE;

#endif
