#include "flow/ledger.h"

bool ledger_balances(const struct ledger_row *row) {
    return row->read == row->used + row->late + row->duplicate + row->invalid + row->filtered + row->pending;
}

void ledger_encode(struct buf *out, const struct ledger_row *row) {
    buf_put_uvarint(out, row->read);
    buf_put_uvarint(out, row->used);
    buf_put_uvarint(out, row->late);
    buf_put_uvarint(out, row->duplicate);
    buf_put_uvarint(out, row->invalid);
    buf_put_uvarint(out, row->filtered);
    buf_put_uvarint(out, row->pending);
}

enum err ledger_decode(struct reader *in, struct ledger_row *ret_row) {
    struct ledger_row row;
    uint64_t *const terms[] = {&row.read,    &row.used,     &row.late,   &row.duplicate,
                               &row.invalid, &row.filtered, &row.pending};
    for (unsigned i = 0; i < sizeof terms / sizeof *terms; i++) *terms[i] = reader_uvarint(in);
    if (reader_err(in) != ERR_OK) return reader_err(in);
    *ret_row = row;
    return ERR_OK;
}
