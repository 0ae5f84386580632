import CBareLoops
import KafkaBroker
import KafkaCoordination
import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Synchronization

extension Comparison {
    func topics() {
        self.heading("Topic table", rows: ["topic"])
        for count in [10, 1000] {
            let names = (0..<count).map { Array("orders-of-customers-\($0 + 1000)".utf8) }
            let table = TopicTable(
                topics: names.enumerated().map { index, name in
                    TopicEntry(
                        name: String(decoding: name, as: UTF8.self), id: KafkaUUID(high: 1, low: UInt64(index)),
                        partitions: [])
                })
            let asked = names.map { name in
                let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: name.count, alignment: 1)
                copy.copyBytes(from: name)
                return UnsafeRawBufferPointer(copy)
            }
            let entries = table.topics
            self.row("topic by name, of \(count)", bare: "its index known: memcmp") { times in
                var index = 0
                for _ in 0..<times {
                    use(table.topic(named: asked[index]) == nil ? 0 : 1)
                    index = index + 1 == count ? 0 : index + 1
                }
            } bare: { times in
                var index = 0
                for _ in 0..<times {
                    entries[index].nameBytes.withUnsafeBytes {
                        use(Int(bare_same($0.baseAddress, asked[index].baseAddress, asked[index].count)))
                    }
                    index = index + 1 == count ? 0 : index + 1
                }
            }
            self.row("topic by id, of \(count)", bare: "its index known: compare") { times in
                var index = 0
                for _ in 0..<times {
                    use(table.topic(id: KafkaUUID(high: 1, low: UInt64(index))) == nil ? 0 : 1)
                    index = index + 1 == count ? 0 : index + 1
                }
            } bare: { times in
                var index = 0
                for _ in 0..<times {
                    use(entries[index].id == KafkaUUID(high: 1, low: UInt64(index)) ? 1 : 0)
                    index = index + 1 == count ? 0 : index + 1
                }
            }
        }
    }

    func coordination() {
        self.heading("Coordination", rows: ["heartbeat", "join", "offset commit", "timer"])
        self.heartbeats(groups: 1)
        self.heartbeats(groups: 1000)
        self.joins()
        self.timers()
    }

    private func heartbeats(groups: Int) {
        let title = "heartbeat, \(groups) groups"
        guard self.isWanted(title) else { return }
        let names = (0..<groups).map { "the-consumers-of-orders-\($0)" }
        let coordinator = Coordinator()
        let requests = names.map { name in
            var request = HeartbeatRequest()
            request.groupID = name
            (request.memberID, request.generationID) = coordinator.joinAndSync(name)
            return request
        }
        var members: [String: [String: Int64]] = [:]
        for request in requests { members[request.groupID] = [request.memberID: 0] }
        self.row(title, bare: "two look-ups of a String, one store") { times in
            for index in 0..<times {
                coordinator.perform(.heartbeat(requests[index % groups]), for: names[index % groups])
            }
            use(coordinator.answers)
        } bare: { times in
            for index in 0..<times {
                members[requests[index % groups].groupID]?[requests[index % groups].memberID] = Int64(index)
            }
        }
    }

    private func joins() {
        let coordinator = Coordinator()
        _ = coordinator.joinAndSync("orders")
        var members: [String: [UInt8]] = [:]
        self.row("join and sync, a group of one", bare: "a batch of one record, a table update") { times in
            for _ in 0..<times { _ = coordinator.joinAndSync("orders") }
            coordinator.log.clear()
        } bare: { times in
            var batches: [[UInt8]] = []
            for _ in 0..<times {
                var builder = RecordBatchBuilder()
                builder.append(timestamp: 0, key: Array("orders".utf8), value: text)
                batches.append(builder.build())
                members["orders"] = batches.last
            }
            use(batches.count + members.count)
        }
    }

    private var text: [UInt8] { [UInt8](repeating: 7, count: 200) }

    private func timers() {
        let count = 1000
        var heap = [bare_heap_entry](repeating: bare_heap_entry(), count: count + 1)
        var heapCount = 0
        var queue = TimerQueue<Int>()
        for index in 0..<count {
            queue.set(index, deadline: Int64(index * 7 % count))
            bare_heap_push(&heap, &heapCount, Int64(index * 7 % count), Int64(index))
        }
        var deadline = Int64(count)
        self.row("timer: first of 1,000 fires, is set anew", bare: "pop and push of a heap in C") { times in
            for _ in 0..<times {
                guard let key = queue.popFirst(now: .max) else { fatalError("no timer") }
                queue.set(key, deadline: deadline)
                deadline += 1
            }
        } bare: { times in
            heap.withUnsafeMutableBufferPointer { heap in
                for _ in 0..<times {
                    let key = bare_heap_pop(heap.baseAddress, &heapCount)
                    bare_heap_push(heap.baseAddress, &heapCount, deadline, key)
                    deadline += 1
                }
            }
        }
        var table = [Int: Int64](minimumCapacity: count)
        for index in 0..<count { table[index] = 0 }
        self.row("timer: one of 1,000 is moved", bare: "a store into a Dictionary") { times in
            for index in 0..<times {
                queue.set(index % count, deadline: deadline)
                deadline += 1
            }
        } bare: { times in
            for index in 0..<times { table[index % count] = Int64(index) }
        }
    }
}

/// A coordinator with one partition, on a log in memory.
private final class Coordinator {
    final class Log: CoordinatorLog {
        private let state = Mutex<(batches: [[UInt8]], end: Int64)>(([], 0))
        let maxBatchBytes = 1_048_588

        func append(_ batch: inout [UInt8], recordCount: Int, now: CoordinatorTime) -> CoordinatorAppendResult {
            self.state.withLock { state in
                let first = state.end
                state.batches.append(batch)
                state.end += Int64(recordCount)
                return .appended(CoordinatorAppend(firstOffset: first, endOffset: state.end, highWatermark: state.end))
            }
        }

        func clear() { self.state.withLock { $0.batches.removeAll() } }
    }

    private final class Answers: Sendable {
        let last = Mutex<GroupCoordinatorShard.Reply?>(nil)
        let count = Atomic<Int>(0)
    }

    let log = Log()
    private let coordinator: GroupCoordinator
    private let received = Answers()
    private let now: Int64 = 1

    init() {
        var config = GroupCoordinatorConfig()
        config.initialRebalanceDelayMs = 0
        self.coordinator = GroupCoordinator(config: config, partitions: 1)
        _ = self.coordinator.runtime.beginLoading(0, epoch: 0)
        self.coordinator.runtime.finishLoading(
            0, epoch: 0, shard: self.coordinator.makeLoader().shard, log: self.log, endOffset: 0, highWatermark: 0,
            now: CoordinatorTime(monotonicMs: 0, wallMs: 0))
    }

    var answers: Int { self.received.count.load(ordering: .relaxed) }

    func perform(_ request: GroupCoordinatorShard.Request, for group: String) {
        let time = CoordinatorTime(monotonicMs: self.now, wallMs: self.now)
        self.coordinator.perform(request, for: group, now: time) { [received = self.received] reply in
            received.count.add(1, ordering: .relaxed)
            if case .heartbeat(let response) = reply {
                if response.errorCode != .none { fatalError("\(response)") }
                return
            }
            received.last.withLock { $0 = reply }
        }
    }

    private func answer() -> GroupCoordinatorShard.Reply {
        guard let reply = self.received.last.withLock({ $0 }) else { fatalError("no answer") }
        return reply
    }

    private var members: [String: String] = [:]

    /// The member's id and generation. The first time a member is new, later it joins anew.
    func joinAndSync(_ group: String) -> (String, Int32) {
        var join = JoinGroupRequest()
        join.groupID = group
        join.memberID = self.members[group] ?? ""
        join.sessionTimeoutMs = 45_000
        join.rebalanceTimeoutMs = 60_000
        join.protocolType = "consumer"
        var range = JoinGroupRequest.RequestProtocol()
        range.name = "range"
        range.metadata = [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
        join.protocols = [range]
        let isNew = join.memberID.isEmpty
        let origin = RequestOrigin(
            apiVersion: isNew ? 3 : 9, clientID: "bench", clientHost: "/127.0.0.1",
            randomID: KafkaUUID(high: 1, low: UInt64(self.members.count)))
        self.perform(.joinGroup(join, origin), for: group)
        if isNew { self.coordinator.advance(now: CoordinatorTime(monotonicMs: self.now, wallMs: self.now)) }
        guard case .joinGroup(let joined) = self.answer(), joined.errorCode == .none else {
            fatalError("\(self.answer())")
        }
        self.members[group] = joined.memberID
        var sync = SyncGroupRequest()
        sync.groupID = group
        sync.memberID = joined.memberID
        sync.generationID = joined.generationID
        var assignment = SyncGroupRequest.Assignment()
        assignment.memberID = joined.memberID
        assignment.assignment = [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
        sync.assignments = [assignment]
        self.perform(.syncGroup(sync), for: group)
        guard case .syncGroup(let synced) = self.answer(), synced.errorCode == .none else {
            fatalError("\(self.answer())")
        }
        return (joined.memberID, joined.generationID)
    }
}
