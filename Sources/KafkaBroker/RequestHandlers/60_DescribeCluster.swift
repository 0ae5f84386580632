import KafkaMessages
import KafkaPrimitives

// DescribeCluster 0-2 (KIP-700). 1 tells brokers from controllers (KIP-919), 2 fenced brokers. There are no controller
// endpoints here.
extension ApiHandler {
    static let describeCluster = ApiHandler.ordinary(DescribeClusterRequest.self) { request, context, respond in
        respond(
            answerDescribeCluster(
                request, ClusterView(context), clusterID: context.broker.clusterID, version: context.apiVersion))
    }
}

func answerDescribeCluster(
    _ request: DescribeClusterRequest, _ cluster: ClusterView, clusterID: String, version: Int16
) -> DescribeClusterResponse {
    var response = DescribeClusterResponse()
    guard request.endpointType == 1 else {
        let isController = request.endpointType == 2
        response.errorCode =
            version == 0 ? .invalidRequest : isController ? .mismatchedEndpointType : .unsupportedEndpointType
        response.errorMessage =
            isController
            ? "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"
            : "Unsupported endpoint type \(request.endpointType)"
        return response
    }
    response.clusterID = clusterID
    response.controllerID = cluster.controllerID
    response.brokers = cluster.nodes.map { node in
        var broker = DescribeClusterResponse.Broker()
        broker.brokerID = node.id
        broker.host = node.host
        broker.port = node.port
        broker.rack = node.rack
        return broker
    }
    if request.includeClusterAuthorizedOperations {
        response.clusterAuthorizedOperations = AuthorizedOperations.cluster
    }
    return response
}
