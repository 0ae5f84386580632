import Foundation
import KafkaRecords
import Testing

/// Batches that kafka-clients made (see /Tests/Vectors): read, compared field by field, and made again.
/// `OTTLA_BATCH_VECTORS` names another file, gzipped or not.
@Suite struct BatchGoldenVectorTests {
    @Test func batchGoldenVectors() throws {
        let problems = problemsOfBatchVectors(try batchVectors())
        #expect(problems == [])
    }

    @Test func batchGoldenVectorsThatAreDamagedFail() throws {
        let lines = try committedVectors().split(separator: "\n").map(String.init)
        #expect(problemsOfBatchVectors("") != [])
        #expect(problemsOfBatchVectors("\n\n") != [])
        var generator = SeededGenerator(seed: 7)
        for line in lines {
            // A digit of the hex.
            let start = try #require(line.range(of: "\"hex\":\"")?.upperBound)
            let end = try #require(line.lastIndex(of: "\""))
            for _ in 0..<20 {
                var damaged = Array(line)
                let from = line.distance(from: line.startIndex, to: start)
                let place = Int.random(in: from..<line.distance(from: line.startIndex, to: end), using: &generator)
                damaged[place] = damaged[place] == "3" ? "4" : "3"
                #expect(
                    problemsOfBatchVectors(String(damaged)) != [], "hex digit \(place - from) of \(line.prefix(80))")
            }
            // A digit of each field, and of the first record.
            for name in ["baseOffset", "crc", "maxTimestamp", "producerId", "timestamp", "value", "lastOffset"] {
                guard let field = line.range(of: "\"\(name)\":") else { continue }
                guard let digit = line[field.upperBound...].firstIndex(where: { "0123456789n".contains($0) }) else {
                    continue
                }
                var damaged = line
                damaged.replaceSubrange(digit...digit, with: line[digit] == "7" ? "8" : "7")
                #expect(problemsOfBatchVectors(damaged) != [], "\(name) of \(line.prefix(80))")
            }
            #expect(problemsOfBatchVectors(String(line.dropLast(9))) != [])
        }
    }

    /// Every prefix of every vector gives an error, in every way of reading, and so it does with a length and a CRC
    /// that fit, where the records or the codec have to notice.
    @Test func prefixesOfGoldenVectorsAreRefused() throws {
        let scratch = DecompressionScratch(limit: 1 << 20)
        for bytes in try goldenBatches() {
            for length in 0..<bytes.count {
                var prefix = Array(bytes[..<length])
                if let way = accepts(&prefix, scratch) {
                    Issue.record("\(length) bytes of \(bytes.count) are accepted by \(way)")
                    return
                }
                guard length >= 61, length < 1000 else { continue }
                prefix.set(Int32(length - 12), at: 8)
                prefix.set(Int64(0), at: 0)
                prefix = prefix.withRightCRC()
                if let way = accepts(&prefix, scratch) {
                    Issue.record("\(length) bytes of \(bytes.count), sealed, are accepted by \(way)")
                    return
                }
            }
        }
    }

    private func accepts(_ bytes: inout [UInt8], _ scratch: DecompressionScratch) -> String? {
        let rules = ValidationRules(now: testNow, origin: .coordinator)
        if case .success = validate(&bytes, rules, scratch: scratch) { return "the validator" }
        if (try? bytes.batch(scratch: scratch)) != nil { return "the reader" }
        return nil
    }
}

func committedVectors() throws -> String {
    try text(ofFile: URL(filePath: #filePath).deletingLastPathComponent().path + "/../Vectors/batch-vectors.jsonl.gz")
}

private func batchVectors() throws -> String {
    if let path = ProcessInfo.processInfo.environment["OTTLA_BATCH_VECTORS"] { return try text(ofFile: path) }
    return try committedVectors()
}

private func text(ofFile path: String) throws -> String {
    var bytes = [UInt8](try Data(contentsOf: URL(filePath: path)))
    if bytes.starts(with: [0x1F, 0x8B]) {
        let scratch = DecompressionScratch()
        bytes = try bytes.withUnsafeBytes { input in
            [UInt8](try scratch.decompress(input, .gzip))
        }
    }
    return String(decoding: bytes, as: UTF8.self)
}

/// The batches of the committed vectors.
func goldenBatches() throws -> [[UInt8]] {
    try committedVectors().split(separator: "\n").map { line in
        let vector = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any] ?? [:]
        return try #require([UInt8](hex: vector["hex"] as? String ?? "-"))
    }
}

/// What does not fit, a line a problem; a file without vectors is one.
private func problemsOfBatchVectors(_ text: String) -> [String] {
    var problems: [String] = []
    let lines = text.split(separator: "\n")
    if lines.isEmpty { problems.append("no vectors") }
    for (number, line) in lines.enumerated() {
        do {
            guard let vector = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any] else {
                throw VectorProblem("not an object")
            }
            if vector["control"] is String {
                try checkControlVector(VectorFields(vector))
            } else {
                try checkVector(VectorFields(vector))
            }
        } catch {
            problems.append("line \(number + 1): \(error)")
        }
    }
    return problems
}

private struct VectorProblem: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

private struct VectorFields {
    let fields: [String: Any]
    init(_ fields: [String: Any]) { self.fields = fields }

    func get<T>(_ name: String, as type: T.Type = T.self) throws -> T {
        guard let value = self.fields[name] as? T else { throw VectorProblem("no \(name)") }
        return value
    }

    func bytes(_ name: String) throws -> [UInt8]? {
        guard let value = self.fields[name] else { throw VectorProblem("no \(name)") }
        return try hexBytes(value)
    }
}

private func hexBytes(_ value: Any) throws -> [UInt8]? {
    if value is NSNull { return nil }
    guard let text = value as? String, let bytes = [UInt8](hex: text) else { throw VectorProblem("not hex") }
    return bytes
}

private func expectEqual<T: Equatable>(_ name: String, _ found: T, _ expected: T) throws {
    if found != expected { throw VectorProblem("\(name) is \(found), not \(expected)") }
}

private func expectedRecords(_ vector: VectorFields) throws -> [Record] {
    try vector.get("records", as: [[String: Any]].self).map { fields in
        let record = VectorFields(fields)
        return Record(
            offset: try record.get("offset"), timestamp: try record.get("timestamp"), key: try record.bytes("key"),
            value: try record.bytes("value"),
            headers: try record.get("headers", as: [[Any]].self).map { pair in
                guard pair.count == 2, let name = pair[0] as? String else { throw VectorProblem("bad header") }
                return RecordHeader(name, try hexBytes(pair[1]))
            })
    }
}

private func checkVector(_ vector: VectorFields) throws {
    let bytes = try vector.bytes("hex") ?? []
    let batch = try bytes.batch()
    let header = batch.header
    try expectEqual("size", header.sizeInBytes, bytes.count)
    try expectEqual("compression", header.compression?.name, try vector.get("compression", as: String.self))
    try expectEqual("baseOffset", header.baseOffset, try vector.get("baseOffset"))
    try expectEqual("lastOffset", header.lastOffset, try vector.get("lastOffset"))
    try expectEqual("partitionLeaderEpoch", header.partitionLeaderEpoch, try vector.get("partitionLeaderEpoch"))
    try expectEqual("timestampType", header.timestampType.name, try vector.get("timestampType", as: String.self))
    try expectEqual("maxTimestamp", header.maxTimestamp, try vector.get("maxTimestamp"))
    try expectEqual("producerId", header.producerID, try vector.get("producerId"))
    try expectEqual("producerEpoch", header.producerEpoch, try vector.get("producerEpoch"))
    try expectEqual("baseSequence", header.baseSequence, try vector.get("baseSequence"))
    try expectEqual("transactional", header.isTransactional, try vector.get("transactional"))
    try expectEqual("control", header.isControl, try vector.get("control"))
    try expectEqual("crc", header.crc, try vector.get("crc"))
    let records = try expectedRecords(vector)
    try expectEqual("recordsCount", Int(header.recordsCount), records.count)
    try expectEqual("number of records", batch.records.count, records.count)
    for (found, expected) in zip(batch.records, records) { try expectEqual("record", found, expected) }

    // And back.
    let again = try rebuilt(bytes)
    if header.compression == CompressionType.none {
        try expectEqual("bytes made again", again, bytes)
    } else {
        let second = try again.batch()
        try expectEqual("codec made again", second.header.compression, header.compression)
        try expectEqual("records made again", second.records, batch.records)
        try expectEqual("maxTimestamp made again", second.header.maxTimestamp, header.maxTimestamp)
    }
}

/// The batch made again out of its records.
private func rebuilt(_ bytes: [UInt8]) throws -> [UInt8] {
    try bytes.withUnsafeBytes { bytes in
        var iterator = try RecordBatchIterator(bytes, scratch: DecompressionScratch())
        let header = iterator.header
        var builder = RecordBatchBuilder(
            baseOffset: header.baseOffset, compression: header.compression ?? .none,
            logAppendTime: header.timestampType == .logAppendTime ? header.maxTimestamp : nil,
            producerID: header.producerID, producerEpoch: header.producerEpoch, baseSequence: header.baseSequence,
            isTransactional: header.isTransactional, isControl: header.isControl,
            partitionLeaderEpoch: header.partitionLeaderEpoch)
        while let view = try iterator.next() {
            var record = view.owned()
            record.timestamp = view.createTimestamp
            builder.append(record)
        }
        return builder.build()
    }
}

private func checkControlVector(_ vector: VectorFields) throws {
    let bytes = try vector.bytes("hex") ?? []
    let batch = try bytes.batch()
    try expectEqual("isControl", batch.header.isControl, true)
    try expectEqual("isTransactional", batch.header.isTransactional, true)
    try expectEqual("number of records", batch.records.count, 1)
    guard let key = batch.records[0].key, let value = batch.records[0].value else { throw VectorProblem("null") }
    let type = key.withUnsafeBytes { ControlRecordType(key: $0) }
    let name: String = try vector.get("control")
    guard type == .commit || type == .abort, name == "COMMIT" || name == "ABORT" else {
        throw VectorProblem("control is \(name)")
    }
    try expectEqual("control", type == .commit, name == "COMMIT")
    let marker = value.withUnsafeBytes { EndTransactionMarker(value: $0) }
    try expectEqual("coordinatorEpoch", marker?.coordinatorEpoch, try vector.get("coordinatorEpoch", as: Int32.self))
    let again = RecordBatchBuilder.endTransaction(
        committed: name == "COMMIT", marker: EndTransactionMarker(coordinatorEpoch: try vector.get("coordinatorEpoch")),
        producerID: try vector.get("producerId"), producerEpoch: try vector.get("producerEpoch"),
        timestamp: try vector.get("timestamp"), baseOffset: try vector.get("baseOffset"),
        partitionLeaderEpoch: try vector.get("partitionLeaderEpoch"))
    try expectEqual("bytes made again", again, bytes)
}
