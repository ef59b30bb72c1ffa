/* The import register: which files were folded in by reference, and where their events went.
 *
 * STORE_IMPORTS holds, under ("imports", 16 bytes of identity), one row an import:
 *   u8 version = 3; uvarint number; varint committed at (ms); uvarint plain size; varint first and last event time (ms, -1
 *   none); u8 format; uvarint length and path; uvarint length and venue; u64 origin of its sealed blocks (candle/shelf.h);
 *   the seven terms of the ledger.
 * Rows of version 2 are the same, but their identity is that of the content alone.
 * The same bytes are the value of the import's record in topic `imports`, from which a rebuild makes the rows again. */
#ifndef VENUE_IMPORT_ROW_H
#define VENUE_IMPORT_ROW_H

#include "flow/ledger.h"
#include "store/store.h"

enum { IMPORT_PATH_MAX = 1024 };

struct import_row {
    uint8_t identity[16]; /* XXH3-128 of the unwrapped content, its first half xor import_reading (venue/venue.h) */
    bool of_content;      /* the identity does not tell how it was read: format and venue do, as far as they can */
    uint64_t number;      /* from 1 */
    int64_t committed_ms;
    uint64_t plain_bytes;
    int64_t from_ms, to_ms;
    uint8_t format; /* enum import_format */
    char path[IMPORT_PATH_MAX];
    char venue[32];
    uint64_t origin;
    struct ledger_row ledger;
};

/* What became of an import. */
struct import_result {
    struct import_row row;
    bool repeated;    /* this content was imported before, read the same way: nothing was done */
    uint64_t skipped; /* messages that are no market events */
    bool
        copied; /* into its topic, where the ledger tells what became of them: of `row.ledger` only read and invalid count */
    uint64_t messages,
        written; /* copied: what belongs into the topic, and what of it was not there yet, of this file */
    const char *format;
};

void import_row_encode(struct buf *out, const struct import_row *row);
enum err import_row_decode(struct slice identity, struct slice value, struct import_row *ret_row) MUST_USE;
struct store_key import_row_key(const struct import_row *row);
/* Every import, in no promised order. */
enum err import_rows_visit(struct store *store, struct store_snapshot *snapshot,
                           enum err (*visit)(void *context, const struct import_row *row), void *context) MUST_USE;

#endif
