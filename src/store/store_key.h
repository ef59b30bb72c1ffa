/* How backends that keep one ordered map lay out keys: u16 big-endian partition length, partition, row. Rows of a
 * partition then lie together, in order. For backends only. */
#ifndef STORE_STORE_KEY_H
#define STORE_STORE_KEY_H

#include "store/store.h"

enum { STORE_FLAT_KEY_MAX = STORE_KEY_MAX + 2 };

struct store_flat_key {
    size_t size;
    uint8_t bytes[STORE_FLAT_KEY_MAX];
};

/* ERR_TOO_LARGE if partition and row are longer than STORE_KEY_MAX together. */
enum err store_flat_key(struct slice partition, struct slice row, struct store_flat_key *ret_key) MUST_USE;
/* The partition of a flat key; ERR_CORRUPT if it is none. */
enum err store_flat_key_partition(struct slice flat, struct slice *ret_partition) MUST_USE;
/* The smallest flat key behind all rows of `partition`; false if there can be none. */
bool store_flat_key_behind(struct slice partition, struct store_flat_key *ret_key) MUST_USE;
/* XXH3-64 over table, key and value. */
uint64_t store_checksum(enum store_table table, struct slice flat_key, struct slice value);
const char *store_table_name(enum store_table table);

#endif
