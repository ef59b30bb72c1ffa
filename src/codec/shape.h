/* The remembered shape of a JSON object: what is the same in every message of a stream (names, order, punctuation, space)
 * as literal bytes, and slots between for the values that differ.
 *
 * A shape is learnt from a document that the general parser accepted. Another text matches it if every literal is there
 * byte for byte, every slot holds one value of its kind, and nothing is left over. What matches is therefore a document of
 * the same structure with the same names, and needs no further validation. A text that does not match says nothing: the
 * general parser decides. The walk over the slots is the decoder's own loop, so that each value is read once, directly
 * into its place:
 *
 *     for each slot: shape_literal(slot, &at), then read the value up to, not including, the next literal;
 *     at last shape_literal(&shape->tail, &at), and `at` must be the end of the text.
 *
 * SHAPE_SLACK bytes behind the text must be readable. */
#ifndef CODEC_SHAPE_H
#define CODEC_SHAPE_H

#include "codec/json.h"
#include "codec/scan.h"

enum { SHAPE_SLOTS_MAX = 24, SHAPE_LITERAL_MAX = 64, SHAPE_DEPTH_MAX = 4, SHAPE_SLACK = SHAPE_LITERAL_MAX };

enum shape_kind {
    SHAPE_STRING, /* the quotes belong to the literals around it */
    SHAPE_NUMBER,
    SHAPE_BOOLEAN
};

struct shape_slot {
    _Alignas(16) uint8_t literal[SHAPE_LITERAL_MAX]; /* stands before the value */
    _Alignas(16) uint8_t mask[SHAPE_LITERAL_MAX];    /* 0xff for each byte of it */
    uint8_t size;
    uint8_t kind; /* enum shape_kind */
    uint8_t tag;  /* what the learner called it */
};

struct shape {
    struct shape_slot slots[SHAPE_SLOTS_MAX];
    struct shape_slot tail; /* only its literal counts */
    uint32_t count;
};

/* What a value is to the decoder: a tag from 0 on makes it a slot, SHAPE_FIXED a part of the literal around it, SHAPE_NONE
 * says that there is no shape for this document. `depth` is 1 for members of the outermost object. Also called for objects
 * and arrays, where a tag from 0 on means that their members are asked for in turn; arrays cannot be descended into. */
enum { SHAPE_FIXED = -1, SHAPE_NONE = -2 };
typedef int shape_tag(void *context, uint32_t depth, const struct json_value *value);

bool shape_same(const struct shape *a, const struct shape *b);
/* False where the document has no shape: too deep, too many slots, too long a literal, an escape in a string. */
bool shape_learn(struct shape *shape, const struct json_value *root, shape_tag *tag, void *context);

SCAN_INLINE bool shape_literal(const struct shape_slot *slot, const uint8_t **at) {
    const uint8_t *p = *at;
    const scan_pair *literal = (const scan_pair *)slot->literal, *mask = (const scan_pair *)slot->mask;
    const scan_pair_unaligned *text = (const scan_pair_unaligned *)p;
    scan_pair differ = ((text[0] ^ literal[0]) & mask[0]) | ((text[1] ^ literal[1]) & mask[1]);
    if (__builtin_expect((differ[0] | differ[1]) != 0, 0)) return false;
    if (__builtin_expect(slot->size > 32, 0) && memcmp(p + 32, slot->literal + 32, slot->size - 32u) != 0) return false;
    *at = p + slot->size;
    return true;
}

/* Passes over a value whose content does not matter, yet must be valid: a string of plain ASCII, a number, a boolean. */
bool shape_pass_value(const struct shape_slot *slot, const uint8_t **at, const uint8_t *end);

/* Decimals that scan_decimal does not take (long, signed, with an exponent), by decimal_parse. False if negative. */
bool shape_long_decimal(const uint8_t **at, const uint8_t *end, __int128 *ret_mantissa, uint8_t *ret_scale);

/* A decimal, not negative, of either kind of slot. */
SCAN_INLINE bool shape_decimal(const uint8_t **at, const uint8_t *end, __int128 *ret_mantissa, uint8_t *ret_scale) {
    const uint8_t *start = *at;
    int64_t mantissa;
    uint8_t scale;
    if (__builtin_expect(scan_decimal(at, &mantissa, &scale) && (**at | 32) != 'e', 1)) {
        *ret_mantissa = mantissa;
        *ret_scale = scale;
        return true;
    }
    *at = start;
    return shape_long_decimal(at, end, ret_mantissa, ret_scale);
}

static inline bool shape_boolean(const uint8_t **at, bool *ret_value) {
    if (memcmp(*at, "true", 4) == 0) {
        *at += 4;
        *ret_value = true;
        return true;
    }
    if (memcmp(*at, "false", 5) != 0) return false;
    *at += 5;
    *ret_value = false;
    return true;
}

#endif
