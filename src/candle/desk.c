#include "candle/desk.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum { DESK_ENTRIES_MAX = 256 };

struct entry {
    enum series_kind kind;
    char venue[32];
    struct task *task;
    struct processor *processor;
};

struct candle_desk {
    struct entry entries[DESK_ENTRIES_MAX];
    _Atomic uint32_t count; /* grows last: others look while a task is added */
};

enum err candle_desk_open(struct candle_desk **ret_desk) {
    struct candle_desk *desk = calloc(1, sizeof *desk);
    if (desk == NULL) return ERR_NO_MEMORY;
    *ret_desk = desk;
    return ERR_OK;
}

void candle_desk_close(struct candle_desk **desk) {
    free(*desk);
    *desk = NULL;
}

enum err candle_desk_add(struct candle_desk *desk, enum series_kind kind, const char *venue, struct task *task,
                         struct processor *processor) {
    if (desk->count == DESK_ENTRIES_MAX) return ERR_LIMIT;
    struct entry *entry = &desk->entries[desk->count];
    *entry = (struct entry){.kind = kind, .task = task, .processor = processor};
    snprintf(entry->venue, sizeof entry->venue, "%s", venue);
    desk->count++;
    return ERR_OK;
}

/* A topic's partitions are neighbours in the list, in order. */
static uint32_t find_topic(const struct candle_desk *desk, enum series_kind kind, struct slice venue,
                           uint32_t *ret_first) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < desk->count; i++) {
        const struct entry *entry = &desk->entries[i];
        if (entry->kind != kind || !slice_equal_nocase(slice_text(entry->venue), venue)) continue;
        if (count++ == 0) *ret_first = i;
    }
    return count;
}

/* The record key of a series is its name for prices and its venue's symbol for trades. */
struct task *candle_desk_task(const struct candle_desk *desk, const struct series *series) {
    uint32_t first = 0, count = find_topic(desk, series->kind, series->venue, &first);
    if (count == 0) count = find_topic(desk, series->kind, SLICE(""), &first);
    if (count == 0) return NULL;
    struct slice key = slice_text(series->kind == SERIES_PRICE ? series->name : series->symbol);
    return desk->entries[first + log_partition_for_key(key, count)].task;
}

uint32_t candle_desk_count(const struct candle_desk *desk) { return desk->count; }

struct task *candle_desk_task_at(const struct candle_desk *desk, uint32_t index, struct processor **ret_processor) {
    assert(index < desk->count);
    *ret_processor = desk->entries[index].processor;
    return desk->entries[index].task;
}
