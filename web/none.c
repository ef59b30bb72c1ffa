/* The program built without the page. */
#include "api/page.h"

const struct page_asset page_assets[] = {{NULL, NULL, NULL, 0, NULL}};
const unsigned page_asset_count = 0;
