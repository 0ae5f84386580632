internal import NIOCore

/// The channel handler of a connection: tells it what happens, nothing else.
final class ConnectionHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = IOData

    private let loop: TransportLoop
    private let listener: Listener
    private let receiver: FrameReceiver
    private let gate: ConnectionGate
    private var connection: Connection?
    private var admitted: ConnectionGate.Admission?

    init(loop: TransportLoop, listener: Listener, receiver: FrameReceiver, gate: ConnectionGate) {
        self.loop = loop
        self.listener = listener
        self.receiver = receiver
        self.gate = gate
    }

    func channelActive(context: ChannelHandlerContext) {
        let fd = try? context.channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(
            of: NIOBSDSocket.Handle.self
        ) { $0 }
        guard let local = context.channel.localAddress, let remote = context.channel.remoteAddress, let fd else {
            context.close(promise: nil)
            return
        }
        switch gate.admit(remote) {
        case .refused(let why):
            loop.log.line(
                .tooManyConnections, now: Clock.monotonic(),
                "connection from \(remote.ipAddress ?? "?") closed: \(why)")
            context.close(promise: nil)
        case .admitted(let admission):
            admitted = admission
            loop.run {
                let connection = Connection(
                    id: gate.nextID(), loop: loop, listener: listener, local: local, remote: remote,
                    receiver: receiver, context: context, fd: fd)
                self.connection = connection
                loop.add(connection)
                loop.handler.connected(connection)
                connection.resume()
            }
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { connection?.received(unwrapInboundIn(data)) }

    func channelReadComplete(context: ChannelHandlerContext) { connection?.readComplete() }

    func channelInactive(context: ChannelHandlerContext) {
        if let admitted { gate.release(admitted) }
        admitted = nil
        connection?.gone()
        connection = nil
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
