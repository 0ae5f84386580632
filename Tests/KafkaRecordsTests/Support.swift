import KafkaRecords

/// A generator whose numbers depend on its seed alone (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    init(seed: UInt64) { self.state = seed }

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var z = self.state
        z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
        return z ^ z >> 31
    }

    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) } }
}

extension [UInt8] {
    init?(hex: some StringProtocol) {
        let digits = Array(hex.utf8)
        guard digits.count.isMultiple(of: 2) else { return nil }
        self = []
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let byte = UInt8(String(decoding: digits[index...(index + 1)], as: UTF8.self), radix: 16) else {
                return nil
            }
            self.append(byte)
        }
    }

    /// Writes a big-endian number, as a header has it.
    mutating func set<T: FixedWidthInteger>(_ value: T, at offset: Int) {
        Swift.withUnsafeBytes(of: value.bigEndian) { bytes in
            for (index, byte) in bytes.enumerated() { self[offset + index] = byte }
        }
    }

    /// The batch with a CRC that is right again, whatever was done to it.
    func withRightCRC() -> [UInt8] {
        guard self.count > 21 else { return self }
        var copy = self
        copy.set(self.withUnsafeBytes { crc32c(UnsafeRawBufferPointer(rebasing: $0[21...])) }, at: 17)
        return copy
    }

    /// The batch with other bytes after its header, and length and CRC to match.
    func withPayload(_ payload: [UInt8], count: Int32? = nil) -> [UInt8] {
        var copy = Array(self[..<61]) + payload
        copy.set(Int32(copy.count - 12), at: 8)
        if let count {
            copy.set(count, at: 57)
            copy.set(count - 1, at: 23)
        }
        return copy.withRightCRC()
    }

    var batchHeader: RecordBatchHeader? { self.withUnsafeBytes { RecordBatchHeader($0) } }

    func batch(scratch: DecompressionScratch = DecompressionScratch()) throws -> RecordBatch {
        try self.withUnsafeBytes { bytes in try RecordBatch(bytes, scratch: scratch) }
    }
}

/// A batch as a client would send it.
func clientBatch(
    _ count: Int = 3, timestamps: [Int64]? = nil, keys: Bool = true, compression: CompressionType = .none,
    headers: [RecordHeader] = [], producerID: Int64 = -1, producerEpoch: Int16 = -1, baseSequence: Int32 = -1,
    isTransactional: Bool = false, isControl: Bool = false, valueSize: Int = 20
) -> [UInt8] {
    var builder = RecordBatchBuilder(
        compression: compression, producerID: producerID, producerEpoch: producerEpoch, baseSequence: baseSequence,
        isTransactional: isTransactional, isControl: isControl)
    for index in 0..<count {
        builder.append(
            timestamp: timestamps?[index] ?? testNow - 1000 + Int64(index), key: keys ? [UInt8(index & 0xFF), 1] : nil,
            value: [UInt8](repeating: UInt8(index & 0xFF), count: valueSize), headers: headers)
    }
    return builder.build()
}

let testNow: Int64 = 1_700_000_000_000

func validate(
    _ bytes: inout [UInt8], _ rules: ValidationRules = ValidationRules(now: testNow),
    scratch: DecompressionScratch = DecompressionScratch()
) -> Result<ValidatedBatch, ValidationFailure> {
    bytes.withUnsafeMutableBytes { RecordValidator.validate($0, rules: rules, scratch: scratch) }
}

func validated(
    _ bytes: [UInt8], _ rules: ValidationRules = ValidationRules(now: testNow)
) -> Result<ValidatedBatch, ValidationFailure> {
    var copy = bytes
    return validate(&copy, rules)
}
