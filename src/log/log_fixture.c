#include "log/log_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

int setup(void **state) {
    struct place *place = calloc(1, sizeof *place);
    memcpy(place->folder, "/tmp/wick-log-XXXXXX", 21);
    if (mkdtemp(place->folder) == NULL) return 1;
    place->options = (struct log_options){.sys = sys_real(),
                                          .folder = place->folder,
                                          .segment_bytes = 64 * 1024,
                                          .group_bytes = 16 * 1024,
                                          .reserve_bytes = 4096,
                                          .allocate_bytes = 16 * 1024,
                                          .record_bytes = 32 * 1024};
    place->now_ms = 1700000000000;
    record_batch_builder_init(&place->builder);
    *state = place;
    return 0;
}

static enum err remove_entry(void *context, const struct sys_entry *entry) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", (const char *)context, entry->name);
    if (entry->folder) (void)!sys_real()->disk_ops->list(NULL, path, remove_entry, path);
    return sys_real()->disk_ops->unlink(NULL, path);
}

void remove_folder(char *path) {
    (void)!sys_real()->disk_ops->list(NULL, path, remove_entry, path);
    (void)!sys_real()->disk_ops->unlink(NULL, path);
}

int teardown(void **state) {
    struct place *place = *state;
    record_batch_builder_deinit(&place->builder);
    remove_folder(place->folder);
    free(place);
    return 0;
}

struct log *open_log(struct place *place) {
    struct log *log;
    struct diag diag = {0};
    enum err err = log_open(&place->options, &diag, &log);
    if (err) print_message("%s: %s\n", diag.where, diag.what);
    assert_int_equal(err, ERR_OK);
    return log;
}

struct log_partition *topic_of(struct log *log, const char *name, struct log_topic_options options) {
    struct diag diag = {0};
    enum err err = log_topic_create(log, name, &options, &diag);
    assert_true(err == ERR_OK || err == ERR_EXISTS);
    struct log_partition *partition;
    assert_int_equal(log_partition_find(log, name, 0, &partition), ERR_OK);
    return partition;
}

void make_batch(struct place *place, const char *key, int first, int count) {
    record_batch_begin(&place->builder, RECORD_CODEC_NONE);
    for (int i = 0; i < count; i++) {
        char value[64];
        int size = snprintf(value, sizeof value, "value %d of a record that is not so short", first + i);
        struct record record = {.timestamp_ms = place->now_ms,
                                .key = key ? slice_text(key) : SLICE_NONE,
                                .value = slice_of(value, (size_t)size)};
        assert_int_equal(record_batch_add(&place->builder, &record), ERR_OK);
    }
}

enum err submit(struct place *place, struct log *log, struct log_partition *partition, struct log_append *append) {
    *append = (struct log_append){.partition = partition, .record_count = place->builder.record_count};
    assert_int_equal(record_batch_end(&place->builder), ERR_OK);
    append->batch = place->builder.bytes.data;
    append->batch_bytes = (uint32_t)place->builder.bytes.size;
    return log_append_wait(log, append);
}

int64_t append(struct place *place, struct log *log, struct log_partition *partition, int first, int count) {
    struct log_append append;
    make_batch(place, NULL, first, count);
    assert_int_equal(submit(place, log, partition, &append), ERR_OK);
    return append.base_offset;
}

static enum err check_value(void *context, const struct record *record) {
    struct reading *reading = context;
    char value[64];
    int size = snprintf(value, sizeof value, "value %d of a record that is not so short", (int)record->offset);
    assert_int_equal(record->offset, reading->next++);
    assert_true(slice_equal(record->value, slice_of(value, (size_t)size)));
    return ERR_OK;
}

struct reading read_all(struct log_partition *partition, int64_t from) {
    struct log_cursor *cursor;
    struct diag diag = {0};
    assert_int_equal(log_cursor_open(partition, from, &diag, &cursor), ERR_OK);
    struct reading reading = {.next = -1};
    for (;;) {
        struct record_batch batch;
        enum err err = log_cursor_next(cursor, &diag, &batch);
        if (err == ERR_END) break;
        if (err == ERR_CORRUPT) {
            reading.errors++;
            reading.next = -1;
            continue;
        }
        assert_int_equal(err, ERR_OK);
        if (reading.next < 0) reading.next = batch.base_offset;
        assert_int_equal(record_batch_visit(&batch, NULL, check_value, &reading), ERR_OK);
    }
    log_cursor_close(&cursor);
    return reading;
}

static enum err collect(void *context, const struct log_finding *finding) {
    struct findings *findings = context;
    int *counts[] = {&findings->ok, &findings->torn, &findings->rot, &findings->index, &findings->foreign};
    (*counts[finding->kind])++;
    if (finding->kind != LOG_FINDING_OK) findings->last = *finding;
    return ERR_OK;
}

struct findings fsck(struct place *place) {
    struct findings findings = {0};
    struct diag diag;
    enum err err = log_fsck(&place->options, collect, &findings, &diag);
    assert_true(err == ERR_OK || findings.foreign > 0);
    return findings;
}
