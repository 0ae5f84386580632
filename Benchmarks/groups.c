// Members of groups through sockets, and the offsets of very many groups. See `script/bench groups`.
//   groups echo PORT THREADS                  the floor: each frame is sent back as it is, by epoll
//   groups beat KIND PORT PID CONNECTIONS SECONDS [RATE] [MEMBERS]
//       KIND is echo, classic (Heartbeat) or consumer (ConsumerGroupHeartbeat, KIP-848); a connection is a member of a
//       group of MEMBERS (100), and sends its next heartbeat when the last is answered, or RATE a second in all;
//       PID's processor time is divided by the heartbeats
//   groups commit PORT GROUPS PARTITIONS      each group commits an offset for each partition of a topic
// Build: cc -O2 -pthread -o groups groups.c
#include "requests.h"

// MARK: the floor

static void *serve(void *argument) {
    int poll = (int)(intptr_t)argument;
    struct epoll_event events[256];
    static _Thread_local uint8_t bytes[65536];
    while (true) {
        int count = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            ssize_t got = recv(fd, bytes, sizeof bytes, 0);
            // Requests are small here, and one is in flight: a frame comes whole.
            if (got <= 0 || send(fd, bytes, (size_t)got, MSG_NOSIGNAL) != got) close(fd);
        }
    }
    return NULL;
}

static int echo(int port, int threads) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) die("listen");
    int polls[64];
    for (int i = 0; i < threads; i++) {
        pthread_t thread;
        polls[i] = epoll_create1(EPOLL_CLOEXEC);
        pthread_create(&thread, NULL, serve, (void *)(intptr_t)polls[i]);
    }
    for (int next = 0;; next = (next + 1) % threads) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(polls[next], EPOLL_CTL_ADD, fd, &event);
    }
    return 0;
}

// MARK: heartbeats

enum kind { ECHO, CLASSIC, CONSUMER };

struct member {
    int fd;
    int32_t epoch;
    struct buffer beat;
    char id[128], group[64];
    double sent;
    uint8_t owned[4096];
    size_t ownedCount;
};

static void join(struct member *m) {
    struct buffer b;
    begin(&b, 11, 3, false);
    putString(&b, m->group);
    put32(&b, 600000);
    put32(&b, 600000);
    putString(&b, "");
    putString(&b, "consumer");
    put32(&b, 1);
    putString(&b, "range");
    put32(&b, 17);
    put(&b, "\0\0\0\0\0\1\0\5bench\xff\xff\xff\xff", 17);
    end(&b);
    transmit(m->fd, &b);
}

static void makeClassic(struct member *members, int count) {
    for (int i = 0; i < count; i++) join(&members[i]);
    for (int i = 0; i < count; i++) {
        struct member *m = &members[i];
        receive(m->fd, &answer);
        int error = get16(answer.bytes + 8);
        if (error) {
            if (error != 14 && error != 15 && error != 16) die("JoinGroup");
            usleep(20000);
            join(m);
            i--;
            continue;
        }
        m->epoch = get32(answer.bytes + 10);
        const uint8_t *at = answer.bytes + 14;
        for (int skip = 0; skip < 2; skip++) at += 2 + get16(at);
        snprintf(m->id, sizeof m->id, "%.*s", get16(at), (const char *)at + 2);
        struct buffer b;
        begin(&b, 14, 2, false);
        putString(&b, m->group);
        put32(&b, m->epoch);
        putString(&b, m->id);
        put32(&b, 0);
        end(&b);
        transmit(m->fd, &b);
    }
    for (int i = 0; i < count; i++) {
        struct member *m = &members[i];
        receive(m->fd, &answer);
        if (get16(answer.bytes + 8)) die("SyncGroup");
        begin(&m->beat, 12, 2, false);
        putString(&m->beat, m->group);
        put32(&m->beat, m->epoch);
        putString(&m->beat, m->id);
        end(&m->beat);
    }
}

static void consumerBeat(struct member *m, bool joins, bool tells) {
    struct buffer *b = &m->beat;
    begin(b, 68, 0, true);
    putCompact(b, m->group);
    putCompact(b, m->id);
    put32(b, m->epoch);
    put8(b, 0);
    put8(b, 0);
    put32(b, joins ? 600000 : -1);
    if (joins) {
        put8(b, 2);
        putCompact(b, "bench");
    } else {
        put8(b, 0);
    }
    put8(b, 0);
    if (tells && m->ownedCount > 0) put(b, m->owned, m->ownedCount); else put8(b, joins || tells ? 1 : 0);
    put8(b, 0);
    end(b);
}

/// True where nothing is new.
static bool readConsumerAnswer(struct member *m) {
    receive(m->fd, &answer);
    const uint8_t *at = answer.bytes + 5 + 4;
    int error = get16(at);
    at += 2;
    if (error) {
        if (error == 14 || error == 15 || error == 16) return false;
        fprintf(stderr, "ConsumerGroupHeartbeat: error %d\n", error);
        exit(1);
    }
    at += *at > 1 ? *at : 1;
    at += *at > 1 ? *at : 1;
    int32_t epoch = get32(at);
    bool isNew = epoch != m->epoch;
    m->epoch = epoch;
    at += 8;
    if ((int8_t)*at++ < 0) return !isNew;
    const uint8_t *begin = at;
    int topics = *at++ - 1;
    for (int i = 0; i < topics; i++) {
        at += 16;
        at += 4 * (*at - 1) + 1;
        at++;
    }
    m->ownedCount = (size_t)(at - begin);
    memcpy(m->owned, begin, m->ownedCount);
    return false;
}

static void makeConsumers(struct member *members, int count) {
    for (int i = 0; i < count; i++) {
        snprintf(members[i].id, sizeof members[i].id, "member-%06d-0000-4000-8000", i);
        members[i].epoch = 0;
        do {
            consumerBeat(&members[i], true, false);
            transmit(members[i].fd, &members[i].beat);
        } while (!readConsumerAnswer(&members[i]) && members[i].epoch == 0);
    }
    double limit = now() + 120;
    // A new assignment may come a second after the last (group.consumer.assignment.interval.ms).
    for (int quiet = 0; quiet < 8; usleep(300000)) {
        bool all = true;
        for (int i = 0; i < count; i++) {
            consumerBeat(&members[i], false, true);
            transmit(members[i].fd, &members[i].beat);
        }
        for (int i = 0; i < count; i++) all = readConsumerAnswer(&members[i]) && all;
        quiet = all ? quiet + 1 : 0;
        if (now() > limit) die("the groups do not settle");
    }
    for (int i = 0; i < count; i++) consumerBeat(&members[i], false, false);
}

static double processorTime(int pid) {
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file) die(path);
    size_t count = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[count] = 0;
    const char *at = strrchr(text, ')') + 2;
    for (int field = 3; field < 14; field++) at = strchr(at, ' ') + 1;
    unsigned long user = 0, kernel = 0;
    sscanf(at, "%lu %lu", &user, &kernel);
    return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

static int compare(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static int beat(enum kind kind, int port, int pid, int count, double seconds, double rate, int perGroup) {
    struct member *members = calloc((size_t)count, sizeof *members);
    for (int i = 0; i < count; i++) {
        members[i].fd = dial(port);
        snprintf(members[i].group, sizeof members[i].group, "the-consumers-of-orders-%d", i / perGroup);
    }
    if (kind == CLASSIC || kind == CONSUMER) prepare(members[0].fd, "bench", perGroup);
    if (kind == CLASSIC) makeClassic(members, count);
    if (kind == CONSUMER) makeConsumers(members, count);
    for (int i = 0; kind == ECHO && i < count; i++) {
        // As long as the others.
        begin(&members[i].beat, 12, 2, false);
        putString(&members[i].beat, members[i].group);
        put32(&members[i].beat, 1);
        putString(&members[i].beat, "bench-01234567-0123-0123-0123-0123456789ab");
        end(&members[i].beat);
    }
    int poll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        fcntl(members[i].fd, F_SETFL, O_NONBLOCK);
        epoll_ctl(poll, EPOLL_CTL_ADD, members[i].fd, &event);
    }
    size_t most = 64 << 20, errors = 0, answered = 0;
    float *took = malloc(most * sizeof *took);
    struct epoll_event events[512];
    double began = now(), limit = began + seconds, processor = processorTime(pid);
    size_t sent = 0;
    // Of a paced run each member's turn comes at its time; otherwise all begin at once.
    for (int i = 0; rate == 0 && i < count; i++, sent++) {
        members[i].sent = now();
        transmit(members[i].fd, &members[i].beat);
    }
    while (true) {
        double time = now();
        if (time >= limit && answered == sent) break;
        if (time >= limit + 10) die("no answer");
        while (rate > 0 && time < limit && sent < (size_t)((time - began) * rate)) {
            struct member *m = &members[sent % (size_t)count];
            m->sent = now();
            transmit(m->fd, &m->beat);
            sent++;
        }
        int ready = epoll_wait(poll, events, 512, rate > 0 ? 1 : 100);
        for (int i = 0; i < ready; i++) {
            struct member *m = &members[events[i].data.u32];
            uint8_t bytes[4096];
            ssize_t got = recv(m->fd, bytes, sizeof bytes, 0);
            if (got < 8) die("an answer cut off");
            if (kind == CLASSIC && get16(bytes + 12)) errors++;
            if (kind == CONSUMER && get16(bytes + 13)) errors++;
            time = now();
            if (answered < most) took[answered] = (float)(time - m->sent);
            answered++;
            if (rate > 0 || time >= limit) continue;
            m->sent = time;
            transmit(m->fd, &m->beat);
            sent++;
        }
    }
    double took_s = now() - began;
    processor = processorTime(pid) - processor;
    size_t kept = answered < most ? answered : most;
    qsort(took, kept, sizeof *took, compare);
    const char *names[] = {"echo", "classic", "consumer"};
    printf("{\"kind\": \"%s\", \"connections\": %d, \"per_s\": %.0f, \"cpu_us\": %.3f, \"p50_ms\": %.2f, \"p99_ms\": %.2f, "
           "\"errors\": %zu}\n", names[kind], count, (double)answered / took_s, processor / (double)answered * 1e6,
           took[kept / 2] * 1e3, took[kept * 99 / 100] * 1e3, errors);
    return errors > 0;
}

// MARK: offsets

static int commit(int port, int groups, int partitions) {
    int fd = dial(port), window = 64;
    prepare(fd, "bench", partitions);
    struct buffer b;
    double began = now();
    for (int first = 0, sent = 0; first < groups;) {
        // Some in flight; one of which the coordinator is not loaded yet comes again.
        for (; sent < groups && sent < first + window; sent++) {
            char group[64];
            snprintf(group, sizeof group, "the-consumers-of-orders-%d", sent);
            begin(&b, 8, 5, false);
            putString(&b, group);
            put32(&b, -1);
            putString(&b, "");
            put32(&b, 1);
            putString(&b, "bench");
            put32(&b, partitions);
            for (int i = 0; i < partitions; i++) {
                put32(&b, i);
                put64(&b, (int64_t)sent * 1000 + i);
                putString(&b, "");
            }
            end(&b);
            transmit(fd, &b);
        }
        receive(fd, &answer);
        int error = get16(answer.bytes + 4 + 4 + 4 + 2 + 5 + 4 + 4);
        if (error == 0) {
            first++;
        } else if (first == 0 && (error == 14 || error == 15 || error == 16)) {
            for (int rest = sent - 1; rest > 0; rest--) receive(fd, &answer);
            sent = 0;
            usleep(100000);
        } else {
            fprintf(stderr, "OffsetCommit: error %d\n", error);
            return 1;
        }
    }
    printf("{\"kind\": \"commit\", \"groups\": %d, \"offsets\": %ld, \"seconds\": %.2f}\n", groups,
           (long)groups * partitions, now() - began);
    return 0;
}

int main(int count, char **words) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (count == 4 && !strcmp(words[1], "echo")) return echo(atoi(words[2]), atoi(words[3]));
    if (count >= 7 && !strcmp(words[1], "beat")) {
        enum kind kind = !strcmp(words[2], "echo") ? ECHO : !strcmp(words[2], "classic") ? CLASSIC : CONSUMER;
        return beat(kind, atoi(words[3]), atoi(words[4]), atoi(words[5]), atof(words[6]),
                    count > 7 ? atof(words[7]) : 0, count > 8 ? atoi(words[8]) : 100);
    }
    if (count == 5 && !strcmp(words[1], "commit")) return commit(atoi(words[2]), atoi(words[3]), atoi(words[4]));
    fprintf(stderr, "see the first lines of groups.c\n");
    return 2;
}
