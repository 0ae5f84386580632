#include "CBareLoops.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t bare_cpu_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static volatile uint64_t used;
void bare_use(uint64_t value) { used += value; }

static inline uint8_t *put8(uint8_t *p, uint8_t v) { *p = v; return p + 1; }
static inline uint8_t *put16(uint8_t *p, uint16_t v) { v = __builtin_bswap16(v); memcpy(p, &v, 2); return p + 2; }
static inline uint8_t *put32(uint8_t *p, uint32_t v) { v = __builtin_bswap32(v); memcpy(p, &v, 4); return p + 4; }
static inline uint8_t *put64(uint8_t *p, uint64_t v) { v = __builtin_bswap64(v); memcpy(p, &v, 8); return p + 8; }
static inline uint8_t *put_varint(uint8_t *p, uint32_t v) {
    while (v >= 0x80) { *p++ = (uint8_t)(v | 0x80); v >>= 7; }
    *p++ = (uint8_t)v;
    return p;
}
static inline uint8_t *put_bytes(uint8_t *p, const void *bytes, size_t size) {
    p = put_varint(p, (uint32_t)size + 1);
    memcpy(p, bytes, size);
    return p + size;
}

static inline uint32_t get32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return __builtin_bswap32(v); }
static inline uint64_t get64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return __builtin_bswap64(v); }
static inline const uint8_t *get_varint(const uint8_t *p, uint32_t *value) {
    uint32_t v = *p++;
    if (v < 0x80) { *value = v; return p; }
    v &= 0x7f;
    for (int shift = 7;; shift += 7) {
        uint32_t byte = *p++;
        v |= (byte & 0x7f) << shift;
        if (byte < 0x80) break;
    }
    *value = v;
    return p;
}

// Produce

size_t bare_encode_produce(uint8_t *out, const struct bare_topic *topics, size_t count) {
    uint8_t *p = put8(out, 0);
    p = put16(p, 0xffff);
    p = put32(p, 30000);
    p = put_varint(p, (uint32_t)count + 1);
    for (size_t t = 0; t < count; t++) {
        p = put_bytes(p, topics[t].name, topics[t].name_size);
        p = put_varint(p, (uint32_t)topics[t].partition_count + 1);
        for (size_t i = 0; i < topics[t].partition_count; i++) {
            const struct bare_partition *partition = &topics[t].partitions[i];
            p = put32(p, (uint32_t)partition->index);
            p = put_bytes(p, partition->records, partition->records_size);
            p = put8(p, 0);
        }
        p = put8(p, 0);
    }
    return (size_t)(put8(p, 0) - out);
}

uint64_t bare_walk_produce(const uint8_t *in) {
    uint64_t sum = 0;
    uint32_t topics, partitions, size;
    const uint8_t *p = get_varint(in + 7, &topics);
    while (--topics > 0) {
        p = get_varint(p, &size);
        p = get_varint(p + size - 1, &partitions);
        while (--partitions > 0) {
            sum += get32(p);
            p = get_varint(p + 4, &size);
            sum += size;
            p += size;
        }
        p++;
    }
    return sum;
}

uint64_t bare_decode_produce(const uint8_t *in, size_t size) {
    uint8_t *memory = malloc(size), *m = memory;
    uint64_t sum = 0;
    uint32_t topics, partitions, length;
    const uint8_t *p = get_varint(in + 7, &topics);
    while (--topics > 0) {
        p = get_varint(p, &length);
        memcpy(m, p, length - 1);
        m += length - 1;
        p = get_varint(p + length - 1, &partitions);
        while (--partitions > 0) {
            sum += get32(p);
            p = get_varint(p + 4, &length);
            memcpy(m, p, length - 1);
            m += length - 1;
            p += length;
        }
        p++;
    }
    bare_use(*memory);
    free(memory);
    return sum;
}

size_t bare_encode_produce_response(uint8_t *out, const struct bare_topic *topics, size_t count) {
    uint8_t *p = put_varint(out, (uint32_t)count + 1);
    for (size_t t = 0; t < count; t++) {
        p = put_bytes(p, topics[t].name, topics[t].name_size);
        p = put_varint(p, (uint32_t)topics[t].partition_count + 1);
        for (size_t i = 0; i < topics[t].partition_count; i++) {
            const struct bare_partition *partition = &topics[t].partitions[i];
            p = put32(p, (uint32_t)partition->index);
            p = put16(p, 0);
            p = put64(p, (uint64_t)partition->offset);
            p = put64(p, UINT64_MAX);
            p = put64(p, 0);
            p = put8(p, 1);
            p = put8(p, 0);
            p = put8(p, 0);
        }
        p = put8(p, 0);
    }
    p = put32(p, 0);
    return (size_t)(put8(p, 0) - out);
}

// Fetch

size_t bare_encode_fetch(uint8_t *out, const struct bare_topic *topics, size_t count) {
    uint8_t *p = put32(out, UINT32_MAX);
    p = put32(p, 500);
    p = put32(p, 1);
    p = put32(p, 52428800);
    p = put8(p, 0);
    p = put32(p, 0);
    p = put32(p, UINT32_MAX);
    p = put_varint(p, (uint32_t)count + 1);
    for (size_t t = 0; t < count; t++) {
        p = put_bytes(p, topics[t].name, topics[t].name_size);
        p = put_varint(p, (uint32_t)topics[t].partition_count + 1);
        for (size_t i = 0; i < topics[t].partition_count; i++) {
            p = put32(p, (uint32_t)topics[t].partitions[i].index);
            p = put32(p, 0);
            p = put64(p, (uint64_t)topics[t].partitions[i].offset);
            p = put32(p, UINT32_MAX);
            p = put64(p, UINT64_MAX);
            p = put32(p, 1048576);
            p = put8(p, 0);
        }
        p = put8(p, 0);
    }
    p = put8(p, 1);
    p = put8(p, 1);
    return (size_t)(put8(p, 0) - out);
}

uint64_t bare_walk_fetch(const uint8_t *in) {
    uint64_t sum = 0;
    uint32_t topics, partitions, size;
    const uint8_t *p = get_varint(in + 25, &topics);
    while (--topics > 0) {
        p = get_varint(p, &size);
        p = get_varint(p + size - 1, &partitions);
        while (--partitions > 0) {
            sum += get32(p) + get32(p + 4) + get64(p + 8) + get32(p + 16) + get64(p + 20) + get32(p + 28);
            p += 33;
        }
        p++;
    }
    return sum;
}

struct fetched { int32_t index, epoch; int64_t offset; int32_t last_epoch; int64_t start; int32_t max; };

uint64_t bare_decode_fetch(const uint8_t *in, size_t size) {
    // A partition takes 33 bytes of the request.
    struct fetched *memory = malloc(size / 33 * sizeof(struct fetched)), *m = memory;
    uint32_t topics, partitions, length;
    const uint8_t *p = get_varint(in + 25, &topics);
    while (--topics > 0) {
        p = get_varint(p, &length);
        p = get_varint(p + length - 1, &partitions);
        while (--partitions > 0) {
            *m++ = (struct fetched){
                (int32_t)get32(p), (int32_t)get32(p + 4), (int64_t)get64(p + 8), (int32_t)get32(p + 16),
                (int64_t)get64(p + 20), (int32_t)get32(p + 28)};
            p += 33;
        }
        p++;
    }
    bare_use((uint64_t)memory[0].offset);
    uint64_t count = (uint64_t)(m - memory);
    free(memory);
    return count;
}

size_t bare_encode_fetch_response(uint8_t *out, const struct bare_topic *topics, size_t count) {
    uint8_t *p = put32(out, 0);
    p = put16(p, 0);
    p = put32(p, 0);
    p = put_varint(p, (uint32_t)count + 1);
    for (size_t t = 0; t < count; t++) {
        p = put_bytes(p, topics[t].name, topics[t].name_size);
        p = put_varint(p, (uint32_t)topics[t].partition_count + 1);
        for (size_t i = 0; i < topics[t].partition_count; i++) {
            const struct bare_partition *partition = &topics[t].partitions[i];
            p = put32(p, (uint32_t)partition->index);
            p = put16(p, 0);
            p = put64(p, (uint64_t)partition->offset);
            p = put64(p, (uint64_t)partition->offset);
            p = put64(p, 0);
            p = put8(p, 0);
            p = put32(p, UINT32_MAX);
            p = put_varint(p, (uint32_t)partition->records_size + 1);
            p = put8(p, 0);
        }
        p = put8(p, 0);
    }
    return (size_t)(put8(p, 0) - out);
}

// Metadata

size_t bare_encode_metadata_response(uint8_t *out, const struct bare_topic *topics, size_t count) {
    uint8_t *p = put32(out, 0);
    p = put_varint(p, 2);
    p = put32(p, 1);
    p = put_bytes(p, "localhost", 9);
    p = put32(p, 9092);
    p = put8(p, 0);
    p = put8(p, 0);
    p = put_bytes(p, "MkU3OEVBNTcwNTJENDM2Qk", 22);
    p = put32(p, 1);
    p = put_varint(p, (uint32_t)count + 1);
    for (size_t t = 0; t < count; t++) {
        p = put16(p, 0);
        p = put_bytes(p, topics[t].name, topics[t].name_size);
        p = put64(p, 0);
        p = put64(p, 0);
        p = put8(p, 0);
        p = put_varint(p, (uint32_t)topics[t].partition_count + 1);
        for (size_t i = 0; i < topics[t].partition_count; i++) {
            p = put16(p, 0);
            p = put32(p, (uint32_t)topics[t].partitions[i].index);
            p = put32(p, 1);
            p = put32(p, 0);
            p = put32(put8(p, 2), 1);
            p = put32(put8(p, 2), 1);
            p = put8(p, 1);
            p = put8(p, 0);
        }
        p = put32(p, 0x80000000);
        p = put8(p, 0);
    }
    return (size_t)(put8(p, 0) - out);
}
