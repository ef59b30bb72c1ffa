/* Tasks over the embedded log and the memory store: exactly once over crashes, calls, the ledger, checkpoints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "flow/checkpoint.h"
#include "flow/output.h"
#include "flow/task.h"
#include "sys/sim.h"

/* --- a processor that sums what it reads, and copies odd numbers to another topic --- */

struct summing {
    struct processor base;
    struct store *store;
    struct output *odd;
    int64_t sum;
    int64_t told;     /* the sum when a turn ended last */
    int64_t waits_at; /* before this number is folded, until `go` */
    atomic_bool waits, go;
    bool slow;        /* to flush */
    bool lose_count;  /* breaks the ledger */
    int64_t fails_at; /* this number ends the fold, in the middle of what is read together */
};

static struct ledger_row *fold_ledger;

static enum err sum_record(void *context, const struct record *record) {
    struct summing *s = context;
    int64_t value = strtoll((const char *)record->value.data, NULL, 10);
    if (s->fails_at != 0 && value == s->fails_at) return ERR_NO_MEMORY;
    atomic_store(&s->waits, value == s->waits_at);
    while (value == s->waits_at && !atomic_load(&s->go)) usleep(100);
    s->sum += value;
    fold_ledger->read++;
    if (!s->lose_count) fold_ledger->used++;
    return value % 2 != 0 ? output_add(s->odd, record) : ERR_OK;
}

static enum err sum_load(struct processor *processor, struct store_snapshot *snapshot, struct diag *diag) {
    struct summing *s = (struct summing *)processor;
    const struct store_key key = {STORE_STATE, SLICE("sum"), SLICE("")};
    struct slice value;
    (void)diag;
    enum err err = store_get(s->store, snapshot, &key, &value);
    if (err == ERR_NOT_FOUND) return ERR_OK;
    if (err != ERR_OK) return err;
    struct reader in = reader_of(value);
    s->sum = reader_varint(&in);
    output_restore(s->odd, (int32_t)reader_varint(&in));
    return reader_end(&in);
}

static enum err sum_fold(struct processor *processor, const struct record_batch *batch, struct ledger_row *ledger,
                         struct diag *diag) {
    struct summing *s = (struct summing *)processor;
    struct arena arena;
    (void)diag;
    arena_init(&arena, 1 << 20);
    fold_ledger = ledger;
    enum err err = record_batch_visit(batch, &arena, sum_record, s);
    arena_deinit(&arena);
    return err == ERR_OK ? output_submit(s->odd) : err;
}

static enum err sum_freeze(struct processor *processor, struct store_snapshot *snapshot, struct store_batch *batch,
                           struct diag *diag) {
    struct summing *s = (struct summing *)processor;
    (void)snapshot;
    (void)diag;
    struct buf value;
    buf_init(&value, 64);
    buf_put_varint(&value, s->sum);
    buf_put_varint(&value, output_sequence(s->odd));
    const struct store_key key = {STORE_STATE, SLICE("sum"), SLICE("")};
    store_batch_put(batch, &key, buf_slice(&value));
    buf_deinit(&value);
    return store_batch_err(batch);
}

static enum err sum_flush(struct processor *processor, struct store_batch *batch, struct diag *diag) {
    (void)batch;
    (void)diag;
    if (((struct summing *)processor)->slow) usleep(500000);
    return output_flush(((struct summing *)processor)->odd, true);
}

static void sum_turn_ended(struct processor *processor) {
    struct summing *s = (struct summing *)processor;
    s->told = s->sum;
}

static void sum_committed(struct processor *processor) { (void)processor; }

static void sum_close(struct processor **processor) {
    struct summing *s = (struct summing *)*processor;
    assert_int_equal(output_flush(s->odd, true), ERR_OK);
    output_close(&s->odd);
    free(s);
    *processor = NULL;
}

static const struct processor_ops sum_ops = {
    .name = "sum",
    .load = sum_load,
    .fold = sum_fold,
    .turn_ended = sum_turn_ended,
    .freeze = sum_freeze,
    .flush = sum_flush,
    .committed = sum_committed,
    .close = sum_close,
};

/* --- a folder, a log, a store, a group --- */

struct rig {
    char folder[64];
    struct sim *sim; /* NULL: the real machine */
    struct log *log;
    struct log_partition *numbers, *odd;
    struct store *store;
    struct task_group *group;
    struct task *task;
    struct summing *summing;
};

static const struct sys *sys_of(const struct rig *rig) { return rig->sim != NULL ? sim_sys(rig->sim) : sys_real(); }

static struct log_partition *open_topic(struct rig *rig, const char *name) {
    struct diag diag;
    struct log_partition *partition;
    const struct log_topic_options options = {.partition_count = 1};
    enum err err = log_topic_create(rig->log, name, &options, &diag);
    assert_true(err == ERR_OK || err == ERR_EXISTS);
    assert_int_equal(log_partition_find(rig->log, name, 0, &partition), ERR_OK);
    return partition;
}

static enum err open_group_with(struct rig *rig, const struct task_group_options *options, struct diag *diag) {
    assert_int_equal(task_group_open(options, diag, &rig->group), ERR_OK);
    rig->summing = calloc(1, sizeof *rig->summing);
    assert_non_null(rig->summing);
    rig->summing->base.ops = &sum_ops;
    rig->summing->store = rig->store;
    assert_int_equal(output_open(rig->log, rig->odd, "sum/odd", &rig->summing->odd), ERR_OK);
    return task_group_add(rig->group, "sum", rig->numbers, &rig->summing->base, diag, &rig->task);
}

static enum err open_group(struct rig *rig, struct diag *diag) {
    return open_group_with(rig, &(struct task_group_options){.sys = sys_of(rig), .log = rig->log, .store = rig->store},
                           diag);
}

static void open_log_of(struct rig *rig) {
    struct diag diag = {0};
    const struct log_options options = {.sys = sys_of(rig), .folder = rig->folder, .segment_bytes = 1 << 20};
    assert_int_equal(log_open(&options, &diag, &rig->log), ERR_OK);
    rig->numbers = open_topic(rig, "numbers");
    rig->odd = open_topic(rig, "odd");
}

static int setup_on(void **state, struct sim *sim) {
    struct rig *rig = calloc(1, sizeof *rig);
    assert_non_null(rig);
    rig->sim = sim;
    snprintf(rig->folder, sizeof rig->folder, "/tmp/wick-task-XXXXXX");
    assert_non_null(mkdtemp(rig->folder));
    struct diag diag = {0};
    assert_int_equal(sys_make_folders(sys_of(rig), rig->folder, &diag), ERR_OK);
    open_log_of(rig);
    assert_int_equal(store_memory_open(STORE_MEMORY_TRANSACTIONAL, 1, &rig->store), ERR_OK);
    assert_int_equal(open_group(rig, &diag), ERR_OK);
    *state = rig;
    return 0;
}

static int setup(void **state) { return setup_on(state, NULL); }

static int setup_sim(void **state) { return setup_on(state, sim_make(1)); }

static int teardown(void **state) {
    struct rig *rig = *state;
    char command[128];
    task_group_close(&rig->group);
    store_close(&rig->store);
    log_close(&rig->log);
    if (rig->sim != NULL) sim_drop(&rig->sim);
    snprintf(command, sizeof command, "rm -rf %s", rig->folder);
    int code = system(command);
    free(rig);
    return code;
}

static void append_numbers(struct rig *rig, int first, int count) {
    struct record_batch_builder builder;
    record_batch_builder_init(&builder);
    record_batch_begin(&builder, RECORD_CODEC_NONE);
    for (int i = 0; i < count; i++) {
        char text[16];
        int size = snprintf(text, sizeof text, "%d", first + i);
        const struct record record = {.timestamp_ms = 1, .value = slice_of(text, (size_t)size + 1)};
        assert_int_equal(record_batch_add(&builder, &record), ERR_OK);
    }
    assert_int_equal(record_batch_end(&builder), ERR_OK);
    struct log_append append = {
        .partition = rig->numbers,
        .batch = builder.bytes.data,
        .batch_bytes = (uint32_t)builder.bytes.size,
        .record_count = (uint32_t)count,
    };
    assert_int_equal(log_append_wait(rig->log, &append), ERR_OK);
    record_batch_builder_deinit(&builder);
}

static void catch_up(struct rig *rig) {
    struct diag diag = {0};
    assert_int_equal(task_group_catch_up(rig->group, &diag), ERR_OK);
}

/* --- tests --- */

static void test_folds_and_balances(void **state) {
    struct rig *rig = *state;
    append_numbers(rig, 1, 100);
    assert_false(task_caught_up(rig->task));
    catch_up(rig);
    struct task_info info;
    task_group_info(rig->group, 0, &info);
    assert_int_equal(rig->summing->sum, 5050);
    assert_int_equal(info.ledger.used, 100);
    assert_int_equal(info.offset, 100);
    assert_true(ledger_balances(&info.ledger));
}

/* Crashes at random points between checkpoints: the sum, the ledger and the copies are as if there had been none. */
static void test_exactly_once_over_crashes(void **state) {
    struct rig *rig = *state;
    int64_t expected = 0;
    int next = 1;
    srand(7);
    for (int round = 0; round < 200; round++) {
        struct diag diag = {0};
        int count = 1 + rand() % 20;
        append_numbers(rig, next, count);
        for (int i = 0; i < count; i++) expected += next + i;
        next += count;
        catch_up(rig);
        assert_int_equal(rig->summing->sum, expected);
        if (rand() % 3 == 0) assert_int_equal(task_group_checkpoint(rig->group, &diag), ERR_OK);
        if (rand() % 2 == 0) {
            task_group_abandon(&rig->group);
            assert_int_equal(open_group(rig, &diag), ERR_OK);
        }
    }
    catch_up(rig);
    struct task_info info;
    task_group_info(rig->group, 0, &info);
    assert_int_equal(rig->summing->sum, expected);
    assert_int_equal(info.ledger.read, next - 1);
    assert_int_equal(output_flush(rig->summing->odd, true), ERR_OK);
    assert_int_equal(log_end_offset(rig->odd), next / 2);
}

static void test_checkpoint_survives_reopening_the_log(void **state) {
    struct rig *rig = *state;
    struct diag diag = {0};
    append_numbers(rig, 1, 10);
    catch_up(rig);
    task_group_close(&rig->group); /* takes the last checkpoint */
    log_close(&rig->log);
    open_log_of(rig);
    assert_int_equal(open_group(rig, &diag), ERR_OK);
    assert_int_equal(rig->summing->sum, 55);
    assert_true(task_caught_up(rig->task));
}

static void test_checkpoint_of_another_log_is_refused(void **state) {
    struct rig *rig = *state;
    struct diag diag = {0};
    append_numbers(rig, 1, 10);
    catch_up(rig);
    task_group_close(&rig->group);
    log_close(&rig->log);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s/*", rig->folder);
    assert_int_equal(system(command), 0);
    open_log_of(rig);
    struct task_group *group;
    assert_int_equal(open_group(rig, &diag), ERR_FOREIGN);
    assert_non_null(strstr(diag.what, "another log"));
    struct processor *processor = &rig->summing->base;
    sum_close(&processor);
    group = rig->group;
    task_group_abandon(&group);
    rig->group = NULL;
}

static void test_unbalanced_ledger_stops_the_task(void **state) {
    struct rig *rig = *state;
    struct diag diag = {0};
    rig->summing->lose_count = true;
    append_numbers(rig, 1, 3);
    assert_int_equal(task_group_catch_up(rig->group, &diag), ERR_STATE);
    assert_non_null(strstr(diag.what, "does not balance"));
    task_group_abandon(&rig->group);
    assert_int_equal(open_group(rig, &diag), ERR_OK);
}

struct seen {
    struct task_call call;
    int64_t sum;
    bool ran;
};

static void see(struct task_call *call, struct processor *processor, enum err err) {
    struct seen *seen = call->context;
    assert_int_equal(err, ERR_OK);
    seen->sum = ((struct summing *)processor)->sum;
    __atomic_store_n(&seen->ran, true, __ATOMIC_RELEASE);
}

/* A call sees everything that was durable when it was made. */
static void test_calls_wait_for_what_was_acknowledged(void **state) {
    struct rig *rig = *state;
    struct diag diag = {0};
    bool worked;
    struct seen before = {.call.run = see}, after = {.call.run = see};
    before.call.context = &before;
    after.call.context = &after;
    task_call(rig->task, &before.call);
    append_numbers(rig, 1, 10);
    task_call(rig->task, &after.call);
    assert_false(after.ran);
    assert_int_equal(task_group_step(rig->group, &diag, &worked), ERR_OK);
    assert_true(before.ran && after.ran);
    assert_int_equal(before.sum, 0);
    assert_int_equal(after.sum, 55);
}

/* With real threads: appends, calls and checkpoints at once. */
static void test_threads(void **state) {
    struct rig *rig = *state;
    struct diag diag = {0};
    assert_int_equal(log_start(rig->log, &diag), ERR_OK);
    task_group_abandon(&rig->group);
    const struct task_group_options options = {
        .sys = sys_real(), .log = rig->log, .store = rig->store, .checkpoint_ms = 5};
    assert_int_equal(open_group_with(rig, &options, &diag), ERR_OK);
    assert_int_equal(task_group_start(rig->group, &diag), ERR_OK);
    int64_t expected = 0;
    for (int i = 1; i <= 50; i++) {
        append_numbers(rig, i, 1);
        expected += i;
        struct seen seen = {.call.run = see};
        seen.call.context = &seen;
        task_call(rig->task, &seen.call);
        while (!__atomic_load_n(&seen.ran, __ATOMIC_ACQUIRE)) usleep(100);
        assert_true(seen.sum >= expected);
    }
    task_group_close(&rig->group);
    assert_int_equal(open_group(rig, &diag), ERR_OK);
    assert_int_equal(rig->summing->sum, expected);
}

/* --- a full disk --- */

static enum err collect_record(void *context, const struct record *record) {
    char *text = context;
    size_t size = strlen(text);
    snprintf(text + size, 512 - size, "%s ", (const char *)record->value.data);
    return ERR_OK;
}

/* What is in the topic of odd numbers, in order. */
static const char *odd_numbers(struct rig *rig) {
    static char text[512];
    struct diag diag = {0};
    struct log_cursor *cursor = NULL;
    struct record_batch batch;
    struct arena arena;
    text[0] = '\0';
    arena_init(&arena, 1 << 20);
    assert_int_equal(log_cursor_open(rig->odd, 0, &diag, &cursor), ERR_OK);
    while (log_cursor_next(cursor, &diag, &batch) == ERR_OK)
        assert_int_equal(record_batch_visit(&batch, &arena, collect_record, text), ERR_OK);
    log_cursor_close(&cursor);
    arena_deinit(&arena);
    return text;
}

static void add_number(struct output *output, const char *number) {
    const struct record record = {.timestamp_ms = 1, .value = slice_of(number, strlen(number) + 1)};
    assert_int_equal(output_add(output, &record), ERR_OK);
    assert_int_equal(output_submit(output), ERR_OK);
}

static void step_log(struct rig *rig) {
    uint32_t appends;
    while (log_step(rig->log, &appends) == ERR_OK && appends > 0) continue;
}

/* A producer the log has not heard of yet: its second batch must not be taken without its first. */
static void test_output_keeps_its_order_over_a_full_disk(void **state) {
    struct rig *rig = *state;
    struct output *output = rig->summing->odd;
    sim_set_free_bytes(rig->sim, 0);
    add_number(output, "1");
    step_log(rig);
    assert_int_equal(output_err(output), ERR_NO_SPACE);
    assert_int_equal(output_flush(output, true), ERR_NO_SPACE);
    sim_set_free_bytes(rig->sim, UINT64_MAX);
    add_number(output, "3");
    step_log(rig);
    add_number(output, "5");
    assert_int_equal(output_flush(output, true), ERR_OK);
    assert_int_equal(output_err(output), ERR_OK);
    assert_string_equal(odd_numbers(rig), "1 3 5 ");
    add_number(output, "7");
    assert_int_equal(output_flush(output, true), ERR_OK);
    assert_string_equal(odd_numbers(rig), "1 3 5 7 ");
}

/* It holds so much and no more; then its task folds nothing until there is room, and loses nothing. */
static void test_output_is_stuck_while_the_disk_is_full(void **state) {
    struct rig *rig = *state;
    struct output *output = rig->summing->odd;
    struct diag diag = {0};
    sim_set_free_bytes(rig->sim, 0);
    for (int i = 0; i < 256; i++) {
        assert_false(output_is_stuck(output));
        add_number(output, "1");
        step_log(rig);
    }
    assert_true(output_is_stuck(output));
    sim_set_free_bytes(rig->sim, UINT64_MAX);
    assert_int_equal(task_group_checkpoint(rig->group, &diag), ERR_OK);
    assert_false(output_is_stuck(output));
    assert_int_equal(log_end_offset(rig->odd), 256);
}

static void test_records_that_fill_a_batch_begin_another(void **state) {
    struct rig *rig = *state;
    struct output *output = rig->summing->odd;
    static uint8_t large[9 * 1024 * 1024];
    const struct record record = {.timestamp_ms = 1, .value = slice_of(large, sizeof large)};
    for (int i = 0; i < 3; i++) assert_int_equal(output_add(output, &record), ERR_OK);
    assert_int_equal(output_submit(output), ERR_OK);
    assert_int_equal(output_flush(output, true), ERR_OK);
    assert_int_equal(log_end_offset(rig->odd), 3);
    assert_int_equal(output_sequence(output), 3);
}

/* A checkpoint that had no room is tried again whole: its rows, its offset, and what belongs in topics before it. */
static void test_checkpoint_waits_for_room(void **state) {
    struct rig *rig = *state;
    struct diag diag = {0};
    struct task_info info;
    append_numbers(rig, 1, 5);
    catch_up(rig);
    sim_set_free_bytes(rig->sim, 0);
    assert_int_equal(task_group_checkpoint(rig->group, &diag), ERR_NO_SPACE);
    assert_int_equal(task_group_checkpoint(rig->group, &diag), ERR_NO_SPACE);
    task_group_info(rig->group, 0, &info);
    assert_int_equal(info.err, ERR_OK);
    assert_int_equal(info.checkpoint_offset, 0);
    sim_set_free_bytes(rig->sim, UINT64_MAX);
    append_numbers(rig, 6, 4);
    catch_up(rig);
    assert_int_equal(task_group_checkpoint(rig->group, &diag), ERR_OK);
    task_group_info(rig->group, 0, &info);
    assert_int_equal(info.checkpoint_offset, 9);
    assert_string_equal(odd_numbers(rig), "1 3 5 7 9 ");
    task_group_abandon(&rig->group);
    assert_int_equal(open_group(rig, &diag), ERR_OK);
    assert_int_equal(rig->summing->sum, 45);
}

/* --- how far a task may be behind --- */

/* At its limit a partition takes nothing; what waits too long is told to come again, and then goes in its order. */
static void test_appends_wait_at_a_limit(void **state) {
    struct rig *rig = *state;
    struct output *output = rig->summing->odd;
    add_number(output, "1");
    assert_int_equal(output_flush(output, true), ERR_OK);
    assert_true(log_written_bytes(rig->odd) > 0);
    log_set_limit(rig->odd, log_written_bytes(rig->odd));
    add_number(output, "3");
    add_number(output, "5");
    step_log(rig);
    append_numbers(rig, 2, 1); /* another partition goes on */
    assert_int_equal(log_end_offset(rig->odd), 1);
    assert_int_equal(output_err(output), ERR_OK);
    sim_advance(rig->sim, 5001);
    step_log(rig);
    assert_int_equal(output_err(output), ERR_BUSY);
    log_set_limit(rig->odd, 0);
    assert_int_equal(output_flush(output, true), ERR_OK);
    assert_string_equal(odd_numbers(rig), "1 3 5 ");
}

/* Checkpoints that take long hold back what is written. */
static void test_input_waits_for_checkpoints(void **state) {
    struct rig *rig = *state;
    struct diag diag = {0};
    static char value[256 * 1024] = "2";
    const struct record record = {.timestamp_ms = 1, .value = slice_of(value, sizeof value)};
    struct record_batch_builder builder;
    record_batch_builder_init(&builder);
    rig->summing->slow = true;
    assert_int_equal(log_start(rig->log, &diag), ERR_OK);
    assert_int_equal(task_group_start(rig->group, &diag), ERR_OK);
    int64_t most = 0;
    for (int i = 0; i < 280; i++) { /* 70 MiB */
        struct task_info info;
        record_batch_begin(&builder, RECORD_CODEC_NONE);
        assert_int_equal(record_batch_add(&builder, &record), ERR_OK);
        assert_int_equal(record_batch_end(&builder), ERR_OK);
        struct log_append append = {.partition = rig->numbers,
                                    .batch = builder.bytes.data,
                                    .batch_bytes = (uint32_t)builder.bytes.size,
                                    .record_count = 1};
        assert_int_equal(log_append_wait(rig->log, &append), ERR_OK);
        task_group_info(rig->group, 0, &info);
        const int64_t behind = info.end_offset - info.checkpoint_offset;
        if (behind > most) most = behind;
    }
    record_batch_builder_deinit(&builder);
    assert_true(most <= 45 * 4);
    assert_int_equal(task_group_wait(rig->group, &diag), ERR_OK);
    assert_int_equal(task_group_stop(rig->group, &diag), ERR_OK);
    assert_int_equal(rig->summing->sum, 2 * 280);
}

/* A command that folds a long log must not hold all that comes of it. */
static void test_catching_up_takes_checkpoints(void **state) {
    enum { BATCHES = 200, NUMBERS = 10 };
    struct rig *rig = *state;
    struct diag diag = {0};
    struct task_info info;
    task_group_abandon(&rig->group);
    const struct task_group_options options = {
        .sys = sys_of(rig), .log = rig->log, .store = rig->store, .checkpoint_log_bytes = 1024};
    assert_int_equal(open_group_with(rig, &options, &diag), ERR_OK);
    for (int i = 0; i < BATCHES; i++) append_numbers(rig, 1 + i * NUMBERS, NUMBERS);
    catch_up(rig);
    task_group_info(rig->group, 0, &info);
    assert_in_range(info.checkpoint_offset, (BATCHES - 64) * NUMBERS, BATCHES * NUMBERS); /* but for a turn */
    task_group_abandon(&rig->group);
    assert_int_equal(open_group(rig, &diag), ERR_OK);
    catch_up(rig);
    assert_int_equal(rig->summing->sum, BATCHES * NUMBERS * (BATCHES * NUMBERS + 1) / 2);
}

/* --- tasks that stop --- */

/* It stopped between two records of a batch: what it holds belongs to no offset. */
static void test_stopped_task_is_not_checkpointed(void **state) {
    struct rig *rig = *state;
    struct diag diag = {0};
    struct task_info info;
    append_numbers(rig, 1, 4);
    catch_up(rig);
    rig->summing->fails_at = 7;
    append_numbers(rig, 5, 4);
    assert_int_equal(task_group_catch_up(rig->group, &diag), ERR_NO_MEMORY);
    assert_int_equal(rig->summing->sum, 21);
    assert_int_equal(task_group_checkpoint(rig->group, &diag), ERR_OK);
    task_group_info(rig->group, 0, &info);
    assert_int_equal(info.checkpoint_offset, 0);
    task_group_close(&rig->group);
    assert_int_equal(open_group(rig, &diag), ERR_OK);
    assert_int_equal(rig->summing->sum, 0);
    catch_up(rig);
    task_group_info(rig->group, 0, &info);
    assert_int_equal(rig->summing->sum, 36);
    assert_int_equal(info.ledger.read, 8);
    assert_int_equal(output_flush(rig->summing->odd, true), ERR_OK);
    assert_string_equal(odd_numbers(rig), "1 3 5 7 ");
}

static int64_t standing_clock(void *context) {
    (void)context;
    return 1000000000;
}

static void *hold_main(void *context) {
    struct rig *rig = context;
    struct diag diag = {0};
    assert_int_equal(task_group_hold(rig->group, TASK_STOP, NULL, NULL, &diag), ERR_OK);
    return NULL;
}

/* Who holds the tasks may close what they hold: by then it was told, though they are behind and, by the clock, it is not time
 * to. */
static void test_held_tasks_have_told_all(void **state) {
    enum { COUNT = 400, WAITS_AT = 100 };
    struct rig *rig = *state;
    struct diag diag = {0};
    pthread_t holder;
    struct sys standing = *sys_real();
    standing.monotonic_ns = standing_clock;
    task_group_abandon(&rig->group);
    const struct task_group_options options = {.sys = &standing, .log = rig->log, .store = rig->store};
    assert_int_equal(open_group_with(rig, &options, &diag), ERR_OK);
    rig->summing->waits_at = WAITS_AT;
    for (int i = 1; i <= COUNT; i++) append_numbers(rig, i, 1);
    assert_int_equal(log_start(rig->log, &diag), ERR_OK);
    assert_int_equal(task_group_start(rig->group, &diag), ERR_OK);
    while (!atomic_load(&rig->summing->waits)) usleep(100);
    assert_int_equal(pthread_create(&holder, NULL, hold_main, rig), 0);
    usleep(50000); /* so that it asks before the tasks go on */
    atomic_store(&rig->summing->go, true);
    pthread_join(holder, NULL);
    assert_int_equal(rig->summing->told, rig->summing->sum);
    task_group_close(&rig->group);
}

static _Atomic int64_t ahead_ns;

static int64_t clock_ahead(void *context) {
    (void)context;
    return sys_monotonic_ns(sys_real()) + atomic_load(&ahead_ns);
}

/* Events that stop shortly before a checkpoint is due do not wait for the next one. */
static void test_checkpoints_are_no_further_apart_than_they_may_be(void **state) {
    enum { EVERY_MS = 100000, BEFORE_MS = 300, PATIENCE_MS = 20000 };
    struct rig *rig = *state;
    struct diag diag = {0};
    struct task_info info = {0};
    struct sys sys = *sys_real();
    sys.monotonic_ns = clock_ahead;
    task_group_abandon(&rig->group);
    const struct task_group_options options = {
        .sys = &sys, .log = rig->log, .store = rig->store, .checkpoint_ms = EVERY_MS};
    assert_int_equal(open_group_with(rig, &options, &diag), ERR_OK);
    assert_int_equal(log_start(rig->log, &diag), ERR_OK);
    assert_int_equal(task_group_start(rig->group, &diag), ERR_OK);
    atomic_store(&ahead_ns, (EVERY_MS - BEFORE_MS) * INT64_C(1000000));
    append_numbers(rig, 1, 1);
    for (int i = 0; i < PATIENCE_MS && info.checkpoint_offset == 0; i++) {
        usleep(1000);
        task_group_info(rig->group, 0, &info);
    }
    assert_int_equal(info.checkpoint_offset, 1);
    task_group_close(&rig->group);
}

int main(void) {
#define TEST_SIM(name) cmocka_unit_test_setup_teardown(name, setup_sim, teardown)
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_folds_and_balances),
        TEST(test_exactly_once_over_crashes),
        TEST(test_checkpoint_survives_reopening_the_log),
        TEST(test_checkpoint_of_another_log_is_refused),
        TEST(test_unbalanced_ledger_stops_the_task),
        TEST(test_calls_wait_for_what_was_acknowledged),
        TEST(test_threads),
        TEST_SIM(test_output_keeps_its_order_over_a_full_disk),
        TEST_SIM(test_output_is_stuck_while_the_disk_is_full),
        TEST(test_records_that_fill_a_batch_begin_another),
        TEST_SIM(test_checkpoint_waits_for_room),
        TEST(test_held_tasks_have_told_all),
        TEST(test_checkpoints_are_no_further_apart_than_they_may_be),
        TEST(test_stopped_task_is_not_checkpointed),
        TEST_SIM(test_appends_wait_at_a_limit),
        TEST(test_input_waits_for_checkpoints),
        TEST(test_catching_up_takes_checkpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
