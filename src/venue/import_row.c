#include "venue/import_row.h"

#include <assert.h>

enum { IMPORT_ROW_VERSION = 3, CONTENT_VERSION = 2 /* its identity is that of the content alone */ };

static void put_text(struct buf *out, const char *text) {
    struct slice s = slice_text(text);
    buf_put_uvarint(out, s.size);
    buf_put(out, s);
}

static void get_text(struct reader *in, char *text, size_t text_size) {
    struct slice s = reader_take(in, reader_uvarint(in));
    if (s.size >= text_size) in->err = ERR_CORRUPT;
    if (reader_err(in) != ERR_OK) return;
    if (s.size > 0) memcpy(text, s.data, s.size);
    text[s.size] = '\0';
}

void import_row_encode(struct buf *out, const struct import_row *row) {
    buf_put_u8(out, IMPORT_ROW_VERSION);
    buf_put_uvarint(out, row->number);
    buf_put_varint(out, row->committed_ms);
    buf_put_uvarint(out, row->plain_bytes);
    buf_put_varint(out, row->from_ms);
    buf_put_varint(out, row->to_ms);
    buf_put_u8(out, row->format);
    put_text(out, row->path);
    put_text(out, row->venue);
    buf_put_le64(out, row->origin);
    ledger_encode(out, &row->ledger);
}

enum err import_row_decode(struct slice identity, struct slice value, struct import_row *ret_row) {
    struct import_row row = {0};
    if (identity.size != sizeof row.identity) return ERR_CORRUPT;
    memcpy(row.identity, identity.data, sizeof row.identity);
    struct reader in = reader_of(value);
    uint8_t version = reader_u8(&in);
    if (version != IMPORT_ROW_VERSION && version != CONTENT_VERSION) return ERR_FOREIGN;
    row.of_content = version == CONTENT_VERSION;
    row.number = reader_uvarint(&in);
    row.committed_ms = reader_varint(&in);
    row.plain_bytes = reader_uvarint(&in);
    row.from_ms = reader_varint(&in);
    row.to_ms = reader_varint(&in);
    row.format = reader_u8(&in);
    get_text(&in, row.path, sizeof row.path);
    get_text(&in, row.venue, sizeof row.venue);
    row.origin = reader_le64(&in);
    enum err err = ledger_decode(&in, &row.ledger);
    if (err != ERR_OK || (err = reader_end(&in)) != ERR_OK) return err;
    *ret_row = row;
    return ERR_OK;
}

struct store_key import_row_key(const struct import_row *row) {
    return (struct store_key){STORE_IMPORTS, SLICE("imports"), slice_of(row->identity, sizeof row->identity)};
}

struct visit_rows {
    enum err (*visit)(void *context, const struct import_row *row);
    void *context;
};

static enum err visit_row(void *context, struct slice row, struct slice value) {
    struct visit_rows *v = context;
    struct import_row import;
    enum err err = import_row_decode(row, value, &import);
    return err != ERR_OK ? err : v->visit(v->context, &import);
}

enum err import_rows_visit(struct store *store, struct store_snapshot *snapshot,
                           enum err (*visit)(void *context, const struct import_row *row), void *context) {
    struct visit_rows v = {visit, context};
    const struct store_key first = {STORE_IMPORTS, SLICE("imports"), SLICE("")};
    return store_scan(store, snapshot, &first, SLICE_NONE, false, visit_row, &v);
}
