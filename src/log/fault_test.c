/* The log on a simulated machine whose disk is full, fails, or rots. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "log/log.h"
#include "sys/sim.h"

struct place {
    struct sim *sim;
    struct log_options options;
    struct log *log;
    struct log_partition *partition;
    struct record_batch_builder builder;
};

static void open_log(struct place *place) {
    struct diag diag = {0};
    enum err err = log_open(&place->options, &diag, &place->log);
    if (err) print_message("%s: %s\n", diag.where, diag.what);
    assert_int_equal(err, ERR_OK);
    struct log_topic_options options = {0};
    err = log_topic_create(place->log, "t", &options, &diag);
    assert_true(err == ERR_OK || err == ERR_EXISTS);
    assert_int_equal(log_partition_find(place->log, "t", 0, &place->partition), ERR_OK);
}

static int setup(void **state) {
    struct place *place = calloc(1, sizeof *place);
    place->sim = sim_make(1);
    place->options = (struct log_options){.sys = sim_sys(place->sim),
                                          .folder = "log",
                                          .segment_bytes = 8192,
                                          .group_bytes = 2048,
                                          .reserve_bytes = 4096,
                                          .allocate_bytes = 1024,
                                          .record_bytes = 4096};
    record_batch_builder_init(&place->builder);
    open_log(place);
    *state = place;
    return 0;
}

static int teardown(void **state) {
    struct place *place = *state;
    log_close(&place->log);
    record_batch_builder_deinit(&place->builder);
    sim_drop(&place->sim);
    free(place);
    return 0;
}

static void make_batch(struct place *place, int64_t number, int count) {
    record_batch_begin(&place->builder, RECORD_CODEC_NONE);
    for (int i = 0; i < count; i++) {
        char value[32];
        int size = snprintf(value, sizeof value, "value %lld", (long long)number + i);
        struct record record = {.timestamp_ms = 1700000000000, .value = slice_of(value, (size_t)size)};
        assert_int_equal(record_batch_add(&place->builder, &record), ERR_OK);
    }
    assert_int_equal(record_batch_end(&place->builder), ERR_OK);
}

static enum err append(struct place *place, int64_t number, int count) {
    make_batch(place, number, count);
    struct log_append append = {.partition = place->partition,
                                .batch = place->builder.bytes.data,
                                .batch_bytes = (uint32_t)place->builder.bytes.size,
                                .record_count = (uint32_t)count};
    enum err err = log_append_wait(place->log, &append);
    if (!err) assert_int_equal(append.base_offset, number);
    return err;
}

static enum err check_value(void *context, const struct record *record) {
    char value[32];
    int size = snprintf(value, sizeof value, "value %lld", (long long)record->offset);
    assert_true(slice_equal(record->value, slice_of(value, (size_t)size)));
    ++*(int64_t *)context;
    return ERR_OK;
}

/* How many records are readable; every one is looked at. */
static int64_t readable(struct place *place, int *ret_errors) {
    struct log_cursor *cursor;
    struct diag diag;
    int64_t count = 0;
    *ret_errors = 0;
    assert_int_equal(log_cursor_open(place->partition, log_start_offset(place->partition), &diag, &cursor), ERR_OK);
    for (;;) {
        struct record_batch batch;
        enum err err = log_cursor_next(cursor, &diag, &batch);
        if (err == ERR_END) break;
        if (err) {
            assert_int_equal(err, ERR_CORRUPT);
            ++*ret_errors;
            assert_true(*ret_errors < 1000);
            continue;
        }
        assert_int_equal(record_batch_visit(&batch, NULL, check_value, &count), ERR_OK);
    }
    log_cursor_close(&cursor);
    return count;
}

static void reopen(struct place *place) {
    log_close(&place->log);
    open_log(place);
}

static void test_a_full_disk_refuses_and_resumes_by_itself(void **state) {
    struct place *place = *state;
    int64_t n = 0;
    int errors;
    for (; n < 20; n++) assert_int_equal(append(place, n, 1), ERR_OK);
    sim_set_free_bytes(place->sim, 10000);
    enum err err;
    while ((err = append(place, n, 1)) == ERR_OK) n++;
    assert_int_equal(err, ERR_NO_SPACE);
    assert_int_equal(append(place, n, 1), ERR_NO_SPACE);
    assert_int_equal(readable(place, &errors), n);
    uint64_t left;
    assert_int_equal(place->options.sys->disk_ops->free_bytes(place->sim, "log", &left), ERR_OK);
    assert_true(left >= 4096); /* the reserve */
    sim_set_free_bytes(place->sim, UINT64_MAX);
    for (int i = 0; i < 100; i++, n++) assert_int_equal(append(place, n, 1), ERR_OK);
    reopen(place);
    assert_int_equal(readable(place, &errors), n);
    assert_int_equal(errors, 0);
}

/* File systems that copy on write may be full in spite of the preallocation. */
static void test_a_full_disk_met_by_a_write_takes_the_group_back(void **state) {
    struct place *place = *state;
    int64_t n = 0;
    int errors;
    for (; n < 5; n++) assert_int_equal(append(place, n, 1), ERR_OK);
    sim_fail(place->sim, SIM_WRITE, 1, ERR_NO_SPACE);
    assert_int_equal(append(place, n, 3), ERR_NO_SPACE);
    for (int i = 0; i < 50; i++, n += 2) assert_int_equal(append(place, n, 2), ERR_OK);
    reopen(place);
    assert_int_equal(readable(place, &errors), n);
    assert_int_equal(errors, 0);
}

/* An append that is submitted and answered later. */
struct later {
    struct log_append append;
    uint8_t *bytes;
    int answers;
};

static void answered(struct log_append *append) { ((struct later *)append->context)->answers++; }

/* One record of this producer and sequence; -1: of nobody. */
static void submit_later(struct place *place, struct later *later, int64_t number, int64_t producer, int32_t sequence) {
    make_batch(place, number, 1);
    if (producer >= 0) {
        record_batch_set_producer(&place->builder, producer, 0, sequence);
        assert_int_equal(record_batch_end(&place->builder), ERR_OK);
    }
    uint32_t size = (uint32_t)place->builder.bytes.size;
    *later = (struct later){.bytes = malloc(size)};
    assert_non_null(later->bytes);
    memcpy(later->bytes, place->builder.bytes.data, size);
    later->append = (struct log_append){.partition = place->partition,
                                        .batch = later->bytes,
                                        .batch_bytes = size,
                                        .record_count = 1,
                                        .done = answered,
                                        .context = later};
    log_submit(place->log, &later->append);
}

/* One group; every one of `count` must be answered with `want`. */
static void commit_later(struct place *place, struct later *later, int count, enum err want) {
    uint32_t appends;
    assert_int_equal(log_step(place->log, &appends), ERR_OK);
    assert_int_equal(appends, count);
    for (int i = 0; i < count; i++) {
        assert_int_equal(later[i].answers, 1);
        assert_int_equal(later[i].append.err, want);
        free(later[i].bytes);
    }
}

/* The original and the retry are in one group: whoever gets "stored" must find it stored. */
static void test_a_retry_is_taken_back_with_what_it_repeats(void **state) {
    struct place *place = *state;
    struct later later[6];
    assert_int_equal(append(place, 0, 1), ERR_OK);
    sim_fail(place->sim, SIM_WRITE, 1, ERR_NO_SPACE);
    submit_later(place, &later[0], 1, 7, 0);
    submit_later(place, &later[1], 1, 7, 0);
    commit_later(place, later, 2, ERR_NO_SPACE);
    /* So many behind it that the place of the first is forgotten. */
    sim_fail(place->sim, SIM_WRITE, 1, ERR_NO_SPACE);
    for (int i = 0; i < 5; i++) submit_later(place, &later[i], 1 + i, 7, i);
    submit_later(place, &later[5], 1, 7, 0);
    commit_later(place, later, 6, ERR_NO_SPACE);
    submit_later(place, &later[0], 1, 7, 0);
    commit_later(place, later, 1, ERR_OK);
    assert_false(later[0].append.duplicate);
    assert_int_equal(later[0].append.base_offset, 1);
}

static void test_a_group_that_is_taken_back_leaves_its_producers_as_they_were(void **state) {
    struct place *place = *state;
    struct later later[3];
    for (int i = 0; i < 3; i++) {
        submit_later(place, &later[0], i, 7, i);
        commit_later(place, later, 1, ERR_OK);
    }
    sim_fail(place->sim, SIM_WRITE, 1, ERR_NO_SPACE);
    for (int i = 0; i < 3; i++) submit_later(place, &later[i], 3 + i, 7, 3 + i);
    commit_later(place, later, 3, ERR_NO_SPACE);
    submit_later(place, &later[0], 2, 7, 2);
    commit_later(place, later, 1, ERR_OK);
    assert_true(later[0].append.duplicate);
    assert_int_equal(later[0].append.base_offset, 2);
    submit_later(place, &later[0], 3, 7, 3);
    commit_later(place, later, 1, ERR_OK);
    assert_false(later[0].append.duplicate);
}

static enum err count_findings(void *context, const struct log_finding *finding) {
    if (finding->kind != LOG_FINDING_OK) print_message("%s: %s\n", finding->file, finding->text);
    *(int *)context += finding->kind != LOG_FINDING_OK;
    return ERR_OK;
}

/* A group of several writes, of which the last does not fit: what the others wrote was answered "no space", and is not there
 * after a crash, nor does it stand behind a shorter group at the same place. */
static void test_a_group_that_is_taken_back_stays_so_over_a_crash(void **state) {
    struct place *place = *state;
    enum { MANY = 600 };
    log_close(&place->log);
    place->options.segment_bytes = place->options.group_bytes = 1 << 20;
    place->options.record_bytes = 1 << 20;
    open_log(place);
    for (int64_t n = 0; n < 5; n++) assert_int_equal(append(place, n, 1), ERR_OK);
    struct later *later = calloc(MANY, sizeof *later);
    assert_non_null(later);
    for (int shorter = 0; shorter < 2; shorter++) {
        int64_t end = 5;
        sim_fail(place->sim, SIM_WRITE, 2, ERR_NO_SPACE);
        for (int i = 0; i < MANY; i++) submit_later(place, &later[i], end + i, -1, -1);
        commit_later(place, later, MANY, ERR_NO_SPACE);
        if (shorter) {
            for (int i = 0; i < 2; i++) submit_later(place, &later[i], end + i, -1, -1);
            commit_later(place, later, 2, ERR_OK);
            end += 2;
        }
        uint8_t choices[SIM_CHOICES_MAX] = {SIM_KEPT};
        struct sim *after = sim_make(2);
        struct place other = {.options = place->options};
        other.options.sys = sim_sys(after);
        sim_crash(place->sim, choices, 1, after);
        open_log(&other);
        int errors;
        assert_int_equal(log_end_offset(other.partition), end);
        assert_int_equal(readable(&other, &errors), end);
        log_close(&other.log);
        sim_drop(&after);
    }
    free(later);
    log_close(&place->log);
    int findings = 0;
    assert_int_equal(log_fsck(&place->options, count_findings, &findings, NULL), ERR_OK);
    assert_int_equal(findings, 0);
    open_log(place);
}

static void test_a_failed_sync_is_final(void **state) {
    struct place *place = *state;
    int errors;
    for (int64_t n = 0; n < 5; n++) assert_int_equal(append(place, n, 1), ERR_OK);
    sim_fail(place->sim, SIM_SYNC, 1, ERR_SYNC);
    assert_int_equal(append(place, 5, 1), ERR_SYNC);
    assert_int_equal(append(place, 5, 1), ERR_SYNC);
    assert_int_equal(log_end_offset(place->partition), 5);
    uint32_t appends;
    assert_int_equal(log_step(place->log, &appends), ERR_SYNC);
    uint64_t before = sim_count(place->sim);
    log_close(&place->log);
    assert_int_equal(sim_count(place->sim), before); /* Not another sync, not another write. */
    open_log(place);
    assert_true(readable(place, &errors) >= 5);
    assert_int_equal(errors, 0);
    assert_int_equal(append(place, log_end_offset(place->partition), 1), ERR_OK);
}

/* A process is killed between the write of durable-end and its sync: the next one sees what a crash may still take away. */
static void test_what_a_killed_process_left_unsynced_is_synced_before_it_counts(void **state) {
    struct place *place = *state;
    for (int64_t n = 0; n < 5; n++) assert_int_equal(append(place, n, 1), ERR_OK);
    reopen(place);
    sim_fail(place->sim, SIM_SYNC, 1, ERR_SYNC);
    assert_int_equal(append(place, 5, 1), ERR_SYNC);
    reopen(place);
    assert_int_equal(append(place, 5, 1), ERR_OK);
    uint8_t choices[SIM_CHOICES_MAX];
    memset(choices, SIM_DROPPED, sizeof choices);
    struct sim *after = sim_make(2);
    struct place other = {.options = place->options};
    other.options.sys = sim_sys(after);
    sim_crash(place->sim, choices, 1, after);
    open_log(&other);
    assert_int_equal(log_end_offset(other.partition), 6);
    log_close(&other.log);
    sim_drop(&after);
}

static void test_a_failed_write_is_final(void **state) {
    struct place *place = *state;
    int errors;
    for (int64_t n = 0; n < 5; n++) assert_int_equal(append(place, n, 1), ERR_OK);
    sim_fail(place->sim, SIM_WRITE, 1, ERR_IO);
    assert_int_equal(append(place, 5, 1), ERR_IO);
    assert_int_equal(append(place, 5, 1), ERR_IO);
    reopen(place);
    assert_int_equal(readable(place, &errors), 5);
}

/* Every place of the disk's life where an error can come: an error is answered, and nothing acknowledged is lost. */
static void test_any_operation_may_fail(void **state) {
    struct place *place = *state;
    static const enum err errs[] = {ERR_IO, ERR_NO_SPACE, ERR_LIMIT};
    int64_t acked = 0;
    int errors;
    for (int operation = SIM_OPEN; operation < SIM_OPERATIONS; operation++) {
        for (uint32_t countdown = 1; countdown < 30; countdown++) {
            sim_fail(place->sim, (enum sim_operation)operation, countdown, errs[countdown % 3]);
            for (int i = 0; i < 20; i++)
                if (append(place, log_end_offset(place->partition), 2) == ERR_OK)
                    acked = log_end_offset(place->partition);
            log_close(&place->log);
            sim_fail(place->sim, (enum sim_operation)operation, 0, ERR_OK);
            open_log(place);
            assert_true(log_end_offset(place->partition) >= acked);
            assert_int_equal(readable(place, &errors), log_end_offset(place->partition));
            assert_int_equal(errors, 0);
        }
    }
    assert_int_equal(readable(place, &errors), log_end_offset(place->partition));
    assert_int_equal(errors, 0);
}

/* Opens what a crash left while one of its operations fails; true if the log did not open. */
static bool fails_to_open(struct place *other, enum sim_operation operation, uint32_t countdown, enum err want) {
    struct diag diag = {0};
    sim_fail(other->options.sys->disk, operation, countdown, want);
    const enum err err = log_open(&other->options, &diag, &other->log);
    sim_fail(other->options.sys->disk, operation, 0, ERR_OK);
    if (err == ERR_OK) log_close(&other->log);
    if (err != ERR_OK) assert_true(diag.what[0] != '\0');
    return err != ERR_OK;
}

/* A disk that fails while the log recovers costs that start, and nothing else: the next one has all that was acknowledged. */
static void test_any_operation_of_a_recovery_may_fail(void **state) {
    struct place *place = *state;
    static const enum err errs[] = {ERR_IO, ERR_NO_SPACE, ERR_LIMIT, ERR_SYNC};
    uint8_t choices[SIM_CHOICES_MAX];
    struct sim *after = sim_make(2);
    struct place other = {.options = place->options};
    int64_t n = 0;
    uint32_t failed = 0;
    int errors;
    other.options.sys = sim_sys(after);
    for (; n < 300; n++) assert_int_equal(append(place, n, 1), ERR_OK);
    for (int operation = SIM_OPEN; operation < SIM_OPERATIONS; operation++)
        for (uint32_t countdown = 1; countdown < 60; countdown++) {
            memset(choices, countdown % 2 == 0 ? SIM_KEPT : SIM_DROPPED, sizeof choices);
            sim_crash(place->sim, choices, 1, after);
            failed += fails_to_open(&other, (enum sim_operation)operation, countdown,
                                    errs[(countdown + (uint32_t)operation) % 4]);
            open_log(&other);
            if (log_end_offset(other.partition) != n || readable(&other, &errors) != n || errors != 0)
                fail_msg("operation %d, %u: %lld records of %lld", operation, countdown,
                         (long long)log_end_offset(other.partition), (long long)n);
            log_close(&other.log);
        }
    assert_true(failed > 8);
    sim_drop(&after);
}

static void test_unreadable_bytes_cost_only_what_is_in_them(void **state) {
    struct place *place = *state;
    int64_t n = 0;
    int errors;
    for (; n < 60; n++) assert_int_equal(append(place, n, 1), ERR_OK);
    for (uint32_t countdown = 1; countdown < 6; countdown++) {
        sim_fail(place->sim, SIM_READ, countdown, ERR_IO);
        assert_true(readable(place, &errors) >= n / 2);
        sim_fail(place->sim, SIM_READ, 0, ERR_OK);
    }
    assert_int_equal(readable(place, &errors), n);
}

/* One rotten slot must not let recovery forget what was written since the other. */
static void test_each_byte_of_the_durable_end_may_rot(void **state) {
    struct place *place = *state;
    int64_t n = 0;
    int errors;
    for (; n < 300; n++) assert_int_equal(append(place, n, 1), ERR_OK);
    uint8_t choices[SIM_CHOICES_MAX] = {0};
    struct sim *after = sim_make(2);
    struct place other = {.options = place->options};
    other.options.sys = sim_sys(after);
    for (uint64_t at = 0; at < 2 * 8192; at += at % 8192 < 640 ? 1 : 512) {
        sim_crash(place->sim, choices, 1, after);
        assert_true(sim_flip(after, "log/t-0/durable-end", at, 0x10));
        open_log(&other);
        assert_int_equal(log_end_offset(other.partition), n);
        assert_int_equal(readable(&other, &errors), n);
        assert_int_equal(errors, 0);
        log_close(&other.log);
    }
    sim_drop(&after);
}

static void test_both_slots_rotten_refuses_appends_until_it_is_cut(void **state) {
    struct place *place = *state;
    int64_t n = 0;
    int errors;
    for (; n < 100; n++) assert_int_equal(append(place, n, 1), ERR_OK);
    log_close(&place->log);
    sim_flip(place->sim, "log/t-0/durable-end", 40, 1);
    sim_flip(place->sim, "log/t-0/durable-end", 8192 + 40, 1);
    open_log(place);
    assert_int_equal(readable(place, &errors), n);
    assert_int_equal(append(place, n, 1), ERR_CORRUPT);
    struct log_finding damage;
    log_partition_damage(place->partition, &damage);
    assert_string_equal(damage.repair, "wick fsck --cut t/0@100");
    log_close(&place->log);
    struct diag diag = {0};
    assert_int_equal(log_cut(&place->options, "t", 0, 100, &diag), ERR_OK);
    open_log(place);
    assert_int_equal(append(place, n, 1), ERR_OK);
    assert_int_equal(readable(place, &errors), n + 1);
}

static void test_a_mixed_folder_is_refused(void **state) {
    struct place *place = *state;
    struct diag diag = {0};
    const struct sys *sys = sim_sys(place->sim);
    assert_int_equal(append(place, 0, 1), ERR_OK);
    log_close(&place->log);
    struct log_options second = place->options;
    second.folder = "second";
    struct log *log;
    assert_int_equal(log_open(&second, &diag, &log), ERR_OK);
    log_close(&log);
    uint8_t *identity;
    size_t size;
    assert_int_equal(sys_read_file(sys, "second/identity", 4096, &diag, &identity, &size), ERR_OK);
    assert_int_equal(sys_replace_file(sys, "log/identity", slice_of(identity, size), &diag), ERR_OK);
    free(identity);
    assert_int_equal(log_open(&place->options, &diag, &log), ERR_FOREIGN);
    assert_int_equal(sys->disk_ops->unlink(place->sim, "log/identity"), ERR_OK);
    assert_int_equal(log_open(&place->options, &diag, &log), ERR_CORRUPT);
}

/* What Kafka leaves in a folder: a segment, its indexes, and none of our files. */
static void test_segments_of_kafka_are_taken_over(void **state) {
    struct place *place = *state;
    const struct sys *sys = sim_sys(place->sim);
    struct diag diag = {0};
    log_close(&place->log);
    assert_int_equal(sys_make_folders(sys, "log/from-kafka-0", &diag), ERR_OK);
    struct buf bytes;
    buf_init(&bytes, 1 << 20);
    for (int64_t n = 0; n < 40; n += 2) {
        make_batch(place, n, 2);
        record_batch_place(place->builder.bytes.data, n, 3); /* a leader epoch, to them */
        buf_put(&bytes, buf_slice(&place->builder.bytes));
    }
    const char *name = "log/from-kafka-0/00000000000000000000.log";
    assert_int_equal(sys_replace_file(sys, name, buf_slice(&bytes), &diag), ERR_OK);
    buf_deinit(&bytes);
    for (int round = 0; round < 3; round++) {
        open_log(place);
        assert_int_equal(log_partition_find(place->log, "from-kafka", 0, &place->partition), ERR_OK);
        int errors;
        int64_t end = log_end_offset(place->partition);
        assert_int_equal(end, 40 + round);
        assert_int_equal(readable(place, &errors), end);
        assert_int_equal(errors, 0);
        assert_int_equal(append(place, end, 1), ERR_OK);
        log_close(&place->log);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_full_disk_refuses_and_resumes_by_itself),
        TEST(test_a_full_disk_met_by_a_write_takes_the_group_back),
        TEST(test_a_retry_is_taken_back_with_what_it_repeats),
        TEST(test_a_group_that_is_taken_back_leaves_its_producers_as_they_were),
        TEST(test_a_group_that_is_taken_back_stays_so_over_a_crash),
        TEST(test_a_failed_sync_is_final),
        TEST(test_what_a_killed_process_left_unsynced_is_synced_before_it_counts),
        TEST(test_a_failed_write_is_final),
        TEST(test_any_operation_may_fail),
        TEST(test_any_operation_of_a_recovery_may_fail),
        TEST(test_unreadable_bytes_cost_only_what_is_in_them),
        TEST(test_each_byte_of_the_durable_end_may_rot),
        TEST(test_both_slots_rotten_refuses_appends_until_it_is_cut),
        TEST(test_a_mixed_folder_is_refused),
        TEST(test_segments_of_kafka_are_taken_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
