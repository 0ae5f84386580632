import KafkaMessages
import KafkaPrimitives

// ListPartitionReassignments 0 (KIP-455). What is under way: never anything, see 45_AlterPartitionReassignments.swift.
extension ApiHandler {
    static let listPartitionReassignments = ApiHandler.ordinary(ListPartitionReassignmentsRequest.self) {
        _, _, respond in
        var response = ListPartitionReassignmentsResponse()
        response.errorMessage = nil
        respond(response)
    }
}
