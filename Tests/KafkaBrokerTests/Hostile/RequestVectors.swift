import Glibc
import KafkaMessages
import KafkaPrimitives

@testable import KafkaBroker

/// The body of a request as it goes over the wire.
struct RequestBody: Sendable, CustomStringConvertible {
    var key: Int16
    var version: Int16
    var bytes: [UInt8]

    var description: String { "\(servedRequests[self.key].map { "\($0)" } ?? "?") version \(self.version)" }

    /// The whole frame: length, header in the form that the version asks for, body.
    func frame(correlationID: Int32, clientID: String? = "hostile") -> [UInt8] {
        let isFlexible = (servedRequests[self.key]?.requestHeaderVersion(self.version) ?? 1) >= 2
        let bytes = withEncoded(capacity: self.bytes.count + 64) { writer in
            writer.writeInt16(self.key)
            writer.writeInt16(self.version)
            writer.writeInt32(correlationID)
            writer.writeNullableString(clientID, flexible: false)
            if isFlexible { writer.writeUnsignedVarint(0) }
            writer.writeRaw(self.bytes)
        }
        return withEncoded { $0.writeInt32(Int32(bytes.count)) } + bytes
    }

    /// What is wrong with an answer to it; nil where nothing is.
    func problem(ofAnswer bytes: [UInt8], correlationID: Int32) -> String? {
        guard let type = servedRequests[self.key] else { return "no such API" }
        func check<Request: KafkaRequest>(_: Request.Type) -> String? {
            bytes.withUnsafeBytes { bytes in
                var reader = ByteReader(bytes)
                do {
                    let id = try reader.readInt32()
                    guard id == correlationID else { return "correlation id \(id), not \(correlationID)" }
                    if Request.responseHeaderVersion(self.version) >= 1 { try reader.skipTaggedFields() }
                    _ = try Request.Response(from: &reader, version: self.version)
                    try reader.finish()
                    return nil
                } catch {
                    return "an answer that cannot be read: \(error)"
                }
            }
        }
        return check(type)
    }
}

extension RequestBody {
    init<Request: KafkaRequest>(_ request: Request, version: Int16) {
        self.init(key: Request.apiKey, version: version, bytes: request.encoded(version: version))
    }

    /// The request in each version that is served.
    static func all<Request: KafkaRequest>(_ request: Request) -> [RequestBody] {
        let served = ApiHandler.all.first { $0.key == Request.apiKey }?.versions ?? Request.validVersions
        return served.map { RequestBody(request, version: $0) }
    }
}

/// The types of the requests that are served, by key.
let servedRequests: [Int16: any KafkaRequest.Type] = {
    let types: [any KafkaRequest.Type] = [
        SaslHandshakeRequest.self, SaslAuthenticateRequest.self,
        ProduceRequest.self, FetchRequest.self, ListOffsetsRequest.self, MetadataRequest.self,
        OffsetCommitRequest.self, OffsetFetchRequest.self, FindCoordinatorRequest.self, JoinGroupRequest.self,
        HeartbeatRequest.self, LeaveGroupRequest.self, SyncGroupRequest.self, DescribeGroupsRequest.self,
        ListGroupsRequest.self, ApiVersionsRequest.self, CreateTopicsRequest.self, DeleteTopicsRequest.self,
        DeleteRecordsRequest.self, AlterReplicaLogDirsRequest.self, DescribeLogDirsRequest.self,
        InitProducerIdRequest.self, OffsetForLeaderEpochRequest.self, DescribeConfigsRequest.self,
        AlterConfigsRequest.self, CreatePartitionsRequest.self, DeleteGroupsRequest.self,
        IncrementalAlterConfigsRequest.self, OffsetDeleteRequest.self, DescribeClusterRequest.self,
        ListConfigResourcesRequest.self, DescribeTopicPartitionsRequest.self, ConsumerGroupHeartbeatRequest.self,
        ShareGroupHeartbeatRequest.self, AddPartitionsToTxnRequest.self, AddOffsetsToTxnRequest.self,
        EndTxnRequest.self, WriteTxnMarkersRequest.self, DescribeProducersRequest.self,
        DescribeTransactionsRequest.self, ListTransactionsRequest.self, TxnOffsetCommitRequest.self,
        ConsumerGroupDescribeRequest.self, UpdateFeaturesRequest.self, ElectLeadersRequest.self,
        AlterPartitionReassignmentsRequest.self, ListPartitionReassignmentsRequest.self, DescribeQuorumRequest.self,
    ]
    return Dictionary(uniqueKeysWithValues: types.map { ($0.apiKey, $0) })
}()

/// The golden requests of every API and version that is served.
func goldenRequests() throws -> [RequestBody] {
    let path =
        #filePath.split(separator: "/").dropLast(3).reduce(into: "") { $0 += "/" + $1 }
        + "/Vectors/message-vectors.jsonl.gz"
    var keys: [String: ApiHandler] = [:]
    for handler in ApiHandler.all {
        guard let type = servedRequests[handler.key] else { throw TestFailure("\(handler.name) is not in the table") }
        keys["\(type)"] = handler
    }
    var requests: [RequestBody] = []
    for line in try unpackedLines(path) {
        // A line is {"message":"NAME","version":N,"value":…,"hex":"…"}.
        guard let message = line.text(after: "{\"message\":\"", upTo: "\""), let handler = keys[message],
            let version = line.text(after: "\"version\":", upTo: ",").flatMap({ Int16($0) }),
            handler.versions.contains(version)
        else { continue }
        guard let hex = line.lastText(after: "\"hex\":\"", upTo: "\""), let bytes = unhexed(hex) else {
            throw TestFailure("a vector without bytes: \(line.prefix(80))")
        }
        requests.append(RequestBody(key: handler.key, version: version, bytes: bytes))
    }
    return requests
}

private func unpackedLines(_ path: String) throws -> [Substring] {
    guard let pipe = popen("gzip -dc '\(path)'", "r") else { throw TestFailure("popen: \(errno)") }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
        let count = fread(&buffer, 1, buffer.count, pipe)
        if count == 0 { break }
        bytes += buffer[..<count]
    }
    guard pclose(pipe) == 0 else { throw TestFailure("gzip -dc \(path) failed") }
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n")
}

extension Substring {
    fileprivate func text(after start: String, upTo end: Character) -> String? {
        guard let range = self.firstRange(of: start) else { return nil }
        return String(self[range.upperBound...].prefix { $0 != end })
    }

    /// The bytes come last in a line; a value may hold anything.
    fileprivate func lastText(after start: String, upTo end: Character) -> String? {
        guard let range = self.ranges(of: start).last else { return nil }
        return String(self[range.upperBound...].prefix { $0 != end })
    }
}

private func unhexed(_ text: String) -> [UInt8]? {
    let digits = Array(text.utf8)
    guard digits.count % 2 == 0 else { return nil }
    func value(_ digit: UInt8) -> UInt8 { digit >= 0x61 ? digit - 0x61 + 10 : digit - 0x30 }
    return stride(from: 0, to: digits.count, by: 2).map { value(digits[$0]) << 4 | value(digits[$0 + 1]) }
}
