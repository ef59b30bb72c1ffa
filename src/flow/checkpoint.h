/* The checkpoint row of a task, in STORE_CHECKPOINT under (task name, ""): written in the same store commit as the
 * processor's rows it belongs to.
 *
 *   u8 version = 1; 16 bytes identity of the log; uvarint offset: next to read; uvarint partition; uvarint length and name of
 *   the input topic; the seven terms of the ledger, uvarint each.
 *
 * Valid only with the log whose identity it names, and only up to that log's durable end: anything else is damage or a
 * mixed-up folder, and is refused. */
#ifndef FLOW_CHECKPOINT_H
#define FLOW_CHECKPOINT_H

#include "flow/ledger.h"
#include "log/log.h"
#include "store/store.h"

struct checkpoint {
    int64_t offset;
    struct ledger_row ledger;
};

void checkpoint_put(struct store_batch *batch, const char *task, const struct log *log,
                    const struct log_partition *input, const struct checkpoint *checkpoint);
/* ERR_NOT_FOUND: a new task. ERR_FOREIGN: of another log or topic. ERR_CORRUPT: unreadable, or beyond the log's end. */
enum err checkpoint_get(struct store *store, struct store_snapshot *snapshot, const char *task, const struct log *log,
                        const struct log_partition *input, struct diag *diag,
                        struct checkpoint *ret_checkpoint) MUST_USE;

#endif
