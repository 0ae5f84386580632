#define _GNU_SOURCE
#include "COttla.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <errno.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
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
