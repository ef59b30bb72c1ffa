/* What a slice's rows are until they are expanded. Private to slice.c and slice_copy.c. */
#ifndef CANDLE_BOOK_SLICE_ROW_H
#define CANDLE_BOOK_SLICE_ROW_H

#include "candle/book/minute.h"
#include "candle/slice.h"

struct slice_row {
    struct minute minute; /* with wide numbers of its own */
    int64_t start_ms;
    struct row_claims claims;
};

void slice_rows_clear(struct slice_rows *rows);

#endif
