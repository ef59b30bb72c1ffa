#include <stdlib.h>

#include "api/api_internal.h"

enum { LISTED_MAX = 100000 };

static bool wanted(const struct series *series, struct slice venue, struct slice base) {
    if (venue.size > 0 && !slice_equal_nocase(series->venue, venue)) return false;
    return base.size == 0 || slice_equal_nocase(series->base, base);
}

static int by_name(const void *a, const void *b) {
    const struct series *one = *(const struct series *const *)a, *two = *(const struct series *const *)b;
    const int c = slice_compare(slice_text(one->name), slice_text(two->name));
    return c != 0 ? c : (one->kind > two->kind) - (one->kind < two->kind);
}

static void put_series(const struct api *api, const struct series *series, struct buf *out) {
    struct latest latest;
    const bool seen = latest_get(api->options.latest, series->number, &latest) == ERR_OK;
    uint8_t decimals = hub_decimals(api->hub, series->number);
    if (seen && latest.price.scale > decimals) decimals = latest.price.scale;
    buf_put(out, SLICE("{\"series\":"));
    put_name(out, slice_text(series->name));
    put_member(out, "venue");
    put_name(out, series->venue);
    put_member(out, "base");
    put_name(out, series->base);
    put_member(out, "quote");
    put_name(out, series->quote);
    buf_put_text(out, series->kind == SERIES_PRICE ? ",\"kind\":\"price\"" : ",\"kind\":\"trade\"");
    put_member(out, "last_seen");
    if (seen)
        put_i64(out, latest.time_ms);
    else
        buf_put(out, SLICE("null"));
    put_member(out, "price");
    if (seen)
        put_decimal(out, latest.price);
    else
        buf_put(out, SLICE("null"));
    put_member(out, "decimals");
    put_i64(out, decimals);
    buf_put_u8(out, '}');
}

static enum err list(const struct api *api, struct http_exchange *exchange, struct diag *diag,
                     const struct series ***ret_list, uint32_t *ret_count) {
    const struct slice venue = http_argument(exchange, "venue"), base = http_argument(exchange, "base");
    const uint32_t total = series_count(api->options.series);
    const uint32_t room = total < LISTED_MAX ? total : LISTED_MAX;
    const struct series **found = arena_alloc(&exchange->arena, (room + 1) * sizeof *found);
    uint32_t count = 0;
    if (found == NULL) return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < total; i++) {
        const struct series *series = series_get(api->options.series, i);
        if (series == NULL || !wanted(series, venue, base)) continue;
        if (count == room) return diag_set(diag, ERR_RANGE, "more than %d series; ask by venue= or base=", LISTED_MAX);
        found[count++] = series;
    }
    *ret_list = found;
    *ret_count = count;
    return ERR_OK;
}

static void answer(struct api *api, struct http_exchange *exchange, void *context) {
    (void)context;
    const struct series **found = NULL;
    uint32_t count = 0;
    struct diag diag = {0};
    enum err err = list(api, exchange, &diag, &found, &count);
    if (err != ERR_OK) {
        http_reply_error(exchange, err, &diag);
        return;
    }
    qsort(found, count, sizeof *found, by_name);
    buf_put_u8(&exchange->answer, '[');
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) buf_put_u8(&exchange->answer, ',');
        put_series(api, found[i], &exchange->answer);
    }
    buf_put_u8(&exchange->answer, ']');
    http_reply(exchange, 200, "application/json");
}

void handle_series(struct api *api, struct http_exchange *exchange) {
    api_when_folded(api, exchange, NULL, 0, answer, NULL);
}
