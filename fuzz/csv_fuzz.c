/* CSV lines, and rows of Binance's published files: the fast readers take only what the general ones take alike. */
#include <assert.h>
#include <stdlib.h>

#include "codec/csv.h"
#include "venue/binance/binance.h"

static void check_row(const uint8_t *line, size_t size, const struct slice *fields, uint32_t count) {
    uint8_t *row = malloc(size + 1 + INPUT_PADDING_BYTES);
    assert(row != NULL);
    memcpy(row, line, size);
    memset(row + size, '\n', 1 + INPUT_PADDING_BYTES);
    for (int kind = 0; kind < 4; kind++) {
        const uint8_t *at = row, *end = row + size + 1;
        struct candle a, b;
        struct event x, y;
        uint32_t start;
        if (kind >= 2) {
            const bool narrow = kind == 3; /* as on a machine without wide instructions */
            if ((narrow ? binance_csv_klines_narrow : binance_csv_klines)(&at, end, &a, &start, 1) == 0) continue;
            enum err err = binance_csv_kline(fields, count, NULL, &b);
            assert(err == ERR_OK && a.open_time_ms == b.open_time_ms && a.close_time_ms == b.close_time_ms);
            assert(a.trades == b.trades && a.coverage == b.coverage && a.native_ms == b.native_ms);
            for (const struct decimal *m = &a.open, *n = &b.open; m <= &a.taker_buy_quote_volume; m++, n++)
                assert(m->mantissa == n->mantissa && m->scale == n->scale);
        } else {
            if (binance_csv_trades(&at, end, kind == 1, 7, &x, &start, 1) == 0) continue;
            enum err err = binance_csv_trade(fields, count, kind == 1, 7, NULL, &y);
            assert(err == ERR_OK && memcmp(&x, &y, sizeof x) == 0);
        }
        assert(at == end);
    }
    free(row);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice fields[CSV_FIELDS_MAX];
    while (size > 0) {
        const uint8_t *newline = memchr(data, '\n', size);
        size_t line = newline == NULL ? size : (size_t)(newline - data);
        uint8_t *copy = malloc(line > 0 ? line : 1);
        uint32_t count = 0;
        assert(copy != NULL);
        memcpy(copy, data, line);
        if (csv_split(copy, line, ',', fields, CSV_FIELDS_MAX, &count) == ERR_OK) {
            assert(count > 0);
            for (uint32_t i = 0; i < count; i++)
                assert(fields[i].data >= copy && fields[i].data + fields[i].size <= copy + line);
            check_row(data, line, fields, count);
        }
        free(copy);
        size_t step = newline == NULL ? line : line + 1;
        data += step;
        size -= step;
    }
    return 0;
}
