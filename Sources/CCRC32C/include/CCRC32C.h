#pragma once
#include <stddef.h>
#include <stdint.h>

/// CRC-32C (Castagnoli) of `length` bytes, continuing from `crc` (0 to begin). Uses the
/// processor's CRC instruction if there is one.
uint32_t ottla_crc32c(uint32_t crc, const void *bytes, size_t length);

/// The same in portable C (slicing by 8). The fallback; separate so that tests can compare.
uint32_t ottla_crc32c_portable(uint32_t crc, const void *bytes, size_t length);

/// 1 if `ottla_crc32c` uses the processor's instruction here.
int ottla_crc32c_is_accelerated(void);
