#include "api/page.h"

#include "api/api_internal.h"

static const char without_page[] =
    "<!doctype html><meta charset=utf-8><title>Candlewick</title><h1>Candlewick runs, without its page</h1>"
    "<p>This program was BUILT WITHOUT THE PAGE: npm or Node 18 was not found, or it was not wanted. Install Node.js "
    "and "
    "build again (<code>meson setup --wipe -Dpage=enabled build</code>). The API works: see <a "
    "href=/openapi.json>/openapi.json</a>.";

/* The page loads nothing from elsewhere, and nothing elsewhere may frame it. */
static const char content_policy[] =
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static const struct page_asset *find(struct slice path) {
    for (unsigned i = 0; i < page_asset_count; i++)
        if (slice_equal(slice_text(page_assets[i].path), path)) return &page_assets[i];
    return NULL;
}

bool page_has(struct slice path) { return slice_equal(path, SLICE("/")) || find(path) != NULL; }

void handle_page(struct http_exchange *exchange) {
    const struct page_asset *asset = find(exchange->path);
    http_header(exchange, "Content-Security-Policy", content_policy);
    http_header(exchange, "Referrer-Policy", "no-referrer");
    http_header(exchange, "Cache-Control", "no-cache");
    if (asset == NULL) {
        buf_put_text(&exchange->answer, without_page);
        http_reply(exchange, 200, "text/html; charset=utf-8");
        return;
    }
    if (asset->etag != NULL) http_header(exchange, "ETag", asset->etag);
    if (asset->etag != NULL && http_etag_listed(exchange->if_none_match, slice_text(asset->etag))) {
        http_reply(exchange, 304, "");
        return;
    }
    buf_put(&exchange->answer, slice_of(asset->bytes, asset->size));
    http_reply(exchange, 200, asset->content_type);
}
