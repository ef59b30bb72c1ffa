/* Files as lines, plain or wrapped in anything: lines come whole, the end is met, and plain bytes come out as they are. */
#include <assert.h>
#include <stdlib.h>

#include "codec/input.h"

enum { PLAIN_MAX = 64 * 1024 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input *input = NULL;
    struct diag diag = {0};
    if (input_open_memory(slice_of(data, size), &diag, &input) != ERR_OK) return 0;
    uint64_t total = 0;
    bool plain = input_wrapping_of(input) == INPUT_PLAIN, cut = false;
    enum err err = ERR_OK;
    while ((err == ERR_OK || err == ERR_TOO_LARGE) && total < PLAIN_MAX) {
        struct slice lines = SLICE_NONE;
        err = input_lines(input, &diag, &lines);
        cut = cut || err == ERR_TOO_LARGE;
        if (err != ERR_OK) continue;
        assert(lines.size > 0);
        if (plain && !cut) assert(memcmp(lines.data, data + total, lines.size) == 0);
        total += lines.size;
        struct input_progress progress;
        input_progress(input, &progress);
        assert(progress.plain_bytes >= total);
    }
    if (plain && !cut) assert(err == ERR_END && total == size);
    assert(err == ERR_OK || err == ERR_END || err == ERR_CORRUPT || err == ERR_NO_MEMORY);
    input_close(&input);
    return 0;
}
