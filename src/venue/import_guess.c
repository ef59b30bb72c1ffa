#include "codec/csv.h"
#include "venue/import_reader.h"

enum { LOOK_BYTES = 8192, LOOK_FIELDS = 16 };

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

static bool starts_with(struct slice text, const char *head) {
    return text.size >= strlen(head) && memcmp(text.data, head, strlen(head)) == 0;
}

static struct slice line_of(struct slice *rest) {
    const uint8_t *newline = rest->size == 0 ? NULL : memchr(rest->data, '\n', rest->size);
    size_t size = newline == NULL ? rest->size : (size_t)(newline - rest->data);
    struct slice line = slice_of(rest->data, size);
    size_t step = newline == NULL ? size : size + 1;
    *rest = slice_of(rest->data + step, rest->size - step);
    if (line.size > 0 && line.data[line.size - 1] == '\r') line.size--;
    return line;
}

/* `[u64 receive time][u32 length][gzip member]` */
static bool is_frames(struct slice head) {
    if (head.size < 14 || head.data[12] != 0x1F || head.data[13] != 0x8B) return false;
    uint32_t size;
    memcpy(&size, head.data + 8, 4);
    return size <= HUOBI_FRAME_MAX;
}

/* "1618677372.17: {" or "1723161253937085768 {" */
static enum import_format timed_json(struct slice line) {
    size_t i = 0;
    while (i < line.size && is_digit(line.data[i])) i++;
    if (i == 0 || i == line.size) return IMPORT_GUESS;
    struct slice rest = slice_of(line.data + i, line.size - i);
    if (starts_with(rest, " {")) return IMPORT_BINANCE_STREAM;
    if (rest.data[0] == '.')
        for (i = 1; i < rest.size && is_digit(rest.data[i]);) i++;
    else
        i = 0;
    rest = slice_of(rest.data + i, rest.size - i);
    return starts_with(rest, ": {") || starts_with(rest, ": [") ? IMPORT_BINANCE_CAPTURE : IMPORT_GUESS;
}

static bool has_name(struct slice line, const char *name) {
    size_t size = strlen(name);
    for (size_t i = 0; i + size <= line.size; i++)
        if (slice_equal_nocase(slice_of(line.data + i, size), slice_of(name, size))) return true;
    return false;
}

static bool is_boolean(struct slice field) {
    return slice_equal_nocase(field, SLICE("true")) || slice_equal_nocase(field, SLICE("false"));
}

static bool is_time(struct slice field) {
    uint64_t value = 0;
    return field.size >= 13 && slice_to_u64(field, &value);
}

static bool is_name(struct slice field, const char *name) { return slice_equal_nocase(field, slice_text(name)); }

/* By the names of its columns, or by what a row holds. */
static enum import_format published_csv(struct slice line) {
    uint8_t copy[LOOK_BYTES];
    struct slice f[LOOK_FIELDS];
    uint32_t count = 0;
    if (line.size == 0 || line.size > sizeof copy) return IMPORT_GUESS;
    memcpy(copy, line.data, line.size);
    if (csv_split(copy, line.size, ',', f, LOOK_FIELDS, &count) != ERR_OK) return IMPORT_GUESS;
    if (count >= 6 && is_name(f[0], "agg_trade_id")) return IMPORT_BINANCE_AGGTRADES;
    if (count == 12 && is_name(f[0], "open_time")) return IMPORT_BINANCE_KLINES;
    if (count >= 6 && is_name(f[0], "id") && is_name(f[1], "price") && is_name(f[4], "time"))
        return IMPORT_BINANCE_TRADES;
    if (count == 12 && is_time(f[0]) && is_time(f[6])) return IMPORT_BINANCE_KLINES;
    if ((count == 7 || count == 8) && is_time(f[5]) && is_boolean(f[6])) return IMPORT_BINANCE_AGGTRADES;
    if ((count == 6 || count == 7) && is_time(f[4]) && is_boolean(f[5])) return IMPORT_BINANCE_TRADES;
    return IMPORT_GUESS;
}

enum import_format import_guess(struct slice head) {
    if (is_frames(head)) return IMPORT_HUOBI_FRAMES;
    struct slice rest = input_unmarked(head), line = line_of(&rest);
    while (line.size == 0 && rest.size > 0) line = line_of(&rest);
    if (starts_with(line, "ws://") || starts_with(line, "wss://") || starts_with(line, "http"))
        return IMPORT_BINANCE_CAPTURE;
    if (starts_with(line, "{"))
        return has_name(line, "\"baseCurrency\"") && has_name(line, "\"timestampInMs\"") ? IMPORT_PRICE_EVENTS
                                                                                         : IMPORT_GUESS;
    enum import_format format = timed_json(line);
    if (format == IMPORT_GUESS) format = published_csv(line);
    if (format == IMPORT_GUESS) format = published_csv(line_of(&rest)); /* the first may be a header */
    return format;
}
