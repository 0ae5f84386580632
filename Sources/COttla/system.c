#define _GNU_SOURCE
#include "COttla.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <errno.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

int ottla_start_writeback(int fd, int64_t offset, int64_t length) {
    return sync_file_range(fd, offset, length, SYNC_FILE_RANGE_WRITE);
}

int ottla_fallocate(int fd, int keep_size, int64_t offset, int64_t length) {
    return fallocate(fd, keep_size ? FALLOC_FL_KEEP_SIZE : 0, offset, length);
}

int ottla_open(const char *path, int flags, unsigned mode) {
    return open(path, flags, mode);
}

int ottla_lock_file(int fd) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_SETLK, &lock);
}

int ottla_stat(const char *path, int64_t *size, int64_t *modified_ms, int *is_directory) {
    struct stat status;
    if (stat(path, &status) != 0) return -1;
    *size = status.st_size;
    if (modified_ms) *modified_ms = (int64_t)status.st_mtim.tv_sec * 1000 + status.st_mtim.tv_nsec / 1000000;
    if (is_directory) *is_directory = S_ISDIR(status.st_mode);
    return 0;
}

int64_t ottla_file_size(int fd) {
    struct stat status;
    return fstat(fd, &status) != 0 ? -1 : status.st_size;
}

int ottla_sync_file_system(int fd) {
    return syncfs(fd);
}

int64_t ottla_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
    return limit.rlim_cur == RLIM_INFINITY ? INT64_MAX : (int64_t)limit.rlim_cur;
}

struct start { void (*body)(void *); void *context; };

static void *run(void *argument) {
    struct start start = *(struct start *)argument;
    free(argument);
    start.body(start.context);
    return NULL;
}

int ottla_thread_start(pthread_t *thread, void (*body)(void *), void *context) {
    struct start *start = malloc(sizeof *start);
    if (!start) return ENOMEM;
    *start = (struct start){body, context};
    pthread_t detached;
    int error = pthread_create(thread ? thread : &detached, NULL, run, start);
    if (error) free(start);
    else if (!thread) pthread_detach(detached);
    return error;
}

int64_t ottla_wall_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t ottla_monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int ottla_random(void *bytes, size_t length) {
    return getrandom(bytes, length, 0) == (ssize_t)length ? 0 : -1;
}

void ottla_lower_priority(void) {
    // On Linux both mean the thread where they are given 0. What the system does not allow is left as it is.
    setpriority(PRIO_PROCESS, 0, 10);
#ifdef SYS_ioprio_set
    syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 7);
#endif
}

ssize_t ottla_pread_now(int fd, void *bytes, size_t count, int64_t position) {
    struct iovec vector = {bytes, count};
    ssize_t done = preadv2(fd, &vector, 1, position, RWF_NOWAIT);
    if (done < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) return pread(fd, bytes, count, position);
    return done;
}

static int has_byte(int fd, int64_t position) {
    char byte;
    return ottla_pread_now(fd, &byte, 1, position) >= 0 || errno != EAGAIN;
}

int ottla_is_resident(int fd, int64_t position, int64_t length, int is_settled) {
    static int64_t page = 0;
    if (!page) page = sysconf(_SC_PAGESIZE);
    if (length <= 0) return 1;
    // cachestat(2), Linux 6.5. The same number on every architecture.
    struct { uint64_t offset, length; } range = {(uint64_t)position, (uint64_t)length};
    struct { uint64_t cached, dirty, writeback, evicted, recently_evicted; } found;
    if (syscall(451, fd, &range, &found, 0) == 0) {
        uint64_t pages = (uint64_t)((position + length - 1) / page - position / page + 1);
        if (found.cached < pages) return 0;
        return !is_settled || has_byte(fd, position + length - 1);
    }
    for (int64_t at = position; at < position + length; at += 65536) if (!has_byte(fd, at)) return 0;
    return has_byte(fd, position + length - 1);
}

void ottla_advise(int fd, int64_t position, int64_t length, int advice) {
    static const int advices[] = {POSIX_FADV_RANDOM, POSIX_FADV_WILLNEED, POSIX_FADV_DONTNEED};
    posix_fadvise(fd, position, length, advices[advice]);
}
