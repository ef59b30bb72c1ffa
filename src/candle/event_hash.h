/* The hash of one event, inlined: the fold takes it of every event it uses. Private to candle/. */
#ifndef CANDLE_EVENT_HASH_H
#define CANDLE_EVENT_HASH_H

#include <stddef.h>

#include "candle/event.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the hash is taken of the event as it lies in memory");
_Static_assert(offsetof(struct event, time_ms) == 48 && offsetof(struct event, series) == 56, "layout of the hash");

/* Of the last word, the series number and the reserved bit are not the event's. */
static inline uint64_t event_hash_inline(const struct event *event) {
    uint64_t words[sizeof *event / 8];
    memcpy(words, event, sizeof words);
    words[7] &= UINT64_C(0x7fffffff00000000);
    return XXH3_64bits(words, sizeof words);
}

#endif
