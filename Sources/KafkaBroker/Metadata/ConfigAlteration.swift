import KafkaMessages
import KafkaPrimitives

/// What one resource of an AlterConfigs or IncrementalAlterConfigs request asks for.
struct ConfigAlteration: Sendable {
    struct Change: Sendable {
        var name: String
        /// 0 set, 1 delete, 2 append, 3 subtract.
        var operation: Int8
        var value: String?
    }
    var type: Int8
    var name: String
    /// Else what is not named is deleted.
    var isIncremental: Bool
    var changes: [Change]

    /// What can be seen to be wrong without knowing what there is.
    func refusal(nodeID: Int32) -> ApiError? {
        if Set(self.changes.map(\.name)).count != self.changes.count {
            return ApiError(.invalidRequest, "Error due to duplicate config keys")
        }
        let nulls = self.changes.filter { $0.operation != 1 && $0.value == nil }.map(\.name)
        if !nulls.isEmpty {
            return ApiError(.invalidRequest, "Null value not supported for : \(nulls.joined(separator: ", "))")
        }
        if let change = self.changes.first(where: { !(0...3).contains($0.operation) }) {
            return ApiError(.invalidRequest, "Unknown operations type \(change.operation)")
        }
        switch ConfigResourceType(rawValue: self.type) {
        case .topic: return nil
        case .broker: return self.name.isEmpty ? nil : KafkaBroker.refusal(ofBroker: self.name, nodeID: nodeID)
        case .brokerLogger where self.isIncremental:
            return ApiError(
                .invalidRequest, "Log levels cannot be changed while Ottla runs; start it with --log-level.")
        case .group:
            return self.name.isEmpty
                ? ApiError(.invalidRequest, "Default group resources are not allowed.") : nil
        case .clientMetrics:
            return ApiError(.invalidRequest, "Configs of resource type \(self.type) are not supported yet.")
        case .brokerLogger, nil: return ApiError(.invalidRequest, "Unknown resource type \(self.type)")
        }
    }

    /// The configs of a topic after it.
    func applied(toTopic before: [String: String]) -> Result<[String: String], ApiError> {
        func definition(_ name: String) -> ConfigDefinition? { TopicConfigs.byName[name]?.definition }
        return self.applied(to: before, definition: definition) { change, _ in
            let verb = change.operation == 2 ? "APPEND" : "SUBTRACT"
            return ApiError(
                .invalidConfig, "Can't \(verb) to key \(change.name) because its type is not LIST.")
        }
    }

    /// The configs of a group after it.
    func applied(toGroup before: [String: String]) -> Result<[String: String], ApiError> {
        self.applied(to: before, definition: GroupConfigs.definition) { change, _ in
            let verb = change.operation == 2 ? "APPEND" : "SUBTRACT"
            return ApiError(
                .invalidConfig, "Can't \(verb) to key \(change.name) because its type is not LIST.")
        }
    }

    /// The dynamic configs of a broker after it.
    func applied(toBroker before: [String: String]) -> Result<[String: String], ApiError> {
        self.applied(to: before, definition: BrokerConfigs.definition) { change, definition in
            guard definition != nil else { return ApiError(.invalidConfig, "Unknown config name: \(change.name)") }
            let verb = change.operation == 2 ? "append" : "subtract"
            return ApiError(.invalidConfig, "Config value \(verb) is not allowed for config key: \(change.name)")
        }
    }

    private func applied(
        to before: [String: String], definition: (String) -> ConfigDefinition?,
        notAList: (Change, ConfigDefinition?) -> ApiError
    ) -> Result<[String: String], ApiError> {
        var configs = self.isIncremental ? before : [:]
        for change in self.changes {
            let value = change.value ?? ""
            switch change.operation {
            case 0: configs[change.name] = value
            case 1: configs[change.name] = nil
            default:
                let definition = definition(change.name)
                guard let definition, definition.type == .list else { return .failure(notAList(change, definition)) }
                var parts = configList(configs[change.name] ?? definition.defaultValue ?? "")
                if change.operation == 3 {
                    let gone = Set(configList(value))
                    parts.removeAll { gone.contains($0) }
                } else {
                    var known = Set(parts)
                    for part in configList(value) where known.insert(part).inserted { parts.append(part) }
                }
                configs[change.name] = parts.joined(separator: ",")
            }
        }
        return .success(configs)
    }
}

/// What AlterConfigs and IncrementalAlterConfigs say of a resource: two generated types of one shape.
protocol ConfigAlterationAnswer: SendableMetatype {
    init()
    var errorCode: ErrorCode { get set }
    var errorMessage: String? { get set }
    var resourceType: Int8 { get set }
    var resourceName: String { get set }
}

extension AlterConfigsResponse.ResourceResponse: ConfigAlterationAnswer {}
extension IncrementalAlterConfigsResponse.AlterConfigsResourceResponse: ConfigAlterationAnswer {}

/// Carries out alterations, each by itself; the answers in their order.
func answerAlterations<Answer: ConfigAlterationAnswer>(
    _ alterations: [ConfigAlteration], _ broker: Broker, validateOnly: Bool,
    _ completion: @escaping @Sendable ([Answer]) -> Void
) {
    carryOutAlterations(alterations, broker.topicManager, nodeID: broker.nodeID, validateOnly: validateOnly) { errors in
        completion(
            zip(alterations, errors).map { alteration, error in
                var answer = Answer()
                answer.resourceType = alteration.type
                answer.resourceName = alteration.name
                answer.errorCode = error?.code ?? .none
                answer.errorMessage = error?.text
                return answer
            })
    }
}

/// Carries out alterations, each by itself; the errors in their order.
func carryOutAlterations(
    _ alterations: [ConfigAlteration], _ manager: TopicManager, nodeID: Int32, validateOnly: Bool,
    _ completion: @escaping @Sendable ([ApiError?]) -> Void
) {
    struct Resource: Hashable {
        var type: Int8
        var name: String
    }
    var counts: [Resource: Int] = [:]
    for alteration in alterations { counts[Resource(type: alteration.type, name: alteration.name), default: 0] += 1 }
    let gather = Gather<ApiError?>(alterations.count, completion)
    for (index, alteration) in alterations.enumerated() {
        if counts[Resource(type: alteration.type, name: alteration.name), default: 0] > 1 {
            gather.set(index, ApiError(.invalidRequest, "Each resource must appear at most once."))
        } else if let refusal = alteration.refusal(nodeID: nodeID) {
            gather.set(index, refusal)
        } else if alteration.type == ConfigResourceType.topic.rawValue {
            let done: @Sendable (ApiError?) -> Void = { gather.set(index, $0) }
            manager.alterTopicConfigs(alteration.name, validateOnly: validateOnly, done) { before, _ in
                alteration.applied(toTopic: before)
            }
        } else if alteration.type == ConfigResourceType.group.rawValue {
            let done: @Sendable (ApiError?) -> Void = { gather.set(index, $0) }
            manager.alterGroupConfigs(alteration.name, validateOnly: validateOnly, done) { before in
                alteration.applied(toGroup: before)
            }
        } else {
            let id = alteration.name.isEmpty ? nil : nodeID
            let done: @Sendable (ApiError?) -> Void = { gather.set(index, $0) }
            manager.alterBrokerConfigs(id, validateOnly: validateOnly, done) { before in
                alteration.applied(toBroker: before)
            }
        }
    }
}
