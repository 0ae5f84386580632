import Glibc
import KafkaLog
import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaBroker

/// Requests of every API in every version against a whole broker: as they are, cut short, and damaged. Whatever comes,
/// it ends with an answer that can be read, a closed connection or a held request, and other clients notice nothing.
///
/// OTTLA_FUZZ_REQUESTS says how many damaged requests are sent; OTTLA_FUZZ_SEED begins elsewhere.
@Suite(.serialized) struct HostileRequestTests {
    /// These may be held for as long as they ask; Produce may want no answer, and gets a closed connection for an error.
    private static let mayStaySilent: Set<Int16> = [
        ProduceRequest.apiKey, FetchRequest.apiKey, JoinGroupRequest.apiKey, SyncGroupRequest.apiKey,
    ]

    @Test func everyGoldenRequestIsAnswered() throws {
        let test = try TestBroker()
        try test.expectNormalWork("before")
        let requests = try goldenRequests()
        #expect(Set(requests.map(\.key)) == Set(ApiHandler.all.map(\.key)))
        #expect(requests.count > 400)
        for request in requests {
            let maySilent = Self.mayStaySilent.contains(request.key)
            let outcome = try test.outcome(of: request, withinMs: maySilent ? 30 : 20_000)
            if maySilent { continue }
            if case .answer = outcome { continue }
            Issue.record("\(request): \(outcome)")
        }
        try test.expectNormalWork("after")
    }

    @Test func everyRequestThatIsCutShortClosesItsConnection() throws {
        let test = try TestBroker()
        var generator = SeededGenerator(seed: 1)
        for request in try goldenRequests() where !request.bytes.isEmpty {
            let lengths = Set([0, request.bytes.count - 1] + (0..<3).map { _ in generator.below(request.bytes.count) })
            for length in lengths.sorted() {
                var cut = request
                cut.bytes = Array(request.bytes[..<length])
                let outcome = try test.outcome(of: cut)
                #expect(outcome == .closed, "\(request), \(length) of \(request.bytes.count) bytes")
            }
        }
        try test.expectNormalWork("after")
    }

    @Test func damagedRequestsHarmNobody() throws {
        let environment = getenv("OTTLA_FUZZ_REQUESTS").flatMap { Int(String(cString: $0)) }
        let seed = getenv("OTTLA_FUZZ_SEED").flatMap { UInt64(String(cString: $0)) } ?? 1
        let test = try TestBroker()
        try test.expectNormalWork("before")
        let live = try LiveRequests(test)
        let before = residentBytes()
        var fuzzer = Fuzzer(
            test, requests: try goldenRequests() + live.requests + live.requests, live: live, seed: seed)
        try fuzzer.run(environment ?? 20_000)
        print("\(fuzzer.answered) answered, \(fuzzer.closed) closed, \(fuzzer.silent) silent")
        // Otherwise the damage would be too coarse to reach far.
        #expect(fuzzer.answered > fuzzer.sent / 10)
        #expect(fuzzer.problems.isEmpty, "\(fuzzer.problems.prefix(10).joined(separator: "\n"))")
        try test.expectNormalWork("after")
        let grown = residentBytes() - before
        #expect(grown < 512 << 20, "resident memory grew by \(grown >> 20) MiB")
        try live.expectReadable()
        // What it all left behind can be started from.
        try test.restart()
        try test.expectNormalWork("restarted")
    }
}

/// Sends damaged requests over several connections at once, and does not wait for those that are held.
struct Fuzzer {
    private let test: TestBroker
    private let requests: [RequestBody]
    private let live: LiveRequests
    private var generator: SeededGenerator
    private var connections: [Slot] = []
    private(set) var sent = 0
    private(set) var answered = 0
    private(set) var closed = 0
    private(set) var silent = 0
    private(set) var problems: [String] = []

    private struct Slot {
        var connection: HostileConnection
        /// Sent, and not answered.
        var request: RequestBody?
        var isUntouchedHeader = true
        var sentMs: Int64 = 0
    }
    /// A request that is not answered by then is taken for held.
    private static let patienceMs: Int64 = 100

    init(_ test: TestBroker, requests: [RequestBody], live: LiveRequests, seed: UInt64) {
        self.test = test
        self.requests = requests
        self.live = live
        self.generator = SeededGenerator(seed: seed)
    }

    mutating func run(_ count: Int) throws {
        for _ in 0..<12 {
            self.connections.append(Slot(connection: try HostileConnection(port: self.test.broker.port)))
        }
        while self.sent < count {
            for index in self.connections.indices where self.connections[index].request == nil { self.send(on: index) }
            try self.collect()
        }
        for _ in 0..<20 { try self.collect() }
        self.connections = []
    }

    private mutating func send(on index: Int) {
        var request = self.requests[self.generator.below(self.requests.count)]
        var isUntouchedHeader = true
        if request.key == ProduceRequest.apiKey, self.generator.below(3) == 0 {
            // A CRC that fits lets damage reach beyond it.
            request = self.live.produceOfDamagedBatch(using: &self.generator)
        } else {
            mutate(&request.bytes, using: &self.generator)
        }
        var frame = request.frame(correlationID: Int32(truncatingIfNeeded: self.sent))
        switch self.generator.below(40) {
        case 0:
            // The header too, its length right.
            var body = Array(frame.dropFirst(4))
            mutate(&body, using: &self.generator)
            frame = withEncoded { $0.writeInt32(Int32(body.count)) } + body
            isUntouchedHeader = false
        case 1:
            mutate(&frame, using: &self.generator)
            isUntouchedHeader = false
        default: break
        }
        self.connections[index].connection.send(frame)
        self.connections[index].request = request
        self.connections[index].isUntouchedHeader = isUntouchedHeader
        self.connections[index].sentMs = wallClockMs()
        self.sent += 1
    }

    private mutating func collect() throws {
        var descriptors = self.connections.map { pollfd(fd: $0.connection.socket, events: Int16(POLLIN), revents: 0) }
        _ = poll(&descriptors, nfds_t(descriptors.count), 5)
        let now = wallClockMs()
        for (index, descriptor) in descriptors.enumerated() {
            guard let request = self.connections[index].request else { continue }
            if descriptor.revents == 0 {
                guard now - self.connections[index].sentMs > Self.patienceMs else { continue }
                self.silent += 1
                try self.replace(index)
                continue
            }
            switch self.connections[index].connection.receive(withinMs: 0) {
            case .answer(let bytes):
                self.answered += 1
                if self.connections[index].isUntouchedHeader {
                    let id = bytes.withUnsafeBytes { Int32(bigEndian: $0.loadUnaligned(as: Int32.self)) }
                    if let problem = request.problem(ofAnswer: bytes, correlationID: id) {
                        self.problems.append("\(request): \(problem)")
                    }
                }
                self.connections[index].request = nil
            case .closed, .silence:
                self.closed += 1
                try self.replace(index)
            }
        }
    }

    private mutating func replace(_ index: Int) throws {
        self.connections[index] = Slot(connection: try HostileConnection(port: self.test.broker.port))
    }
}
