/* What a log was asked to do, and what must be found of it after a crash. For tests/sim/log_crash. */
#ifndef TESTS_SIM_LOG_WORLD_H
#define TESTS_SIM_LOG_WORLD_H

#include "log/log.h"
#include "sys/sim.h"

enum { WORLD_TOPICS = 2, WORLD_BATCHES_MAX = 4096, WORLD_KEYS = 4 };

struct world;
struct world_topic;

/* One batch that was submitted. Its payload says which it is, so nothing can stand for anything else. */
struct world_batch {
    uint8_t *bytes;
    uint32_t size;
    uint32_t record_count;
    int64_t base_offset; /* where it must be found: batches are placed in the order of submission */
    uint32_t group;      /* batches of one number were committed together */
    int32_t sequence;
    bool acked;
    struct world *world;
    struct world_topic *topic;
    struct log_append append, retry;
    uint32_t tries; /* that were not answered yet */
};

enum world_topic_state { WORLD_ABSENT, WORLD_MAKING, WORLD_LIVE, WORLD_DELETING };

struct world_topic {
    const char *name;
    bool compacted;
    enum world_topic_state state;
    struct log_partition *partition; /* while the log is open */
    struct world_batch **batches;
    uint32_t batch_count;
    int64_t submitted_end, acked_end;
    int64_t published_end; /* readers may have seen everything below */
    int64_t start;         /* retention that returned: nothing below needs to be there */
    int64_t start_may_be;  /* retention that is at work: nothing below has to be there */
    int64_t time_ms;
};

struct world {
    struct sim *sim;
    struct log_options options;
    struct log *log; /* NULL while closed or being opened */
    struct world_topic topics[WORLD_TOPICS];
    uint64_t random;
    uint32_t group;
    uint32_t replaced_acked, replaced_tried; /* versions of the file that sys_replace_file writes */
    bool topics_by_hand;                     /* the first topic is there from the start otherwise */
    struct record_batch_builder builder;
    /* of the last check */
    char problem[2048];
};

uint64_t world_random(struct world *world, uint64_t below);
void world_init(struct world *world, struct sim *sim, uint64_t seed);
void world_deinit(struct world *world);
void world_open(struct world *world);
void world_create(struct world *world, uint32_t topic);
/* `twice`: and its retry behind it. Whichever is answered "stored", it must be there. */
void world_submit(struct world *world, uint32_t topic, bool twice);
void world_step(struct world *world);      /* one group, or one durable end recorded */
void world_step_full(struct world *world); /* the same while one of the writes finds the disk full */
void world_close(struct world *world);
void world_retain(struct world *world);
void world_compact(struct world *world);
void world_compact_guarded(struct world *world); /* what counts is the newest of each key, and said by the caller */
void world_delete(struct world *world, uint32_t topic);
void world_replace(struct world *world);
/* Notes what readers of the live log can see now. */
void world_publish(struct world *world);

/* Whether the log in `sim` holds what it must after a crash at this moment; false sets `problem`. `more` appends to it
 * afterwards and looks again. `flipped`: one byte of a segment was flipped, so that damage must be reported or harmless. */
bool world_check(struct world *world, struct sim *sim, bool more, bool flipped);

#endif
