/* Intervals: names, golden buckets, and properties: buckets partition time, and tiers divide them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/splitmix.h"
#include "base/testing.h"
#include "candle/interval.h"

static uint64_t random_state;
static uint64_t random_next(void) { return splitmix_next(&random_state); }

static struct interval interval_of(const char *text) {
    struct interval interval = {INTERVAL_SECOND, 0};
    if (interval_parse(slice_text(text), NULL, &interval) != ERR_OK) fail_msg("%s is refused", text);
    return interval;
}

static int64_t time_of(const char *text) {
    int64_t ms = 0;
    if (civil_parse(slice_text(text), 0, NULL, &ms) != ERR_OK) fail_msg("%s is no time", text);
    return ms;
}

static struct zone *zone_of(const char *name) {
    struct zone *zone = NULL;
    if (zone_fixed(slice_text(name), &zone) == ERR_OK) return zone;
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
    assert_int_equal(zone_parse(name, slice_of(bytes, size), NULL, &zone), ERR_OK);
    return zone;
}

static void test_names(void **state) {
    (void)state;
    static const char *const same[] = {"1s", "1m", "2m",  "3m", "5m", "15m", "30m", "1h", "2h",    "4h",
                                       "6h", "8h", "12h", "1d", "3d", "1w",  "1M",  "7m", "1000M", "60m"};
    static const char *const meta[][2] = {{"M1", "1m"}, {"M15", "15m"}, {"H1", "1h"},  {"H4", "4h"},
                                          {"D1", "1d"}, {"W1", "1w"},   {"MN1", "1M"}, {"M240", "240m"}};
    char text[16];
    for (unsigned i = 0; i < sizeof same / sizeof *same; i++) {
        interval_format(interval_of(same[i]), text);
        assert_string_equal(text, same[i]);
    }
    for (unsigned i = 0; i < sizeof meta / sizeof *meta; i++) {
        interval_format(interval_of(meta[i][0]), text);
        assert_string_equal(text, meta[i][1]);
    }
    static const char *const wrong[] = {"",  "m",  "1",   "1y",  "1S",  "1D", "1W",  "1H",  "m1",
                                        "M", "MN", "-1m", "1 m", "1mm", "h1", "1m1", "1.5h"};
    struct interval interval = {INTERVAL_DAY, 77};
    struct diag diag;
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (interval_parse(slice_text(wrong[i]), &diag, &interval) != ERR_SYNTAX) fail_msg("%s is taken", wrong[i]);
    static const char *const outside[] = {"0m", "1001m", "99999999999999999999m", "M0", "MN1001"};
    for (unsigned i = 0; i < sizeof outside / sizeof *outside; i++)
        if (interval_parse(slice_text(outside[i]), &diag, &interval) != ERR_RANGE) fail_msg("%s is taken", outside[i]);
    assert_int_equal(interval.count, 77);
}

static void assert_bucket(const char *interval, const char *zone_name, uint8_t week_start, const char *at,
                          const char *start, const char *end) {
    struct zone *zone = zone_name == NULL ? NULL : zone_of(zone_name);
    struct origin origin = {zone, week_start};
    int64_t got_start, got_end;
    interval_bucket(interval_of(interval), &origin, time_of(at), &got_start, &got_end);
    if (got_start != time_of(start) || got_end != time_of(end)) {
        char a[CIVIL_TEXT_MAX], b[CIVIL_TEXT_MAX];
        civil_format(got_start, a);
        civil_format(got_end, b);
        fail_msg("%s in %s at %s is %s to %s", interval, zone_name ? zone_name : "UTC", at, a, b);
    }
    if (zone != NULL) zone_close(&zone);
}

static void test_golden_utc(void **state) {
    (void)state;
    const char *at = "2021-04-17T16:48:30.500Z"; /* a Saturday */
    assert_bucket("1s", NULL, 0, at, "2021-04-17T16:48:30Z", "2021-04-17T16:48:31Z");
    assert_bucket("1m", NULL, 0, at, "2021-04-17T16:48:00Z", "2021-04-17T16:49:00Z");
    assert_bucket("15m", NULL, 0, at, "2021-04-17T16:45:00Z", "2021-04-17T17:00:00Z");
    assert_bucket("4h", NULL, 0, at, "2021-04-17T16:00:00Z", "2021-04-17T20:00:00Z");
    assert_bucket("7h", NULL, 0, at, "2021-04-17T14:00:00Z", "2021-04-17T21:00:00Z");
    assert_bucket("7h", NULL, 0, "2021-04-17T22:00Z", "2021-04-17T21:00:00Z", "2021-04-18");
    assert_bucket("1d", NULL, 0, at, "2021-04-17", "2021-04-18");
    assert_bucket("24h", NULL, 0, at, "2021-04-17", "2021-04-18");
    /* 18734 days since 1970 = 3 * 6244 + 2 */
    assert_bucket("3d", NULL, 0, at, "2021-04-15", "2021-04-18");
    assert_bucket("36h", NULL, 0, "1970-01-03", "1970-01-02T12:00:00Z", "1970-01-04");
    assert_bucket("1w", NULL, 0, at, "2021-04-12", "2021-04-19");
    assert_bucket("1w", NULL, 1, at, "2021-04-12", "2021-04-19");
    assert_bucket("1w", NULL, 7, at, "2021-04-11", "2021-04-18");
    assert_bucket("1w", NULL, 6, at, "2021-04-17", "2021-04-24");
    assert_bucket("2w", NULL, 4, "1970-01-10", "1970-01-01", "1970-01-15");
    assert_bucket("1M", NULL, 0, at, "2021-04-01", "2021-05-01");
    assert_bucket("3M", NULL, 0, at, "2021-04-01", "2021-07-01");
    assert_bucket("12M", NULL, 0, at, "2021-01-01", "2022-01-01");
    assert_bucket("1M", NULL, 0, "2024-02-29", "2024-02-01", "2024-03-01");
}

static void test_golden_zones(void **state) {
    (void)state;
    assert_bucket("1d", "+08:00", 0, "2021-04-17T16:48:00Z", "2021-04-17T16:00:00Z", "2021-04-18T16:00:00Z");
    assert_bucket("1M", "+8", 0, "2023-01-01", "2022-12-31T16:00:00Z", "2023-01-31T16:00:00Z");
    assert_bucket("1h", "Asia/Kathmandu", 0, "2024-01-01T00:20Z", "2024-01-01T00:15:00Z", "2024-01-01T01:15:00Z");
    /* Berlin, the clock goes from 02:00 to 03:00 at 01:00 UTC: a day of 23 hours, the first 4 hours are 3. */
    assert_bucket("1d", "Europe/Berlin", 0, "2024-03-31T12:00Z", "2024-03-30T23:00:00Z", "2024-03-31T22:00:00Z");
    assert_bucket("4h", "Europe/Berlin", 0, "2024-03-31T00:00Z", "2024-03-30T23:00:00Z", "2024-03-31T02:00:00Z");
    assert_bucket("4h", "Europe/Berlin", 0, "2024-03-31T01:30Z", "2024-03-30T23:00:00Z", "2024-03-31T02:00:00Z");
    assert_bucket("4h", "Europe/Berlin", 0, "2024-03-31T02:00Z", "2024-03-31T02:00:00Z", "2024-03-31T06:00:00Z");
    assert_bucket("1h", "Europe/Berlin", 0, "2024-03-31T01:30Z", "2024-03-31T01:00:00Z", "2024-03-31T02:00:00Z");
    assert_bucket("2h", "Europe/Berlin", 0, "2024-03-31T01:30Z", "2024-03-31T01:00:00Z", "2024-03-31T02:00:00Z");
    /* Back from 03:00 to 02:00 at 01:00 UTC: 25 hours; the hour comes twice, 4 hours are 5, 2 hours are 3. */
    assert_bucket("1d", "Europe/Berlin", 0, "2024-10-27T12:00Z", "2024-10-26T22:00:00Z", "2024-10-27T23:00:00Z");
    assert_bucket("1h", "Europe/Berlin", 0, "2024-10-27T00:30Z", "2024-10-27T00:00:00Z", "2024-10-27T01:00:00Z");
    assert_bucket("1h", "Europe/Berlin", 0, "2024-10-27T01:30Z", "2024-10-27T01:00:00Z", "2024-10-27T02:00:00Z");
    assert_bucket("15m", "Europe/Berlin", 0, "2024-10-27T01:50Z", "2024-10-27T01:45:00Z", "2024-10-27T02:00:00Z");
    assert_bucket("4h", "Europe/Berlin", 0, "2024-10-27T01:30Z", "2024-10-26T22:00:00Z", "2024-10-27T03:00:00Z");
    assert_bucket("2h", "Europe/Berlin", 0, "2024-10-27T00:30Z", "2024-10-27T00:00:00Z", "2024-10-27T03:00:00Z");
    assert_bucket("2h", "Europe/Berlin", 0, "2024-10-27T01:30Z", "2024-10-27T00:00:00Z", "2024-10-27T03:00:00Z");
    assert_bucket("1w", "America/New_York", 7, "2024-03-12", "2024-03-10T05:00:00Z", "2024-03-17T04:00:00Z");
    /* Midnight is skipped: the day begins with the jump. */
    assert_bucket("1d", "America/Sao_Paulo", 0, "2018-11-04T12:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z");
    /* A day that never was. */
    assert_bucket("1d", "Pacific/Apia", 0, "2011-12-30T09:00Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z");
    assert_bucket("1d", "Pacific/Apia", 0, "2011-12-30T10:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z");
    /* Half an hour back at 02:00: the half hour comes twice, the hour is longer by it. */
    assert_bucket("30m", "Australia/Lord_Howe", 0, "2024-04-06T15:10Z", "2024-04-06T15:00:00Z", "2024-04-06T15:30:00Z");
    assert_bucket("1h", "Australia/Lord_Howe", 0, "2024-04-06T15:10Z", "2024-04-06T14:00:00Z", "2024-04-06T15:30:00Z");
}

static const char *const zone_names[] = {NULL,
                                         "+05:45",
                                         "Europe/Berlin",
                                         "America/New_York",
                                         "Asia/Kolkata",
                                         "Asia/Kathmandu",
                                         "Australia/Lord_Howe",
                                         "Pacific/Apia",
                                         "America/St_Johns",
                                         "Africa/Casablanca",
                                         "America/Sao_Paulo",
                                         "Antarctica/Troll"};
enum { ZONE_COUNT = sizeof zone_names / sizeof *zone_names };

static struct interval random_interval(void) {
    static const unsigned most[] = {1000, 1000, 100, 40, 5, 24};
    enum interval_unit unit = (enum interval_unit)(random_next() % 6);
    return (struct interval){unit, (uint32_t)(1 + random_next() % most[unit])};
}

/* Each bucket holds its instants and no others, and begins where the one before it ends. */
static void test_buckets_partition_time(void **state) {
    (void)state;
    for (unsigned z = 0; z < ZONE_COUNT; z++) {
        struct zone *zone = zone_names[z] == NULL ? NULL : zone_of(zone_names[z]);
        for (unsigned seed = 0; seed < testing_seeds(1500); seed++) {
            random_state = seed * 100 + z;
            struct origin origin = {zone, (uint8_t)(random_next() % 8)};
            struct interval interval = random_interval();
            int64_t at = (int64_t)(random_next() % 4000000000000);
            if (seed % 5 == 4) at %= INT64_C(4000000000); /* its bucket may begin before 1970 */
            if (zone != NULL && seed % 2 == 0) {          /* near a change of the clock */
                struct zone_run run = zone_run_at(zone, at);
                if (run.end_ms != INT64_MAX) at = run.end_ms + (int64_t)(random_next() % 20000000) - 10000000;
            }
            for (unsigned i = 0; i < 8; i++) {
                int64_t start, end, s, e;
                interval_bucket(interval, &origin, at, &start, &end);
                assert_true(start <= at && at < end);
                const int64_t inside[] = {start, end - 1, start + (int64_t)(random_next() % (uint64_t)(end - start))};
                for (unsigned k = 0; k < 3; k++) {
                    interval_bucket(interval, &origin, inside[k], &s, &e);
                    if (s != start || e != end)
                        fail_msg("zone %u seed %u: %u %u", z, seed, interval.unit, interval.count);
                }
                interval_bucket(interval, &origin, end, &s, &e);
                assert_true(s == end);
                interval_bucket(interval, &origin, start - 1, &s, &e);
                assert_true(e == start);
                at = end;
            }
        }
        if (zone != NULL) zone_close(&zone);
    }
}

/* The tier that is named divides every bucket of the range. */
static void test_tiers_divide(void **state) {
    (void)state;
    unsigned days = 0, quarters = 0;
    for (unsigned z = 0; z < ZONE_COUNT; z++) {
        struct zone *zone = zone_names[z] == NULL ? NULL : zone_of(zone_names[z]);
        for (unsigned seed = 0; seed < testing_seeds(500); seed++) {
            random_state = seed * 100 + z;
            struct origin origin = {zone, (uint8_t)(random_next() % 8)};
            struct interval interval = random_interval();
            uint32_t base = seed % 2 ? 60000 : 1000, tier = 7;
            int64_t from = (int64_t)(random_next() % 2000000000000), to = from + INT64_C(30000000000);
            enum err err = interval_tier_between(interval, &origin, base, from, to, &tier);
            if (interval.unit == INTERVAL_SECOND && interval.count % 60 != 0 && base == 60000) {
                assert_int_equal(err, ERR_RANGE);
                assert_int_equal(tier, 7);
                continue;
            }
            assert_int_equal(err, ERR_OK);
            days += tier == 86400000, quarters += tier == 900000;
            int64_t start, end = from;
            for (unsigned i = 0; i < 100 && end < to; i++) {
                interval_bucket(interval, &origin, end, &start, &end);
                if (start >= from) assert_int_equal(start % tier, 0);
                if (end < to) assert_int_equal(end % tier, 0);
            }
        }
        if (zone != NULL) zone_close(&zone);
    }
    assert_true(days > testing_seeds(100) && quarters > testing_seeds(100));
}

static uint32_t tier_of(const char *interval, const char *zone_name) {
    struct zone *zone = zone_name == NULL ? NULL : zone_of(zone_name);
    struct origin origin = {zone, 0};
    uint32_t tier = 0;
    if (interval_tier(interval_of(interval), &origin, 60000, &tier) != ERR_OK) tier = 0;
    if (zone != NULL) zone_close(&zone);
    return tier;
}

static void test_golden_tiers(void **state) {
    (void)state;
    assert_int_equal(tier_of("1M", NULL), 86400000);
    assert_int_equal(tier_of("1w", "UTC"), 86400000);
    assert_int_equal(tier_of("48h", NULL), 86400000);
    assert_int_equal(tier_of("36h", NULL), 900000);
    assert_int_equal(tier_of("1d", "Europe/Berlin"), 900000);
    assert_int_equal(tier_of("1d", "+08:00"), 900000);
    assert_int_equal(tier_of("1d", "Asia/Kathmandu"), 900000);
    assert_int_equal(tier_of("1h", NULL), 900000);
    assert_int_equal(tier_of("15m", NULL), 900000);
    assert_int_equal(tier_of("20m", NULL), 60000);
    assert_int_equal(tier_of("1m", NULL), 60000);
    assert_int_equal(tier_of("90s", NULL), 0);
    assert_int_equal(tier_of("1s", NULL), 0);
    /* Liberia's clock was off by 44:30 until 1972: no minute of ours is one of theirs. */
    assert_int_equal(tier_of("1d", "Africa/Monrovia"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),        cmocka_unit_test(test_golden_utc),
        cmocka_unit_test(test_golden_zones), cmocka_unit_test(test_buckets_partition_time),
        cmocka_unit_test(test_tiers_divide), cmocka_unit_test(test_golden_tiers),
    };
    return cmocka_run_group_tests_name("interval", tests, NULL, NULL);
}
