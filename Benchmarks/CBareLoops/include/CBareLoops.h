#pragma once
// The least that can be done for the same result, for the micro-benchmarks to be compared with: no bounds checked, no
// memory managed, one shape of each message. In C, and in a module of its own so that no call is optimised away.
#include <stddef.h>
#include <stdint.h>

/// Nanoseconds of processor time, of all threads of this process.
int64_t bare_cpu_ns(void);

/// Adds to something that nobody reads, so that what was computed had to be.
void bare_use(uint64_t value);

// Messages. Sizes and sums are returned for nothing but to be needed.

struct bare_partition {
    int32_t index;
    int64_t offset;
    const uint8_t *records;
    size_t records_size;
};

struct bare_topic {
    const char *name;
    size_t name_size;
    const struct bare_partition *partitions;
    size_t partition_count;
};

/// A Produce request, version 9.
size_t bare_encode_produce(uint8_t *out, const struct bare_topic *topics, size_t count);
/// Walks over it; the sum of the partitions' indexes and sizes.
uint64_t bare_walk_produce(const uint8_t *in);
/// Copies names and records into one piece of memory, which is freed again.
uint64_t bare_decode_produce(const uint8_t *in, size_t size);
/// Its response.
size_t bare_encode_produce_response(uint8_t *out, const struct bare_topic *topics, size_t count);

/// A Fetch request, version 12.
size_t bare_encode_fetch(uint8_t *out, const struct bare_topic *topics, size_t count);
uint64_t bare_walk_fetch(const uint8_t *in);
/// Its partitions as structures in one piece of memory, which is freed again.
uint64_t bare_decode_fetch(const uint8_t *in, size_t size);
/// Its response, without the records.
size_t bare_encode_fetch_response(uint8_t *out, const struct bare_topic *topics, size_t count);

/// A Metadata response, version 12, of topics of which each partition has one replica, without the ids.
size_t bare_encode_metadata_response(uint8_t *out, const struct bare_topic *topics, size_t count);

// Records.

/// From the length of one record to the next; how many there are.
uint64_t bare_walk_records(const uint8_t *in, size_t size);

/// The codec's own call, on what a batch has after its header. The size of what comes out.
size_t bare_gunzip(uint8_t *out, size_t room, const uint8_t *in, size_t size);
size_t bare_unsnappy(uint8_t *out, size_t room, const uint8_t *in, size_t size);
size_t bare_unlz4(uint8_t *out, size_t room, const uint8_t *in, size_t size);
size_t bare_unzstd(uint8_t *out, size_t room, const uint8_t *in, size_t size);

// Look-ups.

/// The last of `count` ascending numbers that is at or below `value`.
size_t bare_search(const int64_t *sorted, size_t count, int64_t value);
/// Compares two names; 1 where they are the same.
int bare_same(const void *left, const void *right, size_t size);

// A heap of deadlines.

struct bare_heap_entry {
    int64_t deadline;
    int64_t key;
};

void bare_heap_push(struct bare_heap_entry *heap, size_t *count, int64_t deadline, int64_t key);
int64_t bare_heap_pop(struct bare_heap_entry *heap, size_t *count);
