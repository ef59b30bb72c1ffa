#include <assert.h>

#include "candle/read/parts.h"

static enum err to_rollup(void *context, const struct candle *row) {
    struct read *read = context;
    if (!read->checked) {
        enum err err = read_check_kept(read, row->open_time_ms);
        if (err) return err;
    }
    read->row_count++;
    return rollup_add(&read->rollup, row);
}

static enum err to_pick(void *context, const struct candle *row) { return candle_rows_add(context, row); }

static bool is_complete(const struct candle *row) {
    int64_t length = row->close_time_ms + 1 - row->open_time_ms;
    return row->coverage >= COVERAGE_QUIET && (length < 60000 || row->covered_minutes * INT64_C(60000) >= length);
}

/* The rows of one time, better basis first. */
struct choice {
    const struct candle *rows[BASIS_COUNT];
    unsigned count;
};

static const struct candle *choose(const struct choice *choice) {
    const struct candle *best = choice->rows[0];
    for (unsigned i = 0; i < choice->count; i++)
        if (is_complete(choice->rows[i])) return choice->rows[i];
    for (unsigned i = 1; i < choice->count; i++)
        if (choice->rows[i]->trades > best->trades) best = choice->rows[i];
    return best;
}

/* Where lanes differ within a longer row, its minutes are chosen one by one, as they would be for a shorter interval. */
static enum err choose_within(struct read *read, unsigned tier, const struct choice *choice) {
    struct read_lane lanes[BASIS_COUNT];
    struct read_span span = {tier - 1, choice->rows[0]->open_time_ms, choice->rows[0]->close_time_ms + 1};
    uint64_t before = read->row_count;
    memcpy(lanes, read->lanes, sizeof lanes);
    for (unsigned i = 0; i < read->lane_count; i++) lane_start(&read->lanes[i], span.from_ms);
    enum err err = pick_rows(read, &span);
    if (err == ERR_OK) err = pick_rows_end(read, &span);
    memcpy(read->lanes, lanes, sizeof lanes);
    if (err == ERR_OK && read->row_count == before) err = to_rollup(read, choose(choice));
    return err;
}

/* A longer row that misses minutes of a lane with dense ids may stand beside a quiet stretch so long that no rows of it
 * are stored. */
static bool may_be_quiet(const struct read_lane *lane, const struct candle *row) {
    return lane->dense && row->covered_minutes * INT64_C(60000) < row->close_time_ms + 1 - row->open_time_ms;
}

static enum err take_choice(struct read *read, unsigned tier, const struct choice *choice) {
    if (tier == TIER_BASE_INDEX || is_complete(choice->rows[0])) return to_rollup(read, choose(choice));
    if (choice->count == 1 && !may_be_quiet(&read->lanes[0], choice->rows[0])) return to_rollup(read, choice->rows[0]);
    return choose_within(read, tier, choice);
}

struct single {
    struct read *read;
    unsigned tier;
};

static enum err visit_single(void *context, const struct candle *row) {
    const struct single *single = context;
    const struct choice choice = {{row}, 1};
    if (single->tier == TIER_BASE_INDEX || !may_be_quiet(&single->read->lanes[0], row))
        return to_rollup(single->read, row);
    return choose_within(single->read, single->tier, &choice);
}

static enum err pick_merged(struct read *read, const struct read_span *span) {
    const struct candle_rows *picks = read->picks[span->tier];
    uint32_t at[BASIS_COUNT] = {0};
    for (;;) {
        int64_t time_ms = INT64_MAX;
        struct choice choice = {.count = 0};
        for (unsigned i = 0; i < read->lane_count; i++)
            if (at[i] < picks[i].count && picks[i].rows[at[i]].open_time_ms < time_ms)
                time_ms = picks[i].rows[at[i]].open_time_ms;
        if (time_ms == INT64_MAX) return ERR_OK;
        for (unsigned i = 0; i < read->lane_count; i++)
            if (at[i] < picks[i].count && picks[i].rows[at[i]].open_time_ms == time_ms)
                choice.rows[choice.count++] = &picks[i].rows[at[i]++];
        enum err err = take_choice(read, span->tier, &choice);
        if (err) return err;
    }
}

enum err pick_rows(struct read *read, const struct read_span *span) {
    struct single single = {read, span->tier};
    if (read->lane_count == 1) return lane_rows(read, &read->lanes[0], span, visit_single, &single);
    for (unsigned i = 0; i < read->lane_count; i++) {
        struct candle_rows *rows = &read->picks[span->tier][i];
        rows->count = 0;
        read->lanes[i].fill_from_ms = span->from_ms;
        enum err err = lane_rows(read, &read->lanes[i], span, to_pick, rows);
        if (err == ERR_OK) err = lane_rows_end(read, &read->lanes[i], span, to_pick, rows);
        if (err) return err;
    }
    return pick_merged(read, span);
}

enum err pick_rows_end(struct read *read, const struct read_span *span) {
    if (read->lane_count != 1) return ERR_OK;
    return lane_rows_end(read, &read->lanes[0], span, to_rollup, read);
}
