#include "CMallocCount.h"

#include <errno.h>
#include <malloc.h>

// glibc's own functions under their second names.
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static __thread int counting;
static __thread long in_use;
static __thread struct malloc_count counts;

void malloc_count_begin(void) {
    in_use = 0;
    counts = (struct malloc_count){0, 0};
    counting = 1;
}

struct malloc_count malloc_count_end(void) {
    counting = 0;
    return counts;
}

static void *taken(void *block) {
    if (counting && block) {
        in_use += (long)malloc_usable_size(block);
        counts.blocks += 1;
        if (in_use > counts.peak) counts.peak = in_use;
    }
    return block;
}

static void given(void *block) {
    if (counting && block) in_use -= (long)malloc_usable_size(block);
}

// Sanitizers stand there themselves.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LEAVE_MALLOC 1
#endif
#endif
#ifndef LEAVE_MALLOC

void *malloc(size_t size) { return taken(__libc_malloc(size)); }

void *calloc(size_t count, size_t size) { return taken(__libc_calloc(count, size)); }

void *realloc(void *old, size_t size) {
    // While the contents are copied both blocks are in use.
    long before = counting && old ? (long)malloc_usable_size(old) : 0;
    void *block = taken(__libc_realloc(old, size));
    if (block || size == 0) in_use -= before;
    return block;
}

void *memalign(size_t alignment, size_t size) { return taken(__libc_memalign(alignment, size)); }

void *aligned_alloc(size_t alignment, size_t size) { return taken(__libc_memalign(alignment, size)); }

int posix_memalign(void **block, size_t alignment, size_t size) {
    void *result = taken(__libc_memalign(alignment, size));
    if (!result) return ENOMEM;
    *block = result;
    return 0;
}

void free(void *block) {
    given(block);
    __libc_free(block);
}

#endif
#endif
