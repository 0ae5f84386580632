#pragma once
// System calls that Swift's Glibc module does not show (variadic or behind _GNU_SOURCE), as plain functions.
#include <stdint.h>
#include <stddef.h>
#include <sys/types.h>

/// sync_file_range(2) with SYNC_FILE_RANGE_WRITE: starts writeback, does not wait. 0 or -1 and errno.
int ottla_start_writeback(int fd, int64_t offset, int64_t length);
/// fallocate(2) with mode 0 or FALLOC_FL_KEEP_SIZE. 0 or -1 and errno.
int ottla_fallocate(int fd, int keep_size, int64_t offset, int64_t length);
/// open(2) with a mode. A descriptor, or -1 and errno.
int ottla_open(const char *path, int flags, unsigned mode);
/// A write lock over the whole file that another descriptor, also one of this process, cannot take
/// (F_OFD_SETLK; it meets the POSIX locks of a JVM too). 0, or -1 and errno.
int ottla_lock_file(int fd);
/// What stat(2) tells that the log needs. 0, or -1 and errno. `is_directory` and `modified_ms` may be NULL.
int ottla_stat(const char *path, int64_t *size, int64_t *modified_ms, int *is_directory);
/// The size of an open file, or -1 and errno.
int64_t ottla_file_size(int fd);
/// syncfs(2): everything of the file system that `fd` is on, to disk. 0, or -1 and errno.
int ottla_sync_file_system(int fd);
/// How many files this process may have open.
int64_t ottla_file_limit(void);
/// Starts a thread that runs `body(context)`, detached where `thread` is NULL. 0 or an errno.
int ottla_thread_start(pthread_t *thread, void (*body)(void *), void *context);
/// Milliseconds since 1970 by the wall clock.
int64_t ottla_wall_ms(void);
/// Nanoseconds of the monotonic clock.
int64_t ottla_monotonic_ns(void);
/// getrandom(2). 0, or -1 and errno.
int ottla_random(void *bytes, size_t length);
