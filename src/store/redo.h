/* Commits that are all or nothing on a store that is atomic by row only. For store.c.
 *
 * The whole commit is written ahead, in STORE_META under "redo": chunks ("c" and be32 number -> le64 stamp, bytes), and, last,
 * the mark ("m" -> u8 version, le64 stamp, le32 chunks, le32 writes, le64 bytes, le64 checksum). The bytes are those of the
 * batches, one behind the other. Only then its rows are applied, and the mark and the chunks deleted, in this order. So after a
 * crash there is a mark with all of its chunks, and the rows are applied again, as often as it takes, with the stamp they had;
 * or there is none, and no row was touched.
 *
 * A writer that somebody newer has taken over from finds the mark not to be its own, because the older stamp lost, and
 * touches no row. */
#ifndef STORE_REDO_H
#define STORE_REDO_H

#include "store/store.h"

/* ERR_STATE: superseded. After any error, nothing is known but that store_redo_finish will settle it. */
enum err store_redo_commit(struct store *store, const struct store_batch *const *batches, uint32_t batch_count,
                           uint64_t stamp, struct diag *diag) MUST_USE;
/* Ends what a commit before has left: applied again or thrown away. */
enum err store_redo_finish(struct store *store, struct diag *diag) MUST_USE;

#endif
