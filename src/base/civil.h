/* Civil time: dates, zones (from TZif content, RFC 8536), times as people write them. Pure: whoever has a disk reads the
 * zone file. */
#ifndef BASE_CIVIL_H
#define BASE_CIVIL_H

#include "base/err.h"
#include "base/slice.h"

/* Proleptic Gregorian days since 1970-01-01, and back. Any int32 year. */
int64_t civil_days(int64_t year, unsigned month, unsigned day);
void civil_date(int64_t days, int64_t *ret_year, unsigned *ret_month, unsigned *ret_day);

struct zone;
/* `name` is kept for messages. `tzif` is the content of a zoneinfo file, footer rule (POSIX TZ) included. */
enum err zone_parse(const char *name, struct slice tzif, struct diag *diag, struct zone **ret_zone) MUST_USE;
/* "UTC", "Z", "+08:00", "-0330", "+8": no file needed. ERR_NOT_FOUND if the text is a zone's name instead. */
enum err zone_fixed(struct slice text, struct zone **ret_zone) MUST_USE;
void zone_close(struct zone **zone);
/* Seconds east of UTC at a time. */
int32_t zone_offset_at(const struct zone *zone, int64_t utc_ms);
/* The first instant whose local time is at or after `local_ms` (local milliseconds counted as if UTC): a midnight that DST
 * skips becomes the instant of the jump; one that occurs twice is the first. */
int64_t zone_utc_of_local(const struct zone *zone, int64_t local_ms);

/* The stretch of one offset around a time, [start, end): INT64_MIN and INT64_MAX where it has no bound. Neighbours may have
 * equal offsets. */
struct zone_run {
    int64_t start_ms, end_ms;
    int32_t offset_s;
};
struct zone_run zone_run_at(const struct zone *zone, int64_t utc_ms);

enum { CIVIL_TEXT_MAX = 40 };
/* RFC 3339 with milliseconds where there are any: "2021-04-17T16:48:00Z", "..00.123Z". NUL-terminated. */
size_t civil_format(int64_t utc_ms, char text[static CIVIL_TEXT_MAX]);
/* Milliseconds since 1970, RFC 3339 (date alone: midnight UTC; without offset: UTC), or relative to `now_ms`: "now", "-2h",
 * "-90s", "-7d". Years 1970..9999. */
enum err civil_parse(struct slice text, int64_t now_ms, struct diag *diag, int64_t *ret_ms) MUST_USE;
/* "7d", "2y" (365 d), "36h", "15m", "30s", "500ms", "forever" (INT64_MAX). */
enum err civil_parse_duration(struct slice text, struct diag *diag, int64_t *ret_ms) MUST_USE;

#endif
