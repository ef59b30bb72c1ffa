/* A file that is one JSON array, as `curl` saves the answers of Binance's REST routes, or as POST /v1/prices takes it: made
 * into lines of the format that has the same fields, one an element, so that everything behind is as ever. */
#include <stdio.h>

#include "codec/json.h"
#include "venue/venue.h"

enum { ARRAY_BYTES_MAX = JSON_DOCUMENT_MAX, FIELDS_MAX = 12 };

bool import_is_array(struct slice head) {
    size_t at = 0;
    head = input_unmarked(head);
    while (at < head.size &&
           (head.data[at] == ' ' || head.data[at] == '\n' || head.data[at] == '\r' || head.data[at] == '\t'))
        at++;
    if (at == head.size || head.data[at] != '[') return false;
    for (at++; at < head.size; at++) {
        uint8_t c = head.data[at];
        if (c == '{' || c == '[' || c == ']') return true;
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return false;
    }
    return true;
}

bool import_takes_array(enum import_format format) {
    return format == IMPORT_GUESS || format == IMPORT_PRICE_EVENTS || format == IMPORT_BINANCE_TRADES ||
           format == IMPORT_BINANCE_AGGTRADES || format == IMPORT_BINANCE_KLINES;
}

static enum err read_whole(struct input *input, struct diag *diag, struct buf *text) {
    input_skip_mark(input);
    for (;;) {
        struct slice lines;
        enum err err = input_lines(input, diag, &lines);
        if (err == ERR_END) return ERR_OK;
        if (err == ERR_OK) buf_put(text, lines);
        if (err == ERR_TOO_LARGE || buf_err(text) != ERR_OK) {
            diag_set(diag, ERR_TOO_LARGE, "a file that is one JSON array may have %d MiB, and 16 MiB in a line",
                     ARRAY_BYTES_MAX / 1024 / 1024);
            diag_hint(diag, "one element a line is read at any size: jq -c '.[]'");
            return ERR_TOO_LARGE;
        }
        if (err != ERR_OK) return err;
    }
}

static bool has(const struct json_value *value, const char *name) { return json_member(value, name) != NULL; }

static enum import_format format_of(const struct json_value *first) {
    if (json_type_of(first) == JSON_ARRAY)
        return json_count(first) == FIELDS_MAX ? IMPORT_BINANCE_KLINES : IMPORT_GUESS;
    if (json_type_of(first) != JSON_OBJECT) return IMPORT_GUESS;
    if (has(first, "baseCurrency") || has(first, "timestampInMs")) return IMPORT_PRICE_EVENTS;
    if (has(first, "a") && has(first, "f") && has(first, "l") && has(first, "T")) return IMPORT_BINANCE_AGGTRADES;
    if (has(first, "id") && has(first, "qty") && has(first, "isBuyerMaker")) return IMPORT_BINANCE_TRADES;
    return IMPORT_GUESS;
}

/* The element's own bytes on one line: a newline outside of strings is space, and inside there is none. */
static void put_object(struct buf *out, const struct json_value *value) {
    struct slice source = json_source(value);
    for (size_t i = 0; i < source.size; i++)
        buf_put_u8(out, source.data[i] == '\n' || source.data[i] == '\r' ? ' ' : source.data[i]);
}

/* A member that is missing leaves its field empty, which the format's reader refuses by name. */
static void put_field(struct buf *out, const struct json_value *value) {
    if (value == NULL) return;
    switch (json_type_of(value)) {
        case JSON_TRUE: buf_put_text(out, "true"); return;
        case JSON_FALSE: buf_put_text(out, "false"); return;
        case JSON_NUMBER: buf_put(out, json_text(value)); return;
        case JSON_STRING: break;
        default: return;
    }
    struct slice text = json_text(value);
    for (size_t i = 0; i < text.size; i++) /* as in put_object, and nothing splits a field */
        buf_put_u8(out, text.data[i] < ' ' || text.data[i] == ',' || text.data[i] == '"' ? '?' : text.data[i]);
}

static void put_members(struct buf *out, const struct json_value *object, const char *const *names, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) buf_put_u8(out, ',');
        if (json_type_of(object) == JSON_OBJECT) put_field(out, json_member(object, names[i]));
    }
}

static void put_element(struct buf *out, const struct json_value *value, enum import_format format) {
    static const char *const trades[] = {"id", "price", "qty", "quoteQty", "time", "isBuyerMaker", "isBestMatch"};
    static const char *const aggregated[] = {"a", "p", "q", "f", "l", "T", "m", "M"};
    if (format == IMPORT_BINANCE_TRADES) {
        put_members(out, value, trades, sizeof trades / sizeof *trades);
    } else if (format == IMPORT_BINANCE_AGGTRADES) {
        put_members(out, value, aggregated, sizeof aggregated / sizeof *aggregated);
    } else if (format == IMPORT_BINANCE_KLINES && json_type_of(value) == JSON_ARRAY) {
        for (const struct json_value *at = json_first(value); at != NULL; at = json_next(at)) {
            if (at != json_first(value)) buf_put_u8(out, ',');
            put_field(out, at);
        }
    } else {
        put_object(out, value);
    }
    buf_put_u8(out, '\n');
}

static enum err put_lines(struct slice text, enum import_format *format, struct diag *diag, struct buf *lines) {
    struct json_parser *parser = NULL;
    const struct json_value *root = NULL;
    enum err err = json_parser_open(NULL, &parser);
    if (err != ERR_OK) return diag_set(diag, err, "no memory for the array");
    err = json_parse(parser, text, diag, &root);
    if (err == ERR_OK && json_type_of(root) != JSON_ARRAY) err = diag_set(diag, ERR_TYPE, "the file is no JSON array");
    if (err == ERR_OK && json_first(root) == NULL) err = diag_set(diag, ERR_MISSING, "the array is empty");
    if (err == ERR_OK && *format == IMPORT_GUESS && (*format = format_of(json_first(root))) == IMPORT_GUESS) {
        err = diag_set(diag, ERR_SYNTAX, "the format of the array's elements is not known");
        diag_hint(diag, "price events, and answers of Binance's trades, aggTrades and klines are read");
    }
    for (const struct json_value *at = err == ERR_OK ? json_first(root) : NULL; at != NULL; at = json_next(at))
        put_element(lines, at, *format);
    json_parser_close(&parser);
    return err == ERR_OK && buf_err(lines) != ERR_OK ? diag_set(diag, buf_err(lines), "no memory for the array") : err;
}

enum err import_array_lines(struct input *input, enum import_format *format, struct diag *diag, struct buf *lines) {
    struct buf text;
    buf_init(&text, ARRAY_BYTES_MAX);
    enum err err = read_whole(input, diag, &text);
    if (err == ERR_OK) err = put_lines(buf_slice(&text), format, diag, lines);
    buf_deinit(&text);
    return err;
}
