/* Price events: the remembered shape decides as the general parser does. The input is lines; each is decoded both ways by
 * decoders that live as long as the input, then all of it as a request body and as lines of a file. */
#include <assert.h>
#include <stdlib.h>

#include "codec/input.h"
#include "venue/price_event.h"

struct counts {
    uint32_t good, bad;
};

static enum err see(void *context, const struct price_item *item) {
    struct counts *counts = context;
    if (item->err == ERR_OK)
        counts->good++;
    else
        counts->bad++;
    assert(item->err == ERR_OK || (err_class(item->err) == ERR_CLASS_INPUT && item->reason[0] != '\0'));
    return ERR_OK;
}

static void compare(struct price_decoder *fast, struct price_decoder *general, struct slice line) {
    struct event a = {0}, b = {0};
    enum err x = price_decode(fast, line, NULL, &a), y = price_decode_general(general, line, NULL, &b);
    assert(x == y);
    assert(x != ERR_OK || memcmp(&a, &b, sizeof a) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct series_table *series = NULL;
    struct price_decoder *fast = NULL, *general = NULL;
    if (series_table_open(&series) != ERR_OK || price_decoder_open(series, &fast) != ERR_OK) abort();
    if (price_decoder_open(series, &general) != ERR_OK) abort();
    uint8_t *text = calloc(1, size + INPUT_PADDING_BYTES);
    assert(text != NULL);
    if (size > 0) memcpy(text, data, size);
    uint32_t lines = 0, good = 0;
    for (size_t at = 0; at < size; lines++) {
        const uint8_t *newline = memchr(text + at, '\n', size - at);
        size_t end = newline == NULL ? size : (size_t)(newline - text);
        compare(fast, general, slice_of(text + at, end - at));
        at = end + 1;
    }
    struct counts counts = {0};
    enum err err = price_decode_body(fast, slice_of(text, size), NULL, see, &counts);
    assert(err == ERR_OK || counts.good + counts.bad == 0);
    static struct event events[64];
    static uint32_t starts[64];
    const uint8_t *at = text;
    for (uint32_t taken = 64; taken == 64; good += taken)
        taken = price_decode_lines(fast, &at, text + size, events, starts, 64);
    assert(good <= lines && at <= text + size);
    free(text);
    price_decoder_close(&fast);
    price_decoder_close(&general);
    series_table_close(&series);
    return 0;
}
