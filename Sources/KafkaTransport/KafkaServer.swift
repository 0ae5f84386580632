package import Logging
package import NIOCore
package import NIOPosix
import Synchronization

/// Listens, and gives each request of each connection to the handler of its loop.
package final class KafkaServer: Sendable {
    package let limits: TransportLimits
    package let listeners: [Listener]
    package let memory: RequestMemoryPool
    /// One for each event loop of the group, in its order.
    package let loops: [TransportLoop]

    private let group: MultiThreadedEventLoopGroup
    private let gate: ConnectionGate
    private let log: TransportLog
    private let channels = Mutex<[any Channel]>([])

    /// `makeHandler` is called once for each loop, on it. Not to be called on an event loop.
    package init(
        group: MultiThreadedEventLoopGroup, listeners: [Listener], limits: TransportLimits, logger: Logger,
        makeHandler: @escaping @Sendable (TransportLoop) -> any RequestHandler
    ) throws {
        self.group = group
        self.listeners = listeners
        self.limits = limits
        let log = TransportLog(logger)
        let memory = RequestMemoryPool(capacity: limits.requestMemoryBytes)
        self.log = log
        self.memory = memory
        gate = ConnectionGate(limits)
        var loops: [TransportLoop] = []
        for (index, eventLoop) in group.makeIterator().enumerated() {
            let loop = TransportLoop(index: index, eventLoop: eventLoop, limits: limits, memory: memory, log: log)
            try eventLoop.submit { loop.handler = makeHandler(loop) }.wait()
            loops.append(loop)
        }
        self.loops = loops
        memory.attach(loops)
    }

    /// Takes over `maxConnections`, `maxConnectionsPerIP` and its overrides; the other limits stay as they were. Any
    /// thread.
    package func updateConnectionLimits(_ limits: TransportLimits) { gate.update(limits) }

    /// Connections now open.
    package var connectionCount: Int { gate.count }

    /// Binds all listeners and answers with their addresses, in their order. Where one fails none stays bound.
    package func start() throws -> [SocketAddress] {
        var addresses: [SocketAddress] = []
        do {
            for listener in listeners {
                let channel = try bind(listener)
                channels.withLock { $0.append(channel) }
                if let address = channel.localAddress { addresses.append(address) }
                // Some clients try ::1 first, some know no other: where there is IPv6, localhost is both.
                if listener.host == "localhost", listener.port != 0,
                    let second = try? bind(listener, to: SocketAddress(ipAddress: "::1", port: listener.port))
                {
                    channels.withLock { $0.append(second) }
                }
            }
        } catch {
            stopAccepting()
            throw error
        }
        for loop in loops { loop.eventLoop.execute { loop.startTicks() } }
        return addresses
    }

    private func bind(_ listener: Listener) throws -> any Channel {
        if listener.host == "localhost" {
            return try bind(listener, to: SocketAddress(ipAddress: "127.0.0.1", port: listener.port))
        }
        guard listener.host.isEmpty else {
            return try bind(listener, to: .makeAddressResolvingHost(listener.host, port: listener.port))
        }
        // Every address: IPv6 takes IPv4 with it where there is IPv6.
        do {
            return try bind(listener, to: SocketAddress(ipAddress: "::", port: listener.port))
        } catch let error as IOError where error.errnoCode == EAFNOSUPPORT || error.errnoCode == EADDRNOTAVAIL {
            return try bind(listener, to: SocketAddress(ipAddress: "0.0.0.0", port: listener.port))
        }
    }

    private func bind(_ listener: Listener, to address: SocketAddress) throws -> any Channel {
        let (limits, loops, memory, gate, log) = (limits, loops, memory, gate, log)
        var bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: Int32(clamping: limits.socketListenBacklogSize))
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(AcceptHandler(gate: gate, log: log))
                }
            }
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let loop = loops.first(where: { $0.eventLoop === channel.eventLoop }),
                        let options = channel.syncOptions
                    else { throw ChannelError.inappropriateOperationForState }
                    let receiver = FrameReceiver(
                        pool: loop.buffers, memory: memory, maxFrame: limits.socketRequestMaxBytes)
                    try options.setOption(.maxMessagesPerRead, value: 1)
                    try options.setOption(.recvAllocator, value: receiver)
                    try options.setOption(.autoRead, value: false)
                    // Back-pressure is the connection's own: these marks are never reached.
                    try options.setOption(.writeBufferWaterMark, value: .init(low: 1, high: .max))
                    try options.setOption(.tcpOption(.tcp_nodelay), value: 1)
                    try channel.pipeline.syncOperations.addHandler(
                        ConnectionHandler(loop: loop, listener: listener, receiver: receiver, gate: gate))
                }
            }
        // Set on the listening socket, from which the connections inherit them.
        if limits.socketReceiveBufferBytes > 0 {
            bootstrap = bootstrap.serverChannelOption(
                .socketOption(.so_rcvbuf), value: .init(limits.socketReceiveBufferBytes))
        }
        if limits.socketSendBufferBytes > 0 {
            bootstrap = bootstrap.serverChannelOption(
                .socketOption(.so_sndbuf), value: .init(limits.socketSendBufferBytes))
        }
        return try bootstrap.bind(to: address).wait()
    }

    /// Closes the listening sockets; connections stay. Not to be called on an event loop.
    package func stopAccepting() {
        let open = channels.withLock { channels in
            defer { channels = [] }
            return channels
        }
        for channel in open { try? channel.close().wait() }
    }

    /// Stops accepting, lets requests that are being worked on finish for at most `grace`, and closes every
    /// connection. Not to be called on an event loop.
    package func shutdown(grace: TimeAmount) {
        stopAccepting()
        for loop in loops { loop.eventLoop.execute { loop.drainConnections() } }
        let deadline = Clock.monotonic() &+ UInt64(clamping: grace.nanoseconds)
        while connectionCount > 0, Clock.monotonic() < deadline { Clock.sleep(milliseconds: 5) }
        for loop in loops { try? loop.eventLoop.submit { loop.closeAll() }.wait() }
        memory.attach([])
    }
}

/// Makes pauses in accepting: where connections come faster than they may, and where accepting fails (no descriptors
/// left). NIO's AcceptBackoffHandler does not do for that: the socket stays registered, and the loop would spin.
/// Touched on its channel's loop only.
private final class AcceptHandler: ChannelInboundHandler, @unchecked Sendable {
    typealias InboundIn = any Channel
    private static let pauseAfterError = TimeAmount.milliseconds(200)
    private let gate: ConnectionGate
    private let log: TransportLog
    /// Several connections are accepted in one go: the longest of their pauses counts.
    private var pauses = 0

    init(gate: ConnectionGate, log: TransportLog) {
        self.gate = gate
        self.log = log
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let wait = gate.accepted(now: Clock.monotonic())
        context.fireChannelRead(data)
        if wait > 0 { pause(context.channel, .nanoseconds(Int64(clamping: wait))) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        log.line(.accept, now: Clock.monotonic(), "accepting a connection failed: \(error)")
        pause(context.channel, Self.pauseAfterError)
    }

    private func pause(_ channel: any Channel, _ time: TimeAmount) {
        try? channel.syncOptions?.setOption(.autoRead, value: false)
        pauses += 1
        channel.eventLoop.scheduleTask(in: time) { [self] in
            pauses -= 1
            if pauses == 0 { try? channel.syncOptions?.setOption(.autoRead, value: true) }
        }
    }
}
