#include "codec/shape.h"

#include <assert.h>

#include "base/decimal.h"
#include "codec/json_tree.h"

struct learner {
    struct shape *shape;
    shape_tag *tag;
    void *context;
    const uint8_t *from; /* where the literal under way starts */
};

static bool set_literal(struct shape_slot *slot, const uint8_t *from, const uint8_t *to) {
    size_t size = (size_t)(to - from);
    if (size > SHAPE_LITERAL_MAX) return false;
    memset(slot, 0, sizeof *slot);
    memcpy(slot->literal, from, size);
    memset(slot->mask, 0xFF, size);
    slot->size = (uint8_t)size;
    return true;
}

/* Ends the literal before the value and starts the next one behind it. */
static bool add_slot(struct learner *learner, const struct json_value *value, int tag) {
    struct shape *shape = learner->shape;
    if (shape->count == SHAPE_SLOTS_MAX || tag > UINT8_MAX) return false;
    struct shape_slot *slot = &shape->slots[shape->count];
    const uint8_t *start = value->source, *end = value->source + value->source_size;
    if (value->type == JSON_STRING) {
        if (value->text_size + 2 != value->source_size) return false; /* it has an escape */
        start++;
        end--;
    }
    if (!set_literal(slot, learner->from, start)) return false;
    slot->tag = (uint8_t)tag;
    slot->kind = value->type == JSON_STRING ? SHAPE_STRING : value->type == JSON_NUMBER ? SHAPE_NUMBER : SHAPE_BOOLEAN;
    learner->from = end;
    shape->count++;
    return true;
}

bool shape_learn(struct shape *shape, const struct json_value *root, shape_tag *tag, void *context) {
    assert(shape != NULL && root != NULL);
    if (root->type != JSON_OBJECT) return false;
    struct learner learner = {.shape = shape, .tag = tag, .context = context, .from = root->source};
    const struct json_value *ends[SHAPE_DEPTH_MAX] = {root + root->span};
    uint32_t depth = 1;
    shape->count = 0;
    for (const struct json_value *v = root + 1; v < root + root->span;) {
        while (v >= ends[depth - 1]) depth--;
        int given = tag(context, depth, v);
        if (given == SHAPE_FIXED) {
            v += v->span;
            continue;
        }
        if (given < 0 || v->type == JSON_ARRAY || v->type == JSON_NULL) return false;
        if (v->type == JSON_OBJECT) {
            if (depth == SHAPE_DEPTH_MAX) return false;
            ends[depth++] = v + v->span;
        } else if (!add_slot(&learner, v, given)) {
            return false;
        }
        v++;
    }
    return set_literal(&shape->tail, learner.from, root->source + root->source_size);
}

static bool same_slot(const struct shape_slot *a, const struct shape_slot *b) {
    return a->size == b->size && a->kind == b->kind && a->tag == b->tag && memcmp(a->literal, b->literal, a->size) == 0;
}

bool shape_same(const struct shape *a, const struct shape *b) {
    if (a->count != b->count || !same_slot(&a->tail, &b->tail)) return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (!same_slot(&a->slots[i], &b->slots[i])) return false;
    return true;
}

bool shape_long_decimal(const uint8_t **at, const uint8_t *end, __int128 *ret_mantissa, uint8_t *ret_scale) {
    const uint8_t *after = scan_json_number(*at, end);
    struct decimal value;
    if (after == *at || decimal_parse(slice_of(*at, (size_t)(after - *at)), &value) != ERR_OK) return false;
    if (value.mantissa < 0) return false;
    *at = after;
    *ret_mantissa = value.mantissa;
    *ret_scale = value.scale;
    return true;
}

bool shape_pass_value(const struct shape_slot *slot, const uint8_t **at, const uint8_t *end) {
    const uint8_t *p = *at;
    bool value = false;
    if (slot->kind == SHAPE_BOOLEAN) return shape_boolean(at, &value);
    if (slot->kind == SHAPE_NUMBER) {
        p = scan_json_number(p, end);
        if (p == *at || p - *at > JSON_NUMBER_MAX) return false;
        *at = p;
        return true;
    }
    while (p < end && *p >= 0x20 && *p < 0x7F && *p != '"' && *p != '\\') p++;
    *at = p;
    return p < end && *p == '"';
}
