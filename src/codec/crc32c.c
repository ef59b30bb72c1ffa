/* CRC-32C (Castagnoli; RFC 3720, B.4), by the machine's own instruction where it has one. */
#include "codec/record_batch.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

/* Four bits at a time: small, and only for machines without the instruction. */
static uint32_t crc_portable(uint32_t crc, const uint8_t *at, size_t size) {
    static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
                                       0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                       0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    for (size_t i = 0; i < size; i++) {
        crc ^= at[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return crc;
}

#if defined(__x86_64__)
static inline uint64_t load64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* The instruction takes three cycles and starts one each cycle, so three runs of `run` bytes go side by side. They are
 * joined by carry-less multiplication: multiplying by x^(8n - 33) and reducing moves a CRC over n bytes. `by_one` and
 * `by_two` are those powers, bit-reversed, for n = run and n = 2 * run. */
__attribute__((target("sse4.2,pclmul"))) static uint64_t crc_three(uint64_t crc, const uint8_t *at, size_t run,
                                                                   uint32_t by_one, uint32_t by_two) {
    uint64_t second = 0, third = 0;
    for (size_t i = 0; i < run; i += 8) {
        crc = _mm_crc32_u64(crc, load64(at + i));
        second = _mm_crc32_u64(second, load64(at + run + i));
        third = _mm_crc32_u64(third, load64(at + 2 * run + i));
    }
    __m128i a = _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)crc), _mm_cvtsi64_si128(by_two), 0);
    __m128i b = _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)second), _mm_cvtsi64_si128(by_one), 0);
    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(_mm_xor_si128(a, b))) ^ third;
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t crc_machine(uint32_t seed, const uint8_t *at, size_t size) {
    uint64_t crc = seed;
    for (; size >= 3 * 512; at += 3 * 512, size -= 3 * 512) crc = crc_three(crc, at, 512, 0xdd7e3b0c, 0x170076fa);
    for (; size >= 3 * 128; at += 3 * 128, size -= 3 * 128) crc = crc_three(crc, at, 128, 0x0d3b6092, 0xb9e02b86);
    for (; size >= 8; at += 8, size -= 8) crc = _mm_crc32_u64(crc, load64(at));
    for (; size > 0; at++, size--) crc = _mm_crc32_u8((uint32_t)crc, *at);
    return (uint32_t)crc;
}

static bool machine_has_crc(void) { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"); }
#elif defined(__aarch64__)
__attribute__((target("+crc"))) static uint32_t crc_machine(uint32_t crc, const uint8_t *at, size_t size) {
    for (; size >= 8; at += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        crc = __crc32cd(crc, word);
    }
    for (; size > 0; at++, size--) crc = __crc32cb(crc, *at);
    return crc;
}

static bool machine_has_crc(void) { return (getauxval(AT_HWCAP) & (1UL << 7)) != 0; /* HWCAP_CRC32 */ }
#endif

uint32_t crc32c(uint32_t seed, struct slice bytes) {
    if (machine_has_crc()) return ~crc_machine(~seed, bytes.data, bytes.size);
    return ~crc_portable(~seed, bytes.data, bytes.size);
}

uint32_t crc32c_portable(uint32_t seed, struct slice bytes) { return ~crc_portable(~seed, bytes.data, bytes.size); }
