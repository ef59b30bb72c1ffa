/* Latest prices in the store: STORE_LATEST under (task, be32 series) = i128 and u8 scale of price, base volume and quote
 * volume (scale 255: not told); varint time, order, offset. They outlive the raw log. */
#ifndef CANDLE_LATEST_ROW_H
#define CANDLE_LATEST_ROW_H

#include "candle/latest.h"
#include "store/store.h"

void latest_row_put(struct store_batch *batch, const char *task, uint32_t series, const struct latest *latest);
/* Everything of a task, into the table. */
enum err latest_rows_restore(struct store *store, struct store_snapshot *snapshot, const char *task,
                             struct latest_table *table) MUST_USE;

#endif
