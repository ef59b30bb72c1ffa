#include "candle/book/idset.h"

#include <assert.h>
#include <stdlib.h>

static const struct id_range no_range = {0, -1, 0, 0};

void idset_init(struct idset *set) { *set = (struct idset){0}; }

void idset_deinit(struct idset *set) {
    free(set->ranges);
    *set = (struct idset){0};
}

uint32_t idset_find(const struct idset *set, int64_t id) {
    uint32_t low = 0, high = set->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (set->ranges[middle].last < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

enum idset_overlap idset_overlap(const struct idset *set, int64_t first, int64_t last) {
    assert(first <= last);
    uint32_t at = idset_find(set, first);
    if (at == set->count || set->ranges[at].first > last) return IDSET_NONE;
    return set->ranges[at].first <= first && last <= set->ranges[at].last ? IDSET_ALL : IDSET_SOME;
}

static enum err make_room(struct idset *set) {
    if (set->count < set->capacity) return ERR_OK;
    if (set->count >= IDSET_RANGES_MAX) return ERR_LIMIT;
    uint32_t capacity = set->capacity == 0 ? 2 : set->capacity * 2;
    struct id_range *ranges = realloc(set->ranges, capacity * sizeof *ranges);
    if (ranges == NULL) return ERR_NO_MEMORY;
    set->ranges = ranges;
    set->capacity = capacity;
    return ERR_OK;
}

static void remove_at(struct idset *set, uint32_t at) {
    memmove(&set->ranges[at], &set->ranges[at + 1], (set->count - at - 1) * sizeof set->ranges[0]);
    set->count--;
}

/* Two neighbours as one range; either may be none. */
static struct id_range joined(struct id_range a, struct id_range b) {
    if (a.first > a.last) return b;
    if (b.first > b.last) return a;
    return (struct id_range){a.first, b.last, a.first_ms < 0 ? b.first_ms : a.first_ms,
                             b.last_ms < 0 ? a.last_ms : b.last_ms};
}

enum err idset_insert(struct idset *set, const struct id_range *range, struct id_range *ret_before,
                      struct id_range *ret_after) {
    uint32_t at = idset_find(set, range->first);
    struct id_range *before = at > 0 && set->ranges[at - 1].last == range->first - 1 ? &set->ranges[at - 1] : NULL;
    struct id_range *after = at < set->count && set->ranges[at].first == range->last + 1 ? &set->ranges[at] : NULL;
    assert(at == set->count || set->ranges[at].first > range->last);
    struct id_range old_before = before != NULL ? *before : no_range;
    struct id_range old_after = after != NULL ? *after : no_range;
    struct id_range whole = joined(joined(old_before, *range), old_after);
    if (before != NULL) {
        *before = whole;
        if (after != NULL) remove_at(set, at);
    } else if (after != NULL) {
        *after = whole;
    } else {
        enum err err = make_room(set);
        if (err) return err;
        memmove(&set->ranges[at + 1], &set->ranges[at], (set->count - at) * sizeof set->ranges[0]);
        set->ranges[at] = *range;
        set->count++;
    }
    *ret_before = old_before;
    *ret_after = old_after;
    return ERR_OK;
}

enum err idset_merge(struct idset *set, const struct id_range *range) {
    int64_t next = range->first;
    while (next <= range->last) {
        uint32_t at = idset_find(set, next);
        bool beyond = at == set->count || set->ranges[at].first > range->last;
        if (!beyond && set->ranges[at].first <= next) {
            next = set->ranges[at].last + 1;
            continue;
        }
        struct id_range before, after, part = {next, beyond ? range->last : set->ranges[at].first - 1, 0, 0};
        part.first_ms = next == range->first ? range->first_ms : range->last_ms;
        part.last_ms = range->last_ms;
        next = part.last + 1;
        enum err err = idset_insert(set, &part, &before, &after);
        if (err) return err;
    }
    return ERR_OK;
}

void idset_trim(struct idset *set, uint32_t keep) {
    if (set->count <= keep) return;
    set->floor = set->ranges[set->count - keep - 1].last + 1;
    memmove(set->ranges, set->ranges + (set->count - keep), keep * sizeof set->ranges[0]);
    set->count = keep;
}

void idset_encode(struct buf *out, const struct idset *set) {
    int64_t id = 0, ms = 0;
    buf_put_uvarint(out, (uint64_t)set->floor);
    buf_put_uvarint(out, set->count);
    for (uint32_t i = 0; i < set->count; i++) {
        const struct id_range *r = &set->ranges[i];
        buf_put_varint(out, (int64_t)((uint64_t)r->first - (uint64_t)id));
        buf_put_uvarint(out, (uint64_t)r->last - (uint64_t)r->first);
        buf_put_varint(out, r->first_ms - ms);
        buf_put_varint(out, r->last_ms - r->first_ms);
        id = r->last;
        ms = r->last_ms;
    }
}

/* Ids are below 2^62 and times within a few hundred thousand years of 1970, so differences do not overflow. */
static bool sane(int64_t value) { return value >= -(INT64_C(1) << 62) && value < INT64_C(1) << 62; }

enum err idset_decode(struct reader *in, struct idset *set) {
    int64_t id = 0, ms = 0;
    uint64_t floor = reader_uvarint(in), count = reader_uvarint(in);
    if (floor > INT64_C(1) << 62 || count > IDSET_RANGES_MAX || count > reader_left(in)) return ERR_CORRUPT;
    set->floor = (int64_t)floor;
    for (uint64_t i = 0; i < count; i++) {
        int64_t gap = reader_varint(in);
        uint64_t length = reader_uvarint(in);
        int64_t to_first = reader_varint(in), to_last = reader_varint(in);
        if (reader_err(in) || !sane(gap) || length >= UINT64_C(1) << 62 || !sane(to_first) || !sane(to_last))
            return ERR_CORRUPT;
        struct id_range r = {.first = id + gap, .first_ms = ms + to_first};
        if (i > 0 && gap < 2) return ERR_CORRUPT;
        r.last_ms = r.first_ms + to_last;
        if (!sane(r.first) || !sane(r.first_ms) || !sane(r.last_ms)) return ERR_CORRUPT;
        r.last = r.first + (int64_t)length;
        if (!sane(r.last)) return ERR_CORRUPT;
        enum err err = make_room(set);
        if (err) return err;
        set->ranges[set->count++] = r;
        id = r.last;
        ms = r.last_ms;
    }
    return ERR_OK;
}
