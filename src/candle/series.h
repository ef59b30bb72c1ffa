/* The series table: (venue, base, quote, kind) <-> a small number. One per process, shared by all decoders and tasks.
 *
 * Any thread may look up and intern; lookups take no lock. Numbers are given in order of first sight, are persisted with
 * the first checkpoint that uses them (STORE_SERIES), and never show outside the data folder. Entries live until
 * series_table_close. Names are kept as the venue writes them, upper-cased currencies, lower-cased venue; look-up ignores
 * ASCII case. */
#ifndef CANDLE_SERIES_H
#define CANDLE_SERIES_H

#include "base/err.h"
#include "base/slice.h"

enum { SERIES_NAME_MAX = 96, SERIES_COUNT_MAX = 1 << 20, SERIES_NONE = UINT32_MAX };

enum series_kind { SERIES_TRADE = 0, SERIES_PRICE = 1 };
/* What a venue promises of its trade ids. */
enum series_ids { SERIES_IDS_NONE = 0, SERIES_IDS_SPARSE = 1, SERIES_IDS_DENSE = 2 };

struct series {
    uint32_t number;
    enum series_kind kind;
    enum series_ids ids;
    uint32_t grace_ms;               /* venue's: how long after a window's end its events may still come */
    char name[SERIES_NAME_MAX];      /* "binance:BTC/USDT", canonical */
    struct slice venue, base, quote; /* into `name` */
    char symbol[48];                 /* the venue's own, upper case: "BTCUSDT"; empty for prices */
};

struct series_table;

enum err series_table_open(struct series_table **ret_table) MUST_USE;
void series_table_close(struct series_table **table);
uint32_t series_count(const struct series_table *table);
/* NULL if there is no such number (yet). */
const struct series *series_get(const struct series_table *table, uint32_t number);

struct series_key {
    struct slice venue, base, quote;
    enum series_kind kind;
};
/* SERIES_NONE if unknown. */
uint32_t series_find(const struct series_table *table, const struct series_key *key);
/* Finds or adds; on adding, `ids`, grace and symbol come from the venue's declaration for trades (SERIES_IDS_DENSE for
 * binance*, SPARSE for huobi*, NONE otherwise; base+quote as symbol) and are NONE and 10 s for prices. ERR_LIMIT,
 * ERR_SYNTAX (empty, longer than fits, or with ':', '/', control bytes or spaces in a part). */
enum err series_intern(struct series_table *table, const struct series_key *key, uint32_t *ret_number) MUST_USE;
/* For loading a checkpoint: `number` must be free. */
enum err series_restore(struct series_table *table, const struct series *series) MUST_USE;
/* "venue:BASE/QUOTE" in any case, or "venue:SYMBOL" by the venue's own symbol. Kind: SERIES_TRADE or SERIES_PRICE, or -1
 * for trades if there are any. ERR_SYNTAX, ERR_NOT_FOUND with the nearest known name as hint. */
enum err series_parse(const struct series_table *table, struct slice text, int kind, struct diag *diag,
                      uint32_t *ret_number) MUST_USE;
/* Splits a venue's symbol at the longest quote asset known of it (of a venue that is not known: of any): "BTCUSDT" -> BTC, USDT;
 * "XRP/ETH", "BTC_USDT" and "btc-usdt" at the mark. ERR_SYNTAX where nothing fits. */
enum err series_split_symbol(struct slice venue, struct slice symbol, struct slice *ret_base,
                             struct slice *ret_quote) MUST_USE;

#endif
