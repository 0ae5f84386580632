/// Where a transactional id is in its life. The raw values are those of `__transaction_state`.
package enum TransactionState: Int8, Sendable, CaseIterable {
    /// No transaction yet since the producer was initialised.
    ///
    /// Can become: `ongoing`; by an abort of a transaction to which nothing was added (version 2) `prepareAbort`.
    case empty = 0
    /// Partitions were added.
    ///
    /// Can become: `prepareCommit`, `prepareAbort`.
    case ongoing = 1
    /// Decided, and not to be changed any more: markers are being written.
    ///
    /// Can become: `completeCommit`.
    case prepareCommit = 2
    /// Can become: `completeAbort`.
    case prepareAbort = 3
    /// Every marker is written.
    ///
    /// Can become: `ongoing`, `empty` (initialised anew), `prepareAbort` as `empty` can.
    case completeCommit = 4
    /// Can become: as `completeCommit`.
    case completeAbort = 5
    /// Forgotten. In Kafka a step on the way to a tombstone; never stored here.
    case dead = 6
    /// A new instance of the producer, or the time, has ended the transaction. In Kafka a step on the way to
    /// `prepareAbort`; never stored here.
    case prepareEpochFence = 7

    /// As clients see it.
    package var name: String {
        switch self {
        case .empty: "Empty"
        case .ongoing: "Ongoing"
        case .prepareCommit: "PrepareCommit"
        case .prepareAbort: "PrepareAbort"
        case .completeCommit: "CompleteCommit"
        case .completeAbort: "CompleteAbort"
        case .dead: "Dead"
        case .prepareEpochFence: "PrepareEpochFence"
        }
    }

    package init?(name: String) {
        guard let state = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = state
    }

    /// Markers are being written.
    var isPrepared: Bool { self == .prepareCommit || self == .prepareAbort }

    /// There is no transaction.
    var isAtRest: Bool {
        switch self {
        case .empty, .completeCommit, .completeAbort: true
        case .ongoing, .prepareCommit, .prepareAbort, .dead, .prepareEpochFence: false
        }
    }
}
