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
/// The calling thread gets less of processor and disk than others (nice 10, the lowest best-effort class).
void ottla_lower_priority(void);
/// pread(2) that does not wait for a disk: -1 and EAGAIN where the first byte is not in the page cache; it may give less
/// than asked for. Where the file system cannot tell it is a plain pread.
ssize_t ottla_pread_now(int fd, void *bytes, size_t count, int64_t position);
/// Whether a range of a file is in the page cache: 1 or 0. `is_settled`: pages that are being read count as not there.
int ottla_is_resident(int fd, int64_t position, int64_t length, int is_settled);
/// posix_fadvise(2): 0 random access, 1 will be needed, 2 is not needed any more.
void ottla_advise(int fd, int64_t position, int64_t length, int advice);
