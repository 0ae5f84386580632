/// An error code of Kafka's protocol (-1...133, as of Kafka 4.3).
///
/// A protocol error is a value in an answer, not something thrown. Codes that are not listed here are kept as they
/// came, so that a message can be passed on unchanged.
@usableFromInline package struct ErrorCode: RawRepresentable, Hashable, Sendable {
    @usableFromInline package var rawValue: Int16

    @inlinable
    package init(rawValue: Int16) {
        self.rawValue = rawValue
    }
}

// swift-format-ignore
extension ErrorCode {
    /// The broker failed in a way it has no code for.
    @inlinable package static var unknownServerError: ErrorCode { ErrorCode(rawValue: -1) }
    /// No error.
    @inlinable package static var none: ErrorCode { ErrorCode(rawValue: 0) }
    /// The offset is outside the range that this partition holds.
    @inlinable package static var offsetOutOfRange: ErrorCode { ErrorCode(rawValue: 1) }
    /// The records are damaged: checksum, size or contents do not fit.
    @inlinable package static var corruptMessage: ErrorCode { ErrorCode(rawValue: 2) }
    /// There is no such topic or partition here.
    @inlinable package static var unknownTopicOrPartition: ErrorCode { ErrorCode(rawValue: 3) }
    /// The fetch size is not valid.
    @inlinable package static var invalidFetchSize: ErrorCode { ErrorCode(rawValue: 4) }
    /// The partition has no leader at the moment.
    @inlinable package static var leaderNotAvailable: ErrorCode { ErrorCode(rawValue: 5) }
    /// This broker is neither leader nor follower of the partition.
    @inlinable package static var notLeaderOrFollower: ErrorCode { ErrorCode(rawValue: 6) }
    /// The request was not done within its time.
    @inlinable package static var requestTimedOut: ErrorCode { ErrorCode(rawValue: 7) }
    /// The broker is not available.
    @inlinable package static var brokerNotAvailable: ErrorCode { ErrorCode(rawValue: 8) }
    /// The replica is not available on this broker.
    @inlinable package static var replicaNotAvailable: ErrorCode { ErrorCode(rawValue: 9) }
    /// The batch is larger than the topic allows.
    @inlinable package static var messageTooLarge: ErrorCode { ErrorCode(rawValue: 10) }
    /// The request comes from a controller that has been replaced.
    @inlinable package static var staleControllerEpoch: ErrorCode { ErrorCode(rawValue: 11) }
    /// The metadata string of the committed offset is too long.
    @inlinable package static var offsetMetadataTooLarge: ErrorCode { ErrorCode(rawValue: 12) }
    /// The connection broke before an answer came.
    @inlinable package static var networkException: ErrorCode { ErrorCode(rawValue: 13) }
    /// The coordinator is still loading its state.
    @inlinable package static var coordinatorLoadInProgress: ErrorCode { ErrorCode(rawValue: 14) }
    /// The coordinator is not available.
    @inlinable package static var coordinatorNotAvailable: ErrorCode { ErrorCode(rawValue: 15) }
    /// This broker is not the coordinator asked for.
    @inlinable package static var notCoordinator: ErrorCode { ErrorCode(rawValue: 16) }
    /// The topic name or the operation on this topic is not allowed.
    @inlinable package static var invalidTopicException: ErrorCode { ErrorCode(rawValue: 17) }
    /// The batch is larger than a segment may be.
    @inlinable package static var recordListTooLarge: ErrorCode { ErrorCode(rawValue: 18) }
    /// There are fewer in-sync replicas than the topic demands.
    @inlinable package static var notEnoughReplicas: ErrorCode { ErrorCode(rawValue: 19) }
    /// The records were written, but to fewer in-sync replicas than demanded.
    @inlinable package static var notEnoughReplicasAfterAppend: ErrorCode { ErrorCode(rawValue: 20) }
    /// The value of acks is none of -1, 0 and 1.
    @inlinable package static var invalidRequiredAcks: ErrorCode { ErrorCode(rawValue: 21) }
    /// The generation is not the group's present one.
    @inlinable package static var illegalGeneration: ErrorCode { ErrorCode(rawValue: 22) }
    /// The member's protocols do not fit those of the group.
    @inlinable package static var inconsistentGroupProtocol: ErrorCode { ErrorCode(rawValue: 23) }
    /// The group id is not valid.
    @inlinable package static var invalidGroupID: ErrorCode { ErrorCode(rawValue: 24) }
    /// The group has no such member.
    @inlinable package static var unknownMemberID: ErrorCode { ErrorCode(rawValue: 25) }
    /// The session timeout is outside the limits set on the broker.
    @inlinable package static var invalidSessionTimeout: ErrorCode { ErrorCode(rawValue: 26) }
    /// The group is rebalancing; join again.
    @inlinable package static var rebalanceInProgress: ErrorCode { ErrorCode(rawValue: 27) }
    /// The committed offset would make a record that is too large.
    @inlinable package static var invalidCommitOffsetSize: ErrorCode { ErrorCode(rawValue: 28) }
    /// Not authorized for the topic.
    @inlinable package static var topicAuthorizationFailed: ErrorCode { ErrorCode(rawValue: 29) }
    /// Not authorized for the group.
    @inlinable package static var groupAuthorizationFailed: ErrorCode { ErrorCode(rawValue: 30) }
    /// Not authorized for the cluster.
    @inlinable package static var clusterAuthorizationFailed: ErrorCode { ErrorCode(rawValue: 31) }
    /// A timestamp is outside the limits of the topic.
    @inlinable package static var invalidTimestamp: ErrorCode { ErrorCode(rawValue: 32) }
    /// The SASL mechanism is not supported.
    @inlinable package static var unsupportedSaslMechanism: ErrorCode { ErrorCode(rawValue: 33) }
    /// The request does not fit the state of the SASL exchange.
    @inlinable package static var illegalSaslState: ErrorCode { ErrorCode(rawValue: 34) }
    /// This version of the API is not supported.
    @inlinable package static var unsupportedVersion: ErrorCode { ErrorCode(rawValue: 35) }
    /// A topic of this name exists already.
    @inlinable package static var topicAlreadyExists: ErrorCode { ErrorCode(rawValue: 36) }
    /// The number of partitions is not valid.
    @inlinable package static var invalidPartitions: ErrorCode { ErrorCode(rawValue: 37) }
    /// The replication factor is less than one or more than there are brokers.
    @inlinable package static var invalidReplicationFactor: ErrorCode { ErrorCode(rawValue: 38) }
    /// The assignment of replicas is not valid.
    @inlinable package static var invalidReplicaAssignment: ErrorCode { ErrorCode(rawValue: 39) }
    /// The configuration is not valid.
    @inlinable package static var invalidConfig: ErrorCode { ErrorCode(rawValue: 40) }
    /// This broker is not the controller.
    @inlinable package static var notController: ErrorCode { ErrorCode(rawValue: 41) }
    /// The request contradicts itself or the protocol.
    @inlinable package static var invalidRequest: ErrorCode { ErrorCode(rawValue: 42) }
    /// The format of the stored records does not support this.
    @inlinable package static var unsupportedForMessageFormat: ErrorCode { ErrorCode(rawValue: 43) }
    /// The request breaks a policy set on the broker.
    @inlinable package static var policyViolation: ErrorCode { ErrorCode(rawValue: 44) }
    /// The sequence number does not follow the producer's last one.
    @inlinable package static var outOfOrderSequenceNumber: ErrorCode { ErrorCode(rawValue: 45) }
    /// The sequence number has been used already.
    @inlinable package static var duplicateSequenceNumber: ErrorCode { ErrorCode(rawValue: 46) }
    /// The producer's epoch is older than the present one.
    @inlinable package static var invalidProducerEpoch: ErrorCode { ErrorCode(rawValue: 47) }
    /// The transaction is in a state that does not allow this.
    @inlinable package static var invalidTxnState: ErrorCode { ErrorCode(rawValue: 48) }
    /// The producer id is not the one held for this transactional id.
    @inlinable package static var invalidProducerIDMapping: ErrorCode { ErrorCode(rawValue: 49) }
    /// The transaction timeout is larger than the broker allows.
    @inlinable package static var invalidTransactionTimeout: ErrorCode { ErrorCode(rawValue: 50) }
    /// Another operation on this transaction is under way.
    @inlinable package static var concurrentTransactions: ErrorCode { ErrorCode(rawValue: 51) }
    /// A newer transaction coordinator has taken over.
    @inlinable package static var transactionCoordinatorFenced: ErrorCode { ErrorCode(rawValue: 52) }
    /// Not authorized for the transactional id.
    @inlinable package static var transactionalIDAuthorizationFailed: ErrorCode { ErrorCode(rawValue: 53) }
    /// Security features are switched off.
    @inlinable package static var securityDisabled: ErrorCode { ErrorCode(rawValue: 54) }
    /// Not tried, because another part of the request failed.
    @inlinable package static var operationNotAttempted: ErrorCode { ErrorCode(rawValue: 55) }
    /// The disk failed, or the log directory is offline.
    @inlinable package static var kafkaStorageError: ErrorCode { ErrorCode(rawValue: 56) }
    /// The broker has no such log directory.
    @inlinable package static var logDirNotFound: ErrorCode { ErrorCode(rawValue: 57) }
    /// Authentication failed.
    @inlinable package static var saslAuthenticationFailed: ErrorCode { ErrorCode(rawValue: 58) }
    /// Nothing is known of this producer id; its records may have been deleted.
    @inlinable package static var unknownProducerID: ErrorCode { ErrorCode(rawValue: 59) }
    /// The partition is being reassigned.
    @inlinable package static var reassignmentInProgress: ErrorCode { ErrorCode(rawValue: 60) }
    /// Delegation tokens are switched off.
    @inlinable package static var delegationTokenAuthDisabled: ErrorCode { ErrorCode(rawValue: 61) }
    /// There is no such delegation token.
    @inlinable package static var delegationTokenNotFound: ErrorCode { ErrorCode(rawValue: 62) }
    /// The principal is neither owner nor renewer of the token.
    @inlinable package static var delegationTokenOwnerMismatch: ErrorCode { ErrorCode(rawValue: 63) }
    /// Delegation tokens cannot be asked for over this connection.
    @inlinable package static var delegationTokenRequestNotAllowed: ErrorCode { ErrorCode(rawValue: 64) }
    /// Not authorized for the delegation token.
    @inlinable package static var delegationTokenAuthorizationFailed: ErrorCode { ErrorCode(rawValue: 65) }
    /// The delegation token has expired.
    @inlinable package static var delegationTokenExpired: ErrorCode { ErrorCode(rawValue: 66) }
    /// The type of the principal is not supported.
    @inlinable package static var invalidPrincipalType: ErrorCode { ErrorCode(rawValue: 67) }
    /// The group still has members.
    @inlinable package static var nonEmptyGroup: ErrorCode { ErrorCode(rawValue: 68) }
    /// There is no such group.
    @inlinable package static var groupIDNotFound: ErrorCode { ErrorCode(rawValue: 69) }
    /// There is no such fetch session.
    @inlinable package static var fetchSessionIDNotFound: ErrorCode { ErrorCode(rawValue: 70) }
    /// The epoch of the fetch session is not the expected one.
    @inlinable package static var invalidFetchSessionEpoch: ErrorCode { ErrorCode(rawValue: 71) }
    /// The leader has no listener that matches the one used.
    @inlinable package static var listenerNotFound: ErrorCode { ErrorCode(rawValue: 72) }
    /// Deleting topics is switched off.
    @inlinable package static var topicDeletionDisabled: ErrorCode { ErrorCode(rawValue: 73) }
    /// The leader epoch in the request is older than the present one.
    @inlinable package static var fencedLeaderEpoch: ErrorCode { ErrorCode(rawValue: 74) }
    /// The leader epoch in the request is newer than the one known here.
    @inlinable package static var unknownLeaderEpoch: ErrorCode { ErrorCode(rawValue: 75) }
    /// The compression cannot be used in this version of the request.
    @inlinable package static var unsupportedCompressionType: ErrorCode { ErrorCode(rawValue: 76) }
    /// The broker's epoch is older than the present one.
    @inlinable package static var staleBrokerEpoch: ErrorCode { ErrorCode(rawValue: 77) }
    /// The new leader cannot tell this offset yet.
    @inlinable package static var offsetNotAvailable: ErrorCode { ErrorCode(rawValue: 78) }
    /// Join again with the member id that is given here.
    @inlinable package static var memberIDRequired: ErrorCode { ErrorCode(rawValue: 79) }
    /// The preferred leader is not available.
    @inlinable package static var preferredLeaderNotAvailable: ErrorCode { ErrorCode(rawValue: 80) }
    /// The group has as many members as it may.
    @inlinable package static var groupMaxSizeReached: ErrorCode { ErrorCode(rawValue: 81) }
    /// Another member has taken this group instance id.
    @inlinable package static var fencedInstanceID: ErrorCode { ErrorCode(rawValue: 82) }
    /// No replica that may lead is available.
    @inlinable package static var eligibleLeadersNotAvailable: ErrorCode { ErrorCode(rawValue: 83) }
    /// The partition needs no election.
    @inlinable package static var electionNotNeeded: ErrorCode { ErrorCode(rawValue: 84) }
    /// The partition is not being reassigned.
    @inlinable package static var noReassignmentInProgress: ErrorCode { ErrorCode(rawValue: 85) }
    /// The group still subscribes to the topic.
    @inlinable package static var groupSubscribedToTopic: ErrorCode { ErrorCode(rawValue: 86) }
    /// A record was refused; the batch was not written.
    @inlinable package static var invalidRecord: ErrorCode { ErrorCode(rawValue: 87) }
    /// A transaction that commits these offsets has not ended yet.
    @inlinable package static var unstableOffsetCommit: ErrorCode { ErrorCode(rawValue: 88) }
    /// The quota for this kind of request is used up.
    @inlinable package static var throttlingQuotaExceeded: ErrorCode { ErrorCode(rawValue: 89) }
    /// A newer producer uses the same transactional id.
    @inlinable package static var producerFenced: ErrorCode { ErrorCode(rawValue: 90) }
    /// There is no such resource.
    @inlinable package static var resourceNotFound: ErrorCode { ErrorCode(rawValue: 91) }
    /// The resource exists already.
    @inlinable package static var duplicateResource: ErrorCode { ErrorCode(rawValue: 92) }
    /// The credential does not meet the demands.
    @inlinable package static var unacceptableCredential: ErrorCode { ErrorCode(rawValue: 93) }
    /// The sender or receiver is not in the set of voters, or the sets differ.
    @inlinable package static var inconsistentVoterSet: ErrorCode { ErrorCode(rawValue: 94) }
    /// The version to update from is not the present one.
    @inlinable package static var invalidUpdateVersion: ErrorCode { ErrorCode(rawValue: 95) }
    /// The features could not be changed.
    @inlinable package static var featureUpdateFailed: ErrorCode { ErrorCode(rawValue: 96) }
    /// The forwarded principal could not be read.
    @inlinable package static var principalDeserializationFailure: ErrorCode { ErrorCode(rawValue: 97) }
    /// There is no such snapshot.
    @inlinable package static var snapshotNotFound: ErrorCode { ErrorCode(rawValue: 98) }
    /// The position is outside the snapshot.
    @inlinable package static var positionOutOfRange: ErrorCode { ErrorCode(rawValue: 99) }
    /// There is no topic with this id here.
    @inlinable package static var unknownTopicID: ErrorCode { ErrorCode(rawValue: 100) }
    /// Another broker has registered with this id.
    @inlinable package static var duplicateBrokerRegistration: ErrorCode { ErrorCode(rawValue: 101) }
    /// No broker has registered with this id.
    @inlinable package static var brokerIDNotRegistered: ErrorCode { ErrorCode(rawValue: 102) }
    /// The topic id is not the one known for this topic.
    @inlinable package static var inconsistentTopicID: ErrorCode { ErrorCode(rawValue: 103) }
    /// The cluster id is not this cluster's.
    @inlinable package static var inconsistentClusterID: ErrorCode { ErrorCode(rawValue: 104) }
    /// There is no such transactional id.
    @inlinable package static var transactionalIDNotFound: ErrorCode { ErrorCode(rawValue: 105) }
    /// The session mixes requests with and without topic ids.
    @inlinable package static var fetchSessionTopicIDError: ErrorCode { ErrorCode(rawValue: 106) }
    /// The replica may not join the in-sync set.
    @inlinable package static var ineligibleReplica: ErrorCode { ErrorCode(rawValue: 107) }
    /// The change made another replica leader.
    @inlinable package static var newLeaderElected: ErrorCode { ErrorCode(rawValue: 108) }
    /// The offset is now in tiered storage.
    @inlinable package static var offsetMovedToTieredStorage: ErrorCode { ErrorCode(rawValue: 109) }
    /// The member's epoch is not the coordinator's; join again.
    @inlinable package static var fencedMemberEpoch: ErrorCode { ErrorCode(rawValue: 110) }
    /// The instance id is still held by another member.
    @inlinable package static var unreleasedInstanceID: ErrorCode { ErrorCode(rawValue: 111) }
    /// The group does not support this assignor.
    @inlinable package static var unsupportedAssignor: ErrorCode { ErrorCode(rawValue: 112) }
    /// The member's epoch is old; retry with the present one.
    @inlinable package static var staleMemberEpoch: ErrorCode { ErrorCode(rawValue: 113) }
    /// The request was meant for another type of endpoint.
    @inlinable package static var mismatchedEndpointType: ErrorCode { ErrorCode(rawValue: 114) }
    /// This type of endpoint is not supported.
    @inlinable package static var unsupportedEndpointType: ErrorCode { ErrorCode(rawValue: 115) }
    /// There is no controller with this id.
    @inlinable package static var unknownControllerID: ErrorCode { ErrorCode(rawValue: 116) }
    /// The telemetry subscription has changed; ask for it again.
    @inlinable package static var unknownSubscriptionID: ErrorCode { ErrorCode(rawValue: 117) }
    /// The telemetry is larger than the broker accepts.
    @inlinable package static var telemetryTooLarge: ErrorCode { ErrorCode(rawValue: 118) }
    /// The registration is not valid.
    @inlinable package static var invalidRegistration: ErrorCode { ErrorCode(rawValue: 119) }
    /// The transaction failed; abort it.
    @inlinable package static var transactionAbortable: ErrorCode { ErrorCode(rawValue: 120) }
    /// The record is in a state that does not allow this acknowledgement.
    @inlinable package static var invalidRecordState: ErrorCode { ErrorCode(rawValue: 121) }
    /// There is no such share session.
    @inlinable package static var shareSessionNotFound: ErrorCode { ErrorCode(rawValue: 122) }
    /// The epoch of the share session is not the expected one.
    @inlinable package static var invalidShareSessionEpoch: ErrorCode { ErrorCode(rawValue: 123) }
    /// The state epoch is older than the present one.
    @inlinable package static var fencedStateEpoch: ErrorCode { ErrorCode(rawValue: 124) }
    /// The key of the voter is not the receiver's.
    @inlinable package static var invalidVoterKey: ErrorCode { ErrorCode(rawValue: 125) }
    /// The voter is in the set already.
    @inlinable package static var duplicateVoter: ErrorCode { ErrorCode(rawValue: 126) }
    /// The set has no such voter.
    @inlinable package static var voterNotFound: ErrorCode { ErrorCode(rawValue: 127) }
    /// The regular expression is not valid.
    @inlinable package static var invalidRegularExpression: ErrorCode { ErrorCode(rawValue: 128) }
    /// The client's view is too old; start again from the bootstrap servers.
    @inlinable package static var rebootstrapRequired: ErrorCode { ErrorCode(rawValue: 129) }
    /// The topology is not valid.
    @inlinable package static var streamsInvalidTopology: ErrorCode { ErrorCode(rawValue: 130) }
    /// The epoch of the topology is not valid.
    @inlinable package static var streamsInvalidTopologyEpoch: ErrorCode { ErrorCode(rawValue: 131) }
    /// The topology's epoch is older than the group's.
    @inlinable package static var streamsTopologyFenced: ErrorCode { ErrorCode(rawValue: 132) }
    /// The broker holds as many share sessions as it may.
    @inlinable package static var shareSessionLimitReached: ErrorCode { ErrorCode(rawValue: 133) }
}
