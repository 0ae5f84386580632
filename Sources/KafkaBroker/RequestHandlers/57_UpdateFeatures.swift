import KafkaMessages
import KafkaMetadata
import KafkaPrimitives

// UpdateFeatures 0-2 (KIP-584). All are changed, or none: the first error is that of the whole answer. 0 says whether it
// may be a downgrade, 1 of what kind, and can ask for a check alone; 2 has no results feature by feature, which without
// an error say nothing.
extension ApiHandler {
    static let updateFeatures = ApiHandler.ordinary(UpdateFeaturesRequest.self) { request, context, respond in
        let image = context.broker.metadata.image
        let updates = request.featureUpdates.map { update in
            var kind = FeatureUpdate.Kind(rawValue: update.upgradeType)
            if context.apiVersion == 0 {
                let level = Feature(rawValue: update.feature).map(image.level(of:)) ?? 0
                kind = update.allowDowngrade && update.maxVersionLevel < level ? .safeDowngrade : .upgrade
            }
            return FeatureUpdate(name: update.feature, level: update.maxVersionLevel, kind: kind)
        }
        let version = context.apiVersion
        context.broker.topicManager.updateFeatures(updates, validateOnly: version > 0 && request.validateOnly) {
            error in
            var response = UpdateFeaturesResponse()
            response.errorCode = error?.code ?? .none
            response.errorMessage = error.map {
                "The update failed for all features since the following feature had an error: \($0.message ?? $0.code.name)"
            }
            if error == nil && version <= 1 {
                response.results = updates.map { update in
                    var result = UpdateFeaturesResponse.UpdatableFeatureResult()
                    result.feature = update.name
                    result.errorMessage = nil
                    return result
                }
            }
            respond(response)
        }
    }
}
