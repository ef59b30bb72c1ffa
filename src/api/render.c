#include <assert.h>

#include "api/api_internal.h"

/* At most 20 bytes. */
static uint8_t *format_i64(uint8_t *to, int64_t value) {
    char text[24];
    size_t at = sizeof text;
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do text[--at] = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    if (value < 0) text[--at] = '-';
    memcpy(to, text + at, sizeof text - at);
    return to + (sizeof text - at);
}

void put_i64(struct buf *out, int64_t value) {
    uint8_t *to = buf_reserve(out, 24);
    if (to != NULL) buf_commit(out, (size_t)(format_i64(to, value) - to));
}

/* With its quotes: at most DECIMAL_TEXT_MAX + 2 bytes. */
static uint8_t *format_decimal(uint8_t *to, struct decimal value) {
    *to++ = '"';
    to += decimal_format(value, (char *)to);
    *to++ = '"';
    return to;
}

void put_decimal(struct buf *out, struct decimal value) {
    uint8_t *to = buf_reserve(out, DECIMAL_TEXT_MAX + 2);
    if (to != NULL) buf_commit(out, (size_t)(format_decimal(to, value) - to));
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

/* What a latest price has behind its series' name, written in one piece: a request may ask for thousands. */
#define PUT(to, literal) ((uint8_t *)memcpy((to), (literal), sizeof(literal) - 1) + sizeof(literal) - 1)

void put_latest(struct buf *out, const struct series *series, const struct latest *latest) {
    enum { REST_MAX = 3 * (DECIMAL_TEXT_MAX + 2) + 20 + 100 };
    buf_put(out, SLICE("{\"series\":"));
    put_name(out, slice_text(series->name));
    uint8_t *const begin = buf_reserve(out, REST_MAX), *to = begin;
    if (to == NULL) return;
    to = series->kind == SERIES_PRICE ? PUT(to, ",\"kind\":\"price\",\"price\":")
                                      : PUT(to, ",\"kind\":\"trade\",\"price\":");
    to = format_decimal(to, latest->price);
    to = PUT(to, ",\"time\":");
    to = format_i64(to, latest->time_ms);
    if (series->kind == SERIES_PRICE && latest_told(latest->base_volume)) {
        to = PUT(to, ",\"base_volume_24h\":");
        to = format_decimal(to, latest->base_volume);
    }
    if (series->kind == SERIES_PRICE && latest_told(latest->quote_volume)) {
        to = PUT(to, ",\"quote_volume_24h\":");
        to = format_decimal(to, latest->quote_volume);
    }
    to = PUT(to, "}");
    buf_commit(out, (size_t)(to - begin));
}

enum err candle_list_add(void *context, const struct candle *candle) {
    struct candle_list *list = context;
    if (list->separator == ',' && list->count > 0) buf_put_u8(list->out, ',');
    if (list->count == 0) candle_json_head(&list->style, &list->head);
    candle_to_json_after(list->out, &list->head, candle);
    if (list->separator == '\n') buf_put_u8(list->out, '\n');
    list->count++;
    return buf_err(list->out);
}

const struct ledger_term ledger_terms[LEDGER_TERMS] = {
    {"read", offsetof(struct ledger_row, read)},       {"used", offsetof(struct ledger_row, used)},
    {"late", offsetof(struct ledger_row, late)},       {"duplicate", offsetof(struct ledger_row, duplicate)},
    {"invalid", offsetof(struct ledger_row, invalid)}, {"filtered", offsetof(struct ledger_row, filtered)},
    {"pending", offsetof(struct ledger_row, pending)},
};
_Static_assert(sizeof(struct ledger_row) == LEDGER_TERMS * sizeof(uint64_t), "every term is told");

uint64_t ledger_term_of(const struct ledger_row *row, uint32_t index) {
    assert(index < LEDGER_TERMS);
    return *(const uint64_t *)(const void *)((const char *)row + ledger_terms[index].offset);
}

void put_number(struct buf *out, const char *name, int64_t value) {
    put_member(out, name);
    put_i64(out, value);
}

void put_ledger_terms(struct buf *out, const struct ledger_row *row) {
    for (uint32_t i = 0; i < LEDGER_TERMS; i++) put_number(out, ledger_terms[i].name, (int64_t)ledger_term_of(row, i));
}
