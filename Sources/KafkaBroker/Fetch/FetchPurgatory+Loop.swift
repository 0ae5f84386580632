import KafkaLog
import KafkaPrimitives
import KafkaTransport
import NIOCore

// How a fetch waits on its event loop: parked, looked at again when a partition of it grows, answered when there is
// enough or its time is up.
extension LoopRequestHandler {
    /// A fetch that has nothing to give but what is being read from the disk waits for it so much longer than its
    /// max_wait says: Kafka's threads wait for the disk as long as it takes.
    private static let diskGrace = TimeAmount.seconds(5)

    /// Parks a fetch that has read less than it asks for; answers it at once after all when something came between its
    /// read and the moment from which it is woken.
    func park(
        _ operation: FetchOperation, unknownCount: Int, on connection: Connection, ticket: RequestTicket
    ) -> RequestOutcome {
        let deadline = NIODeadline.now() + .milliseconds(Int64(operation.parameters.maxWaitMs))
        let fetch = self.purgatory.park(operation, on: connection, ticket: ticket, deadline: deadline)
        self.watchAll(fetch)
        let look = fetch.operation.read(from: self.broker.replicaManager.table, into: &self.results)
        if fetch.operation.isEnough(look) || look.unknownCount != unknownCount {
            self.purgatory.remove(fetch, loop: self.loop.index)
            return .answered(self.answer(&fetch.operation, on: connection))
        }
        fetch.unknownCount = unknownCount
        self.remember(look, of: fetch)
        self.forgetResults()
        self.armTimer()
        return .pending(mayOverlap: false)
    }

    /// - Parameter target: which of the fetch's targets `partition` is.
    func lookAgain(at fetch: ParkedFetch, target: Int, wokenBy partition: Partition) {
        // The wake-up took this fetch from the partition's list. It goes back before the look, not after: what is
        // appended between the two wakes it again.
        partition.watch(FetchWaiter(loop: self.loop.index, fetch: fetch.id, target: target))
        guard self.mayBeEnough(fetch, afterNewsOf: target) else { return }
        let look = fetch.operation.read(from: self.broker.replicaManager.table, into: &self.results)
        if fetch.operation.isEnough(look) || look.unknownCount != fetch.unknownCount { return self.finish(fetch) }
        self.remember(look, of: fetch)
        self.forgetResults()
    }

    func timeIsUp(for fetch: ParkedFetch) {
        let look = fetch.operation.read(from: self.broker.replicaManager.table, into: &self.results)
        if look.isOnlyPending, !look.isUrgent, !self.isEnding, !fetch.hasGrace {
            // It is looked at again when the read is done, or now.
            fetch.hasGrace = true
            self.purgatory.extend(fetch, to: fetch.deadline + Self.diskGrace)
            return self.forgetResults()
        }
        self.finish(fetch)
    }

    /// The broker ends: whoever waits gets what there is, and nobody waits from now on.
    func endWaits() {
        self.isEnding = true
        for fetch in self.purgatory.all { self.timeIsUp(for: fetch) }
    }

    /// Looks at the one target that has grown, so that each append to one of many partitions does not cost a look at
    /// all of them. False: the fetch goes on waiting.
    private func mayBeEnough(_ fetch: ParkedFetch, afterNewsOf target: Int) -> Bool {
        guard target < fetch.available.count else { return true }
        let result = fetch.operation.read(target: target, from: self.broker.replicaManager.table)
        if result.isUrgent || result.isUnknown { return true }
        fetch.availableSum += result.available - fetch.available[target]
        fetch.available[target] = result.available
        return fetch.availableSum >= Int(fetch.operation.parameters.minBytes)
    }

    private func remember(_ look: FetchLook, of fetch: ParkedFetch) {
        guard fetch.operation.parameters.minBytes > 1, self.results.count > 1 else { return }
        fetch.available.removeAll(keepingCapacity: true)
        fetch.available.reserveCapacity(self.results.count)
        for result in self.results { fetch.available.append(result.available) }
        fetch.availableSum = look.available
    }

    private func finish(_ fetch: ParkedFetch) {
        self.purgatory.remove(fetch, loop: self.loop.index)
        fetch.connection.complete(fetch.ticket, self.answer(&fetch.operation, on: fetch.connection))
    }

    private func watchAll(_ fetch: ParkedFetch) {
        let table = self.broker.replicaManager.table
        let usesIDs = fetch.operation.parameters.usesTopicIDs
        fetch.watched.reserveCapacity(fetch.operation.targets.count)
        var lastTopic: FetchTopic?
        var entry: TopicEntry?
        for (index, target) in fetch.operation.targets.enumerated() {
            if lastTopic !== target.topic {
                lastTopic = target.topic
                entry = target.topic.entry(in: table, usesIDs: usesIDs)
            }
            guard let partition = entry?.partition(target.index) else { continue }
            partition.watch(FetchWaiter(loop: self.loop.index, fetch: fetch.id, target: index))
            fetch.watched.append((partition, index))
        }
    }

    /// The session gets back what the operation borrowed, without an answer having left.
    func giveBack(_ operation: inout FetchOperation) {
        if case .incremental(let session) = operation.session {
            session.end(targets: &operation.targets, results: [], nowMs: wallClockMs())
        }
    }

    /// What was read is not needed any more. It holds files open, and much memory after a fetch of many partitions.
    func forgetResults() { self.results.removeAll(keepingCapacity: self.results.count <= 1024) }
}
