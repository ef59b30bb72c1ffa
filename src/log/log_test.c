#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "log/log_fixture.h"

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
    remove_folder(copy);
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

/* A disk without room for what an idle committer writes, which nobody waits for. */
static struct {
    atomic_bool full;
    _Atomic int refused;
    _Atomic int64_t first_ns, last_ns;
} crowded;

static enum err crowded_write(struct sys_file *file, uint64_t offset, const struct slice *parts, size_t count) {
    if (!atomic_load(&crowded.full)) return sys_real()->disk_ops->write(file, offset, parts, count);
    atomic_store(&crowded.last_ns, sys_monotonic_ns(sys_real()));
    if (atomic_load(&crowded.refused) == 0) atomic_store(&crowded.first_ns, atomic_load(&crowded.last_ns));
    atomic_fetch_add(&crowded.refused, 1);
    return ERR_NO_SPACE;
}

static void test_an_idle_committer_waits_for_room(void **state) {
    struct place *place = *state;
    struct sys_disk_ops ops = *sys_real()->disk_ops;
    struct sys sys = *sys_real();
    struct sys_bell nobody = {0};
    struct diag diag;
    ops.write = crowded_write;
    sys.disk_ops = &ops;
    place->options.sys = &sys;
    struct log *log = open_log(place);
    struct log_partition *p = topic_of(log, "t", (struct log_topic_options){0});
    assert_int_equal(log_start(log, &diag), ERR_OK);
    append(place, log, p, 0, 1);
    atomic_store(&crowded.full, true);
    while (atomic_load(&crowded.refused) < 4) sys_bell_wait(&nobody, 5);
    assert_true(atomic_load(&crowded.last_ns) - atomic_load(&crowded.first_ns) >= 3 * 100 * INT64_C(1000000));
    atomic_store(&crowded.full, false);
    append(place, log, p, 1, 1);
    log_close(&log);
    assert_int_equal(fsck(place).ok, 1);
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
        TEST(test_bytes_are_counted_that_were_appended),
        TEST(test_offsets_are_found_by_time),
        TEST(test_another_process_reads_beside_the_writer),
        TEST(test_many_threads_append),
        TEST(test_an_idle_committer_waits_for_room),
        TEST(test_appends_keep_their_order_over_a_limit_that_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
