#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "api/api_internal.h"

enum { GAPS_MAX = 10000 };
static const int64_t time_max_ms = 253402300800000; /* year 10000 */

static const char layout[] =
    "The hash is the sum modulo 2^64, over the events of the candle, of XXH3-64 (seed 0) of these 64 bytes, "
    "little-endian: "
    "0 i128 price mantissa; 16 i128 quantity mantissa (of a price event: base volume over 24 h); 32 i64 first id and "
    "40 i64 "
    "last id, -1 without ids (of a price event: i128 quote volume over 24 h); 48 i64 event time in ms; 56 u32 zero; 60 "
    "u8 price "
    "scale; 61 u8 quantity scale; 62 u8 quote volume scale; 63 u8: bits 0-1 kind (0 trade, 1 aggregated, 2 price), "
    "bits 2-3 side "
    "(1 taker buys, 2 taker sells), bit 4 no market trade, bits 5 and 6 a price event did not tell its base or quote "
    "volume. A decimal is mantissa / 10^scale without trailing zeros.";

struct why_call {
    struct task_call call; /* first */
    struct api *api;
    struct http_exchange *exchange;
    const struct series *series;
    int64_t time_ms, open_ms, close_ms;
    bool found;
    struct candle candle;
    bool lane_known;
    struct lane lane;
    struct book_lane_info info;
    uint32_t hole_count;
};

/* --- the facts in words --- */

struct words {
    struct buf *out;
    bool first;
};

static void say(struct words *words, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct words *words, const char *format, ...) {
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (!words->first) buf_put_u8(words->out, ',');
    words->first = false;
    put_name(words->out, slice_text(text));
}

static void say_candle(struct words *words, const struct why_call *self) {
    static const char *const coverage[] = {
        [COVERAGE_UNKNOWN] = "nothing proves that these are all events of the minute",
        [COVERAGE_PARTIAL] = "some events of the minute are known to be missing",
        [COVERAGE_QUIET] = "proven quiet: the ids on both sides run on without a hole",
        [COVERAGE_TRADED] = "no hole is known in it",
    };
    const struct candle *candle = &self->candle;
    say(words, "%s: %s (%s)", self->series->kind == SERIES_PRICE ? "prices" : candle_basis_name[candle->basis],
        coverage[candle->coverage], candle_coverage_name[candle->coverage]);
    const bool price = self->series->kind == SERIES_PRICE, one = candle->trades == 1;
    if (price)
        say(words, "%" PRId64 " price%s observed", candle->trades, one ? "" : "s");
    else if (candle->first_id < 0)
        say(words, "%" PRId64 " trade%s, without ids", candle->trades, one ? "" : "s");
    else
        say(words, "%" PRId64 " trade%s, ids %" PRId64 " to %" PRId64, candle->trades, one ? "" : "s", candle->first_id,
            candle->last_id);
    if (candle->final != CANDLE_OPEN && candle->basis == BASIS_KLINES)
        say(words, "final: the venue's own candle, which it had closed");
    else
        switch (candle->final) {
            case CANDLE_FINAL_PROVEN: say(words, "final: the ids run on into the next minute"); break;
            case CANDLE_FINAL_CLOCK: say(words, "final: the watermark passed its end and the venue's grace"); break;
            default: say(words, "open: it may still change");
        }
    if (candle->revision > 0)
        say(words, "revised %" PRIu32 " time%s after it had closed, the last time: %s", candle->revision,
            candle->revision == 1 ? "" : "s", candle_reason_name[candle->reason]);
    if (candle->conflict) say(words, "an id came twice with different content; the first stands");
    if (candle->last_offset >= 0) say(words, "the last event folded in has offset %" PRId64, candle->last_offset);
}

static void say_lane(struct words *words, const struct why_call *self) {
    char watermark[CIVIL_TEXT_MAX];
    const struct book_lane_info *info = &self->info;
    if (self->hole_count > 0)
        say(words, "%" PRIu32 " %s this minute", self->hole_count,
            self->hole_count == 1 ? "hole in the ids touches" : "holes in the ids touch");
    if (info->watermark_ms > 0) {
        civil_format(info->watermark_ms, watermark);
        say(words, "the series' watermark is %s; it is %s", watermark, info->live ? "live" : "not live");
    }
    say(words,
        "of the series since it was opened: %" PRIu64 " used, %" PRIu64 " late, %" PRIu64 " duplicate, %" PRIu64
        " filtered, %" PRIu64 " conflicting",
        info->used, info->late, info->duplicate, info->filtered, info->conflicts);
}

static void put_text(struct buf *out, const struct why_call *self) {
    char from[CIVIL_TEXT_MAX], to[CIVIL_TEXT_MAX];
    struct words words = {out, true};
    put_member(out, "text");
    buf_put_u8(out, '[');
    civil_format(self->open_ms, from);
    civil_format(self->close_ms, to);
    say(&words, "%s, %s to %s", self->series->name, from, to);
    if (self->found)
        say_candle(&words, self);
    else
        say(&words, "nothing is known of this minute");
    if (self->lane_known) say_lane(&words, self);
    buf_put_u8(out, ']');
}

/* --- the facts as fields --- */

static void put_lane(struct buf *out, const struct why_call *self) {
    const struct book_lane_info *info = &self->info;
    put_member(out, "lane");
    if (!self->lane_known) {
        buf_put(out, SLICE("null"));
        return;
    }
    buf_put(out, SLICE("{\"basis\":"));
    put_name(out, slice_text(candle_basis_name[self->lane.basis]));
    put_number(out, "first_id", info->first_id);
    put_number(out, "last_id", info->last_id);
    put_number(out, "used", (int64_t)info->used);
    put_number(out, "late", (int64_t)info->late);
    put_number(out, "duplicate", (int64_t)info->duplicate);
    put_number(out, "filtered", (int64_t)info->filtered);
    put_number(out, "conflicts", (int64_t)info->conflicts);
    put_number(out, "watermark", info->watermark_ms);
    buf_put_text(out, info->live ? ",\"live\":true}" : ",\"live\":false}");
}

static enum err put_hole(void *context, const struct book_gap *gap) {
    struct why_call *self = context;
    struct buf *out = &self->exchange->answer;
    if (self->hole_count > 0) buf_put_u8(out, ',');
    buf_put(out, SLICE("{\"first_id\":"));
    put_i64(out, gap->first_id);
    put_number(out, "last_id", gap->last_id);
    buf_put_u8(out, '}');
    return ++self->hole_count < GAPS_MAX ? ERR_OK : ERR_END;
}

static void put_why(struct why_call *self, struct book *book) {
    static const char *const finals[] = {"open", "proven", "clock"};
    struct buf *out = &self->exchange->answer;
    const struct candle_style style = {self->series->name, "1m"};
    buf_put(out, SLICE("{\"candle\":"));
    if (self->found)
        candle_to_json(out, &style, &self->candle);
    else
        buf_put(out, SLICE("null"));
    put_member(out, "holes");
    buf_put_u8(out, '[');
    if (self->lane_known && book != NULL)
        (void)!book_gaps(book, self->lane, self->open_ms, self->close_ms + 1, put_hole, self);
    buf_put_u8(out, ']');
    put_lane(out, self);
    put_member(out, "final");
    put_name(out, slice_text(finals[self->found ? self->candle.final : CANDLE_OPEN]));
    put_text(out, self);
    put_member(out, "layout");
    put_name(out, slice_text(layout));
    buf_put_u8(out, '}');
}

/* --- asking the task --- */

static enum err keep_candle(void *context, const struct candle *candle) {
    struct why_call *self = context;
    self->candle = *candle;
    self->found = true;
    return ERR_END;
}

/* The lane that the candle came from; without a candle the best one that knows of the series. */
static void find_lane(struct why_call *self, struct book *book) {
    if (book == NULL) return;
    for (uint8_t basis = 0; basis < BASIS_COUNT && !self->lane_known; basis++) {
        if (self->found && basis != self->candle.basis) continue;
        self->lane = (struct lane){self->series->number, basis};
        self->lane_known = book_lane(book, self->lane, &self->info) == ERR_OK;
    }
}

static void run_why(struct task_call *call, struct processor *processor, enum err err) {
    struct why_call *self = (struct why_call *)call;
    struct diag diag = {0};
    const struct candle_source source = candle_processor_source(processor);
    const struct candle_query query = {
        .series = self->series->number,
        .interval = {INTERVAL_MINUTE, 1},
        .from_ms = self->open_ms,
        .to_ms = self->close_ms + 1,
        .limit = 1,
    };
    if (err == ERR_OK) err = candle_read(&source, &query, keep_candle, self, &diag);
    if (err != ERR_OK) {
        http_reply_error(self->exchange, err, &diag);
        return;
    }
    find_lane(self, source.book);
    put_why(self, source.book);
    http_reply(self->exchange, 200, "application/json");
}

static enum err read_why(struct api *api, struct http_exchange *exchange, struct why_call *self, struct diag *diag) {
    static const int64_t minute_ms = 60000;
    uint32_t number;
    enum err err =
        argument_series(api, http_argument(exchange, "series"), http_argument(exchange, "kind"), diag, &number);
    if (err != ERR_OK) return err;
    if (http_argument(exchange, "time").size == 0) {
        (void)diag_set(diag, ERR_MISSING, "a time is required");
        diag_where(diag, "time");
        return ERR_MISSING;
    }
    err = argument_time(api, exchange, "time", 0, &self->time_ms, diag);
    if (err != ERR_OK) return err;
    self->series = series_get(api->options.series, number);
    self->open_ms = self->time_ms - (self->time_ms % minute_ms + minute_ms) % minute_ms;
    self->close_ms = self->open_ms + minute_ms - 1;
    return ERR_OK;
}

void handle_why(struct api *api, struct http_exchange *exchange) {
    struct diag diag = {0};
    struct why_call *self = arena_alloc(&exchange->arena, sizeof *self);
    if (self == NULL) {
        http_reply_error(exchange, ERR_NO_MEMORY, NULL);
        return;
    }
    *self = (struct why_call){.call.run = run_why, .api = api, .exchange = exchange};
    enum err err = read_why(api, exchange, self, &diag);
    struct task *task = err == ERR_OK ? candle_desk_task(api->options.desk, self->series) : NULL;
    if (err == ERR_OK && task == NULL)
        err = diag_set(&diag, ERR_NOT_FOUND, "nothing collects %s here", self->series->name);
    if (err != ERR_OK)
        http_reply_error(exchange, err, &diag);
    else
        task_call(task, &self->call);
}

/* --- GET /v1/gaps: every lane of the series asked, one task after the other --- */

struct gaps_call {
    struct task_call call; /* first */
    struct api *api;
    struct http_exchange *exchange;
    uint32_t only; /* series, or SERIES_NONE for all */
    int kind;      /* -1: either */
    int64_t from_ms, to_ms;
    uint32_t task_index, count;
    const struct series *series; /* being listed */
};

static enum err put_gap(void *context, const struct book_gap *gap) {
    struct gaps_call *self = context;
    struct buf *out = &self->exchange->answer;
    if (self->count == GAPS_MAX) return ERR_LIMIT;
    buf_put_text(out, self->count++ > 0 ? ",{\"series\":" : "{\"series\":");
    put_name(out, slice_text(self->series->name));
    put_number(out, "first_id", gap->first_id);
    put_number(out, "last_id", gap->last_id);
    put_number(out, "missing", gap->last_id - gap->first_id + 1);
    put_number(out, "after", gap->after_ms);
    put_number(out, "before", gap->before_ms);
    buf_put_u8(out, '}');
    return buf_err(out);
}

static enum err put_series_gaps(struct gaps_call *self, struct book *book) {
    enum err err = ERR_OK;
    for (uint8_t basis = 0; basis < BASIS_COUNT && err == ERR_OK; basis++) {
        const struct lane lane = {self->series->number, basis};
        err = book_gaps(book, lane, self->from_ms, self->to_ms, put_gap, self);
        if (err == ERR_NOT_FOUND) err = ERR_OK;
    }
    return err;
}

static enum err put_task_gaps(struct gaps_call *self, struct book *book) {
    const struct series_table *table = self->api->options.series;
    const uint32_t count = series_count(table);
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < count && err == ERR_OK; i++) {
        self->series = series_get(table, i);
        if (self->series == NULL || self->series->ids != SERIES_IDS_DENSE) continue;
        if (self->only != SERIES_NONE && self->only != i) continue;
        if (self->kind >= 0 && (int)self->series->kind != self->kind) continue;
        err = put_series_gaps(self, book);
    }
    return err;
}

static void next_task(struct gaps_call *self);

static void run_gaps(struct task_call *call, struct processor *processor, enum err err) {
    struct gaps_call *self = (struct gaps_call *)call;
    struct diag diag = {0};
    const struct candle_source source = candle_processor_source(processor);
    if (err == ERR_OK && source.book != NULL) err = put_task_gaps(self, source.book);
    if (err == ERR_LIMIT)
        err = diag_set(&diag, ERR_RANGE, "more than %d holes; ask for one series, or a shorter range", GAPS_MAX);
    if (err == ERR_OK && !http_fits(self->exchange)) err = ERR_BUSY;
    if (err != ERR_OK)
        http_reply_error(self->exchange, err, &diag);
    else
        next_task(self);
}

static void next_task(struct gaps_call *self) {
    const struct candle_desk *desk = self->api->options.desk;
    struct processor *processor;
    if (self->task_index < candle_desk_count(desk)) {
        task_call(candle_desk_task_at(desk, self->task_index++, &processor), &self->call);
        return;
    }
    buf_put_u8(&self->exchange->answer, ']');
    http_reply(self->exchange, 200, "application/json");
}

static enum err read_gaps(struct api *api, struct http_exchange *exchange, struct gaps_call *self, struct diag *diag) {
    const struct slice series = http_argument(exchange, "series");
    enum err err = argument_kind(http_argument(exchange, "kind"), diag, &self->kind);
    if (err == ERR_OK && series.size > 0)
        err = argument_series(api, series, http_argument(exchange, "kind"), diag, &self->only);
    if (err == ERR_OK) err = argument_time(api, exchange, "from", 0, &self->from_ms, diag);
    if (err == ERR_OK) err = argument_time(api, exchange, "to", time_max_ms, &self->to_ms, diag);
    return err;
}

void handle_gaps(struct api *api, struct http_exchange *exchange) {
    struct diag diag = {0};
    struct gaps_call *self = arena_alloc(&exchange->arena, sizeof *self);
    if (self == NULL) {
        http_reply_error(exchange, ERR_NO_MEMORY, NULL);
        return;
    }
    *self = (struct gaps_call){.call.run = run_gaps, .api = api, .exchange = exchange, .only = SERIES_NONE};
    enum err err = read_gaps(api, exchange, self, &diag);
    if (err != ERR_OK) {
        http_reply_error(exchange, err, &diag);
        return;
    }
    buf_put_u8(&exchange->answer, '[');
    next_task(self);
}
