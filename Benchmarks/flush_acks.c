// What it costs to wait for the disk: acknowledged batches a second, and how long each takes, one in flight a partition.
//   flush_acks bare FOLDER                     threads that write 1,100 bytes to a file each and call fdatasync
//   flush_acks PORT TOPIC PARTITIONS SECONDS   one connection a partition, Produce with acks=all of one record of 1 kB
// Build: cc -O2 -pthread -o flush_acks flush_acks.c
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { most = 4000000, value = 1024 };
static double *took;
static long done;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void print(const char *what, long n, double seconds) {
    qsort(took, done, sizeof *took, compare);
    if (!done) exit(1);
    printf("%-10s %4ld: %7.0f/s  p50 %6.2f ms  p99 %6.2f ms  max %6.2f ms\n", what, n, done / seconds,
           took[done / 2] * 1e3, took[done * 99 / 100] * 1e3, took[done - 1] * 1e3);
}

// MARK: bare

static const char *folder;
static volatile int stop;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *write_and_sync(void *argument) {
    char path[4096], bytes[1100];
    memset(bytes, 7, sizeof bytes);
    snprintf(path, sizeof path, "%s/flush-acks-%ld", folder, (long)argument);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (file < 0) return NULL;
    for (off_t at = 0; !stop; at += sizeof bytes) {
        double began = now();
        if (pwrite(file, bytes, sizeof bytes, at) < 0 || fdatasync(file)) break;
        double t = now() - began;
        pthread_mutex_lock(&lock);
        if (done < most) took[done++] = t;
        pthread_mutex_unlock(&lock);
    }
    close(file);
    unlink(path);
    return NULL;
}

static void bare(long threads) {
    static pthread_t thread[512];
    stop = 0, done = 0;
    for (long i = 0; i < threads; i++) pthread_create(&thread[i], NULL, write_and_sync, (void *)i);
    double began = now();
    sleep(3);
    stop = 1;
    double seconds = now() - began;
    for (long i = 0; i < threads; i++) pthread_join(thread[i], NULL);
    print("fdatasync", threads, seconds);
}

// MARK: a broker

static uint32_t crc32c(const uint8_t *bytes, size_t count) {
    uint32_t crc = ~0u;
    while (count--) {
        crc ^= *bytes++;
        for (int i = 0; i < 8; i++) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78 : 0);
    }
    return ~crc;
}

static uint8_t request[4096], *end;

static void put(uint64_t number, int size) {
    for (int i = size - 1; i >= 0; i--) *end++ = number >> 8 * i;
}
static void put_varint(long number) {
    for (uint64_t z = (uint64_t)number << 1; ; z >>= 7) {
        if (z < 128) { *end++ = z; return; }
        *end++ = z | 128;
    }
}
static void put_bytes(const void *bytes, size_t count) { memcpy(end, bytes, count), end += count; }

/// Produce version 3 of one batch. Returns where the partition is named.
static size_t build(const char *topic) {
    end = request + 4;
    put(0, 2), put(3, 2), put(1, 4), put(4, 2), put_bytes("acks", 4);
    put(0xffff, 2), put(0xffff, 2), put(30000, 4), put(1, 4);
    put(strlen(topic), 2), put_bytes(topic, strlen(topic)), put(1, 4);
    size_t partition = end - request;
    put(0, 4);
    uint8_t *size = end;
    put(0, 4);
    uint8_t *batch = end;
    put(0, 8), put(0, 4), put(0, 4), put(2, 1);
    uint8_t *crc = end;
    put(0, 4);
    uint64_t ms = (uint64_t)time(NULL) * 1000;
    put(0, 2), put(0, 4), put(ms, 8), put(ms, 8), put(-1, 8), put(-1, 2), put(-1, 4), put(1, 4);
    put_varint(value + 7), put(0, 1), put_varint(0), put_varint(0), *end++ = 1;
    put_varint(value), memset(end, 'x', value), end += value, put_varint(0);
    uint8_t *last = end;
    // The record's own length: what follows it.
    end = batch + 61;
    put_varint(last - (batch + 63));
    end = batch + 8, put(last - batch - 12, 4);
    end = crc, put(crc32c(crc + 4, last - crc - 4), 4);
    end = size, put(last - batch, 4);
    end = request, put(last - request - 4, 4);
    end = last;
    return partition;
}

static void die(const char *what) { perror(what), exit(1); }

int main(int count, char **words) {
    took = malloc(sizeof(double) * most);
    if (count == 3 && !strcmp(words[1], "bare")) {
        folder = words[2];
        for (long n = 1; n <= 256; n *= 4) bare(n);
        return 0;
    }
    if (count != 5) return fprintf(stderr, "see the top of flush_acks.c\n"), 2;
    int partitions = atoi(words[3]);
    double seconds = atof(words[4]);
    size_t at = build(words[2]), length = end - request;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int poll = epoll_create1(0), one = 1;
    int *sockets = calloc(partitions, sizeof(int));
    double *sent = calloc(partitions, sizeof(double));
    for (int i = 0; i < partitions; i++) {
        sockets[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(sockets[i], (void *)&address, sizeof address)) die("connect");
        setsockopt(sockets[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        epoll_ctl(poll, EPOLL_CTL_ADD, sockets[i], &event);
    }
    double began = now();
    for (int i = 0; i < partitions; i++) {
        end = request + at, put(i, 4);
        sent[i] = now();
        if (send(sockets[i], request, length, 0) != (ssize_t)length) die("send");
    }
    // The first rounds make folders durable and threads start.
    double measured = began + 1;
    while (now() < measured + seconds) {
        struct epoll_event events[64];
        int ready = epoll_wait(poll, events, 64, 1000);
        for (int e = 0; e < ready; e++) {
            int i = events[e].data.u32;
            uint8_t answer[256];
            ssize_t got = recv(sockets[i], answer, sizeof answer, 0);
            if (got < 20) die("recv");
            double t = now();
            // Length, correlation id, topics, name, partitions, index, error.
            size_t code = 4 + 4 + 4 + 2 + strlen(words[2]) + 4 + 4;
            if (answer[code] || answer[code + 1]) return fprintf(stderr, "error %d\n", answer[code + 1]), 1;
            if (t >= measured && done < most) took[done++] = t - sent[i];
            end = request + at, put(i, 4);
            sent[i] = t;
            if (send(sockets[i], request, length, 0) != (ssize_t)length) die("send");
        }
    }
    print("acks", partitions, seconds);
    return 0;
}
