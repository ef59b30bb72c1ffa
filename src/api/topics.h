/* Topics that wick itself fills or reads: what people may do to them is less. */
#ifndef API_TOPICS_H
#define API_TOPICS_H

#include <stdbool.h>
#include <string.h>

/* Only wick writes them: sealed candles and the import register. */
static inline bool topic_is_kept(const char *name) {
    return strncmp(name, "candles.sealed.", 15) == 0 || strcmp(name, "imports") == 0;
}

/* Candles, or the account of them, are made from it. */
static inline bool topic_is_needed(const char *name) {
    return topic_is_kept(name) || strncmp(name, "imports.", 8) == 0 || strncmp(name, "inbound-data-", 13) == 0 ||
           strcmp(name, "prices") == 0 || strncmp(name, "prices.", 7) == 0;
}

#endif
