/* Price events: the remembered shape decides as the general parser does. The input is lines; each is decoded both ways by
 * decoders that live as long as the input, then all of it as a request body and as lines of a file, with and without the
 * machine's wide instructions. */
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

/* A line that was taken is what the general parser says that it is. */
static void compare_lines(struct price_decoder *fast, struct price_decoder *general, const uint8_t *text, size_t size) {
    static struct event events[64];
    static uint32_t starts[64];
    const uint8_t *at = text, *end = text + size;
    for (uint32_t taken = 64; taken == 64;) {
        const uint8_t *base = at;
        taken = price_decode_lines(fast, &at, end, events, starts, 64);
        assert(at <= end);
        for (uint32_t i = 0; i < taken; i++) {
            const uint8_t *line = base + starts[i], *after = i + 1 < taken ? base + starts[i + 1] : at;
            struct event event = {0};
            assert(price_decode_general(general, slice_of(line, (size_t)(after - line)), NULL, &event) == ERR_OK);
            assert(memcmp(&events[i], &event, sizeof event) == 0);
        }
    }
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
    for (size_t at = 0; at < size;) {
        const uint8_t *newline = memchr(text + at, '\n', size - at);
        size_t end = newline == NULL ? size : (size_t)(newline - text);
        compare(fast, general, slice_of(text + at, end - at));
        at = end + 1;
    }
    struct counts counts = {0};
    enum err err = price_decode_body(fast, slice_of(text, size), NULL, see, &counts);
    assert(err == ERR_OK || counts.good + counts.bad == 0);
    compare_lines(fast, general, text, size);
    price_decoder_narrow(fast);
    compare_lines(fast, general, text, size);
    free(text);
    price_decoder_close(&fast);
    price_decoder_close(&general);
    series_table_close(&series);
    return 0;
}
