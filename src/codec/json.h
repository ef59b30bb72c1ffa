/* JSON, validated whole. simdjson does the parsing; this is its C face.
 *
 * Every byte of a document is checked (RFC 8259 grammar, UTF-8, no trailing bytes, no duplicate keys where asked) before
 * any value is used. Numbers are handed out as their text, so that decimals stay exact. The value tree lives until the next
 * parse with the same parser. A parser belongs to one thread. */
#ifndef CODEC_JSON_H
#define CODEC_JSON_H

#include "base/err.h"
#include "base/slice.h"

enum {
    JSON_DEPTH_MAX = 64,
    JSON_NUMBER_MAX = 128, /* bytes of a number's text */
    JSON_DOCUMENT_MAX = 64 * 1024 * 1024,
    JSON_VALUES_MAX = 4 * 1024 * 1024 /* values of a document; 48 bytes each */
};

enum json_type { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* A value: for containers, `count` children follow through json_first/json_next. */
struct json_value;
struct json_parser;

struct json_limits {
    uint32_t depth;        /* 0: JSON_DEPTH_MAX */
    size_t document_bytes; /* 0: JSON_DOCUMENT_MAX */
    size_t number_bytes;   /* 0: JSON_NUMBER_MAX */
    bool duplicate_keys;   /* true: allowed (the conformance suite); false: ERR_DUPLICATE */
};

enum err json_parser_open(const struct json_limits *limits, struct json_parser **ret_parser) MUST_USE;
void json_parser_close(struct json_parser **parser);
/* `text` needs no padding and must live as long as the tree, which points into it. Numbers may be of any magnitude; a lone
 * surrogate in an escape is ERR_UTF8. Errors: ERR_SYNTAX, ERR_UTF8, ERR_DEPTH, ERR_TOO_LARGE (bytes or values),
 * ERR_DUPLICATE, ERR_PRECISION (number text too long), with "byte N" in diag. */
enum err json_parse(struct json_parser *parser, struct slice text, struct diag *diag,
                    const struct json_value **ret_root) MUST_USE;

enum json_type json_type_of(const struct json_value *value);
/* The decoded text of a string, or the exact source text of a number. */
struct slice json_text(const struct json_value *value);
/* The source bytes the value was parsed from, without surrounding space: what is logged of an array's element. */
struct slice json_source(const struct json_value *value);
uint32_t json_count(const struct json_value *value);
/* Children in order; of an object, json_key of a child is its name. NULL at the end. */
const struct json_value *json_first(const struct json_value *container);
const struct json_value *json_next(const struct json_value *value);
struct slice json_key(const struct json_value *member);
/* The member of that name, exactly, or NULL. */
const struct json_value *json_member(const struct json_value *object, const char *name);
/* The integer of a number or of a string that is written as one (no fraction, no exponent); ERR_TYPE, ERR_RANGE. */
enum err json_i64(const struct json_value *value, int64_t *ret_value) MUST_USE;

/* Appends `text` as a JSON string with its quotes; a byte that is no UTF-8 becomes U+FFFD. */
struct buf;
void json_put_string(struct buf *out, struct slice text);

#endif
