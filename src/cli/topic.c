#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"
#include "codec/input.h"
#include "codec/json.h"

static void log_folder(const struct cli *cli, char folder[static CONFIG_TEXT_MAX + 8]) {
    snprintf(folder, CONFIG_TEXT_MAX + 8, "%s/log", cli->config.data);
}

static enum err open_log(struct cli *cli, bool read_only, struct diag *diag, struct log **ret_log) {
    char folder[CONFIG_TEXT_MAX + 8];
    log_folder(cli, folder);
    const struct log_options options = {
        .sys = cli->sys,
        .folder = folder,
        .segment_bytes = (uint64_t)cli->config.log_segment_bytes,
        .read_only = read_only,
    };
    enum err err = read_only ? ERR_OK : sys_make_folders(cli->sys, folder, diag);
    if (err == ERR_OK) err = log_open(&options, diag, ret_log);
    if (err == ERR_LOCKED) diag_hint(diag, "stop the running wick first");
    return err;
}

/* --- list, create, delete --- */

struct listing {
    struct cli *cli;
    struct log *log;
};

static enum err list_topic(void *context, const struct log_topic_info *info) {
    struct listing *l = context;
    for (uint32_t i = 0; i < info->options.partition_count; i++) {
        struct log_partition *partition;
        enum err err = log_partition_find(l->log, info->name, i, &partition);
        if (err != ERR_OK) return err;
        long long start = log_start_offset(partition), end = log_end_offset(partition);
        if (l->cli->format == FORMAT_JSON)
            cli_print("{\"topic\":\"%s\",\"partition\":%u,\"start\":%lld,\"end\":%lld,\"compacted\":%s}\n", info->name,
                      i, start, end, info->options.compacted ? "true" : "false");
        else if (l->cli->format == FORMAT_CSV)
            cli_print("%s,%u,%lld,%lld,%s\n", info->name, i, start, end, info->options.compacted ? "compacted" : "");
        else
            cli_print("%-40s %4u %12lld %12lld %s\n", info->name, i, start, end,
                      info->options.compacted ? "compacted" : "");
    }
    return ERR_OK;
}

static int list(struct cli *cli) {
    struct listing l = {.cli = cli};
    struct diag diag = {0};
    enum err err = open_log(cli, true, &diag, &l.log);
    if (err != ERR_OK) return cli_fail(err, &diag);
    if (cli->format == FORMAT_CSV) cli_print("topic,partition,start,end,compacted\n");
    if (cli->format == FORMAT_TABLE) cli_print("%-40s %4s %12s %12s\n", "TOPIC", "PART", "START", "END");
    err = log_topic_visit(l.log, list_topic, &l);
    log_close(&l.log);
    return err == ERR_OK ? EXIT_DONE : cli_fail(err, &diag);
}

static int create(struct cli *cli, const char *topic) {
    int64_t partitions;
    if (!cli_number(cli, "partitions", 1, LOG_PARTITIONS_MAX, 1, &partitions)) return EXIT_USAGE;
    struct log *log = NULL;
    struct diag diag = {0};
    const struct log_topic_options options = {.partition_count = (uint32_t)partitions,
                                              .compacted = cli_flag(cli, "compacted")};
    enum err err = open_log(cli, false, &diag, &log);
    if (err == ERR_OK) err = log_topic_create(log, topic, &options, &diag);
    if (log != NULL) log_close(&log);
    return err == ERR_OK ? EXIT_DONE : cli_fail(err, &diag);
}

static int delete (struct cli *cli, const char *topic) {
    struct log *log = NULL;
    struct diag diag = {0};
    enum err err = open_log(cli, false, &diag, &log);
    if (err == ERR_OK) err = log_topic_delete(log, topic, &diag);
    if (log != NULL) log_close(&log);
    return err == ERR_OK ? EXIT_DONE : cli_fail(err, &diag);
}

/* --- read, tail --- */

struct reading {
    struct cli *cli;
    uint64_t left;
    int64_t from;
    struct buf out;
};

static void put_text(struct buf *out, const char *name, struct slice text) {
    buf_printf(out, ",\"%s\":", name);
    if (text.data == NULL)
        buf_put_text(out, "null");
    else
        json_put_string(out, text);
}

static enum err print_record(void *context, const struct record *record) {
    struct reading *r = context;
    if (record->offset < r->from) return ERR_OK;
    if (r->left == 0) return ERR_END;
    r->left--;
    buf_clear(&r->out);
    if (cli_flag(r->cli, "values")) {
        buf_put(&r->out, record->value);
        buf_put_u8(&r->out, '\n');
        cli_put(r->out.data, r->out.size);
        return ERR_OK;
    }
    buf_printf(&r->out, "{\"offset\":%lld,\"timestamp\":%lld", (long long)record->offset,
               (long long)record->timestamp_ms);
    put_text(&r->out, "key", record->key);
    put_text(&r->out, "value", record->value);
    if (record->header_count > 0) buf_put_text(&r->out, ",\"headers\":{");
    for (uint32_t i = 0; i < record->header_count; i++) {
        if (i > 0) buf_put_u8(&r->out, ',');
        json_put_string(&r->out, record->headers[i].key);
        buf_put_u8(&r->out, ':');
        json_put_string(&r->out, record->headers[i].value);
    }
    buf_put_text(&r->out, record->header_count > 0 ? "}}\n" : "}\n");
    cli_put(r->out.data, r->out.size);
    return ERR_OK;
}

static enum err read_on(struct reading *r, struct log_cursor *cursor, struct diag *diag) {
    struct arena arena;
    arena_init(&arena, 256 * 1024 * 1024);
    enum err err = ERR_OK;
    while (r->left > 0) {
        struct record_batch batch;
        err = log_cursor_next(cursor, diag, &batch);
        if (err == ERR_CORRUPT) {
            cli_fail(err, diag); /* say it, and go on behind it */
            continue;
        }
        if (err != ERR_OK) break;
        arena_clear(&arena);
        err = record_batch_visit(&batch, &arena, print_record, r);
        if (err != ERR_OK) break;
    }
    arena_deinit(&arena);
    return err == ERR_END ? ERR_OK : err;
}

static int read_topic(struct cli *cli, const char *topic, bool tail) {
    int64_t partition, from, limit;
    if (!cli_number(cli, "partition", 0, LOG_PARTITIONS_MAX, 0, &partition) ||
        !cli_number(cli, "from", 0, INT64_MAX, -1, &from) || !cli_number(cli, "limit", 1, INT64_MAX, INT64_MAX, &limit))
        return EXIT_USAGE;
    struct log *log = NULL;
    struct log_partition *p = NULL;
    struct log_cursor *cursor = NULL;
    struct diag diag = {0};
    enum err err = open_log(cli, true, &diag, &log);
    if (err == ERR_OK && (err = log_partition_find(log, topic, (uint32_t)partition, &p)) != ERR_OK)
        diag_set(&diag, err, "there is no topic \"%s\" with a partition %lld", topic, (long long)partition);
    if (err == ERR_OK) {
        if (from < 0) from = tail ? log_end_offset(p) : log_start_offset(p);
        err = log_cursor_open(p, from, &diag, &cursor);
    }
    struct reading r = {.cli = cli, .left = (uint64_t)limit, .from = from};
    buf_init(&r.out, 64 * 1024 * 1024);
    while (err == ERR_OK) {
        err = read_on(&r, cursor, &diag);
        if (!tail || r.left == 0 || err != ERR_OK) break;
        usleep(100000);
        err = log_refresh(log, &diag);
    }
    buf_deinit(&r.out);
    log_cursor_close(&cursor);
    if (log != NULL) log_close(&log);
    return err == ERR_OK ? EXIT_DONE : cli_fail(err, &diag);
}

/* --- write --- */

struct writing {
    struct cli *cli;
    struct log *log;
    struct log_partition *partitions[LOG_PARTITIONS_MAX];
    uint32_t partition_count;
    struct record_batch_builder builders[LOG_PARTITIONS_MAX];
    uint32_t counts[LOG_PARTITIONS_MAX];
    uint64_t written;
};

static enum err flush_partition(struct writing *w, uint32_t i) {
    if (w->counts[i] == 0) return ERR_OK;
    enum err err = record_batch_end(&w->builders[i]);
    struct log_append append = {
        .partition = w->partitions[i],
        .batch = w->builders[i].bytes.data,
        .batch_bytes = (uint32_t)w->builders[i].bytes.size,
        .record_count = w->counts[i],
    };
    if (err == ERR_OK) err = log_append_wait(w->log, &append);
    w->written += w->counts[i];
    w->counts[i] = 0;
    record_batch_begin(&w->builders[i], RECORD_CODEC_NONE);
    return err;
}

static enum err write_line(struct writing *w, struct slice line) {
    const char *separator = cli_value(w->cli, "key-separator");
    struct record record = {.timestamp_ms = sys_wall_ms(w->cli->sys), .value = line};
    const uint8_t *mark =
        separator != NULL && separator[0] != '\0' && line.size > 0 ? memchr(line.data, separator[0], line.size) : NULL;
    if (mark != NULL) {
        record.key = slice_of(line.data, (size_t)(mark - line.data));
        record.value = slice_of(mark + 1, line.size - record.key.size - 1);
    }
    uint32_t i = record.key.data != NULL ? log_partition_for_key(record.key, w->partition_count) : 0;
    enum err err = record_batch_add(&w->builders[i], &record);
    if (err == ERR_OK) w->counts[i]++;
    if (err == ERR_OK && w->builders[i].bytes.size >= 512 * 1024) err = flush_partition(w, i);
    return err;
}

static enum err write_lines(struct writing *w, struct input *input, struct diag *diag) {
    for (;;) {
        struct slice lines;
        enum err err = input_lines(input, diag, &lines);
        if (err == ERR_END) break;
        if (err != ERR_OK) return err;
        while (lines.size > 0) {
            const uint8_t *end = memchr(lines.data, '\n', lines.size);
            size_t size = end != NULL ? (size_t)(end - lines.data) : lines.size;
            if ((err = write_line(w, slice_of(lines.data, size))) != ERR_OK) return err;
            size_t step = end != NULL ? size + 1 : size;
            lines = slice_of(lines.data + step, lines.size - step);
        }
    }
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < w->partition_count && err == ERR_OK; i++) err = flush_partition(w, i);
    return err;
}

static int write_topic(struct cli *cli, const char *topic) {
    static struct writing w;
    w.cli = cli;
    struct input *input = NULL;
    struct diag diag = {0};
    enum err err = open_log(cli, false, &diag, &w.log);
    while (err == ERR_OK && w.partition_count < LOG_PARTITIONS_MAX &&
           log_partition_find(w.log, topic, w.partition_count, &w.partitions[w.partition_count]) == ERR_OK) {
        record_batch_builder_init(&w.builders[w.partition_count]);
        record_batch_begin(&w.builders[w.partition_count], RECORD_CODEC_NONE);
        w.partition_count++;
    }
    if (err == ERR_OK && w.partition_count == 0) {
        err = diag_set(&diag, ERR_NOT_FOUND, "there is no topic \"%s\"", topic);
        diag_hint(&diag, "wick topic create %s", topic);
    }
    if (err == ERR_OK) err = input_open(cli->sys, "-", &diag, &input);
    if (err == ERR_OK) err = write_lines(&w, input, &diag);
    if (input != NULL) input_close(&input);
    for (uint32_t i = 0; i < w.partition_count; i++) record_batch_builder_deinit(&w.builders[i]);
    if (w.log != NULL) log_close(&w.log);
    if (err != ERR_OK) return cli_fail(err, &diag);
    fprintf(stderr, "wick: %llu records on disk\n", (unsigned long long)w.written);
    return EXIT_DONE;
}

static int run(struct cli *cli) {
    const char *verb = cli->words[0], *topic = cli->word_count > 1 ? cli->words[1] : NULL;
    if (strcmp(verb, "list") == 0) return list(cli);
    if (topic == NULL) return cli_usage(cli, "topic %s needs the name of a topic", verb);
    if (strcmp(verb, "create") == 0) return create(cli, topic);
    if (strcmp(verb, "delete") == 0) return delete (cli, topic);
    if (strcmp(verb, "read") == 0) return read_topic(cli, topic, false);
    if (strcmp(verb, "tail") == 0) return read_topic(cli, topic, true);
    if (strcmp(verb, "write") == 0) return write_topic(cli, topic);
    return cli_usage(cli, "topic: \"%s\" is none of list, create, delete, read, tail, write", verb);
}

static const struct cli_option options[] = {
    {"partitions", "N", "create: how many (default 1); never changes"},
    {"compacted", NULL, "create: keeps the newest record of each key"},
    {"partition", "N", "read, tail: which (default 0)"},
    {"from", "OFFSET", "read, tail: where to begin"},
    {"limit", "N", "read, tail: at most so many records"},
    {"values", NULL, "read, tail: the bare values, a line each, instead of JSON"},
    {"key-separator", "CHARACTER", "write: what is before it in a line is the key"},
    {NULL, NULL, NULL},
};

const struct cli_command command_topic = {
    .name = "topic",
    .words = "list|create|delete|read|write|tail [TOPIC]",
    .words_min = 1,
    .words_max = 2,
    .summary = "topics and their records",
    .detail = "write takes lines from standard input, and ends when all are on disk.",
    .options = options,
    .run = run,
};
