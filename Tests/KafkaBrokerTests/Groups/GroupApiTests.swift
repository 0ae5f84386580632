import Glibc
import KafkaLog
import KafkaMessages
import KafkaPrimitives
import Testing

@testable import KafkaBroker

/// The group APIs over the wire, against a whole broker, in each of their versions. What they mean is in the
/// scenarios of KafkaCoordinationTests.
@Suite struct GroupApiTests {
    private func findCoordinator(_ client: TestClient, _ group: String) throws {
        var request = FindCoordinatorRequest()
        request.coordinatorKeys = [group]
        #expect(try client.send(request, version: 6).coordinators.map(\.errorCode) == [.none])
        // Its shard may still be loading.
        var describe = DescribeGroupsRequest()
        describe.groups = [group]
        for _ in 0..<2000 {
            if try client.send(describe, version: 5).groups[0].errorCode == .none { return }
            usleep(10_000)
        }
        throw TestFailure("the coordinator of \(group) does not load")
    }

    private func makeTopic(_ client: TestClient, _ name: String, partitions: Int32 = 3) throws -> KafkaUUID {
        var create = CreateTopicsRequest()
        create.topics = [.init(name, partitions: partitions)]
        return try client.send(create, version: 7).topics[0].topicID
    }

    private func commit(
        _ group: String, _ topic: String, _ partition: Int32, _ offset: Int64, id: KafkaUUID = .zero
    ) -> OffsetCommitRequest {
        var request = OffsetCommitRequest()
        request.groupID = group
        var topicRequest = OffsetCommitRequest.Topic()
        topicRequest.name = topic
        topicRequest.topicID = id
        var partitionRequest = OffsetCommitRequest.Partition()
        partitionRequest.partitionIndex = partition
        partitionRequest.committedOffset = offset
        partitionRequest.committedMetadata = "m\(offset)"
        topicRequest.partitions = [partitionRequest]
        request.topics = [topicRequest]
        return request
    }

    @Test func findCoordinatorMakesTheTopicOnFirstUse() throws {
        let test = try TestBroker("offsets.topic.num.partitions=7")
        let client = try test.client()
        var describe = DescribeGroupsRequest()
        describe.groups = ["g"]
        #expect(try client.send(describe, version: 5).groups.map(\.errorCode) == [.notCoordinator])
        #expect(try client.send(ListGroupsRequest(), version: 5).errorCode == .none)
        for version in FindCoordinatorRequest.validVersions {
            var request = FindCoordinatorRequest()
            request.key = "g"
            request.coordinatorKeys = ["g", "h"]
            let response = try client.send(request, version: version)
            if version < 4 {
                #expect(response.errorCode == .none && response.nodeID == test.broker.nodeID)
                #expect(response.host == "127.0.0.1" && response.port == Int32(test.broker.port))
            } else {
                #expect(response.coordinators.map(\.key) == ["g", "h"])
                #expect(response.coordinators.allSatisfy { $0.errorCode == .none && $0.host == "127.0.0.1" })
                #expect(response.coordinators.allSatisfy { $0.port == Int32(test.broker.port) })
            }
        }
        let topic = try #require(test.broker.replicaManager.table.topic(named: "__consumer_offsets"))
        #expect(topic.partitions.count == 7)
        let config = try #require(topic.partitions[0]?.log.config)
        #expect(config.cleanupPolicy == .compact && config.segmentBytes == 100 << 20)
    }

    /// Their clients must not go on asking.
    @Test(arguments: [
        (Int8(2), ErrorCode.invalidRequest), (3, .invalidRequest),
    ])
    func otherCoordinatorsAreRefusedForGood(_ type: Int8, _ error: ErrorCode) throws {
        let test = try TestBroker()
        let client = try test.client()
        for version in FindCoordinatorRequest.validVersions where version >= 1 {
            var request = FindCoordinatorRequest()
            request.key = "x"
            request.keyType = type
            request.coordinatorKeys = ["x"]
            let response = try client.send(request, version: version)
            let code = version < 4 ? response.errorCode : response.coordinators[0].errorCode
            let message = version < 4 ? response.errorMessage : response.coordinators[0].errorMessage
            #expect(code == error && message?.isEmpty == false)
        }
    }

    @Test func aMembersLifeInEveryVersion() throws {
        // One shard: the groups are there once the first is.
        let test = try TestBroker("offsets.topic.num.partitions=1")
        let client = try test.client()
        try self.findCoordinator(client, "g")
        for version in JoinGroupRequest.validVersions {
            let syncVersion = min(version, SyncGroupRequest.validVersions.upperBound)
            var join = JoinGroupRequest()
            join.groupID = "g\(version)"
            join.sessionTimeoutMs = 10_000
            join.rebalanceTimeoutMs = 10_000
            join.protocolType = "consumer"
            var offered = JoinGroupRequest.RequestProtocol()
            offered.name = "range"
            offered.metadata = [0, 0, 0, 0, 0, 1, 0, 1, 0x74]
            join.protocols = [offered]
            var joined = try client.send(join, version: version)
            if version >= 4 {
                #expect(joined.errorCode == .memberIDRequired && joined.generationID == -1)
                join.memberID = joined.memberID
                joined = try client.send(join, version: version)
            }
            #expect(joined.errorCode == .none && joined.generationID == 1 && joined.leader == joined.memberID)
            #expect(joined.protocolName == "range" && joined.protocolType == (version >= 7 ? "consumer" : nil))
            #expect(joined.members.map(\.metadata) == [offered.metadata])
            #expect(joined.memberID.hasPrefix("test-client-"))

            var sync = SyncGroupRequest()
            sync.groupID = join.groupID
            sync.memberID = joined.memberID
            sync.generationID = 1
            if syncVersion >= 5 {
                // Both must be told from version 5 on.
                #expect(try client.send(sync, version: syncVersion).errorCode == .inconsistentGroupProtocol)
            }
            sync.protocolType = "consumer"
            sync.protocolName = "range"
            var assignment = SyncGroupRequest.Assignment()
            assignment.memberID = joined.memberID
            assignment.assignment = [1, 2, 3]
            sync.assignments = [assignment]
            let synced = try client.send(sync, version: syncVersion)
            #expect(synced.errorCode == .none && synced.assignment == [1, 2, 3])

            for heartbeatVersion in HeartbeatRequest.validVersions {
                var heartbeat = HeartbeatRequest()
                heartbeat.groupID = join.groupID
                heartbeat.memberID = joined.memberID
                heartbeat.generationID = 1
                #expect(try client.send(heartbeat, version: heartbeatVersion).errorCode == .none)
            }
            for describeVersion in DescribeGroupsRequest.validVersions {
                var describe = DescribeGroupsRequest()
                describe.groups = [join.groupID, "nobody"]
                describe.includeAuthorizedOperations = describeVersion >= 3
                let groups = try client.send(describe, version: describeVersion).groups
                #expect(groups.map(\.groupState) == ["Stable", "Dead"])
                #expect(groups.map(\.errorCode) == [.none, describeVersion >= 6 ? .groupIDNotFound : .none])
                #expect(groups[0].members.map(\.clientHost) == ["/127.0.0.1"])
                #expect(groups[0].members.map(\.memberAssignment) == [[1, 2, 3]])
                #expect(groups[0].authorizedOperations == (describeVersion >= 3 ? 3400 : .min))
            }

            let leaveVersion = min(version, LeaveGroupRequest.validVersions.upperBound)
            var leave = LeaveGroupRequest()
            leave.groupID = join.groupID
            leave.memberID = joined.memberID
            var identity = LeaveGroupRequest.MemberIdentity()
            identity.memberID = joined.memberID
            leave.members = [identity]
            let left = try client.send(leave, version: leaveVersion)
            #expect(left.errorCode == .none)
            if leaveVersion >= 3 { #expect(left.members.map(\.errorCode) == [.none]) }
            // Gone already: below version 3 the error is that of the whole.
            let again = try client.send(leave, version: leaveVersion)
            #expect(leaveVersion < 3 ? again.errorCode == .unknownMemberID : again.errorCode == .none)
            if leaveVersion >= 3 { #expect(again.members.map(\.errorCode) == [.unknownMemberID]) }
        }
        for version in ListGroupsRequest.validVersions {
            var list = ListGroupsRequest()
            list.statesFilter = version >= 4 ? ["Empty"] : []
            list.typesFilter = version >= 5 ? ["Classic"] : []
            let groups = try client.send(list, version: version).groups
            #expect(Set(groups.map(\.groupID)) == Set((0...9).map { "g\($0)" }))
            if version >= 5 { #expect(groups.allSatisfy { $0.groupType == "classic" && $0.groupState == "Empty" }) }
        }
        for version in DeleteGroupsRequest.validVersions {
            var delete = DeleteGroupsRequest()
            delete.groupsNames = ["g\(version)", "nobody", "nobody"]
            let results = try client.send(delete, version: version).results
            #expect(results.map(\.groupID) == ["g\(version)", "nobody"])
            #expect(results.map(\.errorCode) == [.none, .groupIDNotFound])
        }
    }

    @Test func offsetsInEveryVersionAndAcrossARestart() throws {
        let test = try TestBroker()
        var client = try test.client()
        try self.findCoordinator(client, "g")
        let id = try self.makeTopic(client, "t")
        for version in OffsetCommitRequest.validVersions {
            let request = self.commit("g", version >= 10 ? "" : "t", 1, Int64(version), id: version >= 10 ? id : .zero)
            let response = try client.send(request, version: version)
            #expect(response.topics.flatMap { $0.partitions.map(\.errorCode) } == [.none], "\(version)")
            #expect(version < 10 || response.topics[0].topicID == id)
        }
        try test.restart()
        client = try test.client()
        try self.findCoordinator(client, "g")
        for version in OffsetFetchRequest.validVersions {
            for all in [false, true] where version >= 2 || !all {
                var request = OffsetFetchRequest()
                request.groupID = "g"
                var topic = OffsetFetchRequest.Topic()
                topic.name = "t"
                topic.partitionIndexes = [1, 2]
                request.topics = all ? nil : [topic]
                var group = OffsetFetchRequest.Group()
                group.groupID = "g"
                var byID = OffsetFetchRequest.Topics()
                byID.name = version >= 10 ? "" : "t"
                byID.topicID = version >= 10 ? id : .zero
                byID.partitionIndexes = [1, 2]
                group.topics = all ? nil : [byID]
                request.groups = [group]
                let response = try client.send(request, version: version)
                let expected: [Int64] = all ? [10] : [10, -1]
                if version < 8 {
                    #expect(response.topics.map(\.name) == ["t"])
                    #expect(response.topics[0].partitions.map(\.committedOffset) == expected)
                    #expect(response.topics[0].partitions[0].metadata == "m10")
                } else {
                    #expect(response.groups.map(\.errorCode) == [.none])
                    let topics = response.groups[0].topics
                    #expect(version >= 10 ? topics.map(\.topicID) == [id] : topics.map(\.name) == ["t"])
                    #expect(topics[0].partitions.map(\.committedOffset) == expected)
                    #expect(topics[0].partitions[0].metadata == "m10")
                }
            }
        }
    }

    @Test func offsetsOfPartitionsThatAreNotThere() throws {
        let test = try TestBroker()
        let client = try test.client()
        try self.findCoordinator(client, "g")
        let id = try self.makeTopic(client, "t", partitions: 1)
        func errors(_ response: OffsetCommitResponse) -> [[ErrorCode]] {
            response.topics.map { $0.partitions.map(\.errorCode) }
        }
        var request = self.commit("g", "nowhere", 0, 1)
        request.topics += self.commit("g", "t", 0, 5).topics
        request.topics[1].partitions += self.commit("g", "t", 1, 6).topics[0].partitions
        request.topics[1].partitions += self.commit("g", "t", -1, 6).topics[0].partitions
        #expect(
            errors(try client.send(request, version: 9))
                == [[.unknownTopicOrPartition], [.none, .unknownTopicOrPartition, .unknownTopicOrPartition]])
        var byID = self.commit("g", "", 0, 7, id: KafkaUUID(high: 1, low: 2))
        byID.topics += self.commit("g", "", 0, 8, id: id).topics
        #expect(errors(try client.send(byID, version: 10)) == [[.unknownTopicID], [.none]])

        var fetch = OffsetFetchRequest()
        var group = OffsetFetchRequest.Group()
        group.groupID = "g"
        var topic = OffsetFetchRequest.Topics()
        topic.topicID = KafkaUUID(high: 1, low: 2)
        topic.partitionIndexes = [0]
        group.topics = [topic]
        topic.topicID = id
        group.topics?.append(topic)
        fetch.groups = [group]
        let fetched = try client.send(fetch, version: 10).groups[0].topics
        let byTopic = Dictionary(uniqueKeysWithValues: fetched.map { ($0.topicID, $0.partitions[0]) })
        #expect(byTopic[id]?.committedOffset == 8)
        #expect(byTopic[KafkaUUID(high: 1, low: 2)]?.errorCode == .unknownTopicID)

        var delete = OffsetDeleteRequest()
        delete.groupID = "g"
        for (name, partitions) in [("t", [Int32(0), 4]), ("nowhere", [0])] {
            var topic = OffsetDeleteRequest.Topic()
            topic.name = name
            topic.partitions = partitions.map {
                var partition = OffsetDeleteRequest.Partition()
                partition.partitionIndex = $0
                return partition
            }
            delete.topics.append(topic)
        }
        let deleted = try client.send(delete, version: 0)
        #expect(deleted.errorCode == .none)
        #expect(
            Dictionary(uniqueKeysWithValues: deleted.topics.map { ($0.name, $0.partitions.map(\.errorCode)) })
                == ["t": [.none, .unknownTopicOrPartition], "nowhere": [.unknownTopicOrPartition]])
        fetch.groups[0].topics = [topic]
        #expect(try client.send(fetch, version: 10).groups[0].topics[0].partitions[0].committedOffset == -1)
    }

    @Test func offsetsGoWithTheirTopic() throws {
        let test = try TestBroker()
        let client = try test.client()
        try self.findCoordinator(client, "g")
        _ = try self.makeTopic(client, "t")
        _ = try self.makeTopic(client, "u")
        _ = try client.send(self.commit("g", "t", 0, 5), version: 9)
        _ = try client.send(self.commit("g", "u", 0, 6), version: 9)
        var delete = DeleteTopicsRequest()
        delete.topicNames = ["t"]
        #expect(try client.send(delete, version: 5).responses.map(\.errorCode) == [.none])
        var fetch = OffsetFetchRequest()
        var group = OffsetFetchRequest.Group()
        group.groupID = "g"
        group.topics = nil
        fetch.groups = [group]
        // The tombstones are written in the background.
        for _ in 0..<2000 {
            if try client.send(fetch, version: 9).groups[0].topics.map(\.name) == ["u"] { return }
            usleep(10_000)
        }
        Issue.record("the offsets of the deleted topic are still there")
    }

    /// Who asks after the session's end is told of it, whenever the timers are looked at next. (librdkafka's suite
    /// deletes a group a millisecond after.)
    @Test func anExpiredSessionIsSeenAtOnce() throws {
        let test = try TestBroker("group.min.session.timeout.ms=1")
        let client = try test.client()
        for round in 0..<3 {
            try self.findCoordinator(client, "g\(round)")
            var join = JoinGroupRequest()
            join.groupID = "g\(round)"
            join.groupInstanceID = "static"
            // Long enough for the next request on a busy machine.
            join.sessionTimeoutMs = Int32(1500 + 10 * round)
            join.rebalanceTimeoutMs = 10_000
            join.protocolType = "consumer"
            join.protocols = [.init()]
            let joined = try client.send(join, version: 5)
            var sync = SyncGroupRequest()
            sync.groupID = join.groupID
            sync.memberID = joined.memberID
            sync.generationID = joined.generationID
            #expect(try client.send(sync, version: 3).errorCode == .none)
            let ends = ContinuousClock.now + .milliseconds(Int(join.sessionTimeoutMs) + 1)
            while ContinuousClock.now < ends { usleep(500) }
            var delete = DeleteGroupsRequest()
            delete.groupsNames = [join.groupID]
            #expect(try client.send(delete, version: 2).results.map(\.errorCode) == [.none], "\(round)")
        }
    }

    /// A member that waits in JoinGroup does not hold up the end of the broker, and is told to look elsewhere.
    @Test func stoppingAnswersWhoeverWaits() throws {
        let test = try TestBroker("group.initial.rebalance.delay.ms=60000")
        let client = try test.client()
        try self.findCoordinator(client, "g")
        var join = JoinGroupRequest()
        join.groupID = "g"
        join.sessionTimeoutMs = 10_000
        join.rebalanceTimeoutMs = 10_000
        join.protocolType = "consumer"
        join.protocols = [.init()]
        let id = try client.sendOnly(join, version: 3)
        let other = try test.client()
        var list = ListGroupsRequest()
        list.statesFilter = ["PreparingRebalance"]
        for _ in 0..<200 where try other.send(list, version: 4).groups.isEmpty { usleep(10_000) }
        test.broker.groupCoordinator.stop()
        #expect(try client.receive(JoinGroupRequest.self, version: 3, correlationID: id).errorCode == .notCoordinator)
    }
}
