/* Every batch of every topic is read again now and then, so that what the disk has spoiled is known before somebody needs it.
 * A cursor that meets damage notes it at its partition, from where /metrics tells it; nothing else is done here. Slowly:
 * a step reads SCRUB_STEP_BYTES. What lies in the page cache is read from there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"

enum { SCRUB_STEP_BYTES = 2 * 1024 * 1024, FIRST_MS = 60 * 1000 };

struct scrub {
    const struct engine_parts *parts;
    int64_t every_ms, next_ms; /* of its rounds; the present one, or the next, begins */
    char topic[LOG_TOPIC_NAME_MAX + 1];
    uint32_t partition;
    struct log_cursor *cursor; /* of that partition; NULL between two */
    bool under_way;
};

struct scrub *scrub_open(const struct engine_parts *parts, int64_t every_ms, int64_t now_ms) {
    struct scrub *scrub = calloc(1, sizeof *scrub);
    if (scrub == NULL) return NULL;
    scrub->parts = parts;
    scrub->every_ms = every_ms;
    scrub->next_ms = every_ms == INT64_MAX ? INT64_MAX : now_ms + (every_ms < FIRST_MS ? every_ms : FIRST_MS);
    return scrub;
}

/* --- from partition to partition, by the names of their topics --- */

struct search {
    const struct scrub *scrub;
    char topic[LOG_TOPIC_NAME_MAX + 1];
    uint32_t partition;
    bool found;
};

static enum err visit_topic(void *context, const struct log_topic_info *info) {
    struct search *s = context;
    const struct scrub *scrub = s->scrub;
    const int order = strcmp(info->name, scrub->topic);
    const uint32_t next = order == 0 ? scrub->partition + 1 : 0;
    if (order < 0 || next >= info->options.partition_count) return ERR_OK;
    if (s->found && strcmp(s->topic, info->name) < 0) return ERR_OK;
    snprintf(s->topic, sizeof s->topic, "%s", info->name);
    s->partition = next;
    s->found = true;
    return ERR_OK;
}

/* False: that was the last. */
static bool enter_next(struct scrub *scrub) {
    struct search search = {.scrub = scrub};
    struct log *log = scrub->parts->log;
    struct log_partition *partition;
    if (log_topic_visit(log, visit_topic, &search) != ERR_OK || !search.found) return false;
    memcpy(scrub->topic, search.topic, sizeof scrub->topic);
    scrub->partition = search.partition;
    if (log_partition_find(log, scrub->topic, scrub->partition, &partition) != ERR_OK) return true; /* just deleted */
    (void)!log_cursor_open(partition, log_start_offset(partition), NULL, &scrub->cursor); /* or the next round */
    return true;
}

/* --- reading --- */

/* ERR_END: the partition is through. */
static enum err read_some(struct scrub *scrub, uint64_t *bytes) {
    struct record_batch batch;
    while (*bytes < SCRUB_STEP_BYTES) {
        enum err err = log_cursor_next(scrub->cursor, NULL, &batch);
        *bytes += err == ERR_OK ? batch.size_bytes : SCRUB_STEP_BYTES / 64;
        if (err != ERR_OK && err != ERR_CORRUPT && err != ERR_RANGE)
            return ERR_END; /* at the end, or not readable now: the next round */
    }
    return ERR_OK;
}

void scrub_step(struct scrub *scrub, int64_t now_ms) {
    if (scrub == NULL || now_ms < scrub->next_ms) return;
    if (!scrub->under_way) {
        scrub->under_way = true;
        scrub->topic[0] = '\0';
    }
    for (uint64_t bytes = 0; bytes < SCRUB_STEP_BYTES;) {
        if (scrub->cursor == NULL && !enter_next(scrub)) {
            scrub->under_way = false;
            scrub->next_ms += scrub->every_ms;
            if (scrub->next_ms < now_ms) scrub->next_ms = now_ms;
            return;
        }
        if (scrub->cursor != NULL && read_some(scrub, &bytes) == ERR_END) log_cursor_close(&scrub->cursor);
    }
}

void scrub_close(struct scrub **scrub) {
    if (*scrub == NULL) return;
    log_cursor_close(&(*scrub)->cursor);
    free(*scrub);
    *scrub = NULL;
}
