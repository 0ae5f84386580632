import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaBroker

/// Requests that cost the sender little and the broker, if it let them, much.
@Suite(.serialized) struct HostileSizeTests {
    private static let many = 100_000

    private func many<T>(_ element: T, _ count: Int = Self.many) -> [T] { Array(repeating: element, count: count) }

    /// Sends the newest version of a request; the size of what comes back, nil where the connection was closed.
    @discardableResult
    private func send<Request: KafkaRequest>(_ test: TestBroker, _ request: Request) throws -> Int? {
        let body = try #require(RequestBody.all(request).last)
        switch try test.outcome(of: body) {
        case .answer(let bytes): return bytes.count
        case .closed: return nil
        case .silence: throw TestFailure("\(body): no fate")
        }
    }

    @Test func hundredsOfThousandsOfNothing() throws {
        let test = try TestBroker()
        try test.expectNormalWork("before")
        let live = try LiveRequests(test)
        let before = residentBytes()

        var find = FindCoordinatorRequest()
        find.coordinatorKeys = self.many("", 1_000_000)
        try self.send(test, find)
        var metadata = MetadataRequest()
        metadata.topics = self.many(.init())
        try self.send(test, metadata)
        var create = CreateTopicsRequest()
        create.topics = self.many(.init())
        try self.send(test, create)
        create.topics = (0..<20_000).map { .init("t\($0)", partitions: 1) }
        create.validateOnly = true
        try self.send(test, create)
        var delete = DeleteTopicsRequest()
        delete.topics = self.many(.init())
        try self.send(test, delete)
        var partitions = CreatePartitionsRequest()
        partitions.topics = self.many(.init())
        try self.send(test, partitions)
        var alter = AlterConfigsRequest()
        alter.resources = self.many(.init())
        try self.send(test, alter)
        var config = AlterConfigsRequest.AlterableConfig()
        var resource = AlterConfigsRequest.Resource()
        resource.resourceType = 4
        resource.resourceName = "1"
        resource.configs = (0..<Self.many).map { index in
            config.name = "unknown.\(index)"
            config.value = "value of some length"
            return config
        }
        alter.resources = [resource]
        try self.send(test, alter)
        var incremental = IncrementalAlterConfigsRequest()
        incremental.resources = self.many(.init())
        try self.send(test, incremental)
        var describePartitions = DescribeTopicPartitionsRequest()
        describePartitions.topics = self.many(.init())
        try self.send(test, describePartitions)
        var list = ListOffsetsRequest()
        list.topics = self.many(.init())
        try self.send(test, list)
        list.topics = [.init()]
        list.topics[0].name = LiveRequests.topic
        list.topics[0].partitions = self.many(.init())
        try self.send(test, list)
        var epochs = OffsetForLeaderEpochRequest()
        epochs.topics = self.many(.init())
        try self.send(test, epochs)
        var listed = ListGroupsRequest()
        listed.statesFilter = self.many("")
        try self.send(test, listed)
        var resources = ListConfigResourcesRequest()
        resources.resourceTypes = self.many(2)
        try self.send(test, resources)
        var deleteGroups = DeleteGroupsRequest()
        deleteGroups.groupsNames = (0..<Self.many).map { "g\($0)" }
        try self.send(test, deleteGroups)
        try self.groups(test)
        try self.data(test, live)

        try test.expectNormalWork("after")
        let grown = residentBytes() - before
        #expect(grown < 1 << 30, "resident memory grew by \(grown >> 20) MiB")
    }

    private func groups(_ test: TestBroker) throws {
        var join = JoinGroupRequest()
        join.groupID = "many"
        join.sessionTimeoutMs = 6_000
        join.protocolType = "consumer"
        join.protocols = self.many(.init())
        try self.send(test, join)
        var sync = SyncGroupRequest()
        sync.groupID = "many"
        sync.protocolType = "consumer"
        sync.protocolName = ""
        sync.assignments = self.many(.init())
        try self.send(test, sync)
        var leave = LeaveGroupRequest()
        leave.groupID = "many"
        leave.members = self.many(.init())
        try self.send(test, leave)
        var commit = OffsetCommitRequest()
        commit.groupID = "many"
        commit.topics = self.many(.init())
        try self.send(test, commit)
        // A topic that is there, and as many that are not: each pair was looked for.
        var known = OffsetDeleteRequest.Topic()
        known.name = LiveRequests.topic
        known.partitions = [.init()]
        var unknown = known
        var deleteOffsets = OffsetDeleteRequest()
        deleteOffsets.groupID = LiveRequests.group
        deleteOffsets.topics =
            self.many(known)
            + (0..<Self.many).map { index in
                unknown.name = "no\(index)"
                return unknown
            }
        try self.send(test, deleteOffsets)
    }

    private func data(_ test: TestBroker, _ live: LiveRequests) throws {
        var wanted = FetchRequest.Partition()
        wanted.partitionMaxBytes = 1
        var topic = FetchRequest.Topic()
        topic.topicID = live.topicID
        topic.partitions = self.many(wanted)
        var fetch = FetchRequest()
        fetch.topics = [topic]
        fetch.sessionEpoch = 0
        try self.send(test, fetch)
        // As many as are allowed, all the same, and each of them would be watched.
        fetch.topics[0].partitions = self.many(wanted, 10_000)
        fetch.minBytes = 1 << 20
        fetch.maxWaitMs = 50
        try self.send(test, fetch)
        var produce = live.produce([])
        produce.topicData[0].partitionData = self.many(.init())
        try self.send(test, produce)
    }

    /// What is named a thousand times is not told a thousand times.
    @Test func repeatedNamesDoNotMultiplyAnAnswer() throws {
        let test = try TestBroker()
        try test.expectNormalWork("before")
        var described = DescribeConfigsRequest.Resource()
        described.resourceType = 4
        described.resourceName = "1"
        described.configurationKeys = nil
        var describe = DescribeConfigsRequest()
        describe.includeDocumentation = true
        describe.includeSynonyms = true
        describe.resources = [described]
        let one = try #require(try self.send(test, describe))
        describe.resources = self.many(described, 10_000)
        let all = try #require(try self.send(test, describe))
        #expect(all < one + 10_000 * 100)

        let client = try test.client()
        let name = String(repeating: "n", count: 1_000)
        var describeGroups = DescribeGroupsRequest()
        describeGroups.groups = self.many(name, 10)
        let groups = try client.send(describeGroups, version: 5).groups
        #expect(groups.map(\.groupID) == [name])
        var group = OffsetFetchRequest.Group()
        group.groupID = "before"
        group.topics = nil
        var fetch = OffsetFetchRequest()
        fetch.groups = [group, group]
        let fetched = try client.send(fetch, version: 8).groups
        #expect(fetched.map(\.errorCode) == [.none, .invalidRequest])
        #expect(fetched.map(\.topics.count) == [1, 0] || fetched.map(\.topics.count) == [0, 0])
    }

    @Test func ordinaryRequestsHaveALimitOfTheirOwn() throws {
        let test = try TestBroker()
        var find = FindCoordinatorRequest()
        find.coordinatorKeys = self.many(String(repeating: "k", count: 32_000), 540)
        #expect(try self.send(test, find) == nil)
        find.coordinatorKeys.removeLast(30)
        #expect(try self.send(test, find) != nil)
    }

    @Test func tenThousandGroups() throws {
        let test = try TestBroker()
        try test.expectNormalWork("before")
        let live = try LiveRequests(test)
        let client = try test.client()
        let before = residentBytes()
        var partition = OffsetCommitRequest.Partition()
        partition.committedMetadata = "m"
        var topic = OffsetCommitRequest.Topic()
        topic.name = LiveRequests.topic
        topic.topicID = live.topicID
        topic.partitions = [partition]
        var commit = OffsetCommitRequest()
        commit.topics = [topic]
        for index in 0..<10_000 {
            commit.groupID = "group \(index)"
            let code = try client.send(commit, version: 9).topics[0].partitions[0].errorCode
            #expect(code == .none)
        }
        #expect(try client.send(ListGroupsRequest(), version: 5).groups.count >= 10_000)
        try test.expectNormalWork("after")
        // Some kilobytes each; other tests run in the same process meanwhile, and some of them take 100 MB.
        #expect(residentBytes() - before < 512 << 20)
        try test.restart()
        try test.expectNormalWork("restarted")
        var listed = try test.client().send(ListGroupsRequest(), version: 5)
        while listed.errorCode == .coordinatorLoadInProgress {
            listed = try test.client().send(ListGroupsRequest(), version: 5)
        }
        #expect(listed.groups.count >= 10_000)
    }

    /// Connection limits hold as soon as they are set.
    @Test func connectionLimitsWhileRunning() throws {
        let test = try TestBroker()
        let client = try test.client()
        func set(_ name: String, _ value: String) throws {
            var config = IncrementalAlterConfigsRequest.AlterableConfig()
            config.name = name
            config.value = value
            var resource = IncrementalAlterConfigsRequest.AlterConfigsResource()
            resource.resourceType = 4
            resource.resourceName = ""
            resource.configs = [config]
            var request = IncrementalAlterConfigsRequest()
            request.resources = [resource]
            #expect(try client.send(request, version: 1).responses.map(\.errorCode) == [.none])
        }
        let versions = RequestBody(ApiVersionsRequest(), version: 0)
        func isServed() throws -> Bool { try test.outcome(of: versions) != .closed }
        #expect(try isServed())
        for (name, one, more) in [
            ("max.connections", "1", "100"), ("max.connections.per.ip", "1", "100"),
            ("max.connections.per.ip.overrides", "127.0.0.1:1", "127.0.0.1:100"),
        ] {
            try set(name, one)
            #expect(try !isServed(), "\(name)")
            try set(name, more)
            #expect(try isServed(), "\(name)")
        }
    }
}
