#include "codec/json.h"

#include <assert.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/utf8.h"
#include "codec/json_index.h"
#include "codec/json_tree.h"
#include "codec/scan.h"

/* simdjson's first stage finds the tokens and validates UTF-8 and strings; the walk below checks the grammar between and
 * within them. simdjson's own second stage is not used because it turns numbers into doubles and refuses those that do not
 * fit, while ours must keep their text. */

enum { NO_CONTAINER = UINT32_MAX, FEW_MEMBERS = 12 };

struct json_parser {
    struct json_limits limits;
    struct json_index *index;
    struct json_value *values;
    uint32_t value_count;
    uint32_t value_capacity;
    uint8_t *strings; /* decoded strings that had escapes */
    size_t strings_size;
    size_t strings_capacity;
    uint64_t *hashes; /* scratch of the duplicate check */
    size_t hash_capacity;
};

/* The walk over one document. */
struct walk {
    struct json_parser *parser;
    struct slice text;
    const uint32_t *positions;
    uint32_t token_count;
    uint32_t token; /* next to be taken */
    uint32_t depth;
    uint32_t open[JSON_DEPTH_MAX]; /* containers around us, by index */
    uint32_t last[JSON_DEPTH_MAX]; /* the child of each that was seen last */
    struct diag *diag;
};

enum err json_parser_open(const struct json_limits *limits, struct json_parser **ret_parser) {
    struct json_parser *parser = calloc(1, sizeof *parser);
    if (parser == NULL) return ERR_NO_MEMORY;
    if (limits != NULL) parser->limits = *limits;
    if (parser->limits.depth == 0 || parser->limits.depth > JSON_DEPTH_MAX) parser->limits.depth = JSON_DEPTH_MAX;
    if (parser->limits.document_bytes == 0 || parser->limits.document_bytes > JSON_DOCUMENT_MAX)
        parser->limits.document_bytes = JSON_DOCUMENT_MAX;
    if (parser->limits.number_bytes == 0) parser->limits.number_bytes = JSON_NUMBER_MAX;
    parser->index = json_index_open();
    if (parser->index == NULL) {
        free(parser);
        return ERR_NO_MEMORY;
    }
    *ret_parser = parser;
    return ERR_OK;
}

void json_parser_close(struct json_parser **parser) {
    if (parser == NULL || *parser == NULL) return;
    json_index_close((*parser)->index);
    free((*parser)->values);
    free((*parser)->strings);
    free((*parser)->hashes);
    free(*parser);
    *parser = NULL;
}

/* --- errors and memory --- */

static enum err fail(struct walk *w, enum err err, size_t at, const char *what) {
    diag_set(w->diag, err, "%s", what);
    diag_where(w->diag, "byte %zu", at);
    return err;
}

static enum err add_value(struct walk *w, uint32_t *ret_index) {
    struct json_parser *p = w->parser;
    if (p->value_count == p->value_capacity) {
        if (p->value_count >= JSON_VALUES_MAX)
            return fail(w, ERR_TOO_LARGE, w->positions[w->token], "too many values in one document");
        uint32_t capacity = p->value_capacity == 0 ? 64 : p->value_capacity * 2;
        struct json_value *values = realloc(p->values, capacity * sizeof *values);
        if (values == NULL) return ERR_NO_MEMORY;
        p->values = values;
        p->value_capacity = capacity;
    }
    *ret_index = p->value_count++;
    p->values[*ret_index] = (struct json_value){.span = 1};
    return ERR_OK;
}

/* Decoding never lengthens a string, so the document's size bounds all of them together; taken once, before the first, so
 * that pointers stay. */
static enum err reserve_strings(struct walk *w) {
    struct json_parser *p = w->parser;
    if (p->strings_size != 0 || p->strings_capacity >= w->text.size) return ERR_OK;
    uint8_t *strings = realloc(p->strings, w->text.size);
    if (strings == NULL) return ERR_NO_MEMORY;
    p->strings = strings;
    p->strings_capacity = w->text.size;
    return ERR_OK;
}

/* --- tokens --- */

static size_t token_at(const struct walk *w, uint32_t token) {
    return token < w->token_count ? w->positions[token] : w->text.size;
}

/* Between the end of a token and the next one only space may stand. */
static bool only_space(const struct walk *w, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        uint8_t c = w->text.data[i];
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return false;
    }
    return true;
}

/* Takes the next token, which must be this one byte. */
static bool take(struct walk *w, uint8_t byte) {
    size_t at = token_at(w, w->token);
    if (at >= w->text.size || w->text.data[at] != byte) return false;
    if (!only_space(w, at + 1, token_at(w, w->token + 1))) return false;
    w->token++;
    return true;
}

static int hex4(const uint8_t *text, size_t left) {
    if (left < 4) return -1;
    int value = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t c = text[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

static size_t put_utf8(uint8_t *to, uint32_t code) {
    if (code < 0x80) {
        to[0] = (uint8_t)code;
        return 1;
    }
    if (code < 0x800) {
        to[0] = (uint8_t)(0xC0 | code >> 6);
        to[1] = (uint8_t)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        to[0] = (uint8_t)(0xE0 | code >> 12);
        to[1] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
        to[2] = (uint8_t)(0x80 | (code & 0x3F));
        return 3;
    }
    to[0] = (uint8_t)(0xF0 | code >> 18);
    to[1] = (uint8_t)(0x80 | (code >> 12 & 0x3F));
    to[2] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
    to[3] = (uint8_t)(0x80 | (code & 0x3F));
    return 4;
}

/* `at` is behind "\u"; a surrogate pair takes both escapes. */
static enum err decode_unicode(const uint8_t *at, size_t left, size_t *ret_used, uint32_t *ret_code) {
    int high = hex4(at, left);
    if (high < 0) return ERR_SYNTAX;
    *ret_used = 4;
    *ret_code = (uint32_t)high;
    if (high < 0xD800 || high > 0xDFFF) return ERR_OK;
    if (high > 0xDBFF || left < 10 || at[4] != '\\' || at[5] != 'u') return ERR_UTF8;
    int low = hex4(at + 6, left - 6);
    if (low < 0) return ERR_SYNTAX;
    if (low < 0xDC00 || low > 0xDFFF) return ERR_UTF8;
    *ret_used = 10;
    *ret_code = 0x10000u + ((uint32_t)(high - 0xD800) << 10) + (uint32_t)(low - 0xDC00);
    return ERR_OK;
}

/* Decodes from `at` (within a string) to its closing quote, appending to the parser's strings. */
static enum err decode_rest(struct walk *w, const uint8_t *at, const uint8_t **ret_end) {
    struct json_parser *p = w->parser;
    const uint8_t *end = w->text.data + w->text.size;
    uint8_t *to = p->strings + p->strings_size;
    for (;;) {
        if (at >= end) return ERR_SYNTAX;
        uint8_t c = *at++;
        if (c == '"') break;
        if (c != '\\') {
            *to++ = c;
            continue;
        }
        if (at >= end) return ERR_SYNTAX;
        static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
        uint8_t escape = *at++;
        const char *found = escape == 0 ? NULL : strchr(names, escape);
        if (found != NULL) {
            *to++ = (uint8_t)bytes[found - names];
            continue;
        }
        if (escape != 'u') return ERR_SYNTAX;
        size_t used = 0;
        uint32_t code = 0;
        enum err err = decode_unicode(at, (size_t)(end - at), &used, &code);
        if (err != ERR_OK) return err;
        at += used;
        to += put_utf8(to, code);
    }
    p->strings_size = (size_t)(to - p->strings);
    *ret_end = at;
    return ERR_OK;
}

/* The string token at w->token: decoded text, and the end of its source. */
static enum err take_string(struct walk *w, struct slice *ret_text, size_t *ret_end) {
    size_t start = token_at(w, w->token);
    const uint8_t *first = w->text.data + start + 1, *end = w->text.data + w->text.size;
    const uint8_t *at = scan_string(first, end);
    const uint8_t *after = at + 1;
    *ret_text = slice_of(first, (size_t)(at - first));
    if (at >= end) return fail(w, ERR_SYNTAX, start, "a string is not closed");
    if (*at == '\\') {
        enum err err = reserve_strings(w);
        if (err != ERR_OK) return err;
        struct json_parser *p = w->parser;
        size_t from = p->strings_size;
        memcpy(p->strings + from, first, (size_t)(at - first));
        p->strings_size += (size_t)(at - first);
        err = decode_rest(w, at, &after);
        if (err == ERR_UTF8) return fail(w, err, start, "a lone surrogate in a string");
        if (err != ERR_OK) return fail(w, err, start, "a bad escape in a string");
        *ret_text = slice_of(p->strings + from, p->strings_size - from);
    }
    *ret_end = (size_t)(after - w->text.data);
    if (!only_space(w, *ret_end, token_at(w, w->token + 1)))
        return fail(w, ERR_SYNTAX, *ret_end, "unexpected bytes behind a string");
    w->token++;
    return ERR_OK;
}

static enum err take_scalar(struct walk *w, struct json_value *value) {
    size_t start = token_at(w, w->token), next = token_at(w, w->token + 1);
    while (next > start && only_space(w, next - 1, next)) next--;
    struct slice text = slice_of(w->text.data + start, next - start);
    value->source_size = (uint32_t)text.size;
    if (text.data[0] == '-' || (text.data[0] >= '0' && text.data[0] <= '9')) {
        if (scan_json_number(text.data, text.data + text.size) != text.data + text.size)
            return fail(w, ERR_SYNTAX, start, "malformed number");
        if (text.size > w->parser->limits.number_bytes)
            return fail(w, ERR_PRECISION, start, "a number's text is too long");
        value->type = JSON_NUMBER;
        value->text = text.data;
        value->text_size = (uint32_t)text.size;
    } else if (slice_equal(text, SLICE("true"))) {
        value->type = JSON_TRUE;
    } else if (slice_equal(text, SLICE("false"))) {
        value->type = JSON_FALSE;
    } else if (slice_equal(text, SLICE("null"))) {
        value->type = JSON_NULL;
    } else {
        return fail(w, ERR_SYNTAX, start, "unexpected bytes where a value should be");
    }
    w->token++;
    return ERR_OK;
}

/* --- duplicate keys --- */

static struct slice key_of(const struct json_value *value) { return slice_of(value->key, value->key_size); }

static bool few_keys_repeat(const struct json_value *object) {
    const struct json_value *members[FEW_MEMBERS];
    uint32_t count = 0;
    for (const struct json_value *m = json_first(object); m != NULL; m = json_next(m)) {
        for (uint32_t i = 0; i < count; i++)
            if (slice_equal(key_of(members[i]), key_of(m))) return true;
        members[count++] = m;
    }
    return false;
}

static int compare_hashes(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* A repeated 64-bit hash decides alone whether the keys are compared one by one, which is so rare as to be free. */
static bool keys_repeat_exactly(const struct json_value *object, uint64_t hash, uint64_t seed) {
    const struct json_value *first = NULL;
    for (const struct json_value *m = json_first(object); m != NULL; m = json_next(m)) {
        if (hash_bytes(key_of(m), seed) != hash) continue;
        if (first != NULL && slice_equal(key_of(first), key_of(m))) return true;
        if (first == NULL) first = m;
    }
    return false;
}

static enum err check_keys(struct walk *w, const struct json_value *object) {
    struct json_parser *p = w->parser;
    size_t at = (size_t)(object->source - w->text.data);
    if (p->limits.duplicate_keys || object->count < 2) return ERR_OK;
    if (object->count <= FEW_MEMBERS)
        return few_keys_repeat(object) ? fail(w, ERR_DUPLICATE, at, "a name occurs twice in an object") : ERR_OK;
    if (p->hash_capacity < object->count) {
        uint64_t *hashes = realloc(p->hashes, object->count * sizeof *hashes);
        if (hashes == NULL) return ERR_NO_MEMORY;
        p->hashes = hashes;
        p->hash_capacity = object->count;
    }
    uint64_t seed = (uint64_t)(uintptr_t)p;
    uint32_t count = 0;
    for (const struct json_value *m = json_first(object); m != NULL; m = json_next(m))
        p->hashes[count++] = hash_bytes(key_of(m), seed);
    qsort(p->hashes, count, sizeof *p->hashes, compare_hashes);
    for (uint32_t i = 1; i < count; i++)
        if (p->hashes[i] == p->hashes[i - 1] && keys_repeat_exactly(object, p->hashes[i], seed))
            return fail(w, ERR_DUPLICATE, at, "a name occurs twice in an object");
    return ERR_OK;
}

/* --- structure --- */

static enum err begin_container(struct walk *w, uint32_t index, uint8_t bracket) {
    size_t at = token_at(w, w->token);
    if (w->depth == w->parser->limits.depth) return fail(w, ERR_DEPTH, at, "nesting is too deep");
    w->parser->values[index].type = bracket == '{' ? JSON_OBJECT : JSON_ARRAY;
    w->open[w->depth] = index;
    w->last[w->depth] = NO_CONTAINER;
    w->depth++;
    return take(w, bracket) ? ERR_OK : fail(w, ERR_SYNTAX, at, "unexpected bytes behind a bracket");
}

/* The value at w->token; containers are only begun. */
static enum err take_value(struct walk *w, struct slice key) {
    size_t at = token_at(w, w->token);
    if (at >= w->text.size) return fail(w, ERR_SYNTAX, at, "the document ends early");
    uint32_t index = 0;
    enum err err = add_value(w, &index);
    if (err != ERR_OK) return err;
    struct json_value *value = &w->parser->values[index];
    value->key = key.data;
    value->key_size = (uint32_t)key.size;
    value->source = w->text.data + at;
    if (w->depth > 0) {
        w->parser->values[w->open[w->depth - 1]].count++;
        w->last[w->depth - 1] = index;
    }
    uint8_t first = w->text.data[at];
    if (first == '{' || first == '[') return begin_container(w, index, first);
    if (first != '"') return take_scalar(w, value);
    struct slice text = SLICE_NONE;
    size_t end = 0;
    err = take_string(w, &text, &end);
    if (err != ERR_OK) return err;
    value->type = JSON_STRING;
    value->text = text.data;
    value->text_size = (uint32_t)text.size;
    value->source_size = (uint32_t)(end - at);
    return ERR_OK;
}

/* A member's name and colon, then its value. */
static enum err take_member(struct walk *w) {
    size_t at = token_at(w, w->token), end = 0;
    if (at >= w->text.size || w->text.data[at] != '"') return fail(w, ERR_SYNTAX, at, "a name in quotes is missing");
    struct slice key = SLICE_NONE;
    enum err err = take_string(w, &key, &end);
    if (err != ERR_OK) return err;
    if (!take(w, ':')) return fail(w, ERR_SYNTAX, token_at(w, w->token), "a colon is missing");
    return take_value(w, key);
}

static enum err end_container(struct walk *w) {
    struct json_value *values = w->parser->values;
    uint32_t index = w->open[w->depth - 1], last = w->last[w->depth - 1];
    struct json_value *container = &values[index];
    size_t at = token_at(w, w->token);
    if (!take(w, container->type == JSON_OBJECT ? '}' : ']'))
        return fail(w, ERR_SYNTAX, at, "a comma or closing bracket is missing");
    container->span = w->parser->value_count - index;
    container->source_size = (uint32_t)(w->text.data + at + 1 - container->source);
    if (last != NO_CONTAINER) values[last].last = true;
    w->depth--;
    return container->type == JSON_OBJECT ? check_keys(w, container) : ERR_OK;
}

/* One step within the innermost container: its next child, or its end. */
static enum err step(struct walk *w) {
    struct json_value *container = &w->parser->values[w->open[w->depth - 1]];
    bool object = container->type == JSON_OBJECT;
    size_t at = token_at(w, w->token);
    uint8_t first = at < w->text.size ? w->text.data[at] : 0;
    if (container->count == 0 && first != '}' && first != ']')
        return object ? take_member(w) : take_value(w, SLICE_NONE);
    if (container->count > 0 && first == ',') {
        if (!take(w, ',')) return fail(w, ERR_SYNTAX, at, "unexpected bytes behind a comma");
        return object ? take_member(w) : take_value(w, SLICE_NONE);
    }
    return end_container(w);
}

static enum err walk_document(struct walk *w) {
    if (!only_space(w, 0, token_at(w, 0))) return fail(w, ERR_SYNTAX, 0, "unexpected bytes at the start");
    enum err err = take_value(w, SLICE_NONE);
    while (err == ERR_OK && w->depth > 0) err = step(w);
    if (err != ERR_OK) return err;
    w->parser->values[0].last = true;
    if (w->token != w->token_count) return fail(w, ERR_SYNTAX, token_at(w, w->token), "bytes behind the document");
    return ERR_OK;
}

/* The first control byte that lies within a string. */
static size_t find_control_byte(struct slice text) {
    bool within = false;
    for (size_t i = 0; i < text.size; i++) {
        if (within && text.data[i] < 0x20) return i;
        if (text.data[i] == '"') within = !within;
        if (within && text.data[i] == '\\') i++;
    }
    return text.size;
}

static enum err index_error(struct walk *w, enum json_index_status status) {
    switch (status) {
        case JSON_INDEX_OK: return ERR_OK;
        case JSON_INDEX_EMPTY: return fail(w, ERR_SYNTAX, 0, "the document is empty");
        case JSON_INDEX_UTF8: return fail(w, ERR_UTF8, utf8_valid_bytes(w->text), "the document is not valid UTF-8");
        case JSON_INDEX_UNCLOSED_STRING: return fail(w, ERR_SYNTAX, w->text.size, "a string is not closed");
        case JSON_INDEX_CONTROL_BYTE:
            return fail(w, ERR_SYNTAX, find_control_byte(w->text), "a control byte within a string");
        case JSON_INDEX_NO_MEMORY: break;
    }
    return diag_set(w->diag, ERR_NO_MEMORY, "out of memory for a JSON document of %zu bytes", w->text.size);
}

enum err json_parse(struct json_parser *parser, struct slice text, struct diag *diag,
                    const struct json_value **ret_root) {
    assert(parser != NULL && ret_root != NULL);
    struct walk w = {.parser = parser, .text = text, .diag = diag};
    if (text.size > parser->limits.document_bytes)
        return diag_set(diag, ERR_TOO_LARGE, "a JSON document of %zu bytes; at most %zu are taken", text.size,
                        parser->limits.document_bytes);
    if (text.size == 0) return index_error(&w, JSON_INDEX_EMPTY);
    parser->value_count = 0;
    parser->strings_size = 0;
    enum json_index_status status = json_index_run(parser->index, text.data, text.size, &w.positions, &w.token_count);
    enum err err = index_error(&w, status);
    if (err == ERR_OK) err = walk_document(&w);
    if (err != ERR_OK) return err;
    *ret_root = parser->values;
    return ERR_OK;
}

/* --- reading the tree --- */

enum json_type json_type_of(const struct json_value *value) { return (enum json_type)value->type; }

struct slice json_text(const struct json_value *value) {
    return slice_of(value->text, value->text_size);
}

struct slice json_source(const struct json_value *value) {
    return slice_of(value->source, value->source_size);
}

uint32_t json_count(const struct json_value *value) { return value->count; }

const struct json_value *json_first(const struct json_value *container) {
    return container->count == 0 ? NULL : container + 1;
}

const struct json_value *json_next(const struct json_value *value) { return value->last ? NULL : value + value->span; }

struct slice json_key(const struct json_value *member) {
    return key_of(member);
}

const struct json_value *json_member(const struct json_value *object, const char *name) {
    if (object == NULL || object->type != JSON_OBJECT) return NULL;
    struct slice wanted = slice_text(name);
    for (const struct json_value *m = json_first(object); m != NULL; m = json_next(m))
        if (slice_equal(key_of(m), wanted)) return m;
    return NULL;
}

enum err json_i64(const struct json_value *value, int64_t *ret_value) {
    if (value->type != JSON_NUMBER && value->type != JSON_STRING) return ERR_TYPE;
    struct slice digits = json_text(value);
    bool negative = digits.size > 0 && digits.data[0] == '-';
    if (negative) digits = slice_of(digits.data + 1, digits.size - 1);
    if (digits.size == 0 || (digits.data[0] == '0' && digits.size > 1)) return ERR_TYPE;
    for (size_t i = 0; i < digits.size; i++)
        if (digits.data[i] < '0' || digits.data[i] > '9') return ERR_TYPE;
    uint64_t magnitude = 0;
    if (!slice_to_u64(digits, &magnitude) || magnitude > (uint64_t)INT64_MAX + negative) return ERR_RANGE;
    *ret_value = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return ERR_OK;
}

/* --- writing --- */

void json_put_string(struct buf *out, struct slice text) {
    buf_put_u8(out, '"');
    size_t from = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        const size_t size = c < 0x80 ? 1 : utf8_size(slice_of(text.data + i, text.size - i));
        if (size > 1) i += size - 1;
        if (size > 1 || (size == 1 && c >= 0x20 && c != '"' && c != '\\')) continue;
        buf_put(out, slice_of(text.data + from, i - from));
        from = i + 1;
        static const char bytes[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
        const char *found = c == 0 || c >= 0x80 ? NULL : strchr(bytes, c);
        if (c >= 0x80)
            buf_put_text(out, "\\ufffd");
        else if (found != NULL)
            buf_printf(out, "\\%c", names[found - bytes]);
        else
            buf_printf(out, "\\u%04x", c);
    }
    buf_put(out, slice_of(text.data + from, text.size - from));
    buf_put_u8(out, '"');
}
