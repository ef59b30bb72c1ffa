#include "base/civil.h"

#include <assert.h>

enum { DAY_MS = 86400000 };
static const int64_t time_max_ms = INT64_C(253402300799999); /* the end of year 9999 */

/* --- dates --- */

/* A year here begins in March, so that the leap day is its last, and an era is 400 years of 146097 days (Howard Hinnant,
 * "chrono-compatible low-level date algorithms"). */

static int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0); }

int64_t civil_days(int64_t year, unsigned month, unsigned day) {
    assert(month >= 1 && month <= 12 && day >= 1 && day <= 31);
    year -= month <= 2;
    int64_t era = floor_divide(year, 400), year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (int64_t)(month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

void civil_date(int64_t days, int64_t *ret_year, unsigned *ret_month, unsigned *ret_day) {
    days += 719468;
    int64_t era = floor_divide(days, 146097), day_of_era = days - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153; /* from March */
    *ret_day = (unsigned)(day_of_year - (153 * month + 2) / 5 + 1);
    *ret_month = (unsigned)(month < 10 ? month + 3 : month - 9);
    *ret_year = year_of_era + era * 400 + (*ret_month <= 2);
}

static unsigned month_days(int64_t year, unsigned month) {
    static const uint8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && leap ? 29 : days[month - 1];
}

/* --- writing --- */

static char *put_digits(char *to, uint64_t value, unsigned width) {
    char digits[20];
    unsigned count = 0;
    while (value > 0 || count < width) {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    }
    while (count > 0) *to++ = digits[--count];
    return to;
}

size_t civil_format(int64_t utc_ms, char text[static CIVIL_TEXT_MAX]) {
    int64_t days = floor_divide(utc_ms, DAY_MS), year;
    unsigned rest = (unsigned)(utc_ms - days * DAY_MS), month, day;
    civil_date(days, &year, &month, &day);
    char *to = text;
    if (year < 0) *to++ = '-';
    to = put_digits(to, (uint64_t)(year < 0 ? -year : year), 4);
    *to++ = '-';
    to = put_digits(to, month, 2);
    *to++ = '-';
    to = put_digits(to, day, 2);
    *to++ = 'T';
    to = put_digits(to, rest / 3600000, 2);
    *to++ = ':';
    to = put_digits(to, rest / 60000 % 60, 2);
    *to++ = ':';
    to = put_digits(to, rest / 1000 % 60, 2);
    if (rest % 1000 != 0) {
        *to++ = '.';
        to = put_digits(to, rest % 1000, 3);
    }
    *to++ = 'Z';
    *to = '\0';
    assert(to - text < CIVIL_TEXT_MAX);
    return (size_t)(to - text);
}

/* --- reading --- */

static bool is_digit(uint8_t c) { return (uint8_t)(c - '0') < 10; }

struct cursor {
    const uint8_t *at;
    const uint8_t *end;
    bool wrong;
};

static bool take(struct cursor *c, char expected) {
    if (c->at == c->end || *c->at != (uint8_t)expected) return false;
    c->at++;
    return true;
}

static void must_take(struct cursor *c, char expected) {
    if (!take(c, expected)) c->wrong = true;
}

/* Exactly `width` digits. */
static unsigned take_number(struct cursor *c, unsigned width) {
    unsigned value = 0;
    for (; width > 0; width--) {
        if (c->at == c->end || !is_digit(*c->at)) {
            c->wrong = true;
            return 0;
        }
        value = value * 10 + (unsigned)(*c->at++ - '0');
    }
    return value;
}

/* The first three digits; more are cut off, as events are floored to milliseconds. */
static unsigned take_fraction_ms(struct cursor *c) {
    unsigned ms = 0, count = 0;
    for (; c->at < c->end && is_digit(*c->at); c->at++, count++)
        if (count < 3) ms = ms * 10 + (unsigned)(*c->at - '0');
    if (count == 0) c->wrong = true;
    for (; count < 3; count++) ms *= 10;
    return ms;
}

/* "Z", "+08:00" or nothing (UTC). */
static int64_t take_offset_ms(struct cursor *c) {
    if (c->at == c->end || take(c, 'Z') || take(c, 'z')) return 0;
    bool negative = take(c, '-');
    if (!negative) must_take(c, '+');
    unsigned hours = take_number(c, 2);
    must_take(c, ':');
    unsigned minutes = take_number(c, 2);
    if (hours > 23 || minutes > 59) c->wrong = true;
    int64_t ms = (hours * INT64_C(60) + minutes) * 60000;
    return negative ? -ms : ms;
}

static int64_t take_clock_ms(struct cursor *c) {
    unsigned hour = take_number(c, 2), second = 0, ms = 0;
    must_take(c, ':');
    unsigned minute = take_number(c, 2);
    if (take(c, ':')) {
        second = take_number(c, 2);
        if (take(c, '.')) ms = take_fraction_ms(c);
    }
    if (hour > 23 || minute > 59 || second > 59) c->wrong = true;
    return ((hour * INT64_C(60) + minute) * 60 + second) * 1000 + ms - take_offset_ms(c);
}

static bool parse_rfc3339(struct slice text, int64_t *ret_ms) {
    struct cursor c = {text.data, text.data + text.size, false};
    unsigned year = take_number(&c, 4);
    must_take(&c, '-');
    unsigned month = take_number(&c, 2);
    must_take(&c, '-');
    unsigned day = take_number(&c, 2);
    if (c.wrong || month < 1 || month > 12 || day < 1 || day > month_days(year, month)) return false;
    int64_t ms = civil_days(year, month, day) * DAY_MS;
    if (c.at < c.end) {
        if (!take(&c, 'T') && !take(&c, 't')) must_take(&c, ' ');
        ms += take_clock_ms(&c);
    }
    if (c.wrong || c.at != c.end) return false;
    *ret_ms = ms;
    return true;
}

static enum err not_a_time(struct slice text, enum err err, struct diag *diag) {
    int shown = text.size > 60 ? 60 : (int)text.size;
    diag_set(diag, err, "\"%.*s\" is %s", shown, (const char *)text.data,
             err == ERR_RANGE ? "outside the years 1970 to 9999" : "not a time");
    diag_hint(diag, "use milliseconds since 1970, RFC 3339 (2021-04-17T16:48:00Z), or relative (-2h)");
    return err;
}

static enum err parse_absolute(struct slice text, int64_t *ret_ms) {
    uint64_t number;
    if (slice_to_u64(text, &number)) {
        *ret_ms = number > INT64_MAX ? INT64_MAX : (int64_t)number;
        return ERR_OK;
    }
    bool digits = text.size > 0;
    for (size_t i = 0; i < text.size; i++) digits = digits && is_digit(text.data[i]);
    if (digits) return ERR_RANGE;
    return parse_rfc3339(text, ret_ms) ? ERR_OK : ERR_SYNTAX;
}

static enum err parse_relative(struct slice text, int64_t now_ms, int64_t *ret_ms) {
    int64_t length;
    enum err err = civil_parse_duration(slice_of(text.data + 1, text.size - 1), NULL, &length);
    if (err != ERR_OK) return err;
    bool negative = text.data[0] == '-';
    bool overflow =
        negative ? __builtin_sub_overflow(now_ms, length, ret_ms) : __builtin_add_overflow(now_ms, length, ret_ms);
    return overflow ? ERR_RANGE : ERR_OK;
}

enum err civil_parse(struct slice text, int64_t now_ms, struct diag *diag, int64_t *ret_ms) {
    int64_t ms = now_ms;
    enum err err = ERR_OK;
    if (text.size > 1 && (text.data[0] == '-' || text.data[0] == '+'))
        err = parse_relative(text, now_ms, &ms);
    else if (!slice_equal(text, SLICE("now")))
        err = parse_absolute(text, &ms);
    if (err == ERR_OK && (ms < 0 || ms > time_max_ms)) err = ERR_RANGE;
    if (err != ERR_OK) return not_a_time(text, err, diag);
    *ret_ms = ms;
    return ERR_OK;
}

/* 0 if there is no such unit. */
static int64_t unit_ms(struct slice unit) {
    static const struct {
        struct slice name;
        int64_t ms;
    } units[] = {{{(const uint8_t *)"ms", 2}, 1},
                 {{(const uint8_t *)"s", 1}, 1000},
                 {{(const uint8_t *)"m", 1}, 60000},
                 {{(const uint8_t *)"h", 1}, 3600000},
                 {{(const uint8_t *)"d", 1}, DAY_MS},
                 {{(const uint8_t *)"w", 1}, 7 * (int64_t)DAY_MS},
                 {{(const uint8_t *)"y", 1}, 365 * (int64_t)DAY_MS}};
    for (unsigned i = 0; i < sizeof units / sizeof *units; i++)
        if (slice_equal(unit, units[i].name)) return units[i].ms;
    return 0;
}

static enum err not_a_duration(struct slice text, enum err err, struct diag *diag) {
    int shown = text.size > 60 ? 60 : (int)text.size;
    diag_set(diag, err, "\"%.*s\" is %s", shown, (const char *)text.data,
             err == ERR_RANGE ? "too long a time" : "not a length of time");
    diag_hint(diag, "use a number and ms, s, m, h, d, w or y (365 d), or forever");
    return err;
}

enum err civil_parse_duration(struct slice text, struct diag *diag, int64_t *ret_ms) {
    if (slice_equal(text, SLICE("forever"))) {
        *ret_ms = INT64_MAX;
        return ERR_OK;
    }
    size_t digits = 0;
    while (digits < text.size && is_digit(text.data[digits])) digits++;
    int64_t unit = digits == 0 ? 0 : unit_ms(slice_of(text.data + digits, text.size - digits));
    if (unit == 0) return not_a_duration(text, ERR_SYNTAX, diag);
    uint64_t count;
    int64_t ms;
    if (!slice_to_u64(slice_of(text.data, digits), &count) || count > INT64_MAX ||
        __builtin_mul_overflow((int64_t)count, unit, &ms))
        return not_a_duration(text, ERR_RANGE, diag);
    *ret_ms = ms;
    return ERR_OK;
}
