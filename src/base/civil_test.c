/* Dates, times as text, and zones compared with the C library's on the machine's own zone files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/civil.h"
#include "base/splitmix.h"
#include "base/testing.h"

static uint64_t random_state;
static uint64_t random_next(void) { return splitmix_next(&random_state); }

static void test_dates(void **state) {
    (void)state;
    assert_int_equal(civil_days(1970, 1, 1), 0);
    assert_int_equal(civil_days(1969, 12, 31), -1);
    assert_int_equal(civil_days(2000, 2, 29), 11016);
    assert_int_equal(civil_days(9999, 12, 31), 2932896);
    /* Every day of 1,200 years, each one day after the one before it. */
    int64_t year = 1500;
    unsigned month = 1, day = 1;
    for (int64_t days = civil_days(1500, 1, 1); year < 2700; days++) {
        int64_t y;
        unsigned m, d;
        civil_date(days, &y, &m, &d);
        if (y != year || m != month || d != day)
            fail_msg("day %lld is %lld-%u-%u", (long long)days, (long long)y, m, d);
        assert_int_equal(civil_days(y, m, d), days);
        bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        unsigned length = month == 2 ? 28u + leap : 30 + ((month + month / 8) % 2);
        if (++day > length) day = 1, month++;
        if (month > 12) month = 1, year++;
    }
    for (int64_t far = INT32_MIN; far <= INT32_MAX; far += 7654321) {
        int64_t y;
        unsigned m, d;
        civil_date(civil_days(far, 3, 1), &y, &m, &d);
        assert_true(y == far && m == 3 && d == 1);
    }
}

static void assert_time(const char *text, int64_t expected) {
    int64_t ms = -7;
    struct diag diag;
    if (civil_parse(slice_text(text), 1000000000000, &diag, &ms) != ERR_OK) fail_msg("%s: %s", text, diag.what);
    if (ms != expected) fail_msg("%s is %lld", text, (long long)ms);
}

static void test_times(void **state) {
    (void)state;
    assert_time("0", 0);
    assert_time("1618678080000", 1618678080000);
    assert_time("2021-04-17", 1618617600000);
    assert_time("2021-04-17T16:48:00Z", 1618678080000);
    assert_time("2021-04-17t16:48:00z", 1618678080000);
    assert_time("2021-04-17 16:48:00", 1618678080000);
    assert_time("2021-04-17T16:48", 1618678080000);
    assert_time("2021-04-17T18:48:00+02:00", 1618678080000);
    assert_time("2021-04-17T11:18:00-05:30", 1618678080000);
    assert_time("2021-04-17T16:48:00.1Z", 1618678080100);
    assert_time("2021-04-17T16:48:00.123999Z", 1618678080123);
    assert_time("2024-02-29", 1709164800000);
    assert_time("now", 1000000000000);
    assert_time("-2h", 1000000000000 - 7200000);
    assert_time("-90s", 1000000000000 - 90000);
    assert_time("-7d", 1000000000000 - 7 * INT64_C(86400000));
    assert_time("+1m", 1000000060000);
    assert_time("9999-12-31T23:59:59.999Z", 253402300799999);
}

static void test_wrong_times(void **state) {
    (void)state;
    static const char *const wrong[] = {"",
                                        "-",
                                        "2021-4-17",
                                        "2021-02-29",
                                        "2021-13-01",
                                        "2021-00-10",
                                        "2021-01-00",
                                        "2021-01-01T",
                                        "yesterday",
                                        "2021-01-01T24:00:00",
                                        "2021-01-01T00:60:00",
                                        "2021-01-01T00:00:60",
                                        "1.5",
                                        "1e3",
                                        "-2",
                                        "-2x",
                                        "2021-01-01T00:00:00+",
                                        "2021-01-01T00:00:00.Z",
                                        "2021-01-01Z",
                                        "2021-01-01T00:00:00+0100",
                                        "2021-01-01T00:00:00Zx",
                                        " 5"};
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int64_t ms = -7;
        struct diag diag;
        if (civil_parse(slice_text(wrong[i]), 5, &diag, &ms) != ERR_SYNTAX) fail_msg("\"%s\" is taken", wrong[i]);
        assert_int_equal(ms, -7);
        assert_non_null(strstr(diag.hint, "RFC 3339"));
    }
    static const char *const outside[] = {
        "253402300800000", "99999999999999999999", "18446744073709551615", "-7d", "1969-12-31", "+9999y"};
    for (unsigned i = 0; i < sizeof outside / sizeof *outside; i++) {
        int64_t ms;
        if (civil_parse(slice_text(outside[i]), 5, NULL, &ms) != ERR_RANGE) fail_msg("\"%s\" is taken", outside[i]);
    }
}

static void test_format_round_trip(void **state) {
    (void)state;
    char text[CIVIL_TEXT_MAX];
    assert_int_equal(civil_format(1618678080000, text), 20);
    assert_string_equal(text, "2021-04-17T16:48:00Z");
    civil_format(123, text);
    assert_string_equal(text, "1970-01-01T00:00:00.123Z");
    civil_format(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999Z");
    civil_format(INT64_MIN, text);
    assert_string_equal(text, "-292275055-05-16T16:47:04.192Z");
    random_state = 1;
    for (unsigned i = 0; i < testing_seeds(10000); i++) {
        int64_t ms = (int64_t)(random_next() % 253402300800000), back;
        size_t size = civil_format(ms, text);
        assert_int_equal(civil_parse(slice_of(text, size), 0, NULL, &back), ERR_OK);
        assert_int_equal(back, ms);
    }
}

static void test_durations(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"7d", 604800000}, {"2y", 63072000000}, {"36h", 129600000}, {"15m", 900000},       {"30s", 30000},
                {"500ms", 500},    {"1w", 604800000},   {"0s", 0},          {"forever", INT64_MAX}};
    for (unsigned i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t ms;
        assert_int_equal(civil_parse_duration(slice_text(good[i].text), NULL, &ms), ERR_OK);
        assert_int_equal(ms, good[i].ms);
    }
    static const char *const wrong[] = {"", "d", "7", "7D", "-7d", "7 d", "1h30m", "1.5h", "for ever", "7days"};
    int64_t ms;
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(civil_parse_duration(slice_text(wrong[i]), NULL, &ms), ERR_SYNTAX);
    assert_int_equal(civil_parse_duration(SLICE("9223372036854775807d"), NULL, &ms), ERR_RANGE);
    assert_int_equal(civil_parse_duration(SLICE("99999999999999999999s"), NULL, &ms), ERR_RANGE);
}

/* --- zones --- */

static struct zone *zone_of(const char *name) {
    char path[256];
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        print_message("no %s: install tzdata\n", path);
        skip();
    }
    static uint8_t bytes[65536];
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    struct zone *zone = NULL;
    struct diag diag;
    if (zone_parse(name, slice_of(bytes, size), &diag, &zone) != ERR_OK) fail_msg("%s", diag.what);
    return zone;
}

static int32_t library_offset(int64_t ms) {
    time_t at = (time_t)(ms / 1000 - (ms % 1000 < 0));
    struct tm tm;
    assert_non_null(localtime_r(&at, &tm));
    return (int32_t)tm.tm_gmtoff;
}

static void assert_offset(const struct zone *zone, const char *name, int64_t ms) {
    int32_t got = zone_offset_at(zone, ms), expected = library_offset(ms);
    if (got != expected) fail_msg("%s at %lld: %d, the C library says %d", name, (long long)ms, got, expected);
}

static const char *const zone_names[] = {"Europe/Berlin",
                                         "America/New_York",
                                         "Asia/Kolkata",
                                         "Asia/Kathmandu",
                                         "Australia/Lord_Howe",
                                         "Pacific/Apia",
                                         "UTC",
                                         "America/Sao_Paulo",
                                         "Europe/Dublin",
                                         "Africa/Casablanca",
                                         "Asia/Gaza",
                                         "America/Nuuk",
                                         "Antarctica/Troll",
                                         "Pacific/Chatham",
                                         "America/St_Johns",
                                         "Asia/Singapore",
                                         "Asia/Tehran",
                                         "Pacific/Kiritimati",
                                         "Australia/Melbourne",
                                         "America/Santiago"};
enum { ZONE_COUNT = sizeof zone_names / sizeof *zone_names };

static void test_offsets_like_the_library(void **state) {
    (void)state;
    for (unsigned z = 0; z < ZONE_COUNT; z++) {
        struct zone *zone = zone_of(zone_names[z]);
        setenv("TZ", zone_names[z], 1);
        tzset();
        random_state = z;
        const int64_t year_ms = INT64_C(31556952000);
        for (int64_t ms = -120 * year_ms; ms < 530 * year_ms; ms += 86400000 * INT64_C(11) + 7001)
            assert_offset(zone, zone_names[z], ms);
        /* Each quarter of an hour of some years with changes, tables and rules both. */
        static const int years[] = {2011, 2024, 2100};
        for (unsigned y = 0; y < sizeof years / sizeof *years; y++) {
            int64_t from = civil_days(years[y], 1, 1) * 86400000;
            for (int64_t ms = from - 900000; ms < from + year_ms; ms += 900000) {
                assert_offset(zone, zone_names[z], ms);
                if (ms % 3600000 == 0) assert_offset(zone, zone_names[z], ms - 1);
            }
        }
        zone_close(&zone);
        assert_null(zone);
    }
    unsetenv("TZ");
}

static void test_first_instant_of_local(void **state) {
    (void)state;
    for (unsigned z = 0; z < ZONE_COUNT; z++) {
        struct zone *zone = zone_of(zone_names[z]);
        random_state = z;
        for (unsigned i = 0; i < testing_seeds(1000); i++) {
            /* Half of them on the first quarter hours of a day, where candles begin. */
            int64_t local = (int64_t)(random_next() % 6000000000000);
            if (i % 2 == 0) local = local / 86400000 * 86400000 + (int64_t)(random_next() % 16) * 900000;
            int64_t utc = zone_utc_of_local(zone, local);
            assert_true(utc + zone_offset_at(zone, utc) * INT64_C(1000) >= local);
            assert_true(utc - 1 + zone_offset_at(zone, utc - 1) * INT64_C(1000) < local);
            for (int64_t before = utc - 1800000; before > utc - 2 * INT64_C(86400000); before -= 1800000)
                assert_true(before + zone_offset_at(zone, before) * INT64_C(1000) < local);
        }
        zone_close(&zone);
    }
}

static void assert_local(const char *name, const char *local, const char *expected_utc) {
    struct zone *zone = zone_of(name);
    int64_t local_ms, utc_ms;
    assert_int_equal(civil_parse(slice_text(local), 0, NULL, &local_ms), ERR_OK);
    assert_int_equal(civil_parse(slice_text(expected_utc), 0, NULL, &utc_ms), ERR_OK);
    assert_int_equal(zone_utc_of_local(zone, local_ms), utc_ms);
    zone_close(&zone);
}

static void test_local_at_jumps(void **state) {
    (void)state;
    assert_local("Europe/Berlin", "2024-03-31T02:30", "2024-03-31T01:00:00Z"); /* skipped */
    assert_local("Europe/Berlin", "2024-10-27T02:30", "2024-10-27T00:30:00Z"); /* twice, the first */
    assert_local("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z");   /* midnight skipped */
    assert_local("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z");        /* a day that never was */
    assert_local("Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z");
    assert_local("Australia/Lord_Howe", "2024-04-07T01:45", "2024-04-06T14:45:00Z");
    assert_local("Asia/Kathmandu", "2024-01-01", "2023-12-31T18:15:00Z");
    assert_local("Europe/Berlin", "2200-07-01", "2200-06-30T22:00:00Z"); /* by the rule */
}

static void test_fixed(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int32_t offset_s;
    } good[] = {{"UTC", 0}, {"Z", 0},         {"utc", 0},       {"+08:00", 28800}, {"-0330", -12600},  {"+8", 28800},
                {"0", 0},   {"05:45", 20700}, {"-1:00", -3600}, {"+14", 50400},    {"-12:00", -43200}, {"8", 28800}};
    for (unsigned i = 0; i < sizeof good / sizeof *good; i++) {
        struct zone *zone = NULL;
        if (zone_fixed(slice_text(good[i].text), &zone) != ERR_OK) fail_msg("%s", good[i].text);
        assert_int_equal(zone_offset_at(zone, 1618678080000), good[i].offset_s);
        assert_int_equal(zone_utc_of_local(zone, 1618678080000), 1618678080000 - good[i].offset_s * INT64_C(1000));
        zone_close(&zone);
    }
    static const char *const wrong[] = {"", "+", "-", "+08:0", "+08:60", "+19", "+123", "+08:000", "8:", "++8", "+8h"};
    struct zone *zone = NULL;
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (zone_fixed(slice_text(wrong[i]), &zone) != ERR_SYNTAX) fail_msg("%s is taken", wrong[i]);
    assert_int_equal(zone_fixed(SLICE("Europe/Berlin"), &zone), ERR_NOT_FOUND);
    assert_null(zone);
}

/* Every cut of a good file is refused, and no changed byte makes it crash or loop. */
static void test_damaged_zone(void **state) {
    (void)state;
    FILE *file = fopen("/usr/share/zoneinfo/Europe/Berlin", "rb");
    if (file == NULL) {
        print_message("no /usr/share/zoneinfo/Europe/Berlin: install tzdata\n");
        skip();
    }
    static uint8_t bytes[65536];
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    struct diag diag;
    for (size_t cut = 0; cut < size; cut++) {
        struct zone *zone = NULL;
        assert_int_equal(zone_parse("x", slice_of(bytes, cut), &diag, &zone), ERR_SYNTAX);
    }
    random_state = 9;
    for (unsigned i = 0; i < testing_seeds(10000); i++) {
        size_t at = random_next() % size;
        uint8_t before = bytes[at];
        bytes[at] = (uint8_t)random_next();
        struct zone *zone = NULL;
        if (zone_parse("x", slice_of(bytes, size), &diag, &zone) == ERR_OK) {
            int64_t local = (int64_t)(random_next() % 6000000000000), utc = zone_utc_of_local(zone, local);
            assert_true(utc + zone_offset_at(zone, utc) * INT64_C(1000) >= local);
            zone_close(&zone);
        }
        bytes[at] = before;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_wrong_times),
        cmocka_unit_test(test_format_round_trip),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_offsets_like_the_library),
        cmocka_unit_test(test_first_instant_of_local),
        cmocka_unit_test(test_local_at_jumps),
        cmocka_unit_test(test_fixed),
        cmocka_unit_test(test_damaged_zone),
    };
    return cmocka_run_group_tests_name("civil", tests, NULL, NULL);
}
