#include "venue/market.h"

#include <assert.h>
#include <stdio.h>

/* --- symbols --- */

static bool venue_byte(uint8_t c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'; }

enum err market_set_venue(struct market *market, const char *venue) {
    char lower[MARKET_VENUE_MAX] = {0};
    size_t size = strlen(venue);
    if (size == 0 || size >= sizeof lower) return ERR_SYNTAX;
    for (size_t i = 0; i < size; i++) {
        uint8_t c = (uint8_t)venue[i];
        if (c >= 'A' && c <= 'Z') c |= 32;
        if (!venue_byte(c)) return ERR_SYNTAX;
        lower[i] = (char)c;
    }
    if (strcmp(lower, market->venue) == 0) return ERR_OK;
    memcpy(market->venue, lower, sizeof lower);
    name_cache_clear(&market->names); /* the same symbols are other series now */
    return ERR_OK;
}

enum err market_init(struct market *market, struct series_table *series, const char *venue) {
    assert(series != NULL && venue != NULL);
    *market = (struct market){.series = series};
    if (!name_cache_init(&market->names)) return ERR_NO_MEMORY;
    enum err err = market_set_venue(market, venue);
    if (err != ERR_OK) market_deinit(market);
    return err;
}

void market_deinit(struct market *market) { name_cache_deinit(&market->names); }

static enum err intern(struct market *market, struct slice base, struct slice quote, struct diag *diag,
                       uint32_t *ret_series) {
    struct series_key key = {.venue = slice_text(market->venue), .base = base, .quote = quote, .kind = SERIES_TRADE};
    enum err err = series_intern(market->series, &key, ret_series);
    if (err != ERR_OK) diag_set(diag, err, "the series cannot be added: %s", err_message(err));
    return err;
}

enum err market_series(struct market *market, struct slice symbol, struct diag *diag, uint32_t *ret_series) {
    struct name_key key = {0};
    bool fits = name_key_set(&key, 0, symbol);
    if (fits) {
        uint32_t series = name_cache_find(&market->names, &key);
        if (series != SERIES_NONE) return *ret_series = series, ERR_OK;
    }
    uint8_t upper[MARKET_SYMBOL_MAX];
    if (symbol.size == 0 || symbol.size > sizeof upper)
        return diag_set(diag, ERR_SYNTAX, "a symbol has 1 to %d bytes", MARKET_SYMBOL_MAX);
    for (size_t i = 0; i < symbol.size; i++) {
        uint8_t c = symbol.data[i];
        bool allowed = c >= 0x80 || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '-' ||
                       c == '_' || c == '.' || c == '/';
        if (!allowed) return diag_set(diag, ERR_SYNTAX, "a symbol has a character that symbols do not have");
        upper[i] = c >= 'a' && c <= 'z' ? c & 0xDF : c;
    }
    struct slice base, quote;
    if (series_split_symbol(slice_text(market->venue), slice_of(upper, symbol.size), &base, &quote) != ERR_OK)
        return diag_set(diag, ERR_UNKNOWN, "the symbol \"%.*s\" ends with no known quote asset", SLICE_PRINT(symbol));
    uint32_t series = SERIES_NONE;
    enum err err = intern(market, base, quote, diag, &series);
    if (err != ERR_OK) return err;
    if (fits) name_cache_add(&market->names, &key, series);
    *ret_series = series;
    return ERR_OK;
}

enum err market_series_named(struct market *market, struct slice name, struct diag *diag, uint32_t *ret_series) {
    const uint8_t *colon = name.size == 0 ? NULL : memchr(name.data, ':', name.size);
    if (colon != NULL) {
        char venue[MARKET_VENUE_MAX];
        size_t size = (size_t)(colon - name.data);
        if (size >= sizeof venue) return diag_set(diag, ERR_SYNTAX, "\"%.*s\" names no venue", SLICE_PRINT(name));
        memcpy(venue, name.data, size);
        venue[size] = '\0';
        if (market_set_venue(market, venue) != ERR_OK)
            return diag_set(diag, ERR_SYNTAX, "\"%.*s\" names no venue", SLICE_PRINT(name));
        name = slice_of(colon + 1, name.size - size - 1);
    }
    return market_series(market, name, diag, ret_series);
}

/* --- venues --- */

static bool contains(struct slice text, const char *part) { return memmem(text.data, text.size, part, strlen(part)); }

/* The domain itself, or a host of it. */
static bool is_within(struct slice host, const char *domain) {
    const size_t size = strlen(domain);
    if (host.size < size || !slice_equal_nocase(slice_of(host.data + host.size - size, size), slice_text(domain)))
        return false;
    return host.size == size || host.data[host.size - size - 1] == '.';
}

/* Host and path behind "://", without user and port. */
static bool split_url(struct slice url, struct slice *ret_host, struct slice *ret_path) {
    const uint8_t *start = url.size == 0 ? NULL : memmem(url.data, url.size, "://", 3), *end = url.data + url.size;
    if (start == NULL) return false;
    const uint8_t *at = start + 3, *path = at;
    while (path < end && *path != '/' && *path != '?' && *path != ' ') path++;
    const uint8_t *host_end = path;
    for (const uint8_t *p = at; p < path; p++)
        if (*p == '@') at = p + 1;
    for (const uint8_t *p = at; p < host_end; p++)
        if (*p == ':') host_end = p;
    *ret_host = slice_of(at, (size_t)(host_end - at));
    *ret_path = slice_of(path, (size_t)(end - path));
    return true;
}

const char *market_venue_of_url(struct slice url) {
    /* The first that fits: a domain, and what its host and path hold. Futures are named by their hosts (fstream, fstream-auth,
     * fapi, ws-fapi), options are no market of ours. */
    static const struct {
        const char *domain, *host, *path, *venue;
    } known[] = {
        {"binance.com", "fstream", "", "binance-usdm"},
        {"binance.com", "fapi", "", "binance-usdm"},
        {"binance.com", "dstream", "", "binance-coinm"},
        {"binance.com", "dapi", "", "binance-coinm"},
        {"binance.com", "nbstream", "", NULL},
        {"binance.com", "eapi", "", NULL},
        {"binance.com", "", "", "binance"},
        {"binance.vision", "", "", "binance"},
        {"binancefuture.com", "dstream", "", "binance-coinm"},
        {"binancefuture.com", "", "/dapi", "binance-coinm"},
        {"binancefuture.com", "", "", "binance-usdm"},
        {"binance.us", "", "", "binance-us"},
        {"trbinance.com", "", "", "binance-tr"},
        {"binance.tr", "", "", "binance-tr"},
        {"hbdm.com", "", "linear-swap", "huobi-linear"},
        {"hbdm.com", "", "", "huobi-swap"},
        {"hbdm.vn", "", "linear-swap", "huobi-linear"},
        {"hbdm.vn", "", "", "huobi-swap"},
        {"huobi.pro", "", "", "huobi"},
        {"htx.com", "", "", "huobi"},
    };
    struct slice host, path;
    if (!split_url(url, &host, &path)) return NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (is_within(host, known[i].domain) && contains(host, known[i].host) && contains(path, known[i].path))
            return known[i].venue;
    return NULL;
}

/* --- checks --- */

enum err market_trade_error(const struct event *e, struct diag *diag) {
    if (e->price == 0 && e->quantity == 0 && e->first_id == -1 && e->last_id == -1)
        return diag_set(diag, ERR_RANGE, "the venue has annulled the trade: neither price nor quantity, and ids of -1");
    if (e->price <= 0) return diag_set(diag, ERR_RANGE, "the price is %s", e->price < 0 ? "negative" : "zero");
    if (e->quantity < 0) return diag_set(diag, ERR_RANGE, "the quantity is negative");
    if (e->time_ms < 1) return diag_set(diag, ERR_RANGE, "the time is before 1970");
    return diag_set(diag, ERR_RANGE, "the ids %lld to %lld cannot be a trade's", (long long)e->first_id,
                    (long long)e->last_id);
}

static enum err find(const struct json_value *object, const char *name, struct diag *diag,
                     const struct json_value **ret_value) {
    *ret_value = json_member(object, name);
    return *ret_value != NULL ? ERR_OK : diag_set(diag, ERR_MISSING, "the field \"%s\" is missing", name);
}

enum err market_text(const struct json_value *object, const char *name, struct diag *diag, struct slice *ret_text) {
    const struct json_value *value = NULL;
    enum err err = find(object, name, diag, &value);
    if (err != ERR_OK) return err;
    if (json_type_of(value) != JSON_STRING) return diag_set(diag, ERR_TYPE, "the field \"%s\" must be a string", name);
    *ret_text = json_text(value);
    return ERR_OK;
}

enum err market_i64(const struct json_value *object, const char *name, struct diag *diag, int64_t *ret_value) {
    const struct json_value *value = NULL;
    enum err err = find(object, name, diag, &value);
    if (err != ERR_OK) return err;
    err = json_i64(value, ret_value);
    if (err != ERR_OK) diag_set(diag, err, "the field \"%s\" must be an integer of 64 bits", name);
    return err;
}

enum err market_decimal(const struct json_value *object, const char *name, struct diag *diag,
                        struct decimal *ret_value) {
    const struct json_value *value = NULL;
    struct decimal decimal = {0, 0};
    enum err err = find(object, name, diag, &value);
    if (err != ERR_OK) return err;
    enum json_type type = json_type_of(value);
    if (type != JSON_NUMBER && type != JSON_STRING)
        return diag_set(diag, ERR_TYPE, "the field \"%s\" must be a number", name);
    err = decimal_parse(json_text(value), &decimal);
    if (err == ERR_PRECISION) return diag_set(diag, err, "the field \"%s\" needs more than 38 digits", name);
    if (err != ERR_OK) return diag_set(diag, ERR_TYPE, "the field \"%s\" is not a number", name);
    if (decimal.mantissa < 0) return diag_set(diag, ERR_RANGE, "the field \"%s\" is negative", name);
    *ret_value = decimal;
    return ERR_OK;
}

enum err market_boolean(const struct json_value *object, const char *name, struct diag *diag, bool *ret_value) {
    const struct json_value *value = NULL;
    enum err err = find(object, name, diag, &value);
    if (err != ERR_OK) return err;
    enum json_type type = json_type_of(value);
    if (type != JSON_TRUE && type != JSON_FALSE)
        return diag_set(diag, ERR_TYPE, "the field \"%s\" must be true or false", name);
    *ret_value = type == JSON_TRUE;
    return ERR_OK;
}

enum err market_time(const struct json_value *object, const char *name, struct diag *diag, int64_t *ret_time_ms) {
    int64_t time = 0;
    enum err err = market_i64(object, name, diag, &time);
    if (err != ERR_OK) return err;
    if (!market_time_ms(time, ret_time_ms)) return diag_set(diag, ERR_RANGE, "the time in \"%s\" is before 1970", name);
    return ERR_OK;
}
