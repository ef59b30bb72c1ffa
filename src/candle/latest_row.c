#include "candle/latest_row.h"

enum { ROW_BYTES_MAX = 512 };

static void put_decimal(struct buf *out, struct decimal value) {
    buf_put_i128(out, value.mantissa);
    buf_put_u8(out, value.scale);
}

static struct decimal get_decimal(struct reader *in) {
    struct decimal value;
    value.mantissa = reader_i128(in);
    value.scale = reader_u8(in);
    return value;
}

void latest_row_put(struct store_batch *batch, const char *task, uint32_t series, const struct latest *latest) {
    const uint8_t row[] = {(uint8_t)(series >> 24), (uint8_t)(series >> 16), (uint8_t)(series >> 8), (uint8_t)series};
    struct buf value;
    buf_init(&value, ROW_BYTES_MAX);
    put_decimal(&value, latest->price);
    put_decimal(&value, latest->base_volume);
    put_decimal(&value, latest->quote_volume);
    buf_put_varint(&value, latest->time_ms);
    buf_put_varint(&value, latest->order);
    buf_put_varint(&value, latest->offset);
    const struct store_key key = {STORE_LATEST, slice_text(task), slice_of(row, sizeof row)};
    store_batch_put_buf(batch, &key, &value);
    buf_deinit(&value);
}

static enum err restore_row(void *context, struct slice row, struct slice value) {
    struct reader key = reader_of(row), in = reader_of(value);
    uint32_t series = reader_be32(&key);
    struct latest latest;
    latest.price = get_decimal(&in);
    latest.base_volume = get_decimal(&in);
    latest.quote_volume = get_decimal(&in);
    latest.time_ms = reader_varint(&in);
    latest.order = reader_varint(&in);
    latest.offset = reader_varint(&in);
    if (reader_end(&key) != ERR_OK || reader_end(&in) != ERR_OK) return ERR_CORRUPT;
    return latest_restore(context, series, &latest);
}

enum err latest_rows_restore(struct store *store, struct store_snapshot *snapshot, const char *task,
                             struct latest_table *table) {
    const struct store_key first = {STORE_LATEST, slice_text(task), SLICE("")};
    return store_scan(store, snapshot, &first, SLICE_NONE, false, restore_row, table);
}
