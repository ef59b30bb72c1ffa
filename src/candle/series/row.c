#include "candle/series_row.h"

enum { ROW_VERSION = 1, ROW_BYTES_MAX = 512 };

static struct slice row_key(uint32_t number, uint8_t key[static 4]) {
    for (int i = 0; i < 4; i++) key[i] = (uint8_t)(number >> (24 - 8 * i));
    return slice_of(key, 4);
}

void series_row_put(struct store_batch *batch, const struct series *series) {
    struct buf value;
    uint8_t key_bytes[4];
    buf_init(&value, ROW_BYTES_MAX);
    buf_put_u8(&value, ROW_VERSION);
    buf_put_u8(&value, (uint8_t)series->kind);
    buf_put_u8(&value, (uint8_t)series->ids);
    buf_put_uvarint(&value, series->grace_ms);
    buf_put_uvarint(&value, strlen(series->name));
    buf_put_text(&value, series->name);
    buf_put_uvarint(&value, strlen(series->symbol));
    buf_put_text(&value, series->symbol);
    struct store_key key = {STORE_SERIES, SLICE("series"), row_key(series->number, key_bytes)};
    store_batch_put_buf(batch, &key, &value);
    buf_deinit(&value);
}

static void get_text(struct reader *in, char *text, size_t size) {
    uint64_t length = reader_uvarint(in);
    if (length >= size) in->err = ERR_CORRUPT;
    struct slice bytes = reader_take(in, reader_err(in) ? 0 : length);
    if (bytes.size > 0) memcpy(text, bytes.data, bytes.size);
}

static enum err decode(struct slice row, struct slice value, struct series *ret_series) {
    struct reader key = reader_of(row), in = reader_of(value);
    struct series series = {.number = reader_be32(&key)};
    if (reader_u8(&in) != ROW_VERSION) return ERR_FOREIGN;
    uint8_t kind = reader_u8(&in), ids = reader_u8(&in);
    uint64_t grace_ms = reader_uvarint(&in);
    get_text(&in, series.name, sizeof series.name);
    get_text(&in, series.symbol, sizeof series.symbol);
    if (reader_end(&key) != ERR_OK || reader_end(&in) != ERR_OK || kind > SERIES_PRICE || ids > SERIES_IDS_DENSE ||
        grace_ms > UINT32_MAX)
        return ERR_CORRUPT;
    series.kind = kind;
    series.ids = ids;
    series.grace_ms = (uint32_t)grace_ms;
    *ret_series = series;
    return ERR_OK;
}

static enum err visit(void *context, struct slice row, struct slice value) {
    struct series_table *table = context;
    struct series series;
    enum err err = decode(row, value, &series);
    if (err) return err;
    const struct series *known = series_get(table, series.number);
    if (known != NULL)
        return known->kind == series.kind && strcmp(known->name, series.name) == 0 ? ERR_OK : ERR_CORRUPT;
    err = series_restore(table, &series);
    return err == ERR_EXISTS ? ERR_CORRUPT : err;
}

enum err series_rows_load(struct series_table *table, struct store *store, struct store_snapshot *snapshot,
                          struct diag *diag) {
    struct store_key key = {STORE_SERIES, SLICE("series"), SLICE("")};
    enum err err = store_scan(store, snapshot, &key, SLICE_NONE, false, visit, table);
    if (err == ERR_FOREIGN) return store_other_version(diag, "the series table");
    if (err) return diag_set(diag, err, "the stored series table cannot be read");
    return ERR_OK;
}
