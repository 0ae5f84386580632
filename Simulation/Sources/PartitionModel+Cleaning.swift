import KafkaRecords

@testable import KafkaLog

/// What the cleaner should make of a log, by the rules of compaction.
extension PartitionModel {
    /// What becomes of one batch.
    enum CleanedBatch {
        case dropped
        case changed(RecordBatchHeader, [ParsedBatch.Record])
    }

    struct CleaningPlan {
        /// Where the log was dirty from.
        var first: Int64
        /// All before it may be cleaned.
        var limit: Int64
        /// All before it is clean afterwards.
        var end: Int64
        /// The dirty part of what is cleaned and clean.
        var ratio: Double
        /// By base offsets; those that are not named stay as they are.
        var batches: [Int64: CleanedBatch] = [:]
    }

    private func nextBase(_ segment: Int) -> Int64 {
        segment + 1 < self.segments.count ? self.segments[segment + 1].base : self.end
    }

    /// - Parameters:
    ///   - first: the offset from which on the log is dirty.
    ///   - aborted: what its transaction indexes say.
    ///   - modified: when a segment's file was last changed.
    /// - Returns: nil where it needs no cleaning.
    func planCleaning(
        from first: Int64, aborted: [AbortedTransaction], dedupeBytes: Int64, now: Int64, modified: (Int64) -> Int64
    ) -> CleaningPlan? {
        let sealed = self.segments.count - 1
        guard sealed > 0, self.config.cleanupPolicy.contains(.compact) else { return nil }
        var limit = min(self.lastStableOffset, self.segments[sealed].base)
        let dirty = (0..<sealed).filter { self.nextBase($0) > first }
        if self.config.minCompactionLagMs > 0 {
            let young = dirty.first { segment in
                let time = self.maxTimestamp(segment)
                return (time < 0 ? modified(self.segments[segment].base) : time) > now - self.config.minCompactionLagMs
            }
            if let young { limit = min(limit, self.segments[young].base) }
        }
        if limit < self.segments[sealed].base {
            limit = self.segments[..<sealed].last { $0.base <= limit }?.base ?? limit
        }
        limit = max(first, limit)
        // One that goes on behind the limit is left alone.
        let cleaned = dirty.filter { self.nextBase($0) <= limit }
        let clean = (0..<sealed).reduce(0) { self.segments[$1].base < first ? $0 + self.size($1) : $0 }
        let cleanable = cleaned.reduce(0) { $0 + self.size($1) }
        guard cleanable > 0 else { return nil }
        let isOverdue = dirty.contains { segment in
            guard self.config.maxCompactionLagMs < .max, let batch = self.range(segment).first else { return false }
            let time = self.batches[batch].maxTimestamp
            return time > 0 && time < now - max(0, self.config.maxCompactionLagMs)
        }
        let ratio = Double(cleanable) / Double(clean + cleanable)
        guard isOverdue || ratio > self.config.minCleanableDirtyRatio else { return nil }
        var plan = CleaningPlan(first: first, limit: limit, end: first, ratio: ratio)
        let (last, latest) = self.lastOffsets(cleaned, plan, aborted, dedupeBytes)
        plan.end = latest + 1
        self.clean(&plan, last, aborted, now)
        return plan
    }

    private func isAborted(_ batch: Batch, _ aborted: [AbortedTransaction]) -> Bool {
        batch.isTransactional && !batch.isControl
            && aborted.contains {
                $0.producerID == batch.producerID && $0.firstOffset <= batch.last && batch.base <= $0.lastOffset
            }
    }

    private func parsed(_ batch: Batch) -> ParsedBatch {
        self.bytes(batch).withUnsafeBytes { ParsedBatch($0) }!
    }

    /// Each key's last offset in the dirty part, as far as there is room for keys.
    private func lastOffsets(
        _ dirty: [Int], _ plan: CleaningPlan, _ aborted: [AbortedTransaction], _ dedupeBytes: Int64
    ) -> (last: [UInt64: Int64], latest: Int64) {
        let room = OffsetMap(
            bytes: Int(max(dedupeBytes, 1 << 10)), loadFactor: 0.9, expected: max(0, plan.limit - plan.first))
        var last: [UInt64: Int64] = [:]
        var latest = plan.first - 1
        for segment in dirty {
            for index in self.range(segment) where self.batches[index].last >= plan.first {
                let batch = self.batches[index]
                if !batch.isControl, !self.isAborted(batch, aborted) {
                    for record in self.parsed(batch).records where batch.base + Int64(record.delta) >= plan.first {
                        guard let key = record.key else { continue }
                        if last[key] == nil, last.count >= room?.limit ?? 0 { return (last, latest) }
                        last[key] = batch.base + Int64(record.delta)
                    }
                }
                latest = max(latest, batch.last)
            }
            latest = max(latest, self.nextBase(segment) - 1)
        }
        return (last, latest)
    }

    private func clean(
        _ plan: inout CleaningPlan, _ last: [UInt64: Int64], _ aborted: [AbortedTransaction], _ now: Int64
    ) {
        // Producers with records, since their last marker, in the log as it is: aborted ones, as far as that is still
        // known where the log's start has gone on, and others.
        var written: [Bool: Set<Int64>] = [:]
        for segment in 0..<self.segments.count - 1 where self.segments[segment].base < plan.end {
            for index in self.range(segment) {
                let batch = self.batches[index]
                let old = self.parsed(batch)
                var isUnneeded = false
                if batch.isControl {
                    // A marker is needed as long as there are records that it is about.
                    isUnneeded = true
                    if let marker = batch.marker {
                        isUnneeded = written[marker.isAbort, default: []].remove(batch.producerID) == nil
                    }
                } else if batch.isTransactional {
                    written[self.isAborted(batch, aborted), default: []].insert(batch.producerID)
                }
                let isDue = old.header.hasDeleteHorizon && old.header.baseTimestamp <= now
                let producer = self.producers[batch.producerID]
                let isLastOfProducer =
                    if let producer, batch.producerID >= 0 {
                        producer.known > 0
                            ? producer.batches.last?.last == batch.last
                            : batch.isControl && producer.epoch == batch.producerEpoch
                    } else { false }
                let staysEmpty = isLastOfProducer || batch.last + 1 == plan.limit
                var kept: [ParsedBatch.Record] = []
                if batch.isControl {
                    if !isUnneeded || !isDue { kept = old.records }
                } else if !self.isAborted(batch, aborted) {
                    kept = old.records.filter { record in
                        let offset = batch.base + Int64(record.delta)
                        guard offset < plan.end else { return true }
                        guard let key = record.key, !record.isTombstone || !isDue else { return false }
                        return offset >= last[key] ?? -1
                    }
                }
                plan.batches[batch.base] = self.cleaned(
                    old, kept, isUnneededMarker: batch.isControl && isUnneeded, staysEmpty: staysEmpty, now)
            }
        }
    }

    /// Nil where it stays as it is.
    private func cleaned(
        _ old: ParsedBatch, _ kept: [ParsedBatch.Record], isUnneededMarker: Bool, staysEmpty: Bool, _ now: Int64
    ) -> CleanedBatch? {
        var header = old.header
        guard !kept.isEmpty else {
            guard staysEmpty else { return .dropped }
            if old.records.isEmpty, !header.hasDeleteHorizon { return nil }
            header.attributes &= ~(RecordBatchHeader.compressionBits | RecordBatchHeader.deleteHorizonBit)
            header.baseTimestamp = -1
            header.recordsCount = 0
            return .changed(header, [])
        }
        let getsHorizon = (isUnneededMarker || kept.contains(where: \.isTombstone)) && !header.hasDeleteHorizon
        if !getsHorizon, kept.count == old.records.count { return nil }
        if getsHorizon {
            header.attributes |= RecordBatchHeader.deleteHorizonBit
            let (horizon, overflow) = now.addingReportingOverflow(self.config.deleteRetentionMs)
            header.baseTimestamp = overflow ? .max : horizon
        } else if !header.hasDeleteHorizon {
            header.baseTimestamp = kept[0].timestamp
        }
        header.recordsCount = Int32(kept.count)
        if header.timestampType == .createTime { header.maxTimestamp = kept.map(\.timestamp).max() ?? -1 }
        return .changed(header, kept)
    }
}
