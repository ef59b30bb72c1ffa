/* What leaves a log: retention and compaction, beside those who read and write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "log/log_fixture.h"

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

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_retention_drops_whole_old_segments_unless_they_are_wanted),
        TEST(test_retention_under_a_reader_is_no_damage),
        TEST(test_retention_by_age_does_not_need_one_long_run),
        TEST(test_compaction_keeps_the_newest_of_each_key_at_its_offset),
        TEST(test_retention_is_the_callers),
        TEST(test_a_guard_says_what_stays),
        TEST(test_readers_follow_beside_writer_and_compaction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
