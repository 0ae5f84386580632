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
        carryOutAlterations(
            resources, context.broker.topicManager, nodeID: context.broker.nodeID, validateOnly: request.validateOnly
        ) { errors in
            var response = IncrementalAlterConfigsResponse()
            response.responses = zip(request.resources, errors).map { resource, error in
                var answer = IncrementalAlterConfigsResponse.AlterConfigsResourceResponse()
                answer.resourceType = resource.resourceType
                answer.resourceName = resource.resourceName
                answer.errorCode = error?.code ?? .none
                answer.errorMessage = error?.text
                return answer
            }
            respond(response)
        }
    }
}
