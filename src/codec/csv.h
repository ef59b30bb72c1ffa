/* CSV lines split into fields (RFC 4180: quotes, doubled quotes), one line at a time, no copies unless quoted. */
#ifndef CODEC_CSV_H
#define CODEC_CSV_H

#include "base/err.h"
#include "base/slice.h"

enum { CSV_FIELDS_MAX = 256 };

/* Splits `line` (no newline; a trailing CR is dropped) at `separator`. Quoted fields with doubled quotes are unescaped in
 * place, so `line` must be writable; a quote within an unquoted field is an ordinary byte. An empty line is one empty field.
 * ERR_LIMIT past `max` fields; ERR_SYNTAX: a quote is not closed, or more than a separator follows a closing one. */
enum err csv_split(uint8_t *line, size_t size, char separator, struct slice *fields, uint32_t max,
                   uint32_t *ret_count) MUST_USE;

#endif
