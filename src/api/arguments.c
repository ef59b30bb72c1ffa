#include <assert.h>

#include <stddef.h>

#include "api/api_internal.h"

enum { ARGUMENT_TEXT_MAX = 64 }; /* of a time or a zone */

static const int64_t time_max_ms = 253402300800000; /* year 10000 */

enum err argument_kind(struct slice text, struct diag *diag, int *ret_kind) {
    if (text.size == 0) {
        *ret_kind = -1;
    } else if (slice_equal_nocase(text, SLICE("trade"))) {
        *ret_kind = SERIES_TRADE;
    } else if (slice_equal_nocase(text, SLICE("price"))) {
        *ret_kind = SERIES_PRICE;
    } else {
        (void)diag_set(diag, ERR_UNKNOWN, "a kind is trade or price, not \"%.*s\"", SLICE_PRINT(text));
        diag_where(diag, "kind");
        return ERR_UNKNOWN;
    }
    return ERR_OK;
}

enum err argument_series(const struct api *api, struct slice name, struct slice kind, struct diag *diag,
                         uint32_t *ret_series) {
    int number = -1;
    if (name.size == 0) {
        (void)diag_set(diag, ERR_MISSING, "a series is required, such as binance:BTC/USDT");
        diag_where(diag, "series");
        return ERR_MISSING;
    }
    enum err err = argument_kind(kind, diag, &number);
    if (err == ERR_OK) err = series_parse(api->options.series, name, number, diag, ret_series);
    if (err != ERR_OK) diag_where(diag, "series");
    return err;
}

/* In a query string a bare + stands for a space, which has no place in front of the last part of a time or a zone. False: it
 * does not help. */
static bool with_plus(struct slice text, char copy[static ARGUMENT_TEXT_MAX], struct slice *ret_text) {
    const uint8_t *space = text.data != NULL ? memrchr(text.data, ' ', text.size) : NULL;
    if (space == NULL || text.size >= ARGUMENT_TEXT_MAX) return false;
    memcpy(copy, text.data, text.size);
    copy[space - text.data] = '+';
    copy[text.size] = '\0';
    *ret_text = slice_of(copy, text.size);
    return true;
}

static enum err read_time(const struct api *api, struct slice text, const char *name, int64_t otherwise,
                          struct diag *diag, int64_t *ret_ms) {
    *ret_ms = otherwise;
    if (text.size == 0) return ERR_OK;
    char copy[ARGUMENT_TEXT_MAX];
    struct slice other;
    enum err err = civil_parse(text, api_now_ms(api), diag, ret_ms);
    if (err != ERR_OK && with_plus(text, copy, &other) && civil_parse(other, api_now_ms(api), NULL, ret_ms) == ERR_OK)
        return ERR_OK;
    if (err != ERR_OK) diag_where(diag, "%s", name);
    return err;
}

enum err argument_time(const struct api *api, const struct http_exchange *exchange, const char *name, int64_t otherwise,
                       int64_t *ret_ms, struct diag *diag) {
    return read_time(api, http_argument(exchange, name), name, otherwise, diag, ret_ms);
}

static enum err read_number(struct slice text, const char *name, uint32_t low, uint32_t high, struct diag *diag,
                            uint32_t *value) {
    if (text.size == 0) return ERR_OK;
    uint64_t number = 0;
    if (!slice_to_u64(text, &number) || number < low || number > high) {
        (void)diag_set(diag, ERR_RANGE, "\"%.*s\" is no number from %u to %u", SLICE_PRINT(text), low, high);
        diag_where(diag, "%s", name);
        return ERR_RANGE;
    }
    *value = (uint32_t)number;
    return ERR_OK;
}

static enum err find_zone(const struct api *api, struct slice name, struct candle_request *request) {
    struct origin *origin = &request->query.origin;
    if (name.size >= sizeof request->tz) return ERR_NOT_FOUND;
    enum err err = zone_fixed(name, &request->zone);
    if (err == ERR_OK) origin->zone = request->zone;
    if (err == ERR_NOT_FOUND && api->options.zone != NULL)
        err = api->options.zone(api->options.zone_context, name, NULL, &origin->zone);
    if (err == ERR_OK) memcpy(request->tz, name.data, name.size);
    return err;
}

static enum err read_origin(const struct api *api, const struct candle_arguments *arguments, struct diag *diag,
                            struct candle_request *request) {
    uint32_t week_start = 1;
    enum err err = read_number(arguments->week_start, "week_start", 1, 7, diag, &week_start);
    request->query.origin.week_start = (uint8_t)week_start;
    if (err != ERR_OK || arguments->tz.size == 0 || slice_equal_nocase(arguments->tz, SLICE("utc"))) return err;
    char copy[ARGUMENT_TEXT_MAX];
    struct slice other;
    err = find_zone(api, arguments->tz, request);
    if (err != ERR_OK && with_plus(arguments->tz, copy, &other)) err = find_zone(api, other, request);
    if (err == ERR_OK) return ERR_OK;
    (void)diag_set(diag, ERR_UNKNOWN, "no time zone \"%.*s\"", SLICE_PRINT(arguments->tz));
    diag_where(diag, "tz");
    diag_hint(diag, "a name such as Europe/Berlin, or an offset such as +02:00");
    return ERR_UNKNOWN;
}

static enum err read_interval(struct slice text, struct diag *diag, struct candle_request *request) {
    enum err err = interval_parse(text.size > 0 ? text : SLICE("1m"), diag, &request->query.interval);
    if (err != ERR_OK)
        diag_where(diag, "interval");
    else
        interval_format(request->query.interval, request->interval);
    return err;
}

enum err candle_request_read(const struct api *api, const struct candle_arguments *arguments, struct diag *diag,
                             struct candle_request *ret_request) {
    struct candle_request request = {.query = {.limit = API_CANDLES_DEFAULT, .newest = arguments->from.size == 0}};
    struct candle_query *query = &request.query;
    enum err err = argument_series(api, arguments->series, arguments->kind, diag, &query->series);
    if (err == ERR_OK) err = read_interval(arguments->interval, diag, &request);
    if (err == ERR_OK) err = read_time(api, arguments->from, "from", 0, diag, &query->from_ms);
    if (err == ERR_OK) err = read_time(api, arguments->to, "to", time_max_ms, diag, &query->to_ms);
    if (err == ERR_OK) err = read_number(arguments->limit, "limit", 1, API_CANDLES_MAX, diag, &query->limit);
    if (err == ERR_OK) err = read_origin(api, arguments, diag, &request);
    if (err != ERR_OK) return err;
    if ((err = candle_query_check(query, api->options.base_ms, diag)) != ERR_OK) {
        candle_request_end(&request);
        return err;
    }
    request.series = series_get(api->options.series, query->series);
    assert(request.series != NULL);
    *ret_request = request;
    return ERR_OK;
}

void candle_request_end(struct candle_request *request) { zone_close(&request->zone); }

/* --- names that are not known --- */

enum err refuse_name(const struct nearest *nearest, const char *who, const char *what, struct diag *diag) {
    (void)diag_set(diag, ERR_UNKNOWN, "%s has no %s \"%.*s\"", who, what, SLICE_PRINT(nearest->given));
    if (nearest->name != NULL) diag_hint(diag, "did you mean \"%s\"?", nearest->name);
    diag_where(diag, "%.*s", SLICE_PRINT(nearest->given));
    return ERR_UNKNOWN;
}

static bool is_one_of(struct slice name, const char *const *names) {
    while (*names != NULL && !slice_equal(name, slice_text(*names))) names++;
    return *names != NULL;
}

enum err members_known(const struct json_value *object, const char *who, const char *const *names, struct diag *diag) {
    for (const struct json_value *at = json_first(object); at != NULL; at = json_next(at)) {
        if (is_one_of(json_key(at), names)) continue;
        struct nearest nearest = nearest_begin(json_key(at));
        for (uint32_t i = 0; names[i] != NULL; i++) nearest_look(&nearest, names[i]);
        return refuse_name(&nearest, who, "member", diag);
    }
    return ERR_OK;
}

enum err member_text(const struct json_value *object, const char *name, struct diag *diag, struct slice *ret_text) {
    const struct json_value *value = json_member(object, name);
    *ret_text = SLICE_NONE;
    if (value == NULL || json_type_of(value) == JSON_NULL) return ERR_OK;
    if (json_type_of(value) != JSON_STRING && json_type_of(value) != JSON_NUMBER) {
        (void)diag_set(diag, ERR_TYPE, "a string or a number is required");
        diag_where(diag, "%s", name);
        return ERR_TYPE;
    }
    *ret_text = json_text(value);
    return ERR_OK;
}

static const struct {
    const char *name;
    size_t offset;
} candle_members[] = {
    {"series", offsetof(struct candle_arguments, series)},
    {"kind", offsetof(struct candle_arguments, kind)},
    {"interval", offsetof(struct candle_arguments, interval)},
    {"tz", offsetof(struct candle_arguments, tz)},
    {"week_start", offsetof(struct candle_arguments, week_start)},
    {"from", offsetof(struct candle_arguments, from)}, /* of a range: from here on */
    {"to", offsetof(struct candle_arguments, to)},
    {"limit", offsetof(struct candle_arguments, limit)},
};
enum { CANDLE_MEMBERS = sizeof candle_members / sizeof *candle_members, WATCHED_MEMBERS = 5 };

enum err candle_arguments_of(const struct json_value *object, bool range, struct diag *diag,
                             struct candle_arguments *ret_arguments) {
    const uint32_t count = range ? CANDLE_MEMBERS : WATCHED_MEMBERS;
    const char *names[CANDLE_MEMBERS + 1] = {NULL};
    *ret_arguments = (struct candle_arguments){0};
    if (json_type_of(object) != JSON_OBJECT) return diag_set(diag, ERR_TYPE, "an object with a series is required");
    for (uint32_t i = 0; i < count; i++) names[i] = candle_members[i].name;
    enum err err = members_known(object, range ? "a query of candles" : "a subscription", names, diag);
    for (uint32_t i = 0; err == ERR_OK && i < count; i++)
        err = member_text(object, names[i], diag,
                          (struct slice *)(void *)((char *)ret_arguments + candle_members[i].offset));
    return err;
}
