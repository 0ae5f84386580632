/// Timers as a value: a binary heap of deadlines beside a table of keys.
///
/// Setting a timer that is already set costs one table look-up as long as its deadline moves forward, which is
/// what every heartbeat does: the heap keeps the older deadline, and when that one comes up the timer is put
/// back at its real one. Cancelling drops the key only; what stays behind in the heap is skipped later, and the
/// heap is rebuilt before such leftovers outnumber the live timers.
///
/// Deadlines are milliseconds of the caller's monotonic clock.
package struct TimerQueue<Key: Hashable & Sendable>: Sendable {
    private struct Entry: Sendable {
        /// When the timer fires.
        var deadline: Int64
        /// Which node of the heap stands for it.
        var sequence: UInt64
        /// The deadline of that node: never later than `deadline`.
        var heapDeadline: Int64
    }

    private struct Node: Sendable {
        var deadline: Int64
        var sequence: UInt64
        var key: Key

        func comes(before other: Node) -> Bool {
            self.deadline != other.deadline ? self.deadline < other.deadline : self.sequence < other.sequence
        }
    }

    private var entries: [Key: Entry] = [:]
    private var heap: [Node] = []
    private var nextSequence: UInt64 = 0

    package init() {}

    /// How many timers are set.
    package var count: Int { self.entries.count }

    package var isEmpty: Bool { self.entries.isEmpty }

    /// When `key` fires, if it is set.
    package func deadline(of key: Key) -> Int64? { self.entries[key]?.deadline }

    /// The earliest moment at which something may fire. It may be too early, never too late; nil without timers.
    package var nextDeadline: Int64? { self.entries.isEmpty ? nil : self.heap.first?.deadline }

    /// Sets `key`, or moves it if it is set.
    package mutating func set(_ key: Key, deadline: Int64) {
        if let index = self.entries.index(forKey: key) {
            if self.entries.values[index].heapDeadline <= deadline {
                self.entries.values[index].deadline = deadline
                return
            }
            let sequence = self.push(key, deadline)
            self.entries.values[index] = Entry(deadline: deadline, sequence: sequence, heapDeadline: deadline)
        } else {
            let sequence = self.push(key, deadline)
            self.entries[key] = Entry(deadline: deadline, sequence: sequence, heapDeadline: deadline)
        }
        if self.heap.count > 2 * self.entries.count + 64 { self.rebuild() }
    }

    /// Forgets `key`; without effect if it is not set.
    package mutating func cancel(_ key: Key) {
        self.entries[key] = nil
        if self.heap.count > 2 * self.entries.count + 64 { self.rebuild() }
    }

    /// Takes out one timer that is due, the earliest first; nil when none is.
    package mutating func popFirst(now: Int64) -> Key? {
        while let node = self.heap.first, node.deadline <= now {
            self.removeFirst()
            guard let index = self.entries.index(forKey: node.key),
                self.entries.values[index].sequence == node.sequence
            else { continue }
            let deadline = self.entries.values[index].deadline
            if deadline == node.deadline {
                self.entries.remove(at: index)
                return node.key
            }
            let sequence = self.push(node.key, deadline)
            self.entries.values[index] = Entry(deadline: deadline, sequence: sequence, heapDeadline: deadline)
        }
        return nil
    }

    /// The timers that are set, by deadline: for tests and for looking at a running broker.
    package var pending: [(key: Key, deadline: Int64)] {
        self.entries.sorted { ($0.value.deadline, $0.value.sequence) < ($1.value.deadline, $1.value.sequence) }
            .map { ($0.key, $0.value.deadline) }
    }

    private mutating func push(_ key: Key, _ deadline: Int64) -> UInt64 {
        let sequence = self.nextSequence
        self.nextSequence &+= 1
        self.heap.append(Node(deadline: deadline, sequence: sequence, key: key))
        self.siftUp(self.heap.count - 1)
        return sequence
    }

    private mutating func removeFirst() {
        let last = self.heap.removeLast()
        if !self.heap.isEmpty {
            self.heap[0] = last
            self.siftDown(0)
        }
    }

    private mutating func siftUp(_ start: Int) {
        var child = start
        while child > 0 {
            let parent = (child - 1) / 2
            guard self.heap[child].comes(before: self.heap[parent]) else { return }
            self.heap.swapAt(child, parent)
            child = parent
        }
    }

    private mutating func siftDown(_ start: Int) {
        var parent = start
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < self.heap.count && self.heap[child].comes(before: self.heap[least]) {
                least = child
            }
            if least == parent { return }
            self.heap.swapAt(parent, least)
            parent = least
        }
    }

    /// Drops the leftovers of cancelled and moved timers.
    private mutating func rebuild() {
        self.heap.removeAll { self.entries[$0.key]?.sequence != $0.sequence }
        for index in stride(from: self.heap.count / 2 - 1, through: 0, by: -1) { self.siftDown(index) }
    }
}
