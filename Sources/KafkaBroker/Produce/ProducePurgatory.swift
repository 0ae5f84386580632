import KafkaLog
import KafkaPrimitives
import KafkaTransport
import NIOCore

/// A Produce whose answer waits for partitions of it. The answer is written already, as it is when all goes well; what
/// comes out differently is patched into it.
final class ParkedProduce {
    struct Item {
        let log: PartitionLog
        /// Where its error code is in the answer; offsets follow.
        var errorCodeAt: Int
        var isDone = false
    }

    let id: UInt64
    let connection: Connection
    let ticket: RequestTicket
    let version: Int16
    /// nil: acks=0, nothing is answered.
    var answer: ByteBuffer?
    private(set) var items: [Item] = []
    private(set) var left = 0
    /// Until it is answered, its connection is read no further.
    var holdsUp = false

    init(id: UInt64, connection: Connection, ticket: RequestTicket, version: Int16) {
        self.id = id
        self.version = version
        self.connection = connection
        self.ticket = ticket
    }

    func add(_ log: PartitionLog, errorCodeAt position: Int) {
        self.items.append(Item(log: log, errorCodeAt: position))
        self.left += 1
    }

    /// Takes back the last one.
    func removeLast() {
        self.items.removeLast()
        self.left -= 1
    }

    /// The last one was queued: its place in the answer is known now.
    func placeLast(errorCodeAt position: Int) { self.items[self.items.count - 1].errorCodeAt = position }

    /// Patches what was not known when the answer was written.
    func isAppended(_ index: Int, _ info: AppendInfo, version: Int16) {
        guard index < self.items.count, !self.items[index].isDone, let start = self.answer?.readerIndex else { return }
        let at = start + self.items[index].errorCodeAt + 2
        self.answer?.setInteger(info.firstOffset, at: at)
        self.answer?.setInteger(info.logAppendTime, at: at + 8)
        if version >= 5 { self.answer?.setInteger(info.logStartOffset, at: at + 16) }
    }

    /// False: it was done before.
    func isDone(_ index: Int, _ error: ErrorCode) -> Bool {
        guard index < self.items.count, !self.items[index].isDone else { return false }
        self.items[index].isDone = true
        self.left -= 1
        if error != .none, let start = self.answer?.readerIndex {
            self.answer?.setInteger(error.rawValue, at: start + self.items[index].errorCodeAt)
        }
        return true
    }
}

/// The parked Produce requests of one event loop. None holds a thread or a timer of its own.
final class ProducePurgatory {
    private var requests: [UInt64: ParkedProduce] = [:]
    private var deadlines = DeadlineHeap()
    private var nextID: UInt64 = 1

    var count: Int { self.requests.count }

    /// To be parked, or not, when it is known who waits.
    func begin(on connection: Connection, ticket: RequestTicket, version: Int16) -> ParkedProduce {
        let request = ParkedProduce(id: self.nextID, connection: connection, ticket: ticket, version: version)
        self.nextID += 1
        return request
    }

    func park(_ request: ParkedProduce, deadline: NIODeadline) {
        self.requests[request.id] = request
        self.deadlines.insert(deadline, request.id)
    }

    func request(_ id: UInt64) -> ParkedProduce? { self.requests[id] }

    func remove(_ request: ParkedProduce) {
        self.requests.removeValue(forKey: request.id)
        self.deadlines.compact(keeping: self.requests.count) { self.requests[$0] != nil }
    }

    func nextDeadline() -> NIODeadline? {
        while let first = self.deadlines.first {
            if self.requests[first.id] != nil { return first.deadline }
            self.deadlines.removeFirst()
        }
        return nil
    }

    /// One whose time is up, or nil.
    func popDue(now: NIODeadline) -> ParkedProduce? {
        while let first = self.deadlines.first, first.deadline <= now {
            self.deadlines.removeFirst()
            if let request = self.requests[first.id] { return request }
        }
        return nil
    }
}

extension LoopRequestHandler {
    /// An append of this request that is not committed yet: its answer waits.
    /// - Parameter errorCodeAt: where the answer has, or will have, its error code.
    /// - Returns: an error that is known at once, or nil.
    func awaitCommit(
        of info: AppendInfo, in log: PartitionLog, _ parked: ParkedProduce, errorCodeAt position: Int
    ) -> ErrorCode? {
        // First there, then registered: the release may come from another thread at any moment, but is delivered when
        // this request is through.
        let waiter = AppendWaiter(loop: self.loop.index, request: parked.id, item: parked.items.count)
        parked.add(log, errorCodeAt: position)
        switch log.whenCommitted(info.lastOffset &+ 1, waiter) {
        case .waiting:
            return nil
        case .committed:
            parked.removeLast()
            return nil
        case .failed(let error):
            parked.removeLast()
            return error
        }
    }

    static func refusedWithoutAcks(_ code: ErrorCode) -> String { "Produce with acks=0 failed: \(code.name)" }

    /// - Parameter answer: nil with acks=0: nothing is answered, and who was refused is hung up on.
    func park(_ request: ParkedProduce, timeoutMs: Int32, answer: ByteBuffer?) -> RequestOutcome {
        request.answer = answer
        self.produces.park(request, deadline: .now() + .milliseconds(Int64(max(0, timeoutMs))))
        self.armTimer()
        return .pending(mayOverlap: !request.holdsUp)
    }

    /// An append that was queued is written, or refused.
    func appended(_ waiter: AppendWaiter, _ result: Result<AppendInfo, AppendError>) {
        guard let request = self.produces.request(waiter.request), waiter.item < request.items.count else { return }
        switch result {
        case .failure(let error):
            if case .storage(let number) = error,
                let partition = self.broker.replicaManager.partition(of: request.items[waiter.item].log)
            {
                self.broker.storageFailed(partition, errno: number)
            }
            self.released(waiter, error.code)
        case .success(let info):
            request.isAppended(waiter.item, info, version: request.version)
            if info.isCommitted || request.answer == nil { return self.released(waiter, .none) }
            switch request.items[waiter.item].log.whenCommitted(info.lastOffset &+ 1, waiter) {
            case .waiting: break
            case .committed: self.released(waiter, .none)
            case .failed(let code): self.released(waiter, code)
            }
        }
    }

    /// One partition of a parked Produce is through.
    func released(_ waiter: AppendWaiter, _ error: ErrorCode) {
        guard let request = self.produces.request(waiter.request), request.isDone(waiter.item, error) else { return }
        if error != .none, request.answer == nil {
            self.produces.remove(request)
            return request.connection.close(Self.refusedWithoutAcks(error))
        }
        if request.left == 0 { self.finish(request) }
    }

    /// Kafka's answer: what is still waited for has timed out. The records stay in the log.
    func timeIsUp(for request: ParkedProduce) {
        for index in request.items.indices where request.isDone(index, .requestTimedOut) {
            request.items[index].log.stopWaiting(
                AppendWaiter(loop: self.loop.index, request: request.id, item: index))
        }
        self.finish(request)
    }

    private func finish(_ request: ParkedProduce) {
        self.produces.remove(request)
        guard let answer = request.answer else { return request.connection.completeWithoutResponse(request.ticket) }
        request.connection.complete(request.ticket, ResponseParts(bytes: answer))
    }
}
