/* A zone file of any bytes: what is taken answers without a crash, and local times lead to instants that have them. */
#include <assert.h>

#include "base/civil.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct zone *zone = NULL;
    if (zone_fixed(slice_of(data, size), &zone) == ERR_OK) zone_close(&zone);
    int64_t ms;
    if (civil_parse(slice_of(data, size), 1618678080000, NULL, &ms) == ERR_OK) {
        char text[CIVIL_TEXT_MAX];
        int64_t again;
        size_t length = civil_format(ms, text);
        assert(civil_parse(slice_of(text, length), 0, NULL, &again) == ERR_OK && again == ms);
    }
    struct diag diag;
    if (zone_parse("fuzz", slice_of(data, size), &diag, &zone) != ERR_OK) return 0;
    for (int64_t local = -INT64_C(10000000000000); local < INT64_C(250000000000000); local += INT64_C(7700000000007)) {
        int64_t utc = zone_utc_of_local(zone, local);
        assert(utc + zone_offset_at(zone, utc) * INT64_C(1000) >= local);
        assert(utc - 1 + zone_offset_at(zone, utc - 1) * INT64_C(1000) < local);
    }
    zone_close(&zone);
    return 0;
}
