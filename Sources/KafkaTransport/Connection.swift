import Glibc
package import NIOCore

/// One client's connection. Only touched on its loop (it may be carried to other threads, and back with
/// `eventLoop.execute` or a `LoopMailbox`).
///
/// Requests are worked on one at a time and answered in order; only a Produce may be worked on while earlier ones are.
package final class Connection: @unchecked Sendable, CustomStringConvertible {
    package let id: UInt64
    package let loop: TransportLoop
    package let listener: Listener
    package let localAddress: SocketAddress
    package let remoteAddress: SocketAddress
    /// For the request handler: what it knows about this client.
    package var userData: AnyObject?

    package var loopIndex: Int { loop.index }
    package var eventLoop: any EventLoop { loop.eventLoop }
    /// Requests that are worked on.
    package var pendingRequests: Int { slots.count }
    package var isClosed: Bool { isGone || isClosing }

    private struct Slot {
        enum State {
            case inWork
            case answered(ResponseParts)
            case silent
        }
        let ticket: UInt64
        let mayOverlap: Bool
        var state: State
    }

    private static let produce: Int16 = 0

    private let receiver: FrameReceiver
    @exclusivity(unchecked) private var context: ChannelHandlerContext?
    /// The socket, the channel's own.
    let fd: CInt
    /// Requests in order of arrival, from the first that is not answered yet.
    @exclusivity(unchecked) private var slots: [Slot] = []
    @exclusivity(unchecked) private var nextTicket: UInt64 = 0
    /// The request that the handler is being asked about, and its answer where that comes before the handler returns.
    @exclusivity(unchecked) private var asking: UInt64 = .max
    @exclusivity(unchecked) private var early: Slot.State?

    @exclusivity(unchecked) private var isWorking = false
    @exclusivity(unchecked) private var isQueued = false
    @exclusivity(unchecked) private var isClosing = false
    @exclusivity(unchecked) private var isDraining = false
    @exclusivity(unchecked) private var isGone = false
    @exclusivity(unchecked) private var hasUnflushed = false
    @exclusivity(unchecked) private var hasFailed = false
    @exclusivity(unchecked) private var gotBytes = false
    @exclusivity(unchecked) private var keepsReadBuffer = false
    /// Answers wait in the channel for room in the socket: nothing is worked on meanwhile.
    @exclusivity(unchecked) private(set) var isBacklogged = false
    /// In order; the channel gets one after the other.
    @exclusivity(unchecked) private var rests: [Rest] = []
    /// What the channel has.
    @exclusivity(unchecked) private var backlog: Backlog?
    private var backlogBytes = 0
    private var isWatched = false

    // For TransportLoop.
    var indexInLoop = -1
    @exclusivity(unchecked) private(set) var lastActive: UInt64
    @exclusivity(unchecked) var lastProgress: UInt64 = 0
    @exclusivity(unchecked) var holding: HolderKind?
    @exclusivity(unchecked) var nextHolder: Connection?
    unowned(unsafe) var previousHolder: Connection?
    @exclusivity(unchecked) var waitsForMemory = false

    init(
        id: UInt64, loop: TransportLoop, listener: Listener, local: SocketAddress, remote: SocketAddress,
        receiver: FrameReceiver, context: ChannelHandlerContext, fd: CInt
    ) {
        self.id = id
        self.loop = loop
        self.listener = listener
        localAddress = local
        remoteAddress = remote
        self.receiver = receiver
        self.context = context
        self.fd = fd
        lastActive = loop.now
    }

    package var description: String {
        "connection \(id) from \(remoteAddress.ipAddress ?? "?"):\(remoteAddress.port ?? 0)"
    }

    /// No request in work.
    var isIdle: Bool { slots.isEmpty }

    // MARK: For the request handler

    /// Answers a request that was `.pending`. Once; the answer of a connection that is gone is dropped.
    package func complete(_ ticket: RequestTicket, _ parts: ResponseParts) {
        complete(ticket.rawValue, .answered(parts))
    }

    /// Ends a request that was `.pending` and gets no answer.
    package func completeWithoutResponse(_ ticket: RequestTicket) { complete(ticket.rawValue, .silent) }

    private func complete(_ ticket: UInt64, _ state: Slot.State) {
        eventLoop.assertInEventLoop()
        guard !isGone else { return }
        if ticket == asking {
            early = state
            return
        }
        guard let index = slots.firstIndex(where: { $0.ticket == ticket }), case .inWork = slots[index].state
        else { return }
        slots[index].state = state
        if index == 0 { resumeSoon() }
    }

    /// Closes the connection, after what was answered before is handed to the socket.
    package func close(_ reason: String) {
        eventLoop.assertInEventLoop()
        guard !isClosed else { return }
        loop.log.line(.closedByHandler, now: loop.now, "\(self): closed, \(reason)")
        isClosing = true
        resumeSoon()
    }

    /// Works on no further request; closes when those in work are answered.
    func drain() {
        isDraining = true
        resumeSoon()
    }

    private func resumeSoon() {
        guard !isQueued, !isWorking else { return }
        isQueued = true
        if loop.isBusy { loop.resumeLater(self) } else { loop.run { resume() } }
    }

    /// Goes on after a completion, or because there is room again.
    func resume() {
        isQueued = false
        lastActive = loop.now
        work()
    }

    // MARK: From the channel

    func received(_ buffer: ByteBuffer) {
        receiver.accept(buffer)
        gotBytes = true
    }

    func readComplete() {
        guard gotBytes, !isWorking else { return }
        loop.begin()
        lastActive = loop.now
        work()
        loop.end()
    }

    func gone() {
        guard !isGone else { return }
        isGone = true
        loop.run {
            if keepsReadBuffer { loop.keptReadBuffers -= 1 }
            loop.remove(self)
            receiver.close()
            slots = []
            context = nil
            rests = []
            loop.handler.disconnected(self)
            userData = nil
        }
    }

    func closeNow() {
        isClosing = true
        guard !isWorking else { return }
        flush()
        context?.close(promise: nil)
    }

    // MARK: Work

    private func work() {
        guard !isGone, !isWorking else { return }
        isWorking = true
        var goesOn = !isClosing
        while goesOn {
            sendAnswered()
            while !isBacklogged, !isClosing, executeNext() {}
            let stopped = isBacklogged
            flush()
            goesOn = stopped && !isBacklogged && !isClosing && !isGone
        }
        isWorking = false
        if isDraining, slots.isEmpty, !isBacklogged { isClosing = true }
        if receiver.hasLostBytes, !isClosing {
            loop.log.line(.lostBytes, now: loop.now, "\(self): closed, bytes were lost in a read")
            isClosing = true
        }
        if isClosing { closeNow() } else if !isGone { settle() }
    }

    private func sendAnswered() {
        while let first = slots.first {
            if case .inWork = first.state { return }
            slots.removeFirst()
            if case .answered(let parts) = first.state { send(parts) }
        }
        if receiver.takenBytes > 0 { receiver.releaseTaken() }
    }

    /// Works on the request at the head. False: there is none, or it has to wait.
    private func executeNext() -> Bool {
        guard !isDraining else { return false }
        switch receiver.next() {
        case .incomplete: return false
        case .badLength(let length):
            loop.log.line(
                .badFrame, now: loop.now,
                "\(self): closed, a request of \(length) bytes (allowed: 0 to \(loop.limits.socketRequestMaxBytes))")
            isClosing = true
            return false
        case .frame(let length):
            if !slots.isEmpty, !mayOverlap(length) { return false }
            execute(length)
            return true
        }
    }

    private func mayOverlap(_ length: Int) -> Bool {
        receiver.apiKey(length: length) == Self.produce && slots.count < loop.limits.maxOverlapping
            && slots.allSatisfy { $0.mayOverlap }
    }

    private func execute(_ length: Int) {
        let ticket = nextTicket
        nextTicket &+= 1
        var frame = receiver.frame(length: length)
        asking = ticket
        let outcome = loop.handler.request(&frame, on: self, ticket: RequestTicket(rawValue: ticket))
        asking = .max
        switch consume outcome {
        case .answered(let parts): answer(ticket, parts)
        case .noResponse: if slots.isEmpty, receiver.takenBytes > 0 { receiver.releaseTaken() }
        case .pending(let mayOverlap):
            switch early.take() {
            case nil, .inWork: slots.append(Slot(ticket: ticket, mayOverlap: mayOverlap, state: .inWork))
            case .answered(let parts): answer(ticket, parts)
            case .silent: break
            }
        case .close(let reason):
            loop.log.line(.closedByHandler, now: loop.now, "\(self): closed, \(reason)")
            isClosing = true
        }
    }

    private func answer(_ ticket: UInt64, _ parts: consuming ResponseParts) {
        if slots.isEmpty {
            send(parts)
            if receiver.takenBytes > 0 { receiver.releaseTaken() }
        } else {
            slots.append(Slot(ticket: ticket, mayOverlap: true, state: .answered(parts)))
        }
    }

    // MARK: Output

    private func send(_ parts: consuming ResponseParts) {
        guard !isGone, !hasFailed else { return }
        hasUnflushed = true
        do {
            try loop.output.add(parts, to: self)
        } catch {
            outputFailed(error)
        }
    }

    private func flush() {
        guard hasUnflushed else { return }
        hasUnflushed = false
        guard context != nil, !hasFailed else { return loop.output.discard() }
        do {
            try loop.output.finish(to: self)
        } catch {
            outputFailed(error)
        }
        if isBacklogged, backlog == nil { sendRest() }
    }

    private func outputFailed(_ failure: ResponseOutput.Failure) {
        loop.output.discard()
        hasFailed = true
        isClosing = true
        let what: String
        switch failure {
        case .socket: return
        case .malformed: what = "an answer that cannot be sent"
        case .file(0): what = "a file part beyond the file's end"
        case .file(let errno): what = "reading a file: errno \(errno)"
        }
        loop.log.line(.file, now: loop.now, "\(self): closed, \(what)")
    }

    // The channel's part of the output: what the socket does not take.

    func handOver(_ bytes: ByteBuffer) {
        isBacklogged = true
        rests.append(.bytes(bytes))
    }

    func handOver(_ part: FilePart, from: Int, upTo end: Int) {
        isBacklogged = true
        rests.append(.file(part, from: from, upTo: end, seen: loop.now))
    }

    /// Gives the channel the next of the rests, or what is ready of it.
    /// - Parameter isThere: the first piece of a file was just read.
    private func sendRest(isThere: Bool = false) {
        guard !isGone, !hasFailed, let context, let first = rests.first else { return }
        let backlog: Backlog
        let data: IOData
        switch first {
        case .bytes(let bytes):
            rests.removeFirst()
            (backlog, data) = (Backlog(), .byteBuffer(bytes))
        case .file(let part, let from, let end, let seen):
            guard part.isWithinFile else { return fileIsCut() }
            let upTo = min(end, from + Rest.pieceBytes)
            let age = Clock.monotonic() &- seen
            if !isThere, age >= UInt64(loop.limits.freshFileMs) &* 1_000_000, !self.isThere(part, from, upTo) { return }
            backlog = Backlog(part)
            guard let region = backlog.region(from: from, upTo: upTo) else { return }
            data = .fileRegion(region)
            if upTo < end { rests[0] = .file(part, from: upTo, upTo: end, seen: seen) } else { rests.removeFirst() }
        }
        self.backlog = backlog
        watch()
        let promise = context.eventLoop.makePromise(of: Void.self)
        promise.futureResult.whenComplete { [self] in sent(backlog, $0) }
        context.write(NIOAny(data), promise: promise)
        context.flush()
    }

    /// False: `sendRest` goes on when it is.
    private func isThere(_ part: FilePart, _ from: Int, _ upTo: Int) -> Bool {
        let eventLoop = self.eventLoop
        // Nothing else is sent meanwhile, and it is not asked again: see `flush` and `sent`.
        let waiting = Backlog()
        if loop.handler.isThere(
            part, at: Int64(from), count: upTo - from,
            whenThere: { [self] in
                eventLoop.execute {
                    guard self.backlog === waiting else { return }
                    self.backlog = nil
                    self.sendRest(isThere: true)
                }
            })
        {
            return true
        }
        backlog = waiting
        watch()
        return false
    }

    private func sent(_ backlog: Backlog, _ result: Result<Void, any Error>) {
        backlog.release()
        if self.backlog === backlog { self.backlog = nil }
        switch result {
        case .success:
            lastActive = loop.now
            guard rests.isEmpty else { return sendRest() }
            isBacklogged = false
            resumeSoon()
        case .failure(let error):
            guard let error = error as? IOError, error.errnoCode != EPIPE, error.errnoCode != ECONNRESET
            else { return }
            loop.log.line(.file, now: loop.now, "\(self): closed, sending: \(error)")
        }
    }

    private func watch() {
        if !isWatched { loop.watch(self) }
        isWatched = true
    }

    private func fileIsCut() {
        loop.log.line(.file, now: loop.now, "\(self): closed, a file became shorter while it was sent")
        hasFailed = true
        isClosing = true
        context?.close(promise: nil)
    }

    /// Once a second, while there is something to send. False: there is not any more.
    func watchBacklog() -> Bool {
        isWatched = isBacklogged && !isGone
        if backlog?.isCut ?? false { fileIsCut() }
        // A slow reader is not idle as long as it takes something.
        let left = (try? context?.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
        if left != backlogBytes { lastActive = loop.now }
        backlogBytes = left
        return isWatched
    }

    // MARK: Input

    /// After the requests in hand: gives memory back, and reads on where that makes sense.
    private func settle() {
        let mayKeep = keepsReadBuffer || loop.keptReadBuffers < TransportLoop.maxKeptReadBuffers
        let settled = receiver.settle(keepsReadBuffer: mayKeep)
        if receiver.holdsReadBuffer != keepsReadBuffer {
            keepsReadBuffer.toggle()
            loop.keptReadBuffers += keepsReadBuffer ? 1 : -1
        }
        let waits = slots.contains { !$0.mayOverlap }
        var reads = !isBacklogged && !isDraining
        switch settled {
        case .empty:
            // A connection that waits for an answer stays readable: that saves two system calls a long poll. What
            // comes is then held, and no more is read.
            if holding != nil { loop.setHolding(nil, self) }
        case .holding:
            let isBlocked = waits || isBacklogged || receiver.hasFrame
            reads = reads && !isBlocked
            hold(isBlocked ? .parked : receiver.isLarge ? .largeFrame : .smallFrame)
        case .noMemory:
            reads = false
            hold(receiver.isLarge ? .largeFrame : .smallFrame)
            loop.waitForMemory(self)
        }
        gotBytes = false
        if reads { context?.read() }
    }

    private func hold(_ kind: HolderKind) {
        if gotBytes || holding != kind { loop.setHolding(kind, self) }
    }

    /// Once a second, for one that holds a few bytes of a frame.
    func shrinkBuffer() {
        guard keepsReadBuffer, !isGone else { return }
        receiver.shrink()
        keepsReadBuffer = receiver.holdsReadBuffer
        if !keepsReadBuffer { loop.keptReadBuffers -= 1 }
    }
}
