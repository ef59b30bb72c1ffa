#include "candle/interval.h"

#include <assert.h>
#include <stdio.h>

enum { COUNT_MAX = 1000, DAY_MS = 86400000 };

/* --- names --- */

static const struct {
    char letter;
    const char *meta; /* MetaTrader's */
    int64_t ms;       /* 0: no fixed length */
} units[] = {
    [INTERVAL_SECOND] = {'s', NULL, 1000},
    [INTERVAL_MINUTE] = {'m', "M", 60000},
    [INTERVAL_HOUR] = {'h', "H", 3600000},
    [INTERVAL_DAY] = {'d', "D", DAY_MS},
    [INTERVAL_WEEK] = {'w', "W", 7 * (int64_t)DAY_MS},
    [INTERVAL_MONTH] = {'M', "MN", 0},
};
enum { UNIT_COUNT = sizeof units / sizeof *units };

/* 0: none of them. Too many digits are COUNT_MAX + 1. */
static size_t leading_digits(struct slice text, uint32_t *ret_count) {
    size_t size = 0;
    uint32_t count = 0;
    for (; size < text.size && (uint8_t)(text.data[size] - '0') < 10; size++)
        if (count <= COUNT_MAX) count = count * 10 + (uint32_t)(text.data[size] - '0');
    *ret_count = count;
    return size;
}

static struct slice behind(struct slice text, size_t size) { return slice_of(text.data + size, text.size - size); }

static bool parse_ours(struct slice text, struct interval *ret_interval) {
    uint32_t count;
    size_t digits = leading_digits(text, &count);
    if (digits == 0 || text.size != digits + 1) return false;
    for (unsigned unit = 0; unit < UNIT_COUNT; unit++) {
        if (text.data[digits] != (uint8_t)units[unit].letter) continue;
        *ret_interval = (struct interval){(enum interval_unit)unit, count};
        return true;
    }
    return false;
}

static bool parse_meta_trader(struct slice text, struct interval *ret_interval) {
    for (unsigned unit = 0; unit < UNIT_COUNT; unit++) {
        size_t size = units[unit].meta == NULL ? 0 : strlen(units[unit].meta);
        if (size == 0 || text.size <= size || memcmp(text.data, units[unit].meta, size) != 0) continue;
        uint32_t count;
        if (leading_digits(behind(text, size), &count) != text.size - size) continue;
        *ret_interval = (struct interval){(enum interval_unit)unit, count};
        return true;
    }
    return false;
}

enum err interval_parse(struct slice text, struct diag *diag, struct interval *ret_interval) {
    struct interval interval;
    int shown = text.size > 40 ? 40 : (int)text.size;
    if (!parse_ours(text, &interval) && !parse_meta_trader(text, &interval)) {
        diag_set(diag, ERR_SYNTAX, "\"%.*s\" is not an interval", shown, (const char *)text.data);
        diag_hint(diag, "use a number and s, m, h, d, w or M (a month), such as 15m or 4h");
        return ERR_SYNTAX;
    }
    if (interval.count < 1 || interval.count > COUNT_MAX)
        return diag_set(diag, ERR_RANGE, "\"%.*s\": the number must be from 1 to %d", shown, (const char *)text.data,
                        COUNT_MAX);
    *ret_interval = interval;
    return ERR_OK;
}

void interval_format(struct interval interval, char text[static 16]) {
    assert((unsigned)interval.unit < UNIT_COUNT);
    snprintf(text, 16, "%u%c", interval.count, units[interval.unit].letter);
}

/* --- buckets on the wall clock: local milliseconds, counted as if UTC --- */

struct span {
    int64_t start, end;
};

static int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0); }

/* Up to a day long: counted from midnight, and the last one of a day ends with it. Longer: from 1970-01-01. */
static struct span fixed_span(int64_t length, int64_t local) {
    if (length > DAY_MS) {
        int64_t start = floor_divide(local, length) * length;
        return (struct span){start, start + length};
    }
    int64_t day = floor_divide(local, DAY_MS) * DAY_MS;
    int64_t start = day + (local - day) / length * length;
    int64_t end = start + length < day + DAY_MS ? start + length : day + DAY_MS;
    return (struct span){start, end};
}

/* Several weeks are counted from the week that holds 1970-01-01, a Thursday. */
static struct span week_span(uint32_t count, uint8_t week_start, int64_t local) {
    int64_t length = count * units[INTERVAL_WEEK].ms;
    int64_t first = -(int64_t)((4 - week_start + 7) % 7) * DAY_MS;
    int64_t start = floor_divide(local - first, length) * length + first;
    return (struct span){start, start + length};
}

static int64_t month_start(int64_t month) {
    int64_t year = floor_divide(month, 12);
    return civil_days(year + 1970, (unsigned)(month - year * 12) + 1, 1) * DAY_MS;
}

static struct span month_span(uint32_t count, int64_t local) {
    int64_t year;
    unsigned month, day;
    civil_date(floor_divide(local, DAY_MS), &year, &month, &day);
    int64_t first = floor_divide((year - 1970) * 12 + month - 1, count) * count;
    return (struct span){month_start(first), month_start(first + count)};
}

static struct span wall_span(struct interval interval, uint8_t week_start, int64_t local) {
    if (interval.unit == INTERVAL_MONTH) return month_span(interval.count, local);
    if (interval.unit == INTERVAL_WEEK) return week_span(interval.count, week_start == 0 ? 1 : week_start, local);
    return fixed_span(interval.count * units[interval.unit].ms, local);
}

/* --- and in time --- */

/* A bucket goes on across a change of the clock that does not leave it. When the clock is put back by a whole number of
 * buckets, those come twice (an hour of 24 h a day has 25), instead of one of them being longer. */
static bool crosses(struct interval interval, struct span span, int64_t change_ms, int32_t before_s, int32_t after_s) {
    int64_t before = change_ms + before_s * INT64_C(1000) - 1, after = change_ms + after_s * INT64_C(1000);
    if (before < span.start || before >= span.end || after < span.start || after >= span.end) return false;
    if (before_s == after_s || units[interval.unit].ms == 0) return true;
    return (before_s - after_s) * INT64_C(1000) % (interval.count * units[interval.unit].ms) != 0;
}

static void zoned_bucket(struct interval interval, const struct origin *origin, int64_t time_ms, int64_t *ret_start_ms,
                         int64_t *ret_end_ms) {
    struct zone_run here = zone_run_at(origin->zone, time_ms), run = here;
    struct span span = wall_span(interval, origin->week_start, time_ms + here.offset_s * INT64_C(1000));
    int64_t start = span.start - here.offset_s * INT64_C(1000), end = span.end - here.offset_s * INT64_C(1000);
    while (start <= run.start_ms) {
        struct zone_run before = zone_run_at(origin->zone, run.start_ms - 1);
        start = run.start_ms;
        if (!crosses(interval, span, run.start_ms, before.offset_s, run.offset_s)) break;
        run = before;
        start = span.start - run.offset_s * INT64_C(1000);
    }
    for (run = here; end >= run.end_ms;) {
        struct zone_run after = zone_run_at(origin->zone, run.end_ms);
        end = run.end_ms;
        if (!crosses(interval, span, run.end_ms, run.offset_s, after.offset_s)) break;
        run = after;
        end = span.end - run.offset_s * INT64_C(1000);
    }
    *ret_start_ms = start;
    *ret_end_ms = end;
}

void interval_bucket(struct interval interval, const struct origin *origin, int64_t time_ms, int64_t *ret_start_ms,
                     int64_t *ret_end_ms) {
    assert(interval.count >= 1 && interval.count <= COUNT_MAX && (unsigned)interval.unit < UNIT_COUNT);
    assert(origin->week_start <= 7);
    if (origin->zone != NULL) {
        zoned_bucket(interval, origin, time_ms, ret_start_ms, ret_end_ms);
    } else {
        struct span span = wall_span(interval, origin->week_start, time_ms);
        *ret_start_ms = span.start;
        *ret_end_ms = span.end;
    }
    assert(*ret_start_ms <= time_ms && time_ms < *ret_end_ms);
}

/* --- tiers --- */

/* Do all buckets of [from, to) begin and end at multiples of `tier`, as far as offsets and changes of the clock go? */
static bool zone_fits(const struct zone *zone, int64_t tier, int64_t from_ms, int64_t to_ms) {
    if (zone == NULL) return true;
    enum { RUNS_MAX = 2 * 400 }; /* a rule repeats after 400 years */
    for (unsigned i = 0; i < RUNS_MAX && from_ms < to_ms; i++) {
        struct zone_run run = zone_run_at(zone, from_ms);
        if (run.offset_s * INT64_C(1000) % tier != 0) return false;
        if (run.end_ms >= to_ms) return true;
        if (run.end_ms % tier != 0 && zone_run_at(zone, run.end_ms).offset_s != run.offset_s) return false;
        from_ms = run.end_ms;
    }
    return true;
}

enum err interval_tier_between(struct interval interval, const struct origin *origin, uint32_t base_ms, int64_t from_ms,
                               int64_t to_ms, uint32_t *ret_tier_ms) {
    assert(base_ms == 1000 || base_ms == 60000);
    const uint32_t tiers[] = {DAY_MS, 900000, base_ms};
    int64_t length = units[interval.unit].ms == 0 ? DAY_MS : interval.count * units[interval.unit].ms;
    for (unsigned i = 0; i < 3; i++) {
        if (length % tiers[i] != 0 || !zone_fits(origin->zone, tiers[i], from_ms, to_ms)) continue;
        *ret_tier_ms = tiers[i];
        return ERR_OK;
    }
    return ERR_RANGE;
}

enum err interval_tier(struct interval interval, const struct origin *origin, uint32_t base_ms, uint32_t *ret_tier_ms) {
    return interval_tier_between(interval, origin, base_ms, 0, INT64_MAX, ret_tier_ms);
}
