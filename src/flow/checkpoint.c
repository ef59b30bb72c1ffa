#include "flow/checkpoint.h"

enum { CHECKPOINT_VERSION = 1 };

static struct store_key checkpoint_key(const char *task) {
    return (struct store_key){STORE_CHECKPOINT, slice_text(task), SLICE("")};
}

void checkpoint_put(struct store_batch *batch, const char *task, const struct log *log,
                    const struct log_partition *input, const struct checkpoint *checkpoint) {
    uint8_t identity[16];
    log_identity(log, identity);
    struct buf value;
    buf_init(&value, 1024);
    buf_put_u8(&value, CHECKPOINT_VERSION);
    buf_put(&value, slice_of(identity, sizeof identity));
    buf_put_uvarint(&value, (uint64_t)checkpoint->offset);
    buf_put_uvarint(&value, log_partition_index(input));
    struct slice topic = slice_text(log_partition_topic(input));
    buf_put_uvarint(&value, topic.size);
    buf_put(&value, topic);
    ledger_encode(&value, &checkpoint->ledger);
    struct store_key key = checkpoint_key(task);
    store_batch_put_buf(batch, &key, &value);
    buf_deinit(&value);
}

static enum err refuse_foreign(const char *task, const struct log_partition *input, struct diag *diag) {
    diag_set(diag, ERR_FOREIGN, "the checkpoint of task %s was made with another log than the one of topic %s", task,
             log_partition_topic(input));
    diag_where(diag, "store, table checkpoint, row %s", task);
    diag_hint(diag, "bring back the folder's own log, or make the store anew: wick fsck --rebuild");
    return ERR_FOREIGN;
}

enum err checkpoint_get(struct store *store, struct store_snapshot *snapshot, const char *task, const struct log *log,
                        const struct log_partition *input, struct diag *diag, struct checkpoint *ret_checkpoint) {
    struct store_key key = checkpoint_key(task);
    struct slice value;
    enum err err = store_get(store, snapshot, &key, &value);
    if (err == ERR_NOT_FOUND) return err;
    if (err != ERR_OK) return diag_set(diag, err, "the checkpoint of task %s cannot be read", task);

    uint8_t identity[16];
    log_identity(log, identity);
    struct reader in = reader_of(value);
    if (reader_u8(&in) != CHECKPOINT_VERSION) {
        err = store_other_version(diag, "the checkpoint");
        diag_where(diag, "task %s", task);
        return err;
    }
    if (!slice_equal(reader_take(&in, sizeof identity), slice_of(identity, sizeof identity)))
        return refuse_foreign(task, input, diag);
    struct checkpoint checkpoint = {.offset = (int64_t)reader_uvarint(&in)};
    uint64_t partition = reader_uvarint(&in);
    struct slice topic = reader_take(&in, reader_uvarint(&in));
    err = ledger_decode(&in, &checkpoint.ledger);
    if (err == ERR_OK) err = reader_end(&in);
    if (err != ERR_OK) return diag_set(diag, ERR_CORRUPT, "the checkpoint of task %s is damaged", task);
    if (partition != log_partition_index(input) || !slice_equal(topic, slice_text(log_partition_topic(input))))
        return refuse_foreign(task, input, diag);
    if (checkpoint.offset > log_end_offset(input)) {
        diag_set(diag, ERR_CORRUPT, "the checkpoint of task %s is at offset %lld, but topic %s ends at %lld", task,
                 (long long)checkpoint.offset, log_partition_topic(input), (long long)log_end_offset(input));
        diag_hint(diag, "the log has lost acknowledged records: look at it with wick fsck");
        return ERR_CORRUPT;
    }
    *ret_checkpoint = checkpoint;
    return ERR_OK;
}
