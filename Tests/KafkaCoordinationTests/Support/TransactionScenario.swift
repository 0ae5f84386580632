import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Synchronization

@testable import KafkaCoordination

/// A transaction coordinator with one partition on a log in memory and a clock that the scenario moves. Its markers are
/// written by the scenario, its producer ids count from 1000. What a scenario may say is in testdata/README.md.
final class TransactionScenario {
    typealias Shard = TransactionCoordinatorShard

    var config = TransactionCoordinatorConfig()
    var log = InMemoryLog()
    var now = CoordinatorTime(monotonicMs: 0, wallMs: 1_000_000)
    private var started: TransactionCoordinator?
    private var epoch: Int32 = 0
    private var logSeen: Int64 = 0
    private var shown: [String: String] = [:]
    private let world = World()

    /// What is outside of the coordinator.
    private final class World: Sendable {
        struct State {
            var lines: [String] = []
            var nextProducerID: Int64 = 1000
            var producerIDError: ErrorCode?
            var holdsMarkers = false
            var held: [(TransactionMarkers, Int32)] = []
            /// What becomes of a marker, by `topic-partition`.
            var markerErrors: [String: ErrorCode] = [:]
        }
        let state = Mutex(State())

        func print(_ line: String) { self.state.withLock { $0.lines.append(line) } }
    }

    var coordinator: TransactionCoordinator {
        get throws {
            if let started { return started }
            return try self.start()
        }
    }

    private func start() throws -> TransactionCoordinator {
        let box = CoordinatorBox()
        let world = self.world
        let now = self.now
        let coordinator = TransactionCoordinator(config: self.config, partitions: 1) { note in
            world.print("note \(note)")
        } carryOut: { work, _, epoch in
            guard let coordinator = box.coordinator.withLock({ $0 }) else { return }
            switch work {
            case .allocateProducerID(let ticket):
                let result = world.state.withLock { state -> Result<Int64, ErrorCode> in
                    if let error = state.producerIDError { return .failure(error) }
                    defer { state.nextProducerID += 1 }
                    return .success(state.nextProducerID)
                }
                coordinator.workDone(
                    .producerID(ticket, result), on: 0, epoch: epoch, now: box.now.withLock { $0 } ?? now)
            case .writeMarkers(let markers):
                let isHeld = world.state.withLock { state in
                    if state.holdsMarkers { state.held.append((markers, epoch)) }
                    return state.holdsMarkers
                }
                let version = markers.transactionVersion
                world.print(
                    "markers \(markers.transactionalID) \(markers.isCommit ? "COMMIT" : "ABORT")"
                        + " producer=\(describe(markers.producer)) by=\(epoch) v=\(version)"
                        + " [\(describe(markers.partitions))]" + (isHeld ? " held" : ""))
                if !isHeld { Self.write(markers, epoch, world, coordinator, box.now.withLock { $0 } ?? now) }
            }
        }
        box.coordinator.withLock { $0 = coordinator }
        self.box = box
        self.started = coordinator
        _ = coordinator.runtime.beginLoading(0, epoch: self.epoch)
        var loader = coordinator.makeLoader()
        let bytes = self.log.bytes
        let scratch = DecompressionScratch()
        _ = bytes.withUnsafeBytes { loader.replay($0, scratch: scratch) }
        for fault in loader.faults { world.print("fault at \(fault.offset): \(fault.description)") }
        box.now.withLock { $0 = self.now }
        coordinator.runtime.finishLoading(
            0, epoch: self.epoch, shard: loader.shard, log: self.log, endOffset: self.log.endOffset,
            highWatermark: self.log.highWatermark, now: self.now)
        return coordinator
    }

    private final class CoordinatorBox: Sendable {
        let coordinator = Mutex<TransactionCoordinator?>(nil)
        let now = Mutex<CoordinatorTime?>(nil)
    }
    private var box = CoordinatorBox()

    private static func write(
        _ markers: TransactionMarkers, _ epoch: Int32, _ world: World, _ coordinator: TransactionCoordinator,
        _ now: CoordinatorTime
    ) {
        let failures = world.state.withLock { state in
            markers.partitions.topics.flatMap { topic in
                topic.partitions.compactMap { partition in
                    state.markerErrors["\(topic.name)-\(partition)"].map {
                        TransactionMarkersOutcome.Failure(topic: topic.name, partition: partition, error: $0)
                    }
                }
            }
        }
        coordinator.workDone(
            .markersWritten(
                TransactionMarkersOutcome(
                    transactionalID: markers.transactionalID, producer: markers.producer, failures: failures)),
            on: 0, epoch: epoch, now: now)
    }

    // MARK: Commands

    func run(_ command: DataDriven.Command) throws -> [String] {
        let id = command.arguments.first ?? ""
        let client = command.options["client"] ?? "client"
        self.box.now.withLock { $0 = self.now }
        switch command.name {
        case "config":
            for key in command.options.keys.sorted() { try self.configure(key, try command.int(key) ?? 0) }
        case "init":
            var request = Shard.InitProducerID(
                transactionalID: id == "''" ? "" : id, timeoutMs: Int32(try command.int("timeout") ?? 60_000),
                expected: try self.producer(command, "expected"))
            request.isTwoPhase = command.options["2pc"] != nil
            request.keepsPreparedTransaction = command.options["keep"] != nil
            try self.perform(.initProducerID(request), client)
        case "add", "verify":
            let request = Shard.AddPartitions(
                transactionalID: id == "''" ? "" : id, producer: try self.producer(command, "producer") ?? .none,
                partitions: self.partitions(command.arguments.dropFirst()), isVerification: command.name == "verify",
                clientVersion: Int16(try command.int("v") ?? 1))
            try self.perform(.addPartitions(request), client)
        case "commit", "abort":
            let request = Shard.EndTransaction(
                transactionalID: id == "''" ? "" : id, producer: try self.producer(command, "producer") ?? .none,
                isCommit: command.name == "commit", clientVersion: Int16(try command.int("v") ?? 1))
            try self.perform(.endTransaction(request), client)
        case "describe":
            try self.perform(.describe(id), client)
        case "list":
            var filter = Shard.ListFilter()
            filter.states = Set(
                (command.options["states"] ?? "").split(separator: ",").compactMap {
                    TransactionState(name: String($0))
                })
            filter.producerIDs = Set(
                (command.options["producers"] ?? "").split(separator: ",").compactMap { Int64($0) })
            filter.durationMs = try command.int("duration") ?? -1
            if let prefix = command.options["prefix"] { filter.matches = { $0.hasPrefix(prefix) } }
            try self.perform(.list(filter), client)
        case "transaction-version":
            try self.perform(.useTransactionVersion(Int16(id) ?? 0), client)
        case "hold-markers":
            self.world.state.withLock { $0.holdsMarkers = true }
        case "release-markers":
            let held = self.world.state.withLock { state in
                defer { state.held = [] }
                state.holdsMarkers = false
                return state.held
            }
            let coordinator = try self.coordinator
            for (markers, epoch) in held { Self.write(markers, epoch, self.world, coordinator, self.now) }
        case "lose-markers":
            self.world.state.withLock { $0.held = [] }
            self.world.state.withLock { $0.holdsMarkers = false }
        case "fail-markers":
            let error = ErrorCode.named(command.options["error"] ?? "")
            self.world.state.withLock { state in for name in command.arguments { state.markerErrors[name] = error } }
        case "heal-markers":
            self.world.state.withLock { $0.markerErrors = [:] }
        case "fail-producer-ids":
            self.world.state.withLock { $0.producerIDError = id.isEmpty ? nil : ErrorCode.named(id) }
        case "advance":
            let target = self.now.monotonicMs + (Int64(id) ?? 0)
            while self.now.monotonicMs < target {
                let next = min(
                    target, max(try self.coordinator.runtime.nextDeadline ?? target, self.now.monotonicMs + 1))
                self.now.wallMs += next - self.now.monotonicMs
                self.now.monotonicMs = next
                self.box.now.withLock { $0 = self.now }
                let before = self.world.state.withLock { $0.lines.count }
                try self.coordinator.advance(now: self.now)
                let isQuiet = self.world.state.withLock { $0.lines.count } == before
                if !isQuiet || self.logSeen != self.log.endOffset {
                    let line = "at \(self.now.monotonicMs) ms:"
                    self.world.state.withLock { $0.lines.insert(line, at: before) }
                }
                try self.showLog()
            }
        case "hold-high-watermark": self.log.state.withLock { $0.holdsHighWatermark = true }
        case "high-watermark":
            let end = self.log.state.withLock { state in
                state.highWatermark = Int64(id) ?? state.endOffset
                if id.isEmpty { state.holdsHighWatermark = false }
                return state.highWatermark
            }
            try self.coordinator.runtime.highWatermarkAdvanced(0, to: end, now: self.now)
        case "fail-next-append": self.log.state.withLock { $0.nextError = ErrorCode.named(id) }
        case "restart":
            self.started?.runtime.unload(0)
            self.started = nil
            self.shown = [:]
            self.epoch += 1
            _ = try self.coordinator
        case "unload": try self.coordinator.runtime.unload(0)
        case "begin-loading": _ = try self.coordinator.runtime.beginLoading(0, epoch: self.epoch + 1)
        case "timers":
            for line in try self.coordinator.runtime.timers(of: 0) { self.world.print(line) }
        case "record":
            try self.record(id, command)
        default: throw DataDriven.Mismatch(description: "unknown command \(command.name)")
        }
        try self.showLog()
        self.showTransactions()
        return self.world.state.withLock { state in
            defer { state.lines = [] }
            return state.lines
        }
    }

    /// A record that another coordinator has left.
    private func record(_ id: String, _ command: DataDriven.Command) throws {
        var record: CoordinatorRecord
        if let bytes = command.options["bytes"] {
            record = CoordinatorRecord(key: [0, 0, 0, 1, 120], value: Array(bytes.utf8))
        } else {
            let producer = try self.producer(command, "producer") ?? .none
            var metadata = TransactionMetadata(
                producerID: producer.id, producerEpoch: producer.epoch,
                timeoutMs: Int32(try command.int("timeout") ?? 60_000), lastUpdateMs: self.now.wallMs)
            metadata.state = TransactionState(name: command.options["state"] ?? "Empty") ?? .empty
            metadata.startMs = self.now.wallMs
            metadata.partitions = self.partitions(command.arguments.dropFirst())
            metadata.clientTransactionVersion = Int16(try command.int("v") ?? 1)
            metadata.nextProducerID = try command.int("next") ?? -1
            record = TransactionRecords.transaction(id, metadata, version: 1)
        }
        var builder = RecordBatchBuilder()
        builder.append(timestamp: 0, key: record.key, value: record.value)
        var batch = builder.build()
        _ = self.log.append(&batch, recordCount: 1, now: self.now)
    }

    private func configure(_ key: String, _ value: Int64) throws {
        switch key {
        case "transaction.max.timeout.ms": self.config.maxTimeoutMs = Int32(value)
        case "transactional.id.expiration.ms": self.config.idExpirationMs = value
        case "transaction.abort.timed.out.transaction.cleanup.interval.ms": self.config.abortIntervalMs = value
        case "transaction.remove.expired.transaction.cleanup.interval.ms":
            self.config.removeExpiredIntervalMs = value
        case "transaction.two.phase.commit.enable": self.config.isTwoPhaseCommitEnabled = value != 0
        case "transaction.version": self.config.transactionVersion = Int16(value)
        case "max-expired-ids-a-pass": self.config.maxExpiredIDsAPass = Int(value)
        case "max-batch-bytes": self.log = InMemoryLog(maxBatchBytes: Int(value))
        default: throw DataDriven.Mismatch(description: "unknown setting \(key)")
        }
    }

    private func perform(_ request: Shard.Request, _ client: String) throws {
        try self.coordinator.perform(request, on: 0, now: self.now) { [world] reply in
            for line in describe(reply) { world.print("\(client) <- \(line)") }
        }
    }

    // MARK: Words

    /// `1000/3`: id and epoch.
    private func producer(_ command: DataDriven.Command, _ key: String) throws -> ProducerIdentity? {
        guard let text = command.options[key] else { return nil }
        let parts = text.split(separator: "/").map(String.init)
        guard parts.count == 2, let id = Int64(parts[0]), let epoch = Int16(parts[1]) else {
            throw DataDriven.Mismatch(description: "\(key)=\(text) is no producer")
        }
        return ProducerIdentity(id: id, epoch: epoch)
    }

    /// `t-0 t-1 u-0`.
    private func partitions(_ words: ArraySlice<String>) -> TransactionPartitions {
        var partitions = TransactionPartitions()
        for word in words {
            let parts = word.split(separator: "-").map(String.init)
            partitions.insert(parts[0], parts.count > 1 ? Int32(parts[1]) ?? 0 : 0)
        }
        return partitions
    }

    private func showLog() throws {
        for record in try self.log.records(from: self.logSeen) {
            let parsed = TransactionRecords.parse(CoordinatorRecord(key: record.key ?? [], value: record.value))
            self.world.print("log " + describe(parsed))
        }
        self.logSeen = self.log.endOffset
    }

    private func showTransactions() {
        guard let shard = try? self.coordinator.runtime.withShard(0, { $0 }) else { return }
        for (id, metadata) in shard.transactions.sorted(by: { $0.key < $1.key }) {
            let text = "=> \(id) \(metadata.state.name) producer=\(describe(metadata.producer))"
            if self.shown.updateValue(text, forKey: id) != text { self.world.print(text) }
        }
        for id in self.shown.keys.sorted() where shard.transactions[id] == nil {
            self.shown[id] = nil
            self.world.print("=> \(id) Dead")
        }
    }
}

private func describe(_ producer: ProducerIdentity) -> String { "\(producer.id)/\(producer.epoch)" }

private func describe(_ partitions: TransactionPartitions) -> String {
    partitions.topics.flatMap { topic in topic.partitions.map { "\(topic.name)-\($0)" } }.joined(separator: ", ")
}

private func describe(_ parsed: TransactionRecords.Parsed) -> String {
    switch parsed {
    case .transaction(let id, nil): return "\(id) tombstone"
    case .transaction(let id, let metadata?):
        var text = "\(id) \(metadata.state.name) producer=\(describe(metadata.producer))"
        if metadata.nextProducerID >= 0 { text += " next=\(metadata.nextProducerID)" }
        if metadata.previousProducerID >= 0 { text += " previous=\(metadata.previousProducerID)" }
        if !metadata.partitions.isEmpty { text += " [\(describe(metadata.partitions))]" }
        return text
    case .other(let type): return "other kind \(type)"
    case .malformed(let error): return "malformed: \(error)"
    }
}

private func describe(_ reply: TransactionCoordinatorShard.Reply) -> [String] {
    switch reply {
    case .producer(let error, let producer):
        ["InitProducerId \(error.name)" + (error == .none ? " producer=\(describe(producer))" : "")]
    case .partitionsAdded(let error): ["AddPartitionsToTxn \(error.name)"]
    case .partitionsVerified(let error, let partitions):
        ["AddPartitionsToTxn \(error.name)" + (error == .none ? " verified=[\(describe(partitions))]" : "")]
    case .ended(let error, let producer):
        ["EndTxn \(error.name)" + (error == .none ? " producer=\(describe(producer))" : "")]
    case .described(let state):
        if state.errorCode != .none {
            ["DescribeTransactions \(state.transactionalID) \(state.errorCode.name)"]
        } else {
            [
                "DescribeTransactions \(state.transactionalID) \(state.transactionState)"
                    + " producer=\(state.producerID)/\(state.producerEpoch) timeout=\(state.transactionTimeoutMs)"
                    + " start=\(state.transactionStartTimeMs)"
                    + " [\(state.topics.map { "\($0.topic):\($0.partitions)" }.joined(separator: ", "))]"
            ]
        }
    case .listed(let error, let states):
        error != .none
            ? ["ListTransactions \(error.name)"]
            : ["ListTransactions"]
                + states.sorted { $0.transactionalID < $1.transactionalID }.map {
                    "  \($0.transactionalID) \($0.transactionState) producer=\($0.producerID)"
                }
    case .usesTransactionVersion(let error): ["transaction.version \(error.name)"]
    }
}
