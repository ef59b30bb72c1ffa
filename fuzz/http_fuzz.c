/* The API in process, over a real log, store and candle task: any target and body, then an answer. The input is a line with
 * method letter and target ("G/v1/latest?base=BTC", "P/v1/prices"), and the body behind it. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/api.h"
#include "codec/input.h"
#include "venue/venue.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct decoder {
    struct event_decoder base; /* first */
    struct price_decoder *prices;
    uint8_t padded[1024 * 1024];
};

static struct {
    char folder[64];
    struct log *log;
    struct store *store;
    struct shelf *shelf;
    struct series_table *series;
    struct latest_table *latest;
    struct candle_desk *desk;
    struct task_group *tasks;
    struct log_partition *prices, *invalid;
    struct api *api;
} all;

static enum err decode(struct event_decoder *base, const struct record *record, struct diag *diag, struct event *events,
                       uint32_t max, uint32_t *ret_count) {
    struct decoder *self = (struct decoder *)base;
    (void)max;
    if (record->value.size + INPUT_PADDING_BYTES > sizeof self->padded) return ERR_TOO_LARGE;
    memcpy(self->padded, record->value.data, record->value.size);
    memset(self->padded + record->value.size, 0, INPUT_PADDING_BYTES);
    enum err err = price_decode(self->prices, slice_of(self->padded, record->value.size), diag, events);
    if (err == ERR_OK) *ret_count = 1;
    return err;
}

static void close_decoder(struct event_decoder **decoder) { *decoder = NULL; }

static void must(enum err err) {
    if (err != ERR_OK) fprintf(stderr, "%s\n", err_name(err));
    assert(err == ERR_OK);
}

static enum err forget(void *context, const struct sys_entry *entry) {
    char path[512];
    const struct sys *sys = sys_real();
    snprintf(path, sizeof path, "%s/%s", (const char *)context, entry->name);
    if (entry->folder) {
        (void)!sys->disk_ops->list(sys->disk, path, forget, path);
        (void)!rmdir(path);
    } else {
        (void)!unlink(path);
    }
    return ERR_OK;
}

static void clean(void) {
    const struct sys *sys = sys_real();
    (void)!sys->disk_ops->list(sys->disk, all.folder, forget, all.folder);
    (void)!rmdir(all.folder);
}

static void open_storage(void) {
    struct diag diag = {0};
    /* Memory where there is some: this is about requests, not the disk. */
    snprintf(all.folder, sizeof all.folder, "%s/wick-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    char *made = mkdtemp(all.folder);
    assert(made != NULL);
    atexit(clean);
    must(log_open(&(struct log_options){.sys = sys_real(), .folder = all.folder, .segment_bytes = 1024 * 1024}, &diag,
                  &all.log));
    must(log_topic_create(all.log, "prices", &(struct log_topic_options){0}, &diag));
    must(log_topic_create(all.log, "prices.invalid", &(struct log_topic_options){0}, &diag));
    must(log_partition_find(all.log, "prices", 0, &all.prices));
    must(log_partition_find(all.log, "prices.invalid", 0, &all.invalid));
    must(store_memory_open(STORE_MEMORY_TRANSACTIONAL, 0, &all.store));
    must(series_table_open(&all.series));
    must(latest_table_open(&all.latest));
    const struct shelf_options shelf = {.store = all.store, .log = all.log, .series = all.series, .base_ms = 60000};
    must(shelf_open(&shelf, &diag, &all.shelf));
}

static void open_tasks(void) {
    struct diag diag = {0};
    struct decoder *decoder = calloc(1, sizeof *decoder);
    static const struct event_decoder_ops ops = {decode, close_decoder};
    struct processor *processor = NULL;
    struct task *task = NULL;
    assert(decoder != NULL);
    decoder->base.ops = &ops;
    must(price_decoder_open(all.series, &decoder->prices));
    must(task_group_open(&(struct task_group_options){.sys = sys_real(), .log = all.log, .store = all.store}, &diag,
                         &all.tasks));
    const struct candle_task_options options = {
        .name = "candles/prices/0",
        .log = all.log,
        .input = all.prices,
        .store = all.store,
        .shelf = all.shelf,
        .series = all.series,
        .latest = all.latest,
        .decoder = &decoder->base,
        .base_ms = 60000,
        .stepped = true,
    };
    must(candle_processor_open(&options, &diag, &processor));
    must(task_group_add(all.tasks, options.name, all.prices, processor, &diag, &task));
    must(candle_desk_open(&all.desk));
    must(candle_desk_add(all.desk, SERIES_PRICE, "", task, processor));
}

static void open_api(void) {
    struct diag diag = {0};
    const struct api_options options = {
        .sys = sys_real(),
        .log = all.log,
        .store = all.store,
        .series = all.series,
        .latest = all.latest,
        .tasks = all.tasks,
        .desk = all.desk,
        .prices = &all.prices,
        .prices_count = 1,
        .prices_invalid = all.invalid,
        .base_ms = 60000,
    };
    must(api_open(&options, &diag, &all.api));
}

static void pump(void *context) {
    (void)context;
    struct diag diag = {0};
    uint32_t appends;
    bool worked;
    must(log_step(all.log, &appends));
    must(task_group_step(all.tasks, &diag, &worked));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char target[8192 + 16];
    const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
    const size_t line = end != NULL ? (size_t)(end - data) : size;
    if (line < 2 || line > sizeof target) return 0;
    if (all.api == NULL) {
        open_storage();
        open_tasks();
        open_api();
    }
    memcpy(target, data + 1, line - 1);
    target[line - 1] = '\0';
    const struct slice body = end != NULL ? slice_of(end + 1, size - line - 1) : SLICE_NONE;
    static const enum http_method methods[] = {HTTP_GET, HTTP_POST, HTTP_HEAD, HTTP_OPTIONS, HTTP_OTHER};
    const enum http_method method = data[0] == 'G' ? HTTP_GET : data[0] == 'P' ? HTTP_POST : methods[data[0] % 5];
    unsigned status = 0;
    struct buf answer;
    char type[64];
    enum err err = http_local(api_handler(all.api), method, target, body, pump, NULL, &status, &answer, type);
    if (err != ERR_OK) return 0; /* an answer past its limit */
    assert(status >= 200 && status < 600);
    if (status >= 400) assert(memmem(answer.data, answer.size, "\"error\"", 7) != NULL || status == 503);
    buf_deinit(&answer);
    return 0;
}
