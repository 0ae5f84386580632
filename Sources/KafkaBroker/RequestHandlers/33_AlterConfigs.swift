import KafkaMessages
import KafkaPrimitives

// AlterConfigs 0-2: replaces all configs of a resource by those given. Kept for old clients (KIP-339).
extension ApiHandler {
    static let alterConfigs = ApiHandler.ordinary(AlterConfigsRequest.self) { request, context, respond in
        let resources = request.resources.map { resource in
            ConfigAlteration(
                type: resource.resourceType, name: resource.resourceName, isIncremental: false,
                changes: resource.configs.map { .init(name: $0.name, operation: 0, value: $0.value) })
        }
        answerAlterations(resources, context.broker, validateOnly: request.validateOnly) { answers in
            var response = AlterConfigsResponse()
            response.responses = answers
            respond(response)
        }
    }
}
