#include "base/utf8.h"

size_t utf8_size(struct slice text) {
    const uint8_t *at = text.data;
    const uint8_t c = text.size > 0 ? at[0] : 0xff;
    const size_t size = c < 0x80                ? 1
                        : c >= 0xc2 && c < 0xe0 ? 2
                        : c >= 0xe0 && c < 0xf0 ? 3
                        : c >= 0xf0 && c < 0xf5 ? 4
                                                : 0;
    if (size == 0 || size > text.size) return 0;
    for (size_t i = 1; i < size; i++)
        if ((at[i] & 0xc0) != 0x80) return 0;
    if ((c == 0xe0 && at[1] < 0xa0) || (c == 0xed && at[1] >= 0xa0)) return 0;
    if ((c == 0xf0 && at[1] < 0x90) || (c == 0xf4 && at[1] >= 0x90)) return 0;
    return size;
}

size_t utf8_valid_bytes(struct slice text) {
    size_t at = 0;
    for (size_t size; at < text.size && (size = utf8_size(slice_of(text.data + at, text.size - at))) > 0;) at += size;
    return at;
}
