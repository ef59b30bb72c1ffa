/* Outputs: what a processor appends to topics, exactly once.
 *
 * One batch per input batch and output topic, so that a replay after a crash makes the same batches; each carries the
 * output's producer id and sequence, and the log drops those it has already. The next sequence is part of the processor's
 * checkpoint (`output_sequence`, `output_restore`). Filled on the task's thread; `output_flush` may run on another, after a
 * freeze. */
#ifndef FLOW_OUTPUT_H
#define FLOW_OUTPUT_H

#include "log/log.h"

struct output;

/* For records of what was refused: a value or key that is too large to be kept is cut, and a header says how long it was.
 * `headers` are the record's, with room for one more; `text` holds the number. */
enum { REFUSED_VALUE_MAX = 1024 * 1024, REFUSED_KEY_MAX = 4096 };
void record_cut(struct record *record, struct record_header *headers, char text[static 24]);

/* `name` (task and purpose) gives the producer id. `partition` NULL: everything is dropped. */
enum err output_open(struct log *log, struct log_partition *partition, const char *name,
                     struct output **ret_output) MUST_USE;
void output_close(struct output **output);
/* What does not fit the batch that is being filled begins another one. */
enum err output_add(struct output *output, const struct record *record) MUST_USE;
/* Submits what was added since the last call as one batch. */
enum err output_submit(struct output *output) MUST_USE;
/* Why the first of what was submitted and is not on disk is not there, as far as it is known. */
enum err output_err(struct output *output) MUST_USE;
/* It holds all that it should, and the log has no room for it: its owner adds nothing more until a flush succeeds. */
bool output_is_stuck(struct output *output);
/* How many records were written, of what is on disk: the others of them were there already. */
uint64_t output_written(struct output *output);
int32_t output_sequence(const struct output *output);
void output_restore(struct output *output, int32_t sequence);
/* Waits until everything submitted so far is on disk. What the log had no room for is submitted once more, in order; what it
 * still has no room for stays, for the next flush. `step`: the log has no committer thread, step it here. */
enum err output_flush(struct output *output, bool step) MUST_USE;

#endif
