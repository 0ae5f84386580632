import KafkaMessages
import KafkaPrimitives
import Synchronization
import Testing

@testable import KafkaCoordination

/// The runtime's own promises; how groups use them is in the scenarios.
@Suite struct CoordinatorRuntimeTests {
    private let log = InMemoryLog()
    private let now = CoordinatorTime(monotonicMs: 0, wallMs: 0)
    private let replies = Replies()

    final class Replies: Sendable {
        let all = Mutex<[(String, GroupCoordinatorShard.Reply)]>([])
        var names: [String] { self.all.withLock { $0.map(\.0) } }
        func errors(of name: String) -> [ErrorCode] {
            self.all.withLock { all in
                all.filter { $0.0 == name }.flatMap { reply -> [ErrorCode] in
                    switch reply.1 {
                    case .offsetCommit(let response): response.topics.flatMap { $0.partitions.map(\.errorCode) }
                    case .offsetFetch(let response): [response.errorCode]
                    case .joinGroup(let response): [response.errorCode]
                    default: []
                    }
                }
            }
        }
    }

    private func makeCoordinator(partitions: Int = 1) -> GroupCoordinator {
        let coordinator = GroupCoordinator(config: GroupCoordinatorConfig(), partitions: partitions)
        self.open(coordinator, epoch: 0)
        return coordinator
    }

    private func open(_ coordinator: GroupCoordinator, epoch: Int32) {
        #expect(coordinator.runtime.beginLoading(0, epoch: epoch))
        coordinator.runtime.finishLoading(
            0, epoch: epoch, shard: GroupCoordinatorShard(config: coordinator.config), log: self.log,
            endOffset: self.log.endOffset, highWatermark: self.log.highWatermark, now: self.now)
    }

    private func commit(_ coordinator: GroupCoordinator, _ name: String, at now: CoordinatorTime? = nil) {
        var request = OffsetCommitRequest()
        request.groupID = "g"
        var topic = OffsetCommitRequest.Topic()
        topic.name = "t"
        topic.partitions = [.init()]
        request.topics = [topic]
        coordinator.perform(.offsetCommit(request, apiVersion: 9), on: 0, now: now ?? self.now) { [replies] reply in
            replies.all.withLock { $0.append((name, reply)) }
        }
    }

    private func fetch(_ coordinator: GroupCoordinator, _ name: String) {
        var request = OffsetFetchRequest.Group()
        request.groupID = "g"
        request.topics = nil
        coordinator.perform(.offsetFetch(request, requireStable: false), on: 0, now: self.now) { [replies] reply in
            replies.all.withLock { $0.append((name, reply)) }
        }
    }

    @Test func repliesLeaveInOrderWhenTheHighWatermarkPasses() {
        let coordinator = self.makeCoordinator()
        self.log.state.withLock { $0.holdsHighWatermark = true }
        for index in 0..<200 { self.commit(coordinator, "\(index)") }
        self.fetch(coordinator, "read")
        #expect(self.replies.names.isEmpty)
        coordinator.runtime.highWatermarkAdvanced(0, to: 150, now: self.now)
        #expect(self.replies.names == (0..<150).map(String.init))
        // It never goes back.
        coordinator.runtime.highWatermarkAdvanced(0, to: 3, now: self.now)
        coordinator.runtime.highWatermarkAdvanced(0, to: 200, now: self.now)
        #expect(self.replies.names == (0..<200).map(String.init) + ["read"])
    }

    @Test func aReadOfCommittedStateDoesNotWait() {
        let coordinator = self.makeCoordinator()
        self.commit(coordinator, "write")
        self.fetch(coordinator, "read")
        #expect(self.replies.names == ["write", "read"])
    }

    @Test func unloadingAnswersWhatIsParkedAndWhoWaits() {
        let coordinator = self.makeCoordinator()
        var request = JoinGroupRequest()
        request.groupID = "j"
        request.sessionTimeoutMs = 10_000
        request.protocolType = "x"
        request.protocols = [.init()]
        let origin = RequestOrigin(apiVersion: 3, clientID: "c", clientHost: "/h", randomID: .zero)
        coordinator.perform(.joinGroup(request, origin), on: 0, now: self.now) { [replies] reply in
            replies.all.withLock { $0.append(("join", reply)) }
        }
        self.log.state.withLock { $0.holdsHighWatermark = true }
        self.commit(coordinator, "write")
        self.fetch(coordinator, "read")
        coordinator.runtime.unload(0)
        #expect(self.replies.errors(of: "join") == [.notCoordinator])
        #expect(self.replies.errors(of: "write") == [.notCoordinator])
        #expect(self.replies.errors(of: "read") == [.notCoordinator])
        #expect(coordinator.runtime.phase(of: 0) == .unloaded)
        #expect(coordinator.runtime.nextDeadline == nil)
        self.commit(coordinator, "late")
        #expect(self.replies.errors(of: "late") == [.notCoordinator])
    }

    @Test func leadershipByEpochs() {
        let coordinator = self.makeCoordinator()
        #expect(coordinator.runtime.phase(of: 0) == .active)
        #expect(!coordinator.runtime.beginLoading(0, epoch: 0))
        #expect(coordinator.runtime.beginLoading(0, epoch: 2))
        self.commit(coordinator, "loading")
        #expect(self.replies.errors(of: "loading") == [.coordinatorLoadInProgress])
        // The load of an epoch that is over opens nothing.
        coordinator.runtime.finishLoading(
            0, epoch: 1, shard: GroupCoordinatorShard(config: coordinator.config), log: self.log, endOffset: 0,
            highWatermark: 0, now: self.now)
        #expect(coordinator.runtime.phase(of: 0) == .loading)
        coordinator.runtime.unload(0)
        self.open(coordinator, epoch: 3)
        self.commit(coordinator, "again")
        #expect(self.replies.errors(of: "again") == [.none])
    }

    @Test func partitionsThatAreNotThere() {
        let coordinator = self.makeCoordinator(partitions: 2)
        for partition in [Int32(-1), 1, 2, .max] {
            coordinator.perform(.listGroups(ListGroupsRequest()), on: partition, now: self.now) { [replies] reply in
                replies.all.withLock { $0.append(("list \(partition)", reply)) }
            }
            #expect(coordinator.runtime.phase(of: partition) == .unloaded)
        }
        #expect(self.replies.names.count == 4)
    }

    @Test func parkedRepliesAreGivenUpAfterTheCommitTimeout() {
        let coordinator = self.makeCoordinator()
        self.log.state.withLock { $0.holdsHighWatermark = true }
        self.commit(coordinator, "write")
        self.fetch(coordinator, "read")
        #expect(coordinator.runtime.nextDeadline == 5_000)
        coordinator.advance(now: CoordinatorTime(monotonicMs: 4_999, wallMs: 0))
        #expect(self.replies.names.isEmpty)
        coordinator.advance(now: CoordinatorTime(monotonicMs: 5_000, wallMs: 0))
        #expect(self.replies.errors(of: "write") == [.coordinatorNotAvailable])
        // Consumers before 3.9 do not know COORDINATOR_NOT_AVAILABLE here.
        #expect(self.replies.errors(of: "read") == [.notCoordinator])
        coordinator.runtime.highWatermarkAdvanced(0, to: 1, now: self.now)
        #expect(self.replies.names.count == 2)
    }

    @Test(arguments: [
        (ErrorCode.notEnoughReplicas, ErrorCode.coordinatorNotAvailable),
        (.notEnoughReplicasAfterAppend, .coordinatorNotAvailable), (.unknownTopicOrPartition, .coordinatorNotAvailable),
        (.requestTimedOut, .coordinatorNotAvailable), (.notLeaderOrFollower, .notCoordinator),
        (.kafkaStorageError, .notCoordinator), (.messageTooLarge, .unknownServerError),
        (.recordListTooLarge, .unknownServerError), (.corruptMessage, .corruptMessage),
    ])
    func appendErrorsAsClientsSeeThem(_ error: ErrorCode, _ seen: ErrorCode) {
        let coordinator = self.makeCoordinator()
        self.log.state.withLock { $0.nextError = error }
        self.commit(coordinator, "write")
        #expect(self.replies.errors(of: "write") == [seen])
        #expect(coordinator.runtime.withShard(0) { $0.offsets.count } == 0)
    }

    /// A member id is a string on the wire, and must be the same when it comes back.
    @Test(arguments: ["", String(repeating: "a", count: 32_767), String(repeating: "\u{1f600}", count: 8_191)])
    func longClientIDsMakeMemberIDsThatFit(_ clientID: String) throws {
        let coordinator = self.makeCoordinator()
        var request = JoinGroupRequest()
        request.groupID = String(repeating: "g", count: 32_767)
        request.sessionTimeoutMs = 10_000
        request.protocolType = "x"
        request.protocols = [.init()]
        let origin = RequestOrigin(
            apiVersion: 9, clientID: clientID, clientHost: "/h", randomID: KafkaUUID(high: 1, low: 2))
        coordinator.perform(.joinGroup(request, origin), on: 0, now: self.now) { [replies] reply in
            replies.all.withLock { $0.append(("join", reply)) }
        }
        guard case .joinGroup(let response)? = self.replies.all.withLock({ $0.first?.1 }) else {
            Issue.record("no answer")
            return
        }
        #expect(response.errorCode == .memberIDRequired)
        #expect(try JoinGroupResponse(decoding: response.encoded(version: 5), version: 5).memberID == response.memberID)
        #expect(response.memberID.hasSuffix("-00000000-0000-0001-0000-000000000002"))
    }

    /// Replies are called without the lock: one may ask the coordinator again.
    @Test func aReplyMayAskAgain() {
        let coordinator = self.makeCoordinator()
        let replies = self.replies
        coordinator.perform(.listGroups(ListGroupsRequest()), on: 0, now: self.now) { [now] _ in
            coordinator.perform(.listGroups(ListGroupsRequest()), on: 0, now: now) { reply in
                replies.all.withLock { $0.append(("inner", reply)) }
            }
        }
        #expect(replies.names == ["inner"])
    }
}
