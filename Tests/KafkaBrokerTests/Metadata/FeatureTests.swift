import KafkaMessages
import KafkaMetadata
import KafkaPrimitives
import Testing

@testable import KafkaBroker

/// ApiVersions' features and UpdateFeatures, over the wire.
@Suite struct FeatureTests {
    private static let areServed = ConditionTrait.enabled(
        if: Feature.served == Feature.allCases, "transactions and groups of KIP-848 are not served")

    @Test func whatIsNotServedCannotBeSet() throws {
        let test = try TestBroker()
        let client = try test.client()
        for name in ["share.version", "streams.version", "kraft.version"] {
            let response = try client.send(Self.request([(name, 1, 1)]), version: 2)
            #expect(response.errorCode == .invalidUpdateVersion)
        }
        // The level that there is.
        #expect(try client.send(Self.request([("metadata.version", 30, 1)]), version: 2).errorCode == .none)
        #expect(try client.send(Self.request([("metadata.version", 29, 3)]), version: 2).errorCode != .none)
    }

    private func finalized(_ client: inout TestClient, version: Int16 = 4) throws -> [String: Int16] {
        let response = try client.send(Self.apiVersions, version: version)
        for feature in response.finalizedFeatures { #expect(feature.minVersionLevel == feature.maxVersionLevel) }
        return Dictionary(uniqueKeysWithValues: response.finalizedFeatures.map { ($0.name, $0.maxVersionLevel) })
    }

    private static var apiVersions: ApiVersionsRequest {
        var request = ApiVersionsRequest()
        request.clientSoftwareName = "test"
        request.clientSoftwareVersion = "1"
        return request
    }

    private static func request(
        _ updates: [(name: String, level: Int16, kind: Int8)], validateOnly: Bool = false
    ) -> UpdateFeaturesRequest {
        var request = UpdateFeaturesRequest()
        request.validateOnly = validateOnly
        request.featureUpdates = updates.map { update in
            var key = UpdateFeaturesRequest.FeatureUpdateKey()
            key.feature = update.name
            key.maxVersionLevel = update.level
            key.upgradeType = update.kind
            return key
        }
        return request
    }

    @Test func aFreshClusterHasTheLevelsOf4_3() throws {
        let test = try TestBroker()
        var client = try test.client()
        let levels: [String: Int16] = ["metadata.version": 30, "transaction.version": 2, "group.version": 1]
        let served = Set(Feature.served.map(\.rawValue))
        #expect(try self.finalized(&client) == levels.filter { served.contains($0.key) })
        for version in ApiVersionsRequest.validVersions {
            let response = try client.send(Self.apiVersions, version: version)
            let supported = response.supportedFeatures.map { "\($0.name) \($0.minVersion)-\($0.maxVersion)" }
            switch version {
            case 4...:
                let all = ["metadata.version 30-30", "transaction.version 0-2", "group.version 0-1"]
                #expect(supported == all.filter { served.contains(String($0.prefix { $0 != " " })) })
            // Older clients cannot read those that begin with 0.
            case 3: #expect(supported == ["metadata.version 30-30"])
            default: #expect(response.finalizedFeatures.isEmpty && supported.isEmpty)
            }
            if version >= 3 { #expect(response.finalizedFeaturesEpoch == test.broker.metadata.image.revision) }
        }
    }

    @Test(Self.areServed) func levelsGoDownAndUpAndSurviveARestart() throws {
        let test = try TestBroker()
        var client = try test.client()
        let before = try client.send(Self.apiVersions, version: 4).finalizedFeaturesEpoch
        for version in UpdateFeaturesRequest.validVersions where version > 0 {
            let down = try client.send(
                Self.request([("group.version", 0, 2), ("transaction.version", 1, 3)]), version: version)
            #expect(down.errorCode == .none && down.errorMessage == nil)
            #expect(down.results.map(\.feature) == (version == 1 ? ["group.version", "transaction.version"] : []))
            #expect(down.results.allSatisfy { $0.errorCode == .none })
            // Level 0 is a feature that is not there.
            #expect(try self.finalized(&client) == ["metadata.version": 30, "transaction.version": 1])
            let after = try client.send(Self.apiVersions, version: 4).finalizedFeaturesEpoch
            #expect(after > before)
            try test.restart()
            client = try test.client()
            #expect(try self.finalized(&client) == ["metadata.version": 30, "transaction.version": 1])
            let up = try client.send(
                Self.request([("group.version", 1, 1), ("transaction.version", 2, 1)]), version: version)
            #expect(up.errorCode == .none)
            #expect(
                try self.finalized(&client) == ["metadata.version": 30, "transaction.version": 2, "group.version": 1])
        }
    }

    /// Version 0 says with a flag that it may be a downgrade.
    @Test(Self.areServed) func versionZero() throws {
        let test = try TestBroker()
        var client = try test.client()
        var request = Self.request([("group.version", 0, 1)])
        #expect(try client.send(request, version: 0).errorCode == .invalidUpdateVersion)
        request.featureUpdates[0].allowDowngrade = true
        #expect(try client.send(request, version: 0).errorCode == .none)
        request.featureUpdates[0].maxVersionLevel = 1
        #expect(try client.send(request, version: 0).errorCode == .none)
        #expect(try self.finalized(&client)["group.version"] == 1)
    }

    @Test(Self.areServed) func whatIsCheckedOnlyChangesNothing() throws {
        let test = try TestBroker()
        var client = try test.client()
        let request = Self.request([("group.version", 0, 2)], validateOnly: true)
        #expect(try client.send(request, version: 1).errorCode == .none)
        let refused = Self.request([("group.version", 7, 1)], validateOnly: true)
        #expect(try client.send(refused, version: 2).errorCode == .invalidUpdateVersion)
        #expect(try self.finalized(&client)["group.version"] == 1)
        #expect(try client.send(Self.request([]), version: 2).errorCode == .none)
    }

    @Test(
        arguments: [
            ("group.version", 0, 1), ("group.version", 2, 1), ("group.version", -1, 3), ("group.version", 1, 9),
            ("transaction.version", 3, 1), ("transaction.version", 1, 1), ("metadata.version", 29, 3),
            ("metadata.version", 31, 1), ("share.version", 1, 1), ("nothing", 0, 1), ("", 1, 1),
            ("group.version", 0, 0),
        ] as [(String, Int16, Int8)])
    func isRefused(_ name: String, _ level: Int16, _ kind: Int8) throws {
        let test = try TestBroker()
        var client = try test.client()
        // With another one that would be right: all or nothing.
        let response = try client.send(
            Self.request([("transaction.version", 0, 3), (name, level, kind)]), version: 2)
        #expect(response.errorCode == .invalidUpdateVersion)
        #expect(
            response.errorMessage?.hasPrefix(
                "The update failed for all features since the following feature had an error: Invalid update version")
                == true)
        #expect(response.results.isEmpty)
        #expect(try self.finalized(&client)["transaction.version"] == 2)
    }

    /// A downgrade to a higher level, once there is one.
    @Test(Self.areServed) func aDowngradeDoesNotGoUp() throws {
        let test = try TestBroker()
        let client = try test.client()
        #expect(try client.send(Self.request([("group.version", 0, 2)]), version: 1).errorCode == .none)
        #expect(
            try client.send(Self.request([("group.version", 1, 2)]), version: 1).errorCode == .invalidUpdateVersion)
        // The level that it has may be asked for in every way.
        for kind in Int8(1)...3 {
            #expect(try client.send(Self.request([("group.version", 0, kind)]), version: 1).errorCode == .none)
        }
    }

    /// group.version 0: the protocol of KIP-848 is off, and on again with 1.
    @Test(Self.areServed) func groupVersionSwitchesTheConsumerProtocol() throws {
        let test = try TestBroker()
        let client = try test.client()
        var heartbeat = ConsumerGroupHeartbeatRequest()
        heartbeat.groupID = "g"
        heartbeat.memberID = "m"
        heartbeat.memberEpoch = 7
        var describe = ConsumerGroupDescribeRequest()
        describe.groupIDs = ["g"]
        #expect(try client.send(Self.request([("group.version", 0, 2)]), version: 2).errorCode == .none)
        #expect(try client.send(heartbeat, version: 1).errorCode == .unsupportedVersion)
        #expect(try client.send(describe, version: 1).groups.map(\.errorCode) == [.unsupportedVersion])
        #expect(try client.send(Self.request([("group.version", 1, 1)]), version: 2).errorCode == .none)
        #expect(try client.send(describe, version: 1).groups.map(\.errorCode) != [.unsupportedVersion])
    }
}
