#include "CBareLoops.h"
#include <lz4.h>
#include <snappy-c.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

uint64_t bare_walk_records(const uint8_t *in, size_t size) {
    const uint8_t *p = in, *end = in + size;
    uint64_t count = 0;
    while (p < end) {
        uint64_t length = *p++;
        if (length >= 0x80) {
            length &= 0x7f;
            for (int shift = 7;; shift += 7) {
                uint64_t byte = *p++;
                length |= (byte & 0x7f) << shift;
                if (byte < 0x80) break;
            }
        }
        p += length >> 1;
        count++;
    }
    return count;
}

size_t bare_gunzip(uint8_t *out, size_t room, const uint8_t *in, size_t size) {
    static z_stream stream;
    static int is_ready;
    if (!is_ready) is_ready = inflateInit2(&stream, 15 + 16) == Z_OK;
    inflateReset(&stream);
    stream.next_in = (Bytef *)in;
    stream.avail_in = (uInt)size;
    stream.next_out = out;
    stream.avail_out = (uInt)room;
    return inflate(&stream, Z_FINISH) == Z_STREAM_END ? room - stream.avail_out : 0;
}

/// In xerial's framing: 16 bytes, then blocks with their length.
size_t bare_unsnappy(uint8_t *out, size_t room, const uint8_t *in, size_t size) {
    size_t done = 0, at = 16;
    while (at < size) {
        size_t length = (size_t)in[at] << 24 | (size_t)in[at + 1] << 16 | (size_t)in[at + 2] << 8 | in[at + 3];
        size_t unpacked = room - done;
        if (snappy_uncompress((const char *)in + at + 4, length, (char *)out + done, &unpacked) != SNAPPY_OK) return 0;
        done += unpacked;
        at += 4 + length;
    }
    return done;
}

/// A frame without sizes and checksums of blocks, as Kafka's clients make it.
size_t bare_unlz4(uint8_t *out, size_t room, const uint8_t *in, size_t size) {
    size_t done = 0, at = 7 + (in[4] & 8);
    while (at + 4 <= size) {
        uint32_t word;
        memcpy(&word, in + at, 4);
        if (word == 0) break;
        size_t length = word & 0x7fffffff;
        if (word >> 31) {
            memcpy(out + done, in + at + 4, length);
            done += length;
        } else {
            int unpacked =
                LZ4_decompress_safe((const char *)in + at + 4, (char *)out + done, (int)length, (int)(room - done));
            if (unpacked < 0) return 0;
            done += (size_t)unpacked;
        }
        at += 4 + length;
    }
    return done;
}

size_t bare_unzstd(uint8_t *out, size_t room, const uint8_t *in, size_t size) {
    static ZSTD_DCtx *context;
    if (!context) context = ZSTD_createDCtx();
    size_t unpacked = ZSTD_decompressDCtx(context, out, room, in, size);
    return ZSTD_isError(unpacked) ? 0 : unpacked;
}

size_t bare_search(const int64_t *sorted, size_t count, int64_t value) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (sorted[middle] <= value) low = middle + 1;
        else high = middle;
    }
    return low == 0 ? 0 : low - 1;
}

int bare_same(const void *left, const void *right, size_t size) { return memcmp(left, right, size) == 0; }

void bare_heap_push(struct bare_heap_entry *heap, size_t *count, int64_t deadline, int64_t key) {
    size_t child = (*count)++;
    while (child > 0) {
        size_t parent = (child - 1) / 2;
        if (heap[parent].deadline <= deadline) break;
        heap[child] = heap[parent];
        child = parent;
    }
    heap[child] = (struct bare_heap_entry){deadline, key};
}

int64_t bare_heap_pop(struct bare_heap_entry *heap, size_t *count) {
    int64_t key = heap[0].key;
    struct bare_heap_entry last = heap[--*count];
    size_t parent = 0;
    for (;;) {
        size_t child = 2 * parent + 1;
        if (child >= *count) break;
        if (child + 1 < *count && heap[child + 1].deadline < heap[child].deadline) child++;
        if (last.deadline <= heap[child].deadline) break;
        heap[parent] = heap[child];
        parent = child;
    }
    if (*count > 0) heap[parent] = last;
    return key;
}
