#include "log_world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const folder = "data/log";
static const char *const replaced = "data/replaced";

uint64_t world_random(struct world *world, uint64_t below) {
    world->random = world->random * 6364136223846793005u + 1442695040888963407u;
    return (world->random >> 33) % below;
}

void world_init(struct world *world, struct sim *sim, uint64_t seed) {
    *world = (struct world){.sim = sim, .random = seed * 2654435761u + 1};
    world->options = (struct log_options){.sys = sim_sys(sim),
                                          .folder = folder,
                                          .segment_bytes = 3072,
                                          .group_bytes = 1200,
                                          .reserve_bytes = 1,
                                          .allocate_bytes = 512,
                                          .record_bytes = 1024};
    world->topics[0] = (struct world_topic){.name = "a", .time_ms = 1700000000000};
    world->topics[1] = (struct world_topic){.name = "b-c", .compacted = true, .time_ms = 1700000000000};
    record_batch_builder_init(&world->builder);
}

static void forget_batches(struct world_topic *topic) {
    for (uint32_t i = 0; i < topic->batch_count; i++) {
        free(topic->batches[i]->bytes);
        free(topic->batches[i]);
    }
    free(topic->batches);
    topic->batches = NULL;
    topic->batch_count = 0;
    topic->submitted_end = topic->acked_end = topic->published_end = topic->start = topic->start_may_be = 0;
}

void world_deinit(struct world *world) {
    log_close(&world->log);
    for (uint32_t i = 0; i < WORLD_TOPICS; i++) forget_batches(&world->topics[i]);
    record_batch_builder_deinit(&world->builder);
}

static void find_partitions(struct world *world, struct log *log) {
    for (uint32_t i = 0; i < WORLD_TOPICS; i++) {
        struct world_topic *topic = &world->topics[i];
        topic->partition = NULL;
        if (topic->state != WORLD_LIVE) continue;
        enum err err = log_partition_find(log, topic->name, 0, &topic->partition);
        assert(err == ERR_OK);
    }
}

void world_open(struct world *world) {
    struct diag diag = {0};
    struct log *log;
    enum err err = log_open(&world->options, &diag, &log);
    if (err) printf("open: %s: %s\n", diag.where, diag.what);
    assert(err == ERR_OK);
    find_partitions(world, log);
    world->log = log;
}

void world_create(struct world *world, uint32_t number) {
    struct world_topic *topic = &world->topics[number];
    if (topic->state != WORLD_ABSENT) return;
    topic->state = WORLD_MAKING;
    struct log_topic_options options = {.compacted = topic->compacted, .retention_ms = topic->compacted ? 0 : 1000000};
    struct diag diag;
    enum err err = log_topic_create(world->log, topic->name, &options, &diag);
    assert(err == ERR_OK);
    topic->state = WORLD_LIVE;
    find_partitions(world, world->log);
}

/* A batch that was refused: those behind it move up. */
static void refused(struct world_batch *batch) {
    struct world_topic *topic = batch->topic;
    uint32_t at = 0;
    while (topic->batches[at] != batch) at++;
    topic->batch_count--;
    memmove(topic->batches + at, topic->batches + at + 1, (topic->batch_count - at) * sizeof(struct world_batch *));
    for (; at < topic->batch_count; at++) topic->batches[at]->base_offset -= batch->record_count;
    topic->submitted_end -= batch->record_count;
    free(batch->bytes);
    free(batch);
}

static void acked(struct log_append *append) {
    struct world_batch *batch = append->context;
    batch->tries--;
    if (append->err == ERR_NO_SPACE || append->err == ERR_CONFLICT) {
        if (batch->tries == 0 && !batch->acked) refused(batch);
        return;
    }
    assert(append->err == ERR_OK && append->base_offset == batch->base_offset);
    assert(!append->duplicate || append == &batch->retry);
    if (!batch->acked) batch->group = batch->world->group;
    batch->acked = true;
}

static void add_records(struct world *world, const struct world_topic *topic) {
    uint32_t records = 1 + (uint32_t)world_random(world, 3);
    for (uint32_t i = 0; i < records; i++) {
        uint8_t value[800];
        uint32_t size = 8 + (uint32_t)world_random(world, world_random(world, 4) == 0 ? 700 : 120);
        uint64_t number = world->random;
        for (uint32_t j = 0; j < size; j++) value[j] = (uint8_t)(number >> (j % 8 * 8)) ^ (uint8_t)j;
        char key = (char)('0' + world_random(world, WORLD_KEYS));
        struct record record = {
            .timestamp_ms = topic->time_ms, .key = slice_of(&key, 1), .value = slice_of(value, size)};
        enum err err = record_batch_add(&world->builder, &record);
        assert(err == ERR_OK);
    }
}

static struct world_batch *make_batch(struct world *world, struct world_topic *topic) {
    record_batch_begin(&world->builder, world_random(world, 4) ? RECORD_CODEC_NONE : RECORD_CODEC_LZ4);
    add_records(world, topic);
    struct world_batch *batch = calloc(1, sizeof *batch);
    assert(batch != NULL);
    const struct world_batch *last = topic->batch_count > 0 ? topic->batches[topic->batch_count - 1] : NULL;
    batch->sequence = last != NULL ? last->sequence + (int32_t)last->record_count : 0;
    record_batch_set_producer(&world->builder, 5, 0, batch->sequence);
    enum err err = record_batch_end(&world->builder);
    assert(err == ERR_OK);
    batch->size = (uint32_t)world->builder.bytes.size;
    batch->bytes = malloc(batch->size);
    assert(batch->bytes != NULL);
    memcpy(batch->bytes, world->builder.bytes.data, batch->size);
    batch->record_count = world->builder.record_count;
    batch->base_offset = topic->submitted_end;
    return batch;
}

static void submit(struct world_batch *batch, struct log_append *append) {
    *append = (struct log_append){.partition = batch->topic->partition,
                                  .batch = batch->bytes,
                                  .batch_bytes = batch->size,
                                  .record_count = batch->record_count,
                                  .done = acked,
                                  .context = batch};
    batch->tries++;
    log_submit(batch->world->log, append);
}

void world_submit(struct world *world, uint32_t number, bool twice) {
    struct world_topic *topic = &world->topics[number];
    if (topic->state != WORLD_LIVE || topic->batch_count == WORLD_BATCHES_MAX) return;
    struct world_batch *batch = make_batch(world, topic);
    batch->world = world;
    batch->topic = topic;
    topic->batches = reallocarray(topic->batches, topic->batch_count + 1, sizeof(struct world_batch *));
    assert(topic->batches != NULL);
    topic->batches[topic->batch_count++] = batch;
    topic->submitted_end += batch->record_count;
    submit(batch, &batch->append);
    if (twice) submit(batch, &batch->retry);
}

static void note_acked(struct world *world) {
    for (uint32_t i = 0; i < WORLD_TOPICS; i++) {
        struct world_topic *topic = &world->topics[i];
        for (uint32_t j = topic->batch_count; j > 0; j--) {
            const struct world_batch *batch = topic->batches[j - 1];
            int64_t end = batch->base_offset + batch->record_count;
            if (end <= topic->acked_end) break;
            if (batch->acked) topic->acked_end = end;
        }
    }
}

void world_publish(struct world *world) {
    note_acked(world);
    for (uint32_t i = 0; i < WORLD_TOPICS && world->log != NULL; i++) {
        struct world_topic *topic = &world->topics[i];
        if (topic->partition == NULL || topic->state != WORLD_LIVE) continue;
        int64_t end = log_end_offset(topic->partition);
        if (end > topic->published_end) topic->published_end = end;
    }
}

void world_step(struct world *world) {
    uint32_t appends;
    enum err err = log_step(world->log, &appends);
    assert(err == ERR_OK);
    world->group++;
    world_publish(world);
}

void world_step_full(struct world *world) {
    sim_fail(world->sim, SIM_WRITE, 1 + (uint32_t)world_random(world, 3), ERR_NO_SPACE);
    world_step(world);
    sim_fail(world->sim, SIM_WRITE, 0, ERR_OK);
}

void world_close(struct world *world) {
    struct log *log = world->log;
    world_publish(world);
    for (uint32_t i = 0; i < WORLD_TOPICS; i++) world->topics[i].partition = NULL;
    world->log = NULL;
    log_close(&log);
    note_acked(world);
}

void world_retain(struct world *world) {
    struct world_topic *topic = &world->topics[0];
    if (topic->state != WORLD_LIVE) return;
    topic->start_may_be = topic->acked_end;
    struct diag diag;
    enum err err = log_retain(world->log, topic->time_ms + 1000000 - 1, &diag);
    assert(err == ERR_OK);
    topic->start = topic->start_may_be = log_start_offset(topic->partition);
}

void world_compact(struct world *world) {
    if (world->topics[1].state != WORLD_LIVE) return;
    struct diag diag;
    enum err err = log_compact(world->log, world->topics[1].name, NULL, &diag);
    assert(err == ERR_OK);
}

static enum err note_newest(void *context, const struct record *record) {
    ((int64_t *)context)[record->key.data[0] - '0'] = record->offset;
    return ERR_OK;
}

static void find_newest(const struct world_topic *topic, int64_t end, int64_t newest[WORLD_KEYS]) {
    for (int i = 0; i < WORLD_KEYS; i++) newest[i] = -1;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    for (uint32_t i = 0; i < topic->batch_count && topic->batches[i]->base_offset < end; i++) {
        struct record_batch batch;
        enum err err = record_batch_parse(slice_of(topic->batches[i]->bytes, topic->batches[i]->size), &batch);
        assert(err == ERR_OK);
        batch.base_offset = topic->batches[i]->base_offset;
        err = record_batch_visit(&batch, &arena, note_newest, newest);
        assert(err == ERR_OK);
        arena_clear(&arena);
    }
    arena_deinit(&arena);
}

static enum log_fate fate_in_world(void *context, const struct record *record) {
    const int64_t *newest = context;
    return record->offset < newest[record->key.data[0] - '0'] ? LOG_FATE_DROP : LOG_FATE_KEEP;
}

void world_compact_guarded(struct world *world) {
    struct world_topic *topic = &world->topics[1];
    if (topic->state != WORLD_LIVE) return;
    int64_t newest[WORLD_KEYS];
    find_newest(topic, topic->acked_end, newest);
    const struct log_guard guard = {fate_in_world, newest, topic->acked_end, NULL};
    struct diag diag;
    enum err err = log_compact(world->log, topic->name, &guard, &diag);
    assert(err == ERR_OK);
}

void world_delete(struct world *world, uint32_t number) {
    struct world_topic *topic = &world->topics[number];
    if (topic->state != WORLD_LIVE || topic->acked_end != topic->submitted_end) return;
    topic->state = WORLD_DELETING;
    struct diag diag;
    enum err err = log_topic_delete(world->log, topic->name, &diag);
    assert(err == ERR_OK);
    topic->state = WORLD_ABSENT;
    topic->partition = NULL;
    forget_batches(topic);
}

static uint32_t replaced_content(uint32_t version, uint8_t content[static 2000]) {
    uint32_t size = 4 + version * 577 % 1900;
    for (uint32_t i = 0; i < size; i++) content[i] = (uint8_t)(version + i * (version | 1));
    memcpy(content, &version, 4);
    return size;
}

void world_replace(struct world *world) {
    uint8_t content[2000];
    world->replaced_tried++;
    uint32_t size = replaced_content(world->replaced_tried, content);
    struct diag diag;
    enum err err = sys_replace_file(sim_sys(world->sim), replaced, slice_of(content, size), &diag);
    assert(err == ERR_OK);
    world->replaced_acked = world->replaced_tried;
}

/* --- checking --- */

#define FAIL(world, ...) (snprintf((world)->problem, sizeof(world)->problem, __VA_ARGS__), false)

/* The batch that must be at `offset`, or NULL. */
static const struct world_batch *batch_at(const struct world_topic *topic, int64_t offset) {
    uint32_t low = 0, high = topic->batch_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (topic->batches[middle]->base_offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? topic->batches[low - 1] : NULL;
}

/* Everything of a batch but its place. */
static bool same_bytes(const struct record_batch *found, const struct world_batch *want) {
    if (want == NULL || found->size_bytes != want->size || found->base_offset != want->base_offset) return false;
    const uint8_t *bytes = found->payload.data - RECORD_BATCH_HEADER_BYTES;
    return memcmp(bytes + 16, want->bytes + 16, want->size - 16) == 0;
}

struct one_record {
    int64_t offset;
    int found;
    uint8_t value[800];
    size_t size;
};

static enum err pick_record(void *context, const struct record *record) {
    struct one_record *one = context;
    if (record->offset != one->offset) return ERR_OK;
    one->found++;
    one->size = record->value.size;
    memcpy(one->value, record->value.data, record->value.size);
    return ERR_OK;
}

struct compare {
    const struct world_topic *topic;
    int64_t newest[WORLD_KEYS];
    bool differs;
};

/* A record that compaction left must be the one that was submitted at its offset. */
static enum err compare_record(void *context, const struct record *record) {
    struct compare *compare = context;
    const struct world_batch *want = batch_at(compare->topic, record->offset);
    struct record_batch batch;
    struct one_record one = {.offset = record->offset};
    struct arena arena;
    arena_init(&arena, 1 << 20);
    compare->differs = true;
    if (want != NULL && record_batch_parse(slice_of(want->bytes, want->size), &batch) == ERR_OK) {
        batch.base_offset = want->base_offset;
        enum err err = record_batch_visit(&batch, &arena, pick_record, &one);
        compare->differs =
            err != ERR_OK || one.found != 1 || !slice_equal(record->value, slice_of(one.value, one.size));
    }
    arena_deinit(&arena);
    compare->newest[record->key.data[0] - '0'] = record->offset;
    return compare->differs ? ERR_END : ERR_OK;
}

/* Of each key, the newest record below `end` must be what was read last. */
static bool newest_is_there(const struct world_topic *topic, int64_t end, const int64_t found[WORLD_KEYS]) {
    int64_t newest[WORLD_KEYS];
    find_newest(topic, end, newest);
    return memcmp(newest, found, sizeof newest) == 0;
}

static bool check_one_batch(struct world *world, const struct world_topic *topic, const struct record_batch *batch,
                            struct compare *compare) {
    if (!topic->compacted) {
        if (same_bytes(batch, batch_at(topic, batch->base_offset))) return true;
        return FAIL(world, "topic %s: the batch at %lld is not what was appended", topic->name,
                    (long long)batch->base_offset);
    }
    struct arena arena;
    arena_init(&arena, 1 << 20);
    enum err err = record_batch_visit(batch, &arena, compare_record, compare);
    arena_deinit(&arena);
    if (err == ERR_OK && !compare->differs) return true;
    return FAIL(world, "topic %s: a record of the batch at %lld is not what was appended", topic->name,
                (long long)batch->base_offset);
}

/* Reads everything; *ret_reported says whether damage was reported on the way. */
static bool check_content(struct world *world, const struct world_topic *topic, struct log_partition *partition,
                          bool flipped, bool *ret_reported) {
    int64_t next = log_start_offset(partition), end = log_end_offset(partition);
    struct compare compare = {.topic = topic, .newest = {-1, -1, -1, -1}};
    struct log_cursor *cursor;
    struct diag diag = {0};
    if (log_cursor_open(partition, next, &diag, &cursor)) return FAIL(world, "no cursor: %s", diag.what);
    bool fine = true;
    while (fine) {
        struct record_batch batch;
        enum err err = log_cursor_next(cursor, &diag, &batch);
        if (err == ERR_END) break;
        if (err == ERR_CORRUPT && flipped) {
            *ret_reported = true;
            next = -1;
            continue;
        }
        if (err) {
            fine = FAIL(world, "topic %s: %s: %s", topic->name, diag.where, diag.what);
            break;
        }
        fine = check_one_batch(world, topic, &batch, &compare);
        if (fine && !topic->compacted && next >= 0 && batch.base_offset != next)
            fine = FAIL(world, "topic %s: a hole before %lld", topic->name, (long long)batch.base_offset);
        next = batch.base_offset + batch.last_offset_delta + 1;
    }
    log_cursor_close(&cursor);
    if (fine && !*ret_reported && next != end && !(topic->compacted && next < end))
        fine = FAIL(world, "topic %s: read to %lld of %lld", topic->name, (long long)next, (long long)end);
    if (fine && !*ret_reported && topic->compacted && !newest_is_there(topic, end, compare.newest))
        fine = FAIL(world, "topic %s: a newest record is missing", topic->name);
    return fine;
}

/* With a flipped byte, the last group may look torn (format.h, "the window"); nothing before it may go unsaid. */
static int64_t end_at_least(const struct world_topic *topic, bool flipped) {
    int64_t end = topic->acked_end > topic->published_end ? topic->acked_end : topic->published_end;
    if (!flipped || end == 0) return end;
    const struct world_batch *last = batch_at(topic, end - 1);
    for (uint32_t i = 0; i < topic->batch_count; i++)
        if (topic->batches[i]->group == last->group && topic->batches[i]->base_offset < end)
            return topic->batches[i]->base_offset;
    return end;
}

static bool check_topic(struct world *world, const struct world_topic *topic, struct log *log, bool flipped) {
    struct log_partition *partition;
    enum err err = log_partition_find(log, topic->name, 0, &partition);
    if (topic->state == WORLD_LIVE && err) return FAIL(world, "topic %s is gone", topic->name);
    if (topic->state == WORLD_ABSENT && !err) return FAIL(world, "topic %s was deleted and is there", topic->name);
    if (err) return true;
    if (topic->state == WORLD_DELETING) return true;
    int64_t start = log_start_offset(partition), end = log_end_offset(partition);
    struct log_finding damage;
    log_partition_damage(partition, &damage);
    bool reported = damage.kind != LOG_FINDING_OK;
    if (reported && !flipped) return FAIL(world, "topic %s: damage: %s: %s", topic->name, damage.file, damage.text);
    if (start < topic->start || start > topic->start_may_be)
        return FAIL(world, "topic %s: starts at %lld", topic->name, (long long)start);
    if (end < end_at_least(topic, flipped))
        return FAIL(world, "topic %s: ends at %lld, but %lld was acknowledged and %lld shown", topic->name,
                    (long long)end, (long long)topic->acked_end, (long long)topic->published_end);
    if (end > topic->submitted_end) return FAIL(world, "topic %s: ends at %lld", topic->name, (long long)end);
    const struct world_batch *last = end > 0 ? batch_at(topic, end - 1) : NULL;
    if (last != NULL && last->base_offset + last->record_count != end)
        return FAIL(world, "topic %s: ends at %lld, inside a batch", topic->name, (long long)end);
    return check_content(world, topic, partition, flipped, &reported);
}

static bool check_replaced(struct world *world, struct sim *sim) {
    uint8_t *found, want[2000];
    size_t size;
    enum err err = sys_read_file(sim_sys(sim), replaced, 4096, NULL, &found, &size);
    if (err == ERR_NOT_FOUND && world->replaced_acked == 0) return true;
    if (err) return FAIL(world, "the replaced file cannot be read");
    uint32_t version = 0;
    if (size >= 4) memcpy(&version, found, 4);
    bool fine = version >= world->replaced_acked && version <= world->replaced_tried && version > 0 &&
                size == replaced_content(version, want) && memcmp(found, want, size) == 0;
    free(found);
    return fine ? true : FAIL(world, "the replaced file is neither old nor new");
}

/* A retry of the last batch that survived must be a duplicate, and a new batch must get the next offset. */
static bool append_more(struct world *world, struct log *log, struct world_topic *topic) {
    struct log_partition *partition;
    if (topic->state != WORLD_LIVE || log_partition_find(log, topic->name, 0, &partition) != ERR_OK) return true;
    int64_t end = log_end_offset(partition);
    const struct world_batch *last = end > 0 ? batch_at(topic, end - 1) : NULL;
    if (last != NULL) {
        struct log_append retry = {.partition = partition,
                                   .batch = last->bytes,
                                   .batch_bytes = last->size,
                                   .record_count = last->record_count};
        enum err err = log_append_wait(log, &retry);
        if (err || !retry.duplicate || retry.base_offset != last->base_offset)
            return FAIL(world, "topic %s: a retry was not seen to be one (%s, %lld)", topic->name, err_name(err),
                        (long long)retry.base_offset);
    }
    struct world_batch *batch = make_batch(world, topic);
    struct log_append append = {
        .partition = partition, .batch = batch->bytes, .batch_bytes = batch->size, .record_count = batch->record_count};
    if (last != NULL || end == 0) {
        int32_t sequence = last != NULL ? last->sequence + (int32_t)last->record_count : 0;
        record_batch_set_producer(&world->builder, 5, 0, sequence);
        enum err err = record_batch_end(&world->builder);
        assert(err == ERR_OK && world->builder.bytes.size == batch->size);
        memcpy(batch->bytes, world->builder.bytes.data, batch->size);
    }
    enum err err = log_append_wait(log, &append);
    bool fine = err == ERR_OK && !append.duplicate && append.base_offset == end &&
                log_end_offset(partition) == end + batch->record_count;
    free(batch->bytes);
    free(batch);
    return fine ? true : FAIL(world, "topic %s: cannot go on: %s", topic->name, err_name(err));
}

bool world_check(struct world *world, struct sim *sim, bool more, bool flipped) {
    struct log_options options = world->options;
    options.sys = sim_sys(sim);
    struct log *log;
    struct diag diag = {0};
    world->problem[0] = '\0';
    enum err err = log_open(&options, &diag, &log);
    if (err) return FAIL(world, "the log cannot be opened: %s: %s", diag.where, diag.what);
    bool fine = check_replaced(world, sim);
    for (uint32_t i = 0; i < WORLD_TOPICS && fine; i++) fine = check_topic(world, &world->topics[i], log, flipped);
    for (uint32_t i = 0; i < WORLD_TOPICS && fine && more; i++) fine = append_more(world, log, &world->topics[i]);
    log_close(&log);
    return fine;
}
