/* What answers and bodies look like, for /openapi.json. tests/scenario/contract_test.py holds real answers against it.
 *
 * A type is the name of a schema, or text, integer, number, boolean or object; `[]` behind it is an array of it, `?` behind that
 * says that it may be null. A member whose name ends in `?` may be absent. */
#include <assert.h>
#include <stdio.h>

#include "api/api_internal.h"

enum { MEMBERS_MAX = 24, CHOICES_MAX = 4 };

struct member {
    const char *name, *type;
};

#define TERMS_HERE \
    { "*", NULL } /* the terms of the ledger */

static const struct object {
    const char *name;
    struct member members[MEMBERS_MAX];
    bool closed; /* of a body: others are refused */
} objects[] = {
    {"candle",
     {{"series", "text"},
      {"interval", "text"},
      {"open_time", "time"},
      {"close_time", "time"},
      {"open", "decimal"},
      {"high", "decimal"},
      {"low", "decimal"},
      {"close", "decimal"},
      {"volume", "decimal"},
      {"quote_volume", "decimal"},
      {"trades", "integer"},
      {"taker_buy_volume", "decimal"},
      {"taker_buy_quote_volume", "decimal"},
      {"first_id", "integer"},
      {"last_id", "integer"},
      {"coverage", "coverage"},
      {"covered_minutes", "integer"},
      {"basis", "basis"},
      {"final", "boolean"},
      {"revision", "integer"},
      {"reason?", "reason"},
      {"conflict?", "boolean"},
      {"native_interval", "text"},
      {"hash", "hash?"}}},
    {"latest",
     {{"series", "text"},
      {"kind", "kind"},
      {"price", "decimal"},
      {"time", "time"},
      {"base_volume_24h?", "decimal"},
      {"quote_volume_24h?", "decimal"}}},
    {"latest_list", {{"latest", "latest[]"}, {"missing", "text[]"}}},
    {"latest_result", {{"latest", "latest?"}}},
    {"candles_result", {{"candles", "candle[]"}}},
    {"results", {{"results", "result[]"}}},
    {"prices_answer", {{"accepted", "integer"}, {"duplicate", "integer"}, {"invalid", "invalid[]"}}},
    {"invalid", {{"index", "integer"}, {"reason", "text"}}},
    {"series",
     {{"series", "text"},
      {"venue", "text"},
      {"base", "text"},
      {"quote", "text"},
      {"kind", "kind"},
      {"last_seen", "time?"},
      {"price", "decimal?"},
      {"decimals", "integer"}}},
    {"why",
     {{"candle", "candle?"},
      {"holes", "hole[]"},
      {"lane", "lane?"},
      {"final", "final"},
      {"text", "text[]"},
      {"layout", "text"}}},
    {"hole", {{"first_id", "integer"}, {"last_id", "integer"}}},
    {"lane",
     {{"basis", "basis"},
      {"first_id", "integer"},
      {"last_id", "integer"},
      {"used", "integer"},
      {"late", "integer"},
      {"duplicate", "integer"},
      {"filtered", "integer"},
      {"conflicts", "integer"},
      {"watermark", "time"},
      {"live", "boolean"}}},
    {"gap",
     {{"series", "text"},
      {"first_id", "integer"},
      {"last_id", "integer"},
      {"missing", "integer"},
      {"after", "time"},
      {"before", "time"}}},
    {"ledger", {{"rows", "ledger_row[]"}, {"balanced", "boolean"}}},
    {"ledger_row",
     {{"topic", "text"},
      {"partition", "integer"},
      {"processor", "text"},
      TERMS_HERE,
      {"balanced", "boolean"},
      {"offset", "integer"},
      {"end", "integer"}}},
    {"status",
     {{"version", "text"},
      {"uptime_ms", "integer"},
      {"live", "boolean"},
      {"series", "integer"},
      {"events_per_second", "number"},
      {"candles_per_second", "number"},
      {"log_bytes", "integer"},
      {"tasks", "task[]"}}},
    {"task",
     {{"name", "text"}, {"offset", "integer"}, {"end", "integer"}, {"checkpoint", "integer"}, {"error?", "text"}}},
    {"ready", {{"ready", "boolean"}, {"behind?", "task[]"}}},
    {"error", {{"error", "error_detail"}}},
    {"error_detail", {{"code", "code"}, {"message", "text"}, {"at", "text"}}},
    /* bodies */
    {"price_event",
     {{"baseCurrency", "text"},
      {"quoteCurrency", "text"},
      {"exchange", "text"},
      {"price", "figure"},
      {"baseVolumeLast24h?", "figure"},
      {"quoteVolumeLast24h?", "figure"},
      {"timestampInMs", "figure"}},
     true},
    {"pair", {{"baseCurrency", "text"}, {"quoteCurrency", "text"}, {"exchange", "text"}}, true},
    {"candles_query",
     {{"series", "text"},
      {"kind?", "kind"},
      {"interval?", "text"},
      {"from?", "figure"},
      {"to?", "figure"},
      {"limit?", "figure"},
      {"tz?", "text"},
      {"week_start?", "figure"}},
     true},
    {"latest_member", {{"latest", "text"}}, true},
    {"candles_member", {{"candles", "candles_query"}}, true},
};

/* Any of these. */
static const struct {
    const char *name, *types[CHOICES_MAX];
} choices[] = {
    {"result", {"latest_result", "candles_result", "error"}},
    {"latest_answer", {"latest_list", "latest_groups"}},
    {"figure", {"number", "text"}},
    {"prices_body", {"price_event", "price_event[]"}},
    {"series_or_pair", {"text", "pair"}},
    {"query_member", {"latest_member", "candles_member"}},
};

static const char *const kinds[] = {"trade", "price"};
static const char *const finals[] = {"open", "proven", "clock"};
static const struct {
    const char *name;
    const char *const *values;
    uint32_t count;
} enumerations[] = {
    {"kind", kinds, 2},
    {"final", finals, 3},
    {"coverage", candle_coverage_name, 4},
    {"basis", candle_basis_name, BASIS_COUNT},
    {"reason", candle_reason_name + 1, 3}, /* the first is none */
};

static const char plain[] =
    "\"decimal\":{\"type\":\"string\",\"pattern\":\"^-?[0-9]+([.][0-9]+)?$\",\"description\":\"exact\"},"
    "\"time\":{\"type\":\"integer\",\"format\":\"int64\",\"description\":\"milliseconds since 1970 UTC\"},"
    "\"hash\":{\"type\":\"string\",\"pattern\":\"^[0-9a-f]{16}$\"},"
    "\"latest_groups\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"array\",\"items\":{\"$ref\":"
    "\"#/components/schemas/latest\"}},\"description\":\"by base currency\"}";

static bool ends_with(const char *text, size_t size, const char *end) {
    return size >= strlen(end) && memcmp(text + size - strlen(end), end, strlen(end)) == 0;
}

static void put_named(struct buf *out, const char *type, size_t size, bool nullable) {
    static const struct {
        const char *type, *json;
    } basic[] = {
        {"text", "string"}, {"integer", "integer"}, {"number", "number"}, {"boolean", "boolean"}, {"object", "object"}};
    for (size_t i = 0; i < sizeof basic / sizeof *basic; i++) {
        if (strlen(basic[i].type) != size || memcmp(type, basic[i].type, size) != 0) continue;
        buf_printf(out, nullable ? "{\"type\":[\"%s\",\"null\"]}" : "{\"type\":\"%s\"}", basic[i].json);
        return;
    }
    buf_printf(out, "%s{\"$ref\":\"#/components/schemas/%.*s\"}%s", nullable ? "{\"anyOf\":[" : "", (int)size, type,
               nullable ? ",{\"type\":\"null\"}]}" : "");
}

void schema_put(struct buf *out, const char *type) {
    size_t size = strlen(type);
    const bool nullable = ends_with(type, size, "?");
    if (nullable) size--;
    const bool array = ends_with(type, size, "[]");
    if (array) size -= 2;
    assert(!(array && nullable));
    if (array) buf_put_text(out, "{\"type\":\"array\",\"items\":");
    put_named(out, type, size, nullable);
    if (array) buf_put_u8(out, '}');
}

/* --- objects --- */

typedef void (*member_put)(struct buf *out, const char *name, size_t size, const char *type);

static void put_required(struct buf *out, const char *name, size_t size, const char *type) {
    (void)type;
    if (ends_with(name, size, "?")) return;
    buf_printf(out, ",\"%.*s\"", (int)size, name);
}

static void put_property(struct buf *out, const char *name, size_t size, const char *type) {
    if (ends_with(name, size, "?")) size--;
    buf_printf(out, ",\"%.*s\":", (int)size, name);
    schema_put(out, type);
}

static void put_members(struct buf *out, const struct object *object, char open, char close, member_put put) {
    const size_t begin = out->size;
    for (const struct member *m = object->members; m < object->members + MEMBERS_MAX && m->name != NULL; m++) {
        if (m->type != NULL) put(out, m->name, strlen(m->name), m->type);
        for (uint32_t i = 0; m->type == NULL && i < LEDGER_TERMS; i++)
            put(out, ledger_terms[i].name, strlen(ledger_terms[i].name), "integer");
    }
    if (buf_err(out) == ERR_OK) out->data[begin] = (uint8_t)open; /* instead of the first comma: none is empty */
    buf_put_u8(out, (uint8_t)close);
}

static void put_object(struct buf *out, const struct object *object) {
    buf_printf(out, ",\"%s\":{\"type\":\"object\",\"required\":", object->name);
    put_members(out, object, '[', ']', put_required);
    buf_put_text(out, ",\"properties\":");
    put_members(out, object, '{', '}', put_property);
    buf_put_text(out, object->closed ? ",\"additionalProperties\":false}" : "}");
}

static void put_enumeration(struct buf *out, const char *name, const char *const *values, uint32_t count) {
    buf_printf(out, ",\"%s\":{\"type\":\"string\",\"enum\":[", name);
    for (uint32_t i = 0; i < count; i++) buf_printf(out, "%s\"%s\"", i > 0 ? "," : "", values[i]);
    buf_put_text(out, "]}");
}

void schemas_write(struct buf *out) {
    const char *codes[ERR_COUNT];
    buf_put_text(out, plain);
    for (uint32_t i = 0; i < sizeof objects / sizeof *objects; i++) put_object(out, &objects[i]);
    for (uint32_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        buf_printf(out, ",\"%s\":{\"anyOf\":[", choices[i].name);
        for (uint32_t k = 0; k < CHOICES_MAX && choices[i].types[k] != NULL; k++) {
            if (k > 0) buf_put_u8(out, ',');
            schema_put(out, choices[i].types[k]);
        }
        buf_put_text(out, "]}");
    }
    for (uint32_t i = 0; i < sizeof enumerations / sizeof *enumerations; i++)
        put_enumeration(out, enumerations[i].name, enumerations[i].values, enumerations[i].count);
    for (uint32_t i = 1; i < ERR_COUNT; i++) codes[i] = err_name((enum err)i);
    put_enumeration(out, "code", codes + 1, ERR_COUNT - 1);
}
