/* The ledger: where every event went (rule 2 of the design).
 *
 * read = used + late + duplicate + invalid + filtered + pending, per topic, partition and processor; checked at every
 * checkpoint, and by `wick ledger`. */
#ifndef FLOW_LEDGER_H
#define FLOW_LEDGER_H

#include "base/buf.h"

struct ledger_row {
    uint64_t read, used, late, duplicate, invalid, filtered, pending;
};

bool ledger_balances(const struct ledger_row *row);
void ledger_encode(struct buf *out, const struct ledger_row *row);
enum err ledger_decode(struct reader *in, struct ledger_row *ret_row) MUST_USE;

#endif
