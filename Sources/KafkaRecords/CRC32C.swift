import CCRC32C

/// CRC-32C (Castagnoli) of `bytes`: what a batch of magic 2 is protected by.
/// - Parameter seed: the CRC of what comes before `bytes`; 0 to begin.
@inlinable
package func crc32c(_ bytes: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
    ottla_crc32c(seed, bytes.baseAddress, bytes.count)
}

/// The same without the processor's instruction: what runs where there is none. For tests.
package func portableCRC32C(_ bytes: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
    ottla_crc32c_portable(seed, bytes.baseAddress, bytes.count)
}
