/* Zones, from the content of a TZif file (RFC 8536; byte order big-endian):
 *
 *     offset  size  field
 *     0       4     "TZif"
 *     4       1     version: 0, '2', '3', '4'
 *     5       15    reserved
 *     20      6*4   counts: UT indicators, standard indicators, leap seconds, transitions, types, name bytes
 *     44            data block: transition times (4 bytes each, 8 in the second block), a type index for each, types of
 *                   6 bytes (offset from UTC, daylight flag, name index), names, leap seconds (time size + 4 each),
 *                   indicators
 *     from version '2': a second header and block with 64-bit times, and a footer "\n<POSIX TZ rule>\n", which tells of
 *     the time behind the last transition
 *
 * Valid: transitions ascend, type indexes are in range, offsets lie within -24:59:59 and +25:59:59, nothing is cut off. No
 * leap seconds ("right/" zones count other seconds than we do). Recovery: none, a damaged zone is refused. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/civil.h"

enum { TRANSITIONS_MAX = 4096, TYPES_MAX = 256, OFFSET_MIN_S = -89999, OFFSET_MAX_S = 93599, DAY_S = 86400 };

/* A day of the year and the second in it, of local time before the change. */
struct change_rule {
    enum { RULE_JULIAN, RULE_DAY, RULE_WEEKDAY } kind; /* Jn: 1..365 without leap days; n: 0..365; Mm.w.d */
    uint16_t day;                                      /* of RULE_WEEKDAY: 0 Sunday .. 6 */
    uint8_t month, week;                               /* week 5: the last */
    int32_t time_s;
};

struct zone_rule {
    int32_t standard_s, daylight_s; /* east of UTC */
    bool has_daylight;
    struct change_rule start, end; /* of daylight time */
};

struct transition {
    int64_t at_s;
    int32_t offset_s; /* from then on */
};

struct zone {
    int32_t first_offset_s; /* before the first transition */
    bool has_rule;          /* behind the last one */
    struct zone_rule rule;
    uint32_t count;
    struct transition transitions[];
};

/* --- the footer's rule --- */

static bool is_digit(uint8_t c) { return (uint8_t)(c - '0') < 10; }
static bool is_letter(uint8_t c) { return (uint8_t)((c | 0x20) - 'a') < 26; }

static bool take(struct reader *r, char expected) {
    if (r->at == r->end || *r->at != (uint8_t)expected) return false;
    r->at++;
    return true;
}

static bool take_name(struct reader *r) {
    const uint8_t *first = r->at;
    if (take(r, '<')) {
        while (r->at < r->end && *r->at != '>') r->at++;
        return take(r, '>');
    }
    while (r->at < r->end && is_letter(*r->at)) r->at++;
    return r->at - first >= 3;
}

static bool take_number(struct reader *r, unsigned max, unsigned *ret_number) {
    unsigned number = 0, digits = 0;
    for (; r->at < r->end && is_digit(*r->at) && digits < 4; digits++) number = number * 10 + (*r->at++ - '0');
    if (digits == 0 || number > max) return false;
    *ret_number = number;
    return true;
}

/* [+-]h[h[h]][:mm[:ss]] */
static bool take_time(struct reader *r, unsigned hours_max, int32_t *ret_s) {
    bool negative = take(r, '-');
    if (!negative) take(r, '+');
    unsigned hours, minutes = 0, seconds = 0;
    if (!take_number(r, hours_max, &hours)) return false;
    if (take(r, ':') && !take_number(r, 59, &minutes)) return false;
    if (take(r, ':') && !take_number(r, 59, &seconds)) return false;
    int32_t time_s = (int32_t)(hours * 3600 + minutes * 60 + seconds);
    *ret_s = negative ? -time_s : time_s;
    return true;
}

static bool take_change(struct reader *r, struct change_rule *ret_rule) {
    struct change_rule rule = {.kind = RULE_DAY, .time_s = 2 * 3600};
    unsigned month, week, day;
    if (!take(r, ',')) return false;
    if (take(r, 'M')) {
        rule.kind = RULE_WEEKDAY;
        if (!take_number(r, 12, &month) || month == 0 || !take(r, '.')) return false;
        if (!take_number(r, 5, &week) || week == 0 || !take(r, '.') || !take_number(r, 6, &day)) return false;
        rule.month = (uint8_t)month;
        rule.week = (uint8_t)week;
    } else {
        if (take(r, 'J')) rule.kind = RULE_JULIAN;
        if (!take_number(r, 365, &day) || (day == 0 && rule.kind == RULE_JULIAN)) return false;
    }
    rule.day = (uint16_t)day;
    if (take(r, '/') && !take_time(r, 167, &rule.time_s)) return false;
    *ret_rule = rule;
    return true;
}

/* POSIX counts offsets west of UTC. */
static bool parse_rule(struct slice text, struct zone_rule *ret_rule) {
    struct reader r = reader_of(text);
    struct zone_rule rule = {0};
    if (!take_name(&r) || !take_time(&r, 24, &rule.standard_s)) return false;
    rule.standard_s = -rule.standard_s;
    if (reader_left(&r) > 0) {
        rule.has_daylight = true;
        rule.daylight_s = rule.standard_s + 3600;
        if (!take_name(&r)) return false;
        if (reader_left(&r) > 0 && *r.at != ',') {
            if (!take_time(&r, 24, &rule.daylight_s)) return false;
            rule.daylight_s = -rule.daylight_s;
        }
        if (!take_change(&r, &rule.start) || !take_change(&r, &rule.end)) return false;
    }
    if (reader_left(&r) > 0) return false;
    *ret_rule = rule;
    return true;
}

/* Local seconds since 1970 at which the rule's change happens in `year`. */
static int64_t change_local_s(const struct change_rule *rule, int64_t year) {
    int64_t first = civil_days(year, 1, 1), day;
    if (rule->kind == RULE_WEEKDAY) {
        int64_t month_first = civil_days(year, rule->month, 1);
        int64_t month_end = rule->month == 12 ? civil_days(year + 1, 1, 1) : civil_days(year, rule->month + 1u, 1);
        int64_t weekday = ((month_first + 4) % 7 + 7) % 7; /* 1970-01-01 was a Thursday */
        day = month_first + ((int64_t)rule->day - weekday + 7) % 7 + 7 * (rule->week - 1);
        if (day >= month_end) day -= 7;
    } else if (rule->kind == RULE_JULIAN) {
        bool leap = civil_days(year + 1, 1, 1) - first == 366;
        day = first + rule->day - 1 + (leap && rule->day >= 60);
    } else {
        day = first + rule->day;
    }
    return day * DAY_S + rule->time_s;
}

/* A stretch of one offset: [start, end). */
struct stretch {
    int64_t start_s, end_s;
    int32_t offset_s;
};

/* Looks at the changes of the years around: one may lie a week outside its own. Where both changes fall together (zones of
 * eternal daylight time) daylight time wins. */
static struct stretch rule_stretch(const struct zone_rule *rule, int64_t at_s) {
    if (!rule->has_daylight) return (struct stretch){INT64_MIN, INT64_MAX, rule->standard_s};
    int64_t year;
    unsigned month, day;
    int64_t days = (at_s + rule->standard_s) / DAY_S - ((at_s + rule->standard_s) % DAY_S < 0);
    civil_date(days, &year, &month, &day);
    struct stretch stretch = {INT64_MIN, INT64_MAX, rule->standard_s};
    for (int64_t y = year - 1; y <= year + 1; y++) {
        int64_t start = change_local_s(&rule->start, y) - rule->standard_s;
        int64_t end = change_local_s(&rule->end, y) - rule->daylight_s;
        if (end <= at_s && end > stretch.start_s) stretch.start_s = end, stretch.offset_s = rule->standard_s;
        if (start <= at_s && start >= stretch.start_s) stretch.start_s = start, stretch.offset_s = rule->daylight_s;
        if (end > at_s && end < stretch.end_s) stretch.end_s = end;
        if (start > at_s && start < stretch.end_s) stretch.end_s = start;
    }
    return stretch;
}

/* --- reading the file's content --- */

struct counts {
    uint8_t version;
    uint32_t utc, standard, leap, times, types, name_bytes;
};

static bool read_header(struct reader *r, struct counts *ret_counts) {
    if (!slice_equal(reader_take(r, 4), SLICE("TZif"))) return false;
    struct counts c = {.version = reader_u8(r)};
    reader_take(r, 15);
    c.utc = reader_be32(r);
    c.standard = reader_be32(r);
    c.leap = reader_be32(r);
    c.times = reader_be32(r);
    c.types = reader_be32(r);
    c.name_bytes = reader_be32(r);
    if (reader_err(r) != ERR_OK || c.times > TRANSITIONS_MAX || c.types == 0 || c.types > TYPES_MAX) return false;
    *ret_counts = c;
    return c.name_bytes <= 65536 && c.leap <= 4096 && c.utc <= c.types && c.standard <= c.types;
}

static size_t block_size(const struct counts *c, size_t time_size) {
    return c->times * (time_size + 1) + c->types * 6 + c->name_bytes + c->leap * (time_size + 4) + c->standard + c->utc;
}

/* Fills offsets[0..types). */
static bool read_types(struct slice types, uint32_t count, int32_t *offsets) {
    struct reader r = reader_of(types);
    for (uint32_t i = 0; i < count; i++) {
        offsets[i] = (int32_t)reader_be32(&r);
        reader_take(&r, 2);
        if (offsets[i] < OFFSET_MIN_S || offsets[i] > OFFSET_MAX_S) return false;
    }
    return true;
}

static bool read_block(struct reader *r, const struct counts *c, size_t time_size, struct zone *zone) {
    struct slice block = reader_take(r, block_size(c, time_size));
    if (reader_err(r) != ERR_OK || c->leap != 0) return false;
    struct reader times = reader_of(slice_of(block.data, c->times * time_size));
    const uint8_t *indexes = block.data + c->times * time_size;
    int32_t offsets[TYPES_MAX];
    if (!read_types(slice_of(indexes + c->times, c->types * 6), c->types, offsets)) return false;
    zone->first_offset_s = offsets[0];
    zone->count = c->times;
    for (uint32_t i = 0; i < c->times; i++) {
        int64_t at = time_size == 8 ? (int64_t)reader_be64(&times) : (int32_t)reader_be32(&times);
        if (indexes[i] >= c->types || (i > 0 && at <= zone->transitions[i - 1].at_s)) return false;
        zone->transitions[i] = (struct transition){at, offsets[indexes[i]]};
    }
    return true;
}

static bool read_footer(struct reader *r, struct zone *zone) {
    if (!take(r, '\n')) return false;
    const uint8_t *end = memchr(r->at, '\n', reader_left(r));
    if (end == NULL) return false;
    struct slice rule = slice_of(r->at, (size_t)(end - r->at));
    if (rule.size == 0) return true;
    zone->has_rule = parse_rule(rule, &zone->rule);
    return zone->has_rule;
}

static bool read_zone(struct slice tzif, struct zone *zone) {
    struct reader r = reader_of(tzif);
    struct counts counts;
    if (!read_header(&r, &counts)) return false;
    if (counts.version < '2') return read_block(&r, &counts, 4, zone);
    reader_take(&r, block_size(&counts, 4));
    return read_header(&r, &counts) && read_block(&r, &counts, 8, zone) && read_footer(&r, zone);
}

enum err zone_parse(const char *name, struct slice tzif, struct diag *diag, struct zone **ret_zone) {
    struct zone *zone = calloc(1, sizeof *zone + TRANSITIONS_MAX * sizeof *zone->transitions);
    if (zone == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for the time zone %s", name);
    if (!read_zone(tzif, zone)) {
        zone_close(&zone);
        return diag_set(diag, ERR_SYNTAX, "the zone file of %s is damaged or of an unknown kind", name);
    }
    struct zone *fitted = realloc(zone, sizeof *zone + zone->count * sizeof *zone->transitions);
    *ret_zone = fitted != NULL ? fitted : zone;
    return ERR_OK;
}

/* --- fixed offsets --- */

/* h, hh, hhmm, h:mm, hh:mm with a sign or without. */
static bool parse_fixed(struct slice text, int32_t *ret_offset_s) {
    struct reader r = reader_of(text);
    bool negative = take(&r, '-');
    if (!negative) take(&r, '+');
    const uint8_t *first = r.at;
    unsigned hours, minutes = 0;
    if (!take_number(&r, 9999, &hours)) return false;
    if (r.at - first == 4) {
        minutes = hours % 100;
        hours /= 100;
    } else if (r.at - first > 2) {
        return false;
    } else if (take(&r, ':')) {
        if (reader_left(&r) != 2 || !take_number(&r, 59, &minutes)) return false;
    }
    if (reader_left(&r) != 0 || minutes > 59 || hours * 60 + minutes > 18 * 60) return false;
    int32_t offset_s = (int32_t)(hours * 3600 + minutes * 60);
    *ret_offset_s = negative ? -offset_s : offset_s;
    return true;
}

enum err zone_fixed(struct slice text, struct zone **ret_zone) {
    int32_t offset_s = 0;
    if (text.size == 0) return ERR_SYNTAX;
    if (!slice_equal_nocase(text, SLICE("UTC")) && !slice_equal_nocase(text, SLICE("Z"))) {
        if (is_letter(text.data[0])) return ERR_NOT_FOUND;
        if (!parse_fixed(text, &offset_s)) return ERR_SYNTAX;
    }
    struct zone *zone = calloc(1, sizeof *zone);
    if (zone == NULL) return ERR_NO_MEMORY;
    zone->first_offset_s = offset_s;
    *ret_zone = zone;
    return ERR_OK;
}

void zone_close(struct zone **zone) {
    free(*zone);
    *zone = NULL;
}

/* --- asking --- */

static struct stretch stretch_at(const struct zone *zone, int64_t at_s) {
    uint32_t low = 0, high = zone->count; /* transitions before `low` are at or before at_s */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (zone->transitions[middle].at_s <= at_s)
            low = middle + 1;
        else
            high = middle;
    }
    int64_t start = low > 0 ? zone->transitions[low - 1].at_s : INT64_MIN;
    if (low == zone->count && zone->has_rule) {
        struct stretch stretch = rule_stretch(&zone->rule, at_s);
        if (stretch.start_s < start) stretch.start_s = start;
        return stretch;
    }
    int64_t end = low < zone->count ? zone->transitions[low].at_s : INT64_MAX;
    return (struct stretch){start, end, low > 0 ? zone->transitions[low - 1].offset_s : zone->first_offset_s};
}

static int64_t floor_s(int64_t ms) { return ms / 1000 - (ms % 1000 < 0); }

int32_t zone_offset_at(const struct zone *zone, int64_t utc_ms) { return stretch_at(zone, floor_s(utc_ms)).offset_s; }

/* Bounds too far away to count in milliseconds are none. */
static int64_t bound_ms(int64_t at_s) {
    if (at_s < INT64_MIN / 1000) return INT64_MIN;
    return at_s > INT64_MAX / 1000 ? INT64_MAX : at_s * 1000;
}

struct zone_run zone_run_at(const struct zone *zone, int64_t utc_ms) {
    struct stretch stretch = stretch_at(zone, floor_s(utc_ms));
    return (struct zone_run){bound_ms(stretch.start_s), bound_ms(stretch.end_s), stretch.offset_s};
}

int64_t zone_utc_of_local(const struct zone *zone, int64_t local_ms) {
    const int64_t far_ms = INT64_C(200000000) * DAY_S * 1000;
    assert(local_ms > -far_ms && local_ms < far_ms);
    /* No offset is so large that the answer could lie before this. */
    int64_t at_s = floor_s(local_ms) - OFFSET_MAX_S - 1;
    for (;;) {
        struct stretch stretch = stretch_at(zone, at_s);
        int64_t answer = local_ms - stretch.offset_s * INT64_C(1000);
        if (answer < at_s * 1000) answer = at_s * 1000;
        if (floor_s(answer) < stretch.end_s) return answer;
        at_s = stretch.end_s;
    }
}
