import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaLog

/// KIP-890: no record begins a transaction that nobody knows of.
@Suite struct TransactionVerificationTests {
    private func data(_ sequence: Int32, epoch: Int16 = 0, producer: Int64 = 1) -> RecordBatchHeader {
        var header = RecordBatchHeader(baseOffset: 0, isTransactional: true)
        header.producerID = producer
        header.producerEpoch = epoch
        header.baseSequence = sequence
        header.lastOffsetDelta = 0
        header.recordsCount = 1
        return header
    }

    private func marker(epoch: Int16 = 0, producer: Int64 = 1) -> RecordBatchHeader {
        var header = RecordBatchHeader(baseOffset: 0, isTransactional: true, isControl: true)
        header.producerID = producer
        header.producerEpoch = epoch
        return header
    }

    private func code(_ decision: ProducerStateManager.Decision) -> ErrorCode {
        if case .refuse(let code, _) = decision { return code }
        return .none
    }

    private let end = TransactionMarker(isAbort: false, coordinatorEpoch: 0)

    @Test func aGuardLetsOneTransactionBegin() throws {
        var state = ProducerStateManager()
        #expect(self.code(state.check(self.data(0), origin: .client, .verified(nil))) == .invalidTxnState)
        let begun = state.beginVerification(of: 1, epoch: 0, sequence: 0, bumpsEpochs: false, now: 0)
        let guardian = try #require(begun)
        // Asked for twice, it is the same.
        let again = state.beginVerification(of: 1, epoch: 0, sequence: 0, bumpsEpochs: false, now: 0)
        #expect(again == guardian)
        #expect(state.check(self.data(0), origin: .client, .verified(guardian)) == .append)
        state.update(self.data(0), baseOffset: 0, now: 0)
        #expect(state.verifications.isEmpty)
        // The transaction is open: nothing more is asked.
        let none = state.beginVerification(of: 1, epoch: 0, sequence: 1, bumpsEpochs: false, now: 0)
        #expect(none == nil)
        #expect(state.check(self.data(1), origin: .client, .verified(nil)) == .append)
        // In another epoch it is not.
        let other = state.beginVerification(of: 1, epoch: 1, sequence: 0, bumpsEpochs: false, now: 0)
        #expect(other != nil)
    }

    @Test func aMarkerThatComesInBetweenTakesTheGuardAway() throws {
        var state = ProducerStateManager()
        let begun = state.beginVerification(of: 1, epoch: 0, sequence: 0, bumpsEpochs: false, now: 0)
        let guardian = try #require(begun)
        state.update(self.marker(), baseOffset: 0, now: 0, marker: self.end)
        #expect(self.code(state.check(self.data(0), origin: .client, .verified(guardian))) == .invalidTxnState)
    }

    @Test func laterSequencesWaitForTheFirst() throws {
        var state = ProducerStateManager()
        let begun = state.beginVerification(of: 1, epoch: 0, sequence: 5, bumpsEpochs: false, now: 0)
        let guardian = try #require(begun)
        _ = state.beginVerification(of: 1, epoch: 0, sequence: 4, bumpsEpochs: false, now: 0)
        #expect(self.code(state.check(self.data(5), origin: .client, .verified(guardian))) == .outOfOrderSequenceNumber)
        #expect(state.check(self.data(4), origin: .client, .verified(guardian)) == .append)
        // With version 2 the first is 0, always.
        let begunSecond = state.beginVerification(of: 2, epoch: 0, sequence: 3, bumpsEpochs: true, now: 0)
        let second = try #require(begunSecond)
        let late = self.code(state.check(self.data(3, producer: 2), origin: .client, .verified(second)))
        #expect(late == .outOfOrderSequenceNumber)
    }

    @Test func aLateMarkerDoesNotEndTheNextTransaction() {
        var state = ProducerStateManager()
        state.update(self.data(0, epoch: 1), baseOffset: 0, now: 0)
        #expect(
            self.code(state.check(self.marker(epoch: 1), origin: .coordinator, marker: self.end, .marker(version: 2)))
                == .invalidProducerEpoch)
        // Before version 2 epochs stay, and nobody can tell.
        #expect(
            state.check(self.marker(epoch: 1), origin: .coordinator, marker: self.end, .marker(version: 1)) == .append)
        let next = self.marker(epoch: 2)
        #expect(state.check(next, origin: .coordinator, marker: self.end, .marker(version: 2)) == .append)
        state.update(next, baseOffset: 1, now: 0, marker: self.end)
        // Again: its coordinator has been started anew.
        #expect(state.check(next, origin: .coordinator, marker: self.end, .marker(version: 2)) == .append)
    }

    @Test func guardsThatNobodyShowsExpire() {
        var state = ProducerStateManager()
        _ = state.beginVerification(of: 1, epoch: 0, sequence: 0, bumpsEpochs: false, now: 1000)
        state.expire(now: 1999, expirationMs: 1000)
        #expect(state.verifications.count == 1)
        state.expire(now: 2000, expirationMs: 1000)
        #expect(state.verifications.isEmpty)
    }
}
