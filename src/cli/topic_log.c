#include <stdio.h>
#include <stdlib.h>

#include "api/topics.h"
#include "cli/topic.h"

enum { FLUSH_BYTES = 512 * 1024 };

static enum err open_log(struct cli *cli, bool read_only, bool make, struct diag *diag, struct log **ret_log) {
    char folder[CONFIG_TEXT_MAX + 8];
    snprintf(folder, sizeof folder, "%s/log", cli->config.data);
    const struct log_options options = {
        .sys = cli->sys,
        .folder = folder,
        .segment_bytes = (uint64_t)cli->config.log_segment_bytes,
        .reserve_bytes = (uint64_t)cli->config.log_reserve_bytes,
        .read_only = read_only,
    };
    struct log *look = NULL;
    enum err err = ERR_OK;
    if (make) {
        err = sys_make_folders(cli->sys, folder, diag);
    } else if (!read_only) { /* opening for writing would make the log */
        const struct log_options looking = {.sys = cli->sys, .folder = folder, .read_only = true};
        err = log_open(&looking, diag, &look);
        if (err == ERR_OK) log_close(&look), look = NULL;
    }
    return err == ERR_OK ? log_open(&options, diag, ret_log) : err;
}

enum err topics_open(struct topics *topics, struct cli *cli, enum topics_mode mode, struct diag *diag) {
    *topics = (struct topics){.cli = cli, .beside = cli_server_runs(cli)};
    bool read_only = mode == TOPICS_READ || topics->beside;
    return open_log(cli, read_only, mode == TOPICS_MAKE && !topics->beside, diag, &topics->log);
}

void topics_close(struct topics *topics) {
    if (topics->log != NULL) log_close(&topics->log);
    topics->log = NULL;
}

static enum err ask(struct topics *topics, struct buf *target, struct slice body, struct diag *diag) {
    struct buf answer;
    enum err err = cli_ask_socket(topics->cli, HTTP_POST, cli_target(target), body, diag, &answer);
    buf_deinit(&answer);
    buf_deinit(target);
    return err;
}

enum err topics_create(struct topics *topics, const char *topic, uint32_t partitions, bool compacted,
                       struct diag *diag) {
    const struct log_topic_options options = {.partition_count = partitions, .compacted = compacted};
    enum err err = topic_check_partitions(topic, partitions, diag);
    if (err != ERR_OK) return err;
    if (!topics->beside) return log_topic_create(topics->log, topic, &options, diag);
    struct buf target;
    buf_init(&target, 16 * 1024);
    buf_printf(&target, "/control/create?partitions=%u&compacted=%d", partitions, compacted);
    cli_put_argument(&target, "topic", topic);
    err = ask(topics, &target, SLICE_NONE, diag);
    if (err != ERR_OK) return err;
    return log_refresh(topics->log, diag);
}

enum err topics_delete(struct topics *topics, const char *topic, struct diag *diag) {
    if (!topics->beside) return log_topic_delete(topics->log, topic, diag);
    struct buf target;
    buf_init(&target, 16 * 1024);
    buf_put_text(&target, "/control/delete");
    cli_put_argument(&target, "topic", topic);
    return ask(topics, &target, SLICE_NONE, diag);
}

static enum err append_there(struct topics *topics, const char *topic, uint32_t partition, struct slice batch,
                             struct diag *diag) {
    struct buf target;
    buf_init(&target, 16 * 1024);
    buf_printf(&target, "/control/append?partition=%u", partition);
    cli_put_argument(&target, "topic", topic);
    return ask(topics, &target, batch, diag);
}

enum err topics_append(struct topics *topics, const char *topic, uint32_t partition,
                       struct record_batch_builder *builder, struct diag *diag) {
    struct log_append append = {.record_count = builder->record_count};
    enum err err = record_batch_end(builder);
    if (err != ERR_OK) return diag_set(diag, err, "the records make no batch: %s", err_message(err));
    if (topics->beside) return append_there(topics, topic, partition, buf_slice(&builder->bytes), diag);
    append.batch = builder->bytes.data;
    append.batch_bytes = (uint32_t)builder->bytes.size;
    err = log_partition_find(topics->log, topic, partition, &append.partition);
    if (err == ERR_OK) err = log_append_wait(topics->log, &append);
    return err == ERR_OK ? err : diag_set(diag, err, "the append to %s failed: %s", topic, err_message(err));
}

uint32_t topics_partitions(const struct topics *topics, const char *topic, struct diag *diag) {
    struct log_partition *partition;
    uint32_t count = 0;
    while (count < LOG_PARTITIONS_MAX && log_partition_find(topics->log, topic, count, &partition) == ERR_OK) count++;
    if (count > 0) return count;
    diag_set(diag, ERR_NOT_FOUND, "there is no topic \"%s\"", topic);
    diag_hint(diag, "wick topic list; wick topic create %s", topic);
    return 0;
}

/* --- writers --- */

void topic_writer_open(struct topic_writer *writer, struct topics *topics, const char *topic, uint32_t partitions) {
    writer->topics = topics;
    writer->topic = topic;
    writer->partition_count = partitions;
    writer->written = 0;
    for (uint32_t i = 0; i < partitions; i++) {
        record_batch_builder_init(&writer->builders[i]);
        record_batch_begin(&writer->builders[i], config_codec(&topics->cli->config));
    }
}

void topic_writer_close(struct topic_writer *writer) {
    for (uint32_t i = 0; i < writer->partition_count; i++) record_batch_builder_deinit(&writer->builders[i]);
    writer->partition_count = 0;
}

static enum err flush_one(struct topic_writer *writer, uint32_t i, struct diag *diag) {
    struct record_batch_builder *builder = &writer->builders[i];
    uint32_t count = builder->record_count;
    if (count == 0) return ERR_OK;
    enum err err = topics_append(writer->topics, writer->topic, i, builder, diag);
    if (err == ERR_OK) writer->written += count;
    record_batch_begin(builder, config_codec(&writer->topics->cli->config));
    return err;
}

enum err topic_writer_add(struct topic_writer *writer, uint32_t partition, const struct record *record,
                          struct diag *diag) {
    struct record_batch_builder *builder = &writer->builders[partition];
    enum err err = record_batch_add(builder, record);
    if (err != ERR_OK) return diag_set(diag, err, "a record of %zu bytes: %s", record->value.size, err_message(err));
    return builder->bytes.size >= FLUSH_BYTES ? flush_one(writer, partition, diag) : ERR_OK;
}

enum err topic_writer_flush(struct topic_writer *writer, struct diag *diag) {
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < writer->partition_count && err == ERR_OK; i++) err = flush_one(writer, i, diag);
    return err;
}
