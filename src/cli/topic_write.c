#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/topics.h"
#include "cli/topic.h"
#include "codec/input.h"

/* --- write: lines of standard input --- */

static enum err write_line(struct topic_writer *w, struct slice line, struct diag *diag) {
    struct cli *cli = w->topics->cli;
    const char *separator = cli_value(cli, "key-separator");
    struct record record = {.timestamp_ms = sys_wall_ms(cli->sys), .value = line};
    const uint8_t *mark =
        separator != NULL && separator[0] != '\0' && line.size > 0 ? memchr(line.data, separator[0], line.size) : NULL;
    if (mark != NULL) {
        record.key = slice_of(line.data, (size_t)(mark - line.data));
        record.value = slice_of(mark + 1, line.size - record.key.size - 1);
    }
    uint32_t partition = record.key.data != NULL ? log_partition_for_key(record.key, w->partition_count) : 0;
    return topic_writer_add(w, partition, &record, diag);
}

/* Nothing more is at hand: what came so far goes to the disk now, however long the next line takes. */
static bool is_idle(void) {
    struct pollfd poll_in = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&poll_in, 1, 0) == 0;
}

static enum err write_lines(struct topic_writer *w, struct input *input, struct diag *diag) {
    for (;;) {
        struct slice lines;
        enum err err = input_lines(input, diag, &lines);
        if (err == ERR_END) return topic_writer_flush(w, diag);
        if (err != ERR_OK) return err;
        while (lines.size > 0) {
            const uint8_t *end = memchr(lines.data, '\n', lines.size);
            size_t size = end != NULL ? (size_t)(end - lines.data) : lines.size;
            if ((err = write_line(w, slice_of(lines.data, size), diag)) != ERR_OK) return err;
            size_t step = end != NULL ? size + 1 : size;
            lines = slice_of(lines.data + step, lines.size - step);
        }
        if (is_idle() && (err = topic_writer_flush(w, diag)) != ERR_OK) return err;
    }
}

static enum err check_target(const char *topic, struct diag *diag) {
    if (!topic_is_kept(topic)) return ERR_OK;
    return diag_set(diag, ERR_USAGE, "topic %s is wick's own: nobody else writes it", topic);
}

static struct topic_writer writer; /* too large for some stacks */

static int done(enum err err, const struct diag *diag) {
    if (err == ERR_OK || writer.written > 0)
        fprintf(stderr, "wick: %llu records on disk\n", (unsigned long long)writer.written);
    return err == ERR_OK ? EXIT_DONE : cli_fail(err, diag);
}

int topic_write(struct cli *cli, const char *topic) {
    struct topics topics = {0};
    struct input *input = NULL;
    struct diag diag = {0};
    uint32_t partitions = 0;
    enum err err = check_target(topic, &diag);
    if (err == ERR_OK) err = topics_open(&topics, cli, TOPICS_WRITE, &diag);
    if (err == ERR_OK && (partitions = topics_partitions(&topics, topic, &diag)) == 0) err = ERR_NOT_FOUND;
    topic_writer_open(&writer, &topics, topic, partitions);
    if (err == ERR_OK) err = input_open(cli->sys, "-", &diag, &input);
    if (err == ERR_OK) err = write_lines(&writer, input, &diag);
    if (input != NULL) input_close(&input);
    topic_writer_close(&writer);
    topics_close(&topics);
    return done(err, &diag);
}

/* --- copy: records as they are, up to what is there now --- */

struct copying {
    uint32_t partition;
    int64_t from;
    uint64_t left;
    bool same_partitions;
    struct diag *diag;
};

static enum err copy_record(void *context, const struct record *record) {
    struct copying *c = context;
    if (record->offset < c->from) return ERR_OK;
    if (c->left == 0) return ERR_END;
    c->left--;
    c->from = record->offset + 1;
    uint32_t partition = c->partition;
    if (!c->same_partitions)
        partition = record->key.data != NULL ? log_partition_for_key(record->key, writer.partition_count) : 0;
    return topic_writer_add(&writer, partition, record, c->diag);
}

static enum err copy_batches(struct copying *c, struct log_partition *from, const char *topic) {
    struct log_cursor *cursor = NULL;
    struct arena arena;
    int64_t end = log_end_offset(from), start = log_start_offset(from);
    if (c->from < start) c->from = start;
    if (c->from > end)
        return diag_set(c->diag, ERR_RANGE, "--from %lld is behind the end of %s/%u, which is %lld", (long long)c->from,
                        topic, c->partition, (long long)end);
    arena_init(&arena, 256 * 1024 * 1024);
    enum err err = log_cursor_open(from, c->from, c->diag, &cursor);
    while (err == ERR_OK && c->from < end && c->left > 0) {
        struct record_batch batch;
        if ((err = log_cursor_next(cursor, c->diag, &batch)) != ERR_OK) break;
        arena_clear(&arena);
        err = record_batch_visit(&batch, &arena, copy_record, c);
        if (end > 0) cli_progress(topic, (double)(c->from - start) / (double)(end - start), "");
    }
    log_cursor_close(&cursor);
    arena_deinit(&arena);
    return err == ERR_END ? ERR_OK : err;
}

static enum err copy_topic(struct topics *source, struct topics *target, const char *from, const char *to,
                           int64_t first, int64_t limit, struct diag *diag) {
    uint32_t partitions = topics_partitions(source, from, diag);
    if (partitions == 0) return ERR_NOT_FOUND;
    enum err err =
        topics_create(target, to, topic_is_of_venue(to) ? 1 : partitions, cli_flag(source->cli, "compacted"), diag);
    if (err != ERR_OK && err != ERR_EXISTS) return err;
    uint32_t target_partitions = topics_partitions(target, to, diag);
    if (target_partitions == 0) return ERR_NOT_FOUND;
    topic_writer_open(&writer, target, to, target_partitions);
    struct copying c = {.left = (uint64_t)limit, .same_partitions = partitions == target_partitions, .diag = diag};
    err = ERR_OK;
    for (c.partition = 0; c.partition < partitions && err == ERR_OK; c.partition++) {
        struct log_partition *p;
        c.from = first;
        err = log_partition_find(source->log, from, c.partition, &p);
        if (err == ERR_OK) err = copy_batches(&c, p, from);
    }
    if (err == ERR_OK) err = topic_writer_flush(&writer, diag);
    topic_writer_close(&writer);
    cli_progress_end();
    return err;
}

int topic_copy(struct cli *cli, const char *from, const char *to) {
    static struct cli other; /* too large for some stacks */
    int64_t first, limit;
    if (!cli_number(cli, "from", 0, INT64_MAX, 0, &first) || !cli_number(cli, "limit", 1, INT64_MAX, INT64_MAX, &limit))
        return EXIT_USAGE;
    struct topics source = {0}, target = {0};
    struct diag diag = {0};
    const char *data = cli_value(cli, "to-data");
    if (data == NULL && strcmp(from, to) == 0)
        return cli_usage(cli, "topic copy: a topic is not copied onto itself; --to-data names another folder");
    enum err err = check_target(to, &diag);
    other = *cli;
    if (err == ERR_OK && data != NULL && cli_set(cli, &other.config, "data", "--to-data") != EXIT_DONE)
        return EXIT_USAGE;
    /* Within one folder, without a server, one handle reads and writes. */
    if (err == ERR_OK) err = topics_open(&target, &other, data != NULL ? TOPICS_MAKE : TOPICS_WRITE, &diag);
    if (err == ERR_OK && data != NULL) err = topics_open(&source, cli, TOPICS_READ, &diag);
    if (err == ERR_OK) err = copy_topic(data != NULL ? &source : &target, &target, from, to, first, limit, &diag);
    topics_close(&source);
    topics_close(&target);
    return done(err, &diag);
}
