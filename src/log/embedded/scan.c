#include <assert.h>
#include <stdlib.h>

#include "log/embedded/embedded.h"

enum { READ_BYTES = 64 * 1024, PAGE_BYTES = 4096, MAGIC_AT = 16 };

void scan_init(struct scan *scan, const struct sys *sys) { *scan = (struct scan){.sys = sys}; }

void scan_start(struct scan *scan, struct sys_file *file, uint64_t limit) {
    scan->file = file;
    scan->limit = limit;
    scan->held = 0;
}

void scan_deinit(struct scan *scan) {
    free(scan->buffer);
    scan->buffer = NULL;
    scan->capacity = 0;
}

static enum err grow(struct scan *scan, size_t size) {
    if (size <= scan->capacity) return ERR_OK;
    size_t capacity = scan->capacity ? scan->capacity : 4096;
    while (capacity < size) capacity *= 2;
    uint8_t *buffer = realloc(scan->buffer, capacity);
    if (buffer == NULL) return ERR_NO_MEMORY;
    scan->buffer = buffer;
    scan->capacity = capacity;
    return ERR_OK;
}

/* Makes [position, position + size) the held bytes, or as much of it as there is below the limit and in the file; reads
 * ahead. What is held already is moved, not read again. */
static enum err hold(struct scan *scan, uint64_t position, size_t size) {
    if (scan->held > 0 && position >= scan->held_at && position + size <= scan->held_at + scan->held) return ERR_OK;
    if (position >= scan->limit) {
        scan->held = 0;
        scan->held_at = position;
        return ERR_OK;
    }
    uint64_t left = scan->limit - position;
    size_t want = size > READ_BYTES ? size : READ_BYTES;
    if (want > left) want = (size_t)left;
    enum err err = grow(scan, want);
    if (err) return err;
    size_t kept = 0;
    if (scan->held > 0 && position >= scan->held_at && position < scan->held_at + scan->held) {
        kept = (size_t)(scan->held_at + scan->held - position);
        memmove(scan->buffer, scan->buffer + (position - scan->held_at), kept);
    }
    scan->held_at = position;
    scan->held = kept;
    if (kept >= want) return ERR_OK;
    size_t got = 0;
    err = scan->sys->disk_ops->read(scan->file, position + kept, scan->buffer + kept, want - kept, &got);
    if (!err) scan->held += got;
    return err;
}

static struct slice held_from(const struct scan *scan, uint64_t position) {
    if (position < scan->held_at || position >= scan->held_at + scan->held) return SLICE_NONE;
    size_t skip = (size_t)(position - scan->held_at);
    return slice_of(scan->buffer + skip, scan->held - skip);
}

enum err scan_batch(struct scan *scan, uint64_t position, struct record_batch *ret_batch) {
    if (position + RECORD_BATCH_HEADER_BYTES > scan->limit) return ERR_END;
    enum err err = hold(scan, position, RECORD_BATCH_HEADER_BYTES);
    if (err) return err;
    struct record_batch header;
    err = record_batch_parse_header(held_from(scan, position), &header);
    if (err) return err;
    if (position + header.size_bytes > scan->limit) return ERR_END;
    err = hold(scan, position, header.size_bytes);
    if (err) return err;
    return record_batch_parse(held_from(scan, position), ret_batch);
}

/* Like `hold` for one page, but what cannot be read is zeroes. */
static void hold_page_leniently(struct scan *scan, uint64_t position) {
    if (hold(scan, position, 1) == ERR_OK) return;
    size_t size = PAGE_BYTES - position % PAGE_BYTES;
    if (size > scan->limit - position) size = (size_t)(scan->limit - position);
    size_t got = 0;
    if (scan->capacity < PAGE_BYTES && grow(scan, PAGE_BYTES) != ERR_OK) return;
    if (scan->sys->disk_ops->read(scan->file, position, scan->buffer, size, &got) != ERR_OK)
        memset(scan->buffer, 0, got = size);
    scan->held_at = position;
    scan->held = got;
}

static uint64_t load_be64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return __builtin_bswap64(value);
}

/* The first byte of `bytes` where a header with a fitting base offset could start; its size if there is none. */
static size_t candidate(struct slice bytes, int64_t after) {
    size_t last = bytes.size >= MAGIC_AT + 1 ? bytes.size - MAGIC_AT - 1 : 0;
    for (size_t i = 0; i <= last && bytes.size > MAGIC_AT; i++) {
        if (bytes.data[i + MAGIC_AT] != 2) continue;
        if (load_be64(bytes.data + i) - (uint64_t)after - 1 < (uint64_t)INT32_MAX) return i;
    }
    return bytes.size;
}

enum err scan_find(struct scan *scan, uint64_t position, int64_t after, const struct chain *chain,
                   uint64_t *ret_position, struct record_batch *ret_batch) {
    while (position + RECORD_BATCH_HEADER_BYTES <= scan->limit) {
        enum err err = hold(scan, position, RECORD_BATCH_HEADER_BYTES);
        if (err == ERR_NO_MEMORY) return err;
        if (err) hold_page_leniently(scan, position);
        struct slice bytes = held_from(scan, position);
        if (bytes.size <= MAGIC_AT) { /* the file ends, or a page that ends in what cannot be read */
            if (!err) return ERR_END;
            position += bytes.size ? bytes.size : 1;
            continue;
        }
        size_t skip = candidate(bytes, after);
        if (skip == bytes.size) {
            position += bytes.size - MAGIC_AT;
            continue;
        }
        position += skip;
        struct record_batch batch;
        err = scan_batch(scan, position, &batch);
        if (err == ERR_NO_MEMORY) return err;
        bool fits = err == ERR_OK && batch.base_offset > after && batch.base_offset - after <= INT32_MAX;
        if (fits && chain_owns(chain, &batch)) {
            *ret_position = position;
            *ret_batch = batch;
            return ERR_OK;
        }
        position++;
    }
    return ERR_END;
}

bool scan_dirty(struct scan *scan, uint64_t position) {
    while (position < scan->limit) {
        if (hold(scan, position, 1) != ERR_OK) return true;
        struct slice bytes = held_from(scan, position);
        if (bytes.size == 0) return false;
        for (size_t i = 0; i < bytes.size; i++)
            if (bytes.data[i] != 0) return true;
        position += bytes.size;
    }
    return false;
}

int32_t compacted_epoch(int64_t base_offset, int32_t tag) {
    uint8_t bytes[8];
    for (unsigned i = 0; i < 8; i++) bytes[i] = (uint8_t)((uint64_t)base_offset >> (8 * i));
    return (int32_t)(crc32c(0, slice_of(bytes, sizeof bytes)) & INT32_MAX) ^ tag;
}

struct chain chain_of(const struct log_partition *partition, int64_t expected) {
    bool gaps = partition->topic->options.compacted;
    return (struct chain){.expected = expected,
                          .group = GROUP_ANY,
                          .kafka_end = atomic_load(&partition->kafka_end),
                          .tag = partition->tag,
                          .gaps = gaps,
                          .loose = gaps && partition->log->version < 2};
}

bool chain_owns(const struct chain *chain, const struct record_batch *batch) {
    if (batch->base_offset < chain->kafka_end) return true;
    if (chain->gaps && batch->leader_epoch == compacted_epoch(batch->base_offset, chain->tag)) return true;
    return batch->base_offset - batch_group(batch, chain->tag) < GROUP_RECORDS_MAX;
}

bool chain_follow(struct chain *chain, const struct record_batch *batch) {
    int64_t group = batch_group(batch, chain->tag);
    if (batch->base_offset < chain->expected || !chain_owns(chain, batch)) return false;
    if (batch->base_offset < chain->kafka_end) {
        group = GROUP_ANY;
    } else if (chain->gaps && batch->leader_epoch == compacted_epoch(batch->base_offset, chain->tag)) {
        group = GROUP_NEW; /* Behind the last of them is a segment of its own. */
    } else {
        bool continues = chain->group == GROUP_ANY || group == chain->group;
        if (batch->base_offset != chain->expected || (group != batch->base_offset && !continues)) return false;
    }
    chain->expected = batch_end(batch);
    chain->group = group;
    return true;
}
