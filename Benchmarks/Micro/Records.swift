import CBareLoops
import KafkaRecords

extension Comparison {
    func checksums() {
        self.heading("CRC-32C", rows: ["crc32c"])
        for (name, size) in [("100 B", 100), ("1 KB", 1024), ("16 KB", 16384), ("1 MB", 1 << 20)] {
            let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 64)
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 64)
            defer {
                bytes.deallocate()
                copy.deallocate()
            }
            for index in 0..<size { bytes[index] = UInt8(truncatingIfNeeded: index &* 31) }
            let input = UnsafeRawBufferPointer(bytes)
            let memcpy = { (times: Int) in
                for _ in 0..<times {
                    copy.copyMemory(from: input)
                    bare_use(UInt64(copy[0]))
                }
            }
            self.row("crc32c \(name)", bare: "memcpy") { times in
                for _ in 0..<times { use(Int(crc32c(input))) }
            } bare: {
                memcpy($0)
            }
            self.row("crc32c portable \(name)", bare: "crc32c") { times in
                for _ in 0..<times { use(Int(portableCRC32C(input))) }
            } bare: { times in
                for _ in 0..<times { use(Int(crc32c(input))) }
            }
        }
    }

    func records() {
        self.heading("Records", rows: ["validate", "build"])
        for (name, size) in [("16 KB", 16384), ("1 MB", 1 << 20)] {
            for codec in [CompressionType.none, .gzip, .snappy, .lz4, .zstd] {
                self.validate("validate \(name) of 100 B, \(codec.name)", size: size, codec)
            }
        }
        let value = text(100, seed: 1)
        self.row("build 16 KB of 100 B", bare: "memcpy and crc32c") { times in
            for _ in 0..<times {
                var builder = RecordBatchBuilder()
                for _ in 0..<150 { builder.append(timestamp: 1_700_000_000_000, key: nil, value: value) }
                use(builder.build().count)
            }
        } bare: { times in
            for _ in 0..<times {
                var batch = [UInt8](repeating: 0, count: RecordBatchHeader.size)
                batch.reserveCapacity(16384)
                for _ in 0..<150 { batch.append(contentsOf: value) }
                use(batch.withUnsafeBytes { Int(crc32c($0)) })
            }
        }
    }

    private func validate(_ name: String, size: Int, _ codec: CompressionType) {
        var batch = makeBatch(size: size, codec)
        var rules = ValidationRules(maxMessageBytes: 2 << 20, now: 1_700_000_000_000)
        rules.produceVersion = 9
        let scratch = DecompressionScratch()
        let unpacked = UnsafeMutablePointer<UInt8>.allocate(capacity: size + 4096)
        defer { unpacked.deallocate() }
        let bareName =
            switch codec {
            case .none: "crc32c and a walk in C"
            case .gzip: "inflate"
            case .snappy: "snappy_uncompress"
            case .lz4: "LZ4_decompress_safe"
            case .zstd: "ZSTD_decompressDCtx"
            }
        batch.withUnsafeMutableBytes { batch in
            let input = batch.baseAddress!.assumingMemoryBound(to: UInt8.self) + RecordBatchHeader.size
            let count = batch.count - RecordBatchHeader.size
            let room = size + 4096
            self.row(name, bare: bareName) { times in
                for _ in 0..<times {
                    switch RecordValidator.validate(batch, rules: rules, scratch: scratch) {
                    case .success(let validated): use(Int(validated.recordCount))
                    case .failure(let failure): fatalError("\(failure)")
                    }
                }
            } bare: { times in
                for _ in 0..<times {
                    switch codec {
                    case .none:
                        use(Int(crc32c(UnsafeRawBufferPointer(batch))))
                        bare_use(bare_walk_records(input, count))
                    case .gzip: bare_use(UInt64(bare_gunzip(unpacked, room, input, count)))
                    case .snappy: bare_use(UInt64(bare_unsnappy(unpacked, room, input, count)))
                    case .lz4: bare_use(UInt64(bare_unlz4(unpacked, room, input, count)))
                    case .zstd: bare_use(UInt64(bare_unzstd(unpacked, room, input, count)))
                    }
                }
            }
        }
    }
}

/// Bytes that can be packed to about half, as words of a text.
func text(_ count: Int, seed: Int) -> [UInt8] {
    let words = ["order", "customer", "shipped", "paid", "cancelled", "amount", "currency", "warehouse", "2024-05-06"]
    var numbers = FixedNumbers(state: UInt64(seed))
    var bytes: [UInt8] = []
    while bytes.count < count {
        bytes += Array(words[numbers.next(below: words.count)].utf8)
        bytes += Array(" \(numbers.next(below: 10_000)) ".utf8)
    }
    return Array(bytes.prefix(count))
}

/// A batch of records of 100 bytes, as much as `size` bytes before it is packed.
func makeBatch(size: Int, _ codec: CompressionType = .none) -> [UInt8] {
    var builder = RecordBatchBuilder(compression: codec)
    var seed = 0
    while builder.sizeInBytes + 110 <= size || seed == 0 {
        builder.append(timestamp: 1_700_000_000_000 + Int64(seed / 10), key: nil, value: text(100, seed: seed))
        seed += 1
    }
    return builder.build()
}
