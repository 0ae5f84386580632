#ifndef CMALLOCCOUNT_H
#define CMALLOCCOUNT_H

#include <stddef.h>

/// Counts what the calling thread takes from malloc and its relatives between `begin` and `end`, by standing in front
/// of the C library's own. Sizes are those that malloc really set aside, not those asked for.
void malloc_count_begin(void);

struct malloc_count {
    /// The most that was in use at once, beyond what was in use at `begin`.
    long peak;
    /// How many blocks were taken.
    long blocks;
};

struct malloc_count malloc_count_end(void);

#endif
