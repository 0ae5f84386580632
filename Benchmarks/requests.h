// What the benchmarks in C need to speak with a broker: requests of a few fields, blocking sockets, no client library.
// Everything is static: each program is one file and this.
#pragma once
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

struct buffer {
    uint8_t bytes[8192];
    size_t count;
};

static void put(struct buffer *b, const void *bytes, size_t count) {
    if (b->count + count > sizeof b->bytes) die("a request too long");
    memcpy(b->bytes + b->count, bytes, count);
    b->count += count;
}
static void put8(struct buffer *b, int value) { put(b, &(uint8_t){(uint8_t)value}, 1); }
static inline void put16(struct buffer *b, int value) { put(b, &(uint16_t){htobe16((uint16_t)value)}, 2); }
static void put32(struct buffer *b, int64_t value) { put(b, &(uint32_t){htobe32((uint32_t)value)}, 4); }
static inline void put64(struct buffer *b, int64_t value) { put(b, &(uint64_t){htobe64((uint64_t)value)}, 8); }
static inline void putString(struct buffer *b, const char *text) {
    put16(b, (int)strlen(text));
    put(b, text, strlen(text));
}
static inline void putCompact(struct buffer *b, const char *text) {
    put8(b, (int)strlen(text) + 1);
    put(b, text, strlen(text));
}
static void begin(struct buffer *b, int key, int version, bool flexible) {
    b->count = 0;
    put32(b, 0);
    put16(b, key);
    put16(b, version);
    put32(b, 1);
    putString(b, "bench");
    if (flexible) put8(b, 0);
}
static void end(struct buffer *b) {
    uint32_t length = htobe32((uint32_t)(b->count - 4));
    memcpy(b->bytes, &length, 4);
}
static inline int get16(const uint8_t *bytes) { return (int16_t)(bytes[0] << 8 | bytes[1]); }
static int32_t get32(const uint8_t *bytes) {
    return (int32_t)((uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3]);
}

struct answer {
    uint8_t bytes[1 << 16];
    size_t count;
};

static void receiveAll(int fd, uint8_t *bytes, size_t count) {
    while (count > 0) {
        ssize_t got = recv(fd, bytes, count, 0);
        if (got <= 0) die("recv");
        bytes += got;
        count -= (size_t)got;
    }
}
static inline void receive(int fd, struct answer *answer) {
    uint8_t length[4];
    receiveAll(fd, length, 4);
    answer->count = (size_t)get32(length);
    if (answer->count > sizeof answer->bytes) die("an answer too long");
    receiveAll(fd, answer->bytes, answer->count);
}
static void transmit(int fd, const struct buffer *b) {
    if (send(fd, b->bytes, b->count, MSG_NOSIGNAL) != (ssize_t)b->count) die("send");
}
static inline int dial(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static struct answer answer;

static inline void prepare(int fd, const char *topic, int partitions) {
    struct buffer b;
    begin(&b, 19, 2, false);
    put32(&b, 1);
    putString(&b, topic);
    put32(&b, partitions);
    put16(&b, 1);
    put32(&b, 0);
    put32(&b, 0);
    put32(&b, 30000);
    put8(&b, 0);
    end(&b);
    transmit(fd, &b);
    receive(fd, &answer);
    begin(&b, 10, 0, false);
    putString(&b, "bench");
    end(&b);
    transmit(fd, &b);
    receive(fd, &answer);
    sleep(1);
}

