/* Numbers lie in chunks that never move; look-up goes through an open-addressing index that is replaced, not changed, when
 * it grows. A reader loads the index once and sees every entry published before; old indexes live until close, which costs
 * at most as much again as the last one. */
#include "candle/series.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/hash.h"
#include "candle/series/names.h"

enum { CHUNK_BITS = 8, CHUNK_COUNT = SERIES_COUNT_MAX >> CHUNK_BITS, INDEX_MIN = 1024, INDEX_GENERATIONS = 16 };
_Static_assert(INDEX_MIN << INDEX_GENERATIONS >= SERIES_COUNT_MAX * 2,
               "the last generation holds the maximum half full");

struct entry {
    _Atomic(bool) present;
    struct series series;
};

struct index {
    uint32_t mask;
    _Atomic(uint64_t) slots[]; /* upper half of the hash | number + 1 */
};

struct series_table {
    pthread_mutex_t lock; /* of writers */
    _Atomic(struct index *) index;
    _Atomic(uint32_t) count; /* highest number + 1 */
    uint32_t used;
    uint32_t generation;
    struct index *generations[INDEX_GENERATIONS + 1];
    _Atomic(struct entry *) chunks[CHUNK_COUNT];
};

static struct index *index_new(uint32_t capacity) {
    struct index *index = calloc(1, sizeof *index + capacity * sizeof index->slots[0]);
    if (index != NULL) index->mask = capacity - 1;
    return index;
}

enum err series_table_open(struct series_table **ret_table) {
    struct series_table *table = calloc(1, sizeof *table);
    struct index *index = index_new(INDEX_MIN);
    if (table == NULL || index == NULL) {
        free(table);
        free(index);
        return ERR_NO_MEMORY;
    }
    int failed = pthread_mutex_init(&table->lock, NULL);
    assert(!failed);
    (void)failed;
    table->generations[0] = index;
    atomic_store(&table->index, index);
    *ret_table = table;
    return ERR_OK;
}

void series_table_close(struct series_table **table) {
    struct series_table *t = *table;
    if (t == NULL) return;
    for (uint32_t i = 0; i < CHUNK_COUNT; i++) free(atomic_load(&t->chunks[i]));
    for (uint32_t i = 0; i <= t->generation; i++) free(t->generations[i]);
    pthread_mutex_destroy(&t->lock);
    free(t);
    *table = NULL;
}

uint32_t series_count(const struct series_table *table) {
    return atomic_load_explicit(&table->count, memory_order_acquire);
}

static struct entry *entry_at(const struct series_table *table, uint32_t number) {
    if (number >= SERIES_COUNT_MAX) return NULL;
    struct entry *chunk = atomic_load_explicit(&table->chunks[number >> CHUNK_BITS], memory_order_acquire);
    return chunk == NULL ? NULL : &chunk[number & ((1u << CHUNK_BITS) - 1)];
}

const struct series *series_get(const struct series_table *table, uint32_t number) {
    struct entry *entry = entry_at(table, number);
    if (entry == NULL || !atomic_load_explicit(&entry->present, memory_order_acquire)) return NULL;
    return &entry->series;
}

static uint32_t find_name(const struct series_table *table, const struct series_name *name) {
    const struct index *index = atomic_load_explicit(&table->index, memory_order_acquire);
    for (uint32_t at = (uint32_t)(name->hash >> 32) & index->mask;; at = (at + 1) & index->mask) {
        uint64_t slot = atomic_load_explicit(&index->slots[at], memory_order_acquire);
        if (slot == 0) return SERIES_NONE;
        if (slot >> 32 != name->hash >> 32) continue;
        const struct series *series = series_get(table, (uint32_t)slot - 1);
        if (series->kind == name->kind && memcmp(series->name, name->text, name->size + 1) == 0) return series->number;
    }
}

uint32_t series_find(const struct series_table *table, const struct series_key *key) {
    struct series_name name;
    if (series_name_of(key, &name) != ERR_OK) return SERIES_NONE;
    return find_name(table, &name);
}

static void place(struct index *index, uint64_t slot) {
    uint32_t at = (uint32_t)(slot >> 32) & index->mask;
    while (atomic_load_explicit(&index->slots[at], memory_order_relaxed) != 0) at = (at + 1) & index->mask;
    atomic_store_explicit(&index->slots[at], slot, memory_order_release);
}

static enum err grow(struct series_table *table) {
    struct index *old = atomic_load(&table->index);
    if (((uint64_t)table->used + 1) * 2 <= (uint64_t)old->mask + 1) return ERR_OK;
    assert(table->generation < INDEX_GENERATIONS);
    struct index *index = index_new((old->mask + 1) * 2);
    if (index == NULL) return ERR_NO_MEMORY;
    for (uint32_t at = 0; at <= old->mask; at++)
        if (atomic_load(&old->slots[at]) != 0) place(index, atomic_load(&old->slots[at]));
    table->generations[++table->generation] = index;
    atomic_store_explicit(&table->index, index, memory_order_release);
    return ERR_OK;
}

/* The entry first, then the slot that leads to it. */
static enum err add(struct series_table *table, const struct series_name *name, const struct series *series) {
    uint32_t number = series->number;
    enum err err = grow(table);
    if (err) return err;
    _Atomic(struct entry *) *chunk = &table->chunks[number >> CHUNK_BITS];
    if (atomic_load(chunk) == NULL) {
        struct entry *fresh = calloc(1u << CHUNK_BITS, sizeof *fresh);
        if (fresh == NULL) return ERR_NO_MEMORY;
        atomic_store_explicit(chunk, fresh, memory_order_release);
    }
    struct entry *entry = entry_at(table, number);
    entry->series = *series;
    series_name_bind(&entry->series);
    atomic_store_explicit(&entry->present, true, memory_order_release);
    place(atomic_load(&table->index), (name->hash & 0xffffffff00000000u) | (number + 1u));
    table->used++;
    if (number + 1 > series_count(table)) atomic_store_explicit(&table->count, number + 1, memory_order_release);
    return ERR_OK;
}

static enum err intern_locked(struct series_table *table, const struct series_key *key, const struct series_name *name,
                              uint32_t *ret_number) {
    uint32_t number = find_name(table, name);
    if (number == SERIES_NONE) {
        number = series_count(table);
        if (number >= SERIES_COUNT_MAX) return ERR_LIMIT;
        struct series series;
        enum err err = series_declare(key, name, &series);
        if (err) return err;
        series.number = number;
        err = add(table, name, &series);
        if (err) return err;
    }
    *ret_number = number;
    return ERR_OK;
}

enum err series_intern(struct series_table *table, const struct series_key *key, uint32_t *ret_number) {
    struct series_name name;
    enum err err = series_name_of(key, &name);
    if (err) return err;
    uint32_t number = find_name(table, &name);
    if (number != SERIES_NONE) {
        *ret_number = number;
        return ERR_OK;
    }
    pthread_mutex_lock(&table->lock);
    err = intern_locked(table, key, &name, ret_number);
    pthread_mutex_unlock(&table->lock);
    return err;
}

enum err series_restore(struct series_table *table, const struct series *series) {
    struct series copy = *series;
    struct series_name name;
    if (copy.number >= SERIES_COUNT_MAX || memchr(copy.name, 0, sizeof copy.name) == NULL ||
        memchr(copy.symbol, 0, sizeof copy.symbol) == NULL || !series_name_bind(&copy))
        return ERR_CORRUPT;
    struct series_key key = {copy.venue, copy.base, copy.quote, copy.kind};
    if (series_name_of(&key, &name) != ERR_OK || strcmp(name.text, copy.name) != 0) return ERR_CORRUPT;
    pthread_mutex_lock(&table->lock);
    bool taken = series_get(table, copy.number) != NULL || find_name(table, &name) != SERIES_NONE;
    enum err err = taken ? ERR_EXISTS : add(table, &name, &copy);
    pthread_mutex_unlock(&table->lock);
    return err;
}
