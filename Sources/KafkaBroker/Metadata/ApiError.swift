import KafkaMetadata
import KafkaPrimitives

/// Why a part of a request is refused: a code for clients and a sentence for people.
package struct ApiError: Error, Equatable, Sendable {
    package var code: ErrorCode
    package var message: String?

    package init(_ code: ErrorCode, _ message: String? = nil) {
        self.code = code
        self.message = message
    }

    init(_ error: MetadataStoreError) {
        switch error {
        case .closed: self.init(.brokerNotAvailable, "The broker is shutting down.")
        default: self.init(.unknownServerError, "\(error)")
        }
    }

    /// The message, else what the code means.
    package var text: String { self.message ?? self.code.defaultMessage }
}
