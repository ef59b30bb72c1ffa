/* Valid UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing behind U+10FFFF. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/slice.h"

/* Bytes of the character at the front of `text`; 0 where it is not valid, or there is none. */
size_t utf8_size(struct slice text);
/* How many bytes from the start on are valid: all of them where the text is. */
size_t utf8_valid_bytes(struct slice text);

#endif
