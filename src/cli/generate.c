#include "engine/generate.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cli/cli.h"

enum { FLUSH_BYTES = 256 * 1024, URL_EVENTS = 1000 };

struct generating {
    struct cli *cli;
    struct generator *generator;
    struct buf out;
    uint32_t pending; /* events in `out` */
    FILE *file;
    const char *url;
    CURL *curl;
    struct log *log;
    struct log_partition *partition;
    struct record_batch_builder builder;
    uint64_t refused;
    struct diag diag;
};

static size_t ignore_answer(char *data, size_t size, size_t count, void *context) {
    (void)data;
    (void)context;
    return size * count;
}

static enum err post(struct generating *g) {
    curl_easy_setopt(g->curl, CURLOPT_URL, g->url);
    curl_easy_setopt(g->curl, CURLOPT_WRITEFUNCTION, ignore_answer);
    curl_easy_setopt(g->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)g->out.size);
    curl_easy_setopt(g->curl, CURLOPT_POSTFIELDS, (const char *)g->out.data);
    CURLcode code = curl_easy_perform(g->curl);
    long status = 0;
    curl_easy_getinfo(g->curl, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK) return diag_set(&g->diag, ERR_IO, "%s: %s", g->url, curl_easy_strerror(code));
    if (status >= 400) return diag_set(&g->diag, ERR_IO, "%s: HTTP status %ld", g->url, status);
    return ERR_OK;
}

static enum err append(struct generating *g) {
    enum err err = record_batch_end(&g->builder);
    struct log_append append = {
        .partition = g->partition,
        .batch = g->builder.bytes.data,
        .batch_bytes = (uint32_t)g->builder.bytes.size,
        .record_count = g->pending,
    };
    if (err == ERR_OK) err = log_append_wait(g->log, &append);
    record_batch_begin(&g->builder, RECORD_CODEC_NONE);
    return err != ERR_OK ? diag_set(&g->diag, err, "the topic does not take the events") : ERR_OK;
}

static enum err flush(struct generating *g) {
    enum err err = ERR_OK;
    if (g->pending == 0) return ERR_OK;
    if (g->url != NULL)
        err = post(g);
    else if (g->log != NULL)
        err = append(g);
    else if (g->file != NULL && fwrite(g->out.data, 1, g->out.size, g->file) != g->out.size)
        err = diag_set(&g->diag, ERR_IO, "the file cannot be written");
    else if (g->file == NULL)
        cli_put(g->out.data, g->out.size);
    buf_clear(&g->out);
    g->pending = 0;
    return err;
}

static enum err make_one(struct generating *g) {
    size_t start = g->out.size;
    enum err err = generator_next(g->generator, &g->out);
    if (err != ERR_OK) return err;
    g->pending++;
    if (g->log != NULL) {
        struct slice line = slice_of(g->out.data + start, g->out.size - start - 1);
        /* A topic takes the raw message; the recorder's clock before it is of the file format only. */
        const uint8_t *space = line.data[0] != '{' ? memchr(line.data, ' ', line.size) : NULL;
        if (space != NULL) line = slice_of(space + 1, line.size - (size_t)(space + 1 - line.data));
        const struct record record = {
            .timestamp_ms = sys_wall_ms(g->cli->sys), .key = generator_key(g->generator), .value = line};
        if ((err = record_batch_add(&g->builder, &record)) != ERR_OK) return err;
    }
    bool full = g->url != NULL ? g->pending >= URL_EVENTS : g->out.size >= FLUSH_BYTES;
    return full ? flush(g) : ERR_OK;
}

/* Sleeps so that `made` events do not come sooner than the rate says; what is pending goes out before a sleep. */
static enum err pace(struct generating *g, uint64_t made, int64_t rate, int64_t start_ns) {
    int64_t due_ns = start_ns + (int64_t)((double)made * 1e9 / (double)rate);
    int64_t wait_ns = due_ns - sys_monotonic_ns(g->cli->sys);
    if (wait_ns < 2000000) return ERR_OK;
    enum err err = flush(g);
    const struct timespec wait = {wait_ns / 1000000000, wait_ns % 1000000000};
    nanosleep(&wait, NULL);
    return err;
}

static enum err open_topic(struct generating *g, const char *topic) {
    char folder[CONFIG_TEXT_MAX + 8];
    snprintf(folder, sizeof folder, "%s/log", g->cli->config.data);
    const struct log_options options = {.sys = g->cli->sys, .folder = folder};
    const struct log_topic_options topic_options = {.partition_count = 1};
    enum err err = sys_make_folders(g->cli->sys, folder, &g->diag);
    if (err == ERR_OK) err = log_open(&options, &g->diag, &g->log);
    if (err == ERR_LOCKED) diag_hint(&g->diag, "with a running wick, use --to http://127.0.0.1:8787/v1/prices");
    if (err == ERR_OK) err = log_topic_create(g->log, topic, &topic_options, &g->diag);
    if (err == ERR_EXISTS) err = ERR_OK;
    if (err == ERR_OK) err = log_partition_find(g->log, topic, 0, &g->partition);
    record_batch_builder_init(&g->builder);
    record_batch_begin(&g->builder, RECORD_CODEC_NONE);
    return err;
}

static enum err open_target(struct generating *g) {
    const char *out = cli_value(g->cli, "out"), *topic = cli_value(g->cli, "topic");
    g->url = cli_value(g->cli, "to");
    if (g->url != NULL && (g->curl = curl_easy_init()) == NULL) return ERR_NO_MEMORY;
    if (topic != NULL) return open_topic(g, topic);
    if (out != NULL && (g->file = fopen(out, "wb")) == NULL)
        return diag_set(&g->diag, ERR_IO, "%s cannot be written", out);
    return ERR_OK;
}

static enum err generate(struct generating *g, int64_t rate) {
    int64_t start_ns = sys_monotonic_ns(g->cli->sys);
    enum err err = ERR_OK;
    for (uint64_t made = 0; err == ERR_OK; made++) {
        if (rate > 0) err = pace(g, made, rate, start_ns);
        if (err == ERR_OK) err = make_one(g);
    }
    return err == ERR_END ? flush(g) : err;
}

static void close_target(struct generating *g) {
    if (g->file != NULL && fclose(g->file) != 0) fprintf(stderr, "wick: the file is not whole\n");
    if (g->curl != NULL) curl_easy_cleanup(g->curl);
    if (g->log != NULL) {
        record_batch_builder_deinit(&g->builder);
        log_close(&g->log);
    }
    generator_close(&g->generator);
    buf_deinit(&g->out);
}

static bool parse(struct cli *cli, struct generate_options *o, int64_t *ret_rate) {
    static const char *const kinds[] = {"price-events", "trades", "prices"};
    int kind = 0;
    while (kind < 3 && strcmp(kinds[kind], cli->words[0]) != 0) kind++;
    if (kind == 3) {
        cli_usage(cli, "generate: \"%s\" is none of price-events, trades, prices", cli->words[0]);
        return false;
    }
    int64_t seed, count, series, from, span, disorder, late, duplicate;
    if (!cli_number(cli, "seed", 0, INT64_MAX, 1, &seed) || !cli_number(cli, "count", 0, INT64_MAX, 1000, &count) ||
        !cli_number(cli, "series", 1, 20000, 0, &series) || !cli_number(cli, "from", 0, INT64_MAX / 2, 0, &from) ||
        !cli_number(cli, "span-ms", 1, INT64_MAX / 2, 0, &span) ||
        !cli_number(cli, "disorder-ms", 0, 86400000, -1, &disorder) ||
        !cli_number(cli, "late-ppm", 0, 1000000, 0, &late) ||
        !cli_number(cli, "duplicate-ppm", 0, 1000000, 0, &duplicate) ||
        !cli_number(cli, "rate", 0, 100000000, 0, ret_rate))
        return false;
    *o = (struct generate_options){
        .kind = (enum generate_kind)kind,
        .seed = (uint64_t)seed,
        .count = (uint64_t)count,
        .series = (uint32_t)series,
        .from_ms = from,
        .span_ms = span,
        .disorder_ms = disorder,
        .late_ppm = (uint32_t)late,
        .duplicate_ppm = (uint32_t)duplicate,
    };
    return true;
}

static int run(struct cli *cli) {
    struct generate_options o;
    int64_t rate;
    if (!parse(cli, &o, &rate)) return EXIT_USAGE;
    struct generating g = {.cli = cli};
    buf_init(&g.out, 16 * 1024 * 1024);
    enum err err = generator_open(&o, &g.generator);
    if (err == ERR_OK) err = open_target(&g);
    if (err == ERR_OK) err = generate(&g, rate);
    close_target(&g);
    return err == ERR_OK ? EXIT_DONE : cli_fail(err, &g.diag);
}

static const struct cli_option options[] = {
    {"count", "N", "how many; 0 without end (default 1000)"},
    {"rate", "N", "so many a second (default: as fast as possible)"},
    {"seed", "N", "the same seed gives the same events (default 1)"},
    {"series", "N", "of how many series"},
    {"from", "MS", "first event time, milliseconds since 1970"},
    {"span-ms", "MS", "event time that all of them span (default an hour)"},
    {"disorder-ms", "MS", "how far out of order (default 2000)"},
    {"late-ppm", "N", "so many in a million a minute late"},
    {"duplicate-ppm", "N", "so many in a million twice"},
    {"out", "FILE", "into a file (default: standard output)"},
    {"topic", "TOPIC", "into a topic of the data folder"},
    {"to", "URL", "by POST, 1,000 a request, such as http://127.0.0.1:8787/v1/prices"},
    {NULL, NULL, NULL},
};

const struct cli_command command_generate = {
    .name = "generate",
    .words = "price-events|trades|prices",
    .words_min = 1,
    .words_max = 1,
    .summary = "seeded events to a file, a topic or a URL",
    .options = options,
    .run = run,
};
