#include <assert.h>
#include <stdio.h>

#include "base/hash.h"
#include "venue/import_reader.h"

const char *const import_format_name[IMPORT_FORMAT_COUNT] = {
    "guess",
    "binance-capture",
    "binance-stream",
    "binance-aggtrades",
    "binance-trades",
    "binance-klines",
    "huobi-frames",
    "price-events",
    "csv",
};

static const struct import_ops *const format_ops[IMPORT_FORMAT_COUNT] = {
    [IMPORT_BINANCE_CAPTURE] = &import_capture_ops,
    [IMPORT_BINANCE_STREAM] = &import_stream_ops,
    [IMPORT_BINANCE_AGGTRADES] = &import_aggtrades_ops,
    [IMPORT_BINANCE_TRADES] = &import_trades_ops,
    [IMPORT_BINANCE_KLINES] = &import_klines_ops,
    [IMPORT_PRICE_EVENTS] = &import_price_ops,
    [IMPORT_CSV] = &import_csv_ops,
};

/* --- opening --- */

static enum err choose_format(struct import_reader *reader, const struct import_options *options, struct diag *diag) {
    reader->format = options->format;
    if (reader->format == IMPORT_GUESS && options->columns != NULL) reader->format = IMPORT_CSV;
    if (reader->format == IMPORT_GUESS) reader->format = import_guess(input_peek(reader->input));
    if (reader->format != IMPORT_GUESS) return ERR_OK;
    const enum err err = input_stopped(reader->input, diag);
    if (err != ERR_OK && err != ERR_END) return err; /* damage, and too little before it */
    if (input_peek(reader->input).size == 0) return diag_set(diag, ERR_SYNTAX, "there is nothing in the file");
    diag_set(diag, ERR_SYNTAX, "the content is like none of the formats that can be told apart");
    diag_hint(diag,
              "say which it is: --as binance-capture, binance-stream, binance-aggtrades, binance-trades, "
              "binance-klines, huobi-frames, price-events, or csv with --columns");
    return ERR_SYNTAX;
}

static enum err open_csv(struct import_reader *reader, const char *path, const struct import_options *options,
                         struct diag *diag) {
    if (reader->format == IMPORT_CSV) {
        if (options->columns == NULL)
            return diag_set(diag, ERR_USAGE, "format csv needs --columns time,price,quantity,..");
        enum err err = import_csv_columns(reader, options->columns, diag);
        if (err != ERR_OK) return err;
    }
    if (options->interval != NULL) {
        reader->interval_ms = binance_interval_ms(slice_text(options->interval));
        if (reader->interval_ms < 0)
            return diag_set(diag, ERR_USAGE, "--interval: \"%s\" is no interval", options->interval);
    }
    return import_csv_series(reader, path, options->series, diag);
}

/* A capture begins with the URL that it came from: whose venue it is must be known before the first event. */
static enum err venue_of_capture(struct import_reader *reader, struct diag *diag) {
    struct slice head = input_peek(reader->input);
    const uint8_t *newline = head.size == 0 ? NULL : memchr(head.data, '\n', head.size);
    if (newline == NULL) return ERR_OK;
    const struct slice line = slice_of(head.data, (size_t)(newline - head.data));
    return import_is_url(line) ? import_take_url(reader, line, diag) : ERR_OK;
}

static enum err open_format(struct import_reader *reader, const char *path, const struct import_options *options,
                            struct diag *diag) {
    switch (reader->format) {
        case IMPORT_BINANCE_CAPTURE:
        case IMPORT_BINANCE_STREAM: return binance_decoder_open(&reader->market, &reader->binance);
        case IMPORT_HUOBI_FRAMES: return huobi_decoder_open(&reader->market, &reader->huobi);
        case IMPORT_PRICE_EVENTS: return price_decoder_open(reader->market.series, &reader->prices);
        default: return open_csv(reader, path, options, diag);
    }
}

enum err import_open(struct input *input, const char *path, const struct import_options *options,
                     struct series_table *series, struct diag *diag, struct import_reader **ret_reader) {
    assert(input != NULL && path != NULL && options != NULL && series != NULL && ret_reader != NULL);
    struct import_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL) return ERR_NO_MEMORY;
    reader->input = input;
    reader->line = 1;
    reader->series = SERIES_NONE;
    reader->first_row = true;
    reader->time_unit = options->time_unit;
    reader->venue_given = options->venue != NULL;
    enum err err = choose_format(reader, options, diag);
    const char *usual = reader->format == IMPORT_HUOBI_FRAMES ? "huobi" : "binance";
    const char *venue = options->venue != NULL ? options->venue : usual;
    if (err == ERR_OK && (err = market_init(&reader->market, series, venue)) == ERR_SYNTAX)
        err = diag_set(diag, ERR_USAGE, "--venue: \"%s\" is no venue's name", venue);
    if (err == ERR_OK && reader->format != IMPORT_HUOBI_FRAMES) input_skip_mark(input);
    if (err == ERR_OK && reader->format == IMPORT_BINANCE_CAPTURE) err = venue_of_capture(reader, diag);
    if (err == ERR_OK) err = open_format(reader, path, options, diag);
    if (err != ERR_OK) {
        diag_where(diag, "%s", path);
        import_close(&reader);
        return err;
    }
    reader->ops = format_ops[reader->format];
    *ret_reader = reader;
    return ERR_OK;
}

void import_close(struct import_reader **reader) {
    if (reader == NULL || *reader == NULL) return;
    price_decoder_close(&(*reader)->prices);
    binance_decoder_close(&(*reader)->binance);
    huobi_decoder_close(&(*reader)->huobi);
    market_deinit(&(*reader)->market);
    free(*reader);
    *reader = NULL;
}

enum import_format import_format_of(const struct import_reader *reader) { return reader->format; }

const char *import_venue(const struct import_reader *reader) { return reader->market.venue; }

uint32_t import_series(const struct import_reader *reader) { return reader->series; }

uint64_t import_reading(const struct import_reader *reader) {
    uint64_t hash = hash_bytes(slice_text(import_format_name[reader->format]), 0);
    if (reader->format == IMPORT_PRICE_EVENTS) return hash;
    char numbers[64];
    int size = snprintf(numbers, sizeof numbers, "%lld %u", (long long)reader->interval_ms, reader->time_units);
    const struct series *series = series_get(reader->market.series, reader->series);
    hash = hash_bytes(slice_text(reader->market.venue), hash);
    hash = hash_bytes(series == NULL ? SLICE("") : slice_text(series->name), hash);
    hash = hash_bytes(slice_of(reader->column_kinds, reader->column_count), hash);
    return hash_bytes(slice_of(numbers, (size_t)size), hash);
}

/* --- reading --- */

static void begin_item(struct import_item *item, enum import_item_kind kind, uint64_t line, struct slice source) {
    item->kind = kind;
    item->line = line;
    item->source = source;
    item->series = SERIES_NONE;
    item->push = NULL;
    item->err = ERR_OK;
    item->reason[0] = '\0';
}

static void reject(struct import_item *item, uint64_t line, struct slice source, enum err err, const struct diag *why) {
    begin_item(item, IMPORT_REJECT, line, source);
    item->err = err;
    diag_print(why, item->reason, sizeof item->reason);
}

/* More lines; a line that is too long for any is an item of its own. */
static enum err next_lines(struct import_reader *reader, struct diag *diag, struct import_item *item,
                           bool *ret_has_item) {
    struct diag why = {0};
    reader->lines = SLICE_NONE;
    reader->at = NULL;
    enum err err = input_lines(reader->input, &why, &reader->lines);
    if (err == ERR_TOO_LARGE) {
        reject(item, reader->line++, SLICE_NONE, err, &why);
        input_add_lines(reader->input, 1);
        *ret_has_item = true;
        return ERR_OK;
    }
    if (err != ERR_OK && err != ERR_END && diag != NULL) *diag = why;
    if (err == ERR_OK) reader->at = reader->lines.data;
    return err;
}

static const uint8_t *lines_end(const struct import_reader *reader) {
    return reader->lines.data == NULL ? NULL : reader->lines.data + reader->lines.size;
}

static bool is_blank(struct slice line) {
    for (size_t i = 0; i < line.size; i++)
        if (line.data[i] != ' ' && line.data[i] != '\t') return false;
    return true;
}

/* The line at reader->at, without its end, and where the next one starts. */
static struct slice line_at(const struct import_reader *reader, const uint8_t *at, const uint8_t **ret_next) {
    const uint8_t *end = lines_end(reader), *newline = memchr(at, '\n', (size_t)(end - at));
    *ret_next = newline == NULL ? end : newline + 1;
    if (newline == NULL) newline = end;
    if (newline > at && newline[-1] == '\r') newline--;
    return slice_of(at, (size_t)(newline - at));
}

/* Judges the line at reader->at and passes over it. */
static enum err take_line(struct import_reader *reader, struct diag *diag, struct event *ret_event,
                          struct import_item *item, enum line_kind *ret_kind) {
    const uint8_t *next = NULL;
    struct slice source = line_at(reader, reader->at, &next);
    struct diag why;
    uint64_t number = reader->line++;
    why.what[0] = why.where[0] = why.hint[0] = '\0';
    reader->at = next;
    *ret_kind = LINE_NOTHING;
    if (is_blank(source)) return ERR_OK;
    begin_item(item, IMPORT_SKIP, number, source);
    enum err err = reader->ops->line(reader, &source, &why, ret_event, item, ret_kind);
    if (err == ERR_OK) {
        item->source = source;
        if (*ret_kind == LINE_EVENT || item->kind == IMPORT_KLINE) reader->first_row = false;
        return ERR_OK;
    }
    if (err_class(err) != ERR_CLASS_INPUT) {
        if (diag != NULL) *diag = why;
        return err;
    }
    why.err = err;
    reject(item, number, source, err, &why);
    *ret_kind = LINE_ITEM;
    return ERR_OK;
}

/* Keeps where `taken` lines from `offset` lie, whose starts count from there, and passes over them. */
static void keep_lines(struct import_reader *reader, uint32_t offset, uint32_t count, uint32_t taken) {
    uint32_t line = (uint32_t)(reader->line - reader->batch_line);
    for (uint32_t i = 0; i < taken; i++) {
        reader->starts[count + i] += offset;
        reader->batch_lines[count + i] = line + i;
    }
    reader->line += taken;
    if (taken > 0) reader->first_row = false;
}

static uint32_t take_plain_lines(struct import_reader *reader, struct event *events, uint32_t count, uint32_t max) {
    uint32_t offset = (uint32_t)(reader->at - reader->lines.data);
    uint32_t taken =
        reader->ops->batch(reader, &reader->at, lines_end(reader), events + count, reader->starts + count, max - count);
    keep_lines(reader, offset, count, taken);
    return taken;
}

static uint32_t take_plain_klines(struct import_reader *reader, struct candle *rows, uint32_t count, uint32_t max) {
    uint32_t offset = (uint32_t)(reader->at - reader->lines.data);
    uint32_t taken =
        binance_csv_klines(&reader->at, lines_end(reader), rows + count, reader->starts + count, max - count);
    keep_lines(reader, offset, count, taken);
    return taken;
}

/* The line at `at` may become the batch's next one. */
static void note_line(struct import_reader *reader, uint32_t count) {
    reader->starts[count] = (uint32_t)(reader->at - reader->lines.data);
    reader->batch_lines[count] = (uint32_t)(reader->line - reader->batch_line);
}

/* Fills events[*count..max) from the lines at hand, until an item or their end. */
static enum err take_lines(struct import_reader *reader, struct event *events, uint32_t max, struct diag *diag,
                           uint32_t *count, struct import_item *item, bool *has_item) {
    const uint8_t *end = lines_end(reader);
    while (*count < max && reader->at < end && !*has_item) {
        if (reader->ops->batch != NULL) *count += take_plain_lines(reader, events, *count, max);
        if (*count == max || reader->at >= end) break;
        enum line_kind kind = LINE_NOTHING;
        note_line(reader, *count);
        enum err err = take_line(reader, diag, &events[*count], item, &kind);
        if (err != ERR_OK) return err;
        if (kind == LINE_EVENT) ++*count;
        *has_item = kind == LINE_ITEM;
    }
    return ERR_OK;
}

static enum err read_lines(struct import_reader *reader, struct event *events, uint32_t max, struct diag *diag,
                           uint32_t *ret_count, struct import_item *item, bool *ret_has_item) {
    enum err err = ERR_OK;
    while (err == ERR_OK && *ret_count == 0 && !*ret_has_item) {
        if (reader->at == lines_end(reader)) err = next_lines(reader, diag, item, ret_has_item);
        if (err == ERR_OK && !*ret_has_item) err = take_lines(reader, events, max, diag, ret_count, item, ret_has_item);
    }
    return err;
}

/* --- frames: `[u64 receive time in us][u32 length][gzip member]`, little-endian; a "line" is a frame --- */

enum { FRAME_HEAD_BYTES = 12 };

static enum err next_frame(struct import_reader *reader, struct diag *diag, struct import_item *item,
                           bool *ret_has_item) {
    struct slice head, frame;
    uint32_t size;
    reader->trade_count = reader->trade_next = 0;
    enum err err = input_bytes(reader->input, FRAME_HEAD_BYTES, diag, &head);
    if (err != ERR_OK) return err;
    memcpy(&size, head.data + 8, 4);
    if (size > HUOBI_FRAME_MAX)
        return diag_set(diag, ERR_CORRUPT, "frame %llu claims %u bytes", (unsigned long long)reader->line, size);
    err = input_bytes(reader->input, size, diag, &frame);
    if (err == ERR_END) err = diag_set(diag, ERR_CORRUPT, "the file ends within a frame");
    if (err != ERR_OK) return err;
    struct diag why = {0};
    err = huobi_decode(reader->huobi, frame, &why, reader->trades, HUOBI_TRADES_MAX, &reader->trade_count);
    uint64_t number = reader->line++;
    struct slice text = huobi_text(reader->huobi).size > 0 ? huobi_text(reader->huobi) : frame;
    reader->batch_line = number;
    if (err == ERR_OK && reader->trade_count > 0) return ERR_OK;
    reader->trade_count = 0;
    *ret_has_item = true;
    if (err == ERR_OK) {
        begin_item(item, IMPORT_SKIP, number, text);
        return ERR_OK;
    }
    why.err = err;
    if (err_class(err) != ERR_CLASS_INPUT && diag != NULL) *diag = why;
    if (err_class(err) != ERR_CLASS_INPUT) return err;
    reject(item, number, text, err, &why);
    return ERR_OK;
}

static enum err read_frames(struct import_reader *reader, struct event *events, uint32_t max, struct diag *diag,
                            uint32_t *ret_count, struct import_item *item, bool *ret_has_item) {
    if (reader->trade_next == reader->trade_count) {
        enum err err = next_frame(reader, diag, item, ret_has_item);
        if (err != ERR_OK || *ret_has_item) return err;
    }
    uint32_t left = reader->trade_count - reader->trade_next, take = left < max ? left : max;
    memcpy(events, reader->trades + reader->trade_next, take * sizeof *events);
    reader->trade_next += take;
    *ret_count = take;
    return ERR_OK;
}

/* --- the contract --- */

enum err import_read(struct import_reader *reader, struct event *events, uint32_t max, struct diag *diag,
                     uint32_t *ret_count, struct import_item *ret_item, bool *ret_has_item) {
    assert(reader != NULL && events != NULL && max > 0);
    uint32_t count = 0;
    bool has_item = false;
    if (max > IMPORT_BATCH_MAX) max = IMPORT_BATCH_MAX;
    reader->batch_line = reader->line;
    uint64_t first = reader->line;
    enum err err = reader->format == IMPORT_HUOBI_FRAMES
                       ? read_frames(reader, events, max, diag, &count, ret_item, &has_item)
                       : read_lines(reader, events, max, diag, &count, ret_item, &has_item);
    input_add_lines(reader->input, reader->line - first);
    reader->batch_count = count;
    *ret_count = count;
    *ret_has_item = has_item;
    return err;
}

enum err import_read_klines(struct import_reader *reader, struct candle *rows, uint32_t max, struct diag *diag,
                            uint32_t *ret_series, uint32_t *ret_count, struct import_item *ret_item,
                            bool *ret_has_item) {
    assert(reader != NULL && rows != NULL && max > 0);
    if (reader->format != IMPORT_BINANCE_KLINES) return ERR_STATE;
    if (max > IMPORT_BATCH_MAX) max = IMPORT_BATCH_MAX;
    reader->batch_line = reader->line;
    uint32_t count = 0;
    bool has_item = false;
    enum err err = ERR_OK;
    uint64_t first = reader->line;
    *ret_series = reader->series;
    while (err == ERR_OK && count < max && !has_item) {
        const uint8_t *end = lines_end(reader);
        if (reader->at == end) {
            if (count > 0) break;
            err = next_lines(reader, diag, ret_item, &has_item);
            continue;
        }
        if (end[-1] == '\n' && reader->interval_ms <= 0) {
            count += take_plain_klines(reader, rows, count, max);
            if (count == max || reader->at == end) continue;
        }
        enum line_kind kind = LINE_NOTHING;
        struct event event;
        note_line(reader, count);
        err = take_line(reader, diag, &event, ret_item, &kind);
        has_item = err == ERR_OK && kind == LINE_ITEM;
        if (has_item && ret_item->kind == IMPORT_KLINE) {
            rows[count++] = ret_item->kline;
            has_item = false;
        }
    }
    input_add_lines(reader->input, reader->line - first);
    reader->batch_count = count;
    *ret_count = count;
    *ret_has_item = has_item;
    return err;
}

enum err import_source(const struct import_reader *reader, uint32_t event_index, uint64_t *ret_line,
                       struct slice *ret_source) {
    if (event_index >= reader->batch_count) return ERR_NOT_FOUND;
    if (reader->format == IMPORT_HUOBI_FRAMES) {
        *ret_line = reader->batch_line;
        *ret_source = huobi_text(reader->huobi);
        return ERR_OK;
    }
    const uint8_t *next = NULL;
    struct slice source = line_at(reader, reader->lines.data + reader->starts[event_index], &next);
    bool prefixed = reader->format == IMPORT_BINANCE_CAPTURE || reader->format == IMPORT_BINANCE_STREAM;
    const uint8_t *message = prefixed ? memchr(source.data, ' ', source.size) : NULL;
    if (message != NULL) source = slice_of(message + 1, source.size - (size_t)(message + 1 - source.data));
    *ret_line = reader->batch_line + reader->batch_lines[event_index];
    *ret_source = source;
    return ERR_OK;
}
