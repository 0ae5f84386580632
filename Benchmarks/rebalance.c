// A group of KIP-848 of which members leave and join, again and again, while all others go on. See `script/bench groups`.
//   rebalance PORT MEMBERS PARTITIONS ROUNDS
// Each member has a connection and does as Kafka's own client does: a heartbeat at the interval that it was told, and one
// more at once when it has given up partitions or taken new ones. Prints a line of JSON: how long it took until each
// partition had an owner again (and a new member its share), and what was taken from members that stayed.
// Build: cc -O2 -o rebalance rebalance.c
#include "requests.h"

// The first member gets all partitions.
enum { MOST = 1500 };

struct member {
    int fd;
    char id[64];
    int32_t epoch;
    /// Partitions that it works on; the same as it was sent, to be sent back.
    int32_t owned[MOST];
    int count;
    uint8_t told[4 * MOST + 32];
    size_t toldCount;
    bool isThere, waits, mustTell;
    double next;
};

static struct member *members;
static int places, *owners, errors, twice, taken;
static double interval = 5;
static const char *group = "the-consumers-of-orders";

static void beat(struct member *m, bool joins) {
    struct buffer b;
    begin(&b, 68, 0, true);
    putCompact(&b, group);
    putCompact(&b, m->id);
    put32(&b, m->epoch);
    put8(&b, 0);
    put8(&b, 0);
    put32(&b, joins ? 300000 : -1);
    put8(&b, joins ? 2 : 0);
    if (joins) putCompact(&b, "bench");
    put8(&b, 0);
    if (joins) put8(&b, 1);
    else if (m->mustTell && m->epoch >= 0) put(&b, m->told, m->toldCount);
    else put8(&b, 0);
    put8(&b, 0);
    end(&b);
    transmit(m->fd, &b);
    m->waits = true;
    m->mustTell = false;
    m->next = now() + interval;
}

static int getVarint(const uint8_t **at) {
    int value = 0;
    for (int shift = 0;; shift += 7) {
        uint8_t byte = *(*at)++;
        value |= (byte & 127) << shift;
        if (byte < 128) return value;
    }
}

static bool has(const int32_t *list, int count, int32_t partition) {
    for (int i = 0; i < count; i++) if (list[i] == partition) return true;
    return false;
}

/// The answer to a heartbeat. Partitions change hands here.
static void hear(struct member *m, bool isMeasured) {
    receive(m->fd, &answer);
    m->waits = false;
    const uint8_t *at = answer.bytes + 5 + 4;
    int error = get16(at);
    at += 2;
    if (error == 14 || error == 15 || error == 16) {
        m->next = now() + 0.1;
        return;
    }
    if (error) {
        errors++;
        fprintf(stderr, "ConsumerGroupHeartbeat of %s: error %d\n", m->id, error);
        return;
    }
    at += *at > 1 ? *at : 1;
    at += *at > 1 ? *at : 1;
    m->epoch = get32(at);
    if (m->epoch < 0) return;
    interval = get32(at + 4) / 1000.0;
    at += 8;
    if ((int8_t)*at++ < 0) return;
    const uint8_t *first = at;
    int32_t now_owned[MOST];
    int count = 0, topics = getVarint(&at) - 1;
    for (int i = 0; i < topics; i++) {
        at += 16;
        int partitions = getVarint(&at) - 1;
        for (int p = 0; p < partitions; p++, at += 4) if (count < MOST) now_owned[count++] = get32(at);
        at++;
    }
    m->toldCount = (size_t)(at - first);
    if (m->toldCount > sizeof m->told || count == MOST) die("an assignment too long");
    memcpy(m->told, first, m->toldCount);
    for (int i = 0; i < m->count; i++) {
        if (has(now_owned, count, m->owned[i])) continue;
        owners[m->owned[i]]--;
        if (isMeasured) taken++;
    }
    for (int i = 0; i < count; i++) {
        if (has(m->owned, m->count, now_owned[i])) continue;
        if (owners[now_owned[i]]++ > 0) twice++;
    }
    memcpy(m->owned, now_owned, sizeof now_owned);
    m->count = count;
    m->mustTell = true;
    m->next = 0;
}

/// Goes on until `isDone`, or for `limit` seconds.
static bool goOn(int poll, int partitions, double limit, bool isMeasured, struct member *newcomer) {
    struct epoll_event events[512];
    double end = now() + limit;
    while (now() < end) {
        int ready = epoll_wait(poll, events, 512, 5);
        for (int i = 0; i < ready; i++) hear(&members[events[i].data.u32], isMeasured);
        double time = now();
        for (int i = 0; i < places; i++) {
            struct member *m = &members[i];
            if (m->isThere && !m->waits && m->next <= time) beat(m, m->epoch == 0);
        }
        int without = 0;
        for (int i = 0; i < partitions; i++) without += owners[i] != 1;
        if (isMeasured && without == 0 && (!newcomer || newcomer->count > 0)) return true;
    }
    return false;
}

static void come(int poll, int place, int port, int number) {
    struct member *m = &members[place];
    memset(m, 0, sizeof *m);
    snprintf(m->id, sizeof m->id, "member-%06d-0000-4000-8000", number);
    m->fd = dial(port);
    m->isThere = true;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)place};
    epoll_ctl(poll, EPOLL_CTL_ADD, m->fd, &event);
}

static int compareTimes(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

int main(int count, char **words) {
    if (count != 5) die("see the first lines of rebalance.c");
    int port = atoi(words[1]), partitions = atoi(words[3]), rounds = atoi(words[4]), number = 0;
    places = atoi(words[2]);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    members = calloc((size_t)places, sizeof *members);
    owners = calloc((size_t)partitions, sizeof *owners);
    double *left = calloc((size_t)rounds, sizeof *left), *joined = calloc((size_t)rounds, sizeof *joined);
    int fd = dial(port), poll = epoll_create1(EPOLL_CLOEXEC), takenByLeaving = 0, takenByJoining = 0;
    prepare(fd, "bench", partitions);
    double began = now();
    for (int i = 0; i < places; i++) come(poll, i, port, number++);
    if (!goOn(poll, partitions, 120, true, NULL)) die("the group does not settle");
    double first = now() - began;
    goOn(poll, partitions, 2 * interval + 2, false, NULL);
    for (int round = 0; round < rounds; round++) {
        struct member *m = &members[(round * 37) % places];
        while (m->waits) hear(m, false);
        m->epoch = -1;
        for (int i = 0; i < m->count; i++) owners[m->owned[i]]--;
        m->count = 0;
        beat(m, false);
        double start = now();
        hear(m, false);
        m->isThere = false;
        close(m->fd);
        taken = 0;
        if (!goOn(poll, partitions, 60, true, NULL)) die("a partition has no owner 60 s after a member left");
        left[round] = now() - start;
        takenByLeaving += taken;
        goOn(poll, partitions, interval + 1, false, NULL);
        come(poll, (int)(m - members), port, number++);
        start = now();
        taken = 0;
        if (!goOn(poll, partitions, 60, true, m)) die("a new member has nothing after 60 s");
        joined[round] = now() - start;
        takenByJoining += taken;
        goOn(poll, partitions, interval + 1, false, NULL);
    }
    qsort(left, (size_t)rounds, sizeof *left, compareTimes);
    qsort(joined, (size_t)rounds, sizeof *joined, compareTimes);
    printf("{\"members\": %d, \"partitions\": %d, \"interval_s\": %.1f, \"first_s\": %.2f, \"left_s\": [%.2f, %.2f], "
           "\"joined_s\": [%.2f, %.2f], \"taken_by_leaving\": %d, \"taken_by_joining\": %d, \"rounds\": %d, "
           "\"owned_twice\": %d, \"errors\": %d}\n",
           places, partitions, interval, first, left[rounds / 2], left[rounds - 1], joined[rounds / 2],
           joined[rounds - 1], takenByLeaving, takenByJoining, rounds, twice, errors);
    return errors > 0 || twice > 0;
}
