/* Series in the store: STORE_SERIES under ("series", be32 number) = u8 version 1, u8 kind, u8 ids, uvarint grace ms, uvarint
 * length and name, uvarint length and symbol. Numbers are part of every other key, so they are never given anew. */
#ifndef CANDLE_SERIES_ROW_H
#define CANDLE_SERIES_ROW_H

#include "candle/series.h"
#include "store/store.h"

void series_row_put(struct store_batch *batch, const struct series *series);
/* Everything stored, into the table. What is there already must be the same: ERR_CORRUPT otherwise. */
enum err series_rows_load(struct series_table *table, struct store *store, struct store_snapshot *snapshot,
                          struct diag *diag) MUST_USE;

#endif
