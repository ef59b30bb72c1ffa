/* Topics that wick itself fills or reads: what people may do to them is less. */
#ifndef API_TOPICS_H
#define API_TOPICS_H

#include <string.h>

#include "base/err.h"

/* Only wick writes them: sealed candles and the import register. */
static inline bool topic_is_kept(const char *name) {
    return strncmp(name, "candles.sealed.", 15) == 0 || strcmp(name, "imports") == 0;
}

/* A venue's messages, which one task folds. Its .late and .invalid are others'. */
static inline bool topic_is_of_venue(const char *name) {
    return strncmp(name, "inbound-data-", 13) == 0 && strchr(name, '.') == NULL;
}

static inline enum err topic_check_partitions(const char *name, uint32_t partitions, struct diag *diag) {
    if (partitions <= 1 || !topic_is_of_venue(name)) return ERR_OK;
    return diag_set(diag, ERR_USAGE, "topic %s has one partition, not %u: one task folds all that a venue sends", name,
                    partitions);
}

/* Candles, or the account of them, are made from it. */
static inline bool topic_is_needed(const char *name) {
    return topic_is_kept(name) || strncmp(name, "imports.", 8) == 0 || strncmp(name, "inbound-data-", 13) == 0 ||
           strcmp(name, "prices") == 0 || strncmp(name, "prices.", 7) == 0;
}

#endif
