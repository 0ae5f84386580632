import Glibc
import KafkaLog
import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Synchronization
import Testing

@testable import KafkaBroker

/// Many threads against one broker: nobody misses a record, nobody sleeps through an append, nothing is left behind.
@Suite struct FetchStressTests {
    private static let partitions: Int32 = 5
    private static let writers = 3
    private static let batchesOfWriter = 300

    private final class Shared: Sendable {
        let failures = Mutex<[String]>([])
        let done = Semaphore()

        func run(_ body: @escaping @Sendable () throws -> Void) {
            let thread = startThread { [self] in
                do { try body() } catch { self.failures.withLock { $0.append("\(error)") } }
                self.done.signal()
            }
            if let thread { pthread_detach(thread) } else { self.done.signal() }
        }
    }

    @Test func readersSeeAllThatWritersWrite() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", partitions: Self.partitions)
        let port = test.broker.port
        let shared = Shared()
        let total = Int64(Self.writers * Self.batchesOfWriter * 2)
        for writer in 0..<Self.writers {
            shared.run {
                let client = try TestClient(port: port)
                for index in 0..<Self.batchesOfWriter {
                    let partition = Int32(index % Int(Self.partitions))
                    let records = batch("\(writer)", count: 2, compression: index % 7 == 0 ? .lz4 : .none)
                    _ = try client.produce(topic, records, at: partition)
                }
            }
        }
        // With sessions and without, woken by any byte, by many, or now and then by nothing.
        let readers = 6
        for reader in 0..<readers { shared.run { try Self.read(topic, total, port: port, kind: reader) } }
        // Those who come and go in the middle of it.
        shared.run {
            for round in 0..<60 {
                let client = try TestClient(port: port)
                let from: Int64 = round % 2 == 0 ? 0 : 1 << 40
                try client.sendOnly(FetchRequest(topic, from: from, maxWaitMs: 60, minBytes: 1 << 20), version: 12)
                if round % 3 == 0 { _ = try client.receiveFrame() }
            }
        }
        for _ in 0..<Self.writers + readers + 1 { shared.done.wait() }
        #expect(shared.failures.withLock { $0 } == [])
        for index in 0..<Self.partitions {
            try test.waitForWaiters(0, of: try test.partition(topic, index))
        }
    }

    /// Reads until it has seen as many records as there will be. An append that wakes nobody would cost it 15 s.
    private static func read(_ topic: TestTopic, _ total: Int64, port: Int, kind: Int) throws {
        let client = try TestClient(port: port)
        let version: Int16 = kind % 2 == 0 ? 12 : 17
        var offsets = [Int64](repeating: 0, count: Int(Self.partitions))
        var (session, epoch): (Int32, Int32) = (0, 0)
        let usesSession = kind < 4
        var began = monotonicMs()
        while offsets.reduce(0, +) < total {
            var request = FetchRequest(session: session, epoch: usesSession ? epoch : -1, maxWaitMs: 15_000)
            if kind == 3 { (request.minBytes, request.maxWaitMs) = (2000, 50) }
            if kind == 5 { request.maxBytes = 500 }
            for index in 0..<Self.partitions { request.add(topic, index, from: offsets[Int(index)]) }
            let response = try client.send(request, version: version)
            guard response.errorCode == .none else { throw TestFailure("\(response.errorCode)") }
            (session, epoch) = usesSession ? (response.sessionID, epoch + 1) : (0, -1)
            for partition in response.partitions {
                guard partition.errorCode == .none else { throw TestFailure("\(partition.errorCode)") }
                for batch in try batches(in: partition.records) {
                    let index = Int(partition.partitionIndex)
                    guard batch.header.baseOffset == offsets[index] else {
                        throw TestFailure("offset \(batch.header.baseOffset) after \(offsets[index])")
                    }
                    offsets[index] = batch.header.lastOffset + 1
                }
            }
            let now = monotonicMs()
            guard now - began < 14_000 else { throw TestFailure("reader \(kind) slept \(now - began) ms") }
            began = now
        }
        guard offsets.reduce(0, +) == total else { throw TestFailure("\(offsets) of \(total)") }
    }
}
