/* The JSON parser: whatever it accepts is a tree that can be walked, whose sources are documents of the same kind, and
 * whose strings survive being written and read again. Limits only ever refuse. */
#include <assert.h>
#include <stdlib.h>

#include "base/buf.h"
#include "codec/json.h"

static uint32_t walk(struct json_parser *other, const struct json_value *value, uint32_t depth) {
    assert(depth <= JSON_DEPTH_MAX);
    enum json_type type = json_type_of(value);
    struct slice source = json_source(value);
    assert(source.size > 0);
    const struct json_value *again = NULL;
    if (type == JSON_NUMBER) assert(slice_equal(json_text(value), source) && source.size <= JSON_NUMBER_MAX);
    if (type == JSON_STRING) {
        struct buf out;
        buf_init(&out, 1 << 24);
        json_put_string(&out, json_text(value));
        enum err err = json_parse(other, buf_slice(&out), NULL, &again);
        assert(err == ERR_OK);
        assert(slice_equal(json_text(again), json_text(value)));
        buf_deinit(&out);
    }
    uint32_t count = 0;
    for (const struct json_value *v = json_first(value); v != NULL; v = json_next(v)) {
        count++;
        walk(other, v, depth + 1);
    }
    assert(count == json_count(value));
    if (depth == 1) {
        enum err err = json_parse(other, source, NULL, &again);
        assert(err == ERR_OK && json_type_of(again) == type && json_count(again) == count);
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct json_limits few = {.depth = 8, .document_bytes = 4096};
    struct json_parser *parser = NULL, *other = NULL;
    struct diag diag = {0};
    const struct json_value *root = NULL, *limited = NULL;
    if (json_parser_open(NULL, &parser) != ERR_OK) abort();
    if (json_parser_open(&few, &other) != ERR_OK) abort();
    uint8_t *copy = malloc(size + 1); /* exactly as long as the text, so that a read behind it is seen */
    assert(copy != NULL);
    copy = realloc(copy, size > 0 ? size : 1);
    if (size > 0) memcpy(copy, data, size);
    enum err err = json_parse(parser, slice_of(copy, size), &diag, &root);
    if (json_parse(other, slice_of(copy, size), NULL, &limited) == ERR_OK) assert(err == ERR_OK);
    json_parser_close(&other);
    if (err == ERR_OK) {
        if (json_parser_open(NULL, &other) != ERR_OK) abort();
        walk(other, root, 1);
        json_parser_close(&other);
    } else {
        assert(err_class(err) == ERR_CLASS_INPUT && diag.what[0] != '\0');
    }
    json_parser_close(&parser);
    free(copy);
    return 0;
}
