/* Appends of sealed blocks: records are gathered into batches of about SHELF_BATCH_BYTES a tier, submitted as they fill,
 * and waited for at the flush, which then knows their offsets. At most SHELF_IN_FLIGHT_BYTES are unsynced at a time. What the
 * log had no room for stays, with all that belongs to it, and goes there again, in order, with the next flush. */
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/hash.h"
#include "candle/shelf/parts.h"
#include "sys/phase.h"

enum {
    INDEX_ROWS_MAX = 1 << 22,
    PENDING_BYTES_MAX = 512 * 1024 * 1024,
    LANES_MAX = 1 << 22,
    WAITS_MAX = 600000,
    HELD_BYTES_MAX = 64 * 1024 * 1024, /* that the log had no room for */
    MAGIC = 0x7365616c
};

struct shipment {
    struct log_append append;
    uint32_t magic;
    struct shipment *next; /* in the order of submission */
    struct record_batch_builder builder;
    bool sent;         /* submitted, and not known to have failed */
    _Atomic bool done; /* with the log no more */
};

struct index_row {
    struct shipment *shipment;
    struct lane lane;
    int tier;
    uint32_t place; /* of the record in its batch */
    struct location location;
};

struct touched {
    struct lane lane;
    int64_t until_ms[TIER_COUNT];
};

struct shelf_sealing {
    struct shipment *open[TIER_COUNT]; /* being filled */
    struct shipment *first, *last;     /* full, in the order in which they go */
    struct shipment *unsent;           /* the first in line that is not sent */
    size_t in_flight_bytes;
    _Atomic bool gaps[TIER_COUNT]; /* of the log's appends: one has failed */
    struct index_row *rows;
    uint32_t row_count, row_capacity;
    struct touched *touched;
    uint32_t touched_count, touched_capacity;
    struct hash_index touched_index;
    struct store_batch pending;
    struct shelf_pack scratch;
};

enum err shelf_sealing_open(struct shelf_sealing **ret_sealing) {
    struct shelf_sealing *sealing = calloc(1, sizeof *sealing);
    if (sealing == NULL) return ERR_NO_MEMORY;
    store_batch_init(&sealing->pending, PENDING_BYTES_MAX);
    shelf_pack_init(&sealing->scratch);
    hash_index_init(&sealing->touched_index, LANES_MAX);
    *ret_sealing = sealing;
    return ERR_OK;
}

struct store_batch *shelf_pending(struct shelf *shelf) {
    return &shelf->sealing->pending;
}

struct shelf_pack *shelf_scratch(struct shelf *shelf) {
    return &shelf->sealing->scratch;
}

/* --- lanes sealed since the last flush --- */

static uint64_t lane_hash(struct lane lane) {
    return ((uint64_t)lane.series << 8 | lane.basis) * UINT64_C(0x9e3779b97f4a7c15);
}

static bool lane_equal(const void *context, uint32_t i, const void *key) {
    const struct touched *touched = context;
    const struct lane *lane = key;
    return touched[i].lane.series == lane->series && touched[i].lane.basis == lane->basis;
}

static uint32_t touched_find(const struct shelf_sealing *s, struct lane lane) {
    return hash_index_find(&s->touched_index, lane_hash(lane), lane_equal, s->touched, &lane);
}

int64_t shelf_touched(const struct shelf *shelf, struct lane lane, int tier) {
    uint32_t i = touched_find(shelf->sealing, lane);
    return i == UINT32_MAX ? INT64_MIN : shelf->sealing->touched[i].until_ms[tier];
}

/* Room for one more in an array that doubles. */
static bool grow(void **array, uint32_t *capacity, uint32_t count, size_t size, uint32_t max) {
    if (count < *capacity) return true;
    uint32_t more = *capacity == 0 ? 64 : *capacity * 2;
    if (more > max) return false;
    void *grown = realloc(*array, more * size);
    if (grown == NULL) return false;
    *array = grown;
    *capacity = more;
    return true;
}

enum err shelf_touch(struct shelf *shelf, struct lane lane, int tier, int64_t until_ms) {
    struct shelf_sealing *s = shelf->sealing;
    uint32_t i = touched_find(s, lane);
    if (i != UINT32_MAX) {
        s->touched[i].until_ms[tier] = until_ms;
        return ERR_OK;
    }
    if (!grow((void **)&s->touched, &s->touched_capacity, s->touched_count, sizeof *s->touched, LANES_MAX))
        return ERR_NO_MEMORY;
    enum err err = hash_index_add(&s->touched_index, lane_hash(lane), s->touched_count);
    if (err != ERR_OK) return err;
    struct touched *touched = &s->touched[s->touched_count++];
    *touched = (struct touched){lane, {INT64_MIN, INT64_MIN, INT64_MIN}};
    touched->until_ms[tier] = until_ms;
    return ERR_OK;
}

/* --- shipments --- */

static void shipment_done(struct log_append *append) {
    struct shipment *shipment = append->context;
    assert(shipment->magic == MAGIC);
    atomic_store(&shipment->done, true);
}

static enum err shipment_open(struct shelf_sealing *s, int tier) {
    struct shipment *shipment = calloc(1, sizeof *shipment);
    if (shipment == NULL) return ERR_NO_MEMORY;
    shipment->magic = MAGIC;
    record_batch_builder_init(&shipment->builder);
    record_batch_begin(&shipment->builder, RECORD_CODEC_NONE);
    s->open[tier] = shipment;
    return ERR_OK;
}

static void shipment_free(struct shipment *shipment) {
    if (shipment == NULL) return;
    shipment->magic = 0;
    record_batch_builder_deinit(&shipment->builder);
    free(shipment);
}

/* The open batch of a tier stands in line. */
static enum err line_up(struct shelf *shelf, int tier) {
    struct shelf_sealing *s = shelf->sealing;
    struct shipment *shipment = s->open[tier];
    enum err err = record_batch_end(&shipment->builder);
    if (err != ERR_OK) return err;
    shipment->append.partition = shelf->tiers[tier].partition;
    shipment->append.gap = &s->gaps[tier];
    s->open[tier] = NULL;
    *(s->last == NULL ? &s->first : &s->last->next) = shipment;
    s->last = shipment;
    if (s->unsent == NULL) s->unsent = shipment;
    return ERR_OK;
}

/* Submits what stands in line. With `wait` the last of it is on disk (or has failed) on return, and so is all before it. */
static void send_line(struct shelf *shelf, bool wait) {
    struct shelf_sealing *s = shelf->sealing;
    struct shipment *last = NULL;
    for (struct shipment *at = s->unsent; at != NULL; at = at->next)
        if (!at->sent) last = at;
    for (struct shipment *at = s->unsent; at != NULL; at = at->next) {
        if (at->sent) continue;
        struct slice bytes = buf_slice(&at->builder.bytes);
        at->append = (struct log_append){.partition = at->append.partition,
                                         .batch = at->builder.bytes.data,
                                         .batch_bytes = (uint32_t)bytes.size,
                                         .record_count = at->builder.record_count,
                                         .done = shipment_done,
                                         .context = at,
                                         .gap = at->append.gap};
        atomic_store(&at->done, false);
        at->sent = true;
        s->in_flight_bytes += bytes.size;
        if (!wait || at != last) {
            log_submit(shelf->options.log, &at->append);
            continue;
        }
        (void)!log_append_wait(shelf->options.log, &at->append);
        atomic_store(&at->done, true);
    }
    s->unsent = NULL;
}

/* Groups are committed in order, and the completions of the last one come within moments of the one that was waited for. */
static enum err wait_for_line(const struct shelf_sealing *s) {
    struct sys_bell bell = {0};
    enum err err = ERR_OK;
    for (struct shipment *at = s->first; at != NULL; at = at->next) {
        for (int waits = 0; at->sent && !atomic_load(&at->done); waits++) {
            assert(waits < WAITS_MAX);
            sys_bell_wait(&bell, 1);
        }
        if (err == ERR_OK) err = at->append.err;
    }
    return err;
}

/* Where one has failed, it and those behind it stand in line again. */
static void line_up_failed(struct shelf_sealing *s) {
    bool failed = false;
    for (int tier = 0; tier < TIER_COUNT; tier++) failed |= atomic_load(&s->gaps[tier]);
    if (!failed) return;
    (void)!wait_for_line(s);
    for (int tier = 0; tier < TIER_COUNT; tier++) atomic_store(&s->gaps[tier], false);
    s->unsent = NULL;
    for (struct shipment *at = s->first; at != NULL; at = at->next) {
        if (at->append.err != ERR_OK) at->sent = false;
        if (!at->sent && s->unsent == NULL) s->unsent = at;
    }
}

/* On return everything in line is on disk, or the first that is not says why. */
static enum err deliver(struct shelf *shelf) {
    struct shelf_sealing *s = shelf->sealing;
    line_up_failed(s);
    send_line(shelf, true);
    enum err err = wait_for_line(s);
    s->in_flight_bytes = 0;
    return err;
}

/* The bytes of what is on disk are not needed any more; its offsets are. Answers how many are. */
static size_t release_bytes(struct shelf_sealing *s) {
    size_t held = 0;
    for (struct shipment *at = s->first; at != NULL; at = at->next) {
        if (!at->sent || !atomic_load(&at->done) || at->append.err != ERR_OK)
            held += at->builder.bytes.size;
        else if (at->builder.bytes.data != NULL)
            record_batch_builder_deinit(&at->builder);
    }
    return held;
}

/* Only a batch that another one follows: a tier with anything in flight then has one to wait for. */
static enum err ship_full(struct shelf *shelf, int tier) {
    struct shelf_sealing *s = shelf->sealing;
    if (s->open[tier] == NULL || s->open[tier]->builder.bytes.size < SHELF_BATCH_BYTES) return ERR_OK;
    enum err err = line_up(shelf, tier);
    if (err != ERR_OK) return err;
    if (s->in_flight_bytes <= SHELF_IN_FLIGHT_BYTES) {
        send_line(shelf, false);
        return ERR_OK;
    }
    err = deliver(shelf);
    size_t held = release_bytes(s);
    return err_class(err) == ERR_CLASS_RESOURCE && held <= HELD_BYTES_MAX ? ERR_OK : err;
}

static enum err append_record(struct shelf *shelf, struct lane lane, int tier, struct slice value,
                              const struct location *location) {
    char key[SHELF_RECORD_KEY_MAX];
    size_t key_size = shelf_record_key(shelf, lane, location->period_start_ms, key);
    uint32_t version = location->version;
    const struct sys *sys = shelf->options.sys;
    const struct record_header headers[] = {{SLICE("version"), slice_of(&version, sizeof version)},
                                            {SLICE("origin"), slice_of(&shelf->origin, sizeof shelf->origin)}};
    const struct record record = {.timestamp_ms = sys != NULL ? sys_wall_ms(sys) : location->last_ms,
                                  .key = slice_of(key, key_size),
                                  .value = value,
                                  .headers = headers,
                                  .header_count = value.data == NULL   ? 0
                                                  : shelf->origin != 0 ? 2
                                                                       : 1};
    return record_batch_add(&shelf->sealing->open[tier]->builder, &record);
}

enum err shelf_append(struct shelf *shelf, struct lane lane, int tier, struct slice value,
                      const struct location *location, struct diag *diag) {
    struct shelf_sealing *s = shelf->sealing;
    if (shelf->tiers[tier].partition == NULL) return diag_set(diag, ERR_STATE, "the log was opened for reading only");
    if (!grow((void **)&s->rows, &s->row_capacity, s->row_count, sizeof *s->rows, INDEX_ROWS_MAX))
        return diag_set(diag, ERR_LIMIT, "too many sealed periods between two flushes");
    enum err err = ship_full(shelf, tier);
    if (err != ERR_OK) return diag_set(diag, err, "cannot append to %s", shelf->tiers[tier].topic);
    if (s->open[tier] == NULL) err = shipment_open(s, tier);
    if (err == ERR_OK) err = append_record(shelf, lane, tier, value, location);
    if (err != ERR_OK) return diag_set(diag, err, "cannot add a block to %s", shelf->tiers[tier].topic);
    struct shipment *shipment = s->open[tier];
    uint32_t place = shipment->builder.record_count - 1;
    if (value.data != NULL) s->rows[s->row_count++] = (struct index_row){shipment, lane, tier, place, *location};
    return ERR_OK;
}

/* --- flush --- */

static enum err ship_all(struct shelf *shelf) {
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        enum err err = shelf->sealing->open[tier] != NULL ? line_up(shelf, tier) : ERR_OK;
        if (err != ERR_OK) return err;
    }
    return deliver(shelf);
}

static enum err copy_write(void *context, const struct store_key *key, struct slice value) {
    if (value.data == NULL)
        store_batch_delete(context, key);
    else
        store_batch_put(context, key, value);
    return ERR_OK;
}

static void forget(struct shelf_sealing *s) {
    while (s->first != NULL) {
        struct shipment *next = s->first->next;
        assert(!s->first->sent || atomic_load(&s->first->done));
        shipment_free(s->first);
        s->first = next;
    }
    s->last = s->unsent = NULL;
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        shipment_free(s->open[tier]);
        s->open[tier] = NULL;
    }
    for (int tier = 0; tier < TIER_COUNT; tier++) atomic_store(&s->gaps[tier], false);
    s->in_flight_bytes = 0;
    s->row_count = 0;
    s->touched_count = 0;
    hash_index_clear(&s->touched_index);
    store_batch_clear(&s->pending);
}

enum err shelf_flush(struct shelf *shelf, struct store_batch *batch, struct diag *diag) {
    struct shelf_sealing *s = shelf->sealing;
    assert(shelf_load_is_idle(shelf));
    bool sealed = s->row_count > 0;
    if (sealed) phase_begin(PHASE_SEAL);
    enum err err = ship_all(shelf);
    if (sealed) phase_end(PHASE_SEAL);
    if (err != ERR_OK) diag_set(diag, err, "sealed candles did not reach the log: %s", err_message(err));
    if (err == ERR_OK) err = shelf_later_flush(shelf, batch); /* before the deletions of what was sealed */
    if (err == ERR_OK) err = store_batch_visit(&s->pending, copy_write, batch);
    for (uint32_t i = 0; i < s->row_count && err == ERR_OK; i++) {
        struct index_row *row = &s->rows[i];
        struct shelf_key key;
        row->location.offset = row->shipment->append.base_offset + row->place;
        shelf_key_lane(shelf, row->lane, row->tier, &key);
        shelf_location_put(batch, &key, &row->location);
    }
    if (err == ERR_OK) err = store_batch_err(batch);
    if (err != ERR_OK) return err;
    shelf->expiring = false;
    forget(s);
    return ERR_OK;
}

static bool is_in_flight(const struct shelf_sealing *s) {
    for (const struct shipment *at = s->first; at != NULL; at = at->next)
        if (at->sent && !atomic_load(&at->done)) return true;
    return false;
}

void shelf_sealing_close(struct shelf *shelf) {
    struct shelf_sealing *s = shelf->sealing;
    if (s == NULL) return;
    if (is_in_flight(s)) (void)!ship_all(shelf); /* the log still has our bytes; nobody waits for the outcome */
    forget(s);
    store_batch_deinit(&s->pending);
    shelf_pack_deinit(&s->scratch);
    hash_index_deinit(&s->touched_index);
    free(s->rows);
    free(s->touched);
    free(s);
    shelf->sealing = NULL;
}
