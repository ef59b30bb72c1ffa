#include "flow/output.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/hash.h"

enum { IN_FLIGHT_MAX = 256 };

struct flight {
    struct log_append append;
    struct buf bytes;
    struct output *output;
    struct flight *next;
};

struct output {
    struct log *log;
    struct log_partition *partition;
    struct record_batch_builder builder;
    int64_t producer_id;
    int32_t sequence;
    uint32_t added;
    uint32_t flight_count;
    struct flight *free;               /* the owner's */
    _Atomic(struct flight *) returned; /* pushed by the committer, taken whole by the owner */
    _Atomic uint32_t in_flight;
    _Atomic int err;
    struct sys_bell bell;
};

enum err output_open(struct log *log, struct log_partition *partition, const char *name, struct output **ret_output) {
    struct output *output = calloc(1, sizeof *output);
    if (output == NULL) return ERR_NO_MEMORY;
    output->log = log;
    output->partition = partition;
    output->producer_id = (int64_t)(hash_bytes(slice_text(name), 0x6f757470) >> 1);
    record_batch_builder_init(&output->builder);
    record_batch_begin(&output->builder, RECORD_CODEC_NONE);
    *ret_output = output;
    return ERR_OK;
}

void output_close(struct output **output) {
    struct output *o = *output;
    if (o == NULL) return;
    assert(atomic_load(&o->in_flight) == 0);
    for (int list = 0; list < 2; list++) {
        struct flight *flight = list == 0 ? o->free : atomic_load(&o->returned);
        while (flight != NULL) {
            struct flight *next = flight->next;
            buf_deinit(&flight->bytes);
            free(flight);
            flight = next;
        }
    }
    record_batch_builder_deinit(&o->builder);
    free(o);
    *output = NULL;
}

enum err output_add(struct output *output, const struct record *record) {
    if (output->partition == NULL) return ERR_OK;
    enum err err = record_batch_add(&output->builder, record);
    if (err == ERR_OK) output->added++;
    return err;
}

static void flight_done(struct log_append *append) {
    struct flight *flight = append->context;
    struct output *output = flight->output;
    int none = ERR_OK;
    if (append->err != ERR_OK) atomic_compare_exchange_strong(&output->err, &none, (int)append->err);
    struct flight *head = atomic_load(&output->returned);
    do flight->next = head;
    while (!atomic_compare_exchange_weak(&output->returned, &head, flight));
    /* The bell first: once the count is down, the owner may close the output. */
    sys_bell_ring(&output->bell);
    atomic_fetch_sub(&output->in_flight, 1);
}

static struct flight *take_flight(struct output *output) {
    if (output->free == NULL) output->free = atomic_exchange(&output->returned, NULL);
    struct flight *flight = output->free;
    if (flight != NULL) {
        output->free = flight->next;
        return flight;
    }
    if (output->flight_count == IN_FLIGHT_MAX) return NULL;
    flight = calloc(1, sizeof *flight);
    if (flight == NULL) return NULL;
    flight->output = output;
    buf_init(&flight->bytes, output->builder.bytes.max_size);
    output->flight_count++;
    return flight;
}

enum err output_submit(struct output *output) {
    if (output->added == 0) return ERR_OK;
    struct flight *flight = take_flight(output);
    while (flight == NULL) {
        /* Full: the task waits for the disk, as any other producer would. */
        if (output->flight_count < IN_FLIGHT_MAX) return ERR_NO_MEMORY;
        sys_bell_wait(&output->bell, 1);
        flight = take_flight(output);
    }
    record_batch_set_producer(&output->builder, output->producer_id, 0, output->sequence);
    enum err err = record_batch_end(&output->builder);
    if (err != ERR_OK) return err;
    /* The batch goes as it lies; the next one is built where an earlier one was. */
    struct buf built = output->builder.bytes;
    output->builder.bytes = flight->bytes;
    flight->bytes = built;
    flight->append = (struct log_append){
        .partition = output->partition,
        .batch = flight->bytes.data,
        .batch_bytes = (uint32_t)flight->bytes.size,
        .record_count = output->added,
        .done = flight_done,
        .context = flight,
    };
    output->sequence = (int32_t)(((uint32_t)output->sequence + output->added) & INT32_MAX);
    output->added = 0;
    record_batch_begin(&output->builder, RECORD_CODEC_NONE);
    atomic_fetch_add(&output->in_flight, 1);
    log_submit(output->log, &flight->append);
    return ERR_OK;
}

enum err output_err(const struct output *output) { return (enum err)atomic_load(&output->err); }

int32_t output_sequence(const struct output *output) { return output->sequence; }

void output_restore(struct output *output, int32_t sequence) { output->sequence = sequence; }

enum err output_flush(struct output *output, bool step) {
    while (atomic_load(&output->in_flight) != 0) {
        if (!step) {
            sys_bell_wait(&output->bell, 1);
            continue;
        }
        uint32_t appends;
        enum err err = log_step(output->log, &appends);
        if (err != ERR_OK) return err;
    }
    return (enum err)atomic_load(&output->err);
}
