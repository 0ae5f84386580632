/// Members that were told an id (KIP-394) and have not come back with it. An id may be as long as its client's name, and
/// each is kept for a session timeout: what they take is counted.
package struct PendingMembers: Sendable {
    private var ids: Set<String> = []
    /// What they take in memory, about.
    package private(set) var bytes = 0

    /// Of one beside its id: its place in the set, and its timer, which has the id and the group's too.
    private static let overhead = 256

    package var isEmpty: Bool { self.ids.isEmpty }
    package var count: Int { self.ids.count }
    package var sorted: [String] { self.ids.sorted() }

    package func contains(_ id: String) -> Bool { self.ids.contains(id) }

    static func sizeInBytes(of id: String) -> Int { id.utf8.count + Self.overhead }

    mutating func insert(_ id: String) {
        if self.ids.insert(id).inserted { self.bytes += Self.sizeInBytes(of: id) }
    }

    mutating func remove(_ id: String) {
        if self.ids.remove(id) != nil { self.bytes -= Self.sizeInBytes(of: id) }
    }

    mutating func subtract(_ others: some Sequence<String>) {
        if !self.ids.isEmpty { for id in others { self.remove(id) } }
    }
}
