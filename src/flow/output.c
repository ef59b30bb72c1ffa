#include "flow/output.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"

enum {
    QUEUE_MAX = 256,
    QUEUE_BYTES_MAX = 64 * 1024 * 1024,
    KEPT_BYTES = 1024 * 1024, /* of a flight that is free */
    CLOSE_WAITS_MAX = 60000,
};

struct flight {
    struct log_append append;
    struct buf bytes;
    uint32_t record_count;
    struct output *output;
    struct flight *next;
    _Atomic bool landed; /* the log is done with it */
};

/* What was submitted stays in the queue, in order and with its bytes, until it is on disk: what the log had no room for is
 * submitted again by the next flush. */
struct output {
    struct log *log;
    struct log_partition *partition;
    struct record_batch_builder builder;
    int64_t producer_id;
    int32_t sequence;
    uint32_t added;

    pthread_mutex_t lock; /* of the owner and who flushes; guards what follows up to the blank line */
    struct flight *first, *last, *free;
    uint64_t submitted, arrived; /* ever */
    uint64_t written;            /* records */
    uint64_t queue_bytes;

    _Atomic uint32_t in_flight;
    _Atomic bool gap;
    struct sys_bell bell;
};

void record_cut(struct record *record, struct record_header *headers, char text[static 24]) {
    if (record->key.size > REFUSED_KEY_MAX) record->key.size = REFUSED_KEY_MAX;
    if (record->value.size <= REFUSED_VALUE_MAX) return;
    int size = snprintf(text, 24, "%zu", record->value.size);
    headers[record->header_count++] = (struct record_header){SLICE("cut"), slice_of(text, (size_t)size)};
    record->value.size = REFUSED_VALUE_MAX;
}

enum err output_open(struct log *log, struct log_partition *partition, const char *name, struct output **ret_output) {
    struct output *output = calloc(1, sizeof *output);
    if (output == NULL) return ERR_NO_MEMORY;
    output->log = log;
    output->partition = partition;
    output->producer_id = (int64_t)(hash_bytes(slice_text(name), 0x6f757470) >> 1);
    pthread_mutex_init(&output->lock, NULL);
    record_batch_builder_init(&output->builder);
    record_batch_begin(&output->builder, RECORD_CODEC_NONE);
    *ret_output = output;
    return ERR_OK;
}

static void flight_free(struct flight *flight) {
    buf_deinit(&flight->bytes);
    free(flight);
}

void output_close(struct output **output) {
    struct output *o = *output;
    if (o == NULL) return;
    /* The last call of flight_done may still be about to return. */
    for (int waits = 0; atomic_load(&o->in_flight) != 0; waits++) {
        assert(waits < CLOSE_WAITS_MAX);
        sys_bell_wait(&o->bell, 1);
    }
    for (int list = 0; list < 2; list++) {
        struct flight *flight = list == 0 ? o->free : o->first;
        while (flight != NULL) {
            struct flight *next = flight->next;
            flight_free(flight);
            flight = next;
        }
    }
    record_batch_builder_deinit(&o->builder);
    pthread_mutex_destroy(&o->lock);
    free(o);
    *output = NULL;
}

enum err output_add(struct output *output, const struct record *record) {
    if (output->partition == NULL) return ERR_OK;
    enum err err = record_batch_add(&output->builder, record);
    if (err == ERR_TOO_LARGE && output->added > 0) {
        err = output_submit(output);
        if (err == ERR_OK) err = record_batch_add(&output->builder, record);
    }
    if (err == ERR_OK) output->added++;
    return err;
}

/* --- the queue --- */

static void flight_done(struct log_append *append) {
    struct flight *flight = append->context;
    struct output *output = flight->output;
    atomic_store(&flight->landed, true);
    /* The bell first: once the count is down, the owner may close the output. */
    sys_bell_ring(&output->bell);
    atomic_fetch_sub(&output->in_flight, 1);
}

static void launch(struct output *output, struct flight *flight) {
    flight->append = (struct log_append){
        .partition = output->partition,
        .batch = flight->bytes.data,
        .batch_bytes = (uint32_t)flight->bytes.size,
        .record_count = flight->record_count,
        .done = flight_done,
        .context = flight,
        .gap = &output->gap,
    };
    atomic_store(&flight->landed, false);
    atomic_fetch_add(&output->in_flight, 1);
    log_submit(output->log, &flight->append);
}

/* What is on disk leaves the queue. Why the first of what stays is not there, as far as it is known. */
static enum err reap(struct output *output) {
    while (output->first != NULL && atomic_load(&output->first->landed)) {
        struct flight *flight = output->first;
        if (flight->append.err != ERR_OK) return flight->append.err;
        output->first = flight->next;
        if (output->first == NULL) output->last = NULL;
        output->arrived++;
        if (!flight->append.duplicate) output->written += flight->append.record_count;
        output->queue_bytes -= flight->bytes.size;
        if (flight->bytes.capacity > KEPT_BYTES) {
            flight_free(flight);
            continue;
        }
        flight->next = output->free;
        output->free = flight;
    }
    return ERR_OK;
}

/* Everything that failed goes to the log once more, in order: it had no room, or stood behind what it had no room for. */
static void relaunch(struct output *output) {
    atomic_store(&output->gap, false);
    for (struct flight *flight = output->first; flight != NULL; flight = flight->next) launch(output, flight);
}

static bool is_full(const struct output *output) {
    return output->submitted - output->arrived >= QUEUE_MAX || output->queue_bytes >= QUEUE_BYTES_MAX;
}

bool output_is_stuck(struct output *output) {
    pthread_mutex_lock(&output->lock);
    bool stuck = is_full(output) && reap(output) != ERR_OK && is_full(output);
    pthread_mutex_unlock(&output->lock);
    return stuck;
}

/* Full: the task waits for the disk, as any other producer would; but not for room on it, as reads go on meanwhile. */
static struct flight *take_flight(struct output *output) {
    for (;;) {
        pthread_mutex_lock(&output->lock);
        enum err err = reap(output);
        bool wait = err == ERR_OK && is_full(output);
        struct flight *flight = wait ? NULL : output->free;
        if (flight != NULL) output->free = flight->next;
        pthread_mutex_unlock(&output->lock);
        if (flight != NULL) return flight;
        if (!wait) break;
        sys_bell_wait(&output->bell, 1);
    }
    struct flight *flight = calloc(1, sizeof *flight);
    if (flight == NULL) return NULL;
    flight->output = output;
    buf_init(&flight->bytes, output->builder.bytes.max_size);
    return flight;
}

enum err output_submit(struct output *output) {
    if (output->added == 0) return ERR_OK;
    struct flight *flight = take_flight(output);
    if (flight == NULL) return ERR_NO_MEMORY;
    record_batch_set_producer(&output->builder, output->producer_id, 0, output->sequence);
    enum err err = record_batch_end(&output->builder);
    if (err != ERR_OK) {
        flight_free(flight);
        return err;
    }
    /* The batch goes as it lies; the next one is built where an earlier one was. */
    struct buf built = output->builder.bytes;
    output->builder.bytes = flight->bytes;
    flight->bytes = built;
    flight->record_count = output->added;
    flight->next = NULL;
    output->sequence = (int32_t)(((uint32_t)output->sequence + output->added) & INT32_MAX);
    output->added = 0;
    record_batch_begin(&output->builder, RECORD_CODEC_NONE);

    pthread_mutex_lock(&output->lock);
    *(output->last == NULL ? &output->first : &output->last->next) = flight;
    output->last = flight;
    output->submitted++;
    output->queue_bytes += flight->bytes.size;
    launch(output, flight);
    pthread_mutex_unlock(&output->lock);
    return ERR_OK;
}

enum err output_err(struct output *output) {
    pthread_mutex_lock(&output->lock);
    enum err err = reap(output);
    pthread_mutex_unlock(&output->lock);
    return err;
}

uint64_t output_written(struct output *output) {
    pthread_mutex_lock(&output->lock);
    uint64_t written = output->written;
    pthread_mutex_unlock(&output->lock);
    return written;
}

int32_t output_sequence(const struct output *output) { return output->sequence; }

void output_restore(struct output *output, int32_t sequence) { output->sequence = sequence; }

/* One look at the queue: `*ret_done` once what was submitted before `until` is on disk, or will not be by itself. */
static enum err look(struct output *output, uint64_t until, bool *relaunched, bool *ret_done) {
    pthread_mutex_lock(&output->lock);
    enum err err = reap(output);
    bool idle = atomic_load(&output->in_flight) == 0;
    *ret_done = output->arrived >= until || (err != ERR_OK && idle);
    if (output->arrived >= until) err = ERR_OK;
    if (*ret_done && err_class(err) == ERR_CLASS_RESOURCE && !*relaunched) {
        relaunch(output);
        *relaunched = true;
        *ret_done = false;
    }
    pthread_mutex_unlock(&output->lock);
    return err;
}

enum err output_flush(struct output *output, bool step) {
    bool relaunched = false;
    pthread_mutex_lock(&output->lock);
    const uint64_t until = output->submitted;
    pthread_mutex_unlock(&output->lock);
    for (;;) {
        bool done;
        enum err err = look(output, until, &relaunched, &done);
        if (done) return err;
        uint32_t appends = 0;
        if (!step)
            sys_bell_wait(&output->bell, 1);
        else if ((err = log_step(output->log, &appends)) != ERR_OK && appends == 0)
            return err;
    }
}
