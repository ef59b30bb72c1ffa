#include "candle/event.h"

#include "candle/event_hash.h"

uint64_t event_hash(const struct event *event) { return event_hash_inline(event); }
