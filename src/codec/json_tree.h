/* How json.c keeps a document: the values in the order of the text, each container before what it contains. Private to
 * this folder. */
#ifndef CODEC_JSON_TREE_H
#define CODEC_JSON_TREE_H

#include "codec/json.h"

struct json_value {
    const uint8_t *text;   /* decoded string, or the number as written */
    const uint8_t *key;    /* decoded; NULL unless a member of an object */
    const uint8_t *source; /* first byte in the document */
    uint32_t text_size;
    uint32_t key_size;
    uint32_t source_size;
    uint32_t count; /* children */
    uint32_t span;  /* values of the subtree, this one included */
    uint8_t type;
    bool last; /* among its siblings */
};

_Static_assert(sizeof(struct json_value) == 48, "JSON_VALUES_MAX counts on it");

#endif
