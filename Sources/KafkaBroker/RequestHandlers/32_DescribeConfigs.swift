import KafkaMessages
import KafkaMetadata
import KafkaPrimitives
import Logging

// DescribeConfigs 1-4. 1 brings sources and synonyms (KIP-226), 3 types and documentation (KIP-569).
extension ApiHandler {
    static let describeConfigs = ApiHandler.ordinary(DescribeConfigsRequest.self) { request, context, respond in
        let broker = context.broker
        respond(
            answerDescribeConfigs(
                request, broker.metadata.image, broker.config, nodeID: broker.nodeID,
                logLevel: broker.logger.logLevel.rawValue.uppercased()))
    }
}

func answerDescribeConfigs(
    _ request: DescribeConfigsRequest, _ image: MetadataImage, _ config: KafkaConfig, nodeID: Int32, logLevel: String
) -> DescribeConfigsResponse {
    struct Name: Hashable {
        var type: Int8
        var name: String
    }
    var seen = Set<Name>()
    var response = DescribeConfigsResponse()
    response.results = request.resources.map { resource in
        var result = DescribeConfigsResponse.Result()
        result.resourceType = resource.resourceType
        result.resourceName = resource.resourceName
        // Some bytes of a request are some ten thousand of an answer: each resource is described once.
        guard seen.insert(Name(type: resource.resourceType, name: resource.resourceName)).inserted else {
            result.errorCode = .invalidRequest
            result.errorMessage = "Each resource must appear at most once."
            return result
        }
        switch describe(resource, image, config, nodeID: nodeID, logLevel: logLevel) {
        case .success(let configs):
            result.errorMessage = nil
            result.configs = configs.map {
                .init($0, synonyms: request.includeSynonyms, documentation: request.includeDocumentation)
            }
        case .failure(let error):
            result.errorCode = error.code
            result.errorMessage = error.text
        }
        return result
    }
    return response
}

private func describe(
    _ resource: DescribeConfigsRequest.Resource, _ image: MetadataImage, _ config: KafkaConfig, nodeID: Int32,
    logLevel: String
) -> Result<[ConfigDescription], ApiError> {
    let name = resource.resourceName
    let keys = resource.configurationKeys ?? []
    let names = keys.isEmpty ? nil : Set(keys)
    switch ConfigResourceType(rawValue: resource.resourceType) {
    case .topic:
        if let refusal = TopicNames.refusal(of: name) { return .failure(refusal) }
        guard let topic = image.topic(name) else { return .failure(ApiError(.unknownTopicOrPartition)) }
        return .success(TopicConfigs.describe(overrides: topic.configs, names: names, broker: config))
    case .broker:
        if name.isEmpty { return .success(config.describeClusterDefaults(names: names)) }
        if let refusal = refusal(ofBroker: name, nodeID: nodeID) { return .failure(refusal) }
        return .success(config.describe(names: names))
    case .brokerLogger:
        if name.isEmpty { return .failure(ApiError(.invalidRequest, "Broker id must not be empty")) }
        if let refusal = refusal(ofBroker: name, nodeID: nodeID) { return .failure(refusal) }
        // One logger; its level is set at start.
        let root = ConfigDescription(
            name: "root", value: logLevel, source: .dynamicBrokerLoggerConfig, isReadOnly: true, isSensitive: false,
            synonyms: [], type: nil, documentation: "")
        return .success(names?.contains("root") ?? true ? [root] : [])
    case .clientMetrics:
        if name.isEmpty {
            return .failure(ApiError(.invalidRequest, "Client metrics subscription name must not be empty"))
        }
        return .success([])
    case .group:
        if name.isEmpty { return .failure(ApiError(.invalidRequest, "Group name must not be empty")) }
        return .success(GroupConfigs.describe(overrides: image.groupConfigs(name), names: names, broker: config))
    case nil:
        return .failure(
            ApiError(.invalidRequest, "Unexpected resource type \(resource.resourceType) for resource \(name)"))
    }
}

/// Each broker describes and changes itself only.
func refusal(ofBroker name: String, nodeID: Int32) -> ApiError? {
    guard let id = Int32(name) else {
        return ApiError(.invalidRequest, "Broker id must be an integer, but it is: \(name)")
    }
    guard id != nodeID else { return nil }
    return ApiError(.invalidRequest, "Unexpected broker id, expected \(nodeID), but received \(name)")
}

extension DescribeConfigsResponse.ResourceResult {
    fileprivate init(_ config: ConfigDescription, synonyms: Bool, documentation: Bool) {
        self.init()
        self.name = config.name
        self.value = config.value
        self.readOnly = config.isReadOnly
        self.configSource = config.source.rawValue
        self.isSensitive = config.isSensitive
        self.configType = config.type?.rawValue ?? 0
        self.documentation = documentation ? config.documentation : nil
        guard synonyms else { return }
        self.synonyms = config.synonyms.map {
            var synonym = DescribeConfigsResponse.Synonym()
            synonym.name = $0.name
            synonym.value = $0.value
            synonym.source = $0.source.rawValue
            return synonym
        }
    }
}
