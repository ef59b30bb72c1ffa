/* The web page's files, built into the program: one generated C file (web/embed.mjs) or, without npm, an empty list. */
#ifndef API_PAGE_H
#define API_PAGE_H

#include <stddef.h>

struct page_asset {
    const char *path;         /* "/", "/app.js", ..: as in the request line */
    const char *content_type; /* with its charset */
    const unsigned char *bytes;
    size_t size;
    const char *etag; /* with its quotes, as it stands in the header */
};

/* Sorted by path. Count 0: the program was built without the page (the list then holds one empty element). */
extern const struct page_asset page_assets[];
extern const unsigned page_asset_count;

#endif
