import Glibc

/// The last offset of each key of a log's dirty section: hashes and offsets in one piece of memory, never longer than it
/// was made for. Open addressing; it begins small and is rehashed where it lies, so that few keys stay near each other.
///
/// The memory is reserved when the map is made, becomes real as it is used, and is given back with the map.
final class OffsetMap {
    /// Hash (16 bytes) and offset plus one (8); 0 there: free.
    static let entrySize = 24
    #if OTTLA_SIMULATED_FILES
        private static let firstSlots = 4
    #else
        private static let firstSlots = 4096
    #endif
    /// Above the offset while a rehash has not looked at the entry yet.
    private static let unmoved: UInt64 = 1 << 63

    /// Entries that there may be.
    let limit: Int
    /// Slots that the memory has room for.
    let maxSlots: Int
    private(set) var count = 0
    private(set) var slots: Int
    /// The last offset that the map accounts for: records behind it are not judged by it. -1: none.
    private(set) var latestOffset: Int64 = -1
    private let memory: UnsafeMutableRawPointer
    private var growsAt: Int

    /// - Parameters:
    ///   - bytes: the most memory that it takes.
    ///   - loadFactor: how full it may become, 0 to 1.
    ///   - expected: no more keys than these are coming.
    /// - Returns: nil where there is no memory.
    init?(bytes: Int, loadFactor: Double, expected: Int64 = .max) {
        var slots = max(2, bytes / Self.entrySize)
        let factor = loadFactor.isFinite ? min(max(loadFactor, 0.01), 0.98) : 0.9
        // Half full where no more is needed.
        if expected < Int64(slots) / 2 { slots = max(64, Int(expected) * 2 + 1) }
        self.maxSlots = slots
        self.limit = max(1, min(slots - 1, Int(Double(slots) * factor)))
        self.slots = min(slots, Self.firstSlots)
        let memory = mmap(
            nil, slots * Self.entrySize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        guard let memory, memory != MAP_FAILED else { return nil }
        self.memory = memory
        self.growsAt = 0
        self.growsAt = self.threshold
    }

    deinit { munmap(self.memory, self.maxSlots * Self.entrySize) }

    var isFull: Bool { self.count >= self.limit }
    /// 0 to 1.
    var utilization: Double { Double(self.count) / Double(self.maxSlots) }

    func updateLatestOffset(_ offset: Int64) { self.latestOffset = max(self.latestOffset, offset) }

    /// Notes that the key has a record at `offset`, unless it has a later one. False, and nothing is noted, where the key is
    /// new and the map full.
    @inline(__always)
    func put(_ hash: KeyHash, _ offset: Int64) -> Bool {
        if self.count >= self.growsAt, !self.grow(), self.offset(hash) < 0 { return false }
        var at = self.home(hash)
        while true {
            let entry = self.memory + at * Self.entrySize
            let stored = entry.load(fromByteOffset: 16, as: UInt64.self)
            if stored == 0 {
                Self.store(hash, UInt64(bitPattern: offset) &+ 1, entry)
                self.count += 1
                return true
            }
            if entry.load(as: UInt64.self) == hash.high, entry.load(fromByteOffset: 8, as: UInt64.self) == hash.low {
                let value = UInt64(bitPattern: offset) &+ 1
                if value > stored { entry.storeBytes(of: value, toByteOffset: 16, as: UInt64.self) }
                return true
            }
            at += 1
            if at == self.slots { at = 0 }
        }
    }

    /// The key's last offset; -1 where the map has none.
    @inline(__always)
    func offset(_ hash: KeyHash) -> Int64 {
        var at = self.home(hash)
        while true {
            let entry = UnsafeRawPointer(self.memory + at * Self.entrySize)
            let stored = entry.load(fromByteOffset: 16, as: UInt64.self)
            if stored == 0 { return -1 }
            if entry.load(as: UInt64.self) == hash.high, entry.load(fromByteOffset: 8, as: UInt64.self) == hash.low {
                return Int64(bitPattern: stored &- 1)
            }
            at += 1
            if at == self.slots { at = 0 }
        }
    }

    // MARK: slots

    @inline(__always)
    private func home(_ hash: KeyHash) -> Int { self.home(hash.high) }

    @inline(__always)
    private func home(_ high: UInt64) -> Int {
        Int(truncatingIfNeeded: high.multipliedFullWidth(by: UInt64(truncatingIfNeeded: self.slots)).high)
    }

    private static func store(_ hash: KeyHash, _ value: UInt64, _ entry: UnsafeMutableRawPointer) {
        entry.storeBytes(of: hash.high, as: UInt64.self)
        entry.storeBytes(of: hash.low, toByteOffset: 8, as: UInt64.self)
        entry.storeBytes(of: value, toByteOffset: 16, as: UInt64.self)
    }

    private var threshold: Int {
        self.slots == self.maxSlots ? self.limit : min(self.limit, self.slots / 8 * 5)
    }

    /// More slots, where there may be more; false where the map is full.
    private func grow() -> Bool {
        guard self.count < self.limit, self.slots < self.maxSlots else { return false }
        let before = self.slots
        for slot in 0..<before {
            let entry = self.memory + slot * Self.entrySize
            let value = entry.load(fromByteOffset: 16, as: UInt64.self)
            if value != 0 { entry.storeBytes(of: value | Self.unmoved, toByteOffset: 16, as: UInt64.self) }
        }
        self.slots = self.slots > self.maxSlots / 2 ? self.maxSlots : self.slots * 2
        self.growsAt = self.threshold
        // Each goes to the first place that is free or not moved yet; who was there goes on to its own.
        for slot in 0..<before {
            let entry = self.memory + slot * Self.entrySize
            let value = entry.load(fromByteOffset: 16, as: UInt64.self)
            guard value & Self.unmoved != 0 else { continue }
            let hash = KeyHash(
                high: entry.load(as: UInt64.self), low: entry.load(fromByteOffset: 8, as: UInt64.self))
            entry.storeBytes(of: 0, toByteOffset: 16, as: UInt64.self)
            self.move(hash, value & ~Self.unmoved)
        }
        return true
    }

    private func move(_ first: KeyHash, _ firstValue: UInt64) {
        var (hash, value) = (first, firstValue)
        var at = self.home(hash)
        while true {
            let entry = self.memory + at * Self.entrySize
            let there = entry.load(fromByteOffset: 16, as: UInt64.self)
            if there == 0 {
                Self.store(hash, value, entry)
                return
            }
            if there & Self.unmoved != 0 {
                let next = KeyHash(
                    high: entry.load(as: UInt64.self), low: entry.load(fromByteOffset: 8, as: UInt64.self))
                Self.store(hash, value, entry)
                (hash, value) = (next, there & ~Self.unmoved)
                at = self.home(hash)
                continue
            }
            at += 1
            if at == self.slots { at = 0 }
        }
    }
}
