#if OTTLA_SIMULATED_FILES
    import Glibc

    /// A file or a folder of the simulated disk.
    package class SimulatedNode {}

    /// Bytes that grow, zeros where nothing was written.
    struct SimulatedBytes {
        private(set) var pointer: UnsafeMutableRawPointer
        private var capacity: Int

        init() {
            self.capacity = 1024
            self.pointer = calloc(1, self.capacity)!
        }

        func free() { Glibc.free(self.pointer) }

        mutating func reserve(_ count: Int) {
            guard count > self.capacity else { return }
            let larger = max(2 * self.capacity, count)
            self.pointer = realloc(self.pointer, larger)!
            memset(self.pointer + self.capacity, 0, larger - self.capacity)
            self.capacity = larger
        }

        func zero(from: Int, to: Int) {
            let end = min(to, self.capacity)
            if end > from { memset(self.pointer + from, 0, end - from) }
        }
    }

    /// A file: its bytes as processes see them, those on the disk, and which pages differ.
    package final class SimulatedFile: SimulatedNode {
        private(set) var cached = SimulatedBytes()
        package private(set) var size = 0
        private var durable = SimulatedBytes()
        package private(set) var durableSize = 0
        /// Bytes of `durable` that may be other than 0.
        private var durableHigh = 0
        /// Pages that the kernel will write, one bit each.
        private var dirty: [UInt64] = []
        private var isDirty = false
        let shift: Int
        var modifiedMs: Int64
        var lockHolder: CInt = -1

        init(pageShift: Int, now: Int64) {
            self.shift = pageShift
            self.modifiedMs = now
        }

        deinit {
            self.cached.free()
            self.durable.free()
        }

        package var bytes: UnsafeRawBufferPointer {
            UnsafeRawBufferPointer(start: self.cached.pointer, count: self.size)
        }

        // MARK: what processes do

        func read(_ bytes: UnsafeMutableRawPointer, _ count: Int, at position: Int) -> Int {
            let count = min(count, self.size - position)
            guard count > 0 else { return 0 }
            memcpy(bytes, self.cached.pointer + position, count)
            return count
        }

        func write(_ bytes: UnsafeRawPointer, _ count: Int, at position: Int) {
            guard count > 0 else { return }
            let end = position + count
            self.cached.reserve(end)
            memcpy(self.cached.pointer + position, bytes, count)
            self.markDirty(min(position, self.size), end)
            self.size = max(self.size, end)
        }

        func truncate(to size: Int) {
            if size < self.size {
                self.cached.zero(from: size, to: self.size)
                self.markDirty(size, size + 1)
            } else {
                self.cached.reserve(size)
                self.markDirty(self.size, size)
            }
            self.size = size
        }

        private func markDirty(_ start: Int, _ end: Int) {
            guard end > start else { return }
            self.isDirty = true
            for page in (start >> self.shift)...((end - 1) >> self.shift) {
                let word = page >> 6
                while self.dirty.count <= word { self.dirty.append(0) }
                self.dirty[word] |= 1 << UInt64(page & 63)
            }
        }

        // MARK: what reaches the disk

        func sync() {
            if self.isDirty {
                self.forEachDirtyPage { _ in true }
                self.isDirty = false
            }
            self.setDurableSize(self.size)
        }

        /// A failed sync: what was dirty counts as clean, and is on the disk or not.
        func failSync(_ random: inout SimulatedRandom) {
            var dice = random
            let likelihood = dice.below(3)
            self.forEachDirtyPage { _ in likelihood != 0 && dice.below(3) < likelihood }
            self.isDirty = false
            if dice.oneIn(3) { self.setDurableSize(self.size) }
            random = dice
        }

        /// What is clean is read from the disk again, whether it got there or not.
        func dropCleanPages() {
            for page in 0..<(self.size + 1 << self.shift - 1) >> self.shift {
                let word = page >> 6
                if word < self.dirty.count, self.dirty[word] & 1 << UInt64(page & 63) != 0 { continue }
                let start = page << self.shift
                let end = min(start + 1 << self.shift, self.size)
                self.durable.reserve(end)
                memcpy(self.cached.pointer + start, self.durable.pointer + start, end - start)
            }
        }

        /// The kernel writes some pages when it likes.
        func writeBackSome(_ random: inout SimulatedRandom) {
            guard self.isDirty else { return }
            var dice = random
            var left: [UInt64] = []
            var end = 0
            for word in self.dirty.indices {
                var bits = self.dirty[word]
                var kept: UInt64 = 0
                while bits != 0 {
                    let bit = bits & (~bits &+ 1)
                    bits &= bits &- 1
                    if dice.oneIn(2) {
                        self.persist(page: word << 6 | bit.trailingZeroBitCount)
                        end = (word << 6 | bit.trailingZeroBitCount + 1) << self.shift
                    } else {
                        kept |= bit
                    }
                }
                left.append(kept)
            }
            self.dirty = left
            end = min(end, self.size)
            if end > self.durableSize, dice.oneIn(2) {
                self.durable.reserve(end)
                self.durableSize = end
            }
            random = dice
        }

        private func forEachDirtyPage(_ isKept: (Int) -> Bool) {
            for word in self.dirty.indices {
                var bits = self.dirty[word]
                guard bits != 0 else { continue }
                self.dirty[word] = 0
                while bits != 0 {
                    let page = word << 6 | bits.trailingZeroBitCount
                    bits &= bits &- 1
                    if isKept(page) { self.persist(page: page) }
                }
            }
        }

        private func persist(page: Int) {
            let start = page << self.shift
            let end = min(start + 1 << self.shift, max(self.size, 0))
            guard end > start else {
                // Behind the end after a truncation.
                self.durable.zero(from: start, to: start + 1 << self.shift)
                return
            }
            self.durable.reserve(end)
            memcpy(self.durable.pointer + start, self.cached.pointer + start, end - start)
            if end < self.durableHigh {
                self.durable.zero(from: end, to: min(self.durableHigh, start + 1 << self.shift))
            }
            self.durableHigh = max(self.durableHigh, end)
        }

        private func setDurableSize(_ size: Int) {
            if size < self.durableHigh {
                self.durable.zero(from: size, to: self.durableHigh)
                self.durableHigh = size
            }
            self.durable.reserve(size)
            self.durableSize = size
        }

        /// The power goes and comes back: what the processes see is what is on the disk.
        /// - Parameter keep: of 8 unsynced pages so many are kept.
        func cutPower(keep: Int, fillsWithGarbage: Bool, _ random: inout SimulatedRandom) {
            var dice = random
            var size = self.durableSize
            if self.isDirty || self.size != self.durableSize {
                switch keep {
                case 0: break
                case 8...: size = self.size
                default:
                    switch dice.below(3) {
                    case 0: break
                    case 1: size = self.size
                    default:
                        let low = min(self.size, self.durableSize)
                        size = low + dice.below(abs(self.size - self.durableSize) + 1)
                    }
                }
            }
            if self.isDirty {
                for word in self.dirty.indices {
                    var bits = self.dirty[word]
                    self.dirty[word] = 0
                    while bits != 0 {
                        let page = word << 6 | bits.trailingZeroBitCount
                        bits &= bits &- 1
                        if dice.below(8) < keep {
                            self.persist(page: page)
                        } else if fillsWithGarbage && page << self.shift >= self.durableSize {
                            self.fillWithGarbage(page: page, &dice)
                        }
                    }
                }
                self.isDirty = false
            }
            self.setDurableSize(size)
            self.cached.reserve(size)
            if size < self.size { self.cached.zero(from: size, to: self.size) }
            memcpy(self.cached.pointer, self.durable.pointer, size)
            self.size = size
            self.lockHolder = -1
            random = dice
        }

        private func fillWithGarbage(page: Int, _ random: inout SimulatedRandom) {
            let start = page << self.shift
            let end = start + 1 << self.shift
            self.durable.reserve(end)
            for at in stride(from: start, to: end - 7, by: 8) {
                self.durable.pointer.storeBytes(of: random.next(), toByteOffset: at, as: UInt64.self)
            }
            self.durableHigh = max(self.durableHigh, end)
        }

        /// A bit turns over where it lies.
        package func flip(bit: Int) {
            let mask = UInt8(1) << UInt8(bit & 7)
            for (pointer, size) in [(self.cached.pointer, self.size), (self.durable.pointer, self.durableSize)] {
                guard bit >> 3 < size else { continue }
                let byte = pointer.load(fromByteOffset: bit >> 3, as: UInt8.self)
                pointer.storeBytes(of: byte ^ mask, toByteOffset: bit >> 3, as: UInt8.self)
            }
        }
    }

    /// A folder: its names as processes see them, those on the disk, and what was done to them since, in order.
    final class SimulatedDirectory: SimulatedNode {
        enum Change {
            case add(String, SimulatedNode)
            case remove(String, SimulatedNode)
            case move(String, String, SimulatedNode)
        }

        private(set) var entries: [String: SimulatedNode] = [:]
        private var durable: [String: SimulatedNode] = [:]
        private var pending: [Change] = []

        var hasPending: Bool { !self.pending.isEmpty }

        func change(_ change: Change) {
            Self.apply(change, to: &self.entries)
            self.pending.append(change)
        }

        private static func apply(_ change: Change, to entries: inout [String: SimulatedNode]) {
            switch change {
            case .add(let name, let node):
                entries[name] = node
            case .remove(let name, let node):
                if entries[name] === node { entries[name] = nil }
            case .move(let from, let to, let node):
                if entries[from] === node { entries[from] = nil }
                entries[to] = node
            }
        }

        func sync() { self.sync(first: self.pending.count) }

        private func sync(first count: Int) {
            for change in self.pending[..<count] { Self.apply(change, to: &self.durable) }
            self.pending.removeFirst(count)
        }

        /// File systems write names down in the order in which they changed: of what was not synced a first part is kept.
        func cutPower(keep: Int, _ random: inout SimulatedRandom) {
            let count = self.pending.count
            switch keep {
            case 0: break
            case 8...: self.sync(first: count)
            default: self.sync(first: random.below(count + 1))
            }
            self.pending = []
            self.entries = self.durable
        }
    }
#endif
