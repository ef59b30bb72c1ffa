/* Is this event new?
 *
 * Dense ids: the set of ids seen answers, whatever the order and however old. An id that is smaller than the largest but
 * whose trade is EPOCH_MS younger than the largest one's opens a new epoch: the venue has begun to count again. Sparse ids: the sets of this
 * hour and of the one before answer; older events are late. No ids: the hashes of this stretch of the grace and of the one
 * before answer; what is behind the grace is late.
 *
 * Of the last RECENT_HASHES ids the content is remembered as well (32 bits of the hash): an id that comes again with other
 * content is a conflict. So is an aggregated trade of which only a part was seen. */
#include <assert.h>
#include <stdlib.h>

#include "candle/book/lane.h"

static const struct id_range no_range = {0, -1, 0, 0};

/* --- recent events without ids --- */

enum { RECENTS_MIN = 8 };

static void place(uint64_t *slots, uint32_t mask, uint64_t hash) {
    uint32_t at = (uint32_t)hash & mask;
    while (slots[at] != 0) at = (at + 1) & mask;
    slots[at] = hash;
}

static enum err recents_grow(struct recents *recents) {
    uint32_t capacity = recents->capacity == 0 ? RECENTS_MIN : recents->capacity * 2;
    if (recents->capacity == RECENTS_LIST_MAX) capacity = RECENTS_LIST_MAX * 4;
    if (capacity > RECENTS_MAX) return ERR_LIMIT;
    uint64_t *slots = calloc(capacity, sizeof *slots);
    if (slots == NULL) return ERR_NO_MEMORY;
    uint32_t used = recents_is_list(recents) ? recents->count : recents->capacity;
    for (uint32_t i = 0; i < used; i++) {
        if (recents->slots[i] == 0) continue;
        if (capacity <= RECENTS_LIST_MAX)
            slots[i] = recents->slots[i];
        else
            place(slots, capacity - 1, recents->slots[i]);
    }
    free(recents->slots);
    recents->slots = slots;
    recents->capacity = capacity;
    return ERR_OK;
}

static bool table_has(const struct recents *recents, uint64_t hash) {
    uint32_t mask = recents->capacity - 1, at = (uint32_t)hash & mask;
    while (recents->slots[at] != 0 && recents->slots[at] != hash) at = (at + 1) & mask;
    return recents->slots[at] == hash;
}

/* A set that cannot grow any more still knows its own. */
enum err recents_add(struct recents *recents, uint64_t hash, bool *ret_known) {
    if (hash == 0) hash = 1;
    if (recents_full(recents)) {
        enum err err = recents_grow(recents);
        if (err == ERR_LIMIT && table_has(recents, hash)) {
            *ret_known = true;
            return ERR_OK;
        }
        if (err) return err;
    }
    *ret_known = !recents_add_new(recents, hash);
    return ERR_OK;
}

static void recents_clear(struct recents *recents) {
    if (recents->count > 0 && !recents_is_list(recents))
        memset(recents->slots, 0, recents->capacity * sizeof recents->slots[0]);
    recents->count = 0;
    recents->filter[0] = recents->filter[1] = 0;
}

/* Stretches are as long as the grace, so whatever is within it lies in this one or the one before. */
void recents_advance(struct lane_state *lane, int64_t time_ms) {
    int64_t width = lane->grace_ms > 0 ? lane->grace_ms : 1;
    bool next = lane->recent_ms != INT64_MIN && time_ms < lane->recent_ms + 2 * width;
    lane->recent_index ^= 1;
    recents_clear(&lane->recents[lane->recent_index]);
    if (!next) recents_clear(&lane->recents[lane->recent_index ^ 1]);
    lane->recent_ms = next ? lane->recent_ms + width : time_ms - time_ms % width;
}

static enum err judge_bare(struct lane_state *lane, const struct event *e, uint64_t hash, struct verdict *v) {
    int64_t width = lane->grace_ms > 0 ? lane->grace_ms : 1;
    if (lane->recent_ms == INT64_MIN || e->time_ms >= lane->recent_ms + width) {
        recents_advance(lane, e->time_ms);
    } else if (e->time_ms < lane->max_ms - lane->grace_ms) {
        v->fate = FATE_LATE;
        return ERR_OK;
    }
    bool known = false;
    uint32_t index = e->time_ms >= lane->recent_ms ? lane->recent_index : lane->recent_index ^ 1;
    enum err err = recents_add(&lane->recents[index], hash, &known);
    if (err == ERR_LIMIT) {
        v->fate = FATE_INVALID;
        return ERR_OK;
    }
    if (err) return err;
    if (known && !PLANTED(PLANT_DEDUP_OFF)) v->fate = FATE_DUPLICATE;
    return ERR_OK;
}

/* --- the content of the last ids --- */

static uint32_t content_of(uint64_t hash) { return (uint32_t)hash == 0 ? 1 : (uint32_t)hash; }

static enum err remember(struct lane_state *lane, const struct event *e, uint64_t hash) {
    if (lane->hashes == NULL) {
        lane->hashes = calloc(RECENT_HASHES, sizeof *lane->hashes);
        if (lane->hashes == NULL) return ERR_NO_MEMORY;
    }
    int64_t id = e->last_id;
    int64_t floor = idset_max(&lane->ids) - RECENT_HASHES;
    if (floor < e->first_id - 1) floor = e->first_id - 1;
    for (; id > floor; id--) lane->hashes[id & (RECENT_HASHES - 1)] = content_of(hash);
    return ERR_OK;
}

static bool differs(const struct lane_state *lane, const struct event *e, uint64_t hash) {
    if (lane->hashes == NULL || e->last_id <= idset_max(&lane->ids) - RECENT_HASHES) return false;
    uint32_t content = lane->hashes[e->last_id & (RECENT_HASHES - 1)];
    return content != 0 && content != content_of(hash);
}

/* --- dense ids --- */

static struct idset *set_at(struct lane_state *lane, int64_t time_ms) {
    if (time_ms >= lane->epoch_start_ms) return &lane->ids;
    for (uint32_t i = 0; i < lane->epoch_count; i++)
        if (time_ms < lane->epochs[i].end_ms) return &lane->epochs[i].ids;
    return &lane->ids;
}

const struct idset *ids_at(const struct lane_state *lane, int64_t time_ms) {
    return set_at((struct lane_state *)lane, time_ms);
}

static bool begins_epoch(const struct lane_state *lane, const struct idset *set, const struct event *e) {
    if (set != &lane->ids || set->count == 0 || e->last_id >= idset_max(set)) return false;
    int64_t newest_ms = set->ranges[set->count - 1].last_ms;
    return newest_ms >= 0 && e->time_ms > newest_ms + EPOCH_MS;
}

static enum err begin_epoch(struct lane_state *lane, int64_t time_ms) {
    if (lane->epochs == NULL) {
        lane->epochs = calloc(EPOCHS_MAX, sizeof *lane->epochs);
        if (lane->epochs == NULL) return ERR_NO_MEMORY;
    }
    if (lane->epoch_count == EPOCHS_MAX) {
        idset_deinit(&lane->epochs[0].ids);
        memmove(lane->epochs, lane->epochs + 1, (EPOCHS_MAX - 1) * sizeof lane->epochs[0]);
        lane->epoch_count--;
    }
    idset_trim(&lane->ids, EPOCH_RANGES_MAX);
    lane->epochs[lane->epoch_count++] = (struct id_epoch){time_ms, lane->ids};
    idset_init(&lane->ids);
    lane->epoch_start_ms = time_ms;
    if (lane->hashes != NULL) memset(lane->hashes, 0, RECENT_HASHES * sizeof *lane->hashes);
    return ERR_OK;
}

/* Past the maximum of holes the oldest half is forgotten, and what would fall into it is late. */
/* A row that has as many trades as ids between its first and its last one has them all. */
enum err ids_learn(struct lane_state *lane, const struct candle *row) {
    struct idset *set = &lane->ids;
    const struct id_range range = {row->first_id, row->last_id, row->open_mark.time_ms, row->close_mark.time_ms};
    if (range.first < 0) return ERR_OK;
    if (row->coverage != COVERAGE_TRADED && (int64_t)row->trades != range.last - range.first + 1) set = &lane->doubtful;
    const bool again = lane->ids.count > 0 && range.last < idset_max(&lane->ids) &&
                       range.first_ms > lane->ids.ranges[lane->ids.count - 1].last_ms + EPOCH_MS;
    enum err err = again ? begin_epoch(lane, range.first_ms) : ERR_OK;
    return err == ERR_OK ? idset_merge(set, &range) : err;
}

static enum err insert(struct idset *set, const struct event *e, struct verdict *v) {
    int64_t time_ms = e->filtered ? IDSET_NO_TIME : e->time_ms;
    struct id_range range = {e->first_id, e->last_id, time_ms, time_ms};
    enum err err = idset_insert(set, &range, &v->before, &v->after);
    if (err != ERR_LIMIT) return err;
    idset_trim(set, set->count - set->count / 2);
    if (idset_forgot(set, e->first_id)) {
        v->fate = FATE_LATE;
        return ERR_OK;
    }
    return idset_insert(set, &range, &v->before, &v->after);
}

static enum err judge_dense(struct book *book, struct lane_state *lane, const struct event *e, uint64_t hash,
                            struct verdict *v) {
    struct idset *set = e->time_ms >= lane->epoch_start_ms ? &lane->ids : set_at(lane, e->time_ms);
    struct id_range end = set->count > 0 ? set->ranges[set->count - 1] : no_range;
    if (idset_append(set, e->first_id, e->last_id, e->filtered ? IDSET_NO_TIME : e->time_ms)) {
        v->before = end;
        v->appended = true;
        return set == &lane->ids ? remember(lane, e, hash) : ERR_OK;
    }
    enum idset_overlap overlap = idset_overlap(set, e->first_id, e->last_id);
    if (idset_forgot(set, e->first_id) && !begins_epoch(lane, set, e)) {
        v->fate = FATE_LATE;
        return ERR_OK;
    }
    if (overlap != IDSET_NONE) {
        v->conflict = overlap == IDSET_SOME || (set == &lane->ids && differs(lane, e, hash));
        if (!PLANTED(PLANT_DEDUP_OFF)) v->fate = FATE_DUPLICATE;
        return ERR_OK;
    }
    if (begins_epoch(lane, set, e)) {
        enum err err = begin_epoch(lane, e->time_ms);
        if (err) return err;
        set = &lane->ids;
    }
    v->inserted = true;
    v->filled = set->count > 0 && e->first_id < idset_max(set);
    v->skipped = set->count > 0 && !v->filled;
    enum err err = neighbours_before(book, lane, set, e, v);
    if (err == ERR_OK) err = insert(set, e, v);
    if (err || v->fate == FATE_LATE) return err;
    return set == &lane->ids ? remember(lane, e, hash) : ERR_OK;
}

/* --- sparse ids --- */

static enum err sparse_advance(struct lane_state *lane, int64_t bucket) {
    if (lane->epochs == NULL) {
        lane->epochs = calloc(EPOCHS_MAX, sizeof *lane->epochs);
        if (lane->epochs == NULL) return ERR_NO_MEMORY;
        lane->epoch_count = 1;
    }
    struct idset empty;
    idset_init(&empty);
    idset_deinit(&lane->epochs[0].ids);
    if (lane->sparse_bucket != INT64_MIN && bucket == lane->sparse_bucket + 1)
        lane->epochs[0].ids = lane->ids;
    else
        idset_deinit(&lane->ids);
    lane->ids = empty;
    lane->sparse_bucket = bucket;
    return ERR_OK;
}

static enum err judge_sparse(struct lane_state *lane, const struct event *e, struct verdict *v) {
    int64_t bucket = e->time_ms / SPARSE_MS;
    if (bucket > lane->sparse_bucket) {
        enum err err = sparse_advance(lane, bucket);
        if (err) return err;
    }
    if (bucket < lane->sparse_bucket - 1) {
        v->fate = FATE_LATE;
        return ERR_OK;
    }
    struct idset *set = bucket == lane->sparse_bucket ? &lane->ids : &lane->epochs[0].ids;
    if (idset_append(set, e->first_id, e->last_id, e->filtered ? IDSET_NO_TIME : e->time_ms)) return ERR_OK;
    if (idset_forgot(set, e->first_id)) {
        v->fate = FATE_LATE;
        return ERR_OK;
    }
    enum idset_overlap overlap = idset_overlap(set, e->first_id, e->last_id);
    if (overlap != IDSET_NONE) {
        v->conflict = overlap == IDSET_SOME;
        if (!PLANTED(PLANT_DEDUP_OFF)) v->fate = FATE_DUPLICATE;
        return ERR_OK;
    }
    enum err err = insert(set, e, v);
    v->before = v->after = no_range;
    return err;
}

enum err ids_judge(struct book *book, struct lane_state *lane, const struct event *e, uint64_t hash,
                   struct verdict *ret_verdict) {
    struct verdict v = {.fate = e->filtered ? FATE_FILTERED : FATE_USED, .before = no_range, .after = no_range};
    enum err err;
    size_t held = lane->ids.capacity;
    if (e->kind == EVENT_PRICE || e->first_id < 0 || lane->ids_kind == LANE_BARE) {
        held += lane->recents[0].capacity + lane->recents[1].capacity;
        err = judge_bare(lane, e, hash, &v);
        size_t now = lane->ids.capacity + lane->recents[0].capacity + lane->recents[1].capacity;
        book->bytes += (now - held) * sizeof lane->recents[0].slots[0];
    } else if (lane->ids_kind == LANE_DENSE) {
        err = judge_dense(book, lane, e, hash, &v);
        book->bytes += (lane->ids.capacity - held) * sizeof lane->ids.ranges[0];
    } else {
        err = judge_sparse(lane, e, &v);
    }
    if (err) return err;
    *ret_verdict = v;
    return ERR_OK;
}
