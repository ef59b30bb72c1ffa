/* The remembered way of price_event.c: objects of a shape that was accepted before, with names that were, are read in one
 * pass over their bytes. It gives up at anything out of the ordinary and never rejects. Private to it. */
#ifndef VENUE_PRICE_MATCH_H
#define VENUE_PRICE_MATCH_H

#include "candle/event.h"
#include "codec/shape.h"
#include "venue/name_cache.h"

enum field {
    FIELD_BASE,
    FIELD_QUOTE,
    FIELD_EXCHANGE,
    FIELD_PRICE,
    FIELD_BASE_VOLUME,
    FIELD_QUOTE_VOLUME,
    FIELD_TIME,
    FIELD_COUNT
};

enum { PRICE_NAME_MAX = 20, SHAPES_MAX = 4 };
static const int64_t price_time_max = 253402300799999; /* the last millisecond of the year 9999 */

struct remembered {
    struct shape shape;
    uint32_t last_name; /* the slot behind which all three names are known */
    size_t text_bytes;  /* of the object it was learnt from */
    struct event blank; /* what its events have in common */
    bool in_order;      /* slot i is field i */
    bool wide;          /* every literal is one that scan_wide_literal can compare */
};

struct price_shapes {
    struct name_cache names;
    struct remembered known[SHAPES_MAX];
    uint32_t count;
    uint32_t recent; /* the one that matched last */
    uint32_t oldest; /* the next to be replaced */
    bool wide;       /* the machine has what scan_wide.h needs */
};

enum err price_shapes_init(struct price_shapes *shapes) MUST_USE;
void price_shapes_deinit(struct price_shapes *shapes);
/* `object` is an event; `tag` gives each of its members its enum field. */
void price_shapes_learn(struct price_shapes *shapes, const struct json_value *object, shape_tag *tag);
/* An object at *at, which then moves behind it. False, and nothing changed, where it is not of a remembered shape. */
bool price_match(struct price_shapes *shapes, const uint8_t **at, const uint8_t *end, struct event *ret_event);
/* price_decode_lines. */
uint32_t price_match_lines(struct price_shapes *shapes, const uint8_t **at, const uint8_t *end, struct event *events,
                           uint32_t *starts, uint32_t max);

#endif
