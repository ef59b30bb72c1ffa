/* The fold state of a lane, from any bytes: refused, or taken and then written back as something that reads the same. */
#include <assert.h>
#include <stdlib.h>

#include "candle/book/lane.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct lane_state *lane_for(uint8_t kind) {
    struct lane_state *lane = calloc(1, sizeof *lane);
    if (lane == NULL) abort();
    lane->current_ms = INT64_MIN;
    lane->ids_kind = kind;
    return lane;
}

static void done(struct lane_state *lane) {
    lane_deinit(lane);
    free(lane);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    struct lane_state *lane = lane_for(data[0] & 3);
    struct reader in = reader_of(slice_of(data + 1, size - 1));
    if (lane_state_decode(&in, lane) == ERR_OK) {
        struct buf first, second;
        buf_init(&first, STATE_BYTES_MAX);
        buf_init(&second, STATE_BYTES_MAX);
        lane_state_encode(&first, lane);
        struct lane_state *again = lane_for(data[0] & 3);
        struct reader back = reader_of(buf_slice(&first));
        enum err err = lane_state_decode(&back, again);
        assert(err == ERR_OK);
        (void)err;
        lane_state_encode(&second, again);
        assert(first.size == second.size);
        done(again);
        buf_deinit(&first);
        buf_deinit(&second);
    }
    done(lane);
    return 0;
}
