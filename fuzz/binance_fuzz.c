/* Import files of every format, and single messages: nothing is read twice or lost, and remembered shapes decide as the
 * general parser does. The first byte chooses the format. */
#include <assert.h>
#include <stdlib.h>

#include "venue/binance/binance.h"

static void read_file(const uint8_t *data, size_t size, enum import_format format, uint32_t max) {
    static struct event events[64];
    const struct import_options options = {
        .format = format,
        .series = format == IMPORT_BINANCE_CAPTURE || format == IMPORT_GUESS ? NULL : "binance:BTC/USDT",
        .columns = format == IMPORT_CSV ? "time,price,quantity,id,side" : NULL,
    };
    struct series_table *series = NULL;
    struct input *input = NULL;
    struct import_reader *reader = NULL;
    struct diag diag = {0};
    if (series_table_open(&series) != ERR_OK) abort();
    uint64_t last = 0, pieces = 0;
    if (input_open_memory(slice_of(data, size), &diag, &input) == ERR_OK &&
        import_open(input, "BTCUSDT-x.csv", &options, series, &diag, &reader) == ERR_OK) {
        enum err err = ERR_OK;
        while (err == ERR_OK) {
            struct import_item item;
            bool has_item = false;
            uint32_t count = 0;
            err = import_read(reader, events, max, &diag, &count, &item, &has_item);
            for (uint32_t i = 0; i < count; i++) {
                struct slice source;
                uint64_t line;
                enum err found = import_source(reader, i, &line, &source);
                assert(found == ERR_OK && line >= last && source.size > 0);
                assert(market_trade_holds(&events[i]) || events[i].kind == EVENT_PRICE);
                last = line;
            }
            if (has_item) {
                assert(item.line >= last);
                last = item.line;
            }
            if (++pieces > 100000) break;
        }
    }
    import_close(&reader);
    input_close(&input);
    series_table_close(&series);
}

static void compare_messages(const uint8_t *data, size_t size) {
    struct series_table *series = NULL;
    struct market market;
    struct binance_decoder *decoder = NULL;
    if (series_table_open(&series) != ERR_OK || market_init(&market, series, "binance") != ERR_OK) abort();
    if (binance_decoder_open(&market, &decoder) != ERR_OK) abort();
    uint8_t *text = calloc(1, size + INPUT_PADDING_BYTES);
    assert(text != NULL);
    if (size > 0) memcpy(text, data, size);
    for (size_t at = 0; at < size;) {
        const uint8_t *newline = memchr(text + at, '\n', size - at);
        size_t end = newline == NULL ? size : (size_t)(newline - text);
        struct slice line = slice_of(text + at, end - at);
        struct event a = {0}, b = {0};
        struct import_push push;
        enum binance_kind x = BINANCE_OTHER, y = BINANCE_OTHER;
        uint32_t number;
        enum err e = binance_decode(decoder, line, NULL, &a, &push, &number, &x);
        enum err f = binance_decode_general(decoder, line, NULL, &b, &push, &number, &y);
        assert(e == f && x == y && memcmp(&a, &b, sizeof a) == 0);
        at = end + 1;
    }
    free(text);
    binance_decoder_close(&decoder);
    market_deinit(&market);
    series_table_close(&series);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    uint8_t choice = data[0] % (IMPORT_FORMAT_COUNT + 1);
    if (choice == IMPORT_FORMAT_COUNT)
        compare_messages(data + 1, size - 1);
    else
        read_file(data + 1, size - 1, (enum import_format)choice, data[0] & 0x40 ? 1 : 64);
    return 0;
}
