import KafkaLog
import KafkaMessages
import KafkaPrimitives
import Testing

@testable import KafkaBroker

/// The first bytes of a connection: ApiVersions, and requests that are not served.
@Suite struct WireTests {
    /// A request as bytes, whatever its key and version.
    private func frame(
        key: Int16, version: Int16, correlationID: Int32 = 7, flexible: Bool = false, body: [UInt8] = []
    ) -> [UInt8] {
        let request = withEncoded { writer in
            writer.writeInt16(key)
            writer.writeInt16(version)
            writer.writeInt32(correlationID)
            writer.writeNullableString("me", flexible: false)
            if flexible { writer.writeUnsignedVarint(0) }
        }
        return withEncoded { $0.writeInt32(Int32(request.count + body.count)) } + request + body
    }

    private var apiVersions: ApiVersionsRequest {
        var request = ApiVersionsRequest()
        request.clientSoftwareName = "ottla-test"
        request.clientSoftwareVersion = "1.0"
        return request
    }

    @Test func apiVersionsTellsWhatIsServed() throws {
        let test = try TestBroker()
        let client = try test.client()
        for version in ApiVersionsRequest.validVersions {
            let response = try client.send(self.apiVersions, version: version)
            #expect(response.errorCode == .none)
            #expect(response.apiKeys.map(\.apiKey) == response.apiKeys.map(\.apiKey).sorted())
            var ranges: [Int16: [Int16]] = [:]
            for api in response.apiKeys { ranges[api.apiKey] = [api.minVersion, api.maxVersion] }
            #expect(ranges.count == response.apiKeys.count && ranges.count == ApiHandler.all.count)
            // librdkafka wants to see Produce from 0 on (KAFKA-18659).
            #expect(ranges[0] == [0, 13] && ranges[1] == [4, 18] && ranges[2] == [1, 11])
            #expect(ranges[18] == [0, 4] && ranges[23] == [2, 4])
        }
    }

    /// A client that wants to log in has taken this listener for another; it goes on when it leaves that.
    @Test func saslIsRefusedWhereThereIsNone() throws {
        let test = try TestBroker()
        let client = try test.client()
        for version in SaslHandshakeRequest.validVersions {
            var request = SaslHandshakeRequest()
            request.mechanism = "PLAIN"
            let answer = try client.send(request, version: version)
            #expect(answer.errorCode == .illegalSaslState && answer.mechanisms.isEmpty)
        }
        for version in SaslAuthenticateRequest.validVersions {
            let answer = try client.send(SaslAuthenticateRequest(), version: version)
            #expect(answer.errorCode == .illegalSaslState && answer.authBytes.isEmpty)
            #expect(answer.errorMessage?.contains("SaslAuthenticate") == true)
        }
        #expect(try client.send(self.apiVersions, version: 3).errorCode == .none)
    }

    @Test func apiVersionsThatAreNotServedAreAnsweredInVersion0() throws {
        let test = try TestBroker()
        let client = try test.client()
        for version: Int16 in [99, 5, .max, -1] {
            try client.write(self.frame(key: 18, version: version, correlationID: 1234, flexible: version > 0))
            let answer = try client.receiveFrame()
            let expected = withEncoded { writer in
                writer.writeInt32(1234)
                writer.writeInt16(35)
                writer.writeInt32(1)
                writer.writeInt16(18)
                writer.writeInt16(0)
                writer.writeInt16(4)
            }
            #expect(answer == expected)
        }
        // The connection goes on.
        #expect(try client.send(self.apiVersions, version: 4).errorCode == .none)
    }

    @Test func namesOfSoftware() throws {
        let test = try TestBroker()
        let client = try test.client()
        for (name, softwareVersion, isGood) in [
            ("a", "1", true), ("apache-kafka-java", "4.3.0-rc.1", true), ("A.b-9", "9", true), ("", "1", false),
            ("a", "", false), ("-a", "1", false), ("a-", "1", false), ("a", ".1", false), ("a b", "1", false),
            ("a", "1_0", false), ("ä", "1", false), ("a", "1\n", false), ("-", "1", false),
        ] as [(String, String, Bool)] {
            for version in ApiVersionsRequest.validVersions {
                var request = self.apiVersions
                request.clientSoftwareName = name
                request.clientSoftwareVersion = softwareVersion
                let response = try client.send(request, version: version)
                let isAccepted = isGood || version < 3
                #expect(response.errorCode == (isAccepted ? .none : .invalidRequest), "\(name) \(softwareVersion)")
                #expect(response.apiKeys.isEmpty == !isAccepted)
            }
        }
    }

    @Test func whatIsNotServedClosesTheConnection() throws {
        let test = try TestBroker()
        var refused: [(Int16, Int16)] = [
            (-1, 0), (.min, 0), (.max, 0), (4, 0), (6, 0), (127, 0), (128, 0), (999, 0),
            (0, 0), (0, 1), (0, 2), (0, -1), (1, 3),
        ]
        for handler in ApiHandler.all where handler.key != 18 {
            refused.append((handler.key, handler.versions.upperBound + 1))
            if handler.versions.lowerBound > 0 { refused.append((handler.key, handler.versions.lowerBound - 1)) }
        }
        for (key, version) in refused {
            let client = try test.client()
            // What was answered before still arrives.
            let id = try client.sendOnly(self.apiVersions, version: 0)
            try client.write(self.frame(key: key, version: version, flexible: true))
            _ = try client.receive(ApiVersionsRequest.self, version: 0, correlationID: id)
            #expect(client.isClosedByBroker(), "\(key) \(version)")
        }
        #expect(try test.client().send(self.apiVersions, version: 3).errorCode == .none)
    }

    @Test func whatCannotBeReadClosesTheConnection() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t")
        func body<Request: KafkaRequest>(_ request: Request, _ version: Int16) -> [UInt8] {
            withEncoded { request.encode(into: &$0, version: version) }
        }
        let produce = body(ProduceRequest(topic, batch()), 9)
        let fetch = body(FetchRequest(topic, from: 0), 12)
        var listed = ListOffsetsRequest()
        listed.topics = [ListOffsetsRequest.Topic()]
        let list = body(listed, 6)
        for (key, version, body) in [(0, 9, produce), (1, 12, fetch), (2, 6, list)] as [(Int16, Int16, [UInt8])] {
            // Every third prefix of it: cut off in the middle of something.
            for count in stride(from: 0, to: body.count, by: 3) {
                let client = try test.client()
                try client.write(self.frame(key: key, version: version, flexible: true, body: Array(body[..<count])))
                #expect(client.isClosedByBroker(), "\(key), \(count) of \(body.count) bytes")
            }
        }
        // Headers: none, a client id longer than the frame, and one of a wrong length.
        for bytes in [[0, 0, 0, 0], [0, 0, 0, 2, 0, 18], [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0x7f, 0xff]]
            as [[UInt8]]
        {
            let client = try test.client()
            try client.write(bytes)
            #expect(client.isClosedByBroker())
        }
        #expect(try test.partition(topic).log.logEndOffset == 0)
    }

    @Test func clientIDsMayBeAnything() throws {
        let test = try TestBroker()
        let client = try test.client()
        // Null, and bytes that are not UTF-8.
        for id in [[0xff, 0xff], [0, 3, 0xff, 0xfe, 0x80]] as [[UInt8]] {
            let header: [UInt8] = [0, 18, 0, 0, 0, 0, 0, 9] + id
            try client.write(withEncoded { $0.writeInt32(Int32(header.count)) } + header)
            _ = try client.receive(ApiVersionsRequest.self, version: 0, correlationID: 9)
        }
    }

    @Test func kafkasOwnAdminClientMayWriteToInternalTopics() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("__transaction_state")
        let client = try test.client()
        let body = withEncoded { ProduceRequest(topic, batch()).encode(into: &$0, version: 3) }
        let header = withEncoded { writer in
            writer.writeInt16(0)
            writer.writeInt16(3)
            writer.writeInt32(5)
            writer.writeNullableString("__admin_client", flexible: false)
        }
        try client.write(withEncoded { $0.writeInt32(Int32(header.count + body.count)) } + header + body)
        let response = try client.receive(ProduceRequest.self, version: 3, correlationID: 5)
        #expect(response.responses[0].partitionResponses[0].errorCode == .none)
    }
}
