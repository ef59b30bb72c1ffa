#include <assert.h>
#include <stdlib.h>

#include "api/api_internal.h"

/* --- named series: GET with series=, POST with an array --- */

struct wanted {
    uint32_t count;
    struct {
        uint32_t series;   /* SERIES_NONE: not known */
        bool missing;      /* has no price, found out while answering */
        struct slice name; /* as asked */
    } list[];
};

static void put_found(const struct api *api, struct wanted *wanted, struct buf *out) {
    bool first = true;
    for (uint32_t i = 0; i < wanted->count; i++) {
        struct latest latest;
        const uint32_t number = wanted->list[i].series;
        wanted->list[i].missing = number == SERIES_NONE || latest_get(api->options.latest, number, &latest) != ERR_OK;
        if (wanted->list[i].missing) continue;
        if (!first) buf_put_u8(out, ',');
        first = false;
        put_latest(out, series_get(api->options.series, number), &latest);
    }
}

static void put_missing(const struct wanted *wanted, struct buf *out) {
    bool first = true;
    for (uint32_t i = 0; i < wanted->count; i++) {
        if (!wanted->list[i].missing) continue;
        if (!first) buf_put_u8(out, ',');
        first = false;
        put_name(out, wanted->list[i].name);
    }
}

static void answer_wanted(struct api *api, struct http_exchange *exchange, void *context) {
    struct wanted *wanted = context;
    struct buf *out = &exchange->answer;
    buf_put(out, SLICE("{\"latest\":["));
    put_found(api, wanted, out);
    buf_put(out, SLICE("],\"missing\":["));
    put_missing(wanted, out);
    buf_put(out, SLICE("]}"));
    http_reply(exchange, 200, "application/json");
}

static struct wanted *wanted_make(struct http_exchange *exchange, uint32_t count) {
    struct wanted *wanted = arena_alloc(&exchange->arena, sizeof *wanted + count * sizeof *wanted->list);
    if (wanted == NULL)
        http_reply_error(exchange, ERR_NO_MEMORY, NULL);
    else
        wanted->count = 0;
    return wanted;
}

/* A name that is not known is an answer (missing); one that is no name is an error. */
static enum err wanted_add(const struct api *api, struct wanted *wanted, struct slice name, struct slice kind,
                           struct diag *diag) {
    uint32_t number = SERIES_NONE;
    enum err err = argument_series(api, name, kind, diag, &number);
    if (err != ERR_OK && err != ERR_NOT_FOUND) return err;
    wanted->list[wanted->count].series = err == ERR_OK ? number : SERIES_NONE;
    wanted->list[wanted->count++].name = name;
    return ERR_OK;
}

static void when_folded(struct api *api, struct http_exchange *exchange, struct wanted *wanted) {
    uint32_t few[16], count = 0;
    for (uint32_t i = 0; i < wanted->count && i < 16; i++)
        if (wanted->list[i].series != SERIES_NONE) few[count++] = wanted->list[i].series;
    api_when_folded(api, exchange, wanted->count > 16 ? NULL : few, count, answer_wanted, wanted);
}

static void answer_named(struct api *api, struct http_exchange *exchange) {
    struct wanted *wanted = wanted_make(exchange, exchange->argument_count);
    const struct slice kind = http_argument(exchange, "kind");
    struct diag diag = {0};
    if (wanted == NULL) return;
    for (uint32_t i = 0; i < exchange->argument_count; i++) {
        const struct http_pair *pair = &exchange->arguments[i];
        if (!slice_equal(pair->name, SLICE("series"))) continue;
        const enum err err = wanted_add(api, wanted, pair->value, kind, &diag);
        if (err == ERR_OK) continue;
        http_reply_error(exchange, err, &diag);
        return;
    }
    when_folded(api, exchange, wanted);
}

/* {"baseCurrency","quoteCurrency","exchange"} as the series' name, in the exchange's arena. */
static enum err tuple_name(const struct json_value *tuple, struct arena *arena, struct diag *diag,
                           struct slice *ret_name) {
    static const char *const names[] = {"baseCurrency", "quoteCurrency", "exchange", NULL};
    struct slice base, quote, venue;
    enum err err = members_known(tuple, "a pair", names, diag);
    if (err == ERR_OK) err = member_text(tuple, "baseCurrency", diag, &base);
    if (err == ERR_OK) err = member_text(tuple, "quoteCurrency", diag, &quote);
    if (err == ERR_OK) err = member_text(tuple, "exchange", diag, &venue);
    if (err != ERR_OK) return err;
    if (base.size == 0 || quote.size == 0 || venue.size == 0)
        return diag_set(diag, ERR_MISSING, "baseCurrency, quoteCurrency and exchange are required");
    uint8_t *name = arena_alloc(arena, base.size + quote.size + venue.size + 2);
    if (name == NULL) return ERR_NO_MEMORY;
    memcpy(name, venue.data, venue.size);
    name[venue.size] = ':';
    memcpy(name + venue.size + 1, base.data, base.size);
    name[venue.size + 1 + base.size] = '/';
    memcpy(name + venue.size + 2 + base.size, quote.data, quote.size);
    *ret_name = slice_of(name, base.size + quote.size + venue.size + 2);
    return ERR_OK;
}

static enum err wanted_element(struct api *api, struct http_exchange *exchange, const struct json_value *element,
                               struct wanted *wanted, struct diag *diag) {
    const struct slice kind = http_argument(exchange, "kind");
    struct slice name = SLICE_NONE;
    if (json_type_of(element) == JSON_OBJECT) {
        enum err err = tuple_name(element, &exchange->arena, diag, &name);
        return err != ERR_OK ? err : wanted_add(api, wanted, name, kind, diag);
    }
    if (json_type_of(element) != JSON_STRING)
        return diag_set(diag, ERR_TYPE, "a series name or {baseCurrency, quoteCurrency, exchange} is required");
    name = arena_copy(&exchange->arena, json_text(element));
    return name.data == NULL ? ERR_NO_MEMORY : wanted_add(api, wanted, name, kind, diag);
}

static void place_in_list(struct diag *diag, uint32_t index) {
    char where[sizeof diag->where];
    memcpy(where, diag->where, sizeof where);
    diag->where[0] = '\0';
    diag_where(diag, "[%u]%s%s", index, where[0] != '\0' ? "." : "", where);
}

static enum err read_wanted(struct api *api, struct http_exchange *exchange, struct kit *kit, struct diag *diag,
                            struct wanted **ret_wanted) {
    const struct json_value *root;
    int kind;
    enum err err = argument_kind(http_argument(exchange, "kind"), diag, &kind);
    if (err == ERR_OK) err = json_parse(kit->json, exchange->body, diag, &root);
    if (err != ERR_OK) return err;
    if (json_type_of(root) != JSON_ARRAY) return diag_set(diag, ERR_TYPE, "an array of series is required");
    if (json_count(root) > API_SERIES_MAX)
        return diag_set(diag, ERR_TOO_LARGE, "at most %d series a request", API_SERIES_MAX);
    struct wanted *wanted = arena_alloc(&exchange->arena, sizeof *wanted + json_count(root) * sizeof *wanted->list);
    if (wanted == NULL) return ERR_NO_MEMORY;
    wanted->count = 0;
    for (const struct json_value *at = json_first(root); at != NULL; at = json_next(at)) {
        if ((err = wanted_element(api, exchange, at, wanted, diag)) == ERR_OK) continue;
        place_in_list(diag, wanted->count);
        return err;
    }
    *ret_wanted = wanted;
    return ERR_OK;
}

void handle_latest_post(struct api *api, struct http_exchange *exchange) {
    struct kit *kit;
    struct wanted *wanted = NULL;
    struct diag diag = {0};
    enum err err = kit_take(api, &kit);
    if (err == ERR_OK) {
        err = read_wanted(api, exchange, kit, &diag, &wanted);
        kit_give(api, kit);
    }
    if (err != ERR_OK)
        http_reply_error(exchange, err, &diag);
    else
        when_folded(api, exchange, wanted);
}

/* --- all, of one base, grouped by base --- */

struct listing {
    struct slice base; /* empty: every one */
    int kind;          /* -1: either */
    bool grouped;
};

struct listed {
    const struct series *series;
    struct latest latest;
};

static int by_base(const void *a, const void *b) {
    const struct series *one = ((const struct listed *)a)->series, *two = ((const struct listed *)b)->series;
    const int c = slice_compare(one->base, two->base);
    return c != 0 ? c : slice_compare(slice_text(one->name), slice_text(two->name));
}

/* Where the configuration maps a base to one quote and venue, that one series stands for it. */
static bool is_chosen(const struct api *api, const struct series *series) {
    for (uint32_t i = 0; i < api->options.base_count; i++) {
        const struct api_base *base = &api->options.bases[i];
        if (!slice_equal_nocase(series->base, slice_text(base->base))) continue;
        return slice_equal_nocase(series->quote, slice_text(base->quote)) &&
               slice_equal_nocase(series->venue, slice_text(base->venue));
    }
    return true;
}

static enum err list_series(struct api *api, struct arena *arena, const struct listing *listing, struct diag *diag,
                            struct listed **ret_list, uint32_t *ret_count) {
    const uint32_t total = series_count(api->options.series);
    const uint32_t room = total < API_SERIES_MAX ? total : API_SERIES_MAX;
    struct listed *list = arena_alloc(arena, (room + 1) * sizeof *list);
    uint32_t count = 0;
    if (list == NULL) return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < total; i++) {
        const struct series *series = series_get(api->options.series, i);
        if (series == NULL) continue;
        if (listing->base.size > 0 && !slice_equal_nocase(series->base, listing->base)) continue;
        if (listing->kind >= 0 && (int)series->kind != listing->kind) continue;
        if (listing->grouped && !is_chosen(api, series)) continue;
        struct latest latest;
        if (latest_get(api->options.latest, i, &latest) != ERR_OK) continue;
        if (count == room)
            return diag_set(diag, ERR_RANGE, "more than %d series; ask by base= or series=", API_SERIES_MAX);
        list[count++] = (struct listed){series, latest};
    }
    *ret_list = list;
    *ret_count = count;
    return ERR_OK;
}

static void put_groups(struct buf *out, const struct listed *list, uint32_t count) {
    buf_put_u8(out, '{');
    for (uint32_t i = 0; i < count; i++) {
        const bool first = i == 0 || !slice_equal(list[i].series->base, list[i - 1].series->base);
        if (first) {
            if (i > 0) buf_put(out, SLICE("],"));
            put_name(out, list[i].series->base);
            buf_put(out, SLICE(":["));
        } else {
            buf_put_u8(out, ',');
        }
        put_latest(out, list[i].series, &list[i].latest);
    }
    buf_put_text(out, count > 0 ? "]}" : "}");
}

static void put_list(struct buf *out, const struct listed *list, uint32_t count) {
    buf_put(out, SLICE("{\"latest\":["));
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) buf_put_u8(out, ',');
        put_latest(out, list[i].series, &list[i].latest);
    }
    buf_put(out, SLICE("],\"missing\":[]}"));
}

static void answer_listing(struct api *api, struct http_exchange *exchange, void *context) {
    const struct listing *listing = context;
    struct diag diag = {0};
    struct listed *list = NULL;
    uint32_t count = 0;
    enum err err = list_series(api, &exchange->arena, listing, &diag, &list, &count);
    if (err != ERR_OK) {
        http_reply_error(exchange, err, &diag);
        return;
    }
    qsort(list, count, sizeof *list, by_base);
    if (listing->grouped)
        put_groups(&exchange->answer, list, count);
    else
        put_list(&exchange->answer, list, count);
    http_reply(exchange, 200, "application/json");
}

static enum err read_listing(const struct http_exchange *exchange, struct diag *diag, struct listing *ret_listing) {
    const struct slice group = http_argument(exchange, "group");
    *ret_listing = (struct listing){.base = http_argument(exchange, "base"), .grouped = group.size > 0};
    if (group.size == 0 || slice_equal(group, SLICE("base")))
        return argument_kind(http_argument(exchange, "kind"), diag, &ret_listing->kind);
    (void)diag_set(diag, ERR_UNKNOWN, "the only group is base");
    diag_where(diag, "group");
    return ERR_UNKNOWN;
}

/* Series are named, or listed by what they have in common. */
static enum err refuse_both(const char *name, struct diag *diag) {
    (void)diag_set(diag, ERR_USAGE, "series= and %s= exclude each other", name);
    diag_where(diag, "%s", name);
    return ERR_USAGE;
}

void handle_latest(struct api *api, struct http_exchange *exchange) {
    struct diag both = {0};
    if (http_argument(exchange, "series").data != NULL) {
        enum err refused = ERR_OK;
        if (http_argument(exchange, "base").size > 0) refused = refuse_both("base", &both);
        if (http_argument(exchange, "group").size > 0) refused = refuse_both("group", &both);
        if (refused != ERR_OK)
            http_reply_error(exchange, refused, &both);
        else
            answer_named(api, exchange);
        return;
    }
    struct diag diag = {0};
    struct listing *listing = arena_alloc(&exchange->arena, sizeof *listing);
    enum err err = listing == NULL ? ERR_NO_MEMORY : read_listing(exchange, &diag, listing);
    if (err != ERR_OK)
        http_reply_error(exchange, err, &diag);
    else
        api_when_folded(api, exchange, NULL, 0, answer_listing, listing);
}
