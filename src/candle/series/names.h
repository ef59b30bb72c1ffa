/* Names of series: their canonical form, what venues declare, and how a symbol splits. Private to candle/. */
#ifndef CANDLE_SERIES_NAMES_H
#define CANDLE_SERIES_NAMES_H

#include "candle/series.h"

struct series_name {
    uint64_t hash; /* of text and kind */
    uint32_t size;
    enum series_kind kind;
    char text[SERIES_NAME_MAX + 8]; /* canonical, NUL-terminated */
};

/* A part of a name: letters, digits and marks, but nothing that the name's own syntax needs, and no control bytes. */
bool series_part_ok(struct slice part);
/* ERR_SYNTAX as series_intern. */
enum err series_name_of(const struct series_key *key, struct series_name *ret_name) MUST_USE;
/* Points venue, base and quote into series->name; false if the name has not the form. */
bool series_name_bind(struct series *series);
/* Everything but the number, for a series seen the first time. */
enum err series_declare(const struct series_key *key, const struct series_name *name,
                        struct series *ret_series) MUST_USE;

#endif
