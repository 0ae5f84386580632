import KafkaLog
import KafkaMessages
import KafkaPrimitives
import KafkaTransport
import NIOCore

// Fetch 4-18. Version 4 brought read_committed, 5 the log's start offset, 7 sessions (KIP-227), 9 the leader epoch,
// 11 racks (KIP-392), 12 is flexible and has the last fetched epoch (KIP-595), 13 names topics by id (KIP-516),
// 15 moved the replica id into a tagged field, 16 tells the new leader (KIP-951), 17 and 18 are about followers.
extension ApiHandler {
    static let fetch = ApiHandler.raw(FetchRequest.self, versions: 4...18, advertised: 4...18, .fetch)
}

extension LoopRequestHandler {
    func fetch(
        _ frame: UnsafeRawBufferPointer, bodyAt position: Int, version: Int16, correlationID: Int32,
        on connection: Connection, ticket: RequestTicket
    ) throws(DecodingError) -> RequestOutcome {
        var walker = try FetchRequestWalker(frame, from: position, version: version)
        let table = self.broker.replicaManager.table
        guard walker.partitionCount <= table.maxPartitionsOfRequest else {
            return .close("Fetch of \(walker.partitionCount) partitions, of which there are \(table.partitionCount)")
        }
        let maxBytes = min(walker.maxBytes, self.broker.fetchMaxBytes)
        let parameters = FetchParameters(
            version: version, correlationID: correlationID, replicaID: walker.replicaID, maxWaitMs: walker.maxWaitMs,
            minBytes: min(walker.minBytes, maxBytes), maxBytes: maxBytes,
            isReadCommitted: walker.isolationLevel == 1)
        switch self.open(&walker, parameters) {
        case .success(var operation):
            let look = operation.read(from: table, into: &self.results)
            let maySleep =
                (parameters.maxWaitMs > 0 || look.isOnlyPending) && !self.isEnding
                && look.unknownCount < operation.targets.count
            if operation.isEnough(look) || !maySleep {
                return .answered(self.answer(&operation, on: connection))
            }
            return self.park(operation, unknownCount: look.unknownCount, on: connection, ticket: ticket)
        case .failure(let error):
            return .answered(ResponseParts(bytes: self.sessionFailure(error.code, parameters)))
        }
    }

    /// From the request to what is read: its own partitions, or those of its session (KIP-227).
    private func open(
        _ walker: inout FetchRequestWalker, _ parameters: FetchParameters
    ) -> Result<FetchOperation, SessionError> {
        let asked = self.targets(&walker)
        let cache = self.broker.fetchSessions
        let isFinal = walker.sessionEpoch == -1
        if isFinal || walker.sessionEpoch == 0 {
            if walker.sessionID != 0 { cache.remove(walker.sessionID) }
            return .success(
                FetchOperation(parameters: parameters, targets: asked, session: isFinal ? .sessionless : .full))
        }
        guard let session = cache.session(walker.sessionID) else {
            return .failure(SessionError(.fetchSessionIDNotFound))
        }
        let before = session.size
        let begun = session.begin(
            epoch: walker.sessionEpoch, usesTopicIDs: parameters.usesTopicIDs, changed: asked,
            forgotten: self.forgotten(walker.forgottenTopics), nowMs: wallClockMs())
        switch begun {
        case .failure(let error):
            return .failure(error)
        case .success(let targets):
            if targets.isEmpty {
                // Nothing is left in it: the session is over.
                cache.remove(session.id)
                return .success(FetchOperation(parameters: parameters, targets: [], session: .sessionless))
            }
            // Nor may a session grow, request by request, beyond what one may ask for.
            if targets.count > self.broker.replicaManager.table.maxPartitionsOfRequest { cache.remove(session.id) }
            guard targets.count == before || cache.resized(session, to: targets.count) else {
                return .failure(SessionError(.fetchSessionIDNotFound))
            }
            return .success(FetchOperation(parameters: parameters, targets: targets, session: .incremental(session)))
        }
    }

    private func targets(_ walker: inout FetchRequestWalker) -> [FetchTarget] {
        var targets: [FetchTarget] = []
        targets.reserveCapacity(walker.partitionCount)
        var topic = FetchTopic(name: [], id: .zero)
        while let event = walker.next() {
            switch event {
            case .topic(let asked):
                topic = FetchTopic(name: Array(asked.name), id: asked.id)
            case .partition(let asked):
                targets.append(
                    FetchTarget(
                        topic: topic, index: asked.partition, currentLeaderEpoch: asked.currentLeaderEpoch,
                        fetchOffset: asked.fetchOffset, lastFetchedEpoch: asked.lastFetchedEpoch,
                        maxBytes: asked.partitionMaxBytes))
            }
        }
        return targets
    }

    private func forgotten(_ topics: ForgottenTopicsWalker) -> [(topic: FetchTopic, index: Int32)] {
        var walker = topics
        var all: [(topic: FetchTopic, index: Int32)] = []
        var topic = FetchTopic(name: [], id: .zero)
        while let event = walker.next() {
            switch event {
            case .topic(let name, let id): topic = FetchTopic(name: Array(name), id: id)
            case .partition(let index): all.append((topic, index))
            }
        }
        return all
    }

    private func sessionFailure(_ code: ErrorCode, _ parameters: FetchParameters) -> ByteBuffer {
        self.output.begin(
            correlationID: parameters.correlationID, headerVersion: parameters.version >= 12 ? 1 : 0)
        var writer = FetchResponseWriter(
            into: self.output, version: parameters.version, throttleTimeMs: 0, errorCode: code, sessionID: 0,
            topicCount: 0)
        writer.finish()
        return self.takeOutput()
    }

    // MARK: The answer

    /// The answer to what `self.results` holds for the operation's targets; its session gets them back.
    func answer(_ operation: inout FetchOperation, on connection: Connection) -> ResponseParts {
        let parameters = operation.parameters
        defer { self.forgetResults() }
        switch operation.session {
        case .sessionless:
            return self.write(operation.targets, parameters, sessionID: 0, on: connection)
        case .full:
            remember(self.results, in: &operation.targets)
            let session = self.broker.fetchSessions.create(
                targets: operation.targets, usesTopicIDs: parameters.usesTopicIDs, nowMs: wallClockMs())
            return self.write(operation.targets, parameters, sessionID: session?.id ?? 0, on: connection)
        case .incremental(let session):
            keepNews(&self.results, told: operation.targets)
            remember(self.results, in: &operation.targets)
            let parts = self.write(operation.targets, parameters, sessionID: session.id, on: connection)
            session.end(targets: &operation.targets, results: self.results, nowMs: wallClockMs())
            return parts
        }
    }

    private func write(
        _ targets: [FetchTarget], _ parameters: FetchParameters, sessionID: Int32, on connection: Connection
    ) -> ResponseParts {
        // Neighbours of one topic are written under one heading.
        var groups = 0
        var last: FetchTopic?
        for (target, result) in zip(targets, self.results) where result.isIncluded {
            if last !== target.topic { groups += 1 }
            last = target.topic
        }
        self.output.begin(
            correlationID: parameters.correlationID, headerVersion: parameters.version >= 12 ? 1 : 0)
        var writer = FetchResponseWriter(
            into: self.output, version: parameters.version, throttleTimeMs: 0, errorCode: .none, sessionID: sessionID,
            topicCount: groups)
        var files: [(atByte: Int, part: FilePart)] = []
        var namesLeader = false
        var at = 0
        while at < targets.count {
            guard self.results[at].isIncluded else {
                at += 1
                continue
            }
            let topic = targets[at].topic
            var (end, count) = (at, 0)
            while end < targets.count, !self.results[end].isIncluded || targets[end].topic === topic {
                if self.results[end].isIncluded { count += 1 }
                end += 1
            }
            topic.name.withUnsafeBytes { writer.topic(name: $0, id: topic.id, partitionCount: count) }
            for index in at..<end where self.results[index].isIncluded {
                let result = self.results[index]
                var answer = partitionAnswer(to: targets[index], result, parameters)
                if result.leaderEpoch >= 0, parameters.version >= 16 {
                    // KIP-951: who has another leader in mind is told the right one, and where it is.
                    (answer.leaderID, answer.leaderEpoch) = (self.broker.nodeID, result.leaderEpoch)
                    namesLeader = true
                }
                let position = writer.partition(answer, recordsSize: result.bytes)
                if let slice = result.slice, slice.length > 0 {
                    files.append(
                        (
                            atByte: position,
                            part: FilePart(
                                fd: slice.file.fd, position: slice.position, length: slice.length, owner: slice.file)
                        ))
                }
            }
            at = end
        }
        writer.finish(nodeEndpoints: namesLeader ? [self.ownEndpoint(for: connection)] : [])
        return ResponseParts(bytes: self.takeOutput(), files: files)
    }

    private func ownEndpoint(for connection: Connection) -> FetchResponse.NodeEndpoint {
        let endpoint = self.broker.endpoint(for: connection)
        var answer = FetchResponse.NodeEndpoint()
        answer.nodeID = self.broker.nodeID
        answer.host = endpoint.host
        answer.port = endpoint.port
        answer.rack = self.broker.config.rack
        return answer
    }
}

private func partitionAnswer(
    to target: FetchTarget, _ result: FetchResult, _ parameters: FetchParameters
) -> FetchResponseWriter.Partition {
    var answer = FetchResponseWriter.Partition(
        partitionIndex: target.index, errorCode: result.error, highWatermark: result.highWatermark)
    answer.lastStableOffset = result.lastStableOffset
    answer.logStartOffset = result.logStartOffset
    // Clients of those days do not know the code, and would not try again.
    if result.error == .kafkaStorageError, parameters.version <= 5 { answer.errorCode = .notLeaderOrFollower }
    // A reader of committed records expects a list, if an empty one.
    if parameters.isReadCommitted, result.error == .none {
        answer.abortedTransactions = result.aborted.map {
            var aborted = FetchResponse.AbortedTransaction()
            (aborted.producerID, aborted.firstOffset) = ($0.producerID, $0.firstOffset)
            return aborted
        }
    }
    if let diverging = result.diverging {
        answer.divergingEpoch = diverging.epoch
        answer.divergingEndOffset = diverging.endOffset
    }
    return answer
}

/// Leaves out of an incremental answer what its client knows already.
private func keepNews(_ results: inout [FetchResult], told targets: [FetchTarget]) {
    for index in results.indices {
        let (result, target) = (results[index], targets[index])
        results[index].isIncluded =
            result.bytes > 0 || result.error != .none || result.diverging != nil
            || result.highWatermark != target.toldHighWatermark
            || result.logStartOffset != target.toldLogStartOffset
            || result.lastStableOffset != target.toldLastStableOffset
    }
}

/// What the client knows once it has this answer. After an error or a divergence it is told everything again.
private func remember(_ results: [FetchResult], in targets: inout [FetchTarget]) {
    for index in targets.indices {
        let result = results[index]
        targets[index].toldHighWatermark = result.error == .none && result.diverging == nil ? result.highWatermark : -1
        targets[index].toldLogStartOffset = result.logStartOffset
        targets[index].toldLastStableOffset = result.lastStableOffset
    }
}
