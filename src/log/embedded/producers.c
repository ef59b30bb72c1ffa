#include <assert.h>
#include <stdlib.h>

#include "log/embedded/embedded.h"

void producers_deinit(struct producers *producers) {
    free(producers->entries);
    *producers = (struct producers){0};
}

static struct producer *find(const struct producers *producers, int64_t id) {
    for (uint32_t i = 0; i < producers->count; i++)
        if (producers->entries[i].id == id) return &producers->entries[i];
    return NULL;
}

/* Sequences run from 0 to 2^31 - 1 and begin again. */
static uint32_t sequence_distance(int32_t from, int32_t to) { return ((uint32_t)to - (uint32_t)from) & INT32_MAX; }

static int32_t sequence_add(int32_t sequence, uint32_t count) {
    return (int32_t)(((uint32_t)sequence + count) & INT32_MAX);
}

static int64_t offset_of(const struct producer *producer, int32_t sequence) {
    for (unsigned i = 0; i < producer->history_count; i++) {
        uint32_t into = sequence_distance(producer->history[i].base_sequence, sequence);
        if (into < producer->history[i].record_count) return producer->history[i].base_offset + into;
    }
    return -1;
}

enum producer_verdict producers_check(const struct producers *producers, const struct record_batch *batch,
                                      int64_t *ret_offset, uint32_t *ret_known) {
    if (batch->producer_id < 0) return PRODUCER_NEW;
    const struct producer *producer = find(producers, batch->producer_id);
    if (producer == NULL || batch->producer_epoch > producer->epoch) return PRODUCER_NEW;
    if (batch->producer_epoch < producer->epoch) return PRODUCER_GAP;
    uint32_t count = (uint32_t)batch->last_offset_delta + 1;
    uint32_t ahead = sequence_distance(sequence_add(producer->last_sequence, 1), batch->base_sequence);
    if (ahead == 0) return PRODUCER_NEW;
    if (ahead < (1u << 30)) return PRODUCER_GAP;
    uint32_t known = sequence_distance(batch->base_sequence, producer->last_sequence) + 1;
    *ret_offset = offset_of(producer, batch->base_sequence);
    *ret_known = known;
    return known >= count ? PRODUCER_DUPLICATE : PRODUCER_OVERLAP;
}

enum err producers_reserve(struct producers *producers) {
    if (producers->entries == NULL) producers->entries = calloc(FORMAT_PRODUCERS_MAX, sizeof *producers->entries);
    return producers->entries != NULL ? ERR_OK : ERR_NO_MEMORY;
}

/* The entry of the batch's producer, moved to the front; a fresh one in the place of the last where there is none. */
static enum err take_front(struct producers *producers, int64_t id, struct producer **ret_front) {
    enum err err = producers_reserve(producers);
    if (err) return err;
    struct producer *entries = producers->entries, *found = find(producers, id);
    struct producer front = {.id = id, .epoch = -1};
    if (found != NULL) front = *found;
    if (found == NULL && producers->count < FORMAT_PRODUCERS_MAX) producers->count++;
    uint32_t at = found != NULL ? (uint32_t)(found - entries) : producers->count - 1;
    if (at > 0) memmove(entries + 1, entries, at * sizeof *entries);
    entries[0] = front;
    *ret_front = &entries[0];
    return ERR_OK;
}

enum err producers_note(struct producers *producers, const struct record_batch *batch) {
    if (batch->producer_id < 0 || batch->base_sequence < 0) return ERR_OK;
    struct producer *front;
    enum err err = take_front(producers, batch->producer_id, &front);
    if (err) return err;
    if (batch->producer_epoch != front->epoch) front->history_count = 0;
    front->epoch = batch->producer_epoch;
    uint32_t count = (uint32_t)batch->last_offset_delta + 1;
    front->last_sequence = sequence_add(batch->base_sequence, count - 1);
    unsigned kept = front->history_count < FORMAT_HISTORY ? front->history_count : FORMAT_HISTORY - 1;
    memmove(front->history + 1, front->history, kept * sizeof *front->history);
    front->history[0] = (struct producer_batch){batch->base_offset, batch->base_sequence, count};
    front->history_count = (uint16_t)(kept + 1);
    return ERR_OK;
}

/* Takes the newest batch of a producer back. Once nothing is known of it, its next batch is taken as it comes. */
static void forget_newest(struct producers *producers, struct producer *producer) {
    producer->history_count--;
    if (producer->history_count == 0) {
        producers->count--;
        memmove(producer, producer + 1, (size_t)(producers->entries + producers->count - producer) * sizeof *producer);
        return;
    }
    memmove(producer->history, producer->history + 1, producer->history_count * sizeof *producer->history);
    producer->last_sequence = sequence_add(producer->history[0].base_sequence, producer->history[0].record_count - 1);
}

void producers_cut(struct producers *producers, int64_t offset) {
    for (uint32_t i = 0; i < producers->count;) {
        struct producer *producer = &producers->entries[i];
        if (producer->history_count == 0 || producer->history[0].base_offset < offset)
            i++;
        else
            forget_newest(producers, producer);
    }
}

enum err producers_set(struct producers *producers, const struct producer *entries, uint32_t count) {
    assert(count <= FORMAT_PRODUCERS_MAX);
    producers->count = 0;
    for (uint32_t i = count; i > 0; i--) {
        struct producer *front;
        enum err err = take_front(producers, entries[i - 1].id, &front);
        if (err) return err;
        *front = entries[i - 1];
    }
    return ERR_OK;
}
