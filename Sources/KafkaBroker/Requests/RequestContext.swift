import KafkaPrimitives
import KafkaTransport

/// A host and port at which clients reach a broker.
package struct Endpoint: Hashable, Sendable {
    package var host: String
    /// 0...65535.
    package var port: Int32

    package init(host: String, port: Int32) {
        self.host = host
        self.port = port
    }
}

/// What a handler knows of a request besides its body.
package struct RequestContext: Sendable {
    package let broker: Broker
    package let apiKey: Int16
    package let apiVersion: Int16
    package let correlationID: Int32
    package let clientID: String?
    /// The client's address as Kafka writes it: `/127.0.0.1`.
    package let clientHost: String
    package let listenerName: String
    /// Where this client reaches this broker: `advertised.listeners`, or else the address of its own connection.
    package let endpoint: Endpoint
    package let connectionID: UInt64
    /// Wall clock, milliseconds since 1970.
    package let nowMs: Int64
}
