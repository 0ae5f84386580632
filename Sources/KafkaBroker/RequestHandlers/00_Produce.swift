import KafkaLog
import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import KafkaTransport
import NIOCore

// Produce 3-13. Version 3 brought magic 2 and transactional ids, 5 the log's start offset, 7 zstd (KIP-110), 8 which
// record was wrong (KIP-467), 9 is flexible, 10 tells the new leader (KIP-951), 12 transactions of version 2 (KIP-890),
// 13 names topics by id (KIP-516).
//
// ApiVersions says 0-13: librdkafka takes a broker whose Produce does not begin at 0 for one too old for compression. A
// request below 3 closes the connection, as in Kafka.
extension ApiHandler {
    static let produce = ApiHandler.raw(
        ProduceRequest.self, versions: 3...13, advertised: 0...13, .produce)
}

/// Answers per partition that carry no text need no String; those that do are rare.
private struct ProduceOutcome {
    var code: ErrorCode
    var message: String?
    var recordErrors: [RecordError] = []
    /// Told, as Kafka does, where the log itself has refused the records.
    var logStartOffset: Int64 = -1

    init(_ code: ErrorCode, _ message: String? = nil) {
        self.code = code
        self.message = message
    }
}

extension LoopRequestHandler {
    /// Carries out a Produce where it lies: no part of it is copied but into the log.
    func produce(
        _ frame: UnsafeMutableRawBufferPointer, bodyAt position: Int, version: Int16, correlationID: Int32,
        clientID: UnsafeRawBufferPointer?, on connection: Connection, ticket: RequestTicket
    ) throws(DecodingError) -> RequestOutcome {
        let walker = try ProduceRequestWalker(UnsafeRawBufferPointer(frame), from: position, version: version)
        let isAdmin = clientID.map { isAdminClient($0) } ?? false
        let table = self.broker.replicaManager.table
        guard walker.partitionCount <= table.maxPartitionsOfRequest else {
            return .close("Produce to \(walker.partitionCount) partitions, of which there are \(table.partitionCount)")
        }
        guard walker.transactionalID != nil else {
            return self.produce(frame, walker, correlationID, isAdmin, nil, on: connection, ticket: ticket)
        }
        // Its bytes may have to be there for longer than the frame.
        let pending = PendingProduce(isSilent: walker.acks == 0)
        // Comes back on this loop.
        let handler = UncheckedSendableBox(self)
        let step = self.transaction(of: walker, in: UnsafeRawBufferPointer(frame)) { transaction in
            handler.value.resume(pending, transaction)
        }
        switch step {
        case .known(let transaction):
            return self.produce(frame, walker, correlationID, isAdmin, transaction, on: connection, ticket: ticket)
        case .pending:
            pending.keep(
                Array(frame), bodyAt: position, version: version, correlationID: correlationID, isAdmin: isAdmin,
                on: connection, ticket: ticket)
            return pending.isSilent ? .noResponse : .pending(mayOverlap: false)
        }
    }

    /// A Produce whose transaction was asked for is carried out after all.
    private func resume(_ pending: PendingProduce, _ transaction: ProduceTransaction) {
        guard let kept = pending.take() else { return }
        var bytes = kept.bytes
        self.loop.run {
            let outcome = bytes.withUnsafeMutableBytes { frame -> RequestOutcome in
                do throws(DecodingError) {
                    let walker = try ProduceRequestWalker(
                        UnsafeRawBufferPointer(frame), from: kept.position, version: kept.version)
                    return self.produce(
                        frame, walker, kept.correlationID, kept.isAdmin, transaction, on: kept.connection,
                        ticket: kept.ticket)
                } catch {
                    return .close("a request that cannot be read: \(error)")
                }
            }
            switch outcome {
            case .answered(let parts): kept.connection.complete(kept.ticket, parts)
            case .close(let reason): kept.connection.close(reason)
            // It was told already, or will be.
            case .noResponse, .pending: break
            }
        }
    }

    private func produce(
        _ frame: UnsafeMutableRawBufferPointer, _ walker: ProduceRequestWalker, _ correlationID: Int32, _ isAdmin: Bool,
        _ transaction: ProduceTransaction?, on connection: Connection, ticket: RequestTicket
    ) -> RequestOutcome {
        var walker = walker
        let version = walker.version
        let acks = walker.acks
        let table = self.broker.replicaManager.table
        let now = wallClockMs()
        self.output.begin(correlationID: correlationID, headerVersion: version >= 9 ? 1 : 0)
        var writer = ProduceResponseWriter(into: self.output, version: version, topicCount: walker.topicCount)
        var entry: TopicEntry?
        var failed: ErrorCode?
        var parked: ParkedProduce?
        while let event = walker.next() {
            switch event {
            case .topic(let topic):
                entry = version >= 13 ? table.topic(id: topic.id) : table.topic(named: topic.name)
                writer.topic(name: topic.name, id: topic.id, partitionCount: topic.partitionCount)
            case .partition(let asked):
                var answer = ProduceResponseWriter.Partition(index: asked.index, errorCode: .none, baseOffset: -1)
                let records = asked.records.map { UnsafeMutableRawBufferPointer(rebasing: frame[$0]) }
                let request = ProduceParameters(
                    version: version, acks: acks, transaction: transaction, now: now, isAdmin: isAdmin,
                    connection: connection, ticket: ticket)
                switch self.append(records, at: asked.index, of: entry, request, &parked) {
                case .success(let info, let log):
                    if !info.isCommitted, acks != 0 {
                        let request = parked ?? self.begin(request)
                        parked = request
                        // After the partition's index.
                        let position = self.output.bytes.count + 4
                        if let code = self.awaitCommit(of: info, in: log, request, errorCodeAt: position) {
                            answer.errorCode = code
                        }
                    }
                    answer.baseOffset = info.firstOffset
                    answer.logAppendTimeMs = info.logAppendTime
                    answer.logStartOffset = info.logStartOffset
                case .queued:
                    parked?.placeLast(errorCodeAt: self.output.bytes.count + 4)
                case .failure(let failure):
                    failed = failure.code
                    answer.errorCode = failure.code
                    answer.logStartOffset = failure.logStartOffset
                    if version >= 8 {
                        answer.errorMessage = failure.message
                        answer.recordErrors = failure.recordErrors.map { error in
                            var out = ProduceResponse.BatchIndexAndErrorMessage()
                            out.batchIndex = error.batchIndex
                            out.batchIndexErrorMessage = error.message
                            return out
                        }
                    }
                }
                writer.partition(answer)
            }
        }
        if acks == 0 {
            // The client reads no answer, so the one way to tell it of an error is to hang up: it looks for the leader
            // anew then. As Kafka does.
            if let failed { return .close(Self.refusedWithoutAcks(failed)) }
            // What was queued may still be refused.
            guard let parked, parked.left > 0 else { return .noResponse }
            return self.park(parked, timeoutMs: walker.timeoutMs, answer: nil)
        }
        writer.finish(throttleTimeMs: 0)
        if let parked, parked.left > 0 {
            return self.park(parked, timeoutMs: walker.timeoutMs, answer: self.takeOutput())
        }
        return .answered(ResponseParts(bytes: self.takeOutput()))
    }

    private struct ProduceParameters {
        var version: Int16
        var acks: Int16
        /// Of a producer with a transactional id.
        var transaction: ProduceTransaction?
        var now: Int64
        var isAdmin: Bool
        var connection: Connection
        var ticket: RequestTicket
    }

    private func begin(_ request: ProduceParameters) -> ParkedProduce {
        self.produces.begin(on: request.connection, ticket: request.ticket, version: request.version)
    }

    private enum Appended {
        case success(AppendInfo, PartitionLog)
        /// The folder's own thread appends it.
        case queued
        case failure(ProduceOutcome)
    }

    private func append(
        _ records: UnsafeMutableRawBufferPointer?, at index: Int32, of topic: TopicEntry?, _ request: ProduceParameters,
        _ parked: inout ParkedProduce?
    ) -> Appended {
        guard let topic else {
            return .failure(ProduceOutcome(request.version >= 13 ? .unknownTopicID : .unknownTopicOrPartition))
        }
        guard index >= 0, Int(index) < topic.partitions.count else {
            return .failure(ProduceOutcome(.unknownTopicOrPartition))
        }
        guard request.acks >= -1, request.acks <= 1 else { return .failure(ProduceOutcome(.invalidRequiredAcks)) }
        if topic.isInternal && !request.isAdmin {
            return .failure(ProduceOutcome(.invalidTopicException, "Cannot append to internal topic \(topic.name)"))
        }
        guard let partition = topic.partitions[Int(index)] else { return .failure(ProduceOutcome(.kafkaStorageError)) }
        var rules = partition.validationRules
        rules.now = request.now
        rules.produceVersion = request.version
        if request.acks == -1, partition.minInSyncReplicas > 1 {
            return .failure(
                ProduceOutcome(
                    .notEnoughReplicas,
                    "The size of the current ISR for partition \(topic.name)-\(index) is 1, "
                        + "which is less than min.insync.replicas \(partition.minInSyncReplicas)"))
        }
        let empty = UnsafeMutableRawBufferPointer(start: nil, count: 0)
        switch RecordValidator.validate(records ?? empty, rules: rules, scratch: self.scratch) {
        case .failure(let failure):
            var outcome = ProduceOutcome(failure.code, failure.message)
            outcome.recordErrors = failure.recordErrors
            if !outcome.recordErrors.isEmpty { outcome.logStartOffset = partition.log.snapshot.logStartOffset }
            return .failure(outcome)
        case .success(let validated):
            var check = TransactionCheck.none
            if validated.isTransactional {
                guard let transaction = request.transaction else { return .failure(.noTransactionalID) }
                switch transaction[partition] {
                case .append(let asked): check = asked
                case .refuse(let code, let message): return .failure(ProduceOutcome(code, message))
                }
            }
            guard let records else { return .failure(ProduceOutcome(.invalidRecord)) }
            if validated.needsRewrite {
                return self.rewriteAndAppend(records, validated, check, rules, to: partition, request, &parked)
            }
            return self.append(records, validated, check, to: partition, request, &parked)
        }
    }

    /// The topic's `compression.type` is not the batch's: the one case in which a batch is packed anew.
    private func rewriteAndAppend(
        _ records: UnsafeMutableRawBufferPointer, _ validated: ValidatedBatch, _ check: TransactionCheck,
        _ rules: ValidationRules, to partition: Partition, _ request: ProduceParameters, _ parked: inout ParkedProduce?
    ) -> Appended {
        let rewritten = RecordValidator.rewrite(
            UnsafeRawBufferPointer(records), validated: validated, rules: rules, scratch: self.scratch)
        switch rewritten {
        case .failure(let failure):
            return .failure(ProduceOutcome(failure.code, failure.message))
        case .success(let (rewritten, validated)):
            var bytes = rewritten
            return bytes.withUnsafeMutableBytes { self.append($0, validated, check, to: partition, request, &parked) }
        }
    }

    private func append(
        _ records: UnsafeMutableRawBufferPointer, _ validated: ValidatedBatch, _ check: TransactionCheck,
        to partition: Partition, _ request: ProduceParameters, _ parked: inout ParkedProduce?
    ) -> Appended {
        // Those who may write to internal topics wait as coordinators do.
        let outcome = partition.log.appendOrQueue(
            records, validated: validated, leaderEpoch: partition.leaderEpoch, now: request.now,
            mayQueue: !request.isAdmin, transaction: check
        ) {
            let waiting = parked ?? self.begin(request)
            parked = waiting
            waiting.add(partition.log, errorCodeAt: 0)
            return AppendWaiter(loop: self.loop.index, request: waiting.id, item: waiting.items.count - 1)
        }
        let result: Result<AppendInfo, AppendError>
        switch outcome {
        case .done(let done):
            result = done
        case .queued(let isCrowded):
            if isCrowded { parked?.holdsUp = true }
            return .queued
        }
        switch result {
        case .success(let info):
            if !info.isDuplicate, info.isCommitted { self.broker.wake(partition) }
            return .success(info, partition.log)
        case .failure(.protocolError(let code, let message)):
            var outcome = ProduceOutcome(code, message)
            if code == .outOfOrderSequenceNumber || code == .invalidProducerEpoch {
                outcome.logStartOffset = partition.log.snapshot.logStartOffset
            }
            return .failure(outcome)
        case .failure(.storage(let number)):
            self.broker.storageFailed(partition, errno: number)
            return .failure(ProduceOutcome(.kafkaStorageError))
        }
    }
}

extension ProduceOutcome {
    /// Records of a transaction whose request does not say which.
    static let noTransactionalID = ProduceOutcome(.transactionalIDAuthorizationFailed)
}

/// Kafka's own tools write to internal topics under this client id.
private func isAdminClient(_ clientID: UnsafeRawBufferPointer) -> Bool {
    let name: StaticString = "__admin_client"
    return clientID.count == name.utf8CodeUnitCount
        && clientID.elementsEqual(UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
}
