/* Transactions as fast as one broker does them: producers on blocking sockets, each a thread, no client library.
 *
 *   transactions PORT PRODUCERS PARTITIONS VERSION SECONDS
 *
 * Each producer sends one record to each of PARTITIONS partitions of a topic of its own, in one request, and commits; then
 * again. VERSION 1: AddPartitionsToTxn, Produce, EndTxn. VERSION 2 (KIP-890): Produce and EndTxn. Prints one line of JSON:
 * transactions a second, and how long whole transactions and their EndTxn took, in microseconds. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static int port, producers, partitions, version;
static double seconds;
static uint32_t table[256];

static void make_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0x82f63b78 ^ (c >> 1) : c >> 1;
        table[i] = c;
    }
}

static uint32_t crc32c(const uint8_t *p, size_t n) {
    uint32_t c = ~0u;
    while (n--) c = table[(c ^ *p++) & 255] ^ (c >> 8);
    return ~c;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

typedef struct {
    int fd;
    uint8_t *out, *in;
    size_t length, read;
} Connection;

static void put(Connection *c, int64_t value, int bytes) {
    for (int i = bytes - 1; i >= 0; i--) c->out[c->length++] = (uint8_t)(value >> (8 * i));
}
static void put_raw(Connection *c, const void *bytes, size_t n) {
    memcpy(c->out + c->length, bytes, n);
    c->length += n;
}
static void put_varint(Connection *c, uint32_t value) {
    while (value > 127) c->out[c->length++] = (uint8_t)(value | 128), value >>= 7;
    c->out[c->length++] = (uint8_t)value;
}
static void put_string(Connection *c, const char *text, int flexible) {
    size_t n = strlen(text);
    if (flexible) put_varint(c, (uint32_t)n + 1); else put(c, (int64_t)n, 2);
    put_raw(c, text, n);
}
static int64_t get(Connection *c, int bytes) {
    int64_t value = (int8_t)c->in[c->read++];
    for (int i = 1; i < bytes; i++) value = value << 8 | c->in[c->read++];
    return value;
}
static uint32_t get_varint(Connection *c) {
    uint32_t value = 0;
    for (int shift = 0;; shift += 7) {
        uint8_t byte = c->in[c->read++];
        value |= (uint32_t)(byte & 127) << shift;
        if (byte < 128) return value;
    }
}

static void begin(Connection *c, int key, int api_version, int flexible) {
    c->length = 4;
    put(c, key, 2);
    put(c, api_version, 2);
    put(c, 7, 4);
    put_string(c, "bench", 0);
    if (flexible) put_varint(c, 0);
}

/* Sends the request and reads the answer up to behind its header. */
static void ask(Connection *c, int flexible) {
    size_t n = c->length - 4, at = 0;
    c->length = 0;
    put(c, (int64_t)n, 4);
    c->length = n + 4;
    while (at < c->length) {
        ssize_t sent = write(c->fd, c->out + at, c->length - at);
        if (sent <= 0) die("write");
        at += (size_t)sent;
    }
    size_t want = 4;
    for (at = 0; at < want;) {
        ssize_t got = read(c->fd, c->in + at, want - at);
        if (got <= 0) die("the broker has closed the connection");
        at += (size_t)got;
        if (at == 4 && want == 4) {
            c->read = 0;
            want = 4 + (size_t)get(c, 4);
        }
    }
    c->read = 8;
    if (flexible) get_varint(c);
}

static void connect_to(Connection *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->out = malloc(1 << 20);
    c->in = malloc(1 << 20);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address)) die("connect");
}

static size_t make_batch(uint8_t *batch, int64_t id, int epoch, int sequence) {
    static const uint8_t record[] = {2 * 16, 0, 0, 0, 1, 2 * 10, 't', 'r', 'a', 'n', 's', 'a', 'c', 't', 'e', 'd', 0};
    Connection c = {.out = batch};
    int64_t when = (int64_t)time(NULL) * 1000;
    put(&c, 0, 8);
    put(&c, 49 + sizeof record, 4);
    put(&c, -1, 4);
    put(&c, 2, 1);
    put(&c, 0, 4);
    put(&c, 16, 2);
    put(&c, 0, 4);
    put(&c, when, 8);
    put(&c, when, 8);
    put(&c, id, 8);
    put(&c, epoch, 2);
    put(&c, sequence, 4);
    put(&c, 1, 4);
    put_raw(&c, record, sizeof record);
    uint32_t crc = crc32c(batch + 21, c.length - 21);
    size_t length = c.length;
    c.length = 17;
    put(&c, crc, 4);
    return length;
}

typedef struct {
    int number;
    long count;
    float *whole, *ends;
} Producer;

static double began;

static void *run(void *argument) {
    Producer *me = argument;
    Connection c;
    char name[32], topic[32];
    snprintf(name, sizeof name, "bench-%d-%d", version, me->number);
    snprintf(topic, sizeof topic, "bench-%d", me->number);
    connect_to(&c);
    begin(&c, 19, 4, 0); /* CreateTopics */
    put(&c, 1, 4);
    put_string(&c, topic, 0);
    put(&c, partitions, 4);
    put(&c, 1, 2);
    put(&c, 0, 4);
    put(&c, 0, 4);
    put(&c, 30000, 4);
    put(&c, 0, 1);
    ask(&c, 0);
    int64_t id;
    int epoch;
    while (1) {
        begin(&c, 10, 2, 0); /* FindCoordinator */
        put_string(&c, name, 0);
        put(&c, 1, 1);
        ask(&c, 0);
        begin(&c, 22, 1, 0); /* InitProducerId */
        put_string(&c, name, 0);
        put(&c, 60000, 4);
        ask(&c, 0);
        get(&c, 4);
        int error = (int)get(&c, 2);
        id = get(&c, 8);
        epoch = (int)get(&c, 2);
        if (!error) break;
        usleep(20000);
    }
    int sequence = 0;
    uint8_t batch[256];
    while (now() < began) usleep(1000);
    while (1) {
        double start = now();
        if (start > began + seconds) break;
        if (version == 1) {
            begin(&c, 24, 2, 0); /* AddPartitionsToTxn */
            put_string(&c, name, 0);
            put(&c, id, 8);
            put(&c, epoch, 2);
            put(&c, 1, 4);
            put_string(&c, topic, 0);
            put(&c, partitions, 4);
            for (int i = 0; i < partitions; i++) put(&c, i, 4);
            ask(&c, 0);
            get(&c, 8);
            c.read += 2 + strlen(topic);
            get(&c, 8);
            int error = (int)get(&c, 2);
            if (error == 51) continue; /* CONCURRENT_TRANSACTIONS */
            if (error) die("AddPartitionsToTxn");
        }
        int flexible = version == 2;
        begin(&c, 0, flexible ? 12 : 8, flexible); /* Produce */
        put_string(&c, name, flexible);
        put(&c, -1, 2);
        put(&c, 30000, 4);
        if (flexible) put_varint(&c, 2); else put(&c, 1, 4);
        put_string(&c, topic, flexible);
        if (flexible) put_varint(&c, (uint32_t)partitions + 1); else put(&c, partitions, 4);
        size_t size = make_batch(batch, id, epoch, sequence);
        for (int i = 0; i < partitions; i++) {
            put(&c, i, 4);
            if (flexible) put_varint(&c, (uint32_t)size + 1); else put(&c, (int64_t)size, 4);
            put_raw(&c, batch, size);
            if (flexible) put_varint(&c, 0);
        }
        if (flexible) put_varint(&c, 0), put_varint(&c, 0);
        ask(&c, flexible);
        if (flexible) {
            get_varint(&c);
            c.read += get_varint(&c) - 1;
            get_varint(&c);
        } else {
            get(&c, 4);
            c.read += 2 + strlen(topic);
            get(&c, 4);
        }
        get(&c, 4);
        int error = (int)get(&c, 2);
        if (error) fprintf(stderr, "%d ", error), die("Produce");
        double ending = now();
        begin(&c, 26, flexible ? 5 : 2, flexible); /* EndTxn */
        put_string(&c, name, flexible);
        put(&c, id, 8);
        put(&c, epoch, 2);
        put(&c, 1, 1);
        if (flexible) put_varint(&c, 0);
        ask(&c, flexible);
        get(&c, 4);
        error = (int)get(&c, 2);
        if (error) fprintf(stderr, "%d ", error), die("EndTxn");
        sequence++;
        if (flexible) {
            id = get(&c, 8);
            epoch = (int)get(&c, 2);
            sequence = 0;
        }
        double end = now();
        if (me->count < 2000000) {
            me->whole[me->count] = (float)(end - start);
            me->ends[me->count] = (float)(end - ending);
            me->count++;
        }
    }
    return NULL;
}

static int by_value(const void *a, const void *b) {
    float left = *(const float *)a, right = *(const float *)b;
    return left < right ? -1 : left > right;
}

int main(int count, char **words) {
    if (count != 6) die("transactions PORT PRODUCERS PARTITIONS VERSION SECONDS");
    port = atoi(words[1]);
    producers = atoi(words[2]);
    partitions = atoi(words[3]);
    version = atoi(words[4]);
    seconds = atof(words[5]);
    make_table();
    began = now() + 2;
    Producer *all = calloc((size_t)producers, sizeof *all);
    pthread_t *threads = calloc((size_t)producers, sizeof *threads);
    for (int i = 0; i < producers; i++) {
        all[i].number = i;
        all[i].whole = malloc(2000000 * sizeof(float));
        all[i].ends = malloc(2000000 * sizeof(float));
        pthread_create(&threads[i], NULL, run, &all[i]);
    }
    long total = 0;
    for (int i = 0; i < producers; i++) pthread_join(threads[i], NULL), total += all[i].count;
    if (!total) die("no transactions");
    float *whole = malloc((size_t)total * sizeof(float)), *ends = malloc((size_t)total * sizeof(float));
    long at = 0;
    for (int i = 0; i < producers; i++) {
        memcpy(whole + at, all[i].whole, (size_t)all[i].count * sizeof(float));
        memcpy(ends + at, all[i].ends, (size_t)all[i].count * sizeof(float));
        at += all[i].count;
    }
    qsort(whole, (size_t)total, sizeof(float), by_value);
    qsort(ends, (size_t)total, sizeof(float), by_value);
    printf("{\"rate\":%.0f,\"whole\":[%.0f,%.0f],\"end\":[%.0f,%.0f]}\n", (double)total / seconds, whole[total / 2] * 1e6,
           whole[total * 99 / 100] * 1e6, ends[total / 2] * 1e6, ends[total * 99 / 100] * 1e6);
    return 0;
}
