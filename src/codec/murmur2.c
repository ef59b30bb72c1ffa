/* Source: Austin Appleby's MurmurHash2 (public domain) with the seed and the use that Kafka's default partitioner makes
 * of it: org.apache.kafka.common.utils.Utils.murmur2, toPositive. */
#include "codec/record_batch.h"

uint32_t murmur2(struct slice key) {
    const uint32_t m = 0x5bd1e995;
    uint32_t hash = 0x9747b28cu ^ (uint32_t)key.size;
    const uint8_t *at = key.data;
    size_t left = key.size;
    for (; left >= 4; at += 4, left -= 4) {
        uint32_t k;
        memcpy(&k, at, sizeof k);
        k *= m;
        k ^= k >> 24;
        k *= m;
        hash = hash * m ^ k;
    }
    if (left == 3) hash ^= (uint32_t)at[2] << 16;
    if (left >= 2) hash ^= (uint32_t)at[1] << 8;
    if (left >= 1) hash = (hash ^ at[0]) * m;
    hash ^= hash >> 13;
    hash *= m;
    hash ^= hash >> 15;
    return hash & 0x7fffffff;
}
