import CMallocCount
import KafkaMessages
import KafkaPrimitives
import Testing

/// Whatever the bytes are, decoding ends with a value or an error, and uses no more memory than 64 times their
/// number and 4 kB.
@Suite struct HostileInputTests {
    @Test(arguments: [GoldenVector.File.messages, .records])
    func everyPrefixOfGoldenVectors(_ file: GoldenVector.File) throws {
        var problems: [String] = []
        for vector in try GoldenVector.load(file) {
            let type = try #require(allMessages[vector.message])
            // To fill the caches of Swift's runtime.
            _ = decodeCounting(type, vector.bytes[...], version: vector.version)
            for length in 0..<vector.bytes.count {
                let outcome = decodeCounting(type, vector.bytes[..<length], version: vector.version)
                if let problem = outcome.problem { problems.append("\(vector), first \(length) bytes: \(problem)") }
                // The tagged fields at the end are counted first, so no prefix is complete.
                if outcome.isValue { problems.append("\(vector): decodes from its first \(length) bytes") }
            }
        }
        #expect(problems.isEmpty, "\(problems.count) problems:\n\(problems.prefix(20).joined(separator: "\n"))")
    }

    /// A million in all.
    @Test(arguments: [UInt64(1), 2, 3, 4])
    func mutationsOfGoldenVectors(_ seed: UInt64) throws {
        let vectors = try GoldenVector.load(.messages) + GoldenVector.load(.records)
        var generator = SeededGenerator(seed: seed)
        var problems: [String] = []
        var values = 0
        for _ in 0..<250_000 {
            let vector = vectors[generator.below(vectors.count)]
            let type = try #require(allMessages[vector.message])
            var bytes = vector.bytes
            mutate(&bytes, using: &generator)
            let outcome = decodeCounting(type, bytes[...], version: vector.version)
            if outcome.isValue { values += 1 }
            if let problem = outcome.problem { problems.append("\(vector), \(hex(bytes)): \(problem)") }
        }
        // Otherwise the mutations would be too coarse to test much.
        #expect(values > 10_000)
        #expect(problems.isEmpty, "\(problems.count) problems:\n\(problems.prefix(20).joined(separator: "\n"))")
    }

    /// What is accepted from damaged bytes can be written, and read again as the same.
    @Test func acceptedMutationsRoundTrip() throws {
        let vectors = try GoldenVector.load(.messages) + GoldenVector.load(.records)
        var generator = SeededGenerator(seed: 5)
        for _ in 0..<20_000 {
            let vector = vectors[generator.below(vectors.count)]
            let type = try #require(allMessages[vector.message])
            var bytes = vector.bytes
            mutate(&bytes, using: &generator)
            let problem = roundTripProblem(type, bytes, version: vector.version)
            #expect(problem == nil, "\(vector), \(hex(bytes))")
        }
    }

    /// The counter counts: an array of 1,000 strings of 20 bytes.
    @Test func countingIsReal() {
        malloc_count_begin()
        let strings = (0..<1000).map { "a string of its own \($0)" }
        let count = malloc_count_end()
        #expect(strings.count == 1000)
        #expect(count.blocks > 1000)
        #expect(count.peak > 1000 * 48)
    }
}

struct DecodeOutcome {
    var isValue: Bool
    var problem: String?
}

/// Decodes and counts. Swift's runtime allocates when it meets a type for the first time; so what seems too much is
/// counted again.
func decodeCounting(_ type: any KafkaMessage.Type, _ bytes: ArraySlice<UInt8>, version: Int16) -> DecodeOutcome {
    bytes.withUnsafeBytes { buffer in
        var isValue = false
        var peak = 0
        for _ in 0..<3 {
            malloc_count_begin()
            isValue = decodes(type, buffer, version: version)
            peak = malloc_count_end().peak
            if peak <= 64 * buffer.count + 4096 { return DecodeOutcome(isValue: isValue) }
        }
        return DecodeOutcome(isValue: isValue, problem: "used \(peak) bytes for \(buffer.count)")
    }
}

private func decodes<T: KafkaMessage>(_: T.Type, _ bytes: UnsafeRawBufferPointer, version: Int16) -> Bool {
    do throws(DecodingError) {
        _ = try T(decoding: bytes, version: version)
        return true
    } catch {
        return false
    }
}

private func roundTripProblem<T: KafkaMessage>(_: T.Type, _ bytes: [UInt8], version: Int16) -> String? {
    guard let value = try? T(decoding: bytes, version: version) else { return nil }
    let encoded = value.encoded(version: version)
    guard let again = try? T(decoding: encoded, version: version) else { return "does not decode again" }
    // Compared as bytes, for the sake of NaN.
    return again.encoded(version: version) == encoded ? nil : "decodes to something else"
}
