import Foundation
import KafkaPrimitives
import KafkaRecords
import Testing

/// Random changes to good batches: an error or a value, in bounded memory, never a trap.
/// `OTTLA_BATCH_MUTATIONS` sets another number of them.
@Suite struct MutationTests {
    @Test(arguments: 0..<4)
    func mutationsGiveAnErrorOrAValue(part: Int) throws {
        let environment = ProcessInfo.processInfo.environment["OTTLA_BATCH_MUTATIONS"]
        let count = (environment.flatMap { Int($0) } ?? 500_000) / 4
        var generator = SeededGenerator(seed: UInt64(0x0771A + part))
        let seeds = try goldenBatches().filter { $0.count < 1000 }.map { bytes in
            // Half of the work would end at the base offset otherwise.
            var bytes = bytes
            bytes.set(Int64(0), at: 0)
            return bytes
        }
        let scratch = DecompressionScratch(limit: 256 << 10)
        var accepted = 0
        var refused = 0
        for _ in 0..<count {
            var bytes = seeds[Int.random(in: 0..<seeds.count, using: &generator)]
            mutate(&bytes, &generator)
            // With a CRC that fits, to get behind the first check; sometimes without.
            if UInt8.random(in: 0..<8, using: &generator) != 0 { bytes = bytes.withRightCRC() }
            let rules = ValidationRules(
                maxMessageBytes: 2000, compacted: Bool.random(using: &generator),
                timestampType: Bool.random(using: &generator) ? .createTime : .logAppendTime, now: testNow,
                targetCompression: CompressionType(rawValue: UInt8.random(in: 0..<10, using: &generator)),
                origin: [.client, .client, .coordinator, .replica][Int.random(in: 0..<4, using: &generator)])
            let input = bytes.count
            var problem: String?
            switch validate(&bytes, rules, scratch: scratch) {
            case .success(let batch):
                accepted += 1
                if batch.sizeInBytes != bytes.count { problem = "size" }
                // What is let in can be read, and stays readable.
                if rules.origin != .replica {
                    let read = try bytes.batch(scratch: scratch)
                    let offsets = (0..<Int64(batch.recordCount)).map { $0 + read.header.baseOffset }
                    if read.records.map(\.offset) != offsets { problem = "offsets" }
                    if footprint(read) > 64 * (input + scratch.limit) + 4096 { problem = "memory of records" }
                }
                if batch.needsRewrite, accepted.isMultiple(of: 8) {
                    let made = bytes.withUnsafeBytes {
                        RecordValidator.rewrite($0, validated: batch, rules: rules, scratch: scratch)
                    }
                    if case .success(let made) = made { _ = try made.bytes.batch(scratch: scratch) }
                }
            case .failure(let failure):
                if failure.code == .invalidRecord { refused += 1 }
                if footprint(failure) > 64 * input + 4096 { problem = "memory of a failure" }
                // The reader is more tolerant, but never traps either.
                if let read = try? bytes.batch(scratch: scratch),
                    footprint(read) > 64 * (input + scratch.limit) + 4096
                {
                    problem = "memory of records"
                }
            }
            if scratch.heldBytes > scratch.limit { problem = "scratch" }
            if let problem {
                Issue.record("\(problem): \(bytes)")
                return
            }
        }
        // The mutations reach both ends.
        #expect(accepted > count / 50)
        #expect(refused > count / 50)
    }

    private func mutate(_ bytes: inout [UInt8], _ generator: inout SeededGenerator) {
        for _ in 0..<Int.random(in: 1...3, using: &generator) {
            guard bytes.count > 1 else { return }
            // Rather in the header and the first record than far behind.
            let bound = Bool.random(using: &generator) ? min(bytes.count, 90) : bytes.count
            let place = Int.random(in: 0..<bound, using: &generator)
            switch UInt8.random(in: 0..<12, using: &generator) {
            case 0: bytes[place] = UInt8.random(in: 0...255, using: &generator)
            case 1: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
            case 2: bytes[place] = [0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF].randomElement(using: &generator) ?? 0
            case 3: bytes.remove(at: place)
            case 4: bytes.insert(UInt8.random(in: 0...255, using: &generator), at: place)
            case 5: bytes.removeLast(min(bytes.count, Int.random(in: 1...40, using: &generator)))
            case 6: bytes += generator.bytes(Int.random(in: 1...40, using: &generator))
            case 7 where bytes.count > 61:
                bytes.set(Int32.random(in: -2...200, using: &generator), at: 57)
                if Bool.random(using: &generator) {
                    bytes.set(bytes.batchHeader.map { $0.recordsCount &- 1 } ?? 0, at: 23)
                }
            case 8 where bytes.count > 61: bytes.set(UInt8.random(in: 0..<64, using: &generator), at: 22)
            case 9: bytes.replaceSubrange(place..., with: bytes[(bytes.count / 2)...])
            case 10 where bytes.count > 61: bytes.set(Int64.random(in: -3...(.max), using: &generator), at: 27)
            default: break
            }
        }
        // A length that fits more often than not.
        if bytes.count > 12, UInt8.random(in: 0..<16, using: &generator) != 0 {
            bytes.set(Int32(bytes.count - 12), at: 8)
        }
    }
}

private func footprint(_ bytes: [UInt8]?) -> Int { bytes.map { $0.isEmpty ? 0 : 32 + $0.capacity } ?? 0 }
private func footprint(_ text: String) -> Int { text.utf8.count < 16 ? 0 : 40 + text.utf8.count }

/// Bytes of memory that a read batch holds.
private func footprint(_ batch: RecordBatch) -> Int {
    var total = 32 + batch.records.capacity * MemoryLayout<Record>.stride
    for record in batch.records {
        total += footprint(record.key) + footprint(record.value)
        if !record.headers.isEmpty { total += 32 + record.headers.capacity * MemoryLayout<RecordHeader>.stride }
        for header in record.headers { total += footprint(header.key) + footprint(header.value) }
    }
    return total
}

private func footprint(_ failure: ValidationFailure) -> Int {
    var total = footprint(failure.detail) + footprint(failure.message ?? "")
    total += 32 + failure.recordErrors.capacity * MemoryLayout<RecordError>.stride
    for error in failure.recordErrors { total += footprint(error.message ?? "") }
    return total
}
