import KafkaMessages
import KafkaMetadata
import KafkaPrimitives

// ListConfigResources 0-1. Version 0 was ListClientMetricsResources (KIP-714), and lists those only: there are none
// here. 1 lists any type (KIP-1142); no type means all.
extension ApiHandler {
    static let listConfigResources = ApiHandler.ordinary(ListConfigResourcesRequest.self) {
        request, context, respond in
        respond(
            answerListConfigResources(
                request, context.broker.metadata.image, ClusterView(context), version: context.apiVersion))
    }
}

func answerListConfigResources(
    _ request: ListConfigResourcesRequest, _ image: MetadataImage, _ cluster: ClusterView, version: Int16
) -> ListConfigResourcesResponse {
    var response = ListConfigResourcesResponse()
    if version == 0 { return response }
    let known: [ConfigResourceType] = [.topic, .broker, .brokerLogger, .clientMetrics, .group]
    let asked = request.resourceTypes.isEmpty ? known.map(\.rawValue) : request.resourceTypes
    guard asked.allSatisfy({ ConfigResourceType(rawValue: $0) != nil }) else {
        response.errorCode = .unsupportedVersion
        return response
    }
    for type in known where asked.contains(type.rawValue) {
        let names: [String] =
            switch type {
            case .topic: image.topics.map(\.name).sorted()
            case .broker, .brokerLogger: cluster.nodes.map { String($0.id) }
            case .group: image.configuredGroups
            case .clientMetrics: []
            }
        for name in names {
            var resource = ListConfigResourcesResponse.ConfigResource()
            resource.resourceName = name
            resource.resourceType = type.rawValue
            response.configResources.append(resource)
        }
    }
    return response
}

/// Kafka's ConfigResource.Type.
enum ConfigResourceType: Int8, Sendable {
    case topic = 2
    case broker = 4
    case brokerLogger = 8
    case clientMetrics = 16
    case group = 32
}
