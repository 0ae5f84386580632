import KafkaMetadata
import KafkaPrimitives

/// Which names topics may have.
package enum TopicNames {
    package static let maximalLength = 249
    package static let clusterMetadata = "__cluster_metadata"

    /// Why `name` cannot be a topic's (INVALID_TOPIC_EXCEPTION), or nil.
    package static func refusal(of name: String) -> ApiError? {
        guard let reason = self.reason(name) else { return nil }
        return ApiError(.invalidTopicException, "Topic name is invalid: \(reason)")
    }

    private static func reason(_ name: String) -> String? {
        if name.isEmpty { return "the empty string is not allowed" }
        if name == "." || name == ".." { return "'\(name)' is not allowed" }
        guard name.utf8.allSatisfy(self.isLegal) else {
            return "'\(name)' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        }
        if name.utf8.count > self.maximalLength {
            return "the length of '\(name)' is longer than the max allowed length \(self.maximalLength)"
        }
        return nil
    }

    private static func isLegal(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
            || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-")
    }
}
