// A consumer that reads what is not in the page cache, beside records that pass end to end.
//   cold_reads fill PORT TOPIC MEGABYTES
//   cold_reads run PORT FOLDER TOPIC MEGABYTES [KEY=VALUE]...
// `fill` makes the topic and writes batches of 1 kB records. `run` goes through it in parts, each read twice at a set
// rate: once after it was synced and dropped from the page cache, once after it was read into it; in turns, which of the
// two comes first. Meanwhile records are produced to another topic and consumed; each tells when it was due. FOLDER is the
// data folder. Keys of `run`:
//   rate=200         megabytes a second that are read, of 10^6 bytes; 0: no reader
//   fetch=1048576    bytes asked for at once
//   seconds=10       of one part
//   records=10000    a second, of 100 bytes
//   every=1          milliseconds between two batches of them; 0: each record when it is due
//   pid=PID          the broker, to charge with its CPU time
//   settle=1         seconds to wait after files were dropped or read
//   stalls=0         milliseconds after which a record that came late is told of, with its time (CLOCK_MONOTONIC)
//   compacted=0      megabytes a second that are written to a compacted topic, for the cleaner
// Build: cc -O2 -pthread -o cold_reads cold_reads.c
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { record_value = 1000, batch_records = 100, most_latencies = 4 << 20, max_phases = 512 };

static _Noreturn void die(const char *what) {
    if (errno) perror(what); else fprintf(stderr, "cold_reads: %s\n", what);
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void sleep_until(int64_t ns) {
    struct timespec t = {ns / 1000000000, ns % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {}
}

// MARK: the protocol

static uint32_t crc_table[8][256];

static void make_crc_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78 : 0);
        crc_table[0][i] = crc;
    }
    for (int t = 1; t < 8; t++)
        for (int i = 0; i < 256; i++)
            crc_table[t][i] = crc_table[t - 1][i] >> 8 ^ crc_table[0][crc_table[t - 1][i] & 255];
}

static uint32_t crc32c(const uint8_t *at, size_t count) {
    uint32_t crc = ~0u;
    for (; count >= 8; at += 8, count -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        word ^= crc;
        crc = 0;
        for (int i = 0; i < 8; i++) crc ^= crc_table[7 - i][word >> 8 * i & 255];
    }
    while (count--) crc = crc >> 8 ^ crc_table[0][(crc ^ *at++) & 255];
    return ~crc;
}

static void put(uint8_t **end, uint64_t number, int size) {
    for (int i = size - 1; i >= 0; i--) *(*end)++ = number >> 8 * i;
}
static void put_text(uint8_t **end, const char *text) {
    size_t count = strlen(text);
    put(end, count, 2), memcpy(*end, text, count), *end += count;
}
static void put_varint(uint8_t **end, int64_t number) {
    uint64_t z = (uint64_t)number << 1 ^ (uint64_t)(number >> 63);
    for (; z >= 128; z >>= 7) *(*end)++ = z | 128;
    *(*end)++ = z;
}
static uint64_t get(const uint8_t *at, int size) {
    uint64_t number = 0;
    for (int i = 0; i < size; i++) number = number << 8 | at[i];
    return number;
}
static int64_t get_varint(const uint8_t **at) {
    uint64_t z = 0;
    for (int shift = 0;; shift += 7) {
        uint8_t byte = *(*at)++;
        z |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return (int64_t)(z >> 1) ^ -(int64_t)(z & 1);
    }
}

/// The length goes before it later.
static void put_head(uint8_t **end, int api, int version) {
    put(end, 0, 4), put(end, api, 2), put(end, version, 2), put(end, 1, 4), put_text(end, "cold");
}
static void set_length(uint8_t *request, uint8_t *end) { uint8_t *at = request; put(&at, end - request - 4, 4); }

static int port;

static int connect_broker(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (void *)&address, sizeof address)) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void send_all(int fd, const void *bytes, size_t count) {
    for (const uint8_t *at = bytes; count;) {
        ssize_t sent = send(fd, at, count, MSG_NOSIGNAL);
        if (sent <= 0) die("send");
        at += sent, count -= sent;
    }
}

static void receive(int fd, void *bytes, size_t count) {
    for (uint8_t *at = bytes; count;) {
        ssize_t got = recv(fd, at, count, 0);
        if (got <= 0) die("the broker closed a connection");
        at += got, count -= got;
    }
}

/// One answer, without its length and correlation id.
static size_t receive_answer(int fd, uint8_t **buffer, size_t *capacity) {
    uint8_t head[8];
    receive(fd, head, 8);
    size_t count = get(head, 4) - 4;
    if (count > *capacity) *buffer = realloc(*buffer, *capacity = count + 65536);
    receive(fd, *buffer, count);
    return count;
}

/// CreateTopics version 2 of one partition. A topic that is there already stays.
static void create_topic(const char *topic, const char *const *configs, int count) {
    uint8_t request[2048], *end = request, *answer = NULL;
    size_t capacity = 0;
    put_head(&end, 19, 2);
    put(&end, 1, 4), put_text(&end, topic), put(&end, 1, 4), put(&end, 1, 2), put(&end, 0, 4), put(&end, count, 4);
    for (int i = 0; i < 2 * count; i++) put_text(&end, configs[i]);
    put(&end, 30000, 4), put(&end, 0, 1);
    set_length(request, end);
    int fd = connect_broker();
    send_all(fd, request, end - request);
    receive_answer(fd, &answer, &capacity);
    int error = get(answer + 4 + 4 + 2 + strlen(topic), 2);
    errno = 0;
    if (error && error != 36) die("CreateTopics was refused");
    free(answer), close(fd);
}

struct produce {
    uint8_t *bytes, *end, *size, *batch;
};

/// Produce version 3 of one batch for partition 0, up to its first record.
static void begin_produce(struct produce *p, const char *topic, int acks) {
    p->end = p->bytes;
    put_head(&p->end, 0, 3);
    put(&p->end, 0xffff, 2), put(&p->end, acks, 2), put(&p->end, 30000, 4), put(&p->end, 1, 4);
    put_text(&p->end, topic), put(&p->end, 1, 4), put(&p->end, 0, 4);
    p->size = p->end;
    put(&p->end, 0, 4);
    p->batch = p->end;
    p->end += 61;
}

static uint8_t *begin_record(struct produce *p, int index, const void *key, int key_size, int value_size) {
    uint8_t head[32], *end = head;
    put(&end, 0, 1), put_varint(&end, 0), put_varint(&end, index), put_varint(&end, key_size ? key_size : -1);
    if (key_size) memcpy(end, key, key_size), end += key_size;
    put_varint(&end, value_size);
    put_varint(&p->end, end - head + value_size + 1);
    memcpy(p->end, head, end - head), p->end += end - head;
    uint8_t *value = p->end;
    p->end += value_size;
    put(&p->end, 0, 1);
    return value;
}

static void end_produce(struct produce *p, int records) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    uint64_t ms = t.tv_sec * 1000ULL + t.tv_nsec / 1000000;
    uint8_t *at = p->size;
    put(&at, p->end - p->batch, 4);
    put(&at, 0, 8), put(&at, p->end - p->batch - 12, 4), put(&at, 0, 4), put(&at, 2, 1), put(&at, 0, 4), put(&at, 0, 2);
    put(&at, records - 1, 4), put(&at, ms, 8), put(&at, ms, 8), put(&at, -1, 8), put(&at, -1, 2), put(&at, -1, 4);
    put(&at, records, 4);
    at = p->batch + 17;
    put(&at, crc32c(p->batch + 21, p->end - p->batch - 21), 4);
    set_length(p->bytes, p->end);
}

static void check_produced(const uint8_t *answer, const char *topic) {
    errno = 0;
    if (get(answer + 4 + 2 + strlen(topic) + 4 + 4, 2)) die("a Produce was refused");
}

/// Fetch version 4 of partition 0. Returns where the records lie and how many bytes there are.
static size_t fetch(
    int fd, const char *topic, int64_t offset, int bytes, uint8_t **answer, size_t *capacity, uint8_t **records
) {
    uint8_t request[512], *end = request;
    put_head(&end, 1, 4);
    put(&end, -1, 4), put(&end, 500, 4), put(&end, 1, 4), put(&end, bytes, 4), put(&end, 0, 1), put(&end, 1, 4);
    put_text(&end, topic), put(&end, 1, 4), put(&end, 0, 4), put(&end, offset, 8), put(&end, bytes, 4);
    set_length(request, end);
    send_all(fd, request, end - request);
    receive_answer(fd, answer, capacity);
    const uint8_t *at = *answer + 4 + 4 + 2 + strlen(topic) + 4 + 4;
    errno = 0;
    if (get(at, 2)) die("a Fetch was refused");
    int aborted = (int32_t)get(at + 18, 4);
    at += 22 + (aborted > 0 ? 16 * aborted : 0);
    *records = (uint8_t *)at + 4;
    int size = (int32_t)get(at, 4);
    return size < 0 ? 0 : size;
}

// MARK: what is read

static const char *topic;
static char tail_topic[256], compacted_topic[256];

static uint64_t random_state = 1;
static uint64_t next_random(void) {
    random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
    return random_state;
}

static void fill(double megabytes) {
    create_topic(topic, NULL, 0);
    struct produce p = {.bytes = malloc(batch_records * (record_value + 64) + 1024)};
    begin_produce(&p, topic, 1);
    for (int i = 0; i < batch_records; i++) {
        uint8_t *value = begin_record(&p, i, NULL, 0, record_value);
        for (int at = 0; at < record_value; at += 8) {
            uint64_t word = next_random();
            memcpy(value + at, &word, 8);
        }
    }
    end_produce(&p, batch_records);
    int fd = connect_broker();
    uint8_t *answer = NULL;
    size_t capacity = 0;
    long batches = megabytes * 1e6 / (p.end - p.batch), sent = 0;
    for (long done = 0; done < batches; done++) {
        while (sent < batches && sent < done + 4) send_all(fd, p.bytes, p.end - p.bytes), sent++;
        receive_answer(fd, &answer, &capacity);
        check_produced(answer, topic);
    }
    close(fd);
}

struct part { char path[4096]; int64_t base, size; };
static struct part segments[4096];
static int segment_count;

static int by_base(const void *a, const void *b) {
    int64_t x = ((struct part *)a)->base, y = ((struct part *)b)->base;
    return x < y ? -1 : x > y;
}

/// Syncs and drops all files of the topic, and lists its segments.
static void drop(const char *folder) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s-0", folder, topic);
    DIR *directory = opendir(path);
    if (!directory) die(path);
    segment_count = 0;
    for (struct dirent *entry; (entry = readdir(directory));) {
        struct part part;
        if (snprintf(part.path, sizeof part.path, "%s/%s", path, entry->d_name) >= (int)sizeof part.path) continue;
        struct stat status;
        int fd = open(part.path, O_RDONLY);
        if (fd < 0 || fstat(fd, &status) || !S_ISREG(status.st_mode)) { if (fd >= 0) close(fd); continue; }
        if (fsync(fd) || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED)) die(part.path);
        close(fd);
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || strcmp(dot, ".log") || segment_count == 4096) continue;
        part.base = atoll(entry->d_name), part.size = status.st_size;
        segments[segment_count++] = part;
    }
    closedir(directory);
    qsort(segments, segment_count, sizeof *segments, by_base);
}

/// Goes over a range of the topic's bytes: reads it (`warm`), or tells how much of it is in the page cache, in percent.
static double over(int64_t from, int64_t count, int warm) {
    static uint8_t block[1 << 20];
    uint64_t cached = 0, pages = 0;
    int64_t begin = 0;
    for (int i = 0; i < segment_count; begin += segments[i++].size) {
        int64_t a = from > begin ? from - begin : 0, b = from + count - begin;
        if (b > segments[i].size) b = segments[i].size;
        if (a >= b) continue;
        int fd = open(segments[i].path, O_RDONLY);
        if (fd < 0) continue;
        if (warm) {
            for (int64_t at = a; at < b; at += sizeof block) if (pread(fd, block, sizeof block, at) <= 0) break;
        } else {
            // cachestat(2)
            uint64_t range[2] = {a, b - a}, found[5] = {0};
            if (syscall(451, fd, range, found, 0) == 0) cached += found[0];
            pages += (b + 4095) / 4096 - a / 4096;
        }
        close(fd);
    }
    return pages ? 100.0 * cached / pages : 0;
}

// MARK: the reader

struct reader {
    int64_t offset, bytes, fetches, until_ns;
    double rate, slowest_ms;
    int fetch_bytes;
    int64_t least, took_ns;
};

/// Reads at the rate until the time is over, or until so many bytes are read.
static void *read_log(void *argument) {
    struct reader *r = argument;
    int fd = connect_broker();
    uint8_t *answer = NULL, *at;
    size_t capacity = 0;
    int64_t began = now_ns();
    while (now_ns() < r->until_ns && r->bytes < r->least) {
        int64_t asked = now_ns();
        size_t count = fetch(fd, topic, r->offset, r->fetch_bytes, &answer, &capacity, &at);
        double ms = (now_ns() - asked) / 1e6;
        if (ms > r->slowest_ms) r->slowest_ms = ms;
        r->fetches++;
        for (uint8_t *end = at + count; at + 61 <= end;) {
            int64_t size = 12 + (int32_t)get(at + 8, 4);
            if (size < 61 || at + size > end) break;
            r->offset = get(at, 8) + get(at + 23, 4) + 1;
            r->bytes += size;
            at += size;
        }
        sleep_until(began + (int64_t)(r->bytes / r->rate * 1e3));
    }
    r->took_ns = now_ns() - began;
    close(fd);
    free(answer);
    return NULL;
}

// MARK: the tail

static volatile int phase, stopping;
static double records_a_second = 10000, every_ms = 1, stall_ms, settle_ms = 1000;
static struct { float *ms; long count; } latencies[max_phases];

static void *produce_tail(void *unused) {
    (void)unused;
    struct produce p = {.bytes = malloc(4 << 20)};
    int fd = connect_broker();
    int64_t interval = 1e9 / records_a_second, due = now_ns() + 1000000, batch_at = due;
    uint8_t answer[65536];
    while (!stopping) {
        batch_at += every_ms > 0 ? (int64_t)(every_ms * 1e6) : interval;
        int64_t now = now_ns();
        if (now < batch_at) sleep_until(batch_at), now = now_ns(); else if (every_ms <= 0) batch_at = now;
        begin_produce(&p, tail_topic, 1);
        int count = 0;
        for (; due <= now && count < 20000; due += interval, count++) {
            uint8_t *value = begin_record(&p, count, NULL, 0, 100);
            memset(value, 'x', 100);
            int32_t in = phase;
            memcpy(value, &due, 8), memcpy(value + 8, &in, 4);
        }
        if (!count) continue;
        end_produce(&p, count);
        send_all(fd, p.bytes, p.end - p.bytes);
        while (recv(fd, answer, sizeof answer, MSG_DONTWAIT) > 0) {}
    }
    close(fd);
    return NULL;
}

static void *consume_tail(void *unused) {
    (void)unused;
    int fd = connect_broker();
    int64_t offset = 0;
    uint8_t *answer = NULL, *records;
    size_t capacity = 0;
    while (!stopping) {
        size_t count = fetch(fd, tail_topic, offset, 1 << 20, &answer, &capacity, &records);
        int64_t now = now_ns();
        int told = 0;
        const uint8_t *end = records + count;
        for (const uint8_t *batch = records; batch + 61 <= end;) {
            int64_t size = 12 + (int32_t)get(batch + 8, 4);
            if (size < 61 || batch + size > end) break;
            offset = get(batch, 8) + get(batch + 23, 4) + 1;
            const uint8_t *at = batch + 61;
            for (int left = get(batch + 57, 4); left > 0; left--) {
                int64_t length = get_varint(&at);
                const uint8_t *next = at + length;
                at++, get_varint(&at), get_varint(&at), get_varint(&at), get_varint(&at);
                int64_t due;
                int32_t in;
                memcpy(&due, at, 8), memcpy(&in, at + 8, 4);
                if (stall_ms > 0 && in && !told && (now - due) / 1e6 > stall_ms)
                    printf("  stall: due at %.6f, came %.2f ms later\n", due / 1e9, (now - due) / 1e6), told = 1;
                if (in > 0 && in < max_phases && latencies[in].ms && latencies[in].count < most_latencies)
                    latencies[in].ms[latencies[in].count++] = (now - due) / 1e6;
                at = next;
            }
            batch += size;
        }
    }
    close(fd);
    return NULL;
}

// MARK: the cleaner's work

static double compacted_rate;

/// Batches with keys of which each comes again and again.
static void *write_compacted(void *unused) {
    (void)unused;
    enum { batches = 256, records = 500 };
    static struct produce made[batches];
    for (int b = 0; b < batches; b++) {
        made[b].bytes = malloc(records * 1100 + 1024);
        begin_produce(&made[b], compacted_topic, 1);
        for (int i = 0; i < records; i++) {
            char key[17];
            snprintf(key, sizeof key, "%016d", (int)(next_random() % (batches * records)));
            memset(begin_record(&made[b], i, key, 16, record_value), 'a' + b % 26, record_value);
        }
        end_produce(&made[b], records);
    }
    int fd = connect_broker();
    uint8_t *answer = NULL;
    size_t capacity = 0;
    int64_t began = now_ns();
    for (double sent = 0; !stopping;) {
        struct produce *p = &made[next_random() % batches];
        send_all(fd, p->bytes, p->end - p->bytes);
        receive_answer(fd, &answer, &capacity);
        check_produced(answer, compacted_topic);
        sent += p->end - p->bytes;
        sleep_until(began + (int64_t)(sent / compacted_rate * 1e3));
    }
    close(fd);
    return NULL;
}

// MARK: how long the machine stood still

static struct { int64_t from, to; } pauses[1 << 16];
static int pause_count;
static pthread_mutex_t pauses_lock = PTHREAD_MUTEX_INITIALIZER;

/// Sleeps a millisecond again and again, before all else on its processor. Where it is late, the processor was not there
/// for anybody (or the kernel did not let go of it).
static void *watch(void *argument) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((long)argument, &set);
    struct sched_param priority = {.sched_priority = 50};
    if (pthread_setaffinity_np(pthread_self(), sizeof set, &set)
        || pthread_setschedparam(pthread_self(), SCHED_FIFO, &priority)) return NULL;
    for (int64_t now = now_ns(); !stopping;) {
        int64_t due = now + 1000000;
        sleep_until(due);
        now = now_ns();
        if (now - due < 3000000) continue;
        pthread_mutex_lock(&pauses_lock);
        if (pause_count < 1 << 16) pauses[pause_count].from = due, pauses[pause_count++].to = now;
        pthread_mutex_unlock(&pauses_lock);
    }
    return NULL;
}

/// Milliseconds, over all processors.
static double stood_still(int64_t from, int64_t to) {
    double sum = 0;
    pthread_mutex_lock(&pauses_lock);
    for (int i = 0; i < pause_count; i++) {
        int64_t a = pauses[i].from > from ? pauses[i].from : from, b = pauses[i].to < to ? pauses[i].to : to;
        if (a < b) sum += (b - a) / 1e6;
    }
    pthread_mutex_unlock(&pauses_lock);
    return sum;
}

// MARK: figures

static long pid;

/// Processor seconds of the broker, and of all.
static void processor(double *broker, double *all) {
    char path[64], line[4096];
    *broker = *all = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = pid ? fopen(path, "r") : NULL;
    if (file && fgets(line, sizeof line, file)) {
        long user = 0, system = 0;
        char *at = strrchr(line, ')');
        if (at && sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld", &user, &system) == 2)
            *broker = (double)(user + system) / sysconf(_SC_CLK_TCK);
    }
    if (file) fclose(file);
    file = fopen("/proc/stat", "r");
    long user, nice, system, idle, wait, irq, softirq, steal;
    if (file && fscanf(file, "cpu %ld %ld %ld %ld %ld %ld %ld %ld", &user, &nice, &system, &idle, &wait, &irq, &softirq,
                       &steal) == 8)
        *all = (double)(user + nice + system + irq + softirq + steal) / sysconf(_SC_CLK_TCK);
    if (file) fclose(file);
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static float quantile(int in, double q) {
    long n = latencies[in].count;
    return n ? latencies[in].ms[(long)(q * (n - 1))] : 0;
}

static void print_tail(const char *what, int in) {
    qsort(latencies[in].ms, latencies[in].count, sizeof(float), ascending);
    printf("%-12s %8ld records  p50 %7.2f  p99 %7.2f  p99.9 %7.2f  max %7.2f ms", what, latencies[in].count,
           quantile(in, .5), quantile(in, .99), quantile(in, .999), quantile(in, 1));
}

static void add_latencies(int to, int from) {
    for (long i = 0; i < latencies[from].count && latencies[to].count < most_latencies; i++)
        latencies[to].ms[latencies[to].count++] = latencies[from].ms[i];
}

static void wait_ms(int64_t ms) { sleep_until(now_ns() + ms * 1000000); }

static void run(const char *folder, double megabytes, double rate, int fetch_bytes, double seconds) {
    const char *tail_configs[] = {"retention.ms", "-1"};
    create_topic(tail_topic, tail_configs, 1);
    if (compacted_rate > 0) {
        const char *configs[] = {
            "cleanup.policy", "compact", "segment.bytes", "33554432", "min.cleanable.dirty.ratio", "0.01"};
        create_topic(compacted_topic, configs, 3);
    }
    enum { alone = 1, warm, cold, first };
    for (int i = 0; i <= cold; i++) latencies[i].ms = malloc(sizeof(float) * most_latencies);
    pthread_t producer, consumer, compacted;
    pthread_create(&consumer, NULL, consume_tail, NULL);
    pthread_create(&producer, NULL, produce_tail, NULL);
    if (compacted_rate > 0) pthread_create(&compacted, NULL, write_compacted, NULL);
    for (long cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++) {
        pthread_t thread;
        pthread_create(&thread, NULL, watch, (void *)cpu);
        pthread_detach(thread);
    }
    drop(folder);
    // Threads start, files are made; the cleaner finds something.
    wait_ms(compacted_rate > 0 ? 8000 : 2000);
    double broker_before, broker_after, all_before, all_after, broker_sum[2] = {0};
    processor(&broker_before, &all_before);
    int64_t began = now_ns();
    phase = alone;
    wait_ms(seconds * 1000);
    phase = 0;
    processor(&broker_after, &all_after);
    wait_ms(500);
    print_tail("no reader", alone);
    printf("; processor s: broker %.2f, all %.1f; stood still %.0f ms\n", broker_after - broker_before,
           all_after - all_before, stood_still(began, now_ns()));
    fflush(stdout);
    int64_t part = rate * 1e6 * seconds, offset = 0, position = 0;
    int pairs = rate > 0 ? megabytes * 1e6 / part + .5 : 0;
    if (pairs > (max_phases - first) / 2) pairs = (max_phases - first) / 2;
    float *differences = calloc(pairs + 1, sizeof(float));
    for (int pair = 0; pair < pairs; pair++) {
        struct reader r = {0};
        for (int turn = 0; turn < 2; turn++) {
            int is_cold = (pair + turn) % 2 == 0, in = first + 2 * pair + is_cold;
            latencies[in].ms = malloc(sizeof(float) * (size_t)(records_a_second * (seconds * 3 + 5)));
            if (is_cold) drop(folder); else over(position, part, 1);
            wait_ms(settle_ms);
            double resident = over(position, part, 0);
            r = (struct reader){
                .offset = offset, .rate = rate, .fetch_bytes = fetch_bytes, .least = part,
                .until_ns = now_ns() + (int64_t)(seconds * 2e9)};
            pthread_t thread;
            processor(&broker_before, &all_before);
            began = now_ns();
            phase = in;
            pthread_create(&thread, NULL, read_log, &r);
            pthread_join(thread, NULL);
            phase = 0;
            processor(&broker_after, &all_after);
            wait_ms(500);
            broker_sum[is_cold] += broker_after - broker_before;
            print_tail(is_cold ? "cold reader" : "warm reader", in);
            printf("; read %.0f MB at %.0f MB/s, slowest fetch %.1f ms, %.0f%% was resident; processor s: broker %.2f, "
                   "all %.1f; stood still %.0f ms\n",
                   r.bytes / 1e6, r.bytes * 1e3 / r.took_ns, r.slowest_ms, resident, broker_after - broker_before,
                   all_after - all_before, stood_still(began, now_ns()));
            fflush(stdout);
        }
        offset = r.offset, position += r.bytes;
        differences[pair] = quantile(first + 2 * pair + 1, .99) - quantile(first + 2 * pair, .99);
        for (int is_cold = 0; is_cold < 2; is_cold++) {
            add_latencies(is_cold ? cold : warm, first + 2 * pair + is_cold);
            free(latencies[first + 2 * pair + is_cold].ms);
            latencies[first + 2 * pair + is_cold].ms = NULL;
        }
    }
    stopping = 1;
    pthread_join(producer, NULL), pthread_join(consumer, NULL);
    if (compacted_rate > 0) pthread_join(compacted, NULL);
    if (!pairs) return;
    for (int is_cold = 0; is_cold < 2; is_cold++) {
        print_tail(is_cold ? "all cold" : "all warm", is_cold ? cold : warm);
        printf("; broker %.2f s\n", broker_sum[is_cold]);
    }
    qsort(differences, pairs, sizeof *differences, ascending);
    printf("p99 cold above warm: %+.2f ms over all, %+.2f ms at the median of %d pairs (%+.2f to %+.2f)\n",
           quantile(cold, .99) - quantile(warm, .99), differences[pairs / 2], pairs, differences[0],
           differences[pairs - 1]);
}

int main(int count, char **words) {
    make_crc_table();
    if (count == 5 && !strcmp(words[1], "fill")) {
        port = atoi(words[2]), topic = words[3];
        fill(atof(words[4]));
        return 0;
    }
    if (count < 6 || strcmp(words[1], "run")) return fprintf(stderr, "see the top of cold_reads.c\n"), 2;
    double rate = 200, seconds = 10;
    int fetch_bytes = 1 << 20;
    port = atoi(words[2]), topic = words[4];
    // New ones in each run.
    snprintf(tail_topic, sizeof tail_topic, "%s-tail-%d", topic, (int)getpid());
    snprintf(compacted_topic, sizeof compacted_topic, "%s-compacted-%d", topic, (int)getpid());
    for (int i = 6; i < count; i++) {
        char *value = strchr(words[i], '=');
        if (!value) return fprintf(stderr, "see the top of cold_reads.c\n"), 2;
        *value++ = 0;
        if (!strcmp(words[i], "rate")) rate = atof(value);
        else if (!strcmp(words[i], "fetch")) fetch_bytes = atoi(value);
        else if (!strcmp(words[i], "seconds")) seconds = atof(value);
        else if (!strcmp(words[i], "records")) records_a_second = atof(value);
        else if (!strcmp(words[i], "every")) every_ms = atof(value);
        else if (!strcmp(words[i], "pid")) pid = atol(value);
        else if (!strcmp(words[i], "settle")) settle_ms = atof(value) * 1000;
        else if (!strcmp(words[i], "stalls")) stall_ms = atof(value);
        else if (!strcmp(words[i], "compacted")) compacted_rate = atof(value);
        else return fprintf(stderr, "no key %s\n", words[i]), 2;
    }
    run(words[3], atof(words[5]), rate, fetch_bytes, seconds);
    return 0;
}
