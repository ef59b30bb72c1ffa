#include "codec/csv.h"

#include <assert.h>

/* Takes the quotes off the field that starts at `at` (behind the opening quote), in place; *ret_next is behind the closing
 * one. */
static enum err unquote(uint8_t *at, const uint8_t *end, struct slice *ret_field, uint8_t **ret_next) {
    uint8_t *start = at, *to = at;
    for (;;) {
        uint8_t *quote = at == end ? NULL : memchr(at, '"', (size_t)(end - at));
        if (quote == NULL) return ERR_SYNTAX;
        if (to != at) memmove(to, at, (size_t)(quote - at));
        to += quote - at;
        at = quote + 1;
        if (at == end || *at != '"') break;
        *to++ = '"';
        at++;
    }
    *ret_field = slice_of(start, (size_t)(to - start));
    *ret_next = at;
    return ERR_OK;
}

enum err csv_split(uint8_t *line, size_t size, char separator, struct slice *fields, uint32_t max,
                   uint32_t *ret_count) {
    assert(fields != NULL && max > 0 && ret_count != NULL && separator != '"');
    if (size > 0 && line[size - 1] == '\r') size--;
    uint8_t *at = line, *end = line + size;
    uint32_t count = 0;
    for (;;) {
        if (count == max) return ERR_LIMIT;
        if (at < end && *at == '"') {
            enum err err = unquote(at + 1, end, &fields[count], &at);
            if (err != ERR_OK) return err;
            if (at < end && *at != (uint8_t)separator) return ERR_SYNTAX;
        } else {
            uint8_t *next = at == end ? NULL : memchr(at, separator, (size_t)(end - at));
            if (next == NULL) next = end;
            fields[count] = slice_of(at, (size_t)(next - at));
            at = next;
        }
        count++;
        if (at == end) break;
        at++; /* the separator; an empty field follows one at the end */
    }
    *ret_count = count;
    return ERR_OK;
}
