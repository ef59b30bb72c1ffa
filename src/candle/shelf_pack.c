/* Packing a base period: its block, and the sums of its quarter hours. Nothing is read but the rows given, so that any
 * thread may do it. */
#include <assert.h>

#include "candle/shelf_parts.h"

void shelf_pack_init(struct shelf_pack *pack) {
    buf_init(&pack->block, BLOCK_BYTES_MAX);
    pack->quarter_count = 0;
}

void shelf_pack_deinit(struct shelf_pack *pack) { buf_deinit(&pack->block); }

/* Begins a sum with its first part: the interval that holds it. */
void shelf_sum_widen(struct candle *sum, int64_t length_ms) {
    int64_t rest = sum->open_time_ms % length_ms;
    sum->open_time_ms -= rest < 0 ? rest + length_ms : rest;
    sum->close_time_ms = sum->open_time_ms + length_ms - 1;
}

static enum err pack_quarters(const struct candle *rows, uint32_t count, int64_t quarter_ms, struct shelf_pack *pack) {
    enum err err = ERR_OK;
    pack->quarter_count = 0;
    for (uint32_t at = 0, end; at < count && err == ERR_OK; at = end) {
        assert(pack->quarter_count < SHELF_QUARTERS_MAX);
        struct shelf_quarter *quarter = &pack->quarters[pack->quarter_count++];
        struct candle bounds = {.open_time_ms = rows[at].open_time_ms};
        shelf_sum_widen(&bounds, quarter_ms);
        for (end = at + 1; end < count && rows[end].open_time_ms <= bounds.close_time_ms;) end++;
        err = candle_sum(rows + at, end - at, &quarter->sum);
        quarter->parts = end - at;
        shelf_sum_widen(&quarter->sum, quarter_ms);
    }
    return err;
}

enum err shelf_pack(const struct shelf *shelf, struct span period, const struct candle *rows, uint32_t count,
                    struct shelf_pack *pack, struct diag *diag) {
    assert(count > 0);
    buf_clear(&pack->block);
    enum err err = block_encode(&pack->block, shelf->tiers[TIER_BASE].ms, period.start_ms, rows, count);
    if (err != ERR_OK) return diag_set(diag, err, "cannot pack sealed candles: %s", err_message(err));
    err = pack_quarters(rows, count, shelf->tiers[TIER_QUARTER].ms, pack);
    return err == ERR_OK ? err : diag_set(diag, err, "a sum of candles has too many digits");
}
