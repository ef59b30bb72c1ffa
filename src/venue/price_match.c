#include "venue/price_match.h"

#include "codec/scan_wide.h"

enum { WIDE_LITERAL_MAX = 32, WIDE_VALUE_MAX = 16, WIDE_LINES = 2 /* decoded side by side */ };
enum { WIDE_BYTES_MAX = FIELD_COUNT * (WIDE_LITERAL_MAX + WIDE_VALUE_MAX) + WIDE_LITERAL_MAX };

enum err price_shapes_init(struct price_shapes *shapes) {
    *shapes = (struct price_shapes){.count = 0};
#ifdef __x86_64__
    shapes->wide = scan_wide_supported();
#endif
    return name_cache_init(&shapes->names) ? ERR_OK : ERR_NO_MEMORY;
}

void price_shapes_deinit(struct price_shapes *shapes) { name_cache_deinit(&shapes->names); }

void price_shapes_learn(struct price_shapes *shapes, const struct json_value *object, shape_tag *tag) {
    struct remembered new = {.last_name = 0};
    if (!shape_learn(&new.shape, object, tag, NULL)) return;
    for (uint32_t i = 0; i < shapes->count; i++)
        if (shape_same(&shapes->known[i].shape, &new.shape)) return;
    new.text_bytes = json_source(object).size;
    new.blank = (struct event){.kind = EVENT_PRICE, .no_quantity = 1, .no_quote_volume = 1};
    new.in_order = new.shape.count == FIELD_COUNT;
    new.wide = new.shape.tail.size <= WIDE_LITERAL_MAX;
    for (uint32_t i = 0; i < new.shape.count; i++) {
        if (new.shape.slots[i].tag <= FIELD_EXCHANGE) new.last_name = i;
        if (new.shape.slots[i].tag == FIELD_BASE_VOLUME) new.blank.no_quantity = 0;
        if (new.shape.slots[i].tag == FIELD_QUOTE_VOLUME) new.blank.no_quote_volume = 0;
        if (new.shape.slots[i].tag != i) new.in_order = false;
        if (new.shape.slots[i].size > WIDE_LITERAL_MAX) new.wide = false;
    }
    uint32_t place = shapes->count < SHAPES_MAX ? shapes->count++ : shapes->oldest++ % SHAPES_MAX;
    shapes->known[place] = new;
    shapes->recent = place;
}

SCAN_INLINE bool match_slot(const struct shape_slot *slot, const uint8_t **at, const uint8_t *end, struct event *event,
                            struct name_key *names) {
    unsigned size;
    switch ((enum field)slot->tag) {
        case FIELD_BASE:
        case FIELD_QUOTE:
        case FIELD_EXCHANGE:
            if (!scan_name(*at, &size, &names->names[slot->tag])) return false;
            *at += size;
            return true;
        case FIELD_PRICE: return shape_decimal(at, end, &event->price, &event->price_scale) && event->price != 0;
        case FIELD_BASE_VOLUME: return shape_decimal(at, end, &event->quantity, &event->quantity_scale);
        case FIELD_QUOTE_VOLUME: return shape_decimal(at, end, &event->quote_volume, &event->quote_volume_scale);
        case FIELD_TIME:
            return scan_u63(at, &event->time_ms) && event->time_ms >= 1 && event->time_ms <= price_time_max;
        case FIELD_COUNT: break;
    }
    return false;
}

/* What lies behind `end` may look like more of the object, so the place is checked after each step. */
SCAN_INLINE bool match_shape(const struct price_shapes *shapes, const struct remembered *known, const uint8_t **at,
                             const uint8_t *end, struct event *ret_event) {
    const struct shape_slot *slots = known->shape.slots;
    const struct name_cache_entry *place = NULL;
    const uint8_t *p = *at;
    struct name_key names;
    *ret_event = known->blank;
    for (uint32_t i = 0; i < known->shape.count; i++) {
        if (!shape_literal(&slots[i], &p) || p >= end) return false;
        if (!match_slot(&slots[i], &p, end, ret_event, &names) || p >= end) return false;
        if (i == known->last_name) {
            place = name_cache_place(&shapes->names, &names);
            __builtin_prefetch(place);
        }
    }
    if (!shape_literal(&known->shape.tail, &p) || p > end) return false;
    ret_event->series = name_cache_find_at(place, &names);
    if (ret_event->series == SERIES_NONE) return false;
    *at = p;
    return true;
}

#ifdef __x86_64__
SCAN_WIDE bool wide_decimal(const uint8_t **at, __int128 *ret_mantissa, uint8_t *ret_scale) {
    int64_t mantissa = 0;
    bool fine = scan_wide_decimal(at, &mantissa, ret_scale);
    *ret_mantissa = mantissa;
    return fine;
}

SCAN_WIDE bool wide_slot(enum field field, const uint8_t **at, struct event *event, scan_pair names[static 3]) {
    switch (field) {
        case FIELD_BASE:
        case FIELD_QUOTE:
        case FIELD_EXCHANGE: return scan_wide_name(at, &names[field]);
        case FIELD_PRICE: return wide_decimal(at, &event->price, &event->price_scale) && event->price != 0;
        case FIELD_BASE_VOLUME: return wide_decimal(at, &event->quantity, &event->quantity_scale);
        case FIELD_QUOTE_VOLUME: return wide_decimal(at, &event->quote_volume, &event->quote_volume_scale);
        case FIELD_TIME:
            return scan_wide_u63(at, &event->time_ms) && event->time_ms >= 1 && event->time_ms <= price_time_max;
        case FIELD_COUNT: break;
    }
    return false;
}

/* As match_shape, of `lines` objects side by side: where a value ends is known only after it was looked at, and some such
 * chains take hardly longer than one. What is out of the ordinary is left to match_shape. `in_order`: all fields are there,
 * in their usual order, so that each slot has code of its own. `end` NULL: WIDE_BYTES_MAX bytes can be read anyway. */
SCAN_WIDE bool wide_shape(const struct price_shapes *shapes, const struct remembered *known, bool in_order,
                          uint32_t lines, const uint8_t **at, const uint8_t *end, struct event *ret_events) {
    const struct shape_slot *slots = known->shape.slots;
    const uint32_t count = in_order ? FIELD_COUNT : known->shape.count;
    const uint8_t *p[WIDE_LINES];
    struct name_key names[WIDE_LINES];
    for (uint32_t k = 0; k < lines; k++) p[k] = at[k];
    for (uint32_t k = 0; k < lines; k++) ret_events[k] = in_order ? (struct event){.kind = EVENT_PRICE} : known->blank;
#pragma GCC unroll 7
    for (uint32_t i = 0; i < count; i++) {
        const enum field field = in_order ? (enum field)i : (enum field)slots[i].tag;
#pragma GCC unroll 4
        for (uint32_t k = 0; k < lines; k++)
            if (!scan_wide_literal(&slots[i], &p[k]) || (end != NULL && p[k] >= end)) return false;
#pragma GCC unroll 4
        for (uint32_t k = 0; k < lines; k++)
            if (!wide_slot(field, &p[k], &ret_events[k], names[k].names) || (end != NULL && p[k] >= end)) return false;
    }
    for (uint32_t k = 0; k < lines; k++) {
        if (!scan_wide_literal(&known->shape.tail, &p[k]) || (end != NULL && p[k] > end)) return false;
        ret_events[k].series = name_cache_find(&shapes->names, &names[k]);
        if (ret_events[k].series == SERIES_NONE) return false;
    }
    for (uint32_t k = 0; k < lines; k++) at[k] = p[k];
    return true;
}

SCAN_WIDE_TARGET static bool match_wide(const struct price_shapes *shapes, const uint8_t **at, const uint8_t *end,
                                        struct event *ret_event) {
    const struct remembered *known = &shapes->known[shapes->recent];
    if (!known->wide) return false;
    return known->in_order ? wide_shape(shapes, known, true, 1, at, end, ret_event)
                           : wide_shape(shapes, known, false, 1, at, end, ret_event);
}

enum { NEAR_BYTES = 64 };

/* Where the line behind the first newline within the NEAR_BYTES from `at` on starts. */
SCAN_WIDE bool near_newline(const uint8_t *at, const uint8_t **ret_next) {
    const __m256i newline = _mm256_set1_epi8('\n');
    const __m256i *text = (const __m256i *)(const void *)at;
    uint64_t low = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_loadu_si256(text), newline));
    uint64_t high = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_loadu_si256(text + 1), newline));
    *ret_next = at + _tzcnt_u64(high << 32 | low) + 1;
    return (low | high) != 0;
}

/* Some lines at a time, while they have about the length of the one that the shape was learnt from, and the shape of the last
 * one. Where each one ends is guessed, and then known by its having been read. */
SCAN_WIDE_TARGET static uint32_t wide_lines(const struct price_shapes *shapes, const uint8_t **at, const uint8_t *end,
                                            struct event *events, uint32_t *starts, uint32_t max) {
    enum { BEFORE = 24 };
    const struct remembered *known = &shapes->known[shapes->recent];
    const uint8_t *base = *at, *p = base;
    const size_t guess = known->text_bytes > BEFORE ? known->text_bytes - BEFORE : 0;
    const size_t apart = guess + NEAR_BYTES; /* two lines, at most */
    const size_t room = (WIDE_LINES - 1) * apart + (apart > WIDE_BYTES_MAX ? apart : WIDE_BYTES_MAX);
    uint32_t count = 0;
    if (!known->wide || !known->in_order) return 0;
    while (count + WIDE_LINES <= max && (size_t)(end - p) >= room) {
        const uint8_t *lines[WIDE_LINES + 1] = {p}, *ends[WIDE_LINES];
        bool fine = true;
#pragma GCC unroll 4
        for (uint32_t k = 0; k < WIDE_LINES && fine; k++) {
            ends[k] = lines[k];
            fine = near_newline(lines[k] + guess, &lines[k + 1]);
        }
        if (!fine || !wide_shape(shapes, known, true, WIDE_LINES, ends, NULL, &events[count])) break;
        for (uint32_t k = 0; k < WIDE_LINES; k++) {
            fine = fine && ends[k] + 1 == lines[k + 1];
            starts[count + k] = (uint32_t)(lines[k] - base);
        }
        if (!fine) break;
        count += WIDE_LINES;
        p = lines[WIDE_LINES];
    }
    *at = p;
    return count;
}
#else
static bool match_wide(const struct price_shapes *shapes, const uint8_t **at, const uint8_t *end,
                       struct event *ret_event) {
    (void)shapes, (void)at, (void)end, (void)ret_event;
    return false;
}

static uint32_t wide_lines(const struct price_shapes *shapes, const uint8_t **at, const uint8_t *end,
                           struct event *events, uint32_t *starts, uint32_t max) {
    (void)shapes, (void)at, (void)end, (void)events, (void)starts, (void)max;
    return 0;
}
#endif

SCAN_INLINE bool match_recent(const struct price_shapes *shapes, const uint8_t **at, const uint8_t *end,
                              struct event *ret_event) {
    if (shapes->wide && match_wide(shapes, at, end, ret_event)) return true;
    return match_shape(shapes, &shapes->known[shapes->recent], at, end, ret_event);
}

bool price_match(struct price_shapes *shapes, const uint8_t **at, const uint8_t *end, struct event *ret_event) {
    if (shapes->count == 0) return false;
    if (match_recent(shapes, at, end, ret_event)) return true;
    for (uint32_t i = 0; i < shapes->count; i++) {
        if (i == shapes->recent || !match_shape(shapes, &shapes->known[i], at, end, ret_event)) continue;
        shapes->recent = i;
        return true;
    }
    return false;
}

uint32_t price_match_lines(struct price_shapes *shapes, const uint8_t **at, const uint8_t *end, struct event *events,
                           uint32_t *starts, uint32_t max) {
    const uint8_t *base = *at, *p = base;
    uint32_t count = 0;
    while (count < max && p < end) {
        const uint8_t *start = p;
        if (shapes->wide && shapes->count > 0) {
            uint32_t taken = wide_lines(shapes, &p, end, events + count, starts + count, max - count);
            for (uint32_t i = count; i < count + taken; i++) starts[i] += (uint32_t)(start - base);
            count += taken;
            if (taken > 0) continue;
        }
        if (!price_match(shapes, &p, end, &events[count])) break;
        if (p < end && *p == '\r') p++;
        if (p < end && *p != '\n') {
            p = start;
            break;
        }
        starts[count++] = (uint32_t)(start - base);
        if (p < end) p++;
    }
    *at = p;
    return count;
}
