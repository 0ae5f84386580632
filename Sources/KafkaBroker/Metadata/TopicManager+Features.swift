import KafkaMetadata
import KafkaPrimitives

/// A wish to change the level of a feature.
package struct FeatureUpdate: Sendable {
    package enum Kind: Int8, Sendable {
        case upgrade = 1
        case safeDowngrade = 2
        case unsafeDowngrade = 3
    }

    package var name: String
    package var level: Int16
    /// Nil: one that is not known.
    package var kind: Kind?

    package init(name: String, level: Int16, kind: Kind?) {
        self.name = name
        self.level = level
        self.kind = kind
    }

    /// INVALID_UPDATE_VERSION or nil.
    func refusal(current: (Feature) -> Int16) -> ApiError? {
        guard let kind = self.kind else { return self.error("The controller does not support the given upgrade type.") }
        if self.level < 0 { return self.error("A feature version cannot be less than 0.") }
        guard let feature = Feature(rawValue: self.name), Feature.served.contains(feature) else {
            return self.error("The broker does not support this feature.")
        }
        let levels = feature.levels
        guard levels.contains(self.level) else {
            return self.error("The broker only supports versions \(levels.lowerBound)-\(levels.upperBound)")
        }
        let current = current(feature)
        if self.level < current && kind == .upgrade {
            return self.error(
                """
                Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe \
                downgrade.
                """)
        }
        if self.level > current && kind != .upgrade { return self.error("Can't downgrade to a newer version.") }
        return nil
    }

    private func error(_ reason: String) -> ApiError {
        ApiError(.invalidUpdateVersion, "Invalid update version \(self.level) for feature \(self.name). \(reason)")
    }
}

extension TopicManager {
    /// Changes all of them or, with the first one's error, none. Of several for one feature the last one counts.
    package func updateFeatures(
        _ updates: [FeatureUpdate], validateOnly: Bool, _ completion: @escaping @Sendable (ApiError?) -> Void
    ) {
        let last = Dictionary(updates.map { ($0.name, $0) }, uniquingKeysWith: { $1 })
        let ordered = last.values.sorted { $0.name < $1.name }
        self.attempt(validateOnly: validateOnly, completion) { context in
            var transaction = MetadataTransaction(changes: [])
            for update in ordered {
                if let refusal = update.refusal(current: { context.image.level(of: $0) }) { return .failure(refusal) }
                let known = context.image.feature(update.name)
                let key = MetadataKeys.feature(update.name)
                transaction.compares.append(.modRevision(key, known?.revision ?? 0))
                if known?.level != update.level {
                    transaction.changes.append(.put(key, FeatureLevel.record(update.level).bytes))
                }
            }
            return .success(transaction)
        }
    }
}
