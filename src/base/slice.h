/* A view of bytes that somebody else owns. Passed by value; never NUL-terminated by contract. */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *data;
    size_t size;
};

#define SLICE(literal) ((struct slice){(const uint8_t *)(literal), sizeof(literal) - 1})
#define SLICE_NONE ((struct slice){NULL, 0})
/* For printf's "%.*s". */
#define SLICE_PRINT(s) (int)(s).size, (const char *)(s).data

static inline struct slice slice_of(const void *data, size_t size) { return (struct slice){data, size}; }
static inline struct slice slice_text(const char *text) { return (struct slice){(const uint8_t *)text, strlen(text)}; }
static inline bool slice_equal(struct slice a, struct slice b) {
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}
/* Byte order, shorter first: the order of store keys. */
static inline int slice_compare(struct slice a, struct slice b) {
    size_t n = a.size < b.size ? a.size : b.size;
    int c = n == 0 ? 0 : memcmp(a.data, b.data, n);
    return c != 0 ? c : (a.size > b.size) - (a.size < b.size);
}
/* ASCII case folded; venue and currency names are ASCII in every dialect we read, other bytes compare as they are. */
bool slice_equal_nocase(struct slice a, struct slice b);
/* The whole slice as an unsigned decimal number; false if it is anything else or overflows. */
bool slice_to_u64(struct slice text, uint64_t *ret_value);

#endif
