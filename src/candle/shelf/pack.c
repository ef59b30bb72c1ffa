/* Packing a base period: its block, and the sums of its quarter hours. Nothing is read but the rows given, so that any
 * thread may do it. */
#include <assert.h>

#include "candle/shelf/parts.h"

void shelf_pack_init(struct shelf_pack *pack) {
    buf_init(&pack->block, BLOCK_BYTES_MAX);
    pack->quarter_count = 0;
}

void shelf_pack_deinit(struct shelf_pack *pack) { buf_deinit(&pack->block); }

/* Open and close time become those of the interval around the open time. */
static void widen(struct candle *sum, int64_t length_ms) {
    int64_t rest = sum->open_time_ms % length_ms;
    sum->open_time_ms -= rest < 0 ? rest + length_ms : rest;
    sum->close_time_ms = sum->open_time_ms + length_ms - 1;
}

/* What no row tells of is unknown. Of base rows shorter than a minute it is the rows that are counted as covered. */
struct candle shelf_tier_row(const struct candle *sum, uint32_t part_ms, uint32_t tier_ms) {
    uint64_t known_ms = (uint64_t)sum->covered_minutes * (part_ms < 60000 ? part_ms : 60000);
    struct candle row = *sum;
    if (known_ms < tier_ms) {
        if (row.coverage >= COVERAGE_QUIET) row.coverage = COVERAGE_PARTIAL;
        if (row.final == CANDLE_FINAL_PROVEN) row.final = CANDLE_FINAL_CLOCK;
    }
    if (part_ms < 60000) row.covered_minutes = (uint32_t)(known_ms / 60000);
    if (row.covered_minutes > tier_ms / 60000) row.covered_minutes = tier_ms / 60000;
    row.native_ms = tier_ms;
    row.volume = decimal_normalize(row.volume);
    row.quote_volume = decimal_normalize(row.quote_volume);
    row.taker_buy_volume = decimal_normalize(row.taker_buy_volume);
    row.taker_buy_quote_volume = decimal_normalize(row.taker_buy_quote_volume);
    return row;
}

enum err shelf_pack_sums(const struct shelf *shelf, const struct candle *rows, uint32_t count,
                         struct shelf_pack *pack) {
    const uint32_t base_ms = shelf->tiers[TIER_BASE].ms, quarter_ms = shelf->tiers[TIER_QUARTER].ms;
    enum err err = ERR_OK;
    pack->quarter_count = 0;
    for (uint32_t at = 0, end; at < count && err == ERR_OK; at = end) {
        struct candle bounds = {.open_time_ms = rows[at].open_time_ms}, sum;
        widen(&bounds, quarter_ms);
        for (end = at + 1; end < count && rows[end].open_time_ms <= bounds.close_time_ms;) end++;
        if ((err = candle_sum(rows + at, end - at, &sum)) != ERR_OK) break;
        widen(&sum, quarter_ms);
        assert(pack->quarter_count < SHELF_QUARTERS_MAX);
        pack->quarters[pack->quarter_count++] = shelf_tier_row(&sum, base_ms, quarter_ms);
        if (at == 0)
            pack->sum = sum;
        else
            err = candle_merge(&pack->sum, &sum);
    }
    widen(&pack->sum, SHELF_DAY_MS);
    pack->parts = count;
    return err;
}

enum err shelf_pack(const struct shelf *shelf, struct span period, const struct candle *rows, uint32_t count,
                    struct shelf_pack *pack, struct diag *diag) {
    assert(count > 0);
    buf_clear(&pack->block);
    enum err err = block_encode(&pack->block, shelf->tiers[TIER_BASE].ms, period.start_ms, rows, count);
    if (err != ERR_OK) return diag_set(diag, err, "cannot pack sealed candles: %s", err_message(err));
    err = shelf_pack_sums(shelf, rows, count, pack);
    return err == ERR_OK ? err : diag_set(diag, err, "a sum of candles has too many digits");
}
