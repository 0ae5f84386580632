import Glibc
import KafkaLog
import KafkaMessages
import KafkaPrimitives
import KafkaRecords

@testable import KafkaBroker

/// A connection that may send anything, and is ready for anything to come of it.
final class HostileConnection {
    enum Outcome: Equatable {
        case answer([UInt8])
        case closed
        /// Nothing came in time: the request is held, or the broker waits for the rest of it.
        case silence
    }

    let socket: CInt
    private(set) var isOpen = true

    init(port: Int) throws {
        self.socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port).bigEndian)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var timeout = timeval(tv_sec: 20, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(self.socket, SOL_SOCKET, option, &timeout, socklen_t(MemoryLayout<timeval>.size))
        }
        let code = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(self.socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard code == 0 else { throw TestFailure("connect: \(errno)") }
    }

    deinit { Glibc.close(self.socket) }

    /// Sends as much as the broker takes: it may hang up in the middle.
    func send(_ bytes: [UInt8]) {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.send(self.socket, $0.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            sent += count
        }
    }

    func receive(withinMs timeout: Int32) -> Outcome {
        var descriptor = pollfd(fd: self.socket, events: Int16(POLLIN), revents: 0)
        guard poll(&descriptor, 1, timeout) > 0 else { return .silence }
        guard let length = self.read(4) else { return self.hangUp() }
        let count = length.reduce(0) { $0 << 8 | Int($1) }
        guard count < 1 << 30, let bytes = self.read(count) else { return self.hangUp() }
        return .answer(bytes)
    }

    private func hangUp() -> Outcome {
        self.isOpen = false
        return .closed
    }

    private func read(_ count: Int) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        var got = 0
        while got < count {
            let more = bytes.withUnsafeMutableBytes { recv(self.socket, $0.baseAddress! + got, count - got, 0) }
            guard more > 0 else { return nil }
            got += more
        }
        return bytes
    }
}

extension TestBroker {
    /// What one sender of nonsense gets for a request, on a connection of its own.
    func outcome(of request: RequestBody, withinMs timeout: Int32 = 20_000) throws -> HostileConnection.Outcome {
        let connection = try HostileConnection(port: self.broker.port)
        connection.send(request.frame(correlationID: 7))
        let outcome = connection.receive(withinMs: timeout)
        if case .answer(let bytes) = outcome, let problem = request.problem(ofAnswer: bytes, correlationID: 7) {
            throw TestFailure("\(request): \(problem)")
        }
        return outcome
    }

    /// The others notice nothing: makes a topic, writes, reads, commits, and deletes it, each answered without error.
    func expectNormalWork(_ name: String) throws {
        let client = try self.client()
        func check(_ step: String, _ code: ErrorCode) throws {
            if code != .none { throw TestFailure("normal work, \(name), \(step): \(code.name)") }
        }
        var create = CreateTopicsRequest()
        create.topics = [.init(name, partitions: 2)]
        try check("create", try client.send(create, version: 7).topics[0].errorCode)

        var partition = ProduceRequest.PartitionProduceData()
        partition.index = 1
        var builder = RecordBatchBuilder()
        builder.append(timestamp: wallClockMs(), key: [1], value: Array("hello".utf8))
        partition.records = builder.build()
        var topic = ProduceRequest.TopicProduceData()
        topic.name = name
        topic.partitionData = [partition]
        var produce = ProduceRequest()
        produce.acks = -1
        produce.topicData = [topic]
        let produced = try client.send(produce, version: 9).responses[0].partitionResponses[0]
        try check("produce", produced.errorCode)

        var wanted = FetchRequest.Partition()
        wanted.partition = 1
        wanted.partitionMaxBytes = 1 << 20
        var from = FetchRequest.Topic()
        from.topic = name
        from.partitions = [wanted]
        var fetch = FetchRequest()
        fetch.minBytes = 1
        fetch.maxWaitMs = 1000
        fetch.topics = [from]
        let fetched = try client.send(fetch, version: 12).responses[0].partitions[0]
        try check("fetch", fetched.errorCode)
        guard fetched.records?.isEmpty == false else { throw TestFailure("normal work, \(name): nothing to read") }

        var find = FindCoordinatorRequest()
        find.coordinatorKeys = [name]
        var committed = OffsetCommitRequest.Partition()
        committed.partitionIndex = 1
        committed.committedOffset = 1
        var commitTopic = OffsetCommitRequest.Topic()
        commitTopic.name = name
        commitTopic.partitions = [committed]
        var commit = OffsetCommitRequest()
        commit.groupID = name
        commit.topics = [commitTopic]
        // The coordinator may still be loading.
        for attempt in 0... {
            try check("coordinator", try client.send(find, version: 6).coordinators[0].errorCode)
            let code = try client.send(commit, version: 8).topics[0].partitions[0].errorCode
            if code == .none { break }
            if attempt == 200 { try check("commit", code) }
            usleep(10_000)
        }
        var delete = DeleteTopicsRequest()
        delete.topicNames = [name]
        try check("delete", try client.send(delete, version: 5).responses[0].errorCode)
    }
}

/// Resident memory of this process, bytes.
func residentBytes() -> Int {
    guard let file = fopen("/proc/self/statm", "r") else { return 0 }
    defer { fclose(file) }
    var (size, resident) = (0, 0)
    withUnsafeMutablePointer(to: &size) { size in
        withUnsafeMutablePointer(to: &resident) { resident in
            _ = withVaList([size, resident]) { vfscanf(file, "%ld %ld", $0) }
        }
    }
    return resident * Int(getpagesize())
}
