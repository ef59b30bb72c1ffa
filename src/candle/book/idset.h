/* A set of trade ids, kept as sorted, disjoint, non-adjacent ranges, each with the event times of its first and last trade.
 * Ids without a time (IDSET_NO_TIME: they were filtered) belong to a range, but its times are those of the others.
 *
 * Where a venue counts its trades one by one, this is de-duplication, gaps and coverage in one: an id in the set was seen, a
 * hole between two ranges is a number of trades known to be missing, and its edges say when. Appending at the end is one
 * comparison. Bounded to IDSET_RANGES_MAX ranges; one owner, no lock. */
#ifndef CANDLE_BOOK_IDSET_H
#define CANDLE_BOOK_IDSET_H

#include "base/buf.h"

enum { IDSET_RANGES_MAX = 1 << 19, IDSET_RANGE_BYTES_MAX = 40 /* encoded */, IDSET_NO_TIME = -1 };

struct id_range {
    int64_t first, last;       /* both in the set */
    int64_t first_ms, last_ms; /* event times of the first and last trade; both IDSET_NO_TIME if it holds none */
};

struct idset {
    struct id_range *ranges; /* ascending */
    uint32_t count;
    uint32_t capacity;
    int64_t floor; /* 1 + the largest id that was forgotten by trimming, 0: none was */
};

void idset_init(struct idset *set);
void idset_deinit(struct idset *set);

/* Of the ids first..last, how many are in the set: none, some, or all. */
enum idset_overlap { IDSET_NONE, IDSET_SOME, IDSET_ALL };
enum idset_overlap idset_overlap(const struct idset *set, int64_t first, int64_t last);
static inline bool idset_contains(const struct idset *set, int64_t id) {
    return idset_overlap(set, id, id) == IDSET_ALL;
}
/* Adds range->first..last, of which none may be in the set. What lies directly before and after it joins:
 * `*ret_before` and `*ret_after` are the ranges it touched as they were, first > last where there was none. ERR_LIMIT past
 * the maximum, ERR_NO_MEMORY. */
enum err idset_insert(struct idset *set, const struct id_range *range, struct id_range *ret_before,
                      struct id_range *ret_after) MUST_USE;
/* Adds whatever of it is not there yet; for seeding from rows whose ids are known to be all seen. */
enum err idset_merge(struct idset *set, const struct id_range *range) MUST_USE;
/* The index of the range that ends at or after `id`, count if there is none. */
uint32_t idset_find(const struct idset *set, int64_t id);
/* The largest id, -1 of an empty set. */
static inline int64_t idset_max(const struct idset *set) {
    return set->count == 0 ? -1 : set->ranges[set->count - 1].last;
}
/* Was an id as small as this one forgotten? Then nobody knows whether it was seen. */
static inline bool idset_forgot(const struct idset *set, int64_t id) { return id < set->floor; }
/* Forgets the lowest ranges until at most `keep` are left. */
void idset_trim(struct idset *set, uint32_t keep);

/* The usual case, inlined: `id` follows the largest one. False if it does not, and nothing happened. */
static inline bool idset_append(struct idset *set, int64_t first, int64_t last, int64_t time_ms) {
    if (set->count == 0) return false;
    struct id_range *end = &set->ranges[set->count - 1];
    if (first != end->last + 1) return false;
    end->last = last;
    if (time_ms >= 0) {
        end->last_ms = time_ms;
        if (end->first_ms < 0) end->first_ms = time_ms;
    }
    return true;
}

/* uvarint floor, uvarint count, then per range: varint distance of `first` to the last end, uvarint length, varint first_ms to the last
 * time, varint last_ms - first_ms. Decoding refuses what encode cannot have written (ERR_CORRUPT). */
void idset_encode(struct buf *out, const struct idset *set);
enum err idset_decode(struct reader *in, struct idset *set) MUST_USE;

#endif
