package import NIOCore
import Synchronization

/// What the connections of one event loop share. Only touched on that loop, except where it says otherwise.
package final class TransportLoop: @unchecked Sendable {
    package let index: Int
    package let eventLoop: any EventLoop
    /// Monotonic nanoseconds at the begin of this burst.
    @exclusivity(unchecked) package private(set) var now: UInt64
    /// Wall clock, milliseconds since 1970, at the begin of this burst.
    package var wallClockMs: Int64 {
        if wallClockFor != now {
            wallClockFor = now
            wallClock = Clock.wallMs()
        }
        return wallClock
    }
    private var wallClock: Int64 = 0
    private var wallClockFor: UInt64 = 0

    let limits: TransportLimits
    let memory: RequestMemoryPool
    let log: TransportLog
    let buffers: BufferPool
    let output: ResponseOutput
    /// Set once, before the first connection.
    @exclusivity(unchecked) var handler: (any RequestHandler)!
    @exclusivity(unchecked) private(set) var connections: [Connection] = []
    /// Read buffers that stay with a connection for the rest of a small frame.
    @exclusivity(unchecked) var keptReadBuffers = 0
    static let maxKeptReadBuffers = 16

    @exclusivity(unchecked) private var depth = 0
    @exclusivity(unchecked) private var dirty: [Connection] = []
    @exclusivity(unchecked) private var mailboxes: [any LoopDrainable] = []
    @exclusivity(unchecked) private var waiting: [Connection] = []
    private var backlogged: [Connection] = []
    private let retryScheduled = Atomic<Bool>(false)
    @exclusivity(unchecked) private var holders = [HolderList(), HolderList(), HolderList()]
    private let oldestLarge = Atomic<UInt64>(.max)
    private let oldestSmall = Atomic<UInt64>(.max)
    private let oldestParked = Atomic<UInt64>(.max)
    private var ticks: RepeatedTask?
    private var ticksDone = 0

    init(index: Int, eventLoop: any EventLoop, limits: TransportLimits, memory: RequestMemoryPool, log: TransportLog) {
        self.index = index
        self.eventLoop = eventLoop
        self.limits = limits
        self.memory = memory
        self.log = log
        now = Clock.monotonic()
        buffers = BufferPool(maxLargeBytes: limits.recycledBytesPerLoop)
        output = ResponseOutput(sendfileMinBytes: limits.sendfileMinBytes)
    }

    // MARK: Bursts

    /// Requests are being worked on, or completions delivered: what is posted now is delivered without a wake-up.
    package var isBusy: Bool { depth > 0 }

    /// Runs `body` as a burst: answers that it completes are flushed together at its end, then `loopDrained` is called.
    /// To be used around anything that completes several requests outside of the handler's own methods.
    package func run(_ body: () -> Void) {
        begin()
        body()
        end()
    }

    func begin() {
        if depth == 0 { now = Clock.monotonic() }
        depth += 1
    }

    func end() {
        if depth == 1 {
            repeat {
                while !(mailboxes.isEmpty && dirty.isEmpty) { drainOnce() }
                handler.loopDrained()
            } while !(mailboxes.isEmpty && dirty.isEmpty)
        }
        depth -= 1
    }

    private func drainOnce() {
        if !mailboxes.isEmpty {
            var full: [any LoopDrainable] = []
            swap(&full, &mailboxes)
            for mailbox in full { mailbox.drain() }
        }
        if !dirty.isEmpty {
            var list: [Connection] = []
            swap(&list, &dirty)
            for connection in list { connection.resume() }
        }
    }

    func drainLater(_ mailbox: any LoopDrainable) { mailboxes.append(mailbox) }

    func resumeLater(_ connection: Connection) { dirty.append(connection) }

    // MARK: Buffers for the handler

    /// An empty buffer for an answer. One from the loop's stock where `capacity` is small: small answers are copied
    /// together and their buffers used again.
    package func responseBuffer(capacity: Int) -> ByteBuffer { output.responseBuffer(capacity: capacity) }

    /// Takes back a buffer that `RequestFrame.take` gave.
    package func recycle(_ buffer: consuming ByteBuffer) {
        var given: ByteBuffer? = consume buffer
        buffers.recycle(&given)
    }

    // MARK: Connections

    func add(_ connection: Connection) {
        connection.indexInLoop = connections.count
        connections.append(connection)
    }

    func remove(_ connection: Connection) {
        let index = connection.indexInLoop
        guard index >= 0, index < connections.count, connections[index] === connection else { return }
        let last = connections.removeLast()
        if last !== connection {
            connections[index] = last
            last.indexInLoop = index
        }
        connection.indexInLoop = -1
        setHolding(nil, connection)
    }

    func drainConnections() {
        run { for connection in connections { connection.drain() } }
    }

    /// The end: closes every connection and lets the handler go.
    func closeAll() {
        stopTicks()
        run { for connection in connections { connection.closeNow() } }
        handler = ClosedHandler()
    }

    // MARK: Who holds memory

    /// Puts the connection at the end of the list of its kind: it has just made progress.
    func setHolding(_ kind: HolderKind?, _ connection: Connection) {
        if let old = connection.holding {
            holders[old.rawValue].remove(connection)
            publish(old)
        }
        connection.holding = kind
        if let kind {
            connection.lastProgress = now
            holders[kind.rawValue].append(connection)
            publish(kind)
        }
    }

    private func publish(_ kind: HolderKind) {
        let oldest = holders[kind.rawValue].first?.lastProgress ?? .max
        switch kind {
        case .largeFrame: oldestLarge.store(oldest, ordering: .relaxed)
        case .smallFrame: oldestSmall.store(oldest, ordering: .relaxed)
        case .parked: oldestParked.store(oldest, ordering: .relaxed)
        }
    }

    /// When the stalest holder of a kind last made progress; `max` without one. From any thread.
    func oldest(_ kind: HolderKind) -> UInt64 {
        switch kind {
        case .largeFrame: oldestLarge.load(ordering: .relaxed)
        case .smallFrame: oldestSmall.load(ordering: .relaxed)
        case .parked: oldestParked.load(ordering: .relaxed)
        }
    }

    func closeStalest(_ kind: HolderKind) {
        run {
            guard let victim = holders[kind.rawValue].first else { return }
            log.line(
                .memory, now: now,
                """
                \(victim): closed, the memory for requests is full (\(memory.inUse) of \(memory.capacity) bytes) \
                and it has made no progress for the longest (\((now &- victim.lastProgress) / 1_000_000) ms)
                """)
            victim.closeNow()
        }
    }

    func waitForMemory(_ connection: Connection) {
        guard !connection.waitsForMemory else { return }
        connection.waitsForMemory = true
        waiting.append(connection)
        memory.waitingChanged(by: 1)
    }

    /// Memory was released somewhere. From any thread.
    func retryWaitingSoon() {
        guard !retryScheduled.exchange(true, ordering: .acquiringAndReleasing) else { return }
        eventLoop.execute { [self] in
            retryScheduled.store(false, ordering: .releasing)
            retryWaiting()
        }
    }

    private func retryWaiting() {
        guard !waiting.isEmpty else { return }
        var list: [Connection] = []
        swap(&list, &waiting)
        memory.waitingChanged(by: -list.count)
        run {
            for connection in list {
                connection.waitsForMemory = false
                connection.resume()
            }
        }
    }

    // MARK: Once a second

    func startTicks() {
        let tick = TimeAmount.milliseconds(limits.tickMs)
        ticks = eventLoop.scheduleRepeatedTask(initialDelay: tick, delay: tick) { [weak self] _ in self?.tick() }
    }

    func stopTicks() {
        ticks?.cancel()
        ticks = nil
    }

    private func tick() {
        run {
            ticksDone &+= 1
            closeStalled()
            retryWaiting()
            backlogged.removeAll { !$0.watchBacklog() }
            let idleMs = limits.connectionsMaxIdleMs
            if idleMs > 0, ticksDone % Int(max(1, min(30, idleMs / 20 / limits.tickMs))) == 0 { closeIdle(idleMs) }
            if ticksDone % 10 == 0 { buffers.trim() }
        }
    }

    private func closeStalled() {
        let limit = UInt64(limits.frameStallMs) &* 1_000_000
        for kind in [HolderKind.largeFrame, .smallFrame] {
            while let first = holders[kind.rawValue].first, now &- first.lastProgress >= limit {
                log.line(
                    .stalled, now: now,
                    "\(first): closed, no byte for \(limits.frameStallMs) ms in the middle of a request")
                first.closeNow()
                if first.holding != nil { setHolding(nil, first) }
            }
        }
        // A frame that rests takes no more than it needs.
        var next = holders[HolderKind.smallFrame.rawValue].first
        while let connection = next, now &- connection.lastProgress >= 1_000_000_000 {
            next = connection.nextHolder
            connection.shrinkBuffer()
        }
    }

    func watch(_ connection: Connection) { backlogged.append(connection) }

    private func closeIdle(_ idleMs: Int64) {
        // Not more than fits into nanoseconds: some thirty years.
        let limit = UInt64(min(idleMs, 1 << 40)) &* 1_000_000
        for connection in connections where connection.isIdle && now &- connection.lastActive >= limit {
            log.line(.idle, now: now, "\(connection): closed, idle for \(idleMs) ms")
            connection.closeNow()
        }
    }
}

/// Stands in for the handler when the server is closed (the handler may hold the loop).
private final class ClosedHandler: RequestHandler {
    func connected(_ connection: Connection) { connection.close("the server is closed") }
    func request(
        _ frame: inout RequestFrame, on connection: Connection, ticket: RequestTicket
    ) -> RequestOutcome { .close("the server is closed") }
    func disconnected(_ connection: Connection) {}
    func loopDrained() {}
}
