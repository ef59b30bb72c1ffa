/* Any bytes as a record batch. The CRC is put right first, or nothing would get past it. */
#include "codec/record_batch.h"

#include <stdlib.h>

static enum err touch(void *context, const struct record *record) {
    uint64_t *sum = context;
    for (size_t i = 0; i < record->key.size; i++) *sum += record->key.data[i];
    for (size_t i = 0; i < record->value.size; i++) *sum += record->value.data[i];
    for (uint32_t i = 0; i < record->header_count; i++) *sum += record->headers[i].key.size;
    return ERR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size + 1); /* exactly as long as the input, so that a read past it is seen */
    if (copy == NULL) return 0;
    if (size > 0) memcpy(copy, data, size);
    struct slice bytes = slice_of(copy, size);
    struct record_batch batch;
    if (record_batch_parse_header(bytes, &batch) == ERR_OK && batch.size_bytes <= size) {
        uint32_t crc = crc32c(0, slice_of(copy + 21, batch.size_bytes - 21));
        for (int i = 0; i < 4; i++) copy[17 + i] = (uint8_t)(crc >> (24 - 8 * i));
    }
    uint64_t sum = 0;
    struct arena arena;
    arena_init(&arena, 8 << 20);
    if (record_batch_parse(bytes, &batch) == ERR_OK) {
        enum err err = record_batch_visit(&batch, &arena, touch, &sum);
        (void)err;
    }
    arena_deinit(&arena);
    free(copy);
    return (int)(sum == UINT64_MAX);
}
