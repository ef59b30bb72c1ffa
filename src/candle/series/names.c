#include "candle/series/names.h"

#include <ctype.h>
#include <stdio.h>

#include "base/hash.h"

enum { GRACE_MS = 10000, HINT_SCAN_MAX = 20000 };

bool series_part_ok(struct slice part) {
    bool bad = false;
    for (size_t i = 0; i < part.size; i++) {
        const uint8_t c = part.data[i];
        bad |= (c <= ' ') | (c == 0x7f) | (c == ':') | (c == '/');
    }
    return part.size > 0 && !bad;
}

static char lower(uint8_t c) { return (char)(c >= 'A' && c <= 'Z' ? c + 32 : c); }
static char upper(uint8_t c) { return (char)(c >= 'a' && c <= 'z' ? c - 32 : c); }

static char *put_part(char *to, struct slice part, char (*change)(uint8_t c)) {
    for (size_t i = 0; i < part.size; i++) to[i] = change(part.data[i]);
    return to + part.size;
}

enum err series_name_of(const struct series_key *key, struct series_name *ret_name) {
    size_t size = key->venue.size + key->base.size + key->quote.size + 2;
    if (key->venue.size >= SERIES_NAME_MAX || key->base.size >= SERIES_NAME_MAX || size >= SERIES_NAME_MAX)
        return ERR_SYNTAX;
    if (!series_part_ok(key->venue) || !series_part_ok(key->base) || !series_part_ok(key->quote)) return ERR_SYNTAX;
    char *at = put_part(ret_name->text, key->venue, lower);
    *at++ = ':';
    at = put_part(at, key->base, upper);
    *at++ = '/';
    at = put_part(at, key->quote, upper);
    *at = 0;
    ret_name->size = (uint32_t)size;
    ret_name->kind = key->kind;
    ret_name->hash = hash_bytes(slice_of(ret_name->text, size), key->kind);
    return ERR_OK;
}

bool series_name_bind(struct series *series) {
    const char *colon = strchr(series->name, ':');
    const char *slash = colon == NULL ? NULL : strchr(colon, '/');
    if (slash == NULL) return false;
    series->venue = slice_of(series->name, (size_t)(colon - series->name));
    series->base = slice_of(colon + 1, (size_t)(slash - colon - 1));
    series->quote = slice_text(slash + 1);
    return true;
}

static bool starts_with(struct slice text, const char *prefix) {
    size_t size = strlen(prefix);
    return text.size >= size && memcmp(text.data, prefix, size) == 0;
}

static enum series_ids venue_ids(struct slice venue) {
    if (starts_with(venue, "binance")) return SERIES_IDS_DENSE;
    if (starts_with(venue, "huobi")) return SERIES_IDS_SPARSE;
    return SERIES_IDS_NONE;
}

enum err series_declare(const struct series_key *key, const struct series_name *name, struct series *ret_series) {
    struct series series = {.kind = key->kind, .ids = SERIES_IDS_NONE, .grace_ms = GRACE_MS};
    memcpy(series.name, name->text, name->size + 1);
    series_name_bind(&series);
    if (key->kind == SERIES_TRADE) {
        if (series.base.size + series.quote.size >= sizeof series.symbol) return ERR_SYNTAX;
        series.ids = venue_ids(series.venue);
        memcpy(series.symbol, series.base.data, series.base.size);
        memcpy(series.symbol + series.base.size, series.quote.data, series.quote.size);
    }
    *ret_series = series;
    return ERR_OK;
}

/* --- what people type --- */

static size_t find_byte(struct slice text, char byte) {
    const uint8_t *at = text.size > 0 ? memchr(text.data, byte, text.size) : NULL;
    return at != NULL ? (size_t)(at - text.data) : text.size;
}

/* Levenshtein's distance, ASCII case ignored, of names short enough for two rows on the stack. */
static uint32_t distance(struct slice a, const char *b) {
    uint32_t row[SERIES_NAME_MAX + 1];
    size_t width = strlen(b);
    for (uint32_t j = 0; j <= width; j++) row[j] = j;
    for (uint32_t i = 1; i <= a.size; i++) {
        uint32_t diagonal = row[0];
        row[0] = i;
        for (uint32_t j = 1; j <= width; j++) {
            uint32_t change = diagonal + (lower(a.data[i - 1]) != lower((uint8_t)b[j - 1]));
            uint32_t edge = (row[j - 1] < row[j] ? row[j - 1] : row[j]) + 1;
            diagonal = row[j];
            row[j] = change < edge ? change : edge;
        }
    }
    return row[width];
}

static void hint_nearest(const struct series_table *table, struct slice text, struct diag *diag) {
    const struct series *best = NULL;
    uint32_t best_distance = UINT32_MAX;
    uint32_t count = series_count(table);
    if (count > HINT_SCAN_MAX) count = HINT_SCAN_MAX;
    for (uint32_t i = 0; i < count && text.size < SERIES_NAME_MAX; i++) {
        const struct series *series = series_get(table, i);
        if (series == NULL) continue;
        uint32_t d = distance(text, series->name);
        if (d < best_distance) {
            best_distance = d;
            best = series;
        }
    }
    if (best != NULL)
        diag_hint(diag, "the nearest known series is %s", best->name);
    else
        diag_hint(diag, "no series are known yet");
}

static uint32_t find_kinds(const struct series_table *table, struct series_key *key, int kind) {
    uint32_t number = SERIES_NONE;
    if (kind != SERIES_PRICE) {
        key->kind = SERIES_TRADE;
        number = series_find(table, key);
    }
    if (number == SERIES_NONE && kind != SERIES_TRADE) {
        key->kind = SERIES_PRICE;
        number = series_find(table, key);
    }
    return number;
}

static uint32_t find_symbol(const struct series_table *table, struct slice venue, struct slice symbol, int kind) {
    for (uint32_t i = 0; i < series_count(table); i++) {
        const struct series *series = series_get(table, i);
        if (series != NULL && (kind < 0 || series->kind == (enum series_kind)kind) &&
            slice_equal_nocase(series->venue, venue) && slice_equal_nocase(slice_text(series->symbol), symbol))
            return i;
    }
    return SERIES_NONE;
}

static uint32_t find_named(const struct series_table *table, struct slice venue, struct slice name, int kind) {
    size_t slash = find_byte(name, '/');
    struct series_key key = {.venue = venue};
    if (slash < name.size) {
        key.base = slice_of(name.data, slash);
        key.quote = slice_of(name.data + slash + 1, name.size - slash - 1);
        return find_kinds(table, &key, kind);
    }
    uint32_t number = SERIES_NONE;
    if (series_split_symbol(venue, name, &key.base, &key.quote) == ERR_OK) number = find_kinds(table, &key, kind);
    return number != SERIES_NONE ? number : find_symbol(table, venue, name, kind);
}

enum err series_parse(const struct series_table *table, struct slice text, int kind, struct diag *diag,
                      uint32_t *ret_number) {
    size_t colon = find_byte(text, ':');
    if (colon == 0 || colon + 1 >= text.size || text.size >= SERIES_NAME_MAX) {
        diag_set(diag, ERR_SYNTAX, "\"%.*s\" is not a series", (int)(text.size < 100 ? text.size : 100), text.data);
        diag_hint(diag, "write venue:BASE/QUOTE, for example binance:BTC/USDT");
        return ERR_SYNTAX;
    }
    struct slice venue = slice_of(text.data, colon);
    struct slice rest = slice_of(text.data + colon + 1, text.size - colon - 1);
    uint32_t number = find_named(table, venue, rest, kind);
    if (number == SERIES_NONE && kind >= 0 && find_named(table, venue, rest, -1) != SERIES_NONE) {
        const bool price = kind == SERIES_PRICE;
        diag_set(diag, ERR_NOT_FOUND, "there are no %s of \"%.*s\"", price ? "prices" : "trades", SLICE_PRINT(text));
        diag_hint(diag, "there are %s: ask for kind %s, or for none", price ? "trades" : "prices",
                  price ? "trade" : "price");
        return ERR_NOT_FOUND;
    }
    if (number == SERIES_NONE) {
        diag_set(diag, ERR_NOT_FOUND, "there is no series \"%.*s\"", SLICE_PRINT(text));
        hint_nearest(table, text, diag);
        return ERR_NOT_FOUND;
    }
    *ret_number = number;
    return ERR_OK;
}
