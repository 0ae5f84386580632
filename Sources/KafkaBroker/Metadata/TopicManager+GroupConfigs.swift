import KafkaMetadata
import KafkaPrimitives

extension TopicManager {
    /// Changes what is set for a group, whether it is there or not.
    package func alterGroupConfigs(
        _ group: String, validateOnly: Bool, _ completion: @escaping @Sendable (ApiError?) -> Void,
        change: @escaping @Sendable ([String: String]) -> Result<[String: String], ApiError>
    ) {
        self.attempt(validateOnly: validateOnly, completion) { context in
            if group.isEmpty { return .failure(ApiError(.invalidRequest, "Default group resources are not allowed.")) }
            let before = context.image.groupConfigs(group)
            return change(before).flatMap { configs in
                if let refusal = GroupConfigs.refusal(of: configs, before: before, broker: context.config) {
                    return .failure(ApiError(.invalidConfig, refusal))
                }
                if Self.isTooLong(configs) { return .failure(Self.tooLong) }
                let key = MetadataKeys.groupConfig(group)
                return .success(
                    MetadataTransaction(
                        compares: [.modRevision(key, context.image.groupConfigRevision(group))],
                        changes: configs == before ? [] : [Self.put(configs, key)]))
            }
        }
    }
}
