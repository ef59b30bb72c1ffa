#include "api/api_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "codec/input.h"
#include "venue/venue.h"
// cmocka.h needs its standard headers before it
#include <cmocka.h>

struct decoder {
    struct event_decoder base; /* first */
    struct price_decoder *prices;
    struct buf padded;
};

static enum err decode(struct event_decoder *base, const struct record *record, struct diag *diag, struct event *events,
                       uint32_t max, uint32_t *ret_count) {
    struct decoder *self = (struct decoder *)base;
    (void)max;
    buf_clear(&self->padded);
    uint8_t *to = buf_reserve(&self->padded, record->value.size + INPUT_PADDING_BYTES);
    assert_non_null(to);
    memcpy(to, record->value.data, record->value.size);
    memset(to + record->value.size, 0, INPUT_PADDING_BYTES);
    enum err err = price_decode(self->prices, slice_of(to, record->value.size), diag, events);
    if (err == ERR_OK) *ret_count = 1;
    return err;
}

static void decoder_close(struct event_decoder **base) {
    struct decoder *self = (struct decoder *)*base;
    price_decoder_close(&self->prices);
    buf_deinit(&self->padded);
    free(self);
    *base = NULL;
}

static const struct event_decoder_ops decoder_ops = {decode, decoder_close};

static struct event_decoder *decoder_open(struct series_table *series) {
    struct decoder *self = calloc(1, sizeof *self);
    assert_non_null(self);
    self->base.ops = &decoder_ops;
    buf_init(&self->padded, 32 * 1024 * 1024);
    assert_int_equal(price_decoder_open(series, &self->prices), ERR_OK);
    return &self->base;
}

static void must(enum err err, const struct diag *diag) {
    if (err != ERR_OK) print_error("%s: %s\n", err_name(err), diag->what);
    assert_int_equal(err, ERR_OK);
}

static void make_topic(struct fixture *fixture, const char *name, uint32_t partitions) {
    struct diag diag = {0};
    const enum err err =
        log_topic_create(fixture->log, name, &(struct log_topic_options){.partition_count = partitions}, &diag);
    if (err != ERR_EXISTS) must(err, &diag);
}

static void open_parts(struct fixture *fixture) {
    struct diag diag = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/log", fixture->folder);
    must(sys_make_folders(sys_real(), path, &diag), &diag);
    must(log_open(&(struct log_options){.sys = sys_real(),
                                        .folder = path,
                                        .segment_bytes = 16 * 1024 * 1024,
                                        .reserve_bytes = fixture->reserve_bytes},
                  &diag, &fixture->log),
         &diag);
    make_topic(fixture, "prices", fixture->partitions);
    make_topic(fixture, "prices.invalid", 1);
    for (uint32_t i = 0; i < fixture->partitions; i++)
        must(log_partition_find(fixture->log, "prices", i, &fixture->prices[i]), &diag);
    must(log_partition_find(fixture->log, "prices.invalid", 0, &fixture->invalid), &diag);
    must(store_memory_open(STORE_MEMORY_TRANSACTIONAL, 0, &fixture->store), &diag);
    must(series_table_open(&fixture->series), &diag);
    must(latest_table_open(&fixture->latest), &diag);
    must(candle_desk_open(&fixture->desk), &diag);
    const struct shelf_options shelf = {
        .store = fixture->store, .log = fixture->log, .series = fixture->series, .base_ms = 60000};
    must(shelf_open(&shelf, &diag, &fixture->shelf), &diag);
}

static void open_task(struct fixture *fixture, uint32_t index) {
    struct diag diag = {0};
    char name[64];
    snprintf(name, sizeof name, "candles/prices/%u", index);
    const struct candle_task_options options = {
        .name = name,
        .log = fixture->log,
        .input = fixture->prices[index],
        .store = fixture->store,
        .shelf = fixture->shelf,
        .series = fixture->series,
        .latest = fixture->latest,
        .decoder = decoder_open(fixture->series),
        .base_ms = 60000,
    };
    struct processor *processor = NULL;
    struct task *task = NULL;
    must(candle_processor_open(&options, &diag, &processor), &diag);
    must(task_group_add(fixture->tasks, name, fixture->prices[index], processor, &diag, &task), &diag);
    must(candle_desk_add(fixture->desk, SERIES_PRICE, "", task, processor), &diag);
}

static int64_t fixture_now(void *context) {
    const struct fixture *fixture = context;
    return fixture->now_ms != 0 ? fixture->now_ms : sys_wall_ms(sys_real());
}

static void open_server(struct fixture *fixture) {
    struct diag diag = {0};
    const struct server_options options = {
        .sys = sys_real(),
        .listen = "127.0.0.1:0",
        .handler = api_handler(fixture->api),
        .websocket = api_websocket(),
        .websocket_context = fixture->api,
    };
    must(server_open(&options, &diag, &fixture->server), &diag);
    api_set_server(fixture->api, fixture->server);
    fixture->port = (int)strtol(strrchr(server_address(fixture->server), ':') + 1, NULL, 10);
}

void fixture_open(struct fixture *fixture, uint32_t partitions, bool with_server) {
    struct diag diag = {0};
    fixture->partitions = partitions;
    if (fixture->folder[0] == '\0') {
        snprintf(fixture->folder, sizeof fixture->folder, "/tmp/wick-api-test-XXXXXX");
        assert_non_null(mkdtemp(fixture->folder));
    }
    open_parts(fixture);
    must(task_group_open(&(struct task_group_options){.sys = sys_real(),
                                                      .log = fixture->log,
                                                      .store = fixture->store,
                                                      .checkpoint_ms = fixture->checkpoint_ms},
                         &diag, &fixture->tasks),
         &diag);
    for (uint32_t i = 0; i < partitions; i++) open_task(fixture, i);
    static const struct api_base bases[] = {{"SOL", "EUR", "kraken"}};
    const struct api_options options = {
        .sys = sys_real(),
        .log = fixture->log,
        .store = fixture->store,
        .series = fixture->series,
        .latest = fixture->latest,
        .tasks = fixture->tasks,
        .desk = fixture->desk,
        .folder = fixture->folder,
        .prices = fixture->prices,
        .prices_count = partitions,
        .prices_invalid = fixture->invalid,
        .base_ms = fixture->api_base_ms != 0 ? fixture->api_base_ms : 60000,
        .live = true,
        .bases = bases,
        .base_count = 1,
        .now_ms = fixture_now,
        .now_context = fixture,
    };
    must(api_open(&options, &diag, &fixture->api), &diag);
    must(log_start(fixture->log, &diag), &diag);
    must(task_group_start(fixture->tasks, &diag), &diag);
    if (with_server) open_server(fixture);
}

void fixture_close(struct fixture *fixture) {
    if (fixture->server != NULL) {
        api_set_server(fixture->api, NULL);
        server_close(&fixture->server);
    }
    task_group_close(&fixture->tasks);
    api_close(&fixture->api);
    candle_desk_close(&fixture->desk);
    shelf_close(&fixture->shelf);
    latest_table_close(&fixture->latest);
    series_table_close(&fixture->series);
    store_close(&fixture->store);
    log_close(&fixture->log);
    buf_deinit(&fixture->body);
}

static enum err forget(void *context, const struct sys_entry *entry) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", (const char *)context, entry->name);
    const struct sys *sys = sys_real();
    if (entry->folder) {
        (void)!sys->disk_ops->list(sys->disk, path, forget, path);
        (void)!rmdir(path);
    } else {
        (void)!sys->disk_ops->unlink(sys->disk, path);
    }
    return ERR_OK;
}

void fixture_remove(struct fixture *fixture) {
    const struct sys *sys = sys_real();
    (void)!sys->disk_ops->list(sys->disk, fixture->folder, forget, fixture->folder);
    (void)!rmdir(fixture->folder);
    *fixture = (struct fixture){0};
}

static unsigned ask(struct fixture *fixture, enum http_method method, const char *target, struct slice body) {
    buf_deinit(&fixture->body);
    const enum err err = http_local(api_handler(fixture->api), method, target, body, NULL, NULL, &fixture->status,
                                    &fixture->body, fixture->type);
    assert_int_equal(err, ERR_OK);
    return fixture->status;
}

unsigned fixture_get(struct fixture *fixture, const char *target) { return ask(fixture, HTTP_GET, target, SLICE_NONE); }

unsigned fixture_post(struct fixture *fixture, const char *target, const char *body) {
    return ask(fixture, HTTP_POST, target, slice_text(body));
}

const char *fixture_text(struct fixture *fixture) {
    uint8_t *end = buf_reserve(&fixture->body, 1);
    assert_non_null(end);
    *end = '\0';
    return (const char *)fixture->body.data;
}

void fixture_expect(struct fixture *fixture, unsigned status, const char *part) {
    const char *text = fixture_text(fixture);
    if (fixture->status != status || strstr(text, part) == NULL)
        print_error("%u %s\nwanted %u with: %s\n", fixture->status, text, status, part);
    assert_int_equal(fixture->status, status);
    assert_non_null(strstr(text, part));
}

const char *price_json(const char *base, const char *price, int64_t time_ms) {
    static char text[512];
    snprintf(text, sizeof text,
             "{\"baseCurrency\":\"%s\",\"quoteCurrency\":\"USDT\",\"exchange\":\"binance\",\"price\":\"%s\","
             "\"baseVolumeLast24h\":\"12.5\",\"quoteVolumeLast24h\":\"625001.25\",\"timestampInMs\":%lld}",
             base, price, (long long)time_ms);
    return text;
}
