/* A value is copied as 64-bit words with relaxed order between two looks at its sequence number. Readers never wait for
 * the writer and the writer never for readers. */
#include "candle/latest.h"

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

enum { CHUNK_BITS = 8, CHUNK_COUNT = SERIES_COUNT_MAX >> CHUNK_BITS };
enum { WORDS = offsetof(struct latest, offset) / 8 + 1 }; /* its last member; what is behind it is padding */

struct entry {
    _Atomic(uint64_t) sequence; /* 0: never written; odd: being written */
    _Atomic(uint64_t) words[WORDS];
};
_Static_assert(sizeof(struct entry) == 128, "two cache lines");

struct latest_table {
    _Atomic(struct entry *) chunks[CHUNK_COUNT];
};

enum err latest_table_open(struct latest_table **ret_table) {
    struct latest_table *table = calloc(1, sizeof *table);
    if (table == NULL) return ERR_NO_MEMORY;
    *ret_table = table;
    return ERR_OK;
}

void latest_table_close(struct latest_table **table) {
    if (*table == NULL) return;
    for (uint32_t i = 0; i < CHUNK_COUNT; i++) free(atomic_load(&(*table)->chunks[i]));
    free(*table);
    *table = NULL;
}

/* Tasks own different series, but two of them may need the same new chunk. */
static struct entry *entry_make(struct latest_table *table, uint32_t series) {
    _Atomic(struct entry *) *chunk = &table->chunks[series >> CHUNK_BITS];
    struct entry *entries = atomic_load_explicit(chunk, memory_order_acquire);
    if (entries == NULL) {
        struct entry *fresh = aligned_alloc(64, sizeof *fresh << CHUNK_BITS);
        if (fresh == NULL) return NULL;
        memset(fresh, 0, sizeof *fresh << CHUNK_BITS);
        if (atomic_compare_exchange_strong(chunk, &entries, fresh))
            entries = fresh;
        else
            free(fresh);
    }
    return &entries[series & ((1u << CHUNK_BITS) - 1)];
}

static void entry_write(struct entry *entry, const struct latest *value) {
    uint64_t words[WORDS];
    memcpy(words, value, sizeof words);
    uint64_t sequence = atomic_load_explicit(&entry->sequence, memory_order_relaxed);
    atomic_store_explicit(&entry->sequence, sequence + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    for (uint32_t i = 0; i < WORDS; i++) atomic_store_explicit(&entry->words[i], words[i], memory_order_relaxed);
    atomic_store_explicit(&entry->sequence, sequence + 2, memory_order_release);
}

/* The owner sees its own writes, so it reads without the dance. */
static struct latest entry_peek(const struct entry *entry) {
    uint64_t words[WORDS];
    struct latest value;
    for (uint32_t i = 0; i < WORDS; i++) words[i] = atomic_load_explicit(&entry->words[i], memory_order_relaxed);
    memcpy(&value, words, sizeof words);
    return value;
}

/* What was not told comes first. */
static int compare_volumes(struct decimal a, struct decimal b) {
    if (latest_told(a) && latest_told(b)) return decimal_compare(a, b);
    return latest_told(a) - latest_told(b);
}

/* Total over values: (time, order, price, volumes). */
int latest_compare(const struct latest *a, const struct latest *b) {
    if (a->time_ms != b->time_ms) return a->time_ms < b->time_ms ? -1 : 1;
    if (a->order != b->order) return a->order < b->order ? -1 : 1;
    int c = decimal_compare(a->price, b->price);
    if (c == 0) c = compare_volumes(a->base_volume, b->base_volume);
    return c != 0 ? c : compare_volumes(a->quote_volume, b->quote_volume);
}

enum err latest_restore(struct latest_table *table, uint32_t series, const struct latest *value) {
    if (series >= SERIES_COUNT_MAX) return ERR_LIMIT;
    struct entry *entry = entry_make(table, series);
    if (entry == NULL) return ERR_NO_MEMORY;
    if (atomic_load_explicit(&entry->sequence, memory_order_relaxed) != 0) {
        struct latest old = entry_peek(entry);
        if (latest_compare(value, &old) <= 0) return ERR_OK;
    }
    entry_write(entry, value);
    return ERR_OK;
}

static struct latest latest_of(const struct event *event, int64_t offset) {
    struct latest value;
    memset(&value, 0, sizeof value);
    value.price = event_price(event);
    value.time_ms = event->time_ms;
    value.offset = offset;
    if (event->kind == EVENT_PRICE) {
        value.base_volume = event_quantity(event);
        value.quote_volume = (struct decimal){event->quote_volume, event->quote_volume_scale};
        if (event->no_quantity) value.base_volume.scale = LATEST_UNTOLD;
        if (event->no_quote_volume) value.quote_volume.scale = LATEST_UNTOLD;
    } else {
        value.order = event->last_id;
    }
    return value;
}

/* Most events that come are either clearly newer or clearly older; only equal times need the rest. */
enum err latest_offer(struct latest_table *table, const struct event *event, int64_t offset) {
    if (event->series >= SERIES_COUNT_MAX) return ERR_LIMIT;
    struct entry *entry = entry_make(table, event->series);
    if (entry == NULL) return ERR_NO_MEMORY;
    struct latest value;
    if (atomic_load_explicit(&entry->sequence, memory_order_relaxed) != 0) {
        int64_t time_ms =
            (int64_t)atomic_load_explicit(&entry->words[offsetof(struct latest, time_ms) / 8], memory_order_relaxed);
        if (event->time_ms < time_ms) return ERR_OK;
        if (event->time_ms == time_ms) {
            value = latest_of(event, offset);
            return latest_restore(table, event->series, &value);
        }
    }
    value = latest_of(event, offset);
    entry_write(entry, &value);
    return ERR_OK;
}

void latest_expect(const struct latest_table *table, uint32_t series) {
    if (series >= SERIES_COUNT_MAX) return;
    const struct entry *entries = atomic_load_explicit(&table->chunks[series >> CHUNK_BITS], memory_order_acquire);
    if (entries == NULL) return;
    const struct entry *entry = &entries[series & ((1u << CHUNK_BITS) - 1)];
    __builtin_prefetch(entry, 1);
    __builtin_prefetch((const char *)entry + 64, 1);
}

enum err latest_get(const struct latest_table *table, uint32_t series, struct latest *ret_value) {
    if (series >= SERIES_COUNT_MAX) return ERR_NOT_FOUND;
    const struct entry *entries = atomic_load_explicit(&table->chunks[series >> CHUNK_BITS], memory_order_acquire);
    if (entries == NULL) return ERR_NOT_FOUND;
    const struct entry *entry = &entries[series & ((1u << CHUNK_BITS) - 1)];
    for (;;) {
        uint64_t before = atomic_load_explicit(&entry->sequence, memory_order_acquire);
        if (before == 0) return ERR_NOT_FOUND;
        if (before & 1) continue;
        struct latest value = entry_peek(entry);
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&entry->sequence, memory_order_relaxed) != before) continue;
        *ret_value = value;
        return ERR_OK;
    }
}
