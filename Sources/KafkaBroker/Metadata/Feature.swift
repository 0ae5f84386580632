import KafkaMessages
import KafkaMetadata

/// What can be switched by a level that holds for the whole cluster (KIP-584), of Kafka 4.3's features those that are
/// served here.
package enum Feature: String, CaseIterable, Sendable {
    /// Of the format of the metadata. Ours is not Kafka's, and what Kafka's 4.3 can store can be stored: there is one
    /// level.
    case metadataVersion = "metadata.version"
    /// Transactions: 0 and 1 differ in the records of `__transaction_state`, 2 is KIP-890: each transaction in an epoch
    /// of its own, partitions added by Produce.
    case transactionVersion = "transaction.version"
    /// Groups: 1 is the protocol of KIP-848, 0 the classic one alone.
    case groupVersion = "group.version"

    /// Those whose APIs are served: what ApiVersions tells of, and what UpdateFeatures changes.
    package static let served = Feature.allCases.filter { feature in
        guard let key = feature.neededAPI else { return true }
        return ApiHandler.all.contains { $0.key == key }
    }

    /// The API without which the feature is not there.
    private var neededAPI: Int16? {
        switch self {
        case .metadataVersion: nil
        case .transactionVersion: AddPartitionsToTxnRequest.apiKey
        case .groupVersion: ConsumerGroupDescribeRequest.apiKey
        }
    }

    /// Kafka's 4.3-IV0.
    private static var newestMetadataVersion: Int16 { 30 }

    package var levels: ClosedRange<Int16> {
        switch self {
        case .metadataVersion: Self.newestMetadataVersion...Self.newestMetadataVersion
        case .transactionVersion: 0...2
        case .groupVersion: 0...1
        }
    }

    /// Of a cluster that is made with 4.3.
    package var defaultLevel: Int16 { self.levels.upperBound }
}

extension MetadataImage {
    /// The finalized level; 0: switched off.
    package func level(of feature: Feature) -> Int16 {
        let level = self.feature(feature.rawValue)?.level ?? feature.defaultLevel
        // A store that a later version has written.
        return min(max(level, feature.levels.lowerBound), feature.levels.upperBound)
    }
}
