/* What the files of `wick topic` share: a data folder's log to read, and a way to append to it, beside a server or without. */
#ifndef CLI_TOPIC_H
#define CLI_TOPIC_H

#include "cli/cli.h"

struct topics {
    struct cli *cli; /* whose configuration names the folder */
    struct log *log; /* ours to write where there is no server; else for reading, or NULL */
    bool beside;     /* a server has the folder */
};

enum topics_mode {
    TOPICS_READ,  /* the folder must be there */
    TOPICS_WRITE, /* likewise */
    TOPICS_MAKE,  /* made where missing */
};
enum err topics_open(struct topics *topics, struct cli *cli, enum topics_mode mode, struct diag *diag) MUST_USE;
void topics_close(struct topics *topics);
/* ERR_EXISTS leaves it as it is. */
enum err topics_create(struct topics *topics, const char *topic, uint32_t partitions, bool compacted,
                       struct diag *diag) MUST_USE;
enum err topics_delete(struct topics *topics, const char *topic, struct diag *diag) MUST_USE;
/* On disk on return. */
enum err topics_append(struct topics *topics, const char *topic, uint32_t partition,
                       struct record_batch_builder *builder, struct diag *diag) MUST_USE;
/* How many partitions a topic has: 0, and what to do in `diag`, if it is not there. For reading, the log must be open. */
uint32_t topics_partitions(const struct topics *topics, const char *topic, struct diag *diag);

/* Lines or records on their way into a topic: one batch a partition at a time. */
struct topic_writer {
    struct topics *topics;
    const char *topic;
    struct record_batch_builder builders[LOG_PARTITIONS_MAX];
    uint32_t partition_count;
    uint64_t written;
};
void topic_writer_open(struct topic_writer *writer, struct topics *topics, const char *topic, uint32_t partitions);
void topic_writer_close(struct topic_writer *writer);
enum err topic_writer_add(struct topic_writer *writer, uint32_t partition, const struct record *record,
                          struct diag *diag) MUST_USE;
enum err topic_writer_flush(struct topic_writer *writer, struct diag *diag) MUST_USE;

int topic_read(struct cli *cli, const char *topic, bool tail); /* topic_read.c */
int topic_write(struct cli *cli, const char *topic);           /* topic_write.c */
int topic_copy(struct cli *cli, const char *from, const char *to);

#endif
