import KafkaPrimitives
import KafkaTransport
import NIOCore

/// A fetch that waits for bytes or for its time to be up.
final class ParkedFetch {
    let id: UInt64
    let connection: Connection
    let ticket: RequestTicket
    var operation: FetchOperation
    let deadline: NIODeadline
    /// What it watches, so that it can stop.
    var watched: [(partition: Partition, target: Int)] = []
    /// Its time was up, and it waits on for the disk.
    var hasGrace = false
    /// How many of its targets were not there when it was parked.
    var unknownCount = 0
    /// What each target had at the last look (`FetchResult.available`), where that is needed: with one target, or
    /// where any byte is enough, it is not.
    var available: [Int] = []
    var availableSum = 0

    init(id: UInt64, connection: Connection, ticket: RequestTicket, operation: FetchOperation, deadline: NIODeadline) {
        self.id = id
        self.connection = connection
        self.ticket = ticket
        self.operation = operation
        self.deadline = deadline
    }
}

/// The long polls of one event loop. A parked fetch holds no thread and no timer of its own: the nearest deadline of
/// them all is the one that is scheduled.
final class FetchPurgatory {
    private var fetches: [UInt64: ParkedFetch] = [:]
    private var byConnection: [UInt64: UInt64] = [:]
    private var deadlines = DeadlineHeap()
    private var nextID: UInt64 = 1

    var count: Int { self.fetches.count }

    func park(
        _ operation: FetchOperation, on connection: Connection, ticket: RequestTicket, deadline: NIODeadline
    ) -> ParkedFetch {
        let fetch = ParkedFetch(
            id: self.nextID, connection: connection, ticket: ticket, operation: operation, deadline: deadline)
        self.nextID += 1
        self.fetches[fetch.id] = fetch
        self.byConnection[connection.id] = fetch.id
        self.deadlines.insert(deadline, fetch.id)
        return fetch
    }

    /// For one whose deadline has passed.
    func extend(_ fetch: ParkedFetch, to deadline: NIODeadline) { self.deadlines.insert(deadline, fetch.id) }

    var all: [ParkedFetch] { Array(self.fetches.values) }

    func fetch(_ id: UInt64) -> ParkedFetch? { self.fetches[id] }

    /// Takes it out; it watches nothing any more. (Its deadline stays in the heap until it passes, and finds nobody.)
    func remove(_ fetch: ParkedFetch, loop: Int) {
        self.fetches.removeValue(forKey: fetch.id)
        if self.byConnection[fetch.connection.id] == fetch.id {
            self.byConnection.removeValue(forKey: fetch.connection.id)
        }
        for (partition, target) in fetch.watched {
            partition.unwatch(FetchWaiter(loop: loop, fetch: fetch.id, target: target))
        }
        fetch.watched = []
        self.deadlines.compact(keeping: self.fetches.count) { self.fetches[$0] != nil }
    }

    func fetch(of connection: Connection) -> ParkedFetch? {
        self.byConnection[connection.id].flatMap { self.fetches[$0] }
    }

    /// The nearest deadline of one that is parked.
    func nextDeadline() -> NIODeadline? {
        while let first = self.deadlines.first {
            if self.fetches[first.id] != nil { return first.deadline }
            self.deadlines.removeFirst()
        }
        return nil
    }

    /// One whose time is up, or nil.
    func popDue(now: NIODeadline) -> ParkedFetch? {
        while let first = self.deadlines.first, first.deadline <= now {
            self.deadlines.removeFirst()
            if let fetch = self.fetches[first.id] { return fetch }
        }
        return nil
    }
}

/// A binary heap of deadlines.
struct DeadlineHeap {
    struct Entry {
        var deadline: NIODeadline
        var id: UInt64
    }
    private var entries: [Entry] = []

    var first: Entry? { self.entries.first }
    var count: Int { self.entries.count }

    mutating func insert(_ deadline: NIODeadline, _ id: UInt64) {
        self.entries.append(Entry(deadline: deadline, id: id))
        var at = self.entries.count - 1
        while at > 0 {
            let parent = (at - 1) / 2
            if self.entries[parent].deadline <= self.entries[at].deadline { break }
            self.entries.swapAt(at, parent)
            at = parent
        }
    }

    mutating func removeFirst() {
        guard let last = self.entries.popLast(), !self.entries.isEmpty else { return }
        self.entries[0] = last
        self.sift(from: 0)
    }

    /// Drops the entries of those who are gone, once they are the most of it.
    mutating func compact(keeping alive: Int, where isAlive: (UInt64) -> Bool) {
        guard self.entries.count > 64, self.entries.count > alive * 4 else { return }
        self.entries.removeAll { !isAlive($0.id) }
        for at in stride(from: self.entries.count / 2, through: 0, by: -1) { self.sift(from: at) }
    }

    private mutating func sift(from start: Int) {
        var at = start
        while true {
            let left = at * 2 + 1
            guard left < self.entries.count else { return }
            let right = left + 1
            var least = at
            if self.entries[left].deadline < self.entries[least].deadline { least = left }
            if right < self.entries.count, self.entries[right].deadline < self.entries[least].deadline { least = right }
            if least == at { return }
            self.entries.swapAt(at, least)
            at = least
        }
    }
}
