import KafkaMessages
import KafkaPrimitives

// IncrementalAlterConfigs 0-1 (KIP-339): sets, deletes, appends to and subtracts from single configs.
extension ApiHandler {
    static let incrementalAlterConfigs = ApiHandler.ordinary(IncrementalAlterConfigsRequest.self) {
        request, context, respond in
        let resources = request.resources.map { resource in
            ConfigAlteration(
                type: resource.resourceType, name: resource.resourceName, isIncremental: true,
                changes: resource.configs.map {
                    .init(name: $0.name, operation: $0.configOperation, value: $0.value)
                })
        }
        answerAlterations(resources, context.broker, validateOnly: request.validateOnly) { answers in
            var response = IncrementalAlterConfigsResponse()
            response.responses = answers
            respond(response)
        }
    }
}
