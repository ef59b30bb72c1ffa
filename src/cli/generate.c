#include "engine/generate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "api/topics.h"
#include "cli/remote.h"
#include "cli/topic.h"

/* A hundred years from 2100 on: recorders' clocks, nanoseconds in 64 bits, end in 2262. */
static const int64_t FROM_MAX_MS = 4102444800000, SPAN_MAX_MS = 100 * 365 * (int64_t)86400000;

enum { FLUSH_BYTES = 256 * 1024, URL_EVENTS = 1000, ANSWER_BYTES = 64 * 1024, ANSWER_SHOWN = 200 };

struct generating {
    struct cli *cli;
    struct generator *generator;
    struct buf out;
    uint32_t pending; /* events in `out` */
    FILE *file;
    const char *url;
    struct remote remote; /* of the URL */
    struct buf answer;    /* the beginning of the last one */
    struct topics topics;
    struct topic_writer *writer; /* NULL: not into a topic */
    struct diag diag;
};

static size_t keep_answer(char *data, size_t size, size_t count, void *context) {
    buf_put(context, slice_of(data, size * count));
    return size * count;
}

/* Routes answer 200 though some events are refused: silence about those would be a lie. */
static enum err check_answer(struct generating *g) {
    static const char refused[] = "\"invalid\":[{";
    struct slice answer = buf_slice(&g->answer);
    if (memmem(answer.data, answer.size, refused, sizeof refused - 1) == NULL) return ERR_OK;
    int shown = answer.size < ANSWER_SHOWN ? (int)answer.size : ANSWER_SHOWN;
    return diag_set(&g->diag, ERR_RANGE, "%s refuses events: %.*s", g->url, shown, (const char *)answer.data);
}

static enum err post(struct generating *g) {
    long status = 0;
    buf_clear(&g->answer);
    curl_easy_setopt(g->remote.curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)g->out.size);
    curl_easy_setopt(g->remote.curl, CURLOPT_POSTFIELDS, (const char *)g->out.data);
    enum err err = remote_ask(&g->remote, g->url, &g->diag, &status);
    if (err == ERR_OK && status < 400) return check_answer(g);
    if (err == ERR_OK) err = diag_set(&g->diag, ERR_IO, "HTTP status %ld", status);
    if (status == 401) diag_hint(&g->diag, "WICK_TOKEN in the environment is the token");
    diag_where(&g->diag, "%s", g->url);
    return err;
}

static enum err cannot_write(struct generating *g) {
    diag_set(&g->diag, ERR_IO, "the file cannot be written: %s", strerror(errno));
    diag_where(&g->diag, "%s", cli_value(g->cli, "out"));
    return ERR_IO;
}

static enum err flush(struct generating *g) {
    enum err err = ERR_OK;
    if (g->pending == 0) return ERR_OK;
    if (g->url != NULL)
        err = post(g);
    else if (g->writer != NULL)
        err = topic_writer_flush(g->writer, &g->diag);
    else if (g->file != NULL && fwrite(g->out.data, 1, g->out.size, g->file) != g->out.size)
        err = cannot_write(g);
    else if (g->file == NULL)
        cli_put(g->out.data, g->out.size);
    buf_clear(&g->out);
    g->pending = 0;
    return err;
}

/* A topic takes the message alone: the recorder's clock before it and the CSV header are of the file format only. */
static struct slice bare_message(struct slice made) {
    const uint8_t *end = made.data + made.size;
    const uint8_t *before = memrchr(made.data, '\n', made.size);
    if (before == NULL && made.data[0] != '{') before = memchr(made.data, ' ', made.size);
    return before == NULL ? made : slice_of(before + 1, (size_t)(end - before - 1));
}

static enum err make_one(struct generating *g) {
    size_t start = g->out.size;
    enum err err = generator_next(g->generator, &g->out);
    if (err != ERR_OK) return err;
    g->pending++;
    if (g->writer != NULL) {
        struct slice made = slice_of(g->out.data + start, g->out.size - start - 1);
        const struct record record = {
            .timestamp_ms = sys_wall_ms(g->cli->sys), .key = generator_key(g->generator), .value = bare_message(made)};
        uint32_t partition =
            record.key.data != NULL ? log_partition_for_key(record.key, g->writer->partition_count) : 0;
        if ((err = topic_writer_add(g->writer, partition, &record, &g->diag)) != ERR_OK) return err;
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
    static struct topic_writer writer; /* too large for some stacks */
    if (topic_is_kept(topic))
        return diag_set(&g->diag, ERR_USAGE, "topic %s is wick's own: nobody else writes it", topic);
    enum err err = topics_open(&g->topics, g->cli, TOPICS_MAKE, &g->diag);
    if (err == ERR_OK) err = topics_create(&g->topics, topic, 1, false, &g->diag);
    if (err == ERR_EXISTS) err = ERR_OK;
    if (err != ERR_OK) return err;
    uint32_t partitions = topics_partitions(&g->topics, topic, &g->diag);
    if (partitions == 0) return ERR_NOT_FOUND;
    g->writer = &writer;
    topic_writer_open(&writer, &g->topics, topic, partitions);
    return ERR_OK;
}

static enum err open_url(struct generating *g) {
    enum err err = remote_open(&g->remote, NULL, &g->diag);
    if (err != ERR_OK) return err;
    curl_easy_setopt(g->remote.curl, CURLOPT_WRITEFUNCTION, keep_answer);
    curl_easy_setopt(g->remote.curl, CURLOPT_WRITEDATA, &g->answer);
    return ERR_OK;
}

static enum err open_target(struct generating *g) {
    const char *out = cli_value(g->cli, "out"), *topic = cli_value(g->cli, "topic");
    if ((out != NULL) + (topic != NULL) + (cli_value(g->cli, "to") != NULL) > 1)
        return diag_set(&g->diag, ERR_USAGE, "one of --out, --topic and --to says where the events go");
    g->url = cli_value(g->cli, "to");
    if (g->url != NULL) return open_url(g);
    if (topic != NULL) return open_topic(g, topic);
    if (out != NULL && (g->file = fopen(out, "wb")) == NULL) return cannot_write(g);
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

/* What the file's buffer held is written now, or not. */
static enum err close_file(struct generating *g, enum err err) {
    if (g->file != NULL && fclose(g->file) != 0 && err == ERR_OK) err = cannot_write(g);
    g->file = NULL;
    return err;
}

static void close_target(struct generating *g) {
    remote_close(&g->remote);
    if (g->writer != NULL) topic_writer_close(g->writer);
    topics_close(&g->topics);
    generator_close(&g->generator);
    buf_deinit(&g->answer);
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
        !cli_number(cli, "series", 1, 20000, 0, &series) || !cli_number(cli, "from", 1, FROM_MAX_MS, 0, &from) ||
        !cli_number(cli, "span-ms", 1, SPAN_MAX_MS, 0, &span) ||
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
    buf_init(&g.answer, ANSWER_BYTES);
    enum err err = generator_open(&o, &g.generator);
    if (err == ERR_OK) err = open_target(&g);
    if (err == ERR_OK) err = generate(&g, rate);
    err = close_file(&g, err);
    close_target(&g);
    return err == ERR_OK ? EXIT_DONE : cli_fail(err, &g.diag);
}

static const struct cli_option options[] = {
    {"count", "N", "how many; 0: without end (default 1000)"},
    {"rate", "N", "so many a second (default: as fast as possible)"},
    {"seed", "N", "the same seed gives the same events (default 1)"},
    {"series", "N", "of how many series, up to 20000 (default 2000 for price-events, 24 for trades, 10 for prices)"},
    {"from", "MS", "first event time, milliseconds since 1970, to 2100 (default 1700000000000)"},
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
