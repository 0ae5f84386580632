#include "CCRC32C.h"
#include <string.h>

/// The polynomial, bits reversed.
#define POLYNOMIAL 0x82F63B78u

static uint32_t table[8][256];

static void make_tables(void) {
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t crc = n;
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
        table[0][n] = crc;
    }
    for (uint32_t n = 0; n < 256; n++)
        for (int slice = 1; slice < 8; slice++)
            table[slice][n] = (table[slice - 1][n] >> 8) ^ table[0][table[slice - 1][n] & 0xFF];
}

uint32_t ottla_crc32c_portable(uint32_t crc, const void *bytes, size_t length) {
    const unsigned char *p = bytes;
    crc = ~crc;
    while (length >= 8) {
        // Assembled byte by byte: right on a big-endian machine too, and one load where it is not.
        uint32_t low = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        low ^= crc;
        crc = table[7][low & 0xFF] ^ table[6][low >> 8 & 0xFF] ^ table[5][low >> 16 & 0xFF] ^ table[4][low >> 24] ^
              table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^ table[0][p[7]];
        p += 8;
        length -= 8;
    }
    while (length-- > 0) crc = (crc >> 8) ^ table[0][(crc ^ *p++) & 0xFF];
    return ~crc;
}

#if defined(__x86_64__)

#include <cpuid.h>
#include <nmmintrin.h>
#include <wmmintrin.h>

#define ACCELERATED __attribute__((target("sse4.2,pclmul")))

static inline uint64_t word(const unsigned char *p) {
    uint64_t value;
    memcpy(&value, p, 8);
    return value;
}

/// `crc` after `n` more zero bytes, where `factor` is x^(8n-33) modulo the polynomial: the carry-less
/// product is one bit short of 64, and the CRC instruction multiplies by x^32 while it reduces.
ACCELERATED static inline uint64_t shifted(uint64_t crc, uint32_t factor) {
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc), _mm_cvtsi32_si128((int)factor), 0);
    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

/// Three streams of `block` bytes beside each other, because the instruction takes three cycles
/// and one can begin in every cycle. `once` and `twice` are `shifted`'s factors for one and two blocks.
ACCELERATED static inline __attribute__((always_inline)) uint64_t three_blocks(
    uint64_t crc, const unsigned char *p, size_t block, uint32_t once, uint32_t twice) {
    uint64_t second = 0, third = 0;
    for (size_t i = 0; i < block; i += 8) {
        crc = _mm_crc32_u64(crc, word(p + i));
        second = _mm_crc32_u64(second, word(p + block + i));
        third = _mm_crc32_u64(third, word(p + 2 * block + i));
    }
    return shifted(crc, twice) ^ shifted(second, once) ^ third;
}

ACCELERATED static uint32_t accelerated(uint32_t seed, const void *bytes, size_t length) {
    const unsigned char *p = bytes;
    uint64_t crc = (uint32_t)~seed;
    while (length >= 3 * 4096) {
        crc = three_blocks(crc, p, 4096, 0x82f89c77u, 0x54a86326u);
        p += 3 * 4096;
        length -= 3 * 4096;
    }
    while (length >= 3 * 512) {
        crc = three_blocks(crc, p, 512, 0xdd7e3b0cu, 0x170076fau);
        p += 3 * 512;
        length -= 3 * 512;
    }
    while (length >= 3 * 64) {
        crc = three_blocks(crc, p, 64, 0x9e4addf8u, 0x0d3b6092u);
        p += 3 * 64;
        length -= 3 * 64;
    }
    while (length >= 8) {
        crc = _mm_crc32_u64(crc, word(p));
        p += 8;
        length -= 8;
    }
    while (length-- > 0) crc = _mm_crc32_u8((uint32_t)crc, *p++);
    return ~(uint32_t)crc;
}

static int detect(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_2) && (c & bit_PCLMUL);
}

#elif defined(__aarch64__)

#if defined(__linux__)
#include <sys/auxv.h>
#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif
#endif

#if defined(__clang__)
#define ACCELERATED __attribute__((target("crc")))
#else
#define ACCELERATED __attribute__((target("+crc")))
#endif

ACCELERATED static uint32_t accelerated(uint32_t seed, const void *bytes, size_t length) {
    const unsigned char *p = bytes;
    uint32_t crc = ~seed;
    while (length >= 8) {
        uint64_t value;
        memcpy(&value, p, 8);
        __asm__("crc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(value));
        p += 8;
        length -= 8;
    }
    while (length-- > 0) {
        __asm__("crc32cb %w0, %w0, %w1" : "+r"(crc) : "r"((uint32_t)*p));
        p++;
    }
    return ~crc;
}

static int detect(void) {
#if defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
#elif defined(__APPLE__)
    return 1;
#else
    return 0;
#endif
}

#else

static uint32_t accelerated(uint32_t seed, const void *bytes, size_t length) {
    return ottla_crc32c_portable(seed, bytes, length);
}
static int detect(void) { return 0; }

#endif

static int has_instruction;

/// Before any other code, so that no call needs a lock: 2,048 table entries, some microseconds.
__attribute__((constructor)) static void prepare(void) {
    make_tables();
    has_instruction = detect();
}

uint32_t ottla_crc32c(uint32_t crc, const void *bytes, size_t length) {
    return has_instruction ? accelerated(crc, bytes, length) : ottla_crc32c_portable(crc, bytes, length);
}

int ottla_crc32c_is_accelerated(void) { return has_instruction; }
