/* What a candle task does with the records it refuses: each is kept once, whatever its size and however many events of it were
 * late, and none can stop the task. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "candle/desk.h"
#include "flow/output.h"

static const int64_t T0_MS = 1700000000000;

/* A record's value is "COUNT SECOND": so many prices of one series from that second on, a millisecond apart; spaces may follow. */
struct counting_decoder {
    struct event_decoder base;
    uint32_t series;
};

static enum err decode_counts(struct event_decoder *decoder, const struct record *record, struct diag *diag,
                              struct event *events, uint32_t max, uint32_t *ret_count) {
    char text[32] = {0}, *behind, *end;
    memcpy(text, record->value.data, record->value.size < 31 ? record->value.size : 31);
    const uint32_t count = (uint32_t)strtoul(text, &behind, 10), second = (uint32_t)strtoul(behind, &end, 10);
    if (behind == text || end == behind) return diag_set(diag, ERR_SYNTAX, "not two numbers");
    if (record->value.size > REFUSED_VALUE_MAX) return diag_set(diag, ERR_TOO_LARGE, "%zu bytes", record->value.size);
    if (count > max) return diag_set(diag, ERR_TOO_LARGE, "%u events", count);
    for (uint32_t i = 0; i < count; i++)
        events[i] = (struct event){.series = ((struct counting_decoder *)decoder)->series,
                                   .time_ms = T0_MS + second * INT64_C(1000) + i,
                                   .price = 100 + i,
                                   .quantity = 1,
                                   .kind = EVENT_PRICE};
    *ret_count = count;
    return ERR_OK;
}

static void close_counts(struct event_decoder **decoder) {
    free(*decoder);
    *decoder = NULL;
}

static const struct event_decoder_ops counting_ops = {decode_counts, close_counts};

struct rig {
    char folder[64];
    struct log *log;
    struct store *store;
    struct series_table *series;
    struct latest_table *latest;
    struct shelf *shelf;
    struct task_group *tasks;
    struct task *task;
    struct log_partition *input, *late, *invalid;
};

static struct log_partition *topic(struct rig *rig, const char *name) {
    struct diag diag = {0};
    struct log_partition *partition = NULL;
    const struct log_topic_options options = {.partition_count = 1};
    assert_int_equal(log_topic_create(rig->log, name, &options, &diag), ERR_OK);
    assert_int_equal(log_partition_find(rig->log, name, 0, &partition), ERR_OK);
    return partition;
}

static void open_task(struct rig *rig) {
    struct diag diag = {0};
    struct processor *processor = NULL;
    const struct series_key key = {SLICE("desk"), SLICE("BTC"), SLICE("USD"), SERIES_PRICE};
    const struct task_group_options group = {.sys = sys_real(), .log = rig->log, .store = rig->store};
    struct counting_decoder *decoder = calloc(1, sizeof *decoder);
    decoder->base.ops = &counting_ops;
    assert_int_equal(series_intern(rig->series, &key, &decoder->series), ERR_OK);
    const struct candle_task_options options = {
        .name = "candles/prices/0",
        .log = rig->log,
        .input = rig->input,
        .store = rig->store,
        .shelf = rig->shelf,
        .series = rig->series,
        .latest = rig->latest,
        .decoder = &decoder->base,
        .base_ms = 60000,
        .late = rig->late,
        .invalid = rig->invalid,
        .stepped = true,
    };
    assert_int_equal(task_group_open(&group, &diag, &rig->tasks), ERR_OK);
    assert_int_equal(candle_processor_open(&options, &diag, &processor), ERR_OK);
    assert_int_equal(task_group_add(rig->tasks, options.name, rig->input, processor, &diag, &rig->task), ERR_OK);
}

static int setup(void **state) {
    struct rig *rig = calloc(1, sizeof *rig);
    struct diag diag = {0};
    snprintf(rig->folder, sizeof rig->folder, "/tmp/wick-processor-XXXXXX");
    assert_non_null(mkdtemp(rig->folder));
    const struct log_options log = {.sys = sys_real(), .folder = rig->folder, .segment_bytes = 64 << 20};
    assert_int_equal(log_open(&log, &diag, &rig->log), ERR_OK);
    rig->input = topic(rig, "prices");
    rig->late = topic(rig, "prices.late");
    rig->invalid = topic(rig, "prices.invalid");
    assert_int_equal(store_memory_open(STORE_MEMORY_TRANSACTIONAL, 1, &rig->store), ERR_OK);
    assert_int_equal(series_table_open(&rig->series), ERR_OK);
    assert_int_equal(latest_table_open(&rig->latest), ERR_OK);
    const struct shelf_options shelf = {.store = rig->store, .log = rig->log, .series = rig->series, .base_ms = 60000};
    assert_int_equal(shelf_open(&shelf, &diag, &rig->shelf), ERR_OK);
    open_task(rig);
    *state = rig;
    return 0;
}

static int teardown(void **state) {
    struct rig *rig = *state;
    task_group_abandon(&rig->tasks);
    shelf_close(&rig->shelf);
    latest_table_close(&rig->latest);
    series_table_close(&rig->series);
    store_close(&rig->store);
    log_close(&rig->log);
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", rig->folder);
    int code = system(command);
    free(rig);
    return code;
}

/* One batch of `copies` records with this value, filled with spaces up to `size`. */
static void append(struct rig *rig, const char *text, size_t size, uint32_t copies) {
    struct record_batch_builder builder;
    if (size < strlen(text)) size = strlen(text);
    char *value = malloc(size);
    memset(value, ' ', size);
    memcpy(value, text, strlen(text));
    record_batch_builder_init(&builder);
    record_batch_begin(&builder, RECORD_CODEC_NONE);
    const struct record record = {.timestamp_ms = T0_MS + 600000, .value = slice_of(value, size)};
    for (uint32_t i = 0; i < copies; i++) assert_int_equal(record_batch_add(&builder, &record), ERR_OK);
    assert_int_equal(record_batch_end(&builder), ERR_OK);
    struct log_append one = {.partition = rig->input,
                             .batch = builder.bytes.data,
                             .batch_bytes = (uint32_t)builder.bytes.size,
                             .record_count = copies};
    assert_int_equal(log_append_wait(rig->log, &one), ERR_OK);
    record_batch_builder_deinit(&builder);
    free(value);
}

static struct ledger_row fold(struct rig *rig) {
    struct diag diag = {0};
    struct task_info info;
    if (task_group_catch_up(rig->tasks, &diag) != ERR_OK) fail_msg("the task stopped: %s", diag.what);
    assert_int_equal(task_group_checkpoint(rig->tasks, &diag), ERR_OK);
    task_group_info(rig->tasks, 0, &info);
    return info.ledger;
}

struct kept {
    uint32_t count;
    size_t value_bytes; /* of the last */
    char headers[256];  /* of the last: "key=value " */
};

static enum err see_kept(void *context, const struct record *record) {
    struct kept *kept = context;
    size_t at = 0;
    kept->count++;
    kept->value_bytes = record->value.size;
    for (uint32_t i = 0; i < record->header_count; i++) {
        const struct record_header *h = &record->headers[i];
        at += (size_t)snprintf(kept->headers + at, sizeof kept->headers - at, "%.*s=%.*s ", (int)h->key.size,
                               (const char *)h->key.data, (int)h->value.size, (const char *)h->value.data);
    }
    return ERR_OK;
}

static struct kept kept_in(struct log_partition *partition) {
    struct kept kept = {0};
    struct diag diag = {0};
    struct log_cursor *cursor = NULL;
    struct record_batch batch;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    assert_int_equal(log_cursor_open(partition, 0, &diag, &cursor), ERR_OK);
    while (log_cursor_next(cursor, &diag, &batch) == ERR_OK)
        assert_int_equal(record_batch_visit(&batch, &arena, see_kept, &kept), ERR_OK);
    log_cursor_close(&cursor);
    arena_deinit(&arena);
    return kept;
}

/* As large as a request's batch can be: the copy with its headers would not fit one. */
static void a_large_record_is_cut(void **state) {
    struct rig *rig = *state;
    const size_t large = RECORD_BATCH_MAX_BYTES - 100;
    append(rig, "1 0", large, 1);
    append(rig, "1 0", 0, 1);
    const struct ledger_row row = fold(rig);
    assert_int_equal(row.invalid, 1);
    assert_int_equal(row.used, 1);
    const struct kept kept = kept_in(rig->invalid);
    char text[64];
    snprintf(text, sizeof text, "detail=%zu bytes offset=0 cut=%zu ", large, large);
    assert_int_equal(kept.count, 1);
    assert_int_equal(kept.value_bytes, REFUSED_VALUE_MAX);
    assert_non_null(strstr(kept.headers, "reason=too-large "));
    assert_non_null(strstr(kept.headers, text));
}

/* A batch of messages, of which every event is late: a copy for each event would be 100 times the batch. */
static void late_messages_are_kept_once(void **state) {
    struct rig *rig = *state;
    append(rig, "1 500", 0, 1);
    append(rig, "100 10", 2000, 100);
    struct ledger_row row = fold(rig);
    assert_int_equal(row.used, 1);
    assert_int_equal(row.late, 10000);
    struct kept kept = kept_in(rig->late);
    assert_int_equal(kept.count, 100);
    assert_int_equal(kept.value_bytes, 2000);
    assert_string_equal(kept.headers, "reason=late events=100 ");
    /* Those of one that are in time are folded, and of the copy it is told how many were not. */
    append(rig, "3 489", 0, 1);
    append(rig, "1 499", 0, 1);
    row = fold(rig);
    assert_int_equal(row.late, 10003);
    assert_int_equal(row.used, 2);
    kept = kept_in(rig->late);
    assert_int_equal(kept.count, 101);
    assert_string_equal(kept.headers, "reason=late events=3 ");
}

/* Copies that fill more than one batch: refused ones of 1 MiB each, of 15 records in one batch. */
static void copies_fill_as_many_batches_as_they_need(void **state) {
    struct rig *rig = *state;
    append(rig, "x", REFUSED_VALUE_MAX, 15);
    append(rig, "x", REFUSED_VALUE_MAX, 15);
    assert_int_equal(fold(rig).invalid, 30);
    assert_int_equal(kept_in(rig->invalid).count, 30);
}

static void messages_hold_as_many_events_as_imports_take(void **state) {
    struct rig *rig = *state;
    append(rig, "2048 0", 0, 3);
    append(rig, "2049 0", 0, 1);
    append(rig, "1 0", 0, 1);
    const struct ledger_row row = fold(rig);
    assert_int_equal(row.used + row.duplicate, 3 * 2048 + 1);
    assert_int_equal(row.used, 2048);
    assert_int_equal(row.invalid, 1);
}

static void events_of_the_future_are_kept_once(void **state) {
    struct rig *rig = *state;
    append(rig, "1000 899", 0,
           1); /* 300 s behind the append time ends what is taken: the first ms of it is not ahead */
    append(rig, "10 901", 0, 2);
    const struct ledger_row row = fold(rig);
    assert_int_equal(row.used, 1000);
    assert_int_equal(row.invalid, 20);
    const struct kept kept = kept_in(rig->invalid);
    assert_int_equal(kept.count, 2);
    assert_non_null(strstr(kept.headers, "reason=future "));
    assert_non_null(strstr(kept.headers, "events=10 "));
}

int main(void) {
#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_large_record_is_cut),
        CASE(late_messages_are_kept_once),
        CASE(copies_fill_as_many_batches_as_they_need),
        CASE(messages_hold_as_many_events_as_imports_take),
        CASE(events_of_the_future_are_kept_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
