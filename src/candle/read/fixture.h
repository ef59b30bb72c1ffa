/* For tests of reading: zones by name. */
#ifndef CANDLE_READ_FIXTURE_H
#define CANDLE_READ_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/civil.h"

/* NULL: the machine does not have it. */
static inline struct zone *zone_of(const char *name) {
    struct zone *zone = NULL;
    if (zone_fixed(slice_text(name), &zone) == ERR_OK) return zone;
    char path[256];
    static uint8_t bytes[65536];
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) return NULL;
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    assert_int_equal(zone_parse(name, slice_of(bytes, size), NULL, &zone), ERR_OK);
    return zone;
}

#endif
