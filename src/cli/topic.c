#include "cli/topic.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/topics.h"

static const struct cli_column columns[] = {
    {"TOPIC", "topic", false, false}, {"PARTITION", "partition", true, false},  {"START", "start", true, false},
    {"END", "end", true, false},      {"COMPACTED", "compacted", false, false},
};

struct listing {
    struct log *log;
    struct buf out;
};

static enum err list_topic(void *context, const struct log_topic_info *info) {
    struct listing *l = context;
    for (uint32_t i = 0; i < info->options.partition_count; i++) {
        struct log_partition *partition;
        enum err err = log_partition_find(l->log, info->name, i, &partition);
        if (err != ERR_OK) return err;
        buf_printf(&l->out, "%s{\"topic\":\"%s\",\"partition\":%u,\"start\":%lld,\"end\":%lld,\"compacted\":%s}",
                   l->out.size > 1 ? "," : "", info->name, i, (long long)log_start_offset(partition),
                   (long long)log_end_offset(partition), info->options.compacted ? "true" : "false");
    }
    return buf_err(&l->out);
}

static int list(struct cli *cli) {
    struct topics topics;
    struct listing l;
    struct diag diag = {0};
    buf_init(&l.out, 64 * 1024 * 1024);
    buf_put_u8(&l.out, '[');
    enum err err = topics_open(&topics, cli, TOPICS_READ, &diag);
    l.log = topics.log;
    if (err == ERR_OK) err = log_topic_visit(topics.log, list_topic, &l);
    buf_put_u8(&l.out, ']');
    if (err == ERR_OK)
        err = cli_print_rows(cli, buf_slice(&l.out), NULL, columns, sizeof columns / sizeof *columns, &diag);
    buf_deinit(&l.out);
    topics_close(&topics);
    return err == ERR_OK ? EXIT_DONE : cli_fail(err, &diag);
}

static int create(struct cli *cli, const char *topic) {
    int64_t partitions;
    if (!cli_number(cli, "partitions", 1, LOG_PARTITIONS_MAX, 1, &partitions)) return EXIT_USAGE;
    struct topics topics;
    struct diag diag = {0};
    enum err err = topics_open(&topics, cli, TOPICS_MAKE, &diag);
    if (err == ERR_OK) err = topics_create(&topics, topic, (uint32_t)partitions, cli_flag(cli, "compacted"), &diag);
    topics_close(&topics);
    return err == ERR_OK ? EXIT_DONE : cli_fail(err, &diag);
}

static int delete (struct cli *cli, const char *topic) {
    struct topics topics;
    struct diag diag = {0};
    if (topic_is_needed(topic))
        return cli_usage(cli, "topic delete: candles, or the account of them, are made from %s", topic);
    enum err err = topics_open(&topics, cli, TOPICS_WRITE, &diag);
    if (err == ERR_OK && topics_partitions(&topics, topic, &diag) == 0) err = ERR_NOT_FOUND;
    if (err == ERR_OK) err = topics_delete(&topics, topic, &diag);
    topics_close(&topics);
    return err == ERR_OK ? EXIT_DONE : cli_fail(err, &diag);
}

static int run(struct cli *cli) {
    const char *verb = cli->words[0], *topic = cli->word_count > 1 ? cli->words[1] : NULL;
    bool copy = strcmp(verb, "copy") == 0;
    if (cli->word_count > (copy ? 3 : 2)) return cli_usage(cli, "topic %s takes one topic", verb);
    if (strcmp(verb, "list") == 0)
        return topic == NULL ? list(cli) : cli_usage(cli, "topic list takes no name: it lists them all");
    if (strcmp(verb, "create") != 0 && strcmp(verb, "delete") != 0 && strcmp(verb, "read") != 0 &&
        strcmp(verb, "tail") != 0 && strcmp(verb, "write") != 0 && !copy)
        return cli_usage(cli, "topic: \"%s\" is none of list, create, delete, read, write, tail, copy", verb);
    if (topic == NULL || (copy && cli->word_count < 3))
        return cli_usage(
            cli, copy ? "topic copy needs two names: wick topic copy FROM TO" : "topic %s needs the name of a topic",
            verb);
    if (copy) return topic_copy(cli, topic, cli->words[2]);
    if (strcmp(verb, "create") == 0) return create(cli, topic);
    if (strcmp(verb, "delete") == 0) return delete (cli, topic);
    if (strcmp(verb, "write") == 0) return topic_write(cli, topic);
    return topic_read(cli, topic, strcmp(verb, "tail") == 0);
}

static const struct cli_option options[] = {
    {"partitions", "N", "create: how many (default 1); never changes"},
    {"compacted", NULL, "create, copy: a topic made now keeps the newest record of each key"},
    {"partition", "N", "read, tail: which (default 0)"},
    {"from", "OFFSET", "read, tail, copy: where to begin (tail: the last 10 records)"},
    {"limit", "N", "read, tail, copy: at most so many records"},
    {"values", NULL, "read, tail: the bare values, a line each, instead of JSON"},
    {"key-separator", "CHARACTER", "write: what is before it in a line is the key"},
    {"to-data", "DIR", "copy: into the topic of another data folder"},
    {NULL, NULL, NULL},
};

const struct cli_command command_topic = {
    .name = "topic",
    .words = "list|create|delete|read|write|tail|copy [TOPIC [TOPIC]]",
    .words_min = 1,
    .words_max = 3,
    .summary = "topics and their records",
    .detail =
        "write takes lines from standard input; what has come is on disk as soon as nothing more is at hand, and all "
        "of "
        "it when the command ends. copy appends the records that a topic holds now to another one, with their keys, "
        "headers and times, and makes that one where it is missing; partitions stay as they are where both topics have "
        "as many, otherwise keys decide. read and tail print a JSON object a record, or with --format csv a row.",
    .options = options,
    .run = run,
};
