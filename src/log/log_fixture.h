/* A folder with a log of small segments, for the tests: what is appended there, and read again. */
#ifndef LOG_LOG_FIXTURE_H
#define LOG_LOG_FIXTURE_H

#include "log/log.h"

struct place {
    char folder[64];
    struct log_options options;
    struct record_batch_builder builder;
    int64_t now_ms;
};

int setup(void **state);
int teardown(void **state);
void remove_folder(char *path);

struct log *open_log(struct place *place);
/* Its first partition; made where missing. */
struct log_partition *topic_of(struct log *log, const char *name, struct log_topic_options options);

/* One batch of `count` records "<key><number>", numbered from `first`. */
void make_batch(struct place *place, const char *key, int first, int count);
/* The batch that was made. */
enum err submit(struct place *place, struct log *log, struct log_partition *partition,
                struct log_append *append) MUST_USE;
int64_t append(struct place *place, struct log *log, struct log_partition *partition, int first, int count);

struct reading {
    int64_t next;
    int errors;
};
/* Reads from `from` to the end, where values are numbered as offsets; damage is passed over. */
struct reading read_all(struct log_partition *partition, int64_t from);

struct findings {
    int ok, torn, rot, index, foreign;
    struct log_finding last;
};
struct findings fsck(struct place *place);

/* A thread that appends `count` times. */
struct submitter {
    struct place place;
    struct log *log;
    struct log_partition *partition;
    int count;
    int failed;
};

#endif
