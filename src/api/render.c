#include "api/api_internal.h"

void put_i64(struct buf *out, int64_t value) {
    char text[24];
    size_t at = sizeof text;
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do text[--at] = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    if (value < 0) text[--at] = '-';
    buf_put(out, slice_of(text + at, sizeof text - at));
}

void put_decimal(struct buf *out, struct decimal value) {
    char text[DECIMAL_TEXT_MAX + 2];
    text[0] = '"';
    const size_t size = decimal_format(value, text + 1);
    text[size + 1] = '"';
    buf_put(out, slice_of(text, size + 2));
}

void put_name(struct buf *out, struct slice name) {
    bool plain = true;
    for (size_t i = 0; i < name.size; i++)
        plain &= name.data[i] >= 0x20 && name.data[i] < 0x7f && name.data[i] != '"' && name.data[i] != '\\';
    if (!plain) {
        json_put_string(out, name);
        return;
    }
    uint8_t *to = buf_reserve(out, name.size + 2);
    if (to == NULL) return;
    to[0] = '"';
    if (name.size > 0) memcpy(to + 1, name.data, name.size);
    to[name.size + 1] = '"';
    buf_commit(out, name.size + 2);
}

void put_member(struct buf *out, const char *name) {
    buf_put(out, SLICE(",\""));
    buf_put_text(out, name);
    buf_put(out, SLICE("\":"));
}

void put_latest(struct buf *out, const struct series *series, const struct latest *latest) {
    const bool price = series->kind == SERIES_PRICE;
    buf_put(out, SLICE("{\"series\":"));
    put_name(out, slice_text(series->name));
    if (price)
        buf_put(out, SLICE(",\"kind\":\"price\",\"price\":"));
    else
        buf_put(out, SLICE(",\"kind\":\"trade\",\"price\":"));
    put_decimal(out, latest->price);
    buf_put(out, SLICE(",\"time\":"));
    put_i64(out, latest->time_ms);
    if (price) {
        buf_put(out, SLICE(",\"base_volume_24h\":"));
        put_decimal(out, latest->base_volume);
        buf_put(out, SLICE(",\"quote_volume_24h\":"));
        put_decimal(out, latest->quote_volume);
    }
    buf_put_u8(out, '}');
}

enum err candle_list_add(void *context, const struct candle *candle) {
    struct candle_list *list = context;
    if (list->separator == ',' && list->count > 0) buf_put_u8(list->out, ',');
    candle_to_json(list->out, &list->style, candle);
    if (list->separator == '\n') buf_put_u8(list->out, '\n');
    list->count++;
    return buf_err(list->out);
}
