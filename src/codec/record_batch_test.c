#include "codec/record_batch.h"
#include "base/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Made by kafka-python 3.0.12, kafka.record.default_records.DefaultRecordBatchBuilder. */
static const char plain_hex[] =
    "0000000000000000000001350000000002ec48d3470000000000020000018bcfe568000000018bcfe573b800000000000012"
    "6700030000006300000003fe010000000a4254432d30d8017072696365203432207072696365203432207072696365203432"
    "2070726963652034322070726963652034322070726963652034322070726963652034322070726963652034322070726963"
    "65203432207072696365203432207072696365203432207072696365203432200402680276026e01e80100b8170201d80170"
    "7269636520343220707269636520343220707269636520343220707269636520343220707269636520343220707269636520"
    "3432207072696365203432207072696365203432207072696365203432207072696365203432207072696365203432207072"
    "69636520343220001800f02e040a4254432d320100";
static const char gzip_hex[] =
    "00000000000000000000007a000000000263c2b7220001000000020000018bcfe568000000018bcfe573b800000000000012"
    "67000300000063000000031f8b0800710a016b02fffbc7c8c0c0c0e514e2ac6b7083b1a028333955c1c448810e0c16a60ca6"
    "32a63cc6178c0c3bc49918e96b398304c3073d16b0b78d1819005f19be9f04010000";
static const char lz4_hex[] =
    "0000000000000000000000860000000002873bc05b0003000000020000018bcfe568000000018bcfe573b800000000000012"
    "670003000000630000000304224d1868400401000000000000f73e000000ff07fe010000000a4254432d30d8017072696365"
    "20343220090050ff000402680276026e01e80100b81702017d005be0001800f02e040a4254432d32010000000000";
static const char zstd_hex[] =
    "0000000000000000000000790000000002eb22fb640004000000020000018bcfe568000000018bcfe573b800000000000012"
    "670003000000630000000328b52ffd600400f501003403fe010000000a4254432d30d8017072696365203432200402680276"
    "026e01e80100b8170201001800f02e040a4254432d32010002000b60d20a302d62";
static const char snappy_hex[] =
    "0000000000000000000000890000000002dae6806a0002000000020000018bcfe568000000018bcfe573b800000000000012"
    "670003000000630000000382534e4150505900000000010000000100000044840254fe010000000a4254432d30d801707269"
    "636520343220fe09008a0900380402680276026e01e80100b8170201fe7d00b67d0034001800f02e040a4254432d320100";

static size_t from_hex(const char *hex, uint8_t *bytes) {
    size_t size = strlen(hex) / 2;
    for (size_t i = 0; i < size; i++) {
        char two[3] = {hex[2 * i], hex[2 * i + 1], 0};
        bytes[i] = (uint8_t)strtoul(two, NULL, 16);
    }
    return size;
}

static void test_crc32c_agrees_with_the_standard(void **state) {
    (void)state;
    uint8_t bytes[32] = {0};
    assert_int_equal(crc32c(0, slice_of(bytes, 32)), 0x8a9136aa); /* RFC 3720, B.4 */
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(crc32c(0, slice_of(bytes, 32)), 0x62a8ab43);
    for (int i = 0; i < 32; i++) bytes[i] = (uint8_t)i;
    assert_int_equal(crc32c(0, slice_of(bytes, 32)), 0x46dd794e);
    assert_int_equal(crc32c(0, SLICE("123456789")), 0xe3069283);
    assert_int_equal(crc32c_portable(0, SLICE("123456789")), 0xe3069283);
}

static void test_crc32c_ways_agree_for_every_length(void **state) {
    (void)state;
    static uint8_t bytes[6000];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * i >> 3);
    for (size_t size = 0; size < 5000; size += 1 + size / 97)
        for (size_t start = 0; start < 3; start++) {
            struct slice all = slice_of(bytes + start, size);
            uint32_t whole = crc32c(0, all);
            assert_int_equal(whole, crc32c_portable(0, all));
            assert_int_equal(
                whole, crc32c(crc32c(0, slice_of(all.data, size / 3)), slice_of(all.data + size / 3, size - size / 3)));
        }
}

static void test_murmur2_agrees_with_kafka(void **state) {
    (void)state;
    /* org.apache.kafka.common.utils.UtilsTest.testMurmur2 */
    static const struct {
        const char *key;
        int32_t hash;
    } cases[] = {
        {"21", -973932308},
        {"foobar", -790332482},
        {"a-little-bit-long-string", -985981536},
        {"a-little-bit-longer-string", -1486304829},
        {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
        {"abc", 479470107},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(murmur2(slice_text(cases[i].key)), (uint32_t)cases[i].hash & 0x7fffffff);
}

static enum err check_golden(void *context, const struct record *record) {
    int *count = context;
    int i = (*count)++;
    static char value[109];
    for (int j = 0; j < 12; j++) memcpy(value + 9 * j, "price 42 ", 9);
    assert_int_equal(record->offset, i);
    assert_int_equal(record->timestamp_ms, 1700000000000 + i * 1500);
    assert_true(i == 1 ? record->key.data == NULL : slice_equal(record->key, i == 0 ? SLICE("BTC-0") : SLICE("BTC-2")));
    assert_true(i == 2 ? record->value.data == NULL : slice_equal(record->value, slice_of(value, 108)));
    assert_int_equal(record->header_count, i == 0 ? 2 : 0);
    if (i == 0) {
        assert_true(slice_equal(record->headers[0].key, SLICE("h")));
        assert_true(slice_equal(record->headers[0].value, SLICE("v")));
        assert_null(record->headers[1].value.data);
    }
    return ERR_OK;
}

static void test_reads_what_kafka_python_wrote(void **state) {
    (void)state;
    const char *const all[] = {plain_hex, gzip_hex, lz4_hex, zstd_hex};
    for (size_t i = 0; i < 4; i++) {
        uint8_t bytes[400];
        size_t size = from_hex(all[i], bytes);
        struct record_batch batch;
        assert_int_equal(record_batch_parse(slice_of(bytes, size), &batch), ERR_OK);
        assert_int_equal(batch.producer_id, 4711);
        assert_int_equal(batch.producer_epoch, 3);
        assert_int_equal(batch.base_sequence, 99);
        assert_int_equal(batch.record_count, 3);
        assert_int_equal(batch.max_timestamp_ms, 1700000003000);
        struct arena arena;
        arena_init(&arena, 1 << 20);
        int count = 0;
        assert_int_equal(record_batch_visit(&batch, &arena, check_golden, &count), ERR_OK);
        assert_int_equal(count, 3);
        arena_deinit(&arena);
    }
}

static void test_snappy_is_said_not_to_be_had(void **state) {
    (void)state;
    uint8_t bytes[400];
    size_t size = from_hex(snappy_hex, bytes);
    struct record_batch batch;
    assert_int_equal(record_batch_parse(slice_of(bytes, size), &batch), ERR_OK);
    struct arena arena;
    arena_init(&arena, 1 << 20);
    int count = 0;
    assert_int_equal(record_batch_visit(&batch, &arena, check_golden, &count), ERR_UNKNOWN);
    arena_deinit(&arena);
}

/* Ours must be theirs, byte for byte, where nothing is compressed. */
static void test_writes_what_kafka_python_writes(void **state) {
    (void)state;
    uint8_t golden[400];
    size_t size = from_hex(plain_hex, golden);
    struct record_batch batch;
    assert_int_equal(record_batch_parse(slice_of(golden, size), &batch), ERR_OK);
    struct record_batch_builder builder;
    record_batch_builder_init(&builder);
    record_batch_begin(&builder, RECORD_CODEC_NONE);
    record_batch_set_producer(&builder, 4711, 3, 99);
    char value[109];
    for (int j = 0; j < 12; j++) memcpy(value + 9 * j, "price 42 ", 9);
    struct record_header headers[] = {{SLICE("h"), SLICE("v")}, {SLICE("n"), SLICE_NONE}};
    struct record records[] = {
        {0, 1700000000000, SLICE("BTC-0"), slice_of(value, 108), headers, 2},
        {0, 1700000001500, SLICE_NONE, slice_of(value, 108), NULL, 0},
        {0, 1700000003000, SLICE("BTC-2"), SLICE_NONE, NULL, 0},
    };
    assert_int_equal(record_batch_end(&builder), ERR_STATE);
    for (int i = 0; i < 3; i++) assert_int_equal(record_batch_add(&builder, &records[i]), ERR_OK);
    assert_int_equal(record_batch_end(&builder), ERR_OK);
    assert_int_equal(builder.bytes.size, size);
    assert_memory_equal(builder.bytes.data, golden, size);
    record_batch_builder_deinit(&builder);
}

static void test_every_flipped_bit_under_the_crc_is_seen(void **state) {
    (void)state;
    uint8_t bytes[400];
    size_t size = from_hex(plain_hex, bytes);
    struct record_batch batch;
    for (size_t bit = 16 * 8; bit < size * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(record_batch_parse(slice_of(bytes, size), &batch), ERR_OK);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < size; cut++) assert_int_equal(record_batch_parse(slice_of(bytes, cut), &batch), ERR_END);
}

static uint64_t next(uint64_t *seed) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

struct made {
    struct record records[300];
    struct record_header headers[300][RECORD_HEADERS_MAX];
    uint32_t count, seen;
    int64_t base_offset;
};

static struct slice some_bytes(uint64_t *seed, const uint8_t *pool, size_t max) {
    if (next(seed) % 8 == 0) return SLICE_NONE;
    size_t size = next(seed) % (next(seed) % 4 == 0 ? max : 20);
    return slice_of(pool + next(seed) % 1000, size);
}

static bool same(struct slice a, struct slice b) { return (a.data == NULL) == (b.data == NULL) && slice_equal(a, b); }

static enum err check_made(void *context, const struct record *record) {
    struct made *made = context;
    const struct record *want = &made->records[made->seen];
    assert_int_equal(record->offset, made->base_offset + made->seen++);
    assert_int_equal(record->timestamp_ms, want->timestamp_ms);
    assert_true(same(record->key, want->key) && same(record->value, want->value));
    assert_int_equal(record->header_count, want->header_count);
    for (uint32_t i = 0; i < want->header_count; i++) {
        assert_true(slice_equal(record->headers[i].key, want->headers[i].key));
        assert_true(same(record->headers[i].value, want->headers[i].value));
    }
    return ERR_OK;
}

/* Mostly near the one before; sometimes the other end of time, so that the distance takes all ten bytes of a varint. */
static int64_t next_time(uint64_t *seed, int64_t time) {
    static const int64_t ends[] = {-1, 0, INT64_MIN / 4, INT64_MAX / 4};
    return next(seed) % 100 == 0 ? ends[next(seed) % 4] : time + (int64_t)(next(seed) % 5000) - 1000;
}

static void make_records(struct made *made, uint64_t *seed, const uint8_t *pool) {
    made->count = 1 + (uint32_t)(next(seed) % 300);
    made->seen = 0;
    int64_t time = (int64_t)(next(seed) << 10);
    for (uint32_t i = 0; i < made->count; i++) {
        struct record *record = &made->records[i];
        time = next_time(seed, time);
        *record = (struct record){0, time, some_bytes(seed, pool, 300), some_bytes(seed, pool, 9000), NULL, 0};
        record->headers = made->headers[i];
        record->header_count =
            next(seed) % 5 ? 0 : (uint32_t)(next(seed) % (next(seed) % 20 ? 4 : RECORD_HEADERS_MAX + 1));
        for (uint32_t j = 0; j < record->header_count; j++) {
            struct slice key = some_bytes(seed, pool, 40);
            made->headers[i][j] = (struct record_header){key.data ? key : SLICE("k"), some_bytes(seed, pool, 40)};
        }
    }
}

static void test_what_is_written_is_read(void **state) {
    (void)state;
    static uint8_t pool[10000];
    static struct made made;
    uint64_t seed = 7;
    for (size_t i = 0; i < sizeof pool; i++) pool[i] = (uint8_t) "0123456789abcdef"[next(&seed) % 16];
    static const enum record_codec codecs[] = {RECORD_CODEC_NONE, RECORD_CODEC_LZ4, RECORD_CODEC_ZSTD,
                                               RECORD_CODEC_GZIP};
    struct record_batch_builder builder;
    record_batch_builder_init(&builder);
    struct arena arena;
    arena_init(&arena, 64 << 20);
    for (uint64_t round = 0; round < testing_seeds(400); round++) {
        make_records(&made, &seed, pool);
        record_batch_begin(&builder, codecs[round % 4]);
        for (uint32_t i = 0; i < made.count; i++)
            assert_int_equal(record_batch_add(&builder, &made.records[i]), ERR_OK);
        assert_int_equal(record_batch_end(&builder), ERR_OK);
        made.base_offset = (int64_t)(next(&seed) << (next(&seed) % 32));
        record_batch_place(builder.bytes.data, made.base_offset, round);
        struct record_batch batch;
        assert_int_equal(record_batch_parse(buf_slice(&builder.bytes), &batch), ERR_OK);
        assert_int_equal(batch.leader_epoch, round);
        assert_int_equal(record_batch_visit(&batch, &arena, check_made, &made), ERR_OK);
        assert_int_equal(made.seen, made.count);
        arena_clear(&arena);
    }
    arena_deinit(&arena);
    record_batch_builder_deinit(&builder);
}

static enum err ignore(void *context, const struct record *record) {
    (void)context;
    (void)record;
    return ERR_OK;
}

static void test_a_bomb_is_refused(void **state) {
    (void)state;
    struct record_batch_builder builder;
    record_batch_builder_init(&builder);
    record_batch_begin(&builder, RECORD_CODEC_ZSTD);
    size_t size = 15 << 20;
    uint8_t *zeroes = calloc(1, size);
    struct record record = {.value = slice_of(zeroes, size)};
    assert_int_equal(record_batch_add(&builder, &record), ERR_OK);
    assert_int_equal(record_batch_add(&builder, &record), ERR_TOO_LARGE);
    assert_int_equal(record_batch_end(&builder), ERR_OK);
    struct record_batch batch;
    assert_int_equal(record_batch_parse(buf_slice(&builder.bytes), &batch), ERR_OK);
    struct arena arena;
    arena_init(&arena, 1 << 20);
    assert_int_equal(record_batch_visit(&batch, &arena, ignore, NULL), ERR_TOO_LARGE);
    arena_deinit(&arena);
    free(zeroes);
    record_batch_builder_deinit(&builder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c_agrees_with_the_standard),
        cmocka_unit_test(test_crc32c_ways_agree_for_every_length),
        cmocka_unit_test(test_murmur2_agrees_with_kafka),
        cmocka_unit_test(test_reads_what_kafka_python_wrote),
        cmocka_unit_test(test_snappy_is_said_not_to_be_had),
        cmocka_unit_test(test_writes_what_kafka_python_writes),
        cmocka_unit_test(test_every_flipped_bit_under_the_crc_is_seen),
        cmocka_unit_test(test_what_is_written_is_read),
        cmocka_unit_test(test_a_bomb_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
