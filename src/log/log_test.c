#include "log/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
    char folder[64];
    struct log_options options;
    struct record_batch_builder builder;
    int64_t now_ms;
};

static int setup(void **state) {
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

static int teardown(void **state) {
    struct place *place = *state;
    record_batch_builder_deinit(&place->builder);
    (void)!sys_real()->disk_ops->list(NULL, place->folder, remove_entry, place->folder);
    (void)!sys_real()->disk_ops->unlink(NULL, place->folder);
    free(place);
    return 0;
}

static struct log *open_log(struct place *place) {
    struct log *log;
    struct diag diag = {0};
    enum err err = log_open(&place->options, &diag, &log);
    if (err) print_message("%s: %s\n", diag.where, diag.what);
    assert_int_equal(err, ERR_OK);
    return log;
}

static struct log_partition *topic_of(struct log *log, const char *name, struct log_topic_options options) {
    struct diag diag = {0};
    enum err err = log_topic_create(log, name, &options, &diag);
    assert_true(err == ERR_OK || err == ERR_EXISTS);
    struct log_partition *partition;
    assert_int_equal(log_partition_find(log, name, 0, &partition), ERR_OK);
    return partition;
}

/* One batch of `count` records "<key><number>", numbered from `first`. */
static void make_batch(struct place *place, const char *key, int first, int count) {
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

static enum err submit(struct place *place, struct log *log, struct log_partition *partition,
                       struct log_append *append) {
    *append = (struct log_append){.partition = partition, .record_count = place->builder.record_count};
    assert_int_equal(record_batch_end(&place->builder), ERR_OK);
    append->batch = place->builder.bytes.data;
    append->batch_bytes = (uint32_t)place->builder.bytes.size;
    return log_append_wait(log, append);
}

static int64_t append(struct place *place, struct log *log, struct log_partition *partition, int first, int count) {
    struct log_append append;
    make_batch(place, NULL, first, count);
    assert_int_equal(submit(place, log, partition, &append), ERR_OK);
    return append.base_offset;
}

struct reading {
    int64_t next;
    int errors;
};

static enum err check_value(void *context, const struct record *record) {
    struct reading *reading = context;
    char value[64];
    int size = snprintf(value, sizeof value, "value %d of a record that is not so short", (int)record->offset);
    assert_int_equal(record->offset, reading->next++);
    assert_true(slice_equal(record->value, slice_of(value, (size_t)size)));
    return ERR_OK;
}

/* Reads from `from` to the end, where values are numbered as offsets; damage is passed over. */
static struct reading read_all(struct log_partition *partition, int64_t from) {
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

static void test_what_is_appended_is_read_over_segments_and_restarts(void **state) {
    struct place *place = *state;
    struct log *log = open_log(place);
    struct log_partition *p = topic_of(log, "prices", (struct log_topic_options){0});
    int n = 0;
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 200; i++) {
            assert_int_equal(append(place, log, p, n, 1 + i % 7), n);
            n += 1 + i % 7;
        }
        assert_int_equal(log_end_offset(p), n);
        assert_int_equal(read_all(p, 0).next, n);
        log_close(&log);
        log = open_log(place);
        p = topic_of(log, "prices", (struct log_topic_options){0});
        assert_int_equal(log_end_offset(p), n);
    }
    for (int from = 0; from < n; from += 97) assert_int_equal(read_all(p, from).next, n);
    struct log_cursor *cursor;
    assert_int_equal(log_cursor_open(p, n + 1, NULL, &cursor), ERR_RANGE);
    log_close(&log);
}

static void test_a_second_writer_is_refused(void **state) {
    struct place *place = *state;
    struct log *log = open_log(place), *other;
    struct diag diag = {0};
    assert_int_equal(log_open(&place->options, &diag, &other), ERR_LOCKED);
    log_close(&log);
    log = open_log(place);
    log_close(&log);
}

static void test_topics_are_made_listed_and_deleted(void **state) {
    struct place *place = *state;
    struct log *log = open_log(place);
    struct diag diag = {0};
    struct log_topic_options options = {.partition_count = 3, .compacted = true, .retention_ms = 5};
    assert_int_equal(log_topic_create(log, "a-b", &options, &diag), ERR_OK);
    assert_int_equal(log_topic_create(log, "a-b", &options, &diag), ERR_EXISTS);
    assert_int_equal(log_topic_create(log, "no/slash", &options, &diag), ERR_USAGE);
    assert_int_equal(log_topic_create(log, "..", &options, &diag), ERR_USAGE);
    char name[LOG_TOPIC_NAME_MAX + 2];
    memset(name, 'x', sizeof name);
    name[LOG_TOPIC_NAME_MAX + 1] = '\0';
    assert_int_equal(log_topic_create(log, name, &options, &diag), ERR_USAGE);
    name[LOG_TOPIC_NAME_MAX] = '\0';
    assert_int_equal(log_topic_create(log, name, &options, &diag), ERR_OK);
    struct log_partition *p;
    assert_int_equal(log_partition_find(log, "a-b", 2, &p), ERR_OK);
    assert_int_equal(log_partition_find(log, "a-b", 3, &p), ERR_NOT_FOUND);
    log_close(&log);
    log = open_log(place);
    assert_int_equal(log_partition_find(log, name, 2, &p), ERR_OK);
    assert_int_equal(log_topic_delete(log, "a-b", &diag), ERR_OK);
    assert_int_equal(log_topic_delete(log, "a-b", &diag), ERR_NOT_FOUND);
    assert_int_equal(log_partition_find(log, "a-b", 0, &p), ERR_NOT_FOUND);
    assert_int_equal(log_topic_create(log, "a-b", &options, &diag), ERR_OK);
    assert_int_equal(log_partition_find(log, "a-b", 0, &p), ERR_OK);
    assert_int_equal(log_end_offset(p), 0);
    log_close(&log);
}

static void test_a_repeated_sequence_is_written_once(void **state) {
    struct place *place = *state;
    struct log *log = open_log(place);
    struct log_partition *p = topic_of(log, "out", (struct log_topic_options){0});
    struct log_append a;
    for (int i = 0; i < 3; i++) {
        make_batch(place, NULL, i * 4, 4);
        record_batch_set_producer(&place->builder, 77, 0, i * 4);
        assert_int_equal(submit(place, log, p, &a), ERR_OK);
        assert_false(a.duplicate);
    }
    for (int restart = 0; restart < 2; restart++) {
        make_batch(place, NULL, 8, 4);
        record_batch_set_producer(&place->builder, 77, 0, 8);
        assert_int_equal(submit(place, log, p, &a), ERR_OK);
        assert_true(a.duplicate);
        assert_int_equal(a.base_offset, 8);
        make_batch(place, NULL, 5, 2);
        record_batch_set_producer(&place->builder, 77, 0, 5);
        assert_int_equal(submit(place, log, p, &a), ERR_OK);
        assert_true(a.duplicate);
        assert_int_equal(a.base_offset, 5);
        make_batch(place, NULL, 14, 2);
        record_batch_set_producer(&place->builder, 77, 0, 14);
        assert_int_equal(submit(place, log, p, &a), ERR_CONFLICT);
        assert_int_equal(log_end_offset(p), 12);
        log_close(&log);
        log = open_log(place);
        p = topic_of(log, "out", (struct log_topic_options){0});
    }
    /* Cut elsewhere: two known, three new. */
    make_batch(place, NULL, 10, 5);
    record_batch_set_producer(&place->builder, 77, 0, 10);
    assert_int_equal(submit(place, log, p, &a), ERR_OK);
    assert_false(a.duplicate);
    assert_int_equal(a.base_offset, 12);
    assert_int_equal(log_end_offset(p), 15);
    assert_int_equal(read_all(p, 0).next, 15);
    log_close(&log);
}

static void test_bytes_are_counted_that_were_appended(void **state) {
    struct place *place = *state;
    struct log *log = open_log(place);
    struct log_partition *p = topic_of(log, "out", (struct log_topic_options){0});
    static const struct {
        int first, count;
        enum err want;
        bool duplicate;
    } cases[] = {{0, 4, ERR_OK, false}, {0, 4, ERR_OK, true}, {9, 1, ERR_CONFLICT, false}, {2, 6, ERR_OK, false}};
    uint64_t bytes = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct log_append a;
        make_batch(place, NULL, cases[i].first, cases[i].count);
        record_batch_set_producer(&place->builder, 7, 0, cases[i].first);
        assert_int_equal(submit(place, log, p, &a), cases[i].want);
        assert_int_equal(a.duplicate, cases[i].duplicate);
        if (!a.err && !a.duplicate) bytes += a.batch_bytes; /* of the last only what is new */
    }
    struct log_stats stats;
    log_stats(log, &stats);
    assert_int_equal(stats.records, 8);
    assert_int_equal(stats.bytes, bytes);
    assert_int_equal(stats.bytes, log_partition_bytes(p));
    log_close(&log);
}

static void flip(const struct place *place, const char *file, uint64_t at, uint8_t mask) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", place->folder, file);
    struct sys_file *f;
    const struct sys_disk_ops *ops = sys_real()->disk_ops;
    assert_int_equal(ops->open(NULL, path, SYS_WRITE, NULL, &f), ERR_OK);
    uint8_t byte;
    size_t got;
    assert_int_equal(ops->read(f, at, &byte, 1, &got), ERR_OK);
    assert_int_equal(got, 1);
    byte ^= mask;
    struct slice part = slice_of(&byte, 1);
    assert_int_equal(ops->write(f, at, &part, 1), ERR_OK);
    ops->close(NULL, &f);
}

struct findings {
    int ok, torn, rot, index, foreign;
    struct log_finding last;
};

static enum err collect(void *context, const struct log_finding *finding) {
    struct findings *findings = context;
    int *counts[] = {&findings->ok, &findings->torn, &findings->rot, &findings->index, &findings->foreign};
    (*counts[finding->kind])++;
    if (finding->kind != LOG_FINDING_OK) findings->last = *finding;
    return ERR_OK;
}

static struct findings fsck(struct place *place) {
    struct findings findings = {0};
    struct diag diag;
    enum err err = log_fsck(&place->options, collect, &findings, &diag);
    assert_true(err == ERR_OK || findings.foreign > 0);
    return findings;
}

static void test_rot_in_an_old_segment_is_read_around(void **state) {
    struct place *place = *state;
    struct log *log = open_log(place);
    struct log_partition *p = topic_of(log, "t", (struct log_topic_options){0});
    for (int i = 0; i < 3000; i += 3) append(place, log, p, i, 3);
    log_close(&log);
    assert_int_equal(fsck(place).ok, 1);
    flip(place, "t-0/00000000000000000000.log", 30000, 4);
    struct findings findings = fsck(place);
    assert_int_equal(findings.rot, 1);
    assert_int_equal(findings.last.last_offset - findings.last.first_offset, 2);
    log = open_log(place);
    p = topic_of(log, "t", (struct log_topic_options){0});
    struct reading reading = read_all(p, 0);
    assert_int_equal(reading.errors, 1);
    assert_int_equal(reading.next, 3000);
    append(place, log, p, 3000, 1);
    log_close(&log);
}

/* A copy of the folder as a kill would leave it. */
static void crash_copy(struct place *place, char *to) {
    char command[256];
    snprintf(command, sizeof command, "cp -r %s/. %s", place->folder, to);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    int status;
    assert_true(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

static void test_rot_in_the_tail_refuses_appends_until_it_is_cut(void **state) {
    struct place *place = *state;
    struct log *log = open_log(place);
    struct log_partition *p = topic_of(log, "t", (struct log_topic_options){0});
    for (int i = 0; i < 100; i++) append(place, log, p, i, 1);
    char copy[] = "/tmp/wick-log-XXXXXX";
    assert_non_null(mkdtemp(copy));
    crash_copy(place, copy);
    log_close(&log);
    struct place other = *place;
    memcpy(other.folder, copy, sizeof copy);
    other.options.folder = other.folder;
    flip(&other, "t-0/00000000000000000000.log", 5000, 1);
    log = open_log(&other);
    p = topic_of(log, "t", (struct log_topic_options){0});
    struct log_finding damage;
    log_partition_damage(p, &damage);
    assert_int_equal(damage.kind, LOG_FINDING_ROT);
    assert_int_equal(damage.first_offset, damage.last_offset);
    char command[64];
    snprintf(command, sizeof command, "wick fsck --cut t/0@%d", (int)damage.first_offset);
    assert_string_equal(damage.repair, command);
    assert_int_equal(log_end_offset(p), 100);
    struct log_append a;
    make_batch(&other, NULL, 100, 1);
    assert_int_equal(submit(&other, log, p, &a), ERR_CORRUPT);
    struct reading reading = read_all(p, 0);
    assert_int_equal(reading.errors, 1);
    assert_int_equal(reading.next, 100);
    log_close(&log);
    assert_int_equal(fsck(&other).rot, 1);
    struct diag diag = {0};
    assert_int_equal(log_cut(&other.options, "t", 0, damage.first_offset, &diag), ERR_OK);
    assert_int_equal(fsck(&other).ok, 1);
    log = open_log(&other);
    p = topic_of(log, "t", (struct log_topic_options){0});
    assert_int_equal(log_end_offset(p), damage.first_offset);
    append(&other, log, p, (int)damage.first_offset, 1);
    assert_int_equal(read_all(p, 0).next, damage.first_offset + 1);
    log_close(&log);
    (void)!sys_real()->disk_ops->list(NULL, copy, remove_entry, copy);
    (void)!sys_real()->disk_ops->unlink(NULL, copy);
}

static int64_t wanted_from(void *context, const struct log_partition *partition) {
    (void)partition;
    return *(const int64_t *)context;
}

static void test_retention_drops_whole_old_segments_unless_they_are_wanted(void **state) {
    struct place *place = *state;
    struct log *log = open_log(place);
    struct log_partition *p = topic_of(log, "t", (struct log_topic_options){.retention_ms = 100000});
    for (int i = 0; i < 3000; i += 3) {
        append(place, log, p, i, 3);
        place->now_ms += 100;
    }
    struct diag diag;
    assert_int_equal(log_retain(log, place->now_ms, &diag), ERR_OK);
    assert_int_equal(log_start_offset(p), 0);
    int64_t wanted = 100; /* the first segment holds it, and is over age */
    log_set_retention_guard(log, wanted_from, &wanted);
    assert_int_equal(log_retain(log, place->now_ms + 30000, &diag), ERR_OK);
    assert_int_equal(log_start_offset(p), 0);
    wanted = 2999;
    assert_int_equal(log_retain(log, place->now_ms + 30000, &diag), ERR_OK);
    int64_t start = log_start_offset(p);
    assert_true(start > 0 && start < 2000);
    assert_int_equal(read_all(p, start).next, 3000);
    log_close(&log);
    log = open_log(place);
    p = topic_of(log, "t", (struct log_topic_options){0});
    assert_int_equal(log_start_offset(p), start);
    log_close(&log);
    assert_int_equal(fsck(place).ok, 1);
}

/* What retention takes from under a reader is gone, not damaged. */
static void test_retention_under_a_reader_is_no_damage(void **state) {
    struct place *place = *state;
    struct log *log = open_log(place);
    struct log_partition *p = topic_of(log, "t", (struct log_topic_options){.retention_ms = 60000});
    for (int i = 0; i < 3000; i += 3) {
        append(place, log, p, i, 3);
        place->now_ms += 100;
    }
    struct log_cursor *cursor;
    struct record_batch batch;
    struct log_finding finding;
    struct diag diag = {0};
    assert_int_equal(log_cursor_open(p, 0, &diag, &cursor), ERR_OK);
    assert_int_equal(log_cursor_next(cursor, &diag, &batch), ERR_OK);
    assert_int_equal(log_retain(log, place->now_ms + 30000, &diag), ERR_OK);
    const int64_t start = log_start_offset(p);
    assert_true(start > 0);
    enum err err;
    int64_t next = 3, gone = 0;
    while ((err = log_cursor_next(cursor, &diag, &batch)) != ERR_END) {
        if (err == ERR_RANGE) {
            gone++;
            next = start;
            continue;
        }
        assert_int_equal(err, ERR_OK);
        assert_int_equal(batch.base_offset, next);
        next += 3;
    }
    assert_int_equal(next, 3000);
    assert_int_equal(gone, 1);
    log_partition_damage(p, &finding);
    assert_int_equal(finding.kind, LOG_FINDING_OK);
    log_cursor_close(&cursor);
    log_close(&log);
}

/* A quiet topic, and a program that is started anew more often than its segments may grow old. */
static void test_retention_by_age_does_not_need_one_long_run(void **state) {
    struct place *place = *state;
    for (int day = 0; day < 8; day++) {
        struct log *log = open_log(place);
        struct log_partition *p = topic_of(log, "t", (struct log_topic_options){.retention_ms = 80000});
        append(place, log, p, day, 1);
        place->now_ms += 15000;
        log_close(&log);
    }
    struct log *log = open_log(place);
    struct log_partition *p = topic_of(log, "t", (struct log_topic_options){0});
    struct diag diag;
    assert_int_equal(log_retain(log, place->now_ms, &diag), ERR_OK);
    assert_int_equal(log_start_offset(p), 2); /* the first two were one segment, of which both are over age */
    log_close(&log);
}

static enum err find_time(void *context, const struct record *record) {
    int64_t *want = context;
    if (record->timestamp_ms >= want[0] && want[1] < 0) want[1] = record->offset;
    return ERR_OK;
}

static void test_offsets_are_found_by_time(void **state) {
    struct place *place = *state;
    struct log *log = open_log(place);
    struct log_partition *p = topic_of(log, "t", (struct log_topic_options){0});
    int64_t begin = place->now_ms;
    for (int i = 0; i < 3000; i += 3) {
        append(place, log, p, i, 3);
        place->now_ms += i % 30 ? 100 : -50; /* a clock that is set back now and then */
    }
    for (int64_t time = begin - 50; time < place->now_ms + 200; time += 777) {
        int64_t want[2] = {time, -1}, got;
        struct log_cursor *cursor;
        struct record_batch batch;
        assert_int_equal(log_cursor_open(p, 0, NULL, &cursor), ERR_OK);
        while (log_cursor_next(cursor, NULL, &batch) == ERR_OK)
            assert_int_equal(record_batch_visit(&batch, NULL, find_time, want), ERR_OK);
        log_cursor_close(&cursor);
        assert_int_equal(log_offset_for_time(p, time, &got), ERR_OK);
        assert_int_equal(got, want[1] < 0 ? 3000 : want[1]);
    }
    log_close(&log);
}

struct newest {
    int64_t offset[10];
    int seen;
};

static enum err note_newest(void *context, const struct record *record) {
    struct newest *newest = context;
    newest->offset[record->key.data[1] - '0'] = record->offset;
    newest->seen++;
    return ERR_OK;
}

static struct newest read_newest(struct log_partition *p) {
    struct newest newest = {.seen = 0};
    struct log_cursor *cursor;
    struct record_batch batch;
    enum err err = log_cursor_open(p, 0, NULL, &cursor);
    assert_int_equal(err, ERR_OK);
    while ((err = log_cursor_next(cursor, NULL, &batch)) == ERR_OK)
        assert_int_equal(record_batch_visit(&batch, NULL, note_newest, &newest), ERR_OK);
    assert_int_equal(err, ERR_END);
    log_cursor_close(&cursor);
    return newest;
}

static void test_compaction_keeps_the_newest_of_each_key_at_its_offset(void **state) {
    struct place *place = *state;
    struct log *log = open_log(place);
    struct log_partition *p = topic_of(log, "t", (struct log_topic_options){.compacted = true});
    struct log_append a;
    for (int i = 0; i < 3000; i++) {
        char key[3] = {'k', (char)('0' + i % 10), 0};
        make_batch(place, key, i, 1);
        if (i % 2 == 1) { /* a batch of two keys, of which compaction may leave one */
            struct record record = {.timestamp_ms = place->now_ms, .key = SLICE("k3"), .value = SLICE("again")};
            assert_int_equal(record_batch_add(&place->builder, &record), ERR_OK);
        }
        assert_int_equal(submit(place, log, p, &a), ERR_OK);
    }
    struct newest before = read_newest(p);
    struct diag diag;
    assert_int_equal(log_compact(log, "t", NULL, &diag), ERR_OK);
    struct newest after = read_newest(p);
    assert_memory_equal(before.offset, after.offset, sizeof before.offset);
    assert_true(after.seen < before.seen / 2);
    int64_t end = log_end_offset(p);
    log_close(&log);
    assert_int_equal(fsck(place).ok, 1);
    log = open_log(place);
    p = topic_of(log, "t", (struct log_topic_options){0});
    assert_int_equal(log_end_offset(p), end);
    after = read_newest(p);
    assert_memory_equal(before.offset, after.offset, sizeof before.offset);
    make_batch(place, "k1", 0, 1);
    assert_int_equal(submit(place, log, p, &a), ERR_OK);
    assert_int_equal(a.base_offset, end);
    log_close(&log);
}

static void test_another_process_reads_beside_the_writer(void **state) {
    struct place *place = *state;
    struct log *log = open_log(place), *reader;
    struct log_partition *p = topic_of(log, "t", (struct log_topic_options){0}), *q;
    struct log_options options = place->options;
    options.read_only = true;
    struct diag diag;
    assert_int_equal(log_open(&options, &diag, &reader), ERR_OK);
    assert_int_equal(log_partition_find(reader, "t", 0, &q), ERR_OK);
    struct log_cursor *cursor;
    assert_int_equal(log_cursor_open(q, 0, NULL, &cursor), ERR_OK);
    int64_t seen = 0;
    for (int i = 0; i < 2000; i += 5) {
        append(place, log, p, i, 5);
        if (i % 50) continue;
        assert_int_equal(log_refresh(reader, &diag), ERR_OK);
        assert_int_equal(log_end_offset(q), log_end_offset(p));
        struct record_batch batch;
        while (log_cursor_next(cursor, &diag, &batch) == ERR_OK) seen += batch.record_count;
        assert_int_equal(seen, log_end_offset(p));
    }
    log_cursor_close(&cursor);
    log_close(&reader);
    log_close(&log);
}

struct submitter {
    struct place place;
    struct log *log;
    struct log_partition *partition;
    int count;
    int failed;
};

static void *submit_many(void *argument) {
    struct submitter *s = argument;
    for (int i = 0; i < s->count; i++) {
        struct log_append a;
        make_batch(&s->place, "key", i, 1);
        if (submit(&s->place, s->log, s->partition, &a) != ERR_OK || log_end_offset(s->partition) <= a.base_offset)
            s->failed++;
    }
    return NULL;
}

static void test_many_threads_append(void **state) {
    struct place *place = *state;
    struct log *log = open_log(place);
    struct log_partition *p = topic_of(log, "t", (struct log_topic_options){0});
    struct diag diag;
    assert_int_equal(log_start(log, &diag), ERR_OK);
    struct submitter submitters[4];
    struct sys_thread *threads[4];
    for (int i = 0; i < 4; i++) {
        submitters[i] = (struct submitter){.place = *place, .log = log, .partition = p, .count = 300};
        record_batch_builder_init(&submitters[i].place.builder);
        assert_int_equal(sys_real()->thread_start(NULL, "submit", submit_many, &submitters[i], &threads[i]), ERR_OK);
    }
    for (int i = 0; i < 4; i++) {
        sys_real()->thread_join(NULL, &threads[i]);
        assert_int_equal(submitters[i].failed, 0);
        record_batch_builder_deinit(&submitters[i].place.builder);
    }
    assert_int_equal(log_end_offset(p), 1200);
    struct log_stats stats;
    log_stats(log, &stats);
    assert_int_equal(stats.records, 1200);
    assert_true(stats.syncs <= 1200);
    log_close(&log);
    assert_int_equal(fsck(place).ok, 1);
}

struct tail {
    struct log_partition *partition;
    struct sys_bell bell;
    int64_t until, records, next;
    int errors;
};

static enum err count_record(void *context, const struct record *record) {
    struct tail *tail = context;
    if (record->offset < tail->next) tail->errors++;
    tail->next = record->offset + 1;
    tail->records++;
    return ERR_OK;
}

static void *follow_tail(void *argument) {
    struct tail *tail = argument;
    struct log_cursor *cursor;
    if (log_cursor_open(tail->partition, 0, NULL, &cursor) != ERR_OK) tail->errors++;
    while (tail->next < tail->until && tail->errors == 0) {
        struct record_batch batch;
        struct diag diag;
        enum err err = log_cursor_next(cursor, &diag, &batch);
        if (err == ERR_END) sys_bell_wait(&tail->bell, 1000);
        if (err == ERR_END) continue;
        if (err || record_batch_visit(&batch, NULL, count_record, tail)) tail->errors++;
    }
    log_cursor_close(&cursor);
    return NULL;
}

static void *submit_keys(void *argument) {
    struct submitter *s = argument;
    for (int i = 0; i < s->count; i++) {
        struct log_append a;
        char key[3] = {'k', (char)('0' + i % 10), 0};
        make_batch(&s->place, key, i, 20);
        if (submit(&s->place, s->log, s->partition, &a) != ERR_OK) s->failed++;
    }
    return NULL;
}

/* The third newest record of a key is the one that counts; k9's newest is a tombstone, and nothing else counts of it. */
struct chosen {
    int64_t offset[10];
};

static enum log_fate fate_by_choice(void *context, const struct record *record) {
    const struct chosen *chosen = context;
    int64_t offset = chosen->offset[record->key.data[1] - '0'];
    if (offset < 0) return LOG_FATE_BURIED;
    return record->offset < offset ? LOG_FATE_DROP : LOG_FATE_KEEP;
}

static void test_retention_is_the_callers(void **state) {
    struct place *place = *state;
    struct log *log = open_log(place);
    struct log_partition *p = topic_of(log, "t", (struct log_topic_options){0});
    struct diag diag;
    append(place, log, p, 0, 5);
    assert_int_equal(log_topic_set_retention(log, "nobody", 1), ERR_NOT_FOUND);
    assert_int_equal(log_topic_set_retention(log, "t", 1000), ERR_OK);
    place->now_ms += 10000; /* past a quarter: the next append goes into another segment */
    append(place, log, p, 5, 5);
    int64_t now_ms = place->now_ms;
    assert_int_equal(log_retain(log, now_ms, &diag), ERR_OK);
    assert_int_equal(log_start_offset(p), 5);
    log_close(&log);
}

static void test_a_guard_says_what_stays(void **state) {
    struct place *place = *state;
    struct log *log = open_log(place), *reader;
    struct log_partition *p = topic_of(log, "t", (struct log_topic_options){.compacted = true}), *q;
    struct log_append a;
    for (int i = 0; i < 3000; i++) {
        char key[3] = {'k', (char)('0' + i % 10), 0};
        make_batch(place, key, i, 1);
        assert_int_equal(submit(place, log, p, &a), ERR_OK);
    }
    const struct record tombstone = {.timestamp_ms = place->now_ms, .key = SLICE("k9")};
    record_batch_begin(&place->builder, RECORD_CODEC_NONE);
    assert_int_equal(record_batch_add(&place->builder, &tombstone), ERR_OK);
    assert_int_equal(record_batch_end(&place->builder), ERR_OK);
    assert_int_equal(submit(place, log, p, &a), ERR_OK);
    struct log_options options = place->options;
    struct log_cursor *cursor;
    struct record_batch batch;
    struct diag diag = {0};
    options.read_only = true; /* another process, which has read a little */
    assert_int_equal(log_open(&options, NULL, &reader), ERR_OK);
    assert_int_equal(log_partition_find(reader, "t", 0, &q), ERR_OK);
    assert_int_equal(log_cursor_open(q, 0, NULL, &cursor), ERR_OK);
    assert_int_equal(log_cursor_next(cursor, NULL, &batch), ERR_OK);

    struct chosen chosen;
    for (int i = 0; i < 10; i++) chosen.offset[i] = i == 9 ? -1 : 2970 + i;
    const struct log_guard guard = {fate_by_choice, &chosen, log_end_offset(p), NULL};
    uint64_t before = log_partition_bytes(p);
    assert_int_equal(log_compact(log, "t", &guard, &diag), ERR_OK);
    assert_true(log_partition_bytes(p) < before / 10);
    enum err err;
    uint32_t left = 0;
    while ((err = log_cursor_next(cursor, &diag, &batch)) == ERR_OK) left++;
    assert_int_equal(err, ERR_END); /* no damage, whatever has become of the files it knew */
    log_cursor_close(&cursor);
    log_close(&reader);
    struct newest newest = read_newest(p);
    assert_true(newest.seen >= 28 && newest.seen < 300); /* the segment at hand at most, besides */
    assert_int_equal(newest.offset[0], 2990);
    assert_int_equal(newest.offset[9], 3000);
    assert_int_equal(log_cursor_open(p, 2970, NULL, &cursor), ERR_OK);
    for (int64_t at = 2970; at < 2979; at++) {
        assert_int_equal(log_cursor_next(cursor, NULL, &batch), ERR_OK);
        assert_int_equal(batch.base_offset, at);
    }
    log_cursor_close(&cursor);
    log_close(&log);
    assert_int_equal(fsck(place).ok, 1);
}

/* A writer that rolls, readers at its tail, and compaction at once. */
static void test_readers_follow_beside_writer_and_compaction(void **state) {
    struct place *place = *state;
    struct log *log = open_log(place);
    struct log_partition *p = topic_of(log, "t", (struct log_topic_options){.compacted = true});
    struct diag diag;
    assert_int_equal(log_start(log, &diag), ERR_OK);
    struct submitter submitter = {.place = *place, .log = log, .partition = p, .count = 500};
    record_batch_builder_init(&submitter.place.builder);
    struct tail tails[2];
    struct sys_thread *threads[3];
    for (int i = 0; i < 2; i++) {
        tails[i] = (struct tail){.partition = p, .until = 10000};
        assert_int_equal(log_watch(p, &tails[i].bell), ERR_OK);
        assert_int_equal(sys_real()->thread_start(NULL, "tail", follow_tail, &tails[i], &threads[i]), ERR_OK);
    }
    assert_int_equal(sys_real()->thread_start(NULL, "submit", submit_keys, &submitter, &threads[2]), ERR_OK);
    while (log_end_offset(p) < 10000) {
        assert_int_equal(log_compact(log, "t", NULL, &diag), ERR_OK);
        assert_int_equal(log_retain(log, place->now_ms, &diag), ERR_OK);
    }
    for (int i = 0; i < 3; i++) sys_real()->thread_join(NULL, &threads[i]);
    assert_int_equal(submitter.failed, 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tails[i].errors, 0);
        assert_int_equal(tails[i].next, 10000);
        log_unwatch(p, &tails[i].bell);
    }
    assert_int_equal(log_compact(log, "t", NULL, &diag), ERR_OK);
    struct newest newest = read_newest(p);
    for (int i = 0; i < 10; i++) assert_int_equal(newest.offset[i], 9800 + i * 20 + 19);
    record_batch_builder_deinit(&submitter.place.builder);
    log_close(&log);
    assert_int_equal(fsck(place).ok, 1);
}

static struct log_partition *lifted; /* at the next look at the clock */

static int64_t lifting_clock(void *context) {
    (void)context;
    if (lifted != NULL) log_set_limit(lifted, 0);
    lifted = NULL;
    return sys_monotonic_ns(sys_real());
}

static void nothing_done(struct log_append *append) { (void)append; }

/* The limit of a partition moves while a group is formed: what came later must not go first. */
static void test_appends_keep_their_order_over_a_limit_that_moves(void **state) {
    struct place *place = *state;
    struct sys lifting = *sys_real();
    struct record_batch_builder builders[2];
    struct log_append appends[2];
    uint32_t count;
    lifting.monotonic_ns = lifting_clock;
    place->options.sys = &lifting;
    struct log *log = open_log(place);
    struct log_partition *p = topic_of(log, "t", (struct log_topic_options){0});
    append(place, log, p, 0, 1);
    log_set_limit(p, log_written_bytes(p));
    for (int i = 0; i < 2; i++) {
        const struct record record = {.timestamp_ms = place->now_ms, .value = SLICE("x")};
        record_batch_builder_init(&builders[i]);
        record_batch_begin(&builders[i], RECORD_CODEC_NONE);
        assert_int_equal(record_batch_add(&builders[i], &record), ERR_OK);
        assert_int_equal(record_batch_end(&builders[i]), ERR_OK);
        appends[i] = (struct log_append){.partition = p,
                                         .batch = builders[i].bytes.data,
                                         .batch_bytes = (uint32_t)builders[i].bytes.size,
                                         .record_count = 1,
                                         .done = nothing_done};
    }
    for (int i = 0; i < 2; i++) log_submit(log, &appends[i]);
    lifted = p;
    for (int i = 0; i < 3; i++) assert_int_equal(log_step(log, &count), ERR_OK);
    assert_int_equal(appends[0].base_offset, 1);
    assert_int_equal(appends[1].base_offset, 2);
    for (int i = 0; i < 2; i++) record_batch_builder_deinit(&builders[i]);
    log_close(&log);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_appended_is_read_over_segments_and_restarts),
        TEST(test_a_second_writer_is_refused),
        TEST(test_topics_are_made_listed_and_deleted),
        TEST(test_a_repeated_sequence_is_written_once),
        TEST(test_rot_in_an_old_segment_is_read_around),
        TEST(test_rot_in_the_tail_refuses_appends_until_it_is_cut),
        TEST(test_retention_drops_whole_old_segments_unless_they_are_wanted),
        TEST(test_retention_under_a_reader_is_no_damage),
        TEST(test_retention_by_age_does_not_need_one_long_run),
        TEST(test_bytes_are_counted_that_were_appended),
        TEST(test_offsets_are_found_by_time),
        TEST(test_compaction_keeps_the_newest_of_each_key_at_its_offset),
        TEST(test_retention_is_the_callers),
        TEST(test_a_guard_says_what_stays),
        TEST(test_another_process_reads_beside_the_writer),
        TEST(test_many_threads_append),
        TEST(test_appends_keep_their_order_over_a_limit_that_moves),
        TEST(test_readers_follow_beside_writer_and_compaction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
