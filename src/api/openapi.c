#include "api/api_internal.h"

#ifndef WICK_VERSION
#define WICK_VERSION "0"
#endif

static void put_argument(struct buf *out, const struct route_argument *argument, bool first) {
    buf_put_text(out, first ? "{\"name\":" : ",{\"name\":");
    put_name(out, slice_text(argument->name));
    buf_put_text(out, ",\"in\":\"query\",\"required\":");
    buf_put_text(out, argument->required ? "true" : "false");
    put_member(out, "description");
    put_name(out, slice_text(argument->description));
    buf_put_text(out, ",\"schema\":{\"type\":\"string\"}}");
}

static void put_body(struct buf *out, const struct route *route) {
    buf_put_text(out, ",\"requestBody\":{\"required\":true,\"description\":");
    put_name(out, slice_text(route->body));
    buf_put_text(out, ",\"content\":{\"application/json\":{\"schema\":");
    schema_put(out, route->body_schema);
    const bool prices = strcmp(route->path, "/v1/prices") == 0;
    if (prices) buf_put_text(out, "},\"application/x-ndjson\":{\"schema\":{\"type\":\"string\"}");
    buf_put_text(out, "}}}");
    if (prices)
        buf_put_text(
            out,
            ",\"parameters\":[{\"name\":\"Idempotency-Key\",\"in\":\"header\",\"required\":false,\"description\":"
            "\"1 to 128 printable bytes; a retry within 24 hours appends only what is missing\","
            "\"schema\":{\"type\":\"string\",\"maxLength\":128}}]");
}

static void put_content(struct buf *out, const struct route *route) {
    buf_put_u8(out, '{');
    put_name(out, slice_text(route->answers));
    buf_put_text(out, ":{\"schema\":");
    schema_put(out, route->schema);
    buf_put_u8(out, '}');
    for (uint32_t i = 0; i < API_ARGUMENTS_MAX && route->arguments[i].name != NULL; i++)
        if (strcmp(route->arguments[i].name, "format") == 0)
            buf_put_text(out,
                         ",\"text/csv; charset=utf-8\":{\"schema\":{\"type\":\"string\"}},"
                         "\"application/x-ndjson\":{\"schema\":{\"type\":\"string\"}}");
    buf_put_u8(out, '}');
}

/* Other answers than the one wanted. */
static void put_others(struct buf *out, const struct route *route) {
    static const char *const others[] = {"429", "503"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        const bool ready = strcmp(route->path, "/readyz") == 0 && i == 1;
        buf_printf(out, ",\"%s\":", others[i]);
        if (ready) {
            buf_put_text(out,
                         "{\"description\":\"not yet, and why; or overloaded\",\"content\":{\"application/json\":"
                         "{\"schema\":{\"anyOf\":[");
            schema_put(out, route->schema);
            buf_put_u8(out, ',');
            schema_put(out, "error");
            buf_put_text(out, "]}}}}");
        } else {
            buf_put_text(out, "{\"$ref\":\"#/components/responses/busy\"}");
        }
    }
    buf_put_text(out, ",\"default\":{\"$ref\":\"#/components/responses/error\"}");
}

static void put_operation(struct buf *out, const struct route *route) {
    buf_put_text(out, route->method == HTTP_POST ? "\"post\":{\"summary\":" : "\"get\":{\"summary\":");
    put_name(out, slice_text(route->summary));
    if (route->arguments[0].name != NULL) {
        buf_put_text(out, ",\"parameters\":[");
        for (uint32_t i = 0; i < API_ARGUMENTS_MAX && route->arguments[i].name != NULL; i++)
            put_argument(out, &route->arguments[i], i == 0);
        buf_put_u8(out, ']');
    }
    if (route->body != NULL) put_body(out, route);
    buf_put_text(out, ",\"responses\":{\"200\":{\"description\":\"as asked\",\"content\":");
    put_content(out, route);
    buf_put_u8(out, '}');
    put_others(out, route);
    buf_put_text(out, "}}");
}

static bool is_first_of_path(uint32_t index) {
    for (uint32_t i = 0; i < index; i++)
        if (strcmp(api_routes[i].path, api_routes[index].path) == 0) return false;
    return true;
}

static void put_path(struct buf *out, uint32_t index) {
    put_name(out, slice_text(api_routes[index].path));
    buf_put_text(out, ":{");
    bool first = true;
    for (uint32_t i = index; i < api_route_count; i++) {
        if (strcmp(api_routes[i].path, api_routes[index].path) != 0) continue;
        if (!first) buf_put_u8(out, ',');
        first = false;
        put_operation(out, &api_routes[i]);
    }
    buf_put_u8(out, '}');
}

void openapi_write(struct buf *out) {
    buf_put_text(out, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"Candlewick\",\"version\":\"" WICK_VERSION
                      "\",\"description\":\"Candles you can prove. Prices and volumes are exact decimal strings, times "
                      "milliseconds since 1970 UTC. Changes are watched over the websocket /v1/stream.\"},\"paths\":{");
    for (uint32_t i = 0; i < api_route_count; i++) {
        if (!is_first_of_path(i)) continue;
        if (i > 0) buf_put_u8(out, ',');
        put_path(out, i);
    }
    buf_put_text(out,
                 "},\"components\":{\"securitySchemes\":{\"token\":{\"type\":\"http\",\"scheme\":\"bearer\"}},"
                 "\"responses\":{\"error\":{\"description\":\"what was wrong, and where\",\"content\":{"
                 "\"application/json\":{\"schema\":");
    schema_put(out, "error");
    buf_put_text(out,
                 "}}},\"busy\":{\"description\":\"overloaded: ask again\",\"headers\":{\"Retry-After\":{\"schema\":{"
                 "\"type\":\"integer\"}}},\"content\":{\"application/json\":{\"schema\":");
    schema_put(out, "error");
    buf_put_text(out, "}}}},\"schemas\":{");
    schemas_write(out);
    buf_put_text(out, "}}}");
}

void handle_openapi(struct api *api, struct http_exchange *exchange) {
    buf_put(&exchange->answer, buf_slice(&api->openapi));
    http_reply(exchange, 200, "application/json");
}
