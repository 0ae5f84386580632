/// What is known of every API of the protocol, whether this broker serves it or not.
package enum MessageIndex {
    package struct API: Equatable, Sendable {
        package let key: Int16
        /// Kafka's name: `Heartbeat`.
        package let name: String
        /// All versions with a definition. Nil: the API has been removed.
        package let versions: ClosedRange<Int16>?
        package let firstFlexibleVersion: Int16?
        /// The last version is not final yet.
        package let isUnstable: Bool
        /// Kafka's brokers serve it, as against its controllers only.
        package let isBroker: Bool

        /// The versions that are final.
        package var stableVersions: ClosedRange<Int16>? {
            guard let versions, self.isUnstable else { return self.versions }
            return versions.lowerBound < versions.upperBound ? versions.lowerBound...(versions.upperBound - 1) : nil
        }

        package func isFlexible(_ version: Int16) -> Bool {
            guard let firstFlexibleVersion else { return false }
            return version >= firstFlexibleVersion
        }
    }

    /// Nil for a key that the protocol does not have.
    package static func api(_ key: Int16) -> API? {
        let index = Int(key)
        return self.apis.indices.contains(index) ? self.apis[index] : nil
    }

    /// The version of RequestHeader before a request; 1 for a key that is not known. A version higher than those
    /// known counts as flexible where the latest one is.
    package static func requestHeaderVersion(apiKey: Int16, version: Int16) -> Int16 {
        self.api(apiKey)?.isFlexible(version) ?? false ? 2 : 1
    }

    /// The version of ResponseHeader before an answer; always 0 for ApiVersions (KIP-511).
    package static func responseHeaderVersion(apiKey: Int16, version: Int16) -> Int16 {
        apiKey != 18 && self.api(apiKey)?.isFlexible(version) ?? false ? 1 : 0
    }
}
